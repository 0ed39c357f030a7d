package expr

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// record is an event of the tests: what is nil is absent.
type record struct {
	texts map[string]string
	ints  map[string]int64
	uints map[string]uint64
	flags map[string]bool
	raw   map[string][]byte
	addrs map[string][]netip.Addr
	lists map[string][]string
}

func fieldsOfTests() []Field[record] {
	text := func(name string, k Kind, flags Flags) Field[record] {
		return Field[record]{Name: name, Kind: k, Flags: flags, Text: func(r *record, _ Argument) (string, bool) { s, ok := r.texts[name]; return s, ok }}
	}
	number := func(name string, k Kind) Field[record] {
		return Field[record]{Name: name, Kind: k, Uint: func(r *record, _ Argument) (uint64, bool) { n, ok := r.uints[name]; return n, ok }}
	}
	list := func(name string, flags Flags) Field[record] {
		return Field[record]{Name: name, Kind: String, Flags: flags, Arity: OptionalArg,
			Text: func(r *record, a Argument) (string, bool) {
				if a.Number >= len(r.lists[name]) {
					return "", false
				}
				return r.lists[name][a.Number], true
			},
			Texts: func(r *record, _ Argument, yield func(string) bool) bool {
				for _, s := range r.lists[name] {
					if !yield(s) {
						return false
					}
				}
				return true
			}}
	}
	addr := func(name string, k Kind, flags Flags) Field[record] {
		f := Field[record]{Name: name, Kind: k, Flags: flags}
		if flags&TwoSided != 0 {
			f.Addrs = func(r *record, _ Argument, yield func(netip.Addr) bool) bool {
				for _, a := range r.addrs[name] {
					if !yield(a) {
						return false
					}
				}
				return true
			}
			return f
		}
		f.Addr = func(r *record, _ Argument) (netip.Addr, bool) {
			if len(r.addrs[name]) == 0 {
				return netip.Addr{}, false
			}
			return r.addrs[name][0], true
		}
		return f
	}
	return []Field[record]{
		text("evt.type", String, 0), text("proc.name", String, 0), text("proc.exe", String, 0), text("proc.cmdline", String, 0),
		text("fd.name", Path, 0), text("proc.secret", String, NoRHS|NoTransformer), text("evt.dir", String, Deprecated),
		text("jevt.value", String, 0), text("evt.table", String, PrintOnly),
		{Name: "evt.arg", Kind: String, Arity: RequiredArg, Text: func(r *record, a Argument) (string, bool) { s, ok := r.texts["evt.arg."+a.Text]; return s, ok }},
		number("evt.num", Uint64), number("user.uid", Uint32), number("fd.sport", Port), number("evt.cpu", Uint16),
		{Name: "evt.rawres", Kind: Int64, Int: func(r *record, _ Argument) (int64, bool) { n, ok := r.ints["evt.rawres"]; return n, ok }},
		{Name: "evt.failed", Kind: Bool, Bool: func(r *record, _ Argument) (bool, bool) { b, ok := r.flags["evt.failed"]; return b, ok }},
		{Name: "evt.buffer", Kind: Bytes, Bytes: func(r *record, _ Argument) ([]byte, bool) { b, ok := r.raw["evt.buffer"]; return b, ok }},
		list("fd.types", ListValued), list("proc.aname", AnyOf|NumberArg|NoRHS|NoTransformer), list("proc.args", ListValued|NumberArg),
		addr("fd.sip", IPAddr, 0), addr("fd.snet", IPNet, 0), addr("fd.ip", IPAddr, TwoSided), addr("fd.net", IPNet, TwoSided),
		addr("fd.sip.name", String, Resolved),
	}
}

var language = NewLanguage(fieldsOfTests(), Options{
	Resolve: func(host string) []netip.Addr {
		if host == "example.test" {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		}
		return nil
	},
	Service: func(name string) (uint16, bool) { return map[string]uint16{"ssh": 22}[name], name == "ssh" },
})

func addrs(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

// cat is `cat /etc/shadow` run by a shell of nginx.
func cat() *record {
	return &record{
		texts: map[string]string{"evt.type": "openat", "proc.name": "cat", "proc.exe": "cat", "fd.name": "/etc/shadow",
			"proc.cmdline": "cat /etc/shadow", "evt.arg.flags": "O_RDONLY|O_CLOEXEC", "proc.secret": "s", "evt.dir": "<"},
		ints: map[string]int64{"evt.rawres": -2}, uints: map[string]uint64{"evt.num": 7, "user.uid": 0, "fd.sport": 22},
		flags: map[string]bool{"evt.failed": true}, raw: map[string][]byte{"evt.buffer": []byte("\xca\xfe\xba\xbetext")},
		addrs: map[string][]netip.Addr{"fd.sip": addrs("192.0.2.1"), "fd.snet": addrs("10.1.2.3"), "fd.ip": addrs("10.0.0.1", "192.0.2.1"),
			"fd.net": addrs("10.0.0.1", "192.0.2.1"), "fd.sip.name": addrs("::ffff:192.0.2.1")},
		lists: map[string][]string{"fd.types": {"file", "ipv4"}, "proc.aname": {"sh", "nginx", "systemd"}, "proc.args": {"-c", "-o", "out", "/etc/shadow"}},
	}
}

func TestTruth(t *testing.T) {
	f := func(condition string, want bool) {
		t.Helper()
		n, err := Parse(condition)
		if err != nil {
			t.Errorf("Parse(%q): %v", condition, err)
			return
		}
		test, err := language.Compile(n)
		if err != nil {
			t.Errorf("Compile(%q): %v", condition, err)
			return
		}
		if got := test(cat()); got != want {
			t.Errorf("%s is %v, want %v", condition, got, want)
		}
		again, err := Parse(Print(n))
		if err != nil || Print(again) != Print(n) {
			t.Errorf("%s prints as %s, which reads as %v, %v", condition, Print(n), again, err)
		}
	}
	f("evt.type = openat and not proc.name in (vi, nano)", true)
	f("evt.type=openat and(proc.name=cat)", true)
	f("not evt.type = openat or proc.name = cat", true)
	f("not (evt.type = openat or proc.name = cat)", false)
	// An absent field equals nothing, differs from nothing, and does not exist.
	f("jevt.value = a", false)
	f("jevt.value != a", false)
	f("not jevt.value = a", true)
	f("jevt.value exists", false)
	f("not jevt.value exists and proc.name exists", true)
	f("jevt.value in (a)", false)
	// Strings.
	f("proc.name == cat", true)
	f("proc.name != dog", true)
	f("fd.name startswith /etc", true)
	f("fd.name endswith shadow", true)
	f("fd.name contains c/s", true)
	f("fd.name icontains C/SHA", true)
	f("fd.name glob /etc/sh*", true)
	f("fd.name glob /*w", true)
	f("fd.name glob /etc/shado[a-v]", false)
	f("fd.name glob /etc/shado[!a-v]", true)
	f(`fd.name glob "/etc/shado\\w"`, true)
	f("fd.name glob /ETC/*", false)
	f("fd.name iglob /ETC/SH??OW", true)
	f(`fd.name regex "/etc/(shadow|passwd)"`, true)
	f("fd.name regex shadow", false)
	f("fd.name pmatch (/etc)", true)
	f("fd.name pmatch (/et)", false)
	f("fd.name pmatch (/etc/shadow/x, /usr)", false)
	f("fd.name pmatch (/usr, /e*/shadow)", true)
	f("fd.name startswith oneof (/usr, /etc)", true)
	f("fd.name startswith allof (/, /etc)", true)
	f("fd.name startswith allof (/, /usr)", false)
	f("proc.name = anyof (dog, cat)", true)
	f("proc.name != allof (dog, cow)", true)
	f("proc.name != allof (dog, cat)", false)
	f("proc.name = anyof ()", false)
	f("proc.name in ()", false)
	f("proc.name in (a, b, c, d, e, cat)", true)
	f("proc.name in (a, b, c, d, e)", false)
	f("proc.name intersects (cat)", true)
	f(`proc.cmdline = "cat /etc/shadow"`, true)
	f("evt.arg.flags contains O_CLOEXEC", true)
	f("evt.arg[flags] contains O_CREAT", false)
	f("evt.arg.mode exists", false)
	// Numbers.
	f("evt.rawres < 0", true)
	f("evt.rawres = -2", true)
	f("evt.rawres in (-1, -2)", true)
	f("evt.rawres >= -2 and evt.rawres <= 0x10", true)
	f("user.uid = 0 and user.uid != 1", true)
	f("fd.sport = ssh", true)
	f("fd.sport in (21, ssh)", true)
	f("fd.sport > 1024", false)
	f("evt.num > 0", true)
	f("evt.failed = true", true)
	f("evt.failed != true", false)
	f("evt.failed in (false)", false)
	// Bytes.
	f("evt.buffer bcontains babe", true)
	f("evt.buffer bstartswith CAFE", true)
	f("evt.buffer bstartswith babe", false)
	f("evt.buffer contains text", true)
	f("evt.buffer endswith ext", true)
	// Lists: in wants all, intersects any.
	f("fd.types in (file, ipv4, pipe)", true)
	f("fd.types in (file)", false)
	f("fd.types intersects (file)", true)
	f("fd.types exists", true)
	// Ancestors: any.
	f("proc.aname = nginx", true)
	f("proc.aname != nginx", true)
	f("proc.aname in (apache2, nginx)", true)
	f("proc.aname[1] = nginx", true)
	f("proc.aname[1] != nginx", false)
	f("proc.aname[9] exists", false)
	f("proc.aname startswith sys", true)
	// Addresses, and fields with two sides.
	f("fd.sip = 192.0.2.1", true)
	f(`fd.sip in ("10.0.0.1", "192.0.2.1")`, true)
	f("fd.snet = 10.0.0.0/8", true)
	f("fd.snet in (192.0.2.0/24, 10.1.2.3)", true)
	f("fd.snet != 10.0.0.0/8", false)
	f("fd.ip = 10.0.0.1", true)
	f("fd.ip = 192.0.2.1", true)
	f("fd.ip != 192.0.2.1", false)
	f("fd.ip != 192.0.2.2", true)
	f("fd.net in (192.0.2.0/24)", true)
	f("fd.sip.name = example.test", true)
	f("fd.sip.name in (nobody.test, example.test)", true)
	f("fd.sip.name != example.test", false)
	// Transformers.
	f("toupper(proc.name) = CAT", true)
	f("tolower(fd.name) startswith /etc", true)
	f("basename(fd.name) = shadow", true)
	f("len(proc.name) = 3", true)
	f("len(fd.types) > 1", true)
	f("b64(jevt.value) exists", false)
	f("concat(proc.name, -, proc.exe) = cat-cat", true)
	f(`join(",", fd.types) = "file,ipv4"`, true)
	f(`join("-", (a, b)) = a-b`, true)
	f(`getopt(proc.args, "co:")[o] intersects (out)`, true)
	f(`getopt(proc.args, "co:") in (c, o)`, true)
	f("proc.name = val(proc.exe)", true)
	f("proc.cmdline startswith val(proc.name)", true)
	f("proc.name = toupper(proc.exe)", false)
	f("proc.name <= val(proc.exe)", true)
	f("evt.rawres = val(evt.rawres)", true)
	f("proc.cmdline contains basename(fd.name)", true)
}

func TestErrorsPoint(t *testing.T) {
	// The place is where ^ stands in the line below.
	for _, c := range []string{
		"proc.name = \n            ^unexpected the end: want a value",
		"proc.name cat\n          ^unexpected \"cat\": want an operator",
		"(proc.name = cat\n                ^unexpected the end: want ')' for the '(' at 1",
		"proc.name = cat)\n               ^unexpected \")\" after the condition",
		"proc.name = \"cat\n            ^unterminated string",
		`proc.name = "a\q"` + "\n              ^unknown escape \\q",
		`proc.name = "a\x0"` + "\n              ^\\x wants two hexadecimal digits",
		"proc.name in cat, dog\n                ^unexpected \",\" after the condition",
		"proc.name in (cat dog)\n                  ^unexpected \"dog)\": want ',' or ')'",
		"evt.rawres > many\n             ^\"many\": want a number",
		"proc.nmae = cat\n^unknown field \"proc.nmae\" (proc.name?)",
		"evt.type = open and proc.nmae = cat\n                    ^unknown field",
		"proc.name[1] = cat\n^field proc.name takes no argument",
		"evt.arg = x\n^field evt.arg wants an argument",
		"proc.aname[x] = cat\n^field proc.aname[x]: want a number that is not negative",
		"fd.types startswith a\n^fd.types: operator 'startswith' not supported list filters",
		"proc.name bcontains 00\n^proc.name: 'bcontains' operator not supported for string filters",
		"evt.buffer bcontains zz\n                     ^\"zz\": bcontains and bstartswith operator support hex strings only",
		"evt.failed < 1\n^evt.failed: operator '<' is not supported for values of type bool",
		"evt.failed = yes\n             ^\"yes\": want true or false",
		"user.uid = -1\n           ^\"-1\": want a number (uint32)",
		"evt.cpu in (1, 65536)\n               ^65536 does not fit into uint16",
		"fd.sport = nosuch\n           ^\"nosuch\": want a port",
		"fd.sip = 10.0.0.0/8\n         ^\"10.0.0.0/8\": want an address",
		"fd.snet = here\n          ^\"here\": want an address or a network",
		"fd.ip contains 1\n^fd.ip: operator 'contains' is not supported",
		"fd.name regex (\n              ^unexpected",
		"fd.name regex \"(a\"\n              ^regex \"(a\": missing closing )",
		"proc.name = val(proc.secret)\n            ^field proc.secret cannot stand on the right",
		"tolower(proc.secret) = a\n        ^field proc.secret cannot be transformed",
		"tolower(user.uid) = a\n        ^tolower wants a string",
		"concat(proc.name) = a\n^concat wants at least 2 arguments",
		"proc.name = val(user.uid)\n            ^user.uid is of type uint32, and proc.name of type string",
		"evt.table = a\n^field evt.table is for output only",
		"some_macro\n^Undefined macro 'some_macro' used in filter.",
		"\n^unexpected the end",
	} {
		condition, rest, _ := strings.Cut(c, "\n")
		column := strings.IndexByte(rest, '^')
		n, err := Parse(condition)
		if err == nil {
			_, err = language.Compile(n)
		}
		var syntax *SyntaxError
		var check *CheckError
		at := -1
		if errors.As(err, &syntax) {
			at = syntax.Offset
		} else if errors.As(err, &check) {
			at = check.Offset
		}
		if err == nil || at != column || !strings.HasPrefix(err.Error(), rest[column+1:]) {
			t.Errorf("%s\n%s\ngot %v at %d, want it at %d", condition, rest, err, at, column)
		}
	}
}

func TestPrintIsCanonical(t *testing.T) {
	f := func(condition, want string) {
		t.Helper()
		n, err := Parse(condition)
		if err != nil {
			t.Errorf("Parse(%q): %v", condition, err)
		} else if got := Print(n); got != want {
			t.Errorf("Print(%q) = %s, want %s", condition, got, want)
		}
	}
	f("evt.type=open  and\tproc.name in (a,b)", "(evt.type = open and proc.name in (a, b))")
	f("a or b and not c", "(a or (b and not c))")
	f("((a))", "a")
	f("not(a or b)", "not (a or b)")
	f(`proc.name = "two words"`, `proc.name = "two words"`)
	f(`proc.name = "plain"`, "proc.name = plain")
	f(`proc.aname["2"] exists`, "proc.aname[2] exists")
	f("fd.name startswith oneof (/a, /b)", "fd.name startswith oneof (/a, /b)")
	f("tolower( proc.name ) = val( proc.exe )", "tolower(proc.name) = val(proc.exe)")
	f(`getopt(proc.args, "a:b")[a] exists`, "getopt(proc.args, a:b)[a] exists")
}

func TestPossibleTypes(t *testing.T) {
	universe := map[string]bool{"open": true, "close": true, "execve": true}
	f := func(condition, want string) {
		t.Helper()
		n, err := Parse(condition)
		if err != nil {
			t.Fatal(err)
		}
		set := Possible(n, "evt.type", universe)
		got := ""
		for _, name := range []string{"open", "close", "execve"} {
			if set[name] {
				got += " " + name
			}
		}
		if got != want {
			t.Errorf("%s can be true for%s, want%s", condition, got, want)
		}
	}
	f("evt.type = open", " open")
	f("evt.type != open", " close execve")
	f("not evt.type in (open, close)", " execve")
	f("evt.type = open and proc.name = a", " open")
	f("evt.type = open or proc.name = a", " open close execve")
	f("not (evt.type = open and proc.name = a)", " open close execve")
	f("not (evt.type = open or proc.name = a)", " close execve")
	f("evt.type = open or evt.type = close and evt.num > 0", " open close")
	f("evt.num = 0 or evt.type = open", " open")
	f("not evt.num > 0", "")
	f("proc.name = a", " open close execve")
}

func TestAMissAllocatesNothing(t *testing.T) {
	n, err := Parse(`evt.type = openat and fd.name startswith /etc and proc.aname = nginx and not proc.name in (a, b, c, d, e) and
		fd.name pmatch (/var, /usr/*/x) and fd.types intersects (pipe)`)
	if err != nil {
		t.Fatal(err)
	}
	test, err := language.Compile(n)
	if err != nil {
		t.Fatal(err)
	}
	r := cat()
	if n := testing.AllocsPerRun(100, func() { test(r) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"evt.type = open and not (a or b)", `x.y in ("a\x41", b) or tolower(concat(a.b, "c")) = val(d.e)`, "a.b[\"x y\"] exists"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			var at *SyntaxError
			if !errors.As(err, &at) || at.Offset < 0 || at.Offset > len(text) {
				t.Fatalf("Parse(%q): %v", text, err)
			}
			return
		}
		printed := Print(n)
		again, err := Parse(printed)
		if err != nil || Print(again) != printed {
			t.Fatalf("Parse(%q) prints as %q, which reads as %v, %v", text, printed, again, err)
		}
		if test, err := language.Compile(n); err == nil {
			test(cat())
		}
	})
}
