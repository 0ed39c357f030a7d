package host

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sameUsage = cmp.Options{cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-9), cmpopts.EquateEmpty()}

// filesOf makes the files of control groups below a directory and reads them as version 2, or as version 1 with all
// controllers in one place.
func filesOf(t testing.TB, v2 bool, files map[string]string) CgroupFiles {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := CgroupFiles{v2: v2, layouts: map[string]CgroupLayout{}}
	for _, c := range resourceControllers {
		f.layouts[c] = CgroupLayout{Mount: dir, Root: "/"}
	}
	return f
}

var v2Files = map[string]string{
	"pod/memory.max":              "104857600\n",
	"pod/cpu.max":                 "max 100000\n",
	"pod/pids.max":                "max\n",
	"pod/web/cpu.stat":            "usage_usec 3500000\nuser_usec 2500000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 250000\n",
	"pod/web/cpu.max":             "50000 100000\n",
	"pod/web/cpu.weight":          "39\n", // what runc makes of 998 to 1023 shares
	"pod/web/memory.current":      "50000000\n",
	"pod/web/memory.max":          "max\n",
	"pod/web/memory.stat":         "anon 30000000\nfile 15000000\ninactive_file 10000000\n",
	"pod/web/memory.swap.current": "4096\n",
	"pod/web/memory.events":       "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n",
	"pod/web/pids.current":        "12\n",
	"pod/web/pids.max":            "100\n",
	"pod/web/io.stat":             "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n",
	"pod/web/io.pressure":         "some avg10=1.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
}

func TestReadV2(t *testing.T) {
	got, err := filesOf(t, true, v2Files).Reader().Read("/pod/web")
	if err != nil {
		t.Fatal(err)
	}
	want := Usage{
		CPUUser: 2.5, CPUSystem: 1, CPULimit: 0.5, CPURequest: 998. / 1024, CPUPeriods: 10, CPUThrottled: 4, CPUThrottledSeconds: 0.25,
		Memory: 50e6, WorkingSet: 40e6, RSS: 30e6, Cache: 15e6, Swap: 4096, MemoryLimit: 100 << 20, MemoryFailures: 7, OOMEvents: 1,
		Pids: 12, PidsLimit: 100,
		IO:       []DeviceIO{{"8:0", "read", 4096, 1}, {"8:0", "write", 8192, 2}},
		Pressure: []Pressure{{"io", "some", 1.5}, {"io", "full", 0.5}},
	}
	if diff := cmp.Diff(want, got, sameUsage); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadV1(t *testing.T) {
	got, err := filesOf(t, false, map[string]string{
		"pod/cpu.cfs_quota_us": "30000\n", "pod/cpu.cfs_period_us": "100000\n", "pod/pids.max": "50\n",
		"pod/web/cpuacct.usage": "3500000000\n", "pod/web/cpuacct.usage_user": "5000000000\n", "pod/web/cpuacct.usage_sys": "2000000000\n",
		"pod/web/cpu.stat":         "nr_periods 10\nnr_throttled 4\nthrottled_time 250000000\n",
		"pod/web/cpu.cfs_quota_us": "-1\n", "pod/web/cpu.cfs_period_us": "100000\n", "pod/web/cpu.shares": "512\n",
		"pod/web/memory.usage_in_bytes": "50000000\n", "pod/web/memory.failcnt": "7\n",
		"pod/web/memory.stat":        "rss 1\nhierarchical_memory_limit 9223372036854771712\ntotal_rss 30000000\ntotal_cache 15000000\ntotal_swap 4096\ntotal_inactive_file 60000000\n",
		"pod/web/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
		"pod/web/pids.current":       "12\n", "pod/web/pids.max": "max\n",
		"pod/web/blkio.throttle.io_service_bytes": "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 12288\n8:0 Total 12288\nTotal 12288\n",
		"pod/web/blkio.throttle.io_serviced":      "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
	}).Reader().Read("/pod/web")
	if err != nil {
		t.Fatal(err)
	}
	want := Usage{
		CPUUser: 2.5, CPUSystem: 1, CPULimit: 0.3, CPURequest: 0.5, CPUPeriods: 10, CPUThrottled: 4, CPUThrottledSeconds: 0.25,
		Memory: 50e6, WorkingSet: 0, RSS: 30e6, Cache: 15e6, Swap: 4096, MemoryLimit: math.NaN(), MemoryFailures: 7, OOMEvents: 1,
		Pids: 12, PidsLimit: 50,
		IO: []DeviceIO{{"8:0", "read", 4096, 1}, {"8:0", "write", 8192, 2}},
	}
	if diff := cmp.Diff(want, got, sameUsage); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadOfAVanishedGroupIsUnknown(t *testing.T) {
	for _, v2 := range []bool{true, false} {
		got, err := filesOf(t, v2, nil).Reader().Read("/gone")
		if diff := cmp.Diff(unknownUsage(), got, sameUsage); diff != "" || err != nil || got.Known() {
			t.Errorf("version 2: %v: %v, (-want +got):\n%s", v2, err, diff)
		}
	}
}

func TestReadSaysWhatItCannotUnderstand(t *testing.T) {
	files := map[string]string{"web/memory.current": "lots\n", "web/pids.current": "3\n", "web/cpu.stat": "nonsense\n", "web/io.pressure": "some\n"}
	got, err := filesOf(t, true, files).Reader().Read("/web")
	for _, part := range []string{`memory.current of control group /web: "lots": want a number`, `cpu.stat of control group /web: line "nonsense"`, `io.pressure: line "some"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error = %v, want %s in it", err, part)
		}
	}
	if got.Pids != 3 || !math.IsNaN(got.Memory) || !math.IsNaN(got.WorkingSet) {
		t.Errorf("usage = %+v, want the 3 threads, and no memory", got)
	}
}

// TestReadBesideTheKernel compares with what a process of this machine was seen to do.
func TestReadBesideTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes control groups")
	}
	layout, err := Cgroups("/proc")
	if err != nil {
		t.Fatal(err)
	}
	files, err := layout.Files("/proc")
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/yagura-resources-%d", os.Getpid())
	cmd := exec.Command("/bin/sh", "-c", "read go; while :; do :; done")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write := func(controller, file, text string) error {
		dir, ok := files.layouts[controller].directory(group)
		if !ok {
			t.Skipf("needs the %s controller", controller)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return os.WriteFile(filepath.Join(dir, file), []byte(text), 0)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, c := range resourceControllers {
			dir, _ := files.layouts[c].directory(group)
			for range 100 {
				if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids"} {
		if err := write(c, "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	quota := write("cpu", "cpu.cfs_quota_us", "25000")
	if files.v2 {
		quota = write("cpu", "cpu.max", "25000 100000")
	}
	if quota != nil {
		t.Skipf("needs the cpu controller: %v", quota)
	}
	if _, err := stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	var u Usage
	ticks := func() float64 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		return (user + system) / 100
	}
	var low, high float64
	for u.CPUThrottled < 5 || math.IsNaN(u.CPUThrottled) {
		low = ticks()
		if u, err = files.Reader().Read(group); err != nil {
			t.Fatal(err)
		}
		high = ticks()
		time.Sleep(20 * time.Millisecond)
	}
	used := u.CPUUser + u.CPUSystem
	t.Logf("used %.3f s, /proc says %.2f to %.2f; %v", used, low, high, u)
	// What it did before it was moved is not the group's; /proc counts in hundredths.
	if used < low-0.15 || used > high+0.05 {
		t.Errorf("CPU = %.3f s, want %.2f to %.2f", used, low, high)
	}
	if u.CPULimit != 0.25 || u.Pids != 1 || u.CPUThrottledSeconds <= 0 || math.IsNaN(u.Memory) {
		t.Errorf("usage = %+v, want a limit of 0.25 processors, 1 thread, throttled time, and memory to be known", u)
	}
}

func FuzzCgroupFiles(f *testing.F) {
	for _, text := range v2Files {
		f.Add(text)
	}
	f.Add("9223372036854771712\n")
	f.Add("8:0 Read 4096\nTotal 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, v2 := range []bool{true, false} {
			names := []string{"cpu.stat", "cpu.max", "memory.stat", "io.stat", "io.pressure", "memory.max"}
			if !v2 {
				names = []string{"cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.stat", "memory.oom_control", "blkio.throttle.io_serviced", "pids.max"}
			}
			files := map[string]string{}
			for _, name := range names {
				files["g/"+name] = text
			}
			u, _ := filesOf(t, v2, files).Reader().Read("/g")
			if u.MemoryLimit >= 1<<62 || u.PidsLimit >= 1<<62 {
				t.Errorf("no limit is shown as one: %+v", u)
			}
		}
	})
}

func BenchmarkReadGroup(b *testing.B) {
	layout, err := Cgroups("/proc")
	if err != nil {
		b.Skip(err)
	}
	files, err := layout.Files("/proc")
	if err != nil {
		b.Skip(err)
	}
	b.ReportAllocs()
	r := files.Reader()
	for b.Loop() {
		if _, err := r.Read("/"); err != nil {
			b.Fatal(err)
		}
	}
}
