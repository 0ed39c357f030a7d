package event

// Type is what rules call an event: evt.type. It is an index into Types.
type Type uint16

// TypeNone is the type of what no rule can ask for.
const TypeNone Type = 0

// A TypeInfo is one event type: its name, and its parameters as evt.arg knows them.
type TypeInfo struct {
	Name     string // evt.type
	Category string // evt.category
	Params   []Param
}

// ParamKind says how a parameter is read and written.
type ParamKind uint8

// The kinds of parameters.
const (
	Int     ParamKind = iota + 1 // signed decimal
	Uint                         // unsigned decimal
	Hex                          // hexadecimal digits in upper case
	Octal                        // 0644
	Errno                        // result: the number, or the name of the error
	FD                           // descriptor number, resolved to <typechar>name
	PID                          // process id, resolved to its name
	UID                          // user id, resolved to its name
	GID                          // group id
	Signal                       // SIGKILL
	Bits                         // a set of Names joined by |
	Enum                         // one of Names
	String                       // Call.Text[Index].Raw
	Path                         // Call.Text[Index], resolved to an absolute path by Dir
	Bytes                        // Call.Data
	Sock                         // Call.Address
	Tuple                        // both ends of FD, as local->remote
	Strings                      // Event.Args or Env, joined by blanks
	Word                         // Call.Word[Index]; written by Shown
	Boolean
)

// Directory descriptors a relative path may start at, besides the numbers of arguments.
const (
	NoDir = -1
	AtCwd = -2 // the caller's working directory
)

// Result, as the Arg of a Param, is what the call returned. NoArg is for what stands in none: memory that the kernel
// read, or the process itself.
const (
	Result = -1
	NoArg  = -2
)

// A Param is one parameter of an event type.
type Param struct {
	Name  string
	Kind  ParamKind
	Arg   int8      // number of the argument of the system call that holds it or points to it, Result, or NoArg
	Index int8      // which of Call.Text or Call.Word
	Dir   int8      // Path: number of the argument that holds the directory's descriptor, AtCwd, or NoDir
	Shown ParamKind // Word: how it is written; Word stands for Uint. Bits: Octal if its number is written so
	Names []Name    // Bits, Enum

	// Narrow says that the kernel takes 32 bits of the argument, so that what a caller leaves in the upper half of the
	// register must not make it another value to rules.
	Narrow bool
}

// A Name names one bit, several, or one value of a parameter.
type Name struct {
	Name  string
	Value uint64
	Mask  uint64 // Bits: the bits that Value is compared under; 0 stands for Value itself
}
