package rules

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestLoadChecksReadsAllOfACheck(t *testing.T) {
	t.Parallel()
	checks := fixtureChecks(t)
	if len(checks) != 3 {
		t.Fatalf("%d checks, want 3", len(checks))
	}
	c := checks[0]
	got := fmt.Sprintf("%s|%s|%s|%s|%s|%s|%q|%q|%v|%d|%s:%d", c.ID, c.Title, c.Severity, c.Check.Kind, c.Condition, c.Risk, c.Remediation, c.References,
		c.Controls, c.Level, c.File, c.Line)
	want := `shadow-private|Nobody but root and the group shadow can read password hashes|critical|file|` +
		`file.owner = root and file.group in (root, shadow) and file.other_read = false and file.group_write = false|` +
		`Whoever reads the hashes can try passwords at leisure.|"chown root:shadow /etc/shadow\nchmod 640 /etc/shadow"|` +
		`["https://man7.org/linux/man-pages/man5/shadow.5.html"]|[{cis_debian_12 7.1.5} {cis_debian_12 7.1.6} {nist_800_53 AC-3}]|1|checks.yaml:3`
	if got != want {
		t.Errorf("check is\n%s\nwant\n%s", got, want)
	}
	if c.Manual || !checks[2].Manual || checks[1].without != event.Fail || !checks[1].any || c.any {
		t.Error("manual, need or without are not what the file says")
	}
	for _, c := range checks {
		if _, failures := c.TestExamples(); len(failures) > 0 {
			t.Error(failures)
		}
	}
}

func TestExamplesThatAreWrongAreTold(t *testing.T) {
	t.Parallel()
	c := checkOf(t, "  where: file.size > 1\n  condition: file.owner = root\n  examples:\n    pass: [{size: 2, owner: x}, {size: 1, owner: root}]\n    fail:\n      - {size: 2, owner: root}\n")
	n, failures := c.TestExamples()
	want := []string{
		"checks.yaml:10: check one: the example is fail, and should be pass: it is not so that file.owner = root",
		"checks.yaml:10: check one: the example is not_applicable, and should be pass: there is nothing here that it is about",
		"checks.yaml:12: check one: the example is pass, and should be fail: ",
	}
	if n != 3 || strings.Join(failures, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d examples, failures\n%s", n, strings.Join(failures, "\n"))
	}
}

// TestLoadChecksPointsAtMistakes changes one line of a good check.
func TestLoadChecksPointsAtMistakes(t *testing.T) {
	t.Parallel()
	const good = `- check: one
  title: t
  severity: high
  fact: file
  where: file.purpose = shadow
  condition: >
    file.owner = root and
    file.size > 1
  risk: r
  remediation: fix it
  frameworks: {nist_800_53: [AC-6]}
  examples: {pass: [{owner: root, size: 2}]}
`
	for _, x := range []struct{ change, to, want string }{
		{"", "", ""},
		{"severity: high", "severity: urgent", `checks.yaml:3:13: error: severity: "urgent": want one of critical, high, medium, low`},
		{"severity: high", "severity: [high]", `checks.yaml:3:13: error: severity: want a text`},
		{"  severity: high\n", "", `checks.yaml:1:3: error: want the key "severity"`},
		{"title: t", "titel: t", `checks.yaml:2:3: error: unknown key "titel": want one of check, title,`},
		{"title: t", "title: t\n  title: u", `checks.yaml:3:3: error: key "title" is given twice`},
		{"title: t", "title: ''", `checks.yaml:2:10: error: title: is empty`},
		{"check: one", "check: One", `checks.yaml:1:10: error: "One": want an id of at most 80 lower-case letters`},
		{"fact: file", "fact: files", `checks.yaml:4:9: error: unknown kind of facts "files" (file?)`},
		{"where: file.purpose = shadow", "where: file.purpos = shadow", `checks.yaml:5:10: error: unknown field "file.purpos" (file.purpose?)`},
		{"where: file.purpose = shadow", "where: sysctl.value = 1", `checks.yaml:5:10: error: unknown field "sysctl.value": it is of facts of another kind, and this check is about file`},
		{"file.size > 1", "file.size >", `checks.yaml:8:16: error: `},
		{"file.size > 1", "file.size > x", `checks.yaml:8:17: error: `},
		{"file.size > 1", "file.sized > 1", `checks.yaml:8:5: error: unknown field "file.sized" (file.size?)`},
		{"file.size > 1", "privileged", `checks.yaml:8:5: error: Undefined macro 'privileged' used in filter.`},
		{"file.size > 1", "file.exists contains x", `checks.yaml:8:17: error: file.exists: operator 'contains' is not supported`},
		{"nist_800_53: [AC-6]", "nist_800_53: []", `checks.yaml:11:29: error: framework nist_800_53: want at least one control number`},
		{"nist_800_53: [AC-6]", "NIST: [AC-6]", `checks.yaml:11:16: error: framework "NIST": want lower-case letters`},
		{"{nist_800_53: [AC-6]}", "[nist]", `checks.yaml:11:15: error: frameworks: want a mapping`},
		{"owner: root, size: 2", "owner: root, size: '2'", `checks.yaml:12:41: error: file.size: want a whole number in decimal digits`},
		{"owner: root, size: 2", "owner: root, mode: 0640", `checks.yaml:12:41: error: file.mode: want a whole number in decimal digits`},
		{"owner: root, size: 2", "setuid: yes", `checks.yaml:12:30: error: file.setuid: want true or false`},
		{"owner: root, size: 2", "owner: [root]", `checks.yaml:12:29: error: file.owner: want a text`},
		{"owner: root, size: 2", "size: 99999999999999999999", `checks.yaml:12:28: error: file.size: `},
		{"owner: root, size: 2", "sise: 2", `checks.yaml:12:22: error: facts of kind file have no field "sise"`},
		{"{owner: root, size: 2}", "x", `checks.yaml:12:21: error: want a fact: a mapping of fields of kind file`},
		{"risk: r", "risk: r\n  manual: maybe", `checks.yaml:10:11: error: manual: "maybe": want one of false, true`},
		{"risk: r", "risk: r\n  manual: true", `checks.yaml:4:9: error: fact: a manual check has none`},
		{"risk: r", "risk: r\n  level: 3", `checks.yaml:10:10: error: level: "3": want one of none, 1, 2`},
		{"risk: r", "risk: r\n  need: some", `checks.yaml:10:9: error: need: "some": want one of all, any`},
		{"risk: r", "risk: r\n  without: error", `checks.yaml:10:12: error: without: "error": want one of`},
		{"- check: one", "- check: one\n  bad: [", `checks.yaml:4:11: error: did not find`},
		{good, "check: one\n", `checks.yaml:1:1: error: want a list of checks`},
		{good, "- one\n", `checks.yaml:1:3: error: want a check: a mapping`},
		{good, good + good, `checks.yaml:13:10: error: check one is already at checks.yaml:1`},
	} {
		text := good
		if x.change != "" {
			text = strings.Replace(good, x.change, x.to, 1)
		}
		checks, results := LoadChecks([]File{{Name: "checks.yaml", Text: []byte(text)}})
		err := failureOf(results)
		if x.want == "" && (err != nil || len(checks) != 1) {
			t.Errorf("the good check: %v", err)
		}
		if x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s -> %s: error\n%v\nwant %s", x.change, x.to, err, x.want)
		}
		if err != nil && (checks != nil || !strings.Contains(err.Error(), "\n    ") || !strings.Contains(err.Error(), "^")) {
			t.Errorf("%s -> %s: the error does not show its line:\n%v", x.change, x.to, err)
		}
	}
}

func TestLoadChecksTellsAllMistakesOfAFile(t *testing.T) {
	t.Parallel()
	bad := "- {check: b%d, title: t, severity: high, fact: file, condition: x.y = 1, risk: r, remediation: f}\n"
	_, results := LoadChecks([]File{{Name: "a", Text: fmt.Appendf(nil, bad+bad, 1, 2)}, {Name: "b", Text: fmt.Appendf(nil, bad, 1)}, {Name: "c", err: os.ErrPermission}})
	if len(results[0].Errors) != 2 || len(results[1].Errors) != 2 || len(results[2].Errors) != 1 {
		t.Errorf("%d, %d and %d errors, want 2, 2 and 1", len(results[0].Errors), len(results[1].Errors), len(results[2].Errors))
	}
}

// FuzzLoadChecks: whatever a file holds, loading it ends, says where each problem is, and what it loads can be judged.
func FuzzLoadChecks(f *testing.F) {
	text, err := os.ReadFile("testdata/posture/checks.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("- &a {check: a, title: t, severity: low, fact: file, condition: not file.size > 1, risk: r, remediation: f, frameworks: {f: [1]}, examples: {pass: [[], {size: 1}]}}\n- *a\n"))
	f.Add([]byte("- {check: b, title: \"\\u00e9\", severity: low, manual: true, risk: r, remediation: >-\n   x\n}\n---\n[]\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		checks, results := LoadChecks([]File{{Name: "fuzz.yaml", Text: raw}})
		checkResult(t, results[0])
		for _, c := range checks {
			if c.Manual {
				continue
			}
			c.TestExamples()
			e := NewEvaluation([]*Check{c}, nil, today)
			e.Fact(c.kind.New("", ""))
			if v := e.Verdicts()[0]; v.Status == event.Fail && v.Failing == 0 {
				t.Errorf("check %s fails without an object", c.ID)
			}
		}
	})
}
