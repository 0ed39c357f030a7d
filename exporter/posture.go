package exporter

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/rules/event"
)

// A PostureJudge judges machines by posture checks.
type PostureJudge interface {
	On() bool                                                  // this machine is to be judged
	Judge(ctx context.Context, kinds ...string) *event.Posture // this machine; only by the facts of some kinds, if any are named
	Interval() time.Duration                                   // between such runs, as it is configured now
	KindsOf(file string) []string                              // the facts that may be others once a file has changed; does not wait

	// Prepare does what takes long, again and again until ctx is done, and tells of which kinds there are new facts.
	Prepare(ctx context.Context, prepared func(kinds ...string))

	Once(ctx context.Context, m event.Machine, frameworks []string) (*event.Posture, error) // any machine
	List(frameworks []string) ([]*event.Check, error)
}

// PostureOptions say who judges whom. What they name may be made later, but before Run.
type PostureOptions struct {
	Judge      func() PostureJudge
	Containers func() []*event.Container // that run; nil if nobody knows
}

// A Posture collector shows what came of posture checks. It has them run in the background, one run at a time.
type Posture struct {
	o      PostureOptions
	result atomic.Pointer[event.Posture]
	asked  chan struct{} // has an element while something waits

	took  time.Duration   // the last run, which is Run's to know
	ended time.Time       // that run
	known map[string]bool // the containers that run, when it last looked

	mu    sync.Mutex // guards what follows
	kinds []string   // that wait for a run
	all   bool       // all do

	score, resources, coverage, check, info, status, failing, waivers, last, seconds, surveyed *Family
	facts                                                                                      *postureFacts
}

// When runs begin.
const (
	postureDelay  = 10 * time.Second // after the start
	postureQuiet  = 2 * time.Second  // after a change, so that those close by are one run
	postureRest   = 5                // times as long as a run took, at least, until the next one
	postureLook   = time.Minute      // it is looked whether other containers run
	maxAskedKinds = 1000
)

// NewPosture returns the collector.
func NewPosture(o PostureOptions) *Posture {
	return &Posture{
		o: o, asked: make(chan struct{}, 1),
		score: NewGauge("yagura_posture_score",
			"How well the checks of the framework are satisfied, 0 to 100: the weight of those that pass, of those that pass or fail. Absent if none was assessed.",
			"framework").Fixed().NotAdditive(),
		resources: NewGauge("yagura_posture_score_weighted_by_resources",
			"As yagura_posture_score, with each check counted as often as there is something that it is about.", "framework").Fixed().NotAdditive(),
		facts: newPostureFacts(),
		coverage: NewGauge("yagura_posture_coverage_ratio",
			"Checks of the framework that pass or fail, of all that it has.", "framework").Fixed(),
		check: NewGauge("yagura_posture_check_result",
			"1 if the check passes, 0 if it fails; absent if it was not assessed.", "check", "severity").Fixed(),
		info: NewGauge("yagura_posture_check_info",
			"1, for each control that the check is evidence for; of checks that are applicable here.", "check", "framework", "control").Fixed(),
		status: NewGauge("yagura_posture_check_status",
			"1 for a check that was not assessed: what it asks about could not be read (error), only a person can tell (manual), or it is not here (not_applicable).",
			"check", "status").Fixed(),
		failing: NewGauge("yagura_posture_failing_objects",
			"Objects that fail the check, without those that are waived; of checks that were assessed.", "check").Fixed(),
		waivers: NewGauge("yagura_posture_waivers",
			"Waivers of the configuration: in force (active), or not any more (expired).", "state").Fixed(),
		last: NewGauge("yagura_posture_last_run_timestamp_seconds",
			"When the last run of posture checks began."),
		seconds: NewGauge("yagura_posture_run_duration_seconds",
			"How long the last run of posture checks took."),
		surveyed: NewGauge("yagura_posture_survey_timestamp_seconds",
			"When what the survey tells was looked for, if that takes so long that it is done in the background.", "survey").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (p *Posture) Entry() Entry {
	return Entry{
		Name: "posture", Help: "How well this machine is configured: posture checks and scores.", Default: true,
		Collector: p, Families: p.families(),
	}
}

func (p *Posture) families() []*Family {
	return append([]*Family{p.score, p.resources, p.coverage, p.check, p.info, p.status, p.failing, p.waivers, p.last, p.seconds, p.surveyed},
		p.facts.families()...)
}

// Update sends what came of the last run.
func (p *Posture) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	r := p.result.Load()
	if r == nil {
		return ErrNoData
	}
	for _, f := range p.families() {
		f.Begin()
	}
	p.set(r)
	for _, f := range p.families() {
		f.Send(ch)
	}
	return nil
}

func (p *Posture) set(r *event.Posture) {
	var host event.Workload
	for i := range r.Scores {
		s := &r.Scores[i]
		p.coverage.Set(host, s.Coverage, s.Framework)
		if s.Assessed() > 0 {
			p.score.Set(host, s.Score, s.Framework)
			p.resources.Set(host, s.Resources, s.Framework)
		}
	}
	for i := range r.Verdicts {
		p.setVerdict(&r.Verdicts[i])
	}
	p.facts.set(r)
	expired := 0
	for _, w := range r.Waivers {
		if w.Expired {
			expired++
		}
	}
	p.waivers.Set(host, float64(expired), "expired")
	p.waivers.Set(host, float64(len(r.Waivers)-expired), "active")
	p.last.Set(host, float64(r.Time.UnixMilli())/1e3)
	p.seconds.Set(host, r.Took.Seconds())
	for name, at := range r.Prepared {
		p.surveyed.Set(host, float64(at.Unix()), name)
	}
}

func (p *Posture) setVerdict(v *event.Verdict) {
	var host event.Workload
	id := v.Check.ID
	if v.Status.Assessed() {
		p.check.Set(host, oneIf(v.Status == event.Pass), id, v.Check.Severity.String())
		p.failing.Set(host, float64(v.Failing), id)
	} else {
		p.status.Set(host, 1, id, v.Status.String())
	}
	if v.Status == event.NotApplicable {
		return
	}
	for _, c := range v.Check.Controls {
		p.info.Set(host, 1, id, c.Framework, c.ID)
	}
}

// Run judges the machine soon after the start, at every interval, and when something has changed, until ctx is done.
func (p *Posture) Run(ctx context.Context) error {
	if !p.o.Judge().On() {
		<-ctx.Done()
		return nil
	}
	var preparing sync.WaitGroup
	defer preparing.Wait()
	preparing.Go(func() { p.o.Judge().Prepare(ctx, p.Rerun) })
	pause(ctx, postureDelay)
	for ctx.Err() == nil {
		p.take()
		p.look()
		p.run(ctx)
		p.changes(ctx, max(p.o.Judge().Interval()-p.took, postureRest*p.took))
	}
	return nil
}

// changes judges what is asked for, until it is time for all, or that is asked for.
func (p *Posture) changes(ctx context.Context, until time.Duration) {
	due, look := time.NewTimer(until), time.NewTicker(postureLook)
	defer due.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			return
		case <-look.C:
			if p.look() {
				p.Rerun(event.RunningContainer.Name, event.ContainerMount.Name)
			}
			continue
		case <-p.asked:
		}
		pause(ctx, max(postureQuiet, time.Until(p.ended.Add(postureRest*p.took))))
		kinds, all := p.take()
		if all || ctx.Err() != nil {
			return
		}
		if len(kinds) > 0 {
			p.run(ctx, kinds...)
		}
	}
}

// look says whether other containers run than when it last did.
func (p *Posture) look() (others bool) {
	if p.o.Containers == nil {
		return false
	}
	running := map[string]bool{}
	for _, c := range p.o.Containers() {
		running[c.ID] = true
	}
	others = !maps.Equal(running, p.known)
	p.known = running
	return others
}

// pause waits for so long, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// run judges everything, or by facts of some kinds.
func (p *Posture) run(ctx context.Context, kinds ...string) {
	began := time.Now()
	r := p.o.Judge().Judge(ctx, kinds...)
	p.ended = time.Now()
	p.took = p.ended.Sub(began)
	if r != nil && ctx.Err() == nil { // what it could not read once that was done is no fact
		p.result.Store(r)
	}
}

// Rerun asks for the checks of facts of some kinds, or for all, because something has changed. It returns at once; what is asked for
// within seconds is one run.
func (p *Posture) Rerun(kinds ...string) {
	p.mu.Lock()
	p.all = p.all || len(kinds) == 0
	for _, kind := range kinds {
		if !slices.Contains(p.kinds, kind) && len(p.kinds) < maxAskedKinds {
			p.kinds = append(p.kinds, kind)
		}
	}
	p.mu.Unlock()
	select {
	case p.asked <- struct{}{}:
	default:
	}
}

// Changed says that a file of the machine has changed: the checks that read it run again within seconds. It returns at once.
func (p *Posture) Changed(file string) {
	judge := p.o.Judge()
	if !judge.On() {
		return
	}
	if p.result.Load() == nil { // nobody knows yet who reads it, and it may just have been read
		p.Rerun()
		return
	}
	if kinds := judge.KindsOf(file); len(kinds) > 0 {
		p.Rerun(kinds...)
	}
}

// take returns the kinds that wait, or that all do, which then wait no more.
func (p *Posture) take() (kinds []string, all bool) {
	select {
	case <-p.asked:
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kinds, all = p.kinds, p.all
	p.kinds, p.all = nil, false
	return kinds, all
}

// postureFilters are the parameters of /api/yagura/posture.
var postureFilters = []string{"check", "framework", "control", "status", "severity"}

// Rows serves the last run: /api/yagura/posture, a row for each control of each check.
func (p *Posture) Rows() http.Handler {
	return FilteredRows(postureFilters, func(w http.ResponseWriter, q Query) {
		ServeRows(w, q, p.rows(q))
	})
}

// A postureRow is a check as /api/yagura/posture shows it.
type postureRow struct {
	Check       string          `json:"check"`
	Framework   string          `json:"framework"`
	Control     string          `json:"control"`
	Status      event.Status    `json:"status"`
	Severity    event.Severity  `json:"severity"`
	Title       string          `json:"title"`
	Time        time.Time       `json:"time"` // of the run
	Reason      string          `json:"reason,omitempty"`
	Risk        string          `json:"risk"`
	Remediation string          `json:"remediation"`
	References  []string        `json:"references"`
	Failing     int             `json:"failing"`
	Waived      int             `json:"waived"`
	Objects     []postureObject `json:"objects"` // that fail, the first of them
}

// A postureObject is a fact that fails a check.
type postureObject struct {
	Subject     string         `json:"subject"`
	Source      string         `json:"source,omitempty"`
	Fact        map[string]any `json:"fact,omitempty"`
	Expected    string         `json:"expected,omitempty"`
	Remediation string         `json:"remediation,omitempty"`
	Error       string         `json:"error,omitempty"`
}

func (p *Posture) rows(q Query) []postureRow {
	rows := []postureRow{}
	r := p.result.Load()
	if r == nil || !q.Wants(event.Workload{}, r.Time) {
		return rows
	}
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		controls := v.Check.Controls
		if len(controls) == 0 {
			controls = []event.Control{{}}
		}
		for _, c := range controls {
			if wantsVerdict(q.Filters, v, c) {
				rows = append(rows, postureRow{Check: v.Check.ID, Framework: c.Framework, Control: c.ID, Status: v.Status, Severity: v.Check.Severity,
					Title: v.Check.Title, Time: r.Time.UTC(), Reason: v.Reason, Risk: v.Check.Risk, Remediation: v.Check.Remediation,
					References: append([]string{}, v.Check.References...), Failing: v.Failing, Waived: v.Waiving, Objects: objectsOf(v, false)})
			}
		}
	}
	return rows
}

func wantsVerdict(filters map[string]string, v *event.Verdict, c event.Control) bool {
	is := map[string]string{"check": v.Check.ID, "framework": c.Framework, "control": c.ID, "status": v.Status.String(), "severity": v.Check.Severity.String()}
	for name, want := range filters {
		if is[name] != want {
			return false
		}
	}
	return true
}

// objectsOf are the objects that fail, with the remediation if they are told apart from their check.
func objectsOf(v *event.Verdict, remediation bool) []postureObject {
	all := []postureObject{}
	for _, o := range v.Objects {
		shown := postureObject{Subject: o.Subject, Source: o.Source, Fact: o.Values, Expected: o.Expected}
		if remediation {
			shown.Remediation = v.Check.Remediation
		}
		all = append(all, shown)
	}
	return all
}
