package promql

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// BenchmarkBesideDebian sends the same samples to a store of ours and to Debian's Prometheus, both by remote write 1 over
// loopback, and asks both the same questions, by turns. Ratios below 1 are in our favour.
func BenchmarkBesideDebian(b *testing.B) {
	for b.Loop() {
		besideDebian(b)
	}
}

func besideDebian(b *testing.B) {
	const series, scrapes = 10_000, 240
	theirs := newNeighbour(b, "", "--web.enable-remote-write-receiver").url
	s, err := Open(Options{Path: b.TempDir(), Config: Config{RemoteWriteReceiver: true}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	server := httptest.NewServer(s.Handler())
	b.Cleanup(server.Close)

	requests := recording(b, series, scrapes)
	var took [2]time.Duration
	for _, scrape := range requests {
		for i, base := range []string{server.URL, theirs} {
			began := time.Now()
			for _, body := range scrape {
				deliver(b, base, body)
			}
			took[i] += time.Since(began)
		}
	}
	b.Logf("ingestion: %.0f samples/s, theirs %.0f", series*scrapes/took[0].Seconds(), series*scrapes/took[1].Seconds())
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "ingest-ratio")

	end := time.Now()
	for name, c := range map[string]struct {
		expr string
		step time.Duration
	}{
		"one":       {`yagura_syscalls_total{container="container-7",syscall="call2"}`, 0},
		"rate":      {`sum by (container) (rate(yagura_syscalls_total[5m]))`, 0},
		"topk":      {`topk(10, sum by (pod, container) (increase(yagura_syscalls_total[15m])))`, 0},
		"range":     {`sum by (container) (rate(yagura_syscalls_total[5m]))`, time.Minute},
		"one-range": {`rate(yagura_syscalls_total{container="container-7",syscall="call2"}[5m])`, 15 * time.Second},
	} {
		target := "/api/v1/query?query=" + url.QueryEscape(c.expr) + fmt.Sprintf("&time=%d", end.Unix())
		if c.step > 0 {
			target = "/api/v1/query_range?query=" + url.QueryEscape(c.expr) +
				fmt.Sprintf("&start=%d&end=%d&step=%v", end.Add(-55*time.Minute).Unix(), end.Unix(), c.step.Seconds())
		}
		ours, other := ask(b, server.URL+target), ask(b, theirs+target)
		if err := sameAnswers(ours.text, other.text); err != nil {
			b.Errorf("%s: %v", name, err)
		}
		var times [2][]float64
		for range 15 {
			for i, base := range []string{server.URL, theirs} {
				times[i] = append(times[i], ask(b, base+target).took.Seconds())
			}
		}
		b.Logf("%s: %.2f ms, theirs %.2f ms", name, 1000*median(times[0]), 1000*median(times[1]))
		b.ReportMetric(median(times[0])/median(times[1]), name+"-ratio")
	}
}

// recording is what a node's scrapes look like as remote write 1, for each scrape some requests.
func recording(b *testing.B, series, scrapes int) [][][]byte {
	s := &sender{series: map[chunks.HeadSeriesRef]*sentSeries{}, metadata: func() map[string]metadatum { return nil }, config: &config.RemoteWriteConfig{
		ProtobufMessage: config.DefaultRemoteWriteConfig.ProtobufMessage,
		QueueConfig:     config.QueueConfig{MaxSamplesPerSend: 2000, MaxShards: 1},
	}}
	for i, ls := range population(series) {
		s.series[chunks.HeadSeriesRef(i)] = &sentSeries{labels: ls}
	}
	start := time.Now().Add(-time.Duration(scrapes) * 15 * time.Second)
	var all [][][]byte
	for n := range scrapes {
		var batch batch
		for i := range series {
			batch.samples = append(batch.samples, record.RefSample{Ref: chunks.HeadSeriesRef(i),
				T: start.Add(time.Duration(n) * 15 * time.Second).UnixMilli(), V: float64(n * (i % 97))})
		}
		var bodies [][]byte
		for _, lane := range s.encode(&batch) {
			for _, r := range lane {
				bodies = append(bodies, r.body)
			}
		}
		all = append(all, bodies)
	}
	return all
}

func deliver(b *testing.B, base string, body []byte) {
	r, err := http.NewRequest("POST", base+"/api/v1/write", strings.NewReader(string(body)))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "snappy")
	r.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	text, _ := io.ReadAll(reply.Body)
	reply.Body.Close()
	if reply.StatusCode/100 != 2 {
		b.Fatalf("%s: %d %s", base, reply.StatusCode, text)
	}
}

type timed struct {
	text string
	took time.Duration
}

func ask(b *testing.B, target string) timed {
	began := time.Now()
	reply, err := http.Get(target)
	if err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	if err != nil || reply.StatusCode != http.StatusOK {
		b.Fatalf("%s: %d %v %s", target, reply.StatusCode, err, text)
	}
	return timed{string(text), time.Since(began)}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// sameAnswers compares two answers of APIs but for their order, and the last digits of sums.
func sameAnswers(a, b string) error {
	var read [2]map[string][]float64
	for i, text := range []string{a, b} {
		var answer apiAnswer
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return err
		}
		value, err := answer.value()
		if err != nil {
			return err
		}
		read[i] = map[string][]float64{}
		switch v := value.(type) {
		case promql.Vector:
			for _, one := range v {
				read[i][one.Metric.String()] = []float64{one.F}
			}
		case promql.Matrix:
			for _, one := range v {
				for _, p := range one.Floats {
					read[i][one.Metric.String()] = append(read[i][one.Metric.String()], float64(p.T), p.F)
				}
			}
		}
	}
	if len(read[0]) == 0 || len(read[0]) != len(read[1]) {
		return fmt.Errorf("%d series, theirs %d", len(read[0]), len(read[1]))
	}
	for name, ours := range read[0] {
		theirs := read[1][name]
		near := func(x, y float64) bool { return math.Abs(x-y) <= 1e-9*math.Abs(y) }
		if !slices.EqualFunc(ours, theirs, near) {
			return fmt.Errorf("%s is %v, theirs %v", name, ours, theirs)
		}
	}
	return nil
}
