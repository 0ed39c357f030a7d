package event

import (
	"net/netip"
	"strings"
)

// A Call is one system call, after it has returned.
type Call struct {
	Result int64     // what it returned; -errno if it failed
	Arg    [6]uint64 // as the caller passed them, in registers

	// What pointers of the caller led to, as it was when the call returned, each by the parameters of the type
	// (Type.Params) in their order. The caller may have changed it since the kernel looked; Unstable says where that is known.
	Text     [2]Text   // strings: paths, names
	Word     [4]uint64 // numbers out of structs: resource limits, open_how, both ends of a pipe
	Data     []byte    // the head of what was read or written
	Address  Address   // of the peer in a connect, bind, accept, sendto or recvfrom
	Unstable bool      // a string was another one when the call began
	Ring     bool      // not a call of its own, but an operation of io_uring
}

// A Text is a string of the caller, most often a path.
type Text struct {
	Raw       []byte // as the caller passed it
	Fault     bool   // it could not be read
	Truncated bool   // Raw is the head of a longer one

	// Dir is where a relative path starts: the kernel's path of the directory descriptor or of the working directory. Empty
	// if Raw is absolute or no path.
	Dir []byte

	// Resolved is the kernel's own path of the object that was reached, through symbolic links and mounts, seen from the
	// task's root. Empty where the kernel does not tell: see the table of blind spots.
	Resolved []byte
}

// A Caller is the acting thread's credentials and terminal at the moment of the call, which may have changed since the
// process's exec.
type Caller struct {
	UID, EUID, GID, EGID uint32
	LoginUID             uint32 // 4294967295: nobody logged in
	TTY                  uint32
	VTID                 uint32 // thread id as its own pid namespace numbers it
	PPID                 uint32
	CapPermitted         uint64
	CapEffective         uint64
	CapInheritable       uint64
	Comm                 [16]byte // of the thread, NUL-terminated
}

// DescriptorType is what an open file is. Its value is the letter that fd.typechar shows.
type DescriptorType byte

// The types of descriptors.
const (
	NoDescriptor DescriptorType = 0
	RegularFile  DescriptorType = 'f' // and devices
	Directory    DescriptorType = 'd' // fd.typechar shows it as 'f' too, fd.type as "directory"
	IPv4Socket   DescriptorType = '4'
	IPv6Socket   DescriptorType = '6'
	UnixSocket   DescriptorType = 'u'
	Pipe         DescriptorType = 'p'
	EventFD      DescriptorType = 'e'
	SignalFD     DescriptorType = 's'
	EventPoll    DescriptorType = 'l'
	Inotify      DescriptorType = 'i'
	TimerFD      DescriptorType = 't'
	BPF          DescriptorType = 'b'
	UserFaultFD  DescriptorType = 'u' + 0x80 // shown as 'u'
	IOURing      DescriptorType = 'r'
	MemFD        DescriptorType = 'm'
	Netlink      DescriptorType = 'n'
	PacketSocket DescriptorType = 'k' // AF_PACKET
	PIDFD        DescriptorType = 'P'
	Other        DescriptorType = 'o'
)

// anonymousTypes are by what the kernel calls files without a name, behind anon_inode: and between brackets.
var anonymousTypes = map[string]DescriptorType{
	"eventfd": EventFD, "signalfd": SignalFD, "eventpoll": EventPoll, "inotify": Inotify, "timerfd": TimerFD,
	"userfaultfd": UserFaultFD, "io_uring": IOURing, "pidfd": PIDFD,
}

// AnonymousType is the type of a file without a name, such as [eventfd] or bpf-map.
func AnonymousType(name string) DescriptorType {
	kind, _, _ := strings.Cut(strings.Trim(name, "[]"), ":")
	if t, ok := anonymousTypes[kind]; ok {
		return t
	}
	if strings.HasPrefix(kind, "bpf") {
		return BPF
	}
	return Other
}

// A Descriptor is an open file, as the kernel knows it at the moment of the event.
type Descriptor struct {
	Num       int32
	Type      DescriptorType
	Layer     Flags  // ExeUpperLayer or ExeLowerLayer, where it lies on an overlay file system
	Dev       uint32 // of its file system, as the kernel numbers it: major << 20 | minor
	Inode     uint64
	Mode      uint32 // of its inode: type and permissions
	Flags     uint32 // it was opened with: O_RDWR and so on
	Created   bool   // this event made the file
	Truncated bool   // Name is the tail of a longer path
	Name      []byte // path, as the kernel resolves it from the task's root; pipe:[…] and the like; path of a unix socket

	// Of sockets.
	Family, SockType, Protocol uint16
	Local, Remote              netip.AddrPort
	Role                       Role
	Connected                  bool // the language's idea of it: a connect or accept has succeeded
	NameChanged                bool // this event gave it another peer
}

// Role is which end of a connection a socket is.
type Role uint8

// The roles.
const (
	UnknownRole Role = iota
	Client
	Server
)

// An Address is a socket address that a caller passed or was given.
type Address struct {
	Family uint16
	Peer   netip.AddrPort
	Path   string // AF_UNIX; begins with @ if it is abstract
}

// Number returns the value of a parameter that is one, as the kernel takes it: of a narrow argument the lower half, of a
// number that may be negative with its sign. A parameter that stands in no argument is 0.
func (c *Call) Number(p *Param) uint64 {
	switch {
	case p.Kind == Word:
		return c.Word[p.Index]
	case p.Arg == Result:
		return uint64(c.Result)
	case p.Arg < 0:
		return 0
	}
	n := c.Arg[p.Arg]
	switch {
	case p.Kind == FD, p.Kind == PID, p.Narrow && p.Kind == Int:
		return uint64(int64(int32(n)))
	case p.Narrow, p.Kind == UID, p.Kind == GID, p.Kind == Signal:
		return uint64(uint32(n))
	}
	return n
}

func (c Call) clone() Call {
	c.Data = append([]byte(nil), c.Data...)
	for i := range c.Text {
		t := &c.Text[i]
		t.Raw = append([]byte(nil), t.Raw...)
		t.Dir = append([]byte(nil), t.Dir...)
		t.Resolved = append([]byte(nil), t.Resolved...)
	}
	return c
}
