package requests

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
)

// Bounds of Names. The kernel's own table of names is as large, so that what does not fit here is what was left behind.
const (
	maxSpelled = 16384
	// maxWait is how long a name may be counted without its spelling, which the kernel tells at once, but in a buffer that
	// is read some ten times a second.
	maxWait = 3 * time.Second
)

// Names spells the names that the kernel side has hashed. What a request is called never changes once it was said: a
// name whose spelling does not come in time is `other` for good, as a series must not move to another. Its methods may
// be called from any goroutine.
type Names struct {
	mu           sync.Mutex
	slots        map[uint32]*slotNames
	count        int
	clientRoutes bool
	dnsNames     bool
	lost         Lost
}

// slotNames are the names of one owner of a slot.
type slotNames struct {
	generation uint32
	told       bool // generation is known: the first spelling tells it
	names      map[nameKey]spelling
}

type nameKey struct {
	hash     uint32
	protocol string
	server   bool
}

type spelling struct {
	text  string // empty while it is waited for
	since time.Time
}

// Lost is how many names became `other`, by why.
type Lost struct {
	Full   uint64 // there was no room for their spelling
	Untold uint64 // their spelling has not come
}

// NewNames returns Names that know none yet, and show what c says.
func NewNames(c Config) *Names {
	n := &Names{slots: map[uint32]*slotNames{}}
	n.Configure(c)
	return n
}

// Configure changes which names are shown.
func (n *Names) Configure(c Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clientRoutes, n.dnsNames = c.ClientRoutes, c.DNSNames
}

// Learn takes the spelling of a name from the sample that tells it. Samples without one are ignored.
func (n *Names) Learn(s *bpf.RequestSample) {
	if s.Kind&bpf.SampleName == 0 || s.Name <= bpf.OtherName {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	owner := n.owner(s.Slot)
	switch {
	case !owner.told || owner.generation == s.Generation:
	case owner.generation > s.Generation:
		return // of one before
	default:
		n.forget(s.Slot)
		owner = n.owner(s.Slot)
	}
	owner.generation, owner.told = s.Generation, true
	key := nameOf(&s.RequestKey)
	known, waiting := owner.names[key]
	switch {
	case known.text != "":
		return
	case !waiting && n.count >= maxSpelled:
		n.lost.Full++
		return
	case !waiting:
		n.count++
	}
	owner.names[key] = spelling{text: Spell(s.Protocol, s.Text)}
}

func (n *Names) owner(slot uint32) *slotNames {
	owner := n.slots[slot]
	if owner == nil {
		owner = &slotNames{names: map[nameKey]spelling{}}
		n.slots[slot] = owner
	}
	return owner
}

func nameOf(k *bpf.RequestKey) nameKey { return nameKey{k.Name, k.Protocol, k.Server} }

// Of returns what a request is called; false while its spelling is waited for.
func (n *Names) Of(k *bpf.RequestKey, now time.Time) (name string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case k.Name == bpf.NoName || n.hidden(k):
		return "", true
	case k.Name == bpf.OtherName:
		return other, true
	}
	owner := n.owner(k.Slot)
	key := nameOf(k)
	s, waiting := owner.names[key]
	switch {
	case s.text != "":
		return s.text, true
	case !waiting && n.count >= maxSpelled:
		return other, true
	case !waiting:
		owner.names[key] = spelling{since: now}
		n.count++
		return "", false
	case now.Sub(s.since) < maxWait:
		return "", false
	}
	n.lost.Untold++
	owner.names[key] = spelling{text: other}
	return other, true
}

// hidden says whether names of that kind are not shown at all.
func (n *Names) hidden(k *bpf.RequestKey) bool {
	switch k.Protocol {
	case "http", "http2":
		return !k.Server && !n.clientRoutes
	case "dns":
		return !n.dnsNames
	}
	return false
}

// Forget drops the names of a slot, which is about to be given to somebody else.
func (n *Names) Forget(slot uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(slot)
}

func (n *Names) forget(slot uint32) {
	if owner := n.slots[slot]; owner != nil {
		n.count -= len(owner.names)
		delete(n.slots, slot)
	}
}

// Lost returns how many names became `other`.
func (n *Names) Lost() Lost {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}

// Spell turns what stands on the wire into a name that may be shown: the route of a path, the operation of a statement.
// It is never empty, as an empty one stands for a request without a name.
func Spell(protocol, text string) string {
	name := ""
	switch protocol {
	case "http", "http2":
		name = Route(text)
	case "grpc":
		name = strings.TrimPrefix(text, "/") // the conventions' package.Service/Method
	case "dns":
		name = strings.ToLower(strings.TrimSuffix(text, "."))
	case "redis", "postgresql", "mysql", "nats":
		name = strings.ToUpper(Operation(protocol, text)) // they may be written either way
	default:
		name = Operation(protocol, text)
	}
	if name == "" || !utf8.ValidString(name) {
		return other
	}
	return strings.Clone(host.RedactText(name)) // Clone: what it was cut out of may be longer
}
