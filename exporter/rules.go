package exporter

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// A Rules collector counts the hits of rules, by rule and by workload, and keeps the most recent ones to be looked at.
type Rules struct {
	detector func() Detector

	mu        sync.Mutex
	loaded    []*event.Rule
	hits      map[ruleKey]uint64 // since the start: they outlive a reload
	workloads hitCounts[workloadHit]
	exemplars map[ruleKey]*Exemplar
	spent     Buckets
	recent    recentOnes[*event.Hit]

	total, byWorkload, rules, info, held, seconds, lost *Family
	alerts, alertsLost, alertsWaiting                   *Family
}

type ruleKey struct{ name, priority, source string }

type workloadHit struct {
	event.Workload
	rule string
}

// A Detector knows what became of hits.
type Detector interface {
	Suppressed(yield func(rule string, n uint64)) // hits that were counted, but not told
	Outputs() []event.Delivered
}

// NewRules returns the collector. The detector may be made later, but before the first Update.
func NewRules(detector func() Detector) *Rules {
	return &Rules{
		detector: detector,
		hits:     map[ruleKey]uint64{}, exemplars: map[ruleKey]*Exemplar{},
		total: NewCounter("yagura_rule_hits_total",
			"Events that satisfied the rule, on the whole node; every loaded rule is there from the start. An exemplar has the id of a hit, which /api/yagura/hits shows.",
			"rule", "priority", "source").Fixed(),
		byWorkload: NewCounter("yagura_workload_rule_hits_total",
			"Events of the workload that satisfied the rule; there once it has happened.", "rule").PerWorkload().Rare(),
		rules: NewGauge("yagura_rules_loaded", "Rules that are evaluated, by the source of their events.", "source").Fixed(),
		info: NewGauge("yagura_rule_info",
			"1, with what the rule's tags say: tactic and technique of MITRE ATT&CK, sections of NIST SP 800-190 and PCI DSS, items of CIS, and how mature it is.",
			"rule", "priority", "source", "mitre_tactic", "mitre_technique", "nist", "pci", "cis", "maturity").Fixed(),
		held: NewCounter("yagura_rule_suppressed_total",
			"Hits of the rule that were counted, but not told as alerts: they came faster than its rate (rate).", "rule", "reason").Fixed(),
		seconds: NewHistogram("yagura_rule_eval_seconds", "Time that all rules together took for an event; of one event in 64."),
		lost: NewCounter("yagura_rule_workloads_lost_total",
			"Hits that are not counted by workload, as too many workloads and rules had some.").Fixed(),
		alerts: NewCounter("yagura_alerts_total", "Hits that the output was told of.", "output").Fixed(),
		alertsLost: NewCounter("yagura_alerts_lost_total",
			"Hits that the output was not told of: its queue was full (queue), or it failed again and again (failed).", "output", "reason").Fixed(),
		alertsWaiting: NewGauge("yagura_alerts_waiting", "Hits that wait in the queue of the output.", "output").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (r *Rules) Entry() Entry {
	return Entry{
		Name: "rules", Help: "Hits of detection rules. Off, no rule is loaded.", Default: true,
		Collector: r, Families: r.families(),
	}
}

func (r *Rules) families() []*Family {
	return []*Family{r.total, r.byWorkload, r.rules, r.info, r.held, r.seconds, r.lost, r.alerts, r.alertsLost, r.alertsWaiting}
}

// Load says which rules are evaluated from now on.
func (r *Rules) Load(rules []*event.Rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = slices.Clone(rules)
}

// Count counts a hit. It may be called from any goroutine.
func (r *Rules) Count(rule *event.Rule, ev *event.Event) {
	key := workloadHit{ev.Workload(), rule.Name}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hits[keyOf(rule)]++
	r.workloads.count(key)
}

func keyOf(rule *event.Rule) ruleKey { return ruleKey{rule.Name, rule.Priority.String(), rule.Source} }

// Keep makes a hit one of the recent ones, and the exemplar of its series.
func (r *Rules) Keep(h *event.Hit) {
	e := &Exemplar{Labels: map[string]string{"event_id": h.ID}, Value: 1, Time: h.Time}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exemplars[keyOf(h.Rule)] = e
	if c := r.workloads.by[workloadHit{h.Workload(), h.Rule.Name}]; c != nil {
		c.exemplar = e
	}
	r.recent.keep(h)
}

// Spent notes how long the rules took for an event.
func (r *Rules) Spent(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spent.observe(d)
}

// Update sends all families. The series of a workload that is gone go with the others of it.
func (r *Rules) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	var host event.Workload
	for _, f := range r.families() {
		f.Begin()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sendLoaded()
	for key, c := range r.workloads.shown() {
		r.byWorkload.Set(key.Workload, float64(c.n), key.rule)
		if c.exemplar != nil {
			r.byWorkload.Exemplify(key.Workload, *c.exemplar, key.rule)
		}
	}
	r.detector().Suppressed(func(rule string, n uint64) { r.held.Set(host, float64(n), rule, "rate") })
	r.seconds.AddHistogram(host, &r.spent)
	r.lost.Set(host, float64(r.workloads.beyond))
	r.setOutputs()
	for _, f := range r.families() {
		f.Send(ch)
	}
	return nil
}

func (r *Rules) setOutputs() {
	var host event.Workload
	for _, o := range r.detector().Outputs() {
		r.alerts.Set(host, float64(o.Told), o.Output)
		r.alertsLost.Set(host, float64(o.Dropped), o.Output, "queue")
		r.alertsLost.Set(host, float64(o.Failed), o.Output, "failed")
		r.alertsWaiting.Set(host, float64(o.Waiting), o.Output)
	}
}

func (r *Rules) sendLoaded() {
	var host event.Workload
	sources := map[string]int{"syscall": 0}
	for _, rule := range r.loaded {
		key := keyOf(rule)
		r.total.Set(host, float64(r.hits[key]), key.name, key.priority, key.source)
		if e := r.exemplars[key]; e != nil {
			r.total.Exemplify(host, *e, key.name, key.priority, key.source)
		}
		sources[rule.Source]++
		t := tagsOf(rule.Tags)
		r.info.Set(host, 1, key.name, key.priority, key.source, t["mitre_tactic"], t["mitre_technique"], t["nist"], t["pci"], t["cis"], t["maturity"])
	}
	for source, n := range sources {
		r.rules.Set(host, float64(n), source)
	}
}

// tagsOf sorts tags into labels of bounded names; several of one kind are joined by commas.
func tagsOf(tags []string) map[string]string {
	found := map[string][]string{}
	for _, tag := range tags {
		if label, value := labelOf(tag); label != "" {
			found[label] = append(found[label], value)
		}
	}
	labels := map[string]string{}
	for label, values := range found {
		labels[label] = strings.Join(values, ",")
	}
	return labels
}

func labelOf(tag string) (label, value string) {
	upper := strings.ToUpper(tag)
	switch {
	case strings.HasPrefix(upper, "MITRE_"):
		return "mitre_tactic", strings.ToLower(tag[len("MITRE_"):])
	case strings.HasPrefix(upper, "MATURITY_"):
		return "maturity", strings.ToLower(tag[len("MATURITY_"):])
	case strings.HasPrefix(upper, "NIST_"):
		return "nist", tag[len("NIST_"):]
	case strings.HasPrefix(upper, "PCI_DSS_"):
		return "pci", tag[len("PCI_DSS_"):]
	case strings.HasPrefix(upper, "CIS_"):
		return "cis", tag[len("CIS_"):]
	case isTechnique(upper):
		return "mitre_technique", upper
	}
	return "", ""
}

// isTechnique says whether a tag is a technique's id, such as T1003 or T1003.008.
func isTechnique(tag string) bool {
	if len(tag) != 5 && len(tag) != 9 || tag[0] != 'T' || len(tag) == 9 && tag[5] != '.' {
		return false
	}
	return strings.Trim(strings.Replace(tag[1:], ".", "", 1), "0123456789") == ""
}

// Hits serves the recent hits, the latest first: /api/yagura/hits. Besides what all endpoints have it filters by rule,
// priority (that or a more urgent one), tag, source and id.
func (r *Rules) Hits() http.Handler {
	return FilteredRows([]string{"rule", "priority", "tag", "source", "id"}, func(w http.ResponseWriter, q Query) {
		ServeRows(w, q, r.rows(q))
	})
}

// A hitRow is a hit as /api/yagura/hits shows it.
type hitRow struct {
	ID        string            `json:"id"`
	Time      time.Time         `json:"time"`
	Rule      string            `json:"rule"`
	Priority  string            `json:"priority"`
	Source    string            `json:"source"`
	Tags      []string          `json:"tags"`
	Output    string            `json:"output"`
	Fields    map[string]any    `json:"output_fields"`
	Workload  map[string]string `json:"workload"`
	Process   string            `json:"process,omitempty"`
	Ancestors []string          `json:"ancestors"`
}

func (r *Rules) rows(q Query) []hitRow {
	r.mu.Lock()
	hits := r.recent.latest()
	r.mu.Unlock()
	rows := []hitRow{}
	for _, h := range hits {
		if q.Wants(h.Workload(), h.Time) && wantsHit(q.Filters, h) {
			rows = append(rows, rowOf(h))
		}
	}
	return rows
}

func wantsHit(filters map[string]string, h *event.Hit) bool {
	for name, want := range filters {
		ok := true
		switch name {
		case "rule":
			ok = h.Rule.Name == want
		case "priority":
			least, err := event.PriorityNamed(want)
			ok = err == nil && h.Rule.Priority <= least
		case "tag":
			ok = slices.Contains(h.Rule.Tags, want)
		case "source":
			ok = h.Rule.Source == want
		case "id":
			ok = h.ID == want
		}
		if !ok {
			return false
		}
	}
	return true
}

func rowOf(h *event.Hit) hitRow {
	row := hitRow{ID: h.ID, Time: h.Time.UTC(), Rule: h.Rule.Name, Priority: h.Rule.Priority.String(), Source: h.Rule.Source,
		Tags: append([]string{}, h.Rule.Tags...), Output: h.Output, Fields: map[string]any{}, Ancestors: []string{}}
	for _, f := range h.Fields {
		row.Fields[f.Name] = f.Value
	}
	w := h.Workload()
	row.Workload = map[string]string{"namespace": w.Namespace, "pod": w.Pod, "container": w.Container, "unit": w.Unit}
	if p := h.Event.Process; p != nil {
		row.Process = p.Name()
		for p = p.Parent; p != nil; p = p.Parent {
			row.Ancestors = append(row.Ancestors, p.Name())
		}
	}
	return row
}
