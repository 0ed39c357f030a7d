package exporter

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// statLine is /proc/PID/stat of a process that has used some ticks of a hundredth of a second, and some pages.
func statLine(pid int, comm string, ticks, pages int) string {
	return fmt.Sprintf("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 %d 0 0 0 20 5 3 0 100 4096 %d 0\n", pid, comm, ticks, pages)
}

// fakeProcesses makes a /proc with processes in two control groups.
func fakeProcesses(t testing.TB, n int) UsageOptions {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		pid := 100 + i
		if err := os.MkdirAll(filepath.Join(dir, strconv.Itoa(pid), "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		name := strconv.Itoa(pid)
		write(name+"/stat", statLine(pid, "worker", i, n-i))
		write(name+"/cgroup", fmt.Sprintf("0::/g%d\n", i%2))
		write(name+"/cmdline", "worker\x00--password=hunter2\x00")
		write(name+"/limits", "Limit                     Soft Limit           Hard Limit           Units\nMax open files            4                    4096                 files\n")
	}
	for _, fd := range []string{"0", "1", "2"} {
		write("100/fd/"+fd, "")
	}
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("etc/passwd", fmt.Sprintf("me:x:%d:0::/:\n", os.Geteuid()))
	return UsageOptions{Procfs: dir, Rootfs: dir, Layout: host.CgroupLayout{Version: 2, Namespace: "/"}, Log: slog.New(slog.DiscardHandler),
		At: func(path string) (event.Workload, bool) {
			return event.Workload{Container: strings.TrimPrefix(path, "/")}, true
		}}
}

type processPage struct {
	Data  []ProcessRow
	Next  string
	Error string
}

func get(t testing.TB, h http.Handler, query string) (int, processPage) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/yagura/processes"+query, nil))
	var page processPage
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		t.Fatalf("%s: %v: %s", query, err, w.Body)
	}
	return w.Code, page
}

func TestUsageKeepsTheGreediestOfEachWorkload(t *testing.T) {
	const n = 10_000
	u := NewUsage(fakeProcesses(t, n))
	u.look(t.Context())
	got := values(t, u.Entry())
	for series, want := range map[string]float64{
		"yagura_processes container=g0": n / 2, "yagura_threads container=g1": 3 * n / 2, "yagura_process_states container=g0 state=sleeping": n / 2,
		"yagura_usage_rows": 2 * 2 * usageTop, "yagura_usage_left_out": n - 2*2*usageTop,
		"yagura_open_descriptors container=g0": 3, "yagura_open_descriptors_ratio container=g0": 0.75,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", series, v, ok, want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	// The last process has used most CPU and least memory, the first the other way round.
	if _, page := get(t, u.Processes(), "?limit=1"); len(page.Data) != 1 || page.Data[0].PID != 100+n-1 || page.Next != "1" {
		t.Errorf("by CPU first: %+v", page)
	}
	_, page := get(t, u.Processes(), "?limit=1&sort=memory&container=g0")
	if len(page.Data) != 1 {
		t.Fatalf("by memory first: %+v", page)
	}
	want := ProcessRow{PID: 100, PPID: 1, UID: uint32(os.Geteuid()), User: "me", Comm: "worker", Command: page.Data[0].Command, State: "sleeping", Threads: 3, Nice: 5,
		RSSBytes: n * uint64(os.Getpagesize()), VirtualBytes: 4096, OpenDescriptors: 3, DescriptorLimit: 4, StartTime: page.Data[0].StartTime, Container: "g0"}
	if page.Data[0] != want {
		t.Errorf("by memory first: %+v, want %+v", page.Data[0], want)
	}
	if c := page.Data[0].Command; strings.Contains(c, "hunter2") || !strings.HasPrefix(c, "worker --password=") {
		t.Errorf("command = %q, want it without the password", c)
	}
}

func TestPagingGivesEachRowOnce(t *testing.T) {
	u := NewUsage(fakeProcesses(t, 50))
	u.look(t.Context())
	var pids []uint32
	for cursor := "0"; cursor != ""; {
		code, page := get(t, u.Processes(), "?sort=pid&limit=7&cursor="+cursor)
		if code != 200 {
			t.Fatal(page.Error)
		}
		for _, r := range page.Data {
			pids = append(pids, r.PID)
		}
		cursor = page.Next
	}
	if len(pids) != 50 || !slices.IsSorted(pids) || len(slices.Compact(pids)) != 50 {
		t.Errorf("pages hold %v", pids)
	}
}

func TestQueryErrorsNameTheParameter(t *testing.T) {
	u := NewUsage(fakeProcesses(t, 1))
	for query, want := range map[string]string{
		"?limit=0": `limit: "0": want 1 to 1000`, "?limit=x": `limit: "x": want 1 to 1000`, "?since=yesterday": `since: "yesterday": want RFC 3339 or Unix seconds`,
		"?cursor=-1": `cursor: "-1": want what next was`, "?sort=name": `sort: "name": want one of ["cpu" "memory" "pid" "start"]`,
		"?colour=red": "colour: unknown parameter", "?limit=1&limit=2": "limit: given 2 times, want once",
	} {
		if code, page := get(t, u.Processes(), query); code != 400 || page.Error != want {
			t.Errorf("%s: %d %q, want 400 %q", query, code, page.Error, want)
		}
	}
	w := httptest.NewRecorder()
	u.Processes().ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if code, page := get(t, u.Processes(), "?until=1970-01-01T00:00:00Z"); code != 200 || len(page.Data) != 0 || page.Data == nil {
		t.Errorf("before all: %d %+v, want an empty list", code, page)
	}
}

func TestUsageThatHangsIsLeftBehind(t *testing.T) {
	o := fakeProcesses(t, 1)
	release := make(chan struct{})
	entered := make(chan struct{}, usageHung)
	o.At = func(string) (event.Workload, bool) {
		entered <- struct{}{}
		<-release
		return event.Workload{}, true
	}
	u := NewUsage(o)
	for range usageHung + 2 { // the caller gives up at once
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		u.look(ctx)
	}
	for range usageHung {
		<-entered
	}
	u.mu.Lock()
	if u.hung != usageHung {
		t.Errorf("%d looks hang, want %d and no more", u.hung, usageHung)
	}
	u.mu.Unlock()
	close(release)
	for {
		u.mu.Lock()
		hung := u.hung
		u.mu.Unlock()
		if hung == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestUsageBesideTheMachine compares with what real processes do.
func TestUsageBesideTheMachine(t *testing.T) {
	layout, err := host.Cgroups("/proc")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "ulimit -n 400; i=3; while [ $i -lt 9 ]; do eval \"exec $i</dev/null\"; i=$((i+1)); done; echo ready; while :; do :; done", "sh", "--password=hunter2")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	u := NewUsage(UsageOptions{Procfs: "/proc", Rootfs: "/", Layout: layout, Log: slog.New(slog.DiscardHandler),
		At: func(string) (event.Workload, bool) { return event.Workload{}, false }})
	u.look(t.Context())
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	u.look(t.Context())
	_, page := get(t, u.Processes(), "?sort=cpu")
	i := slices.IndexFunc(page.Data, func(r ProcessRow) bool { return r.PID == uint32(cmd.Process.Pid) })
	if i < 0 {
		t.Fatalf("the process is not among %d", len(page.Data))
	}
	r := page.Data[i]
	t.Logf("%+v", r)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if r.OpenDescriptors != uint64(len(fds)) || r.DescriptorLimit != 400 || r.CPURatio <= 0 || r.CPURatio > 1.1 || r.RSSBytes == 0 ||
		strings.Contains(r.Command, "hunter2") || r.PPID != uint32(os.Getpid()) || time.Since(r.StartTime) > time.Minute {
		t.Errorf("row = %+v, want %d descriptors of 400 and the processor", r, len(fds))
	}
}

func BenchmarkUsageSample(b *testing.B) {
	o := fakeProcesses(b, 10_000)
	u := NewUsage(o)
	b.ReportAllocs()
	for b.Loop() {
		u.look(b.Context())
	}
}
