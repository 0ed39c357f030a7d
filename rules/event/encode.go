package event

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// AppendRecord appends the event in the form that Decode reads, as one line without its end: rules find in what is read
// back what they find in the event. Command lines and environments pass redact first; nil leaves them as they are. Control
// groups are nothing that rules ask for and have no such form: of them it appends nothing.
func (ev *Event) AppendRecord(to []byte, redact func([]string) []string) []byte {
	if ev.Type == TypeNone {
		return to
	}
	if redact == nil {
		redact = func(words []string) []string { return words }
	}
	return appendKeys(to, &form{ev: ev, redact: redact}, eventKeys)
}

// appendKeys writes an object by its rows.
func appendKeys[T any](to []byte, from *T, keys []key[T]) []byte {
	begin := len(to)
	for i := range keys {
		k := &keys[i]
		if k.write == nil {
			continue
		}
		mark := len(to)
		to = append(append(append(to, `,"`...), k.name...), `":`...)
		value := len(to)
		if to = k.write(from, to); len(to) == value {
			to = to[:mark]
		}
	}
	if len(to) == begin {
		return append(to, "{}"...)
	}
	to[begin] = '{'
	return append(to, '}')
}

func appendUint(to []byte, n uint64) []byte { return strconv.AppendUint(to, n, 10) }

func appendInt(to []byte, n int64) []byte { return strconv.AppendInt(to, n, 10) }

func appendUnless(to []byte, n, usual uint64) []byte {
	if n == usual {
		return to
	}
	return appendUint(to, n)
}

func appendTruth(to []byte, is, usual bool) []byte {
	if is == usual {
		return to
	}
	return strconv.AppendBool(to, is)
}

func appendTime(to []byte, unix int64) []byte {
	return append(time.Unix(0, unix).UTC().AppendFormat(append(to, '"'), time.RFC3339Nano), '"')
}

func appendUnixTime(to []byte, unix uint64) []byte { return appendTime(to, int64(unix)) }

// appendText writes a text; one that is not UTF-8 as its bytes.
func appendText(to []byte, s string) []byte {
	if !utf8.ValidString(s) {
		return append(hex.AppendEncode(append(to, `{"hex":"`...), []byte(s)), `"}`...)
	}
	to = append(to, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c == '\n':
			to = append(to, `\n`...)
		case c == '\t':
			to = append(to, `\t`...)
		case c < ' ' || c == 0x7f:
			to = append(to, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			to = append(to, c)
		}
	}
	return append(to, '"')
}

func appendTexts(to []byte, texts []string) []byte {
	to = append(to, '[')
	for i, s := range texts {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendText(to, s)
	}
	return append(to, ']')
}

func appendLabels(to []byte, labels map[string]string) []byte {
	if len(labels) == 0 {
		return to
	}
	begin := len(to)
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		to = appendText(append(appendText(append(to, ','), strings.ToValidUTF8(name, "\ufffd")), ':'), labels[name])
	}
	to[begin] = '{'
	return append(to, '}')
}
