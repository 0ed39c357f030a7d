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

// modprobeDirs are where loading of modules is configured, the first counting over the others.
var modprobeDirs = []string{"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}

// knownModules are those that few machines need, with the option of the kernel's configuration that builds them in, and the alias by
// which a socket of any user asks for a network protocol.
var knownModules = []struct{ name, option, family string }{
	// File systems.
	{"cramfs", "CRAMFS", ""}, {"freevxfs", "VXFS_FS", ""}, {"hfs", "HFS_FS", ""}, {"hfsplus", "HFSPLUS_FS", ""}, {"jffs2", "JFFS2_FS", ""}, {"overlay", "OVERLAY_FS", ""}, {"squashfs", "SQUASHFS", ""}, {"udf", "UDF_FS", ""},
	{"adfs", "ADFS_FS", ""}, {"affs", "AFFS_FS", ""}, {"befs", "BEFS_FS", ""}, {"bfs", "BFS_FS", ""}, {"efs", "EFS_FS", ""}, {"gfs2", "GFS2_FS", ""}, {"hpfs", "HPFS_FS", ""}, {"jfs", "JFS_FS", ""}, {"ksmbd", "SMB_SERVER", ""}, {"minix", "MINIX_FS", ""},
	{"nilfs2", "NILFS2_FS", ""}, {"ocfs2", "OCFS2_FS", ""}, {"omfs", "OMFS_FS", ""}, {"qnx4", "QNX4FS_FS", ""}, {"qnx6", "QNX6FS_FS", ""}, {"reiserfs", "REISERFS_FS", ""}, {"romfs", "ROMFS_FS", ""}, {"sysv", "SYSV_FS", ""}, {"ufs", "UFS_FS", ""}, {"vboxsf", "VBOXSF_FS", ""},
	// Ways into memory and for data out.
	{"usb_storage", "USB_STORAGE", ""}, {"uas", "USB_UAS", ""}, {"firewire_core", "FIREWIRE", ""}, {"firewire_ohci", "FIREWIRE_OHCI", ""}, {"firewire_sbp2", "FIREWIRE_SBP2", ""}, {"thunderbolt", "USB4", ""},
	// Network protocols.
	{"dccp", "IP_DCCP", "net-pf-2-proto-33"}, {"sctp", "IP_SCTP", "net-pf-2-proto-132"}, {"rds", "RDS", "net-pf-21"}, {"tipc", "TIPC", "net-pf-30"}, {"atm", "ATM", "net-pf-8"}, {"can", "CAN", "net-pf-29"},
	{"appletalk", "ATALK", "net-pf-5"}, {"ax25", "AX25", "net-pf-3"}, {"batman_adv", "BATMAN_ADV", ""}, {"ieee802154", "IEEE802154", "net-pf-36"}, {"ipx", "IPX", "net-pf-4"}, {"llc2", "LLC2", "net-pf-26"}, {"netrom", "NETROM", "net-pf-6"},
	{"n_hdlc", "N_HDLC", "tty-ldisc-13"}, {"phonet", "PHONET", "net-pf-35"}, {"rose", "ROSE", "net-pf-11"}, {"x25", "X25", "net-pf-9"}, {"decnet", "DECNET", "net-pf-12"}, {"econet", "ECONET", "net-pf-19"},
	{"bluetooth", "BT", "net-pf-31"},
	// Drivers for tests.
	{"vivid", "VIDEO_VIVID", ""}, {"floppy", "BLK_DEV_FD", ""}, {"pcspkr", "INPUT_PCSPKR", ""},
}

// Modules reports the modules that few machines need: whether they are there, in use, and kept from being loaded.
func (s *Surveys) Modules(ctx context.Context, report func(event.Fact)) error {
	rules, err := s.modprobeRules(report)
	if err != nil {
		return err
	}
	there, err := s.modulesThere()
	if err != nil {
		return err
	}
	for _, known := range knownModules {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := s.moduleFact(known.name, known.family, rules, there)
		if !there.whole && f.Values["usable"] == false {
			f.Fail(errBuiltIn)
		}
		report(f)
	}
	return nil
}

// errBuiltIn is why a module that is nowhere to be seen may be there all the same.
var errBuiltIn = errors.New("what is built into the kernel is not known: there is neither its modules.builtin nor its configuration")

func (s *Surveys) moduleFact(name, family string, rules *modprobeRules, there *modulesThere) event.Fact {
	disabled, isDisabled := rules.disabled[name]
	listed, isListed := rules.blacklisted[name]
	if _, off := rules.off[family]; off && family != "" && !isListed {
		listed, isListed = rules.off[family], true
	}
	f := event.Module.New(name, disabled.at)
	if !isDisabled {
		f.Source = listed.at
	}
	inUse := there.loaded[name] || there.builtin[name]
	f.Set("exists", inUse || there.files[name]).Set("builtin", there.builtin[name])
	f.Set("disabled", isDisabled).Set("blacklisted", isListed)
	f.Set("usable", inUse || there.files[name] && !isDisabled)
	f.Set("autoload", inUse || there.files[name] && !isDisabled && !isListed)
	if s.Live() {
		f.Set("loaded", inUse)
	}
	return f
}

// modulesThere are the modules of the running kernel, or of those that are installed if none runs.
type modulesThere struct {
	files, builtin, loaded map[string]bool
	whole                  bool // it is known what is built in
}

func (s *Surveys) modulesThere() (*modulesThere, error) {
	m := &modulesThere{map[string]bool{}, map[string]bool{}, map[string]bool{}, false}
	kernels, err := s.kernels()
	if err != nil {
		return nil, err
	}
	if !s.Live() && len(kernels) == 0 {
		return nil, ErrNotLive // an image for another machine's kernel
	}
	if release, err := s.Proc().Read("sys/kernel/osrelease", 1024); err == nil {
		kernels = []string{strings.TrimSpace(string(release))}
	} else if !errors.Is(err, ErrNotLive) {
		return nil, err
	}
	for _, release := range kernels {
		if err := ignoreAbsent(s.moduleNames(release, "modules.dep", m.files)); err != nil {
			return nil, err
		}
		err := s.moduleNames(release, "modules.builtin", m.builtin)
		if m.whole = m.whole || err == nil; ignoreAbsent(err) != nil {
			return nil, err
		}
	}
	build, err := s.kernelBuild()
	if err != nil {
		return nil, err
	}
	m.whole = m.whole || len(build) > 0
	for _, known := range knownModules {
		m.builtin[known.name] = m.builtin[known.name] || build["CONFIG_"+known.option] == "y"
	}
	if s.Live() {
		return m, s.modulesLoaded(m)
	}
	return m, nil
}

// kernels are the releases that are installed: those with a list of modules.
func (s *Surveys) kernels() ([]string, error) {
	lists, err := s.glob("/lib/modules/*/modules.dep")
	if err != nil {
		return nil, err
	}
	for i, list := range lists {
		lists[i] = path.Base(path.Dir(list))
	}
	return lists, nil
}

// moduleNames adds the names of a list of modules' files: "kernel/fs/cramfs/cramfs.ko.xz: kernel/lib/zlib.ko.xz".
func (s *Surveys) moduleNames(release, list string, to map[string]bool) error {
	return s.lines(path.Join("/lib/modules", release, list), func(_ int, line string) {
		file, _, _ := strings.Cut(line, ":")
		if name, _, isModule := strings.Cut(path.Base(file), ".ko"); isModule {
			to[moduleName(name)] = true
		}
	})
}

// moduleName is a name as the kernel shows it: a dash in a file's name is an underscore.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// modulesLoaded adds what the running kernel has. What it has and does not list as loaded is built in: modules with parameters are
// in /sys/module, file systems in a list of their own. Protocols without parameters show themselves nowhere.
func (s *Surveys) modulesLoaded(m *modulesThere) error {
	err := s.Proc().Lines("modules", func(_ int, line string) {
		name, _, _ := strings.Cut(line, " ")
		m.loaded[name] = true
	})
	if err != nil && !Absent(err) { // a kernel without modules has no list
		return err
	}
	inSys := map[string]bool{}
	names, err := s.Sys().ReadDir("module")
	if err != nil && !Absent(err) {
		return err
	}
	for _, n := range names {
		inSys[n.Name] = true
	}
	err = s.Proc().Lines("filesystems", func(_ int, line string) {
		words := strings.Fields(line)
		if len(words) > 0 {
			inSys[moduleName(words[len(words)-1])] = true
		}
	})
	if err != nil {
		return err
	}
	for _, known := range knownModules {
		if inSys[known.name] && !m.loaded[known.name] {
			m.builtin[known.name] = true
		}
	}
	return nil
}

// modprobeRules are what keeps modules from being loaded.
type modprobeRules struct {
	disabled, blacklisted map[string]located
	off                   map[string]located // aliases that lead nowhere
	decided               map[string]bool    // modules whose first install line was seen, which counts
}

func newModprobeRules() *modprobeRules {
	return &modprobeRules{map[string]located{}, map[string]located{}, map[string]located{}, map[string]bool{}}
}

// modprobeRules reads the configuration. Lines that modprobe would not understand are reported by themselves.
func (s *Surveys) modprobeRules(report func(event.Fact)) (*modprobeRules, error) {
	rules := newModprobeRules()
	files, err := s.dropIns(modprobeDirs, ".conf")
	if err != nil {
		return nil, err
	}
	err = s.eachText(files, func(file, text string) {
		for _, f := range rules.add(file, text) {
			report(f)
		}
	})
	if err != nil {
		return nil, err
	}
	line, err := s.Proc().Read("cmdline", maxConfigText)
	if err != nil && !errors.Is(err, ErrNotLive) {
		return nil, err
	}
	for _, arg := range bootArgs(string(line)) {
		to := map[string]map[string]located{"module_blacklist": rules.disabled, "modprobe.blacklist": rules.blacklisted}[arg.name]
		for name := range strings.SplitSeq(arg.value, ",") {
			if to != nil && name != "" {
				to[moduleName(name)] = located{name, "/proc/cmdline"}
			}
		}
	}
	return rules, nil
}

// modprobeWords are the directives of modprobe.d(5), and what stands behind each at least.
var modprobeWords = map[string]int{"alias": 2, "blacklist": 1, "install": 2, "options": 1, "remove": 2, "softdep": 1, "weakdep": 1, "config": 0, "include": 1}

func (r *modprobeRules) add(file, text string) (malformed []event.Fact) {
	joinedLines(text, "#", func(n int, line string) {
		words, at := strings.Fields(line), place(file, n)
		if least, known := modprobeWords[words[0]]; !known || len(words) <= least {
			err := fmt.Errorf("%s: want alias, blacklist, install, options, remove or softdep and what it is about, got %.60q", at, line)
			malformed = append(malformed, event.Module.New(at, at).Fail(err))
			return
		}
		r.line(words, located{line, at})
	})
	return malformed
}

func (r *modprobeRules) line(words []string, at located) {
	switch words[0] {
	case "alias":
		if _, seen := r.off[words[1]]; !seen && words[2] == "off" {
			r.off[words[1]] = at
		}
	case "blacklist":
		r.blacklisted[moduleName(words[1])] = at
	case "install":
		name := moduleName(words[1])
		if !r.decided[name] && refuses(words[2:]) {
			r.disabled[name] = at
		}
		r.decided[name] = true
	}
}

// refuses says whether the command of an install line loads nothing: it only says something, or fails, and no more follows.
func refuses(command []string) bool {
	loads := func(word string) bool { return slices.Contains([]string{"modprobe", "insmod"}, path.Base(word)) }
	return slices.Contains([]string{"true", "false", ":", "echo", "exit", "logger", "nologin"}, path.Base(command[0])) && !slices.ContainsFunc(command, loads)
}
