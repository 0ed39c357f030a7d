package fim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A guarded is a watcher over a root of its own, and what it has told.
type guarded struct {
	*Watcher
	t    *testing.T
	root string
	stop func()

	mu   sync.Mutex
	told []*Change
}

// everything is a set over some directories of the root.
func everything(paths ...string) Config {
	c := DefaultConfig
	c.Defaults, c.Watches = false, []WatchConfig{{Name: "all", Paths: paths, Diff: true}}
	return c
}

// watch starts a watcher over a root, which may be one that was watched before, and waits until its first scan has ended.
func guard(t *testing.T, root string, c Config, change func(o *Options)) *guarded {
	t.Helper()
	c.Store = filepath.Join(root+".state", "fim.db")
	sets, err := NewSets(c, Resolver(root))
	must(t, err)
	w := &guarded{t: t, root: root}
	o := Options{Config: c, Sets: sets, Root: root, Redact: func(text string) string { return text }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Process: testProcess,
		Tell: func(c *Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, c)
		}}
	if change != nil {
		change(&o)
	}
	w.Watcher = NewWatcher(o)
	if w.Prepare(); w.fanotify == nil && !o.without {
		t.Skip("needs fanotify: CAP_SYS_ADMIN and Linux 5.9")
	}
	if w.fanotify != nil {
		w.fanotify.self = -1 // what the test does itself is told, too
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		must(t, <-done)
	})
	t.Cleanup(w.stop)
	begun := time.Now()
	w.until("the first scan has ended", func() bool { return w.Stats().Scanned.After(begun) })
	return w
}

func (w *guarded) in(name string) string { return filepath.Join(w.root, name) }

func (w *guarded) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after 30 s it is not so that %s; told: %q", what, w.texts())
		}
	}
}

// rescan waits for a scan of everything that begins now.
func (w *guarded) rescan() {
	w.t.Helper()
	before := time.Now()
	w.Watcher.mu.Lock()
	for _, a := range w.areas {
		a.next = before
	}
	w.wakeScans()
	w.Watcher.mu.Unlock()
	w.until("a scan has ended", func() bool { s := w.Stats(); return s.Scanned.After(before) && s.Waiting == 0 })
}

// texts is what was told, in order of paths.
func (w *guarded) texts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := []string{}
	for _, c := range w.told {
		texts = append(texts, changeText(c))
	}
	slices.Sort(texts)
	return texts
}

func changeText(c *Change) string {
	text := c.Path.Name
	if c.From != "" {
		text = c.From + " -> " + text
	}
	return text + " " + strings.Join(c.Kinds.Names(), "+")
}

func (w *guarded) wants(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	w.until(fmt.Sprintf("%q is told", want), func() bool { return slices.Equal(w.texts(), want) })
}

func fill(t *testing.T, root string, files ...string) {
	t.Helper()
	for _, name := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), []byte(name+"\n"), 0o644))
	}
}

// watchedRoot is a root, beside which a state may be.
func watchedRoot(t *testing.T) string {
	root := filepath.Join(t.TempDir(), "root")
	must(t, os.Mkdir(root, 0o755))
	return root
}

// manyChanges are changes of manyFiles, and what is told of each.
var manyChanges = []struct {
	do   func(w string) error
	told []string
}{
	{func(w string) error { return os.WriteFile(w+"/etc/a", []byte("other\n"), 0) }, []string{"/etc/a content"}},
	{func(w string) error { return os.Chmod(w+"/etc/b", 0o4755) }, []string{"/etc/b mode"}},
	{func(w string) error { return os.Remove(w + "/etc/c") }, []string{"/etc/c deleted"}},
	{func(w string) error { return os.Rename(w+"/etc/d", w+"/etc/d2") }, []string{"/etc/d -> /etc/d2 renamed"}},
	{func(w string) error { return os.Symlink("nowhere", w+"/etc/link") }, []string{"/etc/link created"}},
	{func(w string) error { return os.Chown(w+"/etc/e", 12, 13) }, []string{"/etc/e owner"}},
	{func(w string) error { return unix.Setxattr(w+"/etc/f", "user.x", []byte("1"), 0) }, []string{"/etc/f xattrs"}},
	{func(w string) error { return os.Link(w+"/etc/g", w+"/etc/g2") }, []string{"/etc/g links", "/etc/g2 created"}},
	{func(w string) error {
		return errors.Join(os.WriteFile(w+"/etc/.h.tmp", []byte("new\n"), 0o644), os.Rename(w+"/etc/.h.tmp", w+"/etc/h"))
	}, []string{"/etc/h content"}},
	{func(w string) error {
		return errors.Join(os.MkdirAll(w+"/etc/new/deep", 0o755), os.WriteFile(w+"/etc/new/deep/x", nil, 0o644))
	}, []string{"/etc/new created", "/etc/new/deep created", "/etc/new/deep/x created"}},
	{func(w string) error { return os.WriteFile(w+"/etc/new\nline\xff", nil, 0o644) }, []string{"/etc/new\nline\xff created"}},
	{func(w string) error { return os.Rename(w+"/etc/dir", w+"/etc/dir2") }, []string{"/etc/dir -> /etc/dir2 renamed", "/etc/dir/x -> /etc/dir2/x renamed"}},
	{func(w string) error { return os.Truncate(w+"/etc/i", 0) }, []string{"/etc/i content"}},
	{func(w string) error { return os.Rename(w+"/etc/j", w+"/unwatched") }, []string{"/etc/j deleted"}},
	{func(w string) error { return os.WriteFile(w+"/elsewhere", nil, 0o644) }, nil},
}

var manyFiles = []string{"etc/a", "etc/b", "etc/c", "etc/d", "etc/e", "etc/f", "etc/g", "etc/h", "etc/i", "etc/j", "etc/k", "etc/dir/x"}

func changeMany(t *testing.T, root string) (want []string) {
	t.Helper()
	for _, c := range manyChanges {
		must(t, c.do(root))
		want = append(want, c.told...)
	}
	return want
}

func TestChangesAreToldAsTheyHappen(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, manyFiles...)
	w := guard(t, root, everything("/etc"), nil)
	want := changeMany(t, root)
	seen := slices.DeleteFunc(slices.Clone(want), func(text string) bool { return text == "/etc/g links" }) // fanotify does not tell
	w.wants(seen...)
	w.rescan()
	w.wants(want...) // and no more
	for _, c := range w.told {
		if changeText(c) == "/etc/g links" {
			continue
		}
		if c.Actor == nil || c.Actor.PID != uint32(os.Getpid()) || c.Confidence != ByPID {
			t.Errorf("%s was blamed on %+v by %v, want this process by its pid", changeText(c), c.Actor, c.Confidence)
		}
		if c.By != ByUser || c.Expected {
			t.Errorf("%s is by %s, expected %v; want user, false", changeText(c), c.By, c.Expected)
		}
	}
	if s := w.Stats(); s.Unreconciled != 0 || s.Overlooked != 0 || !s.Intact || !s.Open {
		t.Errorf("stats %+v", s)
	}
}

func TestWhatNoWitnessHasSeenIsFoundOnceAlsoAfterARestart(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, manyFiles...)
	blind := func(o *Options) { o.without = true }
	w := guard(t, root, everything("/etc"), blind)
	want := changeMany(t, root)
	w.rescan()
	w.wants(want...)
	w.rescan()
	w.wants(want...)
	w.stop()

	fill(t, root, "etc/down")
	must(t, os.Remove(root+"/etc/k"))
	again := guard(t, root, everything("/etc"), blind)
	again.wants("/etc/down created", "/etc/k deleted")
	again.stop()
	last := guard(t, root, everything("/etc"), blind)
	last.rescan()
	last.wants()
	last.until("what has drifted is counted", func() bool { return last.Stats().Drifted[0] == uint64(len(want)+2+3) }) // renamed ones at both names
}

func TestWhatComesAndGoesAtOnceIsTold(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a")
	w := guard(t, root, everything("/etc"), nil)
	fill(t, root, "etc/fleeting")
	must(t, os.Remove(root+"/etc/fleeting"))
	w.wants("/etc/fleeting created+deleted")
}

func TestPathsWatchedForTheFirstTimeAreNoCreations(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a", "usr/b")
	w := guard(t, root, everything("/etc"), nil)
	w.stop()
	must(t, os.WriteFile(root+"/etc/a", []byte("while it was down"), 0o644))
	fill(t, root, "etc/added") // where it was watched before
	more := guard(t, root, everything("/etc", "/usr"), nil)
	more.wants("/etc/a content", "/etc/added created")
	must(t, os.WriteFile(root+"/usr/b", []byte("other"), 0o644))
	more.wants("/etc/a content", "/etc/added created", "/usr/b content")
	if n := len(signatureOf(DefaultConfig)); n > maxSignature/2 {
		t.Errorf("the shipped sets take %d bytes of a Meta", n)
	}
}

func TestCommandsReachTheStoreOfAWatcher(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a", "etc/b")
	w := guard(t, root, everything("/etc"), func(o *Options) { o.without = true })
	must(t, os.WriteFile(root+"/etc/a", []byte("other"), 0o644))
	must(t, os.Remove(root+"/etc/b"))
	run := func(j *job) (string, error) {
		t.Helper()
		var out strings.Builder
		err := ask(t.Context(), root+".state/fim.db", j, nil, &out, io.Discard, func(Progress) {})
		return out.String(), err
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		out, err := run(&job{Do: "verify"})
		if err == nil && strings.HasPrefix(out, "ok: ") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("verify says %q, %v", out, err)
		}
	}
	out, err := run(&job{Do: "accept", Paths: []octets{"/etc/a"}})
	if err != nil || !strings.HasPrefix(out, `accepted "/etc/a": content`) && !strings.HasPrefix(out, "accepted /etc/a: content") {
		t.Errorf("accept says %q, %v", out, err)
	}
	w.wants("/etc/a content") // which is told before it is accepted
	if err := w.ScanNow(t.Context(), false); err != nil {
		t.Error(err)
	}
	w.wants("/etc/a content", "/etc/b deleted")
	w.until("only what was not accepted has drifted", func() bool { return w.Stats().Drifted[0] == 1 })
	if _, err := run(&job{Do: "init", Force: true}); err != nil {
		t.Errorf("init --force: %v", err)
	}
	w.until("nothing has drifted", func() bool { return w.Stats().Drifted[0] == 0 })
	w.wants("/etc/a content", "/etc/b deleted")
}

func TestFilesThatMayGrowAreTrackedForWhatMatters(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "log/auth", "log/other")
	c := everything("/log")
	c.Watches[0].Content = "shorter"
	w := guard(t, root, c, nil)
	grow, err := os.OpenFile(root+"/log/auth", os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = grow.WriteString("a line\n")
	must(t, errors.Join(err, grow.Close()))
	must(t, os.Truncate(root+"/log/other", 1))
	w.wants("/log/other content")
	w.rescan()
	w.wants("/log/other content")
	w.until("only what shrank has drifted", func() bool { return w.Stats().Drifted[0] == 1 })
	w.stop()
	if left := untoldOf(t, openStore(t, root+".state/fim.db", StoreOptions{ReadOnly: true}), ""); len(left) != 0 {
		t.Errorf("after the end %+v is to be told", left)
	}
}

func TestLossesAreReconciled(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a", "etc/dir/b")
	var lost uint64
	w := guard(t, root, everything("/etc"), func(o *Options) {
		o.without = true
		o.Lost = func() uint64 { return lost }
	})
	must(t, os.WriteFile(root+"/etc/dir/b", []byte("other"), 0o644))
	w.sighted(Sighting{Path: Path{Name: "/etc/dir"}, Overflow: true})
	w.wants("/etc/dir/b content")
	w.until("nothing is unreconciled", func() bool { return w.Stats().Unreconciled == 0 })

	must(t, os.Remove(root+"/etc/a"))
	w.sighted(Sighting{Overflow: true}) // of anything
	w.wants("/etc/a deleted", "/etc/dir/b content")
	w.until("nothing is unreconciled", func() bool { return w.Stats().Unreconciled == 0 })
}

func TestTooManySuspicionsLeadToADirectory(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a")
	w := guard(t, root, everything("/etc"), func(o *Options) { o.without = true })
	must(t, os.Remove(root+"/etc/a"))
	w.looking.Lock() // so that no more than one batch is taken meanwhile
	for i := range maxSuspicions + maxLooks {
		w.Suspect(Suspicion{Path: Path{Name: fmt.Sprintf("/etc/%d", i)}, What: written})
	}
	w.Suspect(Suspicion{Path: Path{Name: "/etc/a"}, What: gone})
	w.looking.Unlock()
	w.wants("/etc/a deleted")
	if s := w.Stats(); s.Overlooked == 0 {
		t.Error("nothing was overlooked")
	}
	w.until("nothing is unreconciled", func() bool { s := w.Stats(); return s.Unreconciled == 0 && s.Waiting == 0 })
}

func TestMountsOverWhatIsWatchedAreTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := watchedRoot(t)
	fill(t, root, "etc/over/a")
	w := guard(t, root, everything("/etc"), nil)
	// The mount table is the host's, of which the root is a part: sightings are given as they would be were it the root.
	must(t, unix.Mount("none", root+"/etc/over", "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { unix.Unmount(root+"/etc/over", unix.MNT_DETACH) })
	w.mounted(MountSighting{Path: Path{Name: "/etc/over"}, Mounted: true, At: time.Now()})
	w.wants("/etc/over mounted", "/etc/over/a deleted")
	must(t, unix.Unmount(root+"/etc/over", 0))
	w.mounted(MountSighting{Path: Path{Name: "/etc/over"}, At: time.Now()})
	w.wants("/etc/over mounted", "/etc/over unmounted", "/etc/over/a deleted", "/etc/over/a created")
}

func TestAWatcherLeavesNothingBehind(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a")
	others := goleak.IgnoreCurrent()
	before := openDescriptors(t)
	w := guard(t, root, everything("/etc"), nil)
	w.stop()
	goleak.VerifyNone(t, others)
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func openDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestAStoreInUseIsWaitedFor(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a")
	must(t, os.MkdirAll(root+".state", 0o700))
	other, err := Open(root+".state/fim.db", StoreOptions{})
	must(t, err)
	defer other.Close()
	sets, err := NewSets(everything("/etc"), nil)
	must(t, err)
	c := everything("/etc")
	c.Store = root + ".state/fim.db"
	w := NewWatcher(Options{Config: c, Sets: sets, Root: root, Log: slog.New(slog.DiscardHandler), Tell: func(*Change) {}, without: true})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); !errors.Is(w.Stats().Failed, ErrInUse); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("failed is %v, want ErrInUse", w.Stats().Failed)
		}
	}
	if s := w.Stats(); s.Open || !s.Intact {
		t.Errorf("open %v, intact %v; want false, true", s.Open, s.Intact)
	}
	cancel()
	must(t, <-done)
}

func TestDifferencesOfBothNamesAreOne(t *testing.T) {
	file := func(inode uint64, sum byte) *Record {
		return &Record{Inode: inode, Size: 5, Summed: true, Sum: [32]byte{sum}, Links: 1}
	}
	at := func(name string) Path { return Path{Name: name} }
	all := []Difference{
		{Path: at("/a"), Old: file(1, 1), Changed: Everything},
		{Path: at("/b"), New: file(1, 1), Changed: Everything},
		{Path: at("/c"), Old: file(2, 2), Changed: Everything},
		{Path: at("/d"), New: file(2, 3), Changed: Everything}, // its inode was given to another file
		{Path: at("/e"), Old: file(3, 3), New: file(3, 4), Changed: Content},
		{Path: Path{"c1", "/f"}, New: file(1, 1), Changed: Everything},
	}
	var got []string
	for _, d := range joinRenamed(all) {
		got = append(got, d.From+">"+d.Path.Container+d.Path.Name)
	}
	if want := []string{"/a>/b", ">/c", ">/d", ">/e", ">c1/f"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func testProcess(pid uint32) *event.Process {
	return &event.Process{Task: event.Task{PID: pid}, Path: "/usr/bin/tester"}
}

// Without fanotify the kernel tells of an open for writing only: what is written later is looked for.
func TestWhatIsWrittenLateIsFoundWithoutFanotify(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a")
	w := guard(t, root, everything("/etc"), func(o *Options) { o.without = true })
	f, err := os.OpenFile(root+"/etc/a", os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	w.Observe(&event.Event{Kind: event.Syscall, Type: typeOpen, PID: 7, Boot: sinceBoot(), Call: event.Call{
		Arg:  [6]uint64{1: unix.O_WRONLY},
		Text: [2]event.Text{{Raw: []byte("/etc/a")}}}, FD: event.Descriptor{Inode: 1, Dev: 1}})
	w.until("it was looked at, and nothing had changed", func() bool {
		w.Watcher.mu.Lock()
		defer w.Watcher.mu.Unlock()
		s := w.suspicions[Path{Name: "/etc/a"}]
		return s != nil && s.again > 0
	})
	_, err = f.WriteString("late")
	must(t, err)
	w.wants("/etc/a content")
}

// TestWhatWasNotToldIsToldAfterARestart has a process killed between what it learns and what it tells.
func TestWhatWasNotToldIsToldAfterARestart(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a", "etc/b", "etc/back", "etc/from", "other/x")
	blind := func(o *Options) { o.without = true }
	w := guard(t, root, everything("/etc"), blind)
	kept := map[Path]*Change{}
	learnt := func(do func()) { // by a store that nobody tells anything of
		t.Helper()
		do()
		var sights []Sight
		for _, name := range []string{"a", "b", "back", "from", "to"} {
			s, ok, err := w.sight(t.Context(), Path{"", "/etc/" + name}, 0)
			must(t, err)
			if !ok {
				t.Fatalf("%s is not looked at", name)
			}
			sights = append(sights, s)
		}
		_, err := w.store.Learn(sights)
		must(t, err)
	}
	learnt(func() {
		must(t, os.WriteFile(w.in("etc/a"), []byte("changed\n"), 0o644))
		must(t, os.Remove(w.in("etc/b")))
		must(t, os.WriteFile(w.in("etc/back"), []byte("etc/BACK\n"), 0o644))
		must(t, os.Rename(w.in("etc/from"), w.in("etc/to")))
	})
	learnt(func() { fill(t, root, "etc/back") })
	p := Path{"", "/etc/a"}
	at := time.Now().Add(-time.Minute).UTC()
	kept[p] = &Change{Path: p, Time: at, Kinds: 1 << ContentChanged, Confidence: ByPath,
		Actor: &Actor{PID: 7, Exe: "/usr/bin/dpkg", Args: []string{"dpkg", "--token=secret"}, Process: &event.Process{}, Ancestors: []Ancestor{{PID: 6, Exe: "/usr/bin/apt"}}}}
	must(t, w.store.Told(nil, nil, w.notes([]*Change{kept[p], {Path: Path{"", "/etc/fleeting"}, Kinds: 1<<Created | 1<<Deleted, Time: at}})))
	w.stop()

	again := guard(t, root, everything("/etc"), blind)
	want := []string{"/etc/a content", "/etc/b deleted", "/etc/fleeting created+deleted", "/etc/from -> /etc/to renamed"}
	again.wants(want...)
	again.mu.Lock()
	for _, c := range again.told {
		if c.Path != p {
			continue
		}
		who := &Actor{PID: 7, Exe: "/usr/bin/dpkg", Ancestors: []Ancestor{{PID: 6, Exe: "/usr/bin/apt"}}}
		if diff := cmp.Diff(who, c.Actor); diff != "" || !c.Time.Equal(at) || c.Confidence != ByPath {
			t.Errorf("at %v, %v, by whom: %s", c.Time, c.Confidence, diff)
		}
		if c.Before == nil || c.Before.Size != int64(len("etc/a\n")) || c.After == nil || c.After.Size != int64(len("changed\n")) {
			t.Errorf("before %+v, after %+v", c.Before, c.After)
		}
	}
	again.mu.Unlock()
	again.rescan()
	again.wants(want...)
	again.stop()
	last := guard(t, root, everything("/etc"), blind)
	last.rescan()
	last.wants()
}

// TestContainersAreEnteredOnceTheyHaveARootOfTheirOwn has the process of a container that has not been given its root yet.
func TestContainersAreEnteredOnceTheyHaveARootOfTheirOwn(t *testing.T) {
	root := watchedRoot(t)
	fill(t, root, "etc/a")
	inside := watchedRoot(t)
	fill(t, inside, "data/a", "data/b")
	c := everything("/etc")
	c.Watches = append(c.Watches, WatchConfig{Name: "inside", Of: "containers", Paths: []string{"/data"}})
	procfs := t.TempDir()
	enter := func(at string) {
		dir := filepath.Join(procfs, "42")
		stat := "42 (init) " + strings.Repeat("0 ", 19) + "1000 0\n" // began 10 s after the machine
		must(t, errors.Join(os.MkdirAll(dir, 0o755), os.RemoveAll(dir+"/root"), os.Symlink(at, dir+"/root"), os.WriteFile(dir+"/stat", []byte(stat), 0o644)))
	}
	c.Store = filepath.Join(root+".state", "fim.db")
	sets, err := NewSets(c, Resolver(root))
	must(t, err)
	w := NewWatcher(Options{Config: c, Sets: sets, Root: root, Procfs: procfs, Log: slog.New(slog.DiscardHandler), without: true, Containers: func() []Running {
		return []Running{{&event.Container{ID: "c1"}, event.ID{PID: 42, Start: 10e9}}}
	}})
	if !w.open(t.Context()) {
		t.Fatal("the store cannot be opened")
	}
	defer w.close()
	enter(root)
	w.follow(time.Now())
	if w.area("c1") != nil {
		t.Fatal("a container is entered that has the host's root")
	}
	enter(inside)
	w.follow(time.Now())
	a := w.area("c1")
	if a == nil {
		t.Fatal("a container is not entered that has a root of its own")
	}
	if _, err := a.look.Look(t.Context(), "/data/a"); err != nil {
		t.Errorf("its files are not found: %v", err)
	}
}
