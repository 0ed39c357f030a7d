package rules

import (
	"os"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

const curl = `{"type": "connect", "time": "2026-01-01T00:00:10Z", "boot": 20000000000, "peer": "93.184.216.34:443", "fd": {"num": 5, "local": "10.0.0.5:40000"}, "process": {"name": "curl", "path": "/usr/bin/curl", "args": ["curl", "-s", "", "http://x"],
	"env": ["PATH=/bin", "HOME=/root", "PATHS=x"], "cwd": "/root", "pid": 500, "pgid": 500, "sid": 300, "start": 1500000000, "uid": 0, "euid": 1000, "gid": 5, "egid": 6, "loginuid": 1001, "tty": 34816,
	"caps_effective": ["CAP_CHOWN", "CAP_SYS_ADMIN"], "flags": ["exe_upper_layer", "exe_unlinked"], "exe_inode": 77, "exe_ctime": "2026-01-01T00:00:08Z", "exe_mtime": "2025-01-01T00:00:00Z",
	"parents": [
		{"name": "make", "args": ["make", "all"], "pid": 400, "pgid": 400, "sid": 300, "env": ["HOME=/home/a"], "start": 3000000000},
		{"name": "bash", "path": "/bin/bash", "args": ["-bash"], "pid": 300, "pgid": 300, "sid": 300, "env": ["TERM=xterm"]},
		{"name": "sshd", "args": ["sshd: a"], "pid": 200, "pgid": 200, "sid": 200},
		{"name": "systemd", "pid": 1, "pgid": 1, "sid": 1}]}}`

func TestFieldsOfProcesses(t *testing.T) {
	testReadings(t, []reading{
		{"a process and those above it", curl, `
			proc.name curl
			proc.exe curl
			proc.exepath /usr/bin/curl
			proc.args -s  http://x
			proc.args[0] -s
			proc.args[2] http://x
			proc.args[3] <NA>
			proc.cmdline curl -s  http://x
			proc.exeline curl -s  http://x
			proc.cmdnargs 3
			proc.cmdlenargs 10
			proc.cwd /root/
			proc.pname make
			proc.pexe make
			proc.pcmdline make all
			proc.aname make->bash->sshd->systemd
			proc.aname[0] curl
			proc.aname[2] bash
			proc.aname[9] <NA>
			proc.aexepath[2] /bin/bash
			proc.aexe[2] -bash
			proc.acmdline[1] make all
			proc.aargs[1] all
			proc.env PATH=/bin HOME=/root PATHS=x
			proc.env[PATH] /bin
			proc.env[HOM] <NA>
			proc.aenv[1] HOME=/home/a
			proc.aenv[HOME] /home/a
			proc.aenv[TERM] xterm
			proc.aenv[PATH] <NA>
			proc.pid 500
			proc.ppid 400
			proc.apid[2] 300
			proc.apid 400->300->200->1
			proc.vpid 500
			proc.pvpid 400
			proc.tty 34816
			proc.loginshellid 300
			proc.sid 300
			proc.sname bash
			proc.sid.exe -bash
			proc.sid.exepath /bin/bash
			proc.pgid 500
			proc.pgid.name curl
			proc.vpgid.name curl
			proc.is_sid_leader false
			proc.is_pgid_leader true
			proc.is_vpgid_leader true
			proc.duration 1500000000
			proc.ppid.duration 3000000000
			proc.pid.ts 1767225608500000000
			proc.is_exe_upper_layer true
			proc.is_exe_lower_layer false
			proc.is_exe_from_memfd false
			proc.is_exe_writable <NA>
			proc.exe_ino 77
			proc.exe_ino.ctime 1767225608000000000
			proc.exe_ino.mtime 1735689600000000000
			proc.exe_ino.ctime_duration_proc_start 500000000
			thread.cap_effective CAP_CHOWN CAP_SYS_ADMIN
			thread.cap_permitted 
			thread.tid 500
			thread.vtid 500
			thread.ismain true
			thread.nametid curl500
			proc.fdopencount <NA>
			proc.vmsize <NA>
			thread.cgroups <NA>
			proc.stdin.type <NA>
			yagura.proc.exe_deleted true
			yagura.proc.comm curl
			yagura.proc.host_mount_ns <NA>
			user.uid 1000
			user.loginuid 1001
			group.gid 6`},
		{"a leader that is gone is the eldest ancestor in its session", `{"type": "close", "process": {"name": "c", "pid": 50, "sid": 9, "pgid": 8, "vpgid": 8,
			"parents": [{"name": "b", "pid": 40, "sid": 9, "pgid": 8, "vpgid": 8}, {"name": "a", "pid": 30, "sid": 9, "pgid": 7, "vpgid": 7}, {"name": "init", "pid": 1, "sid": 1}]}}`, `
			proc.sname a
			proc.pgid.name b
			proc.vpgid.name b`},
		{"no arguments", `{"type": "close", "process": {"name": "x", "args": ["/bin/x"], "path": "/bin/x", "cwd": "/"}}`, `
			proc.cmdline x
			proc.args 
			proc.exeline /bin/x
			proc.cmdnargs 0
			proc.cwd /
			proc.env <NA>
			proc.pname <NA>
			proc.aname <NA>
			proc.loginshellid <NA>
			user.loginuid -1
			user.loginname <NA>
			user.name root
			user.homedir /root
			group.name root
			user.uid 0`},
		{"a thread that calls itself something else", `{"type": "close", "tid": 1007, "caller": {"vtid": 7, "euid": 33}, "process": {"name": "x"}}`, `
			thread.tid 1007
			thread.vtid 7
			thread.ismain false
			thread.vmsize 0
			proc.pid 1000
			user.uid 33
			user.name <NA>`},
	})
}

func TestConditionsOnAncestors(t *testing.T) {
	t.Parallel()
	r := recordOf(t, curl)
	for condition, want := range map[string]bool{
		`proc.aname = sshd`:             true,
		`proc.aname = curl`:             false, // it is no ancestor of itself
		`proc.aname in (zsh, systemd)`:  true,
		`proc.aname != sshd`:            true, // another one is not
		`not proc.aname = sshd`:         false,
		`proc.aname[3] = sshd`:          true,
		`proc.apid = 1`:                 true,
		`proc.aenv contains xterm`:      true,
		`proc.pname exists`:             true,
		`proc.cwd startswith "/root/"`:  true,
		`proc.args contains http`:       true,
		`user.loginuid != -1`:           true,
		`proc.tty != 0`:                 true,
		`basename(proc.exepath) = curl`: true,
	} {
		if got := holds(t, r, condition); got != want {
			t.Errorf("%s: %v, want %v", condition, got, want)
		}
	}
}

func TestNamespacesAreComparedWithProcessOne(t *testing.T) {
	t.Parallel()
	first := &event.Process{Task: event.Task{PID: 1, Namespaces: event.Namespaces{Mount: 10, PID: 20}}}
	p := &event.Process{Task: event.Task{PID: 9, Namespaces: event.Namespaces{Mount: 11, PID: 20, Net: 5}}, Parent: first}
	r := NewRecord(nil, "")
	r.Reset(&event.Event{Kind: event.Exit, Process: p})
	for field, want := range map[string]string{"yagura.proc.host_mount_ns": "false", "yagura.proc.host_pid_ns": "true", "yagura.proc.host_net_ns": "<NA>"} {
		if got := read(t, r, field); got != want {
			t.Errorf("%s = %q, want %q", field, got, want)
		}
	}
}

func TestLeaderOfTheNameSpaceIsNoneOfTheHosts(t *testing.T) {
	t.Parallel()
	systemd := &event.Process{Task: event.Task{PID: 1, VPID: 1, VPGID: 1, Namespaces: event.Namespaces{PID: 5}}}
	copy(systemd.Comm[:], "systemd")
	p := &event.Process{Task: event.Task{PID: 90, VPID: 7, VPGID: 1, Namespaces: event.Namespaces{PID: 6}}, Parent: systemd}
	copy(p.Comm[:], "x")
	r := NewRecord(nil, "")
	r.Reset(&event.Event{Kind: event.Exit, Process: p})
	if got := read(t, r, "proc.vpgid.name"); got != "x" {
		t.Errorf("proc.vpgid.name = %q, want x", got)
	}
}

func TestIncompleteProcessesAreNotRoot(t *testing.T) {
	t.Parallel()
	r := NewRecord(nil, "")
	r.Reset(&event.Event{Kind: event.Exit, UID: 1000, GID: 100, Process: &event.Process{Task: event.Task{PID: 9, UID: 1000, GID: 100}}})
	if uid, gid := read(t, r, "user.uid"), read(t, r, "group.gid"); uid != "1000" || gid != "100" {
		t.Errorf("user.uid = %s, group.gid = %s, want 1000 and 100", uid, gid)
	}
}

// TestFieldsOfTheRunningProcess reads what /proc says of the test itself.
func TestFieldsOfTheRunningProcess(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	r := NewRecord(nil, "/proc")
	pid := uint32(os.Getpid())
	task := event.Task{PID: pid, EUID: uint32(os.Geteuid()), EGID: uint32(os.Getegid())}
	copy(task.Comm[:], "rules.test")
	r.Reset(&event.Event{Kind: event.Exit, PID: pid, TID: pid, Process: &event.Process{Task: task}})
	for _, field := range []string{"proc.fdopencount", "proc.fdlimit", "proc.fdusage", "proc.vmsize", "proc.vmrss", "proc.nthreads", "proc.nchilds",
		"thread.pfminor", "thread.pfmajor", "thread.vmsize", "thread.cgroups", "proc.stdin.type", "proc.stdin.name", "proc.is_exe_writable", "fd.types"} {
		if got := read(t, r, field); got == "<NA>" || got == "" {
			t.Errorf("%s has no value", field)
		}
	}
	if got := read(t, r, "thread.vmsize.b"); !strings.HasSuffix(got, "0") && !strings.HasSuffix(got, "2") && !strings.HasSuffix(got, "4") && !strings.HasSuffix(got, "6") && !strings.HasSuffix(got, "8") {
		t.Errorf("thread.vmsize.b = %s is no number of KiB", got)
	}
}
