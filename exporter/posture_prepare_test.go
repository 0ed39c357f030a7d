package exporter

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A preparingJudge has facts that take long: it tells of them, and stops when it is told to, which takes a moment.
type preparingJudge struct {
	*fixedJudge
	stopped bool
}

func (j *preparingJudge) Prepare(ctx context.Context, prepared func(...string)) {
	for _, wait := range []time.Duration{time.Second, time.Minute} {
		time.Sleep(wait)
		prepared("stray", "walk")
	}
	<-ctx.Done()
	time.Sleep(time.Second)
	j.stopped = true
}

func TestPostureJudgesWhatWasPrepared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &preparingJudge{fixedJudge: &fixedJudge{result: aPosture(), begin: time.Now()}}
		p := NewPosture(PostureOptions{Judge: func() PostureJudge { return j }})
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Minute)
		defer stop()
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		// What was there before the first run is part of that.
		if want := []time.Duration{10 * time.Second, 63 * time.Second}; !slices.Equal(j.at, want) || len(j.runs[0]) > 0 || !slices.Equal(j.runs[1], []string{"stray", "walk"}) {
			t.Errorf("runs %q at %v, want all after 10 s, and two seconds after the other facts are there those", j.runs, j.at)
		}
		if !j.stopped {
			t.Error("it does not wait for what is being prepared")
		}
	})
}
