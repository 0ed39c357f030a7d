package rules

import (
	"slices"
	"strconv"
)

// An entry is a mapping of a rules file that is being read. Its first error sticks; after that it reads nothing more.
type entry struct {
	l     *loader
	where *place
	n     *yamlNode
	err   error
}

// fail sets the entry's error.
func (e *entry) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// has says whether a key is there, with or without a value.
func (e *entry) has(key string) bool { return e.n.get(key) != nil }

// value is the place of a key's value.
func (e *entry) value(key string) *place { return e.where.in(inValue, key, e.n.get(key)) }

// empty is the scalar of what could not be read.
func (e *entry) empty() *yamlNode { return &yamlNode{kind: yamlScalar, file: e.n.file, at: e.n.at} }

// need reads a scalar that must be there.
func (e *entry) need(key string) *yamlNode {
	v := e.n.get(key)
	switch {
	case e.err != nil:
	case v == nil:
		e.fail(invalid(e.where, "Item has no mapping for key '%s'", key))
	case v.kind == yamlNull:
		e.fail(invalid(e.value(key), "Mapping for key '%s' is empty", key))
	case v.kind != yamlScalar:
		e.fail(invalid(e.value(key), "Value is not a scalar value"))
	case v.text == "":
		e.fail(invalid(e.value(key), "Value must be non-empty"))
	default:
		return v
	}
	return e.empty()
}

// may reads a scalar that may be absent, and then is nil.
func (e *entry) may(key string) *yamlNode {
	if v := e.n.get(key); e.err != nil || v == nil || v.kind == yamlNull {
		return nil
	}
	return e.need(key)
}

// truth reads a bool, and leaves what is there if it is absent.
func (e *entry) truth(key string, to *bool) {
	v := e.may(key)
	if v == nil || e.err != nil {
		return
	}
	truth, ok := parseTruth(v.text)
	if !ok {
		e.fail(invalid(e.value(key), "Can't decode YAML scalar value"))
		return
	}
	*to = truth
}

// parseTruth reads a bool as YAML 1.1 has it.
func parseTruth(text string) (truth, ok bool) {
	switch text {
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y":
		return true, true
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N":
		return false, true
	}
	return false, false
}

// number reads a number of 32 bits, and leaves what is there if it is absent.
func (e *entry) number(key string, to *uint32) {
	v := e.may(key)
	if v == nil || e.err != nil {
		return
	}
	n, err := strconv.ParseUint(v.text, 0, 32)
	if err != nil {
		e.fail(invalid(e.value(key), "Can't decode YAML scalar value"))
		return
	}
	*to = uint32(n)
}

// sequence reads a sequence of scalars.
func (e *entry) sequence(key string) []*yamlNode {
	v := e.n.get(key)
	if v == nil {
		e.fail(invalid(e.where, "Item has no mapping for key '%s'", key))
	}
	if e.err != nil {
		return nil
	}
	where := e.value(key)
	if v.kind != yamlSequence {
		e.fail(invalid(where, "Value is not a sequence"))
		return nil
	}
	for _, item := range v.items {
		if item.kind != yamlScalar {
			e.fail(invalid(where.in(inListItem, "", item), "sequence value is not scalar"))
			return nil
		}
	}
	return v.items
}

// tags reads a set of texts, in the order of the file.
func (e *entry) tags(key string) (all []string) {
	if v := e.n.get(key); v == nil || v.kind == yamlNull {
		return nil
	}
	for _, item := range e.sequence(key) {
		all = append(all, item.text)
	}
	return distinct(all)
}

// distinct keeps the first of equal texts.
func distinct(texts []string) (all []string) {
	seen := make(map[string]bool, len(texts))
	for _, text := range texts {
		if !seen[text] {
			all = append(all, text)
		}
		seen[text] = true
	}
	return all
}

// appends reads the deprecated flag 'append'.
func (e *entry) appends() (flag bool) {
	e.truth("append", &flag)
	if flag && e.err == nil {
		e.l.warn(e.where, "LOAD_DEPRECATED_ITEM",
			"'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead.")
	}
	return flag
}

// overrides reads what is to become of which keys.
type overrides struct{ append, replace []string }

func (o overrides) any() bool { return len(o.append)+len(o.replace) > 0 }

// overrides reads the key 'override'. Each key that it names must allow what is asked, and be there; and no key that
// could be overridden may be there without an entry.
func (e *entry) overrides(append, replace []string) (o overrides) {
	v := e.n.get("override")
	if e.err != nil || v == nil || v.kind == yamlNull {
		return o
	}
	where := e.where.in(inOverride, "", v)
	if v.kind != yamlMapping {
		e.fail(invalid(where, "Value of 'override' must be a mapping of keys to 'append' or 'replace'"))
		return o
	}
	for _, p := range v.keys {
		e.override(&o, where, p, append, replace)
	}
	for _, key := range slices.Concat(o.append, o.replace) {
		if !e.has(key) {
			kind := "An append"
			if slices.Contains(o.replace, key) {
				kind = "A replace"
			}
			e.fail(invalid(where, "%s override for '%s' was specified but '%s' is not defined", kind, key, key))
		}
	}
	for _, p := range e.n.keys {
		key := p.key.text
		if o.any() && (slices.Contains(append, key) || slices.Contains(replace, key)) &&
			!slices.Contains(o.append, key) && !slices.Contains(o.replace, key) {
			e.fail(invalid(e.where.in(inValue, key, p.key), "Unexpected key '%s': no corresponding entry under 'override' is defined.", key))
		}
	}
	return o
}

func (e *entry) override(o *overrides, where *place, p yamlPair, appendable, replaceable []string) {
	key := p.key.text
	if slices.Contains(o.append, key) || slices.Contains(o.replace, key) {
		return // of keys that are given twice the first one counts
	}
	at := where.in(inOverride, key, p.key)
	switch p.value.text {
	case "append":
		if !slices.Contains(appendable, key) {
			e.fail(invalid(at, "Key '%s' cannot be appended to, use 'replace' instead", key))
		}
		o.append = append(o.append, key)
	case "replace":
		if !slices.Contains(replaceable, key) {
			e.fail(invalid(at, "Key '%s' cannot be replaced", key))
		}
		o.replace = append(o.replace, key)
	default:
		e.fail(invalid(where.in(inOverride, key, p.value), "Invalid override operation for key '%s': '%s'. Allowed values are: 'append', 'replace'",
			key, p.value.text))
	}
}
