package promql

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"
)

// tmpfs mounts a file system of so many MiB for the test.
func tmpfs(t *testing.T, mib int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a mount of its own")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("needs mount(2): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill leaves so many MiB free.
func fill(t *testing.T, dir string, leave int) string {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "ballast")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	room := int64(fs.Bavail)*fs.Bsize - int64(leave)<<20
	for _, size := range []int64{64 << 10, 4 << 10} {
		for page := make([]byte, size); room >= size; room -= size {
			if _, err := f.Write(page); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	return name
}

func TestOpenOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, 1)
	_, err := Open(Options{Path: filepath.Join(dir, "data"), Self: nothing()})
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "the store needs 64MiB") {
		t.Errorf("open on a full disk: %v", err)
	}
	fill(t, dir, 0)
	if _, err = Open(Options{Path: filepath.Join(dir, "data"), Self: nothing()}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("open on a disk without a free byte: %v", err)
	}
	full := filepath.Join(dir, "data")
	none, err := OpenIfRoom(Options{Path: full, Self: nothing(), Log: slog.New(slog.DiscardHandler)})
	if none != nil || err != nil {
		t.Errorf("open if there is room, on a full disk: %v, %v, want neither a store nor an error", none, err)
	}
	if err := NotReady(full, none); !errors.Is(err, ErrDiskFull) {
		t.Errorf("not ready for %v, want the full disk", err)
	}
}

func TestNoStoreIsWanted(t *testing.T) {
	s, err := OpenIfRoom(Options{})
	if s != nil || err != nil || NotReady("", s) != nil {
		t.Errorf("OpenIfRoom without a path = %v, %v; not ready: %v", s, err, NotReady("", s))
	}
}

func TestOpenOnReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, 100)
	data := filepath.Join(dir, "data")
	s := open(t, data, nothing(), nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{data, filepath.Join(dir, "new")} {
		if _, err := Open(Options{Path: path}); !errors.Is(err, syscall.EROFS) || !strings.HasPrefix(err.Error(), "open store") {
			t.Errorf("open %s: %v", path, err)
		}
	}
}

func TestFullDiskStopsOnlyTheSamples(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, 100)
	self, counter := subject()
	var log journal
	s := open(t, filepath.Join(dir, "data"), self, log.logger())
	run(t, s)
	eventually(t, "a scrape", func() bool { return value(t, s, `test_requests_total`) == "3" })

	ballast := fill(t, dir, 1)
	eventually(t, "a clear message", func() bool { return log.has("store takes no samples") && log.has("disk is full") })
	counter.Inc()
	if got := value(t, s, `last_over_time(test_requests_total[1m])`); got != "3" || !s.Ready() {
		t.Errorf("query on a full disk: %q, ready %v", got, s.Ready())
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new samples", func() bool { return log.has("store takes samples again") && value(t, s, `test_requests_total`) == "4" })
}

// Somebody else may fill the disk between our look and our write. Then the database itself meets the end.
func TestProcessSurvivesFailedWrites(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, 100)
	self, _ := subject()
	var log journal
	data := filepath.Join(dir, "data")
	s, err := Open(Options{Path: data, Self: self, Log: log.logger(), Config: Config{ScrapeInterval: 100 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	s.disk.minFree = 0
	all := make([]labels.Labels, 200)
	for i := range all {
		all[i] = series("m", i)
	}
	start := time.Now().Add(-time.Minute)
	for i := range 150 { // more than one chunk for each
		if err := put(s, start.Add(time.Duration(i)*100*time.Millisecond), float64(i*i%977), all...); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, dir, 0)
	run(t, s)
	eventually(t, "a clear message", func() bool { return log.has("no space left on device") })
	if s.mapped() || !log.has("store keeps its chunks in memory until the next start") {
		t.Error("head chunks were written to a full disk")
	}
	if got := value(t, s, `count(m offset 50s)`); got != "200" {
		t.Errorf("query after failed writes: %q", got)
	}
	if err := s.Close(); err != nil || !log.has("the next start reads it from the write-ahead log") {
		t.Errorf("close: %v", err)
	}

	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	again := open(t, data, self, nil)
	if got := value(t, again, `sum(count_over_time(m[10m]))`); got != "30000" {
		t.Errorf("after reopening with room: %q samples, want 30000", got)
	}
}
