package rules

import (
	"github.com/yagura-io/yagura/rules/event"
)

// own returns a number that stands in no argument, but the event knows: of its descriptor, its end, its process.
func (r *Record) own(p *event.Param) (uint64, bool) {
	switch {
	case r.Kind == event.Exit:
		return r.ownExit(p.Name)
	case p.Name == "dev":
		return uint64(r.FD.Dev), r.FD.Type != event.NoDescriptor
	case p.Name == "ino":
		return r.FD.Inode, r.FD.Type != event.NoDescriptor
	case r.Process == nil || !isProcess(r.Type):
		return 0, false
	case p.Name == "flags":
		return r.ownFlags(), true
	}
	n, ok := ownNumber(p.Name, &r.Process.Task)
	return uint64(n), ok
}

var (
	typeExecve, _   = event.TypeNamed("execve")
	typeExecveat, _ = event.TypeNamed("execveat")
	makers          = types("clone clone3 fork vfork")
)

// isProcess says that calls of the type make or replace a process, and have what it is among their parameters.
func isProcess(t event.Type) bool { return t == typeExecve || t == typeExecveat || makers.has(t) }

func (r *Record) ownExit(name string) (uint64, bool) {
	switch name {
	case "status":
		return uint64(r.Status), true
	case "ret":
		return uint64(r.Status >> 8 & 0xff), true
	case "sig":
		return uint64(r.Status & 0x7f), true
	case "core":
		return uint64(r.Status >> 7 & 1), true
	}
	return 0, false
}

// ownFlags are those of the file that an execve runs, as the language numbers them; a fork has none.
func (r *Record) ownFlags() (n uint64) {
	if makers.has(r.Type) {
		return 0
	}
	const upper, memfd, lower = 2, 4, 8
	flags := r.Process.Flags
	if flags&event.ExeUpperLayer != 0 {
		n |= upper
	}
	if flags&event.ExeMemfd != 0 {
		n |= memfd
	}
	if flags&event.ExeLowerLayer != 0 {
		n |= lower
	}
	return n
}

func ownNumber(name string, t *event.Task) (int64, bool) {
	switch name {
	case "tid", "pid":
		return int64(t.PID), true
	case "ptid":
		return int64(t.PPID), true
	case "tty":
		return int64(t.TTY), true
	case "vpgid":
		return int64(t.VPGID), true
	case "pgid":
		return int64(t.PGID), true
	case "vpid", "vtid":
		return int64(t.VPID), true
	case "loginuid":
		return int64(t.LoginUID), true
	case "uid":
		return int64(t.EUID), true
	case "gid":
		return int64(t.EGID), true
	case "exe_ino":
		return int64(t.ExeInode), true
	case "exe_ino_ctime":
		return t.ExeChange, true
	case "exe_ino_mtime":
		return t.ExeModify, true
	case "pidns_init_start_ts":
		return int64(t.PIDNamespaceInit), true
	case "cap_inheritable":
		return int64(t.CapInheritable), true
	case "cap_permitted":
		return int64(t.CapPermitted), true
	case "cap_effective":
		return int64(t.CapEffective), true
	}
	return 0, false
}

// appendOwn appends a text that stands in no argument.
func (r *Record) appendOwn(to []byte, p *event.Param) ([]byte, bool) {
	if p.Name == "path" {
		return append(to, r.FD.Name...), r.FD.Type != event.NoDescriptor && len(r.FD.Name) > 0
	}
	proc := r.Process
	if proc == nil || !isProcess(r.Type) {
		return to, false
	}
	switch p.Name {
	case "exe":
		return append(to, exe(proc)...), true
	case "args":
		return append(to, r.of(proc).args...), true
	case "comm":
		return append(to, commText(&proc.Comm)...), true
	case "cwd":
		return append(to, proc.Cwd...), proc.Cwd != ""
	case "env":
		return appendJoined(to, proc.Env), len(proc.Env) > 0
	case "trusted_exepath":
		return append(to, proc.Path...), proc.Path != ""
	}
	return to, false
}

func appendJoined(to []byte, parts []string) []byte {
	for i, part := range parts {
		if i > 0 {
			to = append(to, ' ')
		}
		to = append(to, part...)
	}
	return to
}
