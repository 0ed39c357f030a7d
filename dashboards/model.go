package dashboards

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/yagura-io/yagura/promql/library"
)

// What Grafana reads: its classic model, which every version up to 13 takes, in the order of these fields.
const (
	schemaVersion = 42
	pluginVersion = "11.0.0" // whose options the panels have
	width         = 24       // of the grid
)

type dashboard struct {
	ID           *int       `json:"id"` // Grafana's own
	UID          string     `json:"uid"`
	Title        string     `json:"title"`
	Description  string     `json:"description"`
	Tags         []string   `json:"tags"`
	Editable     bool       `json:"editable"`
	GraphTooltip int        `json:"graphTooltip"` // 1: one cross-hair for all panels
	Refresh      string     `json:"refresh"`
	Time         timeRange  `json:"time"`
	Timepicker   options    `json:"timepicker"`
	Timezone     string     `json:"timezone"`
	Schema       int        `json:"schemaVersion"`
	Links        []options  `json:"links"`
	Templating   templating `json:"templating"`
	Annotations  marks      `json:"annotations"`
	Panels       []panel    `json:"panels"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []options `json:"list"`
}

type marks struct {
	List []options `json:"list"`
}

type panel struct {
	ID              uint32           `json:"id"`
	Type            string           `json:"type"`
	Title           string           `json:"title"`
	Description     string           `json:"description,omitempty"`
	Grid            grid             `json:"gridPos"`
	Datasource      *datasource      `json:"datasource,omitempty"`
	PluginVersion   string           `json:"pluginVersion,omitempty"`
	Targets         []target         `json:"targets,omitempty"`
	FieldConfig     *fieldConfig     `json:"fieldConfig,omitempty"`
	Options         options          `json:"options,omitempty"`
	Transformations []transformation `json:"transformations,omitempty"`
	Collapsed       *bool            `json:"collapsed,omitempty"` // of rows
	Panels          *[]panel         `json:"panels,omitempty"`
}

type grid struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

var chosen = datasource{"prometheus", "${datasource}"}

type target struct {
	RefID      string     `json:"refId"`
	Datasource datasource `json:"datasource"`
	Expr       string     `json:"expr"`
	Legend     string     `json:"legendFormat"`
	Format     string     `json:"format"`
	Instant    bool       `json:"instant"`
	Range      bool       `json:"range"`
	Exemplar   bool       `json:"exemplar"`
	EditorMode string     `json:"editorMode"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []override    `json:"overrides"`
}

type fieldDefaults struct {
	Unit       string     `json:"unit"`
	Min        *float64   `json:"min,omitempty"`
	Max        *float64   `json:"max,omitempty"`
	Color      options    `json:"color"`
	Thresholds thresholds `json:"thresholds"`
	Mappings   []options  `json:"mappings"`
	Links      []options  `json:"links"`
	Custom     options    `json:"custom,omitempty"`
}

type thresholds struct {
	Mode  string `json:"mode"`
	Steps []step `json:"steps"`
}

type override struct {
	Matcher    matcher    `json:"matcher"`
	Properties []property `json:"properties"`
}

type matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

type property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

type transformation struct {
	ID      string  `json:"id"`
	Options options `json:"options"`
}

// JSON is the board as Grafana reads it, the same bytes every time.
func (b Board) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(b.model()); err != nil {
		return nil, fmt.Errorf("write dashboard %s: %w", b.UID, err)
	}
	return out.Bytes(), nil
}

func (b Board) model() dashboard {
	d := dashboard{
		UID: b.UID, Title: b.Title, Description: b.Description, Tags: append([]string{"yagura"}, b.Tags...),
		GraphTooltip: 1, Refresh: b.refresh(), Time: timeRange{"now-" + cmp.Or(b.From, "1h"), "now"}, Timepicker: options{}, Timezone: "browser", Schema: schemaVersion,
		Links: []options{{"asDropdown": true, "icon": "external link", "includeVars": true, "keepTime": true, "tags": []string{"yagura"}, "targetBlank": false,
			"title": "Yagura", "tooltip": "The other dashboards, with this time and these variables", "type": "dashboards", "url": ""}},
		Templating:  templating{List: []options{datasourceVariable()}},
		Annotations: marks{List: []options{ownAnnotations(), alertAnnotations()}},
	}
	for _, v := range b.variables() {
		d.Templating.List = append(d.Templating.List, v.model())
	}
	for _, a := range b.Annotations {
		d.Annotations.List = append(d.Annotations.List, a.model(b.expr(Query{Name: a.Query, Values: map[string]string{}})))
	}
	y := 0
	for _, row := range b.Rows {
		var panels []panel
		panels, y = b.row(row, y)
		d.Panels = append(d.Panels, panels...)
	}
	return d
}

// refresh is how often the board asks anew. What shows days does not change within seconds.
func (b Board) refresh() string {
	every := map[string]string{"": "30s", "1h": "30s", "3h": "1m", "6h": "1m"}[b.From]
	return cmp.Or(every, "5m")
}

// row lays out a row from y on, and says where the next begins. Panels go from left to right; one that does not fit begins a line.
func (b Board) row(r Row, y int) ([]panel, int) {
	var head []panel
	if r.Title != "" {
		folded := r.Folded
		head, y = []panel{{ID: id(r.Title), Type: "row", Title: r.Title, Grid: grid{0, y, width, 1}, Collapsed: &folded, Panels: &[]panel{}}}, y+1
	}
	panels := []panel{}
	x, line := 0, 0
	for _, p := range r.Panels {
		w, h := p.View.size()
		w, h = cmp.Or(p.Width, w), cmp.Or(p.Height, h)
		if x+w > width {
			x, y, line = 0, y+line, 0
		}
		panels = append(panels, b.panel(r, p, grid{x, y, w, h}))
		x, line = x+w, max(line, h)
	}
	if !r.Folded {
		return append(head, panels...), y + line
	}
	head[0].Panels = &panels // a folded row takes no room
	return head, head[0].Grid.Y + 1
}

func (b Board) panel(r Row, p Panel, at grid) panel {
	p = p.complete()
	m := panel{ID: id(r.Title + "/" + p.Title), Type: p.View.plugin(), Title: p.Title, Description: p.Description, Grid: at, PluginVersion: pluginVersion}
	if len(p.Queries) > 0 {
		m.Datasource = &chosen
		m.FieldConfig = &fieldConfig{
			Defaults: fieldDefaults{Unit: unitOf(p.Unit), Color: options{"mode": "thresholds"}, Thresholds: thresholds{"absolute", p.Thresholds.list()},
				Mappings: mappings(p.Mappings), Links: links(p.Links, "__field.labels")},
			Overrides: []override{},
		}
		if p.View.asks().format == "table" {
			m.FieldConfig.Defaults.Links = links(p.Links, "__data.fields")
		}
	}
	for i, q := range p.Queries {
		asks := p.View.asks()
		m.Targets = append(m.Targets, target{RefID: letter(i), Datasource: chosen, Expr: b.expr(q), Legend: cmp.Or(q.Legend, "__auto"), Format: asks.format,
			Instant: asks.instant, Range: !asks.instant, EditorMode: "code"})
	}
	p.View.draw(p, &m)
	return m
}

// id is a panel's number, which is in the address of its view. It comes from names, so that it stays when others come and go.
func id(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()>>1 | 1 // Grafana's are positive, and fit 31 bits
}

func unitOf(name string) string {
	u, ok := library.UnitOf(name)
	if !ok {
		panic(fmt.Sprintf("dashboards: no unit %q", name))
	}
	return u.Grafana
}

func datasourceVariable() options {
	return options{"current": options{}, "hide": 0, "includeAll": false, "label": "Data source", "multi": false, "name": "datasource", "options": []any{},
		"query": "prometheus", "refresh": 1, "regex": "", "type": "datasource"}
}

func (v Variable) model() options {
	var text, value any = []string{"All"}, []string{"$__all"}
	if v.Single {
		text, value = "All", "$__all"
	}
	return options{"allValue": ".*", "current": options{"text": text, "value": value}, "datasource": chosen, "definition": v.definition(), "description": v.Description,
		"hide": 0, "includeAll": true, "label": v.Label, "multi": !v.Single, "name": v.Name, "options": []any{},
		"query":   options{"qryType": 1, "query": v.definition(), "refId": "PrometheusVariableQueryEditor-VariableQuery"},
		"refresh": 2, "regex": "", "sort": 1, "type": "query"}
}

// ownAnnotations are those that people make in Grafana.
func ownAnnotations() options {
	return options{"builtIn": 1, "datasource": options{"type": "grafana", "uid": "-- Grafana --"}, "enable": true, "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
		"name": "Annotations & Alerts", "type": "dashboard"}
}

// alertsExpr are the alerts that fire. Those about all machines have no instance.
const alertsExpr = `ALERTS{alertstate="firing",severity!="none",job=~"$job|",instance=~"$instance|"}`

func alertAnnotations() options {
	return Annotation{Name: "Alerts", Title: "{{alertname}}", Text: "{{severity}} {{namespace}} {{pod}} {{container}} {{unit}}", Tags: "severity,component", Color: "red"}.model(alertsExpr)
}

func (a Annotation) model(expr string) options {
	return options{"datasource": chosen, "enable": true, "expr": expr, "hide": false, "iconColor": cmp.Or(a.Color, "orange"), "name": a.Name, "step": "30s",
		"tagKeys": a.Tags, "target": options{"expr": expr, "refId": "Anno"}, "textFormat": a.Text, "titleFormat": a.Title, "useValueForTime": false}
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
