package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// actorVariable has in it what the test binary does as an actor: the kernel's side leaves out Yagura's own process only,
// but what a test measures must not be the test itself.
const actorVariable = "YAGURA_TEST_ACT"

// actors do one thing n times, perSecond times a second or as fast as they can, and return how often they really did.
var actors = map[string]func(what string, n, perSecond int) int{
	"open": func(path string, n, perSecond int) int {
		return paced(n, perSecond, func() bool {
			fd, err := unix.Open(path, unix.O_RDONLY, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err == nil
		})
	},
	"personality": func(_ string, n, perSecond int) int {
		const ask = 0xffffffff
		return paced(n, perSecond, func() bool { _, _, e := unix.RawSyscall(unix.SYS_PERSONALITY, ask, 0, 0); return e == 0 })
	},
	"connect": func(address string, n, perSecond int) int {
		return paced(n, perSecond, func() bool {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	},
	"exec": func(program string, n, perSecond int) int {
		return paced(n, perSecond, func() bool { return exec.Command(program).Run() == nil })
	},
}

// paced does a thing in bunches of a millisecond, and catches up where it was held up.
func paced(n, perSecond int, do func() bool) (done int) {
	begin := time.Now()
	for i := range n {
		if perSecond > 0 && i%max(perSecond/1000, 1) == 0 {
			if ahead := time.Duration(i)*time.Second/time.Duration(perSecond) - time.Since(begin); ahead > 0 {
				time.Sleep(ahead)
			}
		}
		if do() {
			done++
		}
	}
	return done
}

// TestActor is what the binary does where another test asks it to act.
func TestActor(t *testing.T) {
	words := strings.Fields(os.Getenv(actorVariable))
	if len(words) != 4 {
		return // nobody asks
	}
	n, err := strconv.Atoi(words[2])
	if err != nil {
		t.Fatal(err)
	}
	perSecond, err := strconv.Atoi(words[3])
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	done := actors[words[0]](words[1], n, perSecond)
	fmt.Printf("acted %d times in %d ns\n", done, time.Since(begin).Nanoseconds())
}

// act lets another process act, and returns how often it did and how long that took.
func act(t testing.TB, actor, what string, n, perSecond int) (done int, took time.Duration) {
	t.Helper()
	return startActor(t, actor, what, n, perSecond)()
}

// startActor returns what waits for the end.
func startActor(t testing.TB, actor, what string, n, perSecond int) (wait func() (done int, took time.Duration)) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestActor$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", actorVariable, actor, what, n, perSecond))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (done int, took time.Duration) {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s: %v\n%s", actor, err, out.String())
		}
		_, line, _ := strings.Cut(out.String(), "acted ")
		if _, err := fmt.Sscanf(line, "%d times in %d ns", &done, &took); err != nil {
			t.Fatalf("%s said %q: %v", actor, out.String(), err)
		}
		return done, took
	}
}

// resident is the physical memory of a process in bytes, now and at its most.
func resident(t testing.TB, pid int) (now, most int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d", &kib); err == nil {
			now = kib << 10
		} else if _, err := fmt.Sscanf(line, "VmHWM: %d", &kib); err == nil {
			most = kib << 10
		}
	}
	return now, most
}

const floodRules = `
- rule: Flood
  desc: the file that the test opens again and again
  condition: evt.type in (open, openat, openat2) and evt.rawres >= 0 and fd.name = %[1]s
  output: opened (file=%%fd.name process=%%proc.name cmdline=%%proc.cmdline parent=%%proc.pname user=%%user.name)
  priority: WARNING
  tags: [host, filesystem]
- rule: Unusual
  desc: a call that nobody else makes
  condition: evt.type = personality and evt.rawres >= 0
  output: asked (process=%%proc.name)
  priority: NOTICE
  tags: [host, process]
`

// TestFloodOfHits is a flood of hits of one rule: memory stays bounded, every event and every hit is accounted for, the
// endpoints answer, and Prometheus scrapes as if nothing were.
func TestFloodOfHits(t *testing.T) { flood(t, 100_000) }

func flood(t *testing.T, n int) {
	needsKernel(t)
	const rule = "Flood"
	dir := public(t)
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(20 * time.Millisecond) }))
	t.Cleanup(slow.Close)
	wanted := write(t, dir+"/wanted", "")
	config := write(t, dir+"/yagura.yml", fmt.Sprintf(`
rules:
  files: [%s]
  rate: {per_second: 3000, burst: 20000}
  outputs: {file: {path: %s}, http: {url: %q}, queue: 1000}
`, write(t, dir+"/rules.yaml", fmt.Sprintf(floodRules, wanted)), dir+"/alerts.json", slow.URL))
	y := yagura(t, "--config.file="+config).await(t).ready(t)
	p := prometheus(t, y.addr, "")
	before := y.scrape(t, "/metrics")
	rss, _ := resident(t, y.cmd.Process.Pid)

	done, took := act(t, "open", wanted, n, 0)
	hits := func(p page) float64 { return p.sum("yagura_rule_hits_total", "rule", rule) }
	lost := func(p page) float64 { return p.sum("yagura_events_lost_total", "kind", "syscall") }
	var after page
	eventually(t, "every open is a hit or was counted as lost", func() bool {
		after = y.scrape(t, "/metrics")
		return hits(after)+lost(after)-lost(before) >= float64(done)
	})
	if hits(after) > float64(done) || lost(after) == lost(before) && hits(after) != float64(done) {
		t.Errorf("%v hits of %d opens, and %v events were lost", hits(after), done, lost(after)-lost(before))
	}
	_, most := resident(t, y.cmd.Process.Pid)
	t.Logf("%d opens in %v, %.0f hits, %.0f events lost; %d MiB resident before, %d at most", done, took, hits(after), lost(after)-lost(before), rss>>20, most>>20)
	if most > rss+64<<20 {
		t.Errorf("%d MiB resident at most, %d before the flood: want at most 64 more", most>>20, rss>>20)
	}
	// What the rate let through was told to each output, waits there, or was dropped and counted; but of our own rules there may
	// be hits too, on a machine where others work.
	told := hits(after) - after.sum("yagura_rule_suppressed_total", "rule", rule)
	for _, output := range []string{"file", "http"} {
		sum := after.sum("yagura_alerts_total", "output", output) + after.sum("yagura_alerts_lost_total", "output", output) + after.sum("yagura_alerts_waiting", "output", output)
		others := allHits(after) - hits(after) - (allHits(before) - hits(before)) + 200
		if sum < told-1 || sum > told+others {
			t.Errorf("output %s: %v told, lost or waiting, want %v and at most %v of other rules", output, sum, told, others)
		}
	}
	if told < 20000 || told > hits(after)-1 {
		t.Errorf("%v of %v hits were told, want a burst of 20000 and some", told, hits(after))
	}
	code, body := y.status(t, "GET", "/api/yagura/hits?rule="+rule+"&limit=5")
	var answer struct{ Data []struct{ Rule string } }
	if err := json.Unmarshal([]byte(body), &answer); code != http.StatusOK || err != nil || !strings.Contains(body, `"rule":"`+rule+`"`) {
		t.Errorf("hits: %d, %v: %.300s", code, err, body)
	}
	eventually(t, "Prometheus has the hits", func() bool {
		s := p.query(t, fmt.Sprintf("yagura_rule_hits_total{rule=%q}", rule))
		return len(s) == 1 && s[0].Value[1] == strconv.FormatFloat(hits(after), 'f', -1, 64)
	})
	up := p.query(t, "avg_over_time(up[10m])")
	slowest := p.query(t, "max_over_time(scrape_duration_seconds[10m])")
	t.Logf("scrapes: %v succeeded, the slowest took %v s", up[0].Value[1], slowest[0].Value[1])
	if share, err := strconv.ParseFloat(up[0].Value[1].(string), 64); err != nil || share < 0.8 {
		t.Errorf("%v of the scrapes succeeded, want nearly all", up[0].Value[1])
	}
}

func allHits(p page) float64 { return p.sum("yagura_rule_hits_total") }

// TestLossIsCounted stops the program while more events are made than the ring buffer holds: what is lost is counted, to
// the last one. The call is one that nobody else makes.
func TestLossIsCounted(t *testing.T) {
	needsKernel(t)
	dir := public(t)
	_, rule, _ := strings.Cut(floodRules, "- rule: Unusual") // without the one that asks for opens
	config := write(t, dir+"/yagura.yml", fmt.Sprintf("rules: {pack: false, files: [%s]}\n",
		write(t, dir+"/rules.yaml", strings.ReplaceAll("- rule: Unusual"+rule, "%%", "%"))))
	y := yagura(t, "--config.file="+config).await(t).ready(t)
	hits := func(p page) float64 { return p.sum("yagura_rule_hits_total", "rule", "Unusual") }
	lost := func(p page) float64 { return p.sum("yagura_events_lost_total", "kind", "syscall") }
	before := y.scrape(t, "/metrics")
	if err := y.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	done, _ := act(t, "personality", "-", n, 0)
	if err := y.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var after page
	eventually(t, "all that was not lost has arrived", func() bool {
		after = y.scrape(t, "/metrics")
		return hits(after)-hits(before)+lost(after)-lost(before) >= float64(done)
	})
	received, gone := hits(after)-hits(before), lost(after)-lost(before)
	t.Logf("%d calls, %v received, %v lost", done, received, gone)
	if done != n || gone == 0 || received == 0 {
		t.Errorf("%d calls of %d, %v received, %v lost: want some of each", done, n, received, gone)
	}
	if received+gone > float64(done)+10 { // container runtimes make it now and then
		t.Errorf("%v received and %v lost of %d calls", received, gone, done)
	}
}
