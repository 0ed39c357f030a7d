package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// debianNetwork is what is wrong with logs, the audit, time and the network.
var debianNetwork = []neglect{
	{"net-ipv4-forwarding", "", withoutSearch}, {"net-ipv6-forwarding", "", withoutSearch}, {"net-send-redirects", "", withoutSearch}, {"net-icmp-bogus", "", withoutSearch}, {"net-icmp-broadcast", "", withoutSearch},
	{"net-ipv4-redirects", "", withoutSearch}, {"net-ipv6-redirects", "", withoutSearch}, {"net-secure-redirects", "", withoutSearch}, {"net-reverse-path", "", withoutSearch}, {"net-ipv4-source-route", "", withoutSearch},
	{"net-ipv6-source-route", "", withoutSearch}, {"net-log-martians", "", withoutSearch}, {"net-syn-cookies", "", withoutSearch}, {"net-router-advertisements", "", withoutSearch},

	{"net-no-route-to-loopback", "", "!echo 'net.ipv4.conf.all.route_localnet = 0' > /etc/sysctl.d/60-net-no-route-to-loopback.conf"},

	{"audit-sudoers", "", asLines}, {"audit-as-other-user", "", asLines}, {"audit-sudo-log", "", asLines}, {"audit-time", "", asLines}, {"audit-network", "", asLines},
	{"audit-access-denied", "", asLines}, {"audit-identity", "", asLines}, {"audit-name-services", "", asLines}, {"audit-permissions", "", asLines}, {"audit-mounts", "", asLines},
	{"audit-sessions", "", asLines}, {"audit-logins", "", asLines}, {"audit-deletions", "", asLines}, {"audit-mac-policy", "", asLines}, {"audit-chcon", "", asLines},
	{"audit-usermod", "", asLines}, {"audit-modules", "", asLines}, {"audit-immutable", "", asLines}, {"audit-own-config", "", asLines}, {"audit-startup", "", asLines},
	{"audit-setfacl", "touch /usr/bin/setfacl", asLines}, {"audit-chacl", "touch /usr/bin/chacl", asLines},
	{"audit-privileged", "", `!find / -xdev -type f -perm /6000 | while read -r p; do echo "-a always,exit -F path=$p -F perm=x -F auid>=1000 -F auid!=unset -k privileged"; done > /etc/audit/rules.d/50-privileged.rules`},
	{"boot-no-weakening", "sed -i 's/ ro /& nosmap nosmep systemd.debug-shell /' /boot/grub/grub.cfg; echo 'GRUB_CMDLINE_LINUX=\"nosmap nosmep systemd.debug-shell\"' > /etc/default/grub", "!sed -i 's/ nosmap nosmep systemd.debug-shell//' /boot/grub/grub.cfg; echo 'GRUB_CMDLINE_LINUX=\"audit=1 audit_backlog_limit=8192\"' > /etc/default/grub"},
	{"audit-early", "", "!sed -i 's/ ro /& audit=1 /' /boot/grub/grub.cfg"}, {"audit-backlog", "", "!sed -i 's/ ro /& audit_backlog_limit=8192 /' /boot/grub/grub.cfg"},
	{"audit-works", "systemctl mask auditd.service", "--now="},
	{"audit-log-size", "sed -i 's/^max_log_file =.*/max_log_file = 1/' /etc/audit/auditd.conf", asLines}, {"audit-log-kept", "", asLines}, {"audit-full-stops", "", asLines}, {"audit-space-warns", "", asLines},
	{"audit-log-mode", "touch /var/log/audit/audit.log; chmod 666 /var/log/audit/audit.log", asWritten}, {"audit-log-owner", "chown daemon /var/log/audit/audit.log", asWritten},
	{"audit-log-group", "chgrp daemon /var/log/audit/audit.log", asWritten}, {"audit-log-directory-mode", "chmod 777 /var/log/audit", asWritten},
	{"audit-config-mode", "chmod 666 /etc/audit/auditd.conf; touch /etc/audit/rules.d/audit.rules; chmod 666 /etc/audit/rules.d/audit.rules", asWritten},
	{"audit-config-owner", "chown daemon /etc/audit/auditd.conf /etc/audit/rules.d/audit.rules", asWritten}, {"audit-config-group", "chgrp daemon /etc/audit/auditd.conf /etc/audit/rules.d/audit.rules", asWritten},
	{"audit-tools-mode", "chmod 777 /sbin/auditctl", asWritten}, {"audit-tools-owner", "chown daemon /sbin/auditctl", asWritten}, {"audit-tools-group", "chgrp daemon /sbin/auditctl", asWritten},

	{"time-chrony-servers", "sed -i '/^pool/d' /etc/chrony/chrony.conf", "time.example.org=192.0.2.1 systemctl=true"}, {"time-chrony-user", "echo 'user root' >> /etc/chrony/chrony.conf", "!sed -i 's/^user .*/user _chrony/' /etc/chrony/chrony.conf"},
	{"time-chrony-works", "systemctl mask chrony.service", "--now="},

	{"rsyslog-works", "systemctl mask rsyslog.service", "--now="}, {"rsyslog-no-receiver", `printf 'module(load="imtcp")\ninput(type="imtcp" port="514")\n' > /etc/rsyslog.d/in.conf`, "!rm /etc/rsyslog.d/in.conf"},
	{"rsyslog-files-private", "sed -i 's/^.FileCreateMode.*/$FileCreateMode 0644/' /etc/rsyslog.conf", "!sed -i 's/^.FileCreateMode.*/$FileCreateMode 0640/' /etc/rsyslog.conf"},
	{"log-remote", "", "!printf '%s\\n' '$DefaultNetstreamDriver gtls' '$ActionSendStreamDriverMode 1' '$ActionSendStreamDriverAuthMode x509/name' '*.* @@192.0.2.1:514' > /etc/rsyslog.d/60-remote.conf"},
	{"log-files-private", "touch /var/log/syslog; chmod 666 /var/log/syslog; chown daemon:daemon /var/log/syslog", "FILE=/var/log/*log"},
	{"logrotate-scheduled", "systemctl mask logrotate.timer", "!systemctl unmask logrotate.timer; systemctl enable logrotate.timer"},

	{"nftables-enabled", "", "--now="}, {"nftables-defaults", "", "!" + strongFilter}, {"firewall-one-manager", "", another}, {"firewall-chains", "", another},
	{"firewall-input-ipv4", "", another}, {"firewall-output-ipv4", "", another}, {"firewall-forward-ipv4", "", another}, {"firewall-input-ipv6", "", another}, {"firewall-output-ipv6", "", another}, {"firewall-forward-ipv6", "", another},

	{"file-system-dirs", "chmod 777 /usr/lib", "DIR=/usr/lib"},
	{"ctrl-alt-del-masked", "", "!systemctl mask ctrl-alt-del.target"},
	{"update-automatic", "", "!" + standIn("unattended-upgrades", "usr/bin/unattended-upgrade") + `; printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' > /etc/apt/apt.conf.d/20auto-upgrades`},
	{"fim-installed", "", "!" + standIn("aide", "usr/bin/aide") + "; mkdir -p /etc/aide /var/lib/aide; echo 'database_in=file:/var/lib/aide/aide.db' > /etc/aide/aide.conf; echo > /var/lib/aide/aide.db"},
	{"fim-scheduled", "", "!echo '5 4 * * * root /usr/bin/aide --check' > /etc/cron.d/aide; chmod 600 /etc/cron.d/aide"},
	{"aide-tools", "", asLines},
}

const (
	withoutSearch = "grep=true" // what else might set a parameter is not looked for

	strongFilter = `cat > /etc/nftables.conf <<'END'
flush ruleset
table inet filter {
  chain input { type filter hook input priority filter; policy drop; iif lo accept; ip saddr 127.0.0.0/8 drop; ip6 saddr ::1 drop; ct state established,related accept; }
  chain forward { type filter hook forward priority filter; policy drop; }
  chain output { type filter hook output priority filter; policy drop; oif lo accept; ct state new,established,related accept; }
}
END`

	// weakNetwork are parameters of the network as they should not be.
	weakNetwork = `net.ipv4.ip_forward = 1
net.ipv6.conf.all.forwarding = 1
net.ipv4.conf.all.send_redirects = 1
net.ipv4.conf.default.send_redirects = 1
net.ipv4.icmp_ignore_bogus_error_responses = 0
net.ipv4.icmp_echo_ignore_broadcasts = 0
net.ipv4.conf.all.accept_redirects = 1
net.ipv4.conf.default.accept_redirects = 1
net.ipv6.conf.all.accept_redirects = 1
net.ipv6.conf.default.accept_redirects = 1
net.ipv4.conf.all.secure_redirects = 1
net.ipv4.conf.default.secure_redirects = 1
net.ipv4.conf.all.rp_filter = 0
net.ipv4.conf.default.rp_filter = 0
net.ipv4.conf.all.accept_source_route = 1
net.ipv4.conf.default.accept_source_route = 1
net.ipv6.conf.all.accept_source_route = 1
net.ipv6.conf.default.accept_source_route = 1
net.ipv4.conf.all.log_martians = 0
net.ipv4.conf.default.log_martians = 0
net.ipv4.tcp_syncookies = 0
net.ipv6.conf.all.accept_ra = 1
net.ipv6.conf.default.accept_ra = 1
net.ipv4.conf.all.route_localnet = 1
`
)

// standIns are packages that few machines need, with a unit that does nothing, or a file, in the place of their programs.
var standIns = []struct{ name, file string }{
	{"autofs", "autofs.service"}, {"avahi-daemon", "avahi-daemon.service"}, {"cups", "cups.service"}, {"isc-dhcp-server", "isc-dhcp-server.service"}, {"bind9", "named.service"},
	{"vsftpd", "vsftpd.service"}, {"slapd", "slapd.service"}, {"dovecot-core", "dovecot.service"}, {"samba", "smbd.service"}, {"snmpd", "snmpd.service"}, {"squid", "squid.service"},
	{"apache2", "apache2.service"}, {"xinetd", "xinetd.service"}, {"xserver-xorg-core", "gdm.service"}, {"telnetd", "telnetd.service"}, {"telnetd-ssl", ""}, {"inetutils-telnetd", ""}, {"openbsd-inetd", "inetd.service"},
	{"rsh-server", "etc/xinetd.d/shell"}, {"tftpd-hpa", "tftpd-hpa.service"}, {"nis", "ypserv.service"}, {"gdm3", "usr/share/gdm/x"}, {"prelink", "usr/sbin/prelink"},
	{"telnet", "usr/bin/inetutils-telnet"}, {"rsh-client", "usr/bin/netkit-rsh"}, {"talk", "usr/bin/netkit-ntalk"}, {"ldap-utils", "usr/bin/ldapsearch"}, {"tftp", "usr/bin/tftp"}, {"apport", "apport.service"},
}

// standIn makes and installs a package of one file, or none.
func standIn(name, file string) string {
	build := "rm -rf /deb; mkdir -p /deb/DEBIAN; printf 'Package: NAME\\nVersion: 9999\\nArchitecture: all\\nMaintainer: nobody\\nDescription: none\\n' > /deb/DEBIAN/control\n"
	switch {
	case strings.HasSuffix(file, ".service"):
		build += "mkdir -p /deb/usr/lib/systemd/system /deb/etc/systemd/system/multi-user.target.wants\n" +
			"printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' > /deb/usr/lib/systemd/system/FILE\n" +
			"ln -s /usr/lib/systemd/system/FILE /deb/etc/systemd/system/multi-user.target.wants\n"
	case file != "":
		build += "mkdir -p /deb/DIR; printf 'service BASE\\n{\\n}\\n' > /deb/FILE; chmod 755 /deb/FILE\n"
	}
	build += "dpkg-deb --root-owner-group -Znone -b /deb /deb.deb > /dev/null; dpkg -i /deb.deb; rm -r /deb /deb.deb"
	return strings.NewReplacer("NAME", name, "FILE", file, "DIR", path.Dir(file), "BASE", path.Base(file)).Replace(build)
}

// lines has the lines of a remediation written into the file that a comment before them names, in the place of those that set the same.
func lines(remediation string) string {
	script, file := "", ""
	named, sets := regexp.MustCompile(`^# In (/[^\s,]+),? `), regexp.MustCompile(`^(\w+) = `)
	for line := range strings.SplitSeq(remediation, "\n") {
		if m := named.FindStringSubmatch(line); m != nil {
			file = m[1]
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if m := sets.FindStringSubmatch(line); m != nil {
			script += "sed -i '/^" + m[1] + " *=/d' " + file + "\n"
		}
		script += "echo '" + line + "' >> " + file + "\n"
	}
	return script
}

// judgedTrees are a Debian that is neglected, and the same after all remediations.
func judgedTrees(t *testing.T) (neglected, hardened bookworm) {
	t.Helper()
	d, all := newDebian(t), slices.Concat(debianAccess, debianSystem, debianNetwork)
	d.write(t, "etc/lynis/custom.prf", "skip-test=PKGS-7392\n") // it asks mirrors, for long
	d.write(t, "etc/sysctl.d/10-weak-network.conf", weakNetwork)
	names := ""
	for _, s := range standIns {
		d.run(t, "install "+s.name, standIn(s.name, s.file))
		names += " " + s.name
	}
	d.neglect(t, all)
	d.run(t, "give away", "touch /etc/cron.allow /etc/at.allow; chmod 666 /etc/cron.allow /etc/at.allow; chown +4711 /srv/old; chown daemon:daemon "+givenAway)

	hardened = d.copied(t)
	hardened.run(t, "remove stand-ins", "dpkg --purge"+names)
	hardened.mend(t, all, remediations(t))
	hardened.run(t, "remove what is overruled", "rm /etc/sysctl.d/10-weak.conf /etc/sysctl.d/10-weak-network.conf")
	for _, tree := range []bookworm{d, hardened} {
		tree.run(t, "write plainly", plainly)
	}
	return d, hardened
}

// givenAway are files that root should own.
const givenAway = "/etc/crontab /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/cron.d /etc/passwd /etc/passwd- /etc/group /etc/group- /etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- " +
	"/etc/motd /etc/issue /etc/cron.allow /etc/at.allow /etc/ssh/sshd_config /boot/grub/grub.cfg /usr/local/bin /usr/lib"

// plainly writes what a tree means where the other judges look: of an SSH server they read one file, and none that it includes.
const plainly = "sshd -T > /sshd 2> /dev/null; cat /sshd > /etc/ssh/sshd_config; rm -f /sshd /etc/ssh/sshd_config.d/*"

// firstParameters are those of the kernel that no name space has for itself, and what they are when it starts. A booted tree has files
// in their place, so that this machine's stay what they are.
const firstParameters = `dev.tty.ldisc_autoload 1
fs.protected_fifos 0
fs.protected_hardlinks 0
fs.protected_regular 0
fs.protected_symlinks 0
fs.suid_dumpable 0
kernel.dmesg_restrict 0
kernel.kptr_restrict 0
kernel.perf_event_paranoid 2
kernel.randomize_va_space 2
kernel.sysrq 1
kernel.unprivileged_bpf_disabled 2
`

// bootScript is what the first process of a booted tree does before it becomes systemd. Nothing may change this machine: the parameters
// of the kernel, its time, its audit. What of fstab is on a device is a mount of the directory on itself, with the same options.
const bootScript = `
mount --make-rprivate /
mount --bind . .
cd "$PWD"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mkdir run/kernel
while read -r name value; do
  file=proc/sys/$(echo $name | tr . /)
  echo $value > run/kernel/$name
  if [ -e $file ]; then mount --bind run/kernel/$name $file; fi
done < boot/parameters
sed -n 's,^.*linux /vmlinuz[^ ]* ,,p' boot/grub/grub.cfg > run/cmdline
mount --bind run/cmdline proc/cmdline
while read -r device dir type options _; do
  case $device in /dev/*) mount --bind .$dir .$dir; mount -o remount,bind,${options#defaults,} .$dir;; esac
done < etc/fstab
mkdir -p run/systemd/system
ln -s /dev/null run/systemd/system/timers.target
mkdir run/systemd/system/chrony.service.d run/systemd/system/auditd.service.d
cp bin/sleep run/chronyd
cp bin/sleep run/auditd
printf '[Unit]\nConditionCapability=\n[Service]\nType=simple\nPIDFile=\nExecStart=\nExecStart=/run/chronyd infinity\n' > run/systemd/system/chrony.service.d/stand-in.conf
printf '[Unit]\nConditionKernelCommandLine=\n[Service]\nType=simple\nPIDFile=\nExecStart=\nExecStart=/run/auditd infinity\nExecStartPost=\n' > run/systemd/system/auditd.service.d/stand-in.conf
ip link set lo up
pivot_root . mnt
umount -l mnt
exec env -i container=yagura setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot,-syslog,-audit_control /lib/systemd/systemd --log-target=console
`

// A booted tree runs in name spaces of its own.
type booted struct {
	bookworm
	pid int
}

// boot starts systemd in a tree, and waits until everything has started.
func (d bookworm) boot(t *testing.T) booted {
	t.Helper()
	d.write(t, "boot/parameters", firstParameters)
	init := exec.Command("sh", "-ec", bootScript)
	init.Dir = d.root
	init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP,
		Pdeathsig:   syscall.SIGKILL,
		UseCgroupFD: true, CgroupFD: newCgroup(t),
	}
	var log text
	init.Stdout, init.Stderr = &log, &log
	if err := init.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = init.Process.Kill() // and all others of its name space with it
		_ = init.Wait()
		if t.Failed() {
			t.Logf("the tree says %s", tail([]byte(log.String())))
		}
	})
	b := booted{d, init.Process.Pid}
	within(t, time.Minute, "the tree has booted", func() bool {
		out, err := b.command(t, "systemctl", "is-system-running").Output()
		return err == nil || string(out) == "degraded\n"
	})
	b.settle(t)
	return b
}

// settle makes parameters of what systemd has written over what was there.
func (b booted) settle(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/run/kernel/*", b.pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d parameters, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "\n")
		write(t, file, first+"\n")
	}
}

// cgroup2 is where control groups of the second version are mounted.
func cgroup2(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Skip("needs cgroup2 to be mounted")
	return ""
}

// newCgroup makes a control group, and returns a descriptor of it.
func newCgroup(t *testing.T) int {
	t.Helper()
	dir, err := os.MkdirTemp(cgroup2(t), "yagura-test")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(fd)
		removeGroups(t, filepath.Base(dir))
	})
	return fd
}

// command is one that runs in the tree.
func (b booted) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := bounded(t, "nsenter", append([]string{"--target", fmt.Sprint(b.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", name}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	return cmd
}

// verdicts are of one judge on one tree: pass or fail by rule; what was not judged is missing.
type verdicts map[string]string

// ours are those of checks, and of single objects of those that fail: from the tree's files, and what only a running kernel tells from
// within.
func (b booted) ours(t *testing.T) verdicts {
	t.Helper()
	image, code := posture(t, "--root", b.root, "--format", "json")
	if code != 0 {
		t.Fatalf("exit status %d", code)
	}
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.root+"/yagura", program, 0o755); err != nil {
		t.Fatal(err)
	}
	running, err := b.command(t, "/yagura", "posture", "--format", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := verdicts{}
	all.addOurs(t, running)
	all.addOurs(t, image)
	return all
}

// addOurs adds what a report says, in the place of what was said before.
func (v verdicts) addOurs(t *testing.T, report []byte) {
	t.Helper()
	var r struct {
		Checks []struct {
			ID, Status string
			Objects    []struct{ Subject string }
		}
	}
	if err := json.Unmarshal(report, &r); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Checks {
		if c.Status != "pass" && c.Status != "fail" {
			continue
		}
		v[c.ID] = c.Status
		for _, o := range c.Objects {
			v[c.ID+" "+o.Subject] = c.Status
		}
	}
}

// ofPair is what we say of a pair.
func (v verdicts) ofPair(p pair) string {
	if status, ok := v[p.check+" "+p.object]; ok && p.object != "" {
		return status
	}
	if v[p.check] != "" && p.object != "" {
		return "pass"
	}
	return v[p.check]
}

// content is what OpenSCAP judges by: rules of the SCAP Security Guide for Ubuntu 22.04, since those for Debian are fewer, and of an older release.
const content = "/usr/share/xml/scap/ssg/content/ssg-ubuntu2204-ds.xml"

// contentValues are what rules of the content compare with, where that can be chosen: as our checks and their remediations have it.
var contentValues = map[string]string{
	"login_banner_text": `^Authorized use only\. What you do here is recorded\.$`, "rsyslog_remote_loghost_address": "192.0.2.1:514",
	"var_account_disable_post_pw_expiration": "45", "var_password_hashing_algorithm": "YESCRYPT", "var_password_pam_difok": "2", "var_password_pam_minclass": "3", "var_password_pam_remember": "24",
	"var_accounts_tmout": "900", "sshd_idle_timeout_value": "900", "sysctl_kernel_kptr_restrict_value": "2",
	"var_auditd_max_log_file": "8", "var_auditd_max_log_file_action": "keep_logs", "var_auditd_disk_full_action": "halt", "var_auditd_disk_error_action": "halt",
	"var_auditd_space_left_action": "email", "var_auditd_admin_space_left_action": "single", "var_auditd_action_mail_acct": "root",
}

// contentID is before the names of its parts.
const contentID = "xccdf_org.ssgproject.content_"

// tailoring is a profile that extends one of the content's by these values.
func tailoring() string {
	text := `<Tailoring xmlns="http://checklists.nist.gov/xccdf/1.2" id="xccdf_yagura_tailoring_t"><version time="2026-01-01T00:00:00">1</version>` +
		`<Profile id="xccdf_yagura_profile_p" extends="` + contentID + `profile_cis_level2_server"><title>as our checks</title>`
	for name, value := range contentValues {
		text += `<set-value idref="` + contentID + `value_` + name + `">` + value + `</set-value>`
	}
	return text + `</Profile></Tailoring>`
}

// anyContent is the content with all rules, and without its questions whether they apply: it would not judge a Debian.
func anyContent(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(content)
	if err != nil {
		t.Skipf("needs ssg-debderived: %v", err)
	}
	data = regexp.MustCompile(`<xccdf-1.2:platform idref="[^"]*"/>`).ReplaceAll(data, nil)
	return strings.ReplaceAll(string(data), `selected="false"`, `selected="true"`)
}

// openSCAP are the verdicts of rules.
func (b booted) openSCAP(t *testing.T) verdicts {
	t.Helper()
	b.write(t, "boot/content.xml", anyContent(t))
	b.write(t, "boot/tailoring.xml", tailoring())
	judge := b.command(t, "oscap", "xccdf", "eval", "--tailoring-file", "/boot/tailoring.xml", "--profile", "xccdf_yagura_profile_p", "--skip-valid", "--progress", "/boot/content.xml")
	out, err := judge.Output()
	if code := judge.ProcessState.ExitCode(); code != 0 && code != 2 {
		t.Fatalf("oscap: %v: %s", err, tail(out))
	}
	all := verdicts{}
	for line := range strings.Lines(string(out)) {
		_, rule, _ := strings.Cut(strings.TrimSpace(line), contentID+"rule_")
		if rule, status, _ := strings.Cut(rule, ":"); status == "pass" || status == "fail" {
			all[rule] = status
		}
	}
	return all
}

// lynis are the verdicts of tests, and of their findings that pairs name.
func (b booted) lynis(t *testing.T) verdicts {
	t.Helper()
	if out, err := b.command(t, "lynis", "audit", "system", "--quick", "--no-colors", "--quiet", "--logfile", "/dev/null", "--report-file", "/boot/lynis.dat").CombinedOutput(); err != nil {
		t.Fatalf("lynis: %v: %s", err, tail(out))
	}
	report, err := os.ReadFile(b.root + "/boot/lynis.dat")
	if err != nil {
		t.Fatal(err)
	}
	all, found := verdicts{}, regexp.MustCompile(`^(?:suggestion|warning|details)\[\]=([A-Z]+-\d+)\|(.*)`)
	var findings []string
	for line := range strings.Lines(string(report)) {
		if m := found.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			findings = append(findings, m[1]+":"+m[2])
		}
		if tests, ok := strings.CutPrefix(line, "tests_executed="); ok {
			for _, id := range strings.Split(strings.TrimSpace(tests), "|") {
				all[id] = "pass"
			}
		}
	}
	for _, p := range oraclePairs {
		for _, rule := range strings.Fields(p.rules) {
			all.addLynis(rule, findings)
		}
	}
	for _, f := range findings {
		id, _, _ := strings.Cut(f, ":")
		all[id] = "fail"
	}
	return all
}

// addLynis adds the verdict of a test's finding.
func (v verdicts) addLynis(rule string, findings []string) {
	id, detail, _ := strings.Cut(rule, ":")
	if v[id] == "" || detail == "" {
		return
	}
	word := regexp.MustCompile(`(^|[\s|;:'])` + regexp.QuoteMeta(detail) + `($|[\s|;:'])`)
	v[rule] = "pass"
	if slices.ContainsFunc(findings, func(f string) bool { return strings.HasPrefix(f, id+":") && word.MatchString(f) }) {
		v[rule] = "fail"
	}
}

// A judgement is what all say of one tree.
type judgement struct{ ours, theirs verdicts }

func (d bookworm) judgement(t *testing.T) judgement {
	b := d.boot(t)
	theirs := b.openSCAP(t)
	maps.Copy(theirs, b.lynis(t))
	return judgement{b.ours(t), theirs}
}

// A comparison is what we and another judge say of a pair, on each of the trees.
type comparison struct {
	pair
	ours, theirs [2]string
}

// compare goes through all pairs, a comparison for each rule of theirs.
func compare(trees [2]judgement) (all []comparison) {
	for _, p := range oraclePairs {
		for rule := range strings.FieldsSeq(p.rules) {
			c := comparison{pair: pair{p.check, p.object, rule, p.why}}
			for i, tree := range trees {
				c.ours[i], c.theirs[i] = tree.ours.ofPair(p), tree.theirs[rule]
			}
			all = append(all, c)
		}
	}
	return all
}

// judged says whether both have judged a tree.
func (c comparison) judged(tree int) bool { return c.ours[tree] != "" && c.theirs[tree] != "" }

func (c comparison) differ() bool {
	return c.judged(0) && c.ours[0] != c.theirs[0] || c.judged(1) && c.ours[1] != c.theirs[1]
}

// wrong is why the table of pairs is not right, empty if it is.
func (c comparison) wrong() string {
	switch {
	case !c.judged(0) && !c.judged(1):
		return "not both judge it, on either tree"
	case c.differ() && c.why == "":
		return "the difference is not explained"
	case !c.differ() && c.why != "":
		return "there is no difference any more"
	}
	return ""
}

func TestComparisonsThatAreWrong(t *testing.T) {
	for _, test := range []struct {
		ours, theirs [2]string
		why, want    string
	}{
		{[2]string{"fail", "pass"}, [2]string{"fail", "pass"}, "", ""},
		{[2]string{"", "pass"}, [2]string{"fail", "pass"}, "", ""},
		{[2]string{"fail", "pass"}, [2]string{"fail", "fail"}, "for a reason", ""},
		{[2]string{"fail", "pass"}, [2]string{"fail", "fail"}, "", "the difference is not explained"},
		{[2]string{"fail", "pass"}, [2]string{"fail", "pass"}, "for a reason", "there is no difference any more"},
		{[2]string{"fail", ""}, [2]string{"", "pass"}, "", "not both judge it, on either tree"},
	} {
		c := comparison{pair{why: test.why}, test.ours, test.theirs}
		if got := c.wrong(); got != test.want {
			t.Errorf("we say %q, they say %q, explained %q: %q, want %q", test.ours, test.theirs, test.why, got, test.want)
		}
	}
}

// TestPostureBesideOtherJudges has OpenSCAP and Lynis judge what we judge: the same Debian, neglected and hardened, both booted.
func TestPostureBesideOtherJudges(t *testing.T) {
	needsRoot(t)
	needsProgram(t, "debootstrap", "nsenter", "setpriv")
	anyContent(t)
	cgroup2(t)
	neglected, hardened := judgedTrees(t)
	var trees [2]judgement
	t.Run("judge", func(t *testing.T) {
		for i, d := range []bookworm{neglected, hardened} {
			t.Run([]string{"neglected", "hardened"}[i], func(t *testing.T) {
				t.Parallel()
				trees[i] = d.judgement(t)
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, n := range debianNetwork {
		if was, is := trees[0].ours[n.check], trees[1].ours[n.check]; was == "pass" || is != "pass" {
			t.Errorf("%s is %q on the neglected tree and %q on the hardened one", n.check, was, is)
		}
	}
	all := compare(trees)
	for _, c := range all {
		if c.ours[1] != "pass" {
			t.Errorf("%s %s is %q on the hardened tree", c.check, c.object, c.ours[1])
		}
		if wrong := c.wrong(); wrong != "" {
			t.Errorf("%s %s and %s: %s: we say %q, they say %q", c.check, c.object, c.rules, wrong, c.ours, c.theirs)
		}
	}
	checkUnpaired(t, theirRules(t, hardened))
	isCurrent(t, "rules/posture/ORACLES.md", oraclesPage(all))
}

// isCurrent compares a page with the file, or writes it.
func isCurrent(t *testing.T, path, page string) {
	t.Helper()
	if *update {
		write(t, path, page)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if page != string(want) {
		t.Errorf("%s is not what the judges say: run `go test . -run %s -update`, and look at the difference", path, t.Name())
	}
}

// theirRules are the names of all rules of the others.
func theirRules(t *testing.T, d bookworm) (all []string) {
	t.Helper()
	data, err := os.ReadFile(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`<xccdf-1.2:Rule [^>]*id="`+contentID+`rule_([^"]*)"`).FindAllStringSubmatch(string(data), -1) {
		all = append(all, m[1])
	}
	tests, err := os.ReadFile(d.root + "/usr/share/lynis/db/tests.db")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(tests)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 4 && (f[4] == "" || f[4] == "Linux") {
			all = append(all, f[0])
		}
	}
	if len(all) < 800 {
		t.Fatalf("they have %d rules: want those of both", len(all))
	}
	return all
}

// checkUnpaired wants a word on each of their rules: in a pair, or why it is in none.
func checkUnpaired(t *testing.T, rules []string) {
	t.Helper()
	paired, used := map[string]bool{}, map[string]bool{}
	for _, p := range oraclePairs {
		for rule := range strings.FieldsSeq(p.rules) {
			id, _, _ := strings.Cut(rule, ":")
			paired[id] = true
		}
	}
	for _, rule := range rules {
		if paired[rule] {
			continue
		}
		pattern := patternOf(rule)
		if pattern == "" {
			t.Errorf("%s is in no pair, and nothing says why", rule)
		}
		used[pattern] = true
	}
	for _, o := range unpaired {
		for pattern := range strings.FieldsSeq(o.rules) {
			if !used[pattern] {
				t.Errorf("%s means no rule without a pair", pattern)
			}
		}
	}
}

// patternOf is the first pattern of unpaired that means a rule.
func patternOf(rule string) string {
	for _, o := range unpaired {
		for pattern := range strings.FieldsSeq(o.rules) {
			if ok, _ := path.Match(pattern, rule); ok {
				return pattern
			}
		}
	}
	return ""
}

// oraclesPage is the page that shows it.
func oraclesPage(all []comparison) string {
	agree, differ := map[bool]int{}, map[bool]int{}
	for _, c := range all {
		if c.differ() {
			differ[ofLynis(c.rules)]++
		} else {
			agree[ofLynis(c.rules)]++
		}
	}
	page := oraclesHead + "\n| | pairs | agree | explained |\n|---|--:|--:|--:|\n"
	row := func(name string, agree, differ int) {
		page += fmt.Sprintf("| %s | %d | %d | %d |\n", name, agree+differ, agree, differ)
	}
	row("OpenSCAP", agree[false], differ[false])
	row("Lynis", agree[true], differ[true])
	row("both", agree[false]+agree[true], differ[false]+differ[true])

	page += "\n## Where they differ\n\n| our check | their rule | neglected | hardened | why |\n|---|---|---|---|---|\n"
	page += oraclesRows(all, comparison.differ, func(c comparison) string {
		return fmt.Sprintf("%s | %s | %s", c.both(0), c.both(1), strings.ReplaceAll(c.why, "|", `\|`))
	})
	page += "\n## Where they agree\n\n| our check | their rule | neglected | hardened |\n|---|---|---|---|\n"
	page += oraclesRows(all, func(c comparison) bool { return !c.differ() }, func(c comparison) string { return c.both(0) + " | " + c.both(1) })
	page += "\n## What only they judge\n\nTheir rules that are in no pair, by patterns.\n\n| rules | why |\n|---|---|\n"
	for _, o := range unpaired {
		page += fmt.Sprintf("| %s | %s |\n", strings.ReplaceAll(o.rules, "*", `\*`), o.why)
	}
	return page
}

const oraclesHead = `# Beside other judges

Written by ` + "`go test -run TestPostureBesideOtherJudges -update .`" + `. A Debian 12 is judged twice by our checks, by OpenSCAP with the rules of the SCAP
Security Guide for Ubuntu 22.04 (all that it has; where a rule compares with a value of one's choice it is that of our check), and by
Lynis, each as Debian 12 has it: once neglected in everything that a check is about, once after the remediations of our checks. Both
trees run, under systemd in name spaces of their own; our checks read them from outside, with ` + "`--root`" + `, and from within what only a running
machine tells. A pair is a check and a rule that judge the same; what one of the two has not judged is shown as –.
`

// both is what we say of a tree, and what they say if it is something else.
func (c comparison) both(tree int) string {
	switch {
	case !c.judged(tree):
		return "–"
	case c.ours[tree] == c.theirs[tree]:
		return c.ours[tree]
	}
	return fmt.Sprintf("%s, they: %s", c.ours[tree], c.theirs[tree])
}

func ofLynis(rule string) bool { return rule[0] >= 'A' && rule[0] <= 'Z' }

// oraclesRows are those of a table, with the rules of theirs of which the same is to be said in one.
func oraclesRows(all []comparison, want func(comparison) bool, rest func(comparison) string) (rows string) {
	rules, order := map[string][]string{}, []string{}
	for _, c := range all {
		if !want(c) {
			continue
		}
		key := strings.TrimSpace(c.check+" "+c.object) + "\x00" + rest(c)
		if rules[key] == nil {
			order = append(order, key)
		}
		rules[key] = append(rules[key], c.rules)
	}
	for _, key := range order {
		check, rest, _ := strings.Cut(key, "\x00")
		rows += fmt.Sprintf("| %s | %s | %s |\n", check, strings.Join(rules[key], ", "), rest)
	}
	return rows
}
