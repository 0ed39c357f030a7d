package requests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// TLSConfig says whose plaintext may be seen at the libraries that encrypt it; it is read at the start only. A probe is a trap, which costs ten times what
// other hooks do and more, for every process that runs the same file.
type TLSConfig struct {
	Workloads []string      `yaml:"workloads"` // patterns of NAMESPACE/POD/CONTAINER, of a container's name, or of a unit's
	Delay     time.Duration `yaml:"delay"`     // of processes that have run so long: short ones are not worth it
}

// DefaultTLS looks into nobody.
var DefaultTLS = TLSConfig{Delay: 30 * time.Second}

// On says whether anybody is to be looked into.
func (c TLSConfig) On() bool { return len(c.Workloads) > 0 }

// Validate says what is wrong with the configuration.
func (c TLSConfig) Validate() error {
	for _, pattern := range c.Workloads {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("tls.workloads: %q: want a pattern of NAMESPACE/POD/CONTAINER, of a container or of a unit, in which * is not /", pattern)
		}
	}
	if c.Delay < 0 {
		return fmt.Errorf("tls.delay: %s: want 0s or more", c.Delay)
	}
	return nil
}

// matches says whether a workload is to be looked into.
func (c TLSConfig) matches(w event.Workload) bool {
	name := tlsName(w)
	return name != "" && slices.ContainsFunc(c.Workloads, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	})
}

// tlsName is what a pattern is held against, empty for what is no workload.
func tlsName(w event.Workload) string {
	switch {
	case w.Pod != "":
		return w.Namespace + "/" + w.Pod + "/" + w.Container
	case w.Container != "":
		return w.Container
	}
	return w.Unit
}

// A Prober attaches to libraries: bpf.Agent.
type Prober interface {
	TraceTLS(bpf.TLSProcess) error
	UntraceTLS(pid int)
	SweepTLS(alive func(pid uint32) bool) error
}

// TLSOptions say where processes are found, and who attaches to their libraries.
type TLSOptions struct {
	Procfs    string
	Config    TLSConfig
	Prober    Prober
	Processes func() []*event.Process // that run
	Workload  func(cgroupID uint64) (event.Workload, bool)
	Since     func() uint64 // ns since boot, as Process.Start counts; nil asks the kernel
	Log       *slog.Logger
}

// Bounds: processes that are traced, and those that are looked at in one round; how often rounds are, after how long at most a
// process is looked at again for libraries that it has loaded since, and how often what dead ones have left is swept.
const (
	maxTraced    = 1024
	maxLooked    = 32
	tlsEvery     = 5 * time.Second
	tlsLookAgain = 5 * time.Minute
	tlsSweep     = time.Minute
)

// A TLS has the libraries of chosen workloads probed, from when their processes have run for a while until they end.
type TLS struct {
	o       TLSOptions
	find    func(procfs string, pid int) (Found, error)
	traced  map[ProcessID]looked
	swept   time.Time
	crowded bool // more processes than are traced
}

// looked is when a process's files are looked at again, and what failed.
type looked struct {
	again  time.Time
	failed string
}

// NewTLS returns one that traces nobody yet.
func NewTLS(o TLSOptions) *TLS {
	if o.Since == nil {
		o.Since = sinceBoot
	}
	return &TLS{o: o, find: Libraries, traced: map[ProcessID]looked{}}
}

// Configure says so if the configuration is another one: capabilities that it may need were given up at the start.
func (t *TLS) Configure(c TLSConfig) {
	if !slices.Equal(c.Workloads, t.o.Config.Workloads) || c.Delay != t.o.Config.Delay {
		t.o.Log.Warn("requests.tls is changed by the next start", "until then", t.o.Config.Workloads)
	}
}

func sinceBoot() uint64 {
	boot, err := host.BootTime()
	if err != nil {
		return 0 // nobody has run for long enough
	}
	return uint64(time.Now().UnixNano() - boot)
}

// Run traces until ctx is done. Where nobody is to be looked into it does nothing.
func (t *TLS) Run(ctx context.Context) error {
	if !t.o.Config.On() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(tlsEvery)
	defer tick.Stop()
	for {
		t.round(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round ends what has ended, and begins what is due.
func (t *TLS) round(now time.Time) {
	chosen := t.chosen()
	for id := range t.traced {
		if chosen[id] == nil {
			t.o.Prober.UntraceTLS(int(id.PID))
			delete(t.traced, id)
		}
	}
	n := 0
	for _, p := range slices.SortedFunc(maps.Values(chosen), bySeniority) {
		id := ProcessID{p.PID, p.Start}
		before, traced := t.traced[id]
		if n >= maxLooked {
			break
		}
		if traced && now.Before(before.again) || !traced && t.full() {
			continue
		}
		n++
		failed := t.trace(p)
		if failed != "" && failed != before.failed {
			t.o.Log.Warn("TLS of a process is not looked into", "pid", p.PID, "path", p.Path, "err", failed)
		}
		t.traced[id] = looked{now.Add(t.untilNext(p)), failed}
	}
	if now.Sub(t.swept) >= tlsSweep {
		t.swept = now
		t.sweep()
	}
}

// untilNext is how long a process is left alone: programs load libraries when they are young.
func (t *TLS) untilNext(p *event.Process) time.Duration {
	return min(max(time.Duration(t.o.Since()-p.Start), tlsEvery), tlsLookAgain)
}

func (t *TLS) full() bool {
	full := len(t.traced) >= maxTraced
	if full && !t.crowded {
		t.o.Log.Warn("not every process's TLS is looked into", "limit", maxTraced)
	}
	t.crowded = full
	return full
}

func bySeniority(a, b *event.Process) int {
	if a.Start != b.Start {
		return int(min(max(int64(a.Start-b.Start), -1), 1))
	}
	return int(a.PID) - int(b.PID)
}

// chosen are the processes of chosen workloads that have run for long enough.
func (t *TLS) chosen() map[ProcessID]*event.Process {
	now, delay := t.o.Since(), uint64(t.o.Config.Delay)
	chosen := map[ProcessID]*event.Process{}
	for _, p := range t.o.Processes() {
		if p.Start+delay > now {
			continue
		}
		if w, known := t.o.Workload(p.CgroupID); known && t.o.Config.matches(w) {
			chosen[ProcessID{p.PID, p.Start}] = p
		}
	}
	return chosen
}

// trace has the libraries of one process probed that it has mapped by now, and says what of it failed.
func (t *TLS) trace(p *event.Process) (failed string) {
	found, err := t.find(t.o.Procfs, int(p.PID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have ended
		t.o.Log.Debug("libraries of a process are not known", "pid", p.PID, "err", err)
	}
	files := t.files(p, found)
	if len(files) == 0 {
		return ""
	}
	if err := t.o.Prober.TraceTLS(bpf.TLSProcess{PID: int(p.PID), CgroupID: p.CgroupID, Files: files}); err != nil {
		return err.Error()
	}
	return ""
}

func (t *TLS) files(p *event.Process, found Found) (files []bpf.TLSFile) {
	dir := filepath.Join(t.o.Procfs, strconv.Itoa(int(p.PID)))
	for _, l := range found.Libraries {
		if l.Name == openSSL {
			files = append(files, bpf.TLSFile{Root: filepath.Join(dir, "root"), Path: l.Path})
		}
	}
	if found.SSL {
		files = append(files, bpf.TLSFile{Path: filepath.Join(dir, "exe")})
	}
	if found.Go != "" {
		files = append(files, bpf.TLSFile{Path: filepath.Join(dir, "exe"), Go: true})
	}
	return files
}

func (t *TLS) sweep() {
	alive := map[uint32]bool{}
	for _, p := range t.o.Processes() {
		alive[p.PID] = true
	}
	if err := t.o.Prober.SweepTLS(func(pid uint32) bool { return alive[pid] }); err != nil {
		t.o.Log.Debug("calls of dead processes are not forgotten", "err", err)
	}
}
