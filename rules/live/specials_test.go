package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// address sets a pointer and a length to a socket address.
func (p *performer) address(at int, a *event.Address) {
	b := sockaddr(a)
	p.args[at], p.args[at+1] = p.bytes(b), uintptr(len(b))
}

func sockaddr(a *event.Address) []byte {
	switch {
	case a.Path != "":
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
		if rest, abstract := strings.CutPrefix(a.Path, "@"); abstract {
			return append(append(b, 0), rest...)
		}
		return append(append(b, a.Path...), 0)
	case !a.Peer.IsValid():
		return nil
	case a.Peer.Addr().Unmap().Is4():
		return internet4(a.Peer)
	}
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, a.Peer.Port())
	b = append(b, 0, 0, 0, 0)
	ip := a.Peer.Addr().As16()
	return append(append(b, ip[:]...), 0, 0, 0, 0)
}

func internet4(peer netip.AddrPort) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	b = binary.BigEndian.AppendUint16(b, peer.Port())
	ip := peer.Addr().Unmap().As4()
	return append(append(b, ip[:]...), make([]byte, 8)...)
}

// specials make arguments that the example does not tell.
var specials = map[string]func(p *performer) error{
	"connect": (*performer).connect,
	"bind":    func(p *performer) error { p.address(1, &p.ev.Call.Address); return nil },
	"accept":  func(p *performer) error { p.args[1], p.args[2] = 0, 0; return nil },
	"accept4": func(p *performer) error { p.args[1], p.args[2] = 0, 0; return nil },
	"sendto": func(p *performer) error {
		p.args[2] = uintptr(len(p.ev.Call.Data))
		if p.args[4], p.args[5] = 0, 0; p.ev.Call.Address.Peer.IsValid() {
			p.address(4, &p.ev.Call.Address)
		}
		return nil
	},
	"openat2": func(p *performer) error {
		w := &p.ev.Call.Word
		p.args[2], p.args[3] = p.bytes(numbers(w[0], w[1], w[2])), 24
		return nil
	},
	"mount": func(p *performer) error {
		kind := string(p.ev.Call.Data)
		if kind == "" {
			kind = "tmpfs"
		}
		p.args[2], p.args[4] = p.text(kind), 0
		return nil
	},
	"setxattr": func(p *performer) error {
		value := numbers(0x02000001, 0, 0)[:20] // one capability set of revision 2
		binary.LittleEndian.PutUint32(value, 0x02000001)
		p.args[2], p.args[3], p.args[4] = p.bytes(value), 20, 0
		return nil
	},
	"utimensat":         func(p *performer) error { p.args[2] = 0; return nil },
	"ioctl":             func(p *performer) error { p.args[2] = p.bytes(make([]byte, 256)); return nil },
	"setsockopt":        (*performer).attachFilter,
	"bpf":               (*performer).useBPF,
	"process_vm_readv":  (*performer).readVictim,
	"process_vm_writev": (*performer).readVictim,
	"keyctl":            (*performer).readKey,
	"pidfd_getfd": func(p *performer) error {
		fd, err := unix.PidfdOpen(p.Victim, 0)
		p.args[0], p.args[1] = uintptr(fd), 0
		return err
	},
	"splice": func(p *performer) error {
		var fds [2]int
		err := unix.Pipe(fds[:])
		p.args[1], p.args[2], p.args[3], p.args[4] = 0, uintptr(fds[1]), 0, max(p.args[4], 1)
		return err
	},
	"chdir": (*performer).openNumbered,
	"clone": func(p *performer) error { p.args = [6]uintptr{p.args[0]&^0xff | uintptr(unix.SIGCHLD)}; return nil },
	"open_by_handle_at": func(p *performer) error {
		name := string(p.ev.FD.Name)
		if name == "" {
			return errors.New("it opens nothing")
		}
		if err := place(name); err != nil {
			return err
		}
		handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, name, 0)
		if err != nil {
			return err
		}
		root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		b := binary.NativeEndian.AppendUint32(nil, uint32(handle.Size()))
		b = binary.NativeEndian.AppendUint32(b, uint32(handle.Type()))
		p.args[0], p.args[1] = uintptr(root), p.bytes(append(b, handle.Bytes()...))
		return err
	},
	"setns": func(p *performer) error { return unix.Unshare(unix.CLONE_FS) },
	"perf_event_open": func(p *performer) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
		p.held = append(p.held, &attr)
		p.args[0], p.args[3], p.args[4] = uintptr(unsafe.Pointer(&attr)), ^uintptr(0), 0
		return nil
	},
	"io_uring_setup": func(p *performer) error { p.args[1] = p.bytes(make([]byte, 120)); return nil },
	"syslog": func(p *performer) error {
		p.args[1], p.args[2] = p.bytes(make([]byte, 4096)), 4096
		return nil
	},
	"modify_ldt": func(p *performer) error {
		p.args[0], p.args[1], p.args[2] = 0, p.bytes(make([]byte, 4096)), 4096
		return nil
	},
	"ptrace": func(p *performer) error { p.args[2], p.args[3] = 0, 0; return nil },
	"prctl":  (*performer).setMemory,
}

func numbers(all ...uint64) (b []byte) {
	for _, n := range all {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	return b
}

// connect listens at a unix socket's path first; at those of the internet the test does.
func (p *performer) connect() error {
	a := &p.ev.Call.Address
	p.address(1, a)
	if a.Path == "" || p.ev.Call.Result < 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: a.Path}); err != nil {
		return fmt.Errorf("bind to %s: %w", a.Path, err)
	}
	return unix.Listen(fd, 8)
}

// openNumbered opens the root under the number that a path in /proc/self/fd has.
func (p *performer) openNumbered() error {
	number, ok := strings.CutPrefix(string(p.ev.Call.Text[0].Raw), "/proc/self/fd/")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return nil
	}
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil || fd == n {
		return err
	}
	return unix.Dup3(fd, n, 0)
}

// attachFilter passes everything.
func (p *performer) attachFilter() error {
	if p.args[2] != unix.SO_ATTACH_FILTER {
		p.args[3], p.args[4] = p.bytes(numbers(1)), 4
		return nil
	}
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}}
	program := unix.SockFprog{Len: 1, Filter: &filter[0]}
	p.held = append(p.held, filter, &program)
	p.args[3], p.args[4] = uintptr(unsafe.Pointer(&program)), unsafe.Sizeof(program)
	return nil
}

// useBPF loads a program that does nothing, or pins a map.
func (p *performer) useBPF() error {
	attr := make([]byte, 120)
	p.args[1], p.args[2] = p.bytes(attr), 48
	put32 := func(at int, n uint32) { binary.NativeEndian.PutUint32(attr[at:], n) }
	put64 := func(at int, n uintptr) { binary.NativeEndian.PutUint64(attr[at:], uint64(n)) }
	makeMap := func() (uintptr, error) {
		b := make([]byte, 120)
		for i, n := range []uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1} {
			binary.NativeEndian.PutUint32(b[4*i:], n)
		}
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, p.bytes(b), 48)
		if errno != 0 {
			return 0, errno
		}
		return fd, nil
	}
	switch p.args[0] {
	case unix.BPF_PROG_LOAD:
		code := []byte{0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0} // r0 = 0; exit
		put32(0, unix.BPF_PROG_TYPE_SOCKET_FILTER)
		put32(4, 2)
		put64(8, p.bytes(code))
		put64(16, p.text("GPL"))
	case unix.BPF_MAP_CREATE:
		for i, n := range []uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1} {
			put32(4*i, n)
		}
	case unix.BPF_OBJ_PIN, unix.BPF_OBJ_GET:
		fd, err := makeMap()
		if err != nil {
			return err
		}
		put64(0, p.text("/sys/fs/bpf/yagura-live"))
		put32(8, uint32(fd))
		if p.args[0] == unix.BPF_OBJ_GET {
			if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_PIN, p.args[1], 16); errno != 0 {
				return errno
			}
			put32(8, 0)
		}
		p.args[2] = 16
	}
	return nil
}

// shared is at the same address in every process of ours.
var shared [4096]byte

func (p *performer) readVictim() error {
	own := make([]byte, len(shared))
	local := []unix.Iovec{{Base: &own[0], Len: uint64(len(own))}}
	remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&shared)), Len: len(shared)}}
	p.held = append(p.held, own, local, remote)
	p.args[1], p.args[2] = uintptr(unsafe.Pointer(&local[0])), 1
	p.args[3], p.args[4], p.args[5] = uintptr(unsafe.Pointer(&remote[0])), 1, 0
	return nil
}

// readKey makes a key to be read.
func (p *performer) readKey() error {
	if p.args[0] != unix.KEYCTL_READ {
		return nil
	}
	id, err := unix.AddKey("user", "yagura-live", []byte("secret"), unix.KEY_SPEC_PROCESS_KEYRING)
	p.args[1], p.args[2], p.args[3] = uintptr(id), p.bytes(make([]byte, 64)), 64
	return err
}

// setMemory names the end of the heap as it is.
func (p *performer) setMemory() error {
	if p.args[0] != unix.PR_SET_MM {
		return nil
	}
	end, _, _ := unix.Syscall(unix.SYS_BRK, 0, 0, 0)
	p.args[1], p.args[2], p.args[3], p.args[4] = unix.PR_SET_MM_BRK, end, 0, 0
	return nil
}
