package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Want says what must be seen. What rules ask for is told by SetInterest besides.
type Want struct {
	Workloads      bool // control groups; all the others ask for them too
	Processes      bool // every process that is made, runs another image, or ends
	Syscalls       bool // every system call, by name and error
	SyscallLatency bool // and how long it took; costs a second hook on every call
	TCP            bool // connections, bytes and accept queues
	RunQueue       bool // how long threads wait for a processor; three hooks on every switch and wake-up
	BlockIO        bool // requests to block devices
	PacketDrops    bool // packets thrown away, by reason
	Requests       bool // requests and responses of the protocols of layer 7
}

// A hook is one program and when it is wanted. Programs are written so that each is useful alone.
type hook struct {
	program string
	attach  func(*Agent, *ebpf.Program) (io.Closer, error)
	wanted  func(p *plan) bool
}

// plan is what is known while hooks are chosen.
type plan struct {
	Want
	calls   wantedCalls
	refused map[string]bool
}

func (p *plan) workloads() bool {
	return p.Workloads || p.Processes || p.calls.any || p.Syscalls || p.TCP || p.RunQueue || p.BlockIO || p.Requests
}

// bytesAtExit: a kernel without the socket tracepoints counts bytes from the results of system calls.
func (p *plan) bytesAtExit() bool {
	return p.TCP && (p.refused["socket_sent"] || p.refused["socket_received"])
}

// dispatcher: the shared sys_exit program is worth its price when every call counts anyway. For connect alone a
// tracepoint of its own is cheaper (see BenchmarkHookOfOneCall), where tracefs gives one. For what rules ask for it is
// always the dispatcher: rules want some dozens of calls, each with a tracepoint that costs every other call too.
func (p *plan) dispatcher() bool {
	return p.Syscalls || p.SyscallLatency || p.reportsCalls() || p.seesRequests() || p.bytesAtExit() || p.TCP && p.refused["connect_exit"]
}

// reportsCalls: rules ask for system calls, and this kernel lets us look at them.
func (p *plan) reportsCalls() bool { return p.calls.any && !p.refused["call_exit"] }

// seesRequests: requests are asked for, and this kernel lets us look at them.
func (p *plan) seesRequests() bool { return p.Requests && !p.refused["l7_exit"] }

// duties are what the dispatcher does besides.
type duties struct{ syscalls, tcp, bytes, requests bool }

func (p *plan) duties() duties { return duties{p.Syscalls, p.TCP, p.bytesAtExit(), p.seesRequests()} }

// dispatchers are the programs whose duties are fixed when they are loaded.
var dispatchers = []string{"sys_exit", "sys_exit_timed"}

// hooks is every program that can be attached, in the order of attaching: what gives slots comes first, what replaces
// another comes after it.
var hooks = []hook{
	{"cgroup_mkdir", tracing, (*plan).workloads},
	{"cgroup_rmdir", tracing, (*plan).workloads},
	{"process_fork", tracing, func(p *plan) bool { return p.Processes }},
	{"process_exec", tracing, func(p *plan) bool { return p.Processes }},
	{"process_exit", tracing, func(p *plan) bool { return p.Processes }},
	{"tcp_state", tracing, func(p *plan) bool { return p.TCP || p.Requests }},
	{"tcp_destroyed", tracing, func(p *plan) bool { return p.TCP || p.Requests }},
	{"tcp_retransmit", tracing, func(p *plan) bool { return p.TCP }},
	{"tcp_reset_sent", tracing, func(p *plan) bool { return p.TCP }},
	{"tcp_reset_received", tracing, func(p *plan) bool { return p.TCP }},
	{"socket_sent", tracing, func(p *plan) bool { return p.TCP }},
	{"socket_received", tracing, func(p *plan) bool { return p.TCP && !p.refused["socket_sent"] }},
	{"run_queue_wakeup", tracing, func(p *plan) bool { return p.RunQueue }},
	{"run_queue_new", tracing, func(p *plan) bool { return p.RunQueue && !p.refused["run_queue_wakeup"] }},
	{"run_queue_switch", tracing, func(p *plan) bool { return p.RunQueue && !p.refused["run_queue_wakeup"] }},
	{"block_inserted", tracing, func(p *plan) bool { return p.BlockIO }},
	{"block_issued", tracing, func(p *plan) bool { return p.BlockIO }},
	{"block_completed", tracing, func(p *plan) bool { return p.BlockIO && !p.refused["block_issued"] }},
	{"packet_dropped", tracing, func(p *plan) bool { return p.PacketDrops }},
	{"call_exit", behindDispatcher(yaguraCallProgramCALL_EXIT), func(p *plan) bool { return p.calls.any }},
	{"l7_state", tracing, func(p *plan) bool { return p.Requests }},
	{"l7_closed", tracing, func(p *plan) bool { return p.Requests }},
	{"l7_ring_made", tracing, func(p *plan) bool { return p.Requests }},
	{"l7_text", behindDispatcher(yaguraCallProgramCALL_L7TEXT), func(p *plan) bool { return p.Requests }},
	{"l7_sql", behindDispatcher(yaguraCallProgramCALL_L7SQL), func(p *plan) bool { return p.Requests }},
	{"l7_binary", behindDispatcher(yaguraCallProgramCALL_L7BINARY), func(p *plan) bool { return p.Requests }},
	{"l7_http2", behindDispatcher(yaguraCallProgramCALL_L7HTTP2), func(p *plan) bool { return p.Requests }},
	{"l7_dns", behindDispatcher(yaguraCallProgramCALL_L7DNS), func(p *plan) bool { return p.Requests }},
	{"l7_exit", behindDispatcher(yaguraCallProgramCALL_L7), func(p *plan) bool { return p.Requests }},
	{"connect_exit", tracepoint("syscalls", "sys_exit_connect"), func(p *plan) bool { return p.TCP && !p.dispatcher() }},
	{"call_enter", tracing, func(p *plan) bool { return p.calls.entry && !p.refused["call_exit"] }},
	{"io_uring_submit", tracing, func(p *plan) bool { return p.calls.ring }},
	{"io_uring_submit_old", tracing, func(p *plan) bool { return p.calls.ring && p.refused["io_uring_submit"] }},
	{"io_uring_complete", tracing, func(p *plan) bool { return p.calls.ring && !p.refused["io_uring_submit_old"] }},
	{"sys_enter", tracing, func(p *plan) bool { return p.SyscallLatency }},
	{"sys_exit_timed", tracing, func(p *plan) bool { return p.SyscallLatency && !p.refused["sys_enter"] }},
	{"sys_exit", tracing, func(p *plan) bool {
		return p.dispatcher() && (!p.SyscallLatency || p.refused["sys_enter"] || p.refused["sys_exit_timed"])
	}},
	{"sys_exit_group", tracing, func(p *plan) bool { return p.Syscalls }},
}

func tracing(_ *Agent, p *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func tracepoint(group, name string) func(*Agent, *ebpf.Program) (io.Closer, error) {
	return func(_ *Agent, p *ebpf.Program) (io.Closer, error) { return link.Tracepoint(group, name, p, nil) }
}

// behindDispatcher hangs a program behind the dispatcher, which calls it by its place in call_programs.
func behindDispatcher(place yaguraCallProgram) func(*Agent, *ebpf.Program) (io.Closer, error) {
	return func(a *Agent, p *ebpf.Program) (io.Closer, error) {
		m := a.maps["call_programs"]
		if m == nil {
			return nil, fmt.Errorf("map call_programs: %w", a.missing["call_programs"])
		}
		if err := m.Put(place, p); err != nil {
			return nil, fmt.Errorf("hang it behind sys_exit: %w", err)
		}
		return closer(func() error { return m.Delete(place) }), nil
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// A Probe is one program and what became of it.
type Probe struct {
	Name     string
	Wanted   bool   // somebody asks for what it sees
	Attached bool   // it runs
	Reason   string // why it does not run though it is wanted
}

// Hierarchy is the one tree of control groups that names workloads.
type Hierarchy struct {
	V1         bool
	Controller string // V1: the controller whose tree it is
	ID         int    // the kernel's number of the tree, 0 for cgroup2
}

// Options are what Load needs to know.
type Options struct {
	Hierarchy Hierarchy
	Config    Config
	Log       *slog.Logger
}

// Agent is the kernel side while it runs.
type Agent struct {
	log         *slog.Logger
	planning    sync.Mutex // held while hooks change; guards want and calls
	want        Want
	types       *btf.Cache                   // while hooks change
	loadable    map[string]*ebpf.ProgramSpec // while hooks change: as instructions of Go they take many times their size
	foundSelf   bool                         // or looked for in vain
	calls       wantedCalls
	mu          sync.Mutex           // guards probes, programs and links, which a reload changes while a scrape reads
	spec        *ebpf.CollectionSpec // without its programs
	maps        map[string]*ebpf.Map
	missing     map[string]error // maps this kernel refuses
	unfit       map[string]error // programs whose hooks this kernel has in another form
	programs    map[string]*ebpf.Program
	links       map[string]io.Closer
	attachedFor map[string]duties // what a dispatcher was loaded for
	refusal     error             // why there is no kernel side
	probes      []Probe
	variables   map[string]any
	slots       *slots
	events      events
	cpus        int
	queues      *link.Iter // walks the accept queues; made when they are first asked for
	connections *link.Iter // walks the connections; likewise
	reasons     []string   // names of packet_drops' elements
	libraries   libraries  // of TLS, in files of workloads
}

// Load makes the maps and attaches what gives control groups their slots. The rest comes with Replan, once AddCgroup was
// called for the control groups that are there, so that nothing they do is counted under `other`. An error means that nothing at all can run here; the agent is then one that sees nothing, as is the
// zero Agent, and may be used all the same.
func Load(o Options) (*Agent, error) {
	if err := rlimit.RemoveMemlock(); err != nil { // kernels before 5.11 charge maps to it
		o.Log.Debug("locked memory stays limited", "err", err)
	}
	a := &Agent{log: o.Log, programs: map[string]*ebpf.Program{}, missing: map[string]error{},
		maps: map[string]*ebpf.Map{}, links: map[string]io.Closer{}, attachedFor: map[string]duties{}}
	if err := a.load(o); err != nil {
		err = errors.Join(err, a.Close())
		return &Agent{log: o.Log, refusal: err}, err
	}
	return a, nil
}

// off says that the agent sees nothing.
func (a *Agent) off() bool { return a.maps == nil }

func (a *Agent) load(o Options) (err error) {
	if a.spec, err = loadYagura(); err != nil {
		return fmt.Errorf("read the embedded programs: %w", err)
	}
	a.loadable, a.spec.Programs = a.spec.Programs, nil // until the hooks are chosen, see forgetPrograms
	if a.cpus, err = ebpf.PossibleCPU(); err != nil {
		return fmt.Errorf("count possible CPUs: %w", err)
	}
	if err := a.describe(o); err != nil {
		return err
	}
	if err := a.createMaps(o.Config); err != nil {
		return err
	}
	if o.Config.ProgramStats {
		if a.links["statistics"], err = ebpf.EnableStats(unix.BPF_STATS_RUN_TIME); err != nil { // off again when we close
			delete(a.links, "statistics")
			a.log.Warn("programs are not timed", "err", err)
		}
	}
	a.Replan(Want{Workloads: true})
	return nil
}

// Replan attaches what is wanted now and was not before, and detaches what nobody wants any more, each program by itself.
// It goes through the hooks once; what is refused is told by Probes, and changes what comes after it.
func (a *Agent) Replan(w Want) {
	if a.off() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.probes = refused(w, a.refusal)
		return
	}
	a.planning.Lock()
	defer a.planning.Unlock()
	a.replan(w)
}

func (a *Agent) replan(w Want) {
	a.want = w
	a.types = btf.NewCache() // else every program would read the kernel's types for itself
	defer a.forgetPrograms()
	if !a.foundSelf {
		pid, err := a.findSelf()
		if err == nil {
			a.variables["self_tgid"] = pid
		} else {
			a.log.Debug("own process id is taken as it is seen here", "err", err)
		}
		a.foundSelf = true
	}
	p := &plan{Want: w, calls: a.calls, refused: map[string]bool{}}
	var probes []Probe
	for _, h := range hooks {
		probes = append(probes, a.decide(p, h))
	}
	if w.TCP {
		probes = append(probes, a.prepareWalk(&a.queues, "accept_queues", "listen_sockets", "accept queues are not looked at"))
	}
	if w.Requests {
		probes = append(probes, a.prepareWalk(&a.connections, "l7_connections", "l7_conns", "connections are not listed"))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.probes = probes
}

func (a *Agent) decide(p *plan, h hook) Probe {
	probe := Probe{Name: h.program, Wanted: h.wanted(p)}
	old, program := a.links[h.program], a.programs[h.program]
	switch {
	case old != nil && !probe.Wanted:
		a.detach(h.program)
		return probe
	case !probe.Wanted:
		return probe
	case old != nil && (a.attachedFor[h.program] == p.duties() || !slices.Contains(dispatchers, h.program)):
		probe.Attached = true
		return probe
	}
	a.variables["count_syscalls"] = p.Syscalls
	a.variables["watch_connect"] = p.TCP
	a.variables["socket_bytes"] = p.bytesAtExit()
	a.variables["watch_requests"] = p.seesRequests()
	err := a.attachOne(h)
	if old != nil && err == nil { // the one that does more, or less, runs: no call is missed
		err = errors.Join(old.Close(), program.Close())
	}
	a.attachedFor[h.program] = p.duties()
	if err != nil {
		p.refused[h.program] = true
		probe.Reason = shortReason(err)
		a.log.Warn("probe refused", "probe", h.program, "reason", probe.Reason)
		a.log.Debug("probe refused", "probe", h.program, "err", fmt.Sprintf("%+v", err))
		return probe
	}
	probe.Attached = true
	return probe
}

func (a *Agent) detach(program string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := errors.Join(a.links[program].Close(), a.programs[program].Close()); err != nil {
		a.log.Warn("probe not detached", "probe", program, "err", err)
	}
	delete(a.links, program)
	delete(a.programs, program)
}

func (a *Agent) attachOne(h hook) error {
	if err := a.unfit[h.program]; err != nil {
		return err
	}
	prog, err := a.loadProgramOf(h.program, a.types)
	if err != nil {
		return err
	}
	l, err := h.attach(a, prog)
	if err != nil {
		return errors.Join(fmt.Errorf("attach: %w", err), prog.Close())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links[h.program], a.programs[h.program] = l, prog
	return nil
}

// loadProgram loads one program with the shared maps and its own copy of the knobs.
func (a *Agent) loadProgram(name string) (*ebpf.Program, error) { return a.loadProgramOf(name, nil) }

// loadProgramOf takes what it needs of the kernel's types from types, or reads them.
func (a *Agent) loadProgramOf(name string, types *btf.Cache) (*ebpf.Program, error) {
	coll, err := a.loadCollection(name, types)
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

func (a *Agent) loadCollection(name string, types *btf.Cache) (*ebpf.Collection, error) {
	programs := a.loadable
	if programs == nil {
		programs = a.readPrograms()
	}
	if a.types != nil {
		a.loadable = programs
	}
	prog, ok := programs[name]
	if !ok {
		return nil, fmt.Errorf("no program %q", name)
	}
	alone := *a.spec
	alone.Programs = map[string]*ebpf.ProgramSpec{name: prog}
	spec := alone.Copy()
	for variable, value := range a.variables {
		if err := spec.Variables[variable].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", variable, err)
		}
	}
	for _, ins := range prog.Instructions {
		if err := a.missing[ins.Reference()]; err != nil && ins.IsLoadFromMap() {
			return nil, fmt.Errorf("map %s: %w", ins.Reference(), err)
		}
	}
	replace := map[string]*ebpf.Map{}
	for m := range spec.Maps {
		if a.maps[m] != nil {
			replace[m] = a.maps[m]
		} else if !strings.HasPrefix(m, ".") {
			delete(spec.Maps, m)
		}
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace, Cache: types})
}

// forgetPrograms gives back what changing hooks took.
func (a *Agent) forgetPrograms() {
	a.types = nil
	if a.loadable != nil {
		a.loadable = nil
		debug.FreeOSMemory()
	}
}

// readPrograms reads the embedded programs, which was possible before.
func (a *Agent) readPrograms() map[string]*ebpf.ProgramSpec {
	spec, err := loadYagura()
	if err != nil {
		a.log.Error("embedded programs cannot be read again", "err", err)
		return map[string]*ebpf.ProgramSpec{}
	}
	return spec.Programs
}

// findSelf asks the kernel for our process id in the initial pid namespace, which we may not be in.
func (a *Agent) findSelf() (uint32, error) {
	coll, err := a.loadCollection("find_self", a.types)
	if err != nil {
		return 0, err
	}
	defer coll.Close()
	if _, err := coll.Programs["find_self"].Run(&ebpf.RunOptions{}); err != nil {
		return 0, fmt.Errorf("run find_self: %w", err)
	}
	var pid uint32
	if err := coll.Variables["self_found"].Get(&pid); err != nil {
		return 0, fmt.Errorf("read own process id: %w", err)
	}
	return pid, nil
}

// FindSockets notes who owns the TCP sockets that are there already. Call it once every control group has its slot.
func (a *Agent) FindSockets() {
	if a.off() {
		return
	}
	probe := Probe{Name: "sockets", Wanted: true, Attached: true}
	if _, err := a.iterate("sockets"); err != nil { // it fills maps and writes nothing
		probe.Attached, probe.Reason = false, shortReason(err)
		a.log.Warn("sockets older than we are have no owner", "reason", probe.Reason)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.probes = append(a.probes, probe)
}

// iterate runs an iterator program to its end and returns what it writes.
func (a *Agent) iterate(name string) ([]byte, error) {
	if a.off() {
		return nil, errors.New("no BPF here")
	}
	prog, err := a.loadProgram(name)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	it, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer r.Close()
	written, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return written, nil
}

// Probes says of every program whether it is wanted, runs, and if not why, in the order of their names.
func (a *Agent) Probes() []Probe {
	a.mu.Lock()
	defer a.mu.Unlock()
	probes := append(slices.Clone(a.probes), a.libraries.probes()...)
	slices.SortFunc(probes, byName)
	return probes
}

// Attached says whether a program runs.
func (a *Agent) Attached(program string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.links[program] != nil
}

func byName(a, b Probe) int { return cmp.Compare(a.Name, b.Name) }

// refused returns the probes of a kernel side that cannot run at all: every wanted one, with the reason.
func refused(w Want, err error) []Probe {
	var probes []Probe
	for _, h := range hooks {
		if h.wanted(&plan{Want: w, refused: map[string]bool{}}) {
			probes = append(probes, Probe{Name: h.program, Wanted: true, Reason: shortReason(err)})
		}
	}
	return probes
}

// Close detaches everything and frees the maps.
func (a *Agent) Close() error {
	var errs []error
	if a.queues != nil {
		errs = append(errs, a.queues.Close())
	}
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	for _, p := range a.programs {
		errs = append(errs, p.Close())
	}
	for _, m := range a.maps {
		errs = append(errs, m.Close())
	}
	a.links, a.programs, a.maps = nil, nil, nil
	return errors.Join(errs...)
}

// shortReason is the first line of an error, which for a refused program would otherwise hold the verifier's log.
func shortReason(err error) string {
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) {
		if len(ve.Log) > 0 {
			return fmt.Sprintf("%v: %s", ve.Cause, strings.TrimSpace(lastRemark(ve.Log)))
		}
		return ve.Cause.Error()
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// lastRemark is what the verifier said before its statistics.
func lastRemark(log []string) string {
	for _, line := range slices.Backward(log) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "processed ") {
			return line
		}
	}
	return ""
}
