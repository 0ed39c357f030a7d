package rules

import (
	"cmp"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// ofProcess reads a text of one of the processes above the acting one, or of itself at 0.
func ofProcess(n int, read func(*Record, *event.Process) string) func(*Record) (string, bool) {
	return func(r *Record) (string, bool) {
		p := r.ancestor(n)
		if p == nil {
			return "", false
		}
		s := read(r, p)
		return s, s != ""
	}
}

// ancestors is a field of each ancestor: with a number that one's, without one any of them from the parent on.
func ancestors(name, doc string, read func(*Record, *event.Process) string) field {
	return field{Name: name, Doc: doc + " With a number of that ancestor: 0 is the process itself, 1 its parent. Without one a condition is true if it is of any ancestor.",
		Kind: expr.String, Arity: expr.OptionalArg, Flags: expr.AnyOf | expr.NumberArg | expr.NoRHS | expr.NoTransformer,
		Text: func(r *Record, a arg) (string, bool) {
			p := r.ancestor(a.Number)
			if p == nil {
				return "", false
			}
			s := read(r, p)
			return s, s != ""
		},
		Texts: func(r *Record, _ arg, yield func(string) bool) bool {
			for p := r.ancestor(1); p != nil; p = p.Parent {
				if !yield(read(r, p)) {
					return false
				}
			}
			return true
		}}
}

func procName(_ *Record, p *event.Process) string    { return commText(&p.Comm) }
func procExe(_ *Record, p *event.Process) string     { return exe(p) }
func procPath(_ *Record, p *event.Process) string    { return p.Path }
func procArgs(r *Record, p *event.Process) string    { return r.of(p).args }
func procLine(r *Record, p *event.Process) string    { return r.of(p).cmdline }
func procExeLine(r *Record, p *event.Process) string { return r.exeline(p) }
func procCwd(r *Record, p *event.Process) string     { return r.of(p).cwd }

// task returns the acting process's task.
func (r *Record) task() *event.Task {
	if r.Process == nil {
		return nil
	}
	return &r.Process.Task
}

func taskNumber(name, doc string, kind expr.Kind, read func(*event.Task) int64) field {
	return signedNumber(name, doc, kind, func(r *Record) (int64, bool) {
		if t := r.task(); t != nil {
			return read(t), true
		}
		return 0, false
	})
}

func taskFlag(name, doc string, flag event.Flags) field {
	return truth(name, doc, func(r *Record) (bool, bool) {
		t := r.task()
		return t != nil && t.Flags&flag != 0, t != nil
	})
}

// leader finds who leads the session or group that the process is in: the process whose own number it has, or where that
// one is gone the eldest ancestor in it.
func (r *Record) leader(of group) *event.Process {
	if r.Process == nil {
		return nil
	}
	id := of.id(&r.Process.Task)
	eldest := r.Process
	for p, inside := r.Process, true; p != nil; p = p.Parent {
		if of.virtual && p.Namespaces.PID != r.Process.Namespaces.PID {
			break // there the numbers mean others
		}
		if of.own(&p.Task) == id && of.id(&p.Task) == id {
			return p
		}
		if inside = inside && of.id(&p.Task) == id; inside {
			eldest = p
		}
	}
	return eldest
}

// A group is what processes belong to: its number, and the number that its leader has among processes.
type group struct {
	id, own func(*event.Task) uint32
	virtual bool // the numbers are those of the process's own name space
}

func pid(t *event.Task) uint32 { return t.PID }

var (
	session      = group{id: func(t *event.Task) uint32 { return t.SID }, own: pid}
	processGroup = group{id: func(t *event.Task) uint32 { return t.PGID }, own: pid}
	insideGroup  = group{id: func(t *event.Task) uint32 { return t.VPGID }, own: func(t *event.Task) uint32 { return t.VPID }, virtual: true}
)

func ofLeader(name, doc string, of group, read func(*Record, *event.Process) string) field {
	return text(name, doc+" Where that one is gone, of the eldest ancestor in it.", func(r *Record) (string, bool) {
		p := r.leader(of)
		if p == nil {
			return "", false
		}
		s := read(r, p)
		return s, s != ""
	})
}

// since is the time from a process's start to the event.
func since(n int) func(*Record) (uint64, bool) {
	return func(r *Record) (uint64, bool) {
		p := r.ancestor(n)
		if p == nil || r.Boot < p.Start {
			return 0, false
		}
		return r.Boot - p.Start, true
	}
}

// startedAt is when a process was started, nanoseconds since 1970.
func startedAt(n int) func(*Record) (uint64, bool) {
	return func(r *Record) (uint64, bool) {
		p := r.ancestor(n)
		if p == nil {
			return 0, false
		}
		return uint64(r.Time) - r.Boot + p.Start, true
	}
}

func variable(env []string, name string) (string, bool) {
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, name); ok && strings.HasPrefix(rest, "=") {
			return rest[1:], true
		}
	}
	return "", false
}

// maxLineage is how many ancestors are searched for a variable.
const maxLineage = 20

// ancestorEnv is the environment of the ancestor with a number, or the first variable of a name among them.
func (r *Record) ancestorEnv(a arg) (string, bool) {
	if n, ok := ordinal(a.Text); ok {
		p := r.ancestor(n)
		if p == nil || p.Env == nil {
			return "", false
		}
		return r.env(p), true
	}
	for p, n := r.ancestor(1), 0; p != nil && n < maxLineage; p, n = p.Parent, n+1 {
		if value, ok := variable(p.Env, a.Text); ok {
			return value, true
		}
	}
	return "", false
}

// processFields are of the acting process, and of those above it.
var processFields = []field{
	text("proc.exe", "First argument: what the caller called the program.", ofProcess(0, procExe)),
	text("proc.pexe", "proc.exe of the parent.", ofProcess(1, procExe)),
	ancestors("proc.aexe", "proc.exe of an ancestor.", procExe),
	text("proc.exepath", "Path of the executable, as the kernel resolved it.", ofProcess(0, procPath)),
	text("proc.pexepath", "proc.exepath of the parent.", ofProcess(1, procPath)),
	ancestors("proc.aexepath", "proc.exepath of an ancestor.", procPath),
	text("proc.name", "Name of the process, at most 15 bytes.", ofProcess(0, procName)),
	text("proc.pname", "proc.name of the parent.", ofProcess(1, procName)),
	ancestors("proc.aname", "proc.name of an ancestor.", procName),
	{Name: "proc.args", Doc: "Arguments behind the first, joined by blanks; with a number one of them, counted from 0.", Kind: expr.String, Arity: expr.OptionalArg, Flags: expr.NumberArg, Text: func(r *Record, a arg) (string, bool) {
		p := r.ancestor(0)
		if p == nil {
			return "", false
		}
		if !a.Given {
			return r.of(p).args, true
		}
		if a.Number+1 >= len(p.Args) {
			return "", false
		}
		return p.Args[a.Number+1], true
	}},
	ancestors("proc.aargs", "proc.args of an ancestor.", procArgs),
	text("proc.cmdline", "Name and arguments.", ofProcess(0, procLine)),
	text("proc.pcmdline", "proc.cmdline of the parent.", ofProcess(1, procLine)),
	ancestors("proc.acmdline", "proc.cmdline of an ancestor.", procLine),
	unsignedNumber("proc.cmdnargs", "Number of arguments behind the first.", expr.Uint64, func(r *Record) (uint64, bool) {
		p := r.ancestor(0)
		if p == nil {
			return 0, false
		}
		return uint64(max(len(p.Args)-1, 0)), true
	}),
	unsignedNumber("proc.cmdlenargs", "Bytes of the arguments behind the first, without what stands between them.", expr.Uint64, func(r *Record) (n uint64, ok bool) {
		p := r.ancestor(0)
		if p == nil {
			return 0, false
		}
		for i := 1; i < len(p.Args); i++ {
			n += uint64(len(p.Args[i]))
		}
		return n, true
	}),
	text("proc.exeline", "First argument and the others.", ofProcess(0, procExeLine)),
	{Name: "proc.env", Doc: "Environment at the last exec, joined by blanks; with a name that variable. Recorded only while a rule asks for it.", Kind: expr.String, Arity: expr.OptionalArg, Text: func(r *Record, a arg) (string, bool) {
		p := r.ancestor(0)
		if p == nil || p.Env == nil {
			return "", false
		}
		if a.Given {
			return variable(p.Env, a.Text)
		}
		return r.env(p), true
	}},
	{Name: "proc.aenv", Doc: "Environment of any ancestor; with a number of that one, with a name that variable of the nearest ancestor that has it.", Kind: expr.String, Arity: expr.OptionalArg, Flags: expr.AnyOf | expr.NoRHS | expr.NoTransformer,
		Text: (*Record).ancestorEnv,
		Texts: func(r *Record, _ arg, yield func(string) bool) bool {
			for p := r.ancestor(1); p != nil; p = p.Parent {
				if p.Env != nil && !yield(r.env(p)) {
					return false
				}
			}
			return true
		}},
	text("proc.cwd", "Working directory with a slash at its end, as it was at the last exec or when it was last told.", ofProcess(0, procCwd)),
	signedNumber("proc.loginshellid", "Process id of the oldest shell among the ancestors.", expr.Int64, func(r *Record) (id int64, ok bool) {
		for p := r.Process; p != nil; p = p.Parent {
			if strings.HasSuffix(commText(&p.Comm), "sh") {
				id, ok = int64(p.PID), true
			}
		}
		return id, ok
	}),
	unsignedNumber("proc.tty", "Device number of the controlling terminal, 0 for none.", expr.Uint32, func(r *Record) (uint64, bool) {
		if r.Kind == event.Syscall {
			return uint64(r.Caller.TTY), true
		}
		t := r.task()
		if t == nil {
			return 0, false
		}
		return uint64(t.TTY), true
	}),
	signedNumber("proc.pid", "Process id.", expr.Int64, func(r *Record) (int64, bool) { return int64(r.PID), true }),
	taskNumber("proc.ppid", "Process id of the parent.", expr.Int64, func(t *event.Task) int64 { return int64(t.PPID) }),
	{Name: "proc.apid", Doc: "Process id of an ancestor. With a number of that one: 0 is the process itself. Without one a condition is true if it is of any ancestor.", Kind: expr.Int64, Arity: expr.OptionalArg, Flags: expr.AnyOf | expr.NumberArg | expr.NoRHS | expr.NoTransformer,
		Int: func(r *Record, a arg) (int64, bool) {
			p := r.ancestor(a.Number)
			if p == nil {
				return 0, false
			}
			return int64(p.PID), true
		},
		Ints: func(r *Record, _ arg, yield func(int64) bool) bool {
			for p := r.ancestor(1); p != nil; p = p.Parent {
				if !yield(int64(p.PID)) {
					return false
				}
			}
			return true
		}},
	taskNumber("proc.vpid", "Process id as its own name space numbers it.", expr.Int64, func(t *event.Task) int64 { return int64(t.VPID) }),
	signedNumber("proc.pvpid", "proc.vpid of the parent.", expr.Int64, func(r *Record) (int64, bool) {
		p := r.ancestor(1)
		if p == nil {
			return 0, false
		}
		return int64(p.VPID), true
	}),
	taskNumber("proc.sid", "Session id as the process's own name space numbers it.", expr.Int64, func(t *event.Task) int64 { return int64(cmp.Or(t.VSID, t.SID)) }),
	ofLeader("proc.sname", "Name of the session's leader.", session, procName),
	ofLeader("proc.sid.exe", "proc.exe of the session's leader.", session, procExe),
	ofLeader("proc.sid.exepath", "proc.exepath of the session's leader.", session, procPath),
	taskNumber("proc.vpgid", "Process group id as its own name space numbers it.", expr.Int64, func(t *event.Task) int64 { return int64(t.VPGID) }),
	ofLeader("proc.vpgid.name", "Name of the process group's leader.", insideGroup, procName),
	ofLeader("proc.vpgid.exe", "proc.exe of the process group's leader.", insideGroup, procExe),
	ofLeader("proc.vpgid.exepath", "proc.exepath of the process group's leader.", insideGroup, procPath),
	taskNumber("proc.pgid", "Process group id.", expr.Int64, func(t *event.Task) int64 { return int64(t.PGID) }),
	ofLeader("proc.pgid.name", "Name of the process group's leader.", processGroup, procName),
	ofLeader("proc.pgid.exe", "proc.exe of the process group's leader.", processGroup, procExe),
	ofLeader("proc.pgid.exepath", "proc.exepath of the process group's leader.", processGroup, procPath),
	unsignedNumber("proc.duration", "Nanoseconds from the start of the process to the event.", expr.RelativeTime, since(0)),
	unsignedNumber("proc.ppid.duration", "Nanoseconds from the start of the parent to the event.", expr.RelativeTime, since(1)),
	unsignedNumber("proc.pid.ts", "Start of the process, nanoseconds since 1970.", expr.RelativeTime, startedAt(0)),
	unsignedNumber("proc.ppid.ts", "Start of the parent, nanoseconds since 1970.", expr.RelativeTime, startedAt(1)),
	truth("proc.is_exe_writable", "Whether the user of the process may write to its executable, as it is when that is asked.", (*Record).mayWriteExe),
	taskFlag("proc.is_exe_upper_layer", "Whether the executable lies on the written layer of an overlay: it was not in the image.", event.ExeUpperLayer),
	taskFlag("proc.is_exe_lower_layer", "Whether the executable lies on a layer of the image.", event.ExeLowerLayer),
	taskFlag("proc.is_exe_from_memfd", "Whether the executable is an anonymous memory file.", event.ExeMemfd),
	truth("proc.is_sid_leader", "Whether the process leads its session.", func(r *Record) (bool, bool) { t := r.task(); return t != nil && t.SID == t.PID, t != nil }),
	truth("proc.is_vpgid_leader", "Whether the process leads its group, as its own name space numbers them.", func(r *Record) (bool, bool) { t := r.task(); return t != nil && t.VPGID == t.VPID, t != nil }),
	truth("proc.is_pgid_leader", "Whether the process leads its group.", func(r *Record) (bool, bool) { t := r.task(); return t != nil && t.PGID == t.PID, t != nil }),
	taskNumber("proc.exe_ino", "Inode of the executable.", expr.Int64, func(t *event.Task) int64 { return int64(t.ExeInode) }),
	taskTime("proc.exe_ino.ctime", "Last change of the executable's inode, nanoseconds since 1970.", func(t *event.Task) int64 { return t.ExeChange }),
	taskTime("proc.exe_ino.mtime", "Last change of the executable's contents, nanoseconds since 1970.", func(t *event.Task) int64 { return t.ExeModify }),
	unsignedNumber("proc.exe_ino.ctime_duration_proc_start", "Nanoseconds from the change of the executable to the start of the process.", expr.AbsoluteTime, func(r *Record) (uint64, bool) {
		start, ok := startedAt(0)(r)
		t := r.task()
		if !ok || t.ExeChange == 0 {
			return 0, false
		}
		return uint64(max(int64(start)-t.ExeChange, 0)), true
	}),
	unsignedNumber("proc.exe_ino.ctime_duration_pidns_start", "Nanoseconds from the start of the pid name space to the change of the executable.", expr.AbsoluteTime, func(r *Record) (uint64, bool) {
		t := r.task()
		if t == nil || t.ExeChange == 0 {
			return 0, false
		}
		return uint64(max(t.ExeChange-(r.Time-int64(r.Boot)+int64(t.PIDNamespaceInit)), 0)), true
	}),
	unsignedNumber("proc.pidns_init_start_ts", "Start of the first process of the pid name space, nanoseconds since 1970.", expr.Uint64, func(r *Record) (uint64, bool) {
		t := r.task()
		if t == nil {
			return 0, false
		}
		return uint64(r.Time) - r.Boot + t.PIDNamespaceInit, true
	}),
}

func taskTime(name, doc string, read func(*event.Task) int64) field {
	return unsignedNumber(name, doc, expr.AbsoluteTime, func(r *Record) (uint64, bool) {
		t := r.task()
		if t == nil || read(t) == 0 {
			return 0, false
		}
		return uint64(read(t)), true
	})
}
