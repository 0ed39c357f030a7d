package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/dashboards"
)

// TestDashboards asks every question of every dashboard of the real program while real services are at work, attacked and broken,
// and wants an answer that the panel can show.
func TestDashboards(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	watched := public(t)
	y := yagura(t, "--config.file="+write(t, c.dir+"/yagura.yml", fmt.Sprintf(`
containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}
limits: {workload: 2000}
store: {scrape_interval: 2s}
requests: {dns_names: true}
rules: {matching: all, rate: {per_second: 0.1, burst: 1}, outputs: {file: {path: %s}}}
fim:
  defaults: false
  store: %s
  watches: [{name: app, doc: Files that the test changes., paths: [%s]}]
posture: {interval: 1h}
`, c.socket(), c.dir+"/alerts.json", c.dir+"/fim.db", watched)), "--store.path="+c.dir+"/store", "--collector.fim", "--collector.posture").await(t).ready(t)

	load := startLoad(t, y, c, watched)
	open, answers := questions(), []string(nil)
	for begun := time.Now(); len(open) > 0 && time.Since(begun) < 5*time.Minute; { // rules need half a minute, and a busy machine longer
		load()
		time.Sleep(2 * time.Second) // the next scrape has what was done
		open, answers = stillOpen(t, y, open)
		t.Logf("after %s %d questions are open", time.Since(begun).Round(time.Second), len(open))
	}
	for i, q := range open {
		t.Errorf("%s: %s\n%s", q.Where, answers[i], q.Expr)
	}
	testChosen(t, y)
}

func questions() (all []dashboards.Question) {
	for _, b := range dashboards.All() {
		all = append(all, b.Questions()...)
	}
	return all
}

// startLoad starts what there is to see, and returns what has it work for a while.
func startLoad(t *testing.T, y *server, c *containerd, watched string) func() {
	t.Helper()
	run := func(name, life, what string, more ...string) {
		_, _ = exec.Command("ctr", append(append([]string{"-a", c.socket(), "-n", c.ns, "run", "--snapshotter", "native"}, more...),
			append([]string{testImage, name, "/guest", life}, strings.Fields(what)...)...)...).CombinedOutput() // one that is killed is an error of ctr's
	}
	run("greedy", "10m", "burn", "--detach", "--cpu-quota", "20000", "--cpu-period", "100000", "--memory-limit", strconv.Itoa(256<<20))
	run("deaf", "10m", "listen", "--detach")
	var loads []func()
	for _, service := range realServices {
		if !slices.Contains([]string{"nginx", "redis", "postgresql", "nats", "dns", "go"}, service.name) {
			continue
		}
		site := &realSite{y: y, dir: public(t), port: freePort(t), server: "dash-" + service.name + "-server.service", client: "dash-" + service.name + "-client.service"}
		service.start(t, site)
		loads = append(loads, func() { service.load(t, site) })
	}
	run("lost", "10m", "", "--detach", "--net-host") // asks a port where nobody listens
	run("thief", "10ms", "steal", "--rm")
	run("hungry", "1s", "eat", "--rm", "--memory-limit", strconv.Itoa(64<<20))
	reader := c.dir + "/reader"
	copyFile(t, "/bin/cat", reader)
	inWeb := func(args ...string) { // as somebody who has broken into the web server
		if out, err := inUnit(t, "dash-nginx-server.service", args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	n := 0
	return func() {
		n++
		inWeb(reader, "/etc/shadow")
		inWeb("sh", "-c", fmt.Sprintf("echo %d >%s/settings; : >%s/new%d", n, watched, watched, n))
		for _, load := range loads {
			load()
		}
	}
}

// stillOpen asks, and returns the questions without a good answer, and what is wrong with it.
func stillOpen(t *testing.T, y *server, all []dashboards.Question) (open []dashboards.Question, why []string) {
	t.Helper()
	for _, q := range all {
		if wrong := y.wrong(t, q); wrong != "" {
			open, why = append(open, q), append(why, wrong)
		}
	}
	return open, why
}

// substitute puts what Grafana would in the place of its variables.
func substitute(expr string, values map[string]string) string {
	own := map[string]string{"__rate_interval": "15s", "__interval": "5s", "__range": "5m"}
	return grafanaVariables.ReplaceAllStringFunc(expr, func(name string) string {
		name = strings.Trim(name, "${}")
		return cmp.Or(values[name], own[name], ".*")
	})
}

var grafanaVariables = regexp.MustCompile(`\$[a-z_]+|\$\{[a-z_]+\}`)

// An apiAnswer is what the API of Prometheus says.
type apiAnswer struct {
	Status, Error   string
	Warnings, Infos []string
	Data            json.RawMessage
}

type apiSeries struct {
	Metric     map[string]string
	Value      *[2]any
	Values     [][2]any
	Histogram  any
	Histograms any
}

func (s *server) answer(t *testing.T, path string, parameters url.Values) (a apiAnswer) {
	t.Helper()
	_, body := s.status(t, "GET", path+"?"+parameters.Encode())
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%s: %v: %s", path, err, body)
	}
	return a
}

// wrong says why the answer to a question cannot be shown. Both ways of asking must work; the panel's own must have an answer.
func (s *server) wrong(t *testing.T, q dashboards.Question) string {
	t.Helper()
	expr := substitute(q.Expr, nil)
	now := time.Now()
	stamp := func(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1e3, 'f', 3, 64) }
	instant := s.answer(t, "/api/v1/query", url.Values{"query": {expr}, "time": {stamp(now)}})
	ranged := s.answer(t, "/api/v1/query_range", url.Values{"query": {expr}, "start": {stamp(now.Add(-5 * time.Minute))}, "end": {stamp(now)}, "step": {"5"}})
	own := ranged
	if q.Instant {
		own = instant
	}
	for _, a := range []apiAnswer{instant, ranged} {
		if wrong := a.faulty(); wrong != "" {
			return wrong
		}
	}
	return own.unfit(q)
}

// untyped are metrics that node_exporter calls untyped, so that Prometheus wonders whether they are counters. They are.
var untyped = regexp.MustCompile(`"node_(netstat|vmstat)_`)

func (a apiAnswer) faulty() string {
	for _, note := range append(a.Warnings, a.Infos...) {
		if !untyped.MatchString(note) {
			return note
		}
	}
	if a.Status != "success" {
		return a.Error
	}
	return ""
}

// unfit says why the panel cannot show the answer.
func (a apiAnswer) unfit(q dashboards.Question) string {
	var data struct {
		ResultType string
		Result     []apiSeries
	}
	if err := json.Unmarshal(a.Data, &data); err != nil || data.ResultType != "vector" && data.ResultType != "matrix" {
		return fmt.Sprintf("the answer is a %s: %v", data.ResultType, err)
	}
	series := data.Result
	numbers := 0
	labels := map[string]bool{}
	for _, one := range series {
		if one.Histogram != nil || one.Histograms != nil {
			return "the answer has native histograms, which the panel cannot show"
		}
		for name := range one.Metric {
			labels[name] = true
		}
		if one.Value != nil {
			one.Values = append(one.Values, *one.Value)
		}
		for _, v := range one.Values {
			n, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if err != nil {
				return err.Error()
			}
			if !math.IsNaN(n) {
				numbers++
			}
			if q.Max > 0 && n > q.Max*1.001 {
				return fmt.Sprintf("%v is above the axis, which ends at %v: %v", n, q.Max, one.Metric)
			}
		}
	}
	if numbers == 0 && q.ExpectEmpty == "" {
		return fmt.Sprintf("the answer is empty (%d series without a number)", len(series))
	}
	if q.Buckets && !labels["le"] {
		return "the answer has no buckets"
	}
	for _, want := range q.Labels {
		if want == "container" || want == "unit" { // what is alone may be the host, which has neither
			labels[want] = labels["container"] || labels["unit"] || len(series) == 1
		}
		if !labels[want] && numbers > 0 {
			return fmt.Sprintf("no series has the label %s, which the panel shows; there are %v", want, slices.Sorted(maps.Keys(labels)))
		}
	}
	return ""
}

// choices are the values that a variable offers.
func (s *server) choices(t *testing.T, v dashboards.Choice) (values []string) {
	t.Helper()
	a := s.answer(t, "/api/v1/label/"+v.Label+"/values", url.Values{"match[]": {substitute(v.Selector, nil)}})
	if wrong := a.faulty(); wrong != "" {
		t.Errorf("%s: %s", v.Where, wrong)
		return nil
	}
	if err := json.Unmarshal(a.Data, &values); err != nil {
		t.Errorf("%s: %v", v.Where, err)
	}
	return values
}

// testChosen asks what there is to choose, and everything again with one value of each variable, as somebody does who looks at one
// thing. There may be no answer then, but nothing else may be wrong.
func testChosen(t *testing.T, y *server) {
	for _, b := range dashboards.All() {
		chosen := map[string]string{}
		for _, v := range b.Choices() {
			values := y.choices(t, v)
			if len(values) == 0 && v.ExpectEmpty == "" {
				t.Errorf("%s: nothing to choose of %s by %s", v.Where, v.Selector, v.Label)
			}
			if len(values) > 0 {
				chosen[v.Name] = strings.ReplaceAll(regexp.QuoteMeta(values[len(values)-1]), `\`, `\\`)
			}
		}
		for _, q := range b.Questions() {
			if wrong := y.answer(t, "/api/v1/query", url.Values{"query": {substitute(q.Expr, chosen)}}).faulty(); wrong != "" {
				t.Errorf("%s with %v: %s", q.Where, chosen, wrong)
			}
		}
	}
}

// TestAnswersThatCannotBeShown: the test above must find what is wrong.
func TestAnswersThatCannotBeShown(t *testing.T) {
	const head, tail = `{"status":"success","data":{"resultType":"vector","result":[`, `]}}`
	panel := dashboards.Question{Labels: []string{"rule"}, Max: 1}
	for _, test := range []struct {
		what, body string
		question   dashboards.Question
		wrong      string
	}{
		{"a good answer", head + `{"metric":{"rule":"a"},"value":[1,"0.5"]}` + tail, panel, ""},
		{"a series over time", `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"rule":"a"},"values":[[1,"NaN"],[2,"1"]]}]}}`, panel, ""},
		{"nothing", head + tail, panel, "empty"},
		{"nothing, for a reason", head + tail, dashboards.Question{ExpectEmpty: "quiet"}, ""},
		{"no number", head + `{"metric":{"rule":"a"},"value":[1,"NaN"]}` + tail, panel, "empty"},
		{"another label", head + `{"metric":{"name":"a"},"value":[1,"0.5"]}` + tail, panel, "label rule"},
		{"above the axis", head + `{"metric":{"rule":"a"},"value":[1,"1.5"]}` + tail, panel, "above the axis"},
		{"a native histogram", head + `{"metric":{"rule":"a"},"histogram":[1,{"count":"1"}]}` + tail, panel, "native"},
		{"no buckets", head + `{"metric":{},"value":[1,"1"]}` + tail, dashboards.Question{Buckets: true}, "buckets"},
		{"a scalar", `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`, panel, "scalar"},
		{"an error", `{"status":"error","error":"parse error"}`, panel, "parse error"},
		{"a gauge as a counter", `{"status":"success","infos":["metric might not be a counter: \"node_load1\""]}`, panel, "might not be a counter"},
		{"a counter of the kernel", `{"status":"success","infos":["metric might not be a counter: \"node_netstat_Tcp_InSegs\""],"data":{"resultType":"vector","result":[{"metric":{"rule":"a"},"value":[1,"1"]}]}}`, panel, ""},
		{"a warning", `{"status":"success","warnings":["mixed histograms"]}`, panel, "mixed"},
	} {
		var a apiAnswer
		if err := json.Unmarshal([]byte(test.body), &a); err != nil {
			t.Fatal(err)
		}
		wrong := a.faulty()
		if wrong == "" {
			wrong = a.unfit(test.question)
		}
		if (wrong == "") != (test.wrong == "") || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%s: %q, want %q", test.what, wrong, test.wrong)
		}
	}
}

func TestSubstitute(t *testing.T) {
	const expr = `sum(rate(x{rule=~"$rule",unit=~"${unit}",dst=~"^a$"}[$__rate_interval])) + label_replace(y[$__range], "a", "$1", "b", "(.*)")`
	const want = `sum(rate(x{rule=~"A [(]b[)]",unit=~".*",dst=~"^a$"}[15s])) + label_replace(y[5m], "a", "$1", "b", "(.*)")`
	if got := substitute(expr, map[string]string{"rule": "A [(]b[)]"}); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
