package expr

import (
	"os"
	"strings"
	"testing"
)

func TestExplanationsAreWritten(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, condition := range []string{
		"proc.name = cat",
		"proc.name = dog",
		"evt.type = openat and not (fd.name startswith /usr or proc.name in (vi, nano)) and user.uid = 0",
		"jevt.value = a or jevt.value exists",
		"proc.name in (a, b, c, d, e, f, g, h, i, j, k, cat)",
		"proc.name in (a, b, c, d, e, f, g, h, cat)",
		"fd.name startswith oneof (/a, /b, /c, /d, /e, /f, /g, /h, /i, /j, /k)",
		"proc.cmdline contains shadow and fd.types intersects (file) and proc.aname = nginx and fd.ip = 10.0.0.1",
		"proc.name = val(proc.exe) and proc.name = val(jevt.value) or proc.cmdline contains basename(fd.name)",
		`evt.buffer bcontains babe and len(fd.types) > 1 and tolower(fd.name) pmatch (/etc)`,
		"not (not evt.failed = true)",
		"(proc.name = aaaaaaaaaaaaaaaaaaaa or proc.name = bbbbbbbbbbbbbbbbbbbbbb) and (proc.name = cccccccccccccccccccccccc or proc.name = ddddddddd)",
	} {
		e, err := language.Explain(mustParse(t, condition), cat())
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("# " + condition + "\n")
		if err := WriteExplanation(&b, e); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	const path = "testdata/explanations.golden"
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

func TestExplanationHasEveryPart(t *testing.T) {
	t.Parallel()
	e, err := language.Explain(mustParse(t, "proc.name = dog and (jevt.value = a or not fd.name = val(proc.exe))"), cat())
	if err != nil {
		t.Fatal(err)
	}
	if e.True || len(e.Parts) != 2 || e.Parts[0].Value != "cat" || e.Parts[0].True {
		t.Errorf("the first part is false, since the value is cat: %+v", e)
	}
	or := e.Parts[1]
	if !or.True || or.Parts[0].True || or.Parts[0].Value != "<NA>" || !or.Parts[1].True {
		t.Errorf("what would not be evaluated is explained too: %+v", or)
	}
	if c := or.Parts[1].Parts[0]; c.True || c.Value != "/etc/shadow" || c.Right != "cat" {
		t.Errorf("both sides are told: %+v", c)
	}
	for _, bad := range []string{"macro", "a.b = c", "proc.name = cat and user.uid = x", "not macro"} {
		if _, err := language.Explain(mustParse(t, bad), cat()); err == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestLongValuesAreCut(t *testing.T) {
	t.Parallel()
	e, err := language.Explain(mustParse(t, "proc.name = a"), &record{"proc.name": values(strings.Repeat("é", 500) + "\x1b")})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteExplanation(&b, e); err != nil {
		t.Fatal(err)
	}
	if want := "✗ proc.name = a   = " + strings.Repeat("é", 100) + "…\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
