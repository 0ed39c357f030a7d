package exporter

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Why a series is dropped.
var dropReasons = []string{"duplicate", "inconsistent", "unreadable"}

// maxWarned bounds how many names are remembered as warned about.
const maxWarned = 1000

// A merge puts together what the collectors of one scrape have sent. A series that does not fit is dropped, logged once
// for its metric, and counted: it never costs the others.
type merge struct {
	log     *slog.Logger
	budget  *budget
	id      uint64
	byName  map[string]*merged
	names   []string
	dropped map[string]uint64
	warned  map[string]bool
	seed    maphash.Seed
}

// A merged is one family of a scrape.
type merged struct {
	family *dto.MetricFamily
	owner  *Family             // nil for those that are not ours
	seen   map[uint64]struct{} // label sets, once there is more than one source
	id     uint64              // of the last scrape that had it
}

func newMerge(log *slog.Logger, b *budget) merge {
	return merge{
		log:     log,
		budget:  b,
		byName:  map[string]*merged{},
		dropped: map[string]uint64{},
		warned:  map[string]bool{},
		seed:    maphash.MakeSeed(),
	}
}

func (g *merge) begin() {
	g.id++
	clear(g.byName)
	g.names = g.names[:0]
}

func (g *merge) addResult(r *result) {
	for _, s := range r.series {
		g.addSeries(s)
	}
	for _, family := range r.families {
		g.addFamily(family)
	}
	for reason, err := range r.dropped {
		g.drop(reason, "collector "+r.name, err, r.count[reason])
	}
}

// addSeries adds one of our own. The label sets of one Family differ, so only a second Send can bring one twice.
func (g *merge) addSeries(s *series) {
	m := g.ofFamily(s.family)
	if m.owner != s.family {
		g.addMetric(m, s.family.kind, &s.metric)
		return
	}
	if s.gather == g.id {
		g.drop("duplicate", s.family.name, errors.New("sent twice in one scrape"), 1)
		return
	}
	s.gather = g.id
	m.family.Metric = append(m.family.Metric, &s.metric)
}

// ofFamily returns the family of that name in this scrape, which may belong to somebody else.
func (g *merge) ofFamily(f *Family) *merged {
	if f.merged != nil && f.merged.id == g.id {
		return f.merged
	}
	if m := g.byName[f.name]; m != nil {
		return m
	}
	if f.budget != g.budget {
		g.drop("undeclared", f.name, errors.New("missing in the families of its collector: it has caps of its own and no place in the reference"), 0)
	}
	if f.merged == nil {
		f.merged = &merged{owner: f, family: &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &f.kind}}
		if unit := f.Unit(); unit != "" {
			f.merged.family.Unit = &unit
		}
	}
	m := f.merged
	m.family.Metric, m.seen = m.family.Metric[:0], nil
	g.add(m)
	return m
}

func (g *merge) add(m *merged) {
	m.id = g.id
	g.byName[m.family.GetName()] = m
	g.names = append(g.names, m.family.GetName())
}

// addFamily adds what is not ours; it belongs to somebody else and is not changed.
func (g *merge) addFamily(family *dto.MetricFamily) {
	m := g.byName[family.GetName()]
	if m == nil {
		m = &merged{family: &dto.MetricFamily{
			Name: family.Name, Help: family.Help, Type: family.Type, Unit: family.Unit,
		}}
		m.family.Metric = slices.Clone(family.Metric)
		g.add(m)
		return
	}
	for _, metric := range family.Metric {
		g.addMetric(m, family.GetType(), metric)
	}
}

// addMetric adds to a family that has another source already.
func (g *merge) addMetric(m *merged, kind dto.MetricType, metric *dto.Metric) {
	name := m.family.GetName()
	if kind != m.family.GetType() {
		err := fmt.Errorf("a %s and a %s of the same name", strings.ToLower(m.family.GetType().String()), strings.ToLower(kind.String()))
		g.drop("inconsistent", name, err, 1)
		return
	}
	if m.seen == nil {
		m.seen = map[uint64]struct{}{}
		for _, have := range m.family.Metric {
			m.seen[g.hash(have)] = struct{}{}
		}
	}
	h := g.hash(metric)
	if _, ok := m.seen[h]; ok {
		g.drop("duplicate", name, errors.New("sent by two collectors with the same labels"), 1)
		return
	}
	m.seen[h] = struct{}{}
	m.family.Metric = append(m.family.Metric, metric)
}

func (g *merge) hash(metric *dto.Metric) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	for _, pair := range metric.Label {
		for _, text := range [...]string{pair.GetName(), pair.GetValue()} {
			// Hash never fails.
			_, _ = h.WriteString(text)
			_ = h.WriteByte(0xff)
		}
	}
	return h.Sum64()
}

func (g *merge) drop(reason, name string, err error, n int) {
	g.dropped[reason] += uint64(n)
	if g.warned[reason+name] || len(g.warned) >= maxWarned {
		return
	}
	g.warned[reason+name] = true
	g.log.Error("series do not fit", "dropped", n, "of", name, "reason", reason, "err", err)
}

// end returns the families in the order of their names, their series in the order of their labels.
func (g *merge) end() []*dto.MetricFamily {
	slices.Sort(g.names)
	families := make([]*dto.MetricFamily, 0, len(g.names))
	for _, name := range g.names {
		m := g.byName[name]
		if of := g.collides(name); of != "" {
			err := fmt.Errorf("the text format uses this name for a part of %s", of)
			g.drop("inconsistent", name, err, len(m.family.Metric))
			continue
		}
		if m.seen != nil {
			slices.SortFunc(m.family.Metric, func(a, b *dto.Metric) int { return comparePairs(a.Label, b.Label) })
		}
		families = append(families, m.family)
	}
	return families
}

// collides returns the histogram or summary whose parts go by that name.
func (g *merge) collides(name string) string {
	for _, suffix := range [...]string{"_count", "_sum", "_bucket"} {
		of, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		m := g.byName[of]
		if m == nil {
			continue
		}
		switch m.family.GetType() {
		case dto.MetricType_HISTOGRAM, dto.MetricType_SUMMARY:
			return of
		}
	}
	return ""
}
