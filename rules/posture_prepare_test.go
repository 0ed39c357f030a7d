package rules

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A longSurvey is one that has something to prepare.
type longSurvey struct {
	takes    time.Duration
	stuck    bool // it does not end when it is told to
	began    []time.Duration
	patient  []bool
	prepared bool
	zero     time.Time
}

func (l *longSurvey) prepare(ctx context.Context, patient bool) error {
	l.began, l.patient = append(l.began, time.Since(l.zero)), append(l.patient, patient)
	done := ctx.Done()
	if l.stuck {
		done = nil
	}
	select {
	case <-time.After(l.takes):
		l.prepared = true
		return nil
	case <-done:
		return ctx.Err()
	}
}

func (l *longSurvey) survey() event.NamedSurvey {
	l.zero = time.Now()
	return event.NamedSurvey{Name: "long", Kinds: []*event.FactKind{event.File}, Prepare: l.prepare, Survey: func(_ context.Context, report func(event.Fact)) error {
		if !l.prepared {
			return errors.New("it is not prepared")
		}
		report(file("x", "purpose", "other"))
		return nil
	}}
}

func TestPrepareGoesOnPatientlyAndTells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &longSurvey{takes: time.Minute}
		p := judge(t, l.survey(), event.NamedSurvey{Name: "nobody asks for it", Kinds: []*event.FactKind{event.Banner}, Prepare: func(context.Context, bool) error { t.Error("it is prepared"); return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Minute)
		defer cancel()
		told := 0
		p.Prepare(ctx, func(kinds ...string) {
			if told++; !slices.Equal(kinds, []string{"file"}) {
				t.Errorf("told of kinds %q", kinds)
			}
		})
		if want := []time.Duration{0, 61 * time.Minute, 122 * time.Minute}; !slices.Equal(l.began, want) || told != 3 || slices.Contains(l.patient, false) {
			t.Errorf("prepared after %v, told %d times, patiently %v: want it at once and an hour after each end", l.began, told, l.patient)
		}
	})
}

func TestNothingIsSurveyedBeforeItIsPrepared(t *testing.T) {
	t.Parallel()
	l := &longSurvey{}
	s := l.survey()
	s.Survey = func(context.Context, func(event.Fact)) error { t.Error("it is surveyed"); return nil }
	r := judge(t, s).Judge(t.Context())
	if v := r.Verdicts[0]; v.Status != event.Erroneous || v.Reason != "survey long takes long, and has not ended yet" || len(r.Prepared) > 0 {
		t.Errorf("check %s is %s: %q; prepared %v", v.Check.ID, v.Status, v.Reason, r.Prepared)
	}
}

func TestPrepareDoesNotBeginWhatHasNotEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &longSurvey{takes: 10 * time.Hour, stuck: true}
		p := judge(t, l.survey())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour+30*time.Minute)
		defer cancel()
		told := 0
		p.Prepare(ctx, func(...string) { told++ })
		if len(l.began) != 1 || told != 1 {
			t.Errorf("begun after %v, told %d times: want once", l.began, told)
		}
	})
}

func TestOnceWaitsForWhatIsPrepared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []struct {
			long longSurvey
			want string // the reason of a check of its facts
			took time.Duration
		}{
			{longSurvey{takes: 200 * time.Millisecond}, "there is nothing here that it is about", 200 * time.Millisecond},
			{longSurvey{takes: time.Hour}, "survey long: it is not prepared", 500 * time.Millisecond},
			{longSurvey{takes: time.Hour, stuck: true}, "survey long takes long, and has not ended yet", 500*time.Millisecond + surveyGrace},
		} {
			p := judge(t, x.long.survey(), event.NamedSurvey{Name: "other", Kinds: []*event.FactKind{event.File}, Survey: func(ctx context.Context, report func(event.Fact)) error {
				time.Sleep(40 * time.Millisecond)
				return nil
			}})
			began := time.Now()
			r, err := p.Once(t.Context(), event.Machine{Procfs: "/proc"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != x.took {
				t.Errorf("it took %v, want %v: others run meanwhile", took, x.took)
			}
			if v := r.Verdicts[0]; v.Reason != x.want {
				t.Errorf("check %s is %s: %q, want %q", v.Check.ID, v.Status, v.Reason, x.want)
			}
			time.Sleep(2 * time.Hour) // until the stuck one has ended
		}
	})
}
