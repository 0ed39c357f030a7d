package exporter

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// An exit is how a workload's last process has ended.
type exit struct {
	reason string // one of bpf.ExitReasons, or oom_killed
	at     time.Time
}

// lives is how often a workload has begun anew: a control group was made after all it had were gone.
type lives struct {
	restarts uint64
	end      time.Time // the latest end of a control group of its
	seen     time.Time // when it was last alive
	last     exit
}

// Workloads that have ended are remembered so long, for those that are started again late: a crash loop of Kubernetes
// backs off for five minutes.
const (
	livesKept = 15 * time.Minute
	maxLives  = 8192
)

// countLives looks at the control groups that were named since the last reading, in the order of their making.
func (k *Kernel) countLives(now time.Time) {
	groups := map[event.Workload][]*slotTotals{}
	for _, s := range k.slots {
		if s.seen && s.named && s.workload != (event.Workload{}) && s.slot.Number != 0 {
			groups[s.workload] = append(groups[s.workload], s)
		}
	}
	for w, slots := range groups {
		if k.lives[w] == nil && len(k.lives) >= maxLives {
			continue
		}
		if k.lives[w] == nil {
			k.lives[w] = &lives{}
		}
		k.lives[w].count(slots, now)
	}
	for w, l := range k.lives {
		if now.Sub(l.seen) > livesKept {
			delete(k.lives, w)
		}
	}
	for _, w := range k.workloads {
		w.lives = k.lives[w.Workload]
	}
}

func (l *lives) count(slots []*slotTotals, now time.Time) {
	slices.SortFunc(slots, func(a, b *slotTotals) int { return a.slot.Born.Compare(b.slot.Born) })
	for i, s := range slots {
		if !s.counted && !l.end.IsZero() && s.slot.Born.After(l.end) && !lived(slots[:i], s.slot.Born) {
			l.restarts++
		}
		s.counted = true
		if s.slot.Died.After(l.end) && !lived(slots, s.slot.Died) {
			l.end, l.last = s.slot.Died, s.exit
		}
	}
	l.seen = now
}

// lived says whether one of the slots has lived at that time and beyond.
func lived(slots []*slotTotals, at time.Time) bool {
	return slices.ContainsFunc(slots, func(s *slotTotals) bool {
		return !s.slot.Born.After(at) && (s.slot.Died.IsZero() || s.slot.Died.After(at))
	})
}

// A Lives collector shows how often workloads begin anew, and why they end.
type Lives struct {
	kernel             *Kernel
	restarts, lastExit *Family
}

// NewLives returns the collector.
func NewLives(k *Kernel) *Lives {
	return &Lives{
		kernel: k,
		restarts: NewCounter("yagura_restarts_total",
			"How often the workload was started again after it had ended, while Yagura runs.").PerWorkload(),
		lastExit: NewGauge("yagura_last_exit_info",
			"1, with why the workload ended the last time: as yagura_process_exits_total says it, or oom_killed.", "reason").PerWorkload(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (l *Lives) Entry() Entry {
	return Entry{
		Name: "lives", Help: "Restarts of workloads, and why they ended.", Default: true,
		Collector: l, Families: []*Family{l.restarts, l.lastExit},
	}
}

// Update sends both families: restarts from zero for every workload, a reason once there is one.
func (l *Lives) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	l.restarts.Begin()
	l.lastExit.Begin()
	if err := l.kernel.read(func(w *workloadTotals) {
		if w.lives == nil {
			return
		}
		l.restarts.Add(w.Workload, float64(w.lives.restarts))
		if reason := w.lives.last.reason; reason != "" {
			l.lastExit.Set(w.Workload, 1, reason)
		}
	}); err != nil {
		return err
	}
	l.restarts.Send(ch)
	l.lastExit.Send(ch)
	return nil
}
