package exporter

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// ErrNoData says that the subject of a collector is absent here. That is not a failure.
var ErrNoData = errors.New("no data")

// A Collector reads one subject and sends its metrics. It returns ErrNoData if the subject is absent here. The exporter
// makes one call at a time, and none while an earlier one still runs.
type Collector interface {
	Update(ctx context.Context, ch chan<- prometheus.Metric) error
}

// An Entry is one row of the list of collectors.
type Entry struct {
	Name, Help string
	Default    bool // on without a flag
	Collector  Collector
	Families   []*Family // all it sends, for the caps and the reference
}

// NodeParts are the parts of the program that the collectors of a Node show.
type NodeParts struct {
	Node   *Node
	Kernel *Kernel
	Flags  *CommandLine
	Groups func(yield func(event.Group)) // the control groups that are a workload's own
	Log    *slog.Logger
}

// NodeEntries is the list of collectors of what the kernel side and the control groups tell of the node's workloads.
func NodeEntries(p NodeParts) []Entry {
	resources := NewResources(ResourcesOptions{Groups: p.Groups, Layout: p.Node.Layout, Procfs: p.Flags.Procfs, Sysfs: p.Flags.Sysfs, Log: p.Log})
	return []Entry{
		NewSyscalls(p.Kernel).Entry(),
		NewProcesses(p.Kernel).Entry(),
		NewLives(p.Kernel).Entry(),
		NewTCP(p.Kernel).Entry(),
		NewRunQueue(p.Kernel).Entry(),
		NewBlock(p.Kernel, p.Flags.Sysfs).Entry(),
		NewDrops(p.Node.Agent).Entry(),
		resources.Entry(),
		NewSaturation(SaturationOptions{Kernel: p.Kernel, Demands: resources.Demands, Node: NodeDemand(p.Flags.Procfs),
			Waits: func() bool { return p.Node.Agent.Attached("run_queue_switch") }}).Entry(),
	}
}

// A Selection is which collectors the command line turns on.
type Selection struct {
	names           []string
	on, set         []bool
	disableDefaults bool
}

// Flags adds --collector.NAME and --no-collector.NAME for each entry, and --collector.disable-defaults.
func Flags(app *kingpin.Application, entries []Entry) *Selection {
	s := &Selection{on: make([]bool, len(entries)), set: make([]bool, len(entries))}
	for i, e := range entries {
		def := "false"
		if e.Default {
			def = "true"
		}
		s.names = append(s.names, e.Name)
		app.Flag("collector."+e.Name, e.Help).Default(def).IsSetByUser(&s.set[i]).BoolVar(&s.on[i])
	}
	app.Flag("collector.disable-defaults", "Leave off all collectors that are not turned on by a flag of their own.").
		BoolVar(&s.disableDefaults)
	return s
}

// On says whether a collector is on. It is valid after the flags are parsed.
func (s *Selection) On(name string) bool {
	i := slices.Index(s.names, name)
	return i >= 0 && s.on[i] && (s.set[i] || !s.disableDefaults)
}

// Enabled returns the entries that are on, in their order. It is valid after the flags are parsed.
func (s *Selection) Enabled(entries []Entry) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return !s.On(e.Name) })
}

// Want is what the collectors that are on need to see in the kernel.
func (s *Selection) Want(c bpf.Config) bpf.Want {
	return bpf.Want{
		Processes: s.On("processes"), Syscalls: s.On("syscalls"), TCP: s.On("tcp"),
		SyscallLatency: s.On("syscalls") && c.SyscallLatency,
		RunQueue:       s.On("runqueue"), BlockIO: s.On("block"), PacketDrops: s.On("drops"),
	}
}
