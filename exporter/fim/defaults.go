package fim

import (
	"slices"
	"strings"
)

// What editors and package managers write beside a file while they replace it. A set leaves such names out only if whoever
// reads its files skips them, or reads other names only: what runs under any name is watched under any name.
var (
	// swaps are what even cron, kubelet and sudo skip. vim tries with .NAME.swpx what names the file system allows.
	swaps = []string{".*.sw?", ".*.sw?x", ".*.un~", ".#*", ".apk.*"}
	// skipped are what dnsmasq and AppArmor skip, too.
	skipped = slices.Concat(swaps, []string{"*~", "*.dpkg-new"})
	// hidden are what run-parts, sudo, systemd, udev, polkit and bash-completion skip.
	hidden = slices.Concat(skipped, []string{"*.dpkg-tmp"})
	// leftovers are for files that are read by their whole name, or by how it ends. rpm unpacks beside the file, too, with
	// a semicolon and eight hexadecimal digits behind its name; vim tries with a file called 4913 whether it may write; perl -i has
	// XX before six letters.
	leftovers = slices.Concat(hidden, received(), []string{"#*#", "4913", "sed??????", "XX??????", "*;????????"})
)

// received are what rsync writes to until it has all of a file: .NAME. and six letters or digits, hardly ever small letters alone,
// which would be a word.
func received() (names []string) {
	for i := range 6 {
		names = append(names, ".*."+strings.Repeat("?", i)+"[A-Z0-9]"+strings.Repeat("?", 5-i))
	}
	return names
}

// Attributes for sets where a second name of a file does no harm. Package managers keep what they replace under one for a
// while.
var withoutLinks = []string{"content", "mode", "owner", "xattrs", "acl", "flags"}

// inHomes are files in the homes of people and of root.
func inHomes(names ...string) []string { return inEach([]string{"/root/", "/home/*/"}, names) }

// servicesHomes are homes of services that people, or other services, log in to. /var/lib/* would do, but then whatever is
// written below /var/lib would have to be looked at.
var servicesHomes = []string{"/var/lib/git/", "/var/lib/gitea/", "/var/lib/gitolite/", "/var/lib/gitolite3/", "/var/lib/jenkins/",
	"/var/lib/mysql/", "/var/lib/nginx/", "/var/lib/pgsql/", "/var/lib/postgresql/", "/var/lib/rabbitmq/", "/var/lib/redis/",
	"/var/lib/tomcat/", "/var/opt/gitlab/", "/var/www/"}

// sites are where web servers of distributions and images look for several sites, of whatever framework.
var sites = []string{"/var/www/", "/srv/www/", "/srv/http/", "/usr/local/apache2/htdocs/", "/usr/share/nginx/html/",
	"/home/*/public_html/", "/opt/bitnami/*/htdocs/"}

// inRancher are files of K3s and RKE2.
func inRancher(names ...string) []string {
	return inEach([]string{"/var/lib/rancher/k3s/", "/var/lib/rancher/rke2/"}, names)
}

func inEach(dirs, names []string) (paths []string) {
	for _, dir := range dirs {
		for _, name := range names {
			paths = append(paths, dir+name)
		}
	}
	return paths
}

// inUsr are directories of /usr, and where Bottlerocket keeps them. Its root is read-only, so that what changes there is
// mounted over it.
func inUsr(names ...string) []string {
	return inEach([]string{"/usr/", "/x86_64-bottlerocket-linux-gnu/sys-root/usr/",
		"/aarch64-bottlerocket-linux-gnu/sys-root/usr/"}, names)
}

// Shipped are the sets that Yagura ships, for Debian, Ubuntu, RHEL and its like, Amazon Linux, Alpine, Bottlerocket and
// container images alike: a path that is absent costs nothing. No path is of two of them, so that nothing is told twice.
func Shipped() []WatchConfig {
	return []WatchConfig{{
		Name:     "binaries",
		Doc:      "Programs that everybody finds in their PATH, or that services run.",
		Severity: "critical",
		Of:       "both",
		Paths: slices.Concat([]string{"/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/local/libexec", "/usr/games",
			"/opt/bin", "/opt/*/bin", "/opt/*/sbin", "/opt/*/*/bin", "/snap/bin"}, inUsr("bin", "sbin", "libexec")),
		Exclude: []string{"/opt/cni", "__pycache__"},
	}, {
		Name:       "libraries",
		Doc:        "Libraries, modules of interpreters, firmware and whatever else programs load, as far as no other set has it.",
		Severity:   "critical",
		Of:         "both",
		Rest:       true,
		Attributes: withoutLinks,
		Paths: slices.Concat([]string{"/lib", "/lib32", "/lib64", "/libx32", "/usr/local/lib", "/usr/local/lib64", "/usr/share/perl",
			"/usr/share/perl5", "/usr/share/python3", "/usr/share/nodejs", "/usr/share/ruby", "/usr/share/php", "/opt/*/lib",
			"/opt/*/lib64"},
			inUsr("lib", "lib32", "lib64", "libx32")),
		Exclude: []string{"__pycache__"}, // Python writes what it has compiled beside what it runs, whoever runs it
	}, {
		Name:     "loader",
		Doc:      "What the dynamic loader puts into every process: preloaded libraries, where it looks for them, and itself.",
		Severity: "critical",
		Of:       "both",
		Diff:     true,
		Paths: []string{"/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.cache", "/etc/ld-musl-*.path",
			"/lib/ld-*.so*", "/lib32/ld-*.so*", "/lib64/ld-*.so*", "/lib/*/ld-*.so*", "/usr/lib/ld-*.so*", "/usr/lib32/ld-*.so*",
			"/usr/lib64/ld-*.so*", "/usr/lib/*/ld-*.so*"},
		Exclude: leftovers,
	}, {
		Name:     "boot",
		Doc:      "Kernels, initial RAM disks, boot loaders, their configuration, and the scripts that make them.",
		Severity: "critical",
		Paths: []string{"/boot", "/efi", "/etc/default/grub", "/etc/default/grub.d", "/etc/grub.d", "/etc/grub.cfg", "/etc/grub2.cfg",
			"/etc/grub2-efi.cfg", "/etc/lilo.conf", "/etc/update-extlinux.conf", "/etc/kernel", "/etc/kernel-img.conf",
			"/usr/lib/kernel", "/etc/initramfs-tools", "/usr/share/initramfs-tools", "/etc/dracut.conf", "/etc/dracut.conf.d",
			"/usr/lib/dracut", "/etc/mkinitfs", "/usr/share/mkinitfs", "/etc/mkinitcpio.conf", "/etc/mkinitcpio.d", "/etc/crypttab",
			"/etc/kexec.conf", "/etc/sysconfig/grub", "/etc/sysconfig/kernel", "/etc/default/kexec", "/etc/default/kdump-tools",
			"/etc/kdump.conf"},
		Exclude: []string{"grubenv", // counts what has booted
			"/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed", // made anew for every boot
			"/boot/grub/.background_cache.png"},
	}, {
		Name:       "kernel_modules",
		Doc:        "Modules of the kernel, and which of them are loaded, how and instead of which.",
		Severity:   "critical",
		Attributes: withoutLinks,
		Paths: slices.Concat([]string{"/lib/modules", "/etc/modules", "/etc/modules-load.d", "/lib/modules-load.d",
			"/run/modules-load.d",
			"/usr/local/lib/modules-load.d", "/etc/modprobe.conf", "/etc/modprobe.d", "/lib/modprobe.d", "/run/modprobe.d",
			"/usr/local/lib/modprobe.d", "/etc/depmod.d", "/lib/depmod.d", "/run/depmod.d", "/etc/dkms", "/etc/sysconfig/modules"},
			inUsr("lib/modules", "lib/modules-load.d", "lib/modprobe.d", "lib/depmod.d")),
		Exclude: []string{"/etc/modprobe.d/.*.sw?", "/etc/modprobe.d/.*.sw?x"},
	}, {
		Name:     "ssh",
		Doc:      "Who may log in over SSH and with which keys, and what the server and clients run and trust.",
		Severity: "critical",
		Of:       "both",
		Paths: slices.Concat([]string{"/etc/ssh", "/usr/etc/ssh", "/etc/dropbear", "/etc/dropbear-initramfs", "/etc/default/ssh",
			"/etc/default/dropbear", "/etc/sysconfig/sshd", "/etc/conf.d/sshd",
			"/etc/conf.d/dropbear"}, inHomes(".ssh"), inEach(servicesHomes, []string{".ssh"})),
		Exclude: slices.Concat(leftovers, []string{"known_hosts", "known_hosts.*"}, // grow with every new host
			inHomes(".ssh/*.sock", ".ssh/agent*", ".ssh/cm-*", ".ssh/control*", ".ssh/master-*")), // sockets
	}, {
		Name:     "pam",
		Doc:      "How everybody is authenticated: services and modules of PAM and their limits.",
		Severity: "critical",
		Of:       "both",
		Diff:     true,
		Paths: []string{"/etc/pam.d", "/etc/pam.conf", "/etc/security", "/etc/authselect", "/usr/lib/pam.d", "/usr/etc/pam.d",
			"/usr/share/pam", "/usr/share/pam-configs", "/usr/share/authselect", "/var/lib/pam", "/lib/security", "/lib64/security",
			"/lib/*/security", "/usr/lib/security", "/usr/lib64/security", "/usr/lib/*/security"},
		Exclude: slices.Concat(leftovers, []string{"/etc/security/opasswd", "/etc/security/opasswd.*", "/etc/security/nopasswd"}),
	}, {
		Name:     "sudoers",
		Doc:      "Who may become root: sudo, doas and polkit.",
		Severity: "critical",
		Of:       "both",
		Diff:     true,
		Paths: []string{"/etc/sudoers", "/etc/sudoers.d", "/etc/sudo.conf", "/etc/sudo-ldap.conf", "/etc/sudo_logsrvd.conf",
			"/usr/etc/sudoers", "/etc/doas.conf", "/etc/doas.d", "/etc/polkit-1", "/usr/share/polkit-1", "/run/polkit-1",
			"/usr/local/share/polkit-1"},
		Exclude: slices.Concat(hidden, []string{"*.tmp"}), // visudo's; sudo skips names with a full stop
	}, {
		Name:     "accounts",
		Doc:      "Users, groups, their passwords, and where else the system asks for them.",
		Severity: "critical",
		Of:       "both",
		Paths: []string{"/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/shadow-", "/etc/group", "/etc/group-", "/etc/gshadow",
			"/etc/gshadow-", "/etc/subuid", "/etc/subuid-", "/etc/subgid", "/etc/subgid-", "/etc/security/opasswd", "/etc/shells",
			"/etc/securetty", "/etc/login.defs", "/etc/login.access", "/etc/adduser.conf", "/etc/deluser.conf",
			"/etc/default/useradd", "/etc/sysusers.d", "/usr/lib/sysusers.d", "/etc/userdb", "/usr/lib/userdb", "/usr/lib/passwd",
			"/usr/lib/group", "/var/lib/extrausers", "/etc/sssd", "/etc/nslcd.conf", "/etc/krb5.conf", "/etc/krb5.conf.d",
			"/etc/krb5.keytab", "/etc/ldap", "/etc/openldap", "/etc/ldap.conf"},
		Exclude: slices.Concat(leftovers, []string{"/var/lib/extrausers/*.lock", "/var/lib/extrausers/.pwd.lock"}),
	}, {
		Name: "cron",
		Doc:  "What cron, anacron, at, fcron and incron run, and who may have them run something.",
		Of:   "both",
		Diff: true,
		Paths: []string{"/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly",
			"/etc/cron.yearly", "/etc/anacrontab", "/etc/cron.allow", "/etc/cron.deny", "/etc/at.allow", "/etc/at.deny",
			"/etc/crontabs", "/etc/periodic", "/etc/default/cron", "/etc/default/anacron", "/etc/sysconfig/crond",
			"/etc/sysconfig/atd", "/etc/incron.d", "/etc/fcrontab", "/etc/fcron.conf", "/var/spool/cron", "/var/spool/at",
			"/var/spool/atjobs", "/var/spool/incron", "/var/spool/fcron"},
		Exclude: slices.Concat(swaps, []string{"*~", ".SEQ", // the number of at's next job
			"/var/spool/cron/crontabs/tmp.*", "/var/spool/cron/#tmp.*", "/var/spool/cron/tmp.*", "/var/spool/cron/crontabs/cron.update",
			"/var/spool/cron/lastrun", "/var/spool/cron/atspool", "/var/spool/at/spool"}),
	}, {
		Name: "services",
		Doc:  "What runs without anybody logging in: units, generators and init scripts, and what udev, D-Bus and desktops start.",
		Diff: true,
		Paths: slices.Concat([]string{"/etc/systemd", "/lib/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd",
			"/run/systemd/system",
			"/etc/containers/systemd", "/usr/share/containers/systemd", "/etc/tmpfiles.d", "/usr/lib/tmpfiles.d", "/etc/binfmt.d",
			"/usr/lib/binfmt.d", "/etc/udev", "/lib/udev", "/usr/lib/udev", "/run/udev/rules.d", "/usr/local/lib/udev", "/etc/dbus-1",
			"/usr/share/dbus-1", "/etc/init.d", "/etc/rc.local", "/etc/rc.conf", "/etc/rc.d", "/etc/rc?.d", "/etc/inittab",
			"/etc/init", "/etc/conf.d", "/etc/local.d", "/etc/runlevels", "/lib/rc", "/usr/lib/rc", "/etc/sv", "/etc/service",
			"/etc/runit", "/etc/s6", "/etc/s6-overlay", "/etc/supervisor", "/etc/supervisord.conf", "/etc/supervisord.d",
			"/etc/inetd.conf", "/etc/xinetd.conf", "/etc/xinetd.d", "/etc/xdg/autostart", "/usr/share/xdg/autostart"},
			inHomes(".config/systemd", ".local/share/systemd", ".config/containers/systemd", ".config/autostart")),
		Exclude: slices.Concat(hidden, []string{
			"/etc/systemd/network", "/lib/systemd/network", "/usr/lib/systemd/network", "/etc/systemd/resolved.conf",
			"/etc/systemd/resolved.conf.d", "/usr/lib/systemd/resolved.conf.d", "/etc/conf.d/sshd", "/etc/conf.d/dropbear",
			// What runs is not said here: older versions of systemd write one of these for every session and container.
			"/run/systemd/system/*.scope", "/run/systemd/system/*.scope.d", "/run/systemd/system/*.slice",
			"/run/systemd/system/*.slice.d",
			"/etc/udev/hwdb.bin", "/lib/udev/hwdb.bin", "/usr/lib/udev/hwdb.bin", // made anew from files beside them
		}, inHomes(".local/share/systemd/timers")), // when they have run
	}, {
		Name: "profiles",
		Doc:  "What shells and sessions run when somebody logs in, for everybody and for each.",
		Of:   "both",
		Paths: slices.Concat([]string{"/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/bashrc", "/etc/bash",
			"/etc/bash.bash_logout", "/etc/bash_completion", "/etc/bash_completion.d", "/usr/share/bash-completion", "/etc/zsh",
			"/etc/zshenv", "/etc/zshrc", "/etc/zprofile", "/etc/zlogin", "/etc/zlogout", "/etc/csh.cshrc", "/etc/csh.login",
			"/etc/csh.logout", "/etc/csh", "/etc/ksh.kshrc", "/etc/mkshrc", "/etc/fish", "/etc/inputrc", "/etc/environment",
			"/etc/environment.d", "/usr/lib/environment.d", "/etc/skel", "/etc/update-motd.d", "/etc/motd.d", "/etc/X11/Xsession.d",
			"/etc/X11/xinit", "/etc/xprofile"},
			inHomes(".profile", ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".bash_completion",
				".bashrc.d", ".zshenv", ".zshrc", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".mkshrc", ".shrc", ".ashrc",
				".cshrc", ".tcshrc", ".login", ".logout", ".config/fish", ".config/environment.d", ".inputrc", ".pam_environment",
				".xprofile", ".xinitrc", ".xsession", ".xsessionrc")),
		Exclude: slices.Concat(hidden, []string{"fish_variables", "fish_variables.*"}), // fish keeps its state there
	}, {
		Name: "packages",
		Doc:  "Databases of package managers, where packages come from, who signs them, and what runs when one is installed.",
		Of:   "both",
		Paths: []string{"/var/lib/dpkg/status", "/var/lib/dpkg/status.d", "/var/lib/dpkg/info", "/var/lib/dpkg/diversions",
			"/var/lib/dpkg/statoverride", "/var/lib/dpkg/alternatives", "/etc/dpkg", "/etc/apt", "/usr/share/keyrings",
			"/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm", "/etc/rpm", "/usr/lib/rpm", "/etc/yum.conf", "/etc/yum",
			"/etc/yum.repos.d", "/etc/dnf", "/etc/tdnf", "/etc/pki/rpm-gpg", "/etc/zypp", "/lib/apk/db", "/usr/lib/apk/db",
			"/etc/apk", "/usr/share/apk/keys"},
		Exclude: slices.Concat(hidden, []string{
			// Even who only asks rpm changes these.
			"__db.*", ".rpm.lock", ".dbenv.lock", "*-shm", "*-wal", "*-journal", "/usr/lib/rpm/__pycache__",
			"/var/lib/dpkg/info/*-new", "/lib/apk/db/lock", "/usr/lib/apk/db/lock"}),
	}, {
		Name: "kubernetes",
		Doc:  "Kubelet, control plane and network plugins of this node: static pods, keys, configuration.",
		Paths: slices.Concat([]string{"/etc/kubernetes", "/etc/cni", "/opt/cni", "/usr/lib/cni", "/etc/default/kubelet",
			"/etc/sysconfig/kubelet", "/etc/eks", "/etc/etcd", "/etc/etcd.env", "/var/lib/kubelet/config.yaml",
			"/var/lib/kubelet/kubeconfig", "/var/lib/kubelet/bootstrap-kubeconfig", "/var/lib/kubelet/kubeadm-flags.env",
			"/var/lib/kubelet/instance-config.yaml", "/var/lib/kubelet/pki", "/var/lib/kubelet/config.d", "/var/lib/kube-proxy",
			"/etc/rancher", "/etc/k0s", "/var/lib/k0s/manifests", "/var/lib/k0s/pki", "/var/lib/minikube/certs",
			"/var/snap/microk8s/current/args", "/var/snap/microk8s/current/certs", "/var/snap/microk8s/current/credentials"},
			inRancher("server/manifests", "server/tls", "server/token", "server/cred", "agent/kubelet.kubeconfig",
				"agent/kubeproxy.kubeconfig", "agent/k3scontroller.kubeconfig", "agent/rke2controller.kubeconfig",
				"agent/client-ca.crt",
				"agent/server-ca.crt", "agent/client-kubelet.key", "agent/serving-kubelet.key", "agent/etc", "agent/pod-manifests")),
		Exclude: slices.Concat(swaps, []string{ // kubelet runs static pods from all other names
			// Tokens that network plugins renew several times a day.
			"/etc/cni/net.d/*kubeconfig", "/etc/cni/net.d/*/*kubeconfig", "/var/lib/rancher/*/server/tls/dynamic-cert.json",
			"/var/lib/rancher/*/server/tls/temporary-certs", "/var/lib/rancher/*/agent/etc/*-load-balancer.json"}),
	}, {
		Name: "container_runtime",
		Doc:  "Configuration of containerd, Docker, CRI-O, Podman and what builds images: registries, hooks, credentials.",
		Paths: []string{"/etc/containerd", "/etc/docker", "/etc/crio", "/etc/containers", "/usr/share/containers", "/etc/crictl.yaml",
			"/etc/nerdctl", "/etc/buildkit", "/etc/buildkitd.toml", "/etc/default/docker", "/etc/default/containerd",
			"/etc/sysconfig/docker", "/etc/sysconfig/docker-storage", "/etc/sysconfig/crio", "/etc/nvidia-container-runtime",
			"/etc/cdi", "/etc/ecs", "/etc/host-containerd", "/etc/host-containers", "/var/lib/bottlerocket", "/root/.docker",
			"/home/*/.docker", "/root/.config/containers", "/home/*/.config/containers"},
		Exclude: slices.Concat(leftovers, []string{"/etc/containers/systemd", "/usr/share/containers/systemd"},
			inHomes(".config/containers/systemd", ".docker/buildx", ".docker/scout", ".docker/.token_seed*")),
	}, {
		Name:    "histories",
		Doc:     "Histories of shells and clients, which intruders remove, empty, or turn into a link to nowhere.",
		Of:      "both",
		Kinds:   []string{"deleted", "renamed", "content", "flags"},
		Content: "emptied", // shells drop the oldest lines themselves
		Paths: inHomes(".bash_history", ".zsh_history", ".zhistory", ".histfile", ".ash_history", ".sh_history", ".ksh_history",
			".mksh_history", ".history", ".local/share/fish/fish_history", ".python_history", ".node_repl_history", ".mysql_history",
			".mariadb_history", ".psql_history", ".sqlite_history", ".rediscli_history", ".mongosh/mongosh_repl_history"),
		Severity: "warning",
	}, {
		Name:    "auth_logs",
		Doc:     "Logs of who has logged in and become whom, which only grow, and which logrotate and auditd move.",
		Content: "shorter",
		Paths: []string{"/var/log/auth.log", "/var/log/secure", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog",
			"/var/log/faillog", "/var/log/tallylog", "/var/log/wtmp.db", "/var/lib/lastlog/lastlog2.db", "/var/log/sudo.log",
			"/var/log/audit/audit.log"},
		Attributes: withoutLinks,
	}, {
		Name: "certificates",
		Doc:  "Certificates, private keys, and which authorities this machine trusts.",
		Of:   "both",
		Paths: []string{"/etc/ssl", "/etc/pki", "/usr/share/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
			"/usr/share/ca-certs", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/usr/lib/ssl", "/var/lib/ca-certificates",
			"/etc/letsencrypt", "/etc/crypto-policies", "/usr/share/crypto-policies", "/etc/java/security", "/etc/gnutls",
			"/usr/lib/jvm/*/lib/security", "/usr/lib/jvm/*/jre/lib/security", "/opt/java/*/lib/security"},
		Exclude: []string{"/etc/pki/rpm-gpg", "/etc/pki/entitlement", // rhsmcertd renews it
			"/etc/letsencrypt/.certbot.lock", "/etc/letsencrypt/.updated-options-ssl-*"},
	}, {
		Name:       "web",
		Doc:        "What web servers run or send from their usual directories: where web shells are put and pages defaced.",
		Of:         "both",
		Attributes: withoutLinks,
		Paths: []string{"/var/www", "/srv/www", "/srv/http", "/usr/share/nginx/html", "/usr/share/caddy", "/var/lib/nginx/html",
			"/usr/local/apache2/htdocs", "/usr/local/apache2/cgi-bin", "/usr/lib/cgi-bin", "/usr/share/httpd", "/opt/lampp/htdocs",
			"/opt/bitnami/*/htdocs", "/home/*/public_html", "/home/*/htdocs", "/var/lib/tomcat/webapps",
			"/var/lib/tomcat8/webapps", "/var/lib/tomcat9/webapps", "/var/lib/tomcat10/webapps",
			"/usr/share/tomcat*/webapps", "/opt/tomcat*/webapps", "/usr/local/tomcat/webapps", "/opt/jboss/*/standalone/deployments",
			"/opt/jetty*/webapps", "/var/lib/jetty/webapps", "/var/lib/jetty9/webapps"},
		// Not what people upload, but whatever of it a server could run.
		Include: slices.Concat([]string{"*.php", "*.php?", "*.phtml", "*.phar", "*.inc", "*.jsp", "*.jspx", "*.jspf", "*.war", "*.jar",
			"*.class", "*.asp", "*.aspx", "*.ashx", "*.asmx", "*.cgi", "*.fcgi", "*.pl", "*.pm", "*.py", "*.rb", "*.sh", "*.so", "*.cfm",
			"*.html", "*.htm", "*.xhtml", "*.shtml", "*.js", "*.mjs", "*.wasm", ".htaccess", ".htpasswd", ".user.ini", "web.config",
			"web.xml", "/usr/local/apache2/cgi-bin", "/usr/lib/cgi-bin"}, inEach(sites, []string{"**/cgi-bin"})),
		// Where frameworks write what they have compiled, as code. A shell that is put there is not seen.
		Exclude: slices.Concat([]string{"__pycache__", ".git", ".ssh"}, inEach(sites, []string{"**/wp-content/cache",
			"**/storage/framework", "**/bootstrap/cache", "**/var/cache", "**/templates_c", "**/typo3temp", "**/node_modules/.cache"})),
	}, {
		Name:     "kernel_parameters",
		Doc:      "Parameters that the kernel is given at boot or when they are applied.",
		Severity: "notice",
		Diff:     true,
		Paths: []string{"/etc/sysctl.conf", "/etc/sysctl.d", "/lib/sysctl.d", "/usr/lib/sysctl.d", "/usr/local/lib/sysctl.d",
			"/run/sysctl.d", "/etc/sysfs.conf", "/etc/sysfs.d", "/etc/tuned", "/usr/lib/tuned"},
		Exclude: leftovers,
	}, {
		Name: "security_policy",
		Doc:  "What confines and records programs: SELinux, AppArmor, audit rules, and what bans who tries passwords.",
		Paths: []string{"/etc/selinux", "/var/lib/selinux", "/usr/share/selinux", "/etc/apparmor", "/etc/apparmor.d",
			"/usr/share/apparmor", "/etc/audit", "/etc/audisp", "/etc/fapolicyd", "/etc/fail2ban", "/etc/usbguard",
			"/etc/rsyslog.conf", "/etc/rsyslog.d", "/etc/syslog-ng", "/etc/logrotate.conf", "/etc/logrotate.d", "/etc/aide",
			"/etc/aide.conf"},
		// logrotate reads and runs whatever does not end in one of a few ways, hidden or not.
		Exclude: slices.Concat(inEach([]string{"/etc/[!l]*/**/", "/usr/share/**/", "/var/lib/**/"}, skipped), []string{
			"/etc/logrotate.d/.*.swp", "/etc/logrotate.d/*~", "/etc/logrotate.d/*.dpkg-new", "/etc/logrotate.d/*.dpkg-tmp",
			"/etc/apparmor.d/cache", "/etc/apparmor.d/cache.d", "/etc/apparmor/cache",
			"/var/lib/selinux/tmp", "/var/lib/selinux/*/active/modules.lock", "/var/lib/selinux/*/semanage.*.LOCK",
			"/etc/selinux/*/semanage.*.LOCK"}),
	}, {
		Name:     "name_resolution",
		Doc:      "How names become addresses and users, but for /etc/resolv.conf, which DHCP, VPNs and runtimes write.",
		Severity: "notice",
		Diff:     true,
		Paths: []string{"/etc/hosts", "/etc/hostname", "/etc/nsswitch.conf", "/usr/etc/nsswitch.conf", "/etc/host.conf",
			"/etc/gai.conf", "/etc/networks", "/etc/services", "/usr/etc/services", "/etc/systemd/resolved.conf",
			"/etc/systemd/resolved.conf.d", "/usr/lib/systemd/resolved.conf.d", "/etc/resolvconf", "/etc/resolvconf.conf",
			"/etc/dnsmasq.conf", "/etc/dnsmasq.d", "/etc/unbound", "/etc/avahi"},
		Exclude: slices.Concat(skipped, []string{"/etc/resolvconf/run", "/etc/unbound/root.key", "/etc/unbound/root.key-*"}),
	}, {
		Name:     "network",
		Doc:      "Interfaces, routes, packet filters and tunnels, and what runs when one of them comes up.",
		Severity: "notice",
		Paths: []string{"/etc/network", "/etc/netplan", "/lib/netplan", "/usr/lib/netplan", "/etc/NetworkManager",
			"/usr/lib/NetworkManager", "/etc/systemd/network", "/lib/systemd/network", "/usr/lib/systemd/network",
			"/etc/sysconfig/network", "/etc/sysconfig/network-scripts", "/etc/sysconfig/networking", "/etc/networkd-dispatcher",
			"/usr/lib/networkd-dispatcher", "/etc/wicked", "/etc/dhcp", "/etc/dhclient.conf", "/etc/dhcpcd.conf", "/etc/udhcpc",
			"/etc/wpa_supplicant", "/etc/ppp", "/etc/iproute2", "/usr/share/iproute2", "/etc/netns", "/etc/hosts.allow",
			"/etc/hosts.deny", "/etc/iptables", "/etc/iptables.rules", "/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables",
			"/etc/nftables.conf", "/etc/nftables.d", "/etc/nftables", "/etc/nftables.nft", "/etc/sysconfig/nftables.conf",
			"/etc/firewalld", "/usr/lib/firewalld", "/etc/ufw", "/lib/ufw", "/usr/share/ufw", "/etc/default/ufw", "/etc/shorewall",
			"/etc/shorewall6", "/etc/awall", "/etc/csf", "/etc/wireguard", "/etc/openvpn", "/etc/ipsec.conf", "/etc/ipsec.d",
			"/etc/ipsec.secrets", "/etc/strongswan", "/etc/strongswan.conf", "/etc/strongswan.d", "/etc/swanctl", "/etc/tinc",
			"/etc/frr", "/etc/bird", "/etc/haproxy/haproxy.cfg"},
		Exclude: slices.Concat(hidden, []string{"/etc/network/run", "/etc/ppp/resolv.conf", "/etc/openvpn/*status*",
			"/etc/openvpn/**/ipp.txt", "/etc/firewalld/**/*.old"}),
	}, {
		Name:       "configuration",
		Doc:        "Whatever else is configured in /etc and its like.",
		Severity:   "notice",
		Rest:       true,
		Attributes: withoutLinks,
		Paths:      []string{"/etc", "/usr/local/etc", "/usr/etc"},
		Exclude: slices.Concat(leftovers, []string{".git", "*.lock", "*.pid", "/etc/sudoers.tmp",
			// What is written whenever the machine, its clock, its network or its disks are used.
			"/etc/mtab", "/etc/mtab.*", "/etc/mtab~*", "/etc/resolv.conf", "/etc/resolv.conf.*", "/etc/.resolv.conf.*",
			"/etc/ppp/resolv.conf", "/etc/adjtime", "/etc/fake-hwclock.data", "/etc/blkid", "/etc/blkid.tab*", "/etc/lvm/archive",
			"/etc/lvm/backup", "/etc/lvm/cache", "/etc/lvm/devices/backup", "/etc/zfs/zpool.cache", "/etc/zfs/zfs-list.cache",
			"/etc/multipath/bindings", "/etc/multipath/wwids", "/etc/mdadm.lock", "/etc/nologin", "/etc/.updated", "/etc/motd",
			"/etc/issue.d/cockpit.issue",
			// What programs take for a place to keep their state.
			"/etc/passwd[+.]*", "/etc/shadow[+.]*", "/etc/group[+.]*", "/etc/gshadow[+.]*", "/etc/subuid[+.]*", "/etc/subgid[+.]*",
			"/etc/npasswd", "/etc/nshadow", "/etc/ld.so.cache*", "/etc/cups/subscriptions.conf*", "/etc/cups/printers.conf*",
			"/etc/cups/classes.conf*", "/etc/printcap", "/etc/postfix/prng_exch", "/etc/mail/statistics", "/etc/samba/*.tdb",
			"/etc/ntp/drift", "/etc/ntp.drift", "/etc/chrony.drift", "/etc/asound.state", "/etc/prelink.cache", "/etc/PackageKit/.*",
			"/etc/webmin/*/*cache*", "/etc/webmin/system-status", "/etc/corosync/uidgid.d", "/etc/pve", "/etc/tuned/active_profile"}),
	}}
}

// ShippedActors are those whose changes of some of the shipped sets are expected.
func ShippedActors() []ActorConfig {
	return []ActorConfig{
		{Name: "logrotate", Exe: []string{"/usr/sbin/logrotate", "/sbin/logrotate"}, Watches: []string{"auth_logs"}},
		{Name: "auditd", Exe: []string{"/usr/sbin/auditd", "/sbin/auditd"}, Watches: []string{"auth_logs"}},
		// Keys of this node that are about to expire.
		{Name: "kubelet", Exe: []string{"/usr/bin/kubelet", "/usr/local/bin/kubelet", "/opt/bin/kubelet",
			"/x86_64-bottlerocket-linux-gnu/sys-root/usr/bin/kubelet", "/aarch64-bottlerocket-linux-gnu/sys-root/usr/bin/kubelet",
			"/usr/local/bin/k3s", "/var/lib/rancher/*/data/*/bin/*", "/snap/microk8s/*/kubelite"}, Watches: []string{"kubernetes"}},
		// It writes units and rules for what it has updated.
		{Name: "snapd", Exe: []string{"/usr/lib/snapd/snapd", "/usr/libexec/snapd/snapd", "/snap/snapd/*/usr/lib/snapd/snapd",
			"/snap/core/*/usr/lib/snapd/snapd"},
			Watches: []string{"binaries", "services", "configuration", "security_policy"}},
	}
}
