package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

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
	callClient
	callCompat
)

// Where a recipe's argument stands that is none of 0 to 5: enum call_source.
const (
	fromResult  = -1
	fromNothing = -2
	fromCwd     = -3
	fromWords   = -4
	fromCreat   = -5
)

// How data are found: enum data_form.
const (
	dataNone = iota
	dataByResult
	dataByLength
	dataVector
	dataMessage
)

var (
	typeClone, _    = event.TypeNamed("clone")
	typeExecve, _   = event.TypeNamed("execve")
	typeExecveat, _ = event.TypeNamed("execveat")
	typeExit, _     = event.TypeNamed("procexit")

	callTypes = typesOfCalls()
)

// typesOfCalls is the event type of each dense system call number, TypeNone where rules have no name for it.
func typesOfCalls() (types [syscallSlots]event.Type) {
	for nr, name := range syscallNames {
		if t, ok := event.TypeNamed(ruleName(name)); ok {
			types[nr] = t
		}
	}
	return types
}

// ruleName is how rules call a system call.
func ruleName(syscall string) string {
	switch syscall {
	case "pread64", "pwrite64":
		return strings.TrimSuffix(syscall, "64")
	case "eventfd2":
		return syscall
	}
	return syscall
}

// recipe says what to read of a call, from the parameters of its type.
func recipe(t event.Type) yaguraCallRecipe {
	r := yaguraCallRecipe{Type: uint16(t), Fd: fromNothing, Text0: fromNothing, Text1: fromNothing, Dir0: fromNothing,
		Dir1: fromNothing, OpenFlags: fromNothing, Data: fromNothing, Address: fromNothing, Words: fromNothing}
	for _, p := range t.Info().Params {
		r.add(p)
	}
	special(&r, t.String())
	return r
}

func (r *yaguraCallRecipe) add(p event.Param) {
	switch {
	case p.Kind == event.FD && r.Fd == fromNothing && (p.Arg >= 0 || p.Arg == event.Result):
		r.Fd = p.Arg
	case p.Arg < 0:
	case (p.Kind == event.String || p.Kind == event.Path) && p.Index == 0:
		r.Text0, r.Dir0 = p.Arg, directory(p)
	case (p.Kind == event.String || p.Kind == event.Path) && p.Index == 1:
		r.Text1, r.Dir1 = p.Arg, directory(p)
	case p.Kind == event.Bytes:
		r.Data = p.Arg
	case p.Kind == event.Sock || p.Kind == event.Tuple:
		r.Address = p.Arg
	}
}

func directory(p event.Param) int8 {
	switch {
	case p.Kind != event.Path || p.Dir == event.NoDir:
		return fromNothing
	case p.Dir == event.AtCwd:
		return fromCwd
	}
	return p.Dir
}

// special is what parameters do not say.
func special(r *yaguraCallRecipe, name string) {
	switch name {
	case "open":
		r.OpenFlags = 1
	case "openat", "open_by_handle_at":
		r.OpenFlags = 2
	case "openat2":
		r.OpenFlags, r.Words, r.WordBytes = fromWords, 2, 24
	case "creat":
		r.OpenFlags = fromCreat
	case "pipe", "pipe2":
		r.Words, r.WordBytes = 0, 8
	case "socketpair":
		r.Words, r.WordBytes = 3, 8
	case "setrlimit":
		r.Words, r.WordBytes = 1, 16
	case "prlimit", "prlimit64":
		r.Words, r.WordBytes = 2, 16
	case "clone3":
		r.Words, r.WordBytes = 0, 16
	case "read", "pread":
		r.Data, r.DataForm = 1, dataByResult
	case "write", "pwrite":
		r.Data, r.DataForm = 1, dataByLength
	case "readv", "writev", "preadv", "pwritev":
		r.Data, r.DataForm = 1, dataVector
	case "sendmsg", "recvmsg":
		r.Data, r.DataForm = 1, dataMessage
	case "send", "sendto":
		r.Data, r.DataForm = 1, dataByLength
	case "recv", "recvfrom":
		r.Data, r.DataForm = 1, dataByResult
	}
	switch name {
	case "sendto", "recvfrom":
		r.Address = 4
	case "connect", "bind", "accept", "accept4":
		r.Address = 1
	}
	if r.DataForm == dataNone {
		r.Data = fromNothing
	}
}

// kernelPath says that the kernel can tell the path of what the call reached, since its result or an argument is a
// descriptor of it. Of the others (unlink, rename, …) only the caller's spelling is known in the kernel, which a symbolic
// link may make another one, so no path may keep them from user space.
func kernelPath(r *yaguraCallRecipe) bool {
	return r.OpenFlags != fromNothing || r.Text0 == fromNothing
}

// SetInterest loads what rules can match into the kernel; from then on nothing else is reported. Terms only ever grow
// before the new ones are in place, so that no event is missed between.
func (a *Agent) SetInterest(i event.Interest) error {
	if a.off() {
		return nil
	}
	recipes, prefixes, names := a.maps["call_recipes"], a.maps["path_prefixes"], a.maps["path_names"]
	if recipes == nil || prefixes == nil || names == nil {
		return fmt.Errorf("load what rules ask for: %w", errors.Join(a.missing["call_recipes"], a.missing["path_prefixes"], a.missing["path_names"]))
	}
	plan := planCalls(i)
	// First without conditions on paths, then the paths, then the conditions.
	for nr, r := range plan.recipes {
		open := r
		open.Anywhere = r.Wanted
		if err := recipes.Put(uint32(nr), open); err != nil {
			return fmt.Errorf("load what rules ask of %s: %w", syscallNames[nr], err)
		}
	}
	if err := refill(prefixes, plan.prefixes); err != nil {
		return fmt.Errorf("load path prefixes: %w", err)
	}
	if err := refill(names, plan.names); err != nil {
		return fmt.Errorf("load path names: %w", err)
	}
	for nr, r := range plan.recipes {
		if err := recipes.Put(uint32(nr), r); err != nil {
			return fmt.Errorf("load what rules ask of %s: %w", syscallNames[nr], err)
		}
	}
	return nil
}

// refill makes a map hold exactly what it should.
func refill[K comparable](m *ebpf.Map, want map[K]uint32) error {
	var old []K
	var key K
	var terms uint32
	it := m.Iterate()
	for it.Next(&key, &terms) {
		if _, stays := want[key]; !stays {
			old = append(old, key)
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	for key, terms := range want {
		if err := m.Put(key, terms); err != nil {
			return err
		}
	}
	for _, key := range old {
		if err := m.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// callPlan is an Interest as the kernel's maps hold it.
type callPlan struct {
	recipes  [syscallSlots]yaguraCallRecipe
	prefixes map[yaguraPathPrefix]uint32
	names    map[yaguraPathName]uint32
}

func planCalls(i event.Interest) callPlan {
	p := callPlan{prefixes: map[yaguraPathPrefix]uint32{}, names: map[yaguraPathName]uint32{}}
	done := map[event.Type]bool{}
	for nr, t := range callTypes {
		r := recipe(t)
		if t == typeExecve && i.Env {
			r.DataForm = dataByLength // process_exec reads the environment
		}
		terms := i.Terms[t]
		if len(terms) > event.MaxTerms {
			terms = []event.Term{event.AnyTerm}
		}
		for bit, term := range terms {
			r.allow(term, 1<<bit)
			if !done[t] && term.Paths != nil && kernelPath(&r) {
				p.addPaths(t, term.Paths, 1<<bit)
			}
		}
		if t == typeExecve || t == typeExecveat { // what succeeds is an event of its own
			r.Results[1], r.Results[2] = 0, 0
		}
		if t == typeClone || t == typeExit {
			r.Results = [3]uint32{}
		}
		done[t] = true
		p.recipes[nr] = r
	}
	p.spread()
	return p
}

func (r *yaguraCallRecipe) allow(t event.Term, bit uint32) {
	for i := range r.Results {
		if t.Results&(1<<i) != 0 {
			r.Results[i] |= bit
		}
	}
	for i := range r.Opens {
		if t.Opens&(1<<i) != 0 {
			r.Opens[i] |= bit
		}
	}
	for i := range r.Families {
		if t.Families&(1<<i) != 0 {
			r.Families[i] |= bit
		}
	}
	if t.Paths == nil || !kernelPath(r) {
		r.Anywhere |= bit
	}
	r.Wanted |= bit
}

// addPaths notes a term's paths. What is longer than a key is cut, which only lets more pass.
func (p *callPlan) addPaths(t event.Type, set *event.PathSet, bit uint32) {
	for _, path := range set.Prefixes {
		p.prefixes[prefixKey(t, path)] |= bit
	}
	for _, path := range set.Exact {
		p.prefixes[prefixKey(t, path+"\x00")] |= bit
	}
	for _, name := range set.Names {
		key := yaguraPathName{Type: uint16(t)}
		copyChars(key.Name[:len(key.Name)-1], name) // a longer name than the key passes anyway
		p.names[key] |= bit
	}
}

func prefixKey(t event.Type, path string) yaguraPathPrefix {
	key := yaguraPathPrefix{Type: uint16(t)}
	n := copyChars(key.Path[:], path)
	key.Bits = uint32(32 + 8*n)
	return key
}

func copyChars(to []int8, from string) int {
	n := min(len(to), len(from))
	for i := range n {
		to[i] = int8(from[i])
	}
	return n
}

// spread gives every prefix the terms of those that it begins with: the kernel finds the longest only.
func (p *callPlan) spread() {
	keys := make([]yaguraPathPrefix, 0, len(p.prefixes))
	for key := range p.prefixes {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b yaguraPathPrefix) int { return int(a.Bits) - int(b.Bits) })
	for i, long := range keys {
		n := (long.Bits - 32) / 8
		for _, short := range keys[:i] {
			m := (short.Bits - 32) / 8
			if short.Type == long.Type && m < n && slices.Equal(short.Path[:m], long.Path[:m]) {
				p.prefixes[long] |= p.prefixes[short]
			}
		}
	}
}

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
		return anonymousType(string(file))
	case e.Mode == 0:
		return event.Other
	}
	return event.RegularFile
}

func anonymousType(name string) event.DescriptorType {
	kind, _, _ := strings.Cut(strings.Trim(name, "[]"), ":")
	switch kind {
	case "eventfd":
		return event.EventFD
	case "signalfd":
		return event.SignalFD
	case "eventpoll":
		return event.EventPoll
	case "inotify":
		return event.Inotify
	case "timerfd":
		return event.TimerFD
	case "userfaultfd":
		return event.UserFaultFD
	case "io_uring":
		return event.IOURing
	case "pidfd":
		return event.PIDFD
	}
	if strings.HasPrefix(kind, "bpf") {
		return event.BPF
	}
	return event.Other
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
	case e.Flags&callServer != 0:
		fd.Role = event.Server
	case e.Flags&callClient != 0 || fd.Connected:
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
