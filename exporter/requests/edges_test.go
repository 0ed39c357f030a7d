package requests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// A fakeKernel is a Source. What runs between its two looks may end connections.
type fakeKernel struct {
	ended   map[bpf.Edge]bpf.EdgeTotals
	open    []*bpf.Connection
	between func()
	fails   error
	owners  map[uint32]Owner
	listens []uint16
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{ended: map[bpf.Edge]bpf.EdgeTotals{}, owners: map[uint32]Owner{0: {0, event.Workload{Container: "other"}}}}
}

func (k *fakeKernel) Edges(yield func(bpf.Edge, *bpf.EdgeTotals)) error {
	for e, t := range k.ended {
		yield(e, &t)
	}
	if k.between != nil {
		k.between()
	}
	return nil
}

func (k *fakeKernel) Connections(yield func(bpf.Connection)) error {
	for _, c := range k.open {
		yield(*c)
	}
	return k.fails
}

// born gives every connection of the tests a time of its own.
var born = time.Unix(1_700_000_000, 0)

// connect opens a connection with what it has counted so far.
func (k *fakeKernel) connect(e bpf.Edge, n counts) *bpf.Connection {
	born = born.Add(time.Nanosecond)
	c := &bpf.Connection{Edge: e, Totals: totals(n), Born: born}
	k.open = append(k.open, c)
	return c
}

// end closes a connection, as the kernel does: its counts are among those that have ended.
func (k *fakeKernel) end(c *bpf.Connection) {
	k.open = slices.DeleteFunc(k.open, func(o *bpf.Connection) bool { return o == c })
	t := k.ended[c.Edge]
	t.Add(&c.Totals)
	k.ended[c.Edge] = t
}

func (k *fakeKernel) census() Census {
	return Census{
		Owner:   func(slot uint32) (Owner, bool) { o, ok := k.owners[slot]; return o, ok },
		Listens: func(port uint16) bool { return slices.Contains(k.listens, port) },
		Alive: func(w event.Workload) bool {
			for _, o := range k.owners {
				if o.Workload == w {
					return true
				}
			}
			return false
		},
	}
}

func totals(n counts) bpf.EdgeTotals {
	return bpf.EdgeTotals{Connections: 1, Requests: n[0], Failures: n[1], Sent: n[2], Received: n[3]}
}

func container(name string) event.Workload { return event.Workload{Container: name} }

func pod(name, container string) event.Workload {
	return event.Workload{Namespace: "shop", Pod: name, Container: container}
}

func mustPeers(t testing.TB, o PeersOptions) *Peers {
	t.Helper()
	p, err := NewPeers(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// a tester reads a service map and writes it as text.
type tester struct {
	*testing.T
	kernel *fakeKernel
	edges  *Edges
	now    time.Time
}

func newTester(t *testing.T, o PeersOptions) *tester {
	k := newFakeKernel()
	return &tester{t, k, NewEdges(k, mustPeers(t, o)), time.Unix(1_700_000_000, 0)}
}

func (t *tester) read() map[string]string {
	t.Helper()
	if err := t.edges.Read(t.kernel.census(), t.now); err != nil {
		t.Fatal(err)
	}
	t.now = t.now.Add(15 * time.Second)
	return t.shown()
}

func (t *tester) shown() map[string]string {
	all := map[string]string{}
	t.edges.Each(func(e Edge, s EdgeSums) {
		name := fmt.Sprintf("%s %s: %s > %s %s", Name(e.Workload), e.Role, e.Client, e.Server, strings.TrimSpace(e.Protocol+" "+e.Port))
		if _, twice := all[name]; twice {
			t.Errorf("%s: told twice", name)
		}
		all[name] = fmt.Sprint(s.Requests, s.Errors, s.Sent, s.Received)
	})
	return all
}

func (t *tester) expect(when string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, t.read()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestEdgesAddUpWhatHasEndedAndWhatIsOpen(t *testing.T) {
	f := newTester(t, PeersOptions{Config: EdgesConfig{Networks: map[string][]string{"office": {"10.20.0.0/16"}}}})
	f.kernel.owners[1] = Owner{101, pod("web", "app")}
	out := bpf.Edge{Slot: 1, Peer: addr("10.20.1.1"), Port: 5432, Protocol: "postgresql"}
	f.kernel.ended[out] = totals(counts{10, 1, 1000, 2000})
	f.kernel.connect(out, counts{5, 0, 10, 20})
	f.kernel.connect(out, counts{1, 1, 1, 1})
	f.kernel.connect(bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 8080, Protocol: "http", Server: true}, counts{7, 2, 70, 700})
	f.kernel.connect(bpf.Edge{Slot: 0, Peer: addr("192.168.1.1"), Port: 53, Protocol: "dns"}, counts{1, 0, 2, 3})
	f.expect("both kinds", map[string]string{
		"shop/web/app client: shop/web/app > office postgresql 5432": "16 2 1011 2021",
		"shop/web/app server: internet > shop/web/app http 8080":     "7 2 70 700",
		"other client: other > private dns 53":                       "1 0 2 3",
	})
}

// A connection that ends between the two looks is missing in one reading, and no sum goes down.
func TestEdgesDoNotLoseWhatEndsBetweenTheLooks(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("web")}
	e := bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "http"}
	long := f.kernel.connect(e, counts{100, 0, 100, 100})
	name := "web client: web > internet http 443"
	f.expect("open", map[string]string{name: "100 0 100 100"})
	long.Totals.Requests = 150
	f.kernel.between = func() { f.kernel.end(long); f.kernel.between = nil }
	f.expect("it ends between", map[string]string{name: "100 0 100 100"})
	f.expect("in the next reading", map[string]string{name: "150 0 100 100"})
	f.kernel.connect(e, counts{1, 0, 0, 0})
	f.expect("another one", map[string]string{name: "151 0 100 100"})
}

func TestEdgesWaitForNames(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("web")}
	f.kernel.connect(bpf.Edge{Slot: 2, Peer: addr("203.0.113.9"), Port: 443, Protocol: "http"}, counts{3, 0, 0, 0})
	f.kernel.connect(bpf.Edge{Slot: 1, PeerSlot: 2, Port: 80, Protocol: "http"}, counts{4, 0, 0, 0})
	f.expect("nobody knows slot 2", map[string]string{})
	f.kernel.owners[2] = Owner{102, container("api")}
	f.expect("it is known", map[string]string{
		"api client: api > internet http 443": "3 0 0 0",
		"web client: web > api http 80":       "4 0 0 0",
	})
}

// What a slot's next owner counts is its own, though the number is the same.
func TestEdgesTellApartWhoHasASlotLater(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("old")}
	f.kernel.owners[2] = Owner{102, container("db")}
	e, to := bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "http"}, bpf.Edge{Slot: 2, PeerSlot: 1, Port: 80, Protocol: "http"}
	f.kernel.ended[e], f.kernel.ended[to] = totals(counts{100, 0, 0, 0}), totals(counts{50, 0, 0, 0})
	f.expect("the first owner", map[string]string{"old client: old > internet http 443": "100 0 0 0", "db client: db > old http 80": "50 0 0 0"})
	clear(f.kernel.ended) // as the kernel side frees a slot
	f.kernel.owners[1] = Owner{103, container("new")}
	f.kernel.ended[e], f.kernel.ended[to] = totals(counts{200, 0, 0, 0}), totals(counts{1, 0, 0, 0})
	f.expect("the next owner, which was quicker", map[string]string{
		"new client: new > internet http 443": "200 0 0 0",
		"db client: db > old http 80":         "50 0 0 0", // its own end still lives
		"db client: db > new http 80":         "1 0 0 0",
	})
}

// The kernel side may have forgotten an edge, and count it from 0.
func TestEdgesGoOnWhereTheKernelBeginsAnew(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("web")}
	e := bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "http"}
	f.kernel.ended[e] = totals(counts{100, 0, 0, 0})
	c := f.kernel.connect(e, counts{7, 0, 0, 0})
	name := "web client: web > internet http 443"
	f.expect("at first", map[string]string{name: "107 0 0 0"})
	delete(f.kernel.ended, e)
	f.expect("it has forgotten", map[string]string{name: "107 0 0 0"})
	f.kernel.ended[e] = totals(counts{30, 0, 0, 0})
	c.Totals.Requests = 8
	f.expect("it counts anew", map[string]string{name: "138 0 0 0"})
	f.kernel.end(c)
	f.expect("what was open has ended", map[string]string{name: "138 0 0 0"})
}

// A workload whose control groups follow each other keeps its sum.
func TestEdgesAddUpTheControlGroupsOfAWorkload(t *testing.T) {
	f := newTester(t, PeersOptions{})
	e := bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "http"}
	f.kernel.owners[1], f.kernel.owners[2] = Owner{101, container("web")}, Owner{102, container("web")}
	f.kernel.ended[e] = totals(counts{100, 0, 0, 0})
	f.read()
	delete(f.kernel.owners, 1)
	clear(f.kernel.ended)
	e.Slot = 2
	f.kernel.connect(e, counts{1, 0, 0, 0})
	f.expect("after the first has gone", map[string]string{"web client: web > internet http 443": "101 0 0 0"})
	clear(f.kernel.owners)
	f.expect("after both have", map[string]string{})
}

func TestEdgesFollowAConnectionWhoseProtocolIsFoundLate(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("web")}
	c := f.kernel.connect(bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "tls"}, counts{0, 0, 1 << 30, 1 << 20})
	f.read()
	c.Protocol, c.Totals = "http", totals(counts{3, 0, 1<<30 + 7, 1<<20 + 8})
	want := map[string]string{
		"web client: web > internet tls 443":  fmt.Sprint(0, 0, 1<<30, 1<<20),
		"web client: web > internet http 443": "3 0 7 8",
	}
	f.expect("its library is probed now", want)
	f.kernel.end(c)
	f.expect("it has ended", want)
	f.expect("and is forgotten", want)
	f.kernel.connect(bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "tls"}, counts{0, 0, 5, 5})
	want["web client: web > internet tls 443"] = fmt.Sprint(0, 0, 1<<30+5, 1<<20+5)
	f.expect("another that cannot be read", want)
}

// What a peer has carried before it had a better name stays where it was.
func TestEdgesAddToTheNameThatAPeerHasNow(t *testing.T) {
	known := false
	f := newTester(t, PeersOptions{Workload: func(netip.AddrPort) (event.Workload, bool) { return container("db"), known }})
	f.kernel.owners[1] = Owner{101, container("web")}
	c := f.kernel.connect(bpf.Edge{Slot: 1, Peer: addr("10.0.0.9"), Port: 5432, Protocol: "postgresql"}, counts{10, 0, 0, 0})
	f.read()
	known, c.Totals.Requests = true, 12
	want := map[string]string{"web client: web > private postgresql 5432": "10 0 0 0", "web client: web > db postgresql 5432": "2 0 0 0"}
	f.expect("its container is known", want)
	known, c.Totals.Requests = false, 15
	want["web client: web > db postgresql 5432"] = "5 0 0 0"
	f.expect("its container has gone, and nobody else has its address", want)
}

func TestEdgesOfSeveralEndsAreNotOnesOnly(t *testing.T) {
	ends := []netip.AddrPort{end("10.244.0.1:8080")}
	f := newTester(t, PeersOptions{
		NAT: func(netip.AddrPort) []netip.AddrPort { return ends },
		Workload: func(e netip.AddrPort) (event.Workload, bool) {
			return container("web-" + e.Addr().String()), true
		},
	})
	f.kernel.owners[1] = Owner{101, container("shop")}
	c := f.kernel.connect(bpf.Edge{Slot: 1, Peer: addr("10.96.0.1"), Port: 80, Protocol: "http"}, counts{10, 0, 0, 0})
	want := map[string]string{"shop client: shop > web-10.244.0.1 http 8080": "10 0 0 0"}
	f.expect("one end", want)
	ends = append(ends, end("10.244.0.2:8080"))
	c.Totals.Requests = 15
	want["shop client: shop > private http 8080"] = "5 0 0 0"
	f.expect("two ends", want)
}

func TestEdgesWithinTheMachineAreCountedOnce(t *testing.T) {
	client := bpf.Edge{Slot: 1, PeerSlot: 2, Port: 8080, Protocol: "http"}
	server := bpf.Edge{Slot: 2, PeerSlot: 1, Port: 8080, Protocol: "http", Server: true}
	byAddress := server
	byAddress.PeerSlot, byAddress.Peer = 0, addr("10.244.0.1")
	blind := client
	blind.Protocol = "tls"
	for _, c := range []struct {
		name   string
		edges  map[bpf.Edge]counts
		first  map[string]string
		second map[string]string
		third  map[string]string
	}{
		{"both ends are seen", map[bpf.Edge]counts{client: {10, 1, 100, 200}, server: {11, 1, 200, 100}},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y http 8080": "10 1 100 200"},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y http 8080": "20 2 200 400"},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y http 8080": "30 3 300 600"}},
		{"the client is known by its pod's address", map[bpf.Edge]counts{client: {10, 1, 100, 200}, byAddress: {11, 1, 200, 100}},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y http 8080": "10 1 100 200"},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y http 8080": "20 2 200 400"},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y http 8080": "30 3 300 600"}},
		{"only the server is seen", map[bpf.Edge]counts{server: {11, 1, 200, 100}},
			map[string]string{}, // the client may be late
			map[string]string{"shop/b/y server: shop/a/x > shop/b/y http 8080": "22 2 400 200"},
			map[string]string{"shop/b/y server: shop/a/x > shop/b/y http 8080": "33 3 600 300"}},
		{"the client's bytes cannot be read", map[bpf.Edge]counts{blind: {0, 0, 100, 200}, server: {11, 1, 200, 100}},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y tls 8080": "0 0 100 200"},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y tls 8080": "0 0 200 400"},
			map[string]string{"shop/a/x client: shop/a/x > shop/b/y tls 8080": "0 0 300 600",
				"shop/b/y server: shop/a/x > shop/b/y http 8080": "33 3 0 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newTester(t, PeersOptions{Workload: func(netip.AddrPort) (event.Workload, bool) {
				return event.Workload{Namespace: "shop", Pod: "a"}, true // of several containers
			}})
			f.kernel.owners[1], f.kernel.owners[2] = Owner{101, pod("a", "x")}, Owner{102, pod("b", "y")}
			for i, want := range []map[string]string{c.first, c.second, c.third} {
				for e, n := range c.edges {
					sum := f.kernel.ended[e]
					step := totals(n)
					sum.Add(&step)
					f.kernel.ended[e] = sum
				}
				f.expect(fmt.Sprint("reading ", i+1), want)
			}
		})
	}
}

func TestEdgesKeepAnswersWhenTheConfigurationChanges(t *testing.T) {
	dns := EdgesConfig{DNSNames: true, DNSNamesLimit: 5}
	f := newTester(t, PeersOptions{Config: dns})
	f.edges.Peers().Remember(1, replies(t, "api.example.", 60, "203.0.113.9"), f.now)
	for _, c := range []struct {
		config EdgesConfig
		want   string
	}{{dns, "api.example"}, {EdgesConfig{}, "internet"}, {dns, "internet"}} { // those that were given up are gone
		f.edges.SetPeers(mustPeers(t, PeersOptions{Config: c.config}))
		if got := f.edges.Peers().Find(1, end("203.0.113.9:443"), true, f.now); got.Name != c.want {
			t.Errorf("%+v: %s, want %s", c.config, got.Name, c.want)
		}
	}
}

func TestEdgesNamePortsThatServersHave(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("web")}
	f.kernel.listens = []uint16{50051}
	for port, want := range map[uint16]string{80: "80", 32767: "32767", 32768: "", 45000: "", 50051: "50051", 0: ""} {
		f.kernel.ended = map[bpf.Edge]bpf.EdgeTotals{{Slot: 1, Peer: addr("203.0.113.9"), Port: port, Protocol: fmt.Sprint("p", port)}: totals(counts{1, 0, 0, 0})}
		f.read()
		found := false
		f.edges.Each(func(e Edge, _ EdgeSums) {
			if e.Protocol == fmt.Sprint("p", port) {
				found = true
				if e.Port != want {
					t.Errorf("port %d: %q, want %q", port, e.Port, want)
				}
			}
		})
		if !found {
			t.Errorf("port %d: no edge", port)
		}
	}
}

func TestEdgesOfOneReadingThatFailsAreNotCounted(t *testing.T) {
	f := newTester(t, PeersOptions{})
	f.kernel.owners[1] = Owner{101, container("web")}
	e := bpf.Edge{Slot: 1, Peer: addr("203.0.113.9"), Port: 443, Protocol: "http"}
	f.kernel.connect(e, counts{10, 0, 0, 0})
	f.read()
	f.kernel.fails = errors.New("iterator")
	f.kernel.connect(e, counts{5, 0, 0, 0})
	for range 3 {
		if err := f.edges.Read(f.kernel.census(), f.now); !errors.Is(err, f.kernel.fails) {
			t.Errorf("Read: %v", err)
		}
	}
	name := "web client: web > internet http 443"
	if got := f.shown()[name]; got != "10 0 0 0" {
		t.Errorf("after failures: %s", got)
	}
	f.kernel.fails = nil
	f.kernel.between = func() { f.kernel.open, f.kernel.ended[e] = nil, totals(counts{15, 0, 0, 0}); f.kernel.between = nil }
	f.expect("all end in the first reading that works", map[string]string{name: "10 0 0 0"})
	f.expect("then they are there", map[string]string{name: "15 0 0 0"})
}

func TestEdgesBeyondTheBoundShareAPlace(t *testing.T) {
	f := newTester(t, PeersOptions{Config: EdgesConfig{PeerAddresses: true}})
	f.kernel.owners[1], f.kernel.owners[2] = Owner{101, container("web")}, Owner{102, container("api")}
	add := func(slot uint32, from, to int, n uint64) {
		for i := from; i < to; i++ {
			f.kernel.ended[bpf.Edge{Slot: slot, Peer: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 443, Protocol: "http"}] = totals(counts{n, 0, 0, 0})
		}
	}
	sum := func() (all, others uint64, sets int) {
		f.edges.Each(func(e Edge, s EdgeSums) {
			all += s.Requests
			if sets++; e.Server == "other" {
				others += s.Requests
			}
		})
		return all, others, sets
	}
	add(1, 0, 5000, 1)
	f.read()
	if all, others, sets := sum(); all != 5000 || others != 3000 || sets != maxEdges+1 {
		t.Errorf("%d requests, %d of other peers, %d label sets", all, others, sets)
	}
	f.read()
	if got := f.edges.Stats(); got != (EdgeStats{Edges: maxEdges + 1, Addresses: 5000, Folded: 3000}) {
		t.Errorf("nothing has happened since: %+v", got)
	}
	add(1, 0, 5000, 2)
	f.read()
	if all, others, _ := sum(); all != 10_000 || others != 6000 {
		t.Errorf("another request each: %d, %d of other peers", all, others)
	}
	f.now = f.now.Add(2 * edgeIdle)
	add(2, 0, 10, 1)
	f.read()
	named := 0
	f.edges.Each(func(e Edge, s EdgeSums) {
		if e.Client == "api" && strings.HasPrefix(e.Server, "203.") {
			named++
		}
	})
	if named != 10 {
		t.Errorf("%d new peers have a place, after those that were idle for two hours: want 10", named)
	}
}

func TestEdgesOfCrowdedMachinesAreBounded(t *testing.T) {
	f := newTester(t, PeersOptions{Config: EdgesConfig{Networks: map[string][]string{"office": {"203.1.0.0/16"}}}})
	f.kernel.owners[1] = Owner{101, container("web")}
	server := func(i int) bpf.Edge {
		return bpf.Edge{Slot: 1, Peer: netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), Port: 443, Protocol: "http", Server: true}
	}
	for i := range 100_000 {
		f.kernel.ended[server(i)] = totals(counts{1, 0, 10, 100})
	}
	f.read()
	requests := uint64(0)
	count := func() {
		requests = 0
		f.edges.Each(func(e Edge, s EdgeSums) { requests += s.Requests })
	}
	if count(); requests != 100_000 {
		t.Errorf("%d requests of 100,000 peers, want all", requests)
	}
	if s := f.edges.Stats(); s.Addresses > maxRecords+2 {
		t.Errorf("%d records", s.Addresses)
	}
	for i := range 100_000 {
		f.kernel.ended[server(i)] = totals(counts{3, 0, 10, 100})
	}
	f.read()
	if count(); requests != 300_000 {
		t.Errorf("%d requests after two more each, want 300,000", requests)
	}
	// Half of them are forgotten: those that get a place of their own now have been counted.
	for i := range 50_000 {
		delete(f.kernel.ended, server(2*i))
	}
	last := uint64(300_000)
	for range 4 {
		f.read()
		if count(); requests != last {
			t.Errorf("%d requests, want %d: nothing has happened", requests, last)
		}
	}
}

// TestEdgesNeverGoDownAndNeverCountTwice plays at random what kernels do, and compares with what was really done.
func TestEdgesNeverGoDownAndNeverCountTwice(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playEdges(t, rand.New(rand.NewPCG(seed, 5))) })
	}
}

type player struct {
	*tester
	random *rand.Rand
	cgroup uint64
	done   map[string]uint64 // requests, by workload: what a test knows
	lost   map[string]uint64 // requests that ended with their slot, before they were read
	last   map[string]EdgeSums
}

func playEdges(t *testing.T, random *rand.Rand) {
	p := &player{tester: newTester(t, PeersOptions{}), random: random, done: map[string]uint64{}, last: map[string]EdgeSums{}}
	for slot := range uint32(4) {
		p.lend(slot + 1)
	}
	for range 300 {
		switch p.random.IntN(12) {
		case 0, 1:
			p.open()
		case 2, 3, 4, 5:
			p.traffic()
		case 6:
			p.close()
		case 7:
			p.rename()
		case 8:
			if p.random.IntN(4) == 0 {
				p.free()
			}
		default:
			p.kernel.between = nil
			if p.random.IntN(2) == 0 {
				p.kernel.between = func() { p.traffic(); p.close() }
			}
			p.check(false)
		}
	}
	p.kernel.between = nil
	p.check(false)
	p.check(false)
	p.check(true)
}

func (p *player) lend(slot uint32) {
	p.cgroup++
	p.kernel.owners[slot] = Owner{p.cgroup, container(fmt.Sprint("c", p.cgroup))}
}

func (p *player) open() {
	slot := 1 + p.random.Uint32N(4)
	e := bpf.Edge{Slot: slot, Peer: netip.AddrFrom4([4]byte{203, 0, 113, byte(p.random.IntN(3))}), Port: 80, Protocol: "unknown", Server: p.random.IntN(2) == 0}
	if p.random.IntN(3) == 0 && !e.Server {
		e.PeerSlot, e.Peer = 1+p.random.Uint32N(4), netip.Addr{}
	}
	p.kernel.connect(e, counts{})
}

func (p *player) any() *bpf.Connection {
	if len(p.kernel.open) == 0 {
		return nil
	}
	return p.kernel.open[p.random.IntN(len(p.kernel.open))]
}

func (p *player) traffic() {
	if c := p.any(); c != nil {
		n := p.random.Uint64N(1000)
		c.Totals.Requests += n
		c.Totals.Sent += n
		p.done[Name(p.kernel.owners[c.Slot].Workload)] += n
	}
}

func (p *player) close() {
	if c := p.any(); c != nil {
		p.kernel.end(c)
	}
}

// rename finds a protocol late.
func (p *player) rename() {
	if c := p.any(); c != nil {
		c.Protocol = []string{"tls", "http", "http2", "grpc"}[p.random.IntN(4)]
	}
}

// free ends a control group: its connections, and after a reading what the kernel side keeps by its slot.
func (p *player) free() {
	slot := 1 + p.random.Uint32N(4)
	for _, c := range slices.Clone(p.kernel.open) {
		if c.Slot == slot || c.PeerSlot == slot {
			p.kernel.end(c)
		}
	}
	p.check(false)
	p.check(false)
	for e := range p.kernel.ended {
		if e.Slot == slot || e.PeerSlot == slot {
			delete(p.kernel.ended, e)
		}
	}
	delete(p.done, Name(p.kernel.owners[slot].Workload))
	p.lend(slot)
}

// check reads, and compares: sums never go down, never exceed what was done, and equal it if nothing moves.
func (p *player) check(still bool) {
	p.Helper()
	if err := p.edges.Read(p.kernel.census(), p.now); err != nil {
		p.Fatal(err)
	}
	p.now = p.now.Add(time.Second)
	sums, names := map[string]uint64{}, map[string]EdgeSums{}
	p.edges.Each(func(e Edge, s EdgeSums) {
		sums[Name(e.Workload)] += s.Requests
		names[fmt.Sprint(e)] = s
		if before := p.last[fmt.Sprint(e)]; s.Requests < before.Requests || s.Sent < before.Sent {
			p.Fatalf("%v went down: %+v, before %+v", e, s, before)
		}
		if s.Requests != s.Sent {
			p.Fatalf("%v: %+v: want as many of both", e, s)
		}
	})
	for name := range p.last {
		if _, ok := names[name]; !ok && p.living(name) {
			p.Fatalf("%s has gone while its workload lives", name)
		}
	}
	p.last = names
	for w, n := range sums {
		if n > p.done[w] || still && n != p.done[w] {
			p.Fatalf("%s: %d requests are shown, %d were done", w, n, p.done[w])
		}
	}
	for w, n := range p.done {
		if still && n != sums[w] {
			p.Fatalf("%s: %d requests were done, %d are shown", w, n, sums[w])
		}
	}
}

func (p *player) living(edge string) bool {
	for _, o := range p.kernel.owners {
		if strings.Contains(edge, fmt.Sprintf("{   %s", o.Workload.Container)) || strings.Contains(edge, fmt.Sprintf("%v", o.Workload)) {
			return true
		}
	}
	return false
}

func BenchmarkReadEdges(b *testing.B) {
	k := newFakeKernel()
	k.owners[1] = Owner{101, container("web")}
	var all []*bpf.Connection
	for i := range 8192 {
		e := bpf.Edge{Slot: 1, Peer: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Port: 443, Protocol: "http"}
		k.ended[e] = totals(counts{1, 0, 10, 10})
		all = append(all, k.connect(e, counts{1, 0, 10, 10}))
	}
	e := NewEdges(k, mustPeers(b, PeersOptions{}))
	census, now := k.census(), time.Unix(0, 0)
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range all {
			c.Totals.Requests++
		}
		if err := e.Read(census, now); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16384, "ns/edge")
}
