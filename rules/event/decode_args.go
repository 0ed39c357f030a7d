package event

import (
	"slices"
	"strconv"
	"strings"
)

const atCwd = -100 // AT_FDCWD

// written is how a parameter is read and written.
func (p *Param) written() ParamKind {
	if p.Kind == Word {
		if p.Shown == 0 {
			return Uint
		}
		return p.Shown
	}
	return p.Kind
}

// isText says that a parameter is a string of the caller.
func (p *Param) isText() bool { return (p.Kind == String || p.Kind == Path) && p.Arg >= 0 }

// place is where the number of a parameter is, nil if it is none or stands elsewhere in the event.
func (c *Call) place(p *Param) *uint64 {
	switch p.Kind {
	case String, Path, Bytes, Sock, Tuple, Strings:
		return nil
	case Word:
		return &c.Word[p.Index]
	}
	if p.Arg >= 0 {
		return &c.Arg[p.Arg]
	}
	return nil
}

// defaultArgs sets what is not zero even if nobody says so: relative paths start in the working directory.
func (f *form) defaultArgs() error {
	params := f.ev.Type.Info().Params
	for i := range params {
		if p := &params[i]; p.Kind == Path && p.Dir >= 0 {
			f.ev.Call.Arg[p.Dir] = usualArg(params, p.Dir)
		}
	}
	return nil
}

// usualArg is what an argument is if nobody says so.
func usualArg(params []Param, arg int8) uint64 {
	if slices.ContainsFunc(params, func(p Param) bool { return p.Kind == Path && p.Dir == arg }) {
		at := int64(atCwd)
		return uint64(at)
	}
	return 0
}

// readArgs reads parameters by their names.
func (f *form) readArgs(v *value) error {
	if v.kind != isObject {
		return v.wrong("an object of parameters")
	}
	if err := f.defaultArgs(); err != nil {
		return err
	}
	info := f.ev.Type.Info()
	for _, m := range v.members {
		p, _ := info.Param(m.key)
		if p == nil {
			if len(info.Params) == 0 {
				return m.fault("%s has no parameters", f.ev.Type)
			}
			return m.fault("%s has no such parameter%s", f.ev.Type, choices(m.key, info.paramNames()))
		}
		if err := f.readArg(m, p); err != nil {
			return err
		}
	}
	return nil
}

func (i *TypeInfo) paramNames() (names []string) {
	for n := range i.Params {
		names = append(names, i.Params[n].Name)
	}
	return names
}

func (f *form) readArg(v *value, p *Param) error {
	c := &f.ev.Call
	switch {
	case p.Arg == Result:
		if f.whole.has("res") {
			return v.fault("it is what the call returned, which res gives already")
		}
		return f.readResult(v)
	case p.Kind == Bytes:
		return f.readData(v)
	case p.Kind == Sock, p.Kind == Tuple && p.Arg >= 0:
		return f.readPeer(v)
	case p.isText():
		s, err := v.asText()
		c.Text[p.Index].Raw = []byte(s)
		return err
	}
	to := c.place(p)
	if to == nil {
		return v.fault("%s", f.elsewhere(p))
	}
	n, err := p.read(v)
	*to = n
	return err
}

// elsewhere says where to give what stands in no argument.
func (f *form) elsewhere(p *Param) string {
	switch {
	case p.Kind == Tuple || p.Name == "dev" || p.Name == "ino" || p.Name == "path":
		return "it comes from fd"
	case f.ev.Type == typeExit:
		return "it comes from status"
	case f.ev.Type.forks():
		return "it comes from process and child"
	case f.ev.Type == typeExecve, f.ev.Type == typeExecveat:
		return "it comes from process"
	}
	return "it is not known of any event"
}

// read reads a parameter's number: as such, or as evt.arg shows it.
func (p *Param) read(v *value) (uint64, error) {
	kind := p.written()
	if v.kind == isBool && kind == Boolean {
		if v.truth {
			return 1, nil
		}
		return 0, nil
	}
	if v.kind != isText {
		return p.readNumber(v, kind)
	}
	switch kind {
	case Bits:
		return p.readBits(v)
	case Enum:
		return p.readNames(v, p.Names, v.text)
	case Signal:
		return p.readNames(v, signalNames, v.text)
	case Errno:
		n, err := asResult(v)
		return uint64(n), err
	case FD:
		if v.text == "AT_FDCWD" {
			at := int64(atCwd)
			return uint64(at), nil
		}
		return 0, v.wrong("the number of a descriptor, or AT_FDCWD; what it is stands in fd")
	case UID, GID:
		if v.text == "root" {
			return 0, nil
		}
		return 0, v.wrong("the number of a user or group, or root")
	case Hex, Octal:
		return p.readDigits(v)
	}
	return 0, v.wrong("a number")
}

func (p *Param) readNumber(v *value, kind ParamKind) (uint64, error) {
	n, err := strconv.ParseInt(v.text, 10, 64)
	if u, uerr := strconv.ParseUint(v.text, 10, 64); uerr == nil {
		n, err = int64(u), nil
	}
	want := "a whole number"
	switch kind {
	case Bits, Enum, Signal:
		want = "names such as " + p.example(kind) + ", or a whole number"
	case Octal:
		want = `octal digits such as "0644", or a whole number`
	}
	if v.kind != isNumber || err != nil {
		return 0, v.wrong(want)
	}
	if n < 0 && strings.HasPrefix(v.text, "-") && (kind == Uint || kind == Hex || kind == Octal || kind == Bits) {
		return 0, v.wrong(want + ", not below zero")
	}
	if (kind == UID || kind == GID || kind == FD) && (n < -1<<31 || n > 1<<32-1) {
		return 0, v.wrong("a number of 32 bits")
	}
	return uint64(n), nil
}

func (p *Param) example(kind ParamKind) string {
	if kind == Signal {
		return "SIGKILL"
	}
	if len(p.Names) == 0 {
		return "A|B"
	}
	return p.Names[len(p.Names)/2].Name
}

// readDigits reads 0644 and 0x1f.
func (p *Param) readDigits(v *value) (uint64, error) {
	n, err := strconv.ParseUint(v.text, 0, 64)
	if err != nil || !strings.HasPrefix(v.text, "0") {
		return 0, v.wrong("a number, or octal or hexadecimal digits behind 0 or 0x")
	}
	return n, nil
}

// readBits reads names and numbers joined by |.
func (p *Param) readBits(v *value) (set uint64, err error) {
	for part := range strings.SplitSeq(v.text, "|") {
		n, err := p.readNames(v, p.Names, strings.TrimSpace(part))
		if err != nil {
			return 0, err
		}
		set |= n
	}
	return set, nil
}

func (p *Param) readNames(v *value, names []Name, name string) (uint64, error) {
	if i := slices.IndexFunc(names, func(n Name) bool { return n.Name == name }); i >= 0 {
		return names[i].Value, nil
	}
	if n, err := strconv.ParseUint(name, 0, 64); err == nil {
		return n, nil
	}
	var all []string
	for _, n := range names {
		all = append(all, n.Name)
	}
	if len(all) == 0 {
		return 0, v.wrong("a number")
	}
	return 0, v.fault("unknown name %q%s", name, choices(name, all))
}

// writeArgs writes the parameters that are not what they are by default.
func (f *form) writeArgs(to []byte) []byte {
	begin := len(to)
	params, c := f.ev.Type.Info().Params, &f.ev.Call
	for i := range params {
		p := &params[i]
		mark := len(to)
		to = append(append(append(to, `,"`...), p.Name...), `":`...)
		value := len(to)
		if p.isText() {
			if t := &c.Text[p.Index]; len(t.Raw) > 0 || len(t.Dir) > 0 {
				to = appendText(to, string(t.Raw))
			}
		} else if n := c.place(p); n != nil && !f.isUsual(p, *n) {
			to = p.appendValue(to, *n)
		}
		if len(to) == value {
			to = to[:mark]
		}
	}
	if len(to) == begin {
		return to
	}
	to[begin] = '{'
	return append(to, '}')
}

// isUsual says that a parameter is read so without being written.
func (f *form) isUsual(p *Param, n uint64) bool {
	switch {
	case p.Kind == Word:
		return n == 0
	case p == f.argOfFD() && f.ev.Kind == Syscall && f.ev.FD.Type != NoDescriptor:
		return int32(n) == f.ev.FD.Num
	}
	return n == usualArg(f.ev.Type.Info().Params, p.Arg)
}

// appendValue appends a number as read reads it: names where they tell all of it.
func (p *Param) appendValue(to []byte, n uint64) []byte {
	switch p.written() {
	case Bits:
		return p.appendBits(to, n)
	case Enum, Signal:
		names := p.Names
		if p.written() == Signal {
			names = signalNames
		}
		if i := slices.IndexFunc(names, func(known Name) bool { return known.Value == n }); i >= 0 {
			return appendText(to, names[i].Name)
		}
	case Octal:
		return append(strconv.AppendUint(append(to, `"0`...), n, 8), '"')
	case Hex:
		return append(strconv.AppendUint(append(to, `"0x`...), n, 16), '"')
	case FD:
		if int32(n) == atCwd {
			return append(to, `"AT_FDCWD"`...)
		}
		return appendInt(to, int64(int32(n)))
	case UID, GID:
		return appendUint(to, uint64(uint32(n)))
	case Int, PID, Errno:
		return appendInt(to, int64(n))
	}
	return appendUint(to, n)
}

func (p *Param) appendBits(to []byte, n uint64) []byte {
	to = append(to, '"')
	begin := len(to)
	to = p.AppendNames(to, Bits, n)
	known, _ := p.Value(string(to[begin:]))
	if rest := n &^ known; rest != 0 || len(to) == begin {
		if len(to) > begin {
			to = append(to, '|')
		}
		to = strconv.AppendUint(append(to, "0x"...), rest, 16)
	}
	return append(to, '"')
}
