package bpf

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	actors["tls-serve"] = actTLSServe
	actors["tls-ask"] = actTLSAsk
	actors["tls-crowd"] = actTLSCrowd
	actors["exec"] = func() error {
		args := strings.Split(os.Getenv("ARGS"), "\x1f")
		path, err := exec.LookPath(args[0])
		if err != nil {
			return err
		}
		return syscall.Exec(path, args, os.Environ())
	}
}

// ---- certificates ----

// certificate is one for 127.0.0.1, as PEM: the key's and its own.
func certificate() (key, cert []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "truth"},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	k, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func writeCertificate(t testing.TB) (key, cert string) {
	t.Helper()
	k, c, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	key, cert = filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	if err := errors.Join(os.WriteFile(key, k, 0o644), os.WriteFile(cert, c, 0o644)); err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// ---- what Go programs do ----

// The requests of one round: by what is asked, how often, and what the kernel should count them as.
var tlsTalk = []struct {
	method, path string
	body, answer int // bytes
	status       int
	times        int
}{
	{"GET", "/small", 0, 5, 200, 20},
	{"GET", "/large", 0, 300_000, 200, 5},
	{"POST", "/upload", 100_000, 2, 201, 10},
	{"GET", "/missing", 0, 9, 404, 7},
	{"HEAD", "/small", 0, 5, 200, 3},
	{"DELETE", "/gone", 0, 0, 204, 4},
}

// tlsCounts are what rounds should be counted as, in the words of counted: to a client 400 and more is a failure, to a
// server 500.
func tlsCounts(role, protocol string, rounds int) map[string]int {
	want := map[string]int{}
	for _, q := range tlsTalk {
		end := "ok"
		if role == "client" && q.status >= 400 {
			end = "failed"
		}
		want[fmt.Sprintf("%s %s %s %d %s", role, protocol, q.method, q.status, end)] += q.times * rounds
	}
	return want
}

func tlsHandler(w http.ResponseWriter, r *http.Request) {
	for _, q := range tlsTalk {
		if q.path != r.URL.Path || q.method != r.Method {
			continue
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != int64(q.body) {
			panic(fmt.Sprintf("got %d bytes of %d: %v", n, q.body, err))
		}
		if q.status != http.StatusNoContent {
			w.Header().Set("Content-Length", strconv.Itoa(q.answer))
		}
		w.WriteHeader(q.status)
		if q.method != "HEAD" {
			w.Write(bytes.Repeat([]byte("x"), q.answer))
		}
		return
	}
	panic("asked for " + r.Method + " " + r.URL.Path)
}

// actTLSServe answers until it gets another word.
func actTLSServe() error {
	key, cert, err := certificate()
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{os.Getenv("ALPN")}}
	if os.Getenv("TLS") == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	l, err := tls.Listen("tcp4", os.Getenv("LISTEN"), config)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(tlsHandler)}
	go server.Serve(l)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	return server.Close()
}

// actTLSAsk asks one round over a new connection, says so, waits to be told, and asks two more over the same.
func actTLSAsk() error {
	var dials atomic.Int32
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: os.Getenv("ALPN") == "h2",
		MaxConnsPerHost:   1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	if err := askRound(client); err != nil {
		return err
	}
	control, err := net.Dial("unix", os.Getenv("CONTROL"))
	if err != nil {
		return err
	}
	defer control.Close()
	if _, err := control.Read(make([]byte, 1)); err != nil {
		return err
	}
	for range 2 {
		if err := askRound(client); err != nil {
			return err
		}
	}
	fmt.Printf("%d connections\n", dials.Load()) // on a slow machine Go gives one up that it has not written to for 50 ms
	return nil
}

// actTLSCrowd is CROWD clients at once, each with a connection of its own, or with CLOSE one for each request.
func actTLSCrowd() error {
	n, err := strconv.Atoi(os.Getenv("CROWD"))
	if err != nil {
		return err
	}
	errs := make(chan error, n)
	for range n {
		go func() {
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: os.Getenv("ALPN") == "h2",
				DisableKeepAlives: os.Getenv("CLOSE") != ""}
			defer transport.CloseIdleConnections()
			errs <- askRound(&http.Client{Transport: transport})
		}()
	}
	for range n {
		err = errors.Join(err, <-errs)
	}
	return err
}

func askRound(client *http.Client) error {
	for _, q := range tlsTalk {
		for range q.times {
			request, err := http.NewRequest(q.method, "https://"+os.Getenv("LISTEN")+q.path, bytes.NewReader(make([]byte, q.body)))
			if err != nil {
				return err
			}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, response.Body)
			response.Body.Close()
			want := int64(q.answer)
			if q.method == "HEAD" {
				want = 0
			}
			if err != nil || response.StatusCode != q.status || n != want {
				return fmt.Errorf("%s %s: status %d, %d bytes, %v", q.method, q.path, response.StatusCode, n, err)
			}
		}
	}
	return nil
}

// A control is where an actor says that it is ready, and waits.
type control struct {
	l    net.Listener
	path string
	conn net.Conn
}

func newControl(t testing.TB) *control {
	t.Helper()
	dir, err := os.MkdirTemp("", "truth-")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{path: filepath.Join(dir, "control")}
	if c.l, err = net.Listen("unix", c.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.conn != nil {
			c.conn.Close()
		}
		c.l.Close()
		os.RemoveAll(dir)
	})
	return c
}

func (c *control) awaitReady(t testing.TB) {
	t.Helper()
	c.l.(*net.UnixListener).SetDeadline(time.Now().Add(20 * time.Second))
	var err error
	if c.conn, err = c.l.Accept(); err != nil {
		t.Fatalf("wait for the actor to be ready: %v", err)
	}
}

func (c *control) release(t testing.TB) {
	t.Helper()
	if _, err := c.conn.Write([]byte("g")); err != nil {
		t.Fatal(err)
	}
}

// ---- tracing ----

// startTLS is an agent for layer 7 that may probe libraries.
func startTLS(t testing.TB) *watched {
	t.Helper()
	if !exists("/sys/bus/event_source/devices/uprobe") {
		t.Skip("needs CONFIG_UPROBE_EVENTS: no /sys/bus/event_source/devices/uprobe")
	}
	w := startRequests(t)
	return w
}

func (w *watched) traceTLS(t testing.TB, pid int, g group, files ...TLSFile) {
	t.Helper()
	if err := w.TraceTLS(TLSProcess{PID: pid, CgroupID: g.id, Files: files}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.UntraceTLS(pid) })
}

func ownProgram(c *child) TLSFile {
	return TLSFile{Path: fmt.Sprintf("/proc/%d/exe", c.cmd.Process.Pid), Go: true}
}

// A baseline is what was counted before a test, to compare with.
type baseline struct {
	unmatched map[string]uint64 // of HTTP: other protocols are the machine's
	missed    uint64            // system calls that the kernel has left the dispatcher out of, as it does since 7.0
	tls       TLSStats
}

func (w *watched) baseline(t testing.TB) baseline {
	t.Helper()
	b := baseline{unmatched: map[string]uint64{}, missed: w.Missed()["sys_exit"], tls: must(w.TLS())}
	if err := w.Unmatched(func(protocol, reason string, n uint64) {
		if strings.HasPrefix(protocol, "http") {
			b.unmatched[protocol+" "+reason] = n
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// check compares what a group was counted with since, exactly unless system calls were missed.
func (w *watched) check(t testing.TB, since baseline, g group, want map[string]int) {
	t.Helper()
	now := w.baseline(t)
	missed := now.missed - since.missed
	agree(t, w.counted(t, g), want, missed)
	for key, n := range now.unmatched {
		if n-since.unmatched[key] > missed {
			t.Errorf("unmatched: %s %d times, want none; %d system calls were missed", key, n-since.unmatched[key], missed)
		}
	}
}

func TestTruthTLSOfGo(t *testing.T) {
	cases := []struct {
		name, cell, alpn, protocol string
		older                      bool // the connection has had its first round when it is traced
	}{
		{"http/1.1", "tls_go", "http/1.1", "http", false},
		{"http/1.1 older than the agent", "tls_go_older", "http/1.1", "http", true},
		{"h2", "tls_go_h2", "h2", "http2", false},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := startTLS(t)
			proves(t, c.cell)
			if c.older {
				stopAll(t)
			}
			address := fmt.Sprintf("127.0.0.1:%d", 47300+i)
			control := newControl(t)
			mount := w.mount
			server, client := (&watched{mount: mount}).newGroup(t, fmt.Sprintf("truth-tls-server-%d", i)), (&watched{mount: mount}).newGroup(t, fmt.Sprintf("truth-tls-client-%d", i))
			env := []string{"LISTEN=" + address, "ALPN=" + c.alpn, "CONTROL=" + control.path}
			s, k := w.newChild(t, server, "tls-serve", env...), w.newChild(t, client, "tls-ask", env...)
			s.act(t)
			waitListening(t, address)
			rounds := 3
			trace := func() {
				w.traceTLS(t, s.cmd.Process.Pid, server, ownProgram(s))
				w.traceTLS(t, k.cmd.Process.Pid, client, ownProgram(k))
			}
			if !c.older {
				trace()
			}
			k.act(t)
			control.awaitReady(t)
			if c.older {
				rounds = 2
				w = startTLS(t)
				for _, g := range []group{server, client} {
					if err := w.AddCgroup(g.id); err != nil {
						t.Fatal(err)
					}
				}
				w.FindSockets()
				trace()
			}
			if c.protocol == "http2" {
				needProbe(t, w, "kernel support for HTTP/2", "tls_http2")
			}
			before := w.baseline(t)
			control.release(t)
			t.Log(strings.TrimSpace(k.finish(t)))
			s.act(t)
			s.finish(t)
			w.check(t, before, server, tlsCounts("server", c.protocol, rounds))
			w.check(t, before, client, tlsCounts("client", c.protocol, rounds))
		})
	}
}

// TestTLSOfCrowds, which is too much for guests: many connections at once, of which some share a processor while they are looked at; many one after
// the other, whose addresses are used again; and the older version of the protocol.
func TestTLSOfCrowds(t *testing.T) {
	cases := []struct {
		name, protocol string
		crowd          int
		env            []string
	}{
		{"at once", "http", 20, []string{"ALPN=http/1.1"}},
		{"at once, h2", "http2", 20, []string{"ALPN=h2"}},
		{"a connection for each request", "http", 4, []string{"ALPN=http/1.1", "CLOSE=1"}},
		{"TLS 1.2", "http", 2, []string{"ALPN=http/1.1", "TLS=1.2"}},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := startTLS(t)
			address := fmt.Sprintf("127.0.0.1:%d", 47350+i)
			server, client := w.newGroup(t, fmt.Sprintf("truth-tls-server-crowd-%d", i)), w.newGroup(t, fmt.Sprintf("truth-tls-client-crowd-%d", i))
			env := append(c.env, "LISTEN="+address, "CROWD="+strconv.Itoa(c.crowd))
			s, k := w.newChild(t, server, "tls-serve", env...), w.newChild(t, client, "tls-crowd", env...)
			w.traceTLS(t, s.cmd.Process.Pid, server, ownProgram(s))
			w.traceTLS(t, k.cmd.Process.Pid, client, ownProgram(k))
			if c.protocol == "http2" {
				needProbe(t, w, "kernel support for HTTP/2", "tls_http2")
			}
			before := w.baseline(t)
			s.act(t)
			waitListening(t, address)
			k.act(t)
			k.finish(t)
			s.act(t)
			s.finish(t)
			w.check(t, before, server, tlsCounts("server", c.protocol, c.crowd))
			w.check(t, before, client, tlsCounts("client", c.protocol, c.crowd))
			after := must(w.TLS())
			equal(t, "calls of unknown connections", after.Unbound-before.tls.Unbound, 0)
			equal(t, "calls not looked at", after.Unlooked-before.tls.Unlooked, 0)
		})
	}
}

// TestTruthTLSIsNotLookedIntoUnasked: the same program in a group that nobody has opened.
func TestTruthTLSIsNotLookedIntoUnasked(t *testing.T) {
	w := startTLS(t)
	address := "127.0.0.1:47310"
	control := newControl(t)
	server, client := w.newGroup(t, "truth-tls-server-closed"), w.newGroup(t, "truth-tls-client-open")
	env := []string{"LISTEN=" + address, "ALPN=http/1.1", "CONTROL=" + control.path}
	s, k := w.newChild(t, server, "tls-serve", env...), w.newChild(t, client, "tls-ask", env...)
	w.traceTLS(t, k.cmd.Process.Pid, client, ownProgram(k))
	before := w.baseline(t)
	s.act(t)
	waitListening(t, address)
	k.act(t)
	control.awaitReady(t)
	control.release(t)
	k.finish(t)
	s.act(t)
	s.finish(t)
	w.check(t, before, server, nil)
	w.check(t, before, client, tlsCounts("client", "http", 3))
}

// TestTruthTLSStops: what comes after UntraceTLS is neither counted nor taken for something else, on a connection that goes on.
func TestTruthTLSStops(t *testing.T) {
	w := startTLS(t)
	address := "127.0.0.1:47311"
	control := newControl(t)
	server, client := w.newGroup(t, "truth-tls-server-stops"), w.newGroup(t, "truth-tls-client-stops")
	env := []string{"LISTEN=" + address, "ALPN=http/1.1", "CONTROL=" + control.path}
	s, k := w.newChild(t, server, "tls-serve", env...), w.newChild(t, client, "tls-ask", env...)
	w.traceTLS(t, s.cmd.Process.Pid, server, ownProgram(s))
	w.traceTLS(t, k.cmd.Process.Pid, client, ownProgram(k))
	s.act(t)
	waitListening(t, address)
	k.act(t)
	control.awaitReady(t)
	w.UntraceTLS(k.cmd.Process.Pid)
	if n := must(w.TLS()).Files; n != 1 {
		t.Errorf("%d files are probed while the server runs the same program, want 1", n)
	}
	w.UntraceTLS(s.cmd.Process.Pid)
	if n := must(w.TLS()).Files; n != 0 {
		t.Errorf("%d files are probed, want none", n)
	}
	before := w.baseline(t)
	control.release(t)
	k.finish(t)
	s.act(t)
	s.finish(t)
	w.check(t, before, server, tlsCounts("server", "http", 1))
	w.check(t, before, client, tlsCounts("client", "http", 1))
}

func TestTLSSweepForgetsTheDead(t *testing.T) {
	w := startTLS(t)
	address := "127.0.0.1:47312"
	control := newControl(t)
	server, client := w.newGroup(t, "truth-tls-server-sweep"), w.newGroup(t, "truth-tls-client-sweep")
	env := []string{"LISTEN=" + address, "ALPN=http/1.1", "CONTROL=" + control.path}
	s, k := w.newChild(t, server, "tls-serve", env...), w.newChild(t, client, "tls-ask", env...)
	w.traceTLS(t, s.cmd.Process.Pid, server, ownProgram(s))
	w.traceTLS(t, k.cmd.Process.Pid, client, ownProgram(k))
	s.act(t)
	waitListening(t, address)
	k.act(t)
	control.awaitReady(t)
	sockets := func(pid int) (n int) {
		var key tlsObject
		value := make([]byte, w.maps["tls_sockets"].ValueSize())
		it := w.maps["tls_sockets"].Iterate()
		for it.Next(&key, &value) {
			if key.Process == uint64(pid) {
				n++
			}
		}
		return n
	}
	serving, asking := s.cmd.Process.Pid, k.cmd.Process.Pid
	equal(t, "connections of the client", uint64(sockets(asking)), 1)
	if err := w.SweepTLS(func(uint32) bool { return true }); err != nil {
		t.Fatal(err)
	}
	equal(t, "connections of the client while it lives", uint64(sockets(asking)), 1)
	k.end(t, syscall.SIGKILL)
	equal(t, "connections of the client when it is dead", uint64(sockets(asking)), 1)
	before := sockets(serving)
	if err := w.SweepTLS(func(pid uint32) bool { return pid != uint32(asking) }); err != nil {
		t.Fatal(err)
	}
	equal(t, "connections of the client when it is swept", uint64(sockets(asking)), 0)
	if n := sockets(serving); n > before {
		t.Errorf("the server has %d connections, had %d", n, before)
	}
	s.act(t)
	s.finish(t)
}

// TestTLSFileOpens only what a process can have mapped: no link leads out of its root, and nothing makes us wait.
func TestTLSFileOpens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	outside := filepath.Join(dir, "outside")
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "lib"), 0o755), os.WriteFile(outside, []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(root, "lib/real"), []byte("library"), 0o600), os.Symlink("real", filepath.Join(root, "lib/near")),
		os.Symlink("/lib/real", filepath.Join(root, "lib/absolute")), os.Symlink(outside, filepath.Join(root, "lib/out")),
		os.Symlink("../../outside", filepath.Join(root, "lib/up")), unix.Mkfifo(filepath.Join(root, "lib/pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/lib/real": "library", "/lib/near": "library", "/lib/absolute": "library",
		"/lib/out": "", "/lib/up": "", "/lib/pipe": "", "/lib": ""} {
		got := ""
		if file, err := (TLSFile{Root: root, Path: path}).open(); err == nil {
			if _, err := identify(file); err == nil {
				got = string(must(io.ReadAll(file)))
			}
			file.Close()
		}
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// ---- OpenSSL ----

func needPrograms(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s: %v", name, err)
		}
	}
}

// newProgram is a child that runs another program once it is told to.
func (w *watched) newProgram(t testing.TB, g group, args ...string) *child {
	t.Helper()
	return w.newChild(t, g, "exec", "ARGS="+strings.Join(args, "\x1f"))
}

func (c *child) end(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	c.cmd.Wait()
}

const largeFile = 6_000_000

// startNginxTLS serves /small, /large and 404 for all else.
func (w *watched) startNginxTLS(t testing.TB, g group, address string) *child {
	t.Helper()
	key, cert := writeCertificate(t)
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "small"), []byte("hello"), 0o644),
		os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("x"), largeFile), 0o644)); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/"; d = filepath.Dir(d) { // its workers are somebody else
		if st, err := os.Stat(d); err == nil && st.Mode()&1 == 0 {
			os.Chmod(d, st.Mode()|0o111)
		}
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; keepalive_requests 1000000; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
server { listen %[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; root %[1]s; } }`, dir, address, cert, key)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	c := w.newProgram(t, g, "nginx", "-c", file, "-p", dir)
	c.act(t)
	waitListening(t, address)
	return c
}

func libssl(t testing.TB) TLSFile { return TLSFile{Path: opensslHere(t)} }

func TestTruthTLSOfOpenSSL(t *testing.T) {
	needPrograms(t, "nginx", "curl")
	w := startTLS(t)
	address := "127.0.0.1:47320"
	server, client := w.newGroup(t, "truth-tls-nginx"), w.newGroup(t, "truth-tls-curl")
	s := w.startNginxTLS(t, server, address)
	defer s.end(t, syscall.SIGTERM)
	before := w.baseline(t)

	url := "https://" + address
	args := []string{"curl", "-ksS", "--http1.1", "--limit-rate", "8M"}
	for _, path := range slices.Concat(slices.Repeat([]string{"/small"}, 20), slices.Repeat([]string{"/large"}, 2), slices.Repeat([]string{"/missing"}, 5)) {
		args = append(args, "-o", "/dev/null", url+path)
	}
	k := w.newProgram(t, client, args...)
	w.traceTLS(t, s.cmd.Process.Pid, server, libssl(t))
	w.traceTLS(t, k.cmd.Process.Pid, client, libssl(t))
	k.act(t)
	if out := k.finish(t); out != "" {
		t.Errorf("curl says %q", out)
	}
	w.check(t, before, server, map[string]int{"server http GET 200 ok": 22, "server http GET 404 ok": 5})
	w.check(t, before, client, map[string]int{"client http GET 200 ok": 22, "client http GET 404 failed": 5})
}

// TestTruthTLSOfOpenSSLThatConnectsAnew: curl frees what it calls a connection, and calls the next one the same.
func TestTruthTLSOfOpenSSLThatConnectsAnew(t *testing.T) {
	needPrograms(t, "nginx", "curl")
	w := startTLS(t)
	address := "127.0.0.1:47322"
	server, client := w.newGroup(t, "truth-tls-nginx-anew"), w.newGroup(t, "truth-tls-curl-anew")
	s := w.startNginxTLS(t, server, address)
	defer s.end(t, syscall.SIGTERM)
	before := w.baseline(t)
	args := []string{"curl", "-ksS", "--http1.1", "-H", "Connection: close"}
	for range 40 {
		args = append(args, "-o", "/dev/null", "https://"+address+"/small")
	}
	k := w.newProgram(t, client, args...)
	w.traceTLS(t, s.cmd.Process.Pid, server, libssl(t))
	w.traceTLS(t, k.cmd.Process.Pid, client, libssl(t))
	k.act(t)
	k.finish(t)
	w.check(t, before, server, map[string]int{"server http GET 200 ok": 40})
	w.check(t, before, client, map[string]int{"client http GET 200 ok": 40})
	equal(t, "calls of unknown connections", must(w.TLS()).Unbound-before.tls.Unbound, 0)
}

// TestTruthTLSOfOpenSSLOlderThanTheAgent: the first request over the connection is answered before anything is probed.
func TestTruthTLSOfOpenSSLOlderThanTheAgent(t *testing.T) {
	needPrograms(t, "nginx", "openssl")
	w := startTLS(t)
	mount := w.mount
	stopAll(t)
	address := "127.0.0.1:47321"
	w = &watched{mount: mount}
	server, client := w.newGroup(t, "truth-tls-nginx"), w.newGroup(t, "truth-tls-s_client")
	s := w.startNginxTLS(t, server, address)
	defer s.end(t, syscall.SIGTERM)
	heard := filepath.Join(t.TempDir(), "heard")
	k := w.newProgram(t, client, "sh", "-c", "exec openssl s_client -quiet -connect "+address+" >"+heard)
	k.act(t)
	ask := "GET /small HTTP/1.1\r\nHost: truth\r\n\r\n"
	write := func() {
		if _, err := k.word.Write([]byte(ask)); err != nil {
			t.Fatal(err)
		}
	}
	awaitText(t, fmt.Sprintf("/proc/%d/comm", k.cmd.Process.Pid), "openssl") // who waited for the word reads ahead
	write()
	awaitText(t, heard, "hello")

	w = startTLS(t)
	for _, g := range []group{server, client} {
		if err := w.AddCgroup(g.id); err != nil {
			t.Fatal(err)
		}
	}
	w.FindSockets()
	w.traceTLS(t, s.cmd.Process.Pid, server, libssl(t))
	w.traceTLS(t, k.cmd.Process.Pid, client, libssl(t))
	before := w.baseline(t)
	const n = 6
	for i := range n {
		write()
		w.awaitCounted(t, server, "server http GET 200 ok", i+1)
	}
	w.awaitCounted(t, client, "client http GET 200 ok", n)
	k.end(t, syscall.SIGTERM)
	w.check(t, before, server, map[string]int{"server http GET 200 ok": n})
	w.check(t, before, client, map[string]int{"client http GET 200 ok": n})
}

func awaitText(t testing.TB, path, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got, err := os.ReadFile(path); err == nil && strings.Contains(string(got), text) {
			return
		}
	}
	t.Fatalf("%s does not get %q", path, text)
}

// awaitCounted waits until something was counted so often.
func (w *watched) awaitCounted(t testing.TB, g group, key string, n int) {
	t.Helper()
	var got map[string]*RequestTotals
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		got = w.counted(t, g)
		if totals := got[key]; totals != nil && totals.Count() >= uint64(n) {
			return
		}
	}
	t.Fatalf("%s is not counted %d times: %v", key, n, slices.Sorted(maps.Keys(got)))
}

// ---- the kernel's own TLS ----

func init() { actors["ktls"] = actKTLS }

// actKTLS is a server, or with ASK a client, that shakes hands for show, and then has the kernel encrypt and decrypt.
func actKTLS() error {
	address := os.Getenv("LISTEN")
	var conn *net.TCPConn
	if os.Getenv("ASK") != "" {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			return err
		}
		conn = c.(*net.TCPConn)
	} else {
		config := net.ListenConfig{}
		config.SetMultipathTCP(false)
		l, err := config.Listen(context.Background(), "tcp4", address)
		if err != nil {
			return err
		}
		c, err := l.Accept()
		if err != nil {
			return err
		}
		conn = c.(*net.TCPConn)
	}
	defer conn.Close()
	const hello = "\x16\x03\x03\x00\x05hello"
	if err := converseOnce(conn, hello, hello); err != nil {
		return err
	}
	if err := kernelTLS(conn); err != nil {
		return err
	}
	for range 20 {
		if err := converseOnce(conn, "GET /small HTTP/1.1\r\nHost: truth\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
			return err
		}
	}
	return nil
}

// converseOnce says one line and hears the other, as a client does, or a server the other way round.
func converseOnce(conn net.Conn, ask, answer string) error {
	say, hear := ask, answer
	if os.Getenv("ASK") == "" {
		say, hear = answer, ask
		if _, err := io.ReadFull(conn, make([]byte, len(hear))); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(say)); err != nil {
		return err
	}
	if os.Getenv("ASK") == "" {
		return nil
	}
	_, err := io.ReadFull(conn, make([]byte, len(hear)))
	return err
}

// kernelTLS gives both directions the same key, which is good enough for a test.
func kernelTLS(conn *net.TCPConn) error {
	const (
		tcpULP, solTLS  = 31, 282
		transmit, hear  = 1, 2
		version, cipher = 0x0303, 51 // TLS 1.2, AES-128-GCM
	)
	info := make([]byte, 4+8+16+4+8) // iv, key, salt, sequence
	binary.LittleEndian.PutUint16(info, version)
	binary.LittleEndian.PutUint16(info[2:], cipher)
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = cmp.Or(unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, tcpULP, "tls"),
			unix.SetsockoptString(int(fd), solTLS, transmit, string(info)), unix.SetsockoptString(int(fd), solTLS, hear, string(info)))
	})
	return cmp.Or(err, failed)
}

func TestTruthTLSOfTheKernel(t *testing.T) {
	if text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_ulp"); err != nil || !slices.Contains(strings.Fields(string(text)), "tls") {
		t.Skip("needs CONFIG_TLS, built in or its module loaded: tls is not in /proc/sys/net/ipv4/tcp_available_ulp")
	}
	w := startRequests(t)
	proves(t, "tls_of_the_kernel")
	address := "127.0.0.1:47360"
	server, client := w.newGroup(t, "truth-ktls-server"), w.newGroup(t, "truth-ktls-client")
	s, k := w.newChild(t, server, "ktls", "LISTEN="+address), w.newChild(t, client, "ktls", "LISTEN="+address, "ASK=1")
	before := w.baseline(t)
	s.act(t)
	waitListening(t, address)
	k.act(t)
	k.finish(t)
	s.finish(t)
	w.check(t, before, server, map[string]int{"server http GET 200 ok": 20})
	w.check(t, before, client, map[string]int{"client http GET 200 ok": 20})
}

// ---- others that use OpenSSL in ways of their own ----

// scripts are servers and clients. Each client asks 12 times for /small over one connection, and once for what is not there;
// servers answer until they are killed. The synchronous ones use SSL_read_ex and SSL_write_ex; the asynchronous ones give
// the library memory, and receive and send by themselves.
var scripts = map[string]string{
	"python serve": `
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        found = self.path == "/small"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *args): pass
address, key, cert = sys.argv[1:]
host, port = address.split(":")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
`,
	"python ask": `
import http.client, ssl, sys
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection(sys.argv[1], context=context)
for path in ["/small"] * 12 + ["/missing"]:
    connection.request("GET", path)
    response = connection.getresponse()
    assert len(response.read()) == 5
`,
	"asyncio serve": `
import asyncio, ssl, sys
address, key, cert = sys.argv[1:]
host, port = address.split(":")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
async def answer(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        status = b"200 OK" if head.startswith(b"GET /small ") else b"404 Not Found"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
async def main():
    server = await asyncio.start_server(answer, host, int(port), ssl=context)
    await server.serve_forever()
asyncio.run(main())
`,
	"asyncio ask": `
import asyncio, ssl, sys
host, port = sys.argv[1].split(":")
async def main():
    reader, writer = await asyncio.open_connection(host, int(port), ssl=ssl._create_unverified_context())
    for path in ["/small"] * 12 + ["/missing"]:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: truth\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\nhello")
    writer.close()
asyncio.run(main())
`,
	"node serve": `
const [address, key, cert] = process.argv.slice(2), fs = require("fs"), [host, port] = address.split(":");
require("https").createServer({key: fs.readFileSync(key), cert: fs.readFileSync(cert)}, (request, response) => {
  response.writeHead(request.url === "/small" ? 200 : 404, {"Content-Length": 5});
  response.end("hello");
}).listen(Number(port), host);
`,
	"node ask": `
const https = require("https"), [host, port] = process.argv[2].split(":");
const agent = new https.Agent({keepAlive: true, maxSockets: 1, rejectUnauthorized: false});
const paths = Array(12).fill("/small").concat("/missing");
function next() {
  if (paths.length === 0) return agent.destroy();
  https.get({host, port, path: paths.shift(), agent}, (response) => { response.resume(); response.on("end", next); });
}
next();
`,
}

func TestTruthTLSOfScripts(t *testing.T) {
	for i, c := range []struct{ name, program, suffix string }{{"python", "python3", "py"}, {"asyncio", "python3", "py"}, {"node", "node", "js"}} {
		t.Run(c.name, func(t *testing.T) {
			needPrograms(t, c.program)
			w := startTLS(t)
			address := fmt.Sprintf("127.0.0.1:%d", 47330+i)
			key, cert := writeCertificate(t)
			file := func(what string) string {
				path := filepath.Join(t.TempDir(), what+"."+c.suffix)
				if err := os.WriteFile(path, []byte(scripts[c.name+" "+what]), 0o644); err != nil {
					t.Fatal(err)
				}
				return path
			}
			server, client := w.newGroup(t, "truth-tls-serve-"+c.name), w.newGroup(t, "truth-tls-ask-"+c.name)
			s := w.newProgram(t, server, c.program, file("serve"), address, key, cert)
			s.act(t)
			defer s.end(t, syscall.SIGKILL)
			waitListening(t, address)
			library := opensslOf(t, s.cmd.Process.Pid)
			k := w.newProgram(t, client, c.program, file("ask"), address)
			w.traceTLS(t, s.cmd.Process.Pid, server, library)
			w.traceTLS(t, k.cmd.Process.Pid, client, library)
			before := w.baseline(t)
			k.act(t)
			k.finish(t)
			w.check(t, before, server, map[string]int{"server http GET 200 ok": 12, "server http GET 404 ok": 1})
			w.check(t, before, client, map[string]int{"client http GET 200 ok": 12, "client http GET 404 failed": 1})
		})
	}
}

// opensslOf is the library that a process has mapped, or its program.
func opensslOf(t testing.TB, pid int) TLSFile {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 6 && strings.Contains(filepath.Base(fields[5]), "libssl") {
			return TLSFile{Path: fields[5]}
		}
	}
	return TLSFile{Path: fmt.Sprintf("/proc/%d/exe", pid)}
}
