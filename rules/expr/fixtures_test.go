package expr

import (
	"errors"
	"net/netip"
	"strconv"
	"testing"
)

// record is an event of the tests: the values of each field, none if it is absent.
type record map[string][]any

// read makes the reader of one value.
func read[V any](name string) func(*record, Argument) (V, bool) {
	return func(r *record, a Argument) (v V, _ bool) {
		values := (*r)[name]
		if a.Number >= len(values) {
			return v, false
		}
		return values[a.Number].(V), true
	}
}

// each makes the reader of several values.
func each[V any](name string) func(*record, Argument, func(V) bool) bool {
	return func(r *record, _ Argument, yield func(V) bool) bool {
		for _, v := range (*r)[name] {
			if !yield(v.(V)) {
				return false
			}
		}
		return true
	}
}

// fieldOf makes a row of the table: the readers that its kind and flags ask for.
func fieldOf(name string, k Kind, flags Flags) Field[record] {
	f := Field[record]{Name: name, Kind: k, Flags: flags}
	if flags&NumberArg != 0 {
		f.Arity = OptionalArg
	}
	several := flags&(AnyOf|ListValued|TwoSided) != 0
	switch k.class() {
	case texts:
		f.Text = read[string](name)
		if several {
			f.Texts = each[string](name)
		}
		if flags&Resolved != 0 {
			f.Text, f.Addr = nil, read[netip.Addr](name)
		}
	case byteStrings:
		f.Bytes = read[[]byte](name)
	case booleans:
		f.Bool = read[bool](name)
	case signed:
		f.Int = read[int64](name)
		if several {
			f.Ints = each[int64](name)
		}
	case unsigned:
		f.Uint = read[uint64](name)
		if several {
			f.Uints = each[uint64](name)
		}
	case floats:
		f.Float = read[float64](name)
	case addresses:
		f.Addr = read[netip.Addr](name)
		if several {
			f.Addrs = each[netip.Addr](name)
		}
	}
	return f
}

func fieldsOfTests() []Field[record] {
	arg := fieldOf("evt.arg", String, 0)
	arg.Arity = RequiredArg
	arg.Text = func(r *record, a Argument) (string, bool) { return read[string]("evt.arg."+a.Text)(r, Argument{}) }
	checked := fieldOf("fd.checked", String, 0)
	checked.Arity = OptionalArg
	checked.Check = func(a Argument) error {
		if a.Text != "good" {
			return errors.New(`want "good"`)
		}
		return nil
	}
	return []Field[record]{
		fieldOf("evt.type", String, 0), fieldOf("proc.name", String, 0), fieldOf("proc.exe", String, 0),
		fieldOf("proc.cmdline", String, 0), fieldOf("fd.name", Path, 0), fieldOf("jevt.value", String, 0),
		fieldOf("proc.secret", String, NoRHS|NoTransformer), fieldOf("evt.dir", String, Deprecated),
		fieldOf("evt.table", String, PrintOnly), arg, checked,
		fieldOf("evt.num", Uint64, 0), fieldOf("user.uid", Uint32, 0), fieldOf("fd.sport", Port, 0), fieldOf("fd.lport", Port, 0),
		fieldOf("evt.cpu", Int16, 0), fieldOf("fd.dev", Int32, 0), fieldOf("evt.rawres", Int64, 0), fieldOf("proc.pid", Int64, 0),
		fieldOf("proc.small", Uint8, 0), fieldOf("proc.short", Uint16, 0), fieldOf("thread.cpu", Double, 0),
		fieldOf("proc.duration", RelativeTime, 0), fieldOf("evt.rawtime", AbsoluteTime, 0),
		fieldOf("evt.failed", Bool, 0), fieldOf("evt.is_io", Bool, 0), fieldOf("evt.buffer", Bytes, 0),
		fieldOf("fd.types", String, ListValued), fieldOf("proc.args", String, ListValued), fieldOf("list.numbers", Int64, ListValued),
		fieldOf("proc.aname", String, AnyOf|NumberArg|NoRHS|NoTransformer), fieldOf("proc.apid", Int64, AnyOf|NumberArg|NoRHS|NoTransformer),
		fieldOf("fd.sip", IPAddr, 0), fieldOf("fd.cip", IPAddr, 0), fieldOf("fd.snet", IPNet, 0),
		fieldOf("fd.ip", IPAddr, TwoSided|NoRHS), fieldOf("fd.net", IPNet, TwoSided|NoRHS), fieldOf("fd.port", Port, TwoSided|NoRHS),
		fieldOf("fd.sip.name", String, Resolved|NoRHS),
	}
}

var language = NewLanguage(fieldsOfTests(), Options{
	Resolve: func(host string) []netip.Addr { return hosts[host] },
	Service: func(name string) (uint16, bool) { return map[string]uint16{"ssh": 22}[name], name == "ssh" },
})

var hosts = map[string][]netip.Addr{"example.test": {addr("192.0.2.1"), addr("2001:db8::1")}, "other.test": {addr("198.51.100.7")}}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func values[V any](all ...V) (list []any) {
	for _, v := range all {
		list = append(list, v)
	}
	return list
}

// cat is `cat /etc/shadow` run by a shell of nginx.
func cat() *record {
	return &record{
		"evt.type": values("openat"), "proc.name": values("cat"), "proc.exe": values("cat"), "fd.name": values("/etc/shadow"),
		"proc.cmdline": values("cat /etc/shadow"), "evt.arg.flags": values("O_RDONLY|O_CLOEXEC"), "proc.secret": values("s"),
		"evt.dir": values("<"), "evt.rawres": values(int64(-2)), "proc.pid": values(int64(40)), "evt.num": values(uint64(7)), "user.uid": values(uint64(0)),
		"fd.sport": values(uint64(22)), "fd.lport": values(uint64(40000)), "evt.cpu": values(int64(3)), "fd.dev": values(int64(-7)),
		"proc.small": values(uint64(200)), "proc.short": values(uint64(0xff)), "thread.cpu": values(1.5),
		"proc.duration": values(uint64(2_000_000_000)), "evt.rawtime": values(uint64(1_700_000_000_000_000_000)),
		"evt.failed": values(true), "evt.buffer": values([]byte("\xca\xfe\xba\xbetext")),
		"fd.sip": values(addr("192.0.2.1")), "fd.cip": values(addr("::ffff:192.0.2.1")), "fd.snet": values(addr("10.1.2.3")),
		"fd.ip": values(addr("10.0.0.1"), addr("192.0.2.1")), "fd.net": values(addr("10.0.0.1"), addr("192.0.2.1")),
		"fd.port": values(uint64(40000), uint64(22)), "fd.sip.name": values(addr("::ffff:192.0.2.1")),
		"fd.types": values("file", "ipv4"), "proc.args": values("-c", "-o", "out", "/etc/shadow"), "list.numbers": values(int64(1), int64(2)),
		"proc.aname": values("sh", "nginx", "systemd"), "proc.apid": values(int64(30), int64(20), int64(1)),
	}
}

// truth compiles a condition, as it is written and optimized, and evaluates it.
func truth(condition string, r *record) (bool, error) {
	n, err := Parse(condition)
	if err != nil {
		return false, err
	}
	test, err := language.Compile(n)
	if err != nil {
		return false, err
	}
	plain, err := language.compile(n)
	if err != nil {
		return false, err
	}
	if test(r) != plain(r) {
		return false, errors.New("optimized it is " + strconv.FormatBool(test(r)) + ", and as it stands the opposite")
	}
	return test(r), nil
}

// truths returns a function that checks what a condition is of a record.
func truths(t *testing.T, r *record) func(condition string, want bool) {
	return func(condition string, want bool) {
		t.Helper()
		if got, err := truth(condition, r); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", condition, got, err, want)
		}
	}
}

// offset is where an error points, -1 if it does not.
func offset(err error) int {
	var syntax *SyntaxError
	var check *CheckError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset
	case errors.As(err, &check):
		return check.Offset
	}
	return -1
}

func mustParse(t testing.TB, condition string) Node {
	t.Helper()
	n, err := Parse(condition)
	if err != nil {
		t.Fatalf("Parse(%q): %v at %d", condition, err, offset(err))
	}
	return n
}

// problem says what is wrong with a condition: why it cannot be read or compiled.
func problem(condition string) error {
	n, err := Parse(condition)
	if err == nil {
		_, err = language.Compile(n)
	}
	return err
}
