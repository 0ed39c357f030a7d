package host

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notWalked are directories whose files belong to others: guests with users of their own, what the kernel shows, what is taken in as a
// whole from elsewhere.
var notWalked = []string{
	"/proc", "/sys", "/dev", "/run", "/snap", "/var/lib/snapd/snap", "/lost+found",
	"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers/storage", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/var/lib/rancher", "/var/lib/k0s", "/var/lib/machines", "/var/lib/lxc", "/var/lib/lxd", "/var/lib/incus",
}

// sharedDirs are where everybody puts files, also such as others may write to. A file system in memory is one to look at there.
var sharedDirs = []string{"/tmp", "/var/tmp", "/dev/shm"}

// ofGuests says whether a directory is where a user's own containers are, as notWalked has it of the system's.
func ofGuests(dir string) bool {
	return strings.HasSuffix(dir, "/.local/share/containers/storage") || strings.HasSuffix(dir, "/.local/share/docker")
}

// File systems whose files have owners and permissions of their own, as mountinfo and as statfs(2) have them.
var (
	ownedTypes = strings.Fields("bcachefs btrfs ext2 ext3 ext4 f2fs jfs reiserfs xfs zfs")
	ownedMagic = []uint32{
		unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.REISERFS_SUPER_MAGIC,
		0x2fc12fc1 /* zfs */, 0x3153464a /* jfs */, 0xca451a4e, /* bcachefs */
	}
)

// begin finds where to start, and what not to go into from there: each file system is walked by itself, and none of those that are not
// local is even touched.
func (w *walker) begin() error {
	mounts, err := w.s.mountTable()
	if err != nil && !errors.Is(err, ErrNotLive) {
		return err
	}
	w.apart = map[string]map[string]bool{}
	for _, dir := range slices.Concat(notWalked, sharedDirs, slices.Collect(maps.Keys(mounts))) {
		in := path.Dir(dir)
		if w.apart[in] == nil {
			w.apart[in] = map[string]bool{}
		}
		w.apart[in][path.Base(dir)] = true
	}
	for _, dir := range sharedDirs {
		if fs, mounted := mounts[dir]; !mounted || fs.kind == "tmpfs" || slices.Contains(ownedTypes, fs.kind) {
			w.dirs = append(w.dirs, &walkDir{name: dir, shared: true})
		}
	}
	for at := range mounts {
		if at != "/" && !slices.Contains(sharedDirs, at) && mounts.toWalk(at) {
			w.dirs = append(w.dirs, &walkDir{name: at, shared: isWithin(at, sharedDirs)})
		}
	}
	w.dirs = append(w.dirs, &walkDir{name: "/"})
	st, err := w.s.lstat("/")
	w.device = st.Dev
	return err
}

func isWithin(file string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(file, dir) })
}

// toWalk says whether the file system at a mount point is one to walk: of this machine, and not seen elsewhere.
func (t mountTable) toWalk(at string) bool {
	fs := t[at]
	if !slices.Contains(ownedTypes, fs.kind) || isWithin(at, notWalked) {
		return false
	}
	for over := at; over != "/"; {
		over = path.Dir(over)
		if above, ok := t[over]; ok && (slices.Contains(remoteTypes, above.kind) || strings.HasPrefix(above.kind, "fuse")) {
			return false // the way there leads through another machine, which may not answer
		}
	}
	for _, other := range t {
		if t.shows(other, fs) {
			return false
		}
	}
	return true
}

// shows says whether all of a file system, or of a part of one that is mounted by itself, is also seen through another mount point.
func (t mountTable) shows(other, fs fileSystem) bool {
	if other.at == fs.at || other.major != fs.major || other.minor != fs.minor || !within(fs.root, other.root) {
		return false
	}
	if other.root == fs.root && other.at > fs.at {
		return false // that one is seen here
	}
	place := path.Join(other.at, strings.TrimPrefix(fs.root, other.root))
	if isWithin(place, notWalked) {
		return false
	}
	for ; place != other.at; place = path.Dir(place) {
		if _, covered := t[place]; covered {
			return false
		}
	}
	return true
}

// belongs says whether an open directory is to be looked at: it is on the file system of the one that it is in, or on one of its own that is
// local. /proc/self/mountinfo may not have it, and of btrfs each subvolume has a number that is nowhere else.
func (w *walkWorker) belongs(fd int, d *walkDir) bool {
	st := &w.status
	root := st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	shared := d.in == nil && slices.Contains(sharedDirs, d.name)
	if d.in == nil && !shared { // unless another file system has since been mounted over the one that was meant
		return root || d.name == "/" || st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0
	}
	if shared && d.device == w.device || !shared && d.device == d.in.device {
		return shared || !root // what is also mounted here belongs where it is
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil || !slices.Contains(ownedMagic, uint32(fs.Type)) && !(shared && fs.Type == unix.TMPFS_MAGIC) {
		return false
	}
	if fs.Type == unix.BTRFS_SUPER_MAGIC && !root && isSnapshot(fd) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	place := walkPlace{d.device, st.Ino}
	met := w.met[place]
	w.met[place] = true
	return !met
}

// isSnapshot says whether a subvolume of btrfs cannot be written to: it shows what was so at another time.
func isSnapshot(fd int) bool {
	const getFlags, readOnly = 0x80089419, 1 << 1 // BTRFS_IOC_SUBVOL_GETFLAGS, BTRFS_SUBVOL_RDONLY of linux/btrfs.h
	var flags uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getFlags, uintptr(unsafe.Pointer(&flags)))
	return errno == 0 && flags&readOnly != 0
}
