package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter"
)

var update = flag.Bool("update", false, "write exporter/METRICS.md anew")

// nobody owns no file and has no capability.
const nobody = 65534

func TestMain(m *testing.M) { testscript.Main(cleanly{m}, map[string]func(){"yagura": main}) }

// cleanly removes the program that the tests built.
type cleanly struct{ m *testing.M }

func (c cleanly) Run() int {
	defer func() {
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
	}()
	return c.m.Run()
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary builds the program as it is shipped, without cgo, where everybody may run it.
func binary(t *testing.T) string {
	t.Helper()
	needsProgram(t, "go")
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "yagura-test"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", built.dir+"/yagura", ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build the program: %w\n%s", err, out)
		}
		built.err = errors.Join(built.err, os.Chmod(built.dir, 0o755))
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir + "/yagura"
}

// public makes a directory that everybody may read.
func public(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(binary(t)), "public")
	if err := errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func needsProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s: %v", name, err)
		}
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, time.Minute, what, done)
}

// within is eventually, for so long.
func within(t *testing.T, patience time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("after %s it is not so that %s", patience, what)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// text is what a process has written so far.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *text) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *text) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// A server is a process that listens on loopback and says where in its log, as Yagura and Prometheus both do.
type server struct {
	attr   *syscall.SysProcAttr // dies with us by default
	cmd    *exec.Cmd
	log    text
	client *http.Client
	scheme string
	user   *url.Userinfo
	addr   string
	ended  chan struct{}
	err    error // of Wait, once ended
}

var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// launch starts the process; the test ends it.
func (s *server) launch(t *testing.T, name string, args ...string) *server {
	t.Helper()
	s.cmd = exec.Command(name, args...)
	s.cmd.SysProcAttr = cmp.Or(s.attr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if s.client == nil {
		s.client, s.scheme = &http.Client{Transport: &http.Transport{}}, "http"
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.end(t, syscall.SIGTERM)
		if t.Failed() {
			log := s.log.String()
			t.Logf("%s said:\n%s", filepath.Base(name), log[max(0, len(log)-6000):])
		}
	})
	return s
}

// end stops the process, and tells how it went.
func (s *server) end(t *testing.T, sig syscall.Signal) error {
	t.Helper()
	_ = s.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		t.Errorf("%s still runs 30 s after %v", s.cmd.Path, sig)
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	return s.err
}

// await returns when the process listens, or fails the test if it ended instead.
func (s *server) await(t *testing.T) *server {
	t.Helper()
	eventually(t, "the process listens", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("ended before it listened: %v\n%s", s.err, s.log.String())
		default:
		}
		found := listening.FindStringSubmatch(s.log.String())
		if found == nil {
			return false
		}
		s.addr = found[1]
		return true
	})
	return s
}

// yagura starts the program on a free port.
func yagura(t *testing.T, args ...string) *server {
	t.Helper()
	return new(server).launch(t, binary(t), commandLine(args...)...)
}

// commandLine has the program run on a free port. It watches no files unless an argument speaks of that: it would look at this
// whole machine, and only one can have the baseline of its default place. Nor does it judge its posture, for the time that takes.
func commandLine(args ...string) []string {
	for _, part := range []string{"fim", "posture"} {
		if !strings.Contains(strings.Join(args, " "), part) {
			args = append(args, "--no-collector."+part)
		}
	}
	return append([]string{"run", "--web.listen-address=127.0.0.1:0"}, args...)
}

func (s *server) request(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.scheme+"://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.user != nil {
		password, _ := s.user.Password()
		r.SetBasicAuth(s.user.Username(), password)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func (s *server) status(t *testing.T, method, path string, header ...string) (int, string) {
	t.Helper()
	response := s.request(t, method, path, header...)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func (s *server) ready(t *testing.T) *server {
	t.Helper()
	eventually(t, "it is ready", func() bool { code, _ := s.status(t, "GET", "/-/ready"); return code == 200 })
	return s
}

// A page is one scrape.
type page map[string]*dto.MetricFamily

const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

func (s *server) scrape(t *testing.T, path string) page {
	t.Helper()
	response := s.request(t, "GET", path, "Accept", protobuf)
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Fatalf("GET %s: %s", path, response.Status)
	}
	p, d := page{}, expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header))
	for {
		family := &dto.MetricFamily{}
		if err := d.Decode(family); errors.Is(err, io.EOF) {
			return p
		} else if err != nil {
			t.Fatal(err)
		}
		p[family.GetName()] = family
	}
}

// matching returns the series of a family with these labels, given as name, value, …
func (p page) matching(name string, labels ...string) []*dto.Metric {
	var list []*dto.Metric
	for _, m := range p[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.Label {
			have[l.GetName()] = l.GetValue()
		}
		all := true
		for i := 0; i < len(labels); i += 2 {
			all = all && have[labels[i]] == labels[i+1]
		}
		if all {
			list = append(list, m)
		}
	}
	return list
}

func (p page) sum(name string, labels ...string) float64 {
	sum := 0.0
	for _, m := range p.matching(name, labels...) {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return sum
}

func (p page) series() int {
	n := 0
	for _, f := range p {
		n += len(f.Metric)
	}
	return n
}

// A sample is one value of the HTTP API of Prometheus.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
	Values [][2]any          `json:"values"`
}

// query asks the API, of Yagura or of Prometheus.
func (s *server) query(t *testing.T, expr string) []sample {
	t.Helper()
	code, body := s.status(t, "GET", "/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct {
		Status string `json:"status"`
		Data   struct {
			Result []sample `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("query %s: %d: %v: %s", expr, code, err, body)
	}
	return answer.Data.Result
}

func TestReferenceIsCurrent(t *testing.T) {
	p := &program{node: &exporter.Node{Agent: &bpf.Agent{}}, flags: &exporter.CommandLine{}}
	var got bytes.Buffer
	if err := exporter.WriteReference(&got, p.collectors()); err != nil {
		t.Fatal(err)
	}
	const path = "exporter/METRICS.md"
	if *update {
		write(t, path, got.String())
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s is not what the code says: run `go test . -run Reference -update`", path)
	}
}

var scripts = map[string]string{
	"help": `
yagura --help
stdout '^usage: yagura '
stdout '--config.file'
stdout '--store.path'
yagura --help-long
stdout '^run$'
stdout '--\[no-\]collector.tcp'
stdout '^query '
yagura --version
stdout '^yagura, version'
! yagura --no-such-flag
stderr '^yagura: unknown long flag ''--no-such-flag'''
! yagura no-such-command
stderr '^yagura: '
yagura metrics
stdout '^# Metrics$'
stdout '` + "`yagura_container_info`" + `'
`,
	"check": `
yagura check
stdout '^the defaults: ok$'
yagura check --config.file=good.yml
stdout '^good.yml: ok$'
! stderr .
yagura check --config.file=empty.yml
stdout '^empty.yml: ok$'
! yagura check --config.file=key.yml
stderr '^yagura: key.yml:3:3: unknown field "worklods"'
! yagura check --config.file=part.yml
stderr '^yagura: part.yml:1:1: unknown field "kernal"'
! yagura check --config.file=type.yml
stderr '^yagura: type.yml:2:14: want int, not string'
! yagura check --config.file=range.yml
stderr '^yagura: range.yml: kernel.workloads: 1: want 16 to 8192'
yagura check --config.file=posture.yml
stdout '^posture.yml: ok$'
! yagura check --config.file=interval.yml
stderr '^yagura: interval.yml: posture: interval: 1s: want at least 1m0s'
! yagura check --config.file=waiver.yml
stderr '^yagura: posture: waivers: entry 1: there is no check ssh-rot-login'
yagura check --no-collector.posture --config.file=waiver.yml
! yagura check --config.file=syntax.yml
stderr '^yagura: syntax.yml:1:9: '
! yagura check --config.file=absent.yml
stderr '^yagura: read the configuration: open absent.yml: no such file or directory'
! yagura check --config.file=.
stderr '^yagura: read the configuration: read .: is a directory'

-- good.yml --
kernel:
  workloads: 64
  syscall_latency: true
processes:
  linger: 10s
containers:
  containerd: [/run/elsewhere.sock]
  limits: {keep: 30s}
store:
  retention: 24h
  max_size: 1GB
limits:
  node: 30000
-- empty.yml --
# kernel:
#   workloads: 64
-- key.yml --
kernel:
  workloads: 64
  worklods: 64
-- part.yml --
kernal: {}
-- type.yml --
kernel:
  workloads: many
-- range.yml --
kernel:
  workloads: 1
-- posture.yml --
posture:
  interval: 30m
  frameworks: [cis, nist_800_53]
  except: ["desktop-*"]
  waivers:
    - {check: ssh-root-login, objects: all, reason: retired in May, owner: alice, until: 2027-05-31}
-- interval.yml --
posture: {interval: 1s}
-- waiver.yml --
posture:
  waivers: [{check: ssh-rot-login, objects: all, reason: retired in May, owner: alice, until: 2027-05-31}]
-- syntax.yml --
kernel: [
`,
	"query": `
! yagura query --url=http://127.0.0.1:1 up
stderr '^yagura: query http://127.0.0.1:1: .*connection refused'
! yagura query --url=http://127.0.0.1:1 --start=never up
stderr '^yagura: --start: "never": want RFC 3339'
! yagura query
stderr 'no expression given'
`,
	"replay": `
! yagura replay absent
stderr '^yagura: replay: stat absent: no such file or directory'
mkdir torn
cp torn.jsonl torn/snapshot.jsonl
! yagura replay torn
stderr '^yagura: replay torn/snapshot.jsonl: '

-- torn.jsonl --
{"kind":
`,
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	for name, script := range scripts {
		write(t, filepath.Join(dir, name+".txtar"), script)
	}
	testscript.Run(t, testscript.Params{Dir: dir})
}

// always are the families that are there from the start; yagura_container_info comes with the first container.
var always = []string{
	"yagura_syscalls_total", "yagura_syscall_errors_total", "yagura_process_execs_total", "yagura_process_exits_total",
	"yagura_tcp_connects_total", "yagura_tcp_connect_duration_seconds", "yagura_tcp_retransmits_total",
	"yagura_network_bytes_total", "yagura_events_lost_total", "yagura_probe_attached", "yagura_build_info",
}

// secured makes what a server with TLS and a password needs, and returns who may ask it and the arguments for it.
func secured(t *testing.T, dir string) (s *server, args []string) {
	t.Helper()
	cert, pool := certificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("tower"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	web := write(t, dir+"/web.yml", fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s}\nbasic_auth_users: {watch: '%s'}\n",
		cert, dir+"/key.pem", hash))
	write(t, dir+"/password", "tower\n")
	return &server{
		scheme: "https", user: url.UserPassword("watch", "tower"),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}, commandLine("--web.config.file=" + web)
}

// certificate writes cert.pem and key.pem for 127.0.0.1.
func certificate(t *testing.T, dir string) (path string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(t, dir+"/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	return write(t, dir+"/cert.pem", string(public)), pool
}

// needsKernel skips where no program of ours can be attached.
func needsKernel(t *testing.T) {
	t.Helper()
	needsRoot(t)
	if !slices.ContainsFunc(capabilities(t, os.Getpid()), func(c int) bool { return c == unix.CAP_BPF }) {
		t.Skip("needs CAP_BPF")
	}
}

// capabilities returns the numbers of those that a process has in effect.
func capabilities(t *testing.T, pid int) []int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for c := range 64 {
		if mask&(1<<c) != 0 {
			list = append(list, c)
		}
	}
	return list
}

func TestNode(t *testing.T) {
	needsKernel(t)
	dir := t.TempDir()
	config := dir + "/yagura.yml"
	const plain = "store: {scrape_interval: 1s}\n"
	write(t, config, plain)
	y, args := secured(t, dir)
	args = append(args, "--store.path="+dir+"/data", "--config.file="+config)
	program := binary(t)
	began := time.Now()
	y.launch(t, program, args...).await(t).ready(t)
	t.Logf("start to ready: %v", time.Since(began).Round(time.Millisecond))

	t.Run("asks for the password", func(t *testing.T) {
		stranger := &server{client: y.client, scheme: y.scheme, addr: y.addr}
		for _, path := range []string{"/", "/metrics", "/-/ready", "/api/v1/query?query=up"} {
			if code, _ := stranger.status(t, "GET", path); code != http.StatusUnauthorized {
				t.Errorf("GET %s without a password: %d, want 401", path, code)
			}
		}
	})

	t.Run("answers at its paths", func(t *testing.T) {
		for _, test := range []struct {
			method, path string
			code         int
			body         string
		}{
			{"GET", "/", 200, "Yagura"},
			{"GET", "/-/healthy", 200, "Yagura is healthy."},
			{"GET", "/-/ready", 200, "Yagura is ready."},
			{"GET", "/nowhere", 404, ""},
			{"GET", "/-/nowhere", 404, ""},
			{"GET", "/-/reload", 405, ""},
			{"GET", "/metrics?collect[]=nowhere", 400, "nowhere"},
			{"POST", "/metrics", 405, ""},
			{"GET", "/api/v1/query?query=up", 200, `"success"`},
			{"GET", "/api/v1/query?query=up{", 400, "parse error"},
		} {
			if code, body := y.status(t, test.method, test.path); code != test.code || !strings.Contains(body, test.body) {
				t.Errorf("%s %s: %d %.200q, want %d with %q", test.method, test.path, code, body, test.code, test.body)
			}
		}
	})

	t.Run("has every family", func(t *testing.T) {
		var p page
		for _, name := range always {
			// A control group's series wait until it is known whether it is a container's.
			eventually(t, name+" is there", func() bool { p = y.scrape(t, "/metrics"); return len(p[name].GetMetric()) > 0 })
		}
		for _, c := range p["yagura_scrape_collector_success"].GetMetric() {
			if c.GetGauge().GetValue() != 1 {
				t.Errorf("collector failed: %v", c.Label)
			}
		}
		for _, probe := range p["yagura_probe_attached"].GetMetric() {
			if probe.GetGauge().GetValue() != 1 {
				t.Logf("refused here: %v", probe.Label)
			}
		}
	})

	t.Run("shows a native histogram", func(t *testing.T) {
		listener := listen(t)
		before := y.scrape(t, "/metrics").sum("yagura_tcp_connect_duration_seconds")
		for range 10 {
			c, err := net.Dial("tcp", listener)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		var h *dto.Histogram
		eventually(t, "ten connections are counted", func() bool {
			p := y.scrape(t, "/metrics")
			if host := p.matching("yagura_tcp_connect_duration_seconds", "container", "", "unit", ""); len(host) == 1 {
				h = host[0].Histogram
			}
			return p.sum("yagura_tcp_connect_duration_seconds") >= before+10
		})
		var spans uint32
		for _, s := range h.PositiveSpan {
			spans += s.GetLength()
		}
		if h.GetSchema() != 0 || spans == 0 || len(h.Bucket) == 0 {
			t.Errorf("histogram = %v, want native buckets of schema 0 and classic ones", h)
		}
	})

	t.Run("shows only what is asked for", func(t *testing.T) {
		p := y.scrape(t, "/metrics?collect[]=tcp")
		if p["yagura_tcp_connects_total"] == nil || p["yagura_process_execs_total"] != nil || p["yagura_build_info"] != nil {
			t.Errorf("families = %v, want those of tcp", slices.Sorted(maps.Keys(p)))
		}
	})

	t.Run("passes promtool", func(t *testing.T) {
		needsProgram(t, "promtool")
		_, text := y.status(t, "GET", "/metrics")
		lint := exec.Command("promtool", "check", "metrics")
		lint.Stdin = strings.NewReader(text)
		out, err := lint.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Errorf("promtool: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if !strings.HasPrefix(line, "node_") { // those names are node_exporter's, and so is what promtool says of them
				t.Errorf("promtool: %s", line)
			}
		}
	})

	t.Run("keeps only the capabilities that it needs", func(t *testing.T) {
		want := []int{unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE, unix.CAP_PERFMON, unix.CAP_BPF}
		slices.Sort(want)
		if got := capabilities(t, y.cmd.Process.Pid); !slices.Equal(got, want) {
			t.Errorf("effective capabilities = %v, want %v", got, want)
		}
	})

	t.Run("reloads", func(t *testing.T) { testReload(t, y, config, plain) })

	t.Run("answers questions on the command line", func(t *testing.T) {
		ask := exec.Command(program, "query", "--url=https://"+y.addr, "--ca-file="+dir+"/cert.pem",
			"--user=watch", "--password-file="+dir+"/password", "up")
		var out []byte
		eventually(t, "up is 1", func() bool {
			again := *ask
			out, _ = again.CombinedOutput()
			return regexp.MustCompile(`(?m)\byagura\b.*\b1$`).Match(out)
		})
		t.Logf("yagura query up:\n%s", out)
	})

	t.Run("is scraped by Prometheus", func(t *testing.T) { testPrometheus(t, y, dir) })

	t.Run("keeps samples over a crash", func(t *testing.T) {
		const asked = `yagura_process_execs_total{container="",unit=""}[10m]`
		eventually(t, "there are some samples", func() bool {
			r := y.query(t, asked)
			return len(r) == 1 && len(r[0].Values) >= 5
		})
		before := y.query(t, asked)[0].Values
		y.end(t, syscall.SIGKILL)

		z, _ := secured(t, dir)
		began := time.Now()
		z.launch(t, program, args...).await(t).ready(t)
		t.Logf("start to ready after kill -9: %v", time.Since(began).Round(time.Millisecond))
		last := before[len(before)-1][0].(float64)
		eventually(t, "there are newer samples", func() bool {
			r := z.query(t, asked)
			return len(r) == 1 && r[0].Values[len(r[0].Values)-1][0].(float64) > last
		})
		after := z.query(t, asked)[0].Values
		for _, s := range before {
			if !slices.Contains(after, s) {
				t.Errorf("sample %v was there before kill -9, and is lost", s)
			}
		}
		t.Logf("%d samples before kill -9, %d after", len(before), len(after))
		if r := z.query(t, `histogram_count(yagura_tcp_connect_duration_seconds{container="",unit=""})`); len(r) == 0 {
			t.Error("the store has no native histogram")
		}
	})
}

// listen accepts connections until the test ends.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

func testReload(t *testing.T, y *server, config, plain string) {
	successful := func() float64 { return y.scrape(t, "/metrics").sum("yagura_config_last_reload_successful") }
	if successful() != 1 {
		t.Error("the load at the start does not count as a success")
	}
	write(t, config, plain+"kernel:\n  worklods: 1\n")
	if code, body := y.status(t, "POST", "/-/reload"); code != 500 || !strings.Contains(body, config+":3:3: unknown field") {
		t.Errorf("reload of a broken configuration: %d %q", code, body)
	}
	if successful() != 0 {
		t.Error("a reload that failed counts as a success")
	}
	if code, _ := y.status(t, "GET", "/-/ready"); code != 200 {
		t.Errorf("ready after a broken reload: %d, want 200", code)
	}
	// This attaches another program, with what capabilities are left.
	write(t, config, plain+"kernel:\n  syscall_latency: true\n")
	if code, body := y.status(t, "POST", "/-/reload"); code != 200 {
		t.Errorf("reload: %d %q", code, body)
	}
	if successful() != 1 {
		t.Error("a reload that went well does not count as a success")
	}
	eventually(t, "the latency of system calls is measured", func() bool {
		return y.scrape(t, "/metrics").sum("yagura_syscall_duration_seconds") > 0
	})
	hangup := func() {
		if err := y.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write(t, config, "]")
	hangup()
	eventually(t, "SIGHUP has failed to reload", func() bool { return successful() == 0 })
	eventually(t, "the log says so", func() bool { return strings.Contains(y.log.String(), "configuration not reloaded") })
	write(t, config, plain)
	hangup()
	eventually(t, "SIGHUP has reloaded", func() bool { return successful() == 1 })
}

// prometheus starts Debian's server, which scrapes with the given part of a job. Its target has labels that ours must not
// give way to.
func prometheus(t *testing.T, target, job string) *server {
	t.Helper()
	needsProgram(t, "prometheus")
	dir := t.TempDir()
	config := write(t, dir+"/prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: yagura
    honor_labels: true
    static_configs:
      - targets: [%q]
        labels: {namespace: scraper, pod: scraper, container: scraper, unit: scraper}
%s`, target, job))
	return new(server).launch(t, "prometheus", "--config.file="+config, "--storage.tsdb.path="+dir+"/data",
		"--web.listen-address=127.0.0.1:0", "--enable-feature=native-histograms").await(t).ready(t)
}

func testPrometheus(t *testing.T, y *server, dir string) {
	p := prometheus(t, y.addr, fmt.Sprintf(`
    scheme: https
    tls_config: {ca_file: %s}
    basic_auth: {username: watch, password_file: %s}
`, dir+"/cert.pem", dir+"/password"))
	var host []sample
	eventually(t, "Prometheus has scraped", func() bool {
		host = p.query(t, "yagura_process_execs_total")
		return len(host) > 0
	})
	for _, s := range host {
		for _, label := range []string{"namespace", "pod", "container", "unit"} {
			if s.Metric[label] == "scraper" {
				t.Errorf("%v has the target's %s", s.Metric, label)
			}
		}
	}
	if up := p.query(t, "up"); len(up) != 1 || up[0].Value[1] != "1" {
		t.Errorf("up = %v, want 1", up)
	}
	if h := p.query(t, "histogram_count(yagura_tcp_connect_duration_seconds)"); len(h) == 0 {
		t.Error("Prometheus has no native histogram")
	}
}

// guest is the only program of the test image. It lives for as long as its argument says, and knocks at a closed port; or
// does what its second argument says: burn two processors, eat memory, listen and never accept, serve pages or ask for some.
const guest = `package main

import (
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

func burn() {
	runtime.GOMAXPROCS(4)
	for range 2 {
		go func() {
			for {
			}
		}()
	}
}

func eat() {
	hold := make([]byte, 256<<20)
	for i := 0; i < len(hold); i += 4096 {
		hold[i] = 1
	}
}

// 8 clients of a socket that lets in 3.
func listen() {
	fd, _ := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	syscall.Listen(fd, 2)
	name, _ := syscall.Getsockname(fd)
	for range 8 {
		client, _ := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
		syscall.Connect(client, name)
		time.Sleep(20 * time.Millisecond)
	}
}

func steal() {
	os.Mkdir("/etc", 0o755)
	os.WriteFile("/etc/shadow", []byte("root:*:1::::::"), 0o600)
	os.ReadFile("/etc/shadow")
}

// A page of 2 bytes for whatever is asked.
func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:18473")
	if err != nil {
		os.Exit(3)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				for {
					if _, err := c.Read(make([]byte, 4096)); err != nil {
						c.Close()
						return
					}
					c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
				}
			}()
		}
	}()
}

func ask() {
	c, err := net.Dial("tcp", "127.0.0.1:18473")
	if err != nil {
		os.Exit(4)
	}
	for i := range 25 {
		c.Write([]byte("GET /orders/" + string(rune('0'+i%10)) + "?token=correct-horse HTTP/1.1\r\nHost: web\r\n\r\n"))
		c.Read(make([]byte, 4096))
	}
}

func main() {
	life, err := time.ParseDuration(os.Args[1])
	if err != nil {
		os.Exit(2)
	}
	if len(os.Args) > 2 {
		map[string]func(){"burn": burn, "eat": eat, "listen": listen, "steal": steal, "serve": serve, "ask": ask}[os.Args[2]]()
		time.Sleep(life)
		return
	}
	for end := time.Now().Add(life); time.Now().Before(end); time.Sleep(min(200*time.Millisecond, time.Until(end))) {
		if c, err := net.Dial("tcp", "127.0.0.1:1"); err == nil {
			c.Close()
		}
	}
}
`

const testImage = "docker.io/library/yagura-end-to-end:1"

// A containerd is a runtime of our own, beside any the machine has.
type containerd struct{ dir, ns string }

func startContainerd(t *testing.T) *containerd {
	t.Helper()
	needsProgram(t, "containerd", "ctr", "runc", "go")
	dir, err := os.MkdirTemp("", "ye") // not t.TempDir: the name of a unix socket has room for 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	c := &containerd{dir, fmt.Sprintf("yagura-e2e-%d", os.Getpid())}
	config := write(t, dir+"/config.toml", fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
`, dir+"/root", dir+"/state", c.socket()))
	t.Cleanup(func() { removeGroups(t, c.ns); os.RemoveAll(dir) })
	new(server).launch(t, "containerd", "--config", config)
	t.Cleanup(func() { c.removeContainers(t) })
	eventually(t, "containerd answers", func() bool { return exec.Command("ctr", "-a", c.socket(), "version").Run() == nil })
	c.importImage(t)
	return c
}

func (c *containerd) socket() string { return c.dir + "/c.sock" }

func (c *containerd) ctr(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ctr", append([]string{"-a", c.socket(), "-n", c.ns}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ctr %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *containerd) removeContainers(t *testing.T) {
	for _, id := range strings.Fields(c.ctr(t, "container", "list", "-q")) {
		// Those that have ended by themselves have no task.
		_ = exec.Command("ctr", "-a", c.socket(), "-n", c.ns, "task", "delete", "-f", id).Run()
		c.ctr(t, "container", "delete", id)
	}
}

// removeGroups removes the control groups below this one, in every hierarchy.
func removeGroups(t *testing.T, name string) {
	t.Helper()
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, top := range append(tops, "/sys/fs/cgroup/"+name) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			eventually(t, "nothing holds "+dir, func() bool {
				err := os.Remove(dir)
				return err == nil || errors.Is(err, os.ErrNotExist)
			})
		}
	}
}

// importImage makes an OCI image of the guest.
func (c *containerd) importImage(t *testing.T) {
	t.Helper()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", c.dir+"/guest", write(t, c.dir+"/guest.go", guest))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	c.importAs(t, testImage, "")
}

// importAs makes an image of the guest that runs as a user, root if that is empty.
func (c *containerd) importAs(t *testing.T, name, user string) {
	t.Helper()
	program, err := os.ReadFile(c.dir + "/guest")
	if err != nil {
		t.Fatal(err)
	}
	const oci = "application/vnd.oci.image."
	layer := tarball(t, map[string][]byte{"guest": program})
	config := encode(t, map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{"User": user},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}}})
	manifest := encode(t, map[string]any{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
		"config": descriptor(oci+"config.v1+json", config), "layers": []any{descriptor(oci+"layer.v1.tar", layer)}})
	top := descriptor(oci+"manifest.v1+json", manifest)
	top["annotations"] = map[string]string{"io.containerd.image.name": name}
	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": encode(t, map[string]any{"schemaVersion": 2, "manifests": []any{top}}),
	}
	for _, data := range [][]byte{layer, config, manifest} {
		files["blobs/"+strings.Replace(digest(data), ":", "/", 1)] = data
	}
	c.ctr(t, "image", "import", "--snapshotter", "native", write(t, c.dir+"/image.tar", string(tarball(t, files))))
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func descriptor(mediaType string, data []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest(data), "size": len(data)}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tarball(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg})
		if _, err2 := w.Write(data); errors.Join(err, err2) != nil {
			t.Fatal(errors.Join(err, err2))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestContainerIsNamed(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	y := yagura(t, "--config.file="+write(t, c.dir+"/yagura.yml",
		fmt.Sprintf("containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}\n", c.socket()))).await(t).ready(t)

	run := func(name, life string, more ...string) {
		c.ctr(t, append(append([]string{"run", "--snapshotter", "native", "--net-host"}, more...), testImage, name, "/guest", life)...)
	}
	run("web", "5m", "--detach")
	eventually(t, "the container's series carry its name", func() bool {
		p := y.scrape(t, "/metrics")
		return len(p.matching("yagura_container_info", "container", "web", "image", testImage)) == 1 &&
			p.sum("yagura_process_execs_total", "container", "web") > 0 &&
			p.sum("yagura_syscalls_total", "container", "web") > 0 &&
			p.sum("yagura_tcp_connects_total", "container", "web", "result", "refused") > 0
	})

	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"yagura_process_execs_total", "yagura_process_exits_total", "yagura_tcp_connects_total", "yagura_container_info"} {
				t.Logf("%s: %v", name, y.scrape(t, "/metrics").matching(name))
			}
		}
	})
	const short = 3
	for i := range short {
		run(fmt.Sprintf("short%d", i), "50ms", "--rm")
	}
	for i := range short {
		name := fmt.Sprintf("short%d", i)
		eventually(t, "the exit of "+name+" stands under its name", func() bool {
			p := y.scrape(t, "/metrics")
			// runc's own stages too: it runs itself again, before or after it enters the group.
			return p.sum("yagura_process_exits_total", "container", name, "reason", "completed") >= 1 &&
				p.sum("yagura_process_execs_total", "container", name) >= 1 &&
				p.sum("yagura_tcp_connects_total", "container", name, "result", "refused") == 1
		})
	}

	p := prometheus(t, y.addr, "")
	eventually(t, "Prometheus keeps the container's label", func() bool {
		return len(p.query(t, `yagura_process_execs_total{container="web",namespace="",pod="",unit="",job="yagura"}`)) == 1
	})
}

// cgroupNumber reads a number from a file of a container's control group, whatever the version.
func (c *containerd) cgroupNumber(t *testing.T, name string, files ...string) float64 {
	t.Helper()
	for _, file := range files { // CONTROLLER/FILE, and on version 2 FILE LINE
		controller, file, _ := strings.Cut(file, "/")
		file, line, _ := strings.Cut(file, " ")
		for _, dir := range []string{"/sys/fs/cgroup/" + controller, "/sys/fs/cgroup"} {
			text, err := os.ReadFile(filepath.Join(dir, c.ns, name, file))
			if err != nil {
				continue
			}
			if line != "" {
				_, after, _ := strings.Cut("\n"+string(text), "\n"+line+" ")
				text = []byte(strings.SplitN(after, "\n", 2)[0])
			}
			n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("container %s has none of %v", name, files)
	return 0
}

func TestWorkloadsUnderPressure(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	y := yagura(t, "--config.file="+write(t, c.dir+"/yagura.yml",
		fmt.Sprintf("containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}\n", c.socket()))).await(t).ready(t)
	run := func(name, life, what string, more ...string) {
		_, _ = exec.Command("ctr", append(append([]string{"-a", c.socket(), "-n", c.ns, "run", "--snapshotter", "native"}, more...),
			testImage, name, "/guest", life, what)...).CombinedOutput() // one that is killed is an error of ctr's
	}
	run("greedy", "5m", "burn", "--detach", "--cpu-quota", "50000", "--cpu-period", "100000")
	volume := t.TempDir()
	run("deaf", "5m", "listen", "--detach", "--mount", "type=bind,src="+volume+",dst=/data,options=bind:ro")
	const limit = 64 << 20
	run("hungry", "1s", "eat", "--rm", "--memory-limit", strconv.Itoa(limit))

	t.Run("one that is killed for its memory", func(t *testing.T) {
		eventually(t, "the kill is counted", func() bool { return y.scrape(t, "/metrics").sum("yagura_oom_kills_total", "container", "hungry") == 1 })
		eventually(t, "its end is told", func() bool {
			return y.scrape(t, "/metrics").sum("yagura_last_exit_info", "container", "hungry", "reason", "oom_killed") == 1
		})
		p := y.scrape(t, "/metrics")
		if n := p.sum("yagura_restarts_total", "container", "hungry"); n != 0 || len(p.matching("yagura_restarts_total", "container", "hungry")) != 1 {
			t.Errorf("restarts = %v, want a 0 that is there", n)
		}
		if n := p.sum("yagura_fatal_signals_total", "container", "hungry", "signal", "SIGKILL"); n < 1 {
			t.Errorf("fatal signals = %v, want SIGKILL", n)
		}
		run("hungry", "1s", "eat", "--rm", "--memory-limit", strconv.Itoa(limit))
		eventually(t, "it was started again", func() bool {
			p := y.scrape(t, "/metrics")
			return p.sum("yagura_restarts_total", "container", "hungry") == 1 && p.sum("yagura_oom_kills_total", "container", "hungry") >= 1
		})
	})
	t.Run("one whose queue overflows", func(t *testing.T) {
		eventually(t, "the overflow is counted", func() bool {
			p := y.scrape(t, "/metrics")
			return p.sum("yagura_accept_queue_overflows_total", "container", "deaf") >= 5 && // of 8 clients 3 are let in
				p.sum("yagura_accept_queue_connections", "container", "deaf") == 3 &&
				p.sum("yagura_accept_queue_limit_connections", "container", "deaf") == 2 &&
				p.sum("yagura_saturation_ratio", "container", "deaf", "resource", "accept_queue") == 1
		})
	})
	t.Run("one with a volume", func(t *testing.T) {
		var st unix.Statfs_t
		if err := unix.Statfs(volume, &st); err != nil {
			t.Fatal(err)
		}
		p := y.scrape(t, "/metrics")
		if v := p.sum("yagura_volume_size_bytes", "container", "deaf", "mountpoint", "/data"); v != float64(st.Blocks)*float64(st.Bsize) {
			t.Errorf("the volume has %v bytes, want %v", v, float64(st.Blocks)*float64(st.Bsize))
		}
		if n := len(p.matching("yagura_volume_size_bytes", "container", "deaf")); n != 1 {
			t.Errorf("%d volumes, want the one: %v", n, p.matching("yagura_volume_size_bytes", "container", "deaf"))
		}
	})
	t.Run("one that wants four times its quota", func(t *testing.T) {
		cpu := func() float64 {
			return c.cgroupNumber(t, "greedy", "cpuacct/cpuacct.usage", "/cpu.stat usage_usec")
		}
		p, file, began := y.scrape(t, "/metrics"), cpu(), time.Now()
		var ratio float64
		eventually(t, "its saturation is known and a quarter of a minute has passed", func() bool {
			ratio = y.scrape(t, "/metrics").sum("yagura_saturation_ratio", "container", "greedy", "resource", "cpu")
			return ratio > 0.5 && time.Since(began) > 15*time.Second
		})
		q, fileNow, seconds := y.scrape(t, "/metrics"), cpu(), time.Since(began).Seconds()
		unit := 1e-9
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			unit = 1e-6
		}
		increase := func(name string) float64 {
			return q.sum(name, "container", "greedy") - p.sum(name, "container", "greedy")
		}
		used, told := increase("yagura_cpu_seconds_total"), (fileNow-file)*unit
		waited := q.observed(t, "yagura_run_queue_latency_seconds", "greedy") - p.observed(t, "yagura_run_queue_latency_seconds", "greedy")
		t.Logf("in %.1f s: used %.3f s, its file says %.3f; waited %.3f s; saturation %.3f", seconds, used, told, waited, ratio)
		// A busy machine leaves it less than its quota, never more.
		if math.Abs(used-told) > 0.05*told+0.1 || used > 0.55*seconds+0.1 || used == 0 {
			t.Errorf("used %.3f s in %.1f s, want at most half a processor and what the file says: %.3f s", used, seconds, told)
		}
		// Two threads want two processors and get half of one: three quarters of the time they wait, and longer where
		// others are busy too or Go's own threads wake up. The ratio is of another stretch of time than the counters.
		if want := waited / (waited + used); ratio < 0.70 || math.Abs(ratio-want) > 0.1 {
			t.Errorf("saturation = %.3f, want 0.75 at least, and %.3f as the counters have it", ratio, want)
		}
		if v := q.sum("yagura_cpu_limit_cores", "container", "greedy"); v != 0.5 {
			t.Errorf("limit = %v processors, want 0.5", v)
		}
		if n := increase("yagura_cpu_throttled_periods_total"); n < 1 {
			t.Errorf("%v periods were throttled, want some of 150", n)
		}
		at := q.sum("yagura_start_time_seconds", "container", "greedy")
		if since := float64(time.Now().Unix()) - at; since < 10 || since > 600 {
			t.Errorf("it began %v s ago", since)
		}
	})
}

// TestFiftyContainersWithEverythingOn bounds what a full node costs in series, and prints the rest of the price.
func TestFiftyContainersWithEverythingOn(t *testing.T) {
	needsKernel(t)
	const n = 50
	c := startContainerd(t)
	y := yagura(t, "--collector.node", "--collector.posture", "--config.file="+write(t, c.dir+"/yagura.yml", fmt.Sprintf("kernel: {program_stats: true}\n"+
		"containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}\n", c.socket()))).await(t).ready(t)
	var all sync.WaitGroup
	names := make(chan string)
	for range 2 {
		all.Go(func() {
			for name := range names {
				c.ctr(t, "run", "--snapshotter", "native", "--detach", testImage, name, "/guest", "10m", "listen")
			}
		})
	}
	for i := range n {
		names <- fmt.Sprintf("full%02d", i)
	}
	close(names)
	all.Wait()
	complete := func() (missing string) {
		p := y.scrape(t, "/metrics")
		for i := range n {
			for _, resource := range []string{"cpu", "memory", "io", "pids", "accept_queue"} {
				if len(p.matching("yagura_saturation_ratio", "container", fmt.Sprintf("full%02d", i), "resource", resource)) == 0 {
					return fmt.Sprintf("full%02d %s", i, resource)
				}
			}
		}
		return ""
	}
	missing := ""
	t.Cleanup(func() { t.Log("missing:", missing) })
	eventually(t, "every container has every saturation", func() bool { missing = complete(); return missing == "" })
	y.judged(t, 0)
	const scrapes = 10
	before, began := y.scrape(t, "/metrics"), time.Now()
	for range scrapes {
		time.Sleep(210 * time.Millisecond) // longer than one reading serves
		y.scrape(t, "/metrics")
	}
	took := time.Since(began)/scrapes - 210*time.Millisecond
	p := y.scrape(t, "/metrics")
	series := 0
	for _, f := range p {
		for _, m := range f.Metric {
			series++
			if h := m.Histogram; h != nil {
				series += len(h.Bucket) + 1
			}
		}
	}
	cpu := p.sum("process_cpu_seconds_total") - before.sum("process_cpu_seconds_total")
	t.Logf("%d containers: %d series, %s a scrape, %.1f ms of CPU a scrape with all else it did in that time, %.1f MiB resident", n, series, took,
		cpu/(scrapes+1)*1e3, p.sum("process_resident_memory_bytes")/(1<<20))
	if series > 18_000 {
		t.Errorf("%d series, want at most 18000", series)
	}
	if folded := p.sum("yagura_series_folded_total"); folded > 0 {
		t.Errorf("%v label sets were folded", folded)
	}
}

// observed is the sum of a histogram's observations.
func (p page) observed(t *testing.T, name, container string) (sum float64) {
	t.Helper()
	for _, m := range p.matching(name, "container", container) {
		sum += m.GetHistogram().GetSampleSum()
	}
	return sum
}

func TestRecordAndReplay(t *testing.T) {
	needsKernel(t)
	const secret = "hunter2"
	dir := t.TempDir()
	// One that runs when the snapshot is taken.
	old := exec.Command("/bin/sh", "-c", "read line", "sh", "--password="+secret)
	stdin, err := old.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); _ = old.Wait() }()

	y := yagura(t, "--record.path="+dir+"/recording").await(t).ready(t)
	execs := func() float64 { return y.scrape(t, "/metrics").sum("yagura_events_total", "kind", "exec") }
	before := execs()
	if err := exec.Command("/bin/true", "--password="+secret, "--verbose").Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the exec is recorded", func() bool { return execs() > before })
	if err := y.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v, want a clean end", err)
	}

	shown := public(t) + "/recording"
	if err := os.CopyFS(shown, os.DirFS(dir+"/recording")); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{shown: 0o755, shown + "/snapshot.jsonl": 0o644, shown + "/events.bin": 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := os.ReadFile(shown + "/snapshot.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(snapshot, []byte(secret)) || !bytes.Contains(snapshot, []byte("--password=")) {
		t.Error("the snapshot has the secret, or not the process that was given it")
	}
	replay := exec.Command(binary(t), "replay", shown)
	replay.SysProcAttr = unprivileged()
	var stderr bytes.Buffer
	replay.Stderr = &stderr
	out, err := replay.Output()
	if err != nil {
		t.Fatalf("replay: %v\n%s", err, stderr.Bytes())
	}
	if bytes.Contains(out, []byte(secret)) {
		t.Error("the replay shows the secret")
	}
	found := findExec(t, out)
	if found == nil {
		t.Fatalf("no exec of /usr/bin/true in %d lines of replay", bytes.Count(out, []byte("\n")))
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	isUs := func(p struct{ Name string }) bool { return p.Name == strings.TrimSpace(string(comm)) }
	if p := found.Process; len(p.Args) != 3 || p.Args[2] != "--verbose" || !slices.ContainsFunc(p.Parents, isUs) {
		t.Errorf("exec = %+v, want three arguments and the ancestor %s", found, comm)
	}
	t.Logf("replayed: %+v", *found)
}

// replayed is an event as a replay shows it, in the form of rules/EVENTS.md.
type replayed struct {
	Type    string
	Process struct {
		Path    string
		Args    []string
		Parents []struct{ Name string }
	}
}

// findExec returns the exec of true that was given a password.
func findExec(t *testing.T, lines []byte) *replayed {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var kind struct{ Type string }
		if err := json.Unmarshal(line, &kind); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if kind.Type != "execve" { // others have other forms: who else is on this machine may make control groups
			continue
		}
		var r replayed
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		p := &r.Process
		if strings.HasSuffix(p.Path, "/bin/true") && len(p.Args) > 1 && strings.HasPrefix(p.Args[1], "--password=") {
			return &r
		}
	}
	return nil
}

func unprivileged() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
}

func TestRefusals(t *testing.T) {
	refused := func(t *testing.T, attr *syscall.SysProcAttr, want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, binary(t), append([]string{"run", "--no-collector.fim"}, args...)...)
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		last := lines[len(lines)-1]
		if err == nil || ctx.Err() != nil || !strings.Contains(last, want) {
			t.Errorf("%v, the last line is %q, want an end with %q\n%s", err, last, want, out)
		}
	}
	free := "--web.listen-address=127.0.0.1:0"

	t.Run("a port in use", func(t *testing.T) {
		address := listen(t)
		refused(t, nil, address+" is in use", "--web.listen-address="+address)
	})
	t.Run("a broken configuration", func(t *testing.T) {
		path := write(t, t.TempDir()+"/c.yml", "kernel:\n  worklods: 64\n")
		refused(t, nil, path+`:2:3: unknown field "worklods"`, free, "--config.file="+path)
	})
	t.Run("a broken web configuration", func(t *testing.T) {
		path := write(t, t.TempDir()+"/web.yml", "tls_server_config: {cert_file: /nowhere, key_file: /nowhere}\n")
		refused(t, nil, "read --web.config.file: failed to read cert_file (/nowhere): ", free, "--web.config.file="+path)
	})
	t.Run("a store that is no directory", func(t *testing.T) {
		path := write(t, t.TempDir()+"/data", "")
		refused(t, nil, "open store: ", free, "--store.path="+path)
		refused(t, nil, path, free, "--store.path="+path)
	})
	t.Run("a store that may not be written", func(t *testing.T) {
		needsRoot(t)
		dir := public(t)
		refused(t, unprivileged(), dir, free, "--store.path="+dir)
		refused(t, unprivileged(), "permission denied", free, "--store.path="+dir)
	})
	t.Run("a store in use", func(t *testing.T) {
		dir := t.TempDir()
		yagura(t, "--store.path="+dir).await(t)
		refused(t, nil, "in use", free, "--store.path="+dir)
	})
	t.Run("a dead socket of a container runtime", func(t *testing.T) {
		dir := t.TempDir()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/dead.sock"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		y := yagura(t, "--config.file="+write(t, dir+"/c.yml", fmt.Sprintf("containers: {containerd: [%s/dead.sock]}\n", dir))).await(t).ready(t)
		eventually(t, "the log names the socket", func() bool {
			return regexp.MustCompile(`container runtime does not answer.*` + dir + `/dead.sock`).MatchString(y.log.String())
		})
		if p := y.scrape(t, "/metrics"); p["yagura_process_execs_total"] == nil && os.Geteuid() == 0 {
			t.Error("the rest does not work")
		}
	})
	t.Run("no privileges", func(t *testing.T) {
		needsRoot(t)
		y := (&server{attr: unprivileged()}).launch(t, binary(t), commandLine()...).await(t).ready(t)
		p := y.scrape(t, "/metrics")
		if n := len(p["yagura_probe_attached"].GetMetric()); n == 0 || p.sum("yagura_probe_attached") != 0 {
			t.Errorf("%d probes, %v attached, want some and none", n, p.sum("yagura_probe_attached"))
		}
		if p.sum("yagura_process_table_entries", "state", "running") == 0 {
			t.Error("the process table is empty, though /proc can be read")
		}
		for _, want := range []string{"nothing can be attached to the kernel", "no permission to use BPF", "CAP_BPF"} {
			if !strings.Contains(y.log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
	})
}

// tracked returns the hierarchy of control groups that the kernel side tracks.
func tracked(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"memory", "pids", "cpu"} {
		if info, err := os.Stat("/sys/fs/cgroup/" + dir); err == nil && info.IsDir() {
			return "/sys/fs/cgroup/" + dir
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Skipf("needs control groups: %v", err)
	}
	return "/sys/fs/cgroup"
}

// TestGroupsComeAndGo plays a pod whose container crashes a thousand times: each time it has another control group, and
// its counters must go on. Nothing else on the machine counts under its name, so the sums are exact.
func TestGroupsComeAndGo(t *testing.T) {
	needsKernel(t)
	const groups, limit, every = 1000, 256, 50
	ns := fmt.Sprintf("yagura-churn-%d", os.Getpid())
	top, bundles := tracked(t)+"/"+ns, t.TempDir()
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroups(t, ns) })
	y := yagura(t, "--config.file="+write(t, t.TempDir()+"/c.yml", fmt.Sprintf(`kernel: {workloads: %d}
containers:
  containerd: []
  cri: []
  docker: []
  podman: []
  storage: []
  bundles: [%s]
  limits: {keep: 5s}
`, limit, bundles))).await(t).ready(t)

	group := func(id string) string {
		spec := bundles + "/" + ns + "/" + id
		if err := os.MkdirAll(spec, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, spec+"/config.json", fmt.Sprintf(`{"linux":{"cgroupsPath":"/%s/%s"},"annotations":{
			"io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"cart-0","io.kubernetes.cri.container-name":"cart"}}`, ns, id))
		if err := os.Mkdir(top+"/"+id, 0o755); err != nil {
			t.Fatal(err)
		}
		return top + "/" + id
	}
	live := func(id string, status int) {
		dir := group(id)
		cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("echo $$ >%s/cgroup.procs && exit %d", dir, status))
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != status {
			t.Fatalf("process of %s: %v, want status %d", id, err, status)
		}
		eventually(t, dir+" is empty", func() bool { return os.Remove(dir) == nil })
	}
	group("stays") // the workload lives on

	var first page
	var most float64
	for i := range groups {
		live(fmt.Sprintf("c%d", i), i%2)
		if i%every != every-1 {
			continue
		}
		// A scrape frees slots of the dead, but not one that comes too soon after another.
		var p page
		eventually(t, "there are slots for the next groups", func() bool {
			p = y.scrape(t, "/metrics")
			used := p.sum("yagura_workload_slots", "state", "used")
			most = max(most, used)
			return used+every < limit
		})
		if first == nil {
			first = p
		}
	}
	exits := func(p page, reason string) float64 {
		return p.sum("yagura_process_exits_total", "namespace", "shop", "pod", "cart-0", "container", "cart", "reason", reason)
	}
	var last page
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		last = y.scrape(t, "/metrics")
		if exits(last, "completed")+exits(last, "error") >= groups {
			break
		}
	}
	if a, b := exits(last, "completed"), exits(last, "error"); a != groups/2 || b != groups/2 {
		t.Errorf("%v completed and %v with an error, want %d each", a, b, groups/2)
		for _, reason := range []string{"completed", "error"} {
			t.Logf("in all %v %s; other %v", last.sum("yagura_process_exits_total", "reason", reason), reason,
				last.sum("yagura_process_exits_total", "reason", reason, "container", "other"))
		}
		for _, name := range []string{"yagura_container_lookup_misses_total", "yagura_container_cgroups", "yagura_container_evictions_total", "yagura_events_lost_total"} {
			for _, m := range last[name].GetMetric() {
				t.Log(name, m)
			}
		}
	}
	if got := last.sum("yagura_workload_slots", "state", "limit"); most > got || got != limit {
		t.Errorf("%v slots of %v were used at most, want no more than %d", most, got, limit)
	}
	if full := last.sum("yagura_kernel_table_full_total"); full != 0 {
		t.Errorf("tables of the kernel side were full %v times", full)
	}
	// But for the names of those that have just died, which are kept a while.
	if first.series()+200 < last.series()-len(last["yagura_container_info"].GetMetric()) {
		t.Errorf("%d series after %d groups, %d after %d", first.series(), every, last.series(), groups)
	}
	before, after := first.sum("process_resident_memory_bytes"), last.sum("process_resident_memory_bytes")
	if after > before+64<<20 {
		t.Errorf("resident memory grew from %v to %v bytes", before, after)
	}
	t.Logf("%d groups: slots used at most %v of %d, series %d to %d, resident MiB %.1f to %.1f", groups, most, limit,
		first.series(), last.series(), before/(1<<20), after/(1<<20))
}
