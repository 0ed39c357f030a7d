package exporter

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// totalsOf counts durations in seconds as bpf.RequestTotals says they are counted.
func totalsOf(durations ...float64) *bpf.RequestTotals {
	t := &bpf.RequestTotals{}
	for _, d := range durations {
		t.SumNs += uint64(d * 1e9)
		bound, _ := slices.BinarySearch(requests.Default.Bounds, d) // the first one that is not less
		t.Classic[bound]++
		native := 0
		if d > math.Ldexp(1, bpf.NativeLow) {
			native = int(math.Ceil(8 * (math.Log2(d) - bpf.NativeLow)))
		}
		t.Native[min(native, bpf.NativeBuckets-1)]++
	}
	return t
}

func requestHistogram() *Family {
	return NewRequestHistogram("test_request_duration_seconds", "Durations.", requests.Default.Bounds, "name").PerWorkload()
}

// shown is what a family shows of one label set.
func shown(f *Family, t *bpf.RequestTotals) *dto.Histogram {
	f.Begin()
	f.AddRequests(cart, t, "a")
	send(f)
	return f.order[0].metric.Histogram
}

// scraped is what Prometheus makes of the native form of the only histogram of a scrape.
func scraped(t *testing.T, h http.Handler) *histogram.Histogram {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", protobuf)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	p := textparse.NewProtobufParser(w.Body.Bytes(), false, false, false, false, labels.NewSymbolTable())
	for {
		entry, err := p.Next()
		if err != nil {
			t.Fatalf("no histogram in the scrape: %v", err)
		}
		if entry == textparse.EntryHistogram {
			_, _, found, _ := p.Histogram()
			return found
		}
	}
}

// classic are the buckets of the text form by their bounds, as Prometheus reads them.
func classic(t *testing.T, text, metric string) map[float64]float64 {
	t.Helper()
	buckets := map[float64]float64{}
	p := textparse.NewPromParser([]byte(text), labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return buckets
		}
		if err != nil {
			t.Fatal(err)
		}
		var l labels.Labels
		if entry == textparse.EntrySeries {
			if p.Labels(&l); l.Get("__name__") == metric+"_bucket" {
				bound, err := strconv.ParseFloat(l.Get("le"), 64)
				if err != nil {
					t.Fatal(err)
				}
				_, _, buckets[bound] = p.Series()
			}
		}
	}
}

// exporterOf shows one label set of one histogram.
func exporterOf(totals *bpf.RequestTotals) *Exporter {
	f := requestHistogram()
	return New(Options{Collectors: []Entry{entry("test", collectorFunc(func(_ context.Context, ch chan<- prometheus.Metric) error {
		f.Begin()
		f.AddRequests(cart, totals, "a")
		f.Send(ch)
		return nil
	}), f)}})
}

func TestPrometheusAcceptsHistogramsOfRequests(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var spread []float64
	for range 10_000 {
		spread = append(spread, math.Exp(random.NormFloat64()*2-6)) // 2.5 ms, give or take much
	}
	for name, durations := range map[string][]float64{
		"none":                 nil,
		"one way":              {0, 0, 0},
		"far apart":            {0.000_002, 0.01, 100},
		"on the bounds":        requests.Default.Bounds,
		"beyond all":           {1000, 0.000_000_1},
		"on bounds of eighths": {math.Exp2(-10), math.Exp2(-9.875), math.Exp2(-9.75)},
		"spread":               spread,
	} {
		t.Run(name, func(t *testing.T) {
			e := exporterOf(totalsOf(durations...))
			h := scraped(t, e.Handler())
			if err := h.Validate(); err != nil {
				t.Errorf("the native form: %v", err)
			}
			if h.Schema != 3 || h.ZeroThreshold != math.Ldexp(1, -20) || h.Count != uint64(len(durations)) {
				t.Errorf("schema %d, zero threshold %v, count %d; want 3, 2^-20, %d", h.Schema, h.ZeroThreshold, h.Count, len(durations))
			}
			for it := h.PositiveBucketIterator(); it.Next(); {
				b, want := it.At(), uint64(0)
				for _, d := range durations {
					if d > b.Lower && (d <= b.Upper || d > 128 && b.Upper > 128) {
						want++
					}
				}
				if b.Count != want {
					t.Errorf("(%v, %v] has %d, want %d", b.Lower, b.Upper, b.Count, want)
				}
			}
			_, text := scrapeText(e, "/metrics")
			buckets := classic(t, text, "test_request_duration_seconds")
			if len(buckets) != bpf.RequestBounds+1 {
				t.Errorf("%d classic buckets, want %d", len(buckets), bpf.RequestBounds+1)
			}
			for bound, got := range buckets {
				want := 0.0
				for _, d := range durations {
					if d <= bound {
						want++
					}
				}
				if got != want {
					t.Errorf("%v requests took at most %v s in the classic form, want %v", got, bound, want)
				}
			}
		})
	}
}

func TestQuantilesAreWithinTheErrorOfABucket(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var durations []float64
	for range 20_000 {
		durations = append(durations, math.Exp(random.NormFloat64()-4))
	}
	h := scraped(t, exporterOf(totalsOf(durations...)).Handler())
	slices.Sort(durations)
	for _, q := range []float64{0.1, 0.5, 0.9, 0.99, 0.999} {
		got, _ := promql.HistogramQuantile(q, h.ToFloat(nil), "", posrange.PositionRange{})
		want := durations[int(q*float64(len(durations)))-1]
		if off := math.Abs(math.Log2(got / want)); off > 1.0/8 { // a bucket of schema 3 is an eighth of a power of two wide
			t.Errorf("the %v quantile is %v, want %v give or take %.1f %%", q, got, want, 100*(math.Exp2(1.0/8)-1))
		}
	}
}

func TestSpansSkipLongGaps(t *testing.T) {
	type spans struct {
		Spans  [][2]int // offset and length
		Deltas []int64
	}
	f := requestHistogram()
	for _, test := range []struct {
		name   string
		counts map[int]uint64 // by place in Native, of which 1 has the index -159
		want   spans
	}{
		{"only zeros", map[int]uint64{0: 9}, spans{}},
		{"one bucket", map[int]uint64{1: 5}, spans{[][2]int{{-159, 1}}, []int64{5}}},
		{"neighbours", map[int]uint64{160: 5, 161: 2}, spans{[][2]int{{0, 2}}, []int64{5, -3}}},
		{"a gap of two is filled", map[int]uint64{160: 5, 163: 2}, spans{[][2]int{{0, 4}}, []int64{5, -5, 0, 2}}},
		{"a gap of three is skipped", map[int]uint64{160: 5, 164: 2}, spans{[][2]int{{0, 1}, {3, 1}}, []int64{5, -3}}},
		{"many spans", map[int]uint64{1: 1, 10: 1, 20: 1, 217: 1}, spans{[][2]int{{-159, 1}, {8, 1}, {9, 1}, {196, 1}}, []int64{1, 0, 0, 0}}},
		{"fewer again", map[int]uint64{20: 7}, spans{[][2]int{{-140, 1}}, []int64{7}}},
	} {
		totals := &bpf.RequestTotals{}
		for i, n := range test.counts {
			totals.Native[i] = n
		}
		h := shown(f, totals)
		got := spans{}
		for _, s := range h.PositiveSpan {
			got.Spans = append(got.Spans, [2]int{int(s.GetOffset()), int(s.GetLength())})
		}
		got.Deltas = append(got.Deltas, h.PositiveDelta...)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestCountsThatWereReadInBetweenStillAddUp(t *testing.T) {
	f := requestHistogram()
	totals := totalsOf(0.002, 0.002, 0.2)
	var before []uint64
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"as it was", func() {}},
		{"one is only in the classic", func() { totals.Classic[0]++ }},
		{"two are only in the native", func() { totals.Native[160] += 3 }},
		{"both have caught up", func() { totals.Classic[9]++; totals.Classic[3]++ }},
		{"many more are in the native", func() { totals.Native[0] += 50 }},
	} {
		step.change()
		h := shown(f, totals)
		var now []uint64
		for _, b := range h.Bucket {
			now = append(now, b.GetCumulativeCount())
		}
		native := h.GetZeroCount()
		for _, n := range nativeCounts(h) {
			native += n
		}
		if native != h.GetSampleCount() || now[len(now)-1] != native || !slices.IsSorted(now) {
			t.Errorf("%s: %d native, count %d, classic %v", step.name, native, h.GetSampleCount(), now)
		}
		for i, n := range before {
			if now[i] < n {
				t.Errorf("%s: classic bucket %d went from %d down to %d", step.name, i, n, now[i])
			}
		}
		before = now
	}
}

func TestHistogramsOfRequestsFold(t *testing.T) {
	f := underLimits(requestHistogram().Keeping("name"), Limits{Node: 10_000, Family: 10 * histogramWeight, Workload: 10_000})
	for pass := 1; pass <= 3; pass++ {
		f.Begin()
		for i := range 50 {
			d := math.Ldexp(1, i%20-15)
			f.AddRequests(cart, totalsOf(slices.Repeat([]float64{d}, pass)...), name("n%02d", i))
		}
		got := send(f)
		if sum(got) != float64(50*pass) || len(got) > 10 {
			t.Errorf("pass %d: %d series with %v requests, want at most 10 with %d", pass, len(got), sum(got), 50*pass)
		}
		classic, native := uint64(0), uint64(0)
		for _, s := range f.order {
			h := s.metric.Histogram
			classic += h.Bucket[7].GetCumulativeCount() // up to 0.25 s
			for index, n := range nativeCounts(h) {
				if index <= -16 { // up to 2^-2 s
					native += n
				}
			}
		}
		if classic != native || native == 0 {
			t.Errorf("pass %d: %d requests up to 0.25 s in the classic form, %d in the native one", pass, classic, native)
		}
	}
	if f.used > 10*histogramWeight {
		t.Errorf("%d places used, the cap is %d", f.used, 10*histogramWeight)
	}
}

// A workload that is beyond its cap must not look as if all its requests had failed, or none.
func TestFoldedRequestsKeepWhetherTheyFailed(t *testing.T) {
	f := NewRequestHistogram("test_request_duration_seconds", "Durations.", requests.Default.Bounds, "name", "error_type").
		PerWorkload().Keeping("error_type")
	underLimits(f, Limits{Node: 10_000, Family: 10_000, Workload: 200})
	f.Begin()
	for i := range 40 {
		failure := ""
		if i%4 == 0 {
			failure = "500"
		}
		f.AddRequests(cart, totalsOf(1), name("n%02d", i), failure)
	}
	byError := map[string]float64{}
	folded := 0
	send(f)
	for _, s := range f.order {
		l := map[string]string{}
		for _, pair := range s.metric.Label {
			l[pair.GetName()] = pair.GetValue()
		}
		if l["container"] != cart.Container {
			t.Errorf("series %v lost its workload", l)
		}
		if l["name"] == other {
			folded++
		}
		byError[l["error_type"]] += float64(s.metric.Histogram.GetSampleCount())
	}
	if diff := cmp.Diff(map[string]float64{"": 30, "500": 10}, byError); diff != "" || folded != 2 {
		t.Errorf("%d folded series, want 2 (-want +got):\n%s", folded, diff)
	}
}

func TestKnownRequestsCostNoAllocation(t *testing.T) {
	f := requestHistogram()
	ch := make(chan prometheus.Metric, 1)
	totals := totalsOf(0.001, 0.002, 0.5, 20)
	pass := func() {
		totals.Native[100]++
		f.Begin()
		f.AddRequests(cart, totals, "a")
		f.AddRequests(cart, totals, "a")
		f.Send(ch)
		<-ch
	}
	pass()
	pass()
	if allocs := testing.AllocsPerRun(100, pass); allocs != 0 {
		t.Errorf("%v allocations for a pass over a known series, want 0", allocs)
	}
}

func TestExemplarOfARequestIsInItsBucket(t *testing.T) {
	f := requestHistogram()
	f.Begin()
	f.AddRequests(cart, totalsOf(0.7), "a")
	f.Exemplify(cart, Exemplar{Labels: map[string]string{"request_id": "1-1"}, Value: 0.7, Time: time.Unix(1, 0)}, "a")
	send(f)
	h := f.order[0].metric.Histogram
	for _, b := range h.Bucket {
		if has := b.Exemplar != nil; has != (b.GetUpperBound() == 1) {
			t.Errorf("bucket %v has an exemplar: %v", b.GetUpperBound(), has)
		}
	}
	if len(h.Exemplars) != 1 {
		t.Errorf("%d exemplars of the native form, want 1", len(h.Exemplars))
	}
}

func TestKindsOfHistogramsAreNotMixed(t *testing.T) {
	for name, mix := range map[string]func(){
		"durations in requests": func() { f := requestHistogram(); f.Begin(); f.AddHistogram(cart, &Buckets{}, "a") },
		"requests in durations": func() {
			f := NewHistogram("test_seconds", "S.")
			f.Begin()
			f.AddRequests(event.Workload{}, &bpf.RequestTotals{})
		},
		"nine bounds":          func() { NewRequestHistogram("test_seconds", "S.", make([]float64, 9)) },
		"keeps an alien label": func() { requestHistogram().Keeping("other") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			mix()
		})
	}
}
