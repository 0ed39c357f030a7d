package live

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Which calls need what at their first path. All others take it as it comes.
var (
	needsFile = words("truncate stat lstat access chmod fchmodat chown lchown fchownat utime utimes utimensat setxattr lsetxattr removexattr " +
		"unlink unlinkat rename renameat renameat2 link linkat inotify_add_watch newfstatat fchmodat2")
	needsDirectory = words("chdir chroot rmdir open_tree mount umount2 pivot_root")
)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// furnishPaths puts into the world the files that the call finds.
func (p *plan) furnishPaths() error {
	ev := p.event
	if ev.Kind != event.Syscall {
		return nil
	}
	if ev.FD.Type == event.RegularFile && isPath(ev.FD.Name) && !ev.Type.Opens() {
		if err := place(string(ev.FD.Name)); err != nil {
			return err
		}
	}
	if a := ev.Call.Address.Path; a != "" && a[0] == '/' {
		if err := directory(path.Dir(a)); err != nil {
			return err
		}
	}
	name := ev.Type.String()
	absent := event.ErrorName(ev.Call.Result) == "ENOENT"
	params := ev.Type.Info().Params
	for i := range params {
		a := &params[i]
		if a.Kind != event.Path || a.Arg < 0 {
			continue
		}
		t := &ev.Call.Text[a.Index]
		if err := directoryOf(t); err != nil {
			return err
		}
		at := where(t)
		if behind, ok := strings.CutPrefix(at, "/proc/self/root/"); ok && p.Proc {
			at = "/" + behind
		} else if strings.HasPrefix(at, "/proc/") && p.Proc {
			continue // the kernel's own
		}
		if err := directory(path.Dir(at)); err != nil {
			return err
		}
		var err error
		switch {
		case absent:
		case ev.Type.Opens():
			err = p.furnishOpen(at, string(t.Resolved))
		case needsDirectory[name]:
			err = directory(at)
		case needsFile[name] && (a.Index == 0 || ev.Call.Arg[4] == unix.RENAME_EXCHANGE && name == "renameat2"):
			err = place(at)
		}
		if err != nil {
			return err
		}
	}
	return p.furnishMounts()
}

func directoryOf(t *event.Text) error {
	if len(t.Dir) == 0 {
		return nil
	}
	return directory(string(t.Dir))
}

// where is what a path of the call names, seen from the root.
func where(t *event.Text) string {
	if len(t.Raw) > 0 && t.Raw[0] == '/' {
		return string(t.Raw)
	}
	return string(t.Dir) + "/" + string(t.Raw)
}

// furnishOpen makes what is opened, unless the call makes it.
func (p *plan) furnishOpen(at, resolved string) error {
	ev := p.event
	flags := openFlags(ev)
	if resolved != "" && resolved != path.Clean(at) {
		if err := place(resolved); err != nil {
			return err
		}
		return os.Symlink(resolved, strings.TrimSuffix(at, "/"))
	}
	if ev.FD.Created || flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return nil
	}
	if ev.FD.Type == event.Directory || flags&unix.O_DIRECTORY != 0 || strings.HasSuffix(at, "/") {
		return directory(at)
	}
	if err := place(at); err != nil {
		return err
	}
	if event.ErrorName(ev.Call.Result) == "EACCES" {
		return os.Chmod(at, 0)
	}
	return nil
}

func openFlags(ev *event.Event) uint64 {
	switch ev.Type.String() {
	case "open":
		return ev.Call.Arg[1]
	case "creat":
		return unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC
	case "openat2":
		return ev.Call.Word[0]
	}
	return ev.Call.Arg[2]
}

// furnishMounts makes what is mounted anew or unmounted a mount.
func (p *plan) furnishMounts() error {
	ev := p.event
	switch ev.Type.String() {
	case "mount":
		dir, flags := string(ev.Call.Text[1].Raw), ev.Call.Arg[3]
		if err := directory(dir); err != nil {
			return err
		}
		if dev := string(ev.Call.Text[0].Raw); path.IsAbs(dev) {
			return directory(dev)
		}
		if flags&(unix.MS_REMOUNT|unix.MS_SHARED|unix.MS_PRIVATE|unix.MS_SLAVE|unix.MS_MOVE) != 0 && dir != "/" {
			return unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		}
	case "umount", "umount2":
		return unix.Mount("tmpfs", string(ev.Call.Text[0].Raw), "tmpfs", 0, "")
	case "bpf":
		if err := directory("/sys/fs/bpf"); err != nil {
			return err
		}
		return unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "")
	}
	return nil
}

// prepareFD opens what the call's descriptor is of, and puts its number where it belongs.
func (p *performer) prepareFD() error {
	params := p.ev.Type.Info().Params
	i := slices.IndexFunc(params, func(a event.Param) bool {
		return a.Kind == event.FD && a.Arg >= 0 && !slices.ContainsFunc(params, func(d event.Param) bool { return d.Kind == event.Path && d.Dir == a.Arg })
	})
	if i < 0 && !slices.Contains([]string{"accept", "accept4"}, p.ev.Type.String()) || p.ev.FD.Type == event.NoDescriptor {
		return nil
	}
	fd, err := p.open()
	if err != nil {
		return err
	}
	if i >= 0 {
		p.args[params[i].Arg] = uintptr(fd)
	} else {
		p.args[0] = uintptr(fd)
	}
	return nil
}

func (p *performer) open() (fd int, err error) {
	d := &p.ev.FD
	name := string(d.Name)
	switch d.Type {
	case event.RegularFile:
		if err := place(name); err != nil {
			return -1, err
		}
		return unix.Open(name, unix.O_RDWR, 0)
	case event.Directory:
		return unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	case event.IPv4Socket, event.IPv6Socket:
		return p.openInternet()
	case event.UnixSocket:
		return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	case event.PacketSocket:
		return unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	case event.Netlink:
		return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)
	case event.MemFD:
		return unix.MemfdCreate("x", 0)
	case event.Pipe:
		var fds [2]int
		err := unix.Pipe(fds[:])
		return fds[0], err
	case event.Other:
		kind, _, _ := strings.Cut(name, ":")
		return unix.Open("/proc/self/ns/"+kind, unix.O_RDONLY, 0)
	}
	return -1, fmt.Errorf("do not know how to open a %q", d.Type)
}

// openInternet makes a socket with the ends of the example's, connected if the call is not what connects it.
func (p *performer) openInternet() (fd int, err error) {
	d := &p.ev.FD
	name := p.ev.Type.String()
	family, protocol := unix.AF_INET, 0
	if d.Type == event.IPv6Socket {
		family = unix.AF_INET6
	}
	kind := int(d.SockType)
	if kind == unix.SOCK_RAW {
		protocol = int(d.Protocol)
	}
	if event.ErrorName(p.ev.Call.Result) == "EINPROGRESS" {
		kind |= unix.SOCK_NONBLOCK
	}
	if fd, err = unix.Socket(family, kind, protocol); err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if d.Local.IsValid() && name != "bind" {
		_, local := socketAddress(d.Local)
		if err := unix.Bind(fd, local); err != nil {
			return -1, fmt.Errorf("bind to %s: %w", d.Local, err)
		}
	}
	switch {
	case name == "accept" || name == "accept4":
		return fd, p.connectBack(fd)
	case name == "connect" || name == "bind" || name == "listen" || !d.Remote.IsValid():
		return fd, nil
	}
	if kind == unix.SOCK_STREAM {
		listener, err := listenAt(d.Remote)
		if err != nil {
			return -1, err
		}
		_ = listener // for as long as this process lives
	}
	_, remote := socketAddress(d.Remote)
	return fd, unix.Connect(fd, remote)
}

// connectBack connects to a listener of ours from where the example's peer is.
func (p *performer) connectBack(listener int) error {
	d := &p.ev.FD
	if err := unix.Listen(listener, 8); err != nil {
		return err
	}
	family, remote := socketAddress(d.Remote)
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, remote); err != nil {
		return fmt.Errorf("bind to %s: %w", d.Remote, err)
	}
	_, local := socketAddress(d.Local)
	return unix.Connect(fd, local)
}
