package event

// Categories of event types.
const (
	catFile     = "file"
	catNet      = "net"
	catIPC      = "ipc"
	catMemory   = "memory"
	catProcess  = "process"
	catSleep    = "sleep"
	catSystem   = "system"
	catSignal   = "signal"
	catUser     = "user"
	catTime     = "time"
	catIORead   = "file"
	catWait     = "wait"
	catSched    = "scheduler"
	catInternal = "internal"
	catOther    = "other"
)

// Shorthand for the rows below: a parameter of one kind, and the argument that holds it.
func res() Param                      { return Param{Name: "res", Kind: Errno, Arg: Result, Dir: NoDir} }
func ret(n string, k ParamKind) Param { return Param{Name: n, Kind: k, Arg: Result, Dir: NoDir} }
func arg(n string, k ParamKind, a int8) Param {
	return Param{Name: n, Kind: k, Arg: a, Dir: NoDir}
}

// arg32 is a number of which the kernel takes 32 bits only, whatever else stands in the register.
func arg32(n string, k ParamKind, a int8) Param {
	return Param{Name: n, Kind: k, Arg: a, Dir: NoDir, Narrow: true}
}
func gone(n string, k ParamKind) Param { return Param{Name: n, Kind: k, Arg: NoArg, Dir: NoDir} }
func text(n string, a, index int8) Param {
	return Param{Name: n, Kind: String, Arg: a, Index: index, Dir: NoDir}
}
func path(n string, a, index int8) Param {
	return Param{Name: n, Kind: Path, Arg: a, Index: index, Dir: AtCwd}
}
func pathAt(n string, dir, a, index int8) Param {
	return Param{Name: n, Kind: Path, Arg: a, Index: index, Dir: dir}
}
func bits(n string, a int8, names []Name) Param {
	return Param{Name: n, Kind: Bits, Arg: a, Dir: NoDir, Narrow: true, Names: names}
}
func enum(n string, a int8, names []Name) Param {
	return Param{Name: n, Kind: Enum, Arg: a, Dir: NoDir, Narrow: true, Names: names}
}

// mode is permissions, of which the kernel takes 16 bits.
func mode(a int8) Param {
	return Param{Name: "mode", Kind: Bits, Shown: Octal, Arg: a, Dir: NoDir, Narrow: true, Names: modeBits}
}
func word(n string, index int8, shown ParamKind, names []Name) Param {
	return Param{Name: n, Kind: Word, Arg: NoArg, Index: index, Dir: NoDir, Shown: shown, Names: names}
}

// exeFlags is what execve and its kin know of the file that is run.
func exeFlags() Param {
	return Param{Name: "flags", Kind: Bits, Arg: NoArg, Dir: NoDir, Names: exeFlagNames}
}

// image is what execve and its kin know of the new process.
func image(last ...Param) []Param {
	return append([]Param{res(), gone("exe", String), gone("args", Strings), gone("tid", PID), gone("pid", PID),
		gone("ptid", PID), gone("cwd", String), gone("fdlimit", Uint), gone("pgft_maj", Uint), gone("pgft_min", Uint),
		gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint), gone("comm", String), gone("cgroups", Strings),
		gone("env", Strings), gone("tty", Uint), gone("vpgid", PID), gone("loginuid", UID), exeFlags(),
		gone("cap_inheritable", Hex), gone("cap_permitted", Hex), gone("cap_effective", Hex), gone("exe_ino", Uint),
		gone("exe_ino_ctime", Uint), gone("exe_ino_mtime", Uint), gone("uid", UID), gone("trusted_exepath", String),
		gone("pgid", PID), gone("gid", GID)}, last...)
}

// child is what clone and its kin know of the new process.
func child(flags Param) []Param {
	return []Param{ret("res", PID), gone("exe", String), gone("args", Strings), gone("tid", PID), gone("pid", PID),
		gone("ptid", PID), gone("cwd", String), gone("fdlimit", Int), gone("pgft_maj", Uint), gone("pgft_min", Uint),
		gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint), gone("comm", String), gone("cgroups", Strings),
		flags, gone("uid", UID), gone("gid", GID), gone("vtid", PID), gone("vpid", PID), gone("pidns_init_start_ts", Uint)}
}

// Types is every event type, by its number: Falco's, with the parameters of their exit in its names and order; beside those that they
// are like, calls that change files and have no parameters there; and then every other system call of Linux. The numbers are part of recordings within one version only.
var Types = []TypeInfo{
	{},
	// Files.
	{"open", catFile, []Param{ret("fd", FD), path("name", 0, 0), bits("flags", 1, openFlags), arg32("mode", Octal, 2), gone("dev", Hex), gone("ino", Uint)}},
	{"openat", catFile, []Param{ret("fd", FD), arg("dirfd", FD, 0), pathAt("name", 0, 1, 0), bits("flags", 2, openFlags), arg32("mode", Octal, 3), gone("dev", Hex), gone("ino", Uint)}},
	{"openat2", catFile, []Param{ret("fd", FD), arg("dirfd", FD, 0), pathAt("name", 0, 1, 0), word("flags", 0, Bits, openFlags), word("mode", 1, Octal, nil), word("resolve", 2, Bits, resolveFlags), gone("dev", Hex), gone("ino", Uint)}},
	{"creat", catFile, []Param{ret("fd", FD), path("name", 0, 0), arg32("mode", Octal, 1), gone("dev", Hex), gone("ino", Uint)}},
	{"open_by_handle_at", catFile, []Param{ret("fd", FD), arg("mountfd", FD, 0), bits("flags", 2, openFlags), gone("path", String), gone("dev", Hex), gone("ino", Uint)}},
	{"close", catFile, []Param{res(), arg("fd", FD, 0)}},
	{"read", catFile, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2)}},
	{"write", catFile, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2)}},
	{"pread", catFile, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2), arg("pos", Uint, 3)}},
	{"pwrite", catFile, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2), arg("pos", Uint, 3)}},
	{"readv", catFile, []Param{res(), ret("size", Uint), arg("data", Bytes, 1), arg("fd", FD, 0)}},
	{"writev", catFile, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), ret("size", Uint)}},
	{"preadv", catFile, []Param{res(), ret("size", Uint), arg("data", Bytes, 1), arg("fd", FD, 0), arg("pos", Uint, 3)}},
	{"pwritev", catFile, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), ret("size", Uint), arg("pos", Uint, 3)}},
	{"lseek", catFile, []Param{res(), arg("fd", FD, 0), arg("offset", Int, 1), enum("whence", 2, seekFrom)}},
	{"llseek", catFile, []Param{res(), arg("fd", FD, 0), arg("offset", Int, 1), enum("whence", 4, seekFrom)}},
	{"ftruncate", catFile, []Param{res(), arg("fd", FD, 0), arg("length", Uint, 1)}},
	{"truncate", catFile, []Param{res(), path("path", 0, 0), arg("length", Uint, 1)}},
	{"stat", catFile, []Param{res(), path("path", 0, 0)}},
	{"lstat", catFile, []Param{res(), path("path", 0, 0)}},
	{"fstat", catFile, []Param{res(), arg("fd", FD, 0)}},
	{"stat64", catFile, []Param{res(), path("path", 0, 0)}},
	{"lstat64", catFile, []Param{res(), path("path", 0, 0)}},
	{"fstat64", catFile, []Param{res(), arg("fd", FD, 0)}},
	{"newfstatat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), bits("flags", 3, atFlags)}},
	{"access", catFile, []Param{res(), path("name", 0, 0), bits("mode", 1, accessModes)}},
	{"getcwd", catFile, []Param{res(), gone("path", String)}},
	{"chdir", catFile, []Param{res(), path("path", 0, 0)}},
	{"fchdir", catFile, []Param{res(), arg("fd", FD, 0)}},
	{"chroot", catFile, []Param{res(), path("path", 0, 0)}},
	{"mkdir", catFile, []Param{res(), path("path", 0, 0), arg32("mode", Hex, 1)}},
	{"mkdirat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), arg32("mode", Hex, 2)}},
	{"rmdir", catFile, []Param{res(), path("path", 0, 0)}},
	{"unlink", catFile, []Param{res(), path("path", 0, 0)}},
	{"unlinkat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("name", 0, 1, 0), bits("flags", 2, unlinkFlags)}},
	{"rename", catFile, []Param{res(), path("oldpath", 0, 0), path("newpath", 1, 1)}},
	{"renameat", catFile, []Param{res(), arg("olddirfd", FD, 0), pathAt("oldpath", 0, 1, 0), arg("newdirfd", FD, 2), pathAt("newpath", 2, 3, 1)}},
	{"renameat2", catFile, []Param{res(), arg("olddirfd", FD, 0), pathAt("oldpath", 0, 1, 0), arg("newdirfd", FD, 2), pathAt("newpath", 2, 3, 1), bits("flags", 4, renameFlags)}},
	{"link", catFile, []Param{res(), path("oldpath", 0, 0), path("newpath", 1, 1)}},
	{"linkat", catFile, []Param{res(), arg("olddir", FD, 0), pathAt("oldpath", 0, 1, 0), arg("newdir", FD, 2), pathAt("newpath", 2, 3, 1), bits("flags", 4, atFlags)}},
	{"symlink", catFile, []Param{res(), text("target", 0, 0), path("linkpath", 1, 1)}},
	{"symlinkat", catFile, []Param{res(), text("target", 0, 0), arg("linkdirfd", FD, 1), pathAt("linkpath", 1, 2, 1)}},
	{"chmod", catFile, []Param{res(), path("filename", 0, 0), mode(1)}},
	{"fchmod", catFile, []Param{res(), arg("fd", FD, 0), mode(1)}},
	{"fchmodat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("filename", 0, 1, 0), mode(2)}},
	{"fchmodat2", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("filename", 0, 1, 0), mode(2), bits("flags", 3, atFlags)}},
	{"chown", catFile, []Param{res(), path("path", 0, 0), arg("uid", UID, 1), arg("gid", GID, 2)}},
	{"lchown", catFile, []Param{res(), path("path", 0, 0), arg("uid", UID, 1), arg("gid", GID, 2)}},
	{"fchown", catFile, []Param{res(), arg("fd", FD, 0), arg("uid", UID, 1), arg("gid", GID, 2)}},
	{"fchownat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("pathname", 0, 1, 0), arg("uid", UID, 2), arg("gid", GID, 3), bits("flags", 4, atFlags)}},
	{"mknod", catFile, []Param{res(), path("path", 0, 0), mode(1), arg32("dev", Uint, 2)}},
	{"mknodat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), mode(2), arg32("dev", Uint, 3)}},
	{"utime", catFile, []Param{res(), path("path", 0, 0)}},
	{"utimes", catFile, []Param{res(), path("path", 0, 0)}},
	{"utimensat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), bits("flags", 3, atFlags)}},
	{"setxattr", catFile, []Param{res(), path("path", 0, 0), text("name", 1, 1)}},
	{"lsetxattr", catFile, []Param{res(), path("path", 0, 0), text("name", 1, 1)}},
	{"fsetxattr", catFile, []Param{res(), arg("fd", FD, 0), text("name", 1, 0)}},
	{"setxattrat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), bits("flags", 2, atFlags), text("name", 3, 1)}},
	{"removexattr", catFile, []Param{res(), path("path", 0, 0), text("name", 1, 1)}},
	{"lremovexattr", catFile, []Param{res(), path("path", 0, 0), text("name", 1, 1)}},
	{"fremovexattr", catFile, []Param{res(), arg("fd", FD, 0), text("name", 1, 0)}},
	{"removexattrat", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), bits("flags", 2, atFlags), text("name", 3, 1)}},
	{"file_setattr", catFile, []Param{res(), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), bits("flags", 4, atFlags)}},
	{"flock", catFile, []Param{res(), arg("fd", FD, 0), bits("operation", 1, flockFlags)}},
	{"fcntl", catFile, []Param{res(), arg("fd", FD, 0), enum("cmd", 1, fcntlCommands)}},
	{"ioctl", catFile, []Param{res(), arg("fd", FD, 0), arg32("request", Hex, 1), arg("argument", Hex, 2)}},
	{"dup", catFile, []Param{ret("res", FD), arg("oldfd", FD, 0)}},
	{"dup2", catFile, []Param{ret("res", FD), arg("oldfd", FD, 0), arg("newfd", FD, 1)}},
	{"dup3", catFile, []Param{ret("res", FD), arg("oldfd", FD, 0), arg("newfd", FD, 1), bits("flags", 2, openFlags)}},
	{"mount", catFile, []Param{res(), text("dev", 0, 0), path("dir", 1, 1), arg("type", Bytes, 2), bits("flags", 3, mountFlags)}},
	{"umount", catFile, []Param{res(), path("name", 0, 0)}},
	{"umount2", catFile, []Param{res(), path("name", 0, 0), bits("flags", 1, umountFlags)}},
	{"pivot_root", catFile, []Param{res(), path("new_root", 0, 0), path("put_old", 1, 1)}},
	{"open_tree", catFile, []Param{ret("fd", FD), arg("dirfd", FD, 0), pathAt("path", 0, 1, 0), arg32("flags", Hex, 2)}},
	{"move_mount", catFile, []Param{res(), arg("from_dirfd", FD, 0), pathAt("from_path", 0, 1, 0), arg("to_dirfd", FD, 2), pathAt("to_path", 2, 3, 1), arg32("flags", Hex, 4)}},
	{"fsopen", catFile, []Param{ret("fd", FD), text("fsname", 0, 0), arg32("flags", Hex, 1)}},
	{"fsconfig", catSystem, []Param{res(), arg("fd", FD, 0), enum("cmd", 1, fsconfigCommands), text("key", 2, 0), gone("value_bytebuf", Bytes), text("value_charbuf", 3, 1), arg32("aux", Int, 4)}},
	{"fsmount", catFile, []Param{ret("fd", FD), arg("fsfd", FD, 0), arg32("flags", Hex, 1), arg32("attr_flags", Hex, 2)}},
	{"quotactl", catUser, []Param{res(), arg32("cmd", Hex, 0), text("special", 1, 0), arg("id", Uint, 2), gone("quotafilepath", String)}},
	{"sendfile", catFile, []Param{res(), arg("offset", Uint, 2), arg("out_fd", FD, 0), arg("in_fd", FD, 1), arg("size", Uint, 3)}},
	{"splice", catFile, []Param{res(), arg("fd_in", FD, 0), arg("fd_out", FD, 2), arg("size", Uint, 4), arg32("flags", Hex, 5)}},
	{"copy_file_range", catFile, []Param{res(), arg("fdout", FD, 2), arg("offout", Uint, 3), arg("len", Uint, 4), arg("fdin", FD, 0), arg("offin", Uint, 1)}},
	{"inotify_init", catIPC, []Param{ret("res", FD), arg32("flags", Uint, 0)}},
	{"inotify_init1", catIPC, []Param{ret("res", FD), bits("flags", 0, closeFlags)}},
	{"inotify_add_watch", catIPC, []Param{res(), arg("fd", FD, 0), path("path", 1, 0), arg32("mask", Hex, 2)}},
	{"fanotify_init", catIPC, []Param{ret("fd", FD), arg32("flags", Hex, 0), arg32("event_f_flags", Hex, 1)}},

	// Network.
	{"socket", catNet, []Param{ret("fd", FD), enum("domain", 0, socketDomains), arg32("type", Uint, 1), arg32("proto", Uint, 2)}},
	{"bind", catNet, []Param{res(), arg("addr", Sock, 1), arg("fd", FD, 0)}},
	{"connect", catNet, []Param{res(), arg("tuple", Tuple, 1), arg("fd", FD, 0), arg("addr", Sock, 1)}},
	{"listen", catNet, []Param{res(), arg("fd", FD, 0), arg32("backlog", Int, 1)}},
	{"accept", catNet, []Param{ret("fd", FD), arg("tuple", Tuple, 1), gone("queuepct", Uint), gone("queuelen", Uint), gone("queuemax", Uint)}},
	{"accept4", catNet, []Param{ret("fd", FD), arg("tuple", Tuple, 1), gone("queuepct", Uint), gone("queuelen", Uint), gone("queuemax", Uint), bits("flags", 3, closeFlags)}},
	{"send", catNet, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2), gone("tuple", Tuple)}},
	{"sendto", catNet, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2), arg("tuple", Tuple, 4)}},
	{"sendmsg", catNet, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), ret("size", Uint), gone("tuple", Tuple)}},
	{"sendmmsg", catNet, []Param{res(), arg("fd", FD, 0), ret("size", Uint), arg("data", Bytes, 1), gone("tuple", Tuple)}},
	{"recv", catNet, []Param{res(), arg("data", Bytes, 1), arg("fd", FD, 0), arg("size", Uint, 2), gone("tuple", Tuple)}},
	{"recvfrom", catNet, []Param{res(), arg("data", Bytes, 1), arg("tuple", Tuple, 4), arg("fd", FD, 0), arg("size", Uint, 2)}},
	{"recvmsg", catNet, []Param{res(), ret("size", Uint), arg("data", Bytes, 1), gone("tuple", Tuple), gone("msgcontrol", Bytes), arg("fd", FD, 0)}},
	{"recvmmsg", catNet, []Param{res(), arg("fd", FD, 0), ret("size", Uint), arg("data", Bytes, 1), gone("tuple", Tuple), gone("msgcontrol", Bytes)}},
	{"shutdown", catNet, []Param{res(), arg("fd", FD, 0), enum("how", 1, shutdownHow)}},
	{"getsockname", catNet, nil},
	{"getpeername", catNet, nil},
	{"socketpair", catIPC, []Param{res(), word("fd1", 0, FD, nil), word("fd2", 1, FD, nil), gone("source", Hex), gone("peer", Hex), enum("domain", 0, socketDomains), arg32("type", Uint, 1), arg32("proto", Uint, 2)}},
	{"setsockopt", catNet, []Param{res(), arg("fd", FD, 0), enum("level", 1, socketLevels), enum("optname", 2, socketOptions), gone("val", Int), arg32("optlen", Uint, 4)}},
	{"getsockopt", catNet, []Param{res(), arg("fd", FD, 0), enum("level", 1, socketLevels), enum("optname", 2, socketOptions), gone("val", Int), gone("optlen", Uint)}},

	// Processes.
	{"execve", catProcess, image(path("filename", 0, 0))},
	{"execveat", catProcess, image(arg("dirfd", FD, 0), pathAt("pathname", 0, 1, 0))},
	{"clone", catProcess, child(bits("flags", 0, cloneFlags))},
	{"clone3", catProcess, child(word("flags", 0, Bits, cloneFlags))},
	{"fork", catProcess, child(Param{Name: "flags", Kind: Bits, Arg: NoArg, Dir: NoDir, Names: cloneFlags})},
	{"vfork", catProcess, child(Param{Name: "flags", Kind: Bits, Arg: NoArg, Dir: NoDir, Names: cloneFlags})},
	{"procexit", catProcess, []Param{gone("status", Errno), gone("ret", Errno), gone("sig", Signal), gone("core", Uint), gone("reaper_tid", PID)}},
	{"kill", catSignal, []Param{res(), arg("pid", PID, 0), arg("sig", Signal, 1)}},
	{"tkill", catSignal, []Param{res(), arg("tid", PID, 0), arg("sig", Signal, 1)}},
	{"tgkill", catSignal, []Param{res(), arg("pid", PID, 0), arg("tid", PID, 1), arg("sig", Signal, 2)}},
	{"pidfd_send_signal", catSignal, []Param{res(), arg("pidfd", FD, 0), arg("sig", Signal, 1)}},
	{"pidfd_open", catProcess, []Param{ret("fd", FD), arg("pid", PID, 0), bits("flags", 1, pidfdFlags)}},
	{"pidfd_getfd", catProcess, []Param{ret("fd", FD), arg("pid_fd", FD, 0), arg("target_fd", FD, 1), arg32("flags", Uint, 2)}},
	{"setns", catProcess, []Param{res(), arg("fd", FD, 0), bits("nstype", 1, cloneFlags)}},
	{"unshare", catProcess, []Param{res(), bits("flags", 0, cloneFlags)}},
	{"ptrace", catProcess, []Param{res(), arg("addr", Hex, 2), arg("data", Hex, 3), enum("request", 0, ptraceRequests), arg("pid", PID, 1)}},
	{"prctl", catProcess, []Param{res(), enum("option", 0, prctlOptions), text("arg2_str", 1, 0), arg("arg2_int", Int, 1)}},
	{"arch_prctl", catProcess, []Param{res(), arg32("code", Hex, 0), arg("addr", Hex, 1)}},
	{"personality", catProcess, []Param{res(), arg32("persona", Hex, 0)}},
	{"seccomp", catProcess, []Param{res(), arg32("op", Uint, 0), arg32("flags", Hex, 1)}},
	{"capset", catProcess, []Param{res(), gone("cap_inheritable", Hex), gone("cap_permitted", Hex), gone("cap_effective", Hex)}},
	{"setuid", catUser, []Param{res(), arg("uid", UID, 0)}},
	{"setgid", catUser, []Param{res(), arg("gid", GID, 0)}},
	{"setreuid", catUser, []Param{res(), arg("ruid", UID, 0), arg("euid", UID, 1)}},
	{"setregid", catUser, []Param{res(), arg("rgid", GID, 0), arg("egid", GID, 1)}},
	{"setresuid", catUser, []Param{res(), arg("ruid", UID, 0), arg("euid", UID, 1), arg("suid", UID, 2)}},
	{"setresgid", catUser, []Param{res(), arg("rgid", GID, 0), arg("egid", GID, 1), arg("sgid", GID, 2)}},
	{"setfsuid", catUser, []Param{res(), arg("uid", UID, 0)}},
	{"setfsgid", catUser, []Param{res(), arg("gid", GID, 0)}},
	{"setgroups", catUser, []Param{res(), arg32("size", Uint, 0)}},
	{"getuid", catUser, []Param{ret("uid", UID)}},
	{"geteuid", catUser, []Param{ret("euid", UID)}},
	{"getgid", catUser, []Param{ret("gid", GID)}},
	{"getegid", catUser, []Param{ret("egid", GID)}},
	{"getresuid", catUser, []Param{res(), gone("ruid", UID), gone("euid", UID), gone("suid", UID)}},
	{"getresgid", catUser, []Param{res(), gone("rgid", GID), gone("egid", GID), gone("sgid", GID)}},
	{"setsid", catProcess, []Param{ret("res", PID)}},
	{"setpgid", catProcess, []Param{res(), arg("pid", PID, 0), arg("pgid", PID, 1)}},
	{"getrlimit", catProcess, []Param{res(), gone("cur", Int), gone("max", Int), enum("resource", 0, rlimits)}},
	{"setrlimit", catProcess, []Param{res(), word("cur", 0, Int, nil), word("max", 1, Int, nil), enum("resource", 0, rlimits)}},
	{"prlimit", catProcess, []Param{res(), word("newcur", 0, Int, nil), word("newmax", 1, Int, nil), gone("oldcur", Int), gone("oldmax", Int), arg("pid", PID, 0), enum("resource", 1, rlimits)}},
	{"process_vm_readv", catIPC, []Param{res(), arg("pid", PID, 0), gone("data", Bytes)}},
	{"process_vm_writev", catIPC, []Param{res(), arg("pid", PID, 0), gone("data", Bytes)}},
	{"sched_setaffinity", catProcess, []Param{res(), arg("pid", PID, 0)}},

	// Memory.
	{"brk", catMemory, []Param{ret("res", Hex), gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint), arg("addr", Hex, 0)}},
	{"mmap", catMemory, []Param{ret("res", Errno), gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint), arg("addr", Hex, 0), arg("length", Uint, 1), bits("prot", 2, protFlags), bits("flags", 3, mapFlags), arg("fd", FD, 4), arg("offset", Uint, 5)}},
	{"mmap2", catMemory, []Param{ret("res", Errno), gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint), arg("addr", Hex, 0), arg("length", Uint, 1), bits("prot", 2, protFlags), bits("flags", 3, mapFlags), arg("fd", FD, 4), arg("pgoffset", Uint, 5)}},
	{"munmap", catMemory, []Param{res(), gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint), arg("addr", Hex, 0), arg("length", Uint, 1)}},
	{"mprotect", catMemory, []Param{res(), arg("addr", Hex, 0), arg("length", Uint, 1), bits("prot", 2, protFlags)}},
	{"mlock", catMemory, []Param{res(), arg("addr", Hex, 0), arg("len", Uint, 1)}},
	{"mlock2", catMemory, []Param{res(), arg("addr", Hex, 0), arg("len", Uint, 1), arg32("flags", Hex, 2)}},
	{"munlock", catMemory, []Param{res(), arg("addr", Hex, 0), arg("len", Uint, 1)}},
	{"mlockall", catMemory, []Param{res(), arg32("flags", Hex, 0)}},
	{"munlockall", catMemory, []Param{res()}},
	{"memfd_create", catMemory, []Param{ret("fd", FD), text("name", 0, 0), bits("flags", 1, memfdFlags)}},
	{"userfaultfd", catMemory, []Param{ret("res", FD), bits("flags", 0, closeFlags)}},
	{"page_fault", catOther, []Param{gone("addr", Hex), gone("ip", Hex), gone("error", Bits)}},

	// Between processes, waiting, time.
	{"pipe", catIPC, []Param{res(), word("fd1", 0, FD, nil), word("fd2", 1, FD, nil), gone("ino", Uint)}},
	{"pipe2", catIPC, []Param{res(), word("fd1", 0, FD, nil), word("fd2", 1, FD, nil), gone("ino", Uint), bits("flags", 1, openFlags)}},
	{"eventfd", catIPC, []Param{ret("res", FD), arg32("initval", Uint, 0), arg32("flags", Uint, 1)}},
	{"eventfd2", catIPC, []Param{ret("res", FD), arg32("initval", Uint, 0), bits("flags", 1, closeFlags)}},
	{"signalfd", catSignal, []Param{ret("res", FD), arg("fd", FD, 0), gone("mask", Uint), gone("flags", Uint)}},
	{"signalfd4", catSignal, []Param{ret("res", FD), arg("fd", FD, 0), gone("mask", Uint), bits("flags", 3, closeFlags)}},
	{"timerfd_create", catTime, []Param{ret("res", FD), arg32("clockid", Uint, 0), arg32("flags", Uint, 1)}},
	{"futex", catIPC, []Param{res(), arg("addr", Hex, 0), arg32("op", Uint, 1), arg32("val", Uint, 2)}},
	{"semop", catProcess, []Param{res(), arg32("semid", Int, 0), arg32("nsops", Uint, 2)}},
	{"semget", catProcess, []Param{res(), arg32("key", Hex, 0), arg32("nsems", Int, 1), arg32("semflg", Hex, 2)}},
	{"semctl", catProcess, []Param{res(), arg32("semid", Int, 0), arg32("semnum", Int, 1), arg32("cmd", Uint, 2), arg32("val", Int, 3)}},
	{"epoll_create", catWait, []Param{ret("res", FD), arg32("size", Int, 0)}},
	{"epoll_create1", catWait, []Param{ret("res", FD), bits("flags", 0, closeFlags)}},
	{"epoll_wait", catWait, []Param{res(), arg32("maxevents", Int, 2)}},
	{"poll", catWait, []Param{res(), gone("fds", String), arg32("timeout", Int, 2)}},
	{"ppoll", catWait, []Param{res(), gone("fds", String), gone("timeout", Uint), gone("sigmask", Bits)}},
	{"select", catWait, []Param{res()}},
	{"nanosleep", catSleep, []Param{res(), gone("interval", Uint)}},

	// The system.
	{"bpf", catSystem, []Param{ret("fd", FD), enum("cmd", 0, bpfCommands)}},
	{"init_module", catSystem, []Param{res(), gone("img", Bytes), arg("length", Uint, 1), text("uargs", 2, 0)}},
	{"finit_module", catSystem, []Param{res(), arg("fd", FD, 0), text("uargs", 1, 0), bits("flags", 2, moduleFlags)}},
	{"delete_module", catSystem, []Param{res(), text("name", 0, 0), bits("flags", 1, deleteModuleFlags)}},
	{"io_uring_setup", catOther, []Param{ret("res", FD), arg32("entries", Uint, 0), gone("sq_entries", Uint), gone("cq_entries", Uint), gone("flags", Hex), gone("sq_thread_cpu", Uint), gone("sq_thread_idle", Uint), gone("features", Hex)}},
	{"io_uring_enter", catOther, []Param{res(), arg("fd", FD, 0), arg32("to_submit", Uint, 1), arg32("min_complete", Uint, 2), arg32("flags", Hex, 3), gone("sig", Bits)}},
	{"io_uring_register", catOther, []Param{res(), arg("fd", FD, 0), arg32("opcode", Uint, 1), arg("arg", Hex, 2), arg32("nr_args", Uint, 3)}},
	{"perf_event_open", catSystem, []Param{ret("fd", FD), arg("pid", PID, 1), arg32("cpu", Int, 2)}},
	{"kexec_load", catSystem, []Param{res(), arg("entry", Hex, 0), arg("nr_segments", Uint, 1), arg("flags", Hex, 3)}},
	{"kexec_file_load", catSystem, []Param{res(), arg("kernel_fd", FD, 0), arg("initrd_fd", FD, 1), text("cmdline", 3, 0)}},
	{"reboot", catSystem, []Param{res(), arg32("magic", Hex, 0), arg32("cmd", Hex, 2)}},
	{"swapon", catSystem, []Param{res(), path("path", 0, 0), arg32("flags", Hex, 1)}},
	{"swapoff", catSystem, []Param{res(), path("path", 0, 0)}},
	{"sethostname", catSystem, []Param{res(), text("name", 0, 0)}},
	{"setdomainname", catSystem, []Param{res(), text("name", 0, 0)}},
	{"settimeofday", catTime, []Param{res()}},
	{"clock_settime", catTime, []Param{res(), arg32("clockid", Uint, 0)}},
	{"adjtimex", catTime, []Param{res()}},
	{"syslog", catSystem, []Param{res(), arg32("type", Int, 0)}},
	{"acct", catSystem, []Param{res(), path("path", 0, 0)}},
	{"add_key", catSystem, []Param{res(), text("type", 0, 0), text("description", 1, 1)}},
	{"request_key", catSystem, []Param{res(), text("type", 0, 0), text("description", 1, 1)}},
	{"keyctl", catSystem, []Param{res(), arg32("operation", Int, 0)}},
	{"iopl", catSystem, []Param{res(), arg32("level", Uint, 0)}},
	{"ioperm", catSystem, []Param{res(), arg("from", Hex, 0), arg("num", Uint, 1), arg32("turn_on", Int, 2)}},

	// What other engines report beside system calls.
	{"generic", catOther, []Param{gone("ID", Uint), gone("nativeID", Uint)}},
	{"switch", catSched, []Param{gone("next", PID), gone("pgft_maj", Uint), gone("pgft_min", Uint), gone("vm_size", Uint), gone("vm_rss", Uint), gone("vm_swap", Uint)}},
	{"signaldeliver", catSignal, []Param{gone("spid", PID), gone("dpid", PID), gone("sig", Signal)}},
	{"drop", catInternal, []Param{gone("ratio", Uint)}},
	{"scapevent", catInternal, []Param{gone("event_type", Uint), gone("event_data", Uint)}},
	{"procinfo", catInternal, []Param{gone("cpu_usr", Uint), gone("cpu_sys", Uint)}},
	{"cpu_hotplug", catInternal, []Param{gone("cpu", Uint), gone("action", Uint)}},
	{"container", catInternal, []Param{gone("json", String)}},
	{"k8s", catInternal, []Param{gone("json", String)}},
	{"mesos", catInternal, []Param{gone("json", String)}},
	{"tracer", catOther, []Param{gone("id", Int), gone("tags", Strings), gone("args", Strings)}},
	{"notification", catOther, []Param{gone("id", String), gone("desc", String)}},
	{"infra", catInternal, []Param{gone("source", String), gone("name", String), gone("description", String), gone("scope", String)}},
	{"pluginevent", catOther, []Param{gone("plugin_id", Uint), gone("event_data", Bytes)}},
	{"asyncevent", catOther, []Param{gone("plugin_id", Uint), gone("name", String), gone("data", Bytes)}},
	{"useradded", catInternal, []Param{gone("uid", UID), gone("gid", GID), gone("name", String), gone("home", String), gone("shell", String), gone("container_id", String)}},
	{"userdeleted", catInternal, []Param{gone("uid", UID), gone("gid", GID), gone("name", String), gone("home", String), gone("shell", String), gone("container_id", String)}},
	{"groupadded", catInternal, []Param{gone("gid", GID), gone("name", String), gone("container_id", String)}},
	{"groupdeleted", catInternal, []Param{gone("gid", GID), gone("name", String), gone("container_id", String)}},
}

// generic is every other system call of Linux.
const generic = `accept4 acct add_key adjtimex afs_syscall alarm bdflush bind break cachestat capget capset chdir
clock_adjtime clock_getres clock_gettime clock_nanosleep clock_settime close_range copy_file_range create_module
epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait_old exit exit_group faccessat faccessat2 fadvise64 fallocate
fanotify_mark fdatasync fgetxattr file_getattr flistxattr fspick fstatfs fstatfs64 fstatat64 fsync ftime
futex_requeue futex_wait futex_waitv futex_wake futimesat get_kernel_syms get_mempolicy get_robust_list
get_thread_area getcpu getdents getdents64 getgroups getitimer getpgid getpgrp getpid getpmsg getppid getpriority
getrandom getrusage getsid gettid gettimeofday getxattr getxattrat gtty idle inotify_rm_watch io_cancel io_destroy io_getevents
io_pgetevents io_setup io_submit ioprio_get ioprio_set ipc kcmp landlock_add_rule landlock_create_ruleset
landlock_restrict_self lgetxattr listmount listns listxattr listxattrat llistxattr lock lookup_dcookie lsm_get_self_attr
lsm_list_modules lsm_set_self_attr madvise map_shadow_stack mbind membarrier memfd_secret migrate_pages mincore
modify_ldt mount_setattr move_pages mpx mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap
mseal msgctl msgget msgrcv msgsnd msync name_to_handle_at nfsservctl nice oldfstat oldlstat oldolduname oldstat
oldumount olduname open_tree_attr pause pkey_alloc pkey_free pkey_mprotect preadv2 process_madvise process_mrelease
prof profil pselect6 putpmsg pwritev2 query_module quotactl_fd readahead readdir readlink readlinkat
recvmmsg_time64 remap_file_pages restart_syscall riscv_flush_icache riscv_hwprobe rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setattr sched_setparam sched_setscheduler sched_yield security semtimedop set_mempolicy
set_mempolicy_home_node set_robust_list set_thread_area set_tid_address setitimer setpriority sgetmask shmat
shmctl shmdt shmget sigaction sigaltstack signal sigpending sigprocmask sigreturn sigsuspend socketcall ssetmask
statfs statfs64 statmount statx stime stty subpage_prot sync sync_file_range syncfs sysfs sysinfo tee time timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_gettime timerfd_settime times tuxcall ugetrlimit
ulimit umask uname uprobe uretprobe uselib ustat utimensat_time64 vhangup vm86 vm86old vmsplice vserver wait4 waitid waitpid
_newselect _sysctl`
