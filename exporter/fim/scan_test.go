package fim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// A scanned tree is a directory with a baseline. Each scan of it is a test's.
type scannedTree struct {
	t    testing.TB
	root string
	o    ScanOptions
	told []Difference
}

// newTree returns an empty tree, in which everything beneath / is watched.
func newTree(t testing.TB) *scannedTree {
	tree := &scannedTree{t: t, root: t.TempDir()}
	tree.o = ScanOptions{Store: newStore(t), Look: LookOptions{Root: tree.root}, Roots: []string{"/"},
		Match: func(string, bool) Attribute { return Everything },
		Tell: func(d Difference) error {
			tree.told = append(tree.told, d)
			return nil
		}}
	return tree
}

func (s *scannedTree) in(name string) string { return filepath.Join(s.root, name) }

// scan scans the tree with changed options, and returns the result and what was told, as text in order of paths.
func (s *scannedTree) scan(change func(o *ScanOptions)) (ScanResult, []string) {
	s.t.Helper()
	o := s.o
	if change != nil {
		change(&o)
	}
	s.told = nil
	r, err := Scan(s.t.Context(), o)
	must(s.t, err)
	must(s.t, o.Store.Verify(s.t.Context()))
	var told []string
	for _, d := range s.told {
		told = append(told, differenceText(d))
	}
	slices.Sort(told)
	return r, told
}

func (s *scannedTree) build() ScanResult {
	s.t.Helper()
	r, told := s.scan(func(o *ScanOptions) { o.Build = true })
	if len(told) > 0 {
		s.t.Fatalf("told while the baseline was built: %q", told)
	}
	return r
}

// differenceText is a path and how it differs.
func differenceText(d Difference) string {
	switch {
	case d.From != "":
		return d.Path.Name + " was " + d.From
	case d.Old == nil:
		return d.Path.Name + " created"
	case d.New == nil:
		return d.Path.Name + " deleted"
	}
	var of []string
	for i, name := range Attributes {
		if d.Changed&(1<<i) != 0 {
			of = append(of, name)
		}
	}
	return d.Path.Name + " " + strings.Join(of, ",")
}

func (s *scannedTree) wants(what string, got []string, want ...string) {
	s.t.Helper()
	if !slices.Equal(got, want) {
		s.t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

// TestScanFindsWhatHasChanged makes each change to a tree that is as it should be, scans it, has the store learn what was told,
// and scans it again.
func TestScanFindsWhatHasChanged(t *testing.T) {
	type changes = []struct {
		name string
		root bool // whether it needs to be
		do   func(t *testing.T, in func(string) string) error
		want []string
	}
	replace := func(path, content string) error {
		return errors.Join(os.WriteFile(path+".new", []byte(content), 0o644), os.Rename(path+".new", path))
	}
	for _, tt := range (changes{
		{"nothing", false, func(*testing.T, func(string) string) error { return nil }, nil},
		{"touched", false, func(t *testing.T, in func(string) string) error {
			return os.Chtimes(in("etc/file"), time.Unix(1, 0), time.Unix(1, 0))
		}, nil},
		{"content", false, func(t *testing.T, in func(string) string) error {
			return os.WriteFile(in("etc/file"), []byte("other"), 0)
		}, []string{"/etc/file content"}},
		{"content of the same size, with its time put back", false, func(t *testing.T, in func(string) string) error {
			fi, err := os.Stat(in("etc/file"))
			must(t, err)
			return errors.Join(os.WriteFile(in("etc/file"), []byte("cONTENT"), 0), os.Chtimes(in("etc/file"), fi.ModTime(), fi.ModTime()))
		}, []string{"/etc/file content"}},
		{"written again as it was", false, func(t *testing.T, in func(string) string) error {
			return os.WriteFile(in("etc/file"), []byte("content"), 0)
		}, nil},
		{"replaced by what it was", false, func(t *testing.T, in func(string) string) error { return replace(in("etc/file"), "content") }, nil},
		{"replaced by other content", false, func(t *testing.T, in func(string) string) error { return replace(in("etc/file"), "x") }, []string{"/etc/file content"}},
		{"mode", false, func(t *testing.T, in func(string) string) error { return os.Chmod(in("etc/file"), 0o4755) }, []string{"/etc/file mode"}},
		{"mode of a directory", false, func(t *testing.T, in func(string) string) error { return os.Chmod(in("etc"), 0o700) }, []string{"/etc mode"}},
		{"owner", true, func(t *testing.T, in func(string) string) error { return os.Lchown(in("etc/link"), 5, 6) }, []string{"/etc/link owner"}},
		{"attribute", false, func(t *testing.T, in func(string) string) error {
			return unix.Setxattr(in("etc/file"), "user.x", []byte("y"), 0)
		}, []string{"/etc/file xattrs"}},
		{"capability", true, func(t *testing.T, in func(string) string) error {
			return unix.Setxattr(in("etc/file"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
		}, []string{"/etc/file xattrs"}},
		{"ACL", false, func(t *testing.T, in func(string) string) error {
			return unix.Setxattr(in("etc"), "system.posix_acl_default", acl(7, 7), 0)
		}, []string{"/etc acl"}},
		{"hard link", false, func(t *testing.T, in func(string) string) error { return os.Link(in("etc/file"), in("usr/hard")) }, []string{"/etc/file links", "/usr/hard created"}},
		{"immutable", true, func(t *testing.T, in func(string) string) error {
			out, err := exec.Command("chattr", "+i", in("etc/file")).CombinedOutput()
			if err != nil {
				t.Skipf("needs chattr +i: %s", out)
			}
			t.Cleanup(func() { exec.Command("chattr", "-i", in("etc/file")).Run() })
			return nil
		}, []string{"/etc/file flags"}},
		{"created", false, func(t *testing.T, in func(string) string) error {
			return os.WriteFile(in("etc/a new one\n\xff"), nil, 0o644)
		}, []string{"/etc/a new one\n\xff created"}},
		{"created in a new directory", false, func(t *testing.T, in func(string) string) error { return os.MkdirAll(in("etc/file.d/x"), 0o755) }, []string{"/etc/file.d created", "/etc/file.d/x created"}},
		{"deleted", false, func(t *testing.T, in func(string) string) error { return os.Remove(in("etc/file")) }, []string{"/etc/file deleted"}},
		{"deleted with what was beneath", false, func(t *testing.T, in func(string) string) error { return os.RemoveAll(in("etc")) },
			[]string{"/etc deleted", "/etc/dir deleted", "/etc/dir.d deleted", "/etc/dir/a deleted", "/etc/file deleted", "/etc/link deleted", "/etc/not UTF-8 \xff deleted", "/etc/zzz deleted"}},
		{"the last one", false, func(t *testing.T, in func(string) string) error { return os.Remove(in("usr/z\nz")) }, []string{"/usr/z\nz deleted"}},
		{"renamed", false, func(t *testing.T, in func(string) string) error {
			return os.Rename(in("etc/file"), in("usr/elsewhere"))
		}, []string{"/usr/elsewhere was /etc/file"}},
		{"renamed to what comes first", false, func(t *testing.T, in func(string) string) error { return os.Rename(in("etc/file"), in("a")) }, []string{"/a was /etc/file"}},
		{"renamed and changed", false, func(t *testing.T, in func(string) string) error {
			return errors.Join(os.Rename(in("etc/file"), in("a")), os.WriteFile(in("a"), []byte("more"), 0o644))
		}, []string{"/a created", "/etc/file deleted"}},
		{"directory renamed", false, func(t *testing.T, in func(string) string) error { return os.Rename(in("etc/dir"), in("usr/dir2")) }, []string{"/usr/dir2 was /etc/dir", "/usr/dir2/a was /etc/dir/a"}},
		{"link renamed", false, func(t *testing.T, in func(string) string) error { return os.Rename(in("etc/link"), in("etc/link2")) }, []string{"/etc/link2 was /etc/link"}},
		{"exchanged", false, func(t *testing.T, in func(string) string) error {
			return unix.Renameat2(unix.AT_FDCWD, in("etc/file"), unix.AT_FDCWD, in("usr/z\nz"), unix.RENAME_EXCHANGE)
		}, []string{"/etc/file content", "/usr/z\nz content"}},
		{"link leads elsewhere", false, func(t *testing.T, in func(string) string) error {
			return errors.Join(os.Remove(in("etc/link")), os.Symlink("../usr", in("etc/link")))
		}, []string{"/etc/link content"}},
		{"file becomes a directory", false, func(t *testing.T, in func(string) string) error {
			return errors.Join(os.Remove(in("etc/file")), os.MkdirAll(in("etc/file/below"), 0o644))
		},
			[]string{"/etc/file content,mode", "/etc/file/below created"}},
		{"directory becomes a link", false, func(t *testing.T, in func(string) string) error {
			return errors.Join(os.RemoveAll(in("etc/dir")), os.Symlink("file", in("etc/dir")))
		},
			[]string{"/etc/dir content,mode", "/etc/dir/a deleted"}},
		{"file becomes a FIFO", false, func(t *testing.T, in func(string) string) error {
			return errors.Join(os.Remove(in("etc/file")), unix.Mkfifo(in("etc/file"), 0o644))
		},
			[]string{"/etc/file content,mode"}},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root {
				needRoot(t)
			}
			s := newTree(t)
			for _, name := range []string{"etc/file", "etc/zzz", "etc/dir/a", "etc/not UTF-8 \xff", "usr/z\nz"} {
				write(t, s.in(name), "content")
			}
			write(t, s.in("usr/z\nz"), "z")
			must(t, os.Mkdir(s.in("etc/dir.d"), 0o755))
			must(t, os.Symlink("file", s.in("etc/link")))
			s.build()
			err := tt.do(t, s.in)
			if errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip("needs a file system with attributes and ACLs")
			}
			must(t, err)
			_, got := s.scan(nil)
			s.wants(tt.name, got, tt.want...)
			_, got = s.scan(func(o *ScanOptions) { o.Paranoid = true })
			s.wants("told again, since nobody has learnt of it", got, tt.want...)
			s.learnAll()
			_, got = s.scan(nil)
			s.wants("once it was learnt of", got)
			_, got = s.scan(func(o *ScanOptions) { o.Paranoid = true })
			s.wants("once it was learnt of, and all is read", got)
		})
	}
}

// learnAll has the store learn all that was told.
func (s *scannedTree) learnAll() {
	s.t.Helper()
	for _, d := range s.told {
		sights := []Sight{{d.Path, d.New, Everything}}
		if d.From != "" {
			sights = append(sights, Sight{Path{d.Path.Container, d.From}, nil, Everything})
		}
		_, err := s.o.Store.Learn(sights)
		must(s.t, err)
	}
}

func TestScanTellsOnlyWhatIsAskedFor(t *testing.T) {
	s := newTree(t)
	for _, name := range []string{"in/content", "in/mode", "in/none", "out/file"} {
		write(t, s.in(name), "x")
	}
	entered, matched := []string{}, map[string]int{}
	s.o.Enter = func(dir string) bool {
		entered = append(entered, dir)
		return dir != "/out"
	}
	s.o.Match = func(path string, there bool) Attribute {
		if there {
			matched[path]++
		}
		return map[string]Attribute{"/in/content": Content, "/in/mode": Mode, "/out/file": Everything}[path]
	}
	if r := s.build(); r.Files != 2 {
		t.Errorf("%d files, want 2", r.Files)
	}
	if !slices.Equal(entered, []string{"/", "/in", "/out"}) {
		t.Errorf("entered %q", entered)
	}
	for _, path := range []string{"/", "/in", "/in/content", "/in/mode", "/in/none", "/out"} {
		if matched[path] != 1 {
			t.Errorf("Match was called %d times for %q", matched[path], path)
		}
	}
	for _, name := range []string{"in/content", "in/mode", "in/none", "out/file"} {
		must(t, os.Chmod(s.in(name), 0o600))
	}
	_, got := s.scan(nil)
	s.wants("modes", got, "/in/mode mode")
	s.o.Match = func(string, bool) Attribute { return 0 }
	_, got = s.scan(nil)
	s.wants("nothing is watched any more", got)
}

func TestScanOfRoots(t *testing.T) {
	s := newTree(t)
	for _, name := range []string{"a/1", "a/2", "a.b/1", "b/c/d/e", "file"} {
		write(t, s.in(name), "x")
	}
	must(t, os.Symlink("b/c", s.in("link")))
	s.o.Roots = []string{"/file", "/b/c/d", "/a", "/link/d", "/a/1", "/a.b", "/none", "/b/c"}
	if r := s.build(); r.Files != 11 { // /a and 2 in it, /a.b and 1, /b/c and 2, /file, and /link/d and 1
		t.Errorf("%d files, want 11", r.Files)
	}
	must(t, os.RemoveAll(s.in("a")))
	must(t, os.WriteFile(s.in("none"), nil, 0o644))
	_, got := s.scan(nil)
	s.wants("a root goes, another comes", got, "/a deleted", "/a/1 deleted", "/a/2 deleted", "/none created")
	s.o.Roots = []string{"/file"}
	_, got = s.scan(nil)
	s.wants("fewer roots", got)
	for _, roots := range [][]string{{"relative"}, {"/a/"}, {""}} {
		o := s.o
		o.Roots = roots
		if _, err := Scan(t.Context(), o); err == nil {
			t.Errorf("roots %q: no error", roots)
		}
	}
}

// TestScanReadsOnlyWhatMayHaveChanged counts what was looked at, and has the store hold another sum than the file's, as if
// somebody had changed it behind the back of the file system.
func TestScanReadsOnlyWhatMayHaveChanged(t *testing.T) {
	s := newTree(t)
	write(t, s.in("one"), "1")
	write(t, s.in("two"), "2")
	s.build()
	if r, _ := s.scan(nil); r.Looked != 2 {
		t.Errorf("looked at %d of 2 files that have just been written", r.Looked)
	}
	s.age()
	if r, _ := s.scan(nil); r.Looked != 0 || r.Bytes != 0 {
		t.Errorf("looked at %d, read %d bytes, though nothing has changed", r.Looked, r.Bytes)
	}
	must(t, os.Chmod(s.in("two"), 0o600))
	if r, got := s.scan(nil); r.Looked != 1 {
		t.Errorf("looked at %d: want the one that has changed: %q", r.Looked, got)
	}
	p := Path{"", "/one"}
	e, err := s.o.Store.Get(p)
	must(t, err)
	other := *e.Base
	other.Sum[0]++
	must(t, s.o.Store.Put([]Entry{{p, &other, &other}}))
	s.o.Match = func(path string, _ bool) Attribute { return map[string]Attribute{"/one": Everything}[path] }
	_, got := s.scan(nil)
	s.wants("the times are the same", got)
	r, got := s.scan(func(o *ScanOptions) { o.Paranoid = true })
	s.wants("all is read", got, "/one content")
	if r.Bytes != 1 {
		t.Errorf("read %d bytes, want 1", r.Bytes)
	}
}

// age takes the mark from all that is known, as if a minute had passed before it was read.
func (s *scannedTree) age() {
	s.t.Helper()
	var batch []Entry
	must(s.t, s.o.Store.Each(Path{s.o.Container, "/"}, func(e *Entry) error {
		if e.Base == nil || e.Base.Flags&Fresh == 0 {
			return nil
		}
		r := *e.Base
		r.Flags &^= Fresh
		if batch = append(batch, Entry{e.Path, &r, &r}); len(batch) < batchEntries {
			return nil
		}
		err := s.o.Store.Put(batch)
		batch = batch[:0]
		return err
	}))
	must(s.t, s.o.Store.Put(batch))
}

func TestScanBringsTimesUpToDate(t *testing.T) {
	s := newTree(t)
	write(t, s.in("file"), "x")
	s.build()
	must(t, os.Chtimes(s.in("file"), time.Unix(5, 0), time.Unix(5, 0)))
	s.scan(nil)
	if e, err := s.o.Store.Get(Path{"", "/file"}); err != nil || e.Drifted() || e.Base.Modified != 5e9 {
		t.Errorf("%+v, %v", e.Base, err)
	}
}

func TestScanNeedsACompleteBaseline(t *testing.T) {
	s := newTree(t)
	if _, err := Scan(t.Context(), s.o); !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v, want ErrIncomplete", err)
	}
	s.build()
	m, err := s.o.Store.Meta("")
	if err != nil || m.Completed.IsZero() || m.Scanned.IsZero() || m.Files != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	must(t, s.o.Store.SetMeta("", func(m *Meta) { m.Completed, m.Origin = time.Time{}, "an import that was not finished" }))
	o := s.o
	o.Build = true
	if _, err := Scan(t.Context(), o); !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v, want ErrIncomplete", err)
	}
}

// TestBuildGoesOnWhereItWas calls the building of a baseline off in its middle, again and again.
func TestBuildGoesOnWhereItWas(t *testing.T) {
	s := newTree(t)
	const files = 3 * batchEntries
	for i := range files {
		write(t, s.in(fmt.Sprintf("%02d/%d", i%50, i)), "x")
	}
	looked := uint64(0)
	for stop := files / 2; ; stop *= 2 {
		ctx, cancel := context.WithCancel(t.Context())
		o, seen := s.o, 0
		o.Build = true
		o.Match = func(_ string, there bool) Attribute {
			if seen++; seen == stop {
				cancel()
			}
			return Everything
		}
		r, err := Scan(ctx, o)
		cancel()
		looked += r.Looked
		m, metaErr := o.Store.Meta("")
		must(t, metaErr)
		if err == nil {
			if m.Files != files+51 || m.Completed.IsZero() {
				t.Errorf("%+v", m)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || !m.Completed.IsZero() {
			t.Fatalf("%v, %+v", err, m)
		}
	}
	if len(s.told) > 0 {
		t.Errorf("told %+v", s.told)
	}
	must(t, s.o.Store.Verify(t.Context()))
}

// TestBuildSurvivesBeingKilled kills a process in the middle of building a baseline, each time later, until one has come to its
// end. So that none comes there before it is killed, it goes on only as far as it is let.
func TestBuildSurvivesBeingKilled(t *testing.T) {
	if argument := os.Getenv("FIM_TEST_CHILD"); argument != "" {
		root, path, _ := strings.Cut(argument, "\n")
		s, err := Open(path, StoreOptions{})
		must(t, err)
		seen := 0
		_, err = Scan(t.Context(), ScanOptions{Store: s, Look: LookOptions{Root: root}, Roots: []string{"/"}, Build: true,
			Match: func(string, bool) Attribute {
				if seen++; seen%100 == 0 {
					os.Stdin.Read(make([]byte, 1))
					fmt.Println("seen", seen)
				}
				return Everything
			},
			Tell: func(d Difference) error {
				fmt.Println("told", differenceText(d))
				return nil
			}})
		must(t, err)
		must(t, s.Close())
		fmt.Println("complete")
		return
	}
	root, path := t.TempDir(), filepath.Join(t.TempDir(), "fim.db")
	const files = 5000
	for i := range files {
		write(t, filepath.Join(root, fmt.Sprintf("%02d/%d", i%50, i)), "content")
	}
	for _, steps := range []int{5, 11, 20, 33, 45, 100} { // of 100 files; the last is more than there are
		c := child(t, "TestBuildSurvivesBeingKilled", root+"\n"+path)
		in, err := c.StdinPipe()
		must(t, err)
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		_, err = in.Write(make([]byte, steps))
		must(t, err)
		var text strings.Builder
		b := make([]byte, 256)
		for strings.Count(text.String(), "seen") < steps { // and then it is killed, wherever it is by then
			n, err := out.Read(b)
			text.Write(b[:n])
			if err != nil {
				break
			}
		}
		c.Process.Signal(syscall.SIGKILL)
		c.Wait()
		complete := strings.Contains(text.String(), "complete")
		if complete != (steps == 100) || strings.Contains(text.String(), "told") {
			t.Fatalf("%d steps: %s", steps, text.String())
		}
		s := openStore(t, path, StoreOptions{})
		must(t, s.Verify(t.Context()))
		m, err := s.Meta("")
		must(t, err)
		if m.Completed.IsZero() == complete || complete && m.Files != files+51 || steps > 20 && m.Files < 1000 {
			t.Errorf("%d steps: %+v, complete %t", steps, m, complete)
		}
		must(t, s.Close())
	}
}

func TestScanOnAFullDisk(t *testing.T) {
	s := newTree(t)
	for i := range 3000 {
		write(t, s.in(fmt.Sprint(i)), "x")
	}
	dir := mounted(t, 400<<10)
	o := s.o
	o.Store = openStore(t, filepath.Join(dir, "fim.db"), StoreOptions{})
	o.Build = true
	if _, err := Scan(t.Context(), o); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%v, want ENOSPC", err)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=16m"))
	_, err := Scan(t.Context(), o)
	must(t, err)
	if m, err := o.Store.Meta(""); err != nil || m.Files != 3001 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestScanOfAStoreThatIsReadOnly(t *testing.T) {
	s := newTree(t)
	write(t, s.in("file"), "x")
	s.build()
	path := s.o.Store.path
	must(t, s.o.Store.Close())
	write(t, s.in("file"), "y")
	must(t, os.Chtimes(s.root, time.Unix(5, 0), time.Unix(5, 0)))
	s.o.Store = openStore(t, path, StoreOptions{ReadOnly: true})
	_, got := s.scan(nil)
	s.wants("read-only", got, "/file content")
}

func TestScanEntersDeepDirectories(t *testing.T) {
	s := newTree(t)
	deep := deepFile(t, s.root, 3*openLevels, 100)
	write(t, s.in("zzz"), "comes last, in a directory that was closed meanwhile")
	must(t, os.MkdirAll(filepath.Dir(s.in(deep[:101*5]))+"/z/z", 0o755))
	if r := s.build(); r.Files != 3*openLevels+5 || r.Unread != 0 { // with /, the file, /zzz, and z and z in it
		t.Errorf("%+v", r)
	}
	if len(deep) < 3*unix.PathMax {
		t.Fatalf("the path has only %d bytes", len(deep))
	}
	if e, err := s.o.Store.Get(Path{"", deep}); err != nil || e.Base == nil || !e.Base.Summed {
		t.Errorf("the file at the bottom: %+v, %v", e.Base, err)
	}
	_, got := s.scan(nil)
	s.wants("nothing has changed", got)
	run(t, "rm", "-rf", s.in(deep[:101]))
	_, got = s.scan(nil)
	if len(got) != 3*openLevels+3 {
		t.Errorf("%d were told to be deleted", len(got))
	}
}

func TestScanSaysWhatItCannotRead(t *testing.T) {
	s := newTree(t)
	for _, dir := range []string{s.root, filepath.Dir(s.root)} {
		must(t, os.Chmod(dir, 0o755))
	}
	write(t, s.in("a/file"), "x")
	write(t, s.in("b"), "x")
	s.build()
	must(t, os.Chmod(s.in("a"), 0o700))
	asNobody(t, func() {
		r, got := s.scan(nil)
		s.wants("what cannot be seen has not been deleted", got, "/a mode")
		if r.Unread != 1 || len(r.Reasons) != 1 || r.Reasons[0] != `"/a": permission denied` {
			t.Errorf("%+v", r)
		}
	})
}

// Files are counted whose content cannot be read, each time, and not those that are too large to be.
func TestScanCountsFilesThatItCannotRead(t *testing.T) {
	s := newTree(t)
	for _, dir := range []string{s.root, filepath.Dir(s.root)} {
		must(t, os.Chmod(dir, 0o755))
	}
	s.o.Look.MaxSize = 8
	write(t, s.in("closed"), "x")
	write(t, s.in("large"), "more than eight bytes")
	write(t, s.in("large and closed"), "more than eight bytes")
	write(t, s.in("open"), "x")
	write(t, s.in("secret/file"), "x")
	must(t, errors.Join(os.Chmod(s.in("closed"), 0o600), os.Chmod(s.in("large and closed"), 0o600), os.Chmod(s.in("secret"), 0o700)))
	want := []string{`"/closed": permission denied`, `"/large and closed": permission denied`, `"/secret": permission denied`}
	asNobody(t, func() {
		for _, what := range []string{"the first scan", "the second"} {
			r, got := s.scan(func(o *ScanOptions) { o.Build = true })
			s.wants(what, got)
			if r.Unread != 1 || r.Partial != 2 || !slices.Equal(r.Reasons, want) {
				t.Errorf("%s: %d unread and %d partial, %q, want 1 and 2, %q", what, r.Unread, r.Partial, r.Reasons, want)
			}
			s.age()
		}
	})
	if r, got := s.scan(nil); r.Unread != 0 || r.Partial != 0 || len(got) != 1 || got[0] != "/secret/file created" {
		t.Errorf("%d unread and %d partial, told %q, want none, and what nobody knew", r.Unread, r.Partial, got)
	}
}

// A sum is not forgotten because the content cannot be read for a while.
func TestScanKeepsTheSumOfWhatItCannotRead(t *testing.T) {
	s := newTree(t)
	for _, dir := range []string{s.root, filepath.Dir(s.root)} {
		must(t, os.Chmod(dir, 0o755))
	}
	write(t, s.in("file"), "as it was")
	s.o.Match = func(string, bool) Attribute { return Content }
	s.build()
	then, err := os.Stat(s.in("file"))
	must(t, errors.Join(err, os.Chmod(s.in("file"), 0o600)))
	asNobody(t, func() {
		if r, got := s.scan(nil); r.Partial != 1 || len(got) != 0 {
			t.Errorf("%+v, told %q, want one file that cannot be read", r, got)
		}
	})
	write(t, s.in("file"), "as it IS ")
	must(t, os.Chtimes(s.in("file"), then.ModTime(), then.ModTime()))
	r, got := s.scan(nil)
	s.wants("once it can be read again", got, "/file content")
	if r.Partial != 0 {
		t.Errorf("%d are partial, want none", r.Partial)
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	needRoot(t)
	must(t, os.MkdirAll(target, 0o755))
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		t.Skipf("needs to mount %s: %v", kind, err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

func TestScanAndMounts(t *testing.T) {
	s := newTree(t)
	write(t, s.in("dir/file"), "x")
	write(t, s.in("etc/ssh/config"), "x")
	for _, dir := range []string{"proc", "sys", "tmp", "loop", "bound"} {
		must(t, os.Mkdir(s.in(dir), 0o755))
	}
	mount(t, "proc", s.in("proc"), "proc", 0)
	mount(t, "sysfs", s.in("sys"), "sysfs", 0)
	mount(t, "tmpfs", s.in("tmp"), "tmpfs", 0)
	mount(t, s.root, s.in("loop"), "", unix.MS_BIND)
	mount(t, s.in("dir"), s.in("bound"), "", unix.MS_BIND)
	write(t, s.in("tmp/file"), "x")
	r := s.build()
	var got []string
	got = names(all(t, s.o.Store, Path{"", "/"}))
	want := []string{"/", "/bound", "/bound/file", "/dir", "/dir/file", "/etc", "/etc/ssh", "/etc/ssh/config", "/loop", "/proc", "/sys", "/tmp"}
	if !slices.Equal(got, want) || r.Mounts != 4 {
		t.Errorf("entered %d mounts less, and has %q, want 4 and %q", r.Mounts, got, want)
	}
	_, told := s.scan(func(o *ScanOptions) { o.Tmpfs = true })
	s.wants("with file systems in memory", told, "/tmp/file created")
	mount(t, "tmpfs", s.in("etc/ssh"), "tmpfs", 0) // over what is in the baseline
	write(t, s.in("etc/ssh/config"), "y")
	write(t, s.in("etc/ssh/more"), "y")
	_, told = s.scan(nil)
	s.wants("something is hidden", told, "/etc/ssh mode", "/etc/ssh/config content", "/etc/ssh/more created") // a tmpfs has mode 1777
	for _, root := range []string{"/tmp", "/proc"} {
		s.o.Roots = []string{root}
		_, told = s.scan(nil)
		s.wants("a root on "+root, told, map[string][]string{"/tmp": {"/tmp/file created"}}[root]...)
	}
}

// TestScanOfWhatVanishes deletes files while they are walked: those that come after, in a directory that was read.
func TestScanOfWhatVanishes(t *testing.T) {
	s := newTree(t)
	for i := range 10 {
		write(t, s.in(fmt.Sprintf("dir/%d", i)), "x")
	}
	must(t, os.MkdirAll(s.in("dir/x/y"), 0o755))
	s.build()
	s.o.Match = func(path string, there bool) Attribute {
		if path == "/dir/0" {
			for i := 5; i < 10; i++ {
				os.Remove(s.in(fmt.Sprintf("dir/%d", i)))
			}
			os.RemoveAll(s.in("dir/x"))
		}
		return Everything
	}
	_, got := s.scan(nil)
	s.wants("vanished", got, "/dir/5 deleted", "/dir/6 deleted", "/dir/7 deleted", "/dir/8 deleted", "/dir/9 deleted", "/dir/x deleted", "/dir/x/y deleted")
}

// TestScanTellsNothingThatOthersHaveLearnt has another learn of a change between the scan's finding it and its telling.
func TestScanTellsNothingThatOthersHaveLearnt(t *testing.T) {
	s := newTree(t)
	write(t, s.in("a"), "x")
	write(t, s.in("b"), "x")
	s.build()
	write(t, s.in("new"), "x")
	must(t, os.Remove(s.in("a")))
	l := newLooker(t, s.o.Look)
	s.o.Match = func(path string, there bool) Attribute {
		if path == "/new" { // /a was found to be gone by now, and waits for where it has gone
			r := look(t, l, "/new")
			_, err := s.o.Store.Learn([]Sight{{Path{"", "/a"}, nil, Everything}, {Path{"", "/new"}, &r, Everything}})
			must(t, err)
		}
		return Everything
	}
	_, got := s.scan(nil)
	s.wants("told by another", got)
}

func TestScanOfAPartDoesNotCount(t *testing.T) {
	s := newTree(t)
	write(t, s.in("dir/file"), "x")
	o := s.o
	o.Build, o.Part, o.Roots = true, true, []string{"/dir"}
	_, err := Scan(t.Context(), o)
	must(t, err)
	if m, err := s.o.Store.Meta(""); err != nil || !m.Completed.IsZero() || !m.Scanned.IsZero() || m.Files != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	s.build()
	before, err := s.o.Store.Meta("")
	must(t, err)
	write(t, s.in("dir/new"), "x")
	write(t, s.in("new"), "x")
	_, told := s.scan(func(o *ScanOptions) { o.Part, o.Roots = true, []string{"/dir"} })
	s.wants("a part", told, "/dir/new created")
	if after, err := s.o.Store.Meta(""); err != nil || after.Scanned != before.Scanned {
		t.Errorf("scanned %s and then %s, %v", before.Scanned, after.Scanned, err)
	}
}

func TestScanEndsWithTellsError(t *testing.T) {
	s := newTree(t)
	s.build()
	write(t, s.in("new"), "x")
	stop := errors.New("stop")
	s.o.Tell = func(Difference) error { return stop }
	if _, err := Scan(t.Context(), s.o); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	before, err := s.o.Store.Meta("")
	must(t, err)
	s.o.Tell = func(Difference) error { return nil }
	if _, err := Scan(t.Context(), s.o); err != nil {
		t.Error(err)
	}
	if after, err := s.o.Store.Meta(""); err != nil || !after.Scanned.After(before.Scanned) {
		t.Errorf("scanned %s and then %s, %v: want only the whole one to count", before.Scanned, after.Scanned, err)
	}
}

func TestScanWithLowPriority(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newTree(t)
	write(t, s.in("file"), "x")
	const thread, idle = 1, 3 << 13 // IOPRIO_WHO_PROCESS and IOPRIO_CLASS_IDLE of linux/ioprio.h
	nice, io := -1, -1
	s.o.Match = func(string, bool) Attribute {
		got, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call returns 20 less the nice value
		must(t, err)
		class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, thread, 0, 0)
		if errno != 0 {
			t.Error(errno)
		}
		nice, io = 20-got, int(class)
		return Everything
	}
	r, _ := s.scan(func(o *ScanOptions) { o.Build, o.LowPriority = true, true })
	if r.Priority != nil || nice != 19 || io != idle {
		t.Errorf("nice %d, I/O %#x, %v, want 19 and %#x", nice, io, r.Priority, idle)
	}
	s.scan(nil)
	if nice == 19 {
		t.Error("the next scan, which did not ask for it, is nice too")
	}
}

func TestScanIsLimited(t *testing.T) {
	s := newTree(t)
	for i := range 20 {
		write(t, s.in(fmt.Sprint(i)), "x")
	}
	s.o.FilesPerSecond = 100 // 10 of 21 at once
	if r := s.build(); r.Took < 100*time.Millisecond {
		t.Errorf("21 files at 100 a second, 10 at once, took %s", r.Took)
	}
}

func TestScanShowsProgress(t *testing.T) {
	s := newTree(t)
	for i := range 30 {
		write(t, s.in(fmt.Sprintf("%02d", i)), "x")
	}
	s.build()
	var shown []Progress
	s.o.FilesPerSecond = 20 // 31 take more than a second
	s.o.Progress = func(p Progress) { shown = append(shown, p) }
	s.scan(func(o *ScanOptions) { o.Paranoid = true })
	if len(shown) == 0 || shown[0].Known != 31 || shown[0].Files == 0 || shown[0].Bytes == 0 || shown[0].Path < "/" {
		t.Errorf("%+v", shown)
	}
}

// TestSuspectsAreBounded tells them at once if there are too many to wait.
func TestSuspectsAreBounded(t *testing.T) {
	s := newTree(t)
	told := 0
	l := newLooker(t, s.o.Look)
	w := &walk{ctx: t.Context(), o: &s.o, l: l, suspects: map[place][]suspect{}, waiting: maxSuspects}
	s.o.Tell = func(Difference) error { told++; return nil }
	write(t, s.in("file"), "x")
	r := look(t, l, "/file")
	must(t, w.differs(suspect{Difference{Path: Path{"", "/file"}, New: &r}, Everything}))
	if told != 1 || len(w.suspects) != 0 {
		t.Errorf("told %d, and %d wait", told, len(w.suspects))
	}
}

func TestDirectoryWithManyNames(t *testing.T) {
	s := newTree(t)
	const files = 20_000 // many times what one call returns
	for i := range files {
		must(t, os.WriteFile(s.in(fmt.Sprintf("%d-%s", i, strings.Repeat("n", i%200))), nil, 0o644))
	}
	if r := s.build(); r.Files != files+1 {
		t.Errorf("%d files, want %d", r.Files, files+1)
	}
}

func TestScanWithoutARoot(t *testing.T) {
	s := newTree(t)
	s.o.Look.Root = s.in("none")
	s.o.Build = true
	if _, err := Scan(t.Context(), s.o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// makeTree makes so many files of a kilobyte, 100 to a directory.
func makeTree(t testing.TB, root string, files int) {
	content := []byte(strings.Repeat("x", 1024))
	for i := range files {
		dir := filepath.Join(root, fmt.Sprintf("usr/lib/%03d/package-%d", i/10_000, i/100))
		if i%100 == 0 {
			must(t, os.MkdirAll(dir, 0o755))
		}
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("some-file-%d.so", i)), content, 0o644))
	}
}

// used is how many bytes of the store hold something: the file grows in steps.
func (s *Store) used(t testing.TB) (size int64) {
	t.Helper()
	must(t, s.view(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	}))
	return size
}

// cpu is the time of processors that this process and those it has waited for have had.
func cpu(t testing.TB) (all time.Duration) {
	t.Helper()
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		must(t, unix.Getrusage(who, &u))
		all += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return all
}

// BenchmarkScan measures the building of a baseline of 100,000 files, a scan of it, and one that reads all content, beside
// find(1), which reads the status of each, and sha256sum(1), which reads the content of each.
func BenchmarkScan(b *testing.B) {
	s := newTree(b)
	const files = 100_000
	makeTree(b, s.root, files)
	measure := func(name string, do func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := cpu(b)
			for b.Loop() {
				do(b)
			}
			b.ReportMetric(float64(b.N)*files/b.Elapsed().Seconds(), "files/s")
			b.ReportMetric(float64(cpu(b)-began)/float64(b.N)/files, "cpu-ns/file")
		})
	}
	scan := func(name string, change func(o *ScanOptions)) {
		measure(name, func(b *testing.B) {
			o := s.o
			change(&o)
			_, err := Scan(b.Context(), o)
			must(b, err)
		})
	}
	measure("find", func(b *testing.B) { run(b, "find", s.root, "-newermt", "2100-01-01") })
	measure("sha256sum", func(b *testing.B) {
		run(b, "sh", "-c", `find "$0" -type f -print0 | xargs -0 sha256sum >/dev/null`, s.root)
	})
	scan("build", func(o *ScanOptions) {
		must(b, s.o.Store.Forget(""))
		o.Build = true
	})
	b.Logf("%d bytes of the store a file", s.o.Store.used(b)/files)
	s.age()
	scan("unchanged", func(o *ScanOptions) {})
	scan("paranoid", func(o *ScanOptions) { // what was made within the last minute is also learnt from again
		o.Paranoid = true
	})
}
