package promql

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// An outbox keeps the write-ahead log for the receivers that have not got it yet. The database cuts its log down every
// two hours, whoever still reads it; here every segment, and every checkpoint of series, is a hard link, which takes no
// room until the original goes, and stays until all receivers have it.
type outbox struct {
	wal, dir string
	log      *slog.Logger
	disk     *disk

	mu      sync.Mutex // guards the directory
	readers map[string]*reader
	floor   atomic.Int64 // segments below are given up, because of age, size or a full disk
	why     atomic.Value // which of them, a string
	changed atomic.Pointer[chan struct{}]
}

// A place is how far a receiver has got: all records before are done with.
type place struct {
	segment, record int
}

func outboxIn(store string) string { return filepath.Join(store, "outbox") }

func openOutbox(store string, d *disk, log *slog.Logger) (*outbox, error) {
	b := &outbox{wal: filepath.Join(store, "wal"), dir: outboxIn(store), log: log, disk: d, readers: map[string]*reader{}}
	next := make(chan struct{})
	b.changed.Store(&next)
	b.why.Store("")
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return nil, fmt.Errorf("open store: make outbox: %w", err)
	}
	return b, nil
}

// Notify is called by the database when it has logged something.
func (b *outbox) Notify() {
	next := make(chan struct{})
	close(*b.changed.Swap(&next))
}

// more is closed once there is more to read than at the time of the call.
func (b *outbox) more() <-chan struct{} { return *b.changed.Load() }

// indexes lists the files of a directory that are named by a number after prefix, in order.
func indexes(dir, prefix string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		if n, err := strconv.Atoi(digits); ok && err == nil && n >= 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

const checkpointPrefix = "checkpoint."

func segmentsIn(dir string) ([]int, error)    { return indexes(dir, "") }
func checkpointsIn(dir string) ([]int, error) { return indexes(dir, checkpointPrefix) }

// sync links what is new in the log.
func (b *outbox) sync() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, err := segmentsIn(b.wal)
	if err != nil {
		return fmt.Errorf("read write-ahead log: %w", err)
	}
	for _, n := range now {
		if err := link(wlog.SegmentName(b.wal, n), wlog.SegmentName(b.dir, n)); err != nil {
			return err
		}
	}
	return b.linkCheckpoints()
}

// reconcile is the first sync after the database has opened its log, and maybe repaired it: the damaged segment is then
// another file, and those behind it are gone. Receivers are moved off them. What the database has lost there they have
// lost too, unless it was sent before.
func (b *outbox) reconcile() error {
	have, err := segmentsIn(b.dir)
	if err != nil {
		return fmt.Errorf("read outbox: %w", err)
	}
	now, err := segmentsIn(b.wal)
	if err != nil {
		return fmt.Errorf("read write-ahead log: %w", err)
	}
	first := -1
	for _, n := range have {
		if first < 0 && len(now) > 0 && (n > now[len(now)-1] || replaced(wlog.SegmentName(b.wal, n), wlog.SegmentName(b.dir, n))) {
			first = n
		}
		if first < 0 {
			continue
		}
		if err := os.Remove(wlog.SegmentName(b.dir, n)); err != nil {
			return fmt.Errorf("clear outbox: %w", err)
		}
	}
	if err := b.sync(); err != nil || first < 0 {
		return err
	}
	return b.moveOff(first)
}

// replaced says whether both files are there and are two.
func replaced(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && !os.SameFile(x, y)
}

// moveOff moves receivers that were beyond the beginning of a segment that is another now.
func (b *outbox) moveOff(first int) error {
	b.log.Warn("remote_write goes on behind a damage of the write-ahead log; what was not sent of it is lost", "segment", first)
	kept, err := countRecords(wlog.SegmentName(b.dir, first), b.log)
	if err != nil {
		return err
	}
	now, err := segmentsIn(b.dir)
	if err != nil || len(now) == 0 {
		return err
	}
	for _, r := range b.readers {
		at := r.place()
		switch {
		case at.segment < first:
		case !slices.Contains(now, first+1): // not repaired, which begins a segment: somebody has deleted the log
			err = errors.Join(err, r.move(place{now[0], 0}))
		case at.segment > first:
			err = errors.Join(err, r.move(place{first + 1, 0}))
		default:
			err = errors.Join(err, r.move(place{first, min(at.record, kept)}))
		}
	}
	return err
}

// link makes to another name of a file, unless either is done already: the log may have dropped the file by now.
func link(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("keep the write-ahead log for remote_write, which needs a file system with hard links: %w", err)
}

func (b *outbox) linkCheckpoints() error {
	all, err := checkpointsIn(b.wal)
	if err != nil {
		return fmt.Errorf("read write-ahead log: %w", err)
	}
	for _, n := range all {
		from, to := wlog.CheckpointDir(b.wal, n), wlog.CheckpointDir(b.dir, n)
		if _, err := os.Stat(to); err == nil {
			continue
		}
		parts, err := segmentsIn(from)
		if err != nil {
			return fmt.Errorf("read write-ahead log: %w", err)
		}
		// Its name comes last: half a checkpoint is none.
		if err := os.MkdirAll(to+".tmp", 0o750); err != nil {
			return fmt.Errorf("keep checkpoint: %w", err)
		}
		for _, part := range parts {
			if err := link(wlog.SegmentName(from, part), wlog.SegmentName(to+".tmp", part)); err != nil {
				return err
			}
		}
		if kept, _ := segmentsIn(to + ".tmp"); len(kept) < len(parts) { // the log has dropped it meanwhile
			os.RemoveAll(to + ".tmp")
			continue
		}
		if err := os.Rename(to+".tmp", to); err != nil {
			return fmt.Errorf("keep checkpoint: %w", err)
		}
	}
	return nil
}

// A reader is one receiver's place in the outbox, in a file of its own.
type reader struct {
	file *os.File
	mu   sync.Mutex // guards at
	at   place
}

func (r *reader) place() place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// move remembers a place. It is written at once, which a crash of this process does not undo.
func (r *reader) move(to place) error {
	r.mu.Lock()
	r.at = to
	r.mu.Unlock()
	_, err := r.file.WriteAt(fmt.Appendf(nil, "%08d %020d\n", to.segment, to.record), 0)
	return err
}

const placeSuffix = ".place"

// reader returns the place of a receiver. A new one begins at the end of the log: what was before is not asked for.
func (b *outbox) reader(name string) (*reader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.readers[name]; r != nil {
		return r, nil
	}
	f, err := os.OpenFile(filepath.Join(b.dir, name+placeSuffix), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	r := &reader{file: f}
	if err := b.find(r, name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b.readers[name] = r
	return r, nil
}

func (b *outbox) find(r *reader, name string) error {
	text, err := io.ReadAll(io.LimitReader(r.file, 100))
	if err != nil {
		return fmt.Errorf("read place of %s: %w", name, err)
	}
	all, err := segmentsIn(b.dir)
	if err != nil {
		return fmt.Errorf("read outbox: %w", err)
	}
	if len(all) == 0 {
		all = []int{0}
	}
	if len(text) == 0 {
		last := all[len(all)-1]
		n, err := countRecords(wlog.SegmentName(b.dir, last), b.log)
		return errors.Join(err, r.move(place{last, n}))
	}
	if _, err := fmt.Sscanf(string(text), "%d %d\n", &r.at.segment, &r.at.record); err != nil || r.at.segment < all[0] {
		b.log.Warn("remote_write begins again with all that is kept: its place is not known", "name", name, "place", string(text))
		return r.move(place{all[0], 0})
	}
	return nil
}

// countRecords counts what is whole in a segment.
func countRecords(path string, log *slog.Logger) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	for r := wlog.NewLiveReader(log, readerMetrics, f); r.Next(); {
		n++
	}
	return n, nil
}

// forget drops the places of receivers that are no longer wanted.
func (b *outbox) forget(wanted func(name string) bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(b.dir, "*"+placeSuffix))
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), placeSuffix)
		if wanted(name) {
			continue
		}
		if r := b.readers[name]; r != nil {
			r.file.Close()
			delete(b.readers, name)
		}
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("clear outbox: %w", err)
		}
	}
	return nil
}

// first is the first segment of the outbox that somebody at a place still needs: those behind the last checkpoint before
// it tell the names of its series.
func (b *outbox) first(at int) (checkpoint, segment int) {
	checkpoint = -1
	all, _ := checkpointsIn(b.dir)
	for _, n := range all {
		if n < at {
			checkpoint = n
		}
	}
	return checkpoint, checkpoint + 1
}

// trim removes what no receiver needs, and gives up what is too old or too much.
func (b *outbox) trim(retention time.Duration, limit int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	segments, err := segmentsIn(b.dir)
	if err != nil || len(segments) == 0 {
		return err
	}
	inLog, err := segmentsIn(b.wal)
	if err != nil {
		return err
	}
	oldest := segments[len(segments)-1] + 1
	for _, r := range b.readers {
		oldest = min(oldest, r.place().segment)
	}
	b.giveUp(segments, oldest, inLog, retention, limit)
	checkpoint, first := b.first(oldest)
	for _, n := range segments {
		if n < first && (len(inLog) == 0 || n < inLog[0]) {
			err = errors.Join(err, os.Remove(wlog.SegmentName(b.dir, n)))
		}
	}
	all, _ := checkpointsIn(b.dir)
	for _, n := range all {
		if n < checkpoint {
			err = errors.Join(err, os.RemoveAll(wlog.CheckpointDir(b.dir, n)))
		}
	}
	return err
}

// giveUp raises the floor to the first segment that may stay.
func (b *outbox) giveUp(segments []int, oldest int, inLog []int, retention time.Duration, limit int64) {
	crowded := b.disk.near()
	var size int64
	for _, n := range slices.Backward(segments) { // the newest first
		if len(inLog) > 0 && n >= inLog[0] {
			continue // takes no room of its own
		}
		info, err := os.Stat(wlog.SegmentName(b.dir, n))
		if err != nil {
			continue
		}
		size += info.Size()
		why := ""
		switch {
		case time.Since(info.ModTime()) > retention:
			why = "retention"
		case limit > 0 && size > limit:
			why = "backlog"
		case crowded:
			why = "disk"
		}
		if why == "" {
			continue
		}
		if n >= oldest && int64(n) >= b.floor.Load() {
			b.why.Store(why)
			b.floor.Store(int64(n) + 1)
			b.log.Error("remote_write gives up samples that a receiver has not taken", "reason", why, "segment", n)
		}
		return // what is older goes with it
	}
}

// size is how many bytes of segments a place has still before it.
func (b *outbox) size(at place) int64 {
	all, _ := segmentsIn(b.dir)
	var sum int64
	for _, n := range all {
		if n < at.segment {
			continue
		}
		if info, err := os.Stat(wlog.SegmentName(b.dir, n)); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

func (b *outbox) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	for _, r := range b.readers {
		err = errors.Join(err, r.file.Close())
	}
	return err
}
