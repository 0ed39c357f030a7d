package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Sizes that include/event.h fixes.
const (
	syscallSlots = SyscallSlots
	syscallOther = 639
	log2Buckets  = 40

	dropReasonCount = 256
)

// other names what is counted without a name of its own.
const other = "other"

// SyscallSlots is how many dense system call numbers there are: SYSCALL_SLOTS of include/event.h.
const SyscallSlots = 640

// Config bounds what the kernel side may use.
type Config struct {
	RingBuffer     int  `yaml:"ring_buffer"`     // bytes of the event ring buffer, rounded up to a power of two
	MapMemory      int  `yaml:"map_memory"`      // bytes that all maps together may take
	Workloads      int  `yaml:"workloads"`       // control groups counted apart; the rest share `other`
	SyscallLatency bool `yaml:"syscall_latency"` // measure how long system calls take; a second hook on each
	ProgramStats   bool `yaml:"program_stats"`   // let the kernel time every BPF program; costs some 20 to 60 ns a run
}

// Default is what is used where the configuration says nothing.
var Default = Config{RingBuffer: 4 << 20, MapMemory: 56 << 20, Workloads: 1024}

// Validate tells the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.RingBuffer < 64<<10 || c.RingBuffer > 1<<30:
		return fmt.Errorf("kernel.ring_buffer: %d: want 65536 to 1073741824 bytes", c.RingBuffer)
	case c.MapMemory < 8<<20:
		return fmt.Errorf("kernel.map_memory: %d: want at least 8388608 bytes", c.MapMemory)
	case c.Workloads < 16 || c.Workloads > 8192:
		return fmt.Errorf("kernel.workloads: %d: want 16 to 8192", c.Workloads)
	}
	return nil
}

// Counters are the numbers of one workload: Forks, Execs, Exits by ExitReasons, Connects by ConnectResults, and so on;
// bytes are payload bytes, ConnectDuration counts powers of two in units of 2^-30 s.
type Counters = yaguraSlotCounters

// Histogram counts durations: Buckets[i] holds those over 2^(i-1) and at most 2^i units of 2^-30 s; Sum is in nanoseconds. Of
// sizes both are in bytes.
type Histogram = yaguraLog2Hist

// ExitReasons names the elements of Counters.Exits.
var ExitReasons = [...]string{"completed", "error", "signal", "core_dump"}

// ConnectResults names the elements of Counters.Connects.
var ConnectResults = [...]string{"ok", "refused", "timed_out", "host_unreachable", "net_unreachable", "reset",
	"address_unavailable", "denied", "aborted", "other"}

// perSlot is what one workload takes in kernel memory, per CPU.
const perSlot = int(unsafe.Sizeof(yaguraSlotCounters{}) + unsafe.Sizeof(yaguraSyscallCounters{}))

// slotCount fits the wished number of workloads into the budget: arrays by slot are multiplied by the possible CPUs.
func slotCount(c Config, cpus, fixed int) int {
	n := c.Workloads
	if room := (c.MapMemory - fixed) / (perSlot * cpus); n > room {
		n = room
	}
	return max(n, 16)
}

// ringBytes rounds the wished size up to a power of two, as the kernel wants it.
func ringBytes(c Config) int { return 1 << bits.Len(uint(c.RingBuffer-1)) }

// createMaps makes every map that can be made; a program whose map is refused is refused with its reason.
func (a *Agent) createMaps(c Config) error {
	ring := ringBytes(c)
	n := slotCount(c, a.cpus, ring+20<<20)
	if n < c.Workloads {
		a.log.Warn("fewer workloads are counted apart than asked for", "workloads", n, "asked", c.Workloads,
			"map_memory", c.MapMemory, "cpus", a.cpus)
	}
	a.spec.Maps["events"].MaxEntries = uint32(ring)
	for _, m := range []string{"free_slots", "slot_generation", "counters", "syscall_calls", "last_exits"} {
		a.spec.Maps[m].MaxEntries = uint32(n)
	}
	for name, spec := range a.spec.Maps {
		shared := strings.HasPrefix(name, ".data.")
		if name[0] == '.' && !shared {
			continue // knobs: each program has its own copy
		}
		if shared {
			spec.Flags |= unix.BPF_F_MMAPABLE // as whoever loads a program makes it
		}
		m, err := ebpf.NewMap(spec)
		if err != nil {
			a.missing[name] = err
			a.log.Debug("map refused", "map", name, "err", err)
			continue
		}
		a.maps[name] = m
	}
	err := cmp.Or(a.missing["cgroup_slots"], a.missing["counters"], a.missing["events"])
	if errors.Is(err, os.ErrPermission) {
		return errors.New("no permission to use BPF: want root, or CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN before 5.8)")
	}
	if err != nil {
		return fmt.Errorf("create maps: %w", err)
	}
	return a.newSlots(n)
}

// MapMemory returns the kernel memory of every map in bytes, by name.
func (a *Agent) MapMemory() map[string]uint64 {
	sizes := make(map[string]uint64, len(a.maps))
	for name, m := range a.maps {
		info, err := m.Info()
		if err != nil {
			continue
		}
		if n, ok := info.Memlock(); ok {
			sizes[name] = n
		}
	}
	return sizes
}

// sum adds up the values of one key of a per-CPU map.
func sum[T any](m *ebpf.Map, key any, values []T, add func(*T)) error {
	if err := m.Lookup(key, &values); err != nil {
		return err
	}
	for i := range values {
		add(&values[i])
	}
	return nil
}

// addWords adds two structs that hold nothing but uint64.
func addWords[T any](to, from *T) {
	n := int(unsafe.Sizeof(*to) / 8)
	a := unsafe.Slice((*uint64)(unsafe.Pointer(to)), n)
	b := unsafe.Slice((*uint64)(unsafe.Pointer(from)), n)
	for i, v := range b {
		a[i] += v
	}
}

// Counters calls yield with the counters of every slot in use.
func (a *Agent) Counters(yield func(Slot, *Counters)) error {
	values := make([]Counters, a.cpus)
	return a.eachSlot(func(s Slot) error {
		var total Counters
		if err := sum(a.maps["counters"], s.Number, values, func(c *Counters) { addWords(&total, c) }); err != nil {
			return fmt.Errorf("read counters of slot %d: %w", s.Number, err)
		}
		yield(s, &total)
		return nil
	})
}

// Syscalls calls yield with the number of calls of every slot in use, by dense system call number.
func (a *Agent) Syscalls(yield func(Slot, *[syscallSlots]uint64)) error {
	values := make([]yaguraSyscallCounters, a.cpus)
	return a.eachSlot(func(s Slot) error {
		var total yaguraSyscallCounters
		if err := sum(a.maps["syscall_calls"], s.Number, values, func(c *yaguraSyscallCounters) { addWords(&total, c) }); err != nil {
			return fmt.Errorf("read system calls of slot %d: %w", s.Number, err)
		}
		yield(s, &total.Calls)
		return nil
	})
}

// SyscallName names a dense system call number.
func SyscallName(n int) string {
	if n < 0 || n >= syscallSlots || syscallNames[n] == "" {
		return syscallNames[syscallOther]
	}
	return syscallNames[n]
}

// SyscallErrors calls yield with every count of a failed call: the slot's number, the dense system call number, errno.
func (a *Agent) SyscallErrors(yield func(slot uint32, syscall int, errno int, n uint64)) error {
	return eachSum(a, "syscall_errors", func(k *yaguraErrorKey, n *uint64) { yield(k.Slot, int(k.Syscall), int(k.Error), *n) })
}

// SyscallDurations calls yield with the histogram of every slot and system call that was timed.
func (a *Agent) SyscallDurations(yield func(slot uint32, syscall int, h *Histogram)) error {
	return eachSum(a, "syscall_latency", func(k *yaguraLatencyKey, h *Histogram) { yield(k.Slot, int(k.Syscall), h) })
}

// Add adds what another has counted.
func (c *yaguraSlotCounters) Add(o *Counters) { addWords(c, o) }

// Add adds what another has counted.
func (h *yaguraLog2Hist) Add(o *Histogram) { addWords(h, o) }

// Losses are what our own bounds cost: Events by kind had no room in the ring buffer; Slots and Cgroups are control
// groups counted under `other`; Errors and Latencies had no room in their tables; Attempts are connects not followed;
// RunQueue are waits not measured; Block, Signals and Listeners had no room in their tables.
type Losses = yaguraLosses

// Losses reads them.
func (a *Agent) Losses() (Losses, error) {
	var total Losses
	if a.off() {
		return total, nil
	}
	err := sum(a.maps["lost"], uint32(0), make([]Losses, a.cpus), func(l *Losses) { addWords(&total, l) })
	return total, err
}

// ProgramCost is what one program has used since its statistics were turned on.
type ProgramCost struct {
	Runs    uint64
	Runtime time.Duration
}

// Costs returns what every attached program has used. It is all zero unless EnableStats was called.
func (a *Agent) Costs() map[string]ProgramCost {
	a.mu.Lock()
	defer a.mu.Unlock()
	costs := make(map[string]ProgramCost, len(a.programs))
	for name, p := range a.programs {
		if s, err := p.Stats(); err == nil {
			costs[name] = ProgramCost{s.RunCount, s.Runtime}
		}
	}
	return costs
}

// Missed returns how often the kernel has left out each attached program, because the same one was not done on that
// processor. It does so for system calls since 7.0, whose programs can be preempted: what the others on that processor
// call meanwhile is neither counted nor reported.
func (a *Agent) Missed() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	missed := make(map[string]uint64, len(a.programs))
	for name, p := range a.programs {
		if s, err := p.Stats(); err == nil {
			missed[name] = s.RecursionMisses
		}
	}
	return missed
}

// RingBuffer returns how many bytes of the ring buffer wait to be read, and its size.
func (a *Agent) RingBuffer() (waiting, size int) {
	if a.off() {
		return 0, 0
	}
	return a.events.waiting(), int(a.spec.Maps["events"].MaxEntries)
}

// LostEvents calls lost with how many events of each kind had no room in the ring buffer.
func (a *Agent) LostEvents(lost func(kind event.Kind, n uint64)) error {
	l, err := a.Losses()
	if err != nil {
		return fmt.Errorf("read losses: %w", err)
	}
	for _, kind := range event.Kinds {
		lost(kind, l.Events[kind])
	}
	return nil
}
