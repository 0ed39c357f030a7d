package expr

// A Truth is what is known of a condition without looking at a record.
type Truth uint8

// The truths.
const (
	Unknown Truth = iota
	Always
	Never
)

func (t Truth) not() Truth {
	switch t {
	case Always:
		return Never
	case Never:
		return Always
	}
	return Unknown
}

// Fix simplifies a condition for records of which one field of type string has a known value: checks of it with = and !=,
// in and intersects become true or false and fall out. What remains is nil where the truth is known.
func Fix(n Node, field, value string) (Node, Truth) {
	switch n := n.(type) {
	case *And:
		return fixItems(n.Items, field, value, Never, func(items []Node) Node { return &And{Items: items, At: n.At} })
	case *Or:
		return fixItems(n.Items, field, value, Always, func(items []Node) Node { return &Or{Items: items, At: n.At} })
	case *Not:
		item, truth := Fix(n.Item, field, value)
		if truth != Unknown {
			return nil, truth.not()
		}
		return &Not{Item: item, At: n.At}, Unknown
	case *Check:
		if truth := fixCheck(n, field, value); truth != Unknown {
			return nil, truth
		}
	}
	return n, Unknown
}

// fixItems leaves items out whose truth does not matter; one of the decisive truth settles the whole.
func fixItems(items []Node, field, value string, decisive Truth, join func([]Node) Node) (Node, Truth) {
	rest := make([]Node, 0, len(items))
	for _, item := range items {
		n, truth := Fix(item, field, value)
		switch truth {
		case decisive:
			return nil, decisive
		case Unknown:
			rest = append(rest, n)
		}
	}
	switch len(rest) {
	case 0:
		return nil, decisive.not()
	case 1:
		return rest[0], Unknown
	}
	return join(rest), Unknown
}

func fixCheck(c *Check, field, value string) Truth {
	f, ok := c.Left.(*FieldRef)
	if !ok {
		return Unknown
	}
	if f.Name == "evt.num" {
		if truth, known := truthOfNumber(c); known {
			return truthOf(truth)
		}
		return Unknown
	}
	if f.Name != field || f.HasArg {
		return Unknown
	}
	if c.Op == "exists" {
		return Always
	}
	items := literals(c.Right)
	if items == nil || c.Modifier == "allof" {
		return Unknown
	}
	found := false
	for _, item := range items {
		found = found || item.Text == value
	}
	switch {
	case c.Op == "=" || c.Op == "==" || c.Op == "in" || c.Op == "intersects":
		return truthOf(found)
	case c.Op == "!=" && len(items) == 1:
		return truthOf(!found)
	}
	return Unknown
}

func truthOf(b bool) Truth {
	if b {
		return Always
	}
	return Never
}
