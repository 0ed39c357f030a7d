package fim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// ---- what events cost ----

func benchmarkSets(b testing.TB) *Sets {
	sets, err := NewSets(DefaultConfig, nil)
	if err != nil {
		b.Fatal(err)
	}
	return sets
}

// A typical event of each sort. The process is the same for all, as it is in the table of processes.
func typicalEvents() map[string]*event.Event {
	shell := &event.Process{Task: event.Task{PID: 10, Start: 1}, Path: "/bin/bash"}
	process := &event.Process{Task: event.Task{PID: 11, Start: 2}, Path: "/usr/bin/vim", Parent: shell}
	named := func(call, dir, name string) *event.Event {
		t, _ := event.TypeNamed(call)
		ev := &event.Event{Kind: event.Syscall, Type: t, PID: 11, Start: 2, Boot: 1e12, Process: process}
		ev.Call.Text[0] = event.Text{Raw: []byte(name), Dir: []byte(dir)}
		return ev
	}
	opened := named("openat", "", "/etc/crontab")
	opened.Call.Arg[2], opened.Call.Result, opened.Call.Text[0].Resolved = unix.O_WRONLY, 3, []byte("/etc/crontab")
	opened.FD = event.Descriptor{Num: 3, Type: event.RegularFile, Inode: 77, Dev: 1, Name: []byte("/etc/crontab")}
	read := named("openat", "", "/etc/crontab")
	connect, _ := event.TypeNamed("connect")
	return map[string]*event.Event{
		"foreign_connect": {Kind: event.Syscall, Type: connect, PID: 11, Start: 2},
		"foreign_exec":    {Kind: event.Exec, PID: 11, Start: 2},
		"foreign_read":    read,
		"exit":            {Kind: event.Exit, PID: 12, Start: 3, Boot: 1e12},
		"elsewhere":       named("unlinkat", "/srv/build", "a.o"),
		"elsewhere_home":  named("unlinkat", "/home/me/src", "a.o"),
		"watched_open":    opened,
		"watched_unlink":  named("unlink", "", "/etc/cron.d/job"),
	}
}

func BenchmarkObserve(b *testing.B) {
	for name, ev := range typicalEvents() {
		b.Run(name, func(b *testing.B) {
			a := NewActs(ActsOptions{Sets: benchmarkSets(b)})
			b.ReportAllocs()
			for b.Loop() {
				ev.Boot += 3e9 // acts of their own
				a.Observe(ev)
			}
		})
	}
}

func BenchmarkWho(b *testing.B) {
	a := NewActs(ActsOptions{Sets: benchmarkSets(b)})
	ev := typicalEvents()["watched_unlink"]
	_, boot := clocks()
	ev.Boot = boot
	for i := range 2 * maxActs {
		ev.PID, ev.Call.Text[0].Raw = uint32(i), fmt.Appendf(nil, "/etc/cron.d/%d", i)
		a.Observe(ev)
	}
	now := time.Now()
	s := Sought{Path: Path{Name: fmt.Sprintf("/etc/cron.d/%d", 2*maxActs-100)}, What: 1 << Deleted, From: now.Add(-time.Minute), To: now}
	b.ReportAllocs()
	for b.Loop() {
		if _, c := a.Who(s); c != ByPath {
			b.Fatalf("found by %s, want by path", c)
		}
	}
}

func TestObserveOfWhatIsNoActDoesNotAllocate(t *testing.T) {
	a := NewActs(ActsOptions{Sets: benchmarkSets(t)})
	for _, name := range []string{"foreign_connect", "foreign_exec", "foreign_read", "exit"} {
		ev := typicalEvents()[name]
		if n := testing.AllocsPerRun(100, func() { a.Observe(ev) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

// ---- what changes of an unwatched tree cost ----

// twoChanges are what a process does in the benchmark, again and again, in a directory: the making of a file, its removal, new
// content, another name or mode.
var twoChanges = []struct {
	how string
	at  bool // by names in the working directory
	do  func(dir string, name func(string) string) error
}{
	{"absolute", false, func(_ string, name func(string) string) error { return makeAndRemove(name("f")) }},
	{"relative", true, func(_ string, name func(string) string) error { return makeAndRemove(name("f")) }},
	{"at", false, func(dir string, _ func(string) string) error { return makeAndRemoveAt(dir) }},
	{"rewritten", false, func(_ string, name func(string) string) error {
		return errorsOf(rewrite(name("f")), rewrite(name("f")))
	}},
	{"rewritten_relative", true, func(_ string, name func(string) string) error {
		return errorsOf(rewrite(name("f")), rewrite(name("f")))
	}},
	{"renamed", false, func(_ string, name func(string) string) error { return renameTwice(name("f"), name("g")) }},
	{"renamed_relative", true, func(_ string, name func(string) string) error { return renameTwice(name("f"), name("g")) }},
	{"mode", false, func(_ string, name func(string) string) error {
		return errorsOf(unix.Chmod(name("f"), 0o600), unix.Chmod(name("f"), 0o644))
	}},
	{"mode_relative", true, func(_ string, name func(string) string) error {
		return errorsOf(unix.Chmod(name("f"), 0o600), unix.Chmod(name("f"), 0o644))
	}},
}

// busy are the processes of the benchmark, by their names: each kind of changes as fast as it can, and at a rate.
var busy = busyProcesses()

func busyProcesses() map[string]func(e *world) error {
	all := map[string]func(e *world) error{}
	for _, c := range twoChanges {
		for name, run := range map[string]func(func() error) error{", timed": timeOf, ", at a rate": atRate} {
			all[c.how+name] = func(e *world) error {
				dir, name := e.outside, e.out
				if c.at {
					name = func(f string) string { return f }
				}
				two := func() error { return c.do(dir, name) }
				return within(dir, func() error { return errorsOf(rewrite(name("f")), run(two)) })
			}
		}
	}
	return all
}

func errorsOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func makeAndRemove(name string) error {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return unix.Unlink(name)
}

func rewrite(name string) error {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return nil
}

var outside = -1 // a descriptor of the directory

func makeAndRemoveAt(dir string) (err error) {
	if outside < 0 {
		if outside, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return err
		}
	}
	fd, err := unix.Openat(outside, "f", unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return unix.Unlinkat(outside, "f", 0)
}

func renameTwice(one, other string) error {
	return errorsOf(unix.Rename(one, other), unix.Rename(other, one))
}

// timeOf prints the time of one change in nanoseconds, of two that are made at a time: the best of short batches with rests
// between, in which the ring buffer is read.
func timeOf(two func() error) error {
	const batch, batches = 20, 1500
	best := time.Hour
	for range batches {
		began := time.Now()
		for range batch {
			if err := two(); err != nil {
				return err
			}
		}
		best = min(best, time.Since(began))
		time.Sleep(400 * time.Microsecond)
	}
	return os.WriteFile(os.Getenv(resultVariable), []byte(fmt.Sprint(float64(best.Nanoseconds())/batch/2)), 0o644)
}

const (
	resultVariable   = "YAGURA_FIM_RESULT"
	changesPerSecond = 20_000
	rateSeconds      = 2
)

// atRate makes changes, two at a time, at a rate, and prints the processor time that they took, in nanoseconds.
func atRate(two func() error) error {
	began := time.Now()
	for n := 0; n < changesPerSecond*rateSeconds/2; {
		for due := int(time.Since(began).Seconds() * changesPerSecond / 2); n < due; n++ {
			if err := two(); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
	return os.WriteFile(os.Getenv(resultVariable), []byte(fmt.Sprint(cpuTime().Nanoseconds())), 0o644)
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runBusy has another process be busy, since the agent leaves its own out, and returns what it measured.
func runBusy(b *testing.B, e *world, name string) float64 {
	b.Helper()
	result := filepath.Join(e.outside, "result")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), wayVariable+"="+name, goVariable+"=1", worldVariable+"="+e.watched+"\n"+e.outside, resultVariable+"="+result)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "done ") {
		b.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(result)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// asRules is what the shipped rules let out of the kernel anyway: all calls by names.
func asRules() event.Interest {
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	for t, e := range effectOf {
		if e != nil && e.names[0]|e.names[1] != 0 && !event.Type(t).Opens() {
			i.Terms[event.Type(t)] = []event.Term{event.AnyTerm}
		}
	}
	return i
}

// BenchmarkUnwatchedTree is what 20,000 changes a second cost in a tree that is not watched, with the shipped sets: what each
// takes longer, and what Yagura does meanwhile, as parts of one processor; beside what both are with rules alone. All is
// measured in one run, in turn, and the best of each told: the rest is somebody else's.
func BenchmarkUnwatchedTree(b *testing.B) {
	needBPF(b)
	interests := map[string]event.Interest{"idle": {}, "rules": asRules(), "fim": InterestIn(benchmarkSets(b)), "both": asRules().Merge(InterestIn(benchmarkSets(b)))}
	for _, c := range twoChanges {
		how := c.how
		b.Run(how, func(b *testing.B) {
			e := &world{outside: b.TempDir()}
			change, busyFor, events := map[string]float64{}, map[string]float64{}, map[string]float64{}
			least := func(of map[string]float64, name string, n float64) {
				if old, ok := of[name]; !ok || n < old {
					of[name] = n
				}
			}
			for range 6 {
				least(change, "bare", runBusy(b, e, how+", timed"))
				for name, i := range interests {
					w := startBlamer(b, benchmarkSets(b))
					w.quiet.Store(true)
					if err := w.agent.SetInterest(i); err != nil {
						b.Fatal(err)
					}
					least(change, name, runBusy(b, e, how+", timed"))
					before, seen := cpuTime(), w.count()
					runBusy(b, e, how+", at a rate")
					least(busyFor, name, (cpuTime()-before).Seconds()/rateSeconds)
					events[name] = float64(w.count()-seen) / rateSeconds
					if err := w.stop(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(change["bare"], "ns/change")
			for name := range interests {
				b.ReportMetric(100*(change[name]-change["bare"])*changesPerSecond/1e9, "%kernel_"+name)
				b.ReportMetric(100*busyFor[name], "%yagura_"+name)
				b.ReportMetric(events[name], "events/s_"+name)
			}
		})
	}
}
