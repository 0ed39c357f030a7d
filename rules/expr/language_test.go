package expr

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ condition, want string }{
		{"proc.name = cat", ""},
		{"evt.dir = <", "0 LOAD_DEPRECATED_ITEM"},
		{"proc.name = cat and evt.dir = <", "20 LOAD_DEPRECATED_ITEM"},
		{"proc.name = val(evt.dir)", "16 LOAD_DEPRECATED_ITEM"},
		{"tolower(evt.dir) = a", "8 LOAD_DEPRECATED_ITEM"},
		{"jevt.value = <NA>", "13 LOAD_UNSAFE_NA_CHECK"},
		{"not jevt.value in (a, <NA>)", "22 LOAD_UNSAFE_NA_CHECK"},
		{"jevt.value pmatch (<NA>)", "19 LOAD_UNSAFE_NA_CHECK"},
		{"jevt.value startswith <NA>", ""}, // not a whole value
		{"proc.name = <NA>", ""},
		{"proc.name regex cat", "16 LOAD_COMPILE_CONDITION"},
		{"proc.name regex cat.*", "16 LOAD_COMPILE_CONDITION"},
		{"proc.name regex .*cat", "16 LOAD_COMPILE_CONDITION"},
		{"proc.name regex .*cat.*", "16 LOAD_COMPILE_CONDITION"},
		{"proc.name regex c[ao]t", ""},
		{"proc.name regex c.t", ""},
		{"proc.name = proc.exe", "12 LOAD_COMPILE_CONDITION"},
		{`proc.name = "proc.aname[1]"`, "12 LOAD_COMPILE_CONDITION"},
		{"proc.name = proc.aname.x", "12 LOAD_COMPILE_CONDITION"},
		{"proc.name in (proc.name.x, libproc.so)", ""},
		{`proc.name = "tolower(proc.exe)"`, "12 LOAD_COMPILE_CONDITION"},
		{`proc.name = "val(proc.exe)"`, "12 LOAD_COMPILE_CONDITION"},
		{`proc.name in (a, proc.exe)`, "17 LOAD_COMPILE_CONDITION"},
		{`proc.name = "foo(proc.exe)"`, ""},
		{"proc.name = val(proc.exe)", ""},
	} {
		all, err := language.Check(mustParse(t, row.condition))
		if err != nil {
			t.Errorf("%s: %v", row.condition, err)
		}
		var got []string
		for _, w := range all {
			got = append(got, fmt.Sprintf("%d %s", w.Offset, w.Code))
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: %v, want %q", row.condition, all, row.want)
		}
	}
	if _, err := language.Check(mustParse(t, "no.such = a")); err == nil {
		t.Error("an unknown field: want an error")
	}
}

func TestFieldsAreSuggested(t *testing.T) {
	t.Parallel()
	hidden := fieldOf("proc.nam", String, Hidden)
	l := NewLanguage(append(fieldsOfTests(), hidden), Options{})
	for name, want := range map[string]string{
		"proc.nmae": "proc.name", "proc.names": "proc.name", "porc.name": "proc.name", "fd.nam": "fd.name", "evt.typ": "evt.type", "evt.rawre": "evt.rawres", "some.thing.else": "",
	} {
		_, err := l.Compile(mustParse(t, name+" exists"))
		var check *CheckError
		if !errors.As(err, &check) || !check.UnknownField || !strings.HasSuffix(check.Message, "("+want+"?)") && want != "" || want == "" && strings.Contains(check.Message, "(") {
			t.Errorf("%s: %v, want it to suggest %q", name, err, want)
		}
	}
}

func TestValidateRefusesChecks(t *testing.T) {
	t.Parallel()
	l := NewLanguage(fieldsOfTests(), Options{Validate: func(c *Check) error {
		for _, v := range literals(c.Right) {
			if v.Text == "nosuch" {
				return &CheckError{Offset: v.At, Message: "unknown event type", UnknownEventType: true}
			}
		}
		return nil
	}})
	for condition, at := range map[string]int{"evt.type = nosuch": 11, "evt.type = open or evt.type in (close, nosuch)": 39, "evt.type = open or evt.type = close": -1} {
		if _, err := l.Compile(mustParse(t, condition)); offset(err) != at {
			t.Errorf("%s: %v at %d, want it at %d", condition, err, offset(err), at)
		}
	}
}

func TestAFieldWithoutItsReaderIsRefused(t *testing.T) {
	t.Parallel()
	l := NewLanguage([]Field[record]{{Name: "a.text", Kind: String}, {Name: "a.number", Kind: Int64, Uint: read[uint64]("x")}, {Name: "a.addr", Kind: IPAddr},
		{Name: "a.list", Kind: Bool, Flags: ListValued}}, Options{})
	for _, f := range l.Fields() {
		if _, err := l.Compile(mustParse(t, f.Name+" exists")); err == nil {
			t.Errorf("%s: want an error", f.Name)
		}
	}
}

func TestReaders(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		operand, text string
		value         any
	}{
		{"proc.name", "cat", "cat"}, {"jevt.value", "<NA>", nil}, {"user.uid", "0", uint64(0)}, {"evt.rawres", "-2", int64(-2)}, {"thread.cpu", "1.5", 1.5},
		{"evt.failed", "true", true}, {"evt.is_io", "<NA>", nil}, {"fd.sip", "192.0.2.1", "192.0.2.1"}, {"fd.types", "(file,ipv4)", "(file,ipv4)"},
		{"list.numbers", "(1,2)", "(1,2)"}, {"proc.aname", "sh->nginx->systemd", "sh->nginx->systemd"}, {"proc.aname[1]", "nginx", "nginx"},
		{"proc.apid", "30->20->1", "30->20->1"}, {"proc.apid[0]", "30", int64(30)}, {"fd.ip", "10.0.0.1,192.0.2.1", "10.0.0.1,192.0.2.1"}, {"fd.port", "40000,22", "40000,22"},
		{"evt.buffer", "\xca\xfe\xba\xbetext", "\xca\xfe\xba\xbetext"}, {"toupper(proc.name)", "CAT", "CAT"}, {"len(proc.name)", "3", uint64(3)},
		{"concat(proc.name, jevt.value)", "<NA>", nil}, {"join(-, fd.types)", "file-ipv4", "file-ipv4"}, {"evt.arg.flags", "O_RDONLY|O_CLOEXEC", "O_RDONLY|O_CLOEXEC"},
	} {
		o, err := ParseOperand(row.operand)
		if err != nil {
			t.Fatal(err)
		}
		r, err := language.Reader(o)
		if err != nil {
			t.Fatal(err)
		}
		text, ok := r.Append(cat(), []byte("x"))
		if string(text) != "x"+row.text && (ok || row.text != "<NA>") {
			t.Errorf("%s is %q, %v, want %q", row.operand, text, ok, row.text)
		}
		if got := r.Value(cat()); got != row.value {
			t.Errorf("%s is %#v, want %#v", row.operand, got, row.value)
		}
	}
}

func TestResolveReplacesReferences(t *testing.T) {
	t.Parallel()
	macros := map[string]Node{"m": mustParse(t, "proc.name = a or proc.name = b")}
	resolve := func(r *Reference) (Node, error) {
		if n := macros[r.Name]; n != nil {
			return n, nil
		}
		return nil, errors.New("no macro " + r.Name)
	}
	n := mustParse(t, "evt.num = 1 and m or not m")
	got, err := Resolve(n, resolve)
	if want := "((evt.num = 1 and (proc.name = a or proc.name = b)) or not (proc.name = a or proc.name = b))"; err != nil || Print(got) != want {
		t.Errorf("%s, %v, want %s", Print(got), err, want)
	}
	if Print(n) != "((evt.num = 1 and m) or not m)" {
		t.Errorf("the condition itself was changed to %s", Print(n))
	}
	for _, bad := range []string{"x", "m and x", "not x", "m or x"} {
		if _, err := Resolve(mustParse(t, bad), resolve); err == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestConjunctsAndWalk(t *testing.T) {
	t.Parallel()
	n := mustParse(t, "a.a exists and (a.b exists and (a.c exists or a.d exists)) and not a.e exists")
	var parts, checks []string
	for _, part := range Conjuncts(n) {
		parts = append(parts, Print(part))
	}
	Walk(n, func(c *Check) { checks = append(checks, c.Left.(*FieldRef).Name) })
	if got, want := strings.Join(parts, "; "), "a.a exists; a.b exists; (a.c exists or a.d exists); not a.e exists"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := strings.Join(checks, " "), "a.a a.b a.c a.d a.e"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
