package image

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
)

// An entryKind is what a name in a layer stands for.
type entryKind uint8

const (
	regular entryKind = iota
	directory
	symlink
	hardLink // of another name, of the same layer or of one below
	device
	fifo
	whiteout // there is no such name in the layers below
	opaque   // the directory has nothing of the layers below
	kinds
)

var kindNames = [kinds]string{"file", "directory", "symlink", "hard link", "device", "fifo", "whiteout", "opaque directory"}

func (k entryKind) String() string { return kindNames[k] }

// A form is what the first bytes of a file say of it.
type form uint8

const (
	otherForm form = iota
	program        // ELF
	script         // begins with #!
)

// Permission bits of an entry's mode beyond the lower nine.
const (
	setuid = 0o4000
	setgid = 0o2000
	sticky = 0o1000
)

// An entry is what one layer says of one name.
type entry struct {
	name         string // as it is in the archive
	kind         entryKind
	form         form
	mode         uint16 // permissions, setuid, setgid, sticky
	uid, gid     uint32
	size         int64
	target       string // of a link
	capabilities string // the value of security.capability
	sum          *[32]byte
	text         []byte // of a few files
	secrets      []secret
	moreSecrets  int
}

// A node is a name in the file system that the layers make, and what its latest layer says of it.
type node struct {
	*entry
	base     string
	parent   *node // nil for the root
	depth    int
	children map[string]*node
	layer    int // that brought it as it is
	listed   int // the last layer that has it
	cleared  int // the layer whose work it is that nothing of those below is left in it
}

// A tree is what a container would see of layers that were put on top of one another.
type tree struct {
	root *node
	// odd is told of every name that no tool should unpack or that tools unpack to different things, with the id of the check.
	odd func(layer int, e *entry, check, why string)
	// placed is told of every name as it is put in its place.
	placed func(*node)

	hidden map[place]bool // directories with something in them that a whiteout of this layer has taken away

	room  int // nodes that may still be made, as a path may make thousands of them
	steps int // names that may still be followed, as symbolic links make paths longer
}

// Bounds of paths, the first three as Linux has them.
const (
	maxPath   = 4096
	maxName   = 255
	maxLinks  = 40
	maxDepth  = maxPath / 2
	someSteps = 10_000_000
	maxSteps  = 200 // for each name, on average
)

func newTree(names int) *tree {
	root := &node{entry: &entry{kind: directory, mode: 0o755}, cleared: -1}
	return &tree{root: root, room: names, steps: someSteps + names*maxSteps, odd: func(int, *entry, string, string) {}, placed: func(*node) {}}
}

// apply puts a layer on top of those before it.
func (t *tree) apply(layer int, entries []entry) error {
	t.hidden = map[place]bool{}
	for i := range entries {
		t.add(layer, &entries[i])
		if t.room < 0 || t.steps < 0 {
			return fmt.Errorf("%w: names, or symbolic links in their paths", ErrTooMuch)
		}
	}
	return nil
}

func (t *tree) unsafe(layer int, e *entry, why string) { t.odd(layer, e, unsafeEntry, why) }

func (t *tree) add(layer int, e *entry) {
	switch {
	case len(e.name) > maxPath:
		t.unsafe(layer, e, fmt.Sprintf("a path of %d bytes", len(e.name)))
		return
	case goesUp(e.name):
		t.unsafe(layer, e, "a path with .. in it")
		return
	}
	clean := path.Clean("/" + e.name)
	if clean == "/" {
		t.addRoot(layer, e)
		return
	}
	dir, base := path.Split(clean)
	parent, why := t.directory(layer, dir)
	switch {
	case why != "":
		t.unsafe(layer, e, why)
	case tooDeep(parent, base) != "":
		t.unsafe(layer, e, tooDeep(parent, base))
	case e.kind == whiteout:
		t.whiteout(layer, e, parent, base)
	case e.kind == opaque:
		if n := parent.children[base]; n != nil && n.kind == directory {
			n.clearBelow(layer)
		}
	case e.kind == hardLink:
		t.link(layer, e, parent, base)
	default:
		t.put(layer, e, parent, base)
	}
}

func (t *tree) addRoot(layer int, e *entry) {
	switch e.kind {
	case directory:
		t.root.entry, t.root.layer, t.root.listed = e, layer, layer
	case opaque:
		if t.root.clearBelow(layer); layer > 0 {
			t.odd(layer, e, ambiguousWhiteout, "an opaque root, which overlayfs does not know")
		}
	}
}

// whiteout goes by the specification: what the same layer has is not hidden, in whatever order the two are told. Runtimes
// that unpack into overlayfs go by the order, and show what is below in a directory that takes the place of a whiteout.
func (t *tree) whiteout(layer int, e *entry, parent *node, base string) {
	n := parent.children[base]
	if n == nil {
		return
	}
	if n.listed == layer {
		t.odd(layer, e, ambiguousWhiteout, "a whiteout behind the name that it is for, in one layer")
	}
	t.hidden[place{parent, base}] = len(n.children) > 0
	if n.clearBelow(layer) {
		delete(parent.children, base)
	}
}

type place struct {
	parent *node
	base   string
}

// put makes a node, or changes the one that is there. Directories keep what is in them.
func (t *tree) put(layer int, e *entry, parent *node, base string) {
	n := parent.children[base]
	if at := (place{parent, base}); e.kind == directory && t.hidden[at] {
		delete(t.hidden, at)
		t.odd(layer, e, ambiguousWhiteout, "a directory in place of its whiteout, in one layer")
	}
	if n == nil || n.kind != directory || e.kind != directory {
		t.room--
		n = &node{base: base, parent: parent, depth: parent.depth + 1, layer: layer, cleared: -1}
		if parent.children == nil {
			parent.children = map[string]*node{}
		}
		parent.children[base] = n
	} else if n.mode == e.mode && n.uid == e.uid && n.gid == e.gid {
		n.listed = layer // it is only named because of something in it
		return
	}
	n.entry, n.layer, n.listed = e, layer, layer
	t.placed(n)
}

// link makes another name of a file.
func (t *tree) link(layer int, e *entry, parent *node, base string) {
	if goesUp(e.target) {
		t.unsafe(layer, e, fmt.Sprintf("a hard link to %s, with .. in it", printable(e.target)))
		return
	}
	dir, name := path.Split(path.Clean("/" + e.target))
	var to *node
	if in := t.resolve(dir); in != nil {
		to = in.children[name]
	}
	switch {
	case to == nil:
		t.unsafe(layer, e, fmt.Sprintf("a hard link to %s, which is not there", printable(e.target)))
		return
	case to.kind == directory:
		t.unsafe(layer, e, fmt.Sprintf("a hard link to %s, a directory", printable(e.target)))
		return
	case to == parent.children[base]:
		return
	}
	// The last header of a file is the one that counts, whichever of its names it has. Symbolic links have no mode.
	if to.kind != symlink && (to.mode != e.mode || to.uid != e.uid || to.gid != e.gid) {
		to.mode, to.uid, to.gid, to.layer = e.mode, e.uid, e.gid, layer
	}
	t.put(layer, to.entry, parent, base)
}

// directory returns the directory of a path, and makes what is missing of it.
func (t *tree) directory(layer int, dir string) (n *node, why string) {
	n, why = t.walk(dir, func(parent *node, base string) *node {
		t.put(layer, &entry{name: path.Join(parent.path(), base), kind: directory, mode: 0o755}, parent, base)
		return parent.children[base]
	})
	if n != nil && n.kind != directory {
		return nil, through(n)
	}
	return n, why
}

func through(n *node) string {
	return fmt.Sprintf("a path through %s, which is a %s", printable(n.path()), n.kind)
}

// resolve returns what is at a path, through all symbolic links; nil if there is nothing.
func (t *tree) resolve(name string) *node {
	n, _ := t.walk(name, func(*node, string) *node { return nil })
	return n
}

// walk follows a path through symbolic links, none of which leads out of the root.
func (t *tree) walk(name string, missing func(parent *node, base string) *node) (at *node, why string) {
	at = t.root
	links := 0
	for rest := name; ; t.steps-- {
		rest = strings.TrimLeft(rest, "/")
		if rest == "" {
			return at, ""
		}
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		switch base {
		case ".":
			continue
		case "..":
			at = cmp.Or(at.parent, at)
			continue
		}
		if at.kind != directory {
			return nil, through(at)
		}
		next := at.children[base]
		switch {
		case next == nil:
			if why := tooDeep(at, base); why != "" {
				return nil, why
			}
			if next = missing(at, base); next == nil {
				return nil, ""
			}
			at = next
		case next.kind == symlink:
			links++
			if links > maxLinks || len(next.target)+len(rest) > maxPath {
				return nil, fmt.Sprintf("a path through more than %d symbolic links, or of more than %d bytes with them", maxLinks, maxPath)
			}
			if strings.HasPrefix(next.target, "/") {
				at = t.root
			}
			rest = next.target + "/" + rest
		default:
			at = next
		}
	}
}

func tooDeep(parent *node, base string) string {
	switch {
	case len(base) > maxName:
		return fmt.Sprintf("a name of %d bytes", len(base))
	case parent.depth >= maxDepth:
		return fmt.Sprintf("a path of more than %d directories", maxDepth)
	}
	return ""
}

func goesUp(name string) bool {
	return strings.Contains(name, "..") && slices.Contains(strings.Split(name, "/"), "..")
}

// clearBelow takes away what layers below this one have brought, and returns true if nothing is left of the node.
func (n *node) clearBelow(layer int) (gone bool) {
	if n.cleared < layer {
		n.cleared = layer
		for base, child := range n.children {
			if child.clearBelow(layer) {
				delete(n.children, base)
			}
		}
	}
	return n.listed < layer && len(n.children) == 0 && n.parent != nil
}

// path returns where the node is, with a slash in front.
func (n *node) path() string {
	if n.parent == nil {
		return "/"
	}
	length := 0
	for a := n; a.parent != nil; a = a.parent {
		length += 1 + len(a.base)
	}
	text := make([]byte, length)
	for a := n; a.parent != nil; a = a.parent {
		length -= copy(text[length-len(a.base):], a.base) + 1
		text[length] = '/'
	}
	return string(text)
}

// alive says whether a container would see the node.
func (n *node) alive() bool {
	for ; n.parent != nil; n = n.parent {
		if n.parent.children[n.base] != n {
			return false
		}
	}
	return true
}

// all yields the nodes, each directory before what is in it, in the order of names.
func (t *tree) all() iter.Seq2[string, *node] {
	return func(yield func(string, *node) bool) { t.root.each("", yield) }
}

func (n *node) each(at string, yield func(string, *node) bool) bool {
	if n.parent != nil && !yield(at, n) {
		return false
	}
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		if !n.children[base].each(at+"/"+base, yield) {
			return false
		}
	}
	return true
}
