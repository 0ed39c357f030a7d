package rules

import "strings"

// A texts finds which of several texts another one is, begins with, ends with or holds, in one pass for each way. To each
// belongs a set of bits.
type texts struct {
	forth, back *trie // nil where there are none
	parts       *parts
}

// A way is how a text must stand in another one.
type way uint8

const (
	whole way = iota
	prefix
	suffix
	inside
	number // none: the value is a number
)

func (t *texts) add(w way, text string, bits []uint64) {
	switch w {
	case whole, prefix:
		t.forth = t.forth.add(text, false, w == whole, bits)
	case suffix:
		t.back = t.back.add(text, true, false, bits)
	case inside:
		if t.parts == nil {
			t.parts = &parts{}
		}
		t.parts.add(text, bits)
	}
}

// ready is called once all are added.
func (t *texts) ready() {
	if t.forth != nil {
		t.forth.spread(nil)
	}
	if t.back != nil {
		t.back.spread(nil)
	}
}

// find sets the bits of all that stand in a text.
func (t *texts) find(text string, set []uint64) {
	if t.forth != nil {
		include(set, t.forth.find(text))
	}
	if t.back != nil {
		include(set, t.back.findBack(text))
	}
	if t.parts != nil {
		t.parts.find(text, set)
	}
}

func include(set, bits []uint64) {
	for i, b := range bits {
		set[i] |= b
	}
}

// A trie is a tree of texts: each node is one byte and those that follow it alone, its edge.
type trie struct {
	edge    string
	begins  []uint64 // bits of what a text that leads here begins with
	is      []uint64 // bits of what a text that ends here is; both are nil or have what belongs to shorter ones too
	next    string   // first bytes of the edges of the nodes below
	below   []*trie
	reverse bool
}

// add puts a text in, and returns the root. A reversed trie has its texts from the end on.
func (t *trie) add(text string, reverse, whole bool, bits []uint64) *trie {
	if t == nil {
		t = &trie{reverse: reverse}
	}
	if reverse {
		text = reversed(text)
	}
	node := t.reach(text)
	if whole {
		node.is = union64(node.is, bits)
	} else {
		node.begins = union64(node.begins, bits)
	}
	return t
}

func reversed(s string) string {
	b := make([]byte, len(s))
	for i := range len(s) {
		b[len(s)-1-i] = s[i]
	}
	return string(b)
}

func union64(a, b []uint64) []uint64 {
	if a == nil {
		a = make([]uint64, len(b))
	}
	include(a, b)
	return a
}

// reach returns the node that a text leads to; it makes what is missing on the way.
func (t *trie) reach(text string) *trie {
	if text == "" {
		return t
	}
	i := strings.IndexByte(t.next, text[0])
	if i < 0 {
		node := &trie{edge: text}
		t.next, t.below = t.next+text[:1], append(t.below, node)
		return node
	}
	node := t.below[i]
	n := 0
	for n < len(text) && n < len(node.edge) && text[n] == node.edge[n] {
		n++
	}
	if n < len(node.edge) { // they part within the edge
		upper := &trie{edge: node.edge[:n], next: node.edge[n : n+1], below: []*trie{node}}
		node.edge = node.edge[n:]
		t.below[i], node = upper, upper
	}
	return node.reach(text[n:])
}

// spread gives every node what belongs to those above it.
func (t *trie) spread(above []uint64) {
	if above != nil {
		t.begins = union64(t.begins, above)
	}
	if t.begins != nil {
		t.is = union64(t.is, t.begins)
	}
	for _, node := range t.below {
		node.spread(t.begins)
	}
}

// find returns the bits of what a text is or begins with.
func (t *trie) find(text string) []uint64 {
	for {
		if text == "" {
			return t.is
		}
		i := strings.IndexByte(t.next, text[0])
		if i < 0 {
			return t.begins
		}
		node := t.below[i]
		if len(text) < len(node.edge) || text[:len(node.edge)] != node.edge {
			return t.begins
		}
		t, text = node, text[len(node.edge):]
	}
}

// findBack returns the bits of what a text ends with, in a reversed trie.
func (t *trie) findBack(text string) []uint64 {
	for {
		if text == "" {
			return t.is
		}
		i := strings.IndexByte(t.next, text[len(text)-1])
		if i < 0 {
			return t.begins
		}
		node := t.below[i]
		if !endsReversed(text, node.edge) {
			return t.begins
		}
		t, text = node, text[:len(text)-len(node.edge)]
	}
}

func endsReversed(text, edge string) bool {
	if len(text) < len(edge) {
		return false
	}
	for i := range len(edge) {
		if text[len(text)-1-i] != edge[i] {
			return false
		}
	}
	return true
}

// partBytes is how many bytes of each part are looked for at every place of a text. A shorter part is none.
const partBytes = 4

// Bits of a hash of partBytes, and how many such hashes there are.
const (
	partShift = 32 - 12
	partSlots = 1 << 12
)

// parts finds texts within another one, whatever their case: of each it looks for its last bytes, by a hash that few other
// bytes have.
type parts struct {
	slots [partSlots / 64]uint64
	held  map[uint32][]held // by the hash
}

// held is one part: what it has before its last bytes, and its bits.
type held struct {
	text string
	bits []uint64
}

// lowers makes letters lower-case, and of a few other characters one of two.
const lowers = 0x20202020

func hashPart(s string) uint32 {
	_ = s[partBytes-1]
	w := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
	return (w | lowers) * 0x9e3779b1 >> partShift
}

func (p *parts) add(text string, bits []uint64) {
	if p.held == nil {
		p.held = map[uint32][]held{}
	}
	h := hashPart(text[len(text)-partBytes:])
	p.slots[h/64] |= 1 << (h % 64)
	p.held[h] = append(p.held[h], held{text, bits})
}

func (p *parts) find(text string, set []uint64) {
	for end := partBytes; end <= len(text); end++ {
		h := hashPart(text[end-partBytes : end])
		if p.slots[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, x := range p.held[h] {
			if len(x.text) <= end && sameLetters(text[end-len(x.text):end], x.text) {
				include(set, x.bits)
			}
		}
	}
}

// sameLetters compares texts of the same length regardless of the case of ASCII letters.
func sameLetters(a, b string) bool {
	for i := range len(b) {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}
