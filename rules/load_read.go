package rules

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/yagura-io/yagura/rules/event"
)

// defined is when an object was defined: index at first, and visibility at last. A list or a macro may use those whose index
// is less than its own visibility.
type defined struct{ index, visibility int }

// A listInfo is a list as the files define it.
type listInfo struct {
	defined
	where *place
	name  string
	items []*yamlNode

	used     bool
	expanded passage // the items as they are put into conditions
	state    resolution
}

// A macroInfo is a macro as the files define it.
type macroInfo struct {
	defined
	where     *place
	name      string
	condition passage
	textAt    *place

	used bool
	compiledMacro
}

// A ruleInfo is a rule as the files define it.
type ruleInfo struct {
	defined
	where         *place
	name          string
	condition     passage
	textAt        *place
	output        passage
	outputAt      *place
	desc          string
	priority      event.Priority
	source        string
	enabled       bool
	capture       bool
	captureFor    uint32
	warnTypes     bool
	skipIfUnknown bool
	tags          []string
	exceptions    []*exception
	examples      Examples
}

// isKnown says whether events of the rule's source are evaluated.
func (l *loader) isKnown(r *ruleInfo) bool { return l.o.Languages[r.source] != nil }

// define numbers an object that is defined, for the first time or anew.
func (l *loader) define(d *defined, before *defined) {
	d.index, d.visibility = l.next, l.next
	if before != nil {
		d.index = before.index
	}
	l.next++
}

// changed numbers an object that is changed, and counts what is copied for that.
func (l *loader) changed(d *defined, where *place, size int) error {
	d.visibility = l.next
	l.next++
	if l.work -= size; l.work < 0 {
		return refused(where, "Too much is appended: want less to be copied than %d bytes", maxWork)
	}
	return nil
}

func (r *ruleInfo) size() int {
	return cost(r.condition) + cost(r.output) + len(r.desc) + partCost*(len(r.tags)+len(r.exceptions))
}

// missing is the error of what should have been defined before. If an earlier file could not be read, it may have been.
func (l *loader) missing(where *place, message string) error {
	if l.broken {
		return nil
	}
	return refused(where, "%s", message)
}

// nameForm is what names of lists and macros must be for conditions to be able to use them.
var nameForm = regexp.MustCompile(`^[a-zA-Z]+[a-zA-Z0-9_]*$`)

func (l *loader) readList(content *place, n *yamlNode) error {
	e := &entry{l: l, where: content.in(inList, "", n), n: n}
	name := e.need("list").text
	e.where = content.in(inList, name, n)
	l.checkKeys(e.where, n, []string{"list", "items", "append", "override"})
	appends, override := e.appends(), e.overrides([]string{"items"}, []string{"items"})
	if appends && override.any() {
		e.fail(bothAppendAndOverride(e.where))
	}
	list := &listInfo{where: e.where, name: name, items: e.sequence("items")}
	if e.err != nil {
		return e.err
	}
	if !nameForm.MatchString(name) {
		l.warn(e.where, "LOAD_INVALID_LIST_NAME", "List has an invalid name. List names should match a regular expression: "+nameForm.String())
	}
	before := l.lists.byName[name]
	switch {
	case appends || len(override.append) > 0:
		if before == nil {
			return l.missing(e.where, "List uses 'append' or 'override.items: append' but no list by that name already exists")
		}
		before.items = append(slices.Clip(before.items), list.items...)
		return l.changed(&before.defined, list.where, partCost*len(before.items))
	case before != nil:
		l.define(&list.defined, &before.defined)
		*before = *list
	default:
		l.define(&list.defined, nil)
		l.lists.add(name, list)
	}
	return nil
}

func bothAppendAndOverride(where *place) error {
	return invalid(where, "Keys 'override' and 'append: true' cannot be used together. "+
		"Add an 'append' entry (e.g. 'condition: append') under 'override' instead.")
}

func (l *loader) readMacro(content *place, n *yamlNode) error {
	e := &entry{l: l, where: content.in(inMacro, "", n), n: n}
	name := e.need("macro").text
	e.where = content.in(inMacro, name, n)
	l.checkKeys(e.where, n, []string{"macro", "condition", "append", "override"})
	appends, override := e.appends(), e.overrides([]string{"condition"}, []string{"condition"})
	if appends && override.any() {
		e.fail(bothAppendAndOverride(e.where))
	}
	condition := e.need("condition")
	if e.err != nil {
		return e.err
	}
	if !nameForm.MatchString(name) {
		l.warn(e.where, "LOAD_INVALID_MACRO_NAME", "Macro has an invalid name. Macro names should match a regular expression: "+nameForm.String())
	}
	macro := &macroInfo{where: e.where, name: name, condition: passageOf(condition), textAt: e.where.in(inMacroText, "", condition)}
	before := l.macros.byName[name]
	switch {
	case appends || len(override.append) > 0:
		if before == nil {
			return l.missing(e.where, "Macro uses 'append' or 'override.condition: append' but no macro by that name already exists")
		}
		before.condition = before.condition.then(macro.condition)
		return l.changed(&before.defined, macro.where, cost(before.condition))
	case before != nil:
		l.define(&macro.defined, &before.defined)
		*before = *macro
	default:
		l.define(&macro.defined, nil)
		l.macros.add(name, macro)
	}
	return nil
}

// A ruleKey is a key of rules: how it is read, and what happens to it in a rule that overrides an earlier one. Without
// replace or extend that cannot be asked for.
type ruleKey struct {
	name    string
	read    func(e *entry, r *ruleInfo)
	replace func(r, by *ruleInfo)
	extend  func(r, by *ruleInfo)
}

// ruleKeys are all but those that say what is done: rule, append and override.
var ruleKeys = []ruleKey{
	{"condition", func(e *entry, r *ruleInfo) {
		n := e.need("condition")
		r.condition, r.textAt = passageOf(n), e.where.in(inRuleText, "", n)
	}, func(r, by *ruleInfo) { r.condition, r.textAt = by.condition, by.textAt },
		func(r, by *ruleInfo) { r.condition = r.condition.then(by.condition) }},
	{"output", func(e *entry, r *ruleInfo) {
		n := e.need("output")
		r.output, r.outputAt = passageOf(n).trim(), e.where.in(inOutput, "", n)
	}, func(r, by *ruleInfo) { r.output, r.outputAt = by.output, by.outputAt },
		func(r, by *ruleInfo) { r.output = r.output.then(by.output) }},
	{"desc", func(e *entry, r *ruleInfo) { r.desc = e.need("desc").text },
		func(r, by *ruleInfo) { r.desc = by.desc },
		func(r, by *ruleInfo) { r.desc += " " + by.desc }},
	{"priority", readPriority, func(r, by *ruleInfo) { r.priority = by.priority }, nil},
	{"source", func(e *entry, r *ruleInfo) {
		if n := e.may("source"); n != nil {
			r.source = n.text
		}
	}, nil, nil},
	{"enabled", func(e *entry, r *ruleInfo) { e.truth("enabled", &r.enabled) }, func(r, by *ruleInfo) { r.enabled = by.enabled }, nil},
	{"capture", func(e *entry, r *ruleInfo) { e.truth("capture", &r.capture) }, func(r, by *ruleInfo) { r.capture = by.capture }, nil},
	{"capture_duration", func(e *entry, r *ruleInfo) { e.number("capture_duration", &r.captureFor) },
		func(r, by *ruleInfo) { r.captureFor = by.captureFor }, nil},
	{"warn_evttypes", func(e *entry, r *ruleInfo) { e.truth("warn_evttypes", &r.warnTypes) },
		func(r, by *ruleInfo) { r.warnTypes = by.warnTypes }, nil},
	{"skip-if-unknown-filter", func(e *entry, r *ruleInfo) { e.truth("skip-if-unknown-filter", &r.skipIfUnknown) },
		func(r, by *ruleInfo) { r.skipIfUnknown = by.skipIfUnknown }, nil},
	{"tags", func(e *entry, r *ruleInfo) { r.tags = e.tags("tags") }, func(r, by *ruleInfo) { r.tags = by.tags },
		func(r, by *ruleInfo) { r.tags = distinct(slices.Concat(r.tags, by.tags)) }},
	{"exceptions", func(e *entry, r *ruleInfo) { r.exceptions = e.exceptions(false) },
		func(r, by *ruleInfo) { r.exceptions = by.exceptions }, nil}, // extend: appendExceptions, which can fail
	{"examples", func(e *entry, r *ruleInfo) { r.examples = e.examples() },
		func(r, by *ruleInfo) { r.examples = by.examples },
		func(r, by *ruleInfo) {
			r.examples.Match = append(slices.Clip(r.examples.Match), by.examples.Match...)
			r.examples.Miss = append(slices.Clip(r.examples.Miss), by.examples.Miss...)
		}},
}

// ruleKeyNames are the keys that rules may have, and of these which can be appended to and which replaced.
var ruleKeyNames, appendable, replaceable = nameRuleKeys()

func nameRuleKeys() (all, appendable, replaceable []string) {
	all = []string{"rule", "append", "override"}
	for _, k := range ruleKeys {
		all = append(all, k.name)
		if k.extend != nil || k.name == "exceptions" {
			appendable = append(appendable, k.name)
		}
		if k.replace != nil {
			replaceable = append(replaceable, k.name)
		}
	}
	return all, appendable, replaceable
}

func readPriority(e *entry, r *ruleInfo) {
	n := e.need("priority")
	if e.err != nil {
		return
	}
	var err error
	if r.priority, err = event.PriorityNamed(n.text); err != nil {
		e.fail(invalid(e.where.in(inPriority, "", n), "Invalid priority"))
	}
}

func (l *loader) readRule(content *place, n *yamlNode) error {
	e := &entry{l: l, where: content.in(inRule, "", n), n: n}
	name := e.need("rule").text
	e.where = content.in(inRule, name, n)
	l.checkKeys(e.where, n, ruleKeyNames)
	appends, override := e.appends(), e.overrides(appendable, replaceable)
	if appends && override.any() {
		e.fail(bothAppendAndOverride(e.where))
	}
	if e.err != nil {
		return e.err
	}
	r := &ruleInfo{where: e.where, name: name, source: event.SyscallSource, enabled: true, warnTypes: true}
	switch {
	case override.any():
		return l.overrideRule(e, r, override)
	case appends:
		return l.appendRule(e, r)
	case !e.has("condition") && !e.has("output") && !e.has("desc") && !e.has("priority"):
		return l.toggleRule(e, r)
	}
	return l.defineRule(e, r)
}

func (l *loader) defineRule(e *entry, r *ruleInfo) error {
	for _, k := range ruleKeys {
		k.read(e, r)
	}
	if e.err != nil {
		return e.err
	}
	before := l.rules.byName[r.name]
	if before != nil && before.source != r.source {
		return refused(r.where, "Rule has been re-defined with a different source")
	}
	if !l.isKnown(r) {
		l.warn(r.where, "LOAD_UNKNOWN_SOURCE", fmt.Sprintf("Unknown source %s, skipping", r.source))
	}
	if err := l.checkExceptions(r, r.exceptions); err != nil {
		return err
	}
	if before == nil {
		l.define(&r.defined, nil)
		l.rules.add(r.name, r)
		return nil
	}
	l.define(&r.defined, &before.defined)
	*before = *r
	return nil
}

// toggleRule is for a rule that says nothing but whether an earlier one is on.
func (l *loader) toggleRule(e *entry, r *ruleInfo) error {
	e.need("enabled")
	e.truth("enabled", &r.enabled)
	if e.err != nil {
		return e.err
	}
	l.warn(r.where, "LOAD_DEPRECATED_ITEM", "The standalone 'enabled' key usage is deprecated. "+
		"The correct approach requires also a 'replace' entry under the 'override' key (i.e. 'enabled: replace').")
	before := l.rules.byName[r.name]
	if before == nil {
		return l.missing(r.where, "Rule has 'enabled' key but no rule by that name already exists")
	}
	before.enabled = r.enabled
	return nil
}

const noRuleToAppendTo = "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"

// appendRule is for the deprecated 'append: true', which knows condition and exceptions.
func (l *loader) appendRule(e *entry, r *ruleInfo) error {
	if e.has("condition") {
		r.condition = passageOf(e.need("condition"))
	}
	if e.has("exceptions") {
		r.exceptions = e.exceptions(true)
	}
	if e.err != nil {
		return e.err
	}
	before := l.rules.byName[r.name]
	if before == nil {
		return l.missing(r.where, noRuleToAppendTo)
	}
	if !e.has("condition") && !e.has("exceptions") {
		return refused(r.where, "Appended rule must have exceptions or condition property")
	}
	if e.has("condition") {
		before.condition = before.condition.then(r.condition)
	}
	if err := l.changed(&before.defined, r.where, before.size()); err != nil {
		return err
	}
	return l.appendExceptions(before, r.exceptions)
}

// overrideRule appends to and replaces keys of an earlier rule.
func (l *loader) overrideRule(e *entry, r *ruleInfo, o overrides) error {
	for _, k := range ruleKeys {
		switch {
		case k.name == "exceptions" && slices.Contains(o.append, k.name):
			r.exceptions = e.exceptions(true)
		case slices.Contains(o.append, k.name) || slices.Contains(o.replace, k.name):
			k.read(e, r)
		}
	}
	if e.err != nil {
		return e.err
	}
	before := l.rules.byName[r.name]
	switch {
	case before == nil && len(o.append) > 0:
		return l.missing(r.where, noRuleToAppendTo)
	case before == nil:
		return l.missing(r.where, "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists")
	}
	if err := l.changed(&before.defined, r.where, before.size()); err != nil {
		return err
	}
	return l.applyOverrides(before, r, o)
}

func (l *loader) applyOverrides(before, r *ruleInfo, o overrides) error {
	for _, k := range ruleKeys {
		switch {
		case !slices.Contains(o.append, k.name):
		case k.name == "exceptions":
			if err := l.appendExceptions(before, r.exceptions); err != nil {
				return err
			}
		default:
			k.extend(before, r)
		}
	}
	for _, k := range ruleKeys {
		if slices.Contains(o.replace, k.name) {
			k.replace(before, r)
		}
	}
	if slices.Contains(o.replace, "exceptions") {
		return l.checkExceptions(before, r.exceptions)
	}
	return nil
}

// examples are events that the rule is tested with: a key of our own.
func (e *entry) examples() (all Examples) {
	v := e.n.get("examples")
	if e.err != nil || v == nil || v.kind == yamlNull {
		return all
	}
	where := e.value("examples")
	if v.kind != yamlMapping {
		e.fail(invalid(where, "Examples must be a mapping with 'match' and 'miss'"))
		return all
	}
	e.l.checkKeys(where, v, []string{"match", "miss"})
	all.Match = e.exampleList(where, v.get("match"))
	all.Miss = e.exampleList(where, v.get("miss"))
	return all
}

func (e *entry) exampleList(where *place, list *yamlNode) (all []Example) {
	if list == nil || list.kind == yamlNull {
		return nil
	}
	if list.kind != yamlSequence {
		e.fail(invalid(where.in(inValue, "examples", list), "Value is not a sequence"))
		return nil
	}
	for _, n := range list.items {
		if n.kind != yamlMapping {
			e.fail(invalid(where.in(inExample, "", n), "An example must be a mapping: an event"))
			return nil
		}
		line, _ := n.file.line(n.at)
		all = append(all, Example{JSON: n.appendJSON(nil), File: n.file.name, Line: line + 1})
	}
	return all
}
