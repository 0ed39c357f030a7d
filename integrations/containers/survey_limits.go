package containers

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A controllerPlace is where a hierarchy of control groups can be read.
type controllerPlace struct {
	controllers []string // of version 1; none of version 2
	dir         string
}

// controllerPlaces finds the hierarchies: at our own mounts, or at the host's as they may be reached from here. Only whole ones count.
func (s *survey) controllerPlaces(hosts []mountLine) (all []controllerPlace) {
	add := func(lines []mountLine, below string) {
		for i := range lines {
			m := &lines[i]
			dir := filepath.Join(below, m.point)
			var st unix.Stat_t
			if !strings.HasPrefix(m.kind, "cgroup") || m.root != "/" || unix.Stat(dir, &st) != nil {
				continue
			}
			p := controllerPlace{dir: dir}
			if m.kind == "cgroup" {
				p.controllers = m.super
			}
			all = append(all, p)
		}
	}
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		if own, err := parseMountLines(string(data)); err == nil {
			add(own, "/")
		}
	}
	if above := filepath.Dir(filepath.Clean(s.procfs)); above != "/" {
		add(hosts, above)
	}
	add(hosts, filepath.Join(s.procfs, "1/root"))
	return all
}

// A groupView is a container's control groups: one directory for each controller of version 1, or one for all of version 2, and
// those of its pod.
type groupView struct {
	unified bool
	dirs    map[string][]string // by controller, the container's own first; "" is version 2
}

// controllers are those whose files are read.
var controllers = []string{"memory", "cpu", "pids", "devices"}

// groups finds a container's control groups. In other hierarchies than the tracked one they are where its first process is, without
// what the process itself has made below.
func (s *survey) groups(in *interior, group event.Group) (*groupView, error) {
	data, err := s.proc.Read(fmt.Sprintf("%d/cgroup", in.first.pid), maxProcFile)
	if err != nil {
		return nil, err
	}
	v := &groupView{unified: s.layout.Version == 2, dirs: map[string][]string{}}
	if v.unified {
		own, ok := groupDir(s.layout, group.Path)
		if !ok {
			return nil, fmt.Errorf("control group %s: %s", group.Path, s.layout.Note)
		}
		v.dirs[""] = []string{own}
		if group.Pod != "" {
			v.dirs[""] = append(v.dirs[""], filepath.Dir(own))
		}
		return v, nil
	}
	paths, tracked := map[string]string{}, ""
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			paths[name] = fields[2]
		}
		if slices.Contains(strings.Split(fields[1], ","), s.layout.Controller) {
			tracked = fields[2]
		}
	}
	nested, below := strings.CutPrefix(tracked, group.Path)
	for _, name := range controllers {
		place := slices.IndexFunc(s.host.places, func(p controllerPlace) bool { return slices.Contains(p.controllers, name) })
		own := paths[name]
		if place < 0 || own == "" {
			continue
		}
		if below {
			own = strings.TrimSuffix(own, nested)
		}
		if strings.HasPrefix(own, "/..") {
			own = group.Path
		}
		v.dirs[name] = []string{filepath.Join(s.host.places[place].dir, own)}
		if group.Pod != "" && own != "/" {
			v.dirs[name] = append(v.dirs[name], filepath.Join(s.host.places[place].dir, path.Dir(own)))
		}
	}
	return v, nil
}

// read returns the values of a file of a controller, the container's own first, without those that are not there.
func (v *groupView) read(controller, file string) (values []string, known bool, err error) {
	dirs := v.dirs[controller]
	if v.unified {
		dirs = v.dirs[""]
	}
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue // not delegated so far down: nothing limits it there
		}
		if err != nil {
			return nil, true, err
		}
		values = append(values, strings.TrimSpace(string(data)))
	}
	return values, len(dirs) > 0, nil
}

// least is the least number among values, false if none is a limit.
func least(values []string) (limit int64, limited bool) {
	limit = math.MaxInt64
	for _, v := range values {
		n, err := strconv.ParseInt(v, 10, 64)
		if err == nil && n >= 0 && n < 1<<62 && n <= limit {
			limit, limited = n, true
		}
	}
	return limit, limited
}

// limits sets what the container may use.
func (s *survey) limits(f event.Fact, in *interior, group event.Group) error {
	v, err := s.groups(in, group)
	if err != nil {
		return err
	}
	if err := errors.Join(v.memory(f), v.cpu(f), v.pids(f), v.devices(f)); err != nil {
		return err
	}
	return s.ulimits(f, in.first)
}

func (v *groupView) memory(f event.Fact) error {
	file := "memory.limit_in_bytes"
	if v.unified {
		file = "memory.max"
	}
	values, known, err := v.read("memory", file)
	if err != nil || !known {
		return err
	}
	limit, limited := least(values)
	if f.Set("memory_limited", limited); limited {
		f.Set("memory_limit", limit)
	}
	if v.unified {
		f.Set("oom_disabled", false) // version 2 has no such thing
		return nil
	}
	values, _, err = v.read("memory", "memory.oom_control")
	f.Set("oom_disabled", len(values) > 0 && strings.Contains(values[0]+"\n", "oom_kill_disable 1\n"))
	return err
}

func (v *groupView) cpu(f event.Fact) error {
	quota, weight, usual := "cpu.cfs_quota_us", "cpu.shares", "1024"
	if v.unified {
		quota, weight, usual = "cpu.max", "cpu.weight", "100"
	}
	values, known, err := v.read("cpu", quota)
	if err != nil || !known {
		return err
	}
	for i := range values {
		values[i], _, _ = strings.Cut(values[i], " ")
	}
	_, limited := least(values)
	weights, _, err := v.read("cpu", weight)
	f.Set("cpu_limited", limited).Set("cpu_weighted", len(weights) > 0 && weights[0] != usual)
	return err
}

func (v *groupView) pids(f event.Fact) error {
	values, known, err := v.read("pids", "pids.max")
	if err != nil || !known {
		return err
	}
	limit, limited := least(values)
	if f.Set("pids_limited", limited); limited {
		f.Set("pids_limit", limit)
	}
	return nil
}

// devices reads which devices may be used. Version 2 has a program for that, which cannot be read.
func (v *groupView) devices(f event.Fact) error {
	if v.unified {
		return nil
	}
	values, known, err := v.read("devices", "devices.list")
	if err != nil || !known || len(values) == 0 {
		return err
	}
	f.Set("all_devices", slices.ContainsFunc(strings.Split(values[0], "\n"), func(line string) bool { return line == "a *:* rwm" }))
	return nil
}

// ulimits reads the limits of the first process.
func (s *survey) ulimits(f event.Fact, p *insider) error {
	data, err := s.proc.Read(fmt.Sprintf("%d/limits", p.pid), maxProcFile)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		for name, field := range map[string]string{"Max open files": "nofile_hard", "Max processes": "nproc_hard", "Max core file size": "core_hard"} {
			rest, ok := strings.CutPrefix(line, name)
			if values := strings.Fields(rest); ok && len(values) > 1 {
				f.Set(field, limitOf(values[1]))
			}
		}
	}
	if text, err := s.proc.Read(fmt.Sprintf("%d/oom_score_adj", p.pid), 64); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			f.Set("oom_score_adj", n)
		}
	}
	return nil
}

// limitOf is a limit as a number, -1 if there is none.
func limitOf(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
