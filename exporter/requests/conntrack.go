package requests

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How often translations are read, how long one is believed after its last connection has gone, and bounds: of what one
// reading may take and of what is kept. Before Linux 6.17 the file takes longer with the square of its length.
const (
	natEvery   = 15 * time.Second
	natKept    = 10 * time.Minute
	natWithin  = 2 * time.Second
	maxNAT     = 8192
	maxNATEnds = 16
)

// A flow is a connection whose destination was translated: it was made to asked, and real answers.
type flow struct{ asked, real netip.AddrPort }

// NAT knows what destinations are translated to, as the host's connection tracking has it. It may be used by many.
type NAT struct {
	procfs string
	log    *slog.Logger
	read   func(procfs string, yield func(flow)) error
	now    func() time.Time

	known  atomic.Pointer[map[netip.AddrPort]translation]
	failed bool // the last reading; owned by Run
}

// A translation never changes once it is published.
type translation struct {
	ends []netip.AddrPort
	seen time.Time
}

// NewNAT returns one that knows no translation before it runs.
func NewNAT(procfs string, log *slog.Logger) *NAT {
	return &NAT{procfs: procfs, log: log, read: readTranslations, now: time.Now}
}

// Ends returns what a destination was translated to lately; nothing if it was not. The result must not be changed.
func (n *NAT) Ends(asked netip.AddrPort) []netip.AddrPort {
	known := n.known.Load()
	if known == nil {
		return nil
	}
	return (*known)[asked].ends
}

// Len is how many destinations are known to be translated.
func (n *NAT) Len() int {
	if known := n.known.Load(); known != nil {
		return len(*known)
	}
	return 0
}

// Run reads the translations now and then until ctx is done.
func (n *NAT) Run(ctx context.Context) error {
	for tick := time.Tick(natEvery); ; {
		n.Refresh()
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}

// Refresh reads the translations once. That they cannot be read is said once, until they can.
func (n *NAT) Refresh() {
	next, now := map[netip.AddrPort]translation{}, n.now()
	if known := n.known.Load(); known != nil {
		maps.Copy(next, *known)
		maps.DeleteFunc(next, func(_ netip.AddrPort, t translation) bool { return now.Sub(t.seen) > natKept })
	}
	err := n.read(n.procfs, func(f flow) { learn(next, f, now) })
	if err != nil && !n.failed {
		n.log.Info("destinations behind NAT are not told apart", "reason", err)
	}
	n.failed = err != nil
	n.known.Store(&next)
}

func learn(known map[netip.AddrPort]translation, f flow, now time.Time) {
	t, ok := known[f.asked]
	if !ok && len(known) >= maxNAT {
		return
	}
	if t.seen = now; !slices.Contains(t.ends, f.real) && len(t.ends) < maxNATEnds {
		t.ends = append(slices.Clone(t.ends), f.real) // who reads the old ones may go on
	}
	known[f.asked] = t
}

// readTranslations asks the kernel by netlink where it may: in the host's network name space, with CAP_NET_ADMIN, which
// the kernel wants of who asks, at every question. The file wants no capability but to read it; many kernels have none.
func readTranslations(procfs string, yield func(flow)) error {
	if _, err := os.Stat(filepath.Join(procfs, "sys/net/netfilter/nf_conntrack_count")); err != nil {
		return nil // nothing is tracked, and to ask would load the module
	}
	err := sameNetwork(procfs)
	if err == nil {
		_, errIPVS := os.Stat(filepath.Join(procfs, "1/net/ip_vs"))
		err = dumpTranslations(errIPVS == nil, yield)
	}
	if err == nil {
		return nil
	}
	f, err2 := os.Open(filepath.Join(procfs, "1/net/nf_conntrack"))
	if err2 != nil {
		return errors.Join(err, err2)
	}
	defer f.Close()
	return scanTranslations(f, time.Now().Add(natWithin), yield)
}

// scanTranslations reads the lines of nf_conntrack, as many as there is time for.
func scanTranslations(r io.Reader, until time.Time, yield func(flow)) error {
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan(); n++ {
		if f, ok := parseFlow(lines.Text()); ok {
			yield(f)
		}
		if n%64 == 0 && time.Now().After(until) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read nf_conntrack: %w", err)
	}
	return nil
}

// parseFlow reads a line that has src, dst, sport and dport twice: as asked, and of the answer. It is false for what has
// no ports, and for what is not translated.
func parseFlow(line string) (f flow, ok bool) {
	var addrs, ports []string // dst and dport, then src and sport
	for field := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(field, "=")
		switch {
		case name == "dst" && len(addrs) == 0, name == "src" && len(addrs) == 1:
			addrs = append(addrs, value)
		case name == "dport" && len(ports) == 0, name == "sport" && len(ports) == 1 && len(addrs) == 2:
			ports = append(ports, value)
		}
	}
	if len(addrs) != 2 || len(ports) != 2 {
		return f, false
	}
	asked, err := parseEnd(addrs[0], ports[0])
	real, err2 := parseEnd(addrs[1], ports[1])
	return flow{asked, real}, err == nil && err2 == nil && asked != real
}

func parseEnd(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	n, err2 := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.WithZone("").Unmap(), uint16(n)), errors.Join(err, err2)
}

// Attributes of conntrack's netlink messages: linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet             = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	attrTupleOriginal = 1                                 // CTA_TUPLE_ORIG
	attrTupleReply    = 2
	attrStatus        = 3
	attrStatusMask    = 26
	attrTupleIP       = 1 // CTA_TUPLE_IP
	attrTupleProto    = 2
	attrV4Source      = 1
	attrV4Target      = 2
	attrV6Source      = 3
	attrV6Target      = 4
	attrSourcePort    = 2
	attrTargetPort    = 3
	statusDNAT        = 1 << 5    // IPS_DST_NAT
	attrType          = 1<<14 - 1 // without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER
	genericHeader     = 4         // struct nfgenmsg
)

// dumpTranslations asks for all connections whose destination is translated, and reads them one buffer at a time: a
// machine may have a million. Kernels before 5.15 tell of all connections, and IPVS does not mark those that it translates.
func dumpTranslations(ipvs bool, yield func(flow)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(int64(natWithin))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	if err := unix.Sendto(fd, dumpRequest(!ipvs), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask conntrack: %w", err)
	}
	buffer, until := make([]byte, 64<<10), time.Now().Add(natWithin)
	for time.Now().Before(until) {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			return fmt.Errorf("read conntrack: %w", err)
		}
		if done, err := parseDump(buffer[:n], yield); done || err != nil {
			return err
		}
	}
	return nil
}

// sameNetwork is an error if this process has another network name space than the host, whose translations it is about.
func sameNetwork(procfs string) error {
	ours, err := os.Readlink("/proc/thread-self/ns/net")
	host, err2 := os.Readlink(filepath.Join(procfs, "1/ns/net"))
	if err = errors.Join(err, err2); err == nil && ours != host {
		err = errors.New("conntrack: not in the host's network name space")
	}
	return err
}

func dumpRequest(marked bool) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN+genericHeader, 64)
	var filter []uint16
	if marked {
		filter = []uint16{attrStatus, attrStatusMask}
	}
	for _, attr := range filter {
		b = binary.NativeEndian.AppendUint16(b, 8)
		b = binary.NativeEndian.AppendUint16(b, attr)
		b = binary.BigEndian.AppendUint32(b, statusDNAT)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], ctGet)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	return b
}

var errNetlinkShort = errors.New("conntrack: message ends too early")

// parseDump reads one buffer of messages, and says whether the last one was among them.
func parseDump(b []byte, yield func(flow)) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return true, errNetlinkShort
		}
		body := b[unix.NLMSG_HDRLEN:size]
		switch {
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR && len(body) < 4:
			return true, errNetlinkShort
		case kind == unix.NLMSG_ERROR:
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return true, fmt.Errorf("ask conntrack: %w", syscall.Errno(-code))
			}
		case len(body) >= genericHeader:
			if f, ok := parseEntry(body[genericHeader:]); ok {
				yield(f)
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false, nil
}

// parseEntry is false for what has no ports, and for what is not translated.
func parseEntry(b []byte) (f flow, ok bool) {
	eachAttribute(b, func(kind uint16, value []byte) {
		switch kind {
		case attrTupleOriginal:
			f.asked = parseTuple(value, attrV4Target, attrV6Target, attrTargetPort)
		case attrTupleReply:
			f.real = parseTuple(value, attrV4Source, attrV6Source, attrSourcePort)
		}
	})
	return f, f.asked.IsValid() && f.real.IsValid() && f.asked.Port() != 0 && f.asked != f.real
}

func parseTuple(b []byte, v4, v6, port uint16) netip.AddrPort {
	var addr netip.Addr
	var number uint16
	eachAttribute(b, func(kind uint16, value []byte) {
		eachAttribute(value, func(inner uint16, value []byte) {
			switch {
			case kind == attrTupleIP && (inner == v4 || inner == v6):
				addr, _ = netip.AddrFromSlice(value)
			case kind == attrTupleProto && inner == port && len(value) == 2:
				number = binary.BigEndian.Uint16(value)
			}
		})
	})
	return netip.AddrPortFrom(addr.Unmap(), number)
}

// eachAttribute stops at what is too short.
func eachAttribute(b []byte, do func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&attrType
		if size < 4 || size > len(b) {
			return
		}
		do(kind, b[4:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}
