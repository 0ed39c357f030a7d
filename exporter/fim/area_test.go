package fim

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unguarded is a watcher that does not run, over all of /etc and /var, with an area of the host whose baseline is complete.
func unguarded(t *testing.T) (*Watcher, *area) {
	t.Helper()
	c := everything("/etc", "/var")
	sets, err := NewSets(c, nil)
	must(t, err)
	w := NewWatcher(Options{Config: c, Sets: sets, Log: slog.New(slog.DiscardHandler)})
	r := &area{built: true}
	w.areas[""] = r
	return w, r
}

// Who has to do with a tree is blamed for what is found in it, unless somebody else has, too.
func TestATreeIsQueuedOnceWithAllItsCauses(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Minute)
	type cause struct {
		dir string
		pid uint32
	}
	for _, tt := range []struct {
		name   string
		causes []cause
		want   uint32 // of /etc/a/b/new
	}{
		{"one", []cause{{"/etc/a", 7}}, 7},
		{"nobody knows", []cause{{"/etc/a", 0}}, 0},
		{"the same twice", []cause{{"/etc/a", 7}, {"/etc/a", 7}}, 7},
		{"then nobody knows", []cause{{"/etc/a", 7}, {"/etc/a", 0}}, 7},
		{"only the second is known", []cause{{"/etc/a", 0}, {"/etc/a", 7}}, 7},
		{"two", []cause{{"/etc/a", 7}, {"/etc/a", 8}}, 0},
		{"two, and the first again", []cause{{"/etc/a", 7}, {"/etc/a", 8}, {"/etc/a", 7}}, 0},
		{"elsewhere", []cause{{"/etc/other", 7}}, 0},
		{"of the directory itself, and of one in it later", []cause{{"/etc/a", 7}, {"/etc/a/b", 8}}, 8},
		{"of one in it, and of the directory itself later", []cause{{"/etc/a/b", 8}, {"/etc/a", 7}}, 7},
		{"two of one in it, and one of the directory itself", []cause{{"/etc/a/b", 8}, {"/etc/a", 7}, {"/etc/a/b", 9}}, 0},
	} {
		w, r := unguarded(t)
		for i, c := range tt.causes {
			r.queue(uncertain{c.dir, c.pid, began.Add(time.Duration(i) * time.Second)}, false)
		}
		job, _ := w.nextTrees(time.Now())
		if job == nil {
			t.Fatalf("%s: nothing is to be scanned", tt.name)
		}
		p := Path{Name: "/etc/a/b/new"}
		if !w.suspectFound(&Difference{Path: p, New: &Record{}}, job) {
			t.Fatalf("%s: what was found is not suspected", tt.name)
		}
		if got := w.suspicions[p].pid; got != tt.want {
			t.Errorf("%s: it was %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Beyond the bound all is gone through, for as long a time as the oldest of the trees has waited.
func TestTooManyTreesAreOne(t *testing.T) {
	t.Parallel()
	w, r := unguarded(t)
	began := time.Now().Add(-time.Minute)
	for i := range maxTrees + 10 {
		r.queue(uncertain{fmt.Sprintf("/etc/%d", i), uint32(i + 1), began.Add(time.Duration(i) * time.Millisecond)}, false)
	}
	job, _ := w.nextTrees(time.Now())
	if len(job.roots) != 2 || job.roots[0] != "/etc" || job.roots[1] != "/var" {
		t.Fatalf("%q are scanned, want everything", job.roots)
	}
	p := Path{Name: "/etc/3/new"}
	w.suspectFound(&Difference{Path: p, New: &Record{}}, job)
	if s := w.suspicions[p]; s.pid != 0 || !s.first.Equal(began) {
		t.Errorf("it was %d since %v, want nobody since %v", s.pid, s.first, began)
	}
}

func TestTreesAreWaitedFor(t *testing.T) {
	t.Parallel()
	w, r := unguarded(t)
	w.Suspect(Suspicion{Path: Path{Name: "/etc/x"}, What: written})
	for _, dir := range []string{"/etc/a", "/etc/b", "/etc/a"} {
		w.goThrough(Path{Name: dir}, false, 0)
	}
	if got := w.Stats().Waiting; got != 3 {
		t.Errorf("%d wait, want a path and two directories", got)
	}
	if job, _ := w.nextTrees(time.Now()); len(job.trees) != 2 || len(r.trees) != 0 {
		t.Fatalf("%d are scanned and %d wait, want 2 and none", len(job.trees), len(r.trees))
	}
	if got := w.Stats().Waiting; got != 3 {
		t.Errorf("%d wait while directories are gone through, want as many", got)
	}
}

// What fanotify cannot do is said once, not whenever something is mounted.
func TestMarksThatAreRefusedAreSaidOnce(t *testing.T) {
	needRoot(t)
	w, r := unguarded(t)
	var log strings.Builder
	w.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	f, err := NewFanotify(FanotifyOptions{without: unix.FAN_REPORT_FID, Enter: func(Path) bool { return false }})
	if err != nil {
		t.Skipf("needs fanotify: %v", err)
	}
	defer f.Close()
	w.fanotify, r.root = f, openRoot(t, t.TempDir())
	defer unix.Close(r.root)
	for range 3 {
		r.remark = true // as something was mounted
		w.mark(r)
	}
	if n := strings.Count(log.String(), `level=WARN msg="fanotify does not tell of all changes"`); n != 1 {
		t.Errorf("it was said %d times, want once: %s", n, &log)
	}
}
