package fim

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Bounds of globs: bytes of one, and how many of one tree may have **, each of which is looked for at every directory of a
// path.
const (
	maxGlobBytes = 4096 // PATH_MAX
	maxDeep      = 64
)

// A glob is a pattern of one name of a path, by bytes: * is any of them, also none and also a leading full stop; ? is any
// one; […] one of a class, which begins with ! or ^ for any but those; a backslash takes what follows literally.
type glob struct {
	prefix, suffix string    // in plain text around the rest
	middle         []element // nothing, or what begins and ends with an element that is not plain
}

// An element is any bytes, or one byte of a set.
type element struct {
	star bool
	set  byteSet
}

// byteSet has a bit for each byte.
type byteSet [4]uint64

func (s *byteSet) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }
func (s *byteSet) add(c byte)      { s[c>>6] |= 1 << (c & 63) }

func (s *byteSet) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// parseGlob refuses what shells take for a pattern of other characters or for plain text, since it is a slip.
func parseGlob(text string) (glob, error) {
	var g glob
	var plain []byte
	for at := 0; at < len(text); {
		var e element
		c, size, err := text[at], 1, error(nil)
		switch {
		case c == '*':
			e.star = true
		case c == '?':
			e.set.invert()
		case c == '[':
			e.set, size, err = parseClass(text[at:])
		case c == '\\' && at+1 == len(text):
			err = errors.New(`it ends with \: want a character behind it`)
		case c == '\\':
			plain, at = append(plain, text[at+1]), at+2
			continue
		default:
			plain, at = append(plain, c), at+1
			continue
		}
		if err != nil {
			return glob{}, err
		}
		if e.star && len(plain) == 0 && len(g.middle) > 0 && g.middle[len(g.middle)-1].star {
			return glob{}, errors.New("want ** to be all between two slashes, and else one *")
		}
		g.add(plain)
		g.middle, plain, at = append(g.middle, e), plain[:0], at+size
	}
	if g.middle == nil {
		return glob{prefix: string(plain)}, nil
	}
	g.suffix = string(plain)
	return g, nil
}

// add takes plain text that an element follows.
func (g *glob) add(plain []byte) {
	if g.middle == nil {
		g.prefix = string(plain)
		return
	}
	for _, c := range plain {
		var e element
		e.set.add(c)
		g.middle = append(g.middle, e)
	}
}

// parseClass reads a class that begins with its bracket, and says how long it is.
func parseClass(text string) (set byteSet, size int, err error) {
	at := 1
	not := at < len(text) && (text[at] == '!' || text[at] == '^')
	if not {
		at++
	}
	char := func() (c byte, ok bool) {
		if at < len(text) && text[at] == '\\' {
			at++
		}
		if at >= len(text) {
			return 0, false
		}
		c, at = text[at], at+1
		return c, true
	}
	for first := true; ; first = false {
		if at < len(text) && text[at] == ']' && !first {
			break
		}
		if at+1 < len(text) && text[at] == '[' && strings.IndexByte(":.=", text[at+1]) >= 0 {
			return set, 0, fmt.Errorf("class with %q: want single characters and ranges such as a-z", text[at:at+2])
		}
		low, ok := char()
		high := low
		if ok && at+1 < len(text) && text[at] == '-' && text[at+1] != ']' {
			at++
			high, ok = char()
		}
		if !ok {
			return set, 0, errors.New("[ without its ]: want both, or \\[")
		}
		if high < low {
			return set, 0, fmt.Errorf("range %q: want the lesser character first", string([]byte{low, '-', high}))
		}
		for c := int(low); c <= int(high); c++ {
			set.add(byte(c))
		}
	}
	if not {
		set.invert()
	}
	return set, at + 1, nil
}

func (g *glob) isPlain() bool { return g.middle == nil }

func (g *glob) match(name string) bool {
	switch {
	case g.middle == nil:
		return name == g.prefix
	case len(name) < len(g.prefix)+len(g.suffix) || !strings.HasPrefix(name, g.prefix) || !strings.HasSuffix(name, g.suffix):
		return false
	case len(g.middle) == 1 && g.middle[0].star:
		return true
	}
	return matchElements(g.middle, name[len(g.prefix):len(name)-len(g.suffix)])
}

// mayMatch is a glance at both ends, which most names do not pass.
func (g *glob) mayMatch(name string) bool {
	p, s, n := g.prefix, g.suffix, len(name)
	return n > 0 && (p == "" || p[0] == name[0]) && (s == "" || s[len(s)-1] == name[n-1])
}

// matchElements goes back to the latest star only: one before it could take no more than that one can.
func matchElements(elements []element, s string) bool {
	e, at, star, from := 0, 0, -1, 0
	for at < len(s) {
		switch {
		case e < len(elements) && elements[e].star:
			star, from = e, at
			e++
		case e < len(elements) && elements[e].set.has(s[at]):
			e++
			at++
		case star >= 0:
			from++
			e, at = star+1, from
		default:
			return false
		}
	}
	for e < len(elements) && elements[e].star {
		e++
	}
	return e == len(elements)
}

// A pattern is a path or a glob of one, by its names; ** stands for any number of directories, also none.
type pattern []component

type component struct {
	text string // as it was written
	glob glob
	deep bool // **
}

// parsePattern reads a path or glob that begins with / or **/. A slash at its end says nothing.
func parsePattern(text string) (pattern, error) {
	rest, absolute := strings.CutPrefix(text, "/")
	switch {
	case !absolute && text != "**" && !strings.HasPrefix(text, "**/"):
		return nil, errors.New("want a path that begins with /, or a glob that begins with / or **/")
	case len(text) > maxGlobBytes:
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), maxGlobBytes)
	case strings.IndexByte(text, 0) >= 0:
		return nil, errors.New("it has a byte 0: want none, as no path has it")
	}
	var p pattern
	for name := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), "/") {
		switch {
		case name == "" && rest == "": // the root
		case name == "" || name == "." || name == "..":
			return nil, fmt.Errorf("it has %q between slashes: want a path without", name)
		case name == "**" && len(p) > 0 && p[len(p)-1].deep:
		case name == "**":
			p = append(p, component{text: name, deep: true})
		default:
			g, err := parseGlob(name)
			if err != nil {
				return nil, err
			}
			p = append(p, component{text: name, glob: g})
		}
	}
	return p, nil
}

// root is the longest path without globs that the pattern begins with, and how many names it has.
func (p pattern) root() (path string, names int) {
	var b strings.Builder
	for _, c := range p {
		if c.deep || !c.glob.isPlain() {
			break
		}
		b.WriteByte('/')
		b.WriteString(c.glob.prefix)
		names++
	}
	if names == 0 {
		return "/", 0
	}
	return b.String(), names
}

// under is the pattern with another path in place of its root.
func (p pattern) under(path string) pattern {
	_, names := p.root()
	var moved pattern
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			moved = append(moved, component{text: name, glob: glob{prefix: name}})
		}
	}
	return append(moved, p[names:]...)
}

// A role is what a pattern does to the watch sets it is marked with.
type role uint8

const (
	wholly   role = iota // what it matches and all below is of the set
	flatly               // what it matches and what is directly in it
	exactly              // what it matches only
	includes             // what it matches and all below may be of the set
	excludes             // what it matches and all below is not
	roles
)

// A tree holds patterns by their names, so that those which begin alike are looked at together.
type tree struct {
	node
	deep  int // nodes behind **
	roots []string
}

type node struct {
	plain map[string]*node
	globs []globNode
	deep  *node // behind **: what follows may be in any directory below
	bit   uint64
	marks [roles]Watches
	below Watches // sets with patterns that go on from here
}

type globNode struct {
	text string
	glob glob
	node *node
}

// add marks a pattern. What ends with ** is all that is below.
func (t *tree) add(p pattern, as role, sets Watches) error {
	if last := len(p) - 1; last >= 0 && p[last].deep {
		p = p[:last]
		if as == flatly || as == exactly {
			as = wholly
		}
	}
	n := &t.node
	for _, c := range p {
		if as == wholly || as == flatly {
			n.below |= sets
		}
		switch {
		case c.deep && n.deep == nil:
			if t.deep == maxDeep {
				return fmt.Errorf("want at most %d beginnings with **", maxDeep)
			}
			n.deep = &node{bit: 1 << t.deep}
			t.deep++
			n = n.deep
		case c.deep:
			n = n.deep
		case c.glob.isPlain():
			n = n.named(c.glob.prefix)
		default:
			n = n.globbed(c)
		}
	}
	n.marks[as] |= sets
	switch as {
	case flatly:
		n.below |= sets
		fallthrough
	case wholly:
		root, _ := p.root()
		t.roots = append(t.roots, root)
	}
	return nil
}

func (n *node) named(name string) *node {
	if n.plain == nil {
		n.plain = map[string]*node{}
	}
	if n.plain[name] == nil {
		n.plain[name] = &node{}
	}
	return n.plain[name]
}

func (n *node) globbed(c component) *node {
	for i := range n.globs {
		if n.globs[i].text == c.text {
			return n.globs[i].node
		}
	}
	n.globs = append(n.globs, globNode{c.text, c.glob, &node{}})
	return n.globs[len(n.globs)-1].node
}

// topmost are the roots that are below no other.
func (t *tree) topmost() []string {
	slices.Sort(t.roots)
	var top []string
	for _, root := range t.roots {
		if !slices.ContainsFunc(top, func(above string) bool { return isWithin(root, above) }) {
			top = append(top, root)
		}
	}
	return top
}

func isWithin(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || dir == "/")
}

// A search is one path held against a tree. Every node is visited once at most, or once for each directory of the path
// behind **, so that no patterns and no path make it long: the search behind a ** begins at its least depth first, and so
// finds all that a later one could.
type search struct {
	path    string // empty for the root
	entered uint64 // nodes behind ** whose search has begun
	marks   [roles]Watches
	below   Watches
	begin   [maxWatches]uint32 // by set: where the topmost name begins that it is wholly or flatly of
}

// run looks for an absolute path, and adds to what has been found for it in other trees; for another path it finds nothing.
func (q *search) run(t *tree, path string) {
	if path == "" || path[0] != '/' {
		return
	}
	if len(path) > 1 {
		q.path = path
	}
	q.entered = 0
	q.visit(&t.node, 1, 0) // of the root all names are below
}

// visit is at a node that matches the path up to end, whose last name there begins at begin.
func (q *search) visit(n *node, begin, end int) {
	q.marks[includes] |= n.marks[includes]
	q.marks[excludes] |= n.marks[excludes]
	if found := n.marks[wholly]; found != 0 {
		q.marks[wholly] |= q.found(found, begin)
	}
	if found := n.marks[flatly]; found != 0 && (end == len(q.path) || strings.IndexByte(q.path[end+1:], '/') < 0) {
		q.marks[flatly] |= q.found(found, begin)
	}
	if end == len(q.path) {
		q.marks[exactly] |= n.marks[exactly]
		q.below |= n.below
		return
	}
	q.step(n, end)
	if n.deep == nil || q.entered&n.deep.bit != 0 {
		return
	}
	q.entered |= n.deep.bit
	q.below |= n.deep.below
	for ; end < len(q.path); end = q.next(end) {
		q.step(n.deep, end)
	}
}

func (q *search) found(sets Watches, begin int) Watches {
	known := q.marks[wholly] | q.marks[flatly]
	for left := uint64(sets); left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		if !known.Has(i) || uint32(begin) < q.begin[i] {
			q.begin[i] = uint32(begin)
		}
	}
	return sets
}

// next is where the name ends that follows the slash at end.
func (q *search) next(end int) int {
	if i := strings.IndexByte(q.path[end+1:], '/'); i >= 0 {
		return end + 1 + i
	}
	return len(q.path)
}

// step goes from a node to those that match the next name.
func (q *search) step(n *node, end int) {
	begin, next := end+1, q.next(end)
	name := q.path[begin:next]
	if name == "" {
		return
	}
	if to := n.plain[name]; to != nil {
		q.visit(to, begin, next)
	}
	for i := range n.globs {
		if n.globs[i].glob.match(name) {
			q.visit(n.globs[i].node, begin, next)
		}
	}
}
