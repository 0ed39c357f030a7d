package promql

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// An exprLinter looks at one expression.
type exprLinter struct {
	*linter
	at       func(i int) int      // offset in the text of the i-th byte of the expression
	recorded map[string]*lintRule // of the same file
	filled   func(string) bool    // whether a string of the expression stands for a variable of a dashboard; may be nil
	labels   labeller
	graph    bool // the expression is drawn over time, not a rule: it may look ahead or at a fixed time
}

func (l *exprLinter) lint(expr parser.Expr) {
	l.labels = labeller{}
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			l.selector(n, path)
		case *parser.MatrixSelector:
			l.window(n, path)
		case *parser.SubqueryExpr:
			l.subquery(n, path)
		case *parser.AggregateExpr:
			l.aggregate(n)
		case *parser.BinaryExpr:
			l.binary(n)
		case *parser.Call:
			l.call(n)
		}
		return nil
	})
}

func (l *exprLinter) tell(rule string, n parser.Node, format string, args ...any) {
	l.report(rule, l.at(int(n.PositionRange().Start)), format, args...)
}

// Functions by what they are for.
var (
	counterFunctions = []string{"rate", "increase", "irate", "resets"}
	gaugeFunctions   = []string{"delta", "idelta", "deriv", "predict_linear", "double_exponential_smoothing"}
	// What asks whether and how often there is a series or a change, whatever its value.
	existence = []string{"absent", "absent_over_time", "present_over_time", "count_over_time", "changes", "timestamp",
		"ts_of_first_over_time", "ts_of_last_over_time", "ts_of_min_over_time", "ts_of_max_over_time"}
)

// kind is what is known of a metric's type: counter, gauge, histogram (native), or nothing.
func (l *linter) kind(name string) string {
	if t := l.Types[name]; t != "" && t != "unknown" {
		if t == "histogram" || t == "counter" || t == "summary" {
			return t
		}
		return "gauge"
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		base, ok := strings.CutSuffix(name, suffix)
		switch t := l.Types[base]; {
		case !ok:
		case t == "histogram", t == "summary":
			return "counter"
		case t == "gaugehistogram":
			return "gauge"
		case strings.Contains(name, ":"):
			return ""
		case len(l.Types) == 0, suffix == "_bucket":
			return "counter"
		}
	}
	if strings.HasSuffix(name, "_total") && !strings.Contains(name, ":") {
		return "counter"
	}
	return ""
}

// selector looks at what selects series, but for the window around it.
func (l *exprLinter) selector(n *parser.VectorSelector, path []parser.Node) {
	l.matchers(n)
	l.offsets(n, n.OriginalOffset, n.Timestamp, n.StartOrEnd)
	l.exists(n, path)
	function, raw := readThrough(path, n)
	switch kind := l.kind(n.Name); {
	case kind == "gauge" && slices.Contains(counterFunctions, function):
		l.tell("rate-gauge", n, "%s is a gauge: %s() takes each fall for a restart; use delta(), deriv() or avg_over_time()", n.Name, function)
	case kind != "counter":
	case slices.Contains(gaugeFunctions, function):
		l.tell("delta-counter", n, "%s is a counter: %s() takes a restart for a fall; use increase() or rate()", n.Name, function)
	case raw:
		l.tell("counter-raw", n, "%s is a counter, whose value says only how much there was since some restart: use rate() or increase()", n.Name)
	}
	if function != "" && slices.Contains(counterFunctions, function) {
		l.recordedRate(n, function)
	}
}

// readThrough says which function looks at the samples of a selector, and whether its value is used as it is.
func readThrough(path []parser.Node, selector parser.Node) (function string, raw bool) {
	below := selector
	for i := len(path) - 1; i >= 0; i-- {
		switch n := path[i].(type) {
		case *parser.Call:
			if slices.Contains(counterFunctions, n.Func.Name) || slices.Contains(gaugeFunctions, n.Func.Name) || slices.Contains(existence, n.Func.Name) {
				return n.Func.Name, false
			}
		case *parser.AggregateExpr:
			if n.Op == parser.COUNT || n.Op == parser.GROUP {
				return "", false
			}
		case *parser.BinaryExpr:
			// What is there now and was not: x unless x offset 1h. Or what the right of `and` only has to be there for.
			if n.Op == parser.LUNLESS || n.Op == parser.LAND && below == parser.Node(n.RHS) {
				return "", false
			}
		}
		below = path[i]
	}
	return "", true
}

// recordedRate finds rates of what the same file records as a rate, or as a sum of counters.
func (l *exprLinter) recordedRate(n *parser.VectorSelector, function string) {
	if _, operation, ok := strings.Cut(n.Name, ":"); ok && function != "resets" && (strings.Contains(operation, "rate") || strings.Contains(operation, "increase")) {
		l.tell("rate-of-rate", n, "%s is a rate by its name: take it as it is, or avg_over_time() of it", n.Name)
		return
	}
	r := l.recorded[n.Name]
	if r == nil || r.parsed == nil {
		return
	}
	if metric := sumOfCounter(r.parsed, l.kind); metric != "" {
		l.tell("rate-of-sum", n, "%s is recorded as a sum of the counter %s: it falls when one of them ends, which %s() takes for a restart; record the sum of the rates", n.Name, metric, function)
	}
}

// sumOfCounter names the counter whose values e adds up as they are.
func sumOfCounter(e parser.Expr, kind func(string) string) (metric string) {
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok || kind(s.Name) != "counter" {
			return nil
		}
		added := slices.ContainsFunc(path, func(p parser.Node) bool {
			a, ok := p.(*parser.AggregateExpr)
			return ok && a.Op != parser.COUNT && a.Op != parser.GROUP
		})
		if _, raw := readThrough(path, s); raw && added {
			metric = s.Name
		}
		return nil
	})
	return metric
}

// matchers finds regular expressions that are none, or that match all or nothing.
func (l *exprLinter) matchers(n *parser.VectorSelector) {
	for _, m := range n.LabelMatchers {
		if m.Type != labels.MatchRegexp && m.Type != labels.MatchNotRegexp || l.filled != nil && l.filled(m.Value) {
			continue
		}
		not := m.Type == labels.MatchNotRegexp
		switch {
		case m.Value == ".*" && not:
			l.tell("regexp-none", n, "%s!~\".*\" leaves no series: remove it, or say what it must not be", m.Name)
		case m.Value == ".*":
			l.tell("regexp-any", n, "%s=~\".*\" matches every series, also those without the label: remove it", m.Name)
		case m.Value == ".+" && not, m.Value == "" && not:
		case isPlain(m.Value):
			op := map[bool]string{false: "=", true: "!="}[not]
			l.tell("regexp-plain", n, "%s%s%q has nothing that makes it a regular expression: write %s%s%q", m.Name, m.Type, m.Value, m.Name, op, unescape(m.Value))
		}
	}
}

// isPlain says whether a regular expression matches one text only.
func isPlain(pattern string) bool {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return false
	}
	re = re.Simplify()
	return re.Op == syntax.OpEmptyMatch || re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0
}

// unescape returns the text that a plain pattern matches.
func unescape(pattern string) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return pattern
	}
	return string(re.Rune)
}

// offsets finds looks into the future and at a fixed time.
func (l *exprLinter) offsets(n parser.Node, offset time.Duration, at *int64, startOrEnd parser.ItemType) {
	if l.graph {
		return
	}
	switch {
	case offset < 0:
		l.tell("offset", n, "offset %s looks ahead, where a rule finds no samples: did you mean offset %s?", "-"+model.Duration(-offset).String(), model.Duration(-offset))
	case at != nil:
		l.tell("offset", n, "@ with a fixed time gives a rule the same value for ever")
	case startOrEnd != 0:
		l.tell("offset", n, "@ start() and @ end() are now when a rule is evaluated: remove it")
	}
}

// window looks at the range of a selector.
func (l *exprLinter) window(n *parser.MatrixSelector, path []parser.Node) {
	function := enclosing(path)
	needed := 4 * l.ScrapeInterval
	if n.RangeExpr != nil || n.Range >= needed || !slices.Contains(counterFunctions[:3], function) && !slices.Contains(gaugeFunctions, function) {
		return
	}
	l.tell("rate-window", n, "%s() over %s: where one is scraped every %s, one failed scrape leaves too few samples; use %s or more (four scrapes)",
		function, model.Duration(n.Range), model.Duration(l.ScrapeInterval), model.Duration(needed))
}

// enclosing names the function that a node is the argument of.
func enclosing(path []parser.Node) string {
	for i := len(path) - 1; i >= 0; i-- {
		switch n := path[i].(type) {
		case *parser.Call:
			return n.Func.Name
		case parser.Expressions, *parser.ParenExpr, *parser.StepInvariantExpr:
		default:
			return ""
		}
	}
	return ""
}

func (l *exprLinter) subquery(n *parser.SubqueryExpr, path []parser.Node) {
	l.offsets(n, n.OriginalOffset, n.Timestamp, n.StartOrEnd)
	function := enclosing(path)
	if !slices.Contains(counterFunctions[:3], function) {
		return
	}
	if metric := sumOfCounter(n.Expr, l.kind); metric != "" {
		l.tell("rate-of-sum", n, "%s() of a sum of the counter %s: the sum falls when one series ends, which looks like a restart; write sum(%s(%s[…]))", function, metric, function, metric)
	}
	if hasRate(n.Expr) {
		l.tell("rate-of-rate", n, "%s() of what is a rate already: use avg_over_time() or deriv()", function)
	}
}

// hasRate says whether e reads a counter's rate.
func hasRate(e parser.Expr) (found bool) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		c, ok := n.(*parser.Call)
		found = found || ok && slices.Contains(counterFunctions[:3], c.Func.Name)
		return nil
	})
	return found
}

// aggregate finds labels that are gone already, and sums that one 0/0 spoils.
func (l *exprLinter) aggregate(n *parser.AggregateExpr) {
	inner := l.labels.of(n.Expr)
	if inner.closed && !n.Without {
		for _, name := range n.Grouping {
			if !inner.may(name) {
				l.tell("label-gone", n, "by (%s): what is aggregated has no such label left, only %s", name, orNone(inner.list()))
			}
		}
	}
	if slices.Contains([]parser.ItemType{parser.SUM, parser.AVG, parser.STDDEV, parser.STDVAR}, n.Op) {
		if at := divisionByZero(n.Expr); at != nil {
			l.tell("nan-in-aggregation", at, "where there is nothing to divide by this is NaN, and then %s() of all is: divide the sums, or let through only what is > 0 below the line", n.Op)
		}
	}
	if n.Op == parser.AVG || n.Op == parser.SUM {
		if c := callOf(n.Expr); c != nil && c.Func.Name == "histogram_quantile" {
			l.tell("average-of-quantiles", n, "%s() of quantiles is no quantile: histogram_quantile(…, sum by (…, le) (rate(…)))", n.Op)
		}
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// callOf returns the call that e is, in parentheses.
func callOf(e parser.Expr) *parser.Call {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return callOf(e.Expr)
	case *parser.Call:
		return e
	}
	return nil
}

// divisionByZero finds a division of vectors by rates, which are 0 where nothing happens, that no aggregation is between.
func divisionByZero(e parser.Expr) parser.Node {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return divisionByZero(e.Expr)
	case *parser.UnaryExpr:
		return divisionByZero(e.Expr)
	case *parser.Call:
		if e.Func.Name == "clamp_min" || e.Func.Name == "clamp_max" || e.Func.Name == "clamp" {
			return divisionByZero(e.Args[0])
		}
	case *parser.BinaryExpr:
		if e.Op == parser.DIV && e.RHS.Type() == parser.ValueTypeVector && hasRate(e.RHS) && !positive(e.RHS) {
			return e
		}
		if e.Op.IsComparisonOperator() && !e.ReturnBool {
			return nil // NaN compares with nothing
		}
		if at := divisionByZero(e.LHS); at != nil {
			return at
		}
		return divisionByZero(e.RHS)
	}
	return nil
}

// positive says whether an expression's values are not 0 by how it is written.
func positive(e parser.Expr) bool {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return positive(e.Expr)
	case *parser.Call:
		if n, ok := numberOf(e.Args, 1); e.Func.Name == "clamp_min" && ok {
			return n > 0
		}
	case *parser.BinaryExpr:
		n, ok := number(e.RHS)
		switch {
		case e.Op == parser.GTR || e.Op == parser.NEQ:
			return ok && n >= 0 && !e.ReturnBool
		case e.Op == parser.GTE, e.Op == parser.ADD:
			return ok && n > 0 && !e.ReturnBool
		case e.Op == parser.MUL || e.Op == parser.DIV:
			return positive(e.LHS)
		case e.Op == parser.LAND || e.Op == parser.LUNLESS:
			return positive(e.LHS)
		}
	}
	return false
}

func numberOf(args parser.Expressions, i int) (float64, bool) {
	if i >= len(args) {
		return 0, false
	}
	return number(args[i])
}

// number returns the number that e is.
func number(e parser.Expr) (float64, bool) {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return number(e.Expr)
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.UnaryExpr:
		n, ok := number(e.Expr)
		if e.Op == parser.SUB {
			n = -n
		}
		return n, ok
	}
	return 0, false
}

// binary looks at operators.
func (l *exprLinter) binary(n *parser.BinaryExpr) {
	if n.Op.IsComparisonOperator() {
		l.neverTrue(n)
		l.ratio(n)
	}
	if n.VectorMatching != nil && n.LHS.Type() == parser.ValueTypeVector && n.RHS.Type() == parser.ValueTypeVector {
		l.matching(n)
	}
}

// neverTrue finds comparisons of counts with 0.
func (l *exprLinter) neverTrue(n *parser.BinaryExpr) {
	limit, ok := number(n.RHS)
	what := neverZero(n.LHS)
	zero := n.Op == parser.EQLC && limit == 0 || n.Op == parser.LSS && limit > 0 && limit <= 1 || n.Op == parser.LTE && limit >= 0 && limit < 1
	if ok && zero && what != "" {
		l.tell("never-true", n, "%s is at least 1, or not there at all: use absent(), or `or vector(0)` in front of the comparison", what)
	}
}

// neverZero names what is never 0 but absent instead.
func neverZero(e parser.Expr) string {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return neverZero(e.Expr)
	case *parser.AggregateExpr:
		if e.Op == parser.COUNT || e.Op == parser.GROUP {
			return e.Op.String() + "()"
		}
	case *parser.Call:
		if slices.Contains([]string{"absent", "absent_over_time", "present_over_time", "count_over_time"}, e.Func.Name) {
			return e.Func.Name + "()"
		}
	}
	return ""
}

// ratio finds ratios that are compared as if they were percents.
func (l *exprLinter) ratio(n *parser.BinaryExpr) {
	limit, ok := number(n.RHS)
	if !ok || limit <= 1 || limit > 100 {
		return
	}
	if name := ratioName(n.LHS); name != "" {
		l.tell("ratio", n, "%s goes from 0 to 1, and is compared with %v: did you mean %v?", name, limit, limit/100)
	}
}

// ratioName names the ratio that an expression is: a metric of that name, or a part by its whole.
func ratioName(e parser.Expr) string {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return ratioName(e.Expr)
	case *parser.VectorSelector:
		if strings.HasSuffix(e.Name, "_ratio") {
			return e.Name
		}
	case *parser.AggregateExpr:
		if e.Op == parser.MAX || e.Op == parser.MIN || e.Op == parser.AVG {
			return ratioName(e.Expr)
		}
	case *parser.Call:
		if strings.HasSuffix(e.Func.Name, "_over_time") && e.Func.Name != "count_over_time" && e.Func.Name != "sum_over_time" && len(e.Args) > 0 {
			return ratioName(e.Args[len(e.Args)-1])
		}
	case *parser.MatrixSelector:
		return ratioName(e.VectorSelector)
	case *parser.BinaryExpr:
		if e.Op == parser.DIV && partOf(e.LHS, e.RHS) {
			return "a part divided by its whole"
		}
	}
	return ""
}

// partOf says whether one expression is another with more matchers.
func partOf(part, whole parser.Expr) bool {
	p, w := selectorsOf(part), selectorsOf(whole)
	if len(p) != 1 || len(w) != 1 || p[0].Name == "" || p[0].Name != w[0].Name {
		return false
	}
	return within(w[0].LabelMatchers, p[0].LabelMatchers) && skeleton(part, p[0]) == skeleton(whole, w[0])
}

// within says whether all matchers of a are among b's.
func within(a, b []*labels.Matcher) bool {
	for _, m := range a {
		if !slices.ContainsFunc(b, func(o *labels.Matcher) bool { return o.String() == m.String() }) {
			return false
		}
	}
	return true
}

// skeleton is an expression without the matchers of its one selector.
func skeleton(e parser.Expr, s *parser.VectorSelector) string {
	return strings.Replace(e.String(), s.String(), s.Name, 1)
}

func selectorsOf(e parser.Expr) (all []*parser.VectorSelector) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			all = append(all, s)
		}
		return nil
	})
	return all
}

// call looks at quantiles and absences.
func (l *exprLinter) call(n *parser.Call) {
	switch n.Func.Name {
	case "histogram_quantile":
		l.quantile(n)
	case "absent":
		if selectorOf(n.Args[0]) == nil {
			if _, aggregate := bare(n.Args[0]).(*parser.AggregateExpr); aggregate {
				l.tell("absent-aggregate", n, "absent() of an aggregation has no labels to tell what is missing: take absent() of the selector")
			}
		}
	}
}

func bare(e parser.Expr) parser.Expr {
	if p, ok := e.(*parser.ParenExpr); ok {
		return bare(p.Expr)
	}
	return e
}

func (l *exprLinter) quantile(n *parser.Call) {
	if q, ok := number(n.Args[0]); ok && (q < 0 || q > 1) {
		l.tell("quantile", n.Args[0], "the quantile %v: it goes from 0 to 1; did you mean %v?", q, q/100)
	}
	classic := slices.ContainsFunc(selectorsOf(n.Args[1]), func(s *parser.VectorSelector) bool { return strings.HasSuffix(s.Name, "_bucket") })
	if !classic {
		return
	}
	if s := l.labels.of(n.Args[1]); !s.may("le") {
		l.tell("quantile", n, "the buckets have lost their label le: sum by (…, le) (…)")
	}
	if a, ok := bare(n.Args[1]).(*parser.AggregateExpr); ok && a.Op != parser.SUM {
		l.tell("quantile", n, "buckets are counts, which sum() puts together, and %s() does not", a.Op)
	}
}

// exists asks the server that is given.
func (l *exprLinter) exists(n *parser.VectorSelector, path []parser.Node) {
	mayLack := slices.ContainsFunc(path, func(p parser.Node) bool {
		c, ok := p.(*parser.Call)
		return ok && strings.HasPrefix(c.Func.Name, "absent")
	})
	if l.Exists == nil || n.Name == "" || mayLack || l.filled != nil && l.filled(n.Name) || n.Name == "ALERTS" || n.Name == "ALERTS_FOR_STATE" || l.recorded[n.Name] != nil {
		return
	}
	if !l.ask(n, n.Name, "no series is called %s: is the name right, and what makes it on?", n.Name) {
		return
	}
	for _, m := range n.LabelMatchers {
		if m.Name != labels.MetricName && !m.Matches("") && (l.filled == nil || !l.filled(m.Value)) { // a variable may match nothing
			l.ask(n, fmt.Sprintf("%s{%s!=\"\"}", n.Name, m.Name), "no series %s has a label %s", n.Name, m.Name)
		}
	}
}

// ask tells, once for each selector, that there are no such series.
func (l *exprLinter) ask(n parser.Node, selector, format string, args ...any) bool {
	if found, asked := l.asked[selector]; asked {
		return found
	}
	found, err := l.Exists(selector)
	if err != nil {
		l.tell("series", n, "the server cannot say whether there are series %s: %v", selector, err)
		found = true
	} else if !found {
		l.tell("series", n, format, args...)
	}
	l.asked[selector] = found
	return found
}

// filters says whether an expression leaves out series by their values or presence, as an alert's must.
func filters(e parser.Expr) bool {
	if len(selectorsOf(e)) == 0 {
		return true // a watchdog, which always fires
	}
	switch e := e.(type) {
	case *parser.ParenExpr:
		return filters(e.Expr)
	case *parser.UnaryExpr:
		return filters(e.Expr)
	case *parser.AggregateExpr:
		return filters(e.Expr)
	case *parser.SubqueryExpr:
		return filters(e.Expr)
	case *parser.Call:
		return strings.HasPrefix(e.Func.Name, "absent") || e.Func.Name != "scalar" && e.Func.Name != "vector" &&
			slices.ContainsFunc(e.Args, func(a parser.Expr) bool { return len(selectorsOf(a)) > 0 && filters(a) })
	case *parser.BinaryExpr:
		return filtersBinary(e)
	}
	return false
}

func filtersBinary(e *parser.BinaryExpr) bool {
	side := func(e parser.Expr) bool { return len(selectorsOf(e)) > 0 && filters(e) }
	switch {
	case e.Op.IsComparisonOperator():
		return !e.ReturnBool || side(e.LHS) || side(e.RHS)
	case e.Op == parser.LUNLESS:
		return true
	case e.Op == parser.LOR:
		return side(e.LHS) && side(e.RHS)
	}
	return side(e.LHS) || side(e.RHS)
}

// noComparison says why an alert would always fire.
func noComparison(e parser.Expr) string {
	if b, ok := bare(e).(*parser.BinaryExpr); ok {
		switch {
		case b.ReturnBool:
			return "with `bool` a comparison gives 0 or 1 and leaves nothing out, so the alert fires always: remove `bool`"
		case b.Op == parser.LOR:
			return "one side of `or` is always there, so the alert fires always: compare both"
		}
	}
	return "nothing is compared, so the alert fires for every series that there is: compare with a threshold"
}

// findAbsent returns where absent() is called.
func findAbsent(e parser.Expr) (at int, found bool) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if c, ok := n.(*parser.Call); ok && c.Func.Name == "absent" && !found {
			at, found = int(c.PosRange.Start), true
		}
		return nil
	})
	return at, found
}

// timesHundred says whether what an alert compares was made a percentage.
func timesHundred(e parser.Expr) bool {
	b, ok := bare(e).(*parser.BinaryExpr)
	if !ok {
		return false
	}
	left, l := number(b.LHS)
	right, r := number(b.RHS)
	if b.Op == parser.MUL {
		return l && left == 100 || r && right == 100
	}
	return (b.Op.IsComparisonOperator() || b.Op == parser.LAND || b.Op == parser.LUNLESS) && timesHundred(b.LHS)
}
