package bpf

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
)

// Flags of a control group, as include/event.h has them.
const (
	cgroupInherit  = 1 << 0
	cgroupBorrowed = 1 << 1
	cgroupDead     = 1 << 2
)

// How long a dead control group keeps its slot: until it was read after its death and keepDead has passed, and in any
// case no longer than keepDeadMax. A slot is dear, and a series that stays for ever is wrong.
const (
	keepDead    = 90 * time.Second
	keepDeadMax = 5 * time.Minute
)

// A Slot is a dense number that stands for one control group of the tracked hierarchy.
type Slot struct {
	Number   uint32
	CgroupID uint64    // 0 for slot 0, where everything without a slot of its own is counted
	Born     time.Time // zero if it is older than we are
	Died     time.Time // zero while it lives
}

type slots struct {
	mu    sync.Mutex
	count int
	read  map[uint64]time.Time // dead control groups, and when they were first read after their death
	boot  time.Time            // when the machine started
}

func (a *Agent) newSlots(n int) error {
	a.slots = &slots{count: n, read: map[uint64]time.Time{}, boot: bootTime()}
	for i := uint32(1); i < uint32(n); i++ { // 0 is `other`
		if err := a.maps["free_slots"].Update(nil, i, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("fill free_slots: %w", err)
		}
	}
	return nil
}

// bootTime is the Unix time at which the boot clock was 0.
func bootTime() time.Time {
	boot := sinceBoot()
	if boot == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(boot))
}

func (s *slots) time(boot uint64) time.Time {
	if boot == 0 {
		return time.Time{}
	}
	return s.boot.Add(time.Duration(boot))
}

// AddCgroup gives a control group that was there before us a slot of its own, unless it has one. Call it for every
// directory of the hierarchy once the hooks are attached: those made since have theirs from the kernel.
func (a *Agent) AddCgroup(id uint64) error {
	if a.off() {
		return nil
	}
	a.slots.mu.Lock()
	defer a.slots.mu.Unlock()
	var known yaguraCgroupSlot
	if a.maps["cgroup_slots"].Lookup(id, &known) == nil {
		return nil
	}
	s := yaguraCgroupSlot{}
	if err := a.maps["free_slots"].LookupAndDelete(nil, &s.Slot); err != nil {
		s.Flags = cgroupBorrowed // of slot 0
	}
	err := a.maps["cgroup_slots"].Update(id, &s, ebpf.UpdateNoExist)
	if err == nil {
		return nil
	}
	if s.Slot != 0 {
		a.maps["free_slots"].Update(nil, s.Slot, ebpf.UpdateAny)
	}
	if errors.Is(err, ebpf.ErrKeyExist) { // the kernel was first
		return nil
	}
	return fmt.Errorf("give control group %d a slot: %w", id, err)
}

// MarkWorkload lets everything that is made below a control group share its slot from now on.
func (a *Agent) MarkWorkload(id uint64) error {
	if a.off() {
		return nil
	}
	a.slots.mu.Lock()
	defer a.slots.mu.Unlock()
	var s yaguraCgroupSlot
	if err := a.maps["cgroup_slots"].Lookup(id, &s); err != nil {
		return fmt.Errorf("control group %d: %w", id, err)
	}
	if s.Flags&(cgroupInherit|cgroupDead) != 0 {
		return nil
	}
	s.Flags |= cgroupInherit
	return a.maps["cgroup_slots"].Update(id, &s, ebpf.UpdateExist)
}

// eachSlot calls do with slot 0 and with every slot that has an owner.
func (a *Agent) eachSlot(do func(Slot) error) error {
	if a.off() {
		return nil
	}
	a.slots.mu.Lock()
	defer a.slots.mu.Unlock()
	if err := do(Slot{}); err != nil {
		return err
	}
	var id uint64
	var s yaguraCgroupSlot
	it := a.maps["cgroup_slots"].Iterate()
	for it.Next(&id, &s) {
		if s.Flags&cgroupBorrowed != 0 {
			continue
		}
		if err := do(Slot{Number: s.Slot, CgroupID: id, Born: a.slots.time(s.Born), Died: a.slots.time(s.Died)}); err != nil {
			return err
		}
	}
	return it.Err()
}

// SlotLimit is how many control groups can be counted apart.
func (a *Agent) SlotLimit() int {
	if a.off() {
		return 0
	}
	return a.slots.count
}

// Slots returns every slot that is counted in, slot 0 first.
func (a *Agent) Slots() ([]Slot, error) {
	var all []Slot
	err := a.eachSlot(func(s Slot) error { all = append(all, s); return nil })
	return all, err
}

// Recycle frees the slots of control groups that are dead, and whose last values were read, but for those that hold asks
// to keep a little longer. Call it after a scrape.
// Near exhaustion it does not wait. It returns the slots that are free now.
func (a *Agent) Recycle(now time.Time, hold func(Slot) bool) (freed []Slot, err error) {
	if a.off() {
		return nil, nil
	}
	a.slots.mu.Lock()
	defer a.slots.mu.Unlock()
	dead, used, err := a.deadCgroups()
	if err != nil {
		return nil, err
	}
	for id, s := range dead {
		slot := Slot{Number: s.Slot, CgroupID: id, Born: a.slots.time(s.Born), Died: a.slots.time(s.Died)}
		if !a.due(slot, now, used) || s.Flags&cgroupBorrowed == 0 && hold(slot) {
			continue
		}
		if err := a.free(id, s); err != nil {
			return freed, err
		}
		if s.Flags&cgroupBorrowed == 0 {
			freed = append(freed, slot)
		}
	}
	return freed, nil
}

// due says whether a dead control group has had its time, and notes when it was first asked for.
func (a *Agent) due(slot Slot, now time.Time, used int) bool {
	first, read := a.slots.read[slot.CgroupID]
	if !read {
		a.slots.read[slot.CgroupID] = now
	}
	if now.Sub(slot.Died) >= keepDeadMax {
		return true
	}
	pressed := used > a.slots.count*3/4
	return read && (pressed || now.Sub(first) >= keepDead)
}

func (a *Agent) deadCgroups() (dead map[uint64]yaguraCgroupSlot, used int, err error) {
	dead = map[uint64]yaguraCgroupSlot{}
	var id uint64
	var s yaguraCgroupSlot
	it := a.maps["cgroup_slots"].Iterate()
	for it.Next(&id, &s) {
		if s.Flags&cgroupBorrowed == 0 {
			used++
		}
		if s.Flags&cgroupDead != 0 {
			dead[id] = s
		}
	}
	return dead, used, it.Err()
}

// free forgets a control group and empties its slot. The generation comes first: a socket that still names the slot
// counts under `other` from then on.
func (a *Agent) free(id uint64, s yaguraCgroupSlot) error {
	delete(a.slots.read, id)
	if err := a.maps["cgroup_slots"].Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget control group %d: %w", id, err)
	}
	if s.Flags&cgroupBorrowed != 0 {
		return nil
	}
	var generation uint32
	if err := a.maps["slot_generation"].Lookup(s.Slot, &generation); err != nil {
		return fmt.Errorf("read generation of slot %d: %w", s.Slot, err)
	}
	if err := a.maps["slot_generation"].Update(s.Slot, generation+1, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("change generation of slot %d: %w", s.Slot, err)
	}
	if err := a.empty(s.Slot); err != nil {
		return fmt.Errorf("empty slot %d: %w", s.Slot, err)
	}
	return a.maps["free_slots"].Update(nil, s.Slot, ebpf.UpdateAny)
}

func (a *Agent) empty(slot uint32) error {
	err := a.maps["counters"].Update(slot, make([]Counters, a.cpus), ebpf.UpdateAny)
	err = errors.Join(err, a.maps["syscall_calls"].Update(slot, make([]yaguraSyscallCounters, a.cpus), ebpf.UpdateAny))
	err = errors.Join(err, a.maps["last_exits"].Update(slot, &yaguraLastExit{}, ebpf.UpdateAny))
	err = errors.Join(err, deleteOf(a.maps["fatal_signals"], func(k *yaguraSignalKey) bool { return k.Slot == slot }))
	err = errors.Join(err, deleteOf(a.maps["block_io"], func(k *yaguraBlockKey) bool { return k.Slot == slot }))
	err = errors.Join(err, deleteOf(a.maps["accept_overflows"], func(k *yaguraAcceptKey) bool { return k.Slot == slot }))
	err = errors.Join(err, a.forgetRequests(slot))
	err = errors.Join(err, deleteOf(a.maps["syscall_errors"], func(k *yaguraErrorKey) bool { return k.Slot == slot }))
	return errors.Join(err, deleteOf(a.maps["syscall_latency"], func(k *yaguraLatencyKey) bool { return k.Slot == slot }))
}

// deleteOf removes the keys that match. They are collected first: deleting while iterating starts the walk again.
func deleteOf[K any](m *ebpf.Map, match func(*K) bool) error {
	var keys []K
	var key K
	raw := bytesIn(&key)
	var at any
	for {
		next, err := m.NextKeyBytes(at)
		if err != nil {
			return err
		}
		if next == nil {
			break
		}
		copy(raw, next)
		if match(&key) {
			keys = append(keys, key)
		}
		at = next
	}
	for i := range keys {
		if err := m.Delete(&keys[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}
