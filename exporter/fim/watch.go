package fim

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for images that have none

	"github.com/alecthomas/units"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Config says what is watched, how it is scanned, and which changes are expected.
type Config struct {
	Defaults    bool                `yaml:"defaults"` // the sets and actors that Yagura ships; a configured one replaces that of its name
	Without     []string            `yaml:"without"`  // names of shipped sets that are left out
	Watches     []WatchConfig       `yaml:"watches"`
	Scan        ScanConfig          `yaml:"scan"`
	Maintenance []MaintenanceConfig `yaml:"maintenance"` // when changes are expected
	Actors      []ActorConfig       `yaml:"actors"`      // whose changes are expected
	Store       string              `yaml:"store"`       // the file of the baseline; empty: nothing is watched
	Key         string              `yaml:"key"`         // the file of its key; empty: that of the baseline with .key behind it
}

// A WatchConfig is a watch set. Paths, and the globs of include and exclude that have a slash, mean what they match and all
// that is below it; in globs * and ? match any byte but a slash, [a-z] one of a class, and ** any number of directories.
// Globs without a slash are held against the names of files: of an excluded directory all that is below is excluded, too.
type WatchConfig struct {
	Name       string           `yaml:"name"`       // the label `watch` of series
	Doc        string           `yaml:"doc"`        // one sentence
	Paths      []string         `yaml:"paths"`      // absolute paths, or globs that begin with / or **/
	Include    []string         `yaml:"include"`    // only what one of these matches; empty for all
	Exclude    []string         `yaml:"exclude"`    // but not what one of these matches
	Recursive  *bool            `yaml:"recursive"`  // false: only what paths match and what is directly in it
	Rest       bool             `yaml:"rest"`       // only what no other set has, or excludes
	Of         string           `yaml:"of"`         // whose files: host, containers or both; empty for host
	Kinds      []string         `yaml:"kinds"`      // changes that count; empty for all
	Attributes []string         `yaml:"attributes"` // what is looked at; empty for everything
	Content    string           `yaml:"content"`    // changes of content that count: any, shorter or emptied; empty for any
	Severity   string           `yaml:"severity"`   // of changes that are not expected, as priorities of rules; empty for warning
	Diff       bool             `yaml:"diff"`       // keep small texts, to show what has changed in them
	MaxSize    units.Base2Bytes `yaml:"max_size"`   // larger files are not read; 0B for scan.max_file_size
}

// ScanConfig says when all files are looked at, and how much at a time.
type ScanConfig struct {
	Interval    time.Duration    `yaml:"interval"`      // between scans; 0s for none but the first and those that are needed
	RateFiles   int              `yaml:"rate_files"`    // looked at in a second; 0 for no limit
	RateBytes   units.Base2Bytes `yaml:"rate_bytes"`    // read in a second; 0B for no limit
	MaxFileSize units.Base2Bytes `yaml:"max_file_size"` // larger files are not read: their size and times stand for their content
	AtStart     bool             `yaml:"at_start"`      // scan when Yagura starts
}

// MaintenanceConfig is a time of the day in which changes are expected. It is told by the clock on the wall, so that an hour
// which comes twice when daylight saving ends counts twice; a window that begins in the hour left out when it begins is as
// long as ever after that hour.
type MaintenanceConfig struct {
	Name     string   `yaml:"name"`
	Days     []string `yaml:"days"`     // on which it begins: mon, tue, …; empty for every day
	From     string   `yaml:"from"`     // "22:00"
	To       string   `yaml:"to"`       // "04:00", of the next day if that is not later; "24:00" is the end of the day
	Timezone string   `yaml:"timezone"` // such as Europe/Berlin, or Local; empty for UTC
	Watches  []string `yaml:"watches"`  // names of sets; empty for all
}

// An ActorConfig is who makes changes that are expected: a process of one of these programs, or of one of these users. If
// both are given both must be so. It runs on the host, unless it says otherwise: a container's files have any name that its
// image wants.
type ActorConfig struct {
	Name    string   `yaml:"name"`
	Exe     []string `yaml:"exe"`     // paths, or globs as in a watch set, of which all is matched
	Users   []string `yaml:"users"`   // names or numbers
	Of      string   `yaml:"of"`      // where it runs: host, containers or both; empty for host
	Watches []string `yaml:"watches"` // names of sets; empty for all
}

// DefaultConfig watches the shipped sets, and looks at all files four times a day.
var DefaultConfig = Config{
	Defaults: true,
	Scan: ScanConfig{
		Interval:    6 * time.Hour,
		RateFiles:   2000,
		RateBytes:   32 << 20,
		MaxFileSize: 1 << 30,
		AtStart:     true,
	},
	Store: "/var/lib/yagura/fim.db",
}

// Bounds of the configuration.
const (
	maxWatches     = 64 // bits of Watches
	maxActors      = 64
	maxMaintenance = 100
	maxListed      = 1000 // paths and globs of one list
	maxRateFiles   = 1_000_000
	minInterval    = time.Minute
)

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$`)

const wantName = "want 1 to 64 letters, digits, _ and -, which do not begin it"

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Store != "" && !path.IsAbs(c.Store) {
		return fmt.Errorf("fim.store: %q: want an absolute path", c.Store)
	}
	if c.Key != "" && !path.IsAbs(c.Key) {
		return fmt.Errorf("fim.key: %q: want an absolute path", c.Key)
	}
	if err := c.Scan.validate(); err != nil {
		return fmt.Errorf("fim.scan.%w", err)
	}
	_, err := NewSets(c, nil)
	return err
}

func (c ScanConfig) validate() error {
	switch {
	case c.Interval != 0 && c.Interval < minInterval:
		return fmt.Errorf("interval: %s: want 0s, or %s and more", c.Interval, minInterval)
	case c.RateFiles < 0 || c.RateFiles > maxRateFiles:
		return fmt.Errorf("rate_files: %d: want 0 to %d", c.RateFiles, maxRateFiles)
	case c.RateBytes < 0:
		return fmt.Errorf("rate_bytes: %s: want 0B or more", c.RateBytes)
	case c.MaxFileSize <= 0:
		return fmt.Errorf("max_file_size: %s: want more than 0B", c.MaxFileSize)
	}
	return nil
}

// all are the shipped and the configured sets.
func (c Config) all() ([]WatchConfig, error) {
	var all []WatchConfig
	if c.Defaults {
		all = Shipped()
	}
	for _, name := range c.Without {
		if !slices.ContainsFunc(all, func(w WatchConfig) bool { return w.Name == name }) {
			return nil, fmt.Errorf("fim.without: %q: want the name of a shipped set", name)
		}
	}
	all = slices.DeleteFunc(all, func(w WatchConfig) bool { return slices.Contains(c.Without, w.Name) })
	shipped := len(all)
	for i, w := range c.Watches {
		same := slices.IndexFunc(all, func(known WatchConfig) bool { return known.Name == w.Name })
		switch {
		case !validName.MatchString(w.Name):
			return nil, fmt.Errorf("fim.watches: entry %d: name: %q: %s", i+1, w.Name, wantName)
		case same >= shipped:
			return nil, fmt.Errorf("fim.watches.%s: there are two of this name: want one", w.Name)
		case same >= 0:
			all[same] = w
		default:
			all = append(all, w)
		}
	}
	if len(all) > maxWatches {
		return nil, fmt.Errorf("fim.watches: %d sets, %d of them shipped: want at most %d", len(all), shipped, maxWatches)
	}
	return all, nil
}

// Watches is a set of watch sets: a bit for each, by its index.
type Watches uint64

// Has says whether the set of that index is among them.
func (w Watches) Has(i int) bool { return w&(1<<i) != 0 }

// All are the indices, in ascending order.
func (w Watches) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for left := uint64(w); left != 0; left &= left - 1 {
			if !yield(bits.TrailingZeros64(left)) {
				return
			}
		}
	}
}

// KindSet is a set of kinds of change.
type KindSet uint16

// Has says whether a kind is among them.
func (k KindSet) Has(kind Kind) bool { return k&(1<<kind) != 0 }

// Names are those of the kinds, in their order.
func (k KindSet) Names() []string {
	names := []string{}
	for kind, name := range Kinds {
		if k.Has(Kind(kind)) {
			names = append(names, name)
		}
	}
	return names
}

// A Watch is a watch set as it is used.
type Watch struct {
	Name, Doc        string
	Host, Containers bool // whose files
	Kinds            KindSet
	Attributes       Attribute
	Severity         event.Priority // of changes that are not expected
	Diff             bool           // texts may be kept, to show what has changed in them
	MaxSize          int64          // bytes: larger files are not read
	content          contentRule
}

type contentRule uint8

const (
	anyContent contentRule = iota
	shorterContent
	emptiedContent
)

var contentRules = [...]string{"any", "shorter", "emptied"}

// ReadsContent says whether files must be read to know whether a change of them counts.
func (w *Watch) ReadsContent() bool { return w.Attributes&Content != 0 && w.content == anyContent }

// ContentCounts says whether other content, or another type of file, is a change to the set. Files that may grow need no
// sums for that.
func (w *Watch) ContentCounts(before, after *Record) bool {
	switch {
	case w.Attributes&Content == 0:
		return false
	case w.content == anyContent || before.Mode.Type() != after.Mode.Type():
		return true
	case w.content == shorterContent:
		return after.Size < before.Size
	}
	return after.Size == 0 && before.Size > 0
}

// Sets are all watch sets, with when and by whom their changes are expected. They never change, and may be used by many at
// once.
type Sets struct {
	watches                []Watch
	host, containers       matcher
	names                  []nameGlobs // by set
	named, including, rest Watches     // sets with globs of names to exclude, with any to include, and for the rest only
	windows                []window
	actors                 []actor
}

// A matcher is where files are, of the host or of containers, by the names in their paths. Most files are of no set, and need
// no look at what sets include and exclude.
type matcher struct {
	paths   tree
	filters tree // what sets include and exclude
	exes    tree // marked by actor
}

// nameGlobs are those without a slash.
type nameGlobs struct{ include, exclude []glob }

// NewSets compiles the sets of a configuration. The kernel names files by where they really are, so that paths of the host
// which lead through symbolic links must be followed: resolve says where a path without globs leads, or is nil to follow
// nothing. Resolver makes one. Errors name the field, its value, and what is expected.
func NewSets(c Config, resolve func(path string) string) (*Sets, error) {
	all, err := c.all()
	if err != nil {
		return nil, err
	}
	if resolve == nil {
		resolve = func(path string) string { return path }
	}
	s := &Sets{watches: make([]Watch, len(all)), names: make([]nameGlobs, len(all))}
	for i, w := range all {
		if err := s.addWatch(i, w, c.Scan, resolve); err != nil {
			return nil, fmt.Errorf("fim.watches.%s.%w", w.Name, err)
		}
	}
	if err := s.addMaintenance(c.Maintenance); err != nil {
		return nil, err
	}
	if err := s.addActors(c, resolve); err != nil {
		return nil, err
	}
	for _, at := range []*matcher{&s.host, &s.containers} {
		at.paths.roots = at.paths.topmost()
	}
	return s, nil
}

func (s *Sets) addWatch(i int, c WatchConfig, scan ScanConfig, resolve func(string) string) (err error) {
	w := &s.watches[i]
	*w = Watch{Name: c.Name, Doc: c.Doc, Diff: c.Diff, MaxSize: int64(cmp.Or(c.MaxSize, scan.MaxFileSize))}
	if w.Host, w.Containers, err = placesOf(c.Of); err != nil {
		return err
	}
	if w.Severity, err = event.PriorityNamed(cmp.Or(c.Severity, "warning")); err != nil {
		return fmt.Errorf("severity: %w", err)
	}
	if err := w.choose(c); err != nil {
		return err
	}
	if c.MaxSize < 0 {
		return fmt.Errorf("max_size: %s: want 0B or more", c.MaxSize)
	}
	if len(c.Paths) == 0 {
		return errors.New("paths: none given: want at least one")
	}
	if c.Rest {
		s.rest |= 1 << i
	}
	return s.addPaths(i, c, resolve)
}

func placesOf(of string) (host, containers bool, err error) {
	switch of {
	case "", "host":
		return true, false, nil
	case "containers":
		return false, true, nil
	case "both":
		return true, true, nil
	}
	return false, false, fmt.Errorf("of: %q: want host, containers or both", of)
}

// choose reads which changes count.
func (w *Watch) choose(c WatchConfig) error {
	kinds, err := bitsOf("kinds", c.Kinds, Kinds[:])
	if err != nil {
		return err
	}
	attributes, err := bitsOf("attributes", c.Attributes, Attributes[:])
	if err != nil {
		return err
	}
	w.Kinds, w.Attributes = KindSet(kinds), Attribute(attributes)
	rule := slices.Index(contentRules[:], cmp.Or(c.Content, contentRules[anyContent]))
	if rule < 0 {
		return fmt.Errorf("content: %q: want %s", c.Content, oneOf(contentRules[:]))
	}
	w.content = contentRule(rule)
	for i, name := range Attributes {
		if kind := ContentChanged + Kind(i); len(c.Kinds) > 0 && w.Kinds.Has(kind) && w.Attributes&(1<<i) == 0 {
			return fmt.Errorf("kinds: %q: want it among attributes, too, or these left out", name)
		}
	}
	return nil
}

// bitsOf has a bit for each name that is given, by its place among the known ones; for none given it has all.
func bitsOf(field string, given, known []string) (set uint16, err error) {
	if len(given) == 0 {
		return 1<<len(known) - 1, nil
	}
	for _, name := range given {
		i := slices.Index(known, name)
		if i < 0 {
			return 0, fmt.Errorf("%s: %q: want %s", field, name, oneOf(known))
		}
		set |= 1 << i
	}
	return set, nil
}

func oneOf(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func (s *Sets) addPaths(i int, c WatchConfig, resolve func(string) string) error {
	as := wholly
	if c.Recursive != nil && !*c.Recursive {
		as = flatly
	}
	w, set := &s.watches[i], Watches(1)<<i
	for _, list := range []struct {
		field string
		globs []string
		as    role
		names *[]glob
	}{
		{"paths", c.Paths, as, nil},
		{"include", c.Include, includes, &s.names[i].include},
		{"exclude", c.Exclude, excludes, &s.names[i].exclude},
	} {
		if len(list.globs) > maxListed {
			return fmt.Errorf("%s: %d given: want at most %d", list.field, len(list.globs), maxListed)
		}
		for _, text := range list.globs {
			var err error
			if list.names != nil && text != "" && !strings.Contains(text, "/") {
				err = appendName(list.names, text)
			} else {
				err = s.add(text, list.as, set, w.Host, w.Containers, resolve)
			}
			if err != nil {
				return fmt.Errorf("%s: %q: %w", list.field, text, err)
			}
		}
	}
	if len(c.Include) > 0 {
		s.including |= set
	}
	if len(s.names[i].exclude) > 0 {
		s.named |= set
	}
	for _, text := range c.Paths {
		if s.isExcluded(i, text) {
			return fmt.Errorf("exclude: %q of paths is excluded as a whole: want one of them left out", text)
		}
	}
	return nil
}

// isExcluded says whether a set excludes a path of its own, which is no glob.
func (s *Sets) isExcluded(i int, text string) bool {
	p, err := parsePattern(text)
	root, names := p.root()
	if err != nil || names < len(p) {
		return false
	}
	at := s.matcher(!s.watches[i].Host)
	var q search
	q.run(&at.paths, root)
	q.run(&at.filters, root)
	return (q.marks[excludes] | s.excludedByName(&q, 1<<i)).Has(i)
}

func appendName(names *[]glob, text string) error {
	g, err := parseGlob(text)
	*names = append(*names, g)
	return err
}

// add has a pattern looked for where it is meant. A path of the host that leads elsewhere is looked for there, too.
func (s *Sets) add(text string, as role, sets Watches, ofHost, ofContainers bool, resolve func(string) string) error {
	p, err := parsePattern(text)
	if err != nil {
		return err
	}
	if ofContainers {
		err = s.containers.tree(as).add(p, as, sets)
	}
	if !ofHost {
		return err
	}
	root, _ := p.root()
	if to := resolve(root); to != root && path.IsAbs(to) {
		err = cmp.Or(err, s.host.tree(as).add(p.under(to), as, sets))
	}
	return cmp.Or(err, s.host.tree(as).add(p, as, sets))
}

func (at *matcher) tree(as role) *tree {
	switch as {
	case includes, excludes:
		return &at.filters
	case exactly:
		return &at.exes
	}
	return &at.paths
}

// Len is how many sets there are.
func (s *Sets) Len() int { return len(s.watches) }

// Set is the set of an index below Len. It must not be changed.
func (s *Sets) Set(i int) *Watch { return &s.watches[i] }

// Names are those of some sets, in their order; of indices that are no set's there are none.
func (s *Sets) Names(of Watches) []string {
	names := []string{}
	for i := range of.All() {
		if i < len(s.watches) {
			names = append(names, s.watches[i].Name)
		}
	}
	return names
}

// asked are the attributes that the sets of a path ask for. Content that may grow, and has, is not asked for.
func (s *Sets) asked(p Path, before, after *Record) (of Attribute) {
	for i := range s.Match(p.Container != "", p.Name).All() {
		of |= s.watches[i].asked(before, after)
	}
	return of
}

func (w *Watch) asked(before, after *Record) Attribute {
	if before != nil && after != nil && !w.ContentCounts(before, after) {
		return w.Attributes &^ Content
	}
	return w.Attributes
}

func (s *Sets) matcher(container bool) *matcher {
	if container {
		return &s.containers
	}
	return &s.host
}

// Match says which sets a path is of, which is absolute and clean, of a container or of the host.
func (s *Sets) Match(container bool, path string) Watches {
	var q search
	at := s.matcher(container)
	q.run(&at.paths, path)
	named := q.marks[wholly] | q.marks[flatly]
	if named == 0 {
		return 0
	}
	q.run(&at.filters, path)
	for left := uint64(named & s.including &^ q.marks[includes]); left != 0; left &= left - 1 {
		if i := bits.TrailingZeros64(left); !anyMatch(s.names[i].include, path[strings.LastIndexByte(path, '/')+1:]) {
			named &^= 1 << i
		}
	}
	if others := named &^ s.rest; others != 0 {
		named = others
	}
	found := named &^ q.marks[excludes]
	return found &^ s.excludedByName(&q, found&s.named)
}

// excludedByName says which of some sets a path is not of, for what it is called or a directory of it is, from where the
// set begins.
func (s *Sets) excludedByName(q *search, of Watches) (excluded Watches) {
	for left := uint64(of); left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		for end := int(q.begin[i]) - 1; end >= 0 && end < len(q.path); {
			next := q.next(end)
			if anyMatch(s.names[i].exclude, q.path[end+1:next]) {
				excluded |= 1 << i
				break
			}
			end = next
		}
	}
	return excluded
}

func anyMatch(globs []glob, name string) bool {
	for i := range globs {
		if globs[i].mayMatch(name) && globs[i].match(name) {
			return true
		}
	}
	return false
}

// MayContain says whether something below a directory may be of a set: whether a walk needs to enter it.
func (s *Sets) MayContain(container bool, dir string) bool {
	var q search
	at := s.matcher(container)
	q.run(&at.paths, dir)
	if q.marks[wholly]|q.below == 0 {
		return false
	}
	q.run(&at.filters, dir)
	within := q.marks[wholly] &^ q.marks[excludes]
	within &^= s.excludedByName(&q, within&s.named)
	return within|q.below&^q.marks[excludes] != 0
}

// Roots are the paths below which all files of the sets are, none of them below another, sorted: where walks begin. They
// may be files, or links, or absent.
func (s *Sets) Roots(container bool) []string { return slices.Clone(s.matcher(container).paths.roots) }

// chosen are the sets of some names, all of them for none.
func (s *Sets) chosen(names []string) (sets Watches, err error) {
	if len(names) == 0 {
		return ^Watches(0), nil
	}
	for _, name := range names {
		i := slices.IndexFunc(s.watches, func(w Watch) bool { return w.Name == name })
		if i < 0 {
			return 0, fmt.Errorf("watches: %q: want the name of a watch set", name)
		}
		sets |= 1 << i
	}
	return sets, nil
}

// A window is a time of maintenance.
type window struct {
	name     string
	days     [7]bool // by time.Weekday: on which it begins
	from, to int     // minutes of the day
	zone     *time.Location
	watches  Watches
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (s *Sets) addMaintenance(all []MaintenanceConfig) error {
	if len(all) > maxMaintenance {
		return fmt.Errorf("fim.maintenance: %d windows: want at most %d", len(all), maxMaintenance)
	}
	for i, c := range all {
		if !validName.MatchString(c.Name) {
			return fmt.Errorf("fim.maintenance: entry %d: name: %q: %s", i+1, c.Name, wantName)
		}
		w, err := c.window()
		if err == nil {
			w.watches, err = s.chosen(c.Watches)
		}
		if err != nil {
			return fmt.Errorf("fim.maintenance.%s.%w", c.Name, err)
		}
		s.windows = append(s.windows, w)
	}
	return nil
}

func (c MaintenanceConfig) window() (w window, err error) {
	w.name = c.Name
	if w.zone, err = time.LoadLocation(c.Timezone); err != nil {
		return w, fmt.Errorf("timezone: %q: want a name of the time zone database, such as Europe/Berlin: %w", c.Timezone, err)
	}
	for i, day := range weekdays {
		w.days[i] = len(c.Days) == 0 || slices.Contains(c.Days, day)
	}
	for _, day := range c.Days {
		if !slices.Contains(weekdays, day) {
			return w, fmt.Errorf("days: %q: want %s", day, oneOf(weekdays))
		}
	}
	var ok bool
	if w.from, ok = minuteOf(c.From); !ok || w.from == minutesPerDay {
		return w, fmt.Errorf("from: %q: want a time such as \"22:00\"", c.From)
	}
	if w.to, ok = minuteOf(c.To); !ok {
		return w, fmt.Errorf("to: %q: want a time such as \"04:00\"", c.To)
	}
	if w.from == w.to {
		return w, fmt.Errorf("to: %q: want another time than from; a whole day is \"00:00\" to \"24:00\"", c.To)
	}
	return w, nil
}

const minutesPerDay = 24 * 60

// minuteOf reads a time of the day, of exactly five characters.
func minuteOf(text string) (minute int, ok bool) {
	if text == "24:00" {
		return minutesPerDay, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil && len(text) == len("15:04")
}

// InMaintenance says whether changes of a set are expected at a time, and in which window.
func (s *Sets) InMaintenance(t time.Time, watch int) (name string, ok bool) {
	for i := range s.windows {
		if w := &s.windows[i]; w.watches.Has(watch) && w.contains(t) {
			return w.name, true
		}
	}
	return "", false
}

func (w *window) contains(t time.Time) bool {
	t = t.In(w.zone)
	today, minute := int(t.Weekday()), t.Hour()*60+t.Minute()
	yesterday := (today + 6) % 7
	isOvernight := w.to <= w.from
	switch {
	case w.days[today] && minute >= w.from && (isOvernight || minute < w.to):
		return true
	case w.days[yesterday] && isOvernight && minute < w.to:
		return true
	}
	return w.days[today] && w.isShifted(t, 0) || w.days[yesterday] && w.isShifted(t, 1)
}

// isShifted says whether a time is in the window that began so many days ago within an hour that the clock left out, and so
// began after it.
func (w *window) isShifted(t time.Time, days int) bool {
	asked := time.Date(t.Year(), t.Month(), t.Day()-days, 0, w.from, 0, 0, time.UTC)
	begin := time.Date(t.Year(), t.Month(), t.Day()-days, 0, w.from, 0, 0, w.zone)
	shown := time.Date(begin.Year(), begin.Month(), begin.Day(), begin.Hour(), begin.Minute(), 0, 0, time.UTC)
	since, until := begin.ZoneBounds()
	switch shown.Compare(asked) {
	case 0:
		return false
	case 1:
		begin = since
	case -1:
		begin = until
	}
	length := w.to - w.from
	if length <= 0 {
		length += minutesPerDay
	}
	return !t.Before(begin) && t.Before(begin.Add(time.Duration(length)*time.Minute))
}

// An actor is whose changes are expected.
type actor struct {
	name             string
	host, containers bool
	exes             bool // by what it runs
	users            []string
	uids             []uint32
	watches          Watches
}

func (s *Sets) addActors(c Config, resolve func(string) string) error {
	all := c.Actors
	if c.Defaults {
		all = slices.Concat(all, s.shippedActors(all))
	}
	if len(all) > maxActors {
		return fmt.Errorf("fim.actors: %d actors: want at most %d", len(all), maxActors)
	}
	for i, c := range all {
		if !validName.MatchString(c.Name) {
			return fmt.Errorf("fim.actors: entry %d: name: %q: %s", i+1, c.Name, wantName)
		}
		if err := s.addActor(i, c, resolve); err != nil {
			return fmt.Errorf("fim.actors.%s.%w", c.Name, err)
		}
	}
	return nil
}

// shippedActors are those that no configured one replaces, with the sets that there are; those without a set are left out.
func (s *Sets) shippedActors(configured []ActorConfig) []ActorConfig {
	all := slices.DeleteFunc(ShippedActors(), func(a ActorConfig) bool {
		return slices.ContainsFunc(configured, func(c ActorConfig) bool { return c.Name == a.Name })
	})
	for i := range all {
		all[i].Watches = slices.DeleteFunc(all[i].Watches, func(name string) bool {
			return !slices.ContainsFunc(s.watches, func(w Watch) bool { return w.Name == name })
		})
	}
	return slices.DeleteFunc(all, func(a ActorConfig) bool { return len(a.Watches) == 0 })
}

func (s *Sets) addActor(i int, c ActorConfig, resolve func(string) string) (err error) {
	a := actor{name: c.Name, exes: len(c.Exe) > 0}
	if a.host, a.containers, err = placesOf(c.Of); err != nil {
		return err
	}
	if a.watches, err = s.chosen(c.Watches); err != nil {
		return err
	}
	if len(c.Exe) == 0 && len(c.Users) == 0 {
		return errors.New("exe: none given: want exe or users")
	}
	if len(c.Exe) > maxListed {
		return fmt.Errorf("exe: %d given: want at most %d", len(c.Exe), maxListed)
	}
	for _, text := range c.Exe {
		if err := s.add(text, exactly, 1<<i, a.host, a.containers, resolve); err != nil {
			return fmt.Errorf("exe: %q: %w", text, err)
		}
	}
	for _, user := range c.Users {
		if user == "" {
			return fmt.Errorf("users: %q: want a name or a number", user)
		}
		if uid, err := strconv.ParseUint(user, 10, 32); err == nil {
			a.uids = append(a.uids, uint32(uid))
			continue
		}
		a.users = append(a.users, user)
	}
	s.actors = append(s.actors, a)
	return nil
}

// A Doer is a process that has made a change, or an ancestor of one that has.
type Doer struct {
	Container bool   // whether it runs in one
	Exe       string // the path of its program, as the kernel tells it
	UID       uint32
	User      string // empty if it has no name, or that is not known

	IsCalled func(user string) bool // whether it is a user of that name, of whom one may have several; nil if that is not known
}

// Actor says whether changes of a set by a process are expected, and which actor it is.
func (s *Sets) Actor(d Doer, watch int) (name string, ok bool) {
	var q search
	q.run(&s.matcher(d.Container).exes, d.Exe)
	runs := q.marks[exactly] | q.marks[wholly]
	for i := range s.actors {
		a := &s.actors[i]
		if !a.watches.Has(watch) || !a.containers && d.Container || !a.host && !d.Container || a.exes && !runs.Has(i) {
			continue
		}
		if len(a.users)+len(a.uids) == 0 || slices.Contains(a.uids, d.UID) || d.User != "" && slices.Contains(a.users, d.User) ||
			d.IsCalled != nil && slices.ContainsFunc(a.users, d.IsCalled) {
			return a.name, true
		}
	}
	return "", false
}

// Resolver returns a function that says where a path leads below a root directory, through symbolic links to directories; a
// link to a file, and what is absent, stay as they are. Links are the root's own: /a within it is root/a. It needs Linux 5.6;
// without it, paths lead nowhere else.
func Resolver(root string) func(path string) string {
	return func(p string) string {
		for dir := p; ; dir = path.Dir(dir) {
			if to, err := realDirectory(root, dir); err == nil {
				return path.Join(to, strings.TrimPrefix(p, dir))
			}
			if dir == "/" || dir == "." {
				return p
			}
		}
	}
}

func realDirectory(root, dir string) (string, error) {
	at, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(at)
	fd, err := unix.Openat2(at, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return "", fmt.Errorf("open %s in %s: %w", dir, root, err)
	}
	defer unix.Close(fd)
	base, err := openPath(at)
	if err != nil {
		return "", err
	}
	name, err := openPath(fd)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(base, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return "", fmt.Errorf("%s is not below %s", name, base)
	}
	return cmp.Or(rest, "/"), nil
}

// openPath asks the kernel for the path of an open file.
func openPath(fd int) (string, error) {
	name := make([]byte, maxGlobBytes)
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), name)
	if err != nil {
		return "", fmt.Errorf("read the name of an open file: %w", err)
	}
	return string(name[:n]), nil
}
