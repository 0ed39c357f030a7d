package rules

import (
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// weights are what a check counts in a score, by its severity. POSTURE.md documents them.
var weights = [...]float64{event.SeverityCritical: 10, event.SeverityHigh: 5, event.SeverityMedium: 3, event.SeverityLow: 1}

// grades are letters, and the least score for each.
var grades = []struct {
	letter string
	least  float64
}{{"A", 90}, {"B", 80}, {"C", 70}, {"D", 60}, {"F", 0}}

// worstWithCritical is the best grade while a critical check fails.
const worstWithCritical = "C"

// Scores are the scores of verdicts by framework, in the order of the frameworks' names:
//
//	100 · Σ weight of what passed / Σ weight of what passed or failed
//
// What was not assessed is in neither sum: the coverage says how much that is.
func Scores(verdicts []event.Verdict) []event.Score {
	byFramework := map[string]*scoring{}
	for i := range verdicts {
		v := &verdicts[i]
		for _, framework := range v.Check.Frameworks() {
			s := byFramework[framework]
			if s == nil {
				s = &scoring{Score: event.Score{Framework: framework}, controls: map[string]*tally{}}
				byFramework[framework] = s
			}
			s.add(v)
		}
	}
	all := []event.Score{}
	for _, s := range byFramework {
		all = append(all, s.finish())
	}
	slices.SortFunc(all, func(a, b event.Score) int { return strings.Compare(a.Framework, b.Framework) })
	return all
}

// A scoring is a score while verdicts are added up.
type scoring struct {
	event.Score
	passed, assessed float64 // weights
	good, all        float64 // weights of what the checks were about
	controls         map[string]*tally
}

// A tally counts a control's checks.
type tally struct{ checks, passed, failed int }

func (s *scoring) add(v *event.Verdict) {
	s.Checks++
	s.Statuses[v.Status]++
	weight := weights[v.Check.Severity]
	if v.Status.Assessed() {
		all, bad := max(v.Facts, v.Failing, 1), 0
		if v.Status == event.Fail {
			bad = max(v.Failing, 1)
		}
		s.all += weight * float64(all)
		s.good += weight * float64(all-bad)
	}
	switch v.Status {
	case event.Pass:
		s.passed += weight
		s.assessed += weight
	case event.Fail:
		s.assessed += weight
		s.Failed[v.Check.Severity]++
	}
	for _, id := range v.Check.In(s.Framework) {
		if s.controls[id] == nil {
			s.controls[id] = &tally{}
		}
		s.controls[id].add(v.Status)
	}
}

func (t *tally) add(status event.Status) {
	t.checks++
	switch status {
	case event.Pass:
		t.passed++
	case event.Fail:
		t.failed++
	}
}

func (s *scoring) finish() event.Score {
	for _, t := range s.controls {
		switch {
		case t.failed > 0:
			s.Controls.Failed++
		case t.passed == t.checks:
			s.Controls.Passed++
		default:
			s.Controls.Unassessed++
		}
	}
	s.Coverage = float64(s.Assessed()) / float64(s.Checks)
	if s.assessed > 0 {
		s.Score.Score = 100 * s.passed / s.assessed
		s.Resources = 100 * s.good / s.all
		s.Grade = gradeOf(s.Score.Score, s.Failed[event.SeverityCritical])
	}
	return s.Score
}

func gradeOf(score float64, critical int) string {
	for _, g := range grades {
		if score >= g.least && (critical == 0 || g.letter >= worstWithCritical) {
			return g.letter
		}
	}
	return grades[len(grades)-1].letter
}
