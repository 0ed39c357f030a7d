// Package node shows the machine itself as node_exporter names it, so that dashboards for it fit. It knows nothing of
// workloads; names, labels and units are node_exporter's, the reading is prometheus/procfs's.
package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// Options say where the machine is seen from here.
type Options struct {
	Procfs, Sysfs, Rootfs string
	Asked                 func(collector string) bool // whether the command line turns a collector on by itself
	Peer                  string                      // where a node_exporter may answer; Peer without one
	Log                   *slog.Logger
}

// Peer is where a node_exporter answers by default. Where one does, our own series would be there twice.
const Peer = "http://127.0.0.1:9100/metrics"

// A Collector shows the machine.
type Collector struct {
	o           Options
	failures    *exporter.Family
	leftOut     *exporter.Family
	filesystems host.FileSystems

	once   sync.Once
	silent bool

	failed  map[string]float64 // by subject
	missing map[string]float64
	cpu     map[cpuMode]float64 // the highest shown
}

// New returns the collector. It reads nothing yet.
func New(o Options) *Collector {
	return &Collector{
		o: o, failed: map[string]float64{}, missing: map[string]float64{}, cpu: map[cpuMode]float64{},
		failures: exporter.NewCounter("yagura_node_subject_errors_total",
			"How often a subject of the node collector could not be read or understood.", "collector").Fixed(),
		leftOut: exporter.NewCounter("yagura_node_left_out_total",
			"Devices and mounts that the node collector left out, as it shows at most 512 of each subject.", "collector").Fixed(),
	}
}

// A subject is one group of metrics that is read together.
type subject struct {
	name    string
	metrics []*metric
	read    func(c *Collector, s *scrape) error
}

// subjects is the list, in the order of the reference.
var subjects = []subject{
	{"cpu", cpuMetrics, readCPU},
	{"stat", statMetrics, readStat},
	{"loadavg", loadMetrics, readLoad},
	{"meminfo", memoryMetrics, readMemory},
	{"vmstat", vmMetrics, readVM},
	{"pressure", pressureMetrics, readPressure},
	{"diskstats", diskMetrics, readDisks},
	{"filesystem", filesystemMetrics, readFilesystems},
	{"netdev", netdevMetrics, readNetdev},
	{"netstat", netstatMetrics, readNetstat},
	{"sockstat", sockstatMetrics, readSockstat},
	{"softnet", softnetMetrics, readSoftnet},
	{"conntrack", conntrackMetrics, readConntrack},
	{"entropy", entropyMetrics, readEntropy},
	{"filefd", filefdMetrics, readFilefd},
	{"time", timeMetrics, readTime},
	{"timex", timexMetrics, readTimex},
	{"hwmon", hwmonMetrics, readHwmon},
	{"uname", unameMetrics, readUname},
}

// Entry returns the collector's row in the list of collectors.
func (c *Collector) Entry() exporter.Entry {
	families := []*exporter.Family{c.failures, c.leftOut}
	for _, s := range subjects {
		for _, m := range s.metrics {
			families = append(families, m.family())
		}
	}
	return exporter.Entry{
		Name: "node", Help: "The machine itself, as node_exporter names it; shows nothing where a node_exporter answers, unless asked for.",
		Default: true, Collector: c, Families: families,
	}
}

// Update sends every subject that is there. One that fails leaves the others.
func (c *Collector) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	c.once.Do(c.ask)
	if c.silent {
		return exporter.ErrNoData
	}
	proc, err := procfs.NewFS(c.o.Procfs)
	if err != nil {
		return err
	}
	network, err := procfs.NewFS(c.networkRoot())
	if err != nil {
		return err
	}
	var errs []error
	for _, subject := range subjects {
		s := &scrape{ctx: ctx, ch: ch, proc: proc, net: network, room: map[*metric]int{}}
		if err := subject.read(c, s); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) {
			c.failed[subject.name]++
			errs = append(errs, fmt.Errorf("%s: %w", subject.name, err))
		}
		c.missing[subject.name] += float64(s.leftOut)
	}
	c.failures.Begin()
	c.leftOut.Begin()
	for _, subject := range subjects {
		c.failures.Set(event.Workload{}, c.failed[subject.name], subject.name)
		c.leftOut.Set(event.Workload{}, c.missing[subject.name], subject.name)
	}
	c.failures.Send(ch)
	c.leftOut.Send(ch)
	return errors.Join(errs...)
}

// networkRoot is where net/dev and the like are the machine's: those of process 1, as ours may be a namespace of our own.
func (c *Collector) networkRoot() string {
	first := filepath.Join(c.o.Procfs, "1")
	if _, err := os.Stat(filepath.Join(first, "net/dev")); err != nil {
		return c.o.Procfs
	}
	return first
}

func (c *Collector) ask() {
	if c.silent = (c.o.Asked == nil || !c.o.Asked("node")) && answers(cmp.Or(c.o.Peer, Peer)); c.silent {
		c.o.Log.Info("a node_exporter answers here: the collector node shows nothing; --collector.node turns it on")
	}
}

// answers says whether a node_exporter answers at a URL.
func answers(url string) bool {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	page, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	return err == nil && bytes.Contains(page, []byte("\nnode_exporter_build_info{"))
}

// A metric is one name and what it means. Types and names are not always those of the conventions, but node_exporter's.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	desc       *prometheus.Desc
}

func define(kind prometheus.ValueType, name, help string, labels ...string) *metric {
	return &metric{name, help, kind, labels, prometheus.NewDesc(name, help, labels, nil)}
}

func counter(name, help string, labels ...string) *metric {
	return define(prometheus.CounterValue, name, help, labels...)
}

func gauge(name, help string, labels ...string) *metric {
	return define(prometheus.GaugeValue, name, help, labels...)
}

func untyped(name, help string, labels ...string) *metric {
	return define(prometheus.UntypedValue, name, help, labels...)
}

func (m *metric) family() *exporter.Family {
	return exporter.NewForeign(m.name, m.help, map[prometheus.ValueType]string{
		prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge", prometheus.UntypedValue: "untyped"}[m.kind], m.labels...)
}

// maxDevices is how many disks, mounts, interfaces or processors are shown. A processor has a series for each mode.
const (
	maxDevices = 512
	cpuModes   = 8
)

// most is how many label sets a metric may have.
func (m *metric) most() int {
	if slices.Contains(m.labels, "mode") {
		return maxDevices * cpuModes
	}
	return maxDevices
}

// A scrape is one reading of one subject.
type scrape struct {
	ctx     context.Context
	ch      chan<- prometheus.Metric
	proc    procfs.FS
	net     procfs.FS // whose net/ is the machine's
	room    map[*metric]int
	leftOut int
}

// send sends a value, unless the metric has too many already.
func (s *scrape) send(m *metric, v float64, labels ...string) {
	if s.room[m] >= m.most() {
		s.leftOut++
		return
	}
	s.room[m]++
	sent, err := prometheus.NewConstMetric(m.desc, m.kind, v, labels...)
	if err != nil { // a label that is not UTF-8
		s.leftOut++
		return
	}
	s.ch <- sent
}
