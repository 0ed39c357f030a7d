package promql

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/prometheus/common/model"
)

// Format is how an answer is shown.
type Format string

// The formats.
const (
	Table Format = "table" // aligned columns, for people; the zero Format too
	JSON  Format = "json"  // as the API gives it
	CSV   Format = "csv"   // one line per sample
)

// Formats lists every format, in the order help prints.
var Formats = []Format{Table, JSON, CSV}

// shownBuckets is how many buckets of a native histogram fit a table.
const shownBuckets = 8

func (f Format) writer() (func(io.Writer, model.Value) error, error) {
	switch f {
	case Table, "":
		return writeTable, nil
	case JSON:
		return writeJSON, nil
	case CSV:
		return writeCSV, nil
	}
	return nil, fmt.Errorf("format %q: not one of table, json, csv", f)
}

// A row is one sample: the labels, when, and what.
type row struct {
	metric model.Metric
	time   model.Time
	value  string
	first  bool // of its series
}

// rows flattens an answer. The order is the API's, since a query may have sorted.
func rows(v model.Value, histogram func(*model.SampleHistogram) string) []row {
	var out []row
	switch v := v.(type) {
	case *model.Scalar:
		out = append(out, row{time: v.Timestamp, value: v.Value.String(), first: true})
	case *model.String:
		out = append(out, row{time: v.Timestamp, value: v.Value, first: true})
	case model.Vector:
		for _, s := range v {
			value := s.Value.String()
			if s.Histogram != nil {
				value = histogram(s.Histogram)
			}
			out = append(out, row{s.Metric, s.Timestamp, value, true})
		}
	case model.Matrix:
		for _, s := range v {
			out = append(out, points(s, histogram)...)
		}
	}
	return out
}

// points are the rows of one series of a range.
func points(s *model.SampleStream, histogram func(*model.SampleHistogram) string) []row {
	var out []row
	for _, p := range s.Values {
		out = append(out, row{metric: s.Metric, time: p.Timestamp, value: p.Value.String()})
	}
	for _, p := range s.Histograms {
		out = append(out, row{metric: s.Metric, time: p.Timestamp, value: histogram(p.Histogram)})
	}
	slices.SortStableFunc(out, func(a, b row) int { return int(a.time - b.time) })
	if len(out) > 0 {
		out[0].first = true
	}
	return out
}

// columns are the label names that occur, the metric's name first.
func columns(all []row) []model.LabelName {
	seen := map[model.LabelName]bool{}
	for _, r := range all {
		for name := range r.metric {
			seen[name] = true
		}
	}
	var names []model.LabelName
	for name := range seen {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b model.LabelName) int {
		if (a == model.MetricNameLabel) != (b == model.MetricNameLabel) {
			return map[bool]int{true: -1, false: 1}[a == model.MetricNameLabel]
		}
		return strings.Compare(string(a), string(b))
	})
	return names
}

// writeTable writes aligned columns. The samples of an instant share their time, so only ranges show it; a range
// shows the labels of a series once.
func writeTable(w io.Writer, v model.Value) error {
	all := rows(v, brief)
	if len(all) == 0 {
		return nil
	}
	names := columns(all)
	_, ranged := v.(model.Matrix)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(names) > 0 || ranged {
		fmt.Fprintln(tab, strings.Join(header(names, ranged), "\t"))
	}
	for _, r := range all {
		fmt.Fprintln(tab, strings.Join(cells(r, names, ranged), "\t"))
	}
	return tab.Flush()
}

func header(names []model.LabelName, ranged bool) []string {
	var head []string
	for _, name := range names {
		head = append(head, clean(string(name)))
	}
	if ranged {
		head = append(head, "time")
	}
	return append(head, "value")
}

func cells(r row, names []model.LabelName, ranged bool) []string {
	var line []string
	for _, name := range names {
		text := ""
		if r.first {
			text = clean(string(r.metric[name]))
		}
		line = append(line, text)
	}
	if ranged {
		line = append(line, stamp(r.time))
	}
	return append(line, clean(r.value))
}

// writeCSV writes a header and one line per sample, every cell filled.
func writeCSV(w io.Writer, v model.Value) error {
	all := rows(v, (*model.SampleHistogram).String)
	names := columns(all)
	out := csv.NewWriter(w)
	var head []string
	for _, name := range names {
		head = append(head, string(name))
	}
	out.Write(append(head, "time", "value"))
	for _, r := range all {
		var line []string
		for _, name := range names {
			line = append(line, string(r.metric[name]))
		}
		out.Write(append(line, stamp(r.time), r.value))
	}
	out.Flush()
	return out.Error()
}

// writeJSON writes the answer as the API's data field has it.
func writeJSON(w io.Writer, v model.Value) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(struct {
		Type   string      `json:"resultType"`
		Result model.Value `json:"result"`
	}{v.Type().String(), v})
}

func stamp(t model.Time) string { return t.Time().UTC().Format("2006-01-02T15:04:05.999Z07:00") }

// brief shows a native histogram in one cell.
func brief(h *model.SampleHistogram) string {
	var b strings.Builder
	fmt.Fprintf(&b, "count %g, sum %g", float64(h.Count), float64(h.Sum))
	if h.Count > 0 {
		fmt.Fprintf(&b, ", mean %.3g", float64(h.Sum)/float64(h.Count))
	}
	for i, bucket := range h.Buckets {
		if i == shownBuckets {
			fmt.Fprintf(&b, " and %d more", len(h.Buckets)-i)
			break
		}
		fmt.Fprintf(&b, " %s", shortBucket(bucket))
	}
	return b.String()
}

// shortBucket writes bounds with few digits: exponential ones are irrational.
func shortBucket(b *model.HistogramBucket) string {
	left, right := "(", ")"
	if b.Boundaries == 1 || b.Boundaries == 3 {
		left = "["
	}
	if b.Boundaries == 0 || b.Boundaries == 3 {
		right = "]"
	}
	return fmt.Sprintf("%s%.3g,%.3g%s:%g", left, float64(b.Lower), float64(b.Upper), right, float64(b.Count))
}

func empty(v model.Value) bool {
	switch v := v.(type) {
	case model.Vector:
		return len(v) == 0
	case model.Matrix:
		return len(v) == 0
	}
	return v == nil
}
