package exporter

import (
	"errors"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/yagura-io/yagura/rules/event"
)

// Config is what the configuration file says about the exporter.
type Config struct {
	Limits Limits `yaml:"limits"`
}

// Limits cap how many series there are, counted as a Prometheus server counts them: a histogram is thirteen. A part of
// each is kept for the series that label sets beyond it are folded into.
type Limits struct {
	Node     int `yaml:"node"`     // all series
	Family   int `yaml:"family"`   // series of one metric
	Workload int `yaml:"workload"` // series of one workload, over all metrics; hits of rules and changes of files have a place beyond it
}

// Default is the configuration where the file says nothing.
var Default = Config{Limits: Limits{Node: 20_000, Family: 5_000, Workload: 500}}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Limits.Node < 1 || c.Limits.Family < 1 || c.Limits.Workload < 1 {
		return errors.New("limits: node, family and workload must be at least 1")
	}
	return nil
}

// trackedPerPlace is how many folded label sets are remembered for each place of a cap.
const trackedPerPlace = 3

// otherWorkload stands for all workloads whose label sets have no place of their own.
var otherWorkload = event.Workload{Container: other}

// A rank says for what a place is asked, which decides how much of a cap it may use.
type rank uint8

const (
	ordinary   rank = iota // a label set as a collector gives it
	standIn                // takes the values of others, with as many of their labels as there is room for
	lastResort             // takes the values of all others of its family; its place is reserved
)

// A verdict is the answer to the question for a place.
type verdict uint8

const (
	placed verdict = iota
	workloadFull
	full
)

// A workload is what the budget knows of one set of workload labels.
type workload struct {
	name     event.Workload
	used     int // places taken
	ordinary int // series of rank ordinary: it is alive
	pairs    [4]*dto.LabelPair
}

// A budget shares the places of a node between the families of one exporter.
type budget struct {
	mu        sync.Mutex
	limits    Limits
	used      int
	exempt    int // places of series that are never folded
	reserved  int // places for the last resorts that do not exist yet
	tracked   int // places of folded label sets that are remembered
	workloads map[event.Workload]*workload
}

func newBudget(l Limits) *budget {
	return &budget{limits: l, workloads: map[event.Workload]*workload{}}
}

func (f *Family) weight() int {
	if f.kind == dto.MetricType_HISTOGRAM {
		return histogramWeight
	}
	return 1
}

// folds reports whether label sets of the family may be folded or left out.
func (f *Family) folds() bool { return !f.fixed && len(f.sorted) > 0 }

func (b *budget) join(f *Family) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.folds() && f.additive {
		b.reserved += f.weight()
	}
}

// place asks for a place for one more series of f and takes it if there is room.
func (b *budget) place(f *Family, name event.Workload, r rank) (*workload, verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.workloads[name]
	if f.folds() && r != lastResort {
		if v := b.room(f, name, w, r); v != placed {
			return nil, v
		}
	}
	n := f.weight()
	f.used += n
	*b.account(f) += n
	if r == lastResort {
		b.reserved -= n
	}
	if !f.perWorkload {
		return nil, placed
	}
	if w == nil {
		w = newWorkload(name)
		b.workloads[name] = w
	}
	w.used += n
	if r == ordinary {
		w.ordinary++
	}
	return w, placed
}

// account is where the places of a family are counted.
func (b *budget) account(f *Family) *int {
	if f.folds() {
		return &b.used
	}
	return &b.exempt
}

// room compares what is used with the caps. Of the node's, a tenth is kept for series that belong to no workload and
// half of that for stand-ins; of a family's a twentieth for stand-ins, of a workload's a tenth. Series that are never
// folded take from what workloads may have.
func (b *budget) room(f *Family, name event.Workload, w *workload, r rank) verdict {
	n := f.weight()
	node, family, own := b.limits.Node-b.reserved, b.limits.Family-n, b.limits.Workload
	if r == ordinary {
		kept := b.limits.Node / 20
		if f.perWorkload {
			kept = max(b.limits.Node/10, b.exempt+b.limits.Node/20)
		}
		node = min(node, b.limits.Node-kept)
		family = min(family, b.limits.Family-b.limits.Family/20)
		own -= own / 10
	}
	if b.used+n > node || f.used+n > family {
		return full
	}
	if !f.perWorkload || f.rare || name == otherWorkload {
		return placed
	}
	used := 0
	if w != nil {
		used = w.used
	}
	if used+n > own {
		return workloadFull
	}
	return placed
}

// leave gives back the place of a series.
func (b *budget) leave(s *series) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := s.family.weight()
	s.family.used -= n
	*b.account(s.family) -= n
	if s.rank == lastResort {
		b.reserved += n
	}
	w := s.workload
	if w == nil {
		return
	}
	w.used -= n
	if s.rank == ordinary {
		w.ordinary--
	}
	if w.used == 0 {
		delete(b.workloads, w.name)
	}
}

// track asks whether one more folded label set of f may be remembered.
func (b *budget) track(f *Family) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := f.weight()
	if b.tracked+n > trackedPerPlace*b.limits.Node || (len(f.folded)+1)*n > trackedPerPlace*b.limits.Family {
		return false
	}
	b.tracked += n
	return true
}

// forget gives back the places of that many folded label sets of f.
func (b *budget) forget(f *Family, sets int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tracked -= sets * f.weight()
}

// part takes a family out of the budget.
func (b *budget) part(f *Family) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.folds() && f.additive {
		b.reserved -= f.weight()
	}
}

func (b *budget) set(l Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = l
}

// usage reads a count of places, and the limits of the same moment.
func (b *budget) usage(count *int) (int, Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *count, b.limits
}

func (b *budget) alive(w *workload) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return w.ordinary > 0
}

func newWorkload(name event.Workload) *workload {
	w := &workload{name: name}
	for i, value := range [...]string{name.Namespace, name.Pod, name.Container, name.Unit} {
		w.pairs[i] = &dto.LabelPair{Name: &workloadLabels[i], Value: &value}
	}
	return w
}

// A fold is what label sets without a place have brought to a series. What a counter or a histogram has once been
// brought stays, also when the label set it came from is gone, so nothing makes it go down.
type fold struct {
	pass       uint64  // the last pass that brought something
	total      float64 // counters: all that was brought; gauges: what pass brought
	last       float64 // counters: the series' own value, already in total
	counts     *tally
	lastCounts *tally
}

// foldInto makes s a series that others are folded into, starting from what it has shown so far.
func (f *Family) foldInto(s *series) *series {
	if s.fold != nil {
		return s
	}
	s.fold = &fold{total: s.shown, last: s.shown}
	if f.kind == dto.MetricType_HISTOGRAM {
		s.fold.counts, s.fold.lastCounts = f.layout.newTally(), f.layout.newTally()
		if s.counts != nil && s.pass != f.pass {
			s.fold.counts.set(s.counts)
			s.fold.lastCounts.set(s.counts)
		}
	}
	return s
}

// value adds the series' own value of this pass to what was brought. It is called once in a pass.
func (o *fold) value(f *Family, own *cell) float64 {
	if f.kind == dto.MetricType_GAUGE {
		v := 0.0
		if o.pass == f.pass {
			v = o.total
		}
		if own.pass == f.pass {
			v += own.value
		}
		return v
	}
	if own.pass == f.pass {
		o.total += increase(own.value, o.last)
		o.last = own.value
	}
	return o.total
}

func (o *fold) histogram(f *Family, own *cell) *tally {
	if own.pass == f.pass {
		o.counts.addIncrease(own.counts, o.lastCounts)
		o.lastCounts.set(own.counts)
	}
	return o.counts
}

func (o *fold) bring(f *Family, v float64) {
	if f.kind == dto.MetricType_GAUGE && o.pass != f.pass {
		o.total = 0
	}
	o.pass = f.pass
	o.total += v
}

// lasts reports whether a series that others are folded into is shown though nothing was set for itself.
func (f *Family) lasts(s *series) bool {
	if s.fold.pass == f.pass {
		return true
	}
	if f.kind == dto.MetricType_GAUGE {
		return false
	}
	return s.workload == nil || s.workload.name == otherWorkload || f.budget.alive(s.workload)
}

// A folded is a label set without a place of its own. It is remembered so that what it brings is counted once.
type folded struct {
	cell
	target     *series // nil if the family's values cannot be added up
	last       float64
	lastCounts *tally
}

// A crowd is all label sets of a family that are not even remembered. It counts as one label set: what it brings is the
// most it ever had at once. While it lasts, no unknown label set gets a place, as it may be one of the crowd.
type crowd struct {
	cell
	sets, most uint64
	last       float64
	lastCounts *tally
}

// admit finds a place for a label set that is new: as f.key, w and labels say.
func (f *Family) admit(w event.Workload, labels []string) *cell {
	if f.crowd.pass > 0 {
		return f.joinCrowd()
	}
	if f.altered {
		f.countAltered(w, labels)
	}
	key := string(f.key)
	values := splitKey(key)
	w = event.Workload{}
	if f.perWorkload {
		w = event.Workload{Namespace: values[0], Pod: values[1], Container: values[2], Unit: values[3]}
		values = values[len(workloadLabels):]
	}
	home, v := f.budget.place(f, w, ordinary)
	if v == placed {
		return &f.add(f.key, home, ordinary).cell
	}
	target := f.standIn(w, values, v)
	if target != nil && target.key == key {
		return &target.cell
	}
	if !f.budget.track(f) {
		return f.joinCrowd()
	}
	f.foldedSets.Add(1)
	d := &folded{target: target}
	f.folded[key] = d
	return &d.cell
}

func (f *Family) joinCrowd() *cell {
	f.crowd.shared = true
	f.crowd.sets++
	return &f.crowd.cell
}

// standIn returns the series that a label set without a place is folded into. A workload beyond its cap keeps its
// labels and those that the family keeps. Beyond the cap of the family or the node the workload goes, and enumerated
// labels stay while there is room.
func (f *Family) standIn(w event.Workload, labels []string, v verdict) *series {
	if !f.additive {
		return nil
	}
	kept := f.otherLabels()
	for _, i := range f.kept {
		kept[i] = labels[i]
	}
	if v == workloadFull {
		if s := f.standInAt(w, kept, standIn); s != nil {
			return s
		}
	}
	for i, name := range f.labels {
		if labelDocs[name].few {
			kept[i] = labels[i]
		}
	}
	if s := f.standInAt(f.elsewhere(), kept, standIn); s != nil {
		return s
	}
	return f.lastSeries()
}

// lastSeries is where a value goes if there is no better place.
func (f *Family) lastSeries() *series {
	if f.last == nil {
		f.last = f.standInAt(f.elsewhere(), f.otherLabels(), lastResort)
	}
	return f.last
}

func (f *Family) standInAt(w event.Workload, labels []string, r rank) *series {
	f.otherKey, _ = f.appendKey(f.otherKey[:0], w, labels)
	if s, ok := f.series[string(f.otherKey)]; ok {
		return f.foldInto(s)
	}
	if _, ok := f.folded[string(f.otherKey)]; ok && r != lastResort {
		return nil // it has brought its values elsewhere already
	}
	home, v := f.budget.place(f, w, r)
	if v != placed {
		return nil
	}
	return f.foldInto(f.add(f.otherKey, home, r))
}

// otherLabels returns "other" for every label; it is only valid until the next call.
func (f *Family) otherLabels() []string {
	for i := range f.others {
		f.others[i] = other
	}
	return f.others
}

func (f *Family) elsewhere() event.Workload {
	if f.perWorkload {
		return otherWorkload
	}
	return event.Workload{}
}

// settleFolded brings what this pass has set for label sets without a place to where it is shown.
func (f *Family) settleFolded() {
	forgotten := 0
	for key, d := range f.folded {
		if d.pass == f.pass {
			f.bring(d)
			continue
		}
		if f.expired(&d.cell) {
			delete(f.folded, key)
			forgotten++
		}
	}
	f.budget.forget(f, forgotten)
	f.settleCrowd()
}

func (f *Family) expired(c *cell) bool { return f.now.Sub(time.Unix(0, c.seen)) > forgetAfter }

func (f *Family) bring(d *folded) {
	if d.target == nil {
		return
	}
	into := d.target.fold
	switch f.kind {
	case dto.MetricType_HISTOGRAM:
		into.pass = f.pass
		if d.lastCounts == nil {
			d.lastCounts = f.layout.newTally()
		}
		into.counts.addIncrease(d.counts, d.lastCounts)
		d.lastCounts.set(d.counts)
	case dto.MetricType_COUNTER:
		into.bring(f, increase(d.value, d.last))
		d.last = d.value
	default:
		into.bring(f, d.value)
	}
}

func (f *Family) settleCrowd() {
	c := &f.crowd
	if c.pass == 0 {
		return
	}
	if c.pass != f.pass {
		if f.expired(&c.cell) {
			f.crowd = crowd{}
		}
		return
	}
	f.foldedSets.Add(max(c.sets, c.most) - c.most)
	c.sets, c.most = 0, max(c.sets, c.most)
	if !f.additive {
		return
	}
	into := f.lastSeries().fold
	switch f.kind {
	case dto.MetricType_HISTOGRAM:
		into.pass = f.pass
		if c.lastCounts == nil {
			c.lastCounts = f.layout.newTally()
		}
		c.lastCounts.raise(c.counts, into.counts)
	case dto.MetricType_COUNTER:
		into.bring(f, max(0, c.value-c.last))
		c.last = max(c.value, c.last)
	default:
		into.bring(f, c.value)
	}
}
