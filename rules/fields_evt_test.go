package rules

import (
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestFieldsOfEvents(t *testing.T) {
	testReadings(t, []reading{
		{"time and place", `{"type": "close", "num": 17, "cpu": 3, "time": "2026-02-03T04:05:06.007000008Z"}`, `
			evt.num 17
			evt.cpu 3
			evt.time.iso8601 2026-02-03T04:05:06.007000008+0000
			evt.rawtime 1770091506007000008
			evt.rawtime.s 1770091506
			evt.rawtime.ns 7000008
			evt.source syscall
			evt.is_async false
			evt.dir <
			evt.latency <NA>
			evt.deltatime 0
			evt.pluginname <NA>
			evt.count 1
			evt.count.exit 1
			util.cnt 17`},
		{"a call that succeeded", `{"type": "openat", "args": {"name": "/x", "flags": "O_RDWR|O_CREAT", "mode": "0755"}, "res": 5, "fd": {"created": true}}`, `
			evt.type openat
			syscall.type openat
			evt.type.is.openat 1
			evt.type.is[open] 0
			evt.category file
			evt.res SUCCESS
			evt.rawres 5
			evt.failed false
			evt.count.error <NA>
			evt.is_open_read true
			evt.is_open_write true
			evt.is_open_exec true
			evt.is_open_create true
			evt.is_io false
			evt.is_wait false
			evt.buflen <NA>
			evt.buffer <NA>
			evt.arg.name /x
			evt.arg[2] /x
			evt.arg[99] <NA>
			evt.arg.newpath <NA>
			evt.rawarg.flags 66
			evt.rawarg[flags] 66
			evt.rawarg.mode 493
			evt.rawarg.fd 5
			evt.rawarg.name /x
			evt.rawarg.newpath <NA>
			evt.rawarg.uid <NA>`},
		{"a call that failed", `{"type": "openat", "args": {"name": "/x", "flags": "O_RDONLY", "mode": "0755"}, "res": "ENOENT"}`, `
			evt.res ENOENT
			evt.rawres -2
			evt.failed true
			evt.count.error 1
			evt.count.error.file 1
			evt.count.error.net <NA>
			evt.is_open_read true
			evt.is_open_write false
			evt.is_open_exec false
			evt.is_open_create false
			evt.rawarg.fd -2`},
		{"no open is no open, and says so", `{"type": "unlink", "args": {"path": "/x"}}`, `
			evt.is_open_read false
			evt.is_open_write false
			evt.is_open_exec false
			evt.is_open_create false`},
		{"writing to a pipe", `{"type": "write", "args": {"fd": 1}, "res": 5, "data": "hello", "fd": {"num": 1, "type": "pipe"}}`, `
			evt.category ipc
			evt.is_io true
			evt.is_io_read false
			evt.is_io_write true
			evt.io_dir w
			evt.buffer hello
			evt.buflen 5
			evt.buflen.out 5
			evt.buflen.in <NA>
			evt.buflen.file <NA>
			evt.buflen.net <NA>
			evt.is_syslog false`},
		{"reading from a socket", `{"type": "recvfrom", "res": 100, "fd": {"num": 4, "local": "10.0.0.1:5", "remote": "10.0.0.2:80"}}`, `
			evt.category net
			evt.io_dir r
			evt.buflen 100
			evt.buflen.net.in 100
			evt.buflen.net 100
			evt.buflen.net.out <NA>`},
		{"the log", `{"type": "sendto", "res": 4, "fd": {"num": 3, "type": "unix", "name": "/dev/log"}}`, `
			evt.is_syslog true
			evt.category ipc`},
		{"waiting", `{"type": "nanosleep"}`, `
			evt.is_wait true
			evt.category sleep`},
		{"a clone returns the child", `{"type": "clone", "res": 4321, "args": {"flags": "CLONE_FILES"}}`, `
			evt.type clone
			evt.rawres 4321
			evt.res SUCCESS
			evt.rawarg.res 4321`},
		{"an exit is no call", `{"type": "procexit", "status": 256}`, `
			evt.type procexit
			syscall.type <NA>
			evt.res <NA>
			evt.rawres <NA>
			evt.failed false
			evt.arg.ret 1
			evt.rawarg.ret 1`},
	})
}

func TestControlGroupsAreNoEventsOfRules(t *testing.T) {
	t.Parallel()
	r := NewRecord(nil, "")
	r.Reset(&event.Event{Kind: event.CgroupMake, Path: []byte("/a")})
	for _, field := range []string{"evt.type", "syscall.type", "evt.category", "evt.args", "evt.res", "evt.failed", "evt.is_open_read", "fd.name",
		"fs.path.name", "yagura.path.resolved", "yagura.call.ring", "proc.name", "user.loginuid"} {
		if got := read(t, r, field); got != "<NA>" {
			t.Errorf("%s = %q, want none", field, got)
		}
	}
}

func TestRawArgumentsAreCompared(t *testing.T) {
	t.Parallel()
	r := recordOf(t, `{"type": "setuid", "args": {"uid": 1000}, "res": "EPERM"}`)
	for condition, want := range map[string]bool{
		`evt.rawarg.res < 0`:      true,
		`evt.rawarg.res = -1`:     true,
		`evt.rawarg.uid > 999`:    true,
		`evt.rawarg.uid > 9000`:   false, // as texts it would be greater
		`evt.rawarg.flags exists`: false,
		`evt.type.is.setuid = 1`:  true,
	} {
		if got := holds(t, r, condition); got != want {
			t.Errorf("%s: %v, want %v", condition, got, want)
		}
	}
}

func TestOrdinal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"0": 0, "17": 17, "": -1, "-1": -1, "1a": -1, "99999999999999999999999": -1} {
		n, ok := ordinal(in)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("ordinal(%q) = %d, want %d", in, n, want)
		}
	}
}

func TestArgumentsOfFieldsAreChecked(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]string{
		`evt.type.is.opeenat = 1`:          `unknown event type opeenat`,
		`evt.abspath[x] = a`:               "want src or dst",
		`proc.args[x] = a`:                 "not negative",
		`proc.aname[-1] = a`:               "not negative",
		`fd.types[x] exists`:               "not negative",
		`container.mount.dest["[a"] = a`:   "syntax error in pattern",
		`container.mount.dest = a`:         "wants an argument",
		`fd.name[x] = a`:                   "takes no argument",
		`thread.nametid = a`:               "output only",
		`concat(fd.cip.name, a) = b`:       "cannot be transformed",
		`proc.name = val(proc.aname)`:      "cannot stand on the right",
		`fd.ip > 1`:                        "not supported",
		`evt.rawarg.res contains SUCCESS`:  "not supported",
		`container.privileged contains ue`: "not supported",
	} {
		err := compileError(condition)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", condition, err, want)
		}
	}
}
