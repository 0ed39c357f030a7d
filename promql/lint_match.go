package promql

import (
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// matching looks at the labels by which the two sides of an operator find each other.
func (l *exprLinter) matching(n *parser.BinaryExpr) {
	left, right, m := l.labels.of(n.LHS), l.labels.of(n.RHS), n.VectorMatching
	if n.Op == parser.LOR || l.matchSame(n, left, right) {
		return
	}
	if !l.canMatch(n, left, right) || n.Op.IsSetOperator() {
		return
	}
	for _, name := range m.Include {
		one := right
		if m.Card == parser.CardOneToMany {
			one = left
		}
		if !one.may(name) {
			l.tell("matching", n, "%s(%s): the one side has no label %s to give", grouping(m.Card), name, name)
		}
	}
	l.cardinality(n, n.LHS, left, m.Card == parser.CardManyToOne, "left")
	l.cardinality(n, n.RHS, right, m.Card == parser.CardOneToMany, "right")
}

func grouping(c parser.VectorMatchCardinality) string {
	return map[bool]string{true: "group_right", false: "group_left"}[c == parser.CardOneToMany]
}

// key are the labels of a side that are compared; known is false if there may be others.
func key(s labelSet, m *parser.VectorMatching) (names []string, known bool) {
	if m.On {
		return m.MatchingLabels, true
	}
	for _, name := range s.list() {
		if !slices.Contains(m.MatchingLabels, name) {
			names = append(names, name)
		}
	}
	return names, s.closed
}

// canMatch reports that no series of one side can match one of the other.
func (l *exprLinter) canMatch(n *parser.BinaryExpr, left, right labelSet) bool {
	leftKey, leftKnown := key(left, n.VectorMatching)
	rightKey, rightKnown := key(right, n.VectorMatching)
	for _, name := range slices.Sorted(maps.Keys(left.fixed)) {
		other, ok := right.fixed[name]
		if compared := n.VectorMatching.On == slices.Contains(n.VectorMatching.MatchingLabels, name); ok && compared && other != left.fixed[name] {
			l.tell("matching", n, "nothing matches: %s is %q on the left and %q on the right; leave it out with ignoring(%s)", name, left.fixed[name], other, name)
			return false
		}
	}
	if n.VectorMatching.On {
		for _, name := range leftKey {
			if !left.may(name) && !right.may(name) {
				l.tell("matching", n, "on (%s): neither side has such a label left", name)
				return false
			}
			if left.may(name) != right.may(name) {
				l.tell("matching", n, "nothing matches: on (%s), which only the %s side has; aggregate the other by it too", name, map[bool]string{true: "left", false: "right"}[left.may(name)])
				return false
			}
		}
		return true
	}
	if leftKnown && rightKnown && !slices.Equal(leftKey, rightKey) {
		l.tell("matching", n, "nothing matches: the left has the labels %s and the right %s; say which are compared with on (…), and group_left or group_right if one side has more", orNone(left.list()), orNone(right.list()))
		return false
	}
	return true
}

// cardinality reports a side that can have several series where one is wanted. It is sure only of an aggregation, whose labels
// are there for being different.
func (l *exprLinter) cardinality(n *parser.BinaryExpr, side parser.Expr, s labelSet, many bool, which string) {
	if many || !s.closed {
		return
	}
	m := n.VectorMatching
	var extra []string
	for _, name := range s.list() {
		_, fixed := s.fixed[name]
		if m.On != slices.Contains(m.MatchingLabels, name) && !fixed {
			extra = append(extra, name)
		}
	}
	if len(extra) == 0 || labelsMade(side) {
		return
	}
	other := map[string]string{"left": "group_left", "right": "group_right"}[which]
	if m.Card != parser.CardOneToOne {
		l.tell("matching", n, "many-to-many: with %s the %s side must have one series for each match, and has several by %s; aggregate it without", grouping(m.Card), which, strings.Join(extra, ", "))
		return
	}
	l.tell("matching", n, "the %s side has several series for one match, by %s: add %s(), or aggregate without", which, strings.Join(extra, ", "), other)
}

// labelsMade says whether labels come from label_replace() or absent(): then they need not tell series apart.
func labelsMade(e parser.Expr) (made bool) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		c, ok := n.(*parser.Call)
		made = made || ok && (strings.HasPrefix(c.Func.Name, "label_") || strings.HasPrefix(c.Func.Name, "absent"))
		return nil
	})
	return made
}

// matchSame finds x{code="500"} / x, which compares each series with itself.
func (l *exprLinter) matchSame(n *parser.BinaryExpr, left, right labelSet) bool {
	m := n.VectorMatching
	if n.Op != parser.DIV || left.closed || right.closed || m.On || !partOf(n.LHS, n.RHS) {
		return false
	}
	part, whole := selectorsOf(n.LHS)[0], selectorsOf(n.RHS)[0]
	for _, matcher := range part.LabelMatchers {
		if slices.Contains(m.MatchingLabels, matcher.Name) {
			return false
		}
	}
	if part.OriginalOffset != whole.OriginalOffset {
		return false
	}
	l.tell("match-same", n, "each series of the left meets itself on the right, so this is always 1: sum both sides, by the labels that you want to keep")
	return true
}
