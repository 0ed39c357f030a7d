package fim

import (
	"crypto"
	"crypto/sha1"
	"io/fs"
	"strings"
	"testing"
)

// A database as apk-tools 2 writes it, of a package with one file of each kind, and one without files. The sums were made with
// printf CONTENT | openssl sha1 -binary | base64: of "one\n" and "conf\n", and of the target "/bin/busybox".
const apkInstalledText = `C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
P:y
V:1.2.3-r4
A:x86_64
S:360
I:516
T:a test
o:y
t:1700000000
p:cmd:y=1.2.3-r4
F:bin
R:sh
a:0:0:777
Z:Q1pcfTfDNEbNKQc2s1tia7da05M8Q=
R:y
a:0:0:4755
Z:Q1xwWbsZQzzDyrqmI2yD1WZoqEPdI=
F:etc
R:y.conf
Z:Q1NA47SSoWDXF2kCrPvksGcXpAcK0=
F:etc/init.d
R:y
a:0:0:755
F:root
M:0:0:700
F:var
F:var/y
M:100:101:1770:Q1oW2nBSqTKBWlgXbl6jnHQ5W+cTM=

C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAE=
P:y-meta
V:0.1-r0
A:x86_64

`

func TestAPKVerdicts(t *testing.T) {
	for _, place := range []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"} {
		p := openPackages(t, packageTree(t, map[string]string{place: apkInstalledText}))
		all := p.Databases()
		if len(all) != 1 || all[0].Manager != "apk" || all[0].Path != "/"+place || all[0].Packages != 2 || all[0].Files != 10 || all[0].Err != nil {
			t.Fatalf("Databases() = %+v", all)
		}
		sums := func(h crypto.Hash) ([]byte, error) {
			sum := h.New()
			sum.Write([]byte("one\n"))
			return sum.Sum(nil), nil
		}
		for _, test := range []struct {
			path string
			r    *Record
			want Verdict
		}{
			{"/bin/y", &Record{Mode: fs.ModeSetuid | 0o755}, Verdict{Content: Same, Mode: Same, Owner: Same}},
			{"/bin/y", &Record{Mode: 0o755, GID: 1}, Verdict{Content: Same, Mode: Differs, Owner: Differs}},
			{"/bin/sh", &Record{Mode: fs.ModeSymlink | 0o777, Target: "/bin/busybox"}, Verdict{Content: Same, Owner: Same}},
			{"/bin/sh", &Record{Mode: fs.ModeSymlink | 0o777, Target: "/tmp/evil"}, Verdict{Content: Differs, Owner: Same}},
			{"/bin/sh", &Record{Mode: 0o777}, Verdict{Content: Differs, Mode: Same, Owner: Same}},
			{"/etc/y.conf", &Record{Mode: 0o644}, Verdict{Content: Differs, Mode: Same, Owner: Same, Config: true}},
			{"/etc/y.conf", nil, Verdict{Config: true, Missing: true}},
			{"/etc/init.d/y", &Record{Mode: 0o755}, Verdict{Mode: Same, Owner: Same, Why: "the database has no sum of it"}},
			{"/root", &Record{Mode: fs.ModeDir | 0o755}, Verdict{Mode: Differs, Owner: Same}},
			{"/etc", &Record{Mode: fs.ModeDir | 0o755}, Verdict{Mode: Same, Owner: Same}},
			{"/var/y", &Record{Mode: fs.ModeDir | fs.ModeSticky | 0o770, UID: 100, GID: 101}, Verdict{Mode: Same, Owner: Same}},
			{"/var/y", &Record{Mode: 0o644}, Verdict{Content: Differs, Mode: Differs, Owner: Differs}},
		} {
			test.want.Owned, test.want.Package = true, Package{"apk", "y", "1.2.3-r4", "x86_64"}
			if got := p.Check(test.path, test.r, sums); got != test.want {
				t.Errorf("Check(%q, %+v) = %+v\nwant %+v", test.path, test.r, got, test.want)
			}
		}
		if v := p.Check("/bin/none", &Record{}, sums); v != (Verdict{}) {
			t.Errorf("Check of no package's = %+v", v)
		}
	}
}

// apk 3 writes the first 160 bits of a SHA-256 where apk 2 has a SHA-1, and says so by the package's flags.
func TestAPK3SumsAreTruncated(t *testing.T) {
	// printf x | sha256sum: 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
	text := "P:y\nV:1\nA:noarch\nf:S\nF:bin\nR:y\nZ:Q1LXEWQrcmsEQBYnyp+6wy9chTD7E=\nR:link\na:0:0:777\nZ:X12d711642b726b04401627ca9fbac32f5c8530fb1\n"
	p := openPackages(t, packageTree(t, map[string]string{"lib/apk/db/installed": text}))
	if got := p.Check("/bin/y", &Record{Mode: 0o644}, sumsOf("x")); got.Content != Same {
		t.Errorf("Check = %+v, want the same content", got)
	}
	if got := p.Check("/bin/link", &Record{Mode: fs.ModeSymlink, Target: "x"}, nil); got.Content != Same {
		t.Errorf("Check of a link = %+v, want the same target", got)
	}
}

func TestWrongLinesOfAPKAreTold(t *testing.T) {
	for text, want := range map[string]string{
		"P:y\nwrong\n":                    `/lib/apk/db/installed:2: want a letter and a colon, got "wrong"`,
		"F:bin\n":                         `/lib/apk/db/installed:1: want P before the first F`,
		"P:y\nF:bin\nZ:Q1\n":              `/lib/apk/db/installed:3: want Z after its file`,
		"P:y\nF:bin\na:0:0:755\n":         `/lib/apk/db/installed:3: want a after its file or directory`,
		"P:y\nF:bin\nM:0:0\n":             `/lib/apk/db/installed:3: want UID:GID:MODE, got "0:0"`,
		"P:y\nF:bin\nM:0:0:9\n":           `/lib/apk/db/installed:3: strconv.ParseUint: parsing "9"`,
		"P:y\nF:bin\nR:x\nZ:Q1AAAA\n":     `/lib/apk/db/installed:4: want a sum of 20 bytes, got "Q1AAAA"`,
		"P:y\nF:bin\nR:x\nZ:X1zz\n":       `/lib/apk/db/installed:4: want a sum of 20 bytes, got "X1zz"`,
		"P:y\n\nP:z\nF:bin\nR:x\nM:0:0:7": `/lib/apk/db/installed:6: want M after its file or directory`,
	} {
		all := openPackages(t, packageTree(t, map[string]string{"lib/apk/db/installed": text})).Databases()
		if len(all) != 1 || all[0].Err == nil || !strings.HasPrefix(all[0].Err.Error(), want) {
			t.Errorf("of %q: %v, want %s", text, all, want)
		}
	}
}

func TestAPKPackageThatHasMoved(t *testing.T) {
	root := packageTree(t, map[string]string{"lib/apk/db/installed": apkInstalledText})
	p := openPackages(t, root)
	putPackaged(t, root+"/lib/apk/db/installed", "P:other\nV:1\n\n"+apkInstalledText, false)
	if v := p.Check("/bin/y", &Record{Mode: fs.ModeSetuid | 0o755}, func(h crypto.Hash) ([]byte, error) {
		sum := sha1.Sum([]byte("one\n"))
		return sum[:], nil
	}); v.Content == Unsaid && !v.Changing {
		t.Errorf("Check = %+v, want the new place found, or that it is changing", v)
	}
}

func FuzzAPK(f *testing.F) {
	f.Add(apkInstalledText)
	f.Add("P:y\nF:\nR:x\nZ:Q1\n\n\nP:\nF:x\nM:0:0:0\n")
	f.Fuzz(func(t *testing.T, text string) {
		var p apkParser
		for line := range strings.SplitSeq(text, "\n") {
			if line == "" {
				p = apkParser{}
				continue
			}
			if _, err := p.line([]byte(line)); err != nil {
				break
			}
		}
		root := packageTree(t, map[string]string{"lib/apk/db/installed": strings.TrimPrefix(text, "-> ")})
		db := openPackages(t, root)
		for _, path := range []string{"/bin/y", "/x", "/"} {
			db.Check(path, &Record{}, func(crypto.Hash) ([]byte, error) { return nil, nil })
		}
	})
}
