package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	actors["starve"] = actStarve
	actors["block"] = actBlock
	actors["oom"] = actOOM
	actors["die"] = actDie
	actors["backlog"] = actBacklog
	actors["round-trip"] = func() error { return actNetem(netem{latency: 20 * time.Millisecond}) }
	actors["lossy"] = func() error { return actNetem(netem{loss: 0.10}) }
	actors["unheard"] = actUnheard
}

// slotNumber is the slot that a control group has.
func (w *watched) slotNumber(t testing.TB, id uint64) uint32 {
	t.Helper()
	slots, err := w.Slots()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if s.CgroupID == id {
			return s.Number
		}
	}
	t.Fatalf("control group %d has no slot", id)
	return 0
}

func count(h *Histogram) (n uint64) {
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// near checks a measurement against another within a share of it.
func near(t testing.TB, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s = %.4g, want %.4g within %.0f %%", what, got, want, tolerance*100)
	}
}

// ---- run queue ----

const (
	starvedFor = 1500 * time.Millisecond
	starved    = 4 // threads on one processor
)

// actStarve lets some threads compete for one processor, and prints how many seconds they did not run in all: by their
// own clocks, and for all threads of the process as the kernel's schedstat says, or 0 where it does not.
func actStarve() error {
	runtime.GOMAXPROCS(starved + 2) // a goroutine that waits for Go's scheduler does not wait for the kernel's
	var one unix.CPUSet
	one.Set(0)
	var mu sync.Mutex
	var all sync.WaitGroup
	waited := time.Duration(0)
	start := make(chan struct{})
	for range starved {
		all.Add(1)
		go func() {
			runtime.LockOSThread()
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				panic(err)
			}
			<-start
			began, used := time.Now(), threadTime()
			for time.Since(began) < starvedFor {
			}
			mu.Lock()
			waited += time.Since(began) - (threadTime() - used)
			mu.Unlock()
			all.Done()
			select {} // its thread stays, and what the kernel says of it
		}()
	}
	runtime.LockOSThread() // not among those that are started anew
	close(start)
	all.Wait()
	delayed, err := runDelay()
	fmt.Println(waited.Seconds(), delayed.Seconds())
	return err
}

// runDelay is how long all threads of this process have waited in a run queue; 0 without CONFIG_SCHED_INFO.
func runDelay() (sum time.Duration, err error) {
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	for _, file := range files {
		var ran, waited time.Duration
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscan(string(text), &ran, &waited); err != nil {
			return 0, fmt.Errorf("%s: %q: %w", file, text, err)
		}
		sum += waited
	}
	return sum, err
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func TestTruthRunQueue(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "run_queue_latency_seconds")
	needProbe(t, w, "tp_btf/sched_switch", "run_queue_wakeup", "run_queue_new", "run_queue_switch")
	g := w.newGroup(t, "truth-run-queue")
	out := w.perform(t, g, "starve")
	var waited, delayed float64
	if _, err := fmt.Sscan(out, &waited, &delayed); err != nil {
		t.Fatalf("actor printed %q", out)
	}
	c := w.counters(t, g.id)
	got := float64(c.RunQueue.Sum) / 1e9
	t.Logf("waited %.3f s by their own clocks, %.3f s by schedstat, %.3f s in the run queue, %d times", waited, delayed, got, count(&c.RunQueue))
	if delayed > 0 {
		near(t, "run queue seconds", got, delayed, 0.10)
	} else { // their clocks do not see the other threads of the Go runtime wait
		near(t, "run queue seconds", got, waited, 0.15)
	}
	if waited < (starved-1)*starvedFor.Seconds()*0.9 {
		t.Errorf("%d threads on one processor waited only %.2f s", starved, waited)
	}
}

// ---- block I/O ----

const (
	blockWrites = 32
	blockReads  = 16
	blockSize   = 8192
)

// actBlock writes and reads a block device past the cache, and has it flushed.
func actBlock() error {
	fd, err := unix.Open(os.Getenv("YAGURA_DEVICE"), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	raw := make([]byte, blockSize+4096)
	buf := raw[4096-int(uintptr(unsafe.Pointer(&raw[0]))%4096):][:blockSize]
	began := time.Now()
	for i := range blockWrites {
		if _, err := unix.Pwrite(fd, buf, int64(i)*blockSize); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	for i := range blockReads {
		if _, err := unix.Pread(fd, buf, int64(i)*blockSize); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	failed := 0
	if _, err := unix.Pread(fd, buf, 1<<20); err != nil { // before 6.12 it reads zeros
		failed = 1
	}
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	fmt.Println(time.Since(began).Seconds(), failed)
	return nil
}

// loopDevice puts a file of 1 MiB under a loop device that claims to be twice as large: on newer kernels reads past its
// end fail.
func loopDevice(t *testing.T) (path string, minor uint32) {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	defer unix.Close(control)
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	path = fmt.Sprintf("/dev/loop%d", n)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "disk"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(2 << 20); err != nil {
		t.Fatal(err)
	}
	loop, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(loop, unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		unix.Close(loop)
		t.Skipf("needs a loop device: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.IoctlSetInt(loop, unix.LOOP_CLR_FD, 0); err != nil {
			t.Errorf("free %s: %v", path, err)
		}
		unix.Close(loop)
	})
	if err := file.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	return path, uint32(n)
}

func TestTruthBlockIO(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "block_io_duration_seconds")
	needProbe(t, w, "tp_btf/block_rq_issue", "block_issued", "block_completed")
	path, minor := loopDevice(t)
	g := w.newGroup(t, "truth-block")
	out := w.perform(t, g, "block", "YAGURA_DEVICE="+path)
	var seconds float64
	var failed uint64
	if _, err := fmt.Sscan(out, &seconds, &failed); err != nil {
		t.Fatalf("actor printed %q", out)
	}
	slot := w.slotNumber(t, g.id)
	found := map[string]BlockIO{}
	sum := 0.0
	if err := w.BlockIO(func(k BlockKey, c *BlockIO) {
		if k.Slot == slot && k.Major == 7 && k.Minor == minor { // LOOP_MAJOR
			found[BlockOperations[k.Operation]] = *c
			sum += float64(c.Duration.Sum) / 1e9
		}
	}); err != nil {
		t.Fatal(err)
	}
	write, read := found["write"], found["read"]
	equal(t, "writes", count(&write.Duration), blockWrites)
	equal(t, "bytes written", write.Bytes, blockWrites*blockSize)
	equal(t, "failed writes", write.Errors, 0)
	equal(t, "reads", count(&read.Duration), blockReads+1)
	equal(t, "bytes read", read.Bytes, (blockReads+1-failed)*blockSize)
	equal(t, "failed reads", read.Errors, failed)
	if sum <= 0 || sum > seconds {
		t.Errorf("the device had requests for %.6f s, the program took %.6f s", sum, seconds)
	}
	t.Logf("%d requests took %.6f of the program's %.6f s; %d flushes", blockWrites+blockReads+1, sum, seconds,
		count(&[]Histogram{found["flush"].Duration}[0]))
}

// ---- ends ----

const oomLimit = 32 << 20

// actOOM takes more memory than its control group has.
func actOOM() error {
	hold, err := unix.Mmap(-1, 0, 8*oomLimit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(hold); i += 4096 {
		hold[i] = 1
	}
	return errors.New("there was no limit")
}

func limitMemory(t *testing.T, w *watched, g group, bytes int) {
	t.Helper()
	for _, name := range []string{"memory.limit_in_bytes", "memory.max"} {
		if err := os.WriteFile(filepath.Join(g.path, name), []byte(strconv.Itoa(bytes)), 0); err == nil {
			return
		}
	}
	// On version 2 the controller has to be let down to the group first.
	if err := os.WriteFile(filepath.Join(w.mount, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
		t.Skipf("needs the memory controller: %v", err)
	}
	if err := os.WriteFile(filepath.Join(g.path, "memory.max"), []byte(strconv.Itoa(bytes)), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.path, "memory.swap.max"), []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Log(err)
	}
}

func (w *watched) signals(t *testing.T, id uint64) map[string]uint64 {
	t.Helper()
	slot, found := w.slotNumber(t, id), map[string]uint64{}
	if err := w.FatalSignals(func(s uint32, name string, n uint64) {
		if s == slot {
			found[name] += n
		}
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTruthOOMKills(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "oom_kills_total")
	needProbe(t, w, "tp_btf/sched_process_exit", "process_exit")
	g := w.newGroup(t, "truth-oom")
	limitMemory(t, w, g, oomLimit)
	const victims = 2
	for range victims {
		c := w.newChild(t, g, "oom")
		c.act(t)
		if err := c.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the actor ended with %v: %s", err, c.out)
		}
	}
	events := 0
	for _, name := range []string{"memory.oom_control", "memory.events"} {
		text, _ := os.ReadFile(filepath.Join(g.path, name))
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				events, _ = strconv.Atoi(strings.TrimSpace(n))
			}
		}
	}
	equal(t, "oom_kill of the control group's file", uint64(events), victims)
	equal(t, "OOM kills", w.counters(t, g.id).OomKills, victims)
	equal(t, "SIGKILL", w.signals(t, g.id)["SIGKILL"], victims)
	if got := w.lastExit(t, g.id); got != "oom_killed" {
		t.Errorf("last exit = %q, want oom_killed", got)
	}
}

func (w *watched) lastExit(t *testing.T, id uint64) (reason string) {
	t.Helper()
	slot := w.slotNumber(t, id)
	if err := w.LastExits(func(s uint32, r string, at time.Time) {
		if s == slot {
			reason = r
			if since := time.Since(at); since < 0 || since > time.Minute {
				t.Errorf("the last exit was %s ago", since)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return reason
}

func actDie() error {
	n, err := strconv.Atoi(os.Getenv("YAGURA_SIGNAL"))
	if err != nil {
		return err
	}
	// Go's own handlers would turn some signals into an exit: the default action is what kills.
	var none [4]uint64
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0); e != 0 && n != int(unix.SIGKILL) {
		return e
	}
	if err := unix.Kill(unix.Getpid(), unix.Signal(n)); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return errors.New("it lives")
}

func TestTruthFatalSignals(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "fatal_signals_total")
	needProbe(t, w, "tp_btf/sched_process_exit", "process_exit")
	g := w.newGroup(t, "truth-signals")
	if got := w.lastExit(t, g.id); got != "" {
		t.Errorf("last exit = %q before there was one", got)
	}
	for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGSEGV, unix.SIGTERM, unix.SIGKILL} {
		c := w.newChild(t, g, "die", fmt.Sprintf("YAGURA_SIGNAL=%d", s))
		c.act(t)
		if err := c.cmd.Wait(); err == nil || strings.Contains(c.out.String(), "lives") {
			t.Fatalf("%v: %v: %s", s, err, c.out)
		}
	}
	got := w.signals(t, g.id)
	equal(t, "SIGSEGV", got["SIGSEGV"], 2)
	equal(t, "SIGTERM", got["SIGTERM"], 1)
	equal(t, "SIGKILL", got["SIGKILL"], 1)
	equal(t, "OOM kills", w.counters(t, g.id).OomKills, 0)
	if got := w.lastExit(t, g.id); got != "signal" {
		t.Errorf("last exit = %q, want signal", got)
	}
}

// ---- accept queues ----

const (
	backlogLimit   = 2
	backlogClients = 8
)

// listenDrops is TcpExtListenDrops of this network namespace.
func listenDrops() (int, error) {
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return 0, err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		for j, name := range strings.Fields(lines[i]) {
			if name == "ListenDrops" {
				return strconv.Atoi(strings.Fields(lines[i+1])[j])
			}
		}
	}
	return 0, errors.New("no ListenDrops")
}

// actBacklog listens, and has more clients than it accepts. It waits for the word to close.
func actBacklog() error {
	runtime.LockOSThread()
	if err := ownNetwork(); err != nil {
		return err
	}
	l, addr, err := listen(backlogLimit)
	if err != nil {
		return err
	}
	for range backlogClients {
		fd, err := socket(unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
			return err
		}
		if err := unix.Connect(fd, addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	drops, err := listenDrops()
	if err != nil {
		return err
	}
	fmt.Println(addr.Port, drops)
	if _, err := unix.Read(0, make([]byte, 1)); err != nil {
		return err
	}
	return unix.Close(l)
}

func (w *watched) overflows(t *testing.T, id uint64) map[int]uint64 {
	t.Helper()
	slot, found := w.slotNumber(t, id), map[int]uint64{}
	if err := w.AcceptOverflows(func(s uint32, port int, n uint64) {
		if s == slot {
			found[port] += n
		}
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTruthAcceptQueue(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "accept_queue_overflows_total")
	needProbe(t, w, "tp_btf/inet_sock_set_state", "tcp_state")
	g := w.newGroup(t, "truth-backlog")
	slot := w.slotNumber(t, g.id)
	c := w.newChild(t, g, "backlog")
	c.act(t)
	var port, drops uint64
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n, _ := fmt.Sscan(c.out.String(), &port, &drops); n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("actor printed %q", c.out)
		}
	}
	var queues []AcceptQueue
	if err := w.AcceptQueues(func(q AcceptQueue) {
		if q.Slot == slot {
			queues = append(queues, q)
		}
	}); err != nil {
		t.Fatal(err)
	}
	c.act(t)
	c.finish(t)
	// The kernel lets in one more than it was told: sk_acceptq_is_full asks for more than the limit.
	if len(queues) != 1 || queues[0].Port != uint32(port) || queues[0].Waiting != backlogLimit+1 || queues[0].Limit != backlogLimit {
		t.Errorf("queues = %+v, want %d of %d waiting at port %d", queues, backlogLimit+1, backlogLimit, port)
	}
	got := w.overflows(t, g.id)[int(port)]
	t.Logf("ListenDrops of the namespace %d, counted %d", drops, got)
	// Between its reading and the close a client may have tried again.
	if got < drops || got > drops+backlogClients || drops == 0 {
		t.Errorf("overflows = %d, want ListenDrops = %d", got, drops)
	}
	if err := w.AcceptQueues(func(q AcceptQueue) {
		if q.Slot == slot {
			t.Errorf("queue after its end: %+v", q)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// ---- a bad network ----

// ownNetwork makes a network namespace with nothing but loopback.
func ownNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("own network namespace: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// A netem is a queueing discipline that delays packets or loses a share of them.
type netem struct {
	latency time.Duration
	loss    float64
}

var errNoNetem = errors.New("no sch_netem")

// onLoopback asks the kernel for it as `tc qdisc add dev lo root netem` does.
func (n netem) onLoopback() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const tick = 64 * time.Nanosecond // PSCHED_SHIFT
	options := binary.NativeEndian.AppendUint32(nil, uint32(n.latency/tick))
	for _, v := range []uint32{1000 /* limit */, uint32(n.loss * (1<<32 - 1)), 0, 0, 0} {
		options = binary.NativeEndian.AppendUint32(options, v)
	}
	m := make([]byte, unix.SizeofNlMsghdr)
	m = append(m, unix.AF_UNSPEC, 0, 0, 0)
	for _, v := range []uint32{1 /* lo */, 0, 0xffffffff /* TC_H_ROOT */, 0} {
		m = binary.NativeEndian.AppendUint32(m, v)
	}
	m = appendAttribute(m, unix.TCA_KIND, []byte("netem\x00"))
	m = appendAttribute(m, unix.TCA_OPTIONS, options)
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], unix.RTM_NEWQDISC)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	reply := make([]byte, 4096)
	if _, _, err := unix.Recvfrom(fd, reply, 0); err != nil {
		return err
	}
	switch code := int32(binary.NativeEndian.Uint32(reply[unix.SizeofNlMsghdr:])); unix.Errno(-code) {
	case 0:
		return nil
	case unix.ENOENT, unix.EOPNOTSUPP:
		return errNoNetem
	default:
		return unix.Errno(-code)
	}
}

func appendAttribute(m []byte, kind uint16, value []byte) []byte {
	m = binary.NativeEndian.AppendUint16(m, uint16(4+len(value)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = append(m, value...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	return m
}

const netemBytes = 2 << 20

// actNetem sends something through a bad network, and prints what the two ends say of their connection: the round-trip
// times in microseconds, and how many segments were sent again.
func actNetem(n netem) error {
	var client, server int
	runtime.LockOSThread()
	if err := ownNetwork(); err != nil {
		return err
	}
	// What is lost of a handshake is not for us: TCP_INFO counts a SYN-ACK that is sent again, tcp_retransmit_skb does not.
	steps := []func() error{func() (err error) { client, server, err = pair(); return err }, n.onLoopback}
	if n.loss == 0 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		err := step()
		if errors.Is(err, errNoNetem) {
			fmt.Println("none")
			return nil
		}
		if err != nil {
			return fmt.Errorf("netem: %w", err)
		}
	}
	failed := make(chan error, 1)
	go func() {
		failed <- read(server, netemBytes)
	}()
	for sent, chunk := 0, make([]byte, 16<<10); sent < netemBytes; {
		m, err := unix.Write(client, chunk)
		if err != nil {
			return err
		}
		sent += m
	}
	if err := <-failed; err != nil {
		return err
	}
	var again uint32
	var trip [2]uint32
	for i, fd := range []int{client, server} {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		again += info.Total_retrans
		trip[i] = info.Rtt
	}
	fmt.Println(trip[0], trip[1], again)
	return errors.Join(unix.Close(client), unix.Close(server))
}

// throughNetem runs an actor in a bad network and returns what it printed.
func throughNetem(t *testing.T, w *watched, g group, actor string) (sender, receiver, again uint64) {
	t.Helper()
	out := w.perform(t, g, actor)
	if strings.TrimSpace(out) == "none" {
		t.Skip("needs sch_netem: this kernel is built without it")
	}
	if _, err := fmt.Sscan(out, &sender, &receiver, &again); err != nil {
		t.Fatalf("actor printed %q", out)
	}
	return sender, receiver, again
}

func TestTruthRoundTrip(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "tcp_rtt_seconds")
	needProbe(t, w, "tp_btf/inet_sock_set_state", "tcp_state")
	g := w.newGroup(t, "truth-round-trip")
	sender, _, _ := throughNetem(t, w, g, "round-trip")
	c := w.counters(t, g.id)
	n := count(&c.RoundTrip)
	mean := float64(c.RoundTrip.Sum) / float64(n) / 1e9
	t.Logf("TCP_INFO says %d us at the sender; %d samples, %.4f s on average", sender, n, mean)
	if n < 2 {
		t.Fatalf("%d samples, want one of each end at least", n)
	}
	// 20 ms on the way there and on the way back, and what a slow machine adds; another unit would be off by a thousand.
	if mean < 0.040 || mean > 4 {
		t.Errorf("mean = %.4f s, want 0.040 and more, and not another unit", mean)
	}
	if sender < 40_000 || sender > 4_000_000 {
		t.Errorf("TCP_INFO says %d us, want 40000 and more, and not another unit", sender)
	}
}

func TestTruthRetransmitsUnderLoss(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "tcp_retransmits_under_loss")
	needProbe(t, w, "tp_btf/tcp_retransmit_skb", "tcp_retransmit")
	g := w.newGroup(t, "truth-lossy")
	before := dropsInAll(t, w)
	_, _, again := throughNetem(t, w, g, "lossy")
	c := w.counters(t, g.id)
	t.Logf("TCP_INFO says %d segments again, counted %d; %d packets dropped on the node", again, c.Retransmits, dropsInAll(t, w)-before)
	if again == 0 {
		t.Fatal("nothing was lost")
	}
	// The last ends of a connection are sent after it was asked.
	if c.Retransmits < again || c.Retransmits > again+8 {
		t.Errorf("retransmits = %d, want %d", c.Retransmits, again)
	}
	if got := dropsInAll(t, w) - before; got == 0 {
		t.Error("no packet drop was counted")
	}
}

func dropsInAll(t *testing.T, w *watched) (sum uint64) {
	t.Helper()
	if err := w.PacketDrops(func(_ string, n uint64) { sum += n }); err != nil {
		t.Fatal(err)
	}
	return sum
}

// ---- packet drops ----

const unheard = 40

// actUnheard sends datagrams that nobody listens to, and fills the buffer of one that does not read.
func actUnheard() error {
	runtime.LockOSThread()
	if err := ownNetwork(); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for range unheard {
		if err := unix.Sendto(fd, []byte("hello"), 0, loopback(9)); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
	}
	return nil
}

func TestTruthPacketDrops(t *testing.T) {
	w := startAgent(t, everything)
	proves(t, "packet_drops_total")
	needProbe(t, w, "tp_btf/kfree_skb", "packet_dropped")
	byReason := func() map[string]uint64 {
		m := map[string]uint64{}
		if err := w.PacketDrops(func(reason string, n uint64) { m[reason] = n }); err != nil {
			t.Fatal(err)
		}
		return m
	}
	before := byReason()
	w.perform(t, w.newGroup(t, "truth-drops"), "unheard")
	after := byReason()
	reason := "no_socket"
	if !w.variables["drop_hook_has_reason"].(bool) {
		reason = "not_specified"
	}
	got := after[reason] - before[reason]
	t.Logf("%d datagrams to nobody: %d drops for %s", unheard, got, reason)
	if got < unheard || got > unheard+20 { // the rest of the node may drop something too
		t.Errorf("drops for %s = %d, want %d", reason, got, unheard)
	}
}

// ---- bounds ----

func TestSignalNames(t *testing.T) {
	for number, want := range map[uint32]string{9: "SIGKILL", 11: "SIGSEGV", 34: "SIGRT", 64: "SIGRT", 99: "other"} {
		if got := signalName(number); got != want {
			t.Errorf("signalName(%d) = %q, want %q", number, got, want)
		}
	}
}
