package bpf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Truth tests do known things for real, in a control group of their own, and compare what was counted with what was
// done. They run on the live kernel and, bundled into one binary, in every guest kernel of .ci/kernels. Each prints the
// cell of bpf/KERNELS.md that it proves.

// actors are what a child process does, by name; TestMain runs them.
var actors = map[string]func() error{}

func TestMain(m *testing.M) {
	if name := os.Getenv("YAGURA_ACTOR"); name != "" {
		actor, ok := actors[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no actor %q\n", name)
			os.Exit(2)
		}
		// We say that we are here; the parent moves us to our control group, and then says so.
		os.NewFile(3, "ready").Write([]byte("r"))
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			fmt.Fprintln(os.Stderr, "wait for the word to start:", err)
			os.Exit(2)
		}
		if err := actor(); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if nativeDir != "" {
		if err := os.RemoveAll(nativeDir); err != nil {
			fmt.Fprintln(os.Stderr, "remove the parsers:", err)
			code = 1
		}
	}
	for _, w := range running {
		if err := w.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the agent:", err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// cell prints one cell of the table of what this kernel supports.
func cell(feature string, ok bool, detail string) {
	word := "no"
	if ok {
		word = "yes"
	}
	fmt.Printf("YAGURA_CELL %s %s %s\n", feature, word, detail)
}

// proves prints the cell when the test is over: yes if it passed. Call it before the test can be skipped.
func proves(t *testing.T, feature string) {
	t.Helper()
	t.Cleanup(func() {
		cell(feature, !t.Failed() && !t.Skipped(), "")
	})
}

// hierarchyHere is the tracked hierarchy of this machine, and where it is mounted.
func hierarchyHere(t testing.TB) (Hierarchy, string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, controller := range []string{"memory", "pids", "cpu"} {
		for line := range strings.Lines(string(text)) {
			id, rest, _ := strings.Cut(line, ":")
			if name, _, _ := strings.Cut(rest, ":"); name == controller {
				n, err := strconv.Atoi(id)
				if err != nil {
					t.Fatal(err)
				}
				return Hierarchy{V1: true, Controller: controller, ID: n}, "/sys/fs/cgroup/" + controller
			}
		}
	}
	return Hierarchy{}, "/sys/fs/cgroup"
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("needs CONFIG_DEBUG_INFO_BTF: no /sys/kernel/btf/vmlinux")
	}
}

// What most tests want, and what is measured besides where latencies are.
var (
	everything = Want{Processes: true, Syscalls: true, TCP: true, RunQueue: true, BlockIO: true, PacketDrops: true}
	timed      = Want{Syscalls: true, SyscallLatency: true}
)

// running are the agents that tests share, by what they want: loading takes seconds in a guest.
var running = map[Want]*watched{}

// startAgent loads what is wanted, or takes the agent of an earlier test that wanted the same.
func startAgent(t testing.TB, want Want) *watched {
	t.Helper()
	needRoot(t)
	w := running[want]
	if w == nil {
		stopAll(t)
		w = newAgent(t, want)
		running[want] = w
	}
	for _, p := range w.Probes() {
		if p.Wanted && !p.Attached {
			t.Logf("probe %s refused: %s", p.Name, p.Reason)
		}
	}
	return w
}

// stopAll leaves no agent: only one runs at a time, so that each hook has its price to itself.
func stopAll(t testing.TB) {
	for want, w := range running {
		delete(running, want)
		if err := w.stop(); err != nil {
			t.Errorf("stop the agent: %v", err)
		}
	}
}

func newAgent(t testing.TB, want Want) *watched {
	t.Helper()
	h, mount := hierarchyHere(t)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: debugLevel()}))
	a, err := Load(Options{Hierarchy: h, Config: Default, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Agent: a, mount: mount}
	for _, id := range ownGroups(t, mount) {
		if err := a.AddCgroup(id); err != nil {
			t.Fatal(err)
		}
	}
	a.Replan(want)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, w.keep) }()
	w.stop = func() error {
		cancel()
		return errors.Join(<-done, a.Close())
	}
	return w
}

// ownGroups are the control groups from the root to the one we are in.
func ownGroups(t testing.TB, mount string) []uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{"/": true}
	for line := range strings.Lines(string(text)) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 {
			paths[fields[2]] = true
		}
	}
	var ids []uint64
	for path := range paths {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(mount, path), &st) == nil {
			ids = append(ids, st.Ino)
		}
	}
	return ids
}

func needProbe(t testing.TB, a *watched, why string, names ...string) {
	t.Helper()
	for _, name := range names {
		for _, p := range a.Probes() {
			if p.Name == name && !p.Attached {
				t.Skipf("needs %s: probe %s is not attached: %s", why, name, p.Reason)
			}
		}
	}
}

type watched struct {
	*Agent
	mount  string
	stop   func() error
	mu     sync.Mutex
	events []*event.Event
}

func (w *watched) keep(ev *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, ev.Clone())
}

// await returns the first event that matches, waiting for it.
func (w *watched) await(t testing.TB, what string, match func(*event.Event) bool) *event.Event {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		for _, ev := range w.events {
			if match(ev) {
				w.mu.Unlock()
				return ev
			}
		}
		w.mu.Unlock()
	}
	t.Fatalf("no event: %s", what)
	return nil
}

// A group is a control group made for one test.
type group struct {
	path string
	id   uint64
}

func (w *watched) newGroup(t testing.TB, name string) group {
	t.Helper()
	g := group{path: filepath.Join(w.mount, name)}
	if err := os.MkdirAll(g.path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroup(g.path) })
	var st unix.Stat_t
	if err := unix.Stat(g.path, &st); err != nil {
		t.Fatal(err)
	}
	g.id = st.Ino
	return g
}

// removeGroup waits for the last task to be gone, which the kernel does after it was waited for.
func removeGroup(path string) error {
	var err error
	for range 200 {
		if err = os.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// A child is a process of ours that waits in a group for the word to act.
type child struct {
	cmd  *exec.Cmd
	word interface{ Write([]byte) (int, error) }
	out  *strings.Builder
}

func (w *watched) newChild(t testing.TB, g group, actor string, env ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), "YAGURA_ACTOR="+actor), env...)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	word, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, itsEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd.ExtraFiles = []*os.File{itsEnd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	itsEnd.Close()
	if _, err := ready.Read(make([]byte, 1)); err != nil { // Start returns before the exec is quite over
		t.Fatalf("wait for %s: %v: %s", actor, err, out)
	}
	if err := os.WriteFile(filepath.Join(g.path, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	return &child{cmd, word, out}
}

func (c *child) act(t testing.TB) {
	t.Helper()
	if _, err := c.word.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
}

func (c *child) finish(t testing.TB) string {
	t.Helper()
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, c.out)
	}
	return c.out.String()
}

// perform runs an actor in a group from beginning to end and returns what it printed.
func (w *watched) perform(t testing.TB, g group, actor string, env ...string) string {
	t.Helper()
	c := w.newChild(t, g, actor, env...)
	c.act(t)
	return c.finish(t)
}

// counters returns those of the slot that a control group has.
func (w *watched) counters(t testing.TB, id uint64) Counters {
	t.Helper()
	var found *Counters
	if err := w.Agent.Counters(func(s Slot, c *Counters) {
		if s.CgroupID == id {
			copied := *c
			found = &copied
		}
	}); err != nil {
		t.Fatal(err)
	}
	if found == nil {
		t.Fatalf("control group %d has no slot", id)
	}
	return *found
}

// calls returns how often each system call was made in a control group, and failed, by name and errno.
func (w *watched) calls(t testing.TB, id uint64) (calls map[string]uint64, failures map[string]uint64) {
	t.Helper()
	calls, failures = map[string]uint64{}, map[string]uint64{}
	number := -1
	if err := w.Syscalls(func(s Slot, c *[syscallSlots]uint64) {
		if s.CgroupID != id {
			return
		}
		number = int(s.Number)
		for i, n := range c {
			if n > 0 {
				calls[SyscallName(i)] += n
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if number < 0 {
		t.Fatalf("control group %d has no slot", id)
	}
	if err := w.SyscallErrors(func(slot uint32, call, errno int, n uint64) {
		if int(slot) == number {
			failures[SyscallName(call)+" "+unix.ErrnoName(syscall.Errno(errno))] += n
		}
	}); err != nil {
		t.Fatal(err)
	}
	return calls, failures
}

func equal(t testing.TB, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %d, want %d", what, got, want)
	}
}

// untilNoneIsLeftOut acts until the kernel has left none of the programs out meanwhile. Since 7.0 it does so, and says so, with
// what happens while the same program of another thread is preempted on that processor.
func (w *watched) untilNoneIsLeftOut(t testing.TB, programs []string, act func(attempt int)) {
	t.Helper()
	leftOut := func() (n uint64) {
		missed := w.Missed()
		for _, name := range programs {
			n += missed[name]
		}
		return n
	}
	for attempt := range 5 {
		before := leftOut()
		act(attempt)
		n := leftOut() - before
		if n == 0 {
			return
		}
		t.Logf("the kernel has left programs out %d times: once more", n)
	}
	t.Error("the kernel has left programs out each time")
}

// debugLevel shows why the verifier refuses a program, with YAGURA_DEBUG.
func debugLevel() slog.Level {
	if os.Getenv("YAGURA_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelError
}
