package rules

import (
	"cmp"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// interestOf is what rules can match of what the kernel tells of. It errs on one side only: an event that a rule could match
// is always in it.
func interestOf(rules []*Rule, config Config) event.Interest {
	i := event.Interest{Terms: map[event.Type][]event.Term{}, Entry: map[event.Type]bool{}}
	for _, r := range rules {
		if !r.Enabled || r.Source != event.SyscallSource {
			continue
		}
		text := config.textOf(r)
		i.Env = i.Env || mentions(text, "proc.env", "proc.aenv", "evt.arg.env", "evt.arg[env", "evt.rawarg.env")
		atEntry := mentions(text, "yagura.arg.unstable")
		if mentions(text, "proc.cwd", "evt.arg.cwd") {
			for _, name := range []string{"chdir", "fchdir"} { // by which the process table knows it
				t, _ := event.TypeNamed(name)
				i.Terms[t] = simplify(append(i.Terms[t], event.Term{Results: event.Zero, Opens: event.AnyOpen, Families: event.AnyFamily}))
			}
		}
		for t := 1; t < len(event.Types); t++ {
			name := event.Types[t].Name
			if !r.Types[name] {
				continue
			}
			n, truth := expr.Fix(r.Condition, "evt.type", name)
			if atEntry && truth != expr.Never {
				i.Entry[event.Type(t)] = true
			}
			switch truth {
			case expr.Always:
				i.Terms[event.Type(t)] = []event.Term{event.AnyTerm}
			case expr.Unknown:
				i.Terms[event.Type(t)] = simplify(append(i.Terms[event.Type(t)], termsOf(n, event.Type(t), false)...))
			}
		}
	}
	for t, terms := range i.Terms {
		if len(terms) == 0 {
			delete(i.Terms, t)
		}
	}
	return i
}

// textOf is all of a rule about system calls that names fields: its condition, and what its hits show, with what the
// configuration adds.
func (c Config) textOf(r *Rule) string {
	extra, fields := c.extra(r, nil)
	text := expr.Print(r.Condition) + " " + r.Output + extra
	for _, f := range fields {
		text += " " + f.text
	}
	return text
}

// mentions says whether a text names one of some fields, which are recorded only then.
func mentions(text string, fields ...string) bool {
	return slices.ContainsFunc(fields, func(name string) bool { return strings.Contains(text, name) })
}

// termsOf are the ways in which a condition, or its opposite, can be true of calls of a type.
func termsOf(n expr.Node, t event.Type, negated bool) []event.Term {
	switch n := n.(type) {
	case *expr.Not:
		return termsOf(n.Item, t, !negated)
	case *expr.And:
		return joinTerms(n.Items, t, negated, !negated)
	case *expr.Or:
		return joinTerms(n.Items, t, negated, negated)
	case *expr.Check:
		return []event.Term{termOf(n, t, negated)}
	}
	return []event.Term{event.AnyTerm}
}

func joinTerms(items []expr.Node, t event.Type, negated, every bool) []event.Term {
	if !every {
		var sum []event.Term
		for _, item := range items {
			sum = append(sum, termsOf(item, t, negated)...)
		}
		return simplify(sum)
	}
	product := []event.Term{event.AnyTerm}
	for _, item := range items {
		var next []event.Term
		for _, b := range termsOf(item, t, negated) {
			for _, a := range product {
				next = append(next, both(a, b))
			}
		}
		product = simplify(next)
	}
	return product
}

// both is satisfied by what satisfies each, and perhaps by more: of two sets of paths, which may be of different paths of
// the call, the smaller one stays.
func both(a, b event.Term) event.Term {
	c := event.Term{Results: a.Results & b.Results, Opens: a.Opens & b.Opens, Families: a.Families & b.Families, Paths: a.Paths}
	if a.Paths == nil || b.Paths != nil && size(b.Paths) < size(a.Paths) {
		c.Paths = b.Paths
	}
	return c
}

func size(s *event.PathSet) int { return len(s.Exact) + len(s.Prefixes) + len(s.Names) }

// simplify leaves out terms that nothing satisfies or that others contain, and puts together those that differ in their
// paths only. Of more than the kernel can keep apart it makes one.
func simplify(terms []event.Term) []event.Term {
	var out []event.Term
	for _, t := range terms {
		if t.Results == 0 || t.Opens == 0 || t.Families == 0 {
			continue
		}
		if i := slices.IndexFunc(out, func(o event.Term) bool { return sameButPaths(o, t) }); i >= 0 {
			out[i].Paths = union(out[i].Paths, t.Paths)
			continue
		}
		out = append(out, t)
	}
	kept := out[:0:0]
	for i, t := range out {
		if !slices.ContainsFunc(out, func(o event.Term) bool { return !sameButPaths(o, out[i]) && contains(o, t) }) {
			kept = append(kept, t)
		}
	}
	if len(kept) <= event.MaxTerms {
		return kept
	}
	all := event.Term{Paths: kept[0].Paths}
	for _, t := range kept {
		all.Results, all.Opens, all.Families = all.Results|t.Results, all.Opens|t.Opens, all.Families|t.Families
		all.Paths = union(all.Paths, t.Paths)
	}
	return []event.Term{all}
}

func sameButPaths(a, b event.Term) bool {
	return a.Results == b.Results && a.Opens == b.Opens && a.Families == b.Families
}

// contains says that whatever satisfies b satisfies a.
func contains(a, b event.Term) bool {
	return a.Paths == nil && b.Results&^a.Results == 0 && b.Opens&^a.Opens == 0 && b.Families&^a.Families == 0
}

func union(a, b *event.PathSet) *event.PathSet {
	if a == nil || b == nil {
		return nil
	}
	return &event.PathSet{Exact: merge(a.Exact, b.Exact), Prefixes: merge(a.Prefixes, b.Prefixes), Names: merge(a.Names, b.Names)}
}

func merge(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// termOf is what one check asks of a call.
func termOf(c *expr.Check, t event.Type, negated bool) event.Term {
	term := event.AnyTerm
	f, ok := c.Left.(*expr.FieldRef)
	if !ok {
		if x, is := c.Left.(*expr.Transformer); is && x.Name == "basename" && len(x.Args) == 1 && !negated {
			if inner, is := x.Args[0].(*expr.FieldRef); is && isPathField(inner, t) && !isDirectory(inner) {
				term.Paths = namesOf(c)
			}
		}
		return term
	}
	values := constants(c)
	switch f.Name {
	case "evt.rawres":
		term.Results = resultsOf(c, values, negated)
	case "evt.res":
		term.Results = resultsOfName(c, values, negated)
	case "evt.failed":
		term.Results = choose(c, values, negated, event.Failed, event.Zero|event.Positive, event.AnyResult)
	case "evt.is_open_read":
		term.Opens = opensOf(c, values, t, negated, event.OpenRead)
	case "evt.is_open_write":
		term.Opens = opensOf(c, values, t, negated, event.OpenWrite)
	case "evt.is_open_exec":
		term.Opens = opensOf(c, values, t, negated, event.OpenExec)
	case "evt.is_open_create", "yagura.fd.created":
		term.Opens = opensOf(c, values, t, negated, event.OpenCreated)
	case "fd.typechar", "fd.type", "fd.sockfamily":
		term.Families = familiesOf(c, values, negated)
	default:
		if inetFields[f.Name] && !negated { // absent, and so false, but of internet sockets
			term.Families = inet | inet6
		}
		if isPathField(f, t) && !negated {
			term.Paths = pathsOf(f, c)
		}
	}
	return term
}

// constants are the values that a check compares with for being one of them, nil if it does not.
func constants(c *expr.Check) []string {
	if c.Modifier == "allof" {
		return nil
	}
	switch r := c.Right.(type) {
	case *expr.Literal:
		return []string{r.Text}
	case *expr.List:
		all := make([]string, 0, len(r.Items))
		for _, item := range r.Items {
			v, ok := item.(*expr.Literal)
			if !ok {
				return nil
			}
			all = append(all, v.Text)
		}
		return all
	}
	return nil
}

func isEqual(op string) bool { return op == "=" || op == "==" || op == "in" || op == "intersects" }

// resultsOf compares what a call returned with numbers; of those of the same sign it knows no difference.
func resultsOf(c *expr.Check, values []string, negated bool) event.Results {
	if len(values) != 1 || values[0] != "0" {
		return resultsIn(c, values, negated)
	}
	signs := map[string]event.Results{"=": event.Zero, "==": event.Zero, "in": event.Zero, "intersects": event.Zero,
		"!=": event.Failed | event.Positive, "<": event.Failed, "<=": event.Failed | event.Zero,
		">": event.Positive, ">=": event.Zero | event.Positive}
	r, ok := signs[c.Op]
	if !ok {
		return event.AnyResult
	}
	if negated {
		return event.AnyResult &^ r
	}
	return r
}

func resultsIn(c *expr.Check, values []string, negated bool) event.Results {
	if !isEqual(c.Op) || len(values) == 0 || negated {
		return event.AnyResult
	}
	var r event.Results
	for _, v := range values {
		switch {
		case v == "0":
			r |= event.Zero
		case strings.HasPrefix(v, "-"):
			r |= event.Failed
		default:
			r |= event.Positive
		}
	}
	return r
}

func resultsOfName(c *expr.Check, values []string, negated bool) event.Results {
	const good = event.Zero | event.Positive
	switch {
	case isEqual(c.Op) && !negated && len(values) > 0:
		var r event.Results
		for _, v := range values {
			if v == "SUCCESS" {
				r |= good
			} else {
				r |= event.Failed
			}
		}
		return r
	case len(values) == 1 && values[0] == "SUCCESS" && (c.Op == "!=" && !negated || isEqual(c.Op) && negated):
		return event.Failed
	}
	return event.AnyResult
}

// choose is for comparisons with true and false.
func choose[T any](c *expr.Check, values []string, negated bool, yes, no, any T) T {
	if len(values) != 1 || !isEqual(c.Op) && c.Op != "!=" {
		return any
	}
	if (values[0] == "true") == (isEqual(c.Op) != negated) {
		return yes
	}
	return no
}

func opensOf(c *expr.Check, values []string, t event.Type, negated bool, how int) uint16 {
	if !t.Opens() {
		return event.AnyOpen
	}
	var with uint16
	for i := range 16 {
		if i&how != 0 {
			with |= 1 << i
		}
	}
	return choose(c, values, negated, with, ^with, uint16(event.AnyOpen))
}

// familyOf are the families of sockets that a type of descriptor may be of. One of IPv6 that speaks IPv4 is of type 4.
var familyOf = map[string]uint8{
	"4": inet | inet6, "ipv4": inet | inet6, "6": inet6, "ipv6": inet6, "ip": inet | inet6, "unix": unixes, "u": unixes | others,
}

// familyOnly are those whose sockets are all of that type.
var familyOnly = map[string]uint8{"4": inet, "ipv4": inet, "ip": inet | inet6, "unix": unixes}

const (
	others = 1 << event.FamilyOther
	unixes = 1 << event.FamilyUnix
	inet   = 1 << event.FamilyInet
	inet6  = 1 << event.FamilyInet6
)

func familiesOf(c *expr.Check, values []string, negated bool) uint8 {
	if !isEqual(c.Op) && c.Op != "!=" || len(values) == 0 {
		return event.AnyFamily
	}
	var of, only uint8
	for _, v := range values {
		of |= cmp.Or(familyOf[v], others)
		only |= familyOnly[v]
	}
	if isEqual(c.Op) != negated {
		return of
	}
	if len(values) > 1 && c.Op == "!=" {
		return event.AnyFamily // it differs from any of them, which all do
	}
	return event.AnyFamily &^ only
}

// inetFields are absent of all but internet sockets.
var inetFields = setOf(`fd.ip fd.cip fd.sip fd.lip fd.rip fd.port fd.cport fd.sport fd.lport fd.rport fd.proto fd.cproto
fd.sproto fd.lproto fd.rproto fd.net fd.cnet fd.snet fd.lnet fd.rnet fd.cip.name fd.sip.name fd.lip.name fd.rip.name`)

// pathFields are of one path of the call: as it was passed and put together, or as the kernel resolves it.
var pathFieldNames = setOf(`fd.name fd.nameraw fd.directory fd.filename fs.path.name fs.path.nameraw fs.path.source
fs.path.sourceraw fs.path.target fs.path.targetraw evt.abspath yagura.path.resolved yagura.path.target
yagura.path.directory yagura.path.basename`)

func setOf(names string) map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		set[name] = true
	}
	return set
}

func isPathField(f *expr.FieldRef, t event.Type) bool {
	if pathFieldNames[f.Name] {
		return true
	}
	name, ok := strings.CutPrefix(f.Name, "evt.arg.")
	if f.Name == "evt.arg" {
		name, ok = f.Arg, true
	}
	if !ok {
		return false
	}
	p, _ := t.Info().Param(name)
	return p != nil && p.Kind == event.Path
}

// pathsOf is the set of paths that satisfy a check, nil for any.
func pathsOf(f *expr.FieldRef, c *expr.Check) *event.PathSet {
	values := constants(c)
	switch {
	case f.Name == "fd.filename" || f.Name == "yagura.path.basename":
		return namesOf(c)
	case isDirectory(f) && isEqual(c.Op):
		return directories(values)
	case isDirectory(f) && c.Op != "startswith" && c.Op != "pmatch":
		return nil // how a folder ends says nothing of how the path does
	}
	switch c.Op {
	case "=", "==", "in", "intersects":
		if len(values) == 0 || slices.Contains(values, "") {
			return nil
		}
		return &event.PathSet{Exact: merge(values, nil)}
	case "startswith":
		return prefixes(values)
	case "pmatch":
		for i, v := range values {
			values[i] = strings.TrimSuffix(beforeGlob(v), "/")
		}
		return prefixes(values)
	case "endswith":
		return suffixes(values)
	case "glob":
		return globs(values)
	}
	return nil
}

func isDirectory(f *expr.FieldRef) bool {
	return f.Name == "fd.directory" || f.Name == "yagura.path.directory"
}

// directories are what lies in them, and themselves, which are their own directory when they are opened as such.
func directories(values []string) *event.PathSet {
	within := make([]string, len(values))
	for i, v := range values {
		within[i] = strings.TrimSuffix(v, "/") + "/"
	}
	s := prefixes(within)
	if s != nil {
		s.Exact = merge(values, nil)
	}
	return s
}

func namesOf(c *expr.Check) *event.PathSet {
	values := constants(c)
	if !isEqual(c.Op) || len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return v == "" || strings.Contains(v, "/") }) {
		return nil
	}
	return &event.PathSet{Names: merge(values, nil)}
}

// prefixes is nil where a value says nothing.
func prefixes(values []string) *event.PathSet {
	if len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return v == "" || v == "/" }) {
		return nil
	}
	return &event.PathSet{Prefixes: merge(values, nil)}
}

func suffixes(values []string) *event.PathSet {
	s := &event.PathSet{}
	for _, v := range values {
		slash := strings.LastIndexByte(v, '/')
		if slash < 0 || slash == len(v)-1 {
			return nil
		}
		s.Names = append(s.Names, v[slash+1:])
	}
	if len(s.Names) == 0 {
		return nil
	}
	return &event.PathSet{Names: merge(s.Names, nil)}
}

const globSigns = `*?[\`

// beforeGlob is what stands before the first sign that is not literal.
func beforeGlob(pattern string) string {
	if i := strings.IndexAny(pattern, globSigns); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

func globs(values []string) *event.PathSet {
	s := &event.PathSet{}
	for _, v := range values {
		literal := beforeGlob(v)
		name := v[strings.LastIndexByte(v, '/')+1:]
		switch {
		case literal == v:
			s.Exact = append(s.Exact, v)
		case len(literal) > 1 && literal[0] == '/':
			s.Prefixes = append(s.Prefixes, literal)
		case name != "" && name != v && !strings.ContainsAny(name, globSigns):
			s.Names = append(s.Names, name)
		default:
			return nil
		}
	}
	if size(s) == 0 {
		return nil
	}
	return &event.PathSet{Exact: merge(s.Exact, nil), Prefixes: merge(s.Prefixes, nil), Names: merge(s.Names, nil)}
}
