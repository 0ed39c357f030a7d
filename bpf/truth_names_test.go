package bpf

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Terms that ask where a name leads, against the truth: an actor makes random calls in a tree whose directories are moved, covered
// by mounts and replaced by symbolic links meanwhile, and looks before each whether it is about what is in one of them.

func init() { // only the test's own table of what a child may be told to do
	actors["names"] = actNames
}

const (
	namesRoom  = "/tmp/yagura-names" // where a link that leads out of the tree ends
	namesDir   = namesRoom + "/tree"
	namesIn    = namesDir + "/w" // what is asked for
	namesCalls = 600
	namesFirst = 1000 // number, which no other call has in its sixth register
)

// nameCalls are the calls that are made, by the numbers of the machine.
var nameCalls = map[string]uintptr{"openat": unix.SYS_OPENAT, "fchmod": unix.SYS_FCHMOD, "unlinkat": unix.SYS_UNLINKAT, "renameat2": unix.SYS_RENAMEAT2,
	"mkdirat": unix.SYS_MKDIRAT, "fchmodat": unix.SYS_FCHMODAT, "fchownat": unix.SYS_FCHOWNAT, "symlinkat": unix.SYS_SYMLINKAT, "truncate": unix.SYS_TRUNCATE}

type namesActor struct {
	*rand.Rand
	at    int // a descriptor of a directory
	marks int // one of inotify
}

func actNames() error {
	runtime.LockOSThread() // its working directory and mounts are its own
	seed, err := strconv.ParseUint(os.Getenv("YAGURA_SEED"), 10, 64)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range []string{namesIn + "/sub", namesDir + "/o/sub", namesDir + "/p"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Chdir(namesDir + "/o"); err != nil {
		return err
	}
	marks, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	a := namesActor{Rand: rand.New(rand.NewPCG(seed, 7)), at: -1, marks: marks}
	for n := range uintptr(namesCalls) {
		if a.IntN(4) == 0 {
			a.disturb()
		}
		if a.call(namesFirst + n) {
			fmt.Println(namesFirst + n)
		}
	}
	return unix.Chdir("/") // the end
}

var nameParts = []string{"w", "o", "p", "sub", "l"}

// name is the path of something: absolute, or from where the actor is.
func (a *namesActor) name() string {
	var parts []string
	for range a.IntN(3) {
		parts = append(parts, nameParts[a.IntN(len(nameParts))])
	}
	name := strings.Join(append(parts, []string{"f", "g", "sub", "l", "h"}[a.IntN(5)]), "/")
	switch a.IntN(8) {
	case 0, 1, 2, 3:
		return namesDir + "/" + name
	case 4:
		return "../" + name
	}
	return name
}

// dir is the path of a directory, most of the time.
func (a *namesActor) dir() string {
	return path.Join(namesDir, nameParts[a.IntN(3)], []string{"", "", "sub"}[a.IntN(3)])
}

// disturb changes where names lead. What fails was not to be.
func (a *namesActor) disturb() {
	one, other := a.dir(), a.dir()
	switch a.IntN(12) {
	case 0:
		unix.Rename(one, other)
	case 1:
		unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
	case 2:
		unix.Symlink(other, path.Join(one, "l"))
	case 3:
		os.RemoveAll(one)
		unix.Symlink(other, one)
	case 4:
		unix.Unlink(one)
		os.MkdirAll(one+"/sub", 0o755)
	case 5:
		unix.Mount(one+"/", other, "", unix.MS_BIND, "") // of a single file nothing tells that it is mounted elsewhere, too
	case 6:
		unix.Mount("none", one, "tmpfs", 0, "")
		os.MkdirAll(one+"/sub", 0o755)
	case 7, 8:
		unix.Unmount(one, unix.MNT_DETACH)
	case 9:
		unix.Link(path.Join(one, "f"), path.Join(other, "h"))
	case 10:
		unix.Chdir(one)
	case 11:
		unix.Close(a.at)
		a.at, _ = unix.Open(one, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	for _, name := range []string{"f", "g"} { // by their own names, so that the kernel could know them
		if fd, err := unix.Open(path.Join(a.dir(), name), unix.O_CREAT|unix.O_WRONLY, 0o644); err == nil {
			unix.Close(fd)
		}
	}
}

// inside is what is in the directory that is asked for, by its numbers: directories, and files. Its directories are marked, as
// another witness does it, by whatever paths they are reached.
func (a *namesActor) inside() map[[2]uint64]bool {
	ids := map[[2]uint64]bool{}
	filepath.WalkDir(namesIn+"/", func(name string, entry fs.DirEntry, err error) error {
		if id, ok := numbersOf(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW); ok && err == nil {
			ids[id] = true
		}
		if err == nil && entry.IsDir() {
			unix.InotifyAddWatch(a.marks, name, unix.IN_ALL_EVENTS)
		}
		return nil
	})
	return ids
}

func numbersOf(at int, name string, flags int) (id [2]uint64, ok bool) {
	var st unix.Stat_t
	if unix.Fstatat(at, name, &st, flags) != nil {
		return id, false
	}
	return [2]uint64{st.Dev, st.Ino}, true
}

// isIn says whether a name is in what is asked for, there or not yet; if it follows, whether what it leads to is.
func isIn(at int, name string, follows bool, ids map[[2]uint64]bool) bool {
	if id, ok := numbersOf(at, name, 0); ok && follows {
		return ids[id]
	}
	dir, last := path.Split(name)
	parent, err := unix.Openat(at, dir+".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(parent)
	if _, ok := numbersOf(parent, last, unix.AT_SYMLINK_NOFOLLOW); ok && follows {
		return false // a symbolic link to what is not there yet: who knows
	}
	id, _ := numbersOf(parent, ".", 0)
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", parent))
	return ids[id] || err == nil && path.Join(real, last) == namesIn
}

// call makes one, and says whether it succeeded and must be told.
func (a *namesActor) call(n uintptr) bool {
	names := []string{"openat", "fchmod", "unlinkat", "renameat2", "mkdirat", "fchmodat", "fchownat", "symlinkat", "truncate"}
	what := names[a.IntN(len(names))]
	at := unix.AT_FDCWD
	if a.at >= 0 && a.IntN(4) == 0 && what != "truncate" {
		at = a.at
	}
	one, other := a.name(), a.name()
	p, _ := unix.BytePtrFromString(one)
	q, _ := unix.BytePtrFromString(other)
	x, y, z := uintptr(at), uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(q))
	ids := a.inside()
	follows := !slices.Contains([]string{"unlinkat", "renameat2", "mkdirat", "symlinkat"}, what)
	wanted := isIn(at, one, follows, ids)
	var args [5]uintptr
	switch what {
	case "openat":
		args = [5]uintptr{x, y, unix.O_WRONLY | unix.O_CREAT, 0o644}
	case "fchmod":
		fd, err := unix.Openat(at, one, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		args = [5]uintptr{uintptr(fd), 0o640}
	case "unlinkat":
		args = [5]uintptr{x, y, uintptr(a.IntN(2) * unix.AT_REMOVEDIR)}
	case "renameat2":
		wanted = wanted || isIn(at, other, false, ids)
		args = [5]uintptr{x, y, x, z, uintptr(a.IntN(2) * unix.RENAME_EXCHANGE)}
	case "mkdirat":
		args = [5]uintptr{x, y, 0o755}
	case "fchmodat":
		args = [5]uintptr{x, y, 0o640}
	case "fchownat":
		args = [5]uintptr{x, y, 0, 0}
	case "symlinkat":
		wanted = isIn(at, other, false, ids)
		args = [5]uintptr{y, x, z}
	case "truncate":
		args = [5]uintptr{y, 0}
	}
	r, _, errno := unix.Syscall6(nameCalls[what], args[0], args[1], args[2], args[3], args[4], n)
	runtime.KeepAlive(p)
	runtime.KeepAlive(q)
	if errno == 0 && what == "openat" {
		unix.Close(int(r))
	}
	return errno == 0 && wanted
}

func TestTruthNothingThatCanMatchWhereItLeadsStaysInTheKernel(t *testing.T) {
	proves(t, "rules_prefilter_exact")
	stopAll(t)
	needRoot(t)
	truth, some := newAgent(t, Want{}), newAgent(t, Want{})
	t.Cleanup(func() { truth.stop(); some.stop() })
	t.Cleanup(func() { os.RemoveAll(namesRoom) })
	var all []string
	asked := event.Interest{Terms: map[event.Type][]event.Term{}}
	for name := range nameCalls {
		all = append(all, name)
		term := event.Term{Results: event.Zero | event.Positive, Opens: event.AnyOpen, Families: event.AnyFamily, Resolved: true,
			Paths: &event.PathSet{Prefixes: []string{namesIn}}}
		asked.Terms[typeNamed(t, name)] = []event.Term{term}
	}
	asked.Terms[typeNamed(t, "chdir")] = []event.Term{event.AnyTerm} // the end
	if err := truth.SetInterest(wanting(t, append(slices.Clone(all), "chdir")...)); err != nil {
		t.Fatal(err)
	}
	if err := some.SetInterest(asked); err != nil {
		t.Fatal(err)
	}
	needProbe(t, some, "a kernel that lets sys_exit look at files", "call_exit")
	rounds := 8
	if os.Getenv("YAGURA_SOAK") != "" {
		rounds = 200
	}
	stayed, wanted := map[string]int{}, 0
	for seed := range rounds {
		os.RemoveAll(namesRoom)
		for _, w := range []*watched{truth, some} {
			w.mu.Lock()
			w.events = nil
			w.mu.Unlock()
		}
		before := truth.Missed()["sys_exit"] + some.Missed()["sys_exit"]
		g := truth.newGroup(t, fmt.Sprintf("names-%d", seed))
		out := truth.perform(t, g, "names", fmt.Sprintf("YAGURA_SEED=%d", seed))
		for _, w := range []*watched{truth, some} {
			w.call(t, g, "chdir", func(ev *event.Event) bool { return string(ev.Call.Text[0].Raw) == "/" })
		}
		left := int(truth.Missed()["sys_exit"] + some.Missed()["sys_exit"] - before)
		made, told := truth.numbered(g), some.numbered(g)
		var misses []string
		for _, line := range strings.Fields(out) {
			n, err := strconv.ParseUint(line, 10, 64)
			if err != nil {
				t.Fatal(out)
			}
			wanted++
			if told[n] == nil && made[n] != nil {
				misses = append(misses, describeCall(made[n]))
			}
		}
		if len(misses) > left {
			t.Errorf("seed %d: about what is asked for, and not told:\n%s", seed, strings.Join(misses, "\n"))
		}
		for n, ev := range made {
			if told[n] == nil && ev.Call.Result >= 0 {
				stayed[ev.Type.String()]++
			}
		}
	}
	t.Logf("%d calls had to be told; in the kernel stayed %v", wanted, stayed)
	if wanted == 0 {
		t.Error("no call was about what is asked for")
	}
	for _, name := range all {
		if stayed[name] == 0 {
			t.Errorf("no %s stayed in the kernel", name)
		}
	}
}

// numbered are the calls of the actor that an agent has seen, by their numbers.
func (w *watched) numbered(g group) map[uint64]*event.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := map[uint64]*event.Event{}
	for _, ev := range w.events {
		if n := ev.Call.Arg[5]; ev.Kind == event.Syscall && ev.CgroupID == g.id && n >= namesFirst && n < namesFirst+namesCalls {
			calls[n] = ev
		}
	}
	return calls
}
