package promql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Prometheus' own queue forgets what it has not sent when it restarts, and when the log is truncated under it. So this is
// ours: it reads the outbox, sends, and remembers how far it has got. Nothing waits in memory but what is being sent.

var readerMetrics = wlog.NewLiveReaderMetrics(nil)

// A sender passes all samples on to one receiver.
type sender struct {
	name     string // of its place in the outbox
	config   *config.RemoteWriteConfig
	external labels.Labels
	client   atomic.Pointer[remote.WriteClient] // a newer one after a reload, with newer secrets
	box      *outbox
	reader   *reader
	metadata func() map[string]metadatum
	metrics  *senderMetrics
	log      *slog.Logger

	series     map[chunks.HeadSeriesRef]*sentSeries // what the log has named so far
	checkpoint int                                  // whose series are among them
	decoder    record.Decoder
	builder    *labels.Builder
	batch      batch
	scratch    batch
}

// A sentSeries is a series as the receiver gets to know it.
type sentSeries struct {
	labels  labels.Labels
	dropped bool // by relabelling
	seen    int  // the last segment or checkpoint that named it
}

// A batch is what has been read and not yet sent.
type batch struct {
	samples    []record.RefSample
	exemplars  []record.RefExemplar
	histograms []record.RefHistogramSample
	floats     []record.RefFloatHistogramSample
	oldest     int64 // timestamp
	end        place
	born       time.Time // when it got its first
}

func (b *batch) size() int {
	return len(b.samples) + len(b.exemplars) + len(b.histograms) + len(b.floats)
}

func (b *batch) clear(at place) {
	*b = batch{b.samples[:0], b.exemplars[:0], b.histograms[:0], b.floats[:0], 0, at, time.Time{}}
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) {
	s.builder = labels.NewBuilder(labels.EmptyLabels())
	for ctx.Err() == nil {
		err := s.follow(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Error("remote_write cannot read the write-ahead log", "name", s.name, "err", err)
		pause(ctx, 5*time.Second)
	}
}

// pause waits, and says whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// follow learns the names of the series, and then sends segment after segment.
func (s *sender) follow(ctx context.Context) error {
	at := s.reader.place()
	if err := s.learn(ctx, at.segment); err != nil {
		return err
	}
	s.batch.clear(at)
	for ctx.Err() == nil {
		if err := s.segment(ctx, s.batch.end); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		s.batch.end = place{s.batch.end.segment + 1, 0}
		if err := s.reset(s.batch.end.segment); err != nil {
			return err
		}
	}
	return nil
}

// learn reads the series of everything before a segment.
func (s *sender) learn(ctx context.Context, before int) error {
	s.series = map[chunks.HeadSeriesRef]*sentSeries{}
	s.decoder = record.NewDecoder(nil, s.log)
	checkpoint, first := s.box.first(before)
	s.checkpoint = checkpoint
	if checkpoint >= 0 {
		if err := s.readCheckpoint(checkpoint, s.learnNames); err != nil {
			return err
		}
	}
	for n := first; n < before && ctx.Err() == nil; n++ {
		if err := s.readNames(wlog.SegmentName(s.box.dir, n), n, s.learnNames); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) readCheckpoint(n int, do func([]record.RefSeries, int)) error {
	dir := wlog.CheckpointDir(s.box.dir, n)
	parts, err := segmentsIn(dir)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := s.readNames(wlog.SegmentName(dir, part), n, do); err != nil {
			return err
		}
	}
	return nil
}

// readNames hands on the series that a segment names. A segment may be gone, or end in damage: then their samples are
// counted as those of unknown series.
func (s *sender) readNames(path string, n int, do func([]record.RefSeries, int)) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var all []record.RefSeries
	for r := wlog.NewLiveReader(s.log, readerMetrics, f); r.Next(); {
		if s.decoder.Type(r.Record()) != record.Series {
			continue
		}
		if all, err = s.decoder.Series(r.Record(), all[:0]); err == nil {
			do(all, n)
		}
	}
	return nil
}

// learnNames remembers series as the receiver is to see them.
func (s *sender) learnNames(all []record.RefSeries, segment int) {
	for _, one := range all {
		s.builder.Reset(one.Labels)
		addExternal(s.builder, one.Labels, s.external)
		keep := relabel.ProcessBuilder(s.builder, s.config.WriteRelabelConfigs...)
		named := &sentSeries{seen: segment, dropped: !keep}
		if keep {
			named.labels = s.builder.Labels()
		}
		s.series[one.Ref] = named
	}
}

// reset forgets the series that the newest checkpoint before a segment does not name any more.
func (s *sender) reset(segment int) error {
	checkpoint, _ := s.box.first(segment)
	if checkpoint <= s.checkpoint {
		return nil
	}
	err := s.readCheckpoint(checkpoint, func(all []record.RefSeries, n int) {
		for _, one := range all {
			if known := s.series[one.Ref]; known != nil {
				known.seen = max(known.seen, n)
			}
		}
	})
	if err != nil {
		return err
	}
	s.checkpoint = checkpoint
	for ref, known := range s.series {
		if known.seen < checkpoint {
			delete(s.series, ref)
		}
	}
	return nil
}

// segment sends one segment from a place in it, until there is a next one.
func (s *sender) segment(ctx context.Context, from place) error {
	f, err := s.open(ctx, from.segment)
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	r := wlog.NewLiveReader(s.log, readerMetrics, f)
	for record := 0; ctx.Err() == nil; {
		more := s.box.more() // before the read, so that nothing slips between
		last := s.ended(from.segment)
		for ctx.Err() == nil && r.Next() {
			record++
			sent := record <= from.record
			s.take(ctx, r.Record(), from.segment, sent)
			if !sent {
				s.batch.end = place{from.segment, record}
			}
			if s.batch.size() >= s.round() {
				s.flush(ctx)
			}
			if s.batch.size() > 0 && s.batch.born.IsZero() {
				s.batch.born = time.Now()
			}
		}
		if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
			s.log.Error("remote_write skips the rest of a damaged segment", "name", s.name, "segment", from.segment, "err", err)
			s.flush(ctx)
			return s.awaitNext(ctx, from.segment)
		}
		if last {
			s.flush(ctx)
			return nil
		}
		s.await(ctx, more)
	}
	return nil
}

// open opens a segment, and waits for it to be there. One that has been given up is none.
func (s *sender) open(ctx context.Context, n int) (*os.File, error) {
	for ctx.Err() == nil {
		f, err := os.Open(wlog.SegmentName(s.box.dir, n))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if s.ended(n) {
			return nil, nil
		}
		pause(ctx, 100*time.Millisecond)
	}
	return nil, nil
}

// ended says whether a segment is complete: there is a next one.
func (s *sender) ended(n int) bool {
	if err := s.box.sync(); err != nil {
		s.log.Error("remote_write", "err", err)
	}
	all, _ := segmentsIn(s.box.dir)
	return len(all) > 0 && all[len(all)-1] > n
}

func (s *sender) awaitNext(ctx context.Context, n int) error {
	for !s.ended(n) && pause(ctx, time.Second) {
	}
	return nil
}

// linger is how long a batch waits for more, at most: a scrape and a group of rules come in many small commits.
const linger = time.Second

// await waits for more to read, and sends what has waited long enough.
func (s *sender) await(ctx context.Context, more <-chan struct{}) {
	patience := linger
	if s.batch.size() > 0 {
		patience = min(patience, time.Duration(s.config.QueueConfig.BatchSendDeadline)) - time.Since(s.batch.born)
	}
	if patience <= 0 || s.batch.size() == 0 {
		s.flush(ctx) // without samples it only remembers the place
	}
	if patience <= 0 {
		return
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-more:
	}
}

// maxLanes is how many requests are under way at once, at most.
const maxLanes = 8

func (s *sender) lanes() int { return min(s.config.QueueConfig.MaxShards, maxLanes) }

// round is how much is read before it is sent.
func (s *sender) round() int { return s.config.QueueConfig.MaxSamplesPerSend * s.lanes() }

// take adds a record to the batch. Of what was sent before only the names of series are wanted.
func (s *sender) take(ctx context.Context, rec []byte, segment int, sent bool) {
	var err error
	b, new := &s.batch, &s.scratch // a decoder may forget what its slice holds, so it gets one of its own
	switch kind := s.decoder.Type(rec); {
	case kind == record.Series:
		var all []record.RefSeries
		all, err = s.decoder.Series(rec, nil)
		s.learnNames(all, segment)
	case sent:
	case kind == record.Samples || kind == record.SamplesV2:
		new.samples, err = s.decoder.Samples(rec, new.samples[:0])
		if len(new.samples) > 0 {
			s.since(ctx, new.samples[0].T)
		}
		b.samples = append(b.samples, new.samples...)
	case kind == record.Exemplars && s.config.SendExemplars:
		new.exemplars, err = s.decoder.Exemplars(rec, new.exemplars[:0])
		if len(new.exemplars) > 0 {
			s.since(ctx, new.exemplars[0].T)
		}
		b.exemplars = append(b.exemplars, new.exemplars...)
	case kind == record.HistogramSamples || kind == record.CustomBucketsHistogramSamples || kind == record.HistogramSamplesV2:
		new.histograms, err = s.decoder.HistogramSamples(rec, new.histograms[:0])
		if len(new.histograms) > 0 {
			s.since(ctx, new.histograms[0].T)
		}
		b.histograms = append(b.histograms, new.histograms...)
	case kind == record.FloatHistogramSamples || kind == record.CustomBucketsFloatHistogramSamples || kind == record.FloatHistogramSamplesV2:
		new.floats, err = s.decoder.FloatHistogramSamples(rec, new.floats[:0])
		if len(new.floats) > 0 {
			s.since(ctx, new.floats[0].T)
		}
		b.floats = append(b.floats, new.floats...)
	}
	if err != nil {
		s.metrics.lost(s, "damage", 1)
		s.log.Error("remote_write skips a damaged record", "name", s.name, "segment", segment, "err", err)
	}
}

// span is how much time the samples of a batch cover, at most. Lanes do not wait for one another, and a receiver may not
// take what is an hour older than what it has got already.
const span = 5 * time.Minute

// since sends the batch first if what comes next is much newer.
func (s *sender) since(ctx context.Context, at int64) {
	if s.batch.size() > 0 && at-s.batch.oldest > span.Milliseconds() {
		s.flush(ctx)
	}
	if s.batch.size() == 0 {
		s.batch.oldest = at
	}
}

// flush sends the batch, and remembers that.
func (s *sender) flush(ctx context.Context) {
	b := &s.batch
	if b.size() > 0 {
		requests := s.encode(b)
		if !s.deliver(ctx, requests, b.end) {
			return
		}
	}
	if b.end != s.reader.place() {
		if err := s.reader.move(b.end); err != nil {
			s.log.Error("remote_write cannot remember its place", "name", s.name, "err", err)
		}
	}
	b.clear(b.end)
}

// deliver sends requests: those of one lane one after the other, as a series' samples must stay in order. It says
// whether they are done with, which they are not when ctx ends.
func (s *sender) deliver(ctx context.Context, lanes [][]request, at place) bool {
	var all sync.WaitGroup
	done := make([]bool, len(lanes))
	for i, lane := range lanes {
		all.Go(func() {
			done[i] = !slices.ContainsFunc(lane, func(r request) bool { return !s.persist(ctx, r, at) })
		})
	}
	all.Wait()
	return !slices.Contains(done, false)
}

// persist sends a request until it is taken, refused for what it is, or given up for its age. Only the end of ctx leaves
// it undone.
func (s *sender) persist(ctx context.Context, r request, at place) bool {
	wait := time.Duration(s.config.QueueConfig.MinBackoff)
	for attempt := 0; ; attempt++ {
		if s.tooOld(r, at) {
			return true
		}
		after, err := s.try(ctx, r, attempt)
		if err == nil {
			return true
		}
		if after < 0 {
			s.metrics.refused.addRequest(s, r)
			s.log.Error("remote_write: the receiver does not want samples", "name", s.name, "samples", r.samples, "histograms", r.histograms, "err", err)
			return true
		}
		s.metrics.retried.addRequest(s, r)
		if attempt == 3 {
			s.log.Warn("remote_write waits for its receiver", "name", s.name, "url", s.config.URL.Redacted(), "err", err)
		}
		if !pause(ctx, max(wait, after)) {
			return false
		}
		wait = min(2*wait, time.Duration(s.config.QueueConfig.MaxBackoff))
	}
}

// tooOld says whether a request is given up.
func (s *sender) tooOld(r request, at place) bool {
	limit := time.Duration(s.config.QueueConfig.SampleAgeLimit)
	switch {
	case int64(at.segment) < s.box.floor.Load():
		s.metrics.lost(s, s.box.why.Load().(string), r.samples+r.histograms)
	case limit > 0 && r.newest < time.Now().Add(-limit).UnixMilli():
		s.metrics.lost(s, "sample_age_limit", r.samples+r.histograms)
	default:
		return false
	}
	return true
}

// maxRetryAfter bounds how long a receiver may tell us to wait.
const maxRetryAfter = 5 * time.Minute

// try sends a request once. If it fails, it says how long the receiver wants to be left alone; less than 0 if another
// try is of no use.
func (s *sender) try(ctx context.Context, r request, attempt int) (time.Duration, error) {
	var seen reply
	began := time.Now()
	stats, err := (*s.client.Load()).Store(context.WithValue(ctx, replyKey{}, &seen), r.body, attempt)
	s.metrics.attempted(s, r, time.Since(began))
	if err == nil && s.config.ProtobufMessage == remoteapi.WriteV2MessageType && r.size() > 0 && stats.NoDataWritten() {
		return 0, errors.New("the receiver says that it has written nothing: want one that knows remote write 2, or protobuf: v1")
	}
	if err == nil {
		s.metrics.sent(s, r, stats)
		return 0, nil
	}
	if seen.refused() {
		return -1, err
	}
	return min(seen.after, maxRetryAfter), err
}

// A reply is what the client does not tell of a receiver's answer.
type reply struct {
	status int
	after  time.Duration
}

// refused says whether the samples are what is wrong, and not who sends them, or where, or when.
func (r reply) refused() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

type replyKey struct{}

// A listener tells whoever sends a request what the answer was.
type listener struct{ http.RoundTripper }

// RoundTrip sends one request.
func (l listener) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if to, ok := r.Context().Value(replyKey{}).(*reply); ok && err == nil {
		to.status = resp.StatusCode
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			to.after = time.Duration(min(seconds, math.MaxInt32)) * time.Second
		}
	}
	return resp, err
}

func newClient(name string, c *config.RemoteWriteConfig) (*remote.WriteClient, error) {
	client, err := remote.NewWriteClient(name, &remote.ClientConfig{
		URL:              c.URL,
		WriteProtoMsg:    c.ProtobufMessage,
		Timeout:          c.RemoteTimeout,
		HTTPClientConfig: c.HTTPClientConfig,
		SigV4Config:      c.SigV4Config,
		AzureADConfig:    c.AzureADConfig,
		GoogleIAMConfig:  c.GoogleIAMConfig,
		Headers:          c.Headers,
		RoundRobinDNS:    c.RoundRobinDNS,
	})
	if err != nil {
		return nil, fmt.Errorf("remote_write %s: %w", c.URL.Redacted(), err)
	}
	inner := client.(*remote.Client).Client
	inner.Transport = listener{inner.Transport}
	return &client, nil
}
