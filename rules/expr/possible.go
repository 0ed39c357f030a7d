package expr

// Possible returns which values of one field can make a condition true, out of a universe of them. It looks at = and !=,
// in and intersects of that field with constants; every other check may be true or false for each value, but that
// `evt.num = 0` never is and `evt.num > 0` always is, which is how rule files write never_true and always_true.
func Possible(n Node, field string, universe map[string]bool) map[string]bool {
	return possible(n, field, universe, false)
}

// possible is of the condition, or of its opposite.
func possible(n Node, field string, universe map[string]bool, negated bool) map[string]bool {
	switch n := n.(type) {
	case *Not:
		return possible(n.Item, field, universe, !negated)
	case *And:
		return combineSets(n.Items, field, universe, negated, !negated)
	case *Or:
		return combineSets(n.Items, field, universe, negated, negated)
	case *Check:
		return possibleOfCheck(n, field, universe, negated)
	}
	return universe
}

func combineSets(items []Node, field string, universe map[string]bool, negated, intersect bool) map[string]bool {
	var result map[string]bool
	for _, item := range items {
		set := possible(item, field, universe, negated)
		if result == nil {
			result = set
			continue
		}
		merged := map[string]bool{}
		for name := range universe {
			if intersect && result[name] && set[name] || !intersect && (result[name] || set[name]) {
				merged[name] = true
			}
		}
		result = merged
	}
	return result
}

func possibleOfCheck(c *Check, field string, universe map[string]bool, negated bool) map[string]bool {
	f, ok := c.Left.(*FieldRef)
	if !ok {
		return universe
	}
	if f.Name == "evt.num" {
		if truth, known := truthOfNumber(c); known && truth == negated {
			return map[string]bool{}
		}
		return universe
	}
	if f.Name != field {
		return universe
	}
	items := literals(c.Right)
	switch c.Op {
	case "exists":
		items = nil
	case "=", "==", "in", "intersects":
	case "!=":
		negated = !negated
	default:
		return universe
	}
	if items == nil || c.Modifier == "allof" {
		return universe
	}
	set := map[string]bool{}
	for _, item := range items {
		if universe[item.Text] {
			set[item.Text] = true
		}
	}
	if !negated {
		return set
	}
	rest := map[string]bool{}
	for name := range universe {
		if !set[name] {
			rest[name] = true
		}
	}
	return rest
}

// truthOfNumber says what a comparison of evt.num, which counts from 1, always is.
func truthOfNumber(c *Check) (truth, known bool) {
	v, ok := c.Right.(*Literal)
	if !ok || v.Text != "0" {
		return false, false
	}
	switch c.Op {
	case "=", "==", "<", "<=":
		return false, true
	case ">", "!=":
		return true, true
	}
	return false, false
}
