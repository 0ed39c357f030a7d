package event

import (
	"fmt"
	"strings"
	"time"
)

// A Rule is what a loaded rule says of itself.
type Rule struct {
	Name, Desc string
	Source     string // of its events: SyscallSource or ChangeSource
	Priority   Priority
	Tags       []string // in the order of the file
	File       string
	Line       int
}

// Priority is how urgent a hit of a rule is: 0 is the most urgent.
type Priority uint8

// The priorities.
const (
	Emergency Priority = iota
	Alert
	Critical
	Error
	Warning
	Notice
	Informational
	Debug
)

var priorities = [...]string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}

// String returns the name, as alerts and labels have it.
func (p Priority) String() string {
	if int(p) < len(priorities) {
		return priorities[p]
	}
	return "Unknown"
}

// A Hit is an event that satisfied a rule, as it is told to people.
type Hit struct {
	ID     string // finds the hit among the recorded ones; a counter's exemplar has it
	Rule   *Rule
	Time   time.Time
	Output string     // the text of the alert, behind time and priority
	Fields []HitField // what the output shows, and what every alert shows, in order
	Event  *Event     // a copy; its Process and Container are shared and do not change
}

// A HitField is one value of a hit. Value is an int64, uint64, float64, bool or string; nil if it is absent.
type HitField struct {
	Name  string
	Value any
}

// Workload says whose hit it is.
func (h *Hit) Workload() Workload {
	if h.Event == nil {
		return Workload{}
	}
	return h.Event.Workload()
}

// PriorityNamed returns the priority of a name, in whatever case; info stands for informational.
func PriorityNamed(name string) (Priority, error) {
	if strings.EqualFold(name, "info") {
		return Informational, nil
	}
	for i, known := range priorities {
		if strings.EqualFold(name, known) {
			return Priority(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want one of %s", name, strings.ToLower(strings.Join(priorities[:], ", ")))
}

// Delivered is what has become of the alerts of one output.
type Delivered struct {
	Output                         string
	Told, Dropped, Failed, Retried uint64 // dropped for want of room, failed after retries
	Waiting, Room                  uint64 // of its queue
}
