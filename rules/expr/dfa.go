package expr

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// A dfa says of a text of ASCII whether a regular expression matches the whole of it, with one look at each byte: it has
// made all states that the expression can be in beforehand.
type dfa struct {
	classes [utf8.RuneSelf]uint8 // bytes that no part of the expression tells from each other are of one class
	width   int                  // how many classes there are
	next    []uint16             // by state and class: where the next state's begin
	accepts []bool               // by state
}

// States that every dfa has.
const (
	deadState  = 0 // nothing can match any more
	firstState = 1
)

// maxTable bounds the states of one expression, times their classes.
const maxTable = 1 << 14

// newDFA returns nil for an expression that has too many states, or looks at what stands around a byte.
func newDFA(tree *syntax.Regexp) *dfa {
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil || slices.ContainsFunc(prog.Inst, func(i syntax.Inst) bool { return i.Op == syntax.InstEmptyWidth }) {
		return nil
	}
	b := dfaBuilder{dfa: &dfa{}, prog: prog, seen: make([]uint32, len(prog.Inst)), states: map[string]uint16{}}
	b.classify()
	if !b.build() {
		return nil
	}
	return b.dfa
}

// match also says whether it knows, which it does unless there is a byte that is not ASCII.
func (d *dfa) match(text string) (matches, known bool) {
	at := firstState * d.width
	for i := range len(text) {
		c := text[i]
		if c >= utf8.RuneSelf {
			return false, false
		}
		if at = int(d.next[at+int(d.classes[c])]); at == deadState {
			return false, isASCII(text[i:])
		}
	}
	return d.accepts[at/d.width], true
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// A dfaBuilder follows an expression through all bytes at once.
type dfaBuilder struct {
	*dfa
	prog    *syntax.Prog
	samples []rune // one of each class
	states  map[string]uint16
	sets    [][]uint32 // by state: the instructions that it waits at, in order
	seen    []uint32   // by instruction: the last walk that came by
	walk    uint32
}

// classify finds bytes that every instruction takes or leaves alike.
func (b *dfaBuilder) classify() {
	var different []*syntax.Inst
	known := map[string]bool{}
	for i := range b.prog.Inst {
		inst := &b.prog.Inst[i]
		if key := string(inst.Rune) + string(rune(inst.Op)) + string(rune(inst.Arg)); isRune(inst.Op) && !known[key] {
			known[key] = true
			different = append(different, inst)
		}
	}
	byTaste := map[string]uint8{}
	taste := make([]byte, len(different))
	for c := range rune(utf8.RuneSelf) {
		for i, inst := range different {
			taste[i] = 0
			if takes(inst, c) {
				taste[i] = 1
			}
		}
		class, ok := byTaste[string(taste)]
		if !ok {
			class = uint8(len(b.samples))
			byTaste[string(taste)] = class
			b.samples = append(b.samples, c)
		}
		b.classes[c] = class
	}
	b.width = len(b.samples)
}

func isRune(op syntax.InstOp) bool {
	return op == syntax.InstRune || op == syntax.InstRune1 || op == syntax.InstRuneAny || op == syntax.InstRuneAnyNotNL
}

func takes(inst *syntax.Inst, c rune) bool {
	switch inst.Op {
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return c != '\n'
	case syntax.InstRune, syntax.InstRune1:
		return inst.MatchRune(c)
	}
	return false
}

// build makes every state that can be reached; false if there are too many.
func (b *dfaBuilder) build() bool {
	b.state(nil) // deadState
	b.walk++
	first := b.follow(nil, uint32(b.prog.Start))
	if b.state(first); len(first) == 0 {
		b.sets = append(b.sets, nil) // of an expression that matches nothing, it is dead too
	}
	for state := firstState; state < len(b.sets); state++ {
		if (len(b.sets)+1)*b.width > maxTable {
			return false
		}
		for _, c := range b.samples {
			b.next = append(b.next, b.state(b.step(b.sets[state], c))*uint16(b.width))
		}
	}
	b.next = slices.Concat(make([]uint16, b.width), b.next)
	for _, set := range b.sets {
		b.accepts = append(b.accepts, slices.ContainsFunc(set, func(pc uint32) bool { return b.prog.Inst[pc].Op == syntax.InstMatch }))
	}
	return true
}

// step is where a state comes to by a byte.
func (b *dfaBuilder) step(set []uint32, c rune) (to []uint32) {
	b.walk++
	for _, pc := range set {
		if inst := &b.prog.Inst[pc]; takes(inst, c) {
			to = b.follow(to, inst.Out)
		}
	}
	return to
}

// follow adds the instructions that are reached from one without taking a byte.
func (b *dfaBuilder) follow(set []uint32, pc uint32) []uint32 {
	if b.seen[pc] == b.walk {
		return set
	}
	b.seen[pc] = b.walk
	switch inst := &b.prog.Inst[pc]; inst.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return b.follow(b.follow(set, inst.Out), inst.Arg)
	case syntax.InstCapture, syntax.InstNop:
		return b.follow(set, inst.Out)
	case syntax.InstFail:
		return set
	}
	return append(set, pc)
}

// state is the number of a set of instructions.
func (b *dfaBuilder) state(set []uint32) uint16 {
	slices.Sort(set)
	key := make([]byte, 0, 4*len(set))
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	n, ok := b.states[string(key)]
	if !ok {
		n = uint16(len(b.sets))
		b.states[string(key)] = n
		b.sets = append(b.sets, set)
	}
	return n
}
