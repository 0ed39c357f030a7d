package promql

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
)

// templateVariables are what Prometheus defines before a template of a rule.
const templateVariables = `{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}`

// templates looks at the templates of an alert's labels or annotations.
func (f *ruleFile) templates(r *lintRule, n *lintNode, labels bool) {
	if n == nil {
		return
	}
	for _, p := range n.keys {
		if !strings.Contains(p.value.str(), "{{") {
			continue
		}
		t := &templateLinter{ruleFile: f, rule: r, node: p.value, key: p.key.text, label: labels}
		t.lint()
	}
}

// A templateLinter looks at one template.
type templateLinter struct {
	*ruleFile
	rule  *lintRule
	node  *lintNode
	key   string
	label bool // of a label, not of an annotation
}

// templateLine is where text/template says that an error is: template: NAME:LINE:COLUMN: or NAME:LINE:
var templateLine = regexp.MustCompile(`^(?:error parsing template [^:]*: )?template: [^:]*:(\d+)(?::\d+)?: `)

func (t *templateLinter) lint() {
	text := templateVariables + t.node.text
	expander := template.NewTemplateExpander(context.Background(), text, "rule", template.AlertTemplateData(nil, nil, "", promql.Sample{}),
		model.Time(0), nil, &url.URL{}, nil)
	if err := expander.ParseTest(); err != nil {
		t.reportTemplate(err)
		return
	}
	tree := parse.New("rule")
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "{{", "}}", trees); err != nil {
		t.reportTemplate(err)
		return
	}
	out := labelSet{}
	if t.rule.parsed != nil {
		out = labelsOf(t.rule.parsed)
	}
	for _, tr := range trees {
		walkTemplate(tr.Root, templatePlace{}, func(n parse.Node, p templatePlace) { t.part(n, p, out) })
	}
}

// reportTemplate reports an error at the line of the template that it names.
func (t *templateLinter) reportTemplate(err error) {
	message, at := err.Error(), 0
	if m := templateLine.FindStringSubmatch(message); m != nil {
		line, _ := strconv.Atoi(m[1])
		message = message[len(m[0]):]
		for ; line > 1; line-- {
			if i := strings.IndexByte(t.node.text[at:], '\n'); i >= 0 {
				at += i + 1
			}
		}
	}
	t.report("template", t.text.within(t.node, at), "%s: %s", t.key, message)
}

// offset turns a position in the template into one of the file.
func (t *templateLinter) offset(p parse.Pos) int {
	return t.text.within(t.node, int(p)-len(templateVariables))
}

// A templatePlace is where a node stands.
type templatePlace struct {
	inner bool // the dot is not the alert here, but what range or with go through
	maybe bool // what is not there is expected: in the condition of if or with, and as an argument of `or`
}

func (t *templateLinter) part(n parse.Node, p templatePlace, out labelSet) {
	if int(n.Position()) < len(templateVariables) {
		return
	}
	switch n := n.(type) {
	case *parse.VariableNode:
		if n.Ident[0] == "$labels" && len(n.Ident) > 1 {
			t.labelShown(n.Ident[1], n.Pos, p, out)
		}
	case *parse.FieldNode:
		if len(n.Ident) > 1 && n.Ident[0] == "Labels" && !p.inner {
			t.labelShown(n.Ident[1], n.Pos, p, out)
		}
	case *parse.CommandNode:
		t.command(n, p, out)
	case *parse.PipeNode:
		t.pipe(n)
	}
}

// command looks at the labels that `index` takes, and at constant queries.
func (t *templateLinter) command(c *parse.CommandNode, p templatePlace, out labelSet) {
	name := ""
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok {
		name = id.Ident
	}
	switch {
	case name == "index" && len(c.Args) == 3 && isLabelsVariable(c.Args[1]):
		if s, ok := c.Args[2].(*parse.StringNode); ok {
			t.labelShown(s.Text, s.Pos, p, out)
		}
	case name == "query" && len(c.Args) == 2:
		t.query(c.Args[1])
	}
}

// pipe looks at {{ a | b }}.
func (t *templateLinter) pipe(p *parse.PipeNode) {
	if len(p.Decl) > 0 {
		return
	}
	shown := p.Cmds[0].Args
	if isValue(shown[len(shown)-1]) && t.label {
		t.report("label-value", t.offset(p.Pos), "the label %q holds the alert's value: whenever it changes this is another alert, and `for` begins anew; show it in an annotation", t.key)
		return
	}
	if len(p.Cmds) == 1 && len(shown) == 1 && isValue(shown[0]) {
		t.report("template-value", t.offset(p.Pos), "$value is shown with all its digits: use humanize, humanizePercentage, humanizeDuration, humanize1024 or printf")
	}
	t.percent(p)
}

// percent finds values that were multiplied by 100 and are shown as if they were ratios.
func (t *templateLinter) percent(p *parse.PipeNode) {
	value := slices.ContainsFunc(p.Cmds[0].Args, isValue)
	if !value || t.rule.parsed == nil || !timesHundred(t.rule.parsed) {
		return
	}
	for _, c := range p.Cmds {
		if id, ok := c.Args[0].(*parse.IdentifierNode); ok && id.Ident == "humanizePercentage" {
			t.report("percent", t.offset(id.Pos), "the expression multiplies by 100, and humanizePercentage does so again: leave out one")
		}
	}
}

// query looks at a constant query in a template.
func (t *templateLinter) query(arg parse.Node) {
	s, ok := arg.(*parse.StringNode)
	if !ok {
		return
	}
	expr, err := parseExpr(s.Text)
	var where parser.ParseErrors
	if errors.As(err, &where) && len(where) > 0 {
		err = where[0].Err
	}
	if err != nil {
		t.report("promql", t.offset(s.Pos), "the template's query does not parse: %v", err)
		return
	}
	at := t.offset(s.Pos)
	e := &exprLinter{linter: t.linter, at: func(int) int { return at }, recorded: t.recorded}
	e.lint(expr)
}

func (t *templateLinter) labelShown(name string, at parse.Pos, p templatePlace, out labelSet) {
	if out.may(name) {
		return
	}
	hint := "no label is left"
	if left := out.list(); len(left) > 0 {
		hint = "left are " + strings.Join(left, ", ")
	} else if !out.closed {
		hint = "it was aggregated away"
	}
	if t.rule.labels.get(name) != nil || t.rule.groupLabels.get(name) != nil {
		hint += "; labels that the rule adds are not in $labels"
	}
	if p.maybe {
		t.reportAs(LintInfo, "template-label", t.offset(at), "%s asks for $labels.%s, which the expression never leaves: %s", t.key, name, hint)
		return
	}
	t.report("template-label", t.offset(at), "%s shows $labels.%s, which the expression does not leave: %s", t.key, name, hint)
}

func isLabelsVariable(n parse.Node) bool {
	v, ok := n.(*parse.VariableNode)
	return ok && len(v.Ident) == 1 && v.Ident[0] == "$labels"
}

func isValue(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.VariableNode:
		return len(n.Ident) == 1 && n.Ident[0] == "$value"
	case *parse.FieldNode:
		return len(n.Ident) == 1 && n.Ident[0] == "Value"
	}
	return false
}

// walkTemplate calls visit for every node, with where it stands.
func walkTemplate(n parse.Node, at templatePlace, visit func(parse.Node, templatePlace)) {
	list := func(l *parse.ListNode, at templatePlace) {
		if l != nil {
			for _, c := range l.Nodes {
				walkTemplate(c, at, visit)
			}
		}
	}
	branch := func(b *parse.BranchNode, inner bool) {
		walkCommands(b.Pipe, templatePlace{at.inner, true}, visit)
		list(b.List, templatePlace{at.inner || inner, false})
		list(b.ElseList, at)
	}
	switch n := n.(type) {
	case *parse.ListNode:
		list(n, at)
	case *parse.ActionNode:
		visit(n.Pipe, at)
		walkCommands(n.Pipe, at, visit)
	case *parse.IfNode:
		branch(&n.BranchNode, false)
	case *parse.RangeNode:
		branch(&n.BranchNode, true)
	case *parse.WithNode:
		branch(&n.BranchNode, true)
	case *parse.TemplateNode:
		walkCommands(n.Pipe, at, visit)
	}
}

// walkCommands calls visit for the commands of a pipe and what they are made of; pipes in parentheses too.
func walkCommands(p *parse.PipeNode, at templatePlace, visit func(parse.Node, templatePlace)) {
	if p == nil {
		return
	}
	for _, c := range p.Cmds {
		id, ok := c.Args[0].(*parse.IdentifierNode)
		at := templatePlace{at.inner, at.maybe || ok && id.Ident == "or"}
		visit(c, at)
		for _, a := range c.Args {
			if inner, ok := a.(*parse.PipeNode); ok {
				walkCommands(inner, at, visit)
				continue
			}
			visit(a, at)
		}
	}
}
