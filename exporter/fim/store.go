package fim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// What callers branch on.
var (
	// ErrTampered is wrapped by errors that say that somebody else has changed the store, or put an older one in its place.
	ErrTampered = errors.New("the baseline has been tampered with")
	// ErrCorrupt is wrapped by errors that say that the store cannot be read. It stays so until it is opened again.
	ErrCorrupt = errors.New("the baseline is corrupt")
	// ErrInUse is wrapped if another process has the store open.
	ErrInUse = errors.New("the baseline is in use by another process")
	// ErrIncomplete is wrapped if the baseline of a container or host has not been built to its end.
	ErrIncomplete = errors.New("the baseline is not complete")
)

// An Entry is what the store knows of one path: what should be there, and what was last seen there. The two are the same
// pointer unless the path has drifted. A nil is of nothing: what is not in the baseline, or is gone.
type Entry struct {
	Path Path
	Base *Record
	Now  *Record
}

// Drifted says whether what was last seen is not what should be.
func (e *Entry) Drifted() bool { return e.Base != e.Now }

// A Sight is what was seen at a path, nil if nothing was, and which of its attributes matter: none if it is not watched.
type Sight struct {
	Path Path
	Now  *Record
	Of   Attribute
}

// A Difference is between what was last known of a path and what is seen there now. Old is nil of what has been created, and
// New of what has been deleted. Only a scan sets From: what has a new name, and had that one.
type Difference struct {
	Path    Path
	From    string
	Base    *Record // what should be there; New may be back to it
	Old     *Record
	New     *Record
	Changed Attribute
}

// paths are the path, and what it was called before.
func (d *Difference) paths() []Path {
	if d.From == "" {
		return []Path{d.Path}
	}
	return []Path{d.Path, {d.Path.Container, d.From}}
}

// A Meta is what the store knows of the baseline of a container or of the host.
type Meta struct {
	Created   time.Time         `json:"created"`            // when it was begun
	Completed time.Time         `json:"completed,omitzero"` // when all of it was there for the first time; zero until then
	Scanned   time.Time         `json:"scanned,omitzero"`   // when the last whole scan ended
	Sets      string            `json:"sets,omitempty"`     // what was watched, in its owner's words: other paths are no creations
	Origin    string            `json:"origin,omitempty"`   // what it was imported from; empty if it was built here
	Watched   map[string]uint64 `json:"watched,omitempty"`  // files by watch set, as its owner has counted
	Files     uint64            `json:"-"`                  // paths where something was last seen; the store counts them
	Drifted   uint64            `json:"-"`                  // and those that are not what they should be
}

// StoreOptions say where the key of a store is, and how it is opened.
type StoreOptions struct {
	Key      string        // path of the key; empty is the store's path and .key. Its generation is kept beside it
	New      bool          // begin anew: what is there is removed, whatever it is, but for the key
	ReadOnly bool          // for a look at a store that nobody has open for writing
	Timeout  time.Duration // to wait for another process that has it open; 0 is two seconds
}

// A Store keeps the baseline in a file, and knows if anybody else has changed it. It is safe for concurrent use.
//
// Each entry carries a MAC of its path and content. What all of them are, is in a sum over them that no one without the key can
// compute, with their number and a generation that every write raises, under a MAC too. The generation is also kept beside the
// key, so that an older store, put in place of this one, is noticed. Whoever can read the key can forge a baseline: it belongs
// on another medium, or at least to nobody but root.
//
// Every write is a transaction: it is whole or has not happened, whenever the process is killed. Memory does not grow with the
// number of entries.
type Store struct {
	path     string
	readOnly bool
	secret   []byte
	counter  *counter
	file     *os.File
	db       *bbolt.DB

	mu     sync.Mutex // of broken
	broken error      // why nothing may be asked of db any more

	writing    sync.Mutex // of counter and generation; held while a transaction is written
	generation uint64
}

// Bounds of the store.
const (
	storeVersion  = 1
	batchEntries  = 1000      // of one transaction
	chunkEntries  = 256       // that are read at once
	chunkBytes    = 256 << 10 // and their bytes, beyond which none more is added
	unmapEntries  = 1 << 16   // after so many have been read, their pages are given back
	maxMeta       = 256 << 10 // bytes of a Meta
	maxContainer  = 1 << 10   // bytes of a container's id
	maxComplaints = 20        // of Verify
	fillPages     = 0.9       // entries come in order, and change little in size
	inUseTimeout  = 2 * time.Second
)

// Buckets. Those of containers lie within entriesBucket, driftBucket and untoldBucket, by shelfName.
var (
	storeBuckets = [][]byte{stateBucket, shelvesBucket, entriesBucket, driftBucket, untoldBucket}

	shelfBuckets = storeBuckets[2:]

	stateBucket   = []byte("state")
	shelvesBucket = []byte("shelves")
	entriesBucket = []byte("entries")
	driftBucket   = []byte("drift") // keys of the drifted, to find them; what they are is with the entries
	stateKey      = []byte("state")
)

// Open opens the store, or makes one, with a new key if there is none, where no store has been yet. Errors say what is wrong:
// ErrTampered, ErrCorrupt, ErrInUse, or what the system says of the files. Only Verify looks at every entry.
func Open(path string, o StoreOptions) (*Store, error) {
	s, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("open the baseline %s: %w", path, err)
	}
	return s, nil
}

func open(path string, o StoreOptions) (opened *Store, err error) {
	o.Key = cmp.Or(o.Key, path+".key")
	o.Timeout = cmp.Or(o.Timeout, inUseTimeout)
	if o.New && o.ReadOnly {
		return nil, errors.New("a new one cannot be read-only")
	}
	_, err = os.Lstat(path)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s := &Store{path: path, readOnly: o.ReadOnly}
	if s.secret, err = readKey(o.Key); errors.Is(err, fs.ErrNotExist) && !o.ReadOnly && (!exists || o.New) {
		s.secret, err = makeKey(o.Key)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	generation := o.Key + ".generation"
	if s.counter, err = s.openCounter(generation); err != nil && !o.New {
		return nil, err
	}
	switch neverWritten := s.counter == nil && !exists || s.counter != nil && s.counter.generation == 0; {
	case o.New, neverWritten && !o.ReadOnly:
		if err := s.begin(generation, exists, o.Timeout); err != nil {
			return nil, err
		}
	case neverWritten:
		return nil, fs.ErrNotExist
	case s.counter == nil:
		return nil, fmt.Errorf("%w: its generation %s is gone", ErrTampered, generation)
	case !exists:
		return nil, fmt.Errorf("%w: it is gone, after it was written %d times", ErrTampered, s.counter.generation)
	}
	if err := s.openDB(o.Timeout); err != nil {
		return nil, err
	}
	return s, s.checkState()
}

// begin makes place for a new store. That there is none is said beside the key first: killed in between, it is begun again.
func (s *Store) begin(generation string, exists bool, timeout time.Duration) error {
	if exists {
		f, err := os.OpenFile(s.path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close() // which gives the lock back
		if err := lockFile(f, timeout); err != nil {
			return err
		}
	}
	c, err := s.newCounter(generation)
	if err != nil {
		return err
	}
	if s.counter != nil {
		s.counter.close()
	}
	s.counter = c
	if exists {
		return os.Remove(s.path)
	}
	return nil
}

func lockFile(f *os.File, timeout time.Duration) error {
	for end := time.Now().Add(timeout); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK {
			return err
		}
		if time.Now().After(end) {
			return ErrInUse
		}
	}
}

func (s *Store) openDB(timeout time.Duration) error {
	err := s.guarded("open", func() (err error) {
		s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: timeout, ReadOnly: s.readOnly, NoStatistics: true, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(path string, flags int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, mode)
				s.file = f
				return f, err
			}})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w (waited %s)", ErrInUse, timeout)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// Close gives the file and its lock back.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var err error
	if s.counter != nil {
		err = s.counter.close()
	}
	if s.db != nil && s.why() == nil {
		return errors.Join(err, s.guarded("close", s.db.Close))
	}
	if s.file != nil { // after a panic, locks within db may be held for ever; what matters is that the file's is not
		unix.Flock(int(s.file.Fd()), unix.LOCK_UN) // which closing does not do, as long as the file is mapped
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// Size is how many bytes the store has on disk.
func (s *Store) Size() (int64, error) {
	fi, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Get returns what is known of a path: neither Base nor Now if nothing is.
func (s *Store) Get(p Path) (Entry, error) {
	e := Entry{Path: p}
	key, err := keyOf(p)
	if err != nil {
		return e, err
	}
	err = s.view(func(tx *bbolt.Tx) (err error) {
		e, err = readEntry(tx, s.newMAC(), p, key)
		return err
	})
	return e, s.failed("read", err)
}

// readEntry reads what is known of a path, whose key is given.
func readEntry(tx *bbolt.Tx, mac *storeMAC, p Path, key []byte) (Entry, error) {
	e := Entry{Path: p}
	b := tx.Bucket(entriesBucket).Bucket(shelfName(p.Container))
	if b == nil {
		return e, nil
	}
	sealed := b.Get(key)
	if sealed == nil {
		return e, nil
	}
	value, _, err := mac.open(entryKind, p.Container, key, sealed)
	if err == nil {
		e.Base, e.Now, err = decodeEntry(value)
	}
	if err != nil {
		return e, tampered(p, err)
	}
	return e, nil
}

func tampered(p Path, err error) error { return fmt.Errorf("%w: %s: %w", ErrTampered, whose(p), err) }

// failed says of which store an error is.
func (s *Store) failed(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s the baseline %s: %w", what, s.path, err)
	}
	return nil
}

// Put has the store know exactly what it is given of each path; an entry with neither Base nor Now is forgotten. So many as
// batchEntries are one transaction.
func (s *Store) Put(entries []Entry) error {
	return inBatches(s, entries, func(w *storeWriter, e *Entry) error { return w.put(e) })
}

// inBatches does something with each of many, so many as batchEntries in a transaction.
func inBatches[T any](s *Store, all []T, do func(w *storeWriter, one *T) error) error {
	for batch := range slices.Chunk(all, batchEntries) {
		err := s.update(func(w *storeWriter) error {
			for i := range batch {
				if err := do(w, &batch[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete forgets paths.
func (s *Store) Delete(paths ...Path) error {
	entries := make([]Entry, len(paths))
	for i, p := range paths {
		entries[i].Path = p
	}
	return s.Put(entries)
}

// Accept makes what was last seen at each path what should be there.
func (s *Store) Accept(paths ...Path) error {
	return inBatches(s, paths, func(w *storeWriter, p *Path) error { return w.accept(*p) })
}

// Learn has the store know what was seen, and returns how that differs from what it knew: each difference once, whoever else
// sees it. They are untold until Told says otherwise. Times, sizes and places that have changed without a difference are brought up to date. Who looks at the same path
// from several goroutines must see to it that the last one to look is the last one to be learnt from.
func (s *Store) Learn(sights []Sight) ([]Difference, error) {
	var all []Difference
	for batch := range slices.Chunk(sights, batchEntries) {
		if news, err := s.news(batch); err != nil {
			return all, err
		} else if !news {
			continue
		}
		some := len(all)
		err := inBatches(s, batch, func(w *storeWriter, seen *Sight) error {
			e, d, err := w.learn(seen)
			if err != nil {
				return err
			}
			if d.Changed != 0 {
				all = append(all, d)
				if err := w.differs(&d); err != nil {
					return err
				}
			}
			return w.put(&e)
		})
		if err != nil {
			return all[:some], err
		}
	}
	return all, nil
}

// news says whether there is anything to learn: most sights are of what is known, and no write is as cheap as none.
func (s *Store) news(sights []Sight) (bool, error) {
	for i := range sights {
		e, err := s.Get(sights[i].Path)
		if err != nil {
			return false, err
		}
		after, _ := learn(e, &sights[i])
		if !sameRecord(after.Base, e.Base) || !sameRecord(after.Now, e.Now) {
			return true, nil
		}
	}
	return false, nil
}

// settle has the store know what was seen as far as it makes no difference, and returns the rest. With taking, what is
// seen for the first time is what should be there.
func (s *Store) settle(sights []Sight, taking bool) (rest []suspect, err error) {
	for batch := range slices.Chunk(sights, batchEntries) {
		some := len(rest)
		err := inBatches(s, batch, func(w *storeWriter, seen *Sight) error {
			e, d, err := w.learn(seen)
			if err != nil {
				return err
			}
			switch {
			case d.Changed == 0:
			case taking && d.Old == nil && d.Base == nil:
				e.Base = e.Now
			default:
				rest = append(rest, suspect{d, seen.Of})
				return nil
			}
			return w.put(&e)
		})
		if err != nil {
			return rest[:some], err
		}
	}
	return rest, nil
}

// learn returns what is known after a sight, and how it differs from before.
func learn(e Entry, s *Sight) (Entry, Difference) {
	if s.Of == 0 {
		return e, Difference{}
	}
	now := s.Now
	if now != nil {
		now = now.withSum(e.Now)
	}
	d := Difference{Path: s.Path, Base: e.Base, Old: e.Now, New: now, Changed: Compare(e.Now, now, s.Of)}
	e.Now = now
	if Compare(e.Base, now, s.Of) == 0 {
		e.Base = now
	}
	return e, d
}

// Meta returns what is known of a container's baseline, or with "" of the host's: all zero if there is none.
func (s *Store) Meta(container string) (m Meta, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		sh, err := readShelf(tx, s.newMAC(), container)
		if sh != nil {
			m = sh.meta()
		}
		return err
	})
	return m, s.failed("read", err)
}

// SetMeta changes what is known of a container's baseline, and makes one if there is none. What the store counts stays.
func (s *Store) SetMeta(container string, change func(m *Meta)) error {
	return s.update(func(w *storeWriter) error {
		sh, err := w.shelf(container)
		if err == nil {
			change(&sh.Meta)
		}
		return err
	})
}

// Containers returns of whom there are baselines, in order: "" is the host.
func (s *Store) Containers() (all []string, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		all = all[:0]
		return tx.Bucket(shelvesBucket).ForEach(func(name, _ []byte) error {
			all = append(all, strings.TrimPrefix(string(name), "/"))
			return nil
		})
	})
	return all, s.failed("read", err)
}

// Forget removes the baseline of a container, or with "" of the host, even if its entries have been tampered with.
func (s *Store) Forget(container string) error {
	return s.update(func(w *storeWriter) error { return w.forget(container) })
}

// whose says of whom a path is, for people; without a name, who that is.
func whose(p Path) string {
	switch {
	case p.Container == "" && p.Name == "":
		return "the host"
	case p.Container == "":
		return fmt.Sprintf("%q", p.Name)
	case p.Name == "":
		return fmt.Sprintf("container %q", p.Container)
	}
	return fmt.Sprintf("%q of container %q", p.Name, p.Container)
}

func (sh *shelf) meta() Meta {
	m := sh.Meta
	m.Files, m.Drifted = sh.entries.files, sh.entries.drifted
	return m
}

// shelfName is the key of a container's baseline: a host's id is empty, and keys must not be.
func shelfName(container string) []byte { return []byte("/" + container) }

// A storeWriter is one transaction.
type storeWriter struct {
	s       *Store
	tx      *bbolt.Tx
	mac     *storeMAC
	state   storeState
	shelves map[string]*shelf
	arena   []byte // of values, which must stay as they are until the transaction is over
}

// update runs a transaction, which raises the generation.
func (s *Store) update(do func(w *storeWriter) error) error {
	if s.readOnly {
		return s.failed("write", errors.New("it was opened read-only"))
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.guarded("write", func() error {
		if err := s.checkFile(); err != nil {
			return err
		}
		return s.db.Update(func(tx *bbolt.Tx) (err error) {
			w := &storeWriter{s: s, tx: tx, mac: s.newMAC(), shelves: map[string]*shelf{}}
			if w.state, err = readState(tx, w.mac); err != nil {
				return err
			}
			if w.state.generation != s.generation {
				return fmt.Errorf("%w: it is of generation %d: want %d", ErrTampered, w.state.generation, s.generation)
			}
			if err := do(w); err != nil {
				return err
			}
			return w.finish()
		})
	})
	if err != nil {
		return s.failed("write", err)
	}
	s.generation++
	return s.failed("write the generation of", s.counter.set(s, s.generation))
}

// checkFile notices a file that was cut short before a read of what is missing can fault, or that nobody can find any more.
func (s *Store) checkFile() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.file.Fd()), &st); err != nil {
		return err
	}
	if st.Size < int64(4*os.Getpagesize()) {
		return fmt.Errorf("%w: it has been cut to %d bytes", ErrCorrupt, st.Size)
	}
	if st.Nlink == 0 {
		return fmt.Errorf("%w: it has been removed while it was in use", ErrTampered)
	}
	return nil
}

func (s *Store) view(do func(tx *bbolt.Tx) error) error {
	return s.guarded("read", func() error {
		if err := s.checkFile(); err != nil {
			return err
		}
		return s.db.View(do)
	})
}

// guarded makes errors of the panics and faults by which bbolt says that its pages are not what they should be. After one, the
// database is never touched again: its locks may be held by nobody.
func (s *Store) guarded(what string, do func() error) (err error) {
	if err := s.why(); err != nil {
		return err
	}
	fault, err := caught(do)
	if fault != nil {
		err = fmt.Errorf("%w: %s: %v", ErrCorrupt, what, fault)
		s.mu.Lock()
		s.broken = err
		s.mu.Unlock()
	}
	return err
}

// caught returns the panic or fault, if there was one, by which bbolt says that its pages are not what they should be.
func caught(do func() error) (fault any, err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() { fault = recover() }()
	return nil, do()
}

// unmapped takes the pages that were read from the memory of the process, where they would count as its own for ever; in the
// kernel's cache they stay. It is called within a transaction, which keeps the mapping.
func (s *Store) unmapped(tx *bbolt.Tx) {
	unix.Syscall(unix.SYS_MADVISE, s.db.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED) // if it fails, they stay
}

func (s *Store) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// checkState reads what is so of the whole store once it is opened, writes it if the store is new, and holds its generation
// against the one beside the key. Killed after a write, a process may have left the latter behind, which is made up for.
func (s *Store) checkState() error {
	none := false
	var st storeState
	err := s.view(func(tx *bbolt.Tx) (err error) {
		if b := tx.Bucket(stateBucket); b == nil || b.Get(stateKey) == nil {
			none = true
			return nil
		}
		st, err = readState(tx, s.newMAC())
		return err
	})
	if err != nil {
		return err
	}
	known := s.counter.generation
	switch {
	case none && (known > 0 || s.readOnly):
		return fmt.Errorf("%w: it is empty: want generation %d", ErrTampered, known)
	case none:
		return s.initialise()
	case st.id != s.counter.id:
		return fmt.Errorf("%w: it is another one than that whose generation is beside the key", ErrTampered)
	case st.generation < known:
		return fmt.Errorf("%w: it is an older one, of generation %d: want %d", ErrTampered, st.generation, known)
	}
	s.generation = st.generation
	if s.readOnly || st.generation == known {
		return nil
	}
	return s.counter.set(s, st.generation)
}

func (s *Store) initialise() error {
	s.generation = 1
	err := s.guarded("write", func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range storeBuckets {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			st := storeState{id: s.counter.id, generation: 1}
			return tx.Bucket(stateBucket).Put(stateKey, s.newMAC().sealState(&st))
		})
	})
	if err != nil {
		return err
	}
	if err := syncDir(s.path); err != nil {
		return err
	}
	return s.counter.set(s, 1)
}

func readState(tx *bbolt.Tx, mac *storeMAC) (st storeState, err error) {
	for _, name := range storeBuckets {
		if tx.Bucket(name) == nil {
			return st, fmt.Errorf("%w: its %s are gone", ErrTampered, name)
		}
	}
	if st, err = mac.openState(tx.Bucket(stateBucket).Get(stateKey)); err != nil {
		err = fmt.Errorf("%w: its state: %w", ErrTampered, err)
	}
	return st, err
}

// readShelf returns nil if there is no baseline of the container.
func readShelf(tx *bbolt.Tx, mac *storeMAC, container string) (*shelf, error) {
	sealed := tx.Bucket(shelvesBucket).Get(shelfName(container))
	if sealed == nil {
		return nil, nil
	}
	sh, err := mac.openShelf(container, sealed)
	if err != nil {
		return nil, tampered(Path{Container: container}, err)
	}
	return sh, nil
}

// shelf returns that of a container, which it makes if there is none.
func (w *storeWriter) shelf(container string) (*shelf, error) {
	if sh := w.shelves[container]; sh != nil {
		return sh, nil
	}
	if len(container) > maxContainer {
		return nil, fmt.Errorf("a container's id has %d bytes: want at most %d", len(container), maxContainer)
	}
	sh, err := readShelf(w.tx, w.mac, container)
	if err != nil {
		return nil, err
	}
	if sh == nil {
		sh = &shelf{container: container, Meta: Meta{Created: time.Now().UTC()}}
	}
	w.shelves[container] = sh
	return sh, nil
}

func (w *storeWriter) get(p Path) (Entry, error) {
	key, err := keyOf(p)
	if err != nil {
		return Entry{}, err
	}
	return readEntry(w.tx, w.mac, p, key)
}

// accept makes what was last seen at a path what should be there.
func (w *storeWriter) accept(p Path) error {
	e, err := w.get(p)
	if err != nil {
		return err
	}
	e.Base = e.Now
	return w.put(&e)
}

func (w *storeWriter) learn(s *Sight) (Entry, Difference, error) {
	e, err := w.get(s.Path)
	if err != nil {
		return e, Difference{}, err
	}
	e, d := learn(e, s)
	return e, d, nil
}

func (w *storeWriter) put(e *Entry) error {
	key, err := keyOf(e.Path)
	if err != nil {
		return err
	}
	sh, err := w.shelf(e.Path.Container)
	if err != nil {
		return err
	}
	name := shelfName(sh.container)
	entries, err := w.tx.Bucket(entriesBucket).CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	drift, err := w.tx.Bucket(driftBucket).CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	entries.FillPercent = fillPages
	if old := entries.Get(key); old != nil {
		value, element, err := w.mac.open(entryKind, sh.container, key, old)
		if err != nil {
			return tampered(e.Path, err)
		}
		sh.entries.remove(element)
		sh.entries.shape(value[1], ^uint64(0))
	}
	if e.Base == nil && e.Now == nil {
		return errors.Join(entries.Delete(key), drift.Delete(key))
	}
	start := len(w.arena)
	if w.arena, err = appendEntry(w.arena, e); err != nil {
		return fmt.Errorf("%s: %w", whose(e.Path), err)
	}
	tag, element := w.mac.seal(entryKind, sh.container, key, w.arena[start:])
	w.arena = append(w.arena, tag...)
	value := w.arena[start:len(w.arena):len(w.arena)]
	sh.entries.add(element)
	sh.entries.shape(value[1], 1)
	if value[1]&entryDrifted != 0 {
		err = drift.Put(key, []byte{1})
	} else {
		err = drift.Delete(key)
	}
	return errors.Join(err, entries.Put(key, value))
}

func (w *storeWriter) forget(container string) error {
	delete(w.shelves, container)
	name := shelfName(container)
	sh, err := readShelf(w.tx, w.mac, container)
	if sh == nil || err != nil {
		return err
	}
	w.state.shelves.remove(sh.element)
	if err := w.tx.Bucket(shelvesBucket).Delete(name); err != nil {
		return err
	}
	for _, parent := range shelfBuckets {
		if err := w.tx.Bucket(parent).DeleteBucket(name); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
			return err
		}
	}
	return nil
}

// finish writes what is so after all that was done.
func (w *storeWriter) finish() error {
	w.state.generation++
	for _, sh := range w.shelves {
		if sh.stored {
			w.state.shelves.remove(sh.element)
		}
		value, element, err := w.mac.sealShelf(sh, w.state.generation)
		if err != nil {
			return err
		}
		w.state.shelves.add(element)
		if err := w.tx.Bucket(shelvesBucket).Put(shelfName(sh.container), value); err != nil {
			return err
		}
	}
	return w.tx.Bucket(stateBucket).Put(stateKey, w.mac.sealState(&w.state))
}

// keyOf is the key of a path: its bytes, with NUL in place of the slashes. NUL is in no name, and comes before all that is, so
// that the order of keys is that of a walk: /a, /a/b, /a.b.
func keyOf(p Path) ([]byte, error) {
	if err := checkName(p.Name); err != nil {
		return nil, fmt.Errorf("%s: %w", whose(p), err)
	}
	return bytes.ReplaceAll([]byte(p.Name), []byte("/"), []byte{0}), nil
}

func nameOf(key []byte) string { return string(bytes.ReplaceAll(key, []byte{0}, []byte("/"))) }

// beneath says whether a key is another or lies beneath it.
func beneath(key, under []byte) bool {
	return bytes.HasPrefix(key, under) && (len(key) == len(under) || len(under) == 1 || key[len(under)] == 0)
}
