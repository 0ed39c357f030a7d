package promql

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/logging"
)

// job is our own scrape job, and the job label of all its series that bring none.
const job = "yagura"

// selfAddress is our own target's. No name ends so, hence it is never somebody else's; it is reached through memory.
const selfAddress = "yagura.invalid"

// openScraper makes the scrape manager and what finds its targets. It scrapes nothing before Run.
func (s *Store) openScraper(log *slog.Logger) (err error) {
	s.self = newPipe()
	s.scraper, err = scrape.NewManager(&scrape.Options{
		ParseST:                  true,
		DiscoveryReloadOnStartup: true,
		DiscoveryReloadInterval:  model.Duration(settle),
		// The manager spreads many targets over the interval. Ours is one, and it should not wait.
		InitialScrapeOffset: -s.opts.Config.ScrapeInterval,
		HTTPClientOptions: []promconfig.HTTPClientOption{
			promconfig.WithDialContextFunc(s.dial),
			promconfig.WithUserAgent("yagura/" + s.opts.Version),
		},
		FeatureRegistry: s.features,
	}, log, logging.NewJSONFileLogger, nil, s.guard, s.registry)
	if err != nil {
		return fmt.Errorf("open store: make scraper: %w", err)
	}
	return nil
}

var network net.Dialer

// dial reaches our own target through memory, and others as usual.
func (s *Store) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	if address == selfAddress+":80" {
		return s.self.dial(ctx)
	}
	return network.DialContext(ctx, kind, address)
}

// watchScrapes logs when scraping ourselves begins to fail and when it works again, until ctx ends.
func (s *Store) watchScrapes(ctx context.Context) error {
	tick := time.NewTicker(s.opts.Config.ScrapeInterval)
	defer tick.Stop()
	before := ""
	for {
		select {
		case <-ctx.Done():
			return nil
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

func (p *pipe) dial(ctx context.Context) (net.Conn, error) {
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
