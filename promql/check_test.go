package promql

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// runCheck does what `yagura check ARGS` does, in a folder with files.
func runCheck(t *testing.T, files map[string]string, args ...string) (out string, done bool, err error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	app := kingpin.New("yagura", "")
	check := app.Command("check", "")
	run := AddCheckFiles(check)
	var b bytes.Buffer
	check.Action(func(*kingpin.ParseContext) error {
		done, err = run(context.Background(), &b)
		return nil
	})
	if _, failed := app.Parse(append([]string{"check"}, args...)); failed != nil {
		t.Fatal(failed)
	}
	return b.String(), done, err
}

const badRules = `groups:
  - name: g
    rules:
      - alert: Hits
        expr: rate(hits_total[30s]) > 0
        labels: {severity: warning}
        annotations: {summary: s}
      - alert: Typo
        expr: sum(up
`

func TestCheckWithoutFilesLeavesItToOthers(t *testing.T) {
	if out, done, err := runCheck(t, nil); out != "" || done || err != nil {
		t.Errorf("check: %q, %v, %v", out, done, err)
	}
}

func TestCheckTellsFilesByWhatIsInThem(t *testing.T) {
	files := map[string]string{
		"all/rules.yaml":      goodRules,
		"all/board.json":      goodDashboard,
		"all/am.yml":          "route: {receiver: a, routes: [{receiver: b}]}\nreceivers: [{name: a}]\n",
		"all/prom.yml":        "global: {scrape_interval: 30s}\nrule_files: [rules.yaml]\n",
		"all/tests.yaml":      "rule_files: [rules.yaml]\ntests: []\n",
		"all/falco.yaml":      "- rule: x\n  condition: y\n",
		"all/deployment.yaml": "kind: Deployment\n",
		"all/package.json":    `{"name": "x"}`,
		"all/notes.txt":       "groups:",
	}
	out, _, err := runCheck(t, files, "all")
	want := `all/am.yml:1:1: info: only routes and receivers were looked at: ` + "`amtool check-config all/am.yml`" + ` judges the rest (syntax)
all/am.yml:1:42: error: no receiver is called "b" (syntax)
1 configuration of Alertmanager, 1 configuration of Prometheus, 1 dashboard, 1 rule file: 1 error, 0 warnings, 1 to know
`
	if out != want || err == nil || err.Error() != "1 error in 1 file" {
		t.Errorf("check all: %v\n%s\nwant\n%s", err, out, want)
	}
	for name, want := range map[string]string{"all/falco.yaml": "yagura rules check all/falco.yaml", "all/tests.yaml": "promtool test rules all/tests.yaml"} {
		if out, _, err := runCheck(t, files, name); err != nil || !strings.Contains(out, ": info: ") || !strings.Contains(out, want) {
			t.Errorf("check %s: %v: %s", name, err, out)
		}
	}
	if out, _, err := runCheck(t, files, "all/package.json"); err == nil || !strings.Contains(out, "all/package.json:1:1: error: this is no rule file") {
		t.Errorf("check of something else: %v: %s", err, out)
	}
	if _, _, err := runCheck(t, map[string]string{"d/x.txt": ""}, "d"); err == nil || !strings.HasPrefix(err.Error(), "nothing to check") {
		t.Errorf("check of an empty folder: %v", err)
	}
	if _, _, err := runCheck(t, nil, "missing.yaml"); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("check of a missing file: %v", err)
	}
}

func TestCheckStrictFailsOnWarnings(t *testing.T) {
	files := map[string]string{"w.yaml": strings.Split(badRules, "      - alert: Typo")[0]}
	if out, _, err := runCheck(t, files, "w.yaml"); err != nil || !strings.Contains(out, "w.yaml:5:20: warning: rate() over 30s") {
		t.Errorf("check: %v: %s", err, out)
	}
	if out, _, err := runCheck(t, files, "--strict", "w.yaml"); err == nil || !strings.Contains(out, "w.yaml:5:20: error: rate() over 30s") {
		t.Errorf("check --strict: %v: %s", err, out)
	}
	if out, _, err := runCheck(t, files, "--strict", "--scrape-interval=5s", "w.yaml"); err != nil || out != "1 rule file: ok\n" {
		t.Errorf("check --scrape-interval=5s: %v: %s", err, out)
	}
	if out, _, err := runCheck(t, files, "--strict", "--without=rate-window", "w.yaml"); err != nil || out != "1 rule file: ok\n" {
		t.Errorf("check --without: %v: %s", err, out)
	}
	if _, _, err := runCheck(t, files, "--without=rate-windows", "w.yaml"); err == nil || !strings.Contains(err.Error(), `"rate-windows"`) {
		t.Errorf("check --without a name that is none: %v", err)
	}
	if out, _, err := runCheck(t, files, "--require-label=severity", "--require-label=team", "--require-annotation=summary", "w.yaml"); err != nil || !strings.Contains(out, `Hits has no label "team"`) {
		t.Errorf("check --require-label: %v: %s", err, out)
	}
}

func TestCheckFormats(t *testing.T) {
	files := map[string]string{"b,ad.yaml": badRules}
	out, _, err := runCheck(t, files, "--format=github", "b,ad.yaml")
	want := []string{"::warning file=b%2Cad.yaml,line=5,col=20,title=rate-window::", "::warning file=b%2Cad.yaml,line=8,col=16,title=required::", "::error file=b%2Cad.yaml,line=9,col=21,title=promql::unclosed left parenthesis"}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("--format=github: %s\nlacks %s", out, w)
		}
	}
	if err == nil || err.Error() != "1 error in 1 file" {
		t.Errorf("--format=github: %v", err)
	}
	var plain struct{ Findings []map[string]any }
	out, _, _ = runCheck(t, files, "--format=json", "b,ad.yaml")
	if err := json.Unmarshal([]byte(out), &plain); err != nil || len(plain.Findings) != 4 || plain.Findings[0]["rule"] != "rate-window" || plain.Findings[0]["severity"] != "warning" || plain.Findings[0]["line"] != 5.0 {
		t.Errorf("--format=json: %v: %s", err, out)
	}
	var sarif struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				RuleIndex     int
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	out, _, _ = runCheck(t, files, "--format=sarif", "b,ad.yaml")
	if err := json.Unmarshal([]byte(out), &sarif); err != nil || sarif.Version != "2.1.0" || len(sarif.Runs) != 1 || len(sarif.Runs[0].Results) != 4 {
		t.Fatalf("--format=sarif: %v: %s", err, out)
	}
	run := sarif.Runs[0]
	first := run.Results[0]
	place := first.Locations[0].PhysicalLocation
	if run.Tool.Driver.Rules[first.RuleIndex].ID != first.RuleID || first.Level != "warning" || place.Region.StartLine != 5 || place.Region.StartColumn != 20 || place.ArtifactLocation.URI != "b,ad.yaml" {
		t.Errorf("--format=sarif: first result %+v", first)
	}
}

func TestCheckList(t *testing.T) {
	out, done, err := runCheck(t, nil, "--list")
	if lines := strings.Count(out, "\n"); err != nil || !done || lines != len(lintRules) || !strings.Contains(out, "rate-gauge             error    rate(), increase()") {
		t.Errorf("check --list: %v, %v\n%s", done, err, out)
	}
}

func TestCheckPrometheusConfiguration(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"well":                         {"global:\n  scrape_interval: 5s\nrule_files: [bad.yaml]\n", []string{"bad.yaml:8:16: warning: Typo has no annotation", "bad.yaml:8:16: warning: Typo has no label", "bad.yaml:9:21: error: unclosed"}},
		"an unknown key":               {"global:\n  scrape_intervall: 5s\n", []string{"prom.yml:2:3: error: field scrape_intervall not found"}},
		"a missing rule file":          {"rule_files: [none.yaml]\n", []string{"prom.yml:1:1: error: rule_files: there is no none.yaml"}},
		"a pattern that finds nothing": {"rule_files: ['none-*.yaml']\n", nil},
		"a slow scrape":                {"global: {scrape_interval: 5m}\n", []string{"prom.yml:1:1: warning: scrape_interval is 5m"}},
		"another discovery": {"scrape_configs:\n  - job_name: a\n    kubernetes_sd_configs:\n    - role: pod\n\n      namespaces: {names: [x]}\n    honor_labels: true\n  - consul_sd_configs: [{server: x}]\n    job_name: b\n    honour: true\n",
			[]string{"prom.yml:3:5: info: kubernetes_sd_configs were not", "prom.yml:8:5: info: consul_sd_configs were not", "prom.yml:10:5: error: field honour not found"}},
	} {
		out, _, _ := runCheck(t, map[string]string{"prom.yml": test.text, "bad.yaml": badRules}, "prom.yml")
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		got := lines[:len(lines)-1] // the last line counts
		if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
			t.Errorf("%s:\n%swant %q", name, out, test.want)
		}
	}
}

func TestCheckTellsEachFindingOnce(t *testing.T) {
	files := map[string]string{"d/prom.yml": "rule_files: [bad.yaml]\n", "d/bad.yaml": badRules}
	// The interval is that of the configuration, which is a minute where it says nothing.
	if out, _, _ := runCheck(t, files, "d"); strings.Count(out, "d/bad.yaml:9:21: error:") != 1 || !strings.Contains(out, "scraped every 1m") || !strings.HasSuffix(out, "1 configuration of Prometheus, 1 rule file: 1 error, 3 warnings, 0 to know\n") {
		t.Errorf("check of a configuration and its rule file:\n%s", out)
	}
}

func TestCheckAsksARunningServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch selector := r.FormValue("match[]"); {
		case r.URL.Path == "/api/v1/metadata":
			_, _ = w.Write([]byte(`{"status":"success","data":{"temp":[{"type":"gauge","help":"","unit":""}]}}`))
		case selector == "temp":
			_, _ = w.Write([]byte(`{"status":"success","data":[{"__name__":"temp"}]}`))
		case selector == "bad":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"status":"error","errorType":"execution","error":"too much"}`))
		default:
			_, _ = w.Write([]byte(`{"status":"success","data":[]}`))
		}
	}))
	defer server.Close()
	const rules = "groups:\n- name: g\n  rules:\n  - {record: 'a:b:c', expr: 'rate(temp[5m]) or gone or bad or other:rule'}\n"
	const others = "groups:\n- name: h\n  rules:\n  - {record: 'other:rule', expr: 'temp'}\n"
	out, _, err := runCheck(t, map[string]string{"r.yaml": rules, "s.yaml": others}, "--url="+server.URL, "r.yaml", "s.yaml")
	for _, want := range []string{"r.yaml:4:35: error: temp is a gauge", "r.yaml:4:48: warning: no series is called gone", "r.yaml:4:56: warning: the server cannot say whether there are series bad: ask " + server.URL + "/api/v1/series: too much", "2 rule files: 1 error, 2 warnings"} {
		if !strings.Contains(out, want) {
			t.Errorf("check --url: %v\n%s\nlacks %s", err, out, want)
		}
	}
	server.Close()
	if _, _, err := runCheck(t, map[string]string{"r.yaml": rules}, "--url="+server.URL, "r.yaml"); err == nil || !strings.HasPrefix(err.Error(), "ask "+server.URL) {
		t.Errorf("check of a server that is gone: %v", err)
	}
}

func TestLintHandler(t *testing.T) {
	s := open(t, t.TempDir(), http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	for _, test := range []struct {
		query string
		code  int
		want  string
	}{
		{"sum(rate(never_seen_total[5m]))", 200, `{"data":[{"line":1,"column":10,"severity":"warning","rule":"series","message":"no series is called never_seen_total: is the name right, and what makes it on?"}]}`},
		{"1 + 1", 200, `{"data":[]}`},
		{"", 400, `{"error":"query: want an expression of at most 16384 bytes, got 0"}`},
	} {
		w := httptest.NewRecorder()
		s.LintHandler().ServeHTTP(w, httptest.NewRequest("GET", "/api/yagura/lint?query="+strings.ReplaceAll(strings.ReplaceAll(test.query, "+", "%2B"), " ", "%20"), nil))
		if got := strings.TrimSpace(w.Body.String()); w.Code != test.code || got != test.want {
			t.Errorf("lint %q: %d %s, want %d %s", test.query, w.Code, got, test.code, test.want)
		}
	}
}
