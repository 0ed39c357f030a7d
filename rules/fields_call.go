package rules

import (
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// parameter finds what stands in evt.arg's brackets: a name, or a number.
func parameter(r *Record, a arg) *event.Param {
	info := r.Type.Info()
	if p, _ := info.Param(a.Text); p != nil {
		return p
	}
	if n, ok := ordinal(a.Text); ok && n < len(info.Params) {
		return &info.Params[n]
	}
	return nil
}

// ordinal reads a number that is not negative. Unlike strconv.Atoi it makes no error, which would be made anew for every
// event without a parameter of that name.
func ordinal(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > 1<<20 {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}

func (r *Record) allArgs() (string, bool) {
	if !r.isCall() {
		return "", false
	}
	b := r.room()
	*b = r.appendArgs(*b)
	return view(*b), true
}

// result is what the call returned, as the language has it: of a clone the child.
func (r *Record) result() int64 {
	if r.Kind == event.Fork {
		return int64(r.Task.PID)
	}
	return r.Call.Result
}

// opened says whether the event opens a file in a way: event.OpenRead and its kin.
func opened(way int) func(*Record) (bool, bool) {
	return func(r *Record) (bool, bool) {
		return r.Type.Opens() && event.How(r.Event)&way != 0, r.isCall()
	}
}

// A typeSet is a set of event types.
type typeSet []bool

func (s typeSet) has(t event.Type) bool { return int(t) < len(s) && s[t] }

// types makes a set of names. A name that is none is left out, which a test finds.
func types(names string) typeSet {
	set := make(typeSet, len(event.Types))
	for name := range strings.FieldsSeq(names) {
		if t, ok := event.TypeNamed(name); ok {
			set[t] = true
		}
	}
	return set
}

var (
	reads  = types("read pread readv preadv preadv2 recv recvfrom recvmsg recvmmsg")
	writes = types("write pwrite writev pwritev pwritev2 send sendto sendmsg sendmmsg sendfile")
	waits  = types("poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 nanosleep clock_nanosleep futex")
)

// category is the type's, but of what reads and writes that of the descriptor.
func (r *Record) category() (string, bool) {
	if fd := r.descriptor(); fd != nil && (reads.has(r.Type) || writes.has(r.Type)) {
		switch {
		case isFile(fd.Type):
			return "file", true
		case isInet(fd.Type):
			return "net", true
		case fd.Type == event.UnixSocket, fd.Type == event.Pipe, fd.Type == event.EventFD, fd.Type == event.SignalFD, fd.Type == event.Inotify:
			return "ipc", true
		}
	}
	return r.Type.Info().Category, r.isCall()
}

func (r *Record) isOf(category string) bool {
	own, ok := r.category()
	return ok && own == category
}

// Directions and kinds of descriptors that evt.buflen and its kin count.
const (
	in = 1 << iota
	out
	inOut = in | out
)

func anything(event.DescriptorType) bool  { return true }
func files(t event.DescriptorType) bool   { return t == event.RegularFile }
func network(t event.DescriptorType) bool { return isInet(t) || t == event.UnixSocket }

// moved is how many bytes a call has read or written.
func moved(directions int, which func(event.DescriptorType) bool) func(*Record) (uint64, bool) {
	return func(r *Record) (uint64, bool) {
		ok := directions&in != 0 && reads.has(r.Type) || directions&out != 0 && writes.has(r.Type)
		if !ok || r.Call.Result < 0 || !which(r.FD.Type) {
			return 0, false
		}
		return uint64(r.Call.Result), true
	}
}

// rawArguments are evt.rawarg.NAME for every name of a parameter, of the type that the first event type with that name
// gives it. They are not listed, since evt.rawarg is.
func rawArguments() []field {
	var all []field
	known := map[string]bool{}
	for i := range event.Types {
		for j := range event.Types[i].Params {
			p := &event.Types[i].Params[j]
			if known[p.Name] {
				continue
			}
			known[p.Name] = true
			all = append(all, rawArgument(p))
		}
	}
	return all
}

func rawArgument(p *event.Param) field {
	name := p.Name
	f := field{Name: "evt.rawarg." + name, Doc: "Parameter " + name + " as it stands.", Flags: expr.Hidden | expr.NoRHS | expr.NoTransformer}
	switch rawKind(p) {
	case expr.Bytes:
		f.Kind, f.Bytes = expr.Bytes, func(r *Record, _ arg) ([]byte, bool) {
			own, _ := r.Type.Info().Param(name)
			return r.Call.Data, own != nil && own.Kind == event.Bytes && len(r.Call.Data) > 0
		}
	case expr.String:
		f.Kind, f.Text = expr.String, func(r *Record, _ arg) (string, bool) { return r.rawArg(arg{Text: name}) }
	case expr.Int64:
		f.Kind, f.Int = expr.Int64, func(r *Record, _ arg) (int64, bool) {
			n, ok := r.rawNumber(name)
			return int64(n), ok
		}
	default:
		f.Kind, f.Uint = expr.Uint64, func(r *Record, _ arg) (uint64, bool) {
			return r.rawNumber(name)
		}
	}
	return f
}

// rawKind is the type of a parameter's values.
func rawKind(p *event.Param) expr.Kind {
	switch shown(p) {
	case event.Int, event.Errno, event.FD, event.PID:
		return expr.Int64
	case event.String, event.Path, event.Sock, event.Tuple, event.Strings:
		return expr.String
	case event.Bytes:
		return expr.Bytes
	}
	return expr.Uint64
}

// rawNumber is a parameter that is a number, wherever the event holds it.
func (r *Record) rawNumber(name string) (uint64, bool) {
	p, _ := r.Type.Info().Param(name)
	if p == nil {
		return 0, false
	}
	return r.argument(p)
}

func (r *Record) rawArg(a arg) (string, bool) {
	p := parameter(r, a)
	if p == nil {
		return "", false
	}
	var ok bool
	b := r.room()
	*b, ok = r.appendRaw(*b, p)
	return view(*b), ok
}
