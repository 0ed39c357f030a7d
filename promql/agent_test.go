package promql

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
)

func TestAgentOnlyPassesOn(t *testing.T) {
	t.Parallel()
	m, dir := newMailbox(t), t.TempDir()
	m.answer.Store(http.StatusBadGateway)
	self, counter := subject()
	c := sendingTo(m, "v2")
	c.Agent = true
	o := Options{Path: dir, Self: self, Config: c, Rules: inMemory(map[string][]byte{"test.yaml": []byte(pack)})}
	s := openWith(t, o)
	eventually(t, "a try", func() bool { return m.asked.Load() > 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m.answer.Store(0)
	s = openWith(t, o)
	counter.Inc()
	eventually(t, "a sample", func() bool { return value(t, m.Store, `test_requests_total`) == "4" })
	if got := value(t, m.Store, `min_over_time(test_requests_total[1m] offset 0s)`); got != "0" {
		t.Errorf("the oldest value received is %s, want the start's 0", got)
	}
	if got := value(t, m.Store, `count_over_time(test_requests_total[1m]) > bool 2`); got != "1" {
		t.Error("what an earlier run scraped was not received")
	}

	for path, want := range map[string]int{
		"/api/v1/targets": 200, "/api/v1/metadata": 200, "/api/v1/status/config": 200, "/api/v1/status/runtimeinfo": 200,
		"/api/v1/query?query=1": 422, "/api/v1/rules": 422, "/api/v1/labels": 422, "/api/v1/status/tsdb": 422, "/federate?match[]=up": 422,
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want || want == 422 && !strings.Contains(w.Body.String(), "this store is an agent") {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	if n := metricSum(t, s, "prometheus_rule_evaluations_total"); n != 0 {
		t.Errorf("%v rules evaluated", n)
	}
	if err := s.Reload(c, nil); err != nil {
		t.Errorf("reload: %v", err)
	}
}

func TestReceiversAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	for path, on := range map[string]Config{"write": {RemoteWriteReceiver: true}, "otlp/v1/metrics": {OTLPReceiver: true}} {
		for _, c := range []Config{{}, on} {
			s, err := Open(Options{Path: t.TempDir(), Config: c})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/"+path, strings.NewReader("?")))
			if got, want := w.Code == http.StatusNotFound, c.RemoteWriteReceiver == on.RemoteWriteReceiver && c.OTLPReceiver == on.OTLPReceiver; got == want {
				t.Errorf("%s with %+v: %d %s", path, c, w.Code, w.Body)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestQueryLimitsAreCounted(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{Path: t.TempDir(), Config: Config{Query: QueryLimits{MaxSamples: 10, MaxConcurrency: 1, Timeout: 50_000_000}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	refused := func(limit string) string {
		families, err := s.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "yagura_store_queries_refused_total" && m.GetLabel()[0].GetValue() == limit {
					return fmt.Sprint(m.GetCounter().GetValue())
				}
			}
		}
		return ""
	}
	if code, body := get(t, s, "query", "query", "vector(1)[20s:1s]"); code != 422 || !strings.Contains(body, "too many samples") {
		t.Errorf("20 samples: %d %s", code, body)
	}
	if code, body := get(t, s, "query", "query", "vector(1)", "timeout", "-1"); code != 503 || !strings.Contains(body, "timed out") {
		t.Errorf("no time: %d %s", code, body)
	}
	s.gate.slots <- struct{}{} // as a query would that is under way
	if code, body := get(t, s, "query", "query", "vector(1)"); code != 503 || !strings.Contains(body, "store.query.max_concurrency") {
		t.Errorf("no slot: %d %s", code, body)
	}
	<-s.gate.slots
	if code, body := get(t, s, "query", "query", "vector(1)"); code != 200 {
		t.Errorf("within the limits: %d %s", code, body)
	}
	for _, limit := range []string{"samples", "timeout", "concurrency"} {
		if got := refused(limit); got != "1" {
			t.Errorf("refused for %s: %s, want 1", limit, got)
		}
	}
}

func TestOTLPIsReceived(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{Path: t.TempDir(), Config: Config{OTLPReceiver: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	text := fmt.Sprintf(`{"resourceMetrics": [{
		"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
		"scopeMetrics": [{"metrics": [{"name": "http.requests", "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true,
			"dataPoints": [{"timeUnixNano": "%d", "asDouble": 7, "attributes": [{"key": "http.route", "value": {"stringValue": "/cart"}}]}]}}]}]}]}`,
		time.Now().UnixNano())
	r := httptest.NewRequest("POST", "/api/v1/otlp/v1/metrics", strings.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := value(t, s, `http_requests_total{job="shop",http_route="/cart"}`); got != "7" {
		_, body := get(t, s, "query", "query", `{__name__!=""}`)
		t.Errorf("received: %q; all: %s", got, body)
	}
}

func TestOutOfOrderWindow(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for window, taken := range map[time.Duration]bool{0: false, time.Hour: true} {
		m := newMailbox(t)
		if window > 0 {
			if err := m.Store.db.ApplyConfig(planOf(t, Config{OutOfOrderWindow: window})); err != nil {
				t.Fatal(err)
			}
		}
		s := openWith(t, Options{Config: Config{RemoteWrite: []RemoteWrite{{URL: m.url, Name: "far"}}, OutOfOrderWindow: time.Hour}})
		for _, age := range []time.Duration{time.Minute, 10 * time.Minute, 0} {
			if err := put(s, now.Add(-age), 1, series("a", 0)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a sample sent", func() bool {
				return s.post.box.Load() != nil && metricSum(t, s, "prometheus_remote_storage_samples_total") >= 1
			})
		}
		eventually(t, "the last sample", func() bool {
			return value(t, m.Store, fmt.Sprintf(`count_over_time(a[1h] @ %d)`, now.Unix()+1)) == map[bool]string{true: "3", false: "2"}[taken]
		})
		if failed := metricSum(t, s, "prometheus_remote_storage_samples_failed_total") > 0; failed == taken {
			t.Errorf("with a window of %v: samples refused: %v", window, failed)
		}
	}
}

func planOf(t *testing.T, c Config) *config.Config {
	t.Helper()
	p, err := compile(c, nil, "", quietLog())
	if err != nil {
		t.Fatal(err)
	}
	return p.merged
}
