package exporter

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// A Loss is a stage on the way of events where some are lost, and how to read how many were, by kind.
type Loss struct {
	Stage string
	Read  func(lost func(kind event.Kind, n uint64)) error
}

// Counters count the events that reach the program, and show them with those that did not.
type Counters struct {
	kinds        []kindCounter // by number; 0 for unknown kinds
	losses       []Loss
	events, lost *Family
}

// A kindCounter fills a cache line, so that shards counting different kinds do not slow each other down.
type kindCounter struct {
	atomic.Uint64
	_ [56]byte
}

// NewCounters counts all kinds of events.
func NewCounters(losses ...Loss) *Counters {
	highest := event.Kind(0)
	for _, kind := range event.Kinds {
		highest = max(highest, kind)
	}
	return &Counters{
		kinds:  make([]kindCounter, highest+1),
		losses: losses,
		events: NewCounter("yagura_events_total", "Events that reached the program from the kernel.", "kind").Fixed(),
		lost: NewCounter("yagura_events_lost_total",
			"Events that were lost: in the kernel, as the buffer was full (buffer), or later at the stage named.", "kind", "stage").Fixed(),
	}
}

// Observe counts an event. It may be called from any goroutine.
func (c *Counters) Observe(ev *event.Event) {
	kind := int(ev.Kind)
	if kind >= len(c.kinds) {
		kind = 0
	}
	c.kinds[kind].Add(1)
}

// Entry returns the counters as a collector.
func (c *Counters) Entry() Entry {
	return Entry{
		Name: "events", Help: "Events from the kernel, and how many were lost where.", Default: true,
		Collector: c, Families: []*Family{c.events, c.lost},
	}
}

// Update makes Counters a Collector. Every kind is there from the start, lost at every stage 0 times.
func (c *Counters) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	var host event.Workload
	c.events.Begin()
	c.lost.Begin()
	c.events.Set(host, float64(c.kinds[0].Load()), event.Kind(0).String())
	for _, kind := range event.Kinds {
		c.events.Set(host, float64(c.kinds[kind].Load()), kind.String())
		for _, loss := range c.losses {
			c.lost.Set(host, 0, kind.String(), loss.Stage)
		}
	}
	c.events.Send(ch)
	if err := c.readLosses(); err != nil {
		return err // a counter that is not read must not seem to start again
	}
	c.lost.Send(ch)
	return nil
}

func (c *Counters) readLosses() error {
	var failed error
	for _, loss := range c.losses {
		err := loss.Read(func(kind event.Kind, n uint64) {
			c.lost.Add(event.Workload{}, float64(n), kind.String(), loss.Stage)
		})
		if err != nil {
			failed = fmt.Errorf("read what was lost at stage %s: %w", loss.Stage, err)
		}
	}
	return failed
}
