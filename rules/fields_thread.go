package rules

import (
	"strconv"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

func capabilities(name, doc string, call func(*event.Caller) uint64, task func(*event.Task) uint64) field {
	return text(name, doc, func(r *Record) (string, bool) {
		var set uint64
		if r.Kind == event.Syscall {
			set = call(&r.Caller)
		} else if t := r.task(); t != nil {
			set = task(t)
		} else {
			return "", false
		}
		b := r.room()
		*b = event.AppendCapabilities(*b, set)
		return view(*b), true
	})
}

// ofMain is what is told of a process as if it were its first thread's: of the others it is 0.
func ofMain(read func(*Record) (uint64, bool), times uint64) func(*Record) (uint64, bool) {
	return func(r *Record) (uint64, bool) {
		if r.TID != r.PID {
			return 0, true
		}
		n, ok := read(r)
		return n * times, ok
	}
}

func streamField(name, doc string, n int, kind bool) field {
	return text(name, doc, func(r *Record) (string, bool) {
		t, path, ok := r.stream(n)
		if kind {
			return typeNames[t], ok && typeNames[t] != ""
		}
		return path, ok && path != ""
	})
}

// threadFields are of the acting thread, and what the kernel says of its process at the moment.
var threadFields = []field{
	capabilities("thread.cap_permitted", "Capabilities that the thread may take.", func(c *event.Caller) uint64 { return c.CapPermitted }, func(t *event.Task) uint64 { return t.CapPermitted }),
	capabilities("thread.cap_inheritable", "Capabilities that the thread hands on.", func(c *event.Caller) uint64 { return c.CapInheritable }, func(t *event.Task) uint64 { return t.CapInheritable }),
	capabilities("thread.cap_effective", "Capabilities that the thread has.", func(c *event.Caller) uint64 { return c.CapEffective }, func(t *event.Task) uint64 { return t.CapEffective }),
	unsignedNumber("proc.fdopencount", "Open descriptors of the process.", expr.Uint64, (*Record).descriptors),
	signedNumber("proc.fdlimit", "Most descriptors that the process may open.", expr.Int64, (*Record).descriptorLimit),
	{Name: "proc.fdusage", Doc: "Open descriptors as a share of the limit, percent.", Kind: expr.Double, Float: func(r *Record, _ arg) (float64, bool) {
		limit, ok := r.descriptorLimit()
		open, ok2 := r.descriptors()
		if !ok || !ok2 || limit <= 0 {
			return 0, false
		}
		return float64(open) * 100 / float64(limit), true
	}},
	unsignedNumber("proc.vmsize", "Virtual memory of the process, KiB.", expr.Uint64, status("VmSize")),
	unsignedNumber("proc.vmrss", "Resident memory of the process, KiB.", expr.Uint64, status("VmRSS")),
	unsignedNumber("proc.vmswap", "Swapped memory of the process, KiB.", expr.Uint64, status("VmSwap")),
	unsignedNumber("thread.pfmajor", "Major page faults of the thread.", expr.Uint64, threadStat(statMajorFaults)),
	unsignedNumber("thread.pfminor", "Minor page faults of the thread.", expr.Uint64, threadStat(statMinorFaults)),
	signedNumber("thread.tid", "Thread id.", expr.Int64, func(r *Record) (int64, bool) { return int64(r.TID), true }),
	truth("thread.ismain", "Whether the thread is the process's first.", func(r *Record) (bool, bool) { return r.TID == r.PID, true }),
	signedNumber("thread.vtid", "Thread id as its own name space numbers it.", expr.Int64, func(r *Record) (int64, bool) {
		if r.Kind == event.Syscall {
			return int64(r.Caller.VTID), true
		}
		t := r.task()
		if t == nil {
			return 0, false
		}
		return int64(t.VPID), true
	}),
	printed(text("thread.nametid", "Name and thread id, written one behind the other.", func(r *Record) (string, bool) {
		if r.Process == nil {
			return "", false
		}
		return commText(&r.Process.Comm) + strconv.Itoa(int(r.TID)), true
	})),
	absent("thread.exectime", "CPU time since the thread was last scheduled.", expr.RelativeTime, 0),
	absent("thread.totexectime", "CPU time of the thread.", expr.RelativeTime, 0),
	text("thread.cgroups", "Control groups of the process.", (*Record).cgroups),
	{Name: "thread.cgroup", Doc: "Control group of the process in one hierarchy, such as cpu.", Kind: expr.String, Arity: expr.RequiredArg, Text: (*Record).cgroup},
	unsignedNumber("proc.nthreads", "Threads of the process.", expr.Uint64, status("Threads")),
	unsignedNumber("proc.nchilds", "Threads of the process without the first.", expr.Uint64, func(r *Record) (uint64, bool) {
		n, ok := status("Threads")(r)
		return max(n, 1) - 1, ok
	}),
	absent("thread.cpu", "CPU of the thread, percent.", expr.Double, 0),
	absent("thread.cpu.user", "User CPU of the thread, percent.", expr.Double, 0),
	absent("thread.cpu.system", "System CPU of the thread, percent.", expr.Double, 0),
	unsignedNumber("thread.vmsize", "Virtual memory of the process, KiB; 0 for all but its first thread.", expr.Uint64, ofMain(status("VmSize"), 1)),
	unsignedNumber("thread.vmrss", "Resident memory of the process, KiB; 0 for all but its first thread.", expr.Uint64, ofMain(status("VmRSS"), 1)),
	printed(unsignedNumber("thread.vmsize.b", "thread.vmsize in bytes.", expr.Uint64, ofMain(status("VmSize"), 1024))),
	printed(unsignedNumber("thread.vmrss.b", "thread.vmrss in bytes.", expr.Uint64, ofMain(status("VmRSS"), 1024))),
	streamField("proc.stdin.type", "What the standard input is: file, pipe, ipv4, ipv6, unix.", 0, true),
	streamField("proc.stdout.type", "What the standard output is.", 1, true),
	streamField("proc.stderr.type", "What the standard error is.", 2, true),
	streamField("proc.stdin.name", "Name of the standard input.", 0, false),
	streamField("proc.stdout.name", "Name of the standard output.", 1, false),
	streamField("proc.stderr.name", "Name of the standard error.", 2, false),
}
