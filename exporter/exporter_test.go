package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"github.com/yagura-io/yagura/rules/event"
)

// steady is a collector of one counter, labelled by how many calls there were.
func steady(collector string) Entry {
	f := NewCounter("test_"+collector+"_total", "Calls of Update.")
	n := 0.0
	return entry(collector, func(_ context.Context, ch chan<- prometheus.Metric) error {
		n++
		f.Begin()
		f.Set(event.Workload{}, n)
		f.Send(ch)
		return nil
	}, f)
}

func TestCollectorThatFailsCostsOnlyItself(t *testing.T) {
	var log bytes.Buffer
	half := NewGauge("test_half", "Sent before the panic.")
	e := New(Options{Log: logInto(&log), Collectors: []Entry{
		steady("good"),
		entry("absent", func(context.Context, chan<- prometheus.Metric) error {
			return fmt.Errorf("no such device: %w", ErrNoData)
		}),
		entry("broken", func(context.Context, chan<- prometheus.Metric) error { return errors.New("disk on fire") }),
		entry("panicking", func(_ context.Context, ch chan<- prometheus.Metric) error {
			half.Begin()
			half.Set(event.Workload{}, 1)
			half.Send(ch)
			panic("out of cheese")
		}, half),
	}})
	for range 3 {
		scrapeText(e, "/metrics")
	}
	status, text := scrapeText(e, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	expect(t, text, map[string]string{
		`test_good_total`: "4",
		`test_half`:       "1",
		`yagura_scrape_collector_success{collector="good"}`:           "1",
		`yagura_scrape_collector_success{collector="absent"}`:         "1",
		`yagura_scrape_collector_success{collector="broken"}`:         "0",
		`yagura_scrape_collector_success{collector="panicking"}`:      "0",
		`yagura_scrape_collector_panics_total{collector="panicking"}`: "4",
		`yagura_scrape_collector_panics_total{collector="good"}`:      "0",
	})
	for text, want := range map[string]int{"disk on fire": 1, "out of cheese": 1, "exporter_test.go": 1} {
		if got := min(1, strings.Count(log.String(), text)); got != want {
			t.Errorf("%q is not in the log:\n%s", text, log.String())
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines != 2 {
		t.Errorf("%d lines logged in 4 scrapes, want 2:\n%s", lines, log.String())
	}
}

func TestCollectorThatHangsCostsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		gate := make(chan struct{})
		started := 0
		slow := NewCounter("test_slow_total", "Calls.")
		e := New(Options{Log: logInto(&log), Collectors: []Entry{
			steady("good"),
			entry("slow", func(_ context.Context, ch chan<- prometheus.Metric) error {
				started++
				slow.Begin()
				slow.Set(event.Workload{}, float64(started))
				slow.Send(ch)
				<-gate
				for range 1000 { // more than the channel holds
					slow.Begin()
					slow.Set(event.Workload{}, float64(started))
					slow.Send(ch)
				}
				return nil
			}, slow),
		}})
		for i, want := range []time.Duration{5 * time.Second, 0, 0} {
			start := time.Now()
			_, text := scrapeText(e, "/metrics")
			if took := time.Since(start); took != want {
				t.Errorf("scrape %d took %v, want %v", i, took, want)
			}
			expect(t, text, map[string]string{
				"test_good_total": fmt.Sprint(i + 1),
				"test_slow_total": "absent",
				`yagura_scrape_collector_success{collector="slow"}`:        "0",
				`yagura_scrape_collector_timeouts_total{collector="slow"}`: "1",
			})
		}
		if started != 1 {
			t.Errorf("started %d times while the first call runs", started)
		}
		close(gate)
		if err := e.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		_, text := scrapeText(e, "/metrics")
		expect(t, text, map[string]string{
			"test_slow_total": "2",
			`yagura_scrape_collector_success{collector="slow"}`: "1",
		})
	})
}

func TestScrapeEndsBeforeTheScraperGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Collectors: []Entry{
			steady("good"),
			entry("slow", func(ctx context.Context, _ chan<- prometheus.Metric) error { <-ctx.Done(); return ctx.Err() }),
		}})
		for timeout, want := range map[string]time.Duration{
			"2":    2*time.Second - 200*time.Millisecond,
			"10":   5 * time.Second,
			"5.2":  5200*time.Millisecond - 500*time.Millisecond,
			"NaN":  5 * time.Second,
			"-3":   5 * time.Second,
			"soon": 5 * time.Second,
		} {
			start := time.Now()
			status, text := scrapeText(e, "/metrics", scrapeTimeoutHeader, timeout)
			if took := time.Since(start); took != want || status != http.StatusOK {
				t.Errorf("with %s s: status %d after %v, want 200 after %v", timeout, status, took, want)
			}
			if value(t, text, "test_good_total") == "absent" {
				t.Errorf("with %s s: the good collector is missing", timeout)
			}
			synctest.Wait() // until the late call has ended
		}
	})
}

func TestOverlappingScrapesShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		f := NewCounter("test_total", "Calls.")
		n := 0.0
		e := New(Options{Collectors: []Entry{entry("one", func(_ context.Context, ch chan<- prometheus.Metric) error {
			n++
			<-gate
			f.Begin()
			f.Set(event.Workload{}, n)
			f.Send(ch)
			return nil
		}, f), steady("two")}})
		var all sync.WaitGroup
		got := make([]string, 10)
		for i := range got {
			all.Go(func() {
				target := "/metrics"
				if i >= 8 {
					target = "/metrics?collect[]=two" // another set waits for its turn
				}
				_, text := scrapeText(e, target)
				got[i] = value(t, text, "test_total")
			})
		}
		synctest.Wait()
		close(gate)
		all.Wait()
		want := append(slices.Repeat([]string{"1"}, 8), "absent", "absent")
		if !slices.Equal(got, want) {
			t.Errorf("values %v, want %v", got, want)
		}
		if _, text := scrapeText(e, "/metrics"); value(t, text, "test_total") != "2" {
			t.Error("the next scrape did not run the collector again")
		}
	})
}

func TestScraperThatGoesAwayDoesNotSpoilTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		f := NewCounter("test_total", "Calls.")
		e := New(Options{Collectors: []Entry{entry("one", func(ctx context.Context, ch chan<- prometheus.Metric) error {
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
			f.Begin()
			f.Set(event.Workload{}, 1)
			f.Send(ch)
			return nil
		}, f), steady("two")}})
		ask := func(ctx context.Context, target string) (string, int) {
			w := httptest.NewRecorder()
			e.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil).WithContext(ctx))
			return value(t, w.Body.String(), "test_total"), w.Code
		}
		impatient, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { ask(impatient, "/metrics") })
		synctest.Wait()
		all.Go(func() {
			if got, code := ask(t.Context(), "/metrics"); got != "1" || code != http.StatusOK {
				t.Errorf("who joined got %s with status %d", got, code)
			}
		})
		all.Go(func() {
			if _, code := ask(impatient, "/metrics?collect[]=two"); code != http.StatusServiceUnavailable {
				t.Errorf("who left while waiting got status %d", code)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(gate)
		all.Wait()
		if _, code := ask(t.Context(), "/metrics?collect[]=two"); code != http.StatusOK {
			t.Errorf("status %d afterwards", code)
		}
	})
}

func TestScrapesInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		e := New(Options{Requests: 2, Collectors: []Entry{
			entry("slow", func(context.Context, chan<- prometheus.Metric) error { <-gate; return nil }),
		}})
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { scrapeText(e, "/metrics") })
		}
		synctest.Wait()
		if status, text := scrapeText(e, "/metrics"); status != http.StatusServiceUnavailable {
			t.Errorf("status %d: %s", status, text)
		}
		close(gate)
		all.Wait()
		if status, _ := scrapeText(e, "/metrics"); status != http.StatusOK {
			t.Errorf("status %d once there is room again", status)
		}
	})
}

func TestRequestChoosesCollectors(t *testing.T) {
	e := New(Options{Collectors: []Entry{steady("a"), steady("b"), steady("c")}})
	for target, want := range map[string]string{
		"/metrics":                                     "abc",
		"/metrics?collect[]=a&collect[]=c":             "ac",
		"/metrics?exclude[]=b":                         "ac",
		"/metrics?collect[]=a&collect[]=b&exclude[]=a": "b",
		"/metrics?collect[]=x":                         `400 unknown or disabled collector "x"; there are: a, b, c`,
		"/metrics?exclude[]=x":                         `400 unknown or disabled collector "x"; there are: a, b, c`,
		"/metrics?name[]=test_a_total":                 "a",
	} {
		status, text := scrapeText(e, target)
		got := ""
		for _, c := range []string{"a", "b", "c"} {
			if value(t, text, "test_"+c+"_total") != "absent" {
				got += c
			}
		}
		if status != http.StatusOK {
			got = fmt.Sprint(status, " ", strings.TrimSpace(text))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	w := httptest.NewRecorder()
	e.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/metrics", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
}

func constMetric(name, help string, v float64, labels ...string) prometheus.Metric {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, v, values...)
}

func TestWhatDoesNotFitIsDroppedAlone(t *testing.T) {
	var log bytes.Buffer
	twice := NewGauge("test_twice", "Sent twice.")
	ours := NewGauge("test_shared", "Shared.", "who")
	again := NewGauge("test_shared", "Shared.", "who")
	kind := NewCounter("test_kind_total", "A counter.")
	histogram := NewHistogram("test_parts", "A histogram.")
	sendAll := func(ch chan<- prometheus.Metric, f *Family, labels ...string) {
		f.Begin()
		f.Set(event.Workload{}, 1, labels...)
		f.Send(ch)
	}
	registry := prometheus.NewRegistry()
	theirs := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "test_shared", Help: "Shared."}, []string{"who"})
	theirs.WithLabelValues("registry").Set(3)
	theirs.WithLabelValues("b").Set(3)
	registry.MustRegister(theirs)
	e := New(Options{Log: logInto(&log), Collectors: []Entry{
		steady("good"),
		entry("ours", func(_ context.Context, ch chan<- prometheus.Metric) error {
			sendAll(ch, twice)
			twice.Send(ch)
			sendAll(ch, ours, "b")
			histogram.Begin()
			histogram.AddHistogram(event.Workload{}, &Buckets{})
			histogram.Send(ch)
			return nil
		}, twice, ours, histogram),
		entry("again", func(_ context.Context, ch chan<- prometheus.Metric) error {
			sendAll(ch, again, "b")
			sendAll(ch, kind)
			return nil
		}, again, kind),
		entry("foreign", func(_ context.Context, ch chan<- prometheus.Metric) error {
			ch <- constMetric("test_shared", "Shared.", 2, "who", "a")
			ch <- constMetric("test_kind_total", "A gauge.", 2)
			ch <- constMetric("test_foreign", "Foreign.", 1, "x", "1")
			ch <- constMetric("test_foreign", "Foreign.", 2, "x", "1")
			ch <- constMetric("test_foreign", "Another help.", 2, "x", "2")
			ch <- constMetric("test_parts_count", "Collides.", 2)
			ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errors.New("bad")), errors.New("bad"))
			ch <- nil
			return nil
		}),
		{Name: "registry", Collector: Gathered(registry)},
	}})
	status, _ := scrapeText(e, "/metrics")
	logged := log.Len()
	if _, again := scrapeText(e, "/metrics"); again == "" || log.Len() != logged {
		t.Errorf("the second scrape logged again:\n%s", log.String()[logged:])
	}
	_, text := scrapeText(e, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	expect(t, text, map[string]string{
		"test_good_total":             "3",
		"test_twice":                  "1",
		`test_shared{who="a"}`:        "2",
		`test_shared{who="b"}`:        "1",
		`test_shared{who="registry"}`: "3",
		"test_kind_total":             "1",
		`test_foreign{x="1"}`:         "1",
		`test_foreign{x="2"}`:         "absent",
		"test_parts_count":            "0",
		`yagura_scrape_dropped_series_total{reason="duplicate"}`:      "9", // the second Send, another Family's b, the registry's b
		`yagura_scrape_dropped_series_total{reason="inconsistent"}`:   "11",
		`yagura_scrape_dropped_series_total{reason="unreadable"}`:     "6",
		`yagura_scrape_collector_success{collector="foreign"}`:        "1",
		`yagura_scrape_collector_panics_total{collector="foreign"}`:   "0",
		`yagura_scrape_collector_timeouts_total{collector="foreign"}`: "0",
	})
	if shared := text[strings.Index(text, "test_shared{"):]; !strings.HasPrefix(shared, `test_shared{who="a"} 2`+"\n"+`test_shared{who="b"} 1`+"\n"+`test_shared{who="registry"} 3`) {
		t.Errorf("a family of several sources is not sorted:\n%s", shared[:120])
	}
}

func TestGathererThatFailsCostsOnlyItself(t *testing.T) {
	e := New(Options{Collectors: []Entry{steady("good"), {Name: "store", Collector: Gathered(prometheus.GathererFunc(
		func() ([]*dto.MetricFamily, error) { return nil, errors.New("closed") }))}}})
	_, text := scrapeText(e, "/metrics")
	expect(t, text, map[string]string{"test_good_total": "1", `yagura_scrape_collector_success{collector="store"}`: "0"})
}

// sample is an exporter of one metric of each type, of which every number is known.
func sample() *Exporter {
	start := time.Unix(1_700_000_000, 0)
	calls := NewCounter("test_calls_total", "Calls, \"quoted\" and \\ escaped.", "syscall").PerWorkload().Since(start)
	open := NewGauge("test_open_bytes", "Bytes that are open.", "direction")
	duration := NewHistogram("test_duration_seconds", "Durations.").PerWorkload().Since(start)
	return New(Options{Collectors: []Entry{entry("sample", func(_ context.Context, ch chan<- prometheus.Metric) error {
		calls.Begin()
		calls.Set(cart, 12, "read")
		calls.Exemplify(cart, Exemplar{Labels: map[string]string{"event_id": "7"}, Value: 1, Time: start.Add(time.Second)}, "read")
		calls.Set(event.Workload{Unit: "sshd.service"}, 1e9, "write\n")
		calls.Send(ch)
		open.Begin()
		open.Set(event.Workload{}, 0.5, "receive")
		open.Send(ch)
		b := &Buckets{Sum: 2.25}
		b.Counts[0], b.Counts[12], b.Counts[20], b.Counts[31] = 1, 2, 3, 1
		duration.Begin()
		duration.AddHistogram(cart, b)
		duration.Exemplify(cart, Exemplar{Labels: map[string]string{"event_id": "8"}, Value: 1.5, Time: start.Add(time.Second)})
		duration.Send(ch)
		return nil
	}, calls, open, duration)}})
}

// withoutOwn leaves out what the exporter says of itself, whose durations nobody knows.
func withoutOwn(text string) []byte {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "yagura_") {
			kept.WriteString(line)
		}
	}
	return []byte(kept.String())
}

func TestExpositionIsGolden(t *testing.T) {
	for file, accept := range map[string]string{
		"text.golden":        "text/plain",
		"openmetrics.golden": "application/openmetrics-text;version=1.0.0",
	} {
		_, text := scrapeText(sample(), "/metrics", "Accept", accept)
		golden(t, "testdata/"+file, withoutOwn(text))
	}
}

func TestProtobufCarriesBothHistograms(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", protobuf)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		sample().Handler().ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); got != encoding {
			t.Errorf("content encoding %q, want %q", got, encoding)
		}
		families := decode(t, w.Result())
		h := families["test_duration_seconds"].Metric[0].Histogram
		upTo := func(bound float64) uint64 {
			n := h.GetZeroCount()
			for exponent, count := range nativeCounts(h) {
				if math.Ldexp(1, exponent) <= bound {
					n += count
				}
			}
			return n
		}
		for _, bucket := range h.Bucket {
			if native := upTo(bucket.GetUpperBound()); native != bucket.GetCumulativeCount() {
				t.Errorf("%d observations up to %v s in the classic form, %d in the native one", bucket.GetCumulativeCount(), bucket.GetUpperBound(), native)
			}
		}
		if h.GetSampleCount() != 7 || upTo(math.Inf(1)) != 7 || h.GetSampleSum() != 2.25 {
			t.Errorf("count %d, native %d, sum %v; want 7, 7, 2.25", h.GetSampleCount(), upTo(math.Inf(1)), h.GetSampleSum())
		}
		if h.CreatedTimestamp.GetSeconds() != 1_700_000_000 || len(h.Exemplars) != 1 {
			t.Errorf("created %v, exemplars %v", h.CreatedTimestamp, h.Exemplars)
		}
		if unit := families["test_open_bytes"].GetUnit(); unit != "bytes" {
			t.Errorf("unit %q, want bytes", unit)
		}
	}
}

func TestCompressionIsNegotiated(t *testing.T) {
	for offer, want := range map[string]bool{
		"": false, "gzip": true, "deflate, GZIP;q=0.5": true, "gzip;q=0": false, "gzip;q=x": false, "identity": false, "zstd,gzip": true,
	} {
		if got := acceptsGzip(offer); got != want {
			t.Errorf("%q: gzip %v, want %v", offer, got, want)
		}
	}
}

func TestUndeclaredFamilyIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	e := steady("loose")
	e.Families = nil
	exporter := New(Options{Collectors: []Entry{e}, Log: logInto(&log)})
	for range 3 {
		_, text := scrapeText(exporter, "/metrics")
		if value(t, text, "test_loose_total") == "absent" {
			t.Error("the metric is missing")
		}
	}
	if n := strings.Count(log.String(), "test_loose_total"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, log.String())
	}
}

func TestGatherReturnsACopy(t *testing.T) {
	e := New(Options{Collectors: []Entry{steady("good")}})
	first, err := e.Gather()
	if err != nil {
		t.Fatal(err)
	}
	before := proto.Clone(first[0])
	if _, err := e.Gather(); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(before, first[0]) {
		t.Errorf("what was gathered changed from %v to %v", before, first[0])
	}
}

func TestOwnMetricsFollowTheRules(t *testing.T) {
	lifecycle := NewLifecycle(LifecycleOptions{})
	counters := NewCounters(Loss{Stage: "buffer", Read: func(func(event.Kind, uint64)) error { return nil }})
	e := New(Options{Collectors: []Entry{steady("good"), counters.Entry(), lifecycle.Entry()}})
	problems, err := testutil.GatherAndLint(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func decode(t *testing.T, response *http.Response) map[string]*dto.MetricFamily {
	t.Helper()
	body := response.Body
	format := expfmt.ResponseFormat(response.Header)
	decoder := expfmt.NewDecoder(plain(t, response.Header.Get("Content-Encoding"), body), format)
	families := map[string]*dto.MetricFamily{}
	for {
		family := &dto.MetricFamily{}
		if err := decoder.Decode(family); err != nil {
			return families
		}
		families[family.GetName()] = family
	}
}
