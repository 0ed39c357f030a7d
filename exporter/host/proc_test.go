package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

func TestSameStart(t *testing.T) {
	t.Parallel()
	f := func(a, b uint64, want bool) {
		t.Helper()
		if SameStart(a, b) != want || SameStart(b, a) != want {
			t.Errorf("SameStart(%d, %d) is not %v", a, b, want)
		}
	}
	f(1_234_567_891, 1_234_567_891, true)
	f(1_234_567_891, 1_230_000_000, true)  // rounded down
	f(1_239_999_999, 1_230_000_000, true)  // at the end of the tick
	f(1_240_000_000, 1_230_000_000, false) // the next tick
	f(1_229_999_999, 1_230_000_000, false)
	f(1_234_567_891, 1_234_567_892, false) // two processes of the kernel's
	f(0, 0, true)
}

const statTail = " S 1 100 100 34816 150 4194304 97 0 0 0 0 0 0 0 20 0 1 0 118158 3133440 360 18446744073709551615\n"

func TestParseStat(t *testing.T) {
	t.Parallel()
	for _, comm := range []string{"cat", "a b", "a) S 1 (b", ")", "(", "", "line\nline", "\xff\xfe", "(sd-pam)"} {
		got, err := parseStat([]byte("42 (" + comm + ")" + statTail))
		want := procStat{Comm: comm, State: 'S', PPID: 1, PGID: 100, SID: 100, TTY: 34816, Flags: 4194304, Threads: 1, Start: 1_181_580_000_000, Virtual: 3133440, Pages: 360}
		if err != nil || got != want {
			t.Errorf("comm %q: %+v, %v, want %+v", comm, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                    "stat: no name in parentheses",
		"42 )cat(" + statTail: "stat: no name in parentheses",
		"42 (cat) S 1":        "stat: 2 fields after the name, want 20",
		"42 (cat)" + strings.Replace(statTail, " 34816 ", " tty ", 1):                   `stat: tty_nr: "tty" is not a number`,
		"42 (cat)" + strings.Replace(statTail, " 118158 ", " -1 ", 1):                   `stat: starttime: "-1" is not a number`,
		"42 (cat)" + strings.Replace(statTail, " 118158 ", " 18446744073709551615 ", 1): "stat: starttime: 18446744073709551615 ticks are too many",
	} {
		if _, err := parseStat([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("parseStat(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	text := "Name:\tUid:\\n\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNStgid:\t900\t12\nNSpid:\t901\t13\nNSpgid:\t900\t11\nNSsid:\t1\t0\n" +
		"CapInh:\t0000000000000001\nCapPrm:\t000001fffeffffff\nCapEff:\t8000000000000000\n"
	got, err := parseStatus([]byte(text))
	want := procStatus{UID: [3]uint32{1, 2, 3}, GID: [3]uint32{5, 6, 7}, VPID: 12, VPGID: 11, VSID: 0,
		CapInheritable: 1, CapPermitted: 0x1fffeffffff, CapEffective: 1 << 63}
	if err != nil || got != want {
		t.Errorf("parseStatus = %+v, %v, want %+v", got, err, want)
	}
	for text, want := range map[string]string{
		"":                         "status: no Uid",
		"Uid:\t1\t1\t1\t1\n":       "status: no Gid",
		"Uid:\t1\n":                "status: Uid: 1 ids, want 3",
		"Gid:\t1\t-1\t1\t1\n":      `status: Gid: "-1" is not an id`,
		"CapEff:\txyz\n":           `status: CapEff: "xyz" is not a hexadecimal set`,
		"NStgid:\t1\t4294967296\n": `status: NStgid: "4294967296" is not a pid`,
	} {
		if _, err := parseStatus([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("parseStatus(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	t.Parallel()
	f := func(in string, want ...string) {
		t.Helper()
		if got := splitArgs([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("splitArgs(%q) = %q, want %q", in, got, want)
		}
	}
	f("")
	f("a\x00", "a")
	f("a\x00\x00b\x00", "a", "", "b")
	f("a\x00b", "a", "b") // cut
	f("\x00", "")
}

// processFiles is one process of a machine.
func processFiles(pid, ppid, ticks int, more map[string]string) map[string]string {
	dir := "proc/" + strconv.Itoa(pid) + "/"
	files := map[string]string{
		dir + "stat": strconv.Itoa(pid) + " (p" + strconv.Itoa(pid) + ") S " + strconv.Itoa(ppid) +
			" 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 " + strconv.Itoa(ticks) + " 0 0\n",
		dir + "status": "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNStgid:\t" + strconv.Itoa(pid) + "\n",
	}
	for name, text := range more {
		files[dir+name] = text
	}
	return files
}

func merge(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			merged[k] = v
		}
	}
	return merged
}

func TestReadProcess(t *testing.T) {
	t.Parallel()
	root := machine(t, merge(
		map[string]string{"jail/bin/app": "x", "jail/srv/": "", "cg/docker/a/": ""},
		processFiles(7, 1, 500, map[string]string{
			"cmdline": "app\x00-v\x00", "exe": "->@/jail/bin/app", "root": "->@/jail", "cwd": "->@/jail/srv",
			"loginuid": "1000", "cgroup": "4:memory:/docker/a\n", "ns/net": "->net:[4026531840]", "ns/mnt": "->mnt:[77]",
		}),
		processFiles(8, 1, 600, map[string]string{"cmdline": strings.Repeat("x", 5000)}),
		map[string]string{"proc/9/stat": "9 (z) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"},
		map[string]string{"proc/10/stat": "garbage"},
		map[string]string{"proc/11/stat": "11 (z) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 5 0 0\n", "proc/11/status": "Uid: x"},
	))
	procfs := filepath.Join(root, "proc")
	l := CgroupLayout{Version: 1, Controller: "memory", HierarchyID: 4, Mount: filepath.Join(root, "cg"), Root: "/", Namespace: "/"}
	p, err := readProcess(procfs, 7, &l)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := l.ID("/docker/a")
	if p.Path != "/bin/app" || p.Cwd != "/srv" || !slices.Equal(p.Args, []string{"app", "-v"}) || p.Start != 5*1e9 || p.Name() != "p7" ||
		p.UID != 1 || p.EUID != 2 || p.SUID != 3 || p.GID != 5 || p.LoginUID != 1000 || p.AuditSession != nobody ||
		p.CgroupID != id || p.Namespaces.Net != 4026531840 || p.Namespaces.Mount != 77 || p.ExeInode == 0 || p.ExeModify == 0 || p.VPID != 7 {
		t.Errorf("process 7: %+v", p)
	}
	if p, err := readProcess(procfs, 8, &l); err != nil || p.Flags != event.ArgsTruncated || len(p.Args[0]) != maxArgs {
		t.Errorf("process 8: %+v, %v", p, err)
	}
	for pid, want := range map[uint32]string{
		9:  "process has ended",
		10: "10/stat: stat: no name in parentheses",
		11: `11/status: status: Uid: 1 ids, want 3`, // a zombie leader, whose other thread runs
		12: "no such file",
	} {
		if _, err := readProcess(procfs, pid, &l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("process %d: %v, want %q", pid, err, want)
		}
	}
}

func TestReadOwnProcess(t *testing.T) {
	t.Parallel()
	l, err := Cgroups("/proc")
	if err != nil {
		t.Fatal(err)
	}
	pid := uint32(os.Getpid())
	p, err := readProcess("/proc", pid, &l)
	if err != nil {
		t.Fatal(err)
	}
	exe, _ := os.Executable()
	cwd, _ := os.Getwd()
	var st unix.Stat_t
	if err := unix.Stat(exe, &st); err != nil {
		t.Fatal(err)
	}
	if p.PID != pid || p.PPID != uint32(os.Getppid()) || p.UID != uint32(os.Getuid()) || p.EGID != uint32(os.Getegid()) ||
		p.Path != exe || p.Cwd != cwd || !slices.Equal(p.Args, os.Args) || p.ExeInode != st.Ino || p.Namespaces.PID == 0 {
		t.Errorf("own process: %+v", p)
	}
}

func TestReadProcessOfNoFile(t *testing.T) {
	t.Parallel()
	fd, err := unix.MemfdCreate("hidden", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("needs the program sleep")
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, program); err != nil {
		t.Fatal(err)
	}
	p := run(t, "/proc/"+strconv.Itoa(os.Getpid())+"/fd/"+strconv.Itoa(fd))
	if p.Path != "/memfd:hidden" || p.Flags != event.ExeMemfd|event.ExeUnlinked {
		t.Errorf("program in a memory file: %q, flags %b", p.Path, p.Flags)
	}
	gone := filepath.Join(t.TempDir(), "sleep")
	if err := os.WriteFile(gone, program, 0o755); err != nil {
		t.Fatal(err)
	}
	p = runThen(t, gone, func() { os.Remove(gone) })
	if p.Path != gone || p.Flags != event.ExeUnlinked {
		t.Errorf("removed program: %q, flags %b", p.Path, p.Flags)
	}
}

func run(t *testing.T, path string) *event.Process {
	return runThen(t, path, func() {})
}

// awaitExec waits until a process that was just started has its arguments: Start returns before the exec is quite over.
func awaitExec(t *testing.T, pid uint32) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if args, _, err := Cmdline("/proc", pid); err == nil && len(args) > 0 {
			return
		}
	}
	t.Fatalf("process %d has no arguments", pid)
}

// runThen starts path as sleep(1), calls then, and reads the process.
func runThen(t *testing.T, path string, then func()) *event.Process {
	t.Helper()
	cmd := exec.Command(path, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	awaitExec(t, uint32(cmd.Process.Pid))
	then()
	p, err := readProcess("/proc", uint32(cmd.Process.Pid), &CgroupLayout{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadProcSeesThisProcess(t *testing.T) {
	t.Parallel()
	seen := map[uint32]event.Task{}
	var own []string
	err := ReadProc("/proc", func(task event.Task, path string, args []string) {
		seen[task.PID] = task
		if task.PID == uint32(os.Getpid()) {
			own = args
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(own, os.Args) {
		t.Errorf("own arguments %q, want %q", own, os.Args)
	}
	first, ok := seen[1]
	if me := seen[uint32(os.Getpid())]; ok && me.VPID == me.PID && me.PIDNamespaceInit != first.Start {
		t.Errorf("the pid namespace began at %d, process 1 at %d", me.PIDNamespaceInit, first.Start)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) b)" + statTail))
	f.Add([]byte("42 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 30 0 0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseStat(data)
		if err != nil && !strings.HasPrefix(err.Error(), "stat: ") {
			t.Errorf("error %q does not name the file", err)
		}
		if err == nil && s.Start%tick != 0 {
			t.Errorf("start %d is no tick", s.Start)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNStgid:\t1\t2\nCapEff:\tff\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseStatus(data); err != nil && !strings.HasPrefix(err.Error(), "status: ") {
			t.Errorf("error %q does not name the file", err)
		}
	})
}

func FuzzSplitArgs(f *testing.F) {
	f.Add([]byte("sh\x00-c\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		args := splitArgs(data)
		if joined := strings.Join(args, "\x00"); joined != strings.TrimSuffix(string(data), "\x00") {
			t.Errorf("splitArgs(%q) = %q", data, args)
		}
	})
}

func FuzzReadProcess(f *testing.F) {
	files := processFiles(7, 1, 5, nil)
	f.Add([]byte(files["proc/7/stat"]), []byte(files["proc/7/status"]), []byte("a\x00b"), []byte("0::/x\n"), []byte("4294967295"))
	f.Fuzz(func(t *testing.T, stat, status, cmdline, cgroup, loginuid []byte) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "7"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"stat": stat, "status": status, "cmdline": cmdline, "cgroup": cgroup, "loginuid": loginuid} {
			if err := os.WriteFile(filepath.Join(dir, "7", name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := readProcess(dir, 7, &CgroupLayout{Version: 2, Mount: dir, Root: "/", Namespace: "/"})
		if err == nil && p.PID != 7 {
			t.Errorf("process %+v", p)
		}
	})
}
