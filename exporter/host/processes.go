package host

import (
	"slices"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

const (
	maxDepth      = 64 // ancestors of one process
	nearAncestors = 8  // that are kept when a chain of them is cut
	maxReuse      = 16 // entries with one pid
	minTable      = 16 // entries, however small the table is configured
)

// TableOptions say where a process table looks when events do not tell all.
type TableOptions struct {
	Procfs  string       // where /proc is; empty where there is none, as in a replay
	Cgroups CgroupLayout // gives processes read from /proc their control group; may be zero
	Config  Config
}

// A Table is the process table: what every process runs and who made it, beyond its exit. It is fed with events, in
// order, by one goroutine, which alone may call Attach, Seed, SeedDone, SeedFromProc and Load.
//
// Stats, Find and Processes may be called by any. They and all changes hold mu; the owner's own look-ups do not, since
// nobody else changes anything, so an event that changes nothing costs no lock. What readers get are Processes, which
// never change once they are in the table.
type Table struct {
	procfs  string
	cgroups CgroupLayout
	max     int
	linger  uint64 // nanoseconds

	seeds []*entry // not linked to their parents yet

	mu        sync.Mutex
	byPID     map[uint32]*entry // the newest of each pid
	live      queue             // oldest first; those used since they came to the front are moved to the back
	exited    queue             // by time of exit
	ancestors int               // entries that left the table, but are some entry's ancestor
	now       uint64            // of the latest event, nanoseconds since boot
	counts    Stats
}

// Stats counts what is in a process table and what happened to it.
type Stats struct {
	Processes      int    // that run
	Exited         int    // that have exited and linger
	Ancestors      int    // that have left the table, but descend to something in it
	Evicted        uint64 // left the table early for want of room
	Missed         uint64 // events of processes whose fork was never seen
	Completed      uint64 // of those, read from /proc
	DuplicateExits uint64 // second exits of one process
}

// An entry is one process in the table. It stays in memory while a descendant is in the table.
type entry struct {
	proc       *event.Process
	start      uint64 // proc.Start, at hand for look-ups
	older      *entry // an earlier process with the same pid
	prev, next *entry // in live or exited
	parent     *entry // whose proc is, or was, proc.Parent
	children   int    // entries whose parent this is
	depth      int    // ancestors in the chain of proc
	exit       uint64 // nanoseconds since boot, 0 while it runs
	told       bool   // its exit was reported; false after an exit that was only inferred
	used       bool   // looked up since it was last passed over for eviction
	removed    bool   // from the table
	linking    bool   // SeedDone is on its way up from here
	linked     bool   // SeedDone has been here
}

// NewTable returns an empty table.
func NewTable(o TableOptions) *Table {
	if o.Config.MaxProcesses == 0 {
		o.Config.MaxProcesses = Default.MaxProcesses
	}
	if o.Config.Linger == 0 {
		o.Config.Linger = Default.Linger
	}
	return &Table{
		procfs:  o.Procfs,
		cgroups: o.Cgroups,
		max:     max(o.Config.MaxProcesses, minTable),
		linger:  uint64(max(o.Config.Linger, time.Millisecond)),
		byPID:   map[uint32]*entry{},
	}
}

// Attach takes an event into account and sets its Process to who acted: after an exec to the new image, on a fork to
// the parent. It returns false for the second exit of a process, which must not count.
func (t *Table) Attach(ev *event.Event) bool {
	switch ev.Kind {
	case event.Fork:
		t.fork(ev)
	case event.Exec:
		t.exec(ev)
	case event.Exit:
		return t.exit(ev)
	default:
		if e := t.actor(ev); e != nil {
			if dir, ok := ev.NewDirectory(); ok && dir != e.proc.Cwd {
				t.move(e, dir)
			}
			ev.Process = e.proc
		} else {
			ev.Process = nil
		}
	}
	return true
}

// move gives a process another working directory.
func (t *Table) move(e *entry, dir string) {
	p := *e.proc // what was published does not change
	p.Cwd = dir
	t.mu.Lock()
	defer t.mu.Unlock()
	e.proc = &p
}

// actor returns the entry of who acted, nil for what no process did.
func (t *Table) actor(ev *event.Event) *entry {
	if e := t.lookup(ev.PID, ev.Start); e != nil {
		return e
	}
	return t.admit(ev)
}

// lookup is all that most events need.
func (t *Table) lookup(pid uint32, start uint64) *entry {
	for e := t.byPID[pid]; e != nil; e = e.older {
		if e.start == start {
			if !e.used {
				e.used = true
			}
			return e
		}
	}
	return nil
}

// near finds a process whose start is only known in ticks, on either side, and keeps the better one.
func (t *Table) near(pid uint32, start uint64) *entry {
	for e := t.byPID[pid]; e != nil; e = e.older {
		if !SameStart(e.start, start) {
			continue
		}
		if start%tick != 0 {
			p := *e.proc
			p.Start = start
			t.mu.Lock()
			e.proc, e.start = &p, start
			t.mu.Unlock()
		}
		e.used = true
		return e
	}
	return nil
}

// admit makes an entry for an actor that has none under its exact start: from /proc, else from the event.
func (t *Table) admit(ev *event.Event) *entry {
	if ev.PID == 0 {
		return nil // the idle task, or softirq on top of it
	}
	if e := t.near(ev.PID, ev.Start); e != nil {
		return e
	}
	if ev.Start == 0 {
		if e := t.byPID[ev.PID]; e != nil {
			return e
		}
	}
	p, parent := t.complete(ev.PID, ev.Start, maxDepth)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Missed++
	if p != nil {
		t.counts.Completed++
		p.Start = max(p.Start, ev.Start)
	} else {
		p = &event.Process{Task: event.Task{PID: ev.PID, Start: ev.Start, UID: ev.UID, GID: ev.GID}}
	}
	if ev.CgroupID != 0 {
		p.CgroupID = ev.CgroupID
	}
	return t.add(p, parent)
}

// complete reads a process and those above it that are not in the table yet from /proc. A start of 0 matches any.
func (t *Table) complete(pid uint32, start uint64, depth int) (*event.Process, *entry) {
	if t.procfs == "" || pid == 0 || depth == 0 {
		return nil, nil
	}
	p, err := readProcess(t.procfs, pid, &t.cgroups)
	if err != nil || start != 0 && !SameStart(p.Start, start) {
		return nil, nil
	}
	parent := t.parentOf(p, depth-1)
	switch {
	case p.VPID == 1:
		p.PIDNamespaceInit = p.Start
	case parent != nil && parent.proc.Namespaces.PID == p.Namespaces.PID:
		p.PIDNamespaceInit = parent.proc.PIDNamespaceInit
	}
	return p, parent
}

// parentOf finds the entry of p's parent by its number, or completes it from /proc.
func (t *Table) parentOf(p *event.Process, depth int) *entry {
	if p.PPID == 0 || p.PPID == p.PID {
		return nil
	}
	if e := t.byPID[p.PPID]; e != nil && e.exit == 0 && e.start/tick <= p.Start/tick {
		return e
	}
	above, parent := t.complete(p.PPID, 0, depth)
	if above == nil || above.Start/tick > p.Start/tick {
		return nil
	}
	if e := t.near(above.PID, above.Start); e != nil {
		return e
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(above, parent)
}

// fork enters the child as a copy of its parent. The start-up state may know the child already.
func (t *Table) fork(ev *event.Event) {
	ev.Process = nil
	maker := t.actor(ev)
	if maker != nil {
		ev.Process = maker.proc
	}
	id := ev.Task.ID()
	if id.PID == 0 || t.lookup(id.PID, id.Start) != nil || t.near(id.PID, id.Start) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(ev.Boot)
	child := &event.Process{Task: ev.Task}
	if maker != nil {
		child.Path, child.Args, child.Env, child.Cwd = maker.proc.Path, maker.proc.Args, maker.proc.Env, maker.proc.Cwd
	}
	t.add(child, maker)
	if maker != nil {
		ev.Process = maker.proc
	}
}

// exec gives a process its new image. One that the start-up state knew already is given it again, which is right as
// soon as the events queued meanwhile are through.
func (t *Table) exec(ev *event.Event) {
	ev.Process = nil
	if ev.PID == 0 {
		return
	}
	p := &event.Process{Task: ev.Task, Path: string(ev.Path), Args: splitArgs(ev.Args), Env: splitArgs(ev.Env), Cwd: string(ev.Cwd)}
	p.PID, p.Start = ev.PID, ev.Start
	ev.Process = p
	e := t.lookup(ev.PID, ev.Start)
	if e == nil {
		e = t.near(ev.PID, ev.Start)
	}
	if e == nil {
		parent := t.parentOf(p, maxDepth-1)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.counts.Missed++
		t.advance(ev.Boot)
		ev.Process = t.add(p, parent).proc
		return
	}
	p.Start = e.start // which may be more exact than the event's
	p.Parent, p.ExecCount = e.proc.Parent, e.proc.ExecCount+1
	if p.Cwd == "" { // the kernel did not say
		p.Cwd = e.proc.Cwd
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(ev.Boot)
	e.proc = p
}

// exit marks a process. Its entry lingers, since events of its last moments may follow and its children ask for it.
func (t *Table) exit(ev *event.Event) bool {
	ev.Process = nil
	e := t.actor(ev)
	if e == nil {
		return true
	}
	ev.Process = e.proc
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(ev.Boot)
	if e.told {
		t.counts.DuplicateExits++
		return false
	}
	e.told = true
	t.end(e)
	return true
}

// end moves an entry to those that exited. mu is held here and in all that follows.
func (t *Table) end(e *entry) {
	if e.exit != 0 || e.removed {
		return
	}
	t.live.remove(e)
	e.exit = max(t.now, 1)
	t.exited.push(e)
}

// advance sets the time and removes what has lingered long enough.
func (t *Table) advance(boot uint64) {
	t.now = max(t.now, boot)
	for e := t.exited.head; e != nil && e.exit+t.linger <= t.now; e = t.exited.head {
		t.remove(e)
	}
}

// add enters a process below parent.
func (t *Table) add(p *event.Process, parent *entry) *entry {
	e := &entry{proc: p, start: p.Start, used: true}
	if parent != nil {
		t.link(e, parent)
	}
	newest := t.byPID[p.PID]
	switch {
	case newest == nil || newest.start <= e.start:
		e.older = newest
		t.byPID[p.PID] = e
		t.live.push(e)
		if newest != nil {
			t.end(newest) // its exit was lost: the number has been given again
		}
	default:
		// Word of a process that must have ended before the present owner of its number began.
		above := newest
		for above.older != nil && above.older.start > e.start {
			above = above.older
		}
		e.older, above.older = above.older, e
		t.live.push(e)
		t.end(e)
	}
	t.limitReuse(p.PID)
	t.makeRoom(e)
	return e
}

// link makes e the child of parent. The chain of ancestors is bounded, and so is the number of ancestors that only
// live on in chains: past either bound, the middle of the chain is forgotten.
func (t *Table) link(e, parent *entry) {
	switch {
	case parent.depth >= maxDepth-1:
		t.cut(parent, nearAncestors)
	case t.ancestors >= t.max && parent.parent != nil && parent.parent.exit != 0:
		t.cut(parent, 1)
	}
	p := e.proc
	p.Parent = parent.proc
	e.parent, e.depth = parent, parent.depth+1
	t.hold(parent)
}

// cut gives e a shorter chain of ancestors: copies of the nearest ones, then the nearest living ancestor whose own
// chain is short enough to be built upon. So even one who forks on and on in order to be forgotten is still found
// below the service it came from. If something below e holds the long chain anyway, it stays.
func (t *Table) cut(e *entry, keep int) {
	if e.children > 0 {
		return
	}
	var near []*event.Process
	above := e.parent
	for p := e.proc.Parent; above != nil && len(near) < keep; p = p.Parent {
		near = append(near, p)
		above = above.parent
	}
	first := above
	for above != nil && (above.exit != 0 || above.removed || above.depth > maxDepth/2) {
		above = above.parent
	}
	if above == first {
		return
	}
	for _, p := range slices.Backward(near) {
		above = below(above, p)
		above.removed = true // it was never in the table
	}
	old, short := e.parent, below(above, e.proc)
	e.proc, e.parent, e.depth = short.proc, short.parent, short.depth
	if e.removed {
		return // without children it holds nothing
	}
	t.hold(e.parent)
	t.release(old)
}

// below returns an entry for a copy of p as a child of parent, which it does not hold yet.
func below(parent *entry, p *event.Process) *entry {
	c := *p
	e := &entry{proc: &c, start: c.Start, parent: parent}
	c.Parent = nil
	if parent != nil {
		c.Parent, e.depth = parent.proc, parent.depth+1
	}
	return e
}

// hold says that one child more needs e, and so all that e descends from.
func (t *Table) hold(e *entry) {
	for e != nil {
		e.children++
		if e.children > 1 || !e.removed {
			return
		}
		t.ancestors++
		e = e.parent
	}
}

// release says that one child less needs e. What nothing needs and the table no longer holds is forgotten.
func (t *Table) release(e *entry) {
	for e != nil {
		e.children--
		if e.children > 0 || !e.removed {
			return
		}
		t.ancestors--
		e = e.parent
	}
}

// remove takes an entry out of the table.
func (t *Table) remove(e *entry) {
	if e.exit != 0 {
		t.exited.remove(e)
	} else {
		t.live.remove(e)
	}
	t.unlist(e)
	e.removed = true
	if e.children > 0 {
		t.ancestors++
		return
	}
	t.release(e.parent)
}

func (t *Table) unlist(e *entry) {
	pid := e.proc.PID
	if t.byPID[pid] == e {
		if e.older == nil {
			delete(t.byPID, pid)
		} else {
			t.byPID[pid] = e.older
		}
		e.older = nil
		return
	}
	for above := t.byPID[pid]; above != nil; above = above.older {
		if above.older == e {
			above.older, e.older = e.older, nil
			return
		}
	}
}

// limitReuse keeps look-ups short when somebody makes one pid return all the time.
func (t *Table) limitReuse(pid uint32) {
	n := 0
	for e := t.byPID[pid]; e != nil; e = e.older {
		if n++; n == maxReuse && e.older != nil {
			t.counts.Evicted++
			t.remove(e.older)
			return
		}
	}
}

// makeRoom evicts, if there are too many entries: whatever exited first, then whatever was not used for longest.
func (t *Table) makeRoom(except *entry) {
	for t.live.len+t.exited.len > t.max {
		victim := t.exited.head
		if victim == except && victim != nil {
			victim = victim.next
		}
		if victim == nil {
			victim = t.unused(except)
		}
		t.counts.Evicted++
		t.remove(victim)
	}
}

// unused gives every running process a second chance before it takes the first that had one.
func (t *Table) unused(except *entry) *entry {
	for {
		e := t.live.head
		if !e.used && e != except {
			return e
		}
		e.used = false
		t.live.remove(e)
		t.live.push(e)
	}
}

// Stats returns the counts.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.counts
	s.Processes, s.Exited, s.Ancestors = t.live.len, t.exited.len, t.ancestors
	return s
}

// Find returns the process that has a pid now, nil if none is known.
func (t *Table) Find(pid uint32) *event.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byPID[pid]; e != nil && e.exit == 0 {
		return e.proc
	}
	return nil
}

// FindLate does as Find, and also knows who has just ended, and whose pid nobody else has yet.
func (t *Table) FindLate(pid uint32) *event.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byPID[pid]; e != nil {
		return e.proc
	}
	return nil
}

// Processes returns all that run, in the order in which they were last found in use, roughly.
func (t *Table) Processes() []*event.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*event.Process, 0, t.live.len)
	for e := t.live.head; e != nil; e = e.next {
		all = append(all, e.proc)
	}
	return all
}

// A queue is a list of entries, each of which is in one queue at most.
type queue struct {
	head, tail *entry
	len        int
}

func (q *queue) push(e *entry) {
	e.prev, e.next = q.tail, nil
	if q.tail != nil {
		q.tail.next = e
	} else {
		q.head = e
	}
	q.tail = e
	q.len++
}

func (q *queue) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.tail = e.prev
	}
	e.prev, e.next = nil, nil
	q.len--
}
