package exporter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// A Demand is what a workload, or the node, uses of its resources and may use. What is not known is NaN.
type Demand struct {
	CPU                 float64 // seconds used so far
	Periods, Throttled  float64 // of its CPU quota so far, and how many of them ended early
	Memory, MemoryLimit float64 // working set, and the nearest limit above it, in bytes
	Pids, PidsLimit     float64 // threads, and the nearest limit above them
	IOPressure          float64 // seconds so far in which some thread waited for I/O
}

// unknown is a Demand of which nothing is known.
func unknown() Demand {
	nan := math.NaN()
	return Demand{nan, nan, nan, nan, nan, nan, nan, nan}
}

// Saturation boils down to one number per resource, from 0, nobody waits, to 1, nothing is left:
//
//	cpu           waited / (waited + used): of the time its threads wanted to run, the share they had to wait, throttled or
//	              behind others. Without the hooks of the run queue, the share of its quota's periods that ended early.
//	memory        working set / limit, its own or the nearest above, in the end the node's memory
//	io            share of the time in which some thread waited for I/O (PSI); without PSI, the requests that were with
//	              devices on average, at most 1
//	pids          threads / limit, its own or the nearest above, in the end the node's
//	accept_queue  the fullest of its listening sockets, 0 without one
//
// Shares of time are those of the last 15 to 60 s, whoever scrapes and how often. The series without workload is the node.
type Saturation struct {
	o       SaturationOptions
	ratio   *Family
	mu      sync.Mutex // guards history
	history []saturationSample
}

// SaturationOptions say where the numbers come from. What is nil is not known.
type SaturationOptions struct {
	Kernel  *Kernel
	Demands func(yield func(event.Workload, Demand)) error // of workloads
	Node    func() (Demand, error)
	Waits   func() bool      // whether the run queue is watched
	Now     func() time.Time // time.Now without one
}

// How far back shares of time reach.
const (
	saturationEvery  = 5 * time.Second
	saturationWindow = 15 * time.Second
	saturationMax    = 60 * time.Second
)

// A saturationSample is what was counted until then.
type saturationSample struct {
	at        time.Time
	workloads map[event.Workload]*saturationState
}

type saturationState struct {
	Demand
	waited, block float64 // seconds so far
	queue         float64 // ratio now
}

// NewSaturation returns the collector.
func NewSaturation(o SaturationOptions) *Saturation {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Saturation{o: o, ratio: NewGauge("yagura_saturation_ratio",
		"How much of a resource is lacking or used up, from 0 to 1. cpu: waited / (waited + used) of its threads. memory: working set / limit. io: share of the time in which some thread waited for I/O. pids: threads / limit. accept_queue: the fullest listening socket. Shares of time are of the last 15 to 60 s; without workload labels it is the node.",
		"resource").PerWorkload().Fixed()} // five a workload, and the first that people look at: never folded for the others' sake
}

// Entry returns the collector's row in the list of collectors.
func (s *Saturation) Entry() Entry {
	return Entry{
		Name: "saturation", Help: "How much of each resource every workload lacks, as one ratio.", Default: true,
		Collector: s, Families: []*Family{s.ratio},
	}
}

// Update sends the ratio of every workload whose resources are known, and of the node.
func (s *Saturation) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.sample()
	before := s.before(now.at)
	s.remember(now)
	s.ratio.Begin()
	for w, state := range now.workloads {
		s.show(w, state, before, now.at)
	}
	s.ratio.Send(ch)
	return err
}

// sample reads everything as it is now. A part that fails leaves the others.
func (s *Saturation) sample() (saturationSample, error) {
	now := saturationSample{s.o.Now(), map[event.Workload]*saturationState{}}
	var errs []error
	if s.o.Demands != nil {
		errs = append(errs, s.o.Demands(func(w event.Workload, d Demand) {
			if w != (event.Workload{}) {
				now.workloads[w] = &saturationState{Demand: d}
			}
		}))
	}
	node := &saturationState{Demand: unknown()}
	if s.o.Node != nil {
		d, err := s.o.Node()
		if err != nil {
			errs = append(errs, fmt.Errorf("read the node's resources: %w", err))
		}
		node.Demand = d
	}
	for _, state := range now.workloads { // the last limit is the node's
		state.MemoryLimit = least(state.MemoryLimit, node.MemoryLimit)
		state.PidsLimit = least(state.PidsLimit, node.PidsLimit)
	}
	now.workloads[event.Workload{}] = node
	if s.o.Kernel != nil {
		errs = append(errs, s.o.Kernel.read(func(w *workloadTotals) { addKernel(now.workloads[w.Workload], node, w) }))
	}
	return now, errors.Join(errs...)
}

// addKernel adds what the kernel side has seen to a workload, if it is known, and to the node.
func addKernel(state, node *saturationState, w *workloadTotals) {
	waited, block, queue := float64(w.counters.RunQueue.Sum)/1e9, 0.0, 0.0
	for _, c := range w.block {
		block += float64(c.Duration.Sum) / 1e9
	}
	for _, q := range w.queues {
		if q.limit > 0 {
			queue = max(queue, ratio(float64(q.waiting), float64(q.limit)))
		}
	}
	node.waited += waited
	node.block += block
	node.queue = max(node.queue, queue)
	if state != nil && state != node {
		state.waited, state.block, state.queue = waited, block, queue
	}
}

// before is the newest sample that is old enough to tell a share of time from, or the oldest there is.
func (s *Saturation) before(now time.Time) *saturationSample {
	for i := len(s.history) - 1; i >= 0; i-- {
		if now.Sub(s.history[i].at) >= saturationWindow || i == 0 {
			return &s.history[i]
		}
	}
	return nil
}

// remember keeps a sample now and then, and forgets those that no share of time reaches back to.
func (s *Saturation) remember(now saturationSample) {
	if n := len(s.history); n == 0 || now.at.Sub(s.history[n-1].at) >= saturationEvery {
		s.history = append(s.history, now)
	}
	for len(s.history) > 1 && now.at.Sub(s.history[0].at) > saturationMax {
		s.history = s.history[1:]
	}
}

func (s *Saturation) show(w event.Workload, now *saturationState, before *saturationSample, at time.Time) {
	set := func(resource string, v float64) {
		if !math.IsNaN(v) {
			s.ratio.Set(w, v, resource)
		}
	}
	set("memory", ratio(now.Memory, now.MemoryLimit))
	set("pids", ratio(now.Pids, now.PidsLimit))
	set("accept_queue", now.queue)
	if before == nil || !at.After(before.at) {
		return
	}
	old := before.workloads[w]
	if old == nil {
		return // it began since; its counters may be older than it is known
	}
	seconds := at.Sub(before.at).Seconds()
	set("cpu", s.cpu(now, old))
	if pressure := now.IOPressure - old.IOPressure; !math.IsNaN(pressure) {
		set("io", ratio(pressure, seconds))
	} else {
		set("io", ratio(now.block-old.block, seconds))
	}
}

func (s *Saturation) cpu(now, old *saturationState) float64 {
	if s.o.Waits == nil || !s.o.Waits() {
		return share(now.Throttled-old.Throttled, now.Periods-old.Periods)
	}
	waited, used := now.waited-old.waited, now.CPU-old.CPU
	return share(waited, waited+used)
}

// least is the lower of two limits that may not be known.
func least(a, b float64) float64 {
	if math.IsNaN(a) || b < a {
		return b
	}
	return a
}

// share is part of a whole in 0 to 1, and 0 of nothing, which sums may miss by a hair.
func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return ratio(part, whole)
}

// ratio is part of whole in 0 to 1; NaN if one is not known or there is no whole.
func ratio(part, whole float64) float64 {
	if math.IsNaN(part) || math.IsNaN(whole) || whole <= 0 {
		return math.NaN()
	}
	return min(max(part/whole, 0), 1)
}
