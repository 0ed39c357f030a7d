package rules

import "slices"

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
		t.forth = t.forth.add(text, w == whole, bits)
	case suffix:
		t.back = t.back.add(reversed(text), false, bits)
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
	edge   string
	begins []uint64 // bits of what a text that leads here begins with
	is     []uint64 // bits of what a text that ends here is; both are nil or have what belongs to shorter ones too
	below  []*trie
	at     *[256]uint16 // where below a byte leads to, counted from 1; nil where there are fewer than two
}

// node is where a byte leads to, nil for nowhere.
func (t *trie) node(c byte) *trie {
	if t.at != nil {
		if i := t.at[c]; i > 0 {
			return t.below[i-1]
		}
		return nil
	}
	if len(t.below) == 0 || t.below[0].edge[0] != c {
		return nil
	}
	return t.below[0]
}

// add puts a text in, and returns the root.
func (t *trie) add(text string, whole bool, bits []uint64) *trie {
	if t == nil {
		t = &trie{}
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
	b := []byte(s)
	slices.Reverse(b)
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
	node := t.node(text[0])
	if node == nil {
		return t.put(&trie{edge: text})
	}
	n := 0
	for n < len(text) && n < len(node.edge) && text[n] == node.edge[n] {
		n++
	}
	if n < len(node.edge) { // they part within the edge
		upper := &trie{edge: node.edge[:n]}
		t.below[slices.Index(t.below, node)] = upper
		node.edge = node.edge[n:]
		upper.put(node)
		node = upper
	}
	return node.reach(text[n:])
}

func (t *trie) put(node *trie) *trie {
	t.below = append(t.below, node)
	if len(t.below) == 2 {
		t.at = new([256]uint16)
		t.at[t.below[0].edge[0]] = 1
	}
	if t.at != nil {
		t.at[node.edge[0]] = uint16(len(t.below))
	}
	return node
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
	for text != "" {
		node := t.node(text[0])
		if node == nil || len(text) < len(node.edge) || text[:len(node.edge)] != node.edge {
			return t.begins
		}
		t, text = node, text[len(node.edge):]
	}
	return t.is
}

// findBack returns the bits of what a text ends with, in a trie of reversed texts.
func (t *trie) findBack(text string) []uint64 {
	for text != "" {
		node := t.node(text[len(text)-1])
		if node == nil || !endsReversed(text, node.edge) {
			return t.begins
		}
		t, text = node, text[:len(text)-len(node.edge)]
	}
	return t.is
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
