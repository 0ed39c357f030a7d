package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

var (
	errStillRunning = errors.New("the call of an earlier scrape still runs")
	errPanic        = errors.New("panic")
	errNoReturn     = errors.New("ended its goroutine instead of returning")
)

// A collector runs an Entry and remembers how that went.
type collector struct {
	name   string
	update Collector
	log    *slog.Logger
	calls  *sync.WaitGroup
	busy   atomic.Bool // from the start of a call until all it sent is taken, be it long after its scrape

	panics, timeouts atomic.Uint64
	panicked         sync.Once
	lastError        string // owned by who has the turn
	series           []*series
}

func newCollector(e Entry, log *slog.Logger, calls *sync.WaitGroup) *collector {
	return &collector{name: e.Name, update: e.Collector, log: log.With("collector", e.Name), calls: calls}
}

// A result is what one call has sent.
type result struct {
	name     string              // of the collector
	series   []*series           // in the order sent
	families []*dto.MetricFamily // what is not ours
	dropped  map[string]error    // by reason
	count    map[string]int
	duration time.Duration
	err      error
}

func (r *result) drop(reason string, err error) {
	if r.dropped == nil {
		r.dropped, r.count = map[string]error{}, map[string]int{}
	}
	r.dropped[reason] = err
	r.count[reason]++
}

// run makes one call and takes what it sends until it returns or ctx is done. A call that comes late costs only itself:
// what it sends is thrown away, and there is no other call before it has ended.
func (c *collector) run(ctx context.Context) result {
	if !c.busy.CompareAndSwap(false, true) {
		return c.judge(result{name: c.name, err: errStillRunning})
	}
	start := time.Now()
	ch := make(chan prometheus.Metric, 256)
	var err error // written before ch is closed
	c.calls.Go(func() {
		defer close(ch)
		err = errNoReturn
		err = c.call(ctx, ch)
	})
	r := result{name: c.name, series: c.series[:0]}
	var foreign []snapshot
	for {
		select {
		case m, ok := <-ch:
			if ok {
				foreign = r.take(m, foreign)
				continue
			}
			c.busy.Store(false)
			c.series = r.series
			r.addForeign(foreign)
			r.duration, r.err = time.Since(start), err
			return c.judge(r)
		case <-ctx.Done():
			c.calls.Go(func() { c.discard(ch) })
			c.series = nil
			return c.judge(result{name: c.name, duration: time.Since(start), err: context.Cause(ctx)})
		}
	}
}

func (c *collector) discard(ch <-chan prometheus.Metric) {
	for range ch { //nolint:revive // what comes late is thrown away
	}
	c.busy.Store(false)
}

func (c *collector) call(ctx context.Context, ch chan<- prometheus.Metric) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
			c.panics.Add(1)
			c.panicked.Do(func() { c.log.Error("collector panicked", "panic", p, "stack", string(debug.Stack())) })
		}
	}()
	return c.update.Update(ctx, ch)
}

// judge counts and logs how a call went: once, until it goes otherwise.
func (c *collector) judge(r result) result {
	if errors.Is(r.err, ErrNoData) {
		r.err = nil
	}
	if errors.Is(r.err, context.DeadlineExceeded) {
		c.timeouts.Add(1)
	}
	text := ""
	if r.err != nil {
		text = r.err.Error()
	}
	if text != c.lastError && text != "" && !errors.Is(r.err, errPanic) {
		c.log.Warn("collector failed", "err", r.err)
	}
	c.lastError = text
	return r
}

// take keeps our own series as they are and makes a copy of everything else.
func (r *result) take(m prometheus.Metric, foreign []snapshot) []snapshot {
	switch m := m.(type) {
	case *series:
		r.series = append(r.series, m)
	case gatheredFamily:
		r.families = append(r.families, m.family)
	default:
		s, err := newSnapshot(m)
		if err != nil {
			r.drop("unreadable", err)
			break
		}
		foreign = append(foreign, s)
	}
	return foreign
}

// addForeign lets a registry of client_golang check metrics of its making.
func (r *result) addForeign(foreign []snapshot) {
	if len(foreign) == 0 {
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(snapshots(foreign))
	families, err := registry.Gather()
	r.families = append(r.families, families...)
	if errs, ok := err.(prometheus.MultiError); ok {
		for _, err := range errs {
			r.drop("inconsistent", err)
		}
	} else if err != nil {
		r.drop("inconsistent", err)
	}
}

// A snapshot is a metric as it was when it was sent.
type snapshot struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

func newSnapshot(m prometheus.Metric) (s snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w in Write: %v", errPanic, p)
		}
	}()
	s = snapshot{desc: m.Desc(), metric: &dto.Metric{}}
	if s.desc == nil {
		return s, errors.New("metric without description")
	}
	return s, m.Write(s.metric)
}

// Desc makes a snapshot a prometheus.Metric.
func (s snapshot) Desc() *prometheus.Desc { return s.desc }

// Write makes a snapshot a prometheus.Metric.
func (s snapshot) Write(m *dto.Metric) error {
	m.Label, m.TimestampMs = s.metric.Label, s.metric.TimestampMs
	m.Gauge, m.Counter, m.Untyped = s.metric.Gauge, s.metric.Counter, s.metric.Untyped
	m.Summary, m.Histogram = s.metric.Summary, s.metric.Histogram
	return nil
}

// snapshots are an unchecked prometheus.Collector.
type snapshots []snapshot

func (snapshots) Describe(chan<- *prometheus.Desc) {}

func (s snapshots) Collect(ch chan<- prometheus.Metric) {
	for _, m := range s {
		ch <- m
	}
}

// Gathered makes a collector of a gatherer, such as the registry of a part that brings its own metrics.
func Gathered(g prometheus.Gatherer) Collector { return gathered{g} }

type gathered struct{ prometheus.Gatherer }

func (g gathered) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	families, err := g.Gather()
	for _, family := range families {
		ch <- gatheredFamily{family}
	}
	if err != nil {
		return fmt.Errorf("gather: %w", err)
	}
	return nil
}

// A gatheredFamily carries a whole family through the channel of a collector.
type gatheredFamily struct{ family *dto.MetricFamily }

// Desc makes a gatheredFamily a prometheus.Metric; it has none.
func (gatheredFamily) Desc() *prometheus.Desc { return nil }

// Write makes a gatheredFamily a prometheus.Metric; it is more than one.
func (gatheredFamily) Write(*dto.Metric) error { return errors.New("a family is not a metric") }

// FromPrometheus makes a collector of one of client_golang's.
func FromPrometheus(c prometheus.Collector) Collector { return fromPrometheus{c} }

type fromPrometheus struct{ prometheus.Collector }

func (c fromPrometheus) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	c.Collect(ch)
	return nil
}
