package fim

import (
	"encoding/binary"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func shipped(t *testing.T) *Sets {
	t.Helper()
	s, err := NewSets(DefaultConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sentence = regexp.MustCompile(`^[A-Z].*[^.]\.$`)

func TestEveryShippedSetSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, w := range Shipped() {
		if !validName.MatchString(w.Name) || w.Name != strings.ToLower(w.Name) {
			t.Errorf("name %q", w.Name)
		}
		if !sentence.MatchString(w.Doc) || strings.Contains(w.Doc, ". ") {
			t.Errorf("%s: %q is not one sentence", w.Name, w.Doc)
		}
	}
}

// example is a path that a pattern without classes matches.
func example(pattern string) string {
	return strings.NewReplacer("**", "some/where", "*", "thing", "?", "5").Replace(strings.TrimPrefix(pattern, "/"))
}

func TestNoPathIsOfTwoShippedSets(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	for i, w := range Shipped() {
		for _, pattern := range w.Paths {
			for _, path := range []string{"/" + example(pattern), "/" + example(pattern) + "/x", "/" + example(pattern) + "/x/y.php"} {
				for _, container := range []bool{false, true} {
					if container && !s.Set(i).Containers {
						continue
					}
					found := s.Match(container, path)
					if bits.OnesCount64(uint64(found)) > 1 {
						t.Errorf("%s: %s is of %s", w.Name, path, s.namesOf(container, path))
					}
					if len(w.Include) == 0 && !found.Has(i) && !w.Rest {
						t.Errorf("%s: %s is of %q, although it is a path of it", w.Name, path, s.namesOf(container, path))
					}
				}
			}
		}
	}
}

// TestShippedSetsHaveTheFilesOf lists files as the distributions have them, and what must not be told about.
func TestShippedSetsHaveTheFilesOf(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	for distribution, rows := range map[string]map[string]string{
		"Debian and Ubuntu": {
			"/usr/bin/sudo": "binaries", "/usr/sbin/sshd": "binaries", "/usr/local/bin/tool": "binaries", "/bin/sh": "binaries", "/usr/games/x": "binaries",
			"/usr/bin/x.dpkg-new": "binaries", "/opt/vendor/bin/agent": "binaries", "/snap/bin/lxd": "binaries",
			"/usr/lib/x86_64-linux-gnu/libc.so.6": "libraries", "/usr/lib/python3/dist-packages/apt/cache.py": "libraries", "/lib/firmware/x.bin": "libraries",
			"/usr/lib/python3/dist-packages/apt/__pycache__/cache.cpython-311.pyc": "",
			"/lib64/ld-linux-x86-64.so.2":                                          "loader", "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": "loader", "/etc/ld.so.preload": "loader",
			"/etc/ld.so.conf.d/evil.conf": "loader", "/etc/ld.so.cache": "loader", "/etc/ld.so.cache~": "",
			"/boot/vmlinuz-6.1.0-18-amd64": "boot", "/boot/grub/grub.cfg": "boot", "/boot/grub/grubenv": "", "/boot/efi/EFI/debian/shimx64.efi": "boot", "/etc/default/grub": "boot",
			"/boot/efi/loader/random-seed": "", "/etc/kernel/postinst.d/x": "boot", "/etc/initramfs-tools/hooks/x": "boot",
			"/lib/modules/6.1.0/kernel/fs/x.ko": "kernel_modules", "/usr/lib/modules/6.1.0/modules.dep": "kernel_modules", "/etc/modprobe.d/blacklist.conf": "kernel_modules",
			"/etc/modules": "kernel_modules", "/etc/ssh/sshd_config": "ssh", "/etc/ssh/sshd_config.d/x.conf": "ssh", "/root/.ssh/authorized_keys": "ssh",
			"/home/me/.ssh/authorized_keys": "ssh", "/home/me/.ssh/known_hosts": "", "/root/.ssh/known_hosts.old": "", "/var/lib/postgresql/.ssh/id_ed25519": "ssh",
			"/home/me/.ssh/rc": "ssh", "/etc/ssh/.sshd_config.swp": "", "/home/me/.ssh/agent.1234": "",
			"/etc/pam.d/sshd": "pam", "/etc/pam.d/common-auth.dpkg-new": "", "/lib/x86_64-linux-gnu/security/pam_unix.so": "pam", "/etc/security/limits.conf": "pam",
			"/etc/security/opasswd": "accounts", "/etc/sudoers": "sudoers", "/etc/sudoers.d/90-cloud-init-users": "sudoers", "/etc/sudoers.d/4913": "sudoers", "/etc/sudoers.tmp": "",
			"/etc/sudoers.d/x.tmp": "", "/etc/polkit-1/rules.d/x.rules": "sudoers",
			"/etc/passwd": "accounts", "/etc/shadow": "accounts", "/etc/shadow-": "accounts", "/etc/gshadow": "accounts", "/etc/subuid": "accounts",
			"/etc/passwd.lock": "", "/etc/passwd.12345": "", "/etc/shadow+": "", "/etc/.pwd.lock": "", "/etc/nshadow": "",
			"/etc/crontab": "cron", "/etc/cron.d/php": "cron", "/etc/cron.daily/apt-compat": "cron", "/var/spool/cron/crontabs/root": "cron", "/etc/cron.d/4913": "cron",
			"/var/spool/cron/crontabs/tmp.AbCdEf": "", "/etc/cron.d/.x.swp": "", "/var/spool/cron/atjobs/a0001": "cron", "/var/spool/cron/atjobs/.SEQ": "",
			"/etc/systemd/system/evil.service": "services", "/lib/systemd/system/ssh.service": "services", "/usr/lib/systemd/systemd": "services", "/run/systemd/system/x.service": "services",
			"/run/systemd/transient/run-u1.service": "", "/run/systemd/system/session-1.scope": "", "/home/me/.config/systemd/user/x.timer": "services",
			"/home/me/.local/share/systemd/timers/stamp-x.timer": "", "/etc/init.d/ssh": "services", "/etc/rc3.d/S01ssh": "services", "/etc/rc.local": "services",
			"/etc/udev/rules.d/x.rules": "services", "/etc/udev/hwdb.bin": "", "/etc/xdg/autostart/x.desktop": "services", "/etc/systemd/network/x.network": "network", "/etc/systemd/resolved.conf": "name_resolution",
			"/usr/lib/systemd/system-generators/4913": "services",
			"/etc/profile.d/x.sh":                     "profiles", "/root/.bashrc": "profiles", "/home/me/.zshrc": "profiles", "/etc/skel/.bashrc": "profiles", "/etc/update-motd.d/00-header": "profiles",
			"/home/me/.config/fish/config.fish": "profiles", "/home/me/.config/fish/fish_variables": "", "/etc/environment": "profiles",
			"/var/lib/dpkg/status": "packages", "/var/lib/dpkg/status-new": "", "/var/lib/dpkg/info/sudo.md5sums": "packages", "/var/lib/dpkg/lock": "", "/etc/apt/sources.list": "packages",
			"/etc/apt/apt.conf.d/99hook": "packages", "/usr/share/keyrings/x.gpg": "packages", "/var/lib/dpkg/info/x.list-new": "",
			"/home/me/.bash_history": "histories", "/root/.zsh_history": "histories", "/home/me/.local/share/fish/fish_history": "histories", "/root/.mysql_history": "histories",
			"/var/log/auth.log": "auth_logs", "/var/log/auth.log.1": "", "/var/log/wtmp": "auth_logs", "/var/log/syslog": "",
			"/etc/ssl/certs/ca-certificates.crt": "certificates", "/usr/local/share/ca-certificates/x.crt": "certificates", "/etc/letsencrypt/live/x/privkey.pem": "certificates",
			"/var/www/html/index.php": "web", "/var/www/html/photo.jpg": "", "/var/www/html/.htaccess": "web", "/var/www/html/wp-content/uploads/x.php": "web",
			"/var/www/html/wp-content/cache/x.php": "", "/srv/www/app/storage/framework/views/x.php": "", "/usr/lib/cgi-bin/test": "web", "/var/www/app/cgi-bin/run": "web",
			"/etc/sysctl.d/99-x.conf": "kernel_parameters", "/etc/apparmor.d/usr.bin.man": "security_policy", "/etc/apparmor.d/cache/x": "", "/etc/rsyslog.conf": "security_policy",
			"/etc/hosts": "name_resolution", "/etc/nsswitch.conf": "name_resolution", "/etc/resolv.conf": "", "/etc/resolv.conf.dhclient-new.123": "", "/etc/unbound/root.key": "",
			"/etc/netplan/50-cloud-init.yaml": "network", "/etc/network/if-up.d/x": "network", "/etc/nftables.conf": "network", "/etc/NetworkManager/dispatcher.d/x": "network", "/etc/hosts.deny": "network",
			"/etc/nginx/nginx.conf": "configuration", "/etc/fstab": "configuration", "/etc/mtab": "", "/etc/adjtime": "", "/etc/lvm/backup/vg0": "", "/etc/.git/index": "",
			"/etc/ssh/.sshd_config.swpx": "", "/etc/cron.d/.x.swpx": "", "/etc/cron.d/.x.swp.sh": "cron", "/etc/modprobe.d/.x.conf.swox": "", "/etc/sudoers.d/.x.un~": "",
			"/etc/ssh/.sshd_config.xm6u6y": "", "/etc/nginx/.nginx.conf.LoXuWq": "", "/etc/nginx/.nginx.conf.backup": "configuration", "/etc/nginx/nginx.conf.LoXuWq": "configuration",
			"/etc/systemd/system/.x.so6ket": "services", "/etc/nginx/XXgpBLPh": "", "/etc/cron.d/XXgpBLPh": "cron", "/etc/ssh/.~tmp~/sshd_config": "",
			// what reads all names, or nearly all
			"/etc/logrotate.d/sedAb12Cd": "security_policy", "/etc/logrotate.d/.x.swo": "security_policy", "/etc/logrotate.d/.x.swp": "", "/etc/logrotate.d/x.dpkg-new": "",
			"/etc/apparmor.d/sedAb12Cd": "security_policy", "/etc/apparmor.d/4913": "security_policy", "/etc/apparmor.d/.x.swp": "", "/etc/apparmor.d/local/.x.swpx": "", "/etc/apparmor.d/x~": "",
			"/etc/dnsmasq.d/sedAb12Cd": "name_resolution", "/etc/dnsmasq.d/x.dpkg-tmp": "name_resolution", "/etc/dnsmasq.d/.x.swp": "", "/var/lib/selinux/targeted/active/.x.swp": "",
			"/etc/nginx/.nginx.conf.swp": "", "/etc/nginx/nginx.conf~": "", "/etc/nginx/sedAb12Cd": "", "/etc/cups/subscriptions.conf.O": "", "/etc/alternatives/vi": "configuration",
			"/tmp/x": "", "/proc/1/status": "", "/var/lib/docker/overlay2/x/diff/etc/passwd": "", "/home/me/notes.txt": "", "/usr/share/doc/x/README": "", "/var/log/nginx/access.log": "",
			"/etc/aliases": "configuration", "/etc/ssh/x;5f3a2b1c": "",
		},
		"RHEL and its like, Amazon Linux": {
			"/usr/lib64/libc.so.6": "libraries", "/usr/libexec/openssh/sftp-server": "binaries", "/lib64/security/pam_unix.so": "pam", "/etc/authselect/system-auth": "pam",
			"/var/lib/rpm/rpmdb.sqlite": "packages", "/var/lib/rpm/rpmdb.sqlite-wal": "", "/var/lib/rpm/Packages": "packages", "/var/lib/rpm/__db.001": "", "/var/lib/rpm/.rpm.lock": "",
			"/usr/lib/sysimage/rpm/rpmdb.sqlite": "packages", "/etc/yum.repos.d/amzn2-core.repo": "packages", "/etc/dnf/dnf.conf": "packages", "/etc/pki/rpm-gpg/RPM-GPG-KEY": "packages",
			"/etc/pki/ca-trust/source/anchors/x.pem": "certificates", "/etc/pki/tls/private/x.key": "certificates", "/etc/pki/entitlement/1.pem": "", "/etc/crypto-policies/config": "certificates",
			"/var/spool/cron/root": "cron", "/etc/anacrontab": "cron", "/var/spool/anacron/cron.daily": "", "/var/log/secure": "auth_logs", "/var/log/audit/audit.log": "auth_logs",
			"/boot/grub2/grub.cfg": "boot", "/boot/grub2/grubenv": "", "/boot/loader/entries/x.conf": "boot", "/etc/dracut.conf.d/x.conf": "boot", "/etc/grub2.cfg": "boot", "/etc/grub2-efi.cfg": "boot",
			"/etc/rc.d/init.d/x": "services", "/etc/sysconfig/network-scripts/ifcfg-eth0": "network", "/etc/sysconfig/iptables": "network", "/etc/firewalld/zones/public.xml": "network",
			"/etc/firewalld/zones/public.xml.old": "", "/etc/selinux/config": "security_policy", "/etc/audit/rules.d/x.rules": "security_policy", "/etc/bashrc": "profiles",
			"/usr/bin/sudo;5f3a2b1c": "binaries", "/etc/sudoers;5f3a2b1c": "", "/etc/cron.d/x;5f3a2b1c": "cron", "/etc/sysconfig/sshd": "ssh", "/etc/sysconfig/rsyslog": "configuration",
			"/etc/amazon/ssm/amazon-ssm-agent.json": "configuration", "/etc/ecs/ecs.config": "container_runtime", "/etc/eks/bootstrap.sh": "kubernetes",
		},
		"Alpine": {
			"/bin/busybox": "binaries", "/lib/ld-musl-x86_64.so.1": "loader", "/etc/ld-musl-x86_64.path": "loader", "/lib/apk/db/installed": "packages", "/lib/apk/db/lock": "",
			"/usr/lib/apk/db/installed": "packages", "/etc/apk/world": "packages", "/etc/apk/repositories": "packages", "/etc/crontabs/root": "cron", "/etc/periodic/daily/x": "cron",
			"/etc/local.d/x.start": "services", "/etc/runlevels/default/sshd": "services", "/etc/inittab": "services", "/etc/conf.d/sshd": "ssh", "/etc/conf.d/net": "services",
			"/root/.ash_history": "histories", "/etc/mkinitfs/mkinitfs.conf": "boot", "/etc/update-extlinux.conf": "boot", "/etc/doas.d/doas.conf": "sudoers",
			"/usr/share/apk/keys/x.pub": "packages", "/etc/nginx/.apk.5d41402abc4b2a76b9719d911017c592": "", "/bin/.apk.5d41402abc4b2a76b9719d911017c592": "binaries",
		},
		"Bottlerocket and Kubernetes": {
			"/x86_64-bottlerocket-linux-gnu/sys-root/usr/bin/containerd": "binaries", "/aarch64-bottlerocket-linux-gnu/sys-root/usr/lib/libc.so.6": "libraries",
			"/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/modules/6.1/x.ko": "kernel_modules", "/var/lib/bottlerocket/datastore/v1.0/live/settings/x": "container_runtime",
			"/etc/kubernetes/manifests/etcd.yaml": "kubernetes", "/etc/kubernetes/manifests/etcd.yaml~": "kubernetes", "/etc/kubernetes/manifests/.etcd.yaml.swp": "", "/etc/kubernetes/manifests/.etcd.yaml.swpx": "", "/etc/kubernetes/manifests/.etcd.yaml.un~": "",
			"/etc/kubernetes/pki/ca.key": "kubernetes", "/var/lib/kubelet/config.yaml": "kubernetes", "/var/lib/kubelet/pki/kubelet-client-current.pem": "kubernetes",
			"/var/lib/kubelet/pods/1/volumes/x": "", "/var/lib/kubelet/cpu_manager_state": "", "/etc/cni/net.d/10-calico.conflist": "kubernetes", "/etc/cni/net.d/calico-kubeconfig": "",
			"/etc/cni/net.d/multus.d/multus.kubeconfig": "", "/opt/cni/bin/bridge": "kubernetes", "/var/lib/rancher/k3s/server/manifests/x.yaml": "kubernetes",
			"/var/lib/rancher/k3s/server/tls/dynamic-cert.json": "", "/var/lib/rancher/rke2/agent/pod-manifests/etcd.yaml": "kubernetes", "/etc/rancher/k3s/k3s.yaml": "kubernetes",
			"/etc/containerd/config.toml": "container_runtime", "/etc/docker/daemon.json": "container_runtime", "/etc/crio/crio.conf.d/x.conf": "container_runtime",
			"/etc/containers/policy.json": "container_runtime", "/etc/containers/systemd/x.container": "services", "/root/.docker/config.json": "container_runtime",
			"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/bin/sh": "", "/run/containerd/x": "",
		},
	} {
		for path, want := range rows {
			if got := s.namesOf(false, path); got != want {
				t.Errorf("%s: %s is of %q, want %q", distribution, path, got, want)
			}
		}
	}
	for path, want := range map[string]string{
		"/usr/bin/env": "binaries", "/usr/local/lib/python3.12/site-packages/x.py": "libraries", "/usr/local/lib/python3.12/__pycache__/x.pyc": "", "/etc/passwd": "accounts",
		"/usr/local/apache2/htdocs/index.html": "web", "/usr/share/nginx/html/index.html": "web", "/usr/local/tomcat/webapps/ROOT/shell.jsp": "web", "/root/.ssh/authorized_keys": "ssh",
		"/etc/nginx/nginx.conf": "", "/etc/hosts": "", "/etc/resolv.conf": "", "/boot/vmlinuz": "", "/lib/modules/x": "libraries", "/etc/ld.so.preload": "loader", "/lib/apk/db/installed": "packages",
		"/app/server.js": "", "/tmp/x": "", "/var/log/auth.log": "", "/root/.bash_history": "histories", "/etc/crontabs/root": "cron",
	} {
		if got := s.namesOf(true, path); got != want {
			t.Errorf("a container: %s is of %q, want %q", path, got, want)
		}
	}
}

// TestProgramsWriteNamesThatAreLeftOut has programs change a file, and looks which other names come and go beside it.
func TestProgramsWriteNamesThatAreLeftOut(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	word := regexp.MustCompile(`^\.conf\.[a-z]{6}$`) // of rsync, one time in 200
	for _, program := range []struct {
		command string
		few     bool // what it writes is left out also where nearly all names are read
	}{
		{"vim -u NONE -N -es -c 'set backupskip= undofile' -c 'normal ohello' -c wq conf", false}, // which tries with 4913
		{"vim -u NONE -N -es -c 'set nowritebackup undofile' -c 'normal ohello' -c wq conf", true},
		{"sed -i s/as/AS/ conf", false},
		{"perl -pi -e s/as/AS/ conf", false},
		{"rsync -a ../new/conf .", false},
		{"rsync -a --delay-updates ../new/conf .", false},
		{"dpkg --root=$D --force-all -i $D/new.deb", false},
	} {
		name, _, _ := strings.Cut(program.command, " ")
		if _, err := exec.LookPath(name); err != nil {
			t.Logf("needs %s", name)
			continue
		}
		dir := t.TempDir()
		in := filepath.Join(dir, "etc/x")
		write(t, filepath.Join(in, "conf"), "as it was\n")
		write(t, filepath.Join(dir, "etc/new/conf"), "new\n")
		write(t, filepath.Join(dir, "deb/etc/x/conf"), "new\n")
		write(t, filepath.Join(dir, "deb/DEBIAN/control"), "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n")
		for _, name := range []string{"status", "available", "info/x.list", "updates/.keep"} {
			write(t, filepath.Join(dir, "var/lib/dpkg", name), "")
		}
		if name == "dpkg" {
			must(t, exec.Command("dpkg-deb", "--build", dir+"/deb", dir+"/new.deb").Run())
		}
		names := namesWhile(t, in, func() {
			cmd := exec.Command("/bin/sh", "-c", program.command)
			cmd.Dir, cmd.Env = in, append(os.Environ(), "D="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", program.command, err, out)
			}
		})
		if text, err := os.ReadFile(filepath.Join(in, "conf")); err != nil || string(text) == "as it was\n" {
			t.Errorf("%s has changed nothing: %q, %v", program.command, text, err)
		}
		t.Logf("%s: %q", name, names)
		if len(names) < 2 {
			t.Errorf("%s wrote nothing but %q", program.command, names)
		}
		for _, name := range names {
			if name == "conf" || word.MatchString(name) {
				continue
			}
			for dir, asked := range map[string]bool{"/etc/ssh/": true, "/etc/cron.d/": program.few} {
				if found := s.namesOf(false, dir+name); asked && found != "" {
					t.Errorf("%s: %s%s is of %s", program.command, dir, name, found)
				}
			}
		}
	}
}

// namesWhile are the names in a directory that are made, removed or renamed while something is done.
func namesWhile(t *testing.T, dir string, do func()) (names []string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE|unix.IN_CLOSE_WRITE)
	must(t, err)
	do()
	buffer := make([]byte, 1<<16)
	n, err := unix.Read(fd, buffer)
	must(t, err)
	for b := buffer[:n]; len(b) >= unix.SizeofInotifyEvent; {
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:size]), "\x00")
		names = append(names, name)
		b = b[size:]
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestWalksOfShippedSetsLeaveOutWhatIsLarge(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	for dir, want := range map[string]bool{
		"/home": true, "/home/me": true, "/home/me/src": false, "/home/me/.ssh": true, "/home/me/.config": true, "/home/me/.config/Code": false, "/home/me/.cache": false,
		"/var/lib": true, "/var/lib/docker": false, "/var/lib/docker/overlay2": false, "/var/lib/rancher/k3s/agent": true, "/var/lib/rancher/k3s/agent/containerd": false, "/var/lib/kubelet": true, "/var/lib/kubelet/pods": false, "/var/lib/containerd/io.containerd.content.v1.content": false,
		"/var/log": true, "/var/log/journal": false, "/usr/share": true, "/usr/share/doc": false, "/srv": true, "/srv/data": false, "/opt/app": true, "/opt/app/data/x": false, "/run/systemd/transient": false,
		"/var/www/html/wp-content/cache": false, "/usr/lib/python3/__pycache__": false,
	} {
		if got := s.MayContain(false, dir); got != want {
			t.Errorf("MayContain(%q) = %v, want %v", dir, got, want)
		}
	}
	for _, root := range append(s.Roots(false), s.Roots(true)...) {
		if root == "/" || root == "/usr" || root == "/var" || root == "/var/lib" || root == "/var/log" || root == "/run" {
			t.Errorf("%s is walked", root)
		}
	}
}

func TestShippedActors(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	index := func(name string) int {
		for i := range s.Len() {
			if s.Set(i).Name == name {
				return i
			}
		}
		t.Fatalf("no set %s", name)
		return 0
	}
	for _, row := range []struct{ exe, watch, want string }{
		{"/usr/sbin/logrotate", "auth_logs", "logrotate"}, {"/usr/sbin/logrotate", "ssh", ""}, {"/tmp/logrotate", "auth_logs", ""},
		{"/usr/sbin/auditd", "auth_logs", "auditd"}, {"/usr/bin/kubelet", "kubernetes", "kubelet"}, {"/snap/snapd/20290/usr/lib/snapd/snapd", "services", "snapd"},
	} {
		if got, _ := s.Actor(Doer{Exe: row.exe}, index(row.watch)); got != row.want {
			t.Errorf("%s on %s is %q, want %q", row.exe, row.watch, got, row.want)
		}
	}
	if _, ok := s.Actor(Doer{Exe: "/usr/sbin/logrotate", Container: true}, index("auth_logs")); ok {
		t.Error("a container's logrotate may do what the host's may")
	}
	c := DefaultConfig
	c.Without = []string{"auth_logs"}
	c.Actors = []ActorConfig{{Name: "snapd", Exe: []string{"/mine"}}}
	s, err := NewSets(c, nil)
	if err != nil {
		t.Fatalf("without a set of shipped actors: %v", err)
	}
	if name, ok := s.Actor(Doer{Exe: "/usr/lib/snapd/snapd"}, 0); ok {
		t.Errorf("a shipped actor that is replaced is still there: %s", name)
	}
}
