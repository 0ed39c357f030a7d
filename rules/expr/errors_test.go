package expr

import (
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files")

// wrongConditions are shown in testdata/errors.golden with the place and the message of their errors.
var wrongConditions = []string{
	// What cannot be read.
	``, `(`, `()`, `and a`, `a and`, `a or or b`, `a b`, `a)`, `(a`, `(a or (b and c)`, `not`, `a and not`, `a && b`, `1a`, `a-b`, `a orb`,
	`proc.name`, `proc.name cat`, `proc.name ~ cat`, `proc.name =`, `proc.name = `, `proc.name = (cat)`, `proc.name = cat dog`, `proc.name = a=b`, `proc.name = a,b`,
	`proc.name = "cat`, `proc.name = 'it\'s`, `proc.name = "a\q"`, `proc.name = "é\é"`, `proc.name = "a\x0"`, `proc.name = "a\x00"`, `proc.name = "a\`,
	`proc.name containscat`, `proc.name contains (cat)`, `proc.name Contains cat`, `proc.name exists cat`,
	`evt.rawres > many`, `evt.rawres > "1"`, `evt.rawres >= 0x`, `evt.rawres <`,
	`proc.name in`, `proc.name in cat, dog`, `proc.name in (cat dog)`, `proc.name in (cat,)`, `proc.name in (cat, (dog))`, `proc.name in (cat`, `proc.name in "cat"`, `proc.name in ("cat)`,
	`proc.name = oneof`, `proc.name startswith oneof "a"`, `proc. = a`, `proc.name. = a`, `proc.1 = a`,
	`proc.aname[ = a`, `proc.aname[] = a`, `proc.aname[1 = a`, `proc.aname[1 2] = a`, `proc.aname["1] = a`, `proc.aname [1] = a`,
	`name = cat`, `my_macro in (a)`, `val(proc.name) = cat`, `proc.name = val(name)`, `proc.name = val(proc.exe`, `proc.name = val(tolower(proc.exe))`,
	`tolower() = a`, `tolower(proc.name = a`, `tolower(proc.name)`, `tolower(proc.name)[1] = a`, `concat(proc.name proc.exe) = a`,
	`evt.type = open and proc.name in (cat, dog) or (fd.name startswith /etc and not fd.name endswith)`,
	`proc.name = "日本語" and proc.exe ~ a`,
	// What cannot be compiled.
	`some_macro`, `evt.type = open and not some_macro`, `proc.nmae = cat`, `evt.type = open and proc.nmae = cat`, `nothing.like.it exists`, `proc.name = val(proc.nmae)`, `concat(a, proc.nmae) = b`,
	`proc.name[1] = cat`, `evt.arg = x`, `proc.aname[x] = cat`, `proc.aname[-1] = cat`, `proc.aname.x = cat`, `fd.checked[bad] = a`, `evt.table = a`, `proc.name = val(evt.table)`,
	`fd.types startswith a`, `fd.types = anyof (a)`, `proc.name bcontains 00`, `fd.name bstartswith 00`, `evt.buffer bcontains zz`, `evt.buffer bstartswith anyof (00, 0)`,
	`evt.buffer glob a`, `evt.failed < 1`, `evt.failed = yes`, `evt.failed in (true, 1)`, `user.uid = -1`, `user.uid contains 1`, `user.uid = root`, `user.uid in (0, root)`,
	`evt.cpu in (1, 32768)`, `proc.small > 256`, `evt.num = 1.5`, `thread.cpu = fast`, `fd.sport = nosuch`, `fd.sport = 65536`,
	`fd.sip = 10.0.0.0/8`, `fd.sip > 1`, `fd.snet = here`, `fd.snet in (10.0.0.0/8, 10.0.0.0/64)`, `fd.ip contains 1`, `fd.port contains 1`, `fd.sip.name contains a`, `fd.sip.name = val(proc.name)`,
	`proc.name regex "(a"`, `proc.name regex [`, `proc.name regex "\\d"`, `proc.name regex val(proc.exe)`,
	`proc.name = val(proc.secret)`, `proc.name = val(user.uid)`, `proc.name = len(proc.name)`, `proc.pid = val(evt.rawres) and user.uid = val(evt.num)`,
	`tolower(proc.secret) = a`, `tolower(user.uid) = a`, `tolower(proc.name, proc.exe) = a`, `concat(proc.name) = a`, `concat(proc.name, user.uid) = a`, `len(user.uid) = 1`,
	`join(a, proc.name) = b`, `join(fd.types, fd.types) = b`, `getopt(proc.name, a) exists`, `getopt(proc.args, proc.name) exists`, `getopt(proc.args, a)[bc] exists`, `b64(user.uid) = a`,
	`proc.name = cat and evt.failed = maybe and user.uid = root`,
}

// TestErrorsPoint writes each condition, a caret below the place that is wrong, and the message.
func TestErrorsPoint(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, condition := range wrongConditions {
		err := problem(condition)
		at := offset(err)
		if err == nil || at < 0 || at > len(condition) {
			t.Errorf("%s: %v at %d", condition, err, at)
			continue
		}
		b.WriteString(condition + "\n" + strings.Repeat(" ", utf8.RuneCountInString(condition[:at])) + "^\n" + err.Error() + "\n\n")
	}
	const path = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	compareParagraphs(t, b.String(), string(want))
}

func compareParagraphs(t *testing.T, got, want string) {
	t.Helper()
	all, expected := strings.Split(got, "\n\n"), strings.Split(want, "\n\n")
	if len(all) != len(expected) {
		t.Errorf("%d errors, want %d: see -update", len(all), len(expected))
	}
	for i := range min(len(all), len(expected)) {
		if all[i] != expected[i] {
			t.Errorf("got\n%s\nwant\n%s", all[i], expected[i])
		}
	}
}

// TestTheFirstErrorOfTheTextIsReported although what is cheap is compiled first.
func TestTheFirstErrorOfTheTextIsReported(t *testing.T) {
	t.Parallel()
	for _, condition := range []string{
		`proc.name regex "(" and evt.num = x`, `proc.aname = val(user.uid) or evt.failed = 1`, `not (fd.name regex [ or evt.num = x)`,
		`(proc.name = a or user.uid = x) and evt.failed = y`,
	} {
		n := mustParse(t, condition)
		_, inOrder := language.compile(n)
		if _, err := language.Compile(n); err == nil || err.Error() != inOrder.Error() || offset(err) != offset(inOrder) {
			t.Errorf("%s: %v at %d, want %v at %d", condition, err, offset(err), inOrder, offset(inOrder))
		}
	}
}
