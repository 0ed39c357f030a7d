package expr

import "strings"

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
		if n.Right != nil {
			b.WriteByte(' ')
			writeOperand(b, n.Right)
		}
	}
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
		writeItems(b, o.Args)
		writeBrackets(b, o.Arg, o.HasArg)
	case *List:
		writeItems(b, o.Items)
	case *Literal:
		writeLiteral(b, o.Text)
	}
}

func writeItems(b *strings.Builder, items []Operand) {
	b.WriteByte('(')
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		writeOperand(b, item)
	}
	b.WriteByte(')')
}

func writeBrackets(b *strings.Builder, arg string, given bool) {
	if !given {
		return
	}
	b.WriteByte('[')
	if arg == "" || strings.ContainsAny(arg, " \t\n\r\b[]\"'\\") {
		writeQuoted(b, arg)
	} else {
		b.WriteString(arg)
	}
	b.WriteByte(']')
}

// writeLiteral quotes a value if it could not be read back without.
func writeLiteral(b *strings.Builder, text string) {
	if text != "" && !strings.ContainsAny(text, " \t\n\r\b\f(),=\"'") {
		b.WriteString(text)
		return
	}
	writeQuoted(b, text)
}

func writeQuoted(b *strings.Builder, text string) {
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}
