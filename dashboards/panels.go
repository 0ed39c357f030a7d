package dashboards

import (
	"cmp"
	"fmt"
)

// A View is how a panel shows its queries.
type View interface {
	plugin() string         // Grafana's name
	size() (w, h int)       // of a grid 24 wide
	asks() asks             // what is wanted of the queries
	draw(p Panel, m *panel) // sets the options
}

// asks is how a view wants the data: over a time or at its end, and in which form.
type asks struct {
	instant bool
	format  string
}

var (
	overTime = asks{format: "time_series"}
	now      = asks{instant: true, format: "time_series"}
	tabular  = asks{instant: true, format: "table"}
)

type options = map[string]any

// last reduces a series to its newest value.
func last() options {
	return options{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
}

func bounds(unit string, m *panel) {
	zero := 0.0
	m.FieldConfig.Defaults.Min = &zero
	if top := map[string]float64{"ratio": 1, "score": 100}[unit]; top > 0 {
		m.FieldConfig.Defaults.Max = &top
	}
}

// Stat is one number, or one for each series, with how it came about behind it.
type Stat struct {
	Plain bool // without the graph behind: asked for the end of the time only
	Named bool // with the names of the series
}

func (Stat) plugin() string   { return "stat" }
func (Stat) size() (w, h int) { return 4, 4 }
func (s Stat) asks() asks {
	if s.Plain {
		return now
	}
	return overTime
}

func (s Stat) draw(p Panel, m *panel) {
	graph, color, text := "area", "value", "value"
	if s.Plain {
		graph = "none"
	}
	if p.Thresholds.judges() || len(p.Mappings) > 0 {
		color = "background"
	}
	if s.Named {
		text = "value_and_name"
	}
	m.Options = options{"colorMode": color, "graphMode": graph, "justifyMode": "auto", "orientation": "auto", "percentChangeColorMode": "standard",
		"reduceOptions": last(), "showPercentChange": false, "textMode": text, "wideLayout": true}
}

// Gauge is a number on a scale whose end is known.
type Gauge struct{}

func (Gauge) plugin() string   { return "gauge" }
func (Gauge) size() (w, h int) { return 4, 5 }
func (Gauge) asks() asks       { return now }

func (Gauge) draw(p Panel, m *panel) {
	bounds(p.Unit, m)
	m.Options = options{"minVizHeight": 75, "minVizWidth": 75, "orientation": "auto", "reduceOptions": last(), "showThresholdLabels": false,
		"showThresholdMarkers": true, "sizing": "auto"}
}

// BarGauge is a bar for each series, as the query sorts them.
type BarGauge struct{}

func (BarGauge) plugin() string   { return "bargauge" }
func (BarGauge) size() (w, h int) { return 8, 8 }
func (BarGauge) asks() asks       { return now }

func (BarGauge) draw(p Panel, m *panel) {
	bounds(p.Unit, m)
	if !p.Thresholds.judges() {
		m.FieldConfig.Defaults.Color = options{"mode": "continuous-BlPu"}
	}
	m.Options = options{"displayMode": "gradient", "legend": options{"calcs": []string{}, "displayMode": "list", "placement": "bottom", "showLegend": false},
		"maxVizHeight": 300, "minVizHeight": 16, "minVizWidth": 8, "namePlacement": "auto", "orientation": "horizontal", "reduceOptions": last(),
		"showUnfilled": true, "sizing": "auto", "valueMode": "color"}
}

// TimeSeries is a line for each series.
type TimeSeries struct {
	Stacked   bool
	Bars      bool // for what is counted, and is mostly 0
	Signed    bool // values can be below 0
	Table     bool // a legend with the mean, highest and last value of each
	Max       float64
	Exemplars bool // dots that lead to the event behind
}

func (TimeSeries) plugin() string   { return "timeseries" }
func (TimeSeries) size() (w, h int) { return 12, 8 }
func (TimeSeries) asks() asks       { return overTime }

func (t TimeSeries) draw(p Panel, m *panel) {
	defaults := &m.FieldConfig.Defaults
	if !t.Signed {
		zero := 0.0
		defaults.Min = &zero
	}
	if t.Max > 0 {
		defaults.Max = &t.Max
	}
	style, fill, stacking, thresholds := "line", 8, "none", "off"
	if t.Bars {
		style, fill = "bars", 70
	}
	if t.Stacked {
		stacking, fill = "normal", max(fill, 35)
	}
	if p.Thresholds.judges() {
		thresholds = "dashed"
	}
	defaults.Color = options{"mode": "palette-classic-by-name"}
	defaults.Custom = options{"axisBorderShow": false, "axisCenteredZero": false, "axisColorMode": "text", "axisLabel": "", "axisPlacement": "auto",
		"barAlignment": 0, "drawStyle": style, "fillOpacity": fill, "gradientMode": "none", "hideFrom": options{"legend": false, "tooltip": false, "viz": false},
		"insertNulls": false, "lineInterpolation": "linear", "lineWidth": 1, "pointSize": 5, "scaleDistribution": options{"type": "linear"},
		"showPoints": "never", "spanNulls": false, "stacking": options{"group": "A", "mode": stacking}, "thresholdsStyle": options{"mode": thresholds}}
	legend := options{"calcs": []string{}, "displayMode": "list", "placement": "bottom", "showLegend": true}
	if t.Table {
		legend["calcs"], legend["displayMode"] = []string{"mean", "max", "lastNotNull"}, "table"
	}
	m.Options = options{"legend": legend, "tooltip": options{"hideZeros": false, "mode": "multi", "sort": "desc"}}
	for i := range m.Targets {
		m.Targets[i].Exemplar = t.Exemplars
	}
}

// Heatmap is how values are spread over buckets: of a query by le.
type Heatmap struct{}

func (Heatmap) plugin() string   { return "heatmap" }
func (Heatmap) size() (w, h int) { return 12, 8 }
func (Heatmap) asks() asks       { return asks{format: "heatmap"} }

func (Heatmap) draw(p Panel, m *panel) {
	m.FieldConfig.Defaults.Custom = options{"hideFrom": options{"legend": false, "tooltip": false, "viz": false}, "scaleDistribution": options{"type": "linear"}}
	m.Options = options{"calculate": false, "cellGap": 1, "cellValues": options{"unit": "cps"},
		"color":     options{"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": false, "scale": "exponential", "scheme": "Oranges", "steps": 64},
		"exemplars": options{"color": "rgba(255,0,255,0.7)"}, "filterValues": options{"le": 1e-9}, "legend": options{"show": true}, "rowsFrame": options{"layout": "auto"},
		"tooltip": options{"mode": "single", "showColorScale": false, "yHistogram": false}, "yAxis": options{"axisPlacement": "left", "reverse": false, "unit": m.FieldConfig.Defaults.Unit}}
}

// StateTimeline is a band for each series, in the color of its state.
type StateTimeline struct{}

func (StateTimeline) plugin() string   { return "state-timeline" }
func (StateTimeline) size() (w, h int) { return 24, 8 }
func (StateTimeline) asks() asks       { return overTime }

func (StateTimeline) draw(p Panel, m *panel) {
	m.FieldConfig.Defaults.Custom = options{"fillOpacity": 70, "hideFrom": options{"legend": false, "tooltip": false, "viz": false}, "insertNulls": false, "lineWidth": 0, "spanNulls": false}
	m.Options = options{"alignValue": "left", "legend": options{"displayMode": "list", "placement": "bottom", "showLegend": false}, "mergeValues": true, "perPage": 20,
		"rowHeight": 0.9, "showValue": "auto", "tooltip": options{"mode": "single", "sort": "none"}}
}

// Table is a row for each label set, with a column for each of Columns and no other.
type Table struct {
	Columns []Column
	Sort    string // title of a column, the greatest first
}

// A Column is a label, or the value of a query: A is that of the first, B of the second.
type Column struct {
	Field      string
	Title      string
	Unit       string // of values; the panel's if empty
	Width      int
	Thresholds Thresholds
	Mappings   []Mapping
	Bar        bool // drawn as a bar
	Links      []Link
}

func (Table) plugin() string   { return "table" }
func (Table) size() (w, h int) { return 24, 9 }
func (Table) asks() asks       { return tabular }

func (c Column) value() bool { return len(c.Field) == 1 && c.Field[0] >= 'A' && c.Field[0] <= 'Z' }

func (t Table) draw(p Panel, m *panel) {
	m.FieldConfig.Defaults.Custom = options{"align": "auto", "cellOptions": options{"type": "auto"}, "filterable": true, "inspect": false}
	m.Options = options{"cellHeight": "sm", "showHeader": true}
	if t.Sort != "" {
		m.Options["sortBy"] = []options{{"desc": true, "displayName": t.Sort}}
	}
	var keep []string
	order, names := map[string]int{}, map[string]string{}
	for i, c := range t.Columns {
		fields := []string{c.Field}
		if c.value() { // Grafana leaves the letter out where only one query has an answer
			fields = []string{"Value #" + c.Field}
			if c.Field == "A" || len(p.Queries) == 1 {
				fields = append(fields, "Value")
			}
		}
		for _, f := range fields {
			keep, order[f], names[f] = append(keep, f), i, c.Title
		}
		m.FieldConfig.Overrides = append(m.FieldConfig.Overrides, c.override())
	}
	if len(p.Queries) > 1 {
		m.Transformations = append(m.Transformations, transformation{"merge", options{}})
	}
	m.Transformations = append(m.Transformations,
		transformation{"filterFieldsByName", options{"include": options{"names": keep}}},
		transformation{"organize", options{"excludeByName": options{}, "includeByName": options{}, "indexByName": order, "renameByName": names}})
}

func (c Column) override() override {
	o := override{Matcher: matcher{"byName", c.Title}, Properties: []property{}}
	set := func(id string, value any) { o.Properties = append(o.Properties, property{id, value}) }
	switch {
	case !c.value():
		set("unit", "string") // else Grafana takes what looks like a number for one, and a port for requests in a second
	case c.Unit != "":
		set("unit", unitOf(c.Unit))
	}
	if c.Width > 0 {
		set("custom.width", c.Width)
	}
	if len(c.Mappings) > 0 {
		set("mappings", mappings(c.Mappings))
	}
	if c.Thresholds.judges() {
		set("thresholds", options{"mode": "absolute", "steps": c.Thresholds.list()})
	}
	switch {
	case c.Bar:
		set("custom.cellOptions", options{"mode": "basic", "type": "gauge", "valueDisplayMode": "text"})
		set("min", 0)
	case c.Thresholds.judges() || len(c.Mappings) > 0:
		set("custom.cellOptions", options{"mode": "basic", "type": "color-background"})
	}
	if len(c.Links) > 0 {
		set("links", links(c.Links, "__data.fields"))
	}
	return o
}

// NodeGraph is a map of edges. Its queries have the labels id, source and target; the first is the number on an edge, and the
// second the number beside it. Grafana makes the nodes of the edges.
type NodeGraph struct {
	Unit string // as it is written beside the numbers: the graph knows no units
}

func (NodeGraph) plugin() string   { return "nodeGraph" }
func (NodeGraph) size() (w, h int) { return 24, 15 }
func (NodeGraph) asks() asks       { return tabular }

func (n NodeGraph) draw(p Panel, m *panel) {
	units := options{"mainStatUnit": n.Unit, "secondaryStatUnit": n.Unit}
	m.Options = options{"edges": units, "nodes": units, "zoomMode": "cooperative"}
	if len(p.Queries) > 1 {
		m.Transformations = append(m.Transformations, transformation{"merge", options{}})
	}
	for i, stat := range []string{"mainstat", "secondarystat"}[:len(p.Queries)] {
		fields := []string{"Value #" + letter(i)}
		if i == 0 {
			fields = append(fields, "Value") // where only one query has an answer
		}
		// The graph goes by the names of fields. To rename one only changes what is shown; a sum of one has a name of its own.
		m.Transformations = append(m.Transformations, transformation{"calculateField", options{"alias": stat, "mode": "reduceRow", "reduce": options{"include": fields, "reducer": "sum"}, "replaceFields": false}})
	}
}

// Text is a few lines of markdown. Its panel has a title and a description, but no query.
type Text struct{ Markdown string }

func (Text) plugin() string   { return "text" }
func (Text) size() (w, h int) { return 24, 3 }
func (Text) asks() asks       { return asks{} }

func (t Text) draw(_ Panel, m *panel) {
	m.Options = options{"code": options{"language": "plaintext", "showLineNumbers": false, "showMiniMap": false}, "content": t.Markdown, "mode": "markdown"}
}

// A Mapping shows a value as a word.
type Mapping struct {
	Value string
	Text  string
	Color string
}

// YesNo names the values 1 and 0.
func YesNo(yes, yesColor, no, noColor string) []Mapping {
	return []Mapping{{"1", yes, yesColor}, {"0", no, noColor}}
}

func mappings(list []Mapping) []options {
	if len(list) == 0 {
		return []options{}
	}
	values := options{}
	for i, m := range list {
		values[m.Value] = options{"color": cmp.Or(m.Color, neutral), "index": i, "text": m.Text}
	}
	return []options{{"options": values, "type": "value"}}
}

func links(list []Link, label string) []options {
	out := []options{}
	for _, l := range list {
		out = append(out, options{"targetBlank": false, "title": l.Title, "url": l.address(label)})
	}
	return out
}

func letter(i int) string { return fmt.Sprintf("%c", 'A'+i) }
