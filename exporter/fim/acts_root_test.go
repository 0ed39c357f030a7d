package fim

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// inRoot returns a thread whose root is another one, and which ends with the test.
func inRoot(t *testing.T, root string) event.ID {
	t.Helper()
	began, end := make(chan error), make(chan struct{})
	t.Cleanup(func() { close(end) })
	tid := 0
	go func() {
		runtime.LockOSThread() // and never unlocked
		tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chroot(root)
		}
		began <- err
		<-end
	}()
	if err := <-began; err != nil {
		t.Skipf("needs root: %v", err)
	}
	return started(t, uint32(tid))
}

// TestNamesOfWhoHasAnotherRootAreTheHosts has processes change files by the same name: one of the host, one in a tree that is built, one
// in a watched one, and those below and after them.
func TestNamesOfWhoHasAnotherRootAreTheHosts(t *testing.T) {
	dir := t.TempDir()
	for _, tree := range []string{"built", "watched"} {
		must(t, os.MkdirAll(filepath.Join(dir, tree, "etc"), 0o755))
	}
	var seen []string
	h := newHistory(t, ActsOptions{Sets: setsWith(t, WatchConfig{Name: "test", Paths: []string{"/etc", dir + "/watched"}}),
		Sight: func(s Suspicion) { seen = append(seen, s.Path.Name+map[bool]string{true: "?"}[s.Unsure]) }})
	h.acts.root, h.acts.procfs = "/", "/proc"
	writes := func(id event.ID, parents ...event.ID) (names []string) {
		seen = nil
		ev := act(id.PID, "unlink", called("/etc/passwd"))
		ev.Start = id.Start
		ev.Process = &event.Process{Task: event.Task{PID: id.PID, Start: id.Start}}
		for p, i := ev.Process, 0; i < len(parents); p, i = p.Parent, i+1 {
			p.Parent = &event.Process{Task: event.Task{PID: parents[i].PID, Start: parents[i].Start}}
		}
		h.boot += 2 * second // what was known of roots is asked again
		h.happens(ev)
		return slices.Clone(seen)
	}
	wants := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q is to be looked at, want %q", what, got, want)
		}
	}
	self := started(t, uint32(os.Getpid()))
	gone := event.ID{PID: 1 << 30, Start: 1}
	wants("on the host", writes(self), "/etc/passwd")
	wants("who has ended, and nobody is above", writes(gone), "/etc/passwd?")
	wants("who has ended, below one of the host", writes(gone, self), "/etc/passwd?")
	inside := inRoot(t, dir+"/built")
	wants("in a tree that nobody watches", writes(inside))
	wants("below him", writes(gone, inside))
	wants("of whom nothing is known, below him", writes(gone, gone, inside, self))
	wants("in a tree that is watched", writes(inRoot(t, dir+"/watched")), dir+"/watched/etc/passwd")
}

// started is a process, with when it began as its stat says.
func started(t *testing.T, pid uint32) event.ID {
	t.Helper()
	fd, err := unix.Open(fmt.Sprint("/proc/", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(fd)
	start, err := startIn(fd)
	must(t, err)
	return event.ID{PID: pid, Start: start}
}
