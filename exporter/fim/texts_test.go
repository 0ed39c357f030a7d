package fim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/host"
)

func openTexts(t testing.TB, path string) *Texts {
	t.Helper()
	texts, err := OpenTexts(path, TextOptions{Redact: host.RedactText})
	must(t, err)
	t.Cleanup(func() { texts.Close() })
	return texts
}

func newTexts(t testing.TB) *Texts {
	t.Helper()
	return openTexts(t, filepath.Join(t.TempDir(), "fim.db.texts"))
}

// recordFor is what a look at a regular file of some content says.
func recordFor(content []byte) *Record {
	return &Record{Mode: 0o644, Size: int64(len(content)), Links: 1, Sum: sha256.Sum256(content), Summed: true}
}

func keepText(t testing.TB, texts *Texts, p Path, content string) {
	t.Helper()
	must(t, texts.Keep(p, recordFor([]byte(content)), []byte(content)))
}

func hasText(texts *Texts, p Path, content string) bool {
	return texts.Has(p, sha256.Sum256([]byte(content)))
}

func wantStats(t testing.TB, texts *Texts, kept int, notKept map[string]uint64) {
	t.Helper()
	s := texts.Stats()
	if s.Kept != kept || (s.Bytes > 0) != (kept > 0) || cmp.Diff(notKept, s.NotKept) != "" {
		t.Errorf("%d texts of %d bytes, and not kept %v; want %d and %v", s.Kept, s.Bytes, s.NotKept, kept, notKept)
	}
}

func TestTextsAreKeptUntilTheyAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db.texts")
	texts := openTexts(t, path)
	odd := "/new\nline and \xff not UTF-8"
	for _, p := range []Path{{"", "/a"}, {"", odd}, {"c1", "/a"}, {"c1", "/b"}, {"c", "1/a"}} {
		if p.Name[0] == '/' {
			keepText(t, texts, p, "of "+p.Container+p.Name[:2]+"\n")
		} else if err := texts.Keep(p, nil, nil); err == nil {
			t.Errorf("%+v is no path: want an error", p)
		}
	}
	check := func() {
		t.Helper()
		wantStats(t, texts, 4, map[string]uint64{})
		if !hasText(texts, Path{"", "/a"}, "of /a\n") || !hasText(texts, Path{"", odd}, "of /n\n") || !hasText(texts, Path{"c1", "/b"}, "of c1/b\n") {
			t.Error("a text is not kept")
		}
		if hasText(texts, Path{"", "/b"}, "of c1/b\n") || hasText(texts, Path{"c1", "/a"}, "of /a\n") {
			t.Error("a text is kept of what has another")
		}
	}
	check()
	must(t, texts.Close())
	must(t, texts.Close())
	if err := texts.Keep(Path{"", "/a"}, nil, nil); !errors.Is(err, errTextsShut) {
		t.Errorf("after Close: %v", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want a mode of 0600", fi.Mode(), err)
	}
	texts = openTexts(t, path)
	check()
	must(t, texts.Forget(Path{"", "/a"}))
	must(t, texts.Forget(Path{"", "/a"}))
	must(t, texts.Forget(Path{"", "/never kept"}))
	wantStats(t, texts, 3, map[string]uint64{})
	must(t, texts.ForgetContainer("c1"))
	wantStats(t, texts, 1, map[string]uint64{})
	must(t, texts.ForgetContainer("c"))
	must(t, texts.ForgetContainer(""))
	wantStats(t, texts, 0, map[string]uint64{})
	must(t, texts.Close())
	wantStats(t, openTexts(t, path), 0, map[string]uint64{})
}

func TestTextsReplaceWhatWasKeptBefore(t *testing.T) {
	texts := newTexts(t)
	p := Path{"", "/etc/hosts"}
	for i := range 3 {
		for range 2 {
			keepText(t, texts, p, fmt.Sprintf("version %d\n", i))
		}
		wantStats(t, texts, 1, map[string]uint64{})
		if !hasText(texts, p, fmt.Sprintf("version %d\n", i)) || hasText(texts, p, fmt.Sprintf("version %d\n", i-1)) {
			t.Errorf("version %d: want it and no other", i)
		}
		must(t, texts.write())
	}
	for _, r := range []*Record{nil, {Mode: fs.ModeSymlink | 0o777}, {Mode: 0o644, Size: 3}} { // gone, a link, and a file that was not summed
		keepText(t, texts, p, "text\n")
		must(t, texts.Keep(p, r, []byte("new")))
		wantStats(t, texts, 0, map[string]uint64{})
	}
}

func TestTextsRefuseWhatIsNoSmallText(t *testing.T) {
	texts := newTexts(t)
	random := make([]byte, 100)
	for i := range random {
		random[i] = byte(0x80 + i)
	}
	record := func(content string) *Record { return recordFor([]byte(content)) }
	long := strings.Repeat("x", MaxText)
	for _, row := range []struct {
		name    string
		path    string
		record  *Record
		content string
		want    string
	}{
		{"largest", "/a", record(long), long, ""},
		{"one byte more", "/a", record(long + "x"), long + "x", TextLarge},
		{"NUL", "/a", record("a\x00b"), "a\x00b", TextBinary},
		{"invalid UTF-8", "/a", record(string(random)), string(random), TextBinary},
		{"UTF-16", "/a", record("\xff\xfea\x00"), "\xff\xfea\x00", TextBinary},
		{"a rune cut off", "/a", record("gr\xc3"), "gr\xc3", TextBinary},
		{"other runes", "/a", record("größe 大\n"), "größe 大\n", ""},
		{"changed meanwhile", "/a", record("a"), "b", TextChanged},
		{"emptied meanwhile", "/a", record("a"), "", TextChanged},
		{"filled meanwhile", "/a", record(""), "b", TextChanged},
		{"long path", "/" + strings.Repeat("x/", 2100) + "x", record("a"), "a", TextLarge},
		{"shadow", "/etc/shadow", record("a"), "a", TextSecret},
		{"shadow's copy", "/var/backups/shadow.bak", record("a"), "a", TextSecret},
		{"PPP", "/etc/ppp/chap-secrets", record("a"), "a", TextSecret},
		{"IPsec", "/etc/ipsec.secrets", record("a"), "a", TextSecret},
		{"old passwords", "/etc/security/opasswd", record("a"), "a", TextSecret},
		{"key", "/etc/ssl/private/server.key", record("a"), "a", TextSecret},
		{"accounts", "/etc/passwd", record("a"), "a", ""},
		{"PAM", "/etc/pam.d/common-password", record("a"), "a", ""},
	} {
		keepText(t, texts, Path{"", row.path}, "before")
		before := texts.Stats().NotKept[row.want]
		must(t, texts.Keep(Path{"", row.path}, row.record, []byte(row.content)))
		after := texts.Stats()
		if kept := hasText(texts, Path{"", row.path}, row.content); kept != (row.want == "") && row.content != "" {
			t.Errorf("%s: kept is %v", row.name, kept)
		}
		if row.want != "" && after.NotKept[row.want] != before+1 {
			t.Errorf("%s: %v, want one more of %q", row.name, after.NotKept, row.want)
		}
		must(t, texts.Forget(Path{"", row.path}))
		if n := texts.Stats().Kept; n != 0 {
			t.Fatalf("%s: %d are kept after all", row.name, n)
		}
	}
	for why := range texts.Stats().NotKept {
		if !strings.Contains(strings.Join(TextReasons, " "), why) {
			t.Errorf("%q is not among the reasons", why)
		}
	}
}

func TestEmptyTextsNeedNoRoom(t *testing.T) {
	texts := newTexts(t)
	keepText(t, texts, Path{"", "/a"}, "")
	if !hasText(texts, Path{"", "/a"}, "") {
		t.Error("the empty text is not known")
	}
	wantStats(t, texts, 0, map[string]uint64{})
	if diff, ok := texts.Diff(Path{"", "/a"}, recordFor(nil), recordFor([]byte("a\n")), []byte("a\n")); !ok || diff != "--- before\n+++ after\n@@ -0,0 +1,1 @@\n+a\n" {
		t.Errorf("%v, %q", ok, diff)
	}
}

func TestTextsHaveABoundOnTheirNumber(t *testing.T) {
	texts := newTexts(t)
	for i := range maxTexts + 3 {
		keepText(t, texts, Path{"", fmt.Sprintf("/%d", i)}, fmt.Sprintf("%d\n", i))
	}
	wantStats(t, texts, maxTexts, map[string]uint64{TextFull: 3})
	keepText(t, texts, Path{"", "/7"}, "another\n") // in place of what is kept
	wantStats(t, texts, maxTexts, map[string]uint64{TextFull: 3})
	must(t, texts.Forget(Path{"", "/8"}))
	keepText(t, texts, Path{"", "/new"}, "new\n")
	wantStats(t, texts, maxTexts, map[string]uint64{TextFull: 3})
	if !hasText(texts, Path{"", "/new"}, "new\n") || !hasText(texts, Path{"", "/7"}, "another\n") {
		t.Error("what has room is not kept")
	}
}

func TestTextsHaveABoundOnTheirBytes(t *testing.T) {
	texts := newTexts(t)
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, MaxText)
	var last Path
	n := 0
	for texts.Stats().NotKept[TextFull] == 0 {
		for i := range content {
			content[i] = byte(' ' + random.IntN(95)) // compresses to 82 %
		}
		last = Path{"", fmt.Sprintf("/%d", n)}
		must(t, texts.Keep(last, recordFor(content), content))
		n++
	}
	s := texts.Stats()
	if s.Bytes > maxTextBytes || s.Bytes < maxTextBytes-MaxText || s.Kept != n-1 {
		t.Errorf("%d texts of %d bytes, of %d", s.Kept, s.Bytes, n)
	}
	// A text that has grown beyond what there is room for does not stay as it was.
	small := Path{"", "/small"}
	keepText(t, texts, small, "small\n")
	must(t, texts.Keep(small, recordFor(content), content))
	if hasText(texts, small, "small\n") || texts.Stats().NotKept[TextFull] != 2 {
		t.Errorf("%+v", texts.Stats())
	}
	if fi, err := os.Stat(texts.path); err != nil || fi.Size() > 3*maxTextBytes {
		t.Errorf("the file has %d bytes, %v", fi.Size(), err)
	}
	must(t, texts.Close())
	if again := openTexts(t, texts.path).Stats(); again.Kept != s.Kept || again.Bytes != s.Bytes {
		t.Errorf("opened again there are %d texts of %d bytes, want %d of %d", again.Kept, again.Bytes, s.Kept, s.Bytes)
	}
}

// TestTextsAreWrittenTogether counts transactions: their numbers are in the file.
func TestTextsAreWrittenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db.texts")
	synctest.Test(t, func(t *testing.T) {
		texts := openTexts(t, path)
		writes := func() (n int) {
			t.Helper()
			texts.mu.Lock()
			defer texts.mu.Unlock()
			must(t, texts.db.View(func(tx *bbolt.Tx) error {
				n = tx.ID()
				return nil
			}))
			return n
		}
		before := writes()
		for i := range 2*maxWaiting + 10 {
			keepText(t, texts, Path{"", fmt.Sprintf("/%d", i)}, fmt.Sprintf("%d\n", i))
		}
		if n := writes() - before; n != 2 {
			t.Errorf("%d texts took %d writes, want 2", 2*maxWaiting+10, n)
		}
		time.Sleep(2 * waitToWrite)
		synctest.Wait()
		if n := writes() - before; n != 3 {
			t.Errorf("after a while there were %d writes, want 3", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := writes() - before; n != 3 {
			t.Errorf("with nothing to write there were %d writes, want 3", n)
		}
		must(t, texts.Close())
		wantStats(t, openTexts(t, path), 2*maxWaiting+10, map[string]uint64{})
	})
}

func TestTextsLeaveNoGoroutine(t *testing.T) {
	others := goleak.IgnoreCurrent()
	texts := newTexts(t)
	keepText(t, texts, Path{"", "/a"}, "a")
	must(t, texts.Close())
	goleak.VerifyNone(t, others)
}

// setAside returns the file of texts that was set aside, if there is one.
func setAside(t testing.TB, path string) string {
	t.Helper()
	found, err := filepath.Glob(path + ".corrupt-*")
	must(t, err)
	if len(found) > 1 {
		t.Errorf("%q: want one at most", found)
	}
	return strings.Join(found, " ")
}

func TestCorruptTextsAreSetAside(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(path string) error
	}{
		{"no database", func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("text\n"), 10_000), 0o600) }},
		{"short", func(path string) error { return os.Truncate(path, 100) }},
		{"pages missing", func(path string) error { return os.Truncate(path, int64(4*os.Getpagesize())) }},
		{"zeros", func(path string) error { return os.WriteFile(path, make([]byte, 1<<16), 0o600) }},
		{"zeros behind the beginning", func(path string) error {
			fi, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, append(readPages(path, 2), make([]byte, fi.Size()-int64(2*os.Getpagesize()))...), 0o600)
		}},
		{"huge", func(path string) error { return os.Truncate(path, maxTextsFile+1) }},
		{"directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
		{"symbolic link", func(path string) error { return errors.Join(os.Rename(path, path+"x"), os.Symlink(path+"x", path)) }},
		{"fifo", func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }},
		{"another database", func(path string) error {
			return errors.Join(os.Remove(path), withDB(path, func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(textsBucket)
				return errors.Join(err, b.Put([]byte("key"), []byte("value")))
			}))
		}},
		{"bucket within", func(path string) error {
			return withDB(path, func(tx *bbolt.Tx) error {
				_, err := tx.Bucket(textsBucket).CreateBucket([]byte("key"))
				return err
			})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "[fim]*.db.texts") // which glob would read as a pattern
			texts := openTexts(t, path)
			for i := range 1000 {
				keepText(t, texts, Path{"", fmt.Sprintf("/%d", i)}, fmt.Sprintf("%d\n", i))
			}
			must(t, texts.Close())
			must(t, os.WriteFile(path+".corrupt-20010101T000000.000Z", nil, 0o600))
			must(t, row.damage(path))
			var log bytes.Buffer
			texts, err := OpenTexts(path, TextOptions{Redact: host.RedactText, Log: slog.New(slog.NewTextHandler(&log, nil))})
			must(t, err)
			defer texts.Close()
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), ".corrupt-2") {
				t.Errorf("log: %q", log.String())
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			must(t, err)
			aside := 0
			for _, e := range entries {
				if strings.Contains(e.Name(), ".corrupt-") {
					aside++
				}
			}
			if aside != 1 {
				t.Errorf("%v: want one that is set aside", entries)
			}
			wantStats(t, texts, 0, map[string]uint64{})
			keepText(t, texts, Path{"", "/a"}, "new\n")
			must(t, texts.write())
			if !hasText(texts, Path{"", "/a"}, "new\n") {
				t.Error("nothing is kept any more")
			}
		})
	}
}

func readPages(path string, n int) []byte {
	b, _ := os.ReadFile(path)
	return b[:min(len(b), n*os.Getpagesize())]
}

func withDB(path string, do func(tx *bbolt.Tx) error) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	return errors.Join(db.Update(do), db.Close())
}

func TestTextsThatGoBadInUseAreBegunAnew(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(path string) error
	}{
		{"cut", func(path string) error { return os.Truncate(path, 0) }},
		{"cut to its first pages", func(path string) error { return os.Truncate(path, int64(4*os.Getpagesize())) }},
		{"removed", os.Remove},
		{"overwritten", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write(bytes.Repeat([]byte{0xff}, 1<<20))
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fim.db.texts")
			texts := openTexts(t, path)
			for i := range 2000 {
				keepText(t, texts, Path{"", fmt.Sprintf("/%d", i)}, strings.Repeat(fmt.Sprintf("%d\n", i), 100))
			}
			must(t, texts.write())
			must(t, row.damage(path))
			for i := range 2000 {
				if _, ok := texts.text(Path{"", fmt.Sprintf("/%d", i)}, sha256.Sum256(nil)); !ok {
					t.Fatal("the empty text is not known")
				}
				texts.Has(Path{"", fmt.Sprintf("/%d", i)}, [32]byte{1})
			}
			keepText(t, texts, Path{"", "/new"}, "new\n")
			must(t, texts.write())
			if !hasText(texts, Path{"", "/new"}, "new\n") {
				t.Error("nothing is kept any more")
			}
			if aside := setAside(t, path); (aside == "") != (row.name == "removed") {
				t.Errorf("set aside: %q", aside)
			}
			must(t, texts.Close())
			if texts = openTexts(t, path); !hasText(texts, Path{"", "/new"}, "new\n") || texts.Stats().Kept != 1 {
				t.Errorf("opened again: %+v", texts.Stats())
			}
		})
	}
}

func TestTextsGiveUpOnABadDisk(t *testing.T) {
	texts := newTexts(t)
	for i := range maxReplaced + 3 {
		err := texts.Keep(Path{"", "/a"}, recordFor([]byte{'0' + byte(i)}), []byte{'0' + byte(i)})
		err = errors.Join(err, texts.write())
		if (err == nil) != (i <= maxReplaced) {
			t.Errorf("%d: %v", i, err)
		}
		os.Truncate(texts.path, 100)
	}
	if hasText(texts, Path{"", "/a"}, "0") || texts.Stats().Kept != 0 {
		t.Errorf("%+v", texts.Stats())
	}
	if diff, ok := texts.Diff(Path{"", "/a"}, nil, recordFor([]byte("a\n")), []byte("a\n")); !ok || diff == "" {
		t.Errorf("what needs no kept text: %v, %q", ok, diff)
	}
	must(t, texts.Close())
}

// TestTextsDoNotMindChangedBytes changes bytes anywhere in the file: texts that are not what they should be are not shown.
func TestTextsDoNotMindChangedBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db.texts")
	texts := openTexts(t, path)
	content := func(i int) []byte { return []byte(strings.Repeat(fmt.Sprintf("%d\n", i), 20)) }
	for i := range 200 {
		must(t, texts.Keep(Path{"", fmt.Sprintf("/%d", i)}, recordFor(content(i)), content(i)))
	}
	must(t, texts.Close())
	sound, err := os.ReadFile(path)
	must(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		damaged := bytes.Clone(sound)
		for range 1 + random.IntN(20) {
			damaged[2*os.Getpagesize()+random.IntN(len(damaged)-2*os.Getpagesize())] ^= byte(1 + random.IntN(255))
		}
		must(t, os.WriteFile(path, damaged, 0o600))
		texts, err := OpenTexts(path, TextOptions{Redact: host.RedactText})
		must(t, err)
		for i := range 200 {
			p := Path{"", fmt.Sprintf("/%d", i)}
			if got, ok := texts.text(p, sha256.Sum256(content(i))); ok && !bytes.Equal(got, content(i)) {
				t.Fatalf("%q is shown as %q", content(i), got)
			}
		}
		must(t, texts.Keep(Path{"", "/0"}, recordFor([]byte("new")), []byte("new")))
		must(t, texts.write())
		texts.Close()
	}
}

func TestTextsOfAReadOnlyDirectory(t *testing.T) {
	dir := mounted(t, 16<<20)
	path := filepath.Join(dir, "fim.db.texts")
	must(t, openTexts(t, path).Close())
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	for _, path := range []string{path, filepath.Join(dir, "other")} {
		if _, err := OpenTexts(path, TextOptions{Redact: host.RedactText}); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want EROFS of %s", err, path)
		}
	}
	if _, err := OpenTexts(filepath.Join(dir, "none/fim.db.texts"), TextOptions{Redact: host.RedactText}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestTextsOnAFullDisk(t *testing.T) {
	dir := mounted(t, 1<<20)
	texts := openTexts(t, filepath.Join(dir, "fim.db.texts"))
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, MaxText/2)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		for i := range content {
			content[i] = byte(' ' + random.IntN(95))
		}
		p := Path{"", fmt.Sprintf("/%d", n)}
		if err = texts.Keep(p, recordFor(content), content); err == nil {
			err = texts.write()
		}
	}
	if err == nil || n < 5 {
		t.Fatalf("after %d texts: %v", n, err)
	}
	if s := texts.Stats(); s.Kept != n-1 {
		t.Errorf("%d are kept of %d", s.Kept, n)
	}
	if aside := setAside(t, texts.path); aside != "" {
		t.Errorf("%s was set aside: want what was there to be kept", aside)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m"))
	keepText(t, texts, Path{"", "/more"}, "more\n")
	must(t, texts.write())
	wantStats(t, texts, n, map[string]uint64{})
}

func TestTextsBelongToOneProcess(t *testing.T) {
	texts := newTexts(t)
	if _, err := OpenTexts(texts.path, TextOptions{Redact: host.RedactText}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
	if aside := setAside(t, texts.path); aside != "" {
		t.Errorf("%s was set aside", aside)
	}
	if _, err := OpenTexts(filepath.Join(t.TempDir(), "texts"), TextOptions{}); !errors.Is(err, errNoRedactor) {
		t.Errorf("without a redactor: %v", err)
	}
}

func TestTextsKeepOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fim.db.texts")
	must(t, openTexts(t, path).Close())
	must(t, os.Chmod(path, 0o666))
	openTexts(t, path)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want a mode of 0600", fi.Mode(), err)
	}
}

func TestTextsAreUsedByMany(t *testing.T) {
	texts := newTexts(t)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			before, after := "0\n", ""
			for i := range 300 {
				p := Path{fmt.Sprint(g % 2), fmt.Sprintf("/%d", i%7)}
				after = fmt.Sprintf("%d\n", i)
				keepText(t, texts, p, after)
				if diff, ok := texts.Diff(p, recordFor([]byte(before)), recordFor([]byte(after)), []byte(after)); ok && !strings.Contains(diff, "+"+after) {
					t.Errorf("%q", diff)
				}
				texts.Has(p, sha256.Sum256([]byte(after)))
				switch texts.Stats(); {
				case i%50 == 0:
					if err := texts.ForgetContainer(p.Container); err != nil {
						t.Error(err)
					}
				case i%5 == 0:
					if err := texts.Forget(p); err != nil {
						t.Error(err)
					}
				}
				before = after
			}
		})
	}
	all.Wait()
	n := 0
	for _, container := range []string{"0", "1"} {
		must(t, texts.each(container, func(Path, [32]byte) error {
			n++
			return nil
		}))
	}
	if s := texts.Stats(); s.Kept != n {
		t.Errorf("%d are counted, and %d are there", s.Kept, n)
	}
}

// configurations are texts as they are kept.
func configurations(t testing.TB, n int) (all [][]byte) {
	t.Helper()
	unit, err := os.ReadFile("/etc/services")
	if err != nil {
		t.Skipf("needs /etc/services: %v", err)
	}
	for i := range n {
		all = append(all, fmt.Appendf(nil, "# %d\n%s", i, unit[:2000+i%5000]))
	}
	return all
}

func BenchmarkKeepText(b *testing.B) {
	all := configurations(b, 10_000)
	texts := newTexts(b)
	b.ReportAllocs()
	i, size := 0, 0
	for b.Loop() {
		content := all[i%len(all)]
		size += len(content)
		must(b, texts.Keep(Path{"", fmt.Sprintf("/%d", i%len(all))}, recordFor(content), content))
		i++
	}
	must(b, texts.write())
	s := texts.Stats()
	b.ReportMetric(float64(s.Bytes)/float64(s.Kept), "kept_B/text")
	b.SetBytes(int64(size / b.N))
}

func BenchmarkHasText(b *testing.B) {
	all := configurations(b, 10_000)
	texts := newTexts(b)
	for i, content := range all {
		must(b, texts.Keep(Path{"", fmt.Sprintf("/%d", i)}, recordFor(content), content))
	}
	must(b, texts.write())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		texts.Has(Path{"", fmt.Sprintf("/%d", i%len(all))}, [32]byte{})
	}
}
