package event

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type valueKind uint8

const (
	isNull valueKind = iota
	isBool
	isNumber
	isText
	isList
	isObject
)

// A value is one value of a JSON text, and where it is.
type value struct {
	above   *value
	key     string // in an object
	index   int    // in a list
	at      int    // first byte
	kind    valueKind
	text    string // of a text; digits of a number
	truth   bool
	members []*value // of an object or a list
}

// maxNesting bounds how deep objects and lists may stand in each other: more than any event needs.
const maxNesting = 16

// maxKeys bounds the keys of an object, of which each is compared with those before it.
const maxKeys = 4096

// parse reads the one JSON value that a text consists of.
func parse(raw []byte) (*value, error) {
	if !utf8.Valid(raw) {
		return nil, &FormError{At: invalidUTF8(raw), Text: "want text in UTF-8; write other bytes as {\"hex\": …}"}
	}
	p := &parser{raw: raw}
	v, err := p.value(&value{}, 0)
	if err != nil {
		return nil, err
	}
	if p.next() != 0 || p.at < len(raw) {
		return nil, &FormError{At: p.at, Text: "want nothing behind the event"}
	}
	return v, nil
}

func invalidUTF8(raw []byte) int {
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(raw)
}

// A parser reads JSON as encoding/json does, but keeps where each value is.
type parser struct {
	raw []byte
	at  int
}

// next passes blanks and returns what follows, 0 at the end.
func (p *parser) next() byte {
	for p.at < len(p.raw) && strings.IndexByte(" \t\r\n", p.raw[p.at]) >= 0 {
		p.at++
	}
	if p.at == len(p.raw) {
		return 0
	}
	return p.raw[p.at]
}

// fault says what was wanted where the parser is.
func (p *parser) fault(v *value, want string) error {
	e := &FormError{Path: v.path(), At: p.at}
	if p.at == len(p.raw) {
		e.Text = "the text ends within the event"
		return e
	}
	r, _ := utf8.DecodeRune(p.raw[p.at:])
	e.Text = fmt.Sprintf("not JSON: want %s, got %q", want, r)
	return e
}

// value reads the next value into v, which knows already what it stands in.
func (p *parser) value(v *value, depth int) (*value, error) {
	c := p.next()
	v.at = p.at
	var err error
	switch {
	case c == '{' || c == '[':
		if depth == maxNesting {
			return nil, v.fault("want at most %d objects and lists in each other", maxNesting)
		}
		p.at++
		if v.kind = isList; c == '{' {
			v.kind = isObject
		}
		err = p.within(v, depth+1)
	case c == '"':
		v.kind = isText
		v.text, err = p.text(v)
	case c == '-' || '0' <= c && c <= '9':
		v.kind = isNumber
		v.text, err = p.number(v)
	case p.word("true"), p.word("false"):
		v.kind, v.truth = isBool, c == 't'
	case p.word("null"):
	default:
		err = p.fault(v, "a value")
	}
	return v, err
}

func (p *parser) word(w string) bool {
	if !bytes.HasPrefix(p.raw[p.at:], []byte(w)) {
		return false
	}
	p.at += len(w)
	return true
}

// number reads the digits of a number, and what may stand among them.
func (p *parser) number(v *value) (string, error) {
	begin := p.at
	for p.at < len(p.raw) && strings.IndexByte("+-.0123456789Ee", p.raw[p.at]) >= 0 {
		p.at++
	}
	if !json.Valid(p.raw[begin:p.at]) {
		return "", v.fault("not JSON: %s is no number", p.raw[begin:p.at])
	}
	return string(p.raw[begin:p.at]), nil
}

// text reads a string.
func (p *parser) text(v *value) (s string, err error) {
	begin := p.at
	plain := true
	for p.at++; p.at < len(p.raw) && p.raw[p.at] != '"'; p.at++ {
		if p.raw[p.at] < ' ' {
			return "", p.fault(v, "no control character in a text")
		}
		if p.raw[p.at] == '\\' && p.at+1 < len(p.raw) {
			plain = false
			p.at++
		}
	}
	if p.at == len(p.raw) {
		return "", p.fault(v, "")
	}
	p.at++
	if plain {
		return string(p.raw[begin+1 : p.at-1]), nil
	}
	if json.Unmarshal(p.raw[begin:p.at], &s) != nil {
		return "", v.fault("not JSON: the text %s has a backslash that stands for nothing", p.raw[begin:p.at])
	}
	return s, nil
}

// within reads the members of an object or a list, and its end.
func (p *parser) within(v *value, depth int) error {
	end := byte(']')
	if v.kind == isObject {
		end = '}'
	}
	for {
		if c := p.next(); c == end && len(v.members) == 0 {
			break
		}
		m := &value{above: v, index: len(v.members)}
		if v.kind == isObject {
			if err := p.key(v, m); err != nil {
				return err
			}
		}
		if _, err := p.value(m, depth); err != nil {
			return err
		}
		if v.kind == isObject && v.member(m.key) != nil {
			return m.fault("given twice")
		}
		if v.kind == isObject && len(v.members) == maxKeys {
			return m.fault("want at most %d keys", maxKeys)
		}
		v.members = append(v.members, m)
		c := p.next()
		if c == end {
			break
		}
		if c != ',' {
			return p.fault(v, "a comma or "+string(end))
		}
		p.at++
	}
	p.at++
	return nil
}

// key reads the key of a member of an object, and the colon.
func (p *parser) key(v, m *value) (err error) {
	if p.next() != '"' {
		return p.fault(v, "a key")
	}
	if m.key, err = p.text(v); err != nil {
		return err
	}
	if p.next() != ':' {
		return p.fault(v, "a colon")
	}
	p.at++
	return nil
}

// member returns what an object has under a key, nil if it has not.
func (v *value) member(key string) *value {
	for _, m := range v.members {
		if m.key == key {
			return m
		}
	}
	return nil
}

func (v *value) has(key string) bool { return v != nil && v.kind == isObject && v.member(key) != nil }

// path names the keys that lead to the value.
func (v *value) path() string {
	if v.above == nil {
		return ""
	}
	above := v.above.path()
	switch {
	case v.above.kind == isList:
		return above + "[" + strconv.Itoa(v.index) + "]"
	case above == "":
		return v.key
	}
	return above + "." + v.key
}

func (v *value) fault(format string, args ...any) error {
	return &FormError{Path: v.path(), At: v.at, Text: fmt.Sprintf(format, args...)}
}

func (v *value) wrong(want string) error { return v.fault("want %s, got %s", want, v) }

// String shows the value in a message.
func (v *value) String() string {
	switch v.kind {
	case isBool:
		return strconv.FormatBool(v.truth)
	case isNumber:
		return v.text
	case isText:
		if len(v.text) > 60 {
			return strconv.Quote(strings.ToValidUTF8(v.text[:60], "")) + "…"
		}
		return strconv.Quote(v.text)
	case isList:
		return "a list"
	case isObject:
		return "an object"
	}
	return "null"
}

// asText reads a text: a string, or {"hex": …} for what is not UTF-8.
func (v *value) asText() (string, error) {
	if v.kind == isText {
		return v.text, nil
	}
	if v.kind == isObject && len(v.members) == 1 && v.members[0].key == "hex" {
		b, err := v.members[0].asHex()
		return string(b), err
	}
	return "", v.wrong("a text")
}

func (v *value) asHex() ([]byte, error) {
	b, err := hex.DecodeString(v.text)
	if v.kind != isText || err != nil {
		return nil, v.wrong("hexadecimal digits")
	}
	return b, nil
}

func (v *value) asTexts() ([]string, error) {
	if v.kind != isList {
		return nil, v.wrong("a list of texts")
	}
	texts := make([]string, 0, len(v.members))
	for _, m := range v.members {
		s, err := m.asText()
		if err != nil {
			return nil, err
		}
		texts = append(texts, s)
	}
	return texts, nil
}

func (v *value) asTruth() (bool, error) {
	if v.kind != isBool {
		return false, v.wrong("true or false")
	}
	return v.truth, nil
}

// asUint reads a number from 0 to limit.
func (v *value) asUint(limit uint64) (uint64, error) {
	n, err := strconv.ParseUint(v.text, 10, 64)
	if v.kind != isNumber || err != nil || n > limit {
		return 0, v.wrong("a whole number from 0 to " + strconv.FormatUint(limit, 10))
	}
	return n, nil
}

func (v *value) asInt(least, most int64) (int64, error) {
	n, err := strconv.ParseInt(v.text, 10, 64)
	if v.kind != isNumber || err != nil || n < least || n > most {
		return 0, v.wrong(fmt.Sprintf("a whole number from %d to %d", least, most))
	}
	return n, nil
}

// asID reads the number of a user, a group or a process; -1 stands for 4294967295, which is nobody.
func (v *value) asID() (uint32, error) {
	n, err := strconv.ParseInt(v.text, 10, 64)
	if v.kind != isNumber || err != nil || n < -1 || n > 1<<32-1 {
		return 0, v.wrong("a number from 0 to 4294967295, or -1")
	}
	return uint32(n), nil
}

// asTime reads a time as Unix nanoseconds.
func (v *value) asTime() (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, v.text)
	if v.kind != isText || err != nil || t.Before(time.Unix(0, 0)) || t.Year() > 2261 {
		return 0, v.wrong("a time such as 2026-01-31T12:00:00.5Z, from 1970 to 2261")
	}
	return t.UnixNano(), nil
}

// asOneOf reads one of some names, and returns which.
func (v *value) asOneOf(names []string) (int, error) {
	if v.kind != isText {
		return 0, v.wrong("one of " + strings.Join(names, ", "))
	}
	if i := slices.Index(names, v.text); i >= 0 {
		return i, nil
	}
	if near := nearest(v.text, names); near != "" {
		return 0, v.fault("unknown %q (%s?)", v.text, near)
	}
	return 0, v.wrong("one of " + strings.Join(names, ", "))
}
