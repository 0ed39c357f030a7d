package rules

import (
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// A passage is text that was put together, such as a condition with what was appended to it and the items of lists, and
// knows where in the files each part of it stands.
type passage struct {
	text  string
	parts []part
}

// A part begins at an offset of a passage and ends where the next begins. It is the text of a scalar from an offset on, or
// stands for the scalar as a whole.
type part struct {
	from   *yamlNode
	begin  int32
	offset int32 // -1: as a whole
}

// passageOf is the text of a scalar.
func passageOf(n *yamlNode) passage {
	return passage{text: n.text, parts: []part{{from: n}}}
}

// A passageBuilder puts a passage together.
type passageBuilder struct {
	text  strings.Builder
	parts []part
}

func (b *passageBuilder) passage() passage { return passage{b.text.String(), b.parts} }

func (b *passageBuilder) part(from *yamlNode, offset int32) {
	b.parts = append(b.parts, part{from, int32(b.text.Len()), offset})
}

// write appends text that stands for a scalar as a whole.
func (b *passageBuilder) write(text string, from *yamlNode) {
	b.part(from, -1)
	b.text.WriteString(text)
}

// verbatim appends the text of a scalar.
func (b *passageBuilder) verbatim(n *yamlNode) {
	b.part(n, 0)
	b.text.WriteString(n.text)
}

// copy appends a piece of another passage.
func (b *passageBuilder) copy(p *passage, begin, end int) {
	if begin >= end {
		return
	}
	if len(p.parts) > 0 {
		parts := p.parts[p.partAt(begin) : p.partAt(end-1)+1]
		b.parts = slices.Grow(b.parts, len(parts))
		for _, piece := range parts {
			if piece.offset >= 0 {
				piece.offset += max(int32(begin)-piece.begin, 0)
			}
			piece.begin = int32(b.text.Len()) + max(piece.begin-int32(begin), 0)
			b.parts = append(b.parts, piece)
		}
	}
	b.text.WriteString(p.text[begin:end])
}

func (p *passage) partAt(offset int) int {
	return max(sort.Search(len(p.parts), func(i int) bool { return int(p.parts[i].begin) > offset })-1, 0)
}

// then is the passage with another one behind it, after a blank.
func (p passage) then(more passage) passage {
	if len(p.parts) == 0 {
		return more
	}
	var b passageBuilder
	b.copy(&p, 0, len(p.text))
	b.text.WriteByte(' ')
	b.copy(&more, 0, len(more.text))
	return b.passage()
}

// trim is the passage without blanks at its ends.
func (p passage) trim() passage {
	left := len(p.text) - len(strings.TrimLeft(p.text, " \t\n\r\v\f"))
	right := len(strings.TrimRight(p.text, " \t\n\r\v\f"))
	var b passageBuilder
	b.copy(&p, left, right)
	return b.passage()
}

// without is the passage with all occurrences of a text taken out, and where they stood in the file.
func (p passage) without(text string) (rest passage, at []origin) {
	var b passageBuilder
	done := 0
	for {
		i := strings.Index(p.text[done:], text)
		if i < 0 {
			break
		}
		at = append(at, p.origin(done+i))
		b.copy(&p, done, done+i)
		done += i + len(text)
	}
	if len(at) == 0 {
		return p, nil
	}
	b.copy(&p, done, len(p.text))
	return b.passage(), at
}

// An origin is a place in a file.
type origin struct {
	file *rulesFile
	at   int
}

// origin returns where a byte of the passage stands.
func (p *passage) origin(offset int) origin {
	if len(p.parts) == 0 {
		return origin{}
	}
	piece := p.parts[p.partAt(offset)]
	if piece.offset < 0 {
		return origin{piece.from.file, piece.from.at}
	}
	return origin{piece.from.file, piece.from.offset(int(piece.offset) + offset - int(piece.begin))}
}

// offset returns where the i-th byte of a scalar's text stands in its file. The text and what it was read from are walked
// side by side: between them only blanks, line ends and escapes differ.
func (n *yamlNode) offset(i int) int {
	src, at, quote := n.file.text, n.at, byte(0)
	if at >= len(src) {
		return len(src)
	}
	switch src[at] {
	case '"', '\'':
		quote = src[at]
		at++
	case '|', '>':
		if end := strings.IndexByte(src[at:], '\n'); end >= 0 {
			at += end + 1
		}
	}
	i = min(i, len(strings.TrimRight(n.text, " \t\r\n")))
	for k := 0; k < len(n.text) && at < len(src); {
		if k >= i && isYAMLBlank(n.text[k]) {
			return at
		}
		width, made := step(src, &at, quote, n.text[k])
		if k+made > i {
			return at
		}
		at += width
		k += made
	}
	return min(at, len(src))
}

func isYAMLBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// step moves to what the next byte of a scalar's text was read from, and returns how long that is, and of how many bytes of
// the text.
func step(src string, at *int, quote, next byte) (width, made int) {
	if isYAMLBlank(next) && (quote != '"' || *at >= len(src) || src[*at] != '\\') {
		if *at < len(src) && src[*at] == next {
			return 1, 1
		}
		return 0, 1
	}
	for {
		for *at < len(src) && isYAMLBlank(src[*at]) {
			*at++
		}
		if quote != '"' || *at+1 >= len(src) || src[*at] != '\\' || src[*at+1] != '\n' {
			break
		}
		*at += 2 // a line that goes on
	}
	switch {
	case *at+1 >= len(src):
		return 1, 1
	case quote == '"' && src[*at] == '\\':
		return escapeWidth(src[*at:])
	case quote == '\'' && src[*at] == '\'':
		return 2, 1
	}
	return 1, 1
}

// escapeWidth returns how long an escape in double quotes is, and how many bytes it stands for.
func escapeWidth(src string) (width, made int) {
	switch src[1] {
	case 'x':
		width = 4
	case 'u':
		width = 6
	case 'U':
		width = 10
	case 'N', '_':
		return 2, 2
	case 'L', 'P':
		return 2, 3
	default:
		return 2, 1
	}
	if width > len(src) {
		return 2, 1
	}
	var r rune
	for _, c := range src[2:width] {
		r = r<<4 | rune(hexValue(c))
	}
	return width, max(utf8.RuneLen(r), 1)
}

func hexValue(c rune) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return 0
}
