package exporter

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// A Processes collector shows how processes begin and end.
type Processes struct {
	kernel              *Kernel
	forks, execs, exits *Family
	oomKills, signals   *Family
}

// NewProcesses returns the collector.
func NewProcesses(k *Kernel) *Processes {
	return &Processes{
		kernel: k,
		forks:  NewCounter("yagura_process_forks_total", "Processes that were made, without threads.").PerWorkload(),
		execs:  NewCounter("yagura_process_execs_total", "Programs that were run, each exec that succeeded.").PerWorkload(),
		exits: NewCounter("yagura_process_exits_total",
			"Processes that have ended: completed with status 0, error with another, signal, or core_dump.", "reason").PerWorkload(),
		oomKills: NewCounter("yagura_oom_kills_total",
			"Processes of the workload that the kernel killed for want of memory, its own or the node's.").PerWorkload(),
		signals: NewCounter("yagura_fatal_signals_total", "Processes that a signal has ended, by signal.", "signal").PerWorkload(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (p *Processes) Entry() Entry {
	return Entry{
		Name: "processes", Help: "Processes made, run and ended by workload, counted in the kernel.", Default: true,
		Collector: p, Families: p.families(),
	}
}

func (p *Processes) families() []*Family {
	return []*Family{p.forks, p.execs, p.exits, p.oomKills, p.signals}
}

// Update sends all families. The host has every reason from the start; a workload gets a series when it happens.
func (p *Processes) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, f := range p.families() {
		f.Begin()
	}
	if err := p.kernel.read(p.show); err != nil {
		return err
	}
	for _, f := range p.families() {
		f.Send(ch)
	}
	return nil
}

func (p *Processes) show(w *workloadTotals) {
	always := w.Workload == event.Workload{}
	add := func(f *Family, n uint64, labels ...string) {
		if n > 0 || always {
			f.Add(w.Workload, float64(n), labels...)
		}
	}
	add(p.forks, w.counters.Forks)
	add(p.execs, w.counters.Execs)
	for i, reason := range bpf.ExitReasons {
		add(p.exits, w.counters.Exits[i], reason)
	}
	p.oomKills.Add(w.Workload, float64(w.counters.OomKills)) // from zero: an alert needs the first increase
	for signal, n := range w.signals {
		p.signals.Add(w.Workload, float64(n), signal)
	}
}
