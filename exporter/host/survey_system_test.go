package host

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// plantLive is a machine whose kernel shows itself in files of ours: those of proc and sys are below directories of these names.
func plantLive(t *testing.T, files map[string]string) *Surveys {
	t.Helper()
	all := map[string]string{"root/etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "proc/version": "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)\n",
		"proc/sys/kernel/osrelease": "6.1.0-28-amd64\n", "proc/cmdline": "root=/dev/sda1 ro\n", "proc/filesystems": "nodev\tproc\n\text4\n", "proc/1/mountinfo": "", "proc/sys/kernel/tainted": "0\n", "sys/class/.keep": ""}
	maps.Copy(all, files)
	dir := plant(t, all).Root
	return &Surveys{Root: filepath.Join(dir, "root"), Procfs: filepath.Join(dir, "proc"), Sysfs: filepath.Join(dir, "sys")}
}

// surveyed runs a survey and returns its facts by subject.
func surveyed(t *testing.T, survey event.Survey) map[string]event.Fact {
	t.Helper()
	facts := map[string]event.Fact{}
	err := survey(t.Context(), func(f event.Fact) {
		if _, twice := facts[f.Subject]; twice {
			t.Errorf("%s %s is reported twice", f.Kind.Name, f.Subject)
		}
		facts[f.Subject] = f
	})
	if err != nil {
		t.Errorf("survey: %v", err)
	}
	return facts
}

// shown writes values of a fact as name=value, those that are absent as name, and where it was read as @file.
func shown(f event.Fact, names string) string {
	var all []string
	for name := range strings.FieldsSeq(names) {
		switch v, ok := f.Values[name]; {
		case name == "@":
			all = append(all, "@"+f.Source)
		case ok:
			all = append(all, fmt.Sprintf("%s=%v", name, v))
		default:
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

// want compares values of facts with how they are shown.
func want(t *testing.T, facts map[string]event.Fact, names string, wants map[string]string) {
	t.Helper()
	for _, subject := range slices.Sorted(maps.Keys(wants)) {
		f, ok := facts[subject]
		if !ok {
			t.Errorf("there is no fact of %s, only of %q", subject, slices.Sorted(maps.Keys(facts)))
			continue
		}
		if got := shown(f, names); got != wants[subject] {
			t.Errorf("%s %s: %s, want %s (error %q)", f.Kind.Name, subject, got, wants[subject], f.Err())
		}
	}
}

// TestSystemSurveysTellWhatTheyCannotRead puts something hostile in the place of each file that decides, and wants an error: of the
// survey, or of a fact. Nothing may hang, and none may be silent.
func TestSystemSurveysTellWhatTheyCannotRead(t *testing.T) {
	t.Parallel()
	hostile := map[string]func(path string) error{
		"a pipe": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a loop": func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"a large file": func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("#"+strings.Repeat("x", 1023)+"\n", maxConfigText>>10+1)), 0o600)
		},
	}
	for _, x := range []struct {
		file   string
		survey func(*Surveys) event.Survey
	}{
		{"/etc/os-release", func(s *Surveys) event.Survey { return s.Releases }},
		{"/etc/sysctl.d/x.conf", func(s *Surveys) event.Survey { return s.Sysctls }},
		{"/etc/modprobe.d/x.conf", func(s *Surveys) event.Survey { return s.Modules }},
		{"/boot/grub/grub.cfg", func(s *Surveys) event.Survey { return s.BootArgs }},
		{"/boot/grub/grub.cfg", func(s *Surveys) event.Survey { return s.Loaders }},
		{"/boot/loader/loader.conf", func(s *Surveys) event.Survey { return s.Loaders }},
		{"/etc/selinux/config", func(s *Surveys) event.Survey { return s.LSMs }},
		{"/etc/fstab", func(s *Surveys) event.Survey { return s.Mounts }},
		{"/etc/security/limits.d/x.conf", func(s *Surveys) event.Survey { return s.Coredumps }},
		{"/etc/apt/sources.list", func(s *Surveys) event.Survey { return s.Repositories }},
		{"/etc/apt/sources.list.d/x.sources", func(s *Surveys) event.Survey { return s.Repositories }},
		{"/etc/apt/apt.conf.d/x", func(s *Surveys) event.Survey { return s.Updates }},
		{"/etc/yum.repos.d/x.repo", func(s *Surveys) event.Survey { return s.Repositories }},
		{"/etc/apk/repositories", func(s *Surveys) event.Survey { return s.Repositories }},
		{"/etc/issue", func(s *Surveys) event.Survey { return s.Banners }},
		{"/etc/gdm3/custom.conf", func(s *Surveys) event.Survey { return s.GDMs }},
		{"/etc/dconf/db/site.d/x", func(s *Surveys) event.Survey { return s.DconfKeys }},
		{"/etc/nsswitch.conf", func(s *Surveys) event.Survey { return s.FileSystemWalk }},
	} {
		for what, make := range hostile {
			s := plant(t, map[string]string{"usr/sbin/gdm3": "", "etc/os-release": "ID=debian\nVERSION_ID=12\n", "etc/apt/x": ""})
			path := filepath.Join(s.Root, x.file)
			os.Remove(path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			told := ""
			err := x.survey(s)(t.Context(), func(f event.Fact) { told += f.Err() })
			if err == nil && told == "" {
				t.Errorf("%s in the place of %s: nobody says so", what, x.file)
			}
			if text := fmt.Sprint(err, told); strings.Contains(text, s.Root) || !strings.Contains(text, x.file) {
				t.Errorf("%s in the place of %s: %s: want the machine's own path", what, x.file, text)
			}
		}
	}
}

// TestSystemSurveysOfAnEmptyRoot wants that what is no Linux has no good marks: no fact but those of what is absent.
func TestSystemSurveysOfAnEmptyRoot(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"readme": "not a Linux"})
	for _, survey := range s.systemSurveys() {
		err := survey.Survey(t.Context(), func(event.Fact) {})
		if none := survey.Name == "release"; (err != nil && !strings.Contains(err.Error(), ErrNotLive.Error())) != none {
			t.Errorf("survey %s: error %v", survey.Name, err)
		}
	}
}

func TestDropInsMaskAndCount(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/lib/x.d/10-a.conf": "a", "usr/lib/x.d/20-b.conf": "b", "usr/lib/x.d/30-c.conf": "c", "usr/lib/x.d/40-d.conf": "d", "usr/lib/x.d/notes.txt": "n",
		"etc/x.d/20-b.conf": "mine", "etc/x.d/05-e.conf": "e", "etc/x.d/40-d.conf": "", "etc/x.d/dir.conf/file": "",
	})
	if err := os.Symlink("/dev/null", filepath.Join(s.Root, "etc/x.d/30-c.conf")); err != nil {
		t.Fatal(err)
	}
	got, err := s.dropIns([]string{"/etc/x.d", "/run/x.d", "/usr/lib/x.d"}, ".conf")
	if want := []string{"/etc/x.d/05-e.conf", "/usr/lib/x.d/10-a.conf", "/etc/x.d/20-b.conf"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("drop-ins = %q, %v, want %q", got, err, want)
	}
}

func TestLinesAreJoinedAndCommentsAreNot(t *testing.T) {
	t.Parallel()
	var got []string
	joinedLines("one\n# comment \\\ntwo \\\n  more\\\n\n  \nthree\r\n;four\nlast\\", "#;", func(n int, line string) { got = append(got, fmt.Sprintf("%d:%s", n, line)) })
	if want := []string{"1:one", "3:two    more", "7:three", "9:last"}; !slices.Equal(got, want) {
		t.Errorf("lines = %q, want %q", got, want)
	}
}

func TestShellValuesLoseTheirQuotes(t *testing.T) {
	t.Parallel()
	values := shellValues("/etc/default/x", "A=plain # comment\nB=\"two words\"\nexport C='it''s'\nD=\n E=\"a \\\"b\\\"\"\nnot one\nF G=1\nA=again\n")
	for name, want := range map[string]string{"A": "again /etc/default/x:8", "B": "two words /etc/default/x:2", "C": "its /etc/default/x:3", "D": " /etc/default/x:4", "E": `a "b" /etc/default/x:5`} {
		if v := values[name]; v.text+" "+v.at != want {
			t.Errorf("%s = %q, want %q", name, v.text+" "+v.at, want)
		}
	}
	if len(values) != 5 {
		t.Errorf("values = %v, want five", values)
	}
}

func TestSystemdConfigCountsTheLast(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/lib/systemd/coredump.conf": "[Coredump]\nStorage=none\n", "etc/systemd/coredump.conf": "[Coredump]\n#Storage=external\nCompress=yes\n",
		"usr/lib/systemd/coredump.conf.d/10-a.conf": "[Coredump]\nProcessSizeMax=1G\n", "etc/systemd/coredump.conf.d/20-b.conf": "[Coredump]\nProcessSizeMax = 0\n[Other]\nStorage=x\n",
	})
	config, err := s.systemdConfig("coredump.conf")
	if err != nil {
		t.Fatal(err)
	}
	size, _ := config.get("Coredump", "ProcessSizeMax")
	if _, set := config.get("Coredump", "Storage"); set || size != (located{"0", "/etc/systemd/coredump.conf.d/20-b.conf:2"}) {
		t.Errorf("size = %v; storage of a file that another hides is set: %v", size, set)
	}
}
