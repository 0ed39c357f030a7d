package event

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func decoded(t *testing.T, text string) *Event {
	t.Helper()
	ev, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("Decode(%s): %v", text, err)
	}
	return ev
}

func TestDecodeTakesTheRestForGranted(t *testing.T) {
	t.Parallel()
	ev := decoded(t, `{"type":"openat"}`)
	if ev.Kind != Syscall || ev.Num != 1 || ev.Time != 1767225600e9 || ev.Call.Result != 3 || ev.PID != 1000 || ev.TID != 1000 {
		t.Errorf("the event is %+v", ev)
	}
	if int64(ev.Call.Arg[0]) != -100 || ev.Call.Text[0].Raw != nil || ev.FD.Type != NoDescriptor || ev.Container != nil {
		t.Errorf("the call is %+v about %+v", ev.Call, ev.FD)
	}
	p := ev.Process
	if p.Name() != "test" || p.Path != "/usr/bin/test" || !slices.Equal(p.Args, []string{"test"}) || p.Cwd != "/" || p.Parent != nil {
		t.Errorf("the process is %+v", p)
	}
	if p.PID != 1000 || p.PPID != 999 || p.VPID != 1000 || p.PGID != 1000 || p.SID != 1000 || p.VPGID != 1000 || p.VSID != 1000 ||
		p.UID != 0 || p.LoginUID != 4294967295 || p.TTY != 0 || p.CapEffective != 0 || ev.Boot-p.Start != 60e9 {
		t.Errorf("the process is %+v", p.Task)
	}
	if c := ev.Caller; c.LoginUID != 4294967295 || c.VTID != 1000 || c.PPID != 999 || c.Comm != p.Comm {
		t.Errorf("the caller is %+v", c)
	}
}

func TestDecodeNamesProcesses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ process, name, path, args string }{
		{`"bash"`, "bash", "/usr/bin/bash", "bash"},
		{`{"path":"/opt/x/tool"}`, "tool", "/opt/x/tool", "tool"},
		{`{"args":["/bin/sh","-c","id"]}`, "sh", "/bin/sh", "/bin/sh -c id"},
		{`{"args":["sh","-c"]}`, "sh", "/usr/bin/sh", "sh -c"},
		{`{"name":"a","path":"/b","args":["c"]}`, "a", "/b", "c"},
		{`{"name":"a-name-of-many-letters"}`, "a-name-of-many-", "/usr/bin/a-name-of-many-letters", "a-name-of-many-letters"},
		{`{"name":"a","args":[]}`, "a", "/usr/bin/a", ""},
		{`{"name":{"hex":"ff"}}`, "\xff", "/usr/bin/\xff", "\xff"},
	} {
		p := decoded(t, `{"type":"close","process":`+c.process+`}`).Process
		if p.Name() != c.name || p.Path != c.path || strings.Join(p.Args, " ") != c.args {
			t.Errorf("%s: name %q, path %q, args %q, want %q, %q, %q", c.process, p.Name(), p.Path, p.Args, c.name, c.path, c.args)
		}
	}
}

func TestDecodeLinksParents(t *testing.T) {
	t.Parallel()
	p := decoded(t, `{"type":"close","process":{"pid":50,"parents":["bash",{"name":"sshd","pid":7,"uid":5},"systemd"]}}`).Process
	bash, sshd := p.Parent, p.Parent.Parent
	if p.PPID != 49 || bash.PID != 49 || bash.Name() != "bash" || bash.PPID != 7 || sshd.PID != 7 || sshd.EUID != 5 || sshd.Parent.PID != 6 ||
		sshd.Parent.Parent != nil {
		t.Errorf("the parents are %+v, %+v, %+v", bash, sshd, sshd.Parent)
	}
	if p := decoded(t, `{"type":"close","process":{"ppid":20,"parents":["a"]}}`).Process; p.Parent.PID != 20 {
		t.Errorf("the parent of a process with ppid 20 is %d", p.Parent.PID)
	}
	if p := decoded(t, `{"type":"close","process":{"pid":1}}`).Process; p.PPID != 0 {
		t.Errorf("the parent of process 1 is %d, want 0", p.PPID)
	}
}

func TestDecodeCopiesCredentials(t *testing.T) {
	t.Parallel()
	ev := decoded(t, `{"type":"setuid","process":{"uid":5,"gid":6,"loginuid":-1,"tty":9,"caps":["CAP_SYS_ADMIN"]},"caller":{"euid":0}}`)
	if p := ev.Process; p.EUID != 5 || p.SUID != 5 || p.EGID != 6 || p.LoginUID != 4294967295 || p.CapEffective != 1<<21 || p.CapPermitted != 1<<21 {
		t.Errorf("the process is %+v", p)
	}
	if c := ev.Caller; c.UID != 5 || c.EUID != 0 || c.GID != 6 || c.TTY != 9 || c.CapPermitted != 1<<21 || ev.UID != 5 {
		t.Errorf("the caller is %+v", c)
	}
	if p := decoded(t, `{"type":"setuid","process":{"caps":"all","caps_effective":[]}}`).Process; p.CapEffective != 0 || p.CapPermitted != 1<<41-1 {
		t.Errorf("the capabilities are %x of %x", p.CapEffective, p.CapPermitted)
	}
}

func TestDecodeReadsParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		call string
		arg  int
		want uint64
	}{
		{`"type":"openat","args":{"flags":"O_WRONLY|O_CREAT|O_TRUNC"}`, 2, 0o1101},
		{`"type":"openat","args":{"flags":577}`, 2, 577},
		{`"type":"openat","args":{"flags":"O_RDWR|0x8000000"}`, 2, 0x8000002},
		{`"type":"openat","args":{"mode":"0644"}`, 3, 0o644},
		{`"type":"openat","args":{"dirfd":"AT_FDCWD"}`, 0, 1<<64 - 100},
		{`"type":"openat","args":{"dirfd":5}`, 0, 5},
		{`"type":"chmod","args":{"mode":"S_ISUID|S_IXUSR"}`, 1, 0o4100},
		{`"type":"chmod","args":{"mode":"04755"}`, 1, 0o4755},
		{`"type":"kill","args":{"sig":"SIGKILL","pid":-1}`, 1, 9},
		{`"type":"kill","args":{"pid":-1}`, 0, 1<<64 - 1},
		{`"type":"kill","args":{"sig":64}`, 1, 64},
		{`"type":"ptrace","args":{"request":"PTRACE_ATTACH"}`, 0, 16},
		{`"type":"ptrace","args":{"addr":"0x7f"}`, 2, 0x7f},
		{`"type":"socket","args":{"domain":"AF_INET6"}`, 0, 10},
		{`"type":"setuid","args":{"uid":"root"}`, 0, 0},
		{`"type":"setuid","args":{"uid":-1}`, 0, 1<<64 - 1},
		{`"type":"ioctl","args":{"request":21522}`, 1, 21522},
		{`"type":"connect","fd":{"num":8,"type":"ipv4"}`, 0, 8},
		{`"type":"connect","args":{"fd":9},"fd":{"type":"ipv4"}`, 0, 9},
	} {
		if ev := decoded(t, "{"+c.call+"}"); ev.Call.Arg[c.arg] != c.want {
			t.Errorf("%s: argument %d is %#x, want %#x", c.call, c.arg, ev.Call.Arg[c.arg], c.want)
		}
	}
	if ev := decoded(t, `{"type":"openat2","args":{"flags":"O_RDWR","mode":"0600"}}`); ev.Call.Word[0] != 2 || ev.Call.Word[1] != 0o600 {
		t.Errorf("the words of openat2 are %v", ev.Call.Word)
	}
	if ev := decoded(t, `{"type":"openat","args":{"fd":7}}`); ev.Call.Result != 7 {
		t.Errorf("openat returned %d, want 7", ev.Call.Result)
	}
}

func TestDecodeReadsResults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want int64
		kind Kind
	}{
		{`{"type":"close"}`, 0, Syscall},
		{`{"type":"close","res":"EBADF"}`, -9, Syscall},
		{`{"type":"read","res":17}`, 17, Syscall},
		{`{"type":"read","res":"SUCCESS"}`, 0, Syscall},
		{`{"type":"openat","res":-2}`, -2, Syscall},
		{`{"type":"socket"}`, 3, Syscall},
		{`{"type":"clone"}`, 1001, Fork},
		{`{"type":"vfork","res":77}`, 77, Fork},
		{`{"type":"clone3","child":{"pid":78}}`, 78, Fork},
		{`{"type":"fork","res":"EAGAIN"}`, -11, Syscall},
		{`{"type":"execve"}`, 0, Exec},
		{`{"type":"execveat","res":"ENOENT"}`, -2, Syscall},
		{`{"type":"procexit","status":256}`, 0, Exit},
	} {
		if ev := decoded(t, c.text); ev.Call.Result != c.want || ev.Kind != c.kind {
			t.Errorf("%s: %d and %v, want %d and %v", c.text, ev.Call.Result, ev.Kind, c.want, c.kind)
		}
	}
}

func TestDecodeMakesChildrenLikeTheirMaker(t *testing.T) {
	t.Parallel()
	ev := decoded(t, `{"type":"clone","process":{"name":"sh","uid":5},"child":{"vpid":2}}`)
	if c := ev.Task; c.PID != 1001 || c.PPID != 1000 || c.VPID != 2 || c.UID != 5 || c.Name() != "sh" || c.Start != ev.Boot {
		t.Errorf("the child is %+v", c)
	}
	if ev := decoded(t, `{"type":"fork","child":"other"}`); ev.Task.Name() != "other" || ev.Task.PID != 1001 {
		t.Errorf("the child is %+v", ev.Task)
	}
}

func TestDecodeFillsAnExecFromItsProcess(t *testing.T) {
	t.Parallel()
	ev := decoded(t, `{"type":"execve","process":{"path":"/bin/x","args":["x","y"],"env":["A=b"],"cwd":"/tmp","flags":["exe_memfd"]}}`)
	if string(ev.Path) != "/bin/x" || string(ev.Args) != "x\x00y\x00" || string(ev.Env) != "A=b\x00" || string(ev.Cwd) != "/tmp" ||
		ev.Task.Flags != ExeMemfd || ev.Task.PID != 1000 {
		t.Errorf("the event is %+v", ev)
	}
}

func TestDecodeStartsRelativePaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, first, second string }{
		{`{"type":"openat","args":{"name":"a"},"process":{"cwd":"/home"}}`, "/home", ""},
		{`{"type":"openat","args":{"name":"/a"},"dir":"/srv"}`, "", ""},
		{`{"type":"openat","args":{"name":""},"dir":"/srv"}`, "/srv", ""},
		{`{"type":"openat","args":{"name":"a"},"dir":"/srv"}`, "/srv", ""},
		{`{"type":"renameat","args":{"oldpath":"a","newpath":"b"},"dir":{"newpath":"/n"}}`, "/", "/n"},
		{`{"type":"symlink","args":{"target":"a","linkpath":"b"},"dir":"/srv"}`, "", "/srv"},
	} {
		texts := decoded(t, c.text).Call.Text
		if string(texts[0].Dir) != c.first || string(texts[1].Dir) != c.second {
			t.Errorf("%s: paths start at %q and %q, want %q and %q", c.text, texts[0].Dir, texts[1].Dir, c.first, c.second)
		}
	}
	ev := decoded(t, `{"type":"rename","args":{"oldpath":"/a","newpath":"/b"},"resolved":{"newpath":"/c"},"fault":["oldpath"],"truncated":["newpath"]}`)
	if x := ev.Call.Text; string(x[1].Resolved) != "/c" || !x[0].Fault || x[1].Fault || !x[1].Truncated {
		t.Errorf("the texts are %+v", x)
	}
}

func TestDecodeOpensWhatTheCallNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, name string }{
		{`{"type":"openat","args":{"name":"../etc//shadow"},"process":{"cwd":"/root"}}`, "/etc/shadow"},
		{`{"type":"open","args":{"name":"/tmp/l"},"resolved":{"name":"/etc/shadow"}}`, "/etc/shadow"},
		{`{"type":"openat","args":{"name":"/a"},"fd":{"name":"/b","type":"directory"}}`, "/b"},
		{`{"type":"openat","args":{"name":"/a"},"res":"ENOENT"}`, ""},
		{`{"type":"openat","args":{"name":"/a"},"fd":null}`, ""},
		{`{"type":"read","fd":{"name":"/c"}}`, "/c"},
	} {
		fd := decoded(t, c.text).FD
		if string(fd.Name) != c.name || (fd.Type != NoDescriptor) != (c.name != "") || c.name != "" && fd.Num != 3 {
			t.Errorf("%s: the descriptor is %+v, want that of %q", c.text, fd, c.name)
		}
	}
}

func TestDecodeMakesSockets(t *testing.T) {
	t.Parallel()
	end := netip.MustParseAddrPort
	fd := decoded(t, `{"type":"connect","peer":"1.2.3.4:443"}`).FD
	if fd.Type != IPv4Socket || fd.Family != 2 || fd.Protocol != 6 || fd.SockType != 1 || fd.Remote != end("1.2.3.4:443") || fd.Role != Client || !fd.Connected || fd.Num != 3 {
		t.Errorf("a connect is about %+v", fd)
	}
	if fd := decoded(t, `{"type":"connect","peer":"1.2.3.4:443","res":"EINPROGRESS"}`).FD; fd.Connected {
		t.Error("a connect in progress is connected")
	}
	fd = decoded(t, `{"type":"accept4","res":9,"peer":"[::1]:80","fd":{"local":"[::1]:22"}}`).FD
	if fd.Type != IPv6Socket || fd.Num != 9 || fd.Role != Server || fd.Remote != end("[::1]:80") || fd.Local != end("[::1]:22") || !fd.Connected {
		t.Errorf("an accept is about %+v", fd)
	}
	ev := decoded(t, `{"type":"sendto","peer":"1.2.3.4:53","fd":{"num":5}}`)
	if fd := ev.FD; fd.Type != IPv4Socket || fd.Protocol != 17 || fd.Remote.IsValid() || fd.Connected || ev.Call.Arg[0] != 5 {
		t.Errorf("a datagram is about %+v", fd)
	}
	ev = decoded(t, `{"type":"connect","args":{"addr":"/run/docker.sock"}}`)
	if fd := ev.FD; fd.Type != UnixSocket || string(fd.Name) != "/run/docker.sock" || fd.Family != 1 || ev.Call.Address.Path != "/run/docker.sock" || fd.Protocol != 0 {
		t.Errorf("a unix socket is %+v", fd)
	}
	if fd := decoded(t, `{"type":"bind","peer":"0.0.0.0:8080"}`).FD; fd.Local != end("0.0.0.0:8080") || fd.Remote.IsValid() {
		t.Errorf("a bind is about %+v", fd)
	}
	if fd := decoded(t, `{"type":"write","fd":{"remote":"1.2.3.4:1","proto":"icmp"}}`).FD; fd.Protocol != 1 || !fd.Connected {
		t.Errorf("a write is about %+v", fd)
	}
}

func TestDecodeMakesContainers(t *testing.T) {
	t.Parallel()
	c := decoded(t, `{"type":"close","container":"web"}`).Container
	if c.Workload.Container != "web" || len(c.ID) != 64 || !strings.HasPrefix(c.ID, "0123456789ab0") || c.Image != "docker.io/library/web:latest" ||
		c.Runtime != "containerd" || !c.Known || c.Privileged {
		t.Errorf("the container is %+v", c)
	}
	c = decoded(t, `{"type":"close","container":{"privileged":true,"pod":"p","namespace":"n","labels":{"a":"b"},"mounts":[{"source":"/","dest":"/host","writable":true}],"known":false}}`).Container
	if !c.Privileged || c.Pod != "p" || c.Namespace != "n" || c.Labels["a"] != "b" || c.Mounts[0].Dest != "/host" || !c.Mounts[0].Writable || c.Known {
		t.Errorf("the container is %+v", c)
	}
}

func TestEventsOfTheHostHaveAUnit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want Workload
	}{
		{`{"type":"close"}`, Workload{}},
		{`{"type":"close","unit":"sshd.service"}`, Workload{Unit: "sshd.service"}},
		{`{"type":"close","container":{"name":"web","pod":"p"}}`, Workload{Container: "web", Pod: "p"}},
	} {
		ev := decoded(t, c.text)
		if got := ev.Workload(); got != c.want {
			t.Errorf("Workload of %s = %+v, want %+v", c.text, got, c.want)
		}
		if got := (&Hit{Event: ev.Clone()}).Workload(); got != c.want {
			t.Errorf("Workload of a hit of %s = %+v, want %+v", c.text, got, c.want)
		}
	}
	if got := (&Hit{}).Workload(); got != (Workload{}) {
		t.Errorf("Workload of a hit without an event = %+v, want none", got)
	}
}

func TestDecodeKeepsData(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"type":"read","data":"a\u0000b"}`, `{"type":"read","data_hex":"610062"}`, `{"type":"read","args":{"data":{"hex":"610062"}}}`} {
		if got := string(decoded(t, text).Call.Data); got != "a\x00b" {
			t.Errorf("%s: data %q", text, got)
		}
	}
}

func TestDecodeSaysWhatItExpected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, want string
		at         string // what stands where the error points, empty for the end
	}{
		{``, "the text ends within the event", ""},
		{`[]`, "want an object, got a list", "[]"},
		{`{}`, "want type: the event's evt.type", "{}"},
		{`{"type":"close"`, "the text ends within the event", ""},
		{`{"type":"close"},`, "want nothing behind the event", ","},
		{`{"type":"close"} {}`, "want nothing behind the event", "{}"},
		{`{"type":"close","type":"open"}`, "type: given twice", `"open"}`},
		{`{"type":"clos"}`, `type: unknown event type "clos" (close?)`, `"clos"}`},
		{`{"type":5}`, "type: want the name of an event type, got 5", "5}"},
		{`{"type":"close","proces":{}}`, "proces: unknown key (process?)", "{}}"},
		{`{"type":"close","res":"ENOENTT"}`, `res: unknown error "ENOENTT" (ENOENT?), want a number, SUCCESS, or a name such as ENOENT`, `"ENOENTT"}`},
		{`{"type":"close","res":1.5}`, "res: want a whole number from -9223372036854775808 to 9223372036854775807, got 1.5", "1.5}"},
		{`{"type":"close","cpu":70000}`, "cpu: want a whole number from 0 to 65535, got 70000", "70000}"},
		{`{"type":"close","time":"noon"}`, `time: want a time such as 2026-01-31T12:00:00.5Z, from 1970 to 2261, got "noon"`, `"noon"}`},
		{`{"type":"openat","args":{"flags":"O_RDONY"}}`, `args.flags: unknown name "O_RDONY" (O_RDONLY?)`, `"O_RDONY"}}`},
		{`{"type":"openat","args":{"flags":"WRONLY"}}`, `args.flags: unknown name "WRONLY" (O_WRONLY?)`, `"WRONLY"}}`},
		{`{"type":"lseek","args":{"whence":"start"}}`, `args.whence: unknown name "start", want one of SEEK_SET, SEEK_CUR, SEEK_END`, `"start"}}`},
		{`{"type":"openat","args":{"flags":true}}`, "args.flags: want names such as O_CREAT, or a whole number, got true", "true}}"},
		{`{"type":"openat","args":{"nam":"/x"}}`, "args.nam: openat has no such parameter (name?)", `"/x"}}`},
		{`{"type":"openat","args":{"name":5}}`, "args.name: want a text, got 5", "5}}"},
		{`{"type":"openat","args":{"dirfd":"/etc"}}`, `args.dirfd: want the number of a descriptor, or AT_FDCWD; what it is stands in fd, got "/etc"`, `"/etc"}}`},
		{`{"type":"openat","args":{"ino":5}}`, "args.ino: it comes from fd", "5}}"},
		{`{"type":"openat","res":3,"args":{"fd":3}}`, "args.fd: it is what the call returned, which res gives already", "3}}"},
		{`{"type":"execve","args":{"exe":"x"}}`, "args.exe: it comes from process", `"x"}}`},
		{`{"type":"procexit","args":{"sig":9}}`, "args.sig: it comes from status", "9}}"},
		{`{"type":"getppid","args":{"x":9}}`, "args.x: getppid has no parameters", "9}}"},
		{`{"type":"mkdir","args":{"mode":"rwx"}}`, `args.mode: want a number, or octal or hexadecimal digits behind 0 or 0x, got "rwx"`, `"rwx"}}`},
		{`{"type":"setuid","args":{"uid":"me"}}`, `args.uid: want the number of a user or group, or root, got "me"`, `"me"}}`},
		{`{"type":"close","process":{"parents":["a",{"uid":"x"}]}}`, `process.parents[1].uid: want a number from 0 to 4294967295, or -1, got "x"`, `"x"}]}}`},
		{`{"type":"close","process":{"parents":[{"parents":[]}]}}`, "process.parents[0].parents: whoever is above a parent follows it in the list", "[]}]}}"},
		{`{"type":"close","process":{"caps":["CAP_SYS_ADMN"]}}`, `process.caps[0]: unknown capability "CAP_SYS_ADMN" (CAP_SYS_ADMIN?)`, `"CAP_SYS_ADMN"]}}`},
		{`{"type":"close","process":{"flags":["memfd"]}}`, `process.flags[0]: unknown "memfd" (exe_memfd?)`, `"memfd"]}}`},
		{`{"type":"close","process":{"start":9999999999999999999}}`, "process.start: 9999999999999999999 nanoseconds before the event is before the machine's boot, 1767225600000000000 before it", "9999999999999999999}}"},
		{`{"type":"close","process":5}`, "process: want a process, or its name, got 5", "5}"},
		{`{"type":"close","fd":{}}`, "fd: want one of type, name, local and remote", "{}}"},
		{`{"type":"close","fd":{"type":"dir"}}`, `fd.type: want one of file, directory, ipv4, ipv6, unix, pipe, event, signalfd, eventpoll, inotify, timerfd, bpf, userfaultfd, io_uring, memfd, netlink, packet, pidfd, other, got "dir"`, `"dir"}}`},
		{`{"type":"close","fd":{"local":"x"}}`, `fd.local: want an address and port such as 192.0.2.1:443 or [2001:db8::1]:443, got "x"`, `"x"}}`},
		{`{"type":"close","peer":"1.2.3.4:5"}`, "peer: close names no address", `"1.2.3.4:5"}`},
		{`{"type":"close","data":"x"}`, "data: close reads and writes none", `"x"}`},
		{`{"type":"read","data_hex":"zz"}`, `data_hex: want hexadecimal digits, got "zz"`, `"zz"}`},
		{`{"type":"close","status":1}`, "status: only procexit has a wait status, not close", "1}"},
		{`{"type":"procexit","res":1}`, "res: procexit returns nothing; its wait status is in status", "1}"},
		{`{"type":"clone","res":0}`, "res: want the child's process id: only the parent's return of clone is an event", "0}"},
		{`{"type":"close","child":{}}`, "child: close makes no process", "{}}"},
		{`{"type":"execve","caller":{}}`, "caller: execve has no caller but its process; give process what it has", "{}}"},
		{`{"type":"execve","fd":{"num":1}}`, "fd: execve has none; only other system calls are about a descriptor", `{"num":1}}`},
		{`{"type":"rename","resolved":{"path":"/x"}}`, `resolved.path: "path" is no path or string of rename, want one of oldpath, newpath`, `"/x"}}`},
		{`{"type":"rename","fault":["newpth"]}`, `fault[0]: "newpth" is no path or string of rename (newpath?)`, `"newpth"]}`},
		{`{"type":"close","container":{"label":{}}}`, "container.label: unknown key (labels?)", "{}}}"},
		{`{"type":"close","unit":"a.service","container":"web"}`, "unit: what is in a container is in no unit of the host", `"a.service","container":"web"}`},
		{`{"type":"filechange"}`, "want change: what has happened to which file", `{"type":"filechange"}`},
		{`{"type":"close","change":{}}`, "change: close is no change of a watched file; want type filechange", "{}}"},
		{`{"type":"filechange","res":3}`, "res: filechange has none; what has happened to the file stands in change", "3}"},
		{`{"type":"filechange","change":{"path":"/a"}}`, "change: want kinds: one or several of created, deleted, renamed, content, mode, owner, xattrs, acl, links, flags, mounted, unmounted", `{"path":"/a"}}`},
		{`{"type":"filechange","change":{"kinds":["mode"]}}`, "change: want path: the file's", `{"kinds":["mode"]}}`},
		{`{"type":"filechange","change":{"path":"a","kinds":["mode"]}}`, `change.path: want an absolute path, got "a"`, `"a","kinds":["mode"]}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":[]}}`, "change.kinds: want a list of one or several of created, deleted, renamed, content, mode, owner, xattrs, acl, links, flags, mounted, unmounted, got a list", `[]}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["moed"]}}`, `change.kinds[0]: unknown "moed" (mode?)`, `"moed"]}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["mode","mode"]}}`, `change.kinds[1]: mode is given twice`, `"mode"]}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["mode"],"severity":"high"}}`, `change.severity: want a priority such as warning, got "high"`, `"high"}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["mode"],"after":{"mode":755}}}`, `change.after.mode: want a text of octal digits, such as "0644" or "4755", got 755`, `755}}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["mode"],"after":{"mode":"0899"}}}`, `change.after.mode: want a text of octal digits, such as "0644" or "4755", got "0899"`, `"0899"}}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["mode"],"before":{"sha256":"AB"}}}`, `change.before.sha256: want 64 hexadecimal digits in lower case, got "AB"`, `"AB"}}}`},
		{`{"type":"filechange","change":{"path":"/a","kinds":["mode"],"before":null}}`, `change.before: want an object, got null`, `null}}`},
		{"{\"type\":\"\xff\"}", `want text in UTF-8; write other bytes as {"hex": …}`, "\xff\"}"},
		{`{"type":` + strings.Repeat("[", 20), "want at most 16 objects and lists in each other", "[[[[["},
		{`{"type""close"}`, `not JSON: want a colon, got '"'`, `"close"}`},
		{`{"type":clos}`, `type: not JSON: want a value, got 'c'`, "clos}"},
		{`{"type":01}`, `type: not JSON: 01 is no number`, "01}"},
		{`{"type":"a\qb"}`, `type: not JSON: the text "a\qb" has a backslash that stands for nothing`, `"a\qb"}`},
		{"{\"type\":\"a\tb\"}", `type: not JSON: want no control character in a text, got '\t'`, "\tb\"}"},
		{`{"type":"close",}`, `not JSON: want a key, got '}'`, "}"},
		{`{"type":"close";}`, `not JSON: want a comma or }, got ';'`, ";}"},
		{`{"type":"close","process":{"args":["a",]}}`, `process.args[1]: not JSON: want a value, got ']'`, "]}}"},
		{`{"type":"close`, "type: the text ends within the event", ""},
		{`{"type":"close\`, "type: the text ends within the event", ""},
		{`{"type" "close"}`, `not JSON: want a colon, got '"'`, `"close"}`},
	} {
		ev, err := Decode([]byte(c.text))
		var form *FormError
		if !errors.As(err, &form) {
			t.Errorf("Decode(%s) = %v, %v, want a FormError", c.text, ev, err)
			continue
		}
		got := err.Error()
		if strings.HasPrefix(c.text, `{"type":[`) {
			got = got[strings.Index(got, "want"):]
		}
		if got != c.want || c.text[form.At:] != c.at {
			t.Errorf("Decode(%s)\n got %s at %q\nwant %s at %q", c.text, got, c.text[form.At:], c.want, c.at)
		}
	}
}

// What is read can be written, and is then read as the same: the written form is the last word.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"type":"openat","args":{"name":"/etc/shadow","flags":"O_RDONLY"},"process":{"name":"cat","parents":["bash","sshd"]}}`,
		`{"type":"connect","peer":"1.2.3.4:443","container":{"name":"web","labels":{"a":"b"},"mounts":[{"dest":"/x"}]},"res":"EINPROGRESS"}`,
		`{"type":"clone","args":{"flags":"CLONE_NEWUSER"},"child":{"name":"x","caps":"all"}}`,
		`{"type":"renameat2","args":{"oldpath":"a","newpath":{"hex":"ff"},"flags":"RENAME_EXCHANGE|0x80"},"dir":{"newpath":"/n"},"fault":["oldpath"]}`,
		`{"type":"execve","res":-2,"caller":{"euid":0,"caps":[]},"time":"2026-03-01T00:00:00.5Z","boot":99}`,
		`{"type":"procexit","status":9,"process":null,"pid":4,"tid":5}`,
		`{"type":"filechange","change":{"path":"/usr/bin/x","kinds":["content","mode"],"watches":["binaries"],"severity":"critical","before":{"mode":"0755","size":9},"after":{"mode":"4755","caps":["CAP_NET_RAW"],"xattrs":["security.capability"]}},"process":{"name":"sh","uid":5},"caller":{"euid":0},"container":"web"}`,
		`{"type":"filechange","time":"2026-03-01T00:00:00Z","change":{"path":"/a\nb","from":{"hex":"2fff"},"kinds":["renamed"],"expected":true,"why":"actor x","diff":"-a\n+b","before":{"type":"symlink","target":"/c"}}}`,
		`{"type":"sendto","data_hex":"00ff","peer":{"family":16},"fd":{"type":"netlink","sock_type":3,"protocol":9,"remote":null}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := parse(raw)
		if foreign := err != nil && strings.Contains(err.Error(), "not JSON"); err == nil && !json.Valid(raw) || foreign && json.Valid(raw) {
			t.Fatalf("encoding/json is of another opinion than %v", err)
		}
		ev, err := Decode(raw)
		if err != nil {
			if form := (*FormError)(nil); !errors.As(err, &form) || form.At < 0 || form.At > len(raw) || form.Text == "" {
				t.Fatalf("%v is no error that points into the text", err)
			}
			return
		}
		line := ev.AppendRecord(nil, nil)
		back, err := Decode(line)
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if again := back.AppendRecord(nil, nil); string(again) != string(line) {
			t.Fatalf("written again:\n%s\nwant\n%s", again, line)
		}
	})
}
