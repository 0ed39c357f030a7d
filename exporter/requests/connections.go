package requests

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// A Connection is one row of /api/yagura/connections: an open connection as one of its ends sees it.
type Connection struct {
	Namespace     string    `json:"namespace"`
	Pod           string    `json:"pod"`
	Container     string    `json:"container"`
	Unit          string    `json:"unit"`
	Role          string    `json:"role"` // the workload's: client or server
	Protocol      string    `json:"protocol"`
	Local         string    `json:"local"` // as the service map names it
	Remote        string    `json:"remote"`
	Port          uint16    `json:"port"` // the server's
	LocalAddress  string    `json:"local_address"`
	RemoteAddress string    `json:"remote_address"`
	Network       uint32    `json:"network_namespace"`
	TLS           string    `json:"tls"`    // empty, encrypted, or decrypted
	Joined        bool      `json:"joined"` // seen from its middle on
	Coverage      string    `json:"coverage"`
	Requests      uint64    `json:"requests"`
	Failures      uint64    `json:"failures"`
	Sent          uint64    `json:"sent_bytes"`
	Received      uint64    `json:"received_bytes"`
	Born          time.Time `json:"born"`
	Process       Process   `json:"process"`
}

// A Process is whose call was the last one on a connection. Only its number is known of one that has ended, or that was
// never heard of.
type Process struct {
	PID       uint32     `json:"pid"`
	Name      string     `json:"name"`
	Exe       string     `json:"exe"`
	ExeInode  uint64     `json:"exe_inode"`
	Command   string     `json:"command"` // redacted
	UID       uint32     `json:"uid"`
	Parent    string     `json:"parent"`
	StartTime *time.Time `json:"start_time"`
}

// NewConnection makes a row of a connection whose peer was found, but for its process and its coverage.
func NewConnection(o Owner, c *bpf.Connection, peer Peer) Connection {
	r := Connection{Namespace: o.Workload.Namespace, Pod: o.Workload.Pod, Container: o.Workload.Container, Unit: o.Workload.Unit,
		Role: Role(c.Server), Protocol: c.Protocol, Local: Name(o.Workload), Remote: peer.Name, Port: c.Port,
		LocalAddress: c.Local.String(), RemoteAddress: c.Remote.String(), Network: c.NetNS, TLS: c.TLS, Joined: c.Joined,
		Requests: c.Totals.Requests, Failures: c.Totals.Failures, Sent: c.Totals.Sent, Received: c.Totals.Received, Born: c.Born.UTC()}
	r.Process.PID = c.PID
	return r
}

// Role is what a workload is on a connection.
func Role(isServer bool) string {
	if isServer {
		return "server"
	}
	return "client"
}

// CompareConnections puts the youngest first. The order of two connections never changes.
func CompareConnections(a, b *bpf.Connection) int {
	return cmp.Or(b.Born.Compare(a.Born), a.Local.Compare(b.Local), a.Remote.Compare(b.Remote), cmp.Compare(a.NetNS, b.NetNS))
}

// SetProcess fills in what the process table knows. Boot is when the machine started, in Unix ns.
func (r *Connection) SetProcess(p *event.Process, boot int64) {
	if p == nil {
		return
	}
	start := time.Unix(0, boot+int64(p.Start)).UTC()
	r.Process = Process{PID: p.PID, Name: p.Name(), Exe: p.Path, ExeInode: p.ExeInode, Command: strings.Join(host.Redact(p.Args), " "),
		UID: p.UID, StartTime: &start}
	if p.Parent != nil {
		r.Process.Parent = p.Parent.Name()
	}
}

// PeerOf names the other end of an open connection.
func (p *Peers) PeerOf(c *bpf.Connection, owner func(slot uint32) (Owner, bool), now time.Time) Peer {
	if c.PeerSlot != 0 {
		if o, known := owner(c.PeerSlot); known {
			return Peer{Name: Name(o.Workload), Rung: ByWorkload, Workload: o.Workload, Port: c.Port}
		}
	}
	return p.Find(c.Slot, netip.AddrPortFrom(c.Remote.Addr(), c.Port), !c.Server, now)
}
