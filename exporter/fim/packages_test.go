package fim

import (
	"bytes"
	"crypto"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// packageTree makes a root of files: those that end with a slash are directories, and "-> TARGET" makes a link.
func packageTree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		putPackaged(t, filepath.Join(root, name), content, strings.HasSuffix(name, "/"))
	}
	return root
}

func putPackaged(t testing.TB, name, content string, dir bool) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	target, link := strings.CutPrefix(content, "-> ")
	switch {
	case err != nil:
	case dir:
		err = os.MkdirAll(name, 0o755)
	case link:
		err = os.Symlink(target, name)
	default:
		err = os.WriteFile(name, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func openPackages(t testing.TB, root string) *Packages {
	t.Helper()
	p, err := OpenPackages(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// packageRecord is what is so of a file below root, and how to get its sums.
func packageRecord(t testing.TB, root, name string) (*Record, func(crypto.Hash) ([]byte, error)) {
	t.Helper()
	info, err := os.Lstat(filepath.Join(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	r := &Record{Mode: info.Mode(), UID: st.Uid, GID: st.Gid, Size: st.Size}
	if r.Mode.Type() == fs.ModeSymlink {
		r.Target, _ = os.Readlink(filepath.Join(root, name))
	}
	return r, func(h crypto.Hash) ([]byte, error) {
		content, err := os.ReadFile(filepath.Join(root, name))
		sum := h.New()
		sum.Write(content)
		return sum.Sum(nil), err
	}
}

func checkPackaged(t testing.TB, p *Packages, root, name string) Verdict {
	t.Helper()
	r, sums := packageRecord(t, root, name)
	return p.Check(name, r, sums)
}

// needPrograms skips a test that needs a program.
func needPrograms(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
}

func runProgram(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func md5Hex(content string) string { return fmt.Sprintf("%x", md5.Sum([]byte(content))) }

// dpkgRoot is a database of one package, with these paths and the sums of those that have content.
func dpkgRoot(list string, sums map[string]string) map[string]string {
	md5sums := ""
	for name, content := range sums {
		md5sums += md5Hex(content) + "  " + strings.TrimPrefix(name, "/") + "\n"
	}
	return map[string]string{
		"var/lib/dpkg/status":           "Package: y\nStatus: install ok installed\nArchitecture: all\nVersion: 1-2\n\n",
		"var/lib/dpkg/info/y.list":      list,
		"var/lib/dpkg/info/y.md5sums":   md5sums,
		"var/lib/dpkg/info/y.conffiles": "",
	}
}

func TestOpenPackagesOfARootWithoutAnySaysNothing(t *testing.T) {
	p := openPackages(t, t.TempDir())
	if all := p.Databases(); len(all) != 0 {
		t.Errorf("Databases() = %v, want none", all)
	}
	if v := p.Check("/usr/bin/ls", &Record{}, nil); v != (Verdict{}) {
		t.Errorf("Check = %+v, want nothing said", v)
	}
	if running, what := p.Transaction(time.Now()); running {
		t.Errorf("Transaction = %q, want none", what)
	}
	if _, err := OpenPackages("/there/is/no/such/root"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenPackages of what is not there: %v", err)
	}
}

// Whether /bin is a link to /usr/bin decides whether the two names are one file's.
func TestOwnerFollowsAMergedUsrBothWays(t *testing.T) {
	files := dpkgRoot("/.\n/bin\n/bin/old\n/usr\n/usr/bin\n/usr/bin/new\n/usr/sbin/fedora\n", nil)
	apart := openPackages(t, packageTree(t, files))
	files["bin"], files["usr/bin/"], files["sbin"], files["usr/sbin"] = "-> usr/bin", "", "-> /usr/sbin", "-> bin"
	merged := openPackages(t, packageTree(t, files))
	for _, test := range []struct {
		path         string
		apart, alike bool
	}{
		{"/bin/old", true, true},
		{"/usr/bin/old", false, true},
		{"/usr/bin/new", true, true},
		{"/bin/new", false, true},
		{"/sbin/fedora", false, true},
		{"/bin/fedora", false, true},
		{"/bin", true, true},
		{"/bin/old/er", false, false},
		{"/binold", false, false},
	} {
		if _, ok := apart.Owner(test.path); ok != test.apart {
			t.Errorf("Owner(%q) = %v where /bin is a directory, want %v", test.path, ok, test.apart)
		}
		if owner, ok := merged.Owner(test.path); ok != test.alike || ok && owner != (Package{"dpkg", "y", "1-2", "all"}) {
			t.Errorf("Owner(%q) = %v, %v where /bin is a link, want %v", test.path, owner, ok, test.alike)
		}
	}
}

func TestACircleOfLinksEnds(t *testing.T) {
	files := dpkgRoot("/bin/y\n", nil)
	files["bin"], files["lib"], files["lib64"] = "-> lib", "-> lib64", "-> bin"
	if _, ok := openPackages(t, packageTree(t, files)).Owner("/bin/y"); !ok {
		t.Error("a path below links that run in a circle has no owner")
	}
}

func TestNoLinkOrDeviceLeadsOutOfTheRoot(t *testing.T) {
	outside := packageTree(t, dpkgRoot("/usr/bin/y\n", nil))
	for name, target := range map[string]string{
		"absolute": outside + "/var/lib/dpkg",
		"relative": strings.Repeat("../", 40) + outside[1:] + "/var/lib/dpkg",
		"magic":    fmt.Sprintf("/proc/%d/root%s/var/lib/dpkg", os.Getpid(), outside),
	} {
		t.Run(name, func(t *testing.T) {
			p := openPackages(t, packageTree(t, map[string]string{"var/lib/dpkg": "-> " + target}))
			if all := p.Databases(); len(all) != 0 {
				t.Errorf("read %v through a link that leads out", all)
			}
		})
	}
	t.Run("within", func(t *testing.T) {
		root := packageTree(t, map[string]string{"var/lib/dpkg": "-> /elsewhere"})
		if err := os.Rename(filepath.Join(outside, "var/lib/dpkg"), filepath.Join(root, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if _, ok := openPackages(t, root).Owner("/usr/bin/y"); !ok {
			t.Error("an absolute link within the root is not followed")
		}
	})
	t.Run("fifo", func(t *testing.T) {
		root := packageTree(t, map[string]string{"var/lib/dpkg/": ""})
		if err := unix.Mkfifo(filepath.Join(root, "var/lib/dpkg/status"), 0o644); err != nil {
			t.Fatal(err)
		}
		all := openPackages(t, root).Databases()
		if len(all) != 1 || all[0].Err == nil || !strings.Contains(all[0].Err.Error(), "/var/lib/dpkg/status: want a file") {
			t.Errorf("Databases() = %v, want an error for a status that is a FIFO", all)
		}
	})
}

func TestJudge(t *testing.T) {
	md5Of := func(s string) []byte { sum := md5.Sum([]byte(s)); return sum[:] }
	sha1Of := func(s string) []byte { sum := sha1.Sum([]byte(s)); return sum[:] }
	sha256Of := sha256.Sum256([]byte("x"))
	sums := func(h crypto.Hash) ([]byte, error) {
		sum := h.New()
		sum.Write([]byte("x"))
		return sum.Sum(nil), nil
	}
	file := Record{Mode: 0o644}
	for _, test := range []struct {
		name   string
		e      expectation
		r      *Record
		sums   func(crypto.Hash) ([]byte, error)
		want   Verdict
		reason bool
	}{
		{"same", expectation{algorithm: crypto.MD5, sum: md5Of("x")}, &file, sums, Verdict{Content: Same}, false},
		{"differs", expectation{algorithm: crypto.MD5, sum: md5Of("y")}, &file, sums, Verdict{Content: Differs}, false},
		{"known", expectation{algorithm: crypto.SHA256, sum: sha256Of[:]}, &Record{Sum: sha256Of, Summed: true}, nil, Verdict{Content: Same}, false},
		{"truncated", expectation{algorithm: crypto.SHA256, sum: sha256Of[:20]}, &Record{Sum: sha256Of, Summed: true}, nil, Verdict{Content: Same}, false},
		{"no sum", expectation{}, &file, sums, Verdict{}, true},
		{"no content", expectation{algorithm: crypto.MD5, sum: md5Of("x")}, &file, nil, Verdict{}, true},
		{"unreadable", expectation{algorithm: crypto.MD5, sum: md5Of("x")}, &file,
			func(crypto.Hash) ([]byte, error) { return nil, errors.New("permission denied") }, Verdict{}, true},
		{"a link in place of a file", expectation{algorithm: crypto.MD5, sum: md5Of("x")}, &Record{Mode: fs.ModeSymlink | 0o777, Target: "/tmp/x"}, sums, Verdict{Content: Differs}, false},
		{"a directory in place of a file", expectation{algorithm: crypto.MD5, sum: md5Of("x")}, &Record{Mode: fs.ModeDir | 0o755}, sums, Verdict{Content: Differs}, false},
		{"link", expectation{target: "y", hasTarget: true, hasMode: true, mode: 0o777}, &Record{Mode: fs.ModeSymlink | 0o755, Target: "y"}, nil, Verdict{Content: Same}, false},
		{"other link", expectation{target: "y", hasTarget: true}, &Record{Mode: fs.ModeSymlink | 0o777, Target: "z"}, nil, Verdict{Content: Differs}, false},
		{"link by sum", expectation{algorithm: crypto.SHA1, sum: sha1Of("y"), targetSum: true}, &Record{Mode: fs.ModeSymlink, Target: "y"}, nil, Verdict{Content: Same}, false},
		{"kind", expectation{kind: fs.ModeSymlink, hasKind: true}, &file, nil, Verdict{Content: Differs, Mode: Differs}, false},
		{"mode", expectation{hasMode: true, mode: 0o644}, &Record{Mode: fs.ModeDir | 0o644}, nil, Verdict{Mode: Same}, false},
		{"setuid", expectation{hasMode: true, mode: 0o755}, &Record{Mode: fs.ModeDir | fs.ModeSetuid | 0o755}, nil, Verdict{Mode: Differs}, false},
		{"owner", expectation{user: "root", group: "8"}, &Record{Mode: fs.ModeDir, GID: 8}, nil, Verdict{Owner: Same}, false},
		{"other owner", expectation{user: "#7", group: "nobody-knows"}, &Record{Mode: fs.ModeDir, UID: 8}, nil, Verdict{Owner: Differs}, false},
		{"unknown owner", expectation{user: "root", group: "nobody-knows"}, &Record{Mode: fs.ModeDir}, nil, Verdict{}, true},
		{"gone", expectation{config: true}, nil, nil, Verdict{Config: true, Missing: true}, false},
		{"ghost", expectation{ghost: true}, nil, nil, Verdict{Ghost: true}, false},
		{"left out", expectation{absent: true}, nil, nil, Verdict{}, false},
		{"superseded", expectation{superseded: true, algorithm: crypto.MD5, sum: md5Of("y")}, &file, sums, Verdict{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := openPackages(t, t.TempDir()).judge(&test.e, test.r, test.sums)
			if (got.Why != "") != test.reason {
				t.Errorf("Why = %q, want a reason: %v", got.Why, test.reason)
			}
			if got.Why = ""; got != test.want {
				t.Errorf("judge = %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestChangesAreSeenByStatAndWhatDepartedIsRemembered(t *testing.T) {
	root := packageTree(t, dpkgRoot("/usr/bin/y\n/usr/lib/y-1.so\n", map[string]string{"/usr/bin/y": "one"}))
	putPackaged(t, filepath.Join(root, "usr/bin/y"), "one", false)
	p := openPackages(t, root)
	clock := time.Now()
	p.now = func() time.Time { return clock }
	if v := checkPackaged(t, p, root, "/usr/bin/y"); v.Content != Same || p.Refresh() {
		t.Fatalf("Check = %+v, Refresh found a change", v)
	}
	info := filepath.Join(root, "var/lib/dpkg/info/")
	putPackaged(t, filepath.Join(root, "usr/bin/y"), "two", false)
	putPackaged(t, info+"/new", "/usr/bin/y\n/usr/lib/y-2.so\n", false)
	if err := os.Rename(info+"/new", info+"/y.list"); err != nil { // as dpkg does, so that the directory changes
		t.Fatal(err)
	}
	putPackaged(t, info+"/y.md5sums", md5Hex("two")+"  usr/bin/y\n", false)

	p.rest.Store(clock.Add(time.Minute).UnixNano())
	if v := checkPackaged(t, p, root, "/usr/bin/y"); !v.Changing || v.Content != Differs {
		t.Errorf("Check before the database may be read again = %+v, want that it is changing", v)
	}
	clock = clock.Add(2 * time.Minute)
	if v := checkPackaged(t, p, root, "/usr/bin/y"); v.Content != Same || v.Changing {
		t.Errorf("Check after = %+v, want the new content", v)
	}
	want := Verdict{Departed: true, Package: Package{"dpkg", "y", "1-2", "all"}}
	if v := p.Check("/usr/lib/y-1.so", nil, nil); v != want {
		t.Errorf("Check of what the new version has no more = %+v, want %+v", v, want)
	}
	if owner, ok := p.Owner("/usr/lib/y-2.so"); !ok {
		t.Errorf("Owner of what is new = %v, %v", owner, ok)
	}
	if err := os.RemoveAll(filepath.Join(root, "var/lib/dpkg")); err != nil {
		t.Fatal(err)
	}
	if !p.Refresh() || len(p.Databases()) != 0 {
		t.Errorf("after the database has gone there is %v", p.Databases())
	}
}

func TestAnUnreadableDatabaseLeavesWhatWasKnown(t *testing.T) {
	root := packageTree(t, dpkgRoot("/usr/bin/y\n", nil))
	p := openPackages(t, root)
	putPackaged(t, filepath.Join(root, "var/lib/dpkg/status"), "Package: y\nno field\n", false)
	if !p.Refresh() {
		t.Error("the change was not seen")
	}
	if _, ok := p.Owner("/usr/bin/y"); !ok {
		t.Error("what was known is forgotten")
	}
	all := p.Databases()
	if len(all) != 1 || all[0].Err == nil || !strings.Contains(all[0].Err.Error(), `/var/lib/dpkg/status:2: want FIELD: VALUE, got "no field"`) {
		t.Errorf("Databases() = %v, want the file, the line and what was expected", all)
	}
	if v := p.Check("/elsewhere", &Record{}, nil); v.Owned || v.Why == "" {
		t.Errorf("Check of an unknown path = %+v, want that not everything could be read", v)
	}
	putPackaged(t, filepath.Join(root, "var/lib/dpkg/status"), dpkgRoot("", nil)["var/lib/dpkg/status"], false)
	if p.Refresh(); p.Databases()[0].Err != nil {
		t.Errorf("after it was mended: %v", p.Databases())
	}
}

func TestUnownedNames(t *testing.T) {
	p := openPackages(t, packageTree(t, dpkgRoot("/usr/bin/y\n", nil)))
	y := Package{"dpkg", "y", "1-2", "all"}
	for _, test := range []struct {
		path string
		want Verdict
	}{
		{"/usr/bin/z", Verdict{}},
		{"/usr/bin/y.dpkg-new", Verdict{Temporary: true, Package: y}},
		{"/usr/bin/z.dpkg-tmp", Verdict{Temporary: true}},
		{"/etc/z.conf.rpmsave", Verdict{Temporary: true}},
		{"/usr/bin/y;5f3e2a10", Verdict{Temporary: true, Package: y}},
		{"/usr/bin/y;5f3e2a1x", Verdict{}},
		{"/usr/bin/.apk.0123456789abcdef01234567", Verdict{Temporary: true}},
		{"/usr/bin/.apk.sh", Verdict{}},
		{"/var/lib/dpkg/status-new", Verdict{Database: true}},
		{"/var/lib/dpkg/info/y.list", Verdict{Database: true}},
		{"/var/log/dpkg.log.1", Verdict{Database: true}},
		{"/var/lib/dpkg-evil", Verdict{}},
		{"/var/lib/rpm/rpmdb.sqlite-wal", Verdict{Database: true}},
	} {
		if got := p.Check(test.path, &Record{}, nil); got != test.want {
			t.Errorf("Check(%q) = %+v, want %+v", test.path, got, test.want)
		}
	}
}

func TestIsPackageManager(t *testing.T) {
	for path, want := range map[string]bool{
		"/usr/bin/dpkg":                         true,
		"/bin/apt-get":                          true,
		"/usr/bin/apt":                          true,
		"/usr/bin/unattended-upgrade":           true,
		"/usr/bin/rpm":                          true,
		"/usr/bin/dnf5":                         true,
		"/usr/bin/yum":                          true,
		"/usr/bin/microdnf":                     true,
		"/usr/bin/zypper":                       true,
		"/sbin/apk":                             true,
		"/usr/lib/snapd/snapd":                  true,
		"/snap/snapd/20671/usr/lib/snapd/snapd": true,
		"/snap/evil/1/usr/lib/snapd/snapd":      false,
		"/snap/snapd/20671/tmp/snapd":           false,
		"/usr/bin/pip":                          false,
		"/usr/bin/python3":                      false,
		"/tmp/dpkg":                             false,
		"/usr/local/bin/apt":                    false,
		"/usr/bin/../../tmp/dpkg":               false,
		"dpkg":                                  false,
		"":                                      false,
		"/usr/bin/":                             false,
		"/home/x/snap/snapd/1/usr/lib/snapd/snapd": false,
	} {
		if got := IsPackageManager(path); got != want {
			t.Errorf("IsPackageManager(%q) = %v, want %v", path, got, want)
		}
	}
}

// manyPackages makes a Debian system of 2,000 packages with 150 files each, and the directories above them.
func manyPackages(t testing.TB) string {
	files := map[string]string{}
	var status, list, sums bytes.Buffer
	for pkg := range 2000 {
		name := fmt.Sprintf("library-of-something-%d", pkg)
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n", name)
		fmt.Fprintf(&status, "Version: 1:%d.2-3+deb12u1\nConffiles:\n /etc/%s.conf %s\nDescription: something\n of some length\n\n", pkg, name, md5Hex(name))
		list.Reset()
		sums.Reset()
		fmt.Fprintf(&list, "/.\n/usr\n/usr/share\n/usr/share/%s\n/etc/%s.conf\n", name, name)
		for file := range 150 {
			fmt.Fprintf(&list, "/usr/share/%s/some/directory/file-number-%d\n", name, file)
			fmt.Fprintf(&sums, "%s  usr/share/%s/some/directory/file-number-%d\n", md5Hex("x"), name, file)
		}
		files["var/lib/dpkg/info/"+name+":amd64.list"] = list.String()
		files["var/lib/dpkg/info/"+name+":amd64.md5sums"] = sums.String()
	}
	files["var/lib/dpkg/status"] = status.String()
	return packageTree(t, files)
}

// What is kept of 2,000 packages and 300,000 files takes less than 8 MiB.
func TestMemoryOfAWholeSystem(t *testing.T) {
	root := manyPackages(t)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // of pools, too
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	p := openPackages(t, root)
	kept := heap() - before
	db := p.Databases()[0]
	if db.Packages != 2000 || db.Files != 2000*155 || db.Err != nil {
		t.Errorf("read %+v", db)
	}
	if v := p.Check("/usr/share/library-of-something-77/some/directory/file-number-7", &Record{},
		func(crypto.Hash) ([]byte, error) { sum := md5.Sum([]byte("x")); return sum[:], nil }); v.Content != Same {
		t.Errorf("Check = %+v", v)
	}
	t.Logf("%d packages, %d paths: %.1f MiB kept", db.Packages, db.Files, float64(kept)/(1<<20))
	if kept > 8<<20 {
		t.Errorf("%d bytes are kept, want at most 8 MiB", kept)
	}
	runtime.KeepAlive(p)
}

func TestWhatIsTooLargeIsRefusedWithACount(t *testing.T) {
	p := openPackages(t, t.TempDir())
	db := &packageDatabase{path: "/var/lib/dpkg", manager: &packageManagers[0], packages: make([]packageEntry, maxPackages), files: make([]packageFile, maxPackagePaths)}
	l := packageLoader{seed: p.seed, db: db, strings: map[string]string{}}
	if err := l.add([]byte("/x"), 0, 0); err == nil || err.Error() != "/var/lib/dpkg: more than 2000000 paths in 65536 packages; more are not kept" {
		t.Errorf("add = %v", err)
	}
	if _, err := l.addPackage(packageEntry{}); err == nil || !strings.Contains(err.Error(), "more than 65536 packages") {
		t.Errorf("addPackage = %v", err)
	}
	long := dpkgRoot("/usr/bin/y\n/"+strings.Repeat("x", maxPackageLine)+"\n", nil)
	got := openPackages(t, packageTree(t, long)).Databases()[0]
	if got.Files != 1 || got.Err == nil || !strings.Contains(got.Err.Error(), "/var/lib/dpkg/info/y.list:2: line is longer than 65536 bytes") {
		t.Errorf("a line without end: %+v", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	root := packageTree(t, dpkgRoot("/usr/bin/y\n", map[string]string{"/usr/bin/y": "one"}))
	p := openPackages(t, root)
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 200 {
				p.Owner("/usr/bin/y")
				p.Check("/usr/bin/y", &Record{}, func(crypto.Hash) ([]byte, error) { return nil, nil })
				p.Transaction(time.Now())
			}
		}()
	}
	for i := range 20 {
		putPackaged(t, filepath.Join(root, "var/lib/dpkg/status-new"), dpkgRoot("", nil)["var/lib/dpkg/status"]+strings.Repeat("\n", i), false)
		os.Rename(filepath.Join(root, "var/lib/dpkg/status-new"), filepath.Join(root, "var/lib/dpkg/status"))
		p.Refresh()
	}
	for range 4 {
		<-done
	}
	if _, ok := p.Owner("/usr/bin/y"); !ok {
		t.Error("the package got lost")
	}
}

func TestProblemsAreCounted(t *testing.T) {
	l := packageLoader{db: &packageDatabase{}}
	for i := range 20 {
		l.problem(fmt.Errorf("problem %d", i))
	}
	if err := l.db.err().Error(); !strings.HasSuffix(err, "problem 7\nand 12 more") || strings.Count(err, "\n") != 8 {
		t.Errorf("err() = %s", err)
	}
}

func TestDetailsAreKeptWithinABound(t *testing.T) {
	var c packageDetailsCache
	entries := make([]packageEntry, 10)
	for i := range entries {
		c.put(&entries[i], &rpmContents{bytes: maxDetails / 4})
	}
	if len(c.known) != 4 || c.bytes != maxDetails || c.get(&entries[0]) != nil || c.get(&entries[6]) == nil {
		t.Errorf("%d are kept, of %d bytes", len(c.known), c.bytes)
	}
	if kept := []*packageEntry{c.known[0].entry, c.known[3].entry}; !slices.Equal(kept, []*packageEntry{&entries[7], &entries[6]}) {
		t.Error("what was asked for last is not the last to go")
	}
}

func BenchmarkOpenPackages(b *testing.B) {
	root := manyPackages(b)
	for b.Loop() {
		openPackages(b, root)
	}
}

func BenchmarkOwner(b *testing.B) {
	p := openPackages(b, manyPackages(b))
	b.ReportAllocs()
	for b.Loop() {
		p.Owner("/usr/share/library-of-something-77/some/directory/file-number-7")
	}
}

// Packages for several architectures have files in common, and a package may have replaced another's.
func TestOfSeveralOwnersTheOneCountsWhoseFileItIs(t *testing.T) {
	files := dpkgRoot("/usr/share/doc/y\n/usr/share/doc/y/changelog\n", map[string]string{"/usr/share/doc/y/changelog": "old"})
	files["var/lib/dpkg/status"] = "Package: y\nStatus: install ok installed\nArchitecture: all\nVersion: 1-2\n\n" +
		"Package: z\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 3\n"
	files["var/lib/dpkg/info/z:amd64.list"] = files["var/lib/dpkg/info/y.list"]
	files["var/lib/dpkg/info/z:amd64.md5sums"] = md5Hex("new") + "  usr/share/doc/y/changelog\n"
	p := openPackages(t, packageTree(t, files))
	y, z := Package{"dpkg", "y", "1-2", "all"}, Package{"dpkg", "z", "3", "amd64"}
	for content, want := range map[string]Verdict{
		"old":  {Owned: true, Package: y, Content: Same},
		"new":  {Owned: true, Package: z, Content: Same},
		"evil": {Owned: true, Package: y, Content: Differs},
	} {
		if got := p.Check("/usr/share/doc/y/changelog", &Record{Mode: 0o644}, sumsOf(content)); got != want {
			t.Errorf("Check of %q = %+v\nwant %+v", content, got, want)
		}
	}
	if got := p.Check("/usr/share/doc/y", &Record{Mode: fs.ModeDir | 0o755}, nil); !got.Owned || got.Content != Unsaid {
		t.Errorf("Check of a directory = %+v", got)
	}
	ranks := []int{}
	for _, e := range []expectation{{superseded: true}, {absent: true}, {}} {
		ranks = append(ranks, e.rank(&Verdict{}), e.rank(&Verdict{Content: Differs}), e.rank(&Verdict{Content: Same}))
	}
	if want := []int{1, 1, 4, 1, 1, 4, 2, 3, 4}; !slices.Equal(ranks, want) {
		t.Errorf("ranks %v, want %v", ranks, want)
	}
}

func TestUnixMode(t *testing.T) {
	for in, want := range map[uint32]fs.FileMode{
		unix.S_IFREG | 0o4755: fs.ModeSetuid | 0o755,
		unix.S_IFDIR | 0o3770: fs.ModeDir | fs.ModeSetgid | fs.ModeSticky | 0o770,
		unix.S_IFLNK | 0o777:  fs.ModeSymlink | 0o777,
		unix.S_IFIFO | 0o600:  fs.ModeNamedPipe | 0o600,
		unix.S_IFSOCK | 0o600: fs.ModeSocket | 0o600,
		unix.S_IFBLK | 0o660:  fs.ModeDevice | 0o660,
		unix.S_IFCHR | 0o660:  fs.ModeDevice | fs.ModeCharDevice | 0o660,
		0o644:                 0o644,
	} {
		if got := unixMode(in); got != want {
			t.Errorf("unixMode(%o) = %v, want %v", in, got, want)
		}
	}
}
