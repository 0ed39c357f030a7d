package fim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A tour goes through all ways once, one after the other, while a Watcher watches. Each way has directories of its own, and is
// gone by a process of its own; there is a container, whose root is an overlay.
type tour struct {
	t         *testing.T
	dir       string // a file system in memory; at disk is another one of an image, which has the watched tree
	program   string // this one
	config    Config
	sets      *Sets
	legs      []*leg
	container *event.Container
	keeper    event.ID // by whom the container's files are reached
	b         *blamer  // nil if nobody witnesses
	watcher   *Watcher
	stop      func()
	posts     int

	mu   sync.Mutex
	told []*Change
}

// A leg is a way, and what has come of it.
type leg struct {
	way
	world
	program string // that does it
	pid     uint32
	needs   string    // why it cannot be gone here
	late    string    // why a scan has to find it
	lost    uint64    // events that the kernel has left out meanwhile, as it says itself
	want    []string  // what is to be told, sorted
	told    []*Change // by witnesses, and later by a scan
	found   []*Change
}

const containerID = "0123456789ab"

// newTour prepares all that is there before anybody watches.
func newTour(t *testing.T) *tour {
	t.Helper()
	needsRoot(t)
	unix.Umask(0o022)
	k := &tour{t: t, container: &event.Container{ID: containerID, Workload: event.Workload{Container: "web"}}}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	k.makeDisk()
	var err error
	if k.program, err = os.Readlink("/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	k.config = Config{Store: filepath.Join(k.dir, "store/fim.db"), Scan: DefaultConfig.Scan,
		Watches: []WatchConfig{{Name: "test", Of: "both", Paths: []string{k.in("watched")}, Exclude: []string{"*.swp*", "4913"}}}}
	k.config.Scan.Interval = 0
	if k.sets, err = NewSets(k.config, nil); err != nil {
		t.Fatal(err)
	}
	k.keepContainer()
	for n, w := range allWays() {
		k.legs = append(k.legs, k.prepare(n, w))
	}
	return k
}

func (k *tour) in(name string) string { return filepath.Join(k.dir, "disk", name) }

// makeDisk mounts two file systems, which take along what is mounted in them when they go.
func (k *tour) makeDisk() {
	dir, err := os.MkdirTemp("", "yagura-ways-")
	noError(k.t, err)
	k.dir, err = filepath.EvalSymlinks(dir)
	noError(k.t, err)
	k.t.Cleanup(func() { os.RemoveAll(k.dir) })
	mountAt(k.t, "none", k.dir, "tmpfs", 0, "mode=755")
	noError(k.t, unix.Mount("none", k.dir, "", unix.MS_PRIVATE, ""))
	for _, sub := range []string{"disk", "room", "exe", "store"} {
		noError(k.t, os.Mkdir(filepath.Join(k.dir, sub), 0o755))
	}
	mountImage(k.t, "ext4", filepath.Join(k.dir, "disk"))
	for _, sub := range []string{"watched", "watched/posts", "outside", "layers", "layers/lower", "layers/upper", "layers/work", "root"} {
		noError(k.t, os.Mkdir(k.in(sub), 0o755))
	}
}

// keepContainer has a container, with a process that stays in it until the end.
func (k *tour) keepContainer() {
	layers := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", k.in("layers"))
	if err := unix.Mount("overlay", k.in("root"), "overlay", 0, layers); err != nil {
		k.t.Logf("the container has no overlay: %v", err)
	}
	noError(k.t, os.MkdirAll(k.in("root")+k.in("watched"), 0o755))
	noError(k.t, os.Mkdir(k.in("outside/keeper"), 0o755))
	e := &world{outside: k.in("outside/keeper")}
	noError(k.t, os.Symlink(k.in("root"), e.out("root")))
	cmd := exec.Command(k.program)
	cmd.Env = append(os.Environ(), wayVariable+"=keep", goVariable+"=1", e.variable())
	cmd.Stderr = os.Stderr
	word, err := cmd.StdinPipe()
	noError(k.t, err)
	out, err := cmd.StdoutPipe()
	noError(k.t, err)
	noError(k.t, cmd.Start())
	k.t.Cleanup(func() {
		word.Close()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "kept\n" {
		k.t.Fatalf("the container's process says %q, and then %v", line, err)
	}
	k.keeper = identityOfProcess(k.t, cmd.Process.Pid)
}

func identityOfProcess(t *testing.T, pid int) event.ID {
	t.Helper()
	dir, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_CLOEXEC, 0)
	noError(t, err)
	defer unix.Close(dir)
	start, err := startIn(dir)
	noError(t, err)
	return event.ID{PID: uint32(pid), Start: start}
}

// prepare makes the directories of a way, and what is in them before.
func (k *tour) prepare(n int, w way) *leg {
	id := fmt.Sprintf("%03d", n)
	s := &leg{way: w, world: world{k.in("watched/" + id), k.in("outside/" + id), filepath.Join(k.dir, "room", id)}, program: k.program}
	s.want = strings.Split(w.told, "; ")
	switch w.told {
	case untold:
		s.want = nil
	case "":
		name := w.at
		if name == "" {
			name = "f"
		}
		s.want = []string{name + " " + Kinds[w.what]}
	}
	slices.Sort(s.want)
	noError(k.t, errors.Join(os.Mkdir(s.watched, 0o755), os.Mkdir(s.outside, 0o755), os.Mkdir(s.room, 0o755), newFile(s.world.in("f"))))
	if w.container {
		noError(k.t, os.Symlink(k.in("root"), s.out("root")))
	}
	var err error
	switch {
	case w.tool != "":
		s.program, err = lookProgram(w.tool)
	case w.exe != "" && w.exe != inMemory:
		s.program = filepath.Join(k.dir, "exe", w.exe)
		err = copyProgram(k.program, s.program)
	}
	if err == nil && w.prepare != nil {
		err = w.prepare(&s.world)
	}
	k.unlessNeeded(s, err)
	s.late = w.unseen
	return s
}

// unlessNeeded makes an error one of the test, unless it says what is not to be had here.
func (k *tour) unlessNeeded(s *leg, err error) {
	var needs errNeeds
	switch {
	case errors.As(err, &needs):
		s.needs = string(needs)
	case err != nil:
		s.needs = err.Error()
		k.t.Errorf("%s: %v", s.name, err)
	}
}

// watch starts the watcher, and returns once it has a baseline. With witnesses it has the kernel's agent and fanotify.
func (k *tour) watch(witnesses bool) {
	k.t.Helper()
	o := Options{Config: k.config, Sets: k.sets, Tell: k.tell, without: !witnesses,
		Containers: func() []Running { return []Running{{Container: k.container, Process: k.keeper}} },
		Log:        slog.New(slog.NewTextHandler(k.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if witnesses {
		k.b = loadBlamer(k.t, k.sets)
		o.Process = k.b.table.FindLate
		o.Lost = func() (n uint64) {
			if err := k.b.agent.LostEvents(func(_ event.Kind, more uint64) { n += more }); err != nil {
				k.t.Error(err)
			}
			return n
		}
	}
	k.watcher = NewWatcher(o)
	k.watcher.Prepare()
	stopBlamer := func() error { return nil }
	if witnesses {
		k.b.run(k.watcher.Observe)
		stopBlamer = k.b.stop
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.watcher.Run(ctx) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, stopBlamer()); err != nil {
			k.t.Error(err)
		}
	})
	k.t.Cleanup(k.stop)
	if witnesses {
		k.b.mustLook(k.t)
	}
	k.await("the baselines", func() bool {
		host, container := k.watcher.area(""), k.watcher.area(containerID)
		return host != nil && container != nil && k.watcher.isBuilt(host) && k.watcher.isBuilt(container)
	})
	k.idle()
}

func (k *tour) tell(c *Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, c)
}

// await waits until something is so.
func (k *tour) await(what string, is func() bool) {
	k.t.Helper()
	if !waited(2*time.Minute, is) {
		k.t.Fatalf("there never came %s: %+v", what, k.watcher.Stats())
	}
}

func waited(atMost time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(atMost); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// idle waits until there is nothing to be looked at, some times in a row: what is looked at just now waits nowhere.
func (k *tour) idle() {
	k.t.Helper()
	rests := 0
	k.await("rest", func() bool {
		rests++
		if !k.rests() {
			rests = 0
		}
		return rests == 5
	})
}

func (k *tour) rests() bool {
	w := k.watcher
	if f := w.fanotify; f != nil {
		f.mu.Lock()
		busy := len(f.errands) > 0 || len(f.leaving) > 0 || len(f.out) > 0 || f.lost || f.restoring
		f.mu.Unlock()
		if busy {
			return false
		}
	}
	w.mu.Lock()
	busy := len(w.suspicions) > 0 || len(w.mountings) > 0
	areas := []*area{w.areas[""], w.areas[containerID]}
	for _, a := range areas {
		busy = busy || len(a.trees) > 0 || a.owing > 0
	}
	w.mu.Unlock()
	if busy {
		return false
	}
	for _, a := range areas {
		if !a.scanning.TryLock() {
			return false
		}
		a.scanning.Unlock()
	}
	w.looking.Lock()
	defer w.looking.Unlock()
	return true
}

// goAll goes all ways, and returns when all that they have done was told.
func (k *tour) goAll() {
	k.t.Helper()
	for _, s := range k.legs {
		if s.needs == "" {
			k.goLeg(s)
		}
	}
	if k.b != nil {
		k.settle()
		waited(20*time.Second, k.toldAll) // of what is late, though it should not be
	}
	for s, told := range k.take() {
		s.told = told
	}
}

// toldAll says whether as much was told of each way as is to be told at once.
func (k *tour) toldAll() bool {
	told := k.toldUntilNow()
	return !slices.ContainsFunc(k.legs, func(s *leg) bool { return s.late == "" && s.needs == "" && len(told[s]) < len(s.want) })
}

func (k *tour) goLeg(s *leg) {
	exe := k.program
	if s.exe != "" && s.exe != inMemory {
		exe = s.program
	}
	lost := k.lost()
	said, pid, err := perform(&s.world, s.name, exe, s.user, func(pid uint32) {
		if s.container && !s.host && k.b != nil {
			k.b.containIn(pid, k.container)
		}
	})
	s.pid, s.lost = pid, k.lost()-lost
	if needs, ok := strings.CutPrefix(said, "needs "); ok {
		err = errNeeds(needs)
	} else if errors.Is(err, unix.EACCES) && s.user != 0 {
		err = errNeeds("a root directory that others may enter")
	}
	k.unlessNeeded(s, err)
}

func (k *tour) lost() uint64 {
	if k.b == nil {
		return 0
	}
	return k.b.lost(k.t)
}

// settle waits until all that was done until now has been told. It does something that is told after it, twice, as what was told
// may leave directories that are to be gone through.
func (k *tour) settle() {
	k.t.Helper()
	for range 2 {
		post := k.post()
		k.await("word of a post", func() bool { return k.hasTold(post) })
		k.idle()
	}
}

// post has a process make a file, and returns its path.
func (k *tour) post() string {
	k.posts++
	name := fmt.Sprint("post-", k.posts)
	if _, _, err := perform(&world{watched: k.in("watched/posts")}, name, k.program, 0, func(uint32) {}); err != nil {
		k.t.Fatalf("%s: %v", name, err)
	}
	return filepath.Join(k.in("watched/posts"), name)
}

// rescan has everything looked at, and returns what was found.
func (k *tour) rescan() map[*leg][]*Change {
	k.t.Helper()
	w, asked := k.watcher, time.Now()
	w.mu.Lock()
	w.areas[containerID].next = asked
	w.mu.Unlock()
	noError(k.t, w.ScanNow(k.t.Context(), false))
	k.await("a scan of the container", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.areas[containerID].scanned.After(asked)
	})
	k.idle()
	return k.take()
}

func (k *tour) hasTold(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.told, func(c *Change) bool { return c.Path.Name == name })
}

// toldUntilNow is what was told since the last take, by the way that it is of.
func (k *tour) toldUntilNow() map[*leg][]*Change {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := map[*leg][]*Change{}
	for _, c := range k.told {
		if s := k.legOf(c.Path.Name); s != nil {
			of[s] = append(of[s], c)
		}
	}
	return of
}

func (k *tour) take() map[*leg][]*Change {
	of := k.toldUntilNow()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.told {
		if k.legOf(c.Path.Name) == nil && filepath.Dir(c.Path.Name) != k.in("watched/posts") {
			k.t.Errorf("told of %q, which nobody has changed: %v", c.Path.Name, kindNames(c.Kinds))
		}
	}
	k.told = nil
	return of
}

func (k *tour) legOf(name string) *leg {
	for _, s := range k.legs {
		if strings.HasPrefix(name+"/", s.watched+"/") {
			return s
		}
	}
	return nil
}

func kindNames(kinds KindSet) string {
	names := kinds.Names()
	slices.Sort(names)
	return strings.Join(names, ",")
}

// texts are changes as ways have them: names below the watched directory, where they come from, and what has happened to them.
func (s *leg) texts(changes []*Change) (all []string) {
	short := func(name string) string { return strings.TrimPrefix(strings.TrimPrefix(name, s.watched), "/") }
	for _, c := range changes {
		text := short(c.Path.Name) + " " + kindNames(c.Kinds)
		if c.From != "" {
			text = short(c.From) + " > " + text
		}
		if (c.Path.Container != "") != s.container {
			text = "container " + c.Path.Container + ": " + text
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// TestTruthFileChanges changes files in all ways that there are. Each change must be told once, as what it is, and blamed on who
// made it. What no witness can see on this kernel a scan must find, with nobody blamed.
func TestTruthFileChanges(t *testing.T) {
	gone, right := 0, 0
	t.Cleanup(func() {
		word := "yes"
		if t.Failed() || t.Skipped() {
			word = "no"
		}
		fmt.Printf("YAGURA_CELL fim_changes %s %d of %d ways\n", word, right, gone)
	})
	k := newTour(t)
	k.watch(true)
	k.goAll()
	for s, found := range k.rescan() {
		s.found = found
	}
	for _, s := range k.legs {
		if s.needs != "" {
			t.Logf("%-48s needs %s", s.name, s.needs)
			continue
		}
		gone++
		sure, wrong := s.judged()
		t.Logf("%-48s → %-40s → %s", s.name, strings.Join(s.texts(slices.Concat(s.told, s.found)), "; "), sure)
		switch {
		case len(wrong) == 0:
			right++
		case s.lost > 0 && s.isFound():
			t.Logf("%s: the kernel has left out %d events meanwhile: %s", s.name, s.lost, strings.Join(wrong, "; "))
		default:
			t.Errorf("%s: %s", s.name, strings.Join(wrong, "; "))
		}
	}
	t.Logf("%d ways, %d of them told and blamed rightly; %d events lost; %+v", gone, right, k.lost(), k.watcher.Stats())
	if gone < 110 {
		t.Errorf("%d ways can be gone here, want at least 110", gone)
	}
}

// isFound says whether all was told once, by whomever, and nobody is wrongly blamed.
func (s *leg) isFound() bool {
	all := slices.Concat(s.told, s.found)
	return s.isWanted(s.texts(all)) && !slices.ContainsFunc(all, func(c *Change) bool { return c.Actor != nil && !s.isBy(c.Actor) })
}

func (s *leg) isWanted(texts []string) bool {
	return slices.Equal(texts, s.want) || s.or != "" && strings.Join(texts, "; ") == s.or
}

// judged says how surely somebody is blamed, and what is not as it was.
func (s *leg) judged() (sure string, wrong []string) {
	told, found := s.texts(s.told), s.texts(s.found)
	if s.late != "" { // by any scan that somebody was the cause of
		told, found = s.texts(slices.Concat(s.told, s.found)), nil
	}
	if !s.isWanted(told) || len(found) > 0 {
		wrong = append(wrong, fmt.Sprintf("told %q, and by a scan %q, want %q", s.texts(s.told), s.texts(s.found), s.want))
	}
	var all []string
	for _, c := range slices.Concat(s.told, s.found) {
		switch {
		case s.late != "" && c.Confidence <= ByTime: // somebody else may have done something at that time
		case c.Actor == nil:
			wrong = append(wrong, "nobody is blamed for "+s.texts([]*Change{c})[0])
		case !s.isBy(c.Actor):
			wrong = append(wrong, fmt.Sprintf("%s is blamed on %d %q by %s, want %d %q",
				s.texts([]*Change{c})[0], c.Actor.PID, c.Actor.Exe, c.Confidence, s.pid, s.program))
		default:
			all = append(all, c.Confidence.String())
		}
	}
	slices.Sort(all)
	switch sure = strings.Join(slices.Compact(all), ", "); {
	case s.late != "":
		return "a scan: " + s.late, wrong
	case len(s.want) == 0:
		return "", wrong
	}
	return filepath.Base(s.program) + " by " + sure, wrong
}

// isBy says whether it was the process that has gone this way. Programs may have it done by a process of their own.
func (s *leg) isBy(a *Actor) bool {
	if s.exe == inMemory {
		return a.PID == s.pid && strings.Contains(a.Exe, inMemory)
	}
	own := s.tool != "" && slices.ContainsFunc(a.Ancestors, func(above Ancestor) bool { return above.PID == s.pid })
	return a.Exe == s.program && (own || a.PID == s.pid)
}

// TestSuppressedEventsAreFoundByAScanOnce goes all ways while nobody witnesses. One scan must find every difference that they have
// left, once; another scan, and a Watcher started anew, must find nothing more.
func TestSuppressedEventsAreFoundByAScanOnce(t *testing.T) {
	k := newTour(t)
	k.watch(false)
	k.goAll()
	found := k.rescan()
	for _, s := range k.legs {
		if s.needs != "" {
			continue
		}
		if len(s.told) > 0 {
			t.Errorf("%s: told %q without a scan", s.name, s.texts(s.told))
		}
		if got, want := s.texts(found[s]), s.leaves(); !slices.Equal(got, want) {
			t.Errorf("%s: a scan finds %q, want %q", s.name, got, want)
		}
	}
	nothingOf(t, "another scan", k.rescan())
	k.stop()
	before := time.Now()
	k.watch(false)
	k.await("the first scan", func() bool { return k.watcher.Stats().Scanned.After(before) })
	k.idle()
	nothingOf(t, "a Watcher started anew", k.take())
}

// leaves is what a scan can find: what was mounted is no difference by itself, nor is what has come and gone.
func (s *leg) leaves() (left []string) {
	for _, text := range s.want {
		if !strings.HasSuffix(text, "mounted") && !strings.HasSuffix(text, "created,deleted") {
			left = append(left, text)
		}
	}
	return left
}

func nothingOf(t *testing.T, who string, found map[*leg][]*Change) {
	t.Helper()
	for s, changes := range found {
		t.Errorf("%s: %s finds %q again", s.name, who, s.texts(changes))
	}
}
