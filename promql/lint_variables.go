package promql

import (
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// Variables of a dashboard: $name, ${name}, ${name:format}, ${name.field}, [[name]] and [[name:format]].
var grafanaVariable = regexp.MustCompile(`\$\{(\w+)(?:[.:][^}]*)?\}|\$(\w+)|\[\[(\w+)(?::\w+)?\]\]`)

// grafanaBuiltins are variables that every dashboard has; fieldsOfData are those of data links.
var grafanaBuiltins = map[string]bool{"__interval": true, "__interval_ms": true, "__rate_interval": true, "__rate_interval_ms": true, "__range": true, "__range_s": true, "__range_ms": true,
	"__from": true, "__to": true, "__dashboard": true, "__org": true, "__user": true, "timeFilter": true, "__timeFilter": true, "__name": true, "__searchFilter": true,
	"__all_variables": true, "__url_time_range": true, "__url": true, "__value": true, "__field": true, "__series": true, "__data": true, "__cell": true, "__value_raw": true, "__auto": true}

// variableMark stands for a variable's value in what is parsed.
const variableMark = "yagura_variable"

// A filled expression is one without variables, and knows where in the original each of its bytes was.
type filledExpr struct {
	text string
	from []int // of each byte of text, and of its end
}

func (f filledExpr) origin(i int) int { return f.from[min(max(i, 0), len(f.from)-1)] }

// isFilled says whether a text has something of a variable.
func isFilled(text string) bool { return strings.Contains(text, variableMark) }

// parseFilled parses an expression with its variables replaced by what can stand there: where a variable may be a name or a
// number only trying tells.
func parseFilled(expr string) (filled filledExpr, parsed parser.Expr, err error) {
	for i, plain := range []string{variableMark, "1", "5m", ""} {
		f := fillVariables(expr, plain)
		p, failed := parseExpr(f.text)
		if failed == nil {
			return f, p, nil
		}
		if i == 0 {
			filled, err = f, failed
		}
	}
	return filled, nil, err
}

// fillVariables replaces variables; plain is for those that are neither in brackets nor in quotes.
func fillVariables(expr, plain string) filledExpr {
	var f filledExpr
	var text strings.Builder
	add := func(s string, at int, moving bool) {
		text.WriteString(s)
		for i := range len(s) {
			if moving {
				f.from = append(f.from, at+i)
			} else {
				f.from = append(f.from, at)
			}
		}
	}
	last := 0
	for _, m := range grafanaVariable.FindAllStringSubmatchIndex(expr, -1) {
		add(expr[last:m[0]], last, true)
		add(valueFor(expr, m[0], m[1], variableName(expr, m), plain), m[0], false)
		last = m[1]
	}
	add(expr[last:], last, true)
	f.text, f.from = text.String(), append(f.from, len(expr))
	return f
}

func variableName(expr string, m []int) string {
	for i := 2; i+1 < len(m); i += 2 {
		if m[i] >= 0 {
			return expr[m[i]:m[i+1]]
		}
	}
	return ""
}

// valueFor is something that can stand where a variable does.
func valueFor(expr string, at, end int, name, plain string) string {
	before := expr[:at]
	quoted := false
	for i := 0; i < len(before); i++ {
		switch {
		case quoted && before[i] == '\\':
			i++
		case before[i] == '"':
			quoted = !quoted
		}
	}
	trimmed := strings.TrimRight(before, " \t\n")
	switch {
	case quoted:
		return variableMark
	case strings.HasSuffix(name, "_ms"), strings.HasSuffix(name, "_s"), end < len(expr) && strings.IndexByte("smhdwy", expr[end]) >= 0:
		return "3600" // a number; its unit follows where there is one
	case strings.LastIndexByte(before, '[') > strings.LastIndexByte(before, ']'), strings.HasSuffix(trimmed, "offset"):
		return "1h"
	case strings.HasPrefix(name, "__"):
		return "1h"
	}
	return plain
}

// usedVariables calls use for every variable in a text that is not one that Grafana has itself.
func usedVariables(text string, use func(name string, at int)) {
	for _, m := range grafanaVariable.FindAllStringSubmatchIndex(text, -1) {
		if name := variableName(text, m); !grafanaBuiltins[name] && !isDigits(name) {
			use(name, m[0])
		}
	}
}

// isDigits says whether it is a group of a regular expression, $1, not a variable.
func isDigits(name string) bool { return strings.Trim(name, "0123456789") == "" }

// Queries of variables.
var (
	labelValuesQuery = regexp.MustCompile(`^label_values\(\s*(?:(?s:(.+)),\s*)?([a-zA-Z_$][\w${}]*)\s*\)$`)
	queryResultQuery = regexp.MustCompile(`^query_result\((?s:(.+))\)$`)
	namesQuery       = regexp.MustCompile(`^(?:label_names\((?s:(.*))\)|metrics\((?s:(.+))\))$`)
)

// variableQuery returns the PromQL in the query of a variable, where it begins, and whether it is a query at all.
func variableQuery(query string) (expr string, at int, ok bool) {
	trimmed := strings.TrimSpace(query)
	shift := strings.Index(query, trimmed)
	if m := labelValuesQuery.FindStringSubmatchIndex(trimmed); m != nil {
		if m[2] < 0 {
			return "", 0, true
		}
		return trimmed[m[2]:m[3]], shift + m[2], true
	}
	if m := queryResultQuery.FindStringSubmatchIndex(trimmed); m != nil {
		return trimmed[m[2]:m[3]], shift + m[2], true
	}
	if namesQuery.MatchString(trimmed) {
		return "", 0, true
	}
	for _, function := range []string{"label_values", "query_result", "label_names", "metrics"} {
		if strings.HasPrefix(trimmed, function+"(") {
			return "", 0, false
		}
	}
	return trimmed, shift, trimmed != "" // series of a selector
}
