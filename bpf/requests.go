package bpf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

// Protocols names the elements of enum l7_protocol.
var Protocols = [...]string{"unknown", "tcp", "tls", "http", "http2", "grpc", "postgresql", "mysql", "redis", "memcached",
	"mongodb", "kafka", "amqp", "nats", "dns"}

// RequestEnds names the elements of enum l7_end: how a request ended.
var RequestEnds = [...]string{"ok", "failed", "closed", "cancelled", "one_way"}

// RequestMethods names the elements of enum http_method, as semantic conventions write them.
var RequestMethods = [...]string{"_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// UnmatchedReasons names the elements of enum l7_reason.
var UnmatchedReasons = [...]string{"no_request", "lost_framing", "queue_merged", "no_room", "header_table"}

// Names of a RequestKey that stand for no name, and for all names beyond those that are told apart.
const (
	NoName    = 0
	OtherName = 1
)

// A RequestKey says which requests are counted together: Name is the hash of a route, an operation or a method, which a
// RequestSample with the same Slot, Protocol, Server and Name spells; Status depends on the protocol: of HTTP and gRPC
// their own, the class of an SQLSTATE as two letters, of MySQL, Kafka and DNS their error.
type RequestKey struct {
	Slot, Name uint32
	Protocol   string // one of Protocols
	Method     string // one of RequestMethods, of HTTP
	End        string // one of RequestEnds
	Status     uint16
	Server     bool // the workload answers; else it asks
}

// RequestTotals are what was counted: SumNs of all durations; Classic by the bounds of RequestOptions, not cumulative and
// with +Inf at the end; Native of schema 3, where [i] is up to 2^(NativeLow + i/8) seconds, the first all below and the
// last all above.
type RequestTotals = yaguraL7Totals

// What the elements of RequestTotals.Native stand for.
const (
	NativeSchema  = 3
	NativeLow     = -20
	NativeBuckets = len(RequestTotals{}.Native)
	RequestBounds = len(RequestTotals{}.Classic) - 1
)

// Add adds what another has counted.
func (t *yaguraL7Totals) Add(o *RequestTotals) { addWords(t, o) }

// Count is how many requests were counted.
func (t *yaguraL7Totals) Count() (n uint64) {
	for _, c := range t.Classic {
		n += c
	}
	return n
}

// RequestOptions may be changed while programs run.
type RequestOptions struct {
	Slow     time.Duration                // requests that take longer are samples
	Bounds   [RequestBounds]time.Duration // classic bounds, ascending
	Names    map[string]int               // by protocol: how many names are told apart by workload and role; 0 none
	Samples  int                          // at most so many a second and CPU; 0 for none
	Every    int                          // one in so many is a sample though neither slow nor failed; 0 for none
	DNSNames bool                         // DNS answers are told, for names of addresses
	Sizes    bool                         // sizes of bodies are counted, of HTTP/1
}

// SetRequests changes how requests are told apart and which are samples. Bounds may not change once requests were counted.
func (a *Agent) SetRequests(o RequestOptions) error {
	if a.off() {
		return nil
	}
	k := yaguraL7Options{SlowNs: uint64(o.Slow), Samples: uint32(o.Samples), Every: uint32(o.Every)}
	if o.DNSNames {
		k.DnsNames = 1
	}
	if o.Sizes {
		k.Sizes = 1
	}
	for i, b := range o.Bounds {
		k.Bounds[i] = uint64(b)
	}
	for i, p := range Protocols {
		k.Names[i] = uint32(o.Names[p])
	}
	m := a.maps[".data.l7"]
	if m == nil {
		return fmt.Errorf("options of requests: %w", a.missing[".data.l7"])
	}
	return m.Put(uint32(0), &k)
}

// Requests calls yield with what was counted of every key. The totals are valid until yield returns.
func (a *Agent) Requests(yield func(RequestKey, *RequestTotals)) error {
	return each(a, "l7_sums", func(k *yaguraL7Key, t *RequestTotals) { yield(requestKeyOf(k), t) })
}

// RequestSizes are sizes of bodies: Of requests, and of their responses. A request without a body has one of 0 bytes.
type RequestSizes = yaguraL7Sizes

// Add adds what another has counted.
func (s *yaguraL7Sizes) Add(o *RequestSizes) { addWords(s, o) }

// RequestSizes calls yield with the sizes of bodies of every key, where RequestOptions ask for them: of requests of HTTP/1 that
// were answered. They are valid until yield returns.
func (a *Agent) RequestSizes(yield func(RequestKey, *RequestSizes)) error {
	return each(a, "l7_body_sizes", func(k *yaguraL7Key, s *RequestSizes) { yield(requestKeyOf(k), s) })
}

func requestKeyOf(k *yaguraL7Key) RequestKey {
	return RequestKey{
		Slot: k.Slot, Name: k.Name, Status: k.Status, Server: k.Role == roleServer,
		Protocol: nameOf(Protocols[:], k.Protocol), Method: nameOf(RequestMethods[:], k.Method), End: nameOf(RequestEnds[:], k.End),
	}
}

const roleServer = 1

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return other
}

// Unmatched calls yield with how many messages of a protocol made no request, by reason; all pairs, also those at 0.
func (a *Agent) Unmatched(yield func(protocol, reason string, n uint64)) error {
	if a.off() || a.maps["l7_unmatched_counts"] == nil {
		return nil
	}
	values := make([]uint64, a.cpus)
	for p, protocol := range Protocols {
		for r, reason := range UnmatchedReasons {
			total := uint64(0)
			if err := sum(a.maps["l7_unmatched_counts"], uint32(p*len(UnmatchedReasons)+r), values, func(n *uint64) { total += *n }); err != nil {
				return fmt.Errorf("read unmatched messages: %w", err)
			}
			yield(protocol, reason, total)
		}
	}
	return nil
}

// SampleKind says why a request was told of.
type SampleKind uint16

// The bits are those of enum l7_sample_kind.
const (
	SampleName    SampleKind = 1 << iota // the first of its name: it tells how the hash is spelled
	SampleSlow                           // it took longer than RequestOptions.Slow
	SampleFailed                         // it failed
	SampleRegular                        // one in RequestOptions.Every
	SampleAnswer                         // Payload is a DNS message
)

// A RequestSample is one request. It never holds a body, a query string or a literal.
type RequestSample struct {
	RequestKey
	Generation    uint32 // of the slot
	Kind          SampleKind
	Time          time.Time // when it ended
	Duration      time.Duration
	PID           uint32 // in the initial pid namespace
	Local, Remote netip.AddrPort
	Trace         string // id of a traceparent header, 32 hexadecimal digits; "" if none was seen
	Text          string // what it is called as it stands on the wire: the path before its query, the command, the verb
	Payload       []byte // of SampleAnswer, at most 512 bytes; valid until the sink returns
}

// RequestSamples reports samples to sink until ctx is done.
func (a *Agent) RequestSamples(ctx context.Context, sink func(*RequestSample)) error {
	if a.off() || a.maps["l7_samples"] == nil {
		<-ctx.Done()
		return nil
	}
	r, err := ringbuf.NewReader(a.maps["l7_samples"])
	if err != nil {
		return fmt.Errorf("open the ring buffer of samples: %w", err)
	}
	defer r.Close()
	defer context.AfterFunc(ctx, func() { r.Close() })()
	var record ringbuf.Record
	var s RequestSample
	for {
		r.SetDeadline(time.Now().Add(samplesEvery))
		err := r.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if errors.Is(err, ringbuf.ErrClosed) || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer of samples: %w", err)
		}
		if a.decodeSample(record.RawSample, &s) {
			sink(&s)
		}
	}
}

// samplesEvery is how often the ring buffer of samples is looked into when the kernel does not wake us.
const samplesEvery = 100 * time.Millisecond

func (a *Agent) decodeSample(raw []byte, s *RequestSample) bool {
	if len(raw) < sizeOf[yaguraL7Sample]() {
		return false
	}
	w := as[yaguraL7Sample](raw)
	*s = RequestSample{
		RequestKey: RequestKey{Slot: w.Slot, Name: w.Name, Status: w.Status, Server: w.Role == roleServer,
			Protocol: nameOf(Protocols[:], w.Protocol), Method: nameOf(RequestMethods[:], w.Method), End: nameOf(RequestEnds[:], w.End)},
		Generation: w.Generation, Kind: SampleKind(w.Kind), Time: a.slots.time(w.Boot), Duration: time.Duration(w.Duration), PID: w.Pid,
		Local: addrPort(w.Local, w.LocalPort), Remote: addrPort(w.Remote, w.RemotePort),
	}
	s.Text = text(w.Text[:], int(w.TextLength))
	if w.Traced != 0 {
		s.Trace = text(w.Trace[:], len(w.Trace))
	}
	if s.Kind&SampleAnswer != 0 {
		s.Payload = raw[sizeOf[yaguraL7Sample]():]
	}
	return true
}

func text(c []int8, n int) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(c))), min(n, len(c))))
}

// addrPort reads an address, which the kernel side writes as IPv6 does.
func addrPort(address [16]uint8, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(address).Unmap(), port)
}

// An Edge is who spoke with whom: the workload Slot with PeerSlot, or where that is 0 with an address. Port is the server's.
type Edge struct {
	Slot, PeerSlot uint32
	Peer           netip.Addr // without PeerSlot
	Port           uint16
	Protocol       string
	Server         bool // Slot is the server
}

// EdgeTotals are what an edge has counted.
type EdgeTotals = yaguraL7EdgeTotals

// Add adds what another has counted.
func (t *yaguraL7EdgeTotals) Add(o *EdgeTotals) { addWords(t, o) }

func edgeOf(e *yaguraL7Edge) Edge {
	edge := Edge{Slot: e.Slot, PeerSlot: e.PeerSlot, Port: e.Port, Protocol: nameOf(Protocols[:], e.Protocol), Server: e.Role == roleServer}
	if e.PeerSlot == 0 {
		edge.Peer = addrPort(e.Address, 0).Addr()
	}
	return edge
}

// Edges calls yield with what the connections that have ended have added up to.
func (a *Agent) Edges(yield func(Edge, *EdgeTotals)) error {
	return each(a, "l7_edge_sums", func(k *yaguraL7Edge, t *EdgeTotals) { yield(edgeOf(k), t) })
}

// A Connection is one that is open now.
type Connection struct {
	Edge
	Totals        EdgeTotals
	Born          time.Time // when it was first seen
	PID           uint32    // whose call was the last one, in the initial pid namespace
	NetNS         uint32    // inode of its network namespace
	Local, Remote netip.AddrPort
	TLS           string // "", "encrypted" if its bytes cannot be read, "decrypted" if they are read at the library or in the kernel
	Joined        bool   // seen from its middle on
}

var tlsStates = [...]string{"", "encrypted", "decrypted", "decrypted"}

// Connections calls yield with every open connection of which bytes were seen. Edges before Connections never counts a
// connection twice.
func (a *Agent) Connections(yield func(Connection)) error {
	return walk(a.connections, "connections", func(c *yaguraL7Connection) {
		e := &c.Edge
		yield(Connection{Edge: edgeOf(e), Totals: c.Totals, Born: a.slots.time(c.Born), PID: c.Pid, NetNS: c.NsNet,
			Local: addrPort(c.Local, c.LocalPort), Remote: addrPort(e.Address, c.RemotePort),
			TLS: nameOf(tlsStates[:], c.Tls), Joined: c.Joined != 0})
	})
}

// RingUsers returns the processes that have a ring of io_uring, whose reads and writes of sockets are not seen, as far as they
// can be read.
func (a *Agent) RingUsers() map[uint32]bool {
	users := map[uint32]bool{}
	_ = each(a, "ring_users", func(pid *uint32, _ *uint8) { users[*pid] = true })
	return users
}

// forgetRequests removes all that was counted for a slot, and what others have counted with it.
func (a *Agent) forgetRequests(slot uint32) error {
	if a.maps["l7_sums"] == nil || a.maps["l7_body_sizes"] == nil || a.maps["l7_names"] == nil || a.maps["l7_edge_sums"] == nil {
		return nil
	}
	err := deleteOf(a.maps["l7_sums"], func(k *yaguraL7Key) bool { return k.Slot == slot })
	err = errors.Join(err, deleteOf(a.maps["l7_body_sizes"], func(k *yaguraL7Key) bool { return k.Slot == slot }))
	err = errors.Join(err, deleteOf(a.maps["l7_names"], func(k *yaguraL7Name) bool { return k.Slot == slot }))
	return errors.Join(err, deleteOf(a.maps["l7_edge_sums"], func(k *yaguraL7Edge) bool { return k.Slot == slot || k.PeerSlot == slot }))
}
