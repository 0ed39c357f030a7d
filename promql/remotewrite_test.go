package promql

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// A mailbox is a store that receives, behind a door that can be shut.
type mailbox struct {
	*Store
	url    string
	answer atomic.Int32 // the status while the door is shut; 0: open
	asked  atomic.Int32
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	s, err := Open(Options{Path: t.TempDir(), Self: nothing(), Config: Config{RemoteWriteReceiver: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	m := &mailbox{Store: s}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		if code := m.answer.Load(); code != 0 {
			http.Error(w, "shut", int(code))
			return
		}
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL + "/api/v1/write"
	return m
}

// sendingTo is a configuration that passes on to a mailbox, which is tried often.
func sendingTo(m *mailbox, version string) Config {
	return Config{ScrapeInterval: 100 * time.Millisecond, RemoteWrite: []RemoteWrite{{URL: m.url, Protobuf: version, Name: "far"}}}
}

func TestRemoteWriteCarriesEverything(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			m := newMailbox(t)
			self, counter := subject()
			c := sendingTo(m, version)
			c.ExternalLabels = map[string]string{"site": "north"}
			yes := true
			c.RemoteWrite[0].Native = &yes
			c.RemoteWrite[0].Relabel = []map[string]any{{"source_labels": []string{"__name__"}, "regex": "scrape_.*", "action": "drop"}}
			s := openWith(t, Options{Self: self, Config: c})
			eventually(t, "a sample", func() bool { return value(t, m.Store, `test_requests_total`) == "3" })
			counter.Add(2)
			now := time.Now()
			custom := tsdbutil.GenerateTestCustomBucketsFloatHistogram(2)
			app := s.guard.AppenderV2(context.Background())
			if _, err := app.Append(0, labels.FromStrings("__name__", "custom"), 0, now.UnixMilli(), 0, nil, custom, storage.AOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := app.Commit(); err != nil {
				t.Fatal(err)
			}
			for i, v := range []float64{1, stale()} {
				if err := put(s, now.Add(time.Duration(i)*time.Millisecond), v, labels.FromStrings("__name__", "ended")); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the newer sample", func() bool { return value(t, m.Store, `test_requests_total`) == "5" })
			for expr, want := range map[string]string{
				`test_requests_total{pod="web-1",job="theirs",instance="here",site="north"}`: "5",
				`test_latency_seconds_bucket{le="1.0"}`:                                      "4",
				`histogram_count(test_latency_seconds)`:                                      "4",
				`histogram_sum(test_latency_seconds)`:                                        "1",
				`min_over_time(test_requests_total[1m])`:                                     "0",
				`histogram_count(custom)`:                                                    fmt.Sprint(custom.Count),
				`scrape_duration_seconds`:                                                    "",
				`ended`:                                                                      "",
				`last_over_time(ended[1m])`:                                                  "1",
			} {
				eventually(t, fmt.Sprintf("%s = %q", expr, want), func() bool { return value(t, m.Store, expr) == want })
			}
			if _, body := get(t, m.Store, "query_exemplars", "query", "test_requests_total",
				"start", fmt.Sprint(now.Add(-time.Minute).Unix()), "end", fmt.Sprint(now.Unix()+60)); !strings.Contains(body, `"event":"e1"`) {
				t.Errorf("exemplars received: %s", body)
			}
			for name, want := range map[string]bool{
				"prometheus_remote_storage_samples_total": true, "prometheus_remote_storage_histograms_total": true,
				"prometheus_remote_storage_exemplars_total": true, "prometheus_remote_storage_bytes_total": true,
				"prometheus_remote_storage_samples_dropped_total": true, "prometheus_remote_storage_queue_highest_sent_timestamp_seconds": true,
				"prometheus_remote_storage_metadata_total":       version == "v2",
				"prometheus_remote_storage_samples_failed_total": false, "yagura_store_remote_write_lost_samples_total": false,
			} {
				if got := metricSum(t, s, name) > 0; got != want {
					t.Errorf("%s is more than 0: %v, want %v", name, got, want)
				}
			}
		})
	}
}

// step is how far apart the samples of a long history are: one block of the database holds four.
const step = 30 * time.Minute

// history appends one sample per series and step between two ages, compacts as the database would by itself in that
// time, and returns how many samples it appended. Series come and go.
func history(t *testing.T, s *Store, from, to time.Duration, end time.Time) int {
	t.Helper()
	n := 0
	for age := from; age > to; age -= step {
		at := end.Add(-age)
		all := []labels.Labels{series("steady", 0), series("hourly", 1+int(age/time.Hour))}
		if err := put(s, at, float64(at.UnixMilli()), all...); err != nil {
			t.Fatal(err)
		}
		n += len(all)
		if err := s.db.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		if b := s.post.box.Load(); b != nil {
			if err := b.sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// received counts what a mailbox has of a history.
func received(t *testing.T, m *mailbox) string {
	t.Helper()
	return value(t, m.Store, `sum(count_over_time({__name__=~"steady|hourly"}[30h]))`)
}

// firstSegment is the oldest segment that the database has kept.
func firstSegment(t *testing.T, s *Store) int {
	t.Helper()
	all, err := segmentsIn(s.post.box.Load().wal)
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	return all[0]
}

// The receiver is away for a day, in which the database cuts its log down several times and the program is restarted.
func TestDeadReceiverLosesNothing(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			m, dir, end := newMailbox(t), t.TempDir(), time.Now()
			m.answer.Store(http.StatusBadGateway)
			want := 0
			for day := 24 * time.Hour; day > 0; day -= 8 * time.Hour {
				s := openWith(t, Options{Path: dir, Config: sendingTo(m, version)})
				want += history(t, s, day, day-8*time.Hour, end)
				if day == 8*time.Hour && firstSegment(t, s) == 0 {
					t.Error("the database has not cut its log down: this tests nothing")
				}
				eventually(t, "a try", func() bool { return m.asked.Load() > 0 })
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			m.answer.Store(0)
			s := openWith(t, Options{Path: dir, Config: sendingTo(m, version)})
			eventually(t, "all samples", func() bool { return received(t, m) == fmt.Sprint(want) })
			eventually(t, "an outbox without what is sent", func() bool {
				if err := s.post.box.Load().trim(time.Hour*100, 0); err != nil {
					t.Fatal(err)
				}
				all, err := segmentsIn(s.post.box.Load().dir)
				return err == nil && all[0] >= firstSegment(t, s)-1
			})
			if lost := metricSum(t, s, "yagura_store_remote_write_lost_samples_total"); lost != 0 {
				t.Errorf("%v samples counted as lost", lost)
			}
			if failed := metricSum(t, s, "prometheus_remote_storage_samples_failed_total"); failed != 0 {
				t.Errorf("%v samples counted as failed", failed)
			}
		})
	}
}

func TestBacklogIsBounded(t *testing.T) {
	t.Parallel()
	m, end := newMailbox(t), time.Now()
	m.answer.Store(http.StatusServiceUnavailable)
	s := openWith(t, Options{Config: sendingTo(m, "v2")})
	want := history(t, s, 24*time.Hour, 0, end)
	box := s.post.box.Load()
	if err := box.trim(365*24*time.Hour, 1); err != nil {
		t.Fatal(err)
	}
	if box.floor.Load() == 0 {
		t.Fatal("nothing was given up")
	}
	m.answer.Store(0)
	eventually(t, "the rest", func() bool { return value(t, m.Store, `last_over_time(steady[1h])`) != "" })
	eventually(t, "every sample received or counted as lost", func() bool {
		var got float64
		fmt.Sscan(received(t, m), &got)
		lost := metricSum(t, s, "yagura_store_remote_write_lost_samples_total")
		return got > 0 && lost > 0 && got+lost == float64(want)
	})
}

func TestReceiversAnswerDecides(t *testing.T) {
	t.Parallel()
	for status, retried := range map[int32]bool{400: false, 413: false, 422: false, 401: true, 403: true, 404: true, 429: true, 500: true, 503: true} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			m := newMailbox(t)
			m.answer.Store(status)
			s := openWith(t, Options{Config: sendingTo(m, "v1")})
			if err := put(s, time.Now(), 7, series("a", 0)); err != nil {
				t.Fatal(err)
			}
			count := func(what string) float64 {
				return metricSum(t, s, "prometheus_remote_storage_samples_"+what+"_total")
			}
			eventually(t, "an answer", func() bool { return count("retried")+count("failed") > 0 })
			if got := count("retried") > 0; got != retried || count("failed") > 0 == retried {
				t.Errorf("retried %v, failed %v, want retried: %v", count("retried"), count("failed"), retried)
			}
			m.answer.Store(0)
			if retried {
				eventually(t, "the sample", func() bool { return value(t, m.Store, "a") == "7" })
			}
		})
	}
}

func TestReloadKeepsTheReceiversPlace(t *testing.T) {
	t.Parallel()
	m := newMailbox(t)
	m.answer.Store(http.StatusBadGateway)
	c := sendingTo(m, "v1")
	s := openWith(t, Options{Config: c})
	if err := put(s, time.Now(), 7, series("a", 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a try", func() bool { return m.asked.Load() > 0 })
	c.RemoteWrite[0].Protobuf = "v2"
	c.ExternalLabels = map[string]string{"site": "north"}
	if err := s.Reload(c, nil); err != nil {
		t.Fatal(err)
	}
	m.answer.Store(0)
	eventually(t, "the sample", func() bool { return value(t, m.Store, `a{site="north"}`) == "7" })

	c.RemoteWrite = nil
	if err := s.Reload(c, nil); err != nil {
		t.Fatal(err)
	}
	asked := m.asked.Load()
	if err := put(s, time.Now(), 8, series("a", 0)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // nothing may come: a longer wait would only show it more surely
	if now := m.asked.Load(); now != asked || s.post.box.Load() != nil {
		t.Errorf("%d requests after the receiver was removed", now-asked)
	}
}
