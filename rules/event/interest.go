package event

// MaxTerms is how many terms of one event type the kernel keeps apart.
const MaxTerms = 32

// An Interest is what can still match, by type: what is not in it need not leave the kernel. It is exact in one
// direction: an event that somebody could want is always allowed.
type Interest struct {
	Terms map[Type][]Term // by type; a type without terms is not wanted
	Env   bool            // the environment of what is run is wanted
	Entry map[Type]bool   // types of which a rule asks whether a string was another one when the call began
}

// A Term is one way in which a call can match: all its constraints hold. The zero Term is satisfied by nothing; AnyTerm
// by everything.
//
// Where a path leads, the kernel may not know for sure, or the file may have other paths: such calls satisfy a Term that asks for
// it (Resolved), whatever its Paths. Where they are sure to lead elsewhere they do not, even if they are relative or were made
// by their names alone (unlink, rename), which satisfy every other Term with Paths.
type Term struct {
	Results  Results
	Opens    uint16   // by OpenHow: bit i allows an open that was asked for how i
	Families uint8    // by FamilyOther to FamilyInet6: bit i allows a socket of that family, or another descriptor
	Paths    *PathSet // nil: any path, or none
	Resolved bool     // of Paths where it leads, however it is spelled
}

// Results is a set of signs of what a call returned.
type Results uint8

// The signs.
const (
	Failed    Results = 1 << iota // an error
	Zero                          // 0
	Positive                      // more
	AnyResult = Failed | Zero | Positive
)

// How an open was asked for: an index of bits of Term.Opens.
const (
	OpenRead = 1 << iota
	OpenWrite
	OpenExec // to be made, and executable
	OpenCreated
	AnyOpen = 0xffff
)

// Families of sockets, as Term.Families has them.
const (
	FamilyOther = iota // another one, or no socket
	FamilyUnix
	FamilyInet
	FamilyInet6
	AnyFamily = 0xf
)

// A PathSet is a set of paths. A call satisfies it if one of its paths is in it: as it was passed, made absolute and
// cleaned, or as the kernel resolves it.
type PathSet struct {
	Exact    []string // the path itself
	Prefixes []string // what it begins with
	Names    []string // its last component
}

// AnyTerm is satisfied by every call.
var AnyTerm = Term{Results: AnyResult, Opens: AnyOpen, Families: AnyFamily}

// Wants says whether any call of a type is wanted.
func (i *Interest) Wants(t Type) bool { return len(i.Terms[t]) > 0 }
