package alerts

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// update is the flag -update of this folder, which reference_test.go defines.
func update() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

func TestShippedSLORulesAreCurrent(t *testing.T) {
	want, err := Generate(DefaultSLOs(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if update() {
		if err := os.WriteFile("slo.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile("slo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("slo.yaml is not what slos/default.yaml makes: run go test ./alerts -run SLO -update")
	}
}

// checkout is an objective of a user; change makes it another.
func checkout(change func(*SLO)) []SLO {
	s := SLO{Name: "checkout", Objective: 0.999, Errors: `sum by (container) (rate(failed_total[$window]))`, Total: `sum by (container) (rate(asked_total[$window]))`}
	if change != nil {
		change(&s)
	}
	return []SLO{s}
}

// generated is the rule file of objectives, read again, with every expression parsed by Prometheus.
func generated(t testing.TB, spec []SLO, retention time.Duration) (file, string) {
	t.Helper()
	text, err := Generate(spec, retention)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parse("slo.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p := parser.NewParser(parser.Options{})
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if _, err := p.ParseExpr(r.Expr); err != nil {
				t.Errorf("%s%s: %v\n%s", r.Record, r.Alert, err, r.Expr)
			}
		}
	}
	return f, string(text)
}

func find(f file, name string) (found []rule) {
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if r.Record == name || r.Alert == name {
				found = append(found, r)
			}
		}
	}
	return found
}

func TestGenerateMakesEveryWindowAndAlert(t *testing.T) {
	f, _ := generated(t, checkout(nil), 0)
	for _, name := range []string{
		"slo:objective:ratio", "slo:error_budget:ratio", "slo:requests:rate5m", "slo:errors:rate5m",
		"slo:errors:ratio_rate5m", "slo:errors:ratio_rate30m", "slo:errors:ratio_rate1h", "slo:errors:ratio_rate2h",
		"slo:errors:ratio_rate6h", "slo:errors:ratio_rate1d", "slo:errors:ratio_rate3d", "slo:error_budget:remaining_ratio",
		"SLOErrorBudgetBurn14x", "SLOErrorBudgetBurn6x", "SLOErrorBudgetBurn3x", "SLOErrorBudgetBurn1x", "SLOErrorBudgetExhausted",
	} {
		if got := find(f, name); len(got) != 1 {
			t.Errorf("%d rules %s: want 1", len(got), name)
		}
	}
	if budget := find(f, "slo:error_budget:ratio")[0].Expr; budget != "vector(0.001)" {
		t.Errorf("the budget of 0.999 is %s: want vector(0.001)", budget)
	}
	if rest := find(f, "slo:error_budget:remaining_ratio")[0].Expr; !strings.Contains(rest, "[30d]") {
		t.Errorf("what is left is of %s: want 30d where nothing else is said", rest)
	}
}

func TestGenerateBurnsOverBothWindows(t *testing.T) {
	f, _ := generated(t, checkout(nil), 0)
	for name, want := range map[string][3]string{
		"SLOErrorBudgetBurn14x": {"14.4", "1h", "5m"}, "SLOErrorBudgetBurn6x": {"6", "6h", "30m"},
		"SLOErrorBudgetBurn3x": {"3", "1d", "2h"}, "SLOErrorBudgetBurn1x": {"1", "3d", "6h"},
	} {
		expr := find(f, name)[0].Expr
		for _, window := range want[1:] {
			if part := "slo:errors:ratio_rate" + window + " / on (slo) group_left () slo:error_budget:ratio > " + want[0] + "\n"; !strings.Contains(expr, part) {
				t.Errorf("%s is %s: want it to hold %s", name, expr, part)
			}
		}
	}
}

func TestGenerateLeavesOutWhatTheStoreDoesNotKeep(t *testing.T) {
	two := append(checkout(func(s *SLO) { s.Window = Span(28 * day) }), checkout(func(s *SLO) { s.Name, s.Window = "short", Span(7*day) })...)
	f := func(retention time.Duration, gone ...string) {
		t.Helper()
		rules, text := generated(t, two, retention)
		head, _, _ := strings.Cut(text, "groups:")
		for _, name := range []string{"SLOErrorBudgetBurn14x", "SLOErrorBudgetBurn6x", "SLOErrorBudgetBurn3x", "SLOErrorBudgetBurn1x",
			"SLOErrorBudgetExhausted", "slo:errors:ratio_rate1d", "slo:errors:ratio_rate3d"} {
			want := !slices.Contains(gone, name)
			if got := len(find(rules, name)) > 0; got != want {
				t.Errorf("with %s, %s is there: %v, want %v", span(retention), name, got, want)
			}
			if name != "SLOErrorBudgetExhausted" && !want && !strings.Contains(head, name+" (") {
				t.Errorf("with %s, the head does not say that %s is left out:\n%s", span(retention), name, head)
			}
		}
	}
	f(0)
	f(30 * day)
	f(15 * day)
	f(3*day, "SLOErrorBudgetExhausted")
	f(2*day, "SLOErrorBudgetExhausted", "SLOErrorBudgetBurn1x", "slo:errors:ratio_rate3d")
	f(12*hour, "SLOErrorBudgetExhausted", "SLOErrorBudgetBurn1x", "slo:errors:ratio_rate3d", "SLOErrorBudgetBurn3x", "slo:errors:ratio_rate1d")

	rules, text := generated(t, two, 15*day)
	left := find(rules, "slo:error_budget:remaining_ratio")
	if len(left) != 1 || left[0].Labels["slo"] != "short" {
		t.Errorf("15d keep what is left of the budgets of %v: want only short", left)
	}
	if !strings.Contains(text, "# The store keeps 15d, which is too short for:\n#   what is left of the budget of checkout (28d)\n") {
		t.Errorf("the head does not say what is left out:\n%s", text[:300])
	}
}

func TestRulesKeepTheRetentionAndTheConfiguration(t *testing.T) {
	c := Config{Packs: []string{"slo", "meta"}, Without: []string{"SLOErrorBudgetBurn6x"}, SLOs: checkout(nil)}
	rules, err := c.Rules(2 * day)
	if err != nil {
		t.Fatal(err)
	}
	text := string(rules["slo.yaml"])
	if len(rules) != 2 || !strings.Contains(text, "checkout") || strings.Contains(text, "http-availability") {
		t.Errorf("%d files; objectives of the configuration stand instead of the shipped ones:\n%s", len(rules), text)
	}
	for _, gone := range []string{"SLOErrorBudgetBurn6x", "SLOErrorBudgetBurn1x"} {
		if strings.Contains(text, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	if rules, err = (Config{}).Rules(15 * day); err != nil || !strings.Contains(string(rules["slo.yaml"]), "http-availability") {
		t.Errorf("the shipped objectives are not there: %v", err)
	}
	if rules, err = (Config{Packs: []string{"meta"}}).Rules(day); err != nil || rules["slo.yaml"] != nil {
		t.Errorf("objectives are there although their pack is off: %v", err)
	}
}

func TestGenerateTakesLabelsOffBeforeItComparesErrorsWithRequests(t *testing.T) {
	f, _ := generated(t, checkout(func(s *SLO) { s.Labels = map[string]string{"team": `shop "a" {{ x }}`, "area": "eu"} }), 0)
	errs := find(f, "slo:errors:rate5m")[0]
	if !strings.Contains(errs.Expr, `max without (area, slo, team) (slo:requests:rate5m{slo="checkout"}) * 0`) {
		t.Errorf("errors are %s", errs.Expr)
	}
	if errs.Labels["team"] != `shop "a" {{ x }}` || errs.Labels["slo"] != "checkout" || errs.Labels["area"] != "eu" {
		t.Errorf("labels are %v", errs.Labels)
	}
}

func TestGenerateKeepsQueriesWhole(t *testing.T) {
	query := "sum by (container) (\n  # (only \"ours\n  rate(failed_total{path=~\"/a|#b}\"}[$window])\n) # the end"
	f, _ := generated(t, checkout(func(s *SLO) { s.Errors = query }), 0)
	got := find(f, "slo:errors:rate5m")[0].Expr
	if !strings.Contains(got, `path=~"/a|#b}"}[5m]`) || !strings.Contains(got, "max without (slo)") || strings.Contains(got, "$window") {
		t.Errorf("errors are %s", got)
	}
}

func TestLatencyAsksForBothKindsOfHistogram(t *testing.T) {
	f := func(l Latency, errs, total []string) {
		t.Helper()
		rules, _ := generated(t, checkout(func(s *SLO) { s.Errors, s.Total, s.Latency = "", "", &l }), 0)
		for name, want := range map[string][]string{"slo:errors:rate5m": errs, "slo:requests:rate5m": total} {
			expr := find(rules, name)[0].Expr
			for _, part := range want {
				if !strings.Contains(expr, part) {
					t.Errorf("%s is\n%s\nwant it to hold %s", name, expr, part)
				}
			}
		}
	}
	f(Latency{Histogram: "h_seconds", Threshold: Span(250 * time.Millisecond), Match: `container="web"`, By: []string{"container"}},
		[]string{`sum by (container) (rate(h_seconds_bucket{le=~"0\\.25", container="web"}[5m]))`, `histogram_fraction(0.25, +Inf, rate(h_seconds{container="web"}[5m]))`},
		[]string{`sum by (container) (rate(h_seconds_count{container="web"}[5m]))`, `histogram_count(rate(h_seconds{container="web"}[5m]))`})
	f(Latency{Histogram: "h_seconds", Threshold: Span(5 * time.Second)},
		[]string{`rate(h_seconds_bucket{le=~"5(\\.0)?"}[5m])`, "by (job, instance, namespace, pod, container, unit)"},
		[]string{"rate(h_seconds_count[5m])", "histogram_count(rate(h_seconds[5m]))"})
}

func TestSLOErrorsNameTheFieldAndTheValue(t *testing.T) {
	f := func(change func(*SLO), want string) {
		t.Helper()
		_, err := Generate(checkout(change), 0)
		if err == nil || err.Error() != "slos[0]: "+want {
			t.Errorf("got  %v\nwant slos[0]: %s", err, want)
		}
	}
	f(func(s *SLO) { s.Name = "Check out" }, `name "Check out": want small letters, digits, - and _, at most 63, and a letter first`)
	f(func(s *SLO) { s.Name = "windows" }, `name "windows": is taken, want another`)
	f(func(s *SLO) { s.Objective = 99.9 }, `objective 99.9: want the part that goes well, from 0.5 to 0.999999`)
	f(func(s *SLO) { s.Objective = 1 }, `objective 1: want the part that goes well, from 0.5 to 0.999999`)
	f(func(s *SLO) { s.Objective = 0 }, `objective 0: want the part that goes well, from 0.5 to 0.999999`)
	f(func(s *SLO) { s.Window = Span(hour) }, `window 1h: want from 1d to 366d`)
	f(func(s *SLO) { s.MinErrors = -1 }, `min_errors -1: want 0 or more`)
	f(func(s *SLO) { s.Errors = "" }, `errors: is missing: want PromQL with [$window], or latency instead of errors and total`)
	f(func(s *SLO) { s.Total = "rate(x[5m])" }, `total "rate(x[5m])": want [$window] as the range of its rate()`)
	f(func(s *SLO) { s.Total = "sum(rate(x[$window])))" }, `total "sum(rate(x[$window])))": a bracket or a quotation mark is open, or closes what is not open`)
	f(func(s *SLO) { s.Errors = `rate(x{a="b}[$window])` }, `errors "rate(x{a=\"b}[$window])": a bracket or a quotation mark is open, or closes what is not open`)
	f(func(s *SLO) { s.Errors = strings.Repeat("x", 5000) }, `errors: 5000 bytes: want at most 4096`)
	f(func(s *SLO) { s.Errors = "rate(x[$window])\x00" }, `errors "rate(x[$window])\x00": want text without control characters`)
	f(func(s *SLO) { s.Description = "a\x1bb" }, `description "a\x1bb": want a text of at most 1000 bytes without control characters`)
	f(func(s *SLO) { s.Labels = map[string]string{"1st": "x"} }, `labels."1st": want letters, digits and _, and no digit first`)
	f(func(s *SLO) { s.Labels = map[string]string{"severity": "x"} }, `labels.severity: is set by the rules, want another name`)
	f(func(s *SLO) { s.Labels = map[string]string{"team": "a\nb"} }, `labels.team "a b": want a text of one line, at most 256 bytes`)
	f(func(s *SLO) { s.Latency = &Latency{Histogram: "h", Threshold: Span(time.Second)} }, `latency: want it instead of errors and total, not beside them`)
	late := func(l Latency) func(*SLO) {
		return func(s *SLO) { s.Errors, s.Total, s.Latency = "", "", &l }
	}
	f(late(Latency{Histogram: "h_bucket", Threshold: Span(time.Second)}), `latency.histogram "h_bucket": want the name of a histogram, without _bucket`)
	f(late(Latency{Histogram: "h"}), `latency.threshold 0s: want more than 0 and at most 1h`)
	f(late(Latency{Histogram: "h", Threshold: Span(time.Second), Match: `a="b"} or x{`}), `latency.match "a=\"b\"} or x{": want matchers as they stand in braces, such as container="web"`)
	f(late(Latency{Histogram: "h", Threshold: Span(time.Second), By: []string{"le"}}), `latency.by[0] "le": want the name of a label`)

	if _, err := Generate(append(checkout(nil), checkout(nil)...), 0); err == nil || err.Error() != `slos[1]: name "checkout": is taken, want another` {
		t.Errorf("the same name twice: %v", err)
	}
	if _, err := Generate(nil, 0); err == nil {
		t.Error("no objective is none")
	}
	if _, err := Generate(make([]SLO, 101), 0); err == nil || !strings.Contains(err.Error(), "101 objectives: want at most 100") {
		t.Errorf("101 objectives: %v", err)
	}
}

func TestSLOErrorsNameTheLine(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := ParseSLOs("slos.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
	good := "slos:\n  - name: a\n    objective: 0.99\n    errors: rate(x[$window])\n    total: rate(y[$window])\n"
	f(good+"  - objective: 2\n    name: b\n", "slos.yaml: slos[1], line 6: objective 2: want")
	f(good+"  - name: b\n    objectiv: 0.9\n", `unknown field "objectiv"`)
	f(good+"  - name: b\n    window: 30 days\n", `duration "30 days": want numbers with w, d, h, m, s or ms, the largest first, such as 30d or 250ms`)
	f(good+"  - name: b\n    latency: {histogram: h, treshold: 1s}\n", `unknown field "treshold"`)
	f("slo: []\n", `unknown field "slo"`)
	f("slos: 3\n", "slos.yaml")
	f("", "no objective")
	slos, err := ParseSLOs("slos.yaml", []byte(good+"  - name: b\n    objective: 0.9\n    latency: {histogram: h, threshold: 1s500ms}\n    window: 2w\n    labels: {team: x}\n"))
	if err != nil || len(slos) != 2 || slos[1].Latency.Threshold != Span(1500*time.Millisecond) || slos[1].Window != Span(14*day) || slos[1].Labels["team"] != "x" {
		t.Errorf("%+v, %v", slos, err)
	}
}

func TestSpansAreReadAndWrittenAsPrometheusDoes(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "2d3h": 51 * hour, "1m1s": 61 * time.Second, "0s": 0,
	} {
		got, err := parseSpan(text)
		if err != nil || got != want || span(got) != text {
			t.Errorf("%s is %v, written %s (%v): want %v", text, got, span(got), err, want)
		}
	}
	for _, bad := range []string{"", "1", "d", "1.5h", "-1h", "1h1d", "1y", "99999999999999d", "1h 1m"} {
		if d, err := parseSpan(bad); err == nil {
			t.Errorf("%q is %v: want an error", bad, d)
		}
	}
}

// Critical hits that have no alert of their own go to one alert; the two lists of techniques have to be the same.
func TestCriticalHitsHaveExactlyOneKindOfAlert(t *testing.T) {
	technique := regexp.MustCompile(`mitre_technique(=~|!~)"\.\*\(?([^)"]*?)\)?(?:\.\*)?"`)
	var named, rest []string
	for _, a := range All() {
		if a.Pack != "security" || !strings.Contains(a.Expr, `priority=~"Emergency|Alert|Critical",`) {
			continue
		}
		m := technique.FindStringSubmatch(a.Expr)
		if m == nil {
			t.Errorf("%s is about no technique: %s", a.Name, a.Expr)
			continue
		}
		list := strings.Split(strings.TrimSuffix(m[2], ".*"), "|")
		switch {
		case a.Name == "SecurityRuleHitCritical":
			rest = list
		case m[1] == "=~":
			named = append(named, list...)
		}
	}
	slices.Sort(named)
	slices.Sort(rest)
	if len(rest) < 15 || !slices.Equal(named, rest) {
		t.Errorf("alerts with names of their own are about\n%q\nSecurityRuleHitCritical leaves out\n%q", named, rest)
	}
}

// Every watch set that Yagura ships is in exactly one alert, and FIMOwnSetChanged is about none of them.
func TestEveryWatchSetHasOneAlert(t *testing.T) {
	text, err := os.ReadFile("../exporter/fim/defaults.go")
	if err != nil {
		t.Fatal(err)
	}
	sets := regexp.MustCompile(`(?m)^\t\tName: +"(\w+)",$`).FindAllStringSubmatch(string(text), -1)
	if len(sets) < 20 {
		t.Fatalf("only %d watch sets are found in defaults.go", len(sets))
	}
	matcher := regexp.MustCompile(`watch(=~|=|!~)"([^"]*)"`)
	for _, set := range sets {
		var in []string
		for _, a := range All() {
			m := matcher.FindStringSubmatch(a.Expr)
			if a.Pack == "fim" && m != nil && slices.Contains(strings.Split(m[2], "|"), set[1]) != (m[1] == "!~") {
				in = append(in, a.Name)
			}
		}
		if len(in) != 1 {
			t.Errorf("the set %s is in the alerts %q: want one", set[1], in)
		}
	}
}

func FuzzParseSLOs(f *testing.F) {
	f.Add("slos: [{name: a, objective: 0.9, errors: 'rate(x[$window])', total: 'rate(y[$window])'}]")
	f.Add("slos: [{name: a, objective: 0.9, latency: {histogram: h, threshold: 1s, match: 'a=\"b\"'}, labels: {team: x}, window: 2d}]")
	f.Add("slos: [{name: a, objective: .nan, window: 9d9h}]")
	f.Add("slos: [{errors: '((((\"', labels: {a: {b: c}}}]")
	f.Fuzz(func(t *testing.T, text string) {
		slos, err := ParseSLOs("f", []byte(text))
		if err != nil {
			return
		}
		out, err := Generate(slos, 0)
		if err != nil {
			t.Fatalf("is read, but makes no rules: %v", err)
		}
		rules, err := parse("f", out)
		if err != nil {
			t.Fatalf("makes rules that cannot be read: %v\n%s", err, out)
		}
		if got := len(find(rules, "slo:requests:rate5m")); got != len(slos) || len(rules.Groups) != len(slos)+5 {
			t.Errorf("%d objectives make %d rules of requests in %d groups:\n%s", len(slos), got, len(rules.Groups), out)
		}
	})
}
