package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A TLSFile is a file of a process that may hold a library of TLS.
type TLSFile struct {
	Root string // /proc/PID/root, below which Path is, whatever links say; empty: Path is ours
	Path string
	Go   bool // a Go program, of which crypto/tls is probed; else OpenSSL or BoringSSL, or a program with it inside
}

// LibrariesNeedAdmin says that this kernel lets only CAP_SYS_ADMIN probe libraries: each probe is a perf event, which asks
// for it since CVE-2025-38466 (6.16, and 5.10.240, 6.1.146 and their like), where links that hold many came with 6.6.
func LibrariesNeedAdmin() bool { return features.HaveBPFLinkUprobeMulti() != nil }

// A TLSProcess is a process whose plaintext is to be seen. The whole workload is: its other processes are seen as far as
// they run the same files.
type TLSProcess struct {
	PID      int
	CgroupID uint64
	Files    []TLSFile
}

// TLSStats are what the probes of libraries have counted.
type TLSStats struct {
	Files    int               // that are probed now
	Hits     map[string]uint64 // of probes, by library: each is a trap, with or without effect
	Unbound  uint64            // calls whose connection was not known: what they read or wrote is not looked at
	Unlooked uint64            // calls that were not looked at for want of memory
}

// TLSLibraries names the elements of enum tls_count that are hits.
var TLSLibraries = [...]string{"openssl", "go"}

// Elements of enum tls_count behind them.
const (
	tlsUnbound = len(TLSLibraries) + iota
	tlsUnlooked
	tlsTried
)

// tlsParsers are the programs behind the probes, in the order of tls_programs.
var tlsParsers = [...]string{"tls_first", "tls_text", "tls_sql", "tls_binary", "tls_http2"}

// libraries is what is probed. mu guards what is below it; it is held while files are attached to and detached from, which
// takes up to a second, so that none is twice. Agent.mu guards rows.
type libraries struct {
	probed    atomic.Int32 // files
	rows      map[string]Probe
	mu        sync.Mutex
	returns   error // why functions' returns cannot be probed
	multi     bool  // one link can hold all places of a program: 89ae89f53d20, 6.6
	programs  map[string]*ebpf.Program
	files     map[fileID]*probedFile
	processes map[int]*tracedProcess
}

type tracedProcess struct {
	slot  uint32
	files []fileID
}

// A fileID tells files apart that have the same contents, and does not tell apart one file that several containers see:
// each overlay has a device number of its own, and may put its layers' into the top of the inode number.
type fileID struct {
	inode, size  uint64
	mtime, ctime unix.Timespec
	isGo         bool // a program may have both libraries
}

// A probedFile is attached to once, however many processes run it.
type probedFile struct {
	users int
	links []io.Closer
	err   error // why it is not probed
}

// TraceTLS probes the libraries of a process, and lets what its workload reads and writes by them be counted as requests.
// It may be called again for the same process once it has mapped more files. What of it fails is told by Probes too. A file
// without a library is no failure. It reads files of the process, which takes as long as their file system likes.
func (a *Agent) TraceTLS(p TLSProcess) error {
	if a.off() {
		return cmp.Or(a.refusal, errors.New("nothing runs in the kernel"))
	}
	slot, err := a.tlsSlot(p.CgroupID)
	if err != nil {
		return err
	}
	if err := a.prepareLibraries(); err != nil {
		return err
	}
	a.beginTracing(p.PID, slot)
	var errs []error
	for _, f := range p.Files {
		if err := a.probeFile(p.PID, f); err != nil && !errors.Is(err, errNoPlaces) {
			errs = append(errs, fmt.Errorf("probe %s: %w", f.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (a *Agent) beginTracing(pid int, slot uint32) {
	l := &a.libraries
	l.mu.Lock()
	defer l.mu.Unlock()
	traced := l.processes[pid]
	if traced != nil && traced.slot == slot {
		return
	}
	if traced != nil {
		a.untrace(pid) // of another process by now
	}
	l.processes[pid] = &tracedProcess{slot: slot}
}

// tlsSlot opens a control group's workload to be looked into.
func (a *Agent) tlsSlot(cgroup uint64) (uint32, error) {
	var s yaguraCgroupSlot
	if err := a.maps["cgroup_slots"].Lookup(cgroup, &s); err != nil {
		return 0, fmt.Errorf("control group %d has no slot: %w", cgroup, err)
	}
	if s.Slot == 0 || s.Flags&cgroupBorrowed != 0 {
		return 0, fmt.Errorf("control group %d shares its slot with others: want kernel.workloads to be larger", cgroup)
	}
	var generation uint32
	if err := a.maps["slot_generation"].Lookup(s.Slot, &generation); err != nil {
		return 0, fmt.Errorf("read the generation of slot %d: %w", s.Slot, err)
	}
	if m := a.maps["tls_workloads"]; m == nil {
		return 0, fmt.Errorf("map tls_workloads: %w", a.missing["tls_workloads"])
	} else if err := m.Put(s.Slot, generation); err != nil {
		return 0, fmt.Errorf("open slot %d to be looked into: %w", s.Slot, err)
	}
	return s.Slot, nil
}

// prepareLibraries loads what every probe hands plaintext to, and every probe. A parser that is refused leaves its protocols
// unseen, a probe that is refused the files that need it.
func (a *Agent) prepareLibraries() error {
	a.planning.Lock()
	defer a.planning.Unlock()
	l := &a.libraries
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.programs != nil {
		return nil
	}
	m := a.maps["tls_programs"]
	if m == nil {
		return fmt.Errorf("map tls_programs: %w", a.missing["tls_programs"])
	}
	l.programs, l.files, l.processes = map[string]*ebpf.Program{}, map[fileID]*probedFile{}, map[int]*tracedProcess{}
	l.multi = features.HaveBPFLinkUprobeMulti() == nil
	a.mu.Lock()
	a.links["libraries"] = closer(a.closeLibraries)
	a.mu.Unlock()
	a.loadable, a.types = a.readPrograms(), btf.NewCache()
	defer func() { a.loadable, a.types = nil, nil }()
	for i, name := range tlsParsers {
		p, err := a.loadLibrary(name)
		if err == nil {
			err = m.Put(uint32(i), p)
		}
		a.tellLibrary(name, err)
	}
	for name := range probePrograms() {
		if _, err := a.loadLibrary(name); err != nil {
			a.tellLibrary(name, err)
		}
	}
	l.returns = a.tryReturns()
	return nil
}

// probePrograms yields the name of every program that is a probe.
func probePrograms() iter.Seq[string] {
	names := map[string]bool{openSSLReturned: true, "tls_tried": true}
	for _, f := range opensslFunctions {
		names[f.program] = true
	}
	for _, f := range goFunctions {
		names[cmp.Or(f.entry, f.returns)] = true
	}
	return maps.Keys(names)
}

// loadLibrary loads a program that is a probe or is called by one; all of them are attached in the same way. They are
// closed, and their cost is read, with all others.
func (a *Agent) loadLibrary(name string) (*ebpf.Program, error) {
	if p := a.loadable[name]; p != nil && a.libraries.multi {
		p.AttachType = ebpf.AttachTraceUprobeMulti
	}
	p, err := a.loadProgramOf(name, a.types)
	if err != nil {
		return nil, err
	}
	a.libraries.programs[name] = p
	a.mu.Lock()
	defer a.mu.Unlock()
	a.programs[name] = p
	return p, nil
}

// tellLibrary notes for Probes what became of one.
func (a *Agent) tellLibrary(name string, err error) {
	row := Probe{Name: name, Wanted: true, Attached: err == nil}
	if err != nil {
		row.Reason = shortReason(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && a.libraries.rows[name].Reason != row.Reason {
		a.log.Warn("probe refused", "probe", name, "reason", row.Reason)
	}
	if a.libraries.rows == nil {
		a.libraries.rows = map[string]Probe{}
	}
	a.libraries.rows[name] = row
}

// probes are the rows of libraries in Probes, which holds Agent.mu.
func (l *libraries) probes() []Probe {
	return slices.Collect(maps.Values(l.rows))
}

// probeFile attaches to a file of a process, or counts one more user of it.
func (a *Agent) probeFile(pid int, f TLSFile) error {
	file, err := f.open()
	if err != nil {
		return err
	}
	defer file.Close()
	id, err := identify(file)
	if err != nil {
		return err
	}
	id.isGo = f.Go
	l := &a.libraries
	if p := l.share(pid, id); p != nil {
		return p.err
	}
	places, err := findPlaces(file, f.Go)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &probedFile{err: err}
	if err == nil {
		p.links, p.err = a.attachFile(file, places)
		a.tellLibrary(libraryRow(f), p.err)
	}
	if len(l.files) >= maxTLSFiles {
		maps.DeleteFunc(l.files, func(_ fileID, p *probedFile) bool { return p.err != nil })
	}
	l.files[id] = p
	if p.err != nil {
		return p.err
	}
	l.use(pid, id)
	return a.countFiles()
}

func libraryRow(f TLSFile) string {
	if f.Go {
		return "tls_go"
	}
	return "tls_openssl"
}

// share makes a process a user of a file that is known, which it returns.
func (l *libraries) share(pid int, id fileID) *probedFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.files[id]
	if p != nil && p.err == nil {
		l.use(pid, id)
	}
	return p
}

func (l *libraries) use(pid int, id fileID) {
	if traced := l.processes[pid]; traced != nil && !slices.Contains(traced.files, id) {
		traced.files = append(traced.files, id)
		l.files[id].users++
	}
}

// open opens a file that may not be what it was when the process mapped it: it neither waits for the other end of a pipe nor
// follows links out of the process's root.
func (f TLSFile) open() (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC
	if f.Root == "" {
		return os.OpenFile(f.Path, flags, 0)
	}
	root, err := unix.Open(f.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Root, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, strings.TrimPrefix(f.Path, "/"), &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, fmt.Errorf("open below %s: %w", f.Root, err)
	}
	return os.NewFile(uintptr(fd), f.Path), nil
}

// maxTLSFiles is how many files are remembered before those that could not be probed are forgotten.
const maxTLSFiles = 1024

func identify(file *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return fileID{}, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fileID{}, errors.New("want a regular file")
	}
	const layerBits = 16 // of overlayfs
	return fileID{inode: st.Ino << layerBits >> layerBits, size: uint64(st.Size), mtime: st.Mtim, ctime: st.Ctim}, nil
}

// findPlaces also reads the code, so that attaching need not wait for it.
func findPlaces(file *os.File, isGo bool) ([]place, error) {
	find := opensslPlaces
	if isGo {
		find = goPlaces
	}
	places, err := find(file)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if _, err := file.ReadAt(make([]byte, 16), int64(p.offset)); err != nil {
			return nil, fmt.Errorf("read code: %w", err)
		}
	}
	return places, nil
}

func (a *Agent) attachFile(file *os.File, places []place) ([]io.Closer, error) {
	if a.libraries.returns != nil && slices.ContainsFunc(places, func(p place) bool { return p.returns }) {
		return nil, a.libraries.returns
	}
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", file.Fd())) // what we have looked into
	if err != nil {
		return nil, err
	}
	var links []io.Closer
	for _, group := range a.linkGroups(places) {
		l, err := a.attachPlaces(executable, group)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s at %#x: %w", group[0].program, group[0].offset, err), closeAll(links))
		}
		links = append(links, l)
	}
	return links, nil
}

// linkGroups are the places that share a link.
func (a *Agent) linkGroups(places []place) (groups [][]place) {
	for _, p := range places {
		i := slices.IndexFunc(groups, func(g []place) bool { return g[0].program == p.program && g[0].returns == p.returns })
		if i < 0 || !a.libraries.multi {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

func (a *Agent) attachPlaces(executable *link.Executable, group []place) (io.Closer, error) {
	name, returns := group[0].program, group[0].returns
	program := a.libraries.programs[name]
	if program == nil {
		return nil, errors.New("the kernel refuses the program")
	}
	var offsets []uint64
	for _, p := range group {
		offsets = append(offsets, p.offset)
	}
	return a.attachTo(executable, program, returns, offsets...)
}

func (a *Agent) attachTo(executable *link.Executable, program *ebpf.Program, returns bool, offsets ...uint64) (io.Closer, error) {
	switch {
	case a.libraries.multi && returns:
		return executable.UretprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: offsets})
	case a.libraries.multi:
		return executable.UprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: offsets})
	case returns:
		return executable.Uretprobe("", program, &link.UprobeOptions{Address: offsets[0]})
	}
	return executable.Uprobe("", program, &link.UprobeOptions{Address: offsets[0]})
}

// closeAll closes links, for each of which the kernel waits some tens of ms until nobody runs it.
func closeAll(links []io.Closer) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// countFiles tells the programs on system calls whether to ask for calls of libraries.
func (a *Agent) countFiles() error {
	n := uint32(0)
	for _, p := range a.libraries.files {
		if p.err == nil {
			n++
		}
	}
	a.libraries.probed.Store(int32(n))
	m := a.maps[".data.tls"]
	if m == nil {
		return fmt.Errorf("map .data.tls: %w", a.missing[".data.tls"])
	}
	return m.Put(uint32(0), n)
}

// UntraceTLS takes back TraceTLS for a process that has ended, or is not to be seen any more.
func (a *Agent) UntraceTLS(pid int) {
	if a.off() {
		return
	}
	a.libraries.mu.Lock()
	defer a.libraries.mu.Unlock()
	a.untrace(pid)
}

func (a *Agent) untrace(pid int) {
	l := &a.libraries
	traced := l.processes[pid]
	if traced == nil {
		return
	}
	delete(l.processes, pid)
	if !l.sees(traced.slot) {
		a.maps["tls_workloads"].Delete(traced.slot)
	}
	for _, id := range traced.files {
		p := l.files[id]
		if p.users--; p.users > 0 {
			continue
		}
		if err := closeAll(p.links); err != nil {
			a.log.Warn("library not detached", "err", err)
		}
		delete(l.files, id)
	}
	if err := a.countFiles(); err != nil {
		a.log.Warn("libraries not counted", "err", err)
	}
}

func (l *libraries) sees(slot uint32) bool {
	for _, p := range l.processes {
		if p.slot == slot {
			return true
		}
	}
	return false
}

func (a *Agent) closeLibraries() error {
	l := &a.libraries
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, p := range l.files {
		errs = append(errs, closeAll(p.links))
	}
	l.files, l.processes = nil, nil
	return errors.Join(errs...)
}

// SweepTLS forgets what processes have left behind that were killed within a call, or did not free their connections.
func (a *Agent) SweepTLS(alive func(pid uint32) bool) error {
	if a.off() || a.maps["tls_calls"] == nil || a.maps["tls_sockets"] == nil {
		return nil
	}
	dead := func(pid uint64) bool { return !alive(uint32(pid)) }
	err := errors.Join(
		deleteOf(a.maps["tls_sockets"], func(o *tlsObject) bool { return dead(o.Process) }),
		deleteOf(a.maps["tls_calls"], func(c *tlsCaller) bool {
			if c.Goroutine == 0 {
				return dead(c.Thread >> 32)
			}
			return dead(c.Thread)
		}))
	if err != nil {
		return fmt.Errorf("forget calls of libraries: %w", err)
	}
	return nil
}

// Keys of tls_sockets and tls_calls.
type (
	tlsObject struct{ Process, Object uint64 }
	tlsCaller struct{ Thread, Goroutine uint64 }
)

// TLS returns what the probes of libraries have counted.
func (a *Agent) TLS() (TLSStats, error) {
	s := TLSStats{Files: int(a.libraries.probed.Load()), Hits: map[string]uint64{}}
	if a.off() || a.maps["tls_counted"] == nil {
		return s, nil
	}
	for i, name := range TLSLibraries {
		n, err := a.tlsCount(i)
		if err != nil {
			return s, err
		}
		s.Hits[name] = n
	}
	var err, err2 error
	s.Unbound, err = a.tlsCount(tlsUnbound)
	s.Unlooked, err2 = a.tlsCount(tlsUnlooked)
	return s, errors.Join(err, err2)
}

func (a *Agent) tlsCount(i int) (total uint64, err error) {
	if err = sum(a.maps["tls_counted"], uint32(i), make([]uint64, a.cpus), func(n *uint64) { total += *n }); err != nil {
		return 0, fmt.Errorf("read what probes of libraries have counted: %w", err)
	}
	return total, nil
}
