package exporter

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/requests"
	"github.com/yagura-io/yagura/rules/event"
)

// fakeRequests is what a test says that the kernel side tells of requests.
type fakeRequests struct {
	samples   []*bpf.RequestSample
	unmatched map[[2]string]uint64

	mu      sync.Mutex
	options []bpf.RequestOptions
}

func (f *fakeRequests) Unmatched(yield func(string, string, uint64)) error {
	for _, protocol := range bpf.Protocols {
		for _, reason := range bpf.UnmatchedReasons {
			yield(protocol, reason, f.unmatched[[2]string{protocol, reason}])
		}
	}
	return nil
}

func (f *fakeRequests) RequestSamples(ctx context.Context, sink func(*bpf.RequestSample)) error {
	for _, s := range f.samples {
		sink(s)
	}
	<-ctx.Done()
	return nil
}

func (f *fakeRequests) SetRequests(o bpf.RequestOptions) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.options = append(f.options, o)
	return nil
}

func (f *fakeRequests) Attached(string) bool { return true }

var shop = event.Workload{Container: "shop"}

// served is a request of GET as shop, in slot 1, answers it.
func served(name uint32, status uint16) bpf.RequestKey {
	return bpf.RequestKey{Slot: 1, Name: name, Protocol: "http", Method: "GET", Status: status, End: "ok", Server: true}
}

// told is the sample that spells a name of slot 1.
func told(name uint32, protocol string, text string) *bpf.RequestSample {
	return &bpf.RequestSample{RequestKey: bpf.RequestKey{Slot: 1, Name: name, Protocol: protocol, Server: true}, Kind: bpf.SampleName, Text: text}
}

// watchRequests returns a collector of shop, whose slot is 1.
func watchRequests(c requests.Config, counted map[bpf.RequestKey]bpf.RequestTotals, samples ...*bpf.RequestSample) (*Requests, *fakeKernel, *fakeRequests) {
	kernel := &fakeKernel{slots: []fakeSlot{slotOf(0, 0, 0), slotOf(1, 10, 0)}}
	kernel.slots[1].requests = counted
	k := NewKernel(kernel, func(uint64) (event.Workload, bool) { return shop, true })
	source := &fakeRequests{samples: samples}
	r := NewRequests(RequestsOptions{Kernel: k, Source: source, Config: c, Log: slog.New(slog.DiscardHandler)})
	for _, s := range samples {
		r.take(s)
	}
	return r, kernel, source
}

// passOf are all series of a pass.
func passOf(t *testing.T, r *Requests) (all []*series) {
	t.Helper()
	r.o.Kernel.taken = time.Time{}
	ch := make(chan prometheus.Metric, 10_000)
	if err := r.Update(t.Context(), ch); err != nil {
		t.Fatal(err)
	}
	close(ch)
	for m := range ch {
		all = append(all, m.(*series))
	}
	return all
}

// requestsOf are the values of all series of a pass, counts of histograms, by name and labels; empty labels are left out.
func requestsOf(t *testing.T, r *Requests) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, s := range passOf(t, r) {
		got[s.family.name+filledLabels(&s.metric)] = valueOf(&s.metric)
	}
	return got
}

// durationsOf are those of histograms.
func durationsOf(t *testing.T, r *Requests) map[string]float64 {
	t.Helper()
	got := requestsOf(t, r)
	maps.DeleteFunc(got, func(series string, _ float64) bool { return !strings.Contains(series, "_duration_seconds") })
	return got
}

func TestRequestsAreShownByWorkloadAndName(t *testing.T) {
	r, kernel, _ := watchRequests(requests.Config{}, map[bpf.RequestKey]bpf.RequestTotals{
		served(70, 200):            *totalsOf(0.1, 0.1),
		served(71, 200):            *totalsOf(0.1),
		served(bpf.NoName, 404):    *totalsOf(0.1),
		served(bpf.OtherName, 500): *totalsOf(0.1),
		{Slot: 1, Name: 72, Protocol: "http", Method: "GET", Status: 200, End: "ok"}: *totalsOf(0.1, 0.2, 0.3),
		{Slot: 1, Protocol: "tcp", End: "ok"}:                                        *totalsOf(0.1),
		{Slot: 1, Protocol: "tls", End: "ok"}:                                        *totalsOf(0.1),
		{Slot: 1, Protocol: "memcached", End: "one_way", Server: true}:               *totalsOf(0, 0),
	}, told(70, "http", "/cart"))
	want := map[string]float64{
		"http_server_request_duration_seconds container=shop http_request_method=GET http_response_status_code=200 http_route=/cart":                2,
		"http_server_request_duration_seconds container=shop http_request_method=GET http_response_status_code=404":                                 1,
		"http_server_request_duration_seconds container=shop error_type=500 http_request_method=GET http_response_status_code=500 http_route=other": 1,
		"http_client_request_duration_seconds container=shop http_request_method=GET http_response_status_code=200":                                 3,
		"yagura_tcp_exchange_duration_seconds container=shop role=client":                                                                           1,
		"db_server_operation_duration_seconds container=shop db_system_name=memcached":                                                              2,
	}
	if diff := cmp.Diff(want, durationsOf(t, r)); diff != "" {
		t.Errorf("while 71 is not spelled (-want +got):\n%s", diff)
	}
	r.take(told(71, "http", "/checkout"))
	want["http_server_request_duration_seconds container=shop http_request_method=GET http_response_status_code=200 http_route=/checkout"] = 1
	if diff := cmp.Diff(want, durationsOf(t, r)); diff != "" {
		t.Errorf("once it is (-want +got):\n%s", diff)
	}

	// Another control group of the same workload, which knows the route by another hash.
	kernel.slots = append(kernel.slots, slotOf(2, 11, 0))
	kernel.slots[2].requests = map[bpf.RequestKey]bpf.RequestTotals{served(80, 200): *totalsOf(1, 1, 1)}
	second := told(80, "http", "/cart")
	second.Slot = 2
	r.take(second)
	want["http_server_request_duration_seconds container=shop http_request_method=GET http_response_status_code=200 http_route=/cart"] = 5
	if diff := cmp.Diff(want, durationsOf(t, r)); diff != "" {
		t.Errorf("with a second control group (-want +got):\n%s", diff)
	}

	// The first one ends: what it has counted stays, and its slot is given to nobody yet.
	kernel.freed = []bpf.Slot{kernel.slots[1].Slot}
	requestsOf(t, r)
	kernel.slots = slices.Delete(kernel.slots, 1, 2)
	if diff := cmp.Diff(want, durationsOf(t, r)); diff != "" {
		t.Errorf("after the first one has ended (-want +got):\n%s", diff)
	}
}

// TestSizesOfBodiesAreShown: they add up over control groups, have bounds in bytes, and wait for the spelling of their route.
func TestSizesOfBodiesAreShown(t *testing.T) {
	r, kernel, _ := watchRequests(requests.Config{}, nil)
	var small, large bpf.RequestSizes
	small.Of[0].Buckets[0], small.Of[1].Buckets[6], small.Of[1].Sum = 3, 3, 150 // three requests without a body, answers of 50 bytes
	large.Of[0].Buckets[12], large.Of[0].Sum = 1, 4000
	large.Of[1].Buckets[20], large.Of[1].Sum = 1, 1<<20
	kernel.slots[1].sizes = map[bpf.RequestKey]bpf.RequestSizes{served(70, 200): small, served(71, 200): large}
	kernel.slots = append(kernel.slots, slotOf(2, 11, 0))
	kernel.slots[2].sizes = map[bpf.RequestKey]bpf.RequestSizes{served(80, 200): large}
	r.take(told(70, "http", "/cart"))
	second := told(80, "http", "/cart")
	second.Slot = 2
	r.take(second)
	for name, want := range map[string]struct {
		count, under64, under4k uint64
		sum                     float64
	}{
		"http_server_request_body_size_bytes":  {4, 3, 4, 4000},
		"http_server_response_body_size_bytes": {4, 3, 3, 150 + 1<<20},
	} {
		found := slices.DeleteFunc(passOf(t, r), func(s *series) bool { return s.family.name != name })
		if len(found) != 1 { // 71 is not spelled
			t.Fatalf("%s: %d series, want 1", name, len(found))
		}
		h := found[0].metric.Histogram
		if h.GetSampleCount() != want.count || h.GetSampleSum() != want.sum || h.GetSchema() != 0 {
			t.Errorf("%s: %d of %v bytes by schema %d, want %d of %v", name, h.GetSampleCount(), h.GetSampleSum(), h.GetSchema(), want.count, want.sum)
		}
		under := map[float64]uint64{}
		for _, b := range h.Bucket {
			under[b.GetUpperBound()] = b.GetCumulativeCount()
		}
		if under[64] != want.under64 || under[4096] != want.under4k || under[1<<24] != want.count {
			t.Errorf("%s: buckets %v", name, under)
		}
	}
}

func TestSlotsAreHeldWhileANameIsNotSpelled(t *testing.T) {
	r, kernel, _ := watchRequests(requests.Config{}, map[bpf.RequestKey]bpf.RequestTotals{served(70, 200): *totalsOf(1)})
	requestsOf(t, r)
	k := r.o.Kernel
	if slot := kernel.slots[1].Slot; !k.hold(slot) {
		t.Error("its slot may be given away while its requests wait for their name")
	}
	r.take(told(70, "http", "/cart"))
	requestsOf(t, r)
	if slot := kernel.slots[1].Slot; k.hold(slot) {
		t.Error("its slot is held though nothing waits")
	}
	// Once it may be given away, the names are those of the next owner.
	if name, ok := k.names.Of(&bpf.RequestKey{Slot: 1, Name: 70, Protocol: "http", Server: true}, time.Now()); ok {
		t.Errorf("the name is still %q", name)
	}
}

func TestUnmatchedMessagesAreThereFromTheStart(t *testing.T) {
	r, _, source := watchRequests(requests.Config{}, nil)
	source.unmatched = map[[2]string]uint64{{"http", "lost_framing"}: 3}
	got := requestsOf(t, r)
	n := 0
	for series, v := range got {
		if strings.HasPrefix(series, "yagura_l7_unmatched_total") {
			n++
			if want := map[bool]float64{true: 3}[series == "yagura_l7_unmatched_total protocol=http reason=lost_framing"]; v != want {
				t.Errorf("%s is %v, want %v", series, v, want)
			}
			if strings.Contains(series, "unknown") || strings.Contains(series, "tls") {
				t.Errorf("%s: it has no messages", series)
			}
		}
	}
	if want := (len(bpf.Protocols) - 2) * len(bpf.UnmatchedReasons); n != want {
		t.Errorf("%d series, want %d", n, want)
	}
	if _, ok := got["yagura_request_names_lost_total reason=untold"]; !ok {
		t.Errorf("lost names are not there: %v", got)
	}
}

// everyKind are requests of all metrics.
func everyKind() (map[bpf.RequestKey]bpf.RequestTotals, []*bpf.RequestSample) {
	counted := map[bpf.RequestKey]bpf.RequestTotals{}
	var samples []*bpf.RequestSample
	for i, test := range []struct{ protocol, text string }{
		{"http", "/cart"}, {"grpc", "/shop.Cart/Add"}, {"mysql", "SELECT"}, {"nats", "PUB"}, {"dns", "shop.example."}, {"tcp", ""},
	} {
		for _, server := range []bool{false, true} {
			key := bpf.RequestKey{Slot: 1, Name: uint32(70 + i), Protocol: test.protocol, Method: "GET", End: "ok", Server: server}
			if test.protocol == "http" {
				key.Status = 200
			}
			if test.text == "" {
				key.Name = bpf.NoName
			}
			counted[key] = *totalsOf(0.0003, 0.002, 0.2)
			s := told(key.Name, test.protocol, test.text)
			s.Server = server
			samples = append(samples, s)
		}
	}
	return counted, samples
}

func TestExpositionOfRequests(t *testing.T) {
	counted, samples := everyKind()
	r, _, _ := watchRequests(requests.Config{}, counted, samples...)
	e := New(Options{Collectors: []Entry{r.Entry()}})
	_, text := scrapeText(e, "/metrics", "Accept", "text/plain")
	var lines []string
	for line := range strings.Lines(text) {
		series, _, _ := strings.Cut(line, "{")
		if strings.HasPrefix(line, "http_server_") || strings.HasSuffix(series, "_duration_seconds_count") ||
			strings.HasPrefix(line, "# TYPE") && strings.HasSuffix(line, "histogram\n") {
			lines = append(lines, line)
		}
	}
	golden(t, "testdata/requests.golden", []byte(strings.Join(lines, "")))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestExemplarsFindTheirRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
		now := time.Now()
		sample := func(kind bpf.SampleKind, age time.Duration, seconds float64, trace string) *bpf.RequestSample {
			return &bpf.RequestSample{RequestKey: served(70, 200), Kind: kind, Time: now.Add(-age), Duration: time.Duration(seconds * 1e9), Trace: trace, Text: "/cart"}
		}
		r, _, _ := watchRequests(requests.Config{}, map[bpf.RequestKey]bpf.RequestTotals{served(70, 200): *totalsOf(0.7, 0.02, 3)},
			told(70, "http", "/cart"), sample(bpf.SampleSlow, time.Minute, 0.7, ""), sample(bpf.SampleFailed, time.Minute, 0.02, trace),
			sample(bpf.SampleSlow, 0, 3, "")) // which may not be among what was counted yet
		kept, _ := r.samples.Since(0, now)
		want := map[float64]string{1: "request_id=" + kept[0].ID + " 0.7", 0.05: "trace_id=" + trace + " 0.02"}
		for pass := range 3 {
			requestsOf(t, r)
			h := r.durations[1].order[0].metric.Histogram
			got := map[float64]string{}
			for _, b := range h.Bucket {
				if b.Exemplar != nil {
					got[b.GetUpperBound()] = fmt.Sprint(b.Exemplar.Label[0].GetName(), "=", b.Exemplar.Label[0].GetValue(), " ", b.Exemplar.GetValue())
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("exemplars of pass %d (-want +got):\n%s", pass, diff)
			}
			if len(h.Exemplars) != len(want) { // each once
				t.Errorf("pass %d: %d exemplars of the native form, want %d", pass, len(h.Exemplars), len(want))
			}
			time.Sleep(settled)
			want[5] = "request_id=" + kept[2].ID + " 3"
		}
		if _, rows := askRequests(t, r, "id="+kept[0].ID); len(rows) != 1 || rows[0].Duration != 0.7 {
			t.Errorf("the request of the exemplar is %+v", rows)
		}
	})
}

// askRequests asks /api/yagura/requests.
func askRequests(t *testing.T, r *Requests, query string) (status int, rows []requestRow) {
	t.Helper()
	status, body := ask(r.Samples(), http.MethodGet, "/api/yagura/requests?"+query)
	var page struct{ Data []requestRow }
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return status, page.Data
}

func TestRequestsAreServedLatestFirst(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sample := func(i int, kind bpf.SampleKind, key bpf.RequestKey) *bpf.RequestSample {
		return &bpf.RequestSample{RequestKey: key, Kind: kind, Time: at.Add(time.Duration(i) * time.Second), Duration: 1500 * time.Millisecond, PID: 42,
			Text: "/users/4711/orders", Remote: netip.MustParseAddrPort("192.0.2.7:5555")}
	}
	failed := served(bpf.OtherName, 503)
	failed.End = "failed"
	rpc := bpf.RequestKey{Slot: 1, Name: 71, Protocol: "grpc", Status: 14, End: "failed"}
	spelled := told(71, "grpc", "/shop.Cart/Add")
	spelled.Server = false
	r, _, _ := watchRequests(requests.Config{}, nil, told(70, "http", "/cart"), spelled,
		sample(0, bpf.SampleSlow, served(70, 200)), sample(1, bpf.SampleFailed, failed), sample(2, bpf.SampleFailed|bpf.SampleSlow, rpc))
	requestsOf(t, r) // places them

	_, rows := askRequests(t, r, "")
	first, _ := r.samples.Since(0, time.Now())
	want := []requestRow{
		{ID: first[2].ID, Time: at.Add(2 * time.Second), Duration: 1.5, Workload: labelsOf(shop), Role: "client", Protocol: "grpc", Name: "shop.Cart/Add",
			Status: "UNAVAILABLE", End: "failed", ErrorType: "UNAVAILABLE", Kinds: []string{"slow", "failed"}, PID: 42},
		{ID: first[1].ID, Time: at.Add(time.Second), Duration: 1.5, Workload: labelsOf(shop), Role: "server", Protocol: "http", Method: "GET", Name: "other",
			Path: requests.Route("/users/4711/orders"), Status: "503", End: "failed", ErrorType: "503", Kinds: []string{"failed"}, PID: 42},
		{ID: first[0].ID, Time: at, Duration: 1.5, Workload: labelsOf(shop), Role: "server", Protocol: "http", Method: "GET", Name: "/cart",
			Status: "200", End: "ok", Kinds: []string{"slow"}, PID: 42},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for query, want := range map[string]int{
		"protocol=http": 2, "role=client": 1, "status=503": 1, "error_type=UNAVAILABLE": 1, "error_type=": 1, "kind=slow": 2, "kind=failed": 2,
		"method=GET": 2, "name=/cart": 1, "kind=slow&protocol=http": 1, "container=shop": 3, "container=db": 0, "since=2026-03-01T12:00:01Z": 2,
		"limit=1": 1, "trace_id=x": 0,
	} {
		if _, rows := askRequests(t, r, query); len(rows) != want {
			t.Errorf("%s: %d rows, want %d", query, len(rows), want)
		}
	}
	if status, body := ask(r.Samples(), http.MethodGet, "/api/yagura/requests?pid=42"); status != http.StatusBadRequest || !strings.Contains(body, "pid: unknown parameter") {
		t.Errorf("an unknown parameter: %d %s", status, body)
	}
}

func TestPeersAndProcessesAreNamed(t *testing.T) {
	sample := &bpf.RequestSample{RequestKey: served(bpf.NoName, 200), Kind: bpf.SampleSlow, PID: 42, Remote: netip.MustParseAddrPort("192.0.2.7:5555")}
	r, _, _ := watchRequests(requests.Default, nil, sample)
	if _, body := ask(r.Samples(), http.MethodGet, "/"); strings.Contains(body, "192.0.2.7") {
		t.Errorf("the address is shown: %s", body)
	}
	r.o.Peer = func(s *requests.Sample) string { return "named " + s.Remote.String() }
	r.o.Find = func(pid uint32) *event.Process {
		if pid != 42 {
			return nil
		}
		return &event.Process{Task: event.Task{PID: 42, Comm: [16]byte{'n', 'g', 'i', 'n', 'x'}}}
	}
	r.take(sample)
	sample.PID = 43
	r.take(sample)
	_, rows := askRequests(t, r, "")
	if len(rows) != 3 || rows[0].Peer != "named 192.0.2.7:5555" || rows[0].Process != "" || rows[1].Process != "nginx" {
		t.Errorf("rows %+v, want the peer of all and the process of the second", rows)
	}
}

func TestPeersOfRequestsClimbTheLadder(t *testing.T) {
	k := NewKernel(&fakeKernel{}, func(uint64) (event.Workload, bool) { return shop, true })
	c := requests.DefaultEdges
	edges := NewEdges(EdgesOptions{Kernel: k, Config: c})
	sample := &requests.Sample{Remote: netip.MustParseAddrPort("192.0.2.7:5555")}
	if got := edges.peerOf(sample); got != "internet" {
		t.Errorf("peer %q, want internet", got)
	}
	c.PeerAddresses = true
	edges.Configure(c)
	if got := edges.peerOf(sample); got != "192.0.2.7" {
		t.Errorf("peer %q, want its address, as it is asked for", got)
	}
}

func TestSamplesCanBeTurnedOff(t *testing.T) {
	slow := &bpf.RequestSample{RequestKey: served(70, 200), Kind: bpf.SampleSlow | bpf.SampleName, Text: "/cart"}
	c := requests.Default
	c.Samples = false
	r, _, source := watchRequests(c, map[bpf.RequestKey]bpf.RequestTotals{served(70, 200): *totalsOf(1)}, slow)
	if _, rows := askRequests(t, r, ""); len(rows) != 0 {
		t.Errorf("%d rows, want none", len(rows))
	}
	const cartRoute = "http_server_request_duration_seconds container=shop http_request_method=GET http_response_status_code=200 http_route=/cart"
	if got := requestsOf(t, r); got[cartRoute] != 1 { // names are still told
		t.Errorf("series %v, want the route", got)
	}
	r.Configure(requests.Default)
	r.take(slow)
	if _, rows := askRequests(t, r, ""); len(rows) != 1 {
		t.Errorf("%d rows once they are on, want 1", len(rows))
	}
	if o := source.options; len(o) != 1 || o[0].Samples == 0 {
		t.Errorf("the kernel side was told %+v, want samples", o)
	}
}

func TestBoundsStayUntilTheNextStart(t *testing.T) {
	r, _, source := watchRequests(requests.Config{}, nil)
	c := requests.Default
	c.Bounds = []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	c.Slow = time.Second
	r.Configure(c)
	want := requests.Default
	want.Slow = time.Second
	if diff := cmp.Diff([]bpf.RequestOptions{want.Kernel()}, source.options); diff != "" {
		t.Errorf("the kernel side was told (-want +got):\n%s", diff)
	}
}

func TestConfigurationOfRequestsIsStrict(t *testing.T) {
	for text, want := range map[string]string{
		"slow: 1s\nroutes: 0\nbounds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\nnetworks: {office: [10.7.0.0/16]}\npeer_addresses: true": "",
		"slow: 1":                  "1:7: want time.Duration",
		"slow: fast":               `invalid duration "fast"`,
		"route: 1":                 "unknown field",
		"bounds: [1, 2]":           "requests.bounds: 2 given: want exactly 10",
		"bounds: [a]":              "1:10",
		"samples: maybe":           "1:10",
		"networks: {office: [10]}": "requests.networks.office",
	} {
		path := filepath.Join(t.TempDir(), "c.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(path, requests.Default)
		if want == "" {
			if err != nil || c.Bounds[0] != 1 || c.Routes != 0 || c.Slow != time.Second || !c.PeerAddresses || c.Operations != 40 {
				t.Errorf("%q is read as %+v, %v", text, c, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if requests.Default.Bounds[0] != 0.0001 {
		t.Errorf("a file has changed the defaults: %v", requests.Default.Bounds)
	}
}

func TestSamplesAreTakenUntilTheEnd(t *testing.T) {
	r, _, source := watchRequests(requests.Config{}, nil)
	source.samples = []*bpf.RequestSample{{RequestKey: served(70, 200), Kind: bpf.SampleSlow}, {Kind: bpf.SampleAnswer}}
	var answers []*bpf.RequestSample
	r.o.Answer = func(s *bpf.RequestSample) { answers = append(answers, s) }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, rows := askRequests(t, r, ""); len(rows) != 1 {
		t.Errorf("%d rows, want 1", len(rows))
	}
	if len(answers) != 1 || answers[0].Kind != bpf.SampleAnswer {
		t.Errorf("answers %v, want the one", answers)
	}
}

// TestSamplesComeWhileSomebodyLooks is for the race detector, and for locks that are taken in both orders.
func TestSamplesComeWhileSomebodyLooks(t *testing.T) {
	r, _, _ := watchRequests(requests.Config{}, map[bpf.RequestKey]bpf.RequestTotals{served(70, 200): *totalsOf(1)})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 200 {
				r.take(&bpf.RequestSample{RequestKey: served(70, 200), Kind: bpf.SampleSlow | bpf.SampleName, Text: "/cart"})
			}
		})
		all.Go(func() {
			for range 50 {
				ask(r.Samples(), http.MethodGet, "/api/yagura/requests")
				r.Configure(requests.Default)
			}
		})
	}
	for range 50 {
		requestsOf(t, r)
	}
	all.Wait()
	if _, rows := askRequests(t, r, "name=/cart&limit=1000"); len(rows) != 400 {
		t.Errorf("%d requests are kept, want 400", len(rows))
	}
}

func TestFloodOfRoutesKeepsTheCaps(t *testing.T) {
	counted := map[bpf.RequestKey]bpf.RequestTotals{}
	r, kernel, _ := watchRequests(requests.Config{}, counted)
	limits := Limits{Node: 2_000, Family: 1_000, Workload: 500}
	e := New(Options{Collectors: []Entry{r.Entry()}, Limits: limits})
	for i := range uint32(100_000) {
		r.take(told(2+i, "http", fmt.Sprintf("/%c%c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%26, 'a'+i/17576%26)))
		if i%50 == 0 { // the kernel side has some thousand totals at most
			counted[served(2+i, 200)] = *totalsOf(0.1)
		}
	}
	for range 2 {
		r.o.Kernel.taken = time.Time{}
		families, err := e.Gather()
		if err != nil {
			t.Fatal(err)
		}
		series, requests := 0, uint64(0)
		for _, f := range families {
			if f.GetType() == dto.MetricType_HISTOGRAM {
				for _, m := range f.Metric {
					series += histogramWeight
					requests += m.Histogram.GetSampleCount()
				}
			}
		}
		if series > limits.Workload {
			t.Errorf("%d series of one workload, the cap is %d", series, limits.Workload)
		}
		waiting := 0
		for key := range kernel.slots[1].requests {
			if _, ok := r.o.Kernel.names.Of(&bpf.RequestKey{Slot: 1, Name: key.Name, Protocol: "http", Server: true}, time.Now()); !ok {
				waiting++
			}
		}
		if int(requests) != len(counted)-waiting || waiting > 0 {
			t.Errorf("%d requests are shown and %d wait, want all %d", requests, waiting, len(counted))
		}
	}
	if lost := r.o.Kernel.names.Lost(); lost.Full == 0 {
		t.Error("no name is said to have found no room")
	}
}

// busyNode is a node of 50 workloads, each with 20 label sets of requests.
func busyNode() (*Requests, *fakeKernel) {
	source := &fakeKernel{}
	for slot := range uint32(50) {
		s := slotOf(slot+1, uint64(slot+10), 0)
		s.requests = map[bpf.RequestKey]bpf.RequestTotals{}
		for i := range uint32(20) {
			s.requests[bpf.RequestKey{Name: 70 + i/2, Protocol: "http", Method: "GET", Status: uint16(200 + i%2), End: "ok", Server: true}] =
				*totalsOf(0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.1, 0.5, 1.5)
		}
		source.slots = append(source.slots, s)
	}
	k := NewKernel(source, func(id uint64) (event.Workload, bool) { return event.Workload{Container: name("c%d", id)}, true })
	r := NewRequests(RequestsOptions{Kernel: k, Source: &fakeRequests{}, Log: slog.New(slog.DiscardHandler)})
	for slot := range uint32(50) {
		for i := range uint32(10) {
			s := told(70+i, "http", fmt.Sprintf("/route/%c", 'a'+i))
			s.Slot = slot + 1
			r.take(s)
		}
	}
	return r, source
}

func BenchmarkScrapeRequests(b *testing.B) {
	for _, accept := range []string{"text/plain", protobuf} {
		b.Run(accept[:strings.IndexByte(accept, '/')], func(b *testing.B) {
			r, _ := busyNode()
			e := New(Options{Collectors: []Entry{r.Entry()}, Limits: Limits{Node: 100_000, Family: 100_000, Workload: 1_000}})
			b.ReportAllocs()
			for b.Loop() {
				r.o.Kernel.taken = time.Time{}
				if _, text := scrapeText(e, "/metrics", "Accept", accept); len(text) < 10_000 {
					b.Fatal("the scrape is empty")
				}
			}
		})
	}
}
