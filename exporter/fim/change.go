package fim

import (
	"crypto"
	"fmt"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A Change is what has happened to a watched path, who did it, and whether that was expected.
type Change struct {
	ID         string
	Time       time.Time // when it was made, or if that is not known found
	Path       Path
	From       string // what a renamed file was called before
	Kinds      KindSet
	Watches    Watches
	Severity   event.Priority   // the most severe of the watch sets'
	Before     *Record          // nil of what was made
	After      *Record          // nil of what is gone
	Actor      *Actor           // nil if nobody is known
	Confidence Confidence       // of Actor
	In         *event.Container // that Path is in, nil on the host and where its runtime has not described it
	By         string           // one of ActorKinds
	Expected   bool
	Why        string // in words: which package, window or actor it was expected by, or why it was not
	Diff       string // of a text, without secrets, at most some lines; empty if there is none to be had
}

// paths are the path, and what it was called before.
func (c *Change) paths() []Path {
	if c.From == "" {
		return []Path{c.Path}
	}
	return []Path{c.Path, {c.Path.Container, c.From}}
}

// ActorKinds are the values of the label actor.
var ActorKinds = []string{ByPackage, ByMaintenance, ByRuntime, ByUser, ByUnknown}

// Who makes changes: a package manager that puts in place what a package brings; whoever the configuration names, or anybody in
// a maintenance window; a container runtime; another process; or nobody knows.
const (
	ByPackage     = "package"
	ByMaintenance = "maintenance"
	ByRuntime     = "runtime"
	ByUser        = "user"
	ByUnknown     = "unknown"
)

// kindOf is the kind that a change of an attribute is.
var kindOf = [len(Attributes)]Kind{ContentChanged, ModeChanged, OwnerChanged, XattrsChanged, ACLChanged, LinksChanged, FlagsChanged}

// kindsOf are what a difference comes to.
func kindsOf(d *Difference) (kinds KindSet) {
	switch {
	case d.From != "":
		return 1 << Renamed
	case d.Old == nil:
		return 1 << Created
	case d.New == nil:
		return 1 << Deleted
	}
	for i, kind := range kindOf {
		if d.Changed&(1<<i) != 0 {
			kinds |= 1 << kind
		}
	}
	return kinds
}

// runtimes are the executables of container runtimes, by their last component.
var runtimes = map[string]bool{"containerd": true, "containerd-shim-runc-v2": true, "dockerd": true, "runc": true, "crun": true, "crio": true,
	"conmon": true, "podman": true, "kubelet": true, "systemd-nspawn": true}

// judge says who has made a change, and whether it was expected: by a package whose manager was at work and whose content this is,
// by a window, or by the configuration's actors; whatever else is not. It is not settled while a package manager is at work that
// may say more once it has ended.
func (w *Watcher) judge(c *Change) (settled bool) {
	c.By, c.Expected, c.Why = ByUnknown, false, "nobody is known to have made it"
	switch {
	case c.Actor == nil:
	case c.Actor.Container == "" && runtimes[baseOf(c.Actor.Exe)]:
		c.By, c.Why = ByRuntime, "by the container runtime "+c.Actor.Exe
	default:
		c.By, c.Why = ByUser, "no package, window or actor accounts for it"
	}
	for i := range c.Watches.All() {
		if name, ok := w.o.Sets.InMaintenance(c.Time, i); ok {
			c.By, c.Expected, c.Why = ByMaintenance, true, "maintenance "+name
			break
		}
		if name, ok := w.actorOf(c, i); ok {
			c.By, c.Expected, c.Why = ByMaintenance, true, "actor "+name
			break
		}
	}
	r := w.area(c.Path.Container)
	if r == nil {
		return true
	}
	why, ok, settled := r.byPackage(c)
	if ok {
		c.By, c.Expected, c.Why = ByPackage, true, why
	} else if why != "" && !c.Expected {
		c.Why = why
	}
	return settled || c.Expected
}

// actorOf says whether who made a change, or somebody above him, is an actor whose changes of a set are expected.
func (w *Watcher) actorOf(c *Change, watch int) (name string, ok bool) {
	if c.Actor == nil {
		return "", false
	}
	if name, ok = w.o.Sets.Actor(w.doer(c.Actor.Container, c.Actor.Exe, c.Actor.EUID), watch); ok {
		return name, true
	}
	for _, a := range c.Actor.Ancestors {
		container := ""
		if a.Container {
			container = c.Actor.Container
		}
		if name, ok = w.o.Sets.Actor(w.doer(container, a.Exe, a.UID), watch); ok {
			return name, true
		}
	}
	return "", false
}

// doer is a process of the host or of a container, whose users have the names that they have there.
func (w *Watcher) doer(container, exe string, uid uint32) Doer {
	d := Doer{Container: container != "", Exe: exe, UID: uid}
	if a := w.area(container); a != nil {
		d.IsCalled = func(user string) bool {
			id, known := a.packages.UserID(user)
			return known && id == uid
		}
	}
	return d
}

// byPackage says which package accounts for a change. One does if its manager was at work on it then, by its own databases, and
// the process that was seen is the manager's or nobody's, and the file is what the package brings, or one that managers keep for
// themselves. Scripts of packages may change what belongs to no package, but for programs: those a package brings itself.
func (r *area) byPackage(c *Change) (why string, ok, settled bool) {
	isManaged := c.Actor != nil && c.Actor.Container == c.Path.Container && managed(c.Actor)
	if c.Actor != nil && !isManaged {
		return "", false, true
	}
	v := r.packages.Check(c.Path.Name, c.After, func(h crypto.Hash) ([]byte, error) { return r.look.SumBy(c.Path.Name, h) })
	running, what := r.packages.Transaction(c.Time)
	if !running && v.Owned {
		var t Transaction
		if t, running = r.packages.Unpacked(v.Package, c.Time); running {
			what = t.String()
		}
	}
	stillRunning, _ := r.packages.Transaction(time.Now())
	settled = !v.Changing && !stillRunning
	same := v.Owned && v.Content != Differs && v.Mode != Differs && v.Owner != Differs && !v.Missing
	switch {
	case !running:
		return "", false, settled || !isManaged
	case v.Database || v.Temporary || v.Alternative != "" && v.Content != Differs:
		return "a package manager's own file; " + what, true, true
	case v.Departed && c.After == nil:
		return fmt.Sprintf("%s was removed; %s", v.Package, what), true, true
	case same && c.After != nil:
		return fmt.Sprintf("%s; %s", v.Package, what), true, true
	case v.Owned && v.Config:
		return fmt.Sprintf("configuration of %s; %s", v.Package, what), true, settled
	case v.Owned:
		return fmt.Sprintf("not as %s brings it; %s", v.Package, what), false, settled
	case isManaged && settled && c.After != nil && c.After.Mode.IsRegular() && c.After.Mode&0o111 != 0:
		return "a program that belongs to no package; " + what, false, true
	case isManaged && settled:
		return "by a script of a package; " + what, true, true
	}
	return "", false, settled
}

// managed says whether a package manager is the actor or above him, as of a maintainer's script. Managers that are scripts
// themselves are told by what their interpreter was given: a poor witness, which is why the package's word is asked for as well.
func managed(a *Actor) bool {
	if IsPackageManager(a.Exe) || len(a.Args) > 1 && isInterpreter(a.Exe) && IsPackageManager(a.Args[1]) {
		return true
	}
	for i := range a.Ancestors {
		if above := &a.Ancestors[i]; (a.Container != "" || !above.Container) && IsPackageManager(above.Exe) {
			return true
		}
	}
	return false
}

func isInterpreter(exe string) bool {
	name := baseOf(exe)
	return strings.HasPrefix(name, "python") || strings.HasPrefix(name, "perl") || strings.HasPrefix(name, "platform-python")
}

// Bounds of changes that wait until a package manager has ended, which alone can say whether they are its own.
const (
	maxHeld  = 65536
	holdTime = 30 * time.Minute
)

// hold keeps a change back, and returns what waits now; nil if there is no room. What happens to one path in a transaction is one change.
func (w *Watcher) hold(c *Change) *Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.held[c.Path]
	switch {
	case known != nil && c.From == "" && known.From == "":
		known.After, known.Kinds, known.Watches, known.Severity = c.After, known.Kinds|c.Kinds, known.Watches|c.Watches, min(known.Severity, c.Severity)
		known.Actor, known.Confidence, known.Time = c.Actor, c.Confidence, c.Time
		if known.Before != nil {
			known.Diff = c.Diff
		}
		return known
	case known != nil || len(w.held) >= maxHeld:
		return nil
	}
	w.held[c.Path] = c
	w.heldOrder = append(w.heldOrder, c.Path)
	return c
}

// tellHeld tells the changes that were held back and are settled by now, or have waited for too long.
func (w *Watcher) tellHeld() {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.mu.Lock()
	var due []*Change
	for _, p := range w.heldOrder {
		due = append(due, w.held[p])
	}
	w.mu.Unlock()
	if len(due) == 0 || !w.managersRest(due) {
		return
	}
	var t telling
	kept := map[Path]*Change{}
	var order []Path
	for _, c := range due {
		if w.judge(c) || time.Since(c.Time) > holdTime {
			t.changes = append(t.changes, c)
			continue
		}
		kept[c.Path] = c
		order = append(order, c.Path)
	}
	w.mu.Lock()
	w.held, w.heldOrder = kept, order
	w.mu.Unlock()
	w.tell(&t)
}

// managersRest says whether no package manager of those that changes wait for is at work any more, or somebody has waited for too
// long; their databases are read again then.
func (w *Watcher) managersRest(due []*Change) bool {
	rest := false
	asked := map[string]bool{}
	for _, c := range due {
		if asked[c.Path.Container] {
			continue
		}
		asked[c.Path.Container] = true
		r := w.area(c.Path.Container)
		if r == nil {
			rest = true
			continue
		}
		if running, _ := r.packages.Transaction(time.Now()); !running || time.Since(c.Time) > holdTime {
			r.packages.Refresh()
			rest = true
		}
	}
	return rest
}
