package exporter

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
)

func underLimits(f *Family, l Limits) *Family {
	f.bind(newBudget(l), time.Now())
	return f
}

func TestWorkloadBeyondItsCapKeepsItsLabels(t *testing.T) {
	f := underLimits(NewCounter("test_calls_total", "Calls.", "name").PerWorkload(), Limits{Node: 1000, Family: 500, Workload: 10})
	f.Begin()
	for i := range 20 {
		f.Set(cart, 1, name("n%02d", i))
	}
	got := send(f)
	if len(got) != 10 || got["cart,other,shop,cart-1,"] != 11 {
		t.Errorf("%d series, other is %v; want 9 by name and the other 11 together: %v", len(got), got["cart,other,shop,cart-1,"], got)
	}
	if f.foldedSets.Load() != 11 {
		t.Errorf("%d label sets counted as folded, want 11", f.foldedSets.Load())
	}
}

func TestWhatIsRareHasAPlaceBeyondTheCapOfItsWorkload(t *testing.T) {
	budget := newBudget(Limits{Node: 1000, Family: 20, Workload: 10})
	calls, hits := NewCounter("test_calls_total", "Calls.", "name").PerWorkload(), NewCounter("test_hits_total", "Hits.", "name").PerWorkload().Rare()
	for _, f := range []*Family{calls, hits} {
		f.bind(budget, time.Now())
		f.Begin()
		for i := range 15 {
			f.Set(cart, 1, name("n%02d", i))
		}
	}
	if got := send(calls); len(got) != 10 {
		t.Errorf("%d series of calls, want 10", len(got))
	}
	if got := send(hits); len(got) != 15 || got["cart,n14,shop,cart-1,"] != 1 {
		t.Errorf("%d series of hits, want all 15 by name: %v", len(got), got)
	}
	for i := range 40 {
		hits.Set(cart, 1, name("m%02d", i))
	}
	if got := send(hits); len(got) > 20 {
		t.Errorf("%d series of hits, want at most the 20 of the family", len(got))
	}
}

func TestFamilyBeyondItsCapLosesWorkloadsAndKeepsEnumeratedLabels(t *testing.T) {
	f := underLimits(NewCounter("test_bytes_total", "Bytes.", "direction").PerWorkload(), Limits{Node: 1000, Family: 60, Workload: 10})
	f.Begin()
	for i := range 50 {
		w := event.Workload{Pod: name("p%02d", i)}
		f.Set(w, 1, "receive")
		f.Set(w, 2, "transmit")
	}
	got := send(f)
	if len(got) != 59 || got["other,receive,,,"] != 50-29 || got["other,transmit,,,"] != 2*(50-28) {
		t.Errorf("%d series, other %v and %v, want 28 and a half pods and the others by direction: %v",
			len(got), got["other,receive,,,"], got["other,transmit,,,"], got)
	}
}

func TestWithoutRoomEverythingElseIsOneSeries(t *testing.T) {
	f := underLimits(NewCounter("test_errors_total", "Errors.", "errno").PerWorkload(), Limits{Node: 1000, Family: 20, Workload: 1000})
	f.Begin()
	for i := range 100 {
		f.Set(cart, 1, name("E%02d", i))
	}
	got := send(f)
	if len(got) > 20 || sum(got) != 100 || got["other,other,,,"] != 100-19 {
		t.Errorf("%d series with a sum of %v, all other %v; want 20, 100, 81", len(got), sum(got), got["other,other,,,"])
	}
}

func TestNodeCapIsSharedByFamilies(t *testing.T) {
	b := newBudget(Limits{Node: 100, Family: 80, Workload: 1000})
	var families []*Family
	for i := range 4 {
		f := NewCounter(name("test_%d_total", i), "Calls.", "name").PerWorkload()
		f.bind(b, time.Now())
		families = append(families, f)
	}
	series := 0
	for _, f := range families {
		f.Begin()
		for i := range 60 {
			f.Set(event.Workload{Pod: name("p%d", i)}, 1, "x")
		}
		got := send(f)
		series += len(got)
		if sum(got) != 60 {
			t.Errorf("%s: sum %v, want 60", f.name, sum(got))
		}
	}
	if series > 100 || b.used != series {
		t.Errorf("%d series of a cap of 100, %d counted", series, b.used)
	}
}

func TestNodeWideSeriesKeepTheirPlaces(t *testing.T) {
	b := newBudget(Limits{Node: 400, Family: 400, Workload: 1000})
	attacked := NewCounter("test_attacked_total", "Calls.", "name").PerWorkload()
	rules := NewCounter("test_rule_hits_total", "Hits.", "rule").Fixed()
	wide := NewCounter("test_kind_total", "Events.", "kind")
	single := NewGauge("test_up", "Up.")
	for _, f := range []*Family{attacked, rules, wide, single} {
		f.bind(b, time.Now())
	}
	attacked.Begin()
	for i := range 1000 {
		attacked.Set(event.Workload{Pod: name("p%d", i)}, 1, "x")
	}
	send(attacked)
	rules.Begin()
	for i := range 200 {
		rules.Set(event.Workload{}, 0, name("r%d", i))
	}
	wide.Begin()
	for _, kind := range []string{"a", "b", "c"} {
		wide.Set(event.Workload{}, 0, kind)
	}
	single.Begin()
	single.Set(event.Workload{}, 1)
	if n, m, o := len(send(rules)), len(send(wide)), len(send(single)); n != 200 || m != 3 || o != 1 {
		t.Errorf("%d, %d, %d node-wide series left, want 200, 3 and 1", n, m, o)
	}
}

func TestHistogramsFold(t *testing.T) {
	f := underLimits(NewHistogram("test_seconds", "S.", "name").PerWorkload(), Limits{Node: 10_000, Family: 10 * histogramWeight, Workload: 10_000})
	b := &Buckets{}
	for pass := range uint64(3) {
		f.Begin()
		for i := range 50 {
			b.Counts[i%40], b.Sum = pass+1, float64(pass+1)
			f.AddHistogram(cart, b, name("n%02d", i))
			b.Counts[i%40] = 0
		}
		got := send(f)
		if sum(got) != float64(50*(pass+1)) || len(got) > 10 {
			t.Errorf("pass %d: %d series with %v observations, want at most 10 with %d", pass, len(got), sum(got), 50*(pass+1))
		}
		for _, s := range f.order {
			native, h := s.metric.Histogram.GetZeroCount(), s.metric.Histogram
			for _, n := range nativeCounts(h) {
				native += n
			}
			if native != h.GetSampleCount() || h.GetSampleSum() != float64(h.GetSampleCount()) {
				t.Errorf("native %d, count %d, sum %v differ", native, h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
	if f.used > 10*histogramWeight {
		t.Errorf("%d places used, the cap is %d", f.used, 10*histogramWeight)
	}
}

func TestGaugesFoldAsTheyAreNow(t *testing.T) {
	f := underLimits(NewGauge("test_connections", "Open.", "name"), Limits{Node: 1000, Family: 10, Workload: 10})
	for _, n := range []int{50, 20, 9, 30} {
		f.Begin()
		for i := range n {
			f.Set(event.Workload{}, 2, name("n%02d", i))
		}
		if got := send(f); sum(got) != float64(2*n) || len(got) > 10 {
			t.Errorf("%d series with a sum of %v for %d label sets of 2", len(got), sum(got), n)
		}
	}
}

func TestWhatCannotBeAddedIsLeftOut(t *testing.T) {
	for _, f := range []*Family{
		NewGauge("test_thing_info", "Things.", "name"),
		NewGauge("test_mode", "Mode.", "name").NotAdditive(),
	} {
		underLimits(f, Limits{Node: 1000, Family: 10, Workload: 10})
		for range 2 {
			f.Begin()
			for i := range 100 {
				f.Set(event.Workload{}, 1, name("n%02d", i))
			}
			if got := send(f); len(got) != 9 || sum(got) != 9 {
				t.Errorf("%s: %d series with a sum of %v, want 9 and 9", f.name, len(got), sum(got))
			}
		}
		if got := f.foldedSets.Load(); got != 91 {
			t.Errorf("%s: %d counted, want 91", f.name, got)
		}
	}
}

func TestCollectorsOwnOtherAndFoldedShareASeries(t *testing.T) {
	f := underLimits(NewCounter("test_calls_total", "Calls.", "syscall").PerWorkload(), Limits{Node: 1000, Family: 500, Workload: 5})
	for pass := range 3 {
		f.Begin()
		f.Set(cart, float64(100*(pass+1)), "other")
		for i := range 10 {
			f.Set(cart, float64(pass+1), name("n%02d", i))
		}
		got := send(f)
		if want := float64(110 * (pass + 1)); sum(got) != want {
			t.Errorf("pass %d: sum %v, want %v: %v", pass, sum(got), want, got)
		}
	}
	f.Begin()
	f.Set(cart, 3, "n00")
	if got := send(f)["cart,shop,cart-1,other,"]; got != 300+6*3 {
		t.Errorf("other is %v once its parts are gone, want %v", got, 300+6*3)
	}
}

func TestFoldedCounterStaysWhenItsSourceIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := underLimits(NewCounter("test_calls_total", "Calls.").PerWorkload(), Limits{Node: 1000, Family: 10, Workload: 10})
		f.Begin()
		for i := range 30 {
			f.Set(event.Workload{Pod: name("p%02d", i)}, 5)
		}
		before := send(f)["other,,,"]
		for range 4 {
			time.Sleep(time.Minute)
			f.Begin()
			f.Set(event.Workload{Pod: "p00"}, 6)
			if got := send(f)["other,,,"]; got != before {
				t.Errorf("other is %v, was %v", got, before)
			}
		}
		f.Begin()
		f.Set(event.Workload{Pod: "p00"}, 6)
		f.Set(event.Workload{Pod: "new"}, 1)
		if got := send(f); got[",,new,"] != 1 {
			t.Errorf("a freed place was not given to a new label set: %v", got)
		}
		if len(f.folded) != 0 || f.budget.tracked != 0 {
			t.Errorf("%d folded label sets still remembered", len(f.folded))
		}
	})
}

func TestFoldedCounterThatStartsAgainAddsUp(t *testing.T) {
	f := underLimits(NewCounter("test_calls_total", "Calls.", "name"), Limits{Node: 1000, Family: 2, Workload: 10})
	var got []float64
	for _, v := range []float64{5, 8, 2, 3} {
		f.Begin()
		f.Set(event.Workload{}, 1, "first")
		f.Set(event.Workload{}, v, "second")
		got = append(got, send(f)["other"])
	}
	if diff := cmp.Diff([]float64{5, 8, 10, 11}, got); diff != "" {
		t.Errorf("other (-want +got):\n%s", diff)
	}
}

// TestNothingMakesOtherGoDown lets label sets come, count, start again and go at random.
func TestNothingMakesOtherGoDown(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			f := underLimits(NewCounter("test_calls_total", "Calls.", "name", "direction").PerWorkload(), Limits{Node: 60, Family: 50, Workload: 8})
			type set struct {
				w    event.Workload
				name string
			}
			values := map[set]float64{}
			shown := map[string]float64{}
			for range 60 {
				for range random.IntN(60) {
					s := set{event.Workload{Pod: name("p%d", random.IntN(20))}, name("n%d", random.IntN(20))}
					values[s] += float64(random.IntN(100))
				}
				f.Begin()
				for s, v := range values {
					switch random.IntN(40) {
					case 0:
						delete(values, s)
						continue
					case 1:
						values[s], v = 1, 1
					}
					f.Set(s.w, v, s.name, "receive")
				}
				now := send(f)
				for series, before := range shown {
					if v, ok := now[series]; ok && strings.Contains(series, other) && v < before {
						t.Fatalf("seed %d: %s went from %v to %v", seed, series, before, v)
					}
				}
				maps.Copy(shown, now)
				if f.used > 50 || len(f.order) > 50 {
					t.Fatalf("seed %d: %d series of a cap of 50", seed, f.used)
				}
				time.Sleep(time.Duration(random.IntN(60)) * time.Second)
			}
		})
	}
}

// TestSumsStayRight compares the sum of what is shown with the sum of what was set, while label sets only come.
func TestSumsStayRight(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 2))
		f := underLimits(NewCounter("test_calls_total", "Calls.", "name").PerWorkload(), Limits{Node: 60, Family: 50, Workload: 8})
		var sets []event.Workload
		var values []float64
		for pass := range 30 {
			for range random.IntN(30) {
				sets = append(sets, event.Workload{Pod: name("p%d", random.IntN(30)), Unit: name("u%d", len(sets))})
				values = append(values, 0)
			}
			want := 0.0
			f.Begin()
			for i := range sets {
				values[i] += float64(random.IntN(9))
				want += values[i]
				f.Set(sets[i], values[i], name("n%d", i))
			}
			if got := sum(send(f)); got != want {
				t.Fatalf("seed %d pass %d: sum %v of %d label sets, want %v", seed, pass, got, len(sets), want)
			}
		}
		if f.crowd.pass == 0 {
			t.Error("the table of folded label sets was never full")
		}
	}
}

func TestCrowdEndsWhenItIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := underLimits(NewCounter("test_calls_total", "Calls.", "name"), Limits{Node: 1000, Family: 10, Workload: 10})
		pass := func(from, to int) map[string]float64 {
			f.Begin()
			for i := from; i < to; i++ {
				f.Set(event.Workload{}, 1, name("n%03d", i))
			}
			time.Sleep(time.Minute)
			return send(f)
		}
		pass(0, 100)
		if got := pass(0, 101); sum(got) != 101 || got["n100"] != 0 {
			t.Errorf("sum %v, want 101, and the newcomer folded", sum(got))
		}
		if got := f.foldedSets.Load(); got != 101-9 {
			t.Errorf("%d label sets counted as folded, want %d", got, 101-9)
		}
		for range 4 {
			pass(0, 0)
		}
		if got := pass(200, 205); got["n200"] != 1 || got["other"] != 101-9 {
			t.Errorf("after the crowd has gone: %v", got)
		}
	})
}

func TestHotWorkloadGoesToOtherBeforeItBreaksItsCap(t *testing.T) {
	b := newBudget(Limits{Node: 10_000, Family: 1000, Workload: 20})
	total := 0
	for i := range 50 {
		f := NewCounter(name("test_%d_total", i), "Calls.").PerWorkload()
		f.bind(b, time.Now())
		f.Begin()
		f.Set(cart, 1)
		got := send(f)
		total += int(sum(got))
	}
	if used := b.workloads[cart].used; used > 20 || total != 50 {
		t.Errorf("%d series of a cap of 20, sum %d of 50", used, total)
	}
}

func TestBindingAgainStartsAnew(t *testing.T) {
	f := underLimits(NewCounter("test_calls_total", "Calls.", "name"), Limits{Node: 100, Family: 10, Workload: 10})
	old := f.budget
	f.Begin()
	for i := range 50 {
		f.Set(event.Workload{}, 1, name("n%d", i))
	}
	send(f)
	underLimits(f, Limits{Node: 100, Family: 10, Workload: 10})
	if old.used != 0 || old.tracked != 0 || old.reserved != 0 || f.used != 0 {
		t.Errorf("places left behind: %d used, %d remembered, %d reserved; %d in the family", old.used, old.tracked, old.reserved, f.used)
	}
}

const (
	attackNames = 100_000
	attackBytes = 64 << 20
)

// attack is a pass over many families in which every name and container is new to the exporter.
func attack(families []*Family, workloads []event.Workload, names []string, v float64) {
	for _, f := range families {
		f.Begin()
		for i, name := range names {
			if f.kind.String() == "HISTOGRAM" {
				f.AddHistogram(workloads[i], &Buckets{Sum: v}, name)
				continue
			}
			f.Set(workloads[i], v, name)
		}
	}
}

func attackers() (workloads []event.Workload, names []string) {
	for i := range attackNames {
		workloads = append(workloads, event.Workload{Namespace: "evil", Pod: fmt.Sprintf("pod-%d", i), Container: fmt.Sprintf("container-%d", i)})
		names = append(names, fmt.Sprintf("name-%d", i))
	}
	return workloads, names
}

func attackedFamilies(b *budget) []*Family {
	var families []*Family
	for i := range 2 {
		families = append(families,
			NewCounter(name("test_%d_total", i), "Calls.", "name").PerWorkload(),
			NewGauge(name("test_%d_open", i), "Open.", "name").PerWorkload(),
			NewHistogram(name("test_%d_seconds", i), "Time.", "name").PerWorkload(),
			NewGauge(name("test_%d_info", i), "Facts.", "name").PerWorkload())
	}
	for _, f := range families {
		f.bind(b, time.Now())
	}
	return families
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCardinalityAttack is 100,000 distinct names and containers in eight metrics at once, twice with the same and then
// with others.
func TestCardinalityAttack(t *testing.T) {
	workloads, names := attackers()
	before := heap()
	b := newBudget(Default.Limits)
	families := attackedFamilies(b)
	for pass := 1; pass <= 3; pass++ {
		if pass == 3 {
			slices.Reverse(names)
		}
		attack(families, workloads, names, float64(pass))
		total := 0
		for _, f := range families {
			got := send(f)
			total += len(got) * f.weight()
			if f.used > b.limits.Family {
				t.Errorf("%s: %d series of a cap of %d", f.name, f.used, b.limits.Family)
			}
			if f.Type() != "histogram" && f.additive && pass < 3 && sum(got) != float64(pass*attackNames) {
				t.Errorf("%s: sum %v, want %v", f.name, sum(got), pass*attackNames)
			}
			if f.foldedSets.Load() == 0 {
				t.Errorf("%s: nothing counted as folded", f.name)
			}
		}
		if total > b.limits.Node || b.used+b.exempt > b.limits.Node {
			t.Errorf("%d series shown, %d places used, of a cap of %d", total, b.used, b.limits.Node)
		}
	}
	if grown := heap() - before; grown > attackBytes {
		t.Errorf("the attack keeps %d MiB, want at most %d", grown>>20, attackBytes>>20)
	} else {
		t.Logf("the attack keeps %d MiB, %d label sets remembered", grown>>20, b.tracked)
	}
	runtime.KeepAlive([]any{families, workloads, names})
}

func BenchmarkCardinalityAttack(b *testing.B) {
	workloads, names := attackers()
	families := attackedFamilies(newBudget(Default.Limits))[:1]
	b.ReportAllocs()
	for n := 1.0; b.Loop(); n++ {
		attack(families, workloads, names, n)
		families[0].settle()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/attackNames, "ns/set")
}
