package host

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How long file systems may take to answer, and how many may be asked that do not. A dead NFS or FUSE server never
// answers, and a thread of ours waits for it until it does.
const (
	answerWithin = time.Second
	maxAsked     = 64
)

// FileSystems asks file systems how full they are, none twice at once. The zero value is ready.
type FileSystems struct {
	Ask func(path string, to *unix.Statfs_t) error // unix.Statfs without one

	mu    sync.Mutex
	asked map[string]bool // those that have not answered
}

// Stat returns how full the file systems at paths are, in their order; nil for one that does not say so within a second,
// or has not since it was asked earlier, or while too many others have not.
func (f *FileSystems) Stat(ctx context.Context, paths []string) []*unix.Statfs_t {
	waiting := make([]<-chan *unix.Statfs_t, len(paths))
	for i, path := range paths {
		waiting[i] = f.begin(path)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answers := make([]*unix.Statfs_t, len(paths))
	for i, answer := range waiting {
		if answer == nil {
			continue
		}
		select {
		case answers[i] = <-answer:
		case <-ctx.Done():
			select { // it may have answered while others were waited for
			case answers[i] = <-answer:
			default:
			}
		}
	}
	return answers
}

// Waiting is how many have been asked and have not answered.
func (f *FileSystems) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// begin asks one, unless it still owes an answer or too many do.
func (f *FileSystems) begin(path string) <-chan *unix.Statfs_t {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked[path] || len(f.asked) >= maxAsked {
		return nil
	}
	if f.asked == nil {
		f.asked = map[string]bool{}
	}
	f.asked[path] = true
	answer := make(chan *unix.Statfs_t, 1)
	go func() {
		ask := f.Ask
		if ask == nil {
			ask = unix.Statfs
		}
		var st unix.Statfs_t
		err := ask(path, &st)
		f.mu.Lock()
		delete(f.asked, path)
		f.mu.Unlock()
		if err != nil {
			close(answer)
			return
		}
		answer <- &st
	}()
	return answer
}

// A Volume is a file system, or a part of one, that a container was given beside its own root.
type Volume struct {
	Point string // as the container sees it
	Path  string // as it is reached from here
}

// maxVolumes is how many of one container are looked at.
const maxVolumes = 64

// virtualTypes are file systems that hold nothing of a user's.
var virtualTypes = strings.Fields(`proc sysfs cgroup cgroup2 devpts devtmpfs mqueue tmpfs overlay securityfs debugfs tracefs
	bpf pstore nsfs hugetlbfs autofs binfmt_misc configfs fusectl rpc_pipefs`)

// Volumes returns the volumes of the container whose control group this is, as its first process sees them. The files that
// a runtime puts into /etc are not volumes.
func (l CgroupLayout) Volumes(procfs, group string) ([]Volume, error) {
	pid, ok := l.first(group)
	if !ok {
		return nil, nil // it has ended, or has its processes below
	}
	data, err := read(procFile(procfs, pid, "mountinfo"), maxFile)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounts, err := parseMountinfo(data)
	if err != nil {
		return nil, err
	}
	var list []Volume
	for _, m := range mounts {
		if m.Point == "/" || slices.Contains(virtualTypes, m.Type) || !isVolume(m.Point) || len(list) == maxVolumes {
			continue
		}
		list = append(list, Volume{m.Point, filepath.Join(procfs, strconv.FormatUint(uint64(pid), 10), "root", m.Point)})
	}
	return list, nil
}

func isVolume(point string) bool {
	switch point {
	case "/etc/hosts", "/etc/hostname", "/etc/resolv.conf":
		return false
	}
	return !slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(dir string) bool {
		return point == dir || strings.HasPrefix(point, dir+"/")
	})
}

// first returns a process of a control group.
func (l CgroupLayout) first(group string) (uint32, bool) {
	dir, ok := l.directory(group)
	if !ok {
		return 0, false
	}
	data, err := read(filepath.Join(dir, "cgroup.procs"), maxFile)
	if err != nil {
		return 0, false
	}
	word, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.ParseUint(word, 10, 32)
	return uint32(pid), err == nil
}
