package expr

import "net/netip"

// Kind is the type of a field's values, by which operators and right-hand sides are checked.
type Kind uint8

// The kinds of values. Numbers are checked against their width when a condition is compiled.
const (
	String Kind = iota + 1 // Falco's charbuf, and string of plugins
	Path                   // fspath: a string that pmatch is meant for
	Bytes                  // bytebuf
	Bool                   // true or false
	Int16                  // signed numbers
	Int32
	Int64
	Uint8 // unsigned numbers
	Uint16
	Uint32
	Uint64
	Double
	Port         // number of 16 bits, or the name of a service
	RelativeTime // nanoseconds
	AbsoluteTime // nanoseconds since 1970
	IPAddr       // an address
	IPNet        // an address, compared with networks
)

// Arity says whether a field has an argument.
type Arity uint8

// NoArg is a field without an argument; OptionalArg may be given one; RequiredArg must.
const (
	NoArg Arity = iota
	OptionalArg
	RequiredArg
)

// Argument is what stands in a field's brackets, parsed once when a condition is compiled.
type Argument struct {
	Text   string
	Number int // the value of Text where the field's argument is a number
	Given  bool
}

// Flags of fields.
type Flags uint16

// What may be done with a field besides comparing it.
const (
	NoRHS         Flags = 1 << iota // it cannot stand on the right of an operator
	NoTransformer                   // it cannot be transformed
	ListValued                      // it has several values: only exists, in (all) and intersects (any)
	AnyOf                           // without an argument it has several values, of which any must satisfy the operator: proc.aname
	TwoSided                        // two values: != wants both to differ, other operators want either: fd.ip
	PrintOnly                       // only for output: not in conditions
	Deprecated                      // a warning
	NumberArg                       // its argument is a number that is not negative
	Resolved                        // the right-hand side holds host names, whose addresses are compared: fd.sip.name
	Hidden                          // not listed
)

// A Field is one name that a condition or an output may use, and how to read it from a T. Exactly one of the readers is
// set, that of its Kind; false means the field is absent, and then every comparison is false.
//
// Readers of several values call yield with each until it returns false, and return whether it never did.
//
// Strings and bytes may share the memory of what T came from: they are valid until T is reused. Readers do not allocate
// where a miss must not.
type Field[T any] struct {
	Name  string
	Doc   string // one sentence or more, for people
	Kind  Kind
	Arity Arity
	Flags Flags
	Cost  uint8                // how dear it is to read: 0 is at hand; within a condition the dear come last
	Check func(Argument) error // refuses arguments that make no sense; nil accepts all

	Text  func(t *T, arg Argument) (string, bool)                    // String, Path
	Bytes func(t *T, arg Argument) ([]byte, bool)                    // Bytes
	Bool  func(t *T, arg Argument) (bool, bool)                      // Bool
	Int   func(t *T, arg Argument) (int64, bool)                     // Int16 to Int64
	Uint  func(t *T, arg Argument) (uint64, bool)                    // Uint8 to Uint64, Port, RelativeTime, AbsoluteTime
	Float func(t *T, arg Argument) (float64, bool)                   // Double
	Addr  func(t *T, arg Argument) (netip.Addr, bool)                // IPAddr, IPNet
	Texts func(t *T, arg Argument, yield func(string) bool) bool     // List or AnyOf of strings
	Ints  func(t *T, arg Argument, yield func(int64) bool) bool      // List or AnyOf of numbers
	Uints func(t *T, arg Argument, yield func(uint64) bool) bool     // List or AnyOf, TwoSided of ports
	Addrs func(t *T, arg Argument, yield func(netip.Addr) bool) bool // List or TwoSided of addresses
}
