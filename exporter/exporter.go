// Package exporter shows what the machine measures of itself, as Prometheus metrics: the collectors, the caps on how
// many series there are, and the /metrics handler. It does not know who scrapes.
package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

const (
	defaultTimeout  = 5 * time.Second
	defaultRequests = 40

	scrapeTimeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"
)

var errTooLate = errors.New("another scrape took all the time that this one had")

// Options say what an Exporter shows.
type Options struct {
	Collectors []Entry // those that are on
	Log        *slog.Logger
	Limits     Limits        // Default.Limits if zero
	Timeout    time.Duration // for one collector in one scrape; 5 s if zero
	Requests   int           // scrapes waiting or served at a time; 40 if zero
	Start      time.Time     // when counting began; now if zero
}

// An Exporter runs collectors and shows what they send. It is a prometheus.Gatherer.
type Exporter struct {
	log        *slog.Logger
	timeout    time.Duration
	budget     *budget
	collectors []*collector
	families   []*Family // of the collectors
	own        *ownMetrics
	calls      sync.WaitGroup

	requests chan struct{} // one token for each request
	turn     chan struct{} // held from the start of the collectors until their metrics are encoded
	mu       sync.Mutex
	running  map[string]*scrape // by the set of collectors

	bodies  sync.Pool
	zippers sync.Pool
	merge   merge // owned by who has the turn
}

// New returns an exporter of these collectors. Every family of an entry is from now on under its caps.
func New(o Options) *Exporter {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Limits == (Limits{}) {
		o.Limits = Default.Limits
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Requests == 0 {
		o.Requests = defaultRequests
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	e := &Exporter{
		log:      o.Log,
		timeout:  o.Timeout,
		budget:   newBudget(o.Limits),
		own:      newOwnMetrics(),
		requests: make(chan struct{}, o.Requests),
		turn:     make(chan struct{}, 1),
		running:  map[string]*scrape{},
		bodies:   sync.Pool{New: func() any { return new(bytes.Buffer) }},
		zippers:  sync.Pool{New: newZipper},
	}
	e.merge = newMerge(o.Log, e.budget)
	for _, f := range e.own.families() {
		f.bind(e.budget, o.Start)
	}
	for _, entry := range o.Collectors {
		e.collectors = append(e.collectors, newCollector(entry, o.Log, &e.calls))
		for _, f := range entry.Families {
			if !f.foreign {
				e.families = append(e.families, f)
			}
		}
	}
	for _, f := range e.families {
		f.bind(e.budget, o.Start)
	}
	return e
}

func newZipper() any {
	// The level is valid, so there is no error.
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return z
}

// AddStore shows what the embedded store says of itself. Call it before the first scrape.
func (e *Exporter) AddStore(g prometheus.Gatherer) {
	entry := Entry{Name: "store", Help: "The embedded Prometheus, in its own words.", Collector: Gathered(g)}
	e.collectors = append(e.collectors, newCollector(entry, e.log, &e.calls))
}

// SetLimits changes the caps. What already has a place keeps it.
func (e *Exporter) SetLimits(l Limits) { e.budget.set(l) }

// Wait returns when no collector runs any more, or ctx is done. It is for the end of the program.
func (e *Exporter) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		e.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for collectors: %w", ctx.Err())
	}
}

// Gather runs all collectors. What it returns is a copy that the caller may keep.
func (e *Exporter) Gather() ([]*dto.MetricFamily, error) {
	families, release, err := e.gather(context.Background(), e.collectors, time.Time{})
	if err != nil {
		return nil, err
	}
	defer release()
	copies := make([]*dto.MetricFamily, len(families))
	for i, family := range families {
		copies[i] = proto.Clone(family).(*dto.MetricFamily)
	}
	return copies, nil
}

// Handler returns the handler of /metrics. The parameters collect[] and exclude[] choose collectors, name[] metrics.
func (e *Exporter) Handler() http.Handler { return http.HandlerFunc(e.serve) }

// Mount adds /metrics, and what the lifecycle answers.
func (e *Exporter) Mount(mux *http.ServeMux, l *Lifecycle) {
	mux.Handle("/metrics", e.Handler())
	mux.Handle("/-/", l)
}

func (e *Exporter) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
		return
	}
	select {
	case e.requests <- struct{}{}:
		defer func() { <-e.requests }()
	default:
		http.Error(w, fmt.Sprintf("%d scrapes are being served already", cap(e.requests)), http.StatusServiceUnavailable)
		return
	}
	chosen, err := e.choose(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel, by := withScrapeTimeout(r)
	defer cancel()
	body := e.bodies.Get().(*bytes.Buffer)
	defer e.bodies.Put(body)
	body.Reset()
	a := &answer{header: w.Header(), status: http.StatusOK, body: body}
	if err := e.encode(ctx, a, r, chosen, by); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Add("Vary", "Accept-Encoding")
	if !acceptsGzip(r.Header.Get("Accept-Encoding")) {
		w.WriteHeader(a.status)
		// A scraper that has gone away is not our failure.
		_, _ = w.Write(body.Bytes())
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(a.status)
	e.compress(w, body.Bytes())
}

// compress takes a fifth of the time that promhttp's compression would, for hardly more bytes.
func (e *Exporter) compress(w io.Writer, body []byte) {
	z := e.zippers.Get().(*gzip.Writer)
	defer e.zippers.Put(z)
	z.Reset(w)
	// A scraper that has gone away is not our failure.
	_, _ = z.Write(body)
	_ = z.Close()
}

func acceptsGzip(header string) bool {
	for offer := range strings.SplitSeq(header, ",") {
		coding, parameter, _ := strings.Cut(offer, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		weight, weighted := strings.CutPrefix(strings.TrimSpace(parameter), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !weighted || err == nil && q > 0
	}
	return false
}

// encode gathers and encodes into memory, so that a slow reader does not keep the collectors from the next scrape.
func (e *Exporter) encode(ctx context.Context, w http.ResponseWriter, r *http.Request, chosen []*collector, by time.Time) error {
	families, release, err := e.gather(ctx, chosen, by)
	if err != nil {
		return err
	}
	defer release()
	gathered := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	promhttp.HandlerFor(gathered, promhttp.HandlerOpts{
		EnableOpenMetrics:  true,
		DisableCompression: true, // that is done once the collectors are free again
		ErrorHandling:      promhttp.ContinueOnError,
		ErrorLog:           slog.NewLogLogger(e.log.Handler(), slog.LevelError),
	}).ServeHTTP(w, r)
	return nil
}

// An answer is a response that is still being made.
type answer struct {
	header http.Header
	status int
	body   *bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// withScrapeTimeout returns a context that lives as long as the scraper waits, and by when the collectors must be done,
// so that there is time left to encode.
func withScrapeTimeout(r *http.Request) (ctx context.Context, cancel context.CancelFunc, by time.Time) {
	now := time.Now()
	seconds, err := strconv.ParseFloat(r.Header.Get(scrapeTimeoutHeader), 64)
	if err != nil || !(seconds > 0) || seconds > math.MaxInt32 {
		ctx, cancel = context.WithCancel(r.Context())
		return ctx, cancel, time.Time{}
	}
	timeout := time.Duration(seconds * float64(time.Second))
	ctx, cancel = context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, now.Add(timeout - min(timeout/10, 500*time.Millisecond))
}

// choose returns the collectors that a request asks for, in the order of the list.
func (e *Exporter) choose(query url.Values) ([]*collector, error) {
	collect, exclude := query["collect[]"], query["exclude[]"]
	if len(collect) == 0 && len(exclude) == 0 {
		return e.collectors, nil
	}
	for _, name := range slices.Concat(collect, exclude) {
		if !slices.ContainsFunc(e.collectors, func(c *collector) bool { return c.name == name }) {
			return nil, fmt.Errorf("unknown or disabled collector %q; there are: %s", name, strings.Join(e.names(), ", "))
		}
	}
	var chosen []*collector
	for _, c := range e.collectors {
		if (len(collect) == 0 || slices.Contains(collect, c.name)) && !slices.Contains(exclude, c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

func (e *Exporter) names() []string {
	var names []string
	for _, c := range e.collectors {
		names = append(names, c.name)
	}
	return names
}

// A scrape is one run of a set of collectors. Those who ask for the same set before it is complete share it.
type scrape struct {
	ready    chan struct{} // closed when families or err is set
	families []*dto.MetricFamily
	err      error
	holders  int // who still reads families; guarded by Exporter.mu
}

// gather returns what the chosen collectors send. It is valid until release. The collectors have to be done by that
// time, if it is not zero; a scrape that is joined has its own.
func (e *Exporter) gather(ctx context.Context, chosen []*collector, by time.Time) (_ []*dto.MetricFamily, release func(), _ error) {
	key := setKey(chosen)
	for {
		s, leads := e.join(key)
		if leads {
			e.lead(ctx, s, key, chosen, by)
		} else if err := s.wait(ctx); err != nil {
			e.release(s)
			return nil, nil, err
		}
		if s.err == nil {
			return s.families, func() { e.release(s) }, nil
		}
		if leads || ctx.Err() != nil {
			return nil, nil, s.err
		}
	}
}

func (s *scrape) wait(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the scrape before: %w", ctx.Err())
	}
}

func setKey(chosen []*collector) string {
	var key strings.Builder
	for _, c := range chosen {
		key.WriteString(c.name)
		key.WriteByte(0)
	}
	return key.String()
}

// join returns the scrape of that set which is not complete yet, or a new one to lead.
func (e *Exporter) join(key string) (s *scrape, leads bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s = e.running[key]
	if s == nil {
		s, leads = &scrape{ready: make(chan struct{})}, true
		e.running[key] = s
	}
	s.holders++
	return s, leads
}

// lead waits for the turn and runs the scrape. It keeps the turn until the last holder releases it.
func (e *Exporter) lead(ctx context.Context, s *scrape, key string, chosen []*collector, by time.Time) {
	defer close(s.ready)
	defer func() {
		e.mu.Lock()
		delete(e.running, key)
		e.mu.Unlock()
	}()
	select {
	case e.turn <- struct{}{}:
		if !by.IsZero() && !time.Now().Before(by) {
			<-e.turn
			s.err = errTooLate
			return
		}
		s.families, s.err = e.collectSafely(ctx, chosen, by)
	case <-ctx.Done():
		s.err = fmt.Errorf("wait for another scrape: %w", ctx.Err())
	}
}

// collectSafely gives the turn back if our own code panics, so that the next scrape can go on.
func (e *Exporter) collectSafely(ctx context.Context, chosen []*collector, by time.Time) (families []*dto.MetricFamily, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("scrape panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("scrape: %w: %v", errPanic, p)
			<-e.turn
		}
	}()
	return e.collect(ctx, chosen, by), nil
}

func (e *Exporter) release(s *scrape) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.holders--; s.holders == 0 && s.err == nil {
		<-e.turn
	}
}

// collect runs the collectors at once and merges what they send. It does not stop when the scraper goes away: others
// may have joined, and the collectors end in bounded time.
func (e *Exporter) collect(ctx context.Context, chosen []*collector, by time.Time) []*dto.MetricFamily {
	if latest := time.Now().Add(e.timeout); by.IsZero() || by.After(latest) {
		by = latest
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), by)
	defer cancel()
	results := make([]result, len(chosen))
	var all sync.WaitGroup
	for i, c := range chosen {
		all.Go(func() { results[i] = c.run(ctx) })
	}
	all.Wait()
	e.merge.begin()
	for i := range results {
		e.merge.addResult(&results[i])
	}
	e.own.send(e, chosen, results)
	return e.merge.end()
}
