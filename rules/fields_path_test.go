package rules

import (
	"path"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestPathsOfCalls(t *testing.T) {
	testReadings(t, []reading{
		{"made absolute by where it starts", `{"type": "mkdirat", "args": {"dirfd": 5, "path": "a/../b"}, "dir": "/srv/x"}`, `
			fs.path.name /srv/x/b
			fs.path.nameraw a/../b
			fs.path.source <NA>
			fs.path.target <NA>
			evt.abspath /srv/x/b
			fd.name <NA>`},
		{"by the working directory", `{"type": "unlink", "args": {"path": "x"}, "process": {"cwd": "/home/a"}}`, `
			fs.path.name /home/a/x
			evt.abspath <NA>
			yagura.path.resolved /home/a/x`},
		{"failed", `{"type": "rmdir", "args": {"path": "/x/"}, "res": "ENOTEMPTY"}`, `
			fs.path.name <NA>
			fs.path.nameraw <NA>
			evt.arg.path /x`},
		{"failed rename", `{"type": "rename", "args": {"oldpath": "/a", "newpath": "/b"}, "res": "EPERM"}`, `
			fs.path.source <NA>
			fs.path.sourceraw <NA>
			fs.path.target <NA>
			fs.path.targetraw <NA>`},
		{"failed open", `{"type": "open", "args": {"name": "/x"}, "res": "ENOENT"}`, `
			fs.path.name <NA>
			fs.path.nameraw <NA>
			fd.name /x`},
		{"opens are named like their descriptor", `{"type": "openat", "args": {"name": "../a"}, "dir": "/b", "resolved": {"name": "/c"}}`, `
			fs.path.name /a
			fs.path.nameraw ../a
			evt.abspath /a
			yagura.path.resolved /c
			yagura.path.directory /
			yagura.path.basename c`},
		{"by descriptor", `{"type": "fchmod", "args": {"fd": 5}, "fd": {"num": 5, "name": "/usr/bin/x"}}`, `
			fs.path.name /usr/bin/x
			fs.path.nameraw /usr/bin/x`},
		{"chown at a directory", `{"type": "fchownat", "args": {"pathname": "x"}, "dir": "/a"}`, `
			fs.path.name /a/x
			evt.abspath /a/x`},
		{"umount", `{"type": "umount2", "args": {"name": "/proc"}}`, `
			fs.path.name /proc`},
		{"quotactl", `{"type": "quotactl", "args": {"special": "/dev/sda1"}}`, `
			fs.path.name /dev/sda1`},
		{"rename", `{"type": "renameat2", "args": {"oldpath": "a", "newpath": "/t/./b"}, "dir": "/w", "resolved": {"oldpath": "/real/a", "newpath": "/real/b"}}`, `
			fs.path.name <NA>
			fs.path.nameraw <NA>
			fs.path.source /w/a
			fs.path.sourceraw a
			fs.path.target /t/b
			fs.path.targetraw /t/./b
			evt.abspath /w/a
			evt.abspath.src /w/a
			evt.abspath.dst /t/b
			yagura.path.resolved /real/a
			yagura.path.target /real/b`},
		{"symlink: what it holds is put behind the working directory, and ours behind the link", `{"type": "symlink", "args": {"target": "../etc/shadow", "linkpath": "/tmp/d/x"}, "process": {"cwd": "/home/a"}}`, `
			fs.path.source /home/etc/shadow
			fs.path.sourceraw ../etc/shadow
			fs.path.target /tmp/d/x
			yagura.path.resolved /tmp/etc/shadow
			yagura.path.target /tmp/d/x`},
		{"symlinkat", `{"type": "symlinkat", "args": {"target": "/etc/shadow", "linkdirfd": 4, "linkpath": "x"}, "dir": "/tmp"}`, `
			fs.path.source /etc/shadow
			fs.path.target /tmp/x
			evt.abspath /tmp/x
			yagura.path.resolved /etc/shadow`},
		{"mount", `{"type": "mount", "args": {"dev": "/dev/sda1", "dir": "/mnt/"}}`, `
			fs.path.source /dev/sda1
			fs.path.target /mnt
			yagura.path.resolved /dev/sda1
			yagura.path.target /mnt`},
		{"mount of what is no path", `{"type": "mount", "args": {"dev": "proc", "dir": "/proc"}}`, `
			fs.path.source proc
			fs.path.target /proc`},
		{"texts that are no paths", `{"type": "delete_module", "args": {"name": "nf_tables"}}`, `
			yagura.path.resolved <NA>
			yagura.path.basename <NA>
			fs.path.name <NA>`},
		{"a path that could not be read", `{"type": "unlink", "args": {"path": "/x"}, "fault": ["path"]}`, `
			fs.path.name <NA>
			fs.path.nameraw <NA>
			yagura.path.resolved <NA>`},
		{"an exec", `{"type": "execve", "process": {"path": "/usr/bin/ls"}}`, `
			yagura.path.resolved /usr/bin/ls
			yagura.path.target <NA>
			fs.path.name <NA>`},
		{"no path at all", `{"type": "setuid"}`, `
			yagura.path.resolved <NA>
			yagura.path.directory <NA>
			fs.path.name <NA>`},
	})
}

func TestEmptyPathAtDirectoryIsTheDirectory(t *testing.T) {
	t.Parallel()
	typ, _ := event.TypeNamed("fchownat")
	r := NewRecord(nil, "")
	r.Reset(&event.Event{Kind: event.Syscall, Type: typ, Call: event.Call{Text: [2]event.Text{{Dir: []byte("/etc/shadow")}}}})
	if got := read(t, r, "yagura.path.resolved"); got != "/etc/shadow" {
		t.Errorf("yagura.path.resolved = %q, want /etc/shadow", got)
	}
}

func TestCleanPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "/", "/": "/", "//": "/", "a": "/a", "a/b": "/a/b", "abc/../d": "/d", "/..": "/", "/../a": "/a",
		"/a/..": "/", "/a/../..": "/", "/a/./b//c/": "/a/b/c", "/a/b/../../c": "/c", "/...": "/...", "/.a/..b": "/.a/..b", "/a/.": "/a"} {
		if got := string(cleanPath([]byte(in))); got != want {
			t.Errorf("cleanPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzCleanPath(f *testing.F) {
	for _, seed := range []string{"", "/", "/a/../b", "a//b/./c", "/../..", "x/../.."} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		want := path.Clean("/" + string(in))
		if got := string(cleanPath(append([]byte(nil), in...))); got != want {
			t.Errorf("cleanPath(%q) = %q, want %q", in, got, want)
		}
		abs := append([]byte{'/'}, in...)
		if clean := path.Clean(string(abs)) == string(abs); isClean(abs) != clean {
			t.Errorf("isClean(%q) = %v, want %v", abs, isClean(abs), clean)
		}
	})
}
