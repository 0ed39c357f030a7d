// Package testjson speaks the lines of go test -json, for what CI runs that is no Go test.
package testjson

import (
	"encoding/json"
	"os"
	"strings"
)

// An Event is one line of go test -json.
type Event struct {
	Action      string
	Package     string  `json:",omitempty"`
	ImportPath  string  `json:",omitempty"`
	Test        string  `json:",omitempty"`
	Output      string  `json:",omitempty"`
	Elapsed     float64 `json:",omitempty"`
	FailedBuild string  `json:",omitempty"`
}

// Verdict is the events of one test with an outcome of "pass", "fail" or "skip", and what it logged.
func Verdict(pkg, test, outcome, log string) []Event {
	events := []Event{{Action: "run", Package: pkg, Test: test}}
	for line := range strings.Lines(log) {
		events = append(events, Event{Action: "output", Package: pkg, Test: test, Output: "    ci: " + strings.TrimRight(line, "\n") + "\n"})
	}
	return append(events, Event{Action: outcome, Package: pkg, Test: test})
}

// Append adds events to a file, which it makes if it is not there.
func Append(path string, events []Event) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	encoder := json.NewEncoder(f)
	for _, e := range events {
		if err := encoder.Encode(e); err != nil {
			return err
		}
	}
	return f.Close()
}
