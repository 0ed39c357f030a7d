package exporter

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// Drops shows packets that the kernel threw away. A packet is dropped in an interrupt, whoever runs: so per node.
type Drops struct {
	agent interface {
		PacketDrops(yield func(reason string, n uint64)) error
	}
	packets *Family
}

// NewDrops returns the collector; a bpf.Agent has what it needs.
func NewDrops(agent interface {
	PacketDrops(yield func(reason string, n uint64)) error
}) *Drops {
	return &Drops{agent, NewCounter("yagura_packet_drops_total",
		"Packets that the kernel of the node threw away, by the kernel's own reason (enum skb_drop_reason); not_specified before 5.17.", "reason")}
}

// Entry returns the collector's row in the list of collectors.
func (d *Drops) Entry() Entry {
	return Entry{
		Name: "drops", Help: "Packets that the kernel threw away, by reason.", Default: true,
		Collector: d, Families: []*Family{d.packets},
	}
}

// Update sends the family.
func (d *Drops) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	d.packets.Begin()
	if err := d.agent.PacketDrops(func(reason string, n uint64) { d.packets.Set(event.Workload{}, float64(n), reason) }); err != nil {
		return err
	}
	d.packets.Send(ch)
	return nil
}
