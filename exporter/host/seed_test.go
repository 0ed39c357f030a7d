package host

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
)

func TestSeedLinksInAnyOrder(t *testing.T) {
	t.Parallel()
	tasks := []event.Task{{PID: 1, Start: 1}, {PID: 2, PPID: 1, Start: 2}}
	for pid := uint32(3); pid < 200; pid++ {
		tasks = append(tasks, event.Task{PID: pid, PPID: pid - 1, Start: uint64(pid)})
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
	table := NewTable(TableOptions{})
	for _, task := range tasks {
		table.Seed(task)
	}
	table.SeedDone()
	checkTable(t, table)
	for pid := uint32(2); pid < 200; pid++ {
		p := table.Find(pid)
		for range nearAncestors {
			if p.PID == 1 {
				break
			}
			if p.Parent == nil || p.Parent.PID != p.PPID {
				t.Fatalf("process %d: parent %+v", pid, p.Parent)
			}
			p = p.Parent
		}
	}
}

func TestSeedSurvivesNonsense(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	for _, task := range []event.Task{
		{PID: 1, PPID: 2, Start: 5}, {PID: 2, PPID: 1, Start: 5}, // each other's parents
		{PID: 3, PPID: 3, Start: 5}, {PID: 4, PPID: 5, Start: 5}, {PID: 5, Start: 1e9}, // a parent younger than its child
		{PID: 0, Start: 5}, {PID: 6, PPID: 99, Start: 5}, {PID: 6, PPID: 1, Start: 5},
	} {
		table.Seed(task)
	}
	table.SeedDone()
	checkTable(t, table)
	if s := table.Stats(); s.Processes != 6 {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestSeedAndQueuedEventsAgree(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	parent, child := event.ID{PID: 1, Start: 1}, event.ID{PID: 50, Start: 5_000_000_123}
	table.seed(&event.Process{Task: event.Task{PID: 1, Start: 1}})
	// From /proc, after both execs: the start is in ticks.
	table.seed(&event.Process{Task: event.Task{PID: 50, PPID: 1, Start: 5_000_000_000}, Path: "/second", Cwd: "/tmp"})
	table.SeedDone()
	table.Attach(forkEvent(parent, child, child.Start))
	if p := processAt(table, child); p.Path != "/second" || p.Parent == nil || p.Start != child.Start {
		t.Errorf("after the fork that was queued: %+v", p)
	}
	table.Attach(execEvent(child, child.Start+1, "/first", ""))
	table.Attach(execEvent(child, child.Start+2, "/second", ""))
	if p := processAt(table, child); p.Path != "/second" || p.Cwd != "/tmp" || p.Parent.PID != 1 {
		t.Errorf("after the execs that were queued: %+v", p)
	}
	if got, want := table.Stats(), (Stats{Processes: 2}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

func TestSeedReadsTheImage(t *testing.T) {
	t.Parallel()
	root := machine(t, merge(
		processFiles(7, 1, 500, map[string]string{"cmdline": "app\x00", "exe": "->/bin/app", "cwd": "->/srv"}),
		processFiles(8, 1, 900, map[string]string{"cmdline": "other\x00"}), // a later process
	))
	table := NewTable(TableOptions{Procfs: filepath.Join(root, "proc")})
	table.Seed(event.Task{PID: 7, Start: 5_001_234_567, ExeInode: 99, Flags: event.ExeUpperLayer})
	table.Seed(event.Task{PID: 8, Start: 6_000_000_000})
	table.Seed(event.Task{PID: 9, Start: 5}) // has ended
	table.SeedDone()
	if p := table.Find(7); p.Path != "/bin/app" || p.Cwd != "/srv" || p.Args[0] != "app" || p.ExeInode != 99 || p.Flags != event.ExeUpperLayer {
		t.Errorf("process 7: %+v", p)
	}
	if p := table.Find(8); p.Path != "" || p.Args != nil {
		t.Errorf("process 8 has what is another's: %+v", p)
	}
	if p := table.Find(9); p != nil {
		t.Errorf("process 9: %+v", p)
	}
}

func TestUnknownIsCompletedFromProc(t *testing.T) {
	t.Parallel()
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Skip("needs the program sleep")
	}
	defer func() {
		sleep.Process.Kill()
		sleep.Wait()
	}()
	pid := uint32(sleep.Process.Pid)
	awaitExec(t, pid)
	stat, err := readStat("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable(TableOptions{Procfs: "/proc"})
	p := processAt(table, event.ID{PID: pid, Start: stat.Start + 4_321})
	exe, _ := os.Executable()
	if p.Start != stat.Start+4_321 || len(p.Args) != 2 || p.Parent == nil || p.Parent.Path != exe || p.Parent.Parent == nil {
		t.Errorf("completed: %+v of %+v", p, p.Parent)
	}
	other := processAt(table, event.ID{PID: pid, Start: stat.Start - 1})
	if other.Args != nil {
		t.Errorf("an earlier process with the pid got %+v", other)
	}
	if s := table.Stats(); s.Missed != 2 || s.Completed != 1 {
		t.Errorf("Stats() = %+v", s)
	}
	checkTable(t, table)
}

func TestSeedFromProc(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{Procfs: "/proc"})
	if err := table.SeedFromProc(); err != nil {
		t.Fatal(err)
	}
	checkTable(t, table)
	p := table.Find(uint32(os.Getpid()))
	if p == nil || p.Parent == nil || p.Parent.PID != uint32(os.Getppid()) {
		t.Errorf("own process: %+v", p)
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	t.Parallel()
	root := machine(t, merge(
		processFiles(1, 0, 1, map[string]string{"cmdline": "/sbin/init\x00"}),
		processFiles(7, 1, 500, map[string]string{
			"cmdline": "app\x00--password=hunter2\x00\xff\xfe<>&\x00", "exe": "->/bin/\xffapp", "cwd": "->/srv", "cgroup": "0::/a.slice\n",
		}),
		map[string]string{"cg/a.slice/b/": "", "proc/sys/kernel/osrelease": "6.1.0\n"},
	))
	procfs := filepath.Join(root, "proc")
	l := CgroupLayout{Version: 2, Mount: filepath.Join(root, "cg"), Root: "/", Namespace: "/"}
	var file bytes.Buffer
	if err := WriteSnapshot(&file, procfs, l, nil); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(file.String(), "hunter2") {
		t.Errorf("a secret is in\n%s", &file)
	}
	s, err := ReadSnapshot(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	boot, err := BootTime()
	if err != nil || s.Kernel != "6.1.0" || s.Layout != l || boot-s.Boot > 1e9 || s.Boot-boot > 1e9 || s.Taken < s.Boot {
		t.Errorf("header: %+v, boot %d, %v", s, boot, err)
	}
	if paths := []string{s.Cgroups[0].Path, s.Cgroups[1].Path, s.Cgroups[2].Path}; !slices.Equal(paths, []string{"/", "/a.slice", "/a.slice/b"}) {
		t.Errorf("control groups: %q", paths)
	}
	want, err := readProcesses(procfs, &l)
	if err != nil {
		t.Fatal(err)
	}
	want[1].Args[1] = "--password=" + redacted
	for i := range want {
		if diff := cmp.Diff(*want[i], s.Processes[i]); diff != "" {
			t.Errorf("process (-want +got):\n%s", diff)
		}
	}
	if s.Processes[1].CgroupID != s.Cgroups[1].ID {
		t.Errorf("process 7 is in %d, want %d", s.Processes[1].CgroupID, s.Cgroups[1].ID)
	}
	table := NewTable(TableOptions{})
	if err := table.Load(s); err != nil {
		t.Fatal(err)
	}
	if p := table.Find(7); p == nil || p.Parent == nil || p.Parent.PID != 1 {
		t.Errorf("loaded: %+v", p)
	}
}

func TestReadSnapshotErrors(t *testing.T) {
	t.Parallel()
	const header = `{"yagura_snapshot":{"Version":1}}` + "\n"
	f := func(text, want string) {
		t.Helper()
		if _, err := ReadSnapshot(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadSnapshot(%q) = %v, want %q", text, err, want)
		}
	}
	f("", "snapshot line 0: the file ends here")
	f(header, "snapshot line 1: the file ends here")
	f(`{"yagura_snapshot":{"Version":2}}`, "snapshot line 1: version 2, this program reads 1")
	f(`{"end":{}}`, "snapshot line 1: want a yagura_snapshot header")
	f(header+header, "snapshot line 2: want a yagura_snapshot header")
	f(header+"{}\n", "snapshot line 2: neither cgroup, process nor end")
	f(header+`{"process":{"PID":"x"}}`, "snapshot line 2: json: cannot unmarshal")
	f(header+`{"process":{"Pid2":1}}`, "snapshot line 2: json: unknown field")
	f(header+`{"process":{"PID":3,"Comm":"0123456789abcdef"}}`, "snapshot line 2: process 3: Comm has 16 bytes")
	f(header+`{"process":{"Comm":{"Base64":"*"}}}`, "snapshot line 2: illegal base64")
	f(header+`{"end":{"Processes":1}}`, "snapshot line 2: 0 control groups and 1 processes were written, but 0 and 0 read")
	f(header+`{"end":{}}`+"\n{}\n", "snapshot line 3: something follows the end")
	f(header+`{"end":{}} {}`, "snapshot line 2: more than one value")
	f(header+strings.Repeat("x", maxSnapshotLine+1), "snapshot line 2: bufio.Scanner: token too long")
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(`{"yagura_snapshot":{"Version":1}}` + "\n" + `{"cgroup":{"ID":1,"Path":{"Base64":"/w=="}}}` + "\n" +
		`{"process":{"PID":3,"Start":5,"Comm":"x","Args":["a","b"]}}` + "\n" + `{"end":{"Cgroups":1,"Processes":1}}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadSnapshot(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "snapshot line ") {
				t.Errorf("error %q does not name the line", err)
			}
			return
		}
		table := NewTable(TableOptions{})
		if err := table.Load(s); err != nil {
			t.Error(err)
		}
		checkTable(t, table)
	})
}

func BenchmarkReadProcess(b *testing.B) {
	l, err := Cgroups("/proc")
	if err != nil {
		b.Skip(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readProcess("/proc", uint32(os.Getpid()), &l); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	s := &Snapshot{}
	for i := range 10_000 {
		s.Processes = append(s.Processes, event.Process{Task: event.Task{PID: uint32(i + 1), PPID: uint32(i / 3), Start: uint64(i + 1)}, Path: strconv.Itoa(i)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := NewTable(TableOptions{}).Load(s); err != nil {
			b.Fatal(err)
		}
	}
}
