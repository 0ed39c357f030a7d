package expr

import (
	"strings"
	"testing"
)

// TestGlob has what glibc's fnmatch with flags 0 said, and with FNM_CASEFOLD for those marked.
func TestGlob(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		pattern, text string
		fold, want    bool
	}{
		{"", "", false, true}, {"", "a", false, false}, {"a", "", false, false}, {"*", "", false, true}, {"*", "/a/b", false, true}, {"**a", "ba", false, true},
		{"?", "/", false, true}, {"?", "", false, false}, {"?", "ab", false, false}, {"?", "\xe9", false, true}, {"??", "é", false, true}, {"*", ".a", false, true},
		{"a*c", "abbc", false, true}, {"a*c", "ac", false, true}, {"a*c", "abcd", false, false}, {"a*a", "a", false, false}, {"*ab*ab*", "abab", false, true},
		{"*ab*ab*", "aba", false, false}, {"*a*b*c*", "xaxbxc", false, true}, {"*a?c", "abcabc", false, true}, {"*[ab]c", "xacbc", false, true}, {"ab*b", "ab", false, false},
		// The backslash.
		{`\*`, "*", false, true}, {`\*`, "a", false, false}, {`\a`, "a", false, true}, {`\\`, `\`, false, true}, {`a\`, `a\`, false, false}, {`a\`, "a", false, false},
		{`\[a]`, "[a]", false, true}, {`*\?`, "a?", false, true}, {`*\?`, "ab", false, false},
		// Classes.
		{"[abc]", "b", false, true}, {"[abc]", "d", false, false}, {"[a-c]", "b", false, true}, {"[a-c]", "d", false, false}, {"[!a]", "b", false, true}, {"[!a]", "a", false, false},
		{"[^a]", "b", false, true}, {"[^a]", "a", false, false}, {"[!!]", "!", false, false}, {"[!!]", "a", false, true}, {"[]a]", "]", false, true}, {"[]a]", "a", false, true},
		{"[!]a]", "b", false, true}, {"[!]a]", "]", false, false}, {"[a-]", "-", false, true}, {"[--0]", ".", false, true}, {"[z-a]", "b", false, false}, {"[z-a]", "z", false, false},
		{"[a-c-e]", "d", false, false}, {"[a-c-e]", "-", false, true}, {"[a-c-e]", "e", false, true}, {"[/]", "/", false, true}, {"[\xe0-\xef]", "\xe9", false, true}, {"[*?]", "*", false, true}, {"[*?]", "a", false, false},
		{`[a\]]`, "]", false, true}, {`[a\]]`, "a", false, true}, {`[a\]]`, `\`, false, false}, {`[\a-c]`, "b", false, true}, {`[a-\c]`, "b", false, true}, {"[[-a]", `\`, false, true}, {"[]-a]", "^", false, true},
		{"[a-]b]", "-b]", false, true}, {"[a-]b]", "a", false, false}, {"[^!a]", "!", false, false}, {"[!^a]", "^", false, false}, {"[.]", ".", false, true},
		// Without its end a bracket is one.
		{"[a", "[a", false, true}, {"[a", "a", false, false}, {"[!", "[!", false, true}, {"[]", "[]", false, true}, {"[^]", "[^]", false, true}, {`[a\]`, "[a]", false, true},
		{`[a\]`, `[a\]`, false, false}, {`[a\]`, "a", false, false}, {"*[", "a[", false, true}, {"*[a", "x[a", false, true}, {"x[[:digit:", "x[[:digit:", false, true}, {"[a-b", "[a-b", false, true},
		// Named classes.
		{"[[:alpha:]]", "x", false, true}, {"[[:alpha:]]", "1", false, false}, {"[[:digit:][:upper:]]", "Q", false, true}, {"[![:digit:]]", "a", false, true}, {"[[:alpha:]-z]", "-", false, true},
		{"[[:space:]]", "\v", false, true}, {"[[:xdigit:]]", "F", false, true}, {"[[:punct:]]", "_", false, true}, {"[[:alnum:]]", "_", false, false}, {"[[:foo:]]", "x", false, false}, {"[[:ALPHA:]]", "a", false, false},
		{"[[:]", "[", false, true}, {"[[:]", ":", false, true}, {"[[:a]", ":", false, true}, {"[[.a.]]", "a", false, true}, {"[[.ab.]]", "a", false, false}, {"[[=a=]]", "a", false, true}, {"[[.-.]]", "-", false, true}, {"[a-[.c.]]", "b", false, true},
		// Regardless of case.
		{"CAT*", "category", true, true}, {"*Ab*", "xaBx", true, true}, {"[A-C]", "b", true, true}, {"[a-c]", "B", true, true}, {"[!a]", "A", true, false}, {`\A`, "a", true, true}, {"[@-C]", "b", true, true}, {"[_-b]", "A", true, true},
		{"[Z-a]", "_", true, false}, {"[[:upper:]]", "a", true, false}, {"[[:upper:]]", "A", true, true}, {"É", "é", true, false}, {"cat", "CAT", false, false},
	} {
		g := parseGlob(row.pattern, row.fold)
		if got := g.match(row.text); got != row.want {
			t.Errorf("glob %q of %q (fold %v) is %v, want %v", row.pattern, row.text, row.fold, got, row.want)
		}
	}
}

func TestGlobTakesNoLongerThanPatternTimesText(t *testing.T) {
	t.Parallel()
	g := parseGlob(strings.Repeat("*a", 1000)+"b", false)
	if g.match(strings.Repeat("a", 10_000)) {
		t.Error("there is no b")
	}
	g = parseGlob(strings.Repeat("*[ab]", 1000)+"*c", false)
	if g.match(strings.Repeat("a", 10_000)) {
		t.Error("there is no c")
	}
}
