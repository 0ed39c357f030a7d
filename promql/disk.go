package promql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/sys/unix"
)

// minFree is what must be free on the disk for the store to write. It covers several scrapes and the head chunks of
// all series, so that tsdb, which cannot take back a half-written one, never meets the end of the disk by itself.
const minFree = 64 << 20

// startWindow is how far back a start timestamp is still news. Older ones have long been stored.
const startWindow = 10 * time.Minute

// A disk is the file system that holds the store.
type disk struct {
	path    string
	minFree uint64
}

// room returns ErrDiskFull if too little is free.
func (d *disk) room() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.path, &fs); err != nil {
		return fmt.Errorf("stat file system of %s: %w", d.path, err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if fs.Blocks == 0 || free >= d.minFree { // some file systems do not say how large they are
		return nil
	}
	return fmt.Errorf("%w: %s has %v free, the store needs %v", ErrDiskFull, d.path, size(free), size(d.minFree))
}

func size(n uint64) string { return units.Base2Bytes(n).Round(1).String() }

// lockDir makes the directory and locks it for this process. The kernel drops the lock when the process dies in
// whatever way, so a file left by a crash blocks nobody. The file itself stays: removing it would let two in.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if errors.Is(err, syscall.ENOSPC) {
		return nil, fmt.Errorf("open store %s: %w: %w", dir, ErrDiskFull, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %s is not writable: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(lockError(dir, f, err), f.Close())
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid()) // only a help for whoever comes second
	}
	return f, nil
}

func lockError(dir string, f *os.File, err error) error {
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("lock store %s: %w", dir, err)
	}
	holder, _ := io.ReadAll(io.LimitReader(f, 20))
	if pid := strings.TrimSpace(string(holder)); pid != "" {
		return fmt.Errorf("open store %s: %w by process %s", dir, ErrInUse, pid)
	}
	return fmt.Errorf("open store %s: %w by another process", dir, ErrInUse)
}

// A guard takes samples for the database while the disk has room, and says when that changes.
type guard struct {
	db      *tsdb.DB
	disk    *disk
	log     *slog.Logger
	refused prometheus.Counter
	full    atomic.Bool
}

func newGuard(db *tsdb.DB, d *disk, log *slog.Logger, reg prometheus.Registerer) *guard {
	g := &guard{db: db, disk: d, log: log, refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "yagura_store_appends_refused_total",
		Help: "Scrapes or parts of them that the store did not take because its disk is full.",
	})}
	reg.MustRegister(g.refused)
	return g
}

// AppenderV2 returns an appender of the database, or one that refuses everything while the disk is full.
func (g *guard) AppenderV2(ctx context.Context) storage.AppenderV2 {
	err := g.disk.room()
	if was := g.full.Swap(err != nil); was != (err != nil) {
		g.logChange(err)
	}
	if err != nil {
		g.refused.Inc()
		return refusal{err}
	}
	return appender{g.db.AppenderV2(ctx)}
}

func (g *guard) logChange(err error) {
	if err != nil {
		g.log.Error("store takes no samples", "err", err)
		return
	}
	g.log.Info("store takes samples again")
}

// An appender hides start timestamps that tsdb has seen long ago: it would format the labels of each such series,
// at every scrape, for a debug line that nobody reads.
type appender struct{ storage.AppenderV2 }

func (a appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	if st < t-startWindow.Milliseconds() {
		st = 0
	}
	return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, o)
}

// A refusal is an appender that takes nothing.
type refusal struct{ err error }

func (r refusal) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusal) Commit() error   { return r.err }
func (r refusal) Rollback() error { return nil }
