package promql

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// A Finding is something in a rule file, a dashboard or a query that is wrong or likely to be, and what to do about it.
type Finding struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line"`   // from 1
	Column   int      `json:"column"` // from 1, in characters
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule"`
	Message  string   `json:"message"`
}

// String is how compilers write it, so that editors find the place.
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s (%s)", cmp.Or(f.File, "query"), f.Line, f.Column, f.Severity, f.Message, f.Rule)
}

// Severity says how sure it is that a finding must be changed.
type Severity int

// An error never does what it was written for; a warning mostly does not; an info is worth knowing.
const (
	LintInfo Severity = iota
	LintWarning
	LintError
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// MarshalJSON writes the word.
func (s Severity) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LintOptions say what is known besides the text, and how strict to be. The zero value is what users' own files get.
type LintOptions struct {
	Strict         bool              // warnings are errors: for the files that we ship
	ScrapeInterval time.Duration     // 15s if zero
	Types          map[string]string // of metrics, as /api/v1/metadata has them: counter, gauge, histogram …; without, names tell
	Without        []string          // names of lint rules that are left out

	Labels, Annotations []string // that alerts must have; nil: severity, and summary
	Severities          []string // values that the label severity may have; nil: any

	Exists  func(selector string) (bool, error) // whether a live server has such series; nil: nobody is asked
	Runbook func(url string) error              // why a runbook URL leads nowhere; nil: nobody looks
	Names   map[string]string                   // rule → FILE:LINE of those in other files; LintRules adds its own
	Boards  map[string]string                   // dashboards that links may lead to, uid → file; LintDashboard adds its own
}

func (o LintOptions) complete() LintOptions {
	o.ScrapeInterval = cmp.Or(o.ScrapeInterval, Default.ScrapeInterval)
	if o.Labels == nil {
		o.Labels = []string{"severity"}
	}
	if o.Annotations == nil {
		o.Annotations = []string{"summary"}
	}
	return o
}

// A LintRule is one thing that is looked for.
type LintRule struct {
	Name     string
	Severity Severity
	Doc      string
}

// lintRules are all of them: of files, of rules, of PromQL, of dashboards.
var lintRules = []LintRule{
	{"syntax", LintError, "The file is YAML or JSON, of the shape that Prometheus or Grafana reads."},
	{"unknown-key", LintError, "Every key is one that Prometheus knows; it refuses the whole file otherwise."},
	{"ignore", LintError, "An exception is written `# yagura:ignore RULE reason`, in the rule that it is for, and is needed."},

	{"duplicate-rule", LintError, "No rule is there twice: with the same name and labels, one's samples clash with the other's."},
	{"duplicate-alert", LintWarning, "Alerts of one name in different places cannot be told apart by routing and silences."},
	{"group-interval", LintWarning, "A group is evaluated at least every 5 minutes: older samples are not looked at."},
	{"required", LintWarning, "Alerts have the labels and annotations that routing and templates rely on."},
	{"severity-value", LintWarning, "The label severity is one of the words that routing knows."},
	{"runbook", LintError, "The runbook's URL leads to a section that exists."},
	{"label-value", LintError, "No label of an alert holds its value: each evaluation would make a new alert."},
	{"template", LintError, "Templates parse."},
	{"template-label", LintError, "Labels that a template shows are there after the expression's aggregations."},
	{"template-value", LintWarning, "Values are shown rounded and with a unit, by humanize and its kin or printf."},
	{"percent", LintWarning, "humanizePercentage is for ratios; what was multiplied by 100 already would be shown a hundredfold."},
	{"comparison", LintWarning, "An alert's expression compares; without, it fires for every series that exists."},
	{"absent-for", LintWarning, "An alert on absent() waits for two scrapes; one that is late is no absence."},

	{"promql", LintError, "The expression parses."},
	{"rate-window", LintWarning, "The window of rate() and its kin holds four scrapes, so that one may fail."},
	{"rate-gauge", LintError, "rate(), increase(), irate() and resets() are for counters: a gauge that falls looks like a reset."},
	{"delta-counter", LintWarning, "delta(), deriv() and their kin are for gauges: a counter's reset looks like a fall."},
	{"counter-raw", LintWarning, "Counters are read through rate() or increase(): their value depends on the last restart."},
	{"rate-of-sum", LintError, "rate() comes before sum(): a sum of counters falls when one series ends, which looks like a reset."},
	{"rate-of-rate", LintError, "What is a rate already is not put through rate()."},
	{"regexp-plain", LintWarning, "A regular expression has something that makes it one; else = and != say it and are faster."},
	{"regexp-any", LintWarning, "A matcher rules something out; one that matches everything only costs time."},
	{"regexp-none", LintError, "A matcher leaves something over."},
	{"matching", LintError, "The two sides of an operator have labels by which they can match, one to one unless group_left or group_right say so."},
	{"match-same", LintError, "A part is not divided by its whole label by label: that is the part by itself, always 1."},
	{"label-gone", LintError, "Labels that one groups by are left by the aggregation below."},
	{"nan-in-aggregation", LintWarning, "One 0/0 makes a whole sum NaN: aggregate first, divide after."},
	{"quantile", LintError, "histogram_quantile() gets buckets summed with their label le, and a quantile from 0 to 1."},
	{"average-of-quantiles", LintWarning, "Quantiles cannot be averaged or added: aggregate the buckets instead."},
	{"never-true", LintError, "The comparison can be true: counts of nothing are nothing, not 0."},
	{"absent-aggregate", LintInfo, "absent() of a selector names its labels; of an aggregation it cannot."},
	{"offset", LintWarning, "Rules look at what is and has been: no negative offset, no @ with a fixed time."},
	{"ratio", LintWarning, "A ratio goes from 0 to 1."},
	{"series", LintWarning, "The series exist on the server that was asked."},

	{"uid", LintWarning, "A dashboard has a uid of its own, by which links find it."},
	{"panel-id", LintError, "Panels have ids that no other panel of the dashboard has."},
	{"datasource", LintWarning, "The data source is a variable, and every panel uses it: so the dashboard works elsewhere."},
	{"title", LintWarning, "Dashboards and panels say what they show."},
	{"description", LintWarning, "Panels say what is bad and what to look at next."},
	{"unit", LintWarning, "Panels have a unit that Grafana knows."},
	{"panel-type", LintWarning, "Panels are of types that Grafana still has."},
	{"target", LintError, "A panel asks at least one question, and names each differently."},
	{"rate-interval", LintWarning, "rate() in a graph takes $__rate_interval, which grows with the step and holds four scrapes."},
	{"legend-label", LintWarning, "Labels of a legend are there after the expression's aggregations."},
	{"variable", LintError, "Variables that are used are defined, and their queries parse."},
	{"variable-refresh", LintWarning, "Variables that are queries are asked anew when the time range changes."},
	{"variable-unused", LintWarning, "Variables that are defined are used."},
	{"overlap", LintError, "Panels lie within the 24 columns, and none on another."},
	{"link", LintError, "Links lead to dashboards that exist."},
	{"link-time", LintWarning, "Links to dashboards keep the time range."},
	{"thresholds", LintError, "Thresholds begin with the base, which has no value, and go up."},
	{"editable", LintWarning, "A dashboard that comes from a file is not editable: what is changed there would be lost."},
}

func findLintRule(name string) (LintRule, bool) {
	i := slices.IndexFunc(lintRules, func(r LintRule) bool { return r.Name == name })
	if i < 0 {
		return LintRule{}, false
	}
	return lintRules[i], true
}

// maxFindings bounds what is told of one file: a file that is that wrong is another kind of file.
const maxFindings = 500

// A linter collects findings of one text.
type linter struct {
	LintOptions
	file     string
	text     lintText
	findings []Finding
	asked    map[string]bool // selectors that Exists was asked for
}

func newLinter(file string, text []byte, o LintOptions) *linter {
	return &linter{LintOptions: o.complete(), file: file, text: newLintText(string(text)), asked: map[string]bool{}}
}

// report adds a finding at an offset of the text.
func (l *linter) report(rule string, at int, format string, args ...any) {
	r, ok := findLintRule(rule)
	if !ok {
		panic("lint rule " + rule + " is not in the table")
	}
	l.reportAs(r.Severity, rule, at, format, args...)
}

// reportAs is report for where a rule is more or less sure than it mostly is.
func (l *linter) reportAs(s Severity, rule string, at int, format string, args ...any) {
	if len(l.findings) == maxFindings || slices.Contains(l.Without, rule) {
		return
	}
	if l.Strict && s == LintWarning {
		s = LintError
	}
	line, column := l.text.position(at)
	l.findings = append(l.findings, Finding{l.file, line, column, s, rule, clean(fmt.Sprintf(format, args...))})
}

// sorted returns what was found in the order of the text, each once.
func (l *linter) sorted() []Finding {
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Rule, b.Rule), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(l.findings)
}

// lintParser knows what the engine of this program knows.
var lintParser = parser.NewParser(parser.Options{})
