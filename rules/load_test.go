package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// loadFields is a table of fields as small as the tests of the loader need, whatever the real one has.
func loadFields() []field {
	str := func(name string, kind expr.Kind, arity expr.Arity, flags expr.Flags) field {
		f := field{Name: name, Kind: kind, Arity: arity, Flags: flags, Text: func(*Record, arg) (string, bool) { return "", false }}
		if flags&expr.AnyOf != 0 || flags&expr.ListValued != 0 {
			f.Texts = func(*Record, arg, func(string) bool) bool { return true }
		}
		return f
	}
	num := func(name string, kind expr.Kind) field {
		return field{Name: name, Kind: kind, Uint: func(*Record, arg) (uint64, bool) { return 0, false }}
	}
	return []field{
		str("evt.type", expr.String, expr.NoArg, 0),
		str("evt.dir", expr.String, expr.NoArg, expr.Deprecated),
		str("evt.arg", expr.String, expr.RequiredArg, 0),
		num("evt.num", expr.Uint64),
		num("evt.rawres", expr.Uint64),
		str("proc.name", expr.String, expr.NoArg, 0),
		str("proc.pname", expr.String, expr.NoArg, 0),
		str("proc.cmdline", expr.String, expr.NoArg, 0),
		str("proc.aname", expr.String, expr.OptionalArg, expr.AnyOf|expr.NumberArg),
		str("fd.name", expr.Path, expr.NoArg, 0),
		num("fd.sport", expr.Port),
		str("user.name", expr.String, expr.NoArg, 0),
		str("container.id", expr.String, expr.NoArg, 0),
	}
}

func loadOptions() LoadOptions {
	return LoadOptions{Languages: Languages{event.SyscallSource: expr.NewLanguage(loadFields(), expr.Options{
		Validate: func(c *expr.Check) error { return checkValues(event.SyscallSource, c) },
		Service:  func(name string) (uint16, bool) { return 443, name == "https" },
	})}}
}

// loadText loads texts as a.yaml, b.yaml and so on.
func loadText(o LoadOptions, texts ...string) (*Set, []Result) {
	files := make([]File, len(texts))
	for i, text := range texts {
		files[i] = File{Name: string(rune('a'+i)) + ".yaml", Text: []byte(text)}
	}
	return Load(files, o)
}

// told is every problem of results, as "CODE file:line:column message", errors first, with line and column from 1.
func told(results []Result) (all []string) {
	for _, r := range results {
		for _, p := range slices.Concat(r.Errors, r.Warnings) {
			at := p.Context.Locations[len(p.Context.Locations)-1].Position
			all = append(all, fmt.Sprintf("%s %s:%d:%d %s", p.Code, at.Name, at.Line+1, at.Column+1, p.Message))
		}
	}
	return all
}

// mustLoad loads texts that have no error.
func mustLoad(t *testing.T, texts ...string) (*Set, []Result) {
	t.Helper()
	set, results := loadText(loadOptions(), texts...)
	if set == nil {
		t.Fatalf("want no error, have:\n%s", strings.Join(told(results), "\n"))
	}
	return set, results
}

// conditions are the rules as name: canonical condition.
func conditions(set *Set) (all []string) {
	for _, r := range set.Rules {
		all = append(all, r.Name+": "+expr.Print(r.Condition))
	}
	return all
}

// ruleText is a rule with a condition, and further lines.
func ruleText(name, condition string, more ...string) string {
	text := fmt.Sprintf("- rule: %s\n  desc: d\n  condition: %s\n  output: o\n  priority: INFO\n", name, condition)
	for _, line := range more {
		text += "  " + line + "\n"
	}
	return text
}

const anyRule = "- rule: r\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n"

func TestLoadTellsProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"comments only", "# nothing\n", ""},
		{"null document", "---\n---\n" + anyRule, ""},
		{"null items", "-\n- ~\n" + anyRule, ""},
		{"two documents", "---\n" + anyRule + "---\n" + ruleText("s", "evt.type = close"), ""},
		{"scalar", "hello", "LOAD_ERR_YAML_VALIDATE a.yaml:1:1 Rules content is not yaml"},
		{"mapping", "\nrule: x\n", "LOAD_ERR_YAML_VALIDATE a.yaml:2:1 Rules content is not yaml array of objects"},
		{"item is a scalar", anyRule + "- hello\n",
			"LOAD_ERR_YAML_VALIDATE a.yaml:6:3 Unexpected element type. Each element should be a yaml associative array."},
		{"item is a sequence", "- [a]\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Unexpected element type. Each element should be a yaml associative array."},
		{"broken YAML", "- rule: x\n  condition: a: b\n", "LOAD_ERR_YAML_PARSE a.yaml:2:15 mapping values are not allowed in this context"},
		{"open bracket", "- rule: [\n", "LOAD_ERR_YAML_PARSE a.yaml:2:1 did not find expected node content while parsing a flow node"},
		{"unknown alias", "- list: *x\n", "LOAD_ERR_YAML_PARSE a.yaml:1:9 unknown anchor 'x' referenced"},
		{"unknown item", "- foo: bar\n", "LOAD_UNKNOWN_ITEM a.yaml:1:3 Unknown top level item"},
		{"unknown key", anyRule + "  foo: 1\n", "LOAD_UNKNOWN_KEY a.yaml:6:3 Unknown key 'foo'. The key will be ignored."},
		{"key given twice", anyRule + "  priority: x\n", "LOAD_UNKNOWN_KEY a.yaml:6:3 Key 'priority' is given twice. The second will be ignored."},
		{"first key decides", "- macro: m\n  list: l\n  items: [a]\n",
			"LOAD_UNKNOWN_KEY a.yaml:1:3 Unknown key 'macro'. The key will be ignored.\n" +
				"LOAD_UNUSED_LIST a.yaml:1:3 List not referred to by any other rule/macro/list"},
		{"no name", "- rule:\n  enabled: false\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:8 Mapping for key 'rule' is empty"},
		{"name is empty", "- rule: ''\n  enabled: false\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:9 Value must be non-empty"},
		{"name is a list", "- rule: [a]\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:9 Value is not a scalar value"},
		{"no condition", "- rule: x\n  desc: d\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'condition'"},
		{"no output", "- rule: x\n  desc: d\n  condition: evt.type = open\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'output'"},
		{"no desc", "- rule: x\n  condition: evt.type = open\n  output: o\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'desc'"},
		{"no priority", "- rule: x\n  desc: d\n  condition: evt.type = open\n  output: o\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'priority'"},
		{"wrong priority", strings.Replace(anyRule, "INFO", "URGENT", 1), "LOAD_ERR_YAML_VALIDATE a.yaml:5:13 Invalid priority"},
		{"wrong bool", anyRule + "  enabled: maybe\n", "LOAD_ERR_YAML_VALIDATE a.yaml:6:12 Can't decode YAML scalar value"},
		{"bools of YAML 1.1", anyRule + "  enabled: no\n  capture: On\n", ""},
		{"wrong number", anyRule + "  capture_duration: -1\n", "LOAD_ERR_YAML_VALIDATE a.yaml:6:21 Can't decode YAML scalar value"},
		{"null options", anyRule + "  source:\n  tags:\n  exceptions:\n  enabled: ~\n  override:\n", ""},
		{"tags are a scalar", anyRule + "  tags: a\n", "LOAD_ERR_YAML_VALIDATE a.yaml:6:9 Value is not a sequence"},
		{"tag is a map", anyRule + "  tags: [a, {b: c}]\n", "LOAD_ERR_YAML_VALIDATE a.yaml:6:13 sequence value is not scalar"},
		{"unknown source", strings.Replace(anyRule, "evt.type = open", "ka.verb = get", 1) + "  source: k8s_audit\n",
			"LOAD_UNKNOWN_SOURCE a.yaml:1:3 Unknown source k8s_audit, skipping"},
		{"other source", anyRule + anyRule + "  source: k8s_audit\n", "LOAD_ERR_VALIDATE a.yaml:6:3 Rule has been re-defined with a different source"},
		{"toggle", anyRule + "- rule: r\n  enabled: false\n", "LOAD_DEPRECATED_ITEM a.yaml:6:3 The standalone 'enabled' key usage is deprecated. " +
			"The correct approach requires also a 'replace' entry under the 'override' key (i.e. 'enabled: replace')."},
		{"toggle of nothing", "- rule: r\n  enabled: false\n", "LOAD_ERR_VALIDATE a.yaml:1:3 Rule has 'enabled' key but no rule by that name already exists\n" +
			"LOAD_DEPRECATED_ITEM a.yaml:1:3 The standalone 'enabled' key usage is deprecated. " +
			"The correct approach requires also a 'replace' entry under the 'override' key (i.e. 'enabled: replace')."},
		{"only a name", "- rule: r\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'enabled'"},
		{"list without items", "- list: l\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'items'"},
		{"list of one scalar", "- list: l\n  items: a\n", "LOAD_ERR_YAML_VALIDATE a.yaml:2:10 Value is not a sequence"},
		{"macro without condition", "- macro: m\n", "LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'condition'"},
		{"names of lists and macros", "- list: a b\n  items: [x]\n- macro: 1m\n  condition: evt.num = 0\n",
			"LOAD_INVALID_LIST_NAME a.yaml:1:3 List has an invalid name. List names should match a regular expression: ^[a-zA-Z]+[a-zA-Z0-9_]*$\n" +
				"LOAD_INVALID_MACRO_NAME a.yaml:3:3 Macro has an invalid name. Macro names should match a regular expression: ^[a-zA-Z]+[a-zA-Z0-9_]*$\n" +
				"LOAD_UNUSED_MACRO a.yaml:3:3 Macro not referred to by any other rule/macro\n" +
				"LOAD_UNUSED_LIST a.yaml:1:3 List not referred to by any other rule/macro/list"},
		{"syntax error", ruleText("r", "evt.type = open and and proc.name = x"),
			`LOAD_ERR_COMPILE_CONDITION a.yaml:3:34 unexpected "and": want a field, a transformer, a macro, 'not' or '('`},
		{"syntax error in an unused macro", "- macro: m\n  condition: (evt.num = 0\n",
			"LOAD_ERR_COMPILE_CONDITION a.yaml:2:26 unexpected the end: want ')' for the '(' at 1"},
		{"unknown event type", ruleText("r", "evt.type in (open, opn)"), `LOAD_ERR_COMPILE_CONDITION a.yaml:3:33 unknown event type opn`},
		{"event types by prefix are not looked at", ruleText("r", "evt.type startswith opn"),
			"LOAD_NO_EVTTYPE a.yaml:1:3 Rule matches too many evt.type values. This has a significant performance penalty."},
		{"all event types", ruleText("r", "proc.name = a"),
			"LOAD_NO_EVTTYPE a.yaml:1:3 Rule matches too many evt.type values. This has a significant performance penalty."},
		{"all event types without a warning", ruleText("r", "proc.name = a", "warn_evttypes: false"), ""},
		{"no event type", ruleText("r", "evt.num = 0 and proc.name = a"), ""},
		{"deprecated field", ruleText("r", "evt.type = open and evt.dir = <"), "LOAD_DEPRECATED_ITEM a.yaml:3:34 field evt.dir is deprecated"},
		{"service", ruleText("r", "evt.type = connect and fd.sport = https"), ""},
		{"text that is a field", ruleText("r", "evt.type = open and proc.name = proc.pname"),
			`LOAD_COMPILE_CONDITION a.yaml:3:46 'proc.pname' may be a valid field misused as a const string value`},
		{"container.info", strings.Replace(anyRule, "output: o", "output: o (%container.info)", 1),
			"LOAD_DEPRECATED_ITEM a.yaml:4:14 %container.info is deprecated, and nothing is put in its place: what is known of the container is appended to the output."},
		{"unused", "- list: l\n  items: [a]\n- macro: m\n  condition: evt.num = 0\n",
			"LOAD_UNUSED_MACRO a.yaml:3:3 Macro not referred to by any other rule/macro\n" +
				"LOAD_UNUSED_LIST a.yaml:1:3 List not referred to by any other rule/macro/list"},
		{"examples are known", anyRule + "  examples:\n    match:\n      - {type: open}\n    miss: []\n", ""},
		{"examples are mappings", anyRule + "  examples: [a]\n", "LOAD_ERR_YAML_VALIDATE a.yaml:6:13 Examples must be a mapping with 'match' and 'miss'"},
		{"example is a mapping", anyRule + "  examples: {match: [x]}\n", "LOAD_ERR_YAML_VALIDATE a.yaml:6:22 An example must be a mapping: an event"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, results := loadText(loadOptions(), test.text)
			if got := strings.Join(told(results), "\n"); got != test.want {
				t.Errorf("load of\n%s\ntold:\n%s\nwant:\n%s", test.text, got, test.want)
			}
		})
	}
}

func TestLoadStopsAtTheFirstErrorOfAFile(t *testing.T) {
	t.Parallel()
	set, results := loadText(loadOptions(), "- rule: a\n  desc: d\n- rule: b\n", ruleText("r", "evt.type = ("), ruleText("s", "nope.x = 1"))
	want := []string{"LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'condition'"}
	if got := told(results); set != nil || !slices.Equal(got, want) {
		t.Errorf("told %q, want %q and no set", got, want)
	}
	_, results = loadText(loadOptions(), ruleText("r", "evt.type in (")+ruleText("q", "nope.x = 1"), ruleText("s", "nope.x = 1"))
	want = []string{"LOAD_ERR_COMPILE_CONDITION a.yaml:3:27 unexpected the end: want a value of the list",
		`LOAD_ERR_COMPILE_CONDITION b.yaml:3:14 unknown field "nope.x"`}
	if got := told(results); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// What a broken file should have defined is not reported as missing in the next.
func TestLoadDoesNotBlameLaterFiles(t *testing.T) {
	t.Parallel()
	_, results := loadText(loadOptions(), "- rule: r\n  desc: d\n", "- rule: r\n  condition: and x\n  override: {condition: append}\n")
	want := []string{"LOAD_ERR_YAML_VALIDATE a.yaml:1:3 Item has no mapping for key 'condition'"}
	if got := told(results); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestLoadReadsRules(t *testing.T) {
	t.Parallel()
	set, _ := mustLoad(t, `
- rule: The name
  desc: >
    What it
    means.
  condition: evt.type in (open, openat)
  output: "  said %proc.name  "
  priority: warning
  source: syscall
  enabled: false
  capture: true
  capture_duration: 1000
  warn_evttypes: false
  skip-if-unknown-filter: true
  tags: [b, a, b, 1]
  exceptions:
    - {name: x, fields: [proc.name], values: [[a]]}
  examples:
    match:
      - type: open
        args: {name: /etc/shadow, mode: 0644, flags: 0x1, size: 12, rate: 1.5, odd: "12", no: ~, yes: true}
    miss:
      - {type: close, tags: [a, "b\"c"]}
`)
	r := set.Rules[0]
	got := *r
	got.Condition, got.Types = nil, nil
	want := Rule{Rule: event.Rule{Name: "The name", Desc: "What it means.\n", Source: "syscall", Priority: event.Warning, Tags: []string{"b", "a", "1"},
		File: "a.yaml", Line: 2}, ConditionText: "evt.type in (open, openat)", Output: "said %proc.name", Capture: true, CaptureFor: 1000,
		SkipIfUnknown: true, Exceptions: []string{"x"}, Examples: Examples{
			Match: []Example{{[]byte(`{"type":"open","args":{"name":"/etc/shadow","mode":"0644","flags":"0x1","size":12,"rate":1.5,"odd":"12","no":null,"yes":true}}`), "a.yaml", 20}},
			Miss:  []Example{{[]byte(`{"type":"close","tags":["a","b\"c"]}`), "a.yaml", 23}},
		}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rule differs (-want +got):\n%s", diff)
	}
	if want := map[string]bool{"open": true, "openat": true}; !cmp.Equal(r.Types, want) {
		t.Errorf("types are %v, want %v", r.Types, want)
	}
}

func TestLoadKeepsTheOrderOfFirstDefinitions(t *testing.T) {
	t.Parallel()
	set, _ := mustLoad(t, ruleText("one", "evt.type = open")+ruleText("two", "evt.type = close"),
		ruleText("three", "evt.type = read")+ruleText("one", "evt.type = write"))
	want := []string{"one: evt.type = write", "two: evt.type = close", "three: evt.type = read"}
	if got := conditions(set); !slices.Equal(got, want) {
		t.Errorf("rules are %q, want %q", got, want)
	}
	if r := set.Rules[0]; r.File != "b.yaml" || r.Line != 6 {
		t.Errorf("one is at %s:%d, want b.yaml:6, where it was defined anew", r.File, r.Line)
	}
}

func TestLoadSelectsRules(t *testing.T) {
	t.Parallel()
	text := ruleText("shell one", "evt.type = open", "tags: [a]") + ruleText("shell two", "evt.type = open", "tags: [b]") +
		ruleText("other", "evt.type = open", "tags: [a, b]", "enabled: false") + strings.Replace(ruleText("debug", "evt.type = open"), "INFO", "DEBUG", 1)
	for _, test := range []struct {
		selection []Select
		priority  event.Priority
		want      string
	}{
		{nil, event.Debug, "shell one, shell two, -other, debug"},
		{nil, event.Informational, "shell one, shell two, -other"},
		{nil, event.Notice, ""},
		{[]Select{{Disable: &Match{Rule: "*"}}, {Enable: &Match{Rule: "shell *"}}, {Disable: &Match{Tag: "b"}}}, event.Debug, "shell one, -shell two, -other, -debug"},
		{[]Select{{Enable: &Match{Tag: "a"}}}, event.Informational, "shell one, shell two, other"},
	} {
		o := loadOptions()
		o.Selection, o.MinPriority = test.selection, &test.priority
		set, results := loadText(o, text)
		if set == nil {
			t.Fatal(told(results))
		}
		var got []string
		for _, r := range set.Rules {
			name := r.Name
			if !r.Enabled {
				name = "-" + name
			}
			got = append(got, name)
		}
		if got := strings.Join(got, ", "); got != test.want {
			t.Errorf("selection %+v from %s: %s, want %s", test.selection, test.priority, got, test.want)
		}
	}
}

func TestLoadSkipsRulesOfUnknownFilters(t *testing.T) {
	t.Parallel()
	skip := "skip-if-unknown-filter: true"
	o := loadOptions()
	o.CheckOutput = func(r *Rule) ([]expr.Warning, error) {
		if i := strings.Index(r.Output, "%nope"); i >= 0 {
			return nil, fmt.Errorf("output: %w", &expr.CheckError{Offset: i, Message: "invalid formatting token %nope", UnknownField: true})
		}
		if i := strings.Index(r.Output, "%%"); i >= 0 {
			return nil, &expr.CheckError{Offset: i, Message: "odd"}
		}
		return nil, nil
	}
	output := func(text, output string) string { return strings.Replace(text, "output: o", "output: "+output, 1) }
	for _, test := range []struct{ text, want string }{
		{ruleText("r", "evt.type = open and nope.x = 1"), `LOAD_ERR_COMPILE_CONDITION a.yaml:3:34 unknown field "nope.x"`},
		{ruleText("r", "evt.type = open and nope.x = 1", skip), `LOAD_UNKNOWN_FILTER a.yaml:3:34 unknown field "nope.x"`},
		{ruleText("r", "evt.type = opn", skip), `LOAD_UNKNOWN_FILTER a.yaml:3:25 unknown event type opn`},
		{ruleText("r", "evt.rawres = many", skip), `LOAD_ERR_COMPILE_CONDITION a.yaml:3:27 "many": want a whole number (uint64)`},
		{output(ruleText("r", "evt.type = open"), "said\n    %nope"), "LOAD_ERR_COMPILE_OUTPUT a.yaml:5:5 output: invalid formatting token %nope"},
		{output(ruleText("r", "evt.type = open", skip), "said %nope"), "LOAD_UNKNOWN_FILTER a.yaml:4:16 output: invalid formatting token %nope"},
		{output(ruleText("r", "evt.type = open", skip), "a%container.info %%"), "LOAD_ERR_COMPILE_OUTPUT a.yaml:4:28 odd\n" +
			"LOAD_DEPRECATED_ITEM a.yaml:4:12 %container.info is deprecated, and nothing is put in its place: what is known of the container is appended to the output."},
		{ruleText("r", "evt.type = open", skip, "exceptions: [{name: x, fields: [nope.x], values: [[1]]}]"), `LOAD_UNKNOWN_FILTER a.yaml:7:35 unknown field "nope.x"`},
	} {
		set, results := loadText(o, test.text)
		if got := strings.Join(told(results), "\n"); got != test.want {
			t.Errorf("load of\n%s\ntold %s\nwant %s", test.text, got, test.want)
		}
		if set != nil && len(set.Rules) != 0 {
			t.Errorf("load of\n%s\nhas the rule, want it left out", test.text)
		}
	}
}

func TestReadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"b.yaml": ruleText("b", "evt.type = open"), "a.yml": ruleText("a", "evt.type = open"), "c.txt": "no"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	set, _ := Load(ReadFiles([]string{dir}), loadOptions())
	if got, want := conditions(set), []string{"a: evt.type = open", "b: evt.type = open"}; !slices.Equal(got, want) {
		t.Errorf("rules of the folder are %q, want %q", got, want)
	}
	missing := filepath.Join(dir, "missing.yaml")
	set, results := Load(ReadFiles([]string{filepath.Join(dir, "b.yaml"), missing}), loadOptions())
	want := []string{"LOAD_ERR_FILE_READ " + missing + ":1:1 stat " + missing + ": no such file or directory"}
	if got := told(results); set != nil || !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if !results[0].Successful || results[1].Successful {
		t.Errorf("successful are %v and %v, want the first only", results[0].Successful, results[1].Successful)
	}
}

// Nothing that a file can hold makes the loader use memory or time without bounds.
func TestLoadIsBounded(t *testing.T) {
	t.Parallel()
	double := func(begin, line, end string, n int) string {
		text := begin
		for i := range n {
			text += fmt.Sprintf(line, i+1, i, i)
		}
		return text + fmt.Sprintf(end, n)
	}
	for _, test := range []struct{ name, text, want string }{
		{"size", strings.Repeat("#", maxRulesFile+1), "want at most 16777216"},
		{"flow", strings.Repeat("[", 100000), "exceeded max depth of 100"},
		{"dashes", strings.Repeat("- ", 100000), "exceeded max depth of 100"},
		{"questions", strings.Repeat("? ", 100000), "exceeded max depth of 100"},
		{"tags", strings.Repeat("!!x ", 100000), "did not find expected"},
		{"parentheses", ruleText("r", strings.Repeat("(", 100000)), "exceeded max depth"},
		{"aliases", double("- a: &a0 [x]\n", "- a: &a%d [*a%d, *a%d]\n", "- list: l%d\n", 40), "aliases make more than"},
		{"lists", double("- list: l0\n  items: [x]\n", "- list: l%d\n  items: [l%d, l%d]\n", "- macro: m\n  condition: proc.name in (l%d)\n", 40), "Lists make more than"},
		{"macros", double("- macro: m0\n  condition: evt.num = 0\n", "- macro: m%d\n  condition: m%d or m%d\n", "- macro: m\n  condition: m%d\n", 40),
			"exceeded max depth or size"},
		{"appended", anyRule + strings.Repeat("- rule: r\n  condition: and evt.type = open and evt.num > 0\n  override: {condition: append}\n", 20000), "Too much is appended"},
	} {
		_, results := loadText(loadOptions(), test.text)
		if got := told(results); len(got) == 0 || !strings.Contains(got[0], test.want) {
			t.Errorf("%s: told %.300q, want %q", test.name, got, test.want)
		}
	}
}

func TestWhereIsThePlaceInTheFile(t *testing.T) {
	t.Parallel()
	set, _ := mustLoad(t, "- macro: m\n  condition: proc.name = x\n", ruleText("r", "evt.type = open and\n    m and fd.name = y"))
	var got []string
	expr.Walk(set.Rules[0].Condition, func(c *expr.Check) {
		file, line, column := set.Where(c.Pos())
		got = append(got, fmt.Sprintf("%s:%d:%d", file, line, column))
	})
	if want := []string{"b.yaml:3:14", "a.yaml:2:14", "b.yaml:4:11"}; !slices.Equal(got, want) {
		t.Errorf("checks are at %q, want %q", got, want)
	}
}
