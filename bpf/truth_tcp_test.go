package bpf

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	actors["connects"] = actConnects
	actors["bytes"] = actBytes
	actors["write-output"] = func() error {
		_, err := unix.Write(1, make([]byte, bytesForked))
		return err
	}
	actors["io_uring"] = actRing
	actors["splice"] = actSplice
	actors["serve"] = actServe
	actors["send-older"] = actSendOlder
	actors["resets"] = actResets
	actors["retransmit"] = actRetransmit
}

// ---- bare sockets: the net package would retry, race address families and set options of its own ----

func socket(flags int) (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
}

func listen(backlog int) (fd int, addr *unix.SockaddrInet4, err error) {
	if fd, err = socket(0); err != nil {
		return 0, nil, err
	}
	if err := unix.Bind(fd, loopback(0)); err != nil {
		return 0, nil, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return 0, nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, err
	}
	return fd, name.(*unix.SockaddrInet4), nil
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// pair is a connection with both its ends in this process.
func pair() (client, server int, err error) {
	l, addr, err := listen(8)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(l)
	if client, err = socket(0); err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(client, addr); err != nil {
		return 0, 0, err
	}
	server, _, err = unix.Accept(l)
	return client, server, err
}

func read(fd, n int) error {
	buf := make([]byte, n)
	for n > 0 {
		m, err := unix.Read(fd, buf[:n])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if m == 0 {
			return io.ErrUnexpectedEOF
		}
		n -= m
	}
	return nil
}

// ---- connects ----

const (
	connectsOK          = 11
	connectsRefused     = 6
	connectsAborted     = 4
	connectsUnreachable = 3
	connectsNoPort      = 2
)

func expect(what string, err error, want syscall.Errno) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: %v, want %v", what, err, want)
	}
	return nil
}

func actConnects() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("own network name space: %w", err)
	}
	// No interface is up: there is no route to anywhere, and no SYN can leave.
	for range connectsUnreachable {
		fd, err := socket(0)
		if err != nil {
			return err
		}
		far := &unix.SockaddrInet4{Port: 80, Addr: [4]byte{192, 0, 2, 1}}
		if err := expect("connect without a route", unix.Connect(fd, far), unix.ENETUNREACH); err != nil {
			return err
		}
		unix.Close(fd)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	l, addr, err := listen(64)
	if err != nil {
		return err
	}
	for range connectsOK {
		fd, err := socket(0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, addr); err != nil {
			return err
		}
		unix.Close(fd)
	}
	for i := range connectsRefused {
		flags := 0
		if i%2 == 1 {
			flags = unix.SOCK_NONBLOCK // then the error comes by SO_ERROR
		}
		fd, err := socket(flags)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, loopback(1))
		if i%2 == 0 {
			if err := expect("connect to a closed port", err, unix.ECONNREFUSED); err != nil {
				return err
			}
		} else {
			time.Sleep(20 * time.Millisecond)
			unix.Connect(fd, loopback(1)) // tells what was counted already
		}
		unix.Close(fd)
	}
	if err := abortSome(); err != nil {
		return err
	}
	return exhaustPorts(l, addr)
}

// abortSome connects to a listener whose queue is full, so that no SYN is answered, and gives up.
func abortSome() error {
	_, full, err := listen(0)
	if err != nil {
		return err
	}
	var held []int
	for { // fill the queue; these two or so are counted as ok
		fd, err := socket(unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, full)
		if err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
			return err
		} else if info.State != 1 {
			unix.Close(fd) // the first that nobody answers is an abort too
			break
		}
		held = append(held, fd)
	}
	for range connectsAborted - 1 {
		fd, err := socket(unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, full); !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("connect to a full queue: %v", err)
		}
		unix.Close(fd)
	}
	fmt.Println("held", len(held))
	return nil
}

// exhaustPorts leaves one local port, so that connects to one address fail inside the call.
func exhaustPorts(l int, addr *unix.SockaddrInet4) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("61001 61001"), 0); err != nil {
		return err
	}
	used := 0
	for range connectsNoPort + 1 {
		fd, err := socket(0)
		if err != nil {
			return err
		}
		switch err := unix.Connect(fd, addr); {
		case err == nil:
			used++
		case !errors.Is(err, unix.EADDRNOTAVAIL):
			return fmt.Errorf("connect without a free port: %w", err)
		}
	}
	if used != 1 {
		return fmt.Errorf("%d connects found a port, want 1", used)
	}
	return nil
}

// loopbackUp sets lo up in our name space, as `ip link set lo up` would.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var request struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = unix.IFF_UP | unix.IFF_RUNNING
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("set lo up: %w", errno)
	}
	return nil
}

func TestTruthConnects(t *testing.T) {
	for _, c := range []struct {
		name, feature string
		want          Want
	}{
		{"by the dispatcher", "tcp_connects_total", everything},
		{"by a hook of its own", "tcp_connects_total_without_syscalls", Want{TCP: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startAgent(t, c.want)
			proves(t, c.feature)
			needProbe(t, w, "tp_btf/inet_sock_set_state", "tcp_state")
			g := w.newGroup(t, "truth-connects")
			out := w.perform(t, g, "connects")
			held, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(out, "held ")))
			if err != nil {
				t.Fatalf("actor printed %q", out)
			}
			c := w.counters(t, g.id)
			results := map[string]uint64{}
			for i, n := range c.Connects {
				results[ConnectResults[i]] = n
			}
			equal(t, "ok", results["ok"], uint64(connectsOK+held+1))
			equal(t, "refused", results["refused"], connectsRefused)
			equal(t, "aborted", results["aborted"], connectsAborted)
			equal(t, "net_unreachable", results["net_unreachable"], connectsUnreachable)
			equal(t, "address_unavailable", results["address_unavailable"], connectsNoPort)
			equal(t, "all others", results["other"]+results["timed_out"]+results["reset"]+results["host_unreachable"]+results["denied"], 0)
			equal(t, "listens", c.Listens, 2)
			equal(t, "accepts", c.Accepts, uint64(connectsOK+held+1))
			var timed uint64
			for _, n := range c.ConnectDuration.Buckets {
				timed += n
			}
			equal(t, "connects timed", timed, results["ok"])
		})
	}
}

// ---- bytes ----

// Bytes that the actor sends over one connection, by each way there is; the other end reads them all.
const (
	bytesWrite, bytesSendto, bytesWritev, bytesSendmsg, bytesSendmmsg = 1001, 2003, 3005, 4007, 2 * 505
	bytesDup, bytesForked, bytesSendfile                              = 611, 713, 70001
	bytesSent                                                         = bytesWrite + bytesSendto + bytesWritev + bytesSendmsg + bytesSendmmsg + bytesDup + bytesForked + bytesSendfile
)

func actBytes() error {
	client, server, err := pair()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	if _, err := unix.Write(client, buf[:bytesWrite]); err != nil {
		return err
	}
	if err := unix.Sendto(client, buf[:bytesSendto], 0, nil); err != nil {
		return err
	}
	if _, err := unix.Writev(client, [][]byte{buf[:5], buf[:3000]}); err != nil {
		return err
	}
	if err := unix.Sendmsg(client, buf[:bytesSendmsg], nil, nil, 0); err != nil {
		return err
	}
	if err := sendTwo(client, buf[:505]); err != nil {
		return err
	}
	// Looking is not receiving.
	if n, _, err := unix.Recvfrom(server, buf[:100], unix.MSG_PEEK); err != nil || n != 100 {
		return fmt.Errorf("peek: %d, %v", n, err)
	}
	dup, err := unix.Dup(client)
	if err != nil {
		return err
	}
	if _, err := unix.Write(dup, buf[:bytesDup]); err != nil {
		return err
	}
	if err := sendFromChild(client); err != nil {
		return err
	}
	if err := read(server, bytesSent-bytesSendfile); err != nil {
		return err
	}
	if err := sendFile(client, server); err != nil {
		return err
	}
	// Until the buffers are full: what a short write took counts, what EAGAIN refused does not.
	if err := unix.SetNonblock(client, true); err != nil {
		return err
	}
	filled := 0
	for {
		n, err := unix.Write(client, buf)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return err
		}
		filled += n
	}
	if err := read(server, filled); err != nil {
		return err
	}
	// Neither AF_UNIX nor a file is the network.
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if _, err := unix.Write(ends[0], buf[:1000]); err != nil {
		return err
	}
	fmt.Println("filled", filled)
	return nil
}

func sendTwo(fd int, b []byte) error {
	type message struct {
		header unix.Msghdr
		length uint32
		_      uint32
	}
	iov := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	m := [2]message{{header: unix.Msghdr{Iov: &iov, Iovlen: 1}}, {header: unix.Msghdr{Iov: &iov, Iovlen: 1}}}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), 2, 0, 0, 0)
	if errno != 0 || n != 2 {
		return fmt.Errorf("sendmmsg: %d, %w", n, errno)
	}
	return nil
}

// sendFromChild lets a child send by the descriptor it has inherited.
func sendFromChild(fd int) error {
	child, err := spawn("/proc/self/exe", "write-output", fd)
	if err != nil {
		return err
	}
	_, err = unix.Wait4(child, nil, 0, nil)
	return err
}

func sendFile(client, server int) error {
	file, err := os.CreateTemp("", "truth")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if err := file.Truncate(bytesSendfile); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- read(server, bytesSendfile) }()
	for left := bytesSendfile; left > 0; {
		n, err := unix.Sendfile(client, int(file.Fd()), nil, left)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("sendfile: %w", err)
		}
		left -= max(n, 0)
	}
	return <-done
}

func TestTruthBytes(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "network_bytes_total")
	g := w.newGroup(t, "truth-bytes")
	out := w.perform(t, g, "bytes")
	filled, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(out, "filled ")))
	if err != nil {
		t.Fatalf("actor printed %q", out)
	}
	c := w.counters(t, g.id)
	equal(t, "bytes sent", c.TransmitBytes, uint64(bytesSent+filled))
	equal(t, "bytes received", c.ReceiveBytes, uint64(bytesSent+filled))
}

const bytesSpliced = 50021

func actSplice() error {
	client, server, err := pair()
	if err != nil {
		return err
	}
	var in, out [2]int
	if err := errors.Join(unix.Pipe(in[:]), unix.Pipe(out[:])); err != nil {
		return err
	}
	if _, err := unix.Write(in[1], make([]byte, bytesSpliced)); err != nil {
		return err
	}
	move := func(from, to int) error {
		for left := int64(bytesSpliced); left > 0; {
			n, err := unix.Splice(from, nil, to, nil, int(left), 0)
			if err != nil {
				return fmt.Errorf("splice: %w", err)
			}
			left -= n
		}
		return nil
	}
	return errors.Join(move(in[0], client), move(server, out[1]))
}

func TestTruthSplice(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "network_bytes_splice")
	g := w.newGroup(t, "truth-splice")
	w.perform(t, g, "splice")
	c := w.counters(t, g.id)
	equal(t, "bytes sent", c.TransmitBytes, bytesSpliced)
	equal(t, "bytes received", c.ReceiveBytes, bytesSpliced)
}

// ---- io_uring: the least of it, by hand ----

const bytesRing = 4321

func actRing() error {
	client, server, err := pair()
	if err != nil {
		return err
	}
	type offsets struct {
		head, tail, mask, entries, flags, dropped, array, reserved uint32
		address                                                    uint64
	}
	var params struct {
		entries, completions, flags, cpu, idle, features, wq uint32
		reserved                                             [3]uint32
		submission, completion                               offsets
	}
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return fmt.Errorf("unavailable: %w", errno)
	}
	rings, err := unix.Mmap(int(ring), 0, int(params.submission.array+params.entries*4), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	const entrySize = 64
	entries, err := unix.Mmap(int(ring), 0x10000000, int(params.entries)*entrySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	buf := make([]byte, bytesRing)
	e := entries[:entrySize]
	e[0] = 26 // IORING_OP_SEND
	*(*int32)(unsafe.Pointer(&e[4])) = int32(client)
	*(*uint64)(unsafe.Pointer(&e[16])) = uint64(uintptr(unsafe.Pointer(&buf[0])))
	*(*uint32)(unsafe.Pointer(&e[24])) = bytesRing
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[off])) }
	*word(params.submission.array) = 0
	*word(params.submission.tail)++
	if n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, 1, 0, 0); errno != 0 || n != 1 {
		return fmt.Errorf("submit: %d, %w", n, errno)
	}
	return read(server, bytesRing)
}

func TestTruthRing(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "network_bytes_io_uring")
	needProbe(t, w, "6.3: sock_send_length", "socket_sent")
	g := w.newGroup(t, "truth-ring")
	c := w.newChild(t, g, "io_uring")
	c.act(t)
	if err := c.cmd.Wait(); err != nil {
		if strings.Contains(c.out.String(), "unavailable") {
			t.Skipf("needs io_uring: %s", c.out)
		}
		t.Fatalf("%v: %s", err, c.out)
	}
	equal(t, "bytes sent", w.counters(t, g.id).TransmitBytes, bytesRing)
}

// ---- connections and listeners older than the agent ----

const (
	bytesOlder   = 5003
	acceptsOlder = 3
)

// actServe holds a listener and one accepted connection, and then accepts more and answers when it is told to.
func actServe() error {
	l, err := net.Listen("tcp4", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, bytesOlder)); err != nil {
		return err
	}
	for range acceptsOlder {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

func actSendOlder() error {
	conn, err := net.Dial("tcp4", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil { // the second word: the agent is there now
		return err
	}
	if _, err := conn.Write(make([]byte, bytesOlder)); err != nil {
		return err
	}
	for range acceptsOlder {
		c, err := net.Dial("tcp4", os.Getenv("LISTEN"))
		if err != nil {
			return err
		}
		defer c.Close()
	}
	time.Sleep(50 * time.Millisecond)
	return nil
}

func TestTruthConnectionsOlderThanTheAgent(t *testing.T) {
	needRoot(t)
	stopAll(t)
	_, mount := hierarchyHere(t)
	early := &watched{mount: mount}
	server, client := early.newGroup(t, "truth-old-server"), early.newGroup(t, "truth-old-client")
	address := "LISTEN=127.0.0.1:47251"
	s, c := early.newChild(t, server, "serve", address), early.newChild(t, client, "send-older", address)
	s.act(t)
	waitListening(t, "127.0.0.1:47251")
	c.act(t)
	time.Sleep(200 * time.Millisecond) // connected, and waiting for the second word

	w := startAgent(t, everything) // only now
	proves(t, "connections_older_than_agent")
	for _, g := range []group{server, client} {
		if err := w.AddCgroup(g.id); err != nil {
			t.Fatal(err)
		}
	}
	w.FindSockets()
	c.act(t)
	c.finish(t)
	s.finish(t)
	sc, cc := w.counters(t, server.id), w.counters(t, client.id)
	equal(t, "bytes sent by the client", cc.TransmitBytes, bytesOlder)
	equal(t, "bytes received by the server", sc.ReceiveBytes, bytesOlder)
	equal(t, "accepts on the old listener", sc.Accepts, acceptsOlder)
	equal(t, "connects", cc.Connects[0], acceptsOlder)
}

// waitListening waits until somebody listens, without connecting.
func waitListening(t testing.TB, address string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	want := fmt.Sprintf("0100007F:%04X 00000000:0000 0A", n)
	for range 400 {
		text, _ := os.ReadFile("/proc/net/tcp")
		if strings.Contains(string(text), want) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", address)
}

// ---- resets and retransmits ----

const resets = 5

func actResets() error {
	for range resets {
		client, server, err := pair()
		if err != nil {
			return err
		}
		// Closing with unread data sends a reset; so does a linger of zero.
		if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return err
		}
		unix.Close(client)
		if _, err := unix.Read(server, make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			return fmt.Errorf("read after a reset: %v", err)
		}
		unix.Close(server)
	}
	return nil
}

func TestTruthResets(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "tcp_resets_total")
	needProbe(t, w, "tp_btf/tcp_receive_reset", "tcp_reset_received")
	g := w.newGroup(t, "truth-resets")
	w.perform(t, g, "resets")
	equal(t, "resets received", w.counters(t, g.id).ResetsReceived, resets)
}

// actRetransmit connects to a full queue and waits: the first SYN is sent again after one second.
func actRetransmit() error {
	l, full, err := listen(0)
	if err != nil {
		return err
	}
	defer unix.Close(l)
	var fds []int
	for range 3 {
		fd, err := socket(unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
			return err
		}
		unix.Connect(fd, full)
		fds = append(fds, fd)
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(3500 * time.Millisecond) // one retransmission after 1 s, given up after 3
	sum, gaveUp := 0, 0
	for _, fd := range fds {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		sum += int(info.Total_retrans)
		if e, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); e == int(unix.ETIMEDOUT) {
			gaveUp++
		}
	}
	fmt.Println(sum, gaveUp)
	return nil
}

func TestTruthRetransmits(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "tcp_retransmits_total")
	needProbe(t, w, "tp_btf/tcp_retransmit_skb", "tcp_retransmit")
	g := w.newGroup(t, "truth-retransmit")
	out := w.perform(t, g, "retransmit")
	var sum, gaveUp uint64
	if _, err := fmt.Sscan(out, &sum, &gaveUp); err != nil {
		t.Fatalf("actor printed %q", out)
	}
	if sum == 0 || gaveUp == 0 {
		t.Fatalf("the kernel itself counts %d retransmits and %d time-outs: the test does nothing", sum, gaveUp)
	}
	c := w.counters(t, g.id)
	equal(t, "retransmits, as the kernel's TCP_INFO counts them", c.Retransmits, sum)
	equal(t, "connects timed out", c.Connects[2], gaveUp)
}
