package alerts_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/alerts"
)

func TestRulesAreAllPacksByDefault(t *testing.T) {
	rules, err := alerts.Default.Rules(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range alerts.Packs() {
		if string(rules[p.Name+".yaml"]) != string(p.File) {
			t.Errorf("%s.yaml is not the pack as it is", p.Name)
		}
	}
	if len(rules) != len(alerts.Packs()) {
		t.Errorf("%d files: want %d", len(rules), len(alerts.Packs()))
	}
}

func TestRulesAreOnlyTheChosenPacks(t *testing.T) {
	f := func(packs []string, want ...string) {
		t.Helper()
		rules, err := alerts.Config{Packs: packs}.Rules(0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for name := range rules {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("packs %q give %q: want %q", packs, got, want)
		}
	}
	f([]string{"node", "meta"}, "meta.yaml", "node.yaml")
	f([]string{})
}

func TestRulesLeaveOutSingleAlerts(t *testing.T) {
	rules, err := alerts.Config{Without: []string{"NodeLoadHigh", "Watchdog"}}.Rules(0)
	if err != nil {
		t.Fatal(err)
	}
	node, meta := string(rules["node.yaml"]), string(rules["meta.yaml"])
	for _, gone := range []string{"NodeLoadHigh", "Watchdog", "yagura-meta-deadman"} {
		if strings.Contains(node, gone) || strings.Contains(meta, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, kept := range []string{"alert: NodeCPUSaturated", "record: instance:node_load15_per_cpu:ratio", "keep_firing_for: 15m"} {
		if !strings.Contains(node, kept) {
			t.Errorf("%s is gone", kept)
		}
	}
	if string(rules["containers.yaml"]) != string(pack(t, "containers")) {
		t.Error("a pack of which nothing is left out has changed")
	}
	s := source{name: "node", rules: node, tests: "rule_files: [../node.yaml]\n"}
	if out, err := promtool(t, s, "check", "rules", "node.yaml"); err != nil {
		t.Errorf("what is left is no rule file: %v\n%s", err, out)
	}
}

func pack(t *testing.T, name string) []byte {
	t.Helper()
	for _, p := range alerts.Packs() {
		if p.Name == name {
			return p.File
		}
	}
	t.Fatalf("no pack is called %s", name)
	return nil
}

func TestConfigErrorsNameTheFieldAndWhatWasMeant(t *testing.T) {
	f := func(c alerts.Config, want string) {
		t.Helper()
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v: want %s", c, err, want)
		}
	}
	f(alerts.Config{Packs: []string{"node", "nodes"}}, `alerts.packs[1]: no pack is called "nodes": want one of node, containers`)
	f(alerts.Config{Without: []string{"nodeloadhigh"}}, `alerts.without[0]: no alert is called "nodeloadhigh" (NodeLoadHigh?)`)
	f(alerts.Config{Without: []string{"NodeLoad"}}, `(NodeLoadHigh?)`)
	f(alerts.Config{Without: []string{"", "x"}}, `alerts.without[0]: no alert is called ""`)
	if err := (alerts.Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestAllIsACopy(t *testing.T) {
	alerts.All()[0].Name = "changed"
	if alerts.All()[0].Name == "changed" {
		t.Error("a caller can change the list")
	}
}

func TestThresholdPanicsForWhatIsNone(t *testing.T) {
	for _, name := range []string{"NoSuchAlert", "Watchdog"} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.Contains(r.(string), name) {
					t.Errorf("Threshold(%q): %v: want a panic that names it", name, r)
				}
			}()
			alerts.Threshold(name)
		}()
	}
	if got := alerts.Threshold("NodeFilesystemFull"); got != 0.03 {
		t.Errorf("Threshold(NodeFilesystemFull) = %v: want 0.03", got)
	}
}

func TestRunbookIsOneSection(t *testing.T) {
	text, ok := alerts.Runbook("NodeLoadHigh")
	if !ok || !strings.HasPrefix(text, "## NodeLoadHigh\n") || !strings.Contains(text, "**What to do.**") || strings.Count(text, "\n## ") != 0 {
		t.Errorf("Runbook(NodeLoadHigh) = %v, %q", ok, text)
	}
	for _, name := range []string{"", "NoSuchAlert", "nodeloadhigh", "NodeLoad"} {
		if text, ok := alerts.Runbook(name); ok {
			t.Errorf("Runbook(%q) = %q", name, text)
		}
	}
	for _, a := range alerts.All() {
		if _, ok := alerts.Runbook(a.Name); !ok {
			t.Errorf("Runbook(%q) finds none", a.Name)
		}
	}
}

func TestHandlerServesRunbooks(t *testing.T) {
	f := func(method, path string, status int, body string) {
		t.Helper()
		w := httptest.NewRecorder()
		alerts.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != status || !strings.Contains(w.Body.String(), body) {
			t.Errorf("%s %s: %d %q: want %d and %q", method, path, w.Code, w.Body, status, body)
		}
		if status == http.StatusOK && w.Header().Get("Content-Type") != "text/markdown; charset=utf-8" {
			t.Errorf("%s %s: Content-Type %q", method, path, w.Header().Get("Content-Type"))
		}
	}
	f("GET", "/api/yagura/runbooks/NodeLoadHigh", 200, "## NodeLoadHigh")
	f("HEAD", "/api/yagura/runbooks/NodeLoadHigh", 200, "")
	f("GET", "/api/yagura/runbooks/NoSuchAlert", 404, `no alert is called "NoSuchAlert"`)
	f("GET", "/api/yagura/runbooks/", 404, `no alert is called "runbooks"`)
	f("GET", "/api/yagura/runbooks/..%2f..%2fmeta", 404, "no alert")
	f("POST", "/api/yagura/runbooks/NodeLoadHigh", 405, "only read")
}
