package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// ofChanges is the language over changes of watched files.
var ofChanges = NewLanguages(LanguageOptions{})[event.ChangeSource]

const (
	sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	setuidAppears = `{"type": "filechange", "time": "2026-02-03T04:05:06Z", "num": 7, "change": {"id": "a1", "path": "/usr/local/bin/tool", "from": "/tmp/tool", "container": "",
		"kinds": ["renamed", "mode"], "watches": ["binaries", "own"], "severity": "critical", "why": "no package accounts for it", "diff": "-a\n+b",
		"before": {"type": "symlink", "target": "/x"},
		"after": {"mode": "6755", "uid": 5, "gid": 6, "size": 70, "sha256": "` + sha + `", "immutable": true, "append_only": true, "caps": ["CAP_NET_RAW", "CAP_SYS_ADMIN"], "xattrs": ["security.capability", "user.x"]}},
		"process": {"name": "mv", "args": ["mv", "/tmp/tool", "/usr/local/bin"], "pid": 50, "uid": 1000, "gid": 100, "loginuid": 1000, "tty": 34816, "parents": ["bash", "sshd"]},
		"caller": {"uid": 1000, "euid": 0, "gid": 100, "egid": 0, "loginuid": 1000},
		"container": {"name": "web", "id": "0123456789abcdef", "namespace": "prod", "pod": "web-1"}}`
	foundByScan  = `{"type": "filechange", "change": {"path": "/etc/cron.d/x", "kinds": ["deleted"], "watches": ["cron"], "before": {}}}`
	inAContainer = `{"type": "filechange", "change": {"path": "/bin/ls", "container": "fedcba9876543210", "kinds": ["content"], "before": {"mode": "0755"}, "after": {"mode": "0755"}}, "container": {"name": "db", "id": "fedcba9876543210"}}`
)

func TestFieldsOfChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []reading{
		{"somebody's", setuidAppears, `
			evt.num 7
			evt.time.iso8601 2026-02-03T04:05:06.000000000+0000
			evt.type filechange
			evt.source fim
			fim.id a1
			fim.path /usr/local/bin/tool
			fim.directory /usr/local/bin
			fim.filename tool
			fim.oldpath /tmp/tool
			fim.container host
			fim.kinds (renamed,mode)
			fim.watches (binaries,own)
			fim.severity critical
			fim.actor user
			fim.expected false
			fim.why no package accounts for it
			fim.confidence path
			fim.type file
			fim.mode 6755
			fim.setuid true
			fim.setgid true
			fim.executable true
			fim.uid 5
			fim.gid 6
			fim.size 70
			fim.sha256 ` + sha + `
			fim.target <NA>
			fim.immutable true
			fim.append_only true
			fim.capabilities CAP_NET_RAW CAP_SYS_ADMIN
			fim.xattrs (security.capability,user.x)
			fim.before.type symlink
			fim.before.mode 0644
			fim.before.setuid false
			fim.before.executable false
			fim.before.target /x
			fim.before.capabilities <NA>
			fim.before.sha256 <NA>
			proc.name mv
			proc.cmdline mv /tmp/tool /usr/local/bin
			proc.pname bash
			proc.aname[2] sshd
			proc.pid 50
			proc.tty 34816
			user.uid 0
			user.loginuid 1000
			group.gid 0
			container.id 0123456789ab
			container.name web
			k8s.ns.name prod
			k8s.pod.name web-1`},
		{"nobody's", foundByScan, `
			fim.path /etc/cron.d/x
			fim.oldpath <NA>
			fim.actor unknown
			fim.confidence none
			fim.why <NA>
			fim.mode <NA>
			fim.setuid <NA>
			fim.before.mode 0644
			fim.before.uid 0
			proc.name <NA>
			proc.pid <NA>
			proc.aname[1] <NA>
			user.uid <NA>
			user.name <NA>
			user.loginuid <NA>
			group.gid <NA>
			container.id <NA>
			k8s.ns.name <NA>
			yagura.unit <NA>`},
		{"nobody's, in a container", inAContainer, `
			fim.container fedcba987654
			container.id fedcba987654
			container.name db
			proc.name <NA>
			user.uid <NA>`},
		{"a group that is not known", `{"type": "filechange", "change": {"path": "/a", "kinds": ["mode"]}, "process": {"name": "sh", "gid": -1}}`, `
			proc.name sh
			group.gid <NA>
			group.name <NA>
			user.uid 0
			container.id host`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := recordOf(t, tt.event)
			for line := range strings.Lines(strings.TrimSpace(tt.want)) {
				field, want, _ := strings.Cut(strings.TrimSpace(line), " ")
				if got := readIn(t, ofChanges, r, field); got != want {
					t.Errorf("%s = %q, want %q", field, got, want)
				}
			}
		})
	}
}

func TestConditionsOverChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		event, condition string
		want             bool
	}{
		{setuidAppears, `fim.kinds intersects (created, mode)`, true},
		{setuidAppears, `fim.kinds in (renamed, mode, content)`, true},
		{setuidAppears, `fim.kinds in (mode)`, false},
		{setuidAppears, `fim.setuid = true and not fim.before.setuid = true`, true},
		{setuidAppears, `fim.capabilities != val(fim.before.capabilities)`, false}, // absent before
		{setuidAppears, `fim.capabilities contains CAP_SYS_ADMIN and not fim.before.capabilities exists`, true},
		{setuidAppears, `fim.path pmatch (/usr/local)`, true},
		{setuidAppears, `fim.mode glob "[4567]*"`, true},
		{setuidAppears, `fim.diff contains "+b"`, true},
		{setuidAppears, `proc.aname = sshd and proc.name in (mv, cp)`, true},
		{foundByScan, `fim.kinds intersects (created, mode)`, false},
		{foundByScan, `user.uid = 0 or proc.pid = 0 or user.name = root or container.id = host`, false},
		{foundByScan, `not proc.name exists and fim.expected = false`, true},
		{foundByScan, `proc.aname = sshd or proc.apid = 0`, false},
		{foundByScan, `fim.xattrs exists or fim.size exists`, false},
		{foundByScan, `evt.type = filechange`, true},
	} {
		n, err := expr.Parse(tt.condition)
		if err != nil {
			t.Fatalf("%s: %v", tt.condition, err)
		}
		test, err := ofChanges.Compile(n)
		if err != nil {
			t.Errorf("%s: %v", tt.condition, err)
			continue
		}
		if got := test(recordOf(t, tt.event)); got != tt.want {
			t.Errorf("%s is %v, want %v, of %s", tt.condition, got, tt.want, tt.event)
		}
	}
}

// A record of another source than the language's is read as one that has nothing.
func TestFieldsOfChangesOfWhatIsNone(t *testing.T) {
	t.Parallel()
	r := recordOf(t, `{"type": "close"}`)
	for _, f := range changeFields {
		if f.Flags&expr.ListValued != 0 {
			continue
		}
		if got := readIn(t, ofChanges, r, f.Name); got != "<NA>" {
			t.Errorf("%s of a system call is %q, want nothing", f.Name, got)
		}
	}
}

func TestFieldsOfChangesAreNamedOnce(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, f := range Fields(event.ChangeSource) {
		if known[f.Name] {
			t.Errorf("field %s is in the table twice", f.Name)
		}
		known[f.Name] = true
		for _, foreign := range []string{"fd.", "fs.path.", "evt.arg", "evt.rawarg", "syscall.", "proc.env", "thread.", "yagura.path."} {
			if strings.HasPrefix(f.Name, foreign) {
				t.Errorf("field %s is of system calls", f.Name)
			}
		}
	}
	for _, want := range []string{"fim.path", "fim.before.mode", "proc.aname", "user.name", "group.name", "container.image.repository", "k8s.ns.name", "evt.hostname"} {
		if !known[want] {
			t.Errorf("field %s is missing", want)
		}
	}
	for name := range changeValues {
		if !known[name] {
			t.Errorf("values are known of %s, which is no field", name)
		}
	}
	for name := range ownOfActors {
		if !known[name] {
			t.Errorf("no such field: %s", name)
		}
	}
	for name := range notOfActors {
		if !slices.ContainsFunc(processFields, func(f field) bool { return f.Name == name }) {
			t.Errorf("no such field: %s", name)
		}
	}
}

func TestConditionsOverChangesAllocateNothing(t *testing.T) {
	record := NewRecord(nil, "")
	for _, condition := range []string{
		`fim.path startswith /zz or fim.directory in (/zz) or fim.filename = zz or fim.oldpath = zz or fim.path pmatch (/zz) or fim.container = zz`,
		`fim.kinds intersects (acl) or fim.watches intersects (zz, yy) or fim.severity = debug or fim.actor = maintenance or fim.expected = true`,
		`fim.mode = 0001 or fim.before.mode = 0001 or fim.uid = 77 or fim.size > 99999 or fim.sha256 = zz or fim.target = zz or fim.type = fifo`,
		`fim.capabilities contains ZZ or fim.xattrs intersects (zz) or fim.diff contains zz or fim.why contains zz`,
		`proc.name = zz or proc.aname in (zz) or user.name = zz or user.uid = 77 or group.gid = 77 or container.image.repository = zz or k8s.ns.name = zz`,
	} {
		n, err := expr.Parse(condition)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		test, err := ofChanges.Compile(n)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		for _, text := range []string{setuidAppears, foundByScan, inAContainer} {
			ev := decode(t, text)
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
