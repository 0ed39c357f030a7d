package rules

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"

	"github.com/yagura-io/yagura/rules/expr"
)

// A dispatch is the rules of one event type, ready to be evaluated. Most rules have a condition of which a part must be
// true that names a few values of a field: a name of a process, a path, a port. Of those an index by value knows which
// can match, so that an event costs a few look-ups, and the few rules that are left are evaluated one by one.
//
// A set has a bit for each rule, at every level: whether the rule can match, as far as its first or second such part says.
type dispatch struct {
	matchers []*matcher // in the order of the rules
	words    int        // of the bits of one level; 0 where so few are just tried
	every    []uint64   // the bits of all matchers, of one level
	open     []uint64   // set: those that have no such part
	gates    []gate
	indexes  []index
}

// A gate is a part that several conditions have in common and that costs little.
type gate struct {
	test  func(*Record) bool
	needs []uint64 // those that cannot match where it is false, of one level
}

// An index knows by a field's value which rules can match.
type index struct {
	name    string
	one     func(*Record) (string, bool)
	each    func(*Record, func(string) bool) bool
	number  func(*Record) (uint64, bool)
	texts   texts
	numbers map[uint64][]uint64
	users   []uint64 // those that it knows of, of one level
	later   []uint64 // set: what this index or one behind it may set
	cost    int
}

// few is how many rules are tried one by one.
const few = 4

// newDispatch makes the rules of one event type ready. Conditions has for each the condition for this type.
func newDispatch(l *expr.Language[Record], matchers []*matcher, conditions []expr.Node) (*dispatch, error) {
	d := &dispatch{matchers: matchers}
	if len(matchers) <= few {
		return d, nil
	}
	d.words = (len(matchers) + 63) / 64
	d.every, d.open = d.level(), d.set()
	for i := range matchers {
		setBit(d.every, i)
	}
	if err := d.addGates(l, conditions); err != nil {
		return nil, err
	}
	b := newBuilder(d, l, conditions)
	for i := range conditions {
		b.add(i)
	}
	b.finish()
	return d, nil
}

func (d *dispatch) level() []uint64 { return make([]uint64, d.words) }
func (d *dispatch) set() []uint64   { return make([]uint64, levels*d.words) }

func setBit(set []uint64, i int) { set[i/64] |= 1 << (i % 64) }

// Parts are gates if at least this many conditions have them, and if they cost at most so much.
const (
	gateUses = 8
	gateCost = 12
)

func (d *dispatch) addGates(l *expr.Language[Record], conditions []expr.Node) error {
	type shared struct {
		node expr.Node
		uses int
		gate gate
	}
	var all []*shared
	byText := map[string]*shared{}
	for i, n := range conditions {
		if n == nil {
			continue
		}
		for _, part := range expr.Conjuncts(n) {
			if l.Cost(part) > gateCost || isOfResult(part) {
				continue
			}
			text := expr.Print(part)
			s := byText[text]
			if s == nil {
				s = &shared{node: part, gate: gate{needs: d.level()}}
				byText[text], all = s, append(all, s)
			}
			s.uses++
			setBit(s.gate.needs, i)
		}
	}
	all = slices.DeleteFunc(all, func(s *shared) bool { return s.uses < gateUses })
	slices.SortStableFunc(all, func(a, b *shared) int { return cmp.Compare(b.uses, a.uses) })
	for _, s := range all {
		var err error
		if s.gate.test, err = l.Compile(s.node); err != nil {
			return err
		}
		d.gates = append(d.gates, s.gate)
	}
	return nil
}

// isOfResult says that a part asks only how a call ended, which the kernel has seen to.
func isOfResult(n expr.Node) bool {
	c, ok := n.(*expr.Check)
	if !ok {
		return false
	}
	f, ok := c.Left.(*expr.FieldRef)
	return ok && (f.Name == "evt.rawres" || f.Name == "evt.res" || f.Name == "evt.failed")
}

// builder fills the indexes of a dispatch.
type builder struct {
	*dispatch
	language *expr.Language[Record]
	clauses  [][]clause     // by matcher
	at       map[string]int // indexes by field; -1 is none
	uses     map[string]int // how many rules name an atom
}

// indexUsers is how many rules an index must know of to be worth asking.
const indexUsers = 4

// newBuilder chooses the fields that get an index, which is those by which enough rules are found.
func newBuilder(d *dispatch, l *expr.Language[Record], conditions []expr.Node) *builder {
	b := &builder{dispatch: d, language: l, at: map[string]int{}, uses: map[string]int{}}
	for _, n := range conditions {
		all := clausesOf(n, false)
		b.clauses = append(b.clauses, all)
		for _, c := range all {
			for _, a := range c {
				b.uses[a.key()]++
			}
		}
	}
	for again := true; again; {
		users := map[string]int{}
		for i := range conditions {
			fields := map[string]bool{}
			for _, c := range b.best(i) {
				for _, a := range c {
					fields[a.index()] = true
				}
			}
			for name := range fields {
				users[name]++
			}
		}
		again = false
		for name, n := range users {
			if n < indexUsers && !isOfParts(name) {
				b.at[name], again = -1, true
			}
		}
	}
	return b
}

func (b *builder) best(i int) []clause {
	return bestClauses(b.clauses[i], func(a atom) bool { return b.index(a) >= 0 }, b.uses)
}

// add notes by which values the i-th matcher can be found.
func (b *builder) add(i int) {
	best := b.best(i)
	for level := range levels {
		bit := level*b.words*64 + i
		if level >= len(best) {
			setBit(b.open, bit)
			continue
		}
		for _, a := range best[level] {
			b.enter(a, i, bit)
		}
	}
}

func (b *builder) enter(a atom, i, bit int) {
	bits := b.set()
	setBit(bits, bit)
	x := &b.indexes[b.index(a)]
	setBit(x.users, i)
	setBit(x.later, bit)
	if x.number == nil {
		x.texts.add(a.way, a.text, bits)
		return
	}
	n, _ := numberOf(a)
	x.numbers[n] = union64(x.numbers[n], bits)
}

// index finds the index that answers an atom, which is made if there is none yet; -1 if it cannot be.
func (b *builder) index(a atom) int {
	i, ok := b.at[a.index()]
	if !ok {
		i = -1
		if x := b.newIndex(a); x != nil {
			i, b.indexes = len(b.indexes), append(b.indexes, *x)
		}
		b.at[a.index()] = i
	}
	if i < 0 || b.indexes[i].number == nil {
		return i
	}
	if _, ok := numberOf(a); !ok {
		return -1
	}
	return i
}

// dearest is the cost of a field from which on rules are rather tried than looked up by it.
const dearest = 100

func (b *builder) newIndex(a atom) *index {
	r, err := b.language.Reader(a.field)
	cost := b.language.Cost(&expr.Check{Left: a.field, Op: "exists"})
	if err != nil || cost >= dearest {
		return nil
	}
	x := &index{users: b.level(), later: b.set(), cost: cost, number: r.Number()}
	x.one, x.each = r.Texts()
	switch {
	case x.number != nil:
		x.numbers = map[uint64][]uint64{}
	case x.one == nil && x.each == nil:
		return nil
	}
	return x
}

// numberOf is the number that an atom compares with.
func numberOf(a atom) (uint64, bool) {
	switch {
	case a.way != whole:
		return 0, false
	case a.text == "true":
		return 1, true
	case a.text == "false":
		return 0, true
	}
	if n, err := strconv.ParseInt(a.text, 10, 64); err == nil {
		return uint64(n), true
	}
	n, err := strconv.ParseUint(a.text, 10, 64)
	return n, err == nil
}

// finish puts those indexes first that tell most for their price: once they are asked, the others seldom matter.
func (b *builder) finish() {
	b.indexes = slices.DeleteFunc(b.indexes, func(x index) bool { return !slices.ContainsFunc(x.users, func(w uint64) bool { return w != 0 }) })
	slices.SortStableFunc(b.indexes, func(x, y index) int { return cmp.Compare(x.price(), y.price()) })
	later := b.set()
	for i := len(b.indexes) - 1; i >= 0; i-- {
		x := &b.indexes[i]
		include(later, x.later)
		x.later = slices.Clone(later)
		x.texts.ready()
	}
}

// price is about what it takes to ask an index, by the rules that it knows of.
func (x *index) price() float64 {
	cost, users := x.cost, 0
	if x.texts.parts != nil {
		cost += 20
	}
	for _, w := range x.users {
		users += bits.OnesCount64(w)
	}
	return float64(cost) / float64(users)
}

// A candidates finds which rules can match an event. It belongs to one goroutine.
type candidates struct {
	alive, set []uint64
	texts      *texts
	visit      func(string) bool // made once, since every making of it allocates
}

func newCandidates() *candidates {
	c := &candidates{}
	c.visit = func(text string) bool { c.texts.find(text, c.set); return true }
	return c
}

// of returns the bits of the matchers that can match.
func (c *candidates) of(d *dispatch, r *Record) []uint64 {
	if len(c.set) < len(d.open) {
		c.alive, c.set = make([]uint64, d.words), make([]uint64, len(d.open))
	}
	alive, set := c.alive[:d.words], c.set[:len(d.open)]
	copy(alive, d.every)
	copy(set, d.open)
	for i := range d.gates {
		if g := &d.gates[i]; intersect(alive, g.needs) && !g.test(r) {
			for w := range alive {
				alive[w] &^= g.needs[w]
			}
		}
	}
	for i := range d.indexes {
		if x := &d.indexes[i]; x.matters(alive, set) {
			c.ask(x, r)
		}
	}
	for w := range alive {
		alive[w] &= set[w] & set[w+d.words]
	}
	return alive
}

func intersect(a, b []uint64) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

// matters says whether the index knows of a rule that can still match.
func (x *index) matters(alive, set []uint64) bool {
	n := len(alive)
	for w, b := range alive {
		if b&x.users[w]&(set[w]|x.later[w])&(set[w+n]|x.later[w+n]) != 0 {
			return true
		}
	}
	return false
}

func (c *candidates) ask(x *index, r *Record) {
	switch {
	case x.one != nil:
		if text, ok := x.one(r); ok {
			x.texts.find(text, c.set)
		}
	case x.each != nil:
		c.texts = &x.texts
		x.each(r, c.visit)
	default:
		if n, ok := x.number(r); ok {
			include(c.set, x.numbers[n])
		}
	}
}

// eval calls hit with each matcher whose condition is true, in the order of the rules, until hit returns false.
func (d *dispatch) eval(c *candidates, r *Record, hit func(*matcher) bool) {
	if d.words == 0 {
		for _, m := range d.matchers {
			if m.test(r) && !hit(m) {
				return
			}
		}
		return
	}
	for w, b := range c.of(d, r) {
		for ; b != 0; b &= b - 1 {
			if m := d.matchers[w*64+bits.TrailingZeros64(b)]; m.test(r) && !hit(m) {
				return
			}
		}
	}
}
