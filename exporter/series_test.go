package exporter

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/yagura-io/yagura/rules/event"
)

var cart = event.Workload{Namespace: "shop", Pod: "cart-1", Container: "cart"}

func TestKnownSeriesCostNoAllocation(t *testing.T) {
	counter := NewCounter("test_calls_total", "Calls.", "name").PerWorkload()
	histogram := NewHistogram("test_duration_seconds", "Durations.").PerWorkload()
	ch := make(chan prometheus.Metric, 10)
	buckets := &Buckets{Sum: 3}
	n := 0.0
	pass := func() {
		n++
		buckets.Counts[30]++
		counter.Begin()
		counter.Set(cart, n, "read")
		counter.Add(cart, n, "read")
		counter.Add(cart, n, "write")
		counter.Send(ch)
		histogram.Begin()
		histogram.AddHistogram(cart, buckets)
		histogram.AddHistogram(cart, buckets)
		histogram.Send(ch)
		for range 3 {
			<-ch
		}
	}
	pass()
	pass()
	if allocs := testing.AllocsPerRun(100, pass); allocs != 0 {
		t.Errorf("%v allocations for a pass over known series, want 0", allocs)
	}
}

func TestFoldedSeriesCostNoAllocation(t *testing.T) {
	f := NewCounter("test_calls_total", "Calls.", "name").PerWorkload()
	f.bind(newBudget(Limits{Node: 100, Family: 20, Workload: 100}), time.Now())
	names := make([]string, 200)
	for i := range names {
		names[i] = name("n%d", i)
	}
	ch := make(chan prometheus.Metric, 100)
	n := 0.0
	pass := func() {
		n++
		f.Begin()
		for _, name := range names {
			f.Set(cart, n, name)
		}
		f.Send(ch)
		for len(ch) > 0 {
			<-ch
		}
	}
	pass()
	pass()
	if f.crowd.pass == 0 {
		t.Fatal("the names do not make a crowd")
	}
	if allocs := testing.AllocsPerRun(100, pass); allocs != 0 {
		t.Errorf("%v allocations for a pass over folded label sets, want 0", allocs)
	}
}

func TestPassSendsWhatItTouchedInOrder(t *testing.T) {
	f := NewGauge("test_size_bytes", "Size.", "zone", "area")
	var order [][]string
	for _, sets := range [][][2]string{
		{{"b", "2"}, {"a", "2"}, {"b", "1"}},
		{{"b", "1"}, {"a", "1"}, {"c", "0"}},
		{},
	} {
		f.Begin()
		for _, s := range sets {
			f.Set(event.Workload{}, 1, s[0], s[1])
		}
		ch := make(chan prometheus.Metric, 10)
		f.Send(ch)
		close(ch)
		var names []string
		for m := range ch {
			names = append(names, labelText(&m.(*series).metric))
		}
		order = append(order, names)
	}
	want := [][]string{{"1,b", "2,a", "2,b"}, {"0,c", "1,a", "1,b"}, nil}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestSetReplacesAndAddAdds(t *testing.T) {
	f := NewCounter("test_calls_total", "Calls.").PerWorkload()
	for range 2 {
		f.Begin()
		f.Add(cart, 5)
		f.Add(cart, 2)
		f.Set(event.Workload{}, 9)
		f.Set(event.Workload{}, 4)
		if diff := cmp.Diff(map[string]float64{"cart,shop,cart-1,": 7, ",,,": 4}, send(f)); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
	}
}

func TestUntouchedSeriesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewCounter("test_calls_total", "Calls.", "name")
		f.Begin()
		f.Set(event.Workload{}, 1, "gone")
		send(f)
		for range 4 {
			time.Sleep(time.Minute)
			f.Begin()
			f.Set(event.Workload{}, 1, "here")
			if got := send(f); len(got) != 1 {
				t.Errorf("sent %v, want only what was touched", got)
			}
		}
		if len(f.series) != 1 || len(f.order) != 1 || f.used != 1 {
			t.Errorf("%d series kept, %d places used, want 1", len(f.series), f.used)
		}
	})
}

func TestCountersCarryWhenTheyBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now()
		time.Sleep(time.Hour)
		f := NewCounter("test_calls_total", "Calls.", "name").Since(boot)
		created := func(label string) time.Duration {
			for _, s := range f.order {
				if labelText(&s.metric) == label {
					return s.metric.Counter.CreatedTimestamp.AsTime().Sub(boot)
				}
			}
			return -1
		}
		pass := func(values map[string]float64) {
			f.Begin()
			for label, v := range values {
				f.Set(event.Workload{}, v, label)
			}
			send(f)
			time.Sleep(time.Minute)
		}
		pass(map[string]float64{"old": 7})
		pass(map[string]float64{"old": 8, "new": 3})
		pass(map[string]float64{"old": 2, "new": 3})
		if got := created("new"); got != time.Hour {
			t.Errorf("new began %v after boot, want %v: at the pass before it was seen", got, time.Hour)
		}
		if want := time.Hour + time.Minute; created("old") != want {
			t.Errorf("old began anew %v after boot, want %v: at the last pass that saw it higher", created("old"), want)
		}
		other := NewCounter("test_other_total", "Calls.").Since(boot)
		other.Begin()
		other.Set(event.Workload{}, 1)
		send(other)
		if got := other.order[0].metric.Counter.CreatedTimestamp.AsTime(); !got.Equal(boot) {
			t.Errorf("a counter of the first pass began at %v, want %v", got, boot)
		}
	})
}

func TestLabelValuesAreMadeValid(t *testing.T) {
	f := NewCounter("test_calls_total", "Calls.", "name")
	long := strings.Repeat("é", 200)
	for range 2 {
		f.Begin()
		f.Set(event.Workload{}, 1, "a\xff")
		f.Set(event.Workload{}, 2, "a\xfe") // the same, once it is made valid
		f.Set(event.Workload{}, 4, long)
		f.Set(event.Workload{}, 8, "a\x00b")
		want := map[string]float64{"a\uFFFD": 3, strings.Repeat("é", 128): 4, "a\x00b": 8}
		if diff := cmp.Diff(want, send(f)); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
	}
	if invalid, tooLong := f.changed.invalid.Load(), f.changed.tooLong.Load(); invalid != 1 || tooLong != 1 {
		t.Errorf("counted %d invalid and %d long values, want 1 and 1", invalid, tooLong)
	}
}

func TestSeriesKeepsNothingOfTheCaller(t *testing.T) {
	f := NewCounter("test_calls_total", "Calls.", "name").PerWorkload()
	f.Begin()
	raw := []byte("cart")
	f.Set(event.Workload{Container: string(raw)}, 1, string(raw))
	copy(raw, "xxxx")
	if diff := cmp.Diff(map[string]float64{"cart,cart,,,": 1}, send(f)); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestHistogramIsNativeAndClassic(t *testing.T) {
	f := NewHistogram("test_duration_seconds", "Durations.")
	b := &Buckets{Sum: 1234.5}
	b.Counts[0] = 2  // at most 2^-30 s
	b.Counts[10] = 3 // (2^-21, 2^-20]: in the first classic bound
	b.Counts[11] = 5 // above it
	b.Counts[30] = 7 // (0.5, 1]
	b.Counts[39] = 1 // above every classic bound
	f.Begin()
	f.AddHistogram(event.Workload{}, b)
	send(f)
	h := f.order[0].metric.Histogram
	if h.GetSampleCount() != 18 || h.GetSampleSum() != 1234.5 {
		t.Errorf("count %d sum %v, want 18 and 1234.5", h.GetSampleCount(), h.GetSampleSum())
	}
	classic := map[float64]uint64{}
	for _, bucket := range h.Bucket {
		classic[bucket.GetUpperBound()] = bucket.GetCumulativeCount()
	}
	for bound, want := range map[float64]uint64{1.0 / (1 << 20): 5, 1.0 / (1 << 16): 10, 0.25: 10, 1: 17, 16: 17, math.Inf(1): 18} {
		if classic[bound] != want {
			t.Errorf("classic bucket %v is %d, want %d", bound, classic[bound], want)
		}
	}
	if n := len(h.Bucket) - 1; n < 8 || n > 12 {
		t.Errorf("%d classic bounds, want 8 to 12", n)
	}
	want := map[int]uint64{-20: 3, -19: 5, 0: 7, 9: 1}
	if diff := cmp.Diff(want, nativeCounts(h)); diff != "" {
		t.Errorf("native buckets (-want +got):\n%s", diff)
	}
	if h.GetSchema() != 0 || h.GetZeroCount() != 2 || h.GetZeroThreshold() != math.Ldexp(1, -30) {
		t.Errorf("schema %d, %d in the zero bucket of %v", h.GetSchema(), h.GetZeroCount(), h.GetZeroThreshold())
	}
}

// nativeCounts returns the positive buckets that are not empty, by exponent of their upper bound.
func nativeCounts(h *dto.Histogram) map[int]uint64 {
	counts := map[int]uint64{}
	index, delta, count := 0, 0, int64(0)
	for _, span := range h.PositiveSpan {
		index += int(span.GetOffset())
		for range span.GetLength() {
			count += h.PositiveDelta[delta]
			if count > 0 {
				counts[index] = uint64(count)
			}
			index++
			delta++
		}
	}
	return counts
}

func TestEmptyHistogramIsStillNative(t *testing.T) {
	f := NewHistogram("test_duration_seconds", "Durations.")
	b := &Buckets{}
	for _, n := range []uint64{0, 4, 0} {
		b.Counts[20] = n
		f.Begin()
		f.AddHistogram(event.Workload{}, b)
		send(f)
		h := f.order[0].metric.Histogram
		if h.GetSampleCount() != n || h.GetZeroThreshold() == 0 {
			t.Errorf("count %d, zero threshold %v; want %d and a threshold", h.GetSampleCount(), h.GetZeroThreshold(), n)
		}
		if n == 0 && len(h.PositiveSpan) > 0 {
			t.Errorf("spans %v in an empty histogram", h.PositiveSpan)
		}
	}
}

func TestExemplars(t *testing.T) {
	counter := NewCounter("test_hits_total", "Hits.")
	histogram := NewHistogram("test_duration_seconds", "Durations.")
	now := time.Unix(1_700_000_000, 0)
	id := Exemplar{Labels: map[string]string{"event_id": "42"}, Value: 0.2, Time: now}
	counter.Begin()
	counter.Set(event.Workload{}, 1)
	counter.Exemplify(event.Workload{}, id)
	counter.Exemplify(event.Workload{}, Exemplar{Labels: map[string]string{"event_id": strings.Repeat("é", 121)}})
	send(counter)
	histogram.Begin()
	histogram.AddHistogram(event.Workload{}, &Buckets{})
	for range 20 {
		histogram.Exemplify(event.Workload{}, id)
	}
	id.Value = 100
	histogram.Exemplify(event.Workload{}, id)
	send(histogram)
	if e := counter.order[0].metric.Counter.Exemplar; e.GetValue() != 0.2 || e.Label[0].GetValue() != "42" || !e.Timestamp.AsTime().Equal(now) {
		t.Errorf("exemplar of the counter: %v", e)
	}
	if counter.changed.exemplars.Load() != 1 {
		t.Error("an exemplar of 129 runes was not refused")
	}
	h := histogram.order[0].metric.Histogram
	if len(h.Exemplars) != maxNativeExemplars || h.Exemplars[maxNativeExemplars-1].GetValue() != 100 {
		t.Errorf("native exemplars: %v", h.Exemplars)
	}
	for _, bucket := range h.Bucket {
		if has, want := bucket.Exemplar != nil, bucket.GetUpperBound() == 0.25 || math.IsInf(bucket.GetUpperBound(), 1); has != want {
			t.Errorf("bucket %v has an exemplar: %v, want %v", bucket.GetUpperBound(), has, want)
		}
	}
}

func TestDeclarationsFollowTheRules(t *testing.T) {
	for name, declare := range map[string]func(){
		"counter without _total": func() { NewCounter("test_calls", "Calls.") },
		"gauge with _total":      func() { NewGauge("test_calls_total", "Calls.") },
		"bad name":               func() { NewGauge("test calls", "Calls.") },
		"no help":                func() { NewGauge("test_calls", "") },
		"reserved label":         func() { NewGauge("test_calls", "Calls.", "le") },
		"label twice":            func() { NewGauge("test_calls", "Calls.", "a", "a") },
		"too few values":         func() { f := NewGauge("test_calls", "Calls.", "a"); f.Begin(); f.Set(event.Workload{}, 1) },
		"number in a histogram":  func() { f := NewHistogram("test_seconds", "S."); f.Begin(); f.Set(event.Workload{}, 1) },
		"histogram in a gauge":   func() { f := NewGauge("test_seconds", "S."); f.Begin(); f.AddHistogram(event.Workload{}, &Buckets{}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			declare()
		})
	}
}

func TestUnitComesFromTheName(t *testing.T) {
	for name, want := range map[string]string{
		"test_wait_seconds_total":        "seconds",
		"test_start_timestamp_seconds":   "seconds",
		"test_received_bytes_total":      "bytes",
		"test_calls_total":               "",
		"seconds_total":                  "",
		"yagura_tcp_retransmits_total":   "",
		"yagura_container_bytes_allowed": "",
	} {
		f := &Family{name: name}
		if got := f.Unit(); got != want {
			t.Errorf("unit of %s is %q, want %q", name, got, want)
		}
	}
}
