package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// walkLimits are how a walk treats the machine.
type walkLimits struct {
	workers func() int
	rest    int // times as long as it works it rests
	waiting int // directories that wait to be looked at, about
}

var (
	fastWalk    = walkLimits{workers: func() int { return runtime.GOMAXPROCS(0) }, waiting: 1 << 15}
	patientWalk = walkLimits{workers: func() int { return 1 }, waiting: 1 << 15, rest: 19}
)

// Bounds of a walk.
const (
	namesAtOnce = 64 << 10             // bytes of a directory
	maxNested   = 16                   // directories that are open at once, if too many wait
	workAtOnce  = 5 * time.Millisecond // before it rests
	maxRest     = time.Second          //
	statusMask  = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_UID | unix.STATX_GID | unix.STATX_INO
	statusFlags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
)

// A walker is one walk over the local file systems beneath the root. It follows no link, and leaves access times as they are.
type walker struct {
	s      *Surveys
	limits walkLimits
	apart  map[string]map[string]bool // names in directories that are not gone into from there
	device uint64                     // of the root
	owners *ownerCheck

	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // of dirs and working
	dirs     []*walkDir // that wait
	working  int
	met      map[walkPlace]bool // roots of file systems that no table told of
	result   walkResult
	failed   error // of the directory with the lowest path
	failures int
}

// A walkDir is a directory to be looked at.
type walkDir struct {
	in     *walkDir // nil of a root of the walk
	name   string
	device uint64 // 0 before it is open
	shared bool   // everybody puts files there: only programs that run as others are of interest
}

// A walkPlace is a directory, by whatever path.
type walkPlace struct{ device, inode uint64 }

func (d *walkDir) path() string {
	if d.in == nil {
		return d.name
	}
	size, depth := 0, 0
	for at := d; at.in != nil; at = at.in {
		size, depth = size+1+len(at.name), depth+1
	}
	b := make([]byte, size)
	for at := d; at.in != nil; at = at.in {
		copy(b[size-len(at.name):], at.name)
		size -= 1 + len(at.name)
		b[size] = '/'
	}
	top := d
	for top.in != nil {
		top = top.in
	}
	return strings.TrimSuffix(top.name, "/") + string(b)
}

// walk walks once. It is cut short by the deadline of ctx, and an error if ctx is cancelled.
func (s *Surveys) walk(ctx context.Context, limits walkLimits) (*walkResult, error) {
	w := &walker{s: s, limits: limits, owners: newOwnerCheck(s), met: map[walkPlace]bool{}}
	w.changed.L = &w.mu
	if err := w.begin(); err != nil {
		return nil, err
	}
	began := time.Now()
	var others sync.WaitGroup
	for range limits.workers() - 1 {
		others.Go(func() { w.work(ctx) })
	}
	w.work(ctx) // on this thread, which may be one of low priority
	others.Wait()
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		w.result.cut = fmt.Sprintf("it takes longer than %v", time.Since(began).Round(time.Second))
	case err != nil:
		return nil, err
	case w.failures > 1:
		w.result.cut = fmt.Sprintf("%s (and %d more)", shortened(w.failed.Error()), w.failures-1)
	case w.failures > 0:
		w.result.cut = shortened(w.failed.Error())
	}
	return w.finish(), nil
}

// finish completes the result.
func (w *walker) finish() *walkResult {
	r := &w.result
	r.strays.trim()
	r.setuids.trim()
	r.ended, r.owners = time.Now(), w.owners.err
	files := make([]string, len(r.setuids.all))
	for i, x := range r.setuids.all {
		files[i] = x.path
	}
	r.packages, r.packaged, r.unpackaged = w.s.owners(files)
	return r
}

// shortened cuts the middle out of what a long path makes long.
func shortened(text string) string {
	const ends = 150
	if len(text) <= 2*ends {
		return text
	}
	return strings.ToValidUTF8(text[:ends]+" … "+text[len(text)-ends:], "")
}

// A walkWorker is one of those that walk.
type walkWorker struct {
	*walker
	buffers  [maxNested][]byte
	status   unix.Statx_t
	began    time.Time // to work, since it last rested
	entries  int
	uid, gid uint32 // whose the file before was, if that is known to be somebody's
	known    bool
}

func (w *walker) work(ctx context.Context) {
	one := &walkWorker{walker: w, began: time.Now()}
	for d := w.next(false); d != nil; d = w.next(true) {
		one.directory(ctx, d, 0)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.entries += one.entries
}

// next returns a directory to look at, nil if there will be none any more. A worker says whether it has worked on one before.
func (w *walker) next(worked bool) *walkDir {
	w.mu.Lock()
	defer w.mu.Unlock()
	if worked {
		w.working--
	}
	for len(w.dirs) == 0 && w.working > 0 {
		w.changed.Wait()
	}
	if len(w.dirs) == 0 {
		w.changed.Broadcast()
		return nil
	}
	w.working++
	return w.pop()
}

func (w *walker) pop() *walkDir {
	last := len(w.dirs) - 1
	d := w.dirs[last]
	w.dirs = w.dirs[:last]
	return d
}

// overdue returns a directory to look at before more of them are found, nil if not too many wait.
func (w *walker) overdue() *walkDir {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dirs) <= w.limits.waiting {
		return nil
	}
	return w.pop()
}

func (w *walker) push(dirs []*walkDir) {
	if len(dirs) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirs = append(w.dirs, dirs...)
	w.changed.Broadcast()
}

// fail counts what could not be looked at, which may hold anything.
func (w *walker) fail(op, path string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	if failed := (&os.PathError{Op: op, Path: path, Err: err}); w.failed == nil || failed.Error() < w.failed.Error() {
		w.failed = failed
	}
}

// directory looks at what is in one directory.
func (w *walkWorker) directory(ctx context.Context, d *walkDir, nested int) {
	name := d.path()
	if ctx.Err() != nil || ofGuests(name) {
		return
	}
	fd, err := w.s.Files().directory(name)
	if err != nil {
		if !Absent(err) && !errors.Is(err, unix.ELOOP) { // it was removed meanwhile, or a link put in its place
			w.fail("open", name, unwrapPath(err))
		}
		return
	}
	defer unix.Close(fd)
	if !w.enter(fd, d, name) {
		return
	}
	if w.buffers[nested] == nil {
		w.buffers[nested] = make([]byte, namesAtOnce)
	}
	for ctx.Err() == nil {
		n, err := unix.ReadDirent(fd, w.buffers[nested])
		if err == unix.EINTR {
			continue
		}
		if err != nil && !gone(err) {
			w.fail("read", name, err)
		}
		if err != nil || n == 0 {
			return
		}
		w.push(w.names(fd, d, w.buffers[nested][:n], w.apart[name]))
		w.rest(ctx)
		if nested+1 == maxNested {
			continue
		}
		for next := w.overdue(); next != nil; next = w.overdue() {
			w.directory(ctx, next, nested+1)
		}
	}
}

// enter looks at a directory itself, once it is open, and says whether to look at what is in it.
func (w *walkWorker) enter(fd int, d *walkDir, name string) bool {
	if err := w.stat(fd, []byte{0}, unix.AT_EMPTY_PATH); err != nil {
		w.fail("stat", name, err)
		return false
	}
	if d.device = unix.Mkdev(w.status.Dev_major, w.status.Dev_minor); !w.belongs(fd, d) {
		return false
	}
	w.entries++
	w.judge(d, nil)
	return true
}

// stat reads the status of an entry, whose name ends with a zero.
func (w *walkWorker) stat(fd int, name []byte, flags uintptr) error {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(&name[0])), statusFlags|flags, statusMask, uintptr(unsafe.Pointer(&w.status)), 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}

// names looks at entries as getdents64(2) gives them, and returns the directories among them.
//
//	inode 8, offset 8, length 2, type 1, a name that ends with a zero
func (w *walkWorker) names(fd int, d *walkDir, b []byte, apart map[string]bool) (dirs []*walkDir) {
	const head = 8 + 8 + 2 + 1
	for len(b) > head {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= head || size > len(b) {
			return dirs
		}
		kind, name := b[head-1], b[head:size]
		b = b[size:]
		end := bytes.IndexByte(name, 0)
		if end <= 0 || string(name[:end]) == "." || string(name[:end]) == ".." || apart[string(name[:end])] {
			continue
		}
		name = name[:end+1]
		if kind == unix.DT_REG || kind == unix.DT_UNKNOWN {
			kind = w.file(fd, d, name)
		}
		if kind == unix.DT_DIR {
			dirs = append(dirs, &walkDir{in: d, name: string(name[:end]), shared: d.shared})
		}
	}
	return dirs
}

// file looks at what is no directory, as far as is known, and returns what it is.
func (w *walkWorker) file(fd int, d *walkDir, name []byte) byte {
	err := w.stat(fd, name, 0)
	if err != nil {
		if !gone(err) {
			w.fail("stat", path.Join(d.path(), string(name[:len(name)-1])), err)
		}
		return 0
	}
	switch w.status.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return unix.DT_DIR
	case unix.S_IFREG:
		w.entries++
		w.judge(d, name[:len(name)-1])
	}
	return unix.DT_REG
}

// judge keeps what is worth a fact: a file in a directory, or that itself.
func (w *walkWorker) judge(d *walkDir, name []byte) {
	st := &w.status
	if st.Mode&(unix.S_ISUID|unix.S_ISGID|0o002) == 0 && w.known && st.Uid == w.uid && st.Gid == w.gid {
		return
	}
	x := found{mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid}
	owned := !w.owners.unowned(x.uid) && !w.owners.ungrouped(x.gid)
	if owned {
		w.uid, w.gid, w.known = x.uid, x.gid, true
	}
	stray, setuid := !d.shared && (!owned || x.writable()), x.runsAs()
	if !stray && !setuid {
		return
	}
	if x.path = d.path(); name != nil {
		x.path = path.Join(x.path, string(name))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if stray {
		w.result.strays.add(x)
	}
	if setuid {
		w.result.setuids.add(x)
	}
}

// rest leaves the machine to others after some work.
func (w *walkWorker) rest(ctx context.Context) {
	if w.limits.rest == 0 {
		return
	}
	worked := time.Since(w.began)
	if worked < workAtOnce {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(min(time.Duration(w.limits.rest)*worked, maxRest)):
	}
	w.began = time.Now()
}
