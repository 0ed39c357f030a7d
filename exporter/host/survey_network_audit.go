package host

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of facts of the audit.
const (
	maxMissing    = 50
	maxWrongLines = 20
	maxPrivileged = 2000
	maxLibDir     = 500 // entries of a directory below /usr/lib in which setuid programs are looked for
)

var auditService = knownService{"auditd", []string{"auditd", "audit"}, []string{"auditd.service"}, []string{"auditd"}, nil, []string{"auditd"}}

// An auditState is what surveys of the audit know.
type auditState struct {
	s       *Surveys
	in      *installed
	disk    *auditSet
	arch    string         // x86_64 or aarch64
	numbers map[string]int // columns of auditSyscalls
	kernel  *kernelAudit   // nil if none runs, or it may not be asked
	why     error          // why not
}

// audit reports the audit, its daemon, its files and what it records.
func (s *Surveys) audit(_ context.Context, in *installed, report func(event.Fact)) error {
	a, err := &auditState{s: s, in: in}, error(nil)
	if a.disk, err = s.auditFiles(); err != nil {
		return err
	}
	if a.arch, err = s.architecture(); err != nil {
		return err
	}
	a.numbers = auditArchs[a.arch]
	if s.Live() {
		a.kernel, a.why = askAudit(a.numbers)
	}
	report(a.daemon())
	if s.Live() {
		report(a.kernelFact())
	}
	for _, f := range a.disk.files {
		wrong := append([]string{}, f.wrong[:min(len(f.wrong), maxWrongLines)]...)
		report(event.AuditFile.New(f.name, f.name).Set("rules", int64(f.rules)).Set("valid", len(f.wrong) == 0).Set("wrong", wrong))
	}
	return a.requirements(report)
}

// auditFiles reads the rules that are loaded at boot: those of rules.d in the order of their names, which augenrules makes one file of,
// or where there are none that file.
func (s *Surveys) auditFiles() (*auditSet, error) {
	set := &auditSet{joined: true}
	files, err := s.glob("/etc/audit/rules.d/*.rules")
	if err != nil {
		return nil, err
	}
	if err := s.eachText(files, set.parseAudit); err != nil {
		return nil, err
	}
	if len(set.rules) > 0 {
		return set, nil
	}
	text, exists, err := s.configText("/etc/audit/audit.rules")
	if set.joined = false; exists {
		set.parseAudit("/etc/audit/audit.rules", text)
	}
	return set, err
}

// architecture is the machine's, by its programs.
func (s *Surveys) architecture() (string, error) {
	for _, file := range []string{"/bin/sh", "/sbin/init", "/usr/bin/env", "/usr/lib/systemd/systemd", "/usr/bin/busybox", "/bin/busybox"} {
		f, err := s.Files().Open(file)
		if Absent(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		header := make([]byte, 20)
		n, err := f.ReadAt(header, 0)
		f.Close()
		if err != nil || n < len(header) || string(header[:4]) != elf.ELFMAG {
			continue // a script
		}
		switch elf.Machine(uint16(header[18]) | uint16(header[19])<<8) {
		case elf.EM_X86_64:
			return "x86_64", nil
		case elf.EM_AARCH64:
			return "aarch64", nil
		}
	}
	return "x86_64", nil
}

// daemon tells of the daemon and of auditd.conf.
func (a *auditState) daemon() event.Fact {
	const conf = "/etc/audit/auditd.conf"
	state := a.in.state(&auditService)
	f := event.Auditd.New("machine", conf).Set("exists", state.exists).Set("enabled", state.enabled).Set("works", a.s.atWork(state))
	if a.s.Live() {
		f.Set("running", state.running)
	}
	suppressed := a.suppressed()
	f.Set("suppressed", suppressed).Set("silenced", len(suppressed) > 0)
	text, exists, err := a.s.configText(conf)
	if err != nil {
		return f.Fail(err)
	}
	if exists {
		if err := setAuditd(f, conf, text); err != nil {
			return f.Fail(err)
		}
	}
	return f
}

// suppressed are rules that keep all calls of everybody from being recorded.
func (a *auditState) suppressed() []string {
	all := []string{}
	for _, r := range a.disk.rules {
		if r.action == "never" && !r.narrow && r.path == "" && r.dir == "" && r.exit == "" && r.compare == "" && (r.list == "task" || r.list == "exit" && slices.Contains(r.syscalls, allSyscalls)) {
			all = append(all, r.at)
		}
	}
	return all
}

// kernelFact tells of the running kernel.
func (a *auditState) kernelFact() event.Fact {
	f := event.KernelAudit.New("machine", "").Set("wanted", a.in.state(&auditService).exists).Set("rules", int64(len(a.disk.rules)))
	if a.kernel == nil {
		return f.Fail(a.why)
	}
	f.Set("state", []string{"off", "on", "locked"}[min(a.kernel.enabled, 2)])
	f.Set("backlog_limit", int64(a.kernel.backlog)).Set("lost", int64(a.kernel.lost)).Set("loaded", int64(len(a.kernel.rules)))
	return f.Set("same", slices.Equal(identities(a.disk.rules), identities(a.kernel.rules)))
}

func identities(rules []auditRule) []string {
	all := make([]string, len(rules))
	for i := range rules {
		all[i] = rules[i].identity()
	}
	slices.Sort(all)
	return all
}

// auditdActions are what auditd can be told to do. Of those that it is not told it does nothing: ignore.
var auditdActions = []string{"max_log_file_action", "space_left_action", "admin_space_left_action", "disk_full_action", "disk_error_action"}

// setAuditd reads auditd.conf.
func setAuditd(f event.Fact, file, text string) (wrong error) {
	values := map[string]string{}
	joinedLines(text, "#", func(n int, line string) {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			wrong = cmp.Or(wrong, fmt.Errorf("%s: want key = value, got %.60q", place(file, n), line))
			return
		}
		values[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
	})
	for _, key := range []string{"max_log_file", "num_logs"} {
		if value, ok := values[key]; ok {
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil {
				return fmt.Errorf("%s: %s: want a number, got %.20q", file, key, value)
			}
			f.Set(key, n)
		}
	}
	for _, key := range auditdActions {
		action, _, _ := strings.Cut(strings.ToLower(values[key]), " ")
		values[key] = cmp.Or(action, "ignore")
		f.Set(key, values[key])
	}
	for _, key := range []string{"log_file", "log_group"} {
		if values[key] != "" {
			f.Set(key, values[key])
		}
	}
	told := slices.Contains([]string{"email", "exec", "single", "halt"}, values["space_left_action"])
	f.Set("warns", told && slices.Contains([]string{"single", "halt"}, values["admin_space_left_action"]))
	full := values["disk_full_action"] == "halt" || values["disk_full_action"] == "single"
	f.Set("stops", full && slices.Contains([]string{"syslog", "halt", "single"}, values["disk_error_action"]))
	return wrong
}

// An auditNeed is one thing that a requirement asks for.
type auditNeed struct {
	name string
	seen func(r *auditRule) bool
}

// A requirement is something that the audit should record.
type requirement struct {
	name  string
	needs []auditNeed
}

// calls asks for system calls, of all the architectures that programs of this machine may have.
func (a *auditState) calls(exit, compare string, names ...string) (all []auditNeed) {
	for _, arch := range []string{"b64", "b32"} {
		if arch == "b32" && a.arch != "x86_64" {
			continue
		}
		for _, name := range names {
			if column, ok := a.numbers[arch]; !ok || auditSyscalls[name][column] < 0 {
				continue
			}
			title := name + " " + arch
			if exit != "" {
				title += " " + exit
			}
			all = append(all, auditNeed{title, func(r *auditRule) bool { return r.seesCall(name, arch, exit, compare) }})
		}
	}
	return all
}

// files asks for files that somebody writes to or whose attributes somebody changes.
func (a *auditState) files(ways string, files ...string) (all []auditNeed) {
	for _, file := range files {
		st, err := a.s.stat(file)
		isDir := err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
		own := oneName(file)
		all = append(all, auditNeed{file + " " + ways, func(r *auditRule) bool { return r.seesFile(own, isDir, ways) }})
	}
	return all
}

// present are those of the files that there are.
func (a *auditState) present(files ...string) (all []string) {
	for _, file := range files {
		if ok, err := a.s.there(file); ok || err != nil {
			all = append(all, file)
		}
	}
	return all
}

// policies are where what AppArmor and SELinux allow is written, of those that the machine has. Of SELinux every Debian has an
// /etc/selinux, with what a library needs; the machine has it where it is configured.
func (a *auditState) policies() []string {
	all := a.present("/etc/apparmor", "/etc/apparmor.d")
	if len(a.present("/etc/selinux/config")) > 0 {
		all = append(all, a.present("/etc/selinux", "/usr/share/selinux")...)
	}
	return all
}

// program asks for a program that somebody starts, if it is installed.
func (a *auditState) program(name string) []auditNeed {
	file, ok := a.in.programs[name]
	if !ok {
		return nil
	}
	return a.files("x", file)
}

// requirementsOf are what should be recorded. One that needs nothing on this machine is left out.
func (a *auditState) requirementsOf() ([]requirement, error) {
	sudoLog, err := a.s.sudoLog()
	if err != nil {
		return nil, err
	}
	privileged, err := a.s.privilegedPrograms()
	if err != nil {
		return nil, err
	}
	all := []requirement{
		{"scope", a.files("wa", "/etc/sudoers", "/etc/sudoers.d")},
		{"user_emulation", a.calls("", comparePair("uid", "euid"), "execve")},
		{"sudo_log", sudoLogNeeds(a, sudoLog)},
		{"time", join(a.calls("", "", "adjtimex", "settimeofday", "clock_settime"), a.files("wa", "/etc/localtime"))},
		{"network", join(a.calls("", "", "sethostname", "setdomainname"), a.files("wa", a.present("/etc/issue", "/etc/issue.net", "/etc/hosts", "/etc/networks", "/etc/network", "/etc/netplan", "/etc/NetworkManager", "/etc/sysconfig/network", "/etc/sysconfig/network-scripts")...))},
		{"privileged", a.files("x", privileged...)},
		{"access", join(a.calls("EACCES", "", "creat", "open", "openat", "truncate", "ftruncate"), a.calls("EPERM", "", "creat", "open", "openat", "truncate", "ftruncate"))},
		{"identity", a.files("wa", "/etc/group", "/etc/passwd", "/etc/gshadow", "/etc/shadow", "/etc/security/opasswd")},
		{"name_services", a.files("wa", a.present("/etc/nsswitch.conf", "/etc/pam.conf", "/etc/pam.d")...)},
		{"permissions", a.calls("", "", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr")},
		{"mounts", a.calls("", "", "mount")},
		{"sessions", a.files("wa", "/run/utmp", "/var/log/wtmp", "/var/log/btmp")},
		{"logins", a.files("wa", "/var/log/lastlog", "/run/faillock")},
		{"deletions", a.calls("", "", "rename", "unlink", "renameat", "unlinkat")},
		{"mac_policy", a.files("wa", a.policies()...)},
		{"chcon", a.program("chcon")}, {"setfacl", a.program("setfacl")}, {"chacl", a.program("chacl")}, {"usermod", a.program("usermod")},
		{"modules", join(only64(a.calls("", "", "init_module", "finit_module", "delete_module")), a.program("kmod"))},
		{"audit_config", a.files("wa", "/etc/audit")},
		{"startup", a.files("wa", a.present("/etc/systemd", "/etc/cron.d", "/etc/crontab", "/etc/init.d")...)},
	}
	return slices.DeleteFunc(all, func(r requirement) bool { return len(r.needs) == 0 }), nil
}

func join(a, b []auditNeed) []auditNeed { return append(a, b...) }

func only64(needs []auditNeed) []auditNeed {
	return slices.DeleteFunc(needs, func(n auditNeed) bool { return strings.HasSuffix(n.name, " b32") })
}

// sudoLogNeeds asks for the log of sudo; if it has none, nothing can be recorded of it.
func sudoLogNeeds(a *auditState, file string) []auditNeed {
	if _, sudo := a.in.programs["sudo"]; !sudo {
		return nil
	}
	if file == "" {
		return []auditNeed{{"Defaults logfile= of sudoers", func(*auditRule) bool { return false }}}
	}
	return a.files("wa", file)
}

// sudoLog is the file that sudo logs to, empty if none is set.
func (s *Surveys) sudoLog() (log string, err error) {
	files, err := s.glob("/etc/sudoers.d/*")
	if err != nil {
		return "", err
	}
	err = s.eachText(append([]string{"/etc/sudoers"}, files...), func(_, text string) {
		joinedLines(text, "#", func(_ int, line string) {
			if _, rest, ok := strings.Cut(line, "logfile"); ok && strings.HasPrefix(line, "Defaults") {
				if value, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "="); ok {
					value, _, _ = strings.Cut(strings.TrimSpace(value), ",")
					log = unquoteShell(value)
				}
			}
		})
	})
	if err != nil {
		return "", err
	}
	return log, nil
}

// privilegedPrograms are the programs that run as their owner or their group, where programs are.
func (s *Surveys) privilegedPrograms() (all []string, err error) {
	dirs := append([]string{}, binDirs...)
	for _, parent := range []string{"/usr/lib", "/usr/libexec"} {
		names, err := s.readDir(parent)
		if err != nil && !Absent(err) {
			return nil, err
		}
		for _, n := range names {
			if n.Type == "directory" {
				dirs = append(dirs, path.Join(parent, n.Name))
			}
		}
	}
	for _, dir := range dirs {
		if s.isLink(dir) || strings.HasPrefix(dir, "/lib/") && s.isLink("/lib") {
			continue
		}
		found, err := s.setuidIn(dir, strings.HasPrefix(dir, "/usr/lib/"))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > maxPrivileged {
		return nil, fmt.Errorf("more than %d programs run as their owner or group", maxPrivileged)
	}
	return all, nil
}

func (s *Surveys) setuidIn(dir string, small bool) (all []string, err error) {
	f, err := s.Files().OpenDir(dir)
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxEntries)
	if small && len(names) > maxLibDir {
		return nil, nil // libraries
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && st.Mode&0o111 != 0 {
			all = append(all, path.Join(dir, name))
		}
	}
	return all, nil
}

// requirements tells for each whether the files and the kernel have rules for it.
func (a *auditState) requirements(report func(event.Fact)) error {
	all, err := a.requirementsOf()
	if err != nil {
		return err
	}
	for _, r := range all {
		f := event.AuditRule.New(r.name, "")
		missing := missingOf(r.needs, a.disk.rules)
		f.Set("on_disk", len(missing) == 0).Set("missing", missing[:min(len(missing), maxMissing)])
		a.setLoaded(f, len(missing) == 0, func() []string { return missingOf(r.needs, a.kernel.rules) })
		report(f)
	}
	f := event.AuditRule.New("immutable", "").Set("on_disk", a.disk.enabled == "2").Set("missing", []string{})
	if a.disk.enabled != "2" {
		f.Set("missing", []string{"-e 2"})
	}
	a.setLoaded(f, a.disk.enabled == "2", func() []string {
		if a.kernel.enabled == 2 {
			return []string{}
		}
		return []string{"-e 2"}
	})
	report(f)
	return nil
}

func (a *auditState) setLoaded(f event.Fact, onDisk bool, unloaded func() []string) {
	switch {
	case !a.s.Live():
		f.Set("effective", onDisk)
	case a.kernel == nil:
		f.Fail(a.why)
	default:
		missing := unloaded()
		f.Set("loaded", len(missing) == 0).Set("unloaded", missing[:min(len(missing), maxMissing)]).Set("effective", onDisk && len(missing) == 0)
	}
}

// missingOf are the needs that no rule sees.
func missingOf(needs []auditNeed, rules []auditRule) []string {
	missing := []string{}
	for _, n := range needs {
		if !slices.ContainsFunc(rules, func(r auditRule) bool { return n.seen(&r) }) {
			missing = append(missing, n.name)
		}
	}
	return missing
}

// auditTools are the programs that read and change the audit.
var auditTools = []string{"auditctl", "aureport", "ausearch", "autrace", "auditd", "augenrules"}

// AuditFiles reports the audit's files: its record, its configuration and its tools.
func (s *Surveys) AuditFiles(_ context.Context, report func(event.Fact)) error {
	text, _, err := s.configText("/etc/audit/auditd.conf")
	log := "/var/log/audit/audit.log"
	joinedLines(text, "#", func(_ int, line string) {
		if key, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "log_file" {
			log = strings.TrimSpace(value)
		}
	})
	if err != nil {
		report(event.File.New("/etc/audit/auditd.conf", "").Set("purpose", "audit_config").Fail(err))
	}
	report(s.fileFact("audit_log_directory", path.Dir(log)))
	for _, group := range []struct{ purpose, pattern string }{
		{"audit_log", path.Join(path.Dir(log), "*")}, {"audit_config", "/etc/audit/*.conf"}, {"audit_config", "/etc/audit/*.rules"}, {"audit_config", "/etc/audit/rules.d/*"},
	} {
		files, err := s.glob(group.pattern)
		if err != nil {
			report(event.File.New(group.pattern, "").Set("purpose", group.purpose).Fail(err))
		}
		for _, file := range files {
			report(s.fileFact(group.purpose, file))
		}
	}
	for _, name := range auditTools {
		file, err := s.firstThere("/usr/sbin/"+name, "/sbin/"+name, "/usr/bin/"+name)
		if err != nil {
			report(event.File.New(file, "").Set("purpose", "audit_tool").Fail(err))
		} else if file != "" {
			report(s.fileFact("audit_tool", file))
		}
	}
	return nil
}
