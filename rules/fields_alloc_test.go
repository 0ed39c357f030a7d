package rules

import (
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// typical are conditions as rules have them; none is true of any event of eventsOfAllKinds.
var typical = []string{
	`evt.type = nosuch and proc.name = x`,
	`proc.name in (a, b, c) or proc.pname = a or proc.aname in (a, b, c) or proc.aname[2] startswith q`,
	`proc.cmdline contains "no such" or proc.pcmdline startswith zz or proc.args contains zz or proc.exeline = zz or proc.acmdline contains "no such"`,
	`proc.exe startswith zz or proc.exepath startswith zz or proc.pexepath = zz or proc.aexepath startswith zz or proc.cwd startswith /zz`,
	`proc.env icontains zz or proc.env[ZZ] = a or proc.aenv contains zz or proc.aenv[ZZ] = a`,
	`proc.sname = zz or proc.pgid.name = zz or proc.sid.exepath = zz or proc.is_vpgid_leader = false and proc.pid = 0 or proc.apid = 777777`,
	`proc.duration < 0 or proc.tty = 7 or proc.loginshellid = 7 or proc.vpid = 7 or proc.cmdnargs > 100 or proc.cmdlenargs > 1000`,
	`fd.name startswith /zz or fd.name contains zz or fd.name pmatch (/zz) or fd.name glob /zz* or fd.directory in (/zz, /yy) or fd.filename = zz`,
	`fd.nameraw contains zz or fd.containername = zz or fd.containerdirectory = zz or fd.type = zz or fd.typechar = z or fd.num < 0`,
	`fd.ip = 203.0.113.9 or fd.sip = 203.0.113.9 or fd.net = 203.0.113.0/24 or fd.snet in (203.0.113.0/24) or fd.port = 9 or fd.sport in (9) or fd.rport = 9 or fd.lip = 203.0.113.9`,
	`fd.l4proto = zz or fd.sockfamily = zz or fd.cproto = zz or fd.uid = zz or fd.ino = -5 or fd.dev.major = 4000`,
	`fs.path.name startswith /zz or fs.path.source startswith /zz or fs.path.target startswith /zz or fs.path.nameraw = zz or evt.abspath = zz`,
	`evt.arg.flags contains ZZ or evt.arg.path startswith zz or evt.arg.newpath startswith zz or evt.arg.mode contains ZZ or evt.arg.fd contains zz`,
	`evt.res = ZZ or evt.rawres = -99 or evt.rawarg.flags = 99999 or evt.category = zz or evt.type.is.close = 9 or evt.io_dir = z or evt.buflen = 99999 or evt.buffer bcontains 00ff00ff`,
	`evt.is_open_write = true and evt.is_open_read = true and evt.failed = true and proc.name = zz`,
	`user.name = zz or user.uid = 77 or user.loginuid = 77 or user.loginname = zz or group.name = zz or group.gid = 77 or user.homedir = zz`,
	`container.id = zz or container.name = zz or container.image.repository in (zz) or container.image.tag = zz or container.image contains zz or container.type = zz`,
	`container.mount.dest[/zz*] = a or container.mounts contains zz or container.label.zz = a or container.labels contains zz or container.start_ts = 7 or proc.is_container_healthcheck = true`,
	`k8s.ns.name in (zz) or k8s.pod.name startswith zz or k8s.pod.label.zz = a or k8s.pod.labels contains zz`,
	`thread.cap_effective contains ZZ or thread.cap_permitted contains ZZ`,
	`yagura.path.resolved startswith /zz or yagura.path.target = zz or yagura.path.directory = zz or yagura.path.basename = zz or yagura.proc.comm = zz`,
	`yagura.arg.unstable = true or yagura.call.ring = true or yagura.fd.layer = zz or yagura.proc.host_mount_ns = true and proc.name = zz`,
}

var eventsOfAllKinds = []string{
	curl,
	pod,
	`{"type": "openat", "args": {"name": "../etc//passwd", "flags": "O_RDWR|O_CREAT"}, "dir": "/srv", "container": {"id": "0123456789abcdef", "mounts": [{"source": "/a", "dest": "/b"}], "healthcheck": "x"}}`,
	`{"type": "openat", "args": {"name": "x"}, "dir": "/", "res": "ENOENT"}`,
	`{"type": "renameat2", "args": {"oldpath": "a", "newpath": "b/../c"}, "dir": "/w"}`,
	`{"type": "symlink", "args": {"target": "../a", "linkpath": "/t/x"}, "process": {"cwd": "/home"}}`,
	`{"type": "sendto", "res": 9, "peer": "[2001:db8::1]:53", "data": "abc", "fd": {"num": 3, "local": "[::1]:33333", "proto": "udp"}}`,
	`{"type": "execve", "process": {"name": "ls", "args": ["ls", "-l"], "parents": ["bash", "sshd"]}}`,
	`{"type": "clone"}`,
	`{"type": "procexit"}`,
}

func TestConditionsAllocateNothing(t *testing.T) {
	record := NewRecord(nil, "")
	for _, condition := range typical {
		n, err := expr.Parse(condition)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		test, err := language.Compile(n)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		for _, text := range eventsOfAllKinds {
			ev, err := event.Decode([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			record.Reset(ev)
			if test(record) {
				t.Errorf("%s: true of %s: the test is of misses", condition, text)
			}
			if n := testing.AllocsPerRun(20, func() { record.Reset(ev); test(record) }); n != 0 {
				t.Errorf("%s: %v allocations for %s", condition, n, text)
			}
		}
	}
}

func BenchmarkFields(b *testing.B) {
	record := NewRecord(nil, "")
	ev, err := event.Decode([]byte(curl))
	if err != nil {
		b.Fatal(err)
	}
	for _, condition := range []string{`proc.name = x`, `proc.aname in (x, y)`, `proc.cmdline contains zz`, `fd.name startswith /zz`, `fd.sip = 203.0.113.9`,
		`container.image.repository = zz`, `user.name = zz`, `yagura.path.resolved startswith /zz`, `evt.arg.flags contains ZZ`} {
		n, err := expr.Parse(condition)
		if err != nil {
			b.Fatal(err)
		}
		test, err := language.Compile(n)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(condition, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				record.Reset(ev)
				test(record)
			}
		})
	}
}
