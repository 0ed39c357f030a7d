package fim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/yagura-io/yagura/exporter/fim/image"
)

// A job is what a command asks for. Whoever has the store open does it: the command's own process, or the daemon, which it is
// then sent to.
type job struct {
	Do        string   `json:"do"`
	Paths     []octets `json:"paths,omitempty"` // diff, accept: absolute and clean
	Container string   `json:"container,omitempty"`
	All       bool     `json:"all,omitempty"`     // accept: whatever differs
	Force     bool     `json:"force,omitempty"`   // init: begin anew
	Scan      *bool    `json:"scan,omitempty"`    // diff: look at the disk, rather than say what was last seen there; nil: if no daemon looks
	JSON      bool     `json:"json,omitempty"`    // diff, status
	Key       string   `json:"key,omitempty"`     // export: what to sign with, in PEM
	Trusted   string   `json:"trusted,omitempty"` // import: whom to trust, in PEM
	Root      string   `json:"root,omitempty"`    // where the files must be that the paths are of; empty is wherever they are
	Host      string   `json:"host,omitempty"`    // export: what the bundle is of
}

// Bounds of a job.
const (
	maxJob   = 8 << 20 // bytes, of paths above all
	maxPaths = 100_000
)

// jobs are what can be asked for. Of those that write there is one at a time.
var jobs = map[string]struct {
	writes bool
	do     func(*operator, context.Context, *job) error
}{
	"init":   {true, (*operator).initialise},
	"diff":   {false, (*operator).diff},
	"accept": {true, (*operator).accept},
	"verify": {false, (*operator).verify},
	"status": {false, (*operator).status},
	"export": {false, (*operator).export},
	"import": {true, (*operator).importBundle},
}

// Exit statuses, as of diff(1).
const (
	statusSome   = 1 // something differs, or is wrong with the baseline
	statusFailed = 2 // nobody knows
)

func exitWith(status int) error { return &image.ExitError{Status: status} }

// An operator does jobs with a store that it has open.
type operator struct {
	store  *Store
	config Config
	sets   *Sets
	root   string        // where the host's files are
	out    io.Writer     // for what was asked for
	notes  io.Writer     // for what there is to say besides
	bundle io.ReadSeeker // of import
	show   func(Progress)

	scans    bool                                             // whether diff and accept look at the disk by themselves: no daemon does
	rescan   func(ctx context.Context, anew bool) error       // builds the baseline
	learn    func(ctx context.Context, d *Difference) error   // has the store know what is at a path now
	alone    func(ctx context.Context, do func() error) error // does something that nobody else may write to the store meanwhile
	accepted func(d *deviation)                               // takes note of what has become the baseline
	unread   func() (files uint64, why []string)              // of rescan
}

// newOperator returns one for a process that has the store for itself.
func newOperator(store *Store, config Config, sets *Sets, root string) *operator {
	o := &operator{store: store, config: config, sets: sets, root: root, scans: true, show: func(Progress) {}, accepted: func(*deviation) {}}
	var result ScanResult
	o.rescan = func(ctx context.Context, anew bool) (err error) {
		result, err = o.build(ctx, anew)
		return err
	}
	o.unread = func() (uint64, []string) { return result.unread(), result.Reasons }
	o.alone = func(_ context.Context, do func() error) error { return do() }
	o.learn = o.learnFrom
	return o
}

func (o *operator) do(ctx context.Context, j *job) error {
	of, known := jobs[j.Do]
	if !known {
		return fmt.Errorf("%q: want %s", j.Do, oneOf(slices.Sorted(maps.Keys(jobs))))
	}
	if len(j.Paths) > maxPaths {
		return fmt.Errorf("%d paths: want at most %d", len(j.Paths), maxPaths)
	}
	return of.do(o, ctx, j)
}

// complete returns an error that says what to do if the baseline of a container or of the host is not all there.
func (o *operator) complete(container string) error {
	meta, err := o.store.Meta(container)
	of := whose(Path{Container: container})
	switch {
	case err != nil || !meta.Completed.IsZero():
		return err
	case meta.Origin != "":
		return fmt.Errorf("%s: %w: its import of %s has not ended: import it again, or build it with `yagura fim init --force`",
			of, ErrIncomplete, shown(meta.Origin))
	case container != "":
		return fmt.Errorf("%s: %w: there is none, or it is being built by the daemon", of, ErrIncomplete)
	}
	return fmt.Errorf("%s: %w: build it with `yagura fim init`; a daemon that runs does so by itself", of, ErrIncomplete)
}

// initialise builds the baseline, or goes on with that. One that is complete is only added to if other paths are watched than before.
func (o *operator) initialise(ctx context.Context, j *job) error {
	meta, err := o.store.Meta("")
	switch isComplete := !meta.Completed.IsZero(); {
	case err != nil:
		return err
	case j.Root != "" && j.Root != o.root:
		return fmt.Errorf("the daemon's files are in %s: another tree's baseline belongs into another file: --store FILE", o.root)
	case j.Force:
	case !isComplete && meta.Origin != "":
		return o.complete("")
	case isComplete && (meta.Sets == signatureOf(o.config) || setsBefore(meta.Sets, nil) == nil):
		return fmt.Errorf("the baseline was completed at %s: `yagura fim diff` says what differs from it, `yagura fim accept` makes that "+
			"the baseline, and `yagura fim init --force` builds it anew", meta.Completed.Format(time.RFC3339))
	}
	began := time.Now()
	if err := o.rescan(ctx, j.Force); err != nil {
		return err
	}
	if meta, err = o.store.Meta(""); err != nil {
		return err
	}
	if n, why := o.unread(); n > 0 {
		fmt.Fprintf(o.notes, "not read: %d files and directories\n", n)
		for _, reason := range why {
			fmt.Fprintln(o.notes, " ", reason)
		}
	}
	if meta.Drifted > 0 {
		fmt.Fprintf(o.notes, "differing: %d files have changed since they were taken into the baseline: see `yagura fim diff`\n", meta.Drifted)
	}
	_, err = fmt.Fprintf(o.out, "the baseline is complete: %d files, after %s\n", meta.Files, time.Since(began).Round(time.Millisecond))
	return err
}

// build builds the baseline of the host, which takes paths that are watched for the first time into one that is complete.
func (o *operator) build(ctx context.Context, anew bool) (ScanResult, error) {
	if anew {
		if err := o.store.Forget(""); err != nil {
			return ScanResult{}, err
		}
	}
	files := make([]uint64, o.sets.Len())
	scan := o.scan(o.sets.Roots(false), files)
	scan.Build, scan.Part, scan.FilesPerSecond, scan.Look.BytesPerSecond = true, false, o.config.Scan.RateFiles, int64(o.config.Scan.RateBytes)
	scan.Tell = func(d Difference) error { return o.learn(ctx, &d) }
	meta, err := o.store.Meta("")
	if err != nil {
		return ScanResult{}, err
	}
	if before := setsBefore(meta.Sets, Resolver(o.root)); before != nil && !meta.Completed.IsZero() {
		onlyNew(&scan, before)
	}
	result, err := Scan(ctx, scan)
	if err != nil {
		return result, err
	}
	watched := make(map[string]uint64, len(files))
	for i, n := range files {
		watched[o.sets.Set(i).Name] = n
	}
	return result, o.store.SetMeta("", func(m *Meta) { m.Sets, m.Watched = signatureOf(o.config), watched })
}

// onlyNew has a scan take only what is watched for the first time, and leave alone what was watched before.
func onlyNew(scan *ScanOptions, before *Sets) {
	match := scan.Match
	scan.Match = func(path string, there bool) Attribute {
		of := match(path, there)
		if before.Match(scan.Container != "", path) != 0 {
			return 0
		}
		return of
	}
	scan.Tell = func(Difference) error { return nil } // what is known of it is older: the next scan of everything tells
	scan.Part = true
}

// setsBefore makes again the sets of which Meta.Sets says that they were watched; nil if it does not say which.
func setsBefore(words string, resolve func(path string) string) *Sets {
	var watches []WatchConfig
	if !strings.HasPrefix(words, "[") || strictJSON([]byte(words), &watches) != nil {
		return nil
	}
	sets, err := NewSets(Config{Watches: watches}, resolve)
	if err != nil {
		return nil
	}
	return sets
}

// scan is one of some roots of the host, as fast as can be.
func (o *operator) scan(roots []string, files []uint64) ScanOptions {
	enter, match := o.sets.walk(false, files)
	return ScanOptions{Store: o.store, Roots: roots, Part: true, Look: o.lookOptions(), Enter: enter, Match: match, Progress: o.show}
}

func (o *operator) lookOptions() LookOptions {
	return LookOptions{Root: o.root, MaxSize: int64(o.config.Scan.MaxFileSize)}
}

// places are what a job is about: its paths, or if it has none everything that there is a baseline of, none of them below another.
func (o *operator) places(j *job) (places []Path, err error) {
	containers := []string{j.Container}
	if len(j.Paths) == 0 && j.Container == "" {
		if containers, err = o.store.Containers(); err != nil {
			return nil, err
		}
		if !slices.Contains(containers, "") {
			containers = append([]string{""}, containers...)
		}
	}
	names := []string{"/"}
	if len(j.Paths) > 0 {
		names = names[:0]
	}
	resolve := Resolver(o.root)
	for _, p := range j.Paths {
		name := string(p)
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", shown(name), err)
		}
		if j.Container == "" && name != "/" { // baselines have paths where they really are
			name = path.Join(resolve(path.Dir(name)), path.Base(name))
		}
		names = append(names, name)
	}
	if names, err = outermost(names); err != nil {
		return nil, err
	}
	for _, container := range containers {
		for _, name := range names {
			places = append(places, Path{container, name})
		}
	}
	return places, nil
}

// known returns an error if a path is none that anything could be known of.
func (o *operator) known(p Path) error {
	container := p.Container != ""
	if o.sets.Match(container, p.Name) != 0 || o.sets.MayContain(container, p.Name) || len(o.rootsIn(p)) > 0 {
		return nil
	}
	errFound := errors.New("found")
	err := o.store.Each(p, func(*Entry) error { return errFound })
	if err == nil {
		return fmt.Errorf("%s is not watched, and nothing is known of it", shownPath(p))
	}
	return ignore(err, errFound)
}

// rootsIn are where walks begin that are to find what is watched in a place.
func (o *operator) rootsIn(p Path) (roots []string) {
	for _, root := range o.sets.Roots(p.Container != "") {
		switch {
		case isWithin(p.Name, root):
			return []string{p.Name}
		case isWithin(root, p.Name):
			roots = append(roots, root)
		}
	}
	return roots
}

// verify looks at every entry of the store.
func (o *operator) verify(ctx context.Context, _ *job) error {
	entries, err := o.store.count()
	if err == nil {
		err = o.store.Verify(ctx)
	}
	if errors.Is(err, ErrTampered) || errors.Is(err, ErrCorrupt) {
		fmt.Fprintln(o.out, err)
		return exitWith(statusSome)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "ok: %d entries\n", entries)
	return err
}

// count is how many entries all baselines have.
func (s *Store) count() (n uint64, err error) {
	containers, err := s.Containers()
	if err != nil {
		return 0, err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		for _, container := range containers {
			sh, err := readShelf(tx, s.newMAC(), container)
			if err != nil {
				return err
			}
			if sh != nil {
				n += sh.entries.count
			}
		}
		return nil
	})
	return n, s.failed("read", err)
}

// export writes the baseline as a bundle.
func (o *operator) export(ctx context.Context, j *job) error {
	key, err := ParsePrivateKey([]byte(j.Key))
	if err != nil {
		return fmt.Errorf("the key to sign with: %w", err)
	}
	if err := o.complete(j.Container); err != nil {
		return err
	}
	meta, err := o.store.Meta(j.Container)
	if err != nil {
		return err
	}
	h := BundleHeader{Created: time.Now().UTC().Truncate(time.Second), Root: cmp.Or(j.Root, o.root, "/"), Host: j.Host, Sets: meta.Sets}
	n, err := Export(ctx, o.out, o.store, j.Container, h, key)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.notes, "exported: %d paths\n", n)
	return nil
}

// importBundle makes a bundle the baseline.
func (o *operator) importBundle(ctx context.Context, j *job) error {
	keys, err := ParsePublicKeys([]byte(j.Trusted))
	if err != nil {
		return fmt.Errorf("the keys that are trusted: %w", err)
	}
	var h BundleHeader
	var n uint64
	err = o.alone(ctx, func() (err error) {
		h, n, err = Import(ctx, o.bundle, o.store, j.Container, keys)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "imported: %d paths of %s of %s, exported %s\n",
		n, shown(h.Root), shown(h.Host), h.Created.Format(time.RFC3339))
	return err
}

// A statusLine is what is so of the store, and of each baseline in it.
type statusLine struct {
	Path      octets         `json:"path"`
	Size      int64          `json:"size"` // bytes
	Baselines []baselineLine `json:"baselines"`
}

type baselineLine struct {
	Container string `json:"container,omitempty"` // empty is the host
	Meta
	Files   uint64 `json:"files"`
	Differs uint64 `json:"differs"` // paths that counted when they were last seen
}

// status says what is so of the store. The exit status says whether the host's baseline is complete.
func (o *operator) status(ctx context.Context, j *job) error {
	containers, err := o.store.Containers()
	if err != nil {
		return err
	}
	s := statusLine{Path: octets(o.store.path), Baselines: []baselineLine{}}
	if s.Size, err = o.store.Size(); err != nil {
		return err
	}
	whole := false
	for _, container := range containers {
		b := baselineLine{Container: container}
		if b.Meta, err = o.store.Meta(container); err != nil {
			return err
		}
		b.Files, b.Sets = b.Meta.Files, ""
		whole = whole || container == "" && !b.Completed.IsZero()
		if err := o.store.EachDrifted(Path{container, "/"}, func(e *Entry) error {
			if _, ok := deviationOf(o.sets, e, ""); ok {
				b.Differs++
			}
			return ctx.Err()
		}); err != nil {
			return err
		}
		s.Baselines = append(s.Baselines, b)
	}
	if err := s.write(o.out, j.JSON); err != nil {
		return err
	}
	if !whole {
		return exitWith(statusSome)
	}
	return nil
}

func (s *statusLine) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeLine(w, s)
	}
	fmt.Fprintf(w, "%s: %d bytes\n", shown(string(s.Path)), s.Size)
	if len(s.Baselines) == 0 {
		fmt.Fprintln(w, "no baseline yet: build it with `yagura fim init`")
	}
	for _, b := range s.Baselines {
		fmt.Fprintf(w, "%s: %d files, %d differ\n", whose(Path{Container: b.Container}), b.Files, b.Differs)
		for _, of := range []struct {
			name string
			at   time.Time
		}{{"created", b.Created}, {"completed", b.Completed}, {"scanned", b.Scanned}} {
			text := "not yet"
			if !of.at.IsZero() {
				text = of.at.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(w, "  %-9s %s\n", of.name, text)
		}
		if b.Origin != "" {
			fmt.Fprintf(w, "  %-9s %s\n", "import of", shown(b.Origin))
		}
	}
	return nil
}

// spool copies a bundle to where it can be read twice: a file without a name in a directory.
func spool(dir string, from io.Reader) (*os.File, error) {
	f, err := os.CreateTemp(dir, "fim-import-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, from)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("keep the bundle until it is read: %w", err)
	}
	return f, nil
}
