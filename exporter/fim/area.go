package fim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// An area is the host or a container: a root with a baseline of its own, and package managers of its own.
type area struct {
	in        *event.Container // nil for the host
	container string           // its id, empty for the host
	root      int              // O_PATH, so that it stays the same whatever becomes of the process that it was found by
	look      *Looker
	packages  *Packages
	scanning  sync.RWMutex // held by scans for reading: there may be one of trees beside one of everything

	// Guarded by the watcher's mu.
	began        time.Time     // of the last scan of everything that has ended
	failed       error         // why that has not come to its end
	ended        chan struct{} // closed when the next one has
	next         time.Time     // of the next scan of everything
	trees        []uncertain   // directories of which all that is beneath is to be looked at
	going        int           // how many of them are gone through now
	owed, owing  uint64        // of unreconciled, those that trees are for which wait, and which are scanned now
	unreconciled uint64        // losses of witnesses after which not everything they may be about was looked at
	marked       bool          // fanotify's marks are set
	remark       bool          // they are to be set again, for what was mounted
	refused      string        // why not all could be set, as it was last said
	built        bool          // the baseline is complete
	files        []uint64      // by watch set
	drifted      []uint64      // nil until it is counted for the first time
	baseline     time.Time     // when it was completed
	scanned      time.Time
	took         time.Duration
	unread       uint64
	progress     Progress
}

func newArea(in *event.Container, container string, root int, o Options) (*area, error) {
	r := &area{in: in, container: container, root: root, files: make([]uint64, o.Sets.Len()),
		ended: make(chan struct{})}
	var err error
	if r.look, err = NewLooker(LookOptions{Root: descriptor(root), MaxSize: int64(o.Config.Scan.MaxFileSize)}); err != nil {
		return nil, err
	}
	if r.packages, err = OpenPackages(descriptor(root)); err != nil {
		return nil, errors.Join(err, r.look.Close())
	}
	return r, nil
}

func (r *area) close() error {
	return errors.Join(r.look.Close(), r.packages.Close(), unix.Close(r.root))
}

// real is a path with the symbolic links followed on the way to it, as the baseline has it; one at its end stays. Where that cannot be
// told, it is as it was.
func (r *area) real(p Path) Path {
	return Path{p.Container, path.Join(Resolver(descriptor(r.root))(path.Dir(p.Name)), path.Base(p.Name))}
}

// restore has the series of the last run, until the first scan of this one has ended.
func (r *area) restore(m Meta, sets *Sets) {
	r.built, r.baseline, r.scanned = true, m.Completed, m.Scanned
	for i := range sets.Len() {
		r.files[i] = m.Watched[sets.Set(i).Name]
	}
}

// An uncertain directory is one in which something may have changed. If it is known who did that, pid is not 0.
type uncertain struct {
	dir   string
	pid   uint32
	since time.Time
}

// several is the pid of an uncertain directory that more than one process has had to do with: which of them it was that something in
// there has changed, it cannot tell.
const several = math.MaxUint32

// also notes that somebody had to do with the directory once more; with 0, nobody knows who.
func (u *uncertain) also(pid uint32) {
	switch {
	case u.pid == 0:
		u.pid = pid
	case pid != 0 && pid != u.pid:
		u.pid = several
	}
}

// queue has a tree scanned; beyond a bound everything is.
func (r *area) queue(u uncertain, lossy bool) {
	if lossy {
		r.unreconciled++
		r.owed++
	}
	known := slices.IndexFunc(r.trees, func(known uncertain) bool { return known.dir == "/" || known.dir == u.dir })
	switch {
	case known >= 0:
		r.trees[known].also(u.pid)
	case len(r.trees) >= maxTrees:
		r.trees = append(r.trees[:0], uncertain{dir: "/", since: r.trees[0].since}) // the first is the oldest
	default:
		r.trees = append(r.trees, u)
	}
}

// counted follows how many files there are between scans.
func (r *area) counted(c *Change) {
	for i := range c.Watches.All() {
		switch {
		case c.From != "":
		case c.Before == nil && c.After != nil:
			r.files[i]++
		case c.Before != nil && c.After == nil && r.files[i] > 0:
			r.files[i]--
		}
	}
}

// A scanJob is what is to be scanned next.
type scanJob struct {
	area  *area
	roots []string
	trees []uncertain // which the roots are, unless everything is scanned
	whole bool
	lossy uint64 // losses that are reconciled when it has ended
}

// scanAll scans what is due until ctx is done.
func (w *Watcher) scanAll(ctx context.Context, next func(now time.Time) (*scanJob, time.Duration), wake <-chan struct{}) {
	for ctx.Err() == nil {
		job, wait := next(time.Now())
		if job == nil {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-wake:
			}
			timer.Stop()
			continue
		}
		began := time.Now()
		err := w.scan(ctx, job)
		if err != nil && ctx.Err() == nil && w.area(job.area.container) == job.area {
			w.fail("files could not be scanned", err)
		}
		if job.whole {
			w.mu.Lock()
			job.area.began, job.area.failed = began, err
			close(job.area.ended)
			job.area.ended = make(chan struct{})
			w.mu.Unlock()
		}
	}
}

const longest = time.Hour // to wait without a look at what is due

// nextTrees is which directories are to be gone through now.
func (w *Watcher) nextTrees(time.Time) (*scanJob, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.areas {
		if len(r.trees) == 0 || !r.built {
			continue
		}
		job := &scanJob{area: r, trees: r.trees, lossy: r.owed}
		for _, u := range r.trees {
			job.roots = append(job.roots, u.dir)
		}
		if slices.Contains(job.roots, "/") {
			job.roots = w.o.Sets.Roots(r.container != "")
		}
		r.trees, r.going, r.owed, r.owing = nil, len(r.trees), 0, r.owed
		return job, 0
	}
	return nil, longest
}

// nextScan is what is to be scanned as a whole now, or how long there is to wait.
func (w *Watcher) nextScan(now time.Time) (*scanJob, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due *area
	for _, r := range w.areas {
		if due == nil || r.next.Before(due.next) {
			due = r
		}
	}
	if due == nil {
		return nil, longest
	}
	if d := due.next.Sub(now); d > 0 {
		return nil, min(longest, d)
	}
	due.next, due.trees, due.owed = now.Add(w.interval()), nil, 0
	return &scanJob{area: due, roots: w.o.Sets.Roots(due.container != ""), whole: true, lossy: due.unreconciled - min(due.owing, due.unreconciled)}, 0
}

// scan does a job.
func (w *Watcher) scan(ctx context.Context, job *scanJob) error {
	r := job.area
	r.scanning.RLock()
	defer r.scanning.RUnlock()
	if w.area(r.container) != r {
		return nil // it has ended
	}
	w.mark(r)
	files := make([]uint64, w.o.Sets.Len())
	o := ScanOptions{Store: w.store, Container: r.container, Roots: job.roots, Part: !job.whole,
		Look: LookOptions{Root: descriptor(r.root), MaxSize: int64(w.o.Config.Scan.MaxFileSize)},
		Tell: func(d Difference) error { return w.tellScanned(ctx, &d, job) }}
	o.Enter, o.Match = w.o.Sets.walk(r.container != "", files)
	if !job.whole { // somebody waits for it
		o.Build = !w.isBuilt(r) // it was forgotten meanwhile
		_, err := Scan(ctx, o)
		w.mu.Lock()
		defer w.mu.Unlock()
		r.going, r.owing = 0, 0
		if err == nil {
			r.unreconciled -= min(job.lossy, r.unreconciled)
		}
		return err
	}
	meta, err := w.store.Meta(r.container)
	if err != nil {
		return err
	}
	sets := signatureOf(w.o.Config)
	o.Build = meta.Completed.IsZero()
	o.LowPriority, o.FilesPerSecond, o.Look.BytesPerSecond = true, w.o.Config.Scan.RateFiles, int64(w.o.Config.Scan.RateBytes)
	o.Progress = func(p Progress) {
		w.mu.Lock()
		defer w.mu.Unlock()
		r.progress = p
	}
	if meta.Sets != "" && meta.Sets != sets && !o.Build {
		if err := w.takeNew(ctx, o, meta.Sets); err != nil {
			return err
		}
	}
	result, err := Scan(ctx, o)
	if err != nil {
		return err
	}
	return w.scanned(ctx, job, &result, files, sets, o.Build)
}

// takeNew makes what is watched for the first time part of the baseline: it was there before, and is no creation.
func (w *Watcher) takeNew(ctx context.Context, o ScanOptions, sets string) error {
	before := setsBefore(sets, Resolver(w.o.Root))
	if before == nil {
		w.o.Log.Warn("other paths are watched than before, and it is not known which were: what is new is taken for what was there")
		o.Tell = func(Difference) error { return nil }
		o.Part = true
	} else {
		onlyNew(&o, before)
	}
	o.Build = true
	o.Match = uncounted(o.Match)
	_, err := Scan(ctx, o)
	return err
}

// uncounted has a scan count no files.
func uncounted(match func(string, bool) Attribute) func(string, bool) Attribute {
	return func(path string, _ bool) Attribute { return match(path, false) }
}

// walk is what a scan asks of the sets: which directories it enters, and what of a path is looked at. It counts files by set.
func (s *Sets) walk(container bool, files []uint64) (enter func(dir string) bool, match func(path string, there bool) Attribute) {
	enter = func(dir string) bool { return s.MayContain(container, dir) }
	match = func(name string, there bool) (of Attribute) {
		for i := range s.Match(container, name).All() {
			of |= s.Set(i).Attributes
			if there {
				files[i]++
			}
		}
		return of
	}
	return enter, match
}

// mark has fanotify tell of what is done in the area from now on, so that nothing falls between it and the scan.
func (w *Watcher) mark(r *area) {
	w.mu.Lock()
	due := !r.marked || r.remark
	r.marked, r.remark = true, false
	w.mu.Unlock()
	if w.fanotify == nil || !due {
		return
	}
	err := w.fanotify.Watch(r.root, r.container, "/")
	w.mu.Lock()
	said := r.refused
	r.refused = reason(err)
	w.mu.Unlock()
	if err == nil || err.Error() == said {
		return
	}
	level := w.o.Log.Warn
	if r.container != "" {
		level = w.o.Log.Debug // which overlayfs does to all of them on old kernels
	}
	level("fanotify does not tell of all changes", "container", r.container, "err", err)
}

// scanned notes what a scan of everything has come to.
func (w *Watcher) scanned(ctx context.Context, job *scanJob, result *ScanResult, files []uint64, sets string, built bool) error {
	r := job.area
	watched := make(map[string]uint64, len(files))
	for i, n := range files {
		watched[w.o.Sets.Set(i).Name] = n
	}
	var completed time.Time
	if err := w.store.SetMeta(r.container, func(m *Meta) { m.Sets, m.Watched, completed = sets, watched, m.Completed }); err != nil {
		return err
	}
	if err := w.store.Verify(ctx); err != nil {
		return err
	}
	if w.texts != nil {
		if _, err := w.texts.Fill(ctx, w.store, w.o.Sets, r.container, func(name string, sum [sha256.Size]byte) ([]byte, error) {
			w.looking.Lock()
			defer w.looking.Unlock()
			return ReadText(r.look, name, sum)
		}); err != nil && ctx.Err() == nil {
			w.o.Log.Warn("changes are told without what has changed in texts", "err", err)
		}
	}
	debug.FreeOSMemory() // a scan leaves behind what it has read of directories and files
	if n := result.unread(); n > 0 {
		w.o.Log.Warn("not everything could be read", "container", r.container, "count", n, "first", result.Reasons)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	r.files, r.built, r.baseline, r.scanned, r.took, r.unread, r.progress = files, true, completed, now, result.Took, result.unread(), Progress{}
	r.unreconciled -= min(job.lossy, r.unreconciled)
	w.failed, w.intact, w.drift = nil, true, true
	if len(r.trees) > 0 { // until the baseline was there they could not be compared
		w.wakeScans()
	}
	if r.container == "" || built {
		w.o.Log.Info("files were looked at", "container", r.container, "files", result.Files, "read", result.Looked, "bytes", result.Bytes,
			"differences", result.Differences, "took", result.Took.Round(time.Millisecond), "baseline", map[bool]string{true: "built", false: "compared"}[built])
	}
	return nil
}

// tellScanned tells what a scan has found, unless a witness has told it meanwhile: it is looked at once more. What has just been
// done is left to those who look at what is suspected, as who did it need not be known yet.
func (w *Watcher) tellScanned(ctx context.Context, d *Difference, job *scanJob) error {
	if w.suspectFound(d, job) {
		return nil
	}
	return w.lookNow(ctx, d)
}

// suspectFound makes suspicions of a difference, if it is of just now or suspected already, and there is room for them.
func (w *Watcher) suspectFound(d *Difference, job *scanJob) bool {
	paths := d.paths()
	justNow, pid := !job.whole, uint32(0)
	var since time.Time
	for _, u := range job.trees {
		if u.pid != 0 && pid != several && strings.HasPrefix(d.Path.Name, u.dir+"/") {
			pid = u.pid
		}
		if isWithin(d.Path.Name, u.dir) && (since.IsZero() || u.since.Before(since)) {
			since = u.since
		}
	}
	if pid == several {
		pid = 0
	}
	w.mu.Lock()
	for _, p := range paths {
		justNow = justNow || w.suspicions[p] != nil
	}
	room := len(w.suspicions) < maxSuspicions/2
	w.mu.Unlock()
	if d.New != nil && time.Since(time.Unix(0, d.New.Changed)) < patience {
		justNow = true
	}
	if !justNow || !room {
		return false
	}
	for i, p := range paths {
		what := made
		switch {
		case i > 0:
			what = left
		case d.New == nil:
			what = gone
		case d.Old != nil && d.From == "":
			what = another
		}
		w.Suspect(Suspicion{Path: p, What: what, Moved: i > 0, PID: pid, Since: since})
	}
	return true
}

// countDrift counts again what is not as the baseline says, if that may have changed.
func (w *Watcher) countDrift() {
	w.mu.Lock()
	due := w.drift && time.Since(w.driftCounted) > 5*time.Second
	w.drift = w.drift && !due
	areas := slices.Collect(maps.Values(w.areas))
	w.mu.Unlock()
	if !due {
		return
	}
	for _, r := range areas {
		drifted := make([]uint64, w.o.Sets.Len())
		if err := w.store.EachDrifted(Path{r.container, "/"}, func(e *Entry) error {
			for i := range w.o.Sets.Match(r.container != "", e.Path.Name).All() {
				drifted[i]++
			}
			return nil
		}); err != nil {
			w.fail("what has drifted cannot be counted", err)
			return
		}
		w.mu.Lock()
		r.drifted = drifted
		w.mu.Unlock()
	}
	w.mu.Lock()
	w.driftCounted = time.Now()
	w.mu.Unlock()
}

// Stats are what a Watcher has to show. Numbers by watch set are of the host and of all containers.
type Stats struct {
	Files        []uint64      // by watch set
	Drifted      []uint64      // by watch set: not as the baseline says; nil until that was counted
	Baseline     time.Time     // when the host's was completed; zero until then
	Scanned      time.Time     // when the last scan of the host ended
	ScanTook     time.Duration //
	Scanning     Progress      // where the present scan of the host is; zero without one
	Unreconciled uint64        // losses after which not all that they may be about was looked at
	Unread       uint64        // files and directories that the last scans could not read, or not all of
	Held         int           // changes that wait for a package manager to end
	Waiting      int           // paths that wait to be looked at, and directories that wait to be gone through, or are
	Overlooked   uint64        // suspicions beyond the bound: their directories were gone through
	Intact       bool          // the baseline is as we have written it, as far as is known
	Open         bool          // it is open
	Failed       error         // what could not be done last
	Fanotify     Counts
	Acts         ActsStats
}

// Stats returns what there is to show now.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Stats{Files: make([]uint64, w.o.Sets.Len()), Held: len(w.held), Waiting: len(w.suspicions),
		Overlooked: w.overlooked, Intact: w.intact, Open: w.areas[""] != nil, Failed: w.failed, Acts: w.acts.Stats()}
	for id, r := range w.areas {
		for i := range r.files {
			s.Files[i] += r.files[i]
		}
		for i, n := range r.drifted {
			if s.Drifted == nil {
				s.Drifted = make([]uint64, w.o.Sets.Len())
			}
			s.Drifted[i] += n
		}
		s.Unreconciled += r.unreconciled
		s.Unread += r.unread
		s.Waiting += len(r.trees) + r.going
		if id == "" {
			s.Baseline, s.Scanned, s.ScanTook, s.Scanning = r.baseline, r.scanned, r.took, r.progress
		}
	}
	if w.fanotify != nil && s.Open {
		s.Fanotify = w.fanotify.Counts()
	}
	return s
}

// maxSignature bounds what a Meta has of the sets.
const maxSignature = 128 << 10

// signatureOf tells apart what is watched: the paths and attributes of all sets, in JSON as a configuration has them, so that those that
// were watched before can be made again; of very many a sum.
func signatureOf(c Config) string {
	all, err := c.all()
	if err != nil {
		return ""
	}
	type watched struct { // of a WatchConfig, as it is read again
		Name                                string
		Of                                  string   `json:",omitempty"`
		Paths, Include, Exclude, Attributes []string `json:",omitempty"`
		Recursive                           *bool    `json:",omitempty"`
		Rest                                bool     `json:",omitempty"`
	}
	what := []watched{}
	for _, s := range all {
		what = append(what, watched{s.Name, s.Of, s.Paths, s.Include, s.Exclude, s.Attributes, s.Recursive, s.Rest})
	}
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Sprint(err)
	}
	if len(text) > maxSignature {
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:])
	}
	return string(text)
}
