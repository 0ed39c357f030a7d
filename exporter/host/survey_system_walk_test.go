package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// walked runs the survey and returns what it found: facts by kind and subject, and the errors among them.
func walked(t *testing.T, s *Surveys) (facts map[string]event.Fact, errors []string) {
	t.Helper()
	facts = map[string]event.Fact{}
	if err := s.FileSystemWalk(t.Context(), func(f event.Fact) {
		if f.Err() != "" {
			errors = append(errors, f.Kind.Name+": "+f.Err())
			return
		}
		facts[f.Kind.Name+" "+f.Subject] = f
	}); err != nil {
		t.Fatal(err)
	}
	return facts, errors
}

// walkedBy is a walk with other limits than those that are usual.
func walkedBy(t *testing.T, ctx context.Context, s *Surveys, limits walkLimits) *walkResult {
	t.Helper()
	r, err := s.walk(ctx, limits)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// plantOpen is a machine with these files, which everybody may change.
func plantOpen(t *testing.T, names ...string) *Surveys {
	t.Helper()
	files := map[string]string{}
	for _, name := range names {
		files[name] = ""
	}
	s := plant(t, files)
	for _, name := range names {
		if err := os.Chmod(filepath.Join(s.Root, name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func paths(f finds) (all []string) {
	for _, x := range f.all {
		all = append(all, x.path)
	}
	return all
}

func TestWalkFindsWhatIsOpenOrNobodys(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of others")
	}
	s := plant(t, map[string]string{
		"etc/passwd": "root:x:0:0::/:\nalice:x:4711:4711::/:\n", "etc/group": "root:x:0:\nalice:x:4711:\n", "etc/subuid": "alice:100000:65536\n",
		"srv/open": "", "srv/fine": "", "srv/alice": "", "srv/nobodys": "", "srv/nogroups": "", "srv/guest": "", "srv/service": "", "shared/x": "", "sticky/x": "", "usr/bin/su": "", "usr/bin/crontab": "", "usr/bin/locked": "", "usr/local/bin/mine": "",
		"tmp/open": "", "tmp/a/rootsh": "", "dev/shm/rootsh": "", "dev/open": "", "var/lib/docker/overlay2/x/open": "", "proc/open": "", "home/alice/.local/share/containers/storage/overlay/x/open": "",
		"var/lib/dpkg/info/util-linux.list": "/bin/su\n", "var/lib/dpkg/info/cron.list": "/usr/bin/crontab\n",
	})
	at := func(name string) string { return filepath.Join(s.Root, name) }
	for name, mode := range map[string]uint32{
		"srv/open": 0o666, "shared": 0o777, "sticky": 0o1777, "usr/bin/su": 0o4755, "usr/bin/crontab": 0o2755, "usr/bin/locked": 0o2644, "usr/local/bin/mine": 0o4775, "tmp/open": 0o666, "tmp/a": 0o777, "tmp/a/rootsh": 0o4755, "dev/shm/rootsh": 0o4755,
		"dev/open": 0o666, "var/lib/docker/overlay2/x/open": 0o666, "proc/open": 0o666, "home/alice/.local/share/containers/storage/overlay/x/open": 0o666,
	} {
		if err := unix.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, ids := range map[string][2]int{"srv/alice": {4711, 4711}, "srv/nobodys": {4712, 0}, "srv/nogroups": {0, 4713}, "srv/guest": {100_007, 0}, "srv/service": {61_234, 61_234}} {
		if err := os.Chown(at(name), ids[0], ids[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/srv", at("link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(at("srv/pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	facts, errors := walked(t, s)
	want(t, facts, "type mode_octal writable unowned ungrouped", map[string]string{
		"stray /srv/open":     "type=file mode_octal=0666 writable=true unowned=false ungrouped=false",
		"stray /shared":       "type=directory mode_octal=0777 writable=true unowned=false ungrouped=false",
		"stray /srv/nobodys":  "type=file mode_octal=0644 writable=false unowned=true ungrouped=false",
		"stray /srv/nogroups": "type=file mode_octal=0644 writable=false unowned=false ungrouped=true",
	})
	want(t, facts, "setuid setgid mode_octal writable packaged package", map[string]string{
		"setuid /usr/bin/su":         "setuid=true setgid=false mode_octal=4755 writable=false packaged=true package=util-linux",
		"setuid /usr/bin/crontab":    "setuid=false setgid=true mode_octal=2755 writable=false packaged=true package=cron",
		"setuid /usr/local/bin/mine": "setuid=true setgid=false mode_octal=4775 writable=true packaged=false package",
		"setuid /tmp/a/rootsh":       "setuid=true setgid=false mode_octal=4755 writable=false packaged=false package",
		"setuid /dev/shm/rootsh":     "setuid=true setgid=false mode_octal=4755 writable=false packaged=false package",
	})
	if len(facts) != 10 || len(errors) > 0 || facts["walk /"].Values["complete"] != true {
		t.Errorf("%d facts, want 10; errors %q; walk %v", len(facts), errors, facts["walk /"].Values)
	}
}

// TestWalkReportsWhatIsStillSo changes what a walk has found: only another walk finds more, but what was mended is not told any more.
func TestWalkReportsWhatIsStillSo(t *testing.T) {
	t.Parallel()
	s := plantOpen(t, "srv/mended", "srv/removed", "srv/open", "srv/link")
	if err := s.Walk(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(s.Root, name) }
	err := errors.Join(os.Chmod(at("srv/mended"), 0o644), os.Remove(at("srv/removed")), os.WriteFile(at("srv/new"), nil, 0o644), os.Chmod(at("srv/new"), 0o666),
		os.Remove(at("srv/link")), os.Symlink("open", at("srv/link")))
	if err != nil {
		t.Fatal(err)
	}
	facts, errs := walked(t, s)
	if _, told := facts["stray /srv/open"]; !told || len(facts) != 2 || len(errs) > 0 { // and the walk
		t.Errorf("facts %v, errors %q: want the one that is still open", facts, errs)
	}
	if err := s.Walk(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if facts, _ := walked(t, s); len(facts) != 3 {
		t.Errorf("facts after another walk: %v, want the new one as well", facts)
	}
}

func TestWalkThatFindsNothingSaysWhy(t *testing.T) {
	t.Parallel()
	s := plantOpen(t, "srv/open")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Walk(cancelled, false); !errors.Is(err, context.Canceled) {
		t.Errorf("a walk that was cancelled: %v", err)
	}
	if err := s.FileSystemWalk(t.Context(), func(event.Fact) { t.Error("there is a fact") }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want why the walk has found nothing", err)
	}
	if err := s.Walk(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := s.Walk(cancelled, false); err == nil {
		t.Error("cancelled, and no error")
	}
	if facts, _ := walked(t, s); len(facts) != 2 {
		t.Errorf("facts %v: want those of the last walk that ended", facts)
	}
}

func TestWalkSaysWhereItEnds(t *testing.T) {
	t.Parallel()
	s := plantOpen(t, "srv/open")
	past, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if err := s.Walk(past, false); err != nil {
		t.Fatal(err)
	}
	facts, errs := walked(t, s)
	const why = "it takes longer than 0s"
	want(t, facts, "complete cut", map[string]string{"walk /": "complete=false cut=" + why})
	for _, kind := range []string{"stray", "setuid"} {
		if !slices.Contains(errs, kind+": not everything was looked at: "+why) {
			t.Errorf("no error of kind %s says so, only %q", kind, errs)
		}
	}
}

func TestWalkCountsWhatItDoesNotShow(t *testing.T) {
	t.Parallel()
	names := make([]string, maxFinds*3+7)
	for i := range names {
		names[i] = fmt.Sprintf("srv/%d/%04d", i%3, i)
	}
	s := plantOpen(t, names...)
	facts, errs := walked(t, s)
	if len(facts) != maxFinds+1 || len(errs) != 1 || !strings.Contains(errs[0], "there are more than 500") {
		t.Errorf("%d facts, errors %q: want %d, the walk, and an error for the others", len(facts), errs, maxFinds)
	}
	for i := range names {
		if _, told := facts[fmt.Sprintf("stray /srv/0/%04d", i)]; !told && i%3 == 0 && i < 3*maxFinds {
			t.Errorf("srv/0/%04d is not told, and others are: want those with the lowest names", i)
		}
	}
}

func TestWalkDoesNotJudgeUsersFromElsewhere(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of others")
	}
	s := plant(t, map[string]string{"etc/passwd": "root:x:0:0::/:\n", "etc/group": "root:x:0:\n", "etc/nsswitch.conf": "passwd: files sss\ngroup: files systemd\n", "srv/x": ""})
	if err := os.Chown(filepath.Join(s.Root, "srv/x"), 10_001, 0); err != nil {
		t.Fatal(err)
	}
	facts, errors := walked(t, s)
	if len(facts) != 1 || len(errors) != 1 || !strings.Contains(errors[0], "files belong to 10001, who is not in the files of users and groups; but there are more from sss") {
		t.Errorf("facts %v, errors %q", facts, errors)
	}
}

func TestWalkStaysOffOtherFileSystems(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{"root/mnt/share/open": "", "root/srv/x": "", "proc/1/mountinfo": somewhere + "2 1 0:40 / /mnt/share rw - nfs4 server:/x rw\n3 1 0:41 / /data rw - ext4 /dev/x rw\n"})
	facts, _ := walked(t, s)
	if _, seen := facts["stray /mnt/share/open"]; seen || facts["walk /"].Values["entries"] != int64(6) { // the root, etc, os-release, mnt, srv and x: share is not even touched
		t.Errorf("facts %v", facts["walk /"].Values)
	}
}

// TestWalkRoots are tables of mounts, and which of them are walked by themselves.
func TestWalkRoots(t *testing.T) {
	t.Parallel()
	const root = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
	for name, x := range map[string]struct{ table, want string }{
		"disks":                          {root + "2 1 8:2 / /home rw - xfs /dev/sda2 rw\n3 1 8:3 / /boot rw - ext2 /dev/sda3 rw\n", "/boot /home"},
		"of others, and without owners":  {root + "2 1 0:9 / /mnt rw - nfs x:/ rw\n3 1 0:10 / /cow rw - overlay overlay rw\n4 1 8:4 / /boot/efi rw - vfat /dev/sda4 rw\n5 1 0:11 / /mem rw - tmpfs tmpfs rw\n", ""},
		"a part of one that is seen":     {root + "2 1 8:1 /srv/www /var/www rw - ext4 /dev/sda1 rw\n", ""},
		"the same twice":                 {root + "2 1 8:2 / /b rw - ext4 /dev/sda2 rw\n3 1 8:2 / /a rw - ext4 /dev/sda2 rw\n", "/a"},
		"a part of one that is not seen": {root + "2 1 8:2 /sub/x /x rw - ext4 /dev/sda2 rw\n3 1 8:2 /sub/y /y rw - ext4 /dev/sda2 rw\n", "/x /y"},
		"a part of a part":               {root + "2 1 8:2 /sub /x rw - ext4 /dev/sda2 rw\n3 1 8:2 /sub/y /y rw - ext4 /dev/sda2 rw\n", "/x"},
		"a part that is covered":         {root + "2 1 8:1 /srv/www /var/www rw - ext4 /dev/sda1 rw\n3 1 0:9 / /srv rw - tmpfs x rw\n", "/var/www"},
		"a directory on itself":          {root + "2 1 8:1 /srv /srv rw - ext4 /dev/sda1 rw\n", "/srv"},
		"what guests have":               {root + "2 1 8:1 /var/lib/containerd/x /run/x/rootfs rw - ext4 /dev/sda1 rw\n3 1 8:2 / /var/lib/docker rw - ext4 /dev/sda2 rw\n4 1 8:3 / /var/lib/kubelet/pods/1/x rw - ext4 /dev/sdc rw\n", ""},
		"what is shown from a guest":     {root + "2 1 8:1 /var/lib/docker/volumes/x /srv/x rw - ext4 /dev/sda1 rw\n", "/srv/x"},
		"a disk below another machine":   {root + "2 1 0:9 / /mnt rw - nfs x:/ rw\n3 2 8:2 / /mnt/disk rw - ext4 /dev/sda2 rw\n", ""},
		"a disk below one in memory":     {root + "2 1 0:9 / /mem rw - tmpfs x rw\n3 2 8:2 / /mem/disk rw - ext4 /dev/sda2 rw\n", "/mem/disk"},
	} {
		table, err := parseMountTable("mountinfo", x.table)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for at := range table {
			if at != "/" && table.toWalk(at) {
				got = append(got, at)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != x.want {
			t.Errorf("%s: %q are walked, want %s", name, got, x.want)
		}
	}
}

// mounted mounts until the test ends.
func mounted(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		t.Skipf("needs to mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

func TestWalkOfBindMountsEnds(t *testing.T) {
	s := plantOpen(t, "a/open", "a/b/c/x", "a/mem/x", "a/link/x", "tmp/x")
	at := func(name string) string { return filepath.Join(s.Root, name) }
	mounted(t, "x", at("a/mem"), "tmpfs", 0)
	if err := errors.Join(os.WriteFile(at("a/mem/open"), nil, 0o644), os.Chmod(at("a/mem/open"), 0o666)); err != nil {
		t.Fatal(err)
	}
	mounted(t, at("a"), at("a/b/c"), "", unix.MS_BIND|unix.MS_REC)
	mounted(t, at("."), at("a/link"), "", unix.MS_BIND)
	if err := os.RemoveAll(at("a/b/d")); err != nil {
		t.Fatal(err)
	}
	facts, errs := walked(t, s)
	if _, told := facts["stray /a/open"]; !told || len(facts) != 2 || len(errs) > 0 { // and the walk
		t.Errorf("facts %v, errors %q: want the one file, by its first path only", facts, errs)
	}
}

func TestWalkOfAnImageEntersItsFileSystems(t *testing.T) {
	s := plantOpen(t, "disk/x", "again/x", "tmp/x")
	at := func(name string) string { return filepath.Join(s.Root, name) }
	mounted(t, "x", at("tmp"), "tmpfs", 0)
	if err := errors.Join(os.WriteFile(at("tmp/rootsh"), nil, 0o755), unix.Chmod(at("tmp/rootsh"), 0o4755)); err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) {
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Skipf("needs %s, and to mount: %v %s", program, err, out)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 120<<20)); err != nil {
		t.Fatal(err)
	}
	run("mkfs.btrfs", "-q", image)
	run("mount", "-o", "loop", image, at("disk"))
	t.Cleanup(func() { unix.Unmount(at("disk"), unix.MNT_DETACH) })
	mounted(t, at("disk"), at("again"), "", unix.MS_BIND)
	run("btrfs", "subvolume", "create", at("disk/sub"))
	for _, name := range []string{"disk/open", "disk/sub/open"} {
		if err := errors.Join(os.WriteFile(at(name), nil, 0o644), os.Chmod(at(name), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	run("btrfs", "subvolume", "snapshot", "-r", at("disk/sub"), at("disk/snapshot"))
	facts, errs := walked(t, s)
	var got []string
	for subject := range facts {
		got = append(got, strings.Replace(subject, "/again/", "/disk/", 1)) // whichever is met first
	}
	slices.Sort(got)
	if want := []string{"setuid /tmp/rootsh", "stray /disk/open", "stray /disk/sub/open", "walk /"}; !slices.Equal(got, want) || len(errs) > 0 {
		t.Errorf("facts %q, errors %q, want %q", got, errs, want)
	}
}

// plantDeep makes directories with long names in each other, and an open file in the last.
func plantDeep(t *testing.T, dir string, levels int) {
	t.Helper()
	long := strings.Repeat("x", 250)
	in, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range levels {
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkdirat(in, long, 0o755); err != nil {
			t.Fatal(err)
		}
		out := in
		in, err = unix.Openat(out, long, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(in)
	file, err := unix.Openat(in, "open", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err = errors.Join(err, unix.Fchmod(file, 0o666), unix.Close(file)); err != nil {
		t.Fatal(err)
	}
}

func TestWalkFindsWhatIsDeep(t *testing.T) {
	t.Parallel()
	s := plantOpen(t, "srv/x")
	plantDeep(t, filepath.Join(s.Root, "srv"), 40)
	facts, errs := walked(t, s)
	if len(facts) != 3 || len(errs) > 0 || facts["walk /"].Values["complete"] != true {
		t.Errorf("facts %v, errors %q: want the file whose path is too long for the kernel as well", facts, errs)
	}
}

func TestWalkTellsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	s := plantOpen(t, "srv/open", "srv/deep/x")
	plantDeep(t, filepath.Join(s.Root, "srv/deep"), 80)
	facts, errs := walked(t, s)
	if _, told := facts["stray /srv/open"]; !told {
		t.Errorf("facts %v: want what could be read", facts)
	}
	for _, kind := range []string{"stray: ", "setuid: "} {
		if !slices.ContainsFunc(errs, func(e string) bool {
			return strings.HasPrefix(e, kind+"not everything was looked at: open /srv/deep/xxx") && strings.HasSuffix(e, "file name too long") && len(e) < 400
		}) {
			t.Errorf("errors %q: want one of kind %s that names the path, and is not as long", errs, kind)
		}
	}
}

// TestWalkBoundsWhatWaits has more directories wait than may: they are looked at before more are found.
func TestWalkBoundsWhatWaits(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("srv/%d/a/b/open", i))
	}
	s := plantOpen(t, names...)
	for _, workers := range []int{1, 3} {
		r := walkedBy(t, t.Context(), s, walkLimits{workers: func() int { return workers }, waiting: 2})
		if len(r.strays.all) != 300 || r.cut != "" || r.entries != 2+300*4 {
			t.Errorf("%d workers: %d files, %d entries, cut %q; want 300 and all", workers, len(r.strays.all), r.entries, r.cut)
		}
	}
}

// TestWalkOfWhatChanges walks while directories come and go.
func TestWalkOfWhatChanges(t *testing.T) {
	t.Parallel()
	s := plantOpen(t, "srv/open")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			dir := filepath.Join(s.Root, "srv", fmt.Sprint(i%7))
			os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755)
			os.WriteFile(filepath.Join(dir, "a", "x"), nil, 0o644)
			os.RemoveAll(dir)
			os.Symlink("/", dir)
			os.Remove(dir)
		}
	}()
	for range 50 {
		r := walkedBy(t, t.Context(), s, fastWalk)
		if got := paths(r.strays); r.cut != "" || !slices.Equal(got, []string{"/srv/open"}) {
			t.Errorf("strays %q, cut %q", got, r.cut)
		}
	}
	cancel()
	<-ended
}

func TestWalkLeavesAccessTimes(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"srv/x": ""})
	dir := filepath.Join(s.Root, "srv")
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(dir, old, old.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	walked(t, s)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || time.Unix(st.Atim.Unix()).After(old.Add(time.Minute)) {
		t.Errorf("the walk has set the access time to %v, %v", time.Unix(st.Atim.Unix()), err)
	}
}

func TestPatientWalkRestsMostOfTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &walkWorker{walker: &walker{limits: patientWalk}, began: time.Now()}
		for _, x := range []struct{ worked, rest time.Duration }{{time.Millisecond, 0}, {10 * time.Millisecond, 190 * time.Millisecond}, {time.Minute, time.Second}} {
			time.Sleep(x.worked)
			began := time.Now()
			if w.rest(t.Context()); time.Since(began) != x.rest {
				t.Errorf("after %v of work it rests for %v, want %v", x.worked, time.Since(began), x.rest)
			}
			w.began = time.Now()
		}
	})
}

// TestWalkOfFilesDoesNotAllocate wants that files which are fine cost no memory, however many there are.
func TestWalkOfFilesDoesNotAllocate(t *testing.T) {
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("srv/%d", i))
	}
	files := map[string]string{}
	for _, name := range names {
		files[name] = ""
	}
	s := plant(t, files)
	w := &walkWorker{walker: &walker{s: s, owners: newOwnerCheck(s)}}
	fd, err := s.Files().directory("/srv")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buffer, d := make([]byte, namesAtOnce), &walkDir{name: "/srv"}
	read := func() {
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			t.Fatal(err)
		}
		n, err := unix.ReadDirent(fd, buffer)
		if err != nil {
			t.Fatal(err)
		}
		w.names(fd, d, buffer[:n], nil)
	}
	if n := testing.AllocsPerRun(10, read); n > 0 {
		t.Errorf("%v allocations for %d files, want none", n, len(names))
	}
	if w.entries < 500 {
		t.Errorf("%d files were looked at", w.entries)
	}
}

// BenchmarkWalk tells what a walk costs for each file, without disks: of a tree that the kernel has in its memory.
func BenchmarkWalk(b *testing.B) {
	s := &Surveys{Root: b.TempDir()}
	const dirs, files = 200, 50
	for i := range dirs {
		dir := filepath.Join(s.Root, fmt.Sprintf("d%d/e", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range files {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", j)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	one := fastWalk
	one.workers = func() int { return 1 }
	b.ReportAllocs()
	entries := 0
	for b.Loop() {
		r, err := s.walk(b.Context(), one)
		if err != nil {
			b.Fatal(err)
		}
		entries = r.entries
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(entries), "ns/file")
	runtime.KeepAlive(s)
}
