package dashboards

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
)

// A Question is what a board asks Prometheus, and what the answer must be like: for those who check all of them.
type Question struct {
	Where       string   // board, row, panel and query
	Expr        string   // with Grafana's variables
	Instant     bool     // asked for the end of the time, else over all of it
	Buckets     bool     // the answer is classic buckets
	Labels      []string // that the panel shows, so that one series has each at least
	Max         float64  // of the axis: values are not above it; 0 without one
	ExpectEmpty string   // why there may be no answer
}

// A Choice is what a variable of a board asks: the values of a label.
type Choice struct {
	Where       string
	Name        string
	Selector    string // with Grafana's variables
	Label       string
	ExpectEmpty string
}

// elsewhere are labels that only exist on Kubernetes, or in a release.
var elsewhere = []string{"namespace", "pod", "owner_kind", "owner_name", "version"}

var placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)

// Questions are those of all panels and annotations.
func (b Board) Questions() []Question {
	var all []Question
	for _, r := range b.Rows {
		for _, p := range r.Panels {
			p = p.complete()
			for i, q := range p.Queries {
				all = append(all, Question{
					Where: fmt.Sprintf("%s / %s / %s / %s: %s", b.UID, cmp.Or(r.Title, "top"), p.Title, letter(i), q.Name),
					Expr:  b.expr(q), Instant: p.View.asks().instant, Buckets: p.View.asks().format == "heatmap",
					Labels: p.shown(q), Max: p.top(), ExpectEmpty: q.ExpectEmpty,
				})
			}
		}
	}
	for _, a := range b.Annotations {
		all = append(all, Question{Where: fmt.Sprintf("%s / annotation %s: %s", b.UID, a.Name, a.Query), Expr: b.expr(Query{Name: a.Query})})
	}
	return append(all, Question{Where: b.UID + " / annotation Alerts", Expr: alertsExpr, ExpectEmpty: "no alert may fire"})
}

// Choices are those of all variables but the data source.
func (b Board) Choices() []Choice {
	var all []Choice
	for _, v := range b.variables() {
		all = append(all, Choice{Where: b.UID + " / variable " + v.Name, Name: v.Name, Selector: v.selector(), Label: cmp.Or(v.Of, v.Name), ExpectEmpty: v.ExpectEmpty})
	}
	return all
}

// shown are the labels that the panel shows of a query's answer, or leads by.
func (p Panel) shown(q Query) []string {
	var labels []string
	for _, m := range placeholder.FindAllStringSubmatch(q.Legend, -1) {
		labels = append(labels, m[1])
	}
	links := slices.Clone(p.Links)
	if table, ok := p.View.(Table); ok {
		for _, c := range table.Columns {
			links = append(links, c.Links...)
			if !c.value() {
				labels = append(labels, c.Field)
			}
		}
	}
	if _, ok := p.View.(NodeGraph); ok {
		labels = append(labels, "id", "source", "target")
	}
	for _, l := range links {
		for _, label := range l.Set {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	return slices.DeleteFunc(slices.Compact(labels), func(l string) bool { return slices.Contains(elsewhere, l) })
}

func (p Panel) top() float64 {
	if series, ok := p.View.(TimeSeries); ok {
		return series.Max
	}
	return 0
}
