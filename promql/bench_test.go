package promql

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// population is n series as a node with 50 containers has them.
func population(n int) []labels.Labels {
	all := make([]labels.Labels, n)
	for i := range all {
		all[i] = labels.FromStrings(
			"__name__", "yagura_syscalls_total",
			"container", fmt.Sprintf("container-%d", i%50),
			"instance", "node-1.example.com:9248",
			"job", "yagura",
			"namespace", fmt.Sprintf("namespace-%d", i%5),
			"pod", fmt.Sprintf("deployment-7d9c6b5f4-%d", i%50),
			"syscall", fmt.Sprintf("call%d", i/50),
		)
	}
	return all
}

// appendAll commits one sample for each series. refs remembers the series, as the scrape loop does.
func appendAll(tb testing.TB, s *Store, all []labels.Labels, refs []storage.SeriesRef, at time.Time, v float64) {
	tb.Helper()
	app := s.db.AppenderV2(context.Background())
	for i, ls := range all {
		ref, err := app.Append(refs[i], ls, 0, at.UnixMilli(), v+float64(i), nil, nil, storage.AOptions{})
		if err != nil {
			tb.Fatal(err)
		}
		refs[i] = ref
	}
	if err := app.Commit(); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkAppend10k(b *testing.B) {
	s := open(b, b.TempDir(), nil, nil)
	all, refs := population(10_000), make([]storage.SeriesRef, 10_000)
	at := time.Now().Add(-time.Hour)
	appendAll(b, s, all, refs, at, 0)
	b.ReportAllocs()
	n := 0.0
	for b.Loop() {
		n++
		at = at.Add(15 * time.Second)
		appendAll(b, s, all, refs, at, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n/float64(len(all)), "ns/sample")
}

func BenchmarkQuery10k(b *testing.B) {
	s := open(b, b.TempDir(), nil, nil)
	all, refs := population(10_000), make([]storage.SeriesRef, 10_000)
	now := time.Now()
	for i := range 240 {
		appendAll(b, s, all, refs, now.Add(time.Duration(i-240)*15*time.Second), float64(i))
	}
	for name, expr := range map[string]string{
		"one":  `yagura_syscalls_total{container="container-7",syscall="call2"}`,
		"rate": `sum by (container) (rate(yagura_syscalls_total[5m]))`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			target := "/api/v1/query?query=" + url.QueryEscape(expr) + "&time=" + fmt.Sprint(now.Unix())
			for b.Loop() {
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

// BenchmarkResident50k reports the memory of a process that scrapes 50,000 series, after so many scrapes that each
// series has more than one chunk.
func BenchmarkResident50k(b *testing.B) {
	const series, scrapes = 50_000, 150
	var page strings.Builder
	for _, ls := range population(series) {
		fmt.Fprintf(&page, "%s%s 1\n", ls.Get("__name__"), labels.NewBuilder(ls).Del("__name__").Labels())
	}
	self := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, page.String())
	})
	for b.Loop() {
		s, err := Open(Options{Path: b.TempDir(), Self: self, Config: Config{ScrapeInterval: 250 * time.Millisecond}})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(resident(b), "open-MiB")
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }()
		for s.db.Head().NumSeries() < series || s.appended() < series*scrapes {
			time.Sleep(100 * time.Millisecond)
		}
		s.db.ForceHeadMMap()
		b.ReportMetric(resident(b), "scraping-MiB")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// appended is how many samples the database has taken.
func (s *Store) appended() float64 {
	families, _ := s.registry.Gather()
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "prometheus_tsdb_head_samples_appended_total" {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// resident is the memory of this process in MiB.
func resident(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs /proc/self/status")
	}
	var kib float64
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmRSS: %f kB", &kib)
	}
	return kib / 1024
}

// BenchmarkRestart50k reports how long a store with 50,000 series, and two hours of samples in its log, takes to be ready
// again: after it was closed, and after its process was killed.
func BenchmarkRestart50k(b *testing.B) {
	const scrapes = 480
	all, refs := population(50_000), make([]storage.SeriesRef, 50_000)
	for b.Loop() {
		dir := b.TempDir()
		s, err := Open(Options{Path: dir})
		if err != nil {
			b.Fatal(err)
		}
		clear(refs)
		start := time.Now().Add(-scrapes * 15 * time.Second)
		for i := range scrapes {
			appendAll(b, s, all, refs, start.Add(time.Duration(i)*15*time.Second), float64(i))
		}
		s.db.ForceHeadMMap()
		killed := b.TempDir() // what a dead process would leave
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		for name, dir := range map[string]string{"closed": dir, "killed": killed} {
			runtime.GC()
			began := time.Now()
			s, err := Open(Options{Path: dir})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(began).Seconds(), name+"-s")
			b.ReportMetric(resident(b), name+"-MiB")
			if n := s.db.Head().NumSeries(); n != 50_000 {
				b.Errorf("%s: %d series after the restart", name, n)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
