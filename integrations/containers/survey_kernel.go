package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what is read of a container's processes.
const (
	maxProcesses = 512 // that are looked at; all are counted
	maxNested    = 512 // control groups below a container's own
	maxProcFile  = 4 << 20
	maxEnviron   = 1 << 20
)

// namespaceKinds are the kinds of name spaces, with the number that the kernel always gives to the first of a kind, where it does.
var namespaceKinds = []struct {
	name, field string
	first       string
}{
	{"pid", "host_pid", "pid:[4026531836]"}, {"net", "host_network", ""}, {"ipc", "host_ipc", "ipc:[4026531839]"}, {"uts", "host_uts", "uts:[4026531838]"},
	{"user", "host_user", "user:[4026531837]"}, {"cgroup", "host_cgroup", "cgroup:[4026531835]"}, {"mnt", "host_mount", ""},
}

// A hostView is what containers are compared with.
type hostView struct {
	namespaces map[string]string
	mounts     []mountLine
	lastCap    int
	whole      uint64 // every capability
	places     []controllerPlace
}

// readHost reads the host's own view: that of its first process, or where that is closed to us our own.
func (s *survey) readHost() (v hostView, err error) {
	v.namespaces = map[string]string{}
	for _, kind := range namespaceKinds {
		link, err := s.proc.Readlink("1/ns/" + kind.name)
		if err != nil {
			link = kind.first
		}
		if link == "" {
			link, _ = s.proc.Readlink("self/ns/" + kind.name)
		}
		v.namespaces[kind.name] = link
	}
	data, err := s.proc.Read("1/mountinfo", maxProcFile)
	if err != nil {
		return v, err
	}
	if v.mounts, err = parseMountLines(string(data)); err != nil {
		return v, err
	}
	v.lastCap = 40
	if text, err := s.proc.Read("sys/kernel/cap_last_cap", 64); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			v.lastCap = min(n, 63)
		}
	}
	v.whole = uint64(1)<<(v.lastCap+1) - 1
	if first, err := s.insider(1); err == nil {
		v.whole &= first.caps["CapBnd"] // what even the first process cannot have nobody has
	}
	v.places = s.controllerPlaces(v.mounts)
	return v, nil
}

// gone says whether an error only means that a process has ended.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// An insider is a process of a container.
type insider struct {
	pid, parent int
	start       uint64
	innerPID    string // as its own pid name space numbers it
	name        string
	ids         [2][]uint32 // real, effective … user and group, as the host numbers them
	groups      []uint32
	caps        map[string]uint64
	status      map[string]string
}

// An interior is what is known of a container's processes.
type interior struct {
	first     *insider
	processes []*insider
	count     int
	mounts    mountView
	users     idMap
}

// inside reads a container's processes, nil if it has none.
func (s *survey) inside(ctx context.Context, group event.Group) (*interior, error) {
	pids, err := s.processesOf(group.Path)
	if err != nil {
		return nil, err
	}
	in := &interior{count: len(pids)}
	var failed error
	for _, pid := range pids[:min(len(pids), maxProcesses)] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := s.insider(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			failed = err
			continue
		}
		in.processes = append(in.processes, p)
	}
	if len(in.processes) == 0 {
		return nil, failed
	}
	in.first = firstOf(in.processes)
	return in, nil
}

// firstOf is the process that a container began with: the first of its pid name space, or else the oldest.
func firstOf(all []*insider) *insider {
	first := all[0]
	for _, p := range all[1:] {
		one, other := p.innerPID == "1", first.innerPID == "1"
		if one && !other || one == other && p.start < first.start {
			first = p
		}
	}
	return first
}

// processesOf lists the processes of a control group and those below it.
func (s *survey) processesOf(group string) (pids []int, err error) {
	dir, ok := groupDir(s.layout, group)
	if !ok {
		return nil, fmt.Errorf("control group %s: %s", group, s.layout.Note)
	}
	left := maxNested
	err = walkGroups(dir, &left, func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, unix.EOPNOTSUPP) { // a threaded one: its processes are those of the group above
			return nil
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if gone(err) {
		return nil, nil
	}
	slices.Sort(pids)
	return slices.Compact(pids), err
}

func walkGroups(dir string, left *int, visit func(dir string) error) error {
	if *left--; *left < 0 {
		return nil
	}
	if err := visit(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := walkGroups(filepath.Join(dir, e.Name()), left, visit); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// insider reads a process.
func (s *survey) insider(pid int) (*insider, error) {
	dir := strconv.Itoa(pid)
	status, err := s.proc.Read(dir+"/status", maxProcFile)
	if err != nil {
		return nil, err
	}
	stat, err := s.proc.Read(dir+"/stat", maxProcFile)
	if err != nil {
		return nil, err
	}
	p := &insider{pid: pid, status: map[string]string{}, caps: map[string]uint64{}}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		p.status[name] = strings.TrimSpace(value)
	}
	p.name = p.status["Name"]
	if p.parent, err = strconv.Atoi(p.status["PPid"]); err != nil {
		return nil, fmt.Errorf("/proc/%d/status: PPid %q: want a number", pid, p.status["PPid"])
	}
	inner := strings.Fields(p.status["NSpid"])
	if len(inner) > 0 {
		p.innerPID = inner[len(inner)-1]
	}
	if len(inner) == 1 { // it is in the host's name space, where only one is the first
		p.innerPID = ""
	}
	p.ids = [2][]uint32{idList(p.status["Uid"]), idList(p.status["Gid"])}
	if p.groups = idList(p.status["Groups"]); len(p.ids[0]) < 2 || len(p.ids[1]) < 2 {
		return nil, fmt.Errorf("/proc/%d/status: want four numbers each of Uid and Gid", pid)
	}
	for _, set := range []string{"CapEff", "CapBnd", "CapAmb"} {
		if p.caps[set], err = strconv.ParseUint(p.status[set], 16, 64); err != nil && p.status[set] != "" {
			return nil, fmt.Errorf("/proc/%d/status: %s %q: want a number in base 16", pid, set, p.status[set])
		}
	}
	p.start = startOf(string(stat))
	return p, nil
}

func idList(text string) (all []uint32) {
	for field := range strings.FieldsSeq(text) {
		if n, err := strconv.ParseUint(field, 10, 32); err == nil {
			all = append(all, uint32(n))
		}
	}
	return all
}

// startOf is field 22 of /proc/PID/stat: the ticks at which it started. The name before may hold anything.
func startOf(stat string) uint64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}

// kernelWord sets what the kernel shows of a container.
func (s *survey) kernelWord(ctx context.Context, f event.Fact, in *interior, group event.Group) error {
	f.Set("pid", int64(in.first.pid)).Set("processes", int64(in.count))
	if err := s.readUsers(f, in); err != nil {
		return err
	}
	if err := s.readMounts(f, in, group.Container); err != nil {
		return err
	}
	s.namespaces(f, in.first)
	s.powers(f, in)
	s.confinement(f, in.first)
	if err := s.limits(f, in, group); err != nil {
		return err
	}
	if err := s.environment(f, in.first); err != nil {
		return err
	}
	s.programs(f, in)
	return s.rootFiles(ctx, f, in)
}

func (s *survey) namespaces(f event.Fact, p *insider) {
	for _, kind := range namespaceKinds {
		link, err := s.proc.Readlink(fmt.Sprintf("%d/ns/%s", p.pid, kind.name))
		if err == nil && s.host.namespaces[kind.name] != "" {
			f.Set(kind.field, link == s.host.namespaces[kind.name])
		}
	}
}

// An idMap is a user name space's mapping: lines of first within, first outside, how many.
type idMap [][3]uint64

func parseIDMap(text string) (m idMap) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		var row [3]uint64
		for i, field := range fields {
			row[i], _ = strconv.ParseUint(field, 10, 32)
		}
		m = append(m, row)
	}
	return m
}

// inner is what a host's number is within.
func (m idMap) inner(outside uint32) (uint32, bool) {
	for _, row := range m {
		if n := uint64(outside); n >= row[1] && n-row[1] < row[2] {
			return uint32(row[0] + n - row[1]), true
		}
	}
	return 0, false
}

// outer is what a number within is on the host.
func (m idMap) outer(inside uint32) (uint32, bool) {
	for _, row := range m {
		if n := uint64(inside); n >= row[0] && n-row[0] < row[2] {
			return uint32(row[1] + n - row[0]), true
		}
	}
	return 0, false
}

// readUsers sets who runs in the container.
func (s *survey) readUsers(f event.Fact, in *interior) error {
	data, err := s.proc.Read(fmt.Sprintf("%d/uid_map", in.first.pid), maxProcFile)
	if err != nil {
		return err
	}
	in.users = parseIDMap(string(data))
	p := in.first
	uid, gid := p.ids[0][1], p.ids[1][1]
	f.Set("uid", int64(uid)).Set("gid", int64(gid))
	inner, mapped := in.users.inner(uid)
	if mapped {
		f.Set("inner_uid", int64(inner))
	}
	outer, hasRoot := in.users.outer(0)
	f.Set("root", mapped && inner == 0).Set("host_root", hasRoot && outer == 0)
	f.Set("root_group", gid == 0 || slices.Contains(p.groups, 0))
	roots, execRoots, strong := 0, 0, 0
	for _, other := range in.processes {
		root := in.isRoot(other)
		if root {
			roots++
		}
		if root && !in.isRoot(p) && in.injected(other) {
			execRoots++
		}
		if other.caps["CapBnd"]&^p.caps["CapBnd"] != 0 {
			strong++
		}
	}
	f.Set("root_processes", int64(roots)).Set("exec_root", int64(execRoots)).Set("exec_privileged", int64(strong))
	return nil
}

func (in *interior) isRoot(p *insider) bool {
	inner, mapped := in.users.inner(p.ids[0][1])
	return mapped && inner == 0
}

// injected says whether a process was put into the container by its runtime: it is not the first, and its parent is outside.
func (in *interior) injected(p *insider) bool {
	return p != in.first && !slices.ContainsFunc(in.processes, func(other *insider) bool { return other.pid == p.parent })
}

// capNames are the names of capabilities by their number.
var capNames = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
	CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO
	CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD
	CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ
	CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

// usualCaps are what Docker gives to containers by default; dangerousCaps those by which the host can be taken over or watched.
var (
	usualCaps = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP CAP_SETPCAP
		CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE`)
	dangerousCaps = strings.Fields(`CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_PTRACE CAP_SYS_ADMIN CAP_SYS_BOOT CAP_MAC_OVERRIDE
		CAP_MAC_ADMIN CAP_SYSLOG CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)
)

// capList names the capabilities of a set, in the order of their numbers.
func capList(set uint64) []string {
	all := []string{}
	for i := range 64 {
		if set&(1<<i) == 0 {
			continue
		}
		if i < len(capNames) {
			all = append(all, capNames[i])
		} else {
			all = append(all, "CAP_"+strconv.Itoa(i))
		}
	}
	return all
}

func (s *survey) powers(f event.Fact, in *interior) {
	bounding := in.first.caps["CapBnd"]
	names := capList(bounding)
	var added, dangerous []string
	for _, name := range names {
		if !slices.Contains(usualCaps, name) {
			added = append(added, name)
		}
		if slices.Contains(dangerousCaps, name) {
			dangerous = append(dangerous, name)
		}
	}
	f.Set("capabilities", names).Set("effective", capList(in.first.caps["CapEff"])).Set("ambient", capList(in.first.caps["CapAmb"]))
	f.Set("added", some(added, 64)).Set("dangerous", some(dangerous, 64)).Set("capability_count", int64(len(names)))
	f.Set("net_raw", slices.Contains(names, "CAP_NET_RAW")).Set("all_capabilities", bounding&s.host.whole == s.host.whole)
}

// unconfinedTypes are types of SELinux that confine nothing.
var unconfinedTypes = []string{"spc_t", "unconfined_t", "unconfined_service_t", "container_runtime_t", "docker_t", "initrc_t", "kernel_t", "init_t"}

func (s *survey) confinement(f event.Fact, p *insider) {
	if mode, ok := map[string]string{"0": "disabled", "1": "strict", "2": "filter"}[p.status["Seccomp"]]; ok {
		f.Set("seccomp", mode)
	}
	if n, err := strconv.ParseInt(p.status["Seccomp_filters"], 10, 64); err == nil {
		f.Set("seccomp_filters", n)
	}
	if v, ok := p.status["NoNewPrivs"]; ok {
		f.Set("no_new_privs", v == "1")
	}
	label, err := s.proc.Read(fmt.Sprintf("%d/attr/apparmor/current", p.pid), maxText)
	if err != nil || len(label) == 0 {
		label, err = s.proc.Read(fmt.Sprintf("%d/attr/current", p.pid), maxText)
	}
	text := strings.TrimRight(string(label), "\n\x00")
	if err != nil || text == "" {
		return // no security module that labels is at work
	}
	if fields := strings.Split(text, ":"); len(fields) >= 4 {
		confined := !slices.Contains(unconfinedTypes, fields[2])
		f.Set("selinux", text).Set("selinux_confined", confined).Set("confined", confined)
		return
	}
	profile, mode := text, "unconfined"
	if name, rest, ok := strings.Cut(text, " ("); ok {
		profile, mode = name, strings.TrimSuffix(rest, ")")
	}
	f.Set("apparmor", profile).Set("apparmor_mode", mode).Set("confined", mode == "enforce" || mode == "kill")
}

// environment names the variables that look like secrets. Their values are not kept.
func (s *survey) environment(f event.Fact, p *insider) error {
	data, err := s.proc.Read(fmt.Sprintf("%d/environ", p.pid), maxEnviron)
	if err != nil {
		return err
	}
	f.Set("secret_env", some(secretVariables(strings.Split(string(data), "\x00")), 50))
	return nil
}

// secretVariables are the names of variables, of NAME=VALUE, that look like secrets and have a value.
func secretVariables(environment []string) (names []string) {
	for _, variable := range environment {
		name, value, _ := strings.Cut(variable, "=")
		if value != "" && len(name) <= maxLabel && host.SecretName(name) && !strings.HasPrefix(value, "/run/secrets/") {
			names = append(names, label(name))
		}
	}
	return names
}

// programs looks at what runs in the container.
func (s *survey) programs(f event.Fact, in *interior) {
	ssh := false
	var deleted []string
	for _, p := range in.processes {
		exe, err := s.proc.Readlink(fmt.Sprintf("%d/exe", p.pid))
		if err != nil {
			exe = ""
		}
		base := path.Base(strings.TrimSuffix(exe, " (deleted)"))
		for _, name := range []string{p.name, base} {
			ssh = ssh || name == "sshd" || name == "dropbear" || name == "sshd-session"
		}
		if strings.HasSuffix(exe, " (deleted)") || strings.HasPrefix(exe, "/memfd:") {
			deleted = append(deleted, label(exe))
		}
	}
	f.Set("ssh_server", ssh).Set("deleted_programs", some(deleted, 20))
}
