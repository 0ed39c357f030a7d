package requests

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestAddressesSayWhoHasOne(t *testing.T) {
	at := func(w event.Workload, ip string) *event.Container { return &event.Container{Workload: w, IP: ip} }
	pause, onHost := at(pod("cart", ""), "10.244.0.6"), at(container("node-agent"), "192.0.2.1")
	pause.IsSandbox, onHost.HostNetwork = true, true
	listens := map[event.Workload]uint16{pod("cart", "proxy"): 15001, pod("cart", "app"): 8080}
	a := NewAddresses([]*event.Container{
		at(container("web"), "172.17.0.2"), at(container("six"), "fd00::7"),
		pause, at(pod("cart", "app"), "10.244.0.6"), at(pod("cart", "proxy"), "10.244.0.6"),
		at(container("x"), "172.18.0.2"), at(container("y"), "172.18.0.2"),
		at(container("none"), ""), at(container("odd"), "somewhere"), onHost,
	}, []netip.Addr{addr("192.0.2.1")}, func(w event.Workload, port uint16) bool { return listens[w] == port })
	for _, c := range []struct {
		end  string
		want event.Workload
		ok   bool
	}{
		{"172.17.0.2:80", container("web"), true},
		{"[fd00::7]:80", container("six"), true},
		{"10.244.0.6:8080", pod("cart", "app"), true},
		{"10.244.0.6:15001", pod("cart", "proxy"), true},
		{"10.244.0.6:41000", pod("cart", ""), true},
		{"172.18.0.2:80", event.Workload{}, false}, // two that have nothing in common
		{"192.0.2.1:22", event.Workload{}, true},
		{"192.0.2.2:22", event.Workload{}, false},
	} {
		if got, ok := a.Workload(end(c.end)); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v, want %+v, %v", c.end, got, ok, c.want, c.ok)
		}
	}
}

const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 link UNICAST
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
           |-- 192.0.2.2
              /32 host LOCAL
           |-- 172.17.0.1
              /32 host LOCAL
`

const interfaces = `fd000000000000000000000000000002 04 40 00 82     eth0
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
`

func TestHostAddressesAreThoseOfItsInterfaces(t *testing.T) {
	procfs := t.TempDir()
	if _, err := HostAddresses(procfs); err == nil {
		t.Error("there is no file, and no error")
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(procfs, "1/net"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(procfs, "1/net", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("fib_trie", trie)
	v4 := []netip.Addr{addr("172.17.0.1"), addr("192.0.2.2")}
	if got, err := HostAddresses(procfs); err != nil || !slices.Equal(got, v4) {
		t.Errorf("without IPv6: %v, %v, want %v", got, err, v4)
	}
	write("if_inet6", interfaces)
	if got, err := HostAddresses(procfs); err != nil || !slices.Equal(got, append(v4, addr("fd00::2"))) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzHostAddresses(f *testing.F) {
	f.Add(trie)
	f.Add(interfaces)
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range append(parseTrie(text), parseInterfaces(text)...) {
			if !a.IsValid() || a.IsLoopback() {
				t.Errorf("%v", a)
			}
		}
	})
}
