package alerts_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/yagura-io/yagura/alerts"
	"github.com/yagura-io/yagura/promql"
)

// Every gate is a function from files to complaints, so that it can be shown to bite: the shipped files have none, and a
// broken copy of them has the one it is broken for.

// A source is the files of a pack, as they are or broken.
type source struct{ name, rules, tests, runbook string }

func sources(t testing.TB) []source {
	t.Helper()
	var all []source
	for _, p := range alerts.Packs() {
		all = append(all, source{p.Name, string(p.File), read(t, "tests/"+p.Name+".yaml"), read(t, "runbooks/"+p.Name+".md")})
	}
	if len(all) == 0 {
		t.Fatal("no packs")
	}
	return all
}

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Error(err) // what else is wrong is worth knowing, too
	}
	return string(text)
}

type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Record        string            `yaml:"record"`
			Alert         string            `yaml:"alert"`
			Expr          string            `yaml:"expr"`
			For           string            `yaml:"for"`
			KeepFiringFor string            `yaml:"keep_firing_for"`
			Labels        map[string]string `yaml:"labels"`
			Annotations   map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func (s source) parse(t testing.TB) ruleFile {
	t.Helper()
	var f ruleFile
	if err := yaml.Unmarshal([]byte(s.rules), &f); err != nil {
		t.Fatalf("%s.yaml: %v", s.name, err)
	}
	return f
}

func expression(t testing.TB, text string) parser.Expr {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

// gate shows the complaints about the shipped files, and that each broken copy has one that says want.
func gate(t *testing.T, complaints func(testing.TB, []source) []string, broken map[string]func(*source)) {
	t.Helper()
	shipped := complaints(t, sources(t))
	for _, c := range shipped {
		t.Error(c)
	}
	for want, change := range broken {
		copies := sources(t)
		for i := range copies {
			change(&copies[i])
		}
		if slices.Equal(copies, sources(t)) {
			t.Errorf("the copy that should be blamed for %q is not broken", want)
		}
		got := slices.DeleteFunc(complaints(t, copies), func(c string) bool { return slices.Contains(shipped, c) })
		if !slices.ContainsFunc(got, func(c string) bool { return strings.Contains(c, want) }) {
			t.Errorf("a broken copy is not blamed for %q, but for %q", want, got)
		}
	}
}

func replace(old, new string) func(*source) {
	return func(s *source) { s.rules = strings.Replace(s.rules, old, new, 1) }
}

var (
	alertName  = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	recordName = regexp.MustCompile(`^[a-z0-9_]+:[a-zA-Z0-9_]+:[a-z0-9_]+$`)
	severities = []string{"critical", "warning", "info", "none"}
)

// instant says whose alerts need no patience: a hit is a fact, and stays one.
func instant(pack string) bool { return pack == "security" || pack == "fim" }

func TestEveryAlertIsComplete(t *testing.T) {
	gate(t, completeness, map[string]func(*source){
		"severity":                  replace("severity: warning", "severity: urgent"),
		"no label component":        replace("component: cpu\n", "component: ''\n"),
		"no annotation summary":     replace("summary: ", "summry: "),
		"no annotation description": replace("description: ", "descr: "),
		"runbook_url is":            replace("/runbooks/", "/runbook/"),
		"no `for`":                  replace("        for: 5m\n", ""),
		"is there twice":            replace("alert: NodeLoadHigh", "alert: NodeCPUSaturated"),
		"CamelCase":                 replace("alert: NodeLoadHigh", "alert: node_load_high"),
		"level:metric:operations":   replace("record: instance:node_cpus:count", "record: node_cpus"),
		"group is called":           replace("name: yagura-node-cpu", "name: cpu"),
		"is not the first group": func(s *source) {
			s.rules += "  - name: yagura-" + s.name + "-more\n    rules: [{record: 'a:b:c', expr: vector(1)}]\n"
		},
		"summary has more than one line":   replace("summary: '{{ $labels.instance }} was rebooted'", `summary: "{{ $labels.instance }}\nwas rebooted"`),
		"description does not say a value": replace("{{ $value | humanizeDuration }}", "long"),
	})
}

func completeness(t testing.TB, packs []source) (complaints []string) {
	seen := map[string]string{}
	for _, s := range packs {
		for i, g := range s.parse(t).Groups {
			say := func(name, format string, args ...any) {
				complaints = append(complaints, fmt.Sprintf("%s.yaml: %s: %s", s.name, name, fmt.Sprintf(format, args...)))
			}
			if !strings.HasPrefix(g.Name, "yagura-"+s.name+"-") {
				say(g.Name, "the group is called otherwise than yagura-%s-…", s.name)
			}
			for _, r := range g.Rules {
				if r.Record != "" {
					if !recordName.MatchString(r.Record) {
						say(r.Record, "its name is not level:metric:operations")
					}
					if i > 0 && s.name != "slo" {
						say(r.Record, "its group of recording rules is not the first group")
					}
					continue
				}
				if !alertName.MatchString(r.Alert) {
					say(r.Alert, "its name is not CamelCase")
				}
				if pack := seen[r.Alert]; pack != "" && (pack != "slo" || s.name != "slo") {
					say(r.Alert, "it is there twice, in %s too", pack)
				}
				seen[r.Alert] = s.name
				if !slices.Contains(severities, r.Labels["severity"]) {
					say(r.Alert, "severity is %q: want one of %q", r.Labels["severity"], severities)
				}
				for _, label := range []string{"severity", "component"} {
					if r.Labels[label] == "" {
						say(r.Alert, "it has no label %s", label)
					}
				}
				for _, annotation := range []string{"summary", "description"} {
					if r.Annotations[annotation] == "" {
						say(r.Alert, "it has no annotation %s", annotation)
					}
				}
				if strings.Contains(r.Annotations["summary"], "\n") {
					say(r.Alert, "its summary has more than one line")
				}
				if want := "https://github.com/yagura-io/yagura/blob/main/alerts/runbooks/" + s.name + ".md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
					say(r.Alert, "runbook_url is %q: want %q", r.Annotations["runbook_url"], want)
				}
				if r.For == "" && r.Labels["severity"] != "none" && !instant(s.name) {
					say(r.Alert, "it has no `for`, and would flap")
				}
				if needsValue(expression(t, r.Expr)) && !strings.Contains(r.Annotations["summary"]+r.Annotations["description"], "$value") {
					say(r.Alert, "its description does not say a value")
				}
			}
		}
	}
	return complaints
}

// needsValue says whether the value of an alert tells more than that it fires: one that is compared with equality has
// only one value, and where a prediction leads is a number beyond what can be.
func needsValue(e parser.Expr) bool {
	c := topComparison(e)
	if c == nil || c.Op == parser.EQLC || strings.Contains(c.LHS.String(), "predict_linear") {
		return false
	}
	n, ok := c.RHS.(*parser.NumberLiteral)
	return ok && (n.Val != 1 || c.Op != parser.LSS) // fewer than one is none
}

// topComparison is the right-most comparison outside of parentheses, by Prometheus' own parser.
func topComparison(e parser.Expr) *parser.BinaryExpr {
	b, ok := e.(*parser.BinaryExpr)
	if !ok {
		return nil
	}
	if c := topComparison(b.RHS); c != nil {
		return c
	}
	if b.Op.IsComparisonOperator() {
		return b
	}
	return topComparison(b.LHS)
}

func TestEveryThresholdIsWhatPrometheusComparesWith(t *testing.T) {
	compared := 0
	for _, a := range alerts.All() {
		c := topComparison(expression(t, a.Expr))
		if c == nil {
			continue
		}
		n, ok := c.RHS.(*parser.NumberLiteral)
		if !ok {
			t.Errorf("%s compares with %s outside of parentheses: want a number, which dashboards can draw", a.Name, c.RHS)
			continue
		}
		compared++
		if first, _ := alerts.Find(a.Name); first.Expr != a.Expr {
			continue // another rule of that name, which only generated packs have
		}
		if got := alerts.Threshold(a.Name); got != n.Val {
			t.Errorf("Threshold(%q) = %v, but it compares with %v", a.Name, got, n.Val)
		}
	}
	if compared < 80 {
		t.Errorf("only %d alerts compare with a number", compared)
	}
}

// A unitTest is what counts of a test file.
type unitTest struct {
	Order []string `yaml:"group_eval_order"`
	Tests []struct {
		AlertRuleTest []struct {
			Alertname string           `yaml:"alertname"`
			ExpAlerts []map[string]any `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	} `yaml:"tests"`
}

func TestEveryAlertFiresAndStaysSilentInATest(t *testing.T) {
	gate(t, testedness, map[string]func(*source){
		"NodeLoadHigh: no test fires it": func(s *source) { s.tests = strings.ReplaceAll(s.tests, "alertname: NodeLoadHigh", "alertname: Other") },
		"NodeLoadHigh: no test shows it si": func(s *source) {
			s.tests = strings.ReplaceAll(s.tests, "alertname: NodeLoadHigh\n        exp_alerts: []", "alertname: Other")
		},
		"tests NoSuchAlert": func(s *source) {
			s.tests = strings.Replace(s.tests, "alertname: NodeLoadHigh", "alertname: NoSuchAlert", 1)
		},
		"tests/node.yaml: group_eval_order": func(s *source) {
			s.tests = strings.Replace(s.tests, "  - yagura-node-", "  - yagura-gone-", 1)
		},
	})
}

func testedness(t testing.TB, packs []source) (complaints []string) {
	for _, s := range packs {
		var tests unitTest
		if err := yaml.Unmarshal([]byte(s.tests), &tests); err != nil {
			t.Fatalf("tests/%s.yaml: %v", s.name, err)
		}
		fires, silent, known := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, group := range tests.Tests {
			for _, check := range group.AlertRuleTest {
				fires[check.Alertname] = fires[check.Alertname] || len(check.ExpAlerts) > 0
				silent[check.Alertname] = silent[check.Alertname] || len(check.ExpAlerts) == 0
			}
		}
		var order []string
		for _, g := range s.parse(t).Groups {
			order = append(order, g.Name)
			for _, r := range g.Rules {
				known[r.Alert] = true
				if r.Alert != "" && !fires[r.Alert] {
					complaints = append(complaints, r.Alert+": no test fires it")
				}
				if r.Alert != "" && !silent[r.Alert] && r.Labels["severity"] != "none" {
					complaints = append(complaints, r.Alert+": no test shows it silent")
				}
			}
		}
		if !slices.Equal(tests.Order, order) { // without one promtool takes any, and another the next time
			complaints = append(complaints, fmt.Sprintf("tests/%s.yaml: group_eval_order is not the order of the pack: %s", s.name, strings.Join(order, ", ")))
		}
		for name := range silent {
			if !known[name] {
				complaints = append(complaints, fmt.Sprintf("tests/%s.yaml tests %s, which the pack does not have", s.name, name))
			}
		}
	}
	return complaints
}

func TestEveryAlertHasARunbook(t *testing.T) {
	gate(t, runbooks, map[string]func(*source){
		"NodeLoadHigh: no section":        func(s *source) { s.runbook = strings.Replace(s.runbook, "## NodeLoadHigh\n", "## NodeLoad\n", 1) },
		"NodeLoad: no alert is called so": func(s *source) { s.runbook = strings.Replace(s.runbook, "## NodeLoadHigh\n", "## NodeLoad\n", 1) },
		"does not say **How to look.**":   func(s *source) { s.runbook = strings.Replace(s.runbook, "**How to look.**", "", 1) },
		"has nothing after **What to do.**": func(s *source) {
			s.runbook = regexp.MustCompile(`(\*\*What to do\.\*\*)[^#]+`).ReplaceAllString(s.runbook, "$1\n\n")
		},
		"no alert and no metric": func(s *source) { s.runbook = strings.Replace(s.runbook, "NodeMemoryLow", "NodeMemoryTooLow", 2) },
	})
}

var (
	heading = regexp.MustCompile(`(?m)^## (\w+)$`)
	mention = regexp.MustCompile(`\b(Node|Workload|Container|Yagura|Prometheus|Security|Connect|SLO)[A-Z][A-Za-z0-9]+[a-z][A-Za-z0-9]*\b`)
)

func runbooks(t testing.TB, packs []source) (complaints []string) {
	known := map[string]bool{}
	for _, s := range packs {
		for _, g := range s.parse(t).Groups {
			for _, r := range g.Rules {
				known[r.Alert] = true
			}
		}
	}
	for _, s := range packs {
		sections := map[string]string{}
		at := heading.FindAllStringSubmatchIndex(s.runbook, -1)
		for i, m := range at {
			end := len(s.runbook)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			name := s.runbook[m[2]:m[3]]
			if !known[name] {
				complaints = append(complaints, name+": no alert is called so")
			}
			sections[name] = s.runbook[m[1]:end]
		}
		for _, g := range s.parse(t).Groups {
			for _, r := range g.Rules {
				if r.Alert == "" {
					continue
				}
				text, ok := sections[r.Alert]
				if !ok {
					complaints = append(complaints, fmt.Sprintf("%s: no section of runbooks/%s.md", r.Alert, s.name))
				}
				for _, part := range []string{"**What it means.**", "**How to look.**", "**What to do.**"} {
					_, rest, found := strings.Cut(text, part)
					if !found {
						complaints = append(complaints, fmt.Sprintf("%s: its runbook does not say %s", r.Alert, part))
					} else if len(strings.TrimSpace(strings.SplitN(rest, "**", 2)[0])) < 10 {
						complaints = append(complaints, fmt.Sprintf("%s: its runbook has nothing after %s", r.Alert, part))
					}
				}
			}
		}
		for _, name := range mention.FindAllString(s.runbook, -1) {
			if !known[name] {
				complaints = append(complaints, fmt.Sprintf("runbooks/%s.md mentions %s: no alert and no metric is called so", s.name, name))
			}
		}
	}
	return complaints
}

// families are the metrics that exist, by name, with their types: those of the reference, and what a Prometheus adds.
func families(t testing.TB) map[string]string {
	types := map[string]string{"up": "gauge", "ALERTS": "gauge", "ALERTS_FOR_STATE": "gauge", "scrape_duration_seconds": "gauge",
		"scrape_samples_scraped": "gauge", "scrape_samples_post_metric_relabeling": "gauge", "scrape_series_added": "gauge",
		"yagura_store_appends_refused_total": "counter"}
	row := regexp.MustCompile("(?m)^\\| `([a-zA-Z_:][a-zA-Z0-9_:]*)` \\|[^|]*\\| (\\w+) \\|")
	for _, m := range row.FindAllStringSubmatch(read(t, "../exporter/METRICS.md"), -1) {
		types[m[1]] = m[2]
	}
	if len(types) < 300 {
		t.Fatalf("exporter/METRICS.md: only %d metrics found: has its form changed?", len(types))
	}
	return types
}

func TestEveryMetricExists(t *testing.T) {
	gate(t, existence, map[string]func(*source){
		"node_load16 does not exist":                          replace("expr: node_load15 ", "expr: node_load16 "),
		"yagura_oom_kills_seconds_total does not exist":       replace("yagura_oom_kills_total", "yagura_oom_kills_seconds_total"),
		"instance:node_memory_free:ratio does not exist":      replace("expr: instance:node_memory_available:ratio < 0.1", "expr: instance:node_memory_free:ratio < 0.1"),
		"runbooks/node.md: node_procs_waiting does not exist": func(s *source) { s.runbook = strings.Replace(s.runbook, "node_procs_blocked", "node_procs_waiting", 1) },
	})
}

var (
	label  = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [^|]* \\|$")
	series = regexp.MustCompile(`\b(yagura|node|http_server|http_client|rpc|db_client|db_server|dns|messaging)_[a-z0-9A-Z_]+\b`)
	code   = regexp.MustCompile("(?s)`[^`]+`")
)

func existence(t testing.TB, packs []source) (complaints []string) {
	known, labels := families(t), map[string]bool{}
	for _, m := range label.FindAllStringSubmatch(read(t, "../exporter/METRICS.md"), -1) {
		labels[m[1]] = true
	}
	exists := func(name string) bool {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if cut, ok := strings.CutSuffix(name, suffix); ok && known[cut] == "histogram" {
				base = cut
			}
		}
		_, ok := known[base]
		return ok || strings.HasPrefix(name, "prometheus_")
	}
	for _, s := range packs {
		for _, g := range s.parse(t).Groups {
			for _, r := range g.Rules {
				if r.Record != "" {
					known[r.Record] = "recorded"
				}
			}
		}
	}
	for _, s := range packs {
		for _, g := range s.parse(t).Groups {
			for _, r := range g.Rules {
				parser.Inspect(expression(t, r.Expr), func(n parser.Node, _ []parser.Node) error {
					if v, ok := n.(*parser.VectorSelector); ok && v.Name != "" && !exists(v.Name) {
						complaints = append(complaints, fmt.Sprintf("%s.yaml: %s%s: the metric %s does not exist", s.name, r.Alert, r.Record, v.Name))
					}
					return nil
				})
			}
		}
		for _, snippet := range code.FindAllString(s.runbook, -1) {
			for _, name := range series.FindAllString(snippet, -1) {
				if !exists(name) && !labels[name] && !recorded(known, name) {
					complaints = append(complaints, fmt.Sprintf("runbooks/%s.md: %s does not exist", s.name, name))
				}
			}
		}
	}
	return complaints
}

// recorded says whether the name is the middle of a recorded one, as in workload:dns_failures:ratio_rate5m.
func recorded(known map[string]string, name string) bool {
	for k := range known {
		if strings.Contains(k, ":"+name+":") {
			return true
		}
	}
	return strings.HasSuffix(name, "_")
}

func TestPacksPassTheLinter(t *testing.T) {
	gate(t, lint, map[string]func(*source){
		"template-label": replace("the backlog of the network overflows", "the backlog of {{ $labels.cpu }} overflows"),
		"comparison":     replace("expr: instance:node_load15_per_cpu:ratio > 4", "expr: instance:node_load15_per_cpu:ratio"),
		"rate-gauge":     replace("min_over_time(node_procs_blocked[15m]) > 8", "rate(node_procs_blocked[15m]) > 8"),
		"promql":         replace("expr: instance:node_load15_per_cpu:ratio > 4", "expr: instance:node_load15_per_cpu:ratio >"),
	})
}

func lint(t testing.TB, packs []source) (complaints []string) {
	types := families(t)
	for name, kind := range types {
		if kind == "untyped" {
			delete(types, name) // node_exporter's own word for what may be a counter
		}
	}
	names := map[string]string{}
	for _, s := range packs {
		findings := promql.LintRules("alerts/"+s.name+".yaml", []byte(s.rules), promql.LintOptions{
			Strict: true, Types: types, Names: names, Severities: severities,
			Labels: []string{"severity", "component"}, Annotations: []string{"summary", "description", "runbook_url"},
		})
		for _, f := range findings {
			if f.Severity > promql.LintInfo {
				complaints = append(complaints, f.String())
			}
		}
	}
	return complaints
}

// promtool runs Prometheus' own tool over a pack in a folder of its own.
func promtool(t *testing.T, s source, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool: apt-get install prometheus")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{s.name + ".yaml": s.rules, "tests/" + s.name + ".yaml": s.tests} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err
}

func TestPromtoolAcceptsEveryPack(t *testing.T) {
	for _, s := range sources(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if out, err := promtool(t, s, "check", "rules", "--lint=all", "--lint-fatal", s.name+".yaml"); err != nil {
				t.Errorf("check rules: %v\n%s", err, out)
			}
			if out, err := promtool(t, s, "test", "rules", "tests/"+s.name+".yaml"); err != nil {
				t.Errorf("test rules: %v\n%s", err, out)
			}
		})
	}
}

func TestPromtoolRefusesBrokenPacks(t *testing.T) {
	small := source{
		name: "small",
		rules: `groups:
  - name: yagura-small-a
    rules:
      - alert: SmallLow
        expr: up < 1
        for: 5m
`,
		tests: `rule_files: [../small.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: 'up{job="a"}', values: '1x5 0x10'}]
    alert_rule_test:
      - {eval_time: 8m, alertname: SmallLow, exp_alerts: []}
      - {eval_time: 12m, alertname: SmallLow, exp_alerts: [{exp_labels: {job: a}}]}
`}
	check := []string{"check", "rules", "--lint=all", "--lint-fatal", "small.yaml"}
	test := []string{"test", "rules", "tests/small.yaml"}
	f := func(name string, args []string, change func(*source), accepted bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := small
			change(&s)
			if out, err := promtool(t, s, args...); (err == nil) != accepted {
				t.Errorf("promtool %s: accepted is %v, want %v\n%s", args, err == nil, accepted, out)
			}
		})
	}
	f("as it is, checked", check, func(*source) {}, true)
	f("as it is, tested", test, func(*source) {}, true)
	f("another threshold", test, replace("up < 1", "up < 0"), false)
	f("another patience", test, replace("for: 5m", "for: 1m"), false)
	f("not PromQL", check, replace("up < 1", "up <"), false)
	f("not a template", check, replace("for: 5m", "for: 5m\n        annotations: {summary: '{{ $labels.'}"), false)
	f("a rule that is there twice", check, func(s *source) { s.rules += strings.SplitN(s.rules, "rules:\n", 2)[1] }, false)
}

// A real Prometheus starts some groups at once and others later; an alert whose `for` is shorter than two evaluations
// would come from a single bad sample.
func TestDurationsAreTwoEvaluationsAtLeast(t *testing.T) {
	for _, a := range alerts.All() {
		for _, d := range []string{a.For, a.KeepFiringFor} {
			if d == "" {
				continue
			}
			got, err := model.ParseDuration(d)
			if err != nil || time.Duration(got) < 30*time.Second {
				t.Errorf("%s: %q: want a duration of 30s or more (%v)", a.Name, d, err)
			}
		}
	}
}

func TestEveryFileBelongsToAPack(t *testing.T) {
	known := map[string]bool{}
	for _, p := range alerts.Packs() {
		known[p.Name+".yaml"], known["tests/"+p.Name+".yaml"], known["runbooks/"+p.Name+".md"] = true, true, true
	}
	for _, dir := range []string{".", "tests", "runbooks"} {
		entries, err := fs.Glob(os.DirFS("."), dir+"/*.[ym]*")
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(entries), err)
		}
		for _, e := range entries {
			if name := filepath.Clean(e); !known[name] && filepath.Base(name) != "README.md" {
				t.Errorf("%s belongs to no pack", name)
			}
		}
	}
}

func TestThereAreEnough(t *testing.T) {
	count := map[string]int{}
	for _, a := range alerts.All() {
		count[a.Pack]++
	}
	for pack, least := range map[string]int{"node": 30, "containers": 15, "golden": 10, "slo": 4, "security": 10, "fim": 4, "posture": 4, "meta": 15} {
		if count[pack] < least {
			t.Errorf("the pack %s has %d alerts: want %d at least", pack, count[pack], least)
		}
	}
	if n := len(alerts.All()); n < 90 {
		t.Errorf("%d alerts: want 90 at least", n)
	}
}
