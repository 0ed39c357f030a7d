package expr

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Options tell a Language what it cannot know by itself.
type Options struct {
	// Validate refuses checks that could be compiled but make no sense. An error that is a *CheckError keeps its place.
	Validate func(c *Check) error
	// Resolve returns the addresses of a host's name. It does not wait: who knows none yet returns none.
	Resolve func(host string) []netip.Addr
	// Service returns the port of a service's name.
	Service func(name string) (uint16, bool)
	// Missing says more of a field that the language has not, which is written behind its name. If that is all that there is
	// to say, no field of a like name is suggested.
	Missing func(field string) (more string, all bool)
}

// A Language is the condition language over a table of fields of a T. It may be used by many, and keeps what it has
// compiled.
type Language[T any] struct {
	fields  []Field[T]
	byName  map[string]*Field[T]
	options Options
	checks  sync.Map // by text: those that were compiled
}

// NewLanguage makes a language of fields, whose names must differ.
func NewLanguage[T any](fields []Field[T], o Options) *Language[T] {
	l := &Language[T]{fields: fields, byName: make(map[string]*Field[T], len(fields)), options: o}
	for i := range fields {
		l.byName[fields[i].Name] = &fields[i]
	}
	return l
}

// Fields returns the table of fields.
func (l *Language[T]) Fields() []Field[T] { return l.fields }

// Field returns one field, nil if there is none of that name.
func (l *Language[T]) Field(name string) *Field[T] { return l.byName[name] }

// A CheckError says what of a condition cannot be, and where.
type CheckError struct {
	Offset           int // bytes, in the text that was parsed
	Message          string
	UnknownField     bool // other engines may know it
	UnknownEventType bool
}

func (e *CheckError) Error() string { return e.Message }

func wrong(o interface{ Pos() int }, format string, args ...any) error {
	return wrongAt(o.Pos(), format, args...)
}

func wrongAt(offset int, format string, args ...any) error {
	return &CheckError{Offset: offset, Message: fmt.Sprintf(format, args...)}
}

// A Warning is something about a condition that is allowed, but hardly meant.
type Warning struct {
	Offset  int
	Code    string // of the load result: LOAD_DEPRECATED_ITEM, LOAD_COMPILE_CONDITION, LOAD_UNSAFE_NA_CHECK
	Message string
}

// find returns the field that a reference means. evt.arg.flags is evt.arg[flags].
func (l *Language[T]) find(f *FieldRef) (*Field[T], Argument, error) {
	arg := Argument{Text: f.Arg, Given: f.HasArg}
	field, argAt := l.byName[f.Name], f.At+f.ArgAt
	for name := f.Name; field == nil && !arg.Given; {
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			break
		}
		name = name[:i]
		if candidate := l.byName[name]; candidate != nil && candidate.Arity != NoArg {
			field, arg, argAt = candidate, Argument{Text: f.Name[i+1:], Given: true}, f.At+i+1
		}
	}
	if field == nil {
		return nil, arg, &CheckError{Offset: f.At, UnknownField: true,
			Message: fmt.Sprintf("unknown field %q%s", f.Name, l.suggest(f.Name))}
	}
	err := field.accept(&arg, f.At, argAt)
	return field, arg, err
}

func (f *Field[T]) accept(arg *Argument, at, argAt int) (err error) {
	switch {
	case arg.Given && f.Arity == NoArg:
		return wrongAt(argAt, "field %s takes no argument", f.Name)
	case !arg.Given && f.Arity == RequiredArg:
		return wrongAt(at, "field %s wants an argument: %s[…]", f.Name, f.Name)
	case !arg.Given:
		return nil
	}
	if f.Flags&NumberArg != 0 {
		if arg.Number, err = strconv.Atoi(arg.Text); err != nil || arg.Number < 0 {
			return wrongAt(argAt, "field %s[%s]: want a number that is not negative", f.Name, arg.Text)
		}
	}
	if f.Check != nil {
		if err := f.Check(*arg); err != nil {
			return wrongAt(argAt, "field %s[%s]: %v", f.Name, arg.Text, err)
		}
	}
	return nil
}

// suggest says what the unknown field is, as far as somebody knows, and names the one that was perhaps meant.
func (l *Language[T]) suggest(name string) string {
	more := ""
	if l.options.Missing != nil {
		var all bool
		if more, all = l.options.Missing(name); all {
			return more
		}
	}
	return more + l.nearest(name)
}

func (l *Language[T]) nearest(name string) string {
	best, distance := "", len(name)/3+1
	for i := range l.fields {
		if f := &l.fields[i]; f.Flags&Hidden == 0 {
			if d := editDistance(name, f.Name, distance); d < distance {
				best, distance = f.Name, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return " (" + best + "?)"
}

// editDistance counts the insertions, deletions, changes and swaps of neighbours that make b of a, up to a limit.
func editDistance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit {
		return limit
	}
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(one[j+1]+1, row[j]+1, one[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}

// Check says whether a condition can be compiled, and what is odd about it. An error is a *CheckError.
func (l *Language[T]) Check(n Node) ([]Warning, error) {
	if _, err := l.Compile(n); err != nil {
		return nil, err
	}
	var all []Warning
	Walk(n, func(c *Check) { all = append(all, l.warn(c)...) })
	return all, nil
}

// Walk calls visit for every check of a condition, in order.
func Walk(n Node, visit func(c *Check)) {
	switch n := n.(type) {
	case *And:
		for _, item := range n.Items {
			Walk(item, visit)
		}
	case *Or:
		for _, item := range n.Items {
			Walk(item, visit)
		}
	case *Not:
		Walk(n.Item, visit)
	case *Check:
		visit(n)
	}
}

func (l *Language[T]) warn(c *Check) (all []Warning) {
	all = append(l.Deprecated(c.Left), l.Deprecated(c.Right)...)
	for _, v := range literals(c.Right) {
		all = append(all, l.warnLiteral(c, v)...)
	}
	return all
}

func (l *Language[T]) eachField(o Operand, visit func(*FieldRef)) {
	switch o := o.(type) {
	case *FieldRef:
		visit(o)
	case *Transformer:
		for _, arg := range o.Args {
			l.eachField(arg, visit)
		}
	}
}

// Deprecated warns of the deprecated fields of an operand.
func (l *Language[T]) Deprecated(o Operand) (all []Warning) {
	l.eachField(o, func(f *FieldRef) {
		if field, _, err := l.find(f); err == nil && field.Flags&Deprecated != 0 {
			all = append(all, Warning{f.At, "LOAD_DEPRECATED_ITEM", fmt.Sprintf("field %s is deprecated", field.Name)})
		}
	})
	return all
}

func literals(o Operand) []*Literal {
	switch o := o.(type) {
	case *Literal:
		return []*Literal{o}
	case *List:
		all := make([]*Literal, 0, len(o.Items))
		for _, item := range o.Items {
			if v, ok := item.(*Literal); ok {
				all = append(all, v)
			}
		}
		return all
	}
	return nil
}

func (l *Language[T]) warnLiteral(c *Check, v *Literal) (all []Warning) {
	if f, ok := c.Left.(*FieldRef); ok && v.Text == "<NA>" && isEquality(c.Op) && (strings.HasPrefix(f.Name, "ka.") || strings.HasPrefix(f.Name, "jevt.")) {
		all = append(all, Warning{v.At, "LOAD_UNSAFE_NA_CHECK",
			fmt.Sprintf("comparing %s with <NA>: use exists, since an absent field equals nothing", f.Name)})
	}
	if c.Op == "regex" {
		if simpler := simplerThanRegex(v.Text); simpler != "" {
			all = append(all, Warning{v.At, "LOAD_COMPILE_CONDITION",
				fmt.Sprintf("regex %q could be the faster operator %s", v.Text, simpler)})
		}
	}
	if l.isField(v.Text) {
		all = append(all, Warning{v.At, "LOAD_COMPILE_CONDITION",
			fmt.Sprintf("'%s' may be a valid field misused as a const string value", v.Text)})
	} else if name, rest, ok := strings.Cut(v.Text, "("); ok && strings.HasSuffix(rest, ")") &&
		(slices.Contains(transformerNames, name) || name == "val") {
		all = append(all, Warning{v.At, "LOAD_COMPILE_CONDITION",
			fmt.Sprintf("'%s' may be a valid field transformer misused as a const string value", v.Text)})
	}
	return all
}

// isEquality says whether an operator compares whole values.
func isEquality(op string) bool {
	return slices.Contains([]string{"=", "==", "!=", "in", "intersects", "pmatch"}, op)
}

// isField says whether a text is that of a field, with or without its argument.
func (l *Language[T]) isField(text string) bool {
	name, _, _ := strings.Cut(text, "[")
	if l.byName[name] != nil {
		return true
	}
	for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
		if f := l.byName[name[:i]]; f != nil && f.Arity != NoArg {
			_, err := ParseOperand(text)
			return err == nil
		}
	}
	return false
}

// simplerThanRegex names the operator that does the same as a regular expression; nothing if there is none.
func simplerThanRegex(pattern string) string {
	body := strings.TrimPrefix(strings.TrimSuffix(pattern, ".*"), ".*")
	if strings.ContainsAny(body, `\.+*?()|[]{}^$`) {
		return ""
	}
	head, tail := strings.HasPrefix(pattern, ".*"), strings.HasSuffix(pattern, ".*")
	switch {
	case head && tail:
		return "contains"
	case head:
		return "endswith"
	case tail:
		return "startswith"
	}
	return "="
}

// Conjuncts returns the parts that must all be true, however they are nested.
func Conjuncts(n Node) []Node {
	and, ok := n.(*And)
	if !ok {
		return []Node{n}
	}
	var all []Node
	for _, item := range and.Items {
		all = append(all, Conjuncts(item)...)
	}
	return all
}

// Resolve replaces references by the conditions of the macros that they name.
func Resolve(n Node, macro func(r *Reference) (Node, error)) (Node, error) {
	switch n := n.(type) {
	case *And:
		items, err := resolveAll(n.Items, macro)
		return &And{Items: items, At: n.At}, err
	case *Or:
		items, err := resolveAll(n.Items, macro)
		return &Or{Items: items, At: n.At}, err
	case *Not:
		item, err := Resolve(n.Item, macro)
		return &Not{Item: item, At: n.At}, err
	case *Reference:
		return macro(n)
	}
	return n, nil
}

func resolveAll(items []Node, macro func(*Reference) (Node, error)) ([]Node, error) {
	all := make([]Node, len(items))
	for i, item := range items {
		var err error
		if all[i], err = Resolve(item, macro); err != nil {
			return nil, err
		}
	}
	return all, nil
}
