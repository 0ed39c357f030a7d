package exporter

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/yagura-io/yagura/rules/event"
)

const (
	benchFamilies = 40
	benchPerEach  = 500
	protobuf      = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

func benchWorkload(i int) event.Workload {
	return event.Workload{Namespace: "shop", Pod: fmt.Sprintf("cart-7d9f8b-%d", i%50), Container: "cart"}
}

// fixedCollector sends counters of known label sets, as a collector over kernel counters does.
type fixedCollector struct {
	families  []*Family
	workloads []event.Workload
	syscalls  []string
	n         float64
}

func newFixedCollector() *fixedCollector {
	c := &fixedCollector{}
	for i := range benchFamilies {
		c.families = append(c.families, NewCounter(fmt.Sprintf("yagura_bench_%02d_total", i), "Calls of one kind or another.", "syscall").PerWorkload())
	}
	for i := range benchPerEach {
		c.workloads = append(c.workloads, benchWorkload(i))
		c.syscalls = append(c.syscalls, fmt.Sprintf("call_%d", i/50))
	}
	return c
}

func (c *fixedCollector) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	c.n++
	for _, f := range c.families {
		f.Begin()
		for i, w := range c.workloads {
			f.Set(w, c.n+float64(i), c.syscalls[i])
		}
		f.Send(ch)
	}
	return nil
}

// constCollector sends the same through client_golang.
type constCollector struct {
	fixed *fixedCollector
	descs []*prometheus.Desc
}

func (c *constCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		ch <- desc
	}
}

func (c *constCollector) Collect(ch chan<- prometheus.Metric) {
	c.fixed.n++
	for _, desc := range c.descs {
		for i, w := range c.fixed.workloads {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, c.fixed.n+float64(i),
				w.Namespace, w.Pod, w.Container, w.Unit, c.fixed.syscalls[i])
		}
	}
}

// discardWriter takes a response without keeping it.
type discardWriter struct {
	header http.Header
	n      int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(int)             {}
func (w *discardWriter) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

func BenchmarkScrape20000(b *testing.B) {
	fixed := newFixedCollector()
	ours := New(Options{
		Collectors: []Entry{{Name: "bench", Collector: fixed, Families: fixed.families}},
		Limits:     Limits{Node: 100_000, Family: 5_000, Workload: 5_000},
	}).Handler()
	registry := prometheus.NewRegistry()
	theirs := &constCollector{fixed: newFixedCollector()}
	for _, f := range fixed.families {
		theirs.descs = append(theirs.descs, f.desc)
	}
	registry.MustRegister(theirs)
	for _, format := range []struct{ name, accept, encoding string }{
		{"text", "text/plain", ""},
		{"text+gzip", "text/plain", "gzip"},
		{"openmetrics", "application/openmetrics-text;version=1.0.0", ""},
		{"protobuf", protobuf, ""},
		{"protobuf+gzip", protobuf, "gzip"},
	} {
		for _, handler := range []struct {
			name string
			http.Handler
		}{
			{"yagura", ours},
			{"client_golang", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})},
		} {
			b.Run(format.name+"/"+handler.name, func(b *testing.B) {
				r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				r.Header.Set("Accept", format.accept)
				r.Header.Set("Accept-Encoding", format.encoding)
				b.ReportAllocs()
				for b.Loop() {
					w := &discardWriter{header: http.Header{}}
					handler.ServeHTTP(w, r)
					b.ReportMetric(float64(w.n), "B/scrape")
				}
			})
		}
	}
}

func BenchmarkSetKnownSeries(b *testing.B) {
	c := newFixedCollector()
	f := c.families[0]
	f.bind(newBudget(Limits{Node: 100_000, Family: 5_000, Workload: 5_000}), f.now)
	f.Begin()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.Set(c.workloads[i%benchPerEach], 1, c.syscalls[i%benchPerEach])
	}
}
