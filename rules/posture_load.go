package rules

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

//go:embed posture/*.yaml
var postures embed.FS

// ChecksPack returns the files of our own checks, in the order of their names.
func ChecksPack() ([]File, error) {
	names, err := fs.Glob(postures, "posture/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list our own checks: %w", err)
	}
	files := make([]File, len(names))
	for i, name := range names {
		text, err := postures.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read our own checks: %w", err)
		}
		files[i] = File{Name: path.Join("yagura", name), Text: text}
	}
	return files, nil
}

// Bounds of what checks hold.
const (
	maxCheckErrors = 100 // that are told of one file
	maxCheckID     = 80
	maxControl     = 64 // bytes of a control's number, or a framework's name
	maxExampleList = 1000
)

var (
	checkID       = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	frameworkName = regexp.MustCompile(`^[a-z][a-z0-9_.]*$`)
)

// A checkLoader is one load of checks.
type checkLoader struct {
	checks    []*Check
	byID      map[string]*Check
	languages map[*event.FactKind]*factLanguage
	size      int
}

// LoadChecks reads files of posture checks in their order. There is a Result for each file, with all that is wrong; the checks are nil
// if there is any error.
func LoadChecks(files []File) ([]*Check, []Result) {
	l := &checkLoader{byID: map[string]*Check{}, languages: map[*event.FactKind]*factLanguage{}}
	results := make([]Result, len(files))
	ok := true
	for i, file := range files {
		results[i] = Result{Name: file.Name, SchemaWarnings: []string{}, Errors: []Problem{}, Warnings: []Problem{}}
		l.file(file, &results[i])
		results[i].Successful = len(results[i].Errors) == 0
		ok = ok && results[i].Successful
	}
	if !ok {
		return nil, results
	}
	return l.checks, results
}

func (l *checkLoader) file(file File, result *Result) {
	text := strings.TrimPrefix(string(file.Text), "\ufeff")
	l.size += len(text)
	switch {
	case file.err != nil:
	case len(text) > maxRulesFile:
		file.err = fmt.Errorf("%d bytes: want at most %d", len(text), maxRulesFile)
	case l.size > maxLoad:
		file.err = fmt.Errorf("all files have more than %d bytes", maxLoad)
	}
	if file.err != nil {
		text = ""
	}
	f := newRulesFile(file.Name, text, result)
	content := &place{kind: inFile, file: f}
	if file.err != nil {
		result.Errors = append(result.Errors, problem(content, "LOAD_ERR_FILE_READ", file.err.Error()))
		return
	}
	documents, err := parseYAML(f)
	if err != nil {
		content.at = err.(*yamlError).at
		result.Errors = append(result.Errors, problem(content, "LOAD_ERR_YAML_PARSE", err.Error()))
		return
	}
	for _, d := range documents {
		l.document(&reader{result: result, where: content, n: d})
	}
}

func (l *checkLoader) document(r *reader) {
	if r.n.kind == yamlNull {
		return
	}
	if r.n.kind != yamlSequence {
		r.fail(r.n, "want a list of checks")
		return
	}
	for _, item := range r.n.items {
		l.item(r.in(inItem, "", item))
	}
}

// checkKeys are the keys of a check.
var checkKeys = []string{"check", "title", "severity", "fact", "where", "condition", "need", "without", "risk", "remediation", "references",
	"frameworks", "level", "manual", "examples"}

func (l *checkLoader) item(r *reader) {
	if r.n.kind != yamlMapping {
		r.fail(r.n, "want a check: a mapping with the key check and others")
		return
	}
	r.keys(checkKeys)
	c := &Check{}
	c.File = r.n.file.name
	line, _ := r.n.file.position(r.n.at)
	c.Line = line + 1
	if c.ID = r.text("check"); c.ID != "" {
		r.where = &place{r.where.up, "check", c.ID, r.n.file, r.n.at}
	}
	l.identify(r, c)
	l.describe(r, c)
	l.decide(r, c)
	if !r.bad() {
		l.checks = append(l.checks, c)
	}
}

func (l *checkLoader) identify(r *reader, c *Check) {
	switch before := l.byID[c.ID]; {
	case c.ID == "":
	case len(c.ID) > maxCheckID || !checkID.MatchString(c.ID):
		r.fail(r.n.get("check"), "%q: want an id of at most %d lower-case letters, digits and single hyphens", c.ID, maxCheckID)
	case before != nil:
		r.fail(r.n.get("check"), "check %s is already at %s:%d", c.ID, before.File, before.Line)
	default:
		l.byID[c.ID] = c
	}
}

func (l *checkLoader) describe(r *reader, c *Check) {
	c.Title, c.Risk, c.Remediation = r.text("title"), r.text("risk"), strings.TrimSpace(r.text("remediation"))
	c.Title, c.Risk = strings.Join(strings.Fields(c.Title), " "), strings.Join(strings.Fields(c.Risk), " ")
	c.Severity = event.Severity(r.choice("severity", event.Severities, ""))
	c.References = r.list("references")
	c.Manual = r.choice("manual", []string{"false", "true"}, "false") == 1
	c.Level = r.choice("level", []string{"none", "1", "2"}, "none")
	frameworks := r.n.get("frameworks")
	if frameworks == nil {
		return
	}
	if frameworks.kind != yamlMapping {
		r.fail(frameworks, "frameworks: want a mapping of frameworks to lists of control numbers")
		return
	}
	in := r.in(inValue, "frameworks", frameworks)
	in.keys(nil)
	for _, p := range frameworks.keys {
		name := p.key.text
		if len(name) > maxControl || !frameworkName.MatchString(name) {
			r.fail(p.key, "framework %q: want lower-case letters, digits, _ and .", name)
		}
		ids := in.list(name)
		if len(ids) == 0 {
			r.fail(p.value, "framework %s: want at least one control number", name)
		}
		for _, id := range ids {
			if len(id) > maxControl {
				r.fail(p.value, "framework %s: %q: want the number of a control", name, id)
			}
			c.Controls = append(c.Controls, event.Control{Framework: name, ID: id})
		}
	}
}

// decide reads how the check is decided.
func (l *checkLoader) decide(r *reader, c *Check) {
	c.any = r.choice("need", []string{"all", "any"}, "all") == 1
	c.without = [...]event.Status{event.NotApplicable, event.Pass, event.Fail}[r.choice("without", []string{"not_applicable", "pass", "fail"}, "not_applicable")]
	if c.Manual {
		for _, key := range []string{"fact", "where", "condition", "need", "without", "examples"} {
			if n := r.n.get(key); n != nil {
				r.fail(n, "%s: a manual check has none", key)
			}
		}
		return
	}
	kind := r.text("fact")
	if kind == "" {
		return
	}
	if c.kind = factKind(kind); c.kind == nil {
		r.fail(r.n.get("fact"), "unknown kind of facts %q%s", kind, likeKind(kind))
		return
	}
	c.Check.Kind = kind
	c.where = l.condition(r, c.kind, "where", false)
	c.condition = l.condition(r, c.kind, "condition", true)
	if c.condition.node != nil {
		c.Condition = c.condition.text()
	}
	c.examples(r)
}

// likeKind suggests the kind that was perhaps meant.
func likeKind(name string) string {
	for _, k := range event.FactKinds() {
		if strings.HasPrefix(k.Name, name) || strings.HasPrefix(name, k.Name) {
			return " (" + k.Name + "?)"
		}
	}
	return ""
}

func (l *checkLoader) condition(r *reader, kind *event.FactKind, key string, needed bool) (c factCondition) {
	n := r.n.get(key)
	if n == nil && !needed {
		return c
	}
	if r.text(key) == "" {
		return c
	}
	p := passageOf(n)
	at := r.where.in(inValue, key, n)
	node, err := expr.Parse(p.text)
	if err == nil {
		language := l.languages[kind]
		if language == nil {
			language = newFactLanguage(kind)
			l.languages[kind] = language
		}
		c, err = language.compile(node)
	}
	if err == nil {
		return c
	}
	var syntax *expr.SyntaxError
	var wrong *expr.CheckError
	switch {
	case errors.As(err, &syntax):
		at = at.within(inExpression, p.origin(syntax.Offset))
	case errors.As(err, &wrong):
		at = at.within(inExpression, p.origin(wrong.Offset))
	}
	r.failAt(at, "LOAD_ERR_COMPILE_CONDITION", err.Error())
	return factCondition{}
}

func (c *Check) examples(r *reader) {
	n := r.n.get("examples")
	if n == nil {
		return
	}
	if n.kind != yamlMapping {
		r.fail(n, "examples: want a mapping with pass and fail")
		return
	}
	in := r.in(inValue, "examples", n)
	in.keys([]string{"pass", "fail"})
	for _, outcome := range []struct {
		key string
		to  *[]FactExample
	}{{"pass", &c.Examples.Pass}, {"fail", &c.Examples.Fail}} {
		list := n.get(outcome.key)
		if list == nil {
			continue
		}
		if list.kind != yamlSequence || len(list.items) > maxExampleList {
			r.fail(list, "%s: want a list of examples, each a fact or a list of facts", outcome.key)
			continue
		}
		for _, item := range list.items {
			*outcome.to = append(*outcome.to, c.example(r.in(inExample, "", item)))
		}
	}
}

// example reads a fact, or the list of all facts that there would be.
func (c *Check) example(r *reader) FactExample {
	line, _ := r.n.file.position(r.n.at)
	x := FactExample{Line: line + 1}
	if r.n.kind != yamlSequence {
		x.Facts = append(x.Facts, c.fact(r))
		return x
	}
	for _, item := range r.n.items[:min(len(r.n.items), maxExampleList)] {
		x.Facts = append(x.Facts, c.fact(r.in(inExample, "", item)))
	}
	return x
}

func (c *Check) fact(r *reader) event.Fact {
	f := c.kind.New("", "")
	if r.n.kind != yamlMapping {
		r.fail(r.n, "want a fact: a mapping of fields of kind %s", c.kind.Name)
		return f
	}
	r.keys(nil)
	for _, p := range r.n.keys {
		switch field := c.kind.Field(p.key.text); {
		case field != nil:
			value, err := factValue(field.Type, p.value)
			if err != nil {
				r.fail(p.value, "%s.%s: %v", c.kind.Name, field.Name, err)
				continue
			}
			f.Set(field.Name, value)
		case p.key.text == "subject":
			f.Subject = r.text("subject")
		case p.key.text == "source":
			f.Source = r.text("source")
		default:
			r.fail(p.key, "facts of kind %s have no field %q", c.kind.Name, p.key.text)
		}
	}
	return f
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// factValue reads a value of a fact as its field's type wants it.
func factValue(t event.FactType, n *yamlNode) (any, error) {
	switch {
	case t == event.FactTexts && n.kind == yamlSequence:
		texts := []string{}
		for _, item := range n.items {
			if item.kind != yamlScalar {
				return nil, errors.New("want a list of texts")
			}
			texts = append(texts, item.text)
		}
		return texts, nil
	case t == event.FactText && n.kind == yamlScalar:
		return n.text, nil
	case t == event.FactTruth && n.kind == yamlScalar && !n.quoted && (n.text == "true" || n.text == "false"):
		return n.text == "true", nil
	case t == event.FactNumber && n.kind == yamlScalar && !n.quoted && decimal.MatchString(n.text):
		return strconv.ParseInt(n.text, 10, 64)
	}
	return nil, fmt.Errorf("want %s", map[event.FactType]string{event.FactText: "a text", event.FactNumber: "a whole number in decimal digits",
		event.FactTruth: "true or false", event.FactTexts: "a list of texts"}[t])
}

// A reader is a mapping of a file of checks that is being read. What is wrong goes to the result.
type reader struct {
	result *Result
	where  *place
	n      *yamlNode
	wrongs *int // of the check, with all that is in it
}

// in reads something within.
func (r *reader) in(kind, name string, n *yamlNode) *reader {
	wrongs := r.wrongs
	if wrongs == nil {
		wrongs = new(int)
	}
	return &reader{r.result, r.where.in(kind, name, n), n, wrongs}
}

func (r *reader) bad() bool { return *r.wrongs > 0 }

func (r *reader) fail(n *yamlNode, format string, args ...any) {
	if n == nil {
		n = r.n
	}
	at := *r.where
	at.file, at.at = n.file, n.at
	r.failAt(&at, "LOAD_ERR_YAML_VALIDATE", fmt.Sprintf(format, args...))
}

func (r *reader) failAt(at *place, code, message string) {
	if r.wrongs != nil {
		*r.wrongs++
	}
	if len(r.result.Errors) < maxCheckErrors {
		r.result.Errors = append(r.result.Errors, problem(at, code, message))
	}
}

// keys refuses keys that are unknown or given twice. Without known ones every name is.
func (r *reader) keys(known []string) {
	seen := map[string]bool{}
	for _, p := range r.n.keys {
		switch key := p.key.text; {
		case p.key.kind != yamlScalar:
			r.fail(p.key, "want a name as the key")
		case known != nil && !slices.Contains(known, key):
			r.fail(p.key, "unknown key %q: want one of %s", key, strings.Join(known, ", "))
		case seen[key]:
			r.fail(p.key, "key %q is given twice", key)
		}
		seen[p.key.text] = true
	}
}

// optional are keys of texts that need not be there.
var optional = []string{"subject", "source"}

// text reads a text that must be there.
func (r *reader) text(key string) string {
	n := r.n.get(key)
	switch {
	case n == nil:
		r.fail(nil, "want the key %q", key)
	case n.kind != yamlScalar:
		r.fail(n, "%s: want a text", key)
	case strings.TrimSpace(n.text) == "" && !slices.Contains(optional, key):
		r.fail(n, "%s: is empty", key)
	default:
		return n.text
	}
	return ""
}

// choice reads one of some words, and returns which. Without a default it must be there.
func (r *reader) choice(key string, words []string, def string) int {
	n := r.n.get(key)
	if n == nil && def != "" {
		return slices.Index(words, def)
	}
	text := r.text(key)
	i := slices.Index(words, text)
	if i < 0 && text != "" {
		r.fail(n, "%s: %q: want one of %s", key, text, strings.Join(words, ", "))
	}
	return max(i, 0)
}

// list reads a list of distinct texts that may be absent.
func (r *reader) list(key string) []string {
	n := r.n.get(key)
	if n == nil {
		return nil
	}
	if n.kind != yamlSequence {
		r.fail(n, "%s: want a list of texts", key)
		return nil
	}
	var all []string
	for _, item := range n.items {
		if item.kind != yamlScalar || strings.TrimSpace(item.text) == "" {
			r.fail(item, "%s: want a text", key)
			continue
		}
		all = append(all, item.text)
	}
	return distinct(all)
}
