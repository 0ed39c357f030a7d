package event

import (
	binary "math/bits"
	slash "path"
	"slices"
	"strings"
)

const nobody = 1<<32 - 1 // as a login uid

// A processForm is a process while it is read or written.
type processForm struct {
	*Process
	whole   *value
	boot    uint64 // of the event
	redact  func([]string) []string
	parents *value
	all     bool // write also what the rows take for granted
}

// id is the row of a number that is a user's, a group's or a process's; without it, it is that of another field.
func id(name string, field, other func(*processForm) *uint32) key[processForm] {
	return key[processForm]{name: name,
		read: func(p *processForm, v *value) (err error) { *field(p), err = v.asID(); return err },
		write: func(p *processForm, to []byte) []byte {
			if n := *field(p); p.all || n != *other(p) {
				return appendUint(to, uint64(n))
			}
			return to
		},
		after: func(p *processForm) error { *field(p) = *other(p); return nil },
	}
}

func zero(*processForm) *uint32 { return new(uint32) }

// processKeys is the form of a process. Each default is that of a row above.
var processKeys = []key[processForm]{
	{name: "name", read: (*processForm).readName, write: func(p *processForm, to []byte) []byte { return appendText(to, p.Name()) }},
	{name: "path", read: func(p *processForm, v *value) (err error) { p.Path, err = v.asText(); return err },
		write: func(p *processForm, to []byte) []byte { return appendText(to, p.Path) }},
	{name: "args", read: func(p *processForm, v *value) (err error) { p.Args, err = v.asTexts(); return err },
		write: func(p *processForm, to []byte) []byte { return appendTexts(to, p.redact(p.Args)) }},
	{name: "env", read: func(p *processForm, v *value) (err error) { p.Env, err = v.asTexts(); return err },
		write: func(p *processForm, to []byte) []byte {
			if p.Env == nil {
				return to
			}
			return appendTexts(to, p.redact(p.Env))
		}},
	{name: "cwd", read: func(p *processForm, v *value) (err error) { p.Cwd, err = v.asText(); return err },
		write: func(p *processForm, to []byte) []byte {
			if p.Cwd == "/" {
				return to
			}
			return appendText(to, p.Cwd)
		}},
	{name: "pid", read: func(p *processForm, v *value) (err error) { p.PID, err = v.asID(); return err },
		write: func(p *processForm, to []byte) []byte { return appendUint(to, uint64(p.PID)) }},
	{name: "ppid", read: func(p *processForm, v *value) (err error) { p.PPID, err = v.asID(); return err },
		write: func(p *processForm, to []byte) []byte { return appendUint(to, uint64(p.PPID)) },
		after: func(p *processForm) error { p.PPID = max(p.PID, 1) - 1; return nil }},
	id("vpid", func(p *processForm) *uint32 { return &p.VPID }, func(p *processForm) *uint32 { return &p.PID }),
	id("pgid", func(p *processForm) *uint32 { return &p.PGID }, func(p *processForm) *uint32 { return &p.PID }),
	id("sid", func(p *processForm) *uint32 { return &p.SID }, func(p *processForm) *uint32 { return &p.PID }),
	id("vpgid", func(p *processForm) *uint32 { return &p.VPGID }, func(p *processForm) *uint32 { return inside(p, p.PGID) }),
	id("vsid", func(p *processForm) *uint32 { return &p.VSID }, func(p *processForm) *uint32 { return inside(p, p.SID) }),
	id("tty", func(p *processForm) *uint32 { return &p.TTY }, zero),
	id("uid", func(p *processForm) *uint32 { return &p.UID }, zero),
	id("euid", func(p *processForm) *uint32 { return &p.EUID }, func(p *processForm) *uint32 { return &p.UID }),
	id("suid", func(p *processForm) *uint32 { return &p.SUID }, func(p *processForm) *uint32 { return &p.EUID }),
	id("gid", func(p *processForm) *uint32 { return &p.GID }, zero),
	id("egid", func(p *processForm) *uint32 { return &p.EGID }, func(p *processForm) *uint32 { return &p.GID }),
	id("sgid", func(p *processForm) *uint32 { return &p.SGID }, func(p *processForm) *uint32 { return &p.EGID }),
	id("loginuid", func(p *processForm) *uint32 { return &p.LoginUID }, func(*processForm) *uint32 { n := uint32(nobody); return &n }),
	{name: "start", read: func(p *processForm, v *value) error { return p.readAge(v, &p.Start) },
		write: func(p *processForm, to []byte) []byte { return appendUint(to, p.boot-p.Start) },
		after: func(p *processForm) error { p.Start = p.boot - min(60e9, p.boot); return nil }},
	{name: "pidns_start", read: func(p *processForm, v *value) error { return p.readAge(v, &p.PIDNamespaceInit) },
		write: func(p *processForm, to []byte) []byte {
			if p.PIDNamespaceInit == 0 && !p.all {
				return to
			}
			return appendUint(to, p.boot-p.PIDNamespaceInit)
		}},
	{name: "caps", read: func(p *processForm, v *value) (err error) {
		p.CapEffective, err = asCapabilities(v)
		p.CapPermitted = p.CapEffective
		return err
	}, write: func(p *processForm, to []byte) []byte {
		if p.all || p.CapEffective != p.CapPermitted || p.CapEffective == 0 {
			return to
		}
		return appendCapabilities(to, p.CapEffective)
	}},
	capabilityRow("caps_effective", func(p *processForm) (set, other *uint64) { return &p.CapEffective, &p.CapPermitted }),
	capabilityRow("caps_permitted", func(p *processForm) (set, other *uint64) { return &p.CapPermitted, &p.CapEffective }),
	{name: "caps_inheritable", read: func(p *processForm, v *value) (err error) { p.CapInheritable, err = asCapabilities(v); return err },
		write: func(p *processForm, to []byte) []byte {
			if p.CapInheritable == 0 && !p.all {
				return to
			}
			return appendCapabilities(to, p.CapInheritable)
		}},
	{name: "flags", read: (*processForm).readFlags, write: (*processForm).writeFlags},
	{name: "exe_inode", read: func(p *processForm, v *value) (err error) { p.ExeInode, err = v.asUint(1<<64 - 1); return err },
		write: func(p *processForm, to []byte) []byte { return p.unless0(to, p.ExeInode, appendUint) }},
	{name: "exe_ctime", read: func(p *processForm, v *value) (err error) { p.ExeChange, err = v.asTime(); return err },
		write: func(p *processForm, to []byte) []byte { return p.unless0(to, uint64(p.ExeChange), appendUnixTime) }},
	{name: "exe_mtime", read: func(p *processForm, v *value) (err error) { p.ExeModify, err = v.asTime(); return err },
		write: func(p *processForm, to []byte) []byte { return p.unless0(to, uint64(p.ExeModify), appendUnixTime) }},
	{name: "parents", read: func(p *processForm, v *value) error { p.parents = v; return nil }},
}

func (p *processForm) unless0(to []byte, n uint64, write func([]byte, uint64) []byte) []byte {
	if n == 0 && !p.all {
		return to
	}
	return write(to, n)
}

// inside is a number of the process's own pid namespace, where it is known.
func inside(p *processForm, n uint32) *uint32 {
	if n == p.PID {
		return &p.VPID
	}
	return &n
}

// capabilityRow is for a set that differs from another one.
func capabilityRow(name string, sets func(*processForm) (set, other *uint64)) key[processForm] {
	return key[processForm]{name: name,
		read: func(p *processForm, v *value) (err error) {
			set, _ := sets(p)
			*set, err = asCapabilities(v)
			return err
		},
		write: func(p *processForm, to []byte) []byte {
			set, other := sets(p)
			if *set == *other && !p.all {
				return to
			}
			return appendCapabilities(to, *set)
		}}
}

// readProcess reads who acted.
func (f *form) readProcess(v *value) error {
	if f.ev.Kind == Change && (v == nil || v.kind == isNull) {
		return nil // nobody is known
	}
	if v != nil && v.kind == isNull {
		f.ev.PID, f.ev.TID = 1000, 1000
		return nil
	}
	p, err := readProcess(v, f.ev.Boot, 1000)
	if err != nil {
		return err
	}
	ev := f.ev
	ev.Process = p
	ev.PID, ev.TID, ev.UID, ev.GID, ev.Start = p.PID, p.PID, p.UID, p.GID, p.Start
	return nil
}

// readProcess reads a process, or its name, and those above it; nil stands for all defaults.
func readProcess(v *value, boot uint64, pid uint32) (*Process, error) {
	p := &processForm{Process: &Process{Task: Task{PID: pid, LoginUID: nobody}, Cwd: "/"}, boot: boot, whole: v}
	if err := p.read(); err != nil {
		return nil, err
	}
	if p.parents == nil {
		return p.Process, nil
	}
	if p.parents.kind != isList {
		return nil, p.parents.wrong("a list of processes, the nearest first")
	}
	below := p
	for _, m := range p.parents.members {
		above := &processForm{Process: &Process{Task: Task{PID: below.PPID, LoginUID: nobody}, Cwd: "/"}, boot: boot, whole: m}
		if err := above.read(); err != nil {
			return nil, err
		}
		if above.parents != nil {
			return nil, above.parents.fault("whoever is above a parent follows it in the list")
		}
		if !below.whole.has("ppid") {
			below.PPID = above.PID
		}
		below.Parent = above.Process
		below = above
	}
	return p.Process, nil
}

// read reads one process without those above it.
func (p *processForm) read() error {
	v := p.whole
	switch {
	case v == nil:
		v = &value{kind: isObject}
	case v.kind == isText:
		v = &value{kind: isObject, members: []*value{{above: v.above, key: "name", index: v.index, at: v.at, kind: isText, text: v.text}}}
	case v.kind != isObject:
		return v.wrong("a process, or its name")
	}
	if err := readKeys(v, p, processKeys); err != nil {
		return err
	}
	return p.complete(v)
}

// complete makes up what the process is called from what is known of it.
func (p *processForm) complete(v *value) error {
	name := "test"
	if m := v.member("name"); m != nil {
		name, _ = m.asText()
	} else if v.has("path") {
		name = slash.Base(p.Path)
	} else if len(p.Args) > 0 {
		name = slash.Base(p.Args[0])
	}
	p.Comm = comm(name)
	if !v.has("args") {
		p.Args = []string{name}
	}
	if v.has("path") {
		return nil
	}
	p.Path = "/usr/bin/" + name
	if len(p.Args) > 0 && slash.IsAbs(p.Args[0]) {
		p.Path = p.Args[0]
	}
	return nil
}

// comm is a name as the kernel keeps it.
func comm(name string) (c [16]byte) {
	copy(c[:15], name)
	return c
}

func (p *processForm) readName(v *value) error {
	name, err := v.asText()
	p.Comm = comm(name)
	return err
}

// readAge reads how many nanoseconds before the event something was.
func (p *processForm) readAge(v *value, to *uint64) error {
	n, err := v.asUint(1<<64 - 1)
	if err == nil && n > p.boot {
		return v.fault("%d nanoseconds before the event is before the machine's boot, %d before it", n, p.boot)
	}
	*to = p.boot - n
	return err
}

// flagNames are the task flags, from the lowest bit.
var flagNames = []string{"exe_memfd", "exe_upper_layer", "exe_lower_layer", "exe_unlinked", "path_truncated", "args_truncated",
	"command_fault", "kernel_thread"}

func (p *processForm) readFlags(v *value) error {
	if v.kind != isList {
		return v.wrong("a list of names")
	}
	p.Flags = 0 // a child has its maker's
	for _, m := range v.members {
		i, err := m.asOneOf(flagNames)
		if err != nil {
			return err
		}
		p.Flags |= 1 << i
	}
	return nil
}

func (p *processForm) writeFlags(to []byte) []byte {
	var names []string
	for i, name := range flagNames {
		if p.Flags&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil && !p.all {
		return to
	}
	return appendTexts(to, names)
}

const allCapabilities = 1<<len(capabilities) - 1

// asCapabilities reads a list of names, or "all".
func asCapabilities(v *value) (set uint64, err error) {
	if v.kind == isText && v.text == "all" {
		return allCapabilities, nil
	}
	if v.kind != isList {
		return 0, v.wrong(`"all", or a list of names such as CAP_SYS_ADMIN`)
	}
	for _, m := range v.members {
		i := slices.Index(capabilities[:], m.text)
		if m.kind != isText || i < 0 {
			return 0, m.fault("unknown capability %s%s", m, choices(m.text, capabilities[:]))
		}
		set |= 1 << i
	}
	return set, nil
}

// appendCapabilities appends a set as asCapabilities reads it.
func appendCapabilities(to []byte, set uint64) []byte {
	set &= allCapabilities
	if set == allCapabilities {
		return append(to, `"all"`...)
	}
	names := make([]string, 0, len(capabilities))
	for ; set != 0; set &= set - 1 {
		names = append(names, capabilities[binary.TrailingZeros64(set)])
	}
	return appendTexts(to, names)
}

// writeProcess writes who acted, and who is above.
func (f *form) writeProcess(to []byte) []byte {
	p := f.ev.Process
	switch {
	case p == nil && f.ev.Kind == Exec:
		p = f.image()
	case p == nil && f.ev.Kind == Change:
		return to
	case p == nil:
		return append(to, "null"...)
	}
	return appendProcess(to, p, f.ev.Boot, f.redact)
}

// image is what an exec's event says of a process that no table knows.
func (f *form) image() *Process {
	ev := f.ev
	return &Process{Task: ev.Task, Path: string(ev.Path), Args: splitWords(ev.Args), Env: splitWords(ev.Env), Cwd: string(ev.Cwd)}
}

// splitWords undoes joinWords.
func splitWords(joined []byte) (words []string) {
	for word := range strings.SplitSeq(strings.TrimSuffix(string(joined), "\x00"), "\x00") {
		if len(joined) > 0 {
			words = append(words, word)
		}
	}
	return words
}

// maxParents bounds how many processes above an event's are written with it.
const maxParents = 64

func appendProcess(to []byte, p *Process, boot uint64, redact func([]string) []string) []byte {
	to = appendKeys(to, &processForm{Process: p, boot: boot, redact: redact}, processKeys)
	if p.Parent == nil {
		return to
	}
	to = append(to[:len(to)-1], `,"parents":[`...)
	n := 0
	for above := p.Parent; above != nil && n < maxParents; above = above.Parent {
		if n++; n > 1 {
			to = append(to, ',')
		}
		to = appendKeys(to, &processForm{Process: above, boot: boot, redact: redact}, processKeys)
	}
	return append(to, "]}"...)
}
