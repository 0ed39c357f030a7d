package host

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNotSupported says that this program was built in a way that cannot do it.
var ErrNotSupported = errors.New("not supported")

// capabilityNames are in the order of their numbers.
var capabilityNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// A Capability is one of the kernel's: unix.CAP_BPF and so on.
type Capability int

// String returns the name as in capabilities(7).
func (c Capability) String() string {
	if c >= 0 && int(c) < len(capabilityNames) {
		return capabilityNames[c]
	}
	return "CAP_" + strconv.Itoa(int(c))
}

// capSets are the sets that capset sets, each in two words, the low one first.
type capSets [2]unix.CapUserData

func (s *capSets) effective() uint64 { return uint64(s[0].Effective) | uint64(s[1].Effective)<<32 }
func (s *capSets) permitted() uint64 { return uint64(s[0].Permitted) | uint64(s[1].Permitted)<<32 }

// Current returns the names of the capabilities that this process has in effect, and of those it may put in effect.
// All threads have the same, unless somebody but Keep has changed them.
func Current() (effective, permitted []string) {
	sets, err := readCapabilities()
	if err != nil {
		return nil, nil // no kernel that could run this refuses it
	}
	return capabilitySet(sets.effective()), capabilitySet(sets.permitted())
}

func capabilitySet(set uint64) []string {
	var names []string
	for c := range Capability(64) {
		if set&(1<<c) != 0 {
			names = append(names, c.String())
		}
	}
	return names
}

func readCapabilities() (capSets, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets capSets
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return capSets{}, fmt.Errorf("read capabilities: %w", err)
	}
	return sets, nil
}

// Keep gives up, for good and on every thread, all capabilities but those named and had: in the effective and the
// permitted set, and where it may in the bounding set. Those aside are kept as well, but not in effect: Raise puts one of
// them in effect for a while. A program run by this one gets no more than the former, whoever it
// belongs to: no_new_privs is set. A binary with cgo in it gets ErrNotSupported and keeps what it has: threads
// that Go has not made would escape.
func Keep(caps, aside []Capability) error {
	sets, err := readCapabilities()
	if err != nil {
		return err
	}
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return fmt.Errorf("give up capabilities: set no_new_privs: %w", err)
	}
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return fmt.Errorf("give up capabilities: clear the ambient set: %w", err)
	}
	if sets.effective()&(1<<unix.CAP_SETPCAP) != 0 {
		if err := keepBounding(caps); err != nil {
			return fmt.Errorf("give up capabilities: %w", err)
		}
	}
	if err := setCapabilities(sets.permitted()&mask(caps), sets.permitted()&(mask(caps)|mask(aside))); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

func mask(caps []Capability) uint64 {
	var set uint64
	for _, c := range caps {
		if c >= 0 {
			set |= 1 << c
		}
	}
	return set
}

// keepBounding drops from the bounding set. The kernel may know more capabilities than this list, or fewer.
func keepBounding(caps []Capability) error {
	for c := Capability(0); ; c++ {
		switch has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); {
		case err != nil:
			return nil // past the last
		case has == 0 || slices.Contains(caps, c):
			continue
		}
		if err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil {
			return fmt.Errorf("drop %s from the bounding set: %w", c, err)
		}
	}
}

// Raise puts a capability that was kept aside in effect on this thread, where the goroutine stays until it calls lower. Without
// that capability it changes nothing: the kernel says so to whoever needs it.
func Raise(c Capability) (lower func()) {
	runtime.LockOSThread()
	sets, err := readCapabilities()
	before := sets.effective()
	if err != nil || sets.permitted()&^before&(1<<c) == 0 || setOnThread(before|1<<c, sets.permitted()) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		if setOnThread(before, sets.permitted()) == nil { // else the thread ends with the goroutine
			runtime.UnlockOSThread()
		}
	}
}

func newCapSets(effective, permitted uint64) *capSets {
	return &capSets{
		{Effective: uint32(effective), Permitted: uint32(permitted)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32)},
	}
}

func setOnThread(effective, permitted uint64) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(header, &newCapSets(effective, permitted)[0])
}

func setCapabilities(effective, permitted uint64) error {
	header, sets := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, newCapSets(effective, permitted)
	err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(sets)), 0)
	if err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}

// onAllThreads makes one system call on every thread: to the kernel, credentials belong to a thread.
//
//go:uintptrescapes
func onAllThreads(call, a, b, c uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(call, a, b, c)
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return fmt.Errorf("%w: built with cgo; build with CGO_ENABLED=0", ErrNotSupported)
	}
	return errno
}

// LowerPriority lets everything else on the machine go before this goroutine, in processors and disks: nice value 19, I/O class idle.
// The goroutine keeps its thread, which ends with it. What the kernel refuses only costs others some time, and is the error.
func LowerPriority() error {
	runtime.LockOSThread() // and never unlocked
	err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
	if err != nil {
		err = fmt.Errorf("nice 19: %w", err)
	}
	const thread, idle = 1, 3 << 13 // as linux/ioprio.h has them: IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, thread, 0, idle); errno != 0 {
		err = errors.Join(err, fmt.Errorf("I/O class idle: %w", errno))
	}
	return err
}
