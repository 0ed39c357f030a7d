package requests

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/yagura-io/yagura/rules/event"
)

func TestNameSaysWhoAWorkloadIs(t *testing.T) {
	for want, w := range map[string]event.Workload{
		"shop/web-1/app": {Namespace: "shop", Pod: "web-1", Container: "app"},
		"shop/web-1":     {Namespace: "shop", Pod: "web-1"},
		"web":            {Container: "web"},
		"nginx.service":  {Unit: "nginx.service"},
		"host":           {},
	} {
		if got := Name(w); got != want {
			t.Errorf("Name(%+v) = %s, want %s", w, got, want)
		}
	}
}

// replies is a DNS message that answers for a name.
func replies(t testing.TB, name string, ttl uint32, addrs ...string) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	for _, a := range addrs {
		h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}
		var body dnsmessage.ResourceBody = &dnsmessage.AAAAResource{AAAA: addr(a).As16()}
		if addr(a).Is4() {
			body = &dnsmessage.AResource{A: addr(a).As4()}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFindClimbsTheLadder(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	workloads := map[string]event.Workload{"10.244.0.5:8080": pod("web-1", "app"), "10.244.0.6:8080": pod("web-2", "app"), "10.0.0.1:22": {}}
	o := PeersOptions{
		Config: EdgesConfig{Networks: map[string][]string{"office": {"10.20.0.0/16"}}, DNSNames: true, DNSNamesLimit: 50},
		Workload: func(e netip.AddrPort) (event.Workload, bool) {
			w, ok := workloads[e.String()]
			return w, ok
		},
		Service: func(e netip.AddrPort) (string, bool) {
			return "shop/cart", e == end("10.96.0.7:80") || e == end("10.244.9.1:9000")
		},
		NAT: func(e netip.AddrPort) []netip.AddrPort {
			return map[netip.AddrPort][]netip.AddrPort{
				end("10.96.0.1:80"):   {end("10.244.0.5:8080")},
				end("10.96.0.2:80"):   {end("10.244.0.5:8080"), end("10.244.0.6:8080")},
				end("10.96.0.3:80"):   {end("10.20.0.1:8080")},
				end("10.96.0.4:80"):   {end("10.20.0.1:8080"), end("8.8.8.8:8081")},
				end("10.96.0.7:80"):   {end("10.244.0.5:8080"), end("10.244.0.6:8080")},
				end("10.96.0.8:80"):   {end("10.244.9.1:9000")},
				end("198.51.100.9:0"): {end("10.244.0.5:8080")},
			}[e]
		},
	}
	p := mustPeers(t, o)
	p.Remember(3, replies(t, "API.example.com.", 60, "203.0.113.1", "2001:db8::1", "10.20.0.9", "10.244.0.5"), now)
	for _, c := range []struct {
		name, peer string
		isServer   bool
		want       string
		rung       Rung
		port       uint16
	}{
		{"a workload's address", "10.244.0.5:8080", true, "shop/web-1/app", ByWorkload, 8080},
		{"the same, mapped", "[::ffff:10.244.0.5]:8080", true, "shop/web-1/app", ByWorkload, 8080},
		{"the host itself", "10.0.0.1:22", true, "host", ByWorkload, 22},
		{"translated to a workload", "10.96.0.1:80", true, "shop/web-1/app", ByWorkload, 8080},
		{"a client is not translated", "198.51.100.9:0", false, "internet", ByNetwork, 0},
		{"translated to several", "10.96.0.2:80", true, "private", ByNetwork, 8080},
		{"translated into a network", "10.96.0.3:80", true, "office", ByNetwork, 8080},
		{"translated into several networks", "10.96.0.4:80", true, "private", ByNetwork, 80},
		{"a service of several workloads", "10.96.0.7:80", true, "shop/cart", ByService, 8080},
		{"a service behind a translation", "10.96.0.8:80", true, "shop/cart", ByService, 9000},
		{"a name by DNS", "203.0.113.1:443", true, "api.example.com", ByDNS, 443},
		{"the same by IPv6", "[2001:db8::1]:443", true, "api.example.com", ByDNS, 443},
		{"a name is better than a network", "10.20.0.9:443", true, "api.example.com", ByDNS, 443},
		{"a named network", "10.20.1.1:5432", true, "office", ByNetwork, 5432},
		{"private", "192.168.3.4:5432", true, "private", ByNetwork, 5432},
		{"loopback", "127.0.0.1:6379", true, "localhost", ByNetwork, 6379},
		{"loopback, with a zone", "[fe80::1%eth0]:1", true, "link_local", ByNetwork, 1},
		{"the rest", "198.51.100.1:443", true, "internet", ByNetwork, 443},
		{"what the kernel had no room for", "0.0.0.0:0", true, "other", ByNetwork, 0},
	} {
		got := p.Find(3, end(c.peer), c.isServer, now)
		if got.Name != c.want || got.Rung != c.rung || got.Port != c.port {
			t.Errorf("%s: %+v, want %s, rung %d, port %d", c.name, got, c.want, c.rung, c.port)
		}
	}
	if got := p.Find(3, netip.AddrPort{}, true, now); got.Name != "other" {
		t.Errorf("no address: %+v", got)
	}
}

// Nothing of a peer is shown that was not configured.
func TestFindShowsNeitherNamesNorAddressesUnlessAsked(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		config EdgesConfig
		want   [3]string // of a resolved address, of one in a named network, of another
	}{
		{DefaultEdges, [3]string{"internet", "private", "internet"}},
		{EdgesConfig{DNSNames: true, DNSNamesLimit: 5}, [3]string{"api.example.com", "private", "internet"}},
		{EdgesConfig{PeerAddresses: true, Networks: map[string][]string{"office": {"10.20.0.0/16"}}}, [3]string{"203.0.113.1", "office", "198.51.100.1"}},
	} {
		p := mustPeers(t, PeersOptions{Config: c.config})
		p.Remember(1, replies(t, "api.example.com.", 60, "203.0.113.1"), now)
		for i, a := range []string{"203.0.113.1:443", "10.20.1.1:443", "198.51.100.1:443"} {
			if got := p.Find(1, end(a), true, now); got.Name != c.want[i] {
				t.Errorf("%+v: %s is %s, want %s", c.config, a, got.Name, c.want[i])
			}
		}
	}
}

func TestNamesOfAWorkloadAreBounded(t *testing.T) {
	p := mustPeers(t, PeersOptions{Config: EdgesConfig{DNSNames: true, DNSNamesLimit: 3}})
	named := func(w event.Workload, name string) string { return p.Bounded(w, Peer{Name: name, Rung: ByDNS}) }
	a, b := container("a"), container("b")
	for i := range 100 {
		want := fmt.Sprint("n", i)
		if i >= 3 {
			want = "other"
		}
		if got := named(a, fmt.Sprint("n", i)); got != want {
			t.Errorf("name %d: %s, want %s", i, got, want)
		}
	}
	if got := named(a, "n1"); got != "n1" {
		t.Errorf("an early name, later: %s", got)
	}
	if got := named(b, "n77"); got != "n77" {
		t.Errorf("another workload: %s", got)
	}
	if got := p.Bounded(a, Peer{Name: "office"}); got != "office" {
		t.Errorf("a network: %s", got)
	}
	p.Forget(func(w event.Workload) bool { return w == b })
	if got := named(a, "n50"); got != "n50" {
		t.Errorf("after the workload has ended and begun anew: %s", got)
	}
}

func TestEdgesConfigRefusesWhatItCannotUse(t *testing.T) {
	if err := DefaultEdges.Validate(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]EdgesConfig{
		"dns_name_limit: -1: want 0 to 1000":   {DNSNamesLimit: -1},
		"dns_name_limit: 1001: want 0 to 1000": {DNSNamesLimit: 1001},
		`networks.a: "x": want a network`:      {Networks: map[string][]string{"a": {"x"}}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	if _, err := NewPeers(PeersOptions{Config: EdgesConfig{Networks: map[string][]string{"a": {"x"}}}}); err == nil {
		t.Error("NewPeers took it")
	}
}

func TestAnswersAreTheAskersFirst(t *testing.T) {
	a, now := NewAnswers(), time.Unix(1_700_000_000, 0)
	a.Remember(1, replies(t, "one.example.", 60, "203.0.113.1"), now)
	a.Remember(2, replies(t, "two.example.", 60, "203.0.113.1"), now)
	for slot, want := range map[uint32]string{1: "one.example", 2: "two.example", 3: "two.example"} {
		if got, ok := a.Name(slot, addr("203.0.113.1"), now); got != want || !ok {
			t.Errorf("slot %d: %q, %v, want %s", slot, got, ok, want)
		}
	}
	if got, ok := a.Name(1, addr("203.0.113.2"), now); ok {
		t.Errorf("another address: %s", got)
	}
	a.Remember(1, []byte("garbage"), now)
	a.Remember(1, replies(t, "none.example.", 60), now)
	if a.Len() != 3 { // two askers', and anybody's
		t.Errorf("%d answers", a.Len())
	}
}

func TestAnswersHoldForAWhile(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		ttl   uint32
		lives time.Duration
	}{{0, 5 * time.Minute}, {60, 5 * time.Minute}, {1200, 20 * time.Minute}, {1 << 31, time.Hour}} {
		a := NewAnswers()
		a.Remember(1, replies(t, "api.example.", c.ttl, "203.0.113.1"), now)
		_, before := a.Name(1, addr("203.0.113.1"), now.Add(c.lives-time.Second))
		_, after := a.Name(1, addr("203.0.113.1"), now.Add(c.lives+time.Second))
		if !before || after {
			t.Errorf("ttl %d: known %v a second before %v, %v a second after", c.ttl, before, c.lives, after)
		}
	}
}

func TestAnswersKeepWhatIsUsed(t *testing.T) {
	a, now := NewAnswers(), time.Unix(1_700_000_000, 0)
	used := addr("203.0.113.1")
	a.Remember(1, replies(t, "used.example.", 3600, "203.0.113.1"), now)
	for i := range 100_000 {
		a.mu.Lock()
		a.keep(question{1, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}, answered{"x", now.Add(time.Hour)})
		a.mu.Unlock()
		if i%1000 == 0 {
			if _, ok := a.Name(1, used, now); !ok {
				t.Fatalf("an answer that is used is forgotten after %d others", i)
			}
		}
	}
	if n := a.Len(); n > 2*keptAnswers {
		t.Errorf("%d answers are kept", n)
	}
}

func TestHostNameIsOneThatPeopleWrite(t *testing.T) {
	for in, want := range map[string]string{
		"API.Example.COM.": "api.example.com", "_sip._tcp.example.": "_sip._tcp.example", "a-1.b": "a-1.b",
		"ev\x00il.example.": "", "spa ce.": "", "schön.example.": "", "<script>.": "", ".": "", strings.Repeat("a", 254): "",
	} {
		if got := hostName(in); got != want {
			t.Errorf("hostName(%q) = %q, want %q", in, got, want)
		}
	}
}
