package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// auditRules satisfy all requirements of the planted machine, written by hand after auditctl(8).
const auditRules = `-D
-b 8192
--backlog_wait_time 60000
-f 1
-w /etc/sudoers -p wa -k scope
-a always,exit -F dir=/etc/sudoers.d/ -F perm=wa -F key=scope
-a always,exit -F arch=b64 -C euid!=uid -F auid!=unset -S execve -k user_emulation
-a exit,always -F arch=b32 -C uid!=euid -F auid!=-1 -S execve -k user_emulation
-w "/var/log/sudo.log" -p wa -k sudo_log
-a always,exit -F arch=b64 -S adjtimex,settimeofday -k time
-a always,exit -F arch=b32 -S adjtimex -S settimeofday -k time
-a always,exit -F arch=b64 -S clock_settime -F a0=0x0 -k time
-a always,exit -F arch=b32 -S clock_settime -F a0=0 -k time
-w /etc/localtime -p wa -k time
-a always,exit -F arch=b64 -S sethostname,setdomainname -k net
-a always,exit -F arch=b32 -S sethostname,setdomainname -k net
-w /etc/hosts -p wa -k net
-a always,exit -F path=/usr/bin/su -F perm=x -F auid>=1000 -F auid!=4294967295 -k privileged
-a always,exit -F arch=b64 -S creat,open,openat,truncate,ftruncate -F exit=-EACCES -F auid>=1000 -F auid!=unset -k access
-a always,exit -F arch=b64 -S creat,open,openat,truncate,ftruncate -F exit=-EPERM -F auid>=1000 -F auid!=unset -k access
-a always,exit -F arch=b32 -S creat,open,openat,truncate,ftruncate -F exit=-13 -F auid>999 -F auid!=unset -k access
-a always,exit -F arch=b32 -S creat,open,openat,truncate,ftruncate -F exit=-1 -F auid>=1000 -F auid!=unset -k access
-w /etc/group -p wa
-w /etc/passwd -p rwxa
-w /etc/gshadow -p wa
-w /etc/shadow
-w /etc/security/opasswd -p aw
-w /etc/pam.d -p wa
-a always,exit -F arch=b64 -S chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr -F auid>=1000 -k perm
-a always,exit -F arch=b32 -S chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr -F auid>=1000 -k perm
-a always,exit -F arch=b64 -S mount -F auid>=1000 -k mounts
-a always,exit -F arch=b32 -S mount -F auid>=1000 -k mounts
-w /var/run/utmp -p wa
-w /var/log/wtmp -p wa
-w /var/log/btmp -p wa
-w /var/log/lastlog -p wa
-w /run/faillock/ -p wa
-a always,exit -F arch=b64 -S rename,unlink,renameat,unlinkat -F auid>=1000 -k delete
-a always,exit -F arch=b32 -S rename,unlink,renameat,unlinkat -F auid>=1000 -k delete
-w /etc/apparmor.d/ -p wa
-a always,exit -F path=/usr/sbin/usermod -F perm=x -k usermod
-a always,exit -F arch=b64 -S init_module,finit_module,delete_module -k modules
-a always,exit -F path=/bin/kmod -F perm=x -k modules
-w /etc/audit/ -p wa -k audit
-w /etc/systemd -p wa
-e 2
`

// auditMachine is a machine of x86-64 with these rules.
func auditMachine(t *testing.T, rules string) *Surveys {
	t.Helper()
	sh := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00")
	s := plant(t, map[string]string{
		"bin/sh": string(sh), "usr/bin/su": "", "usr/bin/sudo": "", "usr/sbin/usermod": "", "usr/bin/kmod": "", "usr/sbin/auditctl": "", "usr/sbin/auditd": "",
		"etc/sudoers": "Defaults env_reset\nDefaults use_pty, logfile=\"/var/log/sudo.log\", insults\n", "etc/sudoers.d/x": "", "etc/hosts": "", "etc/pam.d/su": "", "etc/apparmor.d/x": "", "etc/selinux/semanage.conf": "", "etc/systemd/x": "",
		"etc/audit/rules.d/50-all.rules": rules, "etc/audit/audit.rules": "-D\n",
		"etc/audit/auditd.conf": "log_file = /var/log/audit/audit.log\nlog_group = adm\nmax_log_file = 32\nnum_logs = 5\nmax_log_file_action = KEEP_LOGS\nspace_left_action = email\nadmin_space_left_action = single\ndisk_full_action = HALT\ndisk_error_action = exec /bin/x\n",
		"usr/bin/systemctl":     "", "usr/lib/systemd/system/auditd.service": serviceUnit, "etc/systemd/system/multi-user.target.wants/auditd.service": "",
		"var/log/audit/audit.log": "",
	})
	if err := os.Chmod(filepath.Join(s.Root, "usr/bin/su"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	return s
}

// auditNames are the requirements that the machine has.
var auditNames = []string{"scope", "user_emulation", "sudo_log", "time", "network", "privileged", "access", "identity", "name_services", "permissions", "mounts", "sessions", "logins", "deletions", "mac_policy", "usermod", "modules", "audit_config", "startup", "immutable"}

func TestAuditRulesSatisfyRequirements(t *testing.T) {
	t.Parallel()
	facts := networkFactsOf(t, auditMachine(t, auditRules), "audit")
	for _, name := range auditNames {
		expect(t, facts["audit "+name], map[string]any{"on_disk": true, "effective": true, "missing": []string{}, "loaded": nil})
	}
	for name, f := range facts {
		if f.Kind == event.AuditRule && !slices.Contains(auditNames, strings.TrimPrefix(name, "audit ")) {
			t.Errorf("%s is asked for on a machine that has nothing of it", name)
		}
	}
	expect(t, facts["auditd machine"], map[string]any{"exists": true, "enabled": true, "works": true, "max_log_file": 32, "max_log_file_action": "keep_logs", "num_logs": 5, "warns": true, "stops": false, "disk_error_action": "exec", "silenced": false, "suppressed": []string{}, "log_group": "adm"})
	expect(t, facts["auditfile /etc/audit/rules.d/50-all.rules"], map[string]any{"valid": true, "rules": 41, "wrong": []string{}})
}

func TestAuditAsksForPoliciesThatCount(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ file, want string }{
		{"etc/apparmor.d/x", "/etc/apparmor.d"}, {"etc/selinux/semanage.conf", ""}, {"etc/selinux/config", "/etc/selinux"}, {"etc/passwd", ""},
	} {
		a := &auditState{s: plant(t, map[string]string{test.file: ""})}
		if got := strings.Join(a.policies(), " "); got != test.want {
			t.Errorf("with %s: %q, want %q", test.file, got, test.want)
		}
	}
}

// TestEachAuditRuleCounts takes away one rule after the other: then something is missing.
func TestEachAuditRuleCounts(t *testing.T) {
	t.Parallel()
	a := &auditState{s: auditMachine(t, auditRules), in: &installed{programs: map[string]string{"usermod": "/usr/sbin/usermod", "kmod": "/usr/bin/kmod", "sudo": "/usr/bin/sudo"}}, arch: "x86_64", numbers: auditArchs["x86_64"]}
	all, err := a.requirementsOf()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(auditRules), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "-w") && !strings.HasPrefix(line, "-a") {
			continue
		}
		var set auditSet
		set.parseAudit("f", strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "\n"))
		if !slices.ContainsFunc(all, func(r requirement) bool { return len(missingOf(r.needs, set.rules)) > 0 }) {
			t.Errorf("nothing is missing without %s", line)
		}
	}
}

func TestAuditRulesThatSeeLess(t *testing.T) {
	t.Parallel()
	rule := func(line string) *auditRule {
		var set auditSet
		if set.parseAudit("f", line+"\n"); len(set.rules) != 1 {
			t.Fatalf("%s: %d rules, %q", line, len(set.rules), set.files[0].wrong)
		}
		return &set.rules[0]
	}
	call := func(line string, want bool) {
		if got := rule(line).seesCall("mount", "b64", "", ""); got != want {
			t.Errorf("%s sees mount: %v, want %v", line, got, want)
		}
	}
	call("-a always,exit -F arch=b64 -S mount", true)
	call("-a always,exit -F arch=b64 -S all", true)
	call("-a always,exit -F arch=b64", true)
	call("-a always,exit -S mount", true) // of the machine's own kind
	call("-a always,exit -F arch=b64 -S 165", true)
	call("-a always,exit -F arch=x86_64 -S mount,umount2 -F auid>=500 -F auid!=unset", true)
	call("-a always,exit -F arch=b32 -S mount", false)
	call("-a never,exit -F arch=b64 -S mount", false)
	call("-a always,task -F arch=b64 -S mount", false)
	call("-a always,exit -F arch=b64 -S mount -F auid>=2000", false)
	call("-a always,exit -F arch=b64 -S mount -F auid=0", false)
	call("-a always,exit -F arch=b64 -S mount -F uid=0", false)
	call("-a always,exit -F arch=b64 -S mount -F success=1", false)
	call("-a always,exit -F arch=b64 -S mount -F exit=-EPERM", false)
	call("-a always,exit -F arch=b64 -S mount -F a0=1", false)
	call("-a always,exit -F arch=b64 -S mount -C uid!=euid", false)
	call("-a always,exit -F arch=b64 -S mount -F dir=/mnt", false)
	call("-a always,exit -F arch=b64 -F perm=x", false)
	call("-a always,exit -F arch=b64 -S umount2", false)
	file := func(line, path string, isDir bool, ways string, want bool) {
		if got := rule(line).seesFile(path, isDir, ways); got != want {
			t.Errorf("%s sees %s of %s: %v, want %v", line, ways, path, got, want)
		}
	}
	file("-w /etc -p wa", "/etc/passwd", false, "wa", true)
	file("-w /etc/passwd -p w", "/etc/passwd", false, "wa", false)
	file("-w /etc/pass -p wa", "/etc/passwd", false, "wa", false)
	file("-a always,exit -F path=/etc/pam.d -F perm=wa", "/etc/pam.d", true, "wa", false) // only the directory itself
	file("-a always,exit -F dir=/etc/pam.d -F perm=wa", "/etc/pam.d", true, "wa", true)
	file("-a always,exit -F path=/etc/passwd", "/etc/passwd", false, "wa", true)
	file("-a always,exit -F path=/etc/passwd -F perm=wa -F uid!=0", "/etc/passwd", false, "wa", false)
	file("-a always,exit -F path=/etc/passwd -F perm=wa -S openat", "/etc/passwd", false, "wa", false)
	file("-a never,exit -F path=/etc/passwd", "/etc/passwd", false, "wa", false)
	file("-w /var/run/utmp -p wa", "/run/utmp", false, "wa", true)
	file("-w /sbin/usermod -p x", "/usr/sbin/usermod", false, "x", true)
}

func TestAuditLinesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	rules := "-w /etc/passwd -p wa\nalways,exit -S x\n-a always\n-a sometimes,exit\n-w\n-F nothing\n-a never,task\n-a always,exit -F auid\n"
	s := auditMachine(t, rules)
	facts := networkFactsOf(t, s, "audit")
	f := facts["auditfile /etc/audit/rules.d/50-all.rules"]
	expect(t, f, map[string]any{"valid": false, "rules": 2})
	wrong, _ := f.Values["wrong"].([]string)
	for i, want := range []string{
		`50-all.rules:2: want an option of auditctl, got "always,exit"`, `:3: want LIST,ACTION as exit,always, got "always"`, `:4: want LIST,ACTION as exit,always, got "sometimes,exit"`,
		":5: want a value behind -w", `:6: want NAME, an operator and a value, got "nothing"`, `:8: want NAME, an operator and a value, got "auid"`,
	} {
		if i >= len(wrong) || !strings.HasSuffix(wrong[i], want) {
			t.Errorf("line %d of what is wrong is not %s: %q", i, want, wrong)
		}
	}
	expect(t, facts["auditd machine"], map[string]any{"silenced": true, "suppressed": []string{"/etc/audit/rules.d/50-all.rules:7"}})
	expect(t, facts["audit mounts"], map[string]any{"on_disk": false, "effective": false, "missing": []string{"mount b64", "mount b32"}})
	expect(t, facts["audit immutable"], map[string]any{"on_disk": false, "missing": []string{"-e 2"}})

	bad := auditMachine(t, "")
	if err := os.WriteFile(filepath.Join(bad.Root, "etc/audit/auditd.conf"), []byte("max_log_file = many\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := networkFactsOf(t, bad, "audit")["auditd machine"].Err(); got != `/etc/audit/auditd.conf: max_log_file: want a number, got "many"` {
		t.Errorf("the error of a malformed auditd.conf is %q", got)
	}
}

func TestAugenrulesPutsDeletionBeforeAllRules(t *testing.T) {
	t.Parallel()
	s := auditMachine(t, "-w /etc/group -p wa -k a\n")
	for name, text := range map[string]string{"audit.rules": "-D\n-b 8192\n-w /etc/hosts -p wa -k b\n-e 2\n", "zz.rules": "-w /etc/issue -p wa -k c\n"} {
		if err := os.WriteFile(filepath.Join(s.Root, "etc/audit/rules.d", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set, err := s.auditFiles()
	if err != nil || len(set.rules) != 3 || set.enabled != "2" {
		t.Errorf("%d rules, enabled %q, error %v; want 3 of three files, 2", len(set.rules), set.enabled, err)
	}
	alone := plant(t, map[string]string{"etc/audit/audit.rules": "-w /etc/group -p wa\n-D\n-w /etc/hosts -p wa\n"})
	if set, err = alone.auditFiles(); err != nil || len(set.rules) != 1 || set.rules[0].path != "/etc/hosts" {
		t.Errorf("rules of one file are %v, error %v; want what stands behind -D", set.rules, err)
	}
}

func TestAuditdDoesNothingUnlessItIsTold(t *testing.T) {
	t.Parallel()
	for conf, want := range map[string]map[string]any{
		"log_file = /x\n": {"max_log_file": nil, "max_log_file_action": "ignore", "disk_full_action": "ignore", "warns": false, "stops": false},
		"space_left_action = email root\nadmin_space_left_action = email\n":                                                        {"space_left_action": "email", "warns": false},
		"space_left_action = exec /bin/x\nadmin_space_left_action = HALT\ndisk_full_action = single\ndisk_error_action = syslog\n": {"warns": true, "stops": true},
	} {
		s := auditMachine(t, "")
		if err := os.WriteFile(filepath.Join(s.Root, "etc/audit/auditd.conf"), []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		expect(t, networkFactsOf(t, s, "audit")["auditd machine"], want)
	}
}

// kernelRule writes struct audit_rule_data.
func kernelRule(list, action uint32, calls []int, fields [][3]uint32, text string) []byte {
	data := make([]byte, auditRuleSize, auditRuleSize+len(text))
	native.PutUint32(data, list)
	native.PutUint32(data[4:], action)
	native.PutUint32(data[8:], uint32(len(fields)))
	for i := range 64 {
		if calls == nil {
			native.PutUint32(data[12+4*i:], 0xffffffff)
		}
	}
	for _, call := range calls {
		at := 12 + 4*(call/32)
		native.PutUint32(data[at:], native.Uint32(data[at:])|1<<(call%32))
	}
	for i, f := range fields {
		for j, at := range []int{268, 524, 780} { // fields, values, operators
			native.PutUint32(data[at+4*i:], f[j])
		}
	}
	native.PutUint32(data[1036:], uint32(len(text)))
	return append(data, text...)
}

func TestRulesOfTheKernel(t *testing.T) {
	t.Parallel()
	numbers := auditArchs["x86_64"]
	watch := kernelRule(unix.AUDIT_FILTER_EXIT, unix.AUDIT_ALWAYS, nil, [][3]uint32{
		{unix.AUDIT_WATCH, 11, unix.AUDIT_EQUAL}, {unix.AUDIT_PERM, unix.AUDIT_PERM_WRITE | unix.AUDIT_PERM_ATTR, unix.AUDIT_EQUAL}, {unix.AUDIT_FILTERKEY, 8, unix.AUDIT_EQUAL},
	}, "/etc/passwdidentity")
	if r, err := parseKernelRule(watch, numbers); err != nil || r.identity() != "exit|always||/etc/passwd|identity" || !r.seesFile("/etc/passwd", false, "wa") || r.seesFile("/etc/passwd", false, "x") {
		t.Errorf("a watch is %+v, %v", r, err)
	}
	call := kernelRule(unix.AUDIT_FILTER_EXIT, unix.AUDIT_ALWAYS, []int{257, 2}, [][3]uint32{
		{unix.AUDIT_ARCH, 0xc000003e, unix.AUDIT_EQUAL}, {unix.AUDIT_EXIT, 0xfffffff3, unix.AUDIT_EQUAL}, {unix.AUDIT_LOGINUID, 1000, unix.AUDIT_GREATER_THAN_OR_EQUAL}, {unix.AUDIT_LOGINUID, 0xffffffff, unix.AUDIT_NOT_EQUAL},
	}, "")
	if r, err := parseKernelRule(call, numbers); err != nil || !r.seesCall("openat", "b64", "EACCES", "") || r.seesCall("openat", "b64", "EPERM", "") || r.seesCall("openat", "b32", "EACCES", "") || r.seesCall("creat", "b64", "EACCES", "") {
		t.Errorf("a rule is %+v, %v", r, err)
	}
	emulation := kernelRule(unix.AUDIT_FILTER_EXIT, unix.AUDIT_ALWAYS, []int{11}, [][3]uint32{
		{unix.AUDIT_ARCH, 0x40000003, unix.AUDIT_EQUAL}, {unix.AUDIT_FIELD_COMPARE, 11, unix.AUDIT_NOT_EQUAL}, {unix.AUDIT_LOGINUID_SET, 1, unix.AUDIT_EQUAL},
	}, "")
	if r, err := parseKernelRule(emulation, numbers); err != nil || !r.seesCall("execve", "b32", "", "euid uid") || r.seesCall("execve", "b32", "", "") {
		t.Errorf("a comparing rule is %+v, %v", r, err)
	}
	narrow := kernelRule(unix.AUDIT_FILTER_EXIT, unix.AUDIT_ALWAYS, nil, [][3]uint32{{unix.AUDIT_UID, 0, unix.AUDIT_EQUAL}}, "")
	if r, err := parseKernelRule(narrow, numbers); err != nil || r.counts() {
		t.Errorf("a narrow rule is %+v, %v", r, err)
	}
	for wrong, data := range map[string][]byte{
		"want at least 1040": watch[:1039], "a text of 11 bytes, of 0": watch[:1040],
		"99 fields": func() []byte { d := slices.Clone(watch); native.PutUint32(d[8:], 99); return d }(),
	} {
		if _, err := parseKernelRule(data, numbers); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("error is %v, want %s", err, wrong)
		}
	}
}

func TestAuditFilesAreTold(t *testing.T) {
	t.Parallel()
	facts := networkFactsOf(t, auditMachine(t, "-D\n"), "audit files")
	for subject, purpose := range map[string]string{
		"/var/log/audit": "audit_log_directory", "/var/log/audit/audit.log": "audit_log", "/etc/audit/auditd.conf": "audit_config", "/etc/audit/audit.rules": "audit_config",
		"/etc/audit/rules.d/50-all.rules": "audit_config", "/usr/sbin/auditctl": "audit_tool", "/usr/sbin/auditd": "audit_tool",
	} {
		expect(t, facts["file "+subject], map[string]any{"purpose": purpose, "exists": true})
	}
	if len(facts) != 7 {
		t.Errorf("there are %d files, want 7", len(facts))
	}
}

// auditRemediations are the lines of rules in the remediations of our own checks.
func auditRemediations(t *testing.T) (lines []string) {
	t.Helper()
	for _, check := range packOf(t, "network-audit") {
		for line := range strings.Lines(check.Remediation) {
			if strings.HasPrefix(line, "-w /") || strings.HasPrefix(line, "-a always,exit") || strings.HasPrefix(line, "-e ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

func TestRemediationsOfTheAuditAreEnough(t *testing.T) {
	t.Parallel()
	facts := networkFactsOf(t, auditMachine(t, strings.Join(auditRemediations(t), "\n")), "audit")
	for _, name := range auditNames {
		if f := facts["audit "+name]; name != "privileged" && f.Values["on_disk"] != true { // of which there is one rule for each program
			t.Errorf("the remediation of %s is not enough: %v is missing", name, f.Values["missing"])
		}
	}
	expect(t, facts["auditfile /etc/audit/rules.d/50-all.rules"], map[string]any{"valid": true})
}
