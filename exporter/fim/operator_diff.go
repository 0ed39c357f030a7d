package fim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// diff writes what differs from the baseline.
func (o *operator) diff(ctx context.Context, j *job) error {
	scan := o.scans
	if j.Scan != nil {
		scan = *j.Scan
	}
	places, err := o.places(j)
	if err != nil {
		return err
	}
	d := &differ{o: o, w: newDeviationWriter(o.out, j.JSON, o.sets)}
	for _, p := range places {
		if err = d.place(ctx, p, scan && p.Container == "", len(j.Paths) > 0 || j.Container != ""); err != nil {
			break
		}
	}
	if err := errors.Join(err, d.w.out.Flush()); err != nil {
		return err
	}
	if d.first > 0 {
		fmt.Fprintf(o.notes, "%d paths are watched that were not when the baseline was built: `yagura fim init` adds them\n", d.first)
	}
	switch {
	case d.w.n > 0:
		if d.result.unread() > 0 {
			fmt.Fprintln(o.notes, errUnread(&d.result))
		}
		return exitWith(statusSome)
	case d.result.unread() > 0:
		return fmt.Errorf("nothing differs, but %w", errUnread(&d.result))
	}
	return nil
}

func errUnread(r *ScanResult) error {
	return fmt.Errorf("%d files and directories cannot be read: %s", r.unread(), strings.Join(r.Reasons, "; "))
}

// A differ finds each deviation once, in places of which none lies in another.
type differ struct {
	o      *operator
	w      *deviationWriter
	result ScanResult // of all places: what is unread
	first  uint64     // paths that are watched for the first time
}

func (d *differ) place(ctx context.Context, p Path, scan, given bool) error {
	if err := d.o.complete(p.Container); err != nil {
		if p.Container == "" || given || !errors.Is(err, ErrIncomplete) {
			return err
		}
		fmt.Fprintln(d.o.notes, err)
		return nil
	}
	if given {
		if err := d.o.known(p); err != nil {
			return err
		}
	}
	if err := d.drifted(ctx, p, scan); err != nil || !scan {
		return err
	}
	return d.scan(ctx, p)
}

// drifted tells of what differed when it was last seen; with again, as it is now.
func (d *differ) drifted(ctx context.Context, p Path, again bool) error {
	var l *Looker
	if again {
		var err error
		if l, err = NewLooker(d.o.lookOptions()); err != nil {
			return err
		}
		defer l.Close()
	}
	return d.o.store.EachDrifted(p, func(e *Entry) error {
		if again {
			d.look(ctx, l, e)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return d.tell(e, "")
	})
}

// look has an entry know what is there now.
func (d *differ) look(ctx context.Context, l *Looker, e *Entry) {
	r, err := l.Look(ctx, e.Path.Name)
	switch {
	case err == nil:
		e.Now = &r
	case errors.Is(err, fs.ErrNotExist):
		e.Now = nil
	default:
		d.result.Unread++
		d.result.Reasons = append(d.result.Reasons, err.Error())
		d.result.Reasons = d.result.Reasons[:min(len(d.result.Reasons), maxReasons)]
	}
}

// scan tells of what differs that did not when it was last seen.
func (d *differ) scan(ctx context.Context, p Path) error {
	meta, err := d.o.store.Meta("")
	if err != nil {
		return err
	}
	before := setsBefore(meta.Sets, Resolver(d.o.root))
	if before == nil && meta.Sets != "" && meta.Sets != signatureOf(d.o.config) {
		fmt.Fprintln(d.o.notes, "other paths are watched than when the baseline was built: those watched for the first time are shown as created")
	}
	scan := d.o.scan(d.o.rootsIn(p), make([]uint64, d.o.sets.Len()))
	scan.Tell = func(f Difference) error {
		if before != nil && f.From == "" && f.Old == nil && f.Base == nil && before.Match(false, f.Path.Name) == 0 {
			d.first++
			return nil
		}
		return d.found(&f)
	}
	result, err := Scan(ctx, scan)
	d.result.Unread += result.Unread
	d.result.Partial += result.Partial
	d.result.Reasons = append(d.result.Reasons, result.Reasons...)
	d.result.Reasons = d.result.Reasons[:min(len(d.result.Reasons), maxReasons)]
	return err
}

// found tells of what a scan has found, unless it is of a path that had drifted before.
func (d *differ) found(f *Difference) error {
	if f.From != "" {
		gone, err := d.o.store.Get(Path{f.Path.Container, f.From})
		if err != nil {
			return err
		}
		if !gone.Drifted() {
			gone.Now = nil
			if err := d.tell(&gone, ""); err != nil {
				return err
			}
		}
		f.Old = nil // of the new name, which a scan finds where nothing was
	}
	if f.Base != f.Old {
		return nil
	}
	return d.tell(&Entry{Path: f.Path, Base: f.Base, Now: f.New}, f.From)
}

func (d *differ) tell(e *Entry, from string) error {
	if found, ok := deviationOf(d.o.sets, e, from); ok {
		return d.w.write(&found)
	}
	return nil
}
