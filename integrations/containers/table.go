package containers

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// State says how much is known of a cgroup.
type State uint8

const (
	Unknown State = iota // the cgroup is not in the table: never reported, long gone, or the table was full
	Pending              // it may be a container's: hold its series back, a scrape later it is Known
	Known                // a container, or the host
)

// String returns the state's name.
func (s State) String() string { return [...]string{"unknown", "pending", "known"}[s] }

// A view is what the hot path reads of a cgroup. It never changes once it is published.
type view struct {
	container *event.Container // nil on the host and while unknown
	workload  event.Workload
	state     State
}

// unit is the host's that the cgroup lies in, empty in a container and while unknown.
func (v *view) unit() string {
	if v.container != nil {
		return ""
	}
	return v.workload.Unit
}

// A cgroup is one control group. All but its view belongs to the table's mutex.
type cgroup struct {
	id       uint64
	path     string
	node     *node // nil once it is dropped
	made     int64 // Unix nanoseconds; 0: before we looked
	removed  int64 // Unix nanoseconds; 0: it lives
	deadline int64 // when a pending one is given up
	next     int64 // when to ask the runtimes again
	asked    int   // how often they were asked
	failed   bool  // a runtime could not answer the last time
	record   *record
	nested   bool // it lies in a container's cgroup
	view     atomic.Pointer[view]
}

// A record is one life of one container, as all who know of it say together.
type record struct {
	key       string
	sightings []sighting // the most telling first
	paths     []string   // cgroups that are its own, and all below them
	container *event.Container
	created   int64
	deleted   int64 // Unix nanoseconds; 0: a runtime still knows it
	live      int   // its cgroups that live
	gone      int64 // when the last of them was removed
	nested    int   // those of them that lie below its own
}

// A sighting is what one runtime says of a container.
type sighting struct {
	from *source
	asOf int64 // when it was asked for, Unix nanoseconds
	found
}

// A source is who says something of a container. The lower its rank, the better it knows names.
type source struct{ rank int }

// found is a container as a runtime describes it.
type found struct {
	event.Container
	scope string   // the runtime's own namespace, which an id is unique in
	paths []string // cgroup paths, as far as the runtime or its process told
	pid   int      // first process, 0 if unknown
}

// key identifies a container for all who know of it: Docker and containerd, CRI and containerd say the same long id.
// A name given by a user is only unique where it was given.
func (f *found) key() string {
	if isID(f.ID) {
		return f.ID
	}
	return f.Runtime + "/" + f.scope + "/" + f.ID
}

// The table holds what is known of cgroups and containers. Reading one cgroup takes no lock; whoever changes something
// takes mu.
type table struct {
	index index // read by anyone, written under mu

	mu      sync.Mutex
	tree    node
	cgroups map[uint64]*cgroup
	dead    []*cgroup // in the order of their removal; some may be dropped already
	pending map[uint64]*cgroup
	records map[string]*record
	tombs   map[uint64]int64 // removed before they were added: a walk and the events overlap
	synced  bool             // every runtime that is there has been listed once
	limits  Limits

	evictedCgroups, evictedContainers uint64
	misses                            map[string]uint64
}

func newTable(limits Limits) *table {
	return &table{
		cgroups: map[uint64]*cgroup{},
		pending: map[uint64]*cgroup{},
		records: map[string]*record{},
		tombs:   map[uint64]int64{},
		misses:  map[string]uint64{},
		limits:  limits,
	}
}

func (t *table) find(id uint64) *cgroup { return t.index.find(id) }

// add enters a cgroup and reports whether a runtime should be asked about it.
func (t *table) add(id uint64, path string, made, now int64) (ask bool) {
	path = cleanPath(path)
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.cgroups[id]; old != nil {
		if old.path == path {
			old.made = max(old.made, made)
			return false
		}
		t.drop(old)
	}
	n := t.tree.at(path)
	if old := n.live(); old != nil {
		t.end(old, cmp.Or(made, now)) // its removal was lost
	}
	rec := n.claimant(made, t.tombs[id])
	if !t.admit(path, rec) {
		n.prune()
		t.evictedCgroups++
		return false
	}
	n = t.tree.at(path) // making room may have pruned it
	c := &cgroup{id: id, path: path, node: n, made: made, deadline: now + int64(t.limits.Patience)}
	n.cgroups = append(n.cgroups, c)
	t.cgroups[id] = c
	if at, ok := t.tombs[id]; ok {
		delete(t.tombs, id)
		t.end(c, at)
	}
	if ask = t.settle(c, rec); ask {
		c.next = now + lease
	}
	t.index.add(c)
	return ask
}

// lease is how long one look-up has before the cgroup is asked about again.
const lease = int64(500 * time.Millisecond)

// cleanPath makes a path absolute, as the kernel and the runtimes write it.
func cleanPath(path string) string {
	path = strings.TrimRight(path, "/")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

// admit makes room for a cgroup. No container may fill the table with cgroups of its own making.
func (t *table) admit(path string, rec *record) bool {
	if rec != nil && !slices.Contains(rec.paths, path) && rec.nested >= max(t.limits.Cgroups/10, 1) {
		return false
	}
	for len(t.cgroups) >= t.limits.Cgroups {
		if len(t.dead) == 0 {
			return false
		}
		if t.dropOldest() {
			t.evictedCgroups++
		}
	}
	return true
}

// dropOldest drops the cgroup that died first, unless that has been done.
func (t *table) dropOldest() bool {
	c := t.dead[0]
	t.dead[0] = nil
	t.dead = t.dead[1:]
	if c.node == nil {
		return false
	}
	t.drop(c)
	return true
}

// settle publishes what a cgroup is, given the record that claims it, and reports whether to ask the runtimes.
func (t *table) settle(c *cgroup, rec *record) (ask bool) {
	if rec != nil {
		t.bind(c, rec)
		return false
	}
	if old := c.view.Load(); old != nil && old.state == Known {
		return false
	}
	if t.waitsAbove(c) {
		t.hold(c)
		return false
	}
	candidate := ParseCandidate(c.path)
	if candidate.ID == "" && (t.synced || isHostPath(c.path)) {
		t.host(c)
		return false
	}
	t.hold(c)
	return candidate.ID != ""
}

// hold keeps a cgroup's series back.
func (t *table) hold(c *cgroup) {
	if c.view.Load() == nil {
		c.view.Store(&view{state: Pending})
	}
	t.pending[c.id] = c
}

// host decides that a cgroup is not a container's, until a runtime claims it after all.
func (t *table) host(c *cgroup) {
	delete(t.pending, c.id)
	c.view.Store(&view{state: Known, workload: event.Workload{Unit: Unit(c.path)}})
}

// bind decides that a cgroup is a container's.
func (t *table) bind(c *cgroup, rec *record) {
	delete(t.pending, c.id)
	own := slices.Contains(rec.paths, c.path)
	if c.record != rec || c.nested == own {
		t.unbind(c)
		c.record, c.nested = rec, !own
		rec.count(c, 1)
	}
	if own && rec.container.CgroupID != c.id && (c.removed == 0 || rec.container.CgroupID == 0) {
		container := *rec.container
		container.CgroupID = c.id
		rec.container = &container
	}
	if old := c.view.Load(); old == nil || old.container != rec.container {
		c.view.Store(&view{state: Known, container: rec.container, workload: rec.container.Workload})
	}
}

func (t *table) unbind(c *cgroup) {
	if c.record != nil {
		c.record.count(c, -1)
		c.record = nil
	}
}

// count enters a cgroup into the record's numbers, or takes it out.
func (rec *record) count(c *cgroup, n int) {
	if c.removed != 0 {
		rec.gone = max(rec.gone, c.removed)
		return
	}
	rec.live += n
	if c.nested {
		rec.nested += n
	}
}

// waitsAbove reports whether a cgroup above may yet turn out to be the container this one lies in.
func (t *table) waitsAbove(c *cgroup) bool {
	strict := ParseCandidate(c.path).Strict
	for n := c.node.parent; n != nil; n = n.parent {
		upper := n.live()
		if upper == nil || t.pending[upper.id] == nil {
			continue
		}
		if above := ParseCandidate(upper.path); above.Strict || above.ID != "" && !strict {
			return true
		}
	}
	return false
}

// remove notes the end of a cgroup. It is still found for a while: its last events and scrape are yet to come.
func (t *table) remove(id uint64, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.cgroups[id]; c != nil {
		t.end(c, at)
	} else if len(t.tombs) < t.limits.Cgroups {
		t.tombs[id] = at
	}
}

func (t *table) end(c *cgroup, at int64) {
	if c.removed != 0 {
		return
	}
	rec := c.record
	if rec != nil {
		rec.count(c, -1)
	}
	c.removed = at
	t.dead = append(t.dead, c)
	if rec == nil {
		return
	}
	rec.count(c, 1)
	// Nobody reports the end of what only the state files told.
	if rec.live == 0 && rec.deleted == 0 && rec.sightings[0].from.rank == rankFiles {
		rec.deleted = at
	}
}

// drop forgets a cgroup.
func (t *table) drop(c *cgroup) {
	t.unbind(c)
	delete(t.cgroups, c.id)
	delete(t.pending, c.id)
	c.node.leave(c)
	c.node = nil
	t.index.remove(c)
}

// put enters what a runtime says of a container, as of the time it was asked, and completes the cgroups that waited.
func (t *table) put(from *source, f found, asOf int64) {
	f.clean()
	t.mu.Lock()
	defer t.mu.Unlock()
	key := f.key()
	rec := t.records[key]
	if rec != nil && (rec.deleted != 0 && rec.deleted < asOf || differentLife(rec, from, &f)) {
		t.retire(rec, cmp.Or(f.Created, asOf))
		rec = nil
	}
	if rec == nil {
		if !t.admitRecord() {
			t.evictedContainers++
			return
		}
		rec = &record{key: key}
		t.records[key] = rec
	}
	rec.see(sighting{from, asOf, f})
	for _, p := range rec.paths {
		t.tree.at(p).claim = rec
	}
	changed := t.publish(rec)
	t.complete(rec)
	if changed && rec.container.IsSandbox {
		t.tellPod(rec)
	}
}

// differentLife tells that a runtime has made a new container with a name it has used before.
func differentLife(rec *record, from *source, f *found) bool {
	i := slices.IndexFunc(rec.sightings, func(s sighting) bool { return s.from == from })
	return i >= 0 && f.Created != 0 && rec.sightings[i].Created != 0 && f.Created != rec.sightings[i].Created
}

// see adds a sighting to what was known.
func (rec *record) see(s sighting) {
	i := slices.IndexFunc(rec.sightings, func(old sighting) bool { return old.from == s.from })
	if i >= 0 {
		rec.sightings[i] = s
	} else {
		rec.sightings = append(rec.sightings, s)
	}
	slices.SortStableFunc(rec.sightings, func(a, b sighting) int { return cmp.Compare(a.from.rank, b.from.rank) })
	for _, p := range s.paths {
		if !slices.Contains(rec.paths, p) {
			rec.paths = append(rec.paths, p)
		}
	}
}

// merge takes what the most telling source says and completes it from the others.
func (rec *record) merge() event.Container {
	c := rec.sightings[0].Container
	for _, s := range rec.sightings[1:] {
		c.Image = cmp.Or(c.Image, s.Image)
		c.ImageID = cmp.Or(c.ImageID, s.ImageID)
		c.PodUID = cmp.Or(c.PodUID, s.PodUID)
		c.Sandbox = cmp.Or(c.Sandbox, s.Sandbox)
		c.Created = cmp.Or(c.Created, s.Created)
		c.IsSandbox = c.IsSandbox || s.IsSandbox
		c.IP = cmp.Or(c.IP, s.IP)
		if len(c.Labels) == 0 {
			c.Labels = s.Labels
		}
		if len(c.PodLabels) == 0 {
			c.PodLabels = s.PodLabels
		}
		takeGrant(&c, &s.Container)
	}
	return c
}

func sameContainer(a, b *event.Container) bool {
	return a.Workload == b.Workload && a.ID == b.ID && a.CgroupID == b.CgroupID && a.Runtime == b.Runtime &&
		a.Image == b.Image && a.ImageID == b.ImageID && a.PodUID == b.PodUID && a.Sandbox == b.Sandbox &&
		a.IsSandbox == b.IsSandbox && a.Created == b.Created && maps.Equal(a.Labels, b.Labels) && sameGrant(a, b)
}

// complete gives every cgroup at or below the record's paths its name, its own first: they say its cgroup id.
func (t *table) complete(rec *record) {
	for _, p := range rec.paths {
		for c := range t.tree.at(p).all() {
			if c.removed != 0 && c.record != nil && c.record != rec {
				continue // it died under another's name
			}
			if c.node.claimant(c.made, c.removed) == rec {
				t.bind(c, rec)
			}
		}
	}
}

// below reports whether path is dir or lies in it.
func below(path, dir string) bool {
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// lose notes that a source no longer knows a container.
func (t *table) lose(from *source, key string, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rec := t.records[key]; rec != nil {
		rec.lose(from, at)
	}
}

func (rec *record) lose(from *source, at int64) {
	i := slices.IndexFunc(rec.sightings, func(s sighting) bool { return s.from == from })
	if i < 0 || rec.deleted != 0 {
		return
	}
	others := slices.ContainsFunc(rec.sightings, func(s sighting) bool {
		return s.from != from && s.from.rank != rankFiles
	})
	if !others {
		rec.deleted = at // its sightings stay: they are its name
		return
	}
	rec.sightings = slices.Delete(rec.sightings, i, i+1)
}

// keep notes the end of all that a source said before asOf and did not say again in the full list of that time.
func (t *table) keep(from *source, listed map[string]bool, asOf int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, rec := range t.records {
		i := slices.IndexFunc(rec.sightings, func(s sighting) bool { return s.from == from })
		if i >= 0 && !listed[key] && rec.sightings[i].asOf < asOf {
			rec.lose(from, asOf)
		}
	}
}

// admitRecord makes room for a container.
func (t *table) admitRecord() bool {
	if len(t.records) < t.limits.Containers {
		return true
	}
	var oldest *record
	for _, rec := range t.records {
		if rec.live == 0 && (oldest == nil || rec.age() < oldest.age()) {
			oldest = rec
		}
	}
	if oldest != nil {
		t.forget(oldest)
		t.evictedContainers++
	}
	return oldest != nil
}

// age orders records for eviction: the deleted first, then the stopped, each the oldest first.
func (rec *record) age() int64 {
	if rec.deleted != 0 {
		return rec.deleted - 1<<62
	}
	return max(rec.created, rec.gone)
}

// retire ends a record whose key is used again. It is kept like any that has ended.
func (t *table) retire(rec *record, now int64) {
	if rec.deleted == 0 {
		rec.deleted = now
	}
	delete(t.records, rec.key)
	rec.key = fmt.Sprintf("%s until %d", rec.key, rec.deleted)
	t.records[rec.key] = rec
}

func (t *table) forget(rec *record) {
	if t.records[rec.key] == rec {
		delete(t.records, rec.key)
	}
	for _, p := range rec.paths {
		n := t.tree.at(p)
		if n.claim == rec {
			n.claim = nil
		}
		n.prune()
	}
}

// expire forgets what died longer ago than it is kept.
func (t *table) expire(now int64) {
	old := now - int64(t.limits.Keep)
	for len(t.dead) > 0 && t.dead[0].removed <= old {
		t.dropOldest()
	}
	for _, rec := range t.records {
		if rec.deleted != 0 && rec.deleted <= old && rec.live == 0 && rec.gone <= old {
			t.forget(rec)
		}
	}
	maps.DeleteFunc(t.tombs, func(_ uint64, at int64) bool { return at <= old })
}

// Reasons why a cgroup that looks like a container's was given to the host.
const (
	missUnclaimed = "unclaimed"  // every runtime answered, none knows it
	missNoRuntime = "no_runtime" // no runtime was there to answer
	missFailed    = "failed"     // a runtime did not answer
	missQueueFull = "queue_full" // too many were waiting
)

var missReasons = []string{missUnclaimed, missNoRuntime, missFailed, missQueueFull}

// sweep gives up what has waited too long and returns what is due to be asked about.
func (t *table) sweep(now int64, anyUp bool) (due []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.pending {
		switch {
		case now >= c.deadline:
			t.giveUp(c, anyUp)
		case t.settle(c, c.node.claimant(c.made, c.removed)) && c.next <= now:
			c.next = now + lease
			due = append(due, c.id)
		}
	}
	return due
}

func (t *table) giveUp(c *cgroup, anyUp bool) {
	if ParseCandidate(c.path).Strict {
		reason := missUnclaimed
		switch {
		case !anyUp:
			reason = missNoRuntime
		case c.asked == 0 && c.next != 0:
			reason = missQueueFull
		case c.failed:
			reason = missFailed
		}
		t.misses[reason]++
	}
	t.host(c)
}

// waiting returns the path of a cgroup that is still to be asked about, and how often that has been done.
func (t *table) waiting(id uint64) (path string, asked int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.pending[id]
	if c == nil {
		return "", 0, false
	}
	return c.path, c.asked, true
}

// asked notes that the runtimes were asked about a cgroup and have put what they know.
func (t *table) asked(id uint64, failed bool, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.pending[id]
	if c == nil {
		return
	}
	c.failed = failed
	c.next = now + int64(min(50*time.Millisecond<<min(c.asked, 5), time.Second))
	c.asked++
	// A plain name is nothing special: what containerd does not know is the host's. It knows a container before its
	// first process.
	if !failed && t.synced && !ParseCandidate(c.path).Strict {
		t.host(c)
	}
}

// containers returns those that run or died so lately that they are still kept.
func (t *table) containers(now int64) []*event.Container {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*event.Container, 0, len(t.records))
	for _, rec := range t.records {
		if rec.live > 0 || rec.gone != 0 && now-rec.gone < int64(t.limits.Keep) {
			list = append(list, rec.container)
		}
	}
	slices.SortFunc(list, func(a, b *event.Container) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.ID, b.ID))
	})
	return list
}

// groups lists the live control groups that are a workload's own.
func (t *table) groups() []event.Group {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []event.Group
	for _, c := range t.cgroups {
		v := c.view.Load()
		if c.removed != 0 || v.state != Known || c.nested {
			continue
		}
		if v.container == nil && (v.workload.Unit == "" || Unit(path.Dir(c.path)) != "") {
			continue
		}
		list = append(list, event.Group{Workload: v.workload, CgroupID: c.id, Path: c.path, Container: v.container})
	}
	return list
}

// at finds the workload of a path, upwards from it.
func (t *table) at(path string) (event.Workload, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := t.tree.find(path); n != nil; n = n.parent {
		if c := n.live(); c != nil {
			v := c.view.Load()
			return v.workload, v.state == Known
		}
	}
	return event.Workload{}, false
}

// maxLabelBytes bounds what is kept of a container's own labels.
const maxLabelBytes = 16 << 10

// clean bounds what came from outside.
func (f *found) clean() {
	for _, s := range []*string{&f.Namespace, &f.Pod, &f.Workload.Container, &f.ID, &f.Image, &f.ImageID, &f.PodUID, &f.Sandbox} {
		*s = label(*s)
	}
	for i, p := range f.paths {
		f.paths[i] = cleanPath(p)
	}
	f.paths = slices.DeleteFunc(f.paths, func(p string) bool { return p == "/" })
	boundGrant(&f.Container)
	for _, labels := range []map[string]string{f.Labels, f.PodLabels} {
		size := 0
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			if size += len(k) + len(labels[k]); size > maxLabelBytes {
				delete(labels, k)
			}
		}
	}
}

// missing returns the cgroups that lived before a walk began and were not found by it.
func (t *table) missing(start int64, walked map[uint64]string) []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []uint64
	for id, c := range t.cgroups {
		if _, ok := walked[id]; !ok && c.removed == 0 && c.made < start {
			list = append(list, id)
		}
	}
	return list
}

// setSynced lets paths that no runtime has claimed be the host's.
func (t *table) setSynced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.synced = true
}

// sweepDead forgets what died longer ago than it is kept.
func (t *table) sweepDead(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
}

// tableCounts are the numbers that the collector shows.
type tableCounts struct {
	cgroups, pending                  int
	evictedCgroups, evictedContainers uint64
	misses                            map[string]uint64
}

func (t *table) counts() tableCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tableCounts{
		cgroups: len(t.cgroups), pending: len(t.pending),
		evictedCgroups: t.evictedCgroups, evictedContainers: t.evictedContainers,
		misses: maps.Clone(t.misses),
	}
}
