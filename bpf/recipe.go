package bpf

import (
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// Where a recipe's argument stands that is none of 0 to 5: enum call_source.
const (
	fromResult  = -1
	fromNothing = -2
	fromCwd     = -3
	fromWords   = -4
	fromCreat   = -5
)

// How data are found: enum data_form.
const (
	dataNone = iota
	dataByResult
	dataByLength
	dataVector
	dataMessage
	dataString
	dataMessages
)

var (
	typeClone, _    = event.TypeNamed("clone")
	typeClone3, _   = event.TypeNamed("clone3")
	typeFork, _     = event.TypeNamed("fork")
	typeVfork, _    = event.TypeNamed("vfork")
	typeExecve, _   = event.TypeNamed("execve")
	typeExecveat, _ = event.TypeNamed("execveat")
	typeExit, _     = event.TypeNamed("procexit")
	typeChdir, _    = event.TypeNamed("chdir")
	typeAccept, _   = event.TypeNamed("accept")
	typeAccept4, _  = event.TypeNamed("accept4")
	typePrctl, _    = event.TypeNamed("prctl")

	// forks are the types that make a process; execs those that run another image.
	forks = map[event.Type]bool{typeClone: true, typeClone3: true, typeFork: true, typeVfork: true}
	execs = map[event.Type]bool{typeExecve: true, typeExecveat: true}

	callTypes = typesOfCalls()
)

// typesOfCalls is the event type of each dense system call number, TypeNone where rules have no name for it. What 32-bit
// programs call differently only because of the width of a number is the same to rules.
func typesOfCalls() (types [syscallSlots]event.Type) {
	for nr, name := range syscallNames {
		for _, suffix := range []string{"", "_time64", "_64", "64", "32"} {
			if t, ok := event.TypeNamed(strings.TrimSuffix(name, suffix)); ok {
				types[nr] = t
				break
			}
		}
		if name == "_llseek" {
			types[nr], _ = event.TypeNamed("llseek")
		}
	}
	return types
}

// recipe says what to read of a call, from the parameters of its type.
func recipe(t event.Type) yaguraCallRecipe {
	r := yaguraCallRecipe{Type: uint16(t), Fd: fromNothing, Text0: fromNothing, Text1: fromNothing, Dir0: fromNothing,
		Dir1: fromNothing, OpenFlags: fromNothing, Data: fromNothing, Address: fromNothing, Words: fromNothing}
	for _, p := range t.Info().Params {
		r.add(p)
	}
	r.read(t.String())
	r.describe(t.String())
	r.Names = names[t.String()]
	return r
}

func (r *yaguraCallRecipe) add(p event.Param) {
	switch {
	case p.Kind == event.FD && r.Fd == fromNothing && (p.Arg >= 0 || p.Arg == event.Result) && !isDirectory(p.Name):
		r.Fd = p.Arg
	case p.Arg < 0:
	case (p.Kind == event.String || p.Kind == event.Path) && p.Index == 0:
		r.Text0, r.Dir0 = p.Arg, directory(p)
	case (p.Kind == event.String || p.Kind == event.Path) && p.Index == 1:
		r.Text1, r.Dir1 = p.Arg, directory(p)
	case p.Kind == event.Sock || p.Kind == event.Tuple:
		r.Address = p.Arg
	}
}

// isDirectory says that a descriptor only tells where a relative path starts: such calls are not about it.
func isDirectory(name string) bool {
	switch name {
	case "dirfd", "olddirfd", "newdirfd", "olddir", "newdir", "linkdirfd", "mountfd", "from_dirfd", "to_dirfd":
		return true
	}
	return false
}

func directory(p event.Param) int8 {
	switch {
	case p.Kind != event.Path || p.Dir == event.NoDir:
		return fromNothing
	case p.Dir == event.AtCwd:
		return fromCwd
	}
	return p.Dir
}

// read is where the memory is that parameters do not tell of: structs, buffers.
func (r *yaguraCallRecipe) read(name string) {
	switch name {
	case "openat2":
		r.Words, r.WordBytes = 2, 24
	case "pipe", "pipe2":
		r.Words, r.WordBytes = 0, 8
	case "socketpair":
		r.Words, r.WordBytes = 3, 8
	case "setrlimit":
		r.Words, r.WordBytes = 1, 16
	case "prlimit":
		r.Words, r.WordBytes = 2, 16
	case "clone3":
		r.Words, r.WordBytes = 0, 16
	case "read", "pread", "recv", "recvfrom":
		r.Data, r.DataForm = 1, dataByResult
	case "write", "pwrite", "send", "sendto":
		r.Data, r.DataForm = 1, dataByLength
	case "readv", "writev", "preadv", "pwritev":
		r.Data, r.DataForm = 1, dataVector
	case "sendmsg", "recvmsg":
		r.Data, r.DataForm = 1, dataMessage
	case "sendmmsg", "recvmmsg":
		r.Data, r.DataForm = 1, dataMessages
	case "mount":
		r.Data, r.DataForm = 2, dataString // of the file system's type
	}
}

// describe is what a call has besides its parameters.
func (r *yaguraCallRecipe) describe(name string) {
	switch name {
	case "open":
		r.OpenFlags = 1
	case "openat", "open_by_handle_at":
		r.OpenFlags = 2
	case "openat2":
		r.OpenFlags = fromWords
	case "creat":
		r.OpenFlags = fromCreat
	case "sendto", "recvfrom":
		r.Address = 4
	case "connect", "bind", "accept", "accept4":
		r.Address = 1
	case "fcntl":
		r.Fd = 0 // what it returns is a descriptor of some commands only
	case "execve": // one that fails: the new image tells of the others
		r.Text0, r.Dir0 = 0, fromCwd
	case "execveat":
		r.Text0, r.Dir0 = 1, 0
	case "prctl":
		r.Text0 = 1 // a name, if it sets one
	}
}

// Bits of call_recipe.names: enum call_names.
const (
	name0 = 1 << iota
	name1
	nameFollowed // or told by its inode, which may have other names
)

// names are the texts that name what is changed, of calls that leave no descriptor of it behind. Not among them are calls by
// whose name the kernel would not know what is meant: link, which also follows, and mounts.
var names = map[string]uint8{
	"unlink": name0, "unlinkat": name0, "rmdir": name0, "mkdir": name0, "mkdirat": name0, "mknod": name0, "mknodat": name0,
	"rename": name0 | name1, "renameat": name0 | name1, "renameat2": name0 | name1, "symlink": name1, "symlinkat": name1,
	"truncate": name0 | nameFollowed, "chmod": name0 | nameFollowed, "fchmodat": name0 | nameFollowed, "fchmodat2": name0 | nameFollowed,
	"chown": name0 | nameFollowed, "lchown": name0 | nameFollowed, "fchownat": name0 | nameFollowed,
}

// knowsPaths says whether the kernel can tell if a call is about a path of a term. It can if the result or an argument is a
// descriptor of it. Of the others (unlink, rename, …) it has but the caller's spelling, which a symbolic link may make another
// path: those that ask for where it leads are let through where that is not sure, and all who ask for the spelling.
func knowsPaths(r *yaguraCallRecipe, t event.Term) bool {
	return t.Resolved && r.Names != 0 || r.OpenFlags != fromNothing || r.Text0 == fromNothing && r.Text1 == fromNothing && r.Fd != fromNothing
}

// ringOperations is the system call that each operation of io_uring replaces, by the number of the operation
// (IORING_OP_…). What is read or written is not told of them, only its descriptor and how much it was.
var ringOperations = map[int]string{
	1: "readv", 2: "writev", 9: "sendmsg", 10: "recvmsg", 13: "accept4", 16: "connect", 18: "openat", 22: "read", 23: "write",
	26: "sendto", 27: "recvfrom", 28: "openat2", 34: "shutdown", 35: "renameat2", 36: "unlinkat", 37: "mkdirat", 38: "symlinkat",
	39: "linkat", 45: "socket", 56: "bind", 57: "listen",
}

// ringCalls is ringOperations as the kernel side has it: dense numbers of system calls.
func ringCalls() (calls [64]uint16) {
	for op := range calls {
		calls[op] = syscallOther
		for nr, name := range syscallNames[:512] {
			if name != "" && name == ringOperations[op] {
				calls[op] = uint16(nr)
			}
		}
	}
	return calls
}
