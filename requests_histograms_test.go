package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/yagura-io/yagura/bpf"
)

// Load generators time the requests that they make. We time the same ones from outside, at both ends, and the times stand
// side by side. Ours of a client begins when the call that sent the request returns, and ends when the one that had the rest
// of the answer does; ours of a server begins when the call that had the request returns, and ends when the one that sent the
// rest of the answer does.

// A timedLoad is a load generator with its server.
type timedLoad struct {
	name   string
	start  func(t *testing.T, s *realSite)         // as of a realService
	run    func(t *testing.T, s *realSite) timings // asks
	series string                                  // what of ours is about it; %s is the side
	check  func(t *testing.T, theirs, client, server times)
}

// timings are what a load generator says.
type timings struct {
	requests int             // timed
	cut      int             // at most so many more were answered, but not to the generator: it ended before it read that
	all      exactly         // every single one, if it tells that
	printed  map[int]float64 // percentiles in seconds, if it prints them
}

// times say how long requests took, in seconds.
type times interface {
	percentile(q int) float64
	atMost(bound float64) (n float64) // how many took no longer
}

var percentiles = []int{50, 75, 90, 95, 99}

// bucketWidth is how far a bound of our native buckets is from the next.
var bucketWidth = pow2eighths(1)

var timedLoads = []timedLoad{
	{
		name:   "nginx, wrk",
		start:  starts("nginx"),
		run:    runWrk,
		series: `http_%s_request_duration_seconds{http_response_status_code="200"}`,
		check: func(t *testing.T, theirs, client, server times) {
			clientIsNoSlower(t, theirs, client, server) // wrk takes the time before it writes, and after it has read
			// One worker answers one connection at a time. The others wait meanwhile, which is time of the client's alone: ten times
			// the server's in the middle. The last percent is whoever was not on a processor.
			serverIsNoSlower(t, client, server, 50)
		},
	},
	{
		name:   "redis, redis-benchmark",
		start:  starts("redis"),
		run:    runRedisBenchmark,
		series: `db_%s_operation_duration_seconds{db_operation_name="SET"}`,
		// Nothing is asserted of its times: it ends when it knows that there is an answer, before it reads that, and we end after
		// that. Whose is shorter depends on whether sending takes longer than receiving.
	},
	{
		name:   "postgresql, pgbench",
		start:  starts("postgresql"),
		run:    runPgbench,
		series: `db_%s_operation_duration_seconds{db_operation_name="SELECT"}`,
		check:  clientIsNoSlower,
	},
	{
		name: "go, ours",
		start: func(t *testing.T, s *realSite) {
			s.serve(t, ourselves(t), "-test.run=^TestInjectedServer$", "injected-server="+s.address())
		},
		run:    runInjected,
		series: `http_%s_request_duration_seconds{http_response_status_code="200"}`,
		check: func(t *testing.T, theirs, client, server times) {
			clientIsNoSlower(t, theirs, client, server)
			// The server waits between its reading and its writing, so this is so of every request.
			noSlower(t, "what is injected", injectedTimes(), "ours of the server", server)
			// What follows is not: the client may be kept from returning from its write while the server waits already, and the server
			// from returning from its own while the client reads. But it takes a fiftieth of all requests, each late by a bucket, to
			// move a percentile from one step of what is injected to the one below, and a hundredth to move the last one up.
			for _, q := range percentiles {
				if got, want := client.percentile(q), injectedTimes().percentile(q); got*bucketWidth < want {
					t.Errorf("p%d of the client is %v s, and the server waits %v s", q, got, want)
				}
			}
			serverIsNoSlower(t, client, server, percentiles...)
		},
	},
}

// TestHistogramsBesideLoadGenerators compares our histograms with what load generators say of the same requests. No time has
// an upper bound: what is asserted is what follows from where an interval begins and ends. That a server is no slower than its
// client does not: each call returns after what it did can be seen at the other end. So it is asserted only where something else
// makes a difference that is much larger than that.
func TestHistogramsBesideLoadGenerators(t *testing.T) {
	needsKernel(t)
	y := yagura(t).await(t).ready(t)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "load\ttimes of\trequests")
	for _, q := range percentiles {
		fmt.Fprintf(table, "\tp%d", q)
	}
	fmt.Fprintln(table)
	for i, load := range timedLoads {
		t.Run(load.name, func(t *testing.T) {
			s := &realSite{y: y, dir: public(t), port: freePort(t),
				server: fmt.Sprintf("timed%d-server.service", i), client: fmt.Sprintf("timed%d-client.service", i)}
			load.start(t, s)
			theirs := load.run(t, s)
			var p page
			var client, server native
			agree := func() bool {
				p = y.scrape(t, "/metrics")
				client, server = s.native(t, p, fmt.Sprintf(load.series, "client")), s.native(t, p, fmt.Sprintf(load.series, "server"))
				return theirs.are(client) && theirs.are(server)
			}
			for end := time.Now().Add(15 * time.Second); !agree() && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			}
			row := func(who string, n any, percentile func(q int) float64) {
				fmt.Fprintf(table, "%s\t%s\t%v", load.name, who, n)
				for _, q := range percentiles {
					if ms := percentile(q) * 1e3; ms > 0 {
						fmt.Fprintf(table, "\t%.3f", ms)
					} else {
						fmt.Fprint(table, "\t-")
					}
				}
				fmt.Fprintln(table)
			}
			if theirs.printed != nil {
				row("theirs, printed", theirs.requests, func(q int) float64 { return theirs.printed[q] })
			}
			if theirs.all != nil {
				row("theirs, all", len(theirs.all), theirs.all.percentile)
			}
			row("our client", client.Count, client.percentile)
			row("our server", server.Count, server.percentile)

			for who, ours := range map[string]native{"client": client, "server": server} {
				if !theirs.are(ours) {
					t.Errorf("ours of the %s are %v requests, want %d and at most %d more", who, ours.Count, theirs.requests, theirs.cut)
				}
			}
			if theirs.all != nil && len(theirs.all) != theirs.requests {
				t.Errorf("it tells the times of %d requests, and has timed %d", len(theirs.all), theirs.requests)
			}
			if load.check != nil {
				load.check(t, theirs.all, client, server)
			}
			if t.Failed() {
				s.describe(t, p)
			}
		})
	}
	table.Flush()
	t.Logf("milliseconds, ours from the native histograms as histogram_quantile has them:\n%s", text.String())
}

// are says whether ours are as many.
func (g timings) are(ours native) bool {
	return ours.Count >= float64(g.requests) && ours.Count <= float64(g.requests+g.cut)
}

// clientIsNoSlower asserts of a generator that begins before it writes, and ends after it has read: our interval is inside.
func clientIsNoSlower(t *testing.T, theirs, client, _ times) {
	t.Helper()
	noSlower(t, "ours of the client", client, "theirs", theirs)
}

// serverIsNoSlower asserts of percentiles that the client's are longer, or in the same bucket.
func serverIsNoSlower(t *testing.T, client, server times, percentiles ...int) {
	t.Helper()
	for _, q := range percentiles {
		if got, most := server.percentile(q), client.percentile(q); got > most*bucketWidth {
			t.Errorf("p%d of the server is %v s, more than %v s of the client", q, got, most)
		}
	}
}

// noSlower asserts of two records of the same requests, where none took longer in a than it took in b, that a has as many
// below each bound, give or take a bucket. Those that only a has change nothing about that.
func noSlower(t *testing.T, nameA string, a times, nameB string, b times) {
	t.Helper()
	for i := int32(8 * bpf.NativeLow); i < int32(8*bpf.NativeLow+bpf.NativeBuckets-2); i++ {
		if in, of := a.atMost(pow2eighths(i+1)), b.atMost(pow2eighths(i)); in < of {
			t.Errorf("%v of %s are within %.6f s, and %v of %s within %.6f s", in, nameA, pow2eighths(i+1), of, nameB, pow2eighths(i))
		}
	}
}

// exactly are times in ascending order.
type exactly []float64

func (e exactly) percentile(q int) float64 { return e[(len(e)*q+99)/100-1] }

func (e exactly) atMost(bound float64) float64 {
	n, _ := slices.BinarySearchFunc(e, bound, func(d, bound float64) int {
		if d <= bound {
			return -1
		}
		return 1
	})
	return float64(n)
}

// native are times in buckets of schema 3.
type native struct{ *histogram.FloatHistogram }

// percentile is what a user sees: Prometheus's own interpolation, exponential within a bucket.
func (n native) percentile(q int) float64 {
	v, _ := promql.HistogramQuantile(float64(q)/100, n.FloatHistogram, "", posrange.PositionRange{})
	return v
}

func (n native) atMost(bound float64) (sum float64) {
	for it := n.AllBucketIterator(); it.Next(); {
		if b := it.At(); b.Upper <= bound*(1+1e-9) {
			sum += b.Count
		}
	}
	return sum
}

// native adds up the histograms of the site's unit that are about a series.
func (s *realSite) native(t *testing.T, p page, series string) native {
	t.Helper()
	name, labels := s.series(series)
	sum := &histogram.FloatHistogram{Schema: bpf.NativeSchema, ZeroThreshold: math.Ldexp(1, bpf.NativeLow)}
	for _, m := range p.matching(name, labels...) {
		h := m.GetHistogram()
		one := &histogram.Histogram{Schema: h.GetSchema(), ZeroThreshold: h.GetZeroThreshold(), ZeroCount: h.GetZeroCount(),
			Count: h.GetSampleCount(), Sum: h.GetSampleSum(), PositiveBuckets: h.PositiveDelta}
		for _, span := range h.PositiveSpan {
			one.PositiveSpans = append(one.PositiveSpans, histogram.Span{Offset: span.GetOffset(), Length: span.GetLength()})
		}
		if _, _, _, err := sum.Add(one.ToFloat(nil)); err != nil {
			t.Fatal(err)
		}
	}
	return native{sum}
}

// starts is how the real service of a name is started.
func starts(name string) func(t *testing.T, s *realSite) {
	return realServices[slices.IndexFunc(realServices, func(r realService) bool { return r.name == name })].start
}

// column reads the numbers of a column, and passes lines that have none there.
func column(text string, i int, unit time.Duration) (list exactly) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > i {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				list = append(list, v*unit.Seconds())
			}
		}
	}
	slices.Sort(list)
	return list
}

// runWrk has wrk tell its whole histogram. What it leaves unread when it ends was answered all the same.
func runWrk(t *testing.T, s *realSite) timings {
	const connections = 8
	script := write(t, s.dir+"/done.lua", `done = function(summary, latency)
	print("all", summary.requests, summary.duration)
	for i = 1, #latency do print("took", latency(i)) end
end`)
	out := s.ask(t, "wrk", "-t1", fmt.Sprintf("-c%d", connections), "-d2s", "--timeout", "10s", "--latency", "-s", script, "http://"+s.address()+"/users/7")
	theirs, counts, lasted := timings{cut: connections, printed: map[int]float64{}}, map[int]int{}, 0
	for line := range strings.Lines(out) {
		var a, b int
		var took string
		if n, _ := fmt.Sscanf(line, "all %d %d", &a, &b); n == 2 {
			theirs.requests, lasted = a, b
		} else if n, _ := fmt.Sscanf(line, "took %d %d", &a, &b); n == 2 {
			counts[a] = b
		} else if n, _ := fmt.Sscanf(line, "%d%% %s", &a, &took); n == 2 {
			d, err := time.ParseDuration(took)
			if err != nil {
				t.Fatal(err)
			}
			theirs.printed[a] = d.Seconds()
		}
	}
	if theirs.requests < connections {
		t.Fatalf("wrk says %.3000s", out)
	}
	theirs.all = uncorrected(counts, lasted/(theirs.requests/connections))
	return theirs
}

// uncorrected takes out of a histogram of microseconds what wrk has added for requests that it would have made had it not
// waited (stats_correct of its src/stats.c): for one that took two intervals or more, one each that took one interval less,
// two less and so on, down to an interval. What it prints is with those.
func uncorrected(counts map[int]int, interval int) (all exactly) {
	for _, us := range slices.Backward(slices.Sorted(maps.Keys(counts))) {
		n := counts[us]
		for range n {
			all = append(all, float64(us)/1e6)
		}
		if us >= 2*interval && n > 0 {
			for added := us - interval; added > interval; added -= interval {
				counts[added] -= n
			}
		}
	}
	slices.Reverse(all)
	return all
}

func runRedisBenchmark(t *testing.T, s *realSite) timings {
	theirs := timings{requests: 20_000, printed: map[int]float64{}}
	out := s.ask(t, "redis-benchmark", "-p", s.port, "-t", "set", "-n", strconv.Itoa(theirs.requests), "-c", "8", "--csv")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("redis-benchmark says %.3000s: %v", out, err)
	}
	for i, name := range rows[0] {
		var q int
		var ms float64
		if n, _ := fmt.Sscanf(name+" "+rows[1][i], "p%d_latency_ms %f", &q, &ms); n == 2 {
			theirs.printed[q] = ms / 1e3
		}
	}
	return theirs
}

// runPgbench has one statement in a transaction, so that the time of that is the statement's, and as in pgbench -S a \set in
// front of it: without one pgbench looks at the clock only once where the answer is there at once. A script of our own is not
// preceded by the questions that pgbench has about its tables.
func runPgbench(t *testing.T, s *realSite) timings {
	const clients, each = 4, 2000
	bin, _ := postgres(t)
	script := write(t, s.dir+"/select.sql", "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n")
	s.ask(t, bin+"/pgbench", "-h", "127.0.0.1", "-p", s.port, "-U", "postgres", "-n",
		"-c", strconv.Itoa(clients), "-t", strconv.Itoa(each), "-l", "-f", script, "postgres")
	logs, err := filepath.Glob(s.dir + "/pgbench_log.*")
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs of pgbench: %q, %v", logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	return timings{requests: clients * each, all: column(string(text), 2, time.Microsecond)}
}

// injected is what a server waits before it answers, and of how many in a hundred requests. Where one ends and the next begins
// is two hundredths or more from each percentile that we look at.
var injected = []struct {
	wait time.Duration
	of   int
}{{1 * time.Millisecond, 40}, {2 * time.Millisecond, 20}, {5 * time.Millisecond, 20}, {10 * time.Millisecond, 12}, {20 * time.Millisecond, 5}, {50 * time.Millisecond, 3}}

const injectedRequests, injectedAskers = 2000, 8

// injectedTimes is what the injected requests would take if nothing else took time.
func injectedTimes() (all exactly) {
	for _, step := range injected {
		for range step.of * injectedRequests / 100 {
			all = append(all, step.wait.Seconds())
		}
	}
	return all
}

func runInjected(t *testing.T, s *realSite) timings {
	out := s.ask(t, ourselves(t), "-test.run=^TestInjectedClient$", "injected-client="+s.address())
	return timings{requests: injectedRequests, all: column(out, 0, time.Nanosecond)}
}

// TestInjectedServer waits as long as the path says until it is ended.
func TestInjectedServer(t *testing.T) {
	address := played(t, "injected-server")
	if address == "" {
		return // nobody asks
	}
	t.Fatal(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, err := time.ParseDuration(r.URL.Path[1:])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(wait)
		io.WriteString(w, "waited")
	})))
}

// TestInjectedClient asks for all that is injected, and prints how long each request took, in nanoseconds.
func TestInjectedClient(t *testing.T) {
	address := played(t, "injected-client")
	if address == "" {
		return // nobody asks
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: injectedAskers}}
	waits, took := injectedTimes(), make([]time.Duration, injectedRequests)
	var askers sync.WaitGroup
	for k := range injectedAskers {
		askers.Go(func() {
			for i := k; i < injectedRequests; i += injectedAskers {
				wait := time.Duration(waits[i*37%injectedRequests] * float64(time.Second)).Round(time.Microsecond) // in no order
				began := time.Now()
				response, err := client.Get("http://" + address + "/" + wait.String())
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				took[i] = time.Since(began)
				response.Body.Close()
				if err != nil || response.StatusCode != 200 {
					t.Errorf("waiting for %v: %s, %v", wait, response.Status, err)
				}
			}
		})
	}
	askers.Wait()
	for _, d := range took {
		fmt.Println(d.Nanoseconds())
	}
}
