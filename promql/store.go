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

	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
)

// Config is the part of the configuration file that is about the store.
type Config struct {
	Retention      model.Duration    `yaml:"retention"`       // how long samples are kept, in Prometheus' units: 15d
	MaxSize        units.Base2Bytes  `yaml:"max_size"`        // how many bytes of blocks are kept; 0 means no limit
	ScrapeInterval time.Duration     `yaml:"scrape_interval"` // how often this program reads itself
	ExternalLabels map[string]string `yaml:"external_labels"` // what tells this store from others when samples leave it
}

// Default is the configuration where the file says nothing.
var Default = Config{Retention: model.Duration(15 * 24 * time.Hour), ScrapeInterval: 15 * time.Second}

// Options say what to open.
type Options struct {
	Path        string
	Config      Config
	Log         *slog.Logger
	Self        http.Handler // our own /metrics; it is read through memory, so TLS and passwords do not matter
	Instance    string       // the instance label; the host's name if empty
	ExternalURL *url.URL     // where users reach this program; may be nil
	Version     string       // of this program
}

// What a caller of Open may want to tell apart.
var (
	ErrInUse    = errors.New("store is in use")
	ErrDiskFull = errors.New("disk is full")
)

const (
	maxExemplars     = 100_000
	maxSamples       = 50_000_000
	maxConcurrent    = 20
	queryTimeout     = 2 * time.Minute
	lookback         = 5 * time.Minute
	mapEvery         = time.Minute
	never            = 100 * 365 * 24 * time.Hour
	maxBlockDuration = 31 * 24 * time.Hour
)

// A Store is an open time series database with the scraper that fills it and the API that reads it.
// Open it, Run it until the context ends, then Close it.
type Store struct {
	log      *slog.Logger
	opts     Options
	birth    time.Time
	lock     *os.File
	disk     *disk
	db       *tsdb.DB
	stats    *tsdb.DBStats
	registry *prometheus.Registry
	self     *pipe
	scraper  *scrape.Manager
	config   *config.Config
	engine   *promql.Engine
	handler  func() http.Handler

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
	lock, err := lockDir(o.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		log:      o.Log,
		opts:     o,
		birth:    time.Now(),
		lock:     lock,
		disk:     &disk{path: o.Path, minFree: minFree},
		registry: prometheus.NewRegistry(),
		quit:     make(chan struct{}),
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
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
	if o.Config.Retention == 0 {
		o.Config.Retention = Default.Retention
	}
	if o.Config.ScrapeInterval == 0 {
		o.Config.ScrapeInterval = Default.ScrapeInterval
	}
	if o.Config.Retention < 0 || o.Config.MaxSize < 0 || o.Config.ScrapeInterval < 0 {
		return o, errors.New("open store: retention, max_size and scrape_interval must not be negative")
	}
	if o.Instance == "" {
		name, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("open store: read the host's name: %w", err)
		}
		o.Instance = name
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{Scheme: "http", Host: "localhost"}
	}
	return o, nil
}

// open starts every part over a directory that is locked already.
func (s *Store) open() error {
	if err := s.disk.room(); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	internals := slog.New(quiet{s.log.Handler()})
	s.stats = tsdb.NewDBStats()
	start := time.Now()
	db, err := tsdb.Open(s.opts.Path, internals, s.registry, tsdbOptions(s.opts.Config), s.stats)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("open store %s: %w: %w", s.opts.Path, ErrDiskFull, err)
	}
	if err != nil {
		return fmt.Errorf("open store %s: %w", s.opts.Path, err)
	}
	s.db = db
	if err := s.openScraper(internals); err != nil {
		return errors.Join(err, db.Close())
	}
	expressions := parser.NewParser(parser.Options{})
	s.engine = promql.NewEngine(promql.EngineOpts{
		Logger:                   internals,
		Reg:                      s.registry,
		MaxSamples:               maxSamples,
		Timeout:                  queryTimeout,
		ActiveQueryTracker:       make(gate, maxConcurrent),
		LookbackDelta:            lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return s.opts.Config.ScrapeInterval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   expressions,
	})
	// Prometheus describes its whole API when it builds it. The scrapes need not wait for that.
	s.handler = sync.OnceValue(func() http.Handler { return s.newAPI(internals, expressions) })
	s.logOpened(time.Since(start))
	return nil
}

func (s *Store) logOpened(took time.Duration) {
	if n := s.corruptions(); n > 0 {
		s.log.Warn("the store's write-ahead log was damaged and has been repaired; samples after the damage are lost", "path", s.opts.Path)
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
	o.OutOfOrderTimeWindow = 0
	o.EnableSTAsZeroSample = true
	// lockDir holds the lock: tsdb would tidy up the directory of a live process before it tries to lock it.
	o.NoLockfile = true
	// tsdb's own timer writes head chunks in a goroutine that panics if the disk is full. Run does it instead.
	// Blocks are still reloaded, and old ones deleted, after each compaction.
	o.BlockReloadInterval = never
	return o
}

// Run scrapes this program until ctx ends or the store is closed.
func (s *Store) Run(ctx context.Context) error {
	if s.opts.Self == nil {
		return errors.New("run store: nothing to scrape")
	}
	s.running.Add(1)
	defer s.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { s.mapHeadChunks(ctx) })
	return s.scrape(ctx)
}

// mapHeadChunks moves full chunks from memory to files, as long as the disk has room for them.
// After a failed write the files no longer match the memory, so chunks then stay in memory until the next start.
func (s *Store) mapHeadChunks(ctx context.Context) {
	tick := time.NewTicker(mapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.quit:
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

// Handler serves the Prometheus HTTP API under /api/v1/.
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

// Close stops the scraping and the queries, writes what is in memory and gives the directory free.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.ready.Store(false)
		close(s.quit)
		s.running.Wait()
		s.closed = errors.Join(s.engine.Close(), s.closeDB(), s.lock.Close())
	})
	return s.closed
}

// closeDB leaves the rest to the next start if head chunks cannot be written. The write-ahead log has all samples.
func (s *Store) closeDB() error {
	err := caught(s.db.Close)
	if err == nil || !s.unmappable.Load() && s.disk.room() == nil {
		return err
	}
	s.log.Warn("store closed without writing what is in memory; the next start reads it from the write-ahead log", "err", err)
	return nil
}
