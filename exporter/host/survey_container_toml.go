package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// A tomlTable is a table of a TOML document. Values are string, int64, float64, bool, times, []any and map[string]any.
type tomlTable map[string]any

// maxTOMLBrackets bounds how deep a document can be nested: the library, which goes down by calls, has no bound of its own.
const maxTOMLBrackets = 10_000

// toml reads a file, as the configuration of containerd and of other runtimes is one. One that is not there is an empty table.
func (s *Surveys) toml(file string) (tomlTable, bool, error) {
	text, exists, err := s.configText(file)
	if err != nil {
		return nil, exists, err
	}
	table, err := parseTOML(file, text)
	return table, exists, err
}

// parseTOML reads a document. An error names the line, where the library tells it.
func parseTOML(file, text string) (tomlTable, error) {
	if strings.Count(text, "[")+strings.Count(text, "{") > maxTOMLBrackets {
		return nil, fmt.Errorf("%s: want at most %d tables and lists", file, maxTOMLBrackets)
	}
	table := map[string]any{}
	err := toml.Unmarshal([]byte(text), &table)
	var where *toml.DecodeError
	if errors.As(err, &where) {
		line, _ := where.Position()
		return nil, fmt.Errorf("%s: %w", place(file, line), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return table, nil
}

// at is what stands at a path of keys, nil if nothing.
func (t tomlTable) at(keys ...string) any {
	var v any = map[string]any(t)
	for _, key := range keys {
		table, _ := v.(map[string]any)
		v = table[key]
	}
	return v
}

// table is a table at a path, which has no keys if there is none.
func (t tomlTable) table(keys ...string) tomlTable {
	table, _ := t.at(keys...).(map[string]any)
	return table
}

// tables are those of a list at a path.
func (t tomlTable) tables(keys ...string) (all []tomlTable) {
	list, _ := t.at(keys...).([]any)
	for _, v := range list {
		if table, ok := v.(map[string]any); ok {
			all = append(all, table)
		}
	}
	return all
}

// text, truth and number are values at a path, or what counts if there is none of that type.
func (t tomlTable) text(def string, keys ...string) string {
	if v, ok := t.at(keys...).(string); ok {
		return v
	}
	return def
}

func (t tomlTable) truth(def bool, keys ...string) bool {
	if v, ok := t.at(keys...).(bool); ok {
		return v
	}
	return def
}

func (t tomlTable) number(def int64, keys ...string) int64 {
	if v, ok := t.at(keys...).(int64); ok {
		return v
	}
	return def
}

// texts are the texts of a list at a path.
func (t tomlTable) texts(keys ...string) (all []string) {
	list, _ := t.at(keys...).([]any)
	for _, v := range list {
		if text, ok := v.(string); ok {
			all = append(all, text)
		}
	}
	return all
}
