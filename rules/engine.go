// Package rules is what is worth telling someone: it loads rules over system calls and over changes of watched files in
// Falco's language, evaluates them over events, and tells of hits. It knows neither where events come from nor what becomes of a hit.
package rules

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// EngineOptions say what becomes of hits. Each function may be nil; those that are set are called from the goroutines that
// evaluate, so they must not wait.
type EngineOptions struct {
	Names  Names
	Procfs string // empty in a replay: what the event does not hold is absent

	// Count is told of every hit. Tell is told of those that the rule's rate allows, with their particulars, which it may
	// keep. Spent is told now and then how long the rules took for one event.
	Count func(rule *event.Rule, ev *event.Event)
	Tell  func(h *event.Hit)
	Spent func(d time.Duration)

	// Redact takes secrets out of an argument list, RedactText out of another text, before a hit is told.
	Redact     func(args []string) []string
	RedactText func(text string) string
}

// An Engine evaluates the loaded rules over events. What is loaded is replaced as a whole, and evaluated by any number of
// Evaluators at once.
type Engine struct {
	options EngineOptions
	loaded  atomic.Pointer[compiled]
	run     string // begins the ids of hits
	hits    atomic.Uint64

	mu     sync.Mutex
	limits map[string]*limiter // by rule, so that a reload does not open them anew
}

// NewEngine returns an engine without rules.
func NewEngine(o EngineOptions) *Engine {
	e := &Engine{options: o, limits: map[string]*limiter{}, run: fmt.Sprintf("%x", time.Now().UnixNano()/1e6)}
	e.loaded.Store(&compiled{byType: make([]*dispatch, len(event.Types))})
	return e
}

// compiled is one loaded set. It does not change.
type compiled struct {
	byType   []*dispatch // by event type; nil where no rule is about it
	rules    []*event.Rule
	first    bool // the first rule that matches is the only one
	interest event.Interest
}

// A matcher is one rule, ready to be evaluated for one event type.
type matcher struct {
	rule  *event.Rule
	test  func(*Record) bool
	tell  *teller
	limit *limiter
}

// A teller is how hits of a rule are written.
type teller struct {
	output   *Format
	fields   []namedFormat  // what alerts show besides
	warnings []expr.Warning // of the rule's own output
}

type namedFormat struct {
	name   string
	format *Format
}

// Compile makes a set ready, and replaces with it what was loaded. On an error nothing changes.
func (e *Engine) Compile(l Languages, set *Set, config Config) error {
	c := &compiled{byType: make([]*dispatch, len(event.Types)), first: config.Matching == "first"}
	p := preparation{languages: l, config: config, perType: make([]ofType, len(event.Types)), tests: map[condition]func(*Record) bool{}}
	var failed error
	limits := map[string]*limiter{}
	for _, r := range set.Rules {
		if !r.Enabled {
			continue
		}
		limits[r.Name] = e.limiter(r.Name)
		own := r.Rule // so that what it was read from can go
		if err := p.add(r, &matcher{rule: &own, limit: limits[r.Name]}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s:%d: rule %q: %w", r.File, r.Line, r.Name, err))
		}
		c.rules = append(c.rules, &own)
	}
	if err := errors.Join(failed, p.dispatch(c)); err != nil {
		return err
	}
	c.interest = interestOf(set.Rules, config)
	e.setLimits(limits, config.Rate)
	e.loaded.Store(c)
	return nil
}

// A preparation is a set that is being made ready.
type preparation struct {
	languages Languages
	config    Config
	perType   []ofType
	tests     map[condition]func(*Record) bool // several event types mostly share one
}

type condition struct{ source, text string }

// ofType is what one event type's rules are.
type ofType struct {
	matchers   []*matcher
	conditions []expr.Node // of each matcher; nil is always true
	text       strings.Builder
}

// add makes of m, which lacks its condition and its output, one for each type of events that the rule is about.
func (p *preparation) add(r *Rule, m *matcher) (err error) {
	l := p.languages[r.Source]
	if l == nil {
		return fmt.Errorf("nobody evaluates events of source %s", r.Source)
	}
	if m.tell, err = newTeller(l, r, p.config); err != nil {
		return err
	}
	scope, err := p.config.scopeOf(r)
	if err != nil {
		return err
	}
	whole := r.Condition
	if scope != nil {
		whole = &expr.And{Items: []expr.Node{r.Condition, scope}}
	}
	for t := 1; t < len(event.Types); t++ {
		name := event.Types[t].Name
		if !r.Types[name] {
			continue
		}
		n, truth := expr.Fix(whole, "evt.type", name)
		if truth == expr.Never {
			continue
		}
		test, text, err := p.test(r.Source, n)
		if err != nil {
			return err
		}
		o := &p.perType[t]
		o.text.WriteString(r.Name + "\x00" + text + "\x00")
		o.matchers = append(o.matchers, &matcher{rule: m.rule, tell: m.tell, limit: m.limit, test: test})
		o.conditions = append(o.conditions, n)
	}
	return nil
}

// test compiles a condition, once, and returns its text.
func (p *preparation) test(source string, n expr.Node) (test func(*Record) bool, text string, err error) {
	if n == nil {
		return func(*Record) bool { return true }, "", nil
	}
	text = expr.Print(n)
	key := condition{source, text}
	if test = p.tests[key]; test == nil {
		test, err = p.languages[source].Compile(n)
		p.tests[key] = test
	}
	return test, text, err
}

// dispatch makes each event type's rules ready; types whose rules say the same share all.
func (p *preparation) dispatch(c *compiled) error {
	made := map[string]*dispatch{}
	for t := range p.perType {
		o := &p.perType[t]
		if len(o.matchers) == 0 {
			continue
		}
		d := made[o.text.String()]
		if d == nil {
			var err error
			if d, err = newDispatch(p.languages[event.Type(t).Source()], o.matchers, o.conditions); err != nil {
				return fmt.Errorf("%s: %w", event.Type(t), err)
			}
			made[o.text.String()] = d
		}
		c.byType[t] = d
	}
	return nil
}

func newTeller(l *expr.Language[Record], r *Rule, config Config) (*teller, error) {
	extra, fields := config.extra(r, l)
	own, err := NewFormat(l, r.Output) // by itself, so that an error is not about what is appended
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	output, err := NewFormat(l, r.Output+extra)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	t := &teller{output: output, warnings: own.warnings}
	for _, f := range fields {
		format, err := NewFormat(l, f.text)
		if err != nil {
			return nil, fmt.Errorf("extra field %s: %w", f.name, err)
		}
		t.fields = append(t.fields, namedFormat{f.name, format})
	}
	return t, nil
}

// setLimits makes these the limiters of the loaded rules. Those of others are forgotten.
func (e *Engine) setLimits(limits map[string]*limiter, rate Rate) {
	for _, l := range limits {
		l.setRate(rate)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limits = limits
}

// Rules returns the rules that are evaluated, in their order.
func (e *Engine) Rules() []*event.Rule { return e.loaded.Load().rules }

// limiter returns the rule's, which outlives reloads; a new one for a rule that has none.
func (e *Engine) limiter(rule string) *limiter {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.limits[rule]; l != nil {
		return l
	}
	return &limiter{}
}

// Interest is what the loaded rules can match.
func (e *Engine) Interest() event.Interest { return e.loaded.Load().interest }

// Suppressed calls yield with how many hits of a rule were counted but not told, as they came too fast.
func (e *Engine) Suppressed(yield func(rule string, n uint64)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, l := range e.limits {
		yield(name, l.suppressed.Load())
	}
}

// An Evaluator evaluates the engine's rules over events, in one goroutine: those of one source, or of a recording in which
// several are.
type Evaluator struct {
	engine *Engine
	record *Record // as conditions see the event
	told   *Record // as people see it
	can    *candidates
	events uint64
	last   int64 // time of the event before, Unix nanoseconds
	shown  redactions
}

// Evaluator returns a new one.
func (e *Engine) Evaluator() *Evaluator {
	return &Evaluator{engine: e, can: newCandidates(), record: NewRecord(e.options.Names, e.options.Procfs), told: NewRecord(e.options.Names, e.options.Procfs),
		shown: redactions{redact: e.options.Redact, text: e.options.RedactText}}
}

// timedEvery is how many events are evaluated between two whose time is taken.
const timedEvery = 64

// Eval evaluates one event. It allocates nothing unless a rule matches.
func (v *Evaluator) Eval(ev *event.Event) {
	c := v.engine.loaded.Load()
	before := v.last
	v.last = ev.Time
	if int(ev.Type) >= len(c.byType) {
		return
	}
	d := c.byType[ev.Type]
	if d == nil {
		return
	}
	if before != 0 {
		v.record.delta = max(ev.Time-before, 0)
	}
	if v.events++; v.events%timedEvery != 0 || v.engine.options.Spent == nil {
		v.eval(c, d, ev)
		return
	}
	begin := time.Now()
	v.eval(c, d, ev)
	v.engine.options.Spent(time.Since(begin))
}

func (v *Evaluator) eval(c *compiled, d *dispatch, ev *event.Event) {
	v.record.Reset(ev)
	d.eval(v.can, v.record, func(m *matcher) bool {
		v.hit(m, ev)
		return !c.first
	})
}

func (v *Evaluator) hit(m *matcher, ev *event.Event) {
	o := &v.engine.options
	if o.Count != nil {
		o.Count(m.rule, ev)
	}
	if o.Tell == nil || !m.limit.allow(ev.Time) {
		return
	}
	kept := v.shown.clone(ev)
	v.told.Reset(kept)
	v.told.delta = v.record.delta
	h := &event.Hit{ID: fmt.Sprintf("%s-%d", v.engine.run, v.engine.hits.Add(1)), Rule: m.rule, Time: time.Unix(0, ev.Time), Event: kept}
	h.Output = string(m.tell.output.Append(nil, v.told))
	h.Fields = m.tell.output.AppendFields(h.Fields, v.told)
	for _, f := range m.tell.fields {
		h.Fields = append(h.Fields, event.HitField{Name: f.name, Value: f.format.value(v.told)})
	}
	o.Tell(h)
}
