package expr

import (
	"strings"
	"testing"
)

func TestOptimize(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ condition, want string }{
		// Not of not, and what is nested in its like.
		{"not (not proc.name = a)", "proc.name = a"},
		{"not (not (not proc.name = a))", "not proc.name = a"},
		{"evt.num = 1 and (evt.num = 2 and evt.num = 3)", "(evt.num = 1 and evt.num = 2 and evt.num = 3)"},
		{"(evt.num > 1 or evt.num > 2) or (evt.num > 3 or not (not (evt.num > 4 or evt.num > 5)))", "(evt.num > 1 or evt.num > 2 or evt.num > 3 or evt.num > 4 or evt.num > 5)"},
		// One set of several.
		{"proc.name = a or proc.name = b", "proc.name in (a, b)"},
		{"proc.name = a or proc.name == b or proc.name in (c, d) or proc.name intersects (e)", "proc.name in (a, b, c, d, e)"},
		{"proc.name in () or proc.name = a", "proc.name in (a)"},
		{"proc.name = anyof (a, b) or proc.name = c", "proc.name in (a, b, c)"},
		{"user.uid = 0 or user.uid = 0x1", "user.uid in (0, 0x1)"},
		{"proc.aname = a or proc.aname = b", "proc.aname in (a, b)"},
		{"proc.aname[1] = a or proc.aname[2] = b or proc.aname[1] = c", "(proc.aname[2] = b or proc.aname[1] in (a, c))"},
		{"fd.ip = 1.1.1.1 or fd.ip = 2.2.2.2", "fd.ip in (1.1.1.1, 2.2.2.2)"},
		{"fd.name startswith /a or fd.name startswith /b or fd.name endswith c or fd.name endswith d", "(fd.name startswith oneof (/a, /b) or fd.name endswith oneof (c, d))"},
		{"fd.name startswith oneof (/a, /b) or fd.name startswith /c", "fd.name startswith oneof (/a, /b, /c)"},
		{"fd.name pmatch (/a) or fd.name pmatch (/b, /c)", "fd.name pmatch (/a, /b, /c)"},
		{"proc.name = a or (proc.name = b or proc.name = c)", "proc.name in (a, b, c)"},
		{"evt.num = 1 and not proc.name = a and not proc.name in (b, c)", "(evt.num = 1 and not proc.name in (a, b, c))"},
		{"not (proc.name = a or user.uid = 0) and not proc.name = b", "(not user.uid = 0 and not proc.name in (a, b))"},
		// What must stay as it is.
		{"proc.name = a and proc.name = b", "(proc.name = a and proc.name = b)"},
		{"proc.name != a or proc.name != b", "(proc.name != a or proc.name != b)"},
		{"proc.aname != a and proc.aname != b", "(proc.aname != a and proc.aname != b)"},
		{"not proc.name = a or not proc.name = b", "(not proc.name = a or not proc.name = b)"},
		{"fd.types in (a) or fd.types in (b)", "(fd.types in (a) or fd.types in (b))"},
		{"fd.types intersects (a) or fd.types intersects (b)", "(fd.types intersects (a) or fd.types intersects (b))"},
		{"proc.name = allof (a, b) or proc.name = a", "(proc.name = a or proc.name = allof (a, b))"},
		{"proc.name = a or proc.name = val(proc.exe)", "(proc.name = a or proc.name = val(proc.exe))"},
		{"tolower(proc.name) = a or tolower(proc.name) = b", "(tolower(proc.name) = a or tolower(proc.name) = b)"},
		{"proc.name = a or proc.exe = a", "(proc.name = a or proc.exe = a)"},
		{"no.such = a or no.such = b", "(no.such = a or no.such = b)"},
		// What is cheap comes first, and else the order stays.
		{"proc.name regex a and evt.num = 1", "(evt.num = 1 and proc.name regex a)"},
		{"proc.aname = a and proc.name = b and evt.type = c and evt.failed = true", "(evt.type = c and evt.failed = true and proc.name = b and proc.aname = a)"},
		{"proc.cmdline contains a or proc.name = b or user.uid = 0", "(user.uid = 0 or proc.name = b or proc.cmdline contains a)"},
		{"(proc.name regex a or proc.name regex b) and not proc.exe = c", "(not proc.exe = c and (proc.name regex a or proc.name regex b))"},
		{"proc.exe = c and proc.name = a", "(proc.exe = c and proc.name = a)"},
		{"tolower(proc.name) = a and proc.exe = b", "(proc.exe = b and tolower(proc.name) = a)"},
		{"fd.sip.name = a and fd.ip = 1.2.3.4 and fd.sip = 1.2.3.4", "(fd.sip = 1.2.3.4 and fd.ip = 1.2.3.4 and fd.sip.name = a)"},
	} {
		n := mustParse(t, row.condition)
		before := Print(n)
		if got := Print(language.optimize(n)); got != row.want {
			t.Errorf("%s is optimized to %s, want %s", row.condition, got, row.want)
		}
		if Print(n) != before {
			t.Errorf("%s was changed to %s", before, Print(n))
		}
	}
}

func TestDearFieldsComeLast(t *testing.T) {
	t.Parallel()
	dear := fieldOf("proc.exe", String, 0)
	dear.Cost = 50
	l := NewLanguage([]Field[record]{dear, fieldOf("proc.name", String, 0)}, Options{})
	if got := Print(l.optimize(mustParse(t, "proc.exe = a and proc.name = b"))); got != "(proc.name = b and proc.exe = a)" {
		t.Errorf("%s: the dear field comes last", got)
	}
}

func TestManyAlternativesAreMergedInOneGo(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("fd.name startswith /x or proc.name = a or ", 5_000) + "proc.name = cat"
	if got, err := truth(text, cat()); !got || err != nil {
		t.Errorf("%v, %v, want true", got, err)
	}
}
