package expr

import "slices"

// A Term is a check, or the opposite of one.
type Term struct {
	Check   *Check
	Negated bool
}

// DNF returns the disjunctive normal form of a condition: it is true if all terms of any of the conjunctions are. It
// returns false if there would be more than limit of them, or if the condition holds references, which may be anything.
// A conjunction without terms is true; no conjunctions are false.
func DNF(n Node, limit int) ([][]Term, bool) {
	d := normalizer{limit: limit}
	all := d.form(n, false)
	return all, !d.failed
}

type normalizer struct {
	limit  int
	failed bool
}

// form is of the condition, or of its opposite.
func (d *normalizer) form(n Node, negated bool) [][]Term {
	switch n := n.(type) {
	case *Not:
		return d.form(n.Item, !negated)
	case *And:
		return d.join(n.Items, negated, !negated)
	case *Or:
		return d.join(n.Items, negated, negated)
	case *Check:
		return d.within([][]Term{{{n, negated}}})
	}
	d.failed = true
	return nil
}

// join makes one form of those of several items: of all of them, or of any.
func (d *normalizer) join(items []Node, negated, every bool) [][]Term {
	var result [][]Term
	for i, item := range items {
		form := d.form(item, negated)
		switch {
		case d.failed:
			return nil
		case every && i > 0:
			result = d.product(result, form)
		default:
			result = d.within(append(result, form...))
		}
	}
	return result
}

// product is true where both are.
func (d *normalizer) product(a, b [][]Term) (result [][]Term) {
	for _, left := range a {
		for _, right := range b {
			if terms, ok := conjunction(left, right); ok {
				result = append(result, terms)
			}
			if d.within(result); d.failed {
				return nil
			}
		}
	}
	return result
}

// conjunction has each term once; false if it cannot be true, since it has one and its opposite.
func conjunction(a, b []Term) ([]Term, bool) {
	terms := slices.Clone(a)
	for _, t := range b {
		if slices.Contains(terms, Term{t.Check, !t.Negated}) {
			return nil, false
		}
		if !slices.Contains(terms, t) {
			terms = append(terms, t)
		}
	}
	return terms, true
}

func (d *normalizer) within(form [][]Term) [][]Term {
	d.failed = d.failed || len(form) > d.limit
	return form
}
