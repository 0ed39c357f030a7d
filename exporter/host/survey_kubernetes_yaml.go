package host

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/limit"
)

// Bounds of a YAML file: its bytes, how deep it is nested, and the values that aliases may make of it.
const (
	maxKubeFile   = 1 << 20
	maxKubeDepth  = 64
	maxKubeValues = 100_000
)

// A kubeValue is a value of a YAML or JSON file, and where it stands. Nil is one that is not there.
type kubeValue struct {
	at     string // file:line
	text   string // of a scalar
	quoted bool   // it is a string, whatever it looks like
	list   []*kubeValue
	keys   map[string]*kubeValue // of a mapping, else nil
}

// kubeYAML reads the first document of a file, as the programs of Kubernetes do. A file without any is an empty mapping.
func (s *Surveys) kubeYAML(file string) (*kubeValue, error) {
	text, err := s.read(file, maxKubeFile)
	if err != nil {
		return nil, err
	}
	return parseKubeYAML(file, string(text))
}

func parseKubeYAML(file, text string) (v *kubeValue, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the parser is not ours
			err = fmt.Errorf("%s: it cannot be read as YAML: %v", file, cause)
		}
	}()
	loader, err := yaml.NewLoader(strings.NewReader(text), yaml.WithPlugin(limit.New(limit.DepthValue(maxKubeDepth))))
	if err != nil {
		return nil, kubeYAMLError(file, err)
	}
	var document yaml.Node
	switch err := loader.Load(&document); {
	case err == io.EOF:
		return &kubeValue{at: place(file, 1), keys: map[string]*kubeValue{}}, nil
	case err != nil:
		return nil, kubeYAMLError(file, err)
	}
	b := kubeYAMLBuilder{file: file}
	for _, body := range document.Content {
		if v, err = b.build(body, 0); err != nil {
			return nil, err
		}
	}
	if v == nil {
		return &kubeValue{at: place(file, 1), keys: map[string]*kubeValue{}}, nil
	}
	if v.keys == nil {
		return nil, fmt.Errorf("%s: want keys and values", v.at)
	}
	return v, nil
}

// kubeYAMLError takes the place out of the parser's errors.
func kubeYAMLError(file string, err error) error {
	var where *yaml.LoadError
	if !errors.As(err, &where) {
		return fmt.Errorf("%s: %w", file, err)
	}
	at := where.Mark.Line
	if at == 0 {
		at = where.ContextMark.Line
	}
	return fmt.Errorf("%s: want YAML: %s", place(file, max(at, 1)), strings.TrimSpace(where.Message+" "+where.ContextMsg))
}

// A kubeYAMLBuilder makes values of one file.
type kubeYAMLBuilder struct {
	file   string
	values int
}

func (b *kubeYAMLBuilder) build(n *yaml.Node, depth int) (*kubeValue, error) {
	if b.values++; b.values > maxKubeValues || depth > maxKubeDepth {
		return nil, fmt.Errorf("%s: aliases make too much of this", place(b.file, n.Line))
	}
	v := &kubeValue{at: place(b.file, n.Line)}
	switch {
	case n.Kind == yaml.AliasNode:
		return b.build(n.Alias, depth+1)
	case n.Kind == yaml.SequenceNode:
		v.list = []*kubeValue{}
		for _, item := range n.Content {
			one, err := b.build(item, depth+1)
			if err != nil {
				return nil, err
			}
			v.list = append(v.list, one)
		}
	case n.Kind == yaml.MappingNode:
		return v, b.mapping(v, n, depth)
	case n.ShortTag() == "!!null":
		return nil, nil
	default:
		v.text, v.quoted = n.Value, n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	}
	return v, nil
}

func (b *kubeYAMLBuilder) mapping(v *kubeValue, n *yaml.Node, depth int) error {
	v.keys = map[string]*kubeValue{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := place(b.file, key.Line)
		switch _, twice := v.keys[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			return fmt.Errorf("%s: want a name as the key", at)
		case key.ShortTag() == "!!merge":
			return fmt.Errorf("%s: the key << is not read here", at)
		case twice:
			return fmt.Errorf("%s: %s is given twice", at, key.Value)
		}
		value, err := b.build(n.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		v.keys[key.Value] = value
	}
	return nil
}

// get is the value below some keys, nil if there is none or it is null.
func (v *kubeValue) get(keys ...string) *kubeValue {
	for _, key := range keys {
		if v == nil {
			return nil
		}
		v = v.keys[key]
	}
	return v
}

// items are those of a list.
func (v *kubeValue) items() []*kubeValue {
	if v == nil {
		return nil
	}
	return v.list
}

func (v *kubeValue) scalar() bool { return v.list == nil && v.keys == nil }

func (v *kubeValue) wrong(want string) error { return fmt.Errorf("%s: want %s", v.at, want) }

// string is a text, empty if there is none or it is of another kind.
func (v *kubeValue) string() string {
	if v == nil || !v.scalar() {
		return ""
	}
	return v.text
}

// strings are the texts of a list.
func (v *kubeValue) strings() (all []string) {
	for _, item := range v.items() {
		all = append(all, item.string())
	}
	return all
}

// yes says whether a value is true.
func (v *kubeValue) yes() bool {
	truth, ok := v.truth()
	return ok && truth
}

// Words that YAML 1.1, which Kubernetes reads, has for truths.
var (
	kubeTrue  = []string{"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}
	kubeFalse = []string{"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}
)

func (v *kubeValue) truth() (truth, ok bool) {
	if v == nil || !v.scalar() || v.quoted {
		return false, false
	}
	truth = slices.Contains(kubeTrue, v.text)
	return truth, truth || slices.Contains(kubeFalse, v.text)
}

// as is the value in the form of a setting.
func (v *kubeValue) as(form kubeForm) (any, error) {
	switch form {
	case kubeTruth:
		if truth, ok := v.truth(); ok {
			return truth, nil
		}
		return nil, v.wrong("true or false")
	case kubeList:
		if v.list == nil {
			return nil, v.wrong("a list")
		}
		return append([]string{}, v.strings()...), nil
	}
	if !v.scalar() {
		return nil, v.wrong("one value")
	}
	switch form {
	case kubeNumber:
		n, err := strconv.ParseInt(v.text, 0, 64)
		if err != nil || v.quoted {
			return nil, v.wrong("a whole number")
		}
		return n, nil
	case kubeSeconds:
		d, err := time.ParseDuration(v.text)
		if err != nil {
			return nil, v.wrong("a duration such as 1h30m")
		}
		return wholeSeconds(d), nil
	}
	return v.text, nil
}

// wholeSeconds are those of a duration. A part of one counts as one: it is not nothing.
func wholeSeconds(d time.Duration) int64 {
	if d > 0 && d < time.Second {
		return 1
	}
	return int64(d / time.Second)
}

// patch is what remains of a value once another is laid over it, as RFC 7386 has it for JSON: mappings are joined, a null takes away,
// anything else replaces.
func (v *kubeValue) patch(over *kubeValue) *kubeValue {
	if over == nil || over.keys == nil {
		return over
	}
	joined := &kubeValue{at: over.at, keys: map[string]*kubeValue{}}
	if v != nil && v.keys != nil {
		joined.at = v.at
		for key, value := range v.keys {
			joined.keys[key] = value
		}
	}
	for key, value := range over.keys {
		if value = joined.keys[key].patch(value); value == nil {
			delete(joined.keys, key)
		} else {
			joined.keys[key] = value
		}
	}
	return joined
}
