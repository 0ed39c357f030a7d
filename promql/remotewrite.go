package promql

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
)

// A post sends samples to all receivers.
type post struct {
	store   *Store
	box     atomic.Pointer[outbox] // nil without receivers
	metrics *senderMetrics

	mu      sync.Mutex // guards what follows
	senders map[string]*posted
}

// A posted is a sender at work.
type posted struct {
	*sender
	hash string // of its configuration
	stop func() // and wait
}

func newPost(s *Store) *post {
	return &post{store: s, metrics: newSenderMetrics(s), senders: map[string]*posted{}}
}

// Notify is called by the database when it has logged something.
func (p *post) Notify() {
	if b := p.box.Load(); b != nil {
		b.Notify()
	}
}

// open makes the outbox if there are receivers, and remembers their places. Nothing of the log may be dropped unseen
// from here on.
func (p *post) open(c *config.Config) error {
	if len(c.RemoteWriteConfigs) == 0 || p.box.Load() != nil {
		return nil
	}
	b, err := openOutbox(p.store.dir(), p.store.disk, p.store.log)
	if err != nil {
		return err
	}
	known, err := filepath.Glob(filepath.Join(b.dir, "*"+placeSuffix))
	if err != nil {
		return err
	}
	names := placeNames(c.RemoteWriteConfigs)
	for _, name := range names { // the old first: their places are in the log as it was
		if slices.Contains(known, filepath.Join(b.dir, name+placeSuffix)) {
			if _, err := b.reader(name); err != nil {
				return errors.Join(err, b.close())
			}
		}
	}
	if err := b.reconcile(); err != nil {
		return errors.Join(err, b.close())
	}
	for _, name := range names {
		if _, err := b.reader(name); err != nil {
			return errors.Join(err, b.close())
		}
	}
	p.box.Store(b)
	return nil
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// placeNames names the receivers' places: by their names, or by their addresses, so that other secrets or relabelling
// change nothing.
func placeNames(all []*config.RemoteWriteConfig) []string {
	var names []string
	for _, c := range all {
		name := c.Name
		if name == "" || unfit.MatchString(name) {
			name = fmt.Sprintf("%x", sha256.Sum256([]byte(c.Name+" "+c.URL.String())))[:12]
		}
		for base, n := name, 2; slices.Contains(names, name); n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		names = append(names, name)
	}
	return names
}

// apply starts, stops and changes senders as a configuration says. ctx ends them all.
func (p *post) apply(ctx context.Context, c *config.Config) error {
	if err := p.open(c); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	names := placeNames(c.RemoteWriteConfigs)
	next := map[string]*posted{}
	var starts []*posted
	for i, w := range c.RemoteWriteConfigs {
		s, err := p.sender(names[i], w, c.GlobalConfig.ExternalLabels)
		if err != nil {
			return err // nothing has been changed yet
		}
		if old := p.senders[names[i]]; old != nil && old.hash == s.hash {
			old.client.Store(s.client.Load())
			s = old
		} else {
			starts = append(starts, s)
		}
		next[names[i]] = s
	}
	for name, old := range p.senders {
		if next[name] != old {
			old.stop()
			p.metrics.forget(old.sender)
		}
	}
	for _, s := range starts {
		p.start(ctx, s)
	}
	p.senders = next
	return p.forget(names)
}

func (p *post) sender(name string, c *config.RemoteWriteConfig, external labels.Labels) (*posted, error) {
	text := config.Config{RemoteWriteConfigs: []*config.RemoteWriteConfig{c}}.String() // without secrets, which only the client needs
	title := c.Name
	if title == "" {
		title = name
	}
	client, err := newClient(title, c)
	if err != nil {
		return nil, err
	}
	reader, err := p.box.Load().reader(name)
	if err != nil {
		return nil, err
	}
	s := &sender{name: title, config: c, external: external, box: p.box.Load(), reader: reader,
		metadata: p.store.metadata, metrics: p.metrics, log: p.store.log}
	s.client.Store(client)
	return &posted{sender: s, hash: external.String() + text}, nil
}

func (p *post) start(ctx context.Context, s *posted) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	p.metrics.begin(s.sender)
	all.Go(func() { s.run(ctx) })
	if s.config.MetadataConfig.Send && s.config.ProtobufMessage == remoteapi.WriteV1MessageType {
		all.Go(func() { s.tellMetadata(ctx) })
	}
	s.stop = func() { cancel(); all.Wait() }
}

// forget drops the places of all other receivers, and the outbox with the last.
func (p *post) forget(names []string) error {
	if len(names) > 0 {
		return p.box.Load().forget(func(name string) bool { return slices.Contains(names, name) })
	}
	if b := p.box.Swap(nil); b != nil {
		b.close()
	}
	if err := os.RemoveAll(outboxIn(p.store.dir())); err != nil {
		return fmt.Errorf("remove outbox: %w", err)
	}
	return nil
}

// keep keeps the outbox in order until ctx ends.
func (p *post) keep(ctx context.Context) {
	for n := 0; pause(ctx, time.Second); n++ {
		b := p.box.Load()
		if b == nil {
			continue
		}
		err := b.sync()
		if n%10 == 0 {
			c := p.store.plan.Load().config
			err = errors.Join(err, b.trim(time.Duration(c.Retention), int64(c.Backlog)))
			p.measure(b)
		}
		if err != nil {
			p.store.log.Error("remote_write", "err", err)
		}
	}
}

func (p *post) measure(b *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.senders {
		p.metrics.backlog.WithLabelValues(s.labels()...).Set(float64(b.size(s.reader.place())))
	}
}

// stop ends all senders, and close forgets the outbox. What is not sent stays there.
func (p *post) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.senders {
		s.stop()
	}
	p.senders = map[string]*posted{}
}

func (p *post) close() error {
	if b := p.box.Swap(nil); b != nil {
		return b.close()
	}
	return nil
}

// tellMetadata says every minute what the metrics are. In version 2 every series says so itself.
func (s *sender) tellMetadata(ctx context.Context) {
	for pause(ctx, time.Duration(s.config.MetadataConfig.SendInterval)) {
		about := s.metadata()
		for names := range slices.Chunk(slices.Sorted(maps.Keys(about)), s.config.MetadataConfig.MaxSamplesPerSend) {
			if _, err := s.try(ctx, describeAll(about, names), 0); err != nil {
				s.log.Debug("remote_write: metadata", "name", s.name, "err", err) // it comes again
			}
		}
	}
}

// metadata is what the scraped targets say of their metrics.
func (s *Store) metadata() map[string]metadatum {
	all := map[string]metadatum{}
	for _, targets := range s.scraper.TargetsActive() {
		for _, t := range targets {
			for _, m := range t.ListMetadata() {
				all[m.MetricFamily] = metadatum{m.Type, m.Help, m.Unit}
			}
		}
	}
	return all
}

// senderMetrics are named as Prometheus' own, so that what watches its remote write watches ours.
type senderMetrics struct {
	tried, refused, retried          contents
	described, bytes, dropped, given *prometheus.CounterVec
	newest, backlog                  *prometheus.GaugeVec
	duration                         *prometheus.HistogramVec
}

// contents counts what is in requests, by kind.
type contents struct{ samples, histograms, exemplars *prometheus.CounterVec }

func (c contents) add(s *sender, samples, histograms, exemplars int) {
	add(c.samples, s, samples)
	add(c.histograms, s, histograms)
	add(c.exemplars, s, exemplars)
}

func (c contents) addRequest(s *sender, r request) { c.add(s, r.samples, r.histograms, r.exemplars) }

func newSenderMetrics(s *Store) *senderMetrics {
	reg := s.registry
	by := []string{"remote_name", "url"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(slices.Clone(by), more...))
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		c := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, by)
		reg.MustRegister(c)
		return c
	}
	const prefix = "prometheus_remote_storage_"
	of := func(suffix, said string) contents {
		return contents{
			counter(prefix+"samples"+suffix, "Samples "+said),
			counter(prefix+"histograms"+suffix, "Native histograms "+said),
			counter(prefix+"exemplars"+suffix, "Exemplars "+said),
		}
	}
	m := &senderMetrics{
		tried:     of("_total", "sent to a receiver, tries that failed included."),
		refused:   of("_failed_total", "that a receiver has refused for what they are."),
		retried:   of("_retried_total", "that are sent again, as a try has failed."),
		described: counter(prefix+"metadata_total", "Descriptions of metrics sent to a receiver."),
		bytes:     counter(prefix+"bytes_total", "Bytes of samples sent to a receiver, compressed."),
		dropped:   counter(prefix+"samples_dropped_total", "Samples that are not sent as relabelling drops their series.", "reason"),
		newest:    gauge(prefix+"queue_highest_sent_timestamp_seconds", "Timestamp of the newest sample that a receiver has taken."),
		given: counter("yagura_store_remote_write_lost_samples_total",
			"Samples that a receiver will never get: older than the retention, more than remote_write_backlog or the disk holds, or damaged.", "reason"),
		backlog: gauge("yagura_store_remote_write_backlog_bytes", "Bytes of the write-ahead log that a receiver has not got yet, and a little more."),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    prefix + "sent_batch_duration_seconds",
			Help:    "Duration of tries to send to a receiver.",
			Buckets: []float64{.01, .1, 1, 10},
		}, by),
	}
	reg.MustRegister(m.duration, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + "highest_timestamp_in_seconds",
		Help: "Timestamp of the newest sample that the store has taken.",
	}, func() float64 { return float64(s.guard.newest.Load()) / 1000 }))
	return m
}

// labels are those of a sender's series.
func (s *sender) labels(more ...string) []string {
	return append([]string{s.name, s.config.URL.Redacted()}, more...)
}

var lossReasons = []string{"retention", "backlog", "disk", "damage", "unknown_series", "sample_age_limit"}

// begin has every counter exist from the start.
func (m *senderMetrics) begin(s *sender) {
	for _, c := range m.plain() {
		c.WithLabelValues(s.labels()...)
	}
	for _, reason := range lossReasons {
		m.given.WithLabelValues(s.labels(reason)...)
	}
}

func (m *senderMetrics) plain() []*prometheus.CounterVec {
	all := []*prometheus.CounterVec{m.described, m.bytes}
	for _, c := range []contents{m.tried, m.refused, m.retried} {
		all = append(all, c.samples, c.histograms, c.exemplars)
	}
	return all
}

func (m *senderMetrics) forget(s *sender) {
	of := prometheus.Labels{"remote_name": s.name, "url": s.config.URL.Redacted()}
	for _, c := range append(m.plain(), m.dropped, m.given) {
		c.DeletePartialMatch(of)
	}
	m.newest.DeletePartialMatch(of)
	m.backlog.DeletePartialMatch(of)
	m.duration.DeletePartialMatch(of)
}

func add(c *prometheus.CounterVec, s *sender, n int) {
	if n > 0 {
		c.WithLabelValues(s.labels()...).Add(float64(n))
	}
}

func (m *senderMetrics) attempted(s *sender, r request, took time.Duration) {
	m.tried.addRequest(s, r)
	add(m.described, s, r.metadata)
	m.duration.WithLabelValues(s.labels()...).Observe(took.Seconds())
}

// sent counts what a receiver has taken. One of version 2 says how much that was.
func (m *senderMetrics) sent(s *sender, r request, stats remote.WriteResponseStats) {
	add(m.bytes, s, len(r.body))
	if r.newest > 0 {
		m.newest.WithLabelValues(s.labels()...).Set(float64(r.newest) / 1000)
	}
	if stats.Confirmed && r.size() > 0 {
		m.refused.add(s, r.samples-stats.Samples, r.histograms-stats.Histograms, r.exemplars-stats.Exemplars)
	}
}

func (m *senderMetrics) lost(s *sender, reason string, n int) {
	m.given.WithLabelValues(s.labels(reason)...).Add(float64(n))
}
