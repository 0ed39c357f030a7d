// Package promql is the embedded Prometheus: a store that scrapes this program, and the Prometheus HTTP API over it.
// It is the only importer of Prometheus' internals, and knows nothing of what the series mean.
package promql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
	"github.com/prometheus/prometheus/util/features"
)

// Options say what to open.
type Options struct {
	Path        string
	Config      Config
	Log         *slog.Logger
	Self        http.Handler // our own /metrics; it is read through memory, so TLS and passwords do not matter; nil: it is not read
	Instance    string       // the instance label; the host's name if empty
	ExternalURL *url.URL     // where users reach this program; may be nil
	Version     string       // of this program
	Rules       RuleFiles    // rules that are in no file; may be nil

	adjust func(*tsdb.Options) // for tests
}

// expressions are read with all of the language, what Prometheus calls experimental included.
var expressions = parser.NewParser(parser.Options{
	EnableExperimentalFunctions:  true,
	ExperimentalDurationExpr:     true,
	EnableExtendedRangeSelectors: true,
	EnableBinopFillModifiers:     true,
})

// What a caller of Open may want to tell apart.
var (
	ErrInUse    = errors.New("store is in use")
	ErrDiskFull = errors.New("disk is full")
)

const (
	maxExemplars     = 100_000
	lookback         = 5 * time.Minute
	mapEvery         = time.Minute
	never            = 100 * 365 * 24 * time.Hour
	maxBlockDuration = 31 * 24 * time.Hour
)

// A Store is an open time series database with all that fills, watches and reads it.
// Open it, Run it until the context ends, then Close it.
type Store struct {
	log       *slog.Logger
	internals *slog.Logger // of Prometheus' own parts
	opts      Options
	birth     time.Time
	lock      *os.File
	disk      *disk
	db        *tsdb.DB        // nil in agent mode
	local     storage.Storage // the database, or the agent's log
	stats     *tsdb.DBStats
	guard     *guard
	registry  *prometheus.Registry
	features  features.Collector
	self      *pipe
	scraper   *scrape.Manager
	remote    *remote.Storage // reads only
	queryable storage.SampleAndChunkQueryable
	engine    *engine
	gate      *gate
	notifier  *messenger
	rules     *rules.Manager
	loader    *ruleLoader
	post      *post
	handler   func() http.Handler

	plan       atomic.Pointer[plan] // what the parts do now
	reloading  sync.Mutex           // guards what follows
	parts      *parts               // while Run runs
	reloaded   atomic.Int64         // when the plan was applied, in milliseconds
	ready      atomic.Bool
	unmappable atomic.Bool   // head chunk files no longer match the memory
	quit       chan struct{} // closed by Close, so that Run returns
	running    sync.WaitGroup
	closing    sync.Once
	closed     error
}

// Open opens the store under o.Path, makes it if there is none, and repairs what a crash left behind.
func Open(o Options) (*Store, error) {
	o, err := complete(o)
	if err != nil {
		return nil, err
	}
	p, err := o.compile(o.Config, o.Rules)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(o.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		log:       o.Log,
		internals: slog.New(quiet{o.Log.Handler()}),
		opts:      o,
		birth:     time.Now(),
		lock:      lock,
		disk:      &disk{path: o.Path, minFree: minFree},
		registry:  prometheus.NewRegistry(),
		features:  features.NewRegistry(),
		quit:      make(chan struct{}),
	}
	s.plan.Store(p)
	if err := s.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.reloaded.Store(s.birth.UnixMilli())
	s.ready.Store(true)
	return s, nil
}

// complete fills in what the caller left out, and refuses what cannot work.
func complete(o Options) (Options, error) {
	if o.Path == "" {
		return o, errors.New("open store: no path given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Config = o.Config.withDefaults()
	if o.Instance == "" {
		name, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("open store: read the host's name: %w", err)
		}
		o.Instance = name
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{Scheme: "http", Host: "localhost"}
		if c := o.Config.ExternalURL; c != "" {
			u, err := url.Parse(c)
			if err != nil {
				return o, fmt.Errorf("store.external_url: %w", err)
			}
			o.ExternalURL = u
		}
	}
	return o, nil
}

// compile is compile for the program that o is about.
func (o Options) compile(c Config, rules RuleFiles) (*plan, error) {
	instance := o.Instance
	if o.Self == nil {
		instance = ""
	}
	return compile(c, rules, instance, o.Log)
}

// open opens every part over a directory that is locked already.
func (s *Store) open() error {
	if err := s.disk.room(); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	start := time.Now()
	s.post = newPost(s)
	s.remote = remote.NewStorage(s.internals, nil, s.startTime, s.dir(), 0, nil, false)
	if err := s.openLocal(); err != nil {
		return errors.Join(err, s.remote.Close())
	}
	s.guard = newGuard(s.local, s.disk, s.log, s.registry)
	s.openReaders()
	s.notifier = newMessenger(s.registry, s.internals)
	s.openRules(s.internals)
	err := s.openScraper(s.internals)
	if err == nil {
		err = s.post.open(s.plan.Load().merged)
	}
	if err != nil {
		return errors.Join(err, s.engine.Close(), s.remote.Close(), s.local.Close())
	}
	// Prometheus describes its whole API when it builds it. The scrapes need not wait for that.
	s.handler = sync.OnceValue(s.newHandler)
	s.logOpened(time.Since(start))
	return nil
}

func (s *Store) openLocal() error {
	if s.opts.Config.Agent {
		return s.openAgent()
	}
	return s.openDB()
}

func (s *Store) openDB() error {
	s.stats = tsdb.NewDBStats()
	o := tsdbOptions(s.opts.Config)
	if s.opts.adjust != nil {
		s.opts.adjust(o)
	}
	db, err := tsdb.Open(s.opts.Path, s.internals, s.registry, o, s.stats)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("open store %s: %w: %w", s.opts.Path, ErrDiskFull, err)
	}
	if err != nil {
		return fmt.Errorf("open store %s: %w", s.opts.Path, err)
	}
	db.SetWriteNotified(s.post)
	s.db, s.local = db, db
	return nil
}

// startTime is that of the oldest sample, which decides what remote_read is asked for.
func (s *Store) startTime() (int64, error) { return s.local.StartTime() }

// openReaders makes what queries go through: the database with the stores that remote_read names, and the engine.
func (s *Store) openReaders() {
	s.queryable = storage.NewFanout(s.internals, s.local, s.remote)
	limits, refused := s.opts.Config.Query, newRefused(s.registry)
	s.gate = newGate(limits, refused)
	s.engine = &engine{refused: refused, Engine: promql.NewEngine(promql.EngineOpts{
		Logger:             s.internals,
		Reg:                s.registry,
		MaxSamples:         limits.MaxSamples,
		Timeout:            limits.Timeout,
		ActiveQueryTracker: s.gate,
		LookbackDelta:      lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 {
			return time.Duration(s.plan.Load().merged.GlobalConfig.EvaluationInterval).Milliseconds()
		},
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnableDelayedNameRemoval: true,
		UseStartTimestamps:       true, // where a store has them
		Parser:                   expressions,
		FeatureRegistry:          s.features,
	})}
}

func (s *Store) logOpened(took time.Duration) {
	if n := s.corruptions(); n > 0 {
		s.log.Warn("the store's write-ahead log was damaged and has been repaired; samples after the damage are lost", "path", s.opts.Path)
	}
	if s.db == nil {
		s.log.Info("store open, as an agent", "path", s.opts.Path, "scrape_interval", s.opts.Config.ScrapeInterval, "took", took.Round(time.Millisecond))
		return
	}
	s.log.Info("store open",
		"path", s.opts.Path,
		"series", s.db.Head().NumSeries(),
		"blocks", len(s.db.Blocks()),
		"retention", s.opts.Config.Retention,
		"max_size", s.opts.Config.MaxSize,
		"scrape_interval", s.opts.Config.ScrapeInterval,
		"took", took.Round(time.Millisecond))
}

// tsdbOptions are Prometheus' own, made smaller for one node's series.
func tsdbOptions(c Config) *tsdb.Options {
	o := tsdb.DefaultOptions()
	retention := time.Duration(c.Retention)
	o.RetentionDuration = retention.Milliseconds()
	o.MaxBytes = int64(c.MaxSize)
	o.MaxBlockDuration = min(retention/10, maxBlockDuration).Milliseconds()
	o.WALCompression = compression.Snappy
	o.StripeSize = 2048
	o.HeadChunksWriteBufferSize = 256 << 10
	o.HeadChunksWriteQueueSize = 0
	o.EnableExemplarStorage = true
	o.MaxExemplars = maxExemplars
	o.OutOfOrderTimeWindow = c.OutOfOrderWindow.Milliseconds()
	o.EnableSTAsZeroSample = true
	// lockDir holds the lock: tsdb would tidy up the directory of a live process before it tries to lock it.
	o.NoLockfile = true
	// tsdb's own timer writes head chunks in a goroutine that panics if the disk is full. Run does it instead.
	// Blocks are still reloaded, and old ones deleted, after each compaction.
	o.BlockReloadInterval = never
	return o
}

// mapHeadChunks moves full chunks from memory to files, as long as the disk has room for them.
// After a failed write the files no longer match the memory, so chunks then stay in memory until the next start.
func (s *Store) mapHeadChunks(ctx context.Context) {
	if s.db == nil {
		return
	}
	tick := time.NewTicker(mapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.disk.room() == nil && !s.mapped() {
			return
		}
	}
}

// mapped says whether the full chunks are in files now.
func (s *Store) mapped() bool {
	err := caught(func() error { s.db.ForceHeadMMap(); return nil })
	if err != nil {
		s.unmappable.Store(true)
		s.log.Error("store keeps its chunks in memory until the next start", "err", err)
	}
	return err == nil
}

// caught turns a panic of f into an error: tsdb panics where it cannot write a head chunk.
func caught(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("head chunks not written: %v", r)
		}
	}()
	return f()
}

// Ready says whether the store answers queries and takes samples.
func (s *Store) Ready() bool { return s.ready.Load() }

// NotReady says why the store at path cannot be used yet; nil if it can, or if none is wanted.
func NotReady(path string, s *Store) error {
	switch {
	case path == "" || s != nil && s.Ready():
		return nil
	case s == nil:
		return fmt.Errorf("store %s: %w", path, ErrDiskFull)
	}
	return errors.New("the store is not open")
}

// OpenIfRoom opens the store, if one is wanted. On a full disk it says so and returns none: all that needs no store goes on,
// and the program is not ready.
func OpenIfRoom(o Options) (*Store, error) {
	if o.Path == "" {
		return nil, nil
	}
	s, err := Open(o)
	if errors.Is(err, ErrDiskFull) {
		o.Log.Error("nothing is stored until there is room and a restart", "err", err)
		return nil, nil
	}
	return s, err
}

// Mount adds the API of Prometheus at /api/v1/, federation at /federate, and the judgement of queries at /api/yagura/lint.
func (s *Store) Mount(mux *http.ServeMux) {
	mux.Handle("/api/v1/", s.Handler())
	mux.Handle("/federate", s.Handler())
	mux.Handle("/api/yagura/lint", s.LintHandler())
}

// Handler serves the Prometheus HTTP API under /api/v1/, and /federate.
func (s *Store) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handler().ServeHTTP(w, r) })
}

// Gatherer gives the store's own metrics.
func (s *Store) Gatherer() prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := s.registry.Gather()
		// A few names hold their type, for which `promtool check metrics` blames whoever exposes them.
		return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
			return strings.Contains(f.GetName(), "histogram")
		}), err
	})
}

// Close stops Run and the queries, writes what is in memory and gives the directory free.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.ready.Store(false)
		close(s.quit)
		s.running.Wait()
		s.closed = errors.Join(s.engine.Close(), s.remote.Close(), s.closeDB(), s.post.close(), s.lock.Close())
	})
	return s.closed
}

// closeDB leaves the rest to the next start if head chunks cannot be written. The write-ahead log has all samples.
func (s *Store) closeDB() error {
	err := caught(s.local.Close)
	if err == nil || !s.unmappable.Load() && s.disk.room() == nil {
		return err
	}
	s.log.Warn("store closed without writing what is in memory; the next start reads it from the write-ahead log", "err", err)
	return nil
}
