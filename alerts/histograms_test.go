package alerts

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
)

// Ten requests in a second of one web server, all between half a second and a second, and two of them failed. The native
// histogram has them in the bucket (0.5, 1] of schema 0.
const (
	classicRequests = `load 1m
  http_server_request_duration_seconds_count{instance="tower", container="web", error_type=""} 0+480x20
  http_server_request_duration_seconds_count{instance="tower", container="web", error_type="500"} 0+120x20
  http_server_request_duration_seconds_bucket{instance="tower", container="web", error_type="", le="0.5"} 0+0x20
  http_server_request_duration_seconds_bucket{instance="tower", container="web", error_type="", le="1"} 0+480x20
  http_server_request_duration_seconds_bucket{instance="tower", container="web", error_type="", le="+Inf"} 0+480x20
  http_server_request_duration_seconds_bucket{instance="tower", container="web", error_type="500", le="0.5"} 0+0x20
  http_server_request_duration_seconds_bucket{instance="tower", container="web", error_type="500", le="1"} 0+120x20
  http_server_request_duration_seconds_bucket{instance="tower", container="web", error_type="500", le="+Inf"} 0+120x20
`
	nativeRequests = `load 1m
  http_server_request_duration_seconds{instance="tower", container="web", error_type=""} {{schema:0 count:0 sum:0}}+{{schema:0 count:480 sum:360 buckets:[480]}}x20
  http_server_request_duration_seconds{instance="tower", container="web", error_type="500"} {{schema:0 count:0 sum:0}}+{{schema:0 count:120 sum:90 buckets:[120]}}x20
`
)

// One text has to work where histograms are classic, where they are native, and where they are both.
func TestRequestsAreRecordedFromBothKindsOfHistogram(t *testing.T) {
	golden, err := parse("golden.yaml", packFile(t, "golden"))
	if err != nil {
		t.Fatal(err)
	}
	latency, _ := generated(t, checkout(func(s *SLO) {
		s.Errors, s.Total = "", ""
		s.Latency = &Latency{Histogram: "http_server_request_duration_seconds", Threshold: Span(500 * time.Millisecond)}
	}), 0)
	slow := strings.Replace(find(latency, "slo:errors:rate5m")[0].Expr, "or\nmax without", "unless\nmax without", 1) // the zeros are of what is recorded before
	server := func(name string) string {
		for _, r := range find(golden, name) {
			if r.Labels["role"] == "server" && r.Labels["kind"] == "http" {
				return r.Expr
			}
		}
		t.Fatalf("golden.yaml does not record %s", name)
		return ""
	}
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	for kind, load := range map[string]string{"classic": classicRequests, "native": nativeRequests, "both": classicRequests + "\n" + nativeRequests} {
		store := promqltest.LoadedStorage(t, load)
		for name, test := range map[string]struct {
			expr     string
			min, max float64
		}{
			"requests":             {server("workload:requests:rate5m"), 10, 10},
			"errors":               {server("workload:request_errors:rate5m"), 2, 2},
			"p95":                  {server("workload:request_duration_seconds:p95_5m"), 0.9, 1},
			"of latency, requests": {find(latency, "slo:requests:rate5m")[0].Expr, 10, 10},
			"of latency, errors":   {slow, 10, 10},
		} {
			query, err := engine.NewInstantQuery(context.Background(), store, nil, test.expr, time.Unix(900, 0))
			if err != nil {
				t.Fatal(err)
			}
			v, err := query.Exec(context.Background()).Vector()
			if err != nil || len(v) != 1 || v[0].H != nil || v[0].F < test.min-1e-9 || v[0].F > test.max+1e-9 {
				t.Errorf("%s of %s histograms: %v, %v: want one number from %v to %v", name, kind, v, err, test.min, test.max)
			}
			if labels := v[0].Metric.String(); err == nil && labels != `{container="web", instance="tower"}` {
				t.Errorf("%s of %s histograms have the labels %s", name, kind, labels)
			}
			query.Close()
		}
	}
}

func packFile(t testing.TB, name string) []byte {
	t.Helper()
	for _, p := range Packs() {
		if p.Name == name {
			return p.File
		}
	}
	t.Fatalf("there is no pack %s", name)
	return nil
}
