package fim

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rpmTestdata is a file of testdata/packages, which the real rpm has made: make-rpmdb.sh tells how.
func rpmTestdata(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata/packages", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// rpmAccounts are those of the root in which the databases of testdata were made.
var rpmAccounts = map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/group": "root:x:0:\nmail:x:8:\n"}

func rpmRoot(t testing.TB, files map[string]string) string {
	all := map[string]string{}
	for _, some := range []map[string]string{rpmAccounts, files} {
		for name, content := range some {
			all[name] = content
		}
	}
	return packageTree(t, all)
}

// sumsOf gives the sums of a content that is not in a file.
func sumsOf(content string) func(crypto.Hash) ([]byte, error) {
	return func(h crypto.Hash) ([]byte, error) {
		switch h {
		case crypto.MD5:
			sum := md5.Sum([]byte(content))
			return sum[:], nil
		case crypto.SHA256:
			sum := sha256.Sum256([]byte(content))
			return sum[:], nil
		}
		return nil, fmt.Errorf("no %v here", h)
	}
}

// All three formats have the same 26 packages: those of y.spec but for y-part24, which was removed again, and y-old.
func TestRPMDatabasesOfEachFormat(t *testing.T) {
	for _, format := range []string{"var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db", "var/lib/rpm/Packages"} {
		t.Run(filepath.Base(format), func(t *testing.T) {
			p := openPackages(t, rpmRoot(t, map[string]string{format: rpmTestdata(t, filepath.Base(format))}))
			all := p.Databases()
			if len(all) != 1 || all[0].Manager != "rpm" || all[0].Path != "/"+format || all[0].Packages != 26 || all[0].Files != 7+400+23+1 || all[0].Err != nil {
				t.Fatalf("Databases() = %+v", all)
			}
			checkY(t, p)
			for i := 1; i <= 400; i++ {
				v := p.Check(fmt.Sprintf("/usr/share/doc/y/many-file-number-%d", i), &Record{Mode: 0o644}, sumsOf(fmt.Sprintf("%d\n", i)))
				if want := (Verdict{Owned: true, Package: Package{"rpm", "y-many", "2:1.5-3", "noarch"}, Content: Same, Mode: Same, Owner: Same}); v != want {
					t.Fatalf("Check of file %d = %+v, want %+v", i, v, want)
				}
			}
			for i := 1; i <= 24; i++ {
				owner, ok := p.Owner(fmt.Sprintf("/usr/lib/y/part%d", i))
				if ok != (i < 24) || ok && owner.Name != fmt.Sprintf("y-part%d", i) {
					t.Errorf("Owner of part %d = %v, %v", i, owner, ok)
				}
			}
		})
	}
}

func checkY(t *testing.T, p *Packages) {
	t.Helper()
	y := Package{"rpm", "y-tool", "2:1.5-3", "noarch"}
	owned := func(v Verdict) Verdict {
		if v.Package == (Package{}) {
			v.Package = y
		}
		v.Owned = true
		return v
	}
	regular := func(mode fs.FileMode) *Record { return &Record{Mode: mode} }
	for _, test := range []struct {
		path    string
		r       *Record
		content string
		want    Verdict
		reason  bool
	}{
		{"/usr/bin/y", regular(fs.ModeSetuid | 0o755), "one\n", Verdict{Content: Same, Mode: Same, Owner: Same}, false},
		{"/usr/bin/y", regular(0o755), "two\n", Verdict{Content: Differs, Mode: Differs, Owner: Same}, false},
		{"/usr/bin/y", &Record{Mode: fs.ModeSetuid | 0o755, UID: 1}, "one\n", Verdict{Content: Same, Mode: Same, Owner: Differs}, false},
		{"/usr/bin/y", &Record{Mode: fs.ModeSymlink | 0o777, Target: "/tmp/x"}, "", Verdict{Content: Differs, Mode: Differs, Owner: Same}, false},
		{"/usr/bin/y", nil, "", Verdict{Missing: true}, false},
		{"/usr/bin/y2", &Record{Mode: fs.ModeSymlink | 0o777, Target: "y"}, "", Verdict{Content: Same, Owner: Same}, false},
		{"/usr/bin/y2", &Record{Mode: fs.ModeSymlink | 0o777, Target: "z"}, "", Verdict{Content: Differs, Owner: Same}, false},
		{"/usr/bin/y2", regular(0o755), "", Verdict{Content: Differs, Mode: Differs, Owner: Same}, false},
		{"/etc/y.conf", &Record{Mode: 0o640, GID: 8}, "conf\n", Verdict{Content: Same, Mode: Same, Owner: Same, Config: true}, false},
		{"/etc/y.conf", &Record{Mode: 0o640}, "ours\n", Verdict{Content: Differs, Mode: Same, Owner: Differs, Config: true}, false},
		{"/usr/share/doc/y/README", regular(0o644), "anything", Verdict{Mode: Same, Owner: Same}, true},
		{"/var/lib/y", regular(fs.ModeDir | 0o750), "", Verdict{Mode: Same, Owner: Same}, false},
		{"/var/lib/y", regular(fs.ModeDir | 0o777), "", Verdict{Mode: Differs, Owner: Same}, false},
		{"/var/lib/y/state", regular(0o600), "anything", Verdict{Ghost: true}, true},
		{"/var/lib/y/state", nil, "", Verdict{Ghost: true}, true},
		{"/usr/lib/y/old", regular(0o644), "old\n", Verdict{Package: Package{"rpm", "y-old", "1-1", "noarch"}, Content: Same, Mode: Same, Owner: Same}, false},
		{"/usr/lib/y/old", regular(0o644), "new\n", Verdict{Package: Package{"rpm", "y-old", "1-1", "noarch"}, Content: Differs, Mode: Same, Owner: Same}, false},
	} {
		got := p.Check(test.path, test.r, sumsOf(test.content))
		if (got.Why != "") != test.reason {
			t.Errorf("Check(%q): Why = %q, want a reason: %v", test.path, got.Why, test.reason)
		}
		if got.Why = ""; got != owned(test.want) {
			t.Errorf("Check(%q, %+v, %q) = %+v\nwant %+v", test.path, test.r, test.content, got, owned(test.want))
		}
	}
	if _, ok := p.Owner("/usr/bin/none"); ok {
		t.Error("a path of no package has an owner")
	}
}

// The log has y-part23's removal, the database has not.
func TestRPMWriteAheadLogIsRead(t *testing.T) {
	log := rpmTestdata(t, "rpmdb.sqlite-wal")
	broken := []byte(log)
	broken[len(broken)-1] ^= 1
	for name, test := range map[string]struct {
		log  string
		want bool
	}{
		"none":                              {"", true},
		"whole":                             {log, false},
		"a frame that was not finished":     {log + log[32:1000], false},
		"a frame of an older log":           {log + strings.Repeat("\x00", len(log)-32), false},
		"cut off":                           {log[:len(log)-1], true},
		"a wrong sum":                       {string(broken), true},
		"a head alone":                      {log[:32], true},
		"no head":                           {log[:31], true},
		"a commit that was not made":        {log[:36] + "\x00\x00\x00\x00" + log[40:], true},
		"what SQLite does not take for one": {"\x00" + log[1:], true},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPackages(t, rpmRoot(t, map[string]string{"var/lib/rpm/rpmdb.sqlite": rpmTestdata(t, "rpmdb.sqlite"), "var/lib/rpm/rpmdb.sqlite-wal": test.log}))
			if _, ok := p.Owner("/usr/lib/y/part23"); ok != test.want {
				t.Errorf("the package that the log removes is there: %v, want %v", ok, test.want)
			}
			checkY(t, p)
		})
	}
}

func TestRPMInstallTimesTellTransactions(t *testing.T) {
	db := &packageDatabase{manager: &packageManagers[1], packages: []packageEntry{
		{Package: Package{Manager: "rpm", Name: "late"}, changed: 5000, run: 4990},
		{Package: Package{Manager: "rpm", Name: "second"}, changed: 1030, run: 1000},
		{Package: Package{Manager: "rpm", Name: "first"}, changed: 1002, run: 1000},
	}}
	p := openPackages(t, t.TempDir())
	p.databases.Store(&[]*packageDatabase{db})
	p.due.Store(1 << 62)
	for _, test := range []struct {
		name string
		at   int64
		want string
	}{
		{"", 999, ""},
		{"", 1000, "rpm from 1970-01-01T00:16:40Z to 1970-01-01T00:18:11Z: first, second"},
		{"first", 1001, ""},
		{"first", 1030, "rpm from 1970-01-01T00:16:40Z to 1970-01-01T00:18:11Z: first, second"},
		{"first", 1033, ""},
		{"second", 1033, "rpm from 1970-01-01T00:16:40Z to 1970-01-01T00:18:11Z: first, second"},
		{"", 3000, ""},
		{"late", 5001, "rpm from 1970-01-01T01:23:10Z to 1970-01-01T01:24:21Z: late"},
		{"second", 5001, ""},
	} {
		at, got := time.Unix(test.at, 0), ""
		if test.name == "" {
			_, got = p.Transaction(at)
		} else if tr, ok := p.Unpacked(Package{Manager: "rpm", Name: test.name}, at); ok {
			got = tr.String()
		}
		if got != test.want {
			t.Errorf("at %d of %q: %q, want %q", test.at, test.name, got, test.want)
		}
	}
}

// The real rpm installs y.spec's packages here, changes are made by hand, and rpm -V says what it thinks of them.
func TestRPMVerdictsAreThoseOfVerify(t *testing.T) {
	needPrograms(t, "rpm", "rpmbuild")
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	root := rpmRoot(t, map[string]string{"var/lib/rpm/": ""})
	build := t.TempDir()
	runProgram(t, "rpmbuild", "--quiet", "-bb", "--define", "_topdir "+build, "--define", "__os_install_post %{nil}", "testdata/packages/y.spec")
	rpm := func(args ...string) string {
		t.Helper()
		told, _ := exec.Command("rpm", append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, args...)...).Output()
		return string(told)
	}
	rpm("--initdb")
	began := time.Now()
	rpm("-i", "--nodeps", build+"/RPMS/noarch/y-tool-1.5-3.noarch.rpm", build+"/RPMS/noarch/y-many-1.5-3.noarch.rpm")
	p := openPackages(t, root)
	if all := p.Databases(); len(all) != 1 || all[0].Packages != 2 || all[0].Err != nil {
		t.Skipf("needs an rpm that writes SQLite: %+v", all)
	}
	if tr, ok := p.Unpacked(Package{"rpm", "y-tool", "2:1.5-3", "noarch"}, time.Now()); !ok || tr.From.Before(began.Truncate(time.Second)) {
		t.Errorf("Unpacked = %+v, %v", tr, ok)
	}
	paths := strings.Fields(rpm("-qal"))
	for _, path := range paths {
		if owner, ok := p.Owner(path); !ok || owner.Name != strings.TrimSpace(rpm("-qf", "--qf", "%{NAME}", path)) {
			t.Errorf("Owner(%q) = %v, %v", path, owner, ok)
		}
		if path == "/usr/share/doc/y/many-file-number-20" {
			break // of 400
		}
	}
	at := func(name string) string { return filepath.Join(root, name) }
	for _, change := range []error{
		os.WriteFile(at("/bin/y0"), []byte("evil"), 0o644),
		os.Chmod(at("/usr/bin/y"), 0o755),
		os.Remove(at("/usr/bin/y2")),
		os.Symlink("evil", at("/usr/bin/y2")),
		os.Chown(at("/etc/y.conf"), 3, 8),
		os.WriteFile(at("/usr/share/doc/y/README"), []byte("not verified"), 0o644),
		os.Chmod(at("/var/lib/y"), 0o777),
		os.Remove(at("/usr/share/doc/y/many-file-number-7")),
		os.Chown(at("/usr/share/doc/y/many-file-number-8"), 0, 8),
	} {
		if change != nil {
			t.Fatal(change)
		}
	}
	verified := map[string]string{} // S.5..UGT. by path, or "missing"
	for line := range strings.Lines(rpm("-Va")) {
		if i := strings.IndexByte(line, '/'); i > 8 {
			verified[strings.TrimSpace(line[i:])] = strings.TrimSpace(line[:9])
		}
	}
	if len(verified) != 7 { // of 9 changes that of the link takes two, and the README need not be verified
		t.Fatalf("rpm -Va says only %v", verified)
	}
	for _, path := range paths {
		v, says := checkPackaged(t, p, root, path), verified[path]
		if v.Missing != (says == "missing") || (v.Content == Differs) != strings.ContainsAny(says, "5L") ||
			(v.Mode == Differs) != strings.Contains(says, "M") || (v.Owner == Differs) != strings.ContainsAny(says, "UG") {
			t.Errorf("Check(%q) = %+v; rpm -V says %q", path, v, says)
		}
	}
	rpm("-e", "y-tool")
	p.Refresh()
	if v := checkPackaged(t, p, root, "/bin/y0"); !v.Departed || v.Owned {
		t.Errorf("Check of what rpm has removed = %+v", v)
	}
}

// rpmHeaderOf builds a header of entries in the order of their tags.
func rpmHeaderOf(entries ...func(index, data *bytes.Buffer)) []byte {
	var index, data, all bytes.Buffer
	for _, entry := range entries {
		entry(&index, &data)
	}
	binary.Write(&all, binary.BigEndian, []uint32{uint32(len(entries)), uint32(data.Len())})
	all.Write(index.Bytes())
	all.Write(data.Bytes())
	return all.Bytes()
}

func rpmEntryOf(tag, kind, count uint32, value string) func(index, data *bytes.Buffer) {
	return func(index, data *bytes.Buffer) {
		binary.Write(index, binary.BigEndian, []uint32{tag, kind, uint32(data.Len()), count})
		data.WriteString(value)
	}
}

func TestHeadersThatAreWrongAreTold(t *testing.T) {
	for name, test := range map[string]struct {
		header []byte
		want   string
	}{
		"empty":             {nil, "rpm header ends too early"},
		"short":             {rpmHeaderOf(rpmEntryOf(1000, 6, 1, "x\x00"))[:25], "rpm header ends too early"},
		"too many entries":  {[]byte{0, 1, 0, 0, 0, 0, 0, 0}, "rpm header has 65536 entries and 0 bytes, more than"},
		"too large":         {[]byte{0, 0, 0, 0, 255, 255, 255, 255}, "rpm header has 0 entries and 4294967295 bytes"},
		"unknown type":      {rpmHeaderOf(rpmEntryOf(1000, 10, 1, "x")), "rpm header: tag 1000 has type 10 at 0 of 1"},
		"too many values":   {rpmHeaderOf(rpmEntryOf(1008, 4, 2, "1234")), "rpm header: tag 1008 has 2 values, which do not fit at 0 of 4"},
		"missing strings":   {rpmHeaderOf(rpmEntryOf(1117, 8, 2, "x\x00y")), "rpm header: tag 1117 has 1 strings, want 2"},
		"missing directory": {rpmHeaderOf(rpmEntryOf(1117, 8, 1, "x\x00"), rpmEntryOf(1116, 4, 1, "\x00\x00\x00\x01"), rpmEntryOf(1118, 8, 1, "/\x00")), "rpm header: file 0 is in directory 1 of 1"},
		"missing index":     {rpmHeaderOf(rpmEntryOf(1117, 8, 1, "x\x00"), rpmEntryOf(1118, 8, 1, "/\x00")), "rpm header: 1 names of files, in 0 directories"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := parseRPMHeader(test.header)
			if err == nil {
				err = h.eachPath(func(int, []byte) error { return nil })
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

func TestHeadersOfOldHaveWholeNames(t *testing.T) {
	h, err := parseRPMHeader(rpmHeaderOf(rpmEntryOf(1000, 6, 1, "y\x00"), rpmEntryOf(1027, 8, 2, "/usr/bin/y\x00/etc/y\x00")))
	var got []string
	if err == nil {
		err = h.eachPath(func(_ int, name []byte) error { got = append(got, string(name)); return nil })
	}
	if err != nil || strings.Join(got, " ") != "/usr/bin/y /etc/y" {
		t.Errorf("eachPath = %q, %v", got, err)
	}
}

// States of files that rpm has not installed, or which another package has replaced.
func TestRPMStatesOfFiles(t *testing.T) {
	c := rpmContents{states: rpmNumbers{1, []byte{0, 1, 2, 3, 4, 255}}, modes: rpmNumbers{2, bytes.Repeat([]byte{0x81, 0xa4}, 6)}}
	for i, want := range []expectation{{}, {superseded: true}, {absent: true}, {absent: true}, {absent: true}, {absent: true}} {
		got := c.expect(packageFile{file: uint32(i)})
		if got.superseded != want.superseded || got.absent != want.absent || got.mode != 0o644 {
			t.Errorf("state %d: %+v, want %+v", c.states.at(i), got, want)
		}
	}
}

func TestRPMDatabasesThatAreWrongAreTold(t *testing.T) {
	page := func(s string, n int, change func([]byte)) string {
		b := []byte(s)
		change(b[n*4096:])
		return string(b)
	}
	sqlite, ndb, bdb := rpmTestdata(t, "rpmdb.sqlite"), rpmTestdata(t, "Packages.db"), rpmTestdata(t, "Packages")
	for name, test := range map[string]struct{ file, content, want string }{
		"sqlite empty":       {"rpmdb.sqlite", "", "/var/lib/rpm/rpmdb.sqlite: 100 bytes at 0: unexpected EOF"},
		"sqlite other":       {"rpmdb.sqlite", strings.Repeat("x", 4096), "/var/lib/rpm/rpmdb.sqlite: not a database of SQLite 3"},
		"sqlite page size":   {"rpmdb.sqlite", page(sqlite, 0, func(b []byte) { b[16], b[17] = 3, 0 }), "/var/lib/rpm/rpmdb.sqlite: pages of 768 bytes, want a power of two"},
		"sqlite cut off":     {"rpmdb.sqlite", sqlite[:4096*3], "unexpected EOF"},
		"sqlite no table":    {"rpmdb.sqlite", strings.ReplaceAll(sqlite, "Packages", "Pockages"), "/var/lib/rpm/rpmdb.sqlite: it has no table Packages"},
		"sqlite page kind":   {"rpmdb.sqlite", page(sqlite, 0, func(b []byte) { b[100] = 2 }), "page 1 is of type 0x2, want that of a table"},
		"sqlite cells":       {"rpmdb.sqlite", page(sqlite, 0, func(b []byte) { b[103] = 255 }), "cells, too many"},
		"ndb empty":          {"Packages.db", "", "/var/lib/rpm/Packages.db: 32 bytes at 0: unexpected EOF"},
		"ndb other":          {"Packages.db", strings.Repeat("x", 4096), "/var/lib/rpm/Packages.db: not a database of rpm's ndb"},
		"ndb slots":          {"Packages.db", ndb[:12] + "\xff\xff\xff\x7f" + ndb[16:], "/var/lib/rpm/Packages.db: 2147483647 pages of slots in"},
		"ndb slot":           {"Packages.db", ndb[:32] + "Slip" + ndb[36:], `/var/lib/rpm/Packages.db: slot 0 begins with "Slip", want "Slot"`},
		"ndb cut off":        {"Packages.db", ndb[:4096], "bytes at 4096 of 4096"},
		"ndb blob":           {"Packages.db", ndb[:4096] + "Blob" + ndb[4100:], "/var/lib/rpm/Packages.db: no blob at 4096"},
		"bdb empty":          {"Packages", "", "/var/lib/rpm/Packages: 72 bytes at 0: unexpected EOF"},
		"bdb other":          {"Packages", strings.Repeat("x", 4096), "/var/lib/rpm/Packages: not a hash database of Berkeley DB"},
		"bdb encrypted":      {"Packages", page(bdb, 0, func(b []byte) { b[24] = 1 }), "or an encrypted one"},
		"bdb pages":          {"Packages", page(bdb, 0, func(b []byte) { b[34] = 1 }), "pages of 4096 bytes in"},
		"bdb overflow":       {"Packages", page(bdb, 3, func(b []byte) { b[25] = 13 }), "want an overflow page"},
		"bdb overflow empty": {"Packages", page(bdb, 3, func(b []byte) { b[22], b[23] = 0, 0 }), "has 0 bytes and type 7, want an overflow page"},
	} {
		t.Run(name, func(t *testing.T) {
			all := openPackages(t, rpmRoot(t, map[string]string{"var/lib/rpm/" + test.file: test.content})).Databases()
			if len(all) != 1 || all[0].Err == nil || !strings.Contains(all[0].Err.Error(), test.want) {
				t.Errorf("Databases() = %v, want %s", all, test.want)
			}
		})
	}
}

// A chain of pages that runs in a circle ends.
func TestRPMCirclesEnd(t *testing.T) {
	circle := []byte(rpmTestdata(t, "rpmdb.sqlite"))
	for page := 2; page <= len(circle)/4096; page++ { // a tree whose inner page is its own child, wherever it is
		b := circle[(page-1)*4096:]
		if b[0] == 5 {
			binary.BigEndian.PutUint32(b[8:], uint32(page))
		}
	}
	all := openPackages(t, rpmRoot(t, map[string]string{"var/lib/rpm/rpmdb.sqlite": string(circle)})).Databases()
	if len(all) != 1 || all[0].Err == nil || !strings.Contains(all[0].Err.Error(), "they run in a circle") {
		t.Errorf("Databases() = %v, want that it is a circle", all)
	}
}

func TestSQLiteVarints(t *testing.T) {
	for in, want := range map[string]uint64{"\x00": 0, "\x7f": 127, "\x81\x00": 128, "\x82\x80\x01": 32769,
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff": 1<<64 - 1, "\x80\x80\x80\x80\x80\x80\x80\x80\x80": 128} {
		if got, n := sqliteVarint([]byte(in)); got != want || n != len(in) {
			t.Errorf("sqliteVarint(%x) = %d, %d, want %d", in, got, n, want)
		}
	}
	for _, in := range []string{"", "\x80", "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		if _, n := sqliteVarint([]byte(in)); n != 0 {
			t.Errorf("sqliteVarint(%x) takes %d bytes, want that it ends too early", in, n)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(rpmHeaderOf(rpmEntryOf(1000, 6, 1, "y\x00"), rpmEntryOf(1117, 8, 1, "x\x00"), rpmEntryOf(1116, 4, 1, "\x00\x00\x00\x00"), rpmEntryOf(1118, 8, 1, "/\x00"),
		rpmEntryOf(1030, 3, 1, "\x81\xa4"), rpmEntryOf(1035, 8, 1, "ab\x00"), rpmEntryOf(5011, 4, 1, "\x00\x00\x00\x08"), rpmEntryOf(1037, 4, 1, "\x00\x00\x00\x01"),
		rpmEntryOf(1045, 4, 1, "\xff\xff\xff\xff"), rpmEntryOf(1029, 1, 1, "\x00"), rpmEntryOf(1039, 8, 1, "root\x00")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseRPMHeader(b)
		if err != nil {
			return
		}
		h.pkg()
		c, err := h.contents(len(b))
		if err != nil {
			return
		}
		h.eachPath(func(i int, _ []byte) error { c.expect(packageFile{file: uint32(i)}); return nil })
	})
}

// fuzzRPM feeds whole databases, and the first pages of them, which are mutated more. With a hash that differs each time no
// input can be made smaller: run it with -fuzzminimizetime=1x.
func fuzzRPM(f *testing.F, file string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	root := packageTree(f, map[string]string{"var/lib/rpm/": ""})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(root, "var/lib/rpm", file), b, 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := OpenPackages(root)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for _, path := range []string{"/usr/bin/y", "/usr/lib/y/part1"} {
			p.Check(path, &Record{}, sumsOf("x"))
		}
	})
}

func FuzzSQLite(f *testing.F) {
	whole := rpmTestdata(f, "rpmdb.sqlite")
	fuzzRPM(f, "rpmdb.sqlite", whole[:4096*4], whole[:4096*40], whole)
}

func FuzzNDB(f *testing.F) {
	whole := rpmTestdata(f, "Packages.db")
	fuzzRPM(f, "Packages.db", whole[:4096*2], whole)
}

func FuzzBDB(f *testing.F) {
	whole := rpmTestdata(f, "Packages")
	fuzzRPM(f, "Packages", whole[:4096*6], whole)
}

// rpm waits in a script of the package, before it unpacks it: until somebody writes to the FIFO that the script reads.
func TestRPMIsSeenWhileItRuns(t *testing.T) {
	needPrograms(t, "rpm", "rpmbuild")
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	root, build := rpmRoot(t, map[string]string{"var/lib/rpm/": ""}), t.TempDir()
	putPackaged(t, build+"/wait.spec", "Name: wait\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n%description\nx\n"+
		"%pre -p <lua>\nlocal f = io.open('/fifo')\nf:read()\nf:close()\n%install\nmkdir -p %{buildroot}/usr\ntouch %{buildroot}/usr/wait\n%files\n/usr/wait\n", false)
	runProgram(t, "rpmbuild", "--quiet", "-bb", "--define", "_topdir "+build, "--define", "__os_install_post %{nil}", build+"/wait.spec")
	args := func(more ...string) []string {
		return append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, more...)
	}
	runProgram(t, "rpm", args("--initdb")...)
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := openPackages(t, root)
	rpm := exec.Command("rpm", args("-i", "--nodeps", build+"/RPMS/noarch/wait-1-1.noarch.rpm")...)
	var said bytes.Buffer
	rpm.Stdout, rpm.Stderr = &said, &said
	if err := rpm.Start(); err != nil {
		t.Fatal(err)
	}
	waits, err := os.OpenFile(filepath.Join(root, "fifo"), os.O_WRONLY, 0) // once the script has opened it
	if err != nil {
		t.Fatal(err)
	}
	running, what := p.Transaction(time.Now())
	_, before := p.Transaction(time.Now().Add(-time.Hour))
	waits.WriteString("go on\n")
	waits.Close()
	if err := rpm.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if !running || !strings.HasPrefix(what, "rpm since ") || before != "" {
		t.Errorf("Transaction while rpm waits = %v, %q; an hour before %q", running, what, before)
	}
	if _, held := p.lockHolder("var/lib/rpm/.rpm.lock"); held {
		t.Error("the lock is held after rpm has ended")
	}
	p.Refresh()
	if tr, ok := p.Unpacked(Package{"rpm", "wait", "1-1", "noarch"}, time.Now()); !ok || tr.To.IsZero() {
		t.Errorf("Unpacked after rpm has ended = %+v, %v", tr, ok)
	}
}

// A header that is small lies beside its key, and one that was put where another was is not taken for it.
func TestRPMPackagesThatHaveMoved(t *testing.T) {
	for _, name := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
		t.Run(name, func(t *testing.T) {
			root := rpmRoot(t, map[string]string{"var/lib/rpm/" + name: rpmTestdata(t, name)})
			p := openPackages(t, root)
			clock := time.Now()
			p.now = func() time.Time { return clock }
			db := (*p.databases.Load())[0]
			for i := range db.packages {
				db.packages[i].where = db.packages[(i+1)%len(db.packages)].where
			}
			v := p.Check("/usr/bin/y", &Record{Mode: fs.ModeSetuid | 0o755}, sumsOf("one\n"))
			if v.Content != Unsaid || !strings.Contains(v.Why, errPackageMoved.Error()) {
				t.Errorf("Check of a package that is elsewhere = %+v", v)
			}
			for i := range db.packages {
				db.packages[i].where = 1<<62 | 77
			}
			if v := p.Check("/usr/bin/y", &Record{}, nil); v.Content != Unsaid || v.Why == "" {
				t.Errorf("Check of a package that is nowhere = %+v", v)
			}
			later := clock.Add(time.Second)
			os.Chtimes(filepath.Join(root, "var/lib/rpm", name), later, later)
			clock = clock.Add(time.Hour)
			if v := p.Check("/usr/bin/y", &Record{Mode: fs.ModeSetuid | 0o755}, sumsOf("one\n")); v.Content != Same {
				t.Errorf("Check after the database was written = %+v", v)
			}
		})
	}
}

func TestBDBItems(t *testing.T) {
	page := make([]byte, 512)
	page[20] = 4
	for i, offset := range []uint16{507, 500, 600, 400} {
		binary.LittleEndian.PutUint16(page[bdbPageHead+2*i:], offset)
	}
	copy(page[500:], "\x01header\x01\x05\x00\x00\x00")
	f := bdbFile{order: binary.LittleEndian, pageFile: &pageFile{size: 512}}
	if key, value := f.item(page, 0), f.item(page, 1); string(key) != "\x01\x05\x00\x00\x00" || string(value) != "\x01header" {
		t.Errorf("items %q and %q", key, value)
	}
	if value, err := f.value(page, 1); err != nil || string(value) != "header" {
		t.Errorf("value = %q, %v", value, err)
	}
	for i := 2; i < 4; i++ {
		if value, err := f.value(page, i); err == nil {
			t.Errorf("value %d, which does not lie on the page, is %q", i, value)
		}
	}
}
