package event

import (
	"context"
	"fmt"
	"slices"
)

// A Fact is something that is so of this machine, now: of a kind, about one subject. What is known of it are values by the names of
// its kind's fields; a field without a value is absent, and every comparison with it is false.
type Fact struct {
	Kind    *FactKind
	Subject string // which one: net.ipv4.ip_forward, /etc/passwd, a user's name, a container's
	Source  string // where it was read: a file, with :LINE if it is of one line; empty if it is the kernel's own word
	Values  map[string]any
}

// A Survey reports every fact of one subject as it is now. It reads, runs nothing, and waits for nobody longer than ctx allows. What
// it cannot read it reports as a fact with an error (Fact.Fail), or if that is everything it returns it: then nothing is known,
// and checks of its kinds are in error, not passed.
type Survey func(ctx context.Context, report func(Fact)) error

// A NamedSurvey is one row of a table of surveys: a survey, and the kinds of the facts that it reports. If it fails, checks of these
// kinds are in error.
type NamedSurvey struct {
	Name   string
	Kinds  []*FactKind
	Survey Survey

	// Prepare does the long part of the work, if there is one, of which Survey then tells. Who judges again and again has it done in the
	// background, patiently; meanwhile the facts are those of the last time.
	Prepare func(ctx context.Context, patient bool) error

	// Reads says whether the survey has looked at a file, or for it, when it last ran. It does not wait. Nil is for none.
	Reads func(file string) bool
}

// A Surveyor has the surveys of a machine.
type Surveyor = func(m Machine) []NamedSurvey

// A FactKind is a kind of facts: the first part of its fields' names in conditions, as `sysctl` of `sysctl.value`.
type FactKind struct {
	Name   string
	Doc    string // one sentence: what a fact of it is
	Of     string // what the subject is: "a parameter, as sysctl(8) writes it"
	Fields []FactField

	// Running names fields that only the running kernel tells. Of a machine that does not run here they are absent, and a check
	// that cannot be decided without them is then not applicable, rather than failed.
	Running []string
}

// A FactField is something that may be known of facts of a kind.
type FactField struct {
	Name string
	Type FactType
	Doc  string // with units
}

// A FactType is the type of a field's values.
type FactType uint8

// Types of fields, and of Go values that are given for them.
const (
	FactText   FactType = iota // string
	FactNumber                 // int64
	FactTruth                  // bool
	FactTexts                  // []string
)

// FactTypes names them.
var FactTypes = [...]string{"text", "number", "truth", "texts"}

func (t FactType) String() string { return FactTypes[t] }

// ErrorField is a field that every fact may have: why it could not be read. A check of a fact that has it is in error.
const ErrorField = "error"

// Field returns a field of the kind by its name, nil if there is none.
func (k *FactKind) Field(name string) *FactField {
	if i := slices.IndexFunc(k.Fields, func(f FactField) bool { return f.Name == name }); i >= 0 {
		return &k.Fields[i]
	}
	return nil
}

// New returns a fact of the kind without values.
func (k *FactKind) New(subject, source string) Fact {
	return Fact{Kind: k, Subject: subject, Source: source, Values: map[string]any{}}
}

// Set gives a field a value and returns the fact. It panics on a field that the kind has not, or a value of another type: both are
// mistakes in a survey, which its tests show.
func (f Fact) Set(name string, value any) Fact {
	field := f.Kind.Field(name)
	if field == nil {
		panic(fmt.Sprintf("facts of kind %s have no field %s", f.Kind.Name, name))
	}
	if !field.Type.fits(value) {
		panic(fmt.Sprintf("%s.%s is %s, and no %T", f.Kind.Name, name, field.Type, value))
	}
	f.Values[name] = value
	return f
}

// Fail says why the subject could not be read.
func (f Fact) Fail(err error) Fact {
	f.Values[ErrorField] = err.Error()
	return f
}

// Err is why the subject could not be read, empty if it could.
func (f Fact) Err() string {
	text, _ := f.Values[ErrorField].(string)
	return text
}

func (t FactType) fits(value any) bool {
	switch value.(type) {
	case string:
		return t == FactText
	case int64:
		return t == FactNumber
	case bool:
		return t == FactTruth
	case []string:
		return t == FactTexts
	}
	return false
}

// FactKinds are all kinds, in the order of the reference.
func FactKinds() []*FactKind {
	return slices.Concat(systemFacts, accessFacts, networkFacts, containerFacts, kubernetesFacts)
}
