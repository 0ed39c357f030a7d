package rules

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestFactsOfTheKindsThatAreShownAreKept(t *testing.T) {
	t.Parallel()
	mode, many := int64(0o644), 0
	files := survey("files", func(_ context.Context, report func(event.Fact)) error {
		report(file("/b", "mode", mode))
		report(file("/a", "mode", mode))
		report(event.File.New("/c", "").Fail(context.Canceled))
		for i := range many {
			report(file(fmt.Sprint("/many/", i)))
		}
		return nil
	})
	users := event.NamedSurvey{Name: "users", Kinds: []*event.FactKind{event.Account}, Survey: func(_ context.Context, report func(event.Fact)) error {
		report(event.Account.New("alice", ""))
		return nil
	}}
	known := func(p *Posture, kinds ...string) (all []string, more int) {
		r := p.Judge(t.Context(), kinds...)
		for _, f := range r.Known {
			all = append(all, fmt.Sprint(f.Kind.Name, f.Subject, " ", f.Values["mode"]))
		}
		return all, r.Unknown
	}
	for _, tt := range []struct {
		shown []string
		want  []string
	}{
		{nil, nil},
		{[]string{"file"}, []string{"file/a 420", "file/b 420"}},                            // not what could not be read
		{[]string{"user", "file"}, []string{"file/a 420", "file/b 420", "useralice <nil>"}}, // also where no check asks for it
	} {
		p := judge(t, files, users)
		p.loaded.Load().config.Facts = tt.shown
		if got, more := known(p); !slices.Equal(got, tt.want) || more != 0 {
			t.Errorf("of %q: %q and %d more, want %q", tt.shown, got, more, tt.want)
		}
		mode = 0o600
		if got, _ := known(p, "user"); !slices.Equal(got, tt.want) {
			t.Errorf("of %q, after users were looked at again: %q, want %q", tt.shown, got, tt.want)
		}
		mode = 0o644
	}
	p := judge(t, files, users)
	p.loaded.Load().config.Facts = []string{"file"}
	many = maxShownFacts
	if got, more := known(p); len(got) != maxShownFacts || more != 2 {
		t.Errorf("of %d facts %d are known and %d more, want %d and 2", maxShownFacts+2, len(got), more, maxShownFacts)
	}
}

// TestScoreWeightedByResources has one bad file among many, and one bad thing that there is once.
func TestScoreWeightedByResources(t *testing.T) {
	t.Parallel()
	check := func(s event.Severity) *event.Check {
		return &event.Check{Severity: s, Controls: []event.Control{{Framework: "x", ID: "1"}}}
	}
	s := Scores([]event.Verdict{
		{Check: check(event.SeverityHigh), Status: event.Fail, Facts: 100, Failing: 1},   // 5 · 99 of 5 · 100
		{Check: check(event.SeverityLow), Status: event.Pass, Facts: 40},                 // 40 of 40
		{Check: check(event.SeverityMedium), Status: event.Fail, Failing: 1},             // what is not there: 0 of 3
		{Check: check(event.SeverityMedium), Status: event.Pass},                         // nothing may be there: 3 of 3
		{Check: check(event.SeverityCritical), Status: event.Erroneous, Facts: 1000},     // not assessed
		{Check: check(event.SeverityCritical), Status: event.NotApplicable, Facts: 1000}, // nor is this
	})[0]
	if want := 100 * (495. + 40 + 0 + 3) / (500 + 40 + 3 + 3); s.Resources != want || s.Score != 100*4./12 {
		t.Errorf("%v by resources, %v by checks; want %v and %v", s.Resources, s.Score, want, 100*4./12)
	}
}
