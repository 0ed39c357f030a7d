package expr

import (
	"math/bits"
	"slices"
)

// Possible returns which values of one field can make a condition true, out of a universe of them. It looks at = and !=,
// in and intersects of that field with constants; every other check may be true or false for each value, but that
// `evt.num = 0` never is and `evt.num > 0` always is, which is how rule files write never_true and always_true.
func Possible(n Node, field string, universe map[string]bool) map[string]bool {
	p := possibilities{field: field, names: make([]string, 0, len(universe))}
	for name, in := range universe {
		if in {
			p.names = append(p.names, name)
		}
	}
	set := p.of(n, false)
	result := make(map[string]bool, set.count(len(p.names)))
	for i, name := range p.names {
		if set.has(i) {
			result[name] = true
		}
	}
	return result
}

type possibilities struct {
	field string
	names []string
}

// possible has a bit for each name; nil stands for all.
type possible []uint64

func (b possible) has(i int) bool { return b == nil || b[i/64]&(1<<(i%64)) != 0 }

func (b possible) count(all int) (n int) {
	if b == nil {
		return all
	}
	for _, word := range b {
		n += bits.OnesCount64(word)
	}
	return n
}

func (p *possibilities) none() possible { return make(possible, len(p.names)/64+1) }

// of is the set of the condition, or of its opposite.
func (p *possibilities) of(n Node, negated bool) possible {
	switch n := n.(type) {
	case *Not:
		return p.of(n.Item, !negated)
	case *And:
		return p.join(n.Items, negated, !negated)
	case *Or:
		return p.join(n.Items, negated, negated)
	case *Check:
		return p.ofCheck(n, negated)
	}
	return nil
}

// join is what all items allow, or what any does.
func (p *possibilities) join(items []Node, negated, every bool) possible {
	var result possible
	if !every {
		result = p.none()
	}
	for _, item := range items {
		set := p.of(item, negated)
		switch {
		case every && set == nil:
		case every && result == nil:
			result = slices.Clone(set)
		case !every && set == nil:
			return nil
		default:
			for i := range set {
				if every {
					result[i] &= set[i]
				} else {
					result[i] |= set[i]
				}
			}
		}
	}
	return result
}

func (p *possibilities) ofCheck(c *Check, negated bool) possible {
	f, ok := c.Left.(*FieldRef)
	if !ok {
		return nil
	}
	if f.Name == "evt.num" {
		if truth, known := truthOfNumber(c); known && truth == negated {
			return p.none()
		}
		return nil
	}
	items := literals(c.Right)
	if f.Name != p.field || items == nil || !slices.Contains([]string{"=", "==", "!=", "in", "intersects"}, c.Op) {
		return nil
	}
	test, err := textTest(c, items)
	if err != nil {
		return nil
	}
	set := p.none()
	for i, name := range p.names {
		if test(name) != negated {
			set[i/64] |= 1 << (i % 64)
		}
	}
	return set
}

// truthOfNumber says what a comparison of evt.num, which counts from 1, always is.
func truthOfNumber(c *Check) (truth, known bool) {
	zero := len(literals(c.Right)) == 1 && literals(c.Right)[0].Text == "0"
	switch c.Op {
	case "=", "==", "<=", "in", "intersects":
		return false, zero
	case ">", "!=":
		return true, zero
	}
	return c.Op == ">=", zero && (c.Op == ">=" || c.Op == "<")
}
