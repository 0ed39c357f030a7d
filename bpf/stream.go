package bpf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// events is the reading end of the ring buffer.
type events struct {
	reader atomic.Pointer[ringbuf.Reader]
	read   atomic.Uint64 // until when all events have been handed on, ns since boot, or so: processors are not quite in order
}

func (e *events) waiting() int {
	r := e.reader.Load()
	if r == nil {
		return 0
	}
	return r.AvailableBytes()
}

// readEvery is how often the ring buffer is looked into when the kernel does not wake us: see wake_flags.
const readEvery = 20 * time.Millisecond

// sinceBoot is the clock of the kernel's events, ns; 0 if it cannot be read.
func sinceBoot() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}

// Run reports events to sink until ctx is done, in the order in which the ring buffer took them. It is an event.Source.
func (a *Agent) Run(ctx context.Context, sink func(*event.Event)) error {
	return a.Stream(ctx, nil, sink)
}

// Stream is Run that also hands on each record's bytes before they are decoded, for a Recorder.
func (a *Agent) Stream(ctx context.Context, raw func([]byte) error, sink func(*event.Event)) error {
	if a.off() {
		<-ctx.Done()
		return nil
	}
	r, err := ringbuf.NewReader(a.maps["events"])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	a.events.reader.Store(r)
	defer a.events.reader.Store(nil)
	defer r.Close()
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()

	d := decoder{boot: a.slots.boot.UnixNano()}
	var record ringbuf.Record
	r.SetDeadline(time.Now().Add(readEvery))
	for {
		err := r.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) { // all that waited has been read
			a.events.read.Store(sinceBoot())
			r.SetDeadline(time.Now().Add(readEvery))
			continue
		}
		if err != nil {
			if errors.Is(err, ringbuf.ErrClosed) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if raw != nil {
			if err := raw(record.RawSample); err != nil {
				return fmt.Errorf("record: %w", err)
			}
		}
		ev, err := d.decode(record.RawSample)
		if err != nil {
			a.log.Error("event dropped", "err", err) // a build whose halves do not match
			continue
		}
		sink(ev)
		a.events.read.Store(ev.Boot)
	}
}

// Behind is how far the events that have been handed on are behind what happens now, about: as long as they are left in the ring
// buffer, so that many can be read at once, and longer if they come faster than they are dealt with. It is 0 if none are read.
func (a *Agent) Behind() time.Duration {
	if a.off() || a.events.reader.Load() == nil {
		return 0
	}
	return time.Duration(max(int64(sinceBoot())-int64(a.events.read.Load()), 0))
}

// decoder turns records into events. It keeps one event and its buffers, used again by the next call.
type decoder struct {
	ev   event.Event
	path []byte
	name []byte // of a descriptor that has none in the kernel
	num  uint64
	boot int64 // Unix ns at which the boot clock was 0
}

// as views the head of a record as a struct of the wire format. The record must be long enough and 8-byte aligned;
// ring buffer records and our own buffers are.
func as[T any](raw []byte) *T { return (*T)(unsafe.Pointer(unsafe.SliceData(raw))) }

// bytesIn views a value as its bytes.
func bytesIn[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

func sizeOf[T any]() int {
	var t T
	return int(unsafe.Sizeof(t))
}

// decode returns the event of a record; it is valid until the next call, and its Args only as long as raw.
func (d *decoder) decode(raw []byte) (*event.Event, error) {
	if len(raw) < sizeOf[yaguraHeader]() {
		return nil, fmt.Errorf("record of %d bytes: want at least a header of %d", len(raw), sizeOf[yaguraHeader]())
	}
	h := as[yaguraHeader](raw)
	path := d.ev.Path
	d.ev = event.Event{
		Kind: event.Kind(h.Kind), CPU: h.Cpu, PID: h.Pid, TID: h.Tid, UID: h.Uid, GID: h.Gid,
		Boot: h.Boot, Time: d.boot + int64(h.Boot), Start: h.Start, CgroupID: h.CgroupId, Path: path[:0],
	}
	if err := d.decodeKind(raw, h.Kind); err != nil {
		return nil, err
	}
	d.num++
	d.ev.Num = d.num
	return &d.ev, nil
}

func (d *decoder) decodeKind(raw []byte, kind uint16) error {
	switch event.Kind(kind) {
	case event.Fork:
		if err := want[yaguraForkEvent](raw); err != nil {
			return err
		}
		d.decodeFork(as[yaguraForkEvent](raw))
	case event.Exec:
		return d.decodeExec(raw)
	case event.Exit:
		if err := want[yaguraExitEvent](raw); err != nil {
			return err
		}
		d.ev.Status = as[yaguraExitEvent](raw).Status
		d.ev.Type = typeExit
	case event.CgroupMake, event.CgroupRemove:
		return d.decodeCgroup(raw)
	case event.Syscall:
		return d.decodeCall(raw)
	default:
		return fmt.Errorf("record of unknown kind %d", kind)
	}
	return nil
}

// decodeFork also tells by which call the process was made, where the kernel says so; else it counts as clone.
func (d *decoder) decodeFork(e *yaguraForkEvent) {
	copyTask(&d.ev.Task, &e.Task)
	d.ev.Call.Result = int64(e.Task.Pid)
	d.ev.Type = typeClone
	if e.Syscall >= 0 && e.Syscall < syscallSlots && forks[callTypes[e.Syscall]] {
		d.ev.Type = callTypes[e.Syscall]
	}
	switch d.ev.Type {
	case typeClone:
		d.ev.Call.Arg[0] = e.CloneFlags
	case typeClone3:
		d.ev.Call.Word[0] = e.CloneFlags
	}
}

func (d *decoder) decodeExec(raw []byte) error {
	if err := want[yaguraExecEvent](raw); err != nil {
		return err
	}
	e := as[yaguraExecEvent](raw)
	tail := sections(raw[sizeOf[yaguraExecEvent]():])
	copyTask(&d.ev.Task, &e.Task)
	path := tail.next(e.PathLen)
	d.ev.Args, d.ev.Env, d.ev.Cwd = tail.next(e.ArgsLen), tail.next(e.EnvLen), tail.next(e.CwdLen)
	if tail == nil {
		return fmt.Errorf("exec record: path of %d, arguments of %d, environment of %d and directory of %d bytes in a tail of %d",
			e.PathLen, e.ArgsLen, e.EnvLen, e.CwdLen, len(raw)-sizeOf[yaguraExecEvent]())
	}
	d.ev.Path = keepPath(d.ev.Path[:0], path, d.ev.Task.Flags&event.PathTruncated != 0)
	d.ev.Type = typeExecve
	if e.Syscall >= 0 && e.Syscall < syscallSlots && callTypes[e.Syscall] == typeExecveat {
		d.ev.Type = typeExecveat
	}
	return nil
}

// sections are what follows a record's struct; nil once more was taken than there was.
type sections []byte

func (s *sections) next(n uint32) []byte {
	if uint64(n) > uint64(len(*s)) {
		*s = nil
		return nil
	}
	part := (*s)[:n:n]
	*s = (*s)[n:]
	return part
}

func (d *decoder) decodeCgroup(raw []byte) error {
	if err := want[yaguraCgroupEvent](raw); err != nil {
		return err
	}
	e := as[yaguraCgroupEvent](raw)
	tail := raw[sizeOf[yaguraCgroupEvent]():]
	if uint64(e.PathLen) > uint64(len(tail)) {
		return fmt.Errorf("control group record: path of %d bytes in a tail of %d", e.PathLen, len(tail))
	}
	d.ev.CgroupID, d.ev.Parent = e.Id, e.Parent
	d.ev.Path = append(d.ev.Path[:0], bytes.TrimRight(tail[:e.PathLen], "\x00")...)
	return nil
}

// want says whether a record holds a T.
func want[T any](raw []byte) error {
	if size := sizeOf[T](); len(raw) < size {
		return fmt.Errorf("record of %d bytes: want at least %d", len(raw), size)
	}
	return nil
}

// keepPath copies a path. One whose head was cut begins with an ellipsis.
func keepPath(to, path []byte, cut bool) []byte {
	if cut {
		to = append(to, "..."...)
	}
	return append(to, path...)
}

func copyTask(to *event.Task, t *yaguraTaskInfo) {
	*to = event.Task{
		PID: t.Pid, PPID: t.Ppid, PGID: t.Pgid, SID: t.Sid, VPID: t.Vpid, VPGID: t.Vpgid, VSID: t.Vsid, TTY: t.Tty,
		UID: t.Uid, EUID: t.Euid, SUID: t.Suid, GID: t.Gid, EGID: t.Egid, SGID: t.Sgid,
		LoginUID: t.LoginUid, AuditSession: t.AuditSession, Start: t.Start,
		CapPermitted: t.CapPermitted, CapEffective: t.CapEffective, CapInheritable: t.CapInheritable,
		CgroupID: t.CgroupId, ExeInode: t.ExeInode, ExeChange: t.ExeChange, ExeModify: t.ExeModify,
		PIDNamespaceInit: t.PidnsInitStart, ExeDevice: t.ExeDevice, Flags: event.Flags(t.Flags),
		Namespaces: event.Namespaces{Mount: t.NsMount, PID: t.NsPid, Net: t.NsNet, User: t.NsUser, UTS: t.NsUts,
			IPC: t.NsIpc, Cgroup: t.NsCgroup},
		Comm: *(*[16]byte)(unsafe.Pointer(&t.Comm)),
	}
}

// Processes calls yield with every process that is there, as the kernel's own walk over them gives it.
func (a *Agent) Processes(yield func(event.Task)) error {
	raw, err := a.iterate("processes")
	if err != nil {
		return err
	}
	size := sizeOf[yaguraTaskInfo]()
	if len(raw)%size != 0 {
		return fmt.Errorf("walk of processes gave %d bytes: want a multiple of %d", len(raw), size)
	}
	for ; len(raw) > 0; raw = raw[size:] {
		var info yaguraTaskInfo
		copy(bytesIn(&info), raw)
		var t event.Task
		copyTask(&t, &info)
		yield(t)
	}
	return nil
}

var _ event.Source = (*Agent)(nil)
var _ io.Closer = (*Agent)(nil)
