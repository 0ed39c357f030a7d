// Package library is the questions that people ask of the series, as PromQL with a name, a text and a unit: each is written once,
// and the command line, the console and the dashboards take it from here. It knows nothing of Prometheus; tests parse and run all.
package library

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

//go:embed *.yaml
var files embed.FS

// A Query is one named question.
type Query struct {
	Name      string              `yaml:"name" json:"name"`   // snake_case, unique
	Group     string              `yaml:"group" json:"group"` // the question that it answers, often with others
	Title     string              `yaml:"title" json:"title"` // of a panel
	Doc       string              `yaml:"doc" json:"doc"`     // what it shows, what is bad, where to look next
	Unit      string              `yaml:"unit" json:"unit"`   // of the values: one of Units
	Type      string              `yaml:"type" json:"type"`   // vector, which is the default, or scalar
	Variables map[string]Variable `yaml:"variables" json:"variables,omitempty"`
	Expr      string              `yaml:"expr" json:"expr"` // PromQL, with $name or ${name} for variables
}

// A Variable stands for a part of an expression.
type Variable struct {
	Default string `yaml:"default" json:"default"`
	Doc     string `yaml:"doc" json:"doc"`
}

// A Unit is what values are measured in.
type Unit struct {
	Name, Doc string
	Grafana   string // what Grafana calls it
}

// Units are all that a query may have.
var Units = []Unit{
	{"bytes", "bytes", "bytes"},
	{"bytes_per_second", "bytes in a second", "binBps"},
	{"celsius", "degrees", "celsius"},
	{"cores", "processors: seconds of processor time in a second", "suffix: cores"},
	{"count", "things, or how often", "short"},
	{"hertz", "switches, interrupts and the like in a second", "hertz"},
	{"info", "1 always: what is told is in the labels", "none"},
	{"operations_per_second", "reads, writes, statements in a second", "ops"},
	{"packets_per_second", "packets or segments in a second", "pps"},
	{"per_second", "how often in a second", "cps"},
	{"ratio", "a share, from 0 to 1, or how many times as much", "percentunit"},
	{"requests_per_second", "requests in a second", "reqps"},
	{"score", "points, from 0 to 100", "none"},
	{"seconds", "time", "s"},
	{"state", "1 if it is so, 0 if not", "none"},
}

// UnitOf returns the unit of that name.
func UnitOf(name string) (Unit, bool) {
	i := slices.IndexFunc(Units, func(u Unit) bool { return u.Name == name })
	if i < 0 {
		return Unit{}, false
	}
	return Units[i], true
}

// shipped are the queries of the embedded files. That they load is what tests are for.
var shipped = sync.OnceValue(func() []Query {
	all, err := load(files)
	if err != nil {
		panic(fmt.Sprintf("the embedded library of queries: %v", err))
	}
	return all
})

// All returns every query, by group and name.
func All() []Query { return slices.Clone(shipped()) }

// Find returns the query of that name.
func Find(name string) (Query, bool) {
	i := slices.IndexFunc(shipped(), func(q Query) bool { return q.Name == name })
	if i < 0 {
		return Query{}, false
	}
	return shipped()[i], true
}

// Expr returns the expression of a query for a dashboard: values may be variables of Grafana, such as $__rate_interval. A name or
// value that cannot be is a mistake of the program, and panics.
func Expr(name string, values map[string]string) string {
	q, ok := Find(name)
	if !ok {
		panic(fmt.Sprintf("library: no query %q", name))
	}
	expr, err := q.expand(values, number, grafanaVariable)
	if err != nil {
		panic("library: " + err.Error())
	}
	return expr
}

// Handler serves all queries as JSON: {"data": […], "next": ""}.
func Handler() http.Handler {
	body := sync.OnceValues(func() ([]byte, error) {
		return json.Marshal(struct {
			Data []Query `json:"data"`
			Next string  `json:"next"`
		}{All(), ""})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "want GET", http.StatusMethodNotAllowed)
			return
		}
		text, err := body()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(text)
	})
}

// load reads every YAML file of a directory.
func load(dir fs.FS) ([]Query, error) {
	names, err := fs.Glob(dir, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []Query
	where := map[string]string{}
	for _, file := range names {
		text, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		entries, err := read(file, text)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if at, twice := where[e.query.Name]; twice {
				return nil, fmt.Errorf("%s: name %q is taken: %s", e.at, e.query.Name, at)
			}
			where[e.query.Name] = e.at
			all = append(all, e.query)
		}
	}
	slices.SortFunc(all, func(a, b Query) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name)) })
	return all, nil
}

// An entry is a query and where it stands, as file:line:column.
type entry struct {
	at    string
	query Query
}

// read reads the list of a file. Unknown keys are errors.
func read(file string, text []byte) ([]entry, error) {
	parsed, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, located(file, err)
	}
	var entries []entry
	for _, doc := range parsed.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		list, ok := doc.Body.(*ast.SequenceNode)
		if !ok {
			return nil, fmt.Errorf("%s: want a list of queries, not %s", at(file, doc.Body), doc.Body.Type())
		}
		for _, node := range list.Values {
			e := entry{at: at(file, node), query: Query{Type: "vector"}}
			if err := yaml.NodeToValue(node, &e.query, yaml.Strict()); err != nil {
				return nil, located(file, err)
			}
			e.query.Doc, e.query.Expr = strings.TrimSpace(e.query.Doc), strings.TrimSpace(e.query.Expr)
			e.query.declare()
			if err := e.query.check(); err != nil {
				return nil, fmt.Errorf("%s: %w", e.at, err)
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func at(file string, node ast.Node) string {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
	}
	return file
}

// located puts an error of the YAML library on one line that begins with the place.
func located(file string, err error) error {
	place, message := file, err.Error()
	var where yaml.Error
	if errors.As(err, &where) && where.GetToken() != nil {
		p := where.GetToken().Position
		place, message = fmt.Sprintf("%s:%d:%d", file, p.Line, p.Column), where.GetMessage()
	}
	return fmt.Errorf("%s: %s", place, strings.Join(strings.Fields(message), " "))
}

var (
	snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)+$`)
	variable  = regexp.MustCompile(`^\$(?:([a-z_][a-z0-9_]*)|\{([a-z_][a-z0-9_]*)\})`)
	// number is what may stand for a variable outside of strings: a number, or a duration.
	number = regexp.MustCompile(`^-?([0-9]+(\.[0-9]+)?|([0-9]+(ms|[smhdwy]))+)$`)
	// grafanaVariable is what may stand there in a dashboard: Grafana puts a number or duration in its place.
	grafanaVariable = regexp.MustCompile(`^(\$[a-zA-Z_]\w*|\$\{[a-zA-Z_]\w*\})$`)
)

// shared are variables that need no declaration: those that choose whose series are looked at, how many, and how far back.
var shared = map[string]Variable{
	"window":    {"5m", "how far to look back"},
	"before":    {"1h", "with how long ago to compare"},
	"top":       {"10", "how many of them"},
	"job":       {".*", "scrape jobs, as a regular expression"},
	"instance":  {".*", "machines, as a regular expression"},
	"namespace": {".*", "Kubernetes namespaces, as a regular expression"},
	"pod":       {".*", "Kubernetes pods, as a regular expression"},
	"container": {".*", "containers, as a regular expression"},
	"unit":      {".*", "systemd units, as a regular expression"},
}

// declare adds the shared variables that the expression has and the file does not declare.
func (q *Query) declare() {
	for _, part := range split(q.Expr) {
		_, declared := q.Variables[part.variable]
		if v, ok := shared[part.variable]; ok && !declared {
			if q.Variables == nil {
				q.Variables = map[string]Variable{}
			}
			q.Variables[part.variable] = v
		}
	}
}

// check says what is wrong with a query, without the parser of PromQL.
func (q Query) check() error {
	_, unit := UnitOf(q.Unit)
	switch {
	case !snakeCase.MatchString(q.Name):
		return fmt.Errorf("name %q: want two or more words in snake_case", q.Name)
	case q.Group == "" || q.Title == "" || q.Doc == "" || q.Expr == "":
		return fmt.Errorf("%s: want group, title, doc and expr, all of them", q.Name)
	case !unit:
		return fmt.Errorf("%s: unit %q: want one of %s", q.Name, q.Unit, unitNames())
	case q.Type != "vector" && q.Type != "scalar":
		return fmt.Errorf("%s: type %q: want vector or scalar", q.Name, q.Type)
	}
	unused := maps.Clone(q.Variables)
	for _, part := range split(q.Expr) {
		delete(unused, part.variable)
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		return fmt.Errorf("%s: variable %q is not in the expression", q.Name, name)
	}
	for _, name := range q.VariableNames() {
		if q.Variables[name].Doc == "" {
			return fmt.Errorf("%s: variable %q has no doc", q.Name, name)
		}
	}
	_, err := q.Expand(nil)
	return err
}

func unitNames() string {
	var names []string
	for _, u := range Units {
		names = append(names, u.Name)
	}
	return strings.Join(names, ", ")
}

// VariableNames are the names of the variables, in order.
func (q Query) VariableNames() []string { return slices.Sorted(maps.Keys(q.Variables)) }

// Expand puts values in the place of the variables; one that is not set takes its default. A value may not end the string that it
// stands in, and one that stands in none is a number or a duration.
func (q Query) Expand(values map[string]string) (string, error) { return q.expand(values, number) }

func (q Query) expand(values map[string]string, bare ...*regexp.Regexp) (string, error) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := q.Variables[name]; !ok {
			return "", fmt.Errorf("%s: no variable %q: it has %s", q.Name, name, cmp.Or(strings.Join(q.VariableNames(), ", "), "none"))
		}
	}
	var b strings.Builder
	for _, part := range split(q.Expr) {
		if part.variable == "" {
			b.WriteString(part.text)
			continue
		}
		declared, ok := q.Variables[part.variable]
		if !ok {
			return "", fmt.Errorf("%s: $%s is not declared", q.Name, part.variable)
		}
		value, set := values[part.variable]
		if !set {
			value = declared.Default
		}
		if err := fits(value, part.quoted, bare); err != nil {
			return "", fmt.Errorf("%s: variable %s: %q: %w", q.Name, part.variable, value, err)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// fits says why a value cannot stand in, or outside of, a string.
func fits(value string, quoted bool, bare []*regexp.Regexp) error {
	if quoted {
		if strings.ContainsAny(value, "\"'`\\\n\r\x00") {
			return fmt.Errorf("want no quote, backslash or line break ([.] is a dot of a regular expression)")
		}
		return nil
	}
	for _, form := range bare {
		if form.MatchString(value) {
			return nil
		}
	}
	return fmt.Errorf("want a number, or a duration such as 5m")
}

// A part of an expression is text, or a variable, which is in a string or not.
type part struct {
	text     string
	variable string
	quoted   bool
}

// split finds the variables of an expression. Comments have none, and neither has a $ without a name, as in "^a$".
func split(expr string) []part {
	var parts []part
	var quote byte // that ends the string we are in, '\n' in a comment, 0 outside
	begin := 0
	for i := 0; i < len(expr); i++ {
		c := expr[i]
		switch {
		case c == '$' && quote != '\n':
			m := variable.FindStringSubmatch(expr[i:])
			if m == nil {
				break
			}
			parts = append(parts, part{text: expr[begin:i]}, part{variable: m[1] + m[2], quoted: quote != 0})
			begin = i + len(m[0])
			i = begin - 1
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\'' || c == '`'):
			quote = c
		case quote == 0 && c == '#':
			quote = '\n'
		case c == '\\' && (quote == '"' || quote == '\''):
			i++
		}
	}
	return append(parts, part{text: expr[begin:]})
}
