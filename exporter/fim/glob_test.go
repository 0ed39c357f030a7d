package fim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestGlobMatchesAsFnmatch has what glibc's fnmatch(3) said in the C locale.
func TestGlobMatchesAsFnmatch(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		glob, name string
		want       bool
	}{
		{"", "", true}, {"a", "a", true}, {"a", "", false}, {"a", "ab", false}, {"*", "", true}, {"*", ".a", true},
		{"*.swp", "a.swp", true}, {"*.swp", ".swp", true}, {"*.swp", "a.swpx", false}, {".*.sw?", ".a.swp", true},
		{".*.sw?", "a.swp", false}, {".*.sw?", "..swp", true}, {".*.sw?", ".swp", false}, {"a*c", "abbc", true},
		{"a*c", "ac", true}, {"a*c", "abcd", false}, {"a*a", "a", false}, {"*ab*ab*", "abab", true}, {"*ab*ab*", "aba", false},
		{"*a?c", "abcabc", true}, {"*[ab]c", "xacbc", true}, {"ab*b", "ab", false}, {"a*b?c*d", "aXbbbYcd", true},
		{"a*b?c*d", "abcd", false}, {"?", "", false}, {"?", "ab", false}, {"?", "\xe9", true}, {"??", "\xc3\xa9", true},
		{"?", "\x0a", true}, {"*;????????", "a;5f3a2b1c", true}, {"*;????????", "a;5f3a2b1", false}, {"\\*", "*", true},
		{"\\*", "a", false}, {"\\a", "a", true}, {"\\\\", "\\", true}, {"\\[a]", "[a]", true}, {"*\\?", "a?", true},
		{"*\\?", "ab", false}, {"[abc]", "b", true}, {"[abc]", "d", false}, {"[a-c]", "b", true}, {"[a-c]", "d", false},
		{"[!a]", "b", true}, {"[!a]", "a", false}, {"[^a]", "b", true}, {"[!!]", "!", false}, {"[!!]", "a", true},
		{"[]a]", "]", true}, {"[]a]", "a", true}, {"[!]a]", "b", true}, {"[!]a]", "]", false}, {"[a-]", "-", true},
		{"[a-]", "b", false}, {"[--0]", ".", true}, {"[a-c-e]", "d", false}, {"[a-c-e]", "-", true}, {"[a-c-e]", "e", true},
		{"[\xe0-\xef]", "\xe9", true}, {"[*?]", "*", true}, {"[*?]", "a", false}, {"[a\\]]", "]", true}, {"[a\\]]", "\\", false},
		{"[\\a-c]", "b", true}, {"[a-\\c]", "b", true}, {"[]-a]", "^", true}, {"[[a]", "[", true}, {"[^!a]", "!", false},
		{"[!^a]", "^", false}, {"x]", "x]", true}, {"[+.]*", "+x", true}, {"passwd[+.]*", "passwd-", false},
		{"passwd[+.]*", "passwd.1", true},
	} {
		g, err := parseGlob(row.glob)
		if err != nil {
			t.Errorf("glob %q: %v", row.glob, err)
			continue
		}
		if got := g.match(row.name); got != row.want {
			t.Errorf("glob %q of %q is %v, want %v", row.glob, row.name, got, row.want)
		}
	}
}

func TestPatternRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ pattern, want string }{
		{"", "want a path that begins with /"},
		{"etc", "want a path that begins with /"},
		{"*.conf/x", "want a path that begins with /"},
		{"~/x", "want a path that begins with /"},
		{"/" + strings.Repeat("x", 4096), "4097 bytes: want at most 4096"},
		{"/a\x00b", "it has a byte 0"},
		{"//etc", `it has "" between slashes`},
		{"/etc//ssh", `it has "" between slashes`},
		{"/etc//", `it has "" between slashes`},
		{"/etc/./ssh", `it has "." between slashes`},
		{"/etc/../ssh", `it has ".." between slashes`},
		{"/etc/a**", "want ** to be all between two slashes"},
		{"/etc/**b", "want ** to be all between two slashes"},
		{"/etc/***", "want ** to be all between two slashes"},
		{"/etc/[ab", "[ without its ]"},
		{"/etc/[", "[ without its ]"},
		{"/etc/[]", "[ without its ]"},
		{"/etc/[!]", "[ without its ]"},
		{"/etc/[a/b]", "[ without its ]"},
		{`/etc/[a\]`, "[ without its ]"},
		{"/etc/[z-a]", `range "z-a"`},
		{"/etc/[[:alpha:]]", `class with "[:"`},
		{"/etc/[a[=b=]]", `class with "[="`},
		{`/etc/a\`, `it ends with \`},
	} {
		if _, err := parsePattern(row.pattern); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("pattern %.20q: error %v, want %q", row.pattern, err, row.want)
		}
	}
}

func TestGlobTakesNoLongerThanGlobTimesName(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("*a", 1000) + "b", strings.Repeat("*[ab]", 500) + "*c"} {
		g, err := parseGlob(text)
		if err != nil {
			t.Fatal(err)
		}
		if g.match(strings.Repeat("a", 10_000)) {
			t.Errorf("%.10q… matches a name without what it ends with", text)
		}
	}
}

func TestTreeHasABoundOfDeepPatterns(t *testing.T) {
	t.Parallel()
	var tr tree
	add := func(i int) error {
		p, err := parsePattern(fmt.Sprintf("/%d/**/x", i))
		if err != nil {
			t.Fatal(err)
		}
		return tr.add(p, wholly, 1)
	}
	for i := range maxDeep {
		if err := add(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(0); err != nil {
		t.Errorf("one that begins as another: %v", err)
	}
	if err := add(maxDeep); err == nil || err.Error() != "want at most 64 beginnings with **" {
		t.Errorf("one too many: error %v", err)
	}
}

// The reference: globs are regular expressions of bytes, each byte a character of Latin-1, and paths are matched name by
// name, without trees and without care for how long it takes.

func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// expression returns nil for a glob that it does not know, and for one with a class or ** that is not plain enough to be
// sure of.
func expression(glob string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '\\':
			if i++; i == len(glob) {
				return nil
			}
			b.WriteString(regexp.QuoteMeta(latin1(glob[i : i+1])))
		case '[':
			class, size := classExpression(glob[i:])
			if size == 0 {
				return nil
			}
			b.WriteString(class)
			i += size - 1
		default:
			b.WriteString(regexp.QuoteMeta(latin1(glob[i : i+1])))
		}
	}
	re, err := regexp.Compile(b.String() + `\z`)
	if err != nil {
		return nil
	}
	return re
}

var plainClass = regexp.MustCompile(`^\[([!^]?)((?:[a-zA-Z0-9]-[a-zA-Z0-9]|[a-zA-Z0-9.+_])+)\]`)

func classExpression(text string) (class string, size int) {
	m := plainClass.FindStringSubmatch(text)
	if m == nil {
		return "", 0
	}
	not := ""
	if m[1] != "" {
		not = "^"
	}
	return "[" + not + strings.ReplaceAll(m[2], ".", `\.`) + "]", len(m[0])
}

type referencePattern []*regexp.Regexp // nil for **

func parseReference(pattern string) (referencePattern, bool) {
	var p referencePattern
	for name := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		switch name {
		case "":
		case "**":
			p = append(p, nil)
		default:
			re := expression(name)
			if re == nil {
				return nil, false
			}
			p = append(p, re)
		}
	}
	return p, true
}

func (p referencePattern) match(names []string) bool {
	switch {
	case len(p) == 0:
		return len(names) == 0
	case p[0] == nil:
		return p[1:].match(names) || len(names) > 0 && p.match(names[1:])
	}
	return len(names) > 0 && p[0].MatchString(latin1(names[0])) && p[1:].match(names[1:])
}

func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"", "*", "a*b?c*", "[a-c]*", "*.sw?", `\*`, "[!a]", "\xff?", "*[^x]*y*"} {
		f.Add(seed, "abcabc")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		g, err := parseGlob(text)
		re := expression(text)
		if err != nil || re == nil || len(text) > 50 || len(name) > 200 {
			return
		}
		if got, want := g.match(name), re.MatchString(latin1(name)); got != want {
			t.Errorf("glob %q of %q is %v, want %v", text, name, got, want)
		}
	})
}

// FuzzMatch compares sets with the reference, and holds that a walk from the roots finds whatever matches.
func FuzzMatch(f *testing.F) {
	f.Add("/etc\n/home/*/.ssh", "*.swp\n/etc/**/x", "", "/home/me/.ssh/config", byte(0))
	f.Add("/etc", "", "*.conf\n/etc/d", "/etc/d/x", byte(1))
	f.Add("/**/a/**/b", "/**/a/a", "/**/b/c", "/x/a/y/b/c/d", byte(0))
	f.Add("/\n/a/**", "b", "", "/a/b", byte(2))
	f.Add("**/x\n/a/*/**/c", "a\nc*", "", "/a/b/x/c", byte(3))
	f.Fuzz(compare)
}

// TestSetsMatchAsTheReference draws from few names, so that they match often.
func TestSetsMatchAsTheReference(t *testing.T) {
	t.Parallel()
	draw := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[draw.IntN(len(from))] }
	pattern := func(most int, names ...string) string {
		var b strings.Builder
		for range draw.IntN(most + 1) {
			b.WriteString("/" + pick(names...))
		}
		return cmp.Or(b.String(), "/")
	}
	list := func(most int, name bool) string {
		var all []string
		for range draw.IntN(most + 1) {
			all = append(all, pattern(5, "a", "b", "ab", "*", "?", "a*", "*b", "[a-c]", "**", "**"))
			if name && draw.IntN(2) == 0 {
				all[len(all)-1] = pick("a", "b", "a*", "ab", "c?")
			}
		}
		return strings.Join(all, "\n")
	}
	for range 10_000 {
		compare(t, list(3, false), list(2, true), list(2, true), pattern(7, "a", "b", "ab", "c", "cc"), byte(draw.IntN(4)))
	}
}

func compare(t *testing.T, paths, exclude, include, path string, flags byte) {
	c := WatchConfig{Name: "one", Paths: lines(paths), Exclude: lines(exclude), Include: lines(include)}
	if flags&1 != 0 {
		c.Recursive = new(bool)
	}
	other := WatchConfig{Name: "rest", Paths: []string{"/a", "/etc"}, Exclude: []string{"*.swp"}, Rest: flags&2 != 0}
	s, err := NewSets(Config{Watches: []WatchConfig{c, other}}, nil)
	if err != nil || !isClean(path) || len(paths)+len(exclude)+len(include) > 200 {
		return
	}
	one, known := referenceOf(c)
	rest, _ := referenceOf(other)
	if !known {
		return
	}
	got, want := s.Match(false, path), one.match(path, 1)
	if want.claimed == 0 || !other.Rest {
		want.found |= rest.match(path, 2).found
	}
	if got != want.found {
		t.Fatalf("%+v of %q is %b, want %b", c, path, got, want.found)
	}
	if s.Match(true, path) != 0 || s.MayContain(true, path) {
		t.Errorf("%q of a container is of a set of the host", path)
	}
	if got != 0 {
		reachable(t, s, path)
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func isClean(path string) bool {
	if path == "/" {
		return true
	}
	return len(path) < 200 && strings.HasPrefix(path, "/") && strings.Count(path, "/") < 12 &&
		!slices.ContainsFunc(strings.Split(path[1:], "/"), func(name string) bool { return name == "" || name == "." || name == ".." })
}

// reachable says so if a walk from the roots, which enters no directory in vain, does not come to a path.
func reachable(t *testing.T, s *Sets, path string) {
	t.Helper()
	roots := s.Roots(false)
	i := slices.IndexFunc(roots, func(root string) bool { return isWithin(path, root) })
	if i < 0 {
		t.Fatalf("%q is below none of the roots %q", path, roots)
	}
	if roots[i] == "/" && path != "/" && !s.MayContain(false, "/") {
		t.Errorf("/ is not entered, and %q is in it", path)
	}
	for end := len(path) - 1; end > 0; end-- {
		if path[end] == '/' && isWithin(path[:end], roots[i]) && !s.MayContain(false, path[:end]) {
			t.Errorf("%q is not entered, and %q is in it", path[:end], path)
		}
	}
}

type referenceSet struct {
	paths, includes, excludes     []referencePattern
	includeNames, excludeNames    []*regexp.Regexp
	isFlat, isBounded, isDoubtful bool
}

func referenceOf(c WatchConfig) (r referenceSet, known bool) {
	patterns := func(texts []string, names *[]*regexp.Regexp) (all []referencePattern) {
		for _, text := range texts {
			if names != nil && !strings.Contains(text, "/") {
				re := expression(text)
				r.isDoubtful = r.isDoubtful || re == nil
				*names = append(*names, re)
				continue
			}
			p, ok := parseReference(text)
			r.isDoubtful = r.isDoubtful || !ok
			all = append(all, p)
		}
		return all
	}
	r.paths = patterns(c.Paths, nil)
	r.includes = patterns(c.Include, &r.includeNames)
	r.excludes = patterns(c.Exclude, &r.excludeNames)
	r.isFlat, r.isBounded = c.Recursive != nil && !*c.Recursive, len(c.Include) > 0
	return r, !r.isDoubtful
}

type verdict struct{ found, claimed Watches }

func (r *referenceSet) match(path string, set Watches) verdict {
	var names []string
	if path != "/" {
		names = strings.Split(path[1:], "/")
	}
	above := func(patterns []referencePattern, from int) int {
		for n := from; n <= len(names); n++ {
			if slices.ContainsFunc(patterns, func(p referencePattern) bool { return p.match(names[:n]) }) {
				return n
			}
		}
		return -1
	}
	matches := func(globs []*regexp.Regexp, name string) bool {
		return slices.ContainsFunc(globs, func(re *regexp.Regexp) bool { return re.MatchString(latin1(name)) })
	}
	begin := -1
	for _, p := range r.paths {
		from := 0
		if r.isFlat && (len(p) == 0 || p[len(p)-1] != nil) {
			from = max(0, len(names)-1)
		}
		if n := above([]referencePattern{p}, from); n >= 0 && (begin < 0 || n < begin) {
			begin = n
		}
	}
	if begin < 0 {
		return verdict{}
	}
	isIncluded := !r.isBounded || above(r.includes, 0) >= 0 || len(names) > 0 && matches(r.includeNames, names[len(names)-1]) // the root has no name
	if !isIncluded {
		return verdict{}
	}
	isExcluded := above(r.excludes, 0) >= 0
	for _, name := range names[max(0, begin-1):] {
		isExcluded = isExcluded || matches(r.excludeNames, name)
	}
	if isExcluded {
		return verdict{claimed: set}
	}
	return verdict{found: set, claimed: set}
}
