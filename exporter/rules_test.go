package exporter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// held is a Detector of a test.
type held struct {
	suppressed map[string]uint64
	outputs    []event.Delivered
}

func (h *held) Suppressed(yield func(string, uint64)) {
	for rule, n := range h.suppressed {
		yield(rule, n)
	}
}
func (h *held) Outputs() []event.Delivered { return h.outputs }

var shadowRead = &event.Rule{Name: "Shadow read", Source: "syscall", Priority: event.Warning,
	Tags: []string{"maturity_stable", "host", "mitre_credential_access", "T1003.008", "T1552", "NIST_800-190_3.5.5", "PCI_DSS_10.2.1", "CIS_5.1", "T12", "my_tag"}}

func hitOf(rule *event.Rule, n int, c *event.Container) *event.Hit {
	ev := &event.Event{Kind: event.Syscall, Container: c, Process: &event.Process{Parent: &event.Process{}}}
	copy(ev.Process.Comm[:], "cat")
	copy(ev.Process.Parent.Comm[:], "bash")
	return &event.Hit{ID: fmt.Sprintf("x-%d", n), Rule: rule, Time: time.Unix(1000+int64(n), 0), Output: "read", Event: ev,
		Fields: []event.HitField{{Name: "proc.name", Value: "cat"}, {Name: "proc.pid", Value: int64(7)}}}
}

func TestRulesAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	d := &held{suppressed: map[string]uint64{"Shadow read": 4}, outputs: []event.Delivered{{Output: "http", Told: 5, Dropped: 6, Failed: 7, Waiting: 8}}}
	r := NewRules(func() Detector { return d })
	r.Load([]*event.Rule{shadowRead})
	e := New(Options{Collectors: []Entry{r.Entry()}})
	_, text := scrapeText(e, "/metrics")
	const series = `yagura_rule_hits_total{priority="Warning",rule="Shadow read",source="syscall"}`
	expect(t, text, map[string]string{
		series:                                  "0",
		`yagura_rules_loaded{source="syscall"}`: "1",
		`yagura_rule_suppressed_total{reason="rate",rule="Shadow read"}`: "4",
		`yagura_rule_info{cis="5.1",maturity="stable",mitre_tactic="credential_access",mitre_technique="T1003.008,T1552",nist="800-190_3.5.5",pci="10.2.1",priority="Warning",rule="Shadow read",source="syscall"}`: "1",
		`yagura_alerts_total{output="http"}`:                      "5",
		`yagura_alerts_lost_total{output="http",reason="queue"}`:  "6",
		`yagura_alerts_lost_total{output="http",reason="failed"}`: "7",
		`yagura_alerts_waiting{output="http"}`:                    "8",
	})
	if strings.Contains(text, "yagura_workload_rule_hits_total{") {
		t.Error("workloads are shown before anything happened")
	}
	web := &event.Container{Workload: event.Workload{Namespace: "prod", Pod: "web-1", Container: "web"}}
	for n, c := range []*event.Container{nil, web, web} {
		h := hitOf(shadowRead, n, c)
		if c == nil {
			h.Event.Unit = "ssh.service"
		}
		r.Count(h.Rule, h.Event)
		r.Keep(h)
	}
	r.Spent(3 * time.Microsecond)
	_, text = scrapeText(e, "/metrics")
	expect(t, text, map[string]string{
		series: "3",
		`yagura_workload_rule_hits_total{container="",namespace="",pod="",rule="Shadow read",unit="ssh.service"}`:  "1",
		`yagura_workload_rule_hits_total{container="web",namespace="prod",pod="web-1",rule="Shadow read",unit=""}`: "2",
		`yagura_rule_eval_seconds_count`: "1",
	})
	_, open := scrapeText(e, "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if !strings.Contains(open, `# {event_id="x-2"}`) {
		t.Error("no exemplar has the id of the last hit")
	}
	r.Load([]*event.Rule{shadowRead, {Name: "another", Source: "syscall"}})
	_, text = scrapeText(e, "/metrics")
	expect(t, text, map[string]string{series: "3", `yagura_rules_loaded{source="syscall"}`: "2"})
}

func TestHitsAreServedLatestFirst(t *testing.T) {
	t.Parallel()
	r := NewRules(func() Detector { return &held{} })
	quiet := &event.Rule{Name: "quiet", Source: "syscall", Priority: event.Notice}
	for n := range keptRecent + 50 {
		rule := quiet
		if n%2 == 0 {
			rule = shadowRead
		}
		r.Keep(hitOf(rule, n, nil))
	}
	get := func(query string) (status int, ids []string, next string) {
		w := httptest.NewRecorder()
		r.Hits().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/yagura/hits"+query, nil))
		var page struct {
			Data []struct {
				ID        string         `json:"id"`
				Process   string         `json:"process"`
				Ancestors []string       `json:"ancestors"`
				Fields    map[string]any `json:"output_fields"`
			} `json:"data"`
			Next string `json:"next"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		for _, row := range page.Data {
			ids = append(ids, row.ID)
			if row.Process != "cat" || len(row.Ancestors) != 1 || row.Ancestors[0] != "bash" || row.Fields["proc.name"] != "cat" {
				t.Errorf("row %+v", row)
			}
		}
		return w.Code, ids, page.Next
	}
	const last = keptRecent + 49
	_, ids, next := get("?limit=2")
	if fmt.Sprint(ids) != fmt.Sprintf("[x-%d x-%d]", last, last-1) || next != "2" {
		t.Errorf("first page %v, next %q", ids, next)
	}
	if _, ids, _ = get("?limit=2&cursor=" + next); fmt.Sprint(ids) != fmt.Sprintf("[x-%d x-%d]", last-2, last-3) {
		t.Errorf("second page %v", ids)
	}
	if _, ids, _ = get("?priority=warning&limit=1"); fmt.Sprint(ids) != fmt.Sprintf("[x-%d]", last-1) {
		t.Errorf("warnings %v", ids)
	}
	if _, ids, _ = get("?tag=my_tag&since=" + fmt.Sprint(1000+last-2)); fmt.Sprint(ids) != fmt.Sprintf("[x-%d]", last-1) {
		t.Errorf("by tag and time %v", ids)
	}
	if _, ids, _ = get(fmt.Sprintf("?id=x-%d", last-keptRecent)); len(ids) != 0 {
		t.Errorf("a hit beyond the ring: %v", ids)
	}
	if _, ids, next = get(fmt.Sprintf("?limit=1&cursor=%d", keptRecent-1)); fmt.Sprint(ids) != fmt.Sprintf("[x-%d]", last-keptRecent+1) || next != "" {
		t.Errorf("the oldest %v, next %q", ids, next)
	}
	if status, _, _ := get("?rul=x"); status != http.StatusBadRequest {
		t.Errorf("unknown parameter: status %d", status)
	}
}

func TestFloodOfHitsCostsBoundedMemory(t *testing.T) {
	t.Parallel()
	r := NewRules(func() Detector { return &held{} })
	for n := range maxWorkloadHits + 100 {
		r.Count(shadowRead, &event.Event{Container: &event.Container{Workload: event.Workload{Container: fmt.Sprint(n)}}})
	}
	if len(r.workloads.by) != maxWorkloadHits || r.workloads.beyond != 100 || r.hits[keyOf(shadowRead)] != maxWorkloadHits+100 {
		t.Errorf("%d workloads, %d beyond, %d hits", len(r.workloads.by), r.workloads.beyond, r.hits[keyOf(shadowRead)])
	}
}

func TestCountCostsNoAllocation(t *testing.T) {
	r := NewRules(func() Detector { return &held{} })
	ev := &event.Event{Container: &event.Container{Workload: event.Workload{Container: "web"}}}
	r.Count(shadowRead, ev)
	if n := testing.AllocsPerRun(100, func() { r.Count(shadowRead, ev); r.Spent(time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestDurationsFallIntoTheirBuckets(t *testing.T) {
	t.Parallel()
	var b Buckets
	for _, test := range []struct {
		d      time.Duration
		bucket int
	}{{0, 0}, {time.Nanosecond, 1}, {time.Second, 30}, {time.Second + 1, 31}, {time.Second / 2, 29}, {time.Hour, 39}} {
		before := b.Counts[test.bucket]
		b.observe(test.d)
		if b.Counts[test.bucket] != before+1 {
			t.Errorf("%v is not in bucket %d: %v", test.d, test.bucket, b.Counts)
		}
	}
}
