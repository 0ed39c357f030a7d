package host

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

func forkEvent(parent, child event.ID, boot uint64) *event.Event {
	return &event.Event{Kind: event.Fork, PID: parent.PID, Start: parent.Start, Boot: boot,
		Task: event.Task{PID: child.PID, PPID: parent.PID, Start: child.Start}}
}

func execEvent(id event.ID, boot uint64, path string, args string) *event.Event {
	return &event.Event{Kind: event.Exec, PID: id.PID, Start: id.Start, Boot: boot,
		Task: event.Task{PID: id.PID, Start: id.Start}, Path: []byte(path), Args: []byte(args)}
}

func exitEvent(id event.ID, boot uint64) *event.Event {
	return &event.Event{Kind: event.Exit, PID: id.PID, Start: id.Start, Boot: boot}
}

func otherEvent(id event.ID) *event.Event {
	return &event.Event{Kind: event.CgroupMake, PID: id.PID, Start: id.Start}
}

// chain lists the paths of a process and its ancestors.
func chain(p *event.Process) []string {
	var paths []string
	for ; p != nil; p = p.Parent {
		paths = append(paths, p.Path)
	}
	return paths
}

// processAt finds who an event of id is attributed to.
func processAt(t *Table, id event.ID) *event.Process {
	ev := otherEvent(id)
	t.Attach(ev)
	return ev.Process
}

func TestTableFollowsForkExecExit(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	initID, shell, ls := event.ID{PID: 1, Start: 5}, event.ID{PID: 100, Start: 1001}, event.ID{PID: 200, Start: 2001}
	table.Seed(event.Task{PID: 1, Start: 5})
	table.SeedDone()

	fork := forkEvent(initID, shell, 1001)
	table.Attach(fork)
	if fork.Process.ID() != initID {
		t.Errorf("a fork is done by %v, want the parent", fork.Process.ID())
	}
	exec := execEvent(shell, 1100, "/bin/sh", "sh\x00-c\x00\x00ls")
	table.Attach(exec)
	if p := exec.Process; p.Path != "/bin/sh" || !slices.Equal(p.Args, []string{"sh", "-c", "", "ls"}) || p.ExecCount != 1 || p.Parent.ID() != initID {
		t.Errorf("after exec: %+v", p)
	}
	table.Attach(forkEvent(shell, ls, 2001))
	if p := processAt(table, ls); p.Path != "/bin/sh" || len(p.Args) != 4 || p.ExecCount != 0 || p.Parent != exec.Process {
		t.Errorf("after fork: %+v", p)
	}
	before := processAt(table, ls)
	table.Attach(execEvent(ls, 2100, "/bin/ls", "ls\x00"))
	if before.Path != "/bin/sh" {
		t.Error("an exec changed a published process")
	}
	if !table.Attach(exitEvent(shell, 3000)) {
		t.Error("the first exit is no news")
	}
	if table.Attach(exitEvent(shell, 3001)) {
		t.Error("the second exit is news")
	}
	if got, want := chain(processAt(table, ls)), []string{"/bin/ls", "/bin/sh", ""}; !slices.Equal(got, want) {
		t.Errorf("ancestors after the parent's exit: %q, want %q", got, want)
	}
	if p := processAt(table, shell); p == nil || p.Path != "/bin/sh" {
		t.Errorf("who has exited does not linger: %+v", p)
	}
	if got, want := table.Stats(), (Stats{Processes: 2, Exited: 1, DuplicateExits: 1}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
	table.Attach(forkEvent(initID, event.ID{PID: 300, Start: 1}, uint64(3*time.Minute)))
	if got, want := table.Stats(), (Stats{Processes: 3, Ancestors: 1, DuplicateExits: 1}); got != want {
		t.Errorf("Stats() after the linger = %+v, want %+v", got, want)
	}
	if got := chain(processAt(table, ls)); len(got) != 3 {
		t.Errorf("ancestors after the parent's removal: %q", got)
	}
	table.Attach(exitEvent(ls, uint64(3*time.Minute)))
	table.Attach(forkEvent(initID, event.ID{PID: 301, Start: 2}, uint64(6*time.Minute)))
	if got := table.Stats(); got.Ancestors != 0 || got.Exited != 0 {
		t.Errorf("Stats() after the last descendant's removal = %+v", got)
	}
}

func TestTableTellsReusedPIDsApart(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	parent := event.ID{PID: 1, Start: 5}
	first, second := event.ID{PID: 100, Start: 1001}, event.ID{PID: 100, Start: 2001}
	table.Attach(forkEvent(parent, first, 1001))
	table.Attach(execEvent(first, 1002, "/first", ""))
	table.Attach(forkEvent(parent, second, 2001)) // first's exit was lost
	table.Attach(execEvent(second, 2002, "/second", ""))
	if a, b := processAt(table, first), processAt(table, second); a.Path != "/first" || b.Path != "/second" {
		t.Errorf("%q and %q share a pid", a.Path, b.Path)
	}
	if p := table.Find(100); p.Path != "/second" {
		t.Errorf("Find(100) = %q", p.Path)
	}
	if !table.Attach(exitEvent(first, 2003)) || table.Attach(exitEvent(first, 2004)) {
		t.Error("a late exit is news, once")
	}
	for i := range 100 {
		table.Attach(forkEvent(parent, event.ID{PID: 100, Start: uint64(3000 + i)}, 3000))
	}
	if s := table.Stats(); s.Processes+s.Exited > maxReuse+1 {
		t.Errorf("one pid has %+v", s)
	}
}

func TestTableMakesEntriesForTheUnknown(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	ev := otherEvent(event.ID{PID: 7, Start: 77})
	ev.UID, ev.GID, ev.CgroupID = 1, 2, 3
	table.Attach(ev)
	if p := ev.Process; p.PID != 7 || p.Start != 77 || p.UID != 1 || p.GID != 2 || p.CgroupID != 3 {
		t.Errorf("minimal process: %+v", p)
	}
	idle := otherEvent(event.ID{})
	idle.Process = ev.Process
	table.Attach(idle)
	if idle.Process != nil {
		t.Errorf("nobody's event is attributed to %+v", idle.Process)
	}
	if got, want := table.Stats(), (Stats{Processes: 1, Missed: 1}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

func TestTableEvictsTheExitedThenTheUnused(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{Config: Config{MaxProcesses: 20}})
	id := func(i int) event.ID { return event.ID{PID: uint32(i), Start: uint64(i)} }
	for i := 1; i < 20; i++ {
		table.Attach(forkEvent(id(1), id(i+1), 1))
	}
	table.Attach(exitEvent(id(20), 2))
	table.Attach(forkEvent(id(1), id(21), 3))
	if s := table.Stats(); s.Processes != 20 || s.Exited != 0 || s.Evicted != 1 {
		t.Fatalf("Stats() = %+v, want the exited one evicted", s)
	}
	table.Attach(forkEvent(id(1), id(22), 3)) // takes away everybody's first chance
	for i := 1; i < 10; i++ {
		processAt(table, id(i+10))
	}
	for i := range 5 {
		table.Attach(forkEvent(id(11), id(30+i), 3))
	}
	for i := 11; i < 20; i++ {
		if table.Find(uint32(i)) == nil {
			t.Errorf("process %d was in use and evicted", i)
		}
	}
	if s := table.Stats(); s.Processes != 20 || s.Evicted != 7 {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestTableCutsEndlessChains(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	server := event.ID{PID: 2, Start: 2}
	table.Seed(event.Task{PID: 1, Start: 1})
	table.SeedDone()
	table.Attach(forkEvent(event.ID{PID: 1, Start: 1}, server, 2))
	table.Attach(execEvent(server, 2, "/server", ""))
	at := server
	for i := range 1000 {
		next := event.ID{PID: uint32(10 + i), Start: uint64(10 + i)}
		table.Attach(forkEvent(at, next, uint64(10+i)))
		table.Attach(execEvent(next, uint64(10+i), "/hop", ""))
		if at != server {
			table.Attach(exitEvent(at, uint64(11+i)))
		}
		at = next
		paths := chain(processAt(table, at))
		if len(paths) > maxDepth+1 || !slices.Contains(paths, "/server") {
			t.Fatalf("hop %d: %d ancestors, %q", i, len(paths)-1, paths)
		}
	}
	table.Attach(forkEvent(at, event.ID{PID: 5000, Start: 1 << 40}, 1<<40))
	if s := table.Stats(); s.Ancestors > maxDepth {
		t.Errorf("Stats() = %+v", s)
	}
}

// TestTableBoundsAncestors forks chains whose links end at once, which would keep 64 dead ones for each that lives.
func TestTableBoundsAncestors(t *testing.T) {
	t.Parallel()
	const limit = 100
	table := NewTable(TableOptions{Config: Config{MaxProcesses: limit, Linger: time.Millisecond}})
	boot, pid := uint64(0), uint32(10)
	for range limit / 2 {
		at := event.ID{PID: 1, Start: 1}
		for range 60 {
			boot += uint64(time.Second)
			pid++
			next := event.ID{PID: pid, Start: boot}
			table.Attach(forkEvent(at, next, boot))
			if at.PID != 1 {
				table.Attach(exitEvent(at, boot))
			}
			at = next
		}
	}
	if s := table.Stats(); s.Ancestors > 3*limit || s.Processes > limit {
		t.Errorf("Stats() = %+v, want at most %d ancestors", s, 3*limit)
	}
	checkTable(t, table)
}

// checkTable recounts what the table counts.
func checkTable(t testing.TB, table *Table) {
	t.Helper()
	listed, seen := 0, map[*entry]bool{}
	for pid, e := range table.byPID {
		for last := e; e != nil; e = e.older {
			if e.removed || e.proc.PID != pid || e.proc.Start != e.start || e.start > last.start {
				t.Fatalf("pid %d: entry %+v", pid, e)
			}
			listed++
			last = e
			seen[e] = true
		}
	}
	for _, q := range []*queue{&table.live, &table.exited} {
		n := 0
		for e := q.head; e != nil; e = e.next {
			if !seen[e] || (e.exit != 0) != (q == &table.exited) {
				t.Fatalf("queued entry %+v", e)
			}
			n++
		}
		if n != q.len {
			t.Fatalf("%d entries in a queue of %d", n, q.len)
		}
	}
	if listed != table.live.len+table.exited.len {
		t.Fatalf("%d entries by pid, %d in queues", listed, table.live.len+table.exited.len)
	}
	children, ancestors := map[*entry]int{}, 0
	all := make([]*entry, 0, len(seen))
	for e := range seen {
		all = append(all, e)
	}
	for i := 0; i < len(all); i++ {
		e := all[i]
		if e.removed && e.proc != nil {
			ancestors++
		}
		if e.parent != nil {
			children[e.parent]++
			if !seen[e.parent] {
				seen[e.parent] = true
				all = append(all, e.parent)
			}
		}
		if n := len(chain(e.proc)) - 1; n > maxDepth || n != e.depth {
			t.Fatalf("process %d has %d ancestors, counted %d", e.proc.PID, n, e.depth)
		}
	}
	for e := range seen {
		if e.children != children[e] {
			t.Fatalf("process %d has %d children, counted %d", e.proc.PID, children[e], e.children)
		}
	}
	if ancestors != table.ancestors {
		t.Fatalf("%d ancestors, counted %d", ancestors, table.ancestors)
	}
}

// model is a process table that keeps everything and looks through all of it.
type model struct {
	all map[event.ID]*modelProcess
}

type modelProcess struct {
	id     event.ID
	path   string
	parent *modelProcess
	execs  uint32
}

func TestTableAgreesWithModel(t *testing.T) {
	t.Parallel()
	events := 1_000_000
	if testing.Short() {
		events = 100_000
	}
	const limit = 4096
	// Nothing is forgotten for want of room as long as the model has fewer processes than the table has entries.
	table := NewTable(TableOptions{Config: Config{MaxProcesses: limit, Linger: time.Second}})
	m := model{all: map[event.ID]*modelProcess{}}
	paths := strings.Fields("/bin/a /bin/b /bin/c /bin/d /bin/e /bin/f /bin/g")
	r := rand.New(rand.NewPCG(1, 2))
	root := event.ID{PID: 1, Start: 1}
	table.Seed(event.Task{PID: 1, Start: 1})
	table.SeedDone()
	m.all[root] = &modelProcess{id: root}
	living, taken := []event.ID{root}, map[uint32]bool{}
	boot := uint64(1)
	var duplicates uint64
	for i := range events {
		boot += uint64(r.IntN(int(time.Millisecond))) + 1
		k := r.IntN(len(living))
		id := living[k]
		switch n := r.IntN(10); {
		case n < 3 && len(living) < 1000:
			child := event.ID{PID: 2 + uint32(r.IntN(30000)), Start: boot}
			if taken[child.PID] {
				continue
			}
			taken[child.PID] = true
			table.Attach(forkEvent(id, child, boot))
			m.all[child] = &modelProcess{id: child, path: m.all[id].path, parent: m.all[id]}
			living = append(living, child)
		case n < 5:
			path := paths[r.IntN(len(paths))]
			table.Attach(execEvent(id, boot, path, "a\x00b\x00"))
			old := m.all[id]
			m.all[id] = &modelProcess{id: id, path: path, parent: old.parent, execs: old.execs + 1}
		case n < 8 && k > 0:
			if !table.Attach(exitEvent(id, boot)) {
				t.Fatalf("event %d: the first exit of %v is no news", i, id)
			}
			living[k] = living[len(living)-1]
			living = living[:len(living)-1]
			delete(taken, id.PID)
			if r.IntN(10) == 0 {
				duplicates++
				if table.Attach(exitEvent(id, boot)) {
					t.Fatalf("event %d: the second exit of %v is news", i, id)
				}
			}
			delete(m.all, id)
		default:
			ev := otherEvent(id)
			table.Attach(ev)
			compare(t, i, ev.Process, m.all[id])
		}
		if i%(events/10) == 0 {
			checkTable(t, table)
		}
	}
	checkTable(t, table)
	s := table.Stats()
	if s.Missed != 0 || s.Evicted != 0 || s.DuplicateExits != duplicates || s.Processes != len(living) {
		t.Errorf("Stats() = %+v, want %d processes, %d duplicate exits, nothing missed or evicted", s, len(living), duplicates)
	}
	if s.Ancestors > limit {
		t.Errorf("%d ancestors for %d processes", s.Ancestors, len(living))
	}
}

// compare holds a process and its ancestors against the model. Those may be missing that had ended when a chain grew
// too long, but neither the nearest nor the first process, which lives. Who is kept beyond the cut is shown as it is now.
func compare(t *testing.T, i int, p *event.Process, want *modelProcess) {
	t.Helper()
	for depth := 0; p != nil; p, depth = p.Parent, depth+1 {
		far := depth > nearAncestors
		for far && want != nil && want.id != p.ID() {
			want = want.parent
		}
		if want == nil || want.id != p.ID() || !far && !want.is(p) {
			t.Fatalf("event %d: ancestor %d is %v, %q after %d execs; want %+v", i, depth, p.ID(), p.Path, p.ExecCount, want)
		}
		if p.Parent == nil && p.PID != 1 {
			t.Fatalf("event %d: the chain ends at %v", i, p.ID())
		}
		want = want.parent
	}
}

func (m *modelProcess) is(p *event.Process) bool {
	return p.Path == m.path && p.ExecCount == m.execs
}

func TestTableMemoryIsBounded(t *testing.T) {
	const limit = 1024
	table := NewTable(TableOptions{Config: Config{MaxProcesses: limit}})
	r := rand.New(rand.NewPCG(3, 4))
	feed := func(n int, boot uint64) {
		for i := range n {
			parent := event.ID{PID: uint32(r.IntN(1 << 16)), Start: uint64(r.IntN(100))}
			child := event.ID{PID: uint32(r.IntN(1 << 22)), Start: boot + uint64(i)}
			table.Attach(forkEvent(parent, child, boot+uint64(i)))
			table.Attach(execEvent(child, boot+uint64(i), "/bin/true", "true\x00"))
		}
	}
	feed(20_000, 1)
	before := heap()
	feed(200_000, 100_000)
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes over 200,000 processes", grown)
	}
	if s := table.Stats(); s.Processes+s.Exited > limit || s.Ancestors > 3*limit {
		t.Errorf("Stats() = %+v, want at most %d entries", s, limit)
	}
	checkTable(t, table)
	runtime.KeepAlive(table)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAttachDoesNotAllocate(t *testing.T) {
	table := NewTable(TableOptions{})
	id := event.ID{PID: 100, Start: 1001}
	table.Attach(forkEvent(event.ID{PID: 1, Start: 1}, id, 1001))
	ev := otherEvent(id)
	if n := testing.AllocsPerRun(1000, func() { table.Attach(ev) }); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
	idle := otherEvent(event.ID{})
	if n := testing.AllocsPerRun(1000, func() { table.Attach(idle) }); n != 0 {
		t.Errorf("%v allocations per event of nobody", n)
	}
}

// TestTableIsReadWhileItIsFed is for the race detector.
func TestTableIsReadWhileItIsFed(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{Config: Config{MaxProcesses: 64, Linger: time.Millisecond}})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				table.Stats()
				table.Find(50)
				for _, p := range table.Processes() {
					chain(p)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 20_000 {
		boot := uint64(i) * 1000
		a, b := event.ID{PID: uint32(r.IntN(100)), Start: 1}, event.ID{PID: uint32(r.IntN(100)), Start: boot + 1}
		for _, ev := range []*event.Event{forkEvent(a, b, boot), execEvent(b, boot, "/x", "x\x00"), otherEvent(a), exitEvent(b, boot)} {
			table.Attach(ev)
		}
	}
	close(stop)
	readers.Wait()
}

// FuzzTable feeds any sequence of events: five bytes make one.
func FuzzTable(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x02\x01\x02\x02\x01\x00\x00\x03\x02\x01\x00\x00\x03\x02\x01\x00\x00"))
	f.Add([]byte("\x06\x01\x00\x02\x01\x06\x02\x00\x01\x01\x07\x00\x00\x00\x00\x01\x01\x00\x02\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table := NewTable(TableOptions{Config: Config{MaxProcesses: minTable, Linger: 50}})
		for boot := uint64(1); len(data) >= 5; data = data[5:] {
			boot += uint64(data[0] >> 4)
			a := event.ID{PID: uint32(data[1]) % 64, Start: uint64(data[2]%8) * tick / 2}
			b := event.ID{PID: uint32(data[3]) % 64, Start: uint64(data[4]%8) * tick / 2}
			var ev *event.Event
			switch data[0] % 8 {
			case 1:
				ev = forkEvent(a, b, boot)
			case 2:
				ev = execEvent(a, boot, "/x", string(data[3:5]))
				ev.Task.PPID = b.PID
			case 3:
				ev = exitEvent(a, boot)
			case 6:
				table.Seed(event.Task{PID: a.PID, Start: a.Start, PPID: b.PID})
				continue
			case 7:
				table.SeedDone()
				continue
			default:
				ev = otherEvent(a)
			}
			table.Attach(ev)
			if (ev.Process == nil) != (a.PID == 0) || a.PID != 0 && ev.Process.PID != a.PID {
				t.Fatalf("%s of %v is attributed to %+v", ev.Kind, a, ev.Process)
			}
			if n := table.live.len + table.exited.len; n > minTable {
				t.Fatalf("%d entries", n)
			}
		}
		table.SeedDone()
		checkTable(t, table)
	})
}

func BenchmarkAttachLookup(b *testing.B) {
	table := NewTable(TableOptions{})
	events := make([]*event.Event, 1024)
	for i := range events {
		id := event.ID{PID: uint32(i + 2), Start: uint64(i + 2)}
		table.Attach(forkEvent(event.ID{PID: 1, Start: 1}, id, 1))
		events[i] = otherEvent(id)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		table.Attach(events[i&1023])
		i++
	}
}

// BenchmarkAttachLife is one process: fork, exec, exit.
func BenchmarkAttachLife(b *testing.B) {
	table := NewTable(TableOptions{})
	parent := event.ID{PID: 1, Start: 1}
	fork, exec, exit := forkEvent(parent, parent, 0), execEvent(parent, 0, "/usr/bin/true", "true\x00--version\x00"), exitEvent(parent, 0)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		id := event.ID{PID: uint32(2 + n%30000), Start: n * 1_000_000}
		fork.Task.PID, fork.Task.Start, fork.Boot = id.PID, id.Start, id.Start
		exec.PID, exec.Start, exec.Boot = id.PID, id.Start, id.Start
		exit.PID, exit.Start, exit.Boot = id.PID, id.Start, id.Start
		table.Attach(fork)
		table.Attach(exec)
		table.Attach(exit)
	}
}

// TestTableKeepsWhatAnExecLeaves: rules ask for the environment and the working directory of processes and their ancestors.
func TestTableKeepsWhatAnExecLeaves(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	shell, child := event.ID{PID: 100, Start: 1001}, event.ID{PID: 200, Start: 2001}
	exec := execEvent(shell, 1100, "/bin/sh", "sh")
	exec.Env, exec.Cwd = []byte("HISTFILE=/dev/null\x00A=\x00"), []byte("/srv")
	table.Attach(exec)
	table.Attach(forkEvent(shell, child, 2001))
	for _, id := range []event.ID{shell, child} {
		if p := processAt(table, id); !slices.Equal(p.Env, []string{"HISTFILE=/dev/null", "A="}) || p.Cwd != "/srv" {
			t.Errorf("process %d has the environment %q in %q", id.PID, p.Env, p.Cwd)
		}
	}
	table.Attach(execEvent(child, 2100, "/bin/ls", "ls")) // of which the kernel tells neither
	if p := processAt(table, child); p.Env != nil || p.Cwd != "/srv" {
		t.Errorf("after another exec: environment %q in %q", p.Env, p.Cwd)
	}
}

func TestTableFollowsTheWorkingDirectory(t *testing.T) {
	t.Parallel()
	table := NewTable(TableOptions{})
	shell := event.ID{PID: 100, Start: 1001}
	exec := execEvent(shell, 1100, "/bin/sh", "sh")
	exec.Cwd = []byte("/srv")
	table.Attach(exec)
	before := exec.Process
	chdir, _ := event.TypeNamed("chdir")
	fchdir, _ := event.TypeNamed("fchdir")
	call := func(kind event.Type, result int64, text event.Text, name string) string {
		ev := &event.Event{Kind: event.Syscall, Type: kind, PID: shell.PID, Start: shell.Start}
		ev.Call.Result, ev.Call.Text[0], ev.FD.Name = result, text, []byte(name)
		table.Attach(ev)
		return ev.Process.Cwd
	}
	for _, test := range []struct {
		what string
		got  string
		want string
	}{
		{"an absolute name", call(chdir, 0, event.Text{Raw: []byte("/tmp/../var/")}, ""), "/var"},
		{"a relative one, whose end the kernel knows", call(chdir, 0, event.Text{Raw: []byte("log"), Resolved: []byte("/var/log")}, ""), "/var/log"},
		{"a relative one that nobody knows", call(chdir, 0, event.Text{Raw: []byte("x")}, ""), "/var/log"},
		{"a failure", call(chdir, -2, event.Text{Raw: []byte("/nowhere")}, ""), "/var/log"},
		{"a descriptor", call(fchdir, 0, event.Text{}, "/home"), "/home"},
	} {
		if test.got != test.want {
			t.Errorf("after %s the working directory is %q, want %q", test.what, test.got, test.want)
		}
	}
	if before.Cwd != "/srv" {
		t.Errorf("what was published has changed to %q", before.Cwd)
	}
}
