package exporter

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// A RequestSource tells of requests what is not counted by slot; a bpf.Agent does.
type RequestSource interface {
	Unmatched(yield func(protocol, reason string, n uint64)) error
	RequestSamples(ctx context.Context, sink func(*bpf.RequestSample)) error
	SetRequests(bpf.RequestOptions) error
	Attached(program string) bool
}

// RequestsOptions say where requests come from, and what is asked about single ones. A nil function is not asked.
type RequestsOptions struct {
	Kernel *Kernel
	Source RequestSource
	Config requests.Config
	Peer   func(*requests.Sample) string   // who was at the other end
	Find   func(pid uint32) *event.Process // who has a pid now
	Answer func(*bpf.RequestSample)        // takes DNS answers, which it must not keep
	Log    *slog.Logger
}

// A Requests collector shows how long the requests took that workloads have sent and answered, and how they ended, by
// protocol. It keeps some of them to be looked at.
type Requests struct {
	o       RequestsOptions
	samples *requests.Samples
	bounds  []float64

	durations       []*Family     // as requests.Metrics
	sizes           [2][2]*Family // as requests.SizeMetrics
	unmatched, lost *Family

	mu        sync.Mutex // guards what follows
	exhibited uint64     // how many samples have become exemplars
}

// NewRequests returns the collector.
func NewRequests(o RequestsOptions) *Requests {
	o.Config = o.Config.OrDefault()
	r := &Requests{
		o: o, bounds: o.Config.Bounds,
		unmatched: NewCounter("yagura_l7_unmatched_total",
			"Messages of a known protocol that made no request: an answer to what was asked before (no_request), where messages begin was lost until the direction changed (lost_framing), more kinds waited than are told apart (queue_merged), a table was full (no_room), headers that refer to others which were not seen (header_table).",
			"protocol", "reason").Fixed(),
		lost: NewCounter("yagura_request_names_lost_total",
			"Names of routes, operations and methods that became other, as there was no room for their spelling (full) or the kernel side could not tell it (untold).", "reason").Fixed(),
	}
	r.samples = requests.NewSamples(time.Now(), requests.SamplesOptions{Names: o.Kernel.names, Workload: o.Kernel.Workload, Process: r.process})
	for _, m := range requests.Metrics {
		r.durations = append(r.durations, NewRequestHistogram(m.Name, m.Help, r.bounds, m.Labels...).PerWorkload().Keeping(requests.ErrorLabel))
	}
	for side, of := range requests.SizeMetrics {
		for i, m := range of {
			r.sizes[side][i] = NewSizeHistogram(m.Name, m.Help, m.Labels...).PerWorkload().Keeping(requests.ErrorLabel)
		}
	}
	r.show(o.Config)
	return r
}

// show changes what of requests is shown.
func (r *Requests) show(c requests.Config) {
	r.o.Kernel.names.Configure(c)
	r.samples.Turn(c.Samples)
}

// Entry returns the collector's row in the list of collectors.
func (r *Requests) Entry() Entry {
	return Entry{
		Name: "requests", Help: "Latency, errors and traffic of requests by workload and protocol, paired in the kernel.", Default: true,
		Collector: r, Families: r.families(),
	}
}

func (r *Requests) families() []*Family {
	return slices.Concat(r.durations, r.sizes[0][:], r.sizes[1][:], []*Family{r.unmatched, r.lost})
}

// Configure changes how requests are told apart and which are kept. The bounds stay as they were at the start: what was
// counted has those.
func (r *Requests) Configure(c requests.Config) {
	c = c.OrDefault()
	if !slices.Equal(c.Bounds, r.bounds) {
		r.o.Log.Warn("requests.bounds are changed by the next start", "until then", r.bounds)
		c.Bounds = r.bounds
	}
	if err := r.o.Source.SetRequests(c.Kernel()); err != nil && r.watched() {
		r.o.Log.Warn("requests are not looked at as the configuration says", "err", err)
	}
	r.show(c)
}

// watched says whether the kernel side looks at requests at all.
func (r *Requests) watched() bool { return r.o.Source.Attached("l7_exit") }

// Run takes samples until ctx is done.
func (r *Requests) Run(ctx context.Context) error { return r.o.Source.RequestSamples(ctx, r.take) }

func (r *Requests) take(s *bpf.RequestSample) {
	if s.Kind&bpf.SampleAnswer != 0 && r.o.Answer != nil {
		r.o.Answer(s)
	}
	r.o.Kernel.names.Learn(s)
	r.samples.Keep(s, time.Now())
}

// Update sends all families. A workload gets a series when there is a request for it.
func (r *Requests) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.families() {
		f.Begin()
	}
	if err := r.o.Kernel.read(r.showWorkload); err != nil {
		return err
	}
	r.exhibit()
	err := r.showUnmatched()
	for _, f := range r.families() {
		f.Send(ch)
	}
	return err
}

func (r *Requests) showWorkload(w *workloadTotals) {
	for series, t := range w.requests {
		r.durations[series.Metric].AddRequests(w.Workload, t, series.Labels()...)
	}
	for series, sizes := range w.sizes {
		for i := range sizes.Of {
			r.sizes[series.Metric][i].AddSizes(w.Workload, &sizes.Of[i], series.Labels()...)
		}
	}
}

func (r *Requests) showUnmatched() error {
	var host event.Workload
	lost := r.o.Kernel.names.Lost()
	r.lost.Set(host, float64(lost.Full), "full")
	r.lost.Set(host, float64(lost.Untold), "untold")
	return r.o.Source.Unmatched(func(protocol, reason string, n uint64) {
		if protocol != "unknown" && protocol != "tls" { // which have no messages
			r.unmatched.Set(host, float64(n), protocol, reason)
		}
	})
}

// settled is how old a sample is when it surely is among what was counted.
const settled = time.Second

// exhibit makes exemplars of the samples that have come since the last time.
func (r *Requests) exhibit() {
	var fresh []requests.Sample
	fresh, r.exhibited = r.samples.Since(r.exhibited, time.Now().Add(-settled))
	for _, s := range fresh {
		series, ok := requests.SeriesOf(&s.Key, s.Name)
		if !ok || !s.Named || !s.Placed {
			continue
		}
		label := map[string]string{"request_id": s.ID}
		if s.Trace != "" {
			label = map[string]string{"trace_id": s.Trace}
		}
		r.durations[series.Metric].Exemplify(s.Workload, Exemplar{Labels: label, Value: s.Duration.Seconds(), Time: s.Time}, series.Labels()...)
	}
}

// requestFilters are what rows of requests can be chosen by.
var requestFilters = []string{"id", "trace_id", "protocol", "role", "method", "status", "name", "error_type", "kind"}

// Samples serves the requests that were kept, the latest first: /api/yagura/requests. Besides what all endpoints have it
// filters by what a row shows; kind is one of slow, failed and regular.
func (r *Requests) Samples() http.Handler {
	return FilteredRows(requestFilters, func(w http.ResponseWriter, q Query) { ServeRows(w, q, r.rows(q)) })
}

// A requestRow is a request as /api/yagura/requests shows it.
type requestRow struct {
	ID        string            `json:"id"`
	Time      time.Time         `json:"time"`
	Duration  float64           `json:"duration_seconds"`
	Workload  map[string]string `json:"workload"`
	Role      string            `json:"role"`
	Protocol  string            `json:"protocol"`
	Method    string            `json:"method,omitempty"`
	Name      string            `json:"name"`
	Path      string            `json:"path,omitempty"` // of HTTP, if name does not tell it: all that is not fixed is folded
	Status    string            `json:"status"`
	End       string            `json:"end"`
	ErrorType string            `json:"error_type"`
	Kinds     []string          `json:"kinds"`
	TraceID   string            `json:"trace_id,omitempty"`
	Peer      string            `json:"peer,omitempty"`
	PID       uint32            `json:"pid"`
	Process   string            `json:"process,omitempty"`
}

func (r *Requests) rows(q Query) []requestRow {
	rows := []requestRow{}
	kept, _ := r.samples.Since(0, time.Now())
	for _, s := range slices.Backward(kept) {
		if !q.Wants(s.Workload, s.Time) {
			continue
		}
		if row, ok := rowOfRequest(&s); ok && row.wanted(q) {
			if r.o.Peer != nil {
				row.Peer = r.o.Peer(&s)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// process is what a process is called that runs now; "" if it is not known.
func (r *Requests) process(pid uint32) string {
	if r.o.Find == nil {
		return ""
	}
	if p := r.o.Find(pid); p != nil {
		return p.Name()
	}
	return ""
}

func rowOfRequest(s *requests.Sample) (row requestRow, ok bool) {
	series, ok := requests.SeriesOf(&s.Key, s.Name)
	if !ok {
		return row, false
	}
	row = requestRow{ID: s.ID, Time: s.Time.UTC(), Duration: s.Duration.Seconds(), Workload: labelsOf(s.Workload), Role: requests.Role(s.Key.Server),
		Protocol: s.Key.Protocol, Name: s.Name, Path: s.Path, Status: requests.StatusText(&s.Key), End: s.Key.End,
		ErrorType: series.ErrorType(), Kinds: s.Kinds(), TraceID: s.Trace, PID: s.PID, Process: s.Process}
	if s.Key.Protocol == "http" || s.Key.Protocol == "http2" {
		row.Method = s.Key.Method
	}
	return row, true
}

func (r *requestRow) wanted(q Query) bool {
	kind, given := q.Filters["kind"]
	return (!given || slices.Contains(r.Kinds, kind)) && q.has("id", r.ID) && q.has("trace_id", r.TraceID) && q.has("protocol", r.Protocol) &&
		q.has("role", r.Role) && q.has("method", r.Method) && q.has("status", r.Status) && q.has("name", r.Name) && q.has("error_type", r.ErrorType)
}

// peerOf names who is at the other end of a request.
func (e *Edges) peerOf(s *requests.Sample) string {
	return e.edges.Peers().Find(s.Key.Slot, s.Remote, !s.Key.Server, time.Now()).Name
}
