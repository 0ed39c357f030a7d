package bpf

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

func init() { // only the test's own table of what a child may be told to do
	actors["calls"] = actCalls
	actors["filtered"] = actFiltered
}

// callsDir is where the actor of TestTruthCallsAreToldAsTheyWere works.
func callsDir() string { return filepath.Join(os.TempDir(), "yagura-calls") }

func actCalls() error {
	dir := callsDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("sub", filepath.Join(dir, "link")); err != nil && !os.IsExist(err) {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	fd, err := unix.Openat(unix.AT_FDCWD, "link/../link/made", unix.O_CREAT|unix.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("hello watchtower")); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, 0o4755); err != nil {
		return err
	}
	if err := unix.Renameat(unix.AT_FDCWD, "sub/made", unix.AT_FDCWD, dir+"/renamed"); err != nil {
		return err
	}
	if err := unix.Unlinkat(unix.AT_FDCWD, "renamed", 0); err != nil {
		return err
	}
	unix.Unlinkat(unix.AT_FDCWD, "nothing-there", 0)
	return connectSomewhere()
}

func connectSomewhere() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	fmt.Println(to.Port)
	return unix.Connect(fd, to)
}

// wanting is an interest in every call of some types.
func wanting(t testing.TB, names ...string) event.Interest {
	t.Helper()
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	for _, name := range names {
		kind, ok := event.TypeNamed(name)
		if !ok {
			t.Fatalf("no event type %s", name)
		}
		i.Terms[kind] = []event.Term{event.AnyTerm}
	}
	return i
}

func startCalls(t testing.TB, i event.Interest) *watched {
	t.Helper()
	w := startAgent(t, Want{Processes: true})
	if err := w.SetInterest(i); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.SetInterest(event.Interest{}); err != nil {
			t.Error(err)
		}
	})
	needProbe(t, w, "a kernel that lets sys_exit look at files", "call_exit")
	return w
}

// call is the event of one system call in a group that satisfies a condition.
func (w *watched) call(t *testing.T, g group, name string, match func(*event.Event) bool) *event.Event {
	t.Helper()
	return w.await(t, name, func(ev *event.Event) bool {
		return ev.Kind == event.Syscall && ev.CgroupID == g.id && ev.Type.String() == name && match(ev)
	})
}

func TestTruthCallsAreToldAsTheyWere(t *testing.T) {
	proves(t, "rules_system_calls")
	w := startCalls(t, wanting(t, "openat", "write", "fchmod", "renameat", "unlinkat", "connect"))
	g := w.newGroup(t, "calls")
	dir := callsDir()
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.perform(t, g, "calls")
	text := func(ev *event.Event, i int) string { return string(ev.Call.Text[i].Raw) }
	any := func(*event.Event) bool { return true }

	open := w.call(t, g, "openat", func(ev *event.Event) bool { return text(ev, 0) == "link/../link/made" })
	if got, want := string(open.Call.Text[0].Resolved), dir+"/sub/made"; got != want {
		t.Errorf("openat resolved to %q, want %q", got, want)
	}
	if got := string(open.Call.Text[0].Dir); got != dir {
		t.Errorf("openat starts at %q, want %q", got, dir)
	}
	if open.Call.Result != int64(open.FD.Num) || open.FD.Type != event.RegularFile || !open.FD.Created {
		t.Errorf("openat's descriptor is %+v with result %d, want a new regular file", open.FD, open.Call.Result)
	}
	write := w.call(t, g, "write", func(ev *event.Event) bool { return string(ev.Call.Data) == "hello watchtower" })
	if got, want := string(write.FD.Name), dir+"/sub/made"; got != want {
		t.Errorf("write to %q, want %q", got, want)
	}
	chmod := w.call(t, g, "fchmod", any)
	if chmod.Call.Arg[1] != 0o4755 || string(chmod.FD.Name) != dir+"/sub/made" {
		t.Errorf("fchmod of %q to %o, want %s/sub/made to 4755", chmod.FD.Name, chmod.Call.Arg[1], dir)
	}
	rename := w.call(t, g, "renameat", any)
	if text(rename, 0) != "sub/made" || string(rename.Call.Text[0].Dir) != dir || text(rename, 1) != dir+"/renamed" ||
		len(rename.Call.Text[1].Dir) != 0 {
		t.Errorf("renameat is %q in %q to %q in %q", text(rename, 0), rename.Call.Text[0].Dir, text(rename, 1), rename.Call.Text[1].Dir)
	}
	failed := w.call(t, g, "unlinkat", func(ev *event.Event) bool { return text(ev, 0) == "nothing-there" })
	if event.ErrorName(failed.Call.Result) != "ENOENT" {
		t.Errorf("unlinkat of nothing returned %d, want ENOENT", failed.Call.Result)
	}
	connect := w.call(t, g, "connect", func(ev *event.Event) bool { return ev.FD.Type == event.IPv4Socket })
	if connect.Call.Address.Peer != connect.FD.Remote || connect.FD.Remote.Addr().String() != "127.0.0.1" || !connect.FD.Connected {
		t.Errorf("connect to %v by a socket %v->%v, connected %v", connect.Call.Address.Peer, connect.FD.Local, connect.FD.Remote, connect.FD.Connected)
	}
	if connect.Caller.EUID != 0 || connect.Caller.CapEffective == 0 {
		t.Errorf("caller %+v, want root with capabilities", connect.Caller)
	}
}

// What actFiltered opens, and whether filterInterest lets it out.
var filtered = []struct {
	path  string
	flags int
	out   bool
	why   string
}{
	{"/tmp/yagura-etc/hostname", unix.O_RDONLY, false, "no rule asks for it"},
	{"/tmp/yagura-etc/shadow", unix.O_RDONLY, true, "exactly what a rule asks for"},
	{"/tmp/yagura-etc/shadow", unix.O_RDONLY | unix.O_DIRECTORY, false, "it fails, and the rule wants success"},
	{"/tmp/yagura-etc/shadowy", unix.O_RDONLY, false, "an exact path is not a prefix"},
	{"/tmp/../tmp/yagura-etc/hostname", unix.O_RDONLY, true, "holds .."},
	{"/tmp/yagura-etc//hostname", unix.O_RDONLY, true, "holds an empty component"},
	{"/proc/self/root/tmp/yagura-etc/hostname", unix.O_RDONLY, false, "resolves to what no rule asks for"},
	{"/proc/self/root/tmp/yagura-etc/shadow", unix.O_RDONLY, true, "resolves to what a rule asks for"},
	{"/dev/fd", unix.O_RDONLY, false, "a link to what no rule asks for"},
	{"/dev/null", unix.O_WRONLY, false, "a write outside of the prefix"},
	{"/tmp/yagura-filtered/a", unix.O_RDONLY | unix.O_CREAT, false, "a read below the prefix of writes"},
	{"/tmp/yagura-filtered/b", unix.O_WRONLY | unix.O_CREAT, true, "a write below the prefix"},
	{"/tmp/yagura-filtered-not/c", unix.O_WRONLY | unix.O_CREAT, false, "a write beside the prefix"},
	{"/tmp/yagura-filtered-not/id_rsa", unix.O_RDONLY | unix.O_CREAT, true, "a name that a rule asks for"},
	{"/tmp/yagura-filtered-not/.id_rsa", unix.O_RDONLY | unix.O_CREAT, false, "a hidden file is no . component"},
}

func actFiltered() error {
	for _, dir := range []string{"/tmp/yagura-filtered", "/tmp/yagura-filtered-not", "/tmp/yagura-etc"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"shadow", "shadowy", "hostname"} {
		if err := os.WriteFile("/tmp/yagura-etc/"+name, nil, 0o600); err != nil {
			return err
		}
	}
	for _, f := range filtered {
		if fd, err := unix.Openat(unix.AT_FDCWD, f.path, f.flags, 0o600); err == nil {
			unix.Close(fd)
		}
	}
	_, err := unix.Openat(unix.AT_FDCWD, "/tmp/yagura-etc/shadow", unix.O_RDWR, 0) // the last one, that the test waits for
	return err
}

func TestTruthOnlyWhatCanMatchLeavesTheKernel(t *testing.T) {
	proves(t, "rules_prefilter")
	ok := event.Zero | event.Positive
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	openat, _ := event.TypeNamed("openat")
	i.Terms[openat] = []event.Term{
		{Results: ok, Opens: reads(), Families: event.AnyFamily, Paths: &event.PathSet{Exact: []string{"/tmp/yagura-etc/shadow"}, Names: []string{"id_rsa"}}},
		{Results: ok, Opens: writes(), Families: event.AnyFamily, Paths: &event.PathSet{Exact: []string{"/tmp/yagura-etc/shadow"}, Prefixes: []string{"/tmp/yagura-filtered/"}}},
	}
	w := startCalls(t, i)
	g := w.newGroup(t, "filtered")
	t.Cleanup(func() { os.RemoveAll("/tmp/yagura-filtered"); os.RemoveAll("/tmp/yagura-filtered-not") })
	t.Cleanup(func() { os.RemoveAll("/tmp/yagura-etc") })
	w.perform(t, g, "filtered")
	w.call(t, g, "openat", func(ev *event.Event) bool { return ev.Call.Arg[2] == unix.O_RDWR })

	seen := map[string]bool{}
	w.mu.Lock()
	for _, ev := range w.events {
		if ev.Kind == event.Syscall && ev.CgroupID == g.id {
			seen[fmt.Sprint(string(ev.Call.Text[0].Raw), ev.Call.Arg[2]&^unix.O_CLOEXEC&^unix.O_LARGEFILE)] = true
		}
	}
	w.mu.Unlock()
	for _, f := range filtered {
		if got := seen[fmt.Sprint(f.path, f.flags)]; got != f.out {
			t.Errorf("open of %s with %#x left the kernel: %v, want %v: %s", f.path, f.flags, got, f.out, f.why)
		}
	}
}

// reads and writes are every way of asking for one.
func reads() (opens uint16)  { return asked(event.OpenRead) }
func writes() (opens uint16) { return asked(event.OpenWrite) }

func asked(for_ int) (opens uint16) {
	for how := range 16 {
		if how&for_ != 0 {
			opens |= 1 << how
		}
	}
	return opens
}
