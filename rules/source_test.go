package rules

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// changeRule is a rule over changes of watched files with a condition.
func changeRule(name, condition string, more ...string) string {
	return ruleText(name, condition, append([]string{"source: fim"}, more...)...)
}

func TestLoadKeepsSourcesApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"a rule over changes", changeRule("r", "fim.kinds intersects (created) and proc.name = sh"), ""},
		{"field of system calls in a rule over changes", changeRule("r", "fim.expected = false and fd.name = /x"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:39 unknown field "fd.name": it is of source syscall, and this rule of source fim`},
		{"such with an argument", changeRule("r", "evt.arg.flags = 1"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:14 unknown field "evt.arg.flags": it is of source syscall, and this rule of source fim`},
		{"field of changes in a rule over system calls", ruleText("r", "evt.type = open and fim.path = /x"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:34 unknown field "fim.path": it is of source fim, and this rule of source syscall`},
		{"field of none in a rule over changes", changeRule("r", "fim.pth = /x"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:14 unknown field "fim.pth" of source fim (fim.path?)`},
		{"field of none in a rule over system calls", ruleText("r", "evt.type = open and proc.nam = x"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:34 unknown field "proc.nam" (proc.name?)`},
		{"environment of an actor", changeRule("r", "proc.env contains x"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:14 unknown field "proc.env": it is of source syscall, and this rule of source fim`},
		{"system call in a rule over changes", changeRule("r", "evt.type in (filechange, openat)"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:39 event type openat is of source syscall, and this rule of source fim`},
		{"change in a rule over system calls", ruleText("r", "evt.type = filechange"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:25 event type filechange is of source fim, and this rule of source syscall`},
		{"change as the argument of a field", ruleText("r", "evt.type = open and evt.type.is.filechange = 1"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:46 field evt.type.is[filechange]: event type filechange is of source fim, and this rule of source syscall`},
		{"kind that is none", changeRule("r", "fim.kinds intersects (created, chnaged)"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:45 fim.kinds is never chnaged, want created, deleted, renamed, content, mode, owner, xattrs, acl, links, flags, mounted, unmounted`},
		{"severity that is none", changeRule("r", "fim.severity = high"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:29 fim.severity is never high, want emergency, alert, critical, error, warning, notice, informational, debug`},
		{"operator of a list", changeRule("r", "fim.kinds = created"), `LOAD_ERR_COMPILE_CONDITION a.yaml:3:24 fim.kinds: '=' operator not supported list filters`},
		{"output of the other source", strings.Replace(changeRule("r", "fim.expected = false"), "output: o", "output: o %fd.name", 1),
			`LOAD_ERR_COMPILE_OUTPUT a.yaml:4:13 output: invalid formatting token fd.name: unknown field "fd.name": it is of source syscall, and this rule of source fim`},
		{"skipped where it may be", changeRule("r", "fd.name = /x", "skip-if-unknown-filter: true"),
			`LOAD_UNKNOWN_FILTER a.yaml:3:14 unknown field "fd.name": it is of source syscall, and this rule of source fim`},
		{"exception of the other source", changeRule("r", "fim.expected = false", "exceptions: [{name: x, fields: [fd.name], values: [[/x]]}]"),
			`LOAD_ERR_VALIDATE a.yaml:7:16 'fd.name' is not a supported filter field`},
		{"exception", changeRule("r", "fim.expected = false", "exceptions: [{name: x, fields: [fim.path, proc.name], values: [[/x, a]]}]"), ""},
		{"defined anew with another source", changeRule("r", "fim.expected = false") + ruleText("r", "evt.type = open"),
			"LOAD_ERR_VALIDATE a.yaml:7:3 Rule has been re-defined with a different source"},
		{"appended to", changeRule("r", "fim.expected = false") + "- rule: r\n  condition: and fim.path = /x\n  override: {condition: append}\n", ""},
		{"a macro of either", "- macro: m\n  condition: (proc.name = x)\n" + changeRule("r", "m") + ruleText("s", "evt.type = open and m"), ""},
		{"another source", changeRule("r", "fim.expected = false") + ruleText("s", "ka.verb = get", "source: k8s_audit"),
			"LOAD_UNKNOWN_SOURCE a.yaml:7:3 Unknown source k8s_audit, skipping"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			languages := NewLanguages(LanguageOptions{})
			check := func(r *Rule) ([]expr.Warning, error) { return Default.checkOutput(languages, r) }
			_, results := loadText(LoadOptions{Languages: languages, CheckOutput: check}, test.text)
			if got := strings.Join(told(results), "\n"); got != test.want {
				t.Errorf("load of\n%s\ntells\n%s\nwant\n%s", test.text, got, test.want)
			}
		})
	}
}

func TestRulesOverChangesAreOfOneType(t *testing.T) {
	t.Parallel()
	set, _ := loadPack(t, File{Name: "a.yaml", Text: []byte(changeRule("a", "fim.expected = false") + changeRule("b", "evt.type != filechange") +
		ruleText("c", "evt.type exists", "warn_evttypes: false"))})
	if r := set.Rules[0]; r.Source != "fim" || len(r.Types) != 1 || !r.Types["filechange"] {
		t.Errorf("the rule is %+v of types %v, want filechange", r.Rule, r.Types)
	}
	if r := set.Rules[1]; len(r.Types) != 0 {
		t.Errorf("the rule of no type is of %v", r.Types)
	}
	if r := set.Rules[2]; r.Types["filechange"] || len(r.Types) < 300 {
		t.Errorf("the rule over all system calls is of %d types, filechange is %v", len(r.Types), r.Types["filechange"])
	}
}

// What the kernel is asked for must not depend on rules over what it does not tell of.
func TestRulesOverChangesAskNothingOfTheKernel(t *testing.T) {
	t.Parallel()
	calls := ruleText("calls", "evt.type = open and fd.name = /x")
	with, _ := loadPack(t, File{Name: "a.yaml", Text: []byte(calls + changeRule("r", "fim.expected = false and proc.cwd = /x and proc.name = x"))})
	without, _ := loadPack(t, File{Name: "a.yaml", Text: []byte(calls)})
	if got, want := interestOf(with.Rules, Default), interestOf(without.Rules, Default); !reflect.DeepEqual(got, want) {
		t.Errorf("the interest is %+v, want %+v", got, want)
	}
}

const rulesOfBoth = `
- rule: opened
  desc: d
  condition: evt.type = openat and proc.name = cat
  output: "%proc.name opened %fd.name"
  priority: NOTICE
- rule: changed
  desc: d
  source: fim
  condition: fim.kinds intersects (content, mode, renamed) and proc.name in (mv, cat)
  output: "%fim.path by %proc.cmdline of %user.uid: %fim.diff"
  priority: WARNING
- rule: nobody's
  desc: d
  source: fim
  condition: not proc.name exists
  output: "%fim.path by %proc.name"
  priority: WARNING
`

// One recording may have events of both sources: each goes to the rules of its own.
func TestEvalSkipsRulesOfOtherSources(t *testing.T) {
	t.Parallel()
	v, got := engine(t, rulesOfBoth, func(c *Config, o *EngineOptions) {
		c.Matching = "all"
		c.AppendOutput = []AppendOutput{{ExtraOutput: "on %fd.num"}, {ExtraOutput: "as %proc.pname"}, {Match: OutputMatch{Source: "fim"}, ExtraOutput: "(%fim.actor)"}}
		o.RedactText = func(text string) string { return strings.ReplaceAll(text, "b", "*") }
	})
	for _, text := range []string{catReadsPasswd, setuidAppears, foundByScan} {
		v.Eval(decode(t, text))
	}
	const shown = " container_id=%s container_name=%s container_image_repository=%s container_image_tag=%s k8s_pod_name=%s k8s_ns_name=%s"
	fill := func(values ...string) string {
		out := shown
		for _, value := range values {
			out = strings.Replace(out, "%s", value, 1)
		}
		return out
	}
	want := []string{
		"cat opened /etc/passwd" + fill("host", "host", "<NA>", "<NA>", "<NA>", "<NA>") + " on 3 as bash",
		`/usr/local/bin/tool by mv /tmp/tool /usr/local/bin of 0: -a\n+*` + fill("0123456789ab", "web", "docker.io/library/web", "latest", "web-1", "prod") + " as bash (user)",
		"/etc/cron.d/x by <NA>" + fill("<NA>", "<NA>", "<NA>", "<NA>", "<NA>", "<NA>") + " as <NA> (unknown)",
	}
	if len(got.hits) != len(want) {
		t.Fatalf("%d hits, want %d: %v", len(got.hits), len(want), got.counts)
	}
	for i, h := range got.hits {
		if h.Output != want[i] {
			t.Errorf("output %q\nwant   %q", h.Output, want[i])
		}
	}
	if h := got.hits[1]; h.Rule.Source != "fim" || h.Event.Change.Diff != "-a\n+*" || h.Workload().Pod != "web-1" {
		t.Errorf("the hit is of %s, of %+v, with %q", h.Rule.Source, h.Workload(), h.Event.Change.Diff)
	}
}

func TestScopeBoundsRulesOverChanges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scope Scope
		want  int
	}{{Scope{Namespaces: []string{"prod"}}, 1}, {Scope{Namespaces: []string{"test"}}, 0}, {Scope{Host: true}, 0}, {Scope{Host: true, Except: true}, 1}} {
		v, got := engine(t, rulesOfBoth, func(c *Config, _ *EngineOptions) { c.Scope = []Scope{test.scope} })
		v.Eval(decode(t, setuidAppears))
		if got.counts["changed"] != test.want {
			t.Errorf("scope %+v: %v, want %d hits", test.scope, got.counts, test.want)
		}
	}
}

func TestChangesMissWithoutAllocation(t *testing.T) {
	v, _ := engine(t, rulesOfBoth+changeRule("a", "fim.path = /zz")+changeRule("b", "fim.filename = zz")+changeRule("c", "fim.kinds intersects (acl)"), nil)
	ev := decode(t, inAContainer)
	ev.Process = decode(t, catReadsPasswd).Process.Parent
	v.Eval(ev)
	if n := testing.AllocsPerRun(200, func() { v.Eval(ev) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// hitsHeard is a Collector.
type hitsHeard struct {
	mu     sync.Mutex
	rules  []*event.Rule
	counts map[string]int
	nums   []uint64 // of changes, as they came
}

func (h *hitsHeard) Load(rules []*event.Rule) { h.rules = rules }
func (h *hitsHeard) Keep(*event.Hit)          {}
func (h *hitsHeard) Spent(time.Duration)      {}

func (h *hitsHeard) Count(r *event.Rule, ev *event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[r.Source+" "+r.Name]++
	if ev.Change != nil {
		h.nums = append(h.nums, ev.Num)
	}
}

// The kernel's events and changes come from goroutines of their own.
func TestDetectorEvaluatesChangesBesideCalls(t *testing.T) {
	t.Parallel()
	got := &hitsHeard{counts: map[string]int{}}
	c := Default
	d := NewDetector(c, DetectorOptions{Hits: got, Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)})
	set, languages := loadPack(t, File{Name: "a.yaml", Text: []byte(rulesOfBoth)})
	if err := d.Compile(languages, set, c); err != nil {
		t.Fatal(err)
	}
	const rounds = 500
	call, change := decode(t, catReadsPasswd), decode(t, setuidAppears)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds {
			d.Eval(call)
		}
	})
	wg.Go(func() {
		for range rounds {
			d.EvalChange(change)
		}
	})
	wg.Wait()
	if got.counts["syscall opened"] != rounds || got.counts["fim changed"] != rounds || len(got.counts) != 2 {
		t.Errorf("counts %v, want %d of each source", got.counts, rounds)
	}
	if got.nums[0] != 1 || got.nums[rounds-1] != rounds {
		t.Errorf("changes are numbered from %d to %d, want 1 to %d", got.nums[0], got.nums[rounds-1], rounds)
	}
}

func TestExamplesMustBeOfTheRulesSource(t *testing.T) {
	t.Parallel()
	set, languages := loadPack(t, File{Name: "a.yaml", Text: []byte(changeRule("r", "fim.expected = false", "examples:",
		"  match: [{type: filechange, change: {path: /a, kinds: [mode]}}, {type: open}]", "  miss: [{type: filechange, change: {path: /a, kinds: [mode], expected: true}}]"))})
	n, failures := set.Rules[0].TestExamples(languages)
	want := `a.yaml:8: rule "r": the example cannot be read: open is an event of source syscall, and the rule is of source fim`
	if n != 3 || len(failures) != 1 || failures[0] != want {
		t.Errorf("%d examples, failures %q, want 3 and %q", n, failures, want)
	}
}

// ofFile is the command over a file of rules.
func ofFile(t *testing.T, text string) *command {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default
	return &command{configured: &c, files: []string{name}}
}

func TestCommandsKnowSources(t *testing.T) {
	t.Parallel()
	c := ofFile(t, rulesOfBoth)
	var list strings.Builder
	if err := c.list(&list); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(list.String(), "\n")
	for i, want := range []string{"ON PRIORITY RULE SOURCE EVENT TYPES TAGS", "on Notice opened syscall openat", "on Warning changed fim filechange"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d is %q, want %q", i+1, got, want)
		}
	}
	c.rule, c.what = "changed", setuidAppears
	var told strings.Builder
	if err := c.explain(&told); err != nil || !strings.Contains(told.String(), `"changed" matches this event`) || !strings.Contains(told.String(), `fim.kinds intersects (content, mode, renamed)   = (renamed,mode)`) {
		t.Errorf("explained %v:\n%s", err, told.String())
	}
	c.what = catReadsPasswd
	if err := c.explain(io.Discard); err == nil || err.Error() != `rule "changed": openat is an event of source syscall, and the rule is of source fim` {
		t.Errorf("explaining another source's event: %v", err)
	}
}

func TestReplayHasHitsOfBothSources(t *testing.T) {
	t.Parallel()
	c := Default
	var out strings.Builder
	show, err := HitsOf(c, ofFile(t, rulesOfBoth).files, &out)()
	if err != nil {
		t.Fatal(err)
	}
	record := decode(t, setuidAppears).AppendRecord(nil, nil)
	source := &event.Replay{R: strings.NewReader(strings.ReplaceAll(catReadsPasswd, "\n", " ") + "\n" + string(record) + "\n")}
	if err := source.Run(t.Context(), func(ev *event.Event) { err = errors.Join(err, show(ev)) }); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); err != nil || strings.Count(got, "\n") != 2 {
		t.Errorf("%v, alerts\n%s", err, got)
	}
	for _, want := range []string{`"source":"syscall"`, `"source":"fim"`, `"fim.path":"/usr/local/bin/tool"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("alerts have no %s\n%s", want, out.String())
		}
	}
}
