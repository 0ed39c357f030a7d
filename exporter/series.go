package exporter

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// forgetAfter is how long a label set keeps its place after the last pass that touched it. It covers a few scrapes, so
// that a gap does not restart a counter, and lets the series of a dead container go well within five minutes.
const forgetAfter = 2 * time.Minute

// maxExemplarRunes is what OpenMetrics allows for all names and values of one exemplar together.
const maxExemplarRunes = 128

// A Family is one metric: its name, its documentation and its series. It is declared once, beside the line that fills
// it. The methods of a pass, Begin to Send, belong to one goroutine at a time; the exporter sees to that for every
// family of an Entry.
type Family struct {
	name, help  string
	kind        dto.MetricType
	layout      *layout  // of a histogram
	labels      []string // without the workload labels, in the order of the arguments
	kept        []int    // labels that a fold keeps, as places in labels
	sorted      []int    // where each label of a series comes from, in the order of exposition
	perWorkload bool
	rare        bool
	fixed       bool
	additive    bool
	foreign     bool // documentation of a metric that somebody else fills
	since       time.Time
	desc        *prometheus.Desc

	budget *budget
	used   int // places taken, as a server counts series; guarded by budget.mu

	pass          uint64
	now, before   time.Time // of this pass and of the one before
	created       *timestamppb.Timestamp
	restarted     *timestamppb.Timestamp
	series        map[string]*series
	order, fresh  []*series // sorted by labels; the fresh ones are not in order yet
	folded        map[string]*folded
	foldedSets    atomic.Uint64 // label sets without a place of their own, ever
	crowd         crowd
	last          *series // takes what has no place anywhere else
	key, otherKey []byte
	others        []string
	altered       bool // the key in f.key is not what the caller gave
	changed       changes
	merged        *merged // owned by the exporter
}

// changes counts what had to be changed before it could be shown.
type changes struct {
	invalid, tooLong, exemplars atomic.Uint64
}

// NewCounter declares a counter. It panics if the name, the help or a label breaks the rules of Prometheus, as that can
// only be a mistake in the program.
func NewCounter(name, help string, labels ...string) *Family {
	return newFamily(name, help, dto.MetricType_COUNTER, labels)
}

// NewGauge declares a gauge, under the same rules as NewCounter.
func NewGauge(name, help string, labels ...string) *Family {
	return newFamily(name, help, dto.MetricType_GAUGE, labels)
}

// NewHistogram declares a histogram in seconds, under the same rules as NewCounter.
func NewHistogram(name, help string, labels ...string) *Family {
	f := newFamily(name, help, dto.MetricType_HISTOGRAM, labels)
	f.layout = powersOfTwo
	return f
}

// NewSizeHistogram declares a histogram in bytes that is filled by AddSizes.
func NewSizeHistogram(name, help string, labels ...string) *Family {
	f := newFamily(name, help, dto.MetricType_HISTOGRAM, labels)
	f.layout = sizes
	return f
}

// NewRequestHistogram declares a histogram in seconds that is filled by AddRequests, with the bounds that the kernel
// counts by.
func NewRequestHistogram(name, help string, bounds []float64, labels ...string) *Family {
	f := newFamily(name, help, dto.MetricType_HISTOGRAM, labels)
	f.layout = requestLayout(bounds)
	return f
}

func newFamily(name, help string, kind dto.MetricType, labels []string) *Family {
	f := &Family{
		name: name, help: help, kind: kind,
		labels:   slices.Clone(labels),
		additive: !slices.ContainsFunc(notAdditive, func(suffix string) bool { return strings.HasSuffix(name, suffix) }),
		series:   map[string]*series{},
		folded:   map[string]*folded{},
	}
	f.mustBeValid()
	f.describe()
	return f
}

func (f *Family) mustBeValid() {
	counts := f.kind == dto.MetricType_COUNTER
	switch {
	case !model.LegacyValidation.IsValidMetricName(f.name):
		panic(fmt.Sprintf("metric %q: not a valid name", f.name))
	case f.help == "":
		panic(fmt.Sprintf("metric %s: no help", f.name))
	case counts != strings.HasSuffix(f.name, "_total"):
		panic(fmt.Sprintf("metric %s: _total belongs to counters, and to all of them", f.name))
	}
	seen := map[string]bool{}
	for _, label := range f.labels {
		if !model.LegacyValidation.IsValidLabelName(label) || label == "le" || label == "quantile" || seen[label] {
			panic(fmt.Sprintf("metric %s: label %q: invalid, reserved or given twice", f.name, label))
		}
		seen[label] = true
	}
}

// describe settles what follows from the labels.
func (f *Family) describe() {
	names := f.LabelNames()
	f.desc = prometheus.NewDesc(f.name, f.help, names, nil)
	f.sorted = make([]int, len(names))
	for i := range f.sorted {
		f.sorted[i] = i
	}
	slices.SortFunc(f.sorted, func(a, b int) int { return strings.Compare(names[a], names[b]) })
	f.others = make([]string, len(f.labels))
}

// PerWorkload says that the label set starts with namespace, pod, container and unit. It returns f.
func (f *Family) PerWorkload() *Family {
	f.perWorkload = true
	f.describe()
	return f
}

// Rare says that what the family counts is rare and must not be missed: its label sets have a place also where a workload has used up
// its own, as far as the caps of the family and of the node allow. It returns f.
func (f *Family) Rare() *Family {
	f.rare = true
	return f
}

// Fixed says that the label sets follow from the program or its configuration, not from what runs on the machine. They
// are counted, but never folded. It returns f.
func (f *Family) Fixed() *Family {
	f.fixed = true
	return f
}

// NotAdditive says that values of different label sets must not be added up: label sets beyond a cap are left out
// instead of folded. It is implied by names like _info, _ratio and _timestamp_seconds. It returns f.
func (f *Family) NotAdditive() *Family {
	f.additive = false
	return f
}

// Keeping names labels that a fold keeps as they are, while there is room: few values each, of which one must not be
// mistaken for another, as success for failure. It returns f.
func (f *Family) Keeping(labels ...string) *Family {
	for _, label := range labels {
		at := slices.Index(f.labels, label)
		if at < 0 {
			panic(fmt.Sprintf("metric %s: keeps label %q, which it does not have", f.name, label))
		}
		f.kept = append(f.kept, at)
	}
	return f
}

// Since says when the counters that the first pass finds began. Without it that is the start of the exporter. Series
// that appear later began after the pass before. It returns f.
func (f *Family) Since(start time.Time) *Family {
	f.since = start
	return f
}

// Name returns the metric's name.
func (f *Family) Name() string { return f.name }

// Help returns what the metric means.
func (f *Family) Help() string { return f.help }

// Type returns counter, gauge, histogram, summary or untyped.
func (f *Family) Type() string { return strings.ToLower(f.kind.String()) }

// Unit returns the base unit that the name ends in, or nothing.
func (f *Family) Unit() string {
	name := strings.TrimSuffix(f.name, "_total")
	unit := name[strings.LastIndexByte(name, '_')+1:]
	if slices.Contains(units, unit) && unit != name {
		return unit
	}
	return ""
}

// LabelNames returns the names of all labels: those of the workload first, then the others as declared.
func (f *Family) LabelNames() []string {
	if !f.perWorkload {
		return slices.Clone(f.labels)
	}
	return slices.Concat(workloadLabels, f.labels)
}

// A cell is what one pass sets for one label set.
type cell struct {
	pass   uint64 // the last pass that touched it
	seen   int64  // when that pass began, Unix nanoseconds
	value  float64
	counts *tally // histograms only
	shared bool   // stands for more than one label set: everything set adds up
}

// A series is a label set with a place of its own. It is a prometheus.Metric; the exporter takes its dto as it is.
type series struct {
	cell
	family   *Family
	key      string
	rank     rank
	workload *workload
	fold     *fold // nil unless others are folded into it
	shown    float64
	metric   dto.Metric
	gather   uint64 // owned by the exporter
}

// Desc makes a series a prometheus.Metric.
func (s *series) Desc() *prometheus.Desc { return s.family.desc }

// Write makes a series a prometheus.Metric, for those who do not know it.
func (s *series) Write(m *dto.Metric) error {
	proto.Merge(m, &s.metric)
	return nil
}

// Begin starts a pass.
func (f *Family) Begin() {
	if f.budget == nil {
		f.bind(newBudget(Default.Limits), time.Now())
	}
	f.pass++
	f.before, f.now = f.now, time.Now()
	if f.before.IsZero() {
		f.before = f.since
	}
	f.created, f.restarted = nil, nil
}

// bind puts the family's series under a budget, forgetting those it has.
func (f *Family) bind(b *budget, start time.Time) {
	f.release()
	if f.since.IsZero() {
		f.since = start
	}
	f.budget = b
	b.join(f)
}

// release gives back all places.
func (f *Family) release() {
	if f.budget == nil {
		return
	}
	for _, s := range f.series {
		f.budget.leave(s)
	}
	f.budget.forget(f, len(f.folded))
	f.budget.part(f)
	clear(f.series)
	clear(f.folded)
	f.order, f.fresh, f.last = nil, nil, nil
	f.crowd = crowd{}
}

// Set gives a label set its value of this pass: for a counter, all it has counted so far.
func (f *Family) Set(w event.Workload, v float64, labels ...string) {
	f.mustHoldNumbers()
	c := f.cell(w, labels)
	if f.touch(c) || !c.shared && !f.altered {
		c.value = v
		return
	}
	c.value += v
}

// Add adds to what this pass has already set for these labels, as for several cgroups of one workload.
func (f *Family) Add(w event.Workload, v float64, labels ...string) {
	f.mustHoldNumbers()
	c := f.cell(w, labels)
	if f.touch(c) {
		c.value = v
		return
	}
	c.value += v
}

func (f *Family) mustHoldNumbers() {
	if f.kind == dto.MetricType_HISTOGRAM {
		panic(fmt.Sprintf("metric %s: a histogram is filled by AddHistogram", f.name))
	}
}

// AddHistogram adds all that h has counted so far to what this pass has already set for these labels.
func (f *Family) AddHistogram(w event.Workload, h *Buckets, labels ...string) {
	f.addCounts(w, nil, h.Counts[:], h.Sum, labels)
}

// AddSizes is AddHistogram for sizes.
func (f *Family) AddSizes(w event.Workload, h *bpf.Histogram, labels ...string) {
	f.addCounts(w, nil, h.Buckets[:], float64(h.Sum), labels)
}

// AddRequests is AddHistogram for what the kernel has counted of requests.
func (f *Family) AddRequests(w event.Workload, t *bpf.RequestTotals, labels ...string) {
	f.addCounts(w, t.Classic[:], t.Native[:], float64(t.SumNs)/1e9, labels)
}

func (f *Family) addCounts(w event.Workload, classic, native []uint64, sum float64, labels []string) {
	if f.layout == nil || len(classic) != f.layout.classic() || len(native) != f.layout.native {
		panic(fmt.Sprintf("metric %s: not a histogram of this kind", f.name))
	}
	c := f.cell(w, labels)
	first := f.touch(c)
	if c.counts == nil {
		c.counts = f.layout.newTally()
	}
	if first {
		c.counts.setCounts(classic, native, sum)
		return
	}
	c.counts.addCounts(classic, native, sum)
}

// touch reports whether this is the first time in this pass.
func (f *Family) touch(c *cell) bool {
	if c.pass == f.pass {
		return false
	}
	c.pass, c.seen = f.pass, f.now.UnixNano()
	return true
}

// cell finds where the value of a label set goes: its own series, or what stands in for it.
func (f *Family) cell(w event.Workload, labels []string) *cell {
	if len(labels) != len(f.labels) {
		panic(fmt.Sprintf("metric %s: %d label values for %d labels", f.name, len(labels), len(f.labels)))
	}
	f.key, f.altered = f.appendKey(f.key[:0], w, labels)
	if s, ok := f.series[string(f.key)]; ok {
		return &s.cell
	}
	if d, ok := f.folded[string(f.key)]; ok {
		return &d.cell
	}
	return f.admit(w, labels)
}

// Send ends a pass: it sends every series touched since Begin, in the order of their labels. The objects are used again
// by the next pass.
func (f *Family) Send(ch chan<- prometheus.Metric) {
	f.settle()
	for _, s := range f.order {
		if f.live(s) {
			ch <- s
		}
	}
}

// settle turns what the pass has set into what is shown, and forgets what has not been touched for long.
func (f *Family) settle() {
	f.settleFolded()
	f.mergeFresh()
	kept := f.order[:0]
	for _, s := range f.order {
		if f.live(s) {
			f.show(s)
		} else if f.expired(&s.cell) {
			f.remove(s)
			continue
		}
		kept = append(kept, s)
	}
	clear(f.order[len(kept):])
	f.order = kept
}

// live reports whether a series belongs into this pass.
func (f *Family) live(s *series) bool {
	return s.pass == f.pass || s.fold != nil && f.lasts(s)
}

// show writes the values of this pass into the cached dto object.
func (f *Family) show(s *series) {
	s.seen = f.now.UnixNano()
	switch {
	case f.kind == dto.MetricType_HISTOGRAM:
		s.showHistogram(f)
		return
	case s.fold != nil:
		s.shown = s.fold.value(f, &s.cell)
	default:
		if f.kind == dto.MetricType_COUNTER && s.value < s.shown {
			s.metric.Counter.CreatedTimestamp = f.restartedAt()
		}
		s.shown = s.value
	}
}

// createdAt is when a series began that this pass sees for the first time.
func (f *Family) createdAt() *timestamppb.Timestamp {
	if f.created == nil {
		f.created = timestamppb.New(f.before)
	}
	return f.created
}

// restartedAt is when a counter began anew that has gone down: after the pass before.
func (f *Family) restartedAt() *timestamppb.Timestamp {
	if f.restarted == nil {
		f.restarted = timestamppb.New(f.before)
	}
	return f.restarted
}

// add makes the series whose key is given. Its strings are its own: it keeps nothing of the caller's alive.
func (f *Family) add(key []byte, w *workload, r rank) *series {
	s := &series{family: f, key: string(key), workload: w, rank: r}
	s.metric.Label = f.labelPairs(s.key, w)
	switch f.kind {
	case dto.MetricType_COUNTER:
		s.metric.Counter = &dto.Counter{Value: &s.shown, CreatedTimestamp: f.createdAt()}
	case dto.MetricType_HISTOGRAM:
		s.metric.Histogram = f.layout.newHistogram(f.createdAt())
	default:
		s.metric.Gauge = &dto.Gauge{Value: &s.shown}
	}
	f.series[s.key] = s
	f.fresh = append(f.fresh, s)
	return s
}

func (f *Family) remove(s *series) {
	delete(f.series, s.key)
	if f.last == s {
		f.last = nil
	}
	f.budget.leave(s)
}

// mergeFresh puts new series where they belong, so that nothing is ever sorted again.
func (f *Family) mergeFresh() {
	if len(f.fresh) == 0 {
		return
	}
	slices.SortFunc(f.fresh, byLabels)
	i, j := len(f.order)-1, len(f.fresh)-1
	f.order = append(f.order, f.fresh...)
	for k := len(f.order) - 1; j >= 0; k-- {
		if i >= 0 && byLabels(f.order[i], f.fresh[j]) > 0 {
			f.order[k] = f.order[i]
			i--
			continue
		}
		f.order[k] = f.fresh[j]
		j--
	}
	clear(f.fresh)
	f.fresh = f.fresh[:0]
}

func byLabels(a, b *series) int { return comparePairs(a.metric.Label, b.metric.Label) }

func comparePairs(a, b []*dto.LabelPair) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if c := strings.Compare(a[i].GetValue(), b[i].GetValue()); c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}

// An Exemplar points from a series to one thing that it counted.
type Exemplar struct {
	Labels map[string]string // at most 128 runes in all
	Value  float64
	Time   time.Time
}

// Exemplify attaches an exemplar to the counter or histogram of a label set, replacing the one before. The set must
// have been set in this pass. An exemplar that OpenMetrics would not allow is left out and counted.
func (f *Family) Exemplify(w event.Workload, e Exemplar, labels ...string) {
	if !e.valid() || f.kind == dto.MetricType_GAUGE {
		f.changed.exemplars.Add(1)
		return
	}
	f.key, _ = f.appendKey(f.key[:0], w, labels)
	s := f.series[string(f.key)]
	if d := f.folded[string(f.key)]; d != nil {
		s = d.target
	}
	if s == nil {
		return
	}
	if f.kind == dto.MetricType_COUNTER {
		s.metric.Counter.Exemplar = e.dto()
		return
	}
	exemplifyHistogram(s.metric.Histogram, e.dto())
}

func (e *Exemplar) valid() bool {
	runes := 0
	for name, value := range e.Labels {
		if !model.LegacyValidation.IsValidLabelName(name) || !utf8.ValidString(value) {
			return false
		}
		runes += utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
	}
	return runes <= maxExemplarRunes && !math.IsNaN(e.Value)
}

func (e *Exemplar) dto() *dto.Exemplar {
	d := &dto.Exemplar{Value: &e.Value}
	for _, name := range slices.Sorted(maps.Keys(e.Labels)) {
		d.Label = append(d.Label, &dto.LabelPair{Name: &name, Value: proto.String(e.Labels[name])})
	}
	if !e.Time.IsZero() {
		d.Timestamp = timestamppb.New(e.Time)
	}
	return d
}
