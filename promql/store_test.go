package promql

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		appendForever(dir)
	}
	if args := strings.Fields(os.Getenv(senderHelper)); len(args) == 2 {
		sendForever(args[0], args[1])
	}
	goleak.VerifyTestMain(m,
		// tsdb cannot close its write-ahead log where it cannot write its head chunks: TestProcessSurvivesFailedWrites.
		goleak.IgnoreTopFunction("github.com/prometheus/prometheus/tsdb/wlog.(*WL).run"))
}

// A journal keeps what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), text)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// open opens a store that scrapes self often, and closes it after the test.
func open(t testing.TB, dir string, self http.Handler, log *slog.Logger) *Store {
	t.Helper()
	s, err := Open(Options{
		Path:     dir,
		Config:   Config{ScrapeInterval: 100 * time.Millisecond},
		Log:      log,
		Self:     self,
		Instance: "here",
		Version:  "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// run runs the store until the test ends.
func run(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// eventually waits until f is content.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("timeout: %s", what)
}

// get asks the API, and returns the status code and the answer.
func get(t *testing.T, s *Store, path string, query ...string) (int, string) {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Add(query[i], query[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/"+path+"?"+values.Encode(), nil))
	return w.Code, w.Body.String()
}

// value is the value of the only series that expr yields, empty if there is none.
func value(t *testing.T, s *Store, expr string) string {
	t.Helper()
	_, body := get(t, s, "query", "query", expr)
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%s: %v: %s", expr, err, body)
	}
	if len(answer.Data.Result) != 1 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}

// subject is a program with one metric of each kind.
func subject() (http.Handler, prometheus.Counter) {
	reg := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "test_requests_total", Help: "Requests."}, []string{"pod", "job"})
	reg.MustRegister(requests)
	counter := requests.WithLabelValues("web-1", "theirs")
	counter.(prometheus.ExemplarAdder).AddWithExemplar(3, prometheus.Labels{"event": "e1"})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:                        "test_latency_seconds",
		Help:                        "Latency.",
		Buckets:                     []float64{0.1, 1},
		NativeHistogramBucketFactor: 1.1,
	})
	reg.MustRegister(latency)
	for range 4 {
		latency.(prometheus.ExemplarObserver).ObserveWithExemplar(0.25, prometheus.Labels{"event": "e2"})
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}), counter
}

func nothing() http.Handler {
	return promhttp.HandlerFor(prometheus.NewRegistry(), promhttp.HandlerOpts{})
}

func TestScrapeKeepsEveryKindOfMetric(t *testing.T) {
	t.Parallel()
	self, _ := subject()
	s := open(t, t.TempDir(), self, nil)
	run(t, s)
	eventually(t, "a scrape", func() bool { return value(t, s, `up{job="yagura",instance="here"}`) == "1" })

	for expr, want := range map[string]string{
		`test_requests_total{pod="web-1",job="theirs",instance="here"}`: "3",
		`test_latency_seconds_bucket{le="0.1"}`:                         "0",
		`test_latency_seconds_bucket{le="1.0"}`:                         "4",
		`test_latency_seconds_count`:                                    "4",
		`histogram_count(test_latency_seconds)`:                         "4",
		`histogram_sum(test_latency_seconds)`:                           "1",
		`min_over_time(test_requests_total[1m])`:                        "0", // the start timestamp's zero
	} {
		if got := value(t, s, expr); got != want {
			t.Errorf("%s = %q, want %q", expr, got, want)
		}
	}
	for path, want := range map[string][]string{
		"query_exemplars":           {`"event":"e1"`, `"event":"e2"`},
		"series":                    {`"test_latency_seconds_bucket"`},
		"labels":                    {`"pod"`, `"le"`},
		"label/pod/values":          {`["web-1"]`},
		"metadata":                  {`"help":"Requests."`},
		"targets":                   {`"health":"up"`, `"scrapeUrl":"http://yagura.invalid/metrics"`},
		"rules":                     {`"groups":[]`},
		"alerts":                    {`"alerts":[]`},
		"alertmanagers":             {`"activeAlertmanagers":[]`},
		"format_query":              {`success`},
		"parse_query":               {`vectorSelector`},
		"status/buildinfo":          {`"version":"3.15.0"`},
		"status/runtimeinfo":        {`"storageRetention":"15d"`},
		"status/config":             {`always_scrape_classic_histograms: true`},
		"status/flags":              {`success`},
		"status/tsdb":               {`headStats`},
		"status/tsdb/blocks":        {`success`},
		"status/walreplay":          {`success`},
		"scrape_pools":              {`yagura`},
		"targets/metadata":          {`test_requests_total`},
		"query_range?ignored=value": nil,
	} {
		code, body := get(t, s, strings.TrimSuffix(path, "?ignored=value"),
			"query", `{__name__=~"test_.*"}`, "match[]", `{__name__=~"test_.*"}`,
			"start", fmt.Sprint(time.Now().Add(-time.Minute).Unix()), "end", fmt.Sprint(time.Now().Unix()+1), "step", "15") // whole seconds
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s: no %s in %s", path, text, body)
			}
		}
	}
}

func TestHandlerOnlyReads(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nothing(), nil)
	for _, path := range []string{
		"write", "otlp/v1/metrics", "admin/tsdb/delete_series", "admin/tsdb/clean_tombstones",
		"admin/tsdb/snapshot", "search/metric_names", "notifications/live", "status/self_metrics", "nonsense",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, httptest.NewRequest(method, "/api/v1/"+path, nil))
			if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"errorType":"not_found"`) {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
	r := httptest.NewRequest("GET", "/api/v1/query?query=1", nil)
	r.Header.Set("Origin", "http://evil.example")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("another site may read the answer: Access-Control-Allow-Origin: %s", got)
	}
}

func TestDataSurvivesReopening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, counter := subject()
	s := open(t, dir, self, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	eventually(t, "a scrape", func() bool { return value(t, s, `test_requests_total`) == "3" })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Ready() {
		t.Error("ready though closed")
	}
	if code, _ := get(t, s, "query", "query", "1"); code != http.StatusServiceUnavailable {
		t.Errorf("closed store answers with %d", code)
	}

	counter.Add(2)
	again := open(t, dir, self, nil)
	if got := value(t, again, `max_over_time(test_requests_total[1m])`); got != "3" {
		t.Errorf("after reopening: %q, want 3", got)
	}
	if _, body := get(t, again, "query_exemplars", "query", "test_requests_total",
		"start", fmt.Sprint(time.Now().Add(-time.Minute).Unix()), "end", fmt.Sprint(time.Now().Unix()+1)); !strings.Contains(body, "e1") {
		t.Errorf("exemplars after reopening: %s", body)
	}
	run(t, again)
	eventually(t, "the next scrape", func() bool { return value(t, again, `test_requests_total`) == "5" })
}

func TestCloseStopsRun(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nothing(), nil)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	eventually(t, "a scrape", func() bool { return value(t, s, `up`) == "1" })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestFailedScrapesAreLogged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	broken := true
	self := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, "a 1\n")
	})
	var log journal
	s := open(t, t.TempDir(), self, log.logger())
	run(t, s)
	eventually(t, "a warning", func() bool {
		return log.has("store cannot scrape this program") && log.has("500 Internal Server Error")
	})
	mu.Lock()
	broken = false
	mu.Unlock()
	eventually(t, "recovery", func() bool { return log.has("store scrapes this program again") && value(t, s, "a") == "1" })
}

func TestOutdatedSamplesAreLogged(t *testing.T) {
	t.Parallel()
	self := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "now 1\nold 1 %d\n", time.Now().Add(-24*time.Hour).UnixMilli())
	})
	var log journal
	s := open(t, t.TempDir(), self, log.logger())
	run(t, s)
	eventually(t, "a warning", func() bool { return log.has("Error on ingesting samples that are too old") })
	if got := value(t, s, "now"); got != "1" {
		t.Errorf("the good sample beside the old one: %q", got)
	}
}

func TestSecondOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir, nothing(), nil)
	_, err := Open(Options{Path: dir, Self: nothing()})
	want := fmt.Sprintf("open store %s: store is in use by process %d", dir, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("second Open: %v, want %s", err, want)
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no path":  {Options{}, "no path"},
		"a file":   {Options{Path: file}, "not a directory"},
		"negative": {Options{Path: t.TempDir(), Config: Config{Retention: -1}}, "must not be negative"},
		"label":    {Options{Path: t.TempDir(), Config: Config{ExternalLabels: map[string]string{"": "x"}}}, "label name"},
	} {
		if _, err := Open(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestOwnMetricsAreFew(t *testing.T) {
	t.Parallel()
	self, _ := subject()
	s := open(t, t.TempDir(), self, nil)
	run(t, s)
	eventually(t, "a scrape", func() bool { return value(t, s, `up`) == "1" })
	families, err := s.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "prometheus_") && !strings.HasPrefix(f.GetName(), "yagura_store_") {
			t.Errorf("unexpected metric %s", f.GetName())
		}
		for _, m := range f.Metric {
			series += 1 + len(m.GetHistogram().GetBucket()) + len(m.GetSummary().GetQuantile())
		}
	}
	t.Logf("%d families, about %d series", len(families), series)
	if series > 500 {
		t.Errorf("%d series of its own", series)
	}
}

// put appends one sample per series, at one time, and commits.
func put(s *Store, at time.Time, v float64, all ...labels.Labels) error {
	app := s.db.AppenderV2(context.Background())
	for _, ls := range all {
		if _, err := app.Append(0, ls, 0, at.UnixMilli(), v, nil, nil, storage.AOptions{}); err != nil {
			return err
		}
	}
	return app.Commit()
}

func TestDamagedLogIsRepaired(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, nothing(), nil)
	start := time.Now().Add(-time.Minute)
	for i := range 5000 {
		if err := put(s, start.Add(time.Duration(i)*time.Millisecond), float64(i), series("first", 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("this is not what was written"), info.Size()/2); err != nil {
		t.Fatal(err)
	}
	f.Close()

	var log journal
	again := open(t, dir, nothing(), log.logger())
	if !log.has("write-ahead log was damaged and has been repaired") {
		t.Errorf("the log says nothing of the damage: %s", log.text.String())
	}
	kept := value(t, again, `count_over_time(first[5m])`)
	t.Logf("%s of 5000 samples kept", kept)
	if kept == "" || kept == "5000" {
		t.Errorf("%s of 5000 samples kept after damage in the middle", kept)
	}
	if err := put(again, time.Now(), 1, series("later", 0)); err != nil {
		t.Errorf("append after the repair: %v", err)
	}
}

func TestVersionIsTheModules(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor, patch int
	fmt.Sscanf(prometheusVersion, "%d.%d.%d", &major, &minor, &patch)
	want := fmt.Sprintf("github.com/prometheus/prometheus v0.%d%02d.%d", major, minor, patch)
	if !strings.Contains(string(mod), want+"\n") {
		t.Errorf("prometheusVersion is %s, but go.mod does not require %s", prometheusVersion, want)
	}
}

// serve serves h on a port of its own until the test ends, and returns its URL.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}
