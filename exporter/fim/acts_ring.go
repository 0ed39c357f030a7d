package fim

import (
	"cmp"
	"hash/maphash"
	"iter"
)

// keysEach is how many keys one deed is found by: two names, the open file, and the process.
const keysEach = 4

// A deedRing keeps the latest deeds, in which those of one key are found, newest first. Each key's newest deed is in heads, by its hash,
// and each deed tells which one of that hash came before it. So nothing is taken out: where a deed is told of that has been
// overwritten, all before it have been, too.
type deedRing struct {
	deeds       []deed   // by sequence number
	heads       []uint64 // references
	from, next  uint64   // sequence numbers of the oldest deed that is there and of the next one, from 1
	bytes, most int      // of names
}

func newDeedRing(deeds, bytes int) deedRing {
	return deedRing{deeds: make([]deed, deeds), heads: make([]uint64, 2*deeds), from: 1, next: 1, most: bytes}
}

func (s *deedRing) len() int { return int(s.next - s.from) }

// A reference is the sequence number of a deed and which of its keys is meant; 0 is none.
func reference(sequence uint64, key int) uint64 { return sequence*keysEach + uint64(key) }

func (s *deedRing) at(sequence uint64) *deed { return &s.deeds[sequence%uint64(len(s.deeds))] }

// of are the deeds of a key, and perhaps some of others, newest first. They are the deedRing's own.
func (s *deedRing) of(key uint64) iter.Seq[*deed] {
	return func(yield func(*deed) bool) {
		for ref := s.heads[key%uint64(len(s.heads))]; ref/keysEach >= s.from; {
			d := s.at(ref / keysEach)
			which := ref % keysEach
			if d.keys[which] == key && !yield(d) {
				return
			}
			ref = d.older[which]
		}
	}
}

// keep adds a deed, with the number after the latest, or adds it to one that is much the same, and returns how many it has
// overwritten that nobody had asked for.
func (s *deedRing) keep(d *deed, number *uint64) (forgotten uint64) {
	d.keys = [keysEach]uint64{keyOfName(d.names[0].name), keyOfName(d.names[1].name), keyOfFile(d.opened), keyOfPID(d.id.PID)}
	if s.merge(d) {
		return 0
	}
	*number++
	d.number = *number
	size := len(d.names[0].name) + len(d.names[1].name)
	for s.from < s.next && (s.len() == len(s.deeds) || s.bytes+size > s.most) {
		oldest := s.at(s.from)
		if oldest.claimed == 0 {
			forgotten++
		}
		s.bytes -= len(oldest.names[0].name) + len(oldest.names[1].name)
		s.from++
	}
	s.bytes += size
	kept := s.at(s.next)
	*kept = *d
	for i, key := range kept.keys {
		if key != 0 {
			head := &s.heads[key%uint64(len(s.heads))]
			kept.older[i], *head = *head, reference(s.next, i)
		}
	}
	s.next++
	return forgotten
}

// key is the first that it has.
func (d *deed) key() uint64 { return cmp.Or(d.keys[0], d.keys[1], d.keys[2], d.keys[3]) }

// merge adds a deed to the latest of the same key if it is the same process's, of the same file, and follows upon it.
func (s *deedRing) merge(d *deed) bool {
	for o := range s.of(d.key()) {
		same := o.id == d.id && o.process == d.process && o.claimed == 0 && o.over == 0 && o.names[0].name == d.names[0].name &&
			o.names[1].name == d.names[1].name && o.ring == d.ring && (d.opened == openFile{} || d.opened == o.opened)
		if !same || d.last-o.first > uint64(mergeWithin) {
			return false
		}
		o.last = d.last
		o.file |= d.file
		for i := range o.names {
			o.names[i].what |= d.names[i].what
		}
		return true
	}
	return false
}

var keySeed = maphash.MakeSeed()

// Keys are never 0 but for what is not known.
func keyOfName(name string) uint64 {
	if name == "" {
		return 0
	}
	return maphash.String(keySeed, name) | 1<<63
}

func keyOfFile(f openFile) uint64 {
	if f == (openFile{}) {
		return 0
	}
	return maphash.Comparable(keySeed, f) | 1<<63
}

func keyOfPID(pid uint32) uint64 { return maphash.Comparable(keySeed, pid) | 1<<63 }
