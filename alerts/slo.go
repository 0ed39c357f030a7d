package alerts

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

//go:embed slos/default.yaml
var shippedSLOs []byte

// An SLO is a service level objective: which part of what is asked of a service goes well, over a window of time. What goes
// wrong is said by two queries, or by a histogram and how long something may take.
type SLO struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Objective   float64           `yaml:"objective"`  // the part that goes well, such as 0.999
	Errors      string            `yaml:"errors"`     // PromQL: how much goes wrong in a second, over [$window]
	Total       string            `yaml:"total"`      // PromQL: how much is asked in a second, over [$window], with the same labels
	Latency     *Latency          `yaml:"latency"`    // instead of errors and total
	Window      Span              `yaml:"window"`     // what the budget is for; 30d
	MinErrors   int               `yaml:"min_errors"` // fewer in the longer window of an alert do not count; 10
	Optional    bool              `yaml:"optional"`   // that nothing is asked is no reason for an alert
	Labels      map[string]string `yaml:"labels"`     // of all series and alerts of the objective, such as team

	line int
}

// A Latency is an objective of how long something takes: what took longer than the threshold went wrong.
type Latency struct {
	Histogram string   `yaml:"histogram"` // its name, without _bucket
	Threshold Span     `yaml:"threshold"` // one of the histogram's classic bounds, where those are kept
	Match     string   `yaml:"match"`     // further matchers, such as container="web"
	By        []string `yaml:"by"`        // labels to tell apart; job, instance and those of the workload
}

// A Span is a duration as Prometheus writes it: 30d, 1h30m, 250ms.
type Span time.Duration

// UnmarshalYAML reads a duration.
func (s *Span) UnmarshalYAML(text []byte) error {
	d, err := parseSpan(strings.Trim(strings.TrimSpace(string(text)), `"'`))
	*s = Span(d)
	return err
}

// UnmarshalYAML reads an objective, strictly, and notes where it stands.
func (s *SLO) UnmarshalYAML(node ast.Node) error {
	type plain SLO
	if err := yaml.NodeToValue(node, (*plain)(s), yaml.Strict()); err != nil {
		return err
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		s.line = t.Position.Line
		if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
			s.line = m.Values[0].Key.GetToken().Position.Line // the token of a mapping is its first colon
		}
	}
	return nil
}

// What may be asked for; beyond, it is a mistake.
const (
	maxSLOs        = 100
	maxQuery       = 4096
	maxLabels      = 16
	maxLabelText   = 256
	maxDescription = 1000
	minErrors      = 10
	shortestSpan   = 24 * time.Hour
	longestSpan    = 366 * 24 * time.Hour
)

// Rules of objectives are evaluated twice a minute, those of windows from two hours on every two minutes.
const (
	fast = 30 * time.Second
	slow = 2 * time.Minute
	hour = time.Hour
	day  = 24 * hour
)

// DefaultSLOs are the objectives that Yagura ships.
func DefaultSLOs() []SLO {
	slos, err := ParseSLOs("slos/default.yaml", shippedSLOs)
	if err != nil {
		panic(err) // the file is part of the program
	}
	return slos
}

// ParseSLOs reads a file with a list `slos`, strictly.
func ParseSLOs(name string, text []byte) ([]SLO, error) {
	var spec struct {
		SLOs []SLO `yaml:"slos"`
	}
	if err := yaml.UnmarshalWithOptions(text, &spec, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := checkSLOs(spec.SLOs); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return spec.SLOs, nil
}

// Generate makes a rule file of objectives: recording rules of what is asked and what goes wrong over each window, of what
// is left of the budget, and the burn-rate alerts. It is for a store that keeps samples for that long, 0 for ever: what
// needs longer is left out, and the file says so.
func Generate(spec []SLO, retention time.Duration) ([]byte, error) {
	if err := checkSLOs(spec); err != nil {
		return nil, err
	}
	g := &generator{retention: retention}
	g.objectives(spec)
	for _, s := range spec {
		g.indicators(s.complete())
	}
	g.windows()
	g.budgets(spec)
	g.alerts()
	return []byte(g.header() + g.text.String()), nil
}

// A burn is one of the alerts of an objective: it fires while errors come at so many times the rate that would use up
// just the budget, over both windows. The longer one says that it matters, the shorter one that it goes on.
type burn struct {
	factor      float64
	long, short time.Duration
	severity    string
	wait        time.Duration
}

// burns spend, of a budget for 30 days, 2 % in an hour, 5 % in six hours, and 10 % in one or three days.
var burns = []burn{
	{14.4, hour, 5 * time.Minute, "critical", 2 * time.Minute},
	{6, 6 * hour, 30 * time.Minute, "critical", 5 * time.Minute},
	{3, day, 2 * hour, "warning", 15 * time.Minute},
	{1, 3 * day, 6 * hour, "warning", hour},
}

// A generator writes the rule file. All series of objectives have the label slo, so that most rules are about all of them.
type generator struct {
	retention time.Duration
	text      strings.Builder
	leftOut   []string
	budgeted  bool // what is left of a budget is recorded
}

func (g *generator) header() string {
	head := "# Made of objectives by alerts.Generate; the shipped ones are in slos/default.yaml. Do not edit.\n"
	if len(g.leftOut) > 0 {
		head += fmt.Sprintf("# The store keeps %s, which is too short for:\n", span(g.retention))
	}
	for _, what := range g.leftOut {
		head += "#   " + what + "\n"
	}
	return head + "groups:\n"
}

// fits says whether the store has samples of such a window, and notes what is left out if not.
func (g *generator) fits(window time.Duration, what string) bool {
	if g.retention == 0 || window <= g.retention {
		return true
	}
	g.leftOut = append(g.leftOut, fmt.Sprintf("%s (%s)", what, span(window)))
	return false
}

func (g *generator) group(name string, interval time.Duration, comment string) {
	if g.text.Len() > 0 {
		g.text.WriteString("\n")
	}
	fmt.Fprintf(&g.text, "  # %s\n  - name: yagura-slo-%s\n    interval: %s\n    rules:\n", comment, name, span(interval))
}

func (g *generator) record(name, expr string, labels map[string]string) {
	fmt.Fprintf(&g.text, "      - record: %s\n", name)
	g.block("expr", expr)
	if len(labels) > 0 {
		g.text.WriteString("        labels:\n")
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&g.text, "          %s: %s\n", k, strconv.Quote(labels[k]))
	}
}

func (g *generator) block(key, text string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) == 1 && !strings.ContainsAny(text, "#:{}[]'\"") {
		fmt.Fprintf(&g.text, "        %s: %s\n", key, lines[0])
		return
	}
	fmt.Fprintf(&g.text, "        %s: |-\n", key)
	for _, line := range lines {
		if line = strings.TrimRight(line, " \t\r"); line != "" {
			line = "          " + line
		}
		g.text.WriteString(line + "\n")
	}
}

func (g *generator) objectives(spec []SLO) {
	g.group("objectives", fast, "What was promised, for joins on slo.")
	for _, s := range spec {
		s = s.complete()
		labels, traffic := s.labels(), map[bool]string{true: "optional", false: "expected"}[s.Optional]
		about := maps.Clone(labels)
		about["traffic"], about["window"] = traffic, span(time.Duration(s.Window))
		g.record("slo:objective:ratio", fmt.Sprintf("vector(%s)", number(s.Objective)), about)
		only := map[string]string{"slo": s.Name} // one series for each objective, as alerts divide by it
		g.record("slo:error_budget:ratio", fmt.Sprintf("vector(%s)", number(s.budget())), only)
		g.record("slo:min_errors:count", fmt.Sprintf("vector(%d)", s.MinErrors), only)
	}
}

// indicators records what is asked and what goes wrong. An objective without errors has to have a ratio too, so what has
// no errors yet has 0; the labels that the rules add are taken off for that again.
func (g *generator) indicators(s SLO) {
	g.group(s.Name, fast, s.comment())
	wrong, total := s.queries()
	labels := s.labels()
	g.record("slo:requests:rate5m", strings.ReplaceAll(total, "$window", "5m"), labels)
	g.record("slo:errors:rate5m", fmt.Sprintf("(\n%s\n)\nor\nmax without (%s) (slo:requests:rate5m{slo=%q}) * 0",
		indent(strings.ReplaceAll(wrong, "$window", "5m")), strings.Join(slices.Sorted(maps.Keys(labels)), ", "), s.Name), labels)
}

// windows records the part that went wrong over each window: all errors by all requests, so that a busy minute weighs more
// than a quiet one. Without requests there is no ratio, and what divides by nothing is no number.
func (g *generator) windows() {
	g.group("windows", fast, "The part that went wrong, of all objectives: sums of rates by sums of rates.")
	g.record("slo:errors:ratio_rate5m", "slo:errors:rate5m / (slo:requests:rate5m > 0)", nil)
	for _, w := range []time.Duration{30 * time.Minute, hour} {
		g.ratio(w, "rate5m")
	}
	g.group("long-windows", slow, "Longer ones; from a day on they are built from the hours.")
	per := fmt.Sprintf("%d / %d", fast/time.Second, hour/time.Second)
	g.record("slo:requests:rate1h", "sum_over_time(slo:requests:rate5m[1h]) * "+per, nil)
	g.record("slo:errors:rate1h", "sum_over_time(slo:errors:rate5m[1h]) * "+per, nil)
	for _, w := range []time.Duration{2 * hour, 6 * hour} {
		g.ratio(w, "rate5m")
	}
	for _, w := range []time.Duration{day, 3 * day} {
		g.ratio(w, "rate1h")
	}
}

func (g *generator) ratio(window time.Duration, of string) {
	name := "slo:errors:ratio_rate" + span(window)
	if g.fits(window, "the series "+name) {
		g.record(name, fmt.Sprintf("sum_over_time(slo:errors:%[1]s[%[2]s]) / (sum_over_time(slo:requests:%[1]s[%[2]s]) > 0)", of, span(window)), nil)
	}
}

func (g *generator) budgets(spec []SLO) {
	for _, s := range spec {
		s = s.complete()
		window := time.Duration(s.Window)
		if !g.fits(window, "what is left of the budget of "+s.Name) {
			continue
		}
		if !g.budgeted {
			g.group("budgets", slow, "What is left of each budget: 1 all of it, 0 nothing, below 0 it is overdrawn.")
			g.budgeted = true
		}
		g.record("slo:error_budget:remaining_ratio", fmt.Sprintf(
			"1 - sum_over_time(slo:errors:rate1h{slo=%[1]q}[%[2]s])\n    / (sum_over_time(slo:requests:rate1h{slo=%[1]q}[%[2]s]) > 0)\n    / on (slo) group_left () slo:error_budget:ratio",
			s.Name, span(window)), map[string]string{"slo": s.Name})
	}
}

func (s SLO) complete() SLO {
	if s.Window == 0 {
		s.Window = Span(30 * day)
	}
	if s.MinErrors == 0 {
		s.MinErrors = minErrors
	}
	return s
}

// budget is the part that may go wrong. It is rounded, since 1 - 0.999 is not quite 0.001 in binary.
func (s SLO) budget() float64 { return math.Round((1-s.Objective)*1e9) / 1e9 }

func (s SLO) labels() map[string]string {
	labels := map[string]string{"slo": s.Name}
	maps.Copy(labels, s.Labels)
	return labels
}

func (s SLO) comment() string {
	if s.Description == "" {
		return "The objective " + s.Name + "."
	}
	return strings.Join(strings.Fields(s.Description), " ")
}

// queries are what goes wrong and what is asked. A histogram is asked for its classic buckets, which are exact at their
// bounds, and where there is no such bound for the native one: had it neither, there would be no requests rather than no
// errors.
func (s SLO) queries() (wrong, total string) {
	if s.Latency == nil {
		return s.Errors, s.Total
	}
	l := *s.Latency
	by := strings.Join(l.By, ", ")
	if len(l.By) == 0 {
		by = "job, instance, namespace, pod, container, unit"
	}
	seconds := time.Duration(l.Threshold).Seconds()
	bound := strings.ReplaceAll(number(seconds), ".", `\\.`)
	if seconds == math.Trunc(seconds) {
		bound += `(\\.0)?` // Prometheus 3 writes 1 as 1.0
	}
	le := fmt.Sprintf("le=~%s", `"`+bound+`"`)
	classic, native := "{"+l.Match+"}", l.Histogram
	within := "{" + le + "}"
	if l.Match != "" {
		native, within = native+classic, "{"+le+", "+l.Match+"}"
	} else {
		classic = ""
	}
	total = fmt.Sprintf("sum by (%[1]s) (rate(%[2]s_count%[3]s[$window]))\n  and sum by (%[1]s) (rate(%[2]s_bucket%[4]s[$window]))\nor\n"+
		"sum by (%[1]s) (histogram_count(rate(%[5]s[$window])))", by, l.Histogram, classic, within, native)
	wrong = fmt.Sprintf("sum by (%[1]s) (rate(%[2]s_count%[3]s[$window]))\n  - sum by (%[1]s) (rate(%[2]s_bucket%[4]s[$window]))\nor\n"+
		"sum by (%[1]s) (histogram_fraction(%[5]s, +Inf, rate(%[6]s[$window])) * histogram_count(rate(%[6]s[$window])))",
		by, l.Histogram, classic, within, number(seconds), native)
	return wrong, total
}

const (
	burnExpr = `slo:errors:ratio_rate%[2]s / on (slo) group_left () slo:error_budget:ratio > %[1]s
and slo:errors:ratio_rate%[3]s / on (slo) group_left () slo:error_budget:ratio > %[1]s
and (%[4]s >= on (slo) group_left () slo:min_errors:count)`
	spender = `{{ with $labels.namespace }}{{ . }}/{{ end }}{{ with $labels.pod }}{{ . }}/{{ end }}{{ or $labels.container $labels.unit (and $labels.instance "the host") "all" }}{{ with $labels.instance }} on {{ . }}{{ end }}`
)

func (g *generator) alerts() {
	g.group("alerts", fast, "Burn rates: how many times faster than it lasts the budget is spent. Both windows have to say so.")
	for _, b := range burns {
		factor := number(b.factor)
		name := "SLOErrorBudgetBurn" + strings.ReplaceAll(factor, ".4", "") + "x"
		if !g.fits(b.long, "the alert "+name) {
			continue
		}
		count := fmt.Sprintf("sum_over_time(slo:errors:rate5m[%s]) * %d", span(b.long), fast/time.Second)
		if b.long >= day {
			count = fmt.Sprintf("sum_over_time(slo:errors:rate1h[%s]) * %d", span(b.long), slow/time.Second)
		}
		g.alert(name, fmt.Sprintf(burnExpr, factor, span(b.long), span(b.short), count), b.wait, b.severity,
			fmt.Sprintf("The error budget of {{ $labels.slo }} is spent more than %s times as fast as it lasts: %s.", factor, spender),
			fmt.Sprintf("Over the last %s errors came {{ $value | printf \"%%.1f\" }} times faster than the budget allows, and over the last %s more than %s times, too.",
				span(b.long), span(b.short), factor))
	}
	if g.budgeted {
		g.alert("SLOErrorBudgetExhausted", "slo:error_budget:remaining_ratio <= 0\nand (sum_over_time(slo:errors:rate1h[1d]) * 120 >= on (slo) group_left () slo:min_errors:count)", hour, "warning",
			"No error budget of {{ $labels.slo }} is left: "+spender+".",
			"Of the budget {{ $value | printf \"%.2f\" }} is left (1 is all of it, below 0 it is overdrawn), and in the last day more was spent: changes that can wait should.")
	}
	g.alert("SLOMeasuresNothing", "(slo:objective:ratio{traffic=\"expected\"} unless on (slo) slo:requests:rate5m) > 0", hour, "warning",
		"The objective {{ $labels.slo }} measures nothing.",
		"Its query of all requests has had no result for an hour: nothing is asked any more, or the query is not right. The promise is {{ $value | humanizePercentage }}.")
	g.alert("SLOLabelsDiffer", "count by (slo) (slo:errors:rate5m unless slo:requests:rate5m) > 0", 15*time.Minute, "warning",
		"Errors of the objective {{ $labels.slo }} have labels that its requests have not.",
		"{{ $value | humanize }} series of errors are held against no requests, so that they do not count. Both queries have to aggregate by the same labels.")
}

func (g *generator) alert(name, expr string, wait time.Duration, severity, summary, description string) {
	fmt.Fprintf(&g.text, "      - alert: %s\n", name)
	g.block("expr", expr)
	fmt.Fprintf(&g.text, "        for: %s\n        labels:\n          severity: %s\n          component: slo\n        annotations:\n", span(wait), severity)
	for _, a := range [][2]string{{"summary", summary}, {"description", description}} {
		fmt.Fprintf(&g.text, "          %s: >-\n            %s\n", a[0], a[1])
	}
	fmt.Fprintf(&g.text, "          runbook_url: https://github.com/yagura-io/yagura/blob/main/alerts/runbooks/slo.md#%s\n", strings.ToLower(name))
}

func indent(s string) string { return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") }

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

var (
	sloName    = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,62}$`)
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$`)
	reserved   = []string{"slo", "alertname", "severity", "component", "traffic", "window", "job", "instance", "namespace", "pod", "container", "unit", "le"}
)

// checkSLOs says what is wrong with the first objective that is not right.
func checkSLOs(spec []SLO) error {
	if len(spec) == 0 {
		return errors.New("no objective: want at least one")
	}
	if len(spec) > maxSLOs {
		return fmt.Errorf("%d objectives: want at most %d", len(spec), maxSLOs)
	}
	seen := map[string]bool{}
	for i, s := range spec {
		err := s.check()
		if err == nil && (seen[s.Name] || slices.Contains(groupNames, s.Name)) {
			err = fmt.Errorf("name %q: is taken, want another", s.Name)
		}
		if err != nil && s.line > 0 {
			return fmt.Errorf("slos[%d], line %d: %w", i, s.line, err)
		}
		if err != nil {
			return fmt.Errorf("slos[%d]: %w", i, err)
		}
		seen[s.Name] = true
	}
	return nil
}

// groupNames are those of the rule groups that are about all objectives.
var groupNames = []string{"objectives", "windows", "long-windows", "budgets", "alerts"}

func (s SLO) check() error {
	switch window := time.Duration(s.Window); {
	case !sloName.MatchString(s.Name):
		return fmt.Errorf("name %q: want small letters, digits, - and _, at most 63, and a letter first", s.Name)
	case math.IsNaN(s.Objective) || s.Objective < 0.5 || s.Objective > 0.999999:
		return fmt.Errorf("objective %v: want the part that goes well, from 0.5 to 0.999999", s.Objective)
	case s.Window != 0 && (window < shortestSpan || window > longestSpan):
		return fmt.Errorf("window %s: want from %s to %s", span(window), span(shortestSpan), span(longestSpan))
	case len(s.Description) > maxDescription || !plain(s.Description):
		return fmt.Errorf("description %q: want a text of at most %d bytes without control characters", short(s.Description), maxDescription)
	case s.MinErrors < 0:
		return fmt.Errorf("min_errors %d: want 0 or more", s.MinErrors)
	case s.Latency != nil && (s.Errors != "" || s.Total != ""):
		return errors.New("latency: want it instead of errors and total, not beside them")
	case s.Latency != nil:
		return errors.Join(s.Latency.check(), checkLabels(s.Labels))
	}
	return firstError(checkQuery("errors", s.Errors), checkQuery("total", s.Total), checkLabels(s.Labels))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l Latency) check() error {
	switch t := time.Duration(l.Threshold); {
	case !metricName.MatchString(l.Histogram) || strings.HasSuffix(l.Histogram, "_bucket"):
		return fmt.Errorf("latency.histogram %q: want the name of a histogram, without _bucket", l.Histogram)
	case t <= 0 || t > hour:
		return fmt.Errorf("latency.threshold %s: want more than 0 and at most 1h", span(t))
	case len(l.Match) > maxQuery || !balanced(l.Match) || strings.ContainsAny(l.Match, "#\n\r") || strings.ContainsAny(unquoted(l.Match), "{}"):
		return fmt.Errorf("latency.match %q: want matchers as they stand in braces, such as container=\"web\"", l.Match)
	}
	for i, name := range l.By {
		if !labelName.MatchString(name) || name == "le" {
			return fmt.Errorf("latency.by[%d] %q: want the name of a label", i, name)
		}
	}
	return nil
}

// checkQuery finds what would break the rule around a query, or say nothing of the window. Whether it is PromQL, who loads
// the rules says.
func checkQuery(field, query string) error {
	switch {
	case strings.TrimSpace(query) == "":
		return fmt.Errorf("%s: is missing: want PromQL with [$window], or latency instead of errors and total", field)
	case len(query) > maxQuery:
		return fmt.Errorf("%s: %d bytes: want at most %d", field, len(query), maxQuery)
	case !plain(query):
		return fmt.Errorf("%s %q: want text without control characters", field, short(query))
	case !strings.Contains(query, "[$window]"):
		return fmt.Errorf("%s %q: want [$window] as the range of its rate()", field, short(query))
	case !balanced(query):
		return fmt.Errorf("%s %q: a bracket or a quotation mark is open, or closes what is not open", field, short(query))
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("labels: %d of them: want at most %d", len(labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		switch value := labels[name]; {
		case !labelName.MatchString(name) || strings.HasPrefix(name, "__"):
			return fmt.Errorf("labels.%s: want letters, digits and _, and no digit first", strconv.Quote(name))
		case slices.Contains(reserved, name):
			return fmt.Errorf("labels.%s: is set by the rules, want another name", name)
		case value == "" || len(value) > maxLabelText || !printable(value):
			return fmt.Errorf("labels.%s %q: want a text of one line, at most %d bytes", name, short(value), maxLabelText)
		}
	}
	return nil
}

// plain says whether a text of several lines is one: YAML has no control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

func short(s string) string {
	if s = strings.Join(strings.Fields(s), " "); len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// unquoted is what of a query stands in no string.
func unquoted(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		n := 1
		if strings.IndexByte("\"'`", s[i]) >= 0 {
			n = quoted(s[i:])
		} else {
			out.WriteByte(s[i])
		}
		i += n
	}
	return out.String()
}

// balanced says whether all brackets and strings of a query are closed, so that it stays what it is in brackets of ours.
func balanced(s string) bool {
	var open []byte
	for i := 0; i < len(s); {
		n := 1
		switch c := s[i]; c {
		case '"', '\'', '`':
			if n = quoted(s[i:]); n < 2 || s[i+n-1] != c {
				return false
			}
		case '#':
			n = len(s[i:])
			if end := strings.IndexByte(s[i:], '\n'); end >= 0 {
				n = end
			}
		case '(', '[', '{':
			open = append(open, closing[c])
		case ')', ']', '}':
			if len(open) == 0 || open[len(open)-1] != c {
				return false
			}
			open = open[:len(open)-1]
		}
		i += n
	}
	return len(open) == 0
}

var closing = map[byte]byte{'(': ')', '[': ']', '{': '}'}

var spanParts = regexp.MustCompile(`^(?:(\d{1,3})w)?(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?(?:(\d{1,10})ms)?$`)

var spanUnits = []time.Duration{7 * day, day, hour, time.Minute, time.Second, time.Millisecond}

func parseSpan(s string) (time.Duration, error) {
	parts := spanParts.FindStringSubmatch(s)
	if s == "" || parts == nil {
		return 0, fmt.Errorf("duration %q: want numbers with w, d, h, m, s or ms, the largest first, such as 30d or 250ms", short(s))
	}
	var d time.Duration
	for i, unit := range spanUnits {
		n, _ := strconv.ParseInt("0"+parts[i+1], 10, 64)
		d += time.Duration(n) * unit
	}
	return d, nil
}

// span writes a duration as Prometheus does, in days rather than weeks.
func span(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	out := ""
	for i, unit := range spanUnits[1:] {
		if n := d / unit; n > 0 {
			out += strconv.FormatInt(int64(n), 10) + []string{"d", "h", "m", "s", "ms"}[i]
			d -= n * unit
		}
	}
	return out
}
