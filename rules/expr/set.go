package expr

import (
	"slices"
	"strings"
)

// A set is several texts. Most texts that are not in it are told by their length or first byte; few texts are compared
// one by one, which costs less than a hash.
type set struct {
	lengths uint64 // a bit for each length, the last for all longer
	first   byteSet
	few     []string
	many    map[string]struct{}
}

func newSet(items []*Literal) *set {
	s := &set{}
	for _, item := range items {
		s.lengths |= 1 << min(len(item.Text), 63)
		if item.Text != "" {
			s.first.add(item.Text[0])
		}
		s.few = append(s.few, item.Text)
	}
	if len(items) > 4 {
		s.many = make(map[string]struct{}, len(items))
		for _, text := range s.few {
			s.many[text] = struct{}{}
		}
	}
	return s
}

func (s *set) has(text string) bool {
	if s.lengths&(1<<min(len(text), 63)) == 0 || text != "" && !s.first.has(text[0]) {
		return false
	}
	if s.many != nil {
		_, ok := s.many[text]
		return ok
	}
	for _, own := range s.few {
		if own == text {
			return true
		}
	}
	return false
}

// prefixes are several texts of which one must begin a text. None of them begins another, they are sorted, and from what
// all have in common the next byte says which are to be tried.
type prefixes struct {
	common string
	sorted []string    // without what they have in common
	from   [257]uint16 // where those with this first byte begin
	all    bool        // what they have in common is one of them
}

// maxPrefixes is how many the index can count.
const maxPrefixes = 1<<16 - 1

func newPrefixes(items []*Literal) *prefixes {
	p := &prefixes{}
	for _, item := range items {
		p.sorted = append(p.sorted, item.Text)
	}
	slices.Sort(p.sorted)
	p.common = commonPrefix(p.sorted[0], p.sorted[len(p.sorted)-1])
	p.all = p.common == p.sorted[0]
	short := p.sorted[:0]
	for _, text := range p.sorted {
		if text = text[len(p.common):]; text != "" && (len(short) == 0 || !strings.HasPrefix(text, short[len(short)-1])) {
			short = append(short, text)
		}
	}
	p.sorted = short
	for _, text := range p.sorted {
		p.from[int(text[0])+1]++
	}
	for i := range 256 {
		p.from[i+1] += p.from[i]
	}
	return p
}

func commonPrefix(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

func (p *prefixes) match(s string) bool {
	if len(s) < len(p.common) || s[:len(p.common)] != p.common {
		return false
	}
	if s = s[len(p.common):]; p.all || s == "" {
		return p.all
	}
	for _, text := range p.sorted[p.from[s[0]]:p.from[int(s[0])+1]] {
		if strings.HasPrefix(s, text) {
			return true
		}
	}
	return false
}
