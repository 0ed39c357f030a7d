package rules

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// fakeProc writes files of process 42 below a directory of the test.
func fakeProc(t *testing.T, files, links map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(root, "42", name), text)
	}
	for name, to := range links {
		path := filepath.Join(root, "42", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFieldsReadFromProc(t *testing.T) {
	t.Parallel()
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	root := fakeProc(t, map[string]string{
		"status":         "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t 512 kB\nThreads:\t3\n",
		"limits":         "Limit                     Soft Limit           Hard Limit           Units\nMax open files            10                   4096                 files\n",
		"task/43/stat":   "43 (a ) b) S 1 1 1 0 -1 4194304 111 0 222 0 0\n",
		"cgroup":         "3:cpu,cpuacct:/a\n0::/user.slice\n",
		"net/tcp":        head + "   0: 0100007F:1F90 00000000:0000 0A 0 0 0 0 0 700 1\n   1: 0500000A:9C40 04030201:01BB 01 0:0 0:0 0 0 0 701 1\n",
		"net/unix":       "Num RefCount Protocol Flags Type St Inode Path\n0: 2 0 0 1 01 702 /run/x\n",
		"net/tcp6":       head + "   0: 0000000000000000FFFF00000500000A:0016 0000000000000000FFFF000004030201:0050 01 0:0 0:0 0 0 0 703 1\n",
		"fd/placeholder": "",
	}, map[string]string{"fd/0": "socket:[701]", "fd/1": "pipe:[9]", "fd/2": "/dev/null", "fd/3": "socket:[702]", "fd/4": "anon_inode:[eventfd]",
		"fd/5": "anon_inode:inotify", "fd/6": "socket:[703]", "fd/7": "/memfd:a (deleted)"})
	r := NewRecord(nil, root)
	r.Reset(&event.Event{Kind: event.Exit, PID: 42, TID: 43})
	for field, want := range map[string]string{
		"proc.vmsize": "2048", "proc.vmrss": "512", "proc.vmswap": "<NA>", "proc.nthreads": "3", "proc.nchilds": "2", "thread.vmsize": "0",
		"proc.fdlimit": "10", "proc.fdopencount": "9", "proc.fdusage": "90", "thread.pfminor": "111", "thread.pfmajor": "222",
		"thread.cgroups": "cpu=/a cpuacct=/a =/user.slice", "thread.cgroup.cpuacct": "/a", "thread.cgroup.memory": "<NA>",
		"proc.stdin.type": "ipv4", "proc.stdin.name": "10.0.0.5:40000->1.2.3.4:443", "proc.stdout.type": "pipe", "proc.stdout.name": "pipe:[9]",
		"proc.stderr.type": "file", "proc.stderr.name": "/dev/null",
		"fd.types[3]": "(unix)", "fd.types[4]": "(event)", "fd.types[5]": "(inotify)", "fd.types[6]": "(ipv4)", "fd.types[7]": "(memfd)", "fd.types[99]": "<NA>",
	} {
		if got := read(t, r, field); got != want {
			t.Errorf("%s = %q, want %q", field, got, want)
		}
	}
	if !holds(t, r, "fd.types intersects (unix)") || holds(t, r, "fd.types in (unix, file)") || !holds(t, r, "fd.types in (ipv4, pipe, file, unix, event, inotify, memfd)") {
		t.Error("fd.types does not hold what the process has open")
	}
}

func TestStandardInputThatIsASocketOfOurs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("needs a loopback address:", err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := NewRecord(nil, "/proc")
	r.Reset(&event.Event{Kind: event.Exit, PID: uint32(os.Getpid())})
	kind, name, ok := r.stream(int(f.Fd()))
	if !ok || kind != event.IPv4Socket || name != l.Addr().String() {
		t.Errorf("descriptor %s is %v %q, want an IPv4 socket %s", strconv.Itoa(int(f.Fd())), kind, name, l.Addr())
	}
}
