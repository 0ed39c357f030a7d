package expr

import (
	"net/netip"
	"strconv"
)

// class is how values of a kind are compared.
type class uint8

const (
	texts class = iota
	byteStrings
	booleans
	signed
	unsigned
	floats
	addresses
)

func (k Kind) class() class {
	switch k {
	case Bytes:
		return byteStrings
	case Bool:
		return booleans
	case Int16, Int32, Int64:
		return signed
	case Uint8, Uint16, Uint32, Uint64, Port, RelativeTime, AbsoluteTime:
		return unsigned
	case Double:
		return floats
	case IPAddr, IPNet:
		return addresses
	}
	return texts
}

// String returns the name of the kind in references.
func (k Kind) String() string {
	names := [...]string{"", "string", "path", "bytes", "bool", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
		"double", "port", "reltime", "abstime", "ipaddr", "ipnet"}
	if int(k) < len(names) {
		return names[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// value is one side of a check, ready to be read: exactly one of its readers is set, by its class and whether it is many.
type value[T any] struct {
	name  string
	kind  Kind
	flags Flags
	many  bool // several values: each is called

	present func(*T) bool // of several values: whether there are any, if that is not whether each calls its function

	text  func(*T) (string, bool)
	bytes func(*T) ([]byte, bool)
	bool_ func(*T) (bool, bool)
	int_  func(*T) (int64, bool)
	uint_ func(*T) (uint64, bool)
	float func(*T) (float64, bool)
	addr  func(*T) (netip.Addr, bool)

	eachText func(*T, func(string) bool) bool
	eachInt  func(*T, func(int64) bool) bool
	eachUint func(*T, func(uint64) bool) bool
	eachAddr func(*T, func(netip.Addr) bool) bool
}

// operand makes a field or a transformer ready.
func (l *Language[T]) operand(o Operand) (*value[T], error) {
	switch o := o.(type) {
	case *FieldRef:
		return l.fieldValue(o)
	case *Transformer:
		return l.transform(o)
	case *Literal:
		text := o.Text
		return &value[T]{name: text, kind: String, text: func(*T) (string, bool) { return text, true }}, nil
	case *List:
		all := literals(o)
		there := func(*T) bool { return true }
		return &value[T]{name: PrintOperand(o), kind: String, many: true, flags: ListValued, present: there, eachText: func(_ *T, yield func(string) bool) bool {
			for _, v := range all {
				if !yield(v.Text) {
					return false
				}
			}
			return true
		}}, nil
	}
	return nil, wrong(o, "%s cannot be read", PrintOperand(o))
}

func (l *Language[T]) fieldValue(ref *FieldRef) (*value[T], error) {
	f, arg, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	v := &value[T]{name: f.Name, kind: f.Kind, flags: f.Flags}
	several := f.Texts != nil && v.kind.class() == texts || f.Ints != nil || f.Uints != nil || f.Addrs != nil
	v.many = several && (f.Flags&(ListValued|TwoSided) != 0 || f.Flags&AnyOf != 0 && !arg.Given)
	if v.many {
		v.readMany(f, arg)
		return v, v.ready(ref)
	}
	switch {
	case f.Text != nil:
		v.text = func(t *T) (string, bool) { return f.Text(t, arg) }
	case f.Bytes != nil:
		v.bytes = func(t *T) ([]byte, bool) { return f.Bytes(t, arg) }
	case f.Bool != nil:
		v.bool_ = func(t *T) (bool, bool) { return f.Bool(t, arg) }
	case f.Int != nil:
		v.int_ = func(t *T) (int64, bool) { return f.Int(t, arg) }
	case f.Uint != nil:
		v.uint_ = func(t *T) (uint64, bool) { return f.Uint(t, arg) }
	case f.Float != nil:
		v.float = func(t *T) (float64, bool) { return f.Float(t, arg) }
	case f.Addr != nil:
		v.addr = func(t *T) (netip.Addr, bool) { return f.Addr(t, arg) }
	}
	return v, v.ready(ref)
}

// ready says whether the field can be read as its kind wants.
func (v *value[T]) ready(ref *FieldRef) error {
	var ok bool
	switch v.kind.class() {
	case texts:
		ok = v.text != nil || v.eachText != nil || v.flags&Resolved != 0 && v.addr != nil
	case byteStrings:
		ok = v.bytes != nil
	case booleans:
		ok = v.bool_ != nil
	case signed:
		ok = v.int_ != nil || v.eachInt != nil
	case unsigned:
		ok = v.uint_ != nil || v.eachUint != nil
	case floats:
		ok = v.float != nil
	case addresses:
		ok = v.addr != nil || v.eachAddr != nil
	}
	if !ok {
		return wrong(ref, "field %s cannot be read as %s", v.name, v.kind)
	}
	return nil
}

func (v *value[T]) readMany(f *Field[T], arg Argument) {
	switch {
	case f.Texts != nil:
		v.eachText = func(t *T, yield func(string) bool) bool { return f.Texts(t, arg, yield) }
	case f.Ints != nil:
		v.eachInt = func(t *T, yield func(int64) bool) bool { return f.Ints(t, arg, yield) }
	case f.Uints != nil:
		v.eachUint = func(t *T, yield func(uint64) bool) bool { return f.Uints(t, arg, yield) }
	case f.Addrs != nil:
		v.eachAddr = func(t *T, yield func(netip.Addr) bool) bool { return f.Addrs(t, arg, yield) }
	}
}

// exists says whether there is a value at all.
func (v *value[T]) exists() func(*T) bool {
	switch {
	case v.eachText != nil:
		return func(t *T) bool { return !v.eachText(t, func(string) bool { return false }) }
	case v.eachInt != nil:
		return func(t *T) bool { return !v.eachInt(t, func(int64) bool { return false }) }
	case v.eachUint != nil:
		return func(t *T) bool { return !v.eachUint(t, func(uint64) bool { return false }) }
	case v.eachAddr != nil:
		return func(t *T) bool { return !v.eachAddr(t, func(netip.Addr) bool { return false }) }
	case v.text != nil:
		return func(t *T) bool { _, ok := v.text(t); return ok }
	case v.bytes != nil:
		return func(t *T) bool { _, ok := v.bytes(t); return ok }
	case v.bool_ != nil:
		return func(t *T) bool { _, ok := v.bool_(t); return ok }
	case v.int_ != nil:
		return func(t *T) bool { _, ok := v.int_(t); return ok }
	case v.uint_ != nil:
		return func(t *T) bool { _, ok := v.uint_(t); return ok }
	case v.float != nil:
		return func(t *T) bool { _, ok := v.float(t); return ok }
	}
	return func(t *T) bool { _, ok := v.addr(t); return ok }
}

// appendTo appends a value as outputs print it, and says whether there was one.
func (v *value[T]) appendTo(t *T, to []byte) ([]byte, bool) {
	switch {
	case v.many:
		return v.appendMany(t, to)
	case v.text != nil:
		s, ok := v.text(t)
		return append(to, s...), ok
	case v.bytes != nil:
		s, ok := v.bytes(t)
		return append(to, s...), ok
	case v.bool_ != nil:
		b, ok := v.bool_(t)
		if !ok {
			return to, false
		}
		return strconv.AppendBool(to, b), true
	case v.int_ != nil:
		n, ok := v.int_(t)
		if !ok {
			return to, false
		}
		return strconv.AppendInt(to, n, 10), true
	case v.uint_ != nil:
		n, ok := v.uint_(t)
		if !ok {
			return to, false
		}
		return strconv.AppendUint(to, n, 10), true
	case v.float != nil:
		n, ok := v.float(t)
		if !ok {
			return to, false
		}
		return strconv.AppendFloat(to, n, 'g', -1, 64), true
	}
	a, ok := v.addr(t)
	if !ok {
		return to, false
	}
	return a.AppendTo(to), true
}

// appendMany writes lists as (a,b), chains of ancestors as a->b, and both sides of a connection as a,b.
func (v *value[T]) appendMany(t *T, to []byte) ([]byte, bool) {
	begin := len(to)
	if v.flags&ListValued != 0 {
		to = append(to, '(')
	}
	n := 0
	comma := func() {
		if n++; n > 1 && v.flags&AnyOf != 0 {
			to = append(to, "->"...)
		} else if n > 1 {
			to = append(to, ',')
		}
	}
	switch {
	case v.eachText != nil:
		v.eachText(t, func(s string) bool { comma(); to = append(to, s...); return true })
	case v.eachInt != nil:
		v.eachInt(t, func(i int64) bool { comma(); to = strconv.AppendInt(to, i, 10); return true })
	case v.eachUint != nil:
		v.eachUint(t, func(i uint64) bool { comma(); to = strconv.AppendUint(to, i, 10); return true })
	case v.eachAddr != nil:
		v.eachAddr(t, func(a netip.Addr) bool { comma(); to = a.AppendTo(to); return true })
	}
	if n == 0 {
		return to[:begin], false
	}
	if v.flags&ListValued != 0 {
		to = append(to, ')')
	}
	return to, true
}

// typed returns the value as JSON has it: number, bool or string, nil if there is none.
func (v *value[T]) typed(t *T) any {
	switch {
	case v.many:
	case v.bool_ != nil:
		if b, ok := v.bool_(t); ok {
			return b
		}
		return nil
	case v.int_ != nil:
		if n, ok := v.int_(t); ok {
			return n
		}
		return nil
	case v.uint_ != nil:
		if n, ok := v.uint_(t); ok {
			return n
		}
		return nil
	case v.float != nil:
		if n, ok := v.float(t); ok {
			return n
		}
		return nil
	}
	if text, ok := v.appendTo(t, nil); ok {
		return string(text)
	}
	return nil
}

// A Reader reads one field or transformer for an output.
type Reader[T any] struct{ v *value[T] }

// Reader makes an operand ready to be read. An error is a *CheckError.
func (l *Language[T]) Reader(o Operand) (Reader[T], error) {
	v, err := l.operand(o)
	return Reader[T]{v}, err
}

// Append appends the value as outputs print it; false if it is absent. A list is written (a,b).
func (r Reader[T]) Append(t *T, to []byte) ([]byte, bool) { return r.v.appendTo(t, to) }

// Value returns the value as JSON has it: int64, uint64, float64, bool or string; nil if it is absent.
func (r Reader[T]) Value(t *T) any { return r.v.typed(t) }

// Texts returns how to read a value that is a text: one, or each of several. Of another value both are nil.
func (r Reader[T]) Texts() (one func(*T) (string, bool), each func(*T, func(string) bool) bool) {
	return r.v.text, r.v.eachText
}

// Number returns how to read a value that is one number, or as 0 and 1 a truth; nil for another one. A negative number is
// read as two's complement.
func (r Reader[T]) Number() func(*T) (uint64, bool) {
	switch v := r.v; {
	case v.uint_ != nil:
		return v.uint_
	case v.int_ != nil:
		return func(t *T) (uint64, bool) { n, ok := v.int_(t); return uint64(n), ok }
	case v.bool_ != nil:
		return func(t *T) (uint64, bool) {
			b, ok := v.bool_(t)
			if b {
				return 1, ok
			}
			return 0, ok
		}
	}
	return nil
}
