package requests

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

var quiet = slog.New(slog.DiscardHandler)

func end(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestFlowIsADestinationThatWasTranslated(t *testing.T) {
	for _, c := range []struct {
		name, line  string
		asked, real string // empty: none
	}{
		{"a service", "ipv4     2 tcp      6 86398 ESTABLISHED src=10.244.1.7 dst=10.96.0.10 sport=40000 dport=80 src=10.244.1.9 dst=10.244.1.7 sport=8080 dport=40000 [ASSURED] mark=0 zone=0 use=2",
			"10.96.0.10:80", "10.244.1.9:8080"},
		{"as conntrack -L prints it", "udp      17 29 src=10.0.0.1 dst=10.96.0.10 sport=5353 dport=53 [UNREPLIED] src=10.244.0.3 dst=10.0.0.1 sport=53 dport=5353 mark=0 use=1",
			"10.96.0.10:53", "10.244.0.3:53"},
		{"only the port", "ipv4 2 tcp 6 100 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=8080 dport=1000",
			"10.0.0.2:80", "10.0.0.2:8080"},
		{"with counters", "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=1 dport=2 packets=3 bytes=4 src=10.0.0.3 dst=10.0.0.1 sport=5 dport=1 packets=6 bytes=7",
			"10.96.0.1:2", "10.0.0.3:5"},
		{"IPv6", "ipv6     10 tcp      6 9 TIME_WAIT src=fd00::1 dst=fd00::2 sport=1 dport=443 src=fd00::3 dst=fd00::1 sport=8443 dport=1", "[fd00::2]:443", "[fd00::3]:8443"},
		{"nothing translated", "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1", "", ""},
		{"only the source", "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=80 src=10.0.0.2 dst=10.9.9.9 sport=80 dport=61000", "", ""},
		{"no ports", "ipv4 2 icmp 1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.3 dst=10.0.0.1 type=0 code=0 id=1", "", ""},
		{"cut", "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=1 dport=2 src=10.0.0.3", "", ""},
		{"port out of range", "tcp src=1.1.1.1 dst=2.2.2.2 sport=1 dport=70000 src=3.3.3.3 dst=1.1.1.1 sport=2 dport=1", "", ""},
		{"no address", "tcp src=1.1.1.1 dst=x sport=1 dport=7 src=3.3.3.3 dst=1.1.1.1 sport=2 dport=1", "", ""},
		{"empty", "", "", ""},
	} {
		f, ok := parseFlow(c.line)
		if ok != (c.asked != "") || ok && (f.asked != end(c.asked) || f.real != end(c.real)) {
			t.Errorf("%s: %v, %v, want %s to %s", c.name, f, ok, c.asked, c.real)
		}
	}
}

// attr is one netlink attribute, padded.
func attr(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func nest(kind uint16, parts ...[]byte) []byte {
	return attr(kind|unix.NLA_F_NESTED, slices.Concat(parts...)...)
}

// tuple is one direction of a flow, from source to target.
func tuple(kind uint16, source, target string) []byte {
	s, d := end(source), end(target)
	from, to := uint16(1), uint16(2)
	if s.Addr().Is6() {
		from, to = 3, 4
	}
	port := func(e netip.AddrPort) []byte { return binary.BigEndian.AppendUint16(nil, e.Port()) }
	return nest(kind,
		nest(1, attr(from, s.Addr().AsSlice()...), attr(to, d.Addr().AsSlice()...)),
		nest(2, attr(1, 6), attr(2, port(s)...), attr(3, port(d)...)))
}

func message(kind uint16, body ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(append(b, make([]byte, 10)...), body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func entry(attrs ...[]byte) []byte {
	return message(1<<8, append([]byte{2, 0, 0, 0}, slices.Concat(attrs...)...)...)
}

func TestDumpTellsTranslationsUntilItsEnd(t *testing.T) {
	dump := slices.Concat(
		entry(tuple(1, "10.0.0.1:1000", "10.96.0.1:80"), tuple(2, "10.0.0.9:8080", "10.0.0.1:1000"), attr(3, 0, 0, 0, 0x20)),
		entry(tuple(1, "10.0.0.1:1001", "10.0.0.2:80"), tuple(2, "10.0.0.2:80", "10.0.0.1:1001")), // not translated
		entry(tuple(1, "[fd00::1]:1", "[fd00::2]:443"), tuple(2, "[fd00::3]:8443", "[fd00::1]:1")),
		entry(tuple(1, "10.0.0.1:1000", "10.96.0.2:80")), // no answer
		entry(attr(1), attr(2)),
	)
	var got []flow
	done, err := parseDump(dump, func(f flow) { got = append(got, f) })
	want := []flow{{end("10.96.0.1:80"), end("10.0.0.9:8080")}, {end("[fd00::2]:443"), end("[fd00::3]:8443")}}
	if done || err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, %v, want %v", got, done, err, want)
	}
	if done, err := parseDump(message(unix.NLMSG_DONE, 0, 0, 0, 0), nil); !done || err != nil {
		t.Errorf("the end: %v, %v", done, err)
	}
}

func TestDumpRefusesWhatIsNoMessage(t *testing.T) {
	refused := binary.NativeEndian.AppendUint32(nil, ^uint32(0)) // -1
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"not permitted":       {message(unix.NLMSG_ERROR, refused...), syscall.EPERM},
		"an error of 2 bytes": {message(unix.NLMSG_ERROR, 1, 1), errNetlinkShort},
		"a length of 3":       {append([]byte{3, 0, 0, 0}, make([]byte, 12)...), errNetlinkShort},
		"longer than it is":   {append([]byte{200, 0, 0, 0}, make([]byte, 12)...), errNetlinkShort},
	} {
		if done, err := parseDump(c.b, func(flow) {}); !done || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, done, err, c.want)
		}
	}
}

func FuzzDump(f *testing.F) {
	f.Add(entry(tuple(1, "10.0.0.1:1000", "10.96.0.1:80"), tuple(2, "10.0.0.9:8080", "10.0.0.1:1000")))
	f.Add(message(unix.NLMSG_ERROR, 1, 1))
	f.Add(message(unix.NLMSG_DONE))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseDump(b, func(f flow) {
			if !f.asked.IsValid() || !f.real.IsValid() || f.asked == f.real {
				t.Errorf("not a translation: %v", f)
			}
		})
	})
}

func FuzzFlow(f *testing.F) {
	f.Add("ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=1 dport=2 src=10.0.0.3 dst=10.0.0.1 sport=5 dport=1")
	f.Fuzz(func(t *testing.T, line string) {
		if f, ok := parseFlow(line); ok && (!f.asked.IsValid() || !f.real.IsValid() || f.asked == f.real) {
			t.Errorf("not a translation: %v", f)
		}
	})
}

func natOf(now func() time.Time, flows ...flow) *NAT {
	n := NewNAT("", quiet)
	n.now = now
	n.read = func(_ string, yield func(flow)) error {
		for _, f := range flows {
			yield(f)
		}
		return nil
	}
	return n
}

func TestNATRemembersTranslationsForAWhile(t *testing.T) {
	now := time.Unix(1000, 0)
	vip := end("10.96.0.1:80")
	n := natOf(func() time.Time { return now }, flow{vip, end("10.0.0.1:8080")}, flow{vip, end("10.0.0.2:8080")}, flow{vip, end("10.0.0.1:8080")})
	if got := n.Ends(vip); got != nil {
		t.Errorf("before it has run: %v", got)
	}
	n.Refresh()
	both := []netip.AddrPort{end("10.0.0.1:8080"), end("10.0.0.2:8080")}
	if got := n.Ends(vip); !slices.Equal(got, both) {
		t.Errorf("Ends = %v, want %v", got, both)
	}
	n.read = func(string, func(flow)) error { return nil }
	now = now.Add(9 * time.Minute)
	n.Refresh()
	if got := n.Ends(vip); !slices.Equal(got, both) || n.Len() != 1 {
		t.Errorf("nine minutes after the last connection: %v", got)
	}
	now = now.Add(2 * time.Minute)
	n.Refresh()
	if got := n.Ends(vip); got != nil || n.Len() != 0 {
		t.Errorf("eleven minutes after: %v", got)
	}
}

func TestNATIsBounded(t *testing.T) {
	n := natOf(time.Now)
	n.read = func(_ string, yield func(flow)) error {
		for i := range 100_000 {
			yield(flow{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80), end("10.244.0.1:8080")})
			yield(flow{end("10.96.0.1:80"), netip.AddrPortFrom(netip.MustParseAddr("10.244.0.1"), uint16(i))})
		}
		return nil
	}
	n.Refresh()
	if n.Len() != maxNAT || len(n.Ends(end("10.96.0.1:80"))) != maxNATEnds {
		t.Errorf("%d destinations, %d ends of one", n.Len(), len(n.Ends(end("10.96.0.1:80"))))
	}
}

// What an earlier reader holds does not change under it.
func TestNATGivesWhatNeverChanges(t *testing.T) {
	vip := end("10.96.0.1:80")
	n := natOf(time.Now, flow{vip, end("10.0.0.1:1")}, flow{vip, end("10.0.0.2:2")}, flow{vip, end("10.0.0.3:3")})
	n.Refresh()
	held := n.Ends(vip)
	n.read = func(_ string, yield func(flow)) error { yield(flow{vip, end("10.0.0.4:4")}); return nil }
	n.Refresh()
	n.read = func(_ string, yield func(flow)) error { yield(flow{vip, end("10.0.0.5:5")}); return nil }
	n.Refresh()
	if len(held) != 3 || held[2] != end("10.0.0.3:3") || len(n.Ends(vip)) != 5 {
		t.Errorf("held %v, now %v", held, n.Ends(vip))
	}
}

func TestNATSaysOnceThatItCannotRead(t *testing.T) {
	var log bytes.Buffer
	n := NewNAT("", slog.New(slog.NewTextHandler(&log, nil)))
	n.read = func(string, func(flow)) error { return syscall.EPERM }
	for range 3 {
		n.Refresh()
	}
	if got := strings.Count(log.String(), "operation not permitted"); got != 1 {
		t.Errorf("%d lines, want 1:\n%s", got, log.String())
	}
}

func TestNATRunsUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		n, reads := NewNAT("", quiet), 0
		n.read = func(string, func(flow)) error { reads++; return nil }
		if err := n.Run(ctx); err != nil || reads < 4 || reads > 5 {
			t.Errorf("%d readings in a minute, %v", reads, err)
		}
	})
}

func TestScanStopsInTime(t *testing.T) {
	line := "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=1 dport=2 src=10.0.0.3 dst=10.0.0.1 sport=5 dport=1\n"
	n := 0
	err := scanTranslations(endless{[]byte(line)}, time.Now().Add(-time.Second), func(flow) { n++ })
	if err != nil || n != 1 {
		t.Errorf("%d flows of a file without an end, %v", n, err)
	}
	err = scanTranslations(io.MultiReader(strings.NewReader(line), strings.NewReader(strings.Repeat("x", 100_000))), time.Now().Add(time.Hour), func(flow) { n++ })
	if err == nil || n != 2 {
		t.Errorf("a line of 100,000 bytes: %d flows, %v", n, err)
	}
}

type endless struct{ line []byte }

func (e endless) Read(b []byte) (int, error) { return copy(b, e.line), nil }

func TestNothingIsAskedWhereNothingIsTracked(t *testing.T) {
	if err := readTranslations(t.TempDir(), func(flow) { t.Error("a flow") }); err != nil {
		t.Error(err)
	}
}

// Without netlink, the file of the host's network name space is read.
func TestFileIsReadInAnotherNetworkNameSpace(t *testing.T) {
	procfs := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(procfs, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(procfs, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("sys/net/netfilter/nf_conntrack_count", "1\n")
	if err := os.MkdirAll(filepath.Join(procfs, "1/ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("net:[1]", filepath.Join(procfs, "1/ns/net")); err != nil {
		t.Fatal(err)
	}
	if err := readTranslations(procfs, func(flow) {}); err == nil || !strings.Contains(err.Error(), "not in the host's network name space") {
		t.Errorf("without the file: %v", err)
	}
	write("1/net/nf_conntrack", "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=1 dport=2 src=10.0.0.3 dst=10.0.0.1 sport=5 dport=1\n")
	var got []flow
	if err := readTranslations(procfs, func(f flow) { got = append(got, f) }); err != nil || !slices.Equal(got, []flow{{end("10.96.0.1:2"), end("10.0.0.3:5")}}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestKernelTellsTranslations makes entries in a network name space of its own.
func TestKernelTellsTranslations(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a network name space")
	}
	if _, err := exec.LookPath("conntrack"); err != nil {
		t.Skip("needs conntrack, to make entries")
	}
	done := make(chan []flow)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its name space
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		for _, args := range []string{
			"-I -p tcp -s 192.0.2.1 -d 192.0.2.2 --sport 1000 --dport 80 --dst-nat 192.0.2.3:8080 --state ESTABLISHED -t 60",
			"-I -p tcp -s 192.0.2.1 -d 192.0.2.4 --sport 1001 --dport 80 --state ESTABLISHED -t 60",
			"-I -p udp -s 2001:db8::1 -d 2001:db8::2 --sport 1000 --dport 53 --dst-nat 2001:db8::3 -t 60",
		} {
			if out, err := exec.Command("conntrack", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("conntrack %s: %v\n%s", args, err, out)
			}
		}
		var got, all []flow
		if err := errors.Join(dumpTranslations(false, func(f flow) { got = append(got, f) }), dumpTranslations(true, func(f flow) { all = append(all, f) })); err != nil {
			t.Error(err)
		}
		if len(all) != len(got) {
			t.Errorf("%v if the kernel tells of all connections, %v else", all, got)
		}
		done <- got
	}()
	got := <-done
	slices.SortFunc(got, func(a, b flow) int { return a.asked.Compare(b.asked) })
	want := []flow{{end("192.0.2.2:80"), end("192.0.2.3:8080")}, {end("[2001:db8::2]:53"), end("[2001:db8::3]:53")}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
