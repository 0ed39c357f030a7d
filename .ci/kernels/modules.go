package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// installModules copies the wanted modules and what they depend on into dir, numbered in the order of loading.
// A name that is not there is built into this kernel, or it is a feature the kernel lacks; the tests will tell.
func installModules(ctx context.Context, unpacked, dir string, wanted []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := indexModules(unpacked)
	if err != nil {
		return err
	}
	l := loader{files: files, dir: dir}
	for _, name := range wanted {
		if err := l.add(ctx, moduleName(name)); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return nil
}

type loader struct {
	files map[string]string
	dir   string
	done  []string
}

// add places a module after everything it depends on.
func (l *loader) add(ctx context.Context, name string) error {
	path, ok := l.files[name]
	if !ok || slices.Contains(l.done, name) {
		return nil
	}
	content, err := readModule(ctx, path)
	if err != nil {
		return err
	}
	needs, err := dependencies(content)
	if err != nil {
		return err
	}
	for _, need := range needs {
		if err := l.add(ctx, moduleName(need)); err != nil {
			return err
		}
	}
	l.done = append(l.done, name)
	return os.WriteFile(filepath.Join(l.dir, fmt.Sprintf("%02d-%s.ko", len(l.done), name)), content, 0o644)
}

func indexModules(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if base, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok {
			files[moduleName(base)] = path
		}
		return err
	})
	return files, err
}

// moduleName spells a name as the kernel does: files may say sch-netem, dependencies sch_netem.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func readModule(ctx context.Context, path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		return exec.CommandContext(ctx, "xz", "-dc", path).Output()
	}
	return os.ReadFile(path)
}

// dependencies reads what depmod would: the kernel's packages do not ship its result.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for line := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(line, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
