package expr

import (
	"bytes"
	"encoding/hex"
	"net/netip"
)

// Tests of one value against the constants of a check.

// combine makes a test against several constants: any of them for =, in and intersects and with anyof or oneof, all with
// allof. Against none it is false.
func combine[V, C any](c *Check, items []*Literal, parse func(*Literal) (C, error), same func(V, C) bool) (func(V) bool, error) {
	constants, err := parseAll(items, parse)
	if err != nil {
		return nil, err
	}
	return quantify(c, constants, same), nil
}

func parseAll[C any](items []*Literal, parse func(*Literal) (C, error)) ([]C, error) {
	constants := make([]C, len(items))
	for i, item := range items {
		var err error
		if constants[i], err = parse(item); err != nil {
			return nil, err
		}
	}
	return constants, nil
}

func quantify[V, C any](c *Check, constants []C, same func(V, C) bool) func(V) bool {
	if len(constants) == 1 {
		one := constants[0]
		return func(v V) bool { return same(v, one) }
	}
	every := c.Modifier == "allof"
	return func(v V) bool {
		for _, c := range constants {
			if same(v, c) != every {
				return !every
			}
		}
		return every && len(constants) > 0
	}
}

// equality makes the test of values that are only equal or not.
func equality[V comparable](c *Check, items []*Literal, parse func(*Literal) (V, error)) (func(V) bool, error) {
	constants, err := parseAll(items, parse)
	if err != nil {
		return nil, err
	}
	return equals(c, constants), nil
}

func equals[V comparable](c *Check, constants []V) func(V) bool {
	differ, every := c.Op == "!=", c.Modifier == "allof"
	switch {
	case len(constants) == 1 && differ:
		one := constants[0]
		return func(v V) bool { return v != one }
	case len(constants) == 1:
		one := constants[0]
		return func(v V) bool { return v == one }
	case len(constants) > 8 && differ == every: // one of them, or none of them
		set := make(map[V]struct{}, len(constants))
		for _, v := range constants {
			set[v] = struct{}{}
		}
		return func(v V) bool { _, ok := set[v]; return ok != differ }
	}
	return quantify(c, constants, func(a, b V) bool { return (a == b) != differ })
}

// numberTest also knows order.
func numberTest[N int64 | uint64 | float64](c *Check, items []*Literal, parse func(*Literal) (N, error)) (func(N) bool, error) {
	constants, err := parseAll(items, parse)
	if err != nil {
		return nil, err
	}
	if len(constants) == 1 {
		one := constants[0]
		switch c.Op {
		case "<":
			return func(n N) bool { return n < one }, nil
		case "<=":
			return func(n N) bool { return n <= one }, nil
		case ">":
			return func(n N) bool { return n > one }, nil
		case ">=":
			return func(n N) bool { return n >= one }, nil
		}
	}
	return equals(c, constants), nil
}

// numberPair is the comparison that an operator makes.
func numberPair[N int64 | uint64 | float64](op string) func(a, b N) bool {
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
	return samePair[N](op)
}

func samePair[V comparable](op string) func(a, b V) bool {
	if op == "!=" {
		return func(a, b V) bool { return a != b }
	}
	return func(a, b V) bool { return a == b }
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
	return combine(c, items, parse, bytesPair(c.Op))
}

func bytesPair(op string) func(a, b []byte) bool {
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

// addressTest compares with addresses, or with the networks that hold one.
func (l *Language[T]) addressTest(c *Check, items []*Literal, k Kind) (func(netip.Addr) bool, error) {
	networks, err := parseAll(items, parsePrefix(k))
	if err != nil {
		return nil, err
	}
	var single []netip.Addr
	for _, n := range networks {
		if n.IsSingleIP() {
			single = append(single, n.Addr())
		}
	}
	if len(single) == len(networks) {
		test := equals(c, single)
		return func(a netip.Addr) bool { return test(plain(a)) }, nil
	}
	differ := c.Op == "!="
	return quantify(c, networks, func(a netip.Addr, n netip.Prefix) bool { return n.Contains(plain(a)) != differ }), nil
}

// plain is an address without its zone, and IPv4 as such.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
