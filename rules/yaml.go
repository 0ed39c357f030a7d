package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/limit"
)

// Bounds of YAML: how deep it is nested, and how many nodes aliases may make of it.
const (
	maxNesting = 100
	maxNodes   = 1 << 21
)

// A rulesFile is the text of one rules file while it is loaded.
type rulesFile struct {
	name   string
	text   string
	begins []int // offset of each line
	result *Result
}

func newRulesFile(name, text string, result *Result) *rulesFile {
	f := &rulesFile{name: name, text: text, begins: []int{0}, result: result}
	for i := range len(text) {
		if text[i] == '\n' {
			f.begins = append(f.begins, i+1)
		}
	}
	return f
}

// line returns the number of the line that an offset is in, from 0, and where it begins.
func (f *rulesFile) line(at int) (line, begin int) {
	line, found := slices.BinarySearch(f.begins, at)
	if !found {
		line--
	}
	return line, f.begins[line]
}

// lineText returns a line without its end.
func (f *rulesFile) lineText(line int) string {
	text := f.text[f.begins[line]:]
	if line+1 < len(f.begins) {
		text = f.text[f.begins[line]:f.begins[line+1]]
	}
	return strings.TrimRight(text, "\r\n")
}

// offset turns a line and a column in characters, both from 1, into an offset.
func (f *rulesFile) offset(line, column int) int {
	if line < 1 || line > len(f.begins) {
		return len(f.text)
	}
	at := f.begins[line-1]
	for ; column > 1 && at < len(f.text) && f.text[at] != '\n'; column-- {
		_, size := utf8.DecodeRuneInString(f.text[at:])
		at += size
	}
	return at
}

// behindProperties is where a value begins whose anchor or tag is at an offset.
func (f *rulesFile) behindProperties(at int) int {
	for at < len(f.text) && (f.text[at] == '&' || f.text[at] == '!') {
		for at < len(f.text) && !isYAMLBlank(f.text[at]) {
			at++
		}
		for at < len(f.text) && isYAMLBlank(f.text[at]) {
			at++
		}
	}
	return at
}

// The kinds of YAML nodes.
type yamlKind uint8

const (
	yamlNull yamlKind = iota
	yamlScalar
	yamlSequence
	yamlMapping
)

// A yamlNode is a value of a rules file, and where it stands. Scalars keep their text: 007 is not 7.
type yamlNode struct {
	kind   yamlKind
	text   string
	quoted bool // by quotes or as a block: always a string
	file   *rulesFile
	at     int // offset of its first character, of a mapping that of its first key
	items  []*yamlNode
	keys   []yamlPair
	size   int // nodes, with those that aliases stand for
}

type yamlPair struct{ key, value *yamlNode }

// get returns the value of a key, nil if there is none. Of keys that are given twice the first one counts.
func (n *yamlNode) get(key string) *yamlNode {
	for _, p := range n.keys {
		if p.key.text == key {
			return p.value
		}
	}
	return nil
}

// A yamlError says why a text is not YAML, and where.
type yamlError struct {
	at      int
	message string
}

func (e *yamlError) Error() string { return e.message }

// parseYAML reads the documents of a file. An error is a *yamlError.
//
// The parser must be one that keeps every byte of a scalar: conditions are its tabs and line ends too.
func parseYAML(f *rulesFile) (documents []*yamlNode, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the parser is not ours
			err = &yamlError{0, fmt.Sprintf("the file cannot be read as YAML: %v", cause)}
		}
	}()
	loader, err := yaml.NewLoader(strings.NewReader(f.text), yaml.WithPlugin(limit.New(limit.DepthValue(maxNesting), limit.AliasNone())))
	if err != nil {
		return nil, f.yamlError(err)
	}
	for {
		var d yaml.Node
		if err := loader.Load(&d); err == io.EOF {
			return documents, nil
		} else if err != nil {
			return nil, f.yamlError(err)
		}
		b := yamlBuilder{file: f, anchors: map[*yaml.Node]*yamlNode{}}
		for _, n := range d.Content {
			body, err := b.build(n)
			if err != nil {
				return nil, err
			}
			documents = append(documents, body)
		}
	}
}

func (f *rulesFile) yamlError(err error) error {
	var where *yaml.LoadError
	if !errors.As(err, &where) {
		return &yamlError{0, err.Error()}
	}
	message, at := where.Message, where.Mark
	if where.ContextMsg != "" {
		message += " " + where.ContextMsg
	}
	if at.Line == 0 {
		at = where.ContextMark
	}
	return &yamlError{f.offset(at.Line, at.Column), message}
}

// A yamlBuilder makes nodes of one document.
type yamlBuilder struct {
	file    *rulesFile
	anchors map[*yaml.Node]*yamlNode
}

func (b *yamlBuilder) build(n *yaml.Node) (*yamlNode, error) {
	if n.Kind == yaml.AliasNode {
		if value := b.anchors[n.Alias]; value != nil {
			return value, nil
		}
		return nil, &yamlError{b.file.offset(n.Line, n.Column), fmt.Sprintf("alias *%s is of what it is in", n.Value)}
	}
	built := &yamlNode{file: b.file, at: b.file.behindProperties(b.file.offset(n.Line, n.Column)), size: 1}
	var err error
	switch {
	case n.Kind == yaml.MappingNode:
		err = b.mapping(built, n)
	case n.Kind == yaml.SequenceNode:
		err = b.sequence(built, n)
	case n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null":
		built.kind, built.text = yamlScalar, n.Value
		built.quoted = n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	}
	if n.Anchor != "" {
		b.anchors[n] = built
	}
	return built, err
}

func (b *yamlBuilder) sequence(to *yamlNode, n *yaml.Node) error {
	to.kind = yamlSequence
	for _, v := range n.Content {
		item, err := b.build(v)
		if err != nil {
			return err
		}
		to.items = append(to.items, item)
		if to.size += item.size; to.size > maxNodes {
			return &yamlError{to.at, fmt.Sprintf("aliases make more than %d values of this", maxNodes)}
		}
	}
	return nil
}

func (b *yamlBuilder) mapping(to *yamlNode, n *yaml.Node) error {
	to.kind = yamlMapping
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := b.build(n.Content[i])
		if err != nil {
			return err
		}
		value, err := b.build(n.Content[i+1])
		if err != nil {
			return err
		}
		to.keys = append(to.keys, yamlPair{key, value})
		if to.size += key.size + value.size; to.size > maxNodes {
			return &yamlError{to.at, fmt.Sprintf("aliases make more than %d values of this", maxNodes)}
		}
	}
	return nil
}

// appendJSON writes the value as JSON. Plain scalars that JSON knows as numbers, true, false or null are those, all others
// are strings: 0644 and 0x1f too.
func (n *yamlNode) appendJSON(to []byte) []byte {
	switch n.kind {
	case yamlNull:
		return append(to, "null"...)
	case yamlSequence:
		to = append(to, '[')
		for i, item := range n.items {
			if i > 0 {
				to = append(to, ',')
			}
			to = item.appendJSON(to)
		}
		return append(to, ']')
	case yamlMapping:
		to = append(to, '{')
		for i, p := range n.keys {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendJSONString(to, p.key.text)
			to = p.value.appendJSON(append(to, ':'))
		}
		return append(to, '}')
	}
	if plain := []byte(n.text); !n.quoted && json.Valid(plain) && !bytes.ContainsAny(plain, `"[{`) {
		return append(to, n.text...)
	}
	return appendJSONString(to, n.text)
}

func appendJSONString(to []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // a string can always be written
	return append(to, quoted...)
}
