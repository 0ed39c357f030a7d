package rules

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/expr"
)

// A Hosts knows the addresses of the hosts that rules name, for fd.sip.name and its kin: the rules' names are looked up,
// never the addresses of peers, which anybody may name as they like.
type Hosts struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	mu    sync.RWMutex
	known map[string][]netip.Addr
	fresh chan struct{} // told when a host was added
}

// Bounds of Hosts.
const (
	maxHosts      = 2048
	hostsAreKept  = 5 * time.Minute // until they are looked up again
	lookupTimeout = 10 * time.Second
)

// NewHosts knows none yet. Lookup is nil but in tests.
func NewHosts(lookup func(ctx context.Context, host string) ([]netip.Addr, error)) *Hosts {
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return &Hosts{lookup: lookup, known: map[string][]netip.Addr{}, fresh: make(chan struct{}, 1)}
}

// Resolve returns what is known of a host. It does not wait: a new host is looked up soon.
func (h *Hosts) Resolve(host string) []netip.Addr {
	h.mu.RLock()
	addrs, ok := h.known[host]
	full := len(h.known) >= maxHosts
	h.mu.RUnlock()
	if ok || full {
		return addrs
	}
	h.mu.Lock()
	if _, ok := h.known[host]; !ok {
		h.known[host] = nil
	}
	h.mu.Unlock()
	select {
	case h.fresh <- struct{}{}:
	default:
	}
	return nil
}

// expect has the hosts looked up that a check names.
func (h *Hosts) expect(c *expr.Check) {
	if f, ok := c.Left.(*expr.FieldRef); ok && strings.HasPrefix(f.Name, "fd.") && strings.HasSuffix(f.Name, "ip.name") {
		for _, host := range constants(c) {
			h.Resolve(host)
		}
	}
}

// Run looks hosts up, and again every few minutes, until ctx is done. What cannot be looked up stays as it was.
func (h *Hosts) Run(ctx context.Context) error {
	again := time.NewTicker(hostsAreKept)
	defer again.Stop()
	for all := false; ; {
		h.lookUp(ctx, all)
		select {
		case <-ctx.Done():
			return nil
		case <-h.fresh:
			all = false
		case <-again.C:
			all = true
		}
	}
}

func (h *Hosts) lookUp(ctx context.Context, all bool) {
	h.mu.RLock()
	var hosts []string
	for host, addrs := range h.known {
		if all || addrs == nil {
			hosts = append(hosts, host)
		}
	}
	h.mu.RUnlock()
	for _, host := range hosts {
		if ctx.Err() != nil {
			return
		}
		addrs := h.ask(ctx, host)
		if addrs == nil {
			continue
		}
		h.mu.Lock()
		h.known[host] = addrs
		h.mu.Unlock()
	}
}

func (h *Hosts) ask(ctx context.Context, host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := h.lookup(ctx, host)
	if err != nil {
		return nil
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs
}
