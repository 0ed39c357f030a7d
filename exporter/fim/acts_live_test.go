package fim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// A blamer is the kernel's agent with Acts behind it, as Yagura has them.
type blamer struct {
	agent *bpf.Agent
	table *host.Table
	acts  *Acts
	stop  func() error

	events    atomic.Uint64
	quiet     atomic.Bool // events are not kept for the test, nor are containers made up
	mu        sync.Mutex
	told      map[uint32][]string // calls that left the kernel, by process
	ended     map[uint32]bool
	processes map[uint32]*event.Process
	contained map[uint32]*event.Container // processes that a container is made up for
}

func startBlamer(t testing.TB, sets *Sets) *blamer {
	t.Helper()
	b := loadBlamer(t, sets)
	b.acts = NewActs(ActsOptions{Sets: sets, Process: b.processOf})
	b.run(b.acts.Observe)
	b.mustLook(t)
	return b
}

// loadBlamer has the agent, which nobody listens to yet.
func loadBlamer(t testing.TB, sets *Sets) *blamer {
	t.Helper()
	needBPF(t)
	layout, err := host.Cgroups("/proc")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := bpf.Load(bpf.Options{Config: bpf.Default, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Hierarchy: bpf.Hierarchy{V1: layout.Version == 1, Controller: layout.Controller, ID: layout.HierarchyID}})
	if err != nil {
		t.Fatal(err)
	}
	agent.Replan(bpf.Want{Processes: true})
	if err := agent.SetInterest(InterestIn(sets)); err != nil {
		t.Fatal(err)
	}
	return &blamer{agent: agent, table: host.NewTable(host.TableOptions{Procfs: "/proc", Cgroups: layout, Config: host.Default}),
		told: map[uint32][]string{}, ended: map[uint32]bool{}, processes: map[uint32]*event.Process{}, contained: map[uint32]*event.Container{}}
}

// run has somebody listen until stop.
func (b *blamer) run(observe func(*event.Event)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.agent.Run(ctx, func(ev *event.Event) {
			if !b.quiet.Load() {
				b.contain(ev)
			}
			if b.table.Attach(ev) {
				observe(ev)
				b.keep(ev)
			}
		})
	}()
	b.stop = func() error {
		cancel()
		return errors.Join(<-done, b.agent.Close())
	}
}

// mustLook skips where calls do not leave the kernel.
func (b *blamer) mustLook(t testing.TB) {
	t.Helper()
	for _, p := range b.agent.Probes() {
		if p.Wanted && !p.Attached {
			t.Logf("probe %s refused: %s", p.Name, p.Reason)
		}
		if p.Name == "call_exit" && !p.Attached {
			t.Skipf("needs a kernel that lets sys_exit look at files: %s", p.Reason)
		}
	}
}

// containIn makes up a container for what a process does from now on.
func (b *blamer) containIn(pid uint32, c *event.Container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.contained[pid] = c
}

// contain makes up the container of an event.
func (b *blamer) contain(ev *event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ev.Container = b.contained[ev.PID]
}

func (b *blamer) count() uint64 { return b.events.Load() }

func (b *blamer) keep(ev *event.Event) {
	b.events.Add(1)
	if b.quiet.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case ev.Kind == event.Exit:
		b.ended[ev.PID] = true
	case ev.Kind == event.Syscall:
		if name := ev.Type.String(); ev.Call.Ring {
			b.told[ev.PID] = append(b.told[ev.PID], "io_uring "+name)
		} else {
			b.told[ev.PID] = append(b.told[ev.PID], name)
		}
	}
	if ev.Process != nil {
		b.processes[ev.PID] = ev.Process
	}
}

func (b *blamer) processOf(pid uint32) *event.Process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.processes[pid]
}

// awaitEnd waits until all that a process did has been told.
func (b *blamer) awaitEnd(pid uint32) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		b.mu.Lock()
		ended := b.ended[pid]
		b.mu.Unlock()
		if ended {
			return nil
		}
	}
	return fmt.Errorf("the exit of process %d never came through the ring", pid)
}

// lost is how many events the kernel could not tell of, as it counts them itself.
func (b *blamer) lost(t testing.TB) (n uint64) {
	if err := b.agent.LostEvents(func(_ event.Kind, more uint64) { n += more }); err != nil {
		t.Error(err)
	}
	for _, more := range b.agent.Missed() {
		n += more
	}
	return n
}

// A stage is where ways are gone: a directory each in a watched and in an unwatched one.
type stage struct {
	t    *testing.T
	b    *blamer
	dir  string
	exes map[string]string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	needBPF(t)
	dir, err := os.MkdirTemp("", "yagura-fim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
		os.RemoveAll(dir)
	})
	// A file system of our own, which takes all that is mounted in it along when it goes.
	if err := unix.Mount("none", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, dir: dir, exes: map[string]string{}}
	for _, sub := range []string{"watched", "outside", "exe"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sets, err := NewSets(Config{Watches: []WatchConfig{{Name: "test", Of: "both", Paths: []string{filepath.Join(dir, "watched")}}},
		Scan: DefaultConfig.Scan}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.exes[""], err = os.Readlink("/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	s.b = startBlamer(t, sets)
	t.Cleanup(func() {
		if err := s.b.stop(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return s
}

// copyOf is another copy of the test binary.
func (s *stage) copyOf(name string) (string, error) {
	to := filepath.Join(s.dir, "exe", name)
	return to, copyProgram(s.exes[""], to)
}

// copyProgram makes a setuid copy.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(to, 0o755|os.ModeSetuid))
}

// run has a process of ours do something, and returns what it said and who it was.
func (s *stage) run(e *world, name, exe string, user uint32, container *event.Container) (said string, pid uint32, err error) {
	said, pid, err = perform(e, name, exe, user, func(pid uint32) {
		if container != nil {
			s.b.containIn(pid, container)
		}
	})
	if err != nil {
		return "", pid, err
	}
	return said, pid, s.b.awaitEnd(pid)
}

// A blame is what came of one way.
type blame struct {
	pid        uint32
	exe        string
	told       []string
	act        Act
	confidence Confidence
	needs      string
}

// goWay goes one way, and asks who it was.
func (s *stage) goWay(n int, w way) (found blame, err error) {
	id := strconv.Itoa(n)
	e := &world{filepath.Join(s.dir, "watched", id), filepath.Join(s.dir, "outside", id), ""}
	if err := errors.Join(os.Mkdir(e.watched, 0o755), os.Mkdir(e.outside, 0o755), newFile(e.in("f"))); err != nil {
		return found, err
	}
	if w.prepare != nil {
		if err := w.prepare(e); err != nil {
			return blame{needs: err.Error()}, nil
		}
	}
	found.exe = s.exes[""]
	if w.exe != "" {
		if found.exe, err = s.copyOf(w.exe + id); err != nil {
			return found, err
		}
	}
	at := e.in("f")
	if w.at != "" {
		at = e.in(w.at)
	}
	before := identityOf(at)
	sought := Sought{What: 1 << w.what, From: time.Now(), Closed: w.closed}
	var container *event.Container
	if w.container {
		container = &event.Container{ID: "0123456789ab", Workload: event.Workload{Container: "web"}}
		before = openFile{}
	}
	if said, _, err := s.run(e, "decoy", s.exes[""], 0, nil); err != nil {
		return found, fmt.Errorf("decoy: %s: %w", said, err)
	}
	said, pid, err := s.run(e, w.name, found.exe, w.user, container)
	if errors.Is(err, unix.EACCES) && w.user != 0 {
		return blame{needs: "a root directory that others may enter"}, nil
	}
	if err != nil {
		return found, err
	}
	if needs, ok := strings.CutPrefix(said, "needs "); ok {
		return blame{needs: needs}, nil
	}
	found.pid = pid
	sought.To = time.Now()
	sought.Path.Name = at
	file := identityOf(at)
	switch {
	case w.container:
		sought.Path.Container, file = container.ID, openFile{}
	case file == (openFile{}):
		file = before
	}
	sought.Device, sought.Inode = unix.Mkdev(file.device>>20, file.device&0xfffff), file.inode
	s.b.mu.Lock()
	found.told = slices.Clone(s.b.told[pid])
	s.b.mu.Unlock()
	found.act, found.confidence = s.b.acts.Who(sought)
	if w.witness && found.confidence == Unexplained {
		sought.PID = pid
		found.act, found.confidence = s.b.acts.Who(sought)
	}
	return found, nil
}

// identityOf is a file as the kernel numbers it.
func identityOf(path string) openFile {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return openFile{}
	}
	return openFile{unix.Major(st.Dev)<<20 | unix.Minor(st.Dev), st.Ino}
}

// TestTruthFileActs changes files in all ways that there are, each by a process of its own, while others change files beside
// and files of the same names elsewhere; and asks who it was.
func TestTruthFileActs(t *testing.T) {
	t.Cleanup(func() {
		word := "yes"
		if t.Failed() || t.Skipped() {
			word = "no"
		}
		fmt.Printf("YAGURA_CELL fim_who_did_it %s \n", word)
	})
	s := newStage(t)
	unix.Umask(0o022)
	ring := s.b.agent.Attached("io_uring_complete")
	gone, right, n := 0, 0, 0
	for _, w := range ways {
		if w.by == Unexplained {
			w.by = ByPath
		}
		if w.witness {
			w.by = ByPID
		}
		var found blame
		var err error
		for range 8 { // more than once only if the kernel has left events out, which it says
			before := s.b.lost(t)
			n++
			if found, err = s.goWay(n, w); s.b.lost(t) == before {
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		if found.needs == "" && strings.HasPrefix(w.name, "io_uring") && !ring {
			found.needs = "6.0: io_uring_submit_sqe tells of its request"
		}
		if found.needs != "" {
			t.Logf("%-48s needs %s", w.name, found.needs)
			continue
		}
		gone++
		who := found.act.Actor
		told := strings.Join(slices.Compact(found.told), " ")
		t.Logf("%-48s %-9s → %-30s → %d %s by %s", w.name, Kinds[w.what], told, who.PID, filepath.Base(who.Exe), found.confidence)
		if who.PID != found.pid || who.Exe != found.exe || found.confidence < w.by {
			t.Errorf("%s: blamed %d %q by %s (%v %v), want %d %q by %s", w.name, who.PID, who.Exe, found.confidence, found.act.Call, found.act.Names, found.pid, found.exe, w.by)
			continue
		}
		right++
		if w.user != 0 && (who.UID != w.user || who.EUID != 0) {
			t.Errorf("%s: by user %d with the rights of %d, want %d and 0", w.name, who.UID, who.EUID, w.user)
		}
		if w.container && who.Workload.Container != "web" {
			t.Errorf("%s: by workload %v, want container web", w.name, who.Workload)
		}
		if !w.witness && w.name != "a grandchild whose parent is gone" && (len(who.Ancestors) == 0 || who.Ancestors[0].PID != uint32(os.Getpid())) {
			t.Errorf("%s: its ancestors are %v, want us first", w.name, who.Ancestors)
		}
	}
	t.Logf("%d ways, %d of them attributed rightly; %+v", gone, right, s.b.acts.Stats())
	if gone < 40 {
		t.Errorf("%d ways can be gone here, want at least 40", gone)
	}
}
