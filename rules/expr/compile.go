package expr

import "strings"

// Compile turns a condition without references into a closure. What is cheap is compared before what is dear, it stops as
// soon as the truth is known, and it is safe for many goroutines with a T each. An error is a *CheckError, the first in
// the order of the text.
func (l *Language[T]) Compile(n Node) (func(*T) bool, error) {
	if test, err := l.compile(l.optimize(n)); err == nil {
		return test, nil
	}
	return l.compile(n)
}

func (l *Language[T]) compile(n Node) (func(*T) bool, error) {
	switch n := n.(type) {
	case *And:
		items, err := l.compileAll(n.Items)
		return all(items), err
	case *Or:
		items, err := l.compileAll(n.Items)
		return any_(items), err
	case *Not:
		item, err := l.compile(n.Item)
		return func(t *T) bool { return !item(t) }, err
	case *Check:
		return l.compileOnce(n)
	case *Reference:
		return nil, wrong(n, "Undefined macro '%s' used in filter.", n.Name)
	}
	return nil, &CheckError{Message: "no condition"}
}

func (l *Language[T]) compileAll(items []Node) ([]func(*T) bool, error) {
	compiled := make([]func(*T) bool, len(items))
	for i, item := range items {
		var err error
		if compiled[i], err = l.compile(item); err != nil {
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

// compileOnce compiles a check that may have been in another condition too: rules share macros.
func (l *Language[T]) compileOnce(c *Check) (func(*T) bool, error) {
	text := Print(c)
	if test, ok := l.checks.Load(text); ok {
		return test.(func(*T) bool), nil
	}
	test, err := l.compileCheck(c)
	if err == nil {
		l.checks.Store(text, test)
	}
	return test, err
}

func (l *Language[T]) compileCheck(c *Check) (func(*T) bool, error) {
	v, err := l.operand(c.Left)
	if err != nil {
		return nil, err
	}
	if err := l.forbidOutput(c); err != nil {
		return nil, err
	}
	if l.options.Validate != nil {
		if err := l.options.Validate(c); err != nil {
			return nil, err
		}
	}
	if c.Op == "exists" {
		return v.exists(), nil
	}
	if err := supports(c, v); err != nil {
		return nil, err
	}
	switch c.Right.(type) {
	case *Literal, *List:
		return l.compareConstants(c, v)
	}
	return l.compareValues(c, v)
}

// forbidOutput refuses fields that are only for outputs.
func (l *Language[T]) forbidOutput(c *Check) (err error) {
	for _, side := range []Operand{c.Left, c.Right} {
		l.eachField(side, func(f *FieldRef) {
			if field, _, unknown := l.find(f); unknown == nil && field.Flags&PrintOnly != 0 && err == nil {
				err = wrong(f, "field %s is for output only", field.Name)
			}
		})
	}
	return err
}

// operatorsOf are the operators that a class of values has, besides exists.
var operatorsOf = map[class]string{
	texts:       " = == != < <= > >= contains icontains startswith endswith glob iglob regex pmatch in intersects ",
	byteStrings: " = == != contains startswith endswith bcontains bstartswith in intersects ",
	booleans:    " = == != in intersects ",
	signed:      " = == != < <= > >= in intersects ",
	unsigned:    " = == != < <= > >= in intersects ",
	floats:      " = == != < <= > >= in intersects ",
	addresses:   " = == != in intersects ",
}

func supports[T any](c *Check, v *value[T]) error {
	has := func(operators string) bool { return strings.Contains(operators, " "+c.Op+" ") }
	switch {
	case v.flags&ListValued != 0:
		if !has(" in intersects ") {
			return wrongAt(c.At+c.OpAt, "%s: '%s' operator not supported list filters", v.name, c.Op)
		}
	case v.flags&Resolved != 0:
		if !has(operatorsOf[addresses]) {
			return wrongAt(c.At+c.OpAt, "%s: operator '%s' is not supported: names are resolved to addresses, which only '=', '!=' and 'in' compare", v.name, c.Op)
		}
	case v.flags&TwoSided != 0 && v.kind.class() == addresses:
		if !has(operatorsOf[addresses]) {
			return wrongAt(c.At+c.OpAt, "%s: operator '%s' is not supported: a field with two sides only supports '=', '!=' and 'in'", v.name, c.Op)
		}
	case has(operatorsOf[v.kind.class()]):
	case has(" bcontains bstartswith ") && v.kind.class() == texts:
		return wrongAt(c.At+c.OpAt, "%s: '%s' operator not supported for string filters", v.name, c.Op)
	default:
		return wrongAt(c.At+c.OpAt, "%s: operator '%s' is not supported for values of type %s", v.name, c.Op, v.kind)
	}
	return nil
}

// compareConstants compares a value with what stands in the condition.
func (l *Language[T]) compareConstants(c *Check, v *value[T]) (func(*T) bool, error) {
	if v.flags&Resolved != 0 {
		return l.compareHost(c, v)
	}
	items := literals(c.Right)
	switch v.kind.class() {
	case texts:
		if direct := v.compareText(c, items); direct != nil {
			return direct, nil
		}
		test, err := textTest(c, items)
		return against(c, v, v.text, v.eachText, test), err
	case byteStrings:
		test, err := bytesTest(c, items)
		return against(c, v, v.bytes, nil, test), err
	case booleans:
		test, err := equality(c, items, parseBool)
		return against(c, v, v.bool_, nil, test), err
	case signed:
		test, err := numberTest(c, items, l.parseInt(v.kind))
		return against(c, v, v.int_, v.eachInt, test), err
	case unsigned:
		test, err := numberTest(c, items, l.parseUint(v.kind))
		return against(c, v, v.uint_, v.eachUint, test), err
	case floats:
		test, err := numberTest(c, items, parseFloat)
		return against(c, v, v.float, nil, test), err
	}
	test, err := l.addressTest(c, items, v.kind)
	return against(c, v, v.addr, v.eachAddr, test), err
}

// compareText is for the most usual checks, without a second call.
func (v *value[T]) compareText(c *Check, items []*Literal) func(*T) bool {
	if v.many || len(items) != 1 || c.Modifier != "" {
		return nil
	}
	read, want := v.text, items[0].Text
	switch c.Op {
	case "=", "==":
		return func(t *T) bool { s, ok := read(t); return ok && s == want }
	case "!=":
		return func(t *T) bool { s, ok := read(t); return ok && s != want }
	case "startswith":
		return func(t *T) bool { s, ok := read(t); return ok && strings.HasPrefix(s, want) }
	case "endswith":
		return func(t *T) bool { s, ok := read(t); return ok && strings.HasSuffix(s, want) }
	case "contains":
		return func(t *T) bool { s, ok := read(t); return ok && strings.Contains(s, want) }
	}
	return nil
}

// against makes the test of one value that of a T: an absent one fails it. Of several values any may pass; but all must
// where a list is in a set, and where a field with two sides differs.
func against[T, V any](c *Check, v *value[T], one func(*T) (V, bool), each func(*T, func(V) bool) bool, test func(V) bool) func(*T) bool {
	switch {
	case each == nil:
		return func(t *T) bool { x, ok := one(t); return ok && test(x) }
	case wantsEvery(c, v):
		none := func(V) bool { return false }
		return func(t *T) bool { return each(t, test) && !each(t, none) }
	}
	fails := func(x V) bool { return !test(x) }
	return func(t *T) bool { return !each(t, fails) }
}

func wantsEvery[T any](c *Check, v *value[T]) bool {
	return v.flags&ListValued != 0 && c.Op == "in" || v.flags&TwoSided != 0 && c.Op == "!="
}
