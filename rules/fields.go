package rules

import (
	"fmt"
	"io"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

type (
	field = expr.Field[Record]
	arg   = expr.Argument
)

// A class is a heading of the reference, and the fields below it.
type class struct {
	title  string
	fields []field
}

// classes is the table of the fields of a source, in the order of the reference.
func classes(source string) []class {
	if source == event.ChangeSource {
		return []class{
			{"evt: every change of a watched file", changeEventFields},
			{"fim: what has happened to which file", changeFields},
			{"proc, user, group, container, k8s: who has changed it", actorFields()},
		}
	}
	return []class{
		{"evt: every event", eventFields},
		{"evt: system calls", callFields},
		{"proc: the acting process, and those above it", processFields},
		{"proc and thread: the acting thread, and what the kernel says of it now", threadFields},
		{"user and group: who acts", userFields},
		{"fd: the descriptor that a call makes or uses", descriptorFields},
		{"fs.path: the paths that a call works on", pathFields},
		{"fdlist: the descriptors that a poll waits for", listFields},
		{"container: the container that it happened in", containerFields},
		{"k8s: the pod that it happened in", kubernetesFields},
		{"yagura: what no other engine has", ownFields},
		{"evt.rawarg: parameters of numbers", rawArguments()},
	}
}

// fromProcfs is the cost of a field that is read from /proc.
const fromProcfs = 200

// costs are those of fields which are not at hand: that are looked for, put together or printed.
var costs = []struct {
	cost   uint8
	fields string
}{
	{2, "yagura.path.resolved yagura.path.target yagura.path.directory yagura.path.basename fd.l4proto fd.cport fd.sport fd.lport fd.rport"},
	{3, "fim.directory fim.filename fim.mode fim.before.mode"},
	{4, "proc.args proc.cmdline proc.cwd proc.exeline proc.env proc.pcmdline container.image.repository container.image.tag container.image.digest"},
	{5, `fd.name fd.nameraw fd.directory fd.filename fs.path.name fs.path.source fs.path.target evt.abspath evt.res
		fd.cip fd.sip fd.lip fd.rip fd.cnet fd.snet fd.lnet fd.rnet`},
	{8, `proc.sname proc.sid.exe proc.sid.exepath proc.pgid.name proc.pgid.exe proc.pgid.exepath proc.vpgid.name proc.vpgid.exe proc.vpgid.exepath
		proc.is_sid_leader proc.is_pgid_leader proc.is_vpgid_leader proc.loginshellid
		yagura.proc.host_mount_ns yagura.proc.host_pid_ns yagura.proc.host_net_ns yagura.proc.host_user_ns`},
	{12, `user.name user.homedir user.shell user.loginname group.name container.label container.labels k8s.pod.label k8s.pod.labels
		container.mount container.mount.source container.mount.dest container.mount.mode container.mount.rdwr container.mount.propagation
		container.mounts fd.uid fd.cproto fd.sproto fd.lproto fd.rproto fd.containername fd.containerdirectory evt.rawarg`},
	{20, "evt.arg"},
	{40, "evt.args evt.info thread.cap_effective thread.cap_inheritable thread.cap_permitted fim.diff fim.capabilities fim.before.capabilities"},
	{60, "evt.time evt.time.s evt.time.iso8601 evt.datetime evt.datetime.s"},
	{fromProcfs, `proc.fdopencount proc.fdlimit proc.fdusage proc.vmsize proc.vmrss proc.vmswap thread.pfmajor thread.pfminor proc.is_exe_writable
		proc.nthreads proc.nchilds thread.vmsize thread.vmrss thread.cgroups thread.cgroup fd.types
		proc.stdin.name proc.stdout.name proc.stderr.name proc.stdin.type proc.stdout.type proc.stderr.type`},
}

// Fields is every field that a rule about events of a source may use, in the order of the reference.
func Fields(source string) []expr.Field[Record] {
	var all []field
	for _, c := range classes(source) {
		all = append(all, c.fields...)
	}
	at := make(map[string]*field, len(all))
	for i := range all {
		at[all[i].Name] = &all[i]
	}
	for _, c := range costs {
		for name := range strings.FieldsSeq(c.fields) {
			if f := at[name]; f != nil { // else a test says so
				f.Cost = c.cost
			}
		}
	}
	return all
}

// Shorthand for the rows: a field of one kind, what it means, and how to read it.
func text(name, doc string, read func(*Record) (string, bool)) field {
	return field{Name: name, Doc: doc, Kind: expr.String, Text: func(r *Record, _ arg) (string, bool) { return read(r) }}
}

func truth(name, doc string, read func(*Record) (bool, bool)) field {
	return field{Name: name, Doc: doc, Kind: expr.Bool, Bool: func(r *Record, _ arg) (bool, bool) { return read(r) }}
}

func signedNumber(name, doc string, kind expr.Kind, read func(*Record) (int64, bool)) field {
	return field{Name: name, Doc: doc, Kind: kind, Int: func(r *Record, _ arg) (int64, bool) { return read(r) }}
}

func unsignedNumber(name, doc string, kind expr.Kind, read func(*Record) (uint64, bool)) field {
	return field{Name: name, Doc: doc, Kind: kind, Uint: func(r *Record, _ arg) (uint64, bool) { return read(r) }}
}

// absent is a field that other engines fill and we do not, so that rules which name it load: it never has a value.
func absent(name, doc string, kind expr.Kind, flags expr.Flags) field {
	f := field{Name: name, Doc: doc + " Absent here.", Kind: kind, Flags: flags}
	switch kind {
	case expr.Bool:
		f.Bool = func(*Record, arg) (bool, bool) { return false, false }
	case expr.Int16, expr.Int32, expr.Int64:
		f.Int = func(*Record, arg) (int64, bool) { return 0, false }
	case expr.Double:
		f.Float = func(*Record, arg) (float64, bool) { return 0, false }
	case expr.String, expr.Path:
		f.Text = func(*Record, arg) (string, bool) { return "", false }
		if flags&expr.ListValued != 0 {
			f.Texts = func(*Record, arg, func(string) bool) bool { return true }
		}
	case expr.Bytes:
		f.Bytes = func(*Record, arg) ([]byte, bool) { return nil, false }
	default:
		f.Uint = func(*Record, arg) (uint64, bool) { return 0, false }
	}
	return f
}

func (r *Record) isCall() bool { return r.Type != 0 }

const fieldsHead = `# Fields of rules

Generated by ` + "`yagura rules fields --markdown`" + ` from the table that the engine reads. A field that has no value for an event is absent: then
every comparison with it is false. ` + "`[ARG]`" + ` must be given, ` + "`[[ARG]]`" + ` may be; ` + "`field[x]`" + ` may be written ` + "`field.x`" + `.
`

// WriteFields writes the reference of fields: as a table for a terminal, or in Markdown. A field that two sources have in
// common is told once.
func WriteFields(w io.Writer, markdown bool) error {
	var b strings.Builder
	if markdown {
		b.WriteString(fieldsHead)
	}
	told := map[string]string{} // meanings by names
	for _, source := range sources {
		if source != event.SyscallSource {
			b.WriteString(sourceHead(source, markdown))
		}
		for _, c := range classes(source) {
			writeClass(&b, c, told, markdown)
		}
	}
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

// sourceHead begins the fields of another source than that of rules which name none.
func sourceHead(source string, markdown bool) string {
	if !markdown {
		return fmt.Sprintf("\nof rules with source: %s\n", source)
	}
	return fmt.Sprintf("\n# Fields of rules with `source: %s`\n%s", source, changesHead)
}

const changesHead = `
Nobody may be known to have changed a file, if a scan has found it. Fields of the process and its user are absent then, and those of the
container are of the one whose file it is.
`

func writeClass(b *strings.Builder, c class, told map[string]string, markdown bool) {
	var own, others []field
	for _, f := range c.fields {
		switch {
		case f.Flags&expr.Hidden != 0:
		case told[f.Name] == f.Doc:
			others = append(others, f)
		default:
			own = append(own, f)
			told[f.Name] = f.Doc
		}
	}
	if len(own)+len(others) == 0 {
		return
	}
	if markdown {
		fmt.Fprintf(b, "\n## %s\n", c.title)
	} else {
		fmt.Fprintf(b, "\n%s\n", c.title)
	}
	if markdown && len(own) > 0 {
		b.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
	}
	for _, f := range own {
		if markdown {
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", spelled(f), typeOf(f), strings.ReplaceAll(meaning(f), "|", `\|`))
		} else {
			fmt.Fprintf(b, "  %-42s %-8s %s\n", spelled(f), typeOf(f), meaning(f))
		}
	}
	writeOthers(b, others, markdown)
}

// writeOthers names the fields of a class that are told of already.
func writeOthers(b *strings.Builder, fields []field, markdown bool) {
	if len(fields) == 0 {
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = spelled(f)
	}
	if markdown {
		fmt.Fprintf(b, "\nAs above: `%s`.\n", strings.Join(names, "`, `"))
		return
	}
	fmt.Fprintf(b, "  as above: %s\n", strings.Join(names, " "))
}

// typeOf is the type of a field's values, which may be several.
func typeOf(f field) string {
	if f.Flags&expr.ListValued != 0 {
		return "list of " + f.Kind.String()
	}
	return f.Kind.String()
}

// meaning is what a field means, and where it may not be used.
func meaning(f field) string {
	doc := f.Doc
	if f.Flags&expr.PrintOnly != 0 {
		doc += " Only for outputs."
	}
	if f.Flags&expr.Deprecated != 0 {
		doc += " Deprecated."
	}
	return doc
}

// spelled is a field's name with the argument that it may or must have.
func spelled(f field) string {
	switch f.Arity {
	case expr.RequiredArg:
		return f.Name + "[ARG]"
	case expr.OptionalArg:
		return f.Name + "[[ARG]]"
	}
	return f.Name
}
