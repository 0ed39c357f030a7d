package bpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// What the actors do, and so what must be counted.
const (
	wantGetppid = 1000
	wantBadFD   = 77
	wantAgain   = 50
	wantMissing = 33
	wantOK      = 7
	wantError   = 5
	wantSignal  = 3
	wantCore    = 2
)

func init() { // only the test's own table of what a child may be told to do
	actors["syscalls"] = actSyscalls
	actors["processes"] = actProcesses
	actors["sleep50ms"] = func() error { time.Sleep(50 * time.Millisecond); return nil }
	actors["naps"] = actNaps
	actors["exit3"] = func() error { os.Exit(3); return nil }
	actors["abort"] = func() error {
		if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			return err
		}
		return dieOf(unix.SIGABRT)
	}
	actors["killed"] = func() error { return dieOf(unix.SIGKILL) }
	actors["true"] = func() error { return nil }
}

// dieOf ends the process by a signal with its default action, past the Go runtime's handler.
func dieOf(sig unix.Signal) error {
	var action [4]uintptr // SIG_DFL
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno != 0 && sig != unix.SIGKILL {
		return errno
	}
	unix.Kill(os.Getpid(), sig)
	select {}
}

func actSyscalls() error {
	for range wantGetppid {
		unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	}
	for range wantBadFD {
		unix.RawSyscall(unix.SYS_DUP, ^uintptr(0), 0, 0)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK); err != nil {
		return err
	}
	var b [1]byte
	for range wantAgain {
		unix.RawSyscall6(unix.SYS_PREADV2, uintptr(p[0]), 0, 0, ^uintptr(0), ^uintptr(0), 0)
		unix.RawSyscall(unix.SYS_READ, uintptr(p[0]), uintptr(unsafe.Pointer(&b)), 1)
	}
	for range wantMissing {
		unix.Access("/nowhere/at/all", 0)
	}
	return nil
}

func TestTruthSyscalls(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "syscalls_total")
	g := w.newGroup(t, "truth-syscalls")
	w.perform(t, g, "syscalls")
	calls, failures := w.calls(t, g.id)
	equal(t, "getppid", calls["getppid"], wantGetppid)
	equal(t, "dup", calls["dup"], wantBadFD)
	equal(t, "dup EBADF", failures["dup EBADF"], wantBadFD)
	equal(t, "read EAGAIN", failures["read EAGAIN"], wantAgain)
	equal(t, "faccessat ENOENT", failures["faccessat ENOENT"]+failures["faccessat2 ENOENT"], wantMissing)
}

func TestTruthCallsThatDoNotReturn(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "syscalls_exit_group")
	needProbe(t, w, "5.15: bpf_task_pt_regs", "sys_exit_group")
	g := w.newGroup(t, "truth-exit")
	for range wantOK {
		w.perform(t, g, "true")
	}
	calls, _ := w.calls(t, g.id)
	equal(t, "exit_group", calls["exit_group"], wantOK)
}

// elf32 is a 32-bit program that calls getppid (64), which nothing else here does, twenty times and exit (1).
func elf32() []byte {
	code := []byte{
		0xbe, 20, 0, 0, 0, // mov esi, 20
		0xb8, 64, 0, 0, 0, // mov eax, 64
		0xcd, 0x80, // int 0x80
		0x4e,       // dec esi
		0x75, 0xf6, // jnz -10
		0xb8, 1, 0, 0, 0, // mov eax, 1
		0x31, 0xdb, // xor ebx, ebx
		0xcd, 0x80,
	}
	const base, head = 0x08048000, 52 + 32
	b := []byte{0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	u16 := func(v uint16) { b = append(b, byte(v), byte(v>>8)) }
	u32 := func(v uint32) { u16(uint16(v)); u16(uint16(v >> 16)) }
	u16(2)           // executable
	u16(3)           // i386
	u32(1)           // version
	u32(base + head) // entry
	u32(52)          // program headers
	u32(0)
	u32(0)
	u16(52)
	u16(32)
	u16(1)
	u16(0)
	u16(0)
	u16(0)
	u32(1) // PT_LOAD
	u32(0)
	u32(base)
	u32(base)
	u32(uint32(head + len(code)))
	u32(uint32(head + len(code)))
	u32(5) // read, execute
	u32(0x1000)
	return append(b, code...)
}

func TestTruthCompatCalls(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs x86: 32-bit calls")
	}
	w := startAgent(t, everything)
	path := filepath.Join(t.TempDir(), "compat")
	if err := os.WriteFile(path, elf32(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(path).Run(); err != nil {
		t.Skipf("needs CONFIG_IA32_EMULATION: %v", err)
	}
	proves(t, "syscalls_compat")
	g := w.newGroup(t, "truth-compat")
	w.perform(t, g, "run", "RUN="+path)
	calls, _ := w.calls(t, g.id)
	equal(t, "semget, which has the same number by the other gate", calls["semget"], 0)
	equal(t, "getppid", calls["getppid"], 20)
}

func init() {
	actors["run"] = func() error { return exec.Command(os.Getenv("RUN")).Run() }
}

// actProcesses forks and waits by the bare system calls: os/exec makes a process more, to try pidfds out.
func actProcesses() error {
	run := func(n int, actor string) error {
		for range n {
			word, err := spawn("/proc/self/exe", actor, 1, "first", "second third")
			if err != nil {
				return err
			}
			if _, err := unix.Wait4(word, nil, 0, nil); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(run(wantOK, "true"), run(wantError, "exit3"), run(wantSignal, "killed"), run(wantCore, "abort"))
}

// spawn runs an actor with output as its standard output.
func spawn(path, actor string, output int, args ...string) (pid int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString("go\n"); err != nil {
		return 0, err
	}
	ready, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	// The first of two settings wins here, so our own must go: a child told to act as we do would never end.
	if err := os.Setenv("YAGURA_ACTOR", actor); err != nil {
		return 0, err
	}
	return syscall.ForkExec(path, append([]string{path}, args...), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{r.Fd(), uintptr(output), 2, ready.Fd()}, Dir: "/tmp"})
}

func TestTruthProcesses(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "processes")
	var g group
	w.untilNoneIsLeftOut(t, []string{"process_fork", "process_exec", "process_exit"}, func(attempt int) {
		g = w.newGroup(t, fmt.Sprint("truth-processes-", attempt))
		w.perform(t, g, "processes")
	})
	c := w.counters(t, g.id)
	all := uint64(wantOK + wantError + wantSignal + wantCore)
	equal(t, "execs", c.Execs, all)
	equal(t, "forks", c.Forks, all)
	equal(t, "exits completed", c.Exits[0], wantOK+1) // and the actor itself
	equal(t, "exits error", c.Exits[1], wantError)
	equal(t, "exits signal and core_dump", c.Exits[2]+c.Exits[3], wantSignal+wantCore)
	if text, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); len(text) > 0 {
		equal(t, "exits core_dump", c.Exits[3], wantCore)
	}

	ev := w.await(t, "an exec with arguments", func(ev *event.Event) bool {
		return ev.Kind == event.Exec && ev.CgroupID == g.id && strings.Contains(string(ev.Args), "second third")
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(ev.Path); got != self {
		t.Errorf("path = %q, want %q", got, self)
	}
	if got, want := string(ev.Args), "/proc/self/exe\x00first\x00second third\x00"; got != want {
		t.Errorf("args = %q, want %q", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(self, &st); err != nil {
		t.Fatal(err)
	}
	equal(t, "exe inode", ev.Task.ExeInode, st.Ino)
	equal(t, "exe mtime", uint64(ev.Task.ExeModify), uint64(st.Mtim.Nano()))
	equal(t, "exe ctime", uint64(ev.Task.ExeChange), uint64(st.Ctim.Nano()))
	equal(t, "user namespace", uint64(ev.Task.Namespaces.User), nsInode(t, "user"))
	equal(t, "mount namespace", uint64(ev.Task.Namespaces.Mount), nsInode(t, "mnt"))
	equal(t, "pid namespace", uint64(ev.Task.Namespaces.PID), nsInode(t, "pid"))
	equal(t, "net namespace", uint64(ev.Task.Namespaces.Net), nsInode(t, "net"))
	equal(t, "cgroup namespace", uint64(ev.Task.Namespaces.Cgroup), nsInode(t, "cgroup"))
	if got := ev.Task.CgroupID; got != g.id {
		t.Errorf("cgroup of the task = %d, want %d", got, g.id)
	}
	if ev.Task.CapEffective == 0 || ev.Task.LoginUID == 0 {
		t.Errorf("credentials: capabilities %x, login uid %d: want root's, and nobody logged in", ev.Task.CapEffective, ev.Task.LoginUID)
	}
	exit := w.await(t, "its exit", func(x *event.Event) bool {
		return x.Kind == event.Exit && x.PID == ev.Task.PID && x.Start == ev.Task.Start
	})
	if exit.Status != 0 {
		t.Errorf("status = %#x, want 0", exit.Status)
	}
	w.await(t, "an exit with status 3", func(x *event.Event) bool {
		return x.Kind == event.Exit && x.CgroupID == g.id && x.Status == 3<<8
	})
	w.await(t, "a kill", func(x *event.Event) bool {
		return x.Kind == event.Exit && x.CgroupID == g.id && x.Status&0x7f == uint32(unix.SIGKILL)
	})
}

func nsInode(t testing.TB, name string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/"+name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestTruthIteratorFindsOurselves(t *testing.T) {
	w := startAgent(t, everything)
	found := false
	n := 0
	err := w.Processes(func(task event.Task) {
		n++
		if task.PID == uint32(os.Getpid()) {
			found = true
			if task.PPID != uint32(os.Getppid()) || task.Name() == "" || task.Start == 0 {
				t.Errorf("our own task: %+v", task)
			}
		}
	})
	if err != nil {
		t.Skipf("needs iter/task: %v", err)
	}
	proves(t, "start_up_processes")
	if !found {
		t.Errorf("%d processes, but not ourselves (%d)", n, os.Getpid())
	}
}

func TestTruthExecutableFlags(t *testing.T) {
	w := startAgent(t, everything)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	run := func(path string) error {
		cmd := exec.Command(path, "flags", path)
		cmd.Env = append(os.Environ(), "YAGURA_ACTOR=true")
		cmd.Stdin = strings.NewReader("go\n")
		return cmd.Run()
	}
	flagsOf := func(path string) event.Flags {
		return w.await(t, "exec of "+path, func(ev *event.Event) bool {
			return ev.Kind == event.Exec && strings.Contains(string(ev.Args), "flags\x00"+path+"\x00")
		}).Task.Flags
	}
	t.Run("memfd", func(t *testing.T) {
		proves(t, "exec_memfd")
		fd, err := unix.MemfdCreate("ghost", 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "ghost")
		defer file.Close()
		if _, err := file.Write(self); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
		if err := run(path); err != nil {
			t.Fatal(err)
		}
		if got := flagsOf(path); got&event.ExeMemfd == 0 {
			t.Errorf("flags = %b, want memfd", got)
		}
		ev := w.await(t, "memfd", func(ev *event.Event) bool { return ev.Task.Flags&event.ExeMemfd != 0 })
		if string(ev.Path) != "memfd:ghost" {
			t.Errorf("path = %q, want memfd:ghost", ev.Path)
		}
	})
	t.Run("overlay", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		for _, d := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "lower", "shipped"), self, 0o755); err != nil {
			t.Fatal(err)
		}
		merged := filepath.Join(dir, "merged")
		options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
		if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
			t.Skipf("needs overlayfs: %v", err)
		}
		defer unix.Unmount(merged, unix.MNT_DETACH)
		proves(t, "exec_overlay_layer")
		if err := os.WriteFile(filepath.Join(merged, "dropped"), self, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]event.Flags{"shipped": event.ExeLowerLayer, "dropped": event.ExeUpperLayer} {
			path := filepath.Join(merged, name)
			if err := run(path); err != nil {
				t.Fatal(err)
			}
			if got := flagsOf(path); got&(event.ExeLowerLayer|event.ExeUpperLayer) != want {
				t.Errorf("%s: flags = %b, want %b", name, got, want)
			}
		}
	})
	t.Run("resolved path", func(t *testing.T) {
		proves(t, "exec_path_through_mounts")
		dir := t.TempDir()
		deep := filepath.Join(dir, strings.Repeat("d/", 20), "mounted")
		if err := os.MkdirAll(deep, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", deep, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(deep, unix.MNT_DETACH)
		real := filepath.Join(deep, "real")
		if err := os.WriteFile(real, self, 0o755); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, "link")
		if err := os.Symlink(real, link); err != nil {
			t.Fatal(err)
		}
		if err := run(link); err != nil {
			t.Fatal(err)
		}
		ev := w.await(t, "exec by a link", func(ev *event.Event) bool {
			return ev.Kind == event.Exec && strings.Contains(string(ev.Args), "flags\x00"+link+"\x00")
		})
		if string(ev.Path) != real {
			t.Errorf("path = %q, want %q", ev.Path, real)
		}
	})
}

func actNaps() error {
	for range 10 {
		ts := unix.NsecToTimespec(int64(20 * time.Millisecond))
		if _, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0); errno != 0 {
			return errno
		}
	}
	return nil
}

func TestTruthSyscallLatency(t *testing.T) {
	w := startAgent(t, timed)
	proves(t, "syscall_duration")
	needProbe(t, w, "5.11: task storage", "sys_enter", "sys_exit_timed")
	g := w.newGroup(t, "truth-latency")
	w.perform(t, g, "naps", "GODEBUG=asyncpreemptoff=1") // whose signals would cut the sleep short
	var got *Histogram
	all, err := w.Slots()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SyscallDurations(func(slot uint32, call int, h *Histogram) {
		for _, s := range all {
			if s.Number == slot && s.CgroupID == g.id && SyscallName(call) == "clock_nanosleep" {
				copied := *h
				got = &copied
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got == nil {
		t.Fatal("clock_nanosleep was not timed")
	}
	var n, early uint64
	for i, c := range got.Buckets {
		n += c
		if i < 25 { // 2^24 units are 15.6 ms
			early += c
		}
	}
	equal(t, "calls timed", n, 10)
	equal(t, "calls under 15.6 ms", early, 0)
	if got.Sum < 10*20e6 {
		t.Errorf("sum = %v, want at least 200ms", time.Duration(got.Sum))
	}
}

func never(Slot) bool { return false }

func TestTruthShortLivedGroup(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "group_of_50ms")
	g := w.newGroup(t, "truth-short")
	w.perform(t, g, "sleep50ms")
	if err := removeGroup(g.path); err != nil {
		t.Fatal(err)
	}
	w.await(t, "the group's making", func(ev *event.Event) bool {
		return ev.Kind == event.CgroupMake && ev.CgroupID == g.id && strings.HasSuffix(string(ev.Path), "/truth-short")
	})
	w.await(t, "its removal", func(ev *event.Event) bool { return ev.Kind == event.CgroupRemove && ev.CgroupID == g.id })
	equal(t, "exits completed of a dead group", w.counters(t, g.id).Exits[0], 1)

	now := time.Now()
	if freed, err := w.Recycle(now, never); err != nil || len(freed) != 0 {
		t.Errorf("Recycle at once = %v, %v: want it to keep what nobody has read", freed, err)
	}
	if freed, err := w.Recycle(now.Add(keepDead+time.Second), never); err != nil || len(freed) == 0 {
		t.Errorf("Recycle later = %v, %v: want the dead group's slot back", freed, err)
	}
	w.Agent.Counters(func(s Slot, _ *Counters) {
		if s.CgroupID == g.id {
			t.Error("a recycled group is still counted")
		}
	})
}

func TestTruthNestedGroupsShareTheirWorkloadsSlot(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "nested_groups")
	outer := w.newGroup(t, "truth-outer")
	if err := w.MarkWorkload(outer.id); err != nil {
		t.Fatal(err)
	}
	inner := w.newGroup(t, "truth-outer/inner")
	w.perform(t, inner, "true")
	equal(t, "exits counted for the outer group", w.counters(t, outer.id).Exits[0], 1)
}

func TestTruthSlotsRunOutIntoOther(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "slots_bounded")
	for { // leave none
		var slot uint32
		if err := w.maps["free_slots"].LookupAndDelete(nil, &slot); err != nil {
			break
		}
		defer w.maps["free_slots"].Update(nil, slot, 0)
	}
	g := w.newGroup(t, "truth-none-left")
	before := w.counters(t, 0)
	w.perform(t, g, "true")
	if after := w.counters(t, 0); after.Exits[0] == before.Exits[0] {
		t.Error("an exit without a slot is not counted under other")
	}
	lost, err := w.Losses()
	if err != nil {
		t.Fatal(err)
	}
	if lost.Slots == 0 {
		t.Error("the missing slot is not counted")
	}
}

func init() {
	actors["many"] = func() error {
		for range 400 {
			pid, err := spawn("/proc/self/exe", "true", 1)
			if err != nil {
				return err
			}
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestTruthLossIsCounted fills a small ring buffer that nobody reads.
func TestTruthLossIsCounted(t *testing.T) {
	needRoot(t)
	stopAll(t)
	proves(t, "events_lost_total")
	h, mount := hierarchyHere(t)
	a, err := Load(Options{Hierarchy: h, Config: Config{RingBuffer: 64 << 10, MapMemory: Default.MapMemory, Workloads: 64},
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.Replan(Want{Processes: true})
	w := &watched{Agent: a, mount: mount}
	g := w.newGroup(t, "truth-loss")
	w.perform(t, g, "many")

	lost, err := a.Losses()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, w.keep) }()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		w.mu.Lock()
		begun := len(w.events) > 0
		w.mu.Unlock()
		if waiting, _ := a.RingBuffer(); begun && waiting == 0 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	seen := map[event.Kind]uint64{}
	for _, ev := range w.events {
		seen[ev.Kind]++
	}
	c := w.counters(t, g.id)
	equal(t, "execs counted, though their events were lost", c.Execs, 400)
	for _, k := range []event.Kind{event.Fork, event.Exec, event.Exit} {
		if lost.Events[k] == 0 {
			t.Errorf("no %v is counted as lost", k)
		}
		if lost.Events[k]+seen[k] < 400 {
			t.Errorf("%v: %d lost and %d read are less than the 400 there were", k, lost.Events[k], seen[k])
		}
	}
}
