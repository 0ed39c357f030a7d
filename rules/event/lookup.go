package event

import (
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
)

var typesByName = nameTypes()

// nameTypes completes Types with the generic system calls and with changes of files, and indexes it.
func nameTypes() map[string]Type {
	known := make(map[string]Type, len(Types))
	for i, t := range Types {
		if t.Name != "" {
			known[t.Name] = Type(i)
		}
	}
	add := func(name, category string) {
		if _, ok := known[name]; !ok {
			known[name] = Type(len(Types))
			Types = append(Types, TypeInfo{Name: name, Category: category})
		}
	}
	for _, name := range strings.Fields(generic) {
		add(name, catOther)
	}
	add("filechange", catFile)
	return known
}

// TypeNamed returns the type that rules call by a name.
func TypeNamed(name string) (Type, bool) {
	t, ok := typesByName[name]
	return t, ok
}

// String returns what rules call the type; nothing for TypeNone.
func (t Type) String() string { return t.Info().Name }

// Info returns the type's row; a number that is none has TypeNone's.
func (t Type) Info() *TypeInfo {
	if int(t) >= len(Types) {
		return &Types[TypeNone]
	}
	return &Types[t]
}

// Param returns a parameter by its name, and its number.
func (i *TypeInfo) Param(name string) (*Param, int) {
	for n := range i.Params {
		if i.Params[n].Name == name {
			return &i.Params[n], n
		}
	}
	return nil, -1
}

// Opens says that calls of this type end in a new descriptor of the file that they name.
func (t Type) Opens() bool {
	switch t {
	case typeOpen, typeOpenat, typeOpenat2, typeCreat, typeOpenByHandle:
		return true
	}
	return false
}

var (
	typeOpen         = typesByName["open"]
	typeOpenat       = typesByName["openat"]
	typeOpenat2      = typesByName["openat2"]
	typeCreat        = typesByName["creat"]
	typeOpenByHandle = typesByName["open_by_handle_at"]
	typeChdir        = typesByName["chdir"]
	typeFchdir       = typesByName["fchdir"]
)

// ErrorName returns the name of the error that a result stands for: SUCCESS if it is none, the negative number if it has
// no name.
func ErrorName(result int64) string {
	if result >= 0 {
		return "SUCCESS"
	}
	if name, ok := errorNames[-result]; ok {
		return name
	}
	return strconv.FormatInt(result, 10)
}

// ErrorNamed returns the negative result that an error's name stands for.
func ErrorNamed(name string) (int64, bool) {
	for n, known := range errorNames {
		if known == name {
			return -n, true
		}
	}
	return 0, false
}

// AppendCapabilities appends the names of a capability set, separated by blanks, in the order of their bits.
func AppendCapabilities(to []byte, set uint64) []byte {
	for i, name := range capabilities {
		if set&(1<<i) == 0 {
			continue
		}
		if len(to) > 0 {
			to = append(to, ' ')
		}
		to = append(to, name...)
	}
	return to
}

// Capability returns the bit of a capability by its name.
func Capability(name string) (uint64, bool) {
	if i := slices.Index(capabilities[:], name); i >= 0 {
		return 1 << i, true
	}
	return 0, false
}

// SignalName returns the name of a signal; nothing if it has none.
func SignalName(n uint64) string {
	for _, s := range signalNames {
		if s.Value == n {
			return s.Name
		}
	}
	return ""
}

// AppendNames appends the names of a value: of Bits all that are set, joined by |, of an Enum the one.
func (p *Param) AppendNames(to []byte, kind ParamKind, value uint64) []byte {
	begin := len(to)
	for _, n := range p.Names {
		if kind == Enum {
			if n.Value == value {
				return append(to, n.Name...)
			}
			continue
		}
		mask := n.Mask
		if mask == 0 {
			mask = n.Value
		}
		if value&mask != n.Value {
			continue
		}
		if len(to) > begin {
			to = append(to, '|')
		}
		to = append(to, n.Name...)
	}
	return to
}

// Value returns the value of names as AppendNames writes them.
func (p *Param) Value(names string) (value uint64, ok bool) {
	for name := range strings.SplitSeq(names, "|") {
		i := slices.IndexFunc(p.Names, func(n Name) bool { return n.Name == name })
		if i < 0 {
			return 0, false
		}
		value |= p.Names[i].Value
	}
	return value, true
}

// NewDirectory returns where a call has moved the working directory of its process, if it has.
func (ev *Event) NewDirectory() (string, bool) {
	if ev.Kind != Syscall || ev.Call.Result != 0 {
		return "", false
	}
	switch t := &ev.Call.Text[0]; {
	case ev.Type == typeFchdir:
		return string(ev.FD.Name), len(ev.FD.Name) > 0
	case ev.Type != typeChdir:
		return "", false
	case len(t.Resolved) > 0:
		return string(t.Resolved), true
	case !t.Fault && !t.Truncated && len(t.Raw) > 0 && t.Raw[0] == '/':
		return pathpkg.Clean(string(t.Raw)), true
	}
	return "", false
}

// How says how a call opens a file: OpenRead and its kin.
func How(ev *Event) int {
	flags, mode := openFlagsOf(ev)
	how := 0
	switch flags & 3 {
	case 0:
		how = OpenRead
	case 1:
		how = OpenWrite
	case 2:
		how = OpenRead | OpenWrite
	}
	const create, temporary = 0o100, 0o20000000
	if flags&(create|temporary) != 0 && mode&0o111 != 0 {
		how |= OpenExec
	}
	if ev.FD.Created {
		how |= OpenCreated
	}
	return how
}

func openFlagsOf(ev *Event) (flags, mode uint64) {
	switch ev.Type {
	case typeOpen:
		return ev.Call.Arg[1], ev.Call.Arg[2]
	case typeOpenat2:
		return ev.Call.Word[0], ev.Call.Word[1]
	case typeCreat:
		return 0o1101, ev.Call.Arg[1]
	}
	return ev.Call.Arg[2], ev.Call.Arg[3]
}
