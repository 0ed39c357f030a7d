package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/yagura-io/yagura/rules/event"
)

// The order of the sections behind a call_event: enum call_section.
const (
	sectionText0 = iota
	sectionText1
	sectionUnix
	sectionFile
	sectionDir0
	sectionDir1
	sectionAddress
	sectionData
)

// Bits of call_event.flags: enum call_flags.
const (
	callFault0 = 1 << iota
	callFault1
	callCut0
	callCut1
	callFileCut
	callDirCut0
	callDirCut1
	callCreated
	callUpper
	callLower
	callUnstable
	callRing
	callServer
)

// prctlSetName is PR_SET_NAME, the one option whose second argument is a string.
const prctlSetName = 15

// decodeCall reads a system call.
func (d *decoder) decodeCall(raw []byte) error {
	if err := want[yaguraCallEvent](raw); err != nil {
		return err
	}
	e := as[yaguraCallEvent](raw)
	tail := sections(raw[sizeOf[yaguraCallEvent]():])
	var part [len(e.Lengths)][]byte
	for i, n := range e.Lengths {
		part[i] = tail.next(n)
	}
	if tail == nil && len(raw) > sizeOf[yaguraCallEvent]() {
		return fmt.Errorf("system call record: sections of %v bytes in a tail of %d", e.Lengths, len(raw)-sizeOf[yaguraCallEvent]())
	}
	if int(e.Type) >= len(event.Types) {
		return fmt.Errorf("system call record: type %d: want less than %d", e.Type, len(event.Types))
	}
	ev := &d.ev
	ev.Type = event.Type(e.Type)
	ev.Caller = event.Caller{UID: ev.UID, EUID: e.Euid, GID: ev.GID, EGID: e.Egid, LoginUID: e.LoginUid, TTY: e.Tty,
		VTID: e.Vtid, PPID: e.Ppid, CapPermitted: e.CapPermitted, CapEffective: e.CapEffective,
		CapInheritable: e.CapInheritable, Comm: *as[[16]byte](bytesIn(&e.Comm))}
	c := &ev.Call
	c.Result, c.Arg, c.Word, c.Data = e.Result, e.Args, e.Words, part[sectionData]
	c.Unstable, c.Ring = e.Flags&callUnstable != 0, e.Flags&callRing != 0
	for i := range c.Text {
		c.Text[i] = event.Text{Raw: bytes.TrimSuffix(part[sectionText0+i], []byte{0}), Fault: e.Flags&(callFault0<<i) != 0,
			Truncated: e.Flags&(callCut0<<i) != 0, Dir: part[sectionDir0+i]}
	}
	if ev.Type == typePrctl && e.Args[0] != prctlSetName {
		c.Text[0] = event.Text{} // a number
	}
	if t := &c.Text[0]; ev.Type == typeChdir && c.Result == 0 && len(t.Dir) > 0 {
		t.Resolved, t.Dir = t.Dir, nil // the working directory is the new one already
	}
	c.Address = decodeAddress(part[sectionAddress])
	splitWords(ev)
	d.decodeDescriptor(e, part[sectionFile], part[sectionUnix])
	return nil
}

// splitWords turns the two descriptors that a call wrote into words of their own.
func splitWords(ev *event.Event) {
	switch ev.Type.String() {
	case "pipe", "pipe2", "socketpair":
		both := ev.Call.Word[0]
		ev.Call.Word[0], ev.Call.Word[1] = both&0xffffffff, both>>32
	}
}

// Magic numbers of file systems of which descriptors are told apart: include/uapi/linux/magic.h.
const (
	magicAnonymous = 0x09041934
	magicPipe      = 0x50495045
)

func (d *decoder) decodeDescriptor(e *yaguraCallEvent, file, name []byte) {
	fd := &d.ev.FD
	if e.Fd < 0 {
		fd.Num = -1
		return
	}
	*fd = event.Descriptor{Num: e.Fd, Dev: e.Device, Inode: e.Inode, Mode: e.Mode, Flags: e.FileFlags, Name: file,
		Created: e.Flags&callCreated != 0}
	switch {
	case e.Flags&callUpper != 0:
		fd.Layer = event.ExeUpperLayer
	case e.Flags&callLower != 0:
		fd.Layer = event.ExeLowerLayer
	}
	if e.Flags&callFileCut != 0 {
		fd.Truncated = true
	}
	if e.Family != 0 {
		d.decodeSocket(e, name)
		return
	}
	fd.Type = descriptorType(e, file)
	if fd.Type == event.Pipe && len(file) == 0 {
		d.name = append(strconv.AppendUint(append(d.name[:0], "pipe:["...), e.Inode, 10), ']')
		fd.Name = d.name
	}
	if d.ev.Type.Opens() {
		d.ev.Call.Text[0].Resolved = file
	}
}

func descriptorType(e *yaguraCallEvent, file []byte) event.DescriptorType {
	const format, directory, fifo = 0o170000, 0o040000, 0o010000
	switch {
	case e.SuperMagic == magicPipe, e.Mode&format == fifo:
		return event.Pipe
	case e.Mode&format == directory:
		return event.Directory
	case bytes.HasPrefix(file, []byte("memfd:")):
		return event.MemFD
	case e.SuperMagic == magicAnonymous:
		return event.AnonymousType(string(file))
	case e.Mode == 0:
		return event.Other
	}
	return event.RegularFile
}

// Address families and states of sockets.
const (
	familyUnix, familyInet, familyInet6, familyNetlink, familyPacket = 1, 2, 10, 16, 17

	stateEstablished = 1
)

func (d *decoder) decodeSocket(e *yaguraCallEvent, name []byte) {
	fd := &d.ev.FD
	fd.Family, fd.SockType, fd.Protocol = e.Family, e.SockType, e.Protocol
	fd.Connected = e.SockState == stateEstablished
	switch {
	case e.Flags&callServer != 0 || d.ev.Type == typeAccept || d.ev.Type == typeAccept4:
		fd.Role = event.Server
	case fd.Connected:
		fd.Role = event.Client
	}
	switch e.Family {
	case familyUnix:
		fd.Type, fd.Name = event.UnixSocket, unixName(name)
	case familyInet:
		fd.Type = event.IPv4Socket
		fd.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.Local[:4])), e.LocalPort)
		fd.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.Remote[:4])), e.RemotePort)
	case familyInet6:
		fd.Type = event.IPv6Socket
		fd.Local = netip.AddrPortFrom(netip.AddrFrom16(e.Local), e.LocalPort)
		fd.Remote = netip.AddrPortFrom(netip.AddrFrom16(e.Remote), e.RemotePort)
	case familyNetlink:
		fd.Type = event.Netlink
	case familyPacket:
		fd.Type = event.PacketSocket
	default:
		fd.Type = event.Other
	}
}

// unixName is the name of a unix socket out of its sockaddr_un, where abstract ones begin with a NUL.
func unixName(raw []byte) []byte {
	if len(raw) <= 2 {
		return nil
	}
	name := raw[2:]
	if name[0] == 0 {
		return append([]byte("@"), bytes.TrimRight(name[1:], "\x00")...)
	}
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return name
}

// decodeAddress reads a struct sockaddr. An address that is too short for its family is none.
func decodeAddress(raw []byte) event.Address {
	if len(raw) < 2 {
		return event.Address{}
	}
	a := event.Address{Family: binary.NativeEndian.Uint16(raw)}
	switch {
	case a.Family == familyUnix:
		a.Path = string(unixName(raw))
	case a.Family == familyInet && len(raw) >= 8:
		a.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), binary.BigEndian.Uint16(raw[2:]))
	case a.Family == familyInet6 && len(raw) >= 24:
		a.Peer = netip.AddrPortFrom(netip.AddrFrom16([16]byte(raw[8:24])), binary.BigEndian.Uint16(raw[2:]))
	}
	return a
}
