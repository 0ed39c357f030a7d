package fim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// Verify looks at every entry, and names those that are not as the store has written them: changed, moved, left out, added or
// older than they were. It takes some two microseconds an entry.
func (s *Store) Verify(ctx context.Context) error {
	v := verification{s: s, mac: s.newMAC()}
	if err := s.view(func(tx *bbolt.Tx) error { return v.all(ctx, tx) }); err != nil {
		return s.failed("verify", err)
	}
	if len(v.wrong) > 0 {
		return s.failed("verify", fmt.Errorf("%w: %w", ErrTampered, errors.Join(v.wrong...)))
	}
	return nil
}

// A verification collects what is wrong.
type verification struct {
	s     *Store
	mac   *storeMAC
	wrong []error
}

func (v *verification) complain(format string, a ...any) {
	switch n := len(v.wrong); {
	case n < maxComplaints:
		v.wrong = append(v.wrong, fmt.Errorf(format, a...))
	case n == maxComplaints:
		v.wrong = append(v.wrong, errors.New("and more"))
	}
}

func (v *verification) all(ctx context.Context, tx *bbolt.Tx) error {
	st, err := readState(tx, v.mac)
	if err != nil {
		return err
	}
	var found tally
	err = tx.Bucket(shelvesBucket).ForEach(func(name, _ []byte) error {
		sh, err := readShelf(tx, v.mac, strings.TrimPrefix(string(name), "/"))
		if err != nil || sh == nil {
			v.complain("%q: %w", name, cmp.Or(err, errMAC))
			return nil
		}
		found.add(sh.element)
		return v.shelf(ctx, tx, sh)
	})
	if err != nil {
		return err
	}
	if found.count != st.shelves.count {
		v.complain("it has baselines of %d containers and hosts: want %d", found.count, st.shelves.count)
	} else if found.sum != st.shelves.sum {
		v.complain("the baseline of a container or of the host is an older one")
	}
	for _, parent := range shelfBuckets {
		err := tx.Bucket(parent).ForEach(func(name, _ []byte) error {
			if tx.Bucket(shelvesBucket).Get(name) == nil {
				v.complain("%s of %s are there without its baseline", parent, whose(Path{Container: strings.TrimPrefix(string(name), "/")}))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if !slices.ContainsFunc(storeBuckets, func(b []byte) bool { return bytes.Equal(b, name) }) {
			v.complain("%q is not the store's", name)
		}
		return nil
	})
}

// shelf looks at all entries of a container or of the host.
func (v *verification) shelf(ctx context.Context, tx *bbolt.Tx, sh *shelf) error {
	entries, drift := tx.Bucket(entriesBucket).Bucket(shelfName(sh.container)), tx.Bucket(driftBucket).Bucket(shelfName(sh.container))
	var found tally
	sound, indexed := true, true
	if entries != nil {
		c := entries.Cursor()
		for key, sealed := c.First(); key != nil; key, sealed = c.Next() {
			value, element, err := v.mac.open(entryKind, sh.container, key, sealed)
			if err == nil {
				_, _, err = decodeEntry(value)
			}
			if err != nil {
				v.complain("%s: %w", whose(Path{sh.container, nameOf(key)}), err)
				sound = false
				element = sum256{}
			}
			found.add(element)
			if sound && value[1]&entryDrifted != 0 {
				indexed = indexed && drift != nil && drift.Get(key) != nil
			}
			if found.count%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if found.count%unmapEntries == 0 {
				v.s.unmapped(tx)
			}
		}
	}
	untold, err := v.untold(tx, sh)
	if err != nil {
		return err
	}
	switch of := whose(Path{Container: sh.container}); {
	case untold != sh.untold:
		v.complain("%s: %d changes wait to be told, or others: want %d", of, untold.count, sh.untold.count)
	case found.count != sh.entries.count:
		v.complain("%s has %d entries: want %d", of, found.count, sh.entries.count)
	case found.sum != sh.entries.sum && sound:
		v.complain("%s: one or more entries are older than they were", of)
	case !indexed:
		v.complain("%s: what has drifted is not all in the index", of)
	}
	return nil
}

// untold goes through the changes that wait to be told.
func (v *verification) untold(tx *bbolt.Tx, sh *shelf) (found tally, err error) {
	b := tx.Bucket(untoldBucket).Bucket(shelfName(sh.container))
	if b == nil {
		return found, nil
	}
	return found, b.ForEach(func(key, sealed []byte) error {
		_, element, err := v.mac.openUntold(sh.container, key, sealed)
		if err != nil {
			v.complain("%w", err)
			return nil
		}
		found.add(element)
		return nil
	})
}
