package fim

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestReadTextReadsWhatWasLookedAt(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("a/file"), "text\n")
	write(t, in("a/empty"), "")
	write(t, in("a/largest"), strings.Repeat("x", MaxText))
	write(t, in("a/larger"), strings.Repeat("x", MaxText+1))
	must(t, os.Symlink("file", in("a/link")))
	must(t, os.Symlink("/a", in("b")))
	must(t, os.Symlink("../../../../../../..", in("out")))
	must(t, unix.Mkfifo(in("a/fifo"), 0o600))
	l := newLooker(t, LookOptions{Root: dir})
	for _, row := range []struct {
		name, content string
		want          error
	}{
		{"/a/file", "text\n", nil},
		{"/b/file", "text\n", nil},
		{"/out/a/file", "text\n", nil},
		{"/a/empty", "", nil},
		{"/a/largest", strings.Repeat("x", MaxText), nil},
		{"/a/larger", strings.Repeat("x", MaxText+1), ErrChanged},
		{"/a/file", "other\n", ErrChanged},
		{"/a/link", "text\n", ErrChanged},
		{"/a/fifo", "", ErrChanged},
		{"/a", "", ErrChanged},
		{"/a/none", "", fs.ErrNotExist},
		{"/a/file/none", "", fs.ErrNotExist},
	} {
		got, err := ReadText(l, row.name, sha256.Sum256([]byte(row.content)))
		if !errors.Is(err, row.want) || err == nil && string(got) != row.content {
			t.Errorf("%s: %d bytes, %v; want %d bytes, %v", row.name, len(got), err, len(row.content), row.want)
		}
	}
	if _, err := ReadText(l, "a/file", sha256.Sum256([]byte("text\n"))); err == nil {
		t.Error("a relative path: want an error")
	}
	must(t, os.Chmod(in("a/file"), 0))
	if os.Geteuid() != 0 {
		if _, err := ReadText(l, "/a/file", sha256.Sum256([]byte("text\n"))); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("unreadable: %v", err)
		}
	}
}

// A shelfOfFiles is a store, and the files that it knows of.
type shelfOfFiles struct {
	*Store
	files map[string]string
	reads []string
}

func newFiles(t *testing.T, container string, files map[string]string) *shelfOfFiles {
	s := &shelfOfFiles{Store: newStore(t), files: files}
	for name, content := range files {
		s.set(t, container, name, content)
	}
	return s
}

func (s *shelfOfFiles) set(t *testing.T, container, name, content string) {
	t.Helper()
	s.files[name] = content
	r := recordFor([]byte(content))
	must(t, s.Put([]Entry{{Path{container, name}, r, r}}))
}

// read is what ReadText does.
func (s *shelfOfFiles) read(name string, sum [32]byte) ([]byte, error) {
	s.reads = append(s.reads, name)
	content, ok := s.files[name]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case content == "unreadable":
		return nil, unix.EIO
	case sha256.Sum256([]byte(content)) != sum:
		return nil, ErrChanged
	}
	return []byte(content), nil
}

// took returns what was read since it was last asked.
func (s *shelfOfFiles) took() []string {
	reads := s.reads
	s.reads = nil
	return reads
}

func textSets(t testing.TB, watches ...WatchConfig) *Sets {
	t.Helper()
	s, err := NewSets(Config{Watches: watches, Scan: DefaultConfig.Scan}, nil)
	must(t, err)
	return s
}

func TestFillKeepsTheTextsOfSetsWithDiff(t *testing.T) {
	sets := textSets(t,
		WatchConfig{Name: "shown", Paths: []string{"/etc", "/srv/*/conf", "/**/deep"}, Exclude: []string{"/etc/ssl", "*.swp"}, Of: "both", Diff: true},
		WatchConfig{Name: "others", Paths: []string{"/etc/ssl", "/usr", "/srv"}, Of: "both"})
	for _, container := range []string{"", "c1"} {
		s := newFiles(t, container, map[string]string{
			"/etc/hosts": "127.0.0.1 localhost\n", "/etc/cron.d/a": "* * * * * root true\n", "/etc/ssl/openssl.cnf": "x\n", "/etc/hosts.swp": "x\n",
			"/usr/bin/x": "x\n", "/srv/a/conf/x": "conf\n", "/srv/a/data/x": "data\n", "/home/a/deep/x": "deep\n", "/etc/shadow": "root:x\n",
			"/etc/binary": "\x7fELF\x00", "/etc/large": strings.Repeat("x", MaxText+1), "/etc/empty": "", "/etc/gone": "gone", "/etc/unreadable": "unreadable",
			"/etc/changed": "before",
		})
		other := &Record{Mode: fs.ModeSymlink | 0o777, Target: "hosts"}
		unsummed := &Record{Mode: 0o600, Size: 3, Unreadable: "permission denied"}
		must(t, s.Put([]Entry{{Path{container, "/etc"}, &Record{Mode: fs.ModeDir | 0o755}, nil}, {Path{container, "/etc/link"}, other, other},
			{Path{container, "/etc/denied"}, unsummed, unsummed}}))
		delete(s.files, "/etc/gone")
		s.files["/etc/changed"] = "after"
		texts := newTexts(t)
		stats, err := texts.Fill(t.Context(), s.Store, sets, container, s.read)
		must(t, err)
		kept := []string{"/etc/cron.d/a", "/etc/hosts", "/home/a/deep/x", "/srv/a/conf/x"}
		want := map[string]uint64{TextBinary: 1, TextLarge: 1, TextSecret: 1, TextChanged: 2, TextUnreadable: 1}
		if stats.Kept != len(kept) || stats.Bytes == 0 || cmp.Diff(want, stats.NotKept) != "" || cmp.Diff(want, texts.Stats().NotKept) != "" {
			t.Errorf("%+v, want %d and %v", stats, len(kept), want)
		}
		for _, name := range kept {
			if !hasText(texts, Path{container, name}, s.files[name]) {
				t.Errorf("%s is not kept", name)
			}
		}
		reads := s.took()
		slices.Sort(reads)
		wantReads := []string{"/etc/binary", "/etc/changed", "/etc/cron.d/a", "/etc/gone", "/etc/hosts", "/etc/unreadable", "/home/a/deep/x", "/srv/a/conf/x"}
		if diff := cmp.Diff(wantReads, reads); diff != "" {
			t.Errorf("read: %s", diff)
		}
	}
}

func TestFillKeepsUpWithTheStore(t *testing.T) {
	set := WatchConfig{Name: "shown", Paths: []string{"/etc"}, Diff: true}
	sets := textSets(t, set)
	s := newFiles(t, "", map[string]string{"/etc/same": "same\n", "/etc/other": "before\n", "/etc/gone": "gone\n", "/etc/emptied": "something\n",
		"/etc/now a link": "text\n", "/etc/d/x": "x\n"})
	texts := newTexts(t)
	keepText(t, texts, Path{"c1", "/etc/x"}, "of a container\n")
	fill := func(sets *Sets, kept int, read ...string) {
		t.Helper()
		stats, err := texts.Fill(t.Context(), s.Store, sets, "", s.read)
		must(t, err)
		if diff := cmp.Diff(read, s.took()); diff != "" || stats.Kept != kept+1 || len(stats.NotKept) > 0 {
			t.Errorf("%+v, want %d, and read: %s", stats, kept, diff)
		}
	}
	fill(sets, 6, "/etc/d/x", "/etc/emptied", "/etc/gone", "/etc/now a link", "/etc/other", "/etc/same")
	fill(sets, 6)
	s.set(t, "", "/etc/other", "after\n")
	s.set(t, "", "/etc/emptied", "")
	link := &Record{Mode: fs.ModeSymlink | 0o777}
	must(t, s.Put([]Entry{{Path{"", "/etc/gone"}, record(1), nil}, {Path{"", "/etc/now a link"}, record(1), link}}))
	fill(sets, 3, "/etc/other")
	if !hasText(texts, Path{"", "/etc/other"}, "after\n") {
		t.Error("a text is older than the store")
	}
	must(t, s.Delete(Path{"", "/etc/same"}))
	fill(sets, 2)
	narrow := set
	narrow.Paths = []string{"/etc/d"}
	fill(textSets(t, narrow), 1)
	without := set
	without.Diff = false
	fill(textSets(t, without), 0)
	if !hasText(texts, Path{"c1", "/etc/x"}, "of a container\n") {
		t.Error("a text of a container is gone with the host's")
	}
}

func TestFillDoesNotReadWhatHasNoRoom(t *testing.T) {
	sets := textSets(t, WatchConfig{Name: "shown", Paths: []string{"/etc"}, Diff: true})
	files := map[string]string{}
	var entries []Entry
	for i := range maxTexts + 5 {
		name, content := fmt.Sprintf("/etc/%05d", i), fmt.Sprintf("%d\n", i)
		files[name] = content
		entries = append(entries, Entry{Path{"", name}, nil, recordFor([]byte(content))})
	}
	s := newFiles(t, "", map[string]string{})
	s.files = files
	must(t, s.Put(entries))
	texts := newTexts(t)
	for _, reads := range []int{maxTexts, 0} {
		stats, err := texts.Fill(t.Context(), s.Store, sets, "", s.read)
		must(t, err)
		if n := len(s.took()); n != reads || stats.Kept != maxTexts || stats.NotKept[TextFull] != 5 {
			t.Errorf("%d read, %+v; want %d read, and 5 too many", n, stats, reads)
		}
	}
}

func TestFillStops(t *testing.T) {
	sets := textSets(t, WatchConfig{Name: "shown", Paths: []string{"/etc"}, Diff: true})
	s := newFiles(t, "", map[string]string{"/etc/a": "a\n", "/etc/b": "b\n", "/etc/c": "c\n"})
	texts := newTexts(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := texts.Fill(ctx, s.Store, sets, "", func(name string, sum [32]byte) ([]byte, error) {
		if name == "/etc/b" {
			cancel()
			return nil, ctx.Err()
		}
		return s.read(name, sum)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want what the context says", err)
	}
	wantStats(t, texts, 1, map[string]uint64{})
	must(t, s.Close())
	if _, err := texts.Fill(t.Context(), s.Store, sets, "", s.read); err == nil {
		t.Error("a store that is closed: want an error")
	}
	must(t, texts.Close())
	if _, err := texts.Fill(t.Context(), newStore(t), sets, "", s.read); !errors.Is(err, errTextsShut) {
		t.Errorf("texts that are closed: %v", err)
	}
}

// TestFillWalksOnlyWhereTextsAre has the roots of sets with Diff, which are fewer than those of all.
func TestFillWalksOnlyWhereTextsAre(t *testing.T) {
	f := func(want []string, paths ...string) {
		t.Helper()
		sets := textSets(t, WatchConfig{Name: "others", Paths: []string{"/data", "/etc/other", "/srv/*/x"}},
			WatchConfig{Name: "shown", Paths: paths, Diff: true})
		got := rootsOf(&sets.host.paths.node, "", 1<<1)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", paths, diff)
		}
	}
	f([]string{"/etc"}, "/etc")
	f([]string{"/etc"}, "/etc", "/etc/ssh/sshd_config")
	f([]string{"/a/b", "/a/c"}, "/a/b", "/a/c")
	f([]string{"/a"}, "/a/*.conf", "/a/b/c")
	f([]string{"/a"}, "/a/**/c")
	f([]string{"/"}, "**/c")
	f([]string{"/"}, "/")
	f([]string{"/srv"}, "/srv/*/y")
}

// TestFillOfRealFiles looks at files, and keeps their texts as the Watcher does.
func TestFillOfRealFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etc/motd"), "welcome\n")
	write(t, filepath.Join(dir, "etc/hosts"), "127.0.0.1 localhost\n")
	sets := textSets(t, WatchConfig{Name: "shown", Paths: []string{"/etc"}, Diff: true})
	store, texts, l := newStore(t), newTexts(t), newLooker(t, LookOptions{Root: dir})
	for _, name := range []string{"/etc/motd", "/etc/hosts"} {
		r := look(t, l, name)
		must(t, store.Put([]Entry{{Path{"", name}, &r, &r}}))
	}
	read := func(name string, sum [32]byte) ([]byte, error) { return ReadText(l, name, sum) }
	stats, err := texts.Fill(t.Context(), store, sets, "", read)
	must(t, err)
	if stats.Kept != 2 {
		t.Errorf("%+v", stats)
	}
	before, err := store.Get(Path{"", "/etc/motd"})
	must(t, err)
	write(t, filepath.Join(dir, "etc/motd"), "welcome\ngoodbye\n")
	after := look(t, l, "/etc/motd")
	now, err := ReadText(l, "/etc/motd", after.Sum)
	must(t, err)
	diff, ok := texts.Diff(Path{"", "/etc/motd"}, before.Now, &after, now)
	if !ok || diff != "--- before\n+++ after\n@@ -1,1 +1,2 @@\n welcome\n+goodbye\n" {
		t.Errorf("%v, %q", ok, diff)
	}
}

// BenchmarkFillTexts walks a store of 100,000 files, a tenth of them with texts that are kept.
func BenchmarkFillTexts(b *testing.B) {
	sets := textSets(b, WatchConfig{Name: "shown", Paths: []string{"/etc/0*"}, Diff: true}, WatchConfig{Name: "others", Paths: []string{"/etc"}})
	store, texts := newStore(b), newTexts(b)
	var entries []Entry
	for i := range 100_000 {
		entries = append(entries, Entry{Path{"", fmt.Sprintf("/etc/%05d", i)}, nil, recordFor(fmt.Append(nil, i))})
	}
	must(b, store.Put(entries))
	read := func(name string, sum [32]byte) ([]byte, error) {
		return []byte(contentOf(name)), nil
	}
	for b.Loop() {
		stats, err := texts.Fill(b.Context(), store, sets, "", read)
		must(b, err)
		if stats.Kept != 10_000 {
			b.Fatalf("%+v", stats)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/file")
}

// contentOf is the content of a file of BenchmarkFillTexts.
func contentOf(name string) string {
	if n := strings.TrimLeft(strings.TrimPrefix(name, "/etc/"), "0"); n != "" {
		return n
	}
	return "0"
}
