//go:build soak

package fim

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// TestSoakScan builds the baseline of a million files, scans them, and verifies the store, beside find(1) and sha256sum(1) over the
// same files. No step may have more than 200 MiB of memory.
func TestSoakScan(t *testing.T) {
	s := newTree(t)
	const files = 1_000_000
	makeTree(t, s.root, files)
	timed := func(what string, do func()) time.Duration {
		debug.FreeOSMemory()
		resets := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil // of the peak
		began, used := time.Now(), cpu(t)
		do()
		took := time.Since(began)
		used = cpu(t) - used
		kib := peak(t)
		t.Logf("%s: %s, %.0f files/s, %.1f µs of CPU a file, peak %d MiB", what, took.Round(time.Millisecond), files/took.Seconds(),
			used.Seconds()*1e6/files, kib>>10)
		if resets && kib > 200<<10 {
			t.Errorf("%s: %d MiB, want at most 200", what, kib>>10)
		}
		return used
	}
	find := timed("find", func() { must(t, exec.Command("find", s.root, "-newermt", "2100-01-01").Run()) })
	sums := timed("sha256sum", func() {
		must(t, exec.Command("sh", "-c", `find "$0" -type f -print0 | xargs -0 sha256sum >/dev/null`, s.root).Run())
	})
	scan := func(o ScanOptions) func() {
		return func() {
			_, err := Scan(t.Context(), o)
			must(t, err)
		}
	}
	o := s.o
	o.Build, o.LowPriority = true, true
	build := timed("build", scan(o))
	timed("first scan", scan(s.o))
	s.age()
	unchanged := timed("scan", scan(s.o))
	o = s.o
	o.Paranoid = true
	paranoid := timed("scan that reads all", scan(o))
	timed("verify", func() { must(t, s.o.Store.Verify(t.Context())) })
	if len(s.told) > 0 {
		t.Errorf("told of %d that have not changed", len(s.told))
	}
	t.Logf("in time of CPU: build %.2f and reading all %.2f times sha256sum, scan %.2f times find; store %d bytes a file", build.Seconds()/sums.Seconds(),
		paranoid.Seconds()/sums.Seconds(), unchanged.Seconds()/find.Seconds(), s.o.Store.used(t)/files)
}

// peak is the most memory that this process has had since it was asked to forget, in KiB.
func peak(t *testing.T) (kib int) {
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(rest, &kib)
	must(t, err)
	return kib
}
