package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what is read of a tree.
const (
	maxEntries = 100_000 // of one directory
	maxGlob    = 10_000  // paths that a pattern may have
	maxLinks   = 1 << 12 // bytes of a symbolic link
)

// ErrNotLive is the error of asking the kernel of a machine that does not run here.
var ErrNotLive = event.ErrNotLive

// A Tree is a directory that is read as if it were the root: links, also absolute ones and .., lead nowhere else.
type Tree struct {
	dir    string
	shown  string // before paths in errors
	pseudo bool   // of the kernel's making: its files can be opened without harm

	reading atomic.Pointer[reading] // of the survey that runs; nil if nobody wants to know

	mu   sync.Mutex
	root *os.File
}

// A Name is one entry of a directory.
type Name struct {
	Name string
	Type string // as the type of a file fact: file, directory, link …; empty if the file system does not say
}

// Open opens a regular file to be read. A pipe, a socket or a device is an error: it is not even touched.
func (t *Tree) Open(path string) (*os.File, error) {
	if t.pseudo {
		return t.open(path, unix.O_RDONLY|unix.O_NONBLOCK)
	}
	f, err := t.open(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := t.fstat(f, path)
	if err != nil {
		return nil, err
	}
	if kind := fileType(st.Mode); kind != "file" {
		return nil, t.wrong("open", path, fmt.Errorf("it is a %s, and no regular file", kind))
	}
	return t.reopen(f, path)
}

// reopen opens for reading what was found to be a regular file, and nothing that has since come in its place. Its access time stays what
// it is where that is allowed.
func (t *Tree) reopen(f *os.File, path string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	opened := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	fd, err := unix.Open(opened, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(opened, flags, 0)
	}
	if err != nil {
		return nil, t.wrong("open", path, err)
	}
	return os.NewFile(uintptr(fd), t.name(path)), nil
}

// Read returns the whole of a file. One of more than limit bytes is an error: half of it would be another file.
func (t *Tree) Read(path string, limit int64) ([]byte, error) {
	f, err := t.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, t.wrong("read", path, unwrapPath(err))
	}
	if int64(len(data)) > limit {
		return nil, t.wrong("read", path, fmt.Errorf("it has more than %d bytes", limit))
	}
	return data, nil
}

// Lines calls a function with every line of a file, from 1, without its end.
func (t *Tree) Lines(path string, line func(n int, text string)) error {
	data, err := t.Read(path, maxFile)
	if err != nil {
		return err
	}
	n := 0
	for text := range strings.Lines(string(data)) {
		n++
		line(n, strings.TrimSuffix(text, "\n"))
	}
	return nil
}

// ReadDir returns the entries of a directory, sorted.
func (t *Tree) ReadDir(path string) ([]Name, error) {
	t.reading.Load().list(path)
	return t.entries(path)
}

func (t *Tree) entries(path string) ([]Name, error) {
	f, err := t.OpenDir(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(maxEntries + 1)
	if err != nil && err != io.EOF {
		return nil, t.wrong("read", path, unwrapPath(err))
	}
	if len(entries) > maxEntries {
		return nil, t.wrong("read", path, fmt.Errorf("it has more than %d entries", maxEntries))
	}
	all := make([]Name, len(entries))
	for i, e := range entries {
		all[i] = Name{e.Name(), entryType(e.Type())}
	}
	slices.SortFunc(all, func(a, b Name) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func entryType(mode os.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "directory"
	case mode&os.ModeSymlink != 0:
		return "link"
	case mode&os.ModeNamedPipe != 0:
		return "pipe"
	case mode&os.ModeSocket != 0:
		return "socket"
	case mode&os.ModeDevice != 0:
		return "device"
	}
	return ""
}

// maxDeep bounds the length of the path of a directory, which may be longer than the kernel takes at once.
const maxDeep = 4 * unix.PathMax

// directory opens a directory that no link leads to, and without a trace where that is allowed: who owns it, or may do everything, can
// read it without changing its access time. It is a bare descriptor, as an os.File is dearer than to read a small directory.
func (t *Tree) directory(name string) (int, error) {
	if len(name) >= unix.PathMax {
		return t.deepDirectory(name)
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := t.descriptor(name, how)
	if errors.Is(err, unix.EPERM) {
		how.Flags &^= unix.O_NOATIME
		fd, err = t.descriptor(name, how)
	}
	return fd, err
}

// deepDirectory opens one whose path is too long, by a tree of one that it is in.
func (t *Tree) deepDirectory(name string) (int, error) {
	at := strings.LastIndexByte(name[:unix.PathMax-1], '/')
	if at <= 0 || len(name) > maxDeep {
		return -1, unix.ENAMETOOLONG
	}
	fd, err := t.directory(name[:at])
	if err != nil {
		return -1, err
	}
	in := &Tree{dir: name[:at], root: os.NewFile(uintptr(fd), name[:at])}
	defer in.root.Close()
	return in.directory(name[at:])
}

// OpenDir opens a directory, without changing its access time where that is allowed.
func (t *Tree) OpenDir(path string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	f, err := t.open(path, flags|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) {
		return t.open(path, flags)
	}
	return f, err
}

// Stat returns the state of what a path leads to, links followed within the tree.
func (t *Tree) Stat(path string) (unix.Stat_t, error) { return t.state(path, unix.O_PATH) }

// Lstat returns the state of what is at a path: of a symbolic link its own.
func (t *Tree) Lstat(path string) (unix.Stat_t, error) {
	return t.state(path, unix.O_PATH|unix.O_NOFOLLOW)
}

func (t *Tree) state(path string, flags uint64) (unix.Stat_t, error) {
	f, err := t.open(path, flags)
	if err != nil {
		return unix.Stat_t{}, err
	}
	defer f.Close()
	return t.fstat(f, path)
}

func (t *Tree) fstat(f *os.File, path string) (st unix.Stat_t, err error) {
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, t.wrong("stat", path, err)
	}
	return st, nil
}

// Readlink returns the text of a symbolic link.
func (t *Tree) Readlink(path string) (string, error) {
	f, err := t.open(path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buffer := make([]byte, maxLinks)
	n, err := unix.Readlinkat(int(f.Fd()), "", buffer)
	if err != nil {
		return "", t.wrong("readlink", path, err)
	}
	return string(buffer[:n]), nil
}

// Glob returns the paths that there are of a pattern as path.Match has it, sorted. As in a shell, names that begin with a dot are
// only found by a pattern that begins with one. A directory that is not there has none; one that cannot be read is an error.
func (t *Tree) Glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %s: %w", pattern, err)
	}
	found := []string{""}
	if strings.HasPrefix(pattern, "/") {
		found[0] = "/"
	}
	for part := range strings.SplitSeq(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range found {
			names, err := t.matches(dir, part)
			if err != nil {
				return nil, err
			}
			if next = append(next, names...); len(next) > maxGlob {
				return nil, fmt.Errorf("pattern %s: there are more than %d such paths", pattern, maxGlob)
			}
		}
		found = next
	}
	return found, nil
}

// matches are the paths of what is in a directory and matches a part of a pattern.
func (t *Tree) matches(dir, part string) ([]string, error) {
	if !strings.ContainsAny(part, `*?[\`) {
		if _, err := t.Lstat(path.Join(dir, part)); Absent(err) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		return []string{path.Join(dir, part)}, nil
	}
	names, err := t.entries(path.Join(".", dir))
	t.reading.Load().pattern(path.Join(dir, part))
	if Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range names {
		if ok, _ := path.Match(part, n.Name); ok && (n.Name[0] != '.' || part[0] == '.') {
			all = append(all, path.Join(dir, n.Name))
		}
	}
	return all, nil
}

// open opens a path beneath the tree.
func (t *Tree) open(path string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_NOCTTY}
	if flags&unix.O_PATH != 0 {
		how.Flags &^= unix.O_NOCTTY
	}
	fd, err := t.descriptor(path, how)
	r := t.reading.Load()
	if err != nil {
		r.path(path, nil)
		return nil, t.wrong("open", path, err)
	}
	f := os.NewFile(uintptr(fd), t.name(path))
	r.path(path, f)
	return f, nil
}

func (t *Tree) descriptor(path string, how unix.OpenHow) (int, error) {
	root, err := t.opened()
	if err != nil {
		return -1, err
	}
	how.Flags |= unix.O_CLOEXEC
	how.Resolve |= unix.RESOLVE_IN_ROOT
	fd, err := unix.Openat2(int(root.Fd()), path, &how)
	for tries := 0; tries < 8 && (err == unix.EAGAIN || err == unix.EINTR); tries++ { // something was renamed on the way
		fd, err = unix.Openat2(int(root.Fd()), path, &how)
	}
	if err == unix.ENOSYS || err == unix.EPERM && t.plain() { // a kernel before 5.6, or a filter that does not know the call
		return t.openPlain(path, int(how.Flags))
	}
	return fd, err
}

// openPlain is for where there is no openat2: only the root of all can be read without it.
func (t *Tree) openPlain(name string, flags int) (int, error) {
	if !t.plain() {
		return -1, fmt.Errorf("%w: only with the system call openat2 is it sure to stay beneath %s", unix.ENOSYS, t.dir)
	}
	return unix.Open(path.Join(t.dir, name), flags, 0)
}

func (t *Tree) plain() bool { return t.dir == "/" || t.pseudo }

func (t *Tree) opened() (*os.File, error) {
	if t.dir == "" {
		return nil, ErrNotLive
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.root != nil {
		return t.root, nil
	}
	fd, err := unix.Open(t.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("the root directory %s: %w", t.dir, err)
	}
	t.root = os.NewFile(uintptr(fd), t.dir) // closed with the tree
	return t.root, nil
}

// name is a path as the machine itself would write it.
func (t *Tree) name(name string) string {
	if t.shown == "" {
		return name
	}
	return path.Join(t.shown, name)
}

func (t *Tree) wrong(op, path string, err error) error {
	return &os.PathError{Op: op, Path: t.name(path), Err: err}
}

// unwrapPath takes the path out of an error, which is told with another one.
func unwrapPath(err error) error {
	var with *os.PathError
	if errors.As(err, &with) {
		return with.Err
	}
	return err
}
