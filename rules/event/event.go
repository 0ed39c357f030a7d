// Package event is the vocabulary of things that happen: what a source reports, and what a rule may ask about.
// It knows neither where events come from nor who listens, and imports nothing of ours.
package event

import "context"

// Kind says what happened.
type Kind uint16

// The kinds of events. Their numbers are part of the wire format and of recordings: never renumber, only append.
const (
	Fork         Kind = 1 // a process was made; Event.Task is the child
	Exec         Kind = 2 // a process replaced its image; Event.Task, Path and Args are the new one's
	Exit         Kind = 3 // the last thread of a process is gone; Event.Status says how
	CgroupMake   Kind = 4 // a control group was made in the tracked hierarchy; Event.Path is its path
	CgroupRemove Kind = 5 // a control group was removed
	Syscall      Kind = 6 // a system call returned; Event.Type says which
	Change       Kind = 7 // a watched file has changed; Event.Change says how
)

// Kinds lists every kind that the kernel tells of, in the order of their numbers: all but Change.
var Kinds = []Kind{Fork, Exec, Exit, CgroupMake, CgroupRemove, Syscall}

// String returns the name used in labels, logs and recordings.
func (k Kind) String() string {
	switch k {
	case Fork:
		return "fork"
	case Exec:
		return "exec"
	case Exit:
		return "exit"
	case CgroupMake:
		return "cgroup_make"
	case CgroupRemove:
		return "cgroup_remove"
	case Syscall:
		return "syscall"
	case Change:
		return "change"
	}
	return "unknown"
}

// Flags are facts about a task that are either so or not.
type Flags uint32

// Task flags. Their bits are part of the wire format.
const (
	ExeMemfd      Flags = 1 << 0 // the executable is an anonymous memory file
	ExeUpperLayer Flags = 1 << 1 // the executable lies on the upper (written) layer of an overlay file system
	ExeLowerLayer Flags = 1 << 2 // the executable lies on a lower (image) layer of an overlay file system
	ExeUnlinked   Flags = 1 << 3 // the executable has no name left in any directory
	PathTruncated Flags = 1 << 4 // Event.Path is the tail of a longer path
	ArgsTruncated Flags = 1 << 5 // Event.Args is the head of a longer list
	CommandFault  Flags = 1 << 6 // the arguments could not be read
	KernelThread  Flags = 1 << 7 // the task has no user memory
)

// Namespaces are the inode numbers of the name spaces of a task.
type Namespaces struct {
	Mount, PID, Net, User, UTS, IPC, Cgroup uint32
}

// A Task is what the kernel says of one process: identity, credentials, place. It holds no pointers, so it can be
// copied from the wire and compared. Ids are those of the initial pid namespace unless they say otherwise.
type Task struct {
	PID, PPID        uint32
	PGID, SID        uint32
	VPID, VPGID      uint32 // as its own pid namespace numbers it
	VSID, TTY        uint32 // TTY is the device number of the controlling terminal, 0 for none
	UID, EUID, SUID  uint32
	GID, EGID, SGID  uint32
	LoginUID         uint32 // 4294967295: nobody logged in
	AuditSession     uint32 // 4294967295: none
	Start            uint64 // nanoseconds since boot; with PID this identifies a process for ever
	CapPermitted     uint64
	CapEffective     uint64
	CapInheritable   uint64
	CgroupID         uint64 // of the tracked hierarchy
	ExeInode         uint64
	ExeChange        int64  // inode change time of the executable, Unix nanoseconds
	ExeModify        int64  // inode modification time of the executable, Unix nanoseconds
	PIDNamespaceInit uint64 // start of the first process of the pid namespace, nanoseconds since boot
	ExeDevice        uint32
	Flags            Flags
	Namespaces       Namespaces
	Comm             [16]byte // NUL-terminated
}

// Name returns the task's name as the kernel keeps it, at most 15 bytes.
func (t *Task) Name() string {
	for i, c := range t.Comm {
		if c == 0 {
			return string(t.Comm[:i])
		}
	}
	return string(t.Comm[:])
}

// ID identifies one process for ever, where its number alone is used again.
type ID struct {
	PID   uint32
	Start uint64 // nanoseconds since boot
}

// ID returns the process's identity.
func (t *Task) ID() ID { return ID{t.PID, t.Start} }

// A Process is one entry of the process table: what its last exec left, and its ancestors.
// A published Process does not change; an exec makes a new one.
type Process struct {
	Task
	Path      string   // resolved by the kernel from the task's root
	Args      []string // Args[0] is what the caller called it
	Env       []string // NAME=value, as the exec left it; nil unless a rule asks for it
	Cwd       string   // as it was when it was last read; empty if it never was
	Parent    *Process // who made it; outlives its own exit; nil at the top, or where the chain was cut
	ExecCount uint32   // how many images it ran before this one
}

// A Workload names what a series belongs to. The zero value is the host itself.
// Its fields are the workload labels of every metric.
type Workload struct {
	Namespace, Pod, Container string
	Unit                      string // a systemd service or scope of the host
}

// A Container is what its runtime says of it.
type Container struct {
	Workload
	ID        string // the runtime's full id
	CgroupID  uint64 // 0 while unknown
	Runtime   string // containerd, cri-o, docker
	Image     string // as it was asked for: registry/repository:tag
	ImageID   string // digest of the image's configuration or manifest
	PodUID    string
	Sandbox   string            // id of the pod sandbox, empty outside of Kubernetes
	IsSandbox bool              // it is itself a pod sandbox
	Labels    map[string]string // the runtime's own labels
	Created   int64             // Unix nanoseconds, 0 if unknown

	// What the runtime gave it. Known says whether the runtime told at all.
	Known       bool
	Privileged  bool
	HostPID     bool // it shares the host's pid namespace
	HostNetwork bool
	HostIPC     bool
	Mounts      []Mount
	IP          string            // its address, empty if the runtime does not tell
	PodLabels   map[string]string // of the pod it is in
	Healthcheck string            // command line of the check, empty for none; Liveness and Readiness likewise
	Liveness    string
	Readiness   string
}

// A Mount is a directory or file that a container was given.
type Mount struct {
	Source, Dest string
	Mode         string // options as the runtime writes them, such as rbind,rw
	Writable     bool
	Propagation  string // rprivate, rshared, rslave
}

// An Event is something that happened. Sources reuse it: whoever keeps one keeps its Clone.
type Event struct {
	Kind     Kind
	CPU      uint16
	PID, TID uint32 // who acted, in the initial pid namespace
	UID, GID uint32
	Time     int64  // Unix nanoseconds
	Boot     uint64 // nanoseconds since boot
	Start    uint64 // when PID started, nanoseconds since boot
	CgroupID uint64 // of the tracked hierarchy: of the actor, or the control group that was made or removed
	Num      uint64 // counts the events of this source from 1

	Task   Task   // Fork, Exec
	Status uint32 // Exit: the wait status, as wait(2) gives it
	Path   []byte // Exec: the executable; CgroupMake, CgroupRemove: path below the hierarchy's root
	Args   []byte // Exec: each ended by a NUL
	Parent uint64 // CgroupMake: id of the control group above

	Type   Type       // what rules call it: Fork is clone, Exec execve or execveat, Exit procexit, Change filechange; TypeNone for control groups
	Caller Caller     // Syscall, Change: who the caller was then
	Call   Call       // Syscall, Exec: the call
	FD     Descriptor // Syscall: the open file that it is about; its Type is 0 if it is about none
	Env    []byte     // Exec, if a rule asks: each ended by a NUL
	Cwd    []byte     // Exec: the working directory, resolved by the kernel

	Change *FileChange // Change: what has happened to which file. PID is 0 and Process nil if nobody is known to have done it

	Process   *Process   // set by the process table
	Container *Container // set by the container table, nil on the host or while unknown
	Unit      string     // set by it too: the systemd service or scope of the host that the actor is in; empty in a container or outside of one
}

// Workload says whose event it is.
func (ev *Event) Workload() Workload {
	if ev.Container != nil {
		return ev.Container.Workload
	}
	return Workload{Unit: ev.Unit}
}

// Clone returns a copy that shares no memory with what the source reuses. Process, Container and Change do not change.
func (ev *Event) Clone() *Event {
	c := *ev
	c.Path = append([]byte(nil), ev.Path...)
	c.Args = append([]byte(nil), ev.Args...)
	c.Env = append([]byte(nil), ev.Env...)
	c.Cwd = append([]byte(nil), ev.Cwd...)
	c.Call = ev.Call.clone()
	c.FD.Name = append([]byte(nil), ev.FD.Name...)
	return &c
}

// A Source reports events to sink until ctx is done or the source fails. It calls sink from one goroutine, in order,
// and reuses ev once sink returns: a sink that keeps an event keeps ev.Clone().
type Source interface {
	Run(ctx context.Context, sink func(ev *Event)) error
}

// A Group is a live control group that is a workload's own: a container's, or that of a systemd service or scope of the
// host.
type Group struct {
	Workload
	CgroupID  uint64
	Path      string     // in the tracked hierarchy
	Container *Container // nil on the host
}
