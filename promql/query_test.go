package promql

import (
	"bytes"
	"context"
	"encoding/pem"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// noon is when the samples of the query tests begin.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// library serves a store with a few known samples.
func library(t *testing.T) *httptest.Server {
	t.Helper()
	s := open(t, t.TempDir(), nil, nil)
	for i := range 3 {
		at := noon.Add(time.Duration(i) * 15 * time.Second).UnixMilli()
		app := s.db.AppenderV2(context.Background())
		add := func(v float64, h *histogram.Histogram, text ...string) {
			if _, err := app.Append(0, labels.FromStrings(text...), 0, at, v, h, nil, storage.AOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		add(float64(10*i), nil, "__name__", "yagura_process_execs_total", "container", "web", "namespace", "shop", "pod", "web-1")
		add(float64(i), nil, "__name__", "yagura_process_execs_total", "unit", "ssh.service", "zone", "")
		add(0.5, nil, "__name__", "odd", "name", "\x1b[31mred\nand tab\t\"quoted\" größe")
		add(0, latencies(i), "__name__", "latency_seconds", "pod", "web-1")
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server
}

// latencies is a native histogram of schema 0 with more buckets than a table shows.
func latencies(i int) *histogram.Histogram {
	h := &histogram.Histogram{Schema: 0, PositiveSpans: []histogram.Span{{Offset: -5, Length: 11}}, Sum: 4.5 * float64(i+1)}
	for bucket := range 11 {
		delta := int64(0)
		if bucket == 0 {
			delta = int64(i + 1)
		}
		h.PositiveBuckets = append(h.PositiveBuckets, delta)
		h.Count += uint64(i + 1)
	}
	return h
}

func TestQueryShowsAnswers(t *testing.T) {
	t.Parallel()
	server := library(t)
	at := noon.Add(30 * time.Second)
	for name, o := range map[string]QueryOptions{
		"vector.table":      {Expr: `yagura_process_execs_total`},
		"nameless.table":    {Expr: `sum by (pod) (yagura_process_execs_total)`},
		"total.table":       {Expr: `sum(yagura_process_execs_total)`},
		"scalar.table":      {Expr: `1 + 1`},
		"string.table":      {Expr: `"hello"`},
		"histogram.table":   {Expr: `latency_seconds`},
		"escaped.table":     {Expr: `odd`},
		"empty.table":       {Expr: `absent_metric`},
		"matrix.table":      {Expr: `yagura_process_execs_total[1m]`},
		"range.table":       {Expr: `sum by (pod) (yagura_process_execs_total)`, Start: noon, End: at, Step: 15 * time.Second},
		"histograms.table":  {Expr: `latency_seconds`, Start: noon, End: at, Step: 15 * time.Second},
		"vector.json":       {Expr: `yagura_process_execs_total`},
		"scalar.json":       {Expr: `1 + 1`},
		"empty.json":        {Expr: `absent_metric`},
		"vector.csv":        {Expr: `yagura_process_execs_total`},
		"escaped.csv":       {Expr: `odd`},
		"histogram.csv":     {Expr: `latency_seconds`},
		"range.csv":         {Expr: `yagura_process_execs_total`, Start: noon, End: at, Step: 15 * time.Second},
		"scalar.csv":        {Expr: `1 + 1`},
		"sorted.table":      {Expr: `sort(yagura_process_execs_total)`},
		"warning.table":     {Expr: `rate(odd[1m])`},
		"notinformat.table": {Expr: `label_replace(vector(1), "größe", "日本", "", "")`},
	} {
		t.Run(name, func(t *testing.T) {
			o.URL, o.Format = server.URL, Format(strings.TrimPrefix(filepath.Ext(name), "."))
			if o.Start.IsZero() {
				o.Time = at
			}
			var out, notes bytes.Buffer
			o.Notes = &notes
			if err := Query(context.Background(), &out, o); err != nil {
				t.Fatal(err)
			}
			if notes.Len() > 0 {
				out.WriteString("--- notes\n" + notes.String())
			}
			golden(t, name, out.String())
		})
	}
}

func TestQueryPointsAtErrors(t *testing.T) {
	t.Parallel()
	server := library(t)
	var all strings.Builder
	for _, expr := range []string{
		`sum by`,
		`rate(yagura_process_execs_total)`,
		`yagura_process_execs_total{pod="web-1"`,
		"sum by (pod) (\n\trate(yagura_process_execs_total[5m)\n)",
		`"größe" and and`,
		`nosuch(up)`,
		`odd * on () yagura_process_execs_total`,
	} {
		err := Query(context.Background(), io.Discard, QueryOptions{URL: server.URL, Expr: expr, Time: noon})
		if err == nil {
			t.Errorf("%s: no error", expr)
			continue
		}
		all.WriteString(err.Error() + "\n\n")
	}
	golden(t, "errors.txt", all.String())
}

func TestQueryNamesWhatIsWrongWithTheServer(t *testing.T) {
	t.Parallel()
	reply := func(code int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, body, code) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct{ url, want string }{
		"unreachable":     {gone.URL, "connection refused"},
		"no store":        {reply(404, "404 page not found"), "is the store on (--store.path)?"},
		"password":        {reply(401, "Unauthorized"), "the server wants a user and a password"},
		"not ready":       {reply(503, `{"status":"error","errorType":"unavailable","error":"replaying"}`), "unavailable: replaying"},
		"not an API":      {reply(200, "<html>\nsecond line"), "not an answer of Prometheus: 200 OK: <html>"},
		"failing":         {reply(500, "\x1b[2Jboom"), `\x1b[2Jboom`},
		"secret in URL":   {"http://user:secret@127.0.0.1:1", "not a password in the URL"},
		"not a URL":       {"127.0.0.1:9248", "read URL"},
		"no scheme":       {"localhost", "not of the form http://host:port"},
		"unknown address": {"http://", "not of the form"},
	} {
		err := Query(context.Background(), io.Discard, QueryOptions{URL: c.url, Expr: "1"})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := Query(context.Background(), io.Discard, QueryOptions{URL: gone.URL, Expr: " "}); err == nil || !strings.Contains(err.Error(), "no expression") {
		t.Errorf("no expression: %v", err)
	}
	if err := Query(context.Background(), io.Discard, QueryOptions{URL: gone.URL, Format: "xml"}); err == nil || !strings.Contains(err.Error(), "not one of table, json, csv") {
		t.Errorf("unknown format: %v", err)
	}
}

func TestQueryOverTLSWithPassword(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil, nil)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		s.Handler().ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // one client below hangs up on us
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(c HTTPClientConfig) (string, error) {
		var out bytes.Buffer
		err := Query(context.Background(), &out, QueryOptions{URL: server.URL, Expr: "1", HTTPClientConfig: c})
		return out.String(), err
	}
	for name, c := range map[string]HTTPClientConfig{
		"ca":       {User: "ada", PasswordFile: password, CAFile: ca},
		"insecure": {User: "ada", PasswordFile: password, InsecureSkipVerify: true},
	} {
		if out, err := ask(c); err != nil || out != "1\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	for name, c := range map[string]struct {
		HTTPClientConfig
		want string
	}{
		"no password":    {HTTPClientConfig{CAFile: ca}, "wants a user and a password"},
		"unknown issuer": {HTTPClientConfig{User: "ada", PasswordFile: password}, "certificate"},
		"no such file":   {HTTPClientConfig{User: "ada", PasswordFile: dir + "/none", CAFile: ca}, "no such file"},
	} {
		if _, err := ask(c.HTTPClientConfig); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPointedLeavesUnknownPositionsAlone(t *testing.T) {
	t.Parallel()
	for _, message := range []string{
		"9:1: parse error: beyond the text",
		"1:99: parse error: beyond the line",
		"0:0: parse error: nowhere",
		"99999999999999999999:1: parse error: overflow",
		"query timed out",
	} {
		if got := pointed("up", message); got != message {
			t.Errorf("pointed(%q) = %q", message, got)
		}
	}
}

func TestTimesOfTheCommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"":                     {},
		"2026-05-04T11:00:00Z": noon.Add(-time.Hour),
		"1h30m":                noon.Add(-90 * time.Minute),
		"1777896030.5":         time.UnixMilli(1777896030500),
	} {
		if got, err := parseTime(text, noon); err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "12 o'clock", "NaN", "1e300"} {
		if got, err := parseTime(text, noon); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", text, got)
		}
	}
}

func TestRangesGetAStep(t *testing.T) {
	t.Parallel()
	for span, want := range map[time.Duration]string{time.Second: "1", time.Hour: "60", 61 * time.Minute: "61"} {
		endpoint, form := QueryOptions{Expr: "up", Start: noon, End: noon.Add(span)}.request()
		if got := form.Get("step"); got != want || endpoint != "/api/v1/query_range" {
			t.Errorf("a range of %v: step %s, want %s", span, got, want)
		}
	}
}
