package requests

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// What of a process's connections can be read.
const (
	Seen      = "seen"       // all of them
	Encrypted = "encrypted"  // not all: its library could be probed
	StaticTLS = "static_tls" // not all: it has no library that could be probed
	IOUring   = "io_uring"   // what goes through its rings is not seen
)

// CoverageStates are all states, the worst last.
var CoverageStates = []string{Seen, Encrypted, StaticTLS, IOUring}

// Bounds: processes of one reading, verdicts that are kept and for how long, and processes that wait for one or hang.
const (
	maxHolders    = 1 << 14
	maxVerdicts   = 4096
	verdictLife   = 5 * time.Minute
	maxWaiting    = 64
	maxHanging    = 2
	examineWithin = 5 * time.Second
)

// A Coverage says which processes are blind spots. What it has to find in their files it finds while it runs; until then
// an encrypted connection could be read.
type Coverage struct {
	procfs  string
	log     *slog.Logger
	examine func(procfs string, pid int) (Found, error)
	now     func() time.Time
	waiting chan ProcessID

	mu       sync.Mutex
	verdicts map[ProcessID]verdict
	hanging  int
}

// A ProcessID is a process; Start, in ns since boot, tells it from others of the same number, if it is known.
type ProcessID struct {
	PID   uint32
	Start uint64
}

type verdict struct {
	unreadable bool // it has no library that could be probed
	until      time.Time
}

// NewCoverage returns one that has looked at nothing.
func NewCoverage(procfs string, log *slog.Logger) *Coverage {
	return &Coverage{procfs: procfs, log: log, examine: Libraries, now: time.Now, waiting: make(chan ProcessID, maxWaiting), verdicts: map[ProcessID]verdict{}}
}

// Run looks at the processes that State was asked for until ctx is done.
func (c *Coverage) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-c.waiting:
			c.look(ctx, p)
		}
	}
}

// look waits for one process's files, but not for ever: what hangs is left behind, and beyond a bound nothing is begun.
func (c *Coverage) look(ctx context.Context, p ProcessID) {
	if !c.begin() {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		found, err := c.examine(c.procfs, int(p.PID))
		c.end(p, &found, err)
	}()
	late := time.NewTimer(examineWithin)
	defer late.Stop()
	select {
	case <-done:
	case <-ctx.Done():
	case <-late.C:
		c.log.Warn("libraries of a process are not known: reading its files hangs", "pid", p.PID)
	}
}

func (c *Coverage) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hanging >= maxHanging {
		return false
	}
	c.hanging++
	return true
}

func (c *Coverage) end(p ProcessID, found *Found, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hanging--
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Debug("libraries of a process are not known", "pid", p.PID, "err", err)
	}
	c.verdicts[p] = verdict{unreadable: err == nil && !found.Readable(), until: c.now().Add(verdictLife)}
}

// State says what of a process can be read: whether a connection of its is encrypted, and whether it has rings, is known
// to who asks. It never waits.
func (c *Coverage) State(p ProcessID, isEncrypted, hasRings bool) string {
	switch {
	case hasRings:
		return IOUring
	case !isEncrypted:
		return Seen
	case c.isUnreadable(p):
		return StaticTLS
	}
	return Encrypted
}

// isUnreadable has a process looked at if that was not done lately.
func (c *Coverage) isUnreadable(p ProcessID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, now := c.verdicts[p], c.now()
	if now.Before(v.until) {
		return v.unreadable
	}
	if len(c.verdicts) >= maxVerdicts {
		clear(c.verdicts)
	}
	select {
	case c.waiting <- p:
		c.verdicts[p] = verdict{v.unreadable, now.Add(verdictLife)}
	default: // the next reading asks again
	}
	return v.unreadable
}

// Holders are the processes that hold a connection, as one reading finds them.
type Holders struct {
	by map[uint32]holder
}

type holder struct {
	workload    event.Workload
	isEncrypted bool
}

// Add notes whose call was the last one of a connection.
func (h *Holders) Add(o Owner, conn *bpf.Connection) {
	if h.by == nil {
		h.by = map[uint32]holder{}
	}
	p, known := h.by[conn.PID]
	if !known && len(h.by) >= maxHolders {
		return
	}
	p.workload = o.Workload
	p.isEncrypted = p.isEncrypted || conn.TLS == Encrypted
	h.by[conn.PID] = p
}

// Count counts them by workload and state. Those that have rings count even if no connection of theirs was seen; who they
// belong to is asked.
func (h *Holders) Count(c *Coverage, rings map[uint32]bool, start func(pid uint32) uint64, belongs func(pid uint32) (event.Workload, bool)) map[event.Workload]map[string]int {
	n := map[event.Workload]map[string]int{}
	add := func(w event.Workload, state string) {
		if n[w] == nil {
			n[w] = map[string]int{}
		}
		n[w][state]++
	}
	for pid, p := range h.by {
		add(p.workload, c.State(ProcessID{pid, start(pid)}, p.isEncrypted, rings[pid]))
	}
	for pid := range rings {
		if _, counted := h.by[pid]; counted {
			continue
		}
		if w, ok := belongs(pid); ok {
			add(w, IOUring)
		}
	}
	return n
}
