package exporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// fakeEdges is what the kernel side tells of connections.
type fakeEdges struct {
	ended map[bpf.Edge]bpf.EdgeTotals
	open  []bpf.Connection
	fails error
}

func (f *fakeEdges) Edges(yield func(bpf.Edge, *bpf.EdgeTotals)) error {
	for e, t := range f.ended {
		yield(e, &t)
	}
	return nil
}

func (f *fakeEdges) Connections(yield func(bpf.Connection)) error {
	for _, c := range f.open {
		yield(c)
	}
	return f.fails
}

// A map of three slots: a container, a unit, and a control group without a name yet.
func newServiceMap(t *testing.T, source *fakeEdges, o EdgesOptions) (*Edges, *fakeKernel) {
	t.Helper()
	k := &fakeKernel{slots: []fakeSlot{slotOf(0, 0, 0), slotOf(1, 10, 0), slotOf(2, 11, 0), slotOf(3, 12, 0)}}
	names := map[uint64]event.Workload{10: {Container: "web"}, 11: {Unit: "db.service"}}
	o.Kernel = NewKernel(k, func(id uint64) (event.Workload, bool) { w, ok := names[id]; return w, ok })
	o.Source = source
	return NewEdges(o), k
}

// scrapeEdges returns the series of one scrape, by metric and label values.
func scrapeEdges(t *testing.T, e *Edges) map[string]float64 {
	t.Helper()
	e.o.Kernel.taken = time.Time{}
	ch := make(chan prometheus.Metric, 1000)
	if err := e.Update(t.Context(), ch); err != nil {
		t.Fatal(err)
	}
	close(ch)
	values := map[string]float64{}
	for m := range ch {
		s := m.(*series)
		if name := s.family.name; name != "yagura_service_map_entries" {
			values[strings.TrimPrefix(name, "yagura_")+" "+labelText(&s.metric)] = valueOf(&s.metric)
		}
	}
	return values
}

func TestServiceMapHasBothSidesOfConnections(t *testing.T) {
	end := netip.MustParseAddrPort
	client := bpf.Edge{Slot: 1, PeerSlot: 2, Port: 5432, Protocol: "postgresql"}
	server := bpf.Edge{Slot: 2, PeerSlot: 1, Port: 5432, Protocol: "postgresql", Server: true}
	from := bpf.Edge{Slot: 1, Peer: netip.MustParseAddr("203.0.113.9"), Port: 80, Protocol: "http", Server: true}
	source := &fakeEdges{
		ended: map[bpf.Edge]bpf.EdgeTotals{client: {Requests: 10, Failures: 1, Sent: 100, Received: 1000}, server: {Requests: 10, Failures: 1, Sent: 1000, Received: 100}},
		open: []bpf.Connection{
			{Edge: from, Totals: bpf.EdgeTotals{Requests: 3, Sent: 30, Received: 3}, PID: 5, Local: end("10.0.0.1:80"), Remote: end("203.0.113.9:1000")},
			{Edge: bpf.Edge{Slot: 1, Peer: netip.MustParseAddr("198.51.100.1"), Port: 443, Protocol: "tls"}, Totals: bpf.EdgeTotals{Sent: 7, Received: 8}, PID: 6, TLS: "encrypted"},
			{Edge: bpf.Edge{Slot: 3, Peer: netip.MustParseAddr("198.51.100.1"), Port: 443, Protocol: "tls"}, Totals: bpf.EdgeTotals{Sent: 9}, PID: 7},
		},
	}
	e, _ := newServiceMap(t, source, EdgesOptions{Rings: func() map[uint32]bool { return map[uint32]bool{9: true} },
		Find: func(pid uint32) *event.Process { return &event.Process{Task: event.Task{PID: pid, CgroupID: 11}} }})
	want := map[string]float64{
		// client, container, namespace, pod, port, protocol, role, server, unit: in the order of exposition
		"service_edge_requests_total web,web,,,5432,postgresql,client,db.service,":       10,
		"service_edge_errors_total web,web,,,5432,postgresql,client,db.service,":         1,
		"service_edge_bytes_total web,web,transmit,,,5432,postgresql,client,db.service,": 100,
		"service_edge_bytes_total web,web,receive,,,5432,postgresql,client,db.service,":  1000,
		"service_edge_requests_total internet,web,,,80,http,server,web,":                 3,
		"service_edge_errors_total internet,web,,,80,http,server,web,":                   0,
		"service_edge_bytes_total internet,web,transmit,,,80,http,server,web,":           30,
		"service_edge_bytes_total internet,web,receive,,,80,http,server,web,":            3,
		"service_edge_bytes_total web,web,transmit,,,443,tls,client,internet,":           7,
		"service_edge_bytes_total web,web,receive,,,443,tls,client,internet,":            8,
		"l7_coverage web,,,seen,": 1, "l7_coverage web,,,encrypted,": 1, "l7_coverage web,,,static_tls,": 0, "l7_coverage web,,,io_uring,": 0,
		"l7_coverage ,,,seen,db.service": 0, "l7_coverage ,,,encrypted,db.service": 0, "l7_coverage ,,,static_tls,db.service": 0, "l7_coverage ,,,io_uring,db.service": 1,
		"service_map_folded_total ": 0,
	}
	if diff := cmp.Diff(want, scrapeEdges(t, e)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	source.open = nil // they end between the looks
	got := scrapeEdges(t, e)
	if n := got["service_edge_requests_total internet,web,,,80,http,server,web,"]; n != 3 {
		t.Errorf("a connection that is missing in one reading: %v requests, want 3", n)
	}
}

// Who has gone takes its series along; who is given its slot begins at 0.
func TestServiceMapForgetsWorkloadsThatHaveEnded(t *testing.T) {
	edge := bpf.Edge{Slot: 1, Peer: netip.MustParseAddr("203.0.113.9"), Port: 80, Protocol: "http", Server: true}
	source := &fakeEdges{ended: map[bpf.Edge]bpf.EdgeTotals{edge: {Requests: 10}}}
	e, k := newServiceMap(t, source, EdgesOptions{})
	scrapeEdges(t, e)
	k.freed = []bpf.Slot{k.slots[1].Slot}
	clear(source.ended)
	k.slots[1] = slotOf(1, 11, 0) // db.service has another control group
	scrapeEdges(t, e)
	source.ended[edge] = bpf.EdgeTotals{Requests: 4}
	got := scrapeEdges(t, e)
	for name, n := range got {
		if strings.Contains(name, "web") {
			t.Errorf("%s = %v: its container has gone", name, n)
		}
	}
	if n := got["service_edge_requests_total internet,,,,80,http,server,db.service,db.service"]; n != 4 {
		t.Errorf("the next owner has %v requests, want 4: %v", n, got)
	}
}

func TestServiceMapFailsWithItsSource(t *testing.T) {
	fails := errors.New("iterator")
	e, _ := newServiceMap(t, &fakeEdges{fails: fails}, EdgesOptions{})
	if err := e.Update(t.Context(), make(chan prometheus.Metric, 100)); !errors.Is(err, fails) {
		t.Errorf("Update: %v", err)
	}
	w := httptest.NewRecorder()
	e.Connections().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `{"error":"iterator"}`) {
		t.Errorf("connections: %d %s", w.Code, w.Body)
	}
}

func TestServiceMapNamesByContainersAndAnswers(t *testing.T) {
	asks := func(peer string, port uint16) bpf.Edge {
		return bpf.Edge{Slot: 1, Peer: netip.MustParseAddr(peer), Port: port, Protocol: "http"}
	}
	source := &fakeEdges{ended: map[bpf.Edge]bpf.EdgeTotals{}}
	e, k := newServiceMap(t, source, EdgesOptions{
		Config: requests.EdgesConfig{DNSNames: true, DNSNamesLimit: 5},
		Containers: func() []*event.Container {
			return []*event.Container{{Workload: event.Workload{Namespace: "shop", Pod: "cart", Container: "app"}, IP: "10.244.0.6"}}
		},
	})
	k.slots[2].queues = []bpf.AcceptQueue{{Port: 40000}}
	answer := []byte("\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03api\x07example\x00\x00\x01\x00\x01" + "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x01")
	e.Answer(&bpf.RequestSample{RequestKey: bpf.RequestKey{Slot: 1}, Kind: bpf.SampleAnswer, Time: time.Now(), Payload: answer})
	e.Answer(&bpf.RequestSample{RequestKey: bpf.RequestKey{Slot: 1}, Kind: bpf.SampleSlow, Time: time.Now()})
	for _, edge := range []bpf.Edge{asks("10.244.0.6", 8080), asks("203.0.113.1", 40000), asks("203.0.113.2", 50000)} {
		source.ended[edge] = bpf.EdgeTotals{Requests: 1}
	}
	got := scrapeEdges(t, e)
	for _, want := range []string{"web,web,,,8080,http,client,shop/cart/app,", "web,web,,,40000,http,client,api.example,", "web,web,,,,http,client,internet,"} {
		if got["service_edge_requests_total "+want] != 1 {
			t.Errorf("no edge %s in %v", want, got)
		}
	}
	e.Configure(requests.EdgesConfig{Networks: map[string][]string{"partner": {"203.0.113.0/24"}}})
	source.ended[asks("203.0.113.2", 50000)] = bpf.EdgeTotals{Requests: 3}
	if got := scrapeEdges(t, e); got["service_edge_requests_total web,web,,,,http,client,partner,"] != 2 {
		t.Errorf("after another configuration: %v", got)
	}
}

type connectionsPage struct {
	Data []requests.Connection
	Next string
}

func getConnections(t *testing.T, e *Edges, query string) connectionsPage {
	t.Helper()
	w := httptest.NewRecorder()
	e.Connections().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/yagura/connections"+query, nil))
	var page connectionsPage
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", query, w.Code, w.Body)
	}
	return page
}

func TestConnectionsAreServedWithTheirProcesses(t *testing.T) {
	end := netip.MustParseAddrPort
	born := time.Unix(1_700_000_000, 0)
	source := &fakeEdges{open: []bpf.Connection{
		{Edge: bpf.Edge{Slot: 1, PeerSlot: 2, Port: 5432, Protocol: "postgresql"}, Born: born, PID: 5, Local: end("10.0.0.1:1000"), Remote: end("10.0.0.2:5432")},
		{Edge: bpf.Edge{Slot: 2, PeerSlot: 1, Port: 5432, Protocol: "postgresql", Server: true}, Born: born.Add(time.Second), PID: 6, Local: end("10.0.0.2:5432"), Remote: end("10.0.0.1:1000"), TLS: "encrypted"},
		{Edge: bpf.Edge{Slot: 3, Peer: netip.MustParseAddr("203.0.113.9"), Port: 443, Protocol: "http"}, Born: born.Add(2 * time.Second), PID: 7, Local: end("10.0.0.3:1"), Remote: end("203.0.113.9:443")},
	}}
	e, _ := newServiceMap(t, source, EdgesOptions{Find: func(pid uint32) *event.Process {
		if pid != 5 {
			return nil
		}
		return &event.Process{Task: event.Task{PID: 5, Comm: [16]byte{'a', 'p', 'p'}}, Path: "/app", Args: []string{"app"}}
	}})
	of := func(p connectionsPage) (pids []uint32) {
		for _, r := range p.Data {
			pids = append(pids, r.Process.PID)
		}
		return pids
	}
	for query, want := range map[string][]uint32{
		"":                    {7, 6, 5}, // the youngest first
		"?role=server":        {6},
		"?protocol=http":      {7},
		"?container=web":      {5},
		"?unit=db.service":    {6},
		"?container=other":    {7}, // its workload has no name yet
		"?since=1700000001":   {7, 6},
		"?until=1700000000":   {5},
		"?limit=2":            {7, 6},
		"?limit=2&cursor=2":   {5},
		"?protocol=gopher":    nil,
		"?role=client&sort=x": nil,
	} {
		if query == "?role=client&sort=x" {
			w := httptest.NewRecorder()
			e.Connections().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+query, nil))
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s: %d", query, w.Code)
			}
			continue
		}
		if got := of(getConnections(t, e, query)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	page := getConnections(t, e, "?limit=1")
	if page.Next != "1" {
		t.Errorf("next = %q", page.Next)
	}
	all := getConnections(t, e, "").Data
	if r := all[2]; r.Local != "web" || r.Remote != "db.service" || r.RemoteAddress != "10.0.0.2:5432" || r.Process.Name != "app" || r.Process.Exe != "/app" || r.Coverage != "seen" {
		t.Errorf("row = %+v", r)
	}
	if r := all[1]; r.Process.Name != "" || r.Coverage != "encrypted" || r.Role != "server" || r.Local != "db.service" || r.Remote != "web" {
		t.Errorf("row = %+v", r)
	}
}

// A map that only documents itself has nothing to show.
func TestServiceMapWithoutAKernelIsEmpty(t *testing.T) {
	agent := &bpf.Agent{}
	e := NewEdges(EdgesOptions{Kernel: NewKernel(agent, nil), Source: agent})
	for name, n := range scrapeEdges(t, e) {
		if n != 0 {
			t.Errorf("%s = %v", name, n)
		}
	}
	if page := getConnections(t, e, ""); len(page.Data) != 0 {
		t.Errorf("%+v", page)
	}
}

func TestServiceMapRunsUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		procfs := t.TempDir()
		if err := os.MkdirAll(filepath.Join(procfs, "1/net"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(procfs, "1/net/fib_trie"), []byte("  |-- 192.0.2.2\n     /32 host LOCAL\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		source := &fakeEdges{ended: map[bpf.Edge]bpf.EdgeTotals{{Slot: 1, Peer: netip.MustParseAddr("192.0.2.2"), Port: 22, Protocol: "tcp"}: {Requests: 1}}}
		e, _ := newServiceMap(t, source, EdgesOptions{Procfs: procfs, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		if got := scrapeEdges(t, e); got["service_edge_requests_total web,web,,,22,tcp,client,host,"] != 1 {
			t.Errorf("the host's own address is not known: %v", got)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A crowded node keeps to the caps of its families.
func TestServiceMapOfACrowdedNode(t *testing.T) {
	source := &fakeEdges{ended: map[bpf.Edge]bpf.EdgeTotals{}}
	for i := range 100_000 {
		source.ended[bpf.Edge{Slot: 1, Peer: netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), Port: uint16(i), Protocol: "http"}] = bpf.EdgeTotals{Requests: 1, Sent: 2, Received: 3}
	}
	e, _ := newServiceMap(t, source, EdgesOptions{Config: requests.EdgesConfig{PeerAddresses: true}})
	x := New(Options{Collectors: []Entry{e.Entry()}})
	families, err := x.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums, sets := map[string]float64{}, map[string]int{}
	for _, f := range families {
		for _, m := range f.Metric {
			sums[f.GetName()] += m.GetCounter().GetValue()
			sets[f.GetName()]++
		}
	}
	if sums["yagura_service_edge_requests_total"] != 100_000 || sums["yagura_service_edge_bytes_total"] != 500_000 {
		t.Errorf("sums = %v", sums)
	}
	for name, n := range sets {
		if strings.HasPrefix(name, "yagura_service_edge") && n > 600 { // a workload may have 500, and what is folded
			t.Errorf("%s: %d series", name, n)
		}
	}
	if err := x.Wait(t.Context()); err != nil {
		t.Error(fmt.Errorf("wait: %w", err))
	}
}
