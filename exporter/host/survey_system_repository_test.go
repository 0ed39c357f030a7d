package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

const repositoryNames = "manager address enabled verified own_key encrypted @"

func TestRepositoriesOfApt(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/apt/sources.list": "# deb http://old x main\ndeb [arch=amd64 signed-by=/k.gpg] https://a.example/debian bookworm main # why\ndeb http://b.example/ ./\ndeb-src http://b.example/debian bookworm main\n" +
			"deb [ trusted=yes ] file:/srv/repo ./\ndeb\ndeb [signed-by=/x https://c.example d main\n",
		"etc/apt/sources.list.d/x.list": "deb [allow-insecure=yes] tor+http://d.example/debian sid main\n",
		"etc/apt/sources.list.d/y.save": "deb http://never.example x main\n",
		"etc/apt/sources.list.d/z.sources": "# comment\nTypes: deb deb-src\nURIs: https://e.example/debian http://f.example/debian\nSuites: stable\n testing\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n\n" +
			"Types: deb\nURIs: http://g.example\nSuites: x\nEnabled: no\nTrusted: yes\n\nTypes: deb\nURIs: http://h.example\n\nnonsense\n\nTypes: deb-src\nURIs: http://i.example\nSuites: x\n",
	})
	facts := surveyed(t, s.Repositories)
	want(t, facts, repositoryNames, map[string]string{
		"https://a.example/debian bookworm":    "manager=apt address=https://a.example/debian enabled=true verified=true own_key=true encrypted=true @/etc/apt/sources.list:2",
		"http://b.example/ ./":                 "manager=apt address=http://b.example/ enabled=true verified=true own_key=false encrypted=false @/etc/apt/sources.list:3",
		"file:/srv/repo ./":                    "manager=apt address=file:/srv/repo enabled=true verified=false own_key=false encrypted=true @/etc/apt/sources.list:5",
		"tor+http://d.example/debian sid":      "manager=apt address=tor+http://d.example/debian enabled=true verified=false own_key=false encrypted=false @/etc/apt/sources.list.d/x.list:1",
		"https://e.example/debian testing":     "manager=apt address=https://e.example/debian enabled=true verified=true own_key=true encrypted=true @/etc/apt/sources.list.d/z.sources:2",
		"http://f.example/debian stable":       "manager=apt address=http://f.example/debian enabled=true verified=true own_key=true encrypted=false @/etc/apt/sources.list.d/z.sources:2",
		"http://g.example x":                   "manager=apt address=http://g.example enabled=false verified=false own_key=false encrypted=false @/etc/apt/sources.list.d/z.sources:12",
		"/etc/apt/sources.list:6":              "manager address enabled verified own_key encrypted @/etc/apt/sources.list:6",
		"/etc/apt/sources.list:7":              "manager address enabled verified own_key encrypted @/etc/apt/sources.list:7",
		"/etc/apt/sources.list.d/z.sources:18": "manager address enabled verified own_key encrypted @/etc/apt/sources.list.d/z.sources:18",
		"/etc/apt/sources.list.d/z.sources:21": "manager address enabled verified own_key encrypted @/etc/apt/sources.list.d/z.sources:21",
	})
	if len(facts) != 13 {
		t.Errorf("%d facts, want 13", len(facts))
	}
	if err := os.WriteFile(filepath.Join(s.Root, "etc/apt/apt.conf"), []byte(`APT { Get { AllowUnauthenticated "true"; }; };`), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, surveyed(t, s.Repositories), "verified own_key", map[string]string{"https://a.example/debian bookworm": "verified=false own_key=true"})
}

func TestAptConfigIsFlattened(t *testing.T) {
	t.Parallel()
	values := map[string]string{}
	text := `// comment "x";
# another { ;
/* and
 one more */ APT::Periodic::Enable "1"; APT { Periodic { Update-Package-Lists "7"; Unattended-Upgrade 1; }; Get::Assume-Yes "a; b"; }
DPkg::Pre-Install-Pkgs { "/usr/bin/x {} ;"; "y"; };
#clear APT::Never;
Acquire::https::Verify-Peer "false"; // last
`
	if err := parseAptConfig("/x", text, values); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"apt::periodic::enable": "1", "apt::periodic::update-package-lists": "7", "apt::periodic::unattended-upgrade": "1", "apt::get::assume-yes": "a; b", "acquire::https::verify-peer": "false"} {
		if values[name] != want {
			t.Errorf("%s = %q, want %q", name, values[name], want)
		}
	}
	for text, want := range map[string]string{"a {\n": "/x: want a } at its end", "\n}": "/x:2: there is no { for this }", "{": "/x:1: want a name before {", strings.Repeat("a {", 33): "/x:1: want a name before {, and at most 32"} {
		if err := parseAptConfig("/x", text, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error of %q is %v", text, err)
		}
	}
}

func TestRepositoriesOfDnf(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/dnf/dnf.conf":       "[main]\ngpgcheck=1\n",
		"etc/yum.repos.d/a.repo": "[baseos]\nname=x\nmirrorlist=https://m.example/?r=$releasever\nbaseurl=http://b.example/\ngpgkey=file:///k\n[off]\nbaseurl=https://c.example\nenabled=0\ngpgcheck=0\n[none]\nname=y\n",
	})
	want(t, surveyed(t, s.Repositories), repositoryNames, map[string]string{
		"baseos": "manager=dnf address=https://m.example/?r=$releasever enabled=true verified=true own_key=true encrypted=false @/etc/yum.repos.d/a.repo",
		"off":    "manager=dnf address=https://c.example enabled=false verified=false own_key=false encrypted=true @/etc/yum.repos.d/a.repo",
	})
	if f := surveyed(t, s.Repositories)["none"]; !strings.Contains(f.Err(), "want baseurl, mirrorlist or metalink in [none]") {
		t.Errorf("the error of a repository without an address is %q", f.Err())
	}
	bare := plant(t, map[string]string{"etc/yum.repos.d/a.repo": "[x]\nbaseurl=https://a.example\n"})
	want(t, surveyed(t, bare.Repositories), "verified", map[string]string{"x": "verified=false"}) // dnf's own default
}

func TestRepositoriesOfApk(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.22/main\n#http://x\n@edge http://dl-cdn.alpinelinux.org/alpine/edge/main\n/media/cdrom/apks\na b\n"})
	want(t, surveyed(t, s.Repositories), "manager verified encrypted @", map[string]string{
		"https://dl-cdn.alpinelinux.org/alpine/v3.22/main": "manager=apk verified=true encrypted=true @/etc/apk/repositories:1",
		"http://dl-cdn.alpinelinux.org/alpine/edge/main":   "manager=apk verified=true encrypted=false @/etc/apk/repositories:3",
		"/media/cdrom/apks": "manager=apk verified=true encrypted=true @/etc/apk/repositories:4",
		"b":                 "manager=apk verified encrypted @/etc/apk/repositories:5",
	})
}

func TestUpdatesComeByThemselves(t *testing.T) {
	t.Parallel()
	periodic := "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n"
	for name, x := range map[string]struct {
		files           map[string]string
		subject, result string
	}{
		"apt by timers": {map[string]string{"etc/apt/apt.conf.d/20auto-upgrades": periodic, "usr/bin/unattended-upgrade": "", "usr/lib/systemd/systemd": "", "etc/systemd/system/timers.target.wants/apt-daily.timer": "", "etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer": ""},
			"apt", "automatic=true unsigned_allowed=false"},
		"apt that only fetches": {map[string]string{"etc/apt/apt.conf.d/20auto-upgrades": periodic, "usr/bin/unattended-upgrade": "", "usr/lib/systemd/systemd": "", "etc/systemd/system/timers.target.wants/apt-daily.timer": ""}, "apt", "automatic=false unsigned_allowed=false"},
		"apt by cron":           {map[string]string{"etc/apt/apt.conf.d/20auto-upgrades": periodic, "usr/bin/unattended-upgrade": "", "etc/cron.daily/apt-compat": ""}, "apt", "automatic=true unsigned_allowed=false"},
		"apt by nobody":         {map[string]string{"etc/apt/apt.conf.d/20auto-upgrades": periodic, "usr/bin/unattended-upgrade": ""}, "apt", "automatic=false unsigned_allowed=false"},
		"apt not enabled":       {map[string]string{"etc/apt/apt.conf.d/20auto-upgrades": periodic, "etc/apt/apt.conf.d/99off": "APT::Periodic::Enable \"0\";", "usr/bin/unattended-upgrade": ""}, "apt", "automatic=false unsigned_allowed=false"},
		"apt not there":         {map[string]string{"etc/apt/apt.conf.d/20auto-upgrades": periodic}, "apt", "automatic=false unsigned_allowed=false"},
		"apt open":              {map[string]string{"etc/apt/apt.conf.d/x": "Acquire::AllowInsecureRepositories \"yes\";", "etc/apt/apt.conf.d/y.disabled": periodic, "usr/bin/unattended-upgrade": ""}, "apt", "automatic=false unsigned_allowed=true"},
		"dnf":                   {map[string]string{"etc/yum.repos.d/x": "", "etc/dnf/dnf.conf": "[main]\ngpgcheck=True\n", "etc/dnf/automatic.conf": "[commands]\napply_updates = yes\n", "etc/systemd/system/timers.target.wants/dnf-automatic.timer": ""}, "dnf", "automatic=true unsigned_allowed=false"},
		"dnf downloads":         {map[string]string{"etc/yum.repos.d/x": "", "etc/dnf/automatic.conf": "[commands]\napply_updates = no\n", "etc/systemd/system/timers.target.wants/dnf-automatic.timer": ""}, "dnf", "automatic=false unsigned_allowed=true"},
		"yum-cron":              {map[string]string{"etc/yum.repos.d/x": "", "etc/yum.conf": "[main]\ngpgcheck=1\n", "etc/yum/yum-cron.conf": "[commands]\napply_updates = yes\n", "etc/systemd/system/multi-user.target.wants/yum-cron.service": ""}, "dnf", "automatic=true unsigned_allowed=false"},
		"apk":                   {map[string]string{"etc/apk/repositories": ""}, "apk", "automatic=false unsigned_allowed=false"},
		"apk with a job":        {map[string]string{"etc/apk/repositories": "", "etc/periodic/daily/apk-upgrade": ""}, "apk", "automatic=true unsigned_allowed=false"},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, surveyed(t, plant(t, x.files).Updates), "automatic unsigned_allowed", map[string]string{x.subject: x.result})
		})
	}
}

func TestListsOfPackagesAge(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"var/lib/apt/lists/x": "", "var/lib/apt/periodic/update-success-stamp": ""})
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for name, days := range map[string]int{"var/lib/apt/lists": 40, "var/lib/apt/periodic/update-success-stamp": 3} {
		when := now.AddDate(0, 0, -days).Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(s.Root, name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	f := event.Update.New("apt", "")
	if err := s.setAge(f, now, "/var/lib/apt/lists", "/var/lib/apt/periodic/update-success-stamp", "/none"); err != nil || f.Values["age_days"] != int64(3) {
		t.Errorf("age = %v, %v, want 3", f.Values["age_days"], err)
	}
	f = event.Update.New("apt", "")
	if err := s.setAge(f, now, "/none"); err != nil || f.Values["age_days"] != nil {
		t.Errorf("age of nothing = %v, %v", f.Values["age_days"], err)
	}
}

func FuzzAptSources(f *testing.F) {
	f.Add("deb [a=b] http://x y z\n", "Types: deb\nURIs: a\n b\nSuites: c\n")
	f.Fuzz(func(t *testing.T, list, deb822 string) {
		sources, wrong := parseSourcesList("/x", list)
		more, worse := parseDeb822("/x", deb822)
		for _, src := range append(sources, more...) {
			if src.address == "" || src.suite == "" || !strings.HasPrefix(src.at, "/x:") {
				t.Errorf("source %+v is not whole", src)
			}
		}
		for _, err := range append(wrong, worse...) {
			if !strings.HasPrefix(err.Error(), "/x:") {
				t.Errorf("error without its place: %v", err)
			}
		}
	})
}

func FuzzAptConfig(f *testing.F) {
	f.Add("A { B \"c\"; }; // d\n#clear A;/* x */")
	f.Fuzz(func(t *testing.T, text string) {
		values := map[string]string{}
		if err := parseAptConfig("/x", text, values); err != nil && !strings.HasPrefix(err.Error(), "/x:") {
			t.Errorf("error without its place: %v", err)
		}
	})
}

func FuzzIniFile(f *testing.F) {
	f.Add("[a]\nb = c\n;d\ne\n")
	f.Fuzz(func(t *testing.T, text string) {
		if err := (iniFile{}).add("/x", text); err != nil && !strings.HasPrefix(err.Error(), "/x:") {
			t.Errorf("error without its place: %v", err)
		}
		_ = fmt.Sprint(shellValues("/x", text))
	})
}
