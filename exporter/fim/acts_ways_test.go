package fim

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
)

// Ways to change a file, each really gone by a process of its own.

// A way is one of them. What it does is done in two directories: one in a watch set, in which there is a file f, and one outside.
type way struct {
	name string
	what Kind
	at   string // what is changed, in the watched directory; empty for f
	by   Confidence
	do   func(e *world) error

	prepare func(e *world) error // by somebody else, before
	witness bool                 // what leaves the kernel does not tell; another witness must name the process
	container,
	closed bool
	exe  string // which copy of our binary does it, empty for the test's own
	tool string // or which program, that the actor becomes
	user uint32 // who starts it

	told   string // by a Watcher, as texts has it, if it is something else than what, of at
	or     string // or this, if it is looked at before all of it was told, on a slow machine
	host   bool   // who does it is in no container, though the file is
	unseen string // why no witness can see it: a scan finds it, and nobody is blamed
}

// A world is where a way is gone: in two directories of one file system, and in one of another.
type world struct{ watched, outside, room string }

func (e *world) in(name string) string   { return filepath.Join(e.watched, name) }
func (e *world) out(name string) string  { return filepath.Join(e.outside, name) }
func (e *world) away(name string) string { return filepath.Join(e.room, name) }

// variable is how an actor is told of it.
func (e *world) variable() string {
	return worldVariable + "=" + e.watched + "\n" + e.outside + "\n" + e.room
}

// errNeeds is what this kernel or file system does not have.
type errNeeds string

func (e errNeeds) Error() string { return "needs " + string(e) }

// call makes a system call by its name. Strings and structs are passed by their addresses.
func call(name string, args ...any) (uintptr, error) {
	nr := -1
	for n := range 512 {
		if bpf.SyscallName(n) == name {
			nr = n
		}
	}
	if nr < 0 {
		return 0, errNeeds("the system call " + name)
	}
	var registers [6]uintptr
	for i, a := range args {
		switch a := a.(type) {
		case int:
			registers[i] = uintptr(a)
		case uintptr:
			registers[i] = a
		case string:
			p, err := unix.BytePtrFromString(a)
			if err != nil {
				return 0, err
			}
			held = append(held, p)
			registers[i] = uintptr(unsafe.Pointer(p))
		case unsafe.Pointer:
			registers[i] = uintptr(a)
		default:
			panic(fmt.Sprintf("argument %d of %s is a %T", i, name, a))
		}
	}
	r, _, errno := unix.Syscall6(uintptr(nr), registers[0], registers[1], registers[2], registers[3], registers[4], registers[5])
	switch errno {
	case 0:
		return r, nil
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.ENOTTY:
		return 0, errNeeds(name + " here: " + errno.Error())
	}
	return 0, fmt.Errorf("%s: %w", name, errno)
}

var held []any // what the kernel may still read

// did is for calls whose result is not needed.
func did(name string, args ...any) error {
	_, err := call(name, args...)
	return err
}

// newFile makes a file that is like no other.
func newFile(path string) error { return os.WriteFile(path, []byte("as it was\n"+path+"\n"), 0o644) }

// writeTo writes to a descriptor and closes it.
func writeTo(fd uintptr, err error) error {
	if err != nil {
		return err
	}
	if _, err := unix.Write(int(fd), []byte("changed\n")); err != nil {
		return err
	}
	return unix.Close(int(fd))
}

// opened is a descriptor of a file.
func opened(path string, flags int) (int, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// on does something with a file that is opened for reading.
func on(path string, do func(fd int) error) error {
	fd, err := opened(path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func within(dir string, do func() error) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	return do()
}

const atCwd = unix.AT_FDCWD

var aclForOne = []byte{2, 0, 0, 0, // version; then tag, permissions and id of owner, a user, group, mask and others
	1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 1, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255}

func tagWith(name string) func(e *world) error {
	return func(e *world) error { return unix.Setxattr(e.in("f"), name, []byte("1"), 0) }
}

const tagName = "trusted.yagura"

// ways is the list.
var ways = []way{
	// Files that were not there.
	{name: "open, making it", what: Created, at: "g", do: func(e *world) error {
		return writeTo(call("open", e.in("g"), unix.O_CREAT|unix.O_WRONLY, 0o644))
	}},
	{name: "open for reading, making it", what: Created, at: "g", do: func(e *world) error {
		return did("openat", atCwd, e.in("g"), unix.O_CREAT|unix.O_RDONLY, 0o644)
	}},
	{name: "openat2, making it", what: Created, at: "g", do: func(e *world) error {
		how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o644}
		return writeTo(call("openat2", atCwd, e.in("g"), unsafe.Pointer(&how), int(unsafe.Sizeof(how))))
	}},
	{name: "creat", what: Created, at: "g", do: func(e *world) error { return writeTo(call("creat", e.in("g"), 0o644)) }},
	{name: "mknod", what: Created, at: "g", do: func(e *world) error { return did("mknod", e.in("g"), unix.S_IFIFO|0o600, 0) }},
	{name: "mknodat", what: Created, at: "g", do: func(e *world) error { return did("mknodat", atCwd, e.in("g"), unix.S_IFREG|0o600, 0) }},
	{name: "mkdir", what: Created, at: "g", do: func(e *world) error { return did("mkdir", e.in("g"), 0o755) }},
	{name: "mkdirat", what: Created, at: "g", do: func(e *world) error { return did("mkdirat", atCwd, e.in("g"), 0o755) }},
	{name: "symlink", what: Created, at: "g", do: func(e *world) error { return did("symlink", "/etc/passwd", e.in("g")) }},
	{name: "symlinkat", what: Created, at: "g", do: func(e *world) error { return did("symlinkat", "f", atCwd, e.in("g")) }},
	{name: "link", told: "f links; g created", what: Created, at: "g", do: func(e *world) error { return did("link", e.in("f"), e.in("g")) }},
	{name: "linkat, from outside", what: Created, at: "g", prepare: func(e *world) error { return newFile(e.out("f")) }, do: func(e *world) error {
		return did("linkat", atCwd, e.out("f"), atCwd, e.in("g"), 0)
	}},
	{name: "O_TMPFILE, linkat of /proc/self/fd", what: Created, at: "g", do: func(e *world) error {
		fd, err := call("openat", atCwd, e.watched, unix.O_TMPFILE|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return did("linkat", atCwd, fmt.Sprintf("/proc/self/fd/%d", fd), atCwd, e.in("g"), unix.AT_SYMLINK_FOLLOW)
	}},
	{name: "O_TMPFILE, linkat of the descriptor", what: Created, at: "g", do: func(e *world) error {
		fd, err := call("openat", atCwd, e.watched, unix.O_TMPFILE|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return did("linkat", fd, "", atCwd, e.in("g"), unix.AT_EMPTY_PATH)
	}},
	{name: "bind of a unix socket", what: Created, at: "g", do: func(e *world) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrUnix{Name: e.in("g")})
	}},
	{name: "rename, from outside", what: Created, at: "g", prepare: func(e *world) error { return newFile(e.out("f")) }, do: func(e *world) error {
		return did("rename", e.out("f"), e.in("g"))
	}},
	{name: "rename of a directory from outside", told: "dir created; dir/sub created; dir/sub/g created", what: Created, at: "dir/sub/g", by: ByDirectory, prepare: func(e *world) error {
		return errors.Join(os.MkdirAll(e.out("dir/sub"), 0o755), newFile(e.out("dir/sub/g")))
	}, do: func(e *world) error { return did("rename", e.out("dir"), e.in("dir")) }},

	// Files that are gone, or have other names.
	{name: "unlink", what: Deleted, do: func(e *world) error { return did("unlink", e.in("f")) }},
	{name: "unlinkat", what: Deleted, do: func(e *world) error { return did("unlinkat", atCwd, e.in("f"), 0) }},
	{name: "unlinkat of a directory", what: Deleted, at: "dir", prepare: func(e *world) error { return os.Mkdir(e.in("dir"), 0o755) }, do: func(e *world) error {
		return did("unlinkat", atCwd, e.in("dir"), unix.AT_REMOVEDIR)
	}},
	{name: "rmdir", what: Deleted, at: "dir", prepare: func(e *world) error { return os.Mkdir(e.in("dir"), 0o755) }, do: func(e *world) error {
		return did("rmdir", e.in("dir"))
	}},
	{name: "rename, old name", told: "f > g renamed", what: Renamed, do: func(e *world) error { return did("rename", e.in("f"), e.in("g")) }},
	{name: "rename, new name", told: "f > g renamed", what: Renamed, at: "g", do: func(e *world) error { return did("renameat", atCwd, e.in("f"), atCwd, e.in("g")) }},
	{name: "renameat2, exchanging", told: "f content; g content", what: ContentChanged, prepare: func(e *world) error { return put(e.in("g"), "another\n") }, do: func(e *world) error {
		return did("renameat2", atCwd, e.in("f"), atCwd, e.in("g"), unix.RENAME_EXCHANGE)
	}},
	{name: "rename to outside", what: Deleted, do: func(e *world) error { return did("rename", e.in("f"), e.out("f")) }},
	{name: "rename of the directory", told: "dir > other renamed; dir/g > other/g renamed", what: Deleted, at: "dir/g", by: ByDirectory, prepare: func(e *world) error {
		return errors.Join(os.Mkdir(e.in("dir"), 0o755), newFile(e.in("dir/g")))
	}, do: func(e *world) error { return did("rename", e.in("dir"), e.in("other")) }},

	// Content.
	{name: "open and write", what: ContentChanged, closed: true, do: func(e *world) error {
		return writeTo(call("openat", atCwd, e.in("f"), unix.O_WRONLY, 0))
	}},
	{name: "open, truncating", what: ContentChanged, do: func(e *world) error {
		return did("openat", atCwd, e.in("f"), unix.O_WRONLY|unix.O_TRUNC, 0)
	}},
	{name: "open for reading, truncating", what: ContentChanged, witness: true, do: func(e *world) error {
		return did("openat", atCwd, e.in("f"), unix.O_RDONLY|unix.O_TRUNC, 0)
	}},
	{name: "open and append", what: ContentChanged, do: func(e *world) error {
		return writeTo(call("openat", atCwd, e.in("f"), unix.O_WRONLY|unix.O_APPEND, 0))
	}},
	{name: "truncate", what: ContentChanged, do: func(e *world) error { return did("truncate", e.in("f"), 3) }},
	{name: "ftruncate", what: ContentChanged, do: func(e *world) error {
		fd, err := opened(e.in("f"), unix.O_RDWR)
		if err != nil {
			return err
		}
		return did("ftruncate", fd, 3)
	}},
	{name: "fallocate", what: ContentChanged, do: func(e *world) error {
		fd, err := opened(e.in("f"), unix.O_RDWR)
		if err != nil {
			return err
		}
		return did("fallocate", fd, 0, 0, 1<<16)
	}},
	{name: "copy_file_range", what: ContentChanged, prepare: func(e *world) error { return put(e.out("f"), "another\n") }, do: func(e *world) error {
		fd, err := opened(e.in("f"), unix.O_RDWR|unix.O_TRUNC)
		if err != nil {
			return err
		}
		return on(e.out("f"), func(from int) error { return did("copy_file_range", from, 0, fd, 0, 100, 0) })
	}},
	{name: "sendfile", what: ContentChanged, prepare: func(e *world) error { return put(e.out("f"), "another\n") }, do: func(e *world) error {
		fd, err := opened(e.in("f"), unix.O_RDWR|unix.O_TRUNC)
		if err != nil {
			return err
		}
		return on(e.out("f"), func(from int) error { return did("sendfile", fd, from, 0, 100) })
	}},
	{name: "splice", what: ContentChanged, do: func(e *world) error {
		fd, err := opened(e.in("f"), unix.O_RDWR|unix.O_TRUNC)
		if err != nil {
			return err
		}
		var p [2]int
		if err := unix.Pipe(p[:]); err != nil {
			return err
		}
		unix.Write(p[1], []byte("through a pipe"))
		return did("splice", p[0], 0, fd, 0, 14, 0)
	}},
	{name: "a shared mapping", what: ContentChanged, do: func(e *world) error {
		fd, err := opened(e.in("f"), unix.O_RDWR)
		if err != nil {
			return err
		}
		m, err := unix.Mmap(fd, 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		unix.Close(fd)
		copy(m, "MAP")
		return unix.Munmap(m)
	}},
	{name: "rename over it", what: ContentChanged, do: func(e *world) error {
		return errors.Join(put(e.in(".f.tmp"), "another\n"), did("rename", e.in(".f.tmp"), e.in("f")))
	}},
	{name: "open_by_handle_at", what: ContentChanged, do: func(e *world) error {
		handle, _, err := unix.NameToHandleAt(atCwd, e.in("f"), 0)
		if err != nil {
			return errNeeds("file handles here: " + err.Error())
		}
		return on(e.watched, func(dir int) error {
			fd, err := unix.OpenByHandleAt(dir, handle, unix.O_WRONLY)
			return writeTo(uintptr(fd), err)
		})
	}},
	{name: "a descriptor passed to another process", what: ContentChanged, do: func(e *world) error { // who opened it is blamed
		f, err := os.OpenFile(e.in("f"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), wayVariable+"=write to descriptor 3")
		cmd.ExtraFiles = []*os.File{f}
		return cmd.Run()
	}},

	// Permissions, owners, attributes, flags, links.
	{name: "chmod", what: ModeChanged, do: func(e *world) error { return did("chmod", e.in("f"), 0o755) }},
	{name: "fchmod", what: ModeChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return did("fchmod", fd, 0o755) })
	}},
	{name: "fchmodat", what: ModeChanged, do: func(e *world) error { return did("fchmodat", atCwd, e.in("f"), 0o4755) }},
	{name: "fchmodat2", what: ModeChanged, do: func(e *world) error { return did("fchmodat2", atCwd, e.in("f"), 0o755, 0) }},
	{name: "chmod of /proc/self/fd", what: ModeChanged, by: ByTime, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return did("chmod", fmt.Sprintf("/proc/self/fd/%d", fd), 0o755) })
	}},
	{name: "chown", what: OwnerChanged, do: func(e *world) error { return did("chown", e.in("f"), 1, 1) }},
	{name: "lchown", what: OwnerChanged, do: func(e *world) error { return did("lchown", e.in("f"), 1, 1) }},
	{name: "fchown", what: OwnerChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return did("fchown", fd, 1, 1) })
	}},
	{name: "fchownat of a descriptor", what: OwnerChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return did("fchownat", fd, "", 1, 1, unix.AT_EMPTY_PATH) })
	}},
	{name: "chown takes the setuid bit", told: "f mode,owner", what: ModeChanged, prepare: func(e *world) error { return os.Chmod(e.in("f"), 0o755|os.ModeSetuid) }, do: func(e *world) error {
		return did("chown", e.in("f"), 1, 1)
	}},
	{name: "setxattr", what: XattrsChanged, do: func(e *world) error { return did("setxattr", e.in("f"), tagName, "1", 1, 0) }},
	{name: "lsetxattr", what: XattrsChanged, do: func(e *world) error { return did("lsetxattr", e.in("f"), tagName, "1", 1, 0) }},
	{name: "fsetxattr", what: XattrsChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return did("fsetxattr", fd, tagName, "1", 1, 0) })
	}},
	{name: "setxattrat", what: XattrsChanged, do: func(e *world) error { return setXattrAt(atCwd, e.in("f"), 0) }},
	{name: "setxattrat of a descriptor", what: XattrsChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return setXattrAt(fd, 0, unix.AT_EMPTY_PATH) })
	}},
	{name: "removexattr", what: XattrsChanged, prepare: tagWith(tagName), do: func(e *world) error { return did("removexattr", e.in("f"), tagName) }},
	{name: "lremovexattr", what: XattrsChanged, prepare: tagWith(tagName), do: func(e *world) error { return did("lremovexattr", e.in("f"), tagName) }},
	{name: "fremovexattr", what: XattrsChanged, prepare: tagWith(tagName), do: func(e *world) error {
		return on(e.in("f"), func(fd int) error { return did("fremovexattr", fd, tagName) })
	}},
	{name: "removexattrat", what: XattrsChanged, prepare: tagWith(tagName), do: func(e *world) error {
		return did("removexattrat", atCwd, e.in("f"), 0, tagName)
	}},
	{name: "setxattr of an ACL", told: "f acl,mode", what: ACLChanged, do: func(e *world) error {
		return did("setxattr", e.in("f"), "system.posix_acl_access", unsafe.Pointer(&aclForOne[0]), len(aclForOne), 0)
	}},
	{name: "FS_IOC_SETFLAGS", told: untold, what: FlagsChanged, do: func(e *world) error {
		return setFlags(e.in("f"), unix.STATX_ATTR_NODUMP)
	}},
	{name: "file_setattr", told: untold, what: FlagsChanged, do: func(e *world) error {
		args := [24]byte{0: 0x80} // struct file_attr, FS_XFLAG_NODUMP
		return did("file_setattr", atCwd, e.in("f"), unsafe.Pointer(&args), len(args), 0)
	}},
	{name: "file_setattr of a descriptor", told: untold, what: FlagsChanged, do: func(e *world) error {
		args := [24]byte{0: 0x80}
		return on(e.in("f"), func(fd int) error {
			return did("file_setattr", fd, "", unsafe.Pointer(&args), len(args), unix.AT_EMPTY_PATH)
		})
	}},
	{name: "link to outside", what: LinksChanged, do: func(e *world) error { return did("link", e.in("f"), e.out("hard")) }},

	// Mounts.
	{name: "mount", what: Mounted, at: "dir", prepare: func(e *world) error { return os.Mkdir(e.in("dir"), 0o755) }, do: func(e *world) error {
		return did("mount", "none", e.in("dir"), "tmpfs", 0, "mode=755")
	}},
	{name: "mount over the directory of a file", told: "dir mounted; dir/g deleted", what: Deleted, at: "dir/g", by: ByDirectory, prepare: func(e *world) error {
		return errors.Join(os.Mkdir(e.in("dir"), 0o755), newFile(e.in("dir/g")))
	}, do: func(e *world) error { return did("mount", "none", e.in("dir"), "tmpfs", 0, "mode=755") }},
	{name: "bind mount over a file", told: "f content; f mounted", what: Mounted, prepare: func(e *world) error { return newFile(e.out("f")) }, do: func(e *world) error {
		return did("mount", e.out("f"), e.in("f"), "", unix.MS_BIND, 0)
	}},
	{name: "open_tree and move_mount", what: Mounted, at: "dir", prepare: func(e *world) error { return os.Mkdir(e.in("dir"), 0o755) }, do: func(e *world) error {
		fd, err := call("open_tree", atCwd, e.outside, unix.OPEN_TREE_CLONE)
		if err != nil {
			return err
		}
		return did("move_mount", fd, "", atCwd, e.in("dir"), unix.MOVE_MOUNT_F_EMPTY_PATH)
	}},
	{name: "umount2", what: Unmounted, at: "dir", prepare: func(e *world) error {
		return errors.Join(os.Mkdir(e.in("dir"), 0o755), unix.Mount("none", e.in("dir"), "tmpfs", 0, "mode=755"))
	}, do: func(e *world) error { return did("umount2", e.in("dir"), unix.MNT_DETACH) }},

	// Spellings.
	{name: "unlink, relative", what: Deleted, do: func(e *world) error { return within(e.watched, func() error { return did("unlink", "./f") }) }},
	{name: "rename, by directories", told: "f > g renamed", what: Renamed, do: func(e *world) error {
		return on(e.watched, func(dir int) error { return did("renameat", dir, "f", dir, "g") })
	}},
	{name: "unlinkat, with ..", what: Deleted, do: func(e *world) error {
		return did("unlinkat", atCwd, e.in("nothing/../f"), 0)
	}, prepare: func(e *world) error { return os.Mkdir(e.in("nothing"), 0o755) }},
	{name: "open through a linked directory", what: ContentChanged, prepare: linkedDirectory, do: func(e *world) error {
		return writeTo(call("openat", atCwd, e.out("link/f"), unix.O_WRONLY, 0))
	}},
	{name: "open of a link", what: ContentChanged, prepare: linkedFile, do: func(e *world) error {
		return writeTo(call("openat", atCwd, e.out("link"), unix.O_WRONLY, 0))
	}},
	{name: "unlink through a linked directory", what: Deleted, prepare: linkedDirectory, do: func(e *world) error { return did("unlink", e.out("link/f")) }},
	{name: "rename through a linked directory", told: "f > g renamed", what: Renamed, at: "g", prepare: linkedDirectory, do: func(e *world) error {
		return did("rename", e.out("link/f"), e.out("link/g"))
	}},
	{name: "chmod of a link", what: ModeChanged, by: ByInode, prepare: linkedFile, do: func(e *world) error { return did("chmod", e.out("link"), 0o755) }},
	{name: "truncate of a link", what: ContentChanged, by: ByInode, prepare: linkedFile, do: func(e *world) error { return did("truncate", e.out("link"), 0) }},
	{name: "open of /proc/self/root", what: ContentChanged, do: func(e *world) error {
		return writeTo(call("openat", atCwd, "/proc/self/root"+e.in("f"), unix.O_WRONLY, 0))
	}},
	{name: "unlink in /proc/self/root", what: Deleted, do: func(e *world) error { return did("unlink", "/proc/self/root"+e.in("f")) }},
	{name: "unlink in /proc/self/cwd", what: Deleted, by: ByTime, do: func(e *world) error {
		return within(e.watched, func() error { return did("unlink", "/proc/self/cwd/f") })
	}},
	{name: "open of /proc/self/fd", what: ContentChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error {
			return writeTo(call("openat", atCwd, fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY, 0))
		})
	}},
	{name: "open by a hard link outside, relative", what: ContentChanged, by: ByInode, prepare: func(e *world) error { return os.Link(e.in("f"), e.out("hard")) }, do: func(e *world) error {
		return within(e.outside, func() error { return writeTo(call("openat", atCwd, "hard", unix.O_WRONLY, 0)) })
	}},
	{name: "open by a hard link outside", what: ContentChanged, witness: true, prepare: func(e *world) error { return os.Link(e.in("f"), e.out("hard")) }, do: func(e *world) error {
		return writeTo(call("openat", atCwd, e.out("hard"), unix.O_WRONLY, 0))
	}},
	{name: "unlink in a bind mount", what: Deleted, prepare: boundDirectory, do: func(e *world) error { return did("unlink", e.out("bound/f")) }},
	{name: "open in a bind mount, relative", what: ContentChanged, by: ByInode, prepare: boundDirectory, do: func(e *world) error {
		return within(e.out("bound"), func() error { return writeTo(call("openat", atCwd, "f", unix.O_WRONLY, 0)) })
	}},
	{name: "open in a bind mount", what: ContentChanged, witness: true, prepare: boundDirectory, do: func(e *world) error {
		return writeTo(call("openat", atCwd, e.out("bound/f"), unix.O_WRONLY, 0))
	}},
	{name: "open in a mount namespace", what: ContentChanged, do: func(e *world) error {
		return inNamespace(func() error { return writeTo(call("openat", atCwd, e.in("f"), unix.O_WRONLY, 0)) })
	}},
	{name: "unlink in a bind mount of a mount namespace", what: Deleted, witness: true, do: func(e *world) error {
		return inNamespace(func() error { return errors.Join(boundDirectory(e), did("unlink", e.out("bound/f"))) })
	}},
	{name: "open in a chroot, relative", what: ContentChanged, by: ByInode, do: func(e *world) error {
		return inChroot(e.watched, func() error { return writeTo(call("openat", atCwd, "f", unix.O_WRONLY, 0)) })
	}},
	{name: "open in a chroot", what: ContentChanged, witness: true, do: func(e *world) error {
		return inChroot(e.watched, func() error { return writeTo(call("openat", atCwd, "/f", unix.O_WRONLY, 0)) })
	}},
	{name: "unlink in a chroot", what: Deleted, witness: true, do: func(e *world) error {
		return inChroot(e.watched, func() error { return did("unlink", "/f") })
	}},
	{name: "open in a container", what: ContentChanged, container: true, do: func(e *world) error {
		return inContainer(e, func() error { return writeTo(call("openat", atCwd, e.in("f"), unix.O_WRONLY, 0)) })
	}, prepare: containerRoot},
	{name: "unlink in a container", what: Deleted, container: true, do: func(e *world) error {
		return inContainer(e, func() error { return did("unlink", e.in("f")) })
	}, prepare: containerRoot},

	// By whom.
	{name: "a setuid program of a user", what: OwnerChanged, exe: "setuid", user: 65534, do: func(e *world) error { return did("chown", e.in("f"), 65534, 65534) }},
	{name: "a program that is deleted already", what: Deleted, exe: "deleted", do: func(e *world) error {
		return errors.Join(os.Remove(os.Args[0]), did("unlink", e.in("f")))
	}},
	{name: "a process that calls itself otherwise", what: Deleted, do: func(e *world) error {
		return errors.Join(unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(unsafe.StringData("kworker/0:1\x00"))), 0, 0, 0), did("unlink", e.in("f")))
	}},
	{name: "a grandchild whose parent is gone", what: ContentChanged, do: func(e *world) error {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), wayVariable+"=open and write", goVariable+"=1")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			return err
		}
		os.Exit(0)
		return nil
	}},
	{name: "like sed -i", what: ContentChanged, do: func(e *world) error {
		err := errors.Join(put(e.in("sedXa1b2c"), "another\n"), did("fchmodat", atCwd, e.in("sedXa1b2c"), 0o644))
		return errors.Join(err, did("rename", e.in("sedXa1b2c"), e.in("f")))
	}},
	{name: "like logrotate", told: "f content,mode; f.1 created", what: Created, do: func(e *world) error {
		return errors.Join(did("rename", e.in("f"), e.in("f.1")), writeTo(call("openat", atCwd, e.in("f"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o640)))
	}},

	// io_uring.
	{name: "io_uring openat, making it", what: Created, at: "g", do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(18, atCwd, e.in("g"), 0o644, nil, unix.O_CREAT|unix.O_WRONLY) })
	}},
	{name: "io_uring openat and write", what: ContentChanged, do: func(e *world) error {
		return byRing(func(r *uring) error {
			if err := r.do(18, atCwd, e.in("f"), 0, nil, unix.O_WRONLY); err != nil {
				return err
			}
			return r.do(23, int(r.result), "changed\n", 8, ^uint64(0), 0)
		})
	}},
	{name: "io_uring unlinkat", what: Deleted, do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(36, atCwd, e.in("f"), 0, nil, 0) })
	}},
	{name: "io_uring renameat", told: "f > g renamed", what: Renamed, do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(35, atCwd, e.in("f"), away, e.in("g"), 0) })
	}},
	{name: "io_uring mkdirat", what: Created, at: "g", do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(37, atCwd, e.in("g"), 0o755, nil, 0) })
	}},
	{name: "io_uring symlinkat", what: Created, at: "g", do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(38, atCwd, "/etc/passwd", 0, e.in("g"), 0) })
	}},
	{name: "io_uring linkat", told: "f links; g created", what: Created, at: "g", do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(39, atCwd, e.in("f"), away, e.in("g"), 0) })
	}},
}

func linkedDirectory(e *world) error { return os.Symlink(e.watched, e.out("link")) }
func linkedFile(e *world) error      { return os.Symlink(e.in("f"), e.out("link")) }

func boundDirectory(e *world) error {
	if err := os.MkdirAll(e.out("bound"), 0o755); err != nil {
		return err
	}
	return unix.Mount(e.watched, e.out("bound"), "", unix.MS_BIND, "")
}

// inNamespace does something in a mount namespace of its own.
func inNamespace(do func() error) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return do()
}

func inChroot(root string, do func() error) error {
	if err := unix.Chroot(root); err != nil {
		return err
	}
	return within("/", do)
}

// containerRoot makes a root in which the watched directory has the same name.
func containerRoot(e *world) error {
	root := e.out("root")
	if err := os.MkdirAll(filepath.Join(root, e.watched), 0o755); err != nil {
		return err
	}
	return newFile(filepath.Join(root, e.in("f")))
}

// keepContainer is the first process of a container, which ends when it is told to.
func keepContainer(e *world) error {
	return inContainer(e, func() error {
		fmt.Println("kept")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	})
}

func inContainer(e *world, do func() error) error {
	return inNamespace(func() error { return inChroot(e.out("root"), do) })
}

// ---- io_uring ----

// A uring does one operation at a time.
type uring struct {
	fd      int
	rings   []byte
	entries []byte
	p       uringParameters
	result  int32
}

type uringParameters struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq, reserved0, reserved1, reserved2 uint32
	sq                                                                                    [8]uint32 // head, tail, mask, entries, flags, dropped, array, reserved
	sqUser                                                                                uint64
	cq                                                                                    [8]uint32 // head, tail, mask, entries, overflow, cqes, flags, reserved
	cqUser                                                                                uint64
}

const away = 0xffffff9c // AT_FDCWD in a field without sign

func byRing(do func(*uring) error) error {
	r := &uring{}
	fd, err := call("io_uring_setup", 8, unsafe.Pointer(&r.p))
	if err != nil {
		return errNeeds("io_uring: " + err.Error())
	}
	r.fd = int(fd)
	if r.rings, err = unix.Mmap(r.fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return err
	}
	if r.entries, err = unix.Mmap(r.fd, 0x10000000, 8*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return err
	}
	return do(r)
}

func (r *uring) word(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[at])) }

// do fills an entry: opcode, descriptor, address (of a name, or a number), length, offset (as address), flags of the operation,
// and perhaps a third address.
func (r *uring) do(opcode uint8, fd int, address any, length int, off any, flags int, third ...any) error {
	e := make([]byte, 64)
	e[0] = opcode
	binary.NativeEndian.PutUint32(e[4:], uint32(int32(fd)))
	for i, of := range append([]any{off, address}, third...) {
		at := e[[...]int{8, 16, 48}[i]:]
		switch of := of.(type) {
		case string:
			p, err := unix.BytePtrFromString(of)
			if err != nil {
				return err
			}
			held = append(held, p)
			binary.NativeEndian.PutUint64(at, uint64(uintptr(unsafe.Pointer(p))))
		case unsafe.Pointer:
			binary.NativeEndian.PutUint64(at, uint64(uintptr(of)))
		case uint64:
			binary.NativeEndian.PutUint64(at, of)
		}
	}
	binary.NativeEndian.PutUint32(e[24:], uint32(length))
	binary.NativeEndian.PutUint32(e[28:], uint32(flags))
	tail := atomic.LoadUint32(r.word(r.p.sq[1]))
	slot := tail & *r.word(r.p.sq[2])
	copy(r.entries[64*slot:], e)
	*r.word(r.p.sq[6] + 4*slot) = slot
	atomic.StoreUint32(r.word(r.p.sq[1]), tail+1)
	head := atomic.LoadUint32(r.word(r.p.cq[0]))
	for tries, submit := 0, 1; head == atomic.LoadUint32(r.word(r.p.cq[1])); tries, submit = tries+1, 0 { // a signal of Go's ends the wait early
		if _, err := call("io_uring_enter", r.fd, submit, 1, 1, 0, 0); err != nil && !errors.Is(err, unix.EINTR) || tries > 1000 {
			return fmt.Errorf("operation %d does not complete: %w", opcode, err)
		}
	}
	at := r.p.cq[5] + 16*(head&*r.word(r.p.cq[2]))
	r.result = int32(binary.NativeEndian.Uint32(r.rings[at+8:]))
	atomic.StoreUint32(r.word(r.p.cq[0]), head+1)
	if r.result == -int32(unix.EINVAL) {
		return errNeeds(fmt.Sprintf("io_uring's operation %d", opcode))
	}
	if r.result < 0 {
		return fmt.Errorf("operation %d: %w", opcode, unix.Errno(-r.result))
	}
	return nil
}

// ---- the processes that go these ways ----

// wayVariable says to a copy of the test binary which way to go; worldVariable where; goVariable that it need not wait.
const (
	goVariable    = "YAGURA_FIM_GO"
	wayVariable   = "YAGURA_FIM_WAY"
	worldVariable = "YAGURA_FIM_WORLD"
)

func init() { // the test binary is its own actor, before any test begins
	if name := os.Getenv(wayVariable); name != "" {
		begin(name)
	}
}

// begin is the life of an actor. It waits for the word, and says who it is when it is done.
func begin(name string) {
	if name == "write to descriptor 3" {
		if err := writeTo(3, nil); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	runtime.LockOSThread()
	if os.Getenv(goVariable) == "" {
		bufio.NewReaderSize(os.Stdin, 16).ReadString('\n')
	}
	where := append(strings.Split(os.Getenv(worldVariable), "\n"), "", "")
	e := &world{where[0], where[1], where[2]}
	if name == "decoy" {
		end(decoy(e))
	}
	if strings.HasPrefix(name, "post-") {
		end(newFile(e.in(name)))
	}
	if name == "keep" {
		end(keepContainer(e))
	}
	if busy[name] != nil {
		end(busy[name](e))
	}
	for _, w := range allWays() {
		if w.name == name {
			end(w.do(e))
		}
	}
	end(fmt.Errorf("no way is called %q", name))
}

// perform has a process of ours go a way, and returns what it said and who it was: another one than was started, perhaps, or
// some program that it has become. begun is called before anything is done.
func perform(e *world, name, exe string, user uint32, begun func(pid uint32)) (said string, pid uint32, err error) {
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), wayVariable+"="+name, e.variable(), "GORACE=atexit_sleep_ms=0") // else a second each
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, NoSetGroups: true}}
	var out, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trouble
	word, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	pid = uint32(cmd.Process.Pid)
	begun(pid)
	if _, err := word.Write([]byte("go\n")); err != nil {
		return "", 0, err
	}
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		err = nil // by itself
	}
	if err != nil {
		return "", pid, fmt.Errorf("%w: %s%s", err, out.Bytes(), trouble.Bytes())
	}
	said = strings.TrimSpace(out.String())
	if who, ok := strings.CutPrefix(said, "done "); ok {
		n, err := strconv.ParseUint(who, 10, 32)
		return said, uint32(n), err
	}
	if why, ok := strings.CutPrefix(said, "failed "); ok {
		return "", pid, errors.New(why)
	}
	return said, pid, nil
}

func end(err error) {
	var needs errNeeds
	switch {
	case errors.As(err, &needs):
		fmt.Println("needs " + string(needs))
	case err != nil:
		fmt.Println("failed " + err.Error())
	default:
		fmt.Println("done " + strconv.Itoa(os.Getpid()))
	}
	os.Exit(0)
}

// decoy does harmless things of all kinds to files beside, and to files of the same names elsewhere.
func decoy(e *world) error {
	for _, name := range []string{e.in("decoy"), e.out("decoy/f"), e.out("decoy/g")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		err := errors.Join(newFile(name), os.Chmod(name, 0o700), os.Chown(name, 2, 2), os.Truncate(name, 2), unix.Setxattr(name, tagName, []byte("d"), 0),
			os.Rename(name, name+"2"), os.Link(name+"2", name), os.Remove(name))
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

func needBPF(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("needs CONFIG_DEBUG_INFO_BTF: no /sys/kernel/btf/vmlinux")
	}
}
