package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A bootArg is one argument of a kernel's command line.
type bootArg struct{ name, value string }

// bootArgs takes a command line apart. Blanks between quotes do not part, and what stands behind -- is the first program's.
func bootArgs(line string) (all []bootArg) {
	var word strings.Builder
	quoted := false
	end := func() bool {
		text := word.String()
		word.Reset()
		if text == "--" {
			return false
		}
		if name, value, _ := strings.Cut(text, "="); name != "" {
			all = append(all, bootArg{bootArgName(name), value})
		}
		return true
	}
	for _, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && strings.ContainsRune(" \t\n\r", c):
			if !end() {
				return all
			}
		default:
			word.WriteRune(c)
		}
	}
	end()
	return all
}

// bootArgName is the name that counts: to the kernel a dash is an underscore.
func bootArgName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// knownBootArgs are reported whether they are given or not.
var knownBootArgs = []string{
	"1", "S", "apparmor", "audit", "audit_backlog_limit", "debugfs", "efi", "emergency", "enforcing", "gather_data_sampling", "hardened_usercopy", "hash_pointers", "init", "init_on_alloc",
	"init_on_free", "intel_iommu", "amd_iommu", "iommu", "iommu.strict", "iommu.passthrough", "ipv6.disable", "kvm.nx_huge_pages", "l1tf", "lockdown", "lsm", "mds", "mem_encrypt", "mitigations", "mmio_stale_data",
	"module.sig_enforce", "module_blacklist", "nokaslr", "nopti", "nosmap", "nosmep", "nosmt", "nospec_store_bypass_disable", "nospectre_bhb", "nospectre_v1", "nospectre_v2",
	"norandmaps", "page_alloc.shuffle", "pti", "randomize_kstack_offset", "rd.break", "reg_file_data_sampling", "retbleed", "rootflags", "s", "security", "selinux", "single", "slab_nomerge",
	"slub_debug", "spec_rstack_overflow", "spec_store_bypass_disable", "spectre_bhi", "spectre_v2", "spectre_v2_user", "srbds", "systemd.debug_shell", "systemd.unit", "tsx", "tsx_async_abort", "vsyscall",
}

// BootArgs reports well-known arguments of the kernel's command line: of the running one, beside what the boot loader gives at the
// next boot. Of a machine that does not run it is the first entry of the boot loader; if it has none there are no facts.
func (s *Surveys) BootArgs(ctx context.Context, report func(event.Fact)) error {
	entries, entriesErr := s.bootEntries()
	at, line := "/proc/cmdline", ""
	running, err := s.Proc().Read("cmdline", maxConfigText)
	switch line = string(running); {
	case errors.Is(err, ErrNotLive) && entriesErr != nil:
		return entriesErr
	case errors.Is(err, ErrNotLive) && len(entries) == 0:
		return nil
	case errors.Is(err, ErrNotLive):
		at, line = entries[0].at, entries[0].text
	case err != nil:
		return err
	}
	build, err := s.kernelBuild()
	if entriesErr == nil {
		entriesErr = err
	}
	for _, name := range knownBootArgs {
		f := bootArgFact(name, at, line)
		if built := build.arg(name); built != "" {
			f.Set("built", built)
		}
		if f.Set("lasting", sameInAll(name, line, entries)); entriesErr != nil {
			f.Fail(entriesErr)
		}
		report(f)
	}
	return ctx.Err()
}

func bootArgFact(name, at, line string) event.Fact {
	f := event.BootArg.New(name, at)
	values := valuesOf(name, line)
	f.Set("exists", values != nil)
	if values == nil {
		return f
	}
	all := []string{}
	for _, v := range values {
		all = append(all, strings.Split(v, ",")...)
	}
	return f.Set("value", values[len(values)-1]).Set("values", all)
}

// valuesOf are the values of every argument of a name, nil if it is not there.
func valuesOf(name, line string) (values []string) {
	for _, arg := range bootArgs(line) {
		if arg.name == bootArgName(name) {
			values = append(values, arg.value)
		}
	}
	return values
}

func sameInAll(name, line string, entries []located) bool {
	want := valuesOf(name, line)
	return !slices.ContainsFunc(entries, func(e located) bool { return !slices.Equal(valuesOf(name, e.text), want) })
}

// Where boot loaders have their configuration.
var (
	grubConfigs = []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg"}
	grubUsers   = []string{"/boot/grub/user.cfg", "/boot/grub2/user.cfg", "/boot/efi/EFI/*/user.cfg"}
	grubEnvs    = []string{"/boot/grub/grubenv", "/boot/grub2/grubenv", "/boot/efi/EFI/*/grubenv"}
	entryFiles  = []string{"/boot/loader/entries/*.conf", "/efi/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf"}
	loaderFiles = []string{"/boot/loader/loader.conf", "/efi/loader/loader.conf", "/boot/efi/loader/loader.conf"}
	extlinuxes  = []string{"/boot/extlinux.conf", "/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg"}
)

// globs are the paths that there are of several patterns.
func (s *Surveys) globs(patterns []string) (all []string, err error) {
	for _, pattern := range patterns {
		found, err := s.glob(pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// bootEntries are the command lines that the boot loader may give the kernel. The text of each begins behind the kernel's path.
func (s *Surveys) bootEntries() (entries []located, err error) {
	grub, err := s.entriesOf(grubConfigs, "linux", "linuxefi", "linux16", "linux$linux_suffix")
	if err != nil {
		return nil, err
	}
	for _, e := range grub {
		if kernel, args, _ := strings.Cut(e.text, " "); !strings.Contains(kernel, "memtest") {
			entries = append(entries, located{args, e.at})
		}
	}
	snippets, err := s.entriesOf(entryFiles, "options")
	if err != nil {
		return nil, err
	}
	kernelopts, err := s.grubVariable("kernelopts")
	if err != nil {
		return nil, err
	}
	for _, e := range snippets {
		entries = append(entries, located{strings.ReplaceAll(e.text, "$kernelopts", kernelopts), e.at})
	}
	appended, err := s.entriesOf(extlinuxes, "append", "APPEND")
	return append(entries, appended...), err
}

// entriesOf are the lines of files that begin with one of some words, without it.
func (s *Surveys) entriesOf(patterns []string, words ...string) (found []located, err error) {
	files, err := s.globs(patterns)
	if err != nil {
		return nil, err
	}
	err = s.eachText(files, func(file, text string) {
		joinedLines(text, "#", func(n int, line string) {
			if word, rest, _ := strings.Cut(oneBlank(line), " "); slices.Contains(words, word) {
				found = append(found, located{rest, place(file, n)})
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// grubVariable is a variable of grub's environment block.
func (s *Surveys) grubVariable(name string) (string, error) {
	files, err := s.globs(grubEnvs)
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, _, err := s.configText(file)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), name+"="); ok {
				return value, nil
			}
		}
	}
	return "", nil
}

// Loaders reports the boot loaders whose configuration is there.
func (s *Surveys) Loaders(ctx context.Context, report func(event.Fact)) error {
	for _, loader := range []struct {
		name  string
		files []string
		read  func(f event.Fact, text string) error
	}{
		{"grub", grubConfigs, s.grubLoader},
		{"systemd-boot", loaderFiles, systemdBoot},
		{"extlinux", extlinuxes, extlinux},
	} {
		files, err := s.globs(loader.files)
		if err != nil {
			return err
		}
		for i, file := range files {
			f := event.Loader.New(loader.name, file).Set("config", file)
			if i > 0 {
				f.Subject += " " + file
			}
			text, _, err := s.configText(file)
			if loader.name == "grub" && err == nil && onlyLeadsOn(text) {
				continue
			}
			if err == nil {
				err = loader.read(f, text)
			}
			if err != nil {
				f.Fail(err)
			}
			report(f)
		}
	}
	return ctx.Err()
}

// onlyLeadsOn says whether a configuration of grub has no menu, neither of its own nor of files of entries, but names the real one.
func onlyLeadsOn(text string) bool {
	return strings.Contains(text, "configfile") && !strings.Contains(text, "menuentry") && !strings.Contains(text, "blscfg")
}

// grubLoader finds the passwords of superusers. Red Hat's grub.cfg takes one from user.cfg, whose absence leaves the menu open.
func (s *Surveys) grubLoader(f event.Fact, text string) error {
	superusers, plain, hashed, fromUser := map[string]bool{}, map[string]bool{}, map[string]bool{}, ""
	joinedLines(text, "#", func(_ int, line string) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 2 && words[0] == "set" && strings.HasPrefix(words[1], "superusers="):
			_, list, _ := strings.Cut(line, "=")
			for _, user := range strings.FieldsFunc(strings.Trim(list, `"'`), func(r rune) bool { return strings.ContainsRune(" ,;&|", r) }) {
				superusers[user] = true
			}
		case len(words) >= 3 && words[0] == "password_pbkdf2" && strings.Contains(words[2], "GRUB2_PASSWORD"):
			fromUser = words[1]
		case len(words) >= 3 && words[0] == "password_pbkdf2":
			hashed[words[1]] = true
		case len(words) >= 3 && words[0] == "password":
			plain[words[1]] = true
		}
	})
	if fromUser != "" {
		set, err := s.grubUser(path.Dir(f.Source))
		if err != nil {
			return err
		}
		hashed[fromUser] = set
	}
	password, allHashed := false, true
	for user := range superusers {
		password = password || plain[user] || hashed[user]
		allHashed = allHashed && !plain[user]
	}
	f.Set("password", password).Set("editor", !password)
	if password {
		f.Set("hashed", allHashed)
	}
	return nil
}

// grubUser says whether user.cfg has a password. It is beside grub.cfg, or with UEFI beside that which leads there.
func (s *Surveys) grubUser(dir string) (bool, error) {
	files, err := s.globs(append([]string{path.Join(dir, "user.cfg")}, grubUsers...))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		text, _, err := s.configText(file)
		if err != nil {
			return false, err
		}
		if shellValues(file, text)["GRUB2_PASSWORD"].text != "" {
			return true, nil
		}
	}
	return false, nil
}

func systemdBoot(f event.Fact, text string) error {
	editor, err := true, error(nil)
	joinedLines(text, "#", func(n int, line string) {
		if words := strings.Fields(line); words[0] == "editor" && len(words) == 2 {
			editor = on(words[1])
		} else if words[0] == "editor" {
			err = fmt.Errorf("%s: want editor yes or no, got %.60q", place(f.Source, n), line)
		}
	})
	f.Set("password", false).Set("editor", editor)
	return err
}

func extlinux(f event.Fact, text string) error {
	password, hashed, editor := false, true, true
	joinedLines(text, "#", func(_ int, line string) {
		words := strings.Fields(strings.ToLower(line))
		switch {
		case len(words) == 4 && words[0] == "menu" && words[1] == "master" && words[2] == "passwd":
			password, hashed = true, strings.HasPrefix(words[3], "$")
		case len(words) == 2 && words[0] == "allowoptions":
			editor = words[1] != "0"
		}
	})
	if f.Set("password", password).Set("editor", editor && !password); password {
		f.Set("hashed", hashed)
	}
	return nil
}
