package fim

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Event is the change as rules of source fim see it: an event of whoever has made it, or of nobody. The sets are those that it
// was told of by.
func (c *Change) Event(s *Sets) *event.Event {
	f := &event.FileChange{ID: c.ID, Path: c.Path.Name, From: c.From, Container: c.Path.Container, Kinds: c.Kinds.Names(), Watches: s.Names(c.Watches),
		Severity: c.Severity, Actor: c.By,
		Expected: c.Expected, Why: c.Why, Confidence: c.Confidence.String(), Before: c.Before.state(), After: c.After.state(), Diff: c.Diff}
	ev := f.Event()
	ev.Time, ev.Boot = c.Time.UnixNano(), bootTime(c.Time)
	switch {
	case c.Actor != nil:
		c.Actor.act(ev)
	case c.Path.Container != "":
		ev.Container = cmp.Or(c.In, &event.Container{ID: c.Path.Container})
	}
	return ev
}

// bootTime is a time by the clock that the kernel's events go by, ns; 0 for times before the machine has started.
func bootTime(t time.Time) uint64 {
	wall, boot := clocks()
	return uint64(max(int64(boot)-wall.Sub(t).Nanoseconds(), 0))
}

// unknownID stands for groups that nobody knows.
const unknownID = 1<<32 - 1

// act makes the actor who an event is of.
func (a *Actor) act(ev *event.Event) {
	p := a.process()
	ev.Process, ev.PID, ev.TID, ev.Start = p, a.PID, a.PID, a.Start
	ev.Boot = max(ev.Boot, a.Start)
	ev.UID, ev.GID = a.UID, p.GID
	ev.Caller = event.Caller{UID: a.UID, EUID: a.EUID, GID: p.GID, EGID: p.EGID, LoginUID: a.LoginUID, TTY: p.TTY, VTID: p.VPID, PPID: p.PPID,
		CapPermitted: p.CapPermitted, CapEffective: p.CapEffective, CapInheritable: p.CapInheritable, Comm: p.Comm}
	if a.Container == "" {
		ev.Unit = a.Unit
		return
	}
	ev.Container = cmp.Or(a.In, &event.Container{ID: a.Container, Workload: a.Workload})
}

// process is the actor as a process, and those above him: as the process table knows them, else what is known.
func (a *Actor) process() *event.Process {
	if a.Process != nil {
		return a.Process
	}
	p := processOf(&Ancestor{PID: a.PID, Start: a.Start, Exe: a.Exe, Comm: a.Comm, UID: a.UID})
	p.EUID, p.SUID, p.LoginUID, p.Args = a.EUID, a.EUID, a.LoginUID, a.Args
	below := p
	for i := range a.Ancestors {
		above := processOf(&a.Ancestors[i])
		above.LoginUID = a.LoginUID
		below.Parent, below.PPID = above, above.PID
		below = above
	}
	return p
}

func processOf(a *Ancestor) *event.Process {
	p := &event.Process{Path: a.Exe, Task: event.Task{PID: a.PID, Start: a.Start, UID: a.UID, EUID: a.UID, SUID: a.UID,
		GID: unknownID, EGID: unknownID, SGID: unknownID}}
	copy(p.Comm[:len(p.Comm)-1], a.Comm)
	return p
}

// state is a record in the words of rules, nil for none. The bits of its flags are those of statx as well.
func (r *Record) state() *event.FileState {
	if r == nil {
		return nil
	}
	mode, _ := strconv.ParseUint(r.Octal(), 8, 32) // four digits
	s := &event.FileState{Type: r.TypeName(), Mode: uint32(mode), UID: r.UID, GID: r.GID, Size: r.Size, Target: r.Target,
		Immutable: r.Flags&unix.STATX_ATTR_IMMUTABLE != 0, AppendOnly: r.Flags&unix.STATX_ATTR_APPEND != 0,
		Capabilities: capabilitiesOf(r.Attributes["security.capability"]), Xattrs: slices.Sorted(maps.Keys(r.Attributes))}
	if r.Summed {
		s.SHA256 = hex.EncodeToString(r.Sum[:])
	}
	return s
}

// capabilitiesOf are those that a value of security.capability gives to whoever runs the file, permitted and inheritable ones: a
// struct vfs_cap_data of linux/capability.h, in little endian. Of a value that is none there are none.
func capabilitiesOf(value string) (set uint64) {
	const magic, pair, revision1 = 4, 8, 1
	b := []byte(value)
	if len(b) < magic+pair {
		return 0
	}
	pairs := 2
	if b[3] == revision1 {
		pairs = 1
	}
	for i := range min(pairs, (len(b)-magic)/pair) {
		at := b[magic+i*pair:]
		set |= uint64(binary.LittleEndian.Uint32(at)|binary.LittleEndian.Uint32(at[4:])) << (32 * i)
	}
	return set
}
