package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestConsole looks at every page of the console in a real browser, of a real program with real services: a shop that asks a broken
// cart, a rule that was hit, a file that was changed, a target that is down. promql/console/e2e/run.mjs says what must be seen.
func TestConsole(t *testing.T) {
	needsKernel(t)
	needsProgram(t, "node", "npm", "curl", "nginx", "chromium")
	needsPlaywright(t)
	dir := public(t)
	watched := dir + "/watched"
	if err := os.Mkdir(watched, 0o755); err != nil {
		t.Fatal(err)
	}
	file := write(t, watched+"/app.conf", "listen 80\n")
	y := yagura(t, "--store.path="+dir+"/store", "--collector.fim", "--collector.posture", "--config.file="+write(t, dir+"/yagura.yml", fmt.Sprintf(`
store: {scrape_interval: 2s, prometheus: %s}
requests: {slow: 50ms, sample_every: 5}
fim:
  defaults: false
  store: %s/fim.db
  watches: [{name: app, paths: [%s], diff: true, severity: critical}]
posture: {interval: 1h}
`, write(t, dir+"/prometheus.yml", `scrape_configs: [{job_name: gone, static_configs: [{targets: ["127.0.0.1:9"]}]}]`), dir, watched))).await(t).ready(t)

	shop := &realSite{y: y, dir: dir, port: freePort(t), server: "shop.service", client: "checkout.service"}
	cart := &realSite{y: y, dir: dir, port: freePort(t), server: "cart.service"}
	cart.serve(t, "nginx", "-c", write(t, dir+"/cart.conf", nginxFor(dir, "cart", cart.port, `location / { return 200 "cart\n"; } location /pay { return 503; }`)))
	shop.serve(t, "nginx", "-c", write(t, dir+"/shop.conf", nginxFor(dir, "shop", shop.port, fmt.Sprintf(
		`location / { return 200 "hello\n"; } location /users { return 404; } location /cart { proxy_pass http://%[1]s/; } location /pay { proxy_pass http://%[1]s/pay; }`, cart.address()))))
	customers(t, shop)

	eventually(t, "the files were looked at", func() bool { return strings.Contains(y.log.String(), "files were looked at") })
	write(t, file, "listen 80\nlisten 8080\n")
	shop.ask(t, "cat", "/etc/shadow")
	const rule = "Password hashes were read by a program that checks no passwords"
	for path, want := range map[string]string{"hits?rule=" + url.QueryEscape(rule): "cat", "fim": file, "posture?status=fail": "cis_", "requests?unit=shop.service": "503"} {
		eventually(t, "/api/yagura/"+path+" has "+want, func() bool {
			_, body := y.status(t, "GET", "/api/yagura/"+path)
			return strings.Contains(body, want)
		})
	}
	answered := `rate(http_server_request_duration_seconds_count{unit="shop.service"}[1m]) > 0`
	eventually(t, answered+" answers", func() bool { return len(y.query(t, answered)) > 0 })

	expect, err := json.Marshal(map[string][]string{
		"services": {"shop.service", "cart.service", "checkout.service", "http"}, "workload": {"503", "/pay", "cart.service"},
		"hits-rule": {rule, "cat"}, "fim": {file}, "posture": {"cis_"}, "targets": {"gone", "down", "this program"}, "alerts": {"Watchdog"},
		"machine": {"nginx", "shop.service"}, "agent": {"runs"},
	})
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := filepath.Abs("build/screenshots")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	browser := exec.CommandContext(ctx, "node", "promql/console/e2e/run.mjs", "http://"+y.addr, pictures)
	browser.Env = append(os.Environ(), "EXPECT="+string(expect), "UNIT=shop.service", "RULE="+rule, "PATIENCE=60")
	out, err := browser.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("the console in a browser: %v; pictures in %s", err, pictures)
	}
}

// needsPlaywright installs what drives the browser, as the lock file names it, where .ci/test has not done so by check.sh.
func needsPlaywright(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("promql/console/node_modules/playwright-core"); err == nil {
		return
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--silent")
	npm.Dir = "promql/console"
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("install what drives the browser: %v\n%s", err, out)
	}
}

// nginxFor is the configuration of a server that keeps all it writes in a directory.
func nginxFor(dir, name, port, locations string) string {
	return fmt.Sprintf(`worker_processes 1; daemon off; pid %[1]s/%[2]s.pid; error_log %[1]s/%[2]s.err;
events { worker_connections 64; }
http { access_log off; client_body_temp_path %[1]s/%[2]s.b; proxy_temp_path %[1]s/%[2]s.p; fastcgi_temp_path %[1]s/%[2]s.f; uwsgi_temp_path %[1]s/%[2]s.u; scgi_temp_path %[1]s/%[2]s.s;
server { listen 127.0.0.1:%[3]s; %[4]s } }`, dir, name, port, locations)
}

// customers ask the shop again and again until the test ends.
func customers(t *testing.T, shop *realSite) {
	t.Helper()
	load := inUnit(t, shop.client, "sh", "-c", fmt.Sprintf(`while :; do for p in / /cart/3 /users/7 /pay / /; do curl -s -o /dev/null http://%s$p; done; sleep 0.5; done`, shop.address()))
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = load.Process.Kill()
		_ = load.Wait()
	})
}
