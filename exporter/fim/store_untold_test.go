package fim

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

func untoldOf(t *testing.T, s *Store, container string) []Untold {
	t.Helper()
	all, err := s.Untold(container)
	must(t, err)
	return all
}

func TestWhatIsLearntIsUntoldUntilItIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db")
	s := openStore(t, path, StoreOptions{})
	a, b, c, inside := Path{"", "/a"}, Path{"", "/b"}, Path{"", "/c"}, Path{"container", "/a"}
	must(t, s.Put([]Entry{settled("", "/a", 1), settled("", "/same", 1)}))
	learn := func(sights ...Sight) {
		t.Helper()
		_, err := s.Learn(sights)
		must(t, err)
	}
	learn(Sight{a, record(2), Everything}, Sight{b, record(3), Everything}, Sight{Path{"", "/same"}, record(1), Everything}, Sight{inside, record(4), Everything})
	learn(Sight{a, record(5), Everything}) // what was there before the first of two is what counts
	must(t, s.Told(nil, nil, []Untold{{a, record(6), []byte("first")}, {c, nil, []byte("came and went")}}))
	must(t, s.Told(nil, nil, []Untold{{a, record(6), []byte("second")}}))
	must(t, s.Close())

	s = openStore(t, path, StoreOptions{})
	want := []Untold{{a, record(1), []byte("second")}, {b, nil, nil}, {c, nil, []byte("came and went")}}
	if diff := cmp.Diff(want, untoldOf(t, s, "")); diff != "" {
		t.Errorf("of the host: %s", diff)
	}
	if diff := cmp.Diff([]Untold{{inside, nil, nil}}, untoldOf(t, s, "container")); diff != "" {
		t.Errorf("of the container: %s", diff)
	}
	must(t, s.Verify(t.Context()))

	must(t, s.Told([]Path{a}, []Path{b, {"", "/never"}}, nil))
	if diff := cmp.Diff(want[2:], untoldOf(t, s, "")); diff != "" {
		t.Errorf("of the rest: %s", diff)
	}
	if e, err := s.Get(a); err != nil || e.Drifted() || !sameRecord(e.Base, record(5)) {
		t.Errorf("what was expected is not accepted: %+v, %v", e, err)
	}
	if e, err := s.Get(b); err != nil || !e.Drifted() {
		t.Errorf("what was not expected is accepted: %+v, %v", e, err)
	}
	before := s.generation
	must(t, s.Told([]Path{a}, []Path{b, {"", "/never"}}, nil))
	if s.generation != before {
		t.Error("what was told already is noted once more")
	}
	must(t, s.Forget("container"))
	if all := untoldOf(t, s, "container"); len(all) != 0 {
		t.Errorf("of a container that is forgotten %+v is untold", all)
	}
	must(t, s.Verify(t.Context()))
}

// TestTamperingWithUntoldChangesIsNoticed has somebody keep a change from being told who has all but the key.
func TestTamperingWithUntoldChangesIsNoticed(t *testing.T) {
	for name, do := range map[string]func(b *bbolt.Bucket) error{
		"taken away": func(b *bbolt.Bucket) error { return b.Delete([]byte("\x00a")) },
		"changed":    func(b *bbolt.Bucket) error { return b.Put([]byte("\x00a"), []byte{storeVersion, 0}) },
		"moved":      func(b *bbolt.Bucket) error { return b.Put([]byte("\x00z"), bytes.Clone(b.Get([]byte("\x00a")))) },
		"all of them": func(b *bbolt.Bucket) error {
			return errors.Join(b.Delete([]byte("\x00a")), b.Delete([]byte("\x00b")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fim.db")
			s := openStore(t, path, StoreOptions{})
			_, err := s.Learn([]Sight{{Path{"", "/a"}, record(1), Everything}, {Path{"", "/b"}, record(2), Everything}})
			must(t, err)
			must(t, s.Verify(t.Context()))
			must(t, s.Close())
			edit(t, path, func(tx *bbolt.Tx) error { return do(tx.Bucket(untoldBucket).Bucket(shelfName(""))) })
			s = openStore(t, path, StoreOptions{})
			if err := s.Verify(t.Context()); !errors.Is(err, ErrTampered) {
				t.Errorf("%v: want %v", err, ErrTampered)
			}
		})
	}
}

func TestNotesAreBounded(t *testing.T) {
	s := newStore(t)
	err := s.Told(nil, nil, []Untold{{Path{"", "/a"}, nil, make([]byte, maxNote+1)}})
	if err == nil || !strings.Contains(err.Error(), `a note of 65537 bytes on "/a": want at most 65536`) {
		t.Errorf("%v: want to be told what is wrong", err)
	}
}

// FuzzDecodeUntold decodes what nobody has encoded.
func FuzzDecodeUntold(f *testing.F) {
	f.Add([]byte{storeVersion, 0})
	f.Add(appendRecord([]byte{storeVersion, untoldOld}, record(1)))
	f.Add(append(appendRecord([]byte{storeVersion, untoldOld}, &Record{Target: "x", Attributes: map[string]string{"a": "b"}}), "{}"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		old, note, err := decodeUntold(b)
		if err == nil && old == nil && !bytes.Equal(note, b[2:]) {
			t.Errorf("%x: the note is %q, want all of the rest", b, note)
		}
	})
}
