package image

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told are the findings as found and expected.
func told(r Report) []string {
	all := []string{}
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%s: %s; %s", f.Path, f.Found, f.Expected))
	}
	return all
}

func p[T any](v T) *T { return &v }

func TestExpectations(t *testing.T) {
	content := "hello\n"
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	other := strings.Repeat("ab", 32)
	image := testImage{layers: [][]byte{
		pack(t, dir("usr", 0o755), dir("usr/bin", 0o755), link("bin", "usr/bin"), file("usr/bin/dash", content, 0o755), link("usr/bin/sh", "dash"), hard7(t, "usr/bin/dash2", "usr/bin/dash"),
			file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken\napp:x:7:7::/:\nnobody:x:x:0::/:\n", 0o644), file("etc/group", "root:x:0:\nstaff:x:50:app\n", 0o644),
			owned(file("srv/a", content, 0o640), 1000, 50), file("srv/empty", "", 0o600), link("srv/dangling", "nowhere"), file("srv/old", content, 0o600)),
		pack(t, wh("srv/.wh.old"), file("srv/helper", "x", 0o4755)),
	}}
	target := ociLayout(t, image, plain).write(t)
	for _, test := range []struct {
		name string
		e    Expectation
		want []string
	}{
		{"present", Expectation{Paths: []string{"/srv/a"}, Present: true}, nil},
		{"present through a link", Expectation{Paths: []string{"/bin/sh", "/bin/d*", "/bin/**"}, Present: true}, nil},
		{"not present", Expectation{Paths: []string{"/srv/a", "/srv/b", "/srv/*.x", "/no/where"}, Present: true},
			[]string{"/no/where: nothing; it to be there", "/srv/*.x: nothing; it to be there", "/srv/b: nothing; it to be there"}},
		{"present once, gone now", Expectation{Paths: []string{"/srv/old"}, Present: true, Description: "the old one"}, []string{"/srv/old: nothing; the old one"}},
		{"present, but not by that name", Expectation{Paths: []string{"/srv/*"}, Names: []string{"^x"}, Present: true}, []string{"/srv/*: nothing; it to be there"}},
		{"present, but all excepted", Expectation{Paths: []string{"/srv/a"}, Except: []string{"/srv/*"}, Present: true}, []string{"/srv/a: nothing; it to be there"}},
		{"a dangling link is there", Expectation{Paths: []string{"/srv/dangling"}, Present: true}, nil},
		{"but not as a file", Expectation{Paths: []string{"/srv/dangling"}, Present: true, Types: []string{"file"}}, []string{"/srv/dangling: nothing; it to be there"}},
		{"a link to a file is one", Expectation{Paths: []string{"/bin/sh"}, Present: true, Types: []string{"file"}}, nil},
		{"absent", Expectation{Paths: []string{"/srv/b"}, Absent: true}, nil},
		{"not absent", Expectation{Paths: []string{"/srv/*"}, Absent: true, Except: []string{"/srv/{a,helper}"}},
			[]string{"/srv/dangling: a symlink; nothing there", "/srv/empty: a file of 0 bytes; nothing there"}},
		{"not absent through a link", Expectation{Paths: []string{"/bin/sh"}, Absent: true}, []string{"/usr/bin/sh: a symlink; nothing there"}},
		{"absent now, not in a layer", Expectation{Paths: []string{"/srv/old"}, Absent: true}, nil},
		{"not absent in a layer", Expectation{Paths: []string{"/srv/old"}, Absent: true, EveryLayer: true}, []string{"/srv/old: a file of 6 bytes; nothing there"}},
		{"names", Expectation{Names: []string{`^da.h$`, `2$`}, Absent: true}, []string{"/usr/bin/dash: a file of 6 bytes; nothing there", "/usr/bin/dash2: a file of 6 bytes; nothing there"}},
		{"names and paths", Expectation{Names: []string{`^.$`}, Paths: []string{"/srv/**"}, Absent: true}, []string{"/srv/a: a file of 6 bytes; nothing there"}},
		{"types", Expectation{Paths: []string{"/usr/**"}, Types: []string{"directory"}, Absent: true}, []string{"/usr/bin: a directory; nothing there"}},
		{"content", Expectation{Paths: []string{"/srv/a"}, SHA256: []string{other, sum}}, nil},
		{"content in capitals", Expectation{Paths: []string{"/srv/a"}, SHA256: []string{"sha256:" + strings.ToUpper(sum)}}, nil},
		{"content of a hard link", Expectation{Paths: []string{"/usr/bin/dash2"}, SHA256: []string{sum}}, nil},
		{"content through links", Expectation{Paths: []string{"/bin/sh"}, SHA256: []string{sum}}, nil},
		{"content of nothing", Expectation{Paths: []string{"/srv/empty"}, SHA256: []string{fmt.Sprintf("%x", sha256.Sum256(nil))}}, nil},
		{"other content", Expectation{Paths: []string{"/srv/a", "/srv/empty"}, SHA256: []string{other}},
			[]string{"/srv/a: content of SHA-256 " + sum + "; SHA-256 " + other, "/srv/empty: content of SHA-256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855; SHA-256 " + other}},
		{"mode", Expectation{Paths: []string{"/srv/a"}, Mode: p(uint16(0o640))}, nil},
		{"another mode", Expectation{Paths: []string{"/srv/{a,helper}"}, Mode: p(uint16(0o755))}, []string{"/srv/a: mode 0640; 0755", "/srv/helper: mode 4755; 0755"}},
		{"mode of links", Expectation{Paths: []string{"/srv/*"}, MaxMode: p(uint16(0o755))}, []string{"/srv/helper: mode 4755; at most 0755"}},
		{"mode at most", Expectation{Paths: []string{"/srv/a"}, MaxMode: p(uint16(0o660))}, nil},
		{"mode with a bit too much", Expectation{Paths: []string{"/srv/a"}, MaxMode: p(uint16(0o604))}, []string{"/srv/a: mode 0640; at most 0604"}},
		{"owner", Expectation{Paths: []string{"/srv/a"}, Owner: "app", Group: "staff"}, nil},
		{"owner by number", Expectation{Paths: []string{"/srv/a"}, Owner: "1000", Group: "50"}, nil},
		{"another owner", Expectation{Paths: []string{"/srv/a"}, Owner: "root", Group: "7"}, []string{"/srv/a: owner 1000 (app); 0 (root)", "/srv/a: group 50 (staff); 7"}},
		{"an owner that nobody knows", Expectation{Paths: []string{"/srv/a"}, Owner: "nobody", Group: "wheel"},
			[]string{"/srv/a: owner 1000 (app); nobody, whom /etc/passwd does not have", "/srv/a: group 50 (staff); wheel, whom /etc/group does not have"}},
		{"nothing to run", Expectation{Paths: []string{"/srv/**"}, Executable: p(false)}, []string{"/srv/helper: mode 4755; nothing that can be run"}},
		{"something to run", Expectation{Paths: []string{"/srv/{a,helper}"}, Executable: p(true)}, []string{"/srv/a: mode 0640; an executable"}},
		{"not setuid", Expectation{Paths: []string{"/**"}, Setuid: p(false)}, []string{"/srv/helper: mode 4755; neither setuid nor setgid"}},
		{"not setuid unless listed", Expectation{Paths: []string{"/**"}, Except: []string{"/srv/helper"}, Setuid: p(false)}, nil},
		{"setuid", Expectation{Paths: []string{"/srv/a"}, Setuid: p(true)}, []string{"/srv/a: mode 0640; setuid or setgid"}},
		{"mode in a layer", Expectation{Paths: []string{"/srv/old"}, Mode: p(uint16(0o644)), Owner: "1", EveryLayer: true}, []string{"/srv/old: mode 0600; 0644", "/srv/old: owner 0; 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.e.ID, test.e.Severity = "x", Low
			r := checked(t, target, onlyOwn(test.e), Options{})
			if diff := cmp.Diff(append([]string{}, test.want...), told(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, f := range r.Findings {
				if f.Check != "x" || f.Severity != Low || f.Removed != (f.Path == "/srv/old" && f.Found != "nothing") {
					t.Errorf("%+v: want check x, severity low, removed if a later layer hides it", f)
				}
			}
		})
	}
}

func hard7(t testing.TB, name, to string) tar.Header {
	h := hard(name, to)
	h.Mode = 0o755
	return h
}

// TestDefaults has one file for each of the checks that are built in, and one that is close.
func TestDefaults(t *testing.T) {
	capable := file("usr/bin/tool", "\x7fELF", 0o755)
	capable.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x20\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"}
	ping := file("usr/bin/ping", "\x7fELF", 0o755)
	ping.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	for _, test := range []struct {
		check    string
		bad, not []tar.Header
	}{
		{"ssh-host-key", []tar.Header{file("etc/ssh/ssh_host_ed25519_key", "x", 0o600)}, []tar.Header{file("etc/ssh/ssh_host_ed25519_key.pub", "x", 0o644)}},
		{"ssh-user-key", []tar.Header{file("root/.ssh/id_rsa", "x", 0o600)}, []tar.Header{file("root/.ssh/id_rsa.pub", "x", 0o644), file("root/.ssh/known_hosts", "x", 0o644)}},
		{"cloud-credentials", []tar.Header{file("root/.aws/credentials", "x", 0o600)}, []tar.Header{file("root/.aws/config", "x", 0o644), file("usr/share/kube/config", "x", 0o644)}},
		{"key-store", []tar.Header{file("app/server.jks", "x", 0o600)}, []tar.Header{file("app/jks", "x", 0o644)}},
		{"env-file", []tar.Header{file("app/.env.production", "x", 0o600)}, []tar.Header{file("app/.env.example", "x", 0o644), file("app/env", "x", 0o644)}},
		{"repository", []tar.Header{dir("app/.git", 0o755)}, []tar.Header{file("app/.gitignore", "x", 0o644), file("app/sub/.git", "gitdir: x", 0o644)}},
		{"history-file", []tar.Header{file("root/.bash_history", "ls\n", 0o600)}, []tar.Header{file("home/.bash_history", "", 0o600)}},
		{"package-cache", []tar.Header{file("var/cache/apt/archives/x.deb", "x", 0o644)}, []tar.Header{file("var/cache/apt/archives/lock", "", 0o640)}},
		{"setuid", []tar.Header{file("usr/bin/find", "x", 0o4755)}, []tar.Header{file("usr/bin/su", "x", 0o4755), dir("var/mail", 0o2775), file("usr/lib/x", "", 0o2644)}},
		{"setuid", []tar.Header{file("usr/bin/games", "x", 0o2755)}, []tar.Header{file("bin/mount", "x", 0o4755)}},
		{"file-capability", []tar.Header{capable}, []tar.Header{ping}},
		{"world-writable-file", []tar.Header{file("etc/config", "x", 0o666)}, []tar.Header{file("etc/other", "x", 0o664), link("etc/link", "config")}},
		{"world-writable-directory", []tar.Header{dir("data", 0o777)}, []tar.Header{dir("tmp", 0o1777)}},
		{"executable-in-temporary", []tar.Header{file("tmp/x", "\x7fELF\x02", 0o644)}, []tar.Header{file("var/tmp/notes", "x", 0o644)}},
		{"executable-in-temporary", []tar.Header{file("dev/shm/x", "#!/bin/sh\n", 0o755)}, []tar.Header{file("var/tmp/empty", "", 0o755)}},
		{"executable-in-web-root", []tar.Header{file("var/www/html/x", "\x7fELF", 0o755)}, []tar.Header{file("var/www/html/index.php", "<?php", 0o755)}},
		{"executable-in-home", []tar.Header{file("home/app/x", "\x7fELF", 0o755)}, []tar.Header{file("home/app/run.sh", "#!/bin/sh", 0o755)}},
		{"file-in-dev", []tar.Header{file("dev/x", "x", 0o644)}, []tar.Header{file("dev/console", "", 0o644)}},
		{"device-node", []tar.Header{{Typeflag: tar.TypeBlock, Name: "dev/sda", Mode: 0o660}}, []tar.Header{{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666}}},
		{"unsafe-entry", []tar.Header{hard("etc/x", "etc/y")}, nil},
		{"password-hash", []tar.Header{file("etc/shadow", "root:$6$abcdefgh$ijklmnop:1:0:9:7:::\n", 0o640)}, []tar.Header{file("etc/shadow-", "root:*:1:0:9:7:::\n", 0o640)}},
		{"empty-password", []tar.Header{file("etc/shadow", "root::1:0:9:7:::\n", 0o640)}, []tar.Header{file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)}},
	} {
		r := checked(t, written(t, pack(t, append(test.bad, test.not...)...)), Checks{}, Options{})
		want := []string{test.check + " /" + strings.TrimSuffix(test.bad[0].Name, "/")}
		if got := lines(r); !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	// A directory that anybody may write makes what is in it a finding too.
	r := checked(t, written(t, pack(t, dir("data", 0o777), file("data/x", "#!/bin/sh", 0o755), dir("data/y", 0o755), file("data/y/z", "#!/bin/sh", 0o755))), Checks{}, Options{})
	if want := []string{"executable-in-writable-directory /data/x", "world-writable-directory /data"}; !slices.Equal(lines(r), want) {
		t.Errorf("found %q, want %q", lines(r), want)
	}
	r = checked(t, written(t, pack(t, capable)), Checks{}, Options{})
	if want := []string{"/usr/bin/tool: capabilities: cap_net_raw, cap_sys_admin, cap_mac_override; no capabilities"}; !slices.Equal(told(r), want) {
		t.Errorf("%q, want %q", told(r), want)
	}
}

func TestHardLinksMayMakeAFileSetuid(t *testing.T) {
	l := hard("usr/bin/b", "usr/bin/a")
	l.Mode = 0o4755
	r := checked(t, written(t, pack(t, file("usr/bin/a", "x", 0o755), l)), Checks{}, Options{})
	if want := []string{"setuid /usr/bin/a", "setuid /usr/bin/b"}; !slices.Equal(lines(r), want) {
		t.Errorf("found %q, want %q", lines(r), want)
	}
}

func TestCachesAreToldOnce(t *testing.T) {
	i := testImage{layers: [][]byte{pack(t, file("var/cache/apk/a", strings.Repeat("x", 1500), 0o644), file("var/cache/apk/b", strings.Repeat("x", 2500), 0o644)), pack(t, file("var/cache/apk/c", "x", 0o644))}}
	r := checked(t, ociLayout(t, i, plain).write(t), Checks{}, Options{})
	want := []string{"/var/cache/apk/a: 2 files of 4.0 kB, this is the first; nothing there", "/var/cache/apk/c: a file of 1 byte; nothing there"}
	if diff := cmp.Diff(want, told(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChecksAreDisabledIgnoredAndGivenOtherSeverities(t *testing.T) {
	token := "ghp_" + letters(36, 1)
	target := written(t, pack(t, file("app/.env", "x", 0o600), file("b/.env", "x", 0o600), file("app/x", token+"\n", 0o600), file("tmp/x", "#!", 0o755)))
	fingerprint := fingerprintOf([]byte(token))
	env, other := []string{"env-file /app/.env", "env-file /b/.env"}, []string{"executable-in-temporary /tmp/x", "secret/github-pat /app/x"}
	for _, test := range []struct {
		name    string
		checks  Checks
		want    []string
		ignored int
	}{
		{"all", Checks{}, append(slices.Clone(env), other...), 0},
		{"one disabled", Checks{Disabled: []string{"env-file"}}, other, 0},
		{"all secrets disabled", Checks{Disabled: []string{"secret"}}, append(slices.Clone(env), other[0]), 0},
		{"one rule disabled", Checks{Disabled: []string{"secret/github-pat"}}, append(slices.Clone(env), other[0]), 0},
		{"secrets off", Checks{Secrets: Secrets{Off: true}}, append(slices.Clone(env), other[0]), 0},
		{"no defaults", Checks{WithoutDefaults: true}, other[1:], 0},
		{"one path ignored", Checks{Ignored: []Ignored{{Check: "env-file", Paths: []string{"/b/**"}}}}, append(env[:1:1], other...), 1},
		{"a path ignored for all", Checks{Ignored: []Ignored{{Paths: []string{"/app/*"}}}}, []string{env[1], other[0]}, 2},
		{"a fingerprint ignored", Checks{Ignored: []Ignored{{Fingerprint: fingerprint}}}, append(slices.Clone(env), other[0]), 1},
		{"another fingerprint", Checks{Ignored: []Ignored{{Fingerprint: "000000"}}}, append(slices.Clone(env), other...), 0},
		{"secrets ignored in a path", Checks{Ignored: []Ignored{{Check: "secret", Paths: []string{"/app/**"}}}}, append(slices.Clone(env), other[0]), 1},
	} {
		r := checked(t, target, test.checks, Options{})
		if diff := cmp.Diff(test.want, lines(r)); diff != "" || r.Ignored != test.ignored {
			t.Errorf("%s: %d ignored, want %d (-want +got):\n%s", test.name, r.Ignored, test.ignored, diff)
		}
	}
	r := checked(t, target, Checks{Severities: map[string]Severity{"env-file": Critical, "secret": Info, "executable-in-temporary": Low}}, Options{})
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.Severity.String()+" "+f.Path)
	}
	if want := []string{"critical /app/.env", "critical /b/.env", "low /tmp/x", "info /app/x"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	i := testImage{layers: [][]byte{pack(t)}, env: []string{"A_PASSWORD=abc", "B_PASSWORD=abc"}}
	r = checked(t, ociLayout(t, i, plain).write(t), Checks{Ignored: []Ignored{{Paths: []string{"config:env:A_*"}}}}, Options{})
	if want := []string{"config-secret config:env:B_PASSWORD"}; !slices.Equal(lines(r), want) || r.Ignored != 1 {
		t.Errorf("%q with %d ignored, want %q and 1", lines(r), r.Ignored, want)
	}
}

func TestTooManyFindingsAreCounted(t *testing.T) {
	var files []tar.Header
	for i := range maxFindings + 50 {
		files = append(files, file(fmt.Sprintf("tmp/%03d", i), "#!", 0o755))
	}
	r := checked(t, written(t, pack(t, files...)), Checks{}, Options{})
	if want := []Omitted{{"executable-in-temporary", High, 50}}; len(r.Findings) != maxFindings || !slices.Equal(r.Omitted, want) {
		t.Errorf("%d findings and %v, want %d and %v", len(r.Findings), r.Omitted, maxFindings, want)
	}
}

func TestSecretsOfHardLinksAndOfTheSameLayerAreToldOnce(t *testing.T) {
	layer := pack(t, file("a", "ghp_"+letters(36, 1)+"\n", 0o644), hard("b", "a"))
	i := testImage{layers: [][]byte{layer, pack(t, wh(".wh.a")), layer}}
	r := checked(t, ociLayout(t, i, plain).write(t), Checks{}, Options{})
	if want := []string{"secret/github-pat /a"}; !slices.Equal(lines(r), want) {
		t.Errorf("%q, want %q, which the third layer has brought back", lines(r), want)
	}
	i.layers = [][]byte{layer, pack(t, wh(".wh.a"))}
	r = checked(t, ociLayout(t, i, plain).write(t), Checks{}, Options{})
	if want := []string{"secret/github-pat /b"}; !slices.Equal(lines(r), want) {
		t.Errorf("%q, want %q, its other name", lines(r), want)
	}
	i.layers = append(i.layers, pack(t, wh(".wh.b")))
	r = checked(t, ociLayout(t, i, plain).write(t), Checks{}, Options{})
	if want := []string{"secret/github-pat /a -"}; !slices.Equal(lines(r), want) {
		t.Errorf("%q, want %q", lines(r), want)
	}
}

func TestDefaultsAreFitToBeRead(t *testing.T) {
	all := slices.Clone(findings)
	for i := range defaults {
		all = append(all, defaults[i].Expectation)
	}
	ids := map[string]bool{}
	for _, e := range all {
		if ids[e.ID] || e.ID == "" || e.Description == "" {
			t.Errorf("%q: %q: want one of that id, with a description", e.ID, e.Description)
		}
		ids[e.ID] = true
	}
}
