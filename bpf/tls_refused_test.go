package bpf

import (
	"errors"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// The releases are those of the kernel's own record of CVE-2025-21834: affected from 6.11 on, unaffected from 6.12.14,
// 6.13.3 and 6.14 on.
func TestKillsAtReturns(t *testing.T) {
	t.Parallel()
	cases := []struct {
		release string
		kills   bool
	}{
		{"5.10.0-32-cloud-amd64", false},
		{"6.1.0-28-amd64", false},
		{"6.10.14", false},
		{"6.11.0", true},
		{"6.11.0-29-generic", true},
		{"6.11.11", true},
		{"6.12", true},
		{"6.12.0-55.el10.x86_64", true},
		{"6.12.9-amd64", true},
		{"6.12.13", true},
		{"6.12.14", false},
		{"6.12.43+deb12-amd64", false},
		{"6.13.0-rc7", true},
		{"6.13.2-arch1-1", true},
		{"6.13.3", false},
		{"6.14.0-15-generic", false},
		{"6.18.44", false},
		{"7.2.13+deb14-cloud-amd64", false},
		{"", false},
		{"six", false},
	}
	for _, c := range cases {
		if got := killsAtReturns(c.release); got != c.kills {
			t.Errorf("killsAtReturns(%q) = %v, want %v", c.release, got, c.kills)
		}
	}
}

func TestJudgeTry(t *testing.T) {
	t.Parallel()
	ended := func(script string) error { return exec.Command("/bin/sh", "-c", script).Run() }
	cases := []struct {
		name          string
		ended, unread error
		hits          uint64
		survived, err bool
	}{
		{"it lived and was probed", nil, nil, 1, true, false},
		{"it lived but was not probed", nil, nil, 0, false, true},
		{"the filter killed it", ended("kill -SYS $$"), nil, 0, false, false},
		{"something else killed it", ended("kill -SEGV $$"), nil, 0, false, true},
		{"it got no filter", ended("exit 1"), nil, 0, false, true},
		{"it could not be run", errors.New("no such file"), nil, 0, false, true},
		{"the probe's count cannot be read", nil, errors.New("no map"), 0, false, true},
	}
	for _, c := range cases {
		survived, err := judgeTry(c.ended, c.unread, c.hits)
		if survived != c.survived || (err != nil) != c.err {
			t.Errorf("%s: %v, %v; want %v, and an error %v", c.name, survived, err, c.survived, c.err)
		}
	}
}

// TestTryProgramRuns: without a probe the program is harmed by no kernel.
func TestTryProgramRuns(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs x86-64: the program is for it")
	}
	file, err := memoryFile(tryProgram())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	if err := cmd.Run(); err != nil {
		t.Errorf("the program ends with %v, want status 0", err)
	}
}

// TestReturnsCanBeTried: here and on the kernels of .ci/kernels the trial itself must work.
func TestReturnsCanBeTried(t *testing.T) {
	w := startAgent(t, requests)
	if runtime.GOARCH != "amd64" {
		t.Skip("needs x86-64: only its kernel makes a system call of its own")
	}
	if err := w.prepareLibraries(); err != nil {
		t.Fatal(err)
	}
	survived, err := w.surviveReturn()
	if err != nil {
		t.Fatal(err)
	}
	if kills := killsAtReturns(kernelRelease()); survived == kills {
		t.Errorf("kernel %s: survived %v, but the list of releases says it kills: %v", kernelRelease(), survived, kills)
	}
}

// TestTLSProgramsUseTheKernelsStack: a program on a probe of user space that has a stack of its own has its stack written
// over by whoever preempts it, which is the end of the kernel. See TLS_PROBE in tls.bpf.c.
func TestTLSProgramsUseTheKernelsStack(t *testing.T) {
	t.Parallel()
	spec, err := loadYagura()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name, p := range spec.Programs {
		if p.Type != ebpf.Kprobe {
			continue
		}
		n++
		calls := slices.ContainsFunc(p.Instructions, func(i asm.Instruction) bool {
			return i.IsBuiltinCall() && asm.BuiltinFunc(i.Constant) == asm.FnTailCall
		})
		if !calls {
			t.Errorf("%s has no tail call", name)
		}
	}
	if want := len(tlsParsers) + len(slices.Collect(probePrograms())); n != want {
		t.Errorf("%d programs are for probes, want %d", n, want)
	}
}
