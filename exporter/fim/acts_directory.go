package fim

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// maxRootsTried is how many processes are asked for the root that a name was spelled from.
const maxRootsTried = 8

// leads asks judge about what a name of a deed leads to. Nothing is known where nobody is left who had the root from which it
// was spelled, or nothing has that name any more.
func (a *Acts) leads(d *deed, name string, judge func(root int, named openFile) (is, known bool)) (is, known bool) {
	for root := range a.rootsOf(d, a.containerOf(d) == "") {
		if file, err := identify(root, name); err == nil {
			if is, known = judge(root, file); known {
				return is, true
			}
		}
	}
	return false, false
}

func (a *Acts) identifyOnHost(dir string) (openFile, error) {
	root, err := unix.Open(a.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return openFile{}, fmt.Errorf("open %s: %w", a.root, err)
	}
	defer unix.Close(root)
	return identify(root, dir)
}

// rootsOf are descriptors of what may be the root that a deed's names were spelled from: its process's, those of who is above
// it in the same mount namespace, and the host's. Each is good until the next.
func (a *Acts) rootsOf(d *deed, onHost bool) func(yield func(root int) bool) {
	return func(yield func(int) bool) {
		for _, root := range a.livingRoots(d.process) {
			if !yield(root) {
				return
			}
		}
		if !onHost {
			return
		}
		if root, err := unix.Open(a.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			yield(root)
			unix.Close(root)
		}
	}
}

// livingRoots are descriptors of the roots of a process and of those above it in the same mount namespace, as far as they still run.
// Each is good until the next.
func (a *Acts) livingRoots(of *event.Process) iter.Seq2[event.ID, int] {
	return func(yield func(event.ID, int) bool) {
		tried := 0
		for p := of; p != nil && tried < maxRootsTried; p = p.Parent {
			if p.Namespaces.Mount != of.Namespaces.Mount {
				continue
			}
			tried++
			root, err := a.rootOf(p.ID())
			if err != nil {
				continue
			}
			more := yield(p.ID(), root)
			unix.Close(root)
			if !more {
				return
			}
		}
	}
}

// rootOf opens the root of a process, and no other's that has the same number.
func (a *Acts) rootOf(id event.ID) (int, error) {
	name := a.procfs + "/" + strconv.FormatUint(uint64(id.PID), 10)
	dir, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(dir)
	root, err := unix.Openat(dir, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s/root: %w", name, err)
	}
	if start, err := startIn(dir); err != nil || !host.SameStart(start, id.Start) {
		unix.Close(root)
		return -1, fmt.Errorf("%s: it is another process: %w", name, unix.ESRCH)
	}
	return root, nil
}

// startIn reads when a process began, ns since boot in ticks of 10 ms, from the stat of its directory of /proc: the 22nd field,
// where the second one ends with the last parenthesis.
func startIn(dir int) (uint64, error) {
	fd, err := unix.Openat(dir, "stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open stat: %w", err)
	}
	defer unix.Close(fd)
	text := make([]byte, 1024)
	n, err := unix.Read(fd, text)
	if err != nil {
		return 0, fmt.Errorf("read stat: %w", err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text[:n], ')')+1 : n])
	const start = 22 - 3
	if len(fields) <= start {
		return 0, fmt.Errorf("stat has %d fields behind the name, want more than %d", len(fields), start)
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("start in stat: %w", err)
	}
	return ticks * 1e7, nil
}

// identify follows a path within a root, which needs Linux 5.6.
func identify(root int, name string) (openFile, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return openFile{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return openFile{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return openFile{unix.Major(st.Dev)<<20 | unix.Minor(st.Dev), st.Ino}, nil
}
