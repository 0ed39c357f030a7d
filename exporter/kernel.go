package exporter

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// KernelCounters are the counters that the kernel side keeps by slot; a bpf.Agent has them.
type KernelCounters interface {
	Counters(yield func(bpf.Slot, *bpf.Counters)) error
	Syscalls(yield func(bpf.Slot, *[bpf.SyscallSlots]uint64)) error
	SyscallErrors(yield func(slot uint32, syscall, errno int, n uint64)) error
	SyscallDurations(yield func(slot uint32, syscall int, h *bpf.Histogram)) error
	BlockIO(yield func(bpf.BlockKey, *bpf.BlockIO)) error
	FatalSignals(yield func(slot uint32, signal string, n uint64)) error
	AcceptQueues(yield func(bpf.AcceptQueue)) error
	AcceptOverflows(yield func(slot uint32, port int, n uint64)) error
	LastExits(yield func(slot uint32, reason string, at time.Time)) error
	Requests(yield func(bpf.RequestKey, *bpf.RequestTotals)) error
	RequestSizes(yield func(bpf.RequestKey, *bpf.RequestSizes)) error
	Recycle(now time.Time, hold func(bpf.Slot) bool) (freed []bpf.Slot, err error)
}

// A Namer says what the series of a control group belong to. While it is not known they are held back, at most patience.
type Namer func(cgroupID uint64) (w event.Workload, known bool)

// patience is how long a slot may have no name: its event may still wait in the ring buffer, and then a runtime is asked.
// After that its counts are the host's.
const patience = 10 * time.Second

// freshFor is how long one reading of the kernel's counters serves the collectors of a scrape.
const freshFor = 200 * time.Millisecond

// A Kernel reads the kernel's counters once for all collectors of a scrape, and adds them up by workload: a workload may
// have several control groups, at once or one after the other. What the dead ones have counted stays in the sum as long
// as the workload has a control group, so that nothing but its end makes a counter go down.
type Kernel struct {
	source KernelCounters
	name   Namer
	names  *requests.Names

	mu        sync.Mutex
	taken     time.Time
	slots     map[uint32]*slotTotals
	retired   map[event.Workload]*totals
	lives     map[event.Workload]*lives
	workloads []*workloadTotals // sorted by name
}

// totals is what was counted for something.
type totals struct {
	counters  bpf.Counters
	calls     [bpf.SyscallSlots]uint64
	errors    map[callError]uint64
	durations map[int]*bpf.Histogram
	block     map[blockKey]*bpf.BlockIO
	signals   map[string]uint64
	overflows map[int]uint64 // by port
	requests  map[requests.Series]*bpf.RequestTotals
	sizes     map[requests.Series]*bpf.RequestSizes
}

type blockKey struct {
	major, minor uint32
	operation    int
}

type callError struct{ syscall, errno int }

// slotTotals is the last reading of one slot.
type slotTotals struct {
	totals
	slot     bpf.Slot
	workload event.Workload
	named    bool
	seen     bool
	since    time.Time // when it was first seen
	queues   map[int]acceptQueue
	counted  bool // among the lives of its workload
	exit     exit // of its last process
	unspelt  bool // has requests that wait for their name to be spelled
}

// An acceptQueue is how full the listening sockets of a port are.
type acceptQueue struct{ waiting, limit uint64 }

type workloadTotals struct {
	event.Workload
	totals
	queues map[int]acceptQueue // now, by port
	lives  *lives
}

// NewKernel returns a reader of the kernel's counters.
func NewKernel(source KernelCounters, name Namer) *Kernel {
	return &Kernel{source: source, name: name, names: requests.NewNames(requests.Default), slots: map[uint32]*slotTotals{}, retired: map[event.Workload]*totals{}, lives: map[event.Workload]*lives{}}
}

// read calls do with the sums of every workload, which are at most freshFor old.
func (k *Kernel) read(do func(w *workloadTotals)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.taken) > freshFor {
		if err := k.refresh(now); err != nil {
			return err
		}
		k.taken = now
	}
	for _, w := range k.workloads {
		do(w)
	}
	return nil
}

// KeepNames asks for the names of new slots now, which their runtime may have forgotten by the next scrape.
func (k *Kernel) KeepNames() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.source.Counters(func(slot bpf.Slot, _ *bpf.Counters) { k.named(k.at(slot)) })
}

func (k *Kernel) refresh(now time.Time) error {
	if err := k.readSlots(now); err != nil {
		return err
	}
	k.addUp()
	k.countLives(now)
	freed, err := k.source.Recycle(now, k.hold)
	for _, slot := range freed {
		k.retire(slot)
	}
	if err != nil {
		return fmt.Errorf("free slots of control groups that are gone: %w", err)
	}
	k.forget()
	return nil
}

func (k *Kernel) readSlots(now time.Time) error {
	for _, s := range k.slots {
		s.seen, s.unspelt = false, false
		s.totals.clear()
		clear(s.queues)
	}
	if err := k.source.Counters(func(slot bpf.Slot, c *bpf.Counters) { k.at(slot).counters = *c }); err != nil {
		return err
	}
	if err := k.source.Syscalls(func(slot bpf.Slot, n *[bpf.SyscallSlots]uint64) { k.at(slot).calls = *n }); err != nil {
		return err
	}
	if err := k.source.SyscallErrors(func(slot uint32, call, errno int, n uint64) {
		if s := k.slots[slot]; s != nil {
			s.addError(callError{call, errno}, n)
		}
	}); err != nil {
		return fmt.Errorf("read errors of system calls: %w", err)
	}
	if err := k.source.SyscallDurations(func(slot uint32, call int, h *bpf.Histogram) {
		if s := k.slots[slot]; s != nil {
			addTo(&s.durations, call, h)
		}
	}); err != nil {
		return fmt.Errorf("read durations of system calls: %w", err)
	}
	if err := k.readRequests(now); err != nil {
		return fmt.Errorf("read requests: %w", err)
	}
	return k.readSaturation()
}

// seriesOf says which slot a request is counted for, and in which series; neither if its name is not spelled yet.
func (k *Kernel) seriesOf(key *bpf.RequestKey, now time.Time) (*slotTotals, requests.Series, bool) {
	s := k.slots[key.Slot]
	if s == nil {
		return nil, requests.Series{}, false
	}
	name, ok := k.names.Of(key, now)
	if !ok {
		s.unspelt = true
		return nil, requests.Series{}, false
	}
	series, ok := requests.SeriesOf(key, name)
	return s, series, ok
}

// readRequests leaves out those whose name is not spelled yet, which keep their counts for later.
func (k *Kernel) readRequests(now time.Time) error {
	if err := k.source.Requests(func(key bpf.RequestKey, t *bpf.RequestTotals) {
		if s, series, ok := k.seriesOf(&key, now); ok {
			addTo(&s.requests, series, t)
		}
	}); err != nil {
		return err
	}
	return k.source.RequestSizes(func(key bpf.RequestKey, sizes *bpf.RequestSizes) {
		if s, series, ok := k.seriesOf(&key, now); ok {
			addTo(&s.sizes, series, sizes)
		}
	})
}

// readSaturation reads what is kept by slot and something else. The queues come before the overflows, which they count.
func (k *Kernel) readSaturation() error {
	if err := k.source.BlockIO(func(b bpf.BlockKey, c *bpf.BlockIO) {
		if s := k.slots[b.Slot]; s != nil {
			addTo(&s.block, blockKey{b.Major, b.Minor, b.Operation}, c)
		}
	}); err != nil {
		return fmt.Errorf("read block I/O: %w", err)
	}
	if err := k.source.FatalSignals(func(slot uint32, signal string, n uint64) {
		if s := k.slots[slot]; s != nil {
			s.addSignal(signal, n)
		}
	}); err != nil {
		return fmt.Errorf("read fatal signals: %w", err)
	}
	if err := k.source.AcceptQueues(func(q bpf.AcceptQueue) {
		if s := k.slots[q.Slot]; s != nil {
			s.queues = addQueue(s.queues, int(q.Port), acceptQueue{uint64(q.Waiting), uint64(q.Limit)})
		}
	}); err != nil {
		return err
	}
	if err := k.source.AcceptOverflows(func(slot uint32, port int, n uint64) {
		if s := k.slots[slot]; s != nil {
			s.addOverflows(port, n)
		}
	}); err != nil {
		return fmt.Errorf("read overflows of accept queues: %w", err)
	}
	return k.source.LastExits(func(slot uint32, reason string, at time.Time) {
		if s := k.slots[slot]; s != nil {
			s.exit = exit{reason, at}
		}
	})
}

// at returns the reading of a slot, a new one if the slot has another control group than before.
func (k *Kernel) at(slot bpf.Slot) *slotTotals {
	s := k.slots[slot.Number]
	if s == nil || s.slot.CgroupID != slot.CgroupID {
		s = &slotTotals{since: time.Now()}
		k.slots[slot.Number] = s
	}
	s.slot, s.seen = slot, true
	return s
}

// addUp sums the slots by workload. A slot without a name yet is left out, and so keeps its counts for later.
func (k *Kernel) addUp() {
	sums := map[event.Workload]*workloadTotals{}
	for _, s := range k.slots {
		if !s.seen || !k.named(s) {
			continue
		}
		w := sums[s.workload]
		if w == nil {
			w = &workloadTotals{Workload: s.workload}
			if r := k.retired[s.workload]; r != nil {
				w.add(r)
			}
			sums[s.workload] = w
		}
		w.add(&s.totals)
		for port, q := range s.queues {
			w.queues = addQueue(w.queues, port, q)
		}
	}
	k.workloads = k.workloads[:0]
	for _, w := range sums {
		k.workloads = append(k.workloads, w)
	}
	slices.SortFunc(k.workloads, func(a, b *workloadTotals) int { return compareWorkloads(a.Workload, b.Workload) })
}

// named finds the workload of a slot, and says whether it may be shown. A name once known stays, as the runtime forgets a
// container before we do.
func (k *Kernel) named(s *slotTotals) bool {
	if s.slot.Number == 0 {
		s.workload, s.named = event.Workload{Container: "other"}, true
	}
	if !s.named {
		s.workload, s.named = k.name(s.slot.CgroupID)
	}
	return s.named || time.Since(s.since) > patience
}

// hold says whether a slot must not be given to somebody else yet. Once it may, its names are forgotten: what is told of
// it from then on is the next owner's.
func (k *Kernel) hold(slot bpf.Slot) bool {
	s := k.slots[slot.Number]
	if k.unnamed(slot) || s != nil && s.unspelt {
		return true
	}
	k.names.Forget(slot.Number)
	return false
}

// Workload says whose slot it is; false if that is not known yet.
func (k *Kernel) Workload(slot uint32) (event.Workload, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.slots[slot]
	if s == nil || !k.named(s) {
		return event.Workload{}, false
	}
	return s.workload, true
}

// unnamed holds a slot back until it is known whose counts it has; a Namer says so within seconds.
func (k *Kernel) unnamed(slot bpf.Slot) bool {
	s := k.slots[slot.Number]
	return s != nil && s.slot.CgroupID == slot.CgroupID && !k.named(s)
}

// retire keeps what a slot has counted for its workload.
func (k *Kernel) retire(slot bpf.Slot) {
	s := k.slots[slot.Number]
	if s == nil || s.slot.CgroupID != slot.CgroupID {
		return
	}
	delete(k.slots, slot.Number)
	k.named(s)
	r := k.retired[s.workload]
	if r == nil {
		r = &totals{}
		k.retired[s.workload] = r
	}
	r.add(&s.totals)
}

// forget drops what was retired for workloads that have no control group left.
func (k *Kernel) forget() {
	alive := map[event.Workload]bool{{}: true} // the host never ends
	for _, s := range k.slots {
		alive[s.workload] = true
	}
	for w := range k.retired {
		if !alive[w] {
			delete(k.retired, w)
		}
	}
}

func (t *totals) clear() {
	t.counters = bpf.Counters{}
	t.calls = [bpf.SyscallSlots]uint64{}
	clear(t.errors)
	clear(t.durations)
	clear(t.block)
	clear(t.signals)
	clear(t.overflows)
	for _, r := range t.requests {
		*r = bpf.RequestTotals{} // they are large, and come again
	}
	clear(t.sizes)
}

func (t *totals) add(o *totals) {
	t.counters.Add(&o.counters)
	for i, n := range o.calls {
		t.calls[i] += n
	}
	for e, n := range o.errors {
		t.addError(e, n)
	}
	for call, h := range o.durations {
		addTo(&t.durations, call, h)
	}
	for b, c := range o.block {
		addTo(&t.block, b, c)
	}
	for signal, n := range o.signals {
		t.addSignal(signal, n)
	}
	for port, n := range o.overflows {
		t.addOverflows(port, n)
	}
	for series, r := range o.requests {
		if r.Count() > 0 { // else it is kept for its memory only
			addTo(&t.requests, series, r)
		}
	}
	for series, sizes := range o.sizes {
		addTo(&t.sizes, series, sizes)
	}
}

// addTo adds to what a map has of a key. The map is made when there is something for it.
func addTo[K comparable, V any, P interface {
	*V
	Add(*V)
}](all *map[K]*V, key K, more *V) {
	if *all == nil {
		*all = map[K]*V{}
	}
	sum := (*all)[key]
	if sum == nil {
		sum = new(V)
		(*all)[key] = sum
	}
	P(sum).Add(more)
}

func (t *totals) addSignal(signal string, n uint64) {
	if t.signals == nil {
		t.signals = map[string]uint64{}
	}
	t.signals[signal] += n
}

func (t *totals) addOverflows(port int, n uint64) {
	if t.overflows == nil {
		t.overflows = map[int]uint64{}
	}
	t.overflows[port] += n
}

// addQueue adds up the sockets that share a port, as with SO_REUSEPORT or in several network namespaces.
func addQueue(queues map[int]acceptQueue, port int, q acceptQueue) map[int]acceptQueue {
	if queues == nil {
		queues = map[int]acceptQueue{}
	}
	sum := queues[port]
	queues[port] = acceptQueue{sum.waiting + q.waiting, sum.limit + q.limit}
	return queues
}

func (t *totals) addError(e callError, n uint64) {
	if t.errors == nil {
		t.errors = map[callError]uint64{}
	}
	t.errors[e] += n
}

func compareWorkloads(a, b event.Workload) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod),
		cmp.Compare(a.Container, b.Container), cmp.Compare(a.Unit, b.Unit))
}

func empty(h *bpf.Histogram) bool { return *h == bpf.Histogram{} }

// buckets is a histogram of the kernel as a Family takes it.
func buckets(h *bpf.Histogram) *Buckets {
	return &Buckets{Counts: h.Buckets, Sum: float64(h.Sum) / 1e9}
}
