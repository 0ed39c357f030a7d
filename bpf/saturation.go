package bpf

import (
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/link"
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
	if a.off() {
		return nil
	}
	var key yaguraBlockKey
	values := make([]BlockIO, a.cpus)
	it := a.maps["block_io"].Iterate()
	for it.Next(&key, &values) {
		var total BlockIO
		for i := range values {
			addWords(&total, &values[i])
		}
		const minorBits = 20 // MINORBITS of the kernel
		yield(BlockKey{key.Slot, key.Device >> minorBits, key.Device & (1<<minorBits - 1), int(key.Operation)}, &total)
	}
	return it.Err()
}

// FatalSignals calls yield with how many processes of a slot a signal has ended.
func (a *Agent) FatalSignals(yield func(slot uint32, signal string, n uint64)) error {
	if a.off() {
		return nil
	}
	var key yaguraSignalKey
	var n uint64
	it := a.maps["fatal_signals"].Iterate()
	for it.Next(&key, &n) {
		yield(key.Slot, signalName(key.Signal), n)
	}
	return it.Err()
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
	if a.off() || a.queues == nil {
		return nil
	}
	r, err := a.queues.Open()
	if err != nil {
		return fmt.Errorf("walk the accept queues: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read the accept queues: %w", err)
	}
	const size = int(unsafe.Sizeof(AcceptQueue{}))
	for ; len(data) >= size; data = data[size:] {
		var q AcceptQueue
		copy(bytesIn(&q), data)
		yield(q)
	}
	return nil
}

// prepareQueues makes the iterator once, before there are readers: to load a program costs more than to run it.
func (a *Agent) prepareQueues() Probe {
	p := Probe{Name: "accept_queues", Wanted: true, Attached: true}
	if a.queues != nil {
		return p
	}
	it, err := a.mapIterator("accept_queues", "listen_sockets")
	if err != nil {
		p.Attached, p.Reason = false, shortReason(err)
		a.log.Warn("accept queues are not looked at", "reason", p.Reason)
		return p
	}
	a.queues = it
	return p
}

// mapIterator makes an iterator of a program of its own over a map.
func (a *Agent) mapIterator(name, over string) (*link.Iter, error) {
	m := a.maps[over]
	if m == nil {
		return nil, a.missing[over]
	}
	program, err := a.loadProgram(name)
	if err != nil {
		return nil, err
	}
	defer program.Close() // the link keeps it
	return link.AttachIter(link.IterOptions{Program: program, Map: m})
}

// AcceptOverflows calls yield with how many connections the listening sockets of a slot and port have refused for want
// of room, as far as AcceptQueues has seen.
func (a *Agent) AcceptOverflows(yield func(slot uint32, port int, n uint64)) error {
	if a.off() {
		return nil
	}
	var key yaguraAcceptKey
	var n uint64
	it := a.maps["accept_overflows"].Iterate()
	for it.Next(&key, &n) {
		yield(key.Slot, int(key.Port), n)
	}
	return it.Err()
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
