package exporter

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// fakeKernel is the kernel's counters as a test sets them.
type fakeKernel struct {
	slots []fakeSlot
	freed []bpf.Slot
}

type fakeSlot struct {
	bpf.Slot
	counters bpf.Counters
	calls    [bpf.SyscallSlots]uint64
	errors   map[[2]int]uint64

	block     map[bpf.BlockKey]bpf.BlockIO
	signals   map[string]uint64
	queues    []bpf.AcceptQueue
	overflows map[int]uint64
	exit      exit
	requests  map[bpf.RequestKey]bpf.RequestTotals
	sizes     map[bpf.RequestKey]bpf.RequestSizes
}

func (k *fakeKernel) Counters(yield func(bpf.Slot, *bpf.Counters)) error {
	for i := range k.slots {
		yield(k.slots[i].Slot, &k.slots[i].counters)
	}
	return nil
}

func (k *fakeKernel) Syscalls(yield func(bpf.Slot, *[bpf.SyscallSlots]uint64)) error {
	for i := range k.slots {
		yield(k.slots[i].Slot, &k.slots[i].calls)
	}
	return nil
}

func (k *fakeKernel) SyscallErrors(yield func(uint32, int, int, uint64)) error {
	for _, s := range k.slots {
		for key, n := range s.errors {
			yield(s.Number, key[0], key[1], n)
		}
	}
	return nil
}

func (k *fakeKernel) SyscallDurations(func(uint32, int, *bpf.Histogram)) error { return nil }

func (k *fakeKernel) BlockIO(yield func(bpf.BlockKey, *bpf.BlockIO)) error {
	for _, s := range k.slots {
		for key, c := range s.block {
			key.Slot = s.Number
			yield(key, &c)
		}
	}
	return nil
}

func (k *fakeKernel) FatalSignals(yield func(uint32, string, uint64)) error {
	for _, s := range k.slots {
		for signal, n := range s.signals {
			yield(s.Number, signal, n)
		}
	}
	return nil
}

func (k *fakeKernel) AcceptQueues(yield func(bpf.AcceptQueue)) error {
	for _, s := range k.slots {
		for _, q := range s.queues {
			q.Slot = s.Number
			yield(q)
		}
	}
	return nil
}

func (k *fakeKernel) AcceptOverflows(yield func(uint32, int, uint64)) error {
	for _, s := range k.slots {
		for port, n := range s.overflows {
			yield(s.Number, port, n)
		}
	}
	return nil
}

func (k *fakeKernel) LastExits(yield func(uint32, string, time.Time)) error {
	for _, s := range k.slots {
		if s.exit.reason != "" {
			yield(s.Number, s.exit.reason, s.exit.at)
		}
	}
	return nil
}

func (k *fakeKernel) Requests(yield func(bpf.RequestKey, *bpf.RequestTotals)) error {
	for _, s := range k.slots {
		for key, t := range s.requests {
			key.Slot = s.Number
			yield(key, &t)
		}
	}
	return nil
}

func (k *fakeKernel) RequestSizes(yield func(bpf.RequestKey, *bpf.RequestSizes)) error {
	for _, s := range k.slots {
		for key, sizes := range s.sizes {
			key.Slot = s.Number
			yield(key, &sizes)
		}
	}
	return nil
}

func (k *fakeKernel) Recycle(_ time.Time, hold func(bpf.Slot) bool) ([]bpf.Slot, error) {
	freed := slices.DeleteFunc(k.freed, hold)
	k.freed = nil
	return freed, nil
}

func slotOf(number uint32, cgroup, execs uint64) fakeSlot {
	return fakeSlot{Slot: bpf.Slot{Number: number, CgroupID: cgroup}, counters: bpf.Counters{Execs: execs}}
}

// execs returns how many were counted, by workload.
func execs(t *testing.T, k *Kernel) map[event.Workload]uint64 {
	t.Helper()
	k.taken = time.Time{}
	got := map[event.Workload]uint64{}
	if err := k.read(func(w *workloadTotals) { got[w.Workload] = w.counters.Execs }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWorkloadsAreSumsOfTheirControlGroups(t *testing.T) {
	web, host, other := event.Workload{Container: "web"}, event.Workload{}, event.Workload{Container: "other"}
	names := map[uint64]event.Workload{10: web, 11: web, 12: host}
	source := &fakeKernel{slots: []fakeSlot{slotOf(0, 0, 5), slotOf(1, 10, 100), slotOf(2, 11, 20), slotOf(3, 12, 3), slotOf(4, 13, 7)}}
	k := NewKernel(source, func(id uint64) (event.Workload, bool) { w, ok := names[id]; return w, ok })

	want := map[event.Workload]uint64{web: 120, host: 3, other: 5} // 13 has no name yet, and so no series
	if diff := cmp.Diff(want, execs(t, k)); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}

	names[13] = web
	want[web] = 127
	if diff := cmp.Diff(want, execs(t, k)); diff != "" {
		t.Errorf("once the last has its name (-want +got):\n%s", diff)
	}

	// One of three ends: what it counted stays, since the workload goes on.
	source.freed = []bpf.Slot{source.slots[1].Slot}
	execs(t, k)
	source.slots = append(source.slots[:1], source.slots[2:]...)
	if diff := cmp.Diff(want, execs(t, k)); diff != "" {
		t.Errorf("after one control group of the workload is gone (-want +got):\n%s", diff)
	}

	// Its slot is given to another workload, which begins at 0.
	names[20] = event.Workload{Unit: "new.service"}
	source.slots = append(source.slots, slotOf(1, 20, 1))
	want[names[20]] = 1
	if diff := cmp.Diff(want, execs(t, k)); diff != "" {
		t.Errorf("after the slot was given again (-want +got):\n%s", diff)
	}

	// The others end as well: nothing of the workload stays.
	source.freed = []bpf.Slot{source.slots[1].Slot, source.slots[3].Slot}
	execs(t, k)
	source.slots = []fakeSlot{source.slots[0], source.slots[2], source.slots[4]}
	delete(want, web)
	if diff := cmp.Diff(want, execs(t, k)); diff != "" {
		t.Errorf("after the workload has ended (-want +got):\n%s", diff)
	}
}

func TestSlotsWithoutANameAreHeldBack(t *testing.T) {
	source := &fakeKernel{slots: []fakeSlot{slotOf(1, 10, 100), slotOf(2, 11, 1)}}
	k := NewKernel(source, func(id uint64) (event.Workload, bool) { return event.Workload{}, id == 11 })
	execs(t, k)
	if !k.unnamed(source.slots[0].Slot) || k.unnamed(source.slots[1].Slot) {
		t.Error("want the slot without a name held back, and no other")
	}
	if diff := cmp.Diff(map[event.Workload]uint64{{}: 1}, execs(t, k)); diff != "" {
		t.Errorf("while it waits for its name (-want +got):\n%s", diff)
	}
	k.slots[1].since = time.Now().Add(-patience - time.Second)
	if diff := cmp.Diff(map[event.Workload]uint64{{}: 101}, execs(t, k)); diff != "" || k.unnamed(source.slots[0].Slot) {
		t.Errorf("after patience has run out (-want +got):\n%s", diff)
	}
}

func TestNamesOutliveTheRuntimesMemory(t *testing.T) {
	web := event.Workload{Container: "web"}
	known := true
	source := &fakeKernel{slots: []fakeSlot{slotOf(1, 10, 100)}}
	k := NewKernel(source, func(uint64) (event.Workload, bool) {
		if known {
			return web, true
		}
		return event.Workload{}, true // what a resolver says of what it has forgotten
	})
	if err := k.KeepNames(); err != nil {
		t.Fatal(err)
	}
	known = false
	if diff := cmp.Diff(map[event.Workload]uint64{web: 100}, execs(t, k)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// values gathers a collector's series as name{labels} without the empty workload labels.
func values(t *testing.T, e Entry) map[string]float64 {
	t.Helper()
	x := New(Options{Collectors: []Entry{e}})
	families, err := x.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetType() != dto.MetricType_HISTOGRAM {
				got[f.GetName()+filledLabels(m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return got
}

func filledLabels(m *dto.Metric) string {
	text := ""
	for _, l := range m.Label {
		if l.GetValue() != "" {
			text += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
		}
	}
	return text
}

func TestSyscallsNameTheBusiestAndFoldTheRest(t *testing.T) {
	s := slotOf(1, 10, 0)
	for i := range 60 {
		s.calls[i] = uint64(1000 - i)
	}
	s.errors = map[[2]int]uint64{{0, 11}: 4, {59, 2}: 5, {59, 512}: 6}
	k := NewKernel(&fakeKernel{slots: []fakeSlot{s}}, func(uint64) (event.Workload, bool) { return event.Workload{Container: "web"}, true })
	got := values(t, NewSyscalls(k).Entry())

	named, sum := 0, 0.0
	for call := range 60 {
		if n, ok := got["yagura_syscalls_total container=web syscall="+bpf.SyscallName(call)]; ok {
			named++
			if n != float64(1000-call) {
				t.Errorf("%s = %v, want %d", bpf.SyscallName(call), n, 1000-call)
			}
			if call >= namedSyscalls {
				t.Errorf("%s has a name, but is not among the busiest", bpf.SyscallName(call))
			}
		} else {
			sum += float64(1000 - call)
		}
	}
	if named != namedSyscalls {
		t.Errorf("%d calls have a name, want %d", named, namedSyscalls)
	}
	for series, want := range map[string]float64{
		"yagura_syscalls_total container=web syscall=other":                         sum,
		"yagura_syscall_errors_total container=web errno=EAGAIN syscall=read":       4,
		"yagura_syscall_errors_total container=web errno=ENOENT syscall=other":      5,
		"yagura_syscall_errors_total container=web errno=ERESTARTSYS syscall=other": 6,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
}

func TestNamesOfCallsStaySoThatOtherOnlyGrows(t *testing.T) {
	s := slotOf(1, 10, 0)
	for i := range 45 {
		s.calls[i] = 10
	}
	source := &fakeKernel{slots: []fakeSlot{s}}
	k := NewKernel(source, func(uint64) (event.Workload, bool) { return event.Workload{}, true })
	c := NewSyscalls(k)
	x := New(Options{Collectors: []Entry{c.Entry()}})
	other := func() float64 {
		k.taken = time.Time{}
		families, err := x.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == "yagura_syscalls_total" && filledLabels(m) == " syscall=other" {
					return m.GetCounter().GetValue()
				}
			}
		}
		t.Fatal("no other")
		return 0
	}
	before := other()
	source.slots[0].calls[44] = 1_000_000 // by now the busiest
	if after := other(); after != before+999_990 {
		t.Errorf("other went from %v to %v, want %v: a call in it must stay in it", before, after, before+999_990)
	}
}

func TestHostHasEveryReasonFromTheStart(t *testing.T) {
	k := NewKernel(&fakeKernel{slots: []fakeSlot{slotOf(1, 1, 0), slotOf(2, 2, 0)}}, func(id uint64) (event.Workload, bool) {
		if id == 1 {
			return event.Workload{}, true
		}
		return event.Workload{Container: "idle"}, true
	})
	for _, e := range []Entry{NewProcesses(k).Entry(), NewTCP(k).Entry()} {
		got := values(t, e)
		for _, series := range map[string][]string{
			"processes": {"yagura_process_execs_total", "yagura_process_exits_total reason=core_dump"},
			"tcp":       {"yagura_tcp_connects_total result=refused", "yagura_network_bytes_total direction=receive"},
		}[e.Name] {
			if v, ok := got[series]; !ok || v != 0 {
				t.Errorf("%s: %s = %v, %v, want 0 from the start", e.Name, series, v, ok)
			}
		}
		for series := range got {
			if strings.HasSuffix(series, "idle") && !strings.HasPrefix(series, "yagura_oom_kills_total") { // its first increase is an alert
				t.Errorf("%s: %s, want nothing of a workload to which nothing happened", e.Name, series)
			}
		}
	}
}

func TestErrnoNames(t *testing.T) {
	for errno, want := range map[int]string{2: "ENOENT", 11: "EAGAIN", 512: "ERESTARTSYS", 4000: "other"} {
		if got := errnoName(errno); got != want {
			t.Errorf("errnoName(%d) = %q, want %q", errno, got, want)
		}
	}
}

func TestSaturationIsTheSumOfTheControlGroups(t *testing.T) {
	web := event.Workload{Container: "web"}
	read := bpf.BlockKey{Major: 8, Operation: 0}
	one := fakeSlot{Slot: bpf.Slot{Number: 1, CgroupID: 10},
		block:     map[bpf.BlockKey]bpf.BlockIO{read: {Bytes: 4096, Errors: 1}},
		signals:   map[string]uint64{"SIGKILL": 2},
		queues:    []bpf.AcceptQueue{{Port: 80, Waiting: 3, Limit: 10}, {Port: 80, Waiting: 1, Limit: 10}},
		overflows: map[int]uint64{80: 5}}
	two := fakeSlot{Slot: bpf.Slot{Number: 2, CgroupID: 11},
		block:     map[bpf.BlockKey]bpf.BlockIO{read: {Bytes: 512}},
		signals:   map[string]uint64{"SIGKILL": 1, "SIGSEGV": 1},
		queues:    []bpf.AcceptQueue{{Port: 443, Waiting: 0, Limit: 128}},
		overflows: map[int]uint64{80: 1}}
	source := &fakeKernel{slots: []fakeSlot{one, two}}
	k := NewKernel(source, func(uint64) (event.Workload, bool) { return web, true })
	check := func(when string, queues map[int]acceptQueue) {
		t.Helper()
		k.taken = time.Time{}
		if err := k.read(func(w *workloadTotals) {
			if w.Workload != web {
				return
			}
			if c := w.block[blockKey{8, 0, 0}]; c == nil || c.Bytes != 4608 || c.Errors != 1 {
				t.Errorf("%s: block I/O = %+v, want 4608 bytes and 1 error", when, c)
			}
			if diff := cmp.Diff(map[string]uint64{"SIGKILL": 3, "SIGSEGV": 1}, w.signals); diff != "" {
				t.Errorf("%s: signals (-want +got):\n%s", when, diff)
			}
			if diff := cmp.Diff(map[int]uint64{80: 6}, w.overflows); diff != "" {
				t.Errorf("%s: overflows (-want +got):\n%s", when, diff)
			}
			if diff := cmp.Diff(queues, w.queues, cmp.AllowUnexported(acceptQueue{})); diff != "" {
				t.Errorf("%s: queues (-want +got):\n%s", when, diff)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	check("both live", map[int]acceptQueue{80: {4, 20}, 443: {0, 128}})
	// The first ends: what it counted stays, its queue is gone.
	source.freed = []bpf.Slot{one.Slot}
	k.taken = time.Time{}
	if err := k.read(func(*workloadTotals) {}); err != nil {
		t.Fatal(err)
	}
	source.slots = []fakeSlot{two}
	check("one has ended", map[int]acceptQueue{443: {0, 128}})
}

func TestRestartsAreLivesAfterAnEnd(t *testing.T) {
	web := event.Workload{Container: "web"}
	start := time.Now().Add(-time.Hour)
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	live := func(number uint32, cgroup uint64, born, died int) fakeSlot {
		s := fakeSlot{Slot: bpf.Slot{Number: number, CgroupID: cgroup, Born: at(born)}}
		if died != 0 {
			s.Died, s.exit = at(died), exit{"error", at(died)}
		}
		return s
	}
	tests := []struct {
		name     string
		readings [][]fakeSlot
		want     uint64
		reason   string
	}{
		{"one that runs", [][]fakeSlot{{live(1, 10, 0, 0)}}, 0, ""},
		{"its first end is no restart", [][]fakeSlot{{live(1, 10, 0, 0)}, {live(1, 10, 0, 5)}}, 0, "error"},
		{"a new group after the end", [][]fakeSlot{{live(1, 10, 0, 0)}, {live(1, 10, 0, 5), live(2, 11, 6, 0)}}, 1, "error"},
		{"seen long after the old group is forgotten", [][]fakeSlot{{live(1, 10, 0, 5)}, {}, {live(2, 11, 6, 0)}}, 1, "error"},
		{"twice between two readings", [][]fakeSlot{{live(1, 10, 0, 0)}, {live(1, 10, 0, 5), live(2, 11, 6, 7), live(3, 12, 8, 0)}}, 2, "error"},
		{"a group below, made while the other lives", [][]fakeSlot{{live(1, 10, 0, 0), live(2, 11, 1, 0)}}, 0, ""},
		{"a group below that comes and goes", [][]fakeSlot{{live(1, 10, 0, 0), live(2, 11, 1, 2)}, {live(1, 10, 0, 0), live(3, 12, 3, 0)}}, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := &fakeKernel{}
			k := NewKernel(source, func(uint64) (event.Workload, bool) { return web, true })
			for _, source.slots = range test.readings {
				k.taken = time.Time{}
				if err := k.read(func(*workloadTotals) {}); err != nil {
					t.Fatal(err)
				}
			}
			l := k.lives[web]
			if l == nil || l.restarts != test.want || l.last.reason != test.reason {
				t.Errorf("lives = %+v, want %d restarts, last exit %q", l, test.want, test.reason)
			}
		})
	}
}
