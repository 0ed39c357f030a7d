package containers

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// A mountLine is one line of /proc/PID/mountinfo.
type mountLine struct {
	device  string // major:minor
	root    string // the directory of the file system that is shown
	point   string
	options []string
	shared  string // its peer group, empty if it has none
	slave   bool
	kind    string
	source  string
	super   []string // options of the file system
}

// parseMountLines reads mountinfo:
//
//	35 31 0:32 / /sys rw,relatime shared:9 master:1 - sysfs sysfs rw
func parseMountLines(text string) (all []mountLine, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+4 {
			return nil, fmt.Errorf("mountinfo:%d: want six fields, a dash and three more", n)
		}
		m := mountLine{device: fields[2], root: unescape(fields[3]), point: unescape(fields[4]), options: strings.Split(fields[5], ","),
			kind: fields[dash+1], source: unescape(fields[dash+2]), super: strings.Split(fields[dash+3], ",")}
		for _, tag := range fields[6:dash] {
			if peers, ok := strings.CutPrefix(tag, "shared:"); ok {
				m.shared = peers
			}
			m.slave = m.slave || strings.HasPrefix(tag, "master:")
		}
		all = append(all, m)
	}
	return all, nil
}

var octalEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")

func unescape(text string) string { return octalEscapes.Replace(text) }

func (m *mountLine) readOnly() bool {
	return slices.Contains(m.options, "ro") || slices.Contains(m.super, "ro")
}

// within says whether a path is a directory or lies in it.
func within(p, dir string) bool {
	return dir == "/" || p == dir || strings.HasPrefix(p, dir+"/")
}

// at is the mount that a path lies in: of those with the longest point the last.
func at(all []mountLine, p string) *mountLine {
	var best *mountLine
	for i := range all {
		if m := &all[i]; within(p, m.point) && (best == nil || len(m.point) >= len(best.point)) {
			best = m
		}
	}
	return best
}

// hostPath is where on the host the root of a mount is, if it is anywhere there.
func hostPath(all []mountLine, m *mountLine) (string, bool) {
	var best *mountLine
	for i := range all {
		h := &all[i]
		if h.device == m.device && within(m.root, h.root) && (best == nil || len(h.root) > len(best.root)) {
			best = h
		}
	}
	if best == nil {
		return "", false
	}
	return path.Join(best.point, strings.TrimPrefix(m.root, strings.TrimSuffix(best.root, "/"))), true
}

// A hostMount is something of the host in a container.
type hostMount struct {
	mountLine
	path      string // on the host
	shares    bool
	purpose   string
	sensitive bool
	writable  bool
}

// A mountView is what a container sees mounted.
type mountView struct {
	all   []mountLine
	hosts []hostMount
}

func (m *hostMount) fact(container string) event.Fact {
	f := event.ContainerMount.New(container+":"+label(m.point), "")
	f.Set("container", container).Set("source", cut(m.path, maxText)).Set("destination", cut(m.point, maxText)).Set("type", m.kind)
	f.Set("writable", m.writable).Set("shared", m.shares).Set("slave", m.slave).Set("sensitive", m.sensitive).Set("purpose", m.purpose)
	for _, option := range []string{"nosuid", "noexec", "nodev"} {
		f.Set(option, slices.Contains(m.options, option))
	}
	return f
}

// ownDestinations are where runtimes put files of their own making.
var ownDestinations = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm", "/dev/mqueue", "/dev/termination-log", "/run/.containerenv", "/run/secrets"}

// runtimeDirs are where runtimes keep what they make for containers.
var runtimeDirs = []string{"/var/lib/docker", "/var/lib/containerd", "/run/containerd", "/var/lib/containers", "/run/containers", "/run/k3s/containerd", "/var/lib/rancher"}

// readMounts finds what a container has of the host.
func (s *survey) readMounts(f event.Fact, in *interior, c *event.Container) error {
	data, err := s.proc.Read(fmt.Sprintf("%d/mountinfo", in.first.pid), maxProcFile)
	if err != nil {
		return err
	}
	v := &in.mounts
	if v.all, err = parseMountLines(string(data)); err != nil {
		return fmt.Errorf("/proc/%d: %w", in.first.pid, err)
	}
	peers := map[string]bool{}
	for i := range s.host.mounts {
		if p := s.host.mounts[i].shared; p != "" {
			peers[p] = true
		}
	}
	for i := range v.all {
		m := &v.all[i]
		shares := m.shared != "" && peers[m.shared]
		if h, ok := s.hosts(m, c); ok && len(v.hosts) < maxMounts {
			h.shares = shares
			v.hosts = append(v.hosts, h)
		}
	}
	s.setMounts(f, v)
	return nil
}

// hosts tells what of the host a mount is, false if it is the container's own.
func (s *survey) hosts(m *mountLine, c *event.Container) (h hostMount, ok bool) {
	switch {
	case m.point == "/", (m.kind == "proc" || m.kind == "tmpfs") && within(m.point, "/proc"), m.kind == "sysfs" && within(m.point, "/sys"),
		strings.HasPrefix(m.kind, "cgroup") && within(m.point, "/sys/fs/cgroup"), m.kind == "devpts", m.kind == "mqueue":
		return h, false
	case path.Base(m.root) == "null" && (within(m.point, "/proc") || within(m.point, "/sys")): // what masks a file
		return h, false
	}
	source, found := hostPath(s.host.mounts, m)
	device := strings.HasPrefix(m.source, "/dev/") && m.kind != "devtmpfs" && m.kind != "tmpfs"
	if !found && !device {
		return h, false // a file system that was made for the container
	}
	if !found {
		source = m.source
	}
	if made(source, m.point, c) {
		return h, false
	}
	h = hostMount{mountLine: *m, path: source, writable: !m.readOnly()}
	h.purpose = s.purpose(source)
	h.sensitive = h.purpose != "other" && (h.purpose != "logs" || h.writable)
	return h, true
}

// made says whether a runtime has made what is mounted for this container, or the kubelet for its pod.
func made(source, point string, c *event.Container) bool {
	own := slices.ContainsFunc(runtimeDirs, func(dir string) bool { return within(source, dir) }) || strings.Contains(source, "/io.containerd.") ||
		isID(c.ID) && strings.Contains(source, "/"+c.ID+"/")
	pods := c.PodUID != "" && within(source, "/var/lib/kubelet/pods/"+c.PodUID)
	return own && (slices.Contains(ownDestinations, point) || path.Base(source) == "shm") || pods
}

// purposes are what the host's directories are there for; the first that a path is in counts. Of those marked the directory itself
// counts too where it is above: who has /var has /var/lib/docker.
var purposes = []struct {
	purpose string
	dirs    []string
}{
	{"other", []string{"/etc/localtime", "/etc/timezone", "/etc/ssl/certs", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/usr/share/zoneinfo", "/usr/share/ca-certificates", "/etc/hosts", "/etc/resolv.conf",
		"/etc/hostname", "/etc/machine-id", "/etc/os-release", "/usr/lib/os-release", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm", "/dev/log"}},
	{"accounts", []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/pam.d", "/etc/security"}},
	{"ssh", []string{"/etc/ssh", "/root/.ssh"}},
	{"cron", []string{"/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/var/spool/cron"}},
	{"kubernetes", []string{"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/etc/cni", "/opt/cni", "/var/lib/rancher", "/etc/rancher"}},
	{"runtime_data", []string{"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/run/containerd", "/run/docker", "/run/containers", "/run/runc", "/etc/docker", "/etc/containerd", "/etc/crio"}},
	{"boot", []string{"/boot", "/efi"}},
	{"kernel", []string{"/lib/modules", "/usr/lib/modules", "/usr/src", "/sys/kernel", "/sys/fs/bpf"}},
	{"etc", []string{"/etc"}},
	{"proc", []string{"/proc"}},
	{"sys", []string{"/sys"}},
	{"dev", []string{"/dev"}},
	{"programs", []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"}},
	{"home", []string{"/root", "/home"}},
	{"logs", []string{"/var/log"}},
}

// namedVolume is where runtimes keep the volumes that users name.
var namedVolume = regexp.MustCompile(`^/var/lib/(?:docker|containers/storage|nerdctl/[^/]+)/volumes/.+`)

// purpose tells what a path of the host is.
func (s *survey) purpose(source string) string {
	if source == "/" {
		return "root"
	}
	if len(s.socketsIn(source)) > 0 {
		return "runtime_socket"
	}
	if namedVolume.MatchString(source) {
		return "other"
	}
	if strings.HasSuffix(source, "/.ssh") || strings.Contains(source, "/.ssh/") {
		return "ssh"
	}
	for _, p := range purposes {
		if slices.ContainsFunc(p.dirs, func(dir string) bool { return within(source, dir) }) {
			return p.purpose
		}
	}
	if source == "/run" || source == "/var/run" || source == "/run/systemd" || source == "/run/dbus" || within(source, "/run/systemd/private") {
		return "run"
	}
	if source == "/var" || source == "/var/lib" || source == "/opt" || source == "/var/spool" {
		return "root"
	}
	return "other"
}

// knownSockets are where runtimes listen, beside those of the configuration.
var knownSockets = []string{"/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock", "/run/k3s/containerd/containerd.sock",
	"/run/cri-dockerd.sock", "/run/dockershim.sock", "/run/k0s/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock", "/run/buildkit/buildkitd.sock"}

// socketsIn are the runtimes' sockets that a path of the host is, or has in it. Of directories only those sockets count that exist.
func (s *survey) socketsIn(source string) (found []string) {
	all := slices.Clone(knownSockets)
	for _, c := range s.clients {
		all = append(all, strings.Replace(c.socket, "/var/run/", "/run/", 1))
	}
	slices.Sort(all)
	source = strings.Replace(source, "/var/run", "/run", 1)
	for _, socket := range slices.Compact(all) {
		if socket == source || source != "/" && within(socket, source) && s.isSocket(socket) {
			found = append(found, socket)
		}
	}
	if base := path.Base(source); len(found) == 0 && (base == "docker.sock" || base == "containerd.sock" || base == "crio.sock" || base == "podman.sock") {
		found = append(found, source)
	}
	return found
}

func (s *survey) isSocket(file string) bool {
	var st unix.Stat_t
	for _, root := range []string{filepath.Join(s.procfs, "1/root"), "/"} {
		if unix.Stat(filepath.Join(root, file), &st) == nil {
			return st.Mode&unix.S_IFMT == unix.S_IFSOCK
		}
	}
	return false
}

// setMounts sets what the mounts of a container say together.
func (s *survey) setMounts(f event.Fact, v *mountView) {
	var sockets, sensitive, writable, shared []string
	for i := range v.hosts {
		h := &v.hosts[i]
		sockets = append(sockets, s.socketsIn(h.path)...)
		if h.purpose == "root" {
			for _, socket := range knownSockets {
				if within(socket, h.path) && s.isSocket(socket) {
					sockets = append(sockets, socket)
				}
			}
		}
		if h.sensitive {
			sensitive = append(sensitive, h.path)
		}
		if h.sensitive && h.writable {
			writable = append(writable, h.path)
		}
		if h.shares {
			shared = append(shared, h.point)
		}
	}
	f.Set("runtime_sockets", some(sockets, 20)).Set("sensitive_mounts", some(sensitive, 20)).Set("writable_mounts", some(writable, 20)).Set("shared_mounts", some(shared, 20))

	all := v.all
	root := at(all, "/")
	f.Set("read_only", root != nil && root.readOnly())
	canWrite := func(p string, kinds ...string) bool {
		m := at(all, p)
		return m != nil && slices.Contains(kinds, m.kind) && !m.readOnly()
	}
	covered := func(p string) bool { return slices.ContainsFunc(all, func(m mountLine) bool { return m.point == p }) }
	if m := at(all, "/proc/version"); m != nil && m.kind == "proc" && (s.kernelHas("kcore") || s.kernelHas("keys")) {
		f.Set("proc_masked", covered("/proc/kcore") || covered("/proc/keys"))
	}
	if s.kernelHas("sysrq-trigger") {
		f.Set("sysrq_writable", canWrite("/proc/sysrq-trigger", "proc"))
	}
	f.Set("proc_sys_writable", canWrite("/proc/sys", "proc")).Set("sys_writable", canWrite("/sys", "sysfs"))
	f.Set("cgroup_writable", slices.ContainsFunc(all, func(m mountLine) bool {
		top := at(all, m.point)
		return strings.HasPrefix(m.kind, "cgroup") && top != nil && top.kind == m.kind && !top.readOnly()
	}))
}

// kernelHas says whether the kernel has a file in /proc.
func (s *survey) kernelHas(name string) bool {
	_, err := s.proc.Lstat(name)
	return err == nil
}

// usualDevices are the device files that every container has.
var usualDevices = []string{"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}

// plainFilesystems are those that a container's files may be on without that anybody else must answer when they are read.
var plainFilesystems = []string{"overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "devtmpfs", "squashfs", "erofs", "f2fs"}

// Bounds of what is looked at in a container's files.
const (
	maxDevices  = 5_000
	maxPrograms = 10_000
)

// rootFiles looks into the container's files: at its devices, and for setuid programs where they would work.
func (s *survey) rootFiles(ctx context.Context, f event.Fact, in *interior) error {
	dir := filepath.Join(s.procfs, fmt.Sprint(in.first.pid), "root")
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	files := (&host.Surveys{Root: dir}).Files()
	if m := at(in.mounts.all, "/dev"); m != nil && slices.Contains(plainFilesystems, m.kind) {
		if err := deviceFiles(files, f); err != nil {
			return err
		}
	}
	root := at(in.mounts.all, "/")
	quiet := f.Values["no_new_privs"] == true || root == nil || slices.Contains(root.options, "nosuid")
	if quiet || !slices.Contains(plainFilesystems, root.kind) {
		return nil
	}
	return setuidPrograms(ctx, files, in.mounts.all, f)
}

// deviceFiles names the device files in a container's /dev.
func deviceFiles(files *host.Tree, f event.Fact) error {
	var devices, blocks []string
	left := maxDevices
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		names, err := files.ReadDir(dir)
		if host.Absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			if left--; left < 0 {
				return nil
			}
			name := strings.TrimPrefix(path.Join(dir, n.Name), "/dev/")
			switch {
			case n.Type == "directory" && depth < 2 && n.Name != "pts" && n.Name != "shm" && n.Name != "mqueue":
				if err := walk(path.Join(dir, n.Name), depth+1); err != nil {
					return err
				}
			case n.Type == "device" && !slices.Contains(usualDevices, name):
				devices = append(devices, label(name))
				if st, err := files.Lstat(path.Join(dir, n.Name)); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
					blocks = append(blocks, label(name))
				}
			}
		}
		return nil
	}
	if err := walk("/dev", 0); err != nil {
		return err
	}
	f.Set("devices", some(devices, 20)).Set("block_devices", some(blocks, 20))
	return nil
}

// programDirs are where containers' programs are.
var programDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

// setuidPrograms names the setuid and setgid programs of a container.
func setuidPrograms(ctx context.Context, files *host.Tree, mounts []mountLine, f event.Fact) error {
	var found []string
	seen := map[[2]uint64]bool{}
	left := maxPrograms
	for _, dir := range programDirs {
		st, err := files.Stat(dir)
		if host.Absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		id := [2]uint64{st.Dev, st.Ino}
		if m := at(mounts, dir); seen[id] || m == nil || !slices.Contains(plainFilesystems, m.kind) {
			continue
		}
		seen[id] = true
		names, err := files.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, n := range names {
			if left--; left < 0 || ctx.Err() != nil {
				break
			}
			if n.Type != "file" {
				continue
			}
			if st, err := files.Lstat(path.Join(dir, n.Name)); err == nil && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && st.Mode&0o111 != 0 {
				found = append(found, label(path.Join(dir, n.Name)))
			}
		}
	}
	f.Set("setuid_programs", some(found, 20))
	return ctx.Err()
}
