package exporter

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// ratios makes one pass and returns the ratios by workload and resource.
func ratios(t *testing.T, s *Saturation) map[string]float64 {
	t.Helper()
	ch := make(chan prometheus.Metric, 100)
	if err := s.Update(t.Context(), ch); err != nil {
		t.Fatal(err)
	}
	close(ch)
	got := map[string]float64{}
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		key := ""
		for _, l := range d.Label {
			if l.GetName() == "container" || l.GetName() == "resource" {
				key += "/" + l.GetValue()
			}
		}
		got[key] = d.GetGauge().GetValue()
	}
	return got
}

func TestSaturationRatios(t *testing.T) {
	web := event.Workload{Container: "web"}
	now := time.Unix(1_000_000, 0)
	slot := fakeSlot{Slot: bpf.Slot{Number: 1, CgroupID: 10}, queues: []bpf.AcceptQueue{{Port: 80, Waiting: 3, Limit: 12}, {Port: 81, Waiting: 1, Limit: 2}}}
	source := &fakeKernel{slots: []fakeSlot{slot}}
	kernel := NewKernel(source, func(uint64) (event.Workload, bool) { return web, true })
	d, waits := unknown(), true
	s := NewSaturation(SaturationOptions{Kernel: kernel, Now: func() time.Time { return now }, Waits: func() bool { return waits },
		Demands: func(yield func(event.Workload, Demand)) error { yield(web, d); return nil }})
	pass := func() map[string]float64 { kernel.taken = time.Time{}; return ratios(t, s) }
	expect := func(when string, got map[string]float64, key string, want float64) {
		t.Helper()
		v, ok := got[key]
		if ok != !math.IsNaN(want) || ok && math.Abs(v-want) > 1e-9 {
			t.Errorf("%s: %s = %v (there: %v), want %v", when, key, v, ok, want)
		}
	}
	absent := math.NaN()

	d.CPU, d.Memory, d.MemoryLimit, d.Pids, d.PidsLimit = 100, 30, 120, 5, 20
	d.Periods, d.Throttled = 10, 10
	got := pass()
	expect("at first", got, "/web/memory", 0.25)
	expect("at first", got, "/web/pids", 0.25)
	expect("at first", got, "/web/accept_queue", 0.5)
	expect("at first", got, "/web/cpu", absent)
	expect("at first", got, "/web/io", absent)
	expect("at first", got, "//memory", absent)

	// 20 s later it has used 10 s of CPU and waited 30: three quarters of what it wanted.
	now = now.Add(20 * time.Second)
	d.CPU, d.Periods, d.Throttled = 110, 110, 90
	source.slots[0].counters.RunQueue.Sum = 30e9
	source.slots[0].block = map[bpf.BlockKey]bpf.BlockIO{{}: {Duration: bpf.Histogram{Sum: 5e9}}}
	got = pass()
	expect("later", got, "/web/cpu", 0.75)
	expect("later", got, "/web/io", 0.25) // 5 s of 20
	expect("later", got, "//accept_queue", 0.5)

	// Without the hooks the quota tells; with PSI the devices do not.
	waits = false
	d.IOPressure = 7
	now = now.Add(20 * time.Second)
	pass()
	now = now.Add(20 * time.Second)
	d.IOPressure, d.Periods, d.Throttled = 11, 310, 140
	got = pass()
	expect("by the quota", got, "/web/cpu", 0.25)
	expect("by PSI", got, "/web/io", 0.2)

	// One that does nothing lacks nothing, be it less than nothing by a rounding; memory beyond its limit is still 1.
	waits, d.CPU = true, 109.99999999999999
	now = now.Add(20 * time.Second)
	pass()
	d.CPU = 109.99999999999997
	now = now.Add(20 * time.Second)
	d.Memory = 500
	got = pass()
	expect("idle", got, "/web/cpu", 0)
	expect("beyond", got, "/web/memory", 1)
}

func TestSaturationDoesNotDependOnWhoScrapes(t *testing.T) {
	web := event.Workload{Container: "web"}
	now := time.Unix(1_000_000, 0)
	d := unknown()
	d.IOPressure = 0
	s := NewSaturation(SaturationOptions{Now: func() time.Time { return now },
		Demands: func(yield func(event.Workload, Demand)) error { yield(web, d); return nil }})
	for range 600 { // a minute of ten scrapes a second, half of it spent waiting
		ratios(t, s)
		now = now.Add(100 * time.Millisecond)
		d.IOPressure += 0.05
	}
	if got := ratios(t, s)["/web/io"]; math.Abs(got-0.5) > 1e-6 {
		t.Errorf("io = %v, want 0.5", got)
	}
	if n := len(s.history); n > 14 {
		t.Errorf("%d samples are kept, want at most one every 5 s of the last 60", n)
	}
}

func TestNodeDemand(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"stat":                   "cpu  100 50 25 1000 7 3 2 13 0 0\ncpu0 100 50 25 1000 7 3 2 13 0 0\nbtime 1\n",
		"meminfo":                "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n",
		"loadavg":                "0.10 0.20 0.30 2/321 4567\n",
		"sys/kernel/pid_max":     "4194304\n",
		"sys/kernel/threads-max": "1234\n",
		"pressure/io":            "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := NodeDemand(dir)()
	if err != nil {
		t.Fatal(err)
	}
	// 100+50+25+3+2+13 ticks of 10 ms; 600 KiB of 1000 are not available.
	want := Demand{CPU: 1.93, Memory: 600 << 10, MemoryLimit: 1000 << 10, Pids: 321, PidsLimit: 1234, IOPressure: 2.5}
	for name, pair := range map[string][2]float64{"cpu": {got.CPU, want.CPU}, "memory": {got.Memory, want.Memory},
		"limit": {got.MemoryLimit, want.MemoryLimit}, "pids": {got.Pids, want.Pids}, "pids limit": {got.PidsLimit, want.PidsLimit}, "io": {got.IOPressure, want.IOPressure}} {
		if math.Abs(pair[0]-pair[1]) > 1e-9 {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "loadavg"), []byte("nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err = NodeDemand(dir)(); err == nil || got.Memory != want.Memory {
		t.Errorf("with a broken loadavg: %+v, %v, want an error, and the memory all the same", got, err)
	}
}

func TestProcessorTimeNeverGoesBack(t *testing.T) {
	last := [2]float64{}
	for _, c := range []struct{ user, system, wantUser, wantSystem float64 }{
		{3, 1, 3, 1},
		{2.5, 2, 3, 1.5},     // user went back: it stays, and system takes the rest
		{4.4, 0.6, 3.5, 1.5}, // system went back
		{5, 5, 5, 5},
	} {
		user, system := neverLess(c.user, c.system, last)
		if math.Abs(user-c.wantUser) > 1e-9 || math.Abs(system-c.wantSystem) > 1e-9 {
			t.Errorf("neverLess(%v, %v, %v) = %v, %v, want %v, %v", c.user, c.system, last, user, system, c.wantUser, c.wantSystem)
		}
		last = [2]float64{user, system}
	}
}
