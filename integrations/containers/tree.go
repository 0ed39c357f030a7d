package containers

import (
	"iter"
	"slices"
	"strings"
)

// A node is one path of the hierarchy: the cgroups that have or had it, and the container that a runtime says is there.
type node struct {
	parent   *node
	name     string
	children map[string]*node
	cgroups  []*cgroup // the living one and those that died lately
	claim    *record
}

// at returns the node of a path, and makes it if there is none.
func (n *node) at(path string) *node {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		child := n.children[name]
		if child == nil {
			child = &node{parent: n, name: name}
			if n.children == nil {
				n.children = map[string]*node{}
			}
			n.children[name] = child
		}
		n = child
	}
	return n
}

// find returns the node of a path or the nearest above it.
func (n *node) find(path string) *node {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		child := n.children[name]
		if child == nil {
			break
		}
		n = child
	}
	return n
}

// prune removes nodes that hold nothing, upwards.
func (n *node) prune() {
	for n.parent != nil && len(n.children) == 0 && len(n.cgroups) == 0 && n.claim == nil {
		delete(n.parent.children, n.name)
		n = n.parent
	}
}

// live returns the cgroup that has this path now, or nil.
func (n *node) live() *cgroup {
	for _, c := range n.cgroups {
		if c.removed == 0 {
			return c
		}
	}
	return nil
}

func (n *node) leave(c *cgroup) {
	n.cgroups = slices.DeleteFunc(n.cgroups, func(other *cgroup) bool { return other == c })
	n.prune()
}

// all yields the cgroups at this path and below it, from the top.
func (n *node) all() iter.Seq[*cgroup] {
	return func(yield func(*cgroup) bool) { n.each(yield) }
}

func (n *node) each(yield func(*cgroup) bool) bool {
	for _, c := range n.cgroups {
		if !yield(c) {
			return false
		}
	}
	for _, child := range n.children {
		if !child.each(yield) {
			return false
		}
	}
	return true
}

// claimant returns the container of the nearest path, upwards from here, that a runtime has claimed, if it lived while
// a cgroup that was made and removed at these times did: names are used again.
func (n *node) claimant(made, removed int64) *record {
	for ; n != nil; n = n.parent {
		rec := n.claim
		if rec == nil || rec.deleted != 0 && made > rec.deleted || removed != 0 && removed < rec.created {
			continue
		}
		return rec
	}
	return nil
}
