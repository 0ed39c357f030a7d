package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A Check is a posture check: a condition over facts of one kind.
type Check struct {
	event.Check
	Manual   bool // facts cannot decide it
	Examples struct{ Pass, Fail []FactExample }

	kind             *event.FactKind
	where, condition factCondition
	any              bool // one fact that satisfies the condition is enough
	without          event.Status
}

// A FactExample is facts by hand, and where they stand: those that the check is about if there were no others.
type FactExample struct {
	Facts []event.Fact
	Line  int
}

// maxObjects is how many failing objects are kept of a check. All are counted.
const maxObjects = 100

// An Evaluation is the evaluation of checks over facts, which are told one by one and not kept.
type Evaluation struct {
	all     []*evaluated
	byKind  map[*event.FactKind][]*evaluated
	known   map[*event.FactKind]bool // that somebody surveys
	waivers []*waiver
	image   bool // no kernel runs on the machine
	facts   int
	keeper  *factKeeper // nil if nobody asks for facts
}

// An evaluated is a check while facts are told.
type evaluated struct {
	*Check
	waivers []*waiver // those that may waive its objects

	facts, failing, waiving int
	objects, waived         []event.Object
	satisfied               bool   // by a fact, where one is enough
	wrong                   string // why something could not be read: the first reason
	wrongs                  int
	dead                    string // why it was not even asked for: no kernel runs
}

// NewEvaluation begins one. Waivers are those of the configuration, as they are at a time.
func NewEvaluation(checks []*Check, waivers []Waiver, now time.Time) *Evaluation {
	e := &Evaluation{byKind: map[*event.FactKind][]*evaluated{}, known: map[*event.FactKind]bool{}}
	for i := range waivers {
		e.waivers = append(e.waivers, newWaiver(&waivers[i], now))
	}
	for _, c := range checks {
		one := &evaluated{Check: c}
		for _, w := range e.waivers {
			if wildcard(w.Check, c.ID) {
				one.waivers = append(one.waivers, w)
			}
		}
		e.all = append(e.all, one)
		e.byKind[c.kind] = append(e.byKind[c.kind], one)
	}
	return e
}

// Surveyed says that somebody looks for facts of these kinds. Checks of other kinds are not applicable.
func (e *Evaluation) Surveyed(kinds []*event.FactKind) {
	for _, k := range kinds {
		e.known[k] = true
	}
}

// Fact tells a fact.
func (e *Evaluation) Fact(f event.Fact) {
	e.known[f.Kind] = true
	e.facts++
	if e.keeper != nil {
		e.keeper.keep(&f)
	}
	for _, c := range e.byKind[f.Kind] {
		c.look(&f, e.image)
	}
}

// Failed tells that facts of these kinds could not be read, or not all of them.
func (e *Evaluation) Failed(kinds []*event.FactKind, reason string) {
	for _, k := range kinds {
		e.known[k] = true
		for _, c := range e.byKind[k] {
			c.fail(reason)
		}
	}
}

// NotLive tells that facts of these kinds are only the running kernel's, and none runs.
func (e *Evaluation) NotLive(kinds []*event.FactKind) {
	for _, k := range kinds {
		for _, c := range e.byKind[k] {
			c.dead = event.ErrNotLive.Error()
		}
	}
}

func (c *evaluated) fail(reason string) {
	if c.wrongs++; c.wrong == "" {
		c.wrong = reason
	}
}

// look is what a fact makes of the check.
func (c *evaluated) look(f *event.Fact, image bool) {
	if reason := f.Err(); reason != "" {
		if c.where.is(f) != no { // it cannot be ruled out
			c.fail(f.Subject + ": " + reason)
		}
		return
	}
	if !c.where.isTrue(f) {
		c.needsKernel(&c.where, f, image)
		return
	}
	c.facts++
	if c.condition.isTrue(f) {
		c.satisfied = true
		return
	}
	if c.needsKernel(&c.condition, f, image) {
		return
	}
	c.object(event.Object{Subject: f.Subject, Source: f.Source}, f)
}

// needsKernel says whether a condition could only be decided if a kernel ran.
func (c *evaluated) needsKernel(of *factCondition, f *event.Fact, image bool) bool {
	needs := image && of.is(f) == unknown && of.wantsKernel(f)
	if needs {
		c.dead = event.ErrNotLive.Error()
	}
	return needs
}

// object adds one that fails.
func (c *evaluated) object(o event.Object, f *event.Fact) {
	if i := slices.IndexFunc(c.waivers, func(w *waiver) bool { return !w.Expired && w.has(o.Subject) }); i >= 0 {
		o.Waiver = &c.waivers[i].Waiver
	}
	kept, count := &c.objects, &c.failing
	if o.Waiver != nil {
		kept, count = &c.waived, &c.waiving
	}
	if *count++; len(*kept) >= maxObjects {
		return
	}
	if f != nil {
		o.Values, o.Expected = c.condition.values(f), c.condition.wanting(f)
	}
	*kept = append(*kept, o)
}

// Verdicts ends the evaluation: one for each check, in their order.
func (e *Evaluation) Verdicts() []event.Verdict {
	all := make([]event.Verdict, len(e.all))
	for i, c := range e.all {
		if c.kind != nil && !e.known[c.kind] && c.dead == "" {
			all[i] = event.Verdict{Check: &c.Check.Check, Status: event.NotApplicable, Reason: "nothing here knows of facts of kind " + c.kind.Name}
			continue
		}
		all[i] = c.verdict()
	}
	for i := range all {
		if c := e.all[i]; c.Manual {
			all[i] = event.Verdict{Check: &c.Check.Check, Status: event.Manual}
		}
	}
	return all
}

// verdict is what came of the check. What fails for certain fails, whatever else could not be read; but it only passes if all could.
func (c *evaluated) verdict() event.Verdict {
	if c.facts == 0 && c.wrong == "" && c.dead == "" {
		return c.none()
	}
	if c.any && c.satisfied {
		c.objects, c.failing, c.waived, c.waiving = nil, 0, nil, 0
	}
	v := event.Verdict{Check: &c.Check.Check, Reason: c.reason(), Objects: c.objects, Failing: c.failing, Waived: c.waived, Waiving: c.waiving, Facts: c.facts}
	certain := c.failing > 0 && (!c.any || c.wrong == "" && c.dead == "")
	switch {
	case certain:
		v.Status = event.Fail
	case c.wrong != "":
		v.Status = event.Erroneous
	case c.dead != "":
		v.Status = event.NotApplicable
	}
	if v.Status != event.Fail {
		v.Objects, v.Failing = nil, 0
	}
	return v
}

// none is the verdict if there is no fact that the check is about.
func (c *evaluated) none() event.Verdict {
	v := event.Verdict{Check: &c.Check.Check, Status: c.without}
	switch c.without {
	case event.NotApplicable:
		v.Reason = "there is nothing here that it is about"
	case event.Fail:
		c.object(event.Object{Expected: c.about()}, nil)
		v.Objects, v.Failing, v.Waived, v.Waiving = c.objects, c.failing, c.waived, c.waiving
		if c.failing == 0 {
			v.Status = event.Pass
		}
	}
	return v
}

// about says what facts the check wants to see.
func (c *evaluated) about() string {
	text := "a fact of kind " + c.kind.Name
	if c.where.node == nil {
		return text
	}
	return text + " where " + c.where.text()
}

func (c *evaluated) reason() string {
	switch {
	case c.wrongs > 1:
		return fmt.Sprintf("%s (and %d more)", c.wrong, c.wrongs-1)
	case c.wrong != "":
		return c.wrong
	}
	return c.dead
}

// TestExamples judges the check's examples, each as if there were no other facts, and returns how many there are and what went wrong.
func (c *Check) TestExamples() (tested int, failures []string) {
	run := func(examples []FactExample, want event.Status) {
		for _, x := range examples {
			tested++
			e := NewEvaluation([]*Check{c}, nil, time.Time{})
			e.Surveyed([]*event.FactKind{c.kind})
			for _, f := range x.Facts {
				e.Fact(f)
			}
			v := e.Verdicts()[0]
			if v.Status == want {
				continue
			}
			more := v.Reason
			if len(v.Objects) > 0 {
				more = "it is not so that " + v.Objects[0].Expected
			}
			failures = append(failures, fmt.Sprintf("%s:%d: check %s: the example is %s, and should be %s: %s", c.File, x.Line, c.ID, v.Status, want, more))
		}
	}
	run(c.Examples.Pass, event.Pass)
	run(c.Examples.Fail, event.Fail)
	return tested, failures
}
