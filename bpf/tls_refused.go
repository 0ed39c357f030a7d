package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Where a function's return is probed, the kernel lets the process make a system call of its own on x86-64 since 6.11
// (ff474a78cef5). Until cf6cb56ef244 that call was held against the process's seccomp filter, which mostly has never heard
// of it and kills: every container has such a filter. The fix is in 6.12.14, 6.13.3 and 6.14, and nobody knows in which
// kernels of distributions.

// tryReturns says why returns of functions must not be probed here, nil if they may. It finds out by letting a process with
// a filter return from a probed function; where that cannot be tried, the kernel's release decides.
func (a *Agent) tryReturns() error {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	survived, err := a.surviveReturn()
	release := kernelRelease()
	switch {
	case err == nil && survived:
		return nil
	case err == nil:
		return fmt.Errorf("kernel %s kills processes with a seccomp filter where a function's return is probed: want 6.12.14, 6.13.3, 6.14 or newer", release)
	case killsAtReturns(release):
		return fmt.Errorf("kernel %s is of those that kill processes with a seccomp filter where a function's return is probed, and that could not be tried: %w", release, err)
	}
	a.log.Debug("probed returns could not be tried under a seccomp filter", "err", err)
	return nil
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// killsAtReturns says whether a release is of those without the fix, as the kernel's own list has them (CVE-2025-21834).
func killsAtReturns(release string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch); n < 2 || major != 6 {
		return false
	}
	switch minor {
	case 11:
		return true
	case 12:
		return patch < 14
	case 13:
		return patch < 3
	}
	return false
}

// surviveReturn runs a program that forbids itself the system call, calls a probed function and ends: whether it lives to
// do so. An error says that it was not tried.
func (a *Agent) surviveReturn() (bool, error) {
	program := a.libraries.programs["tls_tried"]
	if program == nil {
		return false, errors.New("the kernel refuses the program")
	}
	file, err := memoryFile(tryProgram())
	if err != nil {
		return false, err
	}
	defer file.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	executable, err := link.OpenExecutable(path)
	if err != nil {
		return false, err
	}
	probe, err := a.attachTo(executable, program, true, tryFunction)
	if err != nil {
		return false, fmt.Errorf("probe the return: %w", err)
	}
	defer probe.Close()
	before, err := a.tlsCount(tlsTried)
	if err != nil {
		return false, err
	}
	cmd := exec.Command(path)
	cmd.Env = []string{}
	err = cmd.Run()
	after, err2 := a.tlsCount(tlsTried)
	return judgeTry(err, err2, after-before)
}

// judgeTry takes how the program ended and how often the probe was hit.
func judgeTry(ended, unread error, hits uint64) (bool, error) {
	var exit *exec.ExitError
	switch {
	case unread != nil:
		return false, unread
	case ended == nil && hits > 0:
		return true, nil
	case errors.As(ended, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGSYS:
		return false, nil
	case ended != nil:
		return false, fmt.Errorf("run under a seccomp filter: %w", ended)
	}
	return false, errors.New("the probe was not hit")
}

// memoryFile is a file without a name that may be run.
func memoryFile(contents []byte) (*os.File, error) {
	const mayRun = 0x10 // MFD_EXEC, 6.3
	fd, err := unix.MemfdCreate("yagura-try", unix.MFD_CLOEXEC|mayRun)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("yagura-try", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "yagura-try")
	if _, err := file.Write(contents); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Where the parts of tryProgram are in its file, and in memory behind tryAddress.
const (
	tryFunction = 64 + 56 // behind ELF's header and one program header
	tryFilter   = tryFunction + 8
	tryRules    = tryFilter + 16
	tryStart    = tryRules + 5*8
	tryAddress  = 0x400000
)

// tryProgram is an x86-64 program that installs a filter which kills at the system calls uretprobe and uprobe and allows
// all others; calls a function, and exits with status 0, or 1 if it got no filter.
func tryProgram() []byte {
	const uretprobe, uprobe = 335, 336 // numbers of system calls
	var b bytes.Buffer
	put := func(parts ...any) {
		for _, v := range parts {
			binary.Write(&b, binary.LittleEndian, v) // to memory: it cannot fail
		}
	}
	code := func(bytes ...byte) { put(bytes) }

	code(0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	put(uint16(2), uint16(62), uint32(1), uint64(tryAddress+tryStart), uint64(64), uint64(0), uint32(0)) // executable, x86-64
	put(uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0))                              // sizes; one program header
	put(uint32(1), uint32(5), uint64(0), uint64(tryAddress), uint64(tryAddress))                         // load, read and run
	put(uint64(4096), uint64(4096), uint64(4096))

	code(0x90, 0xc3, 0, 0, 0, 0, 0, 0)                      // function: nop, ret
	put(uint64(5), uint64(tryAddress+tryRules))             // struct sock_fprog
	put(uint16(0x20), byte(0), byte(0), uint32(0))          // load the call's number
	put(uint16(0x15), byte(1), byte(0), uint32(uretprobe))  // the one: to kill
	put(uint16(0x15), byte(0), byte(1), uint32(uprobe))     // not the other: to allow
	put(uint16(0x06), byte(0), byte(0), uint32(0x80000000)) // SECCOMP_RET_KILL_PROCESS
	put(uint16(0x06), byte(0), byte(0), uint32(0x7fff0000)) // SECCOMP_RET_ALLOW

	code(0xbf, 38, 0, 0, 0, 0xbe, 1, 0, 0, 0) // edi, esi: PR_SET_NO_NEW_PRIVS, 1
	code(0x31, 0xd2, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0)
	code(0xb8, 157, 0, 0, 0, 0x0f, 0x05)      // prctl
	code(0xbf, 22, 0, 0, 0, 0xbe, 2, 0, 0, 0) // edi, esi: PR_SET_SECCOMP, SECCOMP_MODE_FILTER
	code(0xba)
	put(uint32(tryAddress + tryFilter)) // edx
	code(0xb8, 157, 0, 0, 0, 0x0f, 0x05)
	code(0x85, 0xc0, 0x75, 16) // unless the result is 0, to the last three
	code(0xb8)
	put(uint32(tryAddress + tryFunction))
	code(0xff, 0xd0)                                      // call *%rax
	code(0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05)       // exit(0)
	code(0xbf, 1, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05) // exit(1)
	return append(b.Bytes(), make([]byte, 4096-b.Len())...)
}
