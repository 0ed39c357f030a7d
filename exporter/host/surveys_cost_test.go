package host

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// changes are all that fanotify tells of what changes a file system.
const changes = unix.FAN_MODIFY | unix.FAN_ATTRIB | unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_DELETE_SELF | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_ONDIR

// watchChanges watches all file systems on which that can be done.
func watchChanges(t *testing.T) (group int) {
	t.Helper()
	group, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID|unix.FAN_UNLIMITED_QUEUE|unix.FAN_NONBLOCK|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err != nil {
		t.Skipf("needs root and 5.1: fanotify: %v", err)
	}
	t.Cleanup(func() { unix.Close(group) })
	table, err := (&Surveys{Root: "/", Procfs: "/proc"}).mountTable()
	if err != nil {
		t.Fatal(err)
	}
	watched := 0
	for at := range table {
		if unix.FanotifyMark(group, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, changes, unix.AT_FDCWD, at) == nil {
			watched++
		}
	}
	if watched == 0 {
		t.Skip("no file system can be watched")
	}
	return group
}

// changesOf are the kinds of changes that a process has made.
func changesOf(t *testing.T, group, pid int) (masks []string) {
	t.Helper()
	buffer := make([]byte, 256<<10)
	for {
		n, err := unix.Read(group, buffer)
		if err == unix.EAGAIN {
			return masks
		}
		if err != nil {
			t.Fatalf("read fanotify: %v", err)
		}
		for b := buffer[:n]; len(b) >= 24; b = b[binary.NativeEndian.Uint32(b):] { // struct fanotify_event_metadata
			if mask := binary.NativeEndian.Uint64(b[8:]); int(binary.NativeEndian.Uint32(b[20:])) == pid {
				masks = append(masks, fmt.Sprintf("%#x", mask))
			}
		}
	}
}

// TestSurveysWriteNothing runs all surveys of this machine, and of another root, in a process of their own, and wants that it changes no
// file, not even the attributes of one. A process that does change one shows that it would be seen.
func TestSurveysWriteNothing(t *testing.T) {
	const as = "YAGURA_TEST_SURVEYS"
	switch what := os.Getenv(as); what {
	case "":
	case "write":
		if err := os.Chmod(filepath.Join(os.Getenv(as+"_ROOT"), "etc/passwd"), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	default:
		for _, s := range []*Surveys{{Root: "/", Procfs: "/proc", Sysfs: "/sys"}, {Root: os.Getenv(as + "_ROOT")}} {
			for _, survey := range s.All() {
				_ = survey.Survey(t.Context(), func(event.Fact) {})
			}
		}
		return
	}
	s := plant(t, map[string]string{"etc/os-release": "ID=debian\n", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/ssh/sshd_config": "PermitRootLogin no\n", "srv/x": ""})
	for _, x := range []struct {
		what    string
		changes bool
	}{{"write", true}, {"survey", false}} {
		group := watchChanges(t)
		child := exec.Command(os.Args[0], "-test.run=^TestSurveysWriteNothing$")
		child.Env = append(os.Environ(), as+"="+x.what, as+"_ROOT="+s.Root)
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if masks := changesOf(t, group, child.Process.Pid); (len(masks) > 0) != x.changes {
			t.Errorf("%s: changes %q, want some: %v", x.what, masks, x.changes)
		}
	}
}

func TestSurveysLeaveAccessTimes(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/os-release": "ID=debian\n", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/ssh/sshd_config": "PermitRootLogin no\n", "etc/sysctl.d/x.conf": "a=1\n",
		"etc/cron.d/x": "", "var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5\n", "var/lib/dpkg/info/bash.md5sums": strings.Repeat("0", 32) + "  bin/bash\n", "bin/bash": "x"})
	old := time.Now().Add(-48 * time.Hour)
	var all []string
	if err := filepath.WalkDir(s.Root, func(path string, _ os.DirEntry, err error) error { all = append(all, path); return err }); err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if err := os.Chtimes(path, old, old.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for _, survey := range s.All() {
		_ = survey.Survey(t.Context(), func(event.Fact) {})
	}
	for _, path := range all {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || time.Unix(st.Atim.Unix()).After(old.Add(time.Minute)) {
			t.Errorf("%s: the access time is %v, %v", strings.TrimPrefix(path, s.Root), time.Unix(st.Atim.Unix()), err)
		}
	}
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkPostureRun is a run of all our checks on this machine, as the daemon has one at every interval: the walk over its file systems
// is done before, and BenchmarkWalk tells what that costs.
func BenchmarkPostureRun(b *testing.B) {
	s := &Surveys{Root: "/", Procfs: "/proc", Sysfs: "/sys"}
	s.walks.last = &walkResult{}
	p := rules.NewPosture(rules.PostureOptions{Config: rules.DefaultPosture, Machine: event.Machine{Root: s.Root, Procfs: s.Procfs, Sysfs: s.Sysfs},
		Surveys: []event.Surveyor{func(event.Machine) []NamedSurvey {
			all := s.All()
			for i := range all {
				all[i].Prepare = nil
			}
			return all
		}}})
	if err := p.Load(rules.DefaultPosture, func() error { return nil }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	began := processorTime()
	for b.Loop() {
		p.Judge(b.Context())
	}
	b.ReportMetric(float64(processorTime()-began)/float64(b.N), "cpu-ns/op")
}

// BenchmarkPostureLoad is what it takes to read all our checks.
func BenchmarkPostureLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rules.DefaultPosture.Load(); err != nil {
			b.Fatal(err)
		}
	}
}
