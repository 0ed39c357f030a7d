package fim

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what databases may ask of this process. A database that is larger is refused, with the count in its error.
const (
	maxPackages      = 65_536
	maxPackagePaths  = 2_000_000 // of 16 bytes each
	maxPackageFiles  = 250_000   // of one package
	maxPackagePath   = 4096      // bytes, as Linux has it
	maxPackageText   = 64 << 20  // bytes of a text file; they are read as a stream
	maxPackageLine   = 64 << 10  // bytes
	maxDetails       = 8 << 20   // bytes of what is kept of single packages' files
	maxDeparted      = 65_536    // paths
	maxOwners        = 16        // of one file that are asked
	maxProblems      = 8         // of one database, told one by one
	refreshAtMost    = time.Second
	refreshCostShare = 20 // reading again takes at most one part in this many of the time
)

// A Package is an installed package as its manager's database has it.
type Package struct {
	Manager string // dpkg, rpm or apk
	Name    string
	Version string // as the manager writes it: epoch, version and release
	Arch    string
}

func (p Package) String() string {
	return strings.TrimSpace(p.Manager + " " + p.Name + " " + p.Version + " " + p.Arch)
}

// A Match says how something of a file compares with what its package brought.
type Match uint8

// Unsaid is what the database does not say, or what could not be found out; Verdict.Why tells.
const (
	Unsaid Match = iota
	Same
	Differs
)

// Matches names them.
var Matches = [...]string{"unsaid", "same", "differs"}

func (m Match) String() string { return Matches[m] }

// A Verdict is what the databases say of one file. They are files themselves: who is root may change them, so a watch over
// them belongs to whoever believes a verdict.
type Verdict struct {
	Owned     bool    // by Package, as the databases are now
	Package   Package // of Owned and Departed
	Content   Match   // of a regular file, or where a symbolic link leads
	Mode      Match   // permissions, setuid, setgid, sticky
	Owner     Match   // user and group
	Missing   bool    // Owned, there is no such file, and there should be
	Config    bool    // conffile of dpkg, %config of rpm, below /etc of apk: administrators may change it
	Ghost     bool    // %ghost of rpm: the package names the path and does not bring the file
	Database  bool    // a manager's own file, which changes as it works: databases, locks, caches, logs
	Temporary bool    // by its name alone, what a manager unpacks to or keeps beside a changed file: .dpkg-new, .rpmsave
	Departed  bool    // was of Package until a transaction that this process has seen; not Owned
	// Alternative is the group of update-alternatives whose link the path is; Content says whether it leads where one of
	// the choices of the group does, in automatic mode the best.
	Alternative string
	// Changing says that the databases have changed since they were read, and are still changing too often to be read
	// again at once: ask again after Refresh, when the transaction is over.
	Changing bool
	Why      string // why Content or Owner is Unsaid, or what of the databases could not be read
}

// A Database is what was read of one manager.
type Database struct {
	Manager  string // dpkg, rpm, apk, or alternatives
	Path     string // below the root
	Packages int
	Files    int       // paths, directories among them
	Loaded   time.Time // when it was read last
	Err      error     // what of it, or of its log, could not be read; the rest serves
}

// Packages is the word of the package managers of one root: that of the host or of a container. It reads their databases
// and runs nothing. It may be used by many at once.
type Packages struct {
	root   packageRoot
	seed   maphash.Seed // of this process alone, so that nobody can choose a path whose hash is that of a package's file
	now    func() time.Time
	procfs string

	databases atomic.Pointer[[]*packageDatabase]
	due       atomic.Int64 // ns since 1970, when the files are looked at again
	rest      atomic.Int64 // ns since 1970, before which they are not read again
	loading   sync.Mutex

	mu      sync.Mutex // guards what follows
	details packageDetailsCache
	names   accountNames
	logs    map[string]*transactionLog
	locked  map[string]time.Time // by the lock's path, since when it is known to be held
}

// OpenPackages reads the databases below root: the host's if it is empty, else a container's, "/proc/PID/root" for one.
// No symbolic link leads out of it. It is an error if the root cannot be opened; what of the databases could not be read is
// told by Databases. The root stays open until Close.
func OpenPackages(root string) (*Packages, error) {
	fd, err := unix.Open(cmp.Or(root, "/"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root of packages %q: %w", root, err)
	}
	p := &Packages{root: packageRoot{fd}, seed: maphash.MakeSeed(), now: time.Now, procfs: "/proc"}
	p.databases.Store(&[]*packageDatabase{})
	p.Refresh()
	return p, nil
}

// Close lets the root go. Nothing else may be called after it.
func (p *Packages) Close() error { return unix.Close(p.root.fd) }

// A packageManager is how one kind of database is read.
type packageManager struct {
	name  string
	files []string // whose status tells whether the database has changed; it is there if one of them is
	// load adds packages and paths. What it returns stops the reading; lesser problems go to loader.problem.
	load    func(*packageLoader) error
	details func(*packageLoader, *packageEntry) (packageDetails, error)
}

var packageManagers = [...]packageManager{
	{"dpkg", dpkgFiles, loadDpkg, dpkgDetails},
	{"rpm", rpmFiles, loadRPM, rpmDetails},
	{"apk", apkFiles, loadAPK, apkDetails},
	{"alternatives", alternativeFiles, loadAlternatives, nil},
}

// A packageDatabase is what is kept of one manager's. It does not change once it is published.
type packageDatabase struct {
	manager  *packageManager
	path     string
	state    []fileState
	packages []packageEntry
	files    []packageFile // by hash
	aliases  []pathAlias
	departed []departedFile // by hash
	loaded   time.Time
	problems []error
	unsaid   int // problems beyond

	dpkg  *dpkgTables
	links map[string]alternative
}

type packageEntry struct {
	Package
	where   uint64 // in the database; its manager's business
	source  uint8  // which kind of the manager's files
	file    string // whose name, where the package's does not tell it
	changed int64  // s since 1970, when its files were last put in place, 0 if that is unknown
	run     int64  // s since 1970, the transaction that did it as rpm counts them
}

// A packageFile is one path of one package.
type packageFile struct {
	hash uint64 // of the canonical path
	pkg  uint32
	file uint32 // which of the package's
}

type departedFile struct {
	hash uint64
	pkg  Package
}

// packageDetails are what a database says of one package's files.
type packageDetails interface {
	expect(file packageFile) expectation
	size() int // bytes, about
}

// An expectation is what a database says of one file.
type expectation struct {
	kind                              fs.FileMode // the type, if hasKind
	algorithm                         crypto.Hash // 0 if there is no sum
	sum                               []byte      // may be the head of what the algorithm gives
	target                            string      // of a symbolic link, if hasTarget
	targetSum                         bool        // sum is of a symbolic link's target as well
	mode                              fs.FileMode
	user, group                       string // names or numbers
	hasKind, hasTarget, hasMode       bool
	config, ghost, absent, superseded bool
	why                               string
}

// Databases tells what was read, of each manager that is there.
func (p *Packages) Databases() []Database {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Database
	for _, db := range *p.databases.Load() {
		d := Database{Manager: db.manager.name, Path: db.path, Packages: len(db.packages), Files: len(db.files), Loaded: db.loaded, Err: db.err()}
		if log := p.logs[packageLogs[db.manager.name].path]; log != nil {
			d.Err = errors.Join(d.Err, log.err)
		}
		all = append(all, d)
	}
	return all
}

func (db *packageDatabase) err() error {
	if db.unsaid == 0 {
		return errors.Join(db.problems...)
	}
	return fmt.Errorf("%w\nand %d more", errors.Join(db.problems...), db.unsaid)
}

// Owner tells whose a path is: absolute, clean, of a file and not of a link to it. What a package of dpkg has diverted is of
// the package that put it there. A directory, which many packages have, is of one of them.
func (p *Packages) Owner(name string) (Package, bool) {
	for _, db := range p.current() {
		if found := db.find(p.hash(db, name)); len(found) > 0 {
			return db.packages[found[0].pkg].Package, true
		}
	}
	return Package{}, false
}

// Check compares a file with what its package brought. A nil record is that of a file that is gone. sums is asked, at most
// once for each owner, for a sum of the file's content that is neither in the record nor needless; nil if none can be had.
func (p *Packages) Check(name string, record *Record, sums func(crypto.Hash) ([]byte, error)) Verdict {
	v, stale := p.check(name, record, sums)
	if !stale && v.Content != Differs || !p.outdated() {
		return v
	}
	if p.now().UnixNano() < p.rest.Load() {
		v.Changing = true
		return v
	}
	p.Refresh()
	v, _ = p.check(name, record, sums)
	return v
}

// errPackageMoved is returned by details of a package that is not where it was when the database was read.
var errPackageMoved = errors.New("the database has changed since it was read")

func (p *Packages) check(name string, record *Record, sums func(crypto.Hash) ([]byte, error)) (best Verdict, stale bool) {
	databases, rank := p.current(), 0
	for _, db := range databases {
		owners := db.find(p.hash(db, name))
		if record != nil && record.Mode.IsDir() {
			owners = owners[:min(len(owners), 1)] // hundreds may have a directory, and all say the same of it
		}
		for _, file := range owners[:min(len(owners), maxOwners)] {
			expected, err := p.expect(db, file)
			if err != nil {
				stale = stale || errors.Is(err, errPackageMoved)
				expected.why = err.Error()
			}
			v := p.judge(&expected, record, sums)
			v.Owned, v.Package = true, db.packages[file.pkg].Package
			if r := expected.rank(&v); r > rank {
				best, rank = v, r
			}
		}
	}
	if !best.Owned {
		p.unowned(databases, name, record, &best)
	}
	return best, stale
}

// rank tells which of several owners' verdicts counts: what one of them brought is what should be there, and one whose file
// is not there by the database's own word does not count beside others.
func (e *expectation) rank(v *Verdict) int {
	switch {
	case v.Content == Same:
		return 4
	case e.superseded || e.absent:
		return 1
	case v.Content == Differs:
		return 3
	}
	return 2
}

// unowned fills in what else may be said of a path that no package has.
func (p *Packages) unowned(databases []*packageDatabase, name string, record *Record, v *Verdict) {
	v.Database = managersOwn(name)
	base, temporary := temporaryName(name)
	v.Temporary = temporary
	for _, db := range databases {
		if v.Why == "" && len(db.problems) > 0 {
			v.Why = db.manager.name + ": " + db.problems[0].Error()
		}
		if link, ok := db.links[string(canonical(nil, name, db.aliases))]; ok && v.Alternative == "" {
			v.Alternative = link.group
			v.Content = link.judge(record)
		}
		hash := p.hash(db, name)
		if i, ok := slices.BinarySearchFunc(db.departed, hash, departedFile.compare); ok {
			v.Departed, v.Package = true, db.departed[i].pkg
		}
		if found := db.find(p.hash(db, base)); temporary && len(found) > 0 {
			v.Package = db.packages[found[0].pkg].Package
		}
	}
}

func (d departedFile) compare(hash uint64) int { return cmp.Compare(d.hash, hash) }

func (p *Packages) expect(db *packageDatabase, file packageFile) (expectation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := &db.packages[file.pkg]
	details := p.details.get(entry)
	if details == nil {
		var err error
		loader := packageLoader{root: p.root, seed: p.seed, db: db}
		if details, err = db.manager.details(&loader, entry); err != nil {
			return expectation{}, err
		}
		p.details.put(entry, details)
	}
	return details.expect(file), nil
}

func (p *Packages) judge(e *expectation, r *Record, sums func(crypto.Hash) ([]byte, error)) Verdict {
	v := Verdict{Config: e.config, Ghost: e.ghost, Why: e.why}
	switch {
	case r == nil:
		v.Missing = !e.ghost && !e.absent && !e.superseded
		return v
	case e.superseded:
		v.Why = "another package has put its own file there"
		return v
	case e.hasKind && e.kind != r.Mode.Type():
		v.Content, v.Mode = Differs, Differs
	default:
		v.Content = e.content(r, sums, &v)
		v.Mode = e.permissions(r)
	}
	v.Owner = p.ownership(e, r, &v)
	return v
}

func (e *expectation) content(r *Record, sums func(crypto.Hash) ([]byte, error), v *Verdict) Match {
	switch r.Mode.Type() {
	case fs.ModeSymlink:
		return e.link(r)
	case 0:
		return e.regular(r, sums, v)
	default:
		if len(e.sum) > 0 && e.algorithm != 0 {
			return Differs // a package brought a regular file
		}
		return Unsaid
	}
}

func (e *expectation) link(r *Record) Match {
	switch {
	case e.hasTarget:
		return sameIf(e.target == r.Target)
	case e.targetSum && e.algorithm == crypto.SHA1:
		sum := sha1.Sum([]byte(r.Target))
		return sameIf(bytes.Equal(sum[:], e.sum))
	case e.targetSum && e.algorithm == crypto.SHA256:
		sum := sha256.Sum256([]byte(r.Target))
		return sameIf(bytes.HasPrefix(sum[:], e.sum))
	case len(e.sum) > 0:
		return Differs
	}
	return Unsaid
}

func (e *expectation) regular(r *Record, sums func(crypto.Hash) ([]byte, error), v *Verdict) Match {
	switch {
	case len(e.sum) == 0 || e.algorithm == 0:
		v.Why = cmp.Or(v.Why, "the database has no sum of it")
		return Unsaid
	case e.algorithm == crypto.SHA256 && r.Summed:
		return sameIf(bytes.HasPrefix(r.Sum[:], e.sum))
	case sums == nil:
		v.Why = fmt.Sprintf("its %v is not known", e.algorithm)
		return Unsaid
	}
	sum, err := sums(e.algorithm)
	if err != nil {
		v.Why = err.Error()
		return Unsaid
	}
	return sameIf(bytes.HasPrefix(sum, e.sum))
}

const permissionBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func (e *expectation) permissions(r *Record) Match {
	if !e.hasMode || r.Mode.Type() == fs.ModeSymlink {
		return Unsaid
	}
	return sameIf(r.Mode&permissionBits == e.mode&permissionBits)
}

// ownership needs the root's own accounts where a database has names.
func (p *Packages) ownership(e *expectation, r *Record, v *Verdict) Match {
	if e.user == "" && e.group == "" {
		return Unsaid
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	user, okUser := p.names.id(p.root, "etc/passwd", e.user)
	group, okGroup := p.names.id(p.root, "etc/group", e.group)
	if okUser && user != r.UID || okGroup && group != r.GID {
		return Differs
	}
	if !okUser || !okGroup {
		v.Why = cmp.Or(v.Why, fmt.Sprintf("user %q or group %q is not in /etc/passwd and /etc/group", e.user, e.group))
		return Unsaid
	}
	return Same
}

func sameIf(same bool) Match {
	if same {
		return Same
	}
	return Differs
}

// unixMode is a mode as stat(2) has it. Where it says no type, as in a list of permissions, it is that of a regular file.
func unixMode(m uint32) fs.FileMode { return modeOf(uint16(m)) &^ fs.ModeIrregular }

// current looks at the databases' files if that is due, and reads anew what has changed. While one caller does that, the
// others are served from what was read before.
func (p *Packages) current() []*packageDatabase {
	now := p.now().UnixNano()
	if now >= p.due.Load() && p.loading.TryLock() {
		if rest := p.rest.Load(); now < rest {
			p.due.Store(rest)
		} else {
			p.refresh()
		}
		p.loading.Unlock()
	}
	return *p.databases.Load()
}

// Refresh looks at the databases' files now, and reads anew those that have changed; it says whether one had. Everything
// else does so by itself, but seldom enough to cost little while a transaction runs. Call it when one is over.
func (p *Packages) Refresh() (changed bool) {
	p.loading.Lock()
	defer p.loading.Unlock()
	return p.refresh()
}

// outdated tells whether the databases have changed since they were read.
func (p *Packages) outdated() bool {
	databases := *p.databases.Load()
	for i := range packageManagers {
		state := p.root.states(packageManagers[i].files)
		db := databaseOf(databases, &packageManagers[i])
		if db == nil && anyThere(state) || db != nil && !slices.Equal(db.state, state) {
			return true
		}
	}
	return false
}

func (p *Packages) refresh() (changed bool) {
	begin, old := p.now(), *p.databases.Load()
	var next []*packageDatabase
	for i := range packageManagers {
		manager := &packageManagers[i]
		before := databaseOf(old, manager)
		state := p.root.states(manager.files)
		switch {
		case before != nil && slices.Equal(before.state, state):
			next = append(next, before)
		case anyThere(state):
			next, changed = append(next, p.load(manager, state, before)), true
		default:
			changed = changed || before != nil
		}
	}
	end := p.now()
	if changed {
		p.databases.Store(&next)
		p.rest.Store(end.Add(refreshCostShare * end.Sub(begin)).UnixNano())
		p.mu.Lock()
		p.details = packageDetailsCache{}
		p.mu.Unlock()
	}
	p.due.Store(end.Add(refreshAtMost).UnixNano())
	return changed
}

func databaseOf(all []*packageDatabase, manager *packageManager) *packageDatabase {
	for _, db := range all {
		if db.manager == manager {
			return db
		}
	}
	return nil
}

// load reads a database. One that cannot be read at all leaves what was known before in force, with the error.
func (p *Packages) load(manager *packageManager, state []fileState, before *packageDatabase) *packageDatabase {
	db := &packageDatabase{manager: manager, state: state, aliases: p.root.aliases(), loaded: p.now()}
	loader := packageLoader{root: p.root, seed: p.seed, db: db, strings: map[string]string{}}
	if before != nil {
		db.files = make([]packageFile, 0, len(before.files)+len(before.files)/64)
	}
	if err := manager.load(&loader); err != nil {
		loader.problem(err)
		if before != nil && len(before.packages) > 0 {
			kept := *before
			kept.state, kept.problems, kept.unsaid = state, db.problems, db.unsaid
			return &kept
		}
	}
	slices.SortFunc(db.files, packageFile.compare)
	db.files, db.packages = slices.Clip(trimmed(db.files)), trimmed(db.packages)
	db.depart(before)
	return db
}

// trimmed is a slice without the room that append left, if that is much.
func trimmed[T any](s []T) []T {
	if cap(s) > len(s)+len(s)/16 {
		return append(make([]T, 0, len(s)), s...)
	}
	return s
}

func (f packageFile) compare(g packageFile) int {
	return cmp.Or(cmp.Compare(f.hash, g.hash), cmp.Compare(f.pkg, g.pkg), cmp.Compare(f.file, g.file))
}

// find returns the files of one hash. That it is another path's has a chance of one in 2^44 for a million paths.
func (db *packageDatabase) find(hash uint64) []packageFile {
	i, ok := slices.BinarySearchFunc(db.files, hash, func(f packageFile, hash uint64) int { return cmp.Compare(f.hash, hash) })
	if !ok {
		return nil
	}
	end := i
	for end < len(db.files) && db.files[end].hash == hash {
		end++
	}
	return db.files[i:end]
}

// depart keeps what was owned before and is no more: the last of them, for a while longer than it takes to look at what a
// transaction has removed.
func (db *packageDatabase) depart(before *packageDatabase) {
	if before == nil {
		return
	}
	for _, d := range before.departed {
		if len(db.find(d.hash)) == 0 {
			db.departed = append(db.departed, d)
		}
	}
	var gone []departedFile
	for i, j := 0, 0; i < len(before.files); i++ {
		hash := before.files[i].hash
		for j < len(db.files) && db.files[j].hash < hash {
			j++
		}
		again := i > 0 && before.files[i-1].hash == hash
		if !again && (j == len(db.files) || db.files[j].hash != hash) && len(gone) < maxDeparted {
			gone = append(gone, departedFile{hash, before.packages[before.files[i].pkg].Package})
		}
	}
	db.departed = append(db.departed[:min(len(db.departed), maxDeparted-len(gone))], gone...)
	slices.SortFunc(db.departed, func(d, e departedFile) int { return cmp.Compare(d.hash, e.hash) })
}

// A packageLoader collects what a manager's load reads.
type packageLoader struct {
	root    packageRoot
	seed    maphash.Seed
	db      *packageDatabase
	scratch []byte
	strings map[string]string // that many packages have
}

// add notes a path of a package. The path is as the database has it: absolute, or without the first slash.
func (l *packageLoader) add(name []byte, pkg, file uint32) error {
	if len(name) > maxPackagePath {
		return fmt.Errorf("a path of %d bytes, want at most %d: %.40q…", len(name), maxPackagePath, name)
	}
	if len(l.db.files) >= maxPackagePaths {
		return fmt.Errorf("%s: more than %d paths in %d packages; more are not kept", l.db.path, maxPackagePaths, len(l.db.packages))
	}
	l.db.files = append(l.db.files, packageFile{l.hash(name, &l.db.packages[pkg]), pkg, file})
	return nil
}

// hash is that of where a path of a package lies.
func (l *packageLoader) hash(name []byte, entry *packageEntry) uint64 {
	l.scratch = canonical(l.scratch[:0], name, l.db.aliases)
	if to, ok := l.db.dpkg.diverted(l.scratch, entry); ok {
		return maphash.String(l.seed, to)
	}
	return maphash.Bytes(l.seed, l.scratch)
}

func (l *packageLoader) addPackage(e packageEntry) (uint32, error) {
	if len(l.db.packages) >= maxPackages {
		return 0, fmt.Errorf("%s: more than %d packages; more are not kept", l.db.path, maxPackages)
	}
	e.Manager, e.Arch = l.db.manager.name, l.shared(e.Arch)
	l.db.packages = append(l.db.packages, e)
	return uint32(len(l.db.packages) - 1), nil
}

func (l *packageLoader) shared(s string) string {
	if known, ok := l.strings[s]; ok {
		return known
	}
	l.strings[s] = s
	return s
}

// problem notes what could not be read and does not stop the reading.
func (l *packageLoader) problem(err error) {
	if len(l.db.problems) < maxProblems {
		l.db.problems = append(l.db.problems, err)
		return
	}
	l.db.unsaid++
}

func (p *Packages) hash(db *packageDatabase, name string) uint64 {
	var scratch [256]byte
	return maphash.Bytes(p.seed, canonical(scratch[:0], name, db.aliases))
}

// A pathAlias is a directory that is a symbolic link to another: what merging /usr leaves, and /var/run.
type pathAlias struct{ from, to string }

// aliasCandidates are the directories that distributions have made links; those that are links here are followed, in the
// databases' paths and in those that are asked for.
var aliasCandidates = [...]string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32", "/usr/sbin", "/usr/lib64",
	"/usr/tmp", "/var/run", "/var/lock", "/var/mail", "/var/spool/mail", "/usr/lib/debug/bin", "/usr/lib/debug/sbin",
	"/usr/lib/debug/lib", "/usr/lib/debug/lib64", "/var/lib/rpm"}

func (r packageRoot) aliases() (all []pathAlias) {
	for _, from := range aliasCandidates {
		target, err := r.readlink(from[1:])
		if err != nil || target == "" {
			continue
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(from), target)
		}
		if to := path.Clean(target); to != from && !strings.HasPrefix(to, from+"/") {
			all = append(all, pathAlias{from, to})
		}
	}
	return all
}

// canonical appends a path with the aliases followed, and one slash at its front.
func canonical[T string | []byte](to []byte, name T, aliases []pathAlias) []byte {
	for len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	to = append(append(to, '/'), name...)
	for len(to) > 1 && to[len(to)-1] == '/' {
		to = to[:len(to)-1]
	}
	for range 4 { // links to links; a circle ends here
		if !follow(&to, aliases) {
			break
		}
	}
	return to
}

func follow(name *[]byte, aliases []pathAlias) bool {
	for _, a := range aliases {
		rest, ok := bytes.CutPrefix(*name, []byte(a.from))
		if !ok || len(rest) == 0 || rest[0] != '/' { // the link itself keeps its name
			continue
		}
		*name = slices.Replace(*name, 0, len(a.from), []byte(a.to)...)
		return true
	}
	return false
}

// managersFiles are paths that managers write as they work and that no package has.
var managersFiles = [...]string{"/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/var/log/apt", "/var/log/dpkg.log",
	"/var/log/alternatives.log", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/dnf", "/var/lib/yum", "/var/cache/dnf",
	"/var/cache/libdnf5", "/var/cache/yum", "/var/log/dnf", "/var/log/yum.log", "/var/lib/alternatives", "/var/lib/zypp",
	"/var/cache/zypp", "/var/log/zypp", "/lib/apk/db", "/usr/lib/apk/db", "/etc/apk/world", "/var/cache/apk", "/var/log/apk.log",
	"/run/apk", "/var/lib/snapd", "/var/cache/debconf"}

func managersOwn(name string) bool {
	for _, own := range managersFiles {
		if rest, ok := strings.CutPrefix(name, own); ok && (rest == "" || rest[0] == '/' || rest[0] == '.') {
			return true
		}
	}
	return false
}

// keptSuffixes are what dpkg, rpm and apk add to a file's name while they unpack, or to what they keep beside it.
var keptSuffixes = [...]string{".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist", ".rpmnew", ".rpmsave", ".rpmorig", ".apk-new"}

// temporaryName tells whether a name is one that managers give, and which file's it stands for: none if its name is lost.
func temporaryName(name string) (base string, ok bool) {
	for _, suffix := range keptSuffixes {
		if base, ok = strings.CutSuffix(name, suffix); ok {
			return base, true
		}
	}
	if i := len(name) - 9; i > 0 && name[i] == ';' && isHex(name[i+1:]) { // rpm unpacks to NAME;TID
		return name[:i], true
	}
	hash, ok := strings.CutPrefix(path.Base(name), ".apk.") // apk unpacks to .apk.HASH
	return "", ok && len(hash) >= 16 && isHex(hash)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// packageDirectories are where distributions put the programs of managerPrograms.
var packageDirectories = [...]string{"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/libexec", "/usr/lib/packagekit",
	"/usr/lib/snapd", "/usr/libexec/snapd", "/usr/lib/apt", "/usr/lib/apt/methods"}

var managerPrograms = [...]string{"dpkg", "dpkg-deb", "dpkg-divert", "dpkg-statoverride", "dpkg-trigger", "update-alternatives",
	"alternatives", "apt", "apt-get", "aptitude", "aptd", "unattended-upgrade", "unattended-upgrades", "apt.systemd.daily",
	"synaptic", "rpm", "rpmdb", "dnf", "dnf-3", "dnf4", "dnf5", "dnf5daemon-server", "dnf-automatic", "yum", "microdnf",
	"tdnf", "zypper", "rpm-ostree", "rpm-ostreed", "transactional-update", "packagekitd", "apk", "apk.static", "snapd"}

// IsPackageManager tells whether an executable, by its path within its root, is a package manager's: dpkg, apt, rpm, dnf,
// zypper, apk, snapd and what they run to change files. It is about the name alone; that the file is what the package
// brought is for Check. Some (unattended-upgrade, dnf 4, yum) are scripts: their executable is Python's, and who wants to
// know passes the script's path, for which the process's arguments are a poor witness.
func IsPackageManager(exePath string) bool {
	dir, name := path.Split(exePath)
	dir = path.Clean(dir)
	if rest, ok := strings.CutPrefix(dir, "/snap/"); ok { // snapd carries itself: /snap/snapd/REVISION/usr/lib/snapd
		parts := strings.SplitN(rest, "/", 3)
		ok = len(parts) == 3 && (parts[0] == "snapd" || parts[0] == "core")
		return ok && parts[2] == "usr/lib/snapd" && slices.Contains(managerPrograms[:], name)
	}
	return slices.Contains(packageDirectories[:], dir) && slices.Contains(managerPrograms[:], name)
}

// packageDetailsCache keeps the details of the packages asked for last.
type packageDetailsCache struct {
	known []cachedDetails // the last one last
	bytes int
}

type cachedDetails struct {
	entry   *packageEntry
	details packageDetails
}

func (c *packageDetailsCache) get(entry *packageEntry) packageDetails {
	for i := len(c.known) - 1; i >= 0; i-- {
		if found := c.known[i]; found.entry == entry {
			copy(c.known[i:], c.known[i+1:])
			c.known[len(c.known)-1] = found
			return found.details
		}
	}
	return nil
}

func (c *packageDetailsCache) put(entry *packageEntry, details packageDetails) {
	c.known = append(c.known, cachedDetails{entry, details})
	c.bytes += details.size()
	for len(c.known) > 1 && (c.bytes > maxDetails || len(c.known) > 256) {
		c.bytes -= c.known[0].details.size()
		c.known = slices.Delete(c.known, 0, 1)
	}
}

// A packageRoot opens files as a process whose root it is would.
type packageRoot struct{ fd int }

// A fileState tells whether a file has changed; the zero one is that of a file that is not there.
type fileState struct {
	device, inode     uint64
	size              int64
	modified, changed int64 // ns since 1970
}

func anyThere(states []fileState) bool {
	return slices.ContainsFunc(states, func(s fileState) bool { return s != fileState{} })
}

func (r packageRoot) states(names []string) []fileState {
	states := make([]fileState, len(names))
	for i, name := range names {
		states[i] = r.state(name)
	}
	return states
}

func (r packageRoot) state(name string) fileState {
	fd, err := r.resolve(name, 0)
	if err != nil {
		return fileState{}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return fileState{}
	}
	return stateOf(&st)
}

func stateOf(st *unix.Stat_t) fileState {
	return fileState{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// resolve returns a descriptor that stands for a path and opens nothing, as a device of a container's must not be.
func (r packageRoot) resolve(name string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 8 { // EAGAIN while something is renamed or mounted meanwhile
		if fd, err = unix.Openat2(r.fd, name, &how); err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: "/" + name, Err: err}
	}
	return fd, nil
}

func (r packageRoot) readlink(name string) (string, error) {
	fd, err := r.resolve(name, unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buffer)
	return string(buffer[:max(n, 0)]), err
}

// open opens a regular file of at most so many bytes.
func (r packageRoot) open(name string, most int64) (*os.File, error) {
	f, st, err := r.openAs(name, unix.S_IFREG)
	if err != nil {
		return nil, err
	}
	if st.Size > most {
		f.Close()
		return nil, fmt.Errorf("/%s has %d bytes, more than the %d that are read", name, st.Size, most)
	}
	return f, nil
}

func (r packageRoot) openAs(name string, kind uint32) (*os.File, *unix.Stat_t, error) {
	fd, err := r.resolve(name, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, &fs.PathError{Op: "stat", Path: "/" + name, Err: err}
	}
	if st.Mode&unix.S_IFMT != kind {
		return nil, nil, fmt.Errorf("/%s: want a file of type %v, it has %v", name, unixMode(kind).Type(), unixMode(st.Mode).Type())
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, nil, fmt.Errorf("open /%s: %w", name, err)
	}
	return f, &st, nil
}

// list returns the names in a directory in their order, and an error if there are more than most.
func (r packageRoot) list(name string, most int) ([]string, error) {
	f, _, err := r.openAs(name, unix.S_IFDIR)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(most + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if len(names) > most {
		return nil, fmt.Errorf("/%s has more than %d entries", name, most)
	}
	slices.Sort(names)
	return names, err
}

func (r packageRoot) read(name string, most int64) ([]byte, error) {
	f, err := r.open(name, most)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// lines calls do with each line of a text file, without its end; the line is only valid until do returns. Errors name the
// file and the line.
func (r packageRoot) lines(name string, do func(line []byte) error) error {
	f, err := r.open(name, maxPackageText)
	if err != nil {
		return err
	}
	defer f.Close()
	return eachLine(io.LimitReader(f, maxPackageText), "/"+name, do)
}

var lineReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxPackageLine) }}

func eachLine(from io.Reader, name string, do func(line []byte) error) error {
	b := lineReaders.Get().(*bufio.Reader)
	b.Reset(from)
	defer lineReaders.Put(b)
	for n := 1; ; n++ {
		line, err := b.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%s:%d: line is longer than %d bytes", name, n, maxPackageLine)
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if len(line) > 0 {
			if err := do(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
				return fmt.Errorf("%s:%d: %w", name, n, err)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// accountNames are the ids of a root's users and groups by name, read again when their files change.
type accountNames struct{ files map[string]*accountFile }

type accountFile struct {
	state fileState
	ids   map[string]uint32
}

const maxAccounts = 100_000

// id finds a user's or group's number. Root is 0 whatever the file says, and names that are numbers are these ("#123" is
// how dpkg writes them).
func (a *accountNames) id(root packageRoot, file, name string) (uint32, bool) {
	if name == "root" {
		return 0, true
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(name, "#"), 10, 32); err == nil {
		return uint32(n), true
	}
	if a.files == nil {
		a.files = map[string]*accountFile{}
	}
	known := a.files[file]
	if state := root.state(file); known == nil || known.state != state {
		known = &accountFile{state, map[string]uint32{}}
		root.lines(file, known.parse) // a name that is not found leaves the owner unsaid
		a.files[file] = known
	}
	id, ok := known.ids[name]
	return id, ok
}

// UserID finds the number of a user of this root by his name.
func (p *Packages) UserID(name string) (uint32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names.id(p.root, "etc/passwd", name)
}

// parse reads a line of passwd(5) or group(5): NAME:PASSWORD:ID:…; others are not for us to judge.
func (f *accountFile) parse(line []byte) error {
	fields := bytes.SplitN(line, []byte(":"), 4)
	if len(fields) < 3 || len(f.ids) >= maxAccounts {
		return nil
	}
	id, err := strconv.ParseUint(string(fields[2]), 10, 32)
	if _, twice := f.ids[string(fields[0])]; err == nil && !twice && id <= math.MaxUint32 {
		f.ids[string(fields[0])] = uint32(id)
	}
	return nil
}
