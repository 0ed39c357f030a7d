package promql

import (
	"strings"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/compression"
)

// A request is a message for a receiver, and what is in it.
type request struct {
	body                           []byte
	samples, exemplars, histograms int
	metadata                       int
	newest                         int64 // timestamp
}

func (r request) size() int { return r.samples + r.exemplars + r.histograms }

// A metadatum is what a metric is.
type metadatum struct {
	kind       model.MetricType
	help, unit string
}

// encode makes requests of a batch, for each lane its own. All samples of a series are in one lane.
func (s *sender) encode(b *batch) [][]request {
	lanes := make([]*lane, s.lanes())
	about := s.metadata()
	for i := range lanes {
		lanes[i] = &lane{sender: s, about: about}
	}
	lost := 0
	into := func(ref chunks.HeadSeriesRef, at int64, count func(*request), add func(*writev2.TimeSeries, *writev2.SymbolsTable)) {
		known := s.series[ref]
		switch {
		case known == nil:
			lost++
		case known.dropped:
			s.metrics.dropped.WithLabelValues(s.labels("dropped_series")...).Inc()
		default:
			lanes[uint64(ref)%uint64(len(lanes))].add(ref, known.labels, at, count, add)
		}
	}
	for _, v := range b.samples {
		into(v.Ref, v.T, countSample, func(t *writev2.TimeSeries, _ *writev2.SymbolsTable) {
			t.Samples = append(t.Samples, writev2.Sample{Value: v.V, Timestamp: v.T, StartTimestamp: v.ST})
		})
	}
	if s.config.SendNativeHistograms {
		for _, v := range b.histograms {
			into(v.Ref, v.T, countHistogram, func(t *writev2.TimeSeries, _ *writev2.SymbolsTable) {
				t.Histograms = append(t.Histograms, writev2.FromIntHistogram(v.ST, v.T, v.H))
			})
		}
		for _, v := range b.floats {
			into(v.Ref, v.T, countHistogram, func(t *writev2.TimeSeries, _ *writev2.SymbolsTable) {
				t.Histograms = append(t.Histograms, writev2.FromFloatHistogram(v.ST, v.T, v.FH))
			})
		}
	}
	for _, v := range b.exemplars {
		into(v.Ref, v.T, countExemplar, func(t *writev2.TimeSeries, symbols *writev2.SymbolsTable) {
			t.Exemplars = append(t.Exemplars, writev2.Exemplar{LabelsRefs: symbols.SymbolizeLabels(v.Labels, nil), Value: v.V, Timestamp: v.T})
		})
	}
	if lost > 0 {
		s.metrics.lost(s, "unknown_series", lost)
	}
	var all [][]request
	for _, l := range lanes {
		l.finish()
		if len(l.requests) > 0 {
			all = append(all, l.requests)
		}
	}
	return all
}

func countSample(r *request)    { r.samples++ }
func countExemplar(r *request)  { r.exemplars++ }
func countHistogram(r *request) { r.histograms++ }

// A lane is a sequence of requests in the making.
type lane struct {
	sender   *sender
	about    map[string]metadatum
	requests []request
	now      request
	symbols  writev2.SymbolsTable
	series   []writev2.TimeSeries
	labels   []labels.Labels
	at       map[chunks.HeadSeriesRef]int // of series
}

func (l *lane) add(ref chunks.HeadSeriesRef, ls labels.Labels, at int64, count func(*request), add func(*writev2.TimeSeries, *writev2.SymbolsTable)) {
	if l.now.size() >= l.sender.config.QueueConfig.MaxSamplesPerSend {
		l.finish()
	}
	if l.at == nil {
		l.at, l.symbols = map[chunks.HeadSeriesRef]int{}, writev2.NewSymbolTable()
	}
	i, ok := l.at[ref]
	if !ok {
		i = len(l.series)
		l.at[ref] = i
		l.series = append(l.series, writev2.TimeSeries{})
		l.labels = append(l.labels, ls)
	}
	add(&l.series[i], &l.symbols)
	count(&l.now)
	l.now.newest = max(l.now.newest, at)
}

// finish closes the request in the making.
func (l *lane) finish() {
	if l.now.size() == 0 {
		return
	}
	plain, err := l.marshal()
	if err != nil { // nothing in it can be the cause
		l.sender.log.Error("remote_write: encode", "err", err)
		l.sender.metrics.refused.addRequest(l.sender, l.now)
	} else {
		l.now.body = packed(plain)
		l.requests = append(l.requests, l.now)
	}
	l.now, l.at, l.series, l.labels = request{}, nil, nil, nil
}

func (l *lane) marshal() ([]byte, error) {
	if l.sender.config.ProtobufMessage == remoteapi.WriteV2MessageType {
		for i := range l.series {
			l.describe(&l.series[i], l.labels[i])
		}
		r := &writev2.Request{Symbols: l.symbols.Symbols(), Timeseries: l.series}
		return r.OptimizedMarshal(nil)
	}
	r := &prompb.WriteRequest{}
	symbols := l.symbols.Symbols()
	for i, t := range l.series {
		r.Timeseries = append(r.Timeseries, older(t, l.labels[i], symbols))
	}
	return r.Marshal()
}

// describe puts labels and metadata into a series of version 2.
func (l *lane) describe(t *writev2.TimeSeries, ls labels.Labels) {
	t.LabelsRefs = l.symbols.SymbolizeLabels(ls, nil)
	m, ok := lookUp(l.about, ls.Get(model.MetricNameLabel))
	if !ok {
		return
	}
	l.now.metadata++
	t.Metadata = writev2.Metadata{
		Type:    writev2.FromMetadataType(m.kind),
		HelpRef: l.symbols.Symbolize(m.help),
		UnitRef: l.symbols.Symbolize(m.unit),
	}
}

// suffixes are those of the series of one metric.
var suffixes = []string{"", "_total", "_bucket", "_sum", "_count", "_created", "_info"}

func lookUp(about map[string]metadatum, name string) (metadatum, bool) {
	for _, suffix := range suffixes {
		family, has := strings.CutSuffix(name, suffix)
		if !has {
			continue
		}
		if m, ok := about[family]; ok {
			return m, true
		}
	}
	return metadatum{}, false
}

// older is a series as version 1 has it.
func older(t writev2.TimeSeries, ls labels.Labels, symbols []string) prompb.TimeSeries {
	out := prompb.TimeSeries{Labels: prompb.FromLabels(ls, nil)}
	for _, v := range t.Samples {
		out.Samples = append(out.Samples, prompb.Sample{Value: v.Value, Timestamp: v.Timestamp})
	}
	for _, h := range t.Histograms {
		if h.IsFloatHistogram() {
			out.Histograms = append(out.Histograms, prompb.FromFloatHistogram(h.Timestamp, h.ToFloatHistogram()))
		} else {
			out.Histograms = append(out.Histograms, prompb.FromIntHistogram(h.Timestamp, h.ToIntHistogram()))
		}
	}
	for _, e := range t.Exemplars {
		one := prompb.Exemplar{Value: e.Value, Timestamp: e.Timestamp}
		for i := 0; i+1 < len(e.LabelsRefs); i += 2 {
			one.Labels = append(one.Labels, prompb.Label{Name: symbols[e.LabelsRefs[i]], Value: symbols[e.LabelsRefs[i+1]]})
		}
		out.Exemplars = append(out.Exemplars, one)
	}
	return out
}

// describeAll is a request of version 1 that says what the metrics are.
func describeAll(about map[string]metadatum, names []string) request {
	r := &prompb.WriteRequest{}
	for _, name := range names {
		m := about[name]
		r.Metadata = append(r.Metadata, prompb.MetricMetadata{
			MetricFamilyName: name,
			Type:             prompb.FromMetadataType(m.kind),
			Help:             m.help,
			Unit:             m.unit,
		})
	}
	plain, _ := r.Marshal() // strings only: nothing can fail
	return request{body: packed(plain), metadata: len(names)}
}

func packed(plain []byte) []byte {
	body, err := compression.Encode(compression.Snappy, plain, nil)
	if err != nil {
		panic(err) // snappy takes everything
	}
	return body
}
