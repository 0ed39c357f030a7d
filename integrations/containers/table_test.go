package containers

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// offline are options without any runtime.
func offline() Options {
	return Options{Config: Config{
		Containerd: []string{}, CRI: []string{}, Docker: []string{}, Podman: []string{}, Bundles: []string{}, Storage: []string{},
	}}
}

var testSource = &source{rank: rankContainerd}

func says(id, cgroup string) found {
	return found{
		Container: event.Container{ID: id, Workload: event.Workload{Container: id}, Runtime: "containerd", Image: "image", Created: 1},
		scope:     "default",
		paths:     []string{cgroup},
	}
}

func madeEvent(id, parent uint64, path string) *event.Event {
	return &event.Event{Kind: event.CgroupMake, CgroupID: id, Parent: parent, Path: []byte(path), Time: time.Now().UnixNano()}
}

func removed(id uint64) *event.Event {
	return &event.Event{Kind: event.CgroupRemove, CgroupID: id, Time: time.Now().UnixNano()}
}

func expect(t *testing.T, r *Resolver, id uint64, want event.Workload, state State) {
	t.Helper()
	if got, s := r.Workload(id); got != want || s != state {
		t.Errorf("Workload(%d) = %+v, %v, want %+v, %v", id, got, s, want, state)
	}
}

func TestContainerKnownBeforeItsCgroup(t *testing.T) {
	r := New(offline())
	r.table.put(testSource, says("web", "/default/web"), 1)
	ev := madeEvent(1, 0, "/default/web")
	r.Attach(ev)
	if ev.Container == nil || ev.Container.Workload.Container != "web" || ev.Container.CgroupID != 1 {
		t.Errorf("Container of the first event = %+v, want web in cgroup 1", ev.Container)
	}
	expect(t, r, 1, event.Workload{Container: "web"}, Known)
}

func TestContainerKnownAfterItsCgroup(t *testing.T) {
	r := New(offline())
	r.Attach(madeEvent(1, 0, "/default/web"))
	r.Attach(madeEvent(2, 1, "/default/web/worker"))
	r.Attach(madeEvent(3, 0, "/default/webby"))
	expect(t, r, 1, event.Workload{}, Pending)
	expect(t, r, 2, event.Workload{}, Pending)
	r.table.put(testSource, says("web", "/default/web"), time.Now().UnixNano())
	expect(t, r, 1, event.Workload{Container: "web"}, Known)
	expect(t, r, 2, event.Workload{Container: "web"}, Known)
	expect(t, r, 3, event.Workload{}, Pending)
	if got := r.Container(2); got.CgroupID != 1 {
		t.Errorf("the nested cgroup's container is in cgroup %d, want 1", got.CgroupID)
	}
}

func TestContainerThatIsGoneBeforeItsName(t *testing.T) {
	r := New(offline())
	r.Attach(madeEvent(1, 0, "/default/web"))
	r.Attach(removed(1))
	expect(t, r, 1, event.Workload{}, Pending)
	r.table.put(testSource, says("web", "/default/web"), time.Now().UnixNano())
	expect(t, r, 1, event.Workload{Container: "web"}, Known)
}

func TestNearestContainerWins(t *testing.T) {
	r := New(offline())
	r.table.put(testSource, says("outer", "/default/outer"), 1)
	r.AddCgroup(1, "/default/outer")
	r.AddCgroup(2, "/default/outer/default/inner")
	r.AddCgroup(3, "/default/outer/default/inner/deep")
	expect(t, r, 3, event.Workload{Container: "outer"}, Known)
	r.table.put(testSource, says("inner", "/default/outer/default/inner"), 1)
	expect(t, r, 1, event.Workload{Container: "outer"}, Known)
	expect(t, r, 2, event.Workload{Container: "inner"}, Known)
	expect(t, r, 3, event.Workload{Container: "inner"}, Known)
}

func TestNameUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(offline())
		first := says("web", "/default/web")
		first.Image = "first"
		r.table.put(testSource, first, time.Now().UnixNano())
		r.Attach(madeEvent(1, 0, "/default/web"))
		time.Sleep(time.Second)
		r.Attach(removed(1))
		r.table.lose(testSource, first.key(), time.Now().UnixNano())
		time.Sleep(time.Second)

		r.Attach(madeEvent(2, 0, "/default/web"))
		expect(t, r, 2, event.Workload{}, Pending) // not yet the second, but certainly not the first
		second := says("web", "/default/web")
		second.Image, second.Created = "second", time.Now().UnixNano()
		r.table.put(testSource, second, time.Now().UnixNano())
		if got := r.Container(1).Image; got != "first" {
			t.Errorf("image of the first = %q", got)
		}
		if got := r.Container(2).Image; got != "second" {
			t.Errorf("image of the second = %q", got)
		}
		if got := len(r.Containers()); got != 2 {
			t.Errorf("%d containers, want the living and the dead one", got)
		}
	})
}

// The ring buffer may lag behind the runtime: a cgroup's event comes after its container's end.
func TestLateEventOfDeadContainer(t *testing.T) {
	r := New(offline())
	now := time.Now().UnixNano()
	f := says("web", "/default/web")
	r.table.put(testSource, f, now)
	r.table.lose(testSource, f.key(), now+50)
	ev := madeEvent(1, 0, "/default/web")
	ev.Time = now + 20
	r.Attach(ev)
	if ev.Container == nil {
		t.Error("the event has no container")
	}
	ev = madeEvent(2, 0, "/default/web")
	ev.Time = now + 60
	r.Attach(ev)
	if ev.Container != nil {
		t.Errorf("an event after the end has %+v", ev.Container)
	}
}

func TestLookupAnsweredAfterDeletionDoesNotRevive(t *testing.T) {
	r := New(offline())
	f := says("web", "/default/web")
	r.table.put(testSource, f, 10)
	r.table.lose(testSource, f.key(), 20)
	r.table.put(testSource, f, 15)
	if got := r.table.records[f.key()].deleted; got != 20 {
		t.Errorf("deleted = %d, want 20", got)
	}
	r.table.put(testSource, f, 30) // Docker starts a stopped container again
	if got := r.table.records[f.key()].deleted; got != 0 {
		t.Errorf("deleted = %d, want 0", got)
	}
}

func TestListEndsWhatItDoesNotName(t *testing.T) {
	r := New(offline())
	a, b, c := says("a", "/default/a"), says("b", "/default/b"), says("c", "/default/c")
	r.table.put(testSource, a, 10)
	r.table.put(testSource, b, 10)
	r.table.put(testSource, c, 30) // by an event, while the list was on its way
	r.table.keep(testSource, map[string]bool{a.key(): true}, 20)
	for f, want := range map[*found]int64{&a: 0, &b: 20, &c: 0} {
		if got := r.table.records[f.key()].deleted; got != want {
			t.Errorf("%s deleted = %d, want %d", f.ID, got, want)
		}
	}
}

func TestTwoSourcesOneContainer(t *testing.T) {
	docker := &source{rank: rankDocker}
	r := New(offline())
	r.AddCgroup(1, "/docker/"+hexID)
	low := says(hexID, "/docker/"+hexID)
	low.ImageID = "sha256:1"
	low.Workload.Container = hexID[:12]
	r.table.put(testSource, low, 1)
	high := says(hexID, "/docker/"+hexID)
	high.Runtime, high.Workload.Container = "docker", "web"
	r.table.put(docker, high, 1)
	list := r.Containers()
	if len(list) != 1 || list[0].Workload.Container != "web" || list[0].Runtime != "docker" || list[0].ImageID != "sha256:1" {
		t.Fatalf("containers = %+v, want one, named by Docker, with containerd's image id", list)
	}
	r.table.lose(docker, hexID, 50)
	if got := r.Container(1); got.Workload.Container != "web" {
		t.Errorf("name after Docker has gone = %q", got.Workload.Container)
	}
	r.table.lose(testSource, hexID, 60)
	if got := r.table.records[hexID].deleted; got != 60 {
		t.Errorf("deleted = %d, want 60", got)
	}
}

func TestHostPathsAreKnownAtOnce(t *testing.T) {
	r := New(offline())
	for id, path := range map[uint64]string{1: "/", 2: "/system.slice/nginx.service", 3: "/kubepods.slice", 4: "/user.slice/user-1.slice/session-1.scope"} {
		r.Attach(madeEvent(id, 0, path))
		expect(t, r, id, event.Workload{Unit: Unit(path)}, Known)
	}
	expect(t, r, 99, event.Workload{}, Unknown)
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(offline())
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		r.Attach(madeEvent(1, 0, "/system.slice/docker-"+hexID+".scope"))
		r.Attach(madeEvent(2, 1, "/system.slice/docker-"+hexID+".scope/below"))
		r.Attach(madeEvent(3, 0, "/default/web"))
		r.Attach(madeEvent(4, 0, "/some/where/deep"))
		expect(t, r, 4, event.Workload{}, Known)
		time.Sleep(500 * time.Millisecond)
		expect(t, r, 1, event.Workload{}, Pending)
		expect(t, r, 2, event.Workload{}, Pending)
		expect(t, r, 3, event.Workload{}, Known) // nobody who knows plain names is here
		time.Sleep(2400 * time.Millisecond)
		expect(t, r, 1, event.Workload{}, Pending)
		time.Sleep(200 * time.Millisecond)
		expect(t, r, 1, event.Workload{}, Known)
		expect(t, r, 2, event.Workload{}, Known)
		if got := r.table.counts().misses; got[missNoRuntime] != 1 {
			t.Errorf("misses = %v, want one without a runtime", got)
		}
		// A runtime that comes late still names it.
		r.table.put(testSource, says(hexID, "/system.slice/docker-"+hexID+".scope"), time.Now().UnixNano())
		expect(t, r, 2, event.Workload{Container: hexID}, Known)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestPatienceWithoutRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(offline())
		r.Attach(madeEvent(1, 0, "/docker/"+hexID))
		expect(t, r, 1, event.Workload{}, Pending)
		time.Sleep(3 * time.Second)
		expect(t, r, 1, event.Workload{}, Known)
	})
}

func TestTheDeadAreKeptAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(offline())
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		f := says("web", "/default/web")
		r.table.put(testSource, f, time.Now().UnixNano())
		r.Attach(madeEvent(1, 0, "/default/web"))
		time.Sleep(time.Hour)
		r.Attach(removed(1))
		r.table.lose(testSource, f.key(), time.Now().UnixNano())
		time.Sleep(59 * time.Second)
		expect(t, r, 1, event.Workload{Container: "web"}, Known)
		if len(r.Containers()) != 1 {
			t.Errorf("containers after 59 s = %v, want web", r.Containers())
		}
		time.Sleep(3 * time.Second)
		expect(t, r, 1, event.Workload{}, Unknown)
		cancel()
		<-done
		tb := r.table
		if n := len(tb.cgroups) + len(tb.records) + len(tb.tree.children) + len(tb.dead) + len(tb.pending) + len(tb.tombs); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

func TestRemovedBeforeAdded(t *testing.T) {
	r := New(offline())
	r.Attach(removed(1))
	r.AddCgroup(1, "/system.slice/a.service")
	if c := r.table.find(1); c == nil || c.removed == 0 {
		t.Errorf("cgroup = %+v, want a removed one", c)
	}
}

func TestAddContainer(t *testing.T) {
	r := New(offline())
	r.AddContainer(&event.Container{Workload: event.Workload{Container: "web"}, ID: "web"}, "/default/web")
	r.AddCgroup(1, "/default/web")
	expect(t, r, 1, event.Workload{Container: "web"}, Known)
}

func TestReconcile(t *testing.T) {
	r := New(offline())
	r.AddCgroup(1, "/system.slice/a.service")
	r.AddCgroup(2, "/system.slice/b.service")
	start := time.Now()
	late := madeEvent(3, 0, "/system.slice/c.service")
	late.Time = start.Add(time.Second).UnixNano()
	r.Attach(late)
	r.Reconcile(start, map[uint64]string{1: "/system.slice/a.service", 4: "/system.slice/d.service"})
	for id, live := range map[uint64]bool{1: true, 2: false, 3: true, 4: true} {
		if c := r.table.find(id); c == nil || (c.removed == 0) != live {
			t.Errorf("cgroup %d = %+v, want live %v", id, c, live)
		}
	}
}

func TestTruncatedPathIsCompletedByItsParent(t *testing.T) {
	r := New(offline())
	r.table.put(testSource, says("web", "/default/web"), 1)
	r.AddCgroup(1, "/default/web")
	for id, path := range map[uint64]string{2: "b/worker", 3: "/b/worker2"} {
		ev := madeEvent(id, 1, path)
		ev.Task.Flags = event.PathTruncated
		r.Attach(ev)
		expect(t, r, id, event.Workload{Container: "web"}, Known)
	}
}

func TestTablesAreBounded(t *testing.T) {
	o := offline()
	o.Config.Limits = Limits{Cgroups: 1000, Containers: 100}
	r := New(o)
	for i := range uint64(100_000) {
		id := fmt.Sprint("c", i)
		r.table.put(testSource, says(id, "/default/"+id), time.Now().UnixNano())
		r.Attach(madeEvent(i, 0, "/default/"+id))
		r.Attach(removed(i))
		r.table.lose(testSource, "containerd/default/"+id, time.Now().UnixNano())
	}
	tb := r.table
	names := len(tb.tree.at("/default").children)
	if len(tb.cgroups) > 1000 || len(tb.records) > 100 || names > 1100 || len(tb.dead) > 1000 {
		t.Errorf("%d cgroups, %d dead, %d containers, %d names", len(tb.cgroups), len(tb.dead), len(tb.records), names)
	}
	if c := tb.counts(); c.evictedCgroups < 98_000 || c.evictedContainers < 99_000 {
		t.Errorf("evicted %d cgroups, %d containers", c.evictedCgroups, c.evictedContainers)
	}
	expect(t, r, 99_999, event.Workload{Container: "c99999"}, Known)
}

func TestOneContainerCannotFillTheTable(t *testing.T) {
	o := offline()
	o.Config.Limits.Cgroups = 1000
	r := New(o)
	r.table.put(testSource, says("greedy", "/default/greedy"), 1)
	for i := range uint64(5000) {
		r.AddCgroup(i+10, fmt.Sprint("/default/greedy/", i))
	}
	r.table.put(testSource, says("web", "/default/web"), 1)
	r.AddCgroup(1, "/default/web")
	expect(t, r, 1, event.Workload{Container: "web"}, Known)
	expect(t, r, 4000, event.Workload{}, Unknown)
	for i := range uint64(100) {
		r.RemoveCgroup(i + 10)
	}
	r.AddCgroup(4000, "/default/greedy/4000")
	expect(t, r, 4000, event.Workload{Container: "greedy"}, Known)
}

func TestLiveCgroupsAreNotEvictedForNewOnes(t *testing.T) {
	o := offline()
	o.Config.Limits.Cgroups = 10
	r := New(o)
	for i := range uint64(20) {
		r.AddCgroup(i, fmt.Sprintf("/system.slice/%d.service", i))
	}
	expect(t, r, 0, event.Workload{Unit: "0.service"}, Known)
	expect(t, r, 15, event.Workload{}, Unknown)
	if got := r.table.counts().evictedCgroups; got != 10 {
		t.Errorf("evicted = %d, want 10", got)
	}
}

func TestQueueOverflowIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := offline()
		o.Config.Limits.Lookups = 1
		r := New(o)
		for i := range uint64(3) {
			r.Attach(madeEvent(i+1, 0, fmt.Sprintf("/docker/%064x", i)))
		}
		if len(r.queue) != 1 {
			t.Errorf("queue holds %d, want 1", len(r.queue))
		}
		time.Sleep(3 * time.Second)
		r.table.sweep(time.Now().UnixNano(), true)
		if got := r.table.counts().misses[missQueueFull]; got != 3 {
			t.Errorf("misses = %d, want 3", got)
		}
	})
}

// full returns a Resolver with n containers, one of each in a cgroup of its own, and an event of one of them.
func full(n uint64) (*Resolver, *event.Event) {
	r := New(offline())
	for i := range n {
		id := fmt.Sprint("c", i)
		r.table.put(testSource, says(id, "/default/"+id), 1)
		r.AddCgroup(i+1, "/default/"+id)
	}
	return r, &event.Event{Kind: event.Exec, CgroupID: n / 2}
}

func TestAttachDoesNotAllocate(t *testing.T) {
	r, ev := full(100)
	if n := testing.AllocsPerRun(1000, func() { r.Attach(ev) }); n != 0 {
		t.Errorf("Attach allocates %v times", n)
	}
	if ev.Container == nil {
		t.Error("the event has no container")
	}
	r.table.setSynced()
	r.AddCgroup(1000, "/system.slice/nginx.service/worker")
	host := &event.Event{Kind: event.Exec, CgroupID: 1000}
	if n := testing.AllocsPerRun(1000, func() { r.Attach(host) }); n != 0 {
		t.Errorf("Attach allocates %v times on the host", n)
	}
	if host.Unit != "nginx.service" {
		t.Errorf("unit = %q, want nginx.service", host.Unit)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Workload(ev.CgroupID) }); n != 0 {
		t.Errorf("Workload allocates %v times", n)
	}
}

func TestAttachTellsTheUnitOfTheHost(t *testing.T) {
	t.Parallel()
	r := New(offline())
	r.table.setSynced()
	r.AddContainer(&event.Container{Workload: event.Workload{Container: "web", Unit: "recorded.service"}, ID: "web"}, "/default/web")
	for id, path := range map[uint64]string{
		1: "/", 2: "/system.slice/nginx.service", 3: "/system.slice/nginx.service/worker", 4: "/default/web",
		5: "/user.slice/user-7.slice/session-1.scope", 6: "/docker/" + hexID,
	} {
		r.AddCgroup(id, path)
	}
	ev := &event.Event{Kind: event.Exec} // used again, as sources do
	for _, tt := range []struct {
		what   string
		cgroup uint64
		want   event.Workload
	}{
		{"a service", 2, event.Workload{Unit: "nginx.service"}},
		{"the host's root", 1, event.Workload{}},
		{"below a service", 3, event.Workload{Unit: "nginx.service"}},
		{"a container", 4, event.Workload{Container: "web", Unit: "recorded.service"}},
		{"a user's session", 5, event.Workload{Unit: "user@7.service"}},
		{"what may be a container", 6, event.Workload{}},
		{"a service again", 2, event.Workload{Unit: "nginx.service"}},
		{"what is not known", 99, event.Workload{}},
	} {
		ev.CgroupID = tt.cgroup
		r.Attach(ev)
		if got := ev.Workload(); got != tt.want {
			t.Errorf("%s is of %+v, want %+v", tt.what, got, tt.want)
		}
		if ev.Container != nil && ev.Unit != "" {
			t.Errorf("%s has the unit %q beside its container", tt.what, ev.Unit)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	r, ev := full(2000)
	r.AddCgroup(3000, "/system.slice/nginx.service")
	b.Run("host", func(b *testing.B) {
		b.ReportAllocs()
		host := &event.Event{Kind: event.Exec, CgroupID: 3000}
		for b.Loop() {
			r.Attach(host)
		}
	})
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Attach(ev)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			ev := *ev
			for pb.Next() {
				ev.CgroupID = ev.CgroupID%2000 + 1
				r.Attach(&ev)
			}
		})
	})
}

func BenchmarkContainerMadeAndRemoved(b *testing.B) {
	r, _ := full(2000)
	b.ReportAllocs()
	for i := uint64(10_000); b.Loop(); i++ {
		name := fmt.Sprint("n", i)
		f := says(name, "/default/"+name)
		r.table.put(testSource, f, int64(i))
		r.Attach(&event.Event{Kind: event.CgroupMake, CgroupID: i, Path: []byte("/default/" + name), Time: int64(i)})
		r.Attach(&event.Event{Kind: event.CgroupRemove, CgroupID: i, Time: int64(i) + 1})
		r.table.lose(testSource, f.key(), int64(i)+1)
		r.table.sweepDead(int64(i) + int64(time.Hour))
	}
}

func TestGroupsAreTheWorkloadsOwn(t *testing.T) {
	r := New(offline())
	r.AddContainer(&event.Container{Workload: event.Workload{Container: "web"}, ID: "web"}, "/ctr/web")
	for id, path := range map[uint64]string{
		1: "/", 2: "/ctr", 3: "/ctr/web", 4: "/ctr/web/below",
		5: "/system.slice", 6: "/system.slice/sshd.service", 7: "/system.slice/sshd.service/below",
		8: "/user.slice/user-7.slice/user@7.service", 9: "/user.slice/user-7.slice/session-1.scope",
		10: "/system.slice/gone.service",
	} {
		r.AddCgroup(id, path)
	}
	r.RemoveCgroup(10)
	r.table.setSynced()
	r.table.sweep(r.now()+int64(time.Hour), false)
	got := map[uint64]string{}
	r.Groups(func(g event.Group) {
		got[g.CgroupID] = g.Path + " " + g.Workload.Container + g.Unit
		if (g.Container != nil) != (g.CgroupID == 3) {
			t.Errorf("container of %s = %v", g.Path, g.Container)
		}
	})
	want := map[uint64]string{3: "/ctr/web web", 6: "/system.slice/sshd.service sshd.service",
		8: "/user.slice/user-7.slice/user@7.service user@7.service", 9: "/user.slice/user-7.slice/session-1.scope user@7.service"}
	if !maps.Equal(got, want) {
		t.Errorf("groups = %v, want %v", got, want)
	}
	for path, want := range map[string]event.Workload{
		"/ctr/web": {Container: "web"}, "/ctr/web/below/new": {Container: "web"}, "/system.slice/sshd.service/x": {Unit: "sshd.service"},
		"/ctr": {}, "/nowhere": {},
	} {
		if w, known := r.At(path); w != want || !known {
			t.Errorf("At(%s) = %v, %v, want %v", path, w, known, want)
		}
	}
}
