package main

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postureRoot is a machine that is only files: a Debian with an SSH server that lets root in.
func postureRoot(t *testing.T, dir string) string {
	t.Helper()
	root := dir + "/root"
	for name, text := range map[string]string{
		"etc/os-release":      "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"etc/passwd":          "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n",
		"etc/group":           "root:x:0:\nalice:x:1000:\n",
		"etc/login.defs":      "PASS_MAX_DAYS 30\n",
		"etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\n",
		"etc/motd":            "hello\n",
		"usr/sbin/sshd":       "",
		"root/.profile":       "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, name), text)
	}
	if err := os.Mkdir(root+"/etc/ssh/sshd_config.d", 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// A postureRow is one of /api/yagura/posture.
type postureRow struct {
	Check, Framework, Control, Status, Severity, Reason string
	Failing, Waived                                     int
	Objects                                             []struct {
		Subject, Source, Expected string
		Fact                      map[string]any
	}
}

// postures are the rows of a query, as of a URL.
func (s *server) postures(t *testing.T, query string) (all []postureRow) {
	t.Helper()
	code, body := s.status(t, "GET", "/api/yagura/posture?limit=1000&"+query)
	var answer struct{ Data []postureRow }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 200 {
		t.Fatalf("%s: %d, %v: %.300s", query, code, err, body)
	}
	return answer.Data
}

// verdict is the first row of a check.
func (s *server) verdict(t *testing.T, check string) postureRow {
	t.Helper()
	rows := s.postures(t, "check="+check)
	if len(rows) == 0 {
		t.Fatalf("there is no check %s", check)
	}
	return rows[0]
}

// becomes waits until a check has a status.
func (s *server) becomes(t *testing.T, check, status string) {
	t.Helper()
	began := time.Now()
	eventually(t, check+" is "+status, func() bool { return s.verdict(t, check).Status == status })
	t.Logf("%s is %s after %.1f s", check, status, time.Since(began).Seconds())
}

// judged waits for a run later than another, of which only the begin matters, and returns when it began.
func (s *server) judged(t *testing.T, after float64) (at float64) {
	t.Helper()
	eventually(t, "the posture was judged", func() bool {
		at = s.scrape(t, "/metrics").sum("yagura_posture_last_run_timestamp_seconds")
		return at > after
	})
	return at
}

// reload has the configuration read again, and everything judged anew.
func (s *server) reload(t *testing.T) {
	t.Helper()
	before := s.judged(t, 0)
	if code, body := s.status(t, "POST", "/-/reload"); code != 200 {
		t.Fatalf("reload: %d: %s", code, body)
	}
	s.judged(t, before)
}

const postureConfig = `
posture:
  interval: 24h # nothing but changes has it judge again
WAIVERS
store: {scrape_interval: 1s}
fim:
  defaults: false
  store: DIR/fim.db
  watches:
    - {name: files, paths: [/etc/ssh, /etc/motd]}
`

// TestPostureOfARunningMachine is one machine over some time: what it shows, a change that is seen at once, waivers, and what the store
// says of it all in the end.
func TestPostureOfARunningMachine(t *testing.T) {
	needsKernel(t)
	dir := public(t)
	root := postureRoot(t, dir)
	configure := func(waivers string) string {
		return write(t, dir+"/yagura.yml", strings.NewReplacer("DIR", dir, "WAIVERS", waivers).Replace(postureConfig))
	}
	s := yagura(t, "--config.file="+configure(""), "--path.rootfs="+root, "--store.path="+dir+"/store", "--no-collector.rules", "--collector.posture", "--collector.fim").await(t).ready(t)
	if len(s.postures(t, "")) > 0 {
		t.Error("there are results before the first run")
	}
	s.judged(t, 0)

	const check = "ssh-root-login"
	t.Run("series", func(t *testing.T) { postureSeries(t, s, check) })
	t.Run("rows", func(t *testing.T) {
		v := s.verdict(t, check)
		if v.Status != "fail" || v.Severity != "high" || v.Failing != 1 || len(v.Objects) != 1 {
			t.Fatalf("it is %+v", v)
		}
		if o := v.Objects[0]; o.Source != "/etc/ssh/sshd_config" || o.Expected != "sshd.permitrootlogin = no" || o.Fact["sshd.permitrootlogin"] != "yes" {
			t.Errorf("it fails for %+v", o)
		}
		for _, query := range []string{"framework=cis_ubuntu_2204", "check=" + check + "&status=pass", "check=" + check + "&severity=low", "framework=cis_debian_12&control=0.0"} {
			if rows := s.postures(t, query); len(rows) > 0 {
				t.Errorf("%s: %d rows", query, len(rows))
			}
		}
	})

	eventually(t, "the files were looked at", func() bool {
		return len(s.scrape(t, "/metrics").matching("yagura_fim_last_scan_timestamp_seconds")) == 1
	})
	stored := func(value int) time.Time {
		t.Helper()
		eventually(t, "the store has it", func() bool {
			return len(s.query(t, fmt.Sprintf(`yagura_posture_check_result{check=%q} == %d`, check, value))) == 1
		})
		return time.Now()
	}
	failed := stored(0)
	var passed time.Time
	t.Run("a change", func(t *testing.T) {
		maxDays := s.verdict(t, "logindefs-max-days").Status
		write(t, root+"/etc/login.defs", "PASS_MAX_DAYS 99999\n") // which nobody watches
		before := s.judged(t, 0)
		dropIn := write(t, root+"/etc/ssh/sshd_config.d/00-root.conf", "PermitRootLogin no\n")
		s.becomes(t, check, "pass")
		passed = stored(1)
		if got := s.verdict(t, "logindefs-max-days").Status; maxDays != "pass" || got != maxDays {
			t.Errorf("what has nothing to do with the change was %s and is now %s, want pass, as nobody has looked", maxDays, got)
		}
		at := s.judged(t, before)
		write(t, root+"/etc/motd", "bye\n") // which is watched, and of which the checks of SSH know nothing
		if err := os.Remove(dropIn); err != nil {
			t.Fatal(err)
		}
		s.becomes(t, check, "fail")
		s.judged(t, at)
		s.reload(t)
		s.becomes(t, "logindefs-max-days", "fail")
	})
	t.Run("waivers", func(t *testing.T) { postureWaivers(t, s, check, configure) })
	t.Run("diff", func(t *testing.T) { postureDiff(t, s, check, failed, passed) })
}

// postureSeries are those that the issue names.
func postureSeries(t *testing.T, s *server, check string) {
	p := s.scrape(t, "/metrics")
	for _, series := range []struct {
		value  float64
		name   string
		labels []string
	}{
		{0, "yagura_posture_check_result", []string{"check", check, "severity", "high"}},
		{1, "yagura_posture_check_info", []string{"check", check, "framework", "cis_debian_12", "control", "5.1.20"}},
		{1, "yagura_posture_check_status", []string{"check", "ipv6-status", "status", "manual"}},
		{1, "yagura_posture_check_status", []string{"check", "docker-live-restore", "status", "not_applicable"}},
		{1, "yagura_posture_failing_objects", []string{"check", check}},
		{0, "yagura_posture_waivers", []string{"state", "active"}},
		{0, "yagura_posture_waivers", []string{"state", "expired"}},
	} {
		found := p.matching(series.name, series.labels...)
		if len(found) != 1 || p.sum(series.name, series.labels...) != series.value {
			t.Errorf("%s%q: %v, want one, of %v", series.name, series.labels, found, series.value)
		}
	}
	if score, coverage := p.sum("yagura_posture_score", "framework", "cis_debian_12"), p.sum("yagura_posture_coverage_ratio", "framework", "cis_debian_12"); score <= 0 || score >= 100 || coverage <= 0 || coverage >= 1 {
		t.Errorf("score %v, coverage %v: want some, and not all", score, coverage)
	}
	if since := float64(time.Now().UnixMilli())/1e3 - p.sum("yagura_posture_last_run_timestamp_seconds"); since < 0 || since > 120 {
		t.Errorf("the last run was %v s ago", since)
	}
	for _, m := range p.matching("yagura_posture_check_status") {
		if id := m.Label[0].GetValue(); len(p.matching("yagura_posture_check_result", "check", id)) > 0 {
			t.Errorf("%s has a result, and a reason why it has none", id)
		}
	}
	if n := len(p["yagura_posture_check_info"].GetMetric()); n == 0 || n > 9000 {
		t.Errorf("%d series say what checks are evidence for", n)
	}
}

func postureWaivers(t *testing.T, s *server, check string, configure func(waivers string) string) {
	waiver := func(of, until string) string {
		return fmt.Sprintf("  waivers: [{check: %s, objects: all, reason: agreed, owner: alice, until: %s}]", of, until)
	}
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	expect := func(status string, failing, waived int, active, expired float64) {
		t.Helper()
		v, p := s.verdict(t, check), s.scrape(t, "/metrics")
		if v.Status != status || v.Failing != failing || v.Waived != waived {
			t.Errorf("%s, %d failing, %d waived; want %s, %d, %d", v.Status, v.Failing, v.Waived, status, failing, waived)
		}
		if a, e := p.sum("yagura_posture_waivers", "state", "active"), p.sum("yagura_posture_waivers", "state", "expired"); a != active || e != expired {
			t.Errorf("%v waivers are active and %v have expired, want %v and %v", a, e, active, expired)
		}
	}
	configure(waiver(check, tomorrow))
	s.reload(t)
	expect("pass", 0, 1, 1, 0)
	configure(waiver("no-such-check", tomorrow))
	if code, body := s.status(t, "POST", "/-/reload"); code != 500 || !strings.Contains(body, "posture: waivers: entry 1: there is no check no-such-check") {
		t.Errorf("a waiver of nothing: %d: %s", code, body)
	}
	expect("pass", 0, 1, 1, 0)
	configure(waiver("ssh-*", "2026-01-31"))
	s.reload(t)
	expect("fail", 1, 0, 0, 1)
}

// postureDiff asks what has changed between a time at which the check failed and one at which it passed.
func postureDiff(t *testing.T, s *server, check string, failed, passed time.Time) {
	for _, test := range []struct {
		from, to time.Time
		want     string
	}{{failed, passed, "fail pass"}, {passed, failed, "pass fail"}, {failed, failed, ""}} {
		out, code := posture(t, "diff", "--url=http://"+s.addr, "--from="+test.from.Format(time.RFC3339Nano), "--to="+test.to.Format(time.RFC3339Nano), "--format=json")
		var answer struct {
			Checks []struct{ Check, Severity, From, To string }
			Scores []struct {
				Framework string
				From, To  *float64
			}
		}
		if err := json.Unmarshal(out, &answer); err != nil || code != 0 {
			t.Fatalf("exit status %d, %v: %s", code, err, out)
		}
		got := ""
		for _, c := range answer.Checks {
			if c.Check == check {
				got = c.From + " " + c.To
			}
		}
		if got != test.want {
			t.Errorf("from %s to %s: %q, want %q", test.from, test.to, got, test.want)
		}
		if test.want == "" && len(answer.Checks) > 0 {
			t.Errorf("between a time and the same: %v", answer.Checks)
		}
		for _, score := range answer.Scores {
			if score.Framework == "cis_debian_12" && (score.From == nil || score.To == nil || cmp.Compare(*score.To, *score.From) != map[string]int{"fail pass": 1, "pass fail": -1}[test.want]) {
				t.Errorf("from %s to %s the score goes from %v to %v", test.from, test.to, score.From, score.To)
			}
		}
	}
	if out, code := posture(t, "diff", "--url=http://"+s.addr, "--from=720h"); code != 2 {
		t.Errorf("of a time before the store: exit status %d: %s", code, out)
	}
}

// posture runs `yagura posture …`, and returns what it prints and its exit status.
func posture(t *testing.T, args ...string) (out []byte, code int) {
	t.Helper()
	cmd := bounded(t, binary(t), append([]string{"posture"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Logf("posture %q says %s", args, &stderr)
	}
	return out, cmd.ProcessState.ExitCode()
}

func TestPostureFormats(t *testing.T) {
	root := postureRoot(t, t.TempDir())
	const check = "ssh-root-login"
	for format, holds := range map[string]func(out []byte) bool{
		"table": func(out []byte) bool {
			return bytes.Contains(out, []byte("\nHIGH  "+check+": Root cannot log in over SSH\n    /etc/ssh/sshd_config: want sshd.permitrootlogin = no; it has sshd.permitrootlogin \"yes\"\n"))
		},
		"json": func(out []byte) bool {
			var r struct {
				Scores []struct {
					Framework string
					Score     float64
				}
				Checks []struct {
					ID, Framework, Status, Severity string
					Objects                         []struct{ Subject, Source, Expected, Remediation string }
				}
			}
			if err := json.Unmarshal(out, &r); err != nil {
				t.Error(err)
			}
			n := 0
			for _, c := range r.Checks {
				if c.ID == check && c.Status == "fail" && c.Severity == "high" && len(c.Objects) == 1 && c.Objects[0].Expected == "sshd.permitrootlogin = no" && c.Objects[0].Remediation != "" {
					n++
				}
			}
			return len(r.Scores) == 1 && r.Scores[0].Framework == "cis_debian_12" && n == 1
		},
		"csv": func(out []byte) bool {
			rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
			if err != nil {
				t.Error(err)
			}
			return slices.ContainsFunc(rows, func(row []string) bool {
				return slices.Equal(row[:5], []string{"cis_debian_12", "5.1.20", check, "fail", "high"})
			})
		},
		"sarif": func(out []byte) bool {
			var log struct {
				Version string
				Runs    []struct {
					Results []struct{ RuleID, Kind, Level string }
				}
			}
			if err := json.Unmarshal(out, &log); err != nil || len(log.Runs) != 1 {
				t.Fatalf("%d runs, %v", len(log.Runs), err)
			}
			return log.Version == "2.1.0" && slices.Contains(log.Runs[0].Results, struct{ RuleID, Kind, Level string }{check, "fail", "error"})
		},
		"junit": func(out []byte) bool {
			var suites struct {
				Suites []struct {
					Cases []struct {
						Name    string    `xml:"name,attr"`
						Failure *struct{} `xml:"failure"`
					} `xml:"testcase"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal(out, &suites); err != nil || len(suites.Suites) == 0 {
				t.Fatalf("%d suites, %v", len(suites.Suites), err)
			}
			for _, c := range suites.Suites[0].Cases {
				if strings.Contains(c.Name, check) {
					return c.Failure != nil
				}
			}
			return false
		},
		"html": func(out []byte) bool {
			return bytes.HasPrefix(bytes.ToLower(out), []byte("<!doctype html>")) && bytes.Contains(out, []byte(check))
		},
		"openmetrics": func(out []byte) bool {
			return bytes.HasSuffix(out, []byte("# EOF\n")) && bytes.Contains(out, []byte(`yagura_posture_check_result{check="`+check+`",severity="high"} 0`))
		},
	} {
		out, code := posture(t, "--root="+root, "--framework=cis_debian_12", "--format="+format)
		if code != 0 || !holds(out) {
			t.Errorf("%s: exit status %d; it does not say what it should:\n%.4000s", format, code, out)
		}
	}
}

func TestPostureExitStatus(t *testing.T) {
	root := postureRoot(t, t.TempDir())
	for _, test := range []struct {
		want int
		args []string
	}{
		{0, []string{"--root=" + root}},
		{0, []string{"--root=" + root, "--framework=cis_debian", "--min-score=1"}},
		{1, []string{"--root=" + root, "--framework=cis_debian", "--min-score=100"}},
		{1, []string{"--root=" + root, "--fail-on=high"}},
		{1, []string{"--root=" + t.TempDir(), "--framework=cis_debian", "--min-score=1"}}, // no Linux: nothing is assessed
		{2, []string{"--root=" + root, "--framework=cis_debian_1"}},
		{0, []string{"list"}},
		{2, []string{"list", "--framework=none"}},
		{2, []string{"diff", "--from=1h", "--url=http://127.0.0.1:1"}},
	} {
		if out, code := posture(t, test.args...); code != test.want {
			t.Errorf("%q: exit status %d, want %d:\n%.1000s", test.args, code, test.want, out)
		}
	}
}

func TestPostureOfWhatIsNoLinux(t *testing.T) {
	out, _ := posture(t, "--root="+t.TempDir(), "--format=json", "--framework=cis_debian_12")
	var r struct{ Checks []struct{ ID, Status string } }
	if err := json.Unmarshal(out, &r); err != nil || len(r.Checks) == 0 {
		t.Fatalf("%d checks, %v", len(r.Checks), err)
	}
	for _, c := range r.Checks {
		if c.Status == "pass" || c.Status == "fail" {
			t.Errorf("%s is %s where nothing can be known", c.ID, c.Status)
		}
	}
}

func TestPostureOfADockerfile(t *testing.T) {
	file := write(t, t.TempDir()+"/Dockerfile", "FROM debian:latest\nADD https://example.com/x /x\nRUN curl https://example.com/install | sh\n")
	out, code := posture(t, "--dockerfile="+file, "--format=json", "--fail-on=low")
	var r struct {
		Scores []struct{ Framework string }
		Checks []struct {
			ID, Framework, Status string
			Objects               []struct{ Subject, Source string }
		}
	}
	if err := json.Unmarshal(out, &r); err != nil || code != 1 {
		t.Fatalf("exit status %d, %v: %.300s", code, err, out)
	}
	where := map[string]bool{}
	for _, c := range r.Checks {
		for _, o := range c.Objects {
			where[o.Source] = true
		}
		if c.Status == "error" {
			t.Errorf("%s is in error", c.ID)
		}
	}
	for line := 1; line <= 3; line++ {
		if !where[fmt.Sprintf("%s:%d", file, line)] {
			t.Errorf("nothing is said of line %d: %q", line, slices.Sorted(maps.Keys(where)))
		}
	}
}

func TestPostureThatIsOff(t *testing.T) {
	needsKernel(t)
	y := yagura(t, "--no-collector.posture", "--no-collector.rules", "--config.file="+write(t, t.TempDir()+"/yagura.yml", "posture: {files: [/none]}\n")).await(t).ready(t)
	time.Sleep(12 * time.Second) // when the first run would have begun
	if rows := y.postures(t, ""); len(rows) > 0 {
		t.Errorf("%d rows", len(rows))
	}
	for name := range y.scrape(t, "/metrics") {
		if strings.HasPrefix(name, "yagura_posture_") {
			t.Errorf("there is %s", name)
		}
	}
	if strings.Contains(y.log.String(), "posture") {
		t.Error("its log speaks of posture")
	}
}

// TestPostureOfContainers starts containers with a bad setting each, and one that has none: they are found by their names. One that is
// mended is found no more after the next cycle.
func TestPostureOfContainers(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	bad := []struct {
		name, check string
		options     []string
	}{
		{"bad-privileged", "container-privileged", []string{"--privileged"}},
		{"bad-network", "container-host-network", []string{"--net-host"}},
		{"bad-socket", "container-runtime-socket", []string{"--mount", "type=bind,src=" + c.socket() + ",dst=/run/docker.sock,options=rbind"}},
		{"bad-capability", "container-capabilities-added", []string{"--cap-add", "CAP_SYS_ADMIN"}},
		{"bad-seccomp", "container-seccomp", nil},
		{"bad-user", "container-root", nil},
		{"bad-memory", "container-memory", nil},
	}
	const userImage = "docker.io/library/yagura-user:1"
	c.importAs(t, userImage, "1000:1000")
	begin := func(name, image string, options ...string) {
		t.Helper()
		c.ctr(t, append(append([]string{"run", "--snapshotter", "native", "--detach"}, options...), image, name, "/guest", "10m")...)
	}
	fine := []string{"--seccomp", "--memory-limit", "67108864"}
	for _, b := range bad {
		begin(b.name, testImage, b.options...)
	}
	begin("good", userImage, fine...)
	y := yagura(t, "--no-collector.rules", "--collector.posture", "--config.file="+write(t, c.dir+"/yagura.yml",
		fmt.Sprintf("containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}\n", c.socket()))).await(t).ready(t)
	y.judged(t, 0)
	names := func(check string) (all []string) {
		for _, o := range y.verdict(t, check).Objects {
			all = append(all, o.Subject)
		}
		return all
	}
	for _, b := range bad {
		v := y.verdict(t, b.check)
		if failing := names(b.check); v.Status != "fail" || !slices.Contains(failing, b.name) || slices.Contains(failing, "good") {
			t.Errorf("%s is %s (%s), for %q: want it to fail for %s, and not for good", b.check, v.Status, v.Reason, failing, b.name)
		}
	}
	for _, b := range bad {
		c.ctr(t, "task", "delete", "-f", b.name)
		c.ctr(t, "container", "delete", b.name)
		begin(b.name, userImage, fine...)
	}
	y.reload(t)
	for _, b := range bad {
		if v := y.verdict(t, b.check); v.Status != "pass" {
			t.Errorf("%s is %s (%s), for %q: want it to pass now", b.check, v.Status, v.Reason, names(b.check))
		}
	}
}

// TestPostureWithTheCapabilitiesOfTheUnit runs the daemon with what deploy/yagura.service leaves it, and without the two that only
// posture needs: then those checks are in error, and say why.
func TestPostureWithTheCapabilitiesOfTheUnit(t *testing.T) {
	needsKernel(t)
	needsProgram(t, "setpriv")
	reasons := map[string]string{"firewall-input-ipv4": "it takes CAP_NET_ADMIN", "audit-kernel-on": "it takes CAP_AUDIT_CONTROL"}
	for bounds, inError := range map[string]bool{
		"-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_resource,+sys_admin,+net_admin,+audit_control": false,
		"-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_resource,+sys_admin":                           true,
	} {
		args := append([]string{"--bounding-set", bounds, "--inh-caps", "-all", binary(t)}, commandLine("--no-collector.rules", "--collector.posture")...)
		y := new(server).launch(t, "setpriv", args...).await(t).ready(t)
		y.judged(t, 0)
		for check, reason := range reasons {
			if v := y.verdict(t, check); (v.Status == "error") != inError || inError && !strings.Contains(v.Reason, reason) {
				t.Errorf("with %s: %s is %s: %q; in error is %v, because %s", bounds, check, v.Status, v.Reason, inError, reason)
			}
		}
		for _, v := range y.postures(t, "status=error&framework=nist_800_53") {
			if !inError && strings.Contains(v.Reason, "it takes CAP_") {
				t.Errorf("with %s: %s is in error: %s", bounds, v.Check, v.Reason)
			}
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", y.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(status), "CapEff:\t000000c000080004\n") { // BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH
			t.Errorf("with %s: in effect is more than what is needed, or less:\n%s", bounds, status)
		}
		y.end(t, syscall.SIGTERM)
	}
}

// TestPostureSeesTheMachineFromBehindAWall hides files of the machine from the program, as a service manager does.
func TestPostureSeesTheMachineFromBehindAWall(t *testing.T) {
	needsRoot(t)
	needsProgram(t, "unshare", "mount", "sh")
	if _, err := os.Stat("/etc/pam.d"); err != nil {
		t.Skip("needs /etc/pam.d")
	}
	verdicts := func(script string) (list string) {
		t.Helper()
		// Its first process, as that of this test's machine may be nobody's to look at.
		out, err := bounded(t, "unshare", "--pid", "--fork", "--mount", "--mount-proc", "sh", "-ec", strings.ReplaceAll(script, "POSTURE",
			binary(t)+" posture --framework=cis_debian_12 --format=json")+"; true").Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var r struct {
			Checks []struct {
				ID, Status string
				Objects    []struct{ Subject, Error string }
			}
		}
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %.300s", err, out)
		}
		for _, c := range r.Checks {
			if strings.HasPrefix(c.ID, "pam-") {
				list += fmt.Sprintln(c.ID, c.Status, c.Objects)
			}
		}
		return list
	}
	got, want := verdicts("unshare --mount sh -ec 'mount -t tmpfs none /etc/pam.d; exec POSTURE'"), verdicts("POSTURE")
	if got != want || got == "" {
		t.Errorf("behind the wall:\n%s\nin front of it:\n%s", got, want)
	}
}

// TestPostureOfThisMachine bounds what a run costs, by what may be asserted: it ends, knows of this machine, and is of this release.
func TestPostureOfThisMachine(t *testing.T) {
	needsRoot(t)
	out, code := posture(t, "--format=json")
	var r struct {
		Scores []struct {
			Framework     string
			Checks, Error int
			Coverage      float64
		}
	}
	if err := json.Unmarshal(out, &r); err != nil || code != 0 {
		t.Fatalf("exit status %d, %v: %.300s", code, err, out)
	}
	for _, s := range r.Scores {
		if s.Framework == "nist_800_53" && (s.Coverage < 0.2 || s.Error > s.Checks/10) {
			t.Errorf("of %d checks %d are in error, and %.0f %% are assessed", s.Checks, s.Error, 100*s.Coverage)
		}
	}
}
