package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/expr"
)

// An exception takes some events out of a rule. With several fields, values are tuples; with one, they are a set.
type exception struct {
	where  *place
	name   string
	fields *yamlNode // nil in what is appended to an earlier exception
	comps  *yamlNode
	values []*yamlNode
}

// exceptions reads a rule's exceptions, or those that are appended to it.
func (e *entry) exceptions(appended bool) (all []*exception) {
	v := e.n.get("exceptions")
	if e.err != nil || v == nil || v.kind == yamlNull {
		return nil
	}
	where := e.where.in(inExceptions, "", v)
	if v.kind != yamlSequence {
		e.fail(invalid(where, "Rule exceptions must be a sequence"))
		return nil
	}
	seen := map[string]bool{}
	for _, n := range v.items {
		x, err := e.l.readException(where, n, appended)
		if err != nil {
			e.fail(err)
			return nil
		}
		if seen[x.name] {
			e.l.warn(x.where, "LOAD_EXCEPTION_NAME_NOT_UNIQUE", fmt.Sprintf("Multiple definitions of exception '%s' in the same rule", x.name))
		}
		seen[x.name] = true
		all = append(all, x)
	}
	return all
}

func (l *loader) readException(where *place, n *yamlNode, appended bool) (*exception, error) {
	at := where.in(inException, "", n)
	if n.kind != yamlMapping {
		return nil, invalid(at, "Rule exception must be a mapping")
	}
	e := &entry{l: l, where: at, n: n}
	x := &exception{name: e.need("name").text}
	if e.err != nil {
		return nil, e.err
	}
	x.where = where.in(inException, x.name, n)
	e.where = x.where
	l.checkKeys(x.where, n, []string{"name", "fields", "comps", "values"})
	x.fields, x.comps = e.names("fields"), e.names("comps")
	if x.fields == nil && !appended {
		e.fail(invalid(x.where, "Item has no mapping for key 'fields'"))
	}
	values := n.get("values")
	switch {
	case values != nil && values.kind == yamlSequence:
		x.values = values.items
	case values != nil && values.kind != yamlNull:
		e.fail(invalid(x.where.in(inValues, "", values), "Rule exception values must be a sequence"))
	case appended:
		l.warn(x.where, "LOAD_APPEND_NO_VALUES", "Overriding/appending exception with no values")
	}
	return x, e.err
}

// names reads a scalar, or a sequence of scalars; nil if it is absent.
func (e *entry) names(key string) *yamlNode {
	n := e.n.get(key)
	if n == nil || n.kind == yamlNull {
		return nil
	}
	if n.kind == yamlMapping || slices.ContainsFunc(n.items, func(item *yamlNode) bool { return item.kind != yamlScalar }) {
		e.fail(invalid(e.value(key), "Value must be a string or a sequence of strings"))
	}
	return n
}

// checkExceptions says whether exceptions of a rule can be compiled, as far as that does not depend on their values.
func (l *loader) checkExceptions(r *ruleInfo, all []*exception) error {
	for _, x := range all {
		if err := l.checkException(r, x); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) checkException(r *ruleInfo, x *exception) error {
	if err := x.checkShape(); err != nil {
		return err
	}
	if !l.isKnown(r) || r.skipIfUnknown { // then unknown fields are no error
		return nil
	}
	for _, f := range x.fieldList() {
		if !l.isField(r, f.text) {
			return refused(x.where, "'%s' is not a supported filter field", f.text)
		}
	}
	return nil
}

func (x *exception) checkShape() error {
	if x.fields.kind == yamlScalar {
		switch {
		case x.comps == nil:
		case x.comps.kind != yamlScalar:
			return refused(x.where, "Fields and comps must both be strings")
		case !isSetOperator(x.comps.text):
			return refused(x.where, "When fields is a single value, comps must be one of (in, pmatch, intersects)")
		}
		return nil
	}
	if x.comps == nil {
		return nil
	}
	if len(x.comps.items) != len(x.fields.items) {
		return refused(x.where, "Fields and comps lists must have equal length")
	}
	for _, c := range x.comps.items {
		if ok, _ := expr.IsOperator(c.text); !ok {
			return refused(x.where, "'%s' is not a supported comparison operator", c.text)
		}
	}
	return nil
}

func isSetOperator(comp string) bool {
	_, list := expr.IsOperator(comp)
	return list
}

func (x *exception) fieldList() []*yamlNode {
	if x.fields.kind == yamlScalar {
		return []*yamlNode{x.fields}
	}
	return x.fields.items
}

// isField says whether a text is a field of the rule's source, or a transformer of such fields that can be computed.
func (l *loader) isField(r *ruleInfo, text string) bool {
	o, err := expr.ParseOperand(text)
	if err != nil {
		return false
	}
	var wrong *expr.CheckError
	_, err = l.o.Languages[r.source].Compile(&expr.Check{Left: o, Op: "exists"})
	if _, ok := o.(*expr.Transformer); ok {
		return err == nil
	}
	return !errors.As(err, &wrong) || !wrong.UnknownField
}

// appendExceptions adds values to exceptions that a rule has, and exceptions that it has not.
func (l *loader) appendExceptions(r *ruleInfo, all []*exception) error {
	named := map[string]*exception{}
	for _, x := range slices.Backward(r.exceptions) {
		named[x.name] = x
	}
	r.exceptions = slices.Clip(r.exceptions)
	for _, x := range all {
		if before := named[x.name]; before != nil {
			if err := extendException(before, x); err != nil {
				return err
			}
			continue
		}
		switch {
		case x.fields == nil:
			return refused(x.where, "Rule exception must have fields property with a list of fields")
		case len(x.values) == 0:
			return refused(x.where, "Rule exception must have fields and values")
		}
		if err := l.checkException(r, x); err != nil {
			return err
		}
		r.exceptions = append(r.exceptions, x)
		named[x.name] = x
	}
	return nil
}

func extendException(before, x *exception) error {
	switch {
	case x.fields != nil:
		return refused(x.where, "Can not append exception fields to existing exception, only values")
	case x.comps != nil:
		return refused(x.where, "Can not append exception comps to existing exception, only values")
	}
	before.values = append(slices.Clip(before.values), x.values...)
	return nil
}

// withExceptions is a condition with exceptions behind it:
//
//	(cond) and not ((f1 = v1 and f2 = v2) or (f1 = v3 and f2 = v4)) and not (f in (v1, v2))
//
// An exception without values adds nothing.
func withExceptions(condition passage, all []*exception) (passage, error) {
	if len(all) == 0 {
		return condition, nil
	}
	var b passageBuilder
	opening := part{from: condition.parts[0].from, offset: condition.parts[0].offset}
	b.parts = append(b.parts, opening)
	b.text.WriteByte('(')
	b.copy(&condition, 0, len(condition.text))
	b.text.WriteByte(')')
	for _, x := range all {
		if len(x.values) == 0 {
			continue
		}
		b.write(" and not (", x.fields)
		write := x.writeTuples
		if x.fields.kind == yamlScalar {
			write = x.writeSet
		}
		if err := write(&b); err != nil {
			return condition, err
		}
		b.write(")", x.fields)
	}
	return b.passage(), nil
}

// writeSet writes f in (v1, v2).
func (x *exception) writeSet(b *passageBuilder) error {
	comp := "in"
	if x.comps != nil {
		comp = x.comps.text
	}
	b.verbatim(x.fields)
	b.write(" "+comp+" (", x.fields)
	for i, v := range x.values {
		if v.kind == yamlSequence || v.kind == yamlMapping {
			return refused(x.where, "Expected values array to contain a list of strings")
		}
		if i > 0 {
			b.write(", ", v)
		}
		writeValue(b, v)
	}
	b.write(")", x.fields)
	return nil
}

// writeTuples writes (f1 = v1 and f2 = v2) or (…).
func (x *exception) writeTuples(b *passageBuilder) error {
	for i, tuple := range x.values {
		if len(tuple.items) != len(x.fields.items) {
			return refused(x.where, "Fields and values lists must have equal length")
		}
		if i > 0 {
			b.write(" or ", tuple)
		}
		b.write("(", tuple)
		for k, v := range tuple.items {
			if k > 0 {
				b.write(" and ", v)
			}
			comp := "="
			if x.comps != nil {
				comp = x.comps.items[k].text
			}
			b.verbatim(x.fields.items[k])
			b.write(" "+comp+" ", x.fields.items[k])
			if err := x.writeElement(b, v, isSetOperator(comp)); err != nil {
				return err
			}
		}
		b.write(")", tuple)
	}
	return nil
}

func (x *exception) writeElement(b *passageBuilder, v *yamlNode, set bool) error {
	switch {
	case v.kind == yamlMapping:
		return refused(x.where, "Expected values array to contain a list of strings")
	case v.kind == yamlSequence:
		b.write("(", v)
		for i, item := range v.items {
			if item.kind == yamlSequence || item.kind == yamlMapping {
				return refused(x.where, "Expected values array to contain a list of strings")
			}
			if i > 0 {
				b.write(", ", item)
			}
			writeValue(b, item)
		}
		b.write(")", v)
	case set && !strings.HasPrefix(v.text, "("):
		b.write("(", v)
		b.verbatim(v)
		b.write(")", v)
	case set:
		b.verbatim(v)
	default:
		writeValue(b, v)
	}
	return nil
}

// writeValue writes a value of an exception, with quotes if it has blanks and none yet. So a transformer stays one only if it
// is written without blanks.
func writeValue(b *passageBuilder, v *yamlNode) {
	if !strings.Contains(v.text, " ") || isQuoted(v.text) {
		b.verbatim(v)
		return
	}
	b.write(quote(v.text), v)
}

func isQuoted(text string) bool { return text != "" && (text[0] == '"' || text[0] == '\'') }

// quote puts a text in quotes as it is: escapes in it stay escapes.
func quote(text string) string {
	if strings.Contains(text, `"`) && !strings.Contains(text, `'`) {
		return "'" + text + "'"
	}
	return `"` + text + `"`
}
