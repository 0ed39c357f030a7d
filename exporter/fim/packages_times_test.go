package fim

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What dpkg 1.21 wrote when apt installed one package and upgraded another, with the times of a slow machine.
const dpkgLogText = `2026-03-01 10:00:00 startup archives unpack
2026-03-01 10:00:00 install new:amd64 <none> 1.0
2026-03-01 10:00:00 status half-installed new:amd64 1.0
2026-03-01 10:02:00 status unpacked new:amd64 1.0
2026-03-01 10:02:01 upgrade old:all 1 2
2026-03-01 10:02:01 status half-configured old:all 1
2026-03-01 10:02:01 status unpacked old:all 1
2026-03-01 10:02:01 status half-installed old:all 1
2026-03-01 10:02:30 status unpacked old:all 2
2026-03-01 10:02:33 startup packages configure
2026-03-01 10:02:33 configure new:amd64 1.0 <none>
2026-03-01 10:02:33 status half-configured new:amd64 1.0
2026-03-01 10:02:40 conffile /etc/new.conf keep
2026-03-01 10:02:41 status installed new:amd64 1.0
2026-03-01 12:00:00 startup packages remove
2026-03-01 12:00:00 status installed old:all 2
2026-03-01 12:00:00 remove old:all 2 <none>
2026-03-01 12:00:01 status half-installed old:all 2
`

func TestDpkgLogTellsTransactions(t *testing.T) {
	files := dpkgRoot("/usr/bin/y\n", nil)
	files["var/log/dpkg.log"] = dpkgLogText
	p := openPackages(t, packageTree(t, files))
	const first = "dpkg from 2026-03-01T10:00:00Z to 2026-03-01T10:02:42Z: new:amd64, old:all"
	const second = "dpkg from 2026-03-01T12:00:00Z to 2026-03-01T12:00:02Z: old:all"
	for _, test := range []struct{ at, pkg, want string }{
		{"09:59:59", "", ""},
		{"10:00:00", "", first},
		{"10:01:00", "", first},
		{"10:02:43", "", first}, // the last second, and a moment
		{"10:02:44", "", ""},
		{"11:00:00", "", ""},
		{"12:00:01", "", second},
		{"10:01:00", "new", first},
		{"10:01:00", "old", ""},
		{"10:02:10", "old", first},
		{"10:02:10", "new", ""},
		{"10:02:39", "new", first},
		{"10:02:39", "old", ""},
		{"12:00:00", "old", second},
		{"12:00:00", "other", ""},
	} {
		at, err := time.Parse(time.DateTime, "2026-03-01 "+test.at)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if test.pkg == "" {
			_, got = p.Transaction(at)
		} else if tr, ok := p.Unpacked(Package{"dpkg", test.pkg, "", map[string]string{"new": "amd64", "old": "all"}[test.pkg]}, at); ok {
			got = tr.String()
		}
		if got != test.want {
			t.Errorf("at %s of %q: %q, want %q", test.at, test.pkg, got, test.want)
		}
	}
}

// A log grows while it is read, and is rotated: what has been read is not read again, and nothing is lost.
func TestDpkgLogIsFollowed(t *testing.T) {
	files := dpkgRoot("/usr/bin/y\n", nil)
	old := strings.ReplaceAll(dpkgLogText, "2026-03-01", "2026-01-01")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(old))
	z.Close()
	files["var/log/dpkg.log.2.gz"] = packed.String()
	files["var/log/dpkg.log.1"] = strings.ReplaceAll(dpkgLogText, "2026-03-01", "2026-02-01")
	files["var/log/dpkg.log"] = dpkgLogText[:100]
	root := packageTree(t, files)
	p := openPackages(t, root)
	log := filepath.Join(root, "var/log/dpkg.log")
	told := func(at, want string) {
		t.Helper()
		when, _ := time.Parse(time.DateTime, at)
		running, what := p.Transaction(when)
		if running != (want != "") || !strings.Contains(what, want) {
			t.Errorf("at %s: %v %q, want %q", at, running, what, want)
		}
	}
	told("2026-03-01 10:00:00", "new:amd64")
	told("2026-03-01 12:00:00", "")
	if len(p.logs["var/log/dpkg.log"].runs) != 1 {
		t.Error("what was rotated away has been read without need")
	}
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString(dpkgLogText[100:])
	told("2026-03-01 12:00:00", "old:all")
	told("2026-02-01 10:01:00", "new:amd64")
	told("2026-01-01 10:01:00", "new:amd64")
	told("2025-12-01 10:01:00", "")
	if got := len(p.logs["var/log/dpkg.log"].runs); got != 6 {
		t.Errorf("%d runs are known, want 6", got)
	}
	putPackaged(t, log+".3.gz", "not packed", false)
	os.Remove(log + ".2.gz")
	os.Rename(log+".1", log+".2")
	os.Rename(log, log+".1")
	putPackaged(t, log, strings.ReplaceAll(dpkgLogText, "2026-03-01", "2026-04-01"), false)
	told("2026-04-01 12:00:00", "old:all")
	told("2026-03-01 12:00:00", "old:all")
	if err := p.Databases()[0].Err; err == nil || err.Error() != "/var/log/dpkg.log.3.gz: gzip: invalid header" {
		t.Errorf("Databases()[0].Err = %v, want that of the log that is not packed", err)
	}
}

func TestDpkgWritesItsLogInLocalTime(t *testing.T) {
	zone, err := os.ReadFile("/usr/share/zoneinfo/Asia/Tokyo")
	if err != nil {
		t.Skip("needs tzdata")
	}
	files := dpkgRoot("/usr/bin/y\n", nil)
	files["var/log/dpkg.log"] = dpkgLogText
	files["etc/localtime"] = "-> /usr/share/zoneinfo/Asia/Tokyo"
	files["usr/share/zoneinfo/Asia/Tokyo"] = string(zone)
	p := openPackages(t, packageTree(t, files))
	if running, what := p.Transaction(time.Date(2026, 3, 1, 1, 1, 0, 0, time.UTC)); !running {
		t.Errorf("Transaction at 10:01 in Tokyo = %v, %q", running, what)
	}
}

func TestWithoutALogDpkgsListsTell(t *testing.T) {
	root := packageTree(t, dpkgRoot("/usr/bin/y\n", nil))
	unpacked := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "var/lib/dpkg/info/y.list"), unpacked, unpacked); err != nil {
		t.Fatal(err)
	}
	p := openPackages(t, root)
	for after, want := range map[time.Duration]bool{-2 * time.Minute: false, -time.Second: true, 0: true, 3 * time.Second: false} {
		if tr, ok := p.Unpacked(Package{"dpkg", "y", "1-2", "all"}, unpacked.Add(after)); ok != want {
			t.Errorf("Unpacked %v after the list = %v, %v, want %v", after, tr, ok, want)
		}
	}
}

// apk-tools 3 writes these lines, in UTC.
const apkLogText = "Running `apk add jq` at 2026-03-01 10:00:00\napk-tools 3.0.8-r0, compiled for x86_64.\n" +
	"(1/2) Installing oniguruma (6.9.10-r0)\n(2/2) Installing jq (1.8.1-r0)\n  Executing busybox-1.37.0-r30.trigger\nOK: 129.7 MiB in 208 packages\n\n" +
	"Running `apk upgrade` at 2026-03-01 11:00:00\n(1/1) Upgrading jq (1.8.1-r0 -> 1.8.2-r0)\n" +
	"Running `apk fix ` at 2020-01-01 00:00:00` at 2026-03-01 11:00:05\n(1/1) Executing hook\nOK: 1 MiB in 2 packages\n"

func TestAPKLogTellsTransactions(t *testing.T) {
	root := packageTree(t, map[string]string{"lib/apk/db/installed": apkInstalledText, "var/log/apk.log": apkLogText})
	end := time.Date(2026, 3, 1, 11, 0, 20, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "var/log/apk.log"), end, end); err != nil {
		t.Fatal(err)
	}
	p := openPackages(t, root)
	for _, test := range []struct{ at, pkg, want string }{
		{"09:59:59", "", ""},
		{"10:00:30", "", "apk from 2026-03-01T10:00:00Z to 2026-03-01T10:10:01Z: oniguruma, jq"}, // its end is not told
		{"10:11:00", "", ""},
		{"11:00:01", "", "apk from 2026-03-01T11:00:00Z to 2026-03-01T11:00:06Z: jq"},
		{"11:00:20", "", "apk from 2026-03-01T11:00:05Z to 2026-03-01T11:00:21Z"},
		{"11:00:23", "", ""},
		{"11:00:01", "jq", "apk from 2026-03-01T11:00:00Z to 2026-03-01T11:00:06Z: jq"},
		{"11:00:01", "oniguruma", ""},
	} {
		at, _ := time.Parse(time.DateTime, "2026-03-01 "+test.at)
		got := ""
		if test.pkg == "" {
			_, got = p.Transaction(at)
		} else if tr, ok := p.Unpacked(Package{"apk", test.pkg, "", ""}, at); ok {
			got = tr.String()
		}
		if got != test.want {
			t.Errorf("at %s of %q: %q, want %q", test.at, test.pkg, got, test.want)
		}
	}
}

// apk takes its lock with flock(2), and this process does so here.
func TestAPKsLockIsSeen(t *testing.T) {
	root := packageTree(t, map[string]string{"lib/apk/db/installed": apkInstalledText, "lib/apk/db/lock": ""})
	p := openPackages(t, root)
	if running, what := p.Transaction(time.Now()); running {
		t.Errorf("Transaction without a lock = %q", what)
	}
	f, err := os.OpenFile(filepath.Join(root, "lib/apk/db/lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if pid, held := p.lockHolder("lib/apk/db/lock"); !held || pid != os.Getpid() {
		t.Errorf("lockHolder = %d, %v, want %d", pid, held, os.Getpid())
	}
	if running, what := p.Transaction(time.Now()); !running || !strings.HasPrefix(what, "apk since ") {
		t.Errorf("Transaction with the lock held = %v, %q", running, what)
	}
	f.Close()
	if running, what := p.Transaction(time.Now()); running {
		t.Errorf("Transaction after the lock was let go = %q", what)
	}
}

func TestParseLocks(t *testing.T) {
	p := openPackages(t, t.TempDir())
	p.procfs = t.TempDir()
	st := &unix.Stat_t{Dev: unix.Mkdev(0xfd, 1), Ino: 77}
	for line, want := range map[string]bool{
		"1: FLOCK  ADVISORY  WRITE 42 fd:01:77 0 EOF":    true,
		"1: FLOCK  ADVISORY  READ 42 fd:01:77 0 EOF":     false,
		"1: POSIX  ADVISORY  WRITE 42 fd:01:77 0 EOF":    false,
		"1: FLOCK  ADVISORY  WRITE 42 fd:01:78 0 EOF":    false,
		"1: FLOCK  ADVISORY  WRITE 42 00:2f:77 0 EOF":    false, // of no manager
		"1: FLOCK  ADVISORY  WRITE 43 00:2f:77 0 EOF":    true,  // of apk, through an overlay
		"1: -> FLOCK  ADVISORY  WRITE 42 fd:01:77 0 EOF": false, // waits
		"1: FLOCK  ADVISORY  WRITE 42 fd:01 0 EOF":       false,
		"1: FLOCK": false,
	} {
		os.MkdirAll(filepath.Join(p.procfs, "42"), 0o755)
		os.MkdirAll(filepath.Join(p.procfs, "43"), 0o755)
		os.Symlink("/bin/busybox", filepath.Join(p.procfs, "42/exe"))
		os.Symlink("/sbin/apk (deleted)", filepath.Join(p.procfs, "43/exe"))
		if _, got := p.parseLocks(strings.NewReader(line+"\n"), st); got != want {
			t.Errorf("parseLocks(%q) = %v, want %v", line, got, want)
		}
	}
}

// Of a log without end the newest transactions are kept.
func TestLogsAreKeptWithinABound(t *testing.T) {
	log := transactionLog{format: packageLogs["dpkg"], zone: time.UTC, open: map[string]int{}}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxSpans {
		at := begin.Add(time.Duration(i) * time.Minute).Format(time.DateTime)
		log.dpkgLine([]byte(at + " startup archives unpack"))
		log.dpkgLine(fmt.Appendf(nil, "%s install package-%d:all <none> 1", at, i))
		log.dpkgLine(fmt.Appendf(nil, "%s status half-installed package-%d:all 1", at, i))
		log.dpkgLine(fmt.Appendf(nil, "%s status unpacked package-%d:all 1", at, i))
	}
	if len(log.spans) > maxSpans || len(log.runs) > maxSpans || len(log.open) > 1 {
		t.Errorf("%d spans, %d runs, %d open", len(log.spans), len(log.runs), len(log.open))
	}
	last := 3*maxSpans - 1
	for _, i := range []int{last, last - 1000, last - maxSpans/2 + 2} {
		name := fmt.Sprintf("package-%d", i)
		at := begin.Add(time.Duration(i) * time.Minute).UnixNano()
		r := log.find(at, &Package{Manager: "dpkg", Name: name, Arch: "all"})
		if r == nil || log.describe("dpkg", r).String() != fmt.Sprintf("dpkg from %s to %s: %s:all", time.Unix(0, at).UTC().Format(time.RFC3339),
			time.Unix(0, at).UTC().Add(time.Second).Format(time.RFC3339), name) {
			t.Errorf("%s is not found at its time: %+v", name, r)
		}
	}
}

func FuzzLogs(f *testing.F) {
	f.Add(dpkgLogText, true)
	f.Add(apkLogText, false)
	f.Add("2026-03-01 10:00:00 status half-installed x\n2020-03-01 10:00:00 status installed x\n", true)
	f.Fuzz(func(t *testing.T, text string, dpkg bool) {
		name := "apk"
		if dpkg {
			name = "dpkg"
		}
		log := transactionLog{format: packageLogs[name], zone: time.UTC, open: map[string]int{}}
		if read := log.lines(strings.NewReader(text)); read > int64(len(text)) {
			t.Errorf("%d bytes of %d were read", read, len(text))
		}
		log.end(1 << 40)
		for i := range log.runs {
			r := &log.runs[i]
			if r.to < r.from || r.first > r.last || r.last > len(log.spans) {
				t.Errorf("run %+v of %d spans", r, len(log.spans))
			}
			log.describe(name, r)
			log.find(r.from*1e9, nil)
		}
	})
}

func FuzzLocks(f *testing.F) {
	f.Add("1: FLOCK  ADVISORY  WRITE 42 fd:01:77 0 EOF\n")
	p := openPackages(f, f.TempDir())
	f.Fuzz(func(t *testing.T, text string) {
		p.parseLocks(strings.NewReader(text), &unix.Stat_t{Ino: 77})
	})
}
