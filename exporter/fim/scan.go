package fim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/yagura-io/yagura/exporter/host"
)

// ScanOptions say what is scanned, how fast, and who is told what.
type ScanOptions struct {
	Store     *Store
	Container string                // whose baseline it is; empty is the host's
	Look      LookOptions           // where the root is, and how much is read of what
	Roots     []string              // paths beneath the root that are walked; one that is not there is no error
	Enter     func(dir string) bool // whether anything beneath a directory may be watched; nil is always

	// Match says what is asked of a path, 0 if it is not watched. It is called once for each path that is there, and for each
	// that only the store has.
	Match func(path string, there bool) Attribute

	Part           bool // the roots are not all there are: neither is the baseline complete, nor was it scanned, once they are walked
	Build          bool // what the store does not know is taken for what should be, and told to nobody
	Paranoid       bool // all content is read, also where size, times, inode and device are what they were
	Tmpfs          bool // file systems in memory are entered
	FilesPerSecond int  // 0 is as many as there are
	LowPriority    bool // the scan has a thread of its own, with the nice value 19 and the I/O class idle

	// Tell is called with each difference, in no particular order, right after it was found to be so still. The scan writes
	// nothing of it to the store: that is for Learn, so that what is told and what is known stay together. An error ends the scan.
	Tell     func(d Difference) error
	Progress func(p Progress) // called about every second; may be nil
}

// A Progress is how far a scan has come.
type Progress struct {
	Files uint64 // watched paths that were found
	Known uint64 // that the last scan had found, 0 if there was none
	Bytes int64  // of content that were read
	Path  string // where it is
}

// A ScanResult is what a scan has come by.
type ScanResult struct {
	Files       uint64        // watched paths that were found
	Looked      uint64        // of which more than the status was read
	Bytes       int64         // of content that were read
	Differences uint64        // that were told
	Mounts      uint64        // file systems that were not entered, and directories that lead back to where they are
	Unread      uint64        // directories and files of which nothing is known: what the store has beneath them stays
	Partial     uint64        // files of which not all could be read, such as the content, for other reasons than their size
	Reasons     []string      // why, of the first few of both
	Took        time.Duration //
	Priority    error         // why LowPriority was not granted
}

// unread is how many directories and files could not be read, or not all of them.
func (r *ScanResult) unread() uint64 { return r.Unread + r.Partial }

// Bounds of a scan.
const (
	openLevels  = 64       // directories that are open at once; those above are opened again
	maxNames    = 4 << 20  // names of one directory: 130 MB
	maxSuspects = 16 << 20 // bytes of differences, or so, that wait for another to be the other half of a renaming
	maxSights   = 4 << 20  // and of sights that wait to be learnt from
	maxReasons  = 10
	learnEvery  = 2 * time.Second
	tellEvery   = time.Second
	keepNames   = 1 << 16 // bytes of names of a directory for which room is kept
)

// Scan walks the roots and the store side by side, in the same order, and tells how they differ. It returns what it has come by
// until then also with an error. Only a scan that has gone to its end counts as one; one that builds the baseline and was
// stopped, killed even, goes on where it was when it is started again, with all that is done done. All functions are called
// from one goroutine. A scan of a store that was opened read-only writes nothing, and tells the same.
//
// It does not enter file systems that are none, such as proc, ever; nor those of other machines, of user space (FUSE) and in
// memory, unless a root is on one, or the store has something beneath it that the file system now hides; nor a directory that
// it is already in, which a bind mount may lead back to.
func Scan(ctx context.Context, o ScanOptions) (ScanResult, error) {
	began := time.Now()
	meta, err := o.Store.Meta(o.Container)
	if err != nil {
		return ScanResult{}, err
	}
	roots, err := outermost(o.Roots)
	if err != nil {
		return ScanResult{}, fmt.Errorf("scan: %w", err)
	}
	if meta.Completed.IsZero() && (!o.Build || o.Store.readOnly || meta.Origin != "") {
		return ScanResult{}, fmt.Errorf("scan %s: %w", whose(Path{Container: o.Container}), ErrIncomplete)
	}
	l, err := NewLooker(o.Look)
	if err != nil {
		return ScanResult{}, fmt.Errorf("scan: %w", err)
	}
	defer l.Close()
	w := &walk{ctx: ctx, o: &o, l: l, known: meta.Files, suspects: map[place][]suspect{}, learnt: began, told: began}
	if o.FilesPerSecond > 0 {
		w.files = rate.NewLimiter(rate.Limit(o.FilesPerSecond), max(1, o.FilesPerSecond/10))
	}
	if o.LowPriority {
		done := make(chan error)
		go func() {
			w.result.Priority = host.LowerPriority()
			done <- w.all(roots)
		}()
		err = <-done
	} else {
		err = w.all(roots)
	}
	w.result.Bytes, w.result.Took = l.read, time.Since(began)
	if err != nil {
		return w.result, fmt.Errorf("scan %s: %w", whose(Path{Container: o.Container}), err)
	}
	if o.Store.readOnly || o.Part {
		return w.result, nil
	}
	return w.result, o.Store.SetMeta(o.Container, func(m *Meta) {
		m.Scanned = time.Now().UTC()
		if m.Completed.IsZero() {
			m.Completed = m.Scanned
		}
	})
}

// outermost returns the roots in the order of keys, without those that lie beneath others.
func outermost(roots []string) ([]string, error) {
	var keys [][]byte
	for _, root := range roots {
		key, err := keyOf(Path{Name: root})
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	slices.SortFunc(keys, bytes.Compare)
	var all []string
	var last []byte
	for _, key := range keys {
		if last == nil || !beneath(key, last) {
			all, last = append(all, nameOf(key)), key
		}
	}
	return all, nil
}

// A walk is one scan.
type walk struct {
	ctx      context.Context // of the call that the walk is part of
	o        *ScanOptions
	l        *Looker
	known    uint64
	files    *rate.Limiter
	stored   *storeCursor // what the store has beneath the root at hand
	key      []byte       // of the path at hand
	stack    []*level     // the directories that it is in; those behind are kept for their room
	depth    int          // of stack
	suspects map[place][]suspect
	waiting  int     // bytes of suspects, as weight has them
	sights   []Sight // without a difference, to be learnt from
	seen     int     // and their bytes
	entries  []byte  // of a directory, as the kernel gives them
	learnt   time.Time
	told     time.Time
	result   ScanResult
}

// A level is a directory that the walk is in.
type level struct {
	place
	fd    int // -1 if it was closed for the sake of the bound
	key   int // how much of the walk's key is its
	names nameList
}

// A place is where a file is, whatever it is called.
type place struct{ device, inode uint64 }

// A suspect is a creation or a deletion that may be half of a renaming.
type suspect struct {
	Difference
	of Attribute
}

func (w *walk) all(roots []string) error {
	for _, root := range roots {
		if err := w.root(root); err != nil {
			return err
		}
	}
	if err := w.learn(); err != nil {
		return err
	}
	return w.tellSuspects()
}

func (w *walk) root(root string) (err error) {
	p := Path{w.o.Container, root}
	if w.stored, err = w.o.Store.newCursor(p, entriesBucket); err != nil {
		return err
	}
	if err := w.stored.next(); err != nil {
		return err
	}
	w.key = append(w.key[:0], w.stored.under...)
	fd, err := w.l.open(root)
	switch {
	case err == nil:
		err = w.visit(fd, "", place{})
		unix.Close(fd)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	default:
		err = w.unread(err)
	}
	if err != nil {
		return err
	}
	for w.stored.key != nil {
		if err := w.gone(); err != nil {
			return err
		}
	}
	return nil
}

// visit looks at a name in a directory that the walk's key says the path of, or with no name at the descriptor itself, and at
// all beneath it.
func (w *walk) visit(dir int, name string, in place) error {
	if err := w.pace(); err != nil {
		return err
	}
	st, err := statAt(dir, name)
	if errors.Is(notThere(err), fs.ErrNotExist) {
		return nil // it has vanished since it was listed; the store tells if that matters
	}
	if err != nil {
		return w.unread(err)
	}
	for w.stored.key != nil && bytes.Compare(w.stored.key, w.key) < 0 {
		if err := w.gone(); err != nil {
			return err
		}
	}
	path := nameOf(w.key)
	known := w.stored.key != nil && bytes.Equal(w.stored.key, w.key)
	if of := w.o.Match(path, true); of != 0 {
		if err := w.compare(dir, name, path, &st, known, of); err != nil {
			return err
		}
	}
	if known {
		if err := w.stored.next(); err != nil {
			return err
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && (w.o.Enter == nil || w.o.Enter(path)) {
		return w.enter(dir, name, place{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, in)
	}
	return nil
}

// compare holds a watched path against what the store knows, which is where its cursor is.
func (w *walk) compare(dir int, name, path string, st *unix.Statx_t, known bool, of Attribute) error {
	w.result.Files++
	if known && !w.o.Paranoid && w.settled(st) {
		return nil
	}
	p := Path{w.o.Container, path}
	e := Entry{Path: p}
	if known {
		var err error
		if e, err = w.stored.entry(); err != nil {
			return err
		}
	}
	r, err := w.look(dir, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.result.Looked++
	now := &r
	if err != nil {
		now = nil
	} else if r.isPartial() && !r.Mode.IsDir() { // a directory that cannot be read is entered next
		w.result.Partial++
		w.why(r.Unreadable)
	}
	changed := Compare(e.Now, now, of)
	switch taking := w.o.Build && !known; {
	case changed != 0 && !taking:
		return w.differs(suspect{Difference{Path: p, Base: e.Base, Old: e.Now, New: now, Changed: changed}, of})
	case now != nil && (taking || !sameRecord(e.Now, now)):
		w.sights = append(w.sights, Sight{p, now, of})
		if w.seen += weight(now); len(w.sights) == batchEntries || w.seen > maxSights {
			return w.learn()
		}
	}
	return nil
}

// weight is about how many bytes of memory a record has. What a user may write to a file's attributes is most of it.
func weight(r *Record) int {
	n := 300 + len(r.Target)
	for name, value := range r.Attributes {
		n += 100 + len(name) + len(value)
	}
	return n
}

// look reads what is so of a name in a directory.
func (w *walk) look(dir int, name string) (Record, error) {
	if name == "" {
		return w.l.record(w.ctx, dir)
	}
	fd, err := openAgain(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return Record{}, notThere(err)
	}
	defer unix.Close(fd)
	return w.l.record(w.ctx, fd)
}

// settled says whether a status leaves no room for a change since the store's record was taken, and all was read then.
func (w *walk) settled(st *unix.Statx_t) bool {
	var r Record
	shape, rest, err := entryShape(w.stored.value)
	if err == nil && shape == entryBase {
		if rest, err = decodeStatus(rest, &r); err == nil {
			err = peek(rest, &r)
		}
	} else if err == nil {
		_, now, broken := decodeEntry(w.stored.value)
		if broken != nil || now == nil {
			return false
		}
		r = *now
	}
	now := recordOf(st)
	return err == nil && r.Flags&Fresh == 0 && sameTimes(&r, &now) && (r.Summed || !r.Mode.IsRegular() || r.Size > w.l.o.MaxSize) &&
		(r.Mode.IsDir() || !r.isPartial())
}

// peek reads what follows the status of an encoded record: whether it is summed, and why not all of it is known. Of most it takes
// no memory.
func peek(b []byte, r *Record) error {
	if len(b) == 0 {
		return errShort
	}
	skip := 1
	if r.Summed = b[0] == 1; r.Summed {
		skip += len(r.Sum)
	}
	if len(b) < skip {
		return errShort
	}
	b = b[skip:]
	target, size := binary.Uvarint(b)
	if size <= 0 || target > uint64(len(b)-size) {
		return errShort
	}
	var err error
	r.Unreadable, _, err = cutText(b[size+int(target):])
	return err
}

// sameTimes says whether two records agree in what a status holds.
func sameTimes(a, b *Record) bool {
	return a.Inode == b.Inode && a.Device == b.Device && a.Size == b.Size && a.Modified == b.Modified && a.Changed == b.Changed &&
		a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Links == b.Links
}

// gone tells that what the store's cursor is at was not found, and goes on to the next.
func (w *walk) gone() error {
	if err := w.pace(); err != nil {
		return err
	}
	e, err := w.stored.entry()
	if err != nil {
		return err
	}
	if of := w.o.Match(e.Path.Name, false); of != 0 && e.Now != nil {
		if err := w.differs(suspect{Difference{Path: e.Path, Base: e.Base, Old: e.Now, Changed: of}, of}); err != nil {
			return err
		}
	}
	return w.stored.next()
}

// unread counts what cannot be read, and passes over what the store has of it: nobody knows whether it is there.
func (w *walk) unread(reason error) error {
	w.result.Unread++
	w.why(reason.Error())
	for w.stored.key != nil {
		if !beneath(w.stored.key, w.key) {
			if bytes.Compare(w.stored.key, w.key) > 0 {
				return nil
			}
			if err := w.gone(); err != nil {
				return err
			}
			continue
		}
		if err := w.stored.next(); err != nil {
			return err
		}
	}
	return nil
}

// why keeps the reason for which the path at hand cannot be read.
func (w *walk) why(reason string) {
	if len(w.result.Reasons) < maxReasons {
		w.result.Reasons = append(w.result.Reasons, fmt.Sprintf("%q: %s", nameOf(w.key), reason))
	}
}

// enter walks what is in a directory, which lies in another.
func (w *walk) enter(dir int, name string, at, in place) error {
	for _, lv := range w.stack[:w.depth] {
		if lv.place == at {
			w.result.Mounts++
			return nil
		}
	}
	if at.device != in.device {
		enters, err := w.enters(dir, name, in == place{})
		if err != nil {
			return w.unread(err)
		}
		if !enters {
			w.result.Mounts++
			return nil
		}
	}
	lv, err := w.push(dir, name)
	defer w.pop()
	if errors.Is(notThere(err), fs.ErrNotExist) || err == unix.ELOOP { // it has vanished, or is now something else
		return nil
	}
	if err != nil {
		return w.unread(err)
	}
	for i := range lv.names.at {
		name := lv.names.name(i)
		if lv.key > 1 {
			w.key = append(w.key, 0)
		}
		w.key = append(w.key, name...)
		if len(w.key) > maxName {
			err = w.unread(fmt.Errorf("its path has %d bytes: want at most %d", len(w.key), maxName))
		} else if err = w.reopen(lv); err == nil {
			err = w.visit(lv.fd, string(name), lv.place)
		} else {
			err = w.unread(err)
		}
		w.key = w.key[:lv.key]
		if err != nil {
			return err
		}
	}
	return nil
}

// push opens a directory and reads its names.
func (w *walk) push(dir int, name string) (*level, error) {
	if w.depth == len(w.stack) {
		w.stack = append(w.stack, &level{})
	}
	lv := w.stack[w.depth]
	w.depth++
	lv.fd, lv.key, lv.place = -1, len(w.key), place{}
	if above := w.depth - 1 - openLevels; above >= 0 {
		w.stack[above].close()
	}
	if name == "" {
		dir, name = unix.AT_FDCWD, descriptor(dir)
	}
	fd, err := openQuietly(dir, name, unix.O_DIRECTORY|ifName(name))
	if err != nil {
		return lv, err
	}
	lv.fd = fd
	st, err := statAt(fd, "")
	if err != nil {
		return lv, err
	}
	lv.place = place{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}
	if w.entries == nil {
		w.entries = make([]byte, 32<<10)
	}
	return lv, lv.names.read(fd, w.entries)
}

// ifName keeps the last name of a path from being followed, unless it is one of the kernel's own links to a descriptor.
func ifName(name string) int {
	if name[0] == '/' {
		return 0
	}
	return unix.O_NOFOLLOW
}

func (w *walk) pop() {
	w.depth--
	lv := w.stack[w.depth]
	lv.close()
	if cap(lv.names.text) > keepNames || w.depth > openLevels {
		lv.names = nameList{}
	}
}

func (lv *level) close() {
	if lv.fd >= 0 {
		unix.Close(lv.fd)
		lv.fd = -1
	}
}

// reopen opens a directory again that was closed for what was beneath it, if it is still there.
func (w *walk) reopen(lv *level) error {
	if lv.fd >= 0 {
		return nil
	}
	at, err := w.l.open(nameOf(w.key[:lv.key]))
	if err != nil {
		return err
	}
	defer unix.Close(at)
	fd, err := openQuietly(unix.AT_FDCWD, descriptor(at), unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	st, err := statAt(fd, "")
	if err == nil && (place{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}) != lv.place {
		err = errors.New("its directory was replaced while it was read")
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	lv.fd = fd
	return nil
}

// File systems that hold no files, or that say what the kernel does.
var pseudoFiles = []int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
	unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC, unix.SMACK_MAGIC, unix.AAFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.BPF_FS_MAGIC,
	unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.HUGETLBFS_MAGIC, unix.BINFMTFS_MAGIC, unix.BINDERFS_SUPER_MAGIC, unix.AUTOFS_SUPER_MAGIC,
	unix.NSFS_MAGIC, unix.PIPEFS_MAGIC, unix.SOCKFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.XENFS_SUPER_MAGIC, unix.USBDEVICE_SUPER_MAGIC,
	0x62656570 /* configfs */, 0x19800202 /* mqueue */, 0x65735543 /* fusectl */, 0x67596969 /* rpc_pipefs */, 0x6e667364 /* nfsd */}

// File systems that another machine or a process answers for, and may not.
var foreignFiles = []int64{unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, 0x0bd00bd0 /* Lustre */}

// File systems in memory.
var memoryFiles = []int64{unix.TMPFS_MAGIC, unix.RAMFS_MAGIC}

// enters says whether the walk goes on into another file system.
func (w *walk) enters(dir int, name string, isRoot bool) (bool, error) {
	fd := dir
	if name != "" {
		var err error
		if fd, err = openAgain(dir, name, unix.O_PATH|unix.O_NOFOLLOW); err != nil {
			return false, notThere(err)
		}
		defer unix.Close(fd)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false, err
	}
	magic := int64(uint32(st.Type))
	switch {
	case slices.Contains(pseudoFiles, magic):
		return false, nil
	case isRoot, w.stored.key != nil && beneath(w.stored.key, w.key):
		return true, nil
	case slices.Contains(memoryFiles, magic):
		return w.o.Tmpfs, nil
	}
	return !slices.Contains(foreignFiles, magic), nil
}

// pace waits as the limit on files says, shows how far the walk is, and ends it if it is called off.
func (w *walk) pace() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.files != nil {
		if err := w.files.Wait(w.ctx); err != nil {
			return err
		}
	}
	now := time.Now()
	if w.o.Progress != nil && now.Sub(w.told) >= tellEvery {
		w.told = now
		w.o.Progress(Progress{Files: w.result.Files, Known: w.known, Bytes: w.l.read, Path: nameOf(w.key)})
	}
	if now.Sub(w.learnt) >= learnEvery {
		return w.learn()
	}
	return nil
}

// learn has the store know what was seen without a difference. What another has learnt meanwhile may make it one.
func (w *walk) learn() error {
	w.learnt, w.seen = time.Now(), 0
	if len(w.sights) == 0 || w.o.Store.readOnly {
		w.sights = w.sights[:0]
		return nil
	}
	after, err := w.o.Store.settle(w.sights, w.o.Build)
	w.sights = w.sights[:0]
	if err != nil {
		return err
	}
	for _, s := range after {
		if err := w.tell(s); err != nil {
			return err
		}
	}
	return nil
}

// differs tells a difference, or keeps a creation or deletion until its other half is found or the walk is over.
func (w *walk) differs(s suspect) error {
	r := cmp.Or(s.Old, s.New)
	if s.Old != nil && s.New != nil {
		return w.tell(s)
	}
	at := place{r.Device, r.Inode}
	others := w.suspects[at]
	for i, other := range others {
		if (s.Old == nil) == (other.Old == nil) || !sameFile(cmp.Or(s.Old, other.Old), cmp.Or(s.New, other.New)) {
			continue
		}
		w.waiting -= weight(cmp.Or(other.Old, other.New))
		if w.suspects[at] = slices.Delete(others, i, i+1); len(others) == 1 {
			delete(w.suspects, at)
		}
		if s.New == nil {
			return w.tellRenamed(s, other)
		}
		return w.tellRenamed(other, s)
	}
	if w.waiting += weight(r); w.waiting > maxSuspects {
		w.waiting -= weight(r)
		return w.tell(s)
	}
	w.suspects[at] = append(others, s)
	return nil
}

// sameFile says whether a file that was in a place is the one that is there now, and not another that was given its inode:
// its content or, if it has none that says so, its time of modification is the same.
func sameFile(old, new *Record) bool {
	if old.Mode.Type() != new.Mode.Type() || old.Size != new.Size && !old.Mode.IsDir() {
		return false
	}
	if old.Mode.IsRegular() && old.Summed && new.Summed && (old.Sum != new.Sum || old.Size > 0) {
		return old.Sum == new.Sum
	}
	return old.Modified == new.Modified && old.Target == new.Target
}

func (w *walk) tellSuspects() error {
	var all []suspect
	for _, some := range w.suspects {
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b suspect) int { return cmp.Compare(a.Path.Name, b.Path.Name) })
	for _, s := range all {
		if err := w.tell(s); err != nil {
			return err
		}
	}
	return nil
}

// tell tells a difference if it is still one.
func (w *walk) tell(s suspect) error {
	d, err := w.confirm(s)
	if err != nil || d.Changed == 0 {
		return err
	}
	w.result.Differences++
	return w.o.Tell(d)
}

// tellRenamed tells that what was at one path is now at another, or what is left of that.
func (w *walk) tellRenamed(gone, came suspect) error {
	from, err := w.confirm(gone)
	if err != nil {
		return err
	}
	to, err := w.confirm(came)
	if err != nil {
		return err
	}
	if from.Old != nil && from.New == nil && to.Old == nil && to.New != nil {
		to.From, to.Old, to.Changed = from.Path.Name, from.Old, Compare(from.Old, to.New, came.of)
		w.result.Differences++
		return w.o.Tell(to)
	}
	for _, d := range []Difference{from, to} {
		if d.Changed != 0 {
			w.result.Differences++
			if err := w.o.Tell(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// confirm holds what is there now against what the store knows now: others may have seen the same since it was found.
func (w *walk) confirm(s suspect) (Difference, error) {
	e, err := w.o.Store.Get(s.Path)
	if err != nil {
		return Difference{}, err
	}
	d := Difference{Path: s.Path, Base: e.Base, Old: e.Now, New: s.New}
	fd, err := w.l.open(s.Path.Name)
	switch {
	case err == nil:
		defer unix.Close(fd)
		var st unix.Statx_t
		if st, err = statAt(fd, ""); err != nil {
			break
		}
		if now := recordOf(&st); d.New != nil && sameTimes(d.New, &now) {
			break
		}
		r, err := w.l.record(w.ctx, fd)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
		if d.New = &r; err != nil {
			d.New = nil
		}
	case errors.Is(err, fs.ErrNotExist):
		d.New = nil
	}
	d.Changed = Compare(d.Old, d.New, s.of)
	return d, nil
}

// A nameList holds the names of a directory, in order.
type nameList struct {
	text []byte
	at   []span
}

type span struct{ start, end uint32 }

func (n *nameList) name(i int) []byte { return n.text[n.at[i].start:n.at[i].end] }

// read reads the names of a directory as getdents64(2) has them: inode, offset, length of the entry, type, name, NUL.
func (n *nameList) read(fd int, room []byte) error {
	const header = 8 + 8 + 2 + 1
	n.text, n.at = n.text[:0], n.at[:0]
	for {
		size, err := unix.Getdents(fd, room)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		for b := room[:size]; len(b) > header; {
			length := int(binary.NativeEndian.Uint16(b[16:]))
			if length <= header || length > len(b) {
				return fmt.Errorf("an entry of the directory has %d bytes: want %d to %d", length, header+1, len(b))
			}
			name, _, _ := bytes.Cut(b[header:length], []byte{0})
			b = b[length:]
			if string(name) == "." || string(name) == ".." || len(name) == 0 {
				continue
			}
			if len(n.at) == maxNames {
				return fmt.Errorf("it has more than %d names", maxNames)
			}
			start := uint32(len(n.text))
			n.text = append(n.text, name...)
			n.at = append(n.at, span{start, uint32(len(n.text))})
		}
	}
	slices.SortFunc(n.at, func(a, b span) int { return bytes.Compare(n.text[a.start:a.end], n.text[b.start:b.end]) })
	return nil
}
