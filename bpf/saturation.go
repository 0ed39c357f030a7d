package bpf

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// BlockOperations names the elements of enum block_operation.
var BlockOperations = [...]string{"read", "write", "flush", "discard", other}

// A BlockKey says whose requests to which device: Device is its number as the kernel writes it in /proc/diskstats.
type BlockKey struct {
	Slot         uint32
	Major, Minor uint32
	Operation    int // an index into BlockOperations
}

// BlockIO counts finished requests: Duration from issue to completion, payload Bytes, Errors.
type BlockIO = yaguraBlockCounters

// Add adds what another has counted.
func (c *yaguraBlockCounters) Add(o *BlockIO) { addWords(c, o) }

// BlockIO calls yield with the counters of every workload, device and operation.
func (a *Agent) BlockIO(yield func(BlockKey, *BlockIO)) error {
	const minorBits = 20 // MINORBITS of the kernel
	return eachSum(a, "block_io", func(k *yaguraBlockKey, total *BlockIO) {
		yield(BlockKey{k.Slot, k.Device >> minorBits, k.Device & (1<<minorBits - 1), int(k.Operation)}, total)
	})
}

// FatalSignals calls yield with how many processes of a slot a signal has ended.
func (a *Agent) FatalSignals(yield func(slot uint32, signal string, n uint64)) error {
	return each(a, "fatal_signals", func(k *yaguraSignalKey, n *uint64) { yield(k.Slot, signalName(k.Signal), *n) })
}

// signalName spells a signal as kill -l does, with SIG; real-time ones share a name, as they mean nothing by themselves.
func signalName(n uint32) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	if n >= 32 && n <= 64 {
		return "SIGRT"
	}
	return other
}

// An AcceptQueue is one listening socket as it is now: Waiting connections are established and not accepted yet, Limit
// is how many may wait.
type AcceptQueue = yaguraAcceptQueue

// AcceptQueues calls yield with every listening TCP socket, and brings AcceptOverflows up to date.
func (a *Agent) AcceptQueues(yield func(AcceptQueue)) error {
	return walk(a.queues, "accept queues", func(q *AcceptQueue) { yield(*q) })
}

// AcceptOverflows calls yield with how many connections the listening sockets of a slot and port have refused for want
// of room, as far as AcceptQueues has seen.
func (a *Agent) AcceptOverflows(yield func(slot uint32, port int, n uint64)) error {
	return each(a, "accept_overflows", func(k *yaguraAcceptKey, n *uint64) { yield(k.Slot, int(k.Port), *n) })
}

// PacketDrops calls yield with how many packets the kernel threw away for each of its reasons that has happened.
func (a *Agent) PacketDrops(yield func(reason string, n uint64)) error {
	if a.off() {
		return nil
	}
	values := make([]uint64, a.cpus)
	sums := map[string]uint64{}
	for i := range uint32(dropReasonCount) {
		var total uint64
		if err := sum(a.maps["packet_drops"], i, values, func(n *uint64) { total += *n }); err != nil {
			return fmt.Errorf("read packet drops: %w", err)
		}
		name := a.reasons[i]
		if name == "" {
			name = other
		}
		if total > 0 {
			sums[name] += total
		}
	}
	for name, n := range sums {
		yield(name, n)
	}
	return nil
}

// LastExits calls yield with how the last process of every slot in use has ended, where one has: by one of ExitReasons,
// or "oom_killed". Where a workload has a pid namespace of its own that is its first process, whose end is the others'.
func (a *Agent) LastExits(yield func(slot uint32, reason string, at time.Time)) error {
	return a.eachSlot(func(s Slot) error {
		var e yaguraLastExit
		if err := a.maps["last_exits"].Lookup(s.Number, &e); err != nil {
			return fmt.Errorf("read last exit of slot %d: %w", s.Number, err)
		}
		if e.Boot != 0 {
			yield(s.Number, exitReason(e), a.slots.time(e.Boot))
		}
		return nil
	})
}

func exitReason(e yaguraLastExit) string {
	const signalBits, coreFlag = 0x7f, 0x80
	switch {
	case e.Oom != 0:
		return "oom_killed"
	case e.Status&coreFlag != 0:
		return "core_dump"
	case e.Status&signalBits != 0:
		return "signal"
	case e.Status != 0:
		return "error"
	}
	return "completed"
}
