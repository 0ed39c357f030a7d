package fim

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Everything in the store is under HMAC-SHA-512 with its key, over what it is of and what it says. Of the 64 bytes, 16 stand
// with it as its tag. 32 others are its element of a sum modulo 2^256, which stands for a whole set: one addition adds to it,
// whatever its size, and nobody who does not know the elements can find another set with the same sum. So that they cannot be
// told from the difference of two sums, a sum is written with a mask added that is another at each generation.
const (
	keySize = 32
	tagSize = 16

	entryKind   = 'e'
	untoldKind  = 'u'
	metaKind    = 'm'
	stateKind   = 's'
	maskKind    = 'k'
	counterKind = 'g'
)

var errMAC = errors.New("its MAC does not fit: it was changed, moved, or written with another key")

// A storeID tells a store from others with the same key.
type storeID [16]byte

// A sum256 is a number modulo 2^256, its least word first.
type sum256 [4]uint64

func (s *sum256) add(o sum256) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], o[i], carry)
	}
}

func (s *sum256) sub(o sum256) {
	var borrow uint64
	for i := range s {
		s[i], borrow = bits.Sub64(s[i], o[i], borrow)
	}
}

// A tally is of a set of keys and their values.
type tally struct {
	count   uint64
	files   uint64 // with something there
	drifted uint64
	sum     sum256
}

func (t *tally) add(element sum256) {
	t.count++
	t.sum.add(element)
}

func (t *tally) remove(element sum256) {
	t.count--
	t.sum.sub(element)
}

// A storeState is what is so of the whole store at a generation: its tally is of the shelves.
type storeState struct {
	id         storeID
	generation uint64
	shelves    tally
}

// shape counts n entries of a shape, or with the negative of 1 takes one away.
func (t *tally) shape(shape byte, n uint64) {
	if shape&entryDrifted != 0 {
		t.drifted += n
	}
	if shape&(entryDrifted|entryNow) != entryDrifted {
		t.files += n
	}
}

// A shelf is what is so of a container's entries, or of the host's.
type shelf struct {
	Meta
	container string
	entries   tally
	untold    tally
	stored    bool   // whether it is in the store
	element   sum256 // as it is there
}

// A storeMAC computes MACs. It belongs to one goroutine.
type storeMAC struct {
	h     hash.Hash
	what  []byte
	whole [sha512.Size]byte
}

func (s *Store) newMAC() *storeMAC { return &storeMAC{h: hmac.New(sha512.New, s.secret)} }

// seal returns the tag and the element of a value.
func (m *storeMAC) seal(kind byte, container string, key, value []byte) (tag []byte, element sum256) {
	m.what = append(binary.AppendUvarint(append(m.what[:0], kind), uint64(len(container))), container...)
	m.what = append(binary.AppendUvarint(m.what, uint64(len(key))), key...)
	m.h.Reset()
	m.h.Write(m.what)
	m.h.Write(value)
	m.h.Sum(m.whole[:0])
	for i := range element {
		element[i] = binary.LittleEndian.Uint64(m.whole[32+8*i:])
	}
	return m.whole[:tagSize], element
}

// open returns a value without its tag, and its element.
func (m *storeMAC) open(kind byte, container string, key, sealed []byte) ([]byte, sum256, error) {
	if len(sealed) < tagSize {
		return nil, sum256{}, errMAC
	}
	value, tag := sealed[:len(sealed)-tagSize], sealed[len(sealed)-tagSize:]
	want, element := m.seal(kind, container, key, value)
	if !hmac.Equal(want, tag) {
		return nil, sum256{}, errMAC
	}
	return value, element, nil
}

// mask is what is added to a sum that is written at a generation.
func (m *storeMAC) mask(name []byte, generation uint64) sum256 {
	_, mask := m.seal(maskKind, "", name, binary.LittleEndian.AppendUint64(nil, generation))
	return mask
}

func appendSum(b []byte, s sum256) []byte {
	for _, word := range s {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

func (m *storeMAC) sealState(st *storeState) []byte {
	sum := st.shelves.sum
	sum.add(m.mask(nil, st.generation))
	b := append([]byte{storeVersion}, st.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, st.generation)
	b = appendSum(binary.LittleEndian.AppendUint64(b, st.shelves.count), sum)
	tag, _ := m.seal(stateKind, "", nil, b)
	return append(b, tag...)
}

func (m *storeMAC) openState(sealed []byte) (st storeState, err error) {
	b, _, err := m.open(stateKind, "", nil, sealed)
	if err != nil {
		return st, err
	}
	if len(b) != 1+16+8+8+32 || b[0] != storeVersion {
		return st, fmt.Errorf("want version %d", storeVersion)
	}
	copy(st.id[:], b[1:])
	words := b[17:]
	st.generation, st.shelves.count = binary.LittleEndian.Uint64(words), binary.LittleEndian.Uint64(words[8:])
	st.shelves.sum = cutSum(words[16:])
	st.shelves.sum.sub(m.mask(nil, st.generation))
	return st, nil
}

// sealShelf writes a version, the generation at which it was written, the tallies and the Meta as JSON.
func (m *storeMAC) sealShelf(sh *shelf, generation uint64) ([]byte, sum256, error) {
	meta, err := json.Marshal(sh.Meta)
	if err != nil {
		return nil, sum256{}, err
	}
	if len(meta) > maxMeta {
		return nil, sum256{}, fmt.Errorf("what is known of the baseline of %s has %d bytes: want at most %d", whose(Path{Container: sh.container}), len(meta), maxMeta)
	}
	name := shelfName(sh.container)
	entries, untold := sh.entries.sum, sh.untold.sum
	entries.add(m.mask(name, generation))
	untold.add(m.mask(untoldName(name), generation))
	b := []byte{storeVersion}
	for _, n := range [...]uint64{generation, sh.entries.count, sh.entries.files, sh.entries.drifted, sh.untold.count} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(appendSum(appendSum(b, entries), untold), meta...)
	tag, element := m.seal(metaKind, "", name, b)
	return append(b, tag...), element, nil
}

func (m *storeMAC) openShelf(container string, sealed []byte) (*shelf, error) {
	sh := &shelf{container: container, stored: true}
	name := shelfName(container)
	b, element, err := m.open(metaKind, "", name, sealed)
	if err != nil {
		return nil, err
	}
	if len(b) < 1+5*8+2*32 || b[0] != storeVersion {
		return nil, fmt.Errorf("want version %d", storeVersion)
	}
	words := b[1:]
	sh.element = element
	sh.entries.count, sh.entries.files = binary.LittleEndian.Uint64(words[8:]), binary.LittleEndian.Uint64(words[16:])
	sh.entries.drifted = binary.LittleEndian.Uint64(words[24:])
	sh.untold.count = binary.LittleEndian.Uint64(words[32:])
	generation := binary.LittleEndian.Uint64(words)
	sh.entries.sum, sh.untold.sum = cutSum(words[40:]), cutSum(words[72:])
	sh.entries.sum.sub(m.mask(name, generation))
	sh.untold.sum.sub(m.mask(untoldName(name), generation))
	return sh, json.Unmarshal(words[104:], &sh.Meta)
}

// untoldName has the sum of a shelf's untold changes masked by another number than that of its entries.
func untoldName(name []byte) []byte { return append([]byte("untold "), name...) }

func cutSum(b []byte) (s sum256) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s
}

// readKey reads a key, which must be nobody else's to read.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("its key %s has mode %s: want a regular file of mode 0600 or 0400", path, fi.Mode())
	}
	key := make([]byte, keySize+1)
	n, err := io.ReadFull(f, key)
	if n != keySize || err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("its key %s has %d bytes or more: want %d", path, n, keySize)
	}
	return key[:keySize], nil
}

func makeKey(path string) ([]byte, error) {
	key := make([]byte, keySize)
	rand.Read(key)
	if err := replaceFile(path, key); err != nil {
		return nil, fmt.Errorf("make its key: %w", err)
	}
	return key, nil
}

// replaceFile writes a file of mode 0600 that is whole or not there.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which fails once it is renamed
	_, err = f.Write(content)
	err = cmp.Or(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return cmp.Or(err, syncDir(path))
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// A counter keeps the generation of a store beside its key. It has two places, for odd and even generations, of which a write
// that fails can spoil only the older.
type counter struct {
	file       *os.File
	id         storeID
	generation uint64 // 0 if the store has not been written for the first time
}

// counterSlot is the size of a place: disks write sectors of so many bytes as a whole.
const counterSlot = 512

// openCounter returns nil if there is none.
func (s *Store) openCounter(path string) (*counter, error) {
	flags := os.O_RDWR
	if s.readOnly {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("its generation: %w", err)
	}
	c := &counter{file: f}
	all := make([]byte, 2*counterSlot)
	if _, err = f.ReadAt(all, 0); err != nil && err != io.EOF {
		f.Close()
		return nil, fmt.Errorf("its generation: %w", err)
	}
	found := false
	for i := range 2 {
		b, _, err := s.newMAC().open(counterKind, "", nil, all[i*counterSlot:][:16+8+tagSize])
		if err != nil {
			continue
		}
		if generation := binary.LittleEndian.Uint64(b[16:]); !found || generation > c.generation {
			c.id, c.generation, found = storeID(b), generation, true
		}
	}
	if !found {
		f.Close()
		return nil, fmt.Errorf("%w: its generation %s was not written with this key", ErrTampered, path)
	}
	return c, nil
}

// newCounter says that a store with a new id is about to be made.
func (s *Store) newCounter(path string) (*counter, error) {
	c := &counter{}
	rand.Read(c.id[:])
	if err := replaceFile(path, append(c.slot(s), bytes.Repeat([]byte{0}, counterSlot)...)); err != nil {
		return nil, fmt.Errorf("make its generation: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("its generation: %w", err)
	}
	c.file = f
	return c, nil
}

// set writes a generation, once the store is on the disk. It does not wait until it is there itself: if the machine loses its
// power, the counter may stay behind, never run ahead.
func (c *counter) set(s *Store, generation uint64) error {
	c.generation = generation
	_, err := c.file.WriteAt(c.slot(s), int64(generation%2)*counterSlot)
	return err
}

func (c *counter) close() error { return errors.Join(c.file.Sync(), c.file.Close()) }

func (c *counter) slot(s *Store) []byte {
	b := binary.LittleEndian.AppendUint64(append(make([]byte, 0, counterSlot), c.id[:]...), c.generation)
	tag, _ := s.newMAC().seal(counterKind, "", nil, b)
	return append(b, tag...)[:counterSlot]
}
