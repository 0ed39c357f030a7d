package rules

import (
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// language is the one over all fields of system calls.
var language = expr.NewLanguage(Fields(event.SyscallSource), expr.Options{Service: func(name string) (uint16, bool) { return 443, name == "https" }})

// read returns what an output would show of an event.
func read(t testing.TB, r *Record, operand string) string {
	t.Helper()
	return readIn(t, language, r, operand)
}

// readIn is read for any language.
func readIn(t testing.TB, l *expr.Language[Record], r *Record, operand string) string {
	t.Helper()
	o, err := expr.ParseOperand(operand)
	if err != nil {
		t.Fatalf("%s: %v", operand, err)
	}
	reader, err := l.Reader(o)
	if err != nil {
		t.Fatalf("%s: %v", operand, err)
	}
	text, ok := reader.Append(r, nil)
	if !ok {
		return "<NA>"
	}
	return string(text)
}

func holds(t testing.TB, r *Record, condition string) bool {
	t.Helper()
	n, err := expr.Parse(condition)
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	test, err := language.Compile(n)
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	return test(r)
}

func recordOf(t testing.TB, text string) *Record {
	t.Helper()
	ev, err := event.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	r := NewRecord(nil, "")
	r.Reset(ev)
	return r
}

// A reading is an event, and what fields of it show: a line for each, with a blank between name and value.
type reading struct{ name, event, want string }

func testReadings(t *testing.T, all []reading) {
	t.Parallel()
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := recordOf(t, tt.event)
			for line := range strings.Lines(strings.TrimSpace(tt.want)) {
				field, want, _ := strings.Cut(strings.TrimSpace(line), " ")
				if got := read(t, r, field); got != want {
					t.Errorf("%s = %q, want %q", field, got, want)
				}
			}
		})
	}
}

func compileError(condition string) error {
	n, err := expr.Parse(condition)
	if err == nil {
		_, err = language.Compile(n)
	}
	return err
}
