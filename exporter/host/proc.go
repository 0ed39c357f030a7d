package host

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

const (
	// tick is what /proc counts start times in: 1/USER_HZ, which is 100 on every architecture Yagura runs on.
	tick = 10_000_000

	maxArgs = 4096 // bytes of a command line that are kept, as in the kernel's events
	nobody  = math.MaxUint32

	kernelThread = 0x00200000 // PF_KTHREAD in the flags of /proc/PID/stat

	initialPIDNamespace = 4026531836 // fixed in the kernel: PROC_PID_INIT_INO; the first process may hide its own
)

// SameStart reports whether two start times of one pid are the same process's. The kernel's events count nanoseconds,
// /proc whole ticks of 10 ms, rounded down: a time without a fraction of a tick comes from there.
func SameStart(a, b uint64) bool {
	if a == b {
		return true
	}
	return a/tick == b/tick && (a%tick == 0 || b%tick == 0)
}

func procFile(procfs string, pid uint32, name string) string {
	return filepath.Join(procfs, strconv.FormatUint(uint64(pid), 10), name)
}

// Cwd returns the working directory of a process, as seen from its own root.
func Cwd(procfs string, pid uint32) (string, error) {
	link, err := os.Readlink(procFile(procfs, pid, "cwd"))
	if err != nil {
		return "", err
	}
	return belowRoot(procfs, pid, link), nil
}

// Cmdline returns the arguments of a process, at most 4096 bytes of them, and whether there were more.
// A kernel thread and a zombie have none.
func Cmdline(procfs string, pid uint32) (args []string, truncated bool, err error) {
	data, err := read(procFile(procfs, pid, "cmdline"), maxArgs+1)
	if err != nil {
		return nil, false, err
	}
	if len(data) > maxArgs {
		return splitArgs(data[:maxArgs]), true, nil
	}
	return splitArgs(data), false, nil
}

// splitArgs splits what is ended by NULs. The last argument may lack its end.
func splitArgs(data []byte) []string {
	if len(data) == 0 {
		return nil
	}
	data = bytes.TrimSuffix(data, []byte{0})
	args := make([]string, 0, bytes.Count(data, []byte{0})+1)
	for rest, more := string(data), true; more; {
		var arg string
		arg, rest, more = strings.Cut(rest, "\x00")
		args = append(args, arg)
	}
	return args
}

// belowRoot turns a path as we see it into one as the process sees it. Only a process that shares our mounts has a
// root other than / in its link.
func belowRoot(procfs string, pid uint32, path string) string {
	root, err := os.Readlink(procFile(procfs, pid, "root"))
	if err != nil || root == "/" {
		return path
	}
	below, ok := cutDir(path, root)
	switch {
	case !ok:
		return path
	case below == "":
		return "/"
	}
	return below
}

// procStat is what is needed of /proc/PID/stat.
type procStat struct {
	Comm            string
	State           byte
	PPID, PGID, SID uint32
	TTY             uint32
	Flags           uint32
	Threads         int64
	Start           uint64 // nanoseconds since boot, a multiple of tick
	CPU             uint64 // nanoseconds, user and system, a multiple of tick
	Nice            int64
	Virtual, Pages  uint64 // bytes of address space; pages that are resident
}

// dead reports whether the last thread has gone. A leader may be a zombie while other threads run.
func (s *procStat) dead() bool {
	return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1
}

// parseStat reads /proc/PID/stat. The name in parentheses may hold anything, parentheses and newlines too.
func parseStat(data []byte) (procStat, error) {
	text := string(data)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procStat{}, errors.New("stat: no name in parentheses")
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("stat: %d fields after the name, want 20", len(fields))
	}
	s := procStat{Comm: text[open+1 : end], State: fields[0][0]}
	for _, f := range []struct {
		name  string
		field int
		to    *uint32
	}{
		{"ppid", 1, &s.PPID},
		{"pgrp", 2, &s.PGID},
		{"session", 3, &s.SID},
		{"tty_nr", 4, &s.TTY},
		{"flags", 6, &s.Flags},
	} {
		// Some are printed as signed; -1 stands for what a dying process no longer has.
		n, err := strconv.ParseInt(fields[f.field], 10, 64)
		if err != nil || n < math.MinInt32 || n > math.MaxUint32 {
			return procStat{}, fmt.Errorf("stat: %s: %q is not a number of 32 bits", f.name, fields[f.field])
		}
		if n == -1 {
			n = 0
		}
		*f.to = uint32(n)
	}
	threads, err := strconv.ParseInt(fields[17], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat: num_threads: %q is not a number", fields[17])
	}
	ticks, err := number("starttime", fields[19], 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat: %w", err)
	}
	if ticks > math.MaxUint64/tick {
		return procStat{}, fmt.Errorf("stat: starttime: %d ticks are too many", ticks)
	}
	s.Threads, s.Start = threads, ticks*tick
	return s, s.parseUse(fields)
}

// parseUse reads what a process uses: utime, stime, nice, vsize and rss. A short line, as old recordings have, has none.
func (s *procStat) parseUse(fields []string) error {
	if len(fields) < 22 {
		return nil
	}
	var user, system uint64
	for _, f := range []struct {
		name  string
		field int
		to    *uint64
	}{{"utime", 11, &user}, {"stime", 12, &system}, {"vsize", 20, &s.Virtual}, {"rss", 21, &s.Pages}} {
		n, err := number(f.name, fields[f.field], 64)
		if err != nil {
			return fmt.Errorf("stat: %w", err)
		}
		*f.to = n
	}
	if user > math.MaxUint64/tick-system {
		return fmt.Errorf("stat: %d and %d ticks of processor time are too many", user, system)
	}
	s.CPU = (user + system) * tick
	nice, err := strconv.ParseInt(fields[16], 10, 64)
	if err != nil {
		return fmt.Errorf("stat: nice: %q is not a number", fields[16])
	}
	s.Nice = nice
	return nil
}

// procStatus is what is needed of /proc/PID/status.
type procStatus struct {
	UID, GID                                   [3]uint32 // real, effective, saved
	VPID, VPGID, VSID                          uint32    // 0 where the kernel does not say
	CapInheritable, CapPermitted, CapEffective uint64
}

// parseStatus reads /proc/PID/status, where the kernel escapes newlines of the name.
func parseStatus(data []byte) (procStatus, error) {
	var s procStatus
	var found int
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		var err error
		switch name {
		case "Uid":
			found |= 1
			err = parseIDs(value, &s.UID)
		case "Gid":
			found |= 2
			err = parseIDs(value, &s.GID)
		case "NStgid":
			err = parseLast(value, &s.VPID)
		case "NSpgid":
			err = parseLast(value, &s.VPGID)
		case "NSsid":
			err = parseLast(value, &s.VSID)
		case "CapInh":
			err = parseCaps(value, &s.CapInheritable)
		case "CapPrm":
			err = parseCaps(value, &s.CapPermitted)
		case "CapEff":
			err = parseCaps(value, &s.CapEffective)
		}
		if err != nil {
			return procStatus{}, fmt.Errorf("status: %s: %w", name, err)
		}
	}
	switch found {
	case 3:
		return s, nil
	case 1:
		return procStatus{}, errors.New("status: no Gid")
	}
	return procStatus{}, errors.New("status: no Uid")
}

func parseIDs(value string, to *[3]uint32) error {
	fields := strings.Fields(value)
	if len(fields) < len(to) {
		return fmt.Errorf("%d ids, want %d", len(fields), len(to))
	}
	for i := range to {
		n, err := strconv.ParseUint(fields[i], 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not an id", fields[i])
		}
		to[i] = uint32(n)
	}
	return nil
}

// parseLast reads the number in the innermost pid namespace, which stands last.
func parseLast(value string, to *uint32) error {
	fields := strings.Fields(value)
	if len(fields) == 0 {
		return nil
	}
	last := fields[len(fields)-1]
	n, err := strconv.ParseUint(last, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a pid", last)
	}
	*to = uint32(n)
	return nil
}

func parseCaps(value string, to *uint64) error {
	n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
	if err != nil {
		return fmt.Errorf("%q is not a hexadecimal set", strings.TrimSpace(value))
	}
	*to = n
	return nil
}

// parseNamespace reads a link such as mnt:[4026531832].
func parseNamespace(link string) (uint32, error) {
	_, rest, _ := strings.Cut(link, ":[")
	n, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("name space %q: no number in brackets", link)
	}
	return uint32(n), nil
}

// readStat reads the start and state of a process.
func readStat(procfs string, pid uint32) (procStat, error) {
	file := procFile(procfs, pid, "stat")
	data, err := read(file, maxFile)
	if err != nil {
		return procStat{}, err
	}
	s, err := parseStat(data)
	if err != nil {
		return procStat{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

func readStatus(procfs string, pid uint32) (procStatus, error) {
	file := procFile(procfs, pid, "status")
	data, err := read(file, maxFile)
	if err != nil {
		return procStatus{}, err
	}
	s, err := parseStatus(data)
	if err != nil {
		return procStatus{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// errDead says that there is no process, or only what is left of one.
var errDead = fmt.Errorf("process has ended: %w", os.ErrNotExist)

// readProcess reads one process. What may not be read for want of privileges stays zero. Parent, PIDNamespaceInit and
// the layers of the executable are not in /proc.
func readProcess(procfs string, pid uint32, l *CgroupLayout) (*event.Process, error) {
	stat, err := readStat(procfs, pid)
	if err != nil {
		return nil, err
	}
	if stat.dead() {
		return nil, errDead
	}
	status, err := readStatus(procfs, pid)
	if err != nil {
		return nil, err
	}
	p := &event.Process{Task: event.Task{
		PID: pid, PPID: stat.PPID, PGID: stat.PGID, SID: stat.SID,
		VPID: or(status.VPID, pid), VPGID: or(status.VPGID, stat.PGID), VSID: or(status.VSID, stat.SID),
		TTY: stat.TTY, Start: stat.Start,
		UID: status.UID[0], EUID: status.UID[1], SUID: status.UID[2],
		GID: status.GID[0], EGID: status.GID[1], SGID: status.GID[2],
		LoginUID: readID(procfs, pid, "loginuid"), AuditSession: readID(procfs, pid, "sessionid"),
		CapPermitted: status.CapPermitted, CapEffective: status.CapEffective, CapInheritable: status.CapInheritable,
		Namespaces: readNamespaces(procfs, pid),
	}}
	copy(p.Comm[:len(p.Comm)-1], stat.Comm)
	if stat.Flags&kernelThread != 0 {
		p.Flags |= event.KernelThread
	}
	if l.Mount != "" {
		if path, err := l.CgroupPath(procfs, pid); err == nil {
			p.CgroupID, _ = l.ID(path)
		}
	}
	readImage(procfs, p)
	// The number may have passed to another process while its files were read.
	if again, err := readStat(procfs, pid); err != nil || again.Start != stat.Start {
		return nil, errDead
	}
	return p, nil
}

func or(n, otherwise uint32) uint32 {
	if n != 0 {
		return n
	}
	return otherwise
}

// readID reads loginuid or sessionid. Without audit in the kernel there are none.
func readID(procfs string, pid uint32, name string) uint32 {
	data, err := read(procFile(procfs, pid, name), 64)
	if err != nil {
		return nobody
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return nobody
	}
	return uint32(n)
}

func readNamespaces(procfs string, pid uint32) event.Namespaces {
	of := func(name string) uint32 {
		link, err := os.Readlink(procFile(procfs, pid, "ns/"+name))
		if err != nil {
			return 0
		}
		n, err := parseNamespace(link)
		if err != nil {
			return 0
		}
		return n
	}
	return event.Namespaces{
		Mount: of("mnt"), PID: of("pid"), Net: of("net"), User: of("user"), UTS: of("uts"), IPC: of("ipc"), Cgroup: of("cgroup"),
	}
}

// readImage fills what the process runs. A kernel thread runs nothing.
func readImage(procfs string, p *event.Process) {
	if p.Flags&event.KernelThread != 0 {
		return
	}
	readExecutable(procfs, p)
	args, truncated, err := Cmdline(procfs, p.PID)
	switch {
	case err != nil:
		p.Flags |= event.CommandFault
	case truncated:
		p.Flags |= event.ArgsTruncated
	}
	p.Args = args
	p.Cwd, _ = Cwd(procfs, p.PID)
}

func readExecutable(procfs string, p *event.Process) {
	exe := procFile(procfs, p.PID, "exe")
	link, err := os.Readlink(exe)
	if err != nil {
		return
	}
	var st unix.Stat_t
	if err := unix.Stat(exe, &st); err == nil {
		p.ExeInode, p.ExeDevice = st.Ino, kernelDevice(st.Dev)
		p.ExeChange, p.ExeModify = st.Ctim.Nano(), st.Mtim.Nano()
		if st.Nlink == 0 {
			p.Flags |= event.ExeUnlinked
			link = strings.TrimSuffix(link, " (deleted)")
		}
	}
	if p.Flags&event.ExeUnlinked != 0 && strings.HasPrefix(link, "/memfd:") {
		p.Flags |= event.ExeMemfd
	}
	p.Path = belowRoot(procfs, p.PID, link)
}

// kernelDevice encodes a device as the kernel keeps it (MKDEV), which is how its events report it.
func kernelDevice(dev uint64) uint32 {
	return unix.Major(dev)<<20 | unix.Minor(dev)&0xfffff
}

// readProcesses reads every process, in the order of their pids, and fills PIDNamespaceInit.
func readProcesses(procfs string, l *CgroupLayout) ([]*event.Process, error) {
	pids, err := listPIDs(procfs)
	if err != nil {
		return nil, err
	}
	processes := make([]*event.Process, 0, len(pids))
	first := map[uint32]uint64{}
	for _, pid := range pids {
		p, err := readProcess(procfs, pid, l)
		if gone(err) || errors.Is(err, os.ErrPermission) {
			continue // it has ended, or procfs is mounted with hidepid
		}
		if err != nil {
			return nil, err
		}
		if p.VPID == 1 {
			first[or(p.Namespaces.PID, initialPIDNamespace)] = p.Start
		}
		processes = append(processes, p)
	}
	for _, p := range processes {
		p.PIDNamespaceInit = first[p.Namespaces.PID]
	}
	return processes, nil
}

func listPIDs(procfs string) ([]uint32, error) {
	dir, err := os.Open(procfs)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []uint32
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// ReadProc reports every process that /proc shows, for kernels without a task iterator. Start is in whole ticks.
func ReadProc(procfs string, report func(task event.Task, path string, args []string)) error {
	l, err := Cgroups(procfs)
	if err != nil && !errors.Is(err, ErrNoCgroups) {
		return err
	}
	processes, err := readProcesses(procfs, &l)
	if err != nil {
		return err
	}
	for _, p := range processes {
		report(p.Task, p.Path, p.Args)
	}
	return nil
}
