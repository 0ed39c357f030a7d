package exporter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfig bounds a configuration file.
const maxConfig = 1 << 20

// ReadConfig reads a YAML file over the defaults, and validates the outcome. Unknown keys are errors; every error names
// the file, and where it is the file's the line and column. Without a path the defaults are the outcome.
func ReadConfig[T interface{ Validate() error }](path string, defaults T) (T, error) {
	c := defaults
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return defaults, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxConfig {
		return defaults, fmt.Errorf("%s: %d bytes: want at most %d", path, len(text), maxConfig)
	}
	if err := decodeConfig(text, &c); err != nil {
		return defaults, fmt.Errorf("%s:%w", path, err)
	}
	if err := c.Validate(); err != nil {
		return defaults, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Reload reads the configuration anew. All that it names is checked before load, and what is left to be done follows.
func Reload[T interface{ Validate() error }](path string, defaults T, check, load func(T) error, then func(T)) error {
	c, err := ReadConfig(path, defaults)
	for _, step := range []func(T) error{check, load} {
		if err == nil {
			err = step(c)
		}
	}
	if err == nil {
		then(c)
	}
	return err
}

// decodeConfig's errors are one line and begin with line and column, where the decoder knows them. A key without a value
// leaves what is there, since people comment out what stands below it.
func decodeConfig[T any](text []byte, to *T) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return located(err)
	}
	switch {
	case len(file.Docs) > 1:
		return errors.New(" more than one document")
	case len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.NullType:
		return nil
	}
	all := *to // strictly, as unknown keys without a value are unknown too
	if err := yaml.NodeToValue(file.Docs[0].Body, &all, yaml.Strict()); err != nil {
		return located(err)
	}
	ast.Walk(withoutNulls{}, file.Docs[0].Body)
	if err := yaml.NodeToValue(file.Docs[0].Body, to); err != nil {
		return located(err)
	}
	return nil
}

type withoutNulls struct{}

func (v withoutNulls) Visit(n ast.Node) ast.Visitor {
	if m, ok := n.(*ast.MappingNode); ok {
		m.Values = slices.DeleteFunc(m.Values, func(v *ast.MappingValueNode) bool { return v.Value.Type() == ast.NullType })
	}
	return v
}

func located(err error) error {
	at, message := " ", err.Error()
	var where yaml.Error
	if errors.As(err, &where) && where.GetToken() != nil {
		p := where.GetToken().Position
		at, message = fmt.Sprintf("%d:%d: ", p.Line, p.Column), where.GetMessage()
	}
	var mismatch *yaml.TypeError
	if errors.As(err, &mismatch) {
		message = fmt.Sprintf("want %s, not %s", mismatch.DstType, mismatch.SrcType)
	}
	return errors.New(at + strings.Join(strings.Fields(message), " "))
}
