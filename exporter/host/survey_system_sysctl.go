package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// sysctlDirs are where parameters are set at boot, the first counting over the others.
var sysctlDirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// maxConfigured is how many parameters that only files name are reported.
const maxConfigured = 1000

// knownSysctls are reported wherever they are, with what every kernel begins with. An empty default depends on how the kernel was
// built (builtSysctls), or on the machine: Documentation/admin-guide/sysctl and networking/ip-sysctl of the kernel, and the variables themselves.
var knownSysctls = []struct{ name, first string }{
	{"kernel.randomize_va_space", "2"}, {"kernel.yama.ptrace_scope", ""}, {"fs.suid_dumpable", "0"}, {"kernel.core_pattern", ""},
	{"kernel.core_uses_pid", ""}, {"kernel.kptr_restrict", "0"}, {"kernel.dmesg_restrict", ""}, {"kernel.printk", ""},
	{"kernel.perf_event_paranoid", ""}, {"kernel.unprivileged_bpf_disabled", ""}, {"net.core.bpf_jit_harden", "0"}, {"net.core.bpf_jit_enable", ""},
	{"kernel.kexec_load_disabled", "0"}, {"kernel.modules_disabled", "0"}, {"kernel.sysrq", ""}, {"kernel.panic", ""}, {"kernel.panic_on_oops", ""},
	{"kernel.unprivileged_userns_clone", ""}, {"kernel.apparmor_restrict_unprivileged_userns", ""}, {"user.max_user_namespaces", ""},
	{"kernel.io_uring_disabled", ""}, {"kernel.ftrace_enabled", ""}, {"kernel.exec-shield", ""}, {"kernel.oops_limit", "10000"}, {"kernel.warn_limit", "0"},
	{"vm.mmap_min_addr", ""}, {"vm.unprivileged_userfaultfd", ""}, {"vm.overcommit_memory", "0"}, {"vm.panic_on_oom", "0"},
	{"vm.mmap_rnd_bits", ""}, {"vm.mmap_rnd_compat_bits", ""}, {"vm.swappiness", "60"},
	{"fs.protected_symlinks", "0"}, {"fs.protected_hardlinks", "0"}, {"fs.protected_fifos", "0"}, {"fs.protected_regular", "0"},
	{"dev.tty.ldisc_autoload", ""}, {"dev.tty.legacy_tiocsti", ""},
	{"net.ipv4.ip_forward", "0"}, {"net.ipv4.tcp_syncookies", "1"}, {"net.ipv4.tcp_rfc1337", "0"}, {"net.ipv4.tcp_timestamps", "1"},
	{"net.ipv4.tcp_sack", "1"}, {"net.ipv4.icmp_echo_ignore_all", "0"}, {"net.ipv4.icmp_echo_ignore_broadcasts", "1"}, {"net.ipv4.icmp_ignore_bogus_error_responses", "1"},
	{"net.ipv4.conf.all.forwarding", "0"}, {"net.ipv4.conf.default.forwarding", "0"}, {"net.ipv4.conf.all.send_redirects", "1"}, {"net.ipv4.conf.default.send_redirects", "1"},
	{"net.ipv4.conf.all.accept_redirects", "1"}, {"net.ipv4.conf.default.accept_redirects", "1"}, {"net.ipv4.conf.all.secure_redirects", "1"}, {"net.ipv4.conf.default.secure_redirects", "1"},
	{"net.ipv4.conf.all.accept_source_route", "0"}, {"net.ipv4.conf.default.accept_source_route", "1"}, {"net.ipv4.conf.all.rp_filter", "0"}, {"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv4.conf.all.log_martians", "0"}, {"net.ipv4.conf.default.log_martians", "0"}, {"net.ipv4.conf.all.arp_ignore", "0"}, {"net.ipv4.conf.all.arp_announce", "0"},
	{"net.ipv4.conf.all.bootp_relay", "0"}, {"net.ipv4.conf.all.proxy_arp", "0"}, {"net.ipv4.conf.all.mc_forwarding", "0"}, {"net.ipv4.conf.all.route_localnet", "0"},
	{"net.ipv6.conf.all.forwarding", "0"}, {"net.ipv6.conf.default.forwarding", "0"}, {"net.ipv6.conf.all.accept_redirects", "1"}, {"net.ipv6.conf.default.accept_redirects", "1"},
	{"net.ipv6.conf.all.accept_source_route", "0"}, {"net.ipv6.conf.default.accept_source_route", "0"}, {"net.ipv6.conf.all.accept_ra", "1"}, {"net.ipv6.conf.default.accept_ra", "1"},
	{"net.ipv6.conf.all.disable_ipv6", ""}, {"net.ipv6.conf.default.disable_ipv6", ""}, {"net.ipv6.conf.all.autoconf", "1"}, {"net.ipv6.conf.default.autoconf", "1"},
	{"net.ipv6.conf.all.mc_forwarding", "0"}, {"net.ipv6.conf.all.router_solicitations", "-1"}, {"net.ipv6.conf.default.router_solicitations", "-1"}, {"net.ipv6.conf.all.use_tempaddr", ""},
	{"net.bridge.bridge-nf-call-iptables", ""}, {"net.bridge.bridge-nf-call-ip6tables", ""},
}

// Sysctls reports the parameters of the kernel: what they are now, and what the files make of them at boot.
func (s *Surveys) Sysctls(ctx context.Context, report func(event.Fact)) error {
	set, setErr := s.sysctlSettings(report)
	build, err := s.kernelBuild()
	if setErr == nil {
		setErr = err
	}
	names, first := []string{}, map[string]string{}
	for _, known := range knownSysctls {
		names, first[known.name] = append(names, known.name), cmp.Or(known.first, build.sysctl(known.name))
	}
	for _, name := range slices.Sorted(maps.Keys(set.explicit)) {
		if _, known := first[name]; !known && len(names) < len(knownSysctls)+maxConfigured {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := s.sysctlFact(name, first[name], set)
		if setErr != nil {
			f.Fail(setErr)
		}
		report(f)
	}
	return nil
}

// sysctlFact tells of one parameter.
func (s *Surveys) sysctlFact(name, first string, set *sysctlSettings) event.Fact {
	configured, isSet := set.find(name)
	f := event.Sysctl.New(name, configured.at)
	if isSet {
		f.Set("configured", configured.text)
	}
	if first != "" {
		f.Set("default", first)
	}
	next, known := first, first != ""
	if isSet {
		next, known = configured.text, true
	}
	now, err := s.sysctlNow(name)
	switch {
	case errors.Is(err, ErrNotLive) && !known:
		return f
	case errors.Is(err, ErrNotLive):
		return sysctlValue(f, next).Set("lasting", true)
	case Absent(err):
		return f.Set("exists", false)
	case err != nil:
		return f.Set("exists", true).Fail(err)
	}
	return sysctlValue(f, now).Set("exists", true).Set("lasting", !known || next == now)
}

func sysctlValue(f event.Fact, value string) event.Fact {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		f.Set("number", n)
	}
	return f.Set("value", value)
}

// sysctlNow reads a parameter of the running kernel.
func (s *Surveys) sysctlNow(name string) (string, error) {
	data, err := s.Proc().Read("sys/"+sysctlPath(name), 64<<10)
	return oneBlank(string(data)), err
}

func oneBlank(text string) string { return strings.Join(strings.Fields(text), " ") }

// sysctlPath is where a parameter is below /proc/sys: a dot in a name parts directories, a slash is a dot of one.
func sysctlPath(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

// sysctlName is a parameter as sysctl(8) shows it, of how a file writes it: if the first of its dots and slashes is a slash, these
// part directories.
func sysctlName(written string) string {
	if i := strings.IndexAny(written, "./"); i >= 0 && written[i] == '/' {
		return sysctlPath(written)
	}
	return written
}

// sysctlSettings are what files set. A name with a pattern counts only for parameters that have no line of their own.
type sysctlSettings struct {
	explicit map[string]located
	patterns []sysctlPattern
	excluded map[string]bool // from patterns
}

type sysctlPattern struct {
	name string
	located
}

func (set *sysctlSettings) find(name string) (located, bool) {
	if v, ok := set.explicit[name]; ok {
		return v, true
	}
	if set.excluded[name] {
		return located{}, false
	}
	for _, p := range slices.Backward(set.patterns) {
		if ok, _ := path.Match(sysctlPath(p.name), sysctlPath(name)); ok {
			return p.located, true
		}
	}
	return located{}, false
}

// sysctlSettings reads what is set at boot. Lines that nobody would understand are reported by themselves.
func (s *Surveys) sysctlSettings(report func(event.Fact)) (*sysctlSettings, error) {
	set := &sysctlSettings{explicit: map[string]located{}, excluded: map[string]bool{}}
	if line, err := s.Proc().Read("cmdline", maxConfigText); err == nil {
		for _, arg := range bootArgs(string(line)) {
			if name, ok := strings.CutPrefix(arg.name, "sysctl."); ok {
				set.explicit[sysctlName(name)] = located{oneBlank(arg.value), "/proc/cmdline"}
			}
		}
	}
	files, err := s.sysctlFiles()
	if err != nil {
		return set, err
	}
	for _, file := range files {
		text, _, err := s.configText(file)
		if err != nil {
			return set, err
		}
		for _, err := range set.add(file, text) {
			report(err)
		}
	}
	return set, nil
}

// sysctlFiles are the files that set parameters, those that count most last. systemd takes no notice of /etc/sysctl.conf, to which
// distributions have a link among its own files; others read it at the end. What ufw sets comes later, when it starts.
func (s *Surveys) sysctlFiles() ([]string, error) {
	files, err := s.dropIns(sysctlDirs, ".conf")
	if err != nil {
		return nil, err
	}
	systemd, err := s.firstThere("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
	if err != nil {
		return nil, err
	}
	if systemd == "" {
		files = append(files, "/etc/sysctl.conf")
	}
	ufw, err := s.ufwSysctl()
	if ufw != "" {
		files = append(files, ufw)
	}
	return files, err
}

// ufwSysctl is the file that ufw sets parameters from, empty if it is off.
func (s *Surveys) ufwSysctl() (string, error) {
	state, _, err := s.configText("/etc/ufw/ufw.conf")
	if err != nil || !on(shellValues("", state)["ENABLED"].text) {
		return "", err
	}
	defaults, _, err := s.configText("/etc/default/ufw")
	return shellValues("", defaults)["IPT_SYSCTL"].text, err
}

// add reads one file: `name = value` lines, `-name = value` for those that may fail, `-name` for those that a pattern leaves out.
func (set *sysctlSettings) add(file, text string) (malformed []event.Fact) {
	joinedLines(text, "#;", func(n int, line string) {
		written, value, isSet := strings.Cut(line, "=")
		written, minus := strings.CutPrefix(strings.TrimSpace(written), "-")
		name := sysctlName(strings.TrimSpace(written))
		at := place(file, n)
		switch pattern := strings.ContainsAny(name, "*?["); {
		case name == "" || strings.ContainsAny(name, " \t") || !isSet && !minus:
			malformed = append(malformed, event.Sysctl.New(at, at).Fail(fmt.Errorf("%s: want name = value, got %.60q", at, line)))
		case !isSet:
			set.excluded[name] = true
		case pattern:
			set.patterns = append(set.patterns, sysctlPattern{name, located{oneBlank(value), at}})
		default:
			set.explicit[name] = located{oneBlank(value), at}
		}
	})
	return malformed
}
