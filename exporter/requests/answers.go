package requests

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// What is kept of answers: how many at least, and how long beyond and at most what they say themselves. A connection is
// often used for longer than its answer holds.
const (
	keptAnswers   = 4096
	minAnswerLife = 5 * time.Minute
	maxAnswerLife = time.Hour
)

// Answers remembers which names this machine has seen resolved to which addresses. It may be used by many. It keeps what
// was used lately: two generations, of which the older one goes when the younger one is full.
type Answers struct {
	mu           sync.Mutex
	young, older map[question]answered
}

// A question is who asked, or nobody in particular, for what came out as the address.
type question struct {
	asker uint32 // a slot
	addr  netip.Addr
}

// anybody asks what a workload did not ask itself.
const anybody = ^uint32(0)

type answered struct {
	name  string
	until time.Time
}

// NewAnswers returns one that knows no name.
func NewAnswers() *Answers {
	return &Answers{young: map[question]answered{}, older: map[question]answered{}}
}

// Remember learns from a DNS message that was answered to a slot.
func (a *Answers) Remember(slot uint32, message []byte, now time.Time) {
	answer, err := ParseAnswer(message)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range answer.Addresses {
		found := answered{answer.Name, now.Add(min(max(r.TTL, minAnswerLife), maxAnswerLife))}
		a.keep(question{slot, r.Addr}, found)
		a.keep(question{anybody, r.Addr}, found)
	}
}

// keep enters an answer into the young generation. mu is held.
func (a *Answers) keep(q question, found answered) {
	if len(a.young) >= keptAnswers {
		a.young, a.older = map[question]answered{}, a.young
	}
	a.young[q] = found
}

// Name returns what a slot, or else anybody here, has last asked for and got this address.
func (a *Answers) Name(slot uint32, addr netip.Addr, now time.Time) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range [...]question{{slot, addr}, {anybody, addr}} {
		if found, ok := a.find(q); ok && now.Before(found.until) {
			return found.name, true
		}
	}
	return "", false
}

func (a *Answers) find(q question) (answered, bool) {
	if found, ok := a.young[q]; ok {
		return found, true
	}
	found, ok := a.older[q]
	if ok {
		a.keep(q, found)
	}
	return found, ok
}

// Len is how many answers are kept.
func (a *Answers) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.young) + len(a.older)
}

// hostName is a name as people write it, or nothing if it is no host's.
func hostName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > 253 || strings.ContainsFunc(name, func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	}) {
		return ""
	}
	return name
}
