package host

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A builtDefault is what a kernel does by the way it was built: a parameter, or an argument of the command line, as an option of its
// configuration has it. The value is y, a number, or n if the option is off.
type builtDefault struct {
	option string
	value  func(option string) string
}

func choose(yes, no string) func(string) string {
	return func(option string) string {
		if option == "y" {
			return yes
		}
		return no
	}
}

// decimal is a number of the configuration, which may be in hexadecimal, as the kernel writes it.
func decimal(option string) string {
	n, err := strconv.ParseInt(option, 0, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// builtSysctls are parameters whose first value is a matter of the kernel's configuration: the Kconfig files of the kernel.
var builtSysctls = map[string]builtDefault{
	"kernel.dmesg_restrict":            {"CONFIG_SECURITY_DMESG_RESTRICT", choose("1", "0")},
	"kernel.unprivileged_bpf_disabled": {"CONFIG_BPF_UNPRIV_DEFAULT_OFF", choose("2", "0")},
	"kernel.sysrq":                     {"CONFIG_MAGIC_SYSRQ_DEFAULT_ENABLE", decimal},
	"vm.mmap_min_addr":                 {"CONFIG_DEFAULT_MMAP_MIN_ADDR", decimal},
	"dev.tty.ldisc_autoload":           {"CONFIG_LDISC_AUTOLOAD", choose("1", "0")},
	"dev.tty.legacy_tiocsti":           {"CONFIG_LEGACY_TIOCSTI", choose("1", "0")},
}

// builtArgs are arguments without which the kernel does what its configuration says.
var builtArgs = map[string][]builtDefault{
	"init_on_alloc":           {{"CONFIG_INIT_ON_ALLOC_DEFAULT_ON", choose("1", "0")}},
	"init_on_free":            {{"CONFIG_INIT_ON_FREE_DEFAULT_ON", choose("1", "0")}},
	"randomize_kstack_offset": {{"CONFIG_RANDOMIZE_KSTACK_OFFSET_DEFAULT", choose("on", "off")}},
	"module.sig_enforce":      {{"CONFIG_MODULE_SIG_FORCE", choose("1", "0")}},
	"slab_nomerge":            {{"CONFIG_SLAB_MERGE_DEFAULT", choose("off", "on")}},
	"vsyscall":                {{"CONFIG_LEGACY_VSYSCALL_NONE", choose("none", "")}, {"CONFIG_LEGACY_VSYSCALL_XONLY", choose("xonly", "")}, {"CONFIG_LEGACY_VSYSCALL_EMULATE", choose("emulate", "")}},
	"debugfs":                 {{"CONFIG_DEBUG_FS_ALLOW_NONE", choose("off", "")}, {"CONFIG_DEBUG_FS_DISALLOW_MOUNT", choose("no-mount", "")}, {"CONFIG_DEBUG_FS", choose("on", "off")}},
}

// builtOptions are the options of the above, and those of modules.
func builtOptions() map[string]bool {
	wanted := map[string]bool{}
	for _, b := range builtSysctls {
		wanted[b.option] = true
	}
	for _, all := range builtArgs {
		for _, b := range all {
			wanted[b.option] = true
		}
	}
	for _, m := range knownModules {
		wanted["CONFIG_"+m.option] = true
	}
	return wanted
}

// A kernelBuild has the options of a kernel's configuration that matter here; none if nobody keeps it.
type kernelBuild map[string]string

// sysctl is what a parameter begins with, empty if the configuration does not tell.
func (b kernelBuild) sysctl(name string) string {
	d, ok := builtSysctls[name]
	if option, known := b[d.option]; ok && known {
		return d.value(option)
	}
	return ""
}

// arg is what the kernel does without an argument. Only that of x86 has a vsyscall page, and options about it.
func (b kernelBuild) arg(name string) string {
	if _, x86 := b["CONFIG_LEGACY_VSYSCALL_NONE"]; name == "vsyscall" && !x86 && len(b) > 0 {
		return "none"
	}
	for _, d := range builtArgs[name] {
		if option, known := b[d.option]; known {
			if value := d.value(option); value != "" {
				return value
			}
		}
	}
	return ""
}

// kernelBuild reads the configuration of the running kernel, or of the newest that is installed: from the kernel itself if it keeps it,
// or where distributions put it.
func (s *Surveys) kernelBuild() (kernelBuild, error) {
	release, _, err := s.runningKernel()
	if errors.Is(err, ErrNotLive) {
		installed, err := s.installedKernels()
		if err != nil || len(installed) == 0 {
			return nil, err
		}
		return s.buildOf(installed[len(installed)-1])
	}
	if err != nil {
		return nil, err
	}
	f, err := s.Proc().Open("config.gz")
	if Absent(err) {
		return s.buildOf(release)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("/proc/config.gz: %w", err)
	}
	return readBuild("/proc/config.gz", unpacked)
}

func (s *Surveys) buildOf(release string) (kernelBuild, error) {
	file, err := s.firstThere("/boot/config-"+release, "/lib/modules/"+release+"/config", "/usr/lib/modules/"+release+"/config")
	if err != nil || file == "" {
		return nil, err
	}
	f, err := s.Files().Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBuild(file, f)
}

// readBuild reads lines "CONFIG_X=y" and "# CONFIG_X is not set".
func readBuild(file string, from io.Reader) (kernelBuild, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxConfigText+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(data) > maxConfigText {
		return nil, fmt.Errorf("%s: it has more than %d bytes", file, maxConfigText)
	}
	build, wanted := kernelBuild{}, builtOptions()
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		name, value, isSet := strings.Cut(line, "=")
		if off, ok := strings.CutSuffix(line, " is not set"); ok {
			name, value, isSet = strings.TrimPrefix(off, "# "), "n", true
		}
		if isSet && wanted[name] {
			build[name] = value
		}
	}
	return build, nil
}
