package host

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// networkFactsOf runs one of the surveys of the network.
func networkFactsOf(t *testing.T, s *Surveys, name string) map[string]event.Fact {
	t.Helper()
	for _, survey := range s.networkSurveys() {
		if survey.Name == name {
			return collect(t, survey.Survey)
		}
	}
	t.Fatalf("there is no survey %s", name)
	return nil
}

// link makes symbolic links in a planted root.
func link(t *testing.T, s *Surveys, links map[string]string) {
	t.Helper()
	for name, target := range links {
		file := filepath.Join(s.Root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, file); err != nil {
			t.Fatal(err)
		}
	}
}

const serviceUnit = "[Unit]\nDescription=x\n[Service]\nExecStart=-/usr/sbin/daemon --flag\n[Install]\nWantedBy=multi-user.target\n"

func TestServicesByUnitsScriptsAndInetd(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/bin/systemctl": "",
		"var/lib/dpkg/status": "Package: cups-daemon\nStatus: install ok installed\nVersion: 1\n\nPackage: avahi-daemon\nStatus: deinstall ok config-files\nVersion: 1\n\n" +
			"Package: vsftpd\nStatus: install ok installed\nVersion: 1\n\nPackage: telnet\nStatus: install ok installed\nVersion: 1\n\nPackage: rsync\nStatus: install ok installed\nVersion: 1\n",
		"usr/lib/systemd/system/cups.service": serviceUnit, "usr/lib/systemd/system/cups.socket": "[Socket]\nListenStream=/run/cups\n[Install]\nWantedBy=sockets.target\n",
		"usr/lib/systemd/system/rsync.service": serviceUnit, "usr/lib/systemd/system/vsftpd@.service": serviceUnit,
		"usr/lib/systemd/system/rpcbind.service": serviceUnit, "etc/systemd/system/rpcbind.socket": "",
		"etc/inetd.conf":     "# telnet stream tcp nowait root /usr/sbin/in.telnetd in.telnetd\nshell stream tcp nowait root /usr/sbin/tcpd in.rshd\n",
		"etc/xinetd.d/tftp":  "service tftp\n{\n\tsocket_type = dgram\n\tdisable = no\n}\n",
		"etc/xinetd.d/ftp":   "service ftp\n{\n\tdisable\t\t= yes\n}\n",
		"etc/rc3.d/S20snmpd": "", "etc/rc2.d/S01cups": "",
		"usr/bin/tftp": "",
	})
	link(t, s, map[string]string{
		"etc/systemd/system/sockets.target.wants/cups.socket":           "/usr/lib/systemd/system/cups.socket",
		"etc/systemd/system/multi-user.target.wants/vsftpd@two.service": "/usr/lib/systemd/system/vsftpd@.service",
		"etc/systemd/system/rpcbind.service":                            "/dev/null",
		"etc/systemd/system/multi-user.target.wants/slapd.service":      "/usr/lib/systemd/system/slapd.service", // its package is gone
		"lib": "usr/lib",
	})
	facts := networkFactsOf(t, s, "services")
	expect(t, facts["service cups"], map[string]any{"exists": true, "enabled": true, "in_use": true, "masked": false, "running": nil, "packages": []string{"cups-daemon"}, "units": []string{"cups.service", "cups.socket"}})
	expect(t, facts["service avahi"], map[string]any{"exists": false, "in_use": false, "packages": []string{}})
	expect(t, facts["service ftp"], map[string]any{"exists": true, "enabled": true, "in_use": true})
	expect(t, facts["service rpcbind"], map[string]any{"enabled": false, "masked": true, "in_use": false})
	expect(t, facts["service rsync"], map[string]any{"exists": true, "enabled": false, "in_use": false})
	expect(t, facts["service rsh"], map[string]any{"enabled": true, "units": []string{"/etc/inetd.conf:2"}})
	expect(t, facts["service ldap"], map[string]any{"exists": false, "enabled": false, "in_use": false, "units": []string{}})
	expect(t, facts["service telnet"], map[string]any{"enabled": false, "exists": false})
	expect(t, facts["service tftp"], map[string]any{"enabled": true, "units": []string{"/etc/xinetd.d/tftp:1"}})
	expect(t, facts["service snmp"], map[string]any{"enabled": true, "units": []string{"/etc/rc3.d/S20snmpd"}})
	expect(t, facts["client telnet"], map[string]any{"exists": true, "packages": []string{"telnet"}})
	expect(t, facts["client tftp"], map[string]any{"exists": true, "programs": []string{"/usr/bin/tftp"}})
	expect(t, facts["client nis"], map[string]any{"exists": false})
}

func TestServicesOfAlpineAndOfImagesWithoutADatabase(t *testing.T) {
	t.Parallel()
	alpine := plant(t, map[string]string{"lib/apk/db/installed": "P:nginx\nV:1.24\n\nP:chrony\nV:4\n", "etc/init.d/nginx": "", "usr/sbin/nginx": ""})
	link(t, alpine, map[string]string{"etc/runlevels/default/nginx": "/etc/init.d/nginx", "etc/runlevels/default/chronyd": "/etc/init.d/chronyd"})
	facts := networkFactsOf(t, alpine, "services")
	expect(t, facts["service web"], map[string]any{"exists": true, "enabled": true, "packages": []string{"nginx"}, "units": []string{"/etc/runlevels/default/nginx"}})
	expect(t, networkFactsOf(t, alpine, "time")["ntp chrony"], map[string]any{"enabled": true, "works": true, "count": 0})

	rpm := plant(t, map[string]string{"usr/bin/systemctl": "", "usr/sbin/named": "", "usr/lib/systemd/system/named.service": serviceUnit, "usr/bin/ypcat": ""})
	facts = networkFactsOf(t, rpm, "services")
	expect(t, facts["service dns"], map[string]any{"exists": true, "enabled": false, "packages": nil})
	expect(t, facts["client nis"], map[string]any{"exists": true, "packages": nil})
}

func TestUnitsAndWhoCanChangeThem(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/lib/systemd/system/a.service":      serviceUnit,
		"etc/systemd/system/a.service.d/1.conf": "[Service]\nExecStart=\nExecStart=/opt/other\nUser=alice\n",
		"usr/lib/systemd/system/b.service":      "[Service]\nExecStart=/opt/b\n",
		"usr/lib/systemd/system/c.service":      "[Service]\nExecStart=/usr/sbin/daemon\n[Install]\nAlias=dbus-c.service\n",
		"usr/lib/systemd/system/d.service":      "[Service]\nnonsense\n",
		"usr/lib/systemd/system/e.service":      "",
		"opt/other":                             "", "opt/b": "", "usr/sbin/daemon": "",
		"etc/passwd": "alice:x:1234:1234::/:\n", "etc/group": "staff:x:50:\n",
	})
	link(t, s, map[string]string{
		"etc/systemd/system/multi-user.target.wants/a.service": "/usr/lib/systemd/system/a.service",
		"etc/systemd/system/dbus-c.service":                    "/usr/lib/systemd/system/c.service",
		"etc/systemd/system/ctrl-alt-del.target":               "/dev/null",
	})
	for _, change := range []error{
		os.Chown(filepath.Join(s.Root, "opt/other"), 1234, 0), os.Chmod(filepath.Join(s.Root, "opt/b"), 0o777),
		os.Chown(filepath.Join(s.Root, "usr/lib/systemd/system/c.service"), 0, 50), os.Chmod(filepath.Join(s.Root, "usr/lib/systemd/system/c.service"), 0o664),
	} {
		if change != nil {
			t.Skip("needs root: ", change)
		}
	}
	facts := networkFactsOf(t, s, "units")
	expect(t, facts["unit a.service"], map[string]any{"state": "enabled", "enabled": true, "program": "/opt/other", "user": "alice", "foreign": []string{}, "guarded": true, "drop_ins": []string{"/etc/systemd/system/a.service.d/1.conf"}})
	expect(t, facts["unit b.service"], map[string]any{"state": "static", "enabled": false, "user": "root", "foreign": []string{"/opt/b"}, "guarded": false})
	expect(t, facts["unit c.service"], map[string]any{"state": "enabled", "enabled": true, "foreign": []string{"/usr/lib/systemd/system/c.service"}})
	expect(t, facts["unit dbus-c.service"], map[string]any{"state": "alias"})
	expect(t, facts["unit ctrl-alt-del.target"], map[string]any{"state": "masked", "masked": true, "type": "target"})
	expect(t, facts["unit e.service"], map[string]any{"state": "masked"})
	if got := facts["unit d.service"].Err(); got != `/usr/lib/systemd/system/d.service:2: want [Section] or Key=value, got "nonsense"` {
		t.Errorf("the error of a malformed unit is %q", got)
	}
}

func TestListeningSocketsOfATable(t *testing.T) {
	t.Parallel()
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	tcp, err := parseSockets([]byte(head+
		"   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000\n"+
		"   1: 0100007F:0016 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0000000000000000\n"+
		"   2: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12347 1 0\n"), "tcp")
	if err != nil || len(tcp) != 2 || tcp[0].subject() != "tcp 127.0.0.1:22" || tcp[0].inode != 12345 || tcp[1].subject() != "tcp 127.0.0.1:8080" || tcp[1].uid != 1000 || tcp[1].family() != ipv4 {
		t.Errorf("sockets are %+v, %v", tcp, err)
	}
	udp, err := parseSockets([]byte(head+"   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 0\n"), "udp")
	if err != nil || len(udp) != 1 || udp[0].subject() != "udp [::1]:53" || udp[0].family() != ipv6 {
		t.Errorf("sockets are %+v, %v", udp, err)
	}
	for line, wrong := range map[string]string{
		"0: 0100007F:0016": "line 2: want at least 10 columns", "0: 01007F:0016 0 0A 0 0 0 0 0 0": "line 2: address", "0: 0100007F:XX 0 0A 0 0 0 0 0 0": "port",
		"0: 0100007F:0016 0 0A 0 0 0 x 0 0": "user", "0: 0100007F:0016 0 0A 0 0 0 0 0 x": "inode",
	} {
		if _, err := parseSockets([]byte(head+line+"\n"), "tcp"); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %s", line, err, wrong)
		}
	}
}

func TestWhatOnlyARunningKernelTells(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{})
	for _, survey := range s.networkSurveys() {
		n := 0
		err := survey.Survey(t.Context(), func(f event.Fact) {
			n++
			for _, name := range f.Kind.Running {
				if f.Values[name] != nil {
					t.Errorf("%s %s: %s is %v of a machine that does not run", f.Kind.Name, f.Subject, name, f.Values[name])
				}
			}
		})
		if only := survey.Name == "listeners" || survey.Name == "interfaces"; only != (err == event.ErrNotLive) || !only && err != nil || only && n > 0 {
			t.Errorf("%s: %d facts, error %v", survey.Name, n, err)
		}
	}
}

func TestTimeDaemonsByTheirFiles(t *testing.T) {
	t.Parallel()
	wants := func(unit string) string { return "etc/systemd/system/multi-user.target.wants/" + unit }
	s := plant(t, map[string]string{
		"usr/bin/systemctl": "", "etc/debian_version": "12\n",
		"var/lib/dpkg/status":                              "Package: chrony\nStatus: install ok installed\nVersion: 1\n\nPackage: ntpsec\nStatus: install ok installed\nVersion: 1\n\nPackage: systemd-timesyncd\nStatus: install ok installed\nVersion: 1\n",
		"usr/lib/systemd/system/chrony.service":            serviceUnit,
		"usr/lib/systemd/system/ntpsec.service":            serviceUnit,
		"usr/lib/systemd/system/systemd-timesyncd.service": serviceUnit,
		wants("chrony.service"):                            "",
		"etc/chrony/chrony.conf":                           "confdir /etc/chrony/conf.d\nsourcedir /run/chrony-dhcp /etc/chrony/sources.d\n! comment\n; comment\npool a.example.org iburst nts\nrefclock PHC /dev/ptp0 poll 2\n",
		"etc/chrony/conf.d/1.conf":                         "user timekeeper\ninclude /etc/chrony/chrony.conf\n",
		"etc/chrony/sources.d/x.sources":                   "server 169.254.169.123 prefer\n",
		"etc/chrony/sources.d/y.conf":                      "server not.example.org\n",
		"etc/systemd/timesyncd.conf":                       "[Time]\n#NTP=\nFallbackNTP=f.example.org\n",
		"etc/systemd/timesyncd.conf.d/1.conf":              "[Time]\nNTP=b.example.org c.example.org\n",
		"etc/ntpsec/ntp.conf":                              "server 127.127.1.0\nrestrict default kod nomodify nopeer noquery limited\nrestrict -6 default kod\n",
		"etc/default/ntpsec":                               "NTPD_OPTS=\"-g -N -u ntpsec:ntpsec\"\n",
	})
	facts := networkFactsOf(t, s, "time")
	expect(t, facts["ntp chrony"], map[string]any{"enabled": true, "in_use": true, "works": true, "user": "timekeeper", "authenticated": false, "count": 3, "servers": []string{"a.example.org", "refclock PHC /dev/ptp0", "169.254.169.123"}})
	expect(t, facts["ntp timesyncd"], map[string]any{"enabled": false, "in_use": false, "works": false, "count": 3, "user": "systemd-timesync"})
	expect(t, facts["ntp ntpd"], map[string]any{"enabled": false, "restricted": false, "authenticated": true, "user": "ntpsec", "count": 1})
	expect(t, facts["clock machine"], map[string]any{"count": 1, "daemons": []string{"chrony"}})
	if !ntpRestricts([]string{"kod", "nomodify", "nopeer", "noquery"}) || !ntpRestricts([]string{"ignore"}) || ntpRestricts([]string{"nomodify", "noquery"}) || ntpRestricts(nil) {
		t.Error("flags of restrict are misjudged")
	}

	alpine := plant(t, map[string]string{"lib/apk/db/installed": "P:busybox\nV:1\n", "bin/busybox": "", "etc/init.d/ntpd": "", "etc/conf.d/ntpd": "NTPD_OPTS=\"-N -p pool.ntp.org -p other.example.org\"\n"})
	link(t, alpine, map[string]string{"usr/sbin/ntpd": "/bin/busybox", "etc/runlevels/default/ntpd": "/etc/init.d/ntpd"})
	facts = networkFactsOf(t, alpine, "time")
	expect(t, facts["ntp busybox"], map[string]any{"enabled": true, "servers": []string{"pool.ntp.org", "other.example.org"}, "user": "root"})
	expect(t, facts["clock machine"], map[string]any{"daemons": []string{"busybox"}})
}

func TestMailServersListenWhere(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/sbin/postfix": "", "usr/sbin/exim4": "", "usr/sbin/smtpd": "", "usr/sbin/sendmail.sendmail": "",
		"etc/postfix/main.cf":              "# inet_interfaces = all\nmyhostname = x\ninet_interfaces = 127.0.0.1,\n  [::1]\n",
		"etc/exim4/update-exim4.conf.conf": "dc_eximconfig_configtype='local'\ndc_local_interfaces='127.0.0.1 ; ::1'\n",
		"etc/mail/sendmail.cf":             "O DaemonPortOptions=Name=MTA, Port=smtp, Addr=127.0.0.1\nO DaemonPortOptions=Name=MSP, Port=587\n",
		"etc/smtpd.conf":                   "listen on socket\nlisten on \"eth0\" port 25\n",
	})
	facts := networkFactsOf(t, s, "mail servers")
	expect(t, facts["mta postfix"], map[string]any{"listens": []string{"127.0.0.1", "[::1]"}, "local": true})
	expect(t, facts["mta exim"], map[string]any{"listens": []string{"127.0.0.1", "::1"}, "local": true})
	expect(t, facts["mta sendmail"], map[string]any{"listens": []string{"127.0.0.1", "all"}, "local": false})
	expect(t, facts["mta opensmtpd"], map[string]any{"listens": []string{"eth0"}, "local": false})
	expect(t, networkFactsOf(t, plant(t, map[string]string{"usr/sbin/postfix": "", "etc/postfix/main.cf": "\n"}), "mail servers")["mta postfix"], map[string]any{"listens": []string{"all"}, "local": false})
	expect(t, networkFactsOf(t, plant(t, map[string]string{"usr/sbin/postfix": ""}), "mail servers")["mta postfix"], map[string]any{"listens": nil, "local": nil})
	exim := map[string]string{"usr/sbin/exim4": "", "etc/exim4/update-exim4.conf.conf": "dc_local_interfaces=''\n"}
	expect(t, networkFactsOf(t, plant(t, exim), "mail servers")["mta exim"], map[string]any{"listens": []string{"all"}, "local": false})
	for text, want := range map[string]string{"127.0.0.1 : ::::1": "127.0.0.1 ::1", "<; ::1 ; 10.0.0.1": "::1 10.0.0.1", "0.0.0.0 ; ::0": "0.0.0.0 ::0"} {
		if got := strings.Join(colonList(text), " "); got != want {
			t.Errorf("colonList(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestFileIntegrityPrograms(t *testing.T) {
	t.Parallel()
	expect(t, networkFactsOf(t, plant(t, nil), "file integrity")["fim none"], map[string]any{"exists": false, "scheduled": false})
	s := plant(t, map[string]string{
		"usr/sbin/auditctl": "", "usr/sbin/auditd": "", "usr/sbin/ausearch": "", "usr/bin/aide": "", "var/lib/aide/aide.db": "x", "usr/sbin/tripwire": "",
		"etc/aide/aide.conf":         "Full = p+i+n+H\nWeak=p+i+md5\n@@x_include /etc/aide/aide.conf.d ^[a-z]+$\n/usr/sbin/auditctl$ p+sha512\n",
		"etc/aide/aide.conf.d/audit": "/usr/sbin/auditd Full\n/usr/sbin/ausearch Full-H\n/usr/sbin/ausearch Weak\n",
		"etc/cron.d/checks":          "# aide\n5 4 * * * root /usr/bin/aide --check\n15 4 * * * root /usr/sbin/tripwire-wrapper\n",
	})
	facts := networkFactsOf(t, s, "file integrity")
	expect(t, facts["fim aide"], map[string]any{"exists": true, "scheduled": true, "database": true, "tools": false, "tools_missing": []string{"/usr/sbin/ausearch"}})
	expect(t, facts["fim tripwire"], map[string]any{"exists": true, "scheduled": false})
	if facts["fim none"].Kind != nil {
		t.Error("nothing is told beside something")
	}
	yagura := plant(t, map[string]string{"usr/bin/systemctl": "", "usr/local/bin/yagura": "", "etc/systemd/system/yagura.service": serviceUnit})
	expect(t, networkFactsOf(t, yagura, "file integrity")["fim yagura"], map[string]any{"scheduled": false})
	link(t, yagura, map[string]string{"etc/systemd/system/multi-user.target.wants/yagura.service": "../yagura.service"})
	expect(t, networkFactsOf(t, yagura, "file integrity")["fim yagura"], map[string]any{"scheduled": true})
}

func TestProgramsAreKnownByTheirFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ran  ranProgram
		name string
		want bool
	}{
		{ranProgram{1, "x", "/usr/sbin/sshd (deleted)"}, "sshd", true}, {ranProgram{1, "sshd", "/tmp/x"}, "sshd", false}, {ranProgram{1, "nfsd", ""}, "nfsd", true},
	} {
		if got := tt.ran.is(tt.name); got != tt.want {
			t.Errorf("%+v is %s: %v, want %v", tt.ran, tt.name, got, tt.want)
		}
	}
}

func TestOnlyAYaguraThatStaysWatches(t *testing.T) {
	t.Parallel()
	s := plant(t, nil)
	s.Procfs = t.TempDir()
	ran := []ranProgram{{pid: 7, name: "yagura", exe: "/usr/bin/yagura"}}
	for args, want := range map[string]bool{
		"yagura": true, "yagura\x00run\x00": true, "yagura\x00--config.file\x00/etc/yagura.yaml\x00": true,
		"yagura\x00posture\x00": false, "yagura\x00--log.level=debug\x00posture\x00--format\x00json\x00": false,
	} {
		if err := os.MkdirAll(filepath.Join(s.Procfs, "7"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Procfs, "7/cmdline"), []byte(args), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := s.stays(ran, []string{"yagura"}); got != want {
			t.Errorf("%q stays: %v, want %v", args, got, want)
		}
	}
}

// TestHostileFilesAreErrors gives surveys files that nobody should make.
func TestHostileFilesAreErrorsOfNetworkSurveys(t *testing.T) {
	t.Parallel()
	loops := []string{"etc/audit/rules.d/x.rules", "etc/rsyslog.conf", "etc/nftables.conf", "etc/systemd/journald.conf", "etc/chrony/chrony.conf", "etc/ufw/ufw.conf", "etc/logrotate.conf", "etc/inetd.conf", "etc/aide/aide.conf"}
	for _, name := range loops {
		s := plant(t, map[string]string{"usr/sbin/rsyslogd": "", "usr/lib/systemd/systemd-journald": "", "usr/sbin/chronyd": "", "usr/sbin/nft": "", "usr/bin/aide": "", "usr/sbin/auditctl": ""})
		link(t, s, map[string]string{name: filepath.Base(name)})
		var errors []string
		for _, survey := range s.networkSurveys() {
			err := survey.Survey(t.Context(), func(f event.Fact) {
				if f.Err() != "" {
					errors = append(errors, f.Err())
				}
			})
			if err != nil && err != event.ErrNotLive {
				errors = append(errors, err.Error())
			}
		}
		if !slices.ContainsFunc(errors, func(e string) bool { return strings.Contains(e, "/"+name) }) {
			t.Errorf("%s is a loop, and what is wrong is %q", name, errors)
		}
	}
}

func TestNetworkSurveysEndWithTheirContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, survey := range thisMachine.networkSurveys() {
		if survey.Name != "listeners" && survey.Name != "units" {
			continue
		}
		if err := survey.Survey(ctx, func(event.Fact) {}); err == nil {
			t.Errorf("%s does not end", survey.Name)
		}
	}
}

// TestNetworkChecksNameWhatSurveysTell reads the shipped checks as text: a subject that no survey tells of would make a check that is
// never about anything.
func TestNetworkChecksNameWhatSurveysTell(t *testing.T) {
	t.Parallel()
	told := map[string][]string{"fim": {"aide"}, "unit": {"ctrl-alt-del.target"}, "bootarg": knownBootArgs, "audit": append([]string{"chacl", "chcon", "setfacl"}, auditNames...)}
	for i := range knownServices {
		told["service"] = append(told["service"], knownServices[i].name)
	}
	for i := range knownClients {
		told["client"] = append(told["client"], knownClients[i].name)
	}
	for i := range timeDaemons {
		told["ntp"] = append(told["ntp"], timeDaemons[i].name)
	}
	for i := range firewallManagers {
		told["firewall"] = append(told["firewall"], firewallManagers[i].name)
	}
	for _, known := range knownSysctls {
		told["sysctl"] = append(told["sysctl"], known.name)
	}
	files, err := filepath.Glob("../../rules/posture/network-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no files of checks, %v", err)
	}
	one, several := regexp.MustCompile(`\b([a-z]+)\.subject = ([^ )]+)`), regexp.MustCompile(`\b([a-z]+)\.subject in \(([^)]*)\)`)
	named := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range append(one.FindAllStringSubmatch(string(text), -1), several.FindAllStringSubmatch(string(text), -1)...) {
			for name := range strings.SplitSeq(found[2], ",") {
				name = strings.TrimSpace(name)
				if named[found[1]+" "+name] = true; !slices.Contains(told[found[1]], name) {
					t.Errorf("%s: no survey tells of %s %s", file, found[1], name)
				}
			}
		}
	}
	for _, kind := range []string{"service", "client", "ntp", "firewall"} {
		for _, name := range told[kind] {
			if !named[kind+" "+name] {
				t.Errorf("no check is about %s %s", kind, name)
			}
		}
	}
}
