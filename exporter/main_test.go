package exporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; write it anew with -update):\n%s", name, diff)
	}
}

// send ends a pass and returns the value of each series, by its labels without their names.
func send(f *Family) map[string]float64 {
	ch := make(chan prometheus.Metric, len(f.series)+1)
	f.Send(ch)
	close(ch)
	values := map[string]float64{}
	for m := range ch {
		s := m.(*series)
		name := labelText(&s.metric)
		if _, ok := values[name]; ok {
			panic("sent twice: " + name)
		}
		values[name] = valueOf(&s.metric)
	}
	return values
}

func labelText(m *dto.Metric) string {
	var values []string
	for _, pair := range m.Label {
		values = append(values, pair.GetValue())
	}
	return strings.Join(values, ",")
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return m.Untyped.GetValue()
}

func sum(values map[string]float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}

// collectorFunc makes a Collector of a function.
type collectorFunc func(ctx context.Context, ch chan<- prometheus.Metric) error

func (f collectorFunc) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	return f(ctx, ch)
}

// entry makes an Entry of a function and the families it sends.
func entry(name string, f collectorFunc, families ...*Family) Entry {
	return Entry{Name: name, Help: "A test.", Default: true, Collector: f, Families: families}
}

// scrapeText asks the handler and returns the status and the body.
func scrapeText(e *Exporter, target string, header ...string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	e.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// value returns the value of the one line of the text format that begins with the series.
func value(t *testing.T, text, series string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "absent"
}

func expect(t *testing.T, text string, want map[string]string) {
	t.Helper()
	for series, v := range want {
		if got := value(t, text, series); got != v {
			t.Errorf("%s is %s, want %s", series, got, v)
		}
	}
}

func logInto(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, nil))
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// plain undoes a content encoding.
func plain(t *testing.T, encoding string, body io.Reader) io.Reader {
	t.Helper()
	if encoding == "" {
		return body
	}
	r, err := gzip.NewReader(body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
