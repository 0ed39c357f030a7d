package expr

// An Explanation says of each part of a condition whether it is true.
type Explanation struct {
	Node  Node
	True  bool
	Value string        // of a check: what stands on the left, "<NA>" if it is absent
	Parts []Explanation // of and, or and not
}

// Explain evaluates a condition part by part, without stopping where the truth is known.
func (l *Language[T]) Explain(n Node, t *T) (Explanation, error) {
	e := Explanation{Node: n}
	parts := func(items []Node, truth func(all, any bool) bool) error {
		all, any := true, false
		for _, item := range items {
			part, err := l.Explain(item, t)
			if err != nil {
				return err
			}
			e.Parts = append(e.Parts, part)
			all, any = all && part.True, any || part.True
		}
		e.True = truth(all, any)
		return nil
	}
	switch n := n.(type) {
	case *And:
		return e, parts(n.Items, func(all, _ bool) bool { return all })
	case *Or:
		return e, parts(n.Items, func(_, any bool) bool { return any })
	case *Not:
		return e, parts([]Node{n.Item}, func(all, _ bool) bool { return !all })
	}
	test, err := l.Compile(n)
	if err != nil {
		return e, err
	}
	e.True = test(t)
	if c, ok := n.(*Check); ok {
		v, err := l.operand(c.Left)
		if err != nil {
			return e, err
		}
		text, ok := v.appendTo(t, nil)
		if e.Value = string(text); !ok {
			e.Value = "<NA>"
		}
	}
	return e, nil
}
