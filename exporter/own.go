package exporter

import (
	"github.com/yagura-io/yagura/rules/event"
)

// ownMetrics are what the exporter says of its own work: the scrape, the caps, and what was changed or dropped.
type ownMetrics struct {
	duration, success, panics, timeouts *Family
	dropped, changed, exemplars         *Family
	series, limit, folded               *Family
	nodeSeries, nodeLimit               *Family
}

func newOwnMetrics() *ownMetrics {
	return &ownMetrics{
		duration: NewGauge("yagura_scrape_collector_duration_seconds",
			"How long the collector took in this scrape.", "collector").Fixed(),
		success: NewGauge("yagura_scrape_collector_success",
			"1 if the collector did what it should in this scrape, or had no data; 0 if it failed, panicked or was too late.", "collector").Fixed(),
		panics: NewCounter("yagura_scrape_collector_panics_total",
			"Panics of the collector. The log has the stack of the first.", "collector").Fixed(),
		timeouts: NewCounter("yagura_scrape_collector_timeouts_total",
			"Scrapes that went on without the collector, as it took too long.", "collector").Fixed(),
		dropped: NewCounter("yagura_scrape_dropped_series_total",
			"Series left out of a scrape because they did not fit to others. The log names the metric.", "reason").Fixed(),
		changed: NewCounter("yagura_label_values_changed_total",
			"Label values of new label sets that were cut at 256 bytes (too_long) or held bytes that are not UTF-8 (invalid_utf8).", "reason").Fixed(),
		exemplars: NewCounter("yagura_exemplars_dropped_total",
			"Exemplars left out because OpenMetrics does not allow them."),
		series: NewGauge("yagura_series",
			"Series of the metric that have a place, as a Prometheus server counts them: a histogram is 13.", "metric").Fixed(),
		limit: NewGauge("yagura_series_limit",
			"Cap on the series of the metric.", "metric").Fixed(),
		folded: NewCounter("yagura_series_folded_total",
			"Label sets of the metric that were beyond a cap when they appeared: their values are added to other, or left out if they cannot be added. Beyond three times the cap, the most there were at once.", "metric").Fixed(),
		nodeSeries: NewGauge("yagura_node_series",
			"Series of all metrics that have a place."),
		nodeLimit: NewGauge("yagura_node_series_limit",
			"Cap on the series of all metrics together."),
	}
}

func (o *ownMetrics) families() []*Family {
	return []*Family{
		o.duration, o.success, o.panics, o.timeouts, o.dropped, o.changed, o.exemplars,
		o.series, o.limit, o.folded, o.nodeSeries, o.nodeLimit,
	}
}

// send adds them to the scrape that has just been made.
func (o *ownMetrics) send(e *Exporter, chosen []*collector, results []result) {
	all := o.families()
	for _, f := range all {
		f.Begin()
	}
	var host event.Workload
	for i, c := range chosen {
		o.duration.Set(host, results[i].duration.Seconds(), c.name)
		o.success.Set(host, oneIf(results[i].err == nil), c.name)
		o.panics.Set(host, float64(c.panics.Load()), c.name)
		o.timeouts.Set(host, float64(c.timeouts.Load()), c.name)
	}
	for _, reason := range dropReasons {
		o.dropped.Set(host, float64(e.merge.dropped[reason]), reason)
	}
	o.setChanged(e)
	o.setSeries(e)
	for _, f := range all {
		f.settle()
		for _, s := range f.order {
			if f.live(s) {
				e.merge.addSeries(s)
			}
		}
	}
}

func (o *ownMetrics) setChanged(e *Exporter) {
	var host event.Workload
	var invalid, tooLong, exemplars uint64
	for _, f := range e.families {
		invalid += f.changed.invalid.Load()
		tooLong += f.changed.tooLong.Load()
		exemplars += f.changed.exemplars.Load()
	}
	o.changed.Set(host, float64(invalid), "invalid_utf8")
	o.changed.Set(host, float64(tooLong), "too_long")
	o.exemplars.Set(host, float64(exemplars))
}

func (o *ownMetrics) setSeries(e *Exporter) {
	var host event.Workload
	for _, f := range e.families {
		if !f.folds() {
			continue
		}
		used, limits := e.budget.usage(&f.used)
		o.series.Set(host, float64(used), f.name)
		o.limit.Set(host, float64(limits.Family), f.name)
		o.folded.Set(host, float64(f.foldedSets.Load()), f.name)
	}
	used, _ := e.budget.usage(&e.budget.used)
	exempt, limits := e.budget.usage(&e.budget.exempt)
	o.nodeSeries.Set(host, float64(used+exempt))
	o.nodeLimit.Set(host, float64(limits.Node))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
