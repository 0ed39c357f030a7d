package rules

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/yagura-io/yagura/rules/event"
)

// shown is how a parameter is written.
func shown(p *event.Param) event.ParamKind {
	if p.Kind != event.Word {
		return p.Kind
	}
	if p.Shown == 0 {
		return event.Uint
	}
	return p.Shown
}

// number returns the value of a parameter that is one, as the kernel takes it.
func (r *Record) number(p *event.Param) uint64 {
	if p.Arg == event.Result {
		return uint64(r.result())
	}
	return r.Call.Number(p)
}

// argument returns the number of a parameter, wherever the event holds it; false if it is a text, or nobody knows.
func (r *Record) argument(p *event.Param) (uint64, bool) {
	switch shown(p) {
	case event.String, event.Path, event.Bytes, event.Sock, event.Tuple, event.Strings:
		return 0, false
	}
	if p.Kind != event.Word && p.Arg == event.NoArg {
		return r.own(p)
	}
	return r.number(p), true
}

// appendArg appends a parameter as evt.arg shows it: what it means where that is known (names of flags, the path behind a
// descriptor, the name of an error), else what it is. It returns false if there is none.
func (r *Record) appendArg(to []byte, p *event.Param) ([]byte, bool) {
	begin := len(to)
	if to = r.appendMeaning(to, p); len(to) > begin {
		return to, true
	}
	return r.appendRaw(to, p)
}

// appendMeaning appends what a parameter stands for, nothing if it stands for itself.
func (r *Record) appendMeaning(to []byte, p *event.Param) []byte {
	if p.Kind == event.Path {
		return r.appendAbsolute(to, p)
	}
	n, ok := r.argument(p)
	if !ok {
		return to
	}
	switch shown(p) {
	case event.Errno:
		return appendError(to, int64(n))
	case event.FD:
		return r.appendDescriptor(to, p, int64(n))
	case event.Bits:
		return r.appendFlags(p.AppendNames(to, event.Bits, n), p)
	case event.Enum:
		return p.AppendNames(to, event.Enum, n)
	case event.Signal:
		return append(to, event.SignalName(n)...)
	case event.UID, event.GID:
		return r.appendOwner(to, shown(p), uint32(n))
	case event.PID:
		return append(to, r.nameOf(p)...)
	}
	return to
}

// appendAbsolute appends a path that was passed, made absolute and cleaned; nothing if that is how it was passed.
func (r *Record) appendAbsolute(to []byte, p *event.Param) []byte {
	path, ok := r.lexical(int(p.Index))
	if !ok || path == view(r.Call.Text[p.Index].Raw) {
		return to
	}
	return append(to, path...)
}

// appendError appends the name of the error that a result is.
func appendError(to []byte, result int64) []byte {
	if name := event.ErrorName(result); result < 0 && name[0] == 'E' {
		return append(to, name...)
	}
	return to
}

// appendDescriptor appends <letters>name of the descriptor that the event is about, AT_FDCWD, or the error of a call that
// made none.
func (r *Record) appendDescriptor(to []byte, p *event.Param, n int64) []byte {
	switch {
	case n == -100:
		return append(to, "AT_FDCWD"...)
	case n < 0 && p.Arg == event.Result:
		return appendError(to, n)
	}
	if n != int64(r.FD.Num) || r.FD.Type == event.NoDescriptor || r.Kind != event.Syscall {
		return to
	}
	t := r.typeOf(&r.FD)
	to = append(append(to, '<'), typeChar(t)...)
	if isInet(t) {
		to = append(to, protocolLetter(&r.FD)...)
	}
	name, _ := r.fdName()
	return append(append(to, '>'), name...)
}

// protocolLetter is the letter behind 4 or 6.
func protocolLetter(fd *event.Descriptor) string {
	const icmp, tcp, udp, icmpv6, raw = 1, 6, 17, 58, 3
	switch {
	case fd.Protocol == tcp:
		return "t"
	case fd.Protocol == udp:
		return "u"
	case fd.Protocol == icmp, fd.Protocol == icmpv6:
		return "i"
	case fd.SockType == raw:
		return "r"
	}
	return ""
}

// appendFlags appends to the flags of an open what became of it.
func (r *Record) appendFlags(to []byte, p *event.Param) []byte {
	if p.Name != "flags" || !r.Type.Opens() || r.FD.Type == event.NoDescriptor {
		return to
	}
	if r.FD.Created {
		to = append(to, "|O_F_CREATED"...)
	}
	switch r.FD.Layer {
	case event.ExeUpperLayer:
		to = append(to, "|FD_UPPER_LAYER"...)
	case event.ExeLowerLayer:
		to = append(to, "|FD_LOWER_LAYER"...)
	}
	return to
}

const noID = 1<<32 - 1

// appendOwner appends the name of a user or a group, where it is known.
func (r *Record) appendOwner(to []byte, kind event.ParamKind, id uint32) []byte {
	switch {
	case id == noID:
		return append(to, "<NONE>"...)
	case r.names == nil:
		return to
	case kind == event.UID:
		u, _ := r.names.User(r.Event, id)
		return append(to, u.Name...)
	}
	name, _ := r.names.Group(r.Event, id)
	return append(to, name...)
}

// nameOf is the name of the process whose number a parameter is, where the event knows it: of those that come with the
// event, not of those that a call names.
func (r *Record) nameOf(p *event.Param) string {
	switch {
	case p.Arg == event.Result && r.Kind == event.Fork:
		return taskName(&r.Task)
	case p.Arg != event.NoArg || r.Process == nil:
	case p.Name == "pid" || p.Name == "tid":
		return commText(&r.Process.Comm)
	case p.Name == "ptid" && r.Process.Parent != nil:
		return commText(&r.Process.Parent.Comm)
	}
	return ""
}

func taskName(t *event.Task) string {
	n := bytes.IndexByte(t.Comm[:], 0)
	if n < 0 {
		n = len(t.Comm)
	}
	return view(t.Comm[:n])
}

// appendRaw appends a parameter as it stands; false if nobody knows it.
func (r *Record) appendRaw(to []byte, p *event.Param) ([]byte, bool) {
	n, ok := r.argument(p)
	if !ok {
		return r.appendText(to, p)
	}
	switch shown(p) {
	case event.Int, event.Errno, event.PID, event.FD:
		return strconv.AppendInt(to, int64(n), 10), true
	case event.UID, event.GID:
		return strconv.AppendInt(to, int64(int32(n)), 10), true
	case event.Hex:
		return appendHex(to, n), true
	case event.Octal:
		return appendOctal(to, n), true
	case event.Bits:
		if p.Shown == event.Octal {
			return appendOctal(to, n), true
		}
	case event.Boolean:
		return strconv.AppendBool(to, n != 0), true
	}
	return strconv.AppendUint(to, n, 10), true
}

// appendHex appends a number as the language has it: upper case, and nothing before it.
func appendHex(to []byte, n uint64) []byte {
	begin := len(to)
	to = strconv.AppendUint(to, n, 16)
	for i := begin; i < len(to); i++ {
		if to[i] >= 'a' {
			to[i] -= 'a' - 'A'
		}
	}
	return to
}

// appendOctal appends permissions, of which the kernel takes 16 bits.
func appendOctal(to []byte, n uint64) []byte {
	if n &= 0o177777; n == 0 {
		return append(to, '0')
	}
	return strconv.AppendUint(append(to, '0'), n, 8)
}

// appendText appends a parameter that is no number.
func (r *Record) appendText(to []byte, p *event.Param) ([]byte, bool) {
	switch {
	case p.Kind == event.Bytes && p.Arg != event.NoArg:
		return appendPrintable(to, r.Call.Data), len(r.Call.Data) > 0
	case p.Kind == event.Sock:
		return r.appendAddress(to)
	case p.Kind == event.Tuple:
		name, ok := r.fdName()
		return append(to, name...), ok
	case p.Kind == event.Path && r.Kind == event.Exec && r.Call.Text[p.Index].Raw == nil:
		return append(to, r.Path...), len(r.Path) > 0
	case p.Arg >= 0 && (p.Kind == event.String || p.Kind == event.Path):
		t := &r.Call.Text[p.Index]
		return append(to, t.Raw...), !t.Fault && (t.Raw != nil || len(t.Dir) > 0)
	}
	return r.appendOwn(to, p)
}

// appendPrintable appends data with a dot for each byte that is no printable one of ASCII.
func appendPrintable(to, data []byte) []byte {
	for _, c := range data {
		if c < ' ' || c > '~' {
			c = '.'
		}
		to = append(to, c)
	}
	return to
}

func (r *Record) appendAddress(to []byte) ([]byte, bool) {
	switch a := &r.Call.Address; {
	case a.Path != "":
		return append(to, a.Path...), true
	case a.Peer.IsValid():
		return appendEnd(to, a.Peer, netip.AddrPort{}), true
	}
	return to, false
}

// appendArgs appends all parameters, as name=value(meaning).
func (r *Record) appendArgs(to []byte) []byte {
	params := r.Type.Info().Params
	for i := range params {
		p := &params[i]
		if i > 0 {
			to = append(to, ' ')
		}
		to = append(append(to, p.Name...), '=')
		value := len(to)
		var ok bool
		if to, ok = r.appendRaw(to, p); !ok {
			to = append(to[:value], "<NA>"...)
			continue
		}
		end := len(to)
		to = r.appendMeaning(append(to, '('), p)
		if len(to) == end+1 || bytes.Equal(to[end+1:], to[value:end]) {
			to = to[:end]
			continue
		}
		to = append(to, ')')
	}
	return to
}
