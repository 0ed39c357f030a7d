package fim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// What an encoded entry holds, in its second byte; the first is its version.
const (
	entryBase    = 1 << iota // what should be there
	entryDrifted             // something else was seen
	entryNow                 // which is something, and not nothing
)

func appendEntry(b []byte, e *Entry) ([]byte, error) {
	shape, records := byte(0), make([]*Record, 0, 2)
	if e.Base != nil {
		shape |= entryBase
		records = append(records, e.Base)
	}
	if e.Drifted() && !sameRecord(e.Base, e.Now) {
		shape |= entryDrifted
		if e.Now != nil {
			shape |= entryNow
			records = append(records, e.Now)
		}
	}
	b = append(b, storeVersion, shape)
	for _, r := range records {
		if len(r.Target) > maxText || len(r.Unreadable) > maxText || len(r.Attributes) > maxAttributes {
			return nil, fmt.Errorf("a target of %d bytes, %d attributes and a reason of %d: want at most %d, %d and %d",
				len(r.Target), len(r.Attributes), len(r.Unreadable), maxText, maxAttributes, maxText)
		}
		b = appendRecord(b, r)
	}
	return b, nil
}

// decodeEntry keeps nothing of what it is given.
func decodeEntry(b []byte) (base, now *Record, err error) {
	shape, b, err := entryShape(b)
	if err != nil {
		return nil, nil, err
	}
	if shape&entryBase != 0 {
		base = new(Record)
		if b, err = decodeRecord(b, base); err != nil {
			return nil, nil, err
		}
	}
	now = base
	if shape&entryDrifted != 0 {
		now = nil
	}
	if shape&entryNow != 0 {
		now = new(Record)
		if b, err = decodeRecord(b, now); err != nil {
			return nil, nil, err
		}
	}
	if len(b) > 0 {
		return nil, nil, fmt.Errorf("%d bytes too many", len(b))
	}
	return base, now, nil
}

func entryShape(b []byte) (byte, []byte, error) {
	if len(b) < 2 || b[0] != storeVersion {
		return 0, nil, fmt.Errorf("want an entry of version %d", storeVersion)
	}
	switch b[1] {
	case entryBase, entryBase | entryDrifted, entryBase | entryDrifted | entryNow, entryDrifted | entryNow:
		return b[1], b[2:], nil
	}
	return 0, nil, fmt.Errorf("no entry has the shape %#x", b[1])
}

// Bounds of what a record may hold.
const (
	maxText       = 1 << 17
	maxAttributes = 1 << 15 // the kernel lists 64 KiB of names
)

var errShort = errors.New("it ends too early, or holds a number that is too large")

func appendRecord(b []byte, r *Record) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Modified))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Changed))
	for _, n := range [...]uint64{uint64(r.Mode), uint64(r.UID), uint64(r.GID), uint64(r.Size), r.Device, r.Inode, uint64(r.Links), uint64(r.Flags)} {
		b = binary.AppendUvarint(b, n)
	}
	if r.Summed {
		b = append(append(b, 1), r.Sum[:]...)
	} else {
		b = append(b, 0)
	}
	b = appendText(b, r.Target)
	b = appendText(b, r.Unreadable)
	b = binary.AppendUvarint(b, uint64(len(r.Attributes)))
	if len(r.Attributes) == 0 {
		return b
	}
	names := make([]string, 0, len(r.Attributes))
	for name := range r.Attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = appendText(appendText(b, name), r.Attributes[name])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeRecord reads a record, and returns what follows it.
func decodeRecord(b []byte, r *Record) ([]byte, error) {
	b, err := decodeStatus(b, r)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[0] > 1 {
		return nil, errShort
	}
	if r.Summed = b[0] == 1; r.Summed {
		if len(b) < 33 {
			return nil, errShort
		}
		copy(r.Sum[:], b[1:])
		b = b[32:]
	}
	b = b[1:]
	if r.Target, b, err = cutText(b); err != nil {
		return nil, err
	}
	if r.Unreadable, b, err = cutText(b); err != nil {
		return nil, err
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || n > maxAttributes {
		return nil, errShort
	}
	b = b[size:]
	last := ""
	for i := range n {
		var name, value string
		if name, b, err = cutText(b); err != nil {
			return nil, err
		}
		if value, b, err = cutText(b); err != nil {
			return nil, err
		}
		if i == 0 {
			r.Attributes = map[string]string{}
		} else if name <= last {
			return nil, fmt.Errorf("attribute %q after %q: want them in order", name, last)
		}
		r.Attributes[name], last = value, name
	}
	return b, nil
}

// decodeStatus reads the numbers of a record, without memory of its own.
func decodeStatus(b []byte, r *Record) ([]byte, error) {
	if len(b) < 16 {
		return nil, errShort
	}
	r.Modified, r.Changed = int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	b = b[16:]
	var n [8]uint64
	for i := range n {
		size := 0
		if n[i], size = binary.Uvarint(b); size <= 0 {
			return nil, errShort
		}
		b = b[size:]
	}
	if max(n[0], n[1], n[2], n[6], n[7]) > 1<<32-1 {
		return nil, errShort
	}
	r.Mode, r.UID, r.GID, r.Size = fs.FileMode(n[0]), uint32(n[1]), uint32(n[2]), int64(n[3])
	r.Device, r.Inode, r.Links, r.Flags = n[4], n[5], uint32(n[6]), uint32(n[7])
	return b, nil
}

func cutText(b []byte) (string, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > maxText || n > uint64(len(b)-size) {
		return "", nil, errShort
	}
	return string(b[size : size+int(n)]), b[size+int(n):], nil
}

// sameRecord says whether two records are the same in all they hold.
func sameRecord(a, b *Record) bool {
	return a == b || a != nil && b != nil && bytes.Equal(appendRecord(nil, a), appendRecord(nil, b))
}
