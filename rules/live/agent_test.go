package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// markerRule lets the marks leave the kernel by which an actor says where its act begins and ends.
const markerRule = `
- rule: mark
  desc: An actor of this test says where it stands.
  condition: evt.type = chdir and evt.arg.path startswith /yagura-live/
  output: mark
  priority: DEBUG
`

// A watch is the agent with the engine behind it: what Yagura does, but for the containers, which the test makes up.
type watch struct {
	set       *rules.Set
	languages rules.Languages
	layout    host.CgroupLayout
	agent     *bpf.Agent
	stop      func() error

	mu     sync.Mutex
	actors map[uint64]*actor // by control group
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("needs CONFIG_DEBUG_INFO_BTF: no /sys/kernel/btf/vmlinux")
	}
	w := &watch{actors: map[uint64]*actor{}}
	engine := w.loadRules(t)
	var err error
	if w.layout, err = host.Cgroups("/proc"); err != nil {
		t.Fatal(err)
	}
	agent, err := bpf.Load(bpf.Options{Config: bpf.Default, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Hierarchy: bpf.Hierarchy{V1: w.layout.Version == 1, Controller: w.layout.Controller, ID: w.layout.HierarchyID}})
	if err != nil {
		t.Fatal(err)
	}
	agent.Replan(bpf.Want{Processes: true})
	if err := agent.SetInterest(engine.Interest()); err != nil {
		t.Fatal(err)
	}
	w.agent = agent
	w.run(agent, engine)
	for _, p := range agent.Probes() {
		if p.Wanted && !p.Attached {
			t.Logf("probe %s refused: %s", p.Name, p.Reason)
		}
	}
	return w
}

// loadRules loads our own rules, the sandbox ones as well, each of which counts whatever others match.
func (w *watch) loadRules(t *testing.T) *rules.Engine {
	t.Helper()
	files, err := rules.Pack()
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, rules.File{Name: "mark", Text: []byte(markerRule)})
	w.languages = rules.NewLanguages(rules.LanguageOptions{})
	set, results := rules.Load(files, rules.LoadOptions{Languages: w.languages})
	for _, r := range results {
		for _, e := range r.Errors {
			t.Fatalf("%s: %s", r.Name, e.Message)
		}
	}
	for _, r := range set.Rules {
		r.Enabled = true
	}
	w.set = set
	engine := rules.NewEngine(rules.EngineOptions{Count: w.hit})
	config := rules.Default
	config.Matching = "all"
	if err := engine.Compile(w.languages, set, config); err != nil {
		t.Fatal(err)
	}
	return engine
}

func (w *watch) run(agent *bpf.Agent, engine *rules.Engine) {
	table := host.NewTable(host.TableOptions{Procfs: "/proc", Cgroups: w.layout, Config: host.Default})
	eval := engine.Evaluator()
	below := lineage{self: uint32(os.Getpid()), cut: map[*event.Process]*event.Process{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, func(ev *event.Event) {
			a := w.actorOf(ev)
			if a != nil {
				ev.Container = a.container
			}
			if !table.Attach(ev) {
				return
			}
			if a != nil {
				ev.Process = below.of(ev.Process)
				w.keep(a, ev)
			}
			eval.Eval(ev)
		})
	}()
	w.stop = func() error {
		cancel()
		return errors.Join(<-done, agent.Close())
	}
}

// A lineage ends where we begin: who runs the tests, make perhaps, is no ancestor that an example names.
type lineage struct {
	self uint32
	cut  map[*event.Process]*event.Process
}

// of returns a process with those of its ancestors that are below us.
func (l *lineage) of(p *event.Process) *event.Process {
	if p == nil || p.PID == l.self {
		return nil
	}
	c := l.cut[p]
	if c == nil {
		copied := *p
		copied.Parent = l.of(p.Parent)
		c = &copied
		l.cut[p] = c
	}
	return c
}

// actorOf is whose event this is: whoever has the control group.
func (w *watch) actorOf(ev *event.Event) *actor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.actors[ev.CgroupID]
}

// maxKept bounds the events kept of one actor.
const maxKept = 2000

// keep remembers what an actor did, for the verdict.
func (w *watch) keep(a *actor, ev *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(a.events) < maxKept {
		a.events = append(a.events, seen{ev: ev.Clone()})
	}
	if ev.Kind == event.Exit {
		a.exits[ev.PID] = true
		if ev.PID == a.first {
			close(a.over)
			a.first = 0
		}
	}
}

// hit is told by the engine that the event which keep has just kept satisfies a rule.
func (w *watch) hit(rule *event.Rule, ev *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.actors[ev.CgroupID]; a != nil && len(a.events) > 0 {
		last := &a.events[len(a.events)-1]
		last.rules = append(last.rules, rule.Name)
	}
}

// A seen is one event of an actor, and the rules that it satisfied.
type seen struct {
	ev    *event.Event
	rules []string
}

// An actor is the processes that perform one example, in a control group of their own.
type actor struct {
	container *event.Container
	group     string // directory of the control group
	id        uint64
	first     uint32        // the process that begins; 0 before it is known and after it has gone
	over      chan struct{} // closed when its exit has come through the ring
	exits     map[uint32]bool
	events    []seen
}

func (w *watch) newActor(name string, container *event.Container) (*actor, error) {
	a := &actor{group: filepath.Join(w.layout.Mount, name), over: make(chan struct{}), exits: map[uint32]bool{}}
	if err := os.Mkdir(a.group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(a.group, &st); err != nil {
		return nil, err
	}
	a.id = st.Ino
	if container != nil {
		c := *container
		c.CgroupID = a.id
		a.container = &c
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actors[a.id] = a
	return a, nil
}

// began says which process the actor begins with.
func (w *watch) began(a *actor, pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.exits[uint32(pid)] {
		close(a.over)
		return
	}
	a.first = uint32(pid)
}

// await returns all that the actor did, once the kernel has said that its first process is gone.
func (w *watch) await(a *actor) ([]seen, error) {
	defer w.forget(a)
	select {
	case <-a.over:
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Clone(a.events), nil
	case <-time.After(30 * time.Second):
		return nil, errors.New("its exit never came through the ring")
	}
}

// forget takes an actor off the list, and removes its group.
func (w *watch) forget(a *actor) {
	removeGroup(a.group)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.actors, a.id)
}

// lost is how many events the kernel side could not tell of, as it counts them itself; since 7.0 a task that is preempted in
// a program keeps others on its processor from running it.
func (w *watch) lost(t *testing.T) (n uint64) {
	if err := w.agent.LostEvents(func(_ event.Kind, more uint64) { n += more }); err != nil {
		t.Error(err)
	}
	for _, more := range w.agent.Missed() {
		n += more
	}
	return n
}

// removeGroup waits for the last task to be gone, which the kernel does after it was waited for.
func removeGroup(path string) {
	for range 400 {
		if err := os.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "control group", path, "stays")
}

// joinGroup moves the calling thread into an actor's group where that is possible; else the descriptor of the group is for
// the clone to use.
func (w *watch) joinGroup(a *actor) (fd int, err error) {
	if w.layout.Version == 1 {
		return -1, os.WriteFile(filepath.Join(a.group, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0o644)
	}
	return unix.Open(a.group, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
