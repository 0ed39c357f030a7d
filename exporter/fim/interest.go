package fim

import (
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// An effect is what calls of one type may do to files, if they succeed.
type effect struct {
	call  string
	names [2]KindSet // to what Call.Text names
	file  KindSet    // to the open file that the call is about

	follows bool // if a name is a symbolic link, what it leads to is meant

	// Which of them leave the kernel. Below says that the kernel itself may know the path of the file, whatever the caller
	// calls it, and so keep to itself what is not below a watched one. Of all others every call is told.
	below    bool
	families uint8 // of sockets, 0 for all
}

// Kinds of change that come together. Who writes to a file or gives it away takes its setuid bits and capabilities; who sets
// its permissions or an ACL may change both.
const (
	written = KindSet(1<<ContentChanged | 1<<ModeChanged | 1<<XattrsChanged)
	owned   = KindSet(1<<OwnerChanged | 1<<ModeChanged | 1<<XattrsChanged)
	allowed = KindSet(1<<ModeChanged | 1<<ACLChanged)
	tagged  = KindSet(1<<XattrsChanged | 1<<ACLChanged | 1<<ModeChanged)
	flagged = KindSet(1 << FlagsChanged)
	linked  = KindSet(1 << LinksChanged)
	another = KindSet(1<<ContentChanged | 1<<ModeChanged | 1<<OwnerChanged | 1<<XattrsChanged | 1<<ACLChanged | 1<<LinksChanged |
		1<<FlagsChanged) // the path has another file now
	made    = KindSet(1<<Created) | another
	gone    = KindSet(1 << Deleted)
	left    = KindSet(1<<Renamed | 1<<Deleted)
	arrived = KindSet(1<<Renamed) | made
	covered = KindSet(1<<Mounted|1<<Created|1<<Deleted) | another
	bared   = KindSet(1<<Unmounted|1<<Created|1<<Deleted) | another

	// moving is what whole directories undergo with all that is in them.
	moving = KindSet(1<<Renamed | 1<<Mounted | 1<<Unmounted)
)

// noSocket keeps calls on sockets in the kernel, of which there are many.
const noSocket = 1 << event.FamilyOther

// effects are all calls that may change a file. Not among them are calls that only somebody can make who has opened the file
// for writing, and who is known by that: write and its kin, mmap, fallocate, splice, vmsplice. Nor are utime and its kin, as
// no watch set asks for times.
var effects = []effect{
	{call: "open", names: [2]KindSet{written}, file: written, below: true},
	{call: "openat", names: [2]KindSet{written}, file: written, below: true},
	{call: "openat2", names: [2]KindSet{written}, file: written, below: true},
	{call: "creat", names: [2]KindSet{written}, file: written, below: true},
	{call: "open_by_handle_at", file: written}, // its file need not have a path
	{call: "truncate", names: [2]KindSet{written}, follows: true, below: true},
	{call: "ftruncate", file: written, below: true},
	{call: "copy_file_range", file: written, below: true},
	{call: "sendfile", file: written, below: true, families: noSocket},

	{call: "rename", names: [2]KindSet{left, arrived}, below: true},
	{call: "renameat", names: [2]KindSet{left, arrived}, below: true},
	{call: "renameat2", names: [2]KindSet{left, arrived}, below: true},
	{call: "unlink", names: [2]KindSet{gone}, below: true},
	{call: "unlinkat", names: [2]KindSet{gone}, below: true},
	{call: "rmdir", names: [2]KindSet{gone}, below: true},
	{call: "mkdir", names: [2]KindSet{made}, below: true},
	{call: "mkdirat", names: [2]KindSet{made}, below: true},
	{call: "mknod", names: [2]KindSet{made}, below: true},
	{call: "mknodat", names: [2]KindSet{made}, below: true},
	{call: "link", names: [2]KindSet{linked, made}},
	{call: "linkat", names: [2]KindSet{linked, made}},
	{call: "symlink", names: [2]KindSet{0, made}, below: true},
	{call: "symlinkat", names: [2]KindSet{0, made}, below: true},
	{call: "bind", names: [2]KindSet{made}, families: 1 << event.FamilyUnix}, // makes the file of a socket

	{call: "chmod", names: [2]KindSet{allowed}, follows: true, below: true},
	{call: "fchmod", file: allowed, below: true},
	{call: "fchmodat", names: [2]KindSet{allowed}, follows: true, below: true},
	{call: "fchmodat2", names: [2]KindSet{allowed}, follows: true, below: true},
	{call: "chown", names: [2]KindSet{owned}, follows: true, below: true},
	{call: "lchown", names: [2]KindSet{owned}, below: true},
	{call: "fchown", file: owned, below: true},
	{call: "fchownat", names: [2]KindSet{owned}, follows: true, below: true},
	{call: "setxattr", names: [2]KindSet{tagged}, follows: true},
	{call: "lsetxattr", names: [2]KindSet{tagged}},
	{call: "fsetxattr", file: tagged},
	{call: "setxattrat", names: [2]KindSet{tagged}, follows: true},
	{call: "removexattr", names: [2]KindSet{tagged}, follows: true},
	{call: "lremovexattr", names: [2]KindSet{tagged}},
	{call: "fremovexattr", file: tagged},
	{call: "removexattrat", names: [2]KindSet{tagged}, follows: true},
	{call: "ioctl", file: flagged | written, below: true, families: noSocket}, // of its requests those of ioctlEffects
	{call: "file_setattr", names: [2]KindSet{flagged}, follows: true},

	{call: "mount", names: [2]KindSet{bared, covered}, follows: true},
	{call: "move_mount", names: [2]KindSet{bared, covered}},
	{call: "umount", names: [2]KindSet{bared}, follows: true},
	{call: "umount2", names: [2]KindSet{bared}, follows: true},
}

// ioctlEffects are the requests that change a file, of include/uapi/linux/fs.h.
var ioctlEffects = map[uint32]KindSet{
	0x40086602: flagged, // FS_IOC_SETFLAGS
	0x40046602: flagged, // FS_IOC32_SETFLAGS
	0x401c5820: flagged, // FS_IOC_FSSETXATTR
	0x40049409: written, // FICLONE
	0x4020940d: written, // FICLONERANGE
}

// effectOf is indexed by event types, nil for those that change no file.
var effectOf = effectsByType()

func effectsByType() []*effect {
	by := make([]*effect, len(event.Types))
	for i := range effects {
		if t, ok := event.TypeNamed(effects[i].call); ok {
			by[t] = &effects[i]
		}
	}
	return by
}

// InterestIn is what must leave the kernel so that Acts can tell who has changed the files of watch sets. It allows more:
// what is below every path that patterns of the sets begin with, in any container, or may be. Without watched paths it is
// nothing.
func InterestIn(s *Sets) event.Interest {
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	roots := slices.Concat(s.Roots(false), s.Roots(true))
	if len(roots) == 0 {
		return i
	}
	paths := pathsBelow(roots)
	for t, e := range effectOf {
		if e != nil {
			i.Terms[event.Type(t)] = []event.Term{e.term(event.Type(t), paths)}
		}
	}
	return i
}

func (e *effect) term(t event.Type, paths *event.PathSet) event.Term {
	term := event.Term{Results: event.Zero | event.Positive, Opens: event.AnyOpen, Families: event.AnyFamily}
	if t.Opens() {
		term.Opens = changingOpens()
	}
	if e.families != 0 {
		term.Families = e.families
	}
	if e.below {
		term.Paths, term.Resolved = paths, true
	}
	return term
}

// changingOpens are all ways to open a file for writing, or to make it.
func changingOpens() (opens uint16) {
	for how := range 16 {
		if how&(event.OpenWrite|event.OpenCreated) != 0 {
			opens |= 1 << how
		}
	}
	return opens
}

// maxPrefixes bounds how many paths each type of call is held against: the kernel has room for 8192 in all, for rules too, and
// looks at none if there are more.
const maxPrefixes = 256

// pathsBelow has what is below some paths, and may have more: a prefix ends anywhere in a name, and where there are too many
// their directories stand for them. It is nil for any path.
func pathsBelow(roots []string) *event.PathSet {
	prefixes := shortest(roots)
	for len(prefixes) > maxPrefixes {
		crowded := mostCrowded(prefixes)
		if crowded == "" {
			return nil
		}
		prefixes = shortest(append(prefixes, crowded))
	}
	if prefixes[0] == "/" {
		return nil
	}
	return &event.PathSet{Prefixes: prefixes, Exact: above(roots, prefixes)}
}

// above are the directories above some roots that begin with none of the prefixes: who moves one moves what is in it.
func above(roots, prefixes []string) (dirs []string) {
	for _, root := range roots {
		for dir := path.Dir(root); len(dir) > 1; dir = path.Dir(dir) {
			if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(dir, p) }) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// shortest leaves out what begins with another one.
func shortest(prefixes []string) []string {
	slices.Sort(prefixes)
	kept := prefixes[:0:0]
	for _, p := range prefixes {
		if len(kept) == 0 || !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// mostCrowded is the directory which most of some prefixes are directly in, with a slash behind it; empty if that is the root
// for all of them.
func mostCrowded(prefixes []string) (dir string) {
	in := map[string]int{}
	for _, p := range prefixes {
		parent := p[:strings.LastIndexByte(p[:len(p)-1], '/')+1]
		if in[parent]++; parent != "/" && (dir == "" || in[parent] > in[dir] || in[parent] == in[dir] && len(parent) > len(dir)) {
			dir = parent
		}
	}
	return dir
}
