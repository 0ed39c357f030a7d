package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// A compiledMacro is a macro's condition, first as it was parsed, then with the macros that it uses put in.
type compiledMacro struct {
	tree        expr.Node // nil if it has an error
	size, depth int
	state       resolution
}

// Bounds of a condition with its macros put in. What a load makes of macros in all is bounded by the loader's budget.
const (
	maxConditionSize  = 1 << 17
	maxConditionDepth = 10 * expr.MaxDepth
)

// errBroken is of what uses something whose own error is recorded.
var errBroken = errors.New("uses what has an error")

// compile makes rules of all that was read. Errors go to the results of the files that they are in.
func (l *loader) compile() (all []*Rule) {
	l.expandLists()
	for _, m := range l.macros.order {
		l.parseMacro(m)
	}
	for _, m := range l.macros.order {
		if err := l.resolveMacro(m); err != nil {
			l.fail(err)
		}
	}
	types := map[string]map[string]bool{}
	for source := range l.o.Languages {
		types[source] = eventTypes(source)
	}
	for _, info := range l.rules.order {
		r, err := l.compileRule(info, types[info.source])
		if err != nil {
			l.fail(err)
			continue
		}
		if r != nil {
			all = append(all, r)
		}
	}
	if !l.failed { // or else what uses them may not have been read
		l.warnUnused()
	}
	return all
}

func (l *loader) warnUnused() {
	for _, m := range l.macros.order {
		if !m.used {
			l.warn(m.where, "LOAD_UNUSED_MACRO", "Macro not referred to by any other rule/macro")
		}
	}
	for _, list := range l.lists.order {
		if !list.used {
			l.warn(list.where, "LOAD_UNUSED_LIST", "List not referred to by any other rule/macro/list")
		}
	}
}

// parse puts lists into a condition, and reads it.
func (l *loader) parse(condition passage, where *place) (expr.Node, error) {
	condition = l.putLists(condition)
	if l.budget < 0 || l.work < 0 {
		return nil, refused(where, "Lists and macros make more than %d bytes of conditions", maxExpanded)
	}
	n, err := expr.Parse(condition.text)
	if err != nil {
		at := where
		var wrong *expr.SyntaxError
		if errors.As(err, &wrong) {
			at = where.within(inExpression, condition.origin(wrong.Offset))
		}
		return nil, &loadError{at, "LOAD_ERR_COMPILE_CONDITION", err.Error()}
	}
	l.texts.add(condition, where, n)
	return n, nil
}

func (l *loader) parseMacro(m *macroInfo) {
	var err error
	if m.tree, err = l.parse(m.condition, m.textAt); err != nil {
		m.tree = nil
		l.fail(err)
	}
}

// resolveMacro puts into a macro those that it uses, which must have been defined before it.
func (l *loader) resolveMacro(m *macroInfo) error {
	if m.state == resolved {
		return nil
	}
	m.state = resolving
	defer func() { m.state = resolved }()
	if m.tree == nil {
		return nil
	}
	tree, size, depth, err := l.resolve(m.tree, m.visibility)
	if err != nil {
		m.tree = nil
		return err
	}
	m.tree, m.size, m.depth = tree, size, depth
	return nil
}

// resolve puts macros into a condition, of those whose index is below a visibility.
func (l *loader) resolve(n expr.Node, visibility int) (_ expr.Node, size, depth int, err error) {
	size, depth = measure(n)
	inner := 0
	tree, err := expr.Resolve(n, func(r *expr.Reference) (expr.Node, error) {
		m := l.macros.byName[r.Name]
		if m == nil || m.index >= visibility {
			return nil, refused(l.texts.place(r.At), "Undefined macro '%s' used in filter.", r.Name)
		}
		m.used = true
		if m.state == resolving {
			return nil, refused(l.texts.place(r.At), "reference loop in macro '%s'", r.Name)
		}
		if err := l.resolveMacro(m); err != nil {
			return nil, err
		}
		if m.tree == nil {
			return nil, errBroken
		}
		size, inner = size+m.size, max(inner, m.depth)
		if size > maxConditionSize || depth+inner > maxConditionDepth {
			return nil, refused(l.texts.place(r.At), "exceeded max depth or size of a condition with its macros: want at most %d levels and %d parts",
				maxConditionDepth, maxConditionSize)
		}
		return m.tree, nil
	})
	return tree, size, depth + inner, err
}

// everything is the visibility of rules: they may use all macros.
const everything = int(^uint(0) >> 1)

// compileRule makes a rule ready; nil if it is left out.
func (l *loader) compileRule(info *ruleInfo, types map[string]bool) (*Rule, error) {
	condition, err := withExceptions(info.condition, info.exceptions)
	leftOut := !l.isKnown(info) || l.o.MinPriority != nil && info.priority > *l.o.MinPriority
	if err != nil && !leftOut {
		return nil, err
	}
	tree, err := l.parse(condition, info.textAt)
	size := 0
	if err == nil {
		tree, size, _, err = l.resolve(tree, everything)
	}
	if leftOut { // but what it uses is used
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if l.budget -= size * partCost; l.budget < 0 {
		return nil, refused(info.where, "Macros make more than %d parts of conditions", maxExpanded)
	}
	r := l.newRule(info, tree)
	if ok, err := l.checkCondition(info, tree); !ok || err != nil {
		return nil, err
	}
	if ok, err := l.checkOutput(info, r); !ok || err != nil {
		return nil, err
	}
	r.Types = expr.Possible(tree, "evt.type", types)
	if len(r.Types) > maxRuleTypes && r.WarnTypes {
		l.warn(info.where, "LOAD_NO_EVTTYPE", "Rule matches too many evt.type values. This has a significant performance penalty.")
	}
	return r, nil
}

// maxRuleTypes is for how many event types a rule may be evaluated without a warning.
const maxRuleTypes = 100

func (l *loader) newRule(info *ruleInfo, tree expr.Node) *Rule {
	line, _ := info.where.file.line(info.where.at)
	r := &Rule{
		Rule: event.Rule{Name: info.name, Desc: info.desc, Source: info.source, Priority: info.priority, Tags: info.tags,
			File: info.where.file.name, Line: line + 1},
		Condition: tree, ConditionText: info.condition.text, Output: info.output.text, Enabled: info.enabled,
		WarnTypes: info.warnTypes, SkipIfUnknown: info.skipIfUnknown, Capture: info.capture, CaptureFor: info.captureFor,
		Examples: info.examples,
	}
	for _, x := range info.exceptions {
		r.Exceptions = append(r.Exceptions, x.name)
	}
	r.Enabled = selected(r, l.o.Selection)
	return r
}

// checkCondition says whether a rule's condition can be evaluated; if not, and the rule allows it, the rule is left out.
func (l *loader) checkCondition(info *ruleInfo, tree expr.Node) (ok bool, err error) {
	warnings, err := l.o.Languages[info.source].Check(tree)
	if err != nil {
		where := info.textAt
		var wrong *expr.CheckError
		if errors.As(err, &wrong) {
			where = l.placeIn(info, wrong.Offset)
			if info.skipIfUnknown && (wrong.UnknownField || wrong.UnknownEventType) {
				l.warn(where, "LOAD_UNKNOWN_FILTER", err.Error())
				return false, nil
			}
		}
		return false, &loadError{where, "LOAD_ERR_COMPILE_CONDITION", err.Error()}
	}
	for _, w := range warnings {
		l.warn(l.placeIn(info, w.Offset), w.Code, w.Message)
	}
	return true, nil
}

// placeIn is a place of a rule's condition. In a macro's, it is that of the macro in the rule.
func (l *loader) placeIn(info *ruleInfo, pos int) *place {
	where := l.texts.place(pos)
	if where == nil {
		return info.textAt
	}
	return rebased(where, info.where)
}

// rebased is a place with another thing around its macro.
func rebased(p, around *place) *place {
	copied := *p
	switch {
	case p.kind == inMacro:
		copied.up = around
	case p.up != nil:
		copied.up = rebased(p.up, around)
	}
	return &copied
}

// checkOutput says whether a rule's output can be written; if not, and the rule allows it, the rule is left out.
func (l *loader) checkOutput(info *ruleInfo, r *Rule) (ok bool, err error) {
	output, removed := info.output.without("%container.info")
	for _, o := range removed {
		l.warn(info.outputAt.within(inOutputText, o), "LOAD_DEPRECATED_ITEM",
			"%container.info is deprecated, and nothing is put in its place: what is known of the container is appended to the output.")
	}
	r.Output = output.text
	if l.o.CheckOutput == nil {
		return true, nil
	}
	at := func(offset int) *place {
		if offset >= len(output.text) {
			return info.outputAt
		}
		return info.outputAt.within(inOutputText, output.origin(offset))
	}
	warnings, err := l.o.CheckOutput(r)
	if err != nil {
		where, skip := info.outputAt, false
		var wrong *expr.CheckError
		if errors.As(err, &wrong) {
			where, skip = at(wrong.Offset), info.skipIfUnknown && (wrong.UnknownField || wrong.UnknownEventType)
		}
		if skip {
			l.warn(where, "LOAD_UNKNOWN_FILTER", err.Error())
			return false, nil
		}
		return false, &loadError{where, "LOAD_ERR_COMPILE_OUTPUT", err.Error()}
	}
	for _, w := range warnings {
		l.warn(at(w.Offset), w.Code, w.Message)
	}
	return true, nil
}

// eventTypes are the names of all event types of a source.
func eventTypes(source string) map[string]bool {
	all := make(map[string]bool, len(event.Types))
	for i, t := range event.Types {
		if t.Name != "" && event.Type(i).Source() == source {
			all[t.Name] = true
		}
	}
	return all
}

// checkValues refuses comparisons of fields that have few values with what is none of them, which would never be true.
func checkValues(source string, c *expr.Check) error {
	f, ok := c.Left.(*expr.FieldRef)
	if !ok {
		return nil
	}
	switch c.Op {
	case "=", "==", "!=", "in", "intersects":
	default:
		return nil
	}
	items := []expr.Operand{c.Right}
	if list, ok := c.Right.(*expr.List); ok {
		items = list.Items
	}
	for _, item := range items {
		v, ok := item.(*expr.Literal)
		if !ok {
			continue
		}
		if f.Name == "evt.type" {
			if err := checkType(source, v.Text); err != nil {
				return &expr.CheckError{Offset: v.At, UnknownEventType: true, Message: err.Error()}
			}
		}
		if all := changeValues[f.Name]; all != nil && source == event.ChangeSource && !slices.Contains(all, v.Text) {
			return &expr.CheckError{Offset: v.At, Message: fmt.Sprintf("%s is never %s, want %s", f.Name, v.Text, strings.Join(all, ", "))}
		}
	}
	return nil
}

// checkType refuses names that are no event type of a source.
func checkType(source, name string) error {
	t, known := event.TypeNamed(name)
	switch {
	case !known || t == event.TypeNone:
		return fmt.Errorf("unknown event type %s", name)
	case t.Source() != source:
		return fmt.Errorf("event type %s is of source %s, and this rule of source %s", name, t.Source(), source)
	}
	return nil
}
