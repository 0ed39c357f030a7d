package rules

import (
	"bytes"

	"github.com/yagura-io/yagura/rules/event"
)

// callTruth is of system calls only.
func callTruth(name, doc string, read func(*Record) bool) field {
	return truth(name, doc, func(r *Record) (bool, bool) { return r.Kind == event.Syscall && read(r), r.isCall() })
}

// sharesWithHost compares a name space of the process with that of process 1, where it is among the ancestors.
func sharesWithHost(name, what string, read func(*event.Namespaces) uint32) field {
	return truth(name, "Whether the process was in the host's "+what+" name space when it was last told of. Absent where process 1 is not known.", func(r *Record) (bool, bool) {
		if r.Process == nil {
			return false, false
		}
		first := r.Process
		for first.PID != 1 {
			if first = first.Parent; first == nil {
				return false, false
			}
		}
		own, hosts := read(&r.Process.Namespaces), read(&first.Namespaces)
		return own == hosts, own != 0 && hosts != 0
	})
}

// ownFields are those that no other engine has.
var ownFields = []field{
	text("yagura.path.resolved", "The kernel's path of what the call reached by its first path, through symbolic links and mounts, or of the file of its descriptor: of a rename or link the source, of an exec the executable. Where the kernel does not tell, the path as it was passed, made absolute and cleaned.", func(r *Record) (string, bool) { return r.resolved(0) }),
	text("yagura.path.target", "The same of the second path: where a rename, link, symlink or mount leads to.", func(r *Record) (string, bool) { return r.resolved(1) }),
	text("yagura.path.directory", "Directory of yagura.path.resolved.", func(r *Record) (string, bool) {
		path, ok := r.resolved(0)
		return directoryOf(path), ok
	}),
	text("yagura.path.basename", "Last component of yagura.path.resolved.", func(r *Record) (string, bool) {
		path, ok := r.resolved(0)
		return baseOf(path), ok
	}),
	callTruth("yagura.arg.unstable", "Whether an argument of the call was changed by somebody while it ran.", func(r *Record) bool { return r.Call.Unstable }),
	callTruth("yagura.call.ring", "Whether this was no call of its own, but an operation of io_uring.", func(r *Record) bool { return r.Call.Ring }),
	text("yagura.fd.layer", "Layer of an overlay that the file lies on: upper, which is written, or lower, which is the image's.", func(r *Record) (string, bool) {
		fd := r.descriptor()
		switch {
		case fd == nil:
			return "", false
		case fd.Layer&event.ExeUpperLayer != 0:
			return "upper", true
		}
		return "lower", fd.Layer&event.ExeLowerLayer != 0
	}),
	descriptorTruth("yagura.fd.created", "Whether the event made the file.", func(_ *Record, fd *event.Descriptor) bool { return fd.Created }),
	taskFlag("yagura.proc.exe_deleted", "Whether the executable had no name left in any directory when it was run.", event.ExeUnlinked),
	text("yagura.proc.comm", "Name of the acting thread, which it may have given itself.", func(r *Record) (string, bool) {
		if r.HasCaller() && r.Caller.Comm[0] != 0 {
			return commText(&r.Caller.Comm), true
		}
		if t := r.task(); t != nil && t.Comm[0] != 0 {
			return commText(&t.Comm), true
		}
		return "", false
	}),
	sharesWithHost("yagura.proc.host_mount_ns", "mount", func(n *event.Namespaces) uint32 { return n.Mount }),
	sharesWithHost("yagura.proc.host_pid_ns", "pid", func(n *event.Namespaces) uint32 { return n.PID }),
	sharesWithHost("yagura.proc.host_net_ns", "network", func(n *event.Namespaces) uint32 { return n.Net }),
	sharesWithHost("yagura.proc.host_user_ns", "user", func(n *event.Namespaces) uint32 { return n.User }),
	text("yagura.unit", "The systemd service or scope of the host that the process is in, user@UID.service for all that a user runs. Absent in a container.", func(r *Record) (string, bool) {
		return r.Unit, r.Unit != ""
	}),
	truth("yagura.container.known", "Whether the container's runtime has told what the container is. Absent on the host.", func(r *Record) (bool, bool) {
		return r.Container != nil && r.Container.Known, r.Container != nil
	}),
}

// commText is a name without the NULs behind it.
func commText(comm *[16]byte) string {
	if n := bytes.IndexByte(comm[:], 0); n >= 0 {
		return view(comm[:n])
	}
	return view(comm[:])
}
