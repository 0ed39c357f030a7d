package alerts_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/alerts"
)

var update = flag.Bool("update", false, "write README.md and slo.yaml anew")

const referenceHead = `# Alerts

Packs of Prometheus rules about what Yagura measures. The embedded Prometheus loads them by itself; any other one does by
` + "`rule_files: [/etc/yagura/alerts/*.yaml]`" + `. In Yagura's configuration:

` + "```yaml" + `
alerts:
  packs: [node, containers, meta]    # all, if the line is missing
  without: [PrometheusNoAlertmanager] # alerts that are left out
  slos: []                            # objectives of yours, instead of those that Yagura ships: see slos/default.yaml
` + "```" + `

An alert is a rule in ` + "`PACK.yaml`" + `, tests that fire it and that keep it silent in ` + "`tests/PACK.yaml`" + `, and a section of
` + "`runbooks/PACK.md`" + `: what it means, how to look, what to do. Severity critical is worth waking someone, warning a ticket, info a
look; none fires always. The number that an alert compares with is only in its rule; dashboards take it from there.

The tables are written by ` + "`go test ./alerts -run TestReferenceIsCurrent -update`" + `.
`

func reference() string {
	var text strings.Builder
	text.WriteString(referenceHead)
	pack, last := "", ""
	for _, a := range alerts.All() {
		if a.Pack != pack {
			pack = a.Pack
			fmt.Fprintf(&text, "\n## %s\n\n| alert | severity | for | what |\n|---|---|---|---|\n", pack)
		}
		if a.Name == last {
			continue // the same of another objective
		}
		last = a.Name
		fmt.Fprintf(&text, "| [%s](runbooks/%s.md#%s) | %s | %s | %s |\n", a.Name, a.Pack, strings.ToLower(a.Name), a.Severity, a.For, firstSentence(a.Name))
	}
	return text.String()
}

// firstSentence is how the runbook begins to say what an alert means.
func firstSentence(name string) string {
	section, _ := alerts.Runbook(name)
	_, rest, _ := strings.Cut(section, "**What it means.**")
	rest, _, _ = strings.Cut(strings.Join(strings.Fields(rest), " "), " **How to look.**")
	sentence, _, _ := strings.Cut(rest, ". ")
	return strings.ReplaceAll(strings.TrimSuffix(sentence, "."), "|", "\\|") + "."
}

func TestReferenceIsCurrent(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, "README.md"); got != want {
		t.Error("README.md is not current: go test ./alerts -run TestReferenceIsCurrent -update")
	}
	for _, a := range alerts.All() {
		if len(firstSentence(a.Name)) < 10 {
			t.Errorf("%s: the runbook begins with %q: want a sentence", a.Name, firstSentence(a.Name))
		}
	}
}
