package host

import (
	"errors"

	"github.com/yagura-io/yagura/rules/event"
)

// Seed enters a process of the kernel's task iterator, in any order; its image is read from /proc. Processes that are
// in the table already, and those that have ended meanwhile, are left out. Call SeedDone when all have been seeded.
//
// No gap is left if events are queued from before the iteration on and attached after SeedDone: who was missed by the
// iteration is forked by an event, and what the iteration saw already does no harm.
func (t *Table) Seed(task event.Task) {
	p := &event.Process{Task: task}
	if t.procfs != "" {
		stat, err := readStat(t.procfs, task.PID)
		if gone(err) || err == nil && stat.dead() {
			return
		}
		if err == nil && SameStart(stat.Start, task.Start) {
			flags := p.Flags // the kernel's word on the executable is better than what /proc tells
			executable := p.Task
			readImage(t.procfs, p)
			if executable.ExeInode != 0 {
				args := p.Flags & (event.ArgsTruncated | event.CommandFault)
				p.Task, p.Flags = executable, flags|args
			}
		}
	}
	t.seed(p)
}

func (t *Table) seed(p *event.Process) {
	if p.PID == 0 || t.lookup(p.PID, p.Start) != nil || t.near(p.PID, p.Start) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seeds = append(t.seeds, t.add(p, nil))
}

// SeedDone links what was seeded to its parents.
func (t *Table) SeedDone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.seeds {
		t.linkSeed(e)
	}
	t.seeds = nil
}

// linkSeed links those above first, so that every process is complete when its children point to it.
func (t *Table) linkSeed(e *entry) {
	if e.linked || e.linking || e.removed || e.parent != nil || e.children > 0 {
		return // who has forked before SeedDone stays at the top: its children may not become its ancestors
	}
	e.linking = true
	defer func() { e.linking, e.linked = false, true }()
	parent := t.byPID[e.proc.PPID]
	if parent == nil || parent == e || parent.exit != 0 || parent.start/tick > e.start/tick {
		return
	}
	t.linkSeed(parent)
	if parent.linking {
		return // whoever wrote this says that a process is its own ancestor
	}
	p := *e.proc // others may have seen it without a parent
	e.proc = &p
	t.link(e, parent)
}

// SeedFromProc seeds the table from /proc alone, for kernels without a task iterator.
func (t *Table) SeedFromProc() error {
	processes, err := readProcesses(t.procfs, &t.cgroups)
	if err != nil {
		return err
	}
	for _, p := range processes {
		t.seed(p)
	}
	t.SeedDone()
	return nil
}

// Load seeds the table from a recording.
func (t *Table) Load(s *Snapshot) error {
	if s == nil {
		return errors.New("load processes: no snapshot")
	}
	for i := range s.Processes {
		p := s.Processes[i]
		p.Parent = nil
		t.seed(&p)
	}
	t.SeedDone()
	return nil
}
