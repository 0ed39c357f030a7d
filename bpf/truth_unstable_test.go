package bpf

import (
	"fmt"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

func init() { // only the test's own table of what a child may be told to do
	actors["changing"] = actChanging
}

const fifo = "/tmp/yagura-fifo"

// actChanging opens a fifo twice, which lasts until somebody opens its other end. The first time another thread changes
// the name meanwhile.
func actChanging() error {
	os.Remove(fifo)
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		return err
	}
	for _, change := range []string{"/tmp/yagura-else", ""} {
		name := append([]byte(fifo), 0)
		failed := make(chan error)
		go func() {
			time.Sleep(200 * time.Millisecond)
			copy(name, change)
			fd, err := unix.Open(fifo, unix.O_WRONLY, 0)
			unix.Close(fd)
			failed <- err
		}()
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&name[0])), unix.O_RDONLY, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		unix.Close(int(fd))
		if err := <-failed; err != nil {
			return fmt.Errorf("open the other end: %w", err)
		}
	}
	return nil
}

func TestTruthTextsThatChangeAreUnstable(t *testing.T) {
	proves(t, "rules_unstable_texts")
	i := wanting(t, "openat")
	openat, _ := event.TypeNamed("openat")
	i.Entry = map[event.Type]bool{openat: true}
	w := startCalls(t, i)
	needProbe(t, w, "a kernel that lets sys_enter read memory", "call_enter")
	t.Cleanup(func() { os.Remove(fifo) })
	g := w.newGroup(t, "changing")
	w.perform(t, g, "changing")
	read := func(name string) *event.Event {
		t.Helper()
		return w.call(t, g, "openat", func(ev *event.Event) bool {
			return string(ev.Call.Text[0].Raw) == name && ev.Call.Arg[2]&unix.O_ACCMODE == unix.O_RDONLY
		})
	}
	if ev := read("/tmp/yagura-else"); !ev.Call.Unstable || string(ev.Call.Text[0].Resolved) != fifo {
		t.Errorf("a name that was changed during the call: unstable %v, resolved %q; want true, %q", ev.Call.Unstable, ev.Call.Text[0].Resolved, fifo)
	}
	if ev := read(fifo); ev.Call.Unstable {
		t.Error("a name that nobody has changed is unstable")
	}
	if err := w.SetInterest(wanting(t, "openat")); err != nil {
		t.Fatal(err)
	}
	if w.Attached("call_enter") {
		t.Error("call_enter is attached though no rule asks whether a text has changed")
	}
}

func TestTruthWhatNoRuleAsksForIsNotHooked(t *testing.T) {
	proves(t, "rules_hook_nothing")
	w := startAgent(t, Want{Processes: true})
	check := func(when string, want bool, probes ...string) {
		t.Helper()
		for _, name := range probes {
			if w.Attached(name) != want {
				t.Errorf("%s: %s attached: %v, want %v", when, name, !want, want)
			}
		}
	}
	check("without rules", false, "sys_exit", "call_exit", "call_enter", "io_uring_complete")
	if err := w.SetInterest(wanting(t, "ptrace")); err != nil {
		t.Fatal(err)
	}
	needProbe(t, w, "a kernel that lets sys_exit look at files", "call_exit")
	check("a rule for ptrace", true, "sys_exit", "call_exit")
	check("a rule for ptrace", false, "call_enter", "io_uring_complete")
	if err := w.SetInterest(wanting(t, "execve", "clone", "procexit")); err != nil {
		t.Fatal(err)
	}
	check("rules for processes, of which one may fail to be run", true, "sys_exit", "call_exit")
	if err := w.SetInterest(event.Interest{}); err != nil {
		t.Fatal(err)
	}
	check("without rules again", false, "sys_exit", "call_exit")
}
