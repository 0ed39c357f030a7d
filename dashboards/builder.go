// Package dashboards is what Yagura sees, as dashboards of Grafana: boards written in Go, from which a test makes the JSON files
// beside it. A panel names a query of promql/library and takes title, text and unit from there; a threshold is the number in the
// expression of an alert. So a query and a threshold are each written once. The program carries the JSON only.
package dashboards

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/yagura-io/yagura/promql/library"
)

// A Board is one dashboard. Each has the variables datasource, job and instance, and alerts as annotations.
type Board struct {
	UID         string // what stands in its address, such as yagura-node
	Title       string
	Description string
	Tags        []string // besides yagura
	From        string   // how far back it shows at first: 1h if empty
	Source      string   // the metric whose jobs and instances can be chosen: yagura_build_info if empty
	Variables   []Variable
	Annotations []Annotation
	Rows        []Row
}

// A Row is a part of a board that can be folded. The first may have no title, and then no heading.
type Row struct {
	Title  string
	Folded bool
	Panels []Panel
}

// A Panel shows one or more queries of the library in one way.
type Panel struct {
	Title       string // of its first query if empty; the panel's id comes from it and from the row's
	Description string // of its first query if empty: what is bad, and what to do
	Unit        string // one of library.Units; of its first query if empty
	View        View
	Queries     []Query
	Thresholds  Thresholds
	Mappings    []Mapping
	Links       []Link
	Width       int // of 24; of its view if 0
	Height      int
}

// A Query is one of the library. Variables that the board has are put in by name, and window is $__rate_interval.
type Query struct {
	Name        string
	Values      map[string]string // of variables that are something else here
	Legend      string            // such as {{container}}{{unit}}
	ExpectEmpty string            // why it may have nothing to show even on a machine under load; empty if it may not
}

// Q is a query that must have something to show.
func Q(name, legend string) Query { return Query{Name: name, Legend: legend} }

// With puts another value in the place of a variable.
func (q Query) With(variable, value string) Query {
	values := map[string]string{variable: value}
	for name, v := range q.Values {
		if name != variable {
			values[name] = v
		}
	}
	q.Values = values
	return q
}

// MayBeEmpty says why the query can have nothing to show.
func (q Query) MayBeEmpty(reason string) Query {
	q.ExpectEmpty = reason
	return q
}

// A Variable is something that the user of a board can choose: the values of a label.
type Variable struct {
	Name        string
	Label       string // what is shown before it
	Description string
	Metric      string   // that has the label
	Of          string   // the label; as Name if empty
	By          []string // variables that narrow it, besides job and instance
	Matchers    string   // more of them, as PromQL: state="firing"
	Single      bool     // one value, or all; not several
	Alone       bool     // its series have no job and instance
	ExpectEmpty string   // as of a Query
}

// Workload is four variables that choose a workload, each narrowed by those before it. An empty one matches what has no such label.
func Workload() []Variable {
	const metric = "yagura_restarts_total" // which every workload has, from 0 on
	return []Variable{
		{Name: "namespace", Label: "Namespace", Metric: metric, Description: "Kubernetes namespace of the workload.", ExpectEmpty: "only Kubernetes has namespaces"},
		{Name: "pod", Label: "Pod", Metric: metric, By: []string{"namespace"}, Description: "Kubernetes pod of the workload.", ExpectEmpty: "only Kubernetes has pods"},
		{Name: "container", Label: "Container", Metric: metric, By: []string{"namespace", "pod"}, Description: "Container of the workload."},
		{Name: "unit", Label: "Unit", Metric: metric, Description: "systemd service or scope of the host."},
	}
}

// who names a workload in legends: a pod and its container, a container, or a unit.
const who = "{{pod}} {{container}}{{unit}}"

// An Annotation marks times on all graphs of a board.
type Annotation struct {
	Name  string
	Query string // of the library: a mark at every time at which it has a value
	Title string // such as {{alertname}}
	Text  string
	Tags  string // labels, joined by commas
	Color string
}

// A Link leads from a value to a board, with the same time, data source, jobs and instances.
type Link struct {
	Title string
	Board string            // UID
	Set   map[string]string // what its variables are: variable to label
	Keep  []string          // variables that stay as they are here
}

// ToWorkload leads to the workload whose labels a value has.
func ToWorkload() Link {
	return Link{Title: "This workload", Board: "yagura-workload", Set: map[string]string{"namespace": "namespace", "pod": "pod", "container": "container", "unit": "unit"}}
}

// ToBoard leads to another board about the workload that is chosen here.
func ToBoard(title, uid string) Link {
	return Link{Title: title, Board: uid, Keep: []string{"namespace", "pod", "container", "unit"}}
}

// address is the link's URL. What a value has no label for becomes empty: Grafana puts nothing in its place.
func (l Link) address(label string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "/d/%s?${__url_time_range}", l.Board)
	for _, name := range append([]string{"datasource", "job", "instance"}, l.Keep...) {
		if _, set := l.Set[name]; !set {
			fmt.Fprintf(&b, "&${%s:queryparam}", name)
		}
	}
	for _, name := range sorted(l.Set) {
		fmt.Fprintf(&b, "&var-%s=${%s.%s:percentencode}", name, label, l.Set[name])
	}
	return b.String()
}

// variables are all variables of the board, in the order in which they depend on each other.
func (b Board) variables() []Variable {
	source := cmp.Or(b.Source, "yagura_build_info")
	return append([]Variable{
		{Name: "job", Label: "Job", Metric: source, Description: "Scrape job. The store of Yagura itself has one, yagura."},
		{Name: "instance", Label: "Instance", Metric: source, Description: "Machine, as its scrape calls it."},
	}, b.Variables...)
}

// selector is whose labels the variable can choose among.
func (v Variable) selector() string {
	var by []string
	switch {
	case v.Name == "job" || v.Alone:
		by = v.By
	case v.Name == "instance":
		by = []string{"job"}
	default:
		by = append([]string{"job", "instance"}, v.By...)
	}
	var matchers []string
	for _, name := range by {
		matchers = append(matchers, fmt.Sprintf(`%s=~"$%s"`, name, name))
	}
	if v.Matchers != "" {
		matchers = append(matchers, v.Matchers)
	}
	if len(matchers) == 0 {
		return v.Metric
	}
	return v.Metric + "{" + strings.Join(matchers, ",") + "}"
}

// definition is what Grafana asks for the values.
func (v Variable) definition() string {
	return fmt.Sprintf("label_values(%s, %s)", v.selector(), cmp.Or(v.Of, v.Name))
}

// expr is the query as it is for this board, with Grafana's variables in the place of its own.
func (b Board) expr(q Query) string {
	entry := find(q.Name)
	values := map[string]string{}
	for _, v := range b.variables() {
		if _, ok := entry.Variables[v.Name]; ok {
			values[v.Name] = "$" + v.Name
		}
	}
	if _, ok := entry.Variables["window"]; ok {
		values["window"] = "$__rate_interval"
	}
	for name, value := range q.Values {
		values[name] = value
	}
	expr := library.Expr(q.Name, values)
	for name, v := range entry.Variables {
		if _, chosen := values[name]; !chosen && v.Default == ".*" { // what cannot be chosen here need not be looked at
			expr = strings.ReplaceAll(expr, fmt.Sprintf(`,%s=~".*"`, name), "")
		}
	}
	return expr
}

// find returns a query of the library. One that is not there is a mistake of a board.
func find(name string) library.Query {
	q, ok := library.Find(name)
	if !ok {
		panic(fmt.Sprintf("dashboards: the library has no query %q", name))
	}
	return q
}

// complete takes what the panel does not say from its first query.
func (p Panel) complete() Panel {
	if len(p.Queries) == 0 {
		return p
	}
	first := find(p.Queries[0].Name)
	p.Title, p.Description, p.Unit = cmp.Or(p.Title, first.Title), cmp.Or(p.Description, first.Doc), cmp.Or(p.Unit, first.Unit)
	p.Description += p.Thresholds.text()
	return p
}
