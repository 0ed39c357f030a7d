package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// plant writes files below a directory that stands for a machine's root.
func plant(t *testing.T, files map[string]string) *Surveys {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Surveys{Root: root}
}

func TestTreeStaysBeneathItsRoot(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/real": "ours\n", "etc/os-release": "x"})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{
		"absolute": "/etc/real", "up": "../../../../../../etc/real", "out": secret, "loop": "loop", "etc/dir": "/", "magic": "/proc/self/root",
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(s.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/etc/real", "etc/real", "/absolute", "/up", "/../etc/real", "/etc/dir/etc/dir/etc/real"} {
		if got, err := s.read(path, 100); string(got) != "ours\n" || err != nil {
			t.Errorf("read(%s) = %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"/out", "/magic", secret, "/etc/none", "/etc/real/more"} {
		if got, err := s.read(path, 100); !Absent(err) {
			t.Errorf("read(%s) = %q, %v: want that there is nothing", path, got, err)
		}
	}
	if _, err := s.read("/loop", 100); !errors.Is(err, syscall.ELOOP) || !strings.Contains(err.Error(), "/loop") || strings.Contains(err.Error(), s.Root) {
		t.Errorf("error of a loop is %v: want it with the machine's own path", err)
	}
}

func TestTreeReadsRegularFilesOnly(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/large": "12345678901"})
	if err := syscall.Mkfifo(filepath.Join(s.Root, "etc/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.read("/etc/pipe", 10)
	if err == nil || !strings.Contains(err.Error(), "/etc/pipe: it is a pipe") {
		t.Errorf("error of a pipe is %v", err)
	}
	if _, err := s.read("/etc", 10); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("error of a directory is %v", err)
	}
	if _, err := s.read("/etc/large", 10); err == nil || !strings.Contains(err.Error(), "/etc/large: it has more than 10 bytes") {
		t.Errorf("error of a large file is %v", err)
	}
	if text, err := s.read("/etc/large", 11); err != nil || len(text) != 11 {
		t.Errorf("a file of exactly the limit: %q, %v", text, err)
	}
}

func TestTreeListsNamesAndPatterns(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/b.d/2.conf": "", "etc/b.d/1.conf": "", "etc/b.d/.hidden.conf": "", "etc/b.d/readme": "", "etc/a.d/1.conf": "one\ntwo"})
	names, err := s.readDir("/etc/b.d")
	if want := []Name{{".hidden.conf", "file"}, {"1.conf", "file"}, {"2.conf", "file"}, {"readme", "file"}}; err != nil || !slices.Equal(names, want) {
		t.Errorf("readDir = %v, %v", names, err)
	}
	for pattern, want := range map[string]string{
		"/etc/b.d/*.conf": "/etc/b.d/1.conf /etc/b.d/2.conf", "/etc/*.d/1.conf": "/etc/a.d/1.conf /etc/b.d/1.conf",
		"/etc/b.d/.*": "/etc/b.d/.hidden.conf", "/etc/none.d/*": "", "/etc/a.d/1.conf/*": "", "/*": "/etc", "/etc/a.d/1.conf": "/etc/a.d/1.conf",
	} {
		if got, err := s.glob(pattern); strings.Join(got, " ") != want || err != nil {
			t.Errorf("glob(%s) = %q, %v, want %q", pattern, got, err, want)
		}
	}
	if _, err := s.glob("/etc/["); err == nil {
		t.Error("a malformed pattern is no error")
	}
	var lines []string
	if err := s.lines("/etc/a.d/1.conf", func(n int, text string) { lines = append(lines, fmt.Sprint(n, text)) }); err != nil || !slices.Equal(lines, []string{"1one", "2two"}) {
		t.Errorf("lines = %q, %v", lines, err)
	}
}

func TestOnlyALiveMachineHasAKernel(t *testing.T) {
	t.Parallel()
	if s := plant(t, nil); s.Live() {
		t.Error("a directory is live")
	} else if _, err := s.Proc().Read("uptime", 100); !errors.Is(err, ErrNotLive) {
		t.Errorf("its /proc/uptime: %v", err)
	}
	s := &Surveys{Root: "/", Procfs: "/proc", Sysfs: "/sys"}
	if text, err := s.Proc().Read("sys/kernel/ostype", 100); !s.Live() || string(text) != "Linux\n" || err != nil {
		t.Errorf("ostype of this one: %q, %v", text, err)
	}
	if _, err := s.Proc().Read("sys/kernel/none", 100); !Absent(err) || !strings.Contains(err.Error(), "/proc/sys/kernel/none") {
		t.Errorf("error of what is not there: %v", err)
	}
	if exe, err := s.Proc().Readlink("self/exe"); err != nil || exe == "" {
		t.Errorf("this program's link in /proc: %q, %v", exe, err)
	}
}

func TestFileFactSaysWhatIsAtAPath(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\nmalformed\nalice:x:4711:4711::/:/bin/sh\n", "etc/group": "staff:x:4712:\n", "etc/shadow": "secret"})
	shadow := filepath.Join(s.Root, "etc/shadow")
	if err := errors.Join(os.Chown(shadow, 4711, 4712), os.Chmod(shadow, 0o662|fs.ModeSetgid|fs.ModeSticky), os.Symlink("shadow", filepath.Join(s.Root, "etc/other"))); err != nil {
		t.Skip("needs root: ", err)
	}
	f := s.fileFact("shadow", "/etc/other")
	for name, want := range map[string]any{
		"path": "/etc/other", "purpose": "shadow", "exists": true, "link": "shadow", "type": "file", "size": int64(6),
		"mode": int64(0o3662), "mode_octal": "3662", "owner": "alice", "group": "staff", "uid": int64(4711), "gid": int64(4712),
		"group_read": true, "group_write": true, "group_exec": false, "other_read": false, "other_write": true, "other_exec": false,
		"setuid": false, "setgid": true, "sticky": true,
	} {
		if f.Values[name] != want {
			t.Errorf("file.%s is %v, want %v", name, f.Values[name], want)
		}
	}
	if len(f.Values) != len(event.File.Fields) || f.Subject != "/etc/other" || f.Err() != "" {
		t.Errorf("fact of %s has %d values of %d fields, error %q", f.Subject, len(f.Values), len(event.File.Fields), f.Err())
	}
	if err := os.WriteFile(filepath.Join(s.Root, "etc/passwd"), []byte("bob:x:4711:1:::\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f := s.fileFact("shadow", "/etc/shadow"); f.Values["owner"] != "bob" {
		t.Errorf("after passwd has changed the owner is %v", f.Values["owner"])
	}
	if f := s.fileFact("gshadow", "/etc/gshadow"); f.Values["exists"] != false || f.Err() != "" || f.Values["mode"] != nil {
		t.Errorf("a file that is not there: %v", f.Values)
	}
	if err := os.Symlink("loop", filepath.Join(s.Root, "etc/loop")); err != nil {
		t.Fatal(err)
	}
	if f := s.fileFact("passwd", "/etc/loop"); f.Err() == "" || f.Values["exists"] != nil {
		t.Errorf("a loop: %v", f.Values)
	}
}

func TestOnlyALinuxIsSurveyed(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		want  string // of the error
		files map[string]string
	}{
		{"", map[string]string{"etc/os-release": "NAME=\"Alpine Linux\"\nID=alpine\n"}},
		{"", map[string]string{"usr/lib/os-release": "ID=\"debian\"\n"}},
		{"", map[string]string{"lib/modules/6.1/modules.dep": ""}},
		{"it has neither", nil},
		{"it has neither", map[string]string{"Windows/System32/ntoskrnl.exe": "", "etc/passwd": ""}},
		{"/etc/os-release is of freebsd", map[string]string{"etc/os-release": "ID=freebsd\n"}},
	} {
		s := plant(t, x.files)
		ran := false
		err := s.ofLinux(func(context.Context, func(event.Fact)) error { ran = true; return nil })(t.Context(), nil)
		if (err == nil) != (x.want == "") || ran != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v, surveyed %v", x.files, err, ran)
		}
	}
}

// TestSurveysOfThisMachineEnd runs all surveys here: each must be quick, and report only facts of its kinds.
func TestSurveysOfThisMachineEnd(t *testing.T) {
	t.Parallel()
	s := &Surveys{Root: "/", Procfs: "/proc", Sysfs: "/sys"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, survey := range s.All() {
		n := 0
		err := survey.Survey(ctx, func(f event.Fact) {
			n++
			if !slices.Contains(survey.Kinds, f.Kind) {
				t.Errorf("survey %s reports a fact of kind %s, which it does not name", survey.Name, f.Kind.Name)
			}
		})
		t.Logf("%s: %d facts, error %v", survey.Name, n, err)
	}
}
