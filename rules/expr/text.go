package expr

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// textTest makes the test of a text against the constants of a check.
func textTest(c *Check, items []*Literal) (func(string) bool, error) {
	any := c.Modifier != "allof" && len(items) > 0
	switch c.Op {
	case "=", "==", "in", "intersects":
		if any {
			return newSet(items).has, nil
		}
	case "!=":
		if c.Modifier == "allof" && len(items) > 0 {
			s := newSet(items)
			return func(text string) bool { return !s.has(text) }, nil
		}
	case "pmatch":
		return newPathSet(items).match, nil
	case "regex":
		return combine(c, items, parseRegex, func(s string, r *regex) bool { return r.match(s) })
	case "glob", "iglob":
		parse := func(v *Literal) (*glob, error) { g := parseGlob(v.Text, c.Op == "iglob"); return &g, nil }
		return combine(c, items, parse, func(s string, g *glob) bool { return g.match(s) })
	case "icontains":
		parse := func(v *Literal) (string, error) { return toLower(v.Text), nil }
		return combine(c, items, parse, containsFold)
	case "startswith":
		if any && len(items) > 2 && len(items) <= maxPrefixes {
			return newPrefixes(items).match, nil
		}
	}
	return combine(c, items, func(v *Literal) (string, error) { return v.Text, nil }, textPair(c.Op))
}

// textPairTest is the comparison of two texts that are both read from the event.
func textPairTest(c *Check) (func(a, b string) bool, error) {
	switch c.Op {
	case "regex":
		return nil, wrong(c.Right, "regex wants its expression in the condition")
	case "glob", "iglob":
		fold := c.Op == "iglob"
		return func(a, b string) bool { g := parseGlob(b, fold); return g.match(a) }, nil
	case "icontains":
		return func(a, b string) bool { return containsFold(a, toLower(b)) }, nil
	case "pmatch":
		return beginsPath, nil
	}
	return textPair(c.Op), nil
}

func textPair(op string) func(a, b string) bool {
	switch op {
	case "!=":
		return func(a, b string) bool { return a != b }
	case "<":
		return func(a, b string) bool { return a < b }
	case "<=":
		return func(a, b string) bool { return a <= b }
	case ">":
		return func(a, b string) bool { return a > b }
	case ">=":
		return func(a, b string) bool { return a >= b }
	case "contains":
		return strings.Contains
	case "startswith":
		return strings.HasPrefix
	case "endswith":
		return strings.HasSuffix
	}
	return func(a, b string) bool { return a == b }
}

// containsFold is strings.Contains regardless of the case of ASCII letters; part is in lower case.
func containsFold(s, part string) bool {
	if part == "" {
		return true
	}
	for first, last := part[0], len(s)-len(part); last >= 0; last-- {
		if lower(s[0]) == first && equalFold(s[:len(part)], part) {
			return true
		}
		s = s[1:]
	}
	return false
}

// equalFold compares a text with one of the same length in lower case.
func equalFold(s, low string) bool {
	for i := range len(low) {
		if lower(s[i]) != low[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// toLower changes ASCII letters only, and allocates nothing if there is nothing to change.
func toLower(s string) string { return mapBytes(s, lower) }

func toUpper(s string) string { return mapBytes(s, upper) }

func mapBytes(s string, f func(byte) byte) string {
	for i := range len(s) {
		if f(s[i]) == s[i] {
			continue
		}
		b := []byte(s)
		for ; i < len(b); i++ {
			b[i] = f(b[i])
		}
		return string(b)
	}
	return s
}

// A regex is a regular expression, which must match the whole text.
type regex struct {
	fast *dfa // nil if the expression is not for one
	full *regexp.Regexp
}

func (r *regex) match(text string) bool {
	if r.fast != nil {
		if matches, known := r.fast.match(text); known {
			return matches
		}
	}
	return r.full.MatchString(text)
}

// parseRegex reads a regular expression of RE2's POSIX syntax: no \d, \b or (?i), a dot is any character but a newline, a
// negated class has newlines too, ^ and $ stand at lines. What is not UTF-8 reads as U+FFFD.
func parseRegex(v *Literal) (*regex, error) {
	tree, err := syntax.Parse(v.Text, syntax.ClassNL)
	if err == nil {
		var r *regexp.Regexp
		if r, err = regexp.Compile(`\A(?:` + tree.String() + `)\z`); err == nil {
			return &regex{newDFA(tree), r}, nil
		}
	}
	return nil, wrong(v, "regex %q: %v", v.Text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}
