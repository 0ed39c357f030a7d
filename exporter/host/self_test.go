package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const keepChild = "YAGURA_TEST_KEEP_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(keepChild) != "" {
		if err := runKeepChild(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("kept")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKeepOnEveryThread runs Keep in a child, since what is given up is gone for good.
func TestKeepOnEveryThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: capabilities to give up")
	}
	child := exec.Command("/proc/self/exe", "-test.run=^$")
	child.Env = append(os.Environ(), keepChild+"=1")
	out, err := child.CombinedOutput()
	if strings.Contains(string(out), ErrNotSupported.Error()) {
		t.Skip("needs a build without cgo (and so without -race): one that can change every thread")
	}
	if err != nil || strings.TrimSpace(string(out)) != "kept" {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

func runKeepChild() error {
	release := make(chan struct{})
	defer close(release)
	occupyThreads(4, release)
	aside := []Capability{unix.CAP_AUDIT_CONTROL}
	if err := Keep([]Capability{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH}, aside); err != nil {
		return err
	}
	occupyThreads(4, release)
	want := []string{"CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF"}
	effective, permitted := Current()
	if !slices.Equal(effective, want) || !slices.Contains(permitted, "CAP_AUDIT_CONTROL") || len(permitted) != len(want)+1 {
		return fmt.Errorf("Current() = %v, %v, want %v, and one more permitted", effective, permitted, want)
	}
	if err := checkThreads(); err != nil {
		return err
	}
	if err := checkRaise(); err != nil {
		return err
	}
	if err := os.Chown("/proc/self/comm", 1, 1); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("chown after CAP_CHOWN was given up: %v", err)
	}
	out, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		return err
	}
	return checkStatus("a program run by it", string(out), 0)
}

// checkRaise says whether a capability that was kept aside is in effect on one thread only, and for as long as it should be.
func checkRaise() error {
	for _, c := range []Capability{unix.CAP_AUDIT_CONTROL, unix.CAP_CHOWN} {
		lower := Raise(c)
		raised, _ := Current()
		others := checkOthers()
		lower()
		after, _ := Current()
		if has := slices.Contains(raised, c.String()); has != (c == unix.CAP_AUDIT_CONTROL) || len(after) != 4 || others != nil {
			return fmt.Errorf("%v: raised %v, afterwards %v, other threads: %v", c, raised, after, others)
		}
	}
	return checkThreads()
}

// checkOthers looks at all threads but this one.
func checkOthers() error {
	return checkThreads(fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid()))
}

// occupyThreads makes at least n threads that stay.
func occupyThreads(n int, release chan struct{}) {
	ready := make(chan struct{})
	for range n {
		go func() {
			runtime.LockOSThread()
			ready <- struct{}{}
			<-release
		}()
	}
	for range n {
		<-ready
	}
}

func checkThreads(but ...string) error {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) < 8 {
		return fmt.Errorf("%d threads, want 8: %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if slices.Contains(but, file) {
			continue
		}
		if err := checkStatus(file, string(data), 1<<unix.CAP_AUDIT_CONTROL); err != nil {
			return err
		}
	}
	return nil
}

func checkStatus(where, status string, aside uint64) error {
	const caps = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH
	kept, permitted, none := fmt.Sprintf("%016x", uint64(caps)), fmt.Sprintf("%016x", caps|aside), strings.Repeat("0", 16)
	for _, want := range []string{"CapInh:\t" + none, "CapPrm:\t" + permitted, "CapEff:\t" + kept, "CapBnd:\t" + kept, "CapAmb:\t" + none, "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want+"\n") {
			return fmt.Errorf("%s: no %q in\n%s", where, want, status)
		}
	}
	return nil
}

func TestCapabilityNames(t *testing.T) {
	for c, want := range map[Capability]string{
		unix.CAP_CHOWN: "CAP_CHOWN", unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN", unix.CAP_AUDIT_READ: "CAP_AUDIT_READ",
		unix.CAP_BPF: "CAP_BPF", unix.CAP_PERFMON: "CAP_PERFMON", unix.CAP_CHECKPOINT_RESTORE: "CAP_CHECKPOINT_RESTORE",
		unix.CAP_LAST_CAP + 1: "CAP_41", -1: "CAP_-1",
	} {
		if got := c.String(); got != want {
			t.Errorf("Capability(%d) = %q, want %q", int(c), got, want)
		}
	}
	if len(capabilityNames) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names, want %d", len(capabilityNames), unix.CAP_LAST_CAP+1)
	}
}
