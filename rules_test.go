package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// ruleScripts are the commands about rules, as a user gives them.
var ruleScripts = map[string]string{
	"check": `
exec yagura rules check good.yaml
stdout 'good.yaml: Ok, 1 warning'
stdout 'LOAD_UNUSED_MACRO'
stdout '1 rules in 1 files: ok'

! exec yagura rules check good.yaml bad.yaml
stdout 'bad.yaml:3:34: error: unknown field "proc.nmae"'
stdout '  condition: evt.type = open and proc.nmae = cat'
stdout '                                 \^'
stderr '1 of 2 files cannot be loaded'

! exec yagura rules check --json bad.yaml
stdout '"code": "LOAD_ERR_COMPILE_CONDITION"'
stdout '"successful": false'

! exec yagura check --config.file=config.yml
stderr 'bad.yaml:3:34: error: unknown field "proc.nmae"'

! exec yagura rules check missing.yaml
stdout 'LOAD_ERR_FILE_READ'

exec yagura rules check
stdout 'yagura/detect/00-common.yaml: Ok'

-- config.yml --
rules: {files: [bad.yaml]}
-- good.yaml --
- macro: unused
  condition: evt.type = open
- rule: reads
  desc: something is read
  condition: evt.type = openat and evt.is_open_read = true and proc.name in (cat, tac)
  output: "%proc.name read %fd.name"
  priority: NOTICE
  tags: [host, maturity_stable]
  examples:
    match: [{type: openat, args: {name: /etc/passwd}, process: cat}]
    miss: [{type: openat, args: {name: /etc/passwd}, process: dog}]
-- bad.yaml --
- rule: bad
  desc: has a field that nobody knows
  condition: evt.type = open and proc.nmae = cat
  output: bad
  priority: NOTICE
`,
	"look": `
exec yagura rules list rules.yaml
stdout '^on +Notice +reads +syscall +openat +host maturity_stable$'
exec yagura rules list --json rules.yaml
stdout '"condition": "\(evt.type = openat and evt.is_open_read = true and proc.name in \(cat, tac\)\)"'
exec yagura rules fields
stdout 'proc.aname'
stdout 'yagura.path.resolved'
exec yagura rules test rules.yaml
stdout '^1 rules, 2 examples: 2 passed, 0 failed$'
! exec yagura rules test wrong.yaml
stdout 'wrong.yaml:7: rule "wrong": the event matches, and should not'
stderr '1 of 1 examples failed'

exec yagura rules explain --rules rules.yaml reads '{"type": "openat", "args": {"name": "/etc/passwd"}, "process": "dog"}'
stdout 'does not match this event'
stdout '✗ proc.name in \(cat, tac\).*dog'
stdout '✓ evt.type = openat'
! exec yagura rules explain --rules rules.yaml reads '{"type": "opemat"}'
stderr 'opemat'
! exec yagura rules explain --rules rules.yaml nobody '{"type": "openat"}'
stderr 'no rule is called "nobody"'

exec yagura replay events.jsonl --rules rules.yaml
stdout -count=1 '"rule":"reads"'
stdout '"proc.name":"tac"'
! exec yagura replay broken.jsonl --rules rules.yaml
stderr 'broken.jsonl:2:'
-- rules.yaml --
- rule: reads
  desc: something is read
  condition: evt.type = openat and evt.is_open_read = true and proc.name in (cat, tac)
  output: "%proc.name read %fd.name"
  priority: NOTICE
  tags: [host, maturity_stable]
  examples:
    match: [{type: openat, args: {name: /etc/passwd}, process: cat}]
    miss: [{type: openat, args: {name: /etc/passwd}, process: dog}]
-- wrong.yaml --
- rule: wrong
  desc: its example matches and should not
  condition: evt.type = openat
  output: wrong
  priority: NOTICE
  examples:
    miss: [{type: openat, args: {name: /etc/passwd}, process: dog}]
-- events.jsonl --
{"type": "openat", "args": {"name": "/etc/passwd"}, "process": "dog"}
{"type": "openat", "args": {"name": "/etc/passwd"}, "process": "tac"}
{"type": "close", "process": "tac"}
-- broken.jsonl --
{"type": "close", "process": "tac"}
{"type": "close", "proces": "tac"}
`,
}

func TestRuleCommands(t *testing.T) {
	dir := t.TempDir()
	for name, script := range ruleScripts {
		write(t, filepath.Join(dir, name+".txtar"), script)
	}
	testscript.Run(t, testscript.Params{Dir: dir})
}

// userRules are as users of Falco write them.
const userRules = `
- list: secret_files
  items: [/etc/shadow, /etc/gshadow]
- macro: user_known_readers
  condition: (never_true)
- macro: never_true
  condition: (evt.num = 0)
- rule: User rule about secrets
  desc: somebody reads what only login programs should
  condition: >
    evt.type in (open, openat, openat2) and evt.is_open_read = true and fd.name in (secret_files)
    and proc.name startswith reader and not user_known_readers
  output: Secret read (file=%fd.name by=%proc.name parent=%proc.pname user=%user.name %container.info)
  priority: CRITICAL
  tags: [filesystem, mitre_credential_access, T1003.008]
`

// alert is what outputs are told.
type alert struct {
	Output, Priority, Rule, Source, Time, Hostname string
	Tags                                           []string
	Fields                                         map[string]any `json:"output_fields"`
}

// alertsOf are the alerts of a rule in a file of them.
func alertsOf(t *testing.T, path, rule string) (all []alert) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var a alert
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%s: %v in %q", path, err, line)
		}
		if a.Rule == rule {
			all = append(all, a)
		}
	}
	return all
}

// TestRules loads a user's rules beside our own into the real program, does on the host and in a real container what they
// are about, and looks for the hits everywhere that they are shown.
func TestRules(t *testing.T) {
	needsKernel(t)
	c := startContainerd(t)
	var posted text
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = posted.Write(body)
	}))
	t.Cleanup(receiver.Close)
	rules, config := c.dir+"/rules.yaml", c.dir+"/yagura.yml"
	write(t, rules, strings.Replace(userRules, "condition: (never_true)\n", "condition: (evt.num = 0)\n", 1))
	write(t, config, fmt.Sprintf(`
containers: {containerd: [%s], cri: [], docker: [], podman: [], bundles: [], storage: []}
rules:
  matching: all
  files: [%s]
  outputs: {file: {path: %s}, http: {url: %q}}
`, c.socket(), rules, c.dir+"/alerts.json", receiver.URL))
	y := yagura(t, "--config.file="+config, "--store.path="+c.dir+"/store").await(t).ready(t)

	const rule, ours = "User rule about secrets", "Password hashes were read by a program that checks no passwords"
	p := y.scrape(t, "/metrics")
	for _, name := range []string{rule, ours} {
		if m := p.matching("yagura_rule_hits_total", "rule", name, "source", "syscall"); len(m) != 1 || m[0].GetCounter().GetValue() != 0 {
			t.Errorf("%q at the start: %v, want one series at 0", name, m)
		}
	}
	if n := p.sum("yagura_rules_loaded"); n < 200 {
		t.Errorf("%v rules are loaded, want 200 at least", n)
	}

	// On the host, through a symbolic link, by a program of an odd name.
	reader := c.dir + "/reader"
	copyFile(t, "/bin/cat", reader)
	if err := os.Symlink("/etc/shadow", c.dir+"/innocent"); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	run(reader, "/etc/shadow")
	run(reader, c.dir+"/innocent")
	hits := func(labels ...string) float64 {
		return y.scrape(t, "/metrics").sum("yagura_workload_rule_hits_total", labels...)
	}
	eventually(t, "the user's rule has its hit, and ours one by the link too", func() bool {
		return hits("rule", rule, "container", "") == 1 && hits("rule", ours, "container", "") >= 2
	})

	c.ctr(t, "run", "--snapshotter", "native", "--rm", testImage, "thief", "/guest", "10ms", "steal")
	eventually(t, "the container has a hit of ours", func() bool { return hits("rule", ours, "container", "thief") == 1 })
	testContainerHit(t, c.dir+"/alerts.json", ours)

	testHits(t, y, c.dir+"/alerts.json", rule)
	eventually(t, "the receiver was told of the user's rule", func() bool { return strings.Contains(posted.String(), `"rule":"`+rule+`"`) })
	eventually(t, "the store answers for the rule", func() bool {
		s := y.query(t, fmt.Sprintf("yagura_rule_hits_total{rule=%q,priority=\"Critical\"}", rule))
		return len(s) == 1 && s[0].Value[1] == "1"
	})
	testReloadOfRules(t, y, rules, rule, func() { run(reader, "/etc/shadow") })
}

func testHits(t *testing.T, y *server, file, rule string) {
	t.Helper()
	eventually(t, "the alert is in the file", func() bool { return len(alertsOf(t, file, rule)) == 1 })
	a := alertsOf(t, file, rule)[0]
	if a.Priority != "Critical" || a.Source != "syscall" || a.Fields["fd.name"] != "/etc/shadow" || a.Fields["proc.name"] != "reader" ||
		!strings.Contains(a.Output, "Critical Secret read (file=/etc/shadow by=reader") || !strings.Contains(a.Output, "container_id=host") {
		t.Errorf("alert %+v", a)
	}
	code, body := y.status(t, "GET", "/api/yagura/hits?rule="+strings.ReplaceAll(rule, " ", "%20"))
	var page struct {
		Data []struct {
			ID, Process string
			Ancestors   []string
		}
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || code != 200 || len(page.Data) != 1 || page.Data[0].Process != "reader" || len(page.Data[0].Ancestors) == 0 {
		t.Errorf("hits: %d %v %s", code, err, body)
		return
	}
	_, open := y.status(t, "GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if want := `# {event_id="` + page.Data[0].ID + `"}`; !strings.Contains(open, want) {
		t.Errorf("no exemplar %s, which is the id of the hit", want)
	}
}

// testContainerHit looks for the particulars of what happened in the container.
func testContainerHit(t *testing.T, file, rule string) {
	t.Helper()
	for _, a := range alertsOf(t, file, rule) {
		if a.Fields["container.name"] != "thief" {
			continue
		}
		if a.Fields["proc.name"] != "guest" || a.Fields["container.image.repository"] != "docker.io/library/yagura-end-to-end" ||
			a.Fields["container.image.tag"] != "1" || a.Fields["fd.name"] != "/etc/shadow" || a.Fields["proc.exepath"] != "/guest" {
			t.Errorf("alert of the container: %+v", a)
		}
		return
	}
	t.Errorf("no alert of %q is of the container", rule)
}

// testReloadOfRules breaks the rules and mends them while the program runs.
func testReloadOfRules(t *testing.T, y *server, path, rule string, act func()) {
	t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	count := func(name string) float64 { return y.scrape(t, "/metrics").sum("yagura_rule_hits_total", "rule", name) }
	write(t, path, strings.Replace(string(good), "proc.name startswith", "proc.nmae startswith", 1))
	code, body := y.status(t, "POST", "/-/reload")
	if code != 500 || !strings.Contains(body, path+":") || !strings.Contains(body, `unknown field "proc.nmae"`) || !strings.Contains(body, "\n            ^") && !strings.Contains(body, "^\n") {
		t.Errorf("reload of broken rules: %d %s", code, body)
	}
	if y.scrape(t, "/metrics").sum("yagura_config_last_reload_successful") != 0 {
		t.Error("a reload that failed counts as a success")
	}
	act()
	eventually(t, "the old rules are still evaluated", func() bool { return count(rule) == 2 })
	write(t, path, string(good)+`
- rule: Another rule
  desc: came with a reload
  condition: evt.type = openat and fd.name = /etc/shadow and proc.name = reader
  output: again by %proc.name
  priority: DEBUG
`)
	if code, body := y.status(t, "POST", "/-/reload"); code != 200 {
		t.Fatalf("reload: %d %s", code, body)
	}
	if m := y.scrape(t, "/metrics").matching("yagura_rule_hits_total", "rule", "Another rule"); len(m) != 1 || m[0].GetCounter().GetValue() != 0 {
		t.Errorf("the new rule after the reload: %v, want one series at 0", m)
	}
	act()
	eventually(t, "the new rule is evaluated, and the old one's count went on", func() bool { return count("Another rule") == 1 && count(rule) == 3 })
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}
