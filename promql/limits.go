package promql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// newRefused counts the queries that a limit has ended. Prometheus counts only those that ran.
func newRefused(reg prometheus.Registerer) *prometheus.CounterVec {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "yagura_store_queries_refused_total",
		Help: "Queries that the store has ended or not begun, by the limit that they hit: timeout, samples or concurrency.",
	}, []string{"limit"})
	for _, limit := range []string{"timeout", "samples", "concurrency"} {
		refused.WithLabelValues(limit)
	}
	reg.MustRegister(refused)
	return refused
}

// An engine is Prometheus' own, and counts what its limits end.
type engine struct {
	*promql.Engine
	refused *prometheus.CounterVec
}

// NewInstantQuery prepares a query at one time.
func (e *engine) NewInstantQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, text string, at time.Time) (promql.Query, error) {
	query, err := e.Engine.NewInstantQuery(ctx, q, o, text, at)
	return e.counted(query, err)
}

// NewRangeQuery prepares a query at many times.
func (e *engine) NewRangeQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, text string, start, end time.Time, step time.Duration) (promql.Query, error) {
	query, err := e.Engine.NewRangeQuery(ctx, q, o, text, start, end, step)
	return e.counted(query, err)
}

func (e *engine) counted(q promql.Query, err error) (promql.Query, error) {
	switch {
	case errors.Is(err, errCrowded): // the API would call it a bad query
		return crowded{}, nil
	case err != nil:
		return nil, err
	}
	return countedQuery{q, e.refused}, nil
}

// A crowded query has found no place to run.
type crowded struct{ promql.Query }

// Exec says so.
func (crowded) Exec(context.Context) *promql.Result { return &promql.Result{Err: errCrowded} }

// Close does nothing.
func (crowded) Close() {}

type countedQuery struct {
	promql.Query
	refused *prometheus.CounterVec
}

// Exec runs the query.
func (q countedQuery) Exec(ctx context.Context) *promql.Result {
	r := q.Query.Exec(ctx)
	var (
		samples promql.ErrTooManySamples
		timeout promql.ErrQueryTimeout
	)
	switch {
	case errors.As(r.Err, &samples):
		q.refused.WithLabelValues("samples").Inc()
	case errors.As(r.Err, &timeout) && timeout != errCrowded:
		q.refused.WithLabelValues("timeout").Inc()
	}
	return r
}

// errCrowded is what a query dies of that other queries did not let begin.
const errCrowded = promql.ErrQueryTimeout("the queue: store.query.max_concurrency others are running")

// A gate lets so many queries run at once. Prometheus' own tracker also keeps their texts in a mapped file, which
// nobody would read here, and waits for as long as the client does.
type gate struct {
	slots    chan struct{}
	patience time.Duration
	refused  prometheus.Counter
}

func newGate(l QueryLimits, refused *prometheus.CounterVec) *gate {
	return &gate{slots: make(chan struct{}, l.MaxConcurrency), patience: l.Timeout, refused: refused.WithLabelValues("concurrency")}
}

// GetMaxConcurrent is how many may run.
func (g *gate) GetMaxConcurrent() int { return cap(g.slots) }

// Insert waits for a slot.
func (g *gate) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case g.slots <- struct{}{}: // even for a query whose time is over: it is not for want of a slot
		return 0, nil
	default:
	}
	t := time.NewTimer(g.patience)
	defer t.Stop()
	select {
	case g.slots <- struct{}{}:
		return 0, nil
	case <-t.C:
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return 0, fmt.Errorf("query given up: %w", ctx.Err())
		}
	}
	g.refused.Inc()
	return 0, errCrowded
}

// Delete gives the slot back.
func (g *gate) Delete(int) { <-g.slots }

// Close does nothing.
func (g *gate) Close() error { return nil }
