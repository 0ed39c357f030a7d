package host

import (
	"context"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/yagura-io/yagura/rules/event"
)

// maxReading is how many files and directories are noted of one survey. One that looks at more is about everything, and it would be
// too much to have it look again for every change.
const maxReading = 4096

// A reading is what a survey has looked at of a machine's files: what was there, what was looked for, and what was listed.
type reading struct {
	root string // that of the tree, of which this process sees the files by longer paths

	mu       sync.Mutex
	paths    map[string]bool // true of those directories of which each entry matters
	above    map[string]bool // directories that these are in, by which they come and go
	patterns []string        // of which each match matters
	full     bool
}

// noting has a survey note what it looks at when it runs.
func (s *Surveys) noting(n NamedSurvey) NamedSurvey {
	survey, last := n.Survey, &atomic.Pointer[reading]{}
	n.Survey = func(ctx context.Context, report func(event.Fact)) error {
		tree := s.Files()
		r := &reading{root: strings.TrimSuffix(tree.dir, "/"), paths: map[string]bool{}, above: map[string]bool{}}
		tree.reading.Store(r)
		err := survey(ctx, report)
		tree.reading.CompareAndSwap(r, nil)
		last.Store(r)
		return err
	}
	n.Reads = func(file string) bool { return last.Load().has(file) }
	return n
}

// path notes that something was looked for at a path, and where it is if it was opened: links may lead there.
func (r *reading) path(name string, opened *os.File) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(name, false)
	if opened == nil || r.full {
		return
	}
	if real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(opened.Fd()))); err == nil {
		r.add(strings.TrimPrefix(real, r.root), false)
	}
}

// list notes that every entry of a directory matters.
func (r *reading) list(dir string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(dir, true)
}

// pattern notes that every match of one matters.
func (r *reading) pattern(pattern string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full = r.full || len(r.patterns) >= maxReading; !r.full {
		r.patterns = append(r.patterns, path.Clean("/"+pattern))
	}
}

func (r *reading) add(name string, listed bool) {
	name = path.Clean("/" + name)
	if _, known := r.paths[name]; !known && len(r.paths)+len(r.above) >= maxReading {
		r.full = true
		return
	}
	r.paths[name] = r.paths[name] || listed
	for dir := path.Dir(name); dir != "/" && !r.above[dir]; dir = path.Dir(dir) {
		r.above[dir] = true
	}
}

// has says whether a change of a file would be of interest. Of none it is not.
func (r *reading) has(file string) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return false
	}
	if _, known := r.paths[file]; known || r.above[file] || r.paths[path.Dir(file)] {
		return true
	}
	for _, pattern := range r.patterns {
		if ok, _ := path.Match(pattern, file); ok {
			return true
		}
	}
	return false
}
