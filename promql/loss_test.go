package promql

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// What is lost when is in README.md; the tests of this file, disk_test.go, crash_test.go, remotewrite_test.go and
// loss_soak_test.go hold it to that.

// damage overwrites a few bytes in the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("this is not what was written"), info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// many appends samples a millisecond apart, each in a commit of its own.
func many(t *testing.T, s *Store, name string, n int, from time.Time) {
	t.Helper()
	for i := range n {
		if err := put(s, from.Add(time.Duration(i)*time.Millisecond), float64(i), series(name, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// A damaged segment is repaired by the database at the next start: it drops what is behind the damage. A receiver that
// had nothing of it yet loses the same and nothing else, and goes on with what comes later.
func TestDamagedLogLosesOnlyWhatIsBehindTheDamage(t *testing.T) {
	t.Parallel()
	m, dir, start := newMailbox(t), t.TempDir(), time.Now().Add(-time.Minute)
	m.answer.Store(http.StatusBadGateway)
	s := openWith(t, Options{Path: dir, Config: sendingTo(m, "v2")})
	many(t, s, "before", 5000, start)
	eventually(t, "a try", func() bool { return m.asked.Load() > 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, wlog.SegmentName(filepath.Join(dir, "wal"), 0))

	m.answer.Store(0)
	var log journal
	s = openWith(t, Options{Path: dir, Config: sendingTo(m, "v2"), Log: log.logger()})
	if !log.has("remote_write goes on behind a damage") {
		t.Error("the log says nothing of the damage")
	}
	many(t, s, "after", 10, time.Now())
	eventually(t, "what came after", func() bool { return value(t, m.Store, "count_over_time(after[5m])") == "10" })
	records, err := countRecords(wlog.SegmentName(filepath.Join(dir, "wal"), 0), quietLog())
	if err != nil || records < 2 || records >= 5000 {
		t.Fatalf("%d records kept in the damaged segment, %v", records, err)
	}
	want := fmt.Sprint(records - 1) // one names the series
	eventually(t, "what was before the damage", func() bool { return value(t, m.Store, "count_over_time(before[5m])") == want })
	// The database has chunks in files of their own too.
	kept := value(t, s, "count_over_time(before[5m])")
	t.Logf("of 5000 samples, after damage in the middle, the store has %s and the receiver %s", kept, want)
	if kept == "" || kept == "5000" {
		t.Errorf("%s samples kept", kept)
	}
}

// A receiver that already had what is behind the damage keeps it.
func TestDamageDoesNotSendTwice(t *testing.T) {
	t.Parallel()
	m, dir := newMailbox(t), t.TempDir()
	s := openWith(t, Options{Path: dir, Config: sendingTo(m, "v1")})
	many(t, s, "before", 5000, time.Now().Add(-time.Minute))
	eventually(t, "all samples", func() bool { return value(t, m.Store, "count_over_time(before[5m])") == "5000" })
	eventually(t, "the place remembered", func() bool { return s.post.box.Load().readers["far"].place().record > 5000 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, wlog.SegmentName(filepath.Join(dir, "wal"), 0))
	s = openWith(t, Options{Path: dir, Config: sendingTo(m, "v1")})
	many(t, s, "after", 10, time.Now())
	eventually(t, "what came after", func() bool { return value(t, m.Store, "count_over_time(after[5m])") == "10" })
	if failed := metricSum(t, s, "prometheus_remote_storage_samples_failed_total"); failed != 0 {
		t.Errorf("%v samples were sent again", failed)
	}
}

// An operator who deletes the log gets an empty one; receivers go on with it.
func TestDeletedLogDoesNotStopReceivers(t *testing.T) {
	t.Parallel()
	m, dir := newMailbox(t), t.TempDir()
	for round := range 3 {
		s := openWith(t, Options{Path: dir, Config: sendingTo(m, "v2")})
		many(t, s, fmt.Sprint("round", round), 10, time.Now())
		eventually(t, "a round", func() bool { return value(t, m.Store, fmt.Sprintf("count_over_time(round%d[5m])", round)) == "10" })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			if err := os.RemoveAll(filepath.Join(dir, "wal")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// While the clock is ahead nothing is lost. When it steps back, a series takes no sample until the clock has passed its
// newest one, unless that is within the window; and none at all that is an hour older than the newest of all.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	for window, want := range map[time.Duration]string{0: "202", 2 * time.Hour: "302"} {
		s, err := Open(Options{Path: t.TempDir(), Config: Config{OutOfOrderWindow: window}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		now := time.Now().Add(-3 * time.Hour)
		many(t, s, "a", 100, now)
		ahead := now.Add(30 * time.Minute)
		many(t, s, "a", 100, ahead)
		var refused error
		for i := range 100 { // the clock is right again, and goes on
			refused = put(s, now.Add(time.Minute+time.Duration(i)*time.Millisecond), 1, series("a", 0))
		}
		if (refused == nil) != (window > 0) || window == 0 && refused != storage.ErrOutOfOrderSample {
			t.Errorf("with a window of %v, a sample of the right clock: %v", window, refused)
		}
		many(t, s, "a", 2, ahead.Add(time.Minute)) // it has caught up
		if got := value(t, s, "count_over_time(a[4h])"); got != want {
			t.Errorf("with a window of %v: %s samples, want %s", window, got, want)
		}
	}
}
