package fim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// A watched is a running witness of a test, with what it has told.
type watched struct {
	*Fanotify
	t     *testing.T
	fence string // a directory that is watched only to know when all before has been told
	posts int

	mu   sync.Mutex
	news *sync.Cond
	told []Sighting
	look func(Sighting) // while it is told, if not nil
}

// watch starts a witness that tells of this process, too, with a fence on the file system of dir.
func watch(t *testing.T, o FanotifyOptions, dir string) *watched {
	t.Helper()
	o.own = true
	f, err := NewFanotify(o)
	if errors.Is(err, ErrNoFanotify) {
		t.Skipf("needs fanotify: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Fanotify: f, t: t}
	w.news = sync.NewCond(&w.mu)
	w.fence = filepath.Join(dir, "fence")
	noError(t, os.MkdirAll(w.fence, 0o755))
	noError(t, ignoring(w.add("", w.fence), ErrContentOnly))
	w.start()
	return w
}

func (w *watched) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- w.Run(ctx, func(s Sighting) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, s)
			if w.look != nil {
				w.look(s)
			}
			w.news.Broadcast()
		})
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		if err := w.Close(); err != nil {
			w.t.Error(err)
		}
	})
}

// add watches a directory of the host, or of a container whose root is the host's.
func (w *watched) add(container, dir string) error {
	w.t.Helper()
	root := openRoot(w.t, "/")
	defer unix.Close(root)
	return w.Watch(root, container, dir)
}

func openRoot(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	noError(t, err)
	return fd
}

// take returns all that has been told of what was done before, but not of the fence.
func (w *watched) take() []Sighting {
	w.t.Helper()
	for range 2 { // what the first one was told before may have left directories to be looked through
		w.posts++
		post := filepath.Join(w.fence, strconv.Itoa(w.posts))
		noError(w.t, os.WriteFile(post, []byte("x"), 0o644))
		w.until(func(s Sighting) bool { return s.Path.Name == post && s.What&SawClosed != 0 })
		w.idle()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	told := slices.DeleteFunc(w.told, func(s Sighting) bool { return strings.HasPrefix(s.Path.Name, w.fence) })
	w.told = nil
	return told
}

// until waits for a sighting.
func (w *watched) until(is func(Sighting) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !slices.ContainsFunc(w.told, is) {
		w.news.Wait()
	}
}

// idle waits until no directory is left to be looked through.
func (w *watched) idle() {
	for {
		w.Fanotify.mu.Lock()
		idle := len(w.errands) == 0 && len(w.leaving) == 0 && len(w.out) == 0 && !w.lost && !w.restoring
		w.Fanotify.mu.Unlock()
		if idle {
			return
		}
		runtime.Gosched()
	}
}

// toldOf says what was told of each path below a directory, all sightings of a path taken together.
func toldOf(told []Sighting, dir string) map[string]string {
	all := map[string]What{}
	for _, s := range told {
		name, ok := strings.CutPrefix(s.Path.Name, dir+"/")
		if !ok {
			name = s.Path.Name
		}
		if s.Path.Name == dir {
			name = "."
		}
		if s.OldPath != nil {
			name = strings.TrimPrefix(s.OldPath.Name, dir+"/") + " -> " + name
		}
		if s.Path.Container != "" {
			name = s.Path.Container + ":" + name
		}
		all[name] |= s.What
	}
	named := map[string]string{}
	for name, what := range all {
		named[name] = what.String()
	}
	return named
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ignoring(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// temporary is a directory by its real name, as it is told.
func temporary(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	noError(t, err)
	return dir
}

func mountAt(t *testing.T, source, dir, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, flags, data); err != nil {
		t.Skipf("needs to mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			t.Error(err)
		}
	})
}

// fileSystem returns a directory of a fresh file system.
func fileSystem(t *testing.T, kind string) string {
	t.Helper()
	needsRoot(t)
	dir := temporary(t)
	switch kind {
	case "tmpfs", "ramfs":
		mountAt(t, kind, dir, kind, 0, "")
	case "ext4", "xfs", "btrfs":
		mountImage(t, kind, dir)
	case "btrfs subvolume":
		mountImage(t, "btrfs", dir)
		var args [4096]byte // struct btrfs_ioctl_vol_args
		copy(args[8:], "subvolume")
		at := openRead(t, dir)
		defer unix.Close(at)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(at), 0x5000940e, uintptr(unsafe.Pointer(&args))); e != 0 {
			t.Fatal(e)
		}
		dir = filepath.Join(dir, "subvolume")
	case "overlay":
		base := fileSystem(t, "ext4")
		return mountOverlay(t, base, "1")
	}
	return dir
}

func openRead(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	noError(t, err)
	return fd
}

// mountOverlay mounts what a container has: a layer of its own over one that others have, too, with lower/shared/file.
func mountOverlay(t *testing.T, base, name string) string {
	t.Helper()
	dir := filepath.Join(base, "merged"+name)
	for _, d := range []string{"lower/shared/deeper", "upper" + name, "work" + name, "merged" + name} {
		noError(t, os.MkdirAll(filepath.Join(base, d), 0o755))
	}
	noError(t, os.WriteFile(filepath.Join(base, "lower/shared/file"), []byte("x"), 0o644))
	mountAt(t, "overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper%[2]s,workdir=%[1]s/work%[2]s", base, name))
	return dir
}

// mountImage mounts an image that the file system's own mkfs has made.
func mountImage(t *testing.T, kind, dir string) {
	t.Helper()
	packed, err := os.ReadFile("testdata/fanotify-" + kind + ".zst")
	noError(t, err)
	reader, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	noError(t, err)
	defer reader.Close()
	image, err := reader.DecodeAll(packed, nil)
	noError(t, err)
	name := filepath.Join(temporary(t), "image")
	noError(t, writeSparse(name, image))
	mountAt(t, attachLoop(t, name), dir, kind, 0, "")
}

func writeSparse(name string, image []byte) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	zero := make([]byte, 4096)
	for at := 0; at < len(image); at += len(zero) {
		if piece := image[at:min(at+len(zero), len(image))]; string(piece) != string(zero[:len(piece)]) {
			if _, err := file.WriteAt(piece, int64(at)); err != nil {
				return err
			}
		}
	}
	return file.Truncate(int64(len(image)))
}

// attachLoop makes a block device of a file.
func attachLoop(t *testing.T, name string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	defer control.Close()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	noError(t, err)
	defer file.Close()
	for range 100 { // another test may be quicker
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skipf("needs loop devices: %v", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			t.Skipf("needs loop devices: %v", err)
		}
		err = unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(file.Fd()))
		if err == unix.EBUSY {
			device.Close()
			continue
		}
		noError(t, err)
		t.Cleanup(func() {
			unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0)
			device.Close()
		})
		return device.Name()
	}
	t.Skip("needs a free loop device")
	return ""
}

// kernelRelease is the running kernel's version, 5.10 as 510.
func kernelRelease() int {
	var name unix.Utsname
	unix.Uname(&name)
	var major, minor int
	fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return major*100 + minor
}

// hasNames is whether this kernel tells of a file system by handles and names: from the table of what was tried.
func hasNames(kind string) bool {
	switch kind {
	case "overlay":
		return kernelRelease() >= 606
	case "btrfs subvolume":
		return kernelRelease() >= 608
	case "tmpfs":
		return kernelRelease() >= 513
	case "ramfs":
		return kernelRelease() >= 607
	}
	return true
}

var testedKinds = []string{"ext4", "xfs", "btrfs", "btrfs subvolume", "tmpfs", "overlay"}

func TestTruthFanotifyTellsWhatWasDoneOnEachFileSystem(t *testing.T) {
	for _, kind := range testedKinds {
		t.Run(kind, func(t *testing.T) {
			base := fileSystem(t, kind)
			dir := filepath.Join(base, "watched")
			noError(t, os.MkdirAll(filepath.Join(dir, "below"), 0o755))
			w := watch(t, FanotifyOptions{}, base)
			err := w.add("", dir)
			if !hasNames(kind) {
				if !errors.Is(err, ErrContentOnly) || !strings.Contains(err.Error(), strings.Fields(kind)[0]) {
					t.Fatalf("Watch on %s: %v, want an error that names it and is ErrContentOnly", kind, err)
				}
			} else {
				noError(t, err)
			}
			file := filepath.Join(dir, "below", "file")
			noError(t, os.WriteFile(file, []byte("x"), 0o644))
			noError(t, os.Chmod(file, 0o600))
			noError(t, os.Rename(file, file+"2"))
			noError(t, os.Mkdir(file+"s", 0o755))
			noError(t, os.WriteFile(file+"s/one", []byte("x"), 0o644))
			noError(t, os.Remove(file+"2"))
			got := toldOf(w.take(), dir)
			want := map[string]string{
				"below/file":                "created|modified|closed|attributes",
				"below/file -> below/file2": "renamed", "below/file2": "deleted",
				"below/files": "created", "below/files/one": got["below/files/one"],
			}
			if one := got["below/files/one"]; hasNames(kind) && !strings.Contains(one, "found") && !strings.Contains(one, "created") {
				t.Errorf("the first file of a new directory: %q, want it found or created", got["below/files/one"])
			}
			if !hasNames(kind) {
				// The file has another name, or none, when it is looked for at the first.
				want = map[string]string{}
				for name, what := range got {
					if name != "below/file" && name != "below/file2" || strings.Trim(what, "modifiedclosed|") != "" {
						t.Errorf("%s: %s, want only content of files", name, what)
					}
				}
				noError(t, os.WriteFile(file, []byte("x"), 0o644))
				got = toldOf(w.take(), dir)
				want = map[string]string{"below/file": "modified|closed"}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

// tried says where a way is tried: in what is watched, and in what is not, both on one file system.
type tried struct{ watched, other string }

func (d tried) file() string { return filepath.Join(d.watched, "file") }

// A fanotifyWay changes files of a directory. want is what is told of it, all that is told taken together.
type fanotifyWay struct {
	name  string
	ready func(d tried) error // what is there before
	do    func(d tried) error
	want  What
	on    func(kind string) What // what is told of it where that differs; nil if it does not
	or    What                   // may be told instead: when the kernel happens to have a name of the file at hand; 0 if nothing else may
	needs string                 // the only file systems on which it can be done; empty for all
}

var fanotifyWays = []fanotifyWay{
	{name: "create", do: func(d tried) error { return unix.Mknod(d.file(), unix.S_IFREG|0o644, 0) }, want: SawCreated},
	{name: "open with O_CREAT", do: func(d tried) error { return openClose(d.file(), unix.O_CREAT|unix.O_WRONLY) }, want: SawCreated | SawClosed},
	{name: "write", ready: someFile, do: func(d tried) error { return onFile(d.file(), unix.O_WRONLY, writeX) }, want: SawModified | SawClosed},
	{name: "write, still open", ready: someFile, do: func(d tried) error { return leaveOpen(d, writeX) }, want: SawModified},
	{name: "open for writing, not written", ready: someFile, do: func(d tried) error { return openClose(d.file(), unix.O_WRONLY) }, want: SawClosed},
	{name: "read", ready: someFile, do: func(d tried) error { return onFile(d.file(), unix.O_RDONLY, readX) }, want: 0},
	{name: "pwritev2", ready: someFile, do: func(d tried) error {
		return onFile(d.file(), unix.O_WRONLY, func(fd int) error { _, err := unix.Pwritev2(fd, [][]byte{{'y'}}, 3, 0); return err })
	}, want: SawModified | SawClosed},
	{name: "open with O_TRUNC", ready: someFile, do: func(d tried) error { return openClose(d.file(), unix.O_WRONLY|unix.O_TRUNC) }, want: SawModified | SawClosed, on: func(kind string) What { return SawClosed | onlyOn(hasNames(kind), SawModified) }},
	{name: "truncate by path", ready: someFile, do: func(d tried) error { return unix.Truncate(d.file(), 1) }, want: SawModified, on: func(kind string) What { return onlyOn(hasNames(kind), SawModified) }},
	{name: "ftruncate, still open", ready: someFile, do: func(d tried) error { return leaveOpen(d, func(fd int) error { return unix.Ftruncate(fd, 1) }) }, want: SawModified, on: func(kind string) What { return onlyOn(hasNames(kind), SawModified) }},
	{name: "fallocate, still open", ready: someFile, do: func(d tried) error {
		return leaveOpen(d, func(fd int) error { return unix.Fallocate(fd, 0, 0, 8192) })
	}, want: SawModified},
	{name: "punch a hole, still open", ready: someFile, do: func(d tried) error {
		return leaveOpen(d, func(fd int) error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
		})
	}, want: SawModified},
	{name: "copy_file_range, still open", ready: bothFiles, do: func(d tried) error { return leaveOpen(d, fromOther(d, copyRange)) }, want: SawModified},
	{name: "sendfile, still open", ready: bothFiles, do: func(d tried) error { return leaveOpen(d, fromOther(d, sendFile)) }, want: SawModified},
	{name: "splice, still open", ready: someFile, do: func(d tried) error { return leaveOpen(d, splicePipe) }, want: SawModified, on: func(kind string) What { return onlyOn(kind != "overlay" || hasNames(kind), SawModified) }},
	{name: "reflink, still open", ready: bothFiles, do: func(d tried) error { return leaveOpen(d, fromOther(d, unix.IoctlFileClone)) }, want: SawModified, needs: "xfs btrfs"},
	{name: "io_uring write, still open", ready: someFile, do: func(d tried) error { return leaveOpen(d, uringWrite) }, want: SawModified},
	{name: "io_uring write", ready: someFile, do: func(d tried) error { return onFile(d.file(), unix.O_WRONLY, uringWrite) }, want: SawModified | SawClosed},
	{name: "io_submit write, still open", ready: someFile, do: func(d tried) error { return leaveOpen(d, aioWrite) }, want: 0},
	{name: "io_submit write", ready: someFile, do: func(d tried) error { return onFile(d.file(), unix.O_WRONLY, aioWrite) }, want: SawClosed},
	{name: "write through a mapping", ready: mappedFile, do: func(d tried) error { heldOpen.maps[0][0]++; return nil }, want: 0},
	{name: "write through a mapping, synced", ready: mappedFile, do: func(d tried) error { heldOpen.maps[0][0]++; return unix.Msync(heldOpen.maps[0], unix.MS_SYNC) }, want: 0},
	{name: "write through a mapping, unmapped", ready: mappedFile, do: unmapIt, want: SawClosed, on: func(kind string) What { return onlyOn(kind != "overlay", SawClosed) }},
	{name: "write through a mapping by a process that ends", ready: someFile, do: func(d tried) error { return inAnotherProcess("map", d.file()) }, want: SawClosed},
	{name: "write by open_by_handle_at, name cached", ready: someFile, do: func(d tried) error { return byHandle(d, false) }, want: SawModified | SawClosed, needs: "ext4 xfs btrfs subvolume tmpfs"},
	{name: "write by open_by_handle_at, name not cached", ready: someFile, do: func(d tried) error { return byHandle(d, true) }, want: 0, on: func(kind string) What { return onlyOn(kind == "tmpfs", SawModified|SawClosed) }, or: SawModified | SawClosed, needs: "ext4 xfs btrfs subvolume tmpfs"},
	{name: "write by /proc/self/fd", ready: someFile, do: func(d tried) error {
		return onFile(d.file(), unix.O_RDONLY, func(fd int) error { return onFile(descriptorOf(fd), unix.O_WRONLY, writeX) })
	}, want: SawModified | SawClosed},
	{name: "write by /proc/self/root", ready: someFile, do: func(d tried) error { return onFile("/proc/self/root"+d.file(), unix.O_WRONLY, writeX) }, want: SawModified | SawClosed},
	{name: "write through a symbolic link", ready: func(d tried) error { return errors.Join(someFile(d), os.Symlink(d.file(), d.other+"/link")) },
		do: func(d tried) error { return onFile(d.other+"/link", unix.O_WRONLY, writeX) }, want: SawModified | SawClosed},
	{name: "write through a bind mount", ready: func(d tried) error { return errors.Join(someFile(d), bindWatched(d)) },
		do: func(d tried) error { return onFile(d.other+"/bound/file", unix.O_WRONLY, writeX) }, want: SawModified | SawClosed},
	{name: "write by a hard link elsewhere", ready: func(d tried) error { return errors.Join(someFile(d), os.Link(d.file(), d.other+"/link")) },
		do: func(d tried) error { return onFile(d.other+"/link", unix.O_WRONLY, writeX) }, want: SawModified | SawClosed},
	{name: "chmod by a hard link elsewhere", ready: func(d tried) error { return errors.Join(someFile(d), os.Link(d.file(), d.other+"/link")) },
		do: func(d tried) error { return os.Chmod(d.other+"/link", 0o4755) }, want: SawAttributes},
	{name: "hard link made elsewhere", ready: someFile, do: func(d tried) error { return os.Link(d.file(), d.other+"/link") }, want: 0},
	{name: "hard link made elsewhere and written", ready: someFile, do: func(d tried) error {
		return errors.Join(os.Link(d.file(), d.other+"/link"), onFile(d.other+"/link", unix.O_WRONLY, writeX))
	}, want: 0},
	{name: "hard link from elsewhere", ready: otherFile, do: func(d tried) error { return os.Link(d.other+"/file", d.watched+"/link") }, want: SawCreated},
	{name: "hard link within, written by it", ready: someFile, do: func(d tried) error {
		return errors.Join(os.Link(d.file(), d.watched+"/link"), onFile(d.watched+"/link", unix.O_WRONLY, writeX))
	}, want: SawCreated | SawModified | SawClosed},
	{name: "hard link removed elsewhere", ready: func(d tried) error { return errors.Join(someFile(d), os.Link(d.file(), d.other+"/link")) },
		do: func(d tried) error { return os.Remove(d.other + "/link") }, want: SawAttributes},
	{name: "O_TMPFILE and linkat", do: tmpFile, want: SawCreated | SawModified | SawClosed, on: func(kind string) What { return onlyOn(hasNames(kind), SawCreated|SawModified|SawClosed) }},
	{name: "symlink", do: func(d tried) error { return os.Symlink("to", d.watched+"/link") }, want: SawCreated},
	{name: "mkfifo", do: func(d tried) error { return unix.Mkfifo(d.watched+"/fifo", 0o600) }, want: SawCreated},
	{name: "mknod of a device", do: func(d tried) error { return unix.Mknod(d.watched+"/null", unix.S_IFCHR|0o600, 1<<8|3) }, want: SawCreated},
	{name: "bind a socket", do: bindSocket, want: SawCreated},
	{name: "mkdir", do: func(d tried) error { return os.Mkdir(d.watched+"/new", 0o755) }, want: SawCreated},
	{name: "rmdir", ready: func(d tried) error { return os.Mkdir(d.watched+"/old", 0o755) }, do: func(d tried) error { return os.Remove(d.watched + "/old") }, want: SawDeleted},
	{name: "unlink", ready: someFile, do: func(d tried) error { return os.Remove(d.file()) }, want: SawDeleted},
	{name: "rename within", ready: someFile, do: func(d tried) error { return os.Rename(d.file(), d.file()+"2") }, want: SawRenamed},
	{name: "rename out", ready: someFile, do: func(d tried) error { return os.Rename(d.file(), d.other+"/file") }, want: SawMovedOut},
	{name: "rename in", ready: otherFile, do: func(d tried) error { return os.Rename(d.other+"/file", d.file()) }, want: SawMovedIn},
	{name: "rename over, as editors do", ready: someFile, do: func(d tried) error {
		return errors.Join(os.WriteFile(d.file()+".new", []byte("new"), 0o644), os.Rename(d.file()+".new", d.file()))
	}, want: SawCreated | SawModified | SawClosed | SawRenamed},
	{name: "rename with RENAME_EXCHANGE", ready: bothFiles, do: func(d tried) error {
		return unix.Renameat2(unix.AT_FDCWD, d.other+"/file", unix.AT_FDCWD, d.file(), unix.RENAME_EXCHANGE)
	}, want: SawMovedIn | SawMovedOut},
	{name: "rename of a directory in", ready: func(d tried) error {
		return errors.Join(os.Mkdir(d.other+"/dir", 0o755), os.WriteFile(d.other+"/dir/one", nil, 0o644))
	}, do: func(d tried) error { return os.Rename(d.other+"/dir", d.watched+"/dir") }, want: SawMovedIn | SawFound},
	{name: "write by a descriptor from before it was moved in", ready: otherFile, do: func(d tried) error {
		return onFile(d.other+"/file", unix.O_WRONLY, func(fd int) error { return errors.Join(os.Rename(d.other+"/file", d.file()), writeX(fd)) })
	}, want: SawMovedIn | SawModified | SawClosed},
	{name: "chmod", ready: someFile, do: func(d tried) error { return os.Chmod(d.file(), 0o4755) }, want: SawAttributes},
	{name: "fchmod by a descriptor that only reads", ready: someFile, do: func(d tried) error {
		return onFile(d.file(), unix.O_RDONLY, func(fd int) error { return unix.Fchmod(fd, 0o4755) })
	}, want: SawAttributes},
	{name: "chown", ready: someFile, do: func(d tried) error { return os.Lchown(d.file(), 12, 34) }, want: SawAttributes},
	{name: "utimensat", ready: someFile, do: func(d tried) error { return os.Chtimes(d.file(), time.Unix(1, 0), time.Unix(1, 0)) }, want: SawAttributes},
	{name: "chmod of the watched directory", do: func(d tried) error { return os.Chmod(d.watched, 0o711) }, want: SawAttributes},
	{name: "setxattr", ready: someFile, do: func(d tried) error { return unix.Setxattr(d.file(), "trusted.yagura", []byte("x"), 0) }, want: SawAttributes},
	{name: "removexattr", ready: func(d tried) error {
		return errors.Join(someFile(d), unix.Setxattr(d.file(), "trusted.yagura", []byte("x"), 0))
	},
		do: func(d tried) error { return unix.Removexattr(d.file(), "trusted.yagura") }, want: SawAttributes},
	{name: "setcap", ready: someFile, do: func(d tried) error { return unix.Setxattr(d.file(), "security.capability", netRaw, 0) }, want: SawAttributes},
	{name: "setfacl", ready: someFile, do: func(d tried) error { return unix.Setxattr(d.file(), "system.posix_acl_access", aclOfUser1, 0) }, want: SawAttributes},
	{name: "chattr +i", ready: someFile, do: func(d tried) error {
		return onFile(d.file(), unix.O_RDONLY, func(fd int) error {
			return errors.Join(unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, unix.STATX_ATTR_IMMUTABLE), unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, 0))
		})
	}, want: 0, on: func(string) What { return onlyOn(kernelRelease() > 618, SawAttributes) }, needs: "ext4 xfs btrfs"},
	{name: "write through a loop device, still attached", ready: func(d tried) error { return os.WriteFile(d.file(), make([]byte, 1<<20), 0o644) },
		do: nil, want: 0, on: func(string) What { return onlyOn(kernelRelease() < 612, SawModified) }},
	{name: "mount over it", do: func(d tried) error { return mountOver(d) }, want: 0},
	{name: "write by another process", do: func(d tried) error { return inAnotherProcess("write", d.file()) }, want: SawCreated | SawModified | SawClosed},
}

func onlyOn(so bool, what What) What {
	if so {
		return what
	}
	return 0
}

func someFile(d tried) error  { return os.WriteFile(d.file(), []byte("some content"), 0o644) }
func otherFile(d tried) error { return os.WriteFile(d.other+"/file", []byte("other content"), 0o644) }
func bothFiles(d tried) error { return errors.Join(someFile(d), otherFile(d)) }

func onFile(name string, flags int, do func(fd int) error) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(fd), unix.Close(fd))
}

// heldOpen are descriptors and mappings that are to be there when the witness is asked.
var heldOpen struct {
	fds  []int
	maps [][]byte
	dirs []string
}

func letGo() {
	for _, fd := range heldOpen.fds {
		unix.Close(fd)
	}
	for _, m := range heldOpen.maps {
		unix.Munmap(m)
	}
	for _, dir := range heldOpen.dirs {
		unix.Unmount(dir, unix.MNT_DETACH)
	}
	heldOpen.fds, heldOpen.maps, heldOpen.dirs = nil, nil, nil
}

func leaveOpen(d tried, do func(fd int) error) error {
	fd, err := unix.Open(d.file(), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	heldOpen.fds = append(heldOpen.fds, fd)
	return do(fd)
}

func openClose(name string, flags int) error {
	return onFile(name, flags, func(int) error { return nil })
}
func writeX(fd int) error        { _, err := unix.Write(fd, []byte("x")); return err }
func readX(fd int) error         { _, err := unix.Read(fd, make([]byte, 10)); return err }
func descriptorOf(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func fromOther(d tried, do func(to, from int) error) func(int) error {
	return func(to int) error {
		return onFile(d.other+"/file", unix.O_RDONLY, func(from int) error { return do(to, from) })
	}
}

func copyRange(to, from int) error {
	_, err := unix.CopyFileRange(from, nil, to, nil, 5, 0)
	return err
}

func sendFile(to, from int) error {
	_, err := unix.Sendfile(to, from, nil, 5)
	return err
}

func splicePipe(to int) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if _, err := unix.Write(p[1], []byte("spliced")); err != nil {
		return err
	}
	_, err := unix.Splice(p[0], nil, to, nil, 7, 0)
	return err
}

// mappedFile leaves a mapping that can be written, of a file that is closed.
func mappedFile(d tried) error {
	return errors.Join(someFile(d), onFile(d.file(), unix.O_RDWR, func(fd int) error {
		m, err := unix.Mmap(fd, 0, 10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		heldOpen.maps = append(heldOpen.maps, m)
		return err
	}))
}

func unmapIt(tried) error {
	m := heldOpen.maps[0]
	heldOpen.maps = nil
	m[0]++
	return unix.Munmap(m)
}

// byHandle writes as NFS servers do: the file is opened by its handle, and the kernel need not know a name of it.
func byHandle(d tried, forget bool) error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, d.file(), 0)
	if err != nil {
		return err
	}
	if forget {
		unix.Sync()
		for range 3 {
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
				return err
			}
		}
	}
	return onFile(d.other, unix.O_RDONLY, func(mount int) error {
		fd, err := unix.OpenByHandleAt(mount, handle, unix.O_WRONLY|unix.O_CLOEXEC)
		if err != nil {
			return err
		}
		return errors.Join(writeX(fd), unix.Close(fd))
	})
}

func bindWatched(d tried) error {
	dir := d.other + "/bound"
	heldOpen.dirs = append(heldOpen.dirs, dir)
	return errors.Join(os.Mkdir(dir, 0o755), unix.Mount(d.watched, dir, "", unix.MS_BIND, ""))
}

func mountOver(d tried) error {
	heldOpen.dirs = append(heldOpen.dirs, d.watched)
	return unix.Mount("tmpfs", d.watched, "tmpfs", 0, "")
}

func tmpFile(d tried) error {
	return onFile(d.watched, unix.O_TMPFILE|unix.O_WRONLY, func(fd int) error {
		return errors.Join(writeX(fd), unix.Linkat(unix.AT_FDCWD, descriptorOf(fd), unix.AT_FDCWD, d.file(), unix.AT_SYMLINK_FOLLOW))
	})
}

func bindSocket(d tried) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dir, err := unix.Open(d.watched, unix.O_PATH|unix.O_CLOEXEC, 0) // the path may be too long for a socket
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: descriptorOf(dir) + "/s"})
}

// Values of extended attributes: cap_net_raw+ep as linux/capability.h has it, and user::rw- user:1:rw- group::r-- mask::rw-
// other::r-- as linux/posix_acl_xattr.h has it.
var (
	netRaw     = []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	aclOfUser1 = []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x01\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff")
)

// uringWrite writes by one entry of io_uring's queues, whose layout is that of linux/io_uring.h.
func uringWrite(fd int) error {
	var params [120]byte // struct io_uring_params
	ring, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(ring))
	at := func(i int) uint32 { return binary.NativeEndian.Uint32(params[i:]) }
	const sqOffsets, cqOffsets = 40, 80
	sq, err := unix.Mmap(int(ring), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(sq)
	cq, err := unix.Mmap(int(ring), 0x8000000, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(cq)
	entries, err := unix.Mmap(int(ring), 0x10000000, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(entries)
	data := []byte("by io_uring")
	entries[0] = 23 // IORING_OP_WRITE
	binary.NativeEndian.PutUint32(entries[4:], uint32(fd))
	binary.NativeEndian.PutUint64(entries[16:], uint64(uintptr(unsafe.Pointer(&data[0]))))
	binary.NativeEndian.PutUint32(entries[24:], uint32(len(data)))
	binary.NativeEndian.PutUint32(sq[at(sqOffsets+24):], 0) // array[0]
	binary.NativeEndian.PutUint32(sq[at(sqOffsets+4):], 1)  // tail
	const getEvents = 1
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvents, 0, 0); e != 0 {
		return e
	}
	runtime.KeepAlive(data)
	result := int32(binary.NativeEndian.Uint32(cq[at(cqOffsets+20)+8:]))
	if result != int32(len(data)) {
		return fmt.Errorf("io_uring write: %d", result)
	}
	return nil
}

// aioWrite writes by the older io_submit, whose layout is that of linux/aio_abi.h.
func aioWrite(fd int) error {
	var ctx uintptr
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&ctx)), 0); e != 0 {
		return e
	}
	defer unix.Syscall(unix.SYS_IO_DESTROY, ctx, 0, 0)
	data := []byte("by io_submit")
	var block [64]byte                           // struct iocb
	binary.NativeEndian.PutUint16(block[16:], 1) // IOCB_CMD_PWRITE
	binary.NativeEndian.PutUint32(block[20:], uint32(fd))
	binary.NativeEndian.PutUint64(block[24:], uint64(uintptr(unsafe.Pointer(&data[0]))))
	binary.NativeEndian.PutUint64(block[32:], uint64(len(data)))
	blocks := [1]*[64]byte{&block}
	if _, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, ctx, 1, uintptr(unsafe.Pointer(&blocks))); e != 0 {
		return e
	}
	var event [32]byte
	_, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, ctx, 1, 1, uintptr(unsafe.Pointer(&event)), 0, 0)
	runtime.KeepAlive(data)
	if e != 0 {
		return e
	}
	if result := int64(binary.NativeEndian.Uint64(event[16:])); result != int64(len(data)) {
		return fmt.Errorf("io_submit write: %d", result)
	}
	return nil
}

// inAnotherProcess does something in a process of its own, which is this test's program again.
func inAnotherProcess(what, name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-test.run=^TestFanotifyHelper$")
	cmd.Env = append(os.Environ(), "FANOTIFY_HELPER="+what, "FANOTIFY_FILE="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func TestFanotifyHelper(t *testing.T) {
	name := os.Getenv("FANOTIFY_FILE")
	switch os.Getenv("FANOTIFY_HELPER") {
	case "": // not started by another test
	case "write":
		noError(t, os.WriteFile(name, []byte("x"), 0o644))
	case "map":
		noError(t, onFile(name, unix.O_RDWR, func(fd int) error {
			m, err := unix.Mmap(fd, 0, 10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err == nil {
				m[0]++
			}
			return err
		}))
	}
}

func TestTruthFanotifyWays(t *testing.T) {
	for _, kind := range testedKinds {
		t.Run(kind, func(t *testing.T) {
			base := fileSystem(t, kind)
			for i, way := range fanotifyWays {
				if way.needs != "" && !strings.Contains(way.needs, kind) {
					continue
				}
				t.Run(way.name, func(t *testing.T) { tryWay(t, kind, filepath.Join(base, strconv.Itoa(i)), way) })
			}
		})
	}
}

func tryWay(t *testing.T, kind, base string, way fanotifyWay) {
	d := tried{base + "/watched", base + "/other"}
	noError(t, errors.Join(os.MkdirAll(d.watched, 0o755), os.MkdirAll(d.other, 0o755)))
	defer os.RemoveAll(base)
	if way.ready != nil {
		noError(t, way.ready(d))
	}
	defer letGo()
	w := watch(t, FanotifyOptions{}, base)
	noError(t, ignoring(w.add("", d.watched), ErrContentOnly))
	if way.do == nil {
		way.do = func(d tried) error { return onFile(attachLoop(t, d.file()), unix.O_WRONLY|unix.O_SYNC, writeX) }
	}
	if err := way.do(d); err != nil {
		t.Skipf("needs %s to be possible on %s: %v", way.name, kind, err)
	}
	var got What
	told := w.take()
	for _, s := range told {
		got |= s.What
	}
	want := way.want
	if way.on != nil {
		want = way.on(kind)
	}
	if !hasNames(kind) {
		want &= SawModified | SawClosed
	}
	t.Logf("WAY %s: %s: %v %v", kind, way.name, got, toldOf(told, d.watched))
	if got&^SawFound != want&^SawFound && (way.or == 0 || got != way.or) {
		t.Errorf("%s on %s: told %v, want %v", way.name, kind, got, want)
	}
}

// A kernel is what a witness may use of it.
type oldness struct {
	name    string
	without uint
}

// ages are this kernel, and one as old as fanotify can be that tells names.
var ages = []oldness{{"this kernel", 0}, {"Linux 5.9", unix.FAN_REPORT_TARGET_FID}}

func onExt4(t *testing.T, do func(t *testing.T, base, dir string, o FanotifyOptions)) {
	for _, age := range ages {
		t.Run(age.name, func(t *testing.T) {
			base := fileSystem(t, "ext4")
			dir := filepath.Join(base, "watched")
			noError(t, os.Mkdir(dir, 0o755))
			do(t, base, dir, FanotifyOptions{without: age.without})
		})
	}
}

func TestTruthFanotifyFindsWhatWasMadeInNewDirectories(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		w := watch(t, o, base)
		noError(t, w.add("", dir))
		var files []string
		for i := range 20 {
			deep := filepath.Join(dir, strconv.Itoa(i), "a", "b", "c")
			noError(t, os.MkdirAll(deep, 0o755))
			files = append(files, filepath.Join(deep, "file"))
			noError(t, os.WriteFile(files[i], []byte("x"), 0o644))
		}
		told := w.take()
		for _, file := range files {
			if !slices.ContainsFunc(told, func(s Sighting) bool { return s.Path.Name == file && s.What&(SawFound|SawCreated) != 0 && s.PID != 0 }) {
				t.Errorf("%s was not told", file)
			}
		}
		for _, file := range files {
			noError(t, os.WriteFile(file, []byte("y"), 0o644))
		}
		want := map[string]string{}
		for _, file := range files {
			want[strings.TrimPrefix(file, dir+"/")] = "modified|closed"
		}
		if diff := cmp.Diff(want, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told later (-want +got):\n%s", diff)
		}
		if got := w.Counts().Marks; got != 1+1+20*4 {
			t.Errorf("%d directories are marked, want 82 with the fence", got)
		}
	})
}

func TestTruthFanotifyFollowsDirectoriesThatMove(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		noError(t, os.MkdirAll(dir+"/a/b", 0o755))
		noError(t, os.WriteFile(dir+"/a/b/file", nil, 0o644))
		w := watch(t, o, base)
		noError(t, w.add("", dir))
		marks := w.Counts().Marks
		check := func(what string, do func() error, want map[string]string) {
			t.Helper()
			noError(t, do())
			if diff := cmp.Diff(want, toldOf(w.take(), dir)); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", what, diff)
			}
		}
		within := map[string]string{"a -> c": "renamed"}
		if o.without != 0 {
			within = map[string]string{"a": "moved_out", "c": "moved_in"}
		}
		check("rename within", func() error { return os.Rename(dir+"/a", dir+"/c") }, within)
		check("write after it", func() error { return os.WriteFile(dir+"/c/b/file", nil, 0o644) }, map[string]string{"c/b/file": "modified|closed"})
		check("rename out", func() error { return os.Rename(dir+"/c", base+"/c") }, map[string]string{"c": "moved_out"})
		check("write after it", func() error { return os.WriteFile(base+"/c/b/file", nil, 0o644) }, map[string]string{})
		if got := w.Counts(); got.Marks != marks-2 || got.Unresolved != 0 {
			t.Errorf("%d are marked and %d events were not resolved, want %d and 0: marks of what has gone are to go", got.Marks, got.Unresolved, marks-2)
		}
		check("rename in", func() error { return os.Rename(base+"/c", dir+"/d") }, map[string]string{"d": "moved_in", "d/b": "found", "d/b/file": "found"})
		check("write after it", func() error { return os.WriteFile(dir+"/d/b/file", nil, 0o644) }, map[string]string{"d/b/file": "modified|closed"})
		check("delete", func() error { return os.RemoveAll(dir + "/d") }, map[string]string{"d": "deleted", "d/b": "deleted", "d/b/file": "deleted"})
		if got := w.Counts().Marks; got != marks-2 {
			t.Errorf("%d are marked, want %d", got, marks-2)
		}
	})
}

func TestTruthFanotifyKnowsDirectoriesThatChangePlaces(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		for _, d := range []string{"one", "two"} {
			noError(t, os.MkdirAll(filepath.Join(dir, d, "deep"), 0o755))
			noError(t, os.WriteFile(filepath.Join(dir, d, "deep", "in "+d), nil, 0o644))
		}
		w := watch(t, o, base)
		noError(t, w.add("", dir))
		noError(t, unix.Renameat2(unix.AT_FDCWD, dir+"/one", unix.AT_FDCWD, dir+"/two", unix.RENAME_EXCHANGE))
		w.take()
		noError(t, os.WriteFile(dir+"/one/deep/in two", nil, 0o644))
		noError(t, os.WriteFile(dir+"/two/deep/in one", nil, 0o644))
		want := map[string]string{"one/deep/in two": "modified|closed", "two/deep/in one": "modified|closed"}
		if diff := cmp.Diff(want, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// Many processes do what they like to a tree; when they have stopped, everything must still be told by its right name.
func TestTruthFanotifyStillKnowsAllNamesAfterAStorm(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		noError(t, os.Mkdir(base+"/outside", 0o755))
		w := watch(t, o, base)
		noError(t, w.add("", dir))
		var storm sync.WaitGroup
		for seed := range uint64(4) {
			storm.Go(func() { rage(dir, base+"/outside", seed, 400) })
		}
		storm.Wait()
		w.take()
		want := map[string]string{}
		noError(t, filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				file := filepath.Join(name, "mark")
				want[strings.TrimPrefix(file, dir+"/")] = "created|closed"
				err = os.WriteFile(file, nil, 0o644)
			}
			return err
		}))
		got := toldOf(w.take(), dir)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("told of %d directories (-want +got):\n%s", len(want), diff)
		}
		if got, want := w.Counts().Marks, len(want)+1; got != want {
			t.Errorf("%d are marked, want %d with the fence", got, want)
		}
	})
}

// rage makes, moves, exchanges and removes directories at random.
func rage(dir, outside string, seed uint64, times int) {
	random := rand.New(rand.NewPCG(seed, 1))
	some := func() string {
		name := dir
		for range 1 + random.IntN(3) {
			name = filepath.Join(name, string(rune('a'+random.IntN(3))))
		}
		return name
	}
	for range times {
		switch random.IntN(8) {
		case 0, 1, 2:
			os.MkdirAll(some(), 0o755)
		case 3:
			os.Rename(some(), some())
		case 4:
			unix.Renameat2(unix.AT_FDCWD, some(), unix.AT_FDCWD, some(), unix.RENAME_EXCHANGE)
		case 5:
			os.Remove(some())
		case 6:
			os.Rename(some(), filepath.Join(outside, strconv.Itoa(random.IntN(5))))
		case 7:
			os.Rename(filepath.Join(outside, strconv.Itoa(random.IntN(5))), some())
		}
	}
}

func TestTruthFanotifyTellsAnyName(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		names := []string{"new\nline", "\xff\xfe", "gone (deleted)", " ", "\\040", strings.Repeat("long", 63) + "est"}
		w := watch(t, o, base)
		noError(t, w.add("", dir))
		want := map[string]string{}
		for _, name := range names {
			noError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
			w.take()
		}
		for _, name := range names {
			noError(t, os.WriteFile(filepath.Join(dir, name, name), nil, 0o644))
			want[name+"/"+name] = "created|closed"
		}
		if diff := cmp.Diff(want, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestTruthFanotifyWaitsForDirectoriesThatAreNotThere(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		w := watch(t, o, base)
		home := dir + "/home/.ssh"
		noError(t, w.add("", home))
		check := func(what string, do func() error, want map[string]string) {
			t.Helper()
			noError(t, do())
			if diff := cmp.Diff(want, toldOf(w.take(), home)); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", what, diff)
			}
		}
		check("make the first", func() error { return os.Mkdir(dir+"/home", 0o755) }, map[string]string{".": "created"})
		check("make the last", func() error { return os.Mkdir(home, 0o755) }, map[string]string{".": "created"})
		check("write", func() error { return os.WriteFile(home+"/keys", nil, 0o644) }, map[string]string{"keys": "created|closed"})
		check("move the first away", func() error { return os.Rename(dir+"/home", dir+"/away") }, map[string]string{".": "moved_out"})
		check("write there", func() error { return os.WriteFile(dir+"/away/.ssh/keys", nil, 0o644) }, map[string]string{})
		check("move it back", func() error { return os.Rename(dir+"/away", dir+"/home") }, map[string]string{".": "moved_in", "keys": "found"})
		check("delete all", func() error { return os.RemoveAll(dir + "/home") }, map[string]string{".": "deleted", "keys": "deleted"})
		noError(t, errors.Join(os.MkdirAll(home, 0o755), os.WriteFile(home+"/keys", nil, 0o644)))
		if got := toldOf(w.take(), home); got["."] != "created" || !strings.Contains(got["keys"], "found") && !strings.Contains(got["keys"], "created") {
			t.Errorf("make all: told %v, want the directory created, and the file created or found", got)
		}
		check("write again", func() error { return os.WriteFile(home+"/keys", nil, 0o644) }, map[string]string{"keys": "modified|closed"})
	})
}

// As Kubernetes changes what is in a volume of a ConfigMap.
func TestTruthFanotifyFollowsLinksThatAreReplaced(t *testing.T) {
	onExt4(t, func(t *testing.T, base, dir string, o FanotifyOptions) {
		for _, d := range []string{"v1", "v2"} {
			noError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
			noError(t, os.WriteFile(filepath.Join(dir, d, "config"), nil, 0o644))
		}
		noError(t, os.Symlink("v1", dir+"/data"))
		noError(t, os.Symlink(dir+"/data", base+"/link"))
		w := watch(t, o, base)
		noError(t, w.add("", base+"/link"))
		noError(t, os.WriteFile(dir+"/v1/config", nil, 0o644))
		noError(t, os.WriteFile(dir+"/v2/config", nil, 0o644))
		if diff := cmp.Diff(map[string]string{"v1/config": "modified|closed"}, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		noError(t, os.Symlink("v2", dir+"/new"))
		noError(t, os.Rename(dir+"/new", dir+"/data"))
		if diff := cmp.Diff(map[string]string{"v1": "moved_in", "v2/config": "found"}, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told of another link (-want +got):\n%s", diff)
		}
		noError(t, os.WriteFile(dir+"/v1/config", nil, 0o644))
		noError(t, os.WriteFile(dir+"/v2/config", nil, 0o644))
		if diff := cmp.Diff(map[string]string{"v2/config": "modified|closed"}, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told after it (-want +got):\n%s", diff)
		}
	})
}

func TestTruthFanotifyTellsWhenItHasLostEvents(t *testing.T) {
	needsRoot(t)
	base := fileSystem(t, "ext4")
	if kernelRelease() >= 513 {
		base = fileSystem(t, "tmpfs")
	}
	dir := filepath.Join(base, "watched")
	noError(t, os.MkdirAll(dir+"/much", 0o755))
	w := watch(t, FanotifyOptions{}, base)
	noError(t, w.add("", dir))
	w.mu.Lock() // the sink waits for it, and what is done now fills the kernel's queue
	for i := range 20_000 {
		name := filepath.Join(dir, "much", strconv.Itoa(i%1000))
		if i/1000%2 == 0 {
			noError(t, unix.Mknod(name, unix.S_IFREG|0o600, 0))
		} else {
			noError(t, os.Remove(name))
		}
		if i%1000 == 0 {
			noError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("once", i)), nil, 0o600)) // so that events cannot be merged
		}
	}
	for i := range 20_000 {
		noError(t, os.Mkdir(filepath.Join(dir, "much", "dir"), 0o700))
		noError(t, os.Remove(filepath.Join(dir, "much", "dir")))
		if w.Fanotify.mu.TryLock() {
			lost := w.counts.Overflows
			w.Fanotify.mu.Unlock()
			if lost > 0 && i > 17000 {
				break
			}
		}
	}
	noError(t, os.MkdirAll(dir+"/late/deep", 0o755))
	w.mu.Unlock()
	w.until(func(s Sighting) bool { return s.Overflow && s.Path == Path{} })
	if w.Counts().Overflows == 0 {
		t.Error("no overflow was counted")
	}
	w.take()
	noError(t, os.WriteFile(dir+"/late/deep/file", nil, 0o644))
	if diff := cmp.Diff(map[string]string{"late/deep/file": "created|closed"}, toldOf(w.take(), dir)); diff != "" {
		t.Errorf("told of a directory that was made meanwhile (-want +got):\n%s", diff)
	}
}

func TestFanotifyLeavesItsOwnProcessOut(t *testing.T) {
	needsRoot(t)
	dir := temporary(t)
	w := watch(t, FanotifyOptions{}, temporary(t))
	noError(t, w.add("", dir))
	w.Fanotify.mu.Lock()
	w.self = os.Getpid()
	w.Fanotify.mu.Unlock()
	noError(t, os.WriteFile(dir+"/own", nil, 0o644))
	noError(t, os.Mkdir(dir+"/new", 0o755))
	noError(t, inAnotherProcess("write", dir+"/new/theirs"))
	w.until(func(s Sighting) bool { return s.Path.Name == dir+"/new/theirs" && s.What&SawClosed != 0 })
	for _, s := range w.told {
		if s.PID == uint32(os.Getpid()) || s.PID == 0 {
			t.Errorf("told of %s by %d, who is ourselves or nobody", s.Path.Name, s.PID)
		}
	}
}

func TestFanotifyHoldsTheProcessWhileItIsTold(t *testing.T) {
	needsRoot(t)
	dir := temporary(t)
	w := watch(t, FanotifyOptions{PIDFD: true}, temporary(t))
	noError(t, w.add("", dir))
	alive := make(chan error, 10)
	w.mu.Lock()
	w.look = func(s Sighting) {
		if s.PIDFD < 0 {
			alive <- errors.New("no pidfd")
			return
		}
		alive <- unix.PidfdSendSignal(s.PIDFD, 0, nil, 0)
	}
	w.mu.Unlock()
	noError(t, os.WriteFile(dir+"/file", nil, 0o644))
	if err := <-alive; err != nil {
		if kernelRelease() < 515 {
			t.Skip("needs 5.15: pidfd of who did it")
		}
		t.Error(err)
	}
	w.take()
}

func TestTruthFanotifyTellsEachNameOfASharedDirectory(t *testing.T) {
	base := fileSystem(t, "ext4")
	volume, inside := base+"/volume", base+"/root/data"
	noError(t, errors.Join(os.Mkdir(volume, 0o755), os.MkdirAll(inside, 0o755)))
	mountAt(t, volume, inside, "", unix.MS_BIND, "")
	w := watch(t, FanotifyOptions{}, base)
	noError(t, w.add("", volume))
	noError(t, w.add("", inside))
	root := openRoot(t, base+"/root")
	noError(t, w.Watch(root, "c1", "/data"))
	noError(t, w.Watch(root, "c1", "/")) // which has /data in it, that is not to be told twice
	noError(t, w.Watch(root, "c2", "/data"))
	unix.Close(root)
	noError(t, os.Mkdir(volume+"/new", 0o755))
	w.take()
	noError(t, os.WriteFile(volume+"/new/file", nil, 0o644))
	want := map[string]string{"volume/new/file": "created|closed", "root/data/new/file": "created|closed", "c1:/data/new/file": "created|closed", "c2:/data/new/file": "created|closed"}
	told := w.take()
	if diff := cmp.Diff(want, toldOf(told, base)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for i, s := range told {
		if slices.ContainsFunc(told[:i], func(before Sighting) bool { return before.Path == s.Path && before.What&s.What != 0 }) {
			t.Errorf("%v was told twice: %v", s.Path, told)
		}
	}
	w.Unwatch("c1")
	noError(t, os.WriteFile(volume+"/new/file", nil, 0o644))
	want = map[string]string{"volume/new/file": "modified|closed", "root/data/new/file": "modified|closed", "c2:/data/new/file": "modified|closed"}
	if diff := cmp.Diff(want, toldOf(w.take(), base)); diff != "" {
		t.Errorf("told without c1 (-want +got):\n%s", diff)
	}
}

// Two containers of one image have the same directories below, which are known by the same handles.
func TestTruthFanotifyTellsContainersOfOneImageApart(t *testing.T) {
	base := fileSystem(t, "ext4")
	roots := map[string]string{"c1": mountOverlay(t, base, "1"), "c2": mountOverlay(t, base, "2")}
	w := watch(t, FanotifyOptions{}, base)
	for container, dir := range roots {
		root := openRoot(t, dir)
		noError(t, ignoring(w.Watch(root, container, "/shared"), ErrContentOnly))
		unix.Close(root)
	}
	noError(t, os.WriteFile(roots["c1"]+"/shared/deeper/new", []byte("x"), 0o644)) // copies the directory up
	noError(t, os.WriteFile(roots["c1"]+"/shared/file", []byte("y"), 0o644))       // and the file
	want := map[string]string{"c1:/shared/deeper/new": "created|modified|closed", "c1:/shared/file": "modified|closed"}
	if !hasNames("overlay") {
		want["c1:/shared/deeper/new"] = "modified|closed"
	}
	if diff := cmp.Diff(want, toldOf(w.take(), base)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	noError(t, os.WriteFile(roots["c1"]+"/shared/file", []byte("y"), 0o644))
	noError(t, os.WriteFile(roots["c2"]+"/shared/file", []byte("z"), 0o644))
	want = map[string]string{"c1:/shared/file": "modified|closed", "c2:/shared/file": "modified|closed"}
	if diff := cmp.Diff(want, toldOf(w.take(), base)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// Whoever may write to the directories that an overlay is made of changes a container's files unseen, unless those are watched.
func TestTruthFanotifySeesNothingDoneBehindAnOverlay(t *testing.T) {
	base := fileSystem(t, "ext4")
	merged := mountOverlay(t, base, "1")
	noError(t, os.WriteFile(merged+"/shared/mine", []byte("x"), 0o644))
	w := watch(t, FanotifyOptions{}, base)
	noError(t, ignoring(w.add("", merged), ErrContentOnly))
	noError(t, os.WriteFile(base+"/upper1/shared/mine", []byte("changed"), 0o644))
	noError(t, os.WriteFile(base+"/lower/shared/file", []byte("changed"), 0o644))
	if diff := cmp.Diff(map[string]string{}, toldOf(w.take(), merged)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	noError(t, w.add("", base+"/upper1"))
	noError(t, os.WriteFile(base+"/upper1/shared/mine", []byte("changed"), 0o644))
	if diff := cmp.Diff(map[string]string{"shared/mine": "modified|closed"}, toldOf(w.take(), base+"/upper1")); diff != "" {
		t.Errorf("told where the layer is watched (-want +got):\n%s", diff)
	}
}

func TestFanotifyEntersWhatIsWanted(t *testing.T) {
	needsRoot(t)
	dir := temporary(t)
	noError(t, os.MkdirAll(dir+"/skipped/below", 0o755))
	w := watch(t, FanotifyOptions{Enter: func(p Path) bool { return !strings.HasSuffix(p.Name, "/skipped") }}, temporary(t))
	noError(t, w.add("", dir))
	noError(t, os.WriteFile(dir+"/skipped/below/file", nil, 0o644))
	noError(t, os.WriteFile(dir+"/skipped/file", nil, 0o644))
	noError(t, os.Chmod(dir+"/skipped", 0o700))
	if diff := cmp.Diff(map[string]string{"skipped": "attributes"}, toldOf(w.take(), dir)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	noError(t, os.Rename(dir+"/skipped", dir+"/wanted"))
	w.take()
	noError(t, os.WriteFile(dir+"/wanted/below/file", nil, 0o644))
	if diff := cmp.Diff(map[string]string{"wanted/below/file": "modified|closed"}, toldOf(w.take(), dir)); diff != "" {
		t.Errorf("told by its new name (-want +got):\n%s", diff)
	}
	noError(t, os.Rename(dir+"/wanted", dir+"/skipped"))
	w.take()
	noError(t, os.WriteFile(dir+"/skipped/below/file", nil, 0o644))
	if diff := cmp.Diff(map[string]string{}, toldOf(w.take(), dir)); diff != "" {
		t.Errorf("told by its old name (-want +got):\n%s", diff)
	}
	if got := w.Counts(); got.Marks != 2 || got.Unresolved != 0 {
		t.Errorf("%d are marked, want 2, and %d events were not resolved, want none", got.Marks, got.Unresolved)
	}
}

func TestTruthFanotifyTellsOfFilesMarkedAloneByAnyName(t *testing.T) {
	base := fileSystem(t, "ext4")
	dir := base + "/watched"
	noError(t, os.Mkdir(dir, 0o755))
	noError(t, os.WriteFile(dir+"/file", nil, 0o644))
	w := watch(t, FanotifyOptions{Alone: func(Path) bool { return true }}, base)
	noError(t, w.add("", dir))
	noError(t, os.WriteFile(dir+"/later", nil, 0o644))
	w.take()
	for _, name := range []string{"file", "later"} {
		noError(t, os.Link(filepath.Join(dir, name), base+"/elsewhere"))
		if diff := cmp.Diff(map[string]string{name: "attributes"}, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told of a link to it elsewhere (-want +got):\n%s", diff)
		}
		noError(t, os.WriteFile(base+"/elsewhere", []byte("x"), 0o644))
		noError(t, os.Remove(base+"/elsewhere"))
		if diff := cmp.Diff(map[string]string{name: "modified|closed|attributes"}, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told of writing by it (-want +got):\n%s", diff)
		}
	}
	// As NFS servers write, when no name is known to the kernel.
	noError(t, byHandle(tried{dir, base}, true))
	if diff := cmp.Diff(map[string]string{"file": "modified|closed"}, toldOf(w.take(), dir)); diff != "" {
		t.Errorf("told of writing by a handle (-want +got):\n%s", diff)
	}
}

func TestFanotifyUnwatchLeavesNothingOpen(t *testing.T) {
	needsRoot(t)
	dir := fileSystem(t, "tmpfs")
	noError(t, os.MkdirAll(dir+"/a/b", 0o755))
	w := watch(t, FanotifyOptions{}, temporary(t))
	root := openRoot(t, dir)
	noError(t, w.Watch(root, "c", "/a"))
	unix.Close(root)
	if err := unix.Unmount(dir, 0); err != unix.EBUSY {
		t.Errorf("unmount of a container's root that is watched: %v, want it busy", err)
	}
	w.Unwatch("c")
	if got := w.Counts().Marks; got != 1 {
		t.Errorf("%d are marked, want only the fence", got)
	}
	noError(t, w.add("", dir+"/a"))
	if err := unix.Unmount(dir, 0); err != nil {
		t.Errorf("unmount below the host's root: %v, want it not to be in use", err)
	}
}

func TestFanotifySaysWhatItDoesNotMark(t *testing.T) {
	needsRoot(t)
	t.Run("limit", func(t *testing.T) {
		dir := temporary(t)
		noError(t, os.MkdirAll(dir+"/a/b/c", 0o755))
		w := watch(t, FanotifyOptions{MaxMarks: 3}, temporary(t))
		noError(t, w.add("", dir))
		noError(t, w.add("", dir)) // which loses none of those that are marked
		if got := w.Counts(); got.Marks != 3 || got.NotMarked["limit"] != 2 {
			t.Errorf("%d marks, not marked %v, want 3, and twice 1 for the limit", got.Marks, got.NotMarked)
		}
		noError(t, os.WriteFile(dir+"/a/file", nil, 0o644))
		if diff := cmp.Diff(map[string]string{"a/file": "created|closed"}, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if err := w.add("", temporary(t)); err == nil {
			t.Error("Watch beyond the limit: no error")
		}
	})
	t.Run("long names", func(t *testing.T) {
		dir := temporary(t)
		at := openRead(t, dir)
		for range 20 {
			noError(t, unix.Mkdirat(at, strings.Repeat("x", 250), 0o755))
			next, err := unix.Openat(at, strings.Repeat("x", 250), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			noError(t, err)
			unix.Close(at)
			at = next
		}
		unix.Close(at)
		w := watch(t, FanotifyOptions{}, temporary(t))
		noError(t, w.add("", dir))
		if got := w.Counts(); got.NotMarked["name too long"] != 1 {
			t.Errorf("not marked: %v, want 1 whose name is too long", got.NotMarked)
		}
	})
	t.Run("left out", func(t *testing.T) {
		dir := temporary(t)
		noError(t, os.Mkdir(dir+"/proc", 0o755))
		mountAt(t, "proc", dir+"/proc", "proc", 0, "")
		w := watch(t, FanotifyOptions{}, temporary(t))
		noError(t, w.add("", dir))
		if got := w.Counts(); got.Marks != 2 || got.NotMarked["left out on proc"] != 1 {
			t.Errorf("%d marks, not marked %v, want 2 with the fence, and 1 left out", got.Marks, got.NotMarked)
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		w := watch(t, FanotifyOptions{}, temporary(t))
		if err := w.add("", "/etc/passwd"); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("Watch of a file: %v, want ENOTDIR", err)
		}
		if err := w.add("", "etc"); err == nil {
			t.Error("Watch of a relative path: no error")
		}
	})
	t.Run("content only", func(t *testing.T) {
		dir := temporary(t)
		noError(t, os.Mkdir(dir+"/sub", 0o755))
		noError(t, os.WriteFile(dir+"/sub/file", nil, 0o644))
		noError(t, os.Link(dir+"/sub/file", dir+"/linked"))
		other := temporary(t)
		noError(t, os.Link(dir+"/linked", other+"/elsewhere"))
		w := watch(t, FanotifyOptions{without: unix.FAN_REPORT_FID}, temporary(t))
		if err := w.add("", dir); !errors.Is(err, ErrContentOnly) || !strings.Contains(err.Error(), fileSystemOf(openRead(t, dir))) {
			t.Errorf("Watch where there are no handles: %v, want ErrContentOnly, and the name of the file system", err)
		}
		noError(t, os.WriteFile(dir+"/sub/alone", []byte("x"), 0o644))
		noError(t, os.WriteFile(other+"/elsewhere", []byte("x"), 0o644))
		want := map[string]string{"sub/alone": "modified|closed", "sub/file": "modified|closed", "linked": "modified|closed"}
		if diff := cmp.Diff(want, toldOf(w.take(), dir)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// A directory that vanishes before it could be marked, or looked through, is nothing to warn of.
func TestFanotifyIsQuietAboutWhatHasVanished(t *testing.T) {
	needsRoot(t)
	dir := temporary(t)
	doomed := filepath.Join(dir, "d", "doomed")
	noError(t, os.MkdirAll(doomed, 0o755))
	var log syncedText
	vanished := false
	w := watch(t, FanotifyOptions{Log: slog.New(slog.NewTextHandler(&log, nil)), Enter: func(p Path) bool {
		if p.Name == doomed { // which is open by now
			vanished = os.Remove(doomed) == nil
		}
		return true
	}}, dir)
	noError(t, w.add("", filepath.Join(dir, "d")))
	w.take()
	if !vanished {
		t.Fatal("the directory was not removed when it was about to be marked")
	}
	if log.String() != "" || len(w.Counts().NotMarked) != 0 {
		t.Errorf("not marked %v, and it logs %s", w.Counts().NotMarked, log.String())
	}
}

// A syncedText is a log that is read while it is written.
type syncedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *syncedText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *syncedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestFanotifyTellsOfDirectoriesTooLargeToTell(t *testing.T) {
	needsRoot(t)
	dir := fileSystem(t, "tmpfs")
	noError(t, os.MkdirAll(dir+"/watched", 0o755))
	noError(t, os.Mkdir(dir+"/large", 0o755))
	for i := range maxFound + 1 {
		noError(t, unix.Mknod(filepath.Join(dir, "large", strconv.Itoa(i)), unix.S_IFREG|0o600, 0))
	}
	w := watch(t, FanotifyOptions{}, dir)
	noError(t, w.add("", dir+"/watched"))
	noError(t, os.Rename(dir+"/large", dir+"/watched/large"))
	w.until(func(s Sighting) bool { return s.Overflow && s.Path.Name == dir+"/watched/large" })
}

func TestFanotifyLeavesNoGoroutineBehind(t *testing.T) {
	needsRoot(t)
	others := goleak.IgnoreCurrent()
	t.Run("running", func(t *testing.T) {
		w := watch(t, FanotifyOptions{}, temporary(t))
		noError(t, w.add("", temporary(t)))
		w.take()
	})
	goleak.VerifyNone(t, others)
}

// event makes what the kernel would: linux/fanotify.h.
func kernelEvent(mask uint64, pid int32, records ...[]byte) []byte {
	info := slices.Concat(records...)
	b := binary.NativeEndian.AppendUint32(nil, uint32(24+len(info)))
	b = append(b, 3, 0)
	b = binary.NativeEndian.AppendUint16(b, 24)
	b = binary.NativeEndian.AppendUint64(b, mask)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // FAN_NOFD
	return append(binary.NativeEndian.AppendUint32(b, uint32(pid)), info...)
}

func infoRecord(kind byte, body []byte) []byte {
	b := binary.NativeEndian.AppendUint16([]byte{kind, 0}, uint16(4+len(body)))
	return append(b, body...)
}

func handleOf(key, name string) []byte {
	b := append([]byte(key), name...)
	return append(b, make([]byte, 4-len(b)%4)...)
}

func testKey(handle string) string {
	b := binary.NativeEndian.AppendUint32([]byte("fs-id-8b"), uint32(len(handle)))
	return string(binary.NativeEndian.AppendUint32(b, 1)) + handle
}

func TestParseNotices(t *testing.T) {
	dir, other, file := testKey("directory"), testKey("other"), testKey("f")
	good := slices.Concat(
		kernelEvent(unix.FAN_MODIFY|unix.FAN_CLOSE_WRITE, 42, infoRecord(2, handleOf(dir, "name")), infoRecord(1, handleOf(file, "")), infoRecord(4, []byte{7, 0, 0, 0})),
		kernelEvent(unix.FAN_Q_OVERFLOW, 0),
		kernelEvent(unix.FAN_RENAME, 43, infoRecord(10, handleOf(dir, "old")), infoRecord(12, handleOf(other, "new")), infoRecord(99, []byte("unknown"))),
	)
	var got []string
	err := parseNotices(good, func(n *notice) {
		got = append(got, fmt.Sprintf("%#x by %d (%d): %q %q, %q %q, %q %q, %q", n.mask, n.pid, n.pidfd, n.dir, n.name, n.from, n.fromName, n.to, n.toName, n.object))
	})
	want := []string{
		fmt.Sprintf(`0xa by 42 (7): %q "name", "" "", "" "", %q`, dir, file),
		`0x4000 by 0 (-1): "" "", "" "", "" "", ""`,
		fmt.Sprintf(`0x10000000 by 43 (-1): "" "", %q "old", %q "new", ""`, dir, other),
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, told (-want +got):\n%s", err, diff)
	}
	long := testKey("x")
	long = long[:8] + "\xff\xff\xff\xff" + long[12:]
	old := kernelEvent(unix.FAN_MODIFY, 1)
	old[4] = 2
	for name, bad := range map[string]struct {
		events []byte
		want   string
	}{
		"short":             {good[:20], "fanotify event at byte 0: 20 bytes, want at least 24"},
		"second is cut off": {good[:len(good)-1], "with a head of 24, want them within"},
		"version":           {old, "version 2, want 3"},
		"record too short":  {kernelEvent(1, 1, []byte{1, 0}), "record of 2 bytes, want at least 4"},
		"record too long":   {kernelEvent(1, 1, []byte{1, 0, 200, 0}), "record of kind 1 has 200 bytes, want 4 to 4"},
		"record of nothing": {kernelEvent(1, 1, []byte{1, 0, 0, 0}), "record of kind 1 has 0 bytes"},
		"no handle":         {kernelEvent(1, 1, infoRecord(1, []byte("short"))), "record of kind 1: handle of 5 bytes, want at least 16"},
		"handle too long":   {kernelEvent(1, 1, infoRecord(2, []byte(long))), "record of kind 2: handle of 4294967295 bytes, want at most 1"},
		"pidfd too short":   {kernelEvent(1, 1, infoRecord(4, []byte{1})), "pidfd of 1 bytes, want 4"},
	} {
		if err := parseNotices(bad.events, func(*notice) {}); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %q", name, err, bad.want)
		}
	}
}

func FuzzParseNotices(f *testing.F) {
	key := testKey("directory")
	f.Add(kernelEvent(unix.FAN_MODIFY, 42, infoRecord(2, handleOf(key, "name")), infoRecord(1, handleOf(key, "")), infoRecord(4, []byte{7, 0, 0, 0})))
	f.Add(kernelEvent(unix.FAN_RENAME, 43, infoRecord(10, handleOf(key, "old")), infoRecord(12, handleOf(key, "new"))))
	f.Add(kernelEvent(unix.FAN_Q_OVERFLOW, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		err := parseNotices(b, func(n *notice) {
			size += 24 + len(n.dir) + len(n.name) + len(n.from) + len(n.fromName) + len(n.to) + len(n.toName) + len(n.object)
		})
		if err == nil && size > len(b) {
			t.Errorf("%d bytes were taken from %d", size, len(b))
		}
	})
}

// unqueuedWitness is one whose groups have no queue: what it knows of is a directory /etc that is marked.
func unqueuedWitness() (*Fanotify, *notice) {
	f := &Fanotify{
		self: -1, realms: map[string]*realm{}, objects: map[string]*object{}, names: map[spotName]*spot{}, trails: map[string]map[string][]*aim{},
		counts: Counts{NotMarked: map[string]uint64{}}, logged: map[string]bool{}, o: FanotifyOptions{MaxMarks: 10, Log: slog.New(slog.DiscardHandler)},
	}
	r := &realm{root: -1}
	top := &spot{realm: r, name: "/etc", open: true}
	f.chain(top, testKey("etc"), false)
	sub := &spot{realm: r, open: true}
	f.chain(sub, testKey("ssh"), false)
	f.place(sub, top, "ssh")
	return f, &notice{mask: unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE, file: -1, pid: 42, pidfd: -1, dir: []byte(testKey("ssh")), name: []byte("sshd_config"), object: []byte(testKey("file"))}
}

func TestFanotifyAllocatesOnlyPaths(t *testing.T) {
	f, n := unqueuedWitness()
	f.take(n)
	if got := f.out[0].Path.Name; got != "/etc/ssh/sshd_config" {
		t.Fatalf("path %q", got)
	}
	got := testing.AllocsPerRun(1000, func() {
		f.out = f.out[:0]
		f.take(n)
	})
	if got != 1 {
		t.Errorf("%v allocations for an event, want 1 for its path", got)
	}
}

func BenchmarkFanotifyTake(b *testing.B) {
	f, _ := unqueuedWitness()
	e := kernelEvent(unix.FAN_MODIFY|unix.FAN_CLOSE_WRITE, 42, infoRecord(2, handleOf(testKey("ssh"), "sshd_config")), infoRecord(1, handleOf(testKey("file"), "")))
	b.ReportAllocs()
	for b.Loop() {
		f.out = f.out[:0]
		if err := parseNotices(e, f.take); err != nil {
			b.Fatal(err)
		}
	}
}

// What Watch costs for each directory, and what is kept of it.
func BenchmarkFanotifyWatch(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	base := b.TempDir()
	const directories = 5000
	for i := range directories {
		if err := os.MkdirAll(filepath.Join(base, strconv.Itoa(i/100), strconv.Itoa(i)), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(root)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		f, err := NewFanotify(FanotifyOptions{})
		if err != nil {
			b.Skip("needs fanotify:", err)
		}
		began := time.Now()
		if err := f.Watch(root, "", base); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		marks := f.Counts().Marks
		b.ReportMetric(float64(took.Nanoseconds())/float64(marks), "ns/directory")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(marks), "B/directory")
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// What 20,000 changes a second to a tree cost who makes them and us, when another tree is watched, and when that one is.
func BenchmarkFanotifyUnwatchedTree(b *testing.B) {
	for _, which := range []string{"nothing", "another tree", "this tree", "this tree, files made and deleted"} {
		b.Run(which, func(b *testing.B) { benchmarkChanges(b, which) })
	}
}

func benchmarkChanges(b *testing.B, which string) {
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	base, watched := b.TempDir(), b.TempDir()
	for i := range 100 {
		if err := errors.Join(os.Mkdir(filepath.Join(base, strconv.Itoa(i)), 0o755), os.Mkdir(filepath.Join(watched, strconv.Itoa(i)), 0o755)); err != nil {
			b.Fatal(err)
		}
	}
	f, err := NewFanotify(FanotifyOptions{own: true})
	if err != nil {
		b.Skip("needs fanotify:", err)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(root)
	switch which {
	case "another tree":
		err = f.Watch(root, "", watched)
	case "this tree", "this tree, files made and deleted":
		err = f.Watch(root, "", base)
	}
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	used := make(chan time.Duration)
	go func() {
		runtime.LockOSThread()
		began := threadCPU()
		if err := f.Run(ctx, func(Sighting) {}); err != nil {
			b.Error(err)
		}
		used <- threadCPU() - began
	}()
	began, cpu, changes := time.Now(), threadCPU(), 0
	before := ""
	runtime.LockOSThread()
	cpu = threadCPU()
	for b.Loop() {
		for range 200 {
			name := filepath.Join(base, strconv.Itoa(changes%100), strconv.Itoa(changes%1000))
			if err := onFile(name, unix.O_CREAT|unix.O_WRONLY, writeX); err != nil {
				b.Fatal(err)
			}
			if strings.HasSuffix(which, "deleted") && changes%2 == 1 {
				if err := errors.Join(os.Remove(name), os.Remove(before)); err != nil {
					b.Fatal(err)
				}
			}
			before = name
			changes++
		}
		time.Sleep(time.Until(began.Add(time.Duration(changes) * time.Second / 20_000)))
	}
	cpu = threadCPU() - cpu
	took := time.Since(began)
	runtime.UnlockOSThread()
	cancel()
	b.ReportMetric(100*(<-used).Seconds()/took.Seconds(), "%core-ours")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(changes), "ns-theirs/change")
	b.ReportMetric(float64(changes)/took.Seconds(), "changes/s")
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

func threadCPU() time.Duration {
	var usage unix.Rusage
	unix.Getrusage(unix.RUSAGE_THREAD, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestTruthMountsTellsWhatIsMountedAndUnmounted(t *testing.T) {
	needsRoot(t)
	dir := temporary(t)
	odd := filepath.Join(dir, "odd name\\with\nall")
	noError(t, os.MkdirAll(odd, 0o755))
	noError(t, os.MkdirAll(dir+"/source/sub", 0o755))
	m, err := NewMounts(slog.New(slog.DiscardHandler))
	noError(t, err)
	noError(t, m.Watch("", "/proc/thread-self/mountinfo"))
	told := make(chan MountSighting, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Run(ctx, func(s MountSighting) { told <- s }) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, m.Close()); err != nil {
			t.Error(err)
		}
	}()
	next := func(want MountSighting) {
		t.Helper()
		for got := range told {
			if !strings.HasPrefix(got.Path.Name, dir) {
				continue // others mount, too
			}
			if got.At.IsZero() {
				t.Error("no time")
			}
			got.At = time.Time{}
			if strings.HasSuffix(got.Root, "/source/sub") {
				got.Root, got.Type, got.Source = "sub", "", ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			return
		}
	}
	mountAt(t, "a source", odd, "tmpfs", 0, "")
	next(MountSighting{Path: Path{Name: odd}, Mounted: true, Type: "tmpfs", Source: "a source", Root: "/"})
	mountAt(t, dir+"/source/sub", odd, "", unix.MS_BIND, "") // over it
	next(MountSighting{Path: Path{Name: odd}, Mounted: true, Root: "sub"})
	noError(t, unix.Unmount(odd, 0))
	next(MountSighting{Path: Path{Name: odd}, Root: "sub"})
	noError(t, unix.Unmount(odd, 0))
	next(MountSighting{Path: Path{Name: odd}, Type: "tmpfs", Source: "a source", Root: "/"})
	m.Unwatch("")
	if err := m.Watch("", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Watch of a file that is not there: %v", err)
	}
}

func TestParseMounts(t *testing.T) {
	// The first line is proc(5)'s example; the others are of this machine and of a container.
	got, err := parseMounts("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n" +
		"29 28 0:26 / /with\\040blank\\134and\\011tab rw shared:1 propagate_from:2 unbindable - tmpfs a\\040name rw\n" +
		"30 28 0:27 / /none rw - proc  rw\n")
	want := map[mountPoint]mountEntry{
		{36, "/mnt2"}:                 {"ext3", "/dev/root", "/mnt1"},
		{29, "/with blank\\and\ttab"}: {"tmpfs", "a name", "/"},
		{30, "/none"}:                 {"proc", "", "/"},
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v: %v, want %v", err, got, want)
	}
	for text, want := range map[string]string{
		"36 35 98:0 / /mnt\n":                  "line 1: -1 fields before a dash and 5 in all",
		"\n":                                   "line 1: -1 fields before a dash and 1 in all",
		"36 35 98:0 / /mnt rw - ext3\n":        "line 1: 6 fields before a dash and 8 in all",
		"x 35 98:0 / /mnt rw - ext3 none rw\n": `line 1: id "x": want a number`,
	} {
		if _, err := parseMounts(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseMounts(%q): %v, want %q", text, err, want)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add("29 28 0:26 / /with\\040blank rw - tmpfs a\\0name rw")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMounts(text)
		if err == nil && len(mounts) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts from %d lines", len(mounts), strings.Count(text, "\n")+1)
		}
	})
}
