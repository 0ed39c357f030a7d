package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A ProcessUsage is what ps and top show of a process.
type ProcessUsage struct {
	PID, PPID, UID uint32
	Comm           string
	State          byte // as /proc/PID/stat says it: R, S, D, T, Z, I
	Threads        int64
	Nice           int64
	CPU            time.Duration // user and system
	RSS, Virtual   uint64        // bytes
	Start          time.Time
	Cgroup         string // path in the tracked hierarchy

	start uint64 // since boot
}

// Same reports whether two readings are of the same process.
func (p *ProcessUsage) Same(o *ProcessUsage) bool { return p.PID == o.PID && p.start == o.start }

// ReadUsage calls yield with every process. Those that end meanwhile are left out.
func ReadUsage(procfs string, layout CgroupLayout, yield func(ProcessUsage)) error {
	pids, err := listPIDs(procfs)
	if err != nil {
		return err
	}
	boot, err := BootTime()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		stat, err := readStat(procfs, pid)
		if err != nil {
			continue // it has ended
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join(procfs, strconv.FormatUint(uint64(pid), 10)), &st) != nil {
			continue
		}
		group, err := layout.CgroupPath(procfs, pid)
		if err != nil {
			continue
		}
		yield(ProcessUsage{PID: pid, PPID: stat.PPID, UID: st.Uid, Comm: stat.Comm, State: stat.State, Threads: stat.Threads, Nice: stat.Nice,
			CPU: time.Duration(stat.CPU), RSS: stat.Pages * uint64(os.Getpagesize()), Virtual: stat.Virtual,
			Start: time.Unix(0, boot+int64(stat.Start)), Cgroup: group, start: stat.Start})
	}
	return nil
}

// Command returns the redacted command line of a process, or its name in brackets if it has none.
func Command(procfs string, pid uint32, comm string) string {
	args, _, err := Cmdline(procfs, pid)
	if err != nil || len(args) == 0 {
		return "[" + comm + "]"
	}
	return strings.Join(Redact(args), " ")
}

// Descriptors returns how many descriptors a process has open and how many it may have, its soft limit; false if one of
// both cannot be read.
func Descriptors(procfs string, pid uint32) (open, limit uint64, ok bool) {
	dir, err := os.Open(procFile(procfs, pid, "fd"))
	if err != nil {
		return 0, 0, false
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		open += uint64(len(names))
		if err != nil {
			break
		}
	}
	data, err := read(procFile(procfs, pid, "limits"), maxFile)
	if err != nil {
		return 0, 0, false
	}
	limit, err = parseFileLimit(data)
	return open, limit, err == nil
}

// parseFileLimit reads the soft limit of open files from /proc/PID/limits.
func parseFileLimit(data []byte) (uint64, error) {
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			f := strings.Fields(rest)
			if len(f) < 2 {
				return 0, fmt.Errorf("limits: line %q: want a soft and a hard limit", line)
			}
			if f[0] == "unlimited" {
				return 1<<63 - 1, nil
			}
			return number("max open files", f[0], 64)
		}
	}
	return 0, fmt.Errorf("limits: no line Max open files")
}

// UserNames returns the names of users by id from a passwd file. A line that is not one is left out.
func UserNames(path string) map[uint32]string {
	data, err := read(path, maxFile)
	if err != nil {
		return nil
	}
	names := map[uint32]string{}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 4 {
			continue
		}
		if uid, err := strconv.ParseUint(f[2], 10, 32); err == nil && names[uint32(uid)] == "" {
			names[uint32(uid)] = f[0]
		}
	}
	return names
}

// A Session is one login of a user to the host.
type Session struct {
	User, Line, From string // Line is the terminal, From the remote host
	PID              uint32
	Login            time.Time
}

// Sizes and places in glibc's struct utmp, the same on all 64-bit machines that Yagura runs on: utmp(5).
const (
	utmpSize    = 384
	utmpMax     = 4096 // records that are read
	userProcess = 7
)

// ReadSessions returns who is logged in, as utmp says. A file that ends within a record is an error, and what stood
// before it holds.
func ReadSessions(path string) ([]Session, error) {
	data, err := read(path, utmpSize*utmpMax)
	if err != nil {
		return nil, err
	}
	list, err := parseUtmp(data)
	if err != nil {
		return list, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

func parseUtmp(data []byte) ([]Session, error) {
	text := func(b []byte) string {
		s, _, _ := strings.Cut(string(b), "\x00")
		return strings.ToValidUTF8(s, "?")
	}
	word := func(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24 }
	var list []Session
	for ; len(data) >= utmpSize; data = data[utmpSize:] {
		if uint16(data[0])|uint16(data[1])<<8 != userProcess {
			continue
		}
		list = append(list, Session{Line: text(data[8:40]), User: text(data[44:76]), From: text(data[76:332]), PID: word(data[4:8]),
			Login: time.Unix(int64(word(data[340:344])), int64(word(data[344:348]))*1000)})
	}
	if len(data) > 0 {
		return list, fmt.Errorf("utmp: %d bytes after the last record, want records of %d", len(data), utmpSize)
	}
	return list, nil
}
