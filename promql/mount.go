package promql

import "net/http"

// Mount adds the API of Prometheus at /api/v1/, federation at /federate, and the judgement of queries at /api/yagura/lint.
func (s *Store) Mount(mux *http.ServeMux) {
	mux.Handle("/api/v1/", s.Handler())
	mux.Handle("/federate", s.Handler())
	mux.Handle("/api/yagura/lint", s.LintHandler())
}
