package fim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of what fanotify tells, from linux/fanotify.h: struct fanotify_event_metadata, and of what follows it
// struct fanotify_event_info_header and struct fanotify_event_info_fid with its struct file_handle.
const (
	eventHead    = 24
	eventVersion = 3
	infoHead     = 4
	handleHead   = 8 + 4 + 4 // file system's id, length and type of the handle
	maxHandle    = 128       // MAX_HANDLE_SZ
	maxEvent     = 2048      // two names of 255 bytes, three handles and a pidfd are less
)

// A notice is one event as the kernel tells it. Its keys and names are of the buffer it was read into.
//
// A key is what a directory or file is known by for as long as it exists, whatever it is called: its file system's id, and
// the length, type and bytes of its handle, as they follow each other in an event.
type notice struct {
	mask           uint64
	file           int32 // an open descriptor of the file, of groups without handles; else negative
	pid            int32
	pidfd          int32 // negative if there is none
	dir, name      []byte
	from, fromName []byte // of a rename, if the directory it was in is marked
	to, toName     []byte // of a rename, if the directory it is in now is marked
	object         []byte // the key of the file itself, of a directory only if it was created, deleted or renamed
}

// parseNotices reads what one read of a fanotify group gave. do must not keep what it is given. What follows an event that
// is not understood is not read.
func parseNotices(b []byte, do func(*notice)) error {
	var n notice
	for at := 0; at < len(b); {
		rest := b[at:]
		if len(rest) < eventHead {
			return fmt.Errorf("fanotify event at byte %d: %d bytes, want at least %d", at, len(rest), eventHead)
		}
		size, head := binary.NativeEndian.Uint32(rest), int(binary.NativeEndian.Uint16(rest[6:]))
		if rest[4] != eventVersion {
			return fmt.Errorf("fanotify event at byte %d: version %d, want %d", at, rest[4], eventVersion)
		}
		if head < eventHead || uint64(size) < uint64(head) || uint64(size) > uint64(len(rest)) {
			return fmt.Errorf("fanotify event at byte %d: %d bytes with a head of %d, want them within %d", at, size, head, len(rest))
		}
		n = notice{
			mask:  binary.NativeEndian.Uint64(rest[8:]),
			file:  int32(binary.NativeEndian.Uint32(rest[16:])),
			pid:   int32(binary.NativeEndian.Uint32(rest[20:])),
			pidfd: unix.FAN_NOPIDFD,
		}
		if err := n.parseInfo(rest[head:size]); err != nil {
			return fmt.Errorf("fanotify event at byte %d: %w", at, err)
		}
		do(&n)
		at += int(size)
	}
	return nil
}

// parseInfo reads the records behind an event's head. Those of kinds that we have not asked for are passed over.
func (n *notice) parseInfo(b []byte) (err error) {
	for len(b) > 0 {
		if len(b) < infoHead {
			return fmt.Errorf("record of %d bytes, want at least %d", len(b), infoHead)
		}
		kind, size := b[0], int(binary.NativeEndian.Uint16(b[2:]))
		if size < infoHead || size > len(b) {
			return fmt.Errorf("record of kind %d has %d bytes, want %d to %d", kind, size, infoHead, len(b))
		}
		body := b[infoHead:size]
		switch kind {
		case unix.FAN_EVENT_INFO_TYPE_PIDFD:
			if len(body) < 4 {
				return fmt.Errorf("pidfd of %d bytes, want 4", len(body))
			}
			n.pidfd = int32(binary.NativeEndian.Uint32(body))
		case unix.FAN_EVENT_INFO_TYPE_FID:
			n.object, _, err = parseHandle(body)
		case unix.FAN_EVENT_INFO_TYPE_DFID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME:
			n.dir, n.name, err = parseHandle(body)
		case unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
			n.from, n.fromName, err = parseHandle(body)
		case unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
			n.to, n.toName, err = parseHandle(body)
		}
		if err != nil {
			return fmt.Errorf("record of kind %d: %w", kind, err)
		}
		b = b[size:]
	}
	return nil
}

// parseHandle splits a key from the name behind it, which ends with a zero and has more of them to fill it up.
func parseHandle(b []byte) (key, name []byte, err error) {
	if len(b) < handleHead {
		return nil, nil, fmt.Errorf("handle of %d bytes, want at least %d", len(b), handleHead)
	}
	size := binary.NativeEndian.Uint32(b[8:])
	if size > maxHandle || int(size) > len(b)-handleHead {
		return nil, nil, fmt.Errorf("handle of %d bytes, want at most %d", size, min(maxHandle, len(b)-handleHead))
	}
	key, name = b[:handleHead+size], b[handleHead+size:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return key, name, nil
}

// atHandleFID asks for a handle that only says what is the same, and need not be one to open by: AT_HANDLE_FID, Linux 6.5.
const atHandleFID = 0x200

// handleKey returns the key by which events tell of what name is in the directory at; of at itself if name is empty. A symbolic
// link is not followed.
func handleKey(at int, name string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(at, &fs); err != nil {
		return "", fmt.Errorf("statfs: %w", err)
	}
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	handle, _, err := unix.NameToHandleAt(at, name, flags)
	if errors.Is(err, unix.EOPNOTSUPP) {
		handle, _, err = unix.NameToHandleAt(at, name, flags|atHandleFID)
	}
	if err != nil {
		return "", fmt.Errorf("name_to_handle_at: %w", err)
	}
	key := make([]byte, 0, handleHead+handle.Size())
	key = append(key, (*[8]byte)(unsafe.Pointer(&fs.Fsid))[:]...)
	key = binary.NativeEndian.AppendUint32(key, uint32(handle.Size()))
	key = binary.NativeEndian.AppendUint32(key, uint32(handle.Type()))
	return string(append(key, handle.Bytes()...)), nil
}

// inodeKeyOf is handleKey for file systems whose events have no handles: device and inode, which no handle is as short as.
func inodeKeyOf(at int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return "", fmt.Errorf("stat: %w", err)
	}
	return inodeKey(&st), nil
}

func inodeKey(st *unix.Stat_t) string {
	key := binary.NativeEndian.AppendUint64(make([]byte, 0, 16), st.Dev)
	return string(binary.NativeEndian.AppendUint64(key, st.Ino))
}

// openKey opens what a key stands for, wherever it is now, with the help of any open directory of the same file system. It
// fails with ESTALE if it no longer exists, and with EOPNOTSUPP where handles are not for opening by.
func openKey(mount int, key string) (int, error) {
	if len(key) <= handleHead {
		return -1, unix.EOPNOTSUPP
	}
	kind := binary.NativeEndian.Uint32([]byte(key[12:16]))
	return unix.OpenByHandleAt(mount, unix.NewFileHandle(int32(kind), []byte(key[handleHead:])), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
}

// openBelow opens an absolute path as who has root as its root directory sees it. It follows no symbolic link, so that what
// is opened is what the path says: ELOOP tells that it has one.
func openBelow(root int, path string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	// EAGAIN tells that something was renamed meanwhile and the kernel could not be sure.
	for range 16 {
		fd, err = unix.Openat2(root, path, &how)
		if err == unix.EPERM && how.Flags&unix.O_NOATIME != 0 {
			how.Flags &^= unix.O_NOATIME // only an owner may ask for it, and those who have CAP_FOWNER
			continue
		}
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}

const readDirectory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOATIME | unix.O_NONBLOCK

// eachDirent reads an open directory: names and types (DT_DIR …, DT_UNKNOWN where the file system does not say). do must not
// keep the name. The layout is that of struct linux_dirent64.
func eachDirent(fd int, buffer []byte, do func(name []byte, kind byte)) error {
	const head = 8 + 8 + 2 + 1
	for {
		n, err := unix.Getdents(fd, buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		for b := buffer[:n]; len(b) > head; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size <= head || size > len(b) {
				return fmt.Errorf("directory entry of %d bytes, want %d to %d", size, head+1, len(b))
			}
			name := b[head:size]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			if string(name) != "." && string(name) != ".." {
				do(name, b[18])
			}
			b = b[size:]
		}
	}
}

// fileSystems are the names of file systems by what statfs calls them.
var fileSystems = map[int64]string{
	unix.ANON_INODE_FS_MAGIC: "anon_inode", unix.AUTOFS_SUPER_MAGIC: "autofs", unix.BPF_FS_MAGIC: "bpf",
	unix.BTRFS_SUPER_MAGIC: "btrfs", unix.CEPH_SUPER_MAGIC: "ceph", unix.CGROUP_SUPER_MAGIC: "cgroup",
	unix.CGROUP2_SUPER_MAGIC: "cgroup2", unix.CIFS_SUPER_MAGIC: "cifs", unix.DEBUGFS_MAGIC: "debugfs", unix.DEVPTS_SUPER_MAGIC: "devpts",
	unix.EROFS_SUPER_MAGIC_V1: "erofs", unix.EXT4_SUPER_MAGIC: "ext4", unix.F2FS_SUPER_MAGIC: "f2fs", unix.FUSE_SUPER_MAGIC: "fuse",
	unix.HUGETLBFS_MAGIC: "hugetlbfs", unix.ISOFS_SUPER_MAGIC: "iso9660", unix.MSDOS_SUPER_MAGIC: "vfat",
	unix.NFS_SUPER_MAGIC: "nfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.PROC_SUPER_MAGIC: "proc", unix.RAMFS_MAGIC: "ramfs",
	unix.SECURITYFS_MAGIC: "securityfs", unix.SMB2_SUPER_MAGIC: "smb3", unix.SQUASHFS_MAGIC: "squashfs", unix.SYSFS_MAGIC: "sysfs",
	unix.TMPFS_MAGIC: "tmpfs", unix.TRACEFS_MAGIC: "tracefs", unix.V9FS_MAGIC: "9p", unix.XFS_SUPER_MAGIC: "xfs", 0x2fc12fc1: "zfs",
}

// fileSystemOf names the file system of an open file.
func fileSystemOf(fd int) string {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return "unknown"
	}
	if name, ok := fileSystems[int64(fs.Type)]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", uint64(fs.Type)&(1<<32-1))
}

// readLinkBelow reads where a symbolic link leads. EINVAL says that it is none.
func readLinkBelow(root int, path string) (string, error) {
	fd, err := openBelow(root, path, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	// An empty name asks for the link that is open; the kernel says ENOENT if that is none.
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err == unix.ENOENT || err == nil && n == 0 {
		return "", unix.EINVAL
	}
	return string(target[:max(n, 0)]), err
}

// largeFile is O_LARGEFILE, without which the kernel opens no file of 2 GiB for an event, in the kernel's own spelling: Go has 0
// for it, as the kernel adds it to what open is asked for.
var largeFile = map[string]uint{"amd64": 0x8000, "arm64": 0x20000}[runtime.GOARCH]

// An object is a directory that we know, or a file that is marked by itself.
type object struct {
	key    string
	file   bool
	group  *group // nil if it is not marked
	places *spot
}

// A spot is a place of an object: the same directory may be mounted at several, of the host and of containers.
type spot struct {
	*object
	realm               *realm
	parent              *spot // nil of an aim's top, whose name is its whole path
	name                string
	aim                 *aim  // whose top it is
	next                *spot // another place of the object
	child, older, newer *spot // the newest child, and its siblings
	round               uint64
	open                bool // what is in it is watched
	gone                bool // from there, since left; it may yet turn up elsewhere
	moved               bool // rather than deleted: its mark would live on
	left                time.Time
	missed              bool // something in it, or below, could not be looked at: it was not where we believed it to be
}

type spotName struct {
	parent *spot
	name   string
}

// adrift finds a place of what has that key that has been left, and that it has not been found at elsewhere since.
func (f *Fanotify) adrift(key string, r *realm) *spot {
	if o := f.objects[key]; o != nil {
		for p := o.places; p != nil; p = p.next {
			if p.gone && p.realm == r && p.aim == nil && p.parent != nil {
				return p
			}
		}
	}
	return nil
}

// pathName is the path of a name in a directory, or of the directory if name is empty.
func (f *Fanotify) pathName(p *spot, name []byte) Path {
	f.scratch = p.appendPath(f.scratch[:0])
	if len(name) > 0 {
		f.scratch = appendElement(f.scratch, name)
	}
	return Path{Container: p.realm.container, Name: string(f.scratch)}
}

func (f *Fanotify) pathOf(p *spot, name string) string { return f.pathName(p, []byte(name)).Name }

func (p *spot) appendPath(b []byte) []byte {
	if p.parent == nil {
		return append(b, p.name...)
	}
	return appendElement(p.parent.appendPath(b), p.name)
}

func appendElement[T []byte | string](b []byte, name T) []byte {
	if b[len(b)-1] != '/' {
		b = append(b, '/')
	}
	return append(b, name...)
}

// isGone is whether a place is, or is below, one that has been left.
func (p *spot) isGone() bool {
	for ; p != nil; p = p.parent {
		if p.gone {
			return true
		}
	}
	return false
}

// openIn opens what has a name in a directory. What is at the directory's path must be that directory, so that what is found
// is not taken for another's while events of moves are still to be read.
func (f *Fanotify) openIn(p *spot, name string, flags int) (int, error) {
	dir, err := f.openSpot(p)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.EPERM && flags&unix.O_NOATIME != 0 {
		fd, err = unix.Openat(dir, name, flags&^unix.O_NOATIME|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// openSpot opens a directory with O_PATH where we believe it to be, and nothing else that is there.
func (f *Fanotify) openSpot(p *spot) (int, error) {
	if p.isGone() {
		return -1, errElsewhere
	}
	fd, err := openBelow(p.realm.root, f.pathOf(p, ""), unix.O_PATH|unix.O_DIRECTORY)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return -1, errElsewhere
	}
	if err != nil {
		return -1, err
	}
	if key, err := f.keyLike(p, fd); err != nil || key != p.key {
		unix.Close(fd)
		return -1, errElsewhere
	}
	return fd, nil
}

// keyLike returns the key of an open file, of the kind that a spot's is.
func (f *Fanotify) keyLike(p *spot, fd int) (string, error) {
	if len(p.key) < handleHead+1 {
		return inodeKeyOf(fd)
	}
	return handleKey(fd, "")
}

// isThere is whether a place is still what we believe it to be.
func (f *Fanotify) isThere(p *spot) bool {
	fd, err := f.openSpot(p)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// chain makes a spot a place of what has that key.
func (f *Fanotify) chain(p *spot, key string, file bool) {
	o := f.objects[key]
	if o == nil {
		o = &object{key: key, file: file}
		f.objects[key] = o
	}
	p.object, p.next = o, o.places
	o.places = p
}

func (f *Fanotify) marked(o *object, g *group) {
	if o.group == nil {
		f.marks++
	}
	o.group = g
}

// place puts a spot below a parent, wherever it was.
func (f *Fanotify) place(p, parent *spot, name string) {
	f.detach(p)
	p.parent, p.name, p.gone, p.moved = parent, name, false, false
	if p.older = parent.child; p.older != nil {
		p.older.newer = p
	}
	parent.child = p
	f.names[spotName{parent, name}] = p
}

// detach takes a spot from its parent's children. It still has the path it had.
func (f *Fanotify) detach(p *spot) {
	if p.gone || p.parent == nil {
		return
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		p.parent.child = p.older
	}
	if p.older != nil {
		p.older.newer = p.newer
	}
	p.older, p.newer = nil, nil
	delete(f.names, spotName{p.parent, p.name})
}

// leave takes a spot from where it was. It is forgotten when nothing in the queue can be of it, unless it is found elsewhere.
func (f *Fanotify) leave(p *spot, moved bool) {
	if p == nil || p.gone {
		return
	}
	f.detach(p)
	if p.aim != nil && p.aim.top == p {
		p.aim.top = nil
	}
	p.gone, p.moved, p.left = true, moved, f.now
	f.leaving = append(f.leaving, p)
}

// settle forgets what has left for good: what has not turned up elsewhere when the queue is empty. Where the kernel tells of
// a rename by two events, the second is given some time.
func (f *Fanotify) settle(all bool) {
	late := f.leaving[:0]
	for _, p := range f.leaving {
		switch {
		case !p.gone || p.object == nil:
		case f.pairs && p.moved && !all && f.now.Sub(p.left) < maxApart:
			late = append(late, p)
		default:
			f.forget(p, p.moved)
		}
	}
	clear(f.leaving[len(late):])
	f.leaving = late
}

// forget drops a spot and all below it, none of which has an object after that.
func (f *Fanotify) forget(p *spot, unmark bool) {
	for p.child != nil {
		c := p.child
		f.detach(c)
		c.gone = true
		f.forget(c, unmark)
	}
	o := p.object
	if o == nil {
		return
	}
	for at := &o.places; *at != nil; at = &(*at).next {
		if *at == p {
			*at = p.next
			break
		}
	}
	if o.places == nil {
		delete(f.objects, o.key)
		if unmark {
			f.unmark(p)
		} else if o.group != nil {
			f.marks--
		}
	}
	p.object = nil
}

// unmark removes the mark of what still exists: at its place, or wherever the kernel finds it by its handle. Where it does
// neither, the mark stays until the file goes, and its events are of what we do not know.
func (f *Fanotify) unmark(p *spot) {
	o := p.object
	if o.group == nil {
		return
	}
	g, why := o.group, forAll
	o.group = nil
	f.marks--
	if o.file {
		why = forItself
	}
	mask := g.mask(why)
	if f.trails[o.key] != nil {
		mask &^= g.entry
	}
	if fd, ok := f.reopen(p); ok {
		unix.FanotifyMark(g.fd, unix.FAN_MARK_REMOVE, mask, unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd))
		unix.Close(fd)
	}
}

// reopen opens what a spot is of, wherever it is.
func (f *Fanotify) reopen(p *spot) (fd int, ok bool) {
	if fd, err := openBelow(p.realm.root, f.pathOf(p, ""), unix.O_PATH); err == nil {
		if key, err := handleKey(fd, ""); err == nil && key == p.key {
			return fd, true
		}
		unix.Close(fd)
	}
	for q := p.parent; ; q = q.parent {
		dir := "/"
		if q != nil {
			dir = f.pathOf(q, "")
		}
		mount, err := openBelow(p.realm.root, dir, readDirectory)
		if err == nil {
			fd, err = openKey(mount, p.key)
			unix.Close(mount)
		}
		if err == nil || q == nil {
			return fd, err == nil
		}
	}
}
