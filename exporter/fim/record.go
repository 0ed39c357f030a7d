// Package fim watches the integrity of files: what has changed, who did it, and whether that was expected.
//
// A watch set says which paths matter. A baseline keeps a Record of each of their files. Witnesses (the kernel's programs,
// fanotify) tell which paths may have changed and who did it; the files themselves, looked at again, tell what has. A scan
// looks at all of them, and finds what no witness has seen. Packages' databases, maintenance windows and actors say whether a
// change was expected.
package fim

import (
	"fmt"
	"io/fs"
	"strings"
)

// An Attribute is something of a file that a watch set may ask for.
type Attribute uint16

// Attributes of files. Changes of what a watch set does not ask for are no changes.
const (
	Content Attribute = 1 << iota // of a regular file, or where a symbolic link leads
	Mode                          // permissions, setuid, setgid, sticky
	Owner                         // user and group
	Xattrs                        // extended attributes, security.capability among them
	ACL                           // system.posix_acl_access and system.posix_acl_default
	Links                         // how many names the file has
	Flags                         // immutable and append-only, of ext4, XFS, Btrfs and their like

	Everything = Content | Mode | Owner | Xattrs | ACL | Links | Flags
)

// Attributes names them as configuration, series and logs do, in the order of their bits.
var Attributes = [...]string{"content", "mode", "owner", "xattrs", "acl", "links", "flags"}

// A Kind is what has happened to a path: the label kind of yagura_fim_changes_total.
type Kind uint8

// Kinds of change. Renamed is told once for both names; a mount hides what was at a path, or shows it again.
const (
	Created Kind = iota
	Deleted
	Renamed
	ContentChanged
	ModeChanged
	OwnerChanged
	XattrsChanged
	ACLChanged
	LinksChanged
	FlagsChanged
	Mounted
	Unmounted
)

// Kinds names them.
var Kinds = [...]string{"created", "deleted", "renamed", "content", "mode", "owner", "xattrs", "acl", "links", "flags", "mounted", "unmounted"}

// A Record is what is so of one path, without following it if it is a symbolic link.
type Record struct {
	Mode       fs.FileMode // type, permissions, setuid, setgid, sticky
	UID, GID   uint32
	Size       int64 // bytes
	Device     uint64
	Inode      uint64
	Modified   int64 // ns since 1970: mtime
	Changed    int64 // ns since 1970: ctime, which nobody can set
	Links      uint32
	Target     string            // where a symbolic link leads
	Attributes map[string]string // extended attributes by name, ACLs among them; their values are bytes
	Flags      uint32            // FS_IMMUTABLE_FL and FS_APPEND_FL of FS_IOC_GETFLAGS
	Sum        [32]byte          // SHA-256 of a regular file's content
	Summed     bool              // whether Sum is known
	Unreadable string            // why it is not: "permission denied", "larger than 1 GiB"
}

// A Path is the name of a file as the host sees it, absolute and clean; any bytes but NUL. For files of a container it is
// the path within it, and Container tells which.
type Path struct {
	Container string // its id, empty for the host
	Name      string
}

// TypeName is what kind of file it is: file, directory, symlink, device, fifo or socket.
func (r *Record) TypeName() string {
	switch r.Mode.Type() &^ fs.ModeCharDevice {
	case 0:
		return "file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symlink"
	case fs.ModeNamedPipe:
		return "fifo"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}

// isPartial says whether something of it could not be read, but for content that nobody asked to be read, as there is too much of it.
func (r *Record) isPartial() bool {
	return r.Unreadable != "" && !strings.HasPrefix(r.Unreadable, tooLarge)
}

// Octal is the mode as chmod takes it, of four digits.
func (r *Record) Octal() string {
	mode := uint32(r.Mode.Perm())
	for bit, of := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if r.Mode&of != 0 {
			mode |= bit
		}
	}
	return fmt.Sprintf("%04o", mode)
}
