package promql

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// maxLintQuery bounds an expression: the explorer has it looked at while somebody types.
const maxLintQuery = 16 << 10

// parseExpr parses an expression that is not too long.
func parseExpr(expr string) (parser.Expr, error) {
	if len(expr) > maxLintQuery {
		return nil, fmt.Errorf("the expression has %d bytes; more than %d are not looked at", len(expr), maxLintQuery)
	}
	return lintParser.ParseExpr(expr)
}

// LintQuery looks at one expression that is drawn or shown. Places are those in the expression.
func LintQuery(expr string, o LintOptions) []Finding {
	l := newLinter("", []byte(expr), o)
	at := func(i int) int { return i }
	parsed, err := parseExpr(expr)
	if err != nil {
		l.reportParse(err, at)
		return l.sorted()
	}
	e := &exprLinter{linter: l, at: at, graph: true}
	e.lint(parsed)
	return l.sorted()
}

// LintHandler answers /api/yagura/lint?query=EXPR: what is likely to be wrong with it, seen with the types and series of this store.
func (s *Store) LintHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.FormValue("query")
		if query == "" || len(query) > maxLintQuery {
			lintReply(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf("query: want an expression of at most %d bytes, got %d", maxLintQuery, len(query))})
			return
		}
		findings := LintQuery(query, LintOptions{ScrapeInterval: s.opts.Config.ScrapeInterval, Types: s.types(),
			Exists: func(selector string) (bool, error) { return s.has(r.Context(), selector) }})
		lintReply(w, http.StatusOK, map[string]any{"data": append([]Finding{}, findings...)})
	})
}

func lintReply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // who asked may have gone
}

// types are those of the metrics that are scraped.
func (s *Store) types() map[string]string {
	types := map[string]string{}
	for _, targets := range s.scraper.TargetsActive() {
		for _, t := range targets {
			for _, m := range t.ListMetadata() {
				types[m.MetricFamily] = string(m.Type)
			}
		}
	}
	return types
}

// has says whether the store has such a series, of any time.
func (s *Store) has(ctx context.Context, selector string) (bool, error) {
	matchers, err := lintParser.ParseMetricSelector(selector)
	if err != nil {
		return false, err
	}
	q, err := s.db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return false, err
	}
	defer q.Close()
	names, _, err := q.LabelValues(ctx, labels.MetricName, nil, matchers...)
	return len(names) > 0, err
}
