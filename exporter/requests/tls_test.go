package requests

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

func TestTLSConfigMatches(t *testing.T) {
	t.Parallel()
	pod := event.Workload{Namespace: "shop", Pod: "cart-7", Container: "api"}
	container := event.Workload{Container: "web"}
	unit := event.Workload{Unit: "nginx.service"}
	cases := []struct {
		pattern string
		w       event.Workload
		want    bool
	}{
		{"shop/*/api", pod, true},
		{"shop/cart-*/*", pod, true},
		{"*/*/*", pod, true},
		{"shop/*", pod, false}, // * is not /
		{"api", pod, false},
		{"*", pod, false},
		{"web", container, true},
		{"w*", container, true},
		{"*", container, true},
		{"nginx.service", unit, true},
		{"*.service", unit, true},
		{"nginx", unit, false},
		{"*", event.Workload{}, false}, // the host itself is no workload
		{"", unit, false},
	}
	for _, c := range cases {
		if got := (TLSConfig{Workloads: []string{"other", c.pattern}}).matches(c.w); got != c.want {
			t.Errorf("%q matches %v: %v, want %v", c.pattern, c.w, got, c.want)
		}
	}
}

func TestTLSConfigValidate(t *testing.T) {
	t.Parallel()
	cases := []struct {
		config TLSConfig
		want   string
	}{
		{DefaultTLS, ""},
		{TLSConfig{Workloads: []string{"shop/*/api", "nginx.service"}}, ""},
		{TLSConfig{Workloads: []string{"shop/[a-"}}, `tls.workloads: "shop/[a-": want a pattern`},
		{TLSConfig{Workloads: []string{""}}, `tls.workloads: "": want a pattern`},
		{TLSConfig{Delay: -time.Second}, "tls.delay: -1s: want 0s or more"},
	}
	for _, c := range cases {
		err := c.config.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("Validate(%v) = %v, want %q", c.config, err, c.want)
		}
	}
}

// A recorder notes what it is asked for.
type recorder struct {
	said []string
	err  error
}

func (r *recorder) TraceTLS(p bpf.TLSProcess) error {
	s := fmt.Sprintf("trace %d of %d:", p.PID, p.CgroupID)
	for _, f := range p.Files {
		s += fmt.Sprintf(" %s|%s", f.Root, f.Path)
		if f.Go {
			s += " go"
		}
	}
	r.said = append(r.said, s)
	return r.err
}

func (r *recorder) UntraceTLS(pid int) { r.said = append(r.said, fmt.Sprintf("untrace %d", pid)) }

func (r *recorder) SweepTLS(alive func(uint32) bool) error {
	s := "sweep, alive:"
	for pid := range uint32(100) {
		if alive(pid) {
			s += fmt.Sprintf(" %d", pid)
		}
	}
	r.said = append(r.said, s)
	return nil
}

// take returns what was said since it was last called.
func (r *recorder) take() []string {
	said := r.said
	r.said = nil
	return said
}

// A scene is a machine for one test: its processes, their workloads and what they have mapped.
type scene struct {
	*TLS
	recorder  *recorder
	processes []*event.Process
	since     uint64
	found     map[int]Found
	failing   map[int]error
	now       time.Time
	log       strings.Builder
}

func newScene(config TLSConfig) *scene {
	s := &scene{recorder: &recorder{}, found: map[int]Found{}, failing: map[int]error{}, now: time.Unix(1000, 0), since: uint64(time.Hour)}
	s.TLS = NewTLS(TLSOptions{
		Procfs: "/host/proc", Config: config, Prober: s.recorder,
		Processes: func() []*event.Process { return s.processes },
		Workload: func(cgroup uint64) (event.Workload, bool) {
			switch cgroup {
			case 1:
				return event.Workload{Unit: "nginx.service"}, true
			case 2:
				return event.Workload{Container: "web"}, true
			}
			return event.Workload{}, false
		},
		Since: func() uint64 { return s.since },
		Log:   slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	s.find = func(_ string, pid int) (Found, error) { return s.found[pid], s.failing[pid] }
	s.swept = s.now
	return s
}

func (s *scene) add(pid uint32, cgroup uint64, age time.Duration, found Found) {
	p := &event.Process{}
	p.PID, p.CgroupID, p.Start = pid, cgroup, s.since-uint64(age)
	s.processes = append(s.processes, p)
	s.found[int(pid)] = found
}

func (s *scene) expect(t *testing.T, after time.Duration, want ...string) {
	t.Helper()
	s.now = s.now.Add(after)
	s.since += uint64(after)
	s.round(s.now)
	if got := s.recorder.take(); !slices.Equal(got, want) {
		t.Errorf("after %s: %q, want %q", after, got, want)
	}
}

var mapsOpenSSL = Found{Libraries: []Library{{Name: "gnutls", Path: "/usr/lib/libgnutls.so.30"}, {Name: openSSL, Path: "/usr/lib/libssl.so.3"}}}

func TestTLSTracesChosenWorkloads(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"nginx.service"}, Delay: 30 * time.Second})
	s.add(11, 1, time.Minute, mapsOpenSSL)
	s.add(12, 2, time.Minute, mapsOpenSSL) // another workload
	s.add(13, 3, time.Minute, mapsOpenSSL) // not known
	s.expect(t, 0, "trace 11 of 1: /host/proc/11/root|/usr/lib/libssl.so.3")
	s.expect(t, tlsEvery)
	s.processes = nil
	s.expect(t, tlsEvery, "untrace 11")
	s.expect(t, tlsEvery)
}

func TestTLSWaitsForTheDelay(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"web"}, Delay: 30 * time.Second})
	s.add(12, 2, 20*time.Second, Found{Go: "go1.26"})
	s.expect(t, 0)
	s.expect(t, 9*time.Second)
	s.expect(t, time.Second, "trace 12 of 2: |/host/proc/12/exe go")
}

func TestTLSNamesEveryFile(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"*"}})
	both := mapsOpenSSL
	both.Go, both.SSL = "go1.26", true
	s.add(12, 2, time.Hour-1, both)
	s.add(14, 2, time.Minute, Found{}) // has none: nobody is asked
	s.expect(t, 0, "trace 12 of 2: /host/proc/12/root|/usr/lib/libssl.so.3 |/host/proc/12/exe |/host/proc/12/exe go")
}

// TestTLSLooksAgain: a process may load a library later, at most once more for each time its age doubles; and one whose number
// is used again is another.
func TestTLSLooksAgain(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"web"}})
	s.add(12, 2, time.Minute, Found{})
	s.swept = s.now.Add(time.Hour) // not of interest here
	s.expect(t, 0)
	s.expect(t, time.Minute-1)
	s.expect(t, 1) // looked at, in vain
	s.found[12] = mapsOpenSSL
	s.expect(t, 2*time.Minute-1)
	s.expect(t, 1, "trace 12 of 2: /host/proc/12/root|/usr/lib/libssl.so.3")
	s.processes = nil
	s.add(12, 2, time.Second, mapsOpenSSL)
	s.expect(t, tlsEvery, "untrace 12", "trace 12 of 2: /host/proc/12/root|/usr/lib/libssl.so.3")
}

// TestTLSGoesOnAfterErrors: a process that ends while it is looked at, and one that cannot be probed, hold up nobody.
func TestTLSGoesOnAfterErrors(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"web"}})
	s.recorder.err = errors.New("refused")
	s.add(12, 2, 3*time.Minute, mapsOpenSSL)
	s.add(13, 2, 2*time.Minute, Found{})
	s.failing[13] = fs.ErrNotExist
	s.add(14, 2, time.Minute, mapsOpenSSL)
	s.expect(t, 0, "trace 12 of 2: /host/proc/12/root|/usr/lib/libssl.so.3", "trace 14 of 2: /host/proc/14/root|/usr/lib/libssl.so.3")
	s.expect(t, tlsEvery) // not again at once
	s.swept = s.now.Add(time.Hour)
	s.expect(t, tlsLookAgain, "trace 12 of 2: /host/proc/12/root|/usr/lib/libssl.so.3", "trace 14 of 2: /host/proc/14/root|/usr/lib/libssl.so.3")
	if n := strings.Count(s.log.String(), "err=refused"); n != 2 {
		t.Errorf("%d refusals are told, want one for each process:\n%s", n, s.log.String())
	}
}

func TestTLSBounds(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"web"}})
	for pid := range uint32(maxTraced + 40) {
		s.add(pid, 2, time.Hour-time.Duration(pid)*time.Millisecond, mapsOpenSSL)
	}
	for range maxTraced / maxLooked {
		s.round(s.now)
		if n := len(s.recorder.take()); n != maxLooked {
			t.Fatalf("one round looked at %d processes, want %d", n, maxLooked)
		}
	}
	s.expect(t, 0)
	s.processes = s.processes[1:] // the oldest ends: another one has its place
	s.expect(t, tlsEvery, "untrace 0", fmt.Sprintf("trace %d of 2: /host/proc/%d/root|/usr/lib/libssl.so.3", maxTraced, maxTraced))
}

func TestTLSSweeps(t *testing.T) {
	t.Parallel()
	s := newScene(TLSConfig{Workloads: []string{"web"}})
	s.add(12, 1, time.Minute, Found{})
	s.add(14, 1, time.Minute, Found{})
	s.expect(t, tlsSweep-1)
	s.expect(t, 1, "sweep, alive: 12 14")
	s.expect(t, 1)
}

func TestTLSOffDoesNothing(t *testing.T) {
	t.Parallel()
	if DefaultTLS.On() {
		t.Error("somebody is looked into by default")
	}
}

// TestTLSIsChangedByTheNextStart: a reload that changes it says that it has not, and one that does not says nothing.
func TestTLSIsChangedByTheNextStart(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	c := TLSConfig{Workloads: []string{"web"}, Delay: time.Second}
	s := NewTLS(TLSOptions{Config: c, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.Configure(c)
	if log.Len() > 0 {
		t.Errorf("without a change: %s", log.String())
	}
	for _, other := range []TLSConfig{{Workloads: c.Workloads}, {Workloads: []string{"shop"}, Delay: c.Delay}, {}} {
		log.Reset()
		s.Configure(other)
		if !strings.Contains(log.String(), "requests.tls") {
			t.Errorf("changed to %v: %q", other, log.String())
		}
	}
}
