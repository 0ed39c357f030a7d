package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRsyslogInBothOfItsLanguages(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/rsyslog.conf": `# modules
module(load="imuxsock") # provides support for local system logging
module(load="builtin:omfile"
       fileCreateMode = "0640"
       Template="RSYSLOG_TraditionalFileFormat")
$FileCreateMode 0600
$WorkDirectory /var/spool/rsyslog
/* a comment
   *.* @@not.example.org */
include(file="/etc/rsyslog.d/*.conf" mode="optional")
$IncludeConfig /etc/rsyslog.more/
*.*;auth,authpriv.none		-/var/log/syslog
mail.err			/var/log/mail.err
*.emerg				:omusrmsg:*
& stop
:programname, isequal, "x@y" ~
`,
		"etc/rsyslog.d/10-remote.conf": `ruleset(name="remote") {
	if $syslogfacility-text == 'local0' and ($msg contains 'then it "broke') then {
		action(type="omfwd" target="logs.example.org" port="6514" protocol="tcp"
			StreamDriver="gtls" StreamDriverMode="1" queue.type="LinkedList")
		stop
	} else {
		set $.x = "y";
	}
}
*.* action(type="omrelp" target="relp.example.org" port="2514" tls="on")
`,
		"etc/rsyslog.d/ignored.txt":   "$UDPServerRun 514\n",
		"etc/rsyslog.more/20-in.conf": "module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"10514\")\ninput(type=\"imudp\" port=\"514\" address=\"127.0.0.1\")\n",
	})
	c, err := s.rsyslogConf()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.forwards, ", "); got != "tcp logs.example.org:6514, relp relp.example.org:2514" || c.plain {
		t.Errorf("it sends to %s, plain %v", got, c.plain)
	}
	if got := strings.Join(c.receives, ", "); got != "imtcp 10514" {
		t.Errorf("it receives by %s", got)
	}
	if c.most() != 0o640 || !c.auth || c.selectors != 7 || c.journal {
		t.Errorf("mode %o, auth %v, selectors %d, journal %v", c.most(), c.auth, c.selectors, c.journal)
	}
}

func TestRsyslogLineByLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]rsyslogConf{
		"*.* @loghost\n": {forwards: []string{"udp loghost:514"}, plain: true, selectors: 1, auth: true},
		"*.info\t@@(o,z9)[2001:db8::1]:1514;fmt\n":                                             {forwards: []string{"tcp [2001:db8::1]:1514"}, plain: true, selectors: 1, auth: true},
		"$ActionSendStreamDriverMode 1\nauth.* @@loghost:6514\n":                               {forwards: []string{"tcp loghost:6514"}, selectors: 1, auth: true, tlsNext: true},
		"*.* @@127.0.0.1:5514\n":                                                               {selectors: 1, auth: true},
		"$ModLoad imudp\n$UDPServerRun 514\n":                                                  {receives: []string{"imudp 514"}},
		"$UDPServerAddress 127.0.0.1\n$UDPServerRun 514\n":                                     {addrNext: "127.0.0.1"},
		"$ModLoad imjournal.so\n":                                                              {journal: true},
		"module(load=\"imjournal\" StateFile=\"x\")\n":                                         {journal: true},
		"*.*;authpriv.none /var/log/messages\n":                                                {selectors: 1, defaulted: true},
		"authpriv.none;authpriv.* -/var/log/secure\n":                                          {selectors: 1, defaulted: true, auth: true},
		"authpriv.* ~\n":                                                                       {selectors: 1},
		"$FileCreateMode 0640\n*.* /x\n":                                                       {selectors: 1, auth: true, modes: []int64{0o640}},
		"action(type=\"omfile\" file=\"/x\" fileCreateMode=\"0644\")\n":                        {modes: []int64{0o644}},
		"if $programname == 'sshd' and $syslogfacility-text == 'authpriv' then /var/log/ssh\n": {selectors: 1, auth: true, defaulted: true},
	} {
		var c rsyslogConf
		c.add("f", text)
		if c.wrong != nil || !slices.Equal(c.forwards, want.forwards) || !slices.Equal(c.receives, want.receives) || c.plain != want.plain || c.auth != want.auth || c.journal != want.journal || c.defaulted != want.defaulted || !slices.Equal(c.modes, want.modes) || c.selectors != want.selectors {
			t.Errorf("%q is %+v, want %+v", text, c, want)
		}
	}
	for text, wrong := range map[string]string{
		"\n$FileCreateMode 0999\n": "f:3: want permissions as 0640", "action(type=\"omfile\n": "want a closing quote", "input(type=\"imtcp\"": "want a closing parenthesis", "if $x == 'a'\n": "want then behind if",
	} {
		var c rsyslogConf
		if c.add("f", text); c.wrong == nil || !strings.Contains(c.wrong.Error(), wrong) {
			t.Errorf("%q: %v, want %s", text, c.wrong, wrong)
		}
	}
}

func TestLoggingByFiles(t *testing.T) {
	t.Parallel()
	wanted := "etc/systemd/system/multi-user.target.wants/"
	files := map[string]string{
		"usr/bin/systemctl": "", "usr/lib/systemd/systemd-journald": "",
		"usr/lib/systemd/system/systemd-journald.service":                      "[Service]\nExecStart=/usr/lib/systemd/systemd-journald\n",
		"usr/lib/systemd/system/sysinit.target.wants/systemd-journald.service": "",
		"etc/systemd/journald.conf":                                            "[Journal]\n#Storage=auto\n#Compress=yes\n#ForwardToSyslog=yes\n",
		"etc/systemd/journald.conf.d/1.conf":                                   "[Journal]\nSystemMaxUse=1G\nCompress=no\n",
	}
	facts := networkFactsOf(t, plant(t, files), "logging")
	expect(t, facts["journald machine"], map[string]any{"enabled": true, "works": true, "storage": "auto", "persistent": false, "compress": false, "forward_to_syslog": true, "syslog": false, "seal": true, "limited": true, "rotation": []string{"SystemMaxUse=1G"}})
	expect(t, facts["logger machine"], map[string]any{"primary": "journald", "daemons": 0, "persistent": false, "remote": false, "systems": []string{"journald"}})
	expect(t, facts["upload machine"], map[string]any{"exists": false, "needed": true, "encrypted": false, "authenticated": false})
	if facts["rsyslog machine"].Kind != nil {
		t.Error("rsyslog is told of, and is not there")
	}
	expect(t, facts["logrotate machine"], map[string]any{"exists": false, "scheduled": false, "files": 0, "rotate": 0})

	for name, text := range map[string]string{
		"usr/sbin/rsyslogd": "", "usr/lib/systemd/system/rsyslog.service": serviceUnit, wanted + "rsyslog.service": "",
		"etc/rsyslog.conf":            "$FileCreateMode 0640\nauth,authpriv.* /var/log/auth.log\n*.* @@loghost:514\n",
		"var/log/journal/x/y.journal": "", "usr/sbin/logrotate": "", "usr/lib/systemd/system/logrotate.timer": "[Install]\nWantedBy=timers.target\n", wanted + "logrotate.timer": "",
		"etc/logrotate.conf":                     "weekly\nrotate 13\ncompress\n/var/log/wtmp /var/log/btmp {\n\tmonthly\n\trotate 1\n}\ninclude /etc/logrotate.d\n",
		"etc/logrotate.d/rsyslog":                "/var/log/syslog\n/var/log/auth.log\n{\n\trotate 4\n\tpostrotate\n\t\techo { daily\n\tendscript\n}\n",
		"usr/lib/systemd/systemd-journal-upload": "", "usr/lib/systemd/system/systemd-journal-upload.service": serviceUnit, wanted + "systemd-journal-upload.service": "",
		"etc/systemd/journal-upload.conf": "[Upload]\nURL=https://logs.example.org:19532\nServerKeyFile=/k\nServerCertificateFile=/c\nTrustedCertificateFile=/t\n",
	} {
		files[name] = text
	}
	facts = networkFactsOf(t, plant(t, files), "logging")
	expect(t, facts["rsyslog machine"], map[string]any{"works": true, "fed": true, "private": true, "mode_octal": "0640", "auth": true, "selectors": 2, "forwards": []string{"tcp loghost:514"}, "forwards_tls": false, "receiving": false})
	expect(t, facts["logger machine"], map[string]any{"primary": "rsyslog", "daemons": 1, "persistent": true, "remote": true, "shippers": []string{"rsyslog", "journal-upload"}})
	expect(t, facts["journald machine"], map[string]any{"persistent": true, "syslog": true})
	expect(t, facts["upload machine"], map[string]any{"exists": true, "works": true, "needed": false, "encrypted": true, "authenticated": true})
	expect(t, facts["logrotate machine"], map[string]any{"exists": true, "scheduled": true, "rotate": 13, "frequency": "weekly", "compress": true, "files": 4})
}

func TestLogFilesAndTheirPermissions(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd": "root:x:0:0::/:\nsyslog:x:101:4::/:\npostgres:x:110:115::/:\nalice:x:1000:1000::/:\n", "etc/group": "root:x:0:\nadm:x:4:\nutmp:x:43:\nsystemd-journal:x:999:\npostgres:x:115:\nusers:x:100:\n",
		"var/log/auth.log": "", "var/log/wtmp": "", "var/log/apt/history.log": "", "var/log/journal/m/system.journal": "", "var/log/postgresql/p.log": "", "var/log/other": "", "var/log/mine": "",
	})
	for name, want := range map[string]struct {
		mode     os.FileMode
		uid, gid int
		wrong    []string
	}{
		"auth.log": {0o640, 101, 4, []string{}}, "wtmp": {0o664, 0, 43, []string{}}, "apt/history.log": {0o644, 0, 0, []string{}},
		"journal/m/system.journal": {0o644, 0, 999, []string{"mode"}}, "postgresql/p.log": {0o640, 110, 4, []string{}}, "other": {0o666, 4242, 100, []string{"mode", "owner", "group"}}, "mine": {0o600, 1000, 4, []string{"owner"}},
	} {
		file := filepath.Join(s.Root, "var/log", name)
		if err := os.Chown(file, want.uid, want.gid); err != nil {
			t.Skip("needs root: ", err)
		}
		if err := os.Chmod(file, want.mode); err != nil {
			t.Fatal(err)
		}
		facts := networkFactsOf(t, s, "log files")
		expect(t, facts["logfile /var/log/"+name], map[string]any{"wrong": want.wrong, "proper": len(want.wrong) == 0})
	}
}
