package requests

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of the service map: label sets that are shown and how long an idle one keeps its place when there is no other;
// edges by address that are followed, beyond which only the networks of addresses are told apart; and connections.
const (
	maxEdges     = 2000
	edgeIdle     = time.Hour
	maxRecords   = 20_000
	maxFolded    = 4096
	maxFollowed  = 1 << 16
	forgetRecord = 8     // readings: a connection that ends between two looks is missing in one, and others may hide that it is back
	firstDynamic = 32768 // ports from here on are lent to clients, unless somebody listens
)

// A Source tells what the kernel knows of connections; a bpf.Agent is one.
type Source interface {
	Edges(yield func(bpf.Edge, *bpf.EdgeTotals)) error
	Connections(yield func(bpf.Connection)) error
}

// An Owner is who has a slot. Slots are lent again, control groups never.
type Owner struct {
	CgroupID uint64
	Workload event.Workload
}

// Census is who is on the machine, as long as one reading takes.
type Census struct {
	Owner   func(slot uint32) (o Owner, known bool) // what is not known yet waits
	Listens func(port uint16) bool                  // whether anybody here does
	Alive   func(event.Workload) bool
	Each    func(Owner, bpf.Connection) // told of every open connection, if it is not nil
}

// An Edge is a label set of the service map: the workload that has seen it, and who asks whom.
type Edge struct {
	Workload       event.Workload
	Role           string // the workload's: client or server
	Client, Server string
	Protocol, Port string
}

// EdgeSums are what was counted for an edge: bytes as the workload sends and receives them.
type EdgeSums struct{ Requests, Errors, Sent, Received uint64 }

// Edges adds up what connections have carried, by who speaks with whom. The kernel has sums of connections that have
// ended, and those that are open; every reading adds what is new to the label set that the edge has now. So nothing that
// is shown goes down: not when a connection ends between two looks, and not when a peer gets another name.
type Edges struct {
	source Source

	mu        sync.Mutex
	peers     *Peers
	pass      uint64
	records   map[edgeKey]*edgeRecord
	followed  map[uint64]followed // open connections
	seed      maphash.Seed
	sums      map[Edge]*edgeSum
	folded    uint64                    // label sets that found no place, ever
	swept     uint64                    // the last pass that looked for idle ones
	crowded   uint64                    // the last pass that folded addresses into their networks
	asClients map[pair]clientSide       // of this reading, as is
	short     map[edgeKey][]*edgeRecord // those that have counted more than there is, by family
}

// An edgeKey tells apart what the kernel counts, by control groups in the place of slots.
type edgeKey struct {
	cgroup, peer uint64
	addr         netip.Addr // of a peer that is not local
	protocol     string
	network      string // of all peers beyond a bound, which are not told apart; other for local ones
	port         uint16
	server       bool
	local        bool // peer is a control group
}

// counts are those of EdgeSums, in their order.
type counts [4]uint64

func countsOf(t *bpf.EdgeTotals) counts { return counts{t.Requests, t.Failures, t.Sent, t.Received} }

func (c *counts) add(o counts) {
	for i := range c {
		c[i] += o[i]
	}
}

// minus never goes below zero.
func (c counts) minus(o counts) counts {
	for i := range c {
		c[i] -= min(c[i], o[i])
	}
	return c
}

func (c counts) none() bool { return c == counts{} }

// giveUp takes what there is of o, and returns that.
func (c *counts) giveUp(o counts) counts {
	for i := range c {
		o[i] = min(c[i], o[i])
		c[i] -= o[i]
	}
	return o
}

// An edgeRecord is what is known of one edge of the kernel's.
type edgeRecord struct {
	slot     uint32
	workload event.Workload
	peer     event.Workload // of a local one
	key      *edgeKey
	found    Peer
	isFound  bool
	sum      *edgeSum

	first, last     uint64 // readings that had it
	endedIn, openIn uint64
	missing         int    // readings in a row that did not have it
	ended, open     counts // of the reading
	before          counts // ended in the reading before
	counted         counts // of ended and open, so far
	fresh           counts // what is not counted yet
	late            bool   // its counts so far are those of a folded record
	isFolded        bool   // it has found no place of its own
}

// A followed connection is remembered so that what it has counted goes with it to another edge: its protocol may be found
// late, and a slot that is lent again is no longer its peer's.
type followed struct {
	record *edgeRecord
	last   counts // that record has counted
	now    counts
	pass   uint64
}

type edgeSum struct {
	Edge
	EdgeSums
	changed time.Time
	gone    bool
}

// A pair is who asks whom on this machine; containers of a pod are one, where they share an address.
type pair struct {
	client, server event.Workload
	port           uint16
}

// A clientSide is what the client's edges of a pair say.
type clientSide struct {
	first    uint64 // reading
	requests bool   // it has counted some: its bytes can be read
}

// NewEdges returns an empty service map.
func NewEdges(source Source, peers *Peers) *Edges {
	return &Edges{source: source, peers: peers, records: map[edgeKey]*edgeRecord{}, followed: map[uint64]followed{},
		seed: maphash.MakeSeed(), sums: map[Edge]*edgeSum{}, asClients: map[pair]clientSide{}, short: map[edgeKey][]*edgeRecord{}}
}

// SetPeers names peers by another ladder from now on, which takes over what DNS has answered.
func (e *Edges) SetPeers(p *Peers) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.answers != nil && e.peers.answers != nil {
		p.answers = e.peers.answers
	}
	e.peers = p
}

// Peers returns the ladder.
func (e *Edges) Peers() *Peers {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers
}

// Read adds what is new. Nobody may free or lend a slot meanwhile. What ends between the two looks is missing in this
// reading, and complete in the next.
func (e *Edges) Read(c Census, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pass++
	if err := e.source.Edges(func(edge bpf.Edge, t *bpf.EdgeTotals) { e.end(&c, edge, t) }); err != nil {
		return err
	}
	if err := e.source.Connections(func(conn bpf.Connection) { e.follow(&c, &conn) }); err != nil {
		return err
	}
	e.settle(&c, now)
	return nil
}

// end notes what the connections of an edge that have ended add up to. The same edge may be told twice.
func (e *Edges) end(c *Census, edge bpf.Edge, t *bpf.EdgeTotals) {
	r := e.record(c, edge)
	if r == nil {
		return
	}
	if r.endedIn != e.pass || r.key.network == "" {
		r.ended = counts{}
	}
	r.endedIn = e.pass
	r.ended.add(countsOf(t))
}

// follow notes an open connection.
func (e *Edges) follow(c *Census, conn *bpf.Connection) {
	r := e.record(c, conn.Edge)
	if r == nil {
		return
	}
	if r.openIn != e.pass {
		r.openIn, r.open = e.pass, counts{}
	}
	n := countsOf(&conn.Totals)
	r.open.add(n)
	id := e.identity(conn)
	f, known := e.followed[id]
	if known && f.record != r {
		r.counted.add(f.record.counted.giveUp(f.last))
	}
	if known || len(e.followed) < maxFollowed {
		f.record, f.now, f.pass = r, n, e.pass
		e.followed[id] = f
	}
	if c.Each != nil {
		owner, _ := c.Owner(conn.Slot)
		c.Each(owner, *conn)
	}
}

// identity tells connections apart, each end's own.
func (e *Edges) identity(c *bpf.Connection) uint64 {
	return maphash.Comparable(e.seed, struct {
		local, remote netip.AddrPort
		born          int64
		netns         uint32
		server        bool
	}{c.Local, c.Remote, c.Born.UnixNano(), c.NetNS, c.Server})
}

// record finds the record of an edge, nil while it is not known whose it is.
func (e *Edges) record(c *Census, edge bpf.Edge) *edgeRecord {
	owner, known := c.Owner(edge.Slot)
	if !known {
		return nil
	}
	key := edgeKey{cgroup: owner.CgroupID, protocol: edge.Protocol, port: edge.Port, server: edge.Server}
	var peer Owner
	if edge.PeerSlot != 0 {
		if peer, known = c.Owner(edge.PeerSlot); !known {
			return nil
		}
		key.peer, key.local = peer.CgroupID, true
	} else {
		key.addr = edge.Peer.WithZone("").Unmap()
	}
	r := e.records[key]
	if r == nil {
		r = e.make(key)
	}
	if r != nil {
		r.slot, r.workload, r.peer, r.last = edge.Slot, owner.Workload, peer.Workload, e.pass
	}
	return r
}

// make enters a record, or finds the one that stands for all that have no place.
func (e *Edges) make(key edgeKey) *edgeRecord {
	if len(e.records) >= maxRecords {
		e.crowded = e.pass
		key = edgeKey{cgroup: key.cgroup, protocol: key.protocol, server: key.server, network: e.networkOf(key)}
		if r := e.records[key]; r != nil || len(e.records) >= maxRecords+maxFolded {
			return r
		}
	}
	r := &edgeRecord{key: &key, first: e.pass, late: e.crowded > 0 && key.network == "" && e.pass-e.crowded <= 1}
	e.records[key] = r
	return r
}

func (e *Edges) networkOf(key edgeKey) string {
	if key.local {
		return other
	}
	name, _ := e.peers.networks.Name(key.addr)
	return name
}

// settle turns a complete reading into sums.
func (e *Edges) settle(c *Census, now time.Time) {
	clear(e.asClients)
	clear(e.short)
	for key, r := range e.records {
		if r.missing++; r.last == e.pass {
			r.missing = 0
		}
		if r.missing > forgetRecord {
			delete(e.records, key)
			continue
		}
		e.refresh(r)
	}
	for _, records := range e.short { // those first that are about to be forgotten
		slices.SortFunc(records, func(a, b *edgeRecord) int { return cmp.Compare(b.missing, a.missing) })
	}
	for _, r := range e.records {
		e.inherit(r)
		if !r.isFound || !r.fresh.none() {
			e.find(r, now)
		}
		if !r.key.server {
			e.noteClient(r)
		}
	}
	for _, r := range e.records {
		if !r.fresh.none() {
			e.count(c, r, now)
		}
	}
	e.forget(c)
}

// forget drops what belongs to nobody any more.
func (e *Edges) forget(c *Census) {
	for id, f := range e.followed {
		if f.pass != e.pass {
			delete(e.followed, id)
			continue
		}
		f.last = f.now
		e.followed[id] = f
	}
	for labels, s := range e.sums {
		if !c.Alive(labels.Workload) {
			e.drop(labels, s)
		}
	}
	e.peers.Forget(c.Alive)
}

// refresh says what of a record is not counted yet, and notes if it has counted more than there is.
func (e *Edges) refresh(r *edgeRecord) {
	if r.endedIn == e.pass {
		r.notice()
	}
	t := e.total(r)
	if r.late {
		r.late, r.counted = false, t
	}
	r.fresh = t.minus(r.counted)
	if !r.counted.minus(t).none() {
		k := r.key.family()
		e.short[k] = append(e.short[k], r)
	}
}

// family is what records have in common that differ by the protocol.
func (k edgeKey) family() edgeKey {
	k.protocol = ""
	return k
}

// inherit finds what a connection has counted under another protocol, before its own was found and it ended.
func (e *Edges) inherit(r *edgeRecord) {
	if r.fresh.none() || len(e.short) == 0 {
		return
	}
	for _, from := range e.short[r.key.family()] {
		spare := from.counted.minus(e.total(from))
		old := spare.giveUp(r.fresh)
		from.counted = from.counted.minus(old)
		r.counted.add(old)
		r.fresh = r.fresh.minus(old)
	}
}

// notice looks at the sum of what has ended, which only goes down if the kernel has forgotten it and begun anew. Then
// what it had is no longer part of what is read.
func (r *edgeRecord) notice() {
	for i := range r.ended {
		switch {
		case r.ended[i] >= r.before[i]:
		case r.key.network != "": // an edge of it has a place of its own now
			r.ended[i] = r.before[i]
		default:
			r.counted = r.counted.minus(r.before)
			r.before = r.ended
			return
		}
	}
	r.before = r.ended
}

func (e *Edges) total(r *edgeRecord) counts {
	t := r.before
	if r.openIn == e.pass {
		t.add(r.open)
	}
	return t
}

// count adds what is new of a record to its label set.
func (e *Edges) count(c *Census, r *edgeRecord, now time.Time) {
	add := r.fresh
	if r.key.server && r.found.Rung == ByWorkload {
		wait, keep := e.besideClient(r)
		if wait {
			return
		}
		for i := range add {
			add[i] *= keep[i]
		}
	}
	r.counted.add(r.fresh)
	if !add.none() {
		e.sumOf(c, r, now).add(add, now)
	}
}

func (s *edgeSum) add(n counts, now time.Time) {
	s.Requests += n[0]
	s.Errors += n[1]
	s.Sent += n[2]
	s.Received += n[3]
	s.changed = now
}

// besideClient says what of a server's edge is counted if its client is on this machine: nothing, as the client's own
// edge is; but its requests, if the client's bytes cannot be read; and all if there is no such edge. It waits where the
// client may only be late.
func (e *Edges) besideClient(r *edgeRecord) (wait bool, keep counts) {
	client, seen := e.asClients[pair{podOf(r.found.Workload), podOf(r.workload), r.key.port}]
	switch {
	case !seen:
		return e.pass == r.first, counts{1, 1, 1, 1}
	case client.requests:
		return false, counts{}
	}
	return e.pass-client.first < 2, counts{1, 1, 0, 0}
}

// noteClient enters a client's edge among those whose other end may be told too.
func (e *Edges) noteClient(r *edgeRecord) {
	if r.found.Rung != ByWorkload {
		return
	}
	p := pair{podOf(r.workload), podOf(r.found.Workload), r.found.Port}
	side, seen := e.asClients[p]
	if !seen || r.first < side.first {
		side.first = r.first
	}
	side.requests = side.requests || r.counted[0] > 0 || r.fresh[0] > 0
	e.asClients[p] = side
}

func podOf(w event.Workload) event.Workload {
	if w.Pod != "" {
		return event.Workload{Namespace: w.Namespace, Pod: w.Pod}
	}
	return w
}

// find names the peer of a record. A name that was better than today's stays, unless several ends have it by now.
func (e *Edges) find(r *edgeRecord, now time.Time) {
	found := e.peerOf(r, now)
	if !r.isFound || found.Rung >= r.found.Rung || found.Several {
		r.found, r.isFound = found, true
	}
}

func (e *Edges) peerOf(r *edgeRecord, now time.Time) Peer {
	switch k := r.key; {
	case k.local:
		return Peer{Name: Name(r.peer), Rung: ByWorkload, Workload: r.peer, Port: k.port}
	case k.network != "":
		return Peer{Name: k.network}
	default:
		return e.peers.Find(r.slot, netip.AddrPortFrom(k.addr, k.port), !k.server, now)
	}
}

// sumOf finds the label set of a record. One that had no place keeps to what stands for it while there is none.
func (e *Edges) sumOf(c *Census, r *edgeRecord, now time.Time) *edgeSum {
	labels := e.labels(c, r)
	has := r.sum != nil && !r.sum.gone
	if has && r.sum.Edge == labels {
		return r.sum
	}
	s := e.sums[labels]
	switch {
	case s != nil:
		r.sum, r.isFolded = s, false
	case !has || !r.isFolded || len(e.sums) < maxEdges:
		r.sum = e.admit(labels, now)
		r.isFolded = r.sum.Edge != labels
	}
	return r.sum
}

func (e *Edges) labels(c *Census, r *edgeRecord) Edge {
	own, peer := Name(r.workload), e.peers.Bounded(r.workload, r.found)
	if r.key.server {
		return Edge{r.workload, Role(true), peer, own, r.key.protocol, portLabel(c, r.key.port)}
	}
	return Edge{r.workload, Role(false), own, peer, r.key.protocol, portLabel(c, r.found.Port)}
}

func portLabel(c *Census, port uint16) string {
	if port == 0 || port >= firstDynamic && !c.Listens(port) {
		return ""
	}
	return strconv.Itoa(int(port))
}

// admit gives a label set a place; where there is none, it shares that of all peers of its workload, and beyond a second
// bound that of all.
func (e *Edges) admit(labels Edge, now time.Time) *edgeSum {
	if len(e.sums) >= maxEdges && e.swept != e.pass {
		e.sweep(now)
	}
	if len(e.sums) >= maxEdges {
		e.folded++
		labels = labels.withoutPeer()
	}
	if len(e.sums) >= maxEdges+maxEdges/4 && e.sums[labels] == nil {
		labels = Edge{Workload: event.Workload{Container: other}, Role: labels.Role, Client: other, Server: other, Protocol: other}
	}
	s := e.sums[labels]
	if s == nil {
		s = &edgeSum{Edge: labels, changed: now}
		e.sums[labels] = s
	}
	return s
}

func (l Edge) withoutPeer() Edge {
	l.Port = ""
	if l.Role == Role(true) {
		l.Client = other
	} else {
		l.Server = other
	}
	return l
}

// sweep makes room by what has not changed for long.
func (e *Edges) sweep(now time.Time) {
	e.swept = e.pass
	for labels, s := range e.sums {
		if now.Sub(s.changed) > edgeIdle {
			e.drop(labels, s)
		}
	}
}

func (e *Edges) drop(labels Edge, s *edgeSum) {
	s.gone = true
	delete(e.sums, labels)
}

// Each calls yield with all label sets.
func (e *Edges) Each(yield func(Edge, EdgeSums)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for labels, s := range e.sums {
		yield(labels, s.EdgeSums)
	}
}

// EdgeStats say how full the service map is.
type EdgeStats struct {
	Edges, Addresses int    // label sets; edges of the kernel that are followed
	Folded           uint64 // label sets without a place, so far
}

// Stats returns them.
func (e *Edges) Stats() EdgeStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EdgeStats{len(e.sums), len(e.records), e.folded}
}
