package bpf

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The price of hooks, as ratios inside one run: each benchmark measures the bare case, an empty hook and ours in turn,
// several times over, and reports the best of each: on a shared machine all else is somebody else's noise.
// `go test -bench . -run ^$ ./bpf` as root.

// rounds is how often each case is measured.
const rounds = 8

// A situation is what is attached while something is measured.
type situation struct {
	name   string
	attach func(b *testing.B) (detach func())
}

func situations(b *testing.B) []situation {
	return []situation{
		{"nothing", func(*testing.B) func() { return func() {} }},
		{"empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_exit") }},
		{"default", func(b *testing.B) func() { return attachWant(b, everything) }},
		{"nosyscalls", func(b *testing.B) func() { return attachWant(b, Want{Processes: true, TCP: true}) }},
		{"latency", func(b *testing.B) func() {
			return attachWant(b, Want{Processes: true, TCP: true, Syscalls: true, SyscallLatency: true})
		}},
	}
}

// BenchmarkSwitch is two threads that wake each other through pipes on one processor: two wake-ups and two switches a
// round, and four system calls.
func BenchmarkSwitch(b *testing.B) {
	cases := []situation{
		{"nothing", func(*testing.B) func() { return func() {} }},
		{"empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sched_switch") }},
		{"runqueue", func(b *testing.B) func() { return attachWant(b, Want{RunQueue: true}) }},
		{"default", func(b *testing.B) func() { return attachWant(b, everything) }},
		{"norunqueue", func(b *testing.B) func() {
			return attachWant(b, Want{Processes: true, Syscalls: true, TCP: true, BlockIO: true, PacketDrops: true})
		}},
	}
	values := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			detach := c.attach(b)
			values[i] = append(values[i], pingPong(b))
			detach()
		}
	}
	report(b, cases, values, "ns", false)
}

// pingPong returns the nanoseconds of one round.
func pingPong(b *testing.B) float64 {
	const n = 20_000
	var there, back [2]int
	for _, p := range []*[2]int{&there, &back} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			b.Fatal(err)
		}
	}
	defer func() {
		for _, fd := range append(there[:], back[:]...) {
			unix.Close(fd)
		}
	}()
	pin := func() {
		runtime.LockOSThread()
		var one unix.CPUSet
		one.Set(0)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			b.Error(err)
		}
	}
	pass := func(from, to int) {
		var ball [1]byte
		if _, err := unix.Read(from, ball[:]); err != nil {
			b.Error(err)
		}
		if _, err := unix.Write(to, ball[:]); err != nil {
			b.Error(err)
		}
	}
	done := make(chan float64)
	go func() {
		pin()
		for range n {
			pass(there[0], back[1])
		}
		done <- 0
	}()
	go func() {
		pin()
		began := time.Now()
		for range n {
			if _, err := unix.Write(there[1], []byte{1}); err != nil {
				b.Error(err)
			}
			var ball [1]byte
			if _, err := unix.Read(back[0], ball[:]); err != nil {
				b.Error(err)
			}
		}
		done <- float64(time.Since(began)) / n
	}()
	return <-done + <-done
}

func attachWant(b *testing.B, want Want) func() {
	w := newAgent(b, want)
	return func() {
		if err := w.stop(); err != nil {
			b.Error(err)
		}
	}
}

// attachEmpty attaches a program that does nothing.
func attachEmpty(b *testing.B, program string) func() {
	w := newAgent(b, Want{})
	prog, err := w.loadProgram(program)
	if err != nil {
		b.Fatal(err)
	}
	l, err := tracing(nil, prog)
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		l.Close()
		prog.Close()
		w.stop()
	}
}

func init() {
	actors["time-getppid"] = func() error {
		_, err := fmt.Println(perCall(func() { unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) }))
		return err
	}
}

// perCall is the time of one call in nanoseconds, the best of short batches: what is over is somebody else's.
func perCall(call func()) float64 {
	const batch, batches = 2000, 200
	best := time.Hour
	for range batches {
		begin := time.Now()
		for range batch {
			call()
		}
		best = min(best, time.Since(begin))
	}
	return float64(best.Nanoseconds()) / batch
}

// timeGetppid is what one getppid takes.
func timeGetppid(b *testing.B) float64 { return timeActor(b, "time-getppid") }

// mountTracefs makes tracepoints of single calls available for as long as the benchmark runs.
func mountTracefs(b *testing.B) {
	if _, err := os.Stat("/sys/kernel/tracing/events"); err == nil {
		return
	}
	if err := unix.Mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, ""); err != nil {
		b.Skipf("needs tracefs: %v", err)
	}
	b.Cleanup(func() { unix.Unmount("/sys/kernel/tracing", unix.MNT_DETACH) })
}

// BenchmarkHook is the cost table of the hook planner: what a system call costs that nobody asks for.
func BenchmarkHook(b *testing.B) {
	needRoot(b)
	mountTracefs(b)
	cases := situations(b)
	ns := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			detach := c.attach(b)
			ns[i] = append(ns[i], timeGetppid(b))
			detach()
		}
	}
	report(b, cases, ns, "ns/call", false)
}

// report writes what each case costs, over the bare case and beside the empty hook.
func report(b *testing.B, cases []situation, values [][]float64, unit string, rate bool) {
	best := slices.Min[[]float64]
	if rate {
		best = slices.Max[[]float64]
	}
	bare, empty := best(values[0]), best(values[1])
	for i, c := range cases {
		v := best(values[i])
		b.ReportMetric(v, c.name+"_"+unit)
		if rate {
			b.ReportMetric(v/bare, c.name+"_of_nothing")
			b.ReportMetric(v/empty, c.name+"_of_empty")
		} else {
			b.ReportMetric(v-bare, c.name+"_added_"+unit)
			b.ReportMetric((v-bare)/(empty-bare), c.name+"_added_of_empty")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHookOfOneCall says when the shared dispatcher pays: a tracepoint on one call costs every other call too.
func BenchmarkHookOfOneCall(b *testing.B) {
	needRoot(b)
	mountTracefs(b)
	one := func(name string) func(b *testing.B) func() {
		return func(b *testing.B) func() {
			w := newAgent(b, Want{})
			prog, err := w.loadProgram("empty_" + name)
			if err != nil {
				b.Fatal(err)
			}
			l, err := tracepoint("syscalls", name)(nil, prog)
			if err != nil {
				b.Skipf("needs a tracepoint of one system call: %v", err)
			}
			return func() { l.Close(); prog.Close(); w.stop() }
		}
	}
	cases := []situation{
		{"nothing", func(*testing.B) func() { return func() {} }},
		{"empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_exit") }},
		{"empty_enter", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_enter") }},
		{"on_this_call", one("sys_exit_getppid")},
		{"on_another_call", one("sys_exit_connect")},
	}
	ns := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			detach := c.attach(b)
			ns[i] = append(ns[i], timeGetppid(b))
			detach()
		}
	}
	report(b, cases, ns, "ns/call", false)
}

// BenchmarkExec is what a process costs that is made, runs another image and ends.
func BenchmarkExec(b *testing.B) {
	needRoot(b)
	cases := situations(b)[:3]
	us := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			detach := c.attach(b)
			begin := time.Now()
			const n = 100
			for range n {
				if err := exec.Command("/bin/true").Run(); err != nil {
					b.Fatal(err)
				}
			}
			us[i] = append(us[i], float64(time.Since(begin).Microseconds())/n)
			detach()
		}
	}
	report(b, cases, us, "us/exec", false)
}

// BenchmarkNginx is requests per second of nginx under wrk with keep-alive.
func BenchmarkNginx(b *testing.B) {
	needRoot(b)
	for _, name := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Skipf("needs %s: %v", name, err)
		}
	}
	stop := startNginx(b, "127.0.0.1:18480")
	defer stop()
	cases := situations(b)[:4]
	rates := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			detach := c.attach(b)
			rates[i] = append(rates[i], wrk(b, "http://127.0.0.1:18480/"))
			detach()
		}
	}
	report(b, cases, rates, "requests/s", true)
}

func startNginx(b *testing.B, address string) (stop func()) {
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; keepalive_requests 1000000; server { listen %[2]s; location / { return 200 "hello\n"; } } }`, dir, address)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("nginx", "-c", file, "-p", dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	waitListening(b, address)
	return func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
	}
}

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

func wrk(b *testing.B, url string) float64 {
	out, err := exec.Command("wrk", "-t1", "-c16", "-d2s", url).CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	m := wrkRate.FindSubmatch(out)
	if m == nil {
		b.Fatalf("wrk printed %s", out)
	}
	rate, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return rate
}
