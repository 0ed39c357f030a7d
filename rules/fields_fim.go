package rules

import (
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// changeValues are all values of fields that have few.
var changeValues = map[string][]string{
	"fim.kinds": event.ChangeKinds, "fim.actor": event.ChangeActors, "fim.confidence": event.ChangeConfidences,
	"fim.severity": severities(), "fim.type": event.FileTypes, "fim.before.type": event.FileTypes,
}

// severities are the priorities in the words of the configuration of watch sets, by their numbers.
func severities() (names []string) {
	for p := event.Emergency; p <= event.Debug; p++ {
		names = append(names, strings.ToLower(p.String()))
	}
	return names
}

func changeText(name, doc string, read func(*event.FileChange) string) field {
	return text(name, doc, func(r *Record) (string, bool) {
		if r.Change == nil {
			return "", false
		}
		s := read(r.Change)
		return s, s != ""
	})
}

func changeList(name, doc string, read func(*event.FileChange) []string) field {
	return field{Name: name, Doc: doc, Kind: expr.String, Flags: expr.ListValued, Texts: func(r *Record, _ arg, yield func(string) bool) bool {
		if r.Change == nil {
			return true
		}
		for _, s := range read(r.Change) {
			if !yield(s) {
				return false
			}
		}
		return true
	}}
}

// changeFields are of what has happened to a watched file.
var changeFields = slices.Concat([]field{
	changeText("fim.path", "Path of the file, absolute. Of a file of a container it is the path within it. Of a renamed one the new path.", func(c *event.FileChange) string { return c.Path }),
	changeText("fim.directory", "Directory of fim.path.", func(c *event.FileChange) string { return directoryOf(c.Path) }),
	changeText("fim.filename", "Last component of fim.path.", func(c *event.FileChange) string { return baseOf(c.Path) }),
	changeText("fim.oldpath", "Path of a renamed file before.", func(c *event.FileChange) string { return c.From }),
	changeText("fim.container", "First 12 characters of the id of the container whose file it is. On the host: host. container.id is that of who has changed it.", func(c *event.FileChange) string {
		if c.Container == "" {
			return host
		}
		return short(c.Container)
	}),
	changeList("fim.kinds", "What has happened, one or several of "+strings.Join(event.ChangeKinds, ", ")+".", func(c *event.FileChange) []string { return c.Kinds }),
	changeList("fim.watches", "Names of the watch sets that the change counts for.", func(c *event.FileChange) []string { return c.Watches }),
	changeText("fim.severity", "Severity of the watch set, the most severe of several: emergency, alert, critical, error, warning, notice, informational or debug.", func(c *event.FileChange) string {
		return changeValues["fim.severity"][min(c.Severity, event.Debug)]
	}),
	changeText("fim.actor", "Who it was: package, a package manager that put in place what a package brings; maintenance, in a maintenance window or by an actor of the configuration; runtime, a container runtime; user, another process; unknown.",
		func(c *event.FileChange) string { return c.Actor }),
	truth("fim.expected", "Whether a package, a maintenance window or an actor of the configuration accounts for the change.", func(r *Record) (bool, bool) {
		return r.Change != nil && r.Change.Expected, r.Change != nil
	}),
	changeText("fim.why", "In words by what it was expected, or why it was not.", func(c *event.FileChange) string { return c.Why }),
	changeText("fim.confidence", "How the process was found, from the surest: path, inode, directory, pid, time; none if it was not.", func(c *event.FileChange) string { return c.Confidence }),
	changeText("fim.diff", "Lines that are gone, behind a minus, and new ones, behind a plus, of texts of sets that keep them. Cut if it is long.", func(c *event.FileChange) string { return c.Diff }),
	changeText("fim.id", "Id of the change at /api/yagura/fim.", func(c *event.FileChange) string { return c.ID }),
},
	stateFields("fim.", "As it is now: absent if the file is gone.", func(c *event.FileChange) *event.FileState { return c.After }),
	stateFields("fim.before.", "As it was before: absent if the file is new.", func(c *event.FileChange) *event.FileState { return c.Before }),
)

// Modes of files.
const (
	setuid = 0o4000
	setgid = 0o2000
)

// stateFields are of the file before the change, or after it.
func stateFields(prefix, when string, of func(*event.FileChange) *event.FileState) []field {
	state := func(r *Record) *event.FileState {
		if r.Change == nil {
			return nil
		}
		return of(r.Change)
	}
	name := func(name string) string { return prefix + name }
	doc := func(what string) string { return what + ". " + when }
	textOf := func(n, what string, read func(*event.FileState) string) field {
		return text(name(n), doc(what), func(r *Record) (string, bool) {
			s := state(r)
			if s == nil {
				return "", false
			}
			value := read(s)
			return value, value != ""
		})
	}
	truthOf := func(n, what string, read func(*event.FileState) bool) field {
		return truth(name(n), doc(what), func(r *Record) (bool, bool) { s := state(r); return s != nil && read(s), s != nil })
	}
	numberOf := func(n, what string, kind expr.Kind, read func(*event.FileState) uint64) field {
		return unsignedNumber(name(n), doc(what), kind, func(r *Record) (uint64, bool) {
			if s := state(r); s != nil {
				return read(s), true
			}
			return 0, false
		})
	}
	return []field{
		textOf("type", "Type of the file: "+strings.Join(event.FileTypes, ", "), func(s *event.FileState) string { return s.Type }),
		text(name("mode"), doc("Mode of the file as chmod takes it, four octal digits such as 0644 or 4755"), func(r *Record) (string, bool) {
			s := state(r)
			if s == nil {
				return "", false
			}
			b := r.room()
			*b = s.AppendMode(*b)
			return view(*b), true
		}),
		truthOf("setuid", "Whether who runs the file becomes its owner", func(s *event.FileState) bool { return s.Mode&setuid != 0 }),
		truthOf("setgid", "Whether who runs the file is of its group", func(s *event.FileState) bool { return s.Mode&setgid != 0 }),
		truthOf("executable", "Whether anybody may run it, of regular files", func(s *event.FileState) bool { return s.Mode&0o111 != 0 && s.Type == "file" }),
		numberOf("uid", "User id of the owner", expr.Uint32, func(s *event.FileState) uint64 { return uint64(s.UID) }),
		numberOf("gid", "Group id", expr.Uint32, func(s *event.FileState) uint64 { return uint64(s.GID) }),
		numberOf("size", "Size in bytes", expr.Uint64, func(s *event.FileState) uint64 { return uint64(max(s.Size, 0)) }),
		textOf("sha256", "SHA-256 of the content of a regular file, where it is known, in 64 hexadecimal digits", func(s *event.FileState) string { return s.SHA256 }),
		textOf("target", "Where a symbolic link leads", func(s *event.FileState) string { return s.Target }),
		truthOf("immutable", "Whether nobody can change, rename or remove the file (chattr +i)", func(s *event.FileState) bool { return s.Immutable }),
		truthOf("append_only", "Whether the file can only grow (chattr +a)", func(s *event.FileState) bool { return s.AppendOnly }),
		text(name("capabilities"), doc("Capabilities that who runs the file is given, with blanks between; absent for none"), func(r *Record) (string, bool) {
			s := state(r)
			if s == nil || s.Capabilities == 0 {
				return "", false
			}
			b := r.room()
			*b = event.AppendCapabilities(*b, s.Capabilities)
			return view(*b), len(*b) > 0
		}),
		changeList(name("xattrs"), doc("Names of the extended attributes"), func(c *event.FileChange) []string {
			if s := of(c); s != nil {
				return s.Xattrs
			}
			return nil
		}),
	}
}

// changeEventFields are of every change of a file.
var changeEventFields = slices.Concat(eventFields, []field{
	text("evt.type", "Name of the event: of a change of a watched file always filechange.", func(r *Record) (string, bool) { return r.Type.String(), r.Change != nil }),
})

// notOfActors are fields of processes that nobody knows of who has changed a file: they are recorded only while a rule about
// system calls asks for them, or the process must still be there.
var notOfActors = setOf("proc.env proc.aenv proc.is_exe_writable")

// ownOfActors are those of our own fields that are of processes.
var ownOfActors = setOf(`yagura.proc.exe_deleted yagura.proc.comm yagura.proc.host_mount_ns yagura.proc.host_pid_ns yagura.proc.host_net_ns
	yagura.proc.host_user_ns yagura.unit yagura.container.known`)

// actorFields are of who has changed a file. They are absent where nobody is known; those of a container are then of the one
// whose file it is.
func actorFields() []field {
	process := slices.DeleteFunc(slices.Concat(processFields, userFields), func(f field) bool { return notOfActors[f.Name] })
	own := slices.DeleteFunc(slices.Clone(ownFields), func(f field) bool { return !ownOfActors[f.Name] })
	all := slices.Concat(process, containerFields, kubernetesFields, own)
	for i := range all {
		switch f := &all[i]; {
		case strings.HasPrefix(f.Name, "container.") || strings.HasPrefix(f.Name, "k8s.") || f.Name == "yagura.container.known":
			*f = onlyIf(*f, func(r *Record) bool { return r.Container != nil || r.HasActor() })
		case strings.HasPrefix(f.Name, "group."):
			*f = onlyIf(*f, func(r *Record) bool { return r.HasActor() && r.Caller.EGID != nobody })
		default:
			*f = onlyIf(*f, func(r *Record) bool { return r.HasActor() })
		}
	}
	return all
}

// onlyIf makes a field absent of records of which something is not so.
func onlyIf(f field, is func(*Record) bool) field {
	if read := f.Text; read != nil {
		f.Text = func(r *Record, a arg) (string, bool) {
			if !is(r) {
				return "", false
			}
			return read(r, a)
		}
	}
	if read := f.Bool; read != nil {
		f.Bool = func(r *Record, a arg) (bool, bool) {
			if !is(r) {
				return false, false
			}
			return read(r, a)
		}
	}
	if read := f.Int; read != nil {
		f.Int = func(r *Record, a arg) (int64, bool) {
			if !is(r) {
				return 0, false
			}
			return read(r, a)
		}
	}
	if read := f.Uint; read != nil {
		f.Uint = func(r *Record, a arg) (uint64, bool) {
			if !is(r) {
				return 0, false
			}
			return read(r, a)
		}
	}
	return f // of several values there are none where there is no process
}
