package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArchivesOfTar reads one file system as a directory, and as GNU tar writes it in each of its formats.
func TestArchivesOfTar(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skipf("needs tar: %v", err)
	}
	root := t.TempDir()
	long := strings.Repeat("long-name-", 20)
	put := func(name, content string, mode os.FileMode) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(name, []byte(content), 0o600), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
	}
	put("tmp/run.sh", "#!/bin/sh\n", 0o755)
	put("usr/bin/odd", "\x7fELF", 0o755|os.ModeSetuid)
	put("app/.env", "A=1\n", 0o600)
	put("app/"+long+"/"+long+"/.env", "A=1\n", 0o600)
	put("tmp/ä\xff\n", "#!/bin/sh\n", 0o755)
	if err := errors.Join(os.Link(filepath.Join(root, "usr/bin/odd"), filepath.Join(root, "usr/bin/zodd")), os.Symlink("/etc/"+long, filepath.Join(root, "app/link"))); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(root, "app/sparse"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = sparse.WriteAt([]byte("\nghp_"+letters(36, 1)+"\n"), 1<<20)
	if err := errors.Join(err, sparse.Truncate(3<<20), sparse.Close()); err != nil {
		t.Fatal(err)
	}
	long = "/app/" + long + "/" + long + "/.env"
	want := []string{"env-file /app/.env", "env-file " + long, "executable-in-temporary /tmp/run.sh", `executable-in-temporary /tmp/ä\xff\x0a`, "secret/github-pat /app/sparse", "setuid /usr/bin/odd", "setuid /usr/bin/zodd"}
	if diff := cmp.Diff(want, lines(checked(t, root, Checks{}, Options{}))); diff != "" {
		t.Errorf("as a directory (-want +got):\n%s", diff)
	}
	short := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return strings.HasSuffix(s, long) })
	for _, test := range []struct {
		format string
		want   []string
		more   []string
	}{
		{"gnu", want, nil},
		{"gnu", want, []string{"--sparse"}},
		{"pax", want, nil},
		{"pax", want, []string{"--sparse", "--sparse-version=0.0"}},
		{"pax", want, []string{"--sparse", "--sparse-version=0.1"}},
		{"pax", want, []string{"--sparse", "--sparse-version=1.0"}},
		{"ustar", short, nil},
		{"v7", short, nil},
		{"oldgnu", want, []string{"--gzip"}},
	} {
		archive := filepath.Join(t.TempDir(), "a.tar")
		arguments := append([]string{"--format=" + test.format, "-C", root, "-cf", archive}, append(test.more, ".")...)
		if out, err := exec.Command("tar", arguments...).CombinedOutput(); err != nil && len(test.want) == len(want) {
			t.Fatalf("tar %v: %v\n%s", arguments, err, out)
		}
		if diff := cmp.Diff(test.want, lines(checked(t, archive, Checks{}, Options{}))); diff != "" {
			t.Errorf("tar %v (-want +got):\n%s", arguments, diff)
		}
	}
}
