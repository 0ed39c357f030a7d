package fim

import (
	"cmp"
	"iter"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what Acts keeps. Acts on paths of no watch set may be such on watched files by other names, so some are kept:
// each process has its place among those of some others, so that who does much hides his own acts first.
const (
	maxActs      = 8192
	maxActAge    = 2 * time.Minute
	maxActBytes  = 4 << 20 // of names
	maxWriters   = 4096    // files that were opened for writing, and not closed since
	otherGroups  = 64
	othersEach   = 64
	maxOtherName = 512 // bytes; of a longer name only that there was one is kept
	maxAncestors = 16
	mergeWithin  = time.Second // calls of one process about one path are one act
)

// Acts knows who has lately done what to files. Observe is called by one goroutine at a time; everything else by any.
type Acts struct {
	root, procfs string
	process      func(pid uint32) *event.Process
	container    func(cgroupID uint64) *event.Container
	sight        func(Suspicion)
	renamed      func(from, to Path)
	clock        func() (wall time.Time, boot uint64)
	watched      atomic.Pointer[watchedPaths]
	roots        map[event.ID]rootPlace // of processes of the host that have done something to what is watched; Observe's

	mu      sync.Mutex
	recent  deedRing // on watched paths
	writers deedRing // of watched files
	others  [otherGroups][othersEach]deed
	turns   [otherGroups]uint8 // the oldest of each group
	number  uint64             // of the latest deed
	stats   ActsStats
}

// ActsOptions say whose files are watched, and where to look for what events do not tell.
type ActsOptions struct {
	Sets      *Sets
	Root      string                                 // where the host's files are; empty for /
	Procfs    string                                 // empty for /proc
	Process   func(pid uint32) *event.Process        // of the process table; nil if there is none
	Container func(cgroupID uint64) *event.Container // nil if there are none
	Sight     func(Suspicion)                        // called with what may have been done to a watched path; nil for nobody
	Renamed   func(from, to Path)                    // called before that with both names of what has another one; nil for nobody
}

// ActsStats counts what is kept.
type ActsStats struct {
	Acts        int    // on watched paths, whether somebody asked for them or not
	Writers     int    // files opened for writing, and not known to be closed
	Overwritten uint64 // acts on watched paths that were forgotten before anybody asked for them, for want of room
}

// NewActs returns an Acts that knows of nothing yet.
func NewActs(o ActsOptions) *Acts {
	a := &Acts{roots: map[event.ID]rootPlace{}, root: o.Root, procfs: o.Procfs, process: o.Process, container: o.Container, sight: o.Sight, renamed: o.Renamed, clock: clocks,
		recent: newDeedRing(maxActs, maxActBytes), writers: newDeedRing(maxWriters, maxActBytes)}
	if a.root == "" {
		a.root = "/"
	}
	if a.procfs == "" {
		a.procfs = "/proc"
	}
	if a.process == nil {
		a.process = func(uint32) *event.Process { return nil }
	}
	if a.sight == nil {
		a.sight = func(Suspicion) {}
	}
	if a.renamed == nil {
		a.renamed = func(Path, Path) {}
	}
	if a.container == nil {
		a.container = func(uint64) *event.Container { return nil }
	}
	a.SetWatches(o.Sets)
	return a
}

// SetWatches has other sets from now on.
func (a *Acts) SetWatches(s *Sets) {
	a.watched.Store(watchedBy(s))
}

// Stats returns what is kept now.
func (a *Acts) Stats() ActsStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Acts = a.recent.len()
	for n := a.writers.from; n < a.writers.next; n++ {
		s.Writers += flag(a.writers.at(n).over == 0)
	}
	return s
}

// clocks are the wall clock, and the one that the kernel's events go by, read at nearly the same time: of some pairs that which
// was least interrupted.
func clocks() (wall time.Time, boot uint64) {
	const enough, tries = 50_000, 10 // ns
	for least, n := uint64(math.MaxUint64), 0; least > enough && n < tries; n++ {
		before, at, after := sinceBoot(), time.Now(), sinceBoot()
		if took := after - before; took < least {
			least, wall, boot = took, at, before+took/2
		}
	}
	return wall, boot
}

func sinceBoot() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // no Linux that we run on is without
	}
	return uint64(t.Nano())
}

// An Act is something that somebody has done to a file.
type Act struct {
	What  KindSet    // kinds of change that it may have made
	Call  event.Type // how it began
	Names []string   // of the file as the actor's root shows it; where it was renamed from and to; empty if they are not known
	Time  time.Time  // when it was last done
	Ring  bool       // by io_uring
	Actor Actor
}

// An Actor is who did it, as he was then.
type Actor struct {
	PID                 uint32
	Start               uint64 // ns since boot
	Exe, Comm           string
	Args                []string   // as they were passed: whoever shows them redacts them
	UID, EUID, LoginUID uint32     // LoginUID is 4294967295 if nobody logged in
	Ancestors           []Ancestor // nearest first
	Container           string     // its id, empty on the host and where it is not known
	event.Workload

	Process *event.Process   // who it was then, nil where only some of it is known
	In      *event.Container // as its runtime describes it, nil on the host and where it is not known
}

// An Ancestor is a process that has made another one, or its parent.
type Ancestor struct {
	PID       uint32
	Start     uint64
	Exe, Comm string
	UID       uint32
	Container bool // it may be in the actor's container
}

// Ancestry is the executables of the actor and of those above, nearest first; empty where one is not known.
func (a *Actor) Ancestry() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(a.Exe) {
			return
		}
		for i := range a.Ancestors {
			if !yield(a.Ancestors[i].Exe) {
				return
			}
		}
	}
}

// A deed is an act as it is kept: processes and containers do not change once they are published.
type deed struct {
	number      uint64 // counts deeds from 1; 0 for none
	first, last uint64 // of its calls, ns since boot
	over        uint64 // of a writer: when he closed the file, or ended; 0 while he may write
	claimed     uint64 // until when changes have been found that it made; 0 for none

	id               event.ID
	process          *event.Process
	container        *event.Container
	unit             string
	cgroup           uint64
	comm             [16]byte
	uid, euid, login uint32

	call    event.Type
	ring    bool
	follows bool // symbolic links that its names may be
	names   [2]named
	blind   KindSet // to a file that it does not name
	file    KindSet // to the open file
	opened  openFile

	keys  [keysEach]uint64 // of a deedRing
	older [keysEach]uint64
}

// A named is a name of a file, and what may have happened to it. One that does not begin with a slash starts nobody knows where.
type named struct {
	name string
	what KindSet
}

type openFile struct {
	device uint32 // as the kernel numbers it
	inode  uint64
}

// Observe takes note of a call that may have changed a file.
func (a *Acts) Observe(ev *event.Event) {
	switch ev.Kind {
	case event.Exit:
		a.end(ev)
	case event.Syscall:
		if int(ev.Type) < len(effectOf) && effectOf[ev.Type] != nil && ev.Call.Result >= 0 {
			a.note(ev, effectOf[ev.Type])
		}
	}
}

func (a *Acts) note(ev *event.Event, e *effect) {
	effects, ok := effectsOf(ev, e)
	if !ok {
		return
	}
	d := deed{
		first: ev.Boot, last: ev.Boot,
		id: event.ID{PID: ev.PID, Start: ev.Start}, process: ev.Process, container: ev.Container, unit: ev.Unit, cgroup: ev.CgroupID,
		comm: ev.Caller.Comm, uid: ev.UID, euid: ev.Caller.EUID, login: ev.Caller.LoginUID,
		call: ev.Type, ring: ev.Call.Ring, follows: e.follows, file: effects.file,
	}
	d.nameFiles(ev, &effects)
	watched := a.watched.Load()
	in := ev.Container != nil
	isWatched := false
	for i := range d.names {
		n := &d.names[i]
		if clean := lexical(n.name, ev.PID); watched.has(in, clean) {
			n.name, isWatched = clean, true
		}
	}
	unsure := false
	if isWatched && !in {
		root := a.rootOfEvent(ev)
		unsure = root.unsure
		isWatched = a.fromHost(&d, watched, root)
	}
	a.keep(&d, isWatched, ev.Type.Opens())
	if !isWatched {
		return
	}
	who := ""
	if in {
		who = ev.Container.ID
	}
	both := watched.has(in, d.names[0].name) && watched.has(in, d.names[1].name)
	if both && d.names[0].what == left {
		a.renamed(Path{who, d.names[0].name}, Path{who, d.names[1].name})
	}
	for i := range d.names {
		if n := &d.names[i]; n.what != 0 && n.name != "" && n.name[0] == '/' {
			a.sight(Suspicion{Path: Path{who, n.name}, What: n.what, Moved: i == 0 && both && n.what == left, Unsure: unsure})
		}
	}
}

// fromHost has the names of a deed be those that the host has for them, and says whether one of them is watched.
func (a *Acts) fromHost(d *deed, watched *watchedPaths, root rootPlace) (isWatched bool) {
	switch {
	case root.hidden:
		return false
	case root.prefix == "":
		return true
	}
	for i := range d.names {
		if n := &d.names[i]; n.name != "" && n.name[0] == '/' {
			n.name = tidy(root.prefix + n.name)
			isWatched = isWatched || watched.has(false, n.name)
		}
	}
	return isWatched
}

func (a *Acts) keep(d *deed, isWatched, opens bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !isWatched || d.blind != 0 {
		a.keepOther(d)
	}
	if !isWatched {
		return
	}
	a.stats.Overwritten += a.recent.keep(d, &a.number)
	if opens && d.opened.inode != 0 {
		a.writers.keep(d, &a.number)
	}
}

// effectsOf is what a call that succeeded may have done; nothing if it was one that changes no file.
func effectsOf(ev *event.Event, e *effect) (effect, bool) {
	is, c := *e, &ev.Call
	switch {
	case ev.Type.Opens():
		if event.How(ev)&(event.OpenWrite|event.OpenCreated) == 0 && !truncates(ev) {
			return is, false
		}
		if ev.FD.Created {
			is.names[0] |= made
			is.file |= made
		}
	case ev.Type == typeIoctl:
		is.file = ioctlEffects[uint32(c.Arg[1])]
		return is, is.file != 0
	case ev.Type == typeRenameat2 && c.Arg[4]&unix.RENAME_EXCHANGE != 0:
		is.names[0] = arrived
	case ev.Type == typeMount:
		const unchanged = unix.MS_REMOUNT | unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE
		if c.Arg[3]&unchanged != 0 {
			return is, false
		}
		if c.Arg[3]&unix.MS_MOVE == 0 {
			is.names[0] = 0 // a device, or what is mounted once more
		}
	case ev.Type == typeMoveMount && len(c.Text[0].Raw) == 0:
		is.names[0] = 0 // it was nowhere
	case ev.Type == typeBind:
		return is, len(ev.Call.Address.Path) > 0 && ev.Call.Address.Path[0] != '@'
	}
	return is, true
}

// truncates says whether an open empties the file, which it does even if it is for reading.
func truncates(ev *event.Event) bool {
	flags := ev.Call.Arg[2]
	switch ev.Type {
	case typeOpen:
		flags = ev.Call.Arg[1]
	case typeOpenat2:
		flags = ev.Call.Word[0]
	}
	return flags&unix.O_TRUNC != 0
}

var (
	typeOpen          = typeNamed("open")
	typeOpenat2       = typeNamed("openat2")
	typeIoctl         = typeNamed("ioctl")
	typeRenameat2     = typeNamed("renameat2")
	typeMount         = typeNamed("mount")
	typeMoveMount     = typeNamed("move_mount")
	typeBind          = typeNamed("bind")
	typeFchmodat2     = typeNamed("fchmodat2")
	typeFchownat      = typeNamed("fchownat")
	typeLinkat        = typeNamed("linkat")
	typeSetxattrat    = typeNamed("setxattrat")
	typeRemovexattrat = typeNamed("removexattrat")
	typeFileSetattr   = typeNamed("file_setattr")
)

func typeNamed(name string) event.Type {
	t, _ := event.TypeNamed(name)
	return t
}

// nameFiles notes what the call names, and what it has open. Of an open the kernel's own path stands beside the caller's if
// that is another one.
func (d *deed) nameFiles(ev *event.Event, e *effect) {
	texts := &ev.Call.Text
	for i, what := range e.names {
		if what == 0 {
			continue
		}
		name := spelled(&texts[i])
		switch {
		case ev.Type == typeBind:
			name = ev.Call.Address.Path
		case i == 0 && meansDescriptor(ev):
			name = string(texts[0].Dir)
		}
		if name == "" || isDescriptorName(name) {
			if what&(1<<Mounted|1<<Unmounted) == 0 { // runtimes mount so, in name spaces of their own: they would be suspected of everything
				d.blind |= what
			}
			continue
		}
		d.names[i] = named{name, what}
	}
	if ev.Type.Opens() {
		e.file |= e.names[0]
		d.file = e.file
		if resolved := string(texts[0].Resolved); resolved != "" && resolved[0] == '/' && !ev.FD.Truncated && resolved != tidy(d.names[0].name) {
			d.names[1] = named{resolved, e.file}
		}
		if d.names[1].what != 0 || d.names[0].what != 0 {
			d.blind = 0
		}
	} else if e.file != 0 && len(ev.FD.Name) > 0 && ev.FD.Name[0] == '/' && !ev.FD.Truncated {
		d.names[0] = named{string(ev.FD.Name), e.file}
	}
	switch {
	case e.file == 0:
	case ev.FD.Inode != 0:
		d.opened = openFile{ev.FD.Dev, ev.FD.Inode}
	case d.names[0].what == 0 && d.names[1].what == 0:
		d.blind |= e.file
	}
}

// meansDescriptor says that a call's first name was empty, or none, so that the descriptor was meant that stands before it. Kernels
// before 6.13 or so take an empty string for one that cannot be read.
func meansDescriptor(ev *event.Event) bool {
	flags := uint64(0)
	switch ev.Type {
	case typeFchownat, typeLinkat, typeFileSetattr:
		flags = ev.Call.Arg[4]
	case typeFchmodat2:
		flags = ev.Call.Arg[3]
	case typeSetxattrat, typeRemovexattrat:
		flags = ev.Call.Arg[2]
	}
	return flags&unix.AT_EMPTY_PATH != 0 && len(ev.Call.Text[0].Raw) == 0
}

// spelled is a name as it was spelled, from where it starts; empty if that is not known at all.
func spelled(t *event.Text) string {
	switch {
	case t.Fault || t.Truncated:
		return ""
	case len(t.Raw) == 0: // the directory's descriptor was meant
		return string(t.Dir)
	case t.Raw[0] == '/' || len(t.Dir) == 0:
		return string(t.Raw)
	case len(t.Dir) == 1:
		return "/" + string(t.Raw)
	}
	return string(t.Dir) + "/" + string(t.Raw)
}

// isDescriptorName says that a name only tells which descriptor of its process is meant.
func isDescriptorName(name string) bool {
	if last := name[len(name)-1]; last < '0' || last > '9' {
		return false
	}
	dir, n := path.Split(strings.TrimPrefix(name, "/dev"))
	return n != "" && strings.Trim(n, "0123456789") == "" && (dir == "/fd/" || strings.HasPrefix(dir, "/proc/") && strings.HasSuffix(dir, "/fd/"))
}

// lexical is an absolute path without what is not needed, symbolic links left alone; empty for a relative one. The ways by
// which a process comes back to its root are left out.
func lexical(name string, pid uint32) string {
	if name == "" || name[0] != '/' {
		return ""
	}
	for name = tidy(name); ; {
		rest, ok := strings.CutPrefix(name, "/proc/")
		who, rest, _ := strings.Cut(rest, "/")
		if !ok || who != "self" && who != "thread-self" && who != "1" && who != strconv.FormatUint(uint64(pid), 10) {
			return name
		}
		if rest, ok = strings.CutPrefix(rest, "root"); !ok || rest != "" && rest[0] != '/' {
			return name
		}
		name = cmp.Or(rest, "/")
	}
}

// tidy is path.Clean, which most names need not.
func tidy(name string) string {
	if strings.Contains(name, "/.") || strings.Contains(name, "//") || strings.HasSuffix(name, "/") {
		return path.Clean(name)
	}
	return name
}

// keepOther keeps an act on a path of no watch set. mu is held here and in what follows.
func (a *Acts) keepOther(d *deed) {
	for i := range d.names {
		if n := &d.names[i]; len(n.name) > maxOtherName {
			d.blind |= n.what
			*n = named{}
		}
	}
	group := d.id.PID % otherGroups
	a.number++
	d.number = a.number
	a.others[group][a.turns[group]] = *d
	a.turns[group] = (a.turns[group] + 1) % othersEach
}

// end notes that a process has ended, and so closed what it had open.
func (a *Acts) end(ev *event.Event) {
	for _, s := range a.closed(event.ID{PID: ev.PID, Start: ev.Start}, ev.Boot) {
		a.sight(s)
	}
}

// closed is what a process that has ended may have written to until then.
func (a *Acts) closed(id event.ID, boot uint64) (all []Suspicion) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for d := range a.writers.of(keyOfPID(id.PID)) {
		if d.id != id || d.over != 0 {
			continue
		}
		d.over = boot
		who := ""
		if d.container != nil {
			who = d.container.ID
		}
		for i := range d.names {
			if n := &d.names[i]; n.name != "" && n.name[0] == '/' {
				all = append(all, Suspicion{Path: Path{who, n.name}, What: written, Closed: true})
			}
		}
	}
	return all
}

// MayWrite says whether somebody has opened a path to write to it, and has neither ended nor is known to have closed it.
func (a *Acts) MayWrite(p Path) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for d := range a.writers.of(keyOfName(p.Name)) {
		if d.over == 0 && d.does(p.Name)&written != 0 && (p.Container == "") == (d.container == nil) {
			return true
		}
	}
	return false
}

// ---- which paths are watched ----

// watchedPaths are the paths of watch sets, with where they begin, at hand to tell most others apart. Only one goroutine asks.
type watchedPaths struct {
	sets             *Sets
	host, containers pathsOf
}

type pathsOf struct {
	roots []string            // sorted, each with a slash behind it
	bare  [maxBareDirs]string // directories in and below which nothing is watched, by their hash
}

// Bounds of the directories that are remembered: how many, and bytes of one.
const (
	maxBareDirs = 512
	maxBareDir  = 256
)

func watchedBy(s *Sets) *watchedPaths {
	return &watchedPaths{sets: s, host: pathsOf{roots: rootsWithSlash(s.Roots(false))}, containers: pathsOf{roots: rootsWithSlash(s.Roots(true))}}
}

func rootsWithSlash(roots []string) []string {
	with := make([]string, len(roots))
	for i, root := range roots {
		with[i] = strings.TrimSuffix(root, "/") + "/"
	}
	slices.Sort(with)
	return with
}

// has says whether a path is of a watch set, or a directory that one is in.
func (w *watchedPaths) has(container bool, path string) bool {
	of := &w.host
	if container {
		of = &w.containers
	}
	if len(path) < 2 {
		return path == "/"
	}
	dir := path[:strings.LastIndexByte(path, '/')]
	bare := &of.bare[keyOfName(dir)%maxBareDirs]
	switch {
	case dir != "" && *bare == dir:
		return false
	case isNear(of.roots, path) && (w.sets.MayContain(container, path) || w.sets.Match(container, path) != 0):
		return true
	case dir != "" && len(dir) <= maxBareDir && (!isNear(of.roots, dir) || !w.sets.MayContain(container, dir)):
		*bare = dir
	}
	return false
}

// isNear says whether a path is one of some roots, below or above one. None of them is below another, so that of those which
// stand before the path the last one alone may be above it.
func isNear(roots []string, path string) bool {
	at, _ := slices.BinarySearchFunc(roots, path, compareWithSlash)
	if at < len(roots) && strings.HasPrefix(roots[at], path) && roots[at][len(path)] == '/' {
		return true
	}
	return at > 0 && isWithin(path, roots[at-1][:len(roots[at-1])-1])
}

// compareWithSlash compares a root with a path that has no slash behind it yet.
func compareWithSlash(root, path string) int {
	if len(root) > len(path) && root[:len(path)] == path {
		return strings.Compare(root[len(path):], "/")
	}
	return strings.Compare(root, path)
}
