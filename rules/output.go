package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// notAvailable stands in texts for a value that is absent.
const notAvailable = "<NA>"

// A Format is an output text, ready to be filled from records: text with fields like %proc.name and transformers like
// %tolower(proc.name), each perhaps with a width.
type Format struct {
	parts    []formatPart
	warnings []expr.Warning // of fields that are deprecated; their offset is that of the percent sign
}

type formatPart struct {
	literal string // before the value
	name    string // of the value as it is written, empty in the last part
	width   int    // 0: as long as it is
	operand expr.Operand
	value   expr.Reader[Record]
}

// NewFormat reads an output text. A star at its head, which asks to write the text even where a value is absent, is left
// out, since all are. An error is an *expr.CheckError whose offset is that of the percent sign.
func NewFormat(l *expr.Language[Record], text string) (*Format, error) {
	f := &Format{}
	literal, at := strings.Builder{}, len(text)-len(strings.TrimPrefix(text, "*"))
	for at < len(text) {
		next := strings.IndexByte(text[at:], '%')
		if next < 0 {
			break
		}
		literal.WriteString(text[at : at+next])
		at += next
		part, n, err := readToken(l, text[at:])
		if err != nil {
			return nil, shifted(err, at)
		}
		for _, w := range l.Deprecated(part.operand) {
			w.Offset = at
			f.warnings = append(f.warnings, w)
		}
		part.literal = literal.String()
		literal.Reset()
		f.parts = append(f.parts, part)
		at += n
	}
	literal.WriteString(text[at:])
	f.parts = append(f.parts, formatPart{literal: literal.String()})
	return f, nil
}

func shifted(err error, by int) error {
	var check *expr.CheckError
	if !errors.As(err, &check) {
		return &expr.CheckError{Offset: by, Message: err.Error()}
	}
	moved := *check
	moved.Offset = by
	return &moved
}

// readToken reads what a percent sign begins, and returns how long it is.
func readToken(l *expr.Language[Record], text string) (p formatPart, n int, err error) {
	n = 1
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	if n > 1 {
		if p.width, err = strconv.Atoi(text[1:n]); err != nil || p.width > maxWidth {
			return p, n, fmt.Errorf("invalid formatting token %s: want a width of at most %d", firstWord(text), maxWidth)
		}
	}
	rest := text[n:]
	if rest == "" {
		return p, n, errors.New("invalid formatting syntax: formatting cannot end with a %")
	}
	var length int
	if p.operand, length = longestOperand(l, rest); p.operand == nil {
		return p, n, unknownToken(l, rest)
	}
	p.name = rest[:length]
	p.value, err = l.Reader(p.operand)
	return p, n + length, err
}

// maxWidth bounds how wide a value may be asked for.
const maxWidth = 4096

func firstWord(text string) string {
	if i := strings.IndexAny(text, " \t\n"); i > 0 {
		return text[:i]
	}
	return text
}

func unknownToken(l *expr.Language[Record], rest string) error {
	word := rest[:nameLength(rest)]
	message := fmt.Sprintf("invalid formatting token %s", firstWord(rest))
	if operand, err := expr.ParseOperand(word); err == nil {
		if _, err := l.Reader(operand); err != nil {
			message += ": " + err.Error()
		}
	}
	return &expr.CheckError{Message: message, UnknownField: true}
}

func nameLength(text string) int {
	n := 0
	for n < len(text) && (text[n] == '.' || text[n] == '_' || text[n] >= '0' && text[n] <= '9' || text[n]|0x20 >= 'a' && text[n]|0x20 <= 'z') {
		n++
	}
	return n
}

// longestOperand finds the longest text that is a transformer or a field that is known, with its argument.
func longestOperand(l *expr.Language[Record], text string) (expr.Operand, int) {
	name := nameLength(text)
	if name < len(text) && text[name] == '(' {
		if end := closing(text, name, '(', ')'); end > 0 {
			end = withBrackets(text, end)
			if o, err := expr.ParseOperand(text[:end]); err == nil {
				return o, end
			}
		}
	}
	for n := name; n > 0; n-- {
		if n == name {
			if end := withBrackets(text, n); end > n {
				if o := known(l, text[:end]); o != nil {
					return o, end
				}
			}
		}
		if o := known(l, text[:n]); o != nil {
			return o, n
		}
	}
	return nil, 0
}

func known(l *expr.Language[Record], text string) expr.Operand {
	o, err := expr.ParseOperand(text)
	if err != nil {
		return nil
	}
	var check *expr.CheckError
	if _, err := l.Reader(o); errors.As(err, &check) && check.UnknownField {
		return nil
	}
	return o
}

// withBrackets returns where an argument in brackets ends that begins at n, n if there is none.
func withBrackets(text string, n int) int {
	if n < len(text) && text[n] == '[' {
		if end := closing(text, n, '[', ']'); end > 0 {
			return end
		}
	}
	return n
}

// closing returns what follows the bracket that closes the one at begin, 0 if none does. Brackets within quotes do not count.
func closing(text string, begin int, open, shut byte) int {
	depth, quote := 0, byte(0)
	for i := begin; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == open:
			depth++
		case c == shut:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// Append appends the text for a record. Absent values are <NA>; control characters of values are escaped.
func (f *Format) Append(to []byte, r *Record) []byte {
	for i := range f.parts {
		p := &f.parts[i]
		to = append(to, p.literal...)
		if p.name == "" {
			continue
		}
		begin := len(to)
		var ok bool
		if to, ok = p.value.Append(r, to); !ok {
			to = append(to[:begin], notAvailable...)
		}
		to = escapeControls(to, begin)
		to = p.fit(to, begin)
	}
	return to
}

// fit makes what begins at begin as wide as was asked for.
func (p *formatPart) fit(to []byte, begin int) []byte {
	if p.width == 0 {
		return to
	}
	for len(to)-begin < p.width {
		to = append(to, ' ')
	}
	return to[:begin+p.width]
}

// escapeControls replaces control characters from begin on, as a terminal or a log reader may obey them.
func escapeControls(to []byte, begin int) []byte {
	clean := true
	for _, c := range to[begin:] {
		if c < ' ' || c == 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return to
	}
	value := string(to[begin:])
	to = to[:begin]
	for i := range len(value) {
		switch c := value[i]; {
		case c == '\n':
			to = append(to, `\n`...)
		case c == '\r':
			to = append(to, `\r`...)
		case c == '\t':
			to = append(to, `\t`...)
		case c < ' ' || c == 0x7f:
			to = append(to, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			to = append(to, c)
		}
	}
	return to
}

const hexDigits = "0123456789abcdef"

// AppendFields appends the values of a record by their names, each once.
func (f *Format) AppendFields(to []event.HitField, r *Record) []event.HitField {
	for i := range f.parts {
		if p := &f.parts[i]; p.name != "" && !hasField(to, p.name) {
			to = append(to, event.HitField{Name: p.name, Value: p.value.Value(r)})
		}
	}
	return to
}

func hasField(fields []event.HitField, name string) bool {
	for i := range fields {
		if fields[i].Name == name {
			return true
		}
	}
	return false
}

// value is the field that is all of the text, as it is, or else the text.
func (f *Format) value(r *Record) any {
	if len(f.parts) == 2 && f.parts[0].literal == "" && f.parts[1].literal == "" {
		return f.parts[0].value.Value(r)
	}
	return string(f.Append(nil, r))
}
