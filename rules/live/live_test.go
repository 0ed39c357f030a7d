package live

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// The main thread stays the main goroutine's, so that no thread which goes into a world of its own is the one that stands
// for the whole process.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if step := os.Getenv(stepVariable); step != "" {
		act(step)
	}
	os.Exit(m.Run())
}

// leastRules is how many rules must have fired on real actions, on every kernel.
const leastRules = 100

// TestTruthRulesFireOnRealActs performs the examples of our rules: those that match must fire their rule, with the right
// process, ancestors, file and container; the others must not.
func TestTruthRulesFireOnRealActs(t *testing.T) {
	proves(t, "rules_fire_on_real_acts")
	needStatic(t)
	w := newWatch(t)
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	unix.Umask(0)
	s := newStage(t, w)
	s.victim = startVictim(t)
	s.performAll(s.plans())
	s.report(t)
}

// proves prints the cell of bpf/KERNELS.md when the test is over.
func proves(t *testing.T, feature string) {
	t.Helper()
	t.Cleanup(func() {
		word := "no"
		if !t.Failed() && !t.Skipped() {
			word = "yes"
		}
		fmt.Printf("YAGURA_CELL %s %s \n", feature, word)
	})
}

// needStatic skips where the test binary needs libraries, which a world of an actor does not have.
func needStatic(t *testing.T) {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Skip("needs a build without cgo (and so without -race)")
		}
	}
}

// startVictim starts a process that may be looked at.
func startVictim(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), stepVariable+"=victim")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // who was traced may have been left stopped
		cmd.Wait()
		in.Close()
	})
	return cmd.Process.Pid
}

// A stage is where examples are performed, and what came of them.
type stage struct {
	t      *testing.T
	w      *watch
	dir    string // a file system in memory, in which the worlds are
	victim int
	kept   *os.File // the null device
	rules  map[string]*rules.Rule

	mu        sync.Mutex
	fired     map[string]bool // rules of which an example fired
	performed map[bool]int    // by whether it should match
	right     map[bool]int
	again     int                 // performances repeated as events were lost
	skipped   map[string][]string // by reason
}

func newStage(t *testing.T, w *watch) *stage {
	t.Helper()
	s := &stage{t: t, w: w, dir: t.TempDir(), rules: map[string]*rules.Rule{}, fired: map[string]bool{},
		performed: map[bool]int{}, right: map[bool]int{}, skipped: map[string][]string{}}
	if err := unix.Mount("yagura-live", s.dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(s.dir, unix.MNT_DETACH) })
	os.Chmod(filepath.Dir(s.dir), 0o755)
	if err := copyFile(filepath.Join(s.dir, "actor"), "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.kept, err = os.OpenFile("/dev/null", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kept.Close() })
	return s
}

// plans are the examples that can be performed; of the others it is noted why not. In a guest, where all is slow, there are
// fewer: of each rule the first that matches, and of every other rule the first that does not.
func (s *stage) plans() (all []*plan) {
	few := os.Getenv("YAGURA_GUEST") != "" || testing.Short()
	only := os.Getenv("YAGURA_LIVE_ONLY")
	id := 0
	for _, r := range s.w.set.Rules {
		if r.Name == "mark" || !strings.Contains(r.Name, only) {
			continue
		}
		s.rules[r.Name] = r
		for _, kind := range []struct {
			examples []rules.Example
			match    bool
		}{{r.Examples.Match, true}, {r.Examples.Miss, false}} {
			if few && !kind.match && len(s.rules)%2 == 0 {
				continue
			}
			for _, x := range kind.examples {
				id++
				p, why := newPlan(id, r, x, kind.match, s.victim)
				if why != "" {
					s.skip(p, why)
					continue
				}
				all = append(all, p)
				if few {
					break
				}
			}
		}
	}
	return all
}

// skip notes why an example was not performed, and perhaps more precisely so.
func (s *stage) skip(p *plan, why string, more ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped[why] = append(s.skipped[why], fmt.Sprintf("%s: %s %s %s", p.Where, map[bool]string{true: "match", false: "miss"}[p.Match], p.Rule, strings.Join(more, " ")))
}

// atOnce is how many examples are performed at a time.
const atOnce = 3

func (s *stage) performAll(plans []*plan) {
	todo := make(chan *plan)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for p := range todo {
				s.performOne(p)
			}
		})
	}
	for _, p := range plans {
		todo <- p
	}
	close(todo)
	wg.Wait()
}

// tries is how often an example is performed whose events the kernel had no room for, as the agent's own count says.
const tries = 4

func (s *stage) performOne(p *plan) {
	for try := 1; ; try++ {
		lost := s.w.lost(s.t)
		wrong, skip := s.tryOne(p, try)
		if wrong != "" && try < tries && s.w.lost(s.t) > lost {
			s.mu.Lock()
			s.again++
			s.mu.Unlock()
			continue
		}
		if skip == nil {
			s.count(p, wrong)
		} else {
			s.skip(p, skip[0], skip[1:]...)
		}
		return
	}
}

// tryOne performs an example, and returns what was wrong with what the engine said; or else why it was not performed.
func (s *stage) tryOne(p *plan, try int) (wrong string, skip []string) {
	a, err := s.w.newActor(fmt.Sprintf("yagura-live-%d-%d-%d", os.Getpid(), p.ID, try), p.event.Container)
	if err != nil {
		return err.Error(), nil
	}
	result, err := s.perform(p, a, try)
	if err != nil {
		s.w.forget(a)
		return "", []string{"its world could not be made", err.Error()}
	}
	events, err := s.w.await(a)
	switch {
	case err != nil:
		return err.Error(), nil
	case result.Why != "":
		return "", []string{result.Why}
	}
	return s.judge(p, a, result, events), nil
}

// count counts an example that was performed.
func (s *stage) count(p *plan, wrong string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.performed[p.Match]++
	if wrong != "" {
		s.t.Errorf("%s: %s: %s", p.Where, p.Rule, wrong)
		return
	}
	s.right[p.Match]++
	if p.Match {
		s.fired[p.Rule] = true
	}
}

// judge compares what the engine said with what the example says, and returns the difference.
func (s *stage) judge(p *plan, a *actor, result report, events []seen) string {
	own := p.own(result, events)
	var hits []seen
	for _, e := range own {
		if slices.Contains(e.rules, p.Rule) {
			hits = append(hits, e)
		}
	}
	switch {
	case p.event.Kind == event.Syscall && !marked(events):
		return "the kernel did not tell of its marks\n" + tale(result, events)
	case len(own) == 0 && p.Match:
		return "the kernel told of no such event\n" + tale(result, events)
	case p.Match && len(hits) == 0:
		return "the rule did not fire:\n" + s.explain(p, own)
	case !p.Match && len(hits) > 0:
		return "the rule fired, and should not:\n" + s.explain(p, own)
	case p.Match:
		return p.compare(hits[0].ev, a)
	}
	return ""
}

// marked says that both marks of an act came through, so that what is not there did not happen.
func marked(events []seen) bool {
	n := 0
	for _, e := range events {
		if slices.Contains(e.rules, "mark") {
			n++
		}
	}
	return n == 2
}

// own are the events of the act itself: of the process that performs it, between its marks.
func (p *plan) own(result report, events []seen) (own []seen) {
	inside := false
	for _, e := range events {
		if slices.Contains(e.rules, "mark") {
			inside = strings.HasSuffix(string(e.ev.Call.Text[0].Raw), "/begin")
			continue
		}
		switch kind := p.event.Kind; {
		case e.ev.Kind != kind:
		case kind == event.Exec || kind == event.Exit: // of a process that is known by its number; on x86 execveat looks like execve
			if result.PID == 0 || int(e.ev.PID) == result.PID {
				own = append(own, e)
			}
		case inside && e.ev.Type == p.event.Type:
			own = append(own, e)
		}
	}
	if p.event.Kind == event.Exec && len(own) > 1 {
		own = own[len(own)-1:]
	}
	return own
}

// tale is what an actor did.
func tale(result report, events []seen) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n", result)
	for _, e := range events {
		fmt.Fprintf(&b, "%d %s kind %v result %d %q %q\n", e.ev.PID, e.ev.Type, e.ev.Kind, e.ev.Call.Result, e.ev.Call.Text[0].Raw, e.ev.Path)
	}
	return b.String()
}

// explain says of each event of an act which parts of the rule's condition hold.
func (s *stage) explain(p *plan, own []seen) string {
	var b strings.Builder
	fmt.Fprintf(&b, "example %s\n", p.Event)
	for _, e := range own[:min(len(own), 3)] {
		record := rules.NewRecord(nil, "")
		record.Reset(e.ev)
		raw, _ := e.ev.AppendJSON(nil, func(args []string) []string { return args })
		fmt.Fprintf(&b, "event   %s\n", raw)
		r := s.rules[p.Rule]
		x, err := s.w.languages[r.Source].Explain(r.Condition, record)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		expr.WriteExplanation(&b, x)
	}
	return b.String()
}

// compare says what a hit tells otherwise than the example.
func (p *plan) compare(ev *event.Event, a *actor) string {
	if ev.Process == nil {
		return "it fired without a process"
	}
	got, want := names(ev.Process), names(p.event.Process)
	if forksFirst[p.event.Type.String()] && len(got) > 0 {
		got = got[1:] // a single-threaded copy of the actor performs it
	}
	if p.event.Process.Flags&(event.ExeMemfd|event.ExeUnlinked) != 0 {
		got[0] = want[0] // the number of the descriptor, or from 6.14 on the name of the file
	}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		return fmt.Sprintf("it fired for %q, want %q", got, want)
	}
	if got, want := ev.Process.Path, p.event.Process.Path; got != want && p.event.Process.Flags&(event.ExeMemfd|event.ExeUnlinked) == 0 {
		return fmt.Sprintf("it fired for the program %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%q", ev.Process.Args), fmt.Sprintf("%q", p.event.Process.Args); got != want {
		return fmt.Sprintf("it fired for arguments %s, want %s", got, want)
	}
	if ev.Container != a.container {
		return fmt.Sprintf("it fired for the container %v, want %v", ev.Container, a.container)
	}
	if want := p.event.FD.Name; p.event.FD.Type == event.RegularFile && isPath(want) && string(ev.FD.Name) != string(want) && !strings.Contains(string(want), "/proc/") {
		return fmt.Sprintf("it fired for the file %s, want %s", ev.FD.Name, want)
	}
	return ""
}

func isPath(name []byte) bool { return len(name) > 0 && name[0] == '/' }

// names are those of a process and of all above it.
func names(p *event.Process) (all []string) {
	for ; p != nil; p = p.Parent {
		all = append(all, p.Name())
	}
	return all
}

// report prints what was performed, and why the rest was not.
func (s *stage) report(t *testing.T) {
	t.Helper()
	var reasons []string
	skipped := 0
	for why, which := range s.skipped {
		reasons = append(reasons, why)
		skipped += len(which)
	}
	sort.Slice(reasons, func(i, j int) bool { return len(s.skipped[reasons[i]]) > len(s.skipped[reasons[j]]) })
	t.Logf("%d matching examples performed, %d fired, of %d rules; %d others performed, %d silent; %d not performed; %d repeated as events were lost",
		s.performed[true], s.right[true], len(s.fired), s.performed[false], s.right[false], skipped, s.again)
	for _, why := range reasons {
		t.Logf("not performed, %d: %s", len(s.skipped[why]), why)
		if testing.Verbose() {
			for _, which := range s.skipped[why] {
				t.Logf("    %s", which)
			}
		}
	}
	if os.Getenv("YAGURA_LIVE_ONLY") == "" && len(s.fired) < leastRules {
		t.Errorf("%d rules fired on real actions, want at least %d", len(s.fired), leastRules)
	}
}

func (p *plan) json() []byte {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return raw
}
