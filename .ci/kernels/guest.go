package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// buildInitramfs packs what every kernel shares: the init and one bundle per package under test.
// The modules differ by kernel and follow in an archive of their own; the kernel unpacks both.
func buildInitramfs(ctx context.Context, o options) (string, error) {
	root, err := os.MkdirTemp("", "yagura-initramfs-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(root)
	if err := goCommand(ctx, "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(root, "init"), "./.ci/kernels/init"); err != nil {
		return "", err
	}
	for i, pkg := range o.packages {
		if err := bundle(ctx, filepath.Join(root, "tests", strconv.Itoa(i)), pkg, o); err != nil {
			return "", err
		}
	}
	image := filepath.Join(o.cache, "initramfs.cpio")
	return image, pack(ctx, root, image)
}

// bundle makes a folder that a test finds itself in as it would in the repository: its binary and its testdata.
func bundle(ctx context.Context, dir, pkg string, o options) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := goCommand(ctx, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "truth.test"), pkg); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "truth.test")); err != nil {
		return fmt.Errorf("%s has no tests", pkg)
	}
	args := fmt.Sprintf("-test.v=test2json\n-test.run=%s\n-test.timeout=%s\n", o.run, o.timeout*3/4)
	if err := os.WriteFile(filepath.Join(dir, "args"), []byte(args), 0o644); err != nil {
		return err
	}
	data := filepath.Join(pkg, "testdata")
	if _, err := os.Stat(data); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data))
}

func goCommand(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}

func pack(ctx context.Context, root, image string) error {
	out, err := os.Create(image)
	if err != nil {
		return err
	}
	defer out.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", "find . | cpio --quiet -o -H newc")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, out, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cpio: %w: %s", err, stderr.Bytes())
	}
	return out.Close()
}

// bundles is how many of the packages are tested. How control groups are laid out matters to the first of them, which finds out whose
// a process is: the others use what it tells.
func (b *boot) bundles(o options) int {
	if b.layout != "v2" {
		return 1
	}
	return len(o.packages)
}

// run boots once more if a guest never got as far as its init: nothing of ours had run in it by then.
func (b *boot) run(ctx context.Context, image string, o options) {
	began := time.Now()
	defer func() { b.took = time.Since(began) }()
	b.runOnce(ctx, image, o)
	if b.release == "" && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "   kernel %s did not come up and is tried again: %v\n", b.column(), b.err)
		b.runOnce(ctx, image, o)
	}
}

// runOnce boots the guest and waits for it to go. Its two serial ports are files: the first has the kernel's messages
// and init's troubles, the second only what the tests print.
func (b *boot) runOnce(ctx context.Context, image string, o options) {
	dir, err := os.MkdirTemp("", "yagura-guest-")
	if err != nil {
		b.err = err
		return
	}
	defer os.RemoveAll(dir)
	if b.err = b.initramfs(ctx, filepath.Join(dir, "initramfs"), image); b.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	console, report := filepath.Join(dir, "console"), filepath.Join(dir, "report")
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64",
		// One thread for both processors of a guest: with a thread for each, qemu 7.2 sometimes runs half of an
		// instruction that the kernel is just patching, as it does when a tracepoint is switched on, and the guest dies.
		"-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(o.memory),
		"-display", "none", "-monitor", "none", "-net", "none", "-no-reboot",
		"-serial", "file:"+console, "-serial", "file:"+report,
		"-kernel", filepath.Join(b.dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initramfs"),
		"-append", "console=ttyS0 panic=-1 quiet lsm=lockdown,capability,landlock,yama,bpf psi=1 yagura.cgroup="+b.layout+" yagura.bundles="+strconv.Itoa(b.bundles(o)),
	).CombinedOutput()
	b.release, b.frames = parseReport(readAll(report))
	switch {
	case ctx.Err() != nil:
		b.err = fmt.Errorf("stopped after %s\n%s", o.timeout, tail(readAll(console), 40))
	case err != nil:
		b.err = fmt.Errorf("qemu: %w: %s", err, out)
	default:
		b.err = b.complete(b.bundles(o), readAll(console))
	}
}

func (b *boot) initramfs(ctx context.Context, path, shared string) error {
	root := path + ".modules"
	if err := os.CopyFS(filepath.Join(root, "modules"), os.DirFS(filepath.Join(b.dir, "modules"))); err != nil {
		return err
	}
	if err := pack(ctx, root, path); err != nil {
		return err
	}
	own, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer own.Close()
	common, err := os.Open(shared)
	if err != nil {
		return err
	}
	defer common.Close()
	_, err = io.Copy(own, common)
	return err
}

// complete tells a guest that ran its tests, whatever they found, from one that died or never got there.
func (b *boot) complete(want int, console []byte) error {
	for _, f := range b.frames {
		if !f.ended {
			return fmt.Errorf("the guest died in its tests\n%s\n%s", tail([]byte(f.output), 20), tail(console, 40))
		}
		if f.exit != 0 && !strings.Contains(f.output, "--- FAIL") {
			return fmt.Errorf("the tests ended with %d and no failure\n%s", f.exit, tail([]byte(f.output), 40))
		}
	}
	if len(b.frames) != want {
		return fmt.Errorf("the guest ran %d of %d bundles\n%s", len(b.frames), want, tail(console, 40))
	}
	return nil
}

// A frame is what one bundle printed.
type frame struct {
	output string
	ended  bool
	exit   int
}

var (
	beginLine = regexp.MustCompile(`^YAGURA_BEGIN (\S+)$`)
	endLine   = regexp.MustCompile(`^YAGURA_END \S+ exit=(-?\d+) `)
)

func parseReport(text []byte) (release string, frames []frame) {
	var open *frame
	for line := range strings.Lines(string(text)) {
		bare := strings.TrimSpace(line)
		switch m := endLine.FindStringSubmatch(bare); {
		case m != nil && open != nil:
			open.exit, _ = strconv.Atoi(m[1])
			open.ended, open = true, nil
		case beginLine.MatchString(bare):
			frames = append(frames, frame{})
			open = &frames[len(frames)-1]
		case open != nil:
			open.output += line
		case strings.HasPrefix(bare, "YAGURA_GUEST "):
			release = strings.TrimPrefix(bare, "YAGURA_GUEST ")
		}
	}
	return release, frames
}

var leadingVersion = regexp.MustCompile(`^(\d+\.\d+)`)

func majorMinor(release string) string { return leadingVersion.FindString(release) }

func readAll(path string) []byte {
	content, _ := os.ReadFile(path)
	return content
}

func tail(text []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
