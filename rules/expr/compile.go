package expr

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
)

// Compile turns a condition without references into a closure. It reads and compares in the order of the text, stops as
// soon as the truth is known, and is safe for many goroutines with a T each. An error is a *CheckError.
func (l *Language[T]) Compile(n Node) (func(*T) bool, error) {
	switch n := n.(type) {
	case *And:
		items, err := l.compileAll(n.Items)
		return all(items), err
	case *Or:
		items, err := l.compileAll(n.Items)
		return any_(items), err
	case *Not:
		item, err := l.Compile(n.Item)
		return func(t *T) bool { return !item(t) }, err
	case *Check:
		return l.compileCheck(n)
	case *Reference:
		return nil, wrong(n, "Undefined macro '%s' used in filter.", n.Name)
	}
	return nil, &CheckError{Message: "no condition"}
}

func (l *Language[T]) compileAll(items []Node) ([]func(*T) bool, error) {
	compiled := make([]func(*T) bool, len(items))
	for i, item := range items {
		var err error
		if compiled[i], err = l.Compile(item); err != nil {
			return compiled, err
		}
	}
	return compiled, nil
}

func all[T any](items []func(*T) bool) func(*T) bool {
	switch len(items) {
	case 2:
		a, b := items[0], items[1]
		return func(t *T) bool { return a(t) && b(t) }
	case 3:
		a, b, c := items[0], items[1], items[2]
		return func(t *T) bool { return a(t) && b(t) && c(t) }
	}
	return func(t *T) bool {
		for _, item := range items {
			if !item(t) {
				return false
			}
		}
		return true
	}
}

func any_[T any](items []func(*T) bool) func(*T) bool {
	switch len(items) {
	case 2:
		a, b := items[0], items[1]
		return func(t *T) bool { return a(t) || b(t) }
	case 3:
		a, b, c := items[0], items[1], items[2]
		return func(t *T) bool { return a(t) || b(t) || c(t) }
	}
	return func(t *T) bool {
		for _, item := range items {
			if item(t) {
				return true
			}
		}
		return false
	}
}

func (l *Language[T]) compileCheck(c *Check) (func(*T) bool, error) {
	v, err := l.operand(c.Left)
	if err != nil {
		return nil, err
	}
	if v.flags&PrintOnly != 0 {
		return nil, wrong(c.Left, "field %s is for output only", v.name)
	}
	if l.options.Validate != nil {
		if err := l.options.Validate(c); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Op == "exists":
		return v.exists(), nil
	case v.flags&ListValued != 0:
		return l.compareList(c, v)
	case v.flags&Resolved != 0:
		return l.compareHost(c, v)
	}
	switch c.Right.(type) {
	case *Literal, *List:
		return l.compareConstant(c, v)
	}
	return l.compareValues(c, v)
}

// operators that a class of values has.
var operatorsOf = map[class]string{
	texts:       " = == != < <= > >= contains icontains startswith endswith glob iglob regex pmatch in intersects ",
	byteStrings: " = == != contains startswith endswith bcontains bstartswith in intersects ",
	booleans:    " = == != in intersects ",
	signed:      " = == != < <= > >= in intersects ",
	unsigned:    " = == != < <= > >= in intersects ",
	floats:      " = == != < <= > >= in intersects ",
	addresses:   " = == != in intersects ",
}

func (l *Language[T]) supports(c *Check, v *value[T]) error {
	if strings.Contains(operatorsOf[v.kind.class()], " "+c.Op+" ") {
		if v.flags&TwoSided != 0 && c.Op != "=" && c.Op != "==" && c.Op != "!=" && c.Op != "in" && c.Op != "intersects" {
			return wrong(c, "%s: operator '%s' is not supported: the field has two sides, and wants '=', '!=' or 'in'", v.name, c.Op)
		}
		return nil
	}
	switch c.Op {
	case "bcontains", "bstartswith":
		return wrong(c, "%s: '%s' operator not supported for string filters", v.name, c.Op)
	}
	return wrong(c, "%s: operator '%s' is not supported for values of type %s", v.name, c.Op, v.kind)
}

// compareConstant compares a value with what stands in the condition.
func (l *Language[T]) compareConstant(c *Check, v *value[T]) (func(*T) bool, error) {
	if err := l.supports(c, v); err != nil {
		return nil, err
	}
	items := literals(c.Right)
	switch v.kind.class() {
	case texts:
		test, err := textTest(c, items)
		if err != nil {
			return nil, err
		}
		return v.textCheck(c, items, test), nil
	case byteStrings:
		test, err := bytesTest(c, items)
		return func(t *T) bool { b, ok := v.bytes(t); return ok && test(b) }, err
	case booleans:
		test, err := combine(c, items, parseBool, func(a, b bool) bool { return a == b })
		return func(t *T) bool { b, ok := v.bool_(t); return ok && test(b) }, err
	case signed:
		test, err := combine(c, items, l.parseInt(v.kind), compareNumbers[int64](c.Op))
		return v.intCheck(test), err
	case unsigned:
		test, err := combine(c, items, l.parseUint(v.kind), compareNumbers[uint64](c.Op))
		return v.uintCheck(c, test), err
	case floats:
		test, err := combine(c, items, parseFloat, compareNumbers[float64](c.Op))
		return func(t *T) bool { f, ok := v.float(t); return ok && test(f) }, err
	}
	test, err := combine(c, items, l.parsePrefix(v.kind), func(a netip.Addr, b netip.Prefix) bool { return b.Contains(a) })
	return v.addrCheck(c, test), err
}

// combine makes a test of a value against several constants: any for =, in and intersects and with anyof or oneof, all
// with allof; != is the opposite of = against each.
func combine[V, C any](c *Check, items []*Literal, parse func(*Literal) (C, error), same func(V, C) bool) (func(V) bool, error) {
	constants := make([]C, len(items))
	for i, item := range items {
		var err error
		if constants[i], err = parse(item); err != nil {
			return nil, err
		}
	}
	if c.Op == "!=" {
		equal := same
		same = func(v V, c C) bool { return !equal(v, c) }
	}
	if len(constants) == 1 {
		one := constants[0]
		return func(v V) bool { return same(v, one) }, nil
	}
	every := c.Modifier == "allof"
	return func(v V) bool {
		for _, c := range constants {
			if same(v, c) != every {
				return !every
			}
		}
		return every && len(constants) > 0
	}, nil
}

func (v *value[T]) textCheck(c *Check, items []*Literal, test func(string) bool) func(*T) bool {
	if v.eachText != nil {
		stop := func(s string) bool { return !test(s) }
		return func(t *T) bool { return !v.eachText(t, stop) }
	}
	read := v.text
	if len(items) == 1 && c.Modifier == "" { // the most usual, without a second call
		want := items[0].Text
		switch c.Op {
		case "=", "==":
			return func(t *T) bool { s, ok := read(t); return ok && s == want }
		case "!=":
			return func(t *T) bool { s, ok := read(t); return ok && s != want }
		case "startswith":
			return func(t *T) bool { s, ok := read(t); return ok && strings.HasPrefix(s, want) }
		case "endswith":
			return func(t *T) bool { s, ok := read(t); return ok && strings.HasSuffix(s, want) }
		}
	}
	return func(t *T) bool { s, ok := read(t); return ok && test(s) }
}

func (v *value[T]) intCheck(test func(int64) bool) func(*T) bool {
	if v.eachInt != nil {
		stop := func(n int64) bool { return !test(n) }
		return func(t *T) bool { return !v.eachInt(t, stop) }
	}
	return func(t *T) bool { n, ok := v.int_(t); return ok && test(n) }
}

// uintCheck also knows fields with two sides, of which != wants both to differ.
func (v *value[T]) uintCheck(c *Check, test func(uint64) bool) func(*T) bool {
	if v.eachUint == nil {
		return func(t *T) bool { n, ok := v.uint_(t); return ok && test(n) }
	}
	if c.Op == "!=" && v.flags&TwoSided != 0 {
		return func(t *T) bool {
			any, every := false, true
			v.eachUint(t, func(n uint64) bool { any = true; every = test(n); return every })
			return any && every
		}
	}
	stop := func(n uint64) bool { return !test(n) }
	return func(t *T) bool { return !v.eachUint(t, stop) }
}

func (v *value[T]) addrCheck(c *Check, test func(netip.Addr) bool) func(*T) bool {
	if v.eachAddr == nil {
		return func(t *T) bool { a, ok := v.addr(t); return ok && test(a.Unmap()) }
	}
	if c.Op == "!=" && v.flags&TwoSided != 0 {
		return func(t *T) bool {
			any, every := false, true
			v.eachAddr(t, func(a netip.Addr) bool { any = true; every = test(a.Unmap()); return every })
			return any && every
		}
	}
	stop := func(a netip.Addr) bool { return !test(a.Unmap()) }
	return func(t *T) bool { return !v.eachAddr(t, stop) }
}

// compareList compares a field of several values: all must be in the set, or any intersect it.
func (l *Language[T]) compareList(c *Check, v *value[T]) (func(*T) bool, error) {
	if c.Op != "in" && c.Op != "intersects" {
		return nil, wrong(c, "%s: operator '%s' not supported list filters", v.name, c.Op)
	}
	var contains func(t *T, s string) bool
	switch c.Right.(type) {
	case *Literal, *List:
		set := newSet(literals(c.Right))
		contains = func(_ *T, s string) bool { return set.has(s) }
	default:
		right, err := l.rightSide(c, v)
		if err != nil {
			return nil, err
		}
		contains = right.containsText()
	}
	each := v.texts()
	if c.Op == "in" {
		return func(t *T) bool {
			any, every := false, true
			each(t, func(s string) bool { any = true; every = contains(t, s); return every })
			return any && every
		}, nil
	}
	return func(t *T) bool { return !each(t, func(s string) bool { return !contains(t, s) }) }, nil
}

// texts calls each value as text.
func (v *value[T]) texts() func(*T, func(string) bool) bool {
	if v.eachText != nil {
		return v.eachText
	}
	return func(t *T, yield func(string) bool) bool {
		text, ok := v.appendTo(t, nil)
		return !ok || yield(string(text))
	}
}

func (v *value[T]) containsText() func(t *T, s string) bool {
	each := v.texts()
	return func(t *T, s string) bool { return !each(t, func(own string) bool { return own != s }) }
}

// compareHost compares an address with those that the names of hosts have now.
func (l *Language[T]) compareHost(c *Check, v *value[T]) (func(*T) bool, error) {
	if c.Op != "=" && c.Op != "==" && c.Op != "!=" && c.Op != "in" && c.Op != "intersects" {
		return nil, wrong(c, "%s: operator '%s' is not supported: the names are resolved, and wants '=', '!=' or 'in'", v.name, c.Op)
	}
	f, _, err := l.find(c.Left.(*FieldRef))
	if err != nil {
		return nil, err
	}
	items, resolve := literals(c.Right), l.options.Resolve
	if resolve == nil {
		resolve = func(string) []netip.Addr { return nil }
	}
	if len(items) == 0 {
		return nil, wrong(c, "%s: want names of hosts on the right", v.name)
	}
	differ := c.Op == "!="
	return func(t *T) bool {
		addr, ok := f.Addr(t, Argument{})
		if !ok {
			return false
		}
		addr = addr.Unmap()
		for _, item := range items {
			for _, a := range resolve(item.Text) {
				if a.Unmap() == addr {
					return !differ
				}
			}
		}
		return differ
	}, nil
}

// rightSide makes the operand on the right ready, which must be of the left one's type.
func (l *Language[T]) rightSide(c *Check, v *value[T]) (*value[T], error) {
	right, err := l.operand(c.Right)
	if err != nil {
		return nil, err
	}
	if f, ok := c.Right.(*FieldRef); ok && right.flags&NoRHS != 0 {
		return nil, wrong(f, "field %s cannot stand on the right of an operator", right.name)
	}
	if v.flags&ListValued == 0 && right.kind != v.kind && right.kind.class() != v.kind.class() {
		return nil, wrong(c.Right, "%s is of type %s, and %s of type %s: want the same", right.name, right.kind, v.name, v.kind)
	}
	return right, nil
}

// compareValues compares two values that are both read from the event.
func (l *Language[T]) compareValues(c *Check, v *value[T]) (func(*T) bool, error) {
	if err := l.supports(c, v); err != nil {
		return nil, err
	}
	right, err := l.rightSide(c, v)
	if err != nil {
		return nil, err
	}
	if v.many || right.many {
		return l.compareManyValues(c, v, right)
	}
	switch v.kind.class() {
	case texts:
		test, err := textPairTest(c)
		return func(t *T) bool {
			a, ok := v.text(t)
			b, ok2 := right.text(t)
			return ok && ok2 && test(a, b)
		}, err
	case byteStrings:
		test := bytesPairTest(c.Op)
		return func(t *T) bool {
			a, ok := v.bytes(t)
			b, ok2 := right.bytes(t)
			return ok && ok2 && test(a, b)
		}, nil
	case booleans:
		differ := c.Op == "!="
		return func(t *T) bool {
			a, ok := v.bool_(t)
			b, ok2 := right.bool_(t)
			return ok && ok2 && (a == b) != differ
		}, nil
	case signed:
		return pair(v.int_, right.int_, numberPair[int64](c.Op)), nil
	case unsigned:
		return pair(v.uint_, right.uint_, numberPair[uint64](c.Op)), nil
	case floats:
		return pair(v.float, right.float, numberPair[float64](c.Op)), nil
	}
	differ := c.Op == "!="
	return pair(v.addr, right.addr, func(a, b netip.Addr) bool { return (a.Unmap() == b.Unmap()) != differ }), nil
}

func pair[T, V any](left, right func(*T) (V, bool), test func(a, b V) bool) func(*T) bool {
	return func(t *T) bool {
		a, ok := left(t)
		b, ok2 := right(t)
		return ok && ok2 && test(a, b)
	}
}

// compareManyValues compares as text where one side has several values.
func (l *Language[T]) compareManyValues(c *Check, v, right *value[T]) (func(*T) bool, error) {
	test, err := textPairTest(c)
	if err != nil {
		return nil, err
	}
	left, others := v.texts(), right.texts()
	every := c.Modifier == "allof"
	return func(t *T) bool {
		return !left(t, func(a string) bool {
			any, matched := false, false
			others(t, func(b string) bool { any = true; matched = test(a, b); return matched == every })
			return !any || !matched
		})
	}, nil
}

func numberPair[N int64 | uint64 | float64](op string) func(a, b N) bool {
	same := compareNumbers[N](op)
	if op == "!=" {
		return func(a, b N) bool { return a != b }
	}
	return same
}

// compareNumbers is the comparison that an operator makes, but for !=, which is left to who asks.
func compareNumbers[N int64 | uint64 | float64](op string) func(a, b N) bool {
	switch op {
	case "<":
		return func(a, b N) bool { return a < b }
	case "<=":
		return func(a, b N) bool { return a <= b }
	case ">":
		return func(a, b N) bool { return a > b }
	case ">=":
		return func(a, b N) bool { return a >= b }
	}
	return func(a, b N) bool { return a == b }
}

func bytesTest(c *Check, items []*Literal) (func([]byte) bool, error) {
	parse := func(v *Literal) ([]byte, error) { return []byte(v.Text), nil }
	if c.Op == "bcontains" || c.Op == "bstartswith" {
		parse = func(v *Literal) ([]byte, error) {
			raw, err := hex.DecodeString(v.Text)
			if err != nil {
				return nil, wrong(v, "%q: bcontains and bstartswith operator support hex strings only", v.Text)
			}
			return raw, nil
		}
	}
	return combine(c, items, parse, bytesPairTest(strings.Replace(c.Op, "!=", "=", 1)))
}

func bytesPairTest(op string) func(a, b []byte) bool {
	switch op {
	case "contains", "bcontains":
		return bytes.Contains
	case "startswith", "bstartswith":
		return bytes.HasPrefix
	case "endswith":
		return bytes.HasSuffix
	case "!=":
		return func(a, b []byte) bool { return !bytes.Equal(a, b) }
	}
	return bytes.Equal
}
