package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// sudoersCases are files by hand, and whether sudo accepts them.
var sudoersCases = []struct {
	text string
	good bool
}{
	{"root ALL=(ALL:ALL) ALL\n", true},
	{"%sudo\tALL=(ALL:ALL) ALL\n", true},
	{"alice,bob host1 , host2 = /bin/ls, /bin/cat /var/log/*, !/bin/su : host3 = NOPASSWD: ALL\n", true},
	{"#1000 ALL = /bin/true # a comment\n%#27 ALL = (#0) ALL\n", true},
	{"# comment \\\nnot more of it\nroot ALL=ALL\n", false},
	{"User_Alias ADMINS = alice, %wheel : OPS = bob\nCmnd_Alias SHELLS = /bin/sh, /bin/bash\nRunas_Alias DB = postgres\nHost_Alias WEB = 10.0.0.0/8, web*\nADMINS WEB = (DB) SHELLS\n", true},
	{"Defaults use_pty\nDefaults:alice !authenticate, timestamp_timeout=5\nDefaults@web logfile=\"/var/log/sudo log\"\nDefaults!/bin/su noexec\nDefaults>root syslog=auth\n", true},
	{"Defaults env_keep += \"A B\", env_keep -= C, !lecture\n", true},
	{"Defaults secure_path=\"/usr/sbin:/usr/bin\"\nDefaults\tenv_reset\n", true},
	{"alice ALL=(root) NOPASSWD:NOEXEC: /usr/bin/vi, PASSWD: EXEC: /bin/ls\n", true},
	{"alice ALL = sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 /bin/true\n", true},
	{"alice ALL = CWD=/tmp /bin/ls\n", true},
	{"alice ALL = sudoedit /etc/motd\n", true},
	{"alice ALL = (: wheel) /bin/ls\n", true},
	{"alice ALL = (bob, carol : wheel, adm) /bin/ls\n", true},
	{"alice ALL = /bin/ls \"\"\n", true},
	{"alice ALL = /bin/echo a\\,b\\:c\\=d\n", true},
	{"alice ALL = ^/usr/bin/(ls|cat)$ ^-l$\n", true},
	{"alice\\ b ALL = ALL\n\"alice c\" ALL = ALL\n", true},
	{"alice ALL = \\\n  /bin/ls, \\\n  /bin/cat\n", true},
	{"", true},
	{"alice ALL\n", false},
	{"alice = ALL\n", false},
	{"alice ALL = ls\n", false},
	{"alice ALL = (root /bin/ls\n", false},
	{"alice ALL = /bin/ls,\n", false},
	{"alice ALL = ALL ALL\n", false},
	{"alice ALL = NOPASSWD ALL\n", false},
	{"User_Alias admins = alice\n", false},
	{"User_Alias ADMINS alice\n", false},
	{"User_Alias ADMINS = alice\nUser_Alias ADMINS = bob\n", false},
	{"Defaults\n", false},
	{"Defaults use_pty logfile=/x\n", false},
	{"Defaults =x\n", false},
	{"Defaults logfile=\"/var/log\n", false},
	{"@include\n", false},
	{"alice ALL = : ALL\n", false},
}

// TestSudoersAgreesWithVisudo asks visudo which files are good.
func TestSudoersAgreesWithVisudo(t *testing.T) {
	t.Parallel()
	visudo, err := exec.LookPath("visudo")
	if err != nil {
		t.Log("needs visudo as the oracle: what is expected here is not verified")
	}
	for _, c := range sudoersCases {
		s := &sudoers{aliases: map[string][]string{}}
		s.parse("sudoers", c.text, nil)
		if (len(s.wrong) == 0) != c.good {
			t.Errorf("%q: wrong is %v, want good = %v", c.text, s.wrong, c.good)
		}
		if visudo == "" {
			continue
		}
		file := filepath.Join(t.TempDir(), "sudoers")
		if err := os.WriteFile(file, []byte(c.text), 0o440); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(visudo, "-c", "-f", file).CombinedOutput()
		if (err == nil) != c.good {
			t.Errorf("%q: visudo: %v %s, want good = %v", c.text, err, out, c.good)
		}
	}
}

const sudoProgram = "\x001.4.1\x00sudo\x001.9.13p3\x00"

func TestSudoOptions(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/bin/sudo": sudoProgram, "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
		"etc/sudoers": "Defaults env_reset\nDefaults use_pty, logfile=/var/log/sudo.log\nDefaults timestamp_timeout=2.5\nDefaults env_keep+=\"LANG LD_PRELOAD\"\n" +
			"Defaults:alice !authenticate, timestamp_timeout=-1, !use_pty\nDefaults secure_path = /usr/bin:/bin\n@includedir sudoers.d\n",
		"etc/sudoers.d/10-more":  "Defaults targetpw, env_keep-=LD_PRELOAD, passwd_tries=1\nDefaults !syslog, timestamp_type=global\n",
		"etc/sudoers.d/no.more":  "Defaults !use_pty\n",
		"etc/sudoers.d/neither~": "Defaults !use_pty\n",
	})
	same(t, values(of(event.Sudo, factsOf(t, s.Sudo)), "scope", "version", "authenticate", "use_pty", "logfile", "syslog", "timestamp_timeout", "timestamp_type", "targetpw", "passwd_tries", "env_keep_risky", "secure_path", "env_reset"), `
/etc/sudoers  1.9.13p3 true true /var/log/sudo.log false 150 global true 1 [] [/usr/bin /bin] true
Defaults:alice :alice 1.9.13p3 false false /var/log/sudo.log false -60 global true 1 [] [/usr/bin /bin] true
`)
	s = plant(t, map[string]string{"usr/bin/sudo": "\x001.9.15p5\x00", "etc/sudoers": "Defaults env_keep=\"PATH PYTHON* LC_*\", setenv\nDefaults timestamp_timeout=x\n"})
	same(t, values(of(event.Sudo, factsOf(t, s.Sudo)), "use_pty"), "/etc/sudoers error /etc/sudoers:2: want minutes as timestamp_timeout\n")
	s = plant(t, map[string]string{"usr/bin/sudo": "\x001.9.15p5\x00", "etc/sudoers": "Defaults env_keep=\"PATH PYTHON* LC_*\", setenv\n"})
	same(t, values(of(event.Sudo, factsOf(t, s.Sudo)), "use_pty", "env_keep_risky", "setenv", "secure_path", "timestamp_timeout"), "/etc/sudoers true [PATH PYTHON*] true <nil> 900\n")
	s = plant(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
	same(t, values(factsOf(t, s.Sudo), "installed"), "sudo false\n")
}

func TestSudoRules(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/bin/sudo": sudoProgram,
		"etc/sudoers": `User_Alias ADMINS = alice, %wheel
Cmnd_Alias SHELLS = /bin/sh, /usr/bin/less /var/log/*
root ALL=(ALL:ALL) ALL
ADMINS ALL=(root) NOPASSWD: SHELLS, PASSWD: /bin/cat SECRET
bob ALL=(ALL) ALL, !/bin/su
carol web=(www-data : www-data) SETENV: /bin/kill
dave ALL=(:adm) /bin/cat
ALL ALL=(ALL, !root) NOPASSWD: /bin/x*
Cmnd_Alias RESTARTS = /bin/systemctl restart web, /bin/systemctl
erin ALL=RESTARTS, /bin/systemctl stop web, /bin/systemctl status web, /bin/systemctl start *, /bin/vi /etc/motd, /bin/tar ""
`,
		"bin/cat": "", "bin/su": "", "bin/sh": "",
	})
	chmod(t, s, "bin/cat", 0o757)
	facts := of(event.SudoRule, factsOf(t, s.Sudo))
	same(t, values(facts, "users", "everybody", "only_root", "hosts", "runas", "as_root", "all_commands", "denied", "exclusions", "nopasswd", "setenv", "wildcard", "shell_escape"), `
root ALL [root] false true [ALL] [ALL] true true false false false true false false
ADMINS /bin/sh [alice %wheel] false false [ALL] [root] true false false false true false false true
ADMINS /usr/bin/less * [alice %wheel] false false [ALL] [root] true false false false true false true true
ADMINS /bin/cat [alice %wheel] false false [ALL] [root] true false false false false false false false
bob ALL [bob] false false [ALL] [ALL] true true false true false true false false
bob !/bin/su [bob] false false [ALL] [ALL] true false true false false false false true
carol /bin/kill [carol] false false [web] [www-data] false false false false false true false false
dave /bin/cat [dave] false false [ALL] [] false false false false false false false false
ALL /bin/x* [ALL] true false [ALL] [ALL !root] false false false false true false true false
erin /bin/systemctl … [erin] false false [ALL] [root] true false false false false false false false
erin /bin/systemctl [erin] false false [ALL] [root] true false false false false false false true
erin /bin/systemctl [erin] false false [ALL] [root] true false false false false false false false
erin /bin/systemctl [erin] false false [ALL] [root] true false false false false false false true
erin /bin/systemctl [erin] false false [ALL] [root] true false false false false false true true
erin /bin/vi [erin] false false [ALL] [root] true false false false false false false true
erin /bin/tar [erin] false false [ALL] [root] true false false false false false false true
`)
	for _, f := range facts {
		if strings.Contains(values([]event.Fact{f}, "command"), "SECRET") {
			t.Errorf("arguments are told: %v", f)
		}
		if foreign, known := f.Values["foreign_write"]; f.Values["command"] == "/bin/cat" && foreign != true || f.Values["command"] == "/bin/kill" && known {
			t.Errorf("foreign_write of %s is %v", f.Subject, foreign)
		}
	}
}

func TestSudoWithoutPasswordByOption(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"usr/bin/sudo": sudoProgram, "etc/sudoers": "Defaults !authenticate\nalice ALL=ALL\nbob ALL=PASSWD: ALL\n"})
	same(t, values(of(event.SudoRule, factsOf(t, s.Sudo)), "nopasswd"), "alice ALL true\nbob ALL false\n")
}

func TestSudoSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"etc/sudoers": "root ALL=ALL\n\nnonsense\n"}, "/etc/sudoers:3: want machines and = behind the users"},
		{map[string]string{"etc/sudoers": "@include sudoers\n"}, "/etc/sudoers: sudoers include each other too often"},
		{map[string]string{"etc/sudoers": "#include none\n"}, "open /etc/none: no such file or directory"},
		{map[string]string{"etc/sudoers": "@include /etc/sudoers.%h\n"}, `/etc/sudoers:1: the name of the machine in "/etc/sudoers.%h" is only known to sudo`},
		{map[string]string{"etc/sudoers/x": "a directory"}, "open /etc/sudoers: it is a directory, and no regular file"},
		{map[string]string{"etc/sudoers": "", "etc/doas.conf": "permit\n"}, "/etc/doas.conf:1: want a user"},
	} {
		c.files["usr/bin/sudo"] = sudoProgram
		facts := factsOf(t, plant(t, c.files).Sudo)
		if !slices.ContainsFunc(facts, func(f event.Fact) bool { return f.Err() == c.want }) {
			t.Errorf("%v: want the error %q in %v", c.files, c.want, facts)
		}
	}
}

func TestDoas(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd":    "root:x:0:0::/root:/bin/sh\n",
		"etc/doas.conf": "# rules\npermit persist :wheel\npermit nopass keepenv alice as root cmd /sbin/reboot args SECRET\ndeny bob\npermit setenv { A=b -C } carol as www\n",
	})
	same(t, values(of(event.SudoRule, factsOf(t, s.Sudo)), "tool", "users", "runas", "as_root", "command", "all_commands", "denied", "nopasswd", "setenv"), `
%wheel ALL doas [%wheel] [root] true ALL true false false false
alice /sbin/reboot doas [alice] [root] true /sbin/reboot false false true true
bob ALL doas [bob] [root] true ALL true true false false
carol ALL doas [carol] [www] false ALL true false false false
`)
}

func FuzzSudoers(f *testing.F) {
	for _, c := range sudoersCases {
		f.Add(c.text)
	}
	f.Add("Cmnd_Alias A = B, B\nCmnd_Alias B = A, A\nx ALL = A\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &sudoers{file: "sudoers", aliases: map[string][]string{}}
		c.parse("sudoers", text, func(string, bool, int) {})
		c.reportOptions("", func(event.Fact) {})
		for _, r := range c.rules {
			c.rule(r, "root", true)
			if commands := c.resolve("Cmnd_Alias", []string{signed(r.command, r.negated)}); len(commands) > maxAliasLength {
				t.Errorf("%d commands", len(commands))
			}
		}
	})
}
