package exporter

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
)

func TestFlagsChooseCollectors(t *testing.T) {
	entries := []Entry{
		{Name: "a", Help: "A.", Default: true},
		{Name: "b", Help: "B.", Default: false},
		{Name: "c", Help: "C.", Default: true},
	}
	for args, want := range map[string]string{
		"":                             "ac",
		"--collector.b":                "abc",
		"--no-collector.a":             "c",
		"--collector.disable-defaults": "",
		"--collector.disable-defaults --collector.c --no-collector.b": "c",
	} {
		app := kingpin.New("yagura", "A test.")
		selection := Flags(app, entries)
		if _, err := app.Parse(strings.Fields(args)); err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		got := ""
		for _, e := range selection.Enabled(entries) {
			got += e.Name
		}
		if got != want {
			t.Errorf("%q turns on %q, want %q", args, got, want)
		}
	}
}

func TestEventsAreThereFromTheStart(t *testing.T) {
	lost, broken := uint64(0), error(nil)
	c := NewCounters(
		Loss{Stage: "buffer", Read: func(report func(event.Kind, uint64)) error {
			report(event.Exec, lost)
			return broken
		}},
		Loss{Stage: "decode", Read: func(func(event.Kind, uint64)) error { return nil }},
	)
	e := New(Options{Collectors: []Entry{c.Entry()}})
	_, text := scrapeText(e, "/metrics")
	for _, kind := range event.Kinds {
		expect(t, text, map[string]string{
			name(`yagura_events_total{kind="%s"}`, kind):                     "0",
			name(`yagura_events_lost_total{kind="%s",stage="buffer"}`, kind): "0",
			name(`yagura_events_lost_total{kind="%s",stage="decode"}`, kind): "0",
		})
	}
	lost = 3
	c.Observe(&event.Event{Kind: event.Exec})
	c.Observe(&event.Event{Kind: 999})
	_, text = scrapeText(e, "/metrics")
	expect(t, text, map[string]string{
		`yagura_events_total{kind="exec"}`:                     "1",
		`yagura_events_total{kind="unknown"}`:                  "1",
		`yagura_events_lost_total{kind="exec",stage="buffer"}`: "3",
		`yagura_events_lost_total{kind="fork",stage="buffer"}`: "0",
	})
	broken = errors.New("map is gone")
	_, text = scrapeText(e, "/metrics")
	expect(t, text, map[string]string{
		`yagura_events_total{kind="exec"}`:                     "1",
		`yagura_events_lost_total{kind="exec",stage="buffer"}`: "absent",
		`yagura_scrape_collector_success{collector="events"}`:  "0",
	})
}

func TestObserveCostsNoAllocation(t *testing.T) {
	c := NewCounters()
	ev := &event.Event{Kind: event.Exec}
	if allocs := testing.AllocsPerRun(100, func() { c.Observe(ev) }); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func BenchmarkObserve(b *testing.B) {
	c := NewCounters()
	ev := &event.Event{Kind: event.Exec}
	b.ReportAllocs()
	for b.Loop() {
		c.Observe(ev)
	}
}

func TestSelfShowsBuildProcessAndRuntime(t *testing.T) {
	lag := NewGauge("yagura_buffer_fill_ratio", "How full the buffer is.", "kind")
	e := New(Options{Collectors: []Entry{Self(Measure{Family: lag, Read: func(set func(float64, ...string)) { set(0.25, "events") }})}})
	_, text := scrapeText(e, "/metrics")
	for _, prefix := range []string{
		"yagura_build_info{", "process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds ",
		"go_goroutines ", "go_memory_classes_total_bytes ", `yagura_buffer_fill_ratio{kind="events"} 0.25`,
	} {
		if !strings.Contains(text, "\n"+prefix) {
			t.Errorf("no %s", prefix)
		}
	}
	expect(t, text, map[string]string{`yagura_scrape_collector_success{collector="self"}`: "1"})
	if n := strings.Count(text, "\ngo_"); n > 40 {
		t.Errorf("%d go_ series, want few", n)
	}
}

func ask(h http.Handler, method, path string, header ...string) (int, string) {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestLifecycle(t *testing.T) {
	unready, broken := errors.New("probes are not attached yet"), error(nil)
	reloads := 0
	l := NewLifecycle(LifecycleOptions{
		Ready:  func() error { return unready },
		Reload: func(context.Context) error { reloads++; return broken },
	})
	e := New(Options{Collectors: []Entry{l.Entry()}})
	check := func(method, path string, status int, says string, header ...string) {
		t.Helper()
		if got, body := ask(l, method, path, header...); got != status || !strings.Contains(body, says) {
			t.Errorf("%s %s: %d %q, want %d and %q", method, path, got, body, status, says)
		}
	}
	result := func(want string) {
		t.Helper()
		_, text := scrapeText(e, "/metrics")
		expect(t, text, map[string]string{"yagura_config_last_reload_successful": want})
		if value(t, text, "yagura_config_last_reload_success_timestamp_seconds") == "absent" {
			t.Error("no timestamp of the last reload")
		}
	}
	result("1")
	check("GET", "/-/healthy", 200, "healthy")
	check("GET", "/-/ready", 503, "not ready: probes are not attached yet")
	unready = nil
	check("GET", "/-/ready", 200, "ready")
	check("GET", "/-/reload", 405, "")
	check("POST", "/-/reload", 403, "", "Sec-Fetch-Site", "cross-site")
	check("POST", "/-/quit", 404, "")
	if reloads != 0 {
		t.Errorf("%d reloads before one was asked for", reloads)
	}
	check("POST", "/-/reload", 200, "reloaded")
	check("PUT", "/-/reload", 200, "reloaded")
	broken = errors.New(`yagura.yaml:3:1: unknown key "limit"`)
	check("POST", "/-/reload", 500, `unknown key "limit"`)
	result("0")
	broken = nil
	if err := l.ReloadNow(t.Context()); err != nil {
		t.Error(err)
	}
	result("1")
	if reloads != 4 {
		t.Errorf("%d reloads, want 4", reloads)
	}
}

func TestLandingPage(t *testing.T) {
	h := http.NewServeMux()
	if err := MountLanding(h, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(h, "GET", "/"); status != 200 || !strings.Contains(body, `href="/metrics"`) || !strings.Contains(body, "1.2.3") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := ask(h, "GET", "/elsewhere"); status != 404 {
		t.Errorf("status %d for another path, want 404", status)
	}
}

func TestConfigRefusesNoRoomAtAll(t *testing.T) {
	if err := Default.Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{Limits: Limits{Node: 1, Family: 0, Workload: 1}}).Validate(); err == nil {
		t.Error("a cap of 0 was accepted")
	}
}

func TestReference(t *testing.T) {
	entries := []Entry{
		{Name: "tcp", Help: "TCP connections.", Default: true, Families: []*Family{
			NewCounter("yagura_tcp_connects_total", "Connects, by how they ended: a | b.", "result").PerWorkload(),
			NewHistogram("yagura_tcp_connect_duration_seconds", "How long connects took.").PerWorkload(),
		}},
		{Name: "off", Help: "Nothing."},
	}
	var page bytes.Buffer
	if err := WriteReference(&page, entries); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/reference.golden", page.Bytes())
	entries[1].Families = []*Family{NewGauge("test_unknown", "A label without a meaning.", "wavelength")}
	if err := WriteReference(&page, entries); err == nil || !strings.Contains(err.Error(), "wavelength") {
		t.Errorf("a label without a meaning: %v", err)
	}
	entries[1].Families = entries[0].Families
	if err := WriteReference(&page, entries); err == nil || !strings.Contains(err.Error(), "tcp and off") {
		t.Errorf("a metric of two collectors: %v", err)
	}
}

// TestReferenceCoversWhatIsScraped compares the documentation with a scrape of all that this package sends itself.
func TestReferenceCoversWhatIsScraped(t *testing.T) {
	counters := NewCounters(Loss{Stage: "buffer", Read: func(func(event.Kind, uint64)) error { return nil }})
	entries := []Entry{Self(), counters.Entry(), NewLifecycle(LifecycleOptions{}).Entry()}
	documented := map[string]string{}
	for _, e := range append(slices.Clone(entries), Entry{Families: newOwnMetrics().families()}) {
		for _, f := range e.Families {
			documented[f.Name()] = f.Type() + ": " + f.Help()
		}
	}
	e := New(Options{Collectors: append(entries, steady("folding"))})
	families, err := e.Gather()
	if err != nil {
		t.Fatal(err)
	}
	scraped := map[string]string{}
	for _, f := range families {
		scraped[f.GetName()] = strings.ToLower(f.GetType().String()) + ": " + f.GetHelp()
	}
	for _, name := range []string{"yagura_series", "yagura_series_limit", "yagura_series_folded_total"} {
		scraped[name] = documented[name] // there only if a family can fold
	}
	delete(scraped, "test_folding_total")
	if diff := cmp.Diff(documented, scraped); diff != "" {
		t.Errorf("documented and scraped metrics differ (-documented +scraped):\n%s", diff)
	}
	if err := WriteReference(&bytes.Buffer{}, entries); err != nil {
		t.Error(err)
	}
}
