package rules

import (
	"sort"

	"github.com/yagura-io/yagura/rules/expr"
)

// An atlas numbers the bytes of all conditions of a load one after another, so that a part of a condition says where it
// stands even when it has come from a macro into a rule.
type atlas struct {
	sheets []sheet
	next   int
}

// A sheet is one condition.
type sheet struct {
	begin int
	text  passage
	where *place
}

// add numbers a condition that was parsed.
func (a *atlas) add(text passage, where *place, n expr.Node) {
	move(n, a.next)
	a.sheets = append(a.sheets, sheet{a.next, text, where})
	a.next += len(text.text) + 1
}

// place returns where a number of the atlas stands, nil if it is none.
func (a *atlas) place(pos int) *place {
	i := sort.Search(len(a.sheets), func(i int) bool { return a.sheets[i].begin > pos }) - 1
	if i < 0 {
		return nil
	}
	s := &a.sheets[i]
	return s.where.within(inExpression, s.text.origin(pos-s.begin))
}

// move adds to all offsets of a condition.
func move(n expr.Node, by int) {
	switch n := n.(type) {
	case *expr.And:
		n.At += by
		for _, item := range n.Items {
			move(item, by)
		}
	case *expr.Or:
		n.At += by
		for _, item := range n.Items {
			move(item, by)
		}
	case *expr.Not:
		n.At += by
		move(n.Item, by)
	case *expr.Reference:
		n.At += by
	case *expr.Check:
		n.At += by
		moveOperand(n.Left, by)
		moveOperand(n.Right, by)
	}
}

func moveOperand(o expr.Operand, by int) {
	switch o := o.(type) {
	case *expr.FieldRef:
		o.At += by
	case *expr.Literal:
		o.At += by
	case *expr.Transformer:
		o.At += by
		for _, arg := range o.Args {
			moveOperand(arg, by)
		}
	case *expr.List:
		o.At += by
		for _, item := range o.Items {
			moveOperand(item, by)
		}
	}
}

// measure returns how many parts a condition has, and how deep it is nested.
func measure(n expr.Node) (size, depth int) {
	items := []expr.Node(nil)
	switch n := n.(type) {
	case *expr.And:
		items = n.Items
	case *expr.Or:
		items = n.Items
	case *expr.Not:
		items = []expr.Node{n.Item}
	}
	for _, item := range items {
		s, d := measure(item)
		size, depth = size+s, max(depth, d)
	}
	return size + 1, depth + 1
}
