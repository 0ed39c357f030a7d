package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Real servers and clients are asked known things a known number of times, and what the series say is compared with that.
// Each server and each client is a systemd service to the program: a control group of a name of its own.

// A realService is one server, its client, and what the series must say afterwards.
type realService struct {
	name   string
	start  func(t *testing.T, s *realSite)                 // starts the server; it listens when start returns
	load   func(t *testing.T, s *realSite)                 // asks
	counts func(n map[string]float64)                      // name{labels} and how many, exactly
	within map[string][2]time.Duration                     // name{labels} and where its median is: a busy machine takes longer than asked
	check  func(t *testing.T, s *realSite, before, p page) // what else
}

// A realSite is where a service runs.
type realSite struct {
	y              *server
	dir, port      string
	server, client string // units
}

func (s *realSite) address() string { return "127.0.0.1:" + s.port }

// inUnit makes a command run in a control group as systemd makes it for a service.
func inUnit(t *testing.T, unit string, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir := filepath.Join(tracked(t), "system.slice", unit)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err == nil { // whoever makes it removes it, last of all who were in it
		t.Cleanup(func() { removeEmptyGroup(dir) })
	} else if !os.IsExist(err) {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `echo $$ >"$0" && exec "$@"`, dir + "/cgroup.procs", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// removeEmptyGroup waits for the last task to be gone.
func removeEmptyGroup(dir string) {
	for range 200 {
		if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// serve starts a server in its unit and returns when it listens at the site's port.
func (s *realSite) serve(t *testing.T, name string, args ...string) {
	t.Helper()
	s.serveAs(t, nil, name, args...)
}

func (s *realSite) serveAs(t *testing.T, as *user.User, name string, args ...string) {
	t.Helper()
	needsProgram(t, name)
	if as != nil {
		name, args = "setpriv", append([]string{"--reuid", as.Uid, "--regid", as.Gid, "--clear-groups", name}, args...)
	}
	cmd := inUnit(t, s.server, name, args...)
	cmd.Dir = s.dir
	var out text
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%.4000s", s.name(), out.String())
		}
	})
	eventually(t, s.server+" listens", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", name, err, out.String())
		default:
		}
		return listensAt(s.port)
	})
}

func (s *realSite) name() string { return s.server }

// listensAt looks for a listening socket without connecting to it.
func listensAt(port string) bool {
	n, err := strconv.Atoi(port)
	if err != nil {
		return false
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && fields[3] == "0A" && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", n)) {
				return true
			}
		}
	}
	return false
}

// ask runs a client in its unit to its end, and returns what it printed.
func (s *realSite) ask(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := s.tryAsk(t, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%.3000s", name, args, err, out)
	}
	return out
}

func (s *realSite) tryAsk(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	needsProgram(t, name)
	cmd := inUnit(t, s.client, name, args...)
	cmd.Dir = s.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// freePort is a port that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// splitSeries reads name{label="value",…} into what page.matching takes.
func splitSeries(text string) (name string, labels []string) {
	name, rest, _ := strings.Cut(text, "{")
	for pair := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		if label, value, ok := strings.Cut(pair, "="); ok {
			labels = append(labels, label, strings.Trim(value, `"`))
		}
	}
	return name, labels
}

// median is a quantile of what was observed, from the native buckets: within 9 % by their width.
func median(p page, name string, labels ...string) (time.Duration, bool) {
	total, at := uint64(0), map[int32]int64{}
	zeros := uint64(0)
	for _, m := range p.matching(name, labels...) {
		h := m.GetHistogram()
		total += h.GetSampleCount()
		zeros += h.GetZeroCount()
		i, n, k := int32(0), int64(0), 0
		for _, span := range h.PositiveSpan {
			i += span.GetOffset()
			for range span.GetLength() {
				n += h.PositiveDelta[k]
				at[i] += n
				i++
				k++
			}
		}
	}
	if total == 0 {
		return 0, false
	}
	seen := int64(zeros)
	for i := int32(-400); i < 400; i++ {
		if seen += at[i]; seen >= int64(total+1)/2 {
			return time.Duration(pow2eighths(i) * float64(time.Second)), true
		}
	}
	return 0, false
}

// TestRequestsOfRealServers is the truth about layer 7: all that a user would run.
func TestRequestsOfRealServers(t *testing.T) {
	needsKernel(t)
	// A broker is asked more kinds of things than one workload may show by default.
	y := yagura(t, "--config.file="+write(t, public(t)+"/yagura.yml", "limits: {workload: 1000}\nrequests: {body_sizes: true}\n")).await(t).ready(t)
	for i, service := range slices.Concat(realServices, brokerServices) {
		t.Run(service.name, func(t *testing.T) {
			s := &realSite{y: y, dir: public(t), port: freePort(t),
				server: fmt.Sprintf("real%d-%s-server.service", i, service.name), client: fmt.Sprintf("real%d-%s-client.service", i, service.name)}
			service.start(t, s)
			before := y.scrape(t, "/metrics")
			service.load(t, s)
			want := map[string]float64{}
			service.counts(want)
			var p page
			agrees := func() bool {
				for series, n := range want {
					name, labels := s.series(series)
					if p.sum(name, labels...)-before.sum(name, labels...) != n {
						return false
					}
				}
				return true
			}
			for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				if p = y.scrape(t, "/metrics"); agrees() {
					break
				}
			}
			for series, n := range want {
				name, labels := s.series(series)
				if got := p.sum(name, labels...) - before.sum(name, labels...); got != n {
					t.Errorf("%s = %v, want %v", series, got, n)
				}
			}
			for series, between := range service.within {
				name, labels := s.series(series)
				if got, ok := median(p, name, labels...); !ok || got < between[0] || got > between[1] {
					t.Errorf("the median of %s is %v, want %v to %v", series, got, between[0], between[1])
				}
			}
			if service.check != nil {
				service.check(t, s, before, p)
			}
			if t.Failed() {
				s.describe(t, p)
			}
		})
	}
}

// series names the unit that a series is about: the server's of what servers count, else the client's.
func (s *realSite) series(text string) (name string, labels []string) {
	name, labels = splitSeries(text)
	unit := s.client
	if strings.Contains(name, "_server_") {
		unit = s.server
	}
	return name, append(labels, "unit", unit)
}

// describe prints all that was counted for the service.
func (s *realSite) describe(t *testing.T, p page) {
	t.Helper()
	for name, family := range p {
		if !strings.Contains(name, "duration_seconds") || !(strings.HasPrefix(name, "http") || strings.HasPrefix(name, "rpc") ||
			strings.HasPrefix(name, "db") || strings.HasPrefix(name, "messaging") || strings.HasPrefix(name, "dns") || strings.Contains(name, "exchange")) {
			continue
		}
		for _, m := range family.Metric {
			var labels []string
			ours := false
			for _, l := range m.Label {
				if l.GetValue() != "" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				ours = ours || l.GetName() == "unit" && (l.GetValue() == s.server || l.GetValue() == s.client)
			}
			if ours {
				t.Logf("%s{%s} %d", name, strings.Join(labels, ","), m.GetHistogram().GetSampleCount())
			}
		}
	}
	for _, m := range p["yagura_l7_unmatched_total"].GetMetric() {
		if m.GetCounter().GetValue() > 0 {
			t.Logf("unmatched %v: %v", m.Label, m.GetCounter().GetValue())
		}
	}
}

// TestRequestsBetweenContainers has one container ask another, and looks for both names, the edge between them, and the
// connection with its process.
func TestRequestsBetweenContainers(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	y := yagura(t, "--config.file="+write(t, c.dir+"/yagura.yml",
		fmt.Sprintf("containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}\n", c.socket()))).await(t).ready(t)
	run := func(name, does string) {
		c.ctr(t, "run", "--snapshotter", "native", "--net-host", "--detach", testImage, name, "/guest", "5m", does)
	}
	run("web", "serve")
	eventually(t, "the server listens", func() bool { return listensAt("18473") })
	run("shop", "ask")
	const asked = 25
	agree := func() bool {
		p := y.scrape(t, "/metrics")
		return p.sum("http_server_request_duration_seconds", "container", "web", "http_route", "/orders/{id}", "http_response_status_code", "200") == asked &&
			p.sum("http_client_request_duration_seconds", "container", "shop", "http_request_method", "GET") == asked &&
			p.sum("yagura_service_edge_requests_total", "client", "shop", "server", "web", "protocol", "http") == asked
	}
	t.Cleanup(func() {
		if t.Failed() {
			p := y.scrape(t, "/metrics")
			for _, name := range []string{"http_server_request_duration_seconds", "http_client_request_duration_seconds", "yagura_service_edge_requests_total"} {
				for _, m := range p[name].GetMetric() {
					t.Logf("%s %v: %v %v", name, m.Label, m.GetHistogram().GetSampleCount(), m.GetCounter().GetValue())
				}
			}
		}
	})
	eventually(t, "both sides and the edge say 25", agree)
	code, body := y.status(t, "GET", "/api/yagura/connections?container=web&limit=50")
	if code != 200 || !strings.Contains(body, `"protocol":"http"`) || !strings.Contains(body, "guest") {
		t.Errorf("connections of web: %d: %.2000s", code, body)
	}
	for _, path := range []string{"/metrics", "/api/yagura/connections", "/api/yagura/requests"} {
		if _, body := y.status(t, "GET", path); strings.Contains(body, "correct-horse") {
			t.Errorf("%s shows what was in a query string", path)
		}
	}
}

// TestRequestsUnderAttack sends a server what nobody should: noise, heads without end, connections that say nothing, and a
// hundred thousand paths. What is answered is counted exactly, and the bounds hold.
func TestRequestsUnderAttack(t *testing.T) {
	needsKernel(t)
	y := yagura(t).await(t).ready(t)
	s := &realSite{y: y, dir: public(t), port: freePort(t), server: "attacked.service"}
	s.serve(t, ourselves(t), "-test.run=^TestSlowServer$", "slow-server="+s.address())

	noise := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		c := dial(t, s.address())
		junk := make([]byte, 1+noise.IntN(3000))
		for k := range junk {
			junk[k] = byte(noise.Uint32())
		}
		switch i % 3 {
		case 0: // noise
			_, _ = c.Write(junk)
		case 1: // half of a request
			_, _ = io.WriteString(c, "GET /half HTTP/1.1\r\nHos")
		} // or nothing at all
		c.Close()
	}
	long := dial(t, s.address())
	_, _ = io.WriteString(long, "GET /long HTTP/1.1\r\nHost: truth\r\nCookie: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	answer(t, bufio.NewReader(long))
	long.Close()

	const paths, batch = 100_000, 50
	c := dial(t, s.address())
	r := bufio.NewReader(c)
	for i := 0; i < paths; i += batch {
		var text strings.Builder
		for k := range batch {
			fmt.Fprintf(&text, "GET /%s HTTP/1.1\r\nHost: truth\r\n\r\n", word(i+k))
		}
		if _, err := io.WriteString(c, text.String()); err != nil {
			t.Fatal(err)
		}
		for range batch {
			answer(t, r)
		}
	}
	c.Close()

	const name = "http_server_request_duration_seconds"
	var p page
	eventually(t, "every answered request is counted", func() bool {
		p = y.scrape(t, "/metrics")
		return p.sum(name, "unit", s.server, "http_response_status_code", "200") == paths+1
	})
	routes := map[string]bool{}
	for _, m := range p.matching(name, "unit", s.server) {
		for _, l := range m.Label {
			if l.GetName() == "http_route" {
				routes[l.GetValue()] = true
			}
		}
	}
	if len(routes) > 12 { // ten, other, and none
		t.Errorf("%d routes are told apart: %v", len(routes), routes)
	}
	now, most := resident(t, y.cmd.Process.Pid)
	t.Logf("resident: %d MiB now, %d MiB at most", now>>20, most>>20)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(t *testing.T, r *bufio.Reader) {
	t.Helper()
	response, err := http.ReadResponse(r, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// word spells a number in letters, so that nothing of it folds.
func word(n int) string {
	var text []byte
	for range 6 {
		text = append(text, byte('a'+n%26))
		n /= 26
	}
	return string(text)
}
