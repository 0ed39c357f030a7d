package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

func init() { // only the test's own table of what a child may be told to do
	actors["odd"] = actOdd
}

// actOdd makes calls whose arguments are read in ways of their own. Some of them fail.
func actOdd() error {
	name, _ := unix.BytePtrFromString("watchtower")
	if _, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0); errno != 0 {
		return errno
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	unix.Write(pipe[1], []byte("through the pipe"))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.Sendmsg(pair[0], []byte("a message"), nil, nil, 0)
	many := [2]struct {
		message unix.Msghdr
		length  uint64
	}{}
	first := []byte("the first of two")
	vector := unix.Iovec{Base: &first[0], Len: uint64(len(first))}
	for i := range many {
		many[i].message.Iov, many[i].message.Iovlen = &vector, 1
	}
	unix.Syscall6(unix.SYS_SENDMMSG, uintptr(pair[0]), uintptr(unsafe.Pointer(&many)), 2, 0, 0, 0)
	memory, err := unix.MemfdCreate("yagura-odd", 0)
	if err != nil {
		return err
	}
	unix.Dup3(memory, 99, unix.O_CLOEXEC)
	unix.Kill(os.Getpid(), 0)
	unix.Mount("yagura-source", "/nonexistent", "tmpfs", unix.MS_NOSUID, "")
	unix.Exec("/nonexistent/program", []string{"x"}, nil)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.Bind(socket, &unix.SockaddrUnix{Name: "@yagura-odd"})
	unix.Listen(socket, 5)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"YAGURA_ACTOR=no such actor", "YAGURA_SEEN=yes"}
	cmd.Run()
	fmt.Println(os.Getpid(), pipe[0], pipe[1], pair[0], pair[1], memory)
	return nil
}

func TestTruthCallsOfEveryForm(t *testing.T) {
	proves(t, "rules_calls_of_every_form")
	i := wanting(t, "prctl", "pipe2", "write", "socketpair", "sendmsg", "sendmmsg", "memfd_create", "dup3", "kill", "mount", "execve", "bind", "listen", "clone")
	i.Env = true
	w := startCalls(t, i)
	g := w.newGroup(t, "odd")
	var pid uint64
	var n [5]int32
	if _, err := fmt.Sscan(w.perform(t, g, "odd"), &pid, &n[0], &n[1], &n[2], &n[3], &n[4]); err != nil {
		t.Fatal(err)
	}
	one := func(name string, match func(ev *event.Event) bool) *event.Event { return w.call(t, g, name, match) }
	text := func(ev *event.Event) string { return string(ev.Call.Text[0].Raw) }

	one("prctl", func(ev *event.Event) bool { return text(ev) == "watchtower" })
	one("pipe2", func(ev *event.Event) bool { return ev.Call.Word[0] == uint64(n[0]) && ev.Call.Word[1] == uint64(n[1]) })
	write := one("write", func(ev *event.Event) bool { return string(ev.Call.Data) == "through the pipe" })
	if write.FD.Type != event.Pipe || !strings.HasPrefix(string(write.FD.Name), "pipe:[") {
		t.Errorf("write to a pipe: %+v named %q", write.FD, write.FD.Name)
	}
	one("socketpair", func(ev *event.Event) bool { return ev.Call.Word[0] == uint64(n[2]) && ev.Call.Word[1] == uint64(n[3]) })
	if ev := one("sendmsg", func(ev *event.Event) bool { return string(ev.Call.Data) == "a message" }); ev.FD.Type != event.UnixSocket || !ev.FD.Connected {
		t.Errorf("sendmsg through %+v", ev.FD)
	}
	one("sendmmsg", func(ev *event.Event) bool { return string(ev.Call.Data) == "the first of two" && ev.Call.Result == 2 })
	if ev := one("memfd_create", func(ev *event.Event) bool { return text(ev) == "yagura-odd" }); ev.FD.Type != event.MemFD || ev.FD.Num != n[4] {
		t.Errorf("memfd_create made %+v", ev.FD)
	}
	if ev := one("dup3", func(ev *event.Event) bool { return ev.Call.Result == 99 }); ev.FD.Type != event.MemFD || ev.FD.Num != 99 {
		t.Errorf("dup3 made %+v", ev.FD)
	}
	one("kill", func(ev *event.Event) bool { return ev.Call.Arg[0] == pid && ev.Call.Arg[1] == 0 && ev.Call.Result == 0 })
	mount := one("mount", func(ev *event.Event) bool { return text(ev) == "yagura-source" })
	if string(mount.Call.Text[1].Raw) != "/nonexistent" || string(mount.Call.Data) != "tmpfs" || mount.Call.Arg[3]&unix.MS_NOSUID == 0 {
		t.Errorf("mount at %q of type %q", mount.Call.Text[1].Raw, mount.Call.Data)
	}
	if ev := one("execve", func(ev *event.Event) bool { return text(ev) == "/nonexistent/program" }); event.ErrorName(ev.Call.Result) != "ENOENT" {
		t.Errorf("a failing execve returned %d", ev.Call.Result)
	}
	if ev := one("bind", func(ev *event.Event) bool { return ev.Call.Result == 0 }); ev.Call.Address.Path != "@yagura-odd" || ev.FD.Type != event.UnixSocket {
		t.Errorf("bind of %+v to %+v", ev.FD, ev.Call.Address)
	}
	if ev := one("listen", func(ev *event.Event) bool { return ev.Call.Arg[1] == 5 }); string(ev.FD.Name) != "@yagura-odd" {
		t.Errorf("listen at %q", ev.FD.Name)
	}
	run := w.await(t, "an exec with its environment", func(ev *event.Event) bool {
		return ev.Kind == event.Exec && ev.CgroupID == g.id && strings.Contains(string(ev.Env), "YAGURA_SEEN=yes\x00")
	})
	if run.Type.String() != "execve" || len(run.Cwd) == 0 || run.Cwd[0] != '/' {
		t.Errorf("an exec is %s in %q", run.Type, run.Cwd)
	}
	made := w.await(t, "a process that was made", func(ev *event.Event) bool {
		return ev.Kind == event.Fork && ev.CgroupID == g.id && ev.Task.PID == run.PID
	})
	if !forks[made.Type] || made.Call.Result != int64(run.PID) {
		t.Errorf("process %d was made by %s with result %d", run.PID, made.Type, made.Call.Result)
	}
	if w.Attached("sys_exit_group") && made.Call.Arg[0]|made.Call.Word[0] == 0 {
		t.Errorf("process %d was made by %s without flags", run.PID, made.Type)
	}
}
