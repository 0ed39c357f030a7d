package bpf

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

func init() { // only the test's own table of what a child may be told to do
	actors["operations"] = actOperations
}

// An entry is struct io_uring_sqe.
type entry struct {
	opcode, flags    uint8
	priority         uint16
	fd               int32
	off, addr        uint64
	length, how      uint32
	userData         uint64
	index, person    uint16
	fileIndex        uint32
	reserved0, rest1 uint64
}

// A ring is an io_uring of one request at a time.
type ring struct {
	fd       int
	rings    []byte
	entries  []byte
	offsets  ringParams
	requests uint64
}

type ringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq, reserved0, reserved1, reserved2 uint32
	sq                                                                                    struct {
		head, tail, mask, entries, flags, dropped, array, reserved uint32
		user                                                       uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, reserved uint32
		user                                                       uint64
	}
}

const skipSuccess = 1 << 6 // IOSQE_CQE_SKIP_SUCCESS

func newRing() (*ring, error) {
	r := &ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&r.offsets)), 0)
	if errno != 0 {
		return nil, errno
	}
	r.fd = int(fd)
	const offsetEntries, size = 0x10000000, 1 << 14
	var err error
	if r.rings, err = unix.Mmap(r.fd, 0, size/4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return nil, fmt.Errorf("map the rings: %w", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offsetEntries, 8*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return nil, fmt.Errorf("map the entries: %w", err)
	}
	return r, nil
}

func (r *ring) word(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[at])) }

// do submits one request and waits for its result.
func (r *ring) do(e entry) (int32, error) {
	tail := atomic.LoadUint32(r.word(r.offsets.sq.tail))
	slot := tail & *r.word(r.offsets.sq.mask)
	r.requests++
	e.userData = r.requests
	*(*entry)(unsafe.Pointer(&r.entries[64*slot])) = e
	*r.word(r.offsets.sq.array + 4*slot) = slot
	atomic.StoreUint32(r.word(r.offsets.sq.tail), tail+1)
	wait := uintptr(1)
	if e.flags&skipSuccess != 0 {
		wait = 0
	}
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, wait, wait /* IORING_ENTER_GETEVENTS */, 0, 0); errno != 0 {
		return 0, fmt.Errorf("enter the ring: %w", errno)
	}
	if wait == 0 {
		return 0, nil
	}
	head := atomic.LoadUint32(r.word(r.offsets.cq.head))
	for tries := 0; head == atomic.LoadUint32(r.word(r.offsets.cq.tail)); tries++ { // a signal of Go's ends the wait early
		if tries < 1000 {
			_, _, _ = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, 1, 1, 0, 0)
			continue
		}
		return 0, fmt.Errorf("operation %d has not completed", e.opcode)
	}
	at := r.offsets.cq.cqes + 16*(head&*r.word(r.offsets.cq.mask))
	result := int32(binary.NativeEndian.Uint32(r.rings[at+8:]))
	atomic.StoreUint32(r.word(r.offsets.cq.head), head+1)
	return result, nil
}

func ringDir() string { return filepath.Join(os.TempDir(), "yagura-ring") }

func pointer[T any](v *T) uint64 { return uint64(uintptr(unsafe.Pointer(v))) }

func name(s string) uint64 {
	b, _ := unix.BytePtrFromString(s)
	kept = append(kept, b)
	return pointer(b)
}

var kept []*byte // names that the kernel still reads

func actOperations() error {
	r, err := newRing()
	if err != nil {
		fmt.Print("refused: ", err)
		return nil
	}
	os.RemoveAll(ringDir())
	if err := os.MkdirAll(ringDir()+"/sub", 0o755); err != nil {
		return err
	}
	os.Symlink("sub", ringDir()+"/link")
	if err := os.Chdir(ringDir()); err != nil {
		return err
	}
	how := unix.OpenHow{Flags: unix.O_RDWR}
	hello := []byte("hello ring")
	const cwd = unix.AT_FDCWD
	away := uint32(0xffffff9c) // AT_FDCWD in a field without sign
	var results []string
	step := func(e entry) int32 {
		n, failed := r.do(e)
		if err == nil {
			err = failed
		}
		results = append(results, fmt.Sprintf("%d:%d", e.opcode, n))
		return n
	}
	fd := step(entry{opcode: 18, fd: cwd, addr: name("link/made"), length: 0o640, how: unix.O_CREAT | unix.O_WRONLY})
	step(entry{opcode: 23, fd: fd, addr: pointer(&hello[0]), length: uint32(len(hello)), off: ^uint64(0)})
	step(entry{opcode: 28, fd: cwd, addr: name(ringDir() + "/sub/made"), off: pointer(&how), length: uint32(unsafe.Sizeof(how))})
	step(entry{opcode: 18, fd: cwd, addr: name("nothing-there"), how: unix.O_RDONLY})
	step(entry{opcode: 37, fd: cwd, addr: name("newdir"), length: 0o700})
	step(entry{opcode: 39, fd: cwd, addr: name("sub/made"), length: away, off: name("newdir/hard")})
	step(entry{opcode: 38, fd: cwd, addr: name("/etc/passwd"), off: name("newdir/soft")})
	step(entry{opcode: 35, fd: cwd, addr: name("sub/made"), length: away, off: name("renamed")})
	step(entry{opcode: 36, fd: cwd, addr: name("renamed")})
	ringConnect(step)
	if r.offsets.features&(1<<11) != 0 { // IORING_FEAT_CQE_SKIP
		step(entry{opcode: 36, fd: cwd, flags: skipSuccess, addr: name("not-told")})
	}
	runtime.KeepAlive(hello)
	fmt.Print(strings.Join(results, " "))
	return err
}

func ringConnect(step func(entry) int32) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer l.Close()
	to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	to.Port = port>>8 | port<<8
	for range 2 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return
		}
		step(entry{opcode: 16, fd: int32(fd), addr: pointer(&to), off: uint64(unsafe.Sizeof(to))})
		to.Port = 1 << 8 // nobody listens there
	}
}

func TestTruthRingOperations(t *testing.T) {
	proves(t, "rules_io_uring")
	w := startCalls(t, wanting(t, "openat", "openat2", "write", "mkdirat", "linkat", "symlinkat", "renameat2", "unlinkat", "connect"))
	needProbe(t, w, "6.0: io_uring_submit_sqe tells of its request", "io_uring_complete")
	g := w.newGroup(t, "ring")
	t.Cleanup(func() { os.RemoveAll(ringDir()) })
	out := w.perform(t, g, "operations")
	if reason, refused := strings.CutPrefix(out, "refused: "); refused {
		t.Skipf("needs io_uring: %s", reason)
	}
	t.Log(out)
	dir := ringDir()
	text := func(ev *event.Event, i int) string { return string(ev.Call.Text[i].Raw) }
	find := func(name string, match func(*event.Event) bool) *event.Event {
		t.Helper()
		ev := w.call(t, g, name, func(ev *event.Event) bool { return ev.Call.Ring && match(ev) })
		if ev.Caller.EUID != 0 || !strings.HasPrefix(string(ev.Caller.Comm[:]), "bpf.test") && !strings.HasPrefix(string(ev.Caller.Comm[:]), "exe") && !strings.HasPrefix(string(ev.Caller.Comm[:]), "truth.test") {
			t.Errorf("%s was submitted by %+v", name, ev.Caller)
		}
		return ev
	}
	named := func(s string) func(*event.Event) bool {
		return func(ev *event.Event) bool { return text(ev, 0) == s }
	}
	open := find("openat", named("link/made"))
	if string(open.FD.Name) != dir+"/sub/made" || string(open.Call.Text[0].Resolved) != dir+"/sub/made" || open.Call.Result != int64(open.FD.Num) ||
		string(open.Call.Text[0].Dir) != dir || open.Call.Arg[2]&unix.O_CREAT == 0 || open.Call.Arg[3]&0o777 != 0o640 || !open.FD.Created {
		t.Errorf("openat: %+v with descriptor %+v", open.Call, open.FD)
	}
	if ev := find("write", func(*event.Event) bool { return true }); string(ev.FD.Name) != dir+"/sub/made" || ev.Call.Result != 10 {
		t.Errorf("write of %d bytes to %q", ev.Call.Result, ev.FD.Name)
	}
	if ev := find("openat2", named(dir+"/sub/made")); ev.Call.Word[0]&unix.O_RDWR == 0 || string(ev.FD.Name) != dir+"/sub/made" {
		t.Errorf("openat2: %+v with descriptor %+v", ev.Call, ev.FD)
	}
	if ev := find("openat", named("nothing-there")); event.ErrorName(ev.Call.Result) != "ENOENT" {
		t.Errorf("openat of nothing returned %d", ev.Call.Result)
	}
	if ev := find("mkdirat", named("newdir")); ev.Call.Arg[2] != 0o700 || ev.Call.Result != 0 || string(ev.Call.Text[0].Dir) != dir {
		t.Errorf("mkdirat: %+v", ev.Call)
	}
	for name, to := range map[string]string{"linkat": "newdir/hard", "renameat2": "renamed"} {
		if ev := find(name, named("sub/made")); text(ev, 1) != to || ev.Call.Result != 0 || string(ev.Call.Text[1].Dir) != dir {
			t.Errorf("%s: %+v", name, ev.Call)
		}
	}
	if ev := find("symlinkat", named("/etc/passwd")); text(ev, 1) != "newdir/soft" || string(ev.Call.Text[1].Dir) != dir {
		t.Errorf("symlinkat: %+v", ev.Call)
	}
	find("unlinkat", named("renamed"))
	if strings.HasSuffix(out, "36:0") { // the kernel has such requests
		find("unlinkat", named("not-told"))
	}
	connected := find("connect", func(ev *event.Event) bool { return ev.Call.Result == 0 })
	if !connected.FD.Connected || connected.FD.Remote != connected.Call.Address.Peer || !connected.FD.Remote.IsValid() {
		t.Errorf("connect: %+v with %+v", connected.Call.Address, connected.FD)
	}
	if ev := find("connect", func(ev *event.Event) bool { return ev.Call.Result != 0 }); event.ErrorName(ev.Call.Result) != "ECONNREFUSED" ||
		ev.Call.Address.Peer.Port() != 1 {
		t.Errorf("refused connect: %d at %v", ev.Call.Result, ev.Call.Address)
	}
}
