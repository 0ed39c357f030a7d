package promql

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A neighbour is a Prometheus as Debian has it.
type neighbour struct{ url string }

// newNeighbour starts one with a configuration, and stops it after the test.
func newNeighbour(t testing.TB, config string, flags ...string) *neighbour {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("needs a Prometheus: apt-get install prometheus")
	}
	dir := t.TempDir()
	file := dir + "/prometheus.yml"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command(program, append([]string{"--config.file=" + file, "--storage.tsdb.path=" + dir + "/data",
		"--web.listen-address=" + address, "--log.level=warn"}, flags...)...)
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(dir + "/log"); err == nil && t.Failed() {
			t.Logf("the neighbour says: %s", text)
		}
	})
	n := &neighbour{"http://" + address}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get(n.url + "/-/ready"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return n
			}
		}
	}
	t.Fatal("timeout: a neighbour that is ready")
	return nil
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// value is the value of the only series that expr yields there, or what is wrong with the answer.
func (n *neighbour) value(expr string) string {
	r, err := http.Get(n.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	var a struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if json.Unmarshal(text, &a) != nil || len(a.Data.Result) != 1 {
		return string(text)
	}
	return fmt.Sprint(a.Data.Result[0].Value[1])
}

// One neighbour federates from us, reads from us, gets our samples and sends us its own.
func TestStockPrometheusBesideUs(t *testing.T) {
	t.Parallel()
	self, _ := subject()
	s := openWith(t, Options{Self: self, Config: Config{RemoteWriteReceiver: true}})
	ours := serve(t, s.Handler())
	n := newNeighbour(t, fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
- job_name: federate
  honor_labels: true
  metrics_path: /federate
  params: {"match[]": ['{__name__=~"test_.*"}']}
  static_configs: [{targets: [%q]}]
  metric_relabel_configs: [{target_label: via, replacement: federation}]
remote_read: [{url: "%s/api/v1/read", read_recent: true}]
remote_write: [{url: "%s/api/v1/write", write_relabel_configs: [{source_labels: [__name__], regex: up, action: keep}]}]
`, strings.TrimPrefix(ours, "http://"), ours, ours), "--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
	if err := s.Reload(Config{ScrapeInterval: 100 * time.Millisecond, RemoteWriteReceiver: true, RemoteWrite: []RemoteWrite{{
		URL:     n.url + "/api/v1/write",
		Relabel: []map[string]any{{"target_label": "via", "replacement": "write"}},
	}}}, nil); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`test_requests_total{via="federation",job="theirs",instance="here"}`: "3",
		`histogram_count(test_latency_seconds{via="federation"})`:            "4",
		`test_latency_seconds_bucket{via="federation",le="1.0"}`:             "4",
		`test_requests_total{via="write"}`:                                   "3",
		`test_latency_seconds_bucket{via="write",le="1.0"}`:                  "4",
		`test_requests_total{via=""}`:                                        "3", // read
		`max_over_time(test_latency_seconds_count{via=""}[1m])`:              "4",
	} {
		got := ""
		for end := time.Now().Add(20 * time.Second); got != want && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			got = n.value(expr)
		}
		if got != want {
			t.Errorf("the neighbour's %s = %s, want %s", expr, got, want)
		}
	}
	eventually(t, "the neighbour's own samples", func() bool { return value(t, s, `up{job="federate"}`) == "1" })
	promtool(t, ours)
}

// promtool asks us as it asks any Prometheus.
func promtool(t *testing.T, ours string) {
	t.Helper()
	for _, c := range []struct{ args, want string }{
		{"query instant URL test_requests_total", "=> 3 @["},
		{"query range URL test_requests_total", "3 @["},
		{"query series --match=test_requests_total URL", `pod="web-1"`},
		{"query labels URL pod", "web-1"},
	} {
		args := strings.Fields(strings.Replace(c.args, "URL", ours, 1))
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "promtool", args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("promtool %s: %v: %s, want %q", c.args, err, out, c.want)
		}
	}
	if out, err := exec.Command("promtool", "query", "instant", ours, "sum(").CombinedOutput(); err == nil {
		t.Errorf("promtool is content with a bad query: %s", out)
	}
}
