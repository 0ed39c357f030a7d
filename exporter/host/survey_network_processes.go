package host

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxLooked bounds how many processes a survey looks at.
const maxLooked = 200_000

// A ranProgram is a process, as far as surveys ask for it.
type ranProgram struct {
	pid  int
	name string // as the process calls itself, at most 15 bytes
	exe  string // the path of its program; empty for threads of the kernel
}

// running are the processes of the machine itself: those in its first name space of process ids, and so none in containers that
// have their own. Of a machine that does not run there are none.
func (s *Surveys) running(ctx context.Context) ([]ranProgram, error) {
	if !s.Live() {
		return nil, nil
	}
	pids, err := s.pids()
	if err != nil {
		return nil, err
	}
	first, err := s.Proc().Readlink("1/ns/pid")
	if err != nil {
		first, _ = s.Proc().Readlink("self/ns/pid") // who may not look at the first process is taken for a neighbour of it
	}
	var all []ranProgram
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		dir := strconv.Itoa(pid)
		if ns, err := s.Proc().Readlink(path.Join(dir, "ns/pid")); first != "" && err == nil && ns != first {
			continue
		}
		if name, err := s.Proc().Read(path.Join(dir, "comm"), 64); err == nil {
			exe, _ := s.Proc().Readlink(path.Join(dir, "exe"))
			all = append(all, ranProgram{pid, strings.TrimSuffix(string(name), "\n"), exe})
		}
	}
	return all, nil
}

// pids are the numbers of all processes.
func (s *Surveys) pids() ([]int, error) {
	dir, err := s.Proc().OpenDir(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxLooked)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			all = append(all, pid)
		}
	}
	slices.Sort(all)
	return all, nil
}

// is says whether it is a program of one of several names: by its file, or if it is a thread of the kernel by what it is called.
func (p ranProgram) is(names ...string) bool {
	if p.exe == "" {
		return slices.Contains(names, p.name)
	}
	return slices.Contains(names, path.Base(strings.TrimSuffix(p.exe, deletedMark)))
}

// deletedMark is what the kernel writes behind the path of a program that is no longer there.
const deletedMark = " (deleted)"

// runs says whether one of several programs runs.
func runs(all []ranProgram, names ...string) bool {
	return slices.ContainsFunc(all, func(p ranProgram) bool { return p.is(names...) })
}
