package live

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// stepVariable says to a copy of the test binary which of a plan's processes it is.
const stepVariable = "YAGURA_LIVE"

// A performer is the last process of a plan, about to make its system call.
type performer struct {
	*plan
	ev     *event.Event
	number uintptr // of the system call
	args   [6]uintptr
	held   []any // keeps what the arguments point to
}

// act is the life of an actor; it does not come back.
func act(step string) {
	if step == "victim" {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	step, replace := strings.CutPrefix(step, "run-")
	n, err := strconv.Atoi(step)
	var p *plan
	if err == nil {
		p, err = readPlan()
	}
	switch {
	case err != nil:
	case replace:
		err = become(p.steps[n], n, p.event.Type.String())
	case n < len(p.steps)-1:
		err = startNext(p, n)
	case p.event.Kind == event.Exec || p.event.Kind == event.Exit:
		tell(report{})
	default:
		err = (&performer{plan: p, ev: p.event}).perform()
	}
	if err != nil {
		tell(report{Why: err.Error()})
		os.Exit(1)
	}
	os.Exit(0)
}

// tell adds a line to the report.
func tell(r report) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	unix.Write(reportFD, append(line, '\n'))
}

func readPlan() (*plan, error) {
	text := make([]byte, 64<<10)
	n, err := unix.Pread(planFD, text, 0) // no os.File, which would close it some time
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	p := &plan{}
	if err := json.Unmarshal(text[:n], p); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return p, p.decode()
}

// startNext starts the process below, which ends before this one does.
func startNext(p *plan, n int) error {
	s := &starter{plan: p, files: []uintptr{0, 1, 2}, text: planFD, report: reportFD}
	pid, err := s.start(n+1, -1)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.steps[n+1].Path, err)
	}
	if n+1 == len(p.steps)-1 {
		tell(report{PID: pid})
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != unix.EINTR {
			return err
		}
	}
}

// become replaces the image of this process by one that no path leads to: in memory, or deleted.
func become(step *event.Process, n int, call string) error {
	fd, err := imageOf(step)
	if err != nil {
		return err
	}
	env := environment(step, strconv.Itoa(n))
	if call == "execve" && step.Flags&event.ExeMemfd != 0 {
		if _, err := os.Stat("/proc/self/fd"); err == nil {
			return syscall.Exec("/proc/self/fd/"+strconv.Itoa(fd), step.Args, env)
		}
	}
	argv, err := syscall.SlicePtrFromStrings(step.Args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	empty := []byte{0}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv[0])),
		uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("replace the image: %w", errno)
}

// imageOf opens our binary where the example's process has its own. The number of the descriptor becomes the process's name.
func imageOf(step *event.Process) (fd int, err error) {
	if step.Flags&event.ExeMemfd != 0 {
		name := strings.TrimPrefix(strings.TrimSuffix(step.Path, " (deleted)"), "/memfd:")
		if fd, err = unix.MemfdCreate(name, 0); err != nil {
			return -1, err
		}
		image, err := os.ReadFile("/.actor")
		if err != nil {
			return -1, err
		}
		if n, err := unix.Write(fd, image); err != nil || n != len(image) {
			return -1, fmt.Errorf("write the image: %d of %d bytes: %w", n, len(image), err)
		}
	} else {
		name := path.Clean(step.Path)
		if fd, err = unix.Open(name, unix.O_RDONLY, 0); err != nil {
			return -1, err
		}
		// Another copy, since ours has more names.
		if err := unlinkedCopy(name, &fd); err != nil {
			return -1, err
		}
	}
	if want, err := strconv.Atoi(step.Name()); err == nil && want != fd {
		if err := unix.Dup3(fd, want, 0); err != nil {
			return -1, err
		}
		fd = want
	}
	return fd, nil
}

func unlinkedCopy(name string, fd *int) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	if err := copyFile(name, "/.actor"); err != nil {
		return err
	}
	unix.Close(*fd)
	var err error
	if *fd, err = unix.Open(name, unix.O_RDONLY, 0); err != nil {
		return err
	}
	return os.Remove(name)
}

// forksFirst are calls that the kernel refuses to a process of several threads, as every Go program is: a copy of it that
// has one only performs them.
var forksFirst = map[string]bool{"unshare": true}

// perform makes the system call between two marks, and says what it returned.
func (p *performer) perform() error {
	if err := p.prepare(); err != nil {
		return err
	}
	begin, end := p.mark("begin"), p.mark("end")
	r := uintptr(0)
	var errno unix.Errno
	if forksFirst[p.ev.Type.String()] {
		r, errno = p.performInCopy(begin, end)
	} else {
		unix.RawSyscall(unix.SYS_CHDIR, begin, 0, 0)
		r, _, errno = unix.RawSyscall6(p.number, p.args[0], p.args[1], p.args[2], p.args[3], p.args[4], p.args[5])
		if p.ev.Kind == event.Fork && errno == 0 && r == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // the child
		}
		unix.RawSyscall(unix.SYS_CHDIR, end, 0, 0)
	}
	result := int64(r)
	if errno != 0 {
		result = -int64(errno)
	}
	told := report{Result: result}
	if want := p.ev.Call.Result; want < 0 && want != result || want >= 0 && result < 0 {
		told.Why = fmt.Sprintf("%s: wanted result %s, got %s", p.ev.Type, resultName(want), resultName(result))
	}
	tell(told)
	runtime.KeepAlive(p)
	return nil
}

func resultName(n int64) string {
	if n < 0 {
		return event.ErrorName(n)
	}
	return "success"
}

// performInCopy performs the call in a forked copy of this process. Nothing of Go's runtime works in there.
func (p *performer) performInCopy(begin, end uintptr) (r uintptr, errno unix.Errno) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], 0); err != nil {
		return 0, err.(unix.Errno)
	}
	answer := make([]byte, 8)
	number, args, out, in := p.number, p.args, uintptr(fds[1]), uintptr(fds[0])
	where := uintptr(unsafe.Pointer(&answer[0]))
	pid, _, err := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if err != 0 {
		return 0, err
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_CHDIR, begin, 0, 0)
		_, _, e := unix.RawSyscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
		unix.RawSyscall(unix.SYS_CHDIR, end, 0, 0)
		answer[0] = byte(e)
		unix.RawSyscall(unix.SYS_WRITE, out, where, 1)
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	unix.Close(int(out))
	n, _ := unix.Read(int(in), answer)
	unix.Wait4(int(pid), nil, unix.WALL, nil)
	if n != 1 {
		return 0, unix.ECHILD
	}
	return 0, unix.Errno(answer[0])
}

// mark is the address of a path that tells the test where the actor stands.
func (p *performer) mark(word string) uintptr {
	return p.text(fmt.Sprintf("/yagura-live/%d/%s", p.ID, word))
}

func (p *performer) text(s string) uintptr { return p.bytes(append([]byte(s), 0)) }

func (p *performer) bytes(b []byte) uintptr {
	if len(b) == 0 {
		b = make([]byte, 1)
	}
	p.held = append(p.held, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// callNames are those of calls that the kernel knows by another.
var callNames = map[string]string{"pread": "pread64", "pwrite": "pwrite64", "prlimit": "prlimit64", "umount": "umount2"}

func numberOf(name string) (uintptr, bool) {
	if other := callNames[name]; other != "" {
		name = other
	}
	for n := range 512 {
		if bpf.SyscallName(n) == name {
			return uintptr(n), true
		}
	}
	return 0, false
}

// prepare makes everything that the call needs, and its arguments.
func (p *performer) prepare() error {
	ok := false
	if p.number, ok = numberOf(p.ev.Type.String()); !ok {
		return fmt.Errorf("no system call of this machine is called %s", p.ev.Type)
	}
	c := &p.ev.Call
	for i, n := range c.Arg {
		p.args[i] = uintptr(n)
	}
	params := p.ev.Type.Info().Params
	for i := range params {
		a := &params[i]
		switch {
		case a.Arg < 0:
		case a.Kind == event.String || a.Kind == event.Path:
			p.args[a.Arg] = p.text(string(c.Text[a.Index].Raw))
		case a.Kind == event.Bytes:
			p.args[a.Arg] = p.bytes(append([]byte(nil), c.Data...))
		}
	}
	if err := p.prepareDirectory(); err != nil {
		return err
	}
	if err := p.prepareFD(); err != nil {
		return fmt.Errorf("open the descriptor: %w", err)
	}
	if special := specials[p.ev.Type.String()]; special != nil {
		if err := special(p); err != nil {
			return fmt.Errorf("prepare %s: %w", p.ev.Type, err)
		}
	}
	return nil
}

// prepareDirectory goes where relative paths of the call start.
func (p *performer) prepareDirectory() error {
	for i := range p.ev.Call.Text {
		if dir := string(p.ev.Call.Text[i].Dir); dir != "" && dir != p.ev.Process.Cwd {
			return os.Chdir(dir)
		}
	}
	return nil
}
