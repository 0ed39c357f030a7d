package promql

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	stalemarker "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"google.golang.org/protobuf/proto"
)

// A federation shows the newest samples of what a selector matches, as a page to scrape.
type federation struct {
	store  *Store
	errors prometheus.Counter
}

func (s *Store) newFederation() *federation {
	f := &federation{store: s, errors: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "prometheus_web_federation_errors_total",
		Help: "Total number of errors that occurred while sending federation responses.",
	})}
	s.registry.MustRegister(f.errors)
	return f
}

// ServeHTTP answers ?match[]=SELECTOR. Native histograms only fit into protobuf, which Prometheus asks for.
func (f *federation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	selectors, err := expressions.ParseMetricSelectors(r.Form["match[]"])
	if err == nil && len(selectors) == 0 {
		err = fmt.Errorf("match[]: none given: want a selector such as {job=%q}", job)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	format := expfmt.Negotiate(r.Header)
	all, err := f.newest(r.Context(), selectors)
	if err != nil {
		f.errors.Inc()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	if err := f.write(expfmt.NewEncoder(w, format), all, native(format)); err != nil {
		f.errors.Inc()
		f.store.internals.Error("federation broken off", "err", err)
	}
}

// native says whether a format can hold native histograms.
func native(format expfmt.Format) bool {
	switch format.FormatType() {
	case expfmt.TypeProtoDelim, expfmt.TypeProtoText, expfmt.TypeProtoCompact:
		return true
	}
	return false
}

// A federated is the newest sample of one series.
type federated struct {
	name   string
	labels labels.Labels
	at     int64
	v      float64
	h      *histogram.FloatHistogram // nil: v counts
}

// newest are the samples that an instant query would see now, by name.
func (f *federation) newest(ctx context.Context, selectors [][]*labels.Matcher) ([]federated, error) {
	now := time.Now()
	hints := &storage.SelectHints{Start: now.Add(-lookback).UnixMilli(), End: now.UnixMilli()}
	q, err := f.store.local.Querier(hints.Start, hints.End)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	var sets []storage.SeriesSet
	for _, matchers := range selectors {
		sets = append(sets, q.Select(ctx, true, hints, matchers...))
	}
	set := storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
	last := storage.NewMemoizedEmptyIterator(lookback.Milliseconds())
	var (
		all  []federated
		iter chunkenc.Iterator
	)
	for set.Next() {
		series := set.At()
		iter = series.Iterator(iter)
		last.Reset(iter)
		one := federated{labels: series.Labels(), name: series.Labels().Get(model.MetricNameLabel)}
		if one.name != "" && one.read(last, hints.End) {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b federated) int { return strings.Compare(a.name, b.name) })
	return all, set.Err()
}

// read takes the sample at end or the newest before it. A series that has ended has none.
func (f *federated) read(it *storage.MemoizedSeriesIterator, end int64) bool {
	switch it.Seek(end) {
	case chunkenc.ValFloat:
		f.at, f.v = it.At()
	case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
		f.at, f.h = it.AtFloatHistogram()
	default:
		var ok bool
		if _, f.at, f.v, f.h, ok = it.PeekPrev(); !ok {
			return false
		}
	}
	if f.h != nil {
		f.h = f.h.Copy() // the iterator's own is overwritten
		return !stalemarker.IsStaleNaN(f.h.Sum)
	}
	return !stalemarker.IsStaleNaN(f.v)
}

// write sends the samples, those of one name and kind together.
func (f *federation) write(to expfmt.Encoder, all []federated, native bool) error {
	external := f.store.plan.Load().merged.GlobalConfig.ExternalLabels
	var family *dto.MetricFamily
	for _, one := range all {
		if one.h != nil && !native && !one.h.UsesCustomBuckets() {
			continue
		}
		kind := one.kind()
		if family != nil && (family.GetName() != one.name || family.GetType() != kind) {
			if err := to.Encode(family); err != nil {
				return err
			}
			family = nil
		}
		if family == nil {
			family = &dto.MetricFamily{Name: proto.String(one.name), Type: kind.Enum()}
		}
		family.Metric = append(family.Metric, one.metric(external))
	}
	if family == nil {
		return nil
	}
	return to.Encode(family)
}

func (f federated) kind() dto.MetricType {
	switch {
	case f.h == nil:
		return dto.MetricType_UNTYPED
	case f.h.CounterResetHint == histogram.GaugeType:
		return dto.MetricType_GAUGE_HISTOGRAM
	}
	return dto.MetricType_HISTOGRAM
}

// metric is f as the client library shows one. The labels of the store are added where the series has not got them; an
// empty instance keeps whoever scrapes this from putting ours there.
func (f federated) metric(external labels.Labels) *dto.Metric {
	b := labels.NewBuilder(f.labels).Del(model.MetricNameLabel)
	addExternal(b, f.labels, external)
	m := &dto.Metric{TimestampMs: proto.Int64(f.at)}
	all := b.Labels()
	all.Range(func(l labels.Label) {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
	})
	if !all.Has(model.InstanceLabel) {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(model.InstanceLabel), Value: proto.String("")})
	}
	switch {
	case f.h == nil:
		m.Untyped = &dto.Untyped{Value: proto.Float64(f.v)}
	case f.h.UsesCustomBuckets():
		m.Histogram = classic(f.h)
	default:
		m.Histogram = exponential(f.h)
	}
	return m
}

// addExternal adds the labels of the store to a series that leaves it, where the series has not got them.
func addExternal(to *labels.Builder, series, external labels.Labels) {
	external.Range(func(l labels.Label) {
		if !series.Has(l.Name) {
			to.Set(l.Name, l.Value)
		}
	})
}

// exponential is a native histogram as protobuf has it.
func exponential(h *histogram.FloatHistogram) *dto.Histogram {
	return &dto.Histogram{
		SampleCountFloat: proto.Float64(h.Count),
		SampleSum:        proto.Float64(h.Sum),
		Schema:           proto.Int32(h.Schema),
		ZeroThreshold:    proto.Float64(h.ZeroThreshold),
		ZeroCountFloat:   proto.Float64(h.ZeroCount),
		PositiveSpan:     spans(h.PositiveSpans),
		PositiveCount:    h.PositiveBuckets,
		NegativeSpan:     spans(h.NegativeSpans),
		NegativeCount:    h.NegativeBuckets,
	}
}

func spans(all []histogram.Span) []*dto.BucketSpan {
	var out []*dto.BucketSpan
	for _, s := range all {
		out = append(out, &dto.BucketSpan{Offset: proto.Int32(s.Offset), Length: proto.Uint32(s.Length)})
	}
	return out
}

// classic is a histogram with bounds of its own, which is how a store may keep what was exposed with buckets.
func classic(h *histogram.FloatHistogram) *dto.Histogram {
	counts := make([]float64, len(h.CustomValues)+1)
	for it := h.PositiveBucketIterator(); it.Next(); {
		if i := int(it.At().Index); i < len(counts) {
			counts[i] = it.At().Count
		}
	}
	out := &dto.Histogram{SampleCountFloat: proto.Float64(h.Count), SampleSum: proto.Float64(h.Sum)}
	sum := 0.0
	for i, bound := range h.CustomValues {
		sum += counts[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCountFloat: proto.Float64(sum)})
	}
	return out
}
