package promql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
)

// settle is how long changes of targets are gathered before they take effect. Prometheus' own 5 s, twice in a row, are
// for thousands of them.
const settle = time.Second

// parts are what there is only while a store runs: what finds targets and Alertmanagers, and who sends to receivers.
type parts struct {
	scrape, notify *discovery.Manager
	send           func(*config.Config) error
}

// Run scrapes, evaluates, notifies and sends until ctx ends or the store is closed.
func (s *Store) Run(ctx context.Context) error {
	s.running.Add(1)
	defer s.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found, err := s.newParts(ctx)
	if err != nil {
		return err
	}
	s.reloading.Lock()
	s.parts = found
	err = s.apply(s.plan.Load())
	s.reloading.Unlock()
	defer s.post.stop()
	if err == nil {
		err = s.runParts(ctx, cancel, found)
	}
	return err
}

func (s *Store) newParts(ctx context.Context) (*parts, error) {
	metrics, err := discovery.CreateAndRegisterSDMetrics(s.registry)
	if err != nil {
		return nil, fmt.Errorf("run store: %w", err)
	}
	made := func(name string) *discovery.Manager {
		return discovery.NewManager(ctx, s.internals, s.registry, metrics, discovery.Name(name), discovery.Updatert(settle), discovery.FeatureRegistry(s.features))
	}
	p := &parts{made("scrape"), made("notify"), func(c *config.Config) error { return s.post.apply(ctx, c) }}
	if p.scrape == nil || p.notify == nil {
		return nil, errors.New("run store: make service discovery") // why it has logged
	}
	return p, nil
}

// runParts runs every part until it is time to stop, and stops them in the order in which they need one another: no
// rule is evaluated on what is no longer scraped, and what rules found is sent.
func (s *Store) runParts(ctx context.Context, cancel context.CancelFunc, found *parts) error {
	server := &http.Server{
		Handler:           s.opts.Self,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ReadHeaderTimeout: time.Minute,
	}
	var all sync.WaitGroup
	failed := make(chan error, 2)
	all.Go(func() { failed <- server.Serve(s.self) })
	all.Go(func() { failed <- s.scraper.Run(found.scrape.SyncCh()) })
	all.Go(func() { s.notifier.Run(found.notify.SyncCh()) })
	introduced, skip := context.WithTimeout(ctx, introduction)
	defer skip()
	all.Go(func() {
		s.awaitAlertmanagers(introduced)
		s.rules.Run()
	})
	all.Go(func() { found.scrape.Run() })
	all.Go(func() { found.notify.Run() })
	all.Go(func() { s.mapHeadChunks(ctx) })
	all.Go(func() { s.post.keep(ctx) })
	all.Go(func() { s.watchScrapes(ctx) })

	var err error
	select {
	case <-ctx.Done():
	case <-s.quit:
	case err = <-failed:
		err = fmt.Errorf("store stopped scraping: %w", err)
	}
	s.reloading.Lock()
	s.parts = nil // nothing is reloaded any more
	s.reloading.Unlock()
	skip() // rules only stop once they run
	s.rules.Stop()
	s.scraper.Stop()
	s.notifier.Stop()
	cancel()
	err = errors.Join(err, server.Close())
	all.Wait()
	return err
}

// introduction is how long the first evaluation waits for the Alertmanagers to be found. An alert that found none would
// be sent again only after a minute.
const introduction = 2 * time.Second

func (s *Store) awaitAlertmanagers(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(s.notifier.Alertmanagers()) < len(s.plan.Load().merged.AlertingConfig.AlertmanagerConfigs) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ErrStopped is what Reload returns when the store no longer runs.
var ErrStopped = errors.New("the store does not run")

// Reload makes every part do what a new configuration and new rules say, as far as something has changed. If anything is
// wrong with them, all stays as it is. Where there is no store there is nothing to do.
func (s *Store) Reload(c Config, rules RuleFiles) error {
	if s == nil {
		return nil
	}
	p, err := s.opts.compile(c, rules)
	if err != nil {
		return fmt.Errorf("reload store: %w", err)
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	before := s.plan.Load()
	if s.parts == nil {
		return fmt.Errorf("reload store: %w", ErrStopped)
	}
	s.plan.Store(p)
	if err := s.apply(p); err != nil {
		s.plan.Store(before)
		return errors.Join(fmt.Errorf("reload store: %w", err), s.apply(before))
	}
	s.reloaded.Store(time.Now().UnixMilli())
	s.warnOfRestart(before.config, p.config)
	return nil
}

// warnOfRestart names what has changed but is only read at the start.
func (s *Store) warnOfRestart(before, after Config) {
	for name, changed := range map[string]bool{
		"store.agent":        before.Agent != after.Agent,
		"store.query":        before.Query != after.Query,
		"store.external_url": before.ExternalURL != after.ExternalURL,
	} {
		if changed {
			s.log.Warn("a changed setting takes effect at the next start", "setting", name)
		}
	}
}

// apply gives every part its configuration. Scraping and notifying come before what finds their targets, which must not
// name a job that they do not know yet.
func (s *Store) apply(p *plan) error {
	readOnly := *p.merged
	readOnly.RemoteWriteConfigs = nil
	for _, step := range []struct {
		name  string
		apply func() error
	}{
		{"storage", func() error { return s.applySettings(p.merged) }},
		{"remote_read", func() error { return s.remote.ApplyConfig(&readOnly) }},
		{"remote_write", func() error { return s.parts.send(p.merged) }},
		{"scrape_configs", func() error { return s.scraper.ApplyConfig(p.merged) }},
		{"targets of scrape_configs", func() error { return s.discoverTargets(p.merged) }},
		{"alerting", func() error { return s.notifier.ApplyConfig(p.merged) }},
		{"targets of alerting", func() error { return s.parts.notify.ApplyConfig(alertmanagers(p.merged)) }},
		{"rules", func() error { return s.applyRules(p) }},
	} {
		if err := step.apply(); err != nil {
			return fmt.Errorf("apply %s: %w", step.name, err)
		}
	}
	return nil
}

func (s *Store) applySettings(c *config.Config) error {
	if s.db == nil {
		return nil
	}
	return s.db.ApplyConfig(c)
}

func (s *Store) discoverTargets(c *config.Config) error {
	jobs, err := c.GetScrapeConfigs()
	if err != nil {
		return err
	}
	all := map[string]discovery.Configs{}
	for _, j := range jobs {
		all[j.JobName] = slices.Clone(j.ServiceDiscoveryConfigs)
	}
	return s.parts.scrape.ApplyConfig(all)
}

func alertmanagers(c *config.Config) map[string]discovery.Configs {
	all := map[string]discovery.Configs{}
	for name, a := range c.AlertingConfig.AlertmanagerConfigs.ToMap() {
		all[name] = a.ServiceDiscoveryConfigs
	}
	return all
}
