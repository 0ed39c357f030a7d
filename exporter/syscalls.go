package exporter

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// namedSyscalls is how many system calls of a workload are counted by name.
const namedSyscalls = 40

// A Syscalls collector shows system calls by workload. Which are counted by name is decided when a workload is first
// seen, the busiest first, and as others come while there is room; a name once given stays, so that `other` only grows.
type Syscalls struct {
	kernel                   *Kernel
	named                    map[event.Workload]*namedCalls
	calls, errors, durations *Family
}

type namedCalls struct {
	names map[int]string
	seen  bool
}

// NewSyscalls returns the collector; latency says whether durations are measured.
func NewSyscalls(k *Kernel) *Syscalls {
	return &Syscalls{
		kernel: k, named: map[event.Workload]*namedCalls{},
		calls: NewCounter("yagura_syscalls_total",
			"System calls that have returned, and exits; the 40 busiest of a workload by name, the rest as other.",
			"syscall").PerWorkload(),
		errors: NewCounter("yagura_syscall_errors_total",
			"System calls that have failed. ERESTARTSYS and its kin were interrupted by a signal and begin again or end as EINTR.",
			"syscall", "errno").PerWorkload(),
		durations: NewHistogram("yagura_syscall_duration_seconds",
			"How long system calls took, waiting included. Measured where the configuration turns it on.",
			"syscall").PerWorkload(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (s *Syscalls) Entry() Entry {
	return Entry{
		Name: "syscalls", Help: "System calls by workload, name and error, counted in the kernel.", Default: true,
		Collector: s, Families: []*Family{s.calls, s.errors, s.durations},
	}
}

// Update sends all families.
func (s *Syscalls) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	s.calls.Begin()
	s.errors.Begin()
	s.durations.Begin()
	for _, n := range s.named {
		n.seen = false
	}
	if err := s.kernel.read(s.show); err != nil {
		return err
	}
	for w, n := range s.named {
		if !n.seen {
			delete(s.named, w)
		}
	}
	s.calls.Send(ch)
	s.errors.Send(ch)
	s.durations.Send(ch)
	return nil
}

func (s *Syscalls) show(w *workloadTotals) {
	names := s.names(w)
	for call, n := range w.calls {
		if n > 0 {
			s.calls.Add(w.Workload, float64(n), names.of(call))
		}
	}
	for e, n := range w.errors {
		s.errors.Add(w.Workload, float64(n), names.of(e.syscall), errnoName(e.errno))
	}
	for call, h := range w.durations {
		s.durations.AddHistogram(w.Workload, buckets(h), names.of(call))
	}
}

// names returns the calls of a workload that have a name, after giving one to new calls while there is room.
func (s *Syscalls) names(w *workloadTotals) *namedCalls {
	n := s.named[w.Workload]
	if n == nil {
		n = &namedCalls{names: map[int]string{}}
		s.named[w.Workload] = n
	}
	n.seen = true
	if len(n.names) == namedSyscalls {
		return n
	}
	var fresh []int
	for call, count := range w.calls {
		if count > 0 && n.names[call] == "" {
			fresh = append(fresh, call)
		}
	}
	slices.SortStableFunc(fresh, func(a, b int) int {
		if w.calls[a] > w.calls[b] {
			return -1
		}
		return 1
	})
	for _, call := range fresh[:min(len(fresh), namedSyscalls-len(n.names))] {
		n.names[call] = bpf.SyscallName(call)
	}
	return n
}

func (n *namedCalls) of(call int) string {
	if name, ok := n.names[call]; ok {
		return name
	}
	return "other"
}

// Errors that the kernel keeps to itself, but a hook on the way out sees: include/linux/errno.h.
var kernelErrnos = map[int]string{
	512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD", 516: "ERESTART_RESTARTBLOCK",
	517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM", 524: "ENOTSUPP",
}

func errnoName(errno int) string {
	if name := unix.ErrnoName(unix.Errno(errno)); name != "" {
		return name
	}
	if name, ok := kernelErrnos[errno]; ok {
		return name
	}
	return "other"
}
