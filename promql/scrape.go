package promql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/scrape"
)

// job is the only scrape job, and the job label of all series that bring none.
const job = "yagura"

// openScraper makes the scrape manager. It scrapes nothing before Run.
func (s *Store) openScraper(log *slog.Logger) error {
	cfg, err := prometheusConfig(s.opts.Config, log)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	self := newPipe()
	manager, err := scrape.NewManager(&scrape.Options{
		ParseST:                  true,
		DiscoveryReloadOnStartup: true,
		// The manager spreads many targets over the interval. There is one, and it should not wait.
		InitialScrapeOffset: -2 * s.opts.Config.ScrapeInterval,
		HTTPClientOptions: []promconfig.HTTPClientOption{
			promconfig.WithDialContextFunc(self.dial),
			promconfig.WithHTTP2Disabled(),
			promconfig.WithUserAgent("yagura/" + s.opts.Version),
		},
	}, log, nil, nil, newGuard(s.db, s.disk, s.log, s.registry), s.registry)
	if err != nil {
		return fmt.Errorf("open store: make scraper: %w", err)
	}
	s.config, s.scraper, s.self = cfg, manager, self
	return nil
}

// prometheusConfig is what the user of a Prometheus would write into its configuration file to scrape us.
func prometheusConfig(c Config, log *slog.Logger) (*config.Config, error) {
	external := map[string]string{}
	for name, value := range c.ExternalLabels {
		external[name] = strings.ReplaceAll(value, "$", "$$") // Prometheus puts the environment in here, we do not
	}
	interval := model.Duration(c.ScrapeInterval).String()
	timeout := model.Duration(min(c.ScrapeInterval, 10*time.Second)).String()
	text, err := json.Marshal(map[string]any{ // JSON is YAML
		"global": map[string]any{
			"scrape_interval":     interval,
			"scrape_timeout":      timeout,
			"evaluation_interval": interval,
			"external_labels":     external,
		},
		"scrape_configs": []any{map[string]any{
			"job_name":                         job,
			"honor_labels":                     true,
			"enable_compression":               false,
			"scrape_native_histograms":         true,
			"always_scrape_classic_histograms": true,
			"scrape_protocols":                 []string{"PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"},
		}},
	})
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(string(text), log)
	if err != nil {
		return nil, fmt.Errorf("read store configuration: %w", err)
	}
	return cfg, nil
}

// scrape scrapes s.opts.Self until ctx ends or the store is closed.
func (s *Store) scrape(ctx context.Context) error {
	if err := s.scraper.ApplyConfig(s.config); err != nil {
		return fmt.Errorf("configure scraper: %w", err)
	}
	server := &http.Server{
		Handler:           s.opts.Self,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ReadHeaderTimeout: time.Minute,
	}
	targets := make(chan map[string][]*targetgroup.Group, 1)
	targets <- map[string][]*targetgroup.Group{job: {{
		Source:  "self",
		Targets: []model.LabelSet{{model.AddressLabel: "self", model.InstanceLabel: model.LabelValue(s.opts.Instance)}},
	}}}

	var parts sync.WaitGroup
	failed := make(chan error, 2)
	parts.Go(func() { failed <- server.Serve(s.self) })
	parts.Go(func() { failed <- s.scraper.Run(targets) })
	err := s.watchScrapes(ctx, failed)
	s.scraper.Stop()
	err = errors.Join(err, server.Close())
	parts.Wait()
	return err
}

// watchScrapes logs when scraping begins to fail and when it works again, until it is time to stop.
func (s *Store) watchScrapes(ctx context.Context, failed <-chan error) error {
	tick := time.NewTicker(s.opts.Config.ScrapeInterval)
	defer tick.Stop()
	before := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.quit:
			return nil
		case err := <-failed:
			return fmt.Errorf("store stopped scraping: %w", err)
		case <-tick.C:
		}
		now := s.scrapeError()
		if now != "" && before == "" {
			s.log.Warn("store cannot scrape this program", "err", now)
		}
		if now == "" && before != "" {
			s.log.Info("store scrapes this program again")
		}
		before = now
	}
}

// scrapeError says what was wrong with the last scrape.
func (s *Store) scrapeError() string {
	for _, target := range s.scraper.TargetsActive()[job] {
		if err := target.LastError(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// A pipe is a listener whose connections stay in memory.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close refuses further connections.
func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr returns a name that is no address.
func (p *pipe) Addr() net.Addr { return memory{} }

type memory struct{}

func (memory) Network() string { return "memory" }
func (memory) String() string  { return "self" }
