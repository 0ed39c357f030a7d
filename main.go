// Command yagura is a watchtower for one machine: what its kernel, its services and its containers do, as Prometheus
// metrics. This file only wires the parts together.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/run"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/exporter/node"
	"github.com/yagura-io/yagura/integrations/containers"
	"github.com/yagura-io/yagura/promql"
	"github.com/yagura-io/yagura/rules/event"
)

const address = "127.0.0.1:9248"

// config is the configuration file: each part's own.
type config struct {
	exporter.Config `yaml:",inline"`
	Kernel          bpf.Config        `yaml:"kernel"`
	Processes       host.Config       `yaml:"processes"`
	Containers      containers.Config `yaml:"containers"`
	Store           promql.Config     `yaml:"store"`
}

var defaults = config{exporter.Default, bpf.Default, host.Default, containers.Default, promql.Default}

func (c config) Validate() error { return cmp.Or(c.Config.Validate(), c.Kernel.Validate()) }

// program is the command line, and the parts that it makes.
type program struct {
	flags     *exporter.CommandLine
	selection *exporter.Selection
	log       *slog.Logger
	config    config
	node      *exporter.Node
	resolver  *containers.Resolver
	workloads *exporter.Workloads
	counters  *exporter.Counters
	lifecycle *exporter.Lifecycle
	exporter  *exporter.Exporter
	store     *promql.Store // nil without --store.path
}

func main() {
	app := kingpin.New("yagura", "A watchtower for one machine: kernel, services and containers as Prometheus metrics.")
	app.Version(version.Print("yagura")).UsageWriter(os.Stdout).HelpFlag.Short('h')
	p := &program{node: &exporter.Node{Agent: &bpf.Agent{}}, flags: exporter.AddFlags(app, address)}
	p.selection = exporter.Flags(app, p.collectors())

	app.Command("run", "Watch this machine and serve what is seen; the default.").Default().Action(p.action(p.run))
	app.Command("check", "Check the configuration file.").Action(p.action(func(context.Context) error {
		_, err := fmt.Println(cmp.Or(p.flags.Config, "the defaults") + ": ok")
		return err
	}))
	app.Command("doctor", "Say what this kernel and host allow, and why something is off.").Action(p.action(p.doctor))
	app.Command("metrics", "Print the reference page of all metrics.").Action(p.action(func(context.Context) error {
		return exporter.WriteReference(os.Stdout, p.collectors())
	}))
	replay := app.Command("replay", "Play a recording through the whole user-space path, as JSON lines.").Action(p.action(p.replay))
	replay.Arg("directory", "What --record.path named.").Required().StringVar(&p.flags.Recording)
	promql.AddQueryCommand(app, "http://"+address)
	if _, err := app.Parse(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "yagura:", err)
		os.Exit(1)
	}
}

// collectors is the one list of collectors, in the order of --help.
func (p *program) collectors() []exporter.Entry {
	p.workloads = exporter.NewWorkloads(exporter.WorkloadsOptions{Node: p.node, Flags: p.flags, Name: p.resolver.Name,
		Groups: p.resolver.Groups, At: p.resolver.At, Log: p.log})
	p.counters = exporter.NewCounters(exporter.Loss{Stage: "buffer", Read: p.node.Agent.LostEvents})
	p.lifecycle = exporter.NewLifecycle(exporter.LifecycleOptions{Ready: func() error { return promql.NotReady(p.flags.Store, p.store) }, Reload: p.reload})
	return append(p.workloads.Entries(),
		node.New(node.Options{Procfs: p.flags.Procfs, Sysfs: p.flags.Sysfs, Rootfs: p.flags.Rootfs, Asked: p.selection.Asked, Log: p.log}).Entry(),
		containers.NewCollector(p.resolver).Entry(),
		p.counters.Entry(),
		exporter.NewProbes(p.node.Agent).Entry(),
		exporter.Self(exporter.TableMeasures(func() *host.Table { return p.node.Table })...),
		p.lifecycle.Entry(),
	)
}

func (p *program) action(do func(context.Context) error) kingpin.Action {
	return func(*kingpin.ParseContext) (err error) {
		p.log = promslog.New(&p.flags.Logging)
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if p.config, err = exporter.ReadConfig(p.flags.Config, defaults); err != nil {
			return err
		}
		return do(ctx)
	}
}

func (p *program) start(ctx context.Context) (err error) {
	p.resolver = containers.New(containers.Options{Root: p.flags.Rootfs, ProcFS: p.flags.Procfs, Config: p.config.Containers, Log: p.log})
	p.node, err = exporter.StartNode(ctx, exporter.NodeOptions{Flags: p.flags, Want: p.selection.Want(p.config.Kernel),
		Kernel: p.config.Kernel, Processes: p.config.Processes, Walked: p.resolver.Reconcile, Log: p.log})
	return err
}

// sink is where every event goes: calls, in this order, and no queue before a verdict.
func (p *program) sink(ev *event.Event) {
	p.resolver.Attach(ev)
	if p.node.Table.Attach(ev) {
		p.counters.Observe(ev)
	}
}

func (p *program) run(ctx context.Context) error {
	p.log.Info("Yagura starts", "version", version.Info(), "build", version.BuildContext())
	if err := p.start(ctx); err != nil {
		return err
	}
	defer p.node.Close()
	p.exporter = exporter.New(exporter.Options{Collectors: p.selection.Enabled(p.collectors()), Log: p.log, Limits: p.config.Limits})
	mux := http.NewServeMux()
	var g run.Group
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	add := func(do func(context.Context) error) { g.Add(func() error { return do(ctx) }, func(error) { cancel() }) }
	server, err := exporter.Listen(p.flags.Web, mux, p.log)
	if err != nil {
		return err
	}
	if err := p.routes(mux, add); err != nil {
		return err
	}
	exporter.GiveUpCapabilities(p.flags.Store, p.log)
	add(func(ctx context.Context) error { return p.node.Watch(ctx, p.flags.Record, p.sink) })
	add(func(ctx context.Context) error {
		return p.node.KeepHouse(ctx, p.workloads.Kernel, p.resolver.Containers)
	})
	add(p.resolver.Run)
	add(p.workloads.Run)
	add(server.Run)
	add(func(ctx context.Context) error { return p.lifecycle.ReloadOnHangup(ctx, p.log) })
	return g.Run()
}

// routes mounts what every part has to show, and opens the store where there is one.
func (p *program) routes(mux *http.ServeMux, add func(func(context.Context) error)) (err error) {
	mux.Handle("/metrics", p.exporter.Handler())
	mux.Handle("/-/", p.lifecycle)
	p.workloads.Mount(mux)
	p.store, err = promql.OpenIfRoom(promql.Options{Path: p.flags.Store, Config: p.config.Store, Log: p.log,
		Self: p.exporter.Handler(), Version: version.Version})
	if err != nil {
		return err
	}
	if p.store != nil {
		add(func(ctx context.Context) error { return errors.Join(p.store.Run(ctx), p.store.Close()) })
		mux.Handle("/api/v1/", p.store.Handler())
		p.exporter.AddStore(p.store.Gatherer())
	}
	landing, err := exporter.Landing(version.Version, p.store != nil)
	mux.Handle("/", landing)
	return err
}

func (p *program) reload(context.Context) error {
	c, err := exporter.ReadConfig(p.flags.Config, defaults)
	if err == nil {
		p.exporter.SetLimits(c.Limits)
		p.node.Agent.Replan(p.selection.Want(c.Kernel))
	}
	return err
}

func (p *program) doctor(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	defer p.node.Close()
	return p.node.WriteDoctor(os.Stdout, p.resolver.Report(ctx))
}

func (p *program) replay(ctx context.Context) error {
	p.resolver = containers.New(containers.Options{Log: p.log})
	p.node.Table = host.NewTable(host.TableOptions{Config: p.config.Processes})
	return exporter.Replay(ctx, p.flags.Recording, os.Stdout, p.node.Table, p.resolver.Reconcile, p.sink)
}
