package rules

import (
	"net/netip"
	"strconv"

	"github.com/yagura-io/yagura/rules/event"
)

// usesDescriptor says of each event type whether it is about a descriptor: one that it makes or works on. One that only
// says where a relative path starts does not count.
var usesDescriptor = indexDescriptors()

func indexDescriptors() []bool {
	uses := make([]bool, len(event.Types))
	for i := range event.Types {
		uses[i] = isAboutDescriptor(event.Types[i].Params)
	}
	return uses
}

func isAboutDescriptor(params []event.Param) bool {
	for i := range params {
		p := &params[i]
		switch {
		case p.Kind == event.Word && p.Shown == event.FD:
			return true
		case p.Kind == event.FD && p.Arg != event.NoArg:
			return !startsPath(params, p.Arg)
		}
	}
	return false
}

func startsPath(params []event.Param, arg int8) bool {
	if arg < 0 {
		return false
	}
	for i := range params {
		if params[i].Kind == event.Path && params[i].Dir == arg {
			return true
		}
	}
	return false
}

// wantsDescriptor says that the event is a call that makes or uses a descriptor, whether or not there is one.
func (r *Record) wantsDescriptor() bool {
	return r.Kind == event.Syscall && int(r.Type) < len(usesDescriptor) && usesDescriptor[r.Type]
}

// descriptor returns the open file that the event is about, nil if there is none.
func (r *Record) descriptor() *event.Descriptor {
	if r.FD.Type == event.NoDescriptor || !r.wantsDescriptor() {
		return nil
	}
	return &r.FD
}

// typeOf is what the language takes a descriptor for. A socket of IPv6 that speaks to an IPv4 address is one of IPv4, and
// a directory that was not opened as one is a file.
func (r *Record) typeOf(fd *event.Descriptor) event.DescriptorType {
	switch fd.Type {
	case event.IPv6Socket:
		if end := r.remote(); hasPeer(end) && end.Addr().Is4In6() || !hasPeer(end) && fd.Local.Addr().Is4In6() {
			return event.IPv4Socket
		}
	case event.Directory:
		if !r.isOpenedAsDirectory(fd) {
			return event.RegularFile
		}
	}
	return fd.Type
}

// isOpenedAsDirectory looks for O_DIRECTORY; where nothing is known of the flags, a directory is one.
func (r *Record) isOpenedAsDirectory(fd *event.Descriptor) bool {
	const directory = 0x10000
	if r.Type.Opens() {
		if p, _ := r.Type.Info().Param("flags"); p != nil {
			return r.number(p)&directory != 0
		}
	}
	return fd.Flags == 0 || fd.Flags&directory != 0
}

// letters are those of descriptors' types, each at its own place, so that one is cut out without making it.
var letters = func() (all [256]byte) {
	for i := range all {
		all[i] = byte(i)
	}
	all[event.UserFaultFD], all[event.PacketSocket] = 'u', 'o'
	return all
}()

// typeChar is the letter that the language has for a descriptor's type.
func typeChar(t event.DescriptorType) string {
	if t == event.NoDescriptor {
		return ""
	}
	return view(letters[t : int(t)+1])
}

var typeNames = [256]string{
	event.RegularFile: "file", event.Directory: "directory", event.IPv4Socket: "ipv4", event.IPv6Socket: "ipv6",
	event.UnixSocket: "unix", event.Pipe: "pipe", event.EventFD: "event", event.SignalFD: "signalfd",
	event.EventPoll: "eventpoll", event.Inotify: "inotify", event.TimerFD: "timerfd", event.BPF: "bpf",
	event.UserFaultFD: "userfaultfd", event.IOURing: "io_uring", event.MemFD: "memfd", event.Netlink: "netlink",
	event.PacketSocket: "packet", event.PIDFD: "pidfd", event.Other: "other",
}

func isInet(t event.DescriptorType) bool { return t == event.IPv4Socket || t == event.IPv6Socket }

func isFile(t event.DescriptorType) bool { return t == event.RegularFile || t == event.Directory }

var typeBind, _ = event.TypeNamed("bind")

// local is our end of a connection: the socket's, or what a bind gives it.
func (r *Record) local() netip.AddrPort {
	if a := r.Call.Address.Peer; r.Type == typeBind && r.FD.Local.Port() == 0 && a.IsValid() && r.Call.Result >= 0 {
		return a
	}
	return r.FD.Local
}

// remote is the peer: the socket's, or for a datagram or a connection that failed the one that the call names. Of a failed
// connection the kernel leaves the address in the socket, and takes the port away.
func (r *Record) remote() netip.AddrPort {
	if a := r.Call.Address.Peer; r.FD.Remote.Port() == 0 && a.IsValid() && r.Type != typeBind {
		return a
	}
	return r.FD.Remote
}

// hasPeer says that an address is somebody's, and not what stands in a socket that speaks to nobody.
func hasPeer(a netip.AddrPort) bool {
	return a.IsValid() && (a.Port() != 0 || !a.Addr().Unmap().IsUnspecified())
}

// isServer says which end of its connection a socket is. Where the kernel does not tell, it is who has the lower port:
// that is how datagrams are told apart.
func (r *Record) isServer() bool {
	switch r.FD.Role {
	case event.Server:
		return true
	case event.Client:
		return false
	}
	local, remote := r.local(), r.remote()
	if !hasPeer(remote) {
		return local.Port() != 0
	}
	return local.Port() != 0 && local.Port() < remote.Port()
}

// ends returns a connection's client and server, of which either is invalid if there is none.
func (r *Record) ends() (client, server netip.AddrPort) {
	local, remote := r.local(), r.remote()
	switch {
	case !hasPeer(remote):
		if local.Port() == 0 {
			return netip.AddrPort{}, netip.AddrPort{}
		}
		return netip.AddrPort{}, local
	case r.isServer():
		return remote, local
	}
	return local, remote
}

// name is the name of the descriptor that the event is about. An open that failed has the name that it asked for.
func (r *Record) name() (string, bool) {
	if !r.wantsDescriptor() {
		return "", false
	}
	return r.fdName()
}

// fdName is the name of the descriptor that came with the event: a path, client->server, or where a socket listens.
func (r *Record) fdName() (string, bool) {
	if r.Kind != event.Syscall {
		return "", false
	}
	if r.Type.Opens() {
		if name, ok := r.lexical(0); ok {
			return name, true
		}
	}
	switch {
	case r.FD.Type == event.NoDescriptor:
		return "", false
	case isInet(r.FD.Type):
		return r.connection()
	case r.FD.Type == event.UnixSocket && len(r.FD.Name) == 0:
		return r.Call.Address.Path, r.Call.Address.Path != ""
	}
	return view(r.FD.Name), len(r.FD.Name) > 0
}

// connection is client->server, made once for each event.
func (r *Record) connection() (string, bool) {
	if s := &r.tuple; !s.done {
		s.done = true
		s.room = r.appendConnection(s.room[:0])
		s.text = view(s.room)
	}
	return r.tuple.text, r.tuple.text != ""
}

func (r *Record) appendConnection(to []byte) []byte {
	client, server := r.ends()
	switch {
	case !server.IsValid() && !client.IsValid():
		return to
	case !hasPeer(r.remote()):
		return appendEnd(to, server, server)
	}
	return appendEnd(append(appendEnd(to, client, server), "->"...), server, client)
}

// appendEnd writes an address and a port as the language does: without brackets, also of IPv6. Of an unknown one it
// writes what stands for any, in the family of the other.
func appendEnd(to []byte, a, other netip.AddrPort) []byte {
	addr := a.Addr().Unmap().WithZone("")
	switch {
	case a.IsValid():
	case other.Addr().Unmap().Is6():
		addr = netip.IPv6Unspecified()
	default:
		addr = netip.IPv4Unspecified()
	}
	return appendPort(append(addr.AppendTo(to), ':'), a.Port())
}

func appendPort(to []byte, port uint16) []byte { return strconv.AppendUint(to, uint64(port), 10) }
