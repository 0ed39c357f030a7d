//go:build soak

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSoakFIMLosesNothing kills the program at bad times. What the series cannot tell over a restart, its log does.
func TestSoakFIMLosesNothing(t *testing.T) {
	t.Run("killed while the baseline is built", testKilledWhileBuilding)
	t.Run("changed while it was down", testChangedWhileDown)
	t.Run("killed right after a change", testKilledAfterChange)
	t.Run("killed while a package manager is at work", testKilledWhileHeld)
	t.Run("a flood", testFlood)
}

// oldFiles are directories of this system with some thousands of files that nobody has changed for long: what has changed in
// the last minute is read again in any case.
func oldFiles(t *testing.T) (dirs []string, files int) {
	t.Helper()
	for _, dir := range []string{"/usr/include", "/usr/share/man", "/usr/share/doc", "/usr/share/locale", "/usr/lib/python3"} {
		if files > 8000 {
			break
		}
		_ = filepath.WalkDir(dir, func(_ string, _ os.DirEntry, err error) error {
			if err == nil {
				files++
			}
			return nil
		})
		dirs = append(dirs, dir)
	}
	if files < 4000 {
		t.Skipf("needs some thousands of files: %q have %d", dirs, files)
	}
	return dirs, files
}

func testKilledWhileBuilding(t *testing.T) {
	dirs, files := oldFiles(t)
	s := newFIMSite(t, fimConfig+fmt.Sprintf("    - {name: old, paths: [%s]}\n  scan: {rate_files: %d}\n", strings.Join(dirs, ", "), files/4))
	s.shell(t, "for i in $(seq 100); do echo $i >$W/$i; done")
	s.begin(t)
	eventually(t, "a part of the baseline is in the store", func() bool {
		info, err := os.Stat(s.store)
		return err == nil && info.Size() > 512<<10
	})
	if s.looks() {
		t.Fatal("the baseline is complete already: want it to be built more slowly")
	}
	s.end(t, syscall.SIGKILL)
	s.shell(t, "echo new >$W/new; rm $W/3")
	s.start(t)
	found := regexp.MustCompile(`msg="files were looked at" .*files=(\d+) read=(\d+) .*baseline=built`).FindStringSubmatch(s.log.String())
	if found == nil {
		t.Fatal("the log does not say that the baseline was built")
	}
	all, err1 := strconv.Atoi(found[1])
	read, err2 := strconv.Atoi(found[2])
	if err := errors.Join(err1, err2); err != nil || all < files || read > files-1000 {
		t.Errorf("of %d files %d were read after the kill, %v, want those only that the store did not have, of %d", all, read, err, files)
	}
	t.Logf("of %d files %d were read after the kill", all, read)
	if n := s.scrape(t, "/metrics").sum("yagura_fim_files", "watch", "old"); n < float64(files) {
		t.Errorf("%v files, want %d", n, files)
	}
	s.shell(t, "echo more >>$W/1; rm $W/2; echo newer >$W/newer")
	s.settle(t)
	// Of what was changed while it was down some was in the store, and some was not.
	told := slices.DeleteFunc(s.changes(t, ""), func(c fimChange) bool { return c.Path == s.watched+"/3" || c.Path == s.watched+"/new" })
	s.exactly(t, told, "1 content", "2 deleted", "newer created")
}

func testChangedWhileDown(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	s.shell(t, `cd $W; mkdir dir gone; for f in content mode owner gone/1 gone/2 old same dir/a; do echo $f >$f; done; ln -s a link`)
	s.start(t)
	s.end(t, syscall.SIGKILL)
	s.shell(t, `cd $W; echo more >>content; chmod 600 mode; chown nobody owner; rm -r gone; mv old new; touch same; echo x >made; mkdir dir/sub; echo x >dir/sub/x; ln -sf b link
		cp -p content $O/content; echo other >content; echo more >>$O/content; cat $O/content >content`) // what counts is how it ends
	want := []string{"content content", "mode mode", "owner owner", "gone deleted", "gone/1 deleted", "gone/2 deleted", "new renamed old", "made created", "dir/sub created", "dir/sub/x created", "link content"}
	s.start(t)
	s.settle(t)
	all := s.changes(t, "")
	s.exactly(t, all, want...)
	for i := range all {
		if c := &all[i]; c.Actor != "unknown" || c.Process != nil || c.Expected || c.Confidence != "none" {
			t.Errorf("somebody is blamed for what nobody has seen: %v", c)
		}
	}
	eventually(t, "all that has changed counts as drifted", func() bool {
		return s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "files") == float64(len(want)+1) // both names of one
	})
	for _, with := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		s.restart(t, with)
		s.settle(t)
		s.exactly(t, s.changes(t, ""))
	}
	eventually(t, "it counts after a restart, too", func() bool {
		return s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "files") == float64(len(want)+1)
	})
}

func testKilledAfterChange(t *testing.T) {
	const kills = 10
	s := newFIMSite(t, fimConfig)
	for i := range kills {
		write(t, fmt.Sprintf("%s/%d", s.watched, i), "as it was\n")
	}
	s.start(t)
	var logs strings.Builder
	for i := range kills {
		write(t, fmt.Sprintf("%s/%d", s.watched, i), "changed\n")
		time.Sleep(time.Duration(i) * 40 * time.Millisecond) // the later it is killed, the more it has done
		s.end(t, syscall.SIGKILL)
		logs.WriteString(s.log.String())
		s.start(t)
	}
	s.settle(t)
	logs.WriteString(s.log.String())
	for i := range kills {
		if n := strings.Count(logs.String(), fmt.Sprintf(` path=%s/%d kinds=content `, s.watched, i)); n != 1 {
			t.Errorf("the change before kill %d was told %d times, want once", i, n)
		}
	}
}

// testKilledWhileHeld kills the program while it waits for what a package manager will have to say.
func testKilledWhileHeld(t *testing.T) {
	needsProgram(t, "dpkg", "dpkg-deb")
	s := newFIMSite(t, fimConfig+"    - {name: package, paths: ["+fimPackageRoot+"]}\n")
	t.Cleanup(func() {
		_, _ = tryPackaged(t, "dpkg", "--purge", fimPackageName)
		os.RemoveAll(fimPackageRoot)
	})
	s.start(t)
	d := fimPackage("1")
	d.files["DEBIAN/postinst"] += fmt.Sprintf("cp /bin/true %s/bin/backdoor\n", fimPackageRoot)
	goOn := installSlowly(t, d, s.dir+"/go")
	eventually(t, "changes wait for dpkg", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_held_changes") > 50 })
	before := s.log.String()
	s.end(t, syscall.SIGKILL)
	goOn()
	s.start(t)
	s.settle(t)
	all := s.changes(t, "watch=package")
	if n := strings.Count(before+s.log.String(), "path="+fimPackageRoot+"/bin/backdoor "); n != 1 {
		t.Errorf("the program that no package brings was told %d times, want once", n)
	}
	if len(all) < 50 {
		t.Errorf("%d changes were told after the kill, want those that were held then%s", len(all), list(all))
	}
}

// testFlood does more at once than there is room for in any queue.
func testFlood(t *testing.T) {
	const dirs, each, want = 20, 1000, 20 * (1000 + 1)
	s := newFIMSite(t, fimConfig)
	s.start(t)
	var before page
	since := func(kind string) float64 {
		return s.scrape(t, "/metrics").sum("yagura_fim_changes_total", "watch", "files", "kind", kind) - before.sum("yagura_fim_changes_total", "watch", "files", "kind", kind)
	}
	for _, act := range []struct{ kind, do string }{
		{"created", fmt.Sprintf("mkdir $O/all; cd $O/all; for d in $(seq %d); do mkdir $d; (cd $d; seq %d | xargs touch); done; cp -r . $W", dirs, each)},
		{"renamed", "cd $W; for d in $(ls); do mv $d moved-$d; done"},
		{"deleted", "rm -r $W/*"},
	} {
		before = s.scrape(t, "/metrics")
		s.shell(t, act.do)
		// The halves of few renamings may be too far apart to be seen as one.
		split := func() float64 {
			if act.kind == "renamed" {
				return since("deleted")
			}
			return 0
		}
		inTime(t, fmt.Sprint(want, " files were ", act.kind), func() bool { return since(act.kind)+split() >= want })
		s.settle(t)
		if n := since(act.kind) + split(); n != want || split() > want/100 || act.kind == "renamed" && since("created") != split() {
			t.Errorf("%v were %s, %v of them as a deletion and %v as a creation, want %d", n, act.kind, split(), since("created"), want)
		}
		p := s.works(t)
		t.Logf("%s: %v unknown, %v split, %v overlooked, %v overflows", act.kind,
			p.sum("yagura_workload_fim_changes_total", "watch", "files", "kind", act.kind, "actor", "unknown"), split(),
			p.sum("yagura_fim_overlooked_total"), p.sum("yagura_fim_overflows_total"))
	}
	before = nil
	for _, kind := range []string{"content", "mode", "owner", "links", "xattrs"} {
		if n := since(kind); n != 0 {
			t.Errorf("%v changes of kind %s, want none", n, kind)
		}
	}
	eventually(t, "nothing is left that was not looked at", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_unreconciled_events") == 0 })
}

// complains waits for an error in the log that has some words and the store's path.
func (s *fimSite) complains(t *testing.T, words string) {
	t.Helper()
	var line string
	eventually(t, "the log says "+words+" of "+s.store, func() bool {
		for line = range strings.Lines(s.log.String()) {
			if strings.Contains(line, "level=ERROR") && strings.Contains(line, words) && strings.Contains(line, s.store) {
				return true
			}
		}
		return false
	})
	t.Log(strings.TrimSpace(line))
}

// inTime is eventually for what is tried again once a minute.
func inTime(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, 2*time.Minute, what, done)
}

func TestSoakFIMStoreInTrouble(t *testing.T) {
	t.Run("a full disk", testStoreOnFullDisk)
	t.Run("a disk that may not be written", testStoreOnReadOnlyDisk)
	t.Run("in use", testStoreInUse)
	t.Run("changed by somebody", testStoreChanged)
	t.Run("changed while it is in use", testStoreChangedWhileInUse)
	t.Run("no privileges", testNoPrivileges)
}

func testStoreOnFullDisk(t *testing.T) {
	s := newFIMSite(t, strings.Replace(fimConfig, "DIR/fim.db", "DIR/small/fim.db", 1))
	s.store = s.dir + "/small/fim.db"
	mount(t, "none", s.dir+"/small", "tmpfs", 0, "size=1m,mode=700")
	s.shell(t, "for i in $(seq 500); do echo $i >$W/$i; done")
	s.start(t)
	const made = 5000
	_, _ = exec.Command("dd", "if=/dev/zero", "of="+s.dir+"/small/ballast", "bs=4096").CombinedOutput() // until there is no room
	s.shell(t, fmt.Sprintf("echo more >>$W/1; rm $W/2; seq %d | while read i; do : >$W/a-name-that-takes-more-room-than-others-$i; done", made))
	s.complains(t, "no space left on device")
	eventually(t, "there is something that was not looked at", func() bool { return s.works(t).sum("yagura_fim_unreconciled_events") > 0 })
	if err := os.Remove(s.dir + "/small/ballast"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", s.dir+"/small", "", unix.MS_REMOUNT, "size=32m"); err != nil {
		t.Fatal(err)
	}
	count := func(kind string) float64 {
		return s.scrape(t, "/metrics").sum("yagura_fim_changes_total", "watch", "files", "kind", kind)
	}
	inTime(t, "everything is told", func() bool { return count("created") == made && count("deleted") == 1 && count("content") == 1 })
	inTime(t, "everything was looked at", func() bool { return s.works(t).sum("yagura_fim_unreconciled_events") == 0 })
	s.settle(t)
	if a, b, c := count("created"), count("deleted"), count("content"); a != made || b != 1 || c != 1 {
		t.Errorf("%v created, %v deleted, %v changed, want each once: %d, 1, 1", a, b, c, made)
	}
	if n := s.scrape(t, "/metrics").sum("yagura_workload_fim_changes_total", "watch", "files", "kind", "created", "actor", "unknown"); n > made/10 {
		t.Errorf("%v of %d changes have no actor, though the kernel's events told who it was, and were not lost", n, made)
	}
}

func testStoreOnReadOnlyDisk(t *testing.T) {
	s := newFIMSite(t, strings.Replace(fimConfig, "DIR/fim.db", "DIR/small/fim.db", 1))
	s.store = s.dir + "/small/fim.db"
	mount(t, "none", s.dir+"/small", "tmpfs", 0, "size=8m,mode=700")
	remount := func(flags uintptr) {
		if err := unix.Mount("none", s.dir+"/small", "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s.watched+"/a", "as it was\n")
	for _, store := range []struct {
		what   string
		intact float64 // one that is there and cannot be opened is not known to be
	}{{"without a store", 1}, {"with one", 0}} {
		remount(unix.MS_RDONLY)
		s.begin(t)
		s.complains(t, "read-only file system")
		if p := s.works(t); len(p.matching("yagura_fim_baseline_age_seconds")) != 0 || p.sum("yagura_fim_baseline_intact") != store.intact {
			t.Errorf("%s: there is a baseline, or intact is not %v", store.what, store.intact)
		}
		remount(0)
		eventually(t, "the files were looked at", s.looks)
		write(t, s.watched+"/a", store.what+"\n")
		s.settle(t)
		s.exactly(t, s.changes(t, ""), "a content")
		s.end(t, syscall.SIGTERM)
	}
}

func testStoreInUse(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	write(t, s.watched+"/a", "as it was\n")
	s.start(t)
	other := *s
	other.begin(t)
	other.complains(t, "in use by another process")
	if p := other.works(t); p.sum("yagura_fim_baseline_intact") != 1 {
		t.Error("a baseline that is in use is not intact")
	}
	write(t, s.watched+"/a", "changed\n")
	s.settle(t)
	s.exactly(t, s.changes(t, ""), "a content")
	if all := other.changes(t, ""); len(all) != 0 {
		t.Errorf("who does not have the baseline tells of changes, too: %s", list(all))
	}
	s.end(t, syscall.SIGTERM)
	eventually(t, "the other one looks at the files", other.looks)
	write(t, s.watched+"/a", "changed again\n")
	other.seen = s.seen
	other.settle(t)
	other.exactly(t, other.changes(t, ""), "a content")
}

// testStoreChanged does to a store what nobody should.
func testStoreChanged(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	saved := s.dir + "/saved"
	s.shell(t, "for i in $(seq 100); do echo $i >$W/$i; done")
	s.start(t)
	s.end(t, syscall.SIGTERM)
	copyFile(t, s.store, saved+".old")
	write(t, s.watched+"/1", "changed\n")
	s.start(t)
	s.settle(t)
	s.end(t, syscall.SIGTERM)
	for _, name := range []string{"", ".key", ".key.generation"} {
		copyFile(t, s.store+name, saved+name)
	}
	for _, test := range []struct {
		name, words string
		intact      float64
		do          func(t *testing.T, store string)
	}{
		{"cut", "corrupt", 0, func(t *testing.T, store string) { cut(t, store, 16<<10) }},
		{"cut to nothing", "empty", 0, func(t *testing.T, store string) { cut(t, store, 0) }},
		{"a bit of an entry", "tampered", 0, func(t *testing.T, store string) { flip(t, store, "\x00watched\x0077") }},
		{"an older one", "tampered", 0, func(t *testing.T, store string) { copyFile(t, saved+".old", store) }},
		{"gone", "tampered", 0, func(t *testing.T, store string) { remove(t, store) }},
		{"its key is gone", "key", 0, func(t *testing.T, store string) { remove(t, store+".key") }},
		{"its generation is gone", "tampered", 0, func(t *testing.T, store string) { remove(t, store+".key.generation") }},
		{"another key", "tampered", 0, func(t *testing.T, store string) { flip(t, store+".key", "") }},
		{"others may read its key", "mode", 0, func(t *testing.T, store string) {
			if err := os.Chmod(store+".key", 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"zeroes", "corrupt", 0, func(t *testing.T, store string) { write(t, store, strings.Repeat("\x00", 1<<16)) }},
		{"a directory", "is a directory", 0, func(t *testing.T, store string) {
			remove(t, store)
			if err := os.Mkdir(store, 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"a link", "symbolic links", 0, func(t *testing.T, store string) {
			if err := errors.Join(os.Rename(store, store+".moved"), os.Symlink(store+".moved", store)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{"", ".key", ".key.generation"} {
				os.RemoveAll(s.store + name)
				copyFile(t, saved+name, s.store+name)
				if err := os.Chmod(s.store+name, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			test.do(t, s.store)
			s.begin(t)
			s.complains(t, test.words)
			eventually(t, "the series say so", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_baseline_intact") == test.intact })
			s.works(t)
			if err := s.end(t, syscall.SIGTERM); err != nil {
				t.Errorf("SIGTERM: %v, want a clean end", err)
			}
		})
	}
}

func cut(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte behind each place where a text is, without making the file anew.
func flip(t *testing.T, path, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := false
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(text))
		if i < 0 || at+i+len(text)+8 >= len(data) {
			break
		}
		found = true
		at += i + len(text) + 8
		if _, err := f.WriteAt([]byte{data[at] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			break
		}
	}
	if !found {
		t.Fatalf("%s does not have %q", path, text)
	}
}

func testStoreChangedWhileInUse(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	s.shell(t, "for i in $(seq 100); do echo $i >$W/$i; done")
	s.start(t)
	flip(t, s.store, "\x00watched\x0077")
	write(t, s.watched+"/77", "changed\n")
	s.complains(t, "tampered")
	eventually(t, "the series say so", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_baseline_intact") == 0 })
	s.works(t)
	write(t, s.watched+"/1", "changed\n")
	eventually(t, "changes of other files are told", func() bool { return len(changesOf(s.changes(t, ""), s.watched+"/1")) == 1 })
}

// testNoPrivileges has only scans: nobody may be asked who did what, and not everything may be read.
func testNoPrivileges(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	s.attr = unprivileged()
	s.shell(t, "echo a >$W/a; echo b >$W/b; mkdir -m 700 $W/secret; echo c >$W/secret/c; echo d >$W/d; chmod 600 $W/d; chown nobody $D")
	s.start(t)
	if n := s.works(t).sum("yagura_fim_unread_files"); n != 2 {
		t.Errorf("%v files and directories could not be read, want 2", n)
	}
	if log := s.log.String(); !strings.Contains(log, "without fanotify") || !strings.Contains(log, "not everything could be read") || !strings.Contains(log, s.watched+"/secret") {
		t.Error("the log does not say what is missing")
	}
	s.shell(t, "echo more >>$W/a; rm $W/b; chmod 640 $W/d")
	s.restart(t, syscall.SIGTERM)
	eventually(t, "the scan has found what has changed", func() bool { return len(s.changes(t, "")) == 3 })
	s.exactly(t, s.changes(t, ""), "a content", "b deleted", "d mode")
}

// TestSoakFIMInContainers has files of containers changed: from within, and by the host through its ways into them.
func TestSoakFIMInContainers(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	s := newFIMSite(t, fmt.Sprintf("containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}\n", c.socket())+fimConfig+
		"    - {name: inside, of: containers, paths: [/data, /guest]}\n")
	s.start(t)
	for _, snapshotter := range []string{"native", "overlayfs"} {
		t.Run(snapshotter, func(t *testing.T) { s.testContainer(t, c, snapshotter) })
	}
	t.Run("one that starts slowly", func(t *testing.T) { s.testSlowContainer(t, c) })
	t.Run("ended ones are let go", func(t *testing.T) { s.testContainersEnd(t, c) })
}

// inContainer is what a container's shell does: it makes files, waits for a word, and changes one.
const inContainer = `mkdir /data; for f in a b c d e; do echo $f >/data/$f; done; until [ -e /data/go ]; do sleep 0.1; done; echo more >>/data/a; exec sleep 600`

// runShell starts a container that runs a shell; programs are the host's.
func (c *containerd) runShell(t *testing.T, snapshotter, name, script string, more ...string) (pid int, root string) {
	t.Helper()
	args := append([]string{"run", "--detach", "--snapshotter", snapshotter}, more...)
	for _, dir := range []string{"/usr/bin", "/usr/lib", "/usr/lib64"} {
		for _, at := range []string{dir, strings.TrimPrefix(dir, "/usr")} {
			args = append(args, "--mount", "type=bind,src="+dir+",dst="+at+",options=rbind:ro")
		}
	}
	c.ctr(t, append(args, testImage, name, "/bin/sh", "-c", script)...)
	for line := range strings.Lines(c.ctr(t, "task", "list")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			pid, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return pid, fmt.Sprintf("/proc/%d/root", pid)
		}
	}
	t.Fatalf("the container %s does not run", name)
	return 0, ""
}

func (c *containerd) exec(t *testing.T, name, script string) {
	t.Helper()
	c.ctr(t, "task", "exec", "--exec-id", fmt.Sprint("x", time.Now().UnixNano()), name, "/bin/sh", "-c", script)
}

// watches waits until the files of a container are watched.
func (s *fimSite) watches(t *testing.T, name string, files int) {
	t.Helper()
	built := regexp.MustCompile(fmt.Sprintf(`msg="files were looked at" .*container=%s files=%d .*baseline=built`, name, files))
	eventually(t, "the baseline of the container "+name+" is built", func() bool { return built.MatchString(s.log.String()) })
}

func (s *fimSite) testContainer(t *testing.T, c *containerd, snapshotter string) {
	name := "shell-" + snapshotter
	_, root := c.runShell(t, snapshotter, name, inContainer)
	t.Cleanup(func() { s.stop(t, c, name) })
	s.watches(t, name, 7)
	s.settle(t)
	if all := s.changes(t, "watch=inside&container="+name); len(all) != 0 {
		t.Errorf("what was there before the baseline is told: %s", list(all))
	}
	s.shell(t, "echo go >"+root+"/data/go")
	c.exec(t, name, "echo more >>/data/b; mv /data/d /data/f; chmod 700 /guest; :")
	s.shell(t, "echo more >>"+root+"/data/c")
	var all []fimChange
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(list(all))
		}
	})
	eventually(t, "six changes were told", func() bool {
		all = slices.DeleteFunc(s.changes(t, "watch=inside"), func(f fimChange) bool { return f.Container != name })
		return len(all) >= 6
	})
	s.settle(t)
	all = slices.DeleteFunc(s.changes(t, "watch=inside"), func(f fimChange) bool { return f.Container != name })
	s.exactly(t, all, "/data/go created", "/data/a content", "/data/b content", "/data/c content", "/data/f renamed /data/d", "/guest mode")
	for i := range all {
		f := &all[i]
		byHost := f.Path == "/data/go" || f.Path == "/data/c"
		label := name
		if byHost {
			label = ""
		}
		if f.Process == nil || f.Actor != "user" || f.Expected || f.Workload["container"] != label {
			t.Errorf("%q, by %s of %q, want it to be of %q: %v", f.Path, f.Actor, f.Workload["container"], label, f)
		}
		if f.Process != nil && !byHost && len(f.Process.Ancestors) == 0 {
			t.Errorf("nobody is above it: %v", f)
		}
	}
	p := s.scrape(t, "/metrics")
	for kind, want := range map[string]float64{"content": 2, "renamed": 1, "mode": 1} {
		if n := p.sum("yagura_workload_fim_changes_total", "container", name, "watch", "inside", "kind", kind, "actor", "user"); n != want {
			t.Errorf("%v changes of kind %s by the container, want %v", n, kind, want)
		}
	}
	if found := s.changes(t, "container="+name); len(found) != 4 {
		t.Errorf("%d changes are found by the container's label, want 4%s", len(found), list(found))
	}
}

// testSlowContainer has a container that takes longer to get its root than Yagura takes to find it.
func (s *fimSite) testSlowContainer(t *testing.T, c *containerd) {
	const name = "slow"
	runc := write(t, c.dir+"/runc", `#!/bin/sh
# has a hook in each container that waits before the root is changed
for a; do
	if [ "$last" = --bundle ] && ! grep -q createContainer "$a/config.json"; then
		sed -i '1s|{|{"hooks":{"createContainer":[{"path":"/bin/sleep","args":["sleep","8"]}]},|' "$a/config.json"
	fi
	last=$a
done
exec `+exeOf(t, "runc")+` "$@"
`)
	if err := os.Chmod(runc, 0o755); err != nil {
		t.Fatal(err)
	}
	c.runShell(t, "native", name, inContainer, "--runc-binary", runc)
	t.Cleanup(func() { s.stop(t, c, name) })
	s.watches(t, name, 7)
	s.settle(t)
	if all := s.changes(t, "watch=inside&container="+name); len(all) != 0 {
		t.Errorf("what was done to start it is told: %s", list(all))
	}
	c.exec(t, name, "echo more >>/data/b; :")
	eventually(t, "a change is told", func() bool { return len(s.changes(t, "watch=inside&container="+name)) > 0 })
	s.exactly(t, s.changes(t, "watch=inside&container="+name), "/data/b content")
}

// stop ends a container and forgets it.
func (s *fimSite) stop(t *testing.T, c *containerd, name string) {
	t.Helper()
	c.ctr(t, "task", "kill", "-s", "SIGKILL", name)
	eventually(t, "the container has ended", func() bool {
		return exec.Command("ctr", "-a", c.socket(), "-n", c.ns, "task", "delete", name).Run() == nil
	})
	c.ctr(t, "container", "delete", name)
}

func (s *fimSite) testContainersEnd(t *testing.T, c *containerd) {
	open := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	state := func() (files, marks, goroutines float64) {
		p := s.scrape(t, "/metrics")
		return p.sum("yagura_fim_files", "watch", "inside"), p.sum("yagura_fim_marked_directories"), p.sum("go_goroutines")
	}
	eventually(t, "the containers before are let go", func() bool { files, _, _ := state(); return files == 0 })
	fds := open()
	_, marks, goroutines := state()
	for i := range 4 {
		name := fmt.Sprint("short", i)
		c.runShell(t, "native", name, "mkdir /data; for i in 1 2 3; do echo $i >/data/$i; done; exec sleep 600")
		s.watches(t, name, 5)
		c.exec(t, name, "echo more >>/data/1; :")
		eventually(t, "its change is told", func() bool { return len(s.changes(t, "container="+name)) == 1 })
		s.stop(t, c, name)
		eventually(t, "it is let go", func() bool { files, _, _ := state(); return files == 0 })
	}
	var a, b, d float64
	eventually(t, "descriptors, marks and goroutines are as many as before", func() bool {
		_, a, b = state()
		d = float64(open())
		return a <= marks && b <= goroutines+2 && d <= float64(fds)
	})
	t.Logf("after 4 containers %v marks, %v goroutines, %v descriptors; before %v, %v, %v", a, b, d, marks, goroutines, fds)
}
