package library

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

var language = parser.NewParser(parser.Options{})

// parsed is a query with the defaults of its variables.
func parsed(t *testing.T, q Query) parser.Expr {
	t.Helper()
	text, err := q.Expand(nil)
	if err != nil {
		t.Fatal(err)
	}
	expr, err := language.ParseExpr(text)
	if err != nil {
		t.Fatalf("%s: %v\n%s", q.Name, err, text)
	}
	return expr
}

func TestQueriesParseAndAreOfTheirType(t *testing.T) {
	for _, q := range All() {
		t.Run(q.Name, func(t *testing.T) {
			if got := string(parsed(t, q).Type()); got != q.Type {
				t.Errorf("its expression is a %s, and it says %s", got, q.Type)
			}
		})
	}
}

// A metric is a row of exporter/METRICS.md, or a series by another way.
type metric struct {
	kind   string // counter, gauge, histogram, summary, untyped; empty if not known
	dim    dim
	labels []string
}

var workload = []string{"namespace", "pod", "container", "unit"}

// metrics are all series that there are: those of the reference, those that every Prometheus makes, and what our rules record.
var metrics = sync.OnceValues(func() (map[string]metric, error) {
	all := map[string]metric{
		"ALERTS": {kind: "gauge"},
		"up":     {kind: "gauge"}, "scrape_duration_seconds": {kind: "gauge", dim: seconds}, "scrape_samples_scraped": {kind: "gauge"},
		"scrape_series_added": {kind: "gauge"}, "yagura_store_appends_refused_total": {kind: "counter"},
	}
	page, err := os.ReadFile("../../exporter/METRICS.md")
	if err != nil {
		return nil, err
	}
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]*) \\| (\\w+) \\| (\\w*) \\|")
	for _, m := range row.FindAllSubmatch(page, -1) {
		s := metric{kind: string(m[3]), dim: dimOf(string(m[1]))}
		for _, label := range strings.Split(string(m[2]), ", ") {
			if label == "*workload*" {
				s.labels = append(s.labels, workload...)
			} else {
				s.labels = append(s.labels, strings.Trim(label, "` "))
			}
		}
		all[string(m[1])] = s
		if s.kind == "histogram" || s.kind == "summary" {
			all[string(m[1])+"_bucket"] = metric{kind: "counter", dim: s.dim, labels: append(slices.Clone(s.labels), "le")}
			all[string(m[1])+"_sum"] = metric{kind: "counter", dim: s.dim, labels: s.labels}
			all[string(m[1])+"_count"] = metric{kind: "counter", labels: s.labels}
		}
	}
	packs, err := filepath.Glob("../../alerts/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, pack := range packs {
		text, err := os.ReadFile(pack)
		if err != nil {
			return nil, err
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*(?:- )?record: (\S+)`).FindAllSubmatch(text, -1) {
			all[string(m[1])] = metric{}
		}
	}
	return all, nil
})

// selected are the metrics that a selector can mean.
func selected(all map[string]metric, s *parser.VectorSelector) ([]metric, error) {
	var found []metric
	for _, m := range s.LabelMatchers {
		if m.Name != labels.MetricName {
			continue
		}
		if strings.HasPrefix(m.Value, "prometheus_") && m.Type == labels.MatchEqual {
			kind := "gauge"
			if strings.HasSuffix(m.Value, "_total") || strings.HasSuffix(m.Value, "_count") || strings.HasSuffix(m.Value, "_sum") {
				kind = "counter"
			}
			return []metric{{kind: kind, dim: dimOf(m.Value)}}, nil
		}
		for name, one := range all {
			if m.Matches(name) {
				found = append(found, one)
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("there is no series %s", m)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s names no series", s)
	}
	return found, nil
}

func TestQueriesAskForWhatThereIs(t *testing.T) {
	all, err := metrics()
	if err != nil || len(all) < 300 {
		t.Fatalf("%d metrics, %v", len(all), err)
	}
	for _, q := range All() {
		t.Run(q.Name, func(t *testing.T) {
			known, asked := map[string]bool{"job": true, "instance": true, "le": true, "__name__": true}, map[string]bool{}
			free := false // some series whose labels are not written down
			parser.Inspect(parsed(t, q), func(node parser.Node, path []parser.Node) error {
				switch n := node.(type) {
				case *parser.VectorSelector:
					found, err := selected(all, n)
					if err != nil {
						t.Error(err)
					}
					for _, m := range found {
						free = free || m.labels == nil
						for _, l := range m.labels {
							known[l] = true
						}
						if totals[q.Name] == "" {
							countsAreRated(t, n, m, path)
						}
					}
					for _, m := range n.LabelMatchers {
						asked[m.Name] = true
					}
				case *parser.AggregateExpr:
					for _, l := range n.Grouping {
						asked[l] = true
					}
				case *parser.BinaryExpr:
					if n.VectorMatching != nil {
						for _, l := range append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...) {
							asked[l] = true
						}
					}
				case *parser.Call:
					if n.Func.Name == "label_replace" || n.Func.Name == "label_join" {
						known[n.Args[1].(*parser.StringLiteral).Val] = true
					}
				}
				return nil
			})
			for l := range asked {
				if !known[l] && !free {
					t.Errorf("none of its series has a label %q", l)
				}
			}
		})
	}
}

// totals are queries that ask for counters as they are, and why.
var totals = map[string]string{
	"console_agent_folded": "how often since Yagura started",
	"rule_hits_marks":      "marks are where the counter differs from the scrape before",
	"fim_unexpected_marks": "marks are where the counter differs from the scrape before",
}

var ofCounters = []string{"rate", "increase", "irate", "resets", "histogram_count", "histogram_sum"}

// countsAreRated says whether a counter is asked for how it rises, and a gauge is not.
func countsAreRated(t *testing.T, s *parser.VectorSelector, m metric, path []parser.Node) {
	t.Helper()
	var called []string
	for _, node := range path {
		switch n := node.(type) {
		case *parser.Call:
			called = append(called, n.Func.Name)
		case *parser.AggregateExpr:
			if n.Op == parser.COUNT {
				return // of how many there are, whatever they count
			}
		case *parser.BinaryExpr:
			if n.Op == parser.LAND || n.Op == parser.LUNLESS {
				return // of whether it is there
			}
		}
	}
	rated := slices.ContainsFunc(called, func(f string) bool { return slices.Contains(ofCounters, f) })
	switch {
	case m.kind == "gauge" && rated:
		t.Errorf("%s is a gauge: it has no rate", s)
	case (m.kind == "counter" || m.kind == "histogram") && !rated && !slices.Contains(called, "absent"):
		t.Errorf("%s is a counter: ask for its rate or increase", s)
	}
}

// A dim is a dimension: powers of seconds and bytes. What is counted has none.
type dim struct {
	seconds, bytes int
	any            bool // a plain number, which goes with everything
}

var seconds = dim{seconds: 1}

func (d dim) plus(o dim, sign int) dim {
	return dim{seconds: d.seconds + sign*o.seconds, bytes: d.bytes + sign*o.bytes}
}

// dimOf reads the dimension off a name, as names end with their unit.
func dimOf(name string) dim {
	name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_total"), "_sum"), "_bucket")
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return seconds
	case strings.HasSuffix(name, "_bytes"), strings.HasSuffix(name, "_bytes_per_second"):
		return dim{bytes: 1}
	}
	return dim{}
}

var unitDims = map[string]dim{
	"bytes": {bytes: 1}, "bytes_per_second": {bytes: 1, seconds: -1}, "celsius": {}, "cores": {}, "count": {}, "hertz": {seconds: -1}, "info": {},
	"operations_per_second": {seconds: -1}, "packets_per_second": {seconds: -1}, "per_second": {seconds: -1}, "ratio": {},
	"requests_per_second": {seconds: -1}, "score": {}, "seconds": seconds, "state": {},
}

// exceptDim are queries whose numbers are not what their names say, and why.
var exceptDim = map[string]string{
	"store_oldest":             "prometheus_tsdb_lowest_timestamp is in milliseconds and does not say so",
	"node_network_used":        "node_network_speed_bytes is of one second",
	"database_latency_buckets": "a heatmap: the unit is that of the buckets",
	"workload_latency_buckets": "a heatmap: the unit is that of the buckets",
}

func TestUnitsFitTheExpressions(t *testing.T) {
	all, err := metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range Units {
		if _, ok := unitDims[u.Name]; !ok {
			t.Errorf("unit %s has no dimension here", u.Name)
		}
	}
	for _, q := range All() {
		t.Run(q.Name, func(t *testing.T) {
			if why := exceptDim[q.Name]; why != "" {
				t.Log("not checked:", why)
				return
			}
			got, err := dimension(all, parsed(t, q))
			if err != nil {
				t.Fatal(err)
			}
			if want := unitDims[q.Unit]; got != want && !got.any {
				t.Errorf("%s: it is seconds^%d bytes^%d, and %s is seconds^%d bytes^%d", q.Unit, got.seconds, got.bytes, q.Unit, want.seconds, want.bytes)
			}
		})
	}
}

// dimension works out what an expression is measured in.
func dimension(all map[string]metric, e parser.Expr) (dim, error) {
	switch e := e.(type) {
	case *parser.NumberLiteral:
		return dim{any: true}, nil
	case *parser.StepInvariantExpr:
		return dimension(all, e.Expr)
	case *parser.ParenExpr:
		return dimension(all, e.Expr)
	case *parser.UnaryExpr:
		return dimension(all, e.Expr)
	case *parser.SubqueryExpr:
		return dimension(all, e.Expr)
	case *parser.MatrixSelector:
		return dimension(all, e.VectorSelector)
	case *parser.VectorSelector:
		found, err := selected(all, e)
		if err != nil {
			return dim{}, err
		}
		for _, m := range found {
			if m.dim != found[0].dim {
				return dim{}, fmt.Errorf("%s has series of several units", e)
			}
		}
		return recorded(e.Name, found[0].dim), nil
	case *parser.AggregateExpr:
		if e.Op == parser.COUNT || e.Op == parser.GROUP {
			return dim{}, nil
		}
		return dimension(all, e.Expr)
	case *parser.BinaryExpr:
		return ofOperation(all, e)
	case *parser.Call:
		return ofCall(all, e)
	}
	return dim{}, fmt.Errorf("what is the unit of a %T?", e)
}

// recorded gives a series of a recording rule the dimension of its name: level:metric:operations.
func recorded(name string, d dim) dim {
	if level := strings.Split(name, ":"); len(level) == 3 {
		d = dimOf(level[1])
		if strings.HasPrefix(level[2], "rate") {
			d.seconds--
		}
		if level[2] == "bytes" {
			d = dim{bytes: 1}
		}
		if strings.HasPrefix(level[2], "ratio") {
			d = dim{}
		}
	}
	return d
}

func ofOperation(all map[string]metric, e *parser.BinaryExpr) (dim, error) {
	left, err := dimension(all, e.LHS)
	if err != nil {
		return left, err
	}
	right, err := dimension(all, e.RHS)
	if err != nil {
		return right, err
	}
	switch {
	case e.Op == parser.MUL:
		return left.plus(right, 1), nil
	case e.Op == parser.DIV:
		return left.plus(right, -1), nil
	case e.Op == parser.LAND || e.Op == parser.LUNLESS:
		return left, nil
	case e.Op.IsComparisonOperator() && e.ReturnBool:
		return dim{}, nil
	case left.any:
		return right, nil
	case !right.any && left != right:
		return dim{}, fmt.Errorf("%s of what is not measured in the same unit: %s", e.Op, e)
	}
	return left, nil
}

func ofCall(all map[string]metric, e *parser.Call) (dim, error) {
	of := func(i int) (dim, error) { return dimension(all, e.Args[i]) }
	switch e.Func.Name {
	case "rate", "irate", "deriv":
		d, err := of(0)
		return d.plus(seconds, -1), err
	case "histogram_quantile":
		d, err := of(1)
		return d.plus(seconds, 1), err // of a rate
	case "histogram_count":
		return dim{seconds: -1}, nil // of a rate
	case "time", "timestamp":
		return seconds, nil
	case "vector", "scalar", "absent", "count_over_time", "changes", "resets":
		return dim{any: e.Func.Name == "vector"}, nil
	}
	return of(0)
}

func TestDimensionTellsUnitsApart(t *testing.T) {
	all := map[string]metric{"a_seconds_total": {dim: seconds}, "b_bytes": {dim: dim{bytes: 1}}, "c_total": {}, "h_seconds": {dim: seconds}, "h_seconds_bucket": {dim: seconds}}
	for text, want := range map[string]dim{
		`rate(a_seconds_total[5m])`:                         {},
		`rate(b_bytes[5m])`:                                 {bytes: 1, seconds: -1},
		`rate(c_total[5m])`:                                 {seconds: -1},
		`increase(c_total[5m])`:                             {},
		`b_bytes / deriv(b_bytes[5m])`:                      seconds,
		`1 - b_bytes / b_bytes`:                             {},
		`histogram_quantile(0.9, sum(rate(h_seconds[5m])))`: seconds,
		`histogram_quantile(0.9, sum by (le) (rate(h_seconds_bucket[5m])))`: seconds,
		`count(b_bytes)`:                   {},
		`topk(3, b_bytes > 5) and c_total`: {bytes: 1},
		`time() - a_seconds_total`:         seconds,
	} {
		e, err := language.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := dimension(all, e); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{`b_bytes + a_seconds_total`, `b_bytes or a_seconds_total`, `{__name__=~"b.*|c.*"}`, `unknown`} {
		e, err := language.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := dimension(all, e); err == nil {
			t.Errorf("%s: %+v and no error", text, got)
		}
	}
}

func TestNamesAreNoMetrics(t *testing.T) {
	all, err := metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range All() {
		if _, ok := all[q.Name]; ok {
			t.Errorf("%s is a metric: yagura query would not know which is meant", q.Name)
		}
	}
}

func TestDocsNameWhatThereIs(t *testing.T) {
	var prefixes []string
	for _, q := range All() {
		prefixes = append(prefixes, strings.SplitN(q.Name, "_", 2)[0]+"_")
	}
	all, err := metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range All() {
		for _, word := range regexp.MustCompile(`[a-z][a-z0-9]*(_[a-z0-9]+)+`).FindAllString(q.Doc, -1) {
			_, query := Find(word)
			_, series := all[word]
			if !query && !series && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(word, p) }) && !slices.Contains(words, word) {
				t.Errorf("%s: its doc speaks of %s, which is no query and no metric", q.Name, word)
			}
		}
	}
}

// words look like names and are values of labels, or settings.
var words = []string{"queue_time", "oom_killed"}

// silence reads testdata/silent.yaml: why a query answers nothing on the recording.
func silence(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/silent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var why map[string]string
	if err := yaml.Unmarshal(text, &why); err != nil {
		t.Fatal(err)
	}
	return why
}
