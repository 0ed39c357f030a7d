package promql

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// LintDashboard looks at a dashboard of Grafana, in the classic JSON that is provisioned by files and exported.
func LintDashboard(file string, text []byte, o LintOptions) []Finding {
	l := newLinter(file, text, o)
	root, err := l.text.parseJSON()
	if err != nil {
		l.reportError(err)
		return l.sorted()
	}
	if inner := root.get("dashboard"); inner != nil { // as the API gives it
		root = inner
	}
	if root.kind != yaml.MappingNode || root.get("panels") == nil && root.get("rows") == nil {
		l.report("syntax", root.at, "this is no dashboard in Grafana's classic form: it has no `panels`")
		return l.sorted()
	}
	d := &dashboard{linter: l, root: root, ids: map[string]*lintNode{}, variables: map[string]*lintNode{}, used: map[string]bool{}}
	d.lint()
	return l.sorted()
}

// A dashboard is one while it is looked at.
type dashboard struct {
	*linter
	root      *lintNode
	ids       map[string]*lintNode
	variables map[string]*lintNode
	used      map[string]bool
	sources   []string // names of variables that are data sources
}

func (d *dashboard) lint() {
	d.head()
	d.readVariables()
	if rows := d.root.get("rows"); rows != nil && d.root.get("panels") == nil {
		d.report("syntax", rows.at, "`rows` with panels in them are of Grafana 4: import the dashboard once and export it anew")
		return
	}
	panels := d.root.get("panels").list()
	d.overlaps(panels)
	for _, p := range panels {
		d.panel(p)
		if inner := p.get("panels").list(); len(inner) > 0 {
			d.overlaps(inner)
			for _, q := range inner {
				d.panel(q)
			}
		}
	}
	for _, link := range d.root.get("links").list() {
		d.link(link)
	}
	d.annotations()
	d.uses(d.root)
	for name, v := range d.variables {
		if !d.used[name] && v.get("type").str() != "adhoc" {
			d.report("variable-unused", v.at, "the variable %s is not used: remove it", name)
		}
	}
}

// head looks at what a dashboard says of itself.
func (d *dashboard) head() {
	if d.root.get("title").str() == "" {
		d.report("title", d.root.at, "the dashboard has no title")
	}
	uid := d.root.get("uid")
	switch other := d.Boards[uid.str()]; {
	case uid.str() == "":
		d.report("uid", d.root.at, "the dashboard has no uid: links to it break whenever it is provisioned anew")
	case len(uid.text) > 40 || strings.Trim(uid.text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "":
		d.report("uid", uid.at, "the uid %q: it has at most 40 letters, digits, - and _", uid.text)
	case other != "" && other != d.file:
		d.reportAs(LintError, "uid", uid.at, "the uid %q is that of %s too: only one of them can be there", uid.text, other)
	case d.Boards != nil:
		d.Boards[uid.text] = d.file
	}
	if e := d.root.get("editable"); e == nil || e.text != "false" {
		at := d.root.at
		if e != nil {
			at = e.at
		}
		d.report("editable", at, "the dashboard is editable: what is changed in the browser is lost when its file is read again; set \"editable\": false")
	}
}

func (d *dashboard) readVariables() {
	for _, v := range d.root.dig("templating", "list").list() {
		name := v.get("name").str()
		switch {
		case name == "":
			d.report("variable", v.at, "the variable has no name")
			continue
		case d.variables[name] != nil:
			d.report("variable", v.at, "a variable %s is there already", name)
		}
		d.variables[name] = v
		switch v.get("type").str() {
		case "datasource":
			d.sources = append(d.sources, name)
		case "query":
			d.queryVariable(name, v)
		}
	}
	if len(d.sources) == 0 {
		d.report("datasource", d.root.at, "the data source is no variable, so the dashboard works only where its uid is the same: add a variable of type datasource, and use it in all panels")
	}
}

func (d *dashboard) queryVariable(name string, v *lintNode) {
	if refresh := v.get("refresh"); refresh.str() != "2" {
		at := v.at
		if refresh != nil {
			at = refresh.at
		}
		d.report("variable-refresh", at, "the variable %s keeps the values of another time range: set \"refresh\": 2 (when the time range changes)", name)
	}
	d.source(v, "the variable "+name)
	query := v.get("query")
	if query != nil && query.kind == yaml.MappingNode {
		query = query.get("query")
	}
	if query.str() == "" {
		d.report("variable", v.at, "the variable %s has no query", name)
		return
	}
	expr, at, ok := variableQuery(query.text)
	if !ok {
		d.report("variable", query.at, "%q is no query of a variable: label_values(metric, label), label_names(), metrics(regexp) or query_result(expression)", query.text)
		return
	}
	if expr != "" {
		d.expression("variable", query, expr, at, true)
	}
}

// expression looks at PromQL that stands in a string of the dashboard, and returns its syntax tree.
func (d *dashboard) expression(rule string, n *lintNode, expr string, at int, instant bool) parser.Expr {
	filled, parsed, err := parseFilled(expr)
	place := func(i int) int { return d.text.within(n, at+filled.origin(i)) }
	if err != nil {
		if rule == "promql" {
			d.reportParse(err, place)
		} else {
			d.report(rule, place(0), "%q: %v", expr, err)
		}
		return nil
	}
	e := &exprLinter{linter: d.linter, at: place, filled: isFilled, graph: true}
	if rule == "variable" { // it only asks which series there are
		return parsed
	}
	e.lint(parsed)
	if !instant {
		d.rateInterval(expr, filled, parsed, place)
	}
	return parsed
}

// rateInterval finds windows that do not grow with the step of a graph. Those of an hour or more are meant.
func (d *dashboard) rateInterval(expr string, filled filledExpr, parsed parser.Expr, place func(int) int) {
	parser.Inspect(parsed, func(n parser.Node, path []parser.Node) error {
		m, ok := n.(*parser.MatrixSelector)
		function := enclosing(path)
		if !ok || !slices.Contains(counterFunctions[:3], function) {
			return nil
		}
		end := int(m.PositionRange().End)
		window := expr[min(filled.origin(strings.LastIndexByte(filled.text[:end], '[')), len(expr)):min(filled.origin(end), len(expr))]
		switch {
		case strings.Contains(window, "$__interval"), strings.Contains(window, "${__interval"):
			d.report("rate-interval", place(int(m.PositionRange().Start)), "%s() over $__interval has one sample or none where the step is short: use $__rate_interval", function)
		case !strings.ContainsAny(window, "$") && !strings.Contains(window, "[[") && m.Range < time.Hour:
			d.report("rate-interval", place(int(m.PositionRange().Start)), "%s() over %s skips what lies between the points once the step is longer: use $__rate_interval", function, strings.Trim(window, "[]"))
		}
		return nil
	})
}

// What has no query, no unit, or needs no description.
var (
	textPanels  = []string{"row", "text", "dashlist", "alertlist", "annolist", "news", "welcome", "gettingstarted"}
	unitPanels  = []string{"timeseries", "stat", "gauge", "bargauge", "barchart", "histogram", "heatmap", "trend", "xychart"}
	grownPanels = map[string]string{"graph": "timeseries", "singlestat": "stat", "table-old": "table", "grafana-singlestat-panel": "stat", "grafana-piechart-panel": "piechart", "grafana-worldmap-panel": "geomap", "heatmap-new": "heatmap"}
)

func (d *dashboard) panel(p *lintNode) {
	id, kind := p.get("id"), p.get("type").str()
	switch {
	case id.str() == "":
		d.report("panel-id", p.at, "the panel has no id")
	case d.ids[id.text] != nil:
		line, _ := d.text.position(d.ids[id.text].at)
		d.report("panel-id", id.at, "a panel of line %d has the id %s too", line, id.text)
	default:
		d.ids[id.text] = id
	}
	if p.dig("libraryPanel", "uid").str() != "" {
		return // it is somewhere else
	}
	if by := grownPanels[kind]; by != "" {
		d.report("panel-type", p.get("type").at, "panels of type %s are gone from Grafana: use %s", kind, by)
	}
	if kind == "" {
		d.report("panel-type", p.at, "the panel has no type")
	}
	d.words(p, kind)
	d.fields(p, kind)
	for _, link := range slices.Concat(p.get("links").list(), p.dig("fieldConfig", "defaults", "links").list()) {
		d.link(link)
	}
	if !slices.Contains(textPanels, kind) {
		d.source(p, "the panel")
		d.targets(p, kind)
	}
}

func (d *dashboard) words(p *lintNode, kind string) {
	if p.get("title").str() == "" && kind != "text" {
		d.report("title", p.at, "the panel has no title")
	}
	if p.get("description").str() == "" && !slices.Contains(textPanels, kind) {
		d.report("description", p.at, "the panel %q has no description: say what is bad, and what to look at then", p.get("title").str())
	}
}

// source looks at the data source of a panel, a target or a variable.
func (d *dashboard) source(n *lintNode, what string) {
	source := n.get("datasource")
	name := source
	if source != nil && source.kind == yaml.MappingNode {
		name = source.get("uid")
	}
	text := name.str()
	switch {
	case source == nil || text == "":
		if len(d.sources) > 0 && what != "the target" {
			d.report("datasource", n.at, "%s uses whatever data source is the default: set it to ${%s}", what, d.sources[0])
		}
	case strings.HasPrefix(text, "--"), text == "grafana": // -- Mixed --, -- Dashboard --, -- Grafana --
	case !strings.Contains(text, "$") && !strings.Contains(text, "[["):
		d.report("datasource", name.at, "%s has the data source %q, which only one Grafana has: use a variable of type datasource", what, text)
	}
}

func (d *dashboard) fields(p *lintNode, kind string) {
	defaults := p.dig("fieldConfig", "defaults")
	unit := defaults.get("unit")
	switch {
	case unit.str() != "" && !isGrafanaUnit(unit.text) && !strings.Contains(unit.text, "$"):
		d.report("unit", unit.at, "Grafana knows no unit %q%s", unit.text, nearUnit(unit.text))
	case unit.str() == "" && slices.Contains(unitPanels, kind):
		d.report("unit", p.at, "the panel %q has no unit: set fieldConfig.defaults.unit, to short or none for mere numbers", p.get("title").str())
	}
	d.thresholds(defaults.get("thresholds"))
	for _, o := range p.dig("fieldConfig", "overrides").list() {
		for _, property := range o.get("properties").list() {
			switch value := property.get("value"); property.get("id").str() {
			case "unit":
				if value.str() != "" && !isGrafanaUnit(value.text) {
					d.report("unit", value.at, "Grafana knows no unit %q%s", value.text, nearUnit(value.text))
				}
			case "thresholds":
				d.thresholds(value)
			case "links":
				for _, link := range value.list() {
					d.link(link)
				}
			}
		}
	}
}

// nearUnit suggests what is written alike.
func nearUnit(unit string) string {
	common := map[string]string{"seconds": "s", "milliseconds": "ms", "microseconds": "µs", "us": "µs", "minutes": "m", "hours": "h", "days": "d", "ratio": "percentunit", "percentage": "percent",
		"byte": "bytes", "bytes/sec": "binBps", "bytes_per_second": "binBps", "count": "short", "number": "short", "cores": "short", "hz": "hertz", "per_second": "ops"}
	for _, u := range grafanaUnits {
		if strings.EqualFold(u, unit) {
			return fmt.Sprintf(": did you mean %q?", u)
		}
	}
	if near := common[strings.ToLower(unit)]; near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

func (d *dashboard) thresholds(t *lintNode) {
	if t == nil {
		return
	}
	if mode := t.get("mode"); mode != nil && mode.str() != "absolute" && mode.str() != "percentage" {
		d.report("thresholds", mode.at, "thresholds are absolute or percentage, not %q", mode.str())
	}
	last, begun := 0.0, false
	for i, step := range t.get("steps").list() {
		value := step.get("value")
		if i == 0 {
			if value.str() != "" {
				d.report("thresholds", value.at, "the first threshold is the base and has the value null, not %s", value.text)
			}
			continue
		}
		v, err := strconv.ParseFloat(value.str(), 64)
		switch {
		case err != nil:
			d.report("thresholds", step.at, "the threshold has no value")
		case begun && v <= last:
			d.report("thresholds", value.at, "the threshold %v is not above the one before it, %v", v, last)
		}
		last, begun = v, err == nil
	}
}

func (d *dashboard) targets(p *lintNode, kind string) {
	refs, asked := map[string]bool{}, 0
	for _, t := range p.get("targets").list() {
		if t.get("datasource") != nil {
			d.source(t, "the target")
		}
		if ref := t.get("refId"); ref.str() != "" {
			if refs[ref.text] {
				d.report("target", ref.at, "a target %s is there already: each has a refId of its own", ref.text)
			}
			refs[ref.text] = true
		}
		expr := t.get("expr")
		if expr == nil && isOtherSource(p, t) {
			asked++
			continue
		}
		if strings.TrimSpace(expr.str()) == "" {
			d.report("target", t.at, "the target has no `expr`")
			continue
		}
		asked++
		instant := t.get("instant").str() == "true" && t.get("range").str() != "true"
		if parsed := d.expression("promql", expr, expr.text, 0, instant); parsed != nil {
			d.legend(t.get("legendFormat"), labelsOf(parsed))
		}
	}
	if asked == 0 && len(p.get("targets").list()) == 0 {
		d.report("target", p.at, "the panel %q asks nothing: give it a target, or remove it", p.get("title").str())
	}
}

// isOtherSource says whether a target asks something else than PromQL.
func isOtherSource(p, t *lintNode) bool {
	for _, n := range []*lintNode{t, p} {
		source := n.get("datasource")
		if kind := source.get("type").str(); kind != "" {
			return kind != "prometheus"
		}
		if strings.HasPrefix(source.str(), "--") {
			return true
		}
	}
	return false
}

// legendLabel is a label in a legend, in Grafana's own template language.
var legendLabel = regexp.MustCompile(`\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}`)

func (d *dashboard) legend(n *lintNode, out labelSet) {
	for _, m := range legendLabel.FindAllStringSubmatchIndex(n.str(), -1) {
		if name := n.text[m[2]:m[3]]; !out.may(name) && name != "__name__" && !slices.ContainsFunc(out.list(), isFilled) {
			left := ""
			if out.closed {
				left = ", only " + orNone(out.list())
			}
			d.report("legend-label", d.text.within(n, m[2]), "the legend shows %s, which the expression does not leave%s", name, left)
		}
	}
}

// A box is where a panel lies.
type box struct{ x, y, w, h int }

func boxOf(p *lintNode) (b box, ok bool) {
	for _, f := range []struct {
		key string
		to  *int
	}{{"x", &b.x}, {"y", &b.y}, {"w", &b.w}, {"h", &b.h}} {
		n, err := strconv.Atoi(p.dig("gridPos", f.key).str())
		if err != nil {
			return b, false
		}
		*f.to = n
	}
	return b, true
}

// maxOverlapPanels bounds a comparison of all with all.
const maxOverlapPanels = 1000

func (d *dashboard) overlaps(panels []*lintNode) {
	var before []box
	for _, p := range panels[:min(len(panels), maxOverlapPanels)] {
		b, ok := boxOf(p)
		switch {
		case !ok:
			d.report("overlap", p.at, "the panel has no gridPos with x, y, w and h")
		case b.x < 0 || b.y < 0 || b.w < 1 || b.h < 1 || b.x+b.w > 24:
			d.report("overlap", p.get("gridPos").at, "the panel lies outside of the 24 columns: x %d, w %d, h %d", b.x, b.w, b.h)
		}
		for j, o := range before {
			if ok && b.x < o.x+o.w && o.x < b.x+b.w && b.y < o.y+o.h && o.y < b.y+b.h {
				d.report("overlap", p.get("gridPos").at, "the panel %q lies on %q", p.get("title").str(), panels[j].get("title").str())
			}
		}
		before = append(before, b)
	}
}

// dashboardURL is a link to a dashboard by its uid.
var dashboardURL = regexp.MustCompile(`(?:^|/|\})d/([a-zA-Z0-9_-]+|\$\{?\w+\}?)`)

func (d *dashboard) link(n *lintNode) {
	url := n.get("url")
	if n.get("type").str() == "dashboards" {
		if n.get("keepTime").str() != "true" {
			d.report("link-time", n.at, "the link to other dashboards does not keep the time range: set \"keepTime\": true")
		}
		return
	}
	m := dashboardURL.FindStringSubmatchIndex(url.str())
	if m == nil {
		return
	}
	uid := url.text[m[2]:m[3]]
	if _, known := d.Boards[uid]; d.Boards != nil && !known && !strings.Contains(uid, "$") {
		d.report("link", d.text.within(url, m[2]), "no dashboard has the uid %q", uid)
	}
	keeps := strings.Contains(url.text, "__url_time_range") || strings.Contains(url.text, "from=") || n.get("keepTime").str() == "true"
	if !keeps {
		d.report("link-time", url.at, "the link does not keep the time range: add ${__url_time_range} to its URL, or set \"keepTime\": true")
	}
}

func (d *dashboard) annotations() {
	for _, a := range d.root.dig("annotations", "list").list() {
		if a.get("builtIn").str() == "1" {
			continue
		}
		d.source(a, "the annotation")
		expr := a.get("expr")
		if expr == nil {
			expr = a.dig("target", "expr")
		}
		if expr.str() != "" {
			d.expression("promql", expr, expr.text, 0, true)
		}
	}
}

// uses finds variables that are used, and reports those that nothing defines.
func (d *dashboard) uses(n *lintNode) {
	if n == nil {
		return
	}
	if n.kind == yaml.ScalarNode && n.tag == "!!str" {
		usedVariables(n.text, func(name string, at int) {
			d.used[name] = true
			if d.variables[name] == nil && !strings.HasPrefix(name, "__") && !strings.HasPrefix(name, "DS_") && !strings.HasPrefix(name, "VAR_") {
				d.report("variable", d.text.within(n, at), "no variable is called %q", name)
			}
		})
	}
	for _, item := range n.items {
		d.uses(item)
	}
	for _, p := range n.keys {
		d.usesOf(p)
	}
}

// usesOf leaves out texts in which a dollar is a dollar, and knows where variables are named without one.
func (d *dashboard) usesOf(p lintPair) {
	switch p.key.text {
	case "repeat":
		d.used[p.value.str()] = true
		if name := p.value.str(); name != "" && d.variables[name] == nil {
			d.report("variable", p.value.at, "no variable is called %q to repeat by", name)
		}
	case "description", "regex", "current", "options":
	default:
		if p.key.text == "url" && strings.Contains(p.value.str(), "__all_variables") || p.key.text == "includeVars" && p.value.str() == "true" {
			for name := range d.variables {
				d.used[name] = true
			}
		}
		d.uses(p.value)
	}
}
