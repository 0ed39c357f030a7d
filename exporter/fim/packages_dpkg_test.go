package fim

import (
	"bytes"
	"crypto"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whose a path of this machine is: dpkg-query -S is asked for every 200th path of all lists, and for some that nobody has.
func TestDpkgOwnersAreThoseThatDpkgTells(t *testing.T) {
	needPrograms(t, "dpkg-query")
	lists, _ := filepath.Glob("/var/lib/dpkg/info/*.list")
	if len(lists) == 0 {
		t.Skip("needs a system of dpkg")
	}
	var paths []string
	n := 0
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.Lines(string(text)) {
			if path = strings.TrimSuffix(path, "\n"); n%200 == 0 && !strings.ContainsAny(path, `*?[\`) {
				paths = append(paths, path)
			}
			n++
		}
	}
	paths = append(paths, "/usr/bin/nobody-has-this", "/etc/passwd-", "/var/lib/dpkg/status")
	told, _ := exec.Command("dpkg-query", append([]string{"-S"}, paths...)...).Output() // it fails for what nobody has
	owners := map[string][]string{}
	for line := range strings.Lines(string(told)) {
		names, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if ok && !strings.HasPrefix(line, "diversion by ") {
			owners[path] = append(owners[path], strings.Split(names, ", ")...)
		}
	}
	p := openPackages(t, "")
	for _, path := range paths {
		got, ok := p.Owner(path)
		want := owners[path]
		named := slices.Contains(want, got.Name) || slices.Contains(want, got.Name+":"+got.Arch)
		if ok != (len(want) > 0) || ok && !named {
			t.Errorf("Owner(%q) = %v, %v; dpkg says %q", path, got, ok, want)
		}
	}
	t.Logf("%d paths compared, %d of them owned", len(paths), len(owners))
}

// What of this machine's packages has changed: dpkg --verify is asked for every 20th package.
func TestDpkgContentIsWhatDpkgVerifies(t *testing.T) {
	needPrograms(t, "dpkg", "dpkg-query")
	all := strings.Fields(runProgram(t, "dpkg-query", "-W", "-f", "${binary:Package}\n"))
	var some []string
	for i := 0; i < len(all); i += 20 {
		some = append(some, all[i])
	}
	told, _ := exec.Command("dpkg", append([]string{"--verify"}, some...)...).Output() // it fails if something differs
	changed := map[string]bool{}
	for line := range strings.Lines(string(told)) {
		if i := strings.IndexByte(line, '/'); i > 2 && line[2] == '5' {
			changed[strings.TrimSpace(line[i:])] = true
		}
	}
	p := openPackages(t, "")
	compared := 0
	for path := range strings.FieldsSeq(runProgram(t, "dpkg-query", append([]string{"-L"}, some...)...)) {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		v := checkPackaged(t, p, "", path)
		if (v.Content == Differs) != changed[path] || !v.Owned {
			t.Errorf("Check(%q) = %+v; dpkg says it has changed: %v", path, v, changed[path])
		}
		compared++
	}
	t.Logf("%d files of %d packages compared, %d of them changed", compared, len(some), len(changed))
}

// A dpkgSystem is a root of its own in which the real dpkg works.
type dpkgSystem struct {
	root, debs string
}

func newDpkg(t *testing.T) dpkgSystem {
	needPrograms(t, "dpkg", "dpkg-deb")
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	root := packageTree(t, map[string]string{"var/lib/dpkg/info/": "", "var/lib/dpkg/updates/": "", "var/lib/dpkg/alternatives/": "",
		"var/lib/dpkg/status": "", "var/log/": "", "etc/alternatives/": "", "usr/bin/": "", "bin": "-> usr/bin",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\nlp:x:7:\n"})
	return dpkgSystem{root, t.TempDir()}
}

// deb builds a package of files; those below /etc are its conffiles.
func (d dpkgSystem) deb(t *testing.T, name, version string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(d.debs, name+"-"+version)
	conffiles := ""
	for path, content := range files {
		putPackaged(t, filepath.Join(dir, path), content, false)
		if strings.HasPrefix(path, "/etc/") {
			conffiles += path + "\n"
		}
	}
	putPackaged(t, dir+"/DEBIAN/control", "Package: "+name+"\nVersion: "+version+
		"\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: a test\n", false)
	putPackaged(t, dir+"/DEBIAN/conffiles", conffiles, false)
	runProgram(t, "dpkg-deb", "-b", dir, dir+".deb")
	return dir + ".deb"
}

func (d dpkgSystem) args(args ...string) []string {
	return append([]string{"--root=" + d.root, "--log=" + d.root + "/var/log/dpkg.log", "--force-confold"}, args...)
}

func (d dpkgSystem) path(name string) string { return filepath.Join(d.root, name) }

func TestDpkgUpgradeIsExpectedAndTheSameByHandIsNot(t *testing.T) {
	d := newDpkg(t)
	one := d.deb(t, "y", "1", map[string]string{"/usr/bin/y": "one", "/bin/y0": "bin", "/usr/bin/y2": "-> y", "/usr/lib/y-1.so": "lib",
		"/etc/y.conf": "conf"})
	two := d.deb(t, "y", "2", map[string]string{"/usr/bin/y": "two", "/bin/y0": "bin", "/usr/bin/y2": "-> y", "/usr/lib/y-2.so": "lib",
		"/etc/y.conf": "conf"})
	began := time.Now().Truncate(time.Second)
	runProgram(t, "dpkg", d.args("-i", one)...)
	p := openPackages(t, d.root)
	v1, v2 := Package{"dpkg", "y", "1", "all"}, Package{"dpkg", "y", "2", "all"}
	check := func(name string, want Verdict) {
		t.Helper()
		got := checkPackaged(t, p, d.root, name)
		if got.Why = ""; got != want {
			t.Errorf("Check(%q) = %+v\nwant %+v", name, got, want)
		}
	}
	check("/usr/bin/y", Verdict{Owned: true, Package: v1, Content: Same})
	check("/usr/bin/y0", Verdict{Owned: true, Package: v1, Content: Same})
	check("/usr/bin/y2", Verdict{Owned: true, Package: v1})
	check("/etc/y.conf", Verdict{Owned: true, Package: v1, Content: Same, Config: true})
	putPackaged(t, d.path("/usr/bin/y"), "two", false)
	putPackaged(t, d.path("/etc/y.conf"), "ours", false)
	check("/usr/bin/y", Verdict{Owned: true, Package: v1, Content: Differs})
	check("/etc/y.conf", Verdict{Owned: true, Package: v1, Content: Differs, Config: true})
	if told, _ := exec.Command("dpkg", "--root="+d.root, "--verify").Output(); string(told) != "??5?????? c /etc/y.conf\n??5??????   /usr/bin/y\n" {
		t.Errorf("dpkg itself says %q", told)
	}

	runProgram(t, "dpkg", d.args("-i", two)...)
	ended := time.Now()
	if !p.Refresh() {
		t.Error("the transaction has changed nothing")
	}
	check("/usr/bin/y", Verdict{Owned: true, Package: v2, Content: Same})
	check("/usr/lib/y-1.so", Verdict{Package: v1, Departed: true})
	check("/usr/lib/y-2.so", Verdict{Owned: true, Package: v2, Content: Same})

	for _, at := range []time.Time{began.Add(time.Second), ended} {
		if running, what := p.Transaction(at); !running || !strings.HasPrefix(what, "dpkg from ") || !strings.HasSuffix(what, ": y:all") {
			t.Errorf("Transaction(%v) = %v, %q", at, running, what)
		}
	}
	tr, ok := p.Unpacked(v2, ended)
	if !ok || tr.From.Before(began) || tr.To.After(ended.Add(2*time.Second)) || !slices.Equal(tr.Packages, []string{"y:all"}) {
		t.Errorf("Unpacked = %+v, %v", tr, ok)
	}
	if _, ok := p.Unpacked(Package{"dpkg", "z", "1", "all"}, ended); ok {
		t.Error("a package that was not unpacked was")
	}
	if running, what := p.Transaction(ended.Add(time.Hour)); running {
		t.Errorf("an hour later there is %q", what)
	}

	runProgram(t, "dpkg", d.args("-r", "y")...)
	p.Refresh()
	check("/usr/bin/y", Verdict{Package: v2, Departed: true})
	check("/etc/y.conf", Verdict{Owned: true, Package: v2, Content: Differs, Config: true}) // dpkg -r leaves it
}

// dpkg asks what to do with a changed conffile, and waits: with its lock held, in the middle of configuring.
func TestDpkgIsSeenWhileItRuns(t *testing.T) {
	d := newDpkg(t)
	runProgram(t, "dpkg", d.args("-i", d.deb(t, "y", "1", map[string]string{"/etc/y.conf": "one"}))...)
	putPackaged(t, d.path("/etc/y.conf"), "ours", false)
	two := d.deb(t, "y", "2", map[string]string{"/etc/y.conf": "two"})
	p := openPackages(t, d.root)

	dpkg := exec.Command("dpkg", "--root="+d.root, "--log="+d.root+"/var/log/dpkg.log", "-i", two)
	answer, err := dpkg.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := dpkg.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	dpkg.Stderr = dpkg.Stdout
	if err := dpkg.Start(); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	for letter := make([]byte, 1); !strings.Contains(seen.String(), "default=N"); seen.Write(letter) {
		if _, err := said.Read(letter); err != nil {
			t.Fatalf("dpkg asks nothing: %v\n%s", err, seen.String())
		}
	}
	live, ok := p.Unpacked(Package{"dpkg", "y", "2", "all"}, time.Now())
	if !ok || !live.To.IsZero() || !slices.Contains(live.Packages, "y:all") {
		t.Errorf("Unpacked while dpkg waits = %+v, %v", live, ok)
	}
	if running, what := p.Transaction(time.Now()); !running || !strings.HasPrefix(what, "dpkg since ") {
		t.Errorf("Transaction while dpkg waits = %v, %q", running, what)
	}
	if running, what := p.Transaction(time.Now().Add(-time.Hour)); running {
		t.Errorf("Transaction an hour before = %q", what)
	}
	if pid, held := p.lockHolder("var/lib/dpkg/lock"); !held || pid != dpkg.Process.Pid {
		t.Errorf("lockHolder = %d, %v; dpkg is %d", pid, held, dpkg.Process.Pid)
	}
	if since := p.holderSince(dpkg.Process.Pid); time.Since(since) > time.Hour || time.Until(since) > time.Second {
		t.Errorf("dpkg began at %v, it is %v", since, time.Now())
	}
	io.WriteString(answer, "N\n")
	io.Copy(io.Discard, said)
	if err := dpkg.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, held := p.lockHolder("var/lib/dpkg/lock"); held {
		t.Error("the lock is held after dpkg has ended")
	}
	if done, ok := p.Unpacked(Package{"dpkg", "y", "2", "all"}, time.Now()); !ok || done.To.IsZero() {
		t.Errorf("Unpacked after dpkg has ended = %+v, %v", done, ok)
	}
}

func TestDpkgDiversionsAndOverrides(t *testing.T) {
	d := newDpkg(t)
	needPrograms(t, "dpkg-divert", "dpkg-statoverride")
	runProgram(t, "dpkg", d.args("-i", d.deb(t, "y", "1", map[string]string{"/usr/bin/tool": "of y", "/usr/bin/plain": "plain"}))...)
	runProgram(t, "dpkg-divert", "--root="+d.root, "--package", "z", "--divert", "/usr/bin/tool.y", "--rename", "--add", "/usr/bin/tool")
	runProgram(t, "dpkg-divert", "--root="+d.root, "--local", "--divert", "/usr/bin/plain.away", "--rename", "--add", "/bin/plain")
	os.Rename(d.path("/usr/bin/plain"), d.path("/usr/bin/plain.away")) // dpkg-divert does not know that /bin is a link
	runProgram(t, "dpkg", d.args("-i", d.deb(t, "z", "1", map[string]string{"/usr/bin/tool": "of z"}))...)
	runProgram(t, "dpkg-statoverride", "--root="+d.root, "--force-statoverride-add", "--add", "#0", "#7", "4750", "/usr/bin/tool")
	runProgram(t, "dpkg", d.args("-i", d.deb(t, "y", "2", map[string]string{"/usr/bin/tool": "of y", "/usr/bin/plain": "plain"}),
		d.deb(t, "z", "2", map[string]string{"/usr/bin/tool": "of z"}))...)
	p := openPackages(t, d.root)
	for path, want := range map[string]Verdict{
		"/usr/bin/tool":       {Owned: true, Package: Package{"dpkg", "z", "2", "all"}, Content: Same, Mode: Same, Owner: Same},
		"/usr/bin/tool.y":     {Owned: true, Package: Package{"dpkg", "y", "2", "all"}, Content: Same, Mode: Same, Owner: Same},
		"/bin/tool.y":         {Owned: true, Package: Package{"dpkg", "y", "2", "all"}, Content: Same, Mode: Same, Owner: Same},
		"/usr/bin/plain":      {},
		"/usr/bin/plain.away": {Owned: true, Package: Package{"dpkg", "y", "2", "all"}, Content: Same},
	} {
		if got := checkPackaged(t, p, d.root, path); got != want {
			t.Errorf("Check(%q) = %+v\nwant %+v", path, got, want)
		}
	}
	if err := os.Chmod(d.path("/usr/bin/tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := checkPackaged(t, p, d.root, "/usr/bin/tool"); got.Mode != Differs || got.Owner != Same {
		t.Errorf("Check without the override's setuid = %+v", got)
	}
}

func TestAlternativesAreThoseOfUpdateAlternatives(t *testing.T) {
	d := newDpkg(t)
	needPrograms(t, "update-alternatives")
	for _, name := range []string{"low", "high", "low.1", "high.1"} {
		putPackaged(t, d.path("/usr/bin/"+name), name, false)
	}
	update := func(args ...string) {
		t.Helper()
		runProgram(t, "update-alternatives", append([]string{"--root", d.root, "--log", d.root + "/var/log/alternatives.log"}, args...)...)
	}
	update("--install", "/usr/bin/pick", "pick", "/usr/bin/low", "10", "--slave", "/usr/bin/pick.1", "pick.1", "/usr/bin/low.1")
	update("--install", "/usr/bin/pick", "pick", "/usr/bin/high", "-5")
	p := openPackages(t, d.root)
	want := func(name string, content Match) {
		t.Helper()
		p.Refresh()
		if got := checkPackaged(t, p, d.root, name); got.Alternative != "pick" || got.Content != content || got.Owned {
			t.Errorf("Check(%q) = %+v, want %v", name, got, content)
		}
	}
	all := []string{"/usr/bin/pick", "/etc/alternatives/pick", "/usr/bin/pick.1", "/etc/alternatives/pick.1"}
	for _, name := range all {
		want(name, Same)
	}
	update("--install", "/usr/bin/pick", "pick", "/usr/bin/high", "20", "--slave", "/usr/bin/pick.1", "pick.1", "/usr/bin/high.1")
	for _, name := range all {
		want(name, Same)
	}
	relink := func(target string) {
		os.Remove(d.path("/etc/alternatives/pick"))
		putPackaged(t, d.path("/etc/alternatives/pick"), "-> "+target, false)
	}
	relink("/usr/bin/low") // by hand, where automatic mode has another
	want("/etc/alternatives/pick", Differs)
	relink("/tmp/evil")
	want("/etc/alternatives/pick", Differs)
	update("--set", "pick", "/usr/bin/low")
	want("/etc/alternatives/pick", Same)
	putPackaged(t, d.path("/usr/bin/pick.new"), "a program", false)
	os.Rename(d.path("/usr/bin/pick.new"), d.path("/usr/bin/pick"))
	want("/usr/bin/pick", Differs)
	want("/bin/pick", Differs) // the same file
}

func TestParseAlternatives(t *testing.T) {
	rhel := "auto\n/usr/bin/java\njavac\n/usr/bin/javac\n\n/usr/lib/jvm/11/java\n@jre-11@11\n/usr/lib/jvm/11/javac\n/usr/lib/jvm/8/java\n8 service\n\n\n"
	links, err := parseAlternatives("java", rhel)
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string][]string{"/usr/bin/java": {"/etc/alternatives/java"}, "/etc/alternatives/java": {"/usr/lib/jvm/11/java"},
		"/usr/bin/javac": {"/etc/alternatives/javac"}, "/etc/alternatives/javac": {"/usr/lib/jvm/11/javac"}} {
		if got := links[link]; got.group != "java" || !slices.Equal(got.targets, want) {
			t.Errorf("%s leads to %v, want %v", link, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                                    `1: want auto or manual, got ""`,
		"auto\nrelative\n":                    `2: want the absolute path of the link x, got "relative"`,
		"auto\n/x\nslave\nrel\n":              `4: want the absolute path of the link slave, got "rel"`,
		"auto\n/x\n\n/usr/bin/y\nhigh\n":      `5: want a priority, got "high"`,
		"manual\n/x\n\n/usr/bin/y\n\n":        `5: want a priority, got ""`,
		"manual\n/x\n\n/usr/bin/y\n@fam@ x\n": `5: want a priority, got "@fam@ x"`,
	} {
		if _, err := parseAlternatives("x", text); err == nil || err.Error() != want {
			t.Errorf("parseAlternatives(%q) = %v, want %s", text, err, want)
		}
	}
}

func TestImagesWithoutAShellHaveTheirPackagesOneByOne(t *testing.T) {
	p := openPackages(t, packageTree(t, map[string]string{
		"var/lib/dpkg/status.d/base":          "Package: base-files\nVersion: 12.4+deb12u5\nArchitecture: amd64\nDescription: x\n",
		"var/lib/dpkg/status.d/base.md5sums":  md5Hex("x") + "  ./etc/debian_version\n" + md5Hex("y") + "  usr/lib/os-release\n",
		"var/lib/dpkg/status.d/tzdata":        "Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\n",
		"var/lib/dpkg/status.d/other.md5sums": "",
	}))
	if all := p.Databases(); len(all) != 1 || all[0].Packages != 2 || all[0].Files != 2 || all[0].Err != nil {
		t.Errorf("Databases() = %+v", all)
	}
	sums := func(crypto.Hash) ([]byte, error) {
		return []byte("\x9d\xd4\xe4\x61\x26\x8c\x80\x34\xf5\xc8\x56\x4e\x15\x5c\x67\xa6"), nil
	} // of "x", by md5sum
	want := Verdict{Owned: true, Package: Package{"dpkg", "base-files", "12.4+deb12u5", "amd64"}, Content: Same}
	if got := p.Check("/etc/debian_version", &Record{}, sums); got != want {
		t.Errorf("Check = %+v, want %+v", got, want)
	}
}

// While dpkg runs, what it has done is in updates, and status is from before.
func TestDpkgUpdatesAreNewerThanStatus(t *testing.T) {
	files := dpkgRoot("/usr/bin/y\n", nil)
	files["var/lib/dpkg/updates/0000"] = "Package: y\nStatus: install ok half-configured\nArchitecture: all\nVersion: 2\nConfig-Version: 1-2\n"
	files["var/lib/dpkg/updates/0001"] = "Package: z\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 3\nMulti-Arch: same\n"
	files["var/lib/dpkg/updates/tmp.i"] = "#padding\n"
	files["var/lib/dpkg/info/z:amd64.list"] = "/usr/bin/z\n"
	p := openPackages(t, packageTree(t, files))
	for path, want := range map[string]Package{"/usr/bin/y": {"dpkg", "y", "2", "all"}, "/usr/bin/z": {"dpkg", "z", "3", "amd64"}} {
		if got, _ := p.Owner(path); got != want {
			t.Errorf("Owner(%q) = %v, want %v", path, got, want)
		}
	}
	if err := p.Databases()[0].Err; err != nil {
		t.Error(err)
	}
}

func TestDpkgStanzas(t *testing.T) {
	text := "Package: a\nStatus: deinstall ok config-files\nConfig-Version: 1\nArchitecture: all\nConffiles:\n /etc/a b.conf " + md5Hex("a") +
		" obsolete\n /etc/new newconffile\nDescription: x\n /etc/not 1\n\n\n\nPackage: b\nVersion: 2\nMulti-Arch: same\n"
	var p stanzaParser
	var got []dpkgStanza
	for line := range strings.Lines(text) {
		s, err := p.line([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if s != nil {
			got = append(got, *s)
		}
	}
	got = append(got, *p.end())
	if len(got) != 2 || got[0].name != "a" || got[0].version != "1" || got[0].state != "deinstall ok config-files" || got[1].name != "b" ||
		got[1].version != "2" || got[1].multi != "same" {
		t.Errorf("got %+v", got)
	}
	if c := got[0].conffiles; len(c) != 1 || c[0].path != "/etc/a b.conf" || md5Hex("a") != md5Text(c[0].sum[:]) {
		t.Errorf("conffiles %v", c)
	}
}

func TestWrongLinesOfDpkgAreTold(t *testing.T) {
	for name, test := range map[string]struct{ file, text, want string }{
		"conffiles":  {"status", "Package: y\nConffiles:\n /etc/y zz\n", `/var/lib/dpkg/status:3: want PATH MD5 in Conffiles, got`},
		"conffile":   {"status", "Package: y\nConffiles:\n /etc/y " + strings.Repeat("z", 32) + "\n", `/var/lib/dpkg/status:3: want an MD5 in Conffiles`},
		"list":       {"info/y.list", "/usr\nusr/bin\n", `/var/lib/dpkg/info/y.list:2: want an absolute path, got "usr/bin"`},
		"diversions": {"diversions", "/a\n/b\n:\n/c\n", `/var/lib/dpkg/diversions: want lines by threes, got 4`},
		"diversion":  {"diversions", "/a\nb\n:\n", `/var/lib/dpkg/diversions:2: want an absolute path, got "b"`},
		"override":   {"statoverride", "root root 4755\n", `/var/lib/dpkg/statoverride:1: want USER GROUP MODE PATH`},
		"mode":       {"statoverride", "root root 9 /x\n", `/var/lib/dpkg/statoverride:1: want an octal mode, got "9"`},
	} {
		t.Run(name, func(t *testing.T) {
			files := dpkgRoot("/usr/bin/y\n", nil)
			files["var/lib/dpkg/"+test.file] = test.text
			all := openPackages(t, packageTree(t, files)).Databases()
			if len(all) != 1 || all[0].Err == nil || !strings.Contains(all[0].Err.Error(), test.want) {
				t.Errorf("Databases() = %v, want %s", all, test.want)
			}
		})
	}
	files := dpkgRoot("/usr/bin/y\n", nil)
	files["var/lib/dpkg/info/y.md5sums"] = "no sum\n"
	if v := openPackages(t, packageTree(t, files)).Check("/usr/bin/y", &Record{}, nil); !strings.Contains(v.Why, "y.md5sums:1: want MD5 and a path") {
		t.Errorf("Check with broken sums = %+v", v)
	}
}

func md5Text(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// Whatever the files say, nothing panics, and what is read of them is told as it was asked.
func FuzzDpkg(f *testing.F) {
	f.Add("Package: y\nVersion: 1\nConffiles:\n /etc/y "+md5Hex("")+"\n\n", "/usr/bin/y\n/etc/y\n", md5Hex("")+"  usr/bin/y\n", "/usr/bin/y\n/usr/bin/y.x\n:\n", "root root 755 /usr/bin/y\n")
	f.Add("Package: y:\nStatus: a b not-installed\n", "\n\n", "", "\n\n\n", "# # # #\n")
	f.Fuzz(func(t *testing.T, status, list, sums, diversions, overrides string) {
		p := openPackages(t, packageTree(t, map[string]string{"var/lib/dpkg/status": strings.TrimPrefix(status, "-> "), "var/lib/dpkg/info/y.list": strings.TrimPrefix(list, "-> "),
			"var/lib/dpkg/info/y.md5sums": strings.TrimPrefix(sums, "-> "), "var/lib/dpkg/diversions": strings.TrimPrefix(diversions, "-> "),
			"var/lib/dpkg/statoverride": strings.TrimPrefix(overrides, "-> ")}))
		for path := range strings.SplitSeq(list, "\n") {
			p.Owner(path)
			p.Check(path, &Record{}, func(crypto.Hash) ([]byte, error) { return make([]byte, 16), nil })
		}
	})
}

func FuzzAlternatives(f *testing.F) {
	f.Add("auto\n/usr/bin/x\nx.1\n/usr/share/man/x.1\n\n/usr/bin/y\n10\n/usr/share/man/y.1\n\n")
	f.Add("manual\n/usr/bin/x\n\n/usr/bin/y\n@f@10 s\n/usr/bin/z\n-1\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		links, err := parseAlternatives("x", text)
		if err != nil && len(links) > 0 {
			t.Errorf("links %v with the error %v", links, err)
		}
		for link := range links {
			if !strings.HasPrefix(link, "/") {
				t.Errorf("the link %q is not absolute", link)
			}
		}
	})
}
