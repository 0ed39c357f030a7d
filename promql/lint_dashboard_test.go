package promql

import (
	"slices"
	"strings"
	"testing"
)

// A dashboard that is as it should be.
const goodDashboard = `{
  "uid": "yagura-test",
  "title": "Test",
  "editable": false,
  "templating": {"list": [
    {"name": "source", "type": "datasource", "query": "prometheus"},
    {"name": "pod", "type": "query", "refresh": 2, "datasource": {"uid": "${source}"}, "query": {"query": "label_values(up{job=\"a\"}, pod)", "refId": "v"}},
    {"name": "limit", "type": "constant", "query": "5"}
  ]},
  "links": [{"title": "more", "type": "dashboards", "keepTime": true, "includeVars": true}],
  "annotations": {"list": [{"builtIn": 1, "datasource": "-- Grafana --"}, {"datasource": {"uid": "${source}"}, "expr": "ALERTS{pod=\"$pod\"}"}]},
  "panels": [
    {"id": 1, "type": "row", "title": "Row", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
    {"id": 2, "type": "timeseries", "title": "CPU", "description": "High is bad.", "datasource": {"type": "prometheus", "uid": "${source}"},
     "gridPos": {"x": 0, "y": 1, "w": 12, "h": 8},
     "fieldConfig": {"defaults": {"unit": "percentunit", "links": [{"title": "pod", "url": "/d/yagura-pod?var-pod=${__field.labels.pod}&${__url_time_range}"}],
       "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": null}, {"color": "red", "value": 0.9}]}}},
     "targets": [
       {"refId": "A", "expr": "sum by (pod) (rate(x_total{pod=~\"$pod\", code!~\"${pod:regex}\"}[$__rate_interval])) > $limit", "legendFormat": "{{pod}}"},
       {"refId": "B", "instant": true, "expr": "sum(increase(x_total[$__range]))"}]},
    {"id": 3, "type": "text", "gridPos": {"x": 12, "y": 1, "w": 12, "h": 8}}
  ]
}
`

func TestLintDashboardLikesGoodOnes(t *testing.T) {
	o := LintOptions{Strict: true, Boards: map[string]string{"yagura-pod": "pod.json"}}
	for _, text := range []string{goodDashboard, `{"dashboard": ` + goodDashboard + `}`} {
		if got := LintDashboard("good.json", []byte(text), o); len(got) != 0 {
			t.Errorf("findings of a good dashboard: %v", got)
		}
	}
	if o.Boards["yagura-test"] != "good.json" {
		t.Errorf("the dashboard has not added itself to %v", o.Boards)
	}
}

func TestLintDashboardSaysWhatAndWhere(t *testing.T) {
	for name, test := range map[string]struct {
		old, new string
		want     []string
	}{
		"no JSON":            {`"title": "Test",`, `"title": "Test"`, []string{"syntax \"editable\""}},
		"the end is missing": {"  ]\n}\n", "", []string{"syntax "}},
		"no panels":          {`"panels"`, `"panel"`, []string{"syntax {"}},

		"no uid":              {`"uid": "yagura-test",`, ``, []string{"uid {"}},
		"a uid with blanks":   {`"yagura-test"`, `"yagura test"`, []string{"uid \"yagura test\""}},
		"a uid that is there": {`"yagura-test"`, `"yagura-pod"`, []string{"uid \"yagura-pod\","}},
		"no title":            {`"title": "Test",`, ``, []string{"title {\n  \"uid\""}},
		"editable":            {`"editable": false`, `"editable": true`, []string{"editable true"}},

		"a source by name":    {`"type": "prometheus", "uid": "${source}"`, `"type": "prometheus", "uid": "abc"`, []string{"datasource \"abc\""}},
		"no source":           {`"datasource": {"type": "prometheus", "uid": "${source}"},`, ``, []string{"datasource {\"id\": 2"}},
		"a variable's source": {`"refresh": 2, "datasource": {"uid": "${source}"},`, `"refresh": 2,`, []string{"datasource {\"name\": \"pod\""}},
		"no source variable":  {`{"name": "source", "type": "datasource", "query": "prometheus"},`, `{"name": "source", "type": "custom"},`, []string{"datasource {\n  \"uid\""}},

		"two panels of an id": {`"id": 3`, `"id": 2`, []string{"panel-id 2, \"type\": \"text\""}},
		"no id":               {`"id": 3, `, ``, []string{"panel-id {\"type\": \"text\""}},
		"an old panel":        {`"type": "timeseries"`, `"type": "graph"`, []string{"panel-type \"graph\""}},
		"no panel title":      {`"title": "CPU", `, ``, []string{"title {\"id\": 2"}},
		"no description":      {`"description": "High is bad.", `, ``, []string{"description {\"id\": 2"}},
		"no unit":             {`"unit": "percentunit", `, ``, []string{"unit {\"id\": 2"}},
		"an unknown unit":     {`"percentunit"`, `"ratio"`, []string{"unit \"ratio\""}},
		"a unit of its own":   {`"percentunit"`, `"suffix:hits"`, nil},

		"thresholds that fall":      {`"value": 0.9}`, `"value": 0.9}, {"value": 0.5}`, []string{"thresholds 0.5"}},
		"a base with a value":       {`"value": null`, `"value": 0`, []string{"thresholds 0}"}},
		"a threshold without value": {`"color": "red", "value": 0.9`, `"color": "red"`, []string{"thresholds {\"color\": \"red\""}},
		"a mode":                    {`"mode": "absolute"`, `"mode": "percent"`, []string{"thresholds \"percent\""}},

		"PromQL":                     {`sum(increase(x_total[$__range]))`, `sum(increase(x_total[$__range])`, []string{"promql \"}]}"}},
		"no expression":              {`"expr": "sum(increase(x_total[$__range]))"`, `"expr": ""`, []string{"target {\"refId\": \"B\""}},
		"no targets":                 {"\n     \"targets\": [", "\n     \"target\": [", []string{"target {\"id\": 2"}},
		"a refId twice":              {`"refId": "B"`, `"refId": "A"`, []string{"target \"A\", \"instant\""}},
		"a counter as it is":         {`sum(increase(x_total[$__range]))`, `sum(x_total)`, []string{"counter-raw x_total)"}},
		"a plain regexp":             {`code!~\"${pod:regex}\"`, `code!~\"500\"`, []string{"regexp-plain x_total{"}},
		"a fixed window":             {`[$__rate_interval]`, `[5m]`, []string{"rate-interval x_total{"}},
		"a window of an hour":        {`[$__rate_interval]`, `[1h]`, nil},
		"a window in a variable":     {`[$__rate_interval]`, `[${limit}m]`, nil},
		"the step as window":         {`[$__rate_interval]`, `[$__interval]`, []string{"rate-interval x_total{"}},
		"a legend that has no label": {`{{pod}}`, `{{ container }}`, []string{"legend-label container }}"}},
		"a variable by group":        {`sum by (pod)`, `sum by ($pod)`, nil},

		"an unknown variable":   {`> $limit`, `> $limits`, []string{`variable-unused {"name": "limit"`, `variable $limits`}},
		"an unused variable":    {` > $limit`, ``, []string{"variable-unused {\"name\": \"limit\""}},
		"a variable's query":    {`label_values(up{job=\"a\"}, pod)`, `label_values(up{job=\"a\"} pod)`, []string{"variable \"label_values"}},
		"a variable's PromQL":   {`label_values(up{job=\"a\"}, pod)`, `label_values(up{job}, pod)`, []string{"variable up{job}"}},
		"no query":              {`"query": "label_values(up{job=\"a\"}, pod)", `, ``, []string{"variable {\"name\": \"pod\""}},
		"a variable that stays": {`"refresh": 2`, `"refresh": 1`, []string{"variable-refresh 1"}},
		"repeat by nothing":     {`"id": 3,`, `"id": 3, "repeat": "nobody",`, []string{"variable \"nobody\""}},

		"panels on each other": {`{"x": 12, "y": 1, "w": 12, "h": 8}`, `{"x": 11, "y": 8, "w": 12, "h": 8}`, []string{"overlap {\"x\": 11"}},
		"a panel outside":      {`{"x": 12, "y": 1, "w": 12, "h": 8}`, `{"x": 13, "y": 1, "w": 12, "h": 8}`, []string{"overlap {\"x\": 13"}},
		"a panel nowhere":      {`, "gridPos": {"x": 12, "y": 1, "w": 12, "h": 8}`, ``, []string{"overlap {\"id\": 3"}},

		"a link to nothing":              {`/d/yagura-pod`, `/d/yagura-pot`, []string{"link yagura-pot"}},
		"a link to another time":         {`&${__url_time_range}`, ``, []string{"link-time \"/d/yagura-pod"}},
		"links to boards at other times": {`"keepTime": true, `, ``, []string{"link-time {\"title\": \"more\""}},
	} {
		if strings.Count(goodDashboard, test.old) != 1 {
			t.Fatalf("%s: %q is not once in the good dashboard", name, test.old)
		}
		text := strings.Replace(goodDashboard, test.old, test.new, 1)
		if name == "a variable by group" {
			text = strings.Replace(text, "{{pod}}", "{{instance}}", 1)
		}
		if strings.HasPrefix(name, "links to") || strings.HasPrefix(name, "an un") { // includeVars uses them all
			text = strings.Replace(text, `, "includeVars": true`, ``, 1)
		}
		got := LintDashboard("f.json", []byte(text), LintOptions{Boards: map[string]string{"yagura-pod": "pod.json"}})
		if !standAt(text, got, test.want) {
			t.Errorf("%s: %v, want %q", name, got, test.want)
		}
	}
}

// standAt says whether these are the findings: each a rule and, after a blank, what stands at the place.
func standAt(text string, findings []Finding, want []string) bool {
	t := newLintText(text)
	return slices.EqualFunc(findings, want, func(f Finding, want string) bool {
		rule, begin, _ := strings.Cut(want, " ")
		return f.Rule == rule && strings.HasPrefix(text[t.offset(f.Line, f.Column):], begin)
	})
}

func TestLintDashboardLooksIntoRows(t *testing.T) {
	text := strings.Replace(goodDashboard, `"title": "Row", `, `"title": "Row", "collapsed": true, "panels": [{"id": 9, "type": "stat", "gridPos": {"x": 0, "y": 1, "w": 4, "h": 4}}], `, 1)
	got := LintDashboard("f.json", []byte(text), LintOptions{Boards: map[string]string{"yagura-pod": "pod.json"}})
	const panel = ` {"id": 9`
	if want := []string{"datasource" + panel, "description" + panel, "target" + panel, "title" + panel, "unit" + panel}; !standAt(text, got, want) {
		t.Errorf("findings %v, want %q", got, want)
	}
}

func TestLintDashboardAsksForNoLabelOfAVariable(t *testing.T) {
	var asked []string
	LintDashboard("f.json", []byte(goodDashboard), LintOptions{Exists: func(selector string) (bool, error) {
		asked = append(asked, selector)
		return true, nil
	}})
	if want := []string{"x_total"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

func TestVariableQuery(t *testing.T) {
	for _, test := range []struct {
		query, expr string
		at          int
		ok          bool
	}{
		{"label_values(pod)", "", 0, true},
		{"label_values(up, pod)", "up", 13, true},
		{` label_values(up{a=~"x,y", b="("}, pod) `, `up{a=~"x,y", b="("}`, 14, true},
		{"query_result(topk(5, up))", "topk(5, up)", 13, true},
		{"label_names()", "", 0, true},
		{"metrics(yagura_.*)", "", 0, true},
		{"label_values(up; pod)", "", 0, false},
		{"label_values(up, pod", "", 0, false},
		{"query_result()", "", 0, false},
		{`up{a="b"}`, `up{a="b"}`, 0, true},
	} {
		expr, at, ok := variableQuery(test.query)
		if expr != test.expr || at != test.at || ok != test.ok {
			t.Errorf("variableQuery(%q) = %q, %d, %v, want %q, %d, %v", test.query, expr, at, ok, test.expr, test.at, test.ok)
		}
	}
}

func TestParseFilledKnowsWhereVariablesStand(t *testing.T) {
	for _, expr := range []string{
		"rate(x_total[$__rate_interval])", "rate(x_total[${window}])", "rate(x_total[[[window]]])", "max_over_time(x[$__range:$__interval])", "x offset $ago", "x > $limit",
		"topk($n, x)", "sum by ($label) (x)", "sum by (a, ${label:csv}) (x)", `x{a=~"${b:pipe}|c", d="$e\"$f"}`, "$metric", "${metric}_total", "increase(x[${__range_s}s])", "x / $__interval_ms", "quantile(0.$q, x)",
	} {
		if _, _, err := parseFilled(expr); err != nil {
			t.Errorf("parseFilled(%s): %v", expr, err)
		}
	}
	filled, _, err := parseFilled(`sum($metric{a="$b"}) + )`)
	if err == nil {
		t.Fatal("a wrong expression parses")
	}
	if at := filled.origin(strings.LastIndexByte(filled.text, ')')); at != 23 {
		t.Errorf("the last parenthesis is at %d, want 23", at)
	}
}

func FuzzLintDashboard(f *testing.F) {
	f.Add([]byte(goodDashboard))
	f.Add([]byte(`{"panels": [{"targets": [{"expr": "\ud83d\ude00 rate(x[$a" }]}], "templating": {"list": [{"type": "query", "name": "a", "query": "label_values(x{, a)"}]}}`))
	f.Add([]byte(`{"panels":[{"gridPos":{"x":"a"},"fieldConfig":{"overrides":[{"properties":[{"id":"unit","value":5}]}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		checkPlaces(t, text, LintDashboard("f", text, LintOptions{Boards: map[string]string{}}))
	})
}
