package exporter

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
)

// A Block collector shows requests to block devices.
type Block struct {
	kernel                  *Kernel
	sysfs                   string
	duration, bytes, errors *Family
}

// NewBlock returns the collector. It looks up the names of devices below sysfs.
func NewBlock(k *Kernel, sysfs string) *Block {
	return &Block{
		kernel: k, sysfs: sysfs,
		duration: NewHistogram("yagura_block_io_duration_seconds",
			"Time from the issue of a request to the device until it was completed.", "device", "operation").PerWorkload(),
		bytes: NewCounter("yagura_block_io_bytes_total",
			"Bytes of requests that the device has completed.", "device", "operation").PerWorkload(),
		errors: NewCounter("yagura_block_io_errors_total", "Requests that the device has failed.", "device", "operation").PerWorkload(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (b *Block) Entry() Entry {
	return Entry{
		Name: "block", Help: "Latency, bytes and errors of block devices by workload, counted in the kernel.", Default: true,
		Collector: b, Families: b.families(),
	}
}

func (b *Block) families() []*Family { return []*Family{b.duration, b.bytes, b.errors} }

// Update sends all families. A workload gets a series for a device and an operation when it happens.
func (b *Block) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, f := range b.families() {
		f.Begin()
	}
	names := map[[2]uint32]string{}
	name := func(major, minor uint32) string {
		key := [2]uint32{major, minor}
		if names[key] == "" {
			names[key] = blockDevice(b.sysfs, major, minor)
		}
		return names[key]
	}
	if err := b.kernel.read(func(w *workloadTotals) {
		for key, c := range w.block {
			labels := []string{name(key.major, key.minor), bpf.BlockOperations[key.operation]}
			b.duration.AddHistogram(w.Workload, buckets(&c.Duration), labels...)
			b.bytes.Add(w.Workload, float64(c.Bytes), labels...)
			b.errors.Add(w.Workload, float64(c.Errors), labels...)
		}
	}); err != nil {
		return err
	}
	for _, f := range b.families() {
		f.Send(ch)
	}
	return nil
}

// blockDevice names a disk as /sys/block does, or by its numbers once it is gone.
func blockDevice(sysfs string, major, minor uint32) string {
	number := fmt.Sprintf("%d:%d", major, minor)
	text, err := os.ReadFile(filepath.Join(sysfs, "dev/block", number, "uevent"))
	if err != nil {
		return number
	}
	for line := range bytes.Lines(text) {
		if name, ok := bytes.CutPrefix(line, []byte("DEVNAME=")); ok {
			return string(bytes.TrimSpace(name))
		}
	}
	return number
}
