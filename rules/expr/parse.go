package expr

import (
	"slices"
	"strings"
)

// MaxDepth is how deep a condition may be nested.
const MaxDepth = 1000

// Operators, as they are written; where one begins another, the longer one stands first.
var (
	unaryOperators   = []string{"exists"}
	numberOperators  = []string{"<=", "<", ">=", ">"}
	stringOperators  = []string{"==", "=", "!=", "glob", "iglob", "contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "regex"}
	listOperators    = []string{"intersects", "in", "pmatch"}
	modifiers        = []string{"oneof", "anyof", "allof"}
	transformerNames = []string{"tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt"}
)

// IsOperator says whether a text is an operator, with or without a modifier, and whether it wants a list.
func IsOperator(text string) (ok, list bool) {
	words := strings.Fields(text)
	switch {
	case len(words) == 1:
		list = slices.Contains(listOperators, words[0])
		return list || slices.Contains(numberOperators, words[0]) || slices.Contains(stringOperators, words[0]) ||
			slices.Contains(unaryOperators, words[0]), list
	case len(words) == 2:
		ok = slices.Contains(stringOperators, words[0]) && slices.Contains(modifiers, words[1])
		return ok, ok
	}
	return false, false
}

type parser struct {
	reader
	depth int
}

// Parse reads a condition. An error is a *SyntaxError.
func Parse(text string) (Node, error) {
	p := &parser{reader: reader{text: text}}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.skip(); !p.end() {
		return nil, p.fail(p.at, "unexpected token after '%s', expecting 'or', 'and': found %s", lastToken(text[:p.at]), p.found())
	}
	return n, nil
}

// lastToken is what a text ends with: a parenthesis, or what stands between delimiters.
func lastToken(text string) string {
	text = strings.TrimRight(text, " \t\n\r\b")
	i := strings.LastIndexAny(text, " \t\n\r\b(),=")
	return shorten(text[min(i+1, len(text)-1):], 40)
}

// ParseOperand reads a field or a transformer with its arguments, as it stands on the left of an operator.
func ParseOperand(text string) (Operand, error) {
	p := &parser{reader: reader{text: text}}
	p.skip()
	o, err := p.left()
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, p.fail(p.at, "%s: want a field or a transformer", p.found())
	}
	if p.skip(); !p.end() {
		return nil, p.fail(p.at, "unexpected %s after the field", p.found())
	}
	return o, nil
}

func (p *parser) deeper(at int) error {
	if p.depth++; p.depth > MaxDepth {
		return p.fail(at, "exceeded max depth of %d", MaxDepth)
	}
	return nil
}

func (p *parser) or() (Node, error) {
	p.skip()
	begin := p.at
	if err := p.deeper(begin); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	items, err := p.sequence("or", p.and)
	if err != nil || len(items) == 1 {
		return first(items), err
	}
	return &Or{Items: items, At: begin}, nil
}

func (p *parser) and() (Node, error) {
	p.skip()
	begin := p.at
	items, err := p.sequence("and", p.not)
	if err != nil || len(items) == 1 {
		return first(items), err
	}
	return &And{Items: items, At: begin}, nil
}

func first(items []Node) Node {
	if len(items) == 0 {
		return nil
	}
	return items[0]
}

func (p *parser) sequence(word string, item func() (Node, error)) (items []Node, err error) {
	for {
		n, err := item()
		if err != nil {
			return nil, err
		}
		items = append(items, n)
		p.skip()
		if !p.keyword(word) {
			return items, nil
		}
	}
}

func (p *parser) not() (Node, error) {
	p.skip()
	begin, negated := p.at, false
	for p.keyword("not") { // one that follows another takes it back
		negated = !negated
		p.skip()
	}
	n, err := p.positive()
	if err != nil || !negated {
		return n, err
	}
	return &Not{Item: n, At: begin}, nil
}

// positive takes what no 'not' stands before.
func (p *parser) positive() (Node, error) {
	begin := p.at
	if p.take('(') {
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.skip(); !p.take(')') {
			return nil, p.fail(p.at, "unexpected %s: want ')' for the '(' at %d", p.found(), begin+1)
		}
		return n, nil
	}
	return p.check()
}

// check takes a comparison, or a macro's name.
func (p *parser) check() (Node, error) {
	begin := p.at
	left, err := p.left()
	if err != nil {
		return nil, err
	}
	if left == nil {
		return p.reference()
	}
	p.skip()
	c := &Check{Left: left, At: begin, OpAt: p.at - begin}
	if err := p.operator(c); err != nil {
		return nil, err
	}
	return c, nil
}

// reference takes the name of a macro, after which no operator stands.
func (p *parser) reference() (Node, error) {
	begin := p.at
	name := p.word()
	switch name {
	case "", "and", "or", "not":
		p.at = begin
		return nil, p.fail(begin, "unexpected %s: want a field, a transformer, a macro, 'not' or '('", p.found())
	case "val":
		if p.skip(); p.peek() == '(' {
			return nil, p.fail(begin, "val(…) can stand only on the right of an operator, or within a transformer")
		}
		p.at = begin + len(name)
	}
	end := p.at
	p.skip()
	if c := (Check{}); p.operatorWord(&c) {
		return nil, p.fail(begin, "%q is not a field: a field's name has a dot, and a macro's no operator after it", name)
	}
	p.at = end
	return &Reference{Name: name, At: begin}, nil
}

// left takes a field or a transformer; nil if what stands here is neither.
func (p *parser) left() (Operand, error) {
	begin := p.at
	name := p.word()
	isField := name != "" && p.peek() == '.'
	if slices.Contains(transformerNames, name) {
		if p.skip(); p.peek() == '(' {
			return p.transformer(name, begin)
		}
	}
	if p.at = begin; !isField {
		return nil, nil
	}
	return p.field()
}

// fieldName takes letters, digits and underscores in parts joined by dots, at least two.
func (p *parser) fieldName() string {
	begin := p.at
	parts := 0
	for {
		mark := p.at
		if p.word() == "" {
			p.at = mark
			break
		}
		parts++
		if p.peek() != '.' {
			break
		}
		p.at++
	}
	if p.at > begin && p.text[p.at-1] == '.' {
		p.at-- // it belongs to whatever follows
	}
	if parts < 2 {
		p.at = begin
		return ""
	}
	return p.text[begin:p.at]
}

func (p *parser) field() (*FieldRef, error) {
	f := &FieldRef{At: p.at}
	if f.Name = p.fieldName(); f.Name == "" {
		return nil, p.fail(p.at, "%s: want a field", p.found())
	}
	var err error
	f.ArgAt = p.at + 1 - f.At
	f.Arg, f.HasArg, err = p.brackets()
	return f, err
}

// brackets take a field's argument.
func (p *parser) brackets() (arg string, given bool, err error) {
	open := p.at
	if !p.take('[') {
		return "", false, nil
	}
	if c := p.peek(); c == '"' || c == '\'' {
		if arg, err = p.quoted(); err != nil {
			return "", true, err
		}
	} else {
		begin := p.at
		for !p.end() && !isBlank(p.text[p.at]) && strings.IndexByte("[]\"'\x00", p.text[p.at]) < 0 {
			p.at++
		}
		if arg = p.text[begin:p.at]; arg == "" {
			return "", true, p.fail(p.at, "unexpected %s: want an argument", p.found())
		}
	}
	if !p.take(']') {
		return "", true, p.fail(p.at, "unexpected %s: want ']' for the '[' at %d", p.found(), open+1)
	}
	return arg, true, nil
}

func (p *parser) transformer(name string, begin int) (*Transformer, error) {
	if err := p.deeper(begin); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	t := &Transformer{Name: name, At: begin}
	open := p.at
	p.take('(')
	for {
		p.skip()
		arg, err := p.argument()
		if err != nil {
			return nil, err
		}
		t.Args = append(t.Args, arg)
		if p.skip(); !p.take(',') {
			break
		}
	}
	if !p.take(')') {
		return nil, p.fail(p.at, "unexpected %s: want ',' or ')' for the '(' at %d", p.found(), open+1)
	}
	var err error
	t.ArgAt = p.at + 1 - t.At
	t.Arg, t.HasArg, err = p.brackets()
	if err == nil && t.HasArg && name != "getopt" {
		err = p.fail(t.At+t.ArgAt-1, "%s takes no argument in brackets", name)
	}
	return t, err
}

// argument takes what may stand between a transformer's parentheses.
func (p *parser) argument() (Operand, error) {
	begin := p.at
	switch c := p.peek(); {
	case c == '(':
		return p.list()
	case c == '"' || c == '\'':
		text, err := p.quoted()
		return &Literal{Text: text, Quoted: true, At: begin}, err
	}
	if v, err := p.val(); v != nil || err != nil {
		return v, err
	}
	o, err := p.left()
	if err != nil {
		return nil, err
	}
	if o != nil {
		return o, nil
	}
	if text := p.bare(); text != "" {
		return &Literal{Text: text, At: begin}, nil
	}
	return nil, p.fail(begin, "unexpected %s: want a field, a transformer or a value", p.found())
}

// val takes val(field), and nothing if it is not that.
func (p *parser) val() (Operand, error) {
	begin := p.at
	if p.word() != "val" {
		p.at = begin
		return nil, nil
	}
	if p.skip(); !p.take('(') {
		p.at = begin
		return nil, nil
	}
	p.skip()
	f, err := p.field()
	if err != nil {
		return nil, err
	}
	if p.skip(); !p.take(')') {
		return nil, p.fail(p.at, "unexpected %s: want ')' after val's field", p.found())
	}
	f.Val = true
	return f, nil
}

func (p *parser) oneOf(operators []string) string {
	for _, op := range operators {
		if !strings.HasPrefix(p.text[p.at:], op) {
			continue
		}
		next := p.at + len(op)
		if isLetter(op[0]) && next < len(p.text) && !isBlank(p.text[next]) && p.text[next] != '(' && p.text[next] != ')' {
			continue // a longer word
		}
		p.at = next
		return op
	}
	return ""
}

// operatorWord takes an operator of any kind.
func (p *parser) operatorWord(c *Check) bool {
	for _, operators := range [][]string{unaryOperators, numberOperators, stringOperators, listOperators} {
		if c.Op = p.oneOf(operators); c.Op != "" {
			return true
		}
	}
	return false
}

// operator takes an operator and what must stand on its right.
func (p *parser) operator(c *Check) (err error) {
	at := p.at
	if !p.operatorWord(c) {
		return p.fail(at, "unexpected %s: want an operator", p.found())
	}
	if slices.Contains(unaryOperators, c.Op) {
		return nil
	}
	p.skip()
	switch {
	case slices.Contains(numberOperators, c.Op):
		c.Right, err = p.number()
	case slices.Contains(listOperators, c.Op):
		c.Right, err = p.listValue()
	default:
		if c.Modifier = p.oneOf(modifiers); c.Modifier == "" {
			c.Right, err = p.value()
			return err
		}
		p.skip()
		c.Right, err = p.listValue()
	}
	return err
}

// right takes val(field) or a transformer.
func (p *parser) right() (Operand, error) {
	if v, err := p.val(); v != nil || err != nil {
		return v, err
	}
	begin := p.at
	if name := p.word(); slices.Contains(transformerNames, name) {
		if p.skip(); p.peek() == '(' {
			return p.transformer(name, begin)
		}
	}
	p.at = begin
	return nil, nil
}

func (p *parser) number() (Operand, error) {
	begin := p.at
	if o, err := p.right(); o != nil || err != nil {
		return o, err
	}
	text := p.bare()
	if !isNumber(text) {
		p.at = begin
		return nil, p.fail(begin, "unexpected %s: want a number", p.found())
	}
	return &Literal{Text: text, At: begin}, nil
}

func (p *parser) value() (Operand, error) {
	begin := p.at
	if c := p.peek(); c == '"' || c == '\'' {
		text, err := p.quoted()
		if err != nil {
			return nil, err
		}
		return &Literal{Text: text, Quoted: true, At: begin}, nil
	}
	if o, err := p.right(); o != nil || err != nil {
		return o, err
	}
	text := p.bare()
	if text == "" {
		return nil, p.fail(begin, "unexpected %s: want a value", p.found())
	}
	return &Literal{Text: text, At: begin}, nil
}

func (p *parser) listValue() (Operand, error) {
	begin := p.at
	if p.peek() == '(' {
		return p.list()
	}
	if o, err := p.right(); o != nil || err != nil {
		return o, err
	}
	if name := p.word(); name != "" { // a list nobody has put in place
		return &Literal{Text: name, At: begin}, nil
	}
	return nil, p.fail(begin, "unexpected %s: want a list in parentheses", p.found())
}

func (p *parser) list() (Operand, error) {
	l := &List{At: p.at}
	p.take('(')
	if p.skip(); p.take(')') {
		return l, nil
	}
	for {
		p.skip()
		begin := p.at
		if c := p.peek(); c == '"' || c == '\'' {
			text, err := p.quoted()
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, &Literal{Text: text, Quoted: true, At: begin})
		} else if text := p.bare(); text != "" {
			l.Items = append(l.Items, &Literal{Text: text, At: begin})
		} else {
			return nil, p.fail(begin, "unexpected %s: want a value of the list", p.found())
		}
		p.skip()
		if p.take(',') {
			continue
		}
		if !p.take(')') {
			return nil, p.fail(p.at, "unexpected %s: want ',' or ')' in the list that begins at %d", p.found(), l.At+1)
		}
		return l, nil
	}
}
