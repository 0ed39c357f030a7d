package containers

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/exporter"
	"github.com/yagura-io/yagura/rules/event"
)

// A Collector sends what a Resolver knows, and how well it knows it.
type Collector struct {
	resolver *Resolver

	info      *exporter.Family
	known     *exporter.Family
	cgroups   *exporter.Family
	up        *exporter.Family
	misses    *exporter.Family
	evictions *exporter.Family
}

// NewCollector returns the collector of a Resolver that runs.
func NewCollector(r *Resolver) *Collector {
	return &Collector{
		resolver: r,
		info: exporter.NewGauge("yagura_container_info",
			"What its runtime says of a container, for joins by the workload labels. Always 1.",
			"container_id", "image", "image_id", "runtime", "pod_uid", "sandbox_id", "owner_kind", "owner_name").PerWorkload(),
		known: exporter.NewGauge("yagura_containers",
			"Containers and pod sandboxes that run, or ran within the last minute, by runtime.", "runtime"),
		cgroups: exporter.NewGauge("yagura_container_cgroups",
			"Control groups in the table that names them, by state: pending ones wait for a runtime's answer.", "state").Fixed(),
		up: exporter.NewGauge("yagura_container_runtime_up",
			"Whether every socket of a container runtime that was found on this machine answers.", "runtime").Fixed(),
		misses: exporter.NewCounter("yagura_container_lookup_misses_total",
			"Control groups named like a container's that were given to the host, by reason.", "reason").Fixed(),
		evictions: exporter.NewCounter("yagura_container_evictions_total",
			"Entries that were dropped or refused because a table was full.", "table").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (c *Collector) Entry() exporter.Entry {
	return exporter.Entry{
		Name:      "containers",
		Help:      "Containers, and the runtimes that name them.",
		Default:   true,
		Collector: c,
		Families:  []*exporter.Family{c.info, c.known, c.cgroups, c.up, c.misses, c.evictions},
	}
}

// Update sends all families.
func (c *Collector) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, f := range c.Entry().Families {
		f.Begin()
	}
	c.setContainers()
	c.setRuntimes()
	c.setTables()
	for _, f := range c.Entry().Families {
		f.Send(ch)
	}
	return nil
}

func (c *Collector) setContainers() {
	for _, one := range c.resolver.Containers() {
		kind, name := owner(one.Pod, one.PodLabels)
		c.info.Set(one.Workload, 1, one.ID, one.Image, one.ImageID, one.Runtime, one.PodUID, one.Sandbox, kind, name)
		c.known.Add(event.Workload{}, 1, one.Runtime)
	}
}

func (c *Collector) setRuntimes() {
	up := map[string]float64{}
	for _, s := range c.resolver.Status() {
		if !s.Up && s.Err == nil {
			continue // it is not on this machine
		}
		value, seen := up[s.Runtime]
		switch {
		case !s.Up:
			value = 0
		case !seen:
			value = 1
		}
		up[s.Runtime] = value
	}
	for runtime, value := range up {
		c.up.Set(event.Workload{}, value, runtime)
	}
}

func (c *Collector) setTables() {
	t := c.resolver.table.counts()
	c.cgroups.Set(event.Workload{}, float64(t.pending), Pending.String())
	c.cgroups.Set(event.Workload{}, float64(t.cgroups-t.pending), Known.String())
	for _, reason := range missReasons {
		c.misses.Set(event.Workload{}, float64(t.misses[reason]), reason)
	}
	c.evictions.Set(event.Workload{}, float64(t.evictedCgroups), "cgroups")
	c.evictions.Set(event.Workload{}, float64(t.evictedContainers), "containers")
}
