package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// noted runs a survey that does things with a tree, and returns what it has read.
func noted(s *Surveys, do func() error) func(file string) bool {
	n := s.noting(NamedSurvey{Name: "x", Survey: func(context.Context, func(event.Fact)) error { return do() }})
	if n.Reads("/etc/passwd") {
		panic("it has read something before it has run")
	}
	_ = n.Survey(context.Background(), nil)
	return n.Reads
}

func TestASurveyNotesWhatItReads(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/a": "", "etc/other": "", "etc/b.d/x.conf": "", "etc/b.d/y.txt": "", "etc/c.d/x": "", "usr/real": "", "usr/beside": ""})
	if err := os.Symlink("../usr/real", filepath.Join(s.Root, "etc/link")); err != nil {
		t.Fatal(err)
	}
	reads := noted(s, func() error {
		_, read := s.read("/etc/a", 10)
		_, link := s.read("etc/link", 10)
		_, absent := s.read("/etc/absent/file", 10)
		_, glob := s.glob("/etc/b.d/*.conf")
		_, list := s.readDir("/etc/c.d")
		_, none := s.readDir("/etc/none.d")
		return errors.Join(read, link, absent, glob, list, none)
	})
	for file, want := range map[string]bool{
		"/etc/a": true, "/etc/other": false, "/etc/link": true, "/usr/real": true, "/usr/beside": false, "/etc/absent/file": true, "/etc/absent": true, "/etc": true, "/usr": true, "/": false,
		"/etc/b.d/x.conf": true, "/etc/b.d/new.conf": true, "/etc/b.d/y.txt": false, "/etc/b.d": true, "/etc/c.d/x": true, "/etc/c.d/new": true, "/etc/c.d/new/below": false,
		"/etc/none.d": true, "/etc/none.d/new": true,
	} {
		if reads(file) != want {
			t.Errorf("%s: it was read: %v, want %v", file, !want, want)
		}
	}
	if reads := noted(s, func() error { return nil }); reads("/etc/a") {
		t.Error("a survey has read what the one before it did")
	}
}

func TestASurveyOfEverythingNotesNothing(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/a": ""})
	reads := noted(s, func() error {
		for i := range maxReading + 1 {
			_, _ = s.stat(fmt.Sprintf("/etc/%d", i))
		}
		return nil
	})
	if reads("/etc/1") {
		t.Error("it would run again for each of its files")
	}
}

func TestSurveysOfARunningMachineSeeItsFirstRoot(t *testing.T) {
	t.Parallel()
	link := func(proc, of, to string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(proc, of, "ns"), 0o755), os.Symlink(to, filepath.Join(proc, of, "ns/mnt"))); err != nil {
			t.Fatal(err)
		}
	}
	same, walled, closed := t.TempDir(), t.TempDir(), t.TempDir()
	for proc, ours := range map[string]string{same: "mnt:[1]", walled: "mnt:[2]", closed: "mnt:[2]"} {
		link(proc, "self", ours)
		link(proc, "1", "mnt:[1]")
	}
	if err := os.Mkdir(filepath.Join(walled, "1/root"), 0o755); err != nil {
		t.Fatal(err)
	}
	for proc, want := range map[string]string{same: "/", walled: filepath.Join(walled, "1/root"), closed: "/", t.TempDir(): "/"} {
		if got := firstRoot(proc); got != want {
			t.Errorf("root %q, want %q", got, want)
		}
	}
}

func TestReleaseOf(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n"})
	if id, version := ReleaseOf(event.Machine{Root: s.Root}); id != "debian" || version != "12" {
		t.Errorf("%q %q", id, version)
	}
	for _, m := range []event.Machine{{Root: t.TempDir()}, {Root: s.Root, Dockerfiles: []string{"x"}}} {
		if id, version := ReleaseOf(m); id != "" || version != "" {
			t.Errorf("of %v: %q %q", m, id, version)
		}
	}
}
