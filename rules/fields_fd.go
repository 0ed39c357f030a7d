package rules

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// descriptorFields are of the open file that a call makes or uses. They are absent of calls that do neither, and of
// those of which the kernel found no file, but that an open which failed has the name it asked for.
var descriptorFields = []field{
	signedNumber("fd.num", "Number of the descriptor.", expr.Int64, func(r *Record) (int64, bool) {
		fd := r.descriptor()
		if fd == nil {
			return 0, false
		}
		return int64(fd.Num), true
	}),
	text("fd.type", "Type of the descriptor: file, directory, ipv4, ipv6, unix, pipe, event, signalfd, eventpoll, inotify, timerfd, netlink, bpf, userfaultfd, io_uring, memfd, pidfd, packet, other.", func(r *Record) (string, bool) {
		fd := r.descriptor()
		if fd == nil {
			return "", false
		}
		name := typeNames[r.typeOf(fd)]
		return name, name != ""
	}),
	text("fd.typechar", "Type of the descriptor as a letter: f file, d directory, 4 and 6 sockets of IPv4 and IPv6, u unix socket or userfaultfd, p pipe, e eventfd, s signalfd, l eventpoll, i inotify, t timerfd, n netlink, b bpf, r io_uring, m memfd, P pidfd, o other.", (*Record).typeLetter),
	text("fd.name", "Name of the descriptor. Of what is opened, the path that was asked for, made absolute and cleaned; of another file the kernel's path; of a socket client->server or where it listens; of a unix socket its path.", (*Record).name),
	text("fd.directory", "Directory that the file lies in; of a directory its own path.", (*Record).directory),
	text("fd.filename", "Name of the file without its directory; directories have none.", (*Record).filename),
	twoSides("fd.ip", "Addresses of client and server: = and in are true of either, != if both differ.", expr.IPAddr),
	address("fd.cip", "Address of the client.", expr.IPAddr, clientEnd),
	address("fd.sip", "Address of the server.", expr.IPAddr, serverEnd),
	address("fd.lip", "Our address.", expr.IPAddr, localEnd),
	address("fd.rip", "Address of the peer.", expr.IPAddr, remoteEnd),
	twoPorts("fd.port", "Ports of client and server: != is true if both differ, every other operator of either."),
	port("fd.cport", "Port of the client.", clientEnd),
	port("fd.sport", "Port of the server.", serverEnd),
	port("fd.lport", "Our port.", localEnd),
	port("fd.rport", "Port of the peer.", remoteEnd),
	text("fd.l4proto", "Protocol of the socket: tcp, udp, icmp or raw.", (*Record).transport),
	text("fd.sockfamily", "Family of the socket: ip or unix.", func(r *Record) (string, bool) {
		fd := r.descriptor()
		switch {
		case fd == nil:
			return "", false
		case isInet(fd.Type):
			return "ip", true
		}
		return "unix", fd.Type == event.UnixSocket
	}),
	descriptorTruth("fd.is_server", "Whether the process is the server of the connection.", func(r *Record, fd *event.Descriptor) bool {
		return isInet(fd.Type) && r.isServer()
	}),
	text("fd.uid", "Thread id and number of the descriptor, written one behind the other.", func(r *Record) (string, bool) {
		fd := r.descriptor()
		if fd == nil {
			return "", false
		}
		b := r.room()
		*b = strconv.AppendInt(strconv.AppendUint(*b, uint64(r.TID), 10), int64(fd.Num), 10)
		return view(*b), true
	}),
	text("fd.containername", "container.id and fd.name, with a colon between.", contained((*Record).name)),
	text("fd.containerdirectory", "container.id and fd.directory, with a colon between.", contained((*Record).directory)),
	twoPorts("fd.proto", "Ports of client and server, to be compared with names of services: = and in are true of either, != if both differ."),
	portText("fd.cproto", "Port of the client, as text.", clientEnd),
	portText("fd.sproto", "Port of the server, as text.", serverEnd),
	portText("fd.lproto", "Our port, as text.", localEnd),
	portText("fd.rproto", "Port of the peer, as text.", remoteEnd),
	twoSides("fd.net", "Addresses of client and server, compared with networks: = and in are true of either, != if both are outside.", expr.IPNet),
	address("fd.cnet", "Address of the client, compared with networks.", expr.IPNet, clientEnd),
	address("fd.snet", "Address of the server, compared with networks.", expr.IPNet, serverEnd),
	address("fd.lnet", "Our address, compared with networks.", expr.IPNet, localEnd),
	address("fd.rnet", "Address of the peer, compared with networks.", expr.IPNet, remoteEnd),
	descriptorTruth("fd.connected", "Whether the socket is connected.", func(_ *Record, fd *event.Descriptor) bool { return fd.Connected }),
	descriptorTruth("fd.name_changed", "Whether this event gave the descriptor another name: a socket for datagrams another peer.", func(_ *Record, fd *event.Descriptor) bool { return fd.NameChanged }),
	hostName("fd.cip.name", "Address of the client, compared with those of the hosts that the rule names.", clientEnd),
	hostName("fd.sip.name", "Address of the server, compared with those of the hosts that the rule names.", serverEnd),
	hostName("fd.lip.name", "Our address, compared with those of the hosts that the rule names.", localEnd),
	hostName("fd.rip.name", "Address of the peer, compared with those of the hosts that the rule names.", remoteEnd),
	descriptorNumber("fd.dev", "Device number of the file system that the file lies on.", expr.Int32, func(fd *event.Descriptor) int64 {
		return int64(int32(userDevice(major(fd.Dev), minor(fd.Dev))))
	}),
	descriptorNumber("fd.dev.major", "Major number of that device.", expr.Int32, func(fd *event.Descriptor) int64 { return int64(major(fd.Dev)) }),
	descriptorNumber("fd.dev.minor", "Minor number of that device.", expr.Int32, func(fd *event.Descriptor) int64 { return int64(minor(fd.Dev)) }),
	descriptorNumber("fd.ino", "Inode of the file.", expr.Int64, func(fd *event.Descriptor) int64 { return int64(fd.Inode) }),
	text("fd.nameraw", "Path as it was passed to the open; of a file that is open already the kernel's path.", (*Record).nameRaw),
	{Name: "fd.types", Doc: "Types of all open descriptors of the process, each once; with a number the type of that one.", Kind: expr.String, Arity: expr.OptionalArg,
		Flags: expr.ListValued | expr.NumberArg, Texts: (*Record).eachType},
	descriptorTruth("fd.is_upper_layer", "Whether the file lies on the written layer of an overlay.", func(_ *Record, fd *event.Descriptor) bool {
		return fd.Layer&event.ExeUpperLayer != 0
	}),
	descriptorTruth("fd.is_lower_layer", "Whether the file lies on a layer of the image.", func(_ *Record, fd *event.Descriptor) bool {
		return fd.Layer&event.ExeLowerLayer != 0
	}),
}

// Shorthand for the rows.
func descriptorTruth(name, doc string, read func(*Record, *event.Descriptor) bool) field {
	return truth(name, doc, func(r *Record) (bool, bool) {
		fd := r.descriptor()
		return fd != nil && read(r, fd), fd != nil
	})
}

func descriptorNumber(name, doc string, kind expr.Kind, read func(*event.Descriptor) int64) field {
	return signedNumber(name, doc, kind, func(r *Record) (int64, bool) {
		fd := r.descriptor()
		if fd == nil {
			return 0, false
		}
		return read(fd), true
	})
}

// An end is one side of the connection that the event is about; it is invalid if there is none.
type end func(*Record) netip.AddrPort

func clientEnd(r *Record) netip.AddrPort { c, _ := r.ends(); return c }
func serverEnd(r *Record) netip.AddrPort { _, s := r.ends(); return s }
func localEnd(r *Record) netip.AddrPort  { return r.local() }
func remoteEnd(r *Record) netip.AddrPort {
	if a := r.remote(); hasPeer(a) {
		return a
	}
	return netip.AddrPort{}
}

// at returns one end, if the event is about a socket of the internet.
func (e end) at(r *Record) (netip.AddrPort, bool) {
	fd := r.descriptor()
	if fd == nil || !isInet(fd.Type) {
		return netip.AddrPort{}, false
	}
	a := e(r)
	return a, a.IsValid()
}

func address(name, doc string, kind expr.Kind, of end) field {
	return field{Name: name, Doc: doc, Kind: kind, Addr: func(r *Record, _ arg) (netip.Addr, bool) {
		a, ok := of.at(r)
		return a.Addr().Unmap(), ok
	}}
}

// hostName is an address that is compared with those of the names that stand in the rule.
func hostName(name, doc string, of end) field {
	f := address(name, doc, expr.String, of)
	f.Flags = expr.Resolved | expr.NoRHS | expr.NoTransformer
	return f
}

func port(name, doc string, of end) field {
	return unsignedNumber(name, doc, expr.Port, func(r *Record) (uint64, bool) {
		a, ok := of.at(r)
		return uint64(a.Port()), ok
	})
}

func portText(name, doc string, of end) field {
	return text(name, doc, func(r *Record) (string, bool) {
		a, ok := of.at(r)
		if !ok {
			return "", false
		}
		b := r.room()
		*b = appendPort(*b, a.Port())
		return view(*b), true
	})
}

const bothSides = expr.TwoSided | expr.NoRHS | expr.NoTransformer

func twoSides(name, doc string, kind expr.Kind) field {
	return field{Name: name, Doc: doc, Kind: kind, Flags: bothSides, Addrs: func(r *Record, _ arg, yield func(netip.Addr) bool) bool {
		return r.eachEnd(func(a netip.AddrPort) bool { return yield(a.Addr().Unmap()) })
	}}
}

func twoPorts(name, doc string) field {
	return field{Name: name, Doc: doc, Kind: expr.Port, Flags: bothSides, Uints: func(r *Record, _ arg, yield func(uint64) bool) bool {
		return r.eachEnd(func(a netip.AddrPort) bool { return yield(uint64(a.Port())) })
	}}
}

// eachEnd calls yield with both ends of a connection, or with where a socket listens.
func (r *Record) eachEnd(yield func(netip.AddrPort) bool) bool {
	fd := r.descriptor()
	if fd == nil || !isInet(fd.Type) {
		return true
	}
	c, s := r.ends()
	return (!c.IsValid() || yield(c)) && (!s.IsValid() || yield(s))
}

// typeLetter is o where a call wants a descriptor and there is none, but f for an open that failed.
func (r *Record) typeLetter() (string, bool) {
	fd := r.descriptor()
	switch {
	case fd != nil:
		return typeChar(r.typeOf(fd)), true
	case !r.wantsDescriptor():
		return "", false
	case r.Type.Opens():
		return "f", true
	}
	return "o", true
}

// directory is the part of fd.name before the last slash.
func (r *Record) directory() (string, bool) {
	fd := r.descriptor()
	if fd != nil && !isFile(fd.Type) {
		return "", false
	}
	name, ok := r.name()
	switch {
	case !ok:
		return "", false
	case fd != nil && r.typeOf(fd) == event.Directory:
		return name, true
	}
	return directoryOf(name), true
}

// filename is the part of fd.name behind the last slash.
func (r *Record) filename() (string, bool) {
	fd := r.descriptor()
	if fd != nil && r.typeOf(fd) != event.RegularFile {
		return "", false
	}
	name, ok := r.name()
	if !ok {
		return "", false
	}
	if strings.IndexByte(name, '/') < 0 {
		return "/", true
	}
	return baseOf(name), true
}

// contained puts container.id before a text.
func contained(read func(*Record) (string, bool)) func(*Record) (string, bool) {
	return func(r *Record) (string, bool) {
		s, ok := read(r)
		if !ok {
			return "", false
		}
		b := r.room()
		*b = append(append(append(*b, r.containerID()...), ':'), s...)
		return view(*b), true
	}
}

// transport is the protocol of a socket.
func (r *Record) transport() (string, bool) {
	fd := r.descriptor()
	if fd == nil || !isInet(fd.Type) {
		return "", false
	}
	const raw = 3 // SOCK_RAW
	if fd.SockType == raw {
		return "raw", true
	}
	switch fd.Protocol {
	case 6, 262: // the second is TCP over several paths
		return "tcp", true
	case 17:
		return "udp", true
	case 1, 58:
		return "icmp", true
	}
	return "", false
}

func major(dev uint32) uint32 { return dev >> 20 }
func minor(dev uint32) uint32 { return dev & 0xfffff }

// userDevice numbers a device as stat(2) does.
func userDevice(major, minor uint32) uint32 { return minor&0xff | major<<8 | minor&^0xff<<12 }
