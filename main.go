// Command yagura is a watchtower for one machine: what its kernel, its services and its containers do, as Prometheus
// metrics. This file only wires the parts together.
package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"

	"github.com/yagura-io/yagura/alerts"
	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/dashboards"
	"github.com/yagura-io/yagura/exporter"
	"github.com/yagura-io/yagura/exporter/fim"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/exporter/node"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/integrations/containers"
	"github.com/yagura-io/yagura/promql"
	"github.com/yagura-io/yagura/promql/console"
	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

const address = "127.0.0.1:9248"

// config is the configuration file: each part's own.
type config struct {
	exporter.Config `yaml:",inline"`
	Kernel          bpf.Config          `yaml:"kernel"`
	Requests        requests.Config     `yaml:"requests"`
	Processes       host.Config         `yaml:"processes"`
	Containers      containers.Config   `yaml:"containers"`
	Store           promql.Config       `yaml:"store"`
	Alerts          alerts.Config       `yaml:"alerts"`
	Rules           rules.Config        `yaml:"rules"`
	FIM             fim.Config          `yaml:"fim"`
	Posture         rules.PostureConfig `yaml:"posture"`
}

var defaults = config{exporter.Default, bpf.Default, requests.Default, host.Default, containers.Default, promql.Default, alerts.Default, rules.Default, fim.DefaultConfig, rules.DefaultPosture}

func (c config) Validate() error {
	return cmp.Or(c.Config.Validate(), c.Kernel.Validate(), c.Requests.Validate(), c.Store.Validate(), c.Alerts.Validate(), c.Rules.Validate(), c.FIM.Validate(), c.Posture.Validate())
}

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
	hits      *exporter.Rules
	detector  *rules.Detector // without rules if the collector of that name is off
	fim       *exporter.FIM
	judge     *rules.Posture // without checks if the collector posture is off
	posture   *exporter.Posture
	exporter  *exporter.Exporter
	store     *promql.Store // nil without --store.path
}

func main() {
	app := kingpin.New("yagura", "A watchtower for one machine: kernel, services and containers as Prometheus metrics.")
	app.Version(version.Print("yagura")).UsageWriter(os.Stdout).HelpFlag.Short('h')
	p := &program{node: &exporter.Node{Agent: &bpf.Agent{}}, flags: exporter.AddFlags(app, address)}
	p.selection = exporter.Flags(app, p.collectors())
	report := func(ctx context.Context) error {
		return p.node.WriteDoctor(os.Stdout, p.resolver.Report(ctx), p.fim.Report())
	}
	exporter.Commands{Run: func(ctx context.Context) error { return p.started(ctx, p.run) }, Doctor: func(ctx context.Context) error { return p.started(ctx, report) },
		Check: func() error { return p.check(p.config) }, CheckFiles: promql.AddCheckFiles, Replay: p.replay, Collectors: p.collectors}.Add(app, p.flags, p.action)
	promql.AddQueryCommand(app, "http://"+address)
	rules.AddCommands(app, &p.config.Rules, p.action)
	p.posture.AddCommands(app, p.flags, promql.Asker("http://"+address), p.action)
	(&fim.Command{Config: &p.config.FIM, Root: &p.flags.Rootfs}).Add(app, p.action).Exit(app.Parse(os.Args[1:]))
}

// collectors is the one list of collectors, in the order of --help.
func (p *program) collectors() []exporter.Entry {
	p.workloads = exporter.NewWorkloads(exporter.WorkloadsOptions{Node: p.node, Flags: p.flags, Requests: p.config.Requests,
		Name: p.resolver.Name, Groups: p.resolver.Groups, At: p.resolver.At, Containers: p.resolver.Containers, Log: p.log})
	p.counters = exporter.NewCounters(exporter.Loss{Stage: "buffer", Read: p.node.Agent.LostEvents})
	p.hits, p.fim = cmp.Or(p.hits, exporter.NewRules(func() exporter.Detector { return p.detector })), cmp.Or(p.fim, exporter.NoFIM())
	p.posture = cmp.Or(p.posture, exporter.NewPosture(exporter.PostureOptions{
		Judge: func() exporter.PostureJudge { return p.judge }, Containers: func() []*event.Container { return p.resolver.Containers() }}))
	p.lifecycle = exporter.NewLifecycle(exporter.LifecycleOptions{Ready: func() error { return promql.NotReady(p.flags.Store, p.store) }, Reload: p.reload})
	return append(p.workloads.Entries(),
		node.New(node.Options{Procfs: p.flags.Procfs, Sysfs: p.flags.Sysfs, Rootfs: p.flags.Rootfs, Asked: p.selection.Asked, Log: p.log}).Entry(),
		containers.NewCollector(p.resolver).Entry(), p.counters.Entry(), p.hits.Entry(), p.fim.Entry(), p.posture.Entry(),
		exporter.NewProbes(p.node.Agent).Entry(), exporter.Self(exporter.TableMeasures(func() *host.Table { return p.node.Table })...), p.lifecycle.Entry())
}

func (p *program) action(do func(context.Context) error) kingpin.Action {
	return exporter.Action(p.flags, defaults, func(ctx context.Context, c config, log *slog.Logger) error {
		p.config, p.log = c, log
		p.detector = rules.NewDetector(p.config.Rules, rules.DetectorOptions{Off: !p.selection.On("rules"), Root: p.flags.Rootfs,
			Procfs: p.flags.Procfs, Hits: p.hits, Redact: host.Redact, RedactText: host.RedactText, Stdout: os.Stdout, Log: p.log})
		p.resolver = containers.New(containers.Options{Root: p.flags.Rootfs, ProcFS: p.flags.Procfs, Config: p.config.Containers, Log: p.log})
		p.judge = rules.NewPosture(rules.PostureOptions{Off: !p.selection.On("posture"), Config: p.config.Posture, Machine: p.flags.Machine(),
			Surveys: []event.Surveyor{host.SurveysOf, p.resolver.SurveysOf}, Release: host.ReleaseOf, Patient: host.LowerPriority, Log: p.log})
		return do(ctx)
	})
}

func (p *program) check(c config) error {
	return errors.Join(p.detector.Check(c.Rules), p.judge.Check(c.Posture), promql.Check(c.Store, c.Alerts.Rules))
}

func (p *program) load(c config) error {
	return errors.Join(p.store.Reload(c.Store, c.Alerts.Rules), p.judge.Load(c.Posture, func() error { return p.detector.Load(c.Rules, p.fim.Interest(p.node.Agent.SetInterest)) }))
}

func (p *program) started(ctx context.Context, do func(context.Context) error) (err error) {
	p.node, err = exporter.StartNode(ctx, exporter.NodeOptions{Flags: p.flags, Want: p.selection.Want(p.config.Kernel),
		Kernel: p.config.Kernel, Requests: p.config.Requests.Kernel(), Processes: p.config.Processes, Walked: p.resolver.Reconcile, Log: p.log})
	if err != nil {
		return err
	}
	defer p.node.Close()
	p.fim, err = exporter.NewFIM(exporter.FIMOptions{Off: !p.selection.On("fim"), Config: p.config.FIM, Flags: p.flags, Node: p.node, Log: p.log,
		Containers: p.resolver.Containers, Container: p.resolver.Container, Detect: p.detector.EvalChange, Changed: p.posture.Changed, Redact: host.Redact})
	if err == nil {
		err = do(ctx)
	}
	return err
}

// sink is where every event goes: calls, in this order, and no queue before a verdict.
func (p *program) sink(ev *event.Event) {
	p.resolver.Attach(ev)
	if p.node.Table.Attach(ev) {
		p.counters.Observe(ev)
		p.fim.Observe(ev)
		p.detector.Eval(ev)
	}
}

func (p *program) run(ctx context.Context) error {
	p.log.Info("Yagura starts", "version", version.Info(), "build", version.BuildContext())
	if err := p.load(p.config); err != nil {
		return err
	}
	p.exporter = exporter.New(exporter.Options{Collectors: p.selection.Enabled(p.collectors()), Log: p.log, Limits: p.config.Limits})
	parts := &exporter.Parts{}
	if err := p.serve(parts); err != nil {
		return err
	}
	exporter.GiveUpCapabilities(p.flags.Store, p.config.Requests.TLS, p.judge.On(), p.log)
	parts.Add(func(ctx context.Context) error { return p.node.Watch(ctx, p.flags.Record, p.sink) },
		p.node.KeepHouse(p.workloads.Kernel, p.resolver.Containers), p.resolver.Run, p.workloads.Run, p.detector.Run, p.fim.Run, p.posture.Run,
		p.lifecycle.ReloadOnHangup(p.log))
	return parts.Run(ctx)
}

// serve listens, mounts what every part has to show, and opens the store where there is one.
func (p *program) serve(parts *exporter.Parts) error {
	mux := http.NewServeMux()
	p.exporter.Mount(mux, p.lifecycle)
	p.workloads.Mount(mux, p.hits, p.fim, p.posture)
	err := parts.Listen(p.flags.Web, mux, p.log)
	if err == nil {
		p.store, err = promql.OpenIfRoom(promql.Options{Path: p.flags.Store, Config: p.config.Store, Rules: p.config.Alerts.Rules, Log: p.log, Self: p.exporter.Handler(), Version: version.Version})
	}
	if err != nil || p.store == nil {
		return errors.Join(err, exporter.MountLanding(mux, version.Version))
	}
	parts.Add(func(ctx context.Context) error { return errors.Join(p.store.Run(ctx), p.store.Close()) })
	p.exporter.AddStore(p.store.Gatherer())
	p.store.Mount(mux)
	alerts.Mount(mux)
	dashboards.Mount(mux)
	console.Mount(mux, version.Version)
	return nil
}

func (p *program) reload(context.Context) error {
	return exporter.Reload(p.flags.Config, defaults, p.check, p.load, func(c config) {
		p.exporter.SetLimits(c.Limits)
		p.workloads.Reload(c.Requests, p.selection.Want(c.Kernel))
		p.fim.Reload(c.FIM)
		p.posture.Rerun()
	})
}

func (p *program) replay(ctx context.Context) error {
	p.resolver, p.node.Table = containers.New(containers.Options{Log: p.log}), host.NewTable(host.TableOptions{Config: p.config.Processes})
	return exporter.Replay(ctx, exporter.ReplayOptions{Flags: p.flags, Out: os.Stdout, Hits: rules.HitsOf(p.config.Rules, p.flags.Rules, os.Stdout),
		Table: p.node.Table, Walked: p.resolver.Reconcile, Sink: p.sink})
}
