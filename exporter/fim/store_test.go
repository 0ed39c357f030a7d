package fim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func openStore(t testing.TB, path string, o StoreOptions) *Store {
	t.Helper()
	s, err := Open(path, o)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func newStore(t testing.TB) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "fim.db"), StoreOptions{})
}

// record is a plausible record, another one for each number.
func record(n int) *Record {
	return &Record{Mode: 0o644, Size: int64(n), Device: 0x800002, Inode: uint64(1000 + n), Modified: 1_700_000_000_000_000_000 + int64(n),
		Changed: 1_700_000_000_000_000_000 + int64(n), Links: 1, Sum: [32]byte{byte(n), byte(n >> 8)}, Summed: true}
}

func settled(container, name string, n int) Entry {
	r := record(n)
	return Entry{Path: Path{container, name}, Base: r, Now: r}
}

func all(t testing.TB, s *Store, under Path) (entries []Entry) {
	t.Helper()
	must(t, s.Each(under, func(e *Entry) error {
		entries = append(entries, *e)
		return nil
	}))
	return entries
}

func names(entries []Entry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Path.Name)
	}
	return all
}

func TestStoreKeepsWhatItIsGiven(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	full := &Record{Mode: fs.ModeSymlink | fs.ModeSetuid | 0o777, UID: 1<<32 - 1, GID: 1<<32 - 2, Size: 1<<63 - 1, Device: 1<<64 - 1, Inode: 1<<64 - 1,
		Modified: -1, Changed: -1 << 63, Links: 1<<32 - 1, Target: "to\x00\xff\n", Attributes: map[string]string{"": "", "user.\xff": "\x00", "user.long": strings.Repeat("x", 4096)},
		Flags: 0x30 | Fresh, Sum: [32]byte{1, 31: 2}, Summed: true, Unreadable: "why not"}
	empty := &Record{}
	want := []Entry{
		{Path{"", "/"}, empty, empty},
		{Path{"", "/as it should be"}, full, full},
		{Path{"", "/created"}, nil, full},
		{Path{"", "/drifted"}, full, empty},
		{Path{"", "/gone"}, full, nil},
		{Path{"", "/new\nline"}, record(1), record(2)},
		{Path{"", "/not UTF-8 \xff"}, record(3), nil},
		{Path{"", "/" + strings.Repeat("long/", 6000) + "name"}, record(4), nil},
		{Path{"container", "/"}, record(5), nil},
	}
	must(t, s.Put(want))
	for range 2 {
		for _, e := range want {
			got, err := s.Get(e.Path)
			if err != nil || cmp.Diff(e, got) != "" || got.Drifted() != e.Drifted() {
				t.Errorf("Get(%.40q): %v\n%s", e.Path, err, cmp.Diff(e, got))
			}
		}
		if e, err := s.Get(Path{"container", "/drifted"}); err != nil || e.Base != nil || e.Now != nil {
			t.Errorf("of another container: %+v, %v", e, err)
		}
		if m, err := s.Meta(""); err != nil || m.Files != 5 || m.Drifted != 6 {
			t.Errorf("Meta: %+v, %v, want 5 files and 6 drifted", m, err)
		}
		if got, err := s.Containers(); err != nil || !slices.Equal(got, []string{"", "container"}) {
			t.Errorf("Containers: %q, %v", got, err)
		}
		must(t, s.Verify(t.Context()))
		must(t, s.Close())
		s = openStore(t, path, StoreOptions{})
	}
	var drifted []string
	must(t, s.EachDrifted(Path{"", "/"}, func(e *Entry) error {
		drifted = append(drifted, e.Path.Name)
		return s.Accept(e.Path)
	}))
	if len(drifted) != 6 || !slices.IsSortedFunc(drifted, func(a, b string) int {
		return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
	}) {
		t.Errorf("drifted: %.40q", drifted)
	}
	if m, err := s.Meta(""); err != nil || m.Drifted != 0 || m.Files != 5 {
		t.Errorf("Meta after all was accepted: %+v, %v", m, err)
	}
	must(t, s.Delete(Path{"", "/created"}, Path{"", "/unknown"}))
	if e, err := s.Get(Path{"", "/created"}); err != nil || e.Now != nil || e.Base != nil {
		t.Errorf("deleted: %+v, %v", e, err)
	}
	must(t, s.Forget("container"))
	if got, err := s.Containers(); err != nil || !slices.Equal(got, []string{""}) {
		t.Errorf("Containers after one was forgotten: %q, %v", got, err)
	}
	must(t, s.Verify(t.Context()))
}

func TestStoreRefusesWhatIsNoPath(t *testing.T) {
	s := newStore(t)
	for _, p := range []Path{{"", ""}, {"", "relative"}, {"", "/not/../clean"}, {"", "/slash/"}, {"", "/nul\x00"}, {"", "/" + strings.Repeat("x", maxName)},
		{strings.Repeat("c", maxContainer+1), "/"}} {
		if err := s.Put([]Entry{{p, record(1), nil}}); err == nil {
			t.Errorf("Put(%.40q) does not fail", p)
		}
	}
	long := record(1)
	long.Target = strings.Repeat("x", maxText+1)
	if err := s.Put([]Entry{{Path{"", "/x"}, long, long}}); err == nil {
		t.Error("a target that is too long: no error")
	}
	must(t, s.Verify(t.Context()))
}

// TestStoreGoesThroughPathsAsAWalkDoes holds the order and the extent of Each against names that sort otherwise as bytes.
func TestStoreGoesThroughPathsAsAWalkDoes(t *testing.T) {
	s := newStore(t)
	want := []string{"/", "/a", "/a/b", "/a/b/c", "/a/b.c", "/a\x01", "/a b", "/a!", "/a-", "/a.", "/a.b", "/a.b/c", "/aa", "/b", "/\xff"}
	entries := []Entry{}
	for i, name := range want {
		entries = append(entries, settled("", name, i))
	}
	rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	must(t, s.Put(entries))
	for under, want := range map[string][]string{
		"/":     want,
		"/a":    {"/a", "/a/b", "/a/b/c", "/a/b.c"},
		"/a.b":  {"/a.b", "/a.b/c"},
		"/b":    {"/b"},
		"/none": nil,
	} {
		if got := names(all(t, s, Path{"", under})); !slices.Equal(got, want) {
			t.Errorf("under %q: %q, want %q", under, got, want)
		}
	}
}

func TestEachGoesOnWhileItsCallerWrites(t *testing.T) {
	s := newStore(t)
	var entries []Entry
	for i := range 3*chunkEntries + 7 {
		entries = append(entries, settled("", fmt.Sprintf("/%05d", i), i))
	}
	must(t, s.Put(entries))
	seen := 0
	must(t, s.Each(Path{"", "/"}, func(e *Entry) error {
		seen++
		if seen%100 == 0 {
			return s.Delete(e.Path)
		}
		return nil
	}))
	if seen != len(entries) {
		t.Errorf("%d of %d entries", seen, len(entries))
	}
	stop := errors.New("stop")
	if err := s.Each(Path{"", "/"}, func(*Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's error: %v", err)
	}
}

func TestLearnTellsEachDifferenceOnce(t *testing.T) {
	s := newStore(t)
	p := Path{"", "/file"}
	touched := func(r *Record) *Record {
		c := *r
		c.Modified++
		c.Inode++
		return &c
	}
	a, b, m := record(1), record(2), record(1)
	b.Size = 1
	m.Mode = 0o600
	for i, step := range []struct {
		name    string
		now     *Record
		of      Attribute
		changed Attribute // 0: nothing is told
		drifted bool
		files   uint64
	}{
		{"nothing of nothing", nil, Everything, 0, false, 0},
		{"created, unwatched", a, 0, 0, false, 0},
		{"created", a, Everything, Everything, true, 1},
		{"again", a, Everything, 0, true, 1},
		{"deleted: as it should be", nil, Everything, Everything, false, 0},
		{"created again", a, Everything, Everything, true, 1},
		{"(accepted)", nil, 0, 0, false, 1},
		{"touched", touched(a), Everything, 0, false, 1},
		{"content", b, Everything, Content, true, 1},
		{"again", b, Everything, 0, true, 1},
		{"touched since", touched(b), Everything, 0, true, 1},
		{"back", a, Everything, Content, false, 1},
		{"mode, which is not asked for", m, Content, 0, false, 1},
		{"mode, which is", a, Everything, Mode, true, 1},
		{"mode back", m, Everything, Mode, false, 1},
		{"deleted", nil, Everything, Everything, true, 0},
		{"deleted, again", nil, Everything, 0, true, 0},
		{"there again", m, Everything, Everything, false, 1},
	} {
		if step.name == "(accepted)" {
			must(t, s.Accept(p))
		}
		before, err := s.Get(p)
		must(t, err)
		got, err := s.Learn([]Sight{{p, step.now, step.of}})
		must(t, err)
		var want []Difference
		if step.changed != 0 {
			want = []Difference{{Path: p, Base: before.Base, Old: before.Now, New: step.now, Changed: step.changed}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d, %s: %s", i, step.name, diff)
		}
		e, err := s.Get(p)
		must(t, err)
		meta, err := s.Meta("")
		must(t, err)
		if e.Drifted() != step.drifted || meta.Files != step.files || meta.Drifted != map[bool]uint64{true: 1}[step.drifted] {
			t.Errorf("%d, %s: drifted %t, meta %+v, want %t, %d files", i, step.name, e.Drifted(), meta, step.drifted, step.files)
		}
		if step.of != 0 && !sameRecord(e.Now, step.now) {
			t.Errorf("%d, %s: not what was seen is known: %+v", i, step.name, e.Now)
		}
	}
	must(t, s.Verify(t.Context()))
}

func TestLearnWritesNothingIfThereIsNothingNew(t *testing.T) {
	s := newStore(t)
	must(t, s.Put([]Entry{settled("", "/file", 1)}))
	before := s.generation
	if _, err := s.Learn([]Sight{{Path{"", "/file"}, record(1), Everything}, {Path{"", "/nothing"}, nil, Everything}}); err != nil || s.generation != before {
		t.Errorf("generation %d, %v, want %d", s.generation, err, before)
	}
}

func TestMetaIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	at := time.Unix(1_700_000_000, 123).UTC()
	want := Meta{Created: at, Completed: at.Add(1), Scanned: at.Add(2), Sets: "sets", Origin: "elsewhere", Watched: map[string]uint64{"etc": 7}}
	must(t, s.SetMeta("", func(m *Meta) { *m = want }))
	must(t, s.Put([]Entry{settled("", "/x", 1)}))
	must(t, s.Close())
	want.Files = 1
	if got, err := openStore(t, path, StoreOptions{}).Meta(""); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	if err := openStore(t, filepath.Join(t.TempDir(), "fim.db"), StoreOptions{}).SetMeta("", func(m *Meta) { m.Sets = strings.Repeat("x", maxMeta) }); err == nil {
		t.Error("a Meta without bounds: no error")
	}
}

// tampered is a store with something in it, closed, and a copy of it and its generation at each step.
func tamperedStore(t *testing.T) (path string, copies []string) {
	path = filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	keep := func() {
		must(t, s.Close())
		c := t.TempDir()
		run(t, "cp", path, path+".key", path+".key.generation", c)
		copies = append(copies, c)
		s = openStore(t, path, StoreOptions{})
	}
	keep()
	must(t, s.Put([]Entry{settled("", "/a", 1), settled("", "/b", 2), settled("", "/c", 3), settled("container", "/a", 1), settled("other", "/a", 5)}))
	keep()
	must(t, s.Put([]Entry{settled("", "/a", 6), {Path{"", "/drifted"}, record(7), record(8)}}))
	keep()
	must(t, s.Close())
	return path, copies
}

// edit changes a store as one would who has bbolt but not the key.
func edit(t *testing.T, path string, do func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	must(t, err)
	must(t, db.Update(do))
	must(t, db.Close())
}

// TestTamperingIsNoticed has somebody change the store who has all but the key.
func TestTamperingIsNoticed(t *testing.T) {
	host, container := shelfName(""), shelfName("container")
	key := func(name string) []byte { return []byte(strings.ReplaceAll(name, "/", "\x00")) }
	entries := func(tx *bbolt.Tx, of []byte) *bbolt.Bucket { return tx.Bucket(entriesBucket).Bucket(of) }
	// old reads a value from an older copy.
	old := func(t *testing.T, dir string, read func(tx *bbolt.Tx) []byte) (value []byte) {
		edit(t, filepath.Join(dir, "fim.db"), func(tx *bbolt.Tx) error {
			value = bytes.Clone(read(tx))
			return nil
		})
		return value
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, path string, copies []string)
		says string
	}{
		{"a record is changed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				b := bytes.Clone(entries(tx, host).Get(key("/b")))
				b[len(b)/2] ^= 1
				return entries(tx, host).Put(key("/b"), b)
			})
		}, `"/b": its MAC does not fit`},
		{"a record is cut", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return entries(tx, host).Put(key("/b"), []byte{1}) })
		}, `"/b": its MAC does not fit`},
		{"two records change places", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				b := entries(tx, host)
				one, two := bytes.Clone(b.Get(key("/b"))), bytes.Clone(b.Get(key("/c")))
				return errors.Join(b.Put(key("/b"), two), b.Put(key("/c"), one))
			})
		}, `"/c": its MAC does not fit`},
		{"a record goes to another container", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				return entries(tx, container).Put(key("/a"), bytes.Clone(entries(tx, shelfName("other")).Get(key("/a"))))
			})
		}, `"/a" of container "container": its MAC does not fit`},
		{"a record is removed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return entries(tx, host).Delete(key("/b")) })
		}, "the host has 3 entries: want 4"},
		{"a record is added", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return entries(tx, host).Put(key("/new"), entries(tx, host).Get(key("/b"))) })
		}, `"/new": its MAC does not fit`},
		{"an older record is put back", func(t *testing.T, path string, copies []string) {
			was := old(t, copies[1], func(tx *bbolt.Tx) []byte { return entries(tx, host).Get(key("/a")) })
			edit(t, path, func(tx *bbolt.Tx) error { return entries(tx, host).Put(key("/a"), was) })
		}, "the host: one or more entries are older"},
		{"all records of a container and what is known of them are put back", func(t *testing.T, path string, copies []string) {
			was := old(t, copies[1], func(tx *bbolt.Tx) []byte { return entries(tx, host).Get(key("/a")) })
			shelf := old(t, copies[1], func(tx *bbolt.Tx) []byte { return tx.Bucket(shelvesBucket).Get(host) })
			edit(t, path, func(tx *bbolt.Tx) error {
				return errors.Join(entries(tx, host).Put(key("/a"), was), entries(tx, host).Delete(key("/drifted")), tx.Bucket(shelvesBucket).Put(host, shelf))
			})
		}, "the baseline of a container or of the host is an older one"},
		{"a container is removed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				return errors.Join(tx.Bucket(entriesBucket).DeleteBucket(container), tx.Bucket(driftBucket).DeleteBucket(container), tx.Bucket(shelvesBucket).Delete(container))
			})
		}, "it has baselines of 2 containers and hosts: want 3"},
		{"what is known of a container is removed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(shelvesBucket).Delete(container) })
		}, `entries of container "container" are there without its baseline`},
		{"what is known of a container is changed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				b := bytes.Clone(tx.Bucket(shelvesBucket).Get(container))
				b[len(b)-tagSize-1] ^= 1
				return tx.Bucket(shelvesBucket).Put(container, b)
			})
		}, `container "container": its MAC does not fit`},
		{"a drift is hidden from the index", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(driftBucket).Bucket(host).Delete(key("/drifted")) })
		}, "what has drifted is not all in the index"},
		{"a bucket is added", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("mine")); return err })
		}, `"mine" is not the store's`},
		{"a bucket stands where a record was", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				_, err := entries(tx, host).CreateBucket(key("/d"))
				return err
			})
		}, `"/d": its MAC does not fit`},
		{"a bucket is removed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket(driftBucket) })
		}, "its drift are gone"},
		{"the state is changed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				b := bytes.Clone(tx.Bucket(stateBucket).Get(stateKey))
				b[20]++
				return tx.Bucket(stateBucket).Put(stateKey, b)
			})
		}, "its state: its MAC does not fit"},
		{"the state is removed", func(t *testing.T, path string, _ []string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(stateBucket).Delete(stateKey) })
		}, "it is empty: want generation 3"},
		{"the whole store is an older one", func(t *testing.T, path string, copies []string) {
			run(t, "cp", filepath.Join(copies[1], "fim.db"), path)
		}, "it is an older one, of generation 2: want 3"},
		{"the whole store is the first one", func(t *testing.T, path string, copies []string) {
			run(t, "cp", filepath.Join(copies[0], "fim.db"), path)
		}, "it is an older one, of generation 1: want 3"},
		{"the store is removed", func(t *testing.T, path string, _ []string) {
			must(t, os.Remove(path))
		}, "it is gone, after it was written 3 times"},
		{"the store is emptied", func(t *testing.T, path string, _ []string) {
			must(t, os.Truncate(path, 0))
		}, "it is empty: want generation 3"},
		{"the generation is removed", func(t *testing.T, path string, _ []string) {
			must(t, os.Remove(path+".key.generation"))
		}, "its generation " /* PATH is gone */},
		{"the generation is overwritten", func(t *testing.T, path string, _ []string) {
			must(t, os.WriteFile(path+".key.generation", bytes.Repeat([]byte{1}, 2*counterSlot), 0o600))
		}, "was not written with this key"},
		{"the store is another one", func(t *testing.T, path string, _ []string) {
			other := filepath.Join(t.TempDir(), "fim.db")
			run(t, "cp", path+".key", other+".key")
			s := openStore(t, other, StoreOptions{})
			for i := range 5 {
				must(t, s.Put([]Entry{settled("", "/a", i)}))
			}
			must(t, s.Close())
			run(t, "cp", other, path)
		}, "it is another one than that whose generation is beside the key"},
		{"the key is another one", func(t *testing.T, path string, _ []string) {
			must(t, os.WriteFile(path+".key", bytes.Repeat([]byte{1}, keySize), 0o600))
		}, "was not written with this key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, copies := tamperedStore(t)
			tt.do(t, path, copies)
			s, err := Open(path, StoreOptions{})
			if err == nil {
				err = s.Verify(t.Context())
				s.Close()
			}
			if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v\nwant ErrTampered, and %q", err, tt.says)
			}
			s, err = Open(path, StoreOptions{New: true}) // whatever has happened, one can begin anew
			must(t, err)
			must(t, s.Put([]Entry{settled("", "/a", 1)}))
			must(t, s.Verify(t.Context()))
			must(t, s.Close())
			openStore(t, path, StoreOptions{})
		})
	}
}

// TestTamperedRecordsAreNotUsed asks for them without Verify.
func TestTamperedRecordsAreNotUsed(t *testing.T) {
	path, _ := tamperedStore(t)
	edit(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket(entriesBucket).Bucket(shelfName(""))
		value := bytes.Clone(b.Get([]byte("\x00b")))
		value[10] ^= 1
		return b.Put([]byte("\x00b"), value)
	})
	s := openStore(t, path, StoreOptions{})
	_, err := s.Get(Path{"", "/b"})
	_, learned := s.Learn([]Sight{{Path{"", "/b"}, record(9), Everything}})
	for what, err := range map[string]error{
		"Get":    err,
		"Learn":  learned,
		"Each":   s.Each(Path{"", "/"}, func(*Entry) error { return nil }),
		"Put":    s.Put([]Entry{settled("", "/b", 9)}),
		"Delete": s.Delete(Path{"", "/b"}),
		"Accept": s.Accept(Path{"", "/b"}),
	} {
		if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), `"/b"`) {
			t.Errorf("%s: %v, want ErrTampered and the path", what, err)
		}
	}
	must(t, s.Forget("")) // the host's baseline may be built anew
	must(t, s.Verify(t.Context()))
}

// TestKeyIsNotTold looks for the key in all that the store says and writes.
func TestKeyIsNotTold(t *testing.T) {
	path, _ := tamperedStore(t)
	key, err := os.ReadFile(path + ".key")
	must(t, err)
	for _, name := range []string{path, path + ".key.generation"} {
		if content, err := os.ReadFile(name); err != nil || bytes.Contains(content, key) {
			t.Errorf("%s holds the key (%v)", name, err)
		}
	}
	for _, name := range []string{path, path + ".key", path + ".key.generation"} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", name, fi.Mode(), err)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		mode os.FileMode
		says string
	}{
		"others may read it": {keySize, 0o644, "want a regular file of mode 0600 or 0400"},
		"too short":          {keySize - 1, 0o600, "want 32"},
		"too long":           {keySize + 1, 0o600, "want 32"},
		"empty":              {0, 0o600, "want 32"},
		"read-only":          {keySize, 0o400, ""},
	} {
		dir := t.TempDir()
		key := filepath.Join(dir, "key")
		must(t, os.WriteFile(key, bytes.Repeat([]byte{7}, tt.size), 0o600))
		must(t, os.Chmod(key, tt.mode))
		s, err := Open(filepath.Join(dir, "fim.db"), StoreOptions{Key: key})
		if tt.says == "" {
			must(t, err)
			must(t, s.Close())
		} else if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}

// TestCorruptPagesAreErrors overwrites each page in turn: nothing may panic, hang or be taken for sound.
func TestCorruptPagesAreErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	var entries []Entry
	for i := range 2000 {
		entries = append(entries, settled("", fmt.Sprintf("/%06d", i), i))
	}
	must(t, s.Put(entries))
	must(t, s.Put([]Entry{settled("", "/x", 1)}))
	used, page := int64(0), int64(os.Getpagesize())
	must(t, s.db.View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }))
	must(t, s.Close())
	sound, err := os.ReadFile(path)
	must(t, err)
	generation, err := os.ReadFile(path + ".key.generation")
	must(t, err)
	broken := 0
	for name, with := range map[string]func(b []byte){
		"zeros":  func(b []byte) { clear(b) },
		"ones":   func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) },
		"header": func(b []byte) { copy(b[8:], "\xff\xff\xff\xff\xff\xff\xff\xff") },
		"middle": func(b []byte) { copy(b[len(b)/2:], "\xff\xff\xff\xff\xff\xff\xff\xff") },
	} {
		for at := int64(0); at < used; at += page {
			b := bytes.Clone(sound)
			with(b[at : at+page])
			must(t, os.WriteFile(path, b, 0o600))
			must(t, os.WriteFile(path+".key.generation", generation, 0o600))
			s, err := Open(path, StoreOptions{})
			if err == nil {
				err = s.Verify(t.Context())
				if put := s.Put([]Entry{settled("", "/000000", 5), settled("", "/002000", 5)}); put != nil && !errors.Is(put, ErrCorrupt) && !errors.Is(put, ErrTampered) {
					t.Errorf("page %d with %s: Put: %v", at/page, name, put)
				}
				must(t, s.Close())
			}
			if err == nil {
				continue // one of two pages that tell where all others are, a free page, or one of the freelist
			}
			if broken++; !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTampered) {
				t.Errorf("page %d with %s: %v", at/page, name, err)
			}
		}
	}
	if pages := int(used / page); broken < pages {
		t.Errorf("only %d of 4 times %d changes were noticed", broken, pages)
	}
}

func TestStoresThatCannotBeOpened(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(t *testing.T, path string)
		want error
		says string
	}{
		"garbage":   {func(t *testing.T, path string) { write(t, path, strings.Repeat("garbage\n", 10_000)) }, ErrCorrupt, "invalid database"},
		"short":     {func(t *testing.T, path string) { write(t, path, "short") }, ErrCorrupt, ""},
		"cut":       {func(t *testing.T, path string) { must(t, os.Truncate(path, 3*int64(os.Getpagesize()))) }, ErrCorrupt, ""},
		"directory": {func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) }, nil, "is a directory"},
		"link": {func(t *testing.T, path string) {
			must(t, os.Rename(path, path+"2"))
			must(t, os.Symlink(path+"2", path))
		}, nil, "too many levels of symbolic links"},
	} {
		path, _ := tamperedStore(t)
		tt.do(t, path)
		_, err := Open(path, StoreOptions{})
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v and %q", name, err, tt.want, tt.says)
		}
	}
}

// TestStoreThatIsCutWhileItIsOpen takes pages away beneath the mapping: reading them faults.
func TestStoreThatIsCutWhileItIsOpen(t *testing.T) {
	for _, pages := range []int64{0, 1, 4, 20} {
		path := filepath.Join(t.TempDir(), "fim.db")
		s := openStore(t, path, StoreOptions{})
		var entries []Entry
		for i := range 2000 {
			entries = append(entries, settled("", fmt.Sprintf("/%06d", i), i))
		}
		must(t, s.Put(entries))
		must(t, os.Truncate(path, pages*int64(os.Getpagesize())))
		if err := s.Verify(t.Context()); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTampered) {
			t.Errorf("%d pages: Verify: %v", pages, err)
		}
		if err := s.Put(entries); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTampered) {
			t.Errorf("%d pages: Put: %v", pages, err)
		}
		must(t, s.Close())
	}
}

func TestStoreThatIsRemovedWhileItIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	must(t, os.Remove(path))
	if err := s.Put([]Entry{settled("", "/a", 1)}); !errors.Is(err, ErrTampered) {
		t.Errorf("%v, want ErrTampered", err)
	}
}

// child runs this test binary again, with only one test, which finds the argument in its environment.
func child(t *testing.T, test, argument string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe", "-test.run=^"+test+"$", "-test.v")
	c.Env = append(os.Environ(), "FIM_TEST_CHILD="+argument)
	return c
}

func TestStoreThatAnotherProcessHasOpen(t *testing.T) {
	if path := os.Getenv("FIM_TEST_CHILD"); path != "" {
		_, err := Open(path, StoreOptions{Timeout: 100 * time.Millisecond})
		fmt.Printf("in use: %t\n", errors.Is(err, ErrInUse))
		_, err = Open(path, StoreOptions{Timeout: 100 * time.Millisecond, New: true})
		fmt.Printf("in use for a new one: %t\n", errors.Is(err, ErrInUse))
		_, err = Open(path, StoreOptions{Timeout: 100 * time.Millisecond, ReadOnly: true})
		fmt.Printf("in use for reading: %t\n", errors.Is(err, ErrInUse))
		return
	}
	path := filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	out, err := child(t, "TestStoreThatAnotherProcessHasOpen", path).CombinedOutput()
	for _, want := range []string{"in use: true", "in use for a new one: true", "in use for reading: true"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, want %q\n%s", err, want, out)
		}
	}
	must(t, s.Put([]Entry{settled("", "/a", 1)}))
	must(t, s.Verify(t.Context()))
}

func TestStoreIsOpenedReadOnlyByMany(t *testing.T) {
	path, _ := tamperedStore(t)
	one, two := openStore(t, path, StoreOptions{ReadOnly: true}), openStore(t, path, StoreOptions{ReadOnly: true})
	must(t, one.Verify(t.Context()))
	if got := names(all(t, two, Path{"", "/"})); len(got) != 4 {
		t.Errorf("%q", got)
	}
	if err := two.Put([]Entry{settled("", "/a", 1)}); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("Put: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.db"), StoreOptions{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
}

// mounted mounts a file system in memory of so many bytes.
func mounted(t *testing.T, size int) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("fim-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestStoreOnAReadOnlyFileSystem(t *testing.T) {
	dir := mounted(t, 16<<20)
	path := filepath.Join(dir, "fim.db")
	s := openStore(t, path, StoreOptions{})
	must(t, s.Put([]Entry{settled("", "/a", 1)}))
	must(t, s.Close())
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := Open(path, StoreOptions{}); !errors.Is(err, unix.EROFS) {
		t.Errorf("%v, want EROFS", err)
	}
	s = openStore(t, path, StoreOptions{ReadOnly: true})
	must(t, s.Verify(t.Context()))
	if e, err := s.Get(Path{"", "/a"}); err != nil || e.Base == nil {
		t.Errorf("%+v, %v", e, err)
	}
	must(t, s.Close())
	if _, err := Open(filepath.Join(dir, "other.db"), StoreOptions{}); !errors.Is(err, unix.EROFS) {
		t.Errorf("a new one: %v, want EROFS", err)
	}
}

// TestStoreOnAFullDisk fills it: what was written before stays, and goes on once there is room.
func TestStoreOnAFullDisk(t *testing.T) {
	dir := mounted(t, 2<<20)
	path := filepath.Join(dir, "fim.db")
	s := openStore(t, path, StoreOptions{})
	written := 0
	var err error
	for err == nil && written < 100_000 {
		var batch []Entry
		for i := range 500 {
			batch = append(batch, settled("", fmt.Sprintf("/%06d", written+i), written+i))
		}
		if err = s.Put(batch); err == nil {
			written += len(batch)
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%v, want ENOSPC", err)
	}
	if written == 0 {
		t.Fatal("not even the first batch had room")
	}
	check := func(want int) {
		t.Helper()
		must(t, s.Verify(t.Context()))
		if m, err := s.Meta(""); err != nil || m.Files != uint64(want) {
			t.Errorf("%+v, %v, want %d files", m, err, want)
		}
	}
	check(written)
	must(t, s.Close())
	s = openStore(t, path, StoreOptions{})
	check(written)
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m"))
	must(t, s.Put([]Entry{settled("", "/more", 1)}))
	check(written + 1)
}

// TestStoreSurvivesBeingKilled kills a process that writes, at any moment, again and again: each time the store is sound, and
// holds all that the process had said to be written.
func TestStoreSurvivesBeingKilled(t *testing.T) {
	if path := os.Getenv("FIM_TEST_CHILD"); path != "" {
		s, err := Open(path, StoreOptions{})
		must(t, err)
		m, err := s.Meta("")
		must(t, err)
		for i := max(0, int(m.Files)-1); ; i++ { // one of the files is /changes
			must(t, s.Put([]Entry{settled("", fmt.Sprintf("/%06d", i), i), {Path{"", "/changes"}, record(i), record(i + 1)}}))
			fmt.Printf("wrote %d\n", i)
		}
	}
	path := filepath.Join(t.TempDir(), "fim.db")
	for round := range 8 {
		c := child(t, "TestStoreSurvivesBeingKilled", path)
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		last := -1
		var buffered strings.Builder
		read := make([]byte, 64)
		for buffered.Len() < 200+round*301 { // so many bytes of what it says, and then no more
			n, err := out.Read(read)
			must(t, err)
			buffered.Write(read[:n])
		}
		must(t, c.Process.Signal(syscall.SIGKILL))
		rest := make([]byte, 1<<20)
		for {
			n, err := out.Read(rest)
			buffered.Write(rest[:n])
			if err != nil {
				break
			}
		}
		c.Wait()
		for line := range strings.Lines(buffered.String()) {
			if n := 0; strings.HasSuffix(line, "\n") {
				if _, err := fmt.Sscanf(line, "wrote %d", &n); err == nil {
					last = n
				}
			}
		}
		s := openStore(t, path, StoreOptions{})
		must(t, s.Verify(t.Context()))
		m, err := s.Meta("")
		must(t, err)
		if last < 0 || m.Files < uint64(last)+2 || m.Files > uint64(last)+3 { // with /changes; the last may not have been said
			t.Fatalf("round %d: %d files, and it said to have written up to %d", round, m.Files, last)
		}
		must(t, s.Close())
	}
}

func TestStoreIsUsedByMany(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			container := fmt.Sprint("container", i%2)
			for j := range 20 {
				p := Path{container, fmt.Sprintf("/%d/%d", i, j)}
				if _, err := s.Learn([]Sight{{p, record(j), Everything}}); err != nil {
					t.Error(err)
				}
				if e, err := s.Get(p); err != nil || e.Now == nil {
					t.Errorf("%+v, %v", e, err)
				}
				if err := s.Each(Path{container, "/"}, func(*Entry) error { return nil }); err != nil {
					t.Error(err)
				}
				if err := s.Verify(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, container := range []string{"container0", "container1"} {
		if m, err := s.Meta(container); err != nil || m.Files != 40 {
			t.Errorf("%s: %+v, %v", container, m, err)
		}
	}
}

func TestVerifyCanBeCalledOff(t *testing.T) {
	s := newStore(t)
	var entries []Entry
	for i := range 3000 {
		entries = append(entries, settled("", fmt.Sprintf("/%06d", i), i))
	}
	must(t, s.Put(entries))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// FuzzDecodeEntry decodes what nobody has encoded. What is accepted must be encoded as it was.
func FuzzDecodeEntry(f *testing.F) {
	for _, e := range []Entry{settled("", "/", 1), {Base: record(1)}, {Now: &Record{Target: "x", Attributes: map[string]string{"a": "b", "c": ""}, Unreadable: "y"}}, {Base: record(1), Now: record(2)}} {
		b, err := appendEntry(nil, &e)
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		base, now, err := decodeEntry(b)
		if err != nil {
			return
		}
		again, err := appendEntry(nil, &Entry{Base: base, Now: now})
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		otherBase, otherNow, err := decodeEntry(again)
		if err != nil || !sameRecord(base, otherBase) || !sameRecord(now, otherNow) {
			t.Errorf("%x: encoded again as %x: %v", b, again, err)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := newStore(b)
	var batch []Entry
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if batch = append(batch, settled("", fmt.Sprintf("/usr/lib/python3/dist-packages/some/package/%09d", n), n)); len(batch) == batchEntries {
			must(b, s.Put(batch))
			batch = batch[:0]
		}
	}
	must(b, s.Put(batch))
	size, err := s.Size()
	must(b, err)
	b.ReportMetric(float64(size)/float64(n), "B/file")
}

func BenchmarkVerify(b *testing.B) {
	s := newStore(b)
	var batch []Entry
	for n := range 100_000 {
		batch = append(batch, settled("", fmt.Sprintf("/usr/lib/python3/dist-packages/some/package/%09d", n), n))
	}
	must(b, s.Put(batch))
	b.ReportAllocs()
	for b.Loop() {
		must(b, s.Verify(b.Context()))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/file")
}
