package rules

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// How long what surveys prepare may take.
const (
	prepareTimes = 10            // times as long as a survey, if somebody waits
	patience     = 6 * time.Hour // if nobody does
	prepareEvery = time.Minute   // it is looked whether there is something to prepare
)

// surveyAll runs surveys one after another. Unless Prepare does that again and again, what takes long is prepared while the others run.
func (p *Posture) surveyAll(ctx context.Context, surveys []event.NamedSurvey, limit time.Duration, e *Evaluation) {
	long := slices.DeleteFunc(slices.Clone(surveys), func(s event.NamedSurvey) bool { return s.Prepare == nil })
	var preparing sync.WaitGroup
	if !p.daemon {
		for _, s := range long {
			preparing.Go(func() { p.prepare(ctx, s, prepareTimes*limit) })
		}
	}
	for _, s := range surveys {
		if s.Prepare == nil {
			p.survey(ctx, s, limit, e)
		}
	}
	preparing.Wait()
	for _, s := range long {
		if _, ended := p.lastPrepared()[s.Name]; ended {
			p.survey(ctx, s, limit, e)
		} else {
			e.Failed(s.Kinds, "survey "+s.Name+" takes long, and has not ended yet")
		}
	}
}

// Prepare has what takes surveys long done patiently, soon after a check asks for it and at every interval after it has ended, until ctx
// is done. It tells of which kinds there are new facts.
func (p *Posture) Prepare(ctx context.Context, prepared func(kinds ...string)) {
	for ctx.Err() == nil {
		for _, s := range p.due() {
			ended := p.prepare(ctx, s, patience)
			if ctx.Err() != nil {
				return
			}
			var kinds []string
			for _, k := range s.Kinds {
				kinds = append(kinds, k.Name)
			}
			prepared(kinds...)
			select {
			case <-ended:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(prepareEvery):
		}
	}
}

// due are the surveys to prepare: those whose facts a check asks for.
func (p *Posture) due() []event.NamedSurvey {
	last, l := p.lastPrepared(), p.loaded.Load()
	return slices.DeleteFunc(slices.Clone(p.surveys), func(s event.NamedSurvey) bool {
		asked := s.Prepare != nil && slices.ContainsFunc(l.checks, func(c *Check) bool { return slices.Contains(s.Kinds, c.kind) })
		return !asked || time.Since(last[s.Name]) < l.config.Interval
	})
}

// prepare does what takes a survey long, and returns when it has ended or should have. What came of it is the survey's to tell.
func (p *Posture) prepare(ctx context.Context, s event.NamedSurvey, limit time.Duration) (ended chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if cause := recover(); cause != nil {
				p.o.Log.Error("posture survey panics", "survey", s.Name, "panic", cause)
			}
		}()
		if p.daemon {
			_ = p.o.Patient()
		}
		_ = s.Prepare(ctx, p.daemon)
		p.preparing.Lock()
		defer p.preparing.Unlock()
		p.prepared[s.Name] = time.Now()
	}()
	if !endsInTime(ctx, ended) {
		p.o.Log.Warn("posture survey does not end", "survey", s.Name, "timeout", limit)
	}
	return ended
}

func (p *Posture) lastPrepared() map[string]time.Time {
	p.preparing.Lock()
	defer p.preparing.Unlock()
	return maps.Clone(p.prepared)
}

// endsInTime waits until something has ended, though not much longer than for ctx, which tells it to.
func endsInTime(ctx context.Context, ended chan struct{}) bool {
	select {
	case <-ended:
		return true
	case <-ctx.Done():
	}
	select {
	case <-ended:
		return true
	case <-time.After(surveyGrace):
		return false
	}
}
