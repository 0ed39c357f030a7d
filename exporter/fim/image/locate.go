package image

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSpellings bounds how many texts of one part of an expression are told apart. It suffices for the alternatives of all
// rules, and beyond it a rule is only slower.
const maxSpellings = 64

// unbounded is the length of what has no longest match.
const unbounded = 1 << 30

// A location says where in the matches of an expression its keyword stands.
type location struct {
	known  bool // whether there is a keyword in every match
	before span // bytes of the match before it
	total  span // bytes of the whole match
}

// A span is how many bytes something takes, at least and at most.
type span struct{ min, max int }

func (s span) plus(o span) span { return span{s.min + o.min, min(s.max+o.max, unbounded)} }

func (s span) or(o span) span { return span{min(s.min, o.min), max(s.max, o.max)} }

// locate finds where the keywords of an expression stand in what it matches, so that it needs to be tried near them only.
// The keywords are in lower case and found in any case. They need not be in a match at all: some are what stands near a
// secret.
func locate(re *syntax.Regexp, keywords []string) location {
	before, ok := keywordIn(re, keywords)
	return location{known: ok, before: before, total: lengthOf(re)}
}

// keywordIn returns how many bytes of re's matches stand before the first keyword; false if one may be without.
func keywordIn(re *syntax.Regexp, keywords []string) (span, bool) {
	if texts := spellings(re); texts != nil {
		return keywordInAll(texts, keywords)
	}
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return keywordIn(re.Sub[0], keywords)
	case syntax.OpRepeat:
		if re.Min > 0 {
			return keywordIn(re.Sub[0], keywords)
		}
	case syntax.OpConcat:
		return keywordInSequence(re.Sub, keywords)
	case syntax.OpAlternate:
		all, ok := keywordIn(re.Sub[0], keywords)
		for _, sub := range re.Sub[1:] {
			before, has := keywordIn(sub, keywords)
			all, ok = all.or(before), ok && has
		}
		return all, ok
	}
	return span{}, false
}

// keywordInSequence takes neighbours whose texts can be listed together, as a keyword may be in both.
func keywordInSequence(parts []*syntax.Regexp, keywords []string) (span, bool) {
	var passed span
	for i := 0; i < len(parts); {
		end := i
		texts := []string{""}
		for end < len(parts) {
			more := spellings(parts[end])
			if more == nil || len(more)*len(texts) > maxSpellings {
				break
			}
			texts, end = cross(texts, more), end+1
		}
		before, ok := keywordInAll(texts, keywords)
		if end == i {
			before, ok = keywordIn(parts[i], keywords)
			end++
		}
		if ok {
			return passed.plus(before), true
		}
		for _, part := range parts[i:end] {
			passed = passed.plus(lengthOf(part))
		}
		i = end
	}
	return span{}, false
}

func keywordInAll(texts, keywords []string) (before span, ok bool) {
	for i, text := range texts {
		first := -1
		for _, k := range keywords {
			if at := strings.Index(text, k); at >= 0 && (first < 0 || at < first) {
				first = at
			}
		}
		switch {
		case first < 0:
			return span{}, false
		case i == 0:
			before = span{first, first}
		default:
			before = before.or(span{first, first})
		}
	}
	return before, len(texts) > 0
}

// spellings lists the texts that re matches, in lower case; nil if they are too many. What takes no place is "".
func spellings(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{strings.ToLower(string(re.Rune))}
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return []string{""}
	case syntax.OpCharClass:
		return spellingsOfClass(re.Rune)
	case syntax.OpCapture:
		return spellings(re.Sub[0])
	case syntax.OpQuest:
		if texts := spellings(re.Sub[0]); texts != nil && len(texts) < maxSpellings {
			return append(texts, "")
		}
	case syntax.OpConcat:
		texts := []string{""}
		for _, sub := range re.Sub {
			more := spellings(sub)
			if more == nil || len(more)*len(texts) > maxSpellings {
				return nil
			}
			texts = cross(texts, more)
		}
		return texts
	case syntax.OpAlternate:
		var texts []string
		for _, sub := range re.Sub {
			more := spellings(sub)
			if more == nil || len(more)+len(texts) > maxSpellings {
				return nil
			}
			texts = append(texts, more...)
		}
		return texts
	}
	return nil
}

func spellingsOfClass(ranges []rune) []string {
	var texts []string
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i+1]-ranges[i] >= maxSpellings {
			return nil
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if text := string(unicode.ToLower(r)); !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
		if len(texts) > maxSpellings {
			return nil
		}
	}
	return texts
}

func cross(a, b []string) []string {
	all := make([]string, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			all = append(all, x+y)
		}
	}
	return all
}

// lengthOf returns how many bytes re matches.
func lengthOf(re *syntax.Regexp) span {
	switch re.Op {
	case syntax.OpLiteral:
		return lengthOfLiteral(re)
	case syntax.OpCharClass:
		if len(re.Rune) > 0 && re.Rune[len(re.Rune)-1] < utf8.RuneSelf {
			return span{1, 1}
		}
		return span{1, utf8.UTFMax}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return span{1, utf8.UTFMax}
	case syntax.OpCapture:
		return lengthOf(re.Sub[0])
	case syntax.OpStar:
		return span{0, unbounded}
	case syntax.OpPlus:
		return span{lengthOf(re.Sub[0]).min, unbounded}
	case syntax.OpQuest:
		return span{0, lengthOf(re.Sub[0]).max}
	case syntax.OpRepeat:
		one := lengthOf(re.Sub[0])
		if re.Max < 0 {
			return span{one.min * re.Min, unbounded}
		}
		return span{one.min * re.Min, min(one.max*re.Max, unbounded)}
	case syntax.OpConcat:
		var all span
		for _, sub := range re.Sub {
			all = all.plus(lengthOf(sub))
		}
		return all
	case syntax.OpAlternate:
		all := lengthOf(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			all = all.or(lengthOf(sub))
		}
		return all
	}
	return span{}
}

// lengthOfLiteral knows that in any case a letter may be longer than it is written: k is the Kelvin sign too.
func lengthOfLiteral(re *syntax.Regexp) (l span) {
	for _, r := range re.Rune {
		one := span{utf8.RuneLen(r), utf8.RuneLen(r)}
		if re.Flags&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				one = one.or(span{utf8.RuneLen(f), utf8.RuneLen(f)})
			}
		}
		l = l.plus(one)
	}
	return l
}

// lookahead is how many bytes of a match are compared with its byteSets before the expression is tried.
const lookahead = 20

// byteSets hold which bytes a match may have at each of its first places: most of what looks like a secret at its keyword
// does not a few letters later, and this tells it some hundred times faster than the expression does.
type byteSets [lookahead]byteSet

type byteSet [4]uint64

// match is false if no match begins with text.
func (s *byteSets) match(text []byte) bool {
	for i, b := range text[:min(len(text), lookahead)] {
		if s[i][b/64]&(1<<(b%64)) == 0 {
			return false
		}
	}
	return true
}

// firstBytes follows all ways through the program of an expression at once.
func firstBytes(re *syntax.Regexp) (*byteSets, error) {
	program, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, err
	}
	sets := &byteSets{}
	at := map[uint32]bool{}
	if !follow(program, uint32(program.Start), at) {
		sets.anyFrom(0)
		return sets, nil
	}
	for i := range sets {
		next := map[uint32]bool{}
		closed, long := true, false
		for pc := range at {
			inst := &program.Inst[pc]
			sets[i].add(inst)
			long = long || takesOthers(inst)
			closed = follow(program, inst.Out, next) && closed
		}
		if long { // the rest of the letter is in the next places
			sets[i][2], sets[i][3] = ^uint64(0), ^uint64(0)
		}
		if long || !closed {
			sets.anyFrom(i + 1)
			return sets, nil
		}
		at = next
	}
	return sets, nil
}

func (s *byteSets) anyFrom(i int) {
	for ; i < lookahead; i++ {
		s[i] = byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	}
}

// follow adds the instructions behind pc that take a letter. It returns false if a match may end there.
func follow(p *syntax.Prog, pc uint32, to map[uint32]bool) bool {
	closed, seen := true, map[uint32]bool{}
	for todo := []uint32{pc}; len(todo) > 0; {
		pc, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch inst := &p.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			todo = append(todo, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			todo = append(todo, inst.Out)
		case syntax.InstMatch:
			closed = false
		case syntax.InstFail:
		default:
			to[pc] = true
		}
	}
	return closed
}

// add adds the bytes that an instruction takes.
func (s *byteSet) add(inst *syntax.Inst) {
	for b := range rune(utf8.RuneSelf) {
		if inst.MatchRune(b) {
			s[b/64] |= 1 << (b % 64)
		}
	}
}

// takesOthers says whether an instruction takes letters beyond ASCII. The two that are s and k in another case do not
// count: no secret is written with them.
func takesOthers(inst *syntax.Inst) bool {
	const longS, kelvin = '\u017f', '\u212a'
	if len(inst.Rune) == 1 {
		return inst.Rune[0] >= utf8.RuneSelf
	}
	for i := 0; i+1 < len(inst.Rune); i += 2 {
		low, high := inst.Rune[i], inst.Rune[i+1]
		if alone := low == high && (low == longS || low == kelvin); high >= utf8.RuneSelf && !alone {
			return true
		}
	}
	return false
}
