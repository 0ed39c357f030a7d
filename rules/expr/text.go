package expr

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// textTest makes the test of a text against the constants of a check.
func textTest(c *Check, items []*Literal) (func(string) bool, error) {
	switch c.Op {
	case "=", "==", "in", "intersects":
		if c.Modifier != "allof" {
			return newSet(items).has, nil
		}
	case "pmatch":
		paths := newPathSet(items)
		return paths.match, nil
	case "regex":
		return combine(c, items, parseRegex, func(s string, r *regexp.Regexp) bool { return matchRegex(r, s) })
	case "glob", "iglob":
		fold := c.Op == "iglob"
		return combine(c, items, func(v *Literal) (glob, error) { return parseGlob(v.Text, fold), nil }, func(s string, g glob) bool { return g.match(s) })
	case "startswith":
		if c.Modifier != "allof" && len(items) > 4 {
			return newPrefixes(items), nil
		}
	}
	same := textPair(strings.Replace(c.Op, "!=", "=", 1))
	return combine(c, items, func(v *Literal) (string, error) { return v.Text, nil }, same)
}

// textPairTest is the comparison of two texts that are both read from the event.
func textPairTest(c *Check) (func(a, b string) bool, error) {
	switch c.Op {
	case "regex":
		return nil, wrong(c, "regex wants its expression in the condition")
	case "glob", "iglob":
		fold := c.Op == "iglob"
		return func(a, b string) bool { return parseGlob(b, fold).match(a) }, nil
	case "pmatch":
		return func(a, b string) bool { return newPathSet([]*Literal{{Text: b}}).match(a) }, nil
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
	case "icontains":
		return containsFold
	case "startswith":
		return strings.HasPrefix
	case "endswith":
		return strings.HasSuffix
	}
	return func(a, b string) bool { return a == b }
}

// containsFold is strings.Contains regardless of the case of ASCII letters.
func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if equalFold(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

func equalFold(a, b string) bool {
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
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

// A set is several texts. Few are compared one by one, which costs less than a hash.
type set struct {
	few    []string
	many   map[string]struct{}
	length [64]bool // of texts shorter than that, those that are there; the rest counts as the last
}

func newSet(items []*Literal) *set {
	s := &set{}
	for _, item := range items {
		s.length[min(len(item.Text), len(s.length)-1)] = true
		s.few = append(s.few, item.Text)
	}
	if len(items) > 4 {
		s.many = make(map[string]struct{}, len(items))
		for _, text := range s.few {
			s.many[text] = struct{}{}
		}
	}
	return s
}

func (s *set) has(text string) bool {
	if !s.length[min(len(text), len(s.length)-1)] {
		return false
	}
	if s.many != nil {
		_, ok := s.many[text]
		return ok
	}
	for _, own := range s.few {
		if own == text {
			return true
		}
	}
	return false
}

// newPrefixes tests for many prefixes by their first two bytes.
func newPrefixes(items []*Literal) func(string) bool {
	by := map[[2]byte][]string{}
	var short []string
	for _, item := range items {
		if len(item.Text) < 2 {
			short = append(short, item.Text)
			continue
		}
		key := [2]byte{item.Text[0], item.Text[1]}
		by[key] = append(by[key], item.Text)
	}
	return func(s string) bool {
		for _, p := range short {
			if strings.HasPrefix(s, p) {
				return true
			}
		}
		if len(s) < 2 {
			return false
		}
		for _, p := range by[[2]byte{s[0], s[1]}] {
			if strings.HasPrefix(s, p) {
				return true
			}
		}
		return false
	}
}

// parseRegex reads a regular expression that must match the whole text.
func parseRegex(v *Literal) (*regexp.Regexp, error) {
	r, err := regexp.Compile(`\A(?:` + v.Text + `)\z`)
	if err != nil {
		return nil, wrong(v, "regex %q: %v", v.Text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return r, nil
}

func matchRegex(r *regexp.Regexp, s string) bool {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return r.MatchString(s)
}

// A pathSet is several paths, of which one must be a prefix of a path, by whole components. Components may be globs.
type pathSet struct{ root pathNode }

type pathNode struct {
	end   bool
	next  map[string]*pathNode
	globs []pathGlob
}

type pathGlob struct {
	glob glob
	node *pathNode
}

func newPathSet(items []*Literal) *pathSet {
	s := &pathSet{}
	for _, item := range items {
		n := &s.root
		for part := range strings.SplitSeq(item.Text, "/") {
			if part != "" {
				n = n.child(part)
			}
		}
		n.end = true
	}
	return s
}

func (n *pathNode) child(part string) *pathNode {
	if strings.ContainsAny(part, "*?[") {
		for _, g := range n.globs {
			if g.glob.pattern == part {
				return g.node
			}
		}
		g := pathGlob{parseGlob(part, false), &pathNode{}}
		n.globs = append(n.globs, g)
		return g.node
	}
	if n.next == nil {
		n.next = map[string]*pathNode{}
	}
	if n.next[part] == nil {
		n.next[part] = &pathNode{}
	}
	return n.next[part]
}

func (s *pathSet) match(path string) bool { return s.root.match(path) }

func (n *pathNode) match(path string) bool {
	if n.end {
		return true
	}
	path = strings.TrimLeft(path, "/")
	if path == "" {
		return false
	}
	part, rest, _ := strings.Cut(path, "/")
	if next := n.next[part]; next != nil && next.match(rest) {
		return true
	}
	for _, g := range n.globs {
		if g.glob.match(part) && g.node.match(rest) {
			return true
		}
	}
	return false
}
