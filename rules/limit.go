package rules

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/yagura-io/yagura/rules/event"
)

// A Rate is how many hits of one rule are told: PerSecond on the long run, Burst at once. Zero values mean DefaultRate's.
type Rate struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst"`
}

// DefaultRate lets a rule tell 10 hits a second, and 200 at once.
var DefaultRate = Rate{PerSecond: 10, Burst: 200}

// Validate refuses rates that tell nothing.
func (r Rate) Validate() error {
	if r.PerSecond < 0 || r.Burst < 0 || r.PerSecond > 1e6 || r.Burst > 1e6 {
		return fmt.Errorf("rules: rate: %v per second and a burst of %d: want 0 to 1,000,000 of each", r.PerSecond, r.Burst)
	}
	return nil
}

// A limiter is a bucket of tokens, filled by the time of the events, so that a replay tells the same hits as life did.
type limiter struct {
	mu         sync.Mutex
	rate       Rate
	tokens     float64
	last       int64
	suppressed atomic.Uint64
}

func (l *limiter) setRate(r Rate) {
	if r.PerSecond == 0 {
		r.PerSecond = DefaultRate.PerSecond
	}
	if r.Burst == 0 {
		r.Burst = DefaultRate.Burst
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == 0 || l.rate != r {
		l.tokens = float64(r.Burst)
	}
	l.rate = r
}

// allow says whether a hit at a time, in Unix nanoseconds, is to be told, and counts it if not.
func (l *limiter) allow(at int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != 0 && at > l.last {
		l.tokens = min(float64(l.rate.Burst), l.tokens+float64(at-l.last)/1e9*l.rate.PerSecond)
	}
	l.last = max(l.last, at)
	if l.tokens < 1 {
		l.suppressed.Add(1)
		return false
	}
	l.tokens--
	return true
}

// redactions are copies of processes without the secrets of their command lines and environments.
type redactions struct {
	redact func([]string) []string
	text   func(string) string
	shown  map[*event.Process]*event.Process
}

// maxRedactions bounds how many copies are kept; beyond, all are made again.
const maxRedactions = 1024

// clone copies an event for people.
func (s *redactions) clone(ev *event.Event) *event.Event {
	c := ev.Clone()
	c.Process = s.process(ev.Process)
	if s.text != nil && len(c.Call.Data) > 0 {
		c.Call.Data = []byte(s.text(string(c.Call.Data)))
	}
	if s.text != nil && c.Change != nil && c.Change.Diff != "" {
		c.Change = s.change(c.Change)
	}
	return c
}

// change hides what is secret in a change's texts, of each line by itself.
func (s *redactions) change(c *event.FileChange) *event.FileChange {
	shown := *c
	lines := strings.Split(c.Diff, "\n")
	for i := range lines {
		lines[i] = s.text(lines[i])
	}
	shown.Diff = strings.Join(lines, "\n")
	return &shown
}

func (s *redactions) process(p *event.Process) *event.Process {
	if p == nil {
		return nil
	}
	if s.shown == nil {
		s.shown = map[*event.Process]*event.Process{}
	}
	if c := s.shown[p]; c != nil {
		return c
	}
	if len(s.shown) >= maxRedactions {
		clear(s.shown)
	}
	c := *p
	if s.redact != nil {
		c.Args = s.redact(p.Args)
		if p.Env != nil {
			c.Env = s.redact(p.Env)
		}
	}
	c.Parent = s.process(p.Parent)
	s.shown[p] = &c
	return &c
}
