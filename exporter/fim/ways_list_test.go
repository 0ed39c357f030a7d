package fim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// More ways to change a file, for which a witness of calls alone would not do, or which no call makes alone.

// allWays are those of acts, and more. Names are told apart by nothing else.
func allWays() []way { return slices.Concat(ways, moreWays, toolWays) }

// untold is what leaves no difference.
const untold = "-"

// layersUnseen is why no witness sees what is done in a layer.
const layersUnseen = "no witness knows of what a directory is a layer"

var moreWays = []way{
	// What is no change.
	{name: "reading", told: untold, do: func(e *world) error { _, err := os.ReadFile(e.in("f")); return err }},
	{name: "open for writing, and nothing else", told: untold, do: func(e *world) error {
		return did("openat", atCwd, e.in("f"), unix.O_WRONLY, 0)
	}},
	{name: "writing what is there already", told: untold, do: func(e *world) error { return writeAt(e.in("f"), "as it", 0) }},
	{name: "utimensat", told: untold, do: func(e *world) error {
		return unix.UtimesNanoAt(atCwd, e.in("f"), []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0)
	}},
	{name: "a private mapping", told: untold, do: func(e *world) error { return mapped(e.in("f"), unix.MAP_PRIVATE, "MAP") }},
	{name: "chmod, and back at once", told: untold, do: func(e *world) error {
		return errors.Join(did("chmod", e.in("f"), 0o777), did("chmod", e.in("f"), 0o644))
	}},
	{name: "rename over it, of a copy of it", told: untold, do: func(e *world) error {
		text, err := os.ReadFile(e.in("f"))
		return errors.Join(err, put(e.in("f.tmp"), string(text)), did("rename", e.in("f.tmp"), e.in("f")))
	}},
	{name: "mount in another mount namespace", told: untold, prepare: directory, do: func(e *world) error {
		return inNamespace(func() error { return did("mount", "none", e.in("dir"), "tmpfs", 0, 0) })
	}},

	// Content.
	{name: "pwrite", what: ContentChanged, do: func(e *world) error { return writeAt(e.in("f"), "AS", 0) }},
	{name: "pwritev2", what: ContentChanged, do: func(e *world) error {
		return toWrite(e.in("f"), func(fd int) error { _, err := unix.Pwritev2(fd, [][]byte{[]byte("AS")}, 0, 0); return err })
	}},
	{name: "write past the page cache", what: ContentChanged, prepare: filled("f", 4096),
		do: func(e *world) error { return writeDirectly(e.in("f")) }},
	{name: "io_submit", what: ContentChanged, do: func(e *world) error { return toWrite(e.in("f"), aioWrite) }},
	{name: "vmsplice and splice", what: ContentChanged, do: func(e *world) error { return toWrite(e.in("f"), spliceMemory) }},
	{name: "ftruncate, longer", what: ContentChanged, do: func(e *world) error {
		return toWrite(e.in("f"), func(fd int) error { return did("ftruncate", fd, 100) })
	}},
	{name: "fallocate, a hole", what: ContentChanged, do: allocating(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1, 3)},
	{name: "fallocate, zeros", what: ContentChanged, do: allocating(unix.FALLOC_FL_ZERO_RANGE, 1, 3)},
	{name: "fallocate, collapsing", what: ContentChanged, prepare: filled("f", 4*4096), do: allocating(unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096)},
	{name: "fallocate, inserting", what: ContentChanged, prepare: filled("f", 4*4096), do: allocating(unix.FALLOC_FL_INSERT_RANGE, 4096, 4096)},
	{name: "a shared mapping, killed before it is unmapped", what: ContentChanged, do: func(e *world) error {
		return errors.Join(mapped(e.in("f"), unix.MAP_SHARED, "MAP"), unix.Kill(os.Getpid(), unix.SIGKILL))
	}},
	{name: "FICLONE on XFS", what: ContentChanged, at: "disk/f", prepare: func(e *world) error {
		return errors.Join(mountedImage(e, "xfs"), filled("disk/f", 4096)(e), filled("disk/g", 8192)(e))
	}, told: "disk/f content", do: func(e *world) error {
		return toWrite(e.in("disk/f"), func(fd int) error {
			return on(e.in("disk/g"), func(from int) error { return did("ioctl", fd, 0x40049409, from) })
		})
	}},
	{name: "one of two names written to", told: "f content; h content", prepare: func(e *world) error { return os.Link(e.in("f"), e.in("h")) },
		do: func(e *world) error { return writeAt(e.in("f"), "AS", 0) }},
	{name: "removed and made anew", what: ContentChanged, do: func(e *world) error {
		return errors.Join(did("unlink", e.in("f")), put(e.in("f"), "another\n"))
	}},
	{name: "made, and removed at once", told: "g created,deleted", do: func(e *world) error {
		return errors.Join(newFile(e.in("g")), did("unlink", e.in("g")))
	}},
	{name: "replaced by a symbolic link", told: "f content,mode", do: func(e *world) error {
		return errors.Join(os.Symlink("/dev/null", e.in("l")), did("rename", e.in("l"), e.in("f")))
	}},
	{name: "replaced by a directory", told: "f content,mode", do: func(e *world) error {
		return errors.Join(did("unlink", e.in("f")), did("mkdir", e.in("f"), 0o755))
	}},
	{name: "a symbolic link that leads elsewhere", told: "l content", prepare: func(e *world) error { return os.Symlink("f", e.in("l")) },
		do: func(e *world) error {
			return errors.Join(os.Symlink("/etc/shadow", e.in("m")), did("rename", e.in("m"), e.in("l")))
		}},

	// Names.
	{name: "renameat2, not over another", told: "f > g renamed", do: func(e *world) error {
		return did("renameat2", atCwd, e.in("f"), atCwd, e.in("g"), unix.RENAME_NOREPLACE)
	}},
	{name: "renameat2, leaving a whiteout", told: "f content,mode; g created", do: func(e *world) error {
		return did("renameat2", atCwd, e.in("f"), atCwd, e.in("g"), unix.RENAME_WHITEOUT)
	}},
	{name: "rename over another", told: "f deleted; g content", prepare: filled("g", 100), do: func(e *world) error {
		return did("rename", e.in("f"), e.in("g"))
	}},
	{name: "renamed twice", told: "f > h renamed", or: "f deleted; h created", do: func(e *world) error {
		return errors.Join(did("rename", e.in("f"), e.in("g")), did("rename", e.in("g"), e.in("h")))
	}},
	{name: "a file in new directories", told: "dir created; dir/sub created; dir/sub/g created", do: func(e *world) error {
		return errors.Join(os.MkdirAll(e.in("dir/sub"), 0o755), put(e.in("dir/sub/g"), "x"))
	}},
	{name: "removal of a tree", told: "dir deleted; dir/g deleted; dir/sub deleted; dir/sub/h deleted", prepare: smallTree,
		do: func(e *world) error {
			return os.RemoveAll(e.in("dir"))
		}},
	{name: "rename of a tree",
		told: "dir > other renamed; dir/g > other/g renamed; dir/sub > other/sub renamed; dir/sub/h > other/sub/h renamed", prepare: smallTree,
		do: func(e *world) error { return did("rename", e.in("dir"), e.in("other")) }},
	{name: "rename of a tree to outside", told: "dir deleted; dir/g deleted; dir/sub deleted; dir/sub/h deleted", prepare: smallTree,
		do: func(e *world) error {
			return did("rename", e.in("dir"), e.out("dir"))
		}},
	{name: "unlink of one of two names", told: "f links; h deleted", prepare: func(e *world) error { return os.Link(e.in("f"), e.in("h")) },
		do: func(e *world) error { return did("unlink", e.in("h")) }},
	{name: "unlink of a name outside", told: "f links", prepare: func(e *world) error { return os.Link(e.in("f"), e.out("h")) },
		do: func(e *world) error { return did("unlink", e.out("h")) }},
	{name: "mknod of a device", what: Created, at: "g", do: func(e *world) error {
		return did("mknod", e.in("g"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	}},

	// Attributes.
	{name: "chmod of a directory", what: ModeChanged, at: "dir", prepare: directory,
		do: func(e *world) error { return did("chmod", e.in("dir"), 0o1777) }},
	{name: "setxattr of a capability", what: XattrsChanged, do: func(e *world) error {
		return did("setxattr", e.in("f"), "security.capability", unsafe.Pointer(&netRaw[0]), len(netRaw), 0)
	}},
	{name: "a write takes the capability", told: "f content,xattrs", prepare: func(e *world) error {
		return unix.Setxattr(e.in("f"), "security.capability", netRaw, 0)
	}, do: func(e *world) error { return writeAt(e.in("f"), "AS", 0) }},
	{name: "setxattr of a user's attribute", what: XattrsChanged,
		do: func(e *world) error { return did("setxattr", e.in("f"), "user.x", "1", 1, 0) }},
	{name: "removexattr of an ACL", what: ACLChanged, prepare: withACL, do: func(e *world) error {
		return did("removexattr", e.in("f"), "system.posix_acl_access")
	}},
	{name: "setxattr of a directory's default ACL", what: ACLChanged, at: "dir", prepare: directory, do: func(e *world) error {
		return did("setxattr", e.in("dir"), "system.posix_acl_default", unsafe.Pointer(&aclForOne[0]), len(aclForOne), 0)
	}},
	{name: "chmod of a file with an ACL", told: "f acl,mode", prepare: withACL,
		do: func(e *world) error { return did("chmod", e.in("f"), 0o604) }},
	{name: "FS_IOC_SETFLAGS, immutable", what: FlagsChanged, do: func(e *world) error { return setFlags(e.in("f"), unix.STATX_ATTR_IMMUTABLE) }},
	{name: "FS_IOC_SETFLAGS, append-only", what: FlagsChanged, do: func(e *world) error { return setFlags(e.in("f"), unix.STATX_ATTR_APPEND) }},
	{name: "FS_IOC_FSSETXATTR, append-only", what: FlagsChanged, do: func(e *world) error {
		args := [28]byte{0: 0x10} // struct fsxattr, FS_XFLAG_APPEND
		return on(e.in("f"), func(fd int) error { return did("ioctl", fd, 0x401c5820, unsafe.Pointer(&args)) })
	}},
	{name: "file_setattr, immutable", what: FlagsChanged, do: func(e *world) error {
		args := [24]byte{0: 8} // struct file_attr, FS_XFLAG_IMMUTABLE
		return did("file_setattr", atCwd, e.in("f"), unsafe.Pointer(&args), len(args), 0)
	}},
	{name: "an immutable file, written to nevertheless", what: ContentChanged, prepare: func(e *world) error {
		return setFlags(e.in("f"), unix.STATX_ATTR_IMMUTABLE)
	}, do: func(e *world) error {
		return errors.Join(setFlags(e.in("f"), 0), writeAt(e.in("f"), "AS", 0), setFlags(e.in("f"), unix.STATX_ATTR_IMMUTABLE))
	}},

	// Mounts, and what is on other file systems.
	{name: "mount of an image", told: "dir mounted; dir/lost+found created", prepare: directory, do: func(e *world) error {
		return mountImageOn(e, "ext4", e.in("dir"))
	}},
	{name: "in an image that is mounted", what: ContentChanged, at: "disk/f", prepare: func(e *world) error {
		return errors.Join(mountedImage(e, "ext4"), newFile(e.in("disk/f")))
	}, do: func(e *world) error { return writeAt(e.in("disk/f"), "AS", 0) }},
	{name: "in an image that is mounted, making it", what: Created, at: "disk/sub/g", prepare: func(e *world) error {
		return errors.Join(mountedImage(e, "ext4"), os.Mkdir(e.in("disk/sub"), 0o755))
	}, do: func(e *world) error { return put(e.in("disk/sub/g"), "x") }},
	{name: "in a mounted XFS", what: ModeChanged, at: "disk/f", prepare: func(e *world) error {
		return errors.Join(mountedImage(e, "xfs"), newFile(e.in("disk/f")))
	}, do: func(e *world) error { return did("chmod", e.in("disk/f"), 0o600) }},
	{name: "in a mounted Btrfs", told: "disk/f > disk/g renamed", prepare: func(e *world) error {
		return errors.Join(mountedImage(e, "btrfs"), newFile(e.in("disk/f")))
	}, do: func(e *world) error { return did("rename", e.in("disk/f"), e.in("disk/g")) }},
	{name: "mount of what has another mode", told: "dir mode; dir mounted", prepare: directory, do: func(e *world) error {
		return did("mount", "none", e.in("dir"), "tmpfs", 0, "mode=700")
	}},
	{name: "moving a mount", told: "dir unmounted; sub mounted", prepare: func(e *world) error {
		return errors.Join(directory(e), os.Mkdir(e.in("sub"), 0o755), unix.Mount("none", e.in("dir"), "tmpfs", 0, "mode=755"))
	}, do: func(e *world) error { return did("mount", e.in("dir"), e.in("sub"), 0, unix.MS_MOVE, 0) }},
	{name: "mount of an overlay over its lower layer", told: "dir mounted", prepare: directory, do: func(e *world) error {
		return mountLayers(e, e.in("dir"), e.in("dir"))
	}},
	{name: "remount, read-only", told: untold, prepare: func(e *world) error {
		return errors.Join(directory(e), unix.Mount("none", e.in("dir"), "tmpfs", 0, "mode=755"))
	}, do: func(e *world) error { return did("mount", "none", e.in("dir"), 0, unix.MS_REMOUNT|unix.MS_RDONLY, 0) }},
	{name: "in an overlay, copying it up", what: ContentChanged, at: "merged/f", prepare: merged, do: func(e *world) error {
		return writeAt(e.in("merged/f"), "AS", 0)
	}},
	{name: "in an overlay, chmod", what: ModeChanged, at: "merged/f", prepare: merged,
		do: func(e *world) error { return did("chmod", e.in("merged/f"), 0o600) }},
	{name: "in an overlay, making it", what: Created, at: "merged/g", prepare: merged,
		do: func(e *world) error { return put(e.in("merged/g"), "x") }},
	{name: "in an overlay, removing it", what: Deleted, at: "merged/f", prepare: merged,
		do: func(e *world) error { return did("unlink", e.in("merged/f")) }},
	{name: "in an overlay's upper layer", told: "merged/f content", unseen: layersUnseen, prepare: func(e *world) error {
		return errors.Join(merged(e), os.Chmod(e.in("merged/f"), 0o600))
	}, do: func(e *world) error { return writeAt(e.out("upper/f"), "AS", 0) }},

	// In a container, and from elsewhere.
	{name: "make in a container", what: Created, at: "g", container: true, prepare: containerRoot, do: func(e *world) error {
		return inContainer(e, func() error { return put(e.in("g"), "x") })
	}},
	{name: "rename in a container", told: "f > g renamed", container: true, prepare: containerRoot, do: func(e *world) error {
		return inContainer(e, func() error { return did("rename", e.in("f"), e.in("g")) })
	}},
	{name: "chmod in a container", what: ModeChanged, container: true, prepare: containerRoot, do: func(e *world) error {
		return inContainer(e, func() error { return did("chmod", e.in("f"), 0o4755) })
	}},
	{name: "relative, in a container", what: Deleted, container: true, prepare: containerRoot, do: func(e *world) error {
		return inContainer(e, func() error { return within(e.watched, func() error { return did("unlink", "f") }) })
	}},
	{name: "truncate in a container, after pivot_root", what: ContentChanged, container: true, prepare: containerRoot, do: func(e *world) error {
		return inPivot(e, func() error { return did("truncate", e.in("f"), 0) })
	}},
	{name: "from the host, in a container's root", what: ContentChanged, container: true, host: true, prepare: containerRoot,
		do: func(e *world) error {
			return writeAt(filepath.Join(e.out("root"), e.in("f")), "AS", 0)
		}},
	{name: "in a user namespace", what: ModeChanged, do: func(e *world) error {
		all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
		return inProcess("chmod", e, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all})
	}},
	{name: "in a PID namespace", what: Deleted, do: func(e *world) error {
		return inProcess("unlink", e, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	}},

	// By whom.
	{name: "another thread", what: Deleted, do: func(e *world) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			done <- did("unlink", e.in("f"))
		}()
		return <-done
	}},
	{name: "a process that is killed at once", what: ContentChanged, do: func(e *world) error {
		return errors.Join(writeAt(e.in("f"), "AS", 0), unix.Kill(os.Getpid(), unix.SIGKILL))
	}},
	{name: "a daemon, its session its own", what: ModeChanged, do: func(e *world) error {
		return inProcess("chmod", e, &syscall.SysProcAttr{Setsid: true})
	}},
	{name: "a program in memory", what: Deleted, exe: inMemory, do: func(e *world) error { return fromMemory("unlink") }},
	{name: "like dpkg", told: "f content; f.dpkg-tmp created,deleted", do: func(e *world) error {
		return errors.Join(put(e.in("f.dpkg-new"), "another\n"), os.Chmod(e.in("f.dpkg-new"), 0o644), os.Link(e.in("f"), e.in("f.dpkg-tmp")),
			did("rename", e.in("f.dpkg-new"), e.in("f")), did("unlink", e.in("f.dpkg-tmp")))
	}},
	{name: "like rpm", what: ContentChanged, do: func(e *world) error {
		return errors.Join(put(e.in("f;6655aabb"), "another\n"), did("rename", e.in("f;6655aabb"), e.in("f")))
	}},
	{name: "like apk", told: "f content,mode", do: func(e *world) error {
		return errors.Join(put(e.in(".apk.0123456789abcdef"), "another\n"), os.Chmod(e.in(".apk.0123456789abcdef"), 0o755),
			did("renameat", atCwd, e.in(".apk.0123456789abcdef"), atCwd, e.in("f")))
	}},
	{name: "like logrotate, copying and truncating", told: "f content; f.1 created", do: func(e *world) error {
		text, err := os.ReadFile(e.in("f"))
		return errors.Join(err, put(e.in("f.1"), string(text)), did("truncate", e.in("f"), 0))
	}},
	{name: "like an editor, with a backup", told: "f content; f~ created", do: func(e *world) error {
		return errors.Join(did("rename", e.in("f"), e.in("f~")), put(e.in("f"), "another\n"))
	}},

	// io_uring.
	{name: "io_uring write to what a call has opened", what: ContentChanged, do: func(e *world) error { return toWrite(e.in("f"), uringWrite) }},
	{name: "io_uring openat2 and fallocate", what: ContentChanged, do: func(e *world) error {
		how := unix.OpenHow{Flags: unix.O_WRONLY}
		return byRing(func(r *uring) error {
			if err := r.do(28, atCwd, e.in("f"), int(unsafe.Sizeof(how)), unsafe.Pointer(&how), 0); err != nil {
				return err
			}
			return r.do(17, int(r.result), uint64(4096), 0, nil, 0)
		})
	}},
	{name: "io_uring ftruncate", what: ContentChanged, do: func(e *world) error {
		return toWrite(e.in("f"), func(fd int) error {
			return byRing(func(r *uring) error { return r.do(55, fd, nil, 0, uint64(3), 0) })
		})
	}},
	{name: "io_uring setxattr", what: XattrsChanged, do: func(e *world) error {
		return byRing(func(r *uring) error { return r.do(42, 0, tagName, 1, "1", 0, e.in("f")) })
	}},
	{name: "io_uring fsetxattr", what: XattrsChanged, do: func(e *world) error {
		return on(e.in("f"), func(fd int) error {
			return byRing(func(r *uring) error { return r.do(41, fd, tagName, 1, "1", 0) })
		})
	}},
}

const programs = "/usr/bin:/bin:/usr/sbin:/sbin"

// toolWays are those of everyday programs.
var toolWays = []way{
	{name: "sed -i", tool: "sed", what: ContentChanged, do: func(e *world) error { return become("sed", "-i", "s/was/is/", e.in("f")) }},
	{name: "perl -i", tool: "perl", what: ContentChanged, do: func(e *world) error { return become("perl", "-i", "-pe", "s/was/is/", e.in("f")) }},
	{name: "ed", tool: "ed", what: ContentChanged, do: func(e *world) error { return becomeFed("1s/was/is/\nw\nq\n", "ed", "-s", e.in("f")) }},
	{name: "vi", tool: "vi", what: ContentChanged, do: func(e *world) error {
		return becomeFed("1s/was/is/\nwq\n", "vi", "-u", "NONE", "-es", e.in("f"))
	}},
	{name: "nano", tool: "nano", what: ContentChanged, do: func(e *world) error { return becomeOnTerminal("IS \x0f\r\x18", "nano", "-I", e.in("f")) }},
	{name: "sh, redirecting", tool: "sh", what: ContentChanged, do: func(e *world) error { return become("sh", "-c", "echo changed > '"+e.in("f")+"'") }},
	{name: "a script", tool: "sh", what: ContentChanged, prepare: func(e *world) error {
		return os.WriteFile(e.away("script"), []byte("#!/bin/sh\necho more >> \"$1\"\n"), 0o755)
	}, do: func(e *world) error { return unix.Exec(e.away("script"), []string{"script", e.in("f")}, os.Environ()) }},
	{name: "tee -a", tool: "tee", what: ContentChanged, do: func(e *world) error { return becomeFed("more\n", "tee", "-a", e.in("f")) }},
	{name: "dd", tool: "dd", what: ContentChanged, do: func(e *world) error {
		return becomeFed("IT", "dd", "of="+e.in("f"), "conv=notrunc", "status=none")
	}},
	{name: "truncate -s 0", tool: "truncate", what: ContentChanged,
		do: func(e *world) error { return become("truncate", "-s", "0", e.in("f")) }},
	{name: "cp over it", tool: "cp", what: ContentChanged, prepare: outsider,
		do: func(e *world) error { return become("cp", e.out("other"), e.in("f")) }},
	{name: "cp, making it", tool: "cp", what: Created, at: "g", prepare: outsider,
		do: func(e *world) error { return become("cp", e.out("other"), e.in("g")) }},
	{name: "cp by its loader", tool: "/lib64/ld-linux-x86-64.so.2", what: ContentChanged, prepare: outsider, do: func(e *world) error {
		return become("/lib64/ld-linux-x86-64.so.2", "/bin/cp", e.out("other"), e.in("f"))
	}},
	{name: "mv over it", tool: "mv", what: ContentChanged, prepare: outsider,
		do: func(e *world) error { return become("mv", e.out("other"), e.in("f")) }},
	{name: "mv from another file system", tool: "mv", what: ContentChanged, prepare: func(e *world) error {
		return os.WriteFile(e.away("other"), []byte("another\n"), 0o644)
	}, do: func(e *world) error { return become("mv", e.away("other"), e.in("f")) }},
	{name: "install", tool: "install", told: "f content,mode", prepare: outsider, do: func(e *world) error {
		return become("install", "-m", "4755", e.out("other"), e.in("f"))
	}},
	{name: "ln -sf", tool: "ln", told: "f content,mode", do: func(e *world) error { return become("ln", "-sf", "/dev/null", e.in("f")) }},
	{name: "rm -rf", tool: "rm", told: "dir deleted; dir/g deleted; dir/sub deleted; dir/sub/h deleted", prepare: smallTree,
		do: func(e *world) error {
			return become("rm", "-rf", e.in("dir"))
		}},
	{name: "shred -u", tool: "shred", told: "0 created,deleted; f deleted",
		do: func(e *world) error { return become("shred", "-n", "1", "-u", e.in("f")) }},
	{name: "mkdir -p", tool: "mkdir", told: "a created; a/b created; a/b/c created",
		do: func(e *world) error { return become("mkdir", "-p", e.in("a/b/c")) }},
	{name: "mkfifo", tool: "mkfifo", what: Created, at: "g", do: func(e *world) error { return become("mkfifo", e.in("g")) }},
	{name: "touch", tool: "touch", told: untold, do: func(e *world) error { return become("touch", e.in("f")) }},
	{name: "chmod u+s", tool: "chmod", what: ModeChanged, do: func(e *world) error { return become("chmod", "u+s", e.in("f")) }},
	{name: "chown -R", tool: "chown", told: "dir owner; dir/g owner; dir/sub owner; dir/sub/h owner", prepare: smallTree,
		do: func(e *world) error {
			return become("chown", "-R", "1:1", e.in("dir"))
		}},
	{name: "chattr +i", tool: "chattr", what: FlagsChanged, do: func(e *world) error { return become("chattr", "+i", e.in("f")) }},
	{name: "setfacl", tool: "setfacl", what: ACLChanged, told: "f acl,mode",
		do: func(e *world) error { return become("setfacl", "-m", "u:1:rwx", e.in("f")) }},
	{name: "setfattr", tool: "setfattr", what: XattrsChanged, do: func(e *world) error { return become("setfattr", "-n", "user.x", "-v", "1", e.in("f")) }},
	{name: "setcap", tool: "setcap", what: XattrsChanged, do: func(e *world) error { return become("setcap", "cap_net_raw+ep", e.in("f")) }},
	{name: "tar -x", tool: "tar", told: "dir created; dir/g created", prepare: func(e *world) error {
		err := errors.Join(os.Mkdir(e.out("dir"), 0o755), put(e.out("dir/g"), "x"))
		return errors.Join(err, exec.Command("tar", "-cf", e.away("tar"), "-C", e.outside, "dir").Run())
	}, do: func(e *world) error { return become("tar", "-xf", e.away("tar"), "-C", e.watched) }},
	{name: "rsync", tool: "rsync", what: ContentChanged, prepare: outsider,
		do: func(e *world) error { return become("rsync", e.out("other"), e.in("f")) }},
	{name: "patch", tool: "patch", what: ContentChanged, do: func(e *world) error {
		return becomeFed("--- f\n+++ f\n@@ -1 +1 @@\n-as it was\n+as it is\n", "patch", "-s", e.in("f"))
	}},
	{name: "sort -o", tool: "sort", what: ContentChanged, prepare: func(e *world) error {
		return os.WriteFile(e.in("f"), []byte("b\na\n"), 0o644)
	}, do: func(e *world) error { return become("sort", "-o", e.in("f"), e.in("f")) }},
	{name: "gzip", tool: "gzip", told: "f deleted; f.gz created", do: func(e *world) error { return become("gzip", e.in("f")) }},
	{name: "logrotate, making it anew", tool: "logrotate", told: "f content; f.1 created",
		prepare: rotated("create 0644 root root"), do: rotate},
	{name: "logrotate, copying and truncating", tool: "logrotate", told: "f content; f.1 created", prepare: rotated("copytruncate"), do: rotate},
	{name: "mount -o loop", tool: "mount", told: "dir mounted; dir/lost+found created", prepare: func(e *world) error {
		return errors.Join(directory(e), unpackImage("ext4", e.away("image")))
	}, do: func(e *world) error { return become("mount", "-o", "loop", "-t", "ext4", e.away("image"), e.in("dir")) }},
	{name: "dpkg -i", tool: "dpkg", told: "etc created; etc/f created; etc/sub created; etc/sub/h created", prepare: packaged,
		do: func(e *world) error {
			return become("dpkg", "--force-all", "--log=/dev/null", "--admindir="+e.away("dpkg"), "--instdir="+e.watched, "-i", e.away("x.deb"))
		}},
}

// ---- what ways have in common ----

func directory(e *world) error { return os.Mkdir(e.in("dir"), 0o755) }

// smallTree has a directory with another in it, and a file in each.
func smallTree(e *world) error {
	return errors.Join(os.MkdirAll(e.in("dir/sub"), 0o755), newFile(e.in("dir/g")), newFile(e.in("dir/sub/h")))
}

func outsider(e *world) error { return put(e.out("other"), "another\n") }

func withACL(e *world) error {
	return unix.Setxattr(e.in("f"), "system.posix_acl_access", aclForOne, 0)
}

// filled has a file of some size, no two lines of which are alike.
func filled(name string, size int) func(e *world) error {
	return func(e *world) error {
		var text strings.Builder
		for n := 0; text.Len() < size; n++ {
			fmt.Fprintf(&text, "line %d\n", n)
		}
		return os.WriteFile(e.in(name), []byte(text.String()[:size]), 0o644)
	}
}

func put(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

func toWrite(path string, do func(fd int) error) error {
	fd, err := opened(path, unix.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(do(fd), unix.Close(fd))
}

func writeAt(path, text string, at int64) error {
	return toWrite(path, func(fd int) error { _, err := unix.Pwrite(fd, []byte(text), at); return err })
}

// mapped writes through a mapping, and leaves it.
func mapped(path string, flags int, text string) error {
	return toWrite(path, func(fd int) error {
		m, err := unix.Mmap(fd, 0, len(text), unix.PROT_READ|unix.PROT_WRITE, flags)
		if err == nil {
			copy(m, text)
		}
		return err
	})
}

func writeDirectly(path string) error {
	fd, err := opened(path, unix.O_WRONLY|unix.O_DIRECT)
	if err != nil {
		return errNeeds("O_DIRECT: " + err.Error())
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	_, err = unix.Pwrite(fd, page, 0)
	return errors.Join(err, unix.Close(fd))
}

func spliceMemory(fd int) error {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	text := []byte("out of memory")
	vec := unix.Iovec{Base: &text[0], Len: uint64(len(text))}
	return errors.Join(did("vmsplice", p[1], unsafe.Pointer(&vec), 1, 0), did("splice", p[0], 0, fd, 0, len(text), 0))
}

func allocating(mode uint32, at, length int64) func(e *world) error {
	return func(e *world) error {
		return toWrite(e.in("f"), func(fd int) error { return did("fallocate", fd, int(mode), int(at), int(length)) })
	}
}

// setXattrAt sets an attribute of a path, or with 0 for it of the descriptor.
func setXattrAt(dir int, path any, flags int) error {
	value := []byte("1")
	args := struct {
		value       uint64
		size, flags uint32
	}{uint64(uintptr(unsafe.Pointer(&value[0]))), 1, 0}
	err := did("setxattrat", dir, path, flags, tagName, unsafe.Pointer(&args), int(unsafe.Sizeof(args)))
	runtime.KeepAlive(value)
	return err
}

// setFlags sets immutable, append-only or nodump, whose bits statx has from FS_IOC_SETFLAGS, and takes away the others. All
// other flags stay, as ext4 would make other files of those without.
func setFlags(path string, flags int) error {
	return on(path, func(fd int) error {
		now, err := unix.IoctlGetInt(fd, 0x80086601)
		if err != nil {
			return errNeeds("FS_IOC_GETFLAGS: " + err.Error())
		}
		now = now&^(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND|unix.STATX_ATTR_NODUMP) | flags
		return did("ioctl", fd, 0x40086602, unsafe.Pointer(&now))
	})
}

// inProcess goes another way in a process that this one makes, who is to be blamed.
func inProcess(name string, e *world, how *syscall.SysProcAttr) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), wayVariable+"="+name, goVariable+"=1", e.variable())
	cmd.SysProcAttr = how
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil && cmd.Process == nil:
		return errNeeds("such a process: " + err.Error())
	case err != nil:
		return fmt.Errorf("%w: %s", err, out)
	case !strings.HasPrefix(string(out), "done "):
		return fmt.Errorf("it says %s", out)
	}
	fmt.Printf("done %d\n", cmd.Process.Pid)
	os.Exit(0)
	return nil
}

// inMemory is the program of a process that has none on disk.
const inMemory = "memfd:"

func fromMemory(name string) error {
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		return errNeeds("memfd_create: " + err.Error())
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(descriptor(fd), program, 0); err != nil {
		return err
	}
	if err := errors.Join(os.Setenv(wayVariable, name), os.Setenv(goVariable, "1")); err != nil {
		return err
	}
	return unix.Exec(descriptor(fd), []string{"program"}, os.Environ())
}

// inPivot does something where the container's root is the only one.
func inPivot(e *world, do func() error) error {
	return inNamespace(func() error {
		root, err := filepath.EvalSymlinks(e.out("root"))
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Mount(root, root, "", unix.MS_BIND, ""), os.Chdir(root)); err != nil {
			return err
		}
		if err := did("pivot_root", ".", "."); err != nil {
			return errNeeds("a root that is no initramfs: " + err.Error())
		}
		return errors.Join(unix.Unmount(".", unix.MNT_DETACH), within("/", do))
	})
}

// merged has an overlay with a file in its lower layer.
func merged(e *world) error {
	err := errors.Join(os.Mkdir(e.in("merged"), 0o755), os.Mkdir(e.out("lower"), 0o755), newFile(e.out("lower/f")))
	return errors.Join(err, mountLayers(e, e.out("lower"), e.in("merged")))
}

func mountLayers(e *world, lower, at string) error {
	if err := errors.Join(os.Mkdir(e.out("upper"), 0o755), os.Mkdir(e.out("work"), 0o755)); err != nil {
		return err
	}
	if err := unix.Mount("overlay", at, "overlay", 0, "lowerdir="+lower+",upperdir="+e.out("upper")+",workdir="+e.out("work")); err != nil {
		return errNeeds("overlayfs: " + err.Error())
	}
	return nil
}

// mountedImage has a file system of its own in the directory disk.
func mountedImage(e *world, kind string) error {
	return errors.Join(os.Mkdir(e.in("disk"), 0o755), mountImageOn(e, kind, e.in("disk")))
}

// mountImageOn mounts an image by a loop device that goes when it is unmounted.
func mountImageOn(e *world, kind, at string) error {
	name := e.away("image")
	if err := unpackImage(kind, name); err != nil {
		return err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return errNeeds("loop devices: " + err.Error())
	}
	defer control.Close()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	for range 100 { // others may be quicker
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return errNeeds("a free loop device: " + err.Error())
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return errNeeds("loop devices: " + err.Error())
		}
		defer device.Close()
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(device.Fd()), &config); errors.Is(err, unix.EBUSY) {
			continue
		}
		if err != nil {
			return fmt.Errorf("a loop device: %w", err)
		}
		options := ""
		if kind == "xfs" {
			options = "nouuid" // which several mounts of one image have in common
		}
		if err := unix.Mount(device.Name(), at, kind, 0, options); err != nil {
			return errNeeds(kind + ": " + err.Error())
		}
		return nil
	}
	return errNeeds("a free loop device")
}

func unpackImage(kind, name string) error {
	packed, err := os.ReadFile("testdata/fanotify-" + kind + ".zst")
	if err != nil {
		return err
	}
	reader, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer reader.Close()
	image, err := reader.DecodeAll(packed, nil)
	if err != nil {
		return err
	}
	return writeSparse(name, image)
}

// rotated has a configuration of logrotate that has the file rotated.
func rotated(how string) func(e *world) error {
	return func(e *world) error {
		return os.WriteFile(e.away("conf"), []byte(e.in("f")+" {\n rotate 1\n "+how+"\n}\n"), 0o644)
	}
}

func rotate(e *world) error { return become("logrotate", "-f", "-s", e.away("state"), e.away("conf")) }

// packaged has a package, and a database of dpkg in which nothing is.
func packaged(e *world) error {
	control := "Package: yagura-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: test\n"
	err := errors.Join(os.MkdirAll(e.away("x/DEBIAN"), 0o755), os.MkdirAll(e.away("x/etc/sub"), 0o755), os.MkdirAll(e.away("dpkg/info"), 0o755),
		os.MkdirAll(e.away("dpkg/updates"), 0o755), put(e.away("x/DEBIAN/control"), control), put(e.away("x/etc/f"), "1"),
		put(e.away("x/etc/sub/h"), "2"), put(e.away("dpkg/status"), ""), put(e.away("dpkg/available"), ""))
	if err != nil {
		return err
	}
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", e.away("x"), e.away("x.deb")).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, out)
	}
	return nil
}

// become is a program instead of the actor. It does not return if it can.
func become(name string, args ...string) error {
	program, err := lookProgram(name)
	if err != nil {
		return err
	}
	return unix.Exec(program, append([]string{name}, args...), []string{"PATH=" + programs, "TERM=linux", "LC_ALL=C", "HOME=/nonexistent"})
}

// lookProgram is where a program is, by its real name.
func lookProgram(name string) (string, error) {
	for dir := range strings.SplitSeq(programs, ":") {
		at := name
		if !filepath.IsAbs(name) {
			at = filepath.Join(dir, name)
		}
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() {
			return filepath.EvalSymlinks(at)
		}
	}
	return "", errNeeds("the program " + name)
}

// becomeFed has the program read some text.
func becomeFed(text, name string, args ...string) error {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	if _, err := unix.Write(p[1], []byte(text)); err != nil {
		return err
	}
	if err := errors.Join(unix.Close(p[1]), unix.Dup2(p[0], 0)); err != nil {
		return err
	}
	return become(name, args...)
}

// becomeOnTerminal has the program read keys that are pressed already, from a terminal that nobody looks at.
func becomeOnTerminal(keys, name string, args ...string) error {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR, 0)
	if err != nil {
		return errNeeds("a terminal: " + err.Error())
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)); err != nil {
		return err
	}
	slave, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	t, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	t.Iflag &^= unix.ICRNL | unix.IXON
	err = errors.Join(unix.IoctlSetTermios(slave, unix.TCSETS, t), unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	for fd := range 3 {
		err = errors.Join(err, unix.Dup2(slave, fd))
	}
	if _, wrong := unix.Write(master, []byte(keys)); err != nil || wrong != nil {
		return errors.Join(err, wrong)
	}
	return become(name, args...)
}
