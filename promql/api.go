package promql

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// prometheusVersion is the Prometheus inside. Clients such as Grafana decide by it what they may ask.
const prometheusVersion = "3.15.0"

// served are the parts of Prometheus' API that only read. Everything else it has is refused.
var served = []string{
	"query",
	"query_range",
	"query_exemplars",
	"format_query",
	"parse_query",
	"series",
	"labels",
	"label/{name}/values",
	"metadata",
	"targets",
	"targets/metadata",
	"scrape_pools",
	"rules",
	"alerts",
	"alertmanagers",
	"status/buildinfo",
	"status/runtimeinfo",
	"status/config",
	"status/flags",
	"status/tsdb",
	"status/tsdb/blocks",
	"status/walreplay",
}

// newAPI builds Prometheus' own API handler over the store, and lets through what is served.
func (s *Store) newAPI(log *slog.Logger, expressions parser.Parser) http.Handler {
	api := v1.NewAPI(
		s.engine,
		s.db,
		nil, nil, // no appender: nothing is written through the API
		s.db,
		func(context.Context) v1.ScrapePoolsRetriever { return s.scraper },
		func(context.Context) v1.TargetRetriever { return s.scraper },
		func(context.Context) v1.AlertmanagerRetriever { return none{} },
		func() config.Config { return *s.config },
		map[string]string{}, // flags
		v1.GlobalURLOptions{ListenAddress: s.opts.ExternalURL.Host, Host: s.opts.ExternalURL.Host, Scheme: s.opts.ExternalURL.Scheme},
		s.whenReady,
		readOnly{s.db, s.stats},
		s.opts.Path,
		false,    // no admin endpoints
		false, 0, // no search
		log,
		func(context.Context) v1.RulesRetriever { return none{} },
		0, 1, 1<<20, // remote read, which is not served
		false,                    // not an agent
		regexp.MustCompile(`^$`), // no other web site may read us
		s.runtimeInfo,
		&v1.PrometheusVersion{Version: prometheusVersion, Revision: strings.TrimSpace("embedded in yagura " + s.opts.Version), GoVersion: runtime.Version()},
		nil, nil, // notifications
		s.registry, nil,
		nil,        // statistics as Prometheus renders them
		false, nil, // no remote write receiver
		false, false, false, // no OTLP receiver
		false,
		lookback,
		false, false,
		nil, nil,
		v1.OpenAPIOptions{IncludePaths: []string{"none"}},
		expressions,
	)
	router := route.New().WithPrefix("/api/v1")
	api.Register(router)
	mux := http.NewServeMux()
	for _, path := range served {
		mux.Handle("/api/v1/"+path, router)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "not_found", fmt.Sprintf("no such endpoint: %s", r.URL.Path))
	})
	return mux
}

func (s *Store) whenReady(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.Ready() {
			refuse(w, http.StatusServiceUnavailable, "unavailable", "the store is closed")
			return
		}
		next(w, r)
	}
}

// refuse answers as the API answers errors.
func refuse(w http.ResponseWriter, code int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	io.WriteString(w, fmt.Sprintf(`{"status":"error","errorType":%q,"error":%q}`, kind, message))
}

func (s *Store) runtimeInfo() (v1.RuntimeInfo, error) {
	host, err := os.Hostname()
	if err != nil {
		return v1.RuntimeInfo{}, fmt.Errorf("read the host's name: %w", err)
	}
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = 0
	}
	return v1.RuntimeInfo{
		StartTime:           s.birth,
		Hostname:            host,
		ServerTime:          time.Now().UTC(),
		ReloadConfigSuccess: true,
		LastConfigTime:      s.birth,
		CorruptionCount:     s.corruptions(),
		GoroutineCount:      runtime.NumGoroutine(),
		GOMAXPROCS:          runtime.GOMAXPROCS(0),
		GOMEMLIMIT:          limit,
		StorageRetention:    s.opts.Config.Retention.String(),
	}, nil
}

// corruptions counts the damages that tsdb found in its write-ahead log. It tells only by a metric.
func (s *Store) corruptions() int64 {
	families, err := s.registry.Gather()
	if err != nil {
		s.log.Warn("gather the store's own metrics", "err", err)
	}
	for _, f := range families {
		if f.GetName() == "prometheus_tsdb_wal_corruptions_total" {
			return int64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return 0
}

// readOnly is what the API may know of the database, without what it could change.
type readOnly struct {
	db    *tsdb.DB
	stats *tsdb.DBStats
}

var errReadOnly = fmt.Errorf("the API only reads: %w", http.ErrNotSupported)

func (readOnly) CleanTombstones() error { return errReadOnly }
func (readOnly) Delete(context.Context, int64, int64, ...*labels.Matcher) error {
	return errReadOnly
}
func (readOnly) Snapshot(string, bool) error { return errReadOnly }
func (r readOnly) Stats(label string, limit int) (*tsdb.Stats, error) {
	return r.db.Head().Stats(label, limit), nil
}
func (r readOnly) WALReplayStatus() (tsdb.WALReplayStatus, error) {
	return r.stats.Head.WALReplayStatus.GetWALReplayStatus(), nil
}
func (r readOnly) BlockMetas() ([]tsdb.BlockMeta, error) { return r.db.BlockMetas(), nil }

// none is the answer where there are no rules, alerts and alertmanagers.
type none struct{}

func (none) RuleGroups() []*rules.Group           { return nil }
func (none) AlertingRules() []*rules.AlertingRule { return nil }
func (none) Alertmanagers() []*url.URL            { return nil }
func (none) DroppedAlertmanagers() []*url.URL     { return nil }

// A gate lets so many queries run at once. Prometheus' own tracker also keeps their texts in a mapped file, which
// nobody would read here.
type gate chan struct{}

func (g gate) GetMaxConcurrent() int { return cap(g) }

func (g gate) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case g <- struct{}{}:
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (g gate) Delete(int)   { <-g }
func (g gate) Close() error { return nil }
