package expr

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Print writes a condition canonically: (evt.type = open and proc.name in (a, b)).
func Print(n Node) string {
	var b strings.Builder
	write(&b, n)
	return b.String()
}

// PrintOperand writes a field, a transformer, a value or a list as Print does.
func PrintOperand(o Operand) string {
	var b strings.Builder
	writeOperand(&b, o)
	return b.String()
}

func write(b *strings.Builder, n Node) {
	switch n := n.(type) {
	case *And:
		join(b, n.Items, " and ")
	case *Or:
		join(b, n.Items, " or ")
	case *Not:
		b.WriteString("not ")
		write(b, n.Item)
	case *Reference:
		b.WriteString(n.Name)
	case *Check:
		writeOperand(b, n.Left)
		b.WriteString(" " + n.Op)
		if n.Modifier != "" {
			b.WriteString(" " + n.Modifier)
		}
		writeRight(b, n)
	}
}

func writeRight(b *strings.Builder, c *Check) {
	if c.Right == nil {
		return
	}
	b.WriteByte(' ')
	if v, ok := c.Right.(*Literal); ok && c.Modifier == "" && slices.Contains(stringOperators, c.Op) && slices.Contains(modifiers, v.Text) {
		writeQuoted(b, v.Text) // else it would be read as a modifier
		return
	}
	writeOperand(b, c.Right)
}

func join(b *strings.Builder, items []Node, word string) {
	b.WriteByte('(')
	for i, item := range items {
		if i > 0 {
			b.WriteString(word)
		}
		write(b, item)
	}
	b.WriteByte(')')
}

func writeOperand(b *strings.Builder, o Operand) {
	switch o := o.(type) {
	case *FieldRef:
		if o.Val {
			b.WriteString("val(")
		}
		b.WriteString(o.Name)
		writeBrackets(b, o.Arg, o.HasArg)
		if o.Val {
			b.WriteByte(')')
		}
	case *Transformer:
		b.WriteString(o.Name)
		writeItems(b, o.Args, writeArgument)
		writeBrackets(b, o.Arg, o.HasArg)
	case *List:
		writeItems(b, o.Items, writeOperand)
	case *Literal:
		writeLiteral(b, o.Text)
	}
}

// writeArgument quotes a value that would be read as a field.
func writeArgument(b *strings.Builder, o Operand) {
	if v, ok := o.(*Literal); ok {
		if r := (reader{text: v.Text}); r.word() != "" && r.peek() == '.' {
			writeQuoted(b, v.Text)
			return
		}
	}
	writeOperand(b, o)
}

func writeItems(b *strings.Builder, items []Operand, write func(*strings.Builder, Operand)) {
	b.WriteByte('(')
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		write(b, item)
	}
	b.WriteByte(')')
}

func writeBrackets(b *strings.Builder, arg string, given bool) {
	if !given {
		return
	}
	b.WriteByte('[')
	if isPlain(arg) && !strings.ContainsAny(arg, "[]\"'") {
		b.WriteString(arg)
	} else {
		writeQuoted(b, arg)
	}
	b.WriteByte(']')
}

// writeLiteral quotes a value if it could not be read back without, or not be shown.
func writeLiteral(b *strings.Builder, text string) {
	if isPlain(text) && !strings.ContainsAny(text, "(),=\"'") {
		b.WriteString(text)
		return
	}
	writeQuoted(b, text)
}

// isPlain says that a text is not empty and has neither blanks nor control characters nor broken UTF-8.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] == 0x7f {
			return false
		}
	}
	return text != "" && utf8.ValidString(text)
}

// named are the characters whose escapes are letters.
var named = map[byte]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

func writeQuoted(b *strings.Builder, text string) {
	b.WriteByte('"')
	for len(text) > 0 {
		char, size := utf8.DecodeRuneInString(text)
		c := text[0]
		switch escape := named[c]; {
		case escape != "":
			b.WriteString(escape)
		case c < ' ' || c == 0x7f || char == utf8.RuneError && size == 1:
			fmt.Fprintf(b, `\x%02x`, c)
		default:
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	b.WriteByte('"')
}
