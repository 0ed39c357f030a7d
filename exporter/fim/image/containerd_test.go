package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A runtime is a containerd of our own: what it unpacks is what a container sees.
type daemon struct{ dir string }

func startRuntime(t *testing.T) *daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, name := range []string{"containerd", "ctr"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s: %v", name, err)
		}
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", dir+"/root", dir+"/state", dir+"/c.sock")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := exec.Command("containerd", "--config", config)
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	r := &daemon{dir}
	for exec.Command("ctr", "-a", r.dir+"/c.sock", "version").Run() != nil {
		select {
		case <-ended:
			t.Skipf("needs a containerd that starts here: %s", log.String())
		default:
		}
	}
	return r
}

func (r *daemon) ctr(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command("ctr", append([]string{"-a", r.dir + "/c.sock", "-n", "t"}, args...)...).CombinedOutput()
	return string(out), err
}

// mount unpacks an image, and returns what is in it.
func (r *daemon) mount(t *testing.T, archive, name string) ([]string, error) {
	t.Helper()
	if out, err := r.ctr(t, "image", "import", "--no-unpack", archive); err != nil {
		return nil, errors.New(out)
	}
	at := t.TempDir()
	if out, err := r.ctr(t, "image", "mount", name, at); err != nil {
		return nil, errors.New(out)
	}
	defer r.ctr(t, "image", "unmount", "--rm", at)
	var seen []string
	err := filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == at {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		kind := '-'
		line := ""
		switch info.Mode().Type() {
		case fs.ModeDir:
			kind = 'd'
		case fs.ModeSymlink:
			kind = 'l'
			to, _ := os.Readlink(path)
			line = " -> " + to
		case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
			kind = 'c'
		case fs.ModeNamedPipe:
			kind = 'p'
		}
		stat := info.Sys().(*syscall.Stat_t)
		seen = append(seen, fmt.Sprintf("%c%04o %d:%d %s%s", kind, stat.Mode&0o7777, stat.Uid, stat.Gid, strings.TrimPrefix(path, at), line))
		return nil
	})
	slices.Sort(seen)
	return seen, err
}

var layerNumber = regexp.MustCompile(` \(\d+\)$`)

// TestContainerdMakesTheSameFileSystem unpacks the cases of TestLayersMakeOneFileSystem for real.
func TestContainerdMakesTheSameFileSystem(t *testing.T) {
	r := startRuntime(t)
	// On overlayfs it has no files of layers below to link to.
	refused := []string{"a hard link to a layer below", "a hard link outlives what it was made of", "a hard link to itself"}
	for i, test := range layerCases(t) {
		if oddCases[test.name] != "" || slices.Contains(refused, test.name) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("example.test/case:%d", i)
			image := ociLayout(t, testImage{layers: test.layers, name: name}, gzipped)
			archive := written(t, image.archive(t))
			want, err := r.mount(t, archive, name)
			if err != nil {
				t.Fatalf("containerd: %v", err)
			}
			got, _ := merged(t, test.layers...)
			for i := range got {
				got[i] = layerNumber.ReplaceAllString(got[i], "")
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-containerd +ours):\n%s", diff)
			}
		})
	}
}

// TestExportsOfContainerdAreRead writes an image with containerd.
func TestExportsOfContainerdAreRead(t *testing.T) {
	r := startRuntime(t)
	i := leaky(t)
	i.name = "example.test/cart:1"
	if out, err := r.ctr(t, "image", "import", "--no-unpack", written(t, ociLayout(t, i, gzipped).archive(t))); err != nil {
		t.Fatal(out)
	}
	exported := filepath.Join(t.TempDir(), "image.tar")
	if out, err := r.ctr(t, "image", "export", "--platform", "linux/amd64", exported, i.name); err != nil {
		t.Fatal(out)
	}
	report, err := Check(context.Background(), exported, Checks{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(leakyWant, lines(report)); diff != "" || report.Image.Reference != i.name {
		t.Errorf("%q (-want +got):\n%s", report.Image.Reference, diff)
	}
}
