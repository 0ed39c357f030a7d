package host

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what is read of sockets.
const (
	maxSocketTable = 64 << 20
	maxDescriptors = 1_000_000 // looked at in one go
	maxListeners   = 20_000
)

// firstProcess is the process whose network is the machine's. Who may not look at it, as within some virtual machines, is taken for
// a neighbour of it.
func (s *Surveys) firstProcess() string {
	if _, err := s.Proc().Readlink("1/ns/net"); err != nil {
		return "self"
	}
	return "1"
}

// A listener is a socket that waits for others.
type listener struct {
	protocol string
	at       netip.AddrPort
	uid      uint32
	inode    uint64
	owner    int // 0 if none was found
}

func (l *listener) family() string {
	if l.at.Addr().Is4() {
		return ipv4
	}
	return ipv6
}

// subject is how a listener is called.
func (l *listener) subject() string { return l.protocol + " " + l.at.String() }

// Listeners reports the sockets of TCP and UDP that wait for others, in the machine's own network name space.
func (s *Surveys) Listeners(ctx context.Context, report func(event.Fact)) error {
	if !s.Live() {
		return event.ErrNotLive
	}
	return s.listenersOf(ctx, s.firstProcess(), report)
}

// listenersOf reports those in the network name space of a process.
func (s *Surveys) listenersOf(ctx context.Context, pid string, report func(event.Fact)) error {
	all, err := s.listening(pid)
	if err != nil {
		return err
	}
	if err := s.findOwners(ctx, pid, all); err != nil {
		return err
	}
	filters := s.loadedFilters(pid)
	open := filters.openPorts()
	bySubject := map[string]*listener{}
	for i := range all {
		l := &all[i]
		if was := bySubject[l.subject()]; was == nil || was.owner == 0 {
			bySubject[l.subject()] = l // of several that share an address one is told
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(bySubject)) {
		l := bySubject[subject]
		f := s.listenerFact(l)
		if report(f); !l.at.Addr().IsLoopback() {
			report(openingFact(l, f, open, filters.err))
		}
	}
	return nil
}

// listening reads the tables of sockets.
func (s *Surveys) listening(pid string) (all []listener, err error) {
	for _, table := range []struct{ name, protocol string }{{"tcp", "tcp"}, {"tcp6", "tcp"}, {"udp", "udp"}, {"udp6", "udp"}} {
		data, err := s.Proc().Read(path.Join(pid, "net", table.name), maxSocketTable)
		if Absent(err) && strings.HasSuffix(table.name, "6") {
			continue // without IPv6 there is none
		}
		if err != nil {
			return nil, err
		}
		some, err := parseSockets(data, table.protocol)
		if err != nil {
			return nil, fmt.Errorf("/proc/%s/net/%s: %w", pid, table.name, err)
		}
		if all = append(all, some...); len(all) > maxListeners {
			return nil, fmt.Errorf("/proc/%s/net/%s: more than %d sockets listen", pid, table.name, maxListeners)
		}
	}
	return all, nil
}

// States of sockets in these tables that wait: a socket of TCP that listens, one of UDP that is connected to nobody.
const (
	tcpListens    = "0A"
	udpUnassigned = "07"
)

// parseSockets takes a table of sockets apart, whose first line names the columns.
func parseSockets(data []byte, protocol string) (all []listener, err error) {
	want := tcpListens
	if protocol == "udp" {
		want = udpUnassigned
	}
	n := 0
	for line := range bytes.Lines(data) {
		if n++; n == 1 {
			continue
		}
		words := strings.Fields(string(line))
		if len(words) < 10 {
			return nil, fmt.Errorf("line %d: want at least 10 columns, got %d", n, len(words))
		}
		if words[3] != want {
			continue
		}
		l := listener{protocol: protocol}
		if l.at, err = parseSocketAddress(words[1]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		uid, err := strconv.ParseUint(words[7], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %d: user: %w", n, err)
		}
		if l.inode, err = strconv.ParseUint(words[9], 10, 64); err != nil {
			return nil, fmt.Errorf("line %d: inode: %w", n, err)
		}
		l.uid = uint32(uid)
		all = append(all, l)
	}
	return all, nil
}

// parseSocketAddress reads 0100007F:0016: words of 32 bits in the machine's order, and a port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	address, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if !ok || err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %.60q: want 8 or 32 digits, a colon and a port", text)
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %.60q: port: %w", text, err)
	}
	for i := 0; i < len(raw); i += 4 {
		native.PutUint32(raw[i:], uint32(raw[i])<<24|uint32(raw[i+1])<<16|uint32(raw[i+2])<<8|uint32(raw[i+3]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}

// findOwners finds the processes that have the sockets: those of the network name space, with the least number first.
func (s *Surveys) findOwners(ctx context.Context, pid string, all []listener) error {
	wanted := map[uint64]*listener{}
	for i := range all {
		wanted[all[i].inode] = &all[i]
	}
	network, err := s.Proc().Readlink(path.Join(pid, "ns/net"))
	if err != nil {
		return err
	}
	pids, err := s.pids()
	if err != nil {
		return err
	}
	looked := 0
	for _, p := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := strconv.Itoa(p)
		if ns, err := s.Proc().Readlink(path.Join(dir, "ns/net")); err != nil || ns != network {
			continue
		}
		n, err := s.socketsOf(dir, func(inode uint64) {
			if l := wanted[inode]; l != nil {
				l.owner = p
				delete(wanted, inode)
			}
		})
		if looked += n; len(wanted) == 0 || looked > maxDescriptors {
			return nil
		}
		if err != nil && !Absent(err) {
			return err
		}
	}
	return nil
}

// socketsOf tells the inodes of the sockets that a process has open, and how many descriptors were looked at.
func (s *Surveys) socketsOf(pid string, socket func(inode uint64)) (looked int, err error) {
	dir, err := s.Proc().OpenDir(path.Join(pid, "fd"))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxDescriptors)
	if err != nil {
		return 0, nil // it has ended, or has none
	}
	link := make([]byte, 64)
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, link)
		if err != nil {
			continue
		}
		if inode, ok := bytes.CutPrefix(link[:n], []byte("socket:[")); ok {
			if number, err := strconv.ParseUint(string(bytes.TrimSuffix(inode, []byte("]"))), 10, 64); err == nil {
				socket(number)
			}
		}
	}
	return len(names), nil
}

func (s *Surveys) listenerFact(l *listener) event.Fact {
	addr := l.at.Addr()
	f := event.Listener.New(l.subject(), "").Set("protocol", l.protocol).Set("family", l.family())
	f.Set("address", addr.String()).Set("port", int64(l.at.Port()))
	f.Set("loopback", addr.IsLoopback()).Set("wildcard", addr.IsUnspecified()).Set("uid", int64(l.uid))
	if name, known, err := s.UserName(l.uid); err != nil {
		f.Fail(err)
	} else if known {
		f.Set("user", name)
	}
	if l.owner != 0 {
		s.setOwner(f, l.owner)
	}
	return f
}

// openingFact tells what the packet filter has for a listener.
func openingFact(l *listener, told event.Fact, open openPorts, why error) event.Fact {
	f := event.Opening.New(l.subject(), "").Set("protocol", l.protocol).Set("family", l.family()).Set("port", int64(l.at.Port()))
	if process, ok := told.Values["process"]; ok {
		f.Set("process", process)
	}
	if why != nil {
		return f.Fail(why)
	}
	return f.Set("ruled", open.admit(l))
}

func (s *Surveys) setOwner(f event.Fact, pid int) {
	dir := strconv.Itoa(pid)
	name, err := s.Proc().Read(path.Join(dir, "comm"), 64)
	if err != nil {
		return // it has ended
	}
	f.Set("pid", int64(pid)).Set("process", strings.TrimSuffix(string(name), "\n"))
	if exe, err := s.Proc().Readlink(path.Join(dir, "exe")); err == nil {
		program, deleted := strings.CutSuffix(exe, deletedMark)
		f.Set("program", program).Set("deleted", deleted)
	}
}
