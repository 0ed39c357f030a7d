package requests

import (
	"fmt"
	"testing"
	"time"

	"github.com/yagura-io/yagura/bpf"
)

var start = time.Unix(1_800_000_000, 0)

func told(slot, generation, name uint32, text string) *bpf.RequestSample {
	return &bpf.RequestSample{RequestKey: bpf.RequestKey{Slot: slot, Name: name, Protocol: "grpc", Server: true},
		Generation: generation, Kind: bpf.SampleName, Text: text}
}

func rpc(slot, name uint32) *bpf.RequestKey {
	return &bpf.RequestKey{Slot: slot, Name: name, Protocol: "grpc", Server: true, Status: 5, End: "failed"}
}

// expect asks for a name; "?" stands for one that is waited for.
func expect(t *testing.T, n *Names, k *bpf.RequestKey, after time.Duration, want string) {
	t.Helper()
	got, ok := n.Of(k, start.Add(after))
	if !ok {
		got += "?"
	}
	if got != want {
		t.Errorf("slot %d, name %d after %v is %q, want %q", k.Slot, k.Name, after, got, want)
	}
}

func TestNamesAreSpelledAsTheyWereTold(t *testing.T) {
	n := NewNames(Default)
	n.Learn(told(1, 0, 70, "/shop.Cart/Add"))
	n.Learn(&bpf.RequestSample{RequestKey: *rpc(1, 71), Kind: bpf.SampleSlow, Text: "/shop.Cart/Drop"}) // not what it is told for
	n.Learn(told(1, 0, 70, "/another/One"))                                                             // what was said stays
	expect(t, n, rpc(1, 70), 0, "shop.Cart/Add")
	expect(t, n, rpc(1, bpf.NoName), 0, "")
	expect(t, n, rpc(1, bpf.OtherName), 0, "other")
	expect(t, n, rpc(1, 71), 0, "?")
	expect(t, n, rpc(2, 70), 0, "?") // another slot's
	client := rpc(1, 70)
	client.Server = false
	expect(t, n, client, 0, "?")
	n.Learn(told(2, 0, 90, "\xff\xfe"))
	n.Learn(told(2, 0, 91, ""))
	expect(t, n, rpc(2, 90), 0, "other")
	expect(t, n, rpc(2, 91), 0, "other") // never empty: that stands for none
}

func TestNamesAreSpelledByProtocol(t *testing.T) {
	for _, test := range []struct{ protocol, text, want string }{
		{"http", "/cart", "/cart"},
		{"http2", "/cart", "/cart"},
		{"grpc", "/shop.v1.Cart/Add", "shop.v1.Cart/Add"},
		{"grpc", "Cart/Add", "Cart/Add"},
		{"redis", "get", "GET"},
		{"postgresql", "select", "SELECT"},
		{"mongodb", "findAndModify", "findAndModify"},
		{"memcached", "gets", "gets"},
		{"nats", "pub", "PUB"},
		{"kafka", "\x00\x01", "Fetch"},
		{"dns", "WWW.Example.COM.", "www.example.com"},
		{"grpc", "/shop.Cart/password=hunter2", "shop.Cart/password=[redacted]"}, // whoever builds names of secrets
	} {
		if got := Spell(test.protocol, test.text); got != test.want {
			t.Errorf("%s %q is spelled %q, want %q", test.protocol, test.text, got, test.want)
		}
	}
}

func TestNameThatIsNotToldInTimeIsOtherForGood(t *testing.T) {
	n := NewNames(Default)
	expect(t, n, rpc(1, 70), 0, "?")
	expect(t, n, rpc(1, 71), 0, "?")
	expect(t, n, rpc(1, 71), maxWait-1, "?")
	expect(t, n, rpc(1, 73), 0, "?")
	expect(t, n, rpc(1, 73), maxWait, "other") // before its slot has told anything
	n.Learn(told(1, 6, 70, "/a/B"))
	expect(t, n, rpc(1, 70), maxWait, "a/B")
	expect(t, n, rpc(1, 71), maxWait, "other")
	n.Learn(told(1, 6, 72, "/e/F"))
	n.Learn(told(1, 6, 71, "/c/D"))
	expect(t, n, rpc(1, 71), maxWait, "other")
	expect(t, n, rpc(1, 72), maxWait, "e/F")
	expect(t, n, rpc(1, 73), maxWait, "other")
	if lost := n.Lost(); lost != (Lost{Untold: 2}) {
		t.Errorf("lost %+v, want two that were not told", lost)
	}
}

func TestNamesGoWithTheOwnerOfTheirSlot(t *testing.T) {
	n := NewNames(Default)
	n.Learn(told(1, 4, 70, "/old/Name"))
	n.Learn(told(1, 5, 71, "/new/Name"))
	expect(t, n, rpc(1, 71), 0, "new/Name")
	expect(t, n, rpc(1, 70), 0, "?")
	n.Learn(told(1, 4, 70, "/old/Name")) // late
	expect(t, n, rpc(1, 70), 0, "?")
	n.Forget(1)
	expect(t, n, rpc(1, 71), 0, "?")
	n.Forget(1)
	if n.count != 0 || len(n.slots) != 0 {
		t.Errorf("%d names of %d slots are left", n.count, len(n.slots))
	}
}

func TestHiddenNamesAreNotWaitedFor(t *testing.T) {
	n := NewNames(Default)
	route, question := &bpf.RequestKey{Protocol: "http", Name: 7}, &bpf.RequestKey{Protocol: "dns", Name: 8}
	beyond := &bpf.RequestKey{Protocol: "http2", Name: bpf.OtherName}
	expect(t, n, route, 0, "")
	expect(t, n, beyond, 0, "")
	expect(t, n, question, 0, "")
	shown := Default
	shown.ClientRoutes, shown.DNSNames = true, true
	n.Configure(shown)
	n.Learn(&bpf.RequestSample{RequestKey: *question, Kind: bpf.SampleName, Text: "Shop.Example."})
	expect(t, n, route, 0, "?")
	expect(t, n, beyond, 0, "other")
	expect(t, n, question, 0, "shop.example")
}

func TestNamesAreBounded(t *testing.T) {
	n := NewNames(Default)
	for i := range uint32(100_000) {
		n.Learn(told(i%100, 0, 100+i, fmt.Sprintf("/s/M%d", i)))
		n.Of(rpc(i%100, 200_000+i), start)
	}
	if n.count != maxSpelled {
		t.Errorf("%d names are kept, want %d", n.count, maxSpelled)
	}
	held := 0
	for _, owner := range n.slots {
		held += len(owner.names)
	}
	if held != n.count {
		t.Errorf("%d names are kept and %d counted", held, n.count)
	}
	if lost := n.Lost().Full; lost != 100_000-maxSpelled/2 {
		t.Errorf("%d names found no room, want %d", lost, 100_000-maxSpelled/2)
	}
	expect(t, n, rpc(1, 99_901), 0, "other") // it is not waited for: it would never be known
}

func TestFindingANameCostsNoAllocation(t *testing.T) {
	n := NewNames(Default)
	n.Learn(told(1, 0, 70, "/shop.Cart/Add"))
	key := rpc(1, 70)
	if allocs := testing.AllocsPerRun(100, func() { n.Of(key, start) }); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func BenchmarkFindName(b *testing.B) {
	n := NewNames(Default)
	for i := range uint32(1000) {
		n.Learn(told(i%50, 0, 70+i, "/shop.Cart/Add"))
	}
	key := rpc(1, 71)
	for b.Loop() {
		n.Of(key, start)
	}
}
