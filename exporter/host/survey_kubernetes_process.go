package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// kubePrograms are those of Kubernetes whose flags are looked at, and the programs that have all of them in one process.
var (
	kubePrograms = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "kube-proxy"}
	kubeBundles  = []string{"k3s", "rke2", "kubelite", "k0s"}
)

// Bounds of processes: bytes of a command line and of an environment, and how many processes of one program are looked at: anybody can
// start some.
const (
	maxKubeArgs      = 256 << 10
	maxKubeProcesses = 16
)

// A kubeProcess is a process that has the name of a program of Kubernetes, and what is known of where it runs.
type kubeProcess struct {
	pid     int
	program string
	exe     string
	args    []string // without the program
	uid     uint32

	hostNetwork bool // it shares it with the first process, or that cannot be told
	exeOfRoot   bool // its program is in the machine's own files, and root's
	cgroups     []string
}

// ours says whether it is a part of this node, and not something that only has its name:
//
//   - It must be in the machine's own network: all parts of a node are. An API server of another cluster that is a workload here,
//     and what runs in a node that is itself a container (kind), are not.
//   - In a pod it must be a static one, which the kubelet reads from a file. One that came from the API server may have any program of
//     any name; only kube-proxy is usually in such a one.
//   - In no pod it must be root's, or among the machine's own files, and its program root's: as systemd or Docker run it. A user's own
//     experiment is not.
func (p *kubeProcess) ours() bool {
	id, pod := podOf(p.cgroups)
	switch {
	case !p.hostNetwork:
		return false
	case pod:
		return isHash(id) || p.program == "kube-proxy"
	}
	return p.uid == 0 || p.exeOfRoot
}

// podOf says whether control groups are those of a pod, and the pod's number as the kubelet names its directory.
func podOf(cgroups []string) (id string, pod bool) {
	for _, group := range cgroups {
		_, below, ok := strings.Cut(group, "/kubepods")
		pod = pod || ok
		for part := range strings.SplitSeq(below, "/") {
			part = strings.TrimSuffix(part, ".slice")
			at := strings.LastIndex(part, "pod")
			if at < 0 || at > 0 && part[at-1] != '-' {
				continue
			}
			if id := strings.ReplaceAll(part[at+len("pod"):], "_", "-"); len(id) == 36 || isHash(id) {
				return id, true
			}
		}
	}
	return "", pod
}

// isHash says whether a pod's number is that of a static one: a hash of its file. The API server gives pods a UUID, with hyphens, which
// systemd's control groups have as underscores.
func isHash(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}

// A kubeTrouble is something that may be a part of this node, and cannot be read.
type kubeTrouble struct {
	program string
	subject string
	err     error
}

// kubeProcesses returns the processes of this node's parts, in the order of their numbers, and those of which that cannot be told. On
// a machine that does not run there are none.
func (s *Surveys) kubeProcesses(ctx context.Context) (all []kubeProcess, troubles []kubeTrouble, err error) {
	if !s.Live() {
		return nil, nil, nil
	}
	names, err := s.Proc().ReadDir(".")
	if err != nil {
		return nil, nil, err
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n.Name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	count := map[string]int{}
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		p, err := s.kubeProcess(pid)
		if err != nil {
			troubles = append(troubles, kubeTrouble{p.program, fmt.Sprintf("process %d", pid), err})
			continue
		}
		if p.program == "" || !p.ours() {
			continue
		}
		if count[p.program]++; count[p.program] <= maxKubeProcesses {
			all = append(all, p)
		}
	}
	return all, troubles, nil
}

// kubeProcess reads a process. One that has no name of ours, or that has ended, has no program. A process is known by its executable,
// since its name and its arguments it can choose; only where that may not be read its name makes it a trouble.
func (s *Surveys) kubeProcess(pid int) (p kubeProcess, err error) {
	dir := strconv.Itoa(pid)
	exe, err := s.Proc().Readlink(dir + "/exe")
	if errors.Is(err, fs.ErrPermission) {
		return s.namedLikeOurs(dir, err)
	}
	if err != nil {
		return p, nil // it has ended, or is one of the kernel's
	}
	exe = strings.TrimSuffix(exe, " (deleted)")
	program := path.Base(exe)
	if !slices.Contains(kubePrograms, program) && !slices.Contains(kubeBundles, program) {
		return p, nil
	}
	p.pid, p.exe = pid, exe
	data, err := s.Proc().Read(dir+"/cmdline", maxKubeArgs)
	if gone(err) || err == nil && len(data) == 0 {
		return p, nil
	}
	p.program = program
	if err != nil {
		return p, err
	}
	args := splitArgs(data)
	if words := strings.Fields(args[0]); len(words) > 1 && slices.Contains(kubeBundles, program) {
		args = words // k3s and rke2 write a title of one text over their arguments
	}
	p.args = args[1:]
	return p, s.placeOf(&p)
}

// namedLikeOurs makes a trouble of a process whose executable may not be read, if it has the name of a program of ours.
func (s *Surveys) namedLikeOurs(dir string, why error) (p kubeProcess, err error) {
	comm, err := s.Proc().Read(dir+"/comm", 64)
	if err != nil {
		return p, nil
	}
	name := strings.TrimSpace(string(comm))
	for _, program := range kubePrograms {
		if name == program[:min(len(program), 15)] {
			p.program = program
			return p, fmt.Errorf("it is called %s, and which program it runs cannot be read: %w", name, unwrapPath(why))
		}
	}
	return p, nil
}

// placeOf reads where a process runs.
func (s *Surveys) placeOf(p *kubeProcess) error {
	dir := strconv.Itoa(p.pid)
	data, err := s.Proc().Read(dir+"/status", maxKubeArgs)
	if err != nil {
		p.program = "" // it has ended
		return nil
	}
	status, err := parseStatus(data)
	if err != nil {
		return err
	}
	p.uid = status.UID[1]
	p.hostNetwork = s.sharesWithFirst(dir, "net")
	if s.sharesWithFirst(dir, "mnt") {
		st, err := s.stat(p.exe)
		p.exeOfRoot = err == nil && st.Uid == 0 && st.Mode&0o022 == 0
	}
	if data, err = s.Proc().Read(dir+"/cgroup", maxKubeArgs); err != nil {
		p.program = ""
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			p.cgroups = append(p.cgroups, parts[2])
		}
	}
	return nil
}

// sharesWithFirst says whether a process is in a name space of the first one; also if that may not be read.
func (s *Surveys) sharesWithFirst(dir, space string) bool {
	first, firstErr := s.Proc().Readlink("1/ns/" + space)
	its, err := s.Proc().Readlink(dir + "/ns/" + space)
	return firstErr != nil || err != nil || first == its
}

// environ is the environment of a process, of which only variables with a prefix are of interest.
func (s *Surveys) environ(pid int, prefix string) (map[string]string, error) {
	data, err := s.Proc().Read(strconv.Itoa(pid)+"/environ", maxKubeArgs)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, text := range splitArgs(data) {
		if name, value, ok := strings.Cut(text, "="); ok && strings.HasPrefix(name, prefix) {
			env[name] = value
		}
	}
	return env, nil
}
