package bpf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// The prefilter against the truth: an actor makes random calls while two agents look, one that wants every call and one
// that wants what a random Interest asks for. Each call carries its number in the sixth register, which none of them uses.

func init() { // only the test's own table of what a child may be told to do
	actors["random"] = actRandom
	actors["busy"] = actBusy
}

const (
	randomCalls = 400
	randomDir   = "/tmp/yagura-random"
)

// Names of files and directories: short, hidden, longer than the key of a name, longer than that of a prefix.
var randomNames = []string{"a", "b", ".ssh", "..x", "id_rsa", "shadow", "name-of-31-characters-and-no-mor",
	"name-of-32-characters-and-no-more", strings.Repeat("long-name-", 8), "sub", "link", "loop"}

var randomTypes = []string{"openat", "openat2", "unlinkat", "renameat2", "fchmodat", "fchmod", "mkdirat", "connect", "mkdir", "open", "creat"}

// randomTree makes what the actor works on.
func randomTree() error {
	for _, dir := range []string{"sub/sub", ".ssh", randomNames[8] + "/sub"} {
		if err := os.MkdirAll(filepath.Join(randomDir, dir), 0o755); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{"link": "sub", "sub/link": "..", "loop": "loop", ".ssh/link": "../sub/shadow"} {
		if err := os.Symlink(to, filepath.Join(randomDir, link)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return os.Chdir(randomDir + "/sub")
}

// randomPath is a path of up to five components, spelled in any way.
func randomPath(r *rand.Rand) string {
	begin := []string{randomDir + "/", randomDir + "/", randomDir + "/", "/proc/self/root" + randomDir + "/", "", "./", "/tmp//yagura-random/"}
	var b strings.Builder
	b.WriteString(begin[r.IntN(len(begin))])
	for range r.IntN(4) {
		parts := append([]string{"sub", "sub", "link", ".", "..", "", ".ssh"}, randomNames...)
		b.WriteString(parts[r.IntN(len(parts))] + "/")
	}
	if r.IntN(20) == 0 {
		b.WriteString(strings.Repeat("./", 130)) // longer than what is looked through
	}
	if r.IntN(12) > 0 {
		b.WriteString(randomNames[r.IntN(len(randomNames))])
	}
	return b.String()
}

func actRandom() error {
	seed, err := strconv.ParseUint(os.Getenv("YAGURA_SEED"), 10, 64)
	if err != nil {
		return err
	}
	if err := randomTree(); err != nil {
		return err
	}
	peers, err := randomPeers()
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for n := range uintptr(randomCalls) {
		randomCall(r, n, peers)
	}
	return unix.Chdir("/") // the end
}

func randomCall(r *rand.Rand, n uintptr, peers []unix.Sockaddr) {
	one, _ := unix.BytePtrFromString(randomPath(r))
	two, _ := unix.BytePtrFromString(randomPath(r))
	p, q := uintptr(unsafe.Pointer(one)), uintptr(unsafe.Pointer(two))
	at := ^uintptr(99) // AT_FDCWD
	if r.IntN(4) == 0 {
		fd, _ := unix.Open(randomDir, unix.O_PATH, 0)
		defer unix.Close(fd)
		at = uintptr(fd)
	}
	flags := []uintptr{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDONLY | unix.O_DIRECTORY, unix.O_PATH, unix.O_WRONLY | unix.O_APPEND}[r.IntN(6)]
	if r.IntN(2) == 0 {
		flags |= unix.O_CREAT
	}
	mode := []uintptr{0o600, 0o755}[r.IntN(2)]
	var fd uintptr = ^uintptr(0)
	switch randomTypes[r.IntN(len(randomTypes))] {
	case "openat":
		fd, _, _ = unix.Syscall6(unix.SYS_OPENAT, at, p, flags, mode, 0, n)
	case "openat2":
		how := unix.OpenHow{Flags: uint64(flags)}
		if flags&unix.O_CREAT != 0 {
			how.Mode = uint64(mode)
		}
		fd, _, _ = unix.Syscall6(unix.SYS_OPENAT2, at, p, uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, n)
	case "open":
		fd, _, _ = unix.Syscall6(sysOpen, p, flags, mode, 0, 0, n)
	case "creat":
		fd, _, _ = unix.Syscall6(sysCreat, p, mode, 0, 0, 0, n)
	case "unlinkat":
		unix.Syscall6(unix.SYS_UNLINKAT, at, p, 0, 0, 0, n)
	case "renameat2":
		unix.Syscall6(unix.SYS_RENAMEAT2, at, p, at, q, 0, n)
	case "fchmodat":
		unix.Syscall6(unix.SYS_FCHMODAT, at, p, mode, 0, 0, n)
	case "fchmod":
		file, _ := unix.Openat(int(at), unix.BytePtrToString(one), unix.O_RDONLY, 0)
		unix.Syscall6(unix.SYS_FCHMOD, uintptr(file), mode, 0, 0, 0, n)
		fd = uintptr(file)
	case "mkdirat":
		unix.Syscall6(unix.SYS_MKDIRAT, at, p, mode, 0, 0, n)
	case "mkdir":
		unix.Syscall6(sysMkdir, p, mode, 0, 0, 0, n)
	case "connect":
		randomConnect(r, n, peers)
	}
	if int(fd) >= 0 {
		unix.Close(int(fd))
	}
}

// randomPeers are addresses that connect succeeds at and is refused at, of each family.
func randomPeers() ([]unix.Sockaddr, error) {
	unix.Unlink(randomDir + "/socket")
	peers := []unix.Sockaddr{&unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}, &unix.SockaddrInet6{Port: 1, Addr: [16]byte{15: 1}},
		&unix.SockaddrUnix{Name: randomDir + "/no-socket"}}
	for family, at := range map[int]unix.Sockaddr{unix.AF_INET: &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}},
		unix.AF_INET6: &unix.SockaddrInet6{Addr: [16]byte{15: 1}}, unix.AF_UNIX: &unix.SockaddrUnix{Name: randomDir + "/socket"}} {
		fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		if err != nil {
			continue // a kernel without that family
		}
		if unix.Bind(fd, at) != nil || unix.Listen(fd, 4096) != nil {
			continue
		}
		bound, err := unix.Getsockname(fd)
		if err != nil {
			return nil, err
		}
		peers = append(peers, bound)
	}
	return peers, nil
}

func randomConnect(r *rand.Rand, n uintptr, peers []unix.Sockaddr) {
	var raw [unix.SizeofSockaddrAny]byte
	var length, family uintptr
	switch to := peers[r.IntN(len(peers))].(type) {
	case *unix.SockaddrInet4:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&raw))
		in.Family, in.Addr, in.Port = unix.AF_INET, to.Addr, uint16(to.Port)>>8|uint16(to.Port)<<8
		family, length = unix.AF_INET, unsafe.Sizeof(*in)
	case *unix.SockaddrInet6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&raw))
		in.Family, in.Addr, in.Port = unix.AF_INET6, to.Addr, uint16(to.Port)>>8|uint16(to.Port)<<8
		family, length = unix.AF_INET6, unsafe.Sizeof(*in)
	case *unix.SockaddrUnix:
		raw[0] = unix.AF_UNIX
		family, length = unix.AF_UNIX, uintptr(3+copy(raw[2:], to.Name))
	}
	fd, err := unix.Socket(int(family), unix.SOCK_STREAM, 0)
	if err != nil {
		fd = -1 // connect then fails with EBADF
	}
	defer unix.Close(fd)
	unix.Syscall6(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&raw)), length, 0, 0, n)
}

// ---- an Interest by chance, and what it means ----

func randomInterest(r *rand.Rand) event.Interest {
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	for _, name := range randomTypes {
		t, _ := event.TypeNamed(name)
		for range r.IntN(4) {
			i.Terms[t] = append(i.Terms[t], randomTerm(r))
		}
	}
	chdir, _ := event.TypeNamed("chdir")
	i.Terms[chdir] = []event.Term{event.AnyTerm} // the end
	return i
}

func randomTerm(r *rand.Rand) event.Term {
	term := event.AnyTerm
	if r.IntN(2) == 0 {
		term.Results = event.Results(1 + r.IntN(7))
	}
	if r.IntN(3) == 0 {
		term.Opens = uint16(r.Uint32())
	}
	if r.IntN(3) == 0 {
		term.Families = uint8(r.IntN(16))
	}
	if r.IntN(4) > 0 {
		term.Paths = &event.PathSet{}
		for range 1 + r.IntN(4) {
			randomKey(r, term.Paths)
		}
	}
	return term
}

func randomKey(r *rand.Rand, set *event.PathSet) {
	p := path.Join(randomDir, randomPath(r))
	switch r.IntN(3) {
	case 0:
		set.Exact = append(set.Exact, p)
	case 1:
		set.Prefixes = append(set.Prefixes, p[:1+r.IntN(len(p))])
	case 2:
		set.Names = append(set.Names, path.Base(p))
	}
}

// satisfies says whether a call is in an Interest, by what the words of package event say and nothing of the kernel's.
func satisfies(ev *event.Event, i event.Interest) bool {
	return slices.ContainsFunc(i.Terms[ev.Type], func(t event.Term) bool {
		sign := event.Positive
		if ev.Call.Result < 0 {
			sign = event.Failed
		} else if ev.Call.Result == 0 {
			sign = event.Zero
		}
		return t.Results&sign != 0 && (!ev.Type.Opens() || t.Opens&(1<<howOpened(ev)) != 0) &&
			t.Families&(1<<familyOf(ev)) != 0 && (t.Paths == nil || slices.ContainsFunc(pathsOf(ev), func(p string) bool { return inSet(p, t.Paths) }))
	})
}

func howOpened(ev *event.Event) (how int) {
	flags, mode := ev.Call.Arg[2], ev.Call.Arg[3]
	switch ev.Type.String() {
	case "open":
		flags, mode = ev.Call.Arg[1], ev.Call.Arg[2]
	case "openat2":
		flags, mode = ev.Call.Word[0], ev.Call.Word[1]
	case "creat":
		flags, mode = unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, ev.Call.Arg[1]
	}
	how = map[uint64]int{unix.O_RDONLY: event.OpenRead, unix.O_WRONLY: event.OpenWrite, unix.O_RDWR: event.OpenRead | event.OpenWrite}[flags&unix.O_ACCMODE]
	if flags&unix.O_CREAT != 0 && mode&0o111 != 0 {
		how |= event.OpenExec
	}
	if ev.FD.Created {
		how |= event.OpenCreated
	}
	return how
}

func familyOf(ev *event.Event) int {
	return map[uint16]int{unix.AF_UNIX: event.FamilyUnix, unix.AF_INET: event.FamilyInet, unix.AF_INET6: event.FamilyInet6}[ev.FD.Family]
}

// pathsOf are the paths of a call: as they were passed, made absolute and cleaned, and as the kernel resolves them.
func pathsOf(ev *event.Event) (paths []string) {
	for _, text := range ev.Call.Text {
		if len(text.Raw) > 0 {
			p := string(text.Raw)
			if p[0] != '/' {
				p = string(text.Dir) + "/" + p
			}
			paths = append(paths, path.Clean(p))
		}
		if len(text.Resolved) > 0 {
			paths = append(paths, string(text.Resolved))
		}
	}
	if len(ev.FD.Name) > 0 && ev.FD.Family == 0 {
		paths = append(paths, string(ev.FD.Name))
	}
	return paths
}

func inSet(p string, set *event.PathSet) bool {
	return slices.Contains(set.Exact, p) || slices.Contains(set.Names, path.Base(p)) ||
		slices.ContainsFunc(set.Prefixes, func(prefix string) bool { return strings.HasPrefix(p, prefix) })
}

// ---- the comparison ----

// byNumber are the random calls of one process that an agent has seen, by their numbers.
func (w *watched) byNumber(g group) map[uint64]*event.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := map[uint64]*event.Event{}
	for _, ev := range w.events {
		if ev.Kind == event.Syscall && ev.CgroupID == g.id && slices.Contains(randomTypes, ev.Type.String()) && ev.Call.Arg[5] < randomCalls {
			if old := calls[ev.Call.Arg[5]]; old == nil || old.TID == ev.TID {
				calls[ev.Call.Arg[5]] = ev
			}
		}
	}
	return calls
}

func TestTruthNothingThatCanMatchStaysInTheKernel(t *testing.T) {
	proves(t, "rules_prefilter_exact")
	stopAll(t)
	needRoot(t)
	truth, some := newAgent(t, Want{}), newAgent(t, Want{})
	t.Cleanup(func() { truth.stop(); some.stop() })
	if err := truth.SetInterest(wanting(t, append(slices.Clone(randomTypes), "chdir")...)); err != nil {
		t.Fatal(err)
	}
	needProbe(t, truth, "a kernel that lets sys_exit look at files", "call_exit")
	t.Cleanup(func() { os.RemoveAll(randomDir) })
	rounds := 5
	if os.Getenv("YAGURA_SOAK") != "" {
		rounds = 200
	}
	var wanted, passed, stayed int
	left := func() uint64 { return truth.Missed()["sys_exit"] + some.Missed()["sys_exit"] }
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 2))
		asked := randomInterest(r)
		judged := asked
		if seed == 0 { // one that the kernel is not told of, so that we see that we would see it
			judged = wanting(t, randomTypes...)
		}
		before := left()
		all, got := performRandom(t, truth, some, asked, seed)
		kernel := int(left() - before) // calls that the kernel has shown to one or none of the agents
		if len(all) < randomCalls-kernel {
			t.Fatalf("seed %d: %d calls were seen and %d left out, want %d", seed, len(all), kernel, randomCalls)
		}
		var misses []string
		for n, ev := range all {
			switch {
			case satisfies(ev, judged):
				wanted++
				if got[n] == nil {
					misses = append(misses, describeCall(ev))
				}
			case got[n] != nil:
				passed++
			default:
				stayed++
			}
		}
		if seed == 0 {
			if len(misses) == 0 {
				t.Error("no call is missed that the kernel was not told of: the comparison sees nothing")
			}
			continue
		}
		if len(misses) <= kernel {
			continue
		}
		for _, miss := range misses {
			t.Errorf("seed %d: wanted, and not reported: %s: %+v", seed, miss, asked.Terms)
		}
	}
	t.Logf("%d calls were wanted, %d others passed, %d stayed in the kernel", wanted, passed, stayed)
	if stayed == 0 {
		t.Error("nothing stayed in the kernel")
	}
}

func describeCall(ev *event.Event) string {
	return fmt.Sprintf("%s(%q, %q) in %q with %x = %d, %q %v", ev.Type, ev.Call.Text[0].Raw, ev.Call.Text[1].Raw, ev.Call.Text[0].Dir,
		ev.Call.Arg, ev.Call.Result, ev.FD.Name, ev.FD.Family)
}

func performRandom(t *testing.T, truth, some *watched, asked event.Interest, seed int) (all, got map[uint64]*event.Event) {
	t.Helper()
	if err := some.SetInterest(asked); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*watched{truth, some} {
		w.mu.Lock()
		w.events = nil
		w.mu.Unlock()
	}
	g := truth.newGroup(t, fmt.Sprintf("random-%d", seed))
	os.RemoveAll(randomDir)
	truth.perform(t, g, "random", fmt.Sprintf("YAGURA_SEED=%d", seed))
	for _, w := range []*watched{truth, some} {
		w.call(t, g, "chdir", func(ev *event.Event) bool { return string(ev.Call.Text[0].Raw) == "/" })
	}
	return truth.byNumber(g), some.byNumber(g)
}

// ---- a reload ----

// actBusy makes calls that both the old and the new rules want, each with its number.
func actBusy() error {
	name, _ := unix.BytePtrFromString("/tmp/yagura-busy")
	deadline := time.Now().Add(2 * time.Second)
	n := uintptr(0)
	for ; time.Now().Before(deadline); n++ {
		fd, _, err := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(name)), unix.O_RDWR|unix.O_CREAT, 0o600, 0, n)
		if err != 0 {
			return err
		}
		unix.Close(int(fd))
		if n%64 == 0 {
			time.Sleep(time.Millisecond) // so that the ring buffer is not the limit
		}
	}
	unix.Chdir("/")
	_, err := fmt.Print(n)
	return err
}

// busyInterest is one of many that want the busy calls, each by another of its terms.
func busyInterest(n int) event.Interest {
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	openat, _ := event.TypeNamed("openat")
	chdir, _ := event.TypeNamed("chdir")
	i.Terms[chdir] = []event.Term{event.AnyTerm}
	for k := range 1 + n%7 {
		i.Terms[openat] = append(i.Terms[openat], event.Term{Results: event.Positive, Opens: reads(), Families: event.AnyFamily,
			Paths: &event.PathSet{Prefixes: []string{fmt.Sprintf("/etc/%d/%d/", n, k)}, Names: []string{fmt.Sprint(n, k)}}})
	}
	set := &event.PathSet{Exact: []string{"/tmp/yagura-busy"}}
	switch n % 3 {
	case 1:
		set = &event.PathSet{Prefixes: []string{"/tmp/yagura-b"}}
	case 2:
		set = &event.PathSet{Names: []string{"yagura-busy"}}
	}
	term := event.Term{Results: event.AnyResult, Opens: event.AnyOpen, Families: event.AnyFamily, Paths: set}
	i.Terms[openat] = append(i.Terms[openat], term)
	return i
}

func TestTruthReloadLosesNothing(t *testing.T) {
	proves(t, "rules_reload")
	w := startCalls(t, busyInterest(0))
	g := w.newGroup(t, "busy")
	t.Cleanup(func() { os.Remove("/tmp/yagura-busy") })
	c := w.newChild(t, g, "busy")
	c.act(t)
	reloads := 0
	for deadline := time.Now().Add(1600 * time.Millisecond); time.Now().Before(deadline); {
		reloads++
		if err := w.SetInterest(busyInterest(reloads)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := strconv.ParseUint(c.finish(t), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	w.call(t, g, "chdir", func(ev *event.Event) bool { return string(ev.Call.Text[0].Raw) == "/" })
	seen := map[uint64]int{}
	w.mu.Lock()
	for _, ev := range w.events {
		if ev.Kind == event.Syscall && ev.CgroupID == g.id && string(ev.Call.Text[0].Raw) == "/tmp/yagura-busy" {
			seen[ev.Call.Arg[5]]++
		}
	}
	w.mu.Unlock()
	lost, twice := 0, 0
	for k := range n {
		switch {
		case seen[k] == 0:
			lost++
		case seen[k] > 1:
			twice++
		}
	}
	t.Logf("%d calls during %d reloads", n, reloads)
	left := int(w.Missed()["sys_exit"])
	cell("rules_not_preempted", left == 0, "")
	if lost > left || twice > 0 {
		losses, err := w.Losses()
		t.Errorf("%d of %d calls were missed (%d left out by the kernel, %d lost in the ring buffer, %v) and %d told twice during %d reloads",
			lost, n, left, losses.Events[event.Syscall], err, twice, reloads)
	}
	if reloads < 2 {
		t.Errorf("%d reloads, want more", reloads)
	}
}
