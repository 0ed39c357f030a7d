package exporter

import (
	"cmp"
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// A Probes collector shows what runs in the kernel and what that costs.
type Probes struct {
	agent                                                                      *bpf.Agent
	attached, runs, seconds, missed, memory, waiting, size, slots, unaccounted *Family
	tlsFiles, tlsHits, tlsUnseen                                               *Family
}

// NewProbes returns the collector.
func NewProbes(agent *bpf.Agent) *Probes {
	return &Probes{
		agent: agent,
		attached: NewGauge("yagura_probe_attached",
			"1 if the program runs in the kernel, 0 if it is wanted and was refused; the log and doctor say why.", "probe").Fixed(),
		runs: NewCounter("yagura_bpf_program_runs_total",
			"How often a program has run in the kernel; counted while kernel.program_stats is on.", "program").Fixed(),
		seconds: NewCounter("yagura_bpf_program_run_seconds_total",
			"Time that a program has run in the kernel; counted while kernel.program_stats is on.", "program").Fixed(),
		missed: NewCounter("yagura_bpf_program_missed_total",
			"How often the kernel left the program out, as the same one was not done on that processor: on system calls since 7.0, where what others there call meanwhile is neither counted nor reported.", "program").Fixed(),
		memory:   NewGauge("yagura_bpf_map_memory_bytes", "Kernel memory of a BPF map.", "map").Fixed(),
		waiting:  NewGauge("yagura_ring_buffer_waiting_bytes", "Bytes of the event ring buffer that wait to be read.").Fixed(),
		size:     NewGauge("yagura_ring_buffer_size_bytes", "Bytes that the event ring buffer can hold.").Fixed(),
		tlsFiles: NewGauge("yagura_tls_probed_files", "Libraries and programs whose TLS is probed, for the workloads of requests.tls.").Fixed(),
		tlsHits: NewCounter("yagura_tls_probe_hits_total",
			"How often a probe of a TLS library was hit, by whoever runs the file: each is a trap of some microseconds.", "library").Fixed(),
		tlsUnseen: NewCounter("yagura_tls_calls_unseen_total",
			"Calls of TLS libraries whose plaintext was not looked at: no_connection, which one they work on is not known; no_memory, a table was full.", "reason").Fixed(),
		slots: NewGauge("yagura_workload_slots",
			"Control groups that the kernel side counts apart: in use, and the limit.", "state").Fixed(),
		unaccounted: NewCounter("yagura_kernel_table_full_total",
			"What a full table of the kernel side has cost: slots and cgroups count as other from then on, errors, latencies, signals and listeners are not counted, attempts of connect have no result, waits of the run queue and block requests are not measured.",
			"map").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (p *Probes) Entry() Entry {
	return Entry{
		Name: "probes", Help: "What runs in the kernel, and what it costs.", Default: true, Collector: p, Families: p.families(),
	}
}

func (p *Probes) families() []*Family {
	return []*Family{p.attached, p.runs, p.seconds, p.missed, p.memory, p.waiting, p.size, p.slots, p.unaccounted,
		p.tlsFiles, p.tlsHits, p.tlsUnseen}
}

// Update sends all families.
func (p *Probes) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	var host event.Workload
	for _, f := range p.families() {
		f.Begin()
	}
	for _, probe := range p.agent.Probes() {
		if probe.Wanted {
			p.attached.Set(host, oneIf(probe.Attached), probe.Name)
		}
	}
	for name, cost := range p.agent.Costs() {
		p.runs.Set(host, float64(cost.Runs), name)
		p.seconds.Set(host, cost.Runtime.Seconds(), name)
	}
	for name, n := range p.agent.Missed() {
		p.missed.Set(host, float64(n), name)
	}
	for name, bytes := range p.agent.MapMemory() {
		p.memory.Set(host, float64(bytes), name)
	}
	waiting, size := p.agent.RingBuffer()
	p.waiting.Set(host, float64(waiting))
	p.size.Set(host, float64(size))
	if err := cmp.Or(p.addBounds(), p.addTLS()); err != nil {
		return err
	}
	for _, f := range p.families() {
		f.Send(ch)
	}
	return nil
}

func (p *Probes) addTLS() error {
	var host event.Workload
	s, err := p.agent.TLS()
	p.tlsFiles.Set(host, float64(s.Files))
	for library, n := range s.Hits {
		p.tlsHits.Set(host, float64(n), library)
	}
	p.tlsUnseen.Set(host, float64(s.Unbound), "no_connection")
	p.tlsUnseen.Set(host, float64(s.Unlooked), "no_memory")
	return err
}

func (p *Probes) addBounds() error {
	var host event.Workload
	slots, err := p.agent.Slots()
	if err != nil {
		return err
	}
	p.slots.Set(host, float64(len(slots)), "used")
	p.slots.Set(host, float64(p.agent.SlotLimit()), "limit")
	lost, err := p.agent.Losses()
	if err != nil {
		return err
	}
	p.unaccounted.Set(host, float64(lost.Slots), "slots")
	p.unaccounted.Set(host, float64(lost.Cgroups), "cgroups")
	p.unaccounted.Set(host, float64(lost.Errors), "errors")
	p.unaccounted.Set(host, float64(lost.Latencies), "latencies")
	p.unaccounted.Set(host, float64(lost.Attempts), "attempts")
	p.unaccounted.Set(host, float64(lost.RunQueue), "run_queue")
	p.unaccounted.Set(host, float64(lost.Block), "block")
	p.unaccounted.Set(host, float64(lost.Signals), "signals")
	p.unaccounted.Set(host, float64(lost.Listeners), "listeners")
	return nil
}
