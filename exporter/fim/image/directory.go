package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A directoryWalk reads a directory as if it were a layer.
type directoryWalk struct {
	reading *reading
	device  uint64
	entries []entry
	skipped []Skipped
	unread  []Skipped
}

// Bounds of a walk: paths that were not read and are told, and directories in one another, each of which is open meanwhile.
const (
	maxUnread = 1000
	maxOpen   = 500
)

// walkDirectory reads all below root, without following symbolic links and without leaving its file system: below a
// machine's root are /proc and its like.
func walkDirectory(g *reading, root *os.Root) (*directoryWalk, error) {
	info, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	w := &directoryWalk{reading: g, device: uint64(info.Sys().(*syscall.Stat_t).Dev)}
	return w, w.walk(root, "", 1)
}

func (w *directoryWalk) walk(dir *os.Root, at string, depth int) error {
	names, err := w.names(dir, at)
	if err != nil {
		return err
	}
	for _, base := range names {
		name := path.Join(at, base)
		info, err := dir.Lstat(base)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // it has gone meanwhile
		case err != nil:
			err = w.note(&w.unread, name, err)
		default:
			err = w.add(dir, base, name, info, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory in pieces, so that one of millions of names does not fill the memory before it is refused.
func (w *directoryWalk) names(dir *os.Root, at string) (names []string, err error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, w.note(&w.unread, at, err)
	}
	defer f.Close()
	for {
		some, err := f.Readdirnames(1024)
		names = append(names, some...)
		if w.reading.room -= len(some); w.reading.room < 0 {
			return nil, fmt.Errorf("%w: names", ErrTooMuch)
		}
		if err := w.reading.ctx.Err(); err != nil {
			return nil, err
		}
		if err == io.EOF {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, w.note(&w.unread, at, err)
		}
	}
}

func (w *directoryWalk) add(dir *os.Root, base, name string, info fs.FileInfo, depth int) error {
	stat := info.Sys().(*syscall.Stat_t)
	e := entry{name: name, kind: kindOf(info.Mode()), mode: uint16(stat.Mode & 0o7777), uid: stat.Uid, gid: stat.Gid, size: info.Size()}
	var err error
	switch e.kind {
	case symlink:
		e.target, err = dir.Readlink(base)
	case regular:
		err = w.read(dir, base, &e)
	}
	if errors.Is(err, ErrTooMuch) || w.reading.ctx.Err() != nil {
		return fmt.Errorf("%s: %w", printable(name), err)
	}
	if err != nil {
		if err := w.note(&w.unread, name, err); err != nil {
			return err
		}
	}
	w.entries = append(w.entries, e)
	switch {
	case e.kind != directory:
		return nil
	case uint64(stat.Dev) != w.device:
		return w.note(&w.skipped, name, errors.New("another file system is mounted there"))
	case depth >= maxOpen:
		return w.note(&w.unread, name, fmt.Errorf("more than %d directories in one another", maxOpen))
	}
	below, err := dir.OpenRoot(base)
	if err != nil {
		return w.note(&w.unread, name, err)
	}
	defer below.Close()
	return w.walk(below, name, depth+1)
}

func kindOf(mode fs.FileMode) entryKind {
	switch mode.Type() {
	case 0:
		return regular
	case fs.ModeDir:
		return directory
	case fs.ModeSymlink:
		return symlink
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return device
	}
	return fifo
}

func (w *directoryWalk) read(dir *os.Root, base string, e *entry) error {
	f, err := openRegular(dir, base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	value := make([]byte, 256)
	if n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", value); err == nil {
		e.capabilities = string(value[:n])
	}
	if e.size == 0 {
		return nil
	}
	return w.reading.content(e, w.reading.count(f))
}

// note tells of a path that was not looked at. Too many of them are an error of their own.
func (w *directoryWalk) note(list *[]Skipped, name string, err error) error {
	if len(*list) >= maxUnread {
		return fmt.Errorf("%w: %d paths that cannot be read; the last: %s: %w", ErrTooMuch, maxUnread, printable(name), err)
	}
	var in *fs.PathError
	if errors.As(err, &in) {
		err = in.Err // the path is told beside it
	}
	*list = append(*list, Skipped{Path: printable(path.Join("/", name)), Why: err.Error()})
	return nil
}

// openRegular opens a regular file, and nothing that could block or lead elsewhere.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
