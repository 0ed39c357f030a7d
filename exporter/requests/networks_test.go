package requests

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func mustNetworks(t testing.TB, named map[string][]string) *Networks {
	t.Helper()
	n, err := NewNetworks(named)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNetworksNameAnAddressByTheLongestPrefix(t *testing.T) {
	n := mustNetworks(t, map[string][]string{
		"office":  {"10.20.0.0/16", "2001:db8::/32"},
		"printer": {"10.20.7.7"},
		"all_ten": {"10.0.0.0/8"}, // what was private has another name now
	})
	for _, c := range []struct {
		addr, name string
		configured bool
	}{
		{"10.20.1.1", "office", true},
		{"10.20.7.7", "printer", true},
		{"10.9.9.9", "all_ten", true},
		{"::ffff:10.20.1.1", "office", true},
		{"2001:db8:1::1", "office", true},
		{"2001:db9::1", "internet", false},
		{"192.168.1.1", "private", false},
		{"172.31.255.255", "private", false},
		{"172.32.0.0", "internet", false},
		{"100.64.0.1", "private", false},
		{"fd00::1", "private", false},
		{"127.8.8.8", "localhost", false},
		{"::1", "localhost", false},
		{"169.254.169.254", "link_local", false},
		{"fe80::1%eth0", "link_local", false},
		{"224.0.0.251", "multicast", false},
		{"255.255.255.255", "multicast", false},
		{"ff02::fb", "multicast", false},
		{"8.8.8.8", "internet", false},
	} {
		name, configured := n.Name(netip.MustParseAddr(c.addr))
		if name != c.name || configured != c.configured {
			t.Errorf("Name(%s) = %s, %v, want %s, %v", c.addr, name, configured, c.name, c.configured)
		}
	}
	if name, _ := n.Name(netip.Addr{}); name != "internet" {
		t.Errorf("no address: %s", name)
	}
}

func TestNetworksRefuseWhatTheyCannotUse(t *testing.T) {
	many := map[string][]string{}
	for i := range 1100 {
		many[strings.Repeat("x", i%60+1)+string(rune('a'+i/60))] = nil
	}
	for _, c := range []struct {
		named map[string][]string
		want  string
	}{
		{map[string][]string{"": {"10.0.0.0/8"}}, `networks: name "": want 1 to 64 bytes`},
		{map[string][]string{strings.Repeat("x", 65): nil}, "want 1 to 64 bytes"},
		{map[string][]string{"a": {"10.0.0.0/33"}}, `networks.a: "10.0.0.0/33": want a network such as`},
		{map[string][]string{"a": {"somewhere"}}, `"somewhere": want a network`},
		{map[string][]string{"a": {"10.20.1.0/16"}}, `"10.20.1.0/16": want 10.20.0.0/16, or a longer prefix`},
		{map[string][]string{"a": {"10.1.0.0/16"}, "b": {"10.1.0.0/16"}}, "networks.b: 10.1.0.0/16: it is a's already"},
		{many, "want at most 1000"},
	} {
		if _, err := NewNetworks(c.named); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.named, err, c.want)
		}
	}
}

func FuzzNetwork(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::1", "fe80::/10", "10.1.2.3", "fe80::1%eth0", "::ffff:1.2.3.4", "::ffff:1.2.3.0/120", "/", "fe80::/9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := NewNetworks(map[string][]string{"x": {text}})
		if err != nil {
			return
		}
		p, _ := parseNetwork(text)
		for _, known := range slices.Concat(slices.Collect(maps.Values(wellKnown))...) {
			if w := netip.MustParsePrefix(known); w.Bits() > p.Bits() && w.Contains(p.Addr()) {
				return // the longer prefix names it
			}
		}
		if name, configured := n.Name(p.Addr()); name != "x" || !configured {
			t.Errorf("%q: its own address is %s", text, name)
		}
	})
}
