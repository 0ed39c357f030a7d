package fim

import (
	"encoding/json"
	"time"
)

// A telling is what differences have come to.
type telling struct {
	changes []*Change // to be told now
	held    []*Change // and later
	nothing []Path    // of which nothing is to be told: what differs counts for no set
}

// tell tells changes, and then has the store know that. Those that were expected become part of the baseline. looking is held.
// Killed in between, it tells them once more: better twice than never.
func (w *Watcher) tell(t *telling) {
	if len(t.changes)+len(t.held) == 0 && len(w.owed[1])+len(t.nothing) < batchEntries { // a log that grows is not worth a write of its own
		w.owed[1] = append(w.owed[1], t.nothing...)
		return
	}
	w.mu.Lock()
	w.drift = w.drift || len(t.changes) > 0
	for _, c := range t.changes {
		if r := w.areas[c.Path.Container]; r != nil {
			r.counted(c)
		}
	}
	w.mu.Unlock()
	for _, c := range t.changes {
		w.o.Tell(c)
	}
	var expected []Path
	others := t.nothing
	for _, c := range t.changes {
		if c.Expected && c.Kinds&(1<<Mounted|1<<Unmounted) == 0 {
			expected = append(expected, c.paths()...)
		} else {
			others = append(others, c.paths()...)
		}
	}
	w.told(expected, others, w.notes(t.held))
}

// told has the store know what was told, as soon as it can be written, and what is owed.
func (w *Watcher) told(expected, others []Path, withheld []Untold) {
	expected, others = w.unheld(append(w.owed[0], expected...)), w.unheld(append(w.owed[1], others...))
	w.owed = [2][]Path{}
	if len(expected)+len(others)+len(withheld) == 0 {
		return
	}
	err := w.store.Told(expected, others, withheld)
	if err == nil {
		return
	}
	w.complain("what was told is not noted: it is told again after a restart", err)
	if len(expected)+len(others) <= maxHeld {
		w.owed = [2][]Path{expected, others}
	}
}

// unheld leaves out paths of which another change waits.
func (w *Watcher) unheld(paths []Path) []Path {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := paths[:0]
	for _, p := range paths {
		if w.held[p] == nil {
			kept = append(kept, p)
		}
	}
	return kept
}

// A note is what is kept of a change that waits, beside what was there before. Who has made it is without his arguments, which may
// hold secrets.
type note struct {
	Time       time.Time
	Kinds      KindSet
	Actor      *Actor     `json:",omitempty"`
	Confidence Confidence `json:",omitempty"`
	Diff       string     `json:",omitempty"`
}

// notes are what the store keeps of changes that wait. One that cannot be written waits without a note.
func (w *Watcher) notes(held []*Change) (all []Untold) {
	for _, c := range held {
		n := note{Time: c.Time, Kinds: c.Kinds, Confidence: c.Confidence, Diff: c.Diff}
		if c.Actor != nil {
			a := *c.Actor
			a.Process, a.In, a.Args = nil, nil, nil
			if len(c.Actor.Args) > 1 && isInterpreter(a.Exe) {
				a.Args = c.Actor.Args[:2] // by which a manager that is a script is known
			}
			n.Actor = &a
		}
		text, err := json.Marshal(n)
		if err != nil || len(text) > maxNote {
			w.o.Log.Debug("a change waits without a note", "path", c.Path.Name, "bytes", len(text), "err", err)
			text = nil
		}
		all = append(all, Untold{c.Path, c.Before, text})
	}
	return all
}

// tellUntold tells the changes of a container, or of the host, that the store had learnt of when the process before this one ended.
// Those that its package manager has still to say something about wait again.
func (w *Watcher) tellUntold(container string) error {
	w.looking.Lock()
	defer w.looking.Unlock()
	all, err := w.store.Untold(container)
	if err != nil || len(all) == 0 {
		return err
	}
	var t telling
	notes := map[Path]note{}
	var differences []Difference
	for _, u := range all {
		e, err := w.store.Get(u.Path)
		if err != nil {
			return err
		}
		var n note
		if len(u.Note) > 0 {
			if err := json.Unmarshal(u.Note, &n); err != nil {
				return tampered(u.Path, err)
			}
			notes[u.Path] = n
		}
		d := Difference{Path: u.Path, Base: e.Base, Old: u.Old, New: e.Now, Changed: Compare(u.Old, e.Now, w.o.Sets.asked(u.Path, u.Old, e.Now))}
		if d.Changed == 0 && n.Kinds == 0 {
			t.nothing = append(t.nothing, u.Path) // it is as it was
			continue
		}
		differences = append(differences, d)
	}
	w.o.Log.Info("changes that were not told before the last end are told now", "container", container, "count", len(differences))
	for _, d := range joinRenamed(differences) {
		n, ok := notes[d.Path]
		c := w.change(&d, kindsOf(&d)|n.Kinds)
		switch {
		case c == nil:
			t.nothing = append(t.nothing, d.paths()...)
			continue
		case ok:
			c.Time, c.Actor, c.Confidence, c.Diff = n.Time, n.Actor, n.Confidence, n.Diff
		default:
			w.blame(c, nil)
		}
		w.tellOrHold(c, &t)
	}
	w.tell(&t)
	return nil
}
