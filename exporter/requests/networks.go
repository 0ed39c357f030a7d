package requests

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Names of the networks that are always known, from the most general one on. A configuration may name parts of them.
const (
	internet  = "internet"
	private   = "private"
	linkLocal = "link_local"
	multicast = "multicast"
	localhost = "localhost"
)

var wellKnown = map[string][]string{
	private:   {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"},
	linkLocal: {"169.254.0.0/16", "fe80::/10"},
	multicast: {"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"},
	localhost: {"127.0.0.0/8", "::1/128"},
}

// Bounds of a configuration.
const (
	maxNetworks     = 1000 // prefixes
	maxNetworkBytes = 64   // of a name
)

// Networks names addresses by the longest prefix that holds them. It never changes.
type Networks struct {
	names []string // an index stands for a name; 0 is the internet
	own   int      // names from this index on are the configuration's
	byLen []prefixes
}

type prefixes struct {
	bits  int
	index map[netip.Prefix]int
}

// NewNetworks returns the well-known networks and those of a configuration, which wins where both have one prefix.
func NewNetworks(named map[string][]string) (*Networks, error) {
	n := &Networks{names: []string{internet}}
	byLen := map[int]map[netip.Prefix]int{}
	if err := n.add(byLen, wellKnown); err != nil {
		return nil, err
	}
	n.own = len(n.names)
	if err := n.add(byLen, named); err != nil {
		return nil, err
	}
	for bits, index := range byLen {
		n.byLen = append(n.byLen, prefixes{bits, index})
	}
	slices.SortFunc(n.byLen, func(a, b prefixes) int { return cmp.Compare(b.bits, a.bits) })
	return n, nil
}

func (n *Networks) add(byLen map[int]map[netip.Prefix]int, named map[string][]string) error {
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if name == "" || len(name) > maxNetworkBytes {
			return fmt.Errorf("networks: name %q: want 1 to %d bytes", name, maxNetworkBytes)
		}
		n.names = append(n.names, name)
		for _, text := range named[name] {
			p, err := parseNetwork(text)
			if err != nil {
				return fmt.Errorf("networks.%s: %w", name, err)
			}
			if byLen[p.Bits()] == nil {
				byLen[p.Bits()] = map[netip.Prefix]int{}
			}
			if i, taken := byLen[p.Bits()][p]; taken && i >= n.own && n.own > 0 {
				return fmt.Errorf("networks.%s: %s: it is %s's already", name, text, n.names[i])
			}
			byLen[p.Bits()][p] = len(n.names) - 1
		}
	}
	if len(n.names) > maxNetworks {
		return fmt.Errorf("networks: %d names: want at most %d", len(n.names), maxNetworks)
	}
	return nil
}

// parseNetwork reads a prefix, or one address. A prefix with bits behind its length is a mistake that hides another.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.WithZone("").Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q: want a network such as 10.20.0.0/16 or 2001:db8::/32", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q: want %s, or a longer prefix", text, p.Masked())
	}
	return p, nil
}

// index returns a number that stands for the name of an address's network.
func (n *Networks) index(addr netip.Addr) int {
	for _, l := range n.byLen {
		if l.bits > addr.BitLen() {
			continue
		}
		p, err := addr.Prefix(l.bits)
		if err != nil {
			break // there is no address
		}
		if i, ok := l.index[p]; ok {
			return i
		}
	}
	return 0
}

// Name returns the name of an address's network, and whether the configuration gave it.
func (n *Networks) Name(addr netip.Addr) (name string, configured bool) {
	i := n.index(addr.WithZone("").Unmap())
	return n.names[i], i >= n.own
}
