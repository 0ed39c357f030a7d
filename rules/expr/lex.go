package expr

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A SyntaxError says what a condition should have had at a place of its text.
type SyntaxError struct {
	Offset  int // bytes
	Message string
}

func (e *SyntaxError) Error() string { return e.Message }

// reader walks over the text of a condition. Blanks are those of the language.
type reader struct {
	text string
	at   int
}

func (r *reader) fail(at int, format string, args ...any) error {
	return &SyntaxError{Offset: at, Message: fmt.Sprintf(format, args...)}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\b' }

func (r *reader) skip() {
	for r.at < len(r.text) && isBlank(r.text[r.at]) {
		r.at++
	}
}

func (r *reader) end() bool { return r.at >= len(r.text) }

// peek returns the next byte, 0 at the end.
func (r *reader) peek() byte {
	if r.end() {
		return 0
	}
	return r.text[r.at]
}

// take moves past a byte if it is the next one.
func (r *reader) take(c byte) bool {
	if r.peek() != c || r.end() {
		return false
	}
	r.at++
	return true
}

// found quotes what stands here, for messages.
func (r *reader) found() string {
	if r.end() {
		return "the end"
	}
	rest := r.text[r.at:]
	if i := strings.IndexAny(rest[1:], " \t\n\r\b"); isBlank(rest[0]) {
		rest = rest[:1]
	} else if i >= 0 {
		rest = rest[:i+1]
	}
	return fmt.Sprintf("%q", shorten(rest, 40))
}

// shorten cuts a text after a number of bytes, between characters.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }

// word takes a keyword, an identifier or nothing: letters, digits and underscores, beginning with a letter.
func (r *reader) word() string {
	begin := r.at
	if !isLetter(r.peek()) {
		return ""
	}
	for !r.end() && isWord(r.text[r.at]) {
		r.at++
	}
	return r.text[begin:r.at]
}

// keyword takes a word if it is that one, and followed by what may follow a keyword.
func (r *reader) keyword(want string) bool {
	begin := r.at
	if strings.HasPrefix(r.text[r.at:], want) {
		r.at += len(want)
		if c := r.peek(); r.end() || isBlank(c) || c == '(' || c == ')' {
			return true
		}
	}
	r.at = begin
	return false
}

// quoted takes a string between quotes, and undoes its escapes.
func (r *reader) quoted() (string, error) {
	begin := r.at
	quote := r.text[r.at]
	r.at++
	var b strings.Builder
	for {
		switch c := r.peek(); {
		case r.end():
			return "", r.fail(begin, "unterminated string: want a closing %c", quote)
		case c == 0:
			return "", r.fail(r.at, "a NUL cannot stand in a string")
		case c == quote:
			r.at++
			return b.String(), nil
		case c == '\\':
			if err := r.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			r.at++
		}
	}
}

var escapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', ' ': '\\', '\\': '\\', '/': '/', '"': '"', '\'': '\''}

func (r *reader) escape(b *strings.Builder) error {
	begin := r.at
	r.at++
	if r.end() {
		return nil // quoted finds that the string does not end
	}
	c := r.peek()
	if plain, ok := escapes[c]; ok {
		b.WriteByte(plain)
		r.at++
		return nil
	}
	if c != 'x' {
		char, _ := utf8.DecodeRuneInString(r.text[r.at:])
		return r.fail(begin, "unknown escape \\%c: want one of \\b \\f \\n \\r \\t \\\\ \\/ \\\" \\' \\xHH", char)
	}
	if r.at+2 >= len(r.text) || !isHex(r.text[r.at+1]) || !isHex(r.text[r.at+2]) {
		return r.fail(begin, "\\x wants two hexadecimal digits")
	}
	v := unhex(r.text[r.at+1])<<4 | unhex(r.text[r.at+2])
	if v == 0 {
		return r.fail(begin, "a NUL cannot stand in a string")
	}
	b.WriteByte(v)
	r.at += 3
	return nil
}

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// bare takes a value without quotes. A NUL ends it, and is then unexpected.
func (r *reader) bare() string {
	begin := r.at
	for !r.end() && !isBlank(r.text[r.at]) && strings.IndexByte("(),=\"'\x00", r.text[r.at]) < 0 {
		r.at++
	}
	return r.text[begin:r.at]
}

// IsIdentifier says whether a text can be the name of a macro: letters, digits and underscores, beginning with a letter.
func IsIdentifier(text string) bool {
	r := reader{text: text}
	return text != "" && r.word() == text
}

// isNumber says whether a text is a hexadecimal, decimal or floating-point number.
func isNumber(text string) bool {
	if hex, ok := cutHex(text); ok {
		return hex != "" && strings.Trim(hex, "0123456789abcdefABCDEF") == ""
	}
	mantissa, exponent, e := cutAny(unsign(text), "eE")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	return whole != "" && areDigits(whole) && areDigits(fraction) && (!e || unsign(exponent) != "" && areDigits(unsign(exponent)))
}

// cutHex takes 0x off a hexadecimal number, which has no sign.
func cutHex(text string) (digits string, ok bool) {
	if len(text) >= 2 && text[0] == '0' && text[1]|0x20 == 'x' {
		return text[2:], true
	}
	return text, false
}

func cutAny(text, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}

// unsign takes the sign off a number.
func unsign(text string) string {
	if text != "" && (text[0] == '+' || text[0] == '-') {
		return text[1:]
	}
	return text
}

func areDigits(text string) bool { return strings.Trim(text, "0123456789") == "" }
