package fim

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// Each calls fn with what is known of a path and of all that lies beneath it, in the order of a walk: a directory before what
// it holds, and names by their bytes. The entry is fn's to keep. No transaction is open meanwhile: fn may write to the store,
// and what others write may be seen or not.
func (s *Store) Each(under Path, fn func(e *Entry) error) error {
	return s.walk(under, entriesBucket, func(c *storeCursor) error {
		e, err := c.entry()
		if err != nil {
			return err
		}
		return fn(&e)
	})
}

// EachDrifted does as Each for those entries whose path has drifted.
func (s *Store) EachDrifted(under Path, fn func(e *Entry) error) error {
	return s.walk(under, driftBucket, func(c *storeCursor) error {
		e, err := s.Get(Path{under.Container, nameOf(c.key)})
		if err != nil || !e.Drifted() { // not any more, or somebody has added it to the index; that one was left out is seen by Verify
			return err
		}
		return fn(&e)
	})
}

// walk calls at for each key of a bucket that is under's or of what lies beneath, in order.
func (s *Store) walk(under Path, bucket []byte, at func(c *storeCursor) error) error {
	c, err := s.newCursor(under, bucket)
	for err == nil {
		if err = c.next(); err != nil || c.key == nil {
			return err
		}
		err = at(c)
	}
	return err
}

// A storeCursor reads entries, or the index of the drifted, in order, a chunk at a time, so that no transaction stays open.
type storeCursor struct {
	s         *Store
	mac       *storeMAC
	container string
	parent    []byte
	under     []byte // the key of the path that all lie beneath
	arena     []byte
	ends      []int // of a key and its value, in turn
	at        int   // which of ends is next
	last      []byte
	done      bool
	read      int // entries since pages were given back

	key, value []byte // where it is, valid until next; key is nil behind the last. The value is authentic
}

func (s *Store) newCursor(under Path, parent []byte) (*storeCursor, error) {
	key, err := keyOf(under)
	if err != nil {
		return nil, err
	}
	return &storeCursor{s: s, mac: s.newMAC(), container: under.Container, parent: parent, under: key}, nil
}

func (c *storeCursor) next() error {
	if c.at == len(c.ends) && !c.done {
		if err := c.fill(); err != nil {
			return err
		}
	}
	if c.at == len(c.ends) {
		c.key, c.value = nil, nil
		return nil
	}
	start := 0
	if c.at > 0 {
		start = c.ends[c.at-1]
	}
	c.key, c.value = c.arena[start:c.ends[c.at]], c.arena[c.ends[c.at]:c.ends[c.at+1]]
	c.at += 2
	if bytes.Equal(c.parent, driftBucket) {
		return nil
	}
	value, _, err := c.mac.open(entryKind, c.container, c.key, c.value)
	if err != nil {
		return c.s.failed("read", tampered(Path{c.container, nameOf(c.key)}, err))
	}
	c.value = value
	return nil
}

func (c *storeCursor) fill() error {
	c.last = append(c.last[:0], c.key...)
	return c.s.view(func(tx *bbolt.Tx) error {
		c.read += len(c.ends) / 2
		if c.read > unmapEntries {
			c.read = 0
			c.s.unmapped(tx)
		}
		c.arena, c.ends, c.at, c.done = c.arena[:0], c.ends[:0], 0, true
		b := tx.Bucket(c.parent).Bucket(shelfName(c.container))
		if b == nil {
			return nil
		}
		from := c.under
		if len(c.last) > 0 {
			from = c.last
		}
		cursor := b.Cursor()
		key, value := cursor.Seek(from)
		for ; key != nil; key, value = cursor.Next() {
			switch {
			case bytes.Equal(key, c.last):
				continue
			case !beneath(key, c.under):
				return nil
			case len(c.ends) >= 2*chunkEntries || len(c.arena) > chunkBytes:
				c.done = false
				return nil
			}
			c.arena = append(c.arena, key...)
			c.ends = append(c.ends, len(c.arena))
			c.arena = append(c.arena, value...)
			c.ends = append(c.ends, len(c.arena))
		}
		return nil
	})
}

// entry decodes where the cursor is.
func (c *storeCursor) entry() (e Entry, err error) {
	e.Path = Path{c.container, nameOf(c.key)}
	if e.Base, e.Now, err = decodeEntry(c.value); err != nil {
		return e, c.s.failed("read", tampered(e.Path, err))
	}
	return e, nil
}
