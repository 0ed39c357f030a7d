package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/yagura-io/yagura/rules/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at2026 is when the hits of tests happened.
var at2026 = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func someHit(n int) *event.Hit {
	return &event.Hit{ID: fmt.Sprint(n), Time: at2026, Output: fmt.Sprintf("hit %d", n),
		Rule:   &event.Rule{Name: "a rule", Source: "syscall", Priority: event.Warning, Tags: []string{"host", "T1003"}},
		Fields: []event.HitField{{Name: "proc.name", Value: "cat"}, {Name: "proc.pid", Value: int64(7)}, {Name: "evt.failed", Value: true}, {Name: "k8s.ns.name", Value: nil}}}
}

func TestAlertHasFalcosMembers(t *testing.T) {
	t.Parallel()
	f := DefaultAlertFormat
	f.hostname = "node1"
	f.ISO8601, f.Message = true, true
	got, err := f.Append(nil, someHit(1))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"hostname":"node1","message":"hit 1","output":"2026-01-02T03:04:05.000000006+0000: Warning hit 1",` +
		`"output_fields":{"evt.time":1767323045000000006,"proc.name":"cat","proc.pid":7,"evt.failed":true,"k8s.ns.name":null},` +
		`"priority":"Warning","rule":"a rule","source":"syscall","tags":["T1003","host"],"time":"2026-01-02T03:04:05.000000006Z"}` + "\n"
	if string(got) != want {
		t.Errorf("alert\n%swant\n%s", got, want)
	}
	f.Output, f.OutputFields, f.Tags, f.Message = false, false, false, false
	got, _ = f.Append(nil, someHit(1))
	want = `{"hostname":"node1","priority":"Warning","rule":"a rule","source":"syscall","time":"2026-01-02T03:04:05.000000006Z"}` + "\n"
	if string(got) != want {
		t.Errorf("alert\n%swant\n%s", got, want)
	}
	f.JSON = false
	if got, _ = f.Append(nil, someHit(1)); string(got) != "2026-01-02T03:04:05.000000006+0000: Warning hit 1\n" {
		t.Errorf("line %q", got)
	}
}

func TestAlertHasTimesAsNumbersAndTagsAlways(t *testing.T) {
	t.Parallel()
	h := someHit(1)
	h.Rule = &event.Rule{Name: "a rule", Source: "syscall", Priority: event.Informational}
	h.Fields = []event.HitField{{Name: "evt.time.iso8601", Value: "2026-01-02T03:04:05.000000006+0000"}, {Name: "evt.time", Value: "03:04:05.000000006"}}
	f := AlertFormat{JSON: true, OutputFields: true, Tags: true}
	got, err := f.Append(nil, h)
	want := `{"hostname":"","output_fields":{"evt.time":1767323045000000006,"evt.time.iso8601":1767323045000000006},` +
		`"priority":"Informational","rule":"a rule","source":"syscall","tags":[],"time":"2026-01-02T03:04:05.000000006Z"}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("alert\n%swant\n%s%v", got, want, err)
	}
}

// delivery runs outputs until the test ends.
func delivery(t *testing.T, o Outputs, stdout io.Writer) *Delivery {
	t.Helper()
	if o.Queue == 0 {
		o.Queue = 100
	}
	if o.HTTP.Timeout == 0 {
		o.HTTP.Timeout = 5 * time.Second
	}
	d := NewDelivery(o, DefaultAlertFormat, stdout, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d
}

func await(t *testing.T, d *Delivery, what string, done func(event.Delivered) bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(d.Stats()[0]); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in 20 s, but %+v", what, d.Stats())
		}
	}
}

// collected is what a fake receiver was told.
type collected struct {
	mu   sync.Mutex
	text bytes.Buffer
	n    int
}

func (c *collected) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.text.Write(p)
}

func (c *collected) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func TestPostIsTriedAgain(t *testing.T) {
	t.Parallel()
	var got collected
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = got.Write(append(body, r.Header.Get("Authorization")...))
		if got.n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := delivery(t, Outputs{HTTP: HTTPOutput{URL: server.URL, Token: token}}, nil)
	d.Tell(someHit(1))
	await(t, d, "one told", func(s event.Delivered) bool { return s.Told == 1 })
	if s := d.Stats()[0]; s.Retried != 1 || s.Failed != 0 {
		t.Errorf("stats %+v, want one retry and no failure", s)
	}
	first, _, _ := strings.Cut(got.String(), "\n")
	var a map[string]any
	if err := json.Unmarshal([]byte(first), &a); err != nil || a["rule"] != "a rule" {
		t.Errorf("posted %q (%v), want an alert of the rule", first, err)
	}
	if !strings.Contains(got.String(), "Bearer secret") {
		t.Errorf("posted without the token: %q", got.String())
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	t.Cleanup(server.Close)
	d := delivery(t, Outputs{HTTP: HTTPOutput{URL: server.URL}, Queue: 10}, nil)
	for i := range 100 {
		d.Tell(someHit(i))
	}
	if s := d.Stats()[0]; s.Dropped < 89 || s.Dropped > 90 { // one may be on its way
		t.Errorf("dropped %d of 100 with room for 10, want 89 or 90", s.Dropped)
	}
	close(block)
	await(t, d, "the rest told", func(s event.Delivered) bool { return s.Told+s.Dropped == 100 })
}

func TestFileIsFollowedWhenItIsMoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "alerts.json")
	d := delivery(t, Outputs{File: FileOutput{Path: path}}, nil)
	d.Tell(someHit(1))
	await(t, d, "the first told", func(s event.Delivered) bool { return s.Told == 1 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		d.Tell(someHit(2))
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "hit 2") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing in the new file in 20 s")
		}
	}
	if old, _ := os.ReadFile(path + ".1"); !strings.Contains(string(old), "hit 1") {
		t.Errorf("the old file holds %q", old)
	}
}

func TestSyslogHasTheSeverity(t *testing.T) {
	t.Parallel()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := delivery(t, Outputs{Syslog: SyslogOutput{Enabled: true, Address: "udp://" + l.LocalAddr().String()}}, nil)
	d.Tell(someHit(1))
	_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 4096)
	n, _, err := l.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	const authWarning = "<36>" // facility 4, severity 4
	if got := string(buffer[:n]); !strings.HasPrefix(got, authWarning) || !strings.Contains(got, `"rule":"a rule"`) {
		t.Errorf("syslog was told %q, want it to begin with %s and hold the alert", got, authWarning)
	}
}

func TestWhatWaitsIsToldAtTheEnd(t *testing.T) {
	t.Parallel()
	var out collected
	d := NewDelivery(Outputs{Stdout: StdoutOutput{Enabled: true}, Queue: 100}, DefaultAlertFormat, &out, slog.New(slog.DiscardHandler))
	for i := range 50 {
		d.Tell(someHit(i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != 50 {
		t.Errorf("%d alerts, want 50", got)
	}
}
