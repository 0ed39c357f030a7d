package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// nameFixture is a host with a passwd file, and a procfs in which processes have roots.
type nameFixture struct {
	*HostNames
	root, procfs string
	clock        time.Time
}

func newNameFixture(t *testing.T) *nameFixture {
	t.Helper()
	f := &nameFixture{root: t.TempDir(), procfs: t.TempDir(), clock: time.Unix(1e9, 0)}
	writeFile(t, filepath.Join(f.root, "etc/passwd"), "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/zsh\n")
	writeFile(t, filepath.Join(f.root, "etc/group"), "root:x:0:\nusers:x:100:alice\n")
	f.HostNames = NewHostNames(f.root, f.procfs)
	f.now = func() time.Time { return f.clock }
	f.patience = 20 * time.Second // the machine may be busy
	if err := os.MkdirAll(filepath.Join(f.procfs, "1/ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("mnt:[4000]", filepath.Join(f.procfs, "1/ns/mnt")); err != nil {
		t.Fatal(err)
	}
	return f
}

// rootOfProcess makes a root directory for a process, and returns it.
func (f *nameFixture) rootOfProcess(t *testing.T, pid int, passwd string) string {
	t.Helper()
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "etc/passwd"), passwd)
	dir := filepath.Join(f.procfs, fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	return root
}

func (f *nameFixture) name(ev *event.Event, uid uint32) string {
	u, ok := f.User(ev, uid)
	if !ok {
		return "<NA>"
	}
	return u.Name
}

func inContainer(id string, pid, mount uint32) *event.Event {
	return &event.Event{PID: pid, Container: &event.Container{ID: id}, Process: &event.Process{Task: event.Task{PID: pid, Namespaces: event.Namespaces{Mount: mount}}}}
}

func onHost(pid, mount uint32) *event.Event {
	ev := inContainer("", pid, mount)
	ev.Container = nil
	return ev
}

func TestNamesOfTheHost(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	u, ok := f.User(onHost(50, 4000), 1000)
	if want := (User{"alice", "/home/alice", "/bin/zsh"}); !ok || u != want {
		t.Errorf("user 1000 = %+v, %v, want %+v", u, ok, want)
	}
	if got := f.name(&event.Event{}, 2000); got != "<NA>" {
		t.Errorf("user 2000 = %s, want none", got)
	}
	if name, ok := f.Group(onHost(50, 4000), 100); !ok || name != "users" {
		t.Errorf("group 100 = %q, %v, want users", name, ok)
	}
	if _, ok := f.Group(onHost(50, 4000), 101); ok {
		t.Error("group 101 has a name")
	}
}

func TestNamesOfContainersAreTheirOwn(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	f.rootOfProcess(t, 70, "app:x:1000:1000::/app:/bin/false\n")
	if got := f.name(inContainer("c1", 70, 4001), 1000); got != "app" {
		t.Errorf("user 1000 of the container = %s, want app", got)
	}
	if got := f.name(inContainer("c1", 999, 4001), 1000); got != "app" {
		t.Errorf("user 1000 of the container by another process, which has gone = %s, want app", got)
	}
	if got := f.name(inContainer("c2", 999, 4002), 1000); got != "<NA>" {
		t.Errorf("user 1000 of a container that cannot be read = %s, want none, and not the host's", got)
	}
	if got := f.name(inContainer("c2", 999, 4002), 0); got != "root" {
		t.Errorf("user 0 of a container that cannot be read = %s, want root", got)
	}
	if got := f.name(onHost(70, 4001), 1000); got != "app" {
		t.Errorf("user 1000 in a mount name space of its own = %s, want app", got)
	}
}

func TestMountNameSpaceInsideAContainerHasItsOwnNames(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	f.rootOfProcess(t, 70, "app:x:1000:1000::/:\n")
	f.rootOfProcess(t, 71, "liar:x:1000:1000::/:\n")
	if got := f.name(inContainer("c1", 71, 5000), 1000); got != "liar" {
		t.Errorf("user 1000 of the process that made itself a passwd file = %s, want liar", got)
	}
	if got := f.name(inContainer("c1", 70, 4001), 1000); got != "app" {
		t.Errorf("user 1000 of the container = %s, want app", got)
	}
}

func TestNamesAreReadAgain(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	ev := onHost(50, 4000)
	if got := f.name(ev, 1001); got != "<NA>" {
		t.Fatalf("user 1001 = %s, want none yet", got)
	}
	writeFile(t, filepath.Join(f.root, "etc/passwd"), "bob:x:1001:1001::/:/bin/sh\n")
	if got := f.name(ev, 1001); got != "<NA>" {
		t.Errorf("user 1001 = %s: the file was looked at again within a second", got)
	}
	f.clock = f.clock.Add(lookAgain)
	if got := f.name(ev, 1001); got != "bob" {
		t.Errorf("user 1001 = %s after the file has changed, want bob", got)
	}
	if err := os.RemoveAll(filepath.Join(f.root, "etc")); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(readAgain)
	if got := f.name(ev, 1001); got != "bob" {
		t.Errorf("user 1001 = %s once the file has gone, want bob still", got)
	}
}

func TestUnreadableNamesAreTriedAgain(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	if got := f.name(inContainer("c1", 70, 1), 5); got != "<NA>" {
		t.Fatalf("user 5 = %s, want none", got)
	}
	f.rootOfProcess(t, 71, "late:x:5:5::/:\n")
	f.clock = f.clock.Add(lookAgain)
	if got := f.name(inContainer("c1", 71, 1), 5); got != "late" {
		t.Errorf("user 5 = %s, want late", got)
	}
}

func TestNamesDoNotLeaveTheRoot(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	for pid, to := range map[int]string{80: filepath.Join(f.root, "etc/passwd"), 81: "../../../../../../../../../.." + filepath.Join(f.root, "etc/passwd")} {
		root := f.rootOfProcess(t, pid, "")
		if err := os.Remove(filepath.Join(root, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(root, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if got := f.name(inContainer(fmt.Sprint(pid), uint32(pid), 1), 1000); got != "<NA>" {
			t.Errorf("user 1000 through a link to %s = %s: the host's file was read for a container's", to, got)
		}
	}
}

func TestNamesFollowLinksInsideTheRoot(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	root := f.rootOfProcess(t, 80, "inside:x:7:7::/:\n")
	if err := os.Rename(filepath.Join(root, "etc"), filepath.Join(root, "usr")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr", filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	if got := f.name(inContainer("c", 80, 1), 7); got != "inside" {
		t.Errorf("user 7 = %s, want inside", got)
	}
}

func TestPipesAndHugeFilesAreNotRead(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	root := f.rootOfProcess(t, 80, "")
	passwd := filepath.Join(root, "etc/passwd")
	if err := os.Remove(passwd); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(passwd, 0o644); err != nil {
		t.Skip("needs named pipes:", err)
	}
	if got := f.name(inContainer("fifo", 80, 1), 7); got != "<NA>" {
		t.Errorf("user 7 out of a pipe = %s, want none", got)
	}
	f.rootOfProcess(t, 81, strings.Repeat("#", maxNameFile)+"\nx:x:7:7::/:\n")
	if got := f.name(inContainer("huge", 81, 1), 7); got != "<NA>" {
		t.Errorf("user 7 out of a file above the bound = %s, want none", got)
	}
}

func TestOddEntriesArePassedOver(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	f.rootOfProcess(t, 80, "# x:x:1:1::/:\n+@nis:x:2:2::/:\n:x:3:3::/:\nshort:x:4:4\nneg:x:-5:5::/:\nbig:x:4294967296:1::/:\n"+
		strings.Repeat("n", maxNameField+1)+":x:6:6::/:\nbad\x01:x:7:7::/:\nfirst:x:8:8::/:\r\nsecond:x:8:8::/:\nlast:x:9:9::/:/bin/sh")
	ev := inContainer("c", 80, 1)
	for uid, want := range map[uint32]string{1: "<NA>", 2: "<NA>", 3: "<NA>", 4: "<NA>", 5: "<NA>", 6: "<NA>", 7: "<NA>", 8: "first", 9: "last"} {
		if got := f.name(ev, uid); got != want {
			t.Errorf("user %d = %s, want %s", uid, got, want)
		}
	}
}

func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	f.rootOfProcess(t, 80, "a:x:1:1::/:\n")
	for i := range 3 * maxNameTables {
		f.name(inContainer(fmt.Sprint(i), 80, 1), 1)
		if len(f.tables) > maxNameTables {
			t.Fatalf("%d tables are kept, want at most %d", len(f.tables), maxNameTables)
		}
	}
	var b strings.Builder
	for i := range maxNames + 10 {
		fmt.Fprintf(&b, "u%d:x:%d:1::/:\n", i, i+1)
	}
	f.rootOfProcess(t, 81, b.String())
	f.name(inContainer("many", 81, 1), 1)
	if n := len(f.tables[nameRoot{"many", 1}].users); n != maxNames {
		t.Errorf("%d users of one root are kept, want %d", n, maxNames)
	}
	sum := 0
	for _, table := range f.tables {
		sum += table.size
	}
	if sum != f.bytes {
		t.Errorf("%d bytes are kept, %d were counted", sum, f.bytes)
	}
}

func TestStuckFilesCostNoMoreThanTheirReaders(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	for range maxReaders { // as if all waited for a file system that does not answer
		f.readers <- struct{}{}
	}
	if got := f.name(onHost(50, 4000), 1000); got != "<NA>" {
		t.Errorf("user 1000 = %s while nothing can be read, want none", got)
	}
	<-f.readers
	f.clock = f.clock.Add(lookAgain)
	if got := f.name(onHost(50, 4000), 1000); got != "alice" {
		t.Errorf("user 1000 = %s once something can be read, want alice", got)
	}
}

func TestNamesMayBeAskedByMany(t *testing.T) {
	t.Parallel()
	f := newNameFixture(t)
	f.now = time.Now
	f.rootOfProcess(t, 80, "a:x:1:1::/:\n")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				ev := inContainer(fmt.Sprint((i+j)%4), 80, 1)
				if got := f.name(ev, 1); got != "a" && got != "<NA>" { // none while all readers are busy
					t.Errorf("user 1 = %s, want a", got)
				}
				f.Group(onHost(1, 4000), 100)
			}
		})
	}
	all.Wait()
}

func TestKnownNamesCostNoAllocation(t *testing.T) {
	f := newNameFixture(t)
	f.rootOfProcess(t, 80, "a:x:1:1::/:\n")
	ev := inContainer("c", 80, 1)
	f.User(ev, 1)
	if n := testing.AllocsPerRun(100, func() { f.User(ev, 1); f.Group(ev, 100) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
