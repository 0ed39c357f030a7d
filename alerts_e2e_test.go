package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	packs "github.com/yagura-io/yagura/alerts"
)

// people are the receivers of alerts: webhooks and a Slack, which a test plays.
type people struct {
	*httptest.Server
	mu    sync.Mutex
	posts map[string][]string // by path
}

func newPeople(t *testing.T) *people {
	p := &people{posts: map[string][]string{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read what %s was sent: %v", r.URL.Path, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.posts[r.URL.Path] = append(p.posts[r.URL.Path], string(body))
	}))
	t.Cleanup(p.Close)
	return p
}

// told returns a message to a path that has all the texts.
func (p *people) told(path string, texts ...string) (message string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for _, m := range p.posts[path] {
		for _, text := range texts {
			if !strings.Contains(m, text) {
				continue next
			}
		}
		return m, true
	}
	return "", false
}

// alertmanagerFor starts Debian's Alertmanager with the shipped configuration: other addresses, no waiting, and business hours
// always. Mail goes nowhere.
func alertmanagerFor(t *testing.T, p *people) *server {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("alerts/alertmanager")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"slack-url": p.URL + "/slack", "smtp-password": "x", "pager-token": "x", "deadman-token": "x"} {
		write(t, filepath.Join(dir, "secrets", name), text)
	}
	config, err := os.ReadFile(filepath.Join(dir, "alertmanager.yml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/etc/alertmanager/secrets", filepath.Join(dir, "secrets"), "http://127.0.0.1:9099", p.URL,
		"- weekdays: [monday:friday]\n", "- months: ['1:12']\n", "start_time: 08:00, end_time: 18:00", "start_time: 00:00, end_time: 24:00").Replace(string(config))
	text = regexp.MustCompile(`group_(wait|interval): \S+`).ReplaceAllString(text, "group_$1: 1s")
	path := write(t, filepath.Join(dir, "alertmanager.yml"), text)
	return new(server).launch(t, "prometheus-alertmanager", "--config.file="+path, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=").await(t)
}

// hurried are the rules of all packs, but evaluated every second, and with two seconds where they wait for minutes. What they ask
// is what is shipped.
func hurried(t *testing.T, dir string) string {
	t.Helper()
	waits, intervals := regexp.MustCompile(`(?m)^(\s+for: )\S+$`), regexp.MustCompile(`(?m)^(\s+interval: )\S+$`)
	for _, p := range packs.Packs() {
		text := waits.ReplaceAll(p.File, []byte("${1}2s"))
		write(t, filepath.Join(dir, p.Name+".yaml"), string(intervals.ReplaceAll(text, []byte("${1}1s"))))
	}
	return filepath.Join(dir, "*.yaml")
}

// service is a program that is scraped, and may be killed.
func service(t *testing.T) *server {
	t.Helper()
	s := new(server).launch(t, "prometheus-node-exporter", "--web.listen-address=127.0.0.1:0", "--collector.disable-defaults", "--collector.uname")
	eventually(t, "the service listens", func() bool {
		found := regexp.MustCompile(`msg="Listening on" address=(127\S+)`).FindStringSubmatch(s.log.String())
		if found != nil {
			s.addr = found[1]
		}
		return found != nil
	})
	return s
}

// smallDisk mounts a file system of 32 MiB, and returns where, and its device.
func smallDisk(t *testing.T) (dir, device string) {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.Truncate(write(t, image, ""), 32<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("needs a loop device: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == dir {
			device = f[0]
		}
	}
	return dir, device
}

// fill writes until the disk is full.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zeros := bytes.Repeat([]byte{0}, 1<<20)
	for range 64 {
		if _, err := f.Write(zeros); err != nil {
			return
		}
	}
	t.Fatal("64 MiB fit on a disk of 32 MiB")
}

// TestAlertsReachPeople causes three alerts for real: what they are about, Yagura's eyes, its store and rules, Debian's Alertmanager
// and the shipped routing are all real; only waiting is cut short.
func TestAlertsReachPeople(t *testing.T) {
	needsRoot(t)
	needsProgram(t, "prometheus-alertmanager", "prometheus-node-exporter", "mkfs.ext4", "mount")
	binary(t) // before anything is mounted: building takes a while
	to := newPeople(t)
	manager, shop := alertmanagerFor(t, to), service(t)
	disk, device := smallDisk(t)
	dir := t.TempDir()
	prometheus := write(t, filepath.Join(dir, "prometheus.yml"), "scrape_configs:\n- job_name: shop\n  scrape_interval: 1s\n  static_configs: [{targets: ['"+shop.addr+"']}]\n")
	config := write(t, filepath.Join(dir, "yagura.yml"), `
alerts: {packs: []}
store:
  scrape_interval: 1s
  evaluation_interval: 1s
  rule_files: ['`+hurried(t, t.TempDir())+`']
  alertmanagers: [{url: 'http://`+manager.addr+`'}]
  prometheus: `+prometheus+"\n")
	s := yagura(t, "--config.file="+config, "--store.path="+filepath.Join(dir, "data")).await(t).ready(t)
	patience := 2 * time.Minute
	within(t, patience, "the service, the disk and the rules are seen", func() bool {
		return len(s.query(t, `up{job="shop"} == 1`)) == 1 && len(s.query(t, `node_filesystem_avail_bytes{device="`+device+`"}`)) == 1 &&
			len(s.query(t, "yagura_rules_loaded > 0")) > 0
	})
	within(t, patience, "the watchdog reaches the dead man's switch", func() bool { _, ok := to.told("/deadman", `"alertname":"Watchdog"`); return ok })
	down, ran, full := []string{"TargetDown", shop.addr}, []string{`"component":"security"`, "shared memory"}, []string{`"alertname":"NodeFilesystemFull"`, device}
	for path, texts := range map[string][]string{"/slack": down, "/security": ran, "/pager": full} {
		if m, ok := to.told(path, texts...); ok {
			t.Fatalf("%s was told before anything happened: %s", path, m)
		}
	}

	t.Run("killed service", func(t *testing.T) {
		_ = shop.end(t, syscall.SIGKILL)
		within(t, patience, "its target is down on the channel of tickets", func() bool { _, ok := to.told("/slack", append(down, "#tickets")...); return ok })
	})
	t.Run("rule of detection", func(t *testing.T) {
		program := filepath.Join("/dev/shm", filepath.Base(dir)+"-e2e")
		text, err := os.ReadFile("/bin/true")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(program) })
		if err := os.WriteFile(program, text, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command(program).Run(); err != nil {
			t.Skipf("needs a /dev/shm to run programs from: %v", err)
		}
		var message string
		within(t, patience, "who cares for attacks is told", func() (ok bool) { message, ok = to.told("/security", ran...); return ok })
		var hook struct {
			Receiver     string
			CommonLabels map[string]string
			Alerts       []struct{ Annotations map[string]string }
		}
		if err := json.Unmarshal([]byte(message), &hook); err != nil {
			t.Fatal(err)
		}
		if hook.Receiver != "security-pager" || hook.CommonLabels["severity"] != "critical" || !strings.Contains(hook.Alerts[0].Annotations["runbook_url"], "/alerts/runbooks/security.md#") {
			t.Errorf("the message is %s", message)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		fill(t, disk)
		var message string
		within(t, patience, "the pager rings", func() (ok bool) { message, ok = to.told("/pager", full...); return ok })
		if !strings.Contains(message, disk) || !strings.Contains(message, "node.md#nodefilesystemfull") {
			t.Errorf("the message names neither %s nor the runbook: %s", disk, message)
		}
		if err := os.Remove(filepath.Join(disk, "full")); err != nil {
			t.Fatal(err)
		}
		within(t, patience, "the pager is told that it is over", func() bool { _, ok := to.told("/pager", append(full, `"status":"resolved"`)...); return ok })
	})
}
