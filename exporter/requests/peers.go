package requests

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// other stands for all that has no place of its own.
const other = "other"

// hostItself is the machine: its processes that are in no unit, and its addresses.
const hostItself = "host"

// Name is what a workload is called in the service map: namespace/pod/container, as far as it has them, or its unit.
func Name(w event.Workload) string {
	switch {
	case w.Namespace != "" || w.Pod != "":
		return strings.Join(slices.DeleteFunc([]string{w.Namespace, w.Pod, w.Container}, func(s string) bool { return s == "" }), "/")
	case w.Container != "":
		return w.Container
	case w.Unit != "":
		return w.Unit
	}
	return hostItself
}

// A Rung says how well a peer is known; more is better.
type Rung uint8

// The rungs of the ladder.
const (
	ByNetwork Rung = iota
	ByDNS
	ByService
	ByWorkload
)

// A Peer is who is at the other end. Port is the server's, behind what NAT has changed.
type Peer struct {
	Name     string
	Rung     Rung
	Workload event.Workload // ByWorkload
	Port     uint16
	Several  bool // NAT translates it to several ends, which are not one
}

// EdgesConfig is what is configured of the service map.
type EdgesConfig struct {
	Networks      map[string][]string `yaml:"networks"`       // names of networks, each with its prefixes
	DNSNames      bool                `yaml:"dns_names"`      // name peers as DNS has answered
	DNSNamesLimit int                 `yaml:"dns_name_limit"` // such names of one workload; the rest are other
	PeerAddresses bool                `yaml:"peer_addresses"` // show the address of a peer without a name
}

// DefaultEdges is used where the configuration says nothing. Names that DNS gives are chosen by whoever runs a workload,
// so they are off.
var DefaultEdges = EdgesConfig{DNSNamesLimit: 50}

// Validate tells the first field that cannot be used.
func (c EdgesConfig) Validate() error {
	if c.DNSNamesLimit < 0 || c.DNSNamesLimit > maxDNSNames {
		return fmt.Errorf("dns_name_limit: %d: want 0 to %d", c.DNSNamesLimit, maxDNSNames)
	}
	_, err := NewNetworks(c.Networks)
	return err
}

// maxDNSNames bounds what one workload's peers may be told apart by.
const maxDNSNames = 1000

// PeersOptions are what a ladder asks. What is nil is not asked.
type PeersOptions struct {
	Config   EdgesConfig
	Workload func(netip.AddrPort) (event.Workload, bool) // who has an address here
	Service  func(netip.AddrPort) (name string, ok bool) // what is behind the address of a service
	NAT      func(netip.AddrPort) []netip.AddrPort       // what it is translated to
}

// Peers names peers by the ladder: workload, service, DNS name, named network, internet. It may be used by many.
type Peers struct {
	o        PeersOptions
	networks *Networks
	answers  *Answers // nil if names are not asked for

	mu    sync.Mutex
	names map[event.Workload]map[string]bool // that a workload's peers may have by DNS
}

// NewPeers returns a ladder.
func NewPeers(o PeersOptions) (*Peers, error) {
	networks, err := NewNetworks(o.Config.Networks)
	if err != nil {
		return nil, err
	}
	p := &Peers{o: o, networks: networks, names: map[event.Workload]map[string]bool{}}
	if o.Config.DNSNames {
		p.answers = NewAnswers()
	}
	return p, nil
}

// Remember learns from a DNS message that was answered to a slot.
func (p *Peers) Remember(slot uint32, message []byte, now time.Time) {
	if p.answers != nil {
		p.answers.Remember(slot, message, now)
	}
}

// Names is how many names of addresses are kept from DNS.
func (p *Peers) Names() int {
	if p.answers == nil {
		return 0
	}
	return p.answers.Len()
}

// Find climbs the ladder for the peer of a slot: the server if it is asked, else a client.
func (p *Peers) Find(slot uint32, peer netip.AddrPort, isServer bool, now time.Time) Peer {
	peer = netip.AddrPortFrom(peer.Addr().WithZone("").Unmap(), peer.Port())
	if !peer.Addr().IsValid() || peer.Addr().IsUnspecified() {
		return Peer{Name: other}
	}
	ends := []netip.AddrPort{peer}
	if isServer && p.o.NAT != nil {
		if real := p.o.NAT(peer); len(real) > 0 {
			ends = real
		}
	}
	found := Peer{Port: portOf(ends, peer.Port())}
	if w, ok := p.workload(ends); ok {
		found.Name, found.Rung, found.Workload = Name(w), ByWorkload, w
		return found
	}
	found.Several = len(ends) > 1
	if name, ok := p.service(peer, ends); ok {
		found.Name, found.Rung = name, ByService
		return found
	}
	if name, ok := p.dnsName(slot, peer.Addr(), now); ok {
		found.Name, found.Rung = name, ByDNS
		return found
	}
	found.Name = p.network(peer.Addr(), ends)
	return found
}

// portOf is the port that all ends have, or the one that was asked for.
func portOf(ends []netip.AddrPort, asked uint16) uint16 {
	for _, e := range ends {
		if e.Port() != ends[0].Port() {
			return asked
		}
	}
	return ends[0].Port()
}

// workload is the one that has all ends: of several, nobody knows which had the requests.
func (p *Peers) workload(ends []netip.AddrPort) (event.Workload, bool) {
	if p.o.Workload == nil {
		return event.Workload{}, false
	}
	return agreed(ends, p.o.Workload)
}

// service names what was asked for, else what stands behind it.
func (p *Peers) service(peer netip.AddrPort, ends []netip.AddrPort) (string, bool) {
	if p.o.Service == nil {
		return "", false
	}
	if name, ok := p.o.Service(peer); ok {
		return name, true
	}
	return agreed(ends, p.o.Service)
}

// dnsName is the name of the address that was asked for: what stands behind it, nobody has looked up.
func (p *Peers) dnsName(slot uint32, addr netip.Addr, now time.Time) (string, bool) {
	if p.answers == nil {
		return "", false
	}
	return p.answers.Name(slot, addr, now)
}

// network always has a name.
func (p *Peers) network(addr netip.Addr, ends []netip.AddrPort) string {
	if name, ok := agreed(ends, func(e netip.AddrPort) (string, bool) { return p.networkName(e.Addr()), true }); ok {
		return name
	}
	return p.networkName(addr)
}

func (p *Peers) networkName(addr netip.Addr) string {
	name, configured := p.networks.Name(addr)
	if p.o.Config.PeerAddresses && !configured {
		return addr.String()
	}
	return name
}

// agreed asks for all ends, and has an answer if they all have the same.
func agreed[T comparable](ends []netip.AddrPort, ask func(netip.AddrPort) (T, bool)) (T, bool) {
	var none T
	first, ok := ask(ends[0])
	for _, e := range ends[1:] {
		if answer, found := ask(e); !ok || !found || answer != first {
			return none, false
		}
	}
	return first, ok
}

// Bounded is the name of a peer as a label: of names by DNS, a workload has its first ones.
func (p *Peers) Bounded(w event.Workload, found Peer) string {
	if found.Rung != ByDNS {
		return found.Name
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	names := p.names[w]
	if names == nil {
		names = map[string]bool{}
		p.names[w] = names
	}
	if !names[found.Name] && len(names) >= p.o.Config.DNSNamesLimit {
		return other
	}
	names[found.Name] = true
	return found.Name
}

// Forget drops what is kept of workloads that have ended.
func (p *Peers) Forget(alive func(event.Workload) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.names {
		if !alive(w) {
			delete(p.names, w)
		}
	}
}
