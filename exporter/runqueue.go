package exporter

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// A RunQueue collector shows how long threads that could run had to wait for a processor.
type RunQueue struct {
	kernel  *Kernel
	latency *Family
}

// NewRunQueue returns the collector.
func NewRunQueue(k *Kernel) *RunQueue {
	return &RunQueue{k, NewHistogram("yagura_run_queue_latency_seconds",
		"Time that a thread was ready to run and did not: behind others, or throttled by its quota. One observation each time it runs.").PerWorkload()}
}

// Entry returns the collector's row in the list of collectors.
func (r *RunQueue) Entry() Entry {
	return Entry{
		Name: "runqueue", Help: "Waits for a processor by workload; three hooks on every switch and wake-up of a thread.", Default: true,
		Collector: r, Families: []*Family{r.latency},
	}
}

// Update sends the family.
func (r *RunQueue) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	r.latency.Begin()
	if err := r.kernel.read(func(w *workloadTotals) {
		if c := &w.counters; !empty(&c.RunQueue) || w.Workload == (event.Workload{}) {
			r.latency.AddHistogram(w.Workload, buckets(&c.RunQueue))
		}
	}); err != nil {
		return err
	}
	r.latency.Send(ch)
	return nil
}
