package host

import (
	"crypto/md5"
	"fmt"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

const dpkgStatusText = `Package: prelink
Status: deinstall ok config-files
Architecture: amd64
Version: 0.1

Package: gdm3
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 43.0-3
Description: display manager
 Version: not this one

Package: sudo
Status: install ok installed
Architecture: amd64
Version: 1.9.13p3-1

Package: login
Status: install ok installed
Architecture: amd64
Version: 1:4.13
`

func TestPackagesOfEachManager(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		files map[string]string
		want  map[string]string
	}{
		"dpkg": {map[string]string{"var/lib/dpkg/status": dpkgStatusText, "usr/sbin/prelink": ""}, map[string]string{
			"prelink": "exists=false version manager=dpkg", "gdm": "exists=true version=43.0-3 manager=dpkg", "apparmor": "exists=false version manager=dpkg"}},
		"dpkg of an image without dpkg": {map[string]string{"var/lib/dpkg/status.d/prelink": "Package: prelink\nVersion: 2\nArchitecture: all\n", "var/lib/dpkg/status.d/prelink.md5sums": "x"}, map[string]string{
			"prelink": "exists=true version=2 manager=dpkg", "gdm": "exists=false version manager=dpkg"}},
		"apk": {map[string]string{"lib/apk/db/installed": "P:apparmor\nV:3.1-r0\nF:etc\n\nP:musl\nV:1.2\n"}, map[string]string{
			"apparmor": "exists=true version=3.1-r0 manager=apk", "prelink": "exists=false version manager=apk"}},
		"others": {map[string]string{"usr/sbin/prelink": "", "usr/sbin/gdm": ""}, map[string]string{
			"prelink": "exists=true version manager=files", "gdm": "exists=true version manager=files", "apparmor": "exists=false version manager=files"}},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, surveyed(t, plant(t, x.files).Packages), "exists version manager", x.want)
		})
	}
	long := plant(t, map[string]string{"var/lib/dpkg/status": "Package: x\nDescription: " + strings.Repeat("x", maxDatabaseLine) + "\n"})
	if err := long.Packages(t.Context(), func(event.Fact) {}); err == nil || !strings.Contains(err.Error(), "/var/lib/dpkg/status:2: ") {
		t.Errorf("the error of a line without end is %v", err)
	}
}

func TestIntegrityComparesPrograms(t *testing.T) {
	t.Parallel()
	sum := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	s := plant(t, map[string]string{
		"var/lib/dpkg/status": dpkgStatusText, "usr/bin/sudo": "sudo", "usr/lib/sudo/sudoers.so": "changed", "usr/share/doc/sudo/copyright": "changed", "bin/login": "login", "usr/bin/faillog": "another's",
		"var/lib/dpkg/info/sudo.md5sums": sum("sudo") + "  usr/bin/sudo\n" + sum("so") + "  usr/lib/sudo/sudoers.so\n" + sum("c") + "  usr/share/doc/sudo/copyright\n" +
			sum("visudo") + "  usr/sbin/visudo\n",
		"var/lib/dpkg/info/login:amd64.md5sums": sum("login") + "  bin/login\n" + sum("own") + "  usr/bin/faillog\n",
		"var/lib/dpkg/diversions":               "/usr/bin/faillog\n/usr/bin/faillog.distrib\nother\n",
	})
	want(t, surveyed(t, s.Integrity), "files differing missing names @", map[string]string{
		"sudo":  "files=2 differing=1 missing=1 names=[/usr/lib/sudo/sudoers.so /usr/sbin/visudo] @/var/lib/dpkg/info/sudo.md5sums",
		"login": "files=1 differing=0 missing=0 names @/var/lib/dpkg/info/login:amd64.md5sums",
	})
}

func TestIntegrityWithoutSumsIsNotKnown(t *testing.T) {
	t.Parallel()
	for text, wrong := range map[string]string{"": "there is no list of sums", "nonsense\n": "/var/lib/dpkg/info/sudo.md5sums:1: want a sum and a path"} {
		files := map[string]string{"var/lib/dpkg/status": dpkgStatusText}
		if text != "" {
			files["var/lib/dpkg/info/sudo.md5sums"] = text
		}
		if f := surveyed(t, plant(t, files).Integrity)["sudo"]; !strings.Contains(f.Err(), wrong) {
			t.Errorf("the error of %q is %q", text, f.Err())
		}
	}
	left := int64(3)
	s := plant(t, map[string]string{"usr/bin/large": "1234"})
	if sum, err := s.md5("/usr/bin/large", &left); err != errEnoughCompared {
		t.Errorf("more than what is left: %q, %v", sum, err)
	}
	if facts := surveyed(t, plant(t, nil).Integrity); len(facts) > 0 {
		t.Errorf("without dpkg there is %v", facts)
	}
}

func TestOwnersOfFiles(t *testing.T) {
	t.Parallel()
	asked := []string{"/usr/bin/su", "/bin/mount", "/usr/local/bin/mine", "/usr/lib/x/helper"}
	for name, x := range map[string]struct {
		files map[string]string
		want  string
		known bool
	}{
		"dpkg": {map[string]string{"var/lib/dpkg/info/util-linux.list": "/.\n/bin\n/bin/su\n", "var/lib/dpkg/info/mount:amd64.list": "/usr/bin/mount\n", "var/lib/dpkg/info/x.list": "/usr/lib/x/helper\n"},
			"map[/bin/mount:mount /usr/bin/su:util-linux /usr/lib/x/helper:x]", true},
		"apk":  {map[string]string{"lib/apk/db/installed": "P:shadow\nF:usr/bin\nM:0:0:755\nR:su\na:0:0:4755\nF:usr/lib/x\nR:helper\n"}, "map[/usr/bin/su:shadow /usr/lib/x/helper:shadow]", true},
		"none": {nil, "map[]", false},
	} {
		got, known, err := plant(t, x.files).owners(asked)
		if fmt.Sprint(got) != x.want && (known || x.known) || known != x.known || err != nil {
			t.Errorf("%s: owners = %v, %v, %v, want %s, %v", name, got, known, err, x.want, x.known)
		}
	}
}
