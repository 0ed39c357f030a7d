package exporter

import (
	"context"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/version"

	"github.com/yagura-io/yagura/rules/event"
)

// A Measure is one metric about the program itself that another part reads: the lag of a buffer, the size of a cache.
type Measure struct {
	Family *Family
	Read   func(set func(v float64, labels ...string))
}

// Self returns the collector of what Yagura itself costs: its build, its process, its Go runtime, and the measures.
func Self(measures ...Measure) Entry {
	s := &self{
		build: NewGauge("yagura_build_info", "1, with the version of Yagura and what it was built from.",
			"branch", "goarch", "goos", "goversion", "revision", "tags", "version").Fixed(),
		foreign: []prometheus.Collector{
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
			collectors.NewGoCollector(
				collectors.WithGoCollectorMemStatsMetricsDisabled(),
				collectors.WithGoCollectorRuntimeMetrics(
					collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/memory/classes/(total|heap/objects|heap/released):bytes$`)},
					collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/(heap/allocs:bytes|heap/allocs:objects|heap/live:bytes)$`)},
				),
			),
		},
		measures: measures,
	}
	families := []*Family{s.build}
	for _, m := range measures {
		families = append(families, m.Family)
	}
	for _, c := range s.foreign {
		families = append(families, Documented(c)...)
	}
	return Entry{
		Name: "self", Help: "What Yagura itself costs: build, process, Go runtime, buffers and caches.", Default: true,
		Collector: s, Families: families,
	}
}

type self struct {
	build    *Family
	foreign  []prometheus.Collector
	measures []Measure
}

func (s *self) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	var host event.Workload
	s.build.Begin()
	s.build.Set(host, 1, version.Branch, version.GoArch, version.GoOS, version.GoVersion, version.GetRevision(), version.GetTags(), version.Version)
	s.build.Send(ch)
	for _, m := range s.measures {
		m.Family.Begin()
		m.Read(func(v float64, labels ...string) { m.Family.Set(host, v, labels...) })
		m.Family.Send(ch)
	}
	for _, c := range s.foreign {
		c.Collect(ch)
	}
	return nil
}
