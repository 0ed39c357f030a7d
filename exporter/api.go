package exporter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A Query is what a request to /api/yagura/… asks for: rows of a time, of a workload, so many, after a cursor.
type Query struct {
	since, until time.Time
	limit, after int
	workload     map[string]string // by label, those that were given
	Sort         string            // one of the endpoint's orders
	Filters      map[string]string // of the endpoint's own, those that were given
}

// Bounds of limit.
const (
	defaultRows = 100
	maxRows     = 1000
)

// ParseQuery reads the parameters that all endpoints have, and sort where the endpoint has orders, of which the first is
// the default. An error names the parameter and what it wants.
func ParseQuery(values url.Values, orders ...string) (Query, error) {
	return parseQuery(values, nil, orders)
}

func parseQuery(values url.Values, filters, orders []string) (Query, error) {
	q := Query{limit: defaultRows, workload: map[string]string{}, Filters: map[string]string{}}
	if len(orders) > 0 {
		q.Sort = orders[0]
	}
	for name, given := range values {
		if len(given) != 1 {
			return q, fmt.Errorf("%s: given %d times, want once", name, len(given))
		}
		if slices.Contains(filters, name) {
			q.Filters[name] = given[0]
			continue
		}
		if err := q.set(name, given[0], orders); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q *Query) set(name, value string, orders []string) (err error) {
	switch {
	case slices.Contains(workloadLabels, name):
		q.workload[name] = value
	case name == "since":
		q.since, err = parseTime(name, value)
	case name == "until":
		q.until, err = parseTime(name, value)
	case name == "limit":
		if q.limit, err = strconv.Atoi(value); err != nil || q.limit < 1 || q.limit > maxRows {
			err = fmt.Errorf("limit: %q: want 1 to %d", value, maxRows)
		}
	case name == "cursor":
		if q.after, err = strconv.Atoi(value); err != nil || q.after < 0 {
			err = fmt.Errorf("cursor: %q: want what next was", value)
		}
	case name == "sort" && len(orders) > 0:
		if q.Sort = value; !slices.Contains(orders, value) {
			err = fmt.Errorf("sort: %q: want one of %q", value, orders)
		}
	default:
		err = fmt.Errorf("%s: unknown parameter", name)
	}
	return err
}

func parseTime(name, value string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return at, nil
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds >= 0 && seconds < 1<<40) {
		return time.Time{}, fmt.Errorf("%s: %q: want RFC 3339 or Unix seconds", name, value)
	}
	return time.UnixMilli(int64(seconds * 1e3)), nil
}

// Wants says whether a row belongs into the answer.
func (q Query) Wants(w event.Workload, at time.Time) bool {
	for label, want := range q.workload {
		if map[string]string{"namespace": w.Namespace, "pod": w.Pod, "container": w.Container, "unit": w.Unit}[label] != want {
			return false
		}
	}
	return (q.since.IsZero() || !at.Before(q.since)) && (q.until.IsZero() || !at.After(q.until))
}

// ServeRows answers with one page of rows, which are in their order and all wanted: {"data": […], "next": "cursor"}.
// Next is empty on the last page.
func ServeRows[T any](w http.ResponseWriter, q Query, rows []T) {
	begin := min(q.after, len(rows))
	end := min(begin+q.limit, len(rows))
	page := struct {
		Data []T    `json:"data"`
		Next string `json:"next"`
	}{Data: append([]T{}, rows[begin:end]...)}
	if end < len(rows) {
		page.Next = strconv.Itoa(end)
	}
	reply(w, http.StatusOK, page)
}

func reply(w http.ResponseWriter, code int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		code, data = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(data, '\n'))
}

// Rows is an endpoint: rows by query, or an error for what its parameters ask.
func Rows(serve func(w http.ResponseWriter, q Query), orders ...string) http.Handler {
	return rows(serve, nil, orders)
}

// FilteredRows is an endpoint that has parameters of its own, besides those that all have.
func FilteredRows(filters []string, serve func(w http.ResponseWriter, q Query)) http.Handler {
	return rows(serve, filters, nil)
}

func rows(serve func(w http.ResponseWriter, q Query), filters, orders []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		type failure struct {
			Error string `json:"error"`
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			reply(w, http.StatusMethodNotAllowed, failure{r.Method + ": want GET or HEAD"})
			return
		}
		q, err := parseQuery(r.URL.Query(), filters, orders)
		if err != nil {
			reply(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		serve(w, q)
	})
}
