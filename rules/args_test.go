package rules

import (
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// argNames knows root and a daemon.
type argNames struct{}

func (argNames) User(_ *event.Event, uid uint32) (User, bool) {
	name, ok := map[uint32]string{0: "root", 33: "www-data"}[uid]
	return User{Name: name}, ok
}

func (argNames) Group(_ *event.Event, gid uint32) (string, bool) {
	name, ok := map[uint32]string{0: "root", 33: "www-data"}[gid]
	return name, ok
}

func argsOf(t testing.TB, text string) *Record {
	t.Helper()
	ev, err := event.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRecord(argNames{}, "")
	r.Reset(ev)
	return r
}

func TestArgumentsSayWhatTheyMean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ event, name, shown, raw string }{
		// Results and errors.
		{`"type":"mkdir"`, "res", "0", "0"},
		{`"type":"read","res":17`, "res", "17", "17"},
		{`"type":"mkdir","res":"EEXIST"`, "res", "EEXIST", "-17"},
		{`"type":"mkdir","res":-9999`, "res", "-9999", "-9999"},
		// Descriptors.
		{`"type":"openat","args":{"name":"/etc/passwd"}`, "fd", "<f>/etc/passwd", "3"},
		{`"type":"openat","args":{"name":"/etc/passwd"},"res":"EACCES"`, "fd", "EACCES", "-13"},
		{`"type":"openat","args":{"name":"x"}`, "dirfd", "AT_FDCWD", "-100"},
		{`"type":"openat","args":{"name":"x","dirfd":7}`, "dirfd", "7", "7"},
		{`"type":"connect","peer":"1.2.3.4:443","fd":{"num":4,"local":"10.0.0.1:5000"}`, "fd", "<4t>10.0.0.1:5000->1.2.3.4:443", "4"},
		{`"type":"close","fd":{"num":5,"local":"[::1]:5353","remote":"[::2]:53","proto":"udp","role":"client"}`, "fd", "<6u>::1:5353->::2:53", "5"},
		{`"type":"close","args":{"fd":6}`, "fd", "6", "6"},
		{`"type":"pipe","args":{"fd1":3,"fd2":4}`, "fd2", "4", "4"},
		// Sets and choices.
		{`"type":"openat","args":{"flags":"O_RDONLY|O_CLOEXEC"}`, "flags", "O_RDONLY|O_CLOEXEC", "524288"},
		{`"type":"openat","args":{"flags":"O_WRONLY|O_CREAT|O_TRUNC"}`, "flags", "O_TRUNC|O_CREAT|O_WRONLY", "577"},
		{`"type":"openat","args":{"name":"/x","flags":"O_WRONLY|O_CREAT"},"fd":{"created":true,"layer":"upper"}`, "flags", "O_CREAT|O_WRONLY|O_F_CREATED|FD_UPPER_LAYER", "65"},
		{`"type":"open","args":{"flags":-1}`, "flags", "", ""}, // refused below
		{`"type":"openat","args":{"mode":"0644"}`, "mode", "0644", "0644"},
		{`"type":"openat"`, "mode", "0", "0"},
		{`"type":"chmod","args":{"mode":"04755"}`, "mode", "S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID", "04755"},
		{`"type":"fchmodat","args":{"mode":"0200"}`, "mode", "S_IWUSR", "0200"},
		{`"type":"chmod"`, "mode", "0", "0"},
		{`"type":"mkdir","args":{"mode":"0755"}`, "mode", "1ED", "1ED"},
		{`"type":"ptrace","args":{"request":"PTRACE_ATTACH","pid":7}`, "request", "PTRACE_ATTACH", "16"},
		{`"type":"ptrace","args":{"request":99}`, "request", "99", "99"},
		{`"type":"ptrace","args":{"addr":"0x7fff"}`, "addr", "7FFF", "7FFF"},
		{`"type":"socket","args":{"domain":"AF_PACKET"}`, "domain", "AF_PACKET", "17"},
		{`"type":"unshare","args":{"flags":"CLONE_NEWNS|CLONE_NEWUSER"}`, "flags", "CLONE_NEWNS|CLONE_NEWUSER", "268566528"},
		{`"type":"bpf","args":{"cmd":"BPF_PROG_LOAD"}`, "cmd", "BPF_PROG_LOAD", "5"},
		{`"type":"access"`, "mode", "F_OK", "0"},
		{`"type":"delete_module"`, "flags", "0", "0"},
		{`"type":"kill","args":{"sig":"SIGKILL","pid":7}`, "sig", "SIGKILL", "9"},
		{`"type":"kill","args":{"sig":"SIGKILL","pid":7}`, "pid", "7", "7"},
		{`"type":"kill","args":{"sig":0,"pid":-1}`, "sig", "0", "0"},
		{`"type":"ioctl","args":{"request":"0x5412"}`, "request", "5412", "5412"},
		// Users.
		{`"type":"setuid","args":{"uid":0}`, "uid", "root", "0"},
		{`"type":"setuid","args":{"uid":1234}`, "uid", "1234", "1234"},
		{`"type":"setreuid","args":{"ruid":-1,"euid":33}`, "ruid", "<NONE>", "-1"},
		{`"type":"setgid","args":{"gid":33}`, "gid", "www-data", "33"},
		// Texts and addresses.
		{`"type":"openat","args":{"name":"../b"},"dir":"/a/c"`, "name", "/a/b", "../b"},
		{`"type":"openat","args":{"name":"/a/../b"}`, "name", "/b", "/a/../b"},
		{`"type":"openat","args":{"name":"/b"},"fault":["name"]`, "name", "<NA>", "<NA>"},
		{`"type":"symlink","args":{"target":"../x","linkpath":"y"},"dir":"/d"`, "target", "../x", "../x"},
		{`"type":"symlink","args":{"target":"../x","linkpath":"y"},"dir":"/d"`, "linkpath", "/d/y", "y"},
		{`"type":"memfd_create","args":{"name":"x"}`, "name", "x", "x"},
		{`"type":"mount","args":{"type":"proc","dir":"/p"}`, "type", "proc", "proc"},
		{`"type":"bind","peer":"0.0.0.0:80"`, "addr", "0.0.0.0:80", "0.0.0.0:80"},
		{`"type":"connect","peer":"[2001:db8::1]:80"`, "addr", "2001:db8::1:80", "2001:db8::1:80"},
		{`"type":"connect","peer":"/run/docker.sock"`, "addr", "/run/docker.sock", "/run/docker.sock"},
		{`"type":"connect"`, "addr", "<NA>", "<NA>"},
		{`"type":"accept","peer":"1.2.3.4:5","fd":{"local":"10.0.0.1:80"}`, "tuple", "1.2.3.4:5->10.0.0.1:80", "1.2.3.4:5->10.0.0.1:80"},
		{`"type":"write","data":"a\u0000b\n"`, "data", "a.b.", "a.b."},
		// Processes.
		{`"type":"execve","process":{"name":"x","path":"/b/x","args":["./x","-a","b"],"cwd":"/b"}`, "exe", "./x", "./x"},
		{`"type":"execve","process":{"args":["x","-a","b"]}`, "args", "-a b", "-a b"},
		{`"type":"execve","process":{"env":["A=b","C=d"]}`, "env", "A=b C=d", "A=b C=d"},
		{`"type":"execve","process":{"name":"x","pid":5,"parents":["sh"]}`, "pid", "x", "5"},
		{`"type":"execve","process":{"name":"x","pid":5,"parents":["sh"]}`, "ptid", "sh", "4"},
		{`"type":"execve","process":{"path":"/b/x"}`, "trusted_exepath", "/b/x", "/b/x"},
		{`"type":"execve","process":{"path":"/b/x"}`, "filename", "/b/x", "/b/x"},
		{`"type":"execve","res":"ENOENT","args":{"filename":"x"},"process":{"cwd":"/b"}`, "filename", "/b/x", "x"},
		{`"type":"execve","process":{"flags":["exe_memfd","exe_upper_layer"]}`, "flags", "EXE_UPPER_LAYER|EXE_FROM_MEMFD", "6"},
		{`"type":"execve"`, "flags", "0", "0"},
		{`"type":"execve","process":{"euid":33}`, "uid", "www-data", "33"},
		{`"type":"execve"`, "loginuid", "<NONE>", "-1"},
		{`"type":"execve","process":{"caps":["CAP_SYS_ADMIN"]}`, "cap_effective", "200000", "200000"},
		{`"type":"execve"`, "fdlimit", "<NA>", "<NA>"},
		{`"type":"clone","args":{"flags":"CLONE_NEWPID"},"child":{"name":"kid","pid":77}`, "res", "kid", "77"},
		{`"type":"clone","args":{"flags":"CLONE_NEWPID"},"child":{"name":"kid","pid":77}`, "flags", "CLONE_NEWPID", "536870912"},
		{`"type":"clone","process":{"name":"maker","pid":5}`, "pid", "maker", "5"},
		{`"type":"fork","process":"maker"`, "comm", "maker", "maker"},
		{`"type":"fork"`, "flags", "0", "0"},
		// How a process ended: 9 and a core; 3.
		{`"type":"procexit","status":137`, "sig", "SIGKILL", "9"},
		{`"type":"procexit","status":137`, "core", "1", "1"},
		{`"type":"procexit","status":768`, "ret", "3", "3"},
		{`"type":"procexit","status":768`, "sig", "0", "0"},
		{`"type":"procexit","status":768`, "status", "768", "768"},
	} {
		if c.shown == "" {
			if _, err := event.Decode([]byte("{" + c.event + "}")); err == nil {
				t.Errorf("%s was not refused", c.event)
			}
			continue
		}
		r := argsOf(t, "{"+c.event+"}")
		p, _ := r.Type.Info().Param(c.name)
		if p == nil {
			t.Errorf("%s has no parameter %s", c.event, c.name)
			continue
		}
		if got := orAbsent(r.appendArg(nil, p)); got != c.shown {
			t.Errorf("%s: evt.arg.%s is %q, want %q", c.event, c.name, got, c.shown)
		}
		if got := orAbsent(r.appendRaw(nil, p)); got != c.raw {
			t.Errorf("%s: evt.rawarg.%s is %q, want %q", c.event, c.name, got, c.raw)
		}
	}
}

func orAbsent(b []byte, ok bool) string {
	if !ok {
		return "<NA>"
	}
	return string(b)
}

func TestAllArgumentsStandInOneLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ event, want string }{
		{`{"type":"openat","args":{"name":"/etc/passwd","flags":"O_RDONLY|O_CLOEXEC"},"fd":{"dev":2049,"ino":77}}`,
			"fd=3(<f>/etc/passwd) dirfd=-100(AT_FDCWD) name=/etc/passwd flags=524288(O_RDONLY|O_CLOEXEC) mode=0 dev=801 ino=77"},
		{`{"type":"openat","args":{"name":"x"},"dir":"/tmp","res":"ENOENT"}`,
			"fd=-2(ENOENT) dirfd=-100(AT_FDCWD) name=x(/tmp/x) flags=0(O_RDONLY) mode=0 dev=<NA> ino=<NA>"},
		{`{"type":"chmod","args":{"filename":"/x","mode":"0400"}}`, "res=0 filename=/x mode=0400(S_IRUSR)"},
		{`{"type":"setuid","args":{"uid":0}}`, "res=0 uid=0(root)"},
		{`{"type":"kill","args":{"pid":9,"sig":15}}`, "res=0 pid=9 sig=15(SIGTERM)"},
		{`{"type":"socket","args":{"domain":"AF_UNIX","type":1}}`, "fd=3 domain=1(AF_UNIX) type=1 proto=0"},
		{`{"type":"getppid"}`, ""},
		{`{"type":"procexit","status":9}`, "status=9 ret=0 sig=9(SIGKILL) core=0 reaper_tid=<NA>"},
	} {
		if got := string(argsOf(t, c.event).appendArgs(nil)); got != c.want {
			t.Errorf("evt.args of %s\n got %s\nwant %s", c.event, got, c.want)
		}
	}
}

// What the kernel does not look at must not hide from rules what it does.
func TestUpperHalvesOfRegistersHideNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ event, name, want string }{
		{`{"type":"socket","args":{"domain":17}}`, "domain", "AF_PACKET"},
		{`{"type":"kill","args":{"sig":9}}`, "sig", "SIGKILL"},
		{`{"type":"ioctl","args":{"request":21522}}`, "request", "5412"},
		{`{"type":"setuid","args":{"uid":0}}`, "uid", "root"},
		{`{"type":"keyctl","args":{"operation":11}}`, "operation", "11"},
		{`{"type":"unshare","args":{"flags":"CLONE_NEWUSER"}}`, "flags", "CLONE_NEWUSER"},
		{`{"type":"kill","args":{"pid":4294967295}}`, "pid", "-1"},
	} {
		r := argsOf(t, c.event)
		for i := range r.Call.Arg {
			r.Call.Arg[i] |= 0xdead << 32
		}
		p, _ := r.Type.Info().Param(c.name)
		if got := orAbsent(r.appendArg(nil, p)); got != c.want {
			t.Errorf("%s: evt.arg.%s is %q, want %q", c.event, c.name, got, c.want)
		}
	}
}

func TestArgumentsOfEveryTypeAreShownWithoutAProcess(t *testing.T) {
	t.Parallel()
	for i := range event.Types[1:] {
		typ := event.Type(i + 1)
		for _, kind := range []event.Kind{event.Syscall, event.Exec, event.Fork, event.Exit} {
			r := NewRecord(nil, "")
			r.Reset(&event.Event{Kind: kind, Type: typ})
			r.appendArgs(nil)
		}
	}
}

func TestArgumentsAreReadWithoutAllocation(t *testing.T) {
	const openat = `{"type":"openat","args":{"name":"../x","flags":"O_RDWR|O_CREAT","mode":"0644"},"process":{"cwd":"/tmp"}}`
	for _, c := range []struct{ event, name string }{
		{openat, "flags"}, {openat, "mode"}, {openat, "name"}, {openat, "fd"}, {openat, "dirfd"},
		{`{"type":"chmod","args":{"mode":"04755"}}`, "mode"},
		{`{"type":"ptrace","args":{"request":"PTRACE_ATTACH"}}`, "request"},
		{`{"type":"setuid","args":{"uid":33}}`, "uid"},
		{`{"type":"kill","args":{"sig":"SIGKILL"}}`, "sig"},
		{`{"type":"mkdir","res":"EEXIST"}`, "res"},
		{`{"type":"connect","peer":"1.2.3.4:80"}`, "addr"},
		{`{"type":"connect","peer":"1.2.3.4:80"}`, "fd"},
		{`{"type":"execve"}`, "pid"},
	} {
		r := argsOf(t, c.event)
		if c.name == "uid" {
			r.names = nil // whose cost is not ours
		}
		p, _ := r.Type.Info().Param(c.name)
		room := make([]byte, 0, 256)
		allocations := testing.AllocsPerRun(100, func() {
			r.Reset(r.Event)
			room, _ = r.appendArg(room[:0], p)
		})
		if allocations != 0 {
			t.Errorf("evt.arg.%s of %s: %v allocations", c.name, c.event, allocations)
		}
	}
}
