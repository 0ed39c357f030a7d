package expr

import (
	"fmt"
	"io"
	"strings"
)

// An Explanation says of each part of a condition whether it is true.
type Explanation struct {
	Node  Node
	True  bool
	Value string        // of a check: what stands on the left, "<NA>" if it is absent
	Right string        // of a check with val(…) or a transformer on the right: what that is, "<NA>" if it is absent
	Parts []Explanation // of and, or and not
}

// Explain evaluates a condition part by part, without stopping where the truth is known.
func (l *Language[T]) Explain(n Node, t *T) (e Explanation, err error) {
	switch n := n.(type) {
	case *And:
		e, err = l.explainItems(n.Items, t)
		e.True = !anyIs(e.Parts, false)
	case *Or:
		e, err = l.explainItems(n.Items, t)
		e.True = anyIs(e.Parts, true)
	case *Not:
		e, err = l.explainItems([]Node{n.Item}, t)
		e.True = anyIs(e.Parts, false)
	case *Check:
		e, err = l.explainCheck(n, t)
	default:
		_, err = l.compile(n) // which says why it cannot be
	}
	e.Node = n
	return e, err
}

func anyIs(parts []Explanation, truth bool) bool {
	for _, p := range parts {
		if p.True == truth {
			return true
		}
	}
	return false
}

func (l *Language[T]) explainItems(items []Node, t *T) (e Explanation, err error) {
	e.Parts = make([]Explanation, len(items))
	for i, item := range items {
		if e.Parts[i], err = l.Explain(item, t); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (l *Language[T]) explainCheck(c *Check, t *T) (e Explanation, err error) {
	test, err := l.compile(c)
	if err != nil {
		return e, err
	}
	e.True = test(t)
	if e.Value, err = l.show(c.Left, t); err != nil {
		return e, err
	}
	switch c.Right.(type) {
	case *FieldRef, *Transformer:
		e.Right, err = l.show(c.Right, t)
	}
	return e, err
}

func (l *Language[T]) show(o Operand, t *T) (string, error) {
	v, err := l.operand(o)
	if err != nil {
		return "", err
	}
	text, ok := v.appendTo(t, nil)
	if !ok {
		return "<NA>", nil
	}
	return string(text), nil
}

// How much of a part's text is written: of what has parts of its own, of a list, and of a value.
const (
	shownText  = 100
	shownItems = 8
	shownValue = 200
)

// WriteExplanation writes an explanation as a tree, a part on each line: whether it is true, its text, and of a check the
// values that were compared. Long texts and lists are cut.
func WriteExplanation(w io.Writer, e Explanation) error {
	var b strings.Builder
	writeExplanation(&b, e, 0)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeExplanation(b *strings.Builder, e Explanation, depth int) {
	mark := "✗"
	if e.True {
		mark = "✓"
	}
	fmt.Fprintf(b, "%s%s ", strings.Repeat("  ", depth), mark)
	c, ok := e.Node.(*Check)
	if !ok {
		b.WriteString(shorten(Print(e.Node), shownText))
	} else {
		writeChecked(b, c, e)
	}
	b.WriteByte('\n')
	for _, part := range e.Parts {
		writeExplanation(b, part, depth+1)
	}
}

func writeChecked(b *strings.Builder, c *Check, e Explanation) {
	text := *c
	more := 0
	if list, ok := c.Right.(*List); ok && len(list.Items) > shownItems+1 {
		more = len(list.Items) - shownItems
		text.Right = &List{Items: list.Items[:shownItems]}
	}
	written := Print(&text)
	if more > 0 {
		written = fmt.Sprintf("%s, … %d more)", strings.TrimSuffix(written, ")"), more)
	}
	b.WriteString(written + "   = ")
	writeValue(b, e.Value)
	switch c.Right.(type) {
	case *FieldRef, *Transformer:
		b.WriteString(", right = ")
		writeValue(b, e.Right)
	}
}

// writeValue quotes what could not be told from the rest of the line.
func writeValue(b *strings.Builder, value string) {
	if value = shorten(value, shownValue); isPlain(value) {
		b.WriteString(value)
		return
	}
	writeQuoted(b, value)
}
