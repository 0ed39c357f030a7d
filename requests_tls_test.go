package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestRequestsOfTLS is the truth about requests that a library encrypts, on both sides: OpenSSL in nginx and curl, and Go's
// crypto/tls, over HTTP/1.1 and HTTP/2. The workloads beside them that have not asked are not looked into.
func TestRequestsOfTLS(t *testing.T) {
	needsKernel(t)
	conf := write(t, t.TempDir()+"/yagura.yaml", `requests: {tls: {workloads: ["tls-*.service"], delay: 0s}}`)
	y := yagura(t, "--config.file="+conf).await(t).ready(t)

	t.Run("OpenSSL", func(t *testing.T) {
		s := tlsSite(t, y, "openssl", "tls-openssl-client.service")
		s.serveHTTPS(t)
		s.hold(t, "openssl", "s_client", "-quiet", "-connect", s.address())
		get := func(n int, version string) {
			url := "https://" + s.address() + "/users/" + version
			args := []string{"-sSk", version}
			for range n {
				args = append(args, "-o", "/dev/null", url+"?token=secret")
			}
			s.ask(t, "curl", args...)
		}
		s.untilSeen(t, func() { get(1, "--http1.1") })
		before := y.scrape(t, "/metrics")
		for range 15 {
			get(1, "--http1.1") // a connection each
		}
		get(20, "--http1.1") // one for all
		get(10, "--http2")
		s.ask(t, "curl", "-sSk", "-o", "/dev/null", "https://"+s.address()+"/gone")
		s.ask(t, "curl", "-sSk", "--tls-max", "1.2", "-o", "/dev/null", "https://"+s.address()+"/users/old")
		s.counts(t, before, map[string]float64{`{http_response_status_code="200"}`: 46, `{http_response_status_code="410"}`: 1})
	})

	t.Run("Go", func(t *testing.T) {
		s := tlsSite(t, y, "go", "tls-go-client.service")
		s.serve(t, ourselves(t), "-test.run=^TestTLSServer$", "-test.timeout=0", "--", "tls-server="+s.address())
		client := s.hold(t, ourselves(t), "-test.run=^TestTLSClient$", "-test.timeout=0", "--", "tls-client="+s.address())
		s.untilSeen(t, func() { client.do(t, "1 http/1.1") })
		before := y.scrape(t, "/metrics")
		client.do(t, "40 http/1.1")
		client.do(t, "30 h2")
		s.counts(t, before, map[string]float64{`{http_response_status_code="200"}`: 70})
	})

	t.Run("not asked for", func(t *testing.T) {
		s := tlsSite(t, y, "unasked", "unasked-client.service")
		s.serveHTTPS(t)
		s.untilSeen(t, func() { s.ask(t, "curl", "-sSk", "-o", "/dev/null", "https://"+s.address()+"/users/1") })
		if n := y.scrape(t, "/metrics").sum("http_client_request_duration_seconds", "unit", s.client); n != 0 {
			t.Errorf("%v requests of a client that has not asked were counted", n)
		}
	})
}

// tlsSite is a site whose server is to be looked into.
func tlsSite(t *testing.T, y *server, name, client string) *realSite {
	return &realSite{y: y, dir: public(t), port: freePort(t), server: "tls-" + name + "-server.service", client: client}
}

// serveHTTPS starts nginx with a certificate of its own.
func (s *realSite) serveHTTPS(t *testing.T) {
	t.Helper()
	cert, key := selfSigned(t)
	write(t, s.dir+"/cert.pem", cert)
	write(t, s.dir+"/key.pem", key)
	s.serve(t, "nginx", "-p", s.dir, "-c", write(t, s.dir+"/nginx.conf", fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; server { listen %[2]s ssl http2; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem; client_header_timeout 600s;
 location /users { return 200 "hello\n"; } location /gone { return 410; } } }`, s.dir, s.address())))
}

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// untilSeen asks until a request of the server's was counted: its libraries are looked for every few seconds. When it returns, all that
// was asked is counted, but for what nobody has seen.
func (s *realSite) untilSeen(t *testing.T, ask func()) {
	t.Helper()
	counted := func() (server, client float64) {
		p := s.y.scrape(t, "/metrics")
		return p.sum("http_server_request_duration_seconds", "unit", s.server), p.sum("http_client_request_duration_seconds", "unit", s.client)
	}
	eventually(t, "TLS of "+s.server+" is looked into", func() bool {
		ask()
		server, client := counted()
		return server > 0 && (client > 0 || !strings.HasPrefix(s.client, "tls-"))
	})
	eventually(t, "nothing is left to be counted", func() bool {
		server, client := counted()
		time.Sleep(time.Second)
		serverNow, clientNow := counted()
		return server == serverNow && client == clientNow
	})
}

// counts compares requests of both sides, by labels, with what was asked since a page.
func (s *realSite) counts(t *testing.T, before page, want map[string]float64) {
	t.Helper()
	for series, n := range want {
		for _, side := range []string{"server", "client"} {
			name, labels := s.series("http_" + side + "_request_duration_seconds" + series)
			var got float64
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if got = s.y.scrape(t, "/metrics").sum(name, labels...) - before.sum(name, labels...); got == n {
					break
				}
			}
			if got != n {
				t.Errorf("%s%s = %v, want %v", name, series, got, n)
			}
		}
	}
	if t.Failed() {
		s.describe(t, s.y.scrape(t, "/metrics"))
	}
}

// A held process stays in its unit until the test ends: a workload is looked into once one of its processes has been found.
type held struct {
	in  io.Writer
	out *bufio.Reader
}

func (s *realSite) hold(t *testing.T, name string, args ...string) *held {
	t.Helper()
	needsProgram(t, name)
	cmd := inUnit(t, s.client, name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	return &held{in, bufio.NewReader(out)}
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// do tells the process what to do, and waits until it is done.
func (h *held) do(t *testing.T, what string) {
	t.Helper()
	if _, err := fmt.Fprintln(h.in, what); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := h.out.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if line == "done\n" {
			return
		}
		t.Log(strings.TrimSpace(line))
	}
}

// TestTLSServer serves a page by crypto/tls until it is ended.
func TestTLSServer(t *testing.T) {
	address := played(t, "tls-server")
	if address == "" {
		return // nobody asks
	}
	cert, key := selfSigned(t)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Addr: address, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
	t.Fatal(s.ListenAndServeTLS("", ""))
}

// TestTLSClient asks as often as each line of its input says, over the protocol that it names.
func TestTLSClient(t *testing.T) {
	address := played(t, "tls-client")
	if address == "" {
		return // nobody asks
	}
	in := bufio.NewReader(os.Stdin)
	for {
		var n int
		var protocol string
		if _, err := fmt.Fscanln(in, &n, &protocol); err != nil {
			return
		}
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: protocol == "h2",
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}}}
		for range n {
			r, err := client.Get("https://" + address + "/users/7")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
		}
		client.CloseIdleConnections()
		fmt.Println("done")
	}
}
