package promql

import (
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// A labelSet is what is known of the labels of an expression's series.
type labelSet struct {
	closed bool              // there are no labels but those in names; else there may be any but those in gone
	names  map[string]bool   // labels that there may be
	gone   map[string]bool   // labels that there cannot be
	fixed  map[string]string // labels that have this one value
}

// may says whether there can be such a label.
func (s labelSet) may(name string) bool {
	if s.closed {
		return s.names[name]
	}
	return !s.gone[name]
}

// list returns the names if they are known.
func (s labelSet) list() []string {
	if !s.closed {
		return nil
	}
	return slices.Sorted(maps.Keys(s.names))
}

// closedLabels has only these.
func closedLabels(names ...string) labelSet {
	s := labelSet{closed: true, names: map[string]bool{}}
	for _, name := range names {
		s.names[name] = true
	}
	return s
}

// keep leaves only those of the names that there may be.
func (s labelSet) keep(names []string) labelSet {
	kept := closedLabels()
	kept.fixed = map[string]string{}
	for _, name := range names {
		if !s.may(name) {
			continue
		}
		kept.names[name] = true
		if v, ok := s.fixed[name]; ok {
			kept.fixed[name] = v
		}
	}
	return kept
}

// drop takes the names out.
func (s labelSet) drop(names ...string) labelSet {
	left := labelSet{closed: s.closed, names: maps.Clone(s.names), gone: maps.Clone(s.gone), fixed: maps.Clone(s.fixed)}
	if left.gone == nil {
		left.gone = map[string]bool{}
	}
	for _, name := range names {
		delete(left.names, name)
		delete(left.fixed, name)
		left.gone[name] = true
	}
	return left
}

// add puts names in, of unknown values.
func (s labelSet) add(names ...string) labelSet {
	more := labelSet{closed: s.closed, names: maps.Clone(s.names), gone: maps.Clone(s.gone), fixed: maps.Clone(s.fixed)}
	for _, name := range names {
		if more.closed {
			more.names[name] = true
		}
		delete(more.gone, name)
		delete(more.fixed, name)
	}
	return more
}

// or is what may be in one of both.
func (s labelSet) or(o labelSet) labelSet {
	both := labelSet{closed: s.closed && o.closed, names: map[string]bool{}, gone: map[string]bool{}, fixed: map[string]string{}}
	for _, set := range []labelSet{s, o} {
		for name := range set.names {
			both.names[name] = both.closed
		}
	}
	for name := range s.gone {
		if !o.may(name) {
			both.gone[name] = true
		}
	}
	for name := range o.gone {
		if !s.may(name) {
			both.gone[name] = true
		}
	}
	for name, value := range s.fixed {
		if v, ok := o.fixed[name]; ok && v == value {
			both.fixed[name] = value
		}
	}
	return both
}

// labelsOf tells the labels of the series that an expression gives.
func labelsOf(e parser.Expr) labelSet { return labeller{}.of(e) }

// A labeller remembers what it has told: every operator asks for its sides, which would take the square of an expression's length.
type labeller map[parser.Expr]labelSet

func (l labeller) of(e parser.Expr) labelSet {
	s, known := l[e]
	if !known {
		s = l.find(e)
		l[e] = s
	}
	return s
}

func (l labeller) find(e parser.Expr) labelSet {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return l.of(e.Expr)
	case *parser.UnaryExpr:
		return l.of(e.Expr)
	case *parser.StepInvariantExpr:
		return l.of(e.Expr)
	case *parser.SubqueryExpr:
		return l.of(e.Expr)
	case *parser.MatrixSelector:
		return l.of(e.VectorSelector)
	case *parser.VectorSelector:
		return labelsOfSelector(e.LabelMatchers)
	case *parser.AggregateExpr:
		return l.ofAggregate(e)
	case *parser.BinaryExpr:
		return l.ofBinary(e)
	case *parser.Call:
		return l.ofCall(e)
	}
	return closedLabels()
}

func labelsOfSelector(matchers []*labels.Matcher) labelSet {
	s := labelSet{gone: map[string]bool{}, fixed: map[string]string{}}
	for _, m := range matchers {
		switch {
		case m.Name == labels.MetricName || m.Type != labels.MatchEqual:
		case m.Value == "":
			s.gone[m.Name] = true
		default:
			s.fixed[m.Name] = m.Value
		}
	}
	return s
}

func (l labeller) ofAggregate(e *parser.AggregateExpr) labelSet {
	inner := l.of(e.Expr)
	switch {
	case e.Op == parser.TOPK, e.Op == parser.BOTTOMK, e.Op == parser.LIMITK, e.Op == parser.LIMIT_RATIO:
		return inner
	case e.Without:
		inner = inner.drop(e.Grouping...)
	default:
		inner = inner.keep(e.Grouping)
	}
	if name, ok := e.Param.(*parser.StringLiteral); ok && e.Op == parser.COUNT_VALUES {
		return inner.add(name.Val)
	}
	return inner
}

func (l labeller) ofBinary(e *parser.BinaryExpr) labelSet {
	left, right := l.of(e.LHS), l.of(e.RHS)
	m := e.VectorMatching
	switch {
	case e.LHS.Type() == parser.ValueTypeScalar:
		return right
	case e.RHS.Type() == parser.ValueTypeScalar || m == nil:
		return left
	case e.Op == parser.LOR:
		return left.or(right)
	case e.Op == parser.LAND, e.Op == parser.LUNLESS, m.Card == parser.CardManyToOne:
		return left.add(included(m, right)...)
	case m.Card == parser.CardOneToMany:
		return right.add(included(m, left)...)
	case m.On:
		return left.keep(m.MatchingLabels)
	}
	return left.drop(m.MatchingLabels...)
}

// included are the labels of group_left and group_right that the one side can have.
func included(m *parser.VectorMatching, one labelSet) (names []string) {
	for _, name := range m.Include {
		if one.may(name) {
			names = append(names, name)
		}
	}
	return names
}

// ofCall knows the functions that change labels; all others leave those of their argument.
func (l labeller) ofCall(e *parser.Call) labelSet {
	vector := func(i int) labelSet {
		if i < len(e.Args) {
			return l.of(e.Args[i])
		}
		return labelSet{}
	}
	switch e.Func.Name {
	case "absent", "absent_over_time":
		return labelsOfAbsent(e.Args)
	case "scalar", "vector", "time", "pi":
		return closedLabels()
	case "histogram_quantile":
		return vector(1).drop("le")
	case "histogram_fraction":
		return vector(2).drop("le")
	case "label_replace", "label_join":
		if to, ok := e.Args[1].(*parser.StringLiteral); ok {
			return vector(0).add(to.Val)
		}
		return labelSet{}
	case "info":
		return labelSet{}
	}
	for i, a := range e.Args {
		if t := a.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			return vector(i)
		}
	}
	return closedLabels()
}

// labelsOfAbsent: what is absent has the labels that were asked for with =, and no others.
func labelsOfAbsent(args parser.Expressions) labelSet {
	s := closedLabels()
	s.fixed = map[string]string{}
	selector := selectorOf(args[0])
	if selector == nil {
		return s
	}
	for _, m := range selector.LabelMatchers {
		if m.Name != labels.MetricName && m.Type == labels.MatchEqual && m.Value != "" {
			s.names[m.Name], s.fixed[m.Name] = true, m.Value
		}
	}
	return s
}

// selectorOf returns the selector that e is, in parentheses or with a range, or nil.
func selectorOf(e parser.Expr) *parser.VectorSelector {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return e
	case *parser.MatrixSelector:
		return selectorOf(e.VectorSelector)
	case *parser.ParenExpr:
		return selectorOf(e.Expr)
	case *parser.StepInvariantExpr:
		return selectorOf(e.Expr)
	}
	return nil
}
