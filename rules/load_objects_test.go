package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestListsAreText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, lists, condition, want string }{
		{"in parentheses", "l: [a, b]", "proc.name in (l)", "proc.name in (a, b)"},
		{"beside others", "l: [a, b]", "proc.name in (x, l, y)", "proc.name in (x, a, b, y)"},
		{"without blanks", "l: [a, b]", "proc.name in (x,l,y)", "proc.name in (x, a, b, y)"},
		{"twice", "l: [a]", "proc.name in (l) or proc.name in (l, l)", "(proc.name in (a) or proc.name in (a, a))"},
		{"after =", "l: [a]", "proc.name=l", "proc.name = a"},
		{"no word of its own", "l: [a]", "proc.name in (l-x, xl, l.y, l)", "proc.name in (l-x, xl, l.y, a)"},
		{"within a quoted text", "l: [a]", `proc.cmdline contains "x l y"`, `proc.cmdline contains "x a y"`},
		{"empty in between", "l: []", "proc.name in (x, l, y)", "proc.name in (x, y)"},
		{"empty at first", "l: []", "proc.name in (l, y)", "proc.name in (y)"},
		{"empty at last", "l: []", "proc.name in (x, l)", "proc.name in (x)"},
		{"empty alone", "l: []", "proc.name in (l)", "proc.name in ()"},
		{"blanks", "l: [a b, '\"c d\"', \"'e f'\"]", "proc.name in (l)", `proc.name in ("a b", "c d", "e f")`},
		{"signs", "l: [a=b, (c), \"it's\", 'say \"x y\"', '']", "proc.name in (l)", `proc.name in ("a=b", "(c)", "it's", "say \"x y\"", "")`},
		{"other scalars", "l: [1, 007, 1.50, true, 0x1F]", "proc.name in (l)", "proc.name in (1, 007, 1.50, true, 0x1F)"},
		{"list in a list", "l: [a]\nm: [x, l, y]\nn: [m, z]", "proc.name in (n)", "proc.name in (x, a, y, z)"},
		{"empty list in a list", "l: []\nm: [x, l, y]", "proc.name in (m)", "proc.name in (x, y)"},
		{"later list in a list is text again", "m: [l, y]\nl: [a]", "proc.name in (m)", "proc.name in (a, y)"},
		{"own name", "l: [l, a]", "proc.name in (l)", "proc.name in (l, a)"},
		{"own name after a redefinition", "l: [a]\nm: [l]\nl: [m, b]", "proc.name in (l)", "proc.name in (l, b)"},
		{"name with a blank", "a b: [c]", "proc.name in (a b)", "proc.name in (c)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := ""
			for line := range strings.SplitSeq(test.lists, "\n") {
				name, items, _ := strings.Cut(line, ": ")
				text += "- list: " + name + "\n  items: " + items + "\n"
			}
			set, _ := mustLoad(t, text+ruleText("r", "\n    "+test.condition))
			if got := conditions(set)[0]; got != "r: "+test.want {
				t.Errorf("%s with %s is %s, want %s", test.condition, test.lists, got, test.want)
			}
		})
	}
}

// A list may be used before it is defined, and a later definition changes earlier rules.
func TestListsHaveNoVisibilityForRules(t *testing.T) {
	t.Parallel()
	set, _ := mustLoad(t, ruleText("r", "proc.name in (l)")+"- list: l\n  items: [a]\n", "- list: l\n  items: [b]\n")
	if got, want := conditions(set), []string{"r: proc.name in (b)"}; !slices.Equal(got, want) {
		t.Errorf("rules are %q, want %q", got, want)
	}
}

func TestMacrosAreOnTheTree(t *testing.T) {
	t.Parallel()
	macro := func(name, condition string) string { return "- macro: " + name + "\n  condition: " + condition + "\n" }
	a, b := macro("a", "proc.name = a"), macro("b", "a or proc.name = b")
	for _, test := range []struct{ name, text, want string }{
		{"brackets of their own", a + b + ruleText("r", "b and evt.type = open"), "((proc.name = a or proc.name = b) and evt.type = open)"},
		{"used before it is defined", ruleText("r", "b and a") + a + b, "((proc.name = a or proc.name = b) and proc.name = a)"},
		{"redefined later", a + ruleText("r", "a") + macro("a", "evt.num = 0"), "evt.num = 0"},
		{"list in a macro", macro("a", "proc.name in (l)") + "- list: l\n  items: [x]\n" + ruleText("r", "not a"), "not proc.name in (x)"},
		{"later macro", b + a + ruleText("r", "b"), "LOAD_ERR_VALIDATE a.yaml:2:14 Undefined macro 'a' used in filter."},
		{"earlier macro, redefined to use a later one", a + macro("c", "evt.num = 0") + macro("a", "c or proc.name = a") + ruleText("r", "a"),
			"(evt.num = 0 or proc.name = a)"},
		{"unknown macro", ruleText("r", "evt.type = open and nope"), "LOAD_ERR_VALIDATE a.yaml:3:34 Undefined macro 'nope' used in filter."},
		{"unknown macro in a macro", macro("a", "nope") + ruleText("r", "a"), "LOAD_ERR_VALIDATE a.yaml:2:14 Undefined macro 'nope' used in filter."},
		{"itself", macro("a", "a and proc.name = a"), "LOAD_ERR_VALIDATE a.yaml:2:14 Undefined macro 'a' used in filter."},
		{"itself, redefined", a + macro("a", "evt.num = 0 or a"), "LOAD_ERR_VALIDATE a.yaml:4:29 reference loop in macro 'a'"},
		{"loop", a + b + macro("a", "b"), "LOAD_ERR_VALIDATE a.yaml:4:14 reference loop in macro 'a'"},
		{"error in a macro", macro("a", "evt.num = 0 or nope.x = 1") + ruleText("r", "a"), `LOAD_ERR_COMPILE_CONDITION a.yaml:2:29 unknown field "nope.x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set, results := loadText(loadOptions(), test.text)
			got := strings.Join(told(results), "\n")
			if set != nil {
				got = strings.TrimPrefix(conditions(set)[0], "r: ")
			}
			if got != test.want {
				t.Errorf("load of\n%s\nis %s, want %s", test.text, got, test.want)
			}
		})
	}
}

// An error in a macro that a rule uses is shown as the macro's within the rule.
func TestErrorsInMacrosNameTheRule(t *testing.T) {
	t.Parallel()
	_, results := loadText(loadOptions(), "- macro: m\n  condition: nope.x = 1\n"+ruleText("r", "m"))
	var got []string
	for _, l := range results[0].Errors[0].Context.Locations {
		got = append(got, l.ItemType+" "+l.ItemName)
	}
	if want := []string{"rules content ", "rule r", "macro m", "macro condition ", "condition expression "}; !slices.Equal(got, want) {
		t.Errorf("locations are %q, want %q", got, want)
	}
}

func TestExceptionsAreText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, exceptions, want string }{
		{"none", "[]", "evt.type = open or x"},
		{"without values", "[{name: a, fields: [proc.name, fd.name]}, {name: b, fields: proc.name}]", "(evt.type = open or x)"},
		{"with no values", "[{name: a, fields: [proc.name], values: []}]", "(evt.type = open or x)"},
		{"tuples", "[{name: a, fields: [proc.name, fd.name], values: [[a, /x], [b, /y]]}]",
			"(evt.type = open or x) and not ((proc.name = a and fd.name = /x) or (proc.name = b and fd.name = /y))"},
		{"comps", "[{name: a, fields: [proc.name, fd.name], comps: ['!=', startswith], values: [[a, /x]]}]",
			"(evt.type = open or x) and not ((proc.name != a and fd.name startswith /x))"},
		{"list as an element", "[{name: a, fields: [proc.name, fd.name], comps: [in, =], values: [[[a, b c], /x]]}]",
			`(evt.type = open or x) and not ((proc.name in (a, "b c") and fd.name = /x))`},
		{"scalar for a list operator", "[{name: a, fields: [proc.name, fd.name], comps: [in, pmatch], values: [[a, (/x)]]}]",
			"(evt.type = open or x) and not ((proc.name in (a) and fd.name pmatch (/x)))"},
		{"list for startswith oneof", "[{name: a, fields: [fd.name], comps: [startswith oneof], values: [[[/x, /y]]]}]",
			"(evt.type = open or x) and not ((fd.name startswith oneof (/x, /y)))"},
		{"blanks", `[{name: a, fields: [proc.cmdline], values: [[a b], ['"c d"'], ["'e f'"]]}]`,
			`(evt.type = open or x) and not ((proc.cmdline = "a b") or (proc.cmdline = "c d") or (proc.cmdline = 'e f'))`},
		{"one field", "[{name: a, fields: proc.name, values: [a, b c, 7]}]", `(evt.type = open or x) and not (proc.name in (a, "b c", 7))`},
		{"one field with comps", "[{name: a, fields: fd.name, comps: pmatch, values: [/a, /b]}]", "(evt.type = open or x) and not (fd.name pmatch (/a, /b))"},
		{"one field with a modifier", "[{name: a, fields: fd.name, comps: endswith anyof, values: [.a, .b]}]",
			"(evt.type = open or x) and not (fd.name endswith anyof (.a, .b))"},
		{"several", "[{name: a, fields: proc.name, values: [a]}, {name: b, fields: [fd.name], values: [[/b]]}]",
			"(evt.type = open or x) and not (proc.name in (a)) and not ((fd.name = /b))"},
		{"transformers", "[{name: a, fields: ['tolower(proc.name)'], values: [['toupper( proc.pname )'], [toupper(proc.pname)], [val(proc.pname)]]}]", // blanks want quotes
			"(evt.type = open or x) and not ((tolower(proc.name) = \"toupper( proc.pname )\") or (tolower(proc.name) = toupper(proc.pname)) or (tolower(proc.name) = val(proc.pname)))"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newRulesFile("a.yaml", "- exceptions: "+test.exceptions+"\n  condition: evt.type = open or x\n", &Result{})
			documents, err := parseYAML(f)
			if err != nil {
				t.Fatal(err)
			}
			l := &loader{o: loadOptions()}
			n := documents[0].items[0]
			e := &entry{l: l, where: &place{kind: inRule, file: f}, n: n}
			all := e.exceptions(false)
			if err := l.checkExceptions(&ruleInfo{source: "syscall"}, all); err != nil || e.err != nil {
				t.Fatal(err, e.err)
			}
			got, err := withExceptions(passageOf(n.get("condition")), all)
			if err != nil || got.text != test.want {
				t.Errorf("%s\nis   %s, %v\nwant %s", test.exceptions, got.text, err, test.want)
			}
			for i := range got.text { // whatever is asked, there is an answer within the file
				if o := got.origin(i); o.file != f || o.at > len(f.text) {
					t.Fatalf("origin of %d is %+v", i, o)
				}
			}
		})
	}
}

func TestExceptionsWithErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, exceptions, appended, want string }{
		{"no sequence", "x", "", "LOAD_ERR_YAML_VALIDATE a.yaml:6:15 Rule exceptions must be a sequence"},
		{"no mapping", "[x]", "", "LOAD_ERR_YAML_VALIDATE a.yaml:6:16 Rule exception must be a mapping"},
		{"no name", "[{fields: proc.name}]", "", "LOAD_ERR_YAML_VALIDATE a.yaml:6:16 Item has no mapping for key 'name'"},
		{"no fields", "[{name: a, values: [x]}]", "", "LOAD_ERR_YAML_VALIDATE a.yaml:6:16 Item has no mapping for key 'fields'"},
		{"unknown field", "[{name: a, fields: [proc.name, no.such], values: [[x, y]]}]", "",
			"LOAD_ERR_VALIDATE a.yaml:6:16 'no.such' is not a supported filter field"},
		{"unknown single field", "[{name: a, fields: no.such}]", "", "LOAD_ERR_VALIDATE a.yaml:6:16 'no.such' is not a supported filter field"},
		{"field of arguments", "[{name: a, fields: evt.arg.flags, values: [x]}]", "", ""},
		{"lengths of comps", "[{name: a, fields: [proc.name, fd.name], comps: [=]}]", "", "LOAD_ERR_VALIDATE a.yaml:6:16 Fields and comps lists must have equal length"},
		{"comps are a scalar", "[{name: a, fields: [proc.name], comps: in}]", "", "LOAD_ERR_VALIDATE a.yaml:6:16 Fields and comps lists must have equal length"},
		{"comps are a list", "[{name: a, fields: proc.name, comps: [in]}]", "", "LOAD_ERR_VALIDATE a.yaml:6:16 Fields and comps must both be strings"},
		{"comps of a single field", "[{name: a, fields: proc.name, comps: startswith}]", "",
			"LOAD_ERR_VALIDATE a.yaml:6:16 When fields is a single value, comps must be one of (in, pmatch, intersects)"},
		{"unknown comps", "[{name: a, fields: [proc.name], comps: [like]}]", "", "LOAD_ERR_VALIDATE a.yaml:6:16 'like' is not a supported comparison operator"},
		{"lengths of values", "[{name: a, fields: [proc.name, fd.name], values: [[a, b], [a]]}]", "",
			"LOAD_ERR_VALIDATE a.yaml:6:16 Fields and values lists must have equal length"},
		{"value is no tuple", "[{name: a, fields: [proc.name], values: [a]}]", "", "LOAD_ERR_VALIDATE a.yaml:6:16 Fields and values lists must have equal length"},
		{"values of a single field", "[{name: a, fields: proc.name, values: [[a]]}]", "",
			"LOAD_ERR_VALIDATE a.yaml:6:16 Expected values array to contain a list of strings"},
		{"values are a scalar", "[{name: a, fields: proc.name, values: a}]", "", "LOAD_ERR_YAML_VALIDATE a.yaml:6:53 Rule exception values must be a sequence"},
		{"unknown key", "[{name: a, fields: proc.name, value: [a]}]", "", "LOAD_UNKNOWN_KEY a.yaml:6:45 Unknown key 'value'. The key will be ignored."},
		{"same name", "[{name: a, fields: proc.name}, {name: a, fields: proc.name}]", "",
			"LOAD_EXCEPTION_NAME_NOT_UNIQUE a.yaml:6:46 Multiple definitions of exception 'a' in the same rule"},
		{"blank in a set", "[{name: a, fields: [proc.name], comps: [in], values: [[a b]]}]", "",
			`LOAD_ERR_COMPILE_CONDITION a.yaml:6:72 unexpected "b)))": want ',' or ')' in the list that begins at 42`},
		{"error in a value", "[{name: a, fields: [evt.rawres], values: [[1], [x]]}]", "", `LOAD_ERR_COMPILE_CONDITION a.yaml:6:63 "x": want a whole number (uint64)`},

		{"appended without values", "[{name: a, fields: proc.name}]", "[{name: a}]", "LOAD_APPEND_NO_VALUES b.yaml:2:16 Overriding/appending exception with no values"},
		{"appended fields", "[{name: a, fields: proc.name}]", "[{name: a, fields: proc.name, values: [x]}]",
			"LOAD_ERR_VALIDATE b.yaml:2:16 Can not append exception fields to existing exception, only values"},
		{"appended comps", "[{name: a, fields: proc.name}]", "[{name: a, comps: in, values: [x]}]",
			"LOAD_ERR_VALIDATE b.yaml:2:16 Can not append exception comps to existing exception, only values"},
		{"new without fields", "[]", "[{name: a, values: [x]}]", "LOAD_ERR_VALIDATE b.yaml:2:16 Rule exception must have fields property with a list of fields"},
		{"new without values", "[]", "[{name: a, fields: proc.name}]", "LOAD_ERR_VALIDATE b.yaml:2:16 Rule exception must have fields and values\n" +
			"LOAD_APPEND_NO_VALUES b.yaml:2:16 Overriding/appending exception with no values"},
		{"new with an unknown field", "[]", "[{name: a, fields: no.such, values: [x]}]", "LOAD_ERR_VALIDATE b.yaml:2:16 'no.such' is not a supported filter field"},
		{"appended values that do not fit", "[{name: a, fields: [proc.name]}]", "[{name: a, values: [[x, y]]}]",
			"LOAD_ERR_VALIDATE a.yaml:6:16 Fields and values lists must have equal length"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			texts := []string{ruleText("r", "evt.type = open", "exceptions: "+test.exceptions)}
			if test.appended != "" {
				texts = append(texts, "- rule: r\n  exceptions: "+test.appended+"\n  override: {exceptions: append}\n")
			}
			_, results := loadText(loadOptions(), texts...)
			if got := strings.Join(told(results), "\n"); got != test.want {
				t.Errorf("%s and %s told\n%s\nwant\n%s", test.exceptions, test.appended, got, test.want)
			}
		})
	}
}

func TestExceptionsAreAppended(t *testing.T) {
	t.Parallel()
	base := ruleText("r", "evt.type = open", "exceptions:", "- {name: a, fields: [proc.name, fd.name], comps: [in, startswith]}", "- {name: b, fields: proc.name, values: [x]}")
	for _, how := range []string{"append: true", "override: {exceptions: append}"} {
		set, _ := mustLoad(t, base, "- rule: r\n  exceptions:\n  - {name: a, values: [[l, /etc]]}\n  - {name: b, values: [y]}\n  - {name: c, fields: user.name, values: [z]}\n  "+how+"\n- list: l\n  items: [p, q]\n")
		want := "r: (evt.type = open and not (proc.name in (p, q) and fd.name startswith /etc) and not proc.name in (x, y) and not user.name in (z))"
		if got := conditions(set)[0]; got != want {
			t.Errorf("%s:\n%s, want\n%s", how, got, want)
		}
	}
	set, _ := mustLoad(t, base, "- rule: r\n  exceptions:\n  - {name: c, fields: user.name, values: [z]}\n  override: {exceptions: replace}\n")
	if got, want := conditions(set)[0], "r: (evt.type = open and not user.name in (z))"; got != want {
		t.Errorf("replaced: %s, want %s", got, want)
	}
}

// overrideBase is what the override tests change.
const overrideBase = `- rule: r
  desc: d
  condition: evt.type = open
  output: o
  priority: INFO
  tags: [a, b]
`

func TestOverrideOfEachKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key, value  string
		appended    string // what is different after append, or the error
		replaced    string
		differently func(r *Rule) string
	}{
		{"condition", "or evt.type = close", "evt.type = open or evt.type = close", "ERR", func(r *Rule) string { return r.ConditionText }},
		{"output", "' p '", "o p", "p", func(r *Rule) string { return r.Output }},
		{"desc", "e", "d e", "e", func(r *Rule) string { return r.Desc }},
		{"tags", "[b, c]", "a b c", "b c", func(r *Rule) string { return strings.Join(r.Tags, " ") }},
		{"exceptions", "[{name: x, fields: proc.name, values: [v]}]", "x", "x", func(r *Rule) string { return strings.Join(r.Exceptions, " ") }},
		{"priority", "error", "ERR", "Error", func(r *Rule) string { return r.Priority.String() }},
		{"enabled", "false", "ERR", "off", func(r *Rule) string { return onOff(r.Enabled) }},
		{"capture", "true", "ERR", "on", func(r *Rule) string { return onOff(r.Capture) }},
		{"capture_duration", "7", "ERR", "7", func(r *Rule) string { return map[uint32]string{7: "7"}[r.CaptureFor] }},
		{"warn_evttypes", "false", "ERR", "off", func(r *Rule) string { return onOff(r.WarnTypes) }},
		{"skip-if-unknown-filter", "true", "ERR", "on", func(r *Rule) string { return onOff(r.SkipIfUnknown) }},
		{"source", "syscall", "ERR", "ERR", nil},
		{"foo", "1", "ERR", "ERR", nil},
	} {
		for how, want := range map[string]string{"append": test.appended, "replace": test.replaced} {
			set, results := loadText(loadOptions(), overrideBase, "- rule: r\n  "+test.key+": "+test.value+"\n  override: {"+test.key+": "+how+"}\n")
			if want == "ERR" {
				message := map[string]string{"append": "Key '" + test.key + "' cannot be appended to, use 'replace' instead", "replace": "Key '" + test.key + "' cannot be replaced"}[how]
				if test.key == "condition" {
					message = `unexpected "or": want a field, a transformer, a macro, 'not' or '('`
				}
				if got := told(results); set != nil || !strings.HasSuffix(got[0], message) {
					t.Errorf("%s of %s told %q, want %q", how, test.key, got, message)
				}
				continue
			}
			if set == nil {
				t.Errorf("%s of %s told %q", how, test.key, told(results))
			} else if got := test.differently(set.Rules[0]); got != want {
				t.Errorf("%s of %s: %q, want %q", how, test.key, got, want)
			}
		}
	}
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func TestOverride(t *testing.T) {
	t.Parallel()
	const both = "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
	const deprecated = "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
	list, macro := "- list: l\n  items: [a]\n", "- macro: m\n  condition: proc.name in (l)\n"
	use := ruleText("u", "m")
	for _, test := range []struct{ name, text, want string }{
		{"append first, then replace", overrideBase + "- rule: r\n  condition: and proc.name = x\n  priority: ERROR\n  override: {priority: replace, condition: append}\n", "r: (evt.type = open and proc.name = x) Error"},
		{"append binds by the order of operators", overrideBase + "- rule: r\n  condition: and proc.name = x or proc.name = y\n  override: {condition: append}\n",
			"r: ((evt.type = open and proc.name = x) or proc.name = y) Informational\nLOAD_NO_EVTTYPE"},
		{"deprecated append", overrideBase + "- rule: r\n  condition: and proc.name = x\n  append: true\n", "r: (evt.type = open and proc.name = x) Informational\nLOAD_DEPRECATED_ITEM a.yaml:7:3 " + deprecated},
		{"append: false defines", overrideBase + strings.Replace(overrideBase, "= open", "= close\n  append: false", 1), "r: evt.type = close Informational"},
		{"both", overrideBase + "- rule: r\n  condition: and x\n  append: true\n  override: {condition: append}\n", "LOAD_ERR_YAML_VALIDATE a.yaml:7:3 " + both + "\nLOAD_DEPRECATED_ITEM a.yaml:7:3 " + deprecated},
		{"both, list", list + "- list: l\n  items: [b]\n  append: true\n  override: {items: append}\n", "LOAD_ERR_YAML_VALIDATE a.yaml:3:3 " + both + "\nLOAD_DEPRECATED_ITEM a.yaml:3:3 " + deprecated},
		{"both, macro", list + macro + "- macro: m\n  condition: or x\n  append: true\n  override: {condition: append}\n", "LOAD_ERR_YAML_VALIDATE a.yaml:5:3 " + both + "\nLOAD_DEPRECATED_ITEM a.yaml:5:3 " + deprecated},
		{"key is absent, append", overrideBase + "- rule: r\n  override: {condition: append}\n",
			"LOAD_ERR_YAML_VALIDATE a.yaml:8:13 An append override for 'condition' was specified but 'condition' is not defined"},
		{"key is absent, replace", overrideBase + "- rule: r\n  override: {desc: replace}\n",
			"LOAD_ERR_YAML_VALIDATE a.yaml:8:13 A replace override for 'desc' was specified but 'desc' is not defined"},
		{"key without an entry", overrideBase + "- rule: r\n  desc: x\n  output: y\n  override:\n    desc: append\n",
			"LOAD_ERR_YAML_VALIDATE a.yaml:9:3 Unexpected key 'output': no corresponding entry under 'override' is defined."},
		{"unknown operation", overrideBase + "- rule: r\n  desc: x\n  override: {desc: prepend}\n",
			"LOAD_ERR_YAML_VALIDATE a.yaml:9:20 Invalid override operation for key 'desc': 'prepend'. Allowed values are: 'append', 'replace'"},
		{"no mapping", overrideBase + "- rule: r\n  desc: x\n  override: append\n",
			"LOAD_ERR_YAML_VALIDATE a.yaml:9:13 Value of 'override' must be a mapping of keys to 'append' or 'replace'"},
		{"unknown key", overrideBase + "- rule: r\n  desc: x\n  foo: y\n  override: {desc: append}\n", "r: evt.type = open Informational\nLOAD_UNKNOWN_KEY a.yaml:9:3 Unknown key 'foo'. The key will be ignored."},
		{"append to no rule", "- rule: r\n  desc: x\n  override: {desc: append}\n",
			"LOAD_ERR_VALIDATE a.yaml:1:3 Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"},
		{"replace in no rule", "- rule: r\n  desc: x\n  override: {desc: replace}\n",
			"LOAD_ERR_VALIDATE a.yaml:1:3 An 'override.<key>: replace' to a rule was requested but no rule by that name already exists"},
		{"append to no list", "- list: l\n  items: [b]\n  override: {items: append}\n",
			"LOAD_ERR_VALIDATE a.yaml:1:3 List uses 'append' or 'override.items: append' but no list by that name already exists"},
		{"append to no macro", "- macro: m\n  condition: or x\n  override: {condition: append}\n",
			"LOAD_ERR_VALIDATE a.yaml:1:3 Macro uses 'append' or 'override.condition: append' but no macro by that name already exists"},
		{"deprecated append without anything", overrideBase + "- rule: r\n  append: true\n",
			"LOAD_ERR_VALIDATE a.yaml:7:3 Appended rule must have exceptions or condition property\nLOAD_DEPRECATED_ITEM a.yaml:7:3 " + deprecated},
		{"list", list + macro + use + "- list: l\n  items: [b]\n  override: {items: append}\n", "u: proc.name in (a, b) Informational\nLOAD_NO_EVTTYPE"},
		{"list, replaced", list + macro + use + "- list: l\n  items: [b]\n  override: {items: replace}\n", "u: proc.name in (b) Informational\nLOAD_NO_EVTTYPE"},
		{"macro", list + macro + use + "- macro: m\n  condition: or evt.num = 0\n  override: {condition: append}\n", "u: (proc.name in (a) or evt.num = 0) Informational\nLOAD_NO_EVTTYPE"},
		{"macro, replaced", list + macro + use + "- macro: m\n  condition: evt.num = 0\n  override: {condition: replace}\n",
			"u: evt.num = 0 Informational\nLOAD_UNUSED_LIST a.yaml:1:3 List not referred to by any other rule/macro/list"},
		{"macro and list that replace nothing", "- macro: m\n  condition: proc.name in (l)\n  override: {condition: replace}\n- list: l\n  items: [b]\n  override: {items: replace}\n" + use,
			"u: proc.name in (b) Informational\nLOAD_NO_EVTTYPE"},
		{"list has no other key", list + "- list: l\n  items: [a]\n  override: {append: replace}\n", "LOAD_ERR_YAML_VALIDATE a.yaml:5:14 Key 'append' cannot be replaced"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set, results := loadText(loadOptions(), test.text)
			var got []string
			if set != nil {
				for _, r := range set.Rules {
					got = append(got, strings.TrimSpace(strings.Join(conditions(&Set{Rules: []*Rule{r}}), "")+" "+r.Priority.String()))
				}
			}
			for _, problem := range told(results) {
				if strings.HasPrefix(problem, "LOAD_NO_EVTTYPE") {
					problem = "LOAD_NO_EVTTYPE"
				}
				got = append(got, problem)
			}
			if got := strings.Join(got, "\n"); got != test.want {
				t.Errorf("load of\n%s\nis\n%s\nwant\n%s", test.text, got, test.want)
			}
		})
	}
}

// What is appended comes from another file, and an error in it is that file's.
func TestErrorsInWhatIsAppendedAreInTheirFile(t *testing.T) {
	t.Parallel()
	_, results := loadText(loadOptions(), overrideBase, "# x\n- rule: r\n  condition: >\n    and proc.name = x\n    and nope.y = 1\n  override: {condition: append}\n")
	want := []string{`LOAD_ERR_COMPILE_CONDITION b.yaml:5:9 unknown field "nope.y"`}
	if got := told(results); !slices.Equal(got, want) || !results[0].Successful || results[1].Successful {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestPossibleTypes(t *testing.T) {
	t.Parallel()
	set, _ := mustLoad(t, ruleText("a", "evt.type in (open, close) and not evt.type = close")+ruleText("b", "evt.num = 0")+
		ruleText("c", "not evt.type != read or evt.type = write")+ruleText("d", "evt.type exists", "warn_evttypes: false"))
	for i, want := range []int{1, 0, 2, len(eventTypes(event.SyscallSource))} {
		if got := len(set.Rules[i].Types); got != want {
			t.Errorf("rule %s has %d types, want %d", set.Rules[i].Name, got, want)
		}
	}
	if _, ok := event.TypeNamed("open"); !ok || !set.Rules[0].Types["open"] {
		t.Errorf("rule a is not for open")
	}
}
