package expr

import (
	"net/netip"
	"sync"
)

// Comparisons of values that are both read from the event, and with the addresses of hosts.

// compareValues compares with what stands on the right: val(…) or a transformer.
func (l *Language[T]) compareValues(c *Check, v *value[T]) (func(*T) bool, error) {
	right, err := l.rightSide(c, v)
	if err != nil {
		return nil, err
	}
	switch v.kind.class() {
	case texts:
		test, err := textPairTest(c)
		return pair(c, v, source[T, string]{v.text, v.eachText}, source[T, string]{right.text, right.eachText}, test), err
	case byteStrings:
		return pair(c, v, source[T, []byte]{v.bytes, nil}, source[T, []byte]{right.bytes, nil}, bytesPair(c.Op)), nil
	case booleans:
		return pair(c, v, source[T, bool]{v.bool_, nil}, source[T, bool]{right.bool_, nil}, samePair[bool](c.Op)), nil
	case signed:
		return pair(c, v, source[T, int64]{v.int_, v.eachInt}, source[T, int64]{right.int_, right.eachInt}, numberPair[int64](c.Op)), nil
	case unsigned:
		return pair(c, v, source[T, uint64]{v.uint_, v.eachUint}, source[T, uint64]{right.uint_, right.eachUint}, numberPair[uint64](c.Op)), nil
	case floats:
		return pair(c, v, source[T, float64]{v.float, nil}, source[T, float64]{right.float, nil}, numberPair[float64](c.Op)), nil
	}
	same := samePair[netip.Addr](c.Op)
	test := func(a, b netip.Addr) bool { return same(plain(a), plain(b)) }
	return pair(c, v, source[T, netip.Addr]{v.addr, v.eachAddr}, source[T, netip.Addr]{right.addr, right.eachAddr}, test), nil
}

// rightSide makes the operand on the right ready, which must be of the left one's type.
func (l *Language[T]) rightSide(c *Check, v *value[T]) (*value[T], error) {
	right, err := l.operand(c.Right)
	switch {
	case err != nil:
		return nil, err
	case right.flags&(NoRHS|Resolved|TwoSided) != 0:
		return nil, wrong(c.Right, "field %s cannot stand on the right of an operator", right.name)
	case v.flags&Resolved != 0:
		return nil, wrong(c.Right, "%s is compared with names of hosts, which must stand in the condition", v.name)
	case right.kind != v.kind && (right.kind.class() != texts || v.kind.class() != texts):
		return nil, wrong(c.Right, "%s is of type %s, and %s of type %s: want the same", right.name, right.kind, v.name, v.kind)
	}
	return right, nil
}

// source reads one value or each of several.
type source[T, V any] struct {
	one  func(*T) (V, bool)
	each func(*T, func(V) bool) bool
}

// pair compares the left side with the right, each of which may be several values: any on the right will do, with allof
// all must; for the left see against.
func pair[T, V any](c *Check, v *value[T], left, right source[T, V], test func(a, b V) bool) func(*T) bool {
	if left.each == nil && right.each == nil {
		return func(t *T) bool {
			a, ok := left.one(t)
			b, ok2 := right.one(t)
			return ok && ok2 && test(a, b)
		}
	}
	every := wantsEvery(c, v)
	states := sync.Pool{New: func() any { return newPairState(test, c.Modifier == "allof", every) }}
	return func(t *T) bool {
		s := states.Get().(*pairState[V])
		truth := evaluate(s, t, left, right)
		clear(s.right)
		s.right, s.any = s.right[:0], false
		states.Put(s)
		return truth
	}
}

// pairState is what a comparison of several values needs while it is made. Its closures are made once.
type pairState[V any] struct {
	right   []V
	any     bool // there is a value on the left
	collect func(V) bool
	visit   func(V) bool // goes on while the outcome is open
	every   bool
	holds   func(V) bool
}

func newPairState[V any](test func(a, b V) bool, allRight, everyLeft bool) *pairState[V] {
	s := &pairState[V]{every: everyLeft}
	s.collect = func(b V) bool { s.right = append(s.right, b); return true }
	s.holds = func(a V) bool {
		for _, b := range s.right {
			if test(a, b) != allRight {
				return !allRight
			}
		}
		return allRight && len(s.right) > 0
	}
	s.visit = func(a V) bool { s.any = true; return s.holds(a) == everyLeft }
	return s
}

func evaluate[T, V any](s *pairState[V], t *T, left, right source[T, V]) bool {
	if right.each != nil {
		right.each(t, s.collect)
	} else if b, ok := right.one(t); ok {
		s.collect(b)
	}
	if left.each == nil {
		a, ok := left.one(t)
		return ok && s.holds(a)
	}
	all := left.each(t, s.visit)
	if s.every {
		return all && s.any
	}
	return !all
}

// compareHost compares an address with those that the names of hosts have now.
func (l *Language[T]) compareHost(c *Check, v *value[T]) (func(*T) bool, error) {
	f, arg, err := l.find(c.Left.(*FieldRef))
	if err != nil {
		return nil, err
	}
	resolve := l.options.Resolve
	if resolve == nil {
		resolve = func(string) []netip.Addr { return nil }
	}
	differ := c.Op == "!="
	test, err := combine(c, literals(c.Right), func(v *Literal) (string, error) { return v.Text, nil }, func(a netip.Addr, host string) bool {
		for _, b := range resolve(host) {
			if plain(b) == a {
				return !differ
			}
		}
		return differ
	})
	return func(t *T) bool { a, ok := f.Addr(t, arg); return ok && test(plain(a)) }, err
}
