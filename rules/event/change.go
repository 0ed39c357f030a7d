package event

// Sources of events, as rules name them: what the kernel tells of, and changes of watched files.
const (
	SyscallSource = "syscall"
	ChangeSource  = "fim"
)

// A FileChange is what has happened to one watched file, who made it so and whether that was expected, in plain texts and
// numbers. A published one does not change, so that copies of its event share it.
type FileChange struct {
	ID         string   // finds it among the recorded ones; empty if it is not recorded
	Path       string   // absolute; any bytes but NUL. Of a file of a container it is the path within
	From       string   // what a renamed file was called before; else empty
	Container  string   // id of the container whose file it is, empty for the host's
	Kinds      []string // one or several of ChangeKinds
	Watches    []string // names of the watch sets that it counts for
	Severity   Priority // the most severe of theirs
	Actor      string   // one of ChangeActors; the process is the event's
	Expected   bool     // somebody accounts for it: a package, a maintenance window, an actor of the configuration
	Why        string   // in words: by what it was expected, or why it was not
	Confidence string   // how the actor was found, one of ChangeConfidences
	Before     *FileState
	After      *FileState
	Diff       string // lines that are gone and that are new; empty where texts are not kept. Whoever shows it redacts it
}

// A FileState is what was so of a file, without following it if it is a symbolic link. FileChange.Before is nil of what was
// made, After of what is gone; both are of what was mounted over.
type FileState struct {
	Type         string // one of FileTypes
	Mode         uint32 // permissions, setuid, setgid and sticky bits, as chmod takes them
	UID, GID     uint32
	Size         int64    // bytes
	SHA256       string   // 64 hexadecimal digits in lower case, of a regular file's content; empty if it is not known
	Target       string   // where a symbolic link leads
	Immutable    bool     // FS_IMMUTABLE_FL
	AppendOnly   bool     // FS_APPEND_FL
	Capabilities uint64   // that whoever runs it is given: bits of security.capability, permitted and inheritable ones
	Xattrs       []string // names of extended attributes
}

// What a FileChange may say, in the words of configuration, series and logs.
var (
	ChangeKinds = []string{"created", "deleted", "renamed", "content", "mode", "owner", "xattrs", "acl", "links", "flags", "mounted", "unmounted"}

	ChangeActors      = []string{"package", "maintenance", "runtime", "user", "unknown"}
	ChangeConfidences = []string{"none", "time", "pid", "directory", "inode", "path"}
	FileTypes         = []string{"file", "directory", "symlink", "device", "fifo", "socket"}
)

// typeChange is added behind the system calls, whose numbers it so leaves as they are.
var typeChange = typesByName["filechange"]

// Event returns an event that tells of the change and of nobody who has made it. It has no time yet.
func (c *FileChange) Event() *Event {
	return &Event{Kind: Change, Type: typeChange, Change: c, Caller: Caller{LoginUID: nobody}}
}

// Source is where events of the type come from, as rules name it.
func (t Type) Source() string {
	if t == typeChange {
		return ChangeSource
	}
	return SyscallSource
}

// HasCaller says whether Event.Caller is of the moment of the event; else only the process is known, as its last exec left it.
func (ev *Event) HasCaller() bool { return ev.Kind == Syscall || ev.Kind == Change }

// HasActor says whether it is known who acted. Only of changes of files it may not be.
func (ev *Event) HasActor() bool { return ev.Kind != Change || ev.PID != 0 || ev.Process != nil }
