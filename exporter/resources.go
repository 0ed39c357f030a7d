package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// Resources shows what workloads use of the node, as the files of their control groups say.
type Resources struct {
	o ResourcesOptions

	cpu, cpuLimit, cpuRequest, periods, throttledPeriods, throttled *Family
	memory, workingSet, rss, cache, swap, memoryLimit, failures     *Family
	blockBytes, blockOperations, pids, pidsLimit, pressure, start   *Family
	errors                                                          *Family

	mu     sync.Mutex // guards what follows
	taken  time.Time
	groups []groupUsage
	failed uint64
	starts map[uint64]time.Time  // of control groups
	cpus   map[uint64][2]float64 // the last user and system time of control groups
}

// ResourcesOptions say where to read.
type ResourcesOptions struct {
	Groups        func(yield func(event.Group)) // the control groups that are a workload's own
	Layout        host.CgroupLayout
	Procfs, Sysfs string
	Log           *slog.Logger
}

type groupUsage struct {
	event.Group
	host.Usage
	start time.Time // zero if it is not known
}

// NewResources returns the collector.
func NewResources(o ResourcesOptions) *Resources {
	counter := func(name, help string, labels ...string) *Family {
		return NewCounter(name, help, labels...).PerWorkload()
	}
	gauge := func(name, help string, labels ...string) *Family {
		return NewGauge(name, help, labels...).PerWorkload()
	}
	return &Resources{
		o: o, starts: map[uint64]time.Time{},
		cpu:              counter("yagura_cpu_seconds_total", "Processor time that the workload has used, in user and in system mode.", "mode"),
		cpuLimit:         gauge("yagura_cpu_limit_cores", "Processors that the workload may use: its quota or the tightest above it. Absent without one."),
		cpuRequest:       gauge("yagura_cpu_request_cores", "Processors that the workload's share stands for where others want them too: shares / 1024; on version 2 the weight, turned back as runtimes make it."),
		periods:          counter("yagura_cpu_periods_total", "Periods of the workload's CPU quota."),
		throttledPeriods: counter("yagura_cpu_throttled_periods_total", "Periods in which the CPU quota was used up."),
		throttled:        counter("yagura_cpu_throttled_seconds_total", "Time that the workload was throttled for its CPU quota, summed over processors."),
		memory:           gauge("yagura_memory_usage_bytes", "Memory that is charged to the workload, with its file pages."),
		workingSet:       gauge("yagura_memory_working_set_bytes", "Memory that cannot be taken back at once: usage without inactive file pages, as the kubelet counts it."),
		rss:              gauge("yagura_memory_rss_bytes", "Anonymous memory of the workload."),
		cache:            gauge("yagura_memory_cache_bytes", "File pages that are charged to the workload."),
		swap:             gauge("yagura_memory_swap_bytes", "Memory of the workload that is swapped out."),
		memoryLimit:      gauge("yagura_memory_limit_bytes", "Memory that the workload may use: its limit or the tightest above it. Absent without one."),
		failures:         counter("yagura_memory_failures_total", "How often the workload has hit its memory limit."),
		blockBytes:       counter("yagura_block_bytes_total", "Bytes that the workload has had read or written, as its control group counts them.", "device", "operation"),
		blockOperations:  counter("yagura_block_operations_total", "Requests to block devices, as the workload's control group counts them.", "device", "operation"),
		pids:             gauge("yagura_pids", "Threads of the workload."),
		pidsLimit:        gauge("yagura_pids_limit", "Threads that the workload may have: its limit or the tightest above it. Absent without one.").NotAdditive(),
		pressure:         counter("yagura_pressure_seconds_total", "Time in which some or all threads waited for a resource (PSI). Without workload labels it is the node. Absent where the kernel has it off, and for workloads on control groups of version 1.", "resource", "kind"),
		start:            gauge("yagura_start_time_seconds", "Unix time at which the workload's oldest process began, else when its container was created.").NotAdditive(),
		errors:           NewCounter("yagura_cgroup_read_errors_total", "Control groups with a file that could not be read or understood.").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (r *Resources) Entry() Entry {
	return Entry{
		Name: "resources", Help: "CPU, memory, block I/O, threads and pressure of workloads, from their control groups.", Default: true,
		Collector: r, Families: r.families(),
	}
}

func (r *Resources) families() []*Family {
	return []*Family{r.cpu, r.cpuLimit, r.cpuRequest, r.periods, r.throttledPeriods, r.throttled, r.memory, r.workingSet, r.rss,
		r.cache, r.swap, r.memoryLimit, r.failures, r.blockBytes, r.blockOperations, r.pids, r.pidsLimit, r.pressure, r.start, r.errors}
}

// read calls do with every group, read at most freshFor ago.
func (r *Resources) read(do func(*groupUsage)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.o.Groups == nil {
		return nil
	}
	if now := time.Now(); now.Sub(r.taken) > freshFor {
		if err := r.refresh(); err != nil {
			return err
		}
		r.taken = now
	}
	for i := range r.groups {
		do(&r.groups[i])
	}
	return nil
}

func (r *Resources) refresh() error {
	files, err := r.o.Layout.Files(r.o.Procfs)
	if err != nil {
		return err
	}
	reader, starts, cpus := files.Reader(), map[uint64]time.Time{}, map[uint64][2]float64{}
	r.groups = r.groups[:0]
	r.o.Groups(func(g event.Group) {
		u, err := reader.Read(g.Path)
		if err != nil {
			r.failed++
			r.o.Log.Debug("control group not read", "group", g.Path, "err", err)
		}
		if !u.Known() {
			return // it has ended meanwhile
		}
		starts[g.CgroupID] = r.startOf(g)
		u.CPUUser, u.CPUSystem = neverLess(u.CPUUser, u.CPUSystem, r.cpus[g.CgroupID])
		cpus[g.CgroupID] = [2]float64{u.CPUUser, u.CPUSystem}
		r.groups = append(r.groups, groupUsage{g, u, starts[g.CgroupID]})
	})
	r.starts, r.cpus = starts, cpus
	return nil
}

// neverLess keeps a sum of two as it is, and neither of them below what it was: how they divide it is an estimate, which
// may go back, and a counter that does has begun anew to whoever reads it.
func neverLess(user, system float64, last [2]float64) (float64, float64) {
	total := user + system
	if system < last[1] {
		user, system = total-last[1], last[1]
	}
	if user < last[0] {
		user, system = last[0], total-last[0]
	}
	return user, system
}

func (r *Resources) startOf(g event.Group) time.Time {
	if at := r.starts[g.CgroupID]; !at.IsZero() {
		return at
	}
	if at, ok := r.o.Layout.Start(r.o.Procfs, g.Path); ok {
		return at
	}
	if g.Container != nil && g.Container.Created != 0 {
		return time.Unix(0, g.Container.Created)
	}
	return time.Time{}
}

// Update sends all families. What a file does not say has no series.
func (r *Resources) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, f := range r.families() {
		f.Begin()
	}
	devices := deviceNames{sysfs: r.o.Sysfs}
	starts := map[event.Workload]time.Time{}
	err := r.read(func(g *groupUsage) {
		r.show(g, &devices)
		if g.start.After(starts[g.Workload]) {
			starts[g.Workload] = g.start
		}
	})
	for w, at := range starts {
		r.start.Set(w, float64(at.UnixMilli())/1e3)
	}
	r.mu.Lock()
	r.errors.Set(event.Workload{}, float64(r.failed))
	r.mu.Unlock()
	err = errors.Join(err, r.showNode())
	for _, f := range r.families() {
		f.Send(ch)
	}
	return err
}

func (r *Resources) show(g *groupUsage, devices *deviceNames) {
	add := func(f *Family, v float64, labels ...string) {
		if !math.IsNaN(v) {
			f.Add(g.Workload, v, labels...)
		}
	}
	add(r.cpu, g.CPUUser, "user")
	add(r.cpu, g.CPUSystem, "system")
	add(r.cpuLimit, g.CPULimit)
	add(r.cpuRequest, g.CPURequest)
	add(r.periods, g.CPUPeriods)
	add(r.throttledPeriods, g.CPUThrottled)
	add(r.throttled, g.CPUThrottledSeconds)
	add(r.memory, g.Memory)
	add(r.workingSet, g.WorkingSet)
	add(r.rss, g.RSS)
	add(r.cache, g.Cache)
	add(r.swap, g.Swap)
	add(r.memoryLimit, g.MemoryLimit)
	add(r.failures, g.MemoryFailures)
	add(r.pids, g.Pids)
	add(r.pidsLimit, g.PidsLimit)
	for _, d := range g.IO {
		add(r.blockBytes, d.Bytes, devices.name(d.Device), d.Operation)
		add(r.blockOperations, d.Operations, devices.name(d.Device), d.Operation)
	}
	for _, p := range g.Pressure {
		add(r.pressure, p.Seconds, p.Resource, p.Kind)
	}
}

// showNode adds the pressure of the node itself.
func (r *Resources) showNode() error {
	var errs []error
	for _, resource := range []string{"cpu", "memory", "io"} {
		text, err := os.ReadFile(filepath.Join(r.o.Procfs, "pressure", resource))
		if err != nil {
			continue // PSI is off
		}
		list, err := host.ParsePressure(resource, string(text))
		errs = append(errs, err)
		for _, p := range list {
			r.pressure.Set(event.Workload{}, p.Seconds, p.Resource, p.Kind)
		}
	}
	return errors.Join(errs...)
}

// Demands calls yield with the resources of every workload: the sums of its control groups, and the widest limit.
func (r *Resources) Demands(yield func(event.Workload, Demand)) error {
	sums := map[event.Workload]*Demand{}
	var order []event.Workload
	err := r.read(func(g *groupUsage) {
		d := sums[g.Workload]
		if d == nil {
			d = &Demand{}
			*d = unknown()
			sums[g.Workload] = d
			order = append(order, g.Workload)
		}
		d.add(&g.Usage)
	})
	slices.SortFunc(order, compareWorkloads)
	for _, w := range order {
		yield(w, *sums[w])
	}
	return err
}

func (d *Demand) add(u *host.Usage) {
	plus(&d.CPU, u.CPUUser+u.CPUSystem)
	plus(&d.Periods, u.CPUPeriods)
	plus(&d.Throttled, u.CPUThrottled)
	plus(&d.Memory, u.WorkingSet)
	plus(&d.Pids, u.Pids)
	plus(&d.MemoryLimit, u.MemoryLimit)
	plus(&d.PidsLimit, u.PidsLimit)
	for _, p := range u.Pressure {
		if p.Resource == "io" && p.Kind == "some" {
			plus(&d.IOPressure, p.Seconds)
		}
	}
}

// plus adds what is known.
func plus(sum *float64, v float64) {
	switch {
	case math.IsNaN(v):
	case math.IsNaN(*sum):
		*sum = v
	default:
		*sum += v
	}
}

// deviceNames looks up each device once in a pass.
type deviceNames struct {
	sysfs string
	names map[string]string
}

func (d *deviceNames) name(number string) string {
	if name, ok := d.names[number]; ok {
		return name
	}
	var major, minor uint32
	name := number
	if _, err := fmt.Sscanf(number, "%d:%d", &major, &minor); err == nil {
		name = blockDevice(d.sysfs, major, minor)
	}
	if d.names == nil {
		d.names = map[string]string{}
	}
	d.names[number] = name
	return name
}
