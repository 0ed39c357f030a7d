package requests

import (
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// Addresses knows who has which address on this machine. It never changes.
type Addresses struct {
	host    []netip.Addr
	by      map[netip.Addr][]event.Workload
	listens func(w event.Workload, port uint16) bool
}

// NewAddresses returns the addresses of containers, as their runtimes tell them, and of the host. Listens says who has a
// port: containers of one pod share an address.
func NewAddresses(containers []*event.Container, host []netip.Addr, listens func(event.Workload, uint16) bool) *Addresses {
	a := &Addresses{host: host, by: map[netip.Addr][]event.Workload{}, listens: listens}
	for _, c := range containers {
		addr, err := netip.ParseAddr(c.IP)
		if err != nil || c.HostNetwork || c.IsSandbox {
			continue
		}
		if addr = addr.Unmap(); !slices.Contains(a.by[addr], c.Workload) {
			a.by[addr] = append(a.by[addr], c.Workload)
		}
	}
	return a
}

// Workload returns who has an address: of several containers that one which listens at the port, or their pod.
func (a *Addresses) Workload(e netip.AddrPort) (event.Workload, bool) {
	those := a.by[e.Addr()]
	switch len(those) {
	case 0:
		return event.Workload{}, slices.Contains(a.host, e.Addr())
	case 1:
		return those[0], true
	}
	pod := event.Workload{Namespace: those[0].Namespace, Pod: those[0].Pod}
	for _, w := range those {
		if a.listens(w, e.Port()) {
			return w, true
		}
		if w.Pod != pod.Pod || w.Namespace != pod.Namespace {
			pod = event.Workload{}
		}
	}
	return pod, pod.Pod != ""
}

// maxAddressFile bounds what is read of the files of addresses.
const maxAddressFile = 4 << 20

// HostAddresses returns the addresses of the host's network name space, but for those that every machine has.
func HostAddresses(procfs string) ([]netip.Addr, error) {
	v4, err := readBounded(filepath.Join(procfs, "1/net/fib_trie"))
	if err != nil {
		return nil, err
	}
	addrs := parseTrie(v4)
	v6, err := readBounded(filepath.Join(procfs, "1/net/if_inet6"))
	if err != nil && !os.IsNotExist(err) { // a machine may have no IPv6
		return nil, err
	}
	addrs = append(addrs, parseInterfaces(v6)...)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}

func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAddressFile))
	return string(text), err
}

// parseTrie reads the addresses of fib_trie: a line that has one is followed by lines of what it is.
func parseTrie(text string) (addrs []netip.Addr) {
	var last netip.Addr
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if leaf, ok := strings.CutPrefix(line, "|-- "); ok {
			last, _ = netip.ParseAddr(leaf)
		} else if line == "/32 host LOCAL" && last.Is4() && !last.IsLoopback() {
			addrs = append(addrs, last)
		}
	}
	return addrs
}

// parseInterfaces reads the addresses of if_inet6, which stand first on each line. Link-local ones are everybody's.
func parseInterfaces(text string) (addrs []netip.Addr) {
	for line := range strings.Lines(text) {
		digits, _, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(digits)
		addr, ok := netip.AddrFromSlice(b)
		if err == nil && ok && addr.Is6() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}
