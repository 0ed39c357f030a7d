package bpf

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
)

// execRecord is what the kernel sends for `/usr/bin/true a`.
func execRecord() []byte {
	var e yaguraExecEvent
	e.H = yaguraHeader{Boot: 5e9, CgroupId: 77, Start: 4e9, Pid: 100, Tid: 101, Uid: 1, Gid: 2, Kind: uint16(event.Exec), Cpu: 3}
	e.Task.Pid, e.Task.Start, e.Task.NsMount = 100, 4e9, 9
	copy(bytesIn(&e.Task.Comm), "true")
	path, args, env, cwd := "/usr/bin/true", "true\x00a\x00", "PW=x\x00", "/root"
	e.PathLen, e.ArgsLen, e.EnvLen, e.CwdLen, e.Syscall = uint32(len(path)), uint32(len(args)), uint32(len(env)), uint32(len(cwd)), -1
	return append(bytes.Clone(bytesIn(&e)), path+args+env+cwd...)
}

func cgroupRecord(kind event.Kind, path string) []byte {
	e := yaguraCgroupEvent{H: yaguraHeader{Kind: uint16(kind), CgroupId: 1}, Id: 42, Parent: 41, PathLen: uint32(len(path) + 1)}
	return append(append(bytes.Clone(bytesIn(&e)), path...), 0)
}

func TestDecodeExec(t *testing.T) {
	d := decoder{boot: 1e18}
	ev, err := d.decode(execRecord())
	if err != nil {
		t.Fatal(err)
	}
	want := event.Event{
		Kind: event.Exec, CPU: 3, PID: 100, TID: 101, UID: 1, GID: 2, Time: 1e18 + 5e9, Boot: 5e9, Start: 4e9, CgroupID: 77, Num: 1,
		Path: []byte("/usr/bin/true"), Args: []byte("true\x00a\x00"), Env: []byte("PW=x\x00"), Cwd: []byte("/root"), Type: typeExecve,
		Task: event.Task{PID: 100, Start: 4e9, Namespaces: event.Namespaces{Mount: 9}, Comm: [16]byte{'t', 'r', 'u', 'e'}},
	}
	if diff := cmp.Diff(want, *ev, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
}

func TestDecodeControlGroup(t *testing.T) {
	d := decoder{}
	ev, err := d.decode(cgroupRecord(event.CgroupMake, "/default/web"))
	if err != nil {
		t.Fatal(err)
	}
	if ev.CgroupID != 42 || ev.Parent != 41 || string(ev.Path) != "/default/web" {
		t.Errorf("decode = %d below %d at %q, want 42 below 41 at /default/web", ev.CgroupID, ev.Parent, ev.Path)
	}
}

func TestCutPathBeginsWithAnEllipsis(t *testing.T) {
	for _, c := range []struct {
		path string
		cut  bool
		want string
	}{
		{"/", false, "/"},
		{"/a/b/c", false, "/a/b/c"},
		{"/b/c", true, ".../b/c"},
		{"memfd:x", false, "memfd:x"},
	} {
		if got := string(keepPath(nil, []byte(c.path), c.cut)); got != c.want {
			t.Errorf("keepPath(%q, %v) = %q, want %q", c.path, c.cut, got, c.want)
		}
	}
}

func TestDecodeTellsWhatIsWrong(t *testing.T) {
	long := execRecord()
	as[yaguraExecEvent](long).ArgsLen = 1 << 31
	unknown := execRecord()
	as[yaguraHeader](unknown).Kind = 99
	for want, raw := range map[string][]byte{
		"want at least a header": execRecord()[:20],
		"want at least":          execRecord()[:sizeOf[yaguraHeader]()+8],
		"arguments of 2147483648, environment of 5 and directory of 5 bytes in a tail of 30": long,
		"unknown kind 99": unknown,
	} {
		d := decoder{}
		if _, err := d.decode(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("decode: %v, want an error with %q", err, want)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d, exec, group := decoder{}, execRecord(), cgroupRecord(event.CgroupMake, "/default/web")
	if n := testing.AllocsPerRun(1000, func() { d.decode(exec); d.decode(group) }); n != 0 {
		t.Errorf("%v allocations per two events, want 0", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	d, exec := decoder{}, execRecord()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.decode(exec); err != nil {
			b.Fatal(err)
		}
	}
}

// hideLast is a redactor that makes arguments longer.
func hideLast(args []string) []string {
	return append(args[:len(args)-1:len(args)-1], "[hidden away]")
}

func TestRecordingHoldsNoSecrets(t *testing.T) {
	var file bytes.Buffer
	r, err := NewRecorder(&file, hideLast)
	if err != nil {
		t.Fatal(err)
	}
	raw := execRecord()
	if err := r.Record(raw); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, execRecord()) {
		t.Error("the record itself was changed, which the event path still reads")
	}
	p := Replay{R: &file}
	if err := p.Run(t.Context(), func(ev *event.Event) {
		if string(ev.Args) != "true\x00[hidden away]\x00" || string(ev.Path) != "/usr/bin/true" || len(ev.Env) != 0 ||
			string(ev.Cwd) != "/root" {
			t.Errorf("replayed %q %q with %q in %q", ev.Path, ev.Args, ev.Env, ev.Cwd)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestReplayGivesWhatWasRecorded(t *testing.T) {
	var file bytes.Buffer
	r, err := NewRecorder(&file, hideLast)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{execRecord(), cgroupRecord(event.CgroupRemove, "/x"), execRecord()} {
		if err := r.Record(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	var kinds []event.Kind
	p := Replay{R: bytes.NewReader(whole), Boot: 1}
	if err := p.Run(t.Context(), func(ev *event.Event) { kinds = append(kinds, ev.Kind) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]event.Kind{event.Exec, event.CgroupRemove, event.Exec}, kinds); diff != "" {
		t.Errorf("replay (-want +got):\n%s", diff)
	}

	torn := Replay{R: bytes.NewReader(whole[:len(whole)-3])}
	if err := torn.Run(t.Context(), func(*event.Event) {}); err == nil || !strings.Contains(err.Error(), "record 3 at byte") {
		t.Errorf("replay of a torn recording: %v, want the record and byte", err)
	}
	other := Replay{R: strings.NewReader("something else entirely")}
	if err := other.Run(t.Context(), func(*event.Event) {}); err == nil || !strings.Contains(err.Error(), "not a recording") {
		t.Errorf("replay of another file: %v", err)
	}
}

func FuzzReplay(f *testing.F) {
	var file bytes.Buffer
	r, _ := NewRecorder(&file, hideLast)
	r.Record(execRecord())
	r.Record(cgroupRecord(event.CgroupMake, "/default/web"))
	r.Flush()
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		p := Replay{R: bytes.NewReader(data)}
		p.Run(t.Context(), func(ev *event.Event) {
			if len(ev.Path) > maxRecord*2 {
				t.Errorf("a path of %d bytes from a record of at most %d", len(ev.Path), maxRecord)
			}
			ev.Clone()
		})
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(execRecord())
	f.Add(cgroupRecord(event.CgroupMake, "/default/web"))
	f.Fuzz(func(t *testing.T, data []byte) {
		words := make([]uint64, len(data)/8+1) // aligned, as records are
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(data))
		copy(raw, data)
		d := decoder{}
		ev, err := d.decode(raw)
		if err == nil && ev.Num != 1 {
			t.Errorf("Num = %d, want 1", ev.Num)
		}
	})
}

func TestZeroAgentSeesNothing(t *testing.T) {
	a := &Agent{refusal: errors.New("no BTF")}
	a.Replan(Want{Processes: true, TCP: true})
	for _, p := range a.Probes() {
		if p.Attached || p.Reason != "no BTF" {
			t.Errorf("probe %+v, want it refused for want of BTF", p)
		}
	}
	if len(a.Probes()) == 0 {
		t.Error("no probe says that it was refused")
	}
	a.FindSockets()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := errors.Join(a.AddCgroup(1), a.MarkWorkload(1), a.Run(ctx, nil), a.Counters(nil), a.Syscalls(nil),
		a.SyscallErrors(nil), a.SyscallDurations(nil), a.LostEvents(func(event.Kind, uint64) {}), a.BlockIO(nil),
		a.FatalSignals(nil), a.AcceptQueues(nil), a.AcceptOverflows(nil), a.LastExits(nil), a.PacketDrops(nil), a.Close()); err != nil {
		t.Error(err)
	}
	if freed, err := a.Recycle(time.Now(), nil); freed != nil || err != nil {
		t.Errorf("Recycle = %v, %v", freed, err)
	}
	if a.SlotLimit() != 0 || len(a.MapMemory()) != 0 || len(a.Costs()) != 0 {
		t.Error("an agent without a kernel side has something in it")
	}
}

func TestPlanAttachesNothingThatNobodyAsksFor(t *testing.T) {
	for _, c := range []struct {
		want    Want
		refused []string
		hooks   string
	}{
		{Want{}, nil, ""},
		{Want{Workloads: true}, nil, "cgroup_mkdir cgroup_rmdir"},
		{Want{Processes: true}, nil, "cgroup_mkdir cgroup_rmdir process_fork process_exec process_exit"},
		{Want{RunQueue: true}, nil, "cgroup_mkdir cgroup_rmdir run_queue_wakeup run_queue_new run_queue_switch"},
		{Want{RunQueue: true}, []string{"run_queue_wakeup"}, "cgroup_mkdir cgroup_rmdir run_queue_wakeup"},
		{Want{BlockIO: true}, nil, "cgroup_mkdir cgroup_rmdir block_inserted block_issued block_completed"},
		{Want{BlockIO: true}, []string{"block_issued"}, "cgroup_mkdir cgroup_rmdir block_inserted block_issued"},
		{Want{PacketDrops: true}, nil, "packet_dropped"},
		{Want{Syscalls: true}, nil, "cgroup_mkdir cgroup_rmdir sys_exit sys_exit_group"},
		{Want{TCP: true}, nil, "cgroup_mkdir cgroup_rmdir tcp_state tcp_destroyed tcp_retransmit tcp_reset_sent tcp_reset_received socket_sent socket_received connect_exit"},
		{Want{TCP: true, Syscalls: true}, nil, "cgroup_mkdir cgroup_rmdir tcp_state tcp_destroyed tcp_retransmit tcp_reset_sent tcp_reset_received socket_sent socket_received sys_exit sys_exit_group"},
		{Want{TCP: true}, []string{"socket_sent"}, "cgroup_mkdir cgroup_rmdir tcp_state tcp_destroyed tcp_retransmit tcp_reset_sent tcp_reset_received socket_sent sys_exit"},
		{Want{TCP: true}, []string{"connect_exit"}, "cgroup_mkdir cgroup_rmdir tcp_state tcp_destroyed tcp_retransmit tcp_reset_sent tcp_reset_received socket_sent socket_received connect_exit sys_exit"},
		{Want{Syscalls: true, SyscallLatency: true}, nil, "cgroup_mkdir cgroup_rmdir sys_enter sys_exit_timed sys_exit_group"},
		{Want{Syscalls: true, SyscallLatency: true}, []string{"sys_enter"}, "cgroup_mkdir cgroup_rmdir sys_enter sys_exit sys_exit_group"},
	} {
		p := &plan{Want: c.want, refused: map[string]bool{}}
		var tried []string
		for _, h := range hooks {
			if h.wanted(p) {
				tried = append(tried, h.program)
				for _, r := range c.refused {
					p.refused[r] = p.refused[r] || r == h.program
				}
			}
		}
		if got := strings.Join(tried, " "); got != c.hooks {
			t.Errorf("%+v without %v tries\n%s, want\n%s", c.want, c.refused, got, c.hooks)
		}
	}
}

func TestSlotCountFitsTheBudget(t *testing.T) {
	for _, c := range []struct{ cpus, memory, want int }{
		{2, 56 << 20, 1024},
		{64, 56 << 20, 83}, // 32 MiB by 64 times 1176 bytes of counters and 640 calls of 8
		{256, 8 << 20, 16},
	} {
		if got := slotCount(Config{MapMemory: c.memory, Workloads: 1024}, c.cpus, 24<<20); got != c.want {
			t.Errorf("%d CPUs, %d bytes: %d slots, want %d", c.cpus, c.memory, got, c.want)
		}
	}
}

func TestSyscallNames(t *testing.T) {
	for n, want := range map[int]string{-1: "other", 600: "other", 639: "other", 5000: "other"} {
		if got := SyscallName(n); got != want {
			t.Errorf("SyscallName(%d) = %q, want %q", n, got, want)
		}
	}
	seen := map[string]int{}
	for n := range SyscallSlots {
		if name := SyscallName(n); name != "other" {
			if m, twice := seen[name]; twice {
				t.Errorf("%s is both %d and %d", name, m, n)
			}
			seen[name] = n
		}
	}
}
