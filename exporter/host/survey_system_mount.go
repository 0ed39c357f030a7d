package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// separateDirs are the directories that should be file systems of their own.
var separateDirs = []string{"/tmp", "/dev/shm", "/home", "/var", "/var/tmp", "/var/log", "/var/log/audit", "/boot", "/proc", "/run"}

// Types of file systems that hold people's data, on this machine or on others.
var (
	localTypes  = strings.Fields("bcachefs btrfs exfat ext2 ext3 ext4 f2fs hfs hfsplus iso9660 jfs msdos ntfs ntfs3 reiserfs udf ufs vfat xfs zfs")
	remoteTypes = strings.Fields("9p afs ceph cifs fuse.cephfs fuse.glusterfs fuse.s3fs fuse.sshfs glusterfs lustre nfs nfs4 smb3 smbfs virtiofs")
)

// passingMounts are below what programs mount for their own guests, whose options are the business of those.
var passingMounts = []string{"/var/lib/containerd/", "/var/lib/containers/", "/var/lib/docker/", "/var/lib/kubelet/", "/var/lib/rancher/", "/var/snap/", "/run/", "/snap/", "/mnt/wsl/"}

// maxMounts is how many are reported beside the well-known ones.
const maxMounts = 256

// A fileSystem is one that is mounted, or that a line or a unit would mount.
type fileSystem struct {
	at, kind, device string
	root             string // the directory of it that is mounted
	major, minor     uint32 // of the device; major 0 has none
	options          []string
	where            string // file and line
}

// A mountTable are file systems by where they are mounted.
type mountTable map[string]fileSystem

// mountTable reads mountinfo of /proc, of which the last line of a directory counts: proc_pid_mountinfo(5).
func (s *Surveys) mountTable() (mountTable, error) {
	file := "1/mountinfo" // what a container of this agent has mounted does not count
	data, err := s.Proc().Read(file, maxFile)
	if err != nil && !errors.Is(err, ErrNotLive) {
		file = "self/mountinfo"
		data, err = s.Proc().Read(file, maxFile)
	}
	if err != nil {
		return nil, err
	}
	return parseMountTable("/proc/"+file, string(data))
}

func parseMountTable(file, text string) (mountTable, error) {
	table := mountTable{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+4 {
			return nil, fmt.Errorf("%s: want six fields, a dash and three more, got %.80q", place(file, n), line)
		}
		fs := fileSystem{at: unescape(fields[4]), root: unescape(fields[3]), kind: fields[dash+1], device: unescape(fields[dash+2])}
		if _, err := fmt.Sscanf(fields[2], "%d:%d", &fs.major, &fs.minor); err != nil {
			return nil, fmt.Errorf("%s: want a device MAJOR:MINOR, got %.40q", place(file, n), fields[2])
		}
		fs.options = append(strings.Split(fields[5], ","), strings.Split(fields[dash+3], ",")...)
		table[fs.at] = fs
	}
	return table, nil
}

// fstab reads what is mounted at boot. Lines that mount(8) would not understand are reported by themselves.
func (s *Surveys) fstab(report func(event.Fact)) (map[string]fileSystem, error) {
	text, _, err := s.configText("/etc/fstab")
	if err != nil {
		return nil, err
	}
	table, malformed := parseFstab("/etc/fstab", text)
	for _, f := range malformed {
		report(f)
	}
	return table, nil
}

func parseFstab(file, text string) (table map[string]fileSystem, malformed []event.Fact) {
	table = map[string]fileSystem{}
	joinedLines(text, "#", func(n int, line string) {
		fields, at := strings.Fields(line), place(file, n)
		if len(fields) < 3 || len(fields) > 6 {
			malformed = append(malformed, event.Mounted.New(at, at).Fail(fmt.Errorf("%s: want three to six fields, got %.80q", at, line)))
			return
		}
		fs := fileSystem{at: path.Clean(unescape(fields[1])), kind: fields[2], device: unescape(fields[0]), where: at, options: []string{"defaults"}}
		if len(fields) > 3 {
			fs.options = strings.Split(fields[3], ",")
		}
		if fs.kind != "swap" && strings.HasPrefix(fs.at, "/") && !slices.Contains(fs.options, "noauto") {
			table[fs.at] = fs
		}
	})
	return table, malformed
}

// Mounts reports the file systems that are mounted, or of a machine that does not run will be, and the directories that should be.
func (s *Surveys) Mounts(ctx context.Context, report func(event.Fact)) error {
	planned, err := s.fstab(report)
	if err != nil {
		return err
	}
	for _, dir := range separateDirs {
		if err := s.addUnit(planned, dir); err != nil {
			return err
		}
	}
	mounted, err := s.mountTable()
	if errors.Is(err, ErrNotLive) {
		mounted = planned
	} else if err != nil {
		return err
	}
	for _, dir := range reportedMounts(mounted) {
		f, err := s.mountFact(dir, mounted, planned)
		if err != nil {
			f.Fail(err)
		}
		report(f)
	}
	return ctx.Err()
}

func reportedMounts(mounted map[string]fileSystem) []string {
	dirs := slices.Clone(separateDirs)
	for at, fs := range mounted {
		holdsData := slices.Contains(localTypes, fs.kind) || slices.Contains(remoteTypes, fs.kind)
		passing := slices.ContainsFunc(passingMounts, func(dir string) bool { return strings.HasPrefix(at, dir) })
		if holdsData && !passing && !slices.Contains(dirs, at) {
			dirs = append(dirs, at)
		}
	}
	slices.Sort(dirs[len(separateDirs):])
	return dirs[:min(len(dirs), len(separateDirs)+maxMounts)]
}

func (s *Surveys) mountFact(dir string, mounted, planned map[string]fileSystem) (event.Fact, error) {
	now, separate := mounted[dir]
	next, configured := planned[dir]
	f := event.Mounted.New(dir, next.where).Set("configured", configured)
	if _, builtIn := builtInMounts[dir]; builtIn && !separate && !s.Live() {
		return f, nil // some init mounts it, who knows how
	}
	if f.Set("separate", separate); !separate {
		return f, nil
	}
	for _, option := range []struct{ field, option string }{{"nodev", "nodev"}, {"nosuid", "nosuid"}, {"noexec", "noexec"}, {"read_only", "ro"}} {
		f.Set(option.field, hasOption(now.options, option.option) && (!configured || hasOption(next.options, option.option)))
	}
	f.Set("type", now.kind).Set("device", now.device).Set("options", now.options)
	f.Set("local", slices.Contains(localTypes, now.kind)).Set("remote", slices.Contains(remoteTypes, now.kind))
	removable, known, err := s.removable(now)
	if known {
		f.Set("removable", removable)
	}
	return f, err
}

// hasOption says whether options of mount(8) come to one: users may imply it, and later ones undo it.
func hasOption(options []string, want string) bool {
	has := false
	for _, option := range options {
		switch option {
		case want:
			has = true
		case strings.TrimPrefix(want, "no"), "defaults":
			has = false
		case "rw":
			has = has && want != "ro"
		case "user", "users":
			has = has || want == "nodev" || want == "nosuid" || want == "noexec"
		case "owner", "group":
			has = has || want == "nodev" || want == "nosuid"
		}
	}
	return has
}

// removable says whether a file system is on a device that can be taken away. A partition has its disk above it.
func (s *Surveys) removable(fs fileSystem) (removable, known bool, err error) {
	if fs.major == 0 || !s.Live() {
		return false, false, nil
	}
	dir := fmt.Sprintf("dev/block/%d:%d", fs.major, fs.minor)
	for _, file := range []string{dir + "/removable", dir + "/../removable"} {
		text, err := s.sysText(file)
		if err != nil || text != "" {
			return text == "1", err == nil, err
		}
	}
	return false, false, nil
}

// addUnit adds what a unit of systemd mounts at a directory. One of the administrator's counts over fstab, which counts over one of
// the distribution's; a mask keeps all of them from it.
func (s *Surveys) addUnit(planned map[string]fileSystem, dir string) error {
	unit := strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-") + ".mount"
	own := path.Join("/etc/systemd/system", unit)
	if target, err := s.Files().Readlink(own); err == nil && target == "/dev/null" {
		delete(planned, dir)
		return nil
	}
	file, err := s.firstThere(own, path.Join("/usr/lib/systemd/system", unit), path.Join("/lib/systemd/system", unit))
	if err != nil {
		return err
	}
	if file == "" {
		s.addBuiltIn(planned, dir)
		return nil
	}
	wanted, err := s.wantedUnit(unit)
	if _, inFstab := planned[dir]; err != nil || !wanted || inFstab && file != own {
		return err
	}
	dropIns, err := s.dropIns([]string{own + ".d", path.Join("/usr/lib/systemd/system", unit+".d")}, ".conf")
	if err != nil {
		return err
	}
	config, err := s.iniFiles(append([]string{file}, dropIns...))
	if err != nil {
		return err
	}
	options, _ := config.get("Mount", "Options")
	kind, _ := config.get("Mount", "Type")
	device, _ := config.get("Mount", "What")
	planned[dir] = fileSystem{at: dir, kind: kind.text, device: device.text, options: strings.Split(options.text, ","), where: file}
	return nil
}

// builtInMounts are what systemd itself mounts before it reads any configuration, and how: src/shared/mount-setup.c.
var builtInMounts = map[string]string{"/dev/shm": "nosuid,nodev", "/run": "nosuid,nodev", "/proc": "nosuid,noexec,nodev"}

// addBuiltIn adds one of them, if nothing else mounts it.
func (s *Surveys) addBuiltIn(planned map[string]fileSystem, dir string) {
	if _, configured := planned[dir]; configured {
		return
	}
	options, builtIn := builtInMounts[dir]
	systemd, _ := s.firstThere("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
	if !builtIn || systemd == "" || s.Live() {
		return
	}
	kind := "tmpfs"
	if dir == "/proc" {
		kind = "proc"
	}
	planned[dir] = fileSystem{at: dir, kind: kind, device: kind, options: strings.Split(options, ","), where: systemd}
}

// Disks reports the file systems on block devices, and swap space, and whether what is written to them is encrypted.
func (s *Surveys) Disks(ctx context.Context, report func(event.Fact)) error {
	mounted, err := s.mountTable()
	if err != nil {
		return err
	}
	devices := map[string][]fileSystem{}
	for _, fs := range mounted {
		name, err := s.blockName(fs)
		if err != nil {
			return err
		}
		if name != "" && slices.Contains(localTypes, fs.kind) {
			devices[name] = append(devices[name], fs)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		report(s.diskFact(name, devices[name]))
	}
	if err := s.swaps(mounted, report); err != nil {
		return err
	}
	return ctx.Err()
}

// blockName is a device's name in /sys/class/block, empty if it is none, or one that only holds another file: loop and zram.
func (s *Surveys) blockName(fs fileSystem) (string, error) {
	name := ""
	if fs.major != 0 {
		target, err := s.Sys().Readlink(fmt.Sprintf("dev/block/%d:%d", fs.major, fs.minor))
		if err != nil && !Absent(err) {
			return "", err
		}
		name = path.Base(target)
	} else if strings.HasPrefix(fs.device, "/dev/") { // of btrfs the number is its own
		name = path.Base(fs.device)
		if st, err := s.stat(fs.device); err == nil {
			if target, err := s.Sys().Readlink(fmt.Sprintf("dev/block/%d:%d", majorOf(st.Rdev), minorOf(st.Rdev))); err == nil {
				name = path.Base(target)
			}
		}
	}
	if name == "." || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "ram") {
		return "", nil
	}
	if _, err := s.Sys().Stat("class/block/" + name); name == "" || Absent(err) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return name, nil
}

// majorOf and minorOf are gnu_dev_major and gnu_dev_minor.
func majorOf(dev uint64) uint32 { return uint32(dev>>8&0xfff | dev>>32&^0xfff) }
func minorOf(dev uint64) uint32 { return uint32(dev&0xff | dev>>12&^0xff) }

func (s *Surveys) diskFact(name string, all []fileSystem) event.Fact {
	at, boot := []string{}, true
	for _, fs := range all {
		at = append(at, fs.at)
		boot = boot && slices.Contains([]string{"/boot", "/boot/efi", "/boot/firmware", "/efi"}, fs.at)
	}
	slices.Sort(at)
	f := event.Disk.New("/dev/"+name, "").Set("at", at).Set("type", all[0].kind).Set("boot", boot).Set("swap", false)
	encrypted, err := s.encrypted(name, 8)
	if err != nil {
		return f.Fail(err)
	}
	return f.Set("encrypted", encrypted)
}

// encrypted says whether a device is one of dm-crypt, or lies on such devices only: below a volume group or an array.
func (s *Surveys) encrypted(name string, depth int) (bool, error) {
	if depth == 0 {
		return false, fmt.Errorf("/sys/class/block/%s: devices lie on each other more than eight deep", name)
	}
	uuid, err := s.sysText("class/block/" + name + "/dm/uuid")
	if err != nil || strings.HasPrefix(uuid, "CRYPT-") {
		return err == nil, err
	}
	below, err := s.Sys().ReadDir("class/block/" + name + "/slaves")
	if err != nil && !Absent(err) {
		return false, err
	}
	for _, n := range below {
		if ok, err := s.encrypted(n.Name, depth-1); !ok || err != nil {
			return false, err
		}
	}
	return len(below) > 0, nil
}

// swaps reports swap space: on a device, or in a file, which is encrypted if the file system that holds it is.
func (s *Surveys) swaps(mounted map[string]fileSystem, report func(event.Fact)) error {
	err := s.Proc().Lines("swaps", func(n int, line string) {
		fields := strings.Fields(line)
		if n == 1 || len(fields) < 2 || strings.HasPrefix(path.Base(fields[0]), "zram") {
			return
		}
		file := unescape(fields[0])
		holder := fileSystem{device: file}
		for dir := path.Dir(file); fields[1] == "file"; dir = path.Dir(dir) {
			if fs, ok := mounted[dir]; ok || dir == "/" {
				holder = fs
				break
			}
		}
		f := event.Disk.New(file, "/proc/swaps").Set("type", "swap").Set("swap", true).Set("boot", false)
		name, err := s.blockName(holder)
		if err == nil && name == "" {
			err = fmt.Errorf("%s: the device that holds it is not in /sys/class/block", file)
		}
		encrypted := false
		if err == nil {
			encrypted, err = s.encrypted(name, 8)
		}
		if err != nil {
			report(f.Fail(err))
			return
		}
		report(f.Set("encrypted", encrypted))
	})
	if Absent(err) {
		return nil // a kernel without swap
	}
	return err
}
