package rules

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Result is what came of loading one file. In JSON it has the members of Falco's load result; lines and columns there
// count from 0, as Falco's do.
type Result struct {
	Name           string    `json:"name"`
	Successful     bool      `json:"successful"`
	SchemaValid    string    `json:"schema_valid,omitempty"` // ok, failed, or nothing if the file is no YAML
	SchemaWarnings []string  `json:"schema_warnings"`
	Errors         []Problem `json:"errors"`
	Warnings       []Problem `json:"warnings"`
}

// A Problem is an error or a warning.
type Problem struct {
	Context  Context `json:"context"`
	Code     string  `json:"code"`
	CodeDesc string  `json:"codedesc"`
	Message  string  `json:"message"`
}

// A Context says where a problem is: in what, in what of that, and so on; and shows the line with a caret under the place.
type Context struct {
	Locations []Location `json:"locations"`
	Snippet   string     `json:"snippet"`
}

// A Location is one thing in a file.
type Location struct {
	ItemType string   `json:"item_type"`
	ItemName string   `json:"item_name"`
	Position Position `json:"position"`
}

// A Position is a place in a file. Line and column, in characters, count from 0; the offset is in bytes.
type Position struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Offset int    `json:"offset"`
}

// codes are what problems are called, and what the names stand for.
var codes = map[string]string{
	"LOAD_ERR_FILE_READ":             "File read error",
	"LOAD_ERR_YAML_PARSE":            "YAML parse error",
	"LOAD_ERR_YAML_VALIDATE":         "Error validating internal structure of YAML file",
	"LOAD_ERR_COMPILE_CONDITION":     "Error compiling condition",
	"LOAD_ERR_COMPILE_OUTPUT":        "Error compiling output",
	"LOAD_ERR_VALIDATE":              "Error validating rule/macro/list/exception objects",
	"LOAD_ERR_EXTENSION":             "Error in extension item",
	"LOAD_UNKNOWN_SOURCE":            "Unknown event source",
	"LOAD_UNSAFE_NA_CHECK":           "Unsafe <NA> comparison in condition",
	"LOAD_NO_EVTTYPE":                "Condition has no event-type restriction",
	"LOAD_UNKNOWN_FILTER":            "Unknown field or event-type in condition or output",
	"LOAD_UNUSED_MACRO":              "Unused macro",
	"LOAD_UNUSED_LIST":               "Unused list",
	"LOAD_UNKNOWN_ITEM":              "Unknown rules file item",
	"LOAD_DEPRECATED_ITEM":           "Used deprecated item",
	"LOAD_WARNING_EXTENSION":         "Warning in extension item",
	"LOAD_APPEND_NO_VALUES":          "Overriding/appending with no values",
	"LOAD_EXCEPTION_NAME_NOT_UNIQUE": "Multiple exceptions defined with the same name",
	"LOAD_INVALID_MACRO_NAME":        "Invalid macro name",
	"LOAD_INVALID_LIST_NAME":         "Invalid list name",
	"LOAD_COMPILE_CONDITION":         "Warning in rule condition",
	"LOAD_UNKNOWN_KEY":               "Unknown rules file key",
}

// Item types of locations.
const (
	inFile        = "rules content"
	inItem        = "rules content item"
	inEngine      = "required_engine_version"
	inPlugins     = "required plugin versions"
	inPlugin      = "required plugin versions entry"
	inAlternative = "required plugin versions alternative"
	inList        = "list"
	inListItem    = "list item"
	inMacro       = "macro"
	inMacroText   = "macro condition"
	inRule        = "rule"
	inRuleText    = "rule condition"
	inExpression  = "condition expression"
	inOutput      = "rule output"
	inOutputText  = "rule output expression"
	inPriority    = "rule priority"
	inOverride    = "overrides"
	inValue       = "value for"
	inExceptions  = "exceptions"
	inException   = "exception"
	inValues      = "exception values"
	inExample     = "example"
)

// A place is something in a file that a problem can be in, and what it is in.
type place struct {
	up   *place
	kind string
	name string
	file *rulesFile
	at   int
}

// in is a node within a place.
func (p *place) in(kind, name string, n *yamlNode) *place {
	return &place{p, kind, name, n.file, n.at}
}

// within is a place that origin knows.
func (p *place) within(kind string, o origin) *place {
	if o.file == nil {
		return p
	}
	return &place{p, kind, "", o.file, o.at}
}

func (p *place) context() Context {
	c := Context{Snippet: p.file.snippet(p.at)}
	for q := p; q != nil; q = q.up {
		line, column := q.file.position(q.at)
		c.Locations = append([]Location{{q.kind, q.name, Position{q.file.name, line, column, q.at}}}, c.Locations...)
	}
	return c
}

// position returns line and column of an offset, from 0.
func (f *rulesFile) position(at int) (line, column int) {
	line, begin := f.line(at)
	return line, utf8.RuneCountInString(f.text[begin:min(at, len(f.text))])
}

// maxSnippet is how many characters of a line are shown.
const maxSnippet = 160

// snippet shows the line of an offset, and a caret under the place.
func (f *rulesFile) snippet(at int) string {
	if f.text == "" {
		return "<No context available>\n"
	}
	line, column := f.position(at)
	runes := []rune(strings.ToValidUTF8(f.lineText(line), "\uFFFD"))
	column = min(column, len(runes))
	if begin := column - maxSnippet/2; begin > 0 && len(runes) > maxSnippet {
		runes = append([]rune("..."), runes[begin:]...)
		column += 3 - begin
	}
	if len(runes) > maxSnippet {
		runes = append(runes[:maxSnippet:maxSnippet], []rune("...")...)
	}
	return string(runes) + "\n" + indent(runes[:column]) + "^\n"
}

// indent is as wide as a text: its tabs stay, all else are blanks.
func indent(before []rune) string {
	var b strings.Builder
	for _, r := range before {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// A loadError is an error in a file.
type loadError struct {
	where   *place
	code    string
	message string
}

func (e *loadError) Error() string {
	line, column := e.where.file.position(e.where.at)
	return fmt.Sprintf("%s:%d:%d: %s", e.where.file.name, line+1, column+1, e.message)
}

func problem(where *place, code, message string) Problem {
	return Problem{where.context(), code, codes[code], message}
}

// WriteText writes the result for people: whether it is good, and every error with the line that it is in; in detail the
// warnings too.
func (r *Result) WriteText(w io.Writer, detail bool) {
	state := "Ok"
	if !r.Successful {
		state = "Invalid"
	}
	fmt.Fprintf(w, "%s: %s%s%s\n", r.Name, state, counted(len(r.Errors), "error"), counted(len(r.Warnings), "warning"))
	for i := range r.Errors {
		r.Errors[i].write(w, "error")
	}
	if !detail {
		return
	}
	for i := range r.Warnings {
		r.Warnings[i].write(w, "warning")
	}
}

// failureOf is an error with all that is wrong with files that could not be loaded; nil if all could.
func failureOf(results []Result) error {
	var b strings.Builder
	for i := range results {
		if !results[i].Successful {
			results[i].WriteText(&b, false)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return errors.New(strings.TrimRight(b.String(), "\n"))
}

func counted(n int, what string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 " + what
	}
	return fmt.Sprintf(", %d %ss", n, what)
}

func (p *Problem) write(w io.Writer, severity string) {
	var things []string
	for _, l := range p.Context.Locations {
		if l.ItemName != "" && l.ItemType != inFile {
			things = append(things, fmt.Sprintf("%s %q", l.ItemType, l.ItemName))
		}
	}
	last := p.Context.Locations[len(p.Context.Locations)-1].Position
	fmt.Fprintf(w, "%s:%d:%d: %s: %s (%s)\n", last.Name, last.Line+1, last.Column+1, severity, p.Message, p.Code)
	if len(things) > 0 {
		fmt.Fprintf(w, "  in %s\n", strings.Join(things, ", "))
	}
	for line := range strings.Lines(p.Context.Snippet) {
		fmt.Fprintf(w, "    %s", line)
	}
}
