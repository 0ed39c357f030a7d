package promql

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Config{
		"store.retention: must not be negative":                                {Retention: -1},
		"store.query.max_samples: must not be negative":                        {Query: QueryLimits{MaxSamples: -1}},
		`store.external_url: url: "here": want http://HOST:PORT`:               {ExternalURL: "here"},
		`store.alertmanagers[0]: url: "here": want http://HOST:PORT`:           {Alertmanagers: []Alertmanager{{URL: "here"}}},
		"store.alertmanagers[0]: url: has a user: want user and password_file": {Alertmanagers: []Alertmanager{{URL: "http://u:p@h"}}},
		"store.alertmanagers[0]: password_file: needs user":                    {Alertmanagers: []Alertmanager{{URL: "http://h", Access: Access{PasswordFile: "p"}}}},
		"store.alertmanagers[0]: token_file: not together with":                {Alertmanagers: []Alertmanager{{URL: "http://h", Access: Access{TokenFile: "t", User: "u"}}}},
		"store.remote_write[0]: cert_file: needs key_file":                     {RemoteWrite: []RemoteWrite{{URL: "http://h", Access: Access{CertFile: "c"}}}},
		`store.remote_write[0]: protobuf: "v3": want v1 or v2`:                 {RemoteWrite: []RemoteWrite{{URL: "http://h", Protobuf: "v3"}}},
		"store.agent: needs a remote_write":                                    {Agent: true},
		"store.rule_files: not in agent mode":                                  {Agent: true, RuleFiles: []string{"x"}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %q", err, want)
		}
	}
	if err := Default.Validate(); err != nil {
		t.Errorf("the default is not valid: %v", err)
	}
}

// whole is a file as a Prometheus has it, with all that we take.
const whole = `
global:
  scrape_interval: 1m
  evaluation_interval: 30s
  external_labels: {site: south}
rule_files: [rules/*.yml]
scrape_configs:
- job_name: node
  static_configs: [{targets: ["localhost:9100"]}]
  relabel_configs: [{source_labels: [__address__], target_label: where}]
- job_name: files
  file_sd_configs: [{files: [targets/*.json]}]
- job_name: web
  http_sd_configs: [{url: "http://localhost:1/targets"}]
alerting:
  alert_relabel_configs: [{regex: replica, action: labeldrop}]
  alertmanagers: [{static_configs: [{targets: ["localhost:9093"]}]}]
remote_write: [{url: "http://localhost:1/write", name: far}]
remote_read: [{url: "http://localhost:1/read"}]
`

func TestPrometheusFileLoadsAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(dir, "prometheus.yml"), whole)
	rules := write(t, filepath.Join(dir, "rules", "a.yml"), "groups: [{name: g, rules: [{record: a, expr: vector(1)}]}]\n")
	p, err := compile(Config{
		Prometheus:     file,
		ExternalLabels: map[string]string{"host": "a", "site": "south"},
		RemoteWrite:    []RemoteWrite{{URL: "http://localhost:2/w", Protobuf: "v2"}},
		Alertmanagers:  []Alertmanager{{URL: "http://localhost:3"}},
	}, inMemory(map[string][]byte{"node.yaml": []byte("groups: []")}), "here", quietLog())
	if err != nil {
		t.Fatal(err)
	}
	var jobs []string
	for _, j := range p.merged.ScrapeConfigs {
		jobs = append(jobs, fmt.Sprint(j.JobName, " ", j.ScrapeInterval))
	}
	m := p.merged
	for _, c := range []struct{ what, got, want string }{
		{"jobs", strings.Join(jobs, ", "), "yagura 15s, node 1m, files 1m, web 1m"},
		{"evaluation interval", m.GlobalConfig.EvaluationInterval.String(), "30s"},
		{"external labels", m.GlobalConfig.ExternalLabels.String(), `{host="a", site="south"}`},
		{"rule files", strings.Join(p.ruleFiles, " "), "node.yaml " + rules},
		{"alertmanagers", fmt.Sprint(len(m.AlertingConfig.AlertmanagerConfigs)), "2"},
		{"alert relabelling", fmt.Sprint(len(m.AlertingConfig.AlertRelabelConfigs)), "1"},
		{"receivers", fmt.Sprint(m.RemoteWriteConfigs[0].Name, " ", m.RemoteWriteConfigs[1].ProtobufMessage), "far io.prometheus.write.v2.Request"},
		{"remote reads", fmt.Sprint(len(m.RemoteReadConfigs)), "1"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestPrometheusFileErrorsPointToTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"scrape_configs:\n- job_name: k\n  kubernetes_sd_configs: [{role: pod}]\n": ":3:3: kubernetes_sd_configs is not supported: want static_configs, file_sd_configs, http_sd_configs",
		"alerting:\n  alertmanagers:\n  - dns_sd_configs: [{names: [a]}]\n":        ":3:5: dns_sd_configs is not supported",
		"storage:\n  tsdb: {out_of_order_time_window: 1h}\n":                       ":1:1: storage is not supported: want store.retention",
		"tracing: {endpoint: a}\n":                                                 ":1:1: tracing is not supported",
		"global:\n  query_log_file: q\n":                                           ":2:3: query_log_file is not supported",
		"scrape_configs:\n- job_name: yagura\n  static_configs: []\n":              ":2:13: job_name yagura is that of Yagura's own job",
		"scrape_configs:\n- job_name: a\n  nonsense: 1\n":                          ":3: field nonsense not found",
		"global:\n  scrape_interval: never\n":                                      "not a valid duration string",
		"global: [":                                                                ":1: did not find expected node content",
		"scrape_configs: [{job_name: a}, {job_name: a}]\n":                         `found multiple scrape configs with job name "a"`,
		"rule_files: [missing.yml]\n":                                              "no such file",
		"global: {external_labels: {site: north}}\n":                               `external label site is "north", and "south" in store.external_labels`,
	} {
		file := write(t, "prometheus.yml", text)
		err := Check(Config{Prometheus: file, ExternalLabels: map[string]string{"site": "south"}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "prometheus.yml") && want != "no such file" {
			t.Errorf("%q: %v, want %s%s", text, err, file, want)
		}
	}
	if err := Check(Config{Prometheus: "/nowhere/prometheus.yml"}, nil); err == nil || !strings.Contains(err.Error(), "/nowhere/prometheus.yml") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestRuleErrorsPointToTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"groups:\n- name: g\n  rules:\n  - record: a\n    expr: sum(\n":         "test.yaml:5:11: ",
		"groups:\n- name: g\n  rules:\n  - alert: a\n    expr: a\n    fo: 1m\n": "test.yaml:6: field fo not found",
		"groups:\n- name: g\n- name: g\n":                                       `test.yaml: groupname: "g" is repeated`,
	} {
		err := Check(Config{}, inMemory(map[string][]byte{"test.yaml": []byte(text)}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a pack: %v, want %s", err, want)
		}
		file := write(t, "test.yaml", text)
		if err := Check(Config{RuleFiles: []string{file}}, nil); err == nil || !strings.Contains(err.Error(), filepath.Dir(file)+"/"+want) {
			t.Errorf("a file: %v, want %s", err, want)
		}
	}
}

func TestReloadAppliesWhatHasChanged(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	self, counter := subject()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "prometheus.yml"), "scrape_configs: []\n")
	c := Config{ScrapeInterval: 100 * time.Millisecond, EvaluationInterval: 100 * time.Millisecond, Prometheus: file}
	s := openWith(t, Options{Self: self, Config: c})
	eventually(t, "a scrape", func() bool { return value(t, s, `test_requests_total`) == "3" })

	if err := s.Reload(c, inMemory(map[string][]byte{"bad.yaml": []byte("groups: 1")})); err == nil || !strings.Contains(err.Error(), "bad.yaml:1") {
		t.Errorf("reload of a bad pack: %v", err)
	}
	write(t, file, "scrape_configs: [{job_name: yagura}]\n")
	if err := s.Reload(c, nil); err == nil || !strings.Contains(err.Error(), "prometheus.yml:1:") {
		t.Errorf("reload of a bad file: %v", err)
	}
	write(t, file, "scrape_configs: [{job_name: other, tls_config: {ca_file: /nowhere}, static_configs: [{targets: [localhost]}]}]\n")
	if err := s.Reload(c, nil); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("reload with a missing certificate: %v", err)
	}
	if _, body := get(t, s, "scrape_pools"); strings.Contains(body, "other") {
		t.Errorf("a refused reload has left its job: %s", body)
	}

	write(t, file, fmt.Sprintf("scrape_configs: [{job_name: twin, scrape_interval: 100ms, scrape_timeout: 100ms, static_configs: [{targets: [%q]}]}]\n",
		strings.TrimPrefix(serve(t, self), "http://")))
	c.Alertmanagers = []Alertmanager{{URL: in.URL}}
	c.Retention = 3 * Default.Retention
	if err := s.Reload(c, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Alertmanager", func() bool { _, body := get(t, s, "alertmanagers"); return strings.Contains(body, in.URL) })
	if err := s.Reload(c, inMemory(map[string][]byte{"test.yaml": []byte(pack)})); err != nil {
		t.Fatal(err)
	}
	counter.Inc()
	eventually(t, "the alert at the new Alertmanager", func() bool { _, ok := in.got("Busy"); return ok })
	eventually(t, "the new job", func() bool { return value(t, s, `test_requests_total{job="twin"}`) == "4" })
	if _, body := get(t, s, "status/runtimeinfo"); !strings.Contains(body, `"storageRetention":"45d"`) {
		t.Errorf("retention after the reload: %s", body)
	}
	if got := value(t, s, `max_over_time(absent(up{job="yagura"})[1m:100ms])`); got == "1" && value(t, s, `count_over_time(up{job="yagura"}[1m])`) == "" {
		t.Error("our own job was interrupted")
	}

	if err := s.Reload(Config{ScrapeInterval: 100 * time.Millisecond}, nil); err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, s, "scrape_pools"); strings.Contains(body, "twin") {
		t.Errorf("a removed job is still scraped: %s", body)
	}
	eventually(t, "stale series of the rule that is gone", func() bool { return value(t, s, `job:test_requests:sum`) == "" })
}

func TestReloadBeforeRunIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nothing(), nil)
	if err := s.Reload(Config{}, nil); err == nil || !strings.Contains(err.Error(), ErrStopped.Error()) {
		t.Errorf("reload of a store that does not run: %v", err)
	}
}

func FuzzPrometheusFile(f *testing.F) {
	f.Add(whole)
	f.Add("scrape_configs: &a [*a]")
	f.Add("a: &x {<<: *x}")
	f.Fuzz(func(t *testing.T, text string) {
		supported("f", []byte(text))
		located("f", fmt.Errorf("%s", text))
	})
}

// The example is what users begin with: it must hold every setting of the store, with its default.
func TestExampleHoldsTheDefaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/yagura.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var example struct{ Store map[string]any }
	if err := yaml.Unmarshal(text, &example); err != nil {
		t.Fatal(err)
	}
	store, err := yaml.Marshal(example.Store)
	if err != nil {
		t.Fatal(err)
	}
	got := Config{}
	if err := yaml.UnmarshalWithOptions(store, &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := Default
	want.ExternalLabels, want.RuleFiles = map[string]string{}, []string{}
	want.Alertmanagers, want.RemoteWrite = []Alertmanager{}, []RemoteWrite{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example's store is\n%+v\nwant\n%+v", got, want)
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		if name := reflect.TypeFor[Config]().Field(i).Tag.Get("yaml"); example.Store[name] == nil {
			t.Errorf("the example does not mention %s", name)
		}
	}
}

func TestConfigReadsEverySetting(t *testing.T) {
	t.Parallel()
	var got Config
	err := yaml.UnmarshalWithOptions([]byte(`
alertmanagers: [{url: "https://am:9093/x", user: u, password_file: /p, ca_file: /ca}]
remote_write: [{name: far, url: "https://far/w", protobuf: v2, token_file: /t, cert_file: /c, key_file: /k, headers: {X-A: b}, native_histograms: false, relabel: [{regex: a, action: labeldrop}]}]
`), &got, yaml.Strict())
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := got.native("", quietLog())
	if err != nil {
		t.Fatal(err)
	}
	a, w := c.AlertingConfig.AlertmanagerConfigs[0], c.RemoteWriteConfigs[0]
	for _, c := range []struct{ what, got, want string }{
		{"Alertmanager", fmt.Sprint(a.Scheme, " ", a.PathPrefix, " ", a.HTTPClientConfig.BasicAuth.PasswordFile, " ", a.HTTPClientConfig.TLSConfig.CAFile), "https /x /p /ca"},
		{"receiver", fmt.Sprint(w.Name, " ", w.URL, " ", w.ProtobufMessage, " ", w.Headers["X-A"], " ", w.SendNativeHistograms), "far https://far/w io.prometheus.write.v2.Request b false"},
		{"secrets", fmt.Sprint(w.HTTPClientConfig.Authorization.CredentialsFile, w.HTTPClientConfig.TLSConfig.CertFile, w.HTTPClientConfig.TLSConfig.KeyFile), "/t/c/k"},
		{"relabelling", fmt.Sprint(w.WriteRelabelConfigs[0].Action), "labeldrop"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestTargetsAreDiscovered(t *testing.T) {
	t.Parallel()
	self, _ := subject()
	address := strings.TrimPrefix(serve(t, self), "http://")
	lists := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"targets": [%q], "labels": {"found": "http"}}]`, address)
	}))
	dir := t.TempDir()
	targets := write(t, filepath.Join(dir, "targets.json"), fmt.Sprintf(`[{"targets": [%q], "labels": {"found": "file"}}]`, address))
	file := write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
- {job_name: a, file_sd_configs: [{files: [targets.json]}]}
- {job_name: b, http_sd_configs: [{url: %q}]}
- {job_name: c, static_configs: [{targets: [%q], labels: {found: static}}], relabel_configs: [{target_label: instance, replacement: renamed}]}
`, lists, address))
	s := openWith(t, Options{Self: nothing(), Config: Config{Prometheus: file}})
	for _, found := range []string{"file", "http", "static"} {
		eventually(t, found, func() bool { return value(t, s, fmt.Sprintf(`test_requests_total{found=%q}`, found)) == "3" })
	}
	if got := value(t, s, `up{job="c",instance="renamed"}`); got != "1" {
		t.Errorf("relabelled target: %q", got)
	}
	write(t, targets, fmt.Sprintf(`[{"targets": [%q], "labels": {"found": "anew"}}]`, address))
	eventually(t, "a changed file", func() bool { return value(t, s, `test_requests_total{found="anew"}`) == "3" })
}
