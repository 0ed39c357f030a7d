package exporter

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// An Edges collector shows the service map: who asks whom, as the kernel side sees both ends of connections, and which
// processes it cannot see into.
type Edges struct {
	o        EdgesOptions
	edges    *requests.Edges
	nat      *requests.NAT
	coverage *requests.Coverage
	host     atomic.Pointer[[]netip.Addr]
	holders  atomic.Pointer[requests.Addresses] // of the latest reading

	requests, errors, bytes, blind, entries, folded *Family
}

// EdgesOptions say what a service map is made of. What is nil is not asked.
type EdgesOptions struct {
	Kernel     *Kernel
	Source     requests.Source
	Config     requests.EdgesConfig
	Containers func() []*event.Container
	Find       func(pid uint32) *event.Process // who has a pid now
	Rings      func() map[uint32]bool          // processes that use io_uring
	Procfs     string
	Log        *slog.Logger
}

// NewEdges returns the collector. Its configuration was validated.
func NewEdges(o EdgesOptions) *Edges {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Edges{
		o:        o,
		nat:      requests.NewNAT(o.Procfs, o.Log),
		coverage: requests.NewCoverage(o.Procfs, o.Log),
		requests: NewCounter("yagura_service_edge_requests_total",
			"Requests by who asks and who answers, as this workload saw them. What passes between two workloads of the node is counted once, by its client.", edgeLabels...).PerWorkload(),
		errors: NewCounter("yagura_service_edge_errors_total",
			"Those of these requests that failed.", edgeLabels...).PerWorkload(),
		bytes: NewCounter("yagura_service_edge_bytes_total",
			"Payload bytes of these connections, as this workload sends and receives them.", append(edgeLabels[:len(edgeLabels):len(edgeLabels)], "direction")...).PerWorkload(),
		blind: NewGauge("yagura_l7_coverage",
			"Processes of the workload that hold a connection, by what can be read of them: all (seen); not all, though their TLS library could be probed (encrypted), or as they have none that could be (static_tls); or they use io_uring, whose reads and writes are not seen (io_uring).", "state").PerWorkload(),
		entries: NewGauge("yagura_service_map_entries",
			"Entries of the service map's tables.", "table").Fixed(),
		folded: NewCounter("yagura_service_map_folded_total",
			"Edges that had no place in the service map when they appeared: their peer is other.").Fixed(),
	}
	e.edges = requests.NewEdges(o.Source, e.peers(o.Config))
	return e
}

var edgeLabels = []string{"role", "client", "server", "protocol", "port"}

// peers makes a ladder. One that cannot be configured as wished is the standard one.
func (e *Edges) peers(c requests.EdgesConfig) *requests.Peers {
	o := requests.PeersOptions{Config: c, NAT: e.nat.Ends, Workload: e.workloadAt}
	p, err := requests.NewPeers(o)
	if err != nil {
		e.o.Log.Error("peers have no configured names", "err", err)
		o.Config = requests.DefaultEdges
		p, _ = requests.NewPeers(o) // the standard networks are valid
	}
	return p
}

// Configure names peers by another configuration from now on.
func (e *Edges) Configure(c requests.EdgesConfig) { e.edges.SetPeers(e.peers(c)) }

func (e *Edges) workloadAt(end netip.AddrPort) (event.Workload, bool) {
	a := e.holders.Load()
	if a == nil {
		return event.Workload{}, false
	}
	return a.Workload(end)
}

// Entry returns the collector's row in the list of collectors.
func (e *Edges) Entry() Entry {
	return Entry{
		Name: "edges", Help: "The service map: requests, errors and bytes by client and server, and processes that cannot be seen into.", Default: true,
		Collector: e, Families: e.families(),
	}
}

func (e *Edges) families() []*Family {
	return []*Family{e.requests, e.errors, e.bytes, e.blind, e.entries, e.folded}
}

// hostEvery is how often the addresses of the host are read.
const hostEvery = time.Minute

// Run keeps what the map needs to know and a scrape does not wait for, until ctx is done: translations of NAT, addresses
// of the host, and libraries of processes.
func (e *Edges) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { _ = e.nat.Run(ctx) })
	all.Go(func() { _ = e.coverage.Run(ctx) })
	for tick := time.Tick(hostEvery); ; {
		e.readHost()
		select {
		case <-ctx.Done():
			all.Wait()
			return nil
		case <-tick:
		}
	}
}

func (e *Edges) readHost() {
	addrs, err := requests.HostAddresses(e.o.Procfs)
	if err != nil {
		e.o.Log.Debug("addresses of the host are not known", "err", err)
		return
	}
	e.host.Store(&addrs)
}

// Answer learns names of addresses from a sample that holds a DNS message.
func (e *Edges) Answer(s *bpf.RequestSample) {
	if s.Kind&bpf.SampleAnswer != 0 {
		e.edges.Peers().Remember(s.Slot, s.Payload, s.Time)
	}
}

// census calls do with who is on the machine; no slot changes hands until it returns.
func (k *Kernel) census(do func(requests.Census, []listener) error) error {
	if err := k.read(func(*workloadTotals) {}); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var listeners []listener
	ports, alive := map[uint16]bool{}, map[event.Workload]bool{{}: true, {Container: other}: true}
	for _, s := range k.slots {
		alive[s.workload] = true
		for port := range s.queues {
			ports[uint16(port)] = true
			listeners = append(listeners, listener{s.workload, uint16(port)})
		}
	}
	return do(requests.Census{
		Owner: func(slot uint32) (requests.Owner, bool) {
			s := k.slots[slot]
			if s == nil || !k.named(s) {
				return requests.Owner{}, false
			}
			return requests.Owner{CgroupID: s.slot.CgroupID, Workload: s.workload}, true
		},
		Listens: func(port uint16) bool { return ports[port] },
		Alive:   func(w event.Workload) bool { return alive[w] },
	}, listeners)
}

// A listener is a workload with a port that it listens at.
type listener struct {
	event.Workload
	port uint16
}

// locate notes who has which address now.
func (e *Edges) locate(listeners []listener) {
	var containers []*event.Container
	if e.o.Containers != nil {
		containers = e.o.Containers()
	}
	var own []netip.Addr
	if host := e.host.Load(); host != nil {
		own = *host
	}
	at := map[listener]bool{}
	for _, l := range listeners {
		at[l] = true
	}
	e.holders.Store(requests.NewAddresses(containers, own, func(w event.Workload, port uint16) bool { return at[listener{w, port}] }))
}

// Update sends all families.
func (e *Edges) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	for _, f := range e.families() {
		f.Begin()
	}
	var holders requests.Holders
	if err := e.o.Kernel.census(func(c requests.Census, listeners []listener) error {
		e.locate(listeners)
		c.Each = func(o requests.Owner, conn bpf.Connection) { holders.Add(o, &conn) }
		return e.edges.Read(c, time.Now())
	}); err != nil {
		return err
	}
	e.edges.Each(e.show)
	e.showCoverage(&holders)
	e.showTables()
	for _, f := range e.families() {
		f.Send(ch)
	}
	return nil
}

// show gives an edge errors from zero on if it has requests.
func (e *Edges) show(edge requests.Edge, s requests.EdgeSums) {
	labels := []string{edge.Role, edge.Client, edge.Server, edge.Protocol, edge.Port}
	if s.Requests > 0 || s.Errors > 0 {
		e.requests.Add(edge.Workload, float64(s.Requests), labels...)
		e.errors.Add(edge.Workload, float64(s.Errors), labels...)
	}
	if s.Sent > 0 || s.Received > 0 {
		e.bytes.Add(edge.Workload, float64(s.Sent), append(labels, "transmit")...)
		e.bytes.Add(edge.Workload, float64(s.Received), append(labels, "receive")...)
	}
}

func (e *Edges) showCoverage(holders *requests.Holders) {
	for w, states := range holders.Count(e.coverage, e.rings(), e.start, e.belongs) {
		for _, state := range requests.CoverageStates {
			e.blind.Add(w, float64(states[state]), state)
		}
	}
}

func (e *Edges) rings() map[uint32]bool {
	if e.o.Rings == nil {
		return nil
	}
	return e.o.Rings()
}

func (e *Edges) process(pid uint32) *event.Process {
	if e.o.Find == nil {
		return nil
	}
	return e.o.Find(pid)
}

func (e *Edges) start(pid uint32) uint64 {
	if p := e.process(pid); p != nil {
		return p.Start
	}
	return 0
}

// belongs says whose a process is.
func (e *Edges) belongs(pid uint32) (event.Workload, bool) {
	p := e.process(pid)
	if p == nil {
		return event.Workload{}, false
	}
	return e.o.Kernel.name(p.CgroupID)
}

func (e *Edges) showTables() {
	s := e.edges.Stats()
	for table, n := range map[string]int{"edges": s.Edges, "addresses": s.Addresses, "nat": e.nat.Len(), "dns": e.edges.Peers().Names()} {
		e.entries.Set(event.Workload{}, float64(n), table)
	}
	e.folded.Set(event.Workload{}, float64(s.Folded))
}

// openConnection is what a page of connections is chosen from.
type openConnection struct {
	bpf.Connection
	owner requests.Owner
	peer  requests.Peer
}

// Connections serves the connections that are open now, the youngest first: who is at each end, and which process. The
// addresses are in it, as those who may ask may know them.
func (e *Edges) Connections() http.Handler {
	return FilteredRows([]string{"protocol", "role"}, func(w http.ResponseWriter, q Query) {
		found, err := e.open(q)
		if err != nil {
			reply(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
			return
		}
		slices.SortFunc(found, func(a, b *openConnection) int { return requests.CompareConnections(&a.Connection, &b.Connection) })
		rows, rings := make([]*requests.Connection, len(found)), e.rings()
		for i := min(q.after, len(rows)); i < min(q.after+q.limit, len(rows)); i++ { // the others are on other pages
			rows[i] = e.row(found[i], rings)
		}
		ServeRows(w, q, rows)
	})
}

// open finds the connections that a query wants. One whose workload has no name yet is other's.
func (e *Edges) open(q Query) (found []*openConnection, err error) {
	peers, now := e.edges.Peers(), time.Now()
	err = e.o.Kernel.census(func(c requests.Census, listeners []listener) error {
		e.locate(listeners)
		return e.o.Source.Connections(func(conn bpf.Connection) {
			owner, known := c.Owner(conn.Slot)
			if !known {
				owner.Workload.Container = other
			}
			if q.Wants(owner.Workload, conn.Born) && q.has("protocol", conn.Protocol) && q.has("role", requests.Role(conn.Server)) {
				found = append(found, &openConnection{conn, owner, peers.PeerOf(&conn, c.Owner, now)})
			}
		})
	})
	return found, err
}

// has says whether a filter of the endpoint's own lets a value through.
func (q Query) has(filter, value string) bool {
	want, given := q.Filters[filter]
	return !given || want == value
}

func (e *Edges) row(c *openConnection, rings map[uint32]bool) *requests.Connection {
	r := requests.NewConnection(c.owner, &c.Connection, c.peer)
	r.Coverage = e.coverage.State(requests.ProcessID{PID: c.PID, Start: e.start(c.PID)}, c.TLS == requests.Encrypted, rings[c.PID])
	if boot, err := host.BootTime(); err == nil {
		r.SetProcess(e.process(c.PID), boot)
	}
	return &r
}

// Find returns the process that has a pid now, nil if none is known.
func (n *Node) Find(pid uint32) *event.Process {
	if n.Table == nil {
		return nil
	}
	return n.Table.Find(pid)
}
