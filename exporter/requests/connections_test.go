package requests

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

func TestConnectionSaysWhoIsAtBothEnds(t *testing.T) {
	born := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	c := &bpf.Connection{Edge: bpf.Edge{Slot: 1, Port: 443, Protocol: "http", Server: true},
		Totals: bpf.EdgeTotals{Connections: 1, Requests: 5, Failures: 2, Sent: 100, Received: 10}, Born: born.Local(), PID: 77, NetNS: 4026531840,
		Local: end("10.0.0.1:443"), Remote: end("203.0.113.9:50000"), TLS: "decrypted", Joined: true}
	r := NewConnection(Owner{101, pod("web", "app")}, c, Peer{Name: "internet"})
	parent := &event.Process{Task: event.Task{Comm: [16]byte{'s', 'h'}}}
	r.SetProcess(&event.Process{Task: event.Task{PID: 77, Start: 2e9, UID: 33, ExeInode: 12, Comm: [16]byte{'n', 'g', 'i', 'n', 'x'}},
		Path: "/usr/sbin/nginx", Args: []string{"nginx", "--password=hunter2"}, Parent: parent}, 1_600_000_000e9)
	start := time.Unix(1_600_000_002, 0).UTC()
	want := Connection{Namespace: "shop", Pod: "web", Container: "app", Role: "server", Protocol: "http", Local: "shop/web/app", Remote: "internet",
		Port: 443, LocalAddress: "10.0.0.1:443", RemoteAddress: "203.0.113.9:50000", Network: 4026531840, TLS: "decrypted", Joined: true,
		Requests: 5, Failures: 2, Sent: 100, Received: 10, Born: born,
		Process: Process{PID: 77, Name: "nginx", Exe: "/usr/sbin/nginx", ExeInode: 12, Command: r.Process.Command, UID: 33, Parent: "sh", StartTime: &start}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.HasPrefix(r.Process.Command, "nginx ") || strings.Contains(r.Process.Command, "hunter2") {
		t.Errorf("command %q: want it without the password", r.Process.Command)
	}
	r = NewConnection(Owner{}, c, Peer{})
	r.SetProcess(nil, 0)
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"process":{"pid":77,"name":"","exe":"","exe_inode":0,"command":"","uid":0,"parent":"","start_time":null}`) {
		t.Errorf("a process that has ended: %s, %v", text, err)
	}
}

func TestConnectionsHaveOneOrder(t *testing.T) {
	var all []*bpf.Connection
	for i := range 8 {
		all = append(all, &bpf.Connection{Born: time.Unix(int64(i/4), 0), Local: end("10.0.0.1:80"), Remote: end([]string{"10.0.0.2:1", "10.0.0.2:2"}[i/2%2]), NetNS: uint32(i % 2)})
	}
	want := []*bpf.Connection{all[4], all[5], all[6], all[7], all[0], all[1], all[2], all[3]}
	for range 10 {
		got := slices.Clone(all)
		slices.Reverse(got)
		slices.SortFunc(got, CompareConnections)
		if !slices.Equal(got, want) {
			t.Fatalf("the order is another one")
		}
	}
}

func TestPeerOfAnOpenConnection(t *testing.T) {
	owner := func(slot uint32) (Owner, bool) { return Owner{102, container("db")}, slot == 2 }
	p := mustPeers(t, PeersOptions{})
	c := &bpf.Connection{Edge: bpf.Edge{Slot: 1, PeerSlot: 2, Port: 5432}, Remote: end("10.0.0.9:5432")}
	if got := p.PeerOf(c, owner, time.Now()); got.Name != "db" || got.Port != 5432 {
		t.Errorf("a peer with a slot: %+v", got)
	}
	c.PeerSlot = 3
	if got := p.PeerOf(c, owner, time.Now()); got.Name != "private" {
		t.Errorf("one whose workload is not known yet: %+v", got)
	}
}
