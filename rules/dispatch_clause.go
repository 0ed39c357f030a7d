package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/expr"
)

// An atom is a check that an index can answer: a value of a field is a text, or has it in some way.
type atom struct {
	field *expr.FieldRef
	name  string // the field as it is written
	way   way
	text  string
}

// A clause is atoms of which one must be true if a condition is.
type clause []atom

// clausesOf are what must be true if a condition, or its opposite, is. It need not be all that must.
func clausesOf(n expr.Node, negated bool) []clause {
	switch n := n.(type) {
	case *expr.Not:
		return clausesOf(n.Item, !negated)
	case *expr.And:
		return joinClauses(n.Items, negated, !negated)
	case *expr.Or:
		return joinClauses(n.Items, negated, negated)
	case *expr.Check:
		if c := clauseOf(n); c != nil && !negated {
			return []clause{c}
		}
	}
	return nil
}

// joinClauses are those of every item, or one that the best of each item make.
func joinClauses(items []expr.Node, negated, every bool) (all []clause) {
	var one clause
	for _, item := range items {
		own := clausesOf(item, negated)
		if every {
			all = append(all, own...)
			continue
		}
		if len(own) == 0 {
			return nil
		}
		one = append(one, slices.MinFunc(own, func(a, b clause) int { return cmp.Compare(a.weight(nil), b.weight(nil)) })...)
	}
	if every {
		return all
	}
	return []clause{one}
}

// clauseOf is the clause of one check, nil if no index can answer it.
func clauseOf(c *expr.Check) clause {
	f, ok := c.Left.(*expr.FieldRef)
	values := constants(c)
	if !ok || len(values) == 0 {
		return nil
	}
	all := make(clause, 0, len(values))
	for _, v := range values {
		a := atom{field: f, name: expr.PrintOperand(f)}
		if a.way, a.text, ok = wayOf(c.Op, v); !ok {
			return nil
		}
		if path := pathOf[f.Name]; path == "" {
			all = append(all, a)
		} else if all = append(all, a.ofPath(path)...); a.way != whole || strings.Contains(v, "/") {
			return nil
		}
	}
	return all
}

// pathOf is the path whose last component a field is.
var pathOf = map[string]string{"fd.filename": "fd.name", "yagura.path.basename": "yagura.path.resolved", "fim.filename": "fim.path"}

// ofPath says what a path must be for its last component to be a text: one index does for both.
func (a atom) ofPath(path string) clause {
	f := &expr.FieldRef{Name: path}
	return clause{{f, path, suffix, "/" + a.text}, {f, path, whole, a.text}}
}

// wayOf says how a text must stand in a value that is compared with it.
func wayOf(op, text string) (w way, stands string, ok bool) {
	switch op {
	case "=", "==", "in", "intersects":
		return whole, text, true
	case "startswith":
		return prefix, text, text != ""
	case "pmatch":
		text = strings.TrimSuffix(beforeGlob(text), "/")
		return prefix, text, text != ""
	case "glob":
		text = beforeGlob(text)
		return prefix, text, text != ""
	case "endswith":
		return suffix, text, text != ""
	case "contains", "icontains":
		return inside, text, len(text) >= partBytes
	}
	return whole, "", false
}

// weight is about how often a clause is true: the less the better. Uses says how many rules name a text, since what many
// name is often there: shells, say.
func (c clause) weight(uses map[string]int) (sum float64) {
	for _, a := range c {
		w := 1.0
		switch {
		case a.isCommon():
			w = 100
		case a.way == prefix:
			w = 2 + 40/float64(len(a.text))
		case a.way == suffix:
			w = 2
		case a.way == inside:
			w = 15
		}
		if a.isOfAncestors() {
			w *= 6
		}
		sum += w + float64(uses[a.key()])
	}
	return sum
}

// isCommon is of fields that have few values.
func (a atom) isCommon() bool {
	return a.text == "0" || a.text == "true" || a.text == "false" ||
		slices.ContainsFunc([]string{"evt.", "container.id", "fd.type", "fd.l4proto", "fd.sockfamily"}, func(p string) bool {
			return strings.HasPrefix(a.name, p) && !strings.HasPrefix(a.name, "evt.arg")
		})
}

func (a atom) isOfAncestors() bool {
	return strings.HasPrefix(a.name, "proc.a") && !strings.HasPrefix(a.name, "proc.args")
}

// index names the index that answers an atom: of parts there is one of their own, since it is dear.
func (a atom) index() string {
	if a.way == inside {
		return a.name + partsOf
	}
	return a.name
}

const partsOf = " parts"

func isOfParts(index string) bool { return strings.HasSuffix(index, partsOf) }

func (a atom) key() string { return a.name + " " + strconv.Itoa(int(a.way)) + " " + a.text }

// levels is how many clauses of each rule are looked at.
const levels = 2

// bestClauses are those that are true least often, which indexes can answer.
func bestClauses(all []clause, answers func(atom) bool, uses map[string]int) (best []clause) {
	for _, c := range all {
		if !slices.ContainsFunc(c, func(a atom) bool { return a.isCommon() || !answers(a) }) {
			best = append(best, c)
		}
	}
	if len(best) > 1 {
		slices.SortStableFunc(best, func(a, b clause) int { return cmp.Compare(a.weight(uses), b.weight(uses)) })
	}
	if len(best) > 1 && best[0].weight(uses) < rare && slices.ContainsFunc(best[1], atom.isDear) {
		best = best[:1]
	}
	return best[:min(len(best), levels)]
}

// rare is the weight of a clause that is true so seldom that asking another, dear one does not pay.
const rare = 80

func (a atom) isDear() bool { return a.way == inside || a.isOfAncestors() }
