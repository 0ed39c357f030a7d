package host

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// containerSurveys are the surveys of what runs containers, as far as files and the daemons' processes tell. What containers
// themselves are given is surveyed by integrations/containers.
func (s *Surveys) containerSurveys() []NamedSurvey {
	return []NamedSurvey{
		{Name: "docker", Kinds: []*event.FactKind{event.Docker}, Survey: s.Docker},
		{Name: "containerd", Kinds: []*event.FactKind{event.Containerd}, Survey: s.Containerd},
		{Name: "swarm", Kinds: []*event.FactKind{event.Swarm}, Survey: s.Swarm},
		{Name: "container-files", Kinds: []*event.FactKind{event.File}, Survey: s.ContainerFiles},
		{Name: "container-paths", Kinds: []*event.FactKind{event.ContainerPath}, Survey: s.ContainerPaths},
		{Name: "registries", Kinds: []*event.FactKind{event.Registry}, Survey: s.Registries},
		{Name: "registry-logins", Kinds: []*event.FactKind{event.RegistryLogin}, Survey: s.RegistryLogins},
		{Name: "image-policy", Kinds: []*event.FactKind{event.ImagePolicy}, Survey: s.ImagePolicies},
	}
}

// A daemonProcess is a daemon that runs.
type daemonProcess struct {
	pid  int
	args []string
	uid  uint32
	host bool // it sees the files of the machine: it does not itself run in a container
}

// maxDaemonArgs bounds a command line, maxDaemons how many processes of one name are looked at: anybody can start some.
const (
	maxDaemonArgs = 128 << 10
	maxDaemons    = 64
)

// daemons returns the processes of a program, those that see the machine's own files and are root's first. On a machine that does
// not run there are none. A process is known by its executable: its name it can choose.
func (s *Surveys) daemons(ctx context.Context, program string) ([]daemonProcess, error) {
	if !s.Live() {
		return nil, nil
	}
	names, err := s.Proc().ReadDir(".")
	if err != nil {
		return nil, err
	}
	own, _ := s.Proc().Readlink("1/ns/mnt") // without the right to read it nobody's can be compared
	var all []daemonProcess
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pid, err := strconv.Atoi(n.Name)
		if err != nil || len(all) == maxDaemons {
			continue
		}
		if p, ok := s.daemon(pid, program, own); ok {
			all = append(all, p)
		}
	}
	rank := func(p daemonProcess) int {
		switch {
		case p.host && p.uid == 0:
			return 0
		case p.host:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b daemonProcess) int { return rank(a) - rank(b) })
	return all, nil
}

// daemon reads a process, if it is one of the program. It may end meanwhile: then it is none.
func (s *Surveys) daemon(pid int, program, mounts string) (p daemonProcess, ok bool) {
	dir := strconv.Itoa(pid)
	exe, err := s.Proc().Readlink(dir + "/exe")
	if err != nil || path.Base(strings.TrimSuffix(exe, " (deleted)")) != program {
		return p, false
	}
	args, err := s.Proc().Read(dir+"/cmdline", maxDaemonArgs)
	st, statErr := s.Proc().Stat(dir)
	if err != nil || statErr != nil || len(args) == 0 {
		return p, false
	}
	p = daemonProcess{pid: pid, args: splitArgs(args), uid: st.Uid, host: true}
	if its, err := s.Proc().Readlink(dir + "/ns/mnt"); err == nil && mounts != "" {
		p.host = its == mounts
	}
	return p, true
}

// absolute is a path that a daemon's argument names, which may be relative to the directory that it was started in.
func (s *Surveys) absolute(p *daemonProcess, file string) string {
	if !path.IsAbs(file) {
		dir, err := s.Proc().Readlink(strconv.Itoa(p.pid) + "/cwd")
		if err != nil {
			return ""
		}
		file = path.Join(dir, file)
	}
	return path.Clean(file)
}

// joined writes names as one text: in order, each once.
func joined(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// A containerFile is a well-known file of what runs containers.
type containerFile struct{ purpose, path string }

// ContainerFiles reports the files that Docker and containerd are configured by, their sockets, keys and programs, if they are
// installed.
func (s *Surveys) ContainerFiles(ctx context.Context, report func(event.Fact)) error {
	docker, err := s.dockerSetup(ctx)
	if err != nil {
		return err
	}
	daemons, err := s.containerdSetups(ctx)
	if err != nil {
		return err
	}
	var files []containerFile
	if docker.installed {
		more, err := s.dockerFiles(docker)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	for _, d := range daemons {
		files = append(files, d.files()...)
	}
	if docker.installed || len(daemons) > 0 {
		programs, err := s.containerPrograms()
		if err != nil {
			return err
		}
		files = append(files, programs...)
	}
	seen := map[containerFile]bool{}
	for _, f := range files {
		if !seen[f] {
			seen[f] = true
			report(s.FileFact(f.purpose, f.path))
		}
	}
	return nil
}

// programDirs are where programs are, as PATH has them for root, without links to others of them.
var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/opt/bin"}

// containerPrograms are the programs that make containers.
func (s *Surveys) containerPrograms() (files []containerFile, err error) {
	for _, name := range []string{"dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "runc", "crun", "docker-proxy", "docker-init"} {
		for _, dir := range programDirs {
			there, err := s.there(path.Join(dir, name))
			if err != nil {
				return nil, err
			}
			if there {
				files = append(files, containerFile{"container_program", path.Join(dir, name)})
			}
		}
	}
	return files, nil
}

// program is the path of a program, by its usual one if it is nowhere.
func (s *Surveys) program(name string) (string, error) {
	paths := make([]string, len(programDirs))
	for i, dir := range programDirs {
		paths[i] = path.Join(dir, name)
	}
	found, err := s.firstThere(paths...)
	if found == "" {
		found = path.Join("/usr/bin", name)
	}
	return found, err
}

// ContainerPaths reports which paths that Docker and containerd rest on are watched by the kernel's audit.
func (s *Surveys) ContainerPaths(ctx context.Context, report func(event.Fact)) error {
	docker, err := s.dockerSetup(ctx)
	if err != nil {
		return err
	}
	daemons, err := s.containerdSetups(ctx)
	if err != nil || !docker.installed && len(daemons) == 0 {
		return err
	}
	paths, err := s.auditedPaths(docker, daemons)
	if err != nil {
		return err
	}
	audit, err := s.auditFiles()
	if err != nil {
		return err
	}
	for _, p := range paths {
		f := event.ContainerPath.New(p.path, p.path).Set("purpose", p.purpose)
		there, err := s.there(p.path)
		if err != nil {
			report(f.Fail(err))
			continue
		}
		f.Set("exists", there)
		rule := s.watching(audit.rules, p)
		f.Set("audited", rule != "")
		if rule != "" {
			f.Set("rule", rule)
		}
		report(f)
	}
	return nil
}

// auditedPaths are the paths that should be watched, of those that are installed.
func (s *Surveys) auditedPaths(docker *dockerSetup, daemons []containerdSetup) (all []containerFile, err error) {
	add := func(purpose, path string) {
		if path != "" && path != "/" {
			all = append(all, containerFile{purpose, path})
		}
	}
	program := func(purpose, name string) {
		file, failed := s.program(name)
		if err == nil {
			err = failed
		}
		add(purpose, file)
	}
	if docker.installed {
		program("dockerd", "dockerd")
		add("docker_data", docker.dataRoot())
		add("docker_config", "/etc/docker")
		add("daemon_json", docker.configFile)
		add("docker_service", docker.service.file)
		add("docker_socket", docker.socket.file)
		add("docker_sock", docker.unixSocket())
		add("docker_default", "/etc/default/docker")
		add("docker_sysconfig", "/etc/sysconfig/docker")
	}
	program("containerd", "containerd")
	program("shim", "containerd-shim")
	program("shim_runc_v1", "containerd-shim-runc-v1")
	program("shim_runc_v2", "containerd-shim-runc-v2")
	program("runc", "runc")
	if len(daemons) == 0 {
		return all, err
	}
	for _, d := range daemons {
		add("containerd_config", d.file)
		add("containerd_run", d.state())
		add("containerd_sock", d.address())
	}
	return all, err
}

// watching is where the first rule stands that looks after a path, empty if there is none.
func (s *Surveys) watching(rules []auditRule, p containerFile) string {
	st, err := s.stat(p.path)
	isDir := err == nil && fileType(st.Mode) == "directory"
	for i := range rules {
		r := &rules[i]
		if r.seesFile(oneName(p.path), isDir, "wa") || isContainerProgram(p.purpose) && r.seesFile(oneName(p.path), isDir, "x") {
			return r.at
		}
	}
	return ""
}

func isContainerProgram(purpose string) bool {
	return slices.Contains([]string{"dockerd", "containerd", "shim", "shim_runc_v1", "shim_runc_v2", "runc"}, purpose)
}

// loopback says whether an address, with or without a port, is only reached from this machine.
func loopback(address string) bool {
	host := hostPart(address)
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// everywhere says whether an address, with or without a port, is all of the machine's.
func everywhere(address string) bool {
	host := hostPart(address)
	return host == "" || host == "0.0.0.0" || host == "::" || host == "*"
}

// hostPart is an address without its port: of v6 only if it is in brackets.
func hostPart(address string) string {
	i := strings.LastIndexByte(address, ':')
	if i >= 0 && (strings.Count(address, ":") == 1 || strings.HasPrefix(address, "[") && address[i-1] == ']') {
		address = address[:i]
	}
	return strings.Trim(address, "[]")
}

// ownFileSystem says whether a directory is on another file system than the one above it: now, or where no kernel runs by fstab.
func (s *Surveys) ownFileSystem(dir string) (bool, error) {
	dir = path.Clean(dir)
	if s.Live() {
		st, err := s.stat(dir)
		above, aboveErr := s.stat(path.Dir(dir))
		if !Absent(err) {
			return st.Dev != above.Dev, errors.Join(err, aboveErr)
		}
	}
	text, _, err := s.configText("/etc/fstab")
	if err != nil {
		return false, err
	}
	found := false
	joinedLines(text, "#", func(_ int, line string) {
		fields := strings.Fields(line)
		found = found || len(fields) > 3 && unescape(fields[1]) == dir && !strings.Contains(fields[3], "bind")
	})
	return found, nil
}

// SecretName says whether a name, of a variable or an option, is that of a secret.
func SecretName(name string) bool { return secretName(name) }
