package exporter

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

//go:embed posture.html
var posturePage string

// html writes one page that needs nothing else: no script, no font, no other file.
func (r *postureReport) html(w io.Writer) error {
	page, err := template.New("posture").Funcs(template.FuncMap{
		"join": strings.Join, "object": func(o event.Object) string { return describeObject(&o) }, "percent": func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) },
		"score": func(v float64) string { return fmt.Sprintf("%.1f", v) }, "day": func(o event.Object) string { return lastDay(o.Waiver) },
		"link": func(text string) bool {
			return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
		},
		"dec": func(a, b int) int { return a - b },
	}).Parse(posturePage)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	type group struct {
		Title    string
		Verdicts []*event.Verdict
	}
	data := struct {
		Subject, Time string
		Took          string
		Checks        int
		Scores        []event.Score
		Groups        []group
		Waived        []*event.Verdict
		Expired       []event.Waiver
	}{Subject: r.subject, Time: shownTime(r.Time), Took: fmt.Sprintf("%.2f s", r.Took.Seconds()), Checks: len(r.Verdicts), Scores: r.Scores,
		Groups: []group{{"Failed", r.by(event.Fail)}, {"Could not be read", r.by(event.Erroneous)}, {"For a person to look at", r.by(event.Manual)},
			{"Passed", r.by(event.Pass)}, {"Not applicable", r.by(event.NotApplicable)}},
		Waived:  slices.DeleteFunc(r.by(event.Pass, event.Fail, event.Erroneous), func(v *event.Verdict) bool { return v.Waiving == 0 }),
		Expired: slices.DeleteFunc(slices.Clone(r.Waivers), func(w event.Waiver) bool { return !w.Expired })}
	return page.Execute(w, data)
}
