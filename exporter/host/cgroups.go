package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoCgroups says that the kernel has no control groups.
var ErrNoCgroups = errors.New("no control groups")

// trackedControllers are the version 1 controllers whose hierarchy may be tracked, best first: a container always has
// a directory of its own for memory, and nearly always one for the others.
var trackedControllers = []string{"memory", "pids", "cpu", "cpuacct"}

const (
	maxCgroupDepth = 128 // a walk goes no deeper

	initialCgroupNamespace = "cgroup:[4026531835]" // fixed in the kernel: PROC_CGROUP_INIT_INO
	rootCgroupID           = 1                     // of every hierarchy
)

// A CgroupLayout says which of the machine's control group hierarchies is tracked, and how it is reached.
// All paths begin with a slash, which is the root of the hierarchy.
type CgroupLayout struct {
	Version     int    // 1 or 2
	Hybrid      bool   // version 1 is tracked, and a version 2 tree exists beside it
	Controller  string // version 1: the controller whose hierarchy it is
	HierarchyID int    // as /proc/PID/cgroup numbers it; 0 for version 2
	Mount       string // where this process can read it, empty if it cannot
	Root        string // which control group Mount shows; "/" is all of them
	Namespace   string // root of this process's cgroup namespace; "/" is the initial one, empty if it cannot be known
	Note        string // what keeps this process from seeing all, empty if nothing does
}

// Cgroups finds the tracked hierarchy: the unified one, or on version 1 and hybrid machines that of the memory
// controller, else of pids, cpu or cpuacct. If procfs is the host's, say /host/proc, so are the mounts it finds.
// A hierarchy that is mounted nowhere in reach is no error: Mount is empty and Note says so.
func Cgroups(procfs string) (CgroupLayout, error) {
	self := selfDir(procfs)
	data, err := read(filepath.Join(self, "cgroup"), maxFile)
	if errors.Is(err, os.ErrNotExist) {
		return CgroupLayout{}, fmt.Errorf("find control groups: %w: %w", ErrNoCgroups, err)
	}
	if err != nil {
		return CgroupLayout{}, fmt.Errorf("find control groups: %w", err)
	}
	member, err := parseProcCgroup(data)
	if err != nil {
		return CgroupLayout{}, fmt.Errorf("find control groups: %w", err)
	}
	l, err := chooseHierarchy(procfs, member)
	if err != nil {
		return CgroupLayout{}, fmt.Errorf("find control groups: %w", err)
	}
	mounts, err := cgroupMounts(procfs, self)
	if err != nil {
		return CgroupLayout{}, fmt.Errorf("find control groups: %w", err)
	}
	l.place(mounts, inOwnNamespace(self, member))
	return l, nil
}

// selfDir is where procfs describes this process, or the first process where procfs does not know this one.
func selfDir(procfs string) string {
	self := filepath.Join(procfs, "self")
	if _, err := os.Stat(self); err == nil {
		return self
	}
	return filepath.Join(procfs, "1")
}

// chooseHierarchy decides by which hierarchy each controller is bound to.
func chooseHierarchy(procfs string, member []membership) (CgroupLayout, error) {
	bound, err := boundControllers(procfs, member)
	if err != nil {
		return CgroupLayout{}, err
	}
	unified := slices.ContainsFunc(member, func(m membership) bool { return m.Hierarchy == 0 })
	for _, name := range trackedControllers {
		if id := bound[name]; id != 0 {
			return CgroupLayout{Version: 1, Hybrid: unified, Controller: name, HierarchyID: id}, nil
		}
	}
	if !unified {
		return CgroupLayout{}, fmt.Errorf("%w: neither a unified hierarchy nor one of %s", ErrNoCgroups, strings.Join(trackedControllers, ", "))
	}
	return CgroupLayout{Version: 2}, nil
}

// boundControllers returns the version 1 hierarchy of each controller that has one. Not every kernel has /proc/cgroups;
// the hierarchies this process is a member of say the same.
func boundControllers(procfs string, member []membership) (map[string]int, error) {
	data, err := read(filepath.Join(procfs, "cgroups"), maxFile)
	if err == nil {
		return parseCgroups(data)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	bound := map[string]int{}
	for _, m := range member {
		for _, name := range m.Controllers {
			bound[name] = m.Hierarchy
		}
	}
	return bound, nil
}

// cgroupMount is a place where a hierarchy might be read.
type cgroupMount struct {
	mount
	id uint64 // of the control group it shows, 0 if the place cannot be reached
}

// cgroupMounts lists the mounts of this process, then those of the first process as they may be reached from here:
// below the directory that holds procfs, and through the first process's root.
func cgroupMounts(procfs, self string) ([]cgroupMount, error) {
	var mounts []cgroupMount
	if filepath.Base(self) == "self" {
		own, err := readMounts(filepath.Join(self, "mountinfo"), "/")
		if err != nil {
			return nil, err
		}
		mounts = own
	}
	if above := filepath.Dir(filepath.Clean(procfs)); above != "/" {
		mounts = appendMounts(mounts, procfs, above)
	}
	return appendMounts(mounts, procfs, filepath.Join(procfs, "1", "root")), nil
}

// appendMounts adds what may be found. Without privileges the first process's mounts cannot be read.
func appendMounts(mounts []cgroupMount, procfs, below string) []cgroupMount {
	more, err := readMounts(filepath.Join(procfs, "1", "mountinfo"), below)
	if err != nil {
		return mounts
	}
	return append(mounts, more...)
}

func readMounts(file, below string) ([]cgroupMount, error) {
	data, err := read(file, maxFile)
	if err != nil {
		return nil, err
	}
	all, err := parseMountinfo(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var mounts []cgroupMount
	for _, m := range all {
		if m.Type != "cgroup" && m.Type != "cgroup2" {
			continue
		}
		m.Point = filepath.Join(below, m.Point)
		id, err := inode(m.Point)
		if err != nil {
			id = 0
		}
		mounts = append(mounts, cgroupMount{m, id})
	}
	return mounts, nil
}

// inOwnNamespace reports whether paths in /proc are relative to a cgroup namespace of this process's own.
func inOwnNamespace(self string, member []membership) bool {
	if link, err := os.Readlink(filepath.Join(self, "ns", "cgroup")); err == nil {
		return link != initialCgroupNamespace
	}
	return slices.ContainsFunc(member, func(m membership) bool { return strings.HasPrefix(m.Path, "/..") })
}

// place sets where the hierarchy is read: at the mount that shows most of it.
func (l *CgroupLayout) place(mounts []cgroupMount, namespaced bool) {
	l.Root = "/"
	if !namespaced {
		l.Namespace = "/"
	}
	mounts = slices.DeleteFunc(slices.Clone(mounts), func(m cgroupMount) bool { return m.id == 0 || !l.shownBy(m.mount) })
	if len(mounts) == 0 {
		l.Note = fmt.Sprintf("the %s is mounted nowhere in reach; show the host's /sys/fs/cgroup to this process", l.hierarchy())
		return
	}
	best := slices.MaxFunc(mounts, func(a, b cgroupMount) int { return a.shows() - b.shows() })
	l.Mount = best.Point
	if best.id == rootCgroupID {
		if namespaced {
			l.Namespace = l.findNamespace(mounts)
		}
		return
	}
	l.Root = best.Root
	switch {
	case namespaced && strings.HasPrefix(best.Root, "/.."):
		l.Root = "/"
		l.Namespace = l.findNamespace(mounts)
	case namespaced:
		l.Note = fmt.Sprintf("this process has its own cgroup namespace and sees only what is below it in the %s; show the host's /sys/fs/cgroup to this process", l.hierarchy())
	case best.Root != "/":
		l.Note = fmt.Sprintf("%s shows only %s of the %s; show the host's /sys/fs/cgroup to this process", best.Point, best.Root, l.hierarchy())
	}
}

func (l *CgroupLayout) hierarchy() string {
	if l.Version == 2 {
		return "unified cgroup hierarchy"
	}
	return l.Controller + " cgroup hierarchy"
}

func (l *CgroupLayout) shownBy(m mount) bool {
	if l.Version == 2 {
		return m.Type == "cgroup2"
	}
	return m.Type == "cgroup" && slices.Contains(m.Options, l.Controller)
}

// shows ranks a mount by how high in the hierarchy it begins: at the root, above our own namespace, at it, below.
func (m cgroupMount) shows() int {
	switch {
	case m.id == rootCgroupID:
		return 1 << 20
	case strings.HasPrefix(m.Root, "/.."):
		return strings.Count(m.Root, "..")
	case m.Root == "/":
		return 0
	}
	return -strings.Count(m.Root, "/")
}

// findNamespace returns the path of the namespace's root. No file tells it, but a mount made inside of the namespace
// shows that control group, and its number can be looked for.
func (l *CgroupLayout) findNamespace(mounts []cgroupMount) string {
	inside := slices.IndexFunc(mounts, func(m cgroupMount) bool { return m.Root == "/" })
	found := ""
	if inside >= 0 {
		stop := errors.New("found")
		_ = l.Walk(context.Background(), func(id uint64, path string) error {
			if id != mounts[inside].id {
				return nil
			}
			found = path
			return stop
		})
	}
	if found == "" {
		l.Note = "this process has its own cgroup namespace, and its place in the hierarchy cannot be told; paths read from /proc are relative to it"
	}
	return found
}

// Walk calls fn for every control group with its id and path, those above first. What vanishes meanwhile is left out.
// It ends with the first error of fn.
func (l CgroupLayout) Walk(ctx context.Context, fn func(id uint64, path string) error) error {
	if l.Mount == "" {
		return fmt.Errorf("walk control groups: %s", l.Note)
	}
	return walkCgroup(ctx, l.Mount, l.Root, maxCgroupDepth, fn)
}

func walkCgroup(ctx context.Context, dir, path string, depth int, fn func(id uint64, path string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id, err := inode(dir)
	if err != nil {
		return unlessGone(err)
	}
	if err := fn(id, path); err != nil {
		return err
	}
	if depth == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unlessGone(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := walkCgroup(ctx, dir+"/"+e.Name(), childPath(path, e.Name()), depth-1, fn); err != nil {
			return err
		}
	}
	return nil
}

func childPath(parent, name string) string {
	if parent == "/" {
		return "/" + name
	}
	return parent + "/" + name
}

func unlessGone(err error) error {
	if gone(err) {
		return nil
	}
	return fmt.Errorf("walk control groups: %w", err)
}

// ID returns the kernel's id of the control group at path.
func (l CgroupLayout) ID(path string) (uint64, error) {
	dir, ok := l.directory(path)
	if !ok {
		return 0, fmt.Errorf("control group %s: %w", path, os.ErrNotExist)
	}
	return inode(dir)
}

// directory is where this process sees the control group at path, if it can.
func (l CgroupLayout) directory(path string) (string, bool) {
	below, ok := cutDir(path, l.Root)
	return filepath.Join(l.Mount, below), ok && l.Mount != ""
}

// cutDir returns what of path lies below dir.
func cutDir(path, dir string) (string, bool) {
	if dir == "/" {
		return path, true
	}
	below, ok := strings.CutPrefix(path, dir)
	return below, ok && (below == "" || below[0] == '/')
}

// ParseProcCgroup finds the tracked hierarchy's line in the text of /proc/PID/cgroup and returns its path.
// Where Namespace is known the path is that of the whole hierarchy, else it is relative to the namespace.
func (l CgroupLayout) ParseProcCgroup(data []byte) (string, error) {
	member, err := parseProcCgroup(data)
	if err != nil {
		return "", err
	}
	for _, m := range member {
		if m.Hierarchy != l.HierarchyID {
			continue
		}
		if l.Namespace == "" || l.Namespace == "/" {
			return m.Path, nil
		}
		return path.Join(l.Namespace, m.Path), nil
	}
	return "", fmt.Errorf("cgroup: no line for hierarchy %d (%s)", l.HierarchyID, l.hierarchy())
}

// CgroupPath returns the path of one process in the tracked hierarchy.
func (l CgroupLayout) CgroupPath(procfs string, pid uint32) (string, error) {
	file := procFile(procfs, pid, "cgroup")
	data, err := read(file, maxFile)
	if err != nil {
		return "", err
	}
	p, err := l.ParseProcCgroup(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// A membership is one line of /proc/PID/cgroup.
type membership struct {
	Hierarchy   int
	Controllers []string // none for the unified hierarchy
	Path        string   // as seen from the reader's namespace: it may begin with /..
}

// parseProcCgroup reads /proc/PID/cgroup:
//
//	4:memory:/system.slice/ssh.service
//	0::/init.scope
func parseProcCgroup(data []byte) ([]membership, error) {
	var member []membership
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		// A path may hold colons: containerd makes /system.slice:cri-containerd:ID where systemd is not asked.
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("cgroup line %d: %d fields, want 3", n, len(fields))
		}
		id, err := number("hierarchy", fields[0], 31)
		if err != nil {
			return nil, fmt.Errorf("cgroup line %d: %w", n, err)
		}
		if !strings.HasPrefix(fields[2], "/") {
			return nil, fmt.Errorf("cgroup line %d: path %q does not begin with a slash", n, fields[2])
		}
		m := membership{Hierarchy: int(id), Path: fields[2]}
		if fields[1] != "" {
			m.Controllers = strings.Split(fields[1], ",")
		}
		if m.Hierarchy == 0 {
			// Only the unified hierarchy marks a removed control group, of a zombie for example.
			m.Path = strings.TrimSuffix(m.Path, " (deleted)")
		}
		member = append(member, m)
	}
	return member, nil
}

// parseCgroups reads /proc/cgroups and returns the hierarchy of every controller that is bound to a version 1 one:
//
//	#subsys_name	hierarchy	num_cgroups	enabled
//	memory	4	20	1
func parseCgroups(data []byte) (map[string]int, error) {
	bound := map[string]int{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 4 {
			return nil, fmt.Errorf("cgroups line %d: %d fields, want 4", n, len(fields))
		}
		id, err := number("hierarchy", fields[1], 31)
		if err != nil {
			return nil, fmt.Errorf("cgroups line %d: %w", n, err)
		}
		if id != 0 && fields[3] != "0" {
			bound[fields[0]] = int(id)
		}
	}
	return bound, nil
}
