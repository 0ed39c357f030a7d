package expr

import (
	"cmp"
	"slices"
)

// optimize returns a condition that is true where n is, and sooner known: not of not is left out, and within and, and or
// within or, is made one; f = a or f in (b, c) is f in (a, b, c), and so for the beginnings and ends of texts and for
// paths; what is cheap to compare comes first. It does not change n.
func (l *Language[T]) optimize(n Node) Node {
	switch n := n.(type) {
	case *And:
		return l.optimizeItems(n, n.Items)
	case *Or:
		return l.optimizeItems(n, n.Items)
	case *Not:
		item := l.optimize(n.Item)
		if inner, ok := item.(*Not); ok {
			return inner.Item
		}
		return &Not{Item: item, At: n.At}
	}
	return n
}

// optimizeItems makes one node of those that and or or join. The negated items of and are not (a or b or …), and those of
// or not (a and b and …), so in either case the checks that or joins are merged.
func (l *Language[T]) optimizeItems(n Node, items []Node) Node {
	_, isAnd := n.(*And)
	var plain, negated []Node
	for _, item := range l.flat(items, isAnd) {
		not, ok := item.(*Not)
		switch {
		case !ok || !isAnd:
			plain = append(plain, item)
		default:
			negated = append(negated, alternatives(not.Item)...)
		}
	}
	if isAnd {
		for _, item := range l.merge(negated) {
			plain = append(plain, &Not{Item: item, At: item.Pos()})
		}
	} else {
		plain = l.merge(plain)
	}
	if len(plain) == 1 {
		return plain[0]
	}
	l.cheapFirst(plain)
	if isAnd {
		return &And{Items: plain, At: n.Pos()}
	}
	return &Or{Items: plain, At: n.Pos()}
}

// alternatives are the items of an or, or what else stands there.
func alternatives(n Node) []Node {
	if or, ok := n.(*Or); ok {
		return or.Items
	}
	return []Node{n}
}

// flat optimizes items, and takes those apart that are joined by the same word.
func (l *Language[T]) flat(items []Node, isAnd bool) (all []Node) {
	for _, item := range items {
		item = l.optimize(item)
		and, ok := item.(*And)
		switch {
		case isAnd && ok:
			all = append(all, and.Items...)
		case isAnd:
			all = append(all, item)
		default:
			all = append(all, alternatives(item)...)
		}
	}
	return all
}

// merged says how several checks of one field that or joins are written as one: a list operator, or a modifier.
var merged = map[string]struct{ op, modifier string }{
	"=": {"in", ""}, "==": {"in", ""}, "in": {"in", ""}, "intersects": {"in", ""}, "pmatch": {"pmatch", ""},
	"startswith": {"startswith", "oneof"}, "endswith": {"endswith", "oneof"},
}

// mergeKey is what checks must have in common to be merged.
type mergeKey struct{ field, op string }

// merge makes one check of those which or joins that compare the same field in the same way with constants. It stands
// where the first of them stood.
func (l *Language[T]) merge(items []Node) (all []Node) {
	at, lists := map[mergeKey]int{}, map[mergeKey]*List{}
	for _, item := range items {
		key, ok := l.mergeable(item)
		i, again := at[key]
		if !ok || !again {
			if ok {
				at[key] = len(all)
			}
			all = append(all, item)
			continue
		}
		if lists[key] == nil {
			first := all[i].(*Check)
			lists[key] = &List{Items: constants(first), At: first.Right.Pos()}
			to := merged[first.Op]
			all[i] = &Check{Left: first.Left, Op: to.op, Modifier: to.modifier, Right: lists[key], At: first.At, OpAt: first.OpAt}
		}
		lists[key].Items = append(lists[key].Items, constants(item.(*Check))...)
	}
	return all
}

func constants(c *Check) (all []Operand) {
	for _, v := range literals(c.Right) {
		all = append(all, v)
	}
	return all
}

// mergeable leaves lists alone, of which in wants all values to be in one set.
func (l *Language[T]) mergeable(n Node) (key mergeKey, ok bool) {
	c, ok := n.(*Check)
	if !ok || c.Modifier == "allof" {
		return key, false
	}
	f, ok := c.Left.(*FieldRef)
	if !ok || literals(c.Right) == nil {
		return key, false
	}
	to, ok := merged[c.Op]
	field, _, err := l.find(f)
	if !ok || err != nil || field.Flags&ListValued != 0 {
		return key, false
	}
	return mergeKey{PrintOperand(f), to.op}, true
}

// cheapFirst keeps the order of what costs the same.
func (l *Language[T]) cheapFirst(items []Node) {
	costs := make(map[Node]int, len(items))
	for _, item := range items {
		costs[item] = l.cost(item)
	}
	slices.SortStableFunc(items, func(a, b Node) int { return cmp.Compare(costs[a], costs[b]) })
}

// costOf is what a comparison of texts costs beside one of numbers.
var costOf = map[string]int{"exists": 0, "contains": 6, "icontains": 12, "glob": 8, "iglob": 8, "pmatch": 12, "regex": 60}

// Cost estimates what it takes to know a condition's truth; a number that is at hand costs about 3.
func (l *Language[T]) Cost(n Node) int { return l.cost(n) }

// cost estimates what it takes to know a node's truth. Of several items the first mostly tell.
func (l *Language[T]) cost(n Node) (cost int) {
	switch n := n.(type) {
	case *And:
		return l.costOfFirst(n.Items)
	case *Or:
		return l.costOfFirst(n.Items)
	case *Not:
		return l.cost(n.Item)
	case *Check:
		return l.costOfCheck(n)
	}
	return 0
}

func (l *Language[T]) costOfFirst(items []Node) (cost int) {
	for i, item := range items {
		cost += l.cost(item) / (i + 1)
	}
	return cost + 1
}

func (l *Language[T]) costOfCheck(c *Check) int {
	cost := 1
	l.eachField(c.Left, func(f *FieldRef) { cost += l.costOfField(f) })
	l.eachField(c.Right, func(f *FieldRef) { cost += l.costOfField(f) })
	for _, side := range []Operand{c.Left, c.Right} {
		if _, ok := side.(*Transformer); ok {
			cost += 20
		}
	}
	if dear, ok := costOf[c.Op]; ok {
		return cost + dear
	}
	return cost + 2*min(len(literals(c.Right)), 3)
}

func (l *Language[T]) costOfField(f *FieldRef) int {
	field, arg, err := l.find(f)
	if err != nil {
		return 0
	}
	cost := int(field.Cost)
	if field.Kind.class() == texts && field.Name != "evt.type" {
		cost += 2
	}
	switch {
	case field.Flags&Resolved != 0:
		cost += 30
	case field.Flags&AnyOf != 0 && !arg.Given:
		cost += 20
	case field.Flags&(ListValued|TwoSided) != 0:
		cost += 6
	}
	return cost
}
