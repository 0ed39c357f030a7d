package promql

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// LintRules looks at a file of recording and alerting rules.
func LintRules(file string, text []byte, o LintOptions) []Finding {
	l := newLinter(file, text, o)
	root, err := l.text.parseYAML()
	if err != nil {
		l.reportError(err)
		return l.sorted()
	}
	f := &ruleFile{linter: l, recorded: map[string]*lintRule{}, seen: map[string]*lintRule{}, alerts: map[string]*lintRule{}}
	f.read(root)
	f.readExceptions()
	for _, r := range f.rules {
		f.lintRule(r)
	}
	f.except()
	return l.sorted()
}

func (l *linter) reportError(err error) {
	var where *lintError
	if errors.As(err, &where) {
		l.report("syntax", where.at, "%s", where.message)
		return
	}
	l.report("syntax", 0, "%v", err)
}

// A ruleFile is a file of rules while it is looked at.
type ruleFile struct {
	*linter
	rules    []*lintRule
	recorded map[string]*lintRule // by name
	alerts   map[string]*lintRule // by name, the first
	seen     map[string]*lintRule // by name and labels
	excepted []*exception
}

// A lintRule is a rule of the file.
type lintRule struct {
	node        *lintNode
	name        *lintNode // of `alert` or `record`
	alert       bool
	expr        *lintNode
	labels      *lintNode
	groupLabels *lintNode
	parsed      parser.Expr // nil if it does not parse
	from, to    int         // lines, with the comments above it
}

// Keys of a file, of its groups, and of rules of both kinds.
var (
	fileKeys   = []string{"groups"}
	groupKeys  = []string{"name", "interval", "limit", "query_offset", "labels", "rules"}
	alertKeys  = []string{"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
	recordKeys = []string{"record", "expr", "labels"}
)

func (f *ruleFile) read(root *lintNode) {
	if !f.mapping(root, "a rule file", fileKeys) {
		return
	}
	groups := root.get("groups")
	if groups == nil || groups.kind != yaml.SequenceNode {
		f.report("syntax", root.at, "a rule file has a list `groups`")
		return
	}
	names := map[string]bool{}
	for _, g := range groups.items {
		if !f.mapping(g, "a group", groupKeys) {
			continue
		}
		name := g.get("name")
		switch {
		case name.str() == "":
			f.report("syntax", g.at, "the group has no name")
		case names[name.text]:
			f.report("syntax", name.at, "a group %q is there already", name.text)
		}
		names[name.str()] = true
		f.readGroup(g)
	}
	f.bound(root)
}

func (f *ruleFile) readGroup(g *lintNode) {
	if interval, ok := f.duration(g, "interval"); ok && interval > 5*time.Minute {
		f.report("group-interval", g.get("interval").at, "the group is evaluated every %s: a query does not look further back than 5m, so its series and alerts come and go; use 5m or less", model.Duration(interval))
	}
	f.duration(g, "query_offset")
	rules := g.get("rules")
	if rules != nil && rules.kind != yaml.SequenceNode {
		f.report("syntax", rules.at, "`rules` is a list")
		return
	}
	for _, n := range rules.list() {
		if r := f.readRule(n, g.get("labels")); r != nil {
			f.rules = append(f.rules, r)
		}
	}
}

// readRule reads one rule, and returns nil if it is none.
func (f *ruleFile) readRule(n, groupLabels *lintNode) *lintRule {
	if n.kind != yaml.MappingNode {
		f.report("syntax", n.at, "a rule is a mapping with `alert` or `record`, and `expr`")
		return nil
	}
	r := &lintRule{node: n, name: n.get("alert"), alert: true, expr: n.get("expr"), labels: n.get("labels"), groupLabels: groupLabels}
	what, keys := "an alert", alertKeys
	if r.name == nil {
		r.name, r.alert, what, keys = n.get("record"), false, "a recording rule", recordKeys
	}
	switch {
	case r.name.str() == "":
		f.report("syntax", n.at, "the rule has neither `alert` nor `record`")
		return nil
	case r.expr.str() == "":
		f.report("syntax", n.at, "%s %q has no `expr`", what, r.name.text)
		return nil
	case !r.alert && !model.LegacyValidation.IsValidMetricName(r.name.text):
		f.report("syntax", r.name.at, "%q is no name of a metric: letters, digits, _ and :, as in level:metric:operations", r.name.text)
	}
	f.mapping(n, what, keys)
	expr, err := parseExpr(r.expr.text)
	if err != nil {
		f.reportParse(err, func(i int) int { return f.text.within(r.expr, i) })
	} else {
		r.parsed = expr
	}
	if !r.alert {
		f.recorded[r.name.text] = r
	}
	return r
}

// mapping reports keys that are not among those, and whether n is a mapping.
func (f *ruleFile) mapping(n *lintNode, what string, keys []string) bool {
	if n == nil || n.kind != yaml.MappingNode {
		at := 0
		if n != nil {
			at = n.at
		}
		f.report("syntax", at, "%s is a mapping with the keys %s", what, strings.Join(keys, ", "))
		return false
	}
	for _, p := range n.keys {
		if !slices.Contains(keys, p.key.text) {
			f.report("unknown-key", p.key.at, "%s has no key %q, and Prometheus refuses the file: it may have %s", what, p.key.text, strings.Join(keys, ", "))
		}
	}
	return true
}

// duration reads a duration if the key is there.
func (f *ruleFile) duration(n *lintNode, key string) (time.Duration, bool) {
	value := n.get(key)
	if value == nil {
		return 0, false
	}
	d, err := model.ParseDuration(value.str())
	if err != nil {
		f.report("syntax", value.at, "%s: %q is no duration: write 30s, 5m, 1h30m or 7d", key, value.str())
		return 0, false
	}
	return time.Duration(d), true
}

// reportParse reports why an expression does not parse, where in it that is.
func (l *linter) reportParse(err error, at func(int) int) {
	var all parser.ParseErrors
	if !errors.As(err, &all) || len(all) == 0 {
		l.report("promql", at(0), "%v", err)
		return
	}
	l.report("promql", at(int(all[0].PositionRange.Start)), "%v", all[0].Err) // the others mostly follow from it
}

// lintRule looks at one rule.
func (f *ruleFile) lintRule(r *lintRule) {
	f.duplicates(r)
	wait, _ := f.duration(r.node, "for")
	f.duration(r.node, "keep_firing_for")
	if r.alert {
		f.lintAlert(r)
	}
	if r.parsed == nil {
		return
	}
	e := &exprLinter{linter: f.linter, at: func(i int) int { return f.text.within(r.expr, i) }, recorded: f.recorded}
	e.lint(r.parsed)
	if !r.alert {
		return
	}
	if !filters(r.parsed) {
		f.report("comparison", f.text.within(r.expr, 0), "%s", noComparison(r.parsed))
	}
	if at, ok := findAbsent(r.parsed); ok && wait < 2*f.ScrapeInterval {
		f.report("absent-for", f.text.within(r.expr, at), "absent() fires on one late scrape: wait with `for: %s` or more (two scrapes)", model.Duration(2*f.ScrapeInterval))
	}
}

// duplicates finds rules that are there twice.
func (f *ruleFile) duplicates(r *lintRule) {
	key := r.name.text + labelsKey(r.groupLabels, r.labels)
	line, _ := f.text.position(r.name.at)
	if first := f.seen[key]; first != nil {
		at, _ := f.text.position(first.name.at)
		if !r.alert || first.expr.str() == r.expr.str() {
			f.report("duplicate-rule", r.name.at, "%s with the same labels is there already in line %d: remove one", r.name.text, at)
			return
		}
	}
	f.seen[key] = r
	if !r.alert {
		return
	}
	here := fmt.Sprintf("%s:%d", f.file, line)
	switch first := f.alerts[r.name.text]; {
	case first != nil:
		at, _ := f.text.position(first.name.at)
		if labelsKey(first.groupLabels, first.labels) == labelsKey(r.groupLabels, r.labels) {
			f.report("duplicate-alert", r.name.at, "an alert %s with the same labels is in line %d: name one otherwise, or give them different severities", r.name.text, at)
		}
		return
	case f.Names[r.name.text] != "" && f.Names[r.name.text] != here:
		f.report("duplicate-alert", r.name.at, "an alert %s is in %s: name one of them otherwise", r.name.text, f.Names[r.name.text])
	}
	f.alerts[r.name.text] = r
	if f.Names != nil {
		f.Names[r.name.text] = here
	}
}

// labelsKey is the same for the same labels.
func labelsKey(nodes ...*lintNode) string {
	all := map[string]string{}
	for _, n := range nodes {
		if n != nil {
			for _, p := range n.keys {
				all[p.key.text] = p.value.str()
			}
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "\x00%s\x00%s", name, all[name])
	}
	return b.String()
}

// lintAlert looks at labels and annotations.
func (f *ruleFile) lintAlert(r *lintRule) {
	annotations := r.node.get("annotations")
	f.require(r, "label", f.Labels, r.labels, r.groupLabels)
	f.require(r, "annotation", f.Annotations, annotations, nil)
	if severity := r.labels.get("severity"); len(f.Severities) > 0 && severity.str() != "" && !strings.Contains(severity.text, "{{") && !slices.Contains(f.Severities, severity.text) {
		f.report("severity-value", severity.at, "severity %q: routing knows %s", severity.text, strings.Join(f.Severities, ", "))
	}
	if url := annotations.get("runbook_url"); url.str() != "" && f.Runbook != nil {
		if err := f.Runbook(url.text); err != nil {
			f.report("runbook", url.at, "%v", err)
		}
	}
	f.templates(r, r.labels, true)
	f.templates(r, annotations, false)
}

func (f *ruleFile) require(r *lintRule, what string, names []string, in, or *lintNode) {
	for _, name := range names {
		if in.get(name).str() == "" && or.get(name).str() == "" {
			f.report("required", r.name.at, "%s has no %s %q", r.name.text, what, name)
		}
	}
}

// An exception is a comment `# yagura:ignore RULE reason`.
type exception struct {
	rule string
	line int
	at   int
	used bool
	in   *lintRule
}

var exceptionComment = regexp.MustCompile(`#\s*yagura:ignore\b[ \t]*(\S*)[ \t]*(.*)`)

// bound finds the lines that belong to each rule: its own, and the comments right above it.
func (f *ruleFile) bound(root *lintNode) {
	starts := []int{}
	var walk func(n *lintNode, depth int)
	walk = func(n *lintNode, depth int) { // beginnings of groups and rules are ends of what is before
		for _, item := range n.list() {
			line, _ := f.text.position(item.at)
			starts = append(starts, f.withComments(line))
			walk(item.get("rules"), depth+1)
		}
	}
	if groups := root.get("groups"); groups != nil {
		walk(groups, 0)
	}
	slices.Sort(starts)
	for _, r := range f.rules {
		line, _ := f.text.position(r.node.at)
		r.from, r.to = f.withComments(line), len(f.text.begins)
		if i, _ := slices.BinarySearch(starts, line+1); i < len(starts) {
			r.to = starts[i] - 1
		}
	}
}

// withComments is the first of the comment lines right above a line.
func (f *ruleFile) withComments(line int) int {
	for line > 1 && strings.HasPrefix(strings.TrimSpace(f.text.line(line-1)), "#") {
		line--
	}
	return line
}

// line returns a line, from 1, without its end.
func (t lintText) line(n int) string {
	text := t.text[t.begins[n-1]:]
	if n < len(t.begins) {
		text = t.text[t.begins[n-1]:t.begins[n]]
	}
	return strings.TrimRight(text, "\r\n")
}

func (f *ruleFile) readExceptions() {
	for i := range f.text.begins {
		m := exceptionComment.FindStringSubmatchIndex(f.text.line(i + 1))
		if m == nil {
			continue
		}
		line := f.text.line(i + 1)
		x := &exception{rule: line[m[2]:m[3]], line: i + 1, at: f.text.begins[i] + m[0]}
		at := slices.IndexFunc(f.rules, func(r *lintRule) bool { return x.line >= r.from && x.line <= r.to })
		_, known := findLintRule(x.rule)
		switch {
		case !known:
			f.report("ignore", x.at, "no lint rule is called %q; write # yagura:ignore RULE reason", x.rule)
		case strings.TrimSpace(line[m[4]:m[5]]) == "":
			f.report("ignore", x.at, "say why %s is ignored here: # yagura:ignore %s reason", x.rule, x.rule)
		case at < 0:
			f.report("ignore", x.at, "the comment stands in no rule, nor right above one")
		default:
			x.in = f.rules[at]
			f.excepted = append(f.excepted, x)
		}
	}
}

// except takes out what comments take out, and reports those that take out nothing.
func (f *ruleFile) except() {
	f.findings = slices.DeleteFunc(f.findings, func(found Finding) bool {
		for _, x := range f.excepted {
			if x.rule == found.Rule && found.Line >= x.in.from && found.Line <= x.in.to {
				x.used = true
				return true
			}
		}
		return false
	})
	for _, x := range f.excepted {
		if !x.used && !slices.Contains(f.Without, x.rule) && (x.rule != "series" || f.Exists != nil) {
			f.reportAs(LintWarning, "ignore", x.at, "%s finds nothing here: remove the comment", x.rule)
		}
	}
}
