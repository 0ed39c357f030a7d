package exporter

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// A TCP collector shows connections and bytes.
type TCP struct {
	kernel                                                           *Kernel
	connects, duration, accepts, listens, retransmits, resets, bytes *Family
	roundTrip, overflows, waiting, limit                             *Family
}

// NewTCP returns the collector.
func NewTCP(k *Kernel) *TCP {
	return &TCP{
		kernel: k,
		connects: NewCounter("yagura_tcp_connects_total",
			"Outgoing TCP connections by how the attempt ended: ok, aborted by the caller, or why it failed.", "result").PerWorkload(),
		duration: NewHistogram("yagura_tcp_connect_duration_seconds",
			"Time from the first SYN to the established connection, of those that were established.").PerWorkload(),
		accepts: NewCounter("yagura_tcp_accepts_total",
			"Incoming TCP connections established for a listening socket of the workload.").PerWorkload(),
		listens: NewCounter("yagura_tcp_listens_total", "TCP sockets that began to listen.").PerWorkload(),
		retransmits: NewCounter("yagura_tcp_retransmits_total",
			"TCP segments sent again, as the kernel's TcpRetransSegs counts them.").PerWorkload(),
		resets: NewCounter("yagura_tcp_resets_total", "TCP resets of connections of the workload.", "direction").PerWorkload(),
		bytes: NewCounter("yagura_network_bytes_total",
			"Payload bytes that passed through TCP, UDP and other internet sockets.", "direction").PerWorkload(),
		roundTrip: NewHistogram("yagura_tcp_rtt_seconds",
			"Smoothed round-trip time as TCP keeps it, sampled at every 16th message on each processor and at the end of every connection.").PerWorkload(),
		overflows: NewCounter("yagura_accept_queue_overflows_total",
			"Connections that a listening socket refused, nearly always because its queue was full: its share of the kernel's TcpExtListenDrops.", "port").PerWorkload(),
		waiting: NewGauge("yagura_accept_queue_connections",
			"Connections that are established and wait to be accepted.", "port").PerWorkload(),
		limit: NewGauge("yagura_accept_queue_limit_connections", "How many connections may wait to be accepted; the kernel lets in one more.", "port").PerWorkload(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (t *TCP) Entry() Entry {
	return Entry{
		Name: "tcp", Help: "TCP connections, their failures and bytes by workload, counted in the kernel.", Default: true,
		Collector: t, Families: t.families(),
	}
}

func (t *TCP) families() []*Family {
	return []*Family{t.connects, t.duration, t.accepts, t.listens, t.retransmits, t.resets, t.bytes,
		t.roundTrip, t.overflows, t.waiting, t.limit}
}

// Update sends all families. The host has every result from the start; a workload gets a series when it happens.
func (t *TCP) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, f := range t.families() {
		f.Begin()
	}
	if err := t.kernel.read(t.show); err != nil {
		return err
	}
	for _, f := range t.families() {
		f.Send(ch)
	}
	return nil
}

func (t *TCP) show(w *workloadTotals) {
	always := w.Workload == event.Workload{}
	add := func(f *Family, n uint64, labels ...string) {
		if n > 0 || always {
			f.Add(w.Workload, float64(n), labels...)
		}
	}
	c := &w.counters
	for i, result := range bpf.ConnectResults {
		add(t.connects, c.Connects[i], result)
	}
	if c.Connects[0] > 0 || always {
		t.duration.AddHistogram(w.Workload, buckets(&c.ConnectDuration))
	}
	add(t.accepts, c.Accepts)
	add(t.listens, c.Listens)
	add(t.retransmits, c.Retransmits)
	add(t.resets, c.ResetsSent, "transmit")
	add(t.resets, c.ResetsReceived, "receive")
	add(t.bytes, c.TransmitBytes, "transmit")
	add(t.bytes, c.ReceiveBytes, "receive")
	if !empty(&c.RoundTrip) {
		t.roundTrip.AddHistogram(w.Workload, buckets(&c.RoundTrip))
	}
	t.showQueues(w)
}

// showQueues gives every listening socket its overflows from zero on, and those that have closed what they had.
func (t *TCP) showQueues(w *workloadTotals) {
	for port, q := range w.queues {
		label := strconv.Itoa(port)
		t.waiting.Add(w.Workload, float64(q.waiting), label)
		t.limit.Add(w.Workload, float64(q.limit), label)
		t.overflows.Add(w.Workload, 0, label)
	}
	for port, n := range w.overflows {
		t.overflows.Add(w.Workload, float64(n), strconv.Itoa(port))
	}
}
