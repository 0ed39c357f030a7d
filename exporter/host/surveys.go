package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Surveys read what is so of one machine: facts. They read files beneath its root directory, with bounds, follow no link out of it,
// run no program, and wait for no pipe.
type Surveys struct {
	Root          string // the root directory of the machine to be judged; empty is "/"
	Procfs, Sysfs string // where its running kernel shows itself; both are empty if it does not run here

	once             sync.Once
	files, proc, sys *Tree
	users, groups    names
	walks            walkState
}

// SurveysOf are the surveys of this package of a machine, or of Dockerfiles.
func SurveysOf(m event.Machine) []NamedSurvey {
	if len(m.Dockerfiles) > 0 {
		return []NamedSurvey{DockerfileSurvey(m.Dockerfiles...)}
	}
	s := &Surveys{Root: m.Root, Procfs: m.Procfs, Sysfs: m.Sysfs}
	if s.Root == "/" && s.Live() {
		s.Root = firstRoot(m.Procfs)
	}
	return s.All()
}

// ReleaseOf is the id and the version of a machine's distribution, empty if its os-release does not say.
func ReleaseOf(m event.Machine) (id, version string) {
	s := &Surveys{Root: m.Root}
	d, err := s.distribution()
	if err != nil || len(m.Dockerfiles) > 0 {
		return "", ""
	}
	return d.id, d.version
}

// firstRoot is the root directory as the machine's first process has it. One that a service manager has walled in has a /tmp and a /home
// of its own, or none, in another name space of mounts.
func firstRoot(procfs string) string {
	ours, err := os.Readlink(path.Join(procfs, "self/ns/mnt"))
	if err != nil {
		return "/"
	}
	root := path.Join(procfs, "1/root")
	if first, err := os.Readlink(path.Join(procfs, "1/ns/mnt")); err != nil || first == ours {
		return "/"
	}
	if _, err := os.Stat(root); err != nil {
		return "/"
	}
	return root
}

// A NamedSurvey is one row of the table of surveys.
type NamedSurvey = event.NamedSurvey

// All are the surveys of this package, in the order in which they run.
func (s *Surveys) All() []NamedSurvey {
	var all []NamedSurvey
	for _, area := range [][]NamedSurvey{s.systemSurveys(), s.accessSurveys(), s.networkSurveys(), s.containerSurveys(), s.kubernetesSurveys()} {
		all = append(all, area...)
	}
	for i := range all {
		all[i] = s.noting(all[i])
		all[i].Survey = s.ofLinux(privileged(all[i]))
		if prepare := all[i].Prepare; prepare != nil {
			all[i].Prepare = func(ctx context.Context, patient bool) error {
				if err := s.isLinux(); err != nil {
					return err
				}
				return prepare(ctx, patient)
			}
		}
	}
	return all
}

// privileges are capabilities that surveys need beyond those to read files and processes. A program that keeps them aside has them in
// effect only meanwhile.
var privileges = map[string]Capability{"firewalls": unix.CAP_NET_ADMIN, "listeners": unix.CAP_NET_ADMIN, "audit": unix.CAP_AUDIT_CONTROL}

func privileged(n NamedSurvey) event.Survey {
	c, needs := privileges[n.Name]
	if !needs {
		return n.Survey
	}
	return func(ctx context.Context, report func(event.Fact)) error {
		defer Raise(c)()
		return n.Survey(ctx, report)
	}
}

// ofLinux is a survey that fails where the root is none of Linux: where nothing is, nothing bad is found either.
func (s *Surveys) ofLinux(survey event.Survey) event.Survey {
	return func(ctx context.Context, report func(event.Fact)) error {
		if err := s.isLinux(); err != nil {
			return err
		}
		return survey(ctx, report)
	}
}

// otherSystems have an os-release of their own.
var otherSystems = []string{"freebsd", "netbsd", "openbsd", "dragonfly", "illumos", "omnios", "openindiana", "solaris"}

// isLinux says whether the root is that of a Linux, by files that every distribution has.
func (s *Surveys) isLinux() error {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		id := ""
		err := s.lines(file, func(_ int, text string) {
			if value, ok := strings.CutPrefix(text, "ID="); ok {
				id = strings.Trim(value, `"' `)
			}
		})
		if err == nil && slices.Contains(otherSystems, id) {
			return fmt.Errorf("%s is no root directory of a Linux: %s is of %s", s.Files().dir, file, id)
		}
		if err == nil {
			return nil
		}
	}
	for _, path := range []string{"/etc/debian_version", "/etc/redhat-release", "/etc/system-release", "/etc/alpine-release", "/lib/modules", "/usr/lib/modules"} {
		if _, err := s.stat(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is no root directory of a Linux: it has neither an os-release nor modules of a kernel", s.Files().dir)
}

// Live says whether the root is that of the machine that this process runs on. Of another one, such as a mounted image, only what
// is in files is known: what the running kernel alone could tell is absent.
func (s *Surveys) Live() bool { return s.Procfs != "" }

// Files is the tree of the machine's files. Paths in it, and in its errors, are those that the machine itself uses: /etc/passwd.
func (s *Surveys) Files() *Tree { s.once.Do(s.prepare); return s.files }

// Proc is the running kernel's /proc: paths in it are relative to that (sys/net/ipv4/ip_forward). Of a machine that does not run
// every call is ErrNotLive.
func (s *Surveys) Proc() *Tree { s.once.Do(s.prepare); return s.proc }

// Sys is the running kernel's /sys, as Proc is its /proc.
func (s *Surveys) Sys() *Tree { s.once.Do(s.prepare); return s.sys }

func (s *Surveys) prepare() {
	root := s.Root
	if root == "" {
		root = "/"
	}
	s.files = &Tree{dir: root}
	s.proc = &Tree{dir: s.Procfs, shown: "/proc", pseudo: true}
	s.sys = &Tree{dir: s.Sysfs, shown: "/sys", pseudo: true}
	s.users, s.groups = names{file: "/etc/passwd"}, names{file: "/etc/group"}
}

// FileFact returns a fact of kind file: what is at a well-known path, symbolic links followed within the root. The purpose says what
// the file is, so that checks need not know where it is on each distribution. A path with nothing at it is a fact that says so.
func (s *Surveys) FileFact(purpose, path string) event.Fact {
	f := event.File.New(path, path).Set("path", path).Set("purpose", purpose)
	tree := s.Files()
	if target, err := tree.Readlink(path); err == nil {
		f.Set("link", target)
	}
	st, err := tree.Stat(path)
	if Absent(err) {
		return f.Set("exists", false)
	}
	if err != nil {
		return f.Fail(err)
	}
	return s.describe(f, &st)
}

// describe sets what the state of a file says.
func (s *Surveys) describe(f event.Fact, st *unix.Stat_t) event.Fact {
	mode := int64(st.Mode & 0o7777)
	f.Set("exists", true).Set("type", fileType(st.Mode)).Set("size", st.Size)
	f.Set("mode", mode).Set("mode_octal", fmt.Sprintf("%04o", mode))
	f.Set("uid", int64(st.Uid)).Set("gid", int64(st.Gid))
	for _, bit := range modeBits {
		f.Set(bit.name, mode&bit.bit != 0)
	}
	owner, known, err := s.UserName(st.Uid)
	if err != nil {
		return f.Fail(err)
	}
	if known {
		f.Set("owner", owner)
	}
	group, known, err := s.GroupName(st.Gid)
	if err != nil {
		return f.Fail(err)
	}
	if known {
		f.Set("group", group)
	}
	return f
}

var modeBits = []struct {
	name string
	bit  int64
}{
	{"group_read", 0o040}, {"group_write", 0o020}, {"group_exec", 0o010},
	{"other_read", 0o004}, {"other_write", 0o002}, {"other_exec", 0o001},
	{"setuid", unix.S_ISUID}, {"setgid", unix.S_ISGID}, {"sticky", unix.S_ISVTX},
}

// fileType names the type that a mode has.
func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "link"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

// UserName returns the name of a user by the machine's /etc/passwd, false if it is in no line there.
func (s *Surveys) UserName(uid uint32) (name string, known bool, err error) {
	files := s.Files()
	return s.users.name(files, uid)
}

// GroupName is UserName for a group and /etc/group.
func (s *Surveys) GroupName(gid uint32) (name string, known bool, err error) {
	files := s.Files()
	return s.groups.name(files, gid)
}

// names are the names of numbers in passwd or group, read again once the file has changed.
type names struct {
	file string

	mu   sync.Mutex
	was  unix.Stat_t
	byID map[uint32]string
}

func (n *names) name(files *Tree, id uint32) (string, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(files); err != nil {
		return "", false, err
	}
	if name, ok := n.byID[id]; ok {
		return name, true, nil
	}
	return "root", id == 0, nil // the kernel's own meaning of 0: images may have no passwd
}

func (n *names) load(files *Tree) error {
	st, err := files.Stat(n.file)
	if Absent(err) {
		n.byID, n.was = nil, unix.Stat_t{}
		return nil
	}
	if err != nil {
		return err
	}
	if n.byID != nil && st.Ino == n.was.Ino && st.Dev == n.was.Dev && st.Size == n.was.Size && st.Mtim == n.was.Mtim && st.Ctim == n.was.Ctim {
		return nil
	}
	byID := map[uint32]string{}
	err = files.Lines(n.file, func(_ int, text string) {
		fields := strings.Split(text, ":")
		if len(fields) < 3 {
			return
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if _, twice := byID[uint32(id)]; err == nil && !twice && fields[0] != "" {
			byID[uint32(id)] = fields[0]
		}
	})
	if err != nil {
		return err
	}
	n.byID, n.was = byID, st
	return nil
}

// Absent says whether an error only means that there is nothing at a path.
func Absent(err error) bool {
	return err != nil && (gone(err) || errors.Is(err, unix.ENOTDIR))
}

// Short forms for this package's surveys: of the machine's files.
func (s *Surveys) read(path string, limit int64) ([]byte, error) { return s.Files().Read(path, limit) }
func (s *Surveys) lines(path string, line func(n int, text string)) error {
	return s.Files().Lines(path, line)
}
func (s *Surveys) readDir(path string) ([]Name, error)      { return s.Files().ReadDir(path) }
func (s *Surveys) stat(path string) (unix.Stat_t, error)    { return s.Files().Stat(path) }
func (s *Surveys) lstat(path string) (unix.Stat_t, error)   { return s.Files().Lstat(path) }
func (s *Surveys) glob(pattern string) ([]string, error)    { return s.Files().Glob(pattern) }
func (s *Surveys) fileFact(purpose, path string) event.Fact { return s.FileFact(purpose, path) }
