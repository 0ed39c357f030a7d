package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A quiet machine does what machines do all day.
type quiet struct {
	runtime *containerd
	dir     string // for programs and files of ours, where root keeps such things
	home    string // of the ordinary user
	cred    *syscall.Credential
}

// everyday is the name of the ordinary user, and of what else we put into places that all share.
const everyday = "yagura-everyday"

// everydayActs are what the machine does, and which programs must have been seen to start meanwhile: each of them.
func (q *quiet) everydayActs() []everydayAct {
	return []everydayAct{
		{"packages", q.packages, "dpkg dpkg-deb tar update-alternat deb-systemd-hel adduser mandb"},
		{"packages of the mirror", q.mirror, "apt-get dpkg hello"},
		{"compilers", q.compilers, "go compile asm link gcc cc1 as ld hello"},
		{"nginx under load", q.nginx, "nginx wrk logrotate gzip"},
		{"logins", q.logins, "sshd ssh bash sudo su id ls scp sftp-server"},
		{"containers", q.containers, "containerd containerd-shim runc ctr guest@long guest@short0 dash@shell id@shell ls@shell"},
		{"a client of Kubernetes", q.kubernetes, "kubectl"},
		{"monitoring", q.monitoring, "prometheus prometheus-node"},
		{"housekeeping", q.housekeeping, "systemd-tmpfile update-ca-certi ldconfig logrotate"},
	}
}

// An everydayAct is one of the things that machines do.
type everydayAct struct {
	name     string
	do       func(t *testing.T)
	programs string // by the names they go by once they run; with @ and a container's name, in that container
}

// TestStableRulesAreQuiet does for real what machines do all day, and wants no rule to fire that is called stable. Others
// may do as they like meanwhile: of the alerts, those count whose process descends from us.
func TestStableRulesAreQuiet(t *testing.T) {
	needsKernel(t)
	q := newQuiet(t)
	acts := q.everydayActs()
	cron := q.cron(t) // its table must be there before it is watched

	dir := t.TempDir()
	y := yagura(t, "--config.file="+q.config(t, dir, append(acts, cron))).await(t).ready(t)
	seen := func() float64 { return y.scrape(t, "/metrics").sum("yagura_events_total") }
	before := seen()
	skipped := map[string]bool{}
	ended := q.startCron(t)
	for _, a := range acts {
		t.Run(a.name, func(t *testing.T) {
			defer func() { skipped[a.name] = t.Skipped() }()
			begin, first := time.Now(), seen()
			a.do(t)
			t.Logf("%.1f s, %v events", time.Since(begin).Seconds(), seen()-first)
		})
	}
	t.Run(cron.name, func(t *testing.T) {
		defer func() { skipped[cron.name] = t.Skipped() }()
		ended(t)
	})

	q.judge(t, y, dir+"/alerts", func(ours []told) {
		for _, a := range append(acts, cron) {
			if !skipped[a.name] {
				witnesses(t, a, ours)
			}
		}
	})
	if n := seen() - before; n < 5000 {
		t.Errorf("%v events were seen, want thousands", n)
	} else {
		t.Logf("%v events were seen", n)
	}
}

// newQuiet makes what must be there before anybody watches: making it is not an everyday thing.
func newQuiet(t *testing.T) *quiet {
	t.Helper()
	needsProgram(t, "useradd", "userdel", "cat")
	q := &quiet{dir: "/opt/" + everyday}
	os.RemoveAll(q.dir) // of an earlier run that was killed
	t.Cleanup(func() { os.RemoveAll(q.dir) })
	for _, sub := range []string{"/bin", "/etc", "/log"} {
		if err := os.MkdirAll(q.dir+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	q.run(t, "/bin/cp", "/bin/cat", q.dir+"/bin/cat")
	q.build(t, "kubectl", kubectl)
	q.addUser(t)
	q.sshKeys(t)
	q.rootfs(t)
	q.runtime = startContainerd(t)
	return q
}

// addUser makes an ordinary user, who may use sudo.
func (q *quiet) addUser(t *testing.T) {
	t.Helper()
	remove := func() {
		_ = exec.Command("userdel", "--force", "--remove", everyday).Run()
		os.Remove("/etc/sudoers.d/" + everyday)
	}
	remove()
	t.Cleanup(remove)
	q.run(t, "useradd", "--create-home", "--shell", "/bin/bash", everyday)
	u, err := user.Lookup(everyday)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	q.home, q.cred = u.HomeDir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.MkdirAll("/etc/sudoers.d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(write(t, "/etc/sudoers.d/"+everyday, everyday+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440); err != nil {
		t.Fatal(err)
	}
}

// build compiles a program into q.dir/bin.
func (q *quiet) build(t *testing.T, name, source string) {
	t.Helper()
	needsProgram(t, "go")
	build := exec.Command("go", "build", "-o", q.dir+"/bin/"+name, write(t, t.TempDir()+"/main.go", source))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
}

// bounded is a program that does not run for ever.
func bounded(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, name, args...)
}

// run runs a program to its end, and returns what it said.
func (q *quiet) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := bounded(t, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// asUser runs a program as the ordinary user, at home.
func (q *quiet) asUser(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := bounded(t, name, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"HOME=" + q.home, "USER=" + everyday, "PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: q.cred, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// witness is the name of a rule of the test, which tells of every program that must have been seen.
const witness = "Witness of everyday programs"

// config lets every rule speak as often as it likes, and say from whom the process descends.
func (q *quiet) config(t *testing.T, dir string, acts []everydayAct) string {
	t.Helper()
	var names []string
	for _, a := range acts {
		for _, name := range strings.Fields(a.programs) {
			name, _, _ = strings.Cut(name, "@")
			names = append(names, name)
		}
	}
	rule := write(t, dir+"/witness.yaml", fmt.Sprintf(`
- rule: %s
  desc: Programs that the test runs.
  condition: evt.type in (execve, execveat) and evt.rawres >= 0 and proc.name in (%s)
  output: "%%proc.name"
  priority: DEBUG
  tags: [maturity_sandbox]
`, witness, strings.Join(names, ", ")))
	return write(t, dir+"/yagura.yml", fmt.Sprintf(`
kernel: {ring_buffer: 16777216, map_memory: 134217728}
containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}
rules:
  files: [%s]
  matching: all
  append_output: [{extra_fields: [proc.name, proc.pid, proc.apid, proc.aname, proc.exepath, proc.cmdline]}]
  rate: {per_second: 1000000, burst: 1000000}
  outputs: {queue: 100000, file: {path: %s}}
`, q.runtime.socket(), rule, dir+"/alerts"))
}

// told is one alert.
type told struct {
	Rule   string
	Tags   []string
	Fields map[string]any `json:"output_fields"`
	line   string
}

// ours says whether the process descends from the test, or from nobody that is known.
func (a told) ours() bool {
	pids, _ := a.Fields["proc.apid"].(string)
	return a.number("proc.pid") == os.Getpid() || pids == "" || slices.Contains(strings.Split(pids, "->"), strconv.Itoa(os.Getpid()))
}

func (a told) number(field string) int {
	n, _ := a.Fields[field].(float64)
	return int(n)
}

// alerts reads those of our own doing.
func hitsTold(t *testing.T, path string) (ours []told, all int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		a := told{line: string(line)}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all++
		if a.ours() {
			ours = append(ours, a)
		}
	}
	return ours, all
}

// judge wants no alert of a stable rule but one that it brings about itself, last of all: once that has come, so have all.
func (q *quiet) judge(t *testing.T, y *server, path string, also func(ours []told)) {
	t.Helper()
	cat := q.dir + "/bin/cat"
	q.run(t, cat, "/etc/shadow")
	var ours []told
	var all int
	isControl := func(a told) bool { return a.Fields["proc.exepath"] == cat && a.Rule != witness }
	eventually(t, "a read of /etc/shadow is told", func() bool {
		ours, all = hitsTold(t, path)
		return slices.ContainsFunc(ours, func(a told) bool {
			return isControl(a) && slices.Contains(a.Tags, "maturity_stable") && a.Fields["fd.name"] == "/etc/shadow"
		})
	})
	for _, a := range ours {
		switch {
		case isControl(a) || a.Rule == witness:
		case slices.Contains(a.Tags, "maturity_stable"):
			t.Errorf("a stable rule fired:\n%s", a.line)
		default:
			t.Logf("a rule fired that is not stable:\n%s", a.line)
		}
	}
	also(ours)

	p := y.scrape(t, "/metrics")
	if hits := p.sum("yagura_rule_hits_total"); int(hits) < all {
		t.Errorf("%v hits were counted, but %d told", hits, all)
	}
	for _, name := range []string{"yagura_events_lost_total", "yagura_alerts_lost_total", "yagura_rule_suppressed_total"} {
		if p[name] == nil || p.sum(name) != 0 {
			t.Errorf("%s is %v, want 0: %v", name, p.sum(name), p[name])
		}
	}
	t.Logf("%d alerts of our own doing of %d", len(ours), all)
}

// witnesses wants each program of an act to have been seen.
func witnesses(t *testing.T, a everydayAct, ours []told) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range ours {
		if o.Rule == witness {
			name := fmt.Sprint(o.Fields["proc.name"])
			seen[name], seen[fmt.Sprintf("%s@%v", name, o.Fields["container.name"])] = true, true
		}
	}
	for _, name := range strings.Fields(a.programs) {
		if !seen[name] {
			t.Errorf("%s: no start of %s was seen, only %v", a.name, name, slices.Sorted(maps.Keys(seen)))
		}
	}
}
