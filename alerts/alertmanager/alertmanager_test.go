// Package alertmanager holds a configuration of Alertmanager and templates of messages, and no code; its tests keep them true, with
// amtool and a real Alertmanager.
package alertmanager

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"go.uber.org/goleak"

	"github.com/yagura-io/yagura/alerts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const configFile = "alertmanager.yml"

// amtool runs it, and returns its exit status and what it has written.
func amtool(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out, err := exec.Command("amtool", args...).CombinedOutput()
	var status *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		t.Skip("needs amtool, of Debian's package prometheus-alertmanager")
	case errors.As(err, &status):
		return status.ExitCode(), string(out)
	case err != nil:
		t.Fatal(err)
	}
	return 0, string(out)
}

// changed is the configuration with texts replaced, each of which must be there.
func changed(t *testing.T, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(configFile)
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(config, pairs[i]) {
			t.Fatalf("%s has no %q", configFile, pairs[i])
		}
		config = strings.ReplaceAll(config, pairs[i], pairs[i+1])
	}
	return config
}

// written is a file with the text, beside the templates.
func written(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "templates"), os.DirFS("templates")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, configFile)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAmtoolAcceptsTheConfiguration(t *testing.T) {
	if status, out := amtool(t, "check-config", configFile); status != 0 || !strings.Contains(out, "1 templates") {
		t.Errorf("amtool check-config: %d\n%s", status, out)
	}
	for name, config := range map[string]string{ // the gate must bite
		"a receiver that is not there":  changed(t, "receiver: deadman", "receiver: deadmen"),
		"a key that is not there":       changed(t, "group_wait: 30s", "group_weight: 30s"),
		"an interval that is not there": changed(t, "mute_time_intervals: [nights]", "mute_time_intervals: [knights]"),
		"a pattern that is none":        changed(t, "shop|shop-.+", "shop|shop-.+("),
	} {
		if status, out := amtool(t, "check-config", written(t, config)); status == 0 {
			t.Errorf("amtool check-config takes %s:\n%s", name, out)
		}
	}
	broken := written(t, changed(t))
	if err := os.WriteFile(filepath.Join(filepath.Dir(broken), "templates", "broken.tmpl"), []byte("{{ define"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := amtool(t, "check-config", broken); status == 0 {
		t.Errorf("amtool check-config takes a broken template:\n%s", out)
	}
}

// A route is a row of routes.yaml.
type route struct {
	Why       string            `yaml:"why"`
	Labels    map[string]string `yaml:"labels"`
	Receivers []string          `yaml:"receivers"`
}

// test asks amtool whether an alert with the labels goes to the receivers.
func (r route) test(t *testing.T) (int, string) {
	args := []string{"config", "routes", "test", "--config.file=" + configFile, "--verify.receivers=" + strings.Join(r.Receivers, ",")}
	for _, name := range slices.Sorted(maps.Keys(r.Labels)) {
		args = append(args, name+"="+r.Labels[name])
	}
	return amtool(t, args...)
}

func TestAmtoolSendsEveryRowOfTheTable(t *testing.T) {
	text, err := os.ReadFile("routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rows []route
	if err := yaml.UnmarshalWithOptions(text, &rows, yaml.DisallowUnknownField()); err != nil {
		t.Fatal(err)
	}
	reached := map[string]bool{}
	for _, r := range rows {
		if status, out := r.test(t); status != 0 {
			t.Errorf("%s: %v does not go to %v: %s", r.Why, r.Labels, r.Receivers, out)
		}
		for _, name := range r.Receivers {
			reached[name] = true
		}
	}
	wrong := rows[0]
	wrong.Receivers = []string{"pager"}
	if status, _ := wrong.test(t); status == 0 {
		t.Error("amtool lets the wrong receiver pass")
	}
	for _, name := range receivers(t) {
		if !reached[name] {
			t.Errorf("no row of routes.yaml reaches the receiver %s", name)
		}
	}
}

// receivers are the names of all receivers of the configuration.
func receivers(t *testing.T) (names []string) {
	var config struct {
		Receivers []struct{ Name string }
	}
	if err := yaml.Unmarshal([]byte(changed(t)), &config); err != nil {
		t.Fatal(err)
	}
	for _, r := range config.Receivers {
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		t.Fatal("no receivers")
	}
	return names
}

// TestEveryAlertOfThePacksHasAReceiver wants who is woken to be right for each severity and component that the packs use.
func TestEveryAlertOfThePacksHasAReceiver(t *testing.T) {
	kinds := map[[2]string]string{}
	for _, a := range alerts.All() {
		kinds[[2]string{a.Severity, a.Component}] = a.Name
	}
	if len(kinds) < 10 {
		t.Fatalf("only %d kinds of alerts", len(kinds))
	}
	for kind, name := range kinds {
		want := map[string]string{"critical": "pager", "warning": "tickets", "info": "digest", "none": "digest"}[kind[0]]
		attack := slices.Contains([]string{"security", "fim", "posture"}, kind[1])
		switch {
		case name == "Watchdog":
			want = "deadman"
		case attack && (kind[0] == "critical" || kind[0] == "warning"):
			want = "security-" + want
		}
		r := route{Labels: map[string]string{"alertname": name, "severity": kind[0], "component": kind[1]}, Receivers: []string{want}}
		if status, out := r.test(t); status != 0 {
			t.Errorf("%v does not go to %s: %s", r.Labels, want, out)
		}
	}
}

// TestInhibitionNamesAlertsThatExist keeps the names in the configuration and in the packs the same.
func TestInhibitionNamesAlertsThatExist(t *testing.T) {
	exists := map[string]bool{}
	for _, a := range alerts.All() {
		exists[a.Name] = true
	}
	var config struct {
		InhibitRules []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
		} `yaml:"inhibit_rules"`
	}
	if err := yaml.Unmarshal([]byte(changed(t)), &config); err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, rule := range config.InhibitRules {
		for _, m := range slices.Concat(rule.Source, rule.Target) {
			pattern, ok := strings.CutPrefix(m, "alertname")
			if !ok {
				continue
			}
			for _, name := range expand(strings.Trim(strings.TrimLeft(pattern, "!=~"), `"`)) {
				named++
				if !exists[name] {
					t.Errorf("%s: no pack has an alert %s", m, name)
				}
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d names were found", named)
	}
}

// expand returns what a pattern of alternatives matches: A|B, and A(1|2)x.
func expand(pattern string) (names []string) {
	if head, rest, ok := strings.Cut(pattern, "("); ok && !strings.Contains(head, "|") {
		choice, tail, _ := strings.Cut(rest, ")")
		for _, c := range strings.Split(choice, "|") {
			names = append(names, expand(head+c+tail)...)
		}
		return names
	}
	return strings.Split(pattern, "|")
}
