package fim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
}

func run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	needTool(t, name)
	out, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, out)
	}
	return strings.TrimSpace(string(out))
}

// must ends a test on an error that is not what it is about.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func newLooker(t testing.TB, o LookOptions) *Looker {
	t.Helper()
	l, err := NewLooker(o)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func look(t testing.TB, l *Looker, path string) Record {
	t.Helper()
	r, err := l.Look(t.Context(), path)
	must(t, err)
	return r
}

// TestLookSaysWhatStatDoes holds records against stat(1) and sha256sum(1).
func TestLookSaysWhatStatDoes(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("file"), strings.Repeat("content\n", 100_000))
	write(t, in("empty"), "")
	must(t, os.Link(in("empty"), in("link to empty")))
	must(t, os.Mkdir(in("directory"), 0o700))
	must(t, os.Symlink("no/where", in("symlink")))
	must(t, unix.Mkfifo(in("fifo"), 0o640))
	socket, err := net.Listen("unix", in("socket"))
	must(t, err)
	defer socket.Close()
	names := []string{"file", "empty", "directory", "symlink", "fifo", "socket", "newline\nin it", "not UTF-8 \xff\xfe"}
	write(t, in("newline\nin it"), "1")
	write(t, in("not UTF-8 \xff\xfe"), "2")
	for i, mode := range []uint32{0o4755, 0o2755, 0o1777, 0o7000, 0} {
		name := fmt.Sprintf("mode %d", i)
		write(t, in(name), name)
		must(t, unix.Chmod(in(name), mode))
		names = append(names, name)
	}
	if os.Geteuid() == 0 {
		must(t, unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		must(t, unix.Mknod(in("loop"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 300))))
		must(t, os.Lchown(in("file"), 1234, 4_000_000_000))
		names = append(names, "null", "loop")
	}
	types := map[fs.FileMode]string{0: "regular file", fs.ModeDir: "directory", fs.ModeSymlink: "symbolic link", fs.ModeNamedPipe: "fifo",
		fs.ModeSocket: "socket", fs.ModeDevice: "block special file", fs.ModeDevice | fs.ModeCharDevice: "character special file"}
	l := newLooker(t, LookOptions{Root: dir})
	for _, name := range names {
		r := look(t, l, "/"+name)
		kind := types[r.Mode.Type()]
		if kind == "regular file" && r.Size == 0 {
			kind = "regular empty file"
		}
		mode := uint32(r.Mode.Perm())
		for bit, as := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
			if r.Mode&bit != 0 {
				mode |= as
			}
		}
		device, link := "0:0", ""
		if r.Mode&fs.ModeDevice != 0 {
			device = r.Target
		} else if r.Mode.Type() == fs.ModeSymlink {
			link = r.Target
		}
		got := fmt.Sprintf("%s|%o|%d|%d|%d|%d|%d|%d|%d.%09d|%d.%09d|%s|%s", kind, mode, r.UID, r.GID, r.Size, r.Device, r.Inode, r.Links,
			r.Modified/1e9, r.Modified%1e9, r.Changed/1e9, r.Changed%1e9, device, link)
		want := run(t, "stat", "--printf=%F|%a|%u|%g|%s|%d|%i|%h|%.9Y|%.9Z|%Hr:%Lr|", in(name))
		if r.Mode.Type() == fs.ModeSymlink {
			want += run(t, "readlink", in(name))
		}
		if got != want {
			t.Errorf("Look(%q):\n got %s\nwant %s", name, got, want)
		}
		if r.Summed != r.Mode.IsRegular() || r.Unreadable != "" {
			t.Errorf("Look(%q): summed %t, unreadable %q", name, r.Summed, r.Unreadable)
		}
		if r.Summed {
			sum, _, _ := strings.Cut(strings.TrimPrefix(run(t, "sha256sum", in(name)), `\`), " ")
			if got := hex.EncodeToString(r.Sum[:]); got != sum {
				t.Errorf("Look(%q): SHA-256 %s, want %s", name, got, sum)
			}
		}
	}
}

func TestLookResolvesWithinTheRoot(t *testing.T) {
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	write(t, filepath.Join(outside, "etc/secret"), "outside")
	write(t, filepath.Join(root, "usr/lib/file"), "inside")
	write(t, filepath.Join(root, "etc/secret"), "within")
	links := map[string]string{
		"lib":       "usr/lib",
		"absolute":  "/usr/lib",
		"up":        "../../../../etc",
		"usr/up":    "../lib",
		"chain":     "absolute/../up",
		"loop":      "loop",
		"slashes":   "/usr//lib/./",
		"out":       outside + "/etc",
		"exe":       "/proc/self/exe",
		"usr/lib/l": "../../lib",
	}
	for name, target := range links {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
	for _, tt := range []struct{ path, content, real string }{
		{"/usr/lib/file", "inside", "/usr/lib/file"},
		{"/lib/file", "inside", "/usr/lib/file"},
		{"/absolute/file", "inside", "/usr/lib/file"},
		{"/slashes/file", "inside", "/usr/lib/file"},
		{"/usr/up/file", "inside", "/usr/lib/file"},
		{"/usr/lib/l/l/l/file", "inside", "/usr/lib/file"},
		{"/up/secret", "within", "/etc/secret"},
		{"/chain/secret", "", ""}, // absolute is usr/lib: absolute/../up is usr/up, and that leads to lib
		{"/chain/file", "inside", "/usr/lib/file"},
		{"/out/secret", "", ""},
		{"/usr/lib/file/below", "", ""},
		{"/nothing", "", ""},
	} {
		for _, without := range []bool{false, true} {
			l := newLooker(t, LookOptions{Root: root})
			l.noOpenat = without
			r, err := l.Look(t.Context(), tt.path)
			if tt.content == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Look(%q), without openat2: %t: %v, want fs.ErrNotExist", tt.path, without, err)
				}
				continue
			}
			if err != nil || r.Sum != sha256.Sum256([]byte(tt.content)) {
				t.Errorf("Look(%q), without openat2: %t: %v, or not the sum of %q", tt.path, without, err, tt.content)
			}
			if real, err := l.Real(tt.path); err != nil || real != tt.real {
				t.Errorf("Real(%q) = %q, %v, want %q", tt.path, real, err, tt.real)
			}
			for _, path := range []string{"/loop/file", "relative", "/not/../clean", "/nul\x00", ""} {
				if _, err := l.Look(t.Context(), path); err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Look(%q), without openat2: %t: %v, want another error", path, without, err)
				}
			}
			for _, path := range []string{"/loop", "/exe"} { // links themselves are looked at, wherever they lead
				if r := look(t, l, path); r.Target != links[path[1:]] {
					t.Errorf("Look(%q): target %q, want %q", path, r.Target, links[path[1:]])
				}
			}
			if r := look(t, l, "/"); !r.Mode.IsDir() {
				t.Errorf("Look(/): %s, want a directory", r.Mode)
			}
		}
	}
}

// TestLookGoesDeeperThanOneCallCan reaches a file by a path that is longer than PATH_MAX, made a directory at a time.
func TestLookGoesDeeperThanOneCallCan(t *testing.T) {
	root := t.TempDir()
	path := deepFile(t, root, 30, 200)
	if len(path) <= unix.PathMax {
		t.Fatalf("the path has only %d bytes", len(path))
	}
	if r := look(t, newLooker(t, LookOptions{Root: root}), path); r.Sum != sha256.Sum256([]byte("deep")) {
		t.Errorf("not the sum of the file at the bottom: %+v", r)
	}
}

// deepFile makes a file beneath so many directories with names of such a length, and returns its path beneath the root.
func deepFile(t testing.TB, root string, levels, length int) string {
	t.Helper()
	name := strings.Repeat("d", length)
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	file, err := unix.Openat(fd, "file", unix.O_WRONLY|unix.O_CREAT, 0o644)
	must(t, err)
	_, err = unix.Write(file, []byte("deep"))
	must(t, err)
	unix.Close(file)
	unix.Close(fd)
	return strings.Repeat("/"+name, levels) + "/file"
}

func TestLookReadsExtendedAttributes(t *testing.T) {
	dir := t.TempDir()
	l := newLooker(t, LookOptions{Root: dir})
	file := filepath.Join(dir, "file")
	write(t, file, "")
	if r := look(t, l, "/file"); len(r.Attributes) > 0 && r.Attributes["security.selinux"] == "" {
		t.Errorf("attributes of a new file: %q", r.Attributes)
	}
	long := strings.Repeat("x", 3000)
	for name, value := range map[string]string{"user.short": "bytes\x00\xff", "user.empty": "", "user.long": long, "user.summed": "sha256:forged"} {
		if err := unix.Setxattr(file, name, []byte(value), 0); err == unix.EOPNOTSUPP {
			t.Skip("needs a file system with extended attributes of users")
		} else if err != nil {
			t.Fatal(name, err)
		}
	}
	forged := sha256.Sum256([]byte("sha256:forged"))
	r := look(t, l, "/file")
	for name, want := range map[string]string{"user.short": "bytes\x00\xff", "user.empty": "", "user.long": long, "user.summed": "sha256:" + string(forged[:])} {
		if got, ok := r.Attributes[name]; !ok || got != want {
			t.Errorf("%s = %q, %t, want %q", name, got, ok, want)
		}
	}
	must(t, os.Mkdir(filepath.Join(dir, "directory"), 0o755))
	must(t, unix.Setxattr(filepath.Join(dir, "directory"), "user.on", []byte("directory"), 0))
	if got := look(t, l, "/directory").Attributes["user.on"]; got != "directory" {
		t.Errorf("user.on of a directory: %q", got)
	}
	needRoot(t)
	must(t, os.Symlink("file", filepath.Join(dir, "link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, name := range []string{"link", "fifo"} { // neither of which can be opened
		must(t, unix.Lsetxattr(filepath.Join(dir, name), "trusted.of", []byte(name), 0))
		if got := look(t, l, "/"+name).Attributes["trusted.of"]; got != name {
			t.Errorf("trusted.of of a %s: %q", name, got)
		}
	}
}

// TestLookReadsCapabilities has setcap(8) set one, and holds it against the kernel's struct vfs_cap_data of version 2: the
// version and whether it is effective, then the permitted and the inheritable ones, low words first.
func TestLookReadsCapabilities(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	run(t, "setcap", "cap_net_bind_service+ep", filepath.Join(dir, "file"))
	want := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	want = append(binary.LittleEndian.AppendUint32(want, 1<<10), make([]byte, 12)...)
	if got := look(t, newLooker(t, LookOptions{Root: dir}), "/file").Attributes["security.capability"]; got != string(want) {
		t.Errorf("security.capability = %x, want %x", got, want)
	}
}

// acl is the value of an ACL's attribute as the kernel has it, with an entry for a user: version 2, then entries of tag,
// permissions and id.
func acl(user, permissions uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint16{{1, 6, 0xffff}, {2, permissions, user}, {4, 4, 0xffff}, {0x10, 6, 0xffff}, {0x20, 4, 0xffff}} {
		id := uint32(e[2])
		if e[2] == 0xffff {
			id = 1<<32 - 1
		}
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, e[0]), e[1])
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}

func TestLookReadsACLs(t *testing.T) {
	dir := t.TempDir()
	l := newLooker(t, LookOptions{Root: dir})
	write(t, filepath.Join(dir, "file"), "")
	must(t, os.Mkdir(filepath.Join(dir, "directory"), 0o755))
	before := look(t, l, "/file")
	if err := unix.Setxattr(filepath.Join(dir, "file"), "system.posix_acl_access", acl(1000, 6), 0); err == unix.EOPNOTSUPP {
		t.Skip("needs a file system with ACLs")
	} else if err != nil {
		t.Fatal(err)
	}
	must(t, unix.Setxattr(filepath.Join(dir, "directory"), "system.posix_acl_default", acl(1000, 4), 0))
	after := look(t, l, "/file")
	if got := after.Attributes["system.posix_acl_access"]; got != string(acl(1000, 6)) {
		t.Errorf("system.posix_acl_access = %x, want %x", got, acl(1000, 6))
	}
	if got := Compare(&before, &after, Everything); got != ACL|Mode { // the group's permissions are now the mask: rw-
		t.Errorf("Compare = %b, want the ACL and the mode", got)
	}
	if got := look(t, l, "/directory").Attributes["system.posix_acl_default"]; got != string(acl(1000, 4)) {
		t.Errorf("system.posix_acl_default = %x, want %x", got, acl(1000, 4))
	}
}

func TestLookReadsFlags(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	l := newLooker(t, LookOptions{Root: dir})
	write(t, filepath.Join(dir, "file"), "")
	must(t, os.Mkdir(filepath.Join(dir, "directory"), 0o755))
	for _, name := range []string{"file", "directory"} {
		path := filepath.Join(dir, name)
		for flag, want := range map[string]uint32{"i": 0x10, "a": 0x20} { // FS_IMMUTABLE_FL, FS_APPEND_FL
			before := look(t, l, "/"+name)
			needTool(t, "chattr")
			if out, err := exec.Command("chattr", "+"+flag, path).CombinedOutput(); err != nil {
				t.Skipf("needs a file system with flags: %s", out)
			}
			after := look(t, l, "/"+name)
			run(t, "chattr", "-"+flag, path)
			if got := after.Flags &^ Fresh; got != want {
				t.Errorf("%s, chattr +%s: flags %#x, want %#x", name, flag, got, want)
			}
			if got := Compare(&before, &after, Everything); got != Flags {
				t.Errorf("%s, chattr +%s: Compare = %b, want the flags", name, flag, got)
			}
		}
	}
}

// An interference is a context that does something whenever the hash asks whether it is done, which is before each piece.
type interference struct {
	context.Context
	do func()
}

func (i interference) Err() error {
	i.do()
	return i.Context.Err()
}

func TestLookReadsAgainWhatChangesMeanwhile(t *testing.T) {
	dir := t.TempDir()
	l := newLooker(t, LookOptions{Root: dir})
	path := filepath.Join(dir, "file")
	for _, tt := range []struct {
		name    string
		changes int
		summed  bool
	}{{"never", 0, true}, {"once", 1, true}, {"twice", 2, true}, {"always", 1 << 30, false}} {
		write(t, path, "begin")
		left := tt.changes
		r, err := l.Look(interference{t.Context(), func() {
			if left--; left < 0 {
				return
			}
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("more")
			must(t, err)
			f.Close()
		}}, "/file")
		must(t, err)
		content, err := os.ReadFile(path)
		must(t, err)
		switch {
		case r.Summed != tt.summed:
			t.Errorf("%s: summed %t, want %t", tt.name, r.Summed, tt.summed)
		case tt.summed && r.Sum != sha256.Sum256(content):
			t.Errorf("%s: not the sum of what is there at last", tt.name)
		case !tt.summed && r.Unreadable != "it changes while it is read":
			t.Errorf("%s: unreadable %q", tt.name, r.Unreadable)
		case r.Flags&Fresh == 0:
			t.Errorf("%s: not fresh, though it was changed just now", tt.name)
		}
	}
}

func TestLookAtWhatVanishes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, "content")
	l := newLooker(t, LookOptions{Root: dir})
	r, err := l.Look(interference{t.Context(), func() { os.Remove(path) }}, "/file")
	if err != nil || r.Links != 0 || r.Sum != sha256.Sum256([]byte("content")) { // it was opened, and is still there for who has
		t.Errorf("a file that vanishes while it is read: %v, %+v", err, r)
	}
	if _, err := l.Look(t.Context(), "/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that has vanished: %v, want fs.ErrNotExist", err)
	}
}

func TestLookHasBounds(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o644))
	must(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<40))
	write(t, filepath.Join(dir, "8 bytes"), "12345678")
	write(t, filepath.Join(dir, "9 bytes"), "123456789")
	l := newLooker(t, LookOptions{Root: dir})
	if r := look(t, l, "/sparse"); r.Summed || r.Unreadable != "larger than 1 GiB" || r.Size != 1<<40 || l.read != 0 {
		t.Errorf("a sparse file of 1 TiB: %+v, read %d bytes", r, l.read)
	}
	l = newLooker(t, LookOptions{Root: dir, MaxSize: 8})
	if r := look(t, l, "/8 bytes"); !r.Summed {
		t.Errorf("a file of 8 bytes, with a bound of 8: %+v", r)
	}
	if r := look(t, l, "/9 bytes"); r.Summed || r.Unreadable != "larger than 8 bytes" {
		t.Errorf("a file of 9 bytes, with a bound of 8: %+v", r)
	}
}

func TestLookIsLimitedAndCanBeCalledOff(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), strings.Repeat("x", 3*lookPiece))
	l := newLooker(t, LookOptions{Root: dir, BytesPerSecond: 8 * lookPiece})
	began := time.Now()
	if r := look(t, l, "/file"); !r.Summed {
		t.Fatalf("%+v", r)
	}
	if took := time.Since(began); took < 200*time.Millisecond { // of three pieces, one is at once, and each other 1/8 s later
		t.Errorf("3 pieces at 8 a second took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Look(ctx, "/file"); !errors.Is(err, context.Canceled) {
		t.Errorf("a look that was called off: %v", err)
	}
}

func TestLookDoesNotWaitInProc(t *testing.T) {
	needRoot(t)
	l := newLooker(t, LookOptions{})
	for _, path := range []string{"/proc/kmsg", "/proc/self/status"} { // the first would wait for the kernel to say something
		if r, err := l.Look(t.Context(), path); err != nil || !r.Mode.IsRegular() {
			t.Errorf("Look(%q): %+v, %v", path, r, err)
		}
	}
}

// asNobody runs a function with the rights to files of somebody who is not root, on a thread that ends with it.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	needRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		must(t, syscall.Setfsuid(65534))
		do()
	}()
	<-done
}

func TestLookSaysWhatItMayNotRead(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	write(t, filepath.Join(dir, "file"), "content")
	write(t, filepath.Join(dir, "closed/file"), "content")
	must(t, os.Chmod(filepath.Join(dir, "file"), 0o600))
	must(t, os.Chmod(filepath.Join(dir, "closed"), 0o700))
	l := newLooker(t, LookOptions{Root: dir})
	asNobody(t, func() {
		r, err := l.Look(t.Context(), "/file")
		if err != nil || r.Summed || r.Unreadable != "permission denied" || r.Size != 7 {
			t.Errorf("a file that may not be read: %+v, %v", r, err)
		}
		if _, err := l.Look(t.Context(), "/closed/file"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a directory that may not be entered: %v", err)
		}
	})
}

// TestLookInAnotherMountNamespace looks through /proc/PID/root, where a container's files are.
func TestLookInAnotherMountNamespace(t *testing.T) {
	needRoot(t)
	needTool(t, "unshare")
	c := exec.Command("unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt && printf inside >/mnt/file && ln -s /mnt /mnt/self && echo ready && read line")
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	defer c.Wait()
	defer in.Close()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Skip("needs a mount namespace of its own")
	}
	l := newLooker(t, LookOptions{Root: "/proc/" + strconv.Itoa(c.Process.Pid) + "/root"})
	for _, path := range []string{"/mnt/file", "/mnt/self/self/file"} {
		if r := look(t, l, path); r.Sum != sha256.Sum256([]byte("inside")) {
			t.Errorf("Look(%q): not the container's file: %+v", path, r)
		}
	}
	if _, err := os.Lstat("/mnt/file"); err == nil {
		t.Error("/mnt/file is there on the host too: this test cannot fail")
	}
}

func TestCompare(t *testing.T) {
	file := func(change func(r *Record)) *Record {
		r := &Record{Mode: 0o644, UID: 1, GID: 2, Size: 3, Device: 4, Inode: 5, Modified: 6, Changed: 7, Links: 1, Summed: true, Sum: [32]byte{8},
			Attributes: map[string]string{"user.a": "1", "system.posix_acl_access": "2", "system.posix_acl_default": "3"}, Flags: 0x10}
		if change != nil {
			change(r)
		}
		return r
	}
	attributes := func(m map[string]string) *Record { return file(func(r *Record) { r.Attributes = m }) }
	dir := func(links uint32, size int64) *Record {
		return &Record{Mode: fs.ModeDir | 0o755, Links: links, Size: size}
	}
	link := func(target string) *Record { return &Record{Mode: fs.ModeSymlink | 0o777, Target: target, Links: 1} }
	unread := func(size, modified int64) *Record {
		return file(func(r *Record) { r.Summed, r.Sum, r.Size, r.Modified = false, [32]byte{}, size, modified })
	}
	for _, tt := range []struct {
		name     string
		old, new *Record
		want     Attribute
	}{
		{"nothing", nil, nil, 0},
		{"created", nil, file(nil), Everything},
		{"deleted", file(nil), nil, Everything},
		{"the same", file(nil), file(nil), 0},
		{"times, place and freshness", file(nil), file(func(r *Record) { r.Modified, r.Changed, r.Inode, r.Device, r.Flags = 9, 9, 9, 9, 0x10|Fresh }), 0},
		{"content", file(nil), file(func(r *Record) { r.Sum[31] = 1 }), Content},
		{"permissions", file(nil), file(func(r *Record) { r.Mode = 0o600 }), Mode},
		{"setuid", file(nil), file(func(r *Record) { r.Mode |= fs.ModeSetuid }), Mode},
		{"user", file(nil), file(func(r *Record) { r.UID = 0 }), Owner},
		{"group", file(nil), file(func(r *Record) { r.GID = 0 }), Owner},
		{"links", file(nil), file(func(r *Record) { r.Links = 2 }), Links},
		{"flags", file(nil), file(func(r *Record) { r.Flags = 0 }), Flags},
		{"attribute added", file(nil), attributes(map[string]string{"user.a": "1", "user.b": "", "system.posix_acl_access": "2", "system.posix_acl_default": "3"}), Xattrs},
		{"attribute removed", file(nil), attributes(map[string]string{"system.posix_acl_access": "2", "system.posix_acl_default": "3"}), Xattrs},
		{"ACL changed", file(nil), attributes(map[string]string{"user.a": "1", "system.posix_acl_access": "9", "system.posix_acl_default": "3"}), ACL},
		{"ACL removed", file(nil), attributes(map[string]string{"user.a": "1", "system.posix_acl_access": "2"}), ACL},
		{"all attributes removed", file(nil), attributes(nil), ACL | Xattrs},
		{"directory's size and links", dir(2, 4096), dir(3, 8192), 0},
		{"link's target", link("a"), link("b"), Content},
		{"link's same target", link("a"), link("a"), 0},
		{"device's number", &Record{Mode: fs.ModeDevice, Target: "8:0"}, &Record{Mode: fs.ModeDevice, Target: "8:1"}, Content},
		{"file becomes link", file(nil), file(func(r *Record) { r.Mode, r.Summed = fs.ModeSymlink|0o644, false }), Content | Mode},
		{"unread, the same", unread(3, 6), unread(3, 6), 0},
		{"unread, another size", unread(3, 6), unread(4, 6), Content},
		{"unread, another time", unread(3, 6), unread(3, 7), Content},
		{"no longer read, same time", file(nil), unread(3, 6), 0},
		{"no longer read, another time", file(nil), unread(3, 7), Content},
	} {
		if got := Compare(tt.old, tt.new, Everything); got != tt.want {
			t.Errorf("%s: Compare = %07b, want %07b", tt.name, got, tt.want)
		}
		for bit := Content; bit <= Flags; bit <<= 1 {
			if got := Compare(tt.old, tt.new, bit); got != tt.want&bit {
				t.Errorf("%s: Compare of %07b alone = %07b, want %07b", tt.name, bit, got, tt.want&bit)
			}
		}
	}
}

func TestWhatHasRestedIsNotFresh(t *testing.T) {
	fi, err := os.Stat("/bin/sh")
	if err != nil || time.Since(time.Unix(fi.Sys().(*syscall.Stat_t).Ctim.Unix())) < fresh {
		t.Skip("needs a /bin/sh that is older than a minute")
	}
	l := newLooker(t, LookOptions{})
	path, err := filepath.EvalSymlinks("/bin/sh")
	must(t, err)
	if r := look(t, l, path); r.Flags&Fresh != 0 || !r.Summed {
		t.Errorf("/bin/sh: %+v", r)
	}
}

func BenchmarkLook(b *testing.B) {
	for _, size := range []int{0, 4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			dir := b.TempDir()
			write(b, filepath.Join(dir, "file"), strings.Repeat("x", size))
			l := newLooker(b, LookOptions{Root: dir})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Look(b.Context(), "/file"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
