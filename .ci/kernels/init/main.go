// Command init is process 1 of a guest of the kernel runner: it makes a small machine of a bare kernel,
// runs the bundled tests and switches the machine off. It knows nothing of what the tests test.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is the second serial port: only test output goes there, so that no kernel message can fall into it.
const report = "/dev/ttyS1"

func main() {
	out, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
	} else {
		runTests(out)
	}
	unix.Sync()
	// qemu runs with -no-reboot, so a restart ends it; unlike a power-off this needs no ACPI driver.
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func start() (io.Writer, error) {
	if err := mountAll(baseMounts); err != nil {
		return nil, err
	}
	layout, err := kernelParameter("yagura.cgroup", "v2")
	if err != nil {
		return nil, err
	}
	if err := mountAll(cgroupMounts(layout)); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(report, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if err := makeRaw(out); err != nil {
		return nil, err
	}
	if err := loadModules("/modules"); err != nil {
		return nil, err
	}
	return out, loopbackUp()
}

type mount struct {
	target, fstype, data string
	optional             bool
}

var baseMounts = []mount{
	{target: "/proc", fstype: "proc"},
	{target: "/sys", fstype: "sysfs"},
	{target: "/dev", fstype: "devtmpfs"},
	{target: "/dev/pts", fstype: "devpts"},
	{target: "/dev/shm", fstype: "tmpfs"},
	{target: "/tmp", fstype: "tmpfs"},
	{target: "/run", fstype: "tmpfs"},
	{target: "/sys/kernel/tracing", fstype: "tracefs"},
	{target: "/sys/kernel/debug", fstype: "debugfs", optional: true},
	{target: "/sys/kernel/security", fstype: "securityfs", optional: true},
	{target: "/sys/fs/bpf", fstype: "bpf"},
}

// cgroupMounts is what systemd mounts: one v2 tree, or for v1 a tree per controller and an empty v2 tree beside them.
func cgroupMounts(layout string) []mount {
	if layout != "v1" {
		return []mount{{target: "/sys/fs/cgroup", fstype: "cgroup2"}}
	}
	mounts := []mount{{target: "/sys/fs/cgroup", fstype: "tmpfs", data: "mode=755"}}
	for _, c := range []string{"cpu,cpuacct", "memory", "pids", "blkio", "devices", "freezer", "cpuset", "net_cls,net_prio", "perf_event"} {
		mounts = append(mounts, mount{target: "/sys/fs/cgroup/" + c, fstype: "cgroup", data: c, optional: true})
	}
	return append(mounts,
		mount{target: "/sys/fs/cgroup/systemd", fstype: "cgroup", data: "none,name=systemd"},
		mount{target: "/sys/fs/cgroup/unified", fstype: "cgroup2"})
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil && !m.optional {
			return err
		}
		err := unix.Mount(m.fstype, m.target, m.fstype, 0, m.data)
		if err == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "init: mount %s on %s: %v\n", m.fstype, m.target, err)
		if !m.optional {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
		os.Remove(m.target)
	}
	return nil
}

func kernelParameter(name, otherwise string) (string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(string(line)) {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			return v, nil
		}
	}
	return otherwise, nil
}

// makeRaw stops the terminal layer from turning newlines into CR LF.
func makeRaw(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	return unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

// loadModules loads what the host has packed, in the order of the names, which is the order of dependence.
func loadModules(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := loadModule(path); err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// loopbackUp is enough for 127.0.0.1 and ::1: the kernel adds both addresses when lo comes up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// runTests runs the bundles under /tests, or as many as the kernel's command line says, in a folder of their own, each framed by a
// line with its name before and its exit status after. A frame that does not close tells the host that the guest died in it.
func runTests(out io.Writer) {
	var name unix.Utsname
	unix.Uname(&name)
	fmt.Fprintf(out, "YAGURA_GUEST %s\n", unix.ByteSliceToString(name.Release[:]))
	bundles, _ := filepath.Glob("/tests/*")
	most, err := kernelParameter("yagura.bundles", strconv.Itoa(len(bundles)))
	n, wrong := strconv.Atoi(most)
	if err := cmp.Or(err, wrong); err != nil {
		fmt.Fprintln(os.Stderr, "init: yagura.bundles:", err)
		return
	}
	bundles = bundles[:min(n, len(bundles))]
	for _, dir := range bundles {
		began := time.Now()
		fmt.Fprintf(out, "YAGURA_BEGIN %s\n", filepath.Base(dir))
		status := runBundle(dir, out)
		fmt.Fprintf(out, "YAGURA_END %s exit=%d seconds=%.1f\n", filepath.Base(dir), status, time.Since(began).Seconds())
	}
}

func runBundle(dir string, out io.Writer) int {
	args, err := readLines(filepath.Join(dir, "args"))
	if err != nil {
		fmt.Fprintln(out, "init:", err)
		return 2
	}
	cmd := exec.Command(filepath.Join(dir, "truth.test"), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "YAGURA_GUEST=1"}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(out, "init:", err)
		return 2
	}
	return cmd.ProcessState.ExitCode()
}

func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines, s.Err()
}
