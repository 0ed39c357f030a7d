package fim

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is read and kept of managers' logs, and how exact they are.
const (
	maxLogTail    = 4 << 20  // bytes of a log, from its end
	maxLogPacked  = 16 << 20 // bytes of a compressed one, unpacked; they are read as a stream
	maxRotations  = 12
	maxSpans      = 16_384           // packages' turns, the newest
	logSlack      = 2 * time.Second  // a log has whole seconds, and a line is written a moment before or after what it says
	runGap        = 5 * time.Second  // between runs of one transaction: apt unpacks, then configures
	unknownLength = 10 * time.Minute // of a transaction of which only the beginning is known, at most
	listLag       = time.Minute      // at most between the first file of a package and its list
	lineGap       = time.Hour        // at most between two lines of one run of dpkg
	maxNamed      = 8                // packages of a transaction that are told by name
)

// A Transaction is a time in which a manager was at work.
type Transaction struct {
	Manager  string
	From, To time.Time // To is zero while it runs
	Packages []string  // that it worked on, as far as is known, the first 8; with ":ARCH" if dpkg's
	More     int       // others
}

func (t Transaction) String() string {
	s := t.Manager + " since " + t.From.UTC().Format(time.RFC3339)
	if !t.To.IsZero() {
		s = t.Manager + " from " + t.From.UTC().Format(time.RFC3339) + " to " + t.To.UTC().Format(time.RFC3339)
	}
	if len(t.Packages) > 0 {
		s += ": " + strings.Join(t.Packages, ", ")
	}
	if t.More > 0 {
		s += fmt.Sprintf(" and %d more", t.More)
	}
	return s
}

// Transaction tells whether a manager was at work at a time, and which, on what: by its lock if it still is, by its log
// (dpkg.log with what was rotated away, apk.log), else by when packages were installed. Other processes can change files
// meanwhile, and a log can be written by whoever is root: Check tells whether a file is what its package brought.
func (p *Packages) Transaction(t time.Time) (running bool, what string) {
	for _, db := range p.current() {
		if tr, ok := p.transaction(db, t, nil); ok {
			return true, tr.String()
		}
	}
	return false, ""
}

// Unpacked tells within which transaction's work on a package a time lies: on its files, or in its scripts. While the
// manager runs it also answers for packages that are not in its log yet.
func (p *Packages) Unpacked(pkg Package, t time.Time) (Transaction, bool) {
	for _, db := range p.current() {
		if db.manager.name == pkg.Manager {
			return p.transaction(db, t, &pkg)
		}
	}
	return Transaction{}, false
}

// transaction finds the one of a time; with a package, only if it was worked on then.
func (p *Packages) transaction(db *packageDatabase, t time.Time, pkg *Package) (Transaction, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	live, running := p.running(db, t)
	for _, h := range p.histories(db, t) {
		if r := h.find(t.UnixNano(), pkg); r != nil {
			found := h.describe(db.manager.name, r)
			if running && r == h.last() {
				found.To = time.Time{}
			}
			return found, true
		}
		if last := h.last(); running && last != nil && last.from >= live.From.Add(-logSlack).Unix() {
			live = h.describe(db.manager.name, last)
			live.To = time.Time{}
		}
	}
	return live, running
}

// packageHistory is what logs or databases tell of when packages were worked on.
type packageHistory struct {
	spans []packageSpan // by their beginning
	runs  []packageRun
}

// A packageSpan is a turn of one package. Times are s since 1970, of the first and of the last second.
type packageSpan struct {
	name     string // as logs have it: with ":ARCH" for dpkg
	from, to int64
}

// A packageRun is a transaction, and which spans are its.
type packageRun struct {
	from, to    int64
	first, last int // spans[first:last]
}

func (h *packageHistory) last() *packageRun {
	if len(h.runs) == 0 {
		return nil
	}
	return &h.runs[len(h.runs)-1]
}

// find returns the latest run that was at work at a time (ns since 1970), on a package if there is one; nil if none was.
func (h *packageHistory) find(at int64, pkg *Package) *packageRun {
	during := func(from, to int64) bool { return at >= from*1e9 && at <= to*1e9+int64(logSlack) }
	for i := len(h.runs) - 1; i >= 0; i-- {
		r := &h.runs[i]
		if !during(r.from, r.to) {
			continue
		}
		if pkg == nil || slices.ContainsFunc(h.spans[r.first:r.last], func(s packageSpan) bool {
			return (s.name == pkg.Name || s.name == pkg.Name+":"+pkg.Arch) && during(s.from, s.to)
		}) {
			return r
		}
	}
	return nil
}

func (h *packageHistory) describe(manager string, r *packageRun) Transaction {
	t := Transaction{Manager: manager, From: time.Unix(r.from, 0), To: time.Unix(r.to, 0).Add(time.Second)}
	seen := map[string]bool{}
	for _, s := range h.spans[r.first:r.last] {
		if !seen[s.name] && len(seen) < maxNamed {
			t.Packages = append(t.Packages, s.name)
		}
		seen[s.name] = true
	}
	t.More = len(seen) - len(t.Packages)
	return t
}

// histories are the log's, and what the database tells of a time that the log does not reach back to.
func (p *Packages) histories(db *packageDatabase, t time.Time) []*packageHistory {
	format, ok := packageLogs[db.manager.name]
	if !ok {
		return []*packageHistory{rpmHistory(db)}
	}
	if p.logs == nil {
		p.logs = map[string]*transactionLog{}
	}
	log := p.logs[format.path]
	if log == nil {
		log = &transactionLog{format: format}
		p.logs[format.path] = log
	}
	log.read(p.root, t)
	if db.manager.name == "dpkg" && (len(log.runs) == 0 || t.Unix() < log.runs[0].from) {
		return []*packageHistory{&log.packageHistory, dpkgHistory(db)}
	}
	return []*packageHistory{&log.packageHistory}
}

// rpmHistory has a run for each transaction that packages were installed by. A package's files are put in place from its
// time on until the next one's, or the end.
func rpmHistory(db *packageDatabase) *packageHistory {
	return historyOf(db, func(a, b *packageEntry) bool { return a.run == b.run }, func(e *packageEntry) (int64, int64) {
		return e.changed, e.changed + int64(listLag/time.Second)
	})
}

// dpkgHistory is for systems without a log: a package's list is written right after its files.
func dpkgHistory(db *packageDatabase) *packageHistory {
	return historyOf(db, func(a, b *packageEntry) bool { return b.changed-a.changed <= int64(listLag/time.Second) },
		func(e *packageEntry) (int64, int64) { return e.changed - int64(listLag/time.Second), e.changed })
}

func historyOf(db *packageDatabase, together func(a, b *packageEntry) bool, span func(*packageEntry) (from, to int64)) *packageHistory {
	h := &packageHistory{}
	var order []*packageEntry
	for i := range db.packages {
		if e := &db.packages[i]; e.changed > 0 {
			order = append(order, e)
		}
	}
	slices.SortStableFunc(order, func(a, b *packageEntry) int { return cmp.Compare(a.changed, b.changed) })
	for i, e := range order {
		from, to := span(e)
		if e.run > 0 && i+1 < len(order) && order[i+1].run == e.run {
			to = order[i+1].changed
		}
		h.spans = append(h.spans, packageSpan{e.Name, from, to})
		if i == 0 || !together(order[i-1], e) {
			if e.run > 0 && e.run < from {
				from = e.run
			}
			h.runs = append(h.runs, packageRun{from: from, first: i})
		}
		r := &h.runs[len(h.runs)-1]
		r.to, r.last = max(r.to, to), i+1
	}
	return h
}

// A logFormat is how one manager's log is read.
type logFormat struct {
	path string
	line func(*transactionLog, []byte)
	utc  bool // apk's
}

var packageLogs = map[string]logFormat{
	"dpkg": {"var/log/dpkg.log", (*transactionLog).dpkgLine, false},
	"apk":  {"var/log/apk.log", (*transactionLog).apkLine, true},
}

// A transactionLog is a manager's log, as far as it was read. It goes on where it has stopped.
type transactionLog struct {
	packageHistory
	format  logFormat
	zone    *time.Location
	state   fileState
	offset  int64
	older   bool           // whether what was rotated away has been read, too
	open    map[string]int // which span a package's turn is, until it ends
	dropped bool           // older spans have been, for want of room
	err     error          // why not all of it could be read
}

// read brings the history up to date; what was rotated away is read once, when a time before the rest is asked for.
func (g *transactionLog) read(root packageRoot, t time.Time) {
	g.follow(root, g.older)
	if !g.older && !g.dropped && (len(g.runs) == 0 || t.Unix() < g.runs[0].from) {
		g.follow(root, true)
	}
}

// follow reads what has been added, or everything if the log is another one than it was.
func (g *transactionLog) follow(root packageRoot, older bool) {
	state := root.state(g.format.path)
	again := g.open == nil || state.inode != g.state.inode || state.device != g.state.device || state.size < g.offset || older != g.older
	if !again && state == g.state {
		return
	}
	if again {
		*g = transactionLog{format: g.format, older: older, open: map[string]int{}, zone: time.UTC}
		if !g.format.utc {
			g.zone = localZone(root)
		}
		for n := maxRotations; older && n > 0; n-- {
			g.note(g.rotated(root, n))
		}
	}
	g.state = state
	g.note(g.tail(root))
}

// note keeps why the log could not be read, unless it is not there.
func (g *transactionLog) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.err = err
	}
}

// rotated reads DIR/NAME.N or DIR/NAME.N.gz.
func (g *transactionLog) rotated(root packageRoot, n int) error {
	name := g.format.path + "." + strconv.Itoa(n)
	f, err := root.open(name, 1<<40)
	if err == nil {
		defer f.Close()
		_, err := f.Seek(-maxLogTail, io.SeekEnd)
		if err != nil { // it is shorter
			_, err = f.Seek(0, io.SeekStart)
		}
		g.lines(io.LimitReader(f, maxLogTail))
		return err
	}
	if f, err = root.open(name+".gz", maxLogPacked); err != nil {
		return err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("/%s.gz: %w", name, err)
	}
	g.lines(io.LimitReader(unpacked, maxLogPacked))
	return nil
}

// tail reads on from where the last reading stopped, but not what is too far from the end. A last line without its end is
// left for the next time.
func (g *transactionLog) tail(root packageRoot) error {
	f, err := root.open(g.format.path, 1<<40)
	if err != nil {
		return err
	}
	defer f.Close()
	from := max(g.offset, g.state.size-maxLogTail)
	g.offset = from + g.lines(io.NewSectionReader(f, from, max(g.state.size-from, 0)))
	if g.format.utc {
		g.end(g.state.modified / 1e9)
	}
	return nil
}

// lines reads whole lines and returns how many bytes they have. What is no line of the log is skipped: it may begin within
// one, and administrators write there, too.
func (g *transactionLog) lines(from io.Reader) (read int64) {
	b := bufio.NewReaderSize(from, maxPackageLine)
	for long := false; ; {
		line, err := b.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return read
		}
		read += int64(len(line))
		if err == nil && !long {
			g.format.line(g, line[:len(line)-1])
		}
		long = err != nil
	}
}

// dpkgLine reads "DATE TIME startup WHAT", "DATE TIME ACTION PACKAGE OLD NEW" and "DATE TIME status STATE PACKAGE VERSION".
func (g *transactionLog) dpkgLine(line []byte) {
	at, ok := logTime(line, g.zone)
	if !ok || len(line) < 21 {
		return
	}
	fields := strings.Fields(string(line[20:]))
	if len(fields) < 2 {
		return
	}
	switch fields[0] {
	case "startup":
		g.begin(at, false)
		clear(g.open)
	case "install", "upgrade", "remove", "purge", "configure", "trigproc", "disappear":
		g.begin(at, true)
		g.turn(fields[1], at, true)
	case "status":
		if len(fields) >= 3 {
			g.begin(at, true)
			g.turn(fields[2], at, strings.HasPrefix(fields[1], "half-"))
		}
	case "conffile":
		g.begin(at, true)
	}
}

// apkLine reads "Running `COMMAND` at DATE TIME" in UTC and "(N/M) VERB PACKAGE (VERSION)", as apk 3 writes them; apk 2 has no
// log. When a run ended is not told: before the next one, and for the last when the log was written last.
func (g *transactionLog) apkLine(line []byte) {
	if i := bytes.LastIndex(line, []byte("` at ")); i >= 0 && bytes.HasPrefix(line, []byte("Running `")) {
		if at, ok := logTime(line[i+5:], g.zone); ok {
			g.end(at)
			g.addRun(packageRun{from: at, to: at})
		}
		return
	}
	fields := strings.Fields(string(line))
	if len(g.runs) > 0 && len(fields) >= 3 && fields[0][0] == '(' && fields[1] != "Executing" { // scripts and triggers
		at := g.last().from
		g.addSpan(packageSpan{fields[2], at, at})
	}
}

// end sets the end of apk's last run, and of its packages' turns.
func (g *transactionLog) end(at int64) {
	r := g.last()
	if r == nil {
		return
	}
	r.to = max(r.from, min(at, r.from+int64(unknownLength/time.Second)))
	for i := r.first; i < r.last; i++ {
		g.spans[i].to = r.to
	}
}

// begin makes a run of what happens at a time, or lengthens the last one: by what it goes on with, or soon after it.
func (g *transactionLog) begin(at int64, goesOn bool) {
	if n := len(g.runs); n > 0 {
		last := &g.runs[n-1]
		gap := runGap
		if goesOn {
			gap = lineGap
		}
		if at >= last.from && at-last.to <= int64(gap/time.Second) {
			last.to = max(last.to, at)
			return
		}
	}
	g.addRun(packageRun{from: at, to: at})
}

// turn notes a line about a package: it begins a turn or lengthens the current one, which ends if open is false.
func (g *transactionLog) turn(name string, at int64, open bool) {
	i, ok := g.open[name]
	if !ok {
		i = len(g.spans)
		if !g.addSpan(packageSpan{name, at, at}) {
			i = len(g.spans) - 1
		}
	}
	g.spans[i].to = max(g.spans[i].to, at)
	if delete(g.open, name); open {
		g.open[name] = i
	}
}

func (g *transactionLog) addRun(r packageRun) {
	if len(g.runs) >= maxSpans {
		g.drop()
	}
	r.first, r.last = len(g.spans), len(g.spans)
	g.runs = append(g.runs, r)
}

// addSpan is false if room had to be made, which moves the others.
func (g *transactionLog) addSpan(s packageSpan) (inPlace bool) {
	if inPlace = len(g.spans) < maxSpans; !inPlace {
		g.drop()
	}
	g.spans = append(g.spans, s)
	g.runs[len(g.runs)-1].last = len(g.spans)
	return inPlace
}

// drop forgets the older half.
func (g *transactionLog) drop() {
	g.dropped = true
	n := len(g.spans) / 2
	g.spans = append([]packageSpan(nil), g.spans[n:]...)
	var runs []packageRun
	for i, r := range g.runs {
		r.first, r.last = max(r.first-n, 0), max(r.last-n, 0)
		if r.last > 0 && i >= len(g.runs)/2-1 || r.last > r.first || i == len(g.runs)-1 {
			runs = append(runs, r)
		}
	}
	g.runs = runs[max(0, len(runs)-maxSpans/2):]
	clear(g.open)
}

// logTime reads "2006-01-02 15:04:05" at a line's beginning.
func logTime(line []byte, zone *time.Location) (seconds int64, ok bool) {
	if len(line) < 19 {
		return 0, false
	}
	t, err := time.ParseInLocation(time.DateTime, string(line[:19]), zone)
	return t.Unix(), err == nil
}

// localZone is the root's time zone, in which dpkg writes: UTC if there is none, as glibc has it.
func localZone(root packageRoot) *time.Location {
	data, err := root.read("etc/localtime", 1<<20)
	if err != nil {
		return time.UTC
	}
	zone, err := time.LoadLocationFromTZData("localtime", data)
	if err != nil {
		return time.UTC
	}
	return zone
}

// packageLocks are held by managers at work. apk's is one of flock(2), which can only be seen in /proc/locks.
var packageLocks = map[string][]string{
	"dpkg": {"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend"},
	"rpm":  {"usr/lib/sysimage/rpm/.rpm.lock", "var/lib/rpm/.rpm.lock"},
	"apk":  {"lib/apk/db/lock", "usr/lib/apk/db/lock", "run/apk/db.lock"},
}

// running tells whether a manager that was already at work at a time still is.
func (p *Packages) running(db *packageDatabase, t time.Time) (Transaction, bool) {
	if p.locked == nil {
		p.locked = map[string]time.Time{}
	}
	for _, name := range packageLocks[db.manager.name] {
		pid, held := p.lockHolder(name)
		if !held {
			delete(p.locked, name)
			continue
		}
		since, known := p.locked[name]
		if !known {
			since = p.holderSince(pid)
			p.locked[name] = since
		}
		if !t.Before(since.Add(-logSlack)) && !t.After(p.now().Add(logSlack)) {
			return Transaction{Manager: db.manager.name, From: since}, true
		}
	}
	return Transaction{}, false
}

// lockHolder tells whether a file is locked for writing, and by whom: 0 if that cannot be seen from here.
func (p *Packages) lockHolder(name string) (pid int, held bool) {
	f, err := p.root.open(name, 1<<40)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart} // what a lock for writing would keep from us
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err == nil && lock.Type == unix.F_WRLCK {
		return max(int(lock.Pid), 0), true
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0, false
	}
	locks, err := os.Open(path.Join(p.procfs, "locks"))
	if err != nil {
		return 0, false
	}
	defer locks.Close()
	return p.parseLocks(io.LimitReader(locks, 16<<20), &st)
}

// parseLocks looks for an flock(2) of a file in lines "N: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF", the device in
// hexadecimal. That of an overlay or of Btrfs is not the one that stat(2) tells: there who holds it must be a manager.
func (p *Packages) parseLocks(from io.Reader, st *unix.Stat_t) (pid int, held bool) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[3] != "WRITE" {
			continue
		}
		device, inode, ok := lockedFile(fields[5])
		if pid, err := strconv.Atoi(fields[4]); ok && err == nil && inode == st.Ino {
			if device == uint64(st.Dev) || p.isManager(pid) {
				return pid, true
			}
		}
	}
	return 0, false
}

func lockedFile(s string) (device, inode uint64, ok bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, 0, false
	}
	major, err := strconv.ParseUint(parts[0], 16, 32)
	minor, err2 := strconv.ParseUint(parts[1], 16, 32)
	inode, err3 := strconv.ParseUint(parts[2], 10, 64)
	return unix.Mkdev(uint32(major), uint32(minor)), inode, err == nil && err2 == nil && err3 == nil
}

func (p *Packages) isManager(pid int) bool {
	exe, err := os.Readlink(path.Join(p.procfs, strconv.Itoa(pid), "exe"))
	return err == nil && IsPackageManager(strings.TrimSuffix(exe, " (deleted)"))
}

// holderSince is when a process began, before which it held no lock; now if that cannot be seen.
func (p *Packages) holderSince(pid int) time.Time {
	stat, err := os.ReadFile(path.Join(p.procfs, strconv.Itoa(pid), "stat"))
	system, err2 := os.ReadFile(path.Join(p.procfs, "stat"))
	_, after, ok := bytes.Cut(stat, []byte(") ")) // a name may have one, too: the last counts
	for ok && bytes.Contains(after, []byte(") ")) {
		_, after, ok = bytes.Cut(after, []byte(") "))
	}
	fields := bytes.Fields(after)
	if err != nil || err2 != nil || len(fields) < 20 {
		return p.now()
	}
	ticks, err := strconv.ParseInt(string(fields[19]), 10, 64) // field 22, of 1/100 s each
	_, boot, ok := bytes.Cut(system, []byte("\nbtime "))
	boot, _, _ = bytes.Cut(boot, []byte("\n"))
	seconds, err2 := strconv.ParseInt(string(boot), 10, 64)
	if err != nil || err2 != nil || !ok {
		return p.now()
	}
	return time.Unix(seconds, ticks%100*10_000_000).Add(time.Duration(ticks/100) * time.Second)
}
