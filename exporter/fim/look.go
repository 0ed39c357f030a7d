package fim

import (
	"cmp"
	"context"
	"crypto"
	_ "crypto/md5"  // of dpkg, whose databases have no better sums
	_ "crypto/sha1" // of apk, and old rpm
	"crypto/sha256"
	_ "crypto/sha512" // of rpm
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// LookOptions say how files are read.
type LookOptions struct {
	Root           string // the directory that paths are beneath, such as /proc/PID/root of a container; empty is /
	MaxSize        int64  // bytes; larger files are not summed. 0 is 1 GiB
	BytesPerSecond int64  // of content that are read; 0 is as many as there are
}

// Fresh is a bit of Record.Flags that no file system sets: the file had changed so shortly before it was read that a further
// change need not show in its times. They move only when the kernel writes a mapped page back, and by the tick of a clock.
// Whoever would take unchanged times for unchanged content must read such a file again.
const Fresh = 1 << 31

// Bounds of looking.
const (
	defaultMaxSize = 1 << 30
	fresh          = time.Minute // dirty pages are written back after 35 s, unless an administrator said otherwise
	lookPiece      = 128 << 10   // bytes that are read at once, and the least burst of the limit
	lookTries      = 3           // reads of a file that changes while it is read
	lookRetries    = 32          // resolutions of a path that others rename meanwhile
	lookLinks      = 40          // symbolic links on the way, as the kernel allows
	longValue      = 4 << 10     // bytes of an extended attribute that are kept as they are
	longValues     = 64 << 10    // and of all of a file's
)

// summedValue begins the value of an extended attribute that is too long to be kept: its SHA-256 follows.
const summedValue = "sha256:"

// tooLarge begins the reason for which the content of a large file is not read.
const tooLarge = "larger than "

// A Looker reads what is so of paths beneath a root. It belongs to one goroutine.
type Looker struct {
	o        LookOptions
	root     int  // a descriptor with O_PATH
	noOpenat bool // without openat2: an old kernel, or a filter of system calls
	sum      hash.Hash
	piece    []byte
	limit    *rate.Limiter
	read     int64 // bytes of content, in all
}

// NewLooker opens the root. The error says so if it is no directory, or if /proc is not there, without which a file cannot be
// opened without being in danger of opening another.
func NewLooker(o LookOptions) (*Looker, error) {
	o.Root = cmp.Or(o.Root, "/")
	o.MaxSize = cmp.Or(o.MaxSize, defaultMaxSize)
	root, err := openAgain(unix.AT_FDCWD, o.Root, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open the root %s: %w", o.Root, err)
	}
	if _, err := statAt(unix.AT_FDCWD, descriptor(root)); err != nil {
		unix.Close(root)
		return nil, fmt.Errorf("look at files: %s: %w (is /proc mounted?)", descriptor(root), err)
	}
	l := &Looker{o: o, root: root, sum: sha256.New(), piece: make([]byte, lookPiece)}
	if o.BytesPerSecond > 0 {
		l.limit = rate.NewLimiter(rate.Limit(o.BytesPerSecond), max(lookPiece, int(min(o.BytesPerSecond/10, 1<<30))))
	}
	return l, nil
}

// Close gives the root back.
func (l *Looker) Close() error { return unix.Close(l.root) }

// Look reads what is so of a path beneath the root, which is absolute and clean. Symbolic links are followed on the way to it,
// within the root, and never at its end. It waits for no FIFO and opens no device. A path where nothing is, or where
// something vanishes meanwhile, is fs.ErrNotExist; content that cannot be read is no error, but said in the record.
func (l *Looker) Look(ctx context.Context, name string) (Record, error) {
	fd, err := l.open(name)
	if err != nil {
		return Record{}, fmt.Errorf("look at %q: %w", name, err)
	}
	defer unix.Close(fd)
	r, err := l.record(ctx, fd)
	if err != nil {
		return Record{}, fmt.Errorf("look at %q: %w", name, err)
	}
	return r, nil
}

// Real is the path with all symbolic links on the way to it followed, within the root, as the kernel's witnesses tell it. If
// it is itself a symbolic link, it stays.
func (l *Looker) Real(name string) (string, error) {
	fd, real, err := l.openSlowly(name)
	if err != nil {
		return "", fmt.Errorf("resolve %q: %w", name, err)
	}
	unix.Close(fd)
	return real, nil
}

// open returns a descriptor with O_PATH, which opens neither a FIFO nor a device.
func (l *Looker) open(name string) (int, error) {
	if l.noOpenat || len(name) >= unix.PathMax {
		fd, _, err := l.openSlowly(name)
		return fd, err
	}
	if err := checkName(name); err != nil {
		return -1, err
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range lookRetries {
		fd, err := unix.Openat2(l.root, name, &how)
		switch err {
		case nil:
			return fd, nil
		case unix.EAGAIN, unix.EINTR: // something was renamed, and the kernel cannot be sure to have stayed within the root
		case unix.ENOSYS, unix.EPERM: // filters of system calls say either
			l.noOpenat = true
			fd, _, err := l.openSlowly(name)
			return fd, err
		default:
			return -1, notThere(err)
		}
	}
	return -1, unix.EAGAIN
}

// openSlowly does what open does, a name at a time, for paths that are too long for the kernel and for where openat2 is not to
// be had. It returns what the path was resolved to. Since it goes up by the names it came by, from the root, nobody who renames
// directories meanwhile can lead it out of the root.
func (l *Looker) openSlowly(name string) (fd int, real string, err error) {
	if err := checkName(name); err != nil {
		return -1, "", err
	}
	if fd, err = l.openPlain("/"); err != nil {
		return -1, "", err
	}
	real = "/"
	for pending, links := name[1:], 0; pending != ""; {
		var part, target string
		part, pending, _ = strings.Cut(pending, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			real = path.Dir(real)
		default:
			var next int
			if next, err = openAgain(fd, part, unix.O_PATH|unix.O_NOFOLLOW); err != nil {
				unix.Close(fd)
				return -1, "", notThere(err)
			}
			if pending != "" {
				target, _ = readLink(next) // which fails for all but symbolic links
			}
			if target == "" {
				unix.Close(fd)
				fd, real = next, path.Join(real, part)
				continue
			}
			unix.Close(next)
			pending = target + "/" + pending
			if links++; links > lookLinks || len(pending) > 2*maxName {
				unix.Close(fd)
				return -1, "", unix.ELOOP
			}
			if target[0] != '/' {
				continue
			}
			real = "/"
		}
		unix.Close(fd)
		if fd, err = l.openPlain(real); err != nil {
			return -1, "", notThere(err)
		}
	}
	return fd, real, nil
}

// openPlain opens a path that has no symbolic link in it, and fails if it has got one.
func (l *Looker) openPlain(name string) (int, error) {
	fd, err := openAgain(l.root, ".", unix.O_PATH)
	for part := range strings.SplitSeq(name[1:], "/") {
		if err != nil || part == "" {
			break
		}
		dir := fd
		fd, err = openAgain(dir, part, unix.O_PATH|unix.O_NOFOLLOW)
		unix.Close(dir)
	}
	return fd, err
}

// SumBy sums the content of a regular file beneath the root by another hash than ours, for databases that have no better. It may
// not be the content any more that was looked at before.
func (l *Looker) SumBy(name string, h crypto.Hash) ([]byte, error) {
	if !h.Available() {
		return nil, fmt.Errorf("sum %q: %v is not linked in", name, h)
	}
	at, err := l.open(name)
	if err != nil {
		return nil, fmt.Errorf("sum %q: %w", name, err)
	}
	defer unix.Close(at)
	st, err := statAt(at, "")
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || int64(st.Size) > l.o.MaxSize {
		return nil, fmt.Errorf("sum %q: %w", name, cmp.Or(err, fmt.Errorf("want a regular file of at most %d bytes", l.o.MaxSize)))
	}
	fd, err := openQuietly(unix.AT_FDCWD, descriptor(at), 0)
	if err != nil {
		return nil, fmt.Errorf("sum %q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	sum := h.New()
	if _, err := io.Copy(sum, io.LimitReader(f, int64(st.Size))); err != nil {
		return nil, fmt.Errorf("sum %q: %w", name, err)
	}
	return sum.Sum(nil), nil
}

// record reads the file of a descriptor with O_PATH, again if it changes meanwhile.
func (l *Looker) record(ctx context.Context, fd int) (Record, error) {
	before, err := statAt(fd, "")
	if err != nil {
		return Record{}, notThere(err)
	}
	for range lookTries {
		now := time.Now()
		r := recordOf(&before)
		if err := l.fill(ctx, fd, &before, &r); err != nil {
			return Record{}, err
		}
		after, err := statAt(fd, "")
		if err != nil {
			return Record{}, notThere(err)
		}
		if sameStatus(&before, &after) {
			if now.Add(-fresh).UnixNano() < max(r.Changed, r.Modified) && r.Mode.IsRegular() {
				r.Flags |= Fresh
			}
			return r, nil
		}
		before = after
	}
	r := recordOf(&before)
	r.Flags |= Fresh
	r.Unreadable = "it changes while it is read"
	return r, nil
}

// fill reads what is not in a status.
func (l *Looker) fill(ctx context.Context, fd int, st *unix.Statx_t, r *Record) (err error) {
	const both = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND
	known := st.Attributes_mask&both == both
	if known {
		r.Flags = uint32(st.Attributes & both) // the bits are those of FS_IOC_GETFLAGS
	}
	if r.Mode.Type() == fs.ModeSymlink {
		if r.Target, err = readLink(fd); err != nil {
			r.Unreadable = reason(err)
		}
	}
	if !r.Mode.IsRegular() && (known || !r.Mode.IsDir()) {
		r.Attributes, r.Unreadable = attributesOf(fd, false)
		return nil
	}
	opened, err := openQuietly(unix.AT_FDCWD, descriptor(fd), 0)
	if err != nil {
		r.Attributes, _ = attributesOf(fd, false)
		r.Unreadable = reason(err)
		return nil
	}
	defer unix.Close(opened)
	r.Attributes, r.Unreadable = attributesOf(opened, true)
	if !known {
		if flags, err := unix.IoctlGetUint32(opened, unix.FS_IOC_GETFLAGS); err == nil { // most of those who do not know, have none
			r.Flags = flags & both
		}
	}
	if r.Mode.IsDir() {
		return nil
	}
	return l.hash(ctx, opened, r)
}

// hash sums as many bytes as the file has had when its status was read: no file can keep it reading by growing, and none of
// /proc, which say 0, can keep it waiting.
func (l *Looker) hash(ctx context.Context, fd int, r *Record) error {
	if r.Size > l.o.MaxSize {
		r.Unreadable = tooLarge + sizeText(l.o.MaxSize)
		return nil
	}
	l.sum.Reset()
	for left := r.Size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := l.piece[:min(left, lookPiece)]
		if l.limit != nil {
			if err := l.limit.WaitN(ctx, len(piece)); err != nil {
				return err
			}
		}
		n, err := unix.Read(fd, piece)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			r.Unreadable = reason(err)
			return nil
		}
		if n == 0 {
			break // it has been cut short: its status has changed too
		}
		l.sum.Write(piece[:n])
		l.read += int64(n)
		left -= int64(n)
	}
	l.sum.Sum(r.Sum[:0])
	r.Summed = true
	return nil
}

// Compare says which of the attributes that are asked for differ. Of nothing and something, all do; of two nothings, none.
//
// Another type of file is another content, and so is another device of a device file. Without the sum of either, content is
// taken for changed if its size or its time of modification is. Directories have no content, which their files tell, and
// their links count what is in them.
func Compare(old, new *Record, of Attribute) Attribute {
	switch {
	case old == nil && new == nil:
		return 0
	case old == nil || new == nil:
		return of
	}
	var changed Attribute
	if sameType := old.Mode.Type() == new.Mode.Type(); !sameType || contentDiffers(old, new) {
		changed |= Content
	}
	if old.Mode != new.Mode {
		changed |= Mode
	}
	if old.UID != new.UID || old.GID != new.GID {
		changed |= Owner
	}
	if old.Links != new.Links && !old.Mode.IsDir() && !new.Mode.IsDir() {
		changed |= Links
	}
	if (old.Flags^new.Flags)&^Fresh != 0 {
		changed |= Flags
	}
	return (changed | attributesDiffer(old.Attributes, new.Attributes)) & of
}

func contentDiffers(old, new *Record) bool {
	switch {
	case old.Mode.IsDir():
		return false
	case !old.Mode.IsRegular():
		return old.Target != new.Target
	case old.Summed && new.Summed:
		return old.Sum != new.Sum
	}
	return old.Size != new.Size || old.Modified != new.Modified
}

// withSum is a record itself or, if its content could not be read, with the sum that the same file had when it could: that is what
// it is held against once it can be again. Else who keeps a file from being read for a while could then change it unnoticed.
func (r *Record) withSum(known *Record) *Record {
	if known == nil || r.Summed || !known.Summed || !r.isPartial() || r.Mode.Type() != known.Mode.Type() || contentDiffers(known, r) {
		return r
	}
	with := *r
	with.Sum, with.Summed = known.Sum, true
	return &with
}

func attributesDiffer(old, new map[string]string) (changed Attribute) {
	for name, value := range old {
		if other, ok := new[name]; !ok || other != value {
			changed |= attributeOf(name)
		}
	}
	for name := range new {
		if _, ok := old[name]; !ok {
			changed |= attributeOf(name)
		}
	}
	return changed
}

func attributeOf(name string) Attribute {
	if name == "system.posix_acl_access" || name == "system.posix_acl_default" {
		return ACL
	}
	return Xattrs
}

// attributesOf reads the extended attributes of what a descriptor is of, and why some of them are not known. What cannot have any
// has none. Where the descriptor was not opened for reading, the kernel wants a path, which costs more.
func attributesOf(fd int, opened bool) (map[string]string, string) {
	list := func(b []byte) (int, error) { return unix.Flistxattr(fd, b) }
	get := func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) }
	if !opened {
		self := descriptor(fd)
		list = func(b []byte) (int, error) { return unix.Listxattr(self, b) }
		get = func(name string, b []byte) (int, error) { return unix.Getxattr(self, name, b) }
	}
	names, err := readGrowing(list)
	if err != nil || len(names) == 0 {
		return nil, reason(ignore(err, unix.EOPNOTSUPP))
	}
	all, unknown, size := map[string]string{}, "", 0
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		value, err := readGrowing(func(b []byte) (int, error) { return get(name, b) })
		if err == unix.ENODATA { // removed meanwhile: the status has changed too
			continue
		}
		if err != nil {
			unknown = name + ": " + reason(err)
			continue
		}
		all[name] = keptValue(value, size)
		size += len(value)
	}
	return all, unknown
}

// keptValue is the value of an extended attribute, or its sum if it is long, or if all have become so. A value that looks like a
// sum is summed too, so that none can be made to look like another.
func keptValue(value []byte, before int) string {
	if len(value) > longValue || before > longValues || strings.HasPrefix(string(value), summedValue) {
		sum := sha256.Sum256(value)
		return summedValue + string(sum[:])
	}
	return string(value)
}

// readGrowing calls a function that says the size if it is given no room, until its answer fits.
func readGrowing(get func([]byte) (int, error)) ([]byte, error) {
	for range lookRetries {
		n, err := get(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		b := make([]byte, n)
		n, err = get(b)
		if err == unix.ERANGE {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
	return nil, unix.ERANGE
}

// readLink reads the symbolic link that a descriptor with O_PATH is of; EINVAL or ENOENT if it is of something else.
func readLink(fd int) (string, error) {
	for size := 256; size <= 1<<16; size *= 4 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(fd, "", b)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
	return "", unix.ENAMETOOLONG
}

// openQuietly opens for reading what is known to be a regular file or a directory, without waiting and, where that is allowed,
// without leaving a time of access.
func openQuietly(dir int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := openAgain(dir, name, flags|unix.O_NOATIME)
	if err == unix.EPERM {
		return openAgain(dir, name, flags)
	}
	return fd, err
}

func openAgain(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// statAt reads the status of a name in a directory, or with no name that of the descriptor itself.
func statAt(dir int, name string) (st unix.Statx_t, err error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	for {
		if err = unix.Statx(dir, name, flags, unix.STATX_BASIC_STATS, &st); err != unix.EINTR {
			return st, err
		}
	}
}

// sameStatus says whether two statuses of a file leave no room for a change between them.
func sameStatus(a, b *unix.Statx_t) bool {
	return a.Ino == b.Ino && a.Dev_major == b.Dev_major && a.Dev_minor == b.Dev_minor && a.Size == b.Size && a.Mode == b.Mode &&
		a.Uid == b.Uid && a.Gid == b.Gid && a.Nlink == b.Nlink && a.Mtime == b.Mtime && a.Ctime == b.Ctime
}

// recordOf is what a status says of a file. A device file's target is its device.
func recordOf(st *unix.Statx_t) Record {
	r := Record{Mode: modeOf(st.Mode), UID: st.Uid, GID: st.Gid, Size: int64(st.Size), Device: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino,
		Modified: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec), Changed: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec), Links: st.Nlink}
	if r.Mode&fs.ModeDevice != 0 {
		r.Target = fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor)
	}
	return r
}

func modeOf(m uint16) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	default:
		mode |= fs.ModeIrregular
	}
	if m&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// maxName bounds paths, in bytes. The kernel's own limit of 4095 is on what one call may say: longer ones exist, and can be
// reached a directory at a time.
const maxName = 32 << 10

// checkName refuses what is no path of a file.
func checkName(name string) error {
	switch {
	case !strings.HasPrefix(name, "/") || path.Clean(name) != name:
		return errors.New("want an absolute and clean path")
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("want a path without NUL")
	case len(name) > maxName:
		return fmt.Errorf("its path has %d bytes: want at most %d", len(name), maxName)
	}
	return nil
}

// notThere makes fs.ErrNotExist of errors that say that a path leads to nothing: a directory on the way is now a file.
func notThere(err error) error {
	if err == unix.ENOTDIR || err == unix.ESTALE {
		return unix.ENOENT
	}
	return err
}

func ignore(err, unimportant error) error {
	if errors.Is(err, unimportant) {
		return nil
	}
	return err
}

// reason is an error as Record.Unreadable says it.
func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// descriptor is the path by which the kernel opens what a descriptor is of, and nothing else, whatever it is called by now.
func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func sizeText(n int64) string {
	switch {
	case n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
