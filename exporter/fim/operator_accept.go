package fim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// accept makes the baseline of what is at some paths and beneath them now, or of all that differs.
func (o *operator) accept(ctx context.Context, j *job) error {
	if (len(j.Paths) > 0) == j.All {
		return errors.New("accept: want paths, or --all")
	}
	places, err := o.places(j)
	if err != nil {
		return err
	}
	a := &acceptance{o: o}
	for _, p := range places {
		if err := o.complete(p.Container); err != nil {
			if p.Container == "" || !j.All || !errors.Is(err, ErrIncomplete) {
				return err
			}
			continue
		}
		if !j.All {
			if err := o.known(p); err != nil {
				return err
			}
		}
		if err := a.place(ctx, p, !j.All || o.scans); err != nil {
			return err
		}
	}
	if a.n == 0 {
		fmt.Fprintln(o.notes, "nothing differs")
	}
	return nil
}

// An acceptance accepts place by place.
type acceptance struct {
	o *operator
	n uint64 // paths that were told of
}

// place looks again at a place, at all of it or only at what has drifted, and makes the baseline of that. Of a container it is
// what was last seen.
func (a *acceptance) place(ctx context.Context, p Path, all bool) error {
	l, err := NewLooker(a.o.lookOptions())
	if err != nil {
		return err
	}
	defer l.Close()
	if p.Container == "" && all {
		if err := a.scan(ctx, a.o.rootsIn(p)); err != nil {
			return err
		}
	}
	var batch []Entry
	err = a.o.store.EachDrifted(p, func(e *Entry) error {
		if p.Container == "" && !all {
			if err := a.look(ctx, l, e); err != nil || !e.Drifted() {
				return err
			}
		}
		if batch = append(batch, *e); len(batch) < batchEntries {
			return nil
		}
		err := a.accept(ctx, batch)
		batch = batch[:0]
		return err
	})
	if err != nil {
		return err
	}
	return a.accept(ctx, batch)
}

// scan has the store know what is there now.
func (a *acceptance) scan(ctx context.Context, roots []string) error {
	scan := a.o.scan(roots, make([]uint64, a.o.sets.Len()))
	scan.Tell = func(d Difference) error { return a.o.learn(ctx, &d) }
	result, err := Scan(ctx, scan)
	switch {
	case err == nil && result.Unread > 0:
		err = errUnread(&result)
	case err == nil && result.Partial > 0: // the rest of them is accepted
		fmt.Fprintln(a.o.notes, errUnread(&result))
	}
	return err
}

// look has the store, and an entry of it, know what is at a path now.
func (a *acceptance) look(ctx context.Context, l *Looker, e *Entry) error {
	r, err := l.Look(ctx, e.Path.Name)
	now := &r
	if errors.Is(err, fs.ErrNotExist) {
		now, err = nil, nil
	}
	if err == nil {
		err = a.o.learn(ctx, &Difference{Path: e.Path, Base: e.Base, Old: e.Now, New: now})
	}
	if err == nil {
		*e, err = a.o.store.Get(e.Path)
	}
	return err
}

// accept makes the baseline of what was seen.
func (a *acceptance) accept(ctx context.Context, seen []Entry) error {
	if err := acceptSeen(a.o.store, seen); err != nil {
		return err
	}
	for i := range seen {
		if err := a.tell(&seen[i]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tell says what has become the baseline, unless it counts for nobody.
func (a *acceptance) tell(e *Entry) error {
	d, ok := deviationOf(a.o.sets, e, "")
	if !ok {
		return nil
	}
	a.n++
	a.o.accepted(&d)
	_, err := fmt.Fprintf(a.o.out, "accepted %s: %s%s\n", shownPath(e.Path), strings.Join(d.Kinds.Names(), ", "), sumText(e.Now))
	return err
}

func sumText(r *Record) string {
	if r == nil || !r.Summed {
		return ""
	}
	return ", sha256 " + hex.EncodeToString(r.Sum[:])
}

// learnFrom has the store know what a scan has found.
func (o *operator) learnFrom(_ context.Context, d *Difference) error {
	sights := []Sight{{Path: d.Path, Now: d.New, Of: o.sets.asked(d.Path, d.Old, d.New)}}
	if d.From != "" {
		sights[0].Of = o.sets.asked(d.Path, nil, d.New)
		sights = append(sights, Sight{Path: Path{d.Path.Container, d.From}, Of: Everything})
	}
	_, err := o.store.Learn(sights)
	return err
}

// acceptSeen makes what was seen at paths what should be there, whatever was seen there since.
func acceptSeen(s *Store, seen []Entry) error {
	return inBatches(s, seen, func(w *storeWriter, as *Entry) error {
		e, err := w.get(as.Path)
		if err != nil {
			return err
		}
		if e.Base = as.Now; sameRecord(e.Now, e.Base) {
			e.Now = e.Base
		}
		return w.put(&e)
	})
}
