package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/yagura-io/yagura/rules"
)

// A neglect is something that is wrong with a machine, and how it is mended. The check must fail before and pass afterwards.
type neglect struct {
	check string
	spoil string // what makes it wrong; empty if a Debian is so as debootstrap leaves it
	mend  string // as asWritten, another's work, words for its placeholders, or commands behind a !
}

const (
	asWritten = ""  // the check's remediation does it, as it is written
	another   = "-" // what another check's remediation has done is enough
	asLines   = "=" // its lines are written into the file that it names
)

// Hashes of passwords that nobody knows.
const (
	goodHash = `$y$j9T$salt$hash`
	weakHash = `$1$salt$hash`
)

// without mends a file by an editor that deletes lines. It is made older before, since vipw takes one for unchanged that keeps its time.
func without(pattern, commands string) string {
	return "!touch -d 2020-01-01 /etc/passwd /etc/shadow /etc/group /etc/gshadow; EDITOR='sed -i /" + pattern + "/d'; export EDITOR; " + commands
}

// debianAccess is what is wrong with who may come in.
var debianAccess = []neglect{
	// Defaults first, of which other remedies make use.
	{"logindefs-max-days", "", asWritten}, {"logindefs-min-days", "", asWritten}, {"logindefs-inactive", "", asWritten}, {"logindefs-home-mode", "", asWritten},
	{"logindefs-warning", `sed -i 's/^PASS_WARN_AGE.*/PASS_WARN_AGE 1/' /etc/login.defs`, asWritten}, {"logindefs-hash", `sed -i 's/^ENCRYPT_METHOD.*/ENCRYPT_METHOD MD5/' /etc/login.defs`, asWritten},
	{"login-defs-mode", "chmod 666 /etc/login.defs", asWritten}, {"umask-root", "", asWritten}, {"umask-users", "", asWritten}, {"shell-timeout", "", asWritten},

	{"account-nis-references", "echo '+::::::' >> /etc/passwd", asWritten}, {"group-nis-references", "echo '+:::' >> /etc/group", asWritten},
	{"account-uid-zero", "echo 'toor:x:0:0::/toor:/bin/sh' >> /etc/passwd; echo 'toor:*:1::::::' >> /etc/shadow", without("^toor:", "vipw; vipw -s")},
	{"account-uid-unique", "", another}, {"account-gid-zero", "useradd -m -g 0 gina", "GROUP=users NAME=gina"},
	{"group-gid-zero", "echo 'wheel2:x:0:' >> /etc/group; echo 'wheel2:!::' >> /etc/gshadow", without("^wheel2:", "vigr; vigr -s")}, {"group-gid-unique", "", another},
	{"root-access", "passwd -d root", "!passwd -l root"}, {"password-empty", "", another},
	{"root-path", "mkdir -m 777 /opt/open; sed -i 's,^ENV_SUPATH.*,ENV_SUPATH PATH=/usr/sbin:/opt/open,' /etc/login.defs", "DIRECTORY=/opt/open"},
	{"account-system-shells", "usermod -s /bin/sh daemon", "NAME=daemon"}, {"account-no-shell-locked", "usermod -p '" + goodHash + "' games", "NAME=games"},
	{"shells-no-nologin", "echo /usr/sbin/nologin >> /etc/shells", asWritten},
	{"account-shadowed", "groupadd henry; install -d -m 750 -o 1010 /home/henry; echo 'henry:*:1010:'$(getent group henry | cut -d: -f3)'::/home/henry:/bin/sh' >> /etc/passwd", asWritten},
	{"account-group-exists", `useradd -m iris; sed -i 's/^\(iris:[^:]*:[^:]*\):[0-9]*/\1:4711/' /etc/passwd`, "GROUP=iris NAME=iris"},
	{"group-shadow-empty", "gpasswd -a alice shadow", "GROUP=alice NAME=alice"},
	{"account-name-unique", "for n in 1031 1032; do echo \"twice:x:$n:100::/home/twice:/usr/sbin/nologin\"; done >> /etc/passwd; echo 'twice:*:1::::::' >> /etc/shadow", without(":1032:", "vipw")},
	{"group-name-unique", "echo 'operators:x:996:' >> /etc/group; echo 'operators:x:997:' >> /etc/group", without(":997:", "vigr")},
	{"account-names-plain", "echo '4711:x:1040:100::/home/4711:/usr/sbin/nologin' >> /etc/passwd; echo '4711:*:1::::::' >> /etc/shadow", "NEWNAME=frank NAME=4711"},
	{"group-passwords", "sed -i 's/^audio:[^:]*/audio:" + goodHash + "/' /etc/gshadow", "NAME=audio"}, {"group-members-exist", "sed -i 's/^video:.*/&ghost/' /etc/group", "USER=ghost NAME=video"},
	{"home-exists", "useradd -M carol", "NAME=carol"}, {"home-owner", "useradd -m erin; chown alice /home/erin", "NAME=erin DIRECTORY=/home/erin"},
	{"account-home-own", "useradd -M -d /home/alice bob", "DIRECTORY=/home/bob NAME=bob"}, {"home-mode", "chmod 777 /home/erin", "DIRECTORY=/home/*"},
	{"home-dotfiles-mode", "chmod 666 /home/alice/.bashrc", "FILE=/home/alice/.bashrc"}, {"home-dotfiles-owner", "chown erin /home/alice/.profile", "NAME=alice FILE=/home/alice/.profile"},
	{"home-forward", "touch /home/alice/.forward", "DIRECTORY=/home/alice"}, {"home-rhosts", "touch /home/alice/.shosts", "DIRECTORY=/home/alice"},
	{"home-netrc", "touch /home/alice/.netrc", "DIRECTORY=/home/alice"}, {"home-history", "touch /home/alice/.bash_history", "DIRECTORY=/home/alice"},
	{"profile-files-mode", "chmod 666 /etc/profile", "FILE=/etc/profile"},

	{"password-max-days", "", "NAME=alice"}, {"password-max-days-quarter", "", "NAME=alice"}, {"password-min-days", "", "NAME=alice"},
	{"password-warning", "chage --warndays 3 alice", "NAME=alice"}, {"password-inactive", "", "NAME=alice"}, {"password-changed-in-past", "chage -d 99999 alice", "NAME=alice"},
	{"password-hash", "useradd -m -p '" + weakHash + "' jack", "!usermod -p '*' jack"}, {"password-orphans", "echo 'gone:*:1::::::' >> /etc/shadow", "NAME=gone"},

	{"cron-crontab-mode", "", asWritten}, {"cron-hourly-mode", "", asWritten}, {"cron-daily-mode", "", asWritten}, {"cron-weekly-mode", "", asWritten}, {"cron-monthly-mode", "", asWritten},
	{"cron-yearly-mode", "", asWritten}, {"cron-d-mode", "", asWritten}, {"cron-users", "", asWritten}, {"at-users", "", asWritten}, {"cron-enabled", "systemctl mask cron.service", "--now="},
	{"cron-parts-mode", "touch /opt/open/job; chmod 777 /opt/open/job; echo '1 * * * * root /opt/open/job' > /etc/cron.d/job; chmod 666 /etc/cron.d/job", asWritten},
	{"cron-tables-mode", "echo '1 * * * * ~/job' > /var/spool/cron/crontabs/root", "FILE=/var/spool/cron/crontabs/root"}, {"cron-programs-root", "", "FILE=/opt/open/job"},
	{"cron-programs-users", "install -o alice -m 777 /dev/null /home/alice/job; echo '1 * * * * alice /home/alice/job' > /etc/cron.d/alice", "USER=alice FILE=/home/alice/job"},

	{"pam-quality", "pam-auth-update --remove pwquality", asWritten}, {"pam-lockout", "", asWritten}, {"pam-history", "", asWritten}, {"pam-nullok", "", asWritten},
	{"pam-open", "echo 'auth required pam_permit.so' > /etc/pam.d/weak", "!echo 'auth required pam_deny.so' >> /etc/pam.d/weak"},
	{"faillock-deny", "", asWritten}, {"faillock-unlock", "", asWritten}, {"faillock-unlock-half-hour", "", asWritten}, {"faillock-root", "", asWritten}, {"faillock-interval", "", asWritten},
	{"pwquality-difference", "", asWritten}, {"pwquality-length", "", asWritten}, {"pwquality-classes", "", asWritten}, {"pwquality-repeats", "", asWritten}, {"pwquality-sequences", "", asWritten},
	{"pwquality-dictionary", "", asWritten}, {"pwquality-enforcing", "", asWritten}, {"pwquality-user-name", "", asWritten}, {"pwquality-root", "", asWritten},
	{"pwhistory-remember", "", asWritten}, {"pwhistory-root", "", asWritten}, {"pwhistory-authtok", "", asWritten}, {"pam-other", "", asWritten},
	{"pam-files-mode", "chmod 666 /etc/pam.d/other", asWritten}, {"securetty", "echo pts/0 > /etc/securetty", asWritten}, {"su-restricted", "", asWritten},

	{"sudo-pty", "", asWritten}, {"sudo-log-file", "", asWritten}, {"sudo-log", "", asWritten}, {"sudo-timeout", "", asWritten}, {"sudo-tickets", "", asWritten}, {"sudo-environment", "", asWritten},
	{"sudo-secure-path", "", asWritten}, {"sudo-visible-passwords", "", asWritten}, {"sudo-own-password", "", asWritten},
	{"sudo-reauthenticate", "", "!sed -i 's/, !authenticate//' /etc/sudoers.d/weak"}, {"sudo-kept-variables", "", "!sed -i 's/, env_keep+=LD_PRELOAD//' /etc/sudoers.d/weak"},
	{"sudo-password", "", "!sed -i 's/NOPASSWD://' /etc/sudoers.d/weak"}, {"sudo-everybody", "", "!sed -i '/^ALL /d' /etc/sudoers.d/weak"}, {"sudo-exclusions", "", "!sed -i 's/, !.*su$//' /etc/sudoers.d/weak"},
	{"sudo-shell-escapes", "", "!sed -i 's,/usr/bin/vi,sudoedit /etc/motd,' /etc/sudoers.d/weak"}, {"sudo-wildcards", "", `!sed -i 's,/var/log/\*,/var/log/syslog,' /etc/sudoers.d/weak`},
	{"sudo-writable-commands", "", another}, {"sudo-directory-mode", "chmod 777 /etc/sudoers.d", asWritten}, {"sudo-files-mode", "chmod 644 /etc/sudoers", asWritten},
	{"polkit-grants-all", "mkdir -p /etc/polkit-1/rules.d; echo 'polkit.addRule(function(a, s) { return polkit.Result.YES; });' > /etc/polkit-1/rules.d/10.rules", "!sed -i s/YES/AUTH_ADMIN_KEEP/ /etc/polkit-1/rules.d/10.rules"},
	{"polkit-grants", "", another}, {"polkit-files-mode", "chmod 666 /etc/polkit-1/rules.d/10.rules", "FILE=/etc/polkit-1/rules.d/10.rules"},

	{"ssh-access", "", asWritten}, {"ssh-banner", "", asWritten}, {"ssh-ciphers", "", asWritten}, {"ssh-macs", "", asWritten}, {"ssh-kex", "", asWritten}, {"ssh-host-key-algorithms", "", asWritten},
	{"ssh-user-key-algorithms", "", asWritten}, {"ssh-rsa-size", "", asWritten}, {"ssh-idle", "", asWritten}, {"ssh-forwarding", "", asWritten}, {"ssh-x11", "", asWritten}, {"ssh-agent-forwarding", "", asWritten},
	{"ssh-tunnel", "", asWritten}, {"ssh-gateway-ports", "", asWritten}, {"ssh-gssapi", "", asWritten}, {"ssh-kerberos", "", asWritten}, {"ssh-hostbased", "", asWritten}, {"ssh-rhosts", "", asWritten},
	{"ssh-login-grace", "", asWritten}, {"ssh-log-level", "", asWritten}, {"ssh-log-facility", "", asWritten}, {"ssh-auth-tries", "", asWritten}, {"ssh-max-sessions", "", asWritten}, {"ssh-max-startups", "", asWritten},
	{"ssh-empty-passwords", "", asWritten}, {"ssh-root-login", "", asWritten}, {"ssh-root-password", "", asWritten}, {"ssh-passwords", "", asWritten}, {"ssh-user-environment", "", asWritten},
	{"ssh-pam", "sed -i 's/^UsePAM yes/UsePAM no/' /etc/ssh/sshd_config", asWritten}, {"ssh-strict-modes", "", asWritten}, {"ssh-last-login", "", asWritten}, {"ssh-keys-command-user", "", asWritten}, {"ssh-accept-env", "", "!sed -i '/^AcceptEnv \\*/d' /etc/ssh/sshd_config"},
	{"ssh-host-keys-strength", "cd /etc/ssh; rm ssh_host_rsa_key*; ssh-keygen -q -t rsa -b 1024 -N '' -f ssh_host_rsa_key", asWritten}, {"ssh-host-keys-private", "chmod 644 /etc/ssh/ssh_host_ed25519_key", asWritten},
	{"ssh-host-keys-public", "chmod 666 /etc/ssh/ssh_host_ed25519_key.pub", asWritten}, {"ssh-config-directory", "chmod 777 /etc/ssh/sshd_config.d", asWritten}, {"ssh-config-mode", "", asWritten},
	{"ssh-user-files", "install -d -o alice -m 777 /home/alice/.ssh; install -d -m 700 /root/.ssh", "USER=alice"},
	{"ssh-user-keys-strength", "cp /etc/ssh/ssh_host_rsa_key.pub /home/alice/.ssh/authorized_keys; chmod 666 /home/alice/.ssh/authorized_keys", "!cp /etc/ssh/ssh_host_ed25519_key.pub /home/alice/.ssh/authorized_keys"},
	{"ssh-user-keys-owner", "", "USER=alice"}, {"ssh-root-keys-limited", "cp /etc/ssh/ssh_host_rsa_key.pub /root/.ssh/authorized_keys", `!(printf 'from="192.0.2.1" '; cat /etc/ssh/ssh_host_ecdsa_key.pub) > /root/.ssh/authorized_keys`},
	{"ssh-keys-shared", "", another}, {"trusted-hosts", "touch /etc/hosts.equiv", asWritten},
}

// weakSSHD is what a server of OpenSSH had better not be told.
const weakSSHD = `
Ciphers +3des-cbc
MACs +hmac-md5
KexAlgorithms +diffie-hellman-group1-sha1
HostKeyAlgorithms +ssh-rsa
PubkeyAcceptedAlgorithms +ssh-rsa
PermitTunnel yes
GatewayPorts yes
GSSAPIAuthentication yes
KerberosAuthentication yes
HostbasedAuthentication yes
IgnoreRhosts no
LogLevel QUIET
SyslogFacility LOCAL1
MaxSessions 99
PermitEmptyPasswords yes
PermitRootLogin yes
PermitUserEnvironment yes
AcceptEnv *
StrictModes no
PrintLastLog no
AuthorizedKeysCommand /usr/bin/true
AuthorizedKeysCommandUser root
`

const weakSudo = `Defaults !use_pty, !syslog, timestamp_timeout=60, timestamp_type=global, !env_reset, !secure_path, visiblepw, targetpw, !authenticate, env_keep+=LD_PRELOAD
alice ALL=(ALL) NOPASSWD: ALL
ALL ALL=(ALL) /usr/bin/id
erin ALL=(ALL) ALL, !/usr/bin/su
carol ALL=(root) /usr/bin/vi, /opt/open/job, /usr/bin/cat /var/log/*
`

// debianSystem is what is wrong with the system itself.
var debianSystem = []neglect{
	{"kernel-aslr", "", asWritten}, {"kernel-ptrace", "", asWritten}, {"kernel-suid-dumpable", "", asWritten}, {"kernel-pointers", "", asWritten}, {"kernel-dmesg", "", asWritten}, {"kernel-bpf-unprivileged", "", asWritten},
	{"kernel-bpf-jit", "", asWritten}, {"kernel-perf-events", "", asWritten}, {"kernel-kexec", "", asWritten}, {"kernel-sysrq", "", asWritten}, {"kernel-mmap-min-addr", "", asWritten}, {"kernel-tty-ldisc", "", asWritten},
	{"kernel-tty-tiocsti", "", asWritten}, {"kernel-userfaultfd", "", asWritten}, {"kernel-io-uring", "", asWritten}, {"kernel-user-namespaces", "", asWritten},
	{"kernel-protected-symlinks", "", "!rm /etc/sysctl.d/99-weak.conf"}, {"kernel-protected-hardlinks", "", another}, {"kernel-protected-fifos", "", another}, {"kernel-protected-regular", "", another},

	{"module-cramfs", "", asWritten}, {"module-freevxfs", "", asWritten}, {"module-hfs", "", asWritten}, {"module-hfsplus", "", asWritten}, {"module-jffs2", "", asWritten}, {"module-overlayfs", "", asWritten},
	{"module-squashfs", "", asWritten}, {"module-udf", "", asWritten}, {"module-usb-storage", "", asWritten}, {"module-dma-ports", "", asWritten}, {"module-dccp", "", asWritten}, {"module-tipc", "", asWritten},
	{"module-rds", "", asWritten}, {"module-sctp", "", asWritten}, {"module-atm", "", asWritten}, {"module-can", "", asWritten}, {"module-test-drivers", "", asWritten}, {"module-rare-filesystems", "", "NAME=ocfs2"},
	{"module-rare-protocols", "", "NAME=ax25"},

	{"boot-no-weakening", "", "!sed -i 's/ nokaslr//' /boot/grub/grub.cfg"}, {"boot-mitigations", "", "!sed -i 's/ mitigations=off//' /boot/grub/grub.cfg"}, {"boot-no-shell", "", "!sed -i 's, init=/bin/sh,,' /boot/grub/grub.cfg"},
	{"boot-init-on-alloc", "", "!sed -i 's/init_on_alloc=0/init_on_alloc=1/' /boot/grub/grub.cfg"}, {"boot-slab-nomerge", "", "!sed -i 's/ ro /& slab_nomerge /' /boot/grub/grub.cfg"},
	{"boot-stack-offset", "", "!sed -i 's/ ro /& randomize_kstack_offset=on /' /boot/grub/grub.cfg"}, {"boot-page-shuffle", "", "!sed -i 's/ ro /& page_alloc.shuffle=1 /' /boot/grub/grub.cfg"},
	{"boot-vsyscall", "", "!sed -i 's/ ro /& vsyscall=none /' /boot/grub/grub.cfg"}, {"boot-debugfs", "", "!sed -i 's/ ro /& debugfs=off /' /boot/grub/grub.cfg"},
	{"mac-apparmor-boot", "", "!sed -i 's/ apparmor=0//' /boot/grub/grub.cfg"}, {"mac-selinux-boot", "", "!sed -i 's/ selinux=0//' /boot/grub/grub.cfg"},
	{"boot-password", "", "!sed -i '1i set superusers=\"admin\"\\npassword_pbkdf2 admin grub.pbkdf2.sha512.10000.AB.CD' /boot/grub/grub.cfg"},
	{"boot-config-access", "", asWritten}, {"boot-files-access", "chmod 666 /boot/vmlinuz-6.1.0-40-amd64", asWritten}, {"boot-system-map", "touch /boot/System.map-6.1.0-40-amd64", asWritten},

	{"mount-tmp-separate", "", asWritten}, {"mount-shm-noexec", "", asWritten}, {"mount-home-separate", "", asWritten}, {"mount-var-separate", "", asWritten}, {"mount-var-tmp-separate", "", asWritten},
	{"mount-var-log-separate", "", asWritten}, {"mount-var-log-audit-separate", "", asWritten}, {"mount-boot-options", "echo '/dev/sda1 /boot ext4 defaults 0 2' >> /etc/fstab", "!sed -i 's,/boot ext4 defaults,&\\,nodev\\,nosuid\\,noexec,' /etc/fstab"},
	{"mount-remote", "echo 'server:/x /mnt nfs4 defaults 0 0' >> /etc/fstab", "!sed -i 's,nfs4 defaults,&\\,nodev\\,nosuid,' /etc/fstab"},

	{"repository-verified", "echo 'deb [trusted=yes] https://packages.example.com/debian ./' > /etc/apt/sources.list.d/x.list", "!rm /etc/apt/sources.list.d/x.list"},
	{"repository-unsigned-refused", `echo 'APT::Get::AllowUnauthenticated "true";' > /etc/apt/apt.conf.d/99weak`, "!rm /etc/apt/apt.conf.d/99weak"}, {"repository-encrypted", "", asWritten}, {"repository-own-key", "", asWritten},
	{"integrity-programs", "cp -a /usr/bin/chage /opt/chage; echo >> /usr/bin/chage", "!mv /opt/chage /usr/bin/chage"}, {"integrity-missing", "mv /usr/bin/expiry /opt/expiry", "!mv /opt/expiry /usr/bin/expiry"},

	{"coredump-limited", "", asWritten}, {"coredump-not-stored", "touch /usr/lib/systemd/systemd-coredump", asWritten}, {"banner-motd", "", asWritten}, {"banner-issue", "", asWritten}, {"banner-issue-net", "", another}, {"banner-warning", "", asWritten},
	{"crash-reporters-off", "install -D /dev/null /usr/share/apport/apport; echo enabled=1 > /etc/default/apport", "!sed -i 's/^enabled=.*/enabled=0/' /etc/default/apport"},
	{"desktop-banner", "mkdir /etc/gdm3; touch /usr/sbin/gdm3", asWritten}, {"desktop-user-list", "", asWritten}, {"desktop-lock", "", asWritten}, {"desktop-lock-locked", "", asWritten}, {"desktop-automount", "", asWritten},
	{"desktop-automount-locked", "", asWritten}, {"desktop-autorun", "", asWritten}, {"desktop-autorun-locked", "", asWritten},
	{"desktop-xdmcp", `printf '[daemon]\nAutomaticLoginEnable = true\n[xdmcp]\nEnable = True\n' > /etc/gdm3/daemon.conf`, asWritten}, {"desktop-autologin", "", asWritten},

	{"file-ld-preload", "echo > /etc/ld.so.preload", asWritten}, {"file-ld-config", "chmod 666 /etc/ld.so.conf", "FILE=/etc/ld.so.conf"}, {"file-kernel-config", "chmod 666 /etc/sysctl.d/10-weak.conf", "FILE=/etc/sysctl.d/10-weak.conf"},
	{"file-mount-config", "chmod 666 /etc/hosts", "FILE=/etc/hosts"}, {"file-crypttab", "touch /etc/crypttab", asWritten}, {"file-repository-config", "chmod 666 /etc/apt/sources.list", asWritten},
	{"file-repository-secret", "touch /etc/apt/auth.conf", asWritten}, {"file-system-dirs", "chmod 777 /usr/local/bin", "DIR=/usr/local/bin"}, {"file-tmp-sticky", "chmod 777 /var/tmp", asWritten},
	{"file-systemd-units", "touch /etc/systemd/system/x.service; chmod 666 /etc/systemd/system/x.service", "UNIT=/etc/systemd/system/x.service"},
	{"stray-writable", "touch /srv/open; chmod 666 /srv/open", "FILE=/srv/open"}, {"stray-unowned", "touch /srv/old; chown +4711:+4712 /srv/old", "FILE=/srv/old"},
	{"setuid-packaged", "cp /usr/bin/true /usr/local/bin/rootsh; chmod 4755 /usr/local/bin/rootsh", "!rm /usr/local/bin/rootsh"}, {"setuid-writable", "chmod 4775 /usr/bin/su", "FILE=/usr/bin/su"},
	{"setuid-tools", "chmod u+s /usr/bin/find", "FILE=/usr/bin/find"},

	// Last, since what changes accounts writes these files anew.
	{"file-passwd", "chmod 666 /etc/passwd", asWritten}, {"file-passwd-backup", "cp /etc/passwd /etc/passwd-; chmod 666 /etc/passwd-", asWritten}, {"file-group", "chmod 666 /etc/group", asWritten},
	{"file-group-backup", "cp /etc/group /etc/group-; chmod 666 /etc/group-", asWritten}, {"file-shadow", "chmod 644 /etc/shadow", asWritten}, {"file-shadow-backup", "cp /etc/shadow /etc/shadow-; chmod 644 /etc/shadow-", asWritten},
	{"file-gshadow", "chmod 644 /etc/gshadow", asWritten}, {"file-gshadow-backup", "cp /etc/gshadow /etc/gshadow-; chmod 644 /etc/gshadow-", asWritten}, {"file-shells", "chmod 666 /etc/shells", asWritten},
	{"file-opasswd", "install -m 644 /dev/null /etc/security/opasswd", asWritten}, {"file-motd", "chmod 666 /etc/motd", asWritten}, {"file-issue", "chmod 666 /etc/issue", asWritten}, {"file-issue-net", "chmod 666 /etc/issue.net", asWritten},
}

// weakSysctls are parameters of the kernel as they should not be, the last of which count over what the distribution sets.
const (
	weakSysctls = `kernel.randomize_va_space = 0
kernel.yama.ptrace_scope = 0
fs.suid_dumpable = 2
kernel.dmesg_restrict = 0
kernel.unprivileged_bpf_disabled = 0
net.core.bpf_jit_harden = 0
kernel.perf_event_paranoid = 0
kernel.kexec_load_disabled = 0
kernel.sysrq = 1
vm.mmap_min_addr = 0
dev.tty.ldisc_autoload = 1
dev.tty.legacy_tiocsti = 1
vm.unprivileged_userfaultfd = 1
kernel.io_uring_disabled = 0
kernel.unprivileged_userns_clone = 1
kernel.apparmor_restrict_unprivileged_userns = 0
user.max_user_namespaces = 1000
`
	weakLinks = "fs.protected_symlinks = 0\nfs.protected_hardlinks = 0\nfs.protected_fifos = 0\nfs.protected_regular = 0\n"
)

// debianKernel are the files of a kernel that debootstrap does not install, as far as surveys ask for them.
var debianKernel = map[string]string{
	"boot/vmlinuz-6.1.0-40-amd64":                "",
	"boot/config-6.1.0-40-amd64":                 "CONFIG_LEGACY_VSYSCALL_XONLY=y\n# CONFIG_LEGACY_VSYSCALL_NONE is not set\nCONFIG_SLAB_MERGE_DEFAULT=y\nCONFIG_DEBUG_FS=y\n",
	"lib/modules/6.1.0-40-amd64/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	"lib/modules/6.1.0-40-amd64/modules.dep":     "",
	"boot/grub/grub.cfg":                         "menuentry 'Debian' {\n\tlinux /vmlinuz-6.1.0-40-amd64 root=/dev/sda2 ro nokaslr mitigations=off init=/bin/sh init_on_alloc=0 apparmor=0 selinux=0\n}\n",
}

const debianModules = "cramfs freevxfs hfs hfsplus jffs2 overlay squashfs udf usb-storage uas firewire-core firewire-ohci firewire-sbp2 dccp tipc rds sctp atm can vivid ocfs2 ax25"

// aloneInAnImage are commands that only do something where a kernel runs, or that debootstrap does not install.
const aloneInAnImage = "sysctl modprobe mount reboot update-grub lvcreate mkfs.ext4 dconf"

// debianPackages are what checks are about, and the judges that ours are compared with.
const debianPackages = "openssh-server,sudo,cron,at,libpam-pwquality,systemd,dbus,procps,iproute2,auditd,rsyslog,logrotate,chrony,nftables,iptables,apparmor,openscap-scanner,lynis"

// A bookworm is the tree of a Debian that does not run.
type bookworm struct{ root string }

// pristine is a Debian as debootstrap leaves it, installed once for all tests, beside the program that they run.
var pristine struct {
	once sync.Once
	root string
	why  string // there is none
}

// newDebian is one.
func newDebian(t *testing.T) bookworm {
	t.Helper()
	dir := filepath.Dir(binary(t))
	pristine.once.Do(func() {
		pristine.root = dir + "/debian"
		install := exec.Command("debootstrap", "--variant=minbase", "--include="+debianPackages, "bookworm", pristine.root, "http://deb.debian.org/debian")
		install.Env = append(os.Environ(), "DPKG_FORCE=unsafe-io") // what is thrown away need not survive the loss of power
		if out, err := install.CombinedOutput(); err != nil {
			pristine.why = fmt.Sprintf("debootstrap: %v\n%s", err, tail(out))
		}
	})
	if pristine.why != "" {
		t.Skipf("the mirror cannot be reached: %s", pristine.why)
	}
	d := bookworm{pristine.root}.copied(t)
	for name, text := range debianKernel {
		d.write(t, name, text)
	}
	for name := range strings.FieldsSeq(debianModules) {
		d.append(t, "lib/modules/6.1.0-40-amd64/modules.dep", "kernel/x/"+name+".ko:\n")
	}
	for name := range strings.FieldsSeq(aloneInAnImage) {
		d.write(t, "stub/"+name, "#!/bin/sh\n")
	}
	d.run(t, "prepare", "mkdir -p /run/sshd /etc/modprobe.d; touch /etc/hosts; chmod 755 /stub /stub/*; useradd -m -s /bin/bash -p '"+goodHash+"' alice")
	return d
}

// copied is another tree of the same.
func (d bookworm) copied(t *testing.T) bookworm {
	t.Helper()
	c := bookworm{t.TempDir() + "/debian"}
	if out, err := exec.Command("cp", "-a", "--reflink=auto", d.root, c.root).CombinedOutput(); err != nil {
		t.Fatalf("copy a tree: %v\n%s", err, tail(out))
	}
	return c
}

func tail(out []byte) []byte { return out[max(0, len(out)-500):] }

func (d bookworm) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(d.root, name)), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d.root, name), text)
}

func (d bookworm) append(t *testing.T, name, text string) {
	t.Helper()
	before, err := os.ReadFile(filepath.Join(d.root, name))
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, name, string(before)+text)
}

// run has a shell of the tree do something.
func (d bookworm) run(t *testing.T, what, script string) {
	t.Helper()
	shell := exec.Command("chroot", d.root, "/bin/sh", "-ec", script)
	shell.Env = []string{"PATH=/stub:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_OFFLINE=1", "DEBIAN_FRONTEND=noninteractive"}
	if out, err := shell.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", what, err, script, tail(out))
	}
}

// judge is the status of every check, and why it is so.
func (d bookworm) judge(t *testing.T) (status map[string]string, why map[string]string) {
	t.Helper()
	out, code := posture(t, "--root", d.root, "--format", "json")
	var result struct {
		Checks []struct {
			ID, Status string
			Objects    []json.RawMessage
		}
	}
	if err := json.Unmarshal(out, &result); err != nil || code > 1 {
		t.Fatalf("exit status %d, %v: %.500s", code, err, out)
	}
	status, why = map[string]string{}, map[string]string{}
	for _, c := range result.Checks {
		status[c.ID], why[c.ID] = c.Status, fmt.Sprintf("%.600s", c.Objects)
	}
	return status, why
}

// remediations are those of our own checks.
func remediations(t *testing.T) map[string]string {
	t.Helper()
	files, err := rules.ChecksPack()
	if err != nil {
		t.Fatal(err)
	}
	checks, _ := rules.LoadChecks(files)
	all := map[string]string{}
	for _, c := range checks {
		all[c.ID] = c.Remediation
	}
	return all
}

// script is what mends a neglect: the remediation of its check unless it says otherwise, with words in the place of NAME, FILE and the like.
func (n neglect) script(remediation string) string {
	if script, ok := strings.CutPrefix(n.mend, "!"); ok {
		return script
	}
	if n.mend == asLines {
		return lines(remediation)
	}
	var words []string
	for word := range strings.FieldsSeq(n.mend) {
		name, value, _ := strings.Cut(word, "=")
		words = append(words, name, value)
	}
	return strings.NewReplacer(words...).Replace(remediation)
}

// neglect does everything wrong.
func (d bookworm) neglect(t *testing.T, all []neglect) {
	t.Helper()
	d.append(t, "etc/ssh/sshd_config", weakSSHD)
	d.write(t, "etc/sudoers.d/weak", weakSudo)
	d.write(t, "etc/sysctl.d/10-weak.conf", weakSysctls)
	d.write(t, "etc/sysctl.d/99-weak.conf", weakLinks)
	for _, n := range all {
		if n.spoil != "" {
			d.run(t, "spoil "+n.check, n.spoil)
		}
	}
}

// mend does what remediations say.
func (d bookworm) mend(t *testing.T, all []neglect, remedies map[string]string) {
	t.Helper()
	for _, n := range all {
		if n.mend != another {
			d.run(t, "mend "+n.check, n.script(remedies[n.check]))
		}
	}
}

// TestPostureOfAHardenedDebian installs a Debian, neglects it, and mends it as remediations say: each check must see what is wrong, and
// each remediation must be enough for its check, and spoil no other's.
func TestPostureOfAHardenedDebian(t *testing.T) {
	needsRoot(t)
	needsProgram(t, "debootstrap", "chroot")
	d, remedies, all := newDebian(t), remediations(t), slices.Concat(debianAccess, debianSystem)
	plain, _ := d.judge(t)

	d.neglect(t, all)
	neglected, _ := d.judge(t)
	for _, n := range all {
		if neglected[n.check] != "fail" {
			t.Errorf("neglected: %s is %s, want fail", n.check, neglected[n.check])
		}
	}

	d.mend(t, all, remedies)
	hardened, why := d.judge(t)
	for _, n := range all {
		if hardened[n.check] != "pass" {
			t.Errorf("hardened: %s is %s, want pass: %s", n.check, hardened[n.check], why[n.check])
		}
	}
	for check, was := range plain {
		if is := hardened[check]; was == "pass" && is != "pass" {
			t.Errorf("%s passed before anything was done, and is %s now: %s", check, is, why[check])
		}
	}
	t.Logf("%d checks fail on the neglected tree and pass on the hardened one", len(all))
}
