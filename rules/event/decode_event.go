package event

import (
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// The time of an event that has none: 2026-01-01.
const defaultTime = 1767225600 * 1e9

// eventKeys is the form of an event. The type comes first, since all else depends on it.
var eventKeys = []key[form]{
	{name: "type", read: (*form).readType, write: (*form).writeType, after: func(f *form) error { return f.whole.fault("want type: the event's evt.type") }},
	{name: "num", read: func(f *form, v *value) (err error) { f.ev.Num, err = v.asUint(1<<64 - 1); return err },
		write: func(f *form, to []byte) []byte { return appendUint(to, f.ev.Num) }},
	{name: "time", read: (*form).readTime, write: func(f *form, to []byte) []byte { return appendTime(to, f.ev.Time) },
		after: func(f *form) error { f.ev.Time, f.ev.Boot = defaultTime, defaultTime; return nil }},
	// Nanoseconds since boot. Without it the machine booted in 1970, which is as good as any.
	{name: "boot", read: func(f *form, v *value) (err error) { f.ev.Boot, err = v.asUint(1<<64 - 1); return err },
		write: func(f *form, to []byte) []byte { return appendUnless(to, f.ev.Boot, uint64(f.ev.Time)) }},
	{name: "cpu", read: func(f *form, v *value) error { n, err := v.asUint(1<<16 - 1); f.ev.CPU = uint16(n); return err },
		write: func(f *form, to []byte) []byte { return appendUnless(to, uint64(f.ev.CPU), 0) }},
	{name: "process", read: (*form).readProcess, write: (*form).writeProcess, after: func(f *form) error { return f.readProcess(nil) }},
	{name: "pid", read: func(f *form, v *value) (err error) { f.ev.PID, err = v.asID(); f.ev.TID = f.ev.PID; return err },
		write: func(f *form, to []byte) []byte {
			if f.ev.Process != nil && f.ev.Process.PID == f.ev.PID {
				return to
			}
			if !f.ev.HasActor() {
				return to
			}
			return appendUint(to, uint64(f.ev.PID))
		}},
	{name: "tid", read: func(f *form, v *value) (err error) { f.ev.TID, err = v.asID(); return err },
		write: func(f *form, to []byte) []byte { return appendUnless(to, uint64(f.ev.TID), uint64(f.ev.PID)) }},
	{name: "change", read: (*form).readChange, write: (*form).writeChange, after: (*form).lacksChange},
	{name: "res", read: (*form).readResult, write: (*form).writeResult, after: (*form).defaultResult},
	{name: "args", read: (*form).readArgs, write: (*form).writeArgs, after: (*form).defaultArgs},
	{name: "child", read: (*form).readChild, write: (*form).writeChild, after: func(f *form) error { return f.readChild(nil) }},
	{name: "caller", read: (*form).readCaller, write: (*form).writeCaller, after: func(f *form) error { return f.readCaller(nil) }},
	{name: "dir", read: (*form).readDir, write: (*form).writeDir, after: (*form).defaultDir},
	{name: "resolved", read: (*form).readResolved, write: (*form).writeResolved},
	{name: "fault", read: (*form).readFaults, write: func(f *form, to []byte) []byte { return f.writeTextsThat(to, func(t *Text) bool { return t.Fault }) }},
	{name: "truncated", read: (*form).readTruncated, write: func(f *form, to []byte) []byte {
		return f.writeTextsThat(to, func(t *Text) bool { return t.Truncated })
	}},
	{name: "data", read: (*form).readData, write: func(f *form, to []byte) []byte {
		if len(f.ev.Call.Data) == 0 || !utf8.Valid(f.ev.Call.Data) {
			return to
		}
		return appendText(to, string(f.ev.Call.Data))
	}},
	{name: "data_hex", read: (*form).readHexData, write: func(f *form, to []byte) []byte {
		if utf8.Valid(f.ev.Call.Data) {
			return to
		}
		return append(hex.AppendEncode(append(to, '"'), f.ev.Call.Data), '"')
	}},
	{name: "peer", read: (*form).readPeer, write: func(f *form, to []byte) []byte { return appendAddress(to, &f.ev.Call.Address) }},
	{name: "unstable", read: func(f *form, v *value) (err error) { f.ev.Call.Unstable, err = v.asTruth(); return err },
		write: func(f *form, to []byte) []byte { return appendTruth(to, f.ev.Call.Unstable, false) }},
	{name: "ring", read: func(f *form, v *value) (err error) { f.ev.Call.Ring, err = v.asTruth(); return err },
		write: func(f *form, to []byte) []byte { return appendTruth(to, f.ev.Call.Ring, false) }},
	{name: "fd", read: (*form).readDescriptor, write: (*form).writeDescriptor, after: (*form).defaultDescriptor},
	{name: "status", read: (*form).readStatus, write: func(f *form, to []byte) []byte { return appendUnless(to, uint64(f.ev.Status), 0) }},
	{name: "container", read: (*form).readContainer, write: (*form).writeContainer},
	{name: "unit", read: (*form).readUnit, write: func(f *form, to []byte) []byte {
		if f.ev.Unit == "" || f.ev.Container != nil {
			return to
		}
		return appendText(to, f.ev.Unit)
	}},
}

func (f *form) readType(v *value) error {
	if v.kind != isText {
		return v.wrong("the name of an event type")
	}
	t, ok := TypeNamed(v.text)
	if !ok || t == TypeNone {
		return v.fault("unknown event type %q%s", v.text, choices(v.text, typeNames()))
	}
	f.ev.Type, f.ev.Kind = t, Syscall
	switch {
	case t == typeExit:
		f.ev.Kind = Exit
	case t == typeChange:
		f.ev.Kind = Change
		return f.onlyOfChanges()
	case t.forks():
		f.ev.Kind = Fork // if the child is there: see readResult
	case t == typeExecve || t == typeExecveat:
		f.ev.Kind = Exec // likewise
	}
	return nil
}

func typeNames() (names []string) {
	for _, t := range Types[1:] {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

func (f *form) writeType(to []byte) []byte { return appendText(to, f.ev.Type.String()) }

var (
	typeExit, typeExecve, typeExecveat   = typesByName["procexit"], typesByName["execve"], typesByName["execveat"]
	typeClone, typeClone3                = typesByName["clone"], typesByName["clone3"]
	typeFork, typeVfork                  = typesByName["fork"], typesByName["vfork"]
	typeConnect, typeAccept, typeAccept4 = typesByName["connect"], typesByName["accept"], typesByName["accept4"]
	typeBind                             = typesByName["bind"]
)

// forks says that calls of the type make a process.
func (t Type) forks() bool {
	return t == typeClone || t == typeClone3 || t == typeFork || t == typeVfork
}

// returnsFD says that the result is a new descriptor.
func (t Type) returnsFD() bool {
	p := t.Info().Params
	return len(p) > 0 && p[0].Kind == FD && p[0].Arg == Result
}

func (f *form) readTime(v *value) (err error) {
	f.ev.Time, err = v.asTime()
	f.ev.Boot = uint64(f.ev.Time)
	return err
}

// readResult reads what the call returned, which also decides whether a process was made or replaced.
func (f *form) readResult(v *value) error {
	n, err := asResult(v)
	if err != nil {
		return err
	}
	if f.ev.Kind == Exit {
		return v.fault("procexit returns nothing; its wait status is in status")
	}
	if f.ev.Kind == Fork && n == 0 {
		return v.fault("want the child's process id: only the parent's return of %s is an event", f.ev.Type)
	}
	f.ev.Call.Result = n
	if n < 0 && (f.ev.Kind == Fork || f.ev.Kind == Exec) {
		f.ev.Kind = Syscall
	}
	return nil
}

// asResult reads a number, or the name of an error.
func asResult(v *value) (int64, error) {
	if v.kind != isText {
		return v.asInt(-1<<63, 1<<63-1)
	}
	if v.text == "SUCCESS" {
		return 0, nil
	}
	n, ok := ErrorNamed(v.text)
	if !ok {
		return 0, v.fault("unknown error %q%s, want a number, SUCCESS, or a name such as ENOENT", v.text, choices(v.text, errorNamesSorted()))
	}
	return n, nil
}

func errorNamesSorted() (names []string) {
	for _, name := range errorNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *form) defaultResult() error {
	switch {
	case f.ev.Kind == Fork:
		f.ev.Call.Result = int64(f.ev.PID) + 1
	case f.ev.Type.returnsFD():
		f.ev.Call.Result = 3
	}
	return nil
}

func (f *form) writeResult(to []byte) []byte {
	n := f.ev.Call.Result
	switch {
	case f.ev.Kind == Exit:
		return to
	case f.ev.Kind == Fork:
		return appendUnless(to, uint64(f.ev.Task.PID), 0)
	case n == 0 && !f.ev.Type.returnsFD():
		return to
	}
	if name := ErrorName(n); n < 0 && strings.HasPrefix(name, "E") {
		return appendText(to, name)
	}
	return appendInt(to, n)
}

func (f *form) readStatus(v *value) error {
	if f.ev.Kind != Exit {
		return v.fault("only procexit has a wait status, not %s", f.ev.Type)
	}
	n, err := v.asUint(1<<32 - 1)
	f.ev.Status = uint32(n)
	return err
}

func (f *form) readUnit(v *value) (err error) {
	if f.ev.Container != nil {
		return v.fault("what is in a container is in no unit of the host")
	}
	f.ev.Unit, err = v.asText()
	return err
}

// onCall refuses a key that only system calls have, where the event is another.
func (f *form) onCall(v *value, instead string) error {
	if f.ev.Kind == Syscall {
		return nil
	}
	return v.fault("%s has none; %s", f.ev.Type, instead)
}

func (f *form) readData(v *value) error {
	s, err := v.asText()
	if err != nil {
		return err
	}
	return f.setData(v, []byte(s))
}

func (f *form) readHexData(v *value) error {
	b, err := v.asHex()
	if err != nil {
		return err
	}
	return f.setData(v, b)
}

func (f *form) setData(v *value, b []byte) error {
	if !slices.ContainsFunc(f.ev.Type.Info().Params, func(p Param) bool { return p.Kind == Bytes }) {
		return v.fault("%s reads and writes none", f.ev.Type)
	}
	if f.ev.Call.Data != nil {
		return v.fault("the data is given already")
	}
	f.ev.Call.Data = b
	return nil
}
