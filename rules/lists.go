package rules

import (
	"slices"
	"strings"
)

// A resolution says how far something is that may refer to others of its kind.
type resolution uint8

const (
	unresolved resolution = iota
	resolving
	resolved
)

// expandLists makes of every list the text that is put into conditions.
func (l *loader) expandLists() {
	for _, list := range l.lists.order {
		l.expandList(list)
		if strings.ContainsAny(list.name, listDelimiters) {
			l.oddLists = append(l.oddLists, list)
		}
	}
}

// expandList puts in the lists that a list names, if they were defined before it. A list that comes back to itself keeps
// the name as a value.
func (l *loader) expandList(list *listInfo) {
	if list.state != unresolved {
		return
	}
	list.state = resolving
	var b passageBuilder
	for _, item := range list.items {
		named := l.lists.byName[item.text]
		if named != nil && named.index < list.visibility {
			l.expandList(named)
		}
		before, parts := b.text.Len(), len(b.parts)
		if named == nil || named.index >= list.visibility || named.state == resolving {
			separate(&b, item)
			writeItem(&b, item)
		} else {
			named.used = true
			if len(named.expanded.text) > 0 {
				separate(&b, item)
				b.copy(&named.expanded, 0, len(named.expanded.text))
			}
		}
		if l.budget -= b.text.Len() - before + partCost*(len(b.parts)-parts); l.budget < 0 {
			l.fail(refused(list.where, "Lists make more than %d bytes of text", maxExpanded))
			break
		}
	}
	list.expanded, list.state = b.passage(), resolved
}

func separate(b *passageBuilder, item *yamlNode) {
	if b.text.Len() > 0 {
		b.write(", ", item)
	}
}

// writeItem writes an item of a list, with quotes if it could not be read without.
func writeItem(b *passageBuilder, item *yamlNode) {
	if isQuoted(item.text) || item.text != "" && !strings.ContainsAny(item.text, " \t\n\r\b()=\"'") {
		b.verbatim(item)
		return
	}
	b.write(quote(item.text), item)
}

const (
	listBlanks     = " \t\n\r"
	listDelimiters = listBlanks + "(),="
)

// putLists replaces the names of lists in a condition by their items, list by list in the order of their definitions: a
// name that stands between delimiters, wherever that is.
func (l *loader) putLists(condition passage) passage {
	pending := l.listsIn(condition.text, -1, nil)
	for len(pending) > 0 && l.budget >= 0 && l.work >= 0 {
		list := pending[0]
		pending = pending[1:]
		l.work -= len(condition.text)
		before := cost(condition)
		var ok bool
		if condition, ok = putList(condition, list); ok {
			list.used = true
			l.budget -= cost(condition) - before
			pending = l.listsIn(list.expanded.text, list.index, pending)
		}
	}
	return condition
}

func cost(p passage) int { return len(p.text) + partCost*len(p.parts) }

// listsIn adds to lists those that a text names and that were defined after another one, in the order of the definitions.
func (l *loader) listsIn(text string, after int, all []*listInfo) []*listInfo {
	add := func(list *listInfo) {
		at, found := slices.BinarySearchFunc(all, list.index, func(x *listInfo, index int) int { return x.index - index })
		if !found {
			all = slices.Insert(all, at, list)
		}
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(listDelimiters, r) }) {
		if list := l.lists.byName[word]; list != nil && list.index > after {
			add(list)
		}
	}
	for _, list := range l.oddLists {
		if list.index > after {
			add(list)
		}
	}
	return all
}

func putList(p passage, list *listInfo) (passage, bool) {
	var b passageBuilder
	done := 0
	for at := 0; ; {
		i := strings.Index(p.text[at:], list.name)
		if i < 0 {
			break
		}
		begin := at + i
		end := begin + len(list.name)
		at = begin + 1
		if !delimited(p.text, begin, end) {
			continue
		}
		begin, end = aroundList(p.text, begin, end, done, list.expanded.text == "")
		b.copy(&p, done, begin)
		if begin > 0 {
			b.text.WriteByte(' ')
		}
		b.copy(&list.expanded, 0, len(list.expanded.text))
		b.text.WriteByte(' ')
		done, at = end, end
	}
	if done == 0 {
		return p, false
	}
	b.copy(&p, done, len(p.text))
	return b.passage(), true
}

func delimited(text string, begin, end int) bool {
	return (begin == 0 || strings.IndexByte(listDelimiters, text[begin-1]) >= 0) &&
		(end == len(text) || strings.IndexByte(listDelimiters, text[end]) >= 0)
}

// aroundList widens what is replaced by the blanks around it, and by a comma if nothing is put in its place.
func aroundList(text string, begin, end, from int, empty bool) (int, int) {
	for begin > from && strings.IndexByte(listBlanks, text[begin-1]) >= 0 {
		begin--
	}
	for end < len(text) && strings.IndexByte(listBlanks, text[end]) >= 0 {
		end++
	}
	switch {
	case !empty:
	case begin > from && text[begin-1] == ',':
		begin--
	case end < len(text) && text[end] == ',':
		end++
	}
	return begin, end
}
