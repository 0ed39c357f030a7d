package expr

import "strings"

// A glob is a pattern as glibc's fnmatch(3) knows it without flags: * and ? match any bytes, also slashes; […] one of a
// class; a backslash takes what follows literally. It is cut at its stars into pieces of a fixed length.
type glob struct {
	pieces []piece
	fold   bool // regardless of the case of ASCII letters
}

// A piece is a part of a pattern without stars: of plain characters, or else of sets of bytes.
type piece struct {
	text string // in lower case where case does not matter
	sets []byteSet
	size int
}

// byteSet has a bit for each byte.
type byteSet [4]uint64

func (s *byteSet) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }
func (s *byteSet) add(c byte)      { s[c>>6] |= 1 << (c & 63) }

var anyByte = byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

func parseGlob(pattern string, fold bool) glob {
	p := globParser{pattern: pattern, fold: fold}
	g := glob{fold: fold}
	for {
		g.pieces = append(g.pieces, p.piece())
		if p.at >= len(pattern) {
			return g
		}
		for p.at < len(pattern) && pattern[p.at] == '*' {
			p.at++
		}
	}
}

// match compares the ends first; what is between goes as far left as it can, which leaves the most for the rest.
func (g *glob) match(s string) bool {
	first, last := &g.pieces[0], &g.pieces[len(g.pieces)-1]
	if len(s) < first.size || !first.at(s, g.fold) {
		return false
	}
	if len(g.pieces) == 1 {
		return len(s) == first.size
	}
	s = s[first.size:]
	if len(s) < last.size || !last.at(s[len(s)-last.size:], g.fold) {
		return false
	}
	s = s[:len(s)-last.size]
	for i := range g.pieces[1 : len(g.pieces)-1] {
		p := &g.pieces[1+i]
		at := p.index(s, g.fold)
		if at < 0 {
			return false
		}
		s = s[at+p.size:]
	}
	return true
}

// at says whether a text that is long enough begins with the piece.
func (p *piece) at(s string, fold bool) bool {
	switch {
	case p.sets != nil:
		for i := range p.sets {
			if !p.sets[i].has(s[i]) {
				return false
			}
		}
		return true
	case fold:
		return equalFold(s[:p.size], p.text)
	}
	return s[:p.size] == p.text
}

func (p *piece) index(s string, fold bool) int {
	if p.sets == nil && !fold {
		return strings.Index(s, p.text)
	}
	for i := 0; i+p.size <= len(s); i++ {
		if p.at(s[i:], fold) {
			return i
		}
	}
	return -1
}

type globParser struct {
	pattern string
	at      int
	fold    bool
}

// piece takes what stands before the next star.
func (p *globParser) piece() piece {
	var text []byte
	var sets []byteSet
	plain := true
	for p.at < len(p.pattern) && p.pattern[p.at] != '*' {
		c, set, isSet := p.element()
		if isSet {
			plain = false
		} else {
			set.addSame(c, p.fold)
		}
		text, sets = append(text, c), append(sets, set)
	}
	if !plain {
		return piece{sets: sets, size: len(sets)}
	}
	if p.fold {
		for i, c := range text {
			text[i] = lower(c)
		}
	}
	return piece{text: string(text), size: len(text)}
}

func (s *byteSet) addSame(c byte, fold bool) {
	s.add(c)
	if fold {
		s.add(lower(c))
		s.add(upper(c))
	}
}

// element takes a plain character or a set. An empty set is what fnmatch calls a bad pattern: it matches nothing.
func (p *globParser) element() (c byte, set byteSet, isSet bool) {
	c = p.pattern[p.at]
	p.at++
	switch c {
	case '?':
		return c, anyByte, true
	case '[':
		begin := p.at
		if set, ok := p.class(); ok {
			return c, set, true
		}
		p.at = begin // without its end a bracket stands for itself
	case '\\':
		if p.at >= len(p.pattern) {
			return c, set, true
		}
		c = p.pattern[p.at]
		p.at++
	}
	return c, set, false
}

// class takes the rest of […]; false if it has no end.
func (p *globParser) class() (set byteSet, ok bool) {
	negated := p.next() == '!' || p.next() == '^'
	if negated {
		p.at++
	}
	bad := false
	for first := true; ; first = false {
		switch {
		case p.at >= len(p.pattern):
			return byteSet{}, bad
		case p.next() == ']' && !first:
			p.at++
			if bad {
				return byteSet{}, true
			}
			if negated {
				set.invert()
			}
			return set, true
		}
		bad = !p.member(&set) || bad
	}
}

// next is the byte that stands next, 0 at the end.
func (p *globParser) next() byte {
	if p.at < len(p.pattern) {
		return p.pattern[p.at]
	}
	return 0
}

func (s *byteSet) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// member takes one character, range or named class into the set; false if that cannot be.
func (p *globParser) member(set *byteSet) bool {
	if name, ok := p.named(':'); ok {
		is := classes[name]
		for c := 0; is != nil && c < 256; c++ {
			if is(byte(c)) {
				set.add(byte(c))
			}
		}
		return is != nil
	}
	low, ok := p.char()
	if !ok || p.next() != '-' || p.at+1 < len(p.pattern) && p.pattern[p.at+1] == ']' {
		set.addSame(low, p.fold)
		return ok
	}
	if p.at++; p.at >= len(p.pattern) {
		return false
	}
	high, ok := p.char()
	for c := 0; c < 256; c++ {
		if p.fold && lower(low) <= lower(byte(c)) && lower(byte(c)) <= lower(high) || !p.fold && low <= byte(c) && byte(c) <= high {
			set.add(byte(c))
		}
	}
	return ok
}

// char takes a character of a class: plain, behind a backslash, [.c.] or [=c=].
func (p *globParser) char() (byte, bool) {
	for _, mark := range []byte(".=") {
		if name, ok := p.named(mark); ok {
			if len(name) != 1 {
				return 0, false
			}
			return name[0], true
		}
	}
	c := p.pattern[p.at]
	p.at++
	if c == '\\' {
		if p.at >= len(p.pattern) {
			return 0, false
		}
		c = p.pattern[p.at]
		p.at++
	}
	return c, true
}

// named takes [:name:] and kin.
func (p *globParser) named(mark byte) (string, bool) {
	rest := p.pattern[p.at:]
	if len(rest) < 2 || rest[0] != '[' || rest[1] != mark {
		return "", false
	}
	end := strings.Index(rest[2:], string([]byte{mark, ']'}))
	if end < 0 || mark == ':' && strings.Trim(rest[2:2+end], "abcdefghijklmnopqrstuvwxyz") != "" || mark == '=' && end != 1 {
		return "", false // the bracket stands for itself
	}
	p.at += end + 4
	return rest[2 : 2+end], true
}

// classes are the named ones, of ASCII.
var classes = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return isLetter(c) || isDigit(c) },
	"alpha":  isLetter,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  isDigit,
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"lower":  func(c byte) bool { return c >= 'a' && c <= 'z' },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !isLetter(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' },
	"upper":  func(c byte) bool { return c >= 'A' && c <= 'Z' },
	"xdigit": isHex,
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}
