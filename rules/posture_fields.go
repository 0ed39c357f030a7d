package rules

import (
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

type factField = expr.Field[event.Fact]

// factFields are the fields that a condition about facts of a kind may use: what it is about, where it was read, and its own.
func factFields(kind *event.FactKind) []factField {
	all := []factField{
		{Name: kind.Name + ".subject", Doc: "Which one: " + kind.Of + ".", Kind: expr.String,
			Text: func(f *event.Fact, _ arg) (string, bool) { return f.Subject, true }},
		{Name: kind.Name + ".source", Doc: "The file that it was read from, with the line if it is of one.", Kind: expr.String,
			Text: func(f *event.Fact, _ arg) (string, bool) { return f.Source, f.Source != "" }},
	}
	for _, f := range kind.Fields {
		all = append(all, factFieldOf(kind.Name+"."+f.Name, f))
	}
	return all
}

func factFieldOf(name string, f event.FactField) factField {
	field, key := factField{Name: name, Doc: f.Doc}, f.Name
	switch f.Type {
	case event.FactNumber:
		field.Kind = expr.Int64
		field.Int = func(f *event.Fact, _ arg) (int64, bool) { v, ok := f.Values[key].(int64); return v, ok }
	case event.FactTruth:
		field.Kind = expr.Bool
		field.Bool = func(f *event.Fact, _ arg) (bool, bool) { v, ok := f.Values[key].(bool); return v, ok }
	case event.FactTexts:
		field.Kind, field.Flags = expr.String, expr.ListValued
		field.Texts = func(f *event.Fact, _ arg, yield func(string) bool) bool {
			values, _ := f.Values[key].([]string)
			return !slices.ContainsFunc(values, func(v string) bool { return !yield(v) })
		}
	default:
		field.Kind = expr.String
		field.Text = func(f *event.Fact, _ arg) (string, bool) { v, ok := f.Values[key].(string); return v, ok }
	}
	return field
}

// A factLanguage is the language of conditions about facts of one kind.
type factLanguage struct {
	*expr.Language[event.Fact]
	kind *event.FactKind
}

func newFactLanguage(kind *event.FactKind) *factLanguage {
	foreign := func(field string) (more string, all bool) {
		name, _, _ := strings.Cut(field, ".")
		if name != kind.Name && factKind(name) != nil {
			return ": it is of facts of another kind, and this check is about " + kind.Name, true
		}
		return "", false
	}
	return &factLanguage{expr.NewLanguage(factFields(kind), expr.Options{Missing: foreign}), kind}
}

// factKind returns a kind of facts by its name, nil if there is none.
func factKind(name string) *event.FactKind {
	kinds := event.FactKinds()
	if i := slices.IndexFunc(kinds, func(k *event.FactKind) bool { return k.Name == name }); i >= 0 {
		return kinds[i]
	}
	return nil
}

// truth3 is what is known of whether something is so: an absent value leaves it open.
type truth3 uint8

const (
	no truth3 = iota
	unknown
	yes
)

// A factCondition is a condition over facts of one kind. The zero one is true of all.
type factCondition struct {
	node   expr.Node
	fields []string // full names of those that it names, in order
	test   func(*event.Fact) truth3
	holds  func(*event.Fact) bool // whether test is yes, faster
	parts  []conditionPart
}

// A conditionPart is one of the parts that must all be true, and its text.
type conditionPart struct {
	text string
	test func(*event.Fact) truth3
}

// compile makes one of a tree. An error is an *expr.CheckError.
func (l *factLanguage) compile(n expr.Node) (c factCondition, err error) {
	c.node = n
	expr.Walk(n, func(check *expr.Check) {
		c.fields = append(c.fields, fieldsOf(check.Left)...)
		c.fields = append(c.fields, fieldsOf(check.Right)...)
	})
	c.fields = distinct(c.fields)
	if c.test, err = l.three(n); err != nil {
		return c, err
	}
	c.holds = func(f *event.Fact) bool { return c.test(f) == yes }
	if isPositive(n) { // then what is unknown can as well be no
		if c.holds, err = l.Compile(n); err != nil {
			return c, err
		}
	}
	for _, part := range expr.Conjuncts(n) {
		test, err := l.three(part)
		if err != nil {
			return c, err
		}
		c.parts = append(c.parts, conditionPart{expr.Print(part), test})
	}
	return c, nil
}

// isPositive says that nothing in a condition is turned round.
func isPositive(n expr.Node) bool {
	switch n := n.(type) {
	case *expr.And:
		return !slices.ContainsFunc(n.Items, func(n expr.Node) bool { return !isPositive(n) })
	case *expr.Or:
		return !slices.ContainsFunc(n.Items, func(n expr.Node) bool { return !isPositive(n) })
	case *expr.Not:
		return false
	}
	return true
}

// fieldsOf are the names of the fields of an operand.
func fieldsOf(o expr.Operand) (all []string) {
	switch o := o.(type) {
	case *expr.FieldRef:
		all = append(all, o.Name)
	case *expr.Transformer:
		for _, of := range o.Args {
			all = append(all, fieldsOf(of)...)
		}
	}
	return all
}

// three compiles a part of a condition. A comparison with an absent value is unknown, so that `not` of it is not true either:
// nothing passes because it is not known.
func (l *factLanguage) three(n expr.Node) (func(*event.Fact) truth3, error) {
	switch n := n.(type) {
	case *expr.And:
		return l.threeAll(n.Items, no)
	case *expr.Or:
		return l.threeAll(n.Items, yes)
	case *expr.Not:
		item, err := l.three(n.Item)
		return func(f *event.Fact) truth3 { return yes - item(f) }, err
	}
	test, err := l.Compile(n)
	if err != nil {
		return nil, err
	}
	check := n.(*expr.Check)
	if check.Op == "exists" {
		return func(f *event.Fact) truth3 { return truth3Of(test(f)) }, nil
	}
	keys := l.keys(append(fieldsOf(check.Left), fieldsOf(check.Right)...))
	return func(f *event.Fact) truth3 {
		if test(f) {
			return yes
		}
		for _, key := range keys {
			if _, there := f.Values[key]; !there {
				return unknown
			}
		}
		return no
	}, nil
}

// keys are the names of fields as facts have them: without those that every fact has.
func (l *factLanguage) keys(fields []string) (keys []string) {
	for _, name := range fields {
		key := strings.TrimPrefix(name, l.kind.Name+".")
		if l.kind.Field(key) != nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// threeAll joins items: by the first that is decisive, which is no for and, yes for or.
func (l *factLanguage) threeAll(nodes []expr.Node, decisive truth3) (func(*event.Fact) truth3, error) {
	items := make([]func(*event.Fact) truth3, len(nodes))
	for i, n := range nodes {
		var err error
		if items[i], err = l.three(n); err != nil {
			return nil, err
		}
	}
	return func(f *event.Fact) truth3 {
		outcome := yes - decisive
		for _, item := range items {
			switch item(f) {
			case decisive:
				return decisive
			case unknown:
				outcome = unknown
			}
		}
		return outcome
	}, nil
}

func truth3Of(b bool) truth3 {
	if b {
		return yes
	}
	return no
}

// is says what is known of whether the condition is true of a fact.
func (c *factCondition) is(f *event.Fact) truth3 {
	if c.test == nil {
		return yes
	}
	return c.test(f)
}

// isTrue says whether it is known to be true of a fact.
func (c *factCondition) isTrue(f *event.Fact) bool { return c.holds == nil || c.holds(f) }

// wanting is the text of the parts that are not true of a fact.
func (c *factCondition) wanting(f *event.Fact) string {
	var all []string
	for _, p := range c.parts {
		if p.test(f) != yes {
			all = append(all, p.text)
		}
	}
	if len(all) == 1 {
		return bare(all[0])
	}
	return strings.Join(all, " and ")
}

// values are those that the condition names.
func (c *factCondition) values(f *event.Fact) map[string]any {
	all := make(map[string]any, len(c.fields))
	for _, name := range c.fields {
		switch key := strings.TrimPrefix(name, f.Kind.Name+"."); {
		case f.Kind.Field(key) != nil:
			all[name] = f.Values[key]
		case key == "subject":
			all[name] = f.Subject
		case key == "source":
			all[name] = f.Source
		}
	}
	return all
}

// wantsKernel says whether the condition names something that only a running kernel tells, and that is absent.
func (c *factCondition) wantsKernel(f *event.Fact) bool {
	return slices.ContainsFunc(f.Kind.Running, func(key string) bool {
		_, there := f.Values[key]
		return !there && slices.Contains(c.fields, f.Kind.Name+"."+key)
	})
}

// text is the condition as Print writes it.
func (c *factCondition) text() string { return bare(expr.Print(c.node)) }

// bare takes the parentheses away that Print puts around a whole.
func bare(text string) string {
	if strings.HasPrefix(text, "(") {
		return text[1 : len(text)-1]
	}
	return text
}
