package exporter

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/requests"
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

// WorkloadsOptions say what the collectors of workloads read, and how a control group is named.
type WorkloadsOptions struct {
	Node   *Node
	Flags  *CommandLine
	Name   Namer
	Groups func(yield func(event.Group)) // the control groups that are a workload's own
	At     func(cgroupPath string) (event.Workload, bool)
	Log    *slog.Logger

	Containers func() []*event.Container // those that run, for whom their addresses are
	Requests   requests.Config
}

// Workloads are the collectors of what the kernel side, the control groups and /proc tell of the node's workloads.
type Workloads struct {
	Kernel   *Kernel
	Edges    *Edges
	agent    *bpf.Agent
	requests *Requests
	tls      *requests.TLS
	usage    *Usage
	entries  []Entry
}

// NewWorkloads returns them. With a zero Node they only document themselves.
func NewWorkloads(o WorkloadsOptions) *Workloads {
	k := NewKernel(o.Node.Agent, o.Name)
	usage := NewUsage(UsageOptions{Procfs: o.Flags.Procfs, Rootfs: o.Flags.Rootfs, Layout: o.Node.Layout, At: o.At, Log: o.Log})
	resources := NewResources(ResourcesOptions{Groups: o.Groups, Layout: o.Node.Layout, Procfs: o.Flags.Procfs, Sysfs: o.Flags.Sysfs, Log: o.Log})
	saturation := NewSaturation(SaturationOptions{Kernel: k, Demands: resources.Demands, Node: NodeDemand(o.Flags.Procfs),
		Waits: func() bool { return o.Node.Agent.Attached("run_queue_switch") }})
	edges := NewEdges(EdgesOptions{Kernel: k, Source: o.Node.Agent, Config: o.Requests.EdgesConfig, Containers: o.Containers, Find: o.Node.Find,
		Rings: o.Node.Agent.RingUsers, Procfs: o.Flags.Procfs, Log: o.Log})
	asked := NewRequests(RequestsOptions{Kernel: k, Source: o.Node.Agent, Config: o.Requests, Peer: edges.peerOf, Find: o.Node.Find,
		Answer: edges.Answer, Log: o.Log})
	tls := requests.NewTLS(requests.TLSOptions{Procfs: o.Flags.Procfs, Config: o.Requests.TLS, Prober: o.Node.Agent, Workload: o.Name,
		Processes: func() []*event.Process { return o.Node.Table.Processes() }, Log: o.Log})
	return &Workloads{k, edges, o.Node.Agent, asked, tls, usage, []Entry{
		NewSyscalls(k).Entry(),
		NewProcesses(k).Entry(),
		NewLives(k).Entry(),
		NewTCP(k).Entry(),
		NewRunQueue(k).Entry(),
		NewBlock(k, o.Flags.Sysfs).Entry(),
		NewDrops(o.Node.Agent).Entry(),
		resources.Entry(),
		saturation.Entry(),
		usage.Entry(),
		NewVolumes(o.Groups, o.Node.Layout, o.Flags.Procfs).Entry(),
		asked.Entry(),
		edges.Entry(),
	}}
}

// Entries are the collectors' rows in the list.
func (w *Workloads) Entries() []Entry { return w.entries }

// Run looks at the processes, and at requests and who has them where the kernel side tells of them, until ctx is done.
func (w *Workloads) Run(ctx context.Context) error {
	parts := &Parts{}
	parts.Add(w.usage.Run)
	if w.requests.watched() {
		parts.Add(w.requests.Run, w.Edges.Run, w.tls.Run)
	}
	return parts.Run(ctx)
}

// Reload changes how requests are looked at and shown, and what is attached in the kernel.
func (w *Workloads) Reload(c requests.Config, want bpf.Want) {
	w.requests.Configure(c)
	w.Edges.Configure(c.EdgesConfig)
	w.tls.Configure(c.TLS)
	w.agent.Replan(want)
}

// Mount adds the tables of processes, of logins, of requests, of connections, of hits, of changes of files and of posture.
func (w *Workloads) Mount(mux *http.ServeMux, hits *Rules, changes *FIM, posture *Posture) {
	mux.Handle("/api/yagura/hits", hits.Hits())
	mux.Handle("/api/yagura/fim", changes.Changes())
	mux.Handle("/api/yagura/posture", posture.Rows())
	mux.Handle("/api/yagura/processes", w.usage.Processes())
	mux.Handle("/api/yagura/sessions", w.usage.Sessions())
	mux.Handle("/api/yagura/requests", w.requests.Samples())
	mux.Handle("/api/yagura/connections", w.Edges.Connections())
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

// Asked says whether the command line itself turns a collector on. It is valid after the flags are parsed.
func (s *Selection) Asked(name string) bool {
	i := slices.Index(s.names, name)
	return i >= 0 && s.on[i] && s.set[i]
}

// Enabled returns the entries that are on, in their order. It is valid after the flags are parsed.
func (s *Selection) Enabled(entries []Entry) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return !s.On(e.Name) })
}

// Want is what the collectors that are on need to see in the kernel.
func (s *Selection) Want(c bpf.Config) bpf.Want {
	return bpf.Want{
		Processes: s.On("processes") || s.On("rules") || s.On("edges"), Syscalls: s.On("syscalls"), TCP: s.On("tcp"),
		SyscallLatency: s.On("syscalls") && c.SyscallLatency,
		RunQueue:       s.On("runqueue"), BlockIO: s.On("block"), PacketDrops: s.On("drops"),
		Requests: s.On("requests") || s.On("edges"),
	}
}
