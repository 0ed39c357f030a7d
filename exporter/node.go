package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// A CommandLine is what the flags say. Paths of ours are empty where a thing is not wanted.
type CommandLine struct {
	Procfs, Sysfs, Rootfs string // where the host is seen from here
	Config, Store, Record string
	Recording             string   // what to replay
	Rules                 []string // rule files to replay it through, instead of the configuration's
	Web                   *web.FlagConfig
	Logging               promslog.Config
}

// AddFlags adds the flags that every Prometheus exporter has, and our own. The program listens at address by default.
func AddFlags(app *kingpin.Application, address string) *CommandLine {
	c := &CommandLine{Web: kingpinflag.AddFlags(app, address)}
	app.Flag("config.file", "Configuration file; without one the defaults hold.").StringVar(&c.Config)
	app.Flag("store.path", "Directory of the embedded Prometheus; without it nothing is stored.").StringVar(&c.Store)
	app.Flag("record.path", "Directory to record a snapshot and all events to, for `yagura replay`.").StringVar(&c.Record)
	app.Flag("path.procfs", "Where the host's /proc is.").Default("/proc").StringVar(&c.Procfs)
	app.Flag("path.sysfs", "Where the host's /sys is.").Default("/sys").StringVar(&c.Sysfs)
	app.Flag("path.rootfs", "Where the host's root is: sockets and files of container runtimes.").Default("/").StringVar(&c.Rootfs)
	promslogflag.AddFlags(app, &c.Logging)
	return c
}

// Machine is the one that the flags are about.
func (c *CommandLine) Machine() event.Machine {
	return event.Machine{Root: c.Rootfs, Procfs: c.Procfs, Sysfs: c.Sysfs}
}

// A Node is the machine: its kernel side, its control groups and its processes. In the zero Node nothing was started.
type Node struct {
	Layout host.CgroupLayout
	Agent  *bpf.Agent
	Table  *host.Table

	walked func(begun time.Time, cgroups map[uint64]string)
	log    *slog.Logger
	procfs string
}

// NodeOptions say what of the machine to watch.
type NodeOptions struct {
	Flags     *CommandLine
	Want      bpf.Want
	Kernel    bpf.Config
	Requests  bpf.RequestOptions
	Processes host.Config
	Walked    func(begun time.Time, cgroups map[uint64]string) // told of every walk of the control groups
	Log       *slog.Logger
}

// StartNode attaches to the kernel, and then finds what is there already: control groups, sockets, processes. What
// begins meanwhile waits in the ring buffer, so nothing falls between. Without BPF the rest still works.
func StartNode(ctx context.Context, o NodeOptions) (*Node, error) {
	layout, err := host.Cgroups(o.Flags.Procfs)
	if err != nil {
		return nil, fmt.Errorf("find the control groups: %w", err)
	}
	if layout.Mount == "" {
		layout.Mount = filepath.Join(o.Flags.Sysfs, "fs/cgroup", layout.Controller)
		o.Log.Warn("control groups are read where they usually are", "at", layout.Mount, "reason", layout.Note)
	}
	n := &Node{Layout: layout, walked: o.Walked, log: o.Log, procfs: o.Flags.Procfs,
		Table: host.NewTable(host.TableOptions{Procfs: o.Flags.Procfs, Cgroups: layout, Config: o.Processes})}
	n.Agent, err = bpf.Load(bpf.Options{Config: o.Kernel, Log: o.Log,
		Hierarchy: bpf.Hierarchy{V1: layout.Version == 1, Controller: layout.Controller, ID: layout.HierarchyID}})
	if err != nil {
		o.Log.Error("nothing can be attached to the kernel: its metrics are off", "err", err, "missing", strings.Join(missing(), " "))
	}
	if err := n.walk(ctx); err != nil {
		return nil, errors.Join(err, n.Agent.Close())
	}
	if err := n.Agent.SetRequests(o.Requests); err != nil && o.Want.Requests { // before the first one is counted
		o.Log.Warn("requests are not looked at as the configuration says", "err", err)
	}
	n.Agent.Replan(o.Want)
	n.Agent.FindSockets()
	if err := n.seed(); err != nil {
		return nil, errors.Join(err, n.Agent.Close())
	}
	return n, nil
}

func (n *Node) seed() error {
	err := n.Agent.Processes(n.Table.Seed)
	if err == nil {
		n.Table.SeedDone()
		return nil
	}
	n.log.Info("processes are read from /proc", "reason", err)
	if err := n.Table.SeedFromProc(); err != nil {
		return fmt.Errorf("read the processes: %w", err)
	}
	return nil
}

// walk enters every control group there is.
func (n *Node) walk(ctx context.Context) error {
	begun, paths := time.Now(), map[uint64]string{}
	err := n.Layout.Walk(ctx, func(id uint64, path string) error {
		paths[id] = path
		return n.Agent.AddCgroup(id)
	})
	if err != nil {
		return fmt.Errorf("walk the control groups: %w", err)
	}
	n.walked(begun, paths)
	return nil
}

// walkEvery is how often the control groups are walked again, for what lost events have left behind.
const walkEvery = 30 * time.Second

// KeepHouse walks the control groups now and then until its context is done, has their names kept, and lets the kernel
// know which are workloads, so that what they make below themselves shares their slot.
func (n *Node) KeepHouse(kernel *Kernel, workloads func() []*event.Container) func(context.Context) error {
	return func(ctx context.Context) error { return n.keepHouse(ctx, kernel, workloads) }
}

func (n *Node) keepHouse(ctx context.Context, kernel *Kernel, workloads func() []*event.Container) error {
	for tick := time.Tick(walkEvery); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
		if err := n.walk(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("control groups not reconciled", "err", err)
		}
		if err := kernel.KeepNames(); err != nil {
			n.log.Warn("names of control groups not kept", "err", err)
		}
		for _, c := range workloads() {
			if err := n.Agent.MarkWorkload(c.CgroupID); err != nil {
				n.log.Debug("workload not marked", "container", c.ID, "err", err) // it ended meanwhile
			}
		}
	}
}

// Files of a recording.
const (
	snapshotFile = "snapshot.jsonl"
	eventsFile   = "events.bin"
)

// Watch runs the event path until ctx is done. With a directory it records a snapshot and every event there.
func (n *Node) Watch(ctx context.Context, dir string, sink func(*event.Event)) (err error) {
	if dir == "" {
		return n.Agent.Run(ctx, sink)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	snapshot, err := os.OpenFile(filepath.Join(dir, snapshotFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if err := errors.Join(host.WriteSnapshot(snapshot, n.procfs, n.Layout, host.Redact), snapshot.Close()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	events, err := os.OpenFile(filepath.Join(dir, eventsFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	recorder, err := bpf.NewRecorder(events, host.Redact)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, recorder.Flush()) }()
	return n.Agent.Stream(ctx, recorder.Record, sink)
}

// needed are the capabilities that the program still needs once it runs: to attach other hooks after a reload, and to
// read other users' processes. Nothing of it writes outside of its own files.
var needed = []host.Capability{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH}

// aside are those that posture checks need for a moment: to read the rules of nftables, and those of the kernel's audit.
var aside = []host.Capability{unix.CAP_NET_ADMIN, unix.CAP_AUDIT_CONTROL}

// missing are the names of those of needed that we do not have.
func missing() (names []string) {
	effective, _ := host.Current()
	for _, c := range needed {
		if !slices.Contains(effective, c.String()) {
			names = append(names, c.String())
		}
	}
	return names
}

// GiveUpCapabilities keeps what is needed. A store that belongs to somebody else needs one more to be written, and so do
// probes of TLS libraries on some kernels; posture checks need two, but not in effect.
func GiveUpCapabilities(store string, tls requests.TLSConfig, posture bool, log *slog.Logger) {
	keep, later := slices.Clone(needed), aside
	if !posture {
		later = nil
	}
	if tls.On() && bpf.LibrariesNeedAdmin() {
		keep = append(keep, unix.CAP_SYS_ADMIN)
	}
	var st unix.Stat_t
	if store != "" && unix.Stat(store, &st) == nil && int(st.Uid) != os.Geteuid() {
		keep = append(keep, unix.CAP_DAC_OVERRIDE)
	}
	if err := host.Keep(keep, later); err != nil {
		log.Warn("capabilities are not given up", "err", err)
	}
}

// Close detaches from the kernel.
func (n *Node) Close() error { return n.Agent.Close() }

// WriteDoctor says what this kernel and host allow, and why something is off. Each runtime is one line, and so is what there is to
// say of the watching of files.
func (n *Node) WriteDoctor(w io.Writer, runtimes, files []string) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "Control groups  version %d", n.Layout.Version)
	if n.Layout.Version == 1 {
		fmt.Fprintf(b, ", hierarchy of %s (%d)", n.Layout.Controller, n.Layout.HierarchyID)
	}
	fmt.Fprintf(b, ", at %s\n", n.Layout.Mount)
	if n.Layout.Note != "" {
		fmt.Fprintf(b, "                %s\n", n.Layout.Note)
	}
	effective, _ := host.Current()
	fmt.Fprintf(b, "Capabilities    %s\n", strings.Join(effective, " "))
	fmt.Fprintf(b, "  kept to run   %s\n", namesOf(needed))
	fmt.Fprintf(b, "  kept aside    %s, for posture checks\n", namesOf(aside))
	fmt.Fprintf(b, "Kernel probes\n")
	for _, p := range n.Agent.Probes() {
		switch {
		case p.Attached:
			fmt.Fprintf(b, "  on    %s\n", p.Name)
		case p.Wanted:
			fmt.Fprintf(b, "  OFF   %-20s %s\n", p.Name, p.Reason)
		default:
			fmt.Fprintf(b, "  idle  %-20s nobody asks for it\n", p.Name)
		}
	}
	fmt.Fprintf(b, "Kernel memory of maps\n")
	var total uint64
	for _, bytes := range n.Agent.MapMemory() {
		total += bytes
	}
	fmt.Fprintf(b, "  %.1f MiB for %d workloads\n", float64(total)/(1<<20), n.Agent.SlotLimit())
	fmt.Fprintf(b, "Container runtimes\n")
	for _, line := range runtimes {
		fmt.Fprintf(b, "  %s\n", line)
	}
	fmt.Fprintf(b, "Integrity of files\n")
	for _, line := range files {
		fmt.Fprintf(b, "  %s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func namesOf(capabilities []host.Capability) string {
	var names []string
	for _, c := range capabilities {
		names = append(names, c.String())
	}
	return strings.Join(names, " ")
}

// TableMeasures are what the process table says of itself.
func TableMeasures(table func() *host.Table) []Measure {
	count := func(name, help string, read func(host.Stats) uint64) Measure {
		return Measure{NewCounter(name, help).Fixed(), func(set func(float64, ...string)) {
			if t := table(); t != nil {
				set(float64(read(t.Stats())))
			}
		}}
	}
	return []Measure{
		{NewGauge("yagura_process_table_entries", "Processes in the process table: running, exited and still remembered, and ancestors kept for their descendants.", "state").Fixed(),
			func(set func(float64, ...string)) {
				if t := table(); t != nil {
					s := t.Stats()
					set(float64(s.Processes), "running")
					set(float64(s.Exited), "exited")
					set(float64(s.Ancestors), "ancestor")
				}
			}},
		count("yagura_process_table_evictions_total", "Entries that left the process table early for want of room.",
			func(s host.Stats) uint64 { return s.Evicted }),
		count("yagura_process_table_misses_total", "Events of processes whose beginning was never seen.",
			func(s host.Stats) uint64 { return s.Missed }),
		count("yagura_process_table_duplicate_exits_total", "Second exits of one process, which were not counted.",
			func(s host.Stats) uint64 { return s.DuplicateExits }),
	}
}
