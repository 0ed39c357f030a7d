package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// What an actor finds open, besides 0, 1 and 2.
const (
	planFD   = 20
	reportFD = 21
	ttyFD    = 22
)

// A report is what the actors say of their act.
type report struct {
	PID    int    // of who performed it, as the machine numbers it; 0 if nobody could say
	Why    string // why it was not performed as the example tells it
	Result int64
}

// perform makes the world of an example in a thread of its own, and starts the first actor in it.
func (s *stage) perform(p *plan, a *actor, try int) (r report, err error) {
	done := make(chan struct{})
	go func() { // the thread ends with the goroutine, since that does not unlock it
		defer close(done)
		runtime.LockOSThread()
		r, err = s.performHere(p, a, try)
	}()
	<-done
	return r, err
}

func (s *stage) performHere(p *plan, a *actor, try int) (r report, err error) {
	var files [2]*os.File
	for i, content := range [][]byte{p.json(), nil} {
		fd, err := unix.MemfdCreate("yagura-live", unix.MFD_CLOEXEC)
		if err != nil {
			return r, err
		}
		files[i] = os.NewFile(uintptr(fd), "memfd")
		defer files[i].Close()
		if _, err := files[i].Write(content); err != nil {
			return r, err
		}
	}
	terminal, err := s.terminal(p)
	if err != nil {
		return r, err
	}
	defer terminal.close()
	if err := setLoginUID(p.event.Process.LoginUID); err != nil {
		return r, err
	}
	group, err := s.w.joinGroup(a)
	if err != nil {
		return r, err
	}
	if group >= 0 {
		defer unix.Close(group)
	}
	if err := s.enter(p, try); err != nil {
		return r, err
	}
	if err := p.furnish(); err != nil {
		return r, err
	}
	if p.Net {
		listener, err := openNetwork(p.event)
		if listener >= 0 {
			defer unix.Close(listener)
		}
		if err != nil {
			return r, err
		}
	}
	start := &starter{plan: p, files: []uintptr{s.kept.Fd(), files[1].Fd(), files[1].Fd()}, text: files[0].Fd(), report: files[1].Fd(), tty: terminal.slave}
	pid, err := start.start(0, group)
	if err != nil {
		return r, fmt.Errorf("start %s: %w", p.steps[0].Path, err)
	}
	s.w.began(a, pid)
	stop := time.AfterFunc(20*time.Second, func() { unix.Kill(pid, unix.SIGKILL) })
	defer stop.Stop()
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return readReport(files[1], pid, len(p.steps), status)
}

// readReport puts together what the actors wrote, each a line of JSON.
func readReport(f *os.File, first, steps int, status unix.WaitStatus) (r report, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return r, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return r, err
	}
	if steps == 1 {
		r.PID = first
	}
	for line := range bytes.Lines(text) {
		var more report
		if err := json.Unmarshal(line, &more); err != nil {
			r.Why = "its actor says: " + firstLine(text)
			return r, nil
		}
		if more.PID != 0 {
			r.PID = more.PID
		}
		if more.Why != "" {
			r.Why = more.Why
		}
		r.Result = more.Result
	}
	if r.Why == "" && len(text) == 0 && steps > 1 {
		r.Why = fmt.Sprintf("its actor ended with %#x and said nothing", status)
	}
	return r, nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return line[:min(len(line), 200)]
}

// enter makes the calling thread one that sees nothing but a new world.
func (s *stage) enter(p *plan, try int) error {
	root := filepath.Join(s.dir, fmt.Sprintf("%d-%d", p.ID, try))
	if err := os.Mkdir(root, 0o777); err != nil {
		return err
	}
	flags := unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	if p.Net {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := s.layer(p, root); err != nil {
		return err
	}
	if p.Proc {
		if err := os.MkdirAll(root+"/proc", 0o755); err != nil {
			return err
		}
		if err := unix.Mount("proc", root+"/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The root moves over the old one, as at boot: a process in a mere chroot may make no user name space, and from the first
	// file system of a machine nobody can pivot away.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// layer makes the root a mount of its own, an overlay if the example asks for one, with the programs in it.
func (s *stage) layer(p *plan, root string) error {
	if p.remounts() { // of the whole file system, so it needs one of its own
		if err := unix.Mount("yagura-live", root, "tmpfs", 0, "mode=0777"); err != nil {
			return fmt.Errorf("mount the root: %w", err)
		}
		return s.install(p, root, 0)
	}
	if !p.Layers {
		if err := s.install(p, root, 0); err != nil {
			return err
		}
		if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind the root: %w", err)
		}
		return nil
	}
	lower, upper, work := root+".lower", root+".upper", root+".work"
	for _, dir := range []string{lower, upper, work} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			return err
		}
	}
	if err := s.install(p, lower, event.ExeLowerLayer); err != nil {
		return err
	}
	if err := s.install(p, upper, event.ExeUpperLayer); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay: %w", err)
	}
	return nil
}

// install puts the programs of some actors below a directory: those of a layer, or all. Nothing there leads elsewhere yet.
func (s *stage) install(p *plan, root string, layer event.Flags) error {
	actor := root + "/.actor"
	if err := os.Link(filepath.Join(s.dir, "actor"), actor); errors.Is(err, unix.EXDEV) {
		err = copyFile(actor, filepath.Join(s.dir, "actor"))
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, step := range p.steps {
		in := step.Flags & (event.ExeUpperLayer | event.ExeLowerLayer)
		if in == 0 && layer == event.ExeLowerLayer {
			continue // as if it had been written
		}
		if layer != 0 && in != 0 && in != layer || step.Flags&event.ExeMemfd != 0 {
			continue
		}
		to := root + path.Clean(step.Path)
		if err := os.MkdirAll(path.Dir(to), 0o777); err != nil {
			return err
		}
		if err := os.Link(actor, to); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// furnish puts into the world what the example takes for granted. The thread is in it already.
func (p *plan) furnish() error {
	if err := os.MkdirAll("/.names", 0o777); err != nil {
		return err
	}
	for _, step := range p.steps {
		if step.Cwd != "" {
			if err := directory(step.Cwd); err != nil {
				return err
			}
		}
		if path.Base(step.Path) == step.Name() || step.Flags&event.ExeMemfd != 0 {
			continue
		}
		if err := os.Symlink(step.Path, "/.names/"+step.Name()); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return p.furnishPaths()
}

// remounts says that the call changes the root's file system, not only its mount.
func (p *plan) remounts() bool {
	return p.event.Type.String() == "mount" && p.event.Call.Arg[3]&unix.MS_REMOUNT != 0
}

// fileName is the name by which the kernel is asked to run a program: the process is called by its last part.
func fileName(step *event.Process) string {
	if base := path.Base(step.Path); base[:min(len(base), 15)] == step.Name() {
		return step.Path
	}
	return "/.names/" + step.Name()
}

// directory makes one that everybody may write to, unless it is there.
func directory(dir string) error {
	if strings.HasPrefix(dir, "/proc/") {
		if _, err := os.Stat(dir); err == nil {
			return nil
		}
	}
	return os.MkdirAll(dir, 0o777)
}

// place puts a file at a path, unless there is something.
func place(name string) error {
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	if err := directory(path.Dir(name)); err != nil {
		return err
	}
	return os.WriteFile(name, []byte("a line of text\n"), 0o666)
}

// A pty is a terminal; the zero one is none.
type pty struct{ master, slave int }

func (p pty) close() {
	if p.master > 0 {
		unix.Close(p.slave)
		unix.Close(p.master)
	}
}

// terminal opens one if the process of the example has one.
func (s *stage) terminal(p *plan) (pty, error) {
	if p.event.Process.TTY == 0 && p.event.Caller.TTY == 0 {
		return pty{}, nil
	}
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return pty{}, fmt.Errorf("open a terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		unix.Close(master)
		return pty{}, fmt.Errorf("unlock the terminal: %w", err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		unix.Close(master)
		return pty{}, fmt.Errorf("open the terminal's other end: %w", errno)
	}
	return pty{master, int(slave)}, nil
}

// setLoginUID says who logged in, for the calling thread and what it starts.
func setLoginUID(uid uint32) error {
	const file = "/proc/thread-self/loginuid"
	now, err := os.ReadFile(file)
	want := strconv.FormatUint(uint64(uid), 10)
	if err == nil && string(now) == want || errors.Is(err, os.ErrNotExist) && uid == 1<<32-1 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("login uid: %w", err)
	}
	return os.WriteFile(file, []byte(want), 0o644)
}

// A starter starts the actors of a plan, one from within the other.
type starter struct {
	plan         *plan
	files        []uintptr // 0, 1 and 2
	text, report uintptr   // the plan's and the report's descriptors
	tty          int       // the terminal for the first actor, 0 for none
}

// start starts the actor of a step. Group is the descriptor of a control group to start it in, -1 for that of the caller.
func (s *starter) start(n, group int) (pid int, err error) {
	step := s.plan.steps[n]
	file, variable := fileName(step), strconv.Itoa(n)
	if step.Flags&(event.ExeMemfd|event.ExeUnlinked) != 0 {
		file, variable = "/.actor", "run-"+strconv.Itoa(n) // which replaces itself
	}
	attr := &syscall.ProcAttr{Dir: step.Cwd, Env: environment(step, variable), Files: make([]uintptr, ttyFD+1),
		Sys: &syscall.SysProcAttr{Setsid: n == 0, Pdeathsig: syscall.SIGKILL}}
	copy(attr.Files, s.files)
	for i := len(s.files); i <= ttyFD; i++ {
		attr.Files[i] = ^uintptr(0)
	}
	attr.Files[planFD], attr.Files[reportFD] = s.text, s.report
	if s.tty > 0 && n == 0 {
		attr.Files[ttyFD] = uintptr(s.tty)
		attr.Sys.Setctty, attr.Sys.Ctty = true, ttyFD
	}
	if group >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, group
	}
	last := n == len(s.plan.steps)-1
	if last && step.VPID == 1 && step.PID != 1 {
		attr.Sys.Cloneflags |= syscall.CLONE_NEWPID
	}
	if err := s.credentials(step, last, attr.Sys); err != nil {
		return 0, err
	}
	return syscall.ForkExec(file, step.Args, attr)
}

func environment(step *event.Process, variable string) []string {
	// No signals by which Go's runtime takes turns: they interrupt calls.
	return append(append([]string{}, step.Env...), stepVariable+"="+variable, "GODEBUG=asyncpreemptoff=1")
}

// credentials gives an actor its user, group and capabilities.
func (s *starter) credentials(step *event.Process, last bool, sys *syscall.SysProcAttr) error {
	if step.UID != 0 || step.GID != 0 {
		sys.Credential = &syscall.Credential{Uid: step.UID, Gid: step.GID, NoSetGroups: true}
	}
	if !last {
		return nil
	}
	needs := step.CapEffective
	if needs == 0 && step.UID != 0 && s.plan.event.Kind == event.Syscall && s.plan.event.Call.Result >= 0 {
		needs = privileges[s.plan.event.Type.String()]
	}
	if step.UID != 0 {
		for c := range uintptr(unix.CAP_LAST_CAP + 1) {
			if needs&(1<<c) != 0 && has(c) {
				sys.AmbientCaps = append(sys.AmbientCaps, c)
			}
		}
		return nil
	}
	if !s.plan.Bounds {
		return nil
	}
	for c := range uintptr(64) { // this thread or process starts nothing else
		if needs&(1<<c) == 0 && has(c) {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
	}
	return nil
}

// privileges are what a call needs where an ordinary user may not make it. A fault in the kernel gives as much, or a name
// space of one's own.
var privileges = map[string]uint64{
	"setuid": 1 << unix.CAP_SETUID, "setresuid": 1 << unix.CAP_SETUID, "setreuid": 1 << unix.CAP_SETUID,
	"setxattr": 1<<unix.CAP_SETFCAP | 1<<unix.CAP_FOWNER, "perf_event_open": 1 << unix.CAP_PERFMON, "userfaultfd": 1 << unix.CAP_SYS_PTRACE,
	"fsopen": 1 << unix.CAP_SYS_ADMIN, "prctl": 1 << unix.CAP_SYS_RESOURCE,
}

// has says whether a capability is there to be given.
func has(c uintptr) bool {
	n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
	return err == nil && n == 1
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
