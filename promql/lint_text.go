package promql

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/limit"
)

// Bounds of what is read: files beyond are no rule files or dashboards that somebody wrote.
const (
	maxLintBytes = 16 << 20
	maxLintDepth = 60
	maxLintNodes = 1 << 20
)

// A lintText is a text in which offsets can be told as lines and columns.
type lintText struct {
	text   string
	begins []int // offset of each line
}

func newLintText(text string) lintText {
	t := lintText{text: text, begins: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			t.begins = append(t.begins, i+1)
		}
	}
	return t
}

// position returns line and column of an offset, both from 1; the column counts characters.
func (t lintText) position(at int) (line, column int) {
	at = min(max(at, 0), len(t.text))
	i, found := slices.BinarySearch(t.begins, at)
	if !found {
		i--
	}
	return i + 1, utf8.RuneCountInString(t.text[t.begins[i]:at]) + 1
}

// offset is the reverse of position.
func (t lintText) offset(line, column int) int {
	if line < 1 || line > len(t.begins) {
		return len(t.text)
	}
	at := t.begins[line-1]
	for ; column > 1 && at < len(t.text) && t.text[at] != '\n'; column-- {
		_, size := utf8.DecodeRuneInString(t.text[at:])
		at += size
	}
	return at
}

// A lintNode is a value of a YAML or JSON text, and where it stands.
type lintNode struct {
	kind  yaml.Kind // ScalarNode, MappingNode or SequenceNode
	text  string    // of a scalar
	tag   string    // of a scalar: !!str, !!int, !!float, !!bool, !!null
	at    int       // offset of its first character; of a block scalar, of its | or >
	items []*lintNode
	keys  []lintPair
}

type lintPair struct{ key, value *lintNode }

// get returns the value of a key, nil if there is none.
func (n *lintNode) get(key string) *lintNode {
	if n != nil {
		for _, p := range n.keys {
			if p.key.text == key {
				return p.value
			}
		}
	}
	return nil
}

// dig returns the value at the end of a path of keys, nil if there is none.
func (n *lintNode) dig(path ...string) *lintNode {
	for _, key := range path {
		n = n.get(key)
	}
	return n
}

// str returns the text of a scalar, nothing for all else.
func (n *lintNode) str() string {
	if n == nil || n.kind != yaml.ScalarNode || n.tag == "!!null" {
		return ""
	}
	return n.text
}

// list returns the items of a sequence.
func (n *lintNode) list() []*lintNode {
	if n == nil {
		return nil
	}
	return n.items
}

// A lintError says why a text cannot be read, and where.
type lintError struct {
	at      int
	message string
}

func (e *lintError) Error() string { return e.message }

// parseYAML reads the first document, with the YAML parser that Prometheus has, one version on.
func (t lintText) parseYAML() (root *lintNode, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the parser is not ours
			err = &lintError{0, fmt.Sprintf("the file cannot be read as YAML: %v", cause)}
		}
	}()
	if len(t.text) > maxLintBytes {
		return nil, &lintError{0, fmt.Sprintf("the file is larger than %d bytes", maxLintBytes)}
	}
	loader, err := yaml.NewLoader(strings.NewReader(t.text), yaml.WithPlugin(limit.New(limit.DepthValue(maxLintDepth), limit.AliasNone())))
	if err != nil {
		return nil, t.yamlError(err)
	}
	var d yaml.Node
	if err := loader.Load(&d); err == io.EOF {
		return nil, &lintError{0, "the file is empty"}
	} else if err != nil {
		return nil, t.yamlError(err)
	}
	if len(d.Content) == 0 {
		return nil, &lintError{0, "the file is empty"}
	}
	room := maxLintNodes
	return t.build(d.Content[0], 0, &room)
}

func (t lintText) yamlError(err error) error {
	var where *yaml.LoadError
	if !errors.As(err, &where) {
		return &lintError{0, err.Error()}
	}
	at := where.Mark
	if at.Line == 0 {
		at = where.ContextMark
	}
	return &lintError{t.offset(at.Line, at.Column), strings.TrimSpace(where.Message + " " + where.ContextMsg)}
}

// build copies a YAML node, and what aliases stand for, as long as there is room.
func (t lintText) build(n *yaml.Node, depth int, room *int) (*lintNode, error) {
	at := t.offset(n.Line, n.Column)
	*room--
	switch {
	case depth > maxLintDepth:
		return nil, &lintError{at, "nested too deeply"}
	case *room < 0:
		return nil, &lintError{at, fmt.Sprintf("there are more than %d values, aliases counted", maxLintNodes)}
	case n.Kind == yaml.AliasNode:
		return t.build(n.Alias, depth+1, room)
	}
	built := &lintNode{kind: n.Kind, at: t.behindProperties(at), text: n.Value, tag: n.ShortTag()}
	var err error
	switch n.Kind {
	case yaml.SequenceNode:
		err = t.buildItems(built, n, depth, room)
	case yaml.MappingNode:
		err = t.buildKeys(built, n, depth, room)
	}
	return built, err
}

func (t lintText) buildItems(to *lintNode, n *yaml.Node, depth int, room *int) error {
	for _, c := range n.Content {
		item, err := t.build(c, depth+1, room)
		if err != nil {
			return err
		}
		to.items = append(to.items, item)
	}
	return nil
}

func (t lintText) buildKeys(to *lintNode, n *yaml.Node, depth int, room *int) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := t.build(n.Content[i], depth+1, room)
		if err != nil {
			return err
		}
		if to.get(key.text) != nil {
			return &lintError{key.at, fmt.Sprintf("key %q is there twice", key.text)}
		}
		value, err := t.build(n.Content[i+1], depth+1, room)
		if err != nil {
			return err
		}
		to.keys = append(to.keys, lintPair{key, value})
	}
	return nil
}

// behindProperties is where a value begins whose anchor or tag is at an offset.
func (t lintText) behindProperties(at int) int {
	for at < len(t.text) && (t.text[at] == '&' || t.text[at] == '!') {
		for at < len(t.text) && !isLintBlank(t.text[at]) {
			at++
		}
		for at < len(t.text) && isLintBlank(t.text[at]) {
			at++
		}
	}
	return at
}

func isLintBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// parseJSON reads one value.
func (t lintText) parseJSON() (*lintNode, error) {
	if len(t.text) > maxLintBytes {
		return nil, &lintError{0, fmt.Sprintf("the file is larger than %d bytes", maxLintBytes)}
	}
	d := json.NewDecoder(strings.NewReader(t.text))
	d.UseNumber()
	root, err := t.readJSON(d, 0)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = &lintError{int(d.InputOffset()), "something follows the value"}
		}
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at := int(syntax.Offset) // of the character that is wrong, or behind it
		if at >= len(t.text) || !strings.Contains(syntax.Error(), fmt.Sprintf("'%c'", t.text[at])) {
			at = max(at-1, 0)
		}
		err = &lintError{at, "JSON: " + syntax.Error()}
	}
	return root, err
}

func (t lintText) readJSON(d *json.Decoder, depth int) (*lintNode, error) {
	at := t.skipJSON(int(d.InputOffset()))
	token, err := d.Token()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &lintError{len(t.text), "JSON: the text ends too early"}
	case err != nil:
		return nil, err
	case depth > maxLintDepth:
		return nil, &lintError{at, "nested too deeply"}
	}
	n := &lintNode{kind: yaml.ScalarNode, at: at}
	switch v := token.(type) {
	case string:
		n.text, n.tag = v, "!!str"
	case json.Number:
		n.text, n.tag = v.String(), "!!float"
	case bool:
		n.text, n.tag = fmt.Sprint(v), "!!bool"
	case nil:
		n.text, n.tag = "null", "!!null"
	case json.Delim:
		err = t.readJSONParts(n, d, v, depth)
	}
	return n, err
}

// readJSONParts reads what is in an array or an object, and its end.
func (t lintText) readJSONParts(n *lintNode, d *json.Decoder, open json.Delim, depth int) error {
	n.kind = yaml.SequenceNode
	if open == '{' {
		n.kind = yaml.MappingNode
	}
	for d.More() {
		item, err := t.readJSON(d, depth+1)
		if err != nil {
			return err
		}
		if n.kind == yaml.SequenceNode {
			n.items = append(n.items, item)
			continue
		}
		value, err := t.readJSON(d, depth+1)
		if err != nil {
			return err
		}
		n.keys = append(n.keys, lintPair{item, value})
	}
	_, err := d.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = &lintError{len(t.text), "JSON: the text ends too early"}
	}
	return err
}

// skipJSON is where the next value begins.
func (t lintText) skipJSON(at int) int {
	for at < len(t.text) && (isLintBlank(t.text[at]) || t.text[at] == ',' || t.text[at] == ':') {
		at++
	}
	return at
}

// within returns the offset in the text of the i-th byte of a scalar. Whatever the style (quoted with escapes, a block that is
// indented, a plain scalar that was folded), the characters that are no white space are the same in the same order, so
// they are counted.
func (t lintText) within(n *lintNode, i int) int {
	i = min(max(i, 0), len(n.text))
	// Where nothing follows, the place is right behind what is last, not at what comes next in the file.
	if last := strings.TrimRightFunc(n.text, unicode.IsSpace); i >= len(last) && last != "" {
		_, size := utf8.DecodeLastRuneInString(last)
		at := t.within(n, len(last)-size)
		_, size = utf8.DecodeRuneInString(t.text[min(at, len(t.text)):])
		return at + size
	}
	before := 0
	for _, r := range n.text[:i] {
		if !unicode.IsSpace(r) {
			before++
		}
	}
	at, quote := n.at, byte(0)
	if at >= len(t.text) {
		return len(t.text)
	}
	switch t.text[at] {
	case '"', '\'':
		quote = t.text[at]
		at++
	case '|', '>':
		end := bytes.IndexByte([]byte(t.text[at:]), '\n')
		if end < 0 {
			return at
		}
		at += end + 1
	}
	for at < len(t.text) {
		r, size := t.character(at, quote)
		if !unicode.IsSpace(r) {
			if before == 0 {
				break
			}
			before--
		}
		at += size
	}
	return at
}

// character returns the character that stands at an offset of a scalar, and how many bytes it takes there.
func (t lintText) character(at int, quote byte) (rune, int) {
	r, size := utf8.DecodeRuneInString(t.text[at:])
	rest := t.text[at:]
	switch {
	case quote == '\'' && strings.HasPrefix(rest, "''"):
		return '\'', 2
	case quote != '"' || r != '\\' || len(rest) < 2:
		return r, size
	}
	switch rest[1] {
	case 'n', 't', 'r', ' ', '\n', 'f', '_', 'N', 'L', 'P', 'v':
		return ' ', 2
	case 'x':
		return 'x', min(4, len(rest))
	case 'u':
		return t.escaped(rest, 6)
	case 'U':
		return t.escaped(rest, 10)
	}
	return rune(rest[1]), 2
}

// escaped reads \u003c; the two halves of a pair are one character.
func (t lintText) escaped(rest string, size int) (rune, int) {
	var code rune
	if len(rest) < size {
		return 'u', len(rest)
	}
	fmt.Sscanf(rest[2:size], "%x", &code)
	if code >= 0xd800 && code < 0xdc00 && strings.HasPrefix(rest[size:], `\u`) {
		return 'x', min(2*size, len(rest))
	}
	return code, size
}
