//go:build soak

package bpf

import (
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// TestSoakFlood runs processes as fast as the machine makes them, for half a minute, and loses none of their events.
func TestSoakFlood(t *testing.T) {
	w := startAgent(t, everything)
	g := w.newGroup(t, "soak-flood")
	before, err := w.Losses()
	if err != nil {
		t.Fatal(err)
	}
	runs := uint64(0)
	for begin := time.Now(); time.Since(begin) < 30*time.Second; runs += 400 {
		w.perform(t, g, "many")
	}
	after, err := w.Losses()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range event.Kinds {
		equal(t, "lost "+k.String(), after.Events[k]-before.Events[k], 0)
	}
	equal(t, "execs counted", w.counters(t, g.id).Execs, runs)
	execs := uint64(0)
	w.mu.Lock()
	for _, ev := range w.events {
		if ev.Kind == event.Exec && ev.CgroupID == g.id {
			execs++
		}
	}
	w.mu.Unlock()
	equal(t, "exec events", execs, runs)
}

// TestSoakGroups makes and removes control groups for half a minute, and never runs out of slots.
func TestSoakGroups(t *testing.T) {
	w := startAgent(t, everything)
	before, err := w.Losses()
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for begin := time.Now(); time.Since(begin) < 30*time.Second; made++ {
		g := w.newGroup(t, "soak-group")
		if err := removeGroup(g.path); err != nil {
			t.Fatal(err)
		}
		if made%100 == 0 { // as a scrape does; the second time a dead group is seen under pressure it goes
			if _, err := w.Recycle(time.Now(), never); err != nil {
				t.Fatal(err)
			}
		}
	}
	after, err := w.Losses()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d control groups", made)
	equal(t, "control groups without a slot", after.Slots-before.Slots, 0)
	equal(t, "control groups without an entry", after.Cgroups-before.Cgroups, 0)
}
