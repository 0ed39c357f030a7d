package exporter

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Documented returns the documentation of what a collector of client_golang's sends now.
func Documented(c prometheus.Collector) []*Family {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		panic(fmt.Sprintf("document a collector: %v", err))
	}
	// What cannot be gathered here is not documented; the rest is.
	gathered, _ := registry.Gather()
	var families []*Family
	for _, g := range gathered {
		f := &Family{name: g.GetName(), help: g.GetHelp(), kind: g.GetType(), foreign: true}
		for _, pair := range g.Metric[0].Label {
			f.labels = append(f.labels, pair.GetName())
		}
		families = append(families, f)
	}
	return families
}

// NewForeign documents a metric that follows the conventions of another exporter and that its collector sends by itself,
// bounded by itself. The type is counter, gauge or untyped.
func NewForeign(name, help, kind string, labels ...string) *Family {
	return &Family{name: name, help: help, kind: dto.MetricType(dto.MetricType_value[strings.ToUpper(kind)]), labels: labels, foreign: true}
}

// WriteReference writes the reference page of all metrics of the entries and of the exporter itself. It is an error if
// a label has no meaning in the table, or two entries have a metric of the same name.
func WriteReference(w io.Writer, entries []Entry) error {
	entries = append(slices.Clone(entries), Entry{
		Name: "exporter", Help: "What the exporter says of every scrape. It has no flag.", Default: true,
		Families: newOwnMetrics().families(),
	})
	var page bytes.Buffer
	fmt.Fprintf(&page, referenceHead, Default.Limits.Node, Default.Limits.Family, Default.Limits.Workload, histogramWeight)
	labels := map[string]bool{}
	seen := map[string]string{}
	for _, e := range entries {
		writeEntry(&page, e)
		for _, f := range e.Families {
			if before, ok := seen[f.name]; ok {
				return fmt.Errorf("metric %s: declared by collectors %s and %s", f.name, before, e.Name)
			}
			seen[f.name] = e.Name
			for _, name := range f.LabelNames() {
				labels[name] = true
			}
		}
	}
	if err := writeLabels(&page, labels); err != nil {
		return err
	}
	_, err := page.WriteTo(w)
	return err
}

const referenceHead = `# Metrics

Generated from the code; ` + "`make golden`" + ` writes it anew. What is meant by a label stands at the end. With a store,
the embedded Prometheus adds its own metrics under their own names (` + "`prometheus_tsdb_head_series`" + ` and so on), and
` + "`yagura_store_appends_refused_total`" + ` counts the appends that it refused, such as for a full disk.

**Workload labels** are ` + "`namespace, pod, container, unit`" + `, always all four, empty where they do not apply. Scrape with
` + "`honor_labels: true`" + `, so that they stay as they are. Everything else about a workload is on ` + "`yagura_container_info`" + `.

**Caps**: %d series for a node, %d for a metric, %d for a workload, unless configured otherwise; a part of each is kept
for ` + "`other`" + `. A label set beyond a cap is added to the series with ` + "`other`" + ` in its labels, so sums stay right;
` + "`yagura_series_folded_total`" + ` counts it. What cannot be added up (` + "`_info`" + ` and the like) is left out instead.

**Histograms** are native (schema 0, those of requests schema 3) and classic at once; against a cap, one counts as its %d
classic series. Requests go by the conventions of OpenTelemetry; their bounds are those of ` + "`requests.bounds`" + `.
`

func writeEntry(page *bytes.Buffer, e Entry) {
	state := "off by default"
	if e.Default {
		state = "on by default"
	}
	fmt.Fprintf(page, "\n## %s\n\n%s (%s)\n", e.Name, e.Help, state)
	if len(e.Families) == 0 {
		return
	}
	page.WriteString("\n| metric | labels | type | unit | meaning |\n|---|---|---|---|---|\n")
	for _, f := range e.Families {
		fmt.Fprintf(page, "| `%s` | %s | %s | %s | %s |\n", f.name, f.labelCell(), f.Type(), f.Unit(), escapeCell(f.help))
	}
}

func (f *Family) labelCell() string {
	var cells []string
	if f.perWorkload {
		cells = append(cells, "*workload*")
	}
	for _, name := range f.labels {
		cells = append(cells, "`"+name+"`")
	}
	return strings.Join(cells, ", ")
}

func writeLabels(page *bytes.Buffer, used map[string]bool) error {
	page.WriteString("\n## Labels\n\n| label | meaning |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(used)) {
		doc, ok := labelDocs[name]
		if !ok {
			return fmt.Errorf("label %s: no meaning in the table of labels", name)
		}
		fmt.Fprintf(page, "| `%s` | %s |\n", name, escapeCell(doc.meaning))
	}
	return nil
}

func escapeCell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}
