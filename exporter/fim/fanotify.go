package fim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/bits"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Witness tells what it sees being done to paths, until ctx is done or it fails. It calls sink from one goroutine, in order.
type Witness interface {
	Run(ctx context.Context, sink func(Sighting)) error
}

// What has been done to a path: one or more of the bits below. What one process does to one name in a short time may be told
// at once, and then nobody knows in which order it was done.
type What uint16

// What may be seen.
const (
	SawCreated    What = 1 << iota // a name for a new file, or one more for an old one
	SawDeleted                     // the name, not always the file
	SawRenamed                     // from OldPath to Path, both of them watched
	SawMovedOut                    // renamed to what is not watched or not told
	SawMovedIn                     // renamed from what is not watched or not told
	SawModified                    // content or size
	SawClosed                      // closed for good by who had it open for writing, or mapped to be written
	SawAttributes                  // mode, owner, times, links, extended attributes
	SawFound                       // was there when the directory that it is in had just appeared
)

// Whats names them.
var Whats = [...]string{"created", "deleted", "renamed", "moved_out", "moved_in", "modified", "closed", "attributes", "found"}

func (w What) String() string {
	var names []string
	for i, name := range Whats {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// A Sighting is something that was done to a path. It says that the path is to be looked at, not what it is now.
type Sighting struct {
	Path    Path  // by its real name: symbolic links on the way to what is watched are followed
	OldPath *Path // of what was renamed
	What    What
	// IsDir is whether Path is a directory. If it was renamed or moved in, all that is below it has another name.
	IsDir bool
	// Overflow is whether more may have been done than was told: to what is below Path, or if that is empty, to anything.
	// What is needed to be told of what happens from then on has already been done.
	Overflow bool
	// PID is the process that did it, as seen from our PID namespace; 0 if it is not seen from there.
	PID uint32
	// PIDFD is that process, open until the sink returns; negative if it had already ended, before Linux 5.15, or if it was not
	// asked for. If it still takes a signal 0 after /proc/PID was read, what was read was of that process.
	PIDFD int
	At    time.Time // when it was read from the kernel, which does not say when it was done
}

// Bounds of fanotify.
const (
	DefaultMaxMarks = 100_000 // about 1,230 bytes of kernel memory each on ext4, and 320 of ours

	readPiece   = 32 << 10 // bytes of one read: some 350 events, each of which may bring an open pidfd
	readFiles   = 4 << 10  // of one that brings open files
	direntPiece = 32 << 10
	maxFound    = 16384                 // sightings that wait to be told when entries of new directories are no longer told one by one
	maxAtOnce   = 64                    // directories that are looked through between two reads
	maxApart    = 20 * time.Millisecond // of the two events of a rename, where there are two
	maxGroups   = 8                     // of file systems that the kernel wants to have one of their own
	maxSymlinks = 40                    // as the kernel allows on the way to a file
	maxRealms   = 4096
	maxCauses   = 64
)

// Masks of what we want to be told. They have nothing that reading a file does, so that our own reading is not told either.
const (
	entryMask  = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_ONDIR
	fileMask   = unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE | unix.FAN_ATTRIB
	plainMask  = unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE // where there are no names
	reportMask = unix.FAN_REPORT_DFID_NAME | unix.FAN_REPORT_FID
)

// Errors of Watch and NewFanotify, for errors.Is.
var (
	// ErrContentOnly says that the file system has no handles that this kernel would put into events. Writing to files of
	// the directories that are there now is told, and nothing else: files and directories that come and go, renaming, modes.
	ErrContentOnly = errors.New("only changes of content are told there")
	// ErrNoFanotify says that this kernel or the privileges of this process do not allow fanotify.
	ErrNoFanotify = errors.New("fanotify is not to be had")
)

// FanotifyOptions say what is watched, and how much of it.
type FanotifyOptions struct {
	// Enter says whether a directory below a watched one is watched, too; nil for all. It is also asked again of directories
	// that are moved. It must be quick, and call no method of Fanotify.
	Enter func(Path) bool
	// Alone says whether a file is marked by itself, at the price of a directory, so that what is done to it by another name
	// outside of what is watched is told whenever that name is made. Files that have several names when they are found
	// always are. nil for no others. As Enter, it must be quick.
	Alone    func(Path) bool
	MaxMarks int // directories and files; 0 for DefaultMaxMarks
	// PIDFD is whether sightings are to hold the process, for those who have nothing better than /proc to say who it was. It
	// makes an event three times as dear to read: 2 µs instead of 0.7.
	PIDFD bool
	Log   *slog.Logger

	without uint // flags of fanotify_init that are not to be used, as by an old kernel
	own     bool // tell of this process, too
}

// Counts are what Fanotify has done since it was made, and how much it has marked now.
type Counts struct {
	Sightings  [len(Whats)]uint64 // by what was seen, in the order of Whats
	Overflows  uint64             // times that the kernel's queue or one of our own bounds was too small
	Unresolved uint64             // events of directories that we do not know; most were gone before we could look at them
	Marks      int                // directories and files that are marked now
	NotMarked  map[string]uint64  // attempts to mark that failed or were only half a success, by why
}

// Fanotify is the witness that needs no program in the kernel. It marks each watched directory by itself: what is done
// elsewhere costs nothing. New directories are marked as they appear and then looked through, because what was done in them
// before is not told.
//
// Not told, as tried on Linux 5.10, 6.1, 6.12, 6.18 and 7.2:
//   - writing through a mapping, until the file is closed and unmapped; on overlayfs, whatever comes after it was closed
//   - writing by io_submit, until the file is closed
//   - by a name outside of what is watched, and making such a name, unless the file is marked by itself
//   - by a handle, as NFS servers do, while the kernel has no name of the file at hand, unless the file is marked by itself
//   - chattr before Linux 7
//   - on block devices, in images that loop devices show (since 6.12), in layers below an overlay, by other machines
//   - mounting over it: see Mounts
//   - most of it where Watch returns ErrContentOnly
type Fanotify struct {
	o    FanotifyOptions
	self int // our process, of which nothing is told
	wake int // eventfd

	mu        sync.Mutex
	closed    bool
	groups    []*group
	spare     []*group // made while there was the privilege, and not in use yet
	weak      bool     // a group of its own may help where one for all does not: until the kernel says otherwise
	realms    map[string]*realm
	objects   map[string]*object
	names     map[spotName]*spot
	trails    map[string]map[string][]*aim // by the key of a directory, and a name in it: who depends on that name
	marks     int
	round     uint64
	errands   []errand
	leaving   []*spot
	pairs     bool // the kernel tells of a rename by two events
	lost      bool // events were lost; all is to be marked again
	restoring bool // that is being done
	out       []Sighting
	pidfds    []int
	counts    Counts
	logged    map[string]bool
	now       time.Time
	scratch   []byte
	dirents   []byte
}

// A group is one of the kernel's queues.
type group struct {
	fd    int
	named bool   // events have handles and names; else they have open files
	entry uint64 // what comes to a directory and goes from it
}

// A realm is the host or a container: the root directory that its paths begin at.
type realm struct {
	container string
	root      int // O_PATH
	aims      []*aim
	gone      bool
	plain     bool // some of its directories are marked without names
}

// An aim is a directory that is to be watched whenever it is there.
type aim struct {
	realm *realm
	dir   string
	real  string // what it was resolved to when it was last there
	top   *spot
	trail []step
	err   error // of the last attempt
}

// A step is a name on the way to an aim.
type step struct{ dir, key, name string }

// An errand is a directory that is to be looked at: whether it is there, what it is, whether it is marked.
type errand struct {
	aim    *aim // its top, or else
	parent *spot
	name   string
	all    bool      // look through all that is below it, even if that has been done before
	by     *Sighting // whose doing it is that it is there: what is found in it is told. nil if nothing is to be told
}

// NewFanotify asks the kernel for a queue, with as much in its events as the kernel knows to tell. Linux 5.9 is the oldest
// that will do, and CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH are needed. Close gives it back.
func NewFanotify(o FanotifyOptions) (*Fanotify, error) {
	o.MaxMarks = cmp.Or(o.MaxMarks, DefaultMaxMarks)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fanotify{
		o: o, self: os.Getpid(), weak: true,
		realms: map[string]*realm{}, objects: map[string]*object{}, names: map[spotName]*spot{}, trails: map[string]map[string][]*aim{},
		logged: map[string]bool{}, dirents: make([]byte, direntPiece),
	}
	f.counts.NotMarked = map[string]uint64{}
	if o.own {
		f.self = -1
	}
	if !o.PIDFD {
		f.o.without |= unix.FAN_REPORT_PIDFD
	}
	g, err := f.newGroup()
	if err != nil {
		return nil, err
	}
	f.groups = []*group{g}
	f.makeSpare()
	if f.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		for _, g := range slices.Concat(f.groups, f.spare) {
			unix.Close(g.fd)
		}
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return f, nil
}

// makeSpare makes the groups that file systems may want later, when CAP_SYS_ADMIN may have been given up. Where it cannot, one is
// made when it is wanted, or not.
func (f *Fanotify) makeSpare() {
	if g, err := newPlainGroup(); err == nil {
		f.spare = append(f.spare, g)
	}
	for range maxGroups - 1 {
		g, err := f.newGroup()
		if err != nil {
			return
		}
		f.spare = append(f.spare, g)
	}
}

// takeGroup gives a spare group that is named, or is not; a new one if there is none.
func (f *Fanotify) takeGroup(named bool) (*group, error) {
	if i := slices.IndexFunc(f.spare, func(g *group) bool { return g.named == named }); i >= 0 {
		g := f.spare[i]
		f.spare = slices.Delete(f.spare, i, i+1)
		return g, nil
	}
	if named {
		return f.newGroup()
	}
	return newPlainGroup()
}

func newPlainGroup() (*group, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_MARKS,
		unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOATIME|largeFile)
	if err != nil {
		return nil, fmt.Errorf("fanotify_init: %w", err)
	}
	return &group{fd: fd}, nil
}

// A purpose is what a mark is for.
type purpose int

const (
	forAll    purpose = iota // that is done in a directory
	forTrail                 // names in a directory that lead to another
	forItself                // a file
)

// mask is 0 if the group cannot serve the purpose.
func (g *group) mask(why purpose) uint64 {
	switch {
	case g.named && why == forAll:
		return g.entry | fileMask | unix.FAN_EVENT_ON_CHILD
	case g.named && why == forTrail:
		return g.entry
	case g.named:
		return fileMask
	case why == forAll:
		return plainMask | unix.FAN_EVENT_ON_CHILD
	case why == forItself:
		return plainMask
	}
	return 0
}

// newGroup degrades step by step: Linux 5.17 says which file was created, deleted or renamed, and of a rename both names;
// 5.15 gives a descriptor of the process. Long-term kernels have got both later on, so the kernel's word counts.
func (f *Fanotify) newGroup() (*group, error) {
	var err error
	for _, more := range [...]uint{unix.FAN_REPORT_TARGET_FID | unix.FAN_REPORT_PIDFD, unix.FAN_REPORT_TARGET_FID, unix.FAN_REPORT_PIDFD, 0} {
		if more&f.o.without != 0 {
			continue
		}
		var fd int
		fd, err = unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_MARKS|reportMask|more, unix.O_RDONLY)
		if err == nil {
			g := &group{fd: fd, named: true, entry: entryMask | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO}
			if more&unix.FAN_REPORT_TARGET_FID != 0 {
				g.entry = entryMask | unix.FAN_RENAME // which came with it
			}
			f.pairs = more&unix.FAN_REPORT_TARGET_FID == 0
			return g, nil
		}
		if err != unix.EINVAL {
			break
		}
	}
	switch err {
	case unix.EINVAL:
		return nil, fmt.Errorf("%w: it needs Linux 5.9: %w", ErrNoFanotify, err)
	case unix.ENOSYS, unix.EPERM:
		return nil, fmt.Errorf("%w: it needs CAP_SYS_ADMIN and a kernel that has it: %w", ErrNoFanotify, err)
	}
	return nil, fmt.Errorf("fanotify_init: %w", err)
}

// Close gives back what NewFanotify and Watch have opened. Run must have returned.
func (f *Fanotify) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	err := unix.Close(f.wake)
	for _, g := range slices.Concat(f.groups, f.spare) {
		err = errors.Join(err, unix.Close(g.fd))
	}
	for _, r := range f.realms {
		r.gone = true
		err = errors.Join(err, unix.Close(r.root))
	}
	closeAll(f.pidfds)
	return err
}

// Counts returns them as they are now.
func (f *Fanotify) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counts
	c.Marks, c.NotMarked = f.marks, maps.Clone(c.NotMarked)
	return c
}

// Watch marks a directory, and below it those that Enter wants. dir is absolute within root, an open directory that is the
// root of the host or of a container, which may be closed afterwards; until Unwatch it is kept open, and with it whatever is
// mounted there. If dir, or a directory or symbolic link on the way to it, is not there yet, or ceases to be, or is replaced,
// it is waited for, and told. To watch a directory again marks what is new in it, such as what was mounted there.
//
// The error names the file system if it does not allow all; see ErrContentOnly. What is refused further below is only counted.
func (f *Fanotify) Watch(root int, container, dir string) error {
	if !path.IsAbs(dir) || strings.IndexByte(dir, 0) >= 0 {
		return fmt.Errorf("watch %q: want an absolute path", dir)
	}
	a, err := f.aimAt(root, container, path.Clean(dir))
	if err != nil {
		return fmt.Errorf("watch %q: %w", dir, err)
	}
	todo := []errand{{aim: a, all: true}}
	for len(todo) > 0 {
		todo = f.walk(todo)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	nudge(f.wake)
	if a.err != nil {
		return fmt.Errorf("watch %q: %w", dir, a.err)
	}
	return nil
}

// walk does one errand, so that events need not wait for a whole walk.
func (f *Fanotify) walk(todo []errand) []errand {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(todo) - 1
	return f.run(todo[last], todo[:last])
}

func (f *Fanotify) aimAt(root int, container, dir string) (*aim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, os.ErrClosed
	}
	r := f.realms[container]
	if r == nil {
		if len(f.realms) >= maxRealms {
			return nil, fmt.Errorf("%d containers are watched, and no more can be", maxRealms)
		}
		fd, err := unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("root of %q: %w", container, err)
		}
		r = &realm{container: container, root: fd}
		f.realms[container] = r
	}
	for _, a := range r.aims {
		if a.dir == dir {
			return a, nil
		}
	}
	a := &aim{realm: r, dir: dir}
	r.aims = append(r.aims, a)
	return a, nil
}

// Unwatch forgets all that is watched of a container, and closes its root.
func (f *Fanotify) Unwatch(container string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.realms[container]
	if r == nil || f.closed {
		return
	}
	delete(f.realms, container)
	for _, a := range r.aims {
		trail := a.trail
		a.trail = nil
		f.unlearn(a, trail)
		f.leave(a.top, true)
	}
	f.settle(true)
	r.gone = true
	unix.Close(r.root)
}

// Run tells sink what is done to what is watched, until ctx is done. Everything else about it is done there, too, so Watch
// should not be long ahead of it: the kernel keeps 16,384 events.
func (f *Fanotify) Run(ctx context.Context, sink func(Sighting)) error {
	defer nudgeAfter(ctx, f.wake)()
	var (
		buffer = make([]byte, readPiece)
		polls  []unix.PollFd
		told   []Sighting
		pidfds []int
		wait   = -1
	)
	for {
		var groups []*group
		groups, polls = f.queues(polls[:0])
		if err := pollAll(polls, wait); err != nil {
			return fmt.Errorf("poll fanotify: %w", err)
		}
		drain(f.wake) // before the context is asked: what is written to it when that ends must not be lost
		if ctx.Err() != nil {
			return nil
		}
		drained := true
		for i, g := range groups {
			if polls[i].Revents == 0 {
				continue
			}
			all, err := f.read(g, buffer)
			if err != nil {
				return err
			}
			drained = drained && all
		}
		told, pidfds, wait = f.finish(drained, told[:0], pidfds[:0])
		for i := range told {
			sink(told[i])
		}
		closeAll(pidfds)
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// queues returns what is to be polled: the groups in their order, and then what wakes us.
func (f *Fanotify) queues(polls []unix.PollFd) ([]*group, []unix.PollFd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.groups {
		polls = append(polls, unix.PollFd{Fd: int32(g.fd), Events: unix.POLLIN})
	}
	return f.groups, append(polls, unix.PollFd{Fd: int32(f.wake), Events: unix.POLLIN})
}

// pollAll waits for any of them, at most wait milliseconds unless that is negative.
func pollAll(polls []unix.PollFd, wait int) error {
	if _, err := unix.Poll(polls, wait); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}

// nudgeAfter ends a poll when the context does. What it returns is to be called when there will be no more polls.
func nudgeAfter(ctx context.Context, wake int) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		nudge(wake)
	})
	return func() {
		if !stop() {
			<-done // wake may be closed after this, and its number be another file's
		}
	}
}

// nudge ends a poll.
func nudge(wake int) { unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func drain(wake int) { unix.Read(wake, make([]byte, 8)) }

// read takes one buffer of events, and says whether those were all there are.
func (f *Fanotify) read(g *group, buffer []byte) (all bool, err error) {
	if !g.named {
		buffer = buffer[:readFiles]
	}
	n, err := unix.Read(g.fd, buffer)
	switch err {
	case nil:
	case unix.EAGAIN:
		return true, nil
	case unix.EINTR:
		return false, nil
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENXIO, unix.ETXTBSY, unix.ENOENT, unix.EACCES, unix.EPERM, unix.EIO:
		// Where events come with open files, one that cannot be opened is an error, and its event is lost.
		f.overflow(fmt.Errorf("read fanotify: %w", err))
		return false, nil
	default:
		return false, fmt.Errorf("read fanotify: %w", err)
	}
	if err := f.takeAll(buffer[:n]); err != nil {
		f.overflow(err)
	}
	return n < len(buffer)-maxEvent, nil
}

func (f *Fanotify) overflow(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose(why.Error())
}

func (f *Fanotify) lose(why string) {
	f.counts.Overflows++
	f.lost = true
	f.logOnce("fanotify events were lost", why)
}

func (f *Fanotify) takeAll(events []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = time.Now()
	return parseNotices(events, f.take)
}

// finish does some of what is left to do, and returns what is to be told, and in how many milliseconds there is more to do;
// negative if not before there are events.
func (f *Fanotify) finish(drained bool, told []Sighting, pidfds []int) (out []Sighting, open []int, wait int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = time.Now()
	if f.lost && !f.restoring {
		f.lost, f.restoring = false, true
		for _, r := range f.realms {
			for _, a := range r.aims {
				f.errands = append(f.errands, errand{aim: a, all: true})
			}
		}
	}
	for n := 0; len(f.errands) > 0 && n < maxAtOnce && len(f.out) < maxFound; n++ {
		last := len(f.errands) - 1
		f.errands = f.run(f.errands[last], f.errands[:last])
	}
	if len(f.errands) == 0 {
		if f.restoring {
			f.restoring = false
			f.tell(Sighting{Overflow: true, PIDFD: unix.FAN_NOPIDFD, At: f.now})
		}
		// What was done to what has gone was told before it went: once the queue has been empty, nothing is told of it.
		if drained {
			f.settle(false)
		}
	}
	out, f.out = f.out, told
	open, f.pidfds = f.pidfds, pidfds
	switch {
	case len(f.errands) > 0 || f.lost:
		return out, open, 0
	case len(f.leaving) > 0:
		return out, open, int(maxApart/time.Millisecond) + 1
	}
	return out, open, -1
}

// take looks at one event.
func (f *Fanotify) take(n *notice) {
	if n.pidfd >= 0 {
		f.pidfds = append(f.pidfds, int(n.pidfd))
	}
	if n.mask&unix.FAN_Q_OVERFLOW != 0 {
		f.lose("the kernel's queue was full")
		return
	}
	s := Sighting{What: whatOf(n.mask), IsDir: n.mask&unix.FAN_ONDIR != 0, PID: uint32(max(n.pid, 0)), PIDFD: int(n.pidfd), At: f.now}
	known := false
	switch {
	case n.file >= 0:
		known = f.takeFile(int(n.file), &s)
	case n.mask&unix.FAN_RENAME != 0:
		known = f.takeRename(n, &s)
	case string(n.name) == ".":
		known = f.takeItself(n, &s)
	default:
		known = f.takeEntry(n, &s)
	}
	if !known {
		f.counts.Unresolved++
	}
}

func whatOf(mask uint64) (w What) {
	for _, m := range [...]struct {
		bit  uint64
		what What
	}{
		{unix.FAN_CREATE, SawCreated}, {unix.FAN_DELETE, SawDeleted}, {unix.FAN_MOVED_FROM, SawMovedOut}, {unix.FAN_MOVED_TO, SawMovedIn},
		{unix.FAN_MODIFY, SawModified}, {unix.FAN_CLOSE_WRITE, SawClosed}, {unix.FAN_ATTRIB, SawAttributes},
	} {
		if mask&m.bit != 0 {
			w |= m.what
		}
	}
	return w
}

// takeItself looks at a change of a directory's own attributes, which its parent's mark tells, too.
func (f *Fanotify) takeItself(n *notice, s *Sighting) bool {
	o := f.objects[string(n.dir)]
	if o == nil {
		return f.trails[string(n.dir)] != nil
	}
	for p := o.places; p != nil; p = p.next {
		f.tellOnce(o, p, nil, s)
	}
	return true
}

// takeEntry looks at what was done to a name in a directory, or to a file that is marked by itself, whose name there need not
// be one that we know, or told at all.
func (f *Fanotify) takeEntry(n *notice, s *Sighting) bool {
	known := f.takeTrail(n.dir, n.name, s)
	dir := f.objects[string(n.dir)]
	if dir != nil {
		known = true
		for p := dir.places; p != nil; p = p.next {
			if p.open {
				f.tellOnce(dir, p, n.name, s)
			}
		}
	}
	if file := f.objects[string(n.object)]; file != nil && file.file {
		known = true
		f.tellOthers(file, dir, n.name, s)
	}
	if dir != nil {
		f.keepUp(dir, n, s)
	}
	return known
}

// keepUp makes what we know follow what was done to names in a directory.
func (f *Fanotify) keepUp(dir *object, n *notice, s *Sighting) {
	if s.What&(SawCreated|SawMovedIn|SawDeleted|SawMovedOut) == 0 {
		return
	}
	for p := dir.places; p != nil; p = p.next {
		if c := f.names[spotName{p, string(n.name)}]; c != nil && s.What&SawDeleted != 0 && c.key == string(n.object) && !c.file {
			f.leave(c, false) // directories have one name, so that this one is no more
		}
		f.verify(p, string(n.name), s)
	}
}

// verify looks at what a name is now. The kernel tells of what was done to one name at once, and where its queue had that name
// first; so an event is only a hint, and what was done after it comes with another hint.
func (f *Fanotify) verify(p *spot, name string, by *Sighting) {
	if !p.open {
		return
	}
	if by.IsDir {
		whose := *by // by itself is not to outlive its event, so that most events allocate nothing but paths
		f.errands = f.run(errand{parent: p, name: name, by: &whose}, f.errands)
		return
	}
	known := f.names[spotName{p, name}]
	if known == nil && (by.What&(SawCreated|SawMovedIn|SawRenamed) == 0 || f.isOrdinary(p, name)) {
		return
	}
	fd, err := f.openIn(p, name, unix.O_PATH)
	if err != nil {
		f.unreached(errand{parent: p}, known, err)
		return
	}
	defer unix.Close(fd)
	f.meet(p, fd, name)
}

// isOrdinary is whether a new file need not be marked by itself. Most need not, and this is quicker than to be sure which it is.
func (f *Fanotify) isOrdinary(p *spot, name string) bool {
	if f.o.Alone != nil {
		return false
	}
	fd, err := openBelow(p.realm.root, f.pathOf(p, name), unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && (st.Nlink == 1 || st.Mode&unix.S_IFMT != unix.S_IFREG)
}

// meet marks a file by itself, if it has other names or is wanted so. fd need only have O_PATH.
func (f *Fanotify) meet(p *spot, fd int, name string) {
	var st unix.Stat_t
	known := f.names[spotName{p, name}]
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink == 0 {
		f.leave(known, true)
		return
	}
	if known == nil && st.Nlink == 1 && (f.o.Alone == nil || !f.o.Alone(f.pathName(p, []byte(name)))) {
		return
	}
	g, key, err := f.mark(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), fd, forItself)
	if err != nil {
		f.refuse(fd, err)
		return
	}
	if known == nil || known.key != key {
		f.leave(known, true)
		if known = f.adrift(key, p.realm); known == nil {
			known = &spot{realm: p.realm, open: true}
			f.chain(known, key, true)
		}
		f.place(known, p, name)
	}
	f.marked(known.object, g)
}

// takeRename looks at a rename. It comes with the names on those sides whose directory is marked.
func (f *Fanotify) takeRename(n *notice, s *Sighting) bool {
	s.What = SawMovedOut
	known := f.takeTrail(n.from, n.fromName, s)
	s.What = SawMovedIn
	known = f.takeTrail(n.to, n.toName, s) || known
	from, to := f.objects[string(n.from)], f.objects[string(n.to)]
	if to != nil {
		for p := to.places; p != nil; p = p.next {
			f.rename(n, from.in(p.realm), p, s)
		}
	}
	if from != nil {
		for p := from.places; p != nil; p = p.next {
			if to.in(p.realm) == nil {
				f.rename(n, p, nil, s)
			}
		}
	}
	return known || from != nil || to != nil
}

// in returns a place of the object in a realm, where what is in it is watched.
func (o *object) in(r *realm) *spot {
	if o == nil {
		return nil
	}
	for p := o.places; p != nil; p = p.next {
		if p.realm == r && p.open {
			return p
		}
	}
	return nil
}

// rename tells of a rename within a realm. Either side may be nil.
func (f *Fanotify) rename(n *notice, from, to *spot, by *Sighting) {
	s := *by
	switch {
	case to != nil && !to.open || to == nil && !from.open:
		return
	case to == nil:
		s.What, s.Path = SawMovedOut, f.pathName(from, n.fromName)
	case from == nil:
		s.What, s.Path = SawMovedIn, f.pathName(to, n.toName)
	default:
		old := f.pathName(from, n.fromName)
		s.What, s.OldPath, s.Path = SawRenamed, &old, f.pathName(to, n.toName)
	}
	f.tell(s)
	// Both leave where they were before it is looked what is there now: they may have changed places.
	if from != nil {
		f.leave(f.names[spotName{from, string(n.fromName)}], true)
	}
	if to != nil {
		f.leave(f.names[spotName{to, string(n.toName)}], true)
	}
	if from != nil {
		f.verify(from, string(n.fromName), &s)
	}
	if to != nil {
		f.verify(to, string(n.toName), &s)
	}
}

// takeTrail looks whether what was done changes what is on the way to a watched directory.
func (f *Fanotify) takeTrail(dir, name []byte, s *Sighting) bool {
	names, ok := f.trails[string(dir)]
	if s.What&(SawCreated|SawDeleted|SawMovedIn|SawMovedOut) == 0 {
		return ok
	}
	for _, a := range names[string(name)] {
		t := *s
		t.Path, t.IsDir = Path{Container: a.realm.container, Name: cmp.Or(a.real, a.dir)}, true
		f.tell(t)
		f.errands = append(f.errands, errand{aim: a, by: &t})
	}
	return ok
}

// takeFile looks at an event that has the file itself instead of a name. The file's path is as whoever changed it sees it, in
// whatever mount name space that is; a directory that we know must be there and have the file. Nothing says when files and
// directories go, so that what has an inode's number now need not be what we know by it.
func (f *Fanotify) takeFile(fd int, s *Sighting) (known bool) {
	defer unix.Close(fd)
	var st unix.Stat_t
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || unix.Fstat(fd, &st) != nil {
		return false
	}
	if st.Nlink == 0 {
		return true // deleted, so that there is nothing to look at
	}
	file := f.objects[inodeKey(&st)]
	for _, r := range f.realms {
		base, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(r.root))
		if err != nil || !r.plain {
			continue
		}
		inside, ok := strings.CutPrefix(name, strings.TrimSuffix(base, "/"))
		if !ok || !strings.HasPrefix(inside, "/") {
			continue
		}
		o := f.plainDirectory(r, inside, &st)
		if o == nil {
			continue
		}
		last := []byte(path.Base(inside))
		for p := o.places; p != nil; p = p.next {
			if p.open && f.isThere(p) {
				f.tellOnce(o, p, last, s)
				known = true
			}
		}
		if file != nil && file.file {
			f.tellOthers(file, o, last, s)
		}
		return known
	}
	if file == nil || !file.file {
		return false
	}
	f.tellOthers(file, nil, nil, s)
	return true
}

// plainDirectory finds the directory of a file by its path.
func (f *Fanotify) plainDirectory(r *realm, name string, want *unix.Stat_t) *object {
	fd, err := openBelow(r.root, path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstatat(fd, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Ino != want.Ino || st.Dev != want.Dev {
		return nil
	}
	key, err := inodeKeyOf(fd)
	if err != nil {
		return nil
	}
	return f.objects[key]
}

// tellOnce tells of a name at a place of a directory, or of the place itself if name is nil, but not if the path is that of
// an earlier place: two aims may have led there.
func (f *Fanotify) tellOnce(o *object, p *spot, name []byte, s *Sighting) {
	t := *s
	t.Path = f.pathName(p, name)
	for q := o.places; q != p; q = q.next {
		if (q.open || name == nil) && q.realm == p.realm && f.pathName(q, name) == t.Path {
			return
		}
	}
	f.tell(t)
}

// tellOthers tells of the names of a file that is marked by itself, without the one that was told already. It is the number
// of names that has changed for the others if one has come or gone.
func (f *Fanotify) tellOthers(file, dir *object, name []byte, s *Sighting) {
	t := *s
	if t.What &= SawModified | SawClosed | SawAttributes; t.What != s.What {
		t.What |= SawAttributes
	}
	for p := file.places; p != nil; p = p.next {
		if p.gone || p.name == string(name) && p.parent.object == dir {
			continue
		}
		t.Path = f.pathName(p, nil)
		f.tell(t)
	}
}

// tell queues a sighting. What we have done ourselves is not told.
func (f *Fanotify) tell(s Sighting) {
	if int(s.PID) == f.self {
		return
	}
	for w := uint16(s.What); w != 0; w &= w - 1 {
		f.counts.Sightings[bits.TrailingZeros16(w)]++
	}
	f.out = append(f.out, s)
}

// run does an errand, and appends to rest what is left to do.
func (f *Fanotify) run(e errand, rest []errand) []errand {
	var r *realm
	if e.aim != nil {
		r = e.aim.realm
	} else {
		r = e.parent.realm
	}
	if r.gone || f.closed || e.aim == nil && (!e.parent.open || e.parent.object == nil) {
		return rest
	}
	fd, known, where, err := f.reach(e)
	if err != nil {
		f.unreached(e, known, err)
		return rest
	}
	defer unix.Close(fd)
	isWanted := e.aim != nil || f.o.Enter == nil || f.o.Enter(Path{r.container, where})
	if e.aim == nil && isLeftOut(fd) {
		if isWanted {
			f.refuse(fd, errLeftOut)
		}
		f.leave(known, true)
		return rest
	}
	if !isWanted {
		f.shut(e, r, known, fd)
		return rest
	}
	p, isNew, err := f.enter(e, r, known, where, fd)
	if err != nil {
		f.refuse(fd, err)
		e.fail(fmt.Errorf("%s: %w", fileSystemOf(fd), err))
	}
	switch {
	case p == nil:
	case isNew:
		return f.look(p, fd, e, rest)
	case e.all || p.missed:
		e.by = nil // it has been looked through before, and watched since
		return f.look(p, fd, e, rest)
	case p != known:
		return f.reconsider(p, rest)
	}
	return rest
}

// unreached decides what it means that a directory could not be opened.
func (f *Fanotify) unreached(e errand, known *spot, err error) {
	if errors.Is(err, errElsewhere) {
		for p := e.parent; p != nil; p = p.parent {
			p.missed = true // whichever of them is found elsewhere leads here again
		}
		return
	}
	absent := err == unix.ENOENT || err == unix.ELOOP || err == unix.ENOTDIR
	if absent || err == unix.ENAMETOOLONG {
		f.leave(known, true)
	}
	if !absent || err == unix.ENOTDIR && e.aim != nil {
		f.refuse(-1, err)
		e.fail(err)
	}
}

func (e errand) fail(err error) {
	if e.aim != nil {
		e.aim.err = err
	}
}

// reach opens the directory, and returns what we know to be in its place, and where that is.
func (f *Fanotify) reach(e errand) (fd int, known *spot, where string, err error) {
	if e.aim != nil {
		e.aim.err = nil
		fd, err = f.follow(e.aim)
		return fd, e.aim.top, e.aim.real, err
	}
	fd, err = f.openIn(e.parent, e.name, readDirectory)
	return fd, f.names[spotName{e.parent, e.name}], f.pathOf(e.parent, e.name), err
}

var (
	errTooMany = errors.New("as many marks as are allowed")
	errLeftOut = errors.New("left out")
	// errElsewhere says that a directory has moved, and that we have not been told yet.
	errElsewhere = errors.New("not where it was")
)

// isLeftOut is whether a directory below a watched one is of a file system that has no files, or that another machine or a
// process answers for, and may not.
func isLeftOut(fd int) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	magic := int64(uint32(fs.Type))
	return slices.Contains(pseudoFiles, magic) || slices.Contains(foreignFiles, magic)
}

// enter marks an open directory and sees to it that it is known at its place. An error may be only half a failure: p is nil
// if it is a whole one.
func (f *Fanotify) enter(e errand, r *realm, known *spot, where string, fd int) (p *spot, isNew bool, err error) {
	g, key, err := f.mark(fd, "", fd, forAll)
	if err != nil {
		return nil, false, err
	}
	p = f.settleAt(e, r, known, key, where)
	isNew = !p.open
	p.open = true
	f.marked(p.object, g)
	if !g.named {
		r.plain = true
		return p, isNew, ErrContentOnly
	}
	return p, isNew, nil
}

// settleAt makes the place in which a directory was found the place of what has that key.
func (f *Fanotify) settleAt(e errand, r *realm, known *spot, key, where string) *spot {
	if known != nil && known.key == key && (e.aim == nil || known.name == where) {
		return known
	}
	f.leave(known, true)
	if e.aim == nil {
		if p := f.adrift(key, r); p != nil {
			f.place(p, e.parent, e.name)
			return p
		}
	}
	p := &spot{realm: r, aim: e.aim, name: where}
	f.chain(p, key, false)
	if e.aim != nil {
		e.aim.top = p
	} else {
		f.place(p, e.parent, e.name)
	}
	return p
}

// reconsider looks through what we know below a directory that has another path now: for what could not be looked at before,
// and for what is of interest here, and was not there, or the other way round.
func (f *Fanotify) reconsider(p *spot, rest []errand) []errand {
	for c := p.child; c != nil; c = c.older {
		if c.file {
			continue
		}
		wanted := f.o.Enter == nil || f.o.Enter(f.pathName(c, nil))
		switch {
		case c.missed || wanted != c.open:
			rest = append(rest, errand{parent: p, name: c.name})
		case wanted:
			rest = f.reconsider(c, rest)
		}
	}
	return rest
}

// shut keeps a directory in mind that is not watched, because its parent's mark tells of its own attributes by its key.
func (f *Fanotify) shut(e errand, r *realm, known *spot, fd int) {
	key, err := handleKey(fd, "")
	if err != nil || len(f.objects) >= 2*f.o.MaxMarks {
		f.leave(known, true)
		return
	}
	p := f.settleAt(e, r, known, key, "")
	for p.child != nil {
		f.leave(p.child, true)
	}
	p.open = false
	for q := p.places; q != nil; q = q.next {
		if q.open {
			return
		}
	}
	f.unmark(p)
}

// mark marks an open file for the first group that the kernel lets it be marked for, and returns by what key events will
// tell of it. It is named by at and name as fanotify_mark wants it.
func (f *Fanotify) mark(at int, name string, fd int, why purpose) (g *group, key string, err error) {
	if f.marks >= f.o.MaxMarks && why != forTrail && !f.isMarked(fd) {
		return nil, "", errTooMany
	}
	if g, err = f.markNamed(at, name, why); err != nil && (err == unix.EOPNOTSUPP || err == unix.ENODEV || err == unix.EXDEV) {
		g, err = f.markPlain(at, name, why, err)
	}
	if err != nil {
		return nil, "", err
	}
	if g.named {
		key, err = handleKey(fd, "")
	} else {
		key, err = inodeKeyOf(fd)
	}
	return g, key, err
}

func (f *Fanotify) isMarked(fd int) bool {
	for _, keyOf := range [...]func(int) (string, error){func(fd int) (string, error) { return handleKey(fd, "") }, inodeKeyOf} {
		if key, err := keyOf(fd); err == nil && f.objects[key] != nil && f.objects[key].group != nil {
			return true
		}
	}
	return false
}

// markNamed tries those groups whose events have names. A file system of which parts have ids of their own (a subvolume of
// Btrfs), or which has none, must be alone in its group, since Linux 6.8; before, it cannot be marked so.
func (f *Fanotify) markNamed(at int, name string, why purpose) (*group, error) {
	if f.o.without&unix.FAN_REPORT_FID != 0 {
		return nil, unix.EOPNOTSUPP
	}
	var err error
	groups := 0
	for _, g := range f.groups {
		if !g.named {
			continue
		}
		groups++
		if err = unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD, g.mask(why), at, name); err == nil || err != unix.EXDEV && err != unix.ENODEV {
			return g, err
		}
	}
	if err != unix.EXDEV || !f.weak || groups >= maxGroups {
		return nil, err
	}
	g, errNew := f.takeGroup(true)
	if errNew != nil {
		return nil, err
	}
	if err = unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD, g.mask(why), at, name); err != nil {
		f.weak = false
		unix.Close(g.fd)
		return nil, err
	}
	f.groups = append(f.groups, g)
	return g, nil
}

// markPlain marks for the group whose events have open files instead of names.
func (f *Fanotify) markPlain(at int, name string, why purpose, refused error) (*group, error) {
	var g *group
	for _, have := range f.groups {
		if !have.named {
			g = have
		}
	}
	if (&group{}).mask(why) == 0 {
		return nil, refused
	}
	if g == nil {
		var err error
		if g, err = f.takeGroup(false); err != nil {
			return nil, err
		}
		f.groups = append(f.groups, g)
	}
	return g, unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD, g.mask(why), at, name)
}

// look looks through a marked directory. What is in it is told if it is somebody's doing.
func (f *Fanotify) look(p *spot, fd int, e errand, rest []errand) []errand {
	f.round++
	by, round, untold := e.by, f.round, false
	p.round, p.missed = round, false
	err := eachDirent(fd, f.dirents, func(name []byte, kind byte) {
		if kind == unix.DT_UNKNOWN {
			kind = f.kindOf(fd, string(name))
		}
		if by != nil && len(f.out) >= maxFound {
			untold = true
		} else if by != nil {
			f.tell(Sighting{Path: f.pathName(p, name), What: SawFound, IsDir: kind == unix.DT_DIR, PID: by.PID, PIDFD: unix.FAN_NOPIDFD, At: by.At})
		}
		known := f.names[spotName{p, string(name)}]
		if known != nil {
			known.round = round
		}
		switch kind {
		case unix.DT_DIR:
			if len(rest) >= f.o.MaxMarks {
				f.refuse(-1, errTooMany)
				return
			}
			rest = append(rest, errand{parent: p, name: string(name), all: e.all, by: by})
		case unix.DT_REG:
			f.glance(p, fd, string(name))
		}
	})
	if err != nil {
		f.refuse(fd, err)
		return rest
	}
	if untold {
		f.tell(Sighting{Path: f.pathName(p, nil), IsDir: true, Overflow: true, PID: by.PID, PIDFD: unix.FAN_NOPIDFD, At: by.At})
	}
	for c := p.child; c != nil; {
		older := c.older
		if c.round != round {
			f.leave(c, true)
		}
		c = older
	}
	return rest
}

func (f *Fanotify) kindOf(dir int, name string) byte {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return unix.DT_UNKNOWN
	}
	return byte(st.Mode & unix.S_IFMT >> 12)
}

// glance opens a regular file only if there is more than its one name to it.
func (f *Fanotify) glance(p *spot, dir int, name string) {
	if f.o.Alone == nil {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Nlink < 2 {
			return
		}
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	f.meet(p, fd, name)
	if c := f.names[spotName{p, name}]; c != nil {
		c.round = p.round
	}
}

// follow opens the directory of an aim, a name at a time, so that each directory on the way is marked before its entry is
// looked at. Symbolic links are followed within the realm's root.
func (f *Fanotify) follow(a *aim) (fd int, err error) {
	old := a.trail
	a.trail = nil
	real, err := f.resolve(a)
	if err == nil {
		if fd, err = openBelow(a.realm.root, real, readDirectory); err == nil {
			a.real = real
		}
	}
	f.unlearn(a, old)
	return fd, err
}

func (f *Fanotify) resolve(a *aim) (string, error) {
	real, pending, links := "/", a.dir[1:], 0
	for pending != "" {
		var name string
		name, pending, _ = strings.Cut(pending, "/")
		if name == ".." {
			real = path.Dir(real)
		}
		if name == "" || name == "." || name == ".." {
			continue
		}
		f.learn(a, real, name)
		next := path.Join(real, name)
		target, err := readLinkBelow(a.realm.root, next)
		if err == unix.EINVAL { // not a symbolic link
			real = next
			continue
		}
		if err != nil {
			return "", err
		}
		if links++; links > maxSymlinks || len(target)+len(pending) > 2*unix.PathMax {
			return "", unix.ELOOP
		}
		pending = target + "/" + pending
		if target[0] == '/' {
			real = "/"
		}
	}
	return real, nil
}

// learn marks a directory on the way to an aim. Where that cannot be, what happens there is not told.
func (f *Fanotify) learn(a *aim, dir, name string) {
	fd, err := openBelow(a.realm.root, dir, readDirectory)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, key, err := f.mark(fd, "", fd, forTrail)
	if err != nil {
		return
	}
	s := step{dir, key, name}
	if f.trails[key] == nil {
		f.trails[key] = map[string][]*aim{}
	}
	if !slices.Contains(f.trails[key][name], a) {
		f.trails[key][name] = append(f.trails[key][name], a)
	}
	a.trail = append(a.trail, s)
}

// unlearn forgets those steps that no longer lead to an aim, and unmarks their directories if nothing else needs them.
func (f *Fanotify) unlearn(a *aim, old []step) {
	for _, s := range old {
		if slices.ContainsFunc(a.trail, func(t step) bool { return t.key == s.key && t.name == s.name }) {
			continue
		}
		names := f.trails[s.key]
		names[s.name] = slices.DeleteFunc(names[s.name], func(b *aim) bool { return a == b })
		if len(names[s.name]) == 0 {
			delete(names, s.name)
		}
		if len(names) > 0 {
			continue
		}
		delete(f.trails, s.key)
		if o := f.objects[s.key]; o != nil && o.group != nil {
			continue
		}
		fd, err := openBelow(a.realm.root, s.dir, readDirectory)
		if err != nil {
			continue
		}
		if key, err := handleKey(fd, ""); err == nil && key == s.key {
			for _, g := range f.groups {
				unix.FanotifyMark(g.fd, unix.FAN_MARK_REMOVE, g.mask(forTrail), fd, "")
			}
		}
		unix.Close(fd)
	}
}

// refuse counts and logs what could not be marked, or not as it should be. fd is negative if it could not even be opened. What has
// vanished since it was opened need not be marked.
func (f *Fanotify) refuse(fd int, err error) {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) {
		f.o.Log.Debug("a file or directory has vanished before it was marked", "err", err)
		return
	}
	reason := err.Error()
	switch {
	case errors.Is(err, errLeftOut):
		reason = "left out on " + fileSystemOf(fd)
	case errors.Is(err, errTooMany):
		reason = "limit"
	case errors.Is(err, ErrContentOnly):
		reason = "content only on " + fileSystemOf(fd)
	case err == unix.ENAMETOOLONG:
		reason = "name too long"
	case err == unix.EACCES || err == unix.EPERM:
		reason = "not permitted"
	case fd >= 0:
		reason += " on " + fileSystemOf(fd)
	}
	if _, ok := f.counts.NotMarked[reason]; !ok && len(f.counts.NotMarked) >= maxCauses {
		reason = "other"
	}
	f.counts.NotMarked[reason]++
	f.logOnce("some directories are not marked, or not for all", reason)
}

// logOnce logs for each reason once: what happens again is counted.
func (f *Fanotify) logOnce(message, reason string) {
	if !f.logged[reason] && len(f.logged) < maxCauses {
		f.logged[reason] = true
		f.o.Log.Warn(message, "reason", reason)
	}
}
