package promql

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// pack is a rule file with one rule of each kind over the subject's counter.
const pack = `groups:
- name: yagura-test
  rules:
  - record: job:test_requests:sum
    expr: sum(test_requests_total)
  - alert: Busy
    expr: job:test_requests:sum > 2
    labels: {severity: warning}
    annotations: {summary: "{{ $value }} requests"}
`

// An inbox is an Alertmanager that keeps what it is sent.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	alerts []sentAlert
	users  []string
}

type sentAlert struct {
	Labels, Annotations map[string]string
	EndsAt              time.Time
	GeneratorURL        string
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(in.take))
	t.Cleanup(in.Close)
	return in
}

func (in *inbox) take(w http.ResponseWriter, r *http.Request) {
	var got []sentAlert
	if !strings.HasSuffix(r.URL.Path, "/api/v2/alerts") || json.NewDecoder(r.Body).Decode(&got) != nil {
		http.Error(w, "what is this?", http.StatusBadRequest)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.alerts = append(in.alerts, got...)
	user, password, _ := r.BasicAuth()
	in.users = append(in.users, user+":"+password)
}

// got is the last alert of that name.
func (in *inbox) got(name string) (sentAlert, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := len(in.alerts) - 1; i >= 0; i-- {
		if in.alerts[i].Labels["alertname"] == name {
			return in.alerts[i], true
		}
	}
	return sentAlert{}, false
}

// openWith opens and runs a store of that configuration.
func openWith(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = t.TempDir()
	}
	if o.Config.ScrapeInterval == 0 {
		o.Config.ScrapeInterval = 100 * time.Millisecond
	}
	o.Instance, o.Version = "here", "test"
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	run(t, s)
	return s
}

// write writes a file into a directory of the test, and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.TempDir(), path)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAlertOfAPackReachesAlertmanagers(t *testing.T) {
	t.Parallel()
	first, second := newInbox(t), newInbox(t)
	self, _ := subject()
	s := openWith(t, Options{Self: self, Rules: inMemory(map[string][]byte{"test.yaml": []byte(pack)}), Config: Config{
		ExternalURL:    "https://tower.example:9248",
		ExternalLabels: map[string]string{"site": "north"},
		Alertmanagers: []Alertmanager{
			{URL: first.URL, Access: Access{User: "yagura", PasswordFile: write(t, "password", "secret\n")}},
			{URL: second.URL + "/am/"},
		},
	}})
	for _, in := range []*inbox{first, second} {
		eventually(t, "the alert", func() bool { _, ok := in.got("Busy"); return ok })
		a, _ := in.got("Busy")
		if a.Labels["severity"] != "warning" || a.Labels["site"] != "north" || a.Annotations["summary"] != "3 requests" {
			t.Errorf("alert sent: %+v", a)
		}
		if !strings.Contains(a.GeneratorURL, "https://tower.example:9248/graph?g0.expr=") {
			t.Errorf("no link to the expression: %q", a.GeneratorURL)
		}
	}
	if first.users[0] != "yagura:secret" || second.users[0] != ":" {
		t.Errorf("users %q and %q", first.users[0], second.users[0])
	}
	for expr, want := range map[string]string{
		`job:test_requests:sum`:                        "3",
		`ALERTS{alertname="Busy",alertstate="firing"}`: "1",
	} {
		eventually(t, expr+" = "+want, func() bool { return value(t, s, expr) == want })
	}
	for path, want := range map[string][]string{
		"rules":         {`"name":"yagura-test"`, `"file":"test.yaml"`, `"state":"firing"`, `"health":"ok"`},
		"alerts":        {`"alertname":"Busy"`, `"state":"firing"`},
		"alertmanagers": {first.URL + "/api/v2/alerts", second.URL + "/am/api/v2/alerts"},
	} {
		_, body := get(t, s, path)
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s: no %s in %s", path, text, body)
			}
		}
	}
	if n := metricSum(t, s, "prometheus_notifications_sent_total"); n < 2 {
		t.Errorf("%v notifications counted, want at least 2", n)
	}
	if n := metricSum(t, s, "prometheus_rule_evaluations_total"); n < 2 {
		t.Errorf("%v evaluations counted, want at least 2", n)
	}
}

// metricSum adds up the store's own series of one name.
func metricSum(t *testing.T, s *Store, name string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
			}
		}
	}
	return sum
}

// A firing alert is one with a long `for` that was pending long enough before the restart: without its state it would
// have to wait for 40 minutes again.
func TestAlertStateSurvivesRestart(t *testing.T) {
	t.Parallel()
	rule := func(keep string) map[string][]byte {
		return map[string][]byte{"test.yaml": fmt.Appendf(nil, `groups:
- name: g
  interval: 100ms
  rules:
  - alert: Slow
    expr: vector(1)
    for: 40m
    labels: {kept: %q}
`, keep)}
	}
	dir := t.TempDir()
	s := open(t, dir, nothing(), nil)
	now := time.Now()
	since := now.Add(-50 * time.Minute).Truncate(time.Second)
	for at := now.Add(-15 * time.Minute); at.Before(now.Add(-5 * time.Minute)); at = at.Add(15 * time.Second) {
		kept := labels.FromStrings("__name__", "ALERTS_FOR_STATE", "alertname", "Slow", "kept", "yes")
		if err := put(s, at, float64(since.Unix()), kept); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	for kept, want := range map[string]string{"yes": "firing", "no": "pending"} {
		s := openWith(t, Options{Path: dir, Rules: inMemory(rule(kept))})
		state := ""
		eventually(t, "an evaluated alert", func() bool {
			state = alertState(t, s, "Slow")
			return state == want || state == "firing"
		})
		if state != want {
			t.Errorf("an alert whose state is kept: %s, is %s after the restart, want %s", kept, state, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// alertState is the state of the only alert of that name, as the API shows it.
func alertState(t *testing.T, s *Store, name string) string {
	t.Helper()
	_, body := get(t, s, "alerts")
	var got struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, a := range got.Data.Alerts {
		if a.Labels["alertname"] == name {
			return a.State
		}
	}
	return ""
}

func TestFullDiskRefusesRuleSeries(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nothing(), nil)
	s.disk.minFree = 1 << 62
	app := s.guard.Appender(context.Background())
	ls := labels.FromStrings("__name__", "a")
	_, appended := app.Append(0, ls, 1, 1)
	for what, err := range map[string]error{"append": appended, "commit": app.Commit()} {
		if err == nil || !strings.Contains(err.Error(), ErrDiskFull.Error()) {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	if n := metricSum(t, s, "yagura_store_appends_refused_total"); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
}

func TestDeadAlertmanagerDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	hung := make(chan struct{})
	dead := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(dead.Close)
	t.Cleanup(func() { close(hung) })
	m := newMessenger(nil, quietLog())
	m.last.Store(1)
	r := httptest.NewRequest("POST", dead.URL, nil)
	r.RequestURI = ""
	if _, err := m.do(context.Background(), http.DefaultClient, r); err != errFarewell {
		t.Errorf("a batch after the time for farewells: %v", err)
	}
}

func TestAlertmanagerBehindTLSAndToken(t *testing.T) {
	t.Parallel()
	in := &inbox{}
	var token atomic.Value
	in.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("Authorization"))
		in.take(w, r)
	}))
	t.Cleanup(in.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: in.Certificate().Raw})
	self, _ := subject()
	s := openWith(t, Options{Self: self, Rules: inMemory(map[string][]byte{"test.yaml": []byte(pack)}), Config: Config{
		Alertmanagers: []Alertmanager{{URL: in.URL, Access: Access{TokenFile: write(t, "token", "hush\n"), CAFile: write(t, "ca.pem", string(ca))}}},
	}})
	eventually(t, "the alert", func() bool { _, ok := in.got("Busy"); return ok })
	if got := token.Load(); got != "Bearer hush" {
		t.Errorf("Authorization: %v", got)
	}
	if _, body := get(t, s, "status/config"); strings.Contains(body, "hush") {
		t.Errorf("the configuration shows the secret: %s", body)
	}
}

func inMemory(files map[string][]byte) RuleFiles {
	return func(time.Duration) (map[string][]byte, error) { return files, nil }
}
