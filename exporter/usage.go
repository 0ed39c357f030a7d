package exporter

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// Usage shows processes: sums by workload as metrics, and the greediest of each workload as a table.
type Usage struct {
	o UsageOptions

	processes, threads, states, descriptors, fullest *Family
	rows, leftOut, stuck, sessions                   *Family

	mu     sync.Mutex // guards what follows
	last   *usageSample
	hung   int    // samples that are not over
	hangs  uint64 // that were not over in time
	logins []SessionRow
}

// UsageOptions say where to read.
type UsageOptions struct {
	Procfs, Rootfs string
	Layout         host.CgroupLayout
	At             func(cgroupPath string) (event.Workload, bool)
	Log            *slog.Logger
}

// How often processes are looked at, and the bounds of what is kept of them.
const (
	usageEvery  = 15 * time.Second
	usageWithin = 10 * time.Second // longer, and it hangs: reading a process may wait for a file system that is gone
	usageHung   = 3                // more are not begun
	usageTop    = 20               // processes of a workload by CPU, and as many by memory
	usageRows   = 2000
)

// A ProcessRow is one row of /api/yagura/processes.
type ProcessRow struct {
	PID             uint32    `json:"pid"`
	PPID            uint32    `json:"ppid"`
	UID             uint32    `json:"uid"`
	User            string    `json:"user"` // as the host's passwd names it
	Comm            string    `json:"comm"`
	Command         string    `json:"command"` // redacted
	State           string    `json:"state"`
	Threads         int64     `json:"threads"`
	Nice            int64     `json:"nice"`
	CPUSeconds      float64   `json:"cpu_seconds"`
	CPURatio        float64   `json:"cpu_ratio"` // processors used since the last look, or since its start
	RSSBytes        uint64    `json:"rss_bytes"`
	VirtualBytes    uint64    `json:"virtual_bytes"`
	OpenDescriptors uint64    `json:"open_descriptors"`
	DescriptorLimit uint64    `json:"descriptor_limit"`
	StartTime       time.Time `json:"start_time"`
	Namespace       string    `json:"namespace"`
	Pod             string    `json:"pod"`
	Container       string    `json:"container"`
	Unit            string    `json:"unit"`
}

func (r *ProcessRow) workload() event.Workload {
	return event.Workload{Namespace: r.Namespace, Pod: r.Pod, Container: r.Container, Unit: r.Unit}
}

// A SessionRow is one row of /api/yagura/sessions.
type SessionRow struct {
	User      string    `json:"user"`
	Line      string    `json:"line"`
	From      string    `json:"from"`
	PID       uint32    `json:"pid"`
	LoginTime time.Time `json:"login_time"`
}

// usageSample is one look at all processes. It never changes once it is made.
type usageSample struct {
	at        time.Time
	processes map[uint32]host.ProcessUsage
	sums      map[event.Workload]*usageSum
	rows      []ProcessRow
	leftOut   int
}

type usageSum struct {
	processes, threads int64
	states             map[string]int64
	descriptors        uint64
	fullest            float64 // descriptors / limit of the process that is nearest to it
}

// NewUsage returns the collector.
func NewUsage(o UsageOptions) *Usage {
	return &Usage{
		o:           o,
		processes:   NewGauge("yagura_processes", "Processes of the workload.").PerWorkload(),
		threads:     NewGauge("yagura_threads", "Threads of the workload's processes.").PerWorkload(),
		states:      NewGauge("yagura_process_states", "Processes of the workload by what they do.", "state").PerWorkload(),
		descriptors: NewGauge("yagura_open_descriptors", "Open descriptors of the workload's processes, of the 20 that use most CPU and the 20 that use most memory.").PerWorkload(),
		fullest:     NewGauge("yagura_open_descriptors_ratio", "Open descriptors / soft limit of that process of the workload that is nearest to its limit.").PerWorkload(),
		rows:        NewGauge("yagura_usage_rows", "Processes that /api/yagura/processes can show.").Fixed(),
		leftOut:     NewGauge("yagura_usage_left_out", "Processes beyond the bounds of that table.").Fixed(),
		stuck:       NewCounter("yagura_usage_stuck_total", "How often a look at all processes was not over in time.").Fixed(),
		sessions:    NewGauge("yagura_sessions", "Users that are logged in to the host, by kind of terminal.", "type").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (u *Usage) Entry() Entry {
	return Entry{
		Name: "usage", Help: "Processes, threads and open descriptors by workload, host logins, and the table of processes.", Default: true,
		Collector: u, Families: u.families(),
	}
}

func (u *Usage) families() []*Family {
	return []*Family{u.processes, u.threads, u.states, u.descriptors, u.fullest, u.rows, u.leftOut, u.stuck, u.sessions}
}

// Run looks at all processes now and then until ctx is done.
func (u *Usage) Run(ctx context.Context) error {
	for tick := time.Tick(usageEvery); ; {
		u.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}

// look waits for one sample, but not for ever: what hangs is left behind and counted.
func (u *Usage) look(ctx context.Context) {
	u.mu.Lock()
	last, room := u.last, u.hung < usageHung
	if room {
		u.hung++
	}
	u.mu.Unlock()
	if !room {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.keep(u.sample(last))
	}()
	late := time.NewTimer(usageWithin)
	defer late.Stop()
	select {
	case <-done:
	case <-ctx.Done():
	case <-late.C:
		u.mu.Lock()
		u.hangs++
		u.mu.Unlock()
		u.o.Log.Warn("processes are not looked at: reading one of them hangs")
	}
}

func (u *Usage) keep(s *usageSample, logins []SessionRow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hung--
	if s != nil && (u.last == nil || s.at.After(u.last.at)) {
		u.last, u.logins = s, logins
	}
}

// sample looks at all processes once.
func (u *Usage) sample(last *usageSample) (*usageSample, []SessionRow) {
	s := &usageSample{at: time.Now(), processes: map[uint32]host.ProcessUsage{}, sums: map[event.Workload]*usageSum{}}
	byWorkload := map[event.Workload][]ProcessRow{}
	users := host.UserNames(filepath.Join(u.o.Rootfs, "etc/passwd"))
	err := host.ReadUsage(u.o.Procfs, u.o.Layout, func(p host.ProcessUsage) {
		w, known := u.o.At(p.Cgroup)
		if !known {
			w = event.Workload{}
		}
		s.processes[p.PID] = p
		s.add(w, &p)
		byWorkload[w] = append(byWorkload[w], row(w, &p, last, s.at, users))
	})
	if err != nil {
		u.o.Log.Warn("processes are not looked at", "err", err)
		return nil, nil
	}
	for _, w := range slices.SortedFunc(maps.Keys(byWorkload), compareWorkloads) {
		top := greediest(byWorkload[w])
		top = top[:min(len(top), usageRows-len(s.rows))]
		s.leftOut += len(byWorkload[w]) - len(top)
		for i := range top {
			u.complete(&top[i], s.sums[w])
		}
		s.rows = append(s.rows, top...)
	}
	return s, u.readLogins()
}

func (s *usageSample) add(w event.Workload, p *host.ProcessUsage) {
	sum := s.sums[w]
	if sum == nil {
		sum = &usageSum{states: map[string]int64{}}
		s.sums[w] = sum
	}
	sum.processes++
	sum.threads += p.Threads
	sum.states[stateName(p.State)]++
}

func stateName(state byte) string {
	switch state {
	case 'R':
		return "running"
	case 'S', 'I':
		return "sleeping"
	case 'D':
		return "disk_sleep"
	case 'T', 't':
		return "stopped"
	case 'Z', 'X':
		return "zombie"
	}
	return other
}

func row(w event.Workload, p *host.ProcessUsage, last *usageSample, now time.Time, users map[uint32]string) ProcessRow {
	used, since := p.CPU, now.Sub(p.Start)
	if last != nil {
		if before, ok := last.processes[p.PID]; ok && before.Same(p) {
			used, since = p.CPU-before.CPU, now.Sub(last.at)
		}
	}
	r := ProcessRow{PID: p.PID, PPID: p.PPID, UID: p.UID, User: cmp.Or(users[p.UID], strconv.FormatUint(uint64(p.UID), 10)), Comm: p.Comm,
		State: stateName(p.State), Threads: p.Threads, Nice: p.Nice, CPUSeconds: p.CPU.Seconds(), RSSBytes: p.RSS, VirtualBytes: p.Virtual,
		StartTime: p.Start.UTC(), Namespace: w.Namespace, Pod: w.Pod, Container: w.Container, Unit: w.Unit}
	if since > 0 {
		r.CPURatio = used.Seconds() / since.Seconds()
	}
	return r
}

// greediest keeps the first of a workload's processes by CPU and by memory.
func greediest(rows []ProcessRow) []ProcessRow {
	if len(rows) <= usageTop {
		return rows
	}
	slices.SortFunc(rows, processOrders["memory"])
	byMemory := slices.Clone(rows[:usageTop])
	slices.SortFunc(rows, processOrders["cpu"])
	top := slices.Clone(rows[:usageTop])
	for _, r := range byMemory {
		if !slices.ContainsFunc(top, func(o ProcessRow) bool { return o.PID == r.PID }) {
			top = append(top, r)
		}
	}
	return top
}

// complete adds what is dear to read.
func (u *Usage) complete(r *ProcessRow, sum *usageSum) {
	r.Command = host.Command(u.o.Procfs, r.PID, r.Comm)
	open, limit, ok := host.Descriptors(u.o.Procfs, r.PID)
	if !ok {
		return
	}
	r.OpenDescriptors, r.DescriptorLimit = open, limit
	sum.descriptors += open
	if limit > 0 {
		sum.fullest = max(sum.fullest, float64(open)/float64(limit))
	}
}

func (u *Usage) readLogins() []SessionRow {
	for _, file := range []string{"run/utmp", "var/run/utmp"} {
		list, err := host.ReadSessions(filepath.Join(u.o.Rootfs, file))
		if len(list) == 0 {
			if err != nil {
				u.o.Log.Debug("logins not read", "err", err)
			}
			continue
		}
		var rows []SessionRow
		for _, s := range list {
			rows = append(rows, SessionRow{s.User, s.Line, s.From, s.PID, s.Login.UTC()})
		}
		return rows
	}
	return nil
}

// terminal is the kind of terminal of a login.
func terminal(line string) string {
	switch {
	case strings.HasPrefix(line, "pts/"):
		return "pts"
	case strings.HasPrefix(line, "tty"):
		return "tty"
	case strings.HasPrefix(line, ":"):
		return "x11"
	}
	return other
}

// Update sends all families, or ErrNoData before the first look is over.
func (u *Usage) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	u.mu.Lock()
	last, hangs, logins := u.last, u.hangs, u.logins
	u.mu.Unlock()
	if last == nil {
		return ErrNoData
	}
	for _, f := range u.families() {
		f.Begin()
	}
	for w, sum := range last.sums {
		u.processes.Add(w, float64(sum.processes))
		u.threads.Add(w, float64(sum.threads))
		u.descriptors.Add(w, float64(sum.descriptors))
		u.fullest.Set(w, sum.fullest)
		for state, n := range sum.states {
			u.states.Add(w, float64(n), state)
		}
	}
	var node event.Workload
	u.rows.Set(node, float64(len(last.rows)))
	u.leftOut.Set(node, float64(last.leftOut))
	u.stuck.Set(node, float64(hangs))
	for _, kind := range []string{"pts", "tty", "x11", other} {
		u.sessions.Set(node, 0, kind)
	}
	for _, l := range logins {
		u.sessions.Add(node, 1, terminal(l.Line))
	}
	for _, f := range u.families() {
		f.Send(ch)
	}
	return nil
}

// processOrders are the orders of the table; the process id makes each a total one.
var processOrders = map[string]func(a, b ProcessRow) int{
	"cpu": func(a, b ProcessRow) int {
		return cmp.Or(cmp.Compare(b.CPURatio, a.CPURatio), cmp.Compare(a.PID, b.PID))
	},
	"memory": func(a, b ProcessRow) int {
		return cmp.Or(cmp.Compare(b.RSSBytes, a.RSSBytes), cmp.Compare(a.PID, b.PID))
	},
	"pid":   func(a, b ProcessRow) int { return cmp.Compare(a.PID, b.PID) },
	"start": func(a, b ProcessRow) int { return cmp.Or(b.StartTime.Compare(a.StartTime), cmp.Compare(a.PID, b.PID)) },
}

// Processes serves the table: the greediest processes of every workload, by cpu, memory, pid or start.
func (u *Usage) Processes() http.Handler {
	return Rows(func(w http.ResponseWriter, q Query) {
		u.mu.Lock()
		last := u.last
		u.mu.Unlock()
		var rows []ProcessRow
		if last != nil {
			for _, r := range last.rows {
				if q.Wants(r.workload(), r.StartTime) {
					rows = append(rows, r)
				}
			}
		}
		slices.SortFunc(rows, processOrders[q.Sort])
		ServeRows(w, q, rows)
	}, "cpu", "memory", "pid", "start")
}

// Sessions serves the logins to the host, the latest first.
func (u *Usage) Sessions() http.Handler {
	return Rows(func(w http.ResponseWriter, q Query) {
		u.mu.Lock()
		logins := u.logins
		u.mu.Unlock()
		var rows []SessionRow
		for _, l := range logins {
			if q.Wants(event.Workload{}, l.LoginTime) {
				rows = append(rows, l)
			}
		}
		slices.SortFunc(rows, func(a, b SessionRow) int {
			return cmp.Or(b.LoginTime.Compare(a.LoginTime), cmp.Compare(a.Line, b.Line))
		})
		ServeRows(w, q, rows)
	})
}
