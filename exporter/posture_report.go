package exporter

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/yagura-io/yagura/rules/event"
)

// A postureFormat is a way to print a result.
type postureFormat struct {
	name  string
	write func(r *postureReport, w io.Writer) error
}

// postureFormats are all of them, in the order of --help.
var postureFormats = []postureFormat{
	{"table", (*postureReport).table},
	{"json", (*postureReport).json},
	{"csv", (*postureReport).csv},
	{"sarif", (*postureReport).sarif},
	{"junit", (*postureReport).junit},
	{"html", (*postureReport).html},
	{"openmetrics", (*postureReport).openMetrics},
}

func formatNames() (names []string) {
	for _, f := range postureFormats {
		names = append(names, f.name)
	}
	return names
}

// A postureReport is a result with whom it is of.
type postureReport struct {
	subject string
	*event.Posture
}

// A reportRow is a check as one framework has it.
type reportRow struct {
	*event.Verdict
	Framework string
	Controls  []string
}

// rows are a row for each framework of each check, by framework.
func (r *postureReport) rows() (all []reportRow) {
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		for _, f := range v.Check.Frameworks() {
			all = append(all, reportRow{v, f, v.Check.In(f)})
		}
		if len(v.Check.Controls) == 0 {
			all = append(all, reportRow{Verdict: v})
		}
	}
	slices.SortStableFunc(all, func(a, b reportRow) int { return strings.Compare(a.Framework, b.Framework) })
	return all
}

// by are the verdicts of some statuses, the most severe first.
func (r *postureReport) by(statuses ...event.Status) (all []*event.Verdict) {
	for i := range r.Verdicts {
		if slices.Contains(statuses, r.Verdicts[i].Status) {
			all = append(all, &r.Verdicts[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *event.Verdict) int { return int(a.Check.Severity) - int(b.Check.Severity) })
	return all
}

// A reportScore is a score in JSON.
type reportScore struct {
	Framework     string   `json:"framework"`
	Score         *float64 `json:"score"` // null if nothing was assessed
	Coverage      float64  `json:"coverage"`
	Grade         string   `json:"grade"`
	Checks        int      `json:"checks"`
	Pass          int      `json:"pass"`
	Fail          int      `json:"fail"`
	Error         int      `json:"error"`
	Manual        int      `json:"manual"`
	NotApplicable int      `json:"not_applicable"`
	Controls      struct {
		Passed      int `json:"passed"`
		Failed      int `json:"failed"`
		NotAssessed int `json:"not_assessed"`
	} `json:"controls"`
}

func reportScoreOf(s *event.Score) reportScore {
	n := s.Statuses
	out := reportScore{Framework: s.Framework, Coverage: s.Coverage, Grade: s.Grade, Checks: s.Checks, Pass: n[event.Pass], Fail: n[event.Fail],
		Error: n[event.Erroneous], Manual: n[event.Manual], NotApplicable: n[event.NotApplicable]}
	if s.Assessed() > 0 {
		score := s.Score
		out.Score = &score
	}
	out.Controls.Passed, out.Controls.Failed, out.Controls.NotAssessed = s.Controls.Passed, s.Controls.Failed, s.Controls.Unassessed
	return out
}

// A reportCheck is a row in JSON.
type reportCheck struct {
	ID        string          `json:"id"`
	Framework string          `json:"framework"`
	Status    event.Status    `json:"status"`
	Severity  event.Severity  `json:"severity"`
	Objects   []postureObject `json:"objects"` // that fail; of an error why
}

func (r *postureReport) json(w io.Writer) error {
	out := struct {
		Scores []reportScore `json:"scores"`
		Checks []reportCheck `json:"checks"`
	}{[]reportScore{}, []reportCheck{}}
	for i := range r.Scores {
		out.Scores = append(out.Scores, reportScoreOf(&r.Scores[i]))
	}
	for _, row := range r.rows() {
		check := reportCheck{row.Check.ID, row.Framework, row.Status, row.Check.Severity, objectsOf(row.Verdict, true)}
		if row.Status == event.Erroneous {
			check.Objects = append(check.Objects, postureObject{Error: row.Reason})
		}
		out.Checks = append(out.Checks, check)
	}
	return writePostureJSON(w, out)
}

func writePostureJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (r *postureReport) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"framework", "controls", "check", "status", "severity", "title", "failing", "objects", "reason", "remediation"}) // Error tells
	for _, row := range r.rows() {
		var subjects []string
		for _, o := range row.Objects {
			subjects = append(subjects, printable(o.Subject))
		}
		_ = out.Write([]string{row.Framework, strings.Join(row.Controls, " "), row.Check.ID, row.Status.String(), row.Check.Severity.String(), row.Check.Title,
			strconv.Itoa(row.Failing), strings.Join(subjects, "\n"), row.Reason, row.Check.Remediation})
	}
	out.Flush()
	return out.Error()
}

// shownObjects is how many failing objects the table shows of a check.
const shownObjects = 5

func (r *postureReport) table(w io.Writer) error {
	fmt.Fprintf(w, "Posture of %s, %s: %d checks in %v\n\n", printable(r.subject), shownTime(r.Time), len(r.Verdicts), r.Took.Round(time.Millisecond))
	t := newTable(w, "FRAMEWORK", "SCORE", "GRADE", "COVERAGE", "PASS", "FAIL", "ERROR", "MANUAL", "N/A", "CONTROLS PASSED")
	for i := range r.Scores {
		s := &r.Scores[i]
		score, n := "-", s.Statuses
		if s.Assessed() > 0 {
			score = fmt.Sprintf("%.1f", s.Score)
		}
		t.row(s.Framework, score, dash(s.Grade), fmt.Sprintf("%.0f %%", 100*s.Coverage), n[event.Pass], n[event.Fail], n[event.Erroneous], n[event.Manual],
			n[event.NotApplicable], fmt.Sprintf("%d of %d", s.Controls.Passed, s.Controls.Passed+s.Controls.Failed+s.Controls.Unassessed))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, v := range r.by(event.Fail) {
		r.writeFailing(w, v)
	}
	r.writeOthers(w)
	return nil
}

// writeFailing tells of one check that fails.
func (r *postureReport) writeFailing(w io.Writer, v *event.Verdict) {
	fmt.Fprintf(w, "\n%s  %s: %s\n", strings.ToUpper(v.Check.Severity.String()), v.Check.ID, v.Check.Title)
	for _, o := range v.Objects[:min(len(v.Objects), shownObjects)] {
		fmt.Fprintf(w, "    %s\n", describeObject(&o))
	}
	if more := v.Failing - min(len(v.Objects), shownObjects); more > 0 {
		fmt.Fprintf(w, "    and %d more\n", more)
	}
	if v.Reason != "" {
		fmt.Fprintf(w, "    not all could be read: %s\n", printable(v.Reason))
	}
	fmt.Fprintf(w, "    To remedy:\n")
	for line := range strings.Lines(v.Check.Remediation) {
		fmt.Fprintf(w, "      %s\n", strings.TrimSuffix(line, "\n"))
	}
}

// describeObject is one line for people: which, where, what it is and what it should be.
func describeObject(o *event.Object) string {
	var b strings.Builder
	b.WriteString(printable(o.Subject))
	if o.Source != "" && o.Source != o.Subject {
		fmt.Fprintf(&b, " (%s)", printable(o.Source))
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "want %s", printable(o.Expected))
	if len(o.Values) > 0 {
		fmt.Fprintf(&b, "; it has %s", describeValues(o.Values))
	}
	return b.String()
}

func describeValues(values map[string]any) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch v := values[name].(type) {
		case nil:
			all = append(all, "no "+name)
		case []string:
			all = append(all, name+" ("+printable(strings.Join(v, ", "))+")")
		case string:
			all = append(all, name+" "+printable(strconv.Quote(v)))
		default:
			all = append(all, fmt.Sprintf("%s %v", name, v))
		}
	}
	return strings.Join(all, ", ")
}

// writeOthers tells of what could not be assessed, and what is waived.
func (r *postureReport) writeOthers(w io.Writer) {
	writeUnread(w, r.by(event.Erroneous))
	first := true
	for i := range r.Verdicts {
		for _, o := range r.Verdicts[i].Waived {
			if first {
				fmt.Fprintf(w, "\nWaived:\n")
				first = false
			}
			fmt.Fprintf(w, "    %s: %s, by %s until %s: %s\n", r.Verdicts[i].Check.ID, printable(o.Subject), o.Waiver.Owner, lastDay(o.Waiver), o.Waiver.Reason)
		}
	}
	for _, waiver := range r.Waivers {
		if waiver.Expired {
			fmt.Fprintf(w, "\nThe waiver of %s by %s has expired on %s: %s\n", waiver.Check, waiver.Owner, lastDay(&waiver), waiver.Reason)
		}
	}
	if manual := len(r.by(event.Manual)); manual > 0 {
		fmt.Fprintf(w, "\nFor a person to look at: %d checks; yagura posture list --format json says how.\n", manual)
	}
}

// writeUnread tells of what could not be read: of each reason which checks that cost.
func writeUnread(w io.Writer, verdicts []*event.Verdict) {
	var reasons []string
	checks := map[string][]string{}
	for _, v := range verdicts {
		if checks[v.Reason] == nil {
			reasons = append(reasons, v.Reason)
		}
		checks[v.Reason] = append(checks[v.Reason], v.Check.ID)
	}
	if len(reasons) > 0 {
		fmt.Fprintf(w, "\nCould not be read:\n")
	}
	for _, reason := range reasons {
		ids := checks[reason]
		more := ""
		if len(ids) > shownObjects {
			ids, more = ids[:shownObjects], fmt.Sprintf(" and %d more checks", len(ids)-shownObjects)
		}
		fmt.Fprintf(w, "    %s%s: %s\n", strings.Join(ids, ", "), more, printable(reason))
	}
}

// lastDay is the last day on which a waiver holds.
func lastDay(w *event.Waiver) string { return w.Until.AddDate(0, 0, -1).Format(time.DateOnly) }

// openMetrics writes the series that the exporter would show.
func (r *postureReport) openMetrics(w io.Writer) error {
	p := NewPosture(PostureOptions{})
	p.result.Store(r.Posture)
	families, err := New(Options{Collectors: []Entry{p.Entry()}}).Gather()
	if err != nil {
		return err
	}
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeOpenMetrics))
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "yagura_posture_") {
			continue
		}
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return encoder.(expfmt.Closer).Close()
}

// printable is a text of unknown origin as a terminal may show it.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// A table has columns as wide as their widest cell.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, head ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	return t
}

func (t table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	fmt.Fprintln(t, strings.Join(texts, "\t"))
}
