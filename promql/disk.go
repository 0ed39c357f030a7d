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
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
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

// near says that little more than the least is free.
func (d *disk) near() bool {
	twice := disk{d.path, 2 * d.minFree}
	return twice.room() != nil
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

// An appendable is a database that takes samples.
type appendable interface {
	storage.Appendable
	storage.AppendableV2
}

// A guard takes samples for the database while the disk has room, and says when that changes.
type guard struct {
	db      appendable
	disk    *disk
	log     *slog.Logger
	refused prometheus.Counter
	full    atomic.Bool
	newest  atomic.Int64 // timestamp taken
}

func newGuard(db appendable, d *disk, log *slog.Logger, reg prometheus.Registerer) *guard {
	g := &guard{db: db, disk: d, log: log, refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "yagura_store_appends_refused_total",
		Help: "Scrapes, rule results and remote writes, or parts of them, that the store did not take because its disk is full.",
	})}
	reg.MustRegister(g.refused)
	return g
}

// AppenderV2 returns an appender of the database, or one that refuses everything while the disk is full.
func (g *guard) AppenderV2(ctx context.Context) storage.AppenderV2 {
	if err := g.room(); err != nil {
		return refusal{err}
	}
	return &appender{AppenderV2: g.db.AppenderV2(ctx), guard: g}
}

// Appender is AppenderV2 for the parts of Prometheus that still append one thing at a time: rules and receivers.
func (g *guard) Appender(ctx context.Context) storage.Appender {
	if err := g.room(); err != nil {
		return refusalV1{err}
	}
	return g.db.Appender(ctx)
}

func (g *guard) room() error {
	err := g.disk.room()
	if was := g.full.Swap(err != nil); was != (err != nil) {
		g.logChange(err)
	}
	if err != nil {
		g.refused.Inc()
	}
	return err
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
type appender struct {
	storage.AppenderV2
	guard  *guard
	newest int64
}

// Append takes one sample.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	if st < t-startWindow.Milliseconds() {
		st = 0
	}
	a.newest = max(a.newest, t)
	return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, o)
}

// Commit writes what was appended.
func (a *appender) Commit() error {
	for n := a.guard.newest.Load(); n < a.newest; n = a.guard.newest.Load() {
		a.guard.newest.CompareAndSwap(n, a.newest)
	}
	return a.AppenderV2.Commit()
}

// A refusal is an appender that takes nothing.
type refusal struct{ err error }

func (r refusal) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusal) Commit() error   { return r.err }
func (r refusal) Rollback() error { return nil }

// A refusalV1 is the same of the older kind.
type refusalV1 struct{ err error }

func (r refusalV1) Commit() error                     { return r.err }
func (r refusalV1) Rollback() error                   { return nil }
func (r refusalV1) SetOptions(*storage.AppendOptions) {}
func (r refusalV1) Append(storage.SeriesRef, labels.Labels, int64, float64) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusalV1) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusalV1) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusalV1) AppendHistogramSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusalV1) AppendSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refusalV1) UpdateMetadata(storage.SeriesRef, labels.Labels, metadata.Metadata) (storage.SeriesRef, error) {
	return 0, r.err
}
