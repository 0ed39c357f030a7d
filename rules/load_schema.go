package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A shape is what a value of a rules file should be, more strictly than the loader wants it. What has another shape is a
// warning of the schema.
type shape struct {
	kind  yamlKind
	what  string            // for people
	keys  map[string]*shape // of a mapping; others are unknown
	item  *shape            // of a sequence
	valid func(text string) bool
}

var (
	shapeText     = &shape{kind: yamlScalar, what: "a string"}
	shapeTruth    = &shape{kind: yamlScalar, what: "true or false", valid: func(s string) bool { _, ok := parseTruth(s); return ok }}
	shapeNumber   = &shape{kind: yamlScalar, what: "a number", valid: func(s string) bool { _, err := strconv.ParseUint(s, 0, 32); return err == nil }}
	shapePriority = &shape{kind: yamlScalar, what: "one of " + strings.Join(schemaPriorities, ", "),
		valid: func(s string) bool { return slices.Contains(schemaPriorities, s) }}
	shapeAny     = &shape{}
	shapeTexts   = &shape{kind: yamlSequence, what: "a sequence of strings", item: shapeText}
	shapePlugin  = map[string]*shape{"name": shapeText, "version": shapeText}
	shapeVersion = &shape{kind: yamlSequence, what: "a sequence", item: &shape{kind: yamlMapping, what: "a mapping", keys: map[string]*shape{
		"name": shapeText, "version": shapeText,
		"alternatives": {kind: yamlSequence, what: "a sequence", item: &shape{kind: yamlMapping, what: "a mapping", keys: shapePlugin}},
	}}}
	shapeExceptions = &shape{kind: yamlSequence, what: "a sequence", item: &shape{kind: yamlMapping, what: "a mapping", keys: map[string]*shape{
		"name": shapeText, "fields": shapeAny, "comps": shapeAny, "values": {kind: yamlSequence, what: "a sequence", item: shapeAny},
	}}}
	shapeExample  = &shape{kind: yamlSequence, what: "a sequence", item: &shape{kind: yamlMapping, what: "a mapping"}}
	shapeExamples = &shape{kind: yamlMapping, what: "a mapping", keys: map[string]*shape{"match": shapeExample, "miss": shapeExample}}
	shapeObject   = &shape{kind: yamlMapping, what: "a mapping", keys: map[string]*shape{
		"required_engine_version": shapeText, "required_plugin_versions": shapeVersion,
		"list": shapeText, "items": shapeTexts,
		"macro": shapeText, "condition": shapeText,
		"rule": shapeText, "desc": shapeText, "output": shapeText, "priority": shapePriority, "source": shapeText, "enabled": shapeTruth,
		"capture": shapeTruth, "capture_duration": shapeNumber, "warn_evttypes": shapeTruth, "skip-if-unknown-filter": shapeTruth,
		"tags": shapeTexts, "exceptions": shapeExceptions, "append": shapeTruth, "examples": shapeExamples,
		"override": {kind: yamlMapping, what: "a mapping"},
	}}
	shapeFile = &shape{kind: yamlSequence, what: "a sequence of mappings", item: shapeObject}
)

var schemaPriorities = []string{"EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "INFORMATIONAL", "DEBUG"}

// maxSchemaWarnings bounds how many are told.
const maxSchemaWarnings = 100

// checkSchema returns where documents have another shape than rules files should.
func checkSchema(documents []*yamlNode) (all []string) {
	for _, d := range documents {
		if d.kind != yamlNull {
			shapeFile.check(d, "<root>", &all)
		}
	}
	return all
}

func (s *shape) check(n *yamlNode, path string, all *[]string) {
	if len(*all) >= maxSchemaWarnings || n.kind == yamlNull || s == shapeAny {
		return
	}
	if n.kind != s.kind || s.valid != nil && !s.valid(n.text) {
		line, column := n.file.position(n.at)
		*all = append(*all, fmt.Sprintf("%d:%d: %s: want %s", line+1, column+1, path, s.what))
		return
	}
	for i, item := range n.items {
		s.item.check(item, fmt.Sprintf("%s[%d]", path, i), all)
	}
	for _, p := range n.keys {
		switch of := s.keys[p.key.text]; {
		case of != nil:
			of.check(p.value, path+"."+p.key.text, all)
		case s.keys != nil && len(*all) < maxSchemaWarnings:
			line, column := n.file.position(p.key.at)
			*all = append(*all, fmt.Sprintf("%d:%d: %s: unknown key '%s'", line+1, column+1, path, p.key.text))
		}
	}
}
