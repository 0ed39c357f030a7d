package host_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// A machine is files by hand: their texts, and modes of those that do not have 0644. Directories are 0755.
type machine struct {
	texts map[string]string
	modes map[string]os.FileMode
}

// hardened is a Debian on which everything is as our checks want it.
var hardened = machine{
	texts: map[string]string{
		"etc/os-release":      "ID=debian\nVERSION_ID=12\n",
		"etc/passwd":          "root:x:0:0::/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nalice:x:1000:1000::/home/alice:/bin/bash\n",
		"etc/shadow":          "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nalice:$y$j9T$salt$hash:19000:1:90:7:30::\n",
		"etc/group":           "root:x:0:\ndaemon:x:1:\nshadow:x:42:\nsudo:x:27:alice\nsugroup:x:900:\nalice:x:1000:\n",
		"etc/gshadow":         "root:*::\ndaemon:*::\nshadow:*::\nsudo:*::alice\nsugroup:!::\nalice:!::\n",
		"etc/shells":          "/bin/sh\n/bin/bash\n",
		"etc/login.defs":      "PASS_MAX_DAYS 90\nPASS_MIN_DAYS 1\nPASS_WARN_AGE 7\nENCRYPT_METHOD YESCRYPT\nUMASK 027\nHOME_MODE 0750\nUID_MIN 1000\nENV_SUPATH PATH=/usr/sbin:/usr/bin\n",
		"etc/default/useradd": "INACTIVE=30\n",
		"etc/profile.d/a.sh":  "umask 027\nTMOUT=900\nreadonly TMOUT\nexport TMOUT\n",
		"etc/issue.net":       "Authorised users only. Use is logged.\n",
		"etc/pam.d/common-auth": "auth requisite pam_faillock.so preauth\nauth [success=2 default=ignore] pam_unix.so try_first_pass\n" +
			"auth [default=die] pam_faillock.so authfail\nauth requisite pam_deny.so\nauth required pam_permit.so\n",
		"etc/pam.d/common-account": "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so\naccount required pam_faillock.so\n",
		"etc/pam.d/common-password": "password requisite pam_pwquality.so retry=3\npassword requisite pam_pwhistory.so remember=24 enforce_for_root use_authtok\n" +
			"password [success=1 default=ignore] pam_unix.so obscure use_authtok try_first_pass yescrypt\npassword requisite pam_deny.so\npassword required pam_permit.so\n",
		"etc/pam.d/common-session":      "session required pam_unix.so\n",
		"etc/pam.d/sshd":                "@include common-auth\n@include common-account\n@include common-session\n@include common-password\n",
		"etc/pam.d/passwd":              "@include common-password\n",
		"etc/pam.d/su":                  "auth sufficient pam_rootok.so\nauth required pam_wheel.so use_uid group=sugroup\n@include common-auth\n@include common-account\n",
		"etc/pam.d/other":               "auth required pam_deny.so\naccount required pam_deny.so\npassword required pam_deny.so\nsession required pam_deny.so\n",
		"etc/security/faillock.conf":    "deny = 5\nunlock_time = 1800\neven_deny_root\nroot_unlock_time = 60\n",
		"etc/security/pwquality.conf":   "minlen = 14\ndifok = 2\nminclass = 4\nmaxrepeat = 3\nmaxsequence = 3\nenforce_for_root\n",
		"etc/securetty":                 "console\ntty1\n",
		"usr/bin/sudo":                  "\x001.9.13p3\x00",
		"usr/bin/reboot":                "",
		"etc/sudoers":                   "Defaults env_reset, use_pty, logfile=/var/log/sudo.log, timestamp_timeout=5\nDefaults secure_path=\"/usr/sbin:/usr/bin\"\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
		"etc/sudoers.d/10-operators":    "alice ALL=(root) /usr/bin/reboot\nALL ALL=(alice) /usr/bin/reboot\n",
		"etc/polkit-1/rules.d/50.rules": "polkit.addRule(function(action, subject) { if (subject.isInGroup(\"sudo\")) return polkit.Result.AUTH_ADMIN; });\n",
		"usr/sbin/sshd":                 "\x00OpenSSH_9.2p1 Debian-2\x00",
		"etc/ssh/sshd_config":           "Include /etc/ssh/sshd_config.d/*.conf\nX11Forwarding yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n",
		"etc/ssh/sshd_config.d/00.conf": "AllowGroups sudo\nBanner /etc/issue.net\nMACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com\nClientAliveInterval 15\nDisableForwarding yes\n" +
			"LoginGraceTime 60\nMaxAuthTries 4\nMaxStartups 10:30:60\nPermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\nRequiredRSASize 2048\n" +
			"LogLevel VERBOSE\nAuthorizedKeysCommand /usr/bin/keys %u\nAuthorizedKeysCommandUser nobody\nMatch User alice\n MaxSessions 2\n",
		"etc/ssh/ssh_host_ed25519_key":     "private",
		"etc/ssh/ssh_host_ed25519_key.pub": testKey,
		"root/.ssh/authorized_keys":        "from=\"192.0.2.1\" " + testKey,
		"root/.bashrc":                     "umask 077\n",
		"home/alice/.bashrc":               "",
		"home/alice/.bash_history":         "",
		"usr/lib/systemd/systemd":          "",
		"usr/bin/crontab":                  "",
		"usr/bin/at":                       "",
		"etc/systemd/system/multi-user.target.wants/cron.service": "",
		"usr/sbin/job":                 "",
		"etc/cron.allow":               "root\n",
		"etc/at.allow":                 "root\n",
		"etc/crontab":                  "17 * * * * root /usr/sbin/job\n18 * * * * alice /usr/sbin/job\n",
		"etc/cron.d/job":               "17 * * * * root /usr/sbin/job\n",
		"etc/cron.daily/job":           "",
		"var/spool/cron/crontabs/root": "1 * * * * /usr/sbin/job\n",
	},
	modes: map[string]os.FileMode{
		"etc/shadow": 0o640, "etc/gshadow": 0o640, "etc/sudoers": 0o440, "etc/sudoers.d/10-operators": 0o440, "etc/ssh/sshd_config": 0o600, "etc/ssh/sshd_config.d/00.conf": 0o600,
		"etc/ssh/ssh_host_ed25519_key": 0o600, "root": 0o700, "root/.ssh": 0o700, "root/.ssh/authorized_keys": 0o600, "home/alice": 0o750, "home/alice/.bash_history": 0o600,
		"etc/cron.allow": 0o640, "etc/at.allow": 0o640, "etc/crontab": 0o600, "etc/cron.d": 0o700, "etc/cron.daily": 0o700, "var/spool/cron/crontabs/root": 0o600, "usr/sbin/job": 0o755, "usr/bin/reboot": 0o755,
	},
}

const testKey = "ssh-ed25519 ED25519KEY\n"

// broken is the same machine with everything wrong that our checks look for.
var broken = machine{
	texts: map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=12\n",
		"etc/passwd": "root:x:0:0::/root:/bin/bash\ntoor:x:0:0::/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/bin/sh\nalice:x:1000:0::/home/alice:/bin/bash\nalice:$1$salt$hash:1001:4711::/home/alice:/bin/bash\n" +
			"4711:x:1003:1000::/none:/bin/sh\nftp:x:14:1::/srv:/usr/sbin/nologin\n+::::::\n",
		"etc/shadow":                      "root::99999:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nalice:$1$salt$hash:99999:0:99999:3:::\ngone:*:1::::::\nftp:$1$salt$hash:1::::::\n",
		"etc/group":                       "root:x:0:\nadmin:x:0:\nshadow:x:42:alice,nobody\nsudo::27:\nsudo:$1$salt$hash:28:\nwheel:x:10:alice\nalice:x:1000:\n+:::\n",
		"etc/shells":                      "/bin/sh\n/usr/sbin/nologin\n",
		"etc/login.defs":                  "PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 1\nENCRYPT_METHOD MD5\nUMASK 022\nENV_SUPATH PATH=/usr/sbin:.:/opt/open\n",
		"etc/profile.d/a.sh":              "umask 002\n",
		"etc/pam.d/common-auth":           "auth sufficient pam_unix.so nullok\nauth required pam_permit.so\n",
		"etc/pam.d/sshd":                  "@include common-auth\naccount required pam_permit.so\npassword required pam_cracklib.so minlen=6\npassword required pam_unix.so md5 remember=5\n",
		"etc/pam.d/login":                 "auth required pam_faillock.so preauth deny=50 unlock_time=10 fail_interval=10\nauth required pam_unix.so\npassword optional pam_pwquality.so minlen=6 enforcing=0 dictcheck=0 usercheck=0\npassword optional pam_pwhistory.so remember=1\npassword required pam_unix.so\n",
		"etc/pam.d/su":                    "auth required pam_unix.so\n",
		"etc/pam.d/su-l":                  "auth required pam_wheel.so\nauth required pam_unix.so\n",
		"etc/pam.d/other":                 "auth required pam_permit.so\n",
		"etc/securetty":                   "pts/0\n",
		"usr/bin/sudo":                    "\x001.9.13p3\x00",
		"opt/open/run":                    "",
		"etc/sudoers":                     "Defaults !env_reset, !use_pty, !syslog, timestamp_timeout=-1, timestamp_type=global, visiblepw, targetpw, !authenticate, env_keep+=LD_PRELOAD\nALL ALL=(ALL) NOPASSWD: ALL, !/bin/su\nalice ALL=/usr/bin/vi, /opt/open/run *\n",
		"etc/sudoers.d/x":                 "",
		"etc/polkit-1/rules.d/50.rules":   "polkit.addRule(function(action, subject) { return polkit.Result.YES; });\n",
		"usr/sbin/sshd":                   "\x00OpenSSH_9.2p1 Debian-2\x00",
		"etc/ssh/sshd_config.d/x.conf":    "",
		"etc/ssh/sshd_config":             "Ciphers +3des-cbc\nMACs +hmac-md5\nKexAlgorithms +diffie-hellman-group1-sha1\nHostKeyAlgorithms +ssh-rsa\nPubkeyAcceptedAlgorithms +ssh-rsa\nX11Forwarding yes\nPermitTunnel yes\nGatewayPorts yes\nGSSAPIAuthentication yes\nKerberosAuthentication yes\nHostbasedAuthentication yes\nIgnoreRhosts no\nLogLevel QUIET\nSyslogFacility LOCAL1\nMaxSessions 99\nPermitEmptyPasswords yes\nPermitRootLogin yes\nPermitUserEnvironment yes\nAcceptEnv *\nUsePAM no\nStrictModes no\nPrintLastLog no\nAuthorizedKeysCommand /bin/x\nAuthorizedKeysCommandUser root\nHostKey /etc/ssh/ssh_host_rsa_key\n",
		"etc/ssh/ssh_host_rsa_key":        "private",
		"etc/ssh/ssh_host_rsa_key.pub":    "ssh-rsa RSAKEY\n",
		"etc/hosts.equiv":                 "",
		"root/.ssh/authorized_keys":       testKey,
		"home/alice/.ssh/authorized_keys": testKey + "ssh-rsa RSAKEY\n",
		"home/alice/.bashrc":              "",
		"home/alice/.bash_history":        "",
		"home/alice/.netrc":               "",
		"home/alice/.rhosts":              "",
		"home/alice/.forward":             "",
		"usr/bin/crontab":                 "",
		"usr/bin/at":                      "",
		"etc/at.deny":                     "",
		"etc/crontab":                     "17 * * * * root /opt/open/job.sh\n18 * * * * alice /opt/open/job.sh\n",
		"opt/open/job.sh":                 "",
		"etc/cron.d/job":                  "",
		"var/spool/cron/crontabs/alice":   "",
		"etc/cron.hourly/x":               "",
		"etc/cron.daily/x":                "",
		"etc/cron.weekly/x":               "",
		"etc/cron.monthly/x":              "",
		"etc/cron.yearly/x":               "",
	},
	modes: map[string]os.FileMode{
		"opt/open": 0o777, "etc/profile.d/a.sh": 0o666, "etc/pam.d/su": 0o666, "etc/sudoers.d": 0o777, "etc/ssh/sshd_config.d": 0o777, "etc/ssh/ssh_host_rsa_key.pub": 0o666,
		"home/alice/.bashrc": 0o666, "etc/login.defs": 0o666, "etc/cron.d/job": 0o666, "etc/polkit-1/rules.d/50.rules": 0o666, "home/alice/.ssh/authorized_keys": 0o666,
	},
}

func (m machine) plant(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range m.texts {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text = strings.NewReplacer("ED25519KEY", ed25519Blob, "RSAKEY", rsaBlob).Replace(text)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range m.modes {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// accessVerdicts judges a root directory, of which no kernel runs, by the checks of access.
func accessVerdicts(t *testing.T, root string) []event.Verdict {
	t.Helper()
	files, err := rules.ChecksPack()
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f rules.File) bool { return !strings.HasPrefix(filepath.Base(f.Name), "access-") })
	checks, results := rules.LoadChecks(files)
	if checks == nil {
		t.Fatalf("our own checks do not load: %v", results)
	}
	config := rules.DefaultPosture
	for _, c := range checks {
		config.Checks = append(config.Checks, c.ID)
	}
	p := rules.NewPosture(rules.PostureOptions{Config: config, Surveys: []event.Surveyor{host.SurveysOf}})
	judged, err := p.Once(t.Context(), event.Machine{Root: root}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return judged.Verdicts
}

func TestAccessChecksPassOnAHardenedMachine(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of root and of users")
	}
	root := hardened.plant(t)
	for _, name := range []string{"home/alice", "home/alice/.bashrc", "home/alice/.bash_history"} {
		if err := os.Chown(filepath.Join(root, name), 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	absent := []string{"cron-hourly-mode", "cron-weekly-mode", "cron-monthly-mode", "cron-yearly-mode", "cron-runs"}
	for _, v := range accessVerdicts(t, root) {
		if v.Status != event.Pass && !(v.Status == event.NotApplicable && slices.Contains(absent, v.Check.ID)) && v.Status != event.Manual {
			t.Errorf("%s: %s: %s %v", v.Check.ID, v.Status, v.Reason, v.Objects)
		}
	}
}

func TestAccessChecksFailOnABrokenMachine(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of root and of users")
	}
	root := broken.plant(t)
	for name, uid := range map[string]int{"home/alice": 1001, "home/alice/.bash_history": 1002} {
		if err := os.Chown(filepath.Join(root, name), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	good := []string{"sudo-installed", "cron-runs"} // it is, and of the other no image tells
	for _, v := range accessVerdicts(t, root) {
		if v.Status != event.Fail && !slices.Contains(good, v.Check.ID) && v.Status != event.Manual {
			t.Errorf("%s: %s: %s", v.Check.ID, v.Status, v.Reason)
		}
	}
}

// TestAccessChecksAreInErrorWhereNothingCanBeRead: a file that is a pipe, a directory or a loop is no reason to pass, and none to wait.
func TestAccessChecksAreInErrorWhereNothingCanBeRead(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"etc/os-release", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/login.defs", "etc/shells", "etc/profile", "etc/pam.d/sshd", "etc/sudoers", "etc/ssh/sshd_config",
		"etc/crontab", "etc/cron.d/x", "etc/cron.allow", "etc/securetty", "etc/polkit-1/rules.d/x.rules", "usr/bin/crontab", "usr/sbin/sshd", "usr/bin/sudo"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch name {
		case "usr/bin/crontab", "etc/os-release":
			err = os.WriteFile(path, nil, 0o755)
		case "usr/sbin/sshd":
			err = os.WriteFile(path, []byte("\x00OpenSSH_9.2p1\x00"), 0o755)
		default:
			err = os.Symlink(filepath.Base(path), path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range accessVerdicts(t, root) {
		if v.Check.Kind != "file" && v.Status == event.Pass {
			t.Errorf("%s passes, though nothing can be read", v.Check.ID)
		}
	}
}

// Two public keys, made for these tests and thrown away.
const (
	ed25519Blob = "AAAAC3NzaC1lZDI1NTE5AAAAIOqJ0KmMPGvas9lryeBJNpco76/g3avOYYpbwMbQ4gZZ"
	rsaBlob     = "AAAAB3NzaC1yc2EAAAADAQABAAAAgQCuXeB0gZp1Gtl8x1UKFVnXw/vqq19aojD5Noo6ZZbskSTQ+Ulc83QfVv1WP5yCuIHwATVUSlZdL9WXmpUQV6US/dPvGwpeunpL3rjOP5Fa96PuY1rtXuG9+EWyEXxON/Vl1GYpnQL6Q16/tdnzQE3cP88QvNN7/ItFH/G+L48/3Q=="
)
