package bpf

import (
	"os"
	"syscall"
	"testing"
)

// BenchmarkTLS is what a TLS server keeps of its speed: by the hooks on system calls, which see that it is encrypted, and by
// the probes of its library, of which each request takes four in OpenSSL and two in Go. Small answers over connections that
// stay, so that all that is not a probe costs as little as may be.
func BenchmarkTLS(b *testing.B) {
	needRoot(b)
	needPrograms(b, "wrk", "nginx")
	servers := []struct {
		name, url string
		start     func(w *watched, g group) (c *child, file TLSFile)
	}{
		{"openssl", "https://127.0.0.1:47340/small", func(w *watched, g group) (*child, TLSFile) {
			return w.startNginxTLS(b, g, "127.0.0.1:47340"), libssl(b)
		}},
		{"go", "https://127.0.0.1:47341/small", func(w *watched, g group) (*child, TLSFile) {
			c := w.newChild(b, g, "tls-serve", "LISTEN=127.0.0.1:47341", "ALPN=http/1.1", "GOMAXPROCS=1")
			c.act(b)
			waitListening(b, "127.0.0.1:47341")
			return c, ownProgram(c)
		}},
	}
	_, mount := hierarchyHere(b)
	group := (&watched{mount: mount}).newGroup(b, "bench-tls")
	for _, s := range servers {
		c, file := s.start(&watched{mount: mount}, group)
		cases := []situation{
			{s.name + "_nothing", func(*testing.B) func() { return func() {} }},
			{s.name + "_empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_exit") }},
			{s.name + "_requests", func(b *testing.B) func() { return attachWant(b, requests) }},
			{s.name + "_traced", func(b *testing.B) func() { return attachTLS(b, group, c.cmd.Process.Pid, file) }},
		}
		rates := make([][]float64, len(cases))
		for range 3 {
			for i, k := range cases {
				detach := k.attach(b)
				rates[i] = append(rates[i], wrk(b, s.url))
				detach()
			}
		}
		report(b, cases, rates, "requests/s", true)
		c.end(b, syscall.SIGTERM)
	}
}

func attachTLS(b *testing.B, g group, pid int, file TLSFile) func() {
	w := newAgent(b, requests)
	if err := w.AddCgroup(g.id); err != nil {
		b.Fatal(err)
	}
	if err := w.TraceTLS(TLSProcess{PID: pid, CgroupID: g.id, Files: []TLSFile{file}}); err != nil {
		b.Fatal(err)
	}
	return func() {
		w.UntraceTLS(pid)
		if err := w.stop(); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkTLSPlaces is what it costs to find the places of a file that are probed.
func BenchmarkTLSPlaces(b *testing.B) {
	for _, name := range []string{"openssl", "go"} {
		b.Run(name, func(b *testing.B) {
			path := "/proc/self/exe"
			if name == "openssl" {
				path = opensslHere(b)
			}
			file, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := findPlaces(file, name == "go"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
