package promql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// found is a finding as tests write it: column and rule.
func found(findings []Finding) []string {
	list := []string{}
	for _, f := range findings {
		list = append(list, fmt.Sprintf("%d %s", f.Column, f.Rule))
	}
	return list
}

// places is a finding as tests of files write it: line:column and rule.
func places(findings []Finding) []string {
	list := []string{}
	for _, f := range findings {
		list = append(list, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Rule))
	}
	return list
}

// typesOfTests are metrics whose types are known.
var typesOfTests = map[string]string{"temp": "gauge", "hits": "counter", "procs_count": "gauge", "lat_seconds": "histogram", "load1": "gauge"}

func TestLintQuery(t *testing.T) {
	for _, test := range []struct {
		expr string
		want []string
	}{
		{"sum by (pod) (rate(x_total[5m]))", nil},
		{"sum by (pod (rate(x_total[5m]))", []string{"13 promql"}},

		{"rate(temp[5m])", []string{"6 rate-gauge"}},
		{"max_over_time(resets(temp[1h])[1d:])", []string{"22 rate-gauge"}},
		{"delta(temp[5m]) + increase(hits[5m])", nil},
		{"delta(hits[5m])", []string{"7 delta-counter"}},
		{"rate(procs_count[5m])", []string{"6 rate-gauge"}},
		{"procs_count > 5", nil},
		{"sum(rate(lat_seconds_count[5m])) + histogram_quantile(0.9, sum(rate(lat_seconds[5m])))", nil},
		{"lat_seconds_sum", []string{"1 counter-raw"}},

		{"x_total > 5", []string{"1 counter-raw"}},
		{"sum(hits)", []string{"5 counter-raw"}},
		{"x_total - x_total offset 5m", []string{"1 counter-raw", "11 counter-raw"}},
		{"x_total unless x_total offset 5m", nil},
		{"up and on (instance) x_total", nil},
		{"count(x_total) > 3", nil},
		{"absent(x_total)", nil},
		{"changes(x_total[1h]) > 0", nil},
		{"last_over_time(x_total[1h])", []string{"16 counter-raw"}},
		{"job:x_total:sum", nil},

		{"rate(x_total[30s])", []string{"6 rate-window"}},
		{"rate(x_total[1m])", nil},
		{"avg_over_time(temp[15s])", nil},
		{"rate(sum(x_total)[5m:])", []string{"6 rate-of-sum", "10 counter-raw"}[:1]},
		{"increase((max by (a) (hits))[1h:1m])", []string{"10 rate-of-sum"}},
		{"rate(sum(rate(x_total[5m]))[5m:])", []string{"6 rate-of-rate"}},
		{"rate(job:x:rate5m[5m])", []string{"6 rate-of-rate"}},

		{`up{job=~"node"}`, []string{"1 regexp-plain"}},
		{`up{job!~"node"}`, []string{"1 regexp-plain"}},
		{`up{job=~"10\\.0\\.0\\.1"}`, []string{"1 regexp-plain"}},
		{`up{job=~"(?i)node"}`, nil},
		{`up{job=~"node|web", instance=~".+", pod!~"", env!~".+"}`, nil},
		{`up{job=~".*"}`, []string{"1 regexp-any"}},
		{`up{job!~".*"}`, []string{"1 regexp-none"}},

		{"sum by (a) (x) / sum by (a) (y)", nil},
		{"sum by (a, b) (x) / sum by (a) (y)", []string{"1 matching"}},
		{"sum by (a, b) (x) / on (a) sum by (a) (y)", []string{"1 matching"}},
		{"sum by (a, b) (x) / on (a) group_left sum by (a) (y)", nil},
		{"sum by (a, b) (x) / on (a) group_left sum by (a, c) (y)", []string{"1 matching"}},
		{"sum by (a) (x) * on (a) group_right sum by (a, c) (y)", nil},
		{"sum by (a, b) (x) / ignoring (b) sum by (a) (y)", []string{"1 matching"}},
		{"sum by (a, b) (x) / ignoring (b) group_left sum by (a) (y)", nil},
		{`sum by (a, b) (x{b="1"}) / on (a) sum by (a) (y)`, nil},
		{"sum by (a) (x) / on (b) y", []string{"1 matching"}},
		{"x * on (a) group_left (z) sum by (a) (y)", []string{"1 matching"}},
		{"x * on (a) group_left (z) sum by (a, z) (y)", []string{"1 matching"}}, // several z for one a
		{"x * on (a) group_left (z) y", nil},
		{`x{a="1"} / y{a="2"}`, []string{"1 matching"}},
		{`x{a="1"} / ignoring (a) y{a="2"}`, nil},
		{"sum by (a) (x) and sum by (b) (y)", []string{"1 matching"}},
		{"sum by (a) (x) or sum by (b) (y)", nil},
		{"sum(x) / sum(y)", nil},
		{"sum by (a) (x) > 5", nil},
		{`x{code="500"} / x`, []string{"1 match-same"}},
		{`rate(x_total{code="500"}[5m]) / rate(x_total[5m])`, []string{"1 match-same"}},
		{`sum(rate(x_total{code="500"}[5m])) / sum(rate(x_total[5m]))`, nil},
		{"x / x offset 1d", nil},
		{"sum by (b) (sum by (a) (x))", []string{"1 label-gone"}},
		{"sum by (a) (sum without (b) (x))", nil},
		{"sum by (ip) (count_values by (a) (\"ip\", x))", nil},
		{"sum by (new) (label_replace(sum by (a) (x), \"new\", \"$1\", \"a\", \"(.*)\"))", nil},

		{"sum(rate(a_total[5m]) / rate(b_total[5m]))", []string{"5 nan-in-aggregation"}},
		{"avg by (x) ((rate(a_total[5m]) / (rate(b_total[5m]) > 0)))", nil},
		{"sum(rate(a_total[5m]) / clamp_min(rate(b_total[5m]), 1e-9))", nil},
		{"sum(rate(a_total[5m]) / 60)", nil},
		{"sum(rate(a_total[5m])) / sum(rate(b_total[5m]))", nil},
		{"count((rate(a_total[5m]) / rate(b_total[5m])) > 0.1)", nil},
		{"sum((rate(a_total[5m]) / rate(b_total[5m])) > 0.1)", nil},
		{"max(rate(a_total[5m]) / rate(b_total[5m]))", nil},

		{"histogram_quantile(99, sum by (le) (rate(x_bucket[5m])))", []string{"20 quantile"}},
		{"histogram_quantile(0.99, sum by (pod) (rate(x_bucket[5m])))", []string{"1 quantile"}},
		{"histogram_quantile(0.99, sum without (le) (rate(x_bucket[5m])))", []string{"1 quantile"}},
		{"histogram_quantile(0.99, max by (le) (rate(x_bucket[5m])))", []string{"1 quantile"}},
		{"histogram_quantile(0.99, sum by (pod) (rate(lat_seconds[5m])))", nil},
		{"avg(histogram_quantile(0.99, sum by (pod, le) (rate(x_bucket[5m]))))", []string{"1 average-of-quantiles"}},
		{"max(histogram_quantile(0.99, sum by (pod, le) (rate(x_bucket[5m]))))", nil},

		{"count(up) == 0", []string{"1 never-true"}},
		{"count by (job) (up == 1) < 1", []string{"1 never-true"}},
		{"(count(up) or vector(0)) == 0", nil},
		{"count(up) < 2", nil},
		{"count_over_time(up[5m]) == 0", []string{"1 never-true"}},
		{"absent(sum(up))", []string{"1 absent-aggregate"}},
		{"yagura_saturation_ratio > 80", []string{"1 ratio"}},
		{"yagura_saturation_ratio > 0.8", nil},
		{"max by (pod) (avg_over_time(x_ratio[5m])) >= 90", []string{"1 ratio"}},
		{`sum(rate(x_total{code="500"}[5m])) / sum(rate(x_total[5m])) > 5`, []string{"1 ratio"}},
		{`100 * sum(rate(x_total{code="500"}[5m])) / sum(rate(x_total[5m])) > 5`, nil},
		{"load1 offset -5m", nil}, // a graph may look ahead
	} {
		want := append([]string{}, test.want...)
		got := found(LintQuery(test.expr, LintOptions{Types: typesOfTests}))
		if !slices.Equal(got, want) {
			t.Errorf("LintQuery(%s) = %q, want %q", test.expr, got, want)
		}
	}
}

// A rule file that is as it should be.
const goodRules = `# Rules of a test.
groups:
  - name: shop
    interval: 1m
    rules:
      - record: job:shop_orders:rate5m
        expr: sum by (job) (rate(shop_orders_total[5m]))
      - alert: ShopSilent
        expr: job:shop_orders:rate5m < 0.1
        for: 10m
        labels:
          severity: warning
        annotations:
          summary: Few orders at {{ $labels.job }}.
          description: '{{ $value | humanize }} orders a second.'
      - alert: ShopGone
        expr: absent(up{job="shop"})
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: There is no {{ $labels.job }}.
      - alert: Watchdog
        expr: vector(1)
        labels: {severity: none}
        annotations: {summary: Always there.}
`

func TestLintRulesLikesGoodRules(t *testing.T) {
	if got := LintRules("good.yaml", []byte(goodRules), LintOptions{Strict: true}); len(got) != 0 {
		t.Errorf("findings of a good file: %v", got)
	}
}

// rule puts one rule into a file. Its first line is the file's fourth.
func ruleText(text string) []byte {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "      " + line
		}
	}
	lines[0] = "    - " + strings.TrimSpace(lines[0])
	return []byte("groups:\n  - name: g\n    rules:\n" + strings.Join(lines, "\n") + "\n")
}

func TestLintRulesSaysWhatAndWhere(t *testing.T) {
	const well = "\nlabels: {severity: warning}\nannotations: {summary: s}"
	for name, test := range map[string]struct {
		rule string
		o    LintOptions
		want []string
	}{
		"the place in a block":                   {"alert: A\nexpr: |\n  sum by (job) (\n    rate(x_total[5m])\n  )\n  > on (x)\n  sum by (job) (y)" + well, LintOptions{}, []string{"6:9 matching"}},
		"the place in a block's later line":      {"alert: A\nexpr: |-\n  up == 0\n  and on (job)\n  rate(x_total[30s]) > 0" + well, LintOptions{}, []string{"8:14 rate-window"}},
		"the place in a folded text":             {"alert: A\nexpr: >\n  up == 0 and on (job)\n  rate(x_total[30s]) > 0" + well, LintOptions{}, []string{"7:14 rate-window"}},
		"the place in a plain text of two lines": {"alert: A\nexpr: up == 0 and on (job)\n  rate(x_total[30s]) > 0" + well, LintOptions{}, []string{"6:14 rate-window"}},
		"the place behind escapes": {`alert: A
expr: "up{a=\"\\\\d\"} == 0 and on (job) rate(x_total[30s]) > 0"` + well, LintOptions{}, []string{"5:53 rate-window"}},
		"the place in single quotes": {"alert: A\nexpr: 'up{a=''1''} == 0 and on (job) rate(x_total[30s]) > 0'" + well, LintOptions{}, []string{"5:49 rate-window"}},
		"syntax in a block":          {"alert: A\nexpr: |\n  sum(\n    rate(x_total[5m]\n  )" + well, LintOptions{}, []string{"8:10 promql"}},

		"an unknown key":              {"alert: A\nexpr: up == 0\nfro: 5m" + well, LintOptions{}, []string{"6:7 unknown-key"}},
		"an annotation of a record":   {"record: a:b:c\nexpr: sum(up)\nannotations: {summary: s}", LintOptions{}, []string{"6:7 unknown-key"}},
		"a record's name":             {"record: a-b\nexpr: sum(up)", LintOptions{}, []string{"4:15 syntax"}},
		"no expression":               {"alert: A" + well, LintOptions{}, []string{"4:7 syntax"}},
		"a duration":                  {"alert: A\nexpr: up == 0\nfor: 5 minutes" + well, LintOptions{}, []string{"6:12 syntax"}},
		"a key that is there twice":   {"alert: A\nexpr: up == 0\nexpr: up == 1" + well, LintOptions{}, []string{"6:7 syntax"}},
		"missing labels":              {"alert: A\nexpr: up == 0", LintOptions{}, []string{"4:14 required", "4:14 required"}},
		"missing labels that we want": {"alert: A\nexpr: up == 0" + well, LintOptions{Labels: []string{"severity", "component"}, Annotations: []string{"runbook_url"}}, []string{"4:14 required", "4:14 required"}},
		"a severity":                  {"alert: A\nexpr: up == 0\nlabels: {severity: page}\nannotations: {summary: s}", LintOptions{Severities: []string{"critical", "warning"}}, []string{"6:26 severity-value"}},
		"a runbook":                   {"alert: A\nexpr: up == 0\nlabels: {severity: page}\nannotations: {summary: s, runbook_url: nowhere}", LintOptions{Runbook: func(url string) error { return errors.New("no " + url) }}, []string{"7:46 runbook"}},

		"no comparison":            {"alert: A\nexpr: up" + well, LintOptions{}, []string{"5:13 comparison"}},
		"a comparison with bool":   {"alert: A\nexpr: up == bool 0" + well, LintOptions{}, []string{"5:13 comparison"}},
		"or vector(0)":             {"alert: A\nexpr: up == 0 or vector(0)" + well, LintOptions{}, []string{"5:13 comparison"}},
		"and without a comparison": {"alert: A\nexpr: up and on (job) down" + well, LintOptions{}, []string{"5:13 comparison"}},
		"unless is one":            {"alert: A\nexpr: up unless on (job) down" + well, LintOptions{}, nil},
		"a comparison under a sum": {"alert: A\nexpr: count by (job) (up == 0)" + well, LintOptions{}, nil},
		"absent without for":       {"alert: A\nexpr: absent(up)" + well, LintOptions{}, []string{"5:13 absent-for"}},
		"absent with a short for":  {"alert: A\nexpr: absent(up) or up == 0\nfor: 1m" + well, LintOptions{ScrapeInterval: time.Minute}, []string{"5:13 absent-for"}},
		"a look ahead":             {"alert: A\nexpr: up offset -5m == 0" + well, LintOptions{}, []string{"5:13 offset"}},
		"a fixed time":             {"record: a:b:c\nexpr: up @ 1700000000", LintOptions{}, []string{"5:13 offset"}},
		"@ end()":                  {"record: a:b:c\nexpr: sum(rate(x_total[5m] @ end()))", LintOptions{}, []string{"5:22 offset"}},
		"an offset":                {"record: a:b:c\nexpr: up offset 1w", LintOptions{}, nil},

		"a label that was aggregated away": {"alert: A\nexpr: sum by (pod) (x) > 1\nlabels: {severity: warning}\nannotations:\n  summary: 'on {{ $labels.instance }}'", LintOptions{}, []string{"8:32 template-label"}},
		"a label that without takes":       {"alert: A\nexpr: sum without (instance) (x) > 1\nlabels: {severity: warning}\nannotations:\n  summary: 'on {{ .Labels.instance }}'", LintOptions{}, []string{"8:32 template-label"}}, // at the last dot
		"a label by index":                 {"alert: A\nexpr: sum(x) > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ index $labels \"a\" }}'", LintOptions{}, []string{"8:36 template-label"}},
		"a label in a condition":           {"alert: A\nexpr: sum by (a) (x) > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ if $labels.b }}x{{ end }}'", LintOptions{}, []string{"8:32 template-label"}},
		"a label that group_left brings":   {"alert: A\nexpr: sum by (a) (x) * on (a) group_left (b) y > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $labels.b }}'", LintOptions{}, nil},
		"a label that on leaves out":       {"alert: A\nexpr: x / on (a) y > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $labels.b }}'", LintOptions{}, []string{"8:29 template-label"}},
		"a label of absent":                {"alert: A\nexpr: absent(up{job=\"x\", pod=~\"y.+\"})\nfor: 5m\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $labels.job }} {{ $labels.pod }}'", LintOptions{}, []string{"9:47 template-label"}},
		"a label of a query's answer":      {"alert: A\nexpr: sum by (a) (x) > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ range query \"x\" }}{{ .Labels.b }}{{ $labels.c }}{{ else }}{{ .Labels.d }}{{ end }}'", LintOptions{}, []string{"8:65 template-label", "8:90 template-label"}},
		"the bound of a quantile":          {"alert: A\nexpr: histogram_quantile(0.9, rate(x_bucket[5m])) > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $labels.le }}'", LintOptions{}, []string{"8:29 template-label"}},
		"a template that does not parse":   {"alert: A\nexpr: up == 0\nlabels: {severity: warning}\nannotations:\n  summary: |\n    one\n    {{ $labels.job }", LintOptions{}, []string{"10:11 template"}},
		"a function that is not there":     {"alert: A\nexpr: up == 0\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $value | humanise }}'", LintOptions{}, []string{"8:19 template"}},
		"a variable that is not there":     {"alert: A\nexpr: up == 0\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $label.job }}'", LintOptions{}, []string{"8:19 template"}},
		"a value with all digits":          {"alert: A\nexpr: up == 0\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $value }} of {{ printf \"%.2f\" $value }}'", LintOptions{}, []string{"8:22 template-value"}},
		"a value in a label":               {"alert: A\nexpr: up == 0\nlabels: {severity: warning, v: '{{ $value | humanize }}'}\nannotations: {summary: s}", LintOptions{}, []string{"6:42 label-value"}},
		"a value in a label's condition":   {"alert: A\nexpr: x > 1\nlabels:\n  severity: '{{ if gt $value 90.0 }}critical{{ else }}warning{{ end }}'\nannotations: {summary: s}", LintOptions{}, nil},
		"a percentage of a percentage":     {"alert: A\nexpr: 100 * a / b > 5\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $value | humanizePercentage }}'", LintOptions{}, nil},
		"a percentage of a hundredfold":    {"alert: A\nexpr: (a / b) * 100 > 5\nlabels: {severity: warning}\nannotations:\n  summary: '{{ $value | humanizePercentage }}'", LintOptions{}, []string{"8:31 percent"}},
		"a query in a template":            {"alert: A\nexpr: up == 0\nlabels: {severity: warning}\nannotations:\n  summary: '{{ range query \"rate(x_total[5m)\" }}{{ .Value | humanize }}{{ end }}'", LintOptions{}, []string{"8:34 promql"}},

		"an exception":                    {"alert: A\nexpr: up # yagura:ignore comparison it is a test" + well, LintOptions{}, nil},
		"an exception without reason":     {"alert: A\nexpr: up # yagura:ignore comparison" + well, LintOptions{}, []string{"5:13 comparison", "5:16 ignore"}},
		"an exception of something else":  {"alert: A\nexpr: up # yagura:ignore comparision because" + well, LintOptions{}, []string{"5:13 comparison", "5:16 ignore"}},
		"an exception that is not needed": {"alert: A\nexpr: up == 0 # yagura:ignore comparison because" + well, LintOptions{}, []string{"5:21 ignore"}},
		"a rule that is left out":         {"alert: A\nexpr: up" + well, LintOptions{Without: []string{"comparison"}}, nil},
	} {
		want := append([]string{}, test.want...)
		text := ruleText(test.rule)
		if got := places(LintRules("f.yaml", text, test.o)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q, of\n%s", name, got, want, text)
			for _, f := range LintRules("f.yaml", text, test.o) {
				t.Log(f)
			}
		}
	}
}

func TestLintRulesLooksAtWholeFiles(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"no YAML":                              {"groups: [\n", []string{"2:1 syntax"}},
		"nothing":                              {"", []string{"1:1 syntax"}},
		"another document":                     {"rules: []\n", []string{"1:1 syntax", "1:1 unknown-key"}},
		"a list":                               {"- groups: []\n", []string{"1:1 syntax"}},
		"a long interval":                      {"groups:\n- name: g\n  interval: 10m\n  rules: []\n", []string{"3:13 group-interval"}},
		"two groups of one name":               {"groups:\n- name: g\n  rules: []\n- name: g\n  rules: []\n", []string{"4:9 syntax"}},
		"a group's key":                        {"groups:\n- name: g\n  rule: []\n", []string{"3:3 unknown-key"}},
		"two records":                          {"groups:\n- name: g\n  rules:\n  - {record: a:b:c, expr: sum(x)}\n- name: h\n  rules:\n  - {record: a:b:c, expr: sum(y)}\n", []string{"7:14 duplicate-rule"}},
		"two records of different labels":      {"groups:\n- name: g\n  rules:\n  - {record: a:b:c, expr: sum(x), labels: {q: a}}\n  - {record: a:b:c, expr: sum(y), labels: {q: b}}\n", nil},
		"a comment above a rule":               {"groups:\n- name: g\n  rules:\n  # yagura:ignore rate-window the test scrapes each second\n  - {record: a:b:c, expr: 'sum(rate(x_total[5s]))'}\n  - {record: a:b:d, expr: 'sum(rate(x_total[5s]))'}\n", []string{"6:37 rate-window"}},
		"a comment in no rule":                 {"# yagura:ignore rate-window it is the file's\ngroups:\n- name: g\n  rules:\n  - {record: a:b:c, expr: 'sum(rate(x_total[5s]))'}\n", []string{"1:1 ignore", "5:37 rate-window"}},
		"a rate of a recorded sum":             {"groups:\n- name: g\n  rules:\n  - {record: 'a:x:sum', expr: 'count(x_total)'}\n  - {record: 'b:x:sum', expr: 'max(x_total unless x_total offset 5m)'}\n  - {record: 'a:y', expr: 'sum(rate(a:x:sum[5m]))'}\n", nil},
		"a rate of a recorded sum of counters": {"groups:\n- name: g\n  rules:\n  - {record: 'a:x:sum', expr: 'sum(x_total)'} # yagura:ignore counter-raw the next one is what is tested\n  - {record: 'a:y', expr: 'sum(rate(a:x:sum[5m]))'}\n", []string{"5:37 rate-of-sum"}},
		"an alias":                             {"groups:\n- name: g\n  labels: &l {severity: warning}\n  rules:\n  - {alert: A, expr: up == 0, labels: *l, annotations: &a {summary: s}}\n  - {alert: B, expr: up == 0, labels: {}, annotations: *a}\n", nil},
	} {
		want := append([]string{}, test.want...)
		got := LintRules("f.yaml", []byte(test.text), LintOptions{})
		if !slices.Equal(places(got), want) {
			t.Errorf("%s: %v, want %q", name, got, want)
		}
	}
}

func TestAliasesAreBounded(t *testing.T) {
	for text, want := range map[string]string{
		"groups: &a [*a]\n": "nested too deeply",
		"a: &a [x, x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n": "more than 1048576 values",
	} {
		if got := LintRules("f.yaml", []byte(text), LintOptions{}); len(got) != 1 || got[0].Rule != "syntax" || !strings.Contains(got[0].Message, want) {
			t.Errorf("%.20q…: %v, want one that says %q", text, got, want)
		}
	}
}

func TestLintRulesFindsAlertsOfOneName(t *testing.T) {
	alert := func(labels string) string {
		return "  - {alert: A, expr: 'x > 1', labels: {" + labels + "}, annotations: {summary: s}}\n"
	}
	const head = "groups:\n- name: g\n  rules:\n"
	o := LintOptions{Names: map[string]string{}}
	tiers := head + alert("severity: warning") + strings.Replace(alert("severity: critical"), "> 1", "> 2", 1)
	if got := LintRules("one.yaml", []byte(tiers), o); len(got) != 0 {
		t.Errorf("two severities of an alert: %v", got)
	}
	if got := LintRules("one.yaml", []byte(tiers), o); len(got) != 0 {
		t.Errorf("the same file again: %v", got)
	}
	got := LintRules("two.yaml", []byte(head+alert("severity: info")), o)
	if len(got) != 1 || got[0].Rule != "duplicate-alert" || !strings.Contains(got[0].Message, "one.yaml:4") {
		t.Errorf("an alert that another file has: %v", got)
	}
	same := head + alert("severity: warning") + strings.Replace(alert("severity: warning"), "> 1", "> 2", 1)
	if got := places(LintRules("three.yaml", []byte(same), LintOptions{})); !slices.Equal(got, []string{"5:13 duplicate-alert"}) {
		t.Errorf("two alerts of one name and severity: %q", got)
	}
	twice := head + alert("severity: warning") + alert("severity: warning")
	if got := places(LintRules("four.yaml", []byte(twice), LintOptions{})); !slices.Equal(got, []string{"5:13 duplicate-rule"}) {
		t.Errorf("an alert that is there twice: %q", got)
	}
}

func TestLintAsksOnceForEachSeries(t *testing.T) {
	there := map[string]bool{"up": true, `up{job!=""}`: true}
	var asked []string
	o := LintOptions{Exists: func(selector string) (bool, error) {
		asked = append(asked, selector)
		if selector == "broken" {
			return false, errors.New("no answer")
		}
		return there[selector], nil
	}}
	got := LintQuery("up{job=\"a\", pod=\"b\", x=\"\"} or\nup{job=\"c\"} or\ngone or absent(nothing) or\ngone or\n broken or ALERTS", o)
	if want := []string{"1:1 series", "3:1 series", "5:2 series"}; !slices.Equal(places(got), want) {
		t.Errorf("findings %v, want %q", got, want)
	}
	if want := []string{"up", `up{job!=""}`, `up{pod!=""}`, "gone", "broken"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestLabelsThatATemplateOnlyAsksForAreNoErrors(t *testing.T) {
	text := ruleText("alert: A\nexpr: sum by (a) (x) > 1\nlabels: {severity: warning}\nannotations:\n  summary: '{{ with $labels.b }}{{ . }}{{ end }}{{ or $labels.c $labels.a }}'")
	got := LintRules("f.yaml", text, LintOptions{Strict: true})
	if len(got) != 2 || got[0].Severity != LintInfo || got[1].Severity != LintInfo || got[0].Rule != "template-label" {
		t.Errorf("findings %v, want two things to know", got)
	}
}

func TestStrictMakesErrorsOfWarnings(t *testing.T) {
	for _, test := range []struct {
		expr   string
		strict bool
		want   Severity
	}{
		{"x_total", false, LintWarning}, {"x_total", true, LintError},
		{"absent(sum(x))", true, LintInfo}, {"rate(", false, LintError},
	} {
		got := LintQuery(test.expr, LintOptions{Strict: test.strict})
		if len(got) != 1 || got[0].Severity != test.want {
			t.Errorf("LintQuery(%s), strict %v: %v, want one %s", test.expr, test.strict, got, test.want)
		}
	}
}

func TestLintRulesAreDescribedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range lintRules {
		if seen[r.Name] || r.Doc == "" || !strings.HasSuffix(r.Doc, ".") {
			t.Errorf("lint rule %+v: wanted a name of its own and a sentence", r)
		}
		seen[r.Name] = true
	}
}

func TestFindingsAreBounded(t *testing.T) {
	many := "vector(0)" + strings.Repeat(" + x_total", 1500)
	if got := LintQuery(many, LintOptions{}); len(got) != maxFindings {
		t.Errorf("%d findings, want %d", len(got), maxFindings)
	}
}

func TestLongExpressionsAreNotLookedAt(t *testing.T) {
	if got := LintQuery("1"+strings.Repeat("+1", maxLintQuery/2), LintOptions{}); len(got) != 1 || got[0].Rule != "promql" || !strings.Contains(got[0].Message, "16385 bytes") {
		t.Errorf("findings of a long expression: %v", got)
	}
}

func FuzzLintRules(f *testing.F) {
	f.Add([]byte(goodRules))
	f.Add(ruleText("alert: A\nexpr: |\n  sum(\n    rate(x_total[5m]\n  )\nannotations: {summary: '{{ $labels.x'}"))
	f.Add([]byte("groups: [{rules: [{alert: \"\\u00e9\\n\", expr: \"up\\x20== 0\", labels: &a {a: b}, annotations: *a}]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		checkPlaces(t, text, LintRules("f", text, LintOptions{}))
	})
}

func FuzzLintQuery(f *testing.F) {
	f.Add("sum by (a, b) (x) / on (a) group_left (c) sum by (a) (y)")
	f.Add("histogram_quantile(0.9, rate(é_bucket[5m]))")
	f.Fuzz(func(t *testing.T, expr string) {
		checkPlaces(t, []byte(expr), LintQuery(expr, LintOptions{}))
	})
}

// checkPlaces wants every finding to be of a known rule, and to lie in the text.
func checkPlaces(t *testing.T, text []byte, findings []Finding) {
	lines := strings.Split(string(text), "\n")
	for _, f := range findings {
		if _, ok := findLintRule(f.Rule); !ok || f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len([]rune(lines[f.Line-1]))+1 || f.Message == "" {
			t.Fatalf("finding %+v of %q", f, text)
		}
	}
}

func TestFindingString(t *testing.T) {
	f := Finding{"a.yaml", 3, 7, LintWarning, "ratio", "too much"}
	if diff := cmp.Diff("a.yaml:3:7: warning: too much (ratio)", f.String()); diff != "" {
		t.Error(diff)
	}
}
