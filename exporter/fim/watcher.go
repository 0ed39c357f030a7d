package fim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Options say what a Watcher watches, whom it asks, and whom it tells.
type Options struct {
	Config Config
	Sets   *Sets
	Root   string // where the host's files are; empty for /
	Procfs string // empty for /proc

	Containers func() []Running                       // those that run; nil if there are none
	Container  func(cgroupID uint64) *event.Container // nil if there are none
	Process    func(pid uint32) *event.Process        // also of who has just ended; nil if nobody is known
	Lost       func() uint64                          // how many of the kernel's events never came, since the start; nil for none
	Behind     func() time.Duration                   // how old those are that Observe is called with now; nil for new

	Tell   func(*Change)            // never called twice at once; it may keep the change
	Redact func(text string) string // takes secrets out of a line of a text; without it no differences of texts are told
	Log    *slog.Logger

	without bool // no witness is asked to begin with: what scans find is all there is, as after events were lost
}

// Running is a container that runs, and a process of it by which its files are reached.
type Running struct {
	*event.Container
	Process event.ID
}

// Bounds of what waits to be looked at. A path is looked at once nothing has happened to it for a while, so that what is done to
// it in a row is one change; but not later than patience allows. Files that may grow are given more time.
const (
	settleTime    = 150 * time.Millisecond // acts come up to 20 ms after they were done
	patience      = 2 * time.Second
	growing       = 10 // times as long for files that may grow
	lookEvery     = 50 * time.Millisecond
	maxSuspicions = 16384
	maxLooks      = 256 // at once
	maxTrees      = 256 // directories that wait to be gone through
	maxContainers = 1024
	followEvery   = 5 * time.Second  // containers
	openEvery     = 30 * time.Second // tries to open a store that cannot be opened
	retryAfter    = time.Minute      // after a scan that has failed
	lossEvery     = 10 * time.Minute // at most, scans of everything because events of the kernel were lost
	forgetAfter   = time.Hour        // baselines of containers that have ended
	maxBehind     = 10 * time.Second
	maxAgain      = time.Minute // between looks at a file that is open for writing, without fanotify
)

// movedOn is beside the kinds of a suspicion: the file has another name that is watched, too.
const movedOn = KindSet(1 << 15)

// A Watcher finds out what has changed, once a witness tells it where something may have, or by going through all files. What it
// has told it never tells again, also after it was started anew: the store knows it.
type Watcher struct {
	o    Options
	acts *Acts

	// Set once, by Run, when the store could be opened.
	store    *Store
	texts    *Texts
	fanotify *Fanotify
	refused  error // why there is none
	mounts   *Mounts

	looking sync.Mutex // held from a look at files until what was seen is in the store, and told

	mu         sync.Mutex // guards what follows
	areas      map[string]*area
	gone       map[string]time.Time // containers that ended, whose baselines are still there
	suspicions map[Path]*suspicion
	order      []Path          // of suspicions, as they came
	mountings  []MountSighting // that wait to be told
	renamings  []renaming      // the latest, by when they were seen
	held       map[Path]*Change
	heldOrder  []Path
	lost       uint64 // of the kernel's events, when they were last asked about
	drift      bool   // what has drifted is to be counted again
	overlooked uint64
	failed     error
	intact     bool
	wake       [2]chan struct{} // the goroutines that scan trees, and everything

	driftCounted time.Time
	complaints   map[string]complaint // by message

	owed [2][]Path // what is told, or need not be, and is not noted yet: expected, and others; guarded by looking
}

// A suspicion is that something has happened to a path.
type suspicion struct {
	first, last time.Time
	what        KindSet
	pid         uint32 // by the word of fanotify
	closed      bool
	slow        bool
	again       time.Duration // it was looked at so long ago, and somebody may have written to it since
}

// NewWatcher returns one that knows of nothing yet. Observe may be called at once.
func NewWatcher(o Options) *Watcher {
	o.Root, o.Procfs = cmp.Or(o.Root, "/"), cmp.Or(o.Procfs, "/proc")
	w := &Watcher{o: o, areas: map[string]*area{}, gone: map[string]time.Time{}, suspicions: map[Path]*suspicion{}, held: map[Path]*Change{}, complaints: map[string]complaint{},
		wake: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}}
	w.acts = NewActs(ActsOptions{Sets: o.Sets, Root: o.Root, Procfs: o.Procfs, Process: o.Process, Container: o.Container, Sight: w.Suspect, Renamed: w.Renamed})
	return w
}

// Prepare asks the kernel for fanotify's queues, while the process still has the privilege to have them.
func (w *Watcher) Prepare() {
	if w.o.without || w.o.Config.Store == "" {
		return
	}
	var err error
	w.fanotify, err = NewFanotify(FanotifyOptions{Log: w.o.Log, Enter: func(p Path) bool { return w.o.Sets.MayContain(p.Container != "", p.Name) }})
	if err != nil {
		w.o.Log.Warn("files are watched without fanotify: what the kernel's programs do not tell is found by scans", "err", err)
		w.fanotify, w.refused = nil, err
	}
	if w.mounts, err = NewMounts(w.o.Log); err != nil {
		w.o.Log.Warn("mounts over watched files are found by scans only", "err", err)
		w.mounts = nil
	}
}

// Report says by what files are watched here, and why not by more. It is for people, and asked before Run.
func (w *Watcher) Report() (lines []string) {
	switch {
	case w.fanotify == nil:
		lines = append(lines, fmt.Sprintf("fanotify  OFF: %v", w.refused))
	case w.fanotify.pairs:
		lines = append(lines, "fanotify  on, a rename told as two events")
	default:
		lines = append(lines, "fanotify  on")
	}
	store, err := Open(w.o.Config.Store, StoreOptions{Key: w.o.Config.Key, ReadOnly: true})
	if err != nil {
		return append(lines, fmt.Sprintf("baseline  %v", err))
	}
	meta, err := store.Meta("")
	if err = errors.Join(err, store.Close()); err != nil || meta.Completed.IsZero() {
		return append(lines, fmt.Sprintf("baseline  %v", cmp.Or(err, ErrIncomplete)))
	}
	return append(lines, fmt.Sprintf("baseline  %d files, completed %s", meta.Files, meta.Completed.Format(time.RFC3339)))
}

// Observe takes note of an event of the kernel. It is called by one goroutine, and only enqueues.
func (w *Watcher) Observe(ev *event.Event) {
	if w.o.Config.Store != "" {
		w.acts.Observe(ev)
	}
}

// Interest is what must leave the kernel so that the watcher can tell who has changed a file.
func (w *Watcher) Interest() event.Interest {
	if w.o.Config.Store == "" {
		return event.Interest{}
	}
	return InterestIn(w.o.Sets)
}

// A Suspicion is what a witness has seen, or thinks to have seen.
type Suspicion struct {
	Path   Path
	What   KindSet
	Moved  bool      // it is called something else now that is watched, too
	Closed bool      // who had it open for writing has closed it
	Unsure bool      // it may be a path of a root that is gone, and not this one
	PID    uint32    // who it was, 0 if that is not known
	Since  time.Time // zero for just now
}

// Suspect has a path looked at soon. It never blocks, and costs little for paths that nobody watches.
func (w *Watcher) Suspect(s Suspicion) {
	if s.What&(1<<Mounted|1<<Unmounted) != 0 && w.mounts != nil {
		return // it tells of mounts that can be seen; most calls are of container runtimes, in name spaces of their own
	}
	of := w.o.Sets.Match(s.Path.Container != "", s.Path.Name)
	if of == 0 {
		if s.What&moving != 0 && w.o.Sets.MayContain(s.Path.Container != "", s.Path.Name) {
			w.goThrough(s.Path, false, s.PID)
		}
		return
	}
	if s.Moved {
		s.What |= movedOn
	}
	if s.Unsure && w.fanotify != nil { // which tells of what really came or went here
		s.What &^= 1<<Created | 1<<Deleted
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.suspicions[s.Path]
	if known == nil {
		if len(w.suspicions) >= maxSuspicions {
			w.overlooked++
			w.queueTree(Path{s.Path.Container, filepath.Dir(s.Path.Name)}, true, 0)
			return
		}
		known = &suspicion{first: now, slow: w.mayGrow(of)}
		w.suspicions[s.Path] = known
		w.order = append(w.order, s.Path)
	}
	if known.first.After(now) { // it was to be looked at later anyway
		known.first, known.again = now, 0
	}
	if !s.Since.IsZero() && s.Since.Before(known.first) {
		known.first = s.Since
	}
	known.last, known.what, known.closed = now, known.what|s.What, known.closed || s.Closed
	known.pid = cmp.Or(s.PID, known.pid)
}

// A renaming is what was called by another name a moment ago, with all that is in it.
type renaming struct {
	container, from, to string
	at                  time.Time
}

// Bounds of the renamings that are remembered.
const (
	maxRenamings = 256
	renamingTime = 10 * time.Second
)

// Renamed says that something has another name, both of them in places where something is watched: what is at the one is looked at
// together with what is at the other.
func (w *Watcher) Renamed(from, to Path) {
	if from.Container != to.Container {
		return
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renamings = slices.DeleteFunc(w.renamings, func(r renaming) bool { return now.Sub(r.at) > renamingTime })
	if len(w.renamings) == maxRenamings {
		w.renamings = slices.Delete(w.renamings, 0, 1)
	}
	w.renamings = append(w.renamings, renaming{from.Container, from.Name, to.Name, now})
}

// otherName is what a path was called before, or is called now, by the latest renaming that it or a directory above it has undergone.
func (w *Watcher) otherName(p Path) (other Path, ok bool) {
	for _, r := range slices.Backward(w.renamings) {
		switch {
		case r.container != p.Container:
		case isWithin(p.Name, r.from):
			return Path{p.Container, r.to + p.Name[len(r.from):]}, true
		case isWithin(p.Name, r.to):
			return Path{p.Container, r.from + p.Name[len(r.to):]}, true
		}
	}
	return other, false
}

// withOtherNames adds to what is due what that was called before or is called now, so that both halves of a renaming are found at once.
func (w *Watcher) withOtherNames(due []looked) []looked {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.renamings) == 0 {
		return due
	}
	known := make(map[Path]bool, len(due))
	for i := range due {
		known[due[i].path] = true
	}
	for _, l := range due {
		other, ok := w.otherName(l.path)
		if !ok || known[other] || w.o.Sets.Match(other.Container != "", other.Name) == 0 {
			continue
		}
		known[other] = true
		s := suspicion{first: l.first, last: l.last, what: left | movedOn, pid: l.pid}
		if waits := w.suspicions[other]; waits != nil {
			s = *waits
			delete(w.suspicions, other)
			w.order = slices.DeleteFunc(w.order, func(p Path) bool { return p == other })
		}
		due = append(due, looked{s, other})
	}
	return due
}

// mayGrow says whether all of some watch sets allow a file to grow.
func (w *Watcher) mayGrow(of Watches) bool {
	for i := range of.All() {
		if w.o.Sets.Set(i).ReadsContent() {
			return false
		}
	}
	return true
}

// goThrough has all that is in a directory looked at. If it is because a witness has lost something, that is reconciled then. Else
// it may be known whose doing it is that what is in there has changed.
func (w *Watcher) goThrough(dir Path, lossy bool, pid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queueTree(dir, lossy, pid)
}

// queueTree is goThrough with mu held.
func (w *Watcher) queueTree(dir Path, lossy bool, pid uint32) {
	r := w.areas[dir.Container]
	if r == nil {
		return // what a container has done by now is in its baseline, once it has one
	}
	r.queue(uncertain{dir.Name, pid, time.Now()}, lossy)
	w.wakeScans()
}

func (w *Watcher) wakeScans() {
	for _, wake := range w.wake {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// ScanNow looks at all files of the host, and returns once that is done. It builds the baseline if there is none; anew, what is known
// of the host is forgotten first.
func (w *Watcher) ScanNow(ctx context.Context, anew bool) error {
	if anew {
		err := w.alone(func(a *area) error {
			w.mu.Lock()
			a.built = false
			w.mu.Unlock()
			return w.store.Forget("")
		})
		if err != nil {
			return err
		}
	}
	asked := time.Now()
	a := w.area("")
	if a == nil {
		return errors.New("files are not watched any more")
	}
	w.mu.Lock()
	a.next = asked
	w.wakeScans()
	w.mu.Unlock()
	for {
		w.mu.Lock()
		ended, began, err := a.ended, a.began, a.failed
		w.mu.Unlock()
		if began.After(asked) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
		}
	}
}

// alone does something to the host's baseline while nobody else compares files with it.
func (w *Watcher) alone(do func(a *area) error) error {
	a := w.area("")
	if a == nil {
		return errors.New("files are not watched any more")
	}
	a.scanning.Lock()
	defer a.scanning.Unlock()
	w.looking.Lock()
	defer w.looking.Unlock()
	return do(a)
}

// lookNow looks at where a difference was found, has the store know what is there now, and tells that.
func (w *Watcher) lookNow(ctx context.Context, d *Difference) error {
	w.looking.Lock()
	defer w.looking.Unlock()
	var sights []Sight
	for _, p := range d.paths() {
		s, ok, err := w.sight(ctx, p, 1<<Created)
		if err != nil {
			return err
		}
		if ok {
			sights = append(sights, s)
		}
	}
	_, err := w.learn(sights, nil)
	return err
}

// changed takes note of what a command has done to the baseline. One that was imported is compared with the files.
func (w *Watcher) changed() {
	meta, err := w.store.Meta("")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drift, w.driftCounted = true, time.Time{}
	if a := w.areas[""]; a != nil && err == nil && meta.Scanned.IsZero() {
		a.next = time.Now()
		w.wakeScans()
	}
}

// control lets commands reach the store.
func (w *Watcher) control() *Control {
	return NewControl(ControlOptions{Config: w.o.Config, Root: w.o.Root, Sets: func() *Sets { return w.o.Sets }, Store: w.Store, Stats: w.Stats,
		Rescan: w.ScanNow, Learn: w.lookNow, Changed: w.changed, Log: w.o.Log,
		Alone: func(_ context.Context, do func() error) error { return w.alone(func(*area) error { return do() }) }})
}

// Run opens the store, builds the baseline if there is none, and looks at what is suspected, and at everything from time to time,
// until ctx is done. A store that cannot be opened, as it is in use or has been tampered with, is tried again; nothing is told
// until then.
func (w *Watcher) Run(ctx context.Context) error {
	if w.o.Config.Store == "" {
		<-ctx.Done()
		return nil
	}
	defer w.close()
	if !w.open(ctx) {
		return nil
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	if w.fanotify != nil {
		parts.Go(func() {
			if err := w.fanotify.Run(ctx, w.sighted); err != nil && ctx.Err() == nil {
				w.o.Log.Error("fanotify tells nothing any more: what the kernel's programs do not tell is found by scans", "err", err)
			}
		})
	}
	if w.mounts != nil {
		parts.Go(func() {
			if err := w.mounts.Run(ctx, w.mounted); err != nil && ctx.Err() == nil {
				w.o.Log.Error("mounts are not watched any more", "err", err)
			}
		})
	}
	parts.Go(func() {
		if err := w.control().Run(ctx); err != nil {
			w.o.Log.Error("commands cannot reach the baseline any more", "err", err)
		}
	})
	parts.Go(func() { w.scanAll(ctx, w.nextTrees, w.wake[0]) })
	parts.Go(func() { w.scanAll(ctx, w.nextScan, w.wake[1]) })
	w.lookAll(ctx)
	return nil
}

// open opens the store as soon as that can be done, and says whether it could.
func (w *Watcher) open(ctx context.Context) bool {
	said := ""
	for {
		store, err := openOrMake(w.o.Config)
		if err == nil {
			w.store = store
			break
		}
		w.mu.Lock()
		_, absent := os.Lstat(w.o.Config.Store)
		w.failed, w.intact = err, absent != nil && !errors.Is(err, ErrTampered) || errors.Is(err, ErrInUse)
		w.mu.Unlock()
		if text := err.Error(); text != said {
			said = text
			w.o.Log.Error("files are not watched until the baseline can be opened", "err", err, "tried_again_every", openEvery)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(openEvery):
		}
	}
	baselines, err := w.store.Containers()
	if err != nil {
		w.complain("baselines of containers are not known", err)
	}
	w.mu.Lock()
	for _, id := range baselines {
		if id != "" {
			w.gone[id] = time.Now() // unless it is found to run
		}
	}
	w.mu.Unlock()
	if w.o.Redact == nil {
		w.o.Log.Debug("changes are told without what has changed in texts: nobody takes out secrets")
	} else if w.texts, err = OpenTexts(w.o.Config.Store+".texts", TextOptions{Redact: w.o.Redact, Log: w.o.Log}); err != nil {
		w.o.Log.Warn("changes are told without what has changed in texts", "err", err)
	}
	root, err := unix.Open(w.o.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = w.enter(nil, root, filepath.Join(w.o.Procfs, "1/mountinfo"))
	}
	w.mu.Lock()
	w.failed, w.intact = err, true
	w.lost = w.lostEvents()
	w.mu.Unlock()
	if err != nil {
		w.o.Log.Error("files are not watched", "root", w.o.Root, "err", err)
	}
	return err == nil
}

func openOrMake(c Config) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(c.Store), 0o700); err != nil {
		return nil, fmt.Errorf("make room for the baseline: %w", err)
	}
	return Open(c.Store, StoreOptions{Key: c.Key})
}

// close gives back all that Prepare and Run have opened. What is still held back then is told after the next start: as often as not it is
// the package manager at work that ends this process.
func (w *Watcher) close() {
	if w.store != nil {
		w.tellHeld()
		w.looking.Lock()
		w.told(nil, nil, nil)
		w.looking.Unlock()
	}
	w.mu.Lock()
	if n := len(w.held); n > 0 {
		w.o.Log.Info("changes wait for a package manager to end: they are told after the next start", "count", n)
	}
	areas := slices.Collect(maps.Values(w.areas))
	w.areas = map[string]*area{}
	w.mu.Unlock()
	var err error
	for _, r := range areas {
		err = errors.Join(err, r.close())
	}
	if w.fanotify != nil {
		err = errors.Join(err, w.fanotify.Close())
	}
	if w.mounts != nil {
		err = errors.Join(err, w.mounts.Close())
	}
	if w.texts != nil {
		err = errors.Join(err, w.texts.Close())
	}
	if w.store != nil {
		err = errors.Join(err, w.store.Close())
	}
	if err != nil {
		w.o.Log.Warn("watching of files ends", "err", err)
	}
}

// Store is the baseline, nil until Run has opened it.
func (w *Watcher) Store() *Store {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.areas[""] == nil {
		return nil
	}
	return w.store
}

// sighted takes the word of fanotify.
func (w *Watcher) sighted(s Sighting) {
	if s.Overflow {
		w.goThrough(Path{s.Path.Container, cmp.Or(s.Path.Name, "/")}, true, 0)
		return
	}
	what := kindsSeen(s.What)
	if s.OldPath != nil {
		w.Renamed(*s.OldPath, s.Path)
		w.Suspect(Suspicion{Path: *s.OldPath, What: left, Moved: w.o.Sets.Match(s.Path.Container != "", s.Path.Name) != 0, PID: s.PID})
	}
	w.Suspect(Suspicion{Path: s.Path, What: what, Closed: s.What&SawClosed != 0, PID: s.PID})
	if s.IsDir && s.What&(SawRenamed|SawMovedIn|SawMovedOut|SawCreated) != 0 {
		w.goThrough(s.Path, false, s.PID)
		if s.OldPath != nil {
			w.goThrough(*s.OldPath, false, s.PID)
		}
	}
}

// kindsSeen are the kinds of change that may be behind what was seen.
func kindsSeen(what What) (kinds KindSet) {
	for _, of := range [...]struct {
		what  What
		kinds KindSet
	}{
		{SawCreated | SawFound, made | linked}, {SawDeleted, gone | linked}, {SawRenamed | SawMovedIn, arrived}, {SawMovedOut, left},
		{SawModified | SawClosed, written}, {SawAttributes, owned | allowed | tagged | flagged | linked},
	} {
		if what&of.what != 0 {
			kinds |= of.kinds
		}
	}
	return kinds
}

// mounted takes note of what is mounted over what is watched, or ceases to be, and has what is there now looked at.
func (w *Watcher) mounted(m MountSighting) {
	container := m.Path.Container != ""
	if w.o.Sets.Match(container, m.Path.Name) == 0 && !w.o.Sets.MayContain(container, m.Path.Name) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mountings) < maxTrees {
		w.mountings = append(w.mountings, m)
	} else {
		w.overlooked++
	}
	if r := w.areas[m.Path.Container]; r != nil {
		r.remark = true
		w.queueTree(m.Path, false, 0)
	}
}

// tellMountings tells of mounts once it can be known whose doing they were.
func (w *Watcher) tellMountings(now time.Time) {
	behind := w.behind()
	w.mu.Lock()
	due := 0
	for due < len(w.mountings) && now.Sub(w.mountings[due].At) >= settleTime+behind {
		due++
	}
	all := slices.Clone(w.mountings[:due])
	w.mountings = slices.Delete(w.mountings, 0, due)
	w.mu.Unlock()
	for _, m := range all {
		kind := Unmounted
		if m.Mounted {
			kind = Mounted
		}
		if c := w.change(&Difference{Path: m.Path}, 1<<kind); c != nil {
			w.tellMounting(m, c, now)
		}
	}
}

func (w *Watcher) tellMounting(m MountSighting, c *Change, now time.Time) {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.blame(c, &suspicion{first: m.At, last: now, what: c.Kinds})
	if c.Actor == nil && now.Sub(m.At) < patience {
		w.mu.Lock() // what is mounted is seen before the call returns, at times long before
		defer w.mu.Unlock()
		w.mountings = append(w.mountings, m)
		return
	}
	var t telling
	w.tellOrHold(c, &t)
	w.tell(&t)
}

// lookAll looks at what is suspected, follows containers, and settles what was held, until ctx is done.
func (w *Watcher) lookAll(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var followed, housekept time.Time
	for ctx.Err() == nil {
		now := time.Now()
		if now.Sub(followed) >= followEvery {
			followed = now
			w.follow(now)
		}
		if err := w.lookAt(ctx, w.due(now)); err != nil && ctx.Err() == nil {
			w.fail("what was seen cannot be compared with the baseline: a scan will", err)
		}
		w.tellMountings(now)
		if now.Sub(housekept) >= time.Second {
			housekept = now
			w.noteLosses(now)
			w.tellHeld()
			w.countDrift()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// A complaint is the last error that a message was logged with.
type complaint struct {
	text string
	at   time.Time
}

// complain logs an error, unless it was said already within the time that it takes to try again.
func (w *Watcher) complain(message string, err error) (said bool) {
	now := time.Now()
	w.mu.Lock()
	last := w.complaints[message]
	if said = last.text != err.Error() || now.Sub(last.at) >= retryAfter; said {
		w.complaints[message] = complaint{err.Error(), now}
	}
	w.mu.Unlock()
	if said {
		w.o.Log.Error(message, "err", err, "again_in", retryAfter)
	}
	return said
}

// fail says that something could not be done, in the log and the series; everything is looked at again after a while.
func (w *Watcher) fail(message string, err error) {
	said := w.complain(message, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = err
	if errors.Is(err, ErrTampered) || errors.Is(err, ErrCorrupt) {
		w.intact = false
	}
	for _, r := range w.areas {
		if said || r.unreconciled == 0 {
			r.unreconciled++
		}
		r.next = earliest(r.next, time.Now().Add(retryAfter))
	}
}

func (w *Watcher) lostEvents() uint64 {
	if w.o.Lost == nil {
		return 0
	}
	return w.o.Lost()
}

// noteLosses has everything looked at after events of the kernel were lost: fanotify may not have seen all of it.
func (w *Watcher) noteLosses(now time.Time) {
	lost := w.lostEvents()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.areas[""]
	if r == nil || lost == w.lost {
		return
	}
	w.lost = lost
	r.unreconciled++
	r.next = earliest(r.next, latest(now, r.scanned.Add(lossEvery)))
}

// follow begins to watch containers that run, and ceases to watch those that do not any more.
func (w *Watcher) follow(now time.Time) {
	if w.o.Containers == nil || len(w.o.Sets.Roots(true)) == 0 {
		return
	}
	running := map[string]bool{}
	for _, c := range w.o.Containers() {
		running[c.ID] = true
		w.mu.Lock()
		known, many := w.areas[c.ID] != nil, len(w.areas) > maxContainers
		w.mu.Unlock()
		if known || many {
			continue
		}
		root, err := w.ownRoot(c.Process)
		if err == nil {
			err = w.enter(c.Container, root, filepath.Join(w.o.Procfs, fmt.Sprint(c.Process.PID), "mountinfo"))
		}
		if err != nil {
			w.o.Log.Debug("a container's files are not watched", "container", c.ID, "err", err) // it ends just now, or another process is tried next
		}
	}
	w.mu.Lock()
	var ended []*area
	for id, r := range w.areas {
		if id != "" && !running[id] {
			ended = append(ended, r)
			delete(w.areas, id)
			w.gone[id] = now
		}
	}
	var forgotten []string
	for id, since := range w.gone {
		if running[id] {
			delete(w.gone, id)
		} else if now.Sub(since) >= forgetAfter {
			delete(w.gone, id)
			forgotten = append(forgotten, id)
		}
	}
	w.mu.Unlock()
	for _, r := range ended {
		w.leave(r)
	}
	for _, id := range forgotten {
		if err := w.tellUntold(id); err != nil {
			w.o.Log.Warn("changes of a container that were not told are not known", "container", id, "err", err)
		}
		if w.texts != nil {
			err := w.texts.ForgetContainer(id)
			w.o.Log.Debug("texts of a container are forgotten", "container", id, "err", err)
		}
		if err := w.store.Forget(id); err != nil {
			w.o.Log.Warn("a container's baseline is not forgotten", "container", id, "err", err)
		}
	}
}

// ownRoot opens the root of a container's process, which is the area's from then on. Until a runtime gives the process a root of its own,
// it has that of the runtime: what is watched already is no container's.
func (w *Watcher) ownRoot(process event.ID) (root int, err error) {
	if root, err = w.acts.rootOf(process); err != nil {
		return root, err
	}
	at, err := placeOf(root)
	if err != nil {
		return -1, errors.Join(err, unix.Close(root))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, r := range w.areas {
		if other, err := placeOf(r.root); err == nil && other == at {
			return -1, errors.Join(fmt.Errorf("its root is that of %s: want one of its own", whose(Path{Container: id})), unix.Close(root))
		}
	}
	return root, nil
}

// placeOf tells an open file from others.
func placeOf(fd int) (place, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return place{}, fmt.Errorf("look at an open directory: %w", err)
	}
	return place{st.Dev, st.Ino}, nil
}

// enter begins to watch the files of a container, or with nil of the host, below an open directory that is the area's from then on.
func (w *Watcher) enter(in *event.Container, root int, mountinfo string) error {
	container := ""
	if in != nil {
		container = in.ID
	}
	r, err := newArea(in, container, root, w.o)
	if err != nil {
		return errors.Join(err, unix.Close(root))
	}
	if w.mounts != nil {
		if err := w.mounts.Watch(container, mountinfo); err != nil {
			w.o.Log.Warn("mounts over watched files are found by scans only", "container", container, "err", err)
		}
	}
	r.next = time.Now()
	if meta, err := w.store.Meta(container); err == nil && !meta.Completed.IsZero() {
		r.restore(meta, w.o.Sets)
		if !w.o.Config.Scan.AtStart && container == "" {
			r.next = time.Now().Add(w.interval())
		}
	}
	w.mu.Lock()
	w.areas[container] = r
	w.drift = true
	w.mu.Unlock()
	if err := w.tellUntold(container); err != nil {
		w.fail("changes that were not told before the last end are not known", err)
	}
	w.wakeScans()
	return nil
}

func (w *Watcher) leave(r *area) {
	if w.fanotify != nil {
		w.fanotify.Unwatch(r.container)
	}
	if w.mounts != nil {
		w.mounts.Unwatch(r.container)
	}
	r.scanning.Lock() // until a scan that is going on has ended
	defer r.scanning.Unlock()
	w.looking.Lock()
	defer w.looking.Unlock()
	if err := r.close(); err != nil {
		w.o.Log.Debug("a container's files are let go", "container", r.container, "err", err)
	}
}

// interval is how long to wait for the next scan; for ever is long enough.
func (w *Watcher) interval() time.Duration {
	if w.o.Config.Scan.Interval == 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return w.o.Config.Scan.Interval
}

// looked is a path that is due, and why.
type looked struct {
	suspicion
	path Path
}

// behind is by how much longer it takes to know who it was than settleTime; a machine that cannot keep up is not waited for without end.
func (w *Watcher) behind() time.Duration {
	if w.o.Behind == nil {
		return 0
	}
	return min(w.o.Behind(), maxBehind)
}

// due takes the paths that nothing has happened to for a while.
func (w *Watcher) due(now time.Time) (due []looked) {
	behind := w.behind()
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.order[:0]
	for _, p := range w.order {
		s, settle, wait := w.suspicions[p], settleTime+behind, patience+behind
		if s.slow {
			settle, wait = settle*growing, wait*growing
		}
		if len(due) == maxLooks || now.Sub(s.last) < settle && now.Sub(s.first) < wait {
			kept = append(kept, p)
			continue
		}
		due = append(due, looked{*s, p})
		delete(w.suspicions, p)
	}
	clear(w.order[len(kept):])
	w.order = kept
	return due
}

// lookAt tells what has changed at the paths.
func (w *Watcher) lookAt(ctx context.Context, due []looked) error {
	if len(due) == 0 {
		return nil
	}
	due = w.withOtherNames(due)
	w.looking.Lock()
	defer w.looking.Unlock()
	why := make(map[Path]*suspicion, len(due))
	var sights []Sight
	for i := range due {
		l := &due[i]
		s, ok, err := w.sight(ctx, l.path, l.what)
		if err != nil {
			return err
		}
		if ok {
			why[l.path] = &l.suspicion
			sights = append(sights, s)
		}
		if w.fanotify == nil && l.what&(1<<ContentChanged) != 0 {
			w.lookAgain(l)
		}
	}
	found, err := w.learn(sights, why)
	if err != nil {
		return err
	}
	var t telling
	for path, s := range why {
		const fleeting = 1<<Created | 1<<Deleted
		if !found[path] && s.what&fleeting == fleeting && s.what&movedOn == 0 && w.isNowhere(path) {
			w.found(&Difference{Path: path}, s, fleeting, &t) // it came and went
		}
	}
	w.tell(&t)
	return nil
}

// lookAgain has a path looked at later for as long as somebody may write to it, less and less often: without fanotify nobody tells
// when he does.
func (w *Watcher) lookAgain(l *looked) {
	if !w.acts.MayWrite(l.path) {
		return
	}
	later := min(max(2*l.again, time.Second), maxAgain)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.suspicions[l.path] != nil || len(w.suspicions) >= maxSuspicions/2 {
		return
	}
	at := time.Now().Add(later)
	w.suspicions[l.path] = &suspicion{first: at, last: at, what: l.what, pid: l.pid, slow: l.slow, again: later}
	w.order = append(w.order, l.path)
}

// isNowhere says that nothing is at a path and nothing ever was.
func (w *Watcher) isNowhere(p Path) bool {
	e, err := w.store.Get(p)
	return err == nil && e.Base == nil && e.Now == nil
}

// sight looks at a path. Not ok is what cannot be looked at, which a scan counts, and what the baseline does not know of yet, and
// nobody has made meanwhile.
func (w *Watcher) sight(ctx context.Context, p Path, what KindSet) (s Sight, ok bool, err error) {
	r := w.area(p.Container)
	if r == nil {
		return s, false, nil
	}
	e, err := w.store.Get(p)
	if err != nil {
		return s, false, err
	}
	if real := r.real(p); real != p { // a call has spelled it through a symbolic link, or one is now where a directory was
		if e.Base == nil && e.Now == nil {
			w.Suspect(Suspicion{Path: real, What: what &^ movedOn, Moved: what&movedOn != 0})
			return s, false, nil
		}
		s = Sight{Path: p, Of: w.o.Sets.asked(p, e.Now, nil)}
		return s, s.Of != 0, nil
	}
	if e.Base == nil && e.Now == nil && what&(1<<Created) == 0 && !w.isBuilt(r) {
		return s, false, nil
	}
	s = Sight{Path: p}
	record, err := r.look.Look(ctx, p.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		w.o.Log.Debug("a file cannot be looked at", "path", p.Name, "container", p.Container, "err", err)
		return s, false, ctx.Err()
	default:
		s.Now = &record
	}
	s.Of = w.o.Sets.asked(p, e.Now, s.Now)
	return s, s.Of != 0, nil
}

func (w *Watcher) isBuilt(r *area) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return r.built
}

func (w *Watcher) area(container string) *area {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.areas[container]
}

// learn has the store know what was seen, and tells how it differs from what was known. looking is held.
func (w *Watcher) learn(sights []Sight, why map[Path]*suspicion) (found map[Path]bool, err error) {
	differences, err := w.store.Learn(sights) // what is learnt before an error is told
	var t telling
	found = make(map[Path]bool, len(differences))
	for i := range differences {
		found[differences[i].Path] = true
	}
	for _, d := range joinRenamed(differences) {
		s := why[d.Path]
		if s == nil && d.From != "" {
			s = why[Path{d.Path.Container, d.From}]
		}
		w.found(&d, s, kindsOf(&d), &t)
		if isDir := d.Old != nil && d.Old.Mode.IsDir() || d.New != nil && d.New.Mode.IsDir(); isDir && s != nil && (d.Old == nil || d.New == nil || d.From != "") {
			for _, p := range d.paths() {
				w.goThrough(p, false, s.pid)
			}
		}
	}
	w.tell(&t)
	return found, err
}

// joinRenamed makes one difference of what has gone at one path and come at another.
func joinRenamed(all []Difference) []Difference {
	gone := map[place]int{}
	for i := range all {
		if d := &all[i]; d.New == nil && d.Old != nil {
			gone[place{d.Old.Device, d.Old.Inode}] = i
		}
	}
	joined := map[int]bool{}
	for i := range all {
		d := &all[i]
		if d.Old != nil || d.New == nil {
			continue
		}
		at := place{d.New.Device, d.New.Inode}
		if from, ok := gone[at]; ok && all[from].Path.Container == d.Path.Container && sameFile(all[from].Old, d.New) {
			d.From, d.Old, d.Changed = all[from].Path.Name, all[from].Old, Compare(all[from].Old, d.New, Everything)
			joined[from] = true
			delete(gone, at)
		}
	}
	kept := all[:0]
	for i, d := range all {
		if !joined[i] {
			kept = append(kept, d)
		}
	}
	return kept
}

// found makes a change of a difference, if it counts for a watch set, to be told or held back. looking is held.
func (w *Watcher) found(d *Difference, s *suspicion, kinds KindSet, t *telling) {
	c := w.change(d, kinds)
	if c == nil {
		t.nothing = append(t.nothing, d.paths()...)
		return
	}
	w.blame(c, s)
	w.tellOrHold(c, t)
}

// change is what a difference comes to; nil if it counts for no watch set.
func (w *Watcher) change(d *Difference, kinds KindSet) *Change {
	c := &Change{Time: time.Now(), Path: d.Path, From: d.From, Before: d.Old, After: d.New}
	if a := w.area(d.Path.Container); a != nil {
		c.In = a.in
	}
	if !w.count(c, kinds) {
		return nil
	}
	return c
}

// tellOrHold has a change told whose maker is known as far as can be, unless it is to be seen first what a package manager is doing.
func (w *Watcher) tellOrHold(c *Change, t *telling) {
	w.explain(c)
	if !w.judge(c) {
		if held := w.hold(c); held != nil {
			t.held = append(t.held, held)
			return
		}
	}
	t.changes = append(t.changes, c)
}

// count notes for which watch sets a change counts, and as what.
func (w *Watcher) count(c *Change, kinds KindSet) bool {
	c.Severity = event.Debug
	container := c.Path.Container != ""
	of := w.o.Sets.Match(container, c.Path.Name)
	if c.From != "" {
		of |= w.o.Sets.Match(container, c.From)
	}
	if kinds&(1<<Mounted|1<<Unmounted) != 0 && of == 0 {
		of = w.below(container, c.Path.Name)
	}
	for i := range of.All() {
		set := w.o.Sets.Set(i)
		counted := kinds & set.Kinds
		if c.Before != nil && c.After != nil && !set.ContentCounts(c.Before, c.After) {
			counted &^= 1 << ContentChanged
		}
		if counted == 0 {
			continue
		}
		c.Kinds |= counted
		c.Watches |= 1 << i
		c.Severity = min(c.Severity, set.Severity) // emergencies are 0
	}
	return c.Watches != 0
}

// below are the sets that watch something below a directory.
func (w *Watcher) below(container bool, dir string) (of Watches) {
	for _, root := range w.o.Sets.Roots(container) {
		if dir == "/" || len(root) > len(dir) && root[:len(dir)] == dir && root[len(dir)] == '/' {
			of |= w.o.Sets.Match(container, root)
		}
	}
	return of
}

// blame finds out who it was, and when.
func (w *Watcher) blame(c *Change, s *suspicion) {
	q := Sought{Path: c.Path, What: c.Kinds, To: c.Time, From: w.lastSeen(c.Path.Container)}
	if c.After != nil {
		q.Device, q.Inode = c.After.Device, c.After.Inode
		if changed := time.Unix(0, c.After.Changed); s == nil && changed.After(q.From) && changed.Before(c.Time) {
			q.From, q.To, c.Time = changed.Add(-settleTime), changed.Add(settleTime), changed
		}
	}
	if s != nil {
		q.PID, q.From, q.To, q.Closed = s.pid, s.first.Add(-settleTime), s.last, s.closed
		q.What |= s.what &^ movedOn
		c.Time = s.last
	}
	if c.From != "" {
		q.What |= arrived
	}
	q.SameFile = c.From == "" && c.Before != nil && c.After != nil && c.Before.Device == c.After.Device && c.Before.Inode == c.After.Inode
	act, confidence := w.acts.Who(q)
	if confidence == Unexplained {
		return
	}
	c.Actor, c.Confidence = &act.Actor, confidence
	if confidence >= ByDirectory {
		c.Time = act.Time
	}
}

// lastSeen is when everything was last looked at.
func (w *Watcher) lastSeen(container string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.areas[container]; r != nil {
		return r.scanned
	}
	return time.Time{}
}

// explain adds what has changed in a text.
func (w *Watcher) explain(c *Change) {
	diff := false
	for i := range c.Watches.All() {
		diff = diff || w.o.Sets.Set(i).Diff
	}
	r := w.area(c.Path.Container)
	if !diff || w.texts == nil || r == nil {
		return
	}
	var now []byte
	if c.After != nil && c.After.Summed {
		var err error
		if now, err = ReadText(r.look, c.Path.Name, c.After.Sum); err != nil {
			return // it has changed again, and will be told again; or it is no text
		}
	}
	c.Diff, _ = w.texts.Diff(c.Path, c.Before, c.After, now)
	if c.After == nil {
		w.texts.Forget(c.Path)
	} else if now != nil {
		if err := w.texts.Keep(c.Path, c.After, now); err != nil {
			w.o.Log.Debug("a text is not kept", "err", err)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
