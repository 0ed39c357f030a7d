package rules

import (
	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// A Set is rules that were loaded together.
type Set struct {
	Rules         []*Rule // in the order of their definitions
	EngineVersion string  // the newest that a file requires; empty if none does

	texts *atlas
}

// A Rule is one loaded rule.
type Rule struct {
	event.Rule
	Condition     expr.Node // with exceptions, lists and macros put in; offsets are for Set.Where
	ConditionText string    // as the files have it, with what they append
	Output        string    // as the files have it, without blanks at its ends
	Enabled       bool      // after the selection
	WarnTypes     bool      // warn_evttypes
	SkipIfUnknown bool      // skip-if-unknown-filter
	Capture       bool
	CaptureFor    uint32          // milliseconds, 0: not given
	Types         map[string]bool // the event types that can make the condition true
	Examples      Examples
	Exceptions    []string // their names
}

// Examples are events that a rule is tested with.
type Examples struct {
	Match []Example // these must match
	Miss  []Example // these must not
}

// An Example is an event as JSON, for event.Decode, and where it stands.
type Example struct {
	JSON []byte
	File string
	Line int
}

// Where returns the place of a part of a condition, by its Pos; lines and columns count from 1.
func (s *Set) Where(pos int) (file string, line, column int) {
	if s.texts == nil {
		return "", 0, 0
	}
	where := s.texts.place(pos)
	if where == nil {
		return "", 0, 0
	}
	line, column = where.file.position(where.at)
	return where.file.name, line + 1, column + 1
}
