package expr

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// FuzzParse finds that nothing makes the parser panic, that errors point into the text, and that what can be read prints
// as what reads the same.
func FuzzParse(f *testing.F) {
	for _, row := range accepted {
		f.Add(row.text)
	}
	for _, text := range wrongConditions {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			if at := offset(err); at < 0 || at > len(text) || err.Error() == "" {
				t.Fatalf("Parse(%q): %v at %d", text, err, at)
			}
			return
		}
		if n.Pos() < 0 || n.Pos() >= len(text) {
			t.Fatalf("Parse(%q) stands at %d", text, n.Pos())
		}
		printed := Print(n)
		if again, err := Parse(printed); err != nil || withoutTwoNots(Print(again)) != withoutTwoNots(printed) {
			t.Fatalf("Parse(%q) prints as %q, which reads as %v, %v", text, printed, again, err)
		}
	})
}

// FuzzCompile finds that what can be read can be compiled and evaluated or is refused at a place of its text, and that it
// is the same optimized and as it stands, and explained.
func FuzzCompile(f *testing.F) {
	for _, row := range accepted {
		f.Add(row.text)
	}
	for _, text := range append(everyOperator(), wrongConditions...) {
		f.Add(text)
	}
	g := generator{rand.New(rand.NewPCG(9, 9))}
	for range 50 {
		f.Add(Print(g.node(2)))
	}
	records := []*record{cat(), {}, g.record(), g.record()}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		test, err := language.Compile(n)
		if err != nil {
			if at := offset(err); at < 0 || at >= len(text) || err.Error() == "" {
				t.Fatalf("Compile(%q): %v at %d", text, err, at)
			}
			return
		}
		plain, err := language.compile(n)
		if err != nil {
			t.Fatalf("Compile(%q) is refused as it stands: %v", text, err)
		}
		if _, err := language.Check(n); err != nil {
			t.Fatalf("Check(%q): %v", text, err)
		}
		for _, r := range records {
			want := plain(r)
			e, err := language.Explain(n, r)
			if test(r) != want || err != nil || e.True != want {
				t.Fatalf("%q is %v, optimized %v, explained %v, %v", text, want, test(r), e.True, err)
			}
		}
		Fix(n, "evt.type", "open")
		Possible(n, "evt.type", map[string]bool{"open": true, "close": true})
	})
}

// FuzzGlob compares with the reference, which knows less: no named classes, no ] as the first of a class, no backslash in one.
func FuzzGlob(f *testing.F) {
	for _, pattern := range globs {
		for _, text := range []string{"", "cat", "CAT", "/etc/cat", "[", "*"} {
			f.Add(pattern, text, false)
			f.Add(pattern, text, true)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, text string, fold bool) {
		g := parseGlob(pattern, fold)
		got := g.match(text)
		if len(pattern) > 12 || len(text) > 16 || strings.Count(pattern, "*") > 4 || strings.Contains(pattern, "[") && strings.ContainsAny(pattern, `\:.=`) ||
			strings.Contains(pattern, "[]") || strings.Contains(pattern, "[!]") || strings.Contains(pattern, "[^]") || strings.Contains(pattern, "-") {
			return
		}
		want := refGlob(pattern, text)
		if fold {
			want = refGlob(refMap("tolower", pattern), refMap("tolower", text))
		}
		if got != want {
			t.Fatalf("glob %q of %q (fold %v) is %v, want %v", pattern, text, fold, got, want)
		}
	})
}

// FuzzPmatch compares sets of two paths with the reference.
func FuzzPmatch(f *testing.F) {
	for _, a := range paths {
		for _, b := range words {
			f.Add(b, a, "/usr")
			f.Add(b, "/usr/lib", a)
		}
	}
	f.Fuzz(func(t *testing.T, value, a, b string) {
		got := newPathSet([]*Literal{{Text: a}, {Text: b}}).match(value)
		for _, p := range []string{a, b} {
			absolute := strings.HasPrefix(p, "/")
			first, _, _ := strings.Cut(p, "/")
			if len(p) > 16 || len(value) > 20 || strings.Count(p, "*") > 4 || strings.ContainsAny(p, `\[`) || !absolute && strings.ContainsAny(first, "*?") {
				return // a glob that begins a relative path may match the slash of an absolute one
			}
		}
		if want := refPath(value, a) || refPath(value, b); got != want {
			t.Fatalf("%q pmatch (%q, %q) is %v, want %v", value, a, b, got, want)
		}
	})
}
