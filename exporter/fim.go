package exporter

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/yagura-io/yagura/exporter/fim"
	"github.com/yagura-io/yagura/rules/event"
)

// A FIM collector watches files, counts their changes by watch set and by workload, and keeps the most recent ones to be looked at.
type FIM struct {
	o       FIMOptions
	sets    *fim.Sets
	watcher *fim.Watcher
	logging *rate.Limiter

	mu        sync.Mutex // guards what follows
	changes   map[changeKey]uint64
	workloads hitCounts[workloadChange]
	unlogged  uint64
	exemplars map[changeKey]*Exemplar
	recent    recentOnes[*fim.Change]
	number    uint64
	started   string // tells ids of this run from those of others

	total, byWorkload, files, drifted, age, scanned, took, unreconciled, unread, held, waiting, overlooked, marks, overflows, intact, lost, quiet *Family
}

type changeKey struct {
	watch    int
	kind     fim.Kind
	expected bool
}

type workloadChange struct {
	event.Workload
	watch int
	kind  fim.Kind
	actor string
}

// Bounds of what a FIM collector logs.
const (
	loggedPerSecond = 20 // unexpected changes, in the long run
	loggedAtOnce    = 1000
)

// FIMOptions say what is watched, and whom changes are told.
type FIMOptions struct {
	Off        bool
	Config     fim.Config
	Flags      *CommandLine
	Node       *Node
	Containers func() []*event.Container
	Container  func(cgroupID uint64) *event.Container
	Detect     func(ev *event.Event) // rules over changes
	Changed    func(path string)     // whoever else wants to know what of the host has changed; does not wait
	Redact     func(args []string) []string
	Log        *slog.Logger
}

// NewFIM returns the collector. Nothing is watched until Run. With zero options, or off, it only documents itself. The error says
// what is wrong with the configuration.
func NewFIM(o FIMOptions) (*FIM, error) {
	if o.Off {
		o.Config.Store = ""
	}
	f := &FIM{
		o: o, started: strconv.FormatInt(time.Now().Unix(), 16), logging: rate.NewLimiter(loggedPerSecond, loggedAtOnce),
		changes: map[changeKey]uint64{}, exemplars: map[changeKey]*Exemplar{},
		total: NewCounter("yagura_fim_changes_total",
			"Changes of watched files on the whole node, by whether a package, a maintenance window or an actor of the configuration accounts for them. An exemplar has the id of a change, which /api/yagura/fim shows.",
			"watch", "kind", "expected").Fixed(),
		byWorkload: NewCounter("yagura_workload_fim_changes_total",
			"Changes of watched files that the workload has made; there once it has happened. actor is package, maintenance, runtime, user or unknown.",
			"watch", "kind", "actor").PerWorkload().Rare(),
		files:        NewGauge("yagura_fim_files", "Watched files, directories and links of the host and of containers.", "watch").Fixed(),
		drifted:      NewGauge("yagura_fim_drifted_files", "Watched files that are not as the baseline says; yagura fim accept makes them the baseline.", "watch").Fixed(),
		age:          NewGauge("yagura_fim_baseline_age_seconds", "Time since the host's baseline was completed. Absent until then.").Fixed(),
		scanned:      NewGauge("yagura_fim_last_scan_timestamp_seconds", "When the last scan of all of the host's watched files ended. Absent until then.").Fixed(),
		took:         NewGauge("yagura_fim_scan_duration_seconds", "How long that scan took.").Fixed(),
		unreconciled: NewGauge("yagura_fim_unreconciled_events", "Losses of witnesses after which not all that they may be about was looked at yet.").Fixed(),
		unread:       NewGauge("yagura_fim_unread_files", "Watched files and directories that the last scans could not read, or not all of. Files larger than fim.scan.max_file_size are not among them.").Fixed(),
		held:         NewGauge("yagura_fim_held_changes", "Changes that are told once the package manager that is at work has ended: only then can they be told from others.").Fixed(),
		waiting:      NewGauge("yagura_fim_waiting_paths", "Paths that wait to be looked at, and directories that wait to be gone through.").Fixed(),
		overlooked:   NewCounter("yagura_fim_overlooked_total", "Paths that were too many to wait: their directories were gone through instead.").Fixed(),
		marks:        NewGauge("yagura_fim_marked_directories", "Directories, and files by themselves, of which fanotify tells.").Fixed(),
		overflows:    NewCounter("yagura_fim_overflows_total", "Times that fanotify lost events: what they may have been about was gone through.").Fixed(),
		intact:       NewGauge("yagura_fim_baseline_intact", "1 if the baseline is as it was written; 0 if somebody has changed it or it cannot be read, and nothing is watched.").Fixed(),
		lost:         NewCounter("yagura_fim_workloads_lost_total", "Changes that are not counted by workload, as too many have made some.").Fixed(),
		quiet:        NewCounter("yagura_fim_unlogged_total", "Unexpected changes that were not logged, as they came too fast.").Fixed(),
	}
	var err error
	if o.Config.Store == "" {
		f.sets, err = fim.NewSets(fim.Config{}, nil)
		return f, err
	}
	if f.sets, err = fim.NewSets(o.Config, fim.Resolver(o.Flags.Rootfs)); err != nil {
		return nil, err
	}
	f.watcher = fim.NewWatcher(fim.Options{Config: o.Config, Sets: f.sets, Root: o.Flags.Rootfs, Procfs: o.Flags.Procfs,
		Containers: f.running, Container: o.Container, Process: o.Node.Table.FindLate, Lost: f.eventsLost, Behind: o.Node.Agent.Behind,
		Tell: f.Tell, Redact: f.redactLine, Log: o.Log.With("part", "fim")})
	f.watcher.Prepare() // which needs privileges that are given up later
	return f, nil
}

// redactLine takes secrets out of a line, which may be a command.
func (f *FIM) redactLine(line string) string { return f.o.Redact([]string{line})[0] }

// NoFIM returns a collector that watches nothing, and only documents itself.
func NoFIM() *FIM {
	f, err := NewFIM(FIMOptions{Off: true})
	if err != nil {
		panic(err) // there is no configuration that could be wrong
	}
	return f
}

// Entry returns the collector's row in the list of collectors.
func (f *FIM) Entry() Entry {
	return Entry{
		Name: "fim", Help: "Integrity of files: what has changed, who did it, and whether that was expected. Off, nothing is watched.", Default: true,
		Collector: f, Families: f.families(),
	}
}

func (f *FIM) families() []*Family {
	return []*Family{f.total, f.byWorkload, f.files, f.drifted, f.age, f.scanned, f.took, f.unreconciled, f.unread, f.held, f.waiting, f.overlooked,
		f.marks, f.overflows, f.intact, f.lost, f.quiet}
}

// Observe takes note of an event of the kernel, in the goroutine that has it.
func (f *FIM) Observe(ev *event.Event) {
	if f.watcher != nil {
		f.watcher.Observe(ev)
	}
}

// Interest returns a function that sends what others want of the kernel, and what the watching of files needs.
func (f *FIM) Interest(send func(event.Interest) error) func(event.Interest) error {
	return func(others event.Interest) error {
		if f.watcher == nil {
			return send(others)
		}
		return send(others.Merge(f.watcher.Interest()))
	}
}

// Reload says that what is watched is read at the start only.
func (f *FIM) Reload(c fim.Config) {
	if f.watcher != nil && !reflect.DeepEqual(c, f.o.Config) {
		f.o.Log.Warn("fim is as it was until Yagura is started anew: its configuration is read at the start only")
	}
}

// Report says by what files are watched here, for `yagura doctor`.
func (f *FIM) Report() []string {
	if f.watcher == nil {
		return []string{"not watched: the collector fim is off, or fim.store is empty"}
	}
	return f.watcher.Report()
}

// Run watches until ctx is done.
func (f *FIM) Run(ctx context.Context) error {
	if f.watcher == nil {
		<-ctx.Done()
		return nil
	}
	return f.watcher.Run(ctx)
}

// running are the containers that run, with a process of each.
func (f *FIM) running() []fim.Running {
	processes := map[uint64]event.ID{}
	for _, p := range f.o.Node.Table.Processes() {
		if known, ok := processes[p.CgroupID]; !ok || p.Start < known.Start {
			processes[p.CgroupID] = p.ID()
		}
	}
	var all []fim.Running
	for _, c := range f.o.Containers() {
		if id, ok := processes[c.CgroupID]; ok && c.CgroupID != 0 && !c.IsSandbox {
			all = append(all, fim.Running{Container: c, Process: id})
		}
	}
	return all
}

func (f *FIM) eventsLost() (n uint64) {
	if err := f.o.Node.Agent.LostEvents(func(_ event.Kind, lost uint64) { n += lost }); err != nil {
		return 0 // nothing is attached, so nothing can be lost
	}
	return n
}

// Tell counts a change, keeps it, logs it unless it was expected, and has rules look at it.
func (f *FIM) Tell(c *fim.Change) {
	f.keep(c)
	f.log(c)
	if f.o.Detect != nil {
		f.o.Detect(c.Event(f.sets))
	}
	f.pass(c)
}

// pass tells which files of the host have changed.
func (f *FIM) pass(c *fim.Change) {
	if f.o.Changed == nil || c.Path.Container != "" {
		return
	}
	f.o.Changed(c.Path.Name)
	if c.From != "" {
		f.o.Changed(c.From)
	}
}

func (f *FIM) log(c *fim.Change) {
	level := slog.LevelWarn
	if c.Expected {
		level = slog.LevelDebug
	} else if !f.logging.Allow() {
		f.mu.Lock()
		f.unlogged++
		f.mu.Unlock()
		return
	}
	if f.o.Log == nil || !f.o.Log.Enabled(context.Background(), level) {
		return
	}
	row := f.row(c, event.Workload{})
	what := []any{"id", c.ID, "path", c.Path.Name, "kinds", strings.Join(row.Kinds, ","), "watches", strings.Join(row.Watches, ","),
		"severity", row.Severity, "actor", c.By, "why", c.Why}
	add := func(key, value string) {
		if value != "" {
			what = append(what, key, value)
		}
	}
	add("path_bytes", base64.StdEncoding.EncodeToString(row.PathBytes))
	add("from", c.From)
	add("from_bytes", base64.StdEncoding.EncodeToString(row.FromBytes))
	add("container", c.Path.Container)
	add("before", row.Before.summary())
	add("after", row.After.summary())
	if p := row.Process; p != nil {
		what = append(what, "pid", p.PID, "exe", p.Exe, "uid", p.UID)
		add("command", strings.Join(p.Command, " "))
		add("ancestors", strings.Join(p.Ancestors, " < "))
		if p.LoginUID != nil {
			what = append(what, "login_uid", *p.LoginUID)
		}
	}
	f.o.Log.Log(context.Background(), level, "a watched file has changed", what...)
}

// summary is a file in one line of a log; empty of none.
func (r *fileRow) summary() string {
	if r == nil {
		return ""
	}
	text := fmt.Sprintf("%s %s %d:%d %d bytes", r.Type, r.Mode, r.UID, r.GID, r.Size)
	if r.Target != "" {
		text += " to " + r.Target
	}
	if r.SHA256 != "" {
		text += " sha256:" + r.SHA256
	}
	return text
}

func (f *FIM) keep(c *fim.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number++
	c.ID = f.started + "-" + strconv.FormatUint(f.number, 16)
	exemplar := &Exemplar{Labels: map[string]string{"event_id": c.ID}, Value: 1, Time: c.Time}
	w := workloadOf(c)
	for watch := range c.Watches.All() {
		for kind := range fim.Kinds {
			if !c.Kinds.Has(fim.Kind(kind)) {
				continue
			}
			key := changeKey{watch, fim.Kind(kind), c.Expected}
			f.changes[key]++
			f.exemplars[key] = exemplar
			if n := f.workloads.count(workloadChange{w, watch, fim.Kind(kind), c.By}); n != nil {
				n.exemplar = exemplar
			}
		}
	}
	f.recent.keep(c)
}

// workloadOf is whose doing a change is; if nobody is known to have made it, whose file it is.
func workloadOf(c *fim.Change) event.Workload {
	switch {
	case c.Actor != nil:
		return c.Actor.Workload
	case c.In != nil:
		return c.In.Workload
	}
	return event.Workload{}
}

// Update sends all families. Every watch set, kind and verdict is there from the start.
func (f *FIM) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	if f.watcher == nil {
		return ErrNoData
	}
	for _, family := range f.families() {
		family.Begin()
	}
	f.sendStats()
	f.mu.Lock()
	f.sendChanges()
	f.mu.Unlock()
	for _, family := range f.families() {
		family.Send(ch)
	}
	return nil
}

func (f *FIM) sendChanges() {
	var host event.Workload
	for watch := range f.sets.Len() {
		set := f.sets.Set(watch)
		for kind, name := range fim.Kinds {
			if !set.Kinds.Has(fim.Kind(kind)) {
				continue
			}
			for _, expected := range []bool{false, true} {
				key, labels := changeKey{watch, fim.Kind(kind), expected}, []string{set.Name, name, strconv.FormatBool(expected)}
				f.total.Set(host, float64(f.changes[key]), labels...)
				if e := f.exemplars[key]; e != nil {
					f.total.Exemplify(host, *e, labels...)
				}
			}
		}
	}
	for key, n := range f.workloads.shown() {
		labels := []string{f.sets.Set(key.watch).Name, fim.Kinds[key.kind], key.actor}
		f.byWorkload.Set(key.Workload, float64(n.n), labels...)
		f.byWorkload.Exemplify(key.Workload, *n.exemplar, labels...)
	}
	f.lost.Set(host, float64(f.workloads.beyond))
	f.quiet.Set(host, float64(f.unlogged))
}

func (f *FIM) sendStats() {
	var host event.Workload
	s := f.watcher.Stats()
	if !s.Baseline.IsZero() {
		f.age.Set(host, time.Since(s.Baseline).Seconds())
		for i := range f.sets.Len() {
			f.files.Set(host, float64(s.Files[i]), f.sets.Set(i).Name)
		}
		for i, n := range s.Drifted {
			f.drifted.Set(host, float64(n), f.sets.Set(i).Name)
		}
	}
	if !s.Scanned.IsZero() {
		f.scanned.Set(host, float64(s.Scanned.UnixMilli())/1000)
		f.took.Set(host, s.ScanTook.Seconds())
		f.unread.Set(host, float64(s.Unread))
	}
	f.unreconciled.Set(host, float64(s.Unreconciled))
	f.held.Set(host, float64(s.Held))
	f.waiting.Set(host, float64(s.Waiting))
	f.overlooked.Set(host, float64(s.Overlooked))
	f.marks.Set(host, float64(s.Fanotify.Marks))
	f.overflows.Set(host, float64(s.Fanotify.Overflows))
	f.intact.Set(host, oneIf(s.Intact))
}

// A changeRow is a change as /api/yagura/fim shows it.
type changeRow struct {
	ID         string            `json:"id"`
	Time       time.Time         `json:"time"`
	Path       string            `json:"path"`
	PathBytes  []byte            `json:"path_bytes,omitempty"` // where JSON cannot have the name, which is no UTF-8
	From       string            `json:"from,omitempty"`
	FromBytes  []byte            `json:"from_bytes,omitempty"`
	Container  string            `json:"path_container,omitempty"`
	Kinds      []string          `json:"kinds"`
	Watches    []string          `json:"watches"`
	Severity   string            `json:"severity"`
	Actor      string            `json:"actor"`
	Expected   bool              `json:"expected"`
	Why        string            `json:"why"`
	Workload   map[string]string `json:"workload"`
	Process    *changeProcess    `json:"process,omitempty"`
	Confidence string            `json:"confidence"`
	Before     *fileRow          `json:"before,omitempty"`
	After      *fileRow          `json:"after,omitempty"`
	Diff       string            `json:"diff,omitempty"`
}

type changeProcess struct {
	PID       uint32   `json:"pid"`
	Exe       string   `json:"exe"`
	Name      string   `json:"name"`
	Command   []string `json:"command"`
	UID       uint32   `json:"uid"`
	EUID      uint32   `json:"euid"`
	LoginUID  *uint32  `json:"login_uid,omitempty"`
	Ancestors []string `json:"ancestors"`
}

// A fileRow is what was so of a file.
type fileRow struct {
	Type     string    `json:"type"`
	Mode     string    `json:"mode"` // octal, with setuid, setgid and sticky
	UID      uint32    `json:"uid"`
	GID      uint32    `json:"gid"`
	Size     int64     `json:"size"`
	Inode    uint64    `json:"inode"`
	Modified time.Time `json:"modified"`
	Links    uint32    `json:"links"`
	Flags    []string  `json:"flags,omitempty"`  // immutable, append_only
	Xattrs   []string  `json:"xattrs,omitempty"` // names of extended attributes, ACLs and capabilities among them
	Target   string    `json:"target,omitempty"`
	SHA256   string    `json:"sha256,omitempty"`
	Unread   string    `json:"unreadable,omitempty"`
}

var changeFilters = []string{"id", "watch", "kind", "actor", "expected", "path"}

// Changes serves the changes that were kept, the latest first: /api/yagura/fim.
func (f *FIM) Changes() http.Handler {
	return FilteredRows(changeFilters, func(w http.ResponseWriter, q Query) { ServeRows(w, q, f.rows(q)) })
}

func (f *FIM) rows(q Query) []*changeRow {
	f.mu.Lock()
	recent := f.recent.latest()
	f.mu.Unlock()
	rows := []*changeRow{}
	for _, c := range recent {
		w := workloadOf(c)
		if !q.Wants(w, c.Time) {
			continue
		}
		if row := f.row(c, w); row.wanted(q) {
			rows = append(rows, row)
		}
	}
	return rows
}

func (f *FIM) row(c *fim.Change, w event.Workload) *changeRow {
	row := &changeRow{ID: c.ID, Time: c.Time.UTC(), Path: c.Path.Name, PathBytes: bytesOf(c.Path.Name), From: c.From, FromBytes: bytesOf(c.From), Container: c.Path.Container,
		Kinds: c.Kinds.Names(), Watches: f.sets.Names(c.Watches), Severity: c.Severity.String(),
		Actor: c.By, Expected: c.Expected, Why: c.Why, Workload: labelsOf(w), Confidence: c.Confidence.String(), Before: fileRowOf(c.Before), After: fileRowOf(c.After), Diff: c.Diff}
	if a := c.Actor; a != nil {
		row.Process = &changeProcess{PID: a.PID, Exe: a.Exe, Name: a.Comm, Command: f.o.Redact(a.Args), UID: a.UID, EUID: a.EUID}
		if nobody := ^uint32(0); a.LoginUID != nobody {
			row.Process.LoginUID = &a.LoginUID
		}
		for _, above := range a.Ancestors {
			row.Process.Ancestors = append(row.Process.Ancestors, above.Exe)
		}
	}
	return row
}

// bytesOf is a name that is no UTF-8, and nothing for others.
func bytesOf(name string) []byte {
	if utf8.ValidString(name) {
		return nil
	}
	return []byte(name)
}

func (r *changeRow) wanted(q Query) bool {
	watch, byWatch := q.Filters["watch"]
	kind, byKind := q.Filters["kind"]
	return q.has("id", r.ID) && q.has("actor", r.Actor) && q.has("expected", strconv.FormatBool(r.Expected)) && q.has("path", r.Path) &&
		(!byWatch || slices.Contains(r.Watches, watch)) && (!byKind || slices.Contains(r.Kinds, kind))
}

func fileRowOf(r *fim.Record) *fileRow {
	if r == nil {
		return nil
	}
	row := &fileRow{Type: r.TypeName(), Mode: r.Octal(), UID: r.UID, GID: r.GID, Size: r.Size, Inode: r.Inode, Links: r.Links,
		Modified: time.Unix(0, r.Modified).UTC(), Target: r.Target, Unread: r.Unreadable, Xattrs: slices.Sorted(maps.Keys(r.Attributes))}
	for bit, name := range map[uint32]string{unix.STATX_ATTR_IMMUTABLE: "immutable", unix.STATX_ATTR_APPEND: "append_only"} {
		if r.Flags&bit != 0 {
			row.Flags = append(row.Flags, name)
		}
	}
	slices.Sort(row.Flags)
	if r.Summed {
		row.SHA256 = hex.EncodeToString(r.Sum[:])
	}
	return row
}
