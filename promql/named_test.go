package promql

import (
	"bytes"
	"strings"
	"testing"

	questions "github.com/yagura-io/yagura/promql/library"
)

// shelf is a small library.
var shelf = []questions.Query{
	{Name: "cat_weight", Group: "Is the cat well?", Title: "Weight of the cat", Unit: "bytes", Type: "vector",
		Doc: "How heavy the cat is. Above 8 it should eat less, which it will not like; cat_mood says how much it does not like it, and for how long."},
	{Name: "cat_mood", Group: "Is the cat well?", Title: "Mood", Unit: "bytes_per_second", Type: "vector", Doc: "How the cat is.",
		Variables: map[string]questions.Variable{"cat": {Default: ".*", Doc: "which cats"}, "window": {Default: "5m", Doc: "how far to look back"}},
		Expr:      "sum(\n  rate(purrs_total{cat=~\"$cat\"}[$window])\n)"},
	{Name: "dog_count", Group: "What else?", Title: "Dogs", Unit: "count", Type: "scalar", Doc: "How many there are."},
}

func TestListShowsWhatThePatternIsFoundIn(t *testing.T) {
	var all bytes.Buffer
	if err := writeList(&all, shelf, ""); err != nil {
		t.Fatal(err)
	}
	golden(t, "library.list", all.String())
	for pattern, want := range map[string]string{"dog": "dog_count", "WHAT ELSE": "dog_count", "^Mood$": "cat_mood", "how many": "dog_count"} {
		var some bytes.Buffer
		if err := writeList(&some, shelf, pattern); err != nil {
			t.Error(err)
		}
		if got := some.String(); !strings.Contains(got, want) || strings.Count(got, "). ") != 1 {
			t.Errorf("--list %s:\n%s", pattern, got)
		}
	}
	for pattern, want := range map[string]string{"horse": "--list horse: the library has nothing like it", "(": "--list: error parsing regexp: missing closing )"} {
		if err := writeList(new(bytes.Buffer), shelf, pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--list %s: %v", pattern, err)
		}
	}
}

func TestExplainShowsVariablesAndExpression(t *testing.T) {
	var out bytes.Buffer
	if err := writeExplanation(&out, shelf[1], nil); err != nil {
		t.Fatal(err)
	}
	out.WriteString("\n--- with a variable set\n")
	if err := writeExplanation(&out, shelf[1], map[string]string{"cat": "tom"}); err != nil {
		t.Fatal(err)
	}
	golden(t, "library.explain", out.String())
	if err := writeExplanation(&out, shelf[1], map[string]string{"dog": "tom"}); err == nil {
		t.Error("a variable that it has not was taken")
	}
}

func TestNamesAreExpanded(t *testing.T) {
	got, title, err := expand(" node_cpu_busy\n", map[string]string{"window": "1m"})
	if err != nil || !strings.Contains(got, "[1m]") || title != "CPU in use (ratio)" {
		t.Errorf("%q, %q, %v", got, title, err)
	}
	for _, text := range []string{"up", "node_load1", "sum(node_cpu_busy)", "no_such_metric"} {
		if got, title, err := expand(text, nil); got != text || title != "" || err != nil {
			t.Errorf("expand(%q) = %q, %q, %v; want it as it is", text, got, title, err)
		}
	}
	for text, want := range map[string]string{
		"node_cpu_bussy": "--var belongs to a query of the library: the library has no query \"node_cpu_bussy\": did you mean node_cpu_busy, ",
		"zebra":          "yagura query --list shows all",
		"":               "yagura query --list shows all",
	} {
		if _, _, err := expand(text, map[string]string{"window": "1m"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, _, err := expand("node_cpu_busy", map[string]string{"nope": "1"}); err == nil || !strings.Contains(err.Error(), `no variable "nope"`) {
		t.Error(err)
	}
}

func TestNamedQueryIsAsked(t *testing.T) {
	t.Parallel()
	server := library(t)
	expr, _, err := expand("process_execs_top", map[string]string{"window": "5m", "top": "3"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Query(t.Context(), &out, QueryOptions{URL: server.URL, Expr: expr, Time: noon.Add(30e9)}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "web-1") || !strings.Contains(out.String(), "ssh.service") {
		t.Errorf("the store's two workloads are not in the answer:\n%s", out.String())
	}
}
