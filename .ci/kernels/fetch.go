package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// keepFor is how long a fetched kernel serves before apt is asked for a newer one.
const keepFor = 7 * 24 * time.Hour

// chosen is the file in a kernel's folder that says which modules were asked for: if they are others now, it serves no more.
const chosen = "chosen"

type kernel struct {
	name     string
	patterns []*regexp.Regexp
	layouts  []string
	dir      string // holds vmlinuz and modules/
	missing  string // why there is no such kernel to boot
}

func readList(path string) ([]*kernel, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var kernels []*kernel
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseKernel(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		kernels = append(kernels, k)
	}
	return kernels, s.Err()
}

func parseKernel(line string) (*kernel, error) {
	parts := strings.Split(line, "|")
	if len(parts) != 4 {
		return nil, fmt.Errorf("want 4 columns, found %d", len(parts))
	}
	k := &kernel{name: strings.TrimSpace(parts[0]), layouts: strings.Fields(parts[3])}
	for _, p := range parts[1:3] {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		re, err := regexp.Compile("^(?:" + p + ")$")
		if err != nil {
			return nil, err
		}
		k.patterns = append(k.patterns, re)
	}
	return k, nil
}

// fetch sees to it that every kernel has a folder with its image and modules, or the reason why not.
func fetch(ctx context.Context, kernels []*kernel, o options) error {
	var stale []*kernel
	for _, k := range kernels {
		k.dir = filepath.Join(o.cache, k.name)
		made, _ := os.ReadFile(filepath.Join(k.dir, chosen))
		if info, err := os.Stat(filepath.Join(k.dir, "vmlinuz")); err != nil || time.Since(info.ModTime()) > keepFor || string(made) != o.modules {
			stale = append(stale, k)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	a, err := newApt(o.cache, o.sources)
	if err != nil {
		return err
	}
	names, err := a.packages(ctx)
	if err != nil {
		return err
	}
	for _, k := range stale {
		if err := k.fetch(ctx, a, names, strings.Split(o.modules, ",")); err != nil {
			return fmt.Errorf("fetch kernel %s: %w", k.name, err)
		}
	}
	return nil
}

func (k *kernel) fetch(ctx context.Context, a *apt, names, modules []string) error {
	var wanted []string
	for _, re := range k.patterns {
		name := newest(names, re)
		if name == "" {
			k.missing = fmt.Sprintf("no package matches %s any more", re)
			return nil
		}
		wanted = append(wanted, name)
	}
	unpacked := k.dir + ".unpacked"
	defer os.RemoveAll(unpacked)
	if err := a.unpack(ctx, wanted, unpacked); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "   fetched", strings.Join(wanted, " "))
	return k.install(ctx, unpacked, modules)
}

// install keeps the image and the chosen modules; the image is placed last, so that it stands for a whole folder.
func (k *kernel) install(ctx context.Context, unpacked string, modules []string) error {
	image, err := findImage(unpacked)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(k.dir); err != nil {
		return err
	}
	if err := installModules(ctx, unpacked, filepath.Join(k.dir, "modules"), modules); err != nil {
		return err
	}
	content, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(k.dir, chosen), []byte(strings.Join(modules, ",")), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(k.dir, "vmlinuz"), content, 0o644)
}

// findImage knows the two places that Debian has put a kernel: /boot, and beside its modules since 7.
func findImage(root string) (string, error) {
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz"} {
		if found, _ := filepath.Glob(filepath.Join(root, pattern)); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("no vmlinuz in the package under %s", root)
}

// newest takes the highest version by its numbers: 5.10.0-46 comes after 5.10.0-9.
func newest(names []string, re *regexp.Regexp) string {
	var found []string
	for _, name := range names {
		if re.MatchString(name) {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.MaxFunc(found, compareVersions)
}

var number = regexp.MustCompile(`\d+`)

func compareVersions(a, b string) int {
	return slices.CompareFunc(number.FindAllString(a, -1), number.FindAllString(b, -1), func(x, y string) int {
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	})
}

// apt is Debian's apt with sources, lists and cache of our own; the machine's stay untouched, and no root is needed.
type apt struct {
	dir  string
	args []string
}

func newApt(cache, sources string) (*apt, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	sources, err = filepath.Abs(sources)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "apt")
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	return &apt{dir: dir, args: []string{
		"-qq",
		"-oDir::Etc::SourceList=" + sources,
		"-oDir::Etc::SourceParts=/dev/null",
		"-oDir::State::Lists=" + filepath.Join(dir, "lists"),
		"-oDir::Cache=" + dir,
		"-oAPT::Sandbox::User=root",
		"-oAcquire::Languages=none",
		"-oAcquire::Retries=3",
		"-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	}}, nil
}

// packages lists the names of all kernel packages. A suite that is gone must not hide the others, so a failed
// update is only told of; if it mattered, a pattern will find nothing.
func (a *apt) packages(ctx context.Context) ([]string, error) {
	if _, err := a.command(ctx, "apt-get", "update"); err != nil {
		fmt.Fprintln(os.Stderr, "kernels: apt-get update:", err)
	}
	out, err := a.command(ctx, "apt-cache", "pkgnames", "linux-")
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(out))
	if len(names) == 0 {
		return nil, fmt.Errorf("apt knows no kernel package at all: is its registry reachable?")
	}
	return names, nil
}

func (a *apt) unpack(ctx context.Context, packages []string, into string) error {
	archives := filepath.Join(a.dir, "archives")
	if _, err := a.command(ctx, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	for _, name := range packages {
		debs, err := filepath.Glob(filepath.Join(archives, name+"_*.deb"))
		if err != nil || len(debs) == 0 {
			return fmt.Errorf("apt-get download left no %s_*.deb", name)
		}
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", debs[0], into).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg -x %s: %w: %s", debs[0], err, out)
		}
		for _, deb := range debs {
			os.Remove(deb)
		}
	}
	return nil
}

func (a *apt) command(ctx context.Context, name string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, append(slices.Clone(a.args), args...)...)
	cmd.Dir = filepath.Join(a.dir, "archives")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
