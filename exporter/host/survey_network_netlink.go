package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what the kernel answers.
const (
	maxAnswers     = 1_000_000       // messages to one question
	netlinkBuffer  = 1 << 18         // bytes of one datagram; the kernel sends at most 32 KiB of a dump
	netlinkPatient = 2 * time.Second // for one datagram
	attributeType  = 0x3fff          // the bits of an attribute's type without the flags in it
)

// native is the byte order of headers of netlink.
var native = binary.NativeEndian

// inNetwork runs a function in the network name space of a process: of the machine's first one, which need not be ours. That takes a
// thread of its own, which ends with it.
func (s *Surveys) inNetwork(pid string, do func() error) error {
	theirs, err := s.Proc().Readlink(path.Join(pid, "ns/net"))
	if err != nil {
		return err
	}
	if ours, err := s.Proc().Readlink("thread-self/ns/net"); err == nil && ours == theirs {
		return do()
	}
	ns, err := unix.Open(path.Join(s.Procfs, pid, "ns/net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc/%s/ns/net: %w", pid, err)
	}
	defer unix.Close(ns)
	return onOwnThread(func() error {
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network name space of process %s, which is not ours: %w", pid, err)
		}
		return do()
	})
}

// onOwnThread calls a function on a thread that is of no use to others afterwards, and ends with it. It is never the first thread:
// that would not end, and what /proc says of the process is of that one.
func onOwnThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(do) // on another, as this one is taken
			runtime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}

// A netlink is a socket to a subsystem of the kernel. Nothing is ever changed by it: only questions are asked.
type netlink struct {
	fd  int
	seq uint32
	buf []byte
}

// openNetlink opens a socket to a family.
func openNetlink(family int) (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(netlinkPatient.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &netlink{fd: fd, buf: make([]byte, netlinkBuffer)}, nil
}

func (n *netlink) close() { unix.Close(n.fd) }

// ask sends one question and calls a function with the type and the body of each answer, until the kernel says that there are no
// more. A body is only valid until the function returns.
func (n *netlink) ask(kind, flags uint16, body []byte, answer func(kind uint16, body []byte) error) error {
	n.seq++
	msg := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	native.PutUint32(msg, uint32(unix.NLMSG_HDRLEN+len(body)))
	native.PutUint16(msg[4:], kind)
	native.PutUint16(msg[6:], unix.NLM_F_REQUEST|flags)
	native.PutUint32(msg[8:], n.seq)
	if err := unix.Sendto(n.fd, append(msg, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for count := 0; count < maxAnswers; {
		got, done, err := n.receive(answer)
		if done || err != nil {
			return err
		}
		count += got
	}
	return fmt.Errorf("more than %d answers", maxAnswers)
}

// receive reads one datagram, and says whether it was the last.
func (n *netlink) receive(answer func(kind uint16, body []byte) error) (count int, done bool, err error) {
	size, from, err := unix.Recvfrom(n.fd, n.buf, 0)
	if err == unix.EINTR {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("the kernel's answer: %w", err)
	}
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return 1, false, nil // somebody else's
	}
	if size == len(n.buf) {
		return 0, false, fmt.Errorf("the kernel's answer has more than %d bytes", size)
	}
	return n.parse(n.buf[:size], answer)
}

// parse takes one datagram apart.
func (n *netlink) parse(data []byte, answer func(kind uint16, body []byte) error) (count int, done bool, err error) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length, kind, flags := int(native.Uint32(data)), native.Uint16(data[4:]), native.Uint16(data[6:])
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return count, false, fmt.Errorf("the kernel's answer says it has %d bytes, of %d", length, len(data))
		}
		ours, body := native.Uint32(data[8:]) == n.seq, data[unix.NLMSG_HDRLEN:length]
		data = data[min(align4(length), len(data)):]
		count++
		if !ours {
			continue
		}
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			return count, false, errInterrupted
		}
		switch kind {
		case unix.NLMSG_DONE:
			return count, true, dumpError(body)
		case unix.NLMSG_ERROR:
			return count, true, netlinkError(body)
		case unix.NLMSG_NOOP:
			continue
		}
		if err := answer(kind, body); err == errEnough {
			return count, true, nil
		} else if err != nil {
			return count, false, err
		}
	}
	return count, false, nil
}

// errEnough ends a question of which no more answers are awaited.
var errEnough = errors.New("enough")

// errInterrupted is told if what is asked about was changed meanwhile: the answers may not fit each other.
var errInterrupted = errors.New("it was changed while it was read")

func netlinkError(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("the kernel's error has %d bytes, want at least 4", len(body))
	}
	if code := int32(native.Uint32(body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// dumpError is why a list of answers ended early, if it did.
func dumpError(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	return netlinkError(body)
}

func align4(n int) int { return (n + 3) &^ 3 }

// attributes calls a function with each attribute of a message until it returns false.
func attributes(data []byte, each func(kind uint16, value []byte) bool) error {
	for len(data) >= unix.SizeofNlAttr {
		length, kind := int(native.Uint16(data)), native.Uint16(data[2:])&attributeType
		if length < unix.SizeofNlAttr || length > len(data) {
			return fmt.Errorf("an attribute says it has %d bytes, of %d", length, len(data))
		}
		if !each(kind, data[unix.SizeofNlAttr:length]) {
			return nil
		}
		data = data[min(align4(length), len(data)):]
	}
	return nil
}

// attribute is one as it is sent.
func attribute(kind uint16, value []byte) []byte {
	all := make([]byte, align4(unix.SizeofNlAttr+len(value)))
	native.PutUint16(all, uint16(unix.SizeofNlAttr+len(value)))
	native.PutUint16(all[2:], kind)
	copy(all[unix.SizeofNlAttr:], value)
	return all
}

// cText is a text that ends with a byte of 0.
func cText(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
