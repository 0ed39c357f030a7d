package event

import (
	"net/netip"
	"slices"
	"strings"
)

// Families, types and protocols of sockets.
const (
	afUnix, afInet, afInet6, afNetlink, afPacket = 1, 2, 10, 16, 17
	sockStream, sockDatagram, sockRaw            = 1, 2, 3
	protoICMP, protoTCP, protoUDP                = 1, 6, 17
	protoICMPv6, protoRaw                        = 58, 255
)

// descriptorTypes are the types of descriptors, and their names.
var descriptorTypes = []DescriptorType{RegularFile, Directory, IPv4Socket, IPv6Socket, UnixSocket, Pipe, EventFD, SignalFD, EventPoll,
	Inotify, TimerFD, BPF, UserFaultFD, IOURing, MemFD, Netlink, PacketSocket, PIDFD, Other}

var descriptorNames = []string{"file", "directory", "ipv4", "ipv6", "unix", "pipe", "event", "signalfd", "eventpoll",
	"inotify", "timerfd", "bpf", "userfaultfd", "io_uring", "memfd", "netlink", "packet", "pidfd", "other"}

// descriptorKeys is the form of the open file that a call is about.
var descriptorKeys = []key[form]{
	{name: "num", read: func(f *form, v *value) error { n, err := v.asInt(-1<<31, 1<<31-1); f.ev.FD.Num = int32(n); return err },
		write: func(f *form, to []byte) []byte { return appendInt(to, int64(f.ev.FD.Num)) }, after: (*form).usualNum},
	{name: "name", read: func(f *form, v *value) error { s, err := v.asText(); f.ev.FD.Name = []byte(s); return err },
		write: func(f *form, to []byte) []byte {
			if len(f.ev.FD.Name) == 0 && len(f.usualName()) == 0 {
				return to
			}
			return appendText(to, string(f.ev.FD.Name))
		}, after: func(f *form) error { f.ev.FD.Name = f.usualName(); return nil }},
	{name: "local", read: func(f *form, v *value) (err error) { f.ev.FD.Local, err = asEnd(v); return err },
		write: func(f *form, to []byte) []byte { return appendEnd(to, f.ev.FD.Local, f.usualLocal()) },
		after: func(f *form) error { f.ev.FD.Local = f.usualLocal(); return nil }},
	{name: "remote", read: func(f *form, v *value) (err error) { f.ev.FD.Remote, err = asEnd(v); return err },
		write: func(f *form, to []byte) []byte { return appendEnd(to, f.ev.FD.Remote, f.usualRemote()) },
		after: func(f *form) error { f.ev.FD.Remote = f.usualRemote(); return nil }},
	{name: "type", read: func(f *form, v *value) error {
		i, err := v.asOneOf(descriptorNames)
		f.ev.FD.Type = descriptorTypes[i]
		return err
	}, write: func(f *form, to []byte) []byte {
		return appendText(to, descriptorNames[max(slices.Index(descriptorTypes, f.ev.FD.Type), 0)])
	}, after: (*form).usualType},
	{name: "family", read: func(f *form, v *value) error { n, err := v.asUint(1<<16 - 1); f.ev.FD.Family = uint16(n); return err },
		write: func(f *form, to []byte) []byte {
			return appendUnless(to, uint64(f.ev.FD.Family), uint64(familyOf(f.ev.FD.Type)))
		},
		after: func(f *form) error { f.ev.FD.Family = familyOf(f.ev.FD.Type); return nil }},
	{name: "proto", read: (*form).readProto, write: (*form).writeProto, after: func(f *form) error { f.setProto(f.usualProto()); return nil }},
	{name: "sock_type", read: func(f *form, v *value) error { n, err := v.asUint(1<<16 - 1); f.ev.FD.SockType = uint16(n); return err },
		write: func(f *form, to []byte) []byte { return f.unlessNamed(to, f.ev.FD.SockType) }},
	{name: "protocol", read: func(f *form, v *value) error { n, err := v.asUint(1<<16 - 1); f.ev.FD.Protocol = uint16(n); return err },
		write: func(f *form, to []byte) []byte { return f.unlessNamed(to, f.ev.FD.Protocol) }},
	{name: "role", read: func(f *form, v *value) error { n, err := v.asOneOf(roleNames); f.ev.FD.Role = Role(n); return err },
		write: func(f *form, to []byte) []byte {
			if f.ev.FD.Role == f.usualRole() {
				return to
			}
			return appendText(to, roleNames[f.ev.FD.Role%3])
		}, after: func(f *form) error { f.ev.FD.Role = f.usualRole(); return nil }},
	{name: "connected", read: func(f *form, v *value) (err error) { f.ev.FD.Connected, err = v.asTruth(); return err },
		write: func(f *form, to []byte) []byte { return appendTruth(to, f.ev.FD.Connected, f.isConnected()) },
		after: func(f *form) error { f.ev.FD.Connected = f.isConnected(); return nil }},
	{name: "name_changed", read: func(f *form, v *value) (err error) { f.ev.FD.NameChanged, err = v.asTruth(); return err },
		write: func(f *form, to []byte) []byte { return appendTruth(to, f.ev.FD.NameChanged, false) }},
	{name: "created", read: func(f *form, v *value) (err error) { f.ev.FD.Created, err = v.asTruth(); return err },
		write: func(f *form, to []byte) []byte { return appendTruth(to, f.ev.FD.Created, false) }},
	{name: "truncated", read: func(f *form, v *value) (err error) { f.ev.FD.Truncated, err = v.asTruth(); return err },
		write: func(f *form, to []byte) []byte { return appendTruth(to, f.ev.FD.Truncated, false) }},
	{name: "dev", read: func(f *form, v *value) error { n, err := v.asUint(1<<32 - 1); f.ev.FD.Dev = uint32(n); return err },
		write: func(f *form, to []byte) []byte { return appendUnless(to, uint64(f.ev.FD.Dev), 0) }},
	{name: "ino", read: func(f *form, v *value) (err error) { f.ev.FD.Inode, err = v.asUint(1<<64 - 1); return err },
		write: func(f *form, to []byte) []byte { return appendUnless(to, f.ev.FD.Inode, 0) }},
	{name: "mode", read: func(f *form, v *value) error {
		n, err := (&Param{Kind: Octal}).read(v)
		f.ev.FD.Mode = uint32(n)
		return err
	}, write: func(f *form, to []byte) []byte {
		if f.ev.FD.Mode == 0 {
			return to
		}
		return (&Param{Kind: Octal}).appendValue(to, uint64(f.ev.FD.Mode))
	}},
	{name: "flags", read: func(f *form, v *value) error {
		n, err := openedWith.read(v)
		f.ev.FD.Flags = uint32(n)
		return err
	}, write: func(f *form, to []byte) []byte {
		if f.ev.FD.Flags == 0 {
			return to
		}
		return openedWith.appendValue(to, uint64(f.ev.FD.Flags))
	}},
	{name: "layer", read: func(f *form, v *value) error {
		n, err := v.asOneOf([]string{"upper", "lower"})
		f.ev.FD.Layer = ExeUpperLayer << n
		return err
	}, write: func(f *form, to []byte) []byte {
		switch f.ev.FD.Layer {
		case ExeUpperLayer:
			return appendText(to, "upper")
		case ExeLowerLayer:
			return appendText(to, "lower")
		}
		return to
	}},
}

var openedWith = &Param{Kind: Bits, Names: openFlags}

var roleNames = []string{UnknownRole: "unknown", Client: "client", Server: "server"}

// readDescriptor reads the open file that a call is about; null if it is about none that the kernel knows.
func (f *form) readDescriptor(v *value) error {
	if err := f.onCall(v, "only other system calls are about a descriptor"); err != nil || v.kind == isNull {
		return err
	}
	if err := readKeys(v, f, descriptorKeys); err != nil {
		return err
	}
	if f.ev.FD.Type == NoDescriptor {
		return v.fault("want one of type, name, local and remote")
	}
	if p := f.argOfFD(); p != nil && !f.argGiven(p.Name) {
		f.ev.Call.Arg[p.Arg] = uint64(int64(f.ev.FD.Num))
	}
	return nil
}

// defaultDescriptor is for calls whose descriptor follows from the rest: of what was opened, and of a socket with a peer.
func (f *form) defaultDescriptor() error {
	if !f.hasUsual() {
		return nil
	}
	return f.readDescriptor(&value{above: f.whole, key: "fd", at: f.whole.at, kind: isObject})
}

func (f *form) hasUsual() bool {
	ev := f.ev
	if ev.Kind != Syscall {
		return false
	}
	return ev.Type.Opens() && ev.Call.Result >= 0 && len(f.usualName()) > 0 || ev.Call.Address.Peer.IsValid() || ev.Call.Address.Path != ""
}

func (f *form) writeDescriptor(to []byte) []byte {
	switch {
	case f.ev.Kind == Syscall && f.ev.FD.Type != NoDescriptor:
		return appendKeys(to, f, descriptorKeys)
	case f.hasUsual():
		return append(to, "null"...)
	}
	return to
}

// fdParam is the parameter that is the descriptor of which a call tells: the first that is no directory where a path
// starts.
func (t Type) fdParam() *Param {
	params := t.Info().Params
	for i := range params {
		p := &params[i]
		if p.Kind == FD && (p.Arg == Result || p.Arg >= 0 && usualArg(params, p.Arg) == 0) {
			return p
		}
	}
	return nil
}

// argOfFD is that parameter if it is an argument.
func (f *form) argOfFD() *Param {
	if p := f.ev.Type.fdParam(); p != nil && p.Arg >= 0 {
		return p
	}
	return nil
}

func (f *form) argGiven(name string) bool {
	args := f.whole.member("args")
	return args != nil && args.has(name)
}

// usualNum is the descriptor's number as the call has it, or the first that a program opens.
func (f *form) usualNum() error {
	p := f.ev.Type.fdParam()
	switch {
	case p != nil && p.Arg == Result && f.ev.Call.Result >= 0:
		f.ev.FD.Num = int32(f.ev.Call.Result)
	case p != nil && p.Arg >= 0 && f.argGiven(p.Name):
		f.ev.FD.Num = int32(f.ev.Call.Arg[p.Arg])
	default:
		f.ev.FD.Num = 3
	}
	return nil
}

// usualName is the path of what a call opened, or of the unix socket that it names.
func (f *form) usualName() []byte {
	ev := f.ev
	switch {
	case ev.Type.Opens() && len(ev.Call.Text[0].Resolved) > 0:
		return ev.Call.Text[0].Resolved
	case ev.Type.Opens():
		return []byte(f.lexicalPath())
	}
	return []byte(ev.Call.Address.Path)
}

// usualRemote is the peer that a connection was made with.
func (f *form) usualRemote() (peer netip.AddrPort) {
	switch f.ev.Type {
	case typeConnect, typeAccept, typeAccept4:
		return f.ev.Call.Address.Peer
	}
	return peer
}

func (f *form) usualLocal() (own netip.AddrPort) {
	if f.ev.Type == typeBind {
		return f.ev.Call.Address.Peer
	}
	return own
}

func (f *form) usualRole() Role {
	switch f.ev.Type {
	case typeConnect:
		return Client
	case typeAccept, typeAccept4:
		return Server
	}
	return UnknownRole
}

// isConnected says whether a connect or accept must have succeeded.
func (f *form) isConnected() bool {
	switch f.ev.Type {
	case typeConnect, typeAccept, typeAccept4:
		return f.ev.Call.Result >= 0
	}
	return f.ev.FD.Remote.IsValid()
}

func (f *form) usualType() error {
	fd := &f.ev.FD
	for _, end := range []netip.AddrPort{fd.Remote, fd.Local, f.ev.Call.Address.Peer} {
		switch {
		case end.Addr().Is4():
			fd.Type = IPv4Socket
			return nil
		case end.Addr().Is6():
			fd.Type = IPv6Socket
			return nil
		}
	}
	switch {
	case f.ev.Call.Address.Path != "":
		fd.Type = UnixSocket
	case len(fd.Name) > 0:
		fd.Type = RegularFile
	}
	return nil
}

func familyOf(t DescriptorType) uint16 {
	switch t {
	case IPv4Socket:
		return afInet
	case IPv6Socket:
		return afInet6
	case UnixSocket:
		return afUnix
	case Netlink:
		return afNetlink
	case PacketSocket:
		return afPacket
	}
	return 0
}

var protoNames = []string{"tcp", "udp", "icmp", "raw"}

// usualProto is tcp for sockets of the internet but those whose peer each call names, empty for what is none.
func (f *form) usualProto() string {
	switch {
	case f.ev.FD.Type != IPv4Socket && f.ev.FD.Type != IPv6Socket:
		return ""
	case strings.HasPrefix(f.ev.Type.String(), "send") || strings.HasPrefix(f.ev.Type.String(), "recv"):
		if f.ev.Call.Address.Peer.IsValid() {
			return "udp"
		}
	}
	return "tcp"
}

func (f *form) setProto(name string) { f.ev.FD.SockType, f.ev.FD.Protocol = f.proto(name) }

// proto is how the kernel has a protocol.
func (f *form) proto(name string) (sockType, protocol uint16) {
	switch name {
	case "tcp":
		return sockStream, protoTCP
	case "udp":
		return sockDatagram, protoUDP
	case "icmp":
		if f.ev.FD.Type == IPv6Socket {
			return sockRaw, protoICMPv6
		}
		return sockRaw, protoICMP
	case "raw":
		return sockRaw, protoRaw
	}
	return 0, 0
}

func (f *form) readProto(v *value) error {
	i, err := v.asOneOf(protoNames)
	f.setProto(protoNames[i])
	return err
}

// protoName is the name of the socket's protocol; false if its numbers are not those of a name.
func (f *form) protoName() (string, bool) {
	fd := &f.ev.FD
	if usual := f.usualProto(); usual == "" {
		return "", fd.SockType == 0 && fd.Protocol == 0
	}
	for _, name := range protoNames {
		if s, p := f.proto(name); s == fd.SockType && p == fd.Protocol {
			return name, true
		}
	}
	return "", false
}

func (f *form) writeProto(to []byte) []byte {
	if name, _ := f.protoName(); name != "" {
		return appendText(to, name)
	}
	return to
}

func (f *form) unlessNamed(to []byte, n uint16) []byte {
	if _, ok := f.protoName(); ok {
		return to
	}
	return appendUint(to, uint64(n))
}

// asEnd reads one end of a connection; null stands for none.
func asEnd(v *value) (netip.AddrPort, error) {
	if v.kind == isNull {
		return netip.AddrPort{}, nil
	}
	end, err := netip.ParseAddrPort(v.text)
	if v.kind != isText || err != nil {
		return end, v.wrong("an address and port such as 192.0.2.1:443 or [2001:db8::1]:443")
	}
	return end, nil
}

func appendEnd(to []byte, end, usual netip.AddrPort) []byte {
	switch {
	case end == usual:
		return to
	case !end.IsValid():
		return append(to, "null"...)
	}
	return appendText(to, end.String())
}

// readPeer reads the address that a call names.
func (f *form) readPeer(v *value) error {
	if !slices.ContainsFunc(f.ev.Type.Info().Params, func(p Param) bool { return p.Kind == Sock || p.Kind == Tuple }) {
		return v.fault("%s names no address", f.ev.Type)
	}
	if f.ev.Call.Address != (Address{}) {
		return v.fault("the address is given already")
	}
	if v.kind == isObject {
		return readKeys(v, &f.ev.Call.Address, addressKeys)
	}
	return readAddress(v, &f.ev.Call.Address)
}

// addressKeys is the form of an address that a text alone does not tell.
var addressKeys = []key[Address]{
	{name: "addr", read: func(a *Address, v *value) (err error) { a.Peer, err = asEnd(v); return err },
		write: func(a *Address, to []byte) []byte { return appendEnd(to, a.Peer, netip.AddrPort{}) }},
	{name: "path", read: func(a *Address, v *value) (err error) { a.Path, err = v.asText(); return err },
		write: func(a *Address, to []byte) []byte {
			if a.Path == "" {
				return to
			}
			return appendText(to, a.Path)
		}},
	{name: "family", read: func(a *Address, v *value) error { n, err := v.asUint(1<<16 - 1); a.Family = uint16(n); return err },
		write: func(a *Address, to []byte) []byte { return appendUnless(to, uint64(a.Family), 0) }},
}

func readAddress(v *value, a *Address) error {
	if v.kind == isText && (strings.HasPrefix(v.text, "/") || strings.HasPrefix(v.text, "@")) {
		*a = Address{Family: afUnix, Path: v.text}
		return nil
	}
	end, err := netip.ParseAddrPort(v.text)
	if v.kind != isText || err != nil {
		return v.wrong("an address and port such as 192.0.2.1:443 or [2001:db8::1]:443, or a socket's path that begins with / or @")
	}
	*a = Address{Family: afInet, Peer: end}
	if end.Addr().Is6() {
		a.Family = afInet6
	}
	return nil
}

func appendAddress(to []byte, a *Address) []byte {
	if *a == (Address{}) {
		return to
	}
	text := a.Path
	if a.Peer.IsValid() {
		text = a.Peer.String()
	}
	var back Address
	if err := readAddress(&value{kind: isText, text: text}, &back); err == nil && back == *a {
		return appendText(to, text)
	}
	return appendKeys(to, a, addressKeys)
}
