package fim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A history is events made by hand, of a machine whose clock stands still unless it is told otherwise.
type history struct {
	t    testing.TB
	acts *Acts
	boot uint64 // now
}

// bootedAt is when the machine of a history started.
var bootedAt = time.Unix(1_700_000_000, 0)

const second = uint64(time.Second)

func newHistory(t testing.TB, o ActsOptions) *history {
	t.Helper()
	if o.Sets == nil {
		o.Sets = setsWith(t, WatchConfig{Name: "test", Of: "both", Paths: []string{"/etc", "/opt/app"}})
	}
	o.Root, o.Procfs = t.TempDir(), t.TempDir()
	h := &history{t, NewActs(o), 1000 * second}
	h.acts.clock = func() (time.Time, uint64) { return h.now(), h.boot }
	return h
}

func (h *history) now() time.Time { return bootedAt.Add(time.Duration(h.boot)) }

// act is an event of a call of one process; change completes it.
func act(pid uint32, call string, change ...func(*event.Event)) *event.Event {
	t, ok := event.TypeNamed(call)
	if !ok {
		panic("no event type " + call)
	}
	ev := &event.Event{Kind: event.Syscall, Type: t, PID: pid, Start: uint64(pid) * 1000,
		Process: &event.Process{Task: event.Task{PID: pid, Start: uint64(pid) * 1000}, Path: fmt.Sprintf("/bin/p%d", pid)}}
	for _, c := range change {
		c(ev)
	}
	return ev
}

// called are paths of the call, each behind where it starts if there is a | in it.
func called(texts ...string) func(*event.Event) {
	return func(ev *event.Event) {
		for i, text := range texts {
			dir, raw, ok := strings.Cut(text, "|")
			if !ok {
				dir, raw = "", text
			}
			ev.Call.Text[i] = event.Text{Raw: []byte(raw), Dir: []byte(dir)}
		}
	}
}

// file is the open file of the call, at another path than it was opened by if there is one.
func file(inode uint64, path string) func(*event.Event) {
	return func(ev *event.Event) {
		ev.FD = event.Descriptor{Num: 3, Type: event.RegularFile, Dev: 8<<20 | 1, Inode: inode, Name: []byte(path)}
		if ev.Type.Opens() {
			ev.Call.Result, ev.Call.Text[0].Resolved = 3, []byte(path)
		}
	}
}

func arg(n int, value uint64) func(*event.Event) {
	return func(ev *event.Event) { ev.Call.Arg[n] = value }
}

func result(n int64) func(*event.Event) { return func(ev *event.Event) { ev.Call.Result = n } }

func in(c *event.Container) func(*event.Event) {
	return func(ev *event.Event) { ev.Container = c }
}

const forWriting = uint64(unix.O_WRONLY)

// happens has an event come now.
func (h *history) happens(ev *event.Event) {
	ev.Boot = h.boot
	h.acts.Observe(ev)
}

// sought is a change of the last ten seconds.
func (h *history) sought(path string, kinds ...Kind) Sought {
	s := Sought{Path: Path{Name: path}, From: h.now().Add(-10 * time.Second), To: h.now()}
	for _, k := range kinds {
		s.What |= 1 << k
	}
	return s
}

func (h *history) want(what string, s Sought, pid uint32, c Confidence) Act {
	h.t.Helper()
	found, got := h.acts.Who(s)
	if found.Actor.PID != pid || got != c {
		h.t.Errorf("%s: it was %d (%v %q) by %s, want %d by %s", what, found.Actor.PID, found.Call, found.Names, got, pid, c)
	}
	return found
}

func TestActsAreFoundByWhatTheyMayHaveDone(t *testing.T) {
	const none = 0
	for _, c := range []struct {
		what string
		ev   *event.Event
		at   string
		kind Kind
		pid  uint32
		by   Confidence
	}{
		{"an open for writing", act(7, "openat", called("/etc/a"), arg(2, forWriting), file(5, "/etc/a")), "/etc/a", ContentChanged, 7, ByPath},
		{"it takes the setuid bit", act(7, "open", called("/etc/a"), arg(1, forWriting), file(5, "/etc/a")), "/etc/a", ModeChanged, 7, ByPath},
		{"it makes nothing", act(7, "openat", called("/etc/a"), arg(2, forWriting), file(5, "/etc/a")), "/etc/a", Created, none, Unexplained},
		{"an open that makes the file", act(7, "openat", called("/etc/a"), arg(2, unix.O_CREAT), file(5, "/etc/a"), func(ev *event.Event) { ev.FD.Created = true }), "/etc/a", Created, 7, ByPath},
		{"an open for reading", act(7, "openat", called("/etc/a"), file(5, "/etc/a")), "/etc/a", ContentChanged, none, Unexplained},
		{"an open for reading that truncates", act(7, "openat", called("/etc/a"), arg(2, unix.O_TRUNC), file(5, "/etc/a")), "/etc/a", ContentChanged, 7, ByPath},
		{"an open that fails", act(7, "openat", called("/etc/a"), arg(2, forWriting), result(-13)), "/etc/a", ContentChanged, none, Unexplained},
		{"an open through a link", act(7, "openat", called("/tmp/l"), arg(2, forWriting), file(5, "/etc/a")), "/etc/a", ContentChanged, 7, ByPath},
		{"by the name of the link", act(7, "openat", called("/etc/l"), arg(2, forWriting), file(5, "/etc/a")), "/etc/l", ContentChanged, 7, ByPath},
		{"creat", act(7, "creat", called("/etc/a"), file(5, "/etc/a")), "/etc/a", ContentChanged, 7, ByPath},
		{"openat2", act(7, "openat2", called("/etc/a"), file(5, "/etc/a"), func(ev *event.Event) { ev.Call.Word[0] = forWriting }), "/etc/a", ContentChanged, 7, ByPath},
		{"a file without a path", act(7, "open_by_handle_at", arg(2, forWriting), result(3), func(ev *event.Event) { ev.FD.Inode, ev.FD.Dev = 77, 8<<20|1 }), "/etc/a", ContentChanged, 7, ByInode},
		{"another name of the file", act(7, "openat", called("/tmp|hard"), arg(2, forWriting), file(77, "/tmp/hard")), "/etc/a", ContentChanged, 7, ByInode},
		{"another file of that name", act(7, "openat", called("/tmp|a"), arg(2, forWriting), file(78, "/tmp/a")), "/etc/a", Deleted, none, Unexplained},
		{"a relative path", act(7, "unlink", called("/etc|./a")), "/etc/a", Deleted, 7, ByPath},
		{"from a directory", act(7, "unlinkat", called("/etc/x|../a")), "/etc/a", Deleted, 7, ByPath},
		{"from the root", act(7, "unlinkat", called("/|etc/a")), "/etc/a", Deleted, 7, ByPath},
		{"the directory itself", act(7, "fchownat", called("/etc/a|")), "/etc/a", OwnerChanged, 7, ByPath},
		{"the directory itself, whose empty name seems unreadable", act(7, "fchownat", called("/etc/a|"), arg(4, unix.AT_EMPTY_PATH), func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", OwnerChanged, 7, ByPath},
		{"through the process's root", act(7, "unlink", called("/proc/self/root/etc/a")), "/etc/a", Deleted, 7, ByPath},
		{"through the process's root, by its number", act(7, "unlink", called("/proc/7/root/proc/thread-self/root/etc/a")), "/etc/a", Deleted, 7, ByPath},
		{"through another's root", act(7, "unlink", called("/proc/8/root/etc/b")), "/etc/a", Deleted, none, Unexplained},
		{"the old name", act(7, "rename", called("/etc/a", "/etc/b")), "/etc/a", Renamed, 7, ByPath},
		{"the old name is gone", act(7, "rename", called("/etc/a", "/tmp/b")), "/etc/a", Deleted, 7, ByPath},
		{"the old name has no other content", act(7, "renameat2", called("/etc/a", "/etc/b")), "/etc/a", ContentChanged, none, Unexplained},
		{"but by an exchange", act(7, "renameat2", called("/etc/a", "/etc/b"), arg(4, unix.RENAME_EXCHANGE)), "/etc/a", ContentChanged, 7, ByPath},
		{"the new name", act(7, "renameat", called("/tmp/a", "/etc/a")), "/etc/a", OwnerChanged, 7, ByPath},
		{"a directory's new name", act(7, "rename", called("/tmp/d", "/etc/d")), "/etc/d/e/a", Created, 7, ByDirectory},
		{"a directory's old name", act(7, "rename", called("/etc/d", "/tmp/d")), "/etc/d/e/a", Deleted, 7, ByDirectory},
		{"a directory above the watched ones", act(7, "rename", called("/opt", "/gone")), "/opt/app/a", Deleted, 7, ByDirectory},
		{"a mount over a directory", act(7, "mount", called("none", "/etc/d")), "/etc/d/a", ContentChanged, 7, ByDirectory},
		{"what is mounted stays", act(7, "mount", called("/etc/d", "/mnt"), arg(3, unix.MS_BIND)), "/etc/d", Unmounted, none, Unexplained},
		{"but where it is moved from", act(7, "mount", called("/etc/d", "/mnt"), arg(3, unix.MS_MOVE)), "/etc/d", Unmounted, 7, ByPath},
		{"a remount", act(7, "mount", called("none", "/etc/d"), arg(3, unix.MS_REMOUNT)), "/etc/d", Mounted, none, Unexplained},
		{"move_mount of what was nowhere", act(7, "move_mount", called("|", "/etc/d")), "/etc/d", Mounted, 7, ByPath},
		{"the first name of a link", act(7, "link", called("/etc/a", "/tmp/b")), "/etc/a", LinksChanged, 7, ByPath},
		{"the second name of a link", act(7, "linkat", called("/tmp/b", "/etc/a")), "/etc/a", Created, 7, ByPath},
		{"where a symbolic link leads", act(7, "symlink", called("/etc/a", "/tmp/b")), "/etc/a", Created, none, Unexplained},
		{"a symbolic link", act(7, "symlinkat", called("/tmp/b", "/etc|a")), "/etc/a", Created, 7, ByPath},
		{"a socket", act(7, "bind", func(ev *event.Event) { ev.Call.Address.Path = "/etc/a" }), "/etc/a", Created, 7, ByPath},
		{"an abstract socket", act(7, "bind", func(ev *event.Event) { ev.Call.Address.Path = "@/etc/a" }), "/etc/a", Created, none, Unexplained},
		{"an open file", act(7, "fchmod", file(5, "/etc/a")), "/etc/a", ModeChanged, 7, ByPath},
		{"an open file of another path", act(7, "fchown", file(77, "/tmp/hard")), "/etc/a", OwnerChanged, 7, ByInode},
		{"flags", act(7, "ioctl", file(5, "/etc/a"), arg(1, 0xffffffff_40086602)), "/etc/a", FlagsChanged, 7, ByPath},
		{"a clone", act(7, "ioctl", file(5, "/etc/a"), arg(1, 0x40049409)), "/etc/a", ContentChanged, 7, ByPath},
		{"another request", act(7, "ioctl", file(5, "/etc/a"), arg(1, 0x5401)), "/etc/a", FlagsChanged, none, Unexplained},
		{"an attribute may be an ACL", act(7, "setxattr", called("/etc/a")), "/etc/a", ACLChanged, 7, ByPath},
		{"an attribute, from a directory", act(7, "setxattrat", called("/etc|a")), "/etc/a", XattrsChanged, 7, ByPath},
		{"an attribute of the descriptor", act(7, "setxattrat", called("/etc/a|"), arg(2, unix.AT_EMPTY_PATH), func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", XattrsChanged, 7, ByPath},
		{"an attribute removed", act(7, "removexattrat", called("/etc|a")), "/etc/a", ACLChanged, 7, ByPath},
		{"an attribute of the descriptor removed", act(7, "removexattrat", called("/etc/a|"), arg(2, unix.AT_EMPTY_PATH), func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", XattrsChanged, 7, ByPath},
		{"an attribute of a link removed", act(7, "lremovexattr", called("/etc/a")), "/etc/a", XattrsChanged, 7, ByPath},
		{"an attribute of an open file removed", act(7, "fremovexattr", file(5, "/etc/a")), "/etc/a", XattrsChanged, 7, ByPath},
		{"flags by name", act(7, "file_setattr", called("/etc|a")), "/etc/a", FlagsChanged, 7, ByPath},
		{"flags of the descriptor", act(7, "file_setattr", called("/etc/a|"), arg(4, unix.AT_EMPTY_PATH), func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", FlagsChanged, 7, ByPath},
		{"permissions of the descriptor", act(7, "fchmodat2", called("/etc/a|"), arg(3, unix.AT_EMPTY_PATH), func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", ModeChanged, 7, ByPath},
		{"an unreadable name", act(7, "unlink", func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", Deleted, 7, ByTime},
		{"a name that is cut", act(7, "unlink", called("/etc/a"), func(ev *event.Event) { ev.Call.Text[0].Truncated = true }), "/etc/a", Deleted, 7, ByTime},
		{"an unreadable name of another kind", act(7, "mkdir", func(ev *event.Event) { ev.Call.Text[0].Fault = true }), "/etc/a", Deleted, none, Unexplained},
		{"a call whose names are not read", act(7, "lremovexattr"), "/etc/a", XattrsChanged, 7, ByTime},
		{"the name of a descriptor", act(7, "chmod", called("/proc/self/fd/12")), "/etc/a", ModeChanged, 7, ByTime},
		{"a call that changes nothing", act(7, "access", called("/etc/a")), "/etc/a", ModeChanged, none, Unexplained},
	} {
		h := newHistory(t, ActsOptions{})
		h.happens(c.ev)
		s := h.sought(c.at, c.kind)
		s.Device, s.Inode = unix.Mkdev(8, 1), 77
		h.want(c.what, s, c.pid, c.by)
	}
}

func TestTheLatestOfTheBestIsBlamed(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	h.happens(act(1, "rename", called("/tmp/d", "/etc/d")))
	s := h.sought("/etc/d/a", Created, ContentChanged)
	s.Device, s.Inode = unix.Mkdev(8, 1), 77
	h.want("a directory renamed", s, 1, ByDirectory)
	h.happens(act(2, "openat", called("/tmp|a"), arg(2, forWriting), file(77, "/tmp/a")))
	h.want("and its file opened by another name", s, 2, ByInode)
	h.happens(act(3, "openat", called("/etc/d/a"), arg(2, forWriting), file(77, "/etc/d/a")))
	h.happens(act(1, "rename", called("/tmp/d2", "/etc/d")))
	h.want("and by its own", s, 3, ByPath)
	h.happens(act(4, "truncate", called("/etc/d/a")))
	h.want("and truncated after it", s, 4, ByPath)
	s.PID = 3
	h.want("by 3, as another witness says", s, 3, ByPath)
	s.PID = 5
	h.want("by somebody of whom no act is known", s, 4, ByPath)
}

func TestAnotherWitnessNamesWhoIsKnown(t *testing.T) {
	running := &event.Process{Task: event.Task{PID: 9, Start: 9000, UID: 33}, Path: "/usr/sbin/apache2"}
	h := newHistory(t, ActsOptions{Process: func(pid uint32) *event.Process {
		if pid == 9 {
			return running
		}
		return nil
	}})
	h.happens(act(7, "unlink", called("/etc/other")))
	s := h.sought("/etc/a", Deleted)
	h.want("nobody is known", s, 0, Unexplained)
	s.PID = 7
	h.want("who has done something else", s, 7, ByPID)
	s.PID = 9
	if found := h.want("who runs", s, 9, ByPID); found.Actor.Exe != "/usr/sbin/apache2" || found.Actor.UID != 33 {
		t.Errorf("it was %+v, want apache2 of user 33", found.Actor)
	}
	s.PID = 10
	h.want("who is unknown", s, 0, Unexplained)
}

func TestAnActIsNotToldForALaterChange(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	h.happens(act(1, "chmod", called("/etc/a")))
	first := h.sought("/etc/a", ModeChanged)
	h.want("the change", first, 1, ByPath)
	first.What = 1 << ACLChanged
	h.want("another kind of it", first, 1, ByPath)
	h.boot += second / 100
	later := Sought{Path: first.Path, What: 1 << ModeChanged, From: first.To, To: h.now()}
	h.want("a change just after it", later, 0, Unexplained)
	h.boot += 60 * second
	later.From, later.To = h.now().Add(-time.Second), h.now()
	h.want("a change much later", later, 0, Unexplained)

	h.happens(act(2, "chmod", called("/etc/b")))
	h.boot += uint64(maxActAge) + second
	s := h.sought("/etc/b", ModeChanged)
	s.From = time.Time{}
	h.want("an act that is too old", s, 0, Unexplained)
}

func TestAWriterIsKnownForAsLongAsHeMayWrite(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	const hour = 3600 * second
	change := func(closed bool) Sought {
		s := h.sought("/etc/log", ContentChanged)
		s.Device, s.Inode, s.Closed = unix.Mkdev(8, 1), 77, closed
		return s
	}
	writes := func(pid uint32) {
		h.happens(act(pid, "openat", called("/etc/log"), arg(2, forWriting|unix.O_APPEND), file(77, "/etc/log")))
	}
	writes(1)
	h.boot += hour
	h.want("an hour later", change(false), 1, ByInode)
	h.boot += hour
	h.want("and again", change(false), 1, ByInode)
	writes(2)
	h.boot += hour
	h.want("the latest of two", change(false), 2, ByInode)
	h.want("which closes the file", change(true), 2, ByInode)
	h.boot += hour
	h.want("the other one has it open still", change(false), 1, ByInode)
	if got := h.acts.Stats().Writers; got != 1 {
		t.Errorf("%d writers, want 1", got)
	}
	h.happens(&event.Event{Kind: event.Exit, PID: 1, Start: 1001})
	h.want("another process of its number ends", change(false), 1, ByInode)
	h.happens(&event.Event{Kind: event.Exit, PID: 1, Start: 1000})
	h.want("it ends", change(false), 1, ByInode)
	h.boot += hour
	h.want("after that", change(false), 0, Unexplained)
	if got := h.acts.Stats().Writers; got != 0 {
		t.Errorf("%d writers, want none", got)
	}
	writes(3)
	h.boot += hour
	h.happens(act(4, "truncate", called("/etc/log")))
	h.want("who has acted lately is likelier", change(false), 4, ByPath)
}

func TestContainersHavePathsOfTheirOwn(t *testing.T) {
	web := &event.Container{ID: "web", CgroupID: 42, Workload: event.Workload{Namespace: "shop", Pod: "web-0", Container: "web"}}
	known := false
	h := newHistory(t, ActsOptions{Container: func(id uint64) *event.Container {
		if known && id == 42 {
			return web
		}
		return nil
	}})
	h.happens(act(1, "unlink", called("/etc/a")))
	h.happens(act(2, "unlink", called("/etc/a"), in(web)))
	host := h.sought("/etc/a", Deleted)
	inside := host
	inside.Path.Container = "web"
	elsewhere := host
	elsewhere.Path.Container = "db"
	h.want("the host's", host, 1, ByPath)
	if found := h.want("the container's", inside, 2, ByPath); found.Actor.Workload != web.Workload || found.Actor.Container != "web" {
		t.Errorf("it was %+v, want the container web", found.Actor)
	}
	h.want("another container's", elsewhere, 0, Unexplained)

	h.happens(act(3, "unlink", called("/etc/b"), func(ev *event.Event) { ev.CgroupID = 42 }))
	inside.Path.Name = "/etc/b"
	known = true
	h.want("a container that was not known then", inside, 3, ByPath)

	s := h.sought("/etc/mounted", ContentChanged)
	s.Device, s.Inode = unix.Mkdev(8, 1), 77
	h.happens(act(4, "openat", called("/opt/app/mounted"), arg(2, forWriting), file(77, "/opt/app/mounted"), in(web)))
	h.want("the host's file in a container", s, 4, ByInode)
}

func TestAnActorIsWhoHeWasThen(t *testing.T) {
	const host, own, deeper = 100, 200, 300 // mount namespaces
	task := func(pid uint32, mount uint32) event.Task {
		return event.Task{PID: pid, Start: uint64(pid), UID: pid * 10, Namespaces: event.Namespaces{Mount: mount}, Comm: [16]byte{'c', byte('0' + pid)}}
	}
	first := &event.Process{Task: task(1, host), Path: "/sbin/init"}
	shim := &event.Process{Task: task(2, host), Path: "/usr/bin/containerd-shim", Parent: first}
	shell := &event.Process{Task: task(3, own), Path: "/bin/sh", Parent: shim}
	vim := &event.Process{Task: task(4, deeper), Path: "/usr/bin/vim", Args: []string{"vim", "a"}, Parent: shell}
	web := &event.Container{ID: "web"}
	h := newHistory(t, ActsOptions{})
	h.happens(act(4, "unlink", called("/etc/a"), in(web), func(ev *event.Event) {
		ev.Process, ev.Start, ev.UID, ev.Call.Ring = vim, 4, 1000, true
		ev.Caller.EUID, ev.Caller.LoginUID = 0, 500
	}))
	s := h.sought("/etc/a", Deleted)
	s.Path.Container = "web"
	found := h.want("vim", s, 4, ByPath)
	a := found.Actor
	if a.Start != 4 || a.Exe != "/usr/bin/vim" || a.Comm != "c4" || !slices.Equal(a.Args, []string{"vim", "a"}) || a.UID != 1000 || a.EUID != 0 || a.LoginUID != 500 {
		t.Errorf("it was %+v", a)
	}
	if !found.Ring || found.Call.String() != "unlink" || !found.Time.Equal(h.now()) || !slices.Equal(found.Names, []string{"/etc/a"}) || found.What != 1<<Deleted {
		t.Errorf("what was done is %+v", found)
	}
	want := []Ancestor{{3, 3, "/bin/sh", "c3", 30, true}, {2, 2, "/usr/bin/containerd-shim", "c2", 20, false}, {1, 1, "/sbin/init", "c1", 10, false}}
	if !slices.Equal(a.Ancestors, want) {
		t.Errorf("ancestors %+v, want %+v", a.Ancestors, want)
	}
	if got := slices.Collect(a.Ancestry()); !slices.Equal(got, []string{"/usr/bin/vim", "/bin/sh", "/usr/bin/containerd-shim", "/sbin/init"}) {
		t.Errorf("ancestry %v", got)
	}
	for range a.Ancestry() {
		break
	}

	// Where the host's first process is not known, nobody passes for one of the host.
	first.Namespaces.Mount = 0
	if found, _ := h.acts.Who(s); !found.Actor.Ancestors[1].Container {
		t.Error("an ancestor of a container is taken for one of the host, whose namespace is not known")
	}
	long := first
	for i := range uint32(100) {
		long = &event.Process{Task: event.Task{PID: 100 + i}, Parent: long}
	}
	if got := len(ancestorsOf(long, false)); got != maxAncestors {
		t.Errorf("%d ancestors, want %d", got, maxAncestors)
	}
}

func TestAnActIsFoundThoughTheClockWasSet(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	h.happens(act(1, "unlink", called("/etc/a")))
	h.acts.clock = func() (time.Time, uint64) { return h.now().Add(-24 * time.Hour), h.boot }
	s := h.sought("/etc/a", Deleted)
	s.From, s.To = s.From.Add(-24*time.Hour), s.To.Add(-24*time.Hour)
	h.want("by the clock as it is now", s, 1, ByPath)
}

func TestCallsOnOneFileAreOneAct(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	p := &event.Process{Task: event.Task{PID: 1, Start: 1000}}
	of := func(ev *event.Event) { ev.Process = p }
	h.happens(act(1, "openat", called("/etc/a"), arg(2, forWriting|unix.O_CREAT), file(77, "/etc/a"), func(ev *event.Event) { ev.FD.Created = true }, of))
	h.happens(act(1, "fchmod", file(77, "/etc/a"), of))
	h.happens(act(1, "chown", called("/etc/a"), of))
	if got := h.acts.Stats(); got.Acts != 1 || got.Writers != 1 {
		t.Errorf("%+v, want one act and one writer", got)
	}
	h.want("what was done last", h.sought("/etc/a", OwnerChanged), 1, ByPath)
	h.happens(act(1, "chown", called("/etc/a"), of))
	if got := h.acts.Stats().Acts; got != 2 {
		t.Errorf("%d acts, want a second one, as the first has been told of", got)
	}
	h.boot += 2 * second
	h.happens(act(1, "chown", called("/etc/a"), of))
	if got := h.acts.Stats().Acts; got != 3 {
		t.Errorf("%d acts, want a third one, much later", got)
	}
}

func TestWhatIsForgottenUnaskedIsCounted(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	for i := range maxActs {
		h.happens(act(uint32(i), "unlink", called(fmt.Sprintf("/etc/%d", i))))
	}
	for i := range 10 {
		h.want("one of the oldest", h.sought(fmt.Sprintf("/etc/%d", i), Deleted), uint32(i), ByPath)
	}
	for i := range 15 {
		h.happens(act(uint32(i), "mkdir", called(fmt.Sprintf("/etc/%d", i))))
	}
	if got := h.acts.Stats(); got.Acts != maxActs || got.Overwritten != 5 {
		t.Errorf("%+v, want %d acts, and 5 of 15 overwritten of which nobody had asked", got, maxActs)
	}
	h.want("one that was overwritten", h.sought("/etc/12", Deleted), 0, Unexplained)
	h.want("one that was not", h.sought("/etc/15", Deleted), 15, ByPath)

	long := strings.Repeat("/long", 800)
	for i := range 2 * maxActBytes / 4000 {
		h.happens(act(1, "unlink", called(fmt.Sprintf("/etc%s/%d", long, i))))
	}
	if got := h.acts.Stats().Acts; got > maxActBytes/4000 {
		t.Errorf("%d acts with names of 4000 bytes are kept, want %d bytes at most", got, maxActBytes)
	}
}

func TestWhoDoesMuchHidesOnlyHimself(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	h.happens(act(1, "unlink", func(ev *event.Event) { ev.Call.Text[0].Fault = true }))
	for i := range 100_000 {
		h.happens(act(2, "unlink", called(fmt.Sprintf("/build/%d.o", i))))
	}
	h.want("what was done before a flood", h.sought("/etc/a", Deleted), 1, ByTime)
	h.happens(act(3, "unlinkat", func(ev *event.Event) { ev.Call.Text[0].Fault = true }))
	h.want("one of two", h.sought("/etc/b", Deleted), 0, Unexplained)
}

func TestIsNearAgreesWithWhatAPathIs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func() string {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString("/" + []string{"a", "ab", "a-b", "a.b", "b", "!"}[r.IntN(6)])
		}
		return b.String()
	}
	for range 500 {
		var tr tree
		for range r.IntN(6) {
			tr.roots = append(tr.roots, random())
		}
		if r.IntN(50) == 0 {
			tr.roots = append(tr.roots, "/")
		}
		roots := tr.topmost()
		for range 20 {
			path := random()
			want := slices.ContainsFunc(roots, func(root string) bool { return isWithin(path, root) || isWithin(root, path) })
			if got := isNear(rootsWithSlash(roots), path); got != want {
				t.Fatalf("%s is near %v: %v, want %v", path, roots, got, want)
			}
		}
	}
}

func TestOnlyWatchedPathsTakeRoomOfActs(t *testing.T) {
	h := newHistory(t, ActsOptions{Sets: setsWith(t, WatchConfig{Name: "homes", Paths: []string{"/home/*/.ssh"}})})
	for range 2 { // the second time it is remembered
		for path, want := range map[string]int{"/home/me/src/a.o": 0, "/home/me/src/b.o": 0, "/home/me/.ssh/config": 1, "/home/me/.ssh": 1, "/home/me": 1, "/home": 1, "/tmp/a": 0, "/": 1} {
			before := h.acts.Stats().Acts
			h.boot += 2 * second
			h.happens(act(1, "rename", called(path, "/tmp/b")))
			if got := h.acts.Stats().Acts - before; got != want {
				t.Errorf("rename of %s makes %d acts, want %d", path, got, want)
			}
		}
	}
	h.acts.SetWatches(setsWith(t, WatchConfig{Name: "src", Paths: []string{"/home/me/src"}}))
	h.happens(act(1, "unlink", called("/home/me/src/a.o")))
	h.want("a path that is watched now", h.sought("/home/me/src/a.o", Deleted), 1, ByPath)
}

func TestDirectoriesThatAreRememberedMakeNoDifference(t *testing.T) {
	sets, err := NewSets(DefaultConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 7))
	parts := []string{"etc", "home", "me", ".ssh", ".bashrc", "usr", "lib", "bin", "var", "www", "cron.d", "opt", "x", "pam.d", "security", "ld.so.conf.d", "root", "log", "spool", "a.swp", "4913"}
	random := func() string {
		var b strings.Builder
		for range 1 + r.IntN(5) {
			b.WriteString("/" + parts[r.IntN(len(parts))])
		}
		return b.String()
	}
	w := watchedBy(sets)
	kept := 0
	for range 200_000 {
		path, in := random(), r.IntN(2) == 0
		want := sets.MayContain(in, path) || sets.Match(in, path) != 0
		if got := w.has(in, path); got != want {
			t.Fatalf("%s in a container (%v) is watched: %v, want %v", path, in, got, want)
		}
		kept += flag(want)
	}
	if kept == 0 {
		t.Error("none of the paths is watched")
	}
}

func TestObserveAndWhoAtOnce(t *testing.T) {
	h := newHistory(t, ActsOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			h.happens(act(uint32(i%7), "openat", called(fmt.Sprintf("/etc/%d", i%50)), arg(2, forWriting), file(uint64(i%50), "/etc/f")))
			h.happens(act(uint32(i%7), "unlink", called(fmt.Sprintf("/tmp/%d", i%50))))
			h.happens(&event.Event{Kind: event.Exit, PID: uint32(i % 7), Start: uint64(i%7) * 1000})
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
			s := h.sought(fmt.Sprintf("/etc/%d", i%50), ContentChanged, Deleted)
			s.Device, s.Inode, s.PID, s.Closed = unix.Mkdev(8, 1), uint64(i%50), uint32(i%9), i%3 == 0
			h.acts.Who(s)
			h.acts.Stats()
		}
	}
}
