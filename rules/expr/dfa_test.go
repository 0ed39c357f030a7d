package expr

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
)

// expressions are of every kind that rules write; the last ones are not for a dfa.
var expressions = []string{
	"", "a", "abc", "a|b|cd", ".*", "a.*b", ".*abc.*", "(.* )?-l( .*)?", "[0-9]+(/[0-9]+)*", "[^/]+/?", "(a|ab)(c|bcd)*",
	"(.*[ =:])?[48][0-9AB][1-9A-HJ-NP-Za-km-z]{9}([^0-9A-Za-z].*)?", "x{2,5}y?", "(a*)*b", "[[:alpha:]]+[[:space:]]*", "[^a]*", "a\\+b", "(|a)+",
	"/proc/[0-9]+/(task/[0-9]+/)?fd/[0-9]+", ".*[^ ]+ ?\\( ?\\) ?\\{ ?([^ |]+) ?\\| ?[^ |]+ ?& ?;? ?\\}.*", "[^\\n]*\\n.*",
	"^a$", "(^a|b)$", ".*(a|b).{14}",
}

// TestDFAMatchesAsRegexpDoes compares them on texts that are made of parts of the expressions.
func TestDFAMatchesAsRegexpDoes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	const letters = "aabbcxyz48AB90 -l/=:(){}|&;\n\xffé+fdproctask"
	made, matched := 0, 0
	for _, pattern := range expressions {
		tree, err := syntax.Parse(pattern, syntax.ClassNL)
		if err != nil {
			t.Fatalf("%q: %v", pattern, err)
		}
		want := regexp.MustCompile(`\A(?:` + tree.String() + `)\z`)
		d := newDFA(tree)
		if d == nil {
			continue
		}
		made++
		for range 3000 {
			text := randomText(random, letters, pattern)
			got, known := d.match(text)
			if !known {
				if !strings.ContainsAny(text, "é") && !strings.Contains(text, "\xff") && !strings.Contains(text, "\xc3") && !strings.Contains(text, "\xa9") {
					t.Fatalf("%q does not know of %q", pattern, text)
				}
				continue
			}
			if matches := want.MatchString(text); got != matches {
				t.Fatalf("%q matches %q: %v, want %v", pattern, text, got, matches)
			} else if matches {
				matched++
			}
		}
	}
	if made < len(expressions)-3 || matched < 1000 {
		t.Errorf("%d expressions of %d and %d matches: the test proves too little", made, len(expressions), matched)
	}
}

func randomText(r *rand.Rand, letters, pattern string) string {
	var b strings.Builder
	for range r.IntN(5) {
		switch n := r.IntN(4); {
		case n == 0 && pattern != "":
			i := r.IntN(len(pattern))
			b.WriteString(pattern[i : i+r.IntN(len(pattern)-i)])
		case n == 1:
			b.WriteString("/proc/1/fd/2"[:r.IntN(13)])
		default:
			for range r.IntN(8) {
				b.WriteByte(letters[r.IntN(len(letters))])
			}
		}
	}
	return b.String()
}

func TestDFAIsNotMadeOfWhatHasTooManyStates(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]bool{"a.*b": true, ".*(a|b).{14}": false, "^a$": false, "(.*[ ])?[a-z]{93}( .*)?": true} {
		tree, err := syntax.Parse(pattern, syntax.ClassNL)
		if err != nil {
			t.Fatal(err)
		}
		if got := newDFA(tree) != nil; got != want {
			t.Errorf("a dfa is made of %q: %v, want %v", pattern, got, want)
		}
	}
}

func BenchmarkRegex(b *testing.B) {
	line := strings.Repeat("-I/usr/include/x86_64-linux-gnu -DNAME=value ", 10)
	r, err := parseRegex(&Literal{Text: "(.*[ =:])?[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}([^0-9A-Za-z].*)?"})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("dfa", func(b *testing.B) {
		for b.Loop() {
			r.match(line)
		}
	})
	b.Run("regexp", func(b *testing.B) {
		for b.Loop() {
			r.full.MatchString(line)
		}
	})
}
