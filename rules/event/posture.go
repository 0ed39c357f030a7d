package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrNotLive is the error of asking the kernel of a machine that does not run here: a mounted image, a copy. A survey that returns it
// leaves checks of its kinds not applicable, rather than in error.
var ErrNotLive = errors.New("only the running kernel could tell")

// A Severity is how bad it is if a check fails. The worst is the least.
type Severity uint8

// Severities.
const (
	SeverityCritical Severity = iota
	SeverityHigh
	SeverityMedium
	SeverityLow
)

// Severities names them.
var Severities = []string{"critical", "high", "medium", "low"}

func (s Severity) String() string { return Severities[s] }

// MarshalText writes the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SeverityNamed finds a severity by its name.
func SeverityNamed(name string) (Severity, error) {
	if i := slices.Index(Severities, name); i >= 0 {
		return Severity(i), nil
	}
	return 0, fmt.Errorf("severity %q: want one of %q", name, Severities)
}

// A Status is what came of a check.
type Status uint8

// Statuses. Only Pass and Fail are of checks that were assessed.
const (
	Pass          Status = iota
	Fail                 // something is not as it should be
	Erroneous            // what the check asks about could not be read
	Manual               // facts cannot decide it: a person must look
	NotApplicable        // what the check is about is not here
)

// Statuses names them.
var Statuses = []string{"pass", "fail", "error", "manual", "not_applicable"}

func (s Status) String() string { return Statuses[s] }

// MarshalText writes the name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Assessed says whether the check was decided.
func (s Status) Assessed() bool { return s == Pass || s == Fail }

// A Check is what there is to say of a posture check, whatever came of it.
type Check struct {
	ID          string
	Title       string // what is so when it passes
	Severity    Severity
	Kind        string // of the facts that it is about
	Condition   string
	Risk        string
	Remediation string
	References  []string
	Controls    []Control // by framework, in the order of the file
	Level       int       // 1 or 2 where a framework has levels, else 0
	File        string
	Line        int
}

// A Control is what a check is evidence for.
type Control struct {
	Framework string
	ID        string // its number
}

// Frameworks are those that the check belongs to, in their order.
func (c *Check) Frameworks() (all []string) {
	for _, control := range c.Controls {
		if !slices.Contains(all, control.Framework) {
			all = append(all, control.Framework)
		}
	}
	return all
}

// In are the check's controls of a framework.
func (c *Check) In(framework string) (ids []string) {
	for _, control := range c.Controls {
		if control.Framework == framework {
			ids = append(ids, control.ID)
		}
	}
	return ids
}

// Within says whether the check is of one of some frameworks.
func (c *Check) Within(frameworks []string) bool {
	return slices.ContainsFunc(c.Controls, func(control Control) bool { return control.Within(frameworks) })
}

// Within says whether the control is of one of some frameworks: by its name, or what it begins with up to _, such as cis or cis_ubuntu.
func (c Control) Within(frameworks []string) bool {
	return slices.ContainsFunc(frameworks, func(want string) bool {
		want = strings.ReplaceAll(strings.ToLower(want), "-", "_")
		return c.Framework == want || strings.HasPrefix(c.Framework, want+"_")
	})
}

// A Verdict is what came of one check.
type Verdict struct {
	Check   *Check
	Status  Status
	Reason  string   // why it is in error or not applicable; of another status what could not be read besides
	Objects []Object // what fails, the first of them
	Failing int      // how many fail, also those that are not among Objects
	Waived  []Object // what would fail, the first of them
	Waiving int      // how many
	Facts   int      // how many the check was about
}

// An Object is a fact that fails a check.
type Object struct {
	Subject  string
	Source   string         // file:line, or empty
	Values   map[string]any // of the fields that the condition names; nil for those that are absent
	Expected string         // the parts of the condition that are not true
	Waiver   *Waiver        // nil unless it is waived
}

// A Waiver accepts that something fails, for a reason, until a day.
type Waiver struct {
	Check   string
	Reason  string
	Owner   string
	Until   time.Time // from then on it holds no more
	Expired bool
}

// A Score is how well a framework's checks are satisfied.
type Score struct {
	Framework string
	Score     float64 // 0 to 100, weighted by severity; meaningless unless something was assessed
	Resources float64 // the same, but of what checks were about: 999 good files and a bad one are nearly 100
	Coverage  float64 // assessed of all checks, 0 to 1
	Grade     string  // A to F, empty unless something was assessed

	Checks   int    // in all
	Statuses [5]int // of them by Status
	Failed   [4]int // of the failed by Severity
	Controls struct{ Passed, Failed, Unassessed int }
}

// Assessed is how many checks passed or failed.
func (s *Score) Assessed() int { return s.Statuses[Pass] + s.Statuses[Fail] }

// A Posture is what came of all checks. It is not changed once it is told.
type Posture struct {
	Time     time.Time // when the last run began
	Took     time.Duration
	Facts    int // that were looked at in it
	Verdicts []Verdict
	Scores   []Score
	Waivers  []Waiver
	Prepared map[string]time.Time // when the long work of surveys ended last, by their names
	Known    []Fact               // of the kinds that the configuration shows, in the order of kinds, subjects and sources
	Unknown  int                  // facts of these kinds that were too many
}

// A Machine is whose posture is judged.
type Machine struct {
	Root          string   // its root directory
	Procfs, Sysfs string   // where its running kernel shows itself; empty if none runs here
	Dockerfiles   []string // instead of a machine: only these files
}
