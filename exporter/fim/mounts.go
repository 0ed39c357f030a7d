package fim

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A MountSighting says that a file system, or a part of one, was mounted or unmounted somewhere.
type MountSighting struct {
	Path    Path
	Mounted bool   // else unmounted
	Type    string // of the file system: ext4, tmpfs, overlay …
	Source  string // what was mounted: a device, or whatever its type calls it
	Root    string // the directory of the file system that is shown: / unless it is a bind mount
	At      time.Time
}

// Mounts tells what is mounted and unmounted. What is hidden by a mount is still marked, and what has come is not.
type Mounts struct {
	wake int

	mu     sync.Mutex
	spaces map[string]*mountSpace
	files  []int // of those that were let go, until they are not polled
	log    *slog.Logger
}

// A mountSpace is the mount name space of the host or a container.
type mountSpace struct {
	container string
	file      int // not an os.File: its poller would see what has changed instead of us, as the kernel says it once
	mounts    map[mountPoint]mountEntry
	failed    bool
}

// A mountPoint tells mounts apart: what is mounted anew at the same place has another id.
type mountPoint struct {
	id   uint64
	path string
}

type mountEntry struct{ kind, source, root string }

// Bounds of what is read of mounts. Linux allows 100,000 of them in a name space unless it is told otherwise.
const (
	maxMountinfo = 64 << 20
	maxMounts    = 200_000
)

// NewMounts returns one that watches nothing yet. Close gives back what it opens.
func NewMounts(log *slog.Logger) (*Mounts, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &Mounts{wake: wake, spaces: map[string]*mountSpace{}, log: log}, nil
}

// Watch begins with what is mounted now, of which nothing is told. mountinfo is the file of a process that sees the mounts as
// paths of the host (/proc/1/mountinfo) or of a container are meant. It stays open until Unwatch, and with it the mount name
// space and all that is mounted there.
func (m *Mounts) Watch(container, mountinfo string) error {
	file, err := unix.Open(mountinfo, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: mountinfo, Err: err}
	}
	s := &mountSpace{container: container, file: file}
	if s.mounts, err = s.read(); err != nil {
		unix.Close(file)
		return fmt.Errorf("read %s: %w", mountinfo, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.spaces) >= maxRealms {
		unix.Close(file)
		return fmt.Errorf("mounts of %d containers are watched, and no more can be", maxRealms)
	}
	if old := m.spaces[container]; old != nil {
		m.files = append(m.files, old.file)
	}
	m.spaces[container] = s
	nudge(m.wake)
	return nil
}

// Unwatch lets go of a container.
func (m *Mounts) Unwatch(container string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.spaces[container]; s != nil {
		delete(m.spaces, container)
		m.files = append(m.files, s.file)
		nudge(m.wake)
	}
}

// Close gives back what Watch has opened. Run must have returned.
func (m *Mounts) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.spaces {
		m.files = append(m.files, s.file)
	}
	clear(m.spaces)
	m.closeFiles()
	return unix.Close(m.wake)
}

func (m *Mounts) closeFiles() {
	closeAll(m.files)
	m.files = m.files[:0]
}

// Run tells sink what is mounted and unmounted until ctx is done. What is mounted and unmounted again in between is not seen.
func (m *Mounts) Run(ctx context.Context, sink func(MountSighting)) error {
	defer nudgeAfter(ctx, m.wake)()
	var polls []unix.PollFd
	for {
		var spaces []*mountSpace
		spaces, polls = m.polled(polls[:0])
		if err := pollAll(polls, -1); err != nil {
			return fmt.Errorf("poll mounts: %w", err)
		}
		drain(m.wake)
		if ctx.Err() != nil {
			return nil
		}
		for i, s := range spaces {
			if polls[i].Revents != 0 {
				m.compare(s, sink)
			}
		}
	}
}

// polled returns what is to be polled: the name spaces in their order, and then what wakes us.
func (m *Mounts) polled(polls []unix.PollFd) ([]*mountSpace, []unix.PollFd) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closeFiles()
	spaces := slices.Collect(maps.Values(m.spaces))
	for _, s := range spaces {
		polls = append(polls, unix.PollFd{Fd: int32(s.file), Events: unix.POLLPRI})
	}
	return spaces, append(polls, unix.PollFd{Fd: int32(m.wake), Events: unix.POLLIN})
}

// compare tells in what the mounts of a name space differ from what they were.
func (m *Mounts) compare(s *mountSpace, sink func(MountSighting)) {
	now, err := s.read()
	if err != nil {
		if !s.failed {
			m.log.Warn("mounts cannot be read", "container", s.container, "err", err)
		}
		s.failed = true
		return
	}
	s.failed = false
	at := time.Now()
	for _, p := range slices.SortedFunc(maps.Keys(s.mounts), mountPoint.compare) {
		if e := s.mounts[p]; now[p] != e {
			sink(MountSighting{Path{s.container, p.path}, false, e.kind, e.source, e.root, at})
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(now), mountPoint.compare) {
		if e := now[p]; s.mounts[p] != e {
			sink(MountSighting{Path{s.container, p.path}, true, e.kind, e.source, e.root, at})
		}
	}
	s.mounts = now
}

func (p mountPoint) compare(q mountPoint) int {
	return cmp.Or(strings.Compare(p.path, q.path), cmp.Compare(p.id, q.id))
}

func (s *mountSpace) read() (map[mountPoint]mountEntry, error) {
	if _, err := unix.Seek(s.file, 0, io.SeekStart); err != nil {
		return nil, err
	}
	text := make([]byte, 0, 64<<10)
	for {
		text = slices.Grow(text, 32<<10)
		n, err := unix.Read(s.file, text[len(text):cap(text)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return parseMounts(string(text))
		}
		if text = text[:len(text)+n]; len(text) > maxMountinfo {
			return nil, fmt.Errorf("more than %d bytes", maxMountinfo)
		}
	}
}

// parseMounts reads /proc/PID/mountinfo, of which proc(5) says:
//
//	36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/source rw,errors=continue
//
// with any number of optional fields before the dash, and blanks and backslashes of names in octal.
func parseMounts(text string) (map[mountPoint]mountEntry, error) {
	mounts := map[mountPoint]mountEntry{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+3 {
			return nil, fmt.Errorf("line %d: %d fields before a dash and %d in all, want at least 6 and 9", number, dash, len(fields))
		}
		id, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: id %q: want a number", number, fields[0])
		}
		if len(mounts) >= maxMounts {
			return nil, fmt.Errorf("line %d: more than %d mounts", number, maxMounts)
		}
		mounts[mountPoint{id, withoutOctal(fields[4])}] = mountEntry{fields[dash+1], withoutOctal(fields[dash+2]), withoutOctal(fields[3])}
	}
	return mounts, nil
}

// withoutOctal undoes the kernel's way to write blanks and backslashes: \040 is a space.
func withoutOctal(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		if s[0] == '\\' && len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}
