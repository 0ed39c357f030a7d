package bpf

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A load asks a server as fast as it can, and says how many requests a second were answered and how long 99 of 100 took
// at most, in milliseconds.
type load struct {
	name string
	run  func() (rate, p99 float64)
}

// BenchmarkRequests is what services keep of their speed while their requests are counted, beside an empty hook on every
// system call, which is the floor of all that looks at system calls without kprobes.
func BenchmarkRequests(b *testing.B) {
	needRoot(b)
	loads := slices.DeleteFunc([]load{nginxLoad(b), redisLoad(b, 1), redisLoad(b, 16), postgresLoad(b)}, func(l load) bool { return l.run == nil })
	withRequests := Want{Processes: true, Syscalls: true, TCP: true, Requests: true}
	cases := []situation{
		{"nothing", func(*testing.B) func() { return func() {} }},
		{"empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_exit") }},
		{"requests", func(b *testing.B) func() { return attachWant(b, requests) }},
		{"default", func(b *testing.B) func() { return attachWant(b, Want{Processes: true, Syscalls: true, TCP: true}) }},
		{"default_and_requests", func(b *testing.B) func() { return attachWant(b, withRequests) }},
	}
	type key struct{ load, situation string }
	rates, slowest := map[key]float64{}, map[key]float64{}
	for range 3 {
		for _, c := range cases {
			detach := c.attach(b)
			for _, l := range loads {
				rate, p99 := l.run()
				k := key{l.name, c.name}
				rates[k] = max(rates[k], rate)
				if slowest[k] == 0 || p99 < slowest[k] {
					slowest[k] = p99
				}
			}
			detach()
		}
	}
	for _, l := range loads {
		nothing, empty := key{l.name, "nothing"}, key{l.name, "empty"}
		b.ReportMetric(rates[nothing], l.name+"_bare_requests/s")
		b.ReportMetric(slowest[nothing], l.name+"_bare_p99_ms")
		for _, c := range cases[1:] {
			k := key{l.name, c.name}
			b.ReportMetric(rates[k]/rates[nothing], l.name+"_"+c.name+"_of_bare")
			b.ReportMetric(rates[k]/rates[empty], l.name+"_"+c.name+"_of_empty")
			b.ReportMetric(slowest[k]/slowest[empty], l.name+"_"+c.name+"_p99_of_empty")
		}
	}
	b.ReportMetric(0, "ns/op")
}

var wrkP99 = regexp.MustCompile(`99%\s+([0-9.]+)(us|ms|s)`)

func nginxLoad(b *testing.B) load {
	if !installed("nginx", "wrk") {
		return load{}
	}
	const address = "127.0.0.1:18481"
	b.Cleanup(startNginx(b, address))
	return load{"nginx", func() (float64, float64) {
		out, err := exec.Command("wrk", "-t1", "-c16", "-d2s", "--latency", "http://"+address+"/").CombinedOutput()
		rate, p99 := wrkRate.FindSubmatch(out), wrkP99.FindSubmatch(out)
		if err != nil || rate == nil || p99 == nil {
			b.Fatalf("wrk: %v: %s", err, out)
		}
		ms := map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3}[string(p99[2])]
		return number(b, rate[1]), number(b, p99[1]) * ms
	}}
}

func redisLoad(b *testing.B, pipeline int) load {
	if !installed("redis-server", "redis-benchmark") {
		return load{}
	}
	port := strconv.Itoa(18483 + pipeline)
	startServer(b, "127.0.0.1:"+port, nil, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	n := strconv.Itoa(60_000 * pipeline)
	return load{"redis_pipeline_" + strconv.Itoa(pipeline), func() (float64, float64) {
		out, err := exec.Command("redis-benchmark", "-p", port, "-t", "get", "-n", n, "-c", "16", "-P", strconv.Itoa(pipeline), "--csv").Output()
		fields := strings.Split(lastLine(out), ",")
		if err != nil || len(fields) < 7 {
			b.Fatalf("redis-benchmark: %v: %s", err, out)
		}
		return number(b, unquote(fields[1])), number(b, unquote(fields[6]))
	}}
}

func postgresLoad(b *testing.B) load {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		return load{}
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		return load{}
	}
	dir, err := os.MkdirTemp("", "yagura-bench-pg")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGTERM}
	if err := os.Chown(dir, uid, gid); err != nil {
		b.Fatal(err)
	}
	const port = "18490"
	run := func(name string, args ...string) []byte {
		cmd := exec.Command(filepath.Join(found[0], name), args...)
		cmd.SysProcAttr, cmd.Dir = as, dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%s: %v: %s", name, err, out)
		}
		return out
	}
	run("initdb", "-D", dir+"/data", "-A", "trust", "-N")
	startServer(b, "127.0.0.1:"+port, as, filepath.Join(found[0], "postgres"), "-D", dir+"/data", "-p", port, "-k", dir, "-c", "fsync=off")
	for exec.Command(filepath.Join(found[0], "pg_isready"), "-h", "127.0.0.1", "-p", port).Run() != nil {
		time.Sleep(50 * time.Millisecond) // it listens earlier
	}
	run("pgbench", "-h", "127.0.0.1", "-p", port, "-i", "-q", "-s", "1", "postgres")
	tps := regexp.MustCompile(`tps = ([0-9.]+)`)
	return load{"pgbench_select", func() (float64, float64) {
		logs := dir + "/log"
		out := run("pgbench", "-h", "127.0.0.1", "-p", port, "-S", "-c", "4", "-T", "2", "-n", "-l", "--log-prefix="+logs, "postgres")
		m := tps.FindSubmatch(out)
		if m == nil {
			b.Fatalf("pgbench printed %s", out)
		}
		return number(b, m[1]), logged99(b, logs)
	}}
}

// logged99 reads the log of pgbench, whose third column is a latency in microseconds, and removes it.
func logged99(b *testing.B, prefix string) float64 {
	files, _ := filepath.Glob(prefix + ".*")
	var all []float64
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 2 {
				all = append(all, number(b, []byte(fields[2])))
			}
		}
		os.Remove(name)
	}
	if len(all) == 0 {
		b.Fatal("pgbench logged nothing")
	}
	slices.Sort(all)
	return all[len(all)*99/100] / 1000
}

func installed(names ...string) bool {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}

// startServer starts a server that dies with the benchmark, and waits until it listens.
func startServer(b *testing.B, address string, as *syscall.SysProcAttr, name string, args ...string) {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = as
	if as == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(unix.SIGINT)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-done
		}
	})
	waitListening(b, address)
}

func number(b *testing.B, text []byte) float64 {
	b.Helper()
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		b.Fatal(fmt.Errorf("a figure of the load: %w", err))
	}
	return v
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func unquote(field string) []byte { return []byte(strings.Trim(field, `" `)) }

// BenchmarkRequestPrograms is what the kernel says its programs take for each call that moves bytes of a connection, by
// its own clock: the first figure is that of an empty program, which is the clock's.
func BenchmarkRequestPrograms(b *testing.B) {
	needRoot(b)
	for _, name := range []string{"exchange", "bulk", "http", "redis", "redis-pipe"} {
		w := newAgent(b, Want{})
		stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		if err != nil {
			b.Fatal(err)
		}
		w.Replan(requests)
		setRequests(b, w)
		best := math.Inf(1)
		for range 8 {
			before := w.Costs()["sys_exit"]
			actTalk(b, w, name)
			after := w.Costs()["sys_exit"]
			best = min(best, float64(after.Runtime-before.Runtime)/float64(after.Runs-before.Runs))
		}
		b.ReportMetric(best, name+"_ns/syscall")
		stats.Close()
		if err := w.stop(); err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRequestCosts is what requests of real servers, both of whose sides are here, take of processors in the kernel, by its
// own clock, which is the programs' and that of all other system calls of the loads.
func BenchmarkRequestCosts(b *testing.B) {
	needRoot(b)
	for _, l := range []load{nginxLoad(b), redisLoad(b, 1), redisLoad(b, 16), postgresLoad(b)} {
		if l.run == nil {
			continue
		}
		w := newAgent(b, Want{})
		stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		if err != nil {
			b.Fatal(err)
		}
		w.Replan(requests)
		setRequests(b, w)
		before, begin := w.Costs()["sys_exit"], time.Now()
		rate, _ := l.run()
		after, requests := w.Costs()["sys_exit"], rate*time.Since(begin).Seconds()
		b.ReportMetric(float64(after.Runs-before.Runs)/requests, l.name+"_syscalls/request")
		b.ReportMetric(float64(after.Runtime-before.Runtime)/requests, l.name+"_ns/request")
		b.ReportMetric(float64(after.Runtime-before.Runtime)/requests*1e4/1e9, l.name+"_processors_at_10k/s")
		stats.Close()
		if err := w.stop(); err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// actTalk has one process play both sides of a talk many times.
func actTalk(b *testing.B, w *watched, name string) {
	const rounds = 10_000
	g := w.newGroup(b, "bench-talk")
	c := w.newChild(b, g, "talk-alone", "TALK="+name, "ROUNDS="+strconv.Itoa(rounds))
	c.act(b)
	c.finish(b)
}

func init() {
	actors["talk-alone"] = func() error {
		talk := talks[os.Getenv("TALK")]
		rounds, err := strconv.Atoi(os.Getenv("ROUNDS"))
		if err != nil {
			return err
		}
		client, server, err := pair()
		if err != nil {
			return err
		}
		for range rounds {
			if _, err := unix.Write(client, []byte(talk.asks)); err != nil {
				return err
			}
			if err := read(server, len(talk.asks)); err != nil {
				return err
			}
			if _, err := unix.Write(server, []byte(talk.answers)); err != nil {
				return err
			}
			if err := read(client, len(talk.answers)); err != nil {
				return err
			}
		}
		return nil
	}
}
