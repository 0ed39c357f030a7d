package fim

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A Sought is what has been found to have happened to a path, by somebody unknown.
type Sought struct {
	Path     Path
	What     KindSet   // any of these
	From, To time.Time // when the path was still as before, and when it was not any more; From may be zero

	// What else is known, or 0.
	PID           uint32 // who it was, by the word of another witness
	Device, Inode uint64 // of the file that was changed, as stat tells them

	// Closed says that a file was closed which had been open for writing: whoever wrote to it does so no more.
	Closed bool

	// SameFile says that the path had the file before that it has now: no directory above was renamed or mounted over.
	SameFile bool
}

// Confidence is how sure it is that an act made a change.
type Confidence uint8

// Degrees of confidence, from none to the highest.
const (
	Unexplained Confidence = iota
	ByTime                 // an act of its kind, on a file that nobody can tell, at that time, and no other such
	ByPID                  // something that the process did which another witness has named
	ByDirectory            // a directory was renamed, mounted over or unmounted that the path is in
	ByInode                // an act on the same file by another name, or without one
	ByPath                 // an act on that path
)

// Confidences names them.
var Confidences = [...]string{"none", "time", "pid", "directory", "inode", "path"}

func (c Confidence) String() string { return Confidences[min(int(c), len(Confidences)-1)] }

// Bounds of a search.
const (
	maxCandidates = 32
	// actSlack is how much later or earlier than it was seen a change may have been made: the kernel stamps calls when they
	// return, and files by the latest tick.
	actSlack = 20 * time.Millisecond
)

// Who returns the act that made a change, and how sure that is. Events come up to about 20 ms after the call, so ask no sooner.
// It may be asked again about the same change, for other kinds of it, but what it has once told is not told for a change that
// began after To. It looks at directories, where a name alone does not tell which file was meant, and so may block.
func (a *Acts) Who(s Sought) (Act, Confidence) {
	q := a.query(s)
	found := a.known(&q)
	if found.confidence < ByInode || !found.inTime {
		found = q.best([]candidate{found, a.spelledOtherwise(&q)})
	}
	if s.PID != 0 && (found.confidence == Unexplained || found.confidence <= ByDirectory && found.deed.id.PID != s.PID) {
		if named := a.ofProcess(&q); named.confidence != Unexplained { // who was seen at the path himself
			found = named
		}
	}
	if found.confidence == Unexplained {
		found = a.onlyOne(&q)
	}
	if found.confidence == Unexplained {
		return Act{}, Unexplained
	}
	a.claim(&q, &found.deed)
	return a.act(&q, &found.deed), found.confidence
}

// A query is what is sought, by the kernel's clock and numbers.
type query struct {
	Sought
	from, to uint64
	opened   openFile
	wall     time.Time // that is now
	boot     uint64
	vague    []candidate // acts that may have been on any file
}

func (a *Acts) query(s Sought) query {
	q := query{Sought: s}
	q.wall, q.boot = a.clock()
	since := func(t time.Time) uint64 {
		ago := q.wall.Sub(t)
		if t.IsZero() || ago > time.Duration(q.boot) {
			return 0
		}
		return uint64(int64(q.boot) - int64(ago))
	}
	q.from, q.to = since(s.From), since(s.To)
	if s.Inode != 0 {
		q.opened = openFile{unix.Major(s.Device)<<20 | unix.Minor(s.Device), s.Inode}
	}
	return q
}

// A candidate is a copy of a deed that may be the one.
type candidate struct {
	deed       deed
	confidence Confidence
	inTime     bool // it was done when the change was made; else it is a writer's, who began earlier
	otherFile  bool // the path had another file then
}

// compare says which of two is the likelier: first by another witness' word, then by what they have to do with the path, then
// by when they were.
func (q *query) compare(a, b candidate) int {
	named := func(c candidate) int {
		return flag(q.PID != 0 && c.deed.id.PID == q.PID && c.confidence >= ByDirectory)
	}
	return cmp.Or(named(a)-named(b), int(a.confidence)-int(b.confidence), flag(a.inTime)-flag(b.inTime), flag(b.otherFile)-flag(a.otherFile),
		cmp.Compare(a.deed.last, b.deed.last), cmp.Compare(a.deed.number, b.deed.number))
}

func flag(is bool) int {
	if is {
		return 1
	}
	return 0
}

func (q *query) best(all []candidate) (best candidate) {
	for _, c := range all {
		if q.compare(c, best) > 0 {
			best = c
		}
	}
	return best
}

// inTime says whether a deed falls into the time in which the change was made, and was not told of an earlier one.
func (q *query) inTime(d *deed) bool {
	return d.number != 0 && d.first <= q.to+uint64(actSlack) && d.last+uint64(actSlack) >= q.from && d.last+uint64(maxActAge) >= q.boot &&
		(d.claimed == 0 || q.from < d.claimed)
}

// maybeStill says whether a writer may have had the file open in that time.
func (q *query) maybeStill(d *deed) bool {
	return d.first <= q.to+uint64(actSlack) && (d.over == 0 || d.over+uint64(actSlack) >= q.from)
}

// known looks for acts on the path, on the file, and on directories above.
func (a *Acts) known(q *query) candidate {
	var all []candidate
	add := func(d *deed, c Confidence, inTime bool) {
		if len(all) < maxCandidates*4 {
			all = append(all, candidate{*d, c, inTime, q.opened.inode != 0 && d.opened.inode != 0 && d.opened.inode != q.opened.inode})
		}
	}
	a.mu.Lock()
	for d := range a.recent.of(keyOfName(q.Path.Name)) {
		if q.inTime(d) && d.does(q.Path.Name)&q.What != 0 {
			add(d, ByPath, true)
		}
	}
	if q.opened.inode != 0 {
		for d := range a.recent.of(keyOfFile(q.opened)) {
			if q.inTime(d) && d.opened == q.opened && d.file&q.What != 0 {
				add(d, ByInode, true)
			}
		}
		for d := range a.writers.of(keyOfFile(q.opened)) {
			if q.maybeStill(d) && d.opened == q.opened && written&q.What != 0 {
				add(d, ByInode, false)
			}
		}
	}
	for dir := path.Dir(q.Path.Name); len(dir) > 1 && !q.SameFile; dir = path.Dir(dir) { // who mounts at / does so in a name space of his own
		for d := range a.recent.of(keyOfName(dir)) {
			if q.inTime(d) && d.does(dir)&moving != 0 {
				add(d, ByDirectory, true)
			}
		}
	}
	a.mu.Unlock()
	all = slices.DeleteFunc(all, func(c candidate) bool { return c.confidence != ByInode && a.containerOf(&c.deed) != q.Path.Container })
	return q.best(all)
}

// does is what a deed may have done to a path.
func (d *deed) does(name string) (what KindSet) {
	for i := range d.names {
		if d.names[i].name == name {
			what |= d.names[i].what
		}
	}
	return what
}

// containerOf is the id of the container that a deed was done in. It may have become known since.
func (a *Acts) containerOf(d *deed) string {
	if d.container == nil && d.cgroup != 0 {
		d.container = a.container(d.cgroup)
	}
	if d.container == nil {
		return ""
	}
	return d.container.ID
}

// spelledOtherwise looks among acts on unwatched paths for one on the same file, or on a name that leads to the path. What
// cannot be told is left in q.vague.
func (a *Acts) spelledOtherwise(q *query) candidate {
	var all []candidate
	a.mu.Lock()
	for g := range a.others {
		for i := range a.others[g] {
			d := &a.others[g][i]
			if !q.inTime(d) {
				continue
			}
			switch {
			case q.opened.inode != 0 && d.opened == q.opened && d.file&q.What != 0:
				all = append(all, candidate{*d, ByInode, true, false})
			case d.blind&q.What != 0:
				q.vague = append(q.vague, candidate{*d, ByTime, true, false})
			case d.mayBe(q):
				all = append(all, candidate{*d, ByTime, true, false})
			}
		}
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(a, b candidate) int { return q.compare(b, a) })
	all = all[:min(len(all), maxCandidates)]
	for i := range all {
		if c := &all[i]; c.confidence == ByTime {
			c.confidence = a.confirm(q, &c.deed)
		}
	}
	for _, c := range all {
		if c.confidence == ByTime {
			q.vague = append(q.vague, c)
		}
	}
	return q.best(slices.DeleteFunc(all, func(c candidate) bool { return c.confidence == ByTime }))
}

// mayBe says whether a deed is about a name as the path ends in, or as a directory that it is in; or about any name which
// may be a symbolic link to it.
func (d *deed) mayBe(q *query) bool {
	for i := range d.names {
		n := &d.names[i]
		switch {
		case n.what&q.What != 0 && (baseOf(n.name) == baseOf(q.Path.Name) || d.follows && q.Inode != 0):
			return true
		case n.what&moving != 0 && dirNamed(q.Path.Name, baseOf(n.name)) != "":
			return true
		}
	}
	return false
}

func baseOf(name string) string {
	name = strings.TrimRight(name, "/")
	return name[strings.LastIndexByte(name, '/')+1:]
}

// dirNamed is the topmost directory of a path that has some name; empty if there is none.
func dirNamed(name, base string) string {
	at := strings.Index(name, "/"+base+"/")
	if base == "" || at < 0 {
		return ""
	}
	return name[:at+1+len(base)]
}

// confirm looks whether a name leads to the path. Who cannot be asked any more is vague, if it is spelled alike.
func (a *Acts) confirm(q *query, d *deed) Confidence {
	surest := Unexplained
	for i := range d.names {
		n := &d.names[i]
		if n.name == "" {
			continue
		}
		if n.what&q.What != 0 && d.follows && q.Inode != 0 {
			if is, known := a.leads(d, n.name, func(_ int, file openFile) (bool, bool) { return file == q.opened, true }); known && is {
				surest = max(surest, ByInode)
			}
		}
		if n.what&q.What != 0 && baseOf(n.name) == baseOf(q.Path.Name) {
			surest = max(surest, a.leadsTo(q, d, n.name, path.Dir(q.Path.Name), ByPath))
		}
		if dir := dirNamed(q.Path.Name, baseOf(n.name)); dir != "" && n.what&moving != 0 {
			surest = max(surest, a.leadsTo(q, d, n.name, path.Dir(dir), ByDirectory))
		}
	}
	return surest
}

// leadsTo says how sure it is that a name is directly in a directory.
func (a *Acts) leadsTo(q *query, d *deed, name, dir string, sure Confidence) Confidence {
	in := a.containerOf(d)
	if name[0] != '/' || q.Path.Container != "" && q.Path.Container != in {
		return ByTime
	}
	name = strings.TrimRight(name, "/")
	is, known := a.leads(d, name[:strings.LastIndexByte(name, '/')+1], func(root int, named openFile) (is, known bool) {
		var sought openFile
		var err error
		if q.Path.Container != "" {
			sought, err = identify(root, dir)
		} else {
			sought, err = a.identifyOnHost(dir)
		}
		return named == sought, err == nil
	})
	switch {
	case !known:
		return ByTime
	case is:
		return sure
	}
	return Unexplained
}

// ofProcess is the latest that a process did, whatever it was; if nothing, then only who it is.
func (a *Acts) ofProcess(q *query) candidate {
	var all []candidate
	a.mu.Lock()
	for d := range a.recent.of(keyOfPID(q.PID)) {
		if len(all) == maxCandidates {
			break
		}
		if d.id.PID == q.PID && d.first <= q.to+uint64(actSlack) && d.last+uint64(maxActAge) >= q.boot {
			all = append(all, candidate{deed: *d, confidence: ByPID, inTime: q.inTime(d)})
		}
	}
	group := &a.others[q.PID%otherGroups]
	for i := range group {
		if d := &group[i]; d.number != 0 && d.id.PID == q.PID && d.first <= q.to+uint64(actSlack) && d.last+uint64(maxActAge) >= q.boot {
			all = append(all, candidate{deed: *d, confidence: ByPID, inTime: q.inTime(d)})
		}
	}
	a.mu.Unlock()
	if best := q.best(all); best.confidence != Unexplained {
		return best
	}
	p := a.process(q.PID)
	if p == nil {
		return candidate{}
	}
	return candidate{confidence: ByPID, deed: deed{id: p.ID(), process: p, comm: p.Comm, uid: p.UID, euid: p.EUID, login: p.LoginUID, cgroup: p.CgroupID,
		last: q.to}}
}

// onlyOne is the latest of the acts which may have been on any file, if they are all one process's.
func (a *Acts) onlyOne(q *query) candidate {
	if len(q.vague) == 0 || slices.ContainsFunc(q.vague, func(c candidate) bool { return c.deed.id != q.vague[0].deed.id }) {
		return candidate{}
	}
	return q.best(q.vague)
}

// claim notes that what a deed did has been found, wherever the deed still is.
func (a *Acts) claim(q *query, told *deed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	mark := func(d *deed) bool {
		found := d.number == told.number && d.number != 0
		if found {
			d.claimed = max(d.claimed, q.to, 1)
		}
		return found
	}
	for d := range a.recent.of(told.key()) {
		if mark(d) {
			break
		}
	}
	for i := range a.others[told.id.PID%otherGroups] {
		mark(&a.others[told.id.PID%otherGroups][i])
	}
	if !q.Closed {
		return
	}
	for d := range a.writers.of(keyOfPID(told.id.PID)) {
		if d.id == told.id && d.over == 0 && (d.opened == q.opened || d.does(q.Path.Name) != 0) {
			d.over = max(q.to, 1)
		}
	}
}

// act is a deed with all that is known of who did it.
func (a *Acts) act(q *query, d *deed) Act {
	act := Act{What: d.names[0].what | d.names[1].what | d.file | d.blind, Call: d.call, Ring: d.ring,
		Time:  q.wall.Add(-time.Duration(int64(q.boot) - int64(d.last))).Round(0),
		Actor: Actor{PID: d.id.PID, Start: d.id.Start, UID: d.uid, EUID: d.euid, LoginUID: d.login, Container: a.containerOf(d), Workload: event.Workload{Unit: d.unit}}}
	for _, n := range d.names {
		if n.name != "" {
			act.Names = append(act.Names, n.name)
		}
	}
	who := &act.Actor
	who.Process, who.In = d.process, d.container
	if d.container != nil {
		who.Workload = d.container.Workload
	}
	who.Comm = (&event.Task{Comm: d.comm}).Name()
	if d.process != nil {
		who.Exe, who.Args, who.Comm = d.process.Path, d.process.Args, d.process.Name()
		who.Ancestors = ancestorsOf(d.process, who.Container != "")
	}
	return act
}

// ancestorsOf are those above a process. Of a container's process each may be in the container, too, unless it is in the mount
// namespace of the host's first process: else who lives in a container could be taken for one of the host.
func ancestorsOf(p *event.Process, inContainer bool) (above []Ancestor) {
	host := uint32(0)
	for top := p; top != nil; top = top.Parent {
		if top.PID == 1 {
			host = top.Namespaces.Mount
		}
	}
	for p = p.Parent; p != nil && len(above) < maxAncestors; p = p.Parent {
		above = append(above, Ancestor{PID: p.PID, Start: p.Start, Exe: p.Path, Comm: p.Name(), UID: p.UID,
			Container: inContainer && (host == 0 || p.Namespaces.Mount != host)})
	}
	return above
}
