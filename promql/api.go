package promql

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grafana/regexp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/httputil"
	"github.com/prometheus/prometheus/util/notifications"
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
	"targets/relabel_steps",
	"scrape_pools",
	"scrape_pools/config",
	"rules",
	"alerts",
	"alertmanagers",
	"read",
	"features",
	"notifications",
	"status/buildinfo",
	"status/runtimeinfo",
	"status/config",
	"status/flags",
	"status/tsdb",
	"status/tsdb/blocks",
	"status/walreplay",
}

// Remote reads that run at once, and what one may hold.
const (
	maxReads       = 10
	maxReadSamples = 50_000_000
	maxReadFrame   = 1 << 20
)

// newHandler builds Prometheus' own API handler over the store, and lets through what is served.
func (s *Store) newHandler() http.Handler {
	router := route.New().WithPrefix("/api/v1")
	s.newAPI().Register(router)
	mux := http.NewServeMux()
	for _, path := range served {
		mux.Handle("/api/v1/"+path, router)
	}
	mux.Handle("/api/v1/write", s.receiver(router, "remote_write_receiver", func(c Config) bool { return c.RemoteWriteReceiver }))
	mux.Handle("/api/v1/otlp/v1/metrics", s.receiver(router, "otlp_receiver", func(c Config) bool { return c.OTLPReceiver }))
	mux.Handle("/federate", s.whenReady(httputil.CompressionHandler{Handler: s.newFederation()}.ServeHTTP))
	mux.HandleFunc("/", noSuchEndpoint)
	return s.whenStoring(mux)
}

func noSuchEndpoint(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "not_found", fmt.Sprintf("no such endpoint: %s", r.URL.Path))
}

// receiver lets samples in where the configuration wants them.
func (s *Store) receiver(next http.Handler, setting string, on func(Config) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !on(s.plan.Load().config) {
			refuse(w, http.StatusNotFound, "not_found", fmt.Sprintf("no such endpoint: %s: store.%s is off", r.URL.Path, setting))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Store) newAPI() *v1.API {
	listen := s.opts.ExternalURL
	return v1.NewAPI(
		s.engine,
		s.queryable,
		s.guard, s.guard,
		s.local.(storage.ExemplarQueryable), // both kinds are
		func(context.Context) v1.ScrapePoolsRetriever { return s.scraper },
		func(context.Context) v1.TargetRetriever { return s.scraper },
		func(context.Context) v1.AlertmanagerRetriever { return s.notifier },
		func() config.Config { return *s.plan.Load().merged },
		map[string]string{}, // flags
		v1.GlobalURLOptions{ListenAddress: listen.Host, Host: listen.Host, Scheme: listen.Scheme},
		s.whenReady,
		readOnly{s.db, s.stats},
		s.opts.Path,
		false,    // no admin endpoints
		false, 0, // no search
		s.internals,
		func(context.Context) v1.RulesRetriever { return s.rules },
		maxReadSamples, maxReads, maxReadFrame,
		false,                    // not an agent
		regexp.MustCompile(`^$`), // no other web site may read us
		s.runtimeInfo,
		&v1.PrometheusVersion{Version: prometheusVersion, Revision: strings.TrimSpace("embedded in yagura " + s.opts.Version), GoVersion: runtime.Version()},
		func() []notifications.Notification { return []notifications.Notification{} }, nil,
		s.registry, s.registry,
		nil, // statistics as Prometheus renders them
		true, remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType},
		true, false, false, // OTLP, without deltas
		true, // start timestamps become zeros
		lookback,
		false, false,
		nil, s.features,
		v1.OpenAPIOptions{IncludePaths: []string{"none"}},
		expressions,
	)
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
		LastConfigTime:      time.UnixMilli(s.reloaded.Load()),
		CorruptionCount:     s.corruptions(),
		GoroutineCount:      runtime.NumGoroutine(),
		GOMAXPROCS:          runtime.GOMAXPROCS(0),
		GOMEMLIMIT:          limit,
		StorageRetention:    s.plan.Load().config.Retention.String(),
	}, nil
}

// corruptions counts the damages that tsdb found in its write-ahead log. It tells only by a metric.
func (s *Store) corruptions() int64 {
	families, err := s.registry.Gather()
	if err != nil {
		s.log.Warn("gather the store's own metrics", "err", err)
	}
	for _, f := range families {
		if name := f.GetName(); name == "prometheus_tsdb_wal_corruptions_total" || name == "prometheus_agent_corruptions_total" {
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
