package fim

import (
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// An Untold is a change that the store has learnt of, and of which it is not known that it was told. It is written in the transaction
// that learns of the change, so that whoever is killed between the two tells it after his next start.
type Untold struct {
	Path Path
	Old  *Record // what was there before; nil if nothing was
	Note []byte  // what whoever will tell it knows of it; empty until he has said so
}

// maxNote bounds a note, bytes.
const maxNote = 64 << 10

var untoldBucket = []byte("untold")

// untoldOld says that the note of an untold change comes after a record.
const untoldOld = 1

// Untold returns the changes of a container, or with "" of the host, that were not told.
func (s *Store) Untold(container string) (all []Untold, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		all = all[:0]
		b := tx.Bucket(untoldBucket).Bucket(shelfName(container))
		if b == nil {
			return nil
		}
		mac := s.newMAC()
		return b.ForEach(func(key, sealed []byte) error {
			u, _, err := mac.openUntold(container, key, sealed)
			all = append(all, u)
			return err
		})
	})
	return all, s.failed("read", err)
}

// Told has the store know that changes were told, and accepts what was last seen at those paths that were expected to change. What is
// withheld is still to be told, with the note that it has now. It writes nothing if nothing of that is new: what came and went was never
// learnt.
func (s *Store) Told(expected, others []Path, withheld []Untold) error {
	type step struct {
		path   *Path
		accept bool
		note   *Untold
	}
	steps := make([]step, 0, len(expected)+len(others)+len(withheld))
	for i := range expected {
		steps = append(steps, step{path: &expected[i], accept: true})
	}
	for i := range others {
		steps = append(steps, step{path: &others[i]})
	}
	for i := range withheld {
		steps = append(steps, step{note: &withheld[i]})
	}
	if len(withheld) == 0 {
		if news, err := s.untoldAmong(expected, others); err != nil || !news {
			return err
		}
	}
	return inBatches(s, steps, func(w *storeWriter, st *step) error {
		if st.note != nil {
			return w.withhold(st.note)
		}
		if st.accept {
			if err := w.accept(*st.path); err != nil {
				return err
			}
		}
		return w.told(*st.path)
	})
}

// untoldAmong says whether there is anything to note of paths: an untold change of one, or a drifted one that is expected.
func (s *Store) untoldAmong(expected, others []Path) (any bool, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		for i, p := range slices.Concat(expected, others) {
			key, err := keyOf(p)
			if err != nil {
				return err
			}
			name := shelfName(p.Container)
			is := func(parent []byte) bool {
				b := tx.Bucket(parent).Bucket(name)
				return b != nil && b.Get(key) != nil
			}
			if is(untoldBucket) || i < len(expected) && is(driftBucket) {
				any = true
				return nil
			}
		}
		return nil
	})
	return any, s.failed("read", err)
}

// An untoldSlot is where an untold change of a path is, or would be.
type untoldSlot struct {
	path    Path
	shelf   *shelf
	bucket  *bbolt.Bucket
	key     []byte
	known   *Untold // nil if there is none
	element sum256  // of known
}

func (w *storeWriter) untold(p Path) (at untoldSlot, err error) {
	at.path = p
	if at.key, err = keyOf(p); err != nil {
		return at, err
	}
	if at.shelf, err = w.shelf(p.Container); err != nil {
		return at, err
	}
	if at.bucket, err = w.tx.Bucket(untoldBucket).CreateBucketIfNotExists(shelfName(p.Container)); err != nil {
		return at, err
	}
	if sealed := at.bucket.Get(at.key); sealed != nil {
		var u Untold
		u, at.element, err = w.mac.openUntold(p.Container, at.key, sealed)
		at.known = &u
	}
	return at, err
}

// differs notes a change that is to be told, unless an earlier one of that path is: then both are one.
func (w *storeWriter) differs(d *Difference) error {
	at, err := w.untold(d.Path)
	if at.known != nil || err != nil {
		return err
	}
	return w.putUntold(&at, d.Old, nil)
}

// withhold adds a note to a change that is to be told.
func (w *storeWriter) withhold(u *Untold) error {
	if len(u.Note) > maxNote {
		return fmt.Errorf("a note of %d bytes on %s: want at most %d", len(u.Note), whose(u.Path), maxNote)
	}
	at, err := w.untold(u.Path)
	if err != nil {
		return err
	}
	old := u.Old
	if at.known != nil {
		old = at.known.Old
		at.shelf.untold.remove(at.element)
	}
	return w.putUntold(&at, old, u.Note)
}

func (w *storeWriter) told(p Path) error {
	at, err := w.untold(p)
	if at.known == nil || err != nil {
		return err
	}
	at.shelf.untold.remove(at.element)
	return at.bucket.Delete(at.key)
}

func (w *storeWriter) putUntold(at *untoldSlot, old *Record, note []byte) error {
	start := len(w.arena)
	w.arena = append(w.arena, storeVersion, 0)
	if old != nil {
		w.arena[start+1] = untoldOld
		w.arena = appendRecord(w.arena, old)
	}
	w.arena = append(w.arena, note...)
	tag, element := w.mac.seal(untoldKind, at.path.Container, at.key, w.arena[start:])
	w.arena = append(w.arena, tag...)
	at.shelf.untold.add(element)
	return at.bucket.Put(at.key, w.arena[start:len(w.arena):len(w.arena)])
}

func (m *storeMAC) openUntold(container string, key, sealed []byte) (u Untold, element sum256, err error) {
	u.Path = Path{container, nameOf(key)}
	value, element, err := m.open(untoldKind, container, key, sealed)
	if err == nil {
		u.Old, u.Note, err = decodeUntold(value)
	}
	if err != nil {
		err = tampered(u.Path, err)
	}
	return u, element, err
}

// decodeUntold keeps nothing of what it is given.
func decodeUntold(b []byte) (old *Record, note []byte, err error) {
	if len(b) < 2 || b[0] != storeVersion || b[1] > untoldOld {
		return nil, nil, fmt.Errorf("want an untold change of version %d", storeVersion)
	}
	hasOld := b[1] == untoldOld
	if b = b[2:]; hasOld {
		old = new(Record)
		if b, err = decodeRecord(b, old); err != nil {
			return nil, nil, err
		}
	}
	return old, append([]byte(nil), b...), nil
}
