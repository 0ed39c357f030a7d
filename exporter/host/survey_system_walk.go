package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// maxFinds is how much is reported of what a walk finds, of each kind.
const maxFinds = 500

// A walkState is what is known of walks that have ended: what the last good one found, and why a later one found nothing.
type walkState struct {
	mu   sync.Mutex
	last *walkResult
	err  error
}

// A walkResult is what a walk has found. It does not change any more.
type walkResult struct {
	strays, setuids finds
	packages        map[string]string // by the paths of setuids
	packaged        bool              // they are known
	unpackaged      error             // why they are not
	entries         int
	cut             string // why not everything was looked at; empty if it was
	owners          error  // why it is not known whose a file is
	ended           time.Time
}

// A found is a file or directory that is worth a fact, as the walk saw it.
type found struct {
	path           string
	mode, uid, gid uint32
}

// finds are those with the lowest paths, and how many more there are: the same ones, in whatever order they are found.
type finds struct {
	all  []found
	more int
}

func (f *finds) add(x found) {
	if f.all = append(f.all, x); len(f.all) >= 2*maxFinds {
		f.trim()
	}
}

func (f *finds) trim() {
	slices.SortFunc(f.all, func(a, b found) int { return strings.Compare(a.path, b.path) })
	if over := len(f.all) - maxFinds; over > 0 {
		f.all, f.more = f.all[:maxFinds], f.more+over
	}
}

// Walk looks through all local file systems for what FileSystemWalk reports. With patience it does so on this thread alone and rests
// most of the time, else as fast as it can. A walk that ctx ends by its deadline has found what it has found.
func (s *Surveys) Walk(ctx context.Context, patient bool) error {
	// What is read here is noted by no survey that runs beside it.
	own := &Surveys{Root: s.Root, Procfs: s.Procfs, Sysfs: s.Sysfs}
	limits := fastWalk
	if patient {
		limits = patientWalk
	}
	result, err := own.walk(ctx, limits)
	s.walks.end(result, err)
	return err
}

func (w *walkState) end(r *walkResult, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err = err; err == nil {
		w.last = r
	}
}

// result is what the last good walk found, or why there was none; neither if nobody has walked.
func (w *walkState) result() (*walkResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last != nil {
		return w.last, nil
	}
	return nil, w.err
}

// FileSystemWalk reports files and directories that everybody may write to, those that belong to nobody, and programs that run as
// somebody else: those that the last walk has found and that are still so. If nobody has walked, it does.
func (s *Surveys) FileSystemWalk(ctx context.Context, report func(event.Fact)) error {
	r, err := s.walks.result()
	if r == nil && err == nil {
		_ = s.Walk(ctx, false)
		r, err = s.walks.result()
	}
	if err != nil {
		return err
	}
	s.reportWalk(r, report)
	return ctx.Err()
}

// reportWalk tells what was found. What was not looked at is an error among the facts, so that no check passes for want of it.
func (s *Surveys) reportWalk(r *walkResult, report func(event.Fact)) {
	walk := event.Walk.New("/", "").Set("entries", int64(r.entries)).Set("complete", r.cut == "").Set("ended", r.ended.Unix())
	if r.cut != "" {
		walk.Set("cut", r.cut)
		err := errors.New("not everything was looked at: " + r.cut)
		report(event.Stray.New("/", "").Fail(err))
		report(event.SetUID.New("/", "").Fail(err))
	}
	report(walk)
	owners := newOwnerCheck(s)
	for _, x := range r.strays.all {
		s.reportFound(x, report, func(x found) (event.Fact, bool) { return strayFact(x, owners) })
	}
	for _, x := range r.setuids.all {
		s.reportFound(x, report, r.setuidFact)
	}
	for kind, n := range map[*event.FactKind]int{event.Stray: r.strays.more, event.SetUID: r.setuids.more} {
		if n > 0 {
			report(kind.New(fmt.Sprintf("and %d more", n), "").Fail(fmt.Errorf("there are more than %d, and no more are looked at one by one", maxFinds)))
		}
	}
	if err := cmp.Or(r.owners, owners.err); err != nil {
		report(event.Stray.New("owners", "").Fail(err))
	}
	if r.unpackaged != nil {
		report(event.SetUID.New("packages", "").Set("packaged", false).Fail(r.unpackaged))
	}
}

// reportFound reports what was found, if it is there and still so. What cannot be looked at again, as its path is too long, is as the
// walk saw it.
func (s *Surveys) reportFound(x found, report func(event.Fact), fact func(found) (event.Fact, bool)) {
	st, err := s.lstat(x.path)
	if Absent(err) {
		return
	}
	if err == nil {
		x.mode, x.uid, x.gid = st.Mode, st.Uid, st.Gid
	}
	if f, still := fact(x); still {
		report(f)
	}
}

func strayFact(x found, owners *ownerCheck) (f event.Fact, is bool) {
	writable, unowned, ungrouped := x.writable(), owners.unowned(x.uid), owners.ungrouped(x.gid)
	f = event.Stray.New(x.path, "").Set("type", fileType(x.mode)).Set("mode_octal", x.octal()).Set("uid", int64(x.uid)).Set("gid", int64(x.gid))
	f.Set("writable", writable).Set("unowned", unowned).Set("ungrouped", ungrouped)
	return f, writable || unowned || ungrouped
}

func (r *walkResult) setuidFact(x found) (f event.Fact, is bool) {
	f = event.SetUID.New(x.path, "").Set("mode_octal", x.octal()).Set("uid", int64(x.uid)).Set("gid", int64(x.gid))
	f.Set("setuid", x.mode&unix.S_ISUID != 0).Set("setgid", x.mode&unix.S_ISGID != 0).Set("writable", x.mode&0o022 != 0)
	if name, ok := r.packages[x.path]; ok {
		f.Set("packaged", true).Set("package", name)
	} else if r.packaged {
		f.Set("packaged", false)
	}
	return f, x.runsAs()
}

func (x found) octal() string { return fmt.Sprintf("%04o", x.mode&0o7777) }

// writable says whether everybody may write to it, or remove other people's files in it.
func (x found) writable() bool {
	switch x.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return x.mode&0o002 != 0
	case unix.S_IFDIR:
		return x.mode&(0o002|unix.S_ISVTX) == 0o002
	}
	return false
}

// runsAs says whether it is a program that runs as its owner or its group. The setgid bit of a file that its group cannot run is about
// locks: inode(7).
func (x found) runsAs() bool {
	return x.mode&unix.S_IFMT == unix.S_IFREG && (x.mode&unix.S_ISUID != 0 || x.mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010)
}
