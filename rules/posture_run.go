package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// PostureConfig says which checks there are, which of them are judged and how often, and what is accepted.
type PostureConfig struct {
	Interval   time.Duration `yaml:"interval"`   // between runs
	Timeout    time.Duration `yaml:"timeout"`    // of each survey
	Pack       bool          `yaml:"pack"`       // load our own checks, before the files
	Files      []string      `yaml:"files"`      // of more checks: files, and folders of *.yaml
	Frameworks []string      `yaml:"frameworks"` // only checks of these; empty is all. cis is every framework whose name begins so
	Checks     []string      `yaml:"checks"`     // only these checks, with * and ? as wild cards; empty is all
	Except     []string      `yaml:"except"`     // not these checks
	Waivers    []Waiver      `yaml:"waivers"`
	Facts      []string      `yaml:"facts"` // kinds of facts that are series
}

// DefaultPosture judges all of our own checks, once an hour.
var DefaultPosture = PostureConfig{Interval: time.Hour, Timeout: 30 * time.Second, Pack: true, Facts: shownFacts}

// Bounds of a configuration.
const (
	minPostureInterval = time.Minute
	maxWaivers         = 10_000
)

// Validate refuses what cannot be meant.
func (c PostureConfig) Validate() error {
	if c.Interval < minPostureInterval {
		return fmt.Errorf("posture: interval: %v: want at least %v", c.Interval, minPostureInterval)
	}
	if c.Timeout <= 0 {
		return fmt.Errorf("posture: timeout: %v: want more than nothing", c.Timeout)
	}
	if err := validateFacts(c.Facts); err != nil {
		return err
	}
	if len(c.Waivers) > maxWaivers {
		return fmt.Errorf("posture: waivers: %d: want at most %d", len(c.Waivers), maxWaivers)
	}
	for i := range c.Waivers {
		if err := c.Waivers[i].validate(); err != nil {
			return fmt.Errorf("posture: waivers: entry %d: %w", i+1, err)
		}
	}
	return nil
}

// Load reads the checks of the configuration, and returns those that it selects.
func (c PostureConfig) Load() ([]*Check, error) {
	var files []File
	if c.Pack {
		own, err := ChecksPack()
		if err != nil {
			return nil, err
		}
		files = own
	}
	all, results := LoadChecks(append(files, ReadFiles(c.Files)...))
	if err := failureOf(results); err != nil {
		return nil, err
	}
	if err := c.names(all); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(check *Check) bool { return !c.selects(check) })
	for _, check := range all {
		if len(c.Frameworks) > 0 { // a score of others would be one of some of their checks
			check.Controls = slices.DeleteFunc(check.Controls, func(control event.Control) bool { return !control.Within(c.Frameworks) })
		}
		check.Examples.Pass, check.Examples.Fail = nil, nil // of them only tests know anything
	}
	return all, nil
}

// names refuses patterns that name no check and no framework: they are mistakes.
func (c PostureConfig) names(all []*Check) error {
	known := func(pattern string) bool {
		return slices.ContainsFunc(all, func(check *Check) bool { return wildcard(pattern, check.ID) })
	}
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"checks", c.Checks}, {"except", c.Except}} {
		for _, pattern := range list.patterns {
			if !known(pattern) {
				return fmt.Errorf("posture: %s: there is no check %s", list.key, pattern)
			}
		}
	}
	for i, w := range c.Waivers {
		if !known(w.Check) {
			return fmt.Errorf("posture: waivers: entry %d: there is no check %s", i+1, w.Check)
		}
	}
	for _, name := range c.Frameworks {
		if !slices.ContainsFunc(all, func(check *Check) bool { return check.Within([]string{name}) }) {
			return fmt.Errorf("posture: frameworks: no check is of framework %s", name)
		}
	}
	return nil
}

func (c PostureConfig) selects(check *Check) bool {
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return wildcard(p, check.ID) })
	}
	return (len(c.Frameworks) == 0 || check.Within(c.Frameworks)) && (len(c.Checks) == 0 || matches(c.Checks)) && !matches(c.Except)
}

// PostureOptions say what a Posture judges.
type PostureOptions struct {
	Off     bool // no check is loaded, and this machine is not judged
	Config  PostureConfig
	Machine event.Machine
	Surveys []event.Surveyor
	Release func(m event.Machine) (id, version string) // as os-release has them; empty if nobody knows
	Log     *slog.Logger
	Now     func() time.Time // for waivers; the time by default
	Patient func() error     // lets others go before the goroutine, for as long as it lasts; nil if it need not. An error only costs them time
}

// A Posture judges one machine by checks, again and again. It keeps no facts.
type Posture struct {
	o       PostureOptions
	surveys []event.NamedSurvey
	daemon  bool // it goes on and on: when nobody else needs the machine

	loaded atomic.Pointer[loadedChecks]

	judging sync.Mutex
	hanging map[string]chan struct{} // surveys that did not end when they were told to

	preparing sync.Mutex
	prepared  map[string]time.Time // when the long work of surveys ended last, by their names
}

// loadedChecks are those of one load, and what came of them.
type loadedChecks struct {
	checks []*Check
	config PostureConfig
	last   map[*Check]event.Verdict // nil before the first run; guarded by judging
	facts  *factKeeper              // of the last run; as last
}

// NewPosture returns one that has no checks until they are loaded.
func NewPosture(o PostureOptions) *Posture {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Patient == nil {
		o.Patient = func() error { return nil }
	}
	var surveys []event.NamedSurvey
	for _, of := range o.Surveys {
		surveys = append(surveys, of(o.Machine)...)
	}
	p := &Posture{o: o, surveys: surveys, daemon: true, hanging: map[string]chan struct{}{}, prepared: map[string]time.Time{}}
	p.loaded.Store(&loadedChecks{config: o.Config})
	return p
}

// Interval is the time between two runs.
func (p *Posture) Interval() time.Duration { return p.loaded.Load().config.Interval }

// Once judges any machine, by the checks of some frameworks or of those that the configuration names.
func (p *Posture) Once(ctx context.Context, m event.Machine, frameworks []string) (*event.Posture, error) {
	o := p.o
	o.Machine = m
	if len(frameworks) > 0 {
		o.Config.Frameworks = frameworks
	}
	once := NewPosture(o)
	once.daemon = false
	checks, err := once.load(o.Config)
	if err != nil {
		return nil, err
	}
	if len(m.Dockerfiles) > 0 {
		checks = slices.DeleteFunc(checks, func(c *Check) bool { return !once.surveysKind(c.kind) })
	}
	once.loaded.Store(&loadedChecks{checks: checks, config: o.Config})
	r := once.Judge(ctx)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("judge the posture: %w", context.Cause(ctx))
	}
	return r, nil
}

func (p *Posture) surveysKind(kind *event.FactKind) bool {
	return slices.ContainsFunc(p.surveys, func(s event.NamedSurvey) bool { return slices.Contains(s.Kinds, kind) })
}

// List returns the checks of some frameworks, or of those that the configuration names.
func (p *Posture) List(frameworks []string) ([]*event.Check, error) {
	c := p.o.Config
	if len(frameworks) > 0 {
		c.Frameworks = frameworks
	}
	checks, err := c.Load()
	all := make([]*event.Check, len(checks))
	for i, check := range checks {
		all[i] = &check.Check
	}
	return all, err
}

// Load takes the checks of a configuration, if they load and then others do as well. If not, those before stay.
func (p *Posture) Load(c PostureConfig, others func() error) error {
	if p.o.Off {
		return others()
	}
	checks, err := p.load(c)
	if err == nil {
		err = others()
	}
	if err != nil {
		return err
	}
	p.loaded.Store(&loadedChecks{checks: checks, config: c})
	p.o.Log.Info("posture checks loaded", "checks", len(checks), "waivers", len(c.Waivers))
	return nil
}

// load reads the checks for the machine. Where there is a benchmark of just its release those of others say nothing of it, and are left
// out unless they are asked for.
func (p *Posture) load(c PostureConfig) ([]*Check, error) {
	checks, err := c.Load()
	if err != nil || len(c.Frameworks) > 0 || p.o.Release == nil {
		return checks, err
	}
	id, version := p.o.Release(p.o.Machine)
	own := "cis_" + id + "_" + strings.ReplaceAll(version, ".", "")
	if !slices.ContainsFunc(checks, func(check *Check) bool { return check.Within([]string{own}) }) {
		return checks, nil
	}
	for _, check := range checks {
		check.Controls = slices.DeleteFunc(check.Controls, func(of event.Control) bool { return of.Framework != own && distributions.MatchString(of.Framework) })
	}
	return checks, nil
}

// distributions are the names of frameworks that are about one release of a distribution.
var distributions = regexp.MustCompile(`^cis_(debian|ubuntu)_[0-9]+$`)

// Check says what is wrong with the checks that a configuration names, as Load does, and changes nothing.
func (p *Posture) Check(c PostureConfig) error {
	if p.o.Off {
		return nil
	}
	_, err := c.Load()
	return err
}

// On says whether this machine is to be judged.
func (p *Posture) On() bool { return !p.o.Off }

// Judge surveys the machine and judges it: all of it, or only by the checks of facts of some kinds, while the other verdicts stay as
// they were. It is nil if other checks were loaded meanwhile.
func (p *Posture) Judge(ctx context.Context, kinds ...string) *event.Posture {
	p.judging.Lock()
	defer p.judging.Unlock()
	begin, l := time.Now(), p.loaded.Load()
	all := len(kinds) == 0 || l.last == nil
	wanted := func(k *event.FactKind) bool { return all || k != nil && slices.Contains(kinds, k.Name) }
	var checks []*Check
	for _, c := range l.checks {
		if wanted(c.kind) {
			checks = append(checks, c)
		}
	}
	if p.daemon {
		defer thriftily(all)()
	}
	e := NewEvaluation(checks, l.config.Waivers, p.o.Now())
	e.image, e.keeper = p.o.Machine.Procfs == "", newFactKeeper(l.config.Facts, wanted)
	surveys := slices.DeleteFunc(slices.Clone(p.surveys), func(s event.NamedSurvey) bool {
		return !slices.ContainsFunc(s.Kinds, func(k *event.FactKind) bool { return wanted(k) && (len(e.byKind[k]) > 0 || e.keeper.wants(k)) })
	})
	p.surveyAll(ctx, surveys, cmp.Or(l.config.Timeout, DefaultPosture.Timeout), e)
	if p.loaded.Load() != l {
		return nil
	}
	return p.posture(begin, l, checks, e)
}

// thriftily has a run take little more memory than it must, as it is short and what follows is long, and gives back what a full one took.
func thriftily(full bool) (end func()) {
	percent := debug.SetGCPercent(25)
	return func() {
		debug.SetGCPercent(percent)
		if full {
			debug.FreeOSMemory()
		}
	}
}

// posture joins the new verdicts with those before.
func (p *Posture) posture(begin time.Time, l *loadedChecks, checks []*Check, e *Evaluation) *event.Posture {
	first := l.last == nil
	if first {
		l.last = map[*Check]event.Verdict{}
	}
	for i, v := range e.Verdicts() {
		l.last[checks[i]] = v
	}
	result := &event.Posture{Time: begin, Took: time.Since(begin), Facts: e.facts, Waivers: e.Waivers(), Prepared: p.lastPrepared()}
	for _, c := range l.checks {
		if v, ok := l.last[c]; ok {
			result.Verdicts = append(result.Verdicts, v)
		}
	}
	result.Scores = Scores(result.Verdicts)
	result.Known, result.Unknown = e.keeper.join(l.facts)
	l.facts = e.keeper
	p.report(result, first)
	return result
}

// report logs how a run went: a steady state is quiet.
func (p *Posture) report(r *event.Posture, first bool) {
	log := p.o.Log.Debug
	if first && p.daemon {
		log = p.o.Log.Info
	}
	var n [5]int
	for i := range r.Verdicts {
		n[r.Verdicts[i].Status]++
	}
	log("posture judged", "took", r.Took.Round(time.Millisecond), "facts", r.Facts, "pass", n[event.Pass], "fail", n[event.Fail],
		"error", n[event.Erroneous], "manual", n[event.Manual], "not_applicable", n[event.NotApplicable])
}

// KindsOf are the kinds of facts that may be others once a file of the machine has changed, as far as the last run knows. It never waits.
func (p *Posture) KindsOf(file string) (kinds []string) {
	for _, s := range p.surveys {
		if s.Reads == nil || !s.Reads(file) {
			continue
		}
		for _, k := range s.Kinds {
			if !slices.Contains(kinds, k.Name) {
				kinds = append(kinds, k.Name)
			}
		}
	}
	return kinds
}

// surveyGrace is how long a survey may take to notice that its time is over.
const surveyGrace = 2 * time.Second

// survey runs one, and tells the evaluation what came of it. One that does not end in its time is left alone, and not begun again
// before it has ended.
func (p *Posture) survey(ctx context.Context, s event.NamedSurvey, limit time.Duration, e *Evaluation) {
	if done := p.hanging[s.Name]; done != nil {
		select {
		case <-done:
			delete(p.hanging, s.Name)
		default:
			e.Failed(s.Kinds, "survey "+s.Name+" of an earlier run has still not ended")
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r := &surveying{e: e}
	if p.daemon {
		r.patient = p.o.Patient
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = r.run(ctx, s)
	}()
	if !endsInTime(ctx, done) {
		r.leave()
		p.hanging[s.Name] = done
		p.o.Log.Warn("posture survey does not end", "survey", s.Name, "timeout", limit)
		e.Failed(s.Kinds, fmt.Sprintf("survey %s did not end in %v", s.Name, limit))
		return
	}
	e.Surveyed(s.Kinds)
	switch {
	case errors.Is(err, event.ErrNotLive):
		e.NotLive(s.Kinds)
	case err != nil:
		e.Failed(s.Kinds, fmt.Sprintf("survey %s: %v", s.Name, err))
	}
}

// A surveying is a survey that runs.
type surveying struct {
	patient func() error // nil unless others go first

	mu   sync.Mutex
	e    *Evaluation
	left bool // what it still reports is not heard
}

func (r *surveying) run(ctx context.Context, s event.NamedSurvey) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	if r.patient != nil {
		_ = r.patient()
	}
	return s.Survey(ctx, func(f event.Fact) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.left {
			r.e.Fact(f)
		}
	})
}

func (r *surveying) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
}
