// Package expr is the condition language of rules: Falco's. It reads a condition into a tree, checks it against a table of
// fields, and compiles it to closures. It knows nothing of events, files or rules.
package expr

// A Node is a part of a condition: *And, *Or, *Not, *Check or *Reference.
type Node interface {
	Pos() int // offset of its first byte in the text that was parsed
}

// And is true if all its items are; it has at least two.
type And struct {
	Items []Node
	At    int
}

// Or is true if any of its items is; it has at least two.
type Or struct {
	Items []Node
	At    int
}

// Not is true if its item is not.
type Not struct {
	Item Node
	At   int
}

// A Reference is the name of a macro.
type Reference struct {
	Name string
	At   int
}

// A Check compares one value with others.
type Check struct {
	Left     Operand // *FieldRef or *Transformer
	Op       string  // exists, =, !=, in, startswith, …: as it is written
	Modifier string  // oneof, anyof, allof, or none
	Right    Operand // nil for exists; *Literal, *List, *FieldRef (written val(…)) or *Transformer
	At       int
	OpAt     int // where the operator stands, from At on
}

// An Operand is a value of a check: *FieldRef, *Transformer, *Literal or *List.
type Operand interface{ Pos() int }

// A FieldRef is a field, with its argument if it was given one: proc.aname[2].
type FieldRef struct {
	Name   string
	Arg    string
	HasArg bool
	Val    bool // written val(field)
	At     int
	ArgAt  int // where the argument stands, from At on
}

// A Transformer is a function of values: tolower(proc.name).
type Transformer struct {
	Name   string
	Args   []Operand
	Arg    string // getopt(…)[opt]
	HasArg bool
	At     int
	ArgAt  int // where the argument stands, from At on
}

// A Literal is a value as it stands in the text, unescaped.
type Literal struct {
	Text   string
	Quoted bool
	At     int
}

// A List is several literals in parentheses.
type List struct {
	Items []Operand // *Literal
	At    int
}

func (n *And) Pos() int         { return n.At }
func (n *Or) Pos() int          { return n.At }
func (n *Not) Pos() int         { return n.At }
func (n *Reference) Pos() int   { return n.At }
func (n *Check) Pos() int       { return n.At }
func (n *FieldRef) Pos() int    { return n.At }
func (n *Transformer) Pos() int { return n.At }
func (n *Literal) Pos() int     { return n.At }
func (n *List) Pos() int        { return n.At }
