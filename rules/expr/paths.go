package expr

import "strings"

// A pathSet is several paths, of which one must be a prefix of a path, by whole components. Components may be globs. The
// first component keeps the slash before it, so that a relative path begins no absolute one. Slashes at the end or
// doubled do not matter, and an empty path begins nothing.
type pathSet struct{ root pathNode }

type pathNode struct {
	end   bool
	next  map[string]*pathNode
	globs []pathGlob
}

type pathGlob struct {
	pattern string
	glob    glob
	node    *pathNode
}

func newPathSet(items []*Literal) *pathSet {
	s := &pathSet{}
	for _, item := range items {
		n := &s.root
		for part, rest := cutComponent(item.Text, true); part != ""; part, rest = cutComponent(rest, false) {
			n = n.child(part)
		}
		n.end = true // of the root too, where nobody asks
	}
	return s
}

// cutComponent takes the next component of a path; "" at its end. The root is a component if nothing else follows.
func cutComponent(path string, first bool) (part, rest string) {
	bare := strings.TrimLeft(path, "/")
	end := strings.IndexByte(bare, '/')
	if end < 0 {
		end = len(bare)
	}
	part, rest = bare[:end], bare[end:]
	if first && len(bare) < len(path) { // what stands before bare is a slash
		part = path[len(path)-len(bare)-1 : len(path)-len(bare)+end]
	}
	return part, rest
}

func (n *pathNode) child(part string) *pathNode {
	if strings.ContainsAny(part, "*?[") {
		for _, g := range n.globs {
			if g.pattern == part {
				return g.node
			}
		}
		g := pathGlob{part, parseGlob(part, false), &pathNode{}}
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

func (s *pathSet) match(path string) bool {
	part, rest := cutComponent(path, true)
	if part == "" {
		return false
	}
	if root := s.root.next["/"]; root != nil && part[0] == '/' {
		return true // the root begins every absolute path
	}
	if part == "/" {
		return false // and has no component that a glob could match
	}
	return s.root.match(part, rest)
}

// match compares a component, and whatever follows it. Each node is visited once at most.
func (n *pathNode) match(part, rest string) bool {
	if next := n.next[part]; next != nil && next.matchRest(rest) {
		return true
	}
	for i := range n.globs {
		if g := &n.globs[i]; g.glob.match(part) && g.node.matchRest(rest) {
			return true
		}
	}
	return false
}

func (n *pathNode) matchRest(path string) bool {
	if n.end {
		return true
	}
	part, rest := cutComponent(path, false)
	return part != "" && n.match(part, rest)
}

// beginsPath says the same of one path that is known only when an event is.
func beginsPath(path, prefix string) bool {
	return newPathSet([]*Literal{{Text: prefix}}).match(path)
}
