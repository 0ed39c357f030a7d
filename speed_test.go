package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/integrations/containers"
	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// What events cost from the kernel to the verdict, as ratios inside one run:
// `go test -run ^$ -bench 'UserSpacePath|Prefilter' .` as root.

// mixedLoad is what a busy machine does: it compiles, packs, searches and moves files, runs scripts, asks for packages,
// commits, and serves pages. What is not installed is left out.
const mixedLoad = `
cd "$1" && mkdir -p src a
(for i in 1 2 3 4 5 6; do echo "int f$i(int x) { return x + $i; }" > src/f$i.c; gcc -O1 -c src/f$i.c -o src/f$i.o; done; ld -r src/*.o -o src/all.o) &
(for i in $(seq 1 12); do
	for f in /etc/*.conf; do grep -q nothing $f; done
	find /usr/share/doc -name 'copy*' > found; tar cf x.tar -C /etc . ; mv x.tar y.tar; rm -f y.tar; mkdir a/b; rmdir a/b
	sed -n 1p /etc/passwd; sort found | uniq | wc -l; cp -r src copy; rm -rf copy; id; date
done) &
(apt-get -s install cowsay; dpkg -l; apt-cache policy bash; perl -e 'use POSIX; print ""'; python3 -c 'import json, socket') &
(git init -q .; for i in $(seq 1 10); do echo $i > file$i; git add file$i; git -c user.name=a -c user.email=b@c commit -q -m $i; done) &
(printf 'daemon off; pid %s/pid; error_log %s/error.log; events {} http { access_log %s/access.log; server { listen 127.0.0.1:18999; root /usr/share/doc; } }' "$1" "$1" "$1" > n.conf
nginx -c "$1/n.conf" -p "$1" & n=$!; sleep 0.3; for i in $(seq 1 40); do curl -s -o /dev/null http://127.0.0.1:18999/bash/copyright; done; kill $n) &
wait
`

// runMixedLoad runs it in an empty directory.
func runMixedLoad(b *testing.B) {
	b.Helper()
	dir, err := os.MkdirTemp("", "mixed")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := exec.Command("bash", "-c", mixedLoad, "mixed", dir).Run(); err != nil {
		b.Fatalf("the mixed load: %v", err)
	}
}

// built makes the program for a benchmark, without cgo, as it is shipped.
func buildProgram(b *testing.B) string {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	name := b.TempDir() + "/yagura"
	build := exec.Command("go", "build", "-o", name, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return name
}

// running starts the program on a free port, and returns its address and what ends it.
func running(b *testing.B, program string, args ...string) (address string, end func()) {
	b.Helper()
	var log text
	cmd := exec.Command(program, commandLine(args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b.Errorf("the program ended with %v: %s", err, log.String())
		}
	})
	b.Cleanup(end)
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if found := listening.FindStringSubmatch(log.String()); found != nil {
			if answer, err := http.Get("http://" + found[1] + "/-/ready"); err == nil {
				answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					return found[1], end
				}
			}
		}
	}
	b.Fatalf("it is not ready after a minute: %s", log.String())
	return "", end
}

// recordMixedLoad returns a recording of a mixed load: a snapshot and its events.
func recordMixedLoad(b *testing.B) (snapshot *host.Snapshot, events []byte) {
	b.Helper()
	program, dir := buildProgram(b), b.TempDir()
	_, end := running(b, program, "--record.path="+dir)
	runMixedLoad(b)
	time.Sleep(200 * time.Millisecond)
	end()
	file, err := os.Open(dir + "/snapshot.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if snapshot, err = host.ReadSnapshot(file); err != nil {
		b.Fatal(err)
	}
	if events, err = os.ReadFile(dir + "/events.bin"); err != nil {
		b.Fatal(err)
	}
	return snapshot, events
}

// loadedRules returns an engine with our own rules, which tells nobody of hits.
func loadedRules(b *testing.B) *rules.Engine {
	b.Helper()
	set, language, _, err := rules.Default.Load(nil)
	if err != nil {
		b.Fatal(err)
	}
	e := rules.NewEngine(rules.EngineOptions{})
	if err := e.Compile(language, set, rules.Default); err != nil {
		b.Fatal(err)
	}
	return e
}

// BenchmarkUserSpacePath is what an event costs from the bytes that the kernel wrote to the verdict of all rules, on what
// a mixed load really sends. Each stage is what it adds to those before it.
func BenchmarkUserSpacePath(b *testing.B) {
	snapshot, recording := recordMixedLoad(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	evaluator := loadedRules(b).Evaluator()
	counters := exporter.NewCounters()
	stages := []struct {
		name string
		sink func(table *host.Table, resolver *containers.Resolver) func(*event.Event)
	}{
		{"decode", func(*host.Table, *containers.Resolver) func(*event.Event) { return func(*event.Event) {} }},
		{"container", func(_ *host.Table, r *containers.Resolver) func(*event.Event) { return r.Attach }},
		{"process", func(t *host.Table, r *containers.Resolver) func(*event.Event) {
			return func(ev *event.Event) { r.Attach(ev); t.Attach(ev) }
		}},
		{"count", func(t *host.Table, r *containers.Resolver) func(*event.Event) {
			return func(ev *event.Event) {
				if r.Attach(ev); t.Attach(ev) {
					counters.Observe(ev)
				}
			}
		}},
		{"rules", func(t *host.Table, r *containers.Resolver) func(*event.Event) {
			return func(ev *event.Event) {
				if r.Attach(ev); t.Attach(ev) {
					counters.Observe(ev)
					evaluator.Eval(ev)
				}
			}
		}},
	}
	best := make([]time.Duration, len(stages))
	events := 0
	for range 8 {
		for i, stage := range stages {
			table := host.NewTable(host.TableOptions{Config: host.Default})
			if err := table.Load(snapshot); err != nil {
				b.Fatal(err)
			}
			sink := stage.sink(table, containers.New(containers.Options{}))
			replay := bpf.Replay{R: bytes.NewReader(recording), Boot: snapshot.Boot}
			n, begin := 0, threadTime(b)
			if err := replay.Run(context.Background(), func(ev *event.Event) { n++; sink(ev) }); err != nil {
				b.Fatal(err)
			}
			if took := threadTime(b) - begin; best[i] == 0 || took < best[i] {
				best[i] = took
			}
			events = n
		}
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(events) }
	for i, stage := range stages {
		before := time.Duration(0)
		if i > 0 {
			before = best[i-1]
		}
		b.ReportMetric(each(best[i]-before), stage.name+"_ns/event")
	}
	b.ReportMetric(each(best[len(best)-1]), "all_ns/event")
	b.ReportMetric(float64(events), "events")
	b.ReportMetric(0, "ns/op")
}

// threadTime is the processor's time that this thread has used: what others do meanwhile is not in it.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkPrefilter counts the calls that leave the kernel on a mixed load: with what our rules can match, and with every
// call of the same types.
func BenchmarkPrefilter(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	filtered := loadedRules(b).Interest()
	whole := event.Interest{Terms: map[event.Type][]event.Term{}, Env: filtered.Env}
	for t := range filtered.Terms {
		whole.Terms[t] = []event.Term{event.AnyTerm}
	}
	for _, c := range []struct {
		name     string
		interest event.Interest
	}{{"every", whole}, {"filtered", filtered}} {
		calls, lost := countCalls(b, c.interest)
		b.ReportMetric(float64(calls), c.name+"_calls")
		b.ReportMetric(float64(lost), c.name+"_lost")
	}
	b.ReportMetric(0, "ns/op")
}

func countCalls(b *testing.B, i event.Interest) (calls, lost uint64) {
	b.Helper()
	layout, err := host.Cgroups("/proc")
	if err != nil {
		b.Fatal(err)
	}
	agent, err := bpf.Load(bpf.Options{Config: bpf.Default, Log: slog.New(slog.DiscardHandler),
		Hierarchy: bpf.Hierarchy{V1: layout.Version == 1, Controller: layout.Controller, ID: layout.HierarchyID}})
	if err != nil {
		b.Fatal(err)
	}
	defer agent.Close()
	agent.Replan(bpf.Want{Processes: true})
	if err := agent.SetInterest(i); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, func(ev *event.Event) {
			if ev.Kind == event.Syscall {
				calls++
			}
		})
	}()
	runMixedLoad(b)
	time.Sleep(100 * time.Millisecond)
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	err = agent.LostEvents(func(kind event.Kind, n uint64) {
		if kind == event.Syscall {
			lost += n
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return calls, lost
}

// BenchmarkLoops is how fast others get on beside the program: opening and closing a file that no rule asks for and one that
// one does, running a program, connecting, and nginx under wrk.
func BenchmarkLoops(b *testing.B) {
	program := buildProgram(b)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	rate := func(actor, what string, n int) func() float64 {
		return func() float64 {
			done, took := act(b, actor, what, n, 0)
			return float64(done) / took.Seconds()
		}
	}
	loops := []struct {
		name string
		rate func() float64
	}{
		{"open_unwanted", rate("open", "/usr/share/doc/bash/copyright", 200_000)},
		{"open_wanted", rate("open", "/etc/shadow", 100_000)},
		{"exec", rate("exec", "/bin/true", 300)},
		{"connect", rate("connect", listener.Addr().String(), 3000)},
		{"nginx", nginxRate(b)},
	}
	situations := []struct {
		name string
		args []string // nil: the program does not run
	}{{"bare", nil}, {"default", []string{"--no-collector.rules"}}, {"rules", []string{"--collector.rules"}}}
	const rounds = 4
	values := map[string][]float64{}
	for range rounds {
		for _, s := range situations {
			end := func() {}
			if s.args != nil {
				_, end = running(b, program, s.args...)
			}
			for _, l := range loops {
				if l.rate != nil {
					values[l.name+"_"+s.name] = append(values[l.name+"_"+s.name], l.rate())
				}
			}
			end()
		}
	}
	for _, l := range loops {
		if l.rate == nil {
			continue
		}
		bare := slices.Max(values[l.name+"_bare"])
		b.ReportMetric(bare, l.name+"_bare/s")
		for _, s := range situations[1:] {
			b.ReportMetric(slices.Max(values[l.name+"_"+s.name])/bare, l.name+"_"+s.name+"_of_bare")
		}
	}
	b.ReportMetric(0, "ns/op")
}

var requestsPerSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// nginxRate starts nginx, and returns what measures it; nil where it or wrk is not installed.
func nginxRate(b *testing.B) func() float64 {
	b.Helper()
	for _, name := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil
		}
	}
	dir := b.TempDir()
	const address = "127.0.0.1:18482"
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log; events { worker_connections 512; }
http { access_log off; keepalive_requests 1000000; server { listen %[2]s; location / { return 200 "hello\n"; } } }`, dir, address)
	if err := os.WriteFile(dir+"/nginx.conf", []byte(conf), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("nginx", "-c", dir+"/nginx.conf", "-p", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return func() float64 {
		out, err := exec.Command("wrk", "-t1", "-c16", "-d2s", "http://"+address+"/").CombinedOutput()
		m := requestsPerSecond.FindSubmatch(out)
		if err != nil || m == nil {
			b.Fatalf("wrk: %v: %s", err, out)
		}
		rate, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		return rate
	}
}

// BenchmarkLoss makes calls that a rule asks for, faster and faster, by two processes, and tells how many events were lost
// at each rate: of opening and closing a file, and of a call that costs next to nothing.
func BenchmarkLoss(b *testing.B) {
	program, dir := buildProgram(b), b.TempDir()
	file := func(name, text string) string {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
		return dir + "/" + name
	}
	wanted := file("wanted", "")
	rules := file("rules.yaml", strings.ReplaceAll(fmt.Sprintf(floodRules, wanted), ">= 0", ">= 0 and proc.name = nobody"))
	address, _ := running(b, program, "--config.file="+file("yagura.yml", fmt.Sprintf("rules: {files: [%s]}\n", rules)))
	counter := func(name string) float64 { return sumOf(b, "http://"+address+"/metrics", name) }
	for _, actor := range []string{"open", "personality"} {
		for _, rate := range []int{50_000, 100_000, 200_000, 300_000, 0} {
			received, lost := counter("yagura_events_total"), counter("yagura_events_lost_total")
			done, took := actTwice(b, actor, wanted, max(rate, 200_000)*2, rate/2)
			time.Sleep(200 * time.Millisecond)
			received, lost = counter("yagura_events_total")-received, counter("yagura_events_lost_total")-lost
			if received+lost < float64(done) {
				b.Errorf("%d calls, %v events received and %v lost", done, received, lost)
			}
			name := actor + "_" + strconv.Itoa(rate)
			if rate == 0 {
				name = actor + "_most"
			}
			b.ReportMetric(float64(done)/took.Seconds(), name+"/s")
			b.ReportMetric(lost/float64(done), name+"_lost_of_all")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// actTwice lets two processes act at once.
func actTwice(b *testing.B, actor, what string, n, perSecond int) (done int, took time.Duration) {
	b.Helper()
	first, second := startActor(b, actor, what, n, perSecond), startActor(b, actor, what, n, perSecond)
	done, took = first()
	more, longer := second()
	return done + more, max(took, longer)
}

// sumOf adds up the series of calls of a counter.
func sumOf(b *testing.B, url, name string) (sum float64) {
	b.Helper()
	answer, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range families[name].GetMetric() {
		for _, l := range m.Label {
			if l.GetName() == "kind" && l.GetValue() == "syscall" {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
