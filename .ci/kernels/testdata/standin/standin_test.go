// Package standin is bundled in place of the truth tests to prove the kernel runner itself.
package standin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTruthMachine(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	t.Log("running on", unix.ByteSliceToString(name.Release[:]))
	for _, path := range []string{"/proc/self/stat", "/sys/kernel/btf/vmlinux", "/dev/null", "/sys/kernel/tracing/events/sched", "/sys/fs/bpf", "/sys/fs/cgroup", "/sys/module/veth", "/sys/module/overlay", "/sys/module/sch_netem"} {
		_, err := os.Stat(path)
		answer := map[bool]string{true: "yes", false: "no"}[err == nil]
		fmt.Printf("YAGURA_CELL %s %s %s\n", filepath.Base(path), answer, map[bool]string{false: "needs " + path}[err == nil])
		if err != nil {
			t.Error(err)
		}
	}
}

func TestTruthLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}

func TestTruthCgroup(t *testing.T) {
	if err := os.Mkdir("/sys/fs/cgroup/unified/truth", 0o755); err == nil {
		fmt.Println("YAGURA_CELL cgroup_hybrid yes")
		return
	}
	if err := os.Mkdir("/sys/fs/cgroup/truth", 0o755); err != nil {
		t.Fatal(err)
	}
	fmt.Println("YAGURA_CELL cgroup_v2 yes")
}

func TestTruthSkips(t *testing.T) { t.Skip("needs 99.0: everything") }

func TestTruthFails(t *testing.T) {
	if os.Getenv("YAGURA_GUEST") == "1" && os.Getenv("FAIL") != "" {
		t.Error("as told")
	}
}
