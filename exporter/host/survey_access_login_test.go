package host

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestLoginDefs(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/login.defs":      "# defaults\nPASS_MAX_DAYS\t365\nPASS_MIN_DAYS 1 # a day\nPASS_WARN_AGE   7\nPASS_MAX_DAYS 180\nENCRYPT_METHOD yescrypt\nUMASK 077\nUID_MIN 500\nFAIL_DELAY 4\n",
		"etc/default/useradd": "SHELL=/bin/sh\nINACTIVE=30\n",
	})
	same(t, values(factsOf(t, s.LoginDefs), "pass_max_days", "pass_min_days", "pass_warn_age", "inactive_days", "encrypt_method", "hash_strong", "home_mode_octal", "home_private", "uid_min", "fail_delay", "login_retries"),
		"/etc/login.defs 180 1 7 30 YESCRYPT true 0700 true 500 4 <nil>\n")
	s = plant(t, map[string]string{"etc/login.defs": "HOME_MODE 0750\nUMASK 022\n"})
	same(t, values(factsOf(t, s.LoginDefs), "pass_max_days", "inactive_days", "encrypt_method", "hash_strong", "home_mode_octal", "home_private"), "/etc/login.defs <nil> -1 DES false 0750 true\n")
	s = plant(t, map[string]string{"etc/login.defs": "PASS_MAX_DAYS many\n"})
	same(t, values(factsOf(t, s.LoginDefs)), "/etc/login.defs error /etc/login.defs: PASS_MAX_DAYS: want a number, not \"many\"\n")
}

func TestUmask(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"022": 0o022, "0027": 0o027, "77": 0o077, "u=rwx,g=rx,o=": 0o027, "u=rwx,g=,o=": 0o077, "g-w,o-rwx": 0o027, "a=rx": 0o222, "o+w": 0o020, "=": 0o777} {
		if got, ok := parseUmask(text); got != want || !ok {
			t.Errorf("parseUmask(%q) = %04o, %v, want %04o", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "088", "99999", "$mask", "u=q", "rwx"} {
		if got, ok := parseUmask(text); ok {
			t.Errorf("parseUmask(%q) = %04o, want none", text, got)
		}
	}
}

func TestSessionsTellTheWeakestUmask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing", map[string]string{"etc/passwd": ""}, "users 0022 false true false 0\nroot 0022 false true false 0\n"},
		{"login.defs", map[string]string{"etc/login.defs": "UMASK 027\n"}, "users 0027 false false true 1\nroot 0027 false false true 1\n"},
		{"pam over login.defs", map[string]string{"etc/login.defs": "UMASK 022\n", "etc/pam.d/login": "session optional pam_umask.so umask=0077\n"},
			"users 0077 false false true 1\nroot 0077 false false true 1\n"},
		{"shells over login.defs", map[string]string{"etc/login.defs": "UMASK 077\n", "etc/profile": "# umask 000\nif [ $UID -gt 199 ]; then umask 002; else umask 022; fi\n"},
			"users 0002 true true true 2\nroot 0002 true true true 2\n"},
		{"root's own", map[string]string{"etc/profile.d/umask.sh": "umask 027\n", "root/.bashrc": "  umask u=rwx,g=,o= # mine\n", "etc/profile": "[ `umask` = 0 ] && echo umask 000\n"},
			"users 0027 false false true 1\nroot 0077 false false true 1\n"},
		{"asked, not set", map[string]string{"etc/profile": "umask -S\numask\n", "etc/login.defs": "UMASK 027\n"}, "users 0027 false false true 1\nroot 0027 false false true 1\n"},
		{"not known", map[string]string{"etc/profile": "\numask \"$mask\"\n"},
			"users error /etc/profile:2: want a umask in digits or letters\nroot error /etc/profile:2: want a umask in digits or letters\n"},
		{"one of them not known", map[string]string{"etc/profile": "umask $mask\n", "etc/profile.d/x.sh": "umask 077\n", "root/.bashrc": "umask 077\n"},
			"users error /etc/profile:1: want a umask in digits or letters\nroot 0077 false false true 1\n"},
		{"a PAM that does not ask", map[string]string{"etc/login.defs": "UMASK 027\n", "etc/pam.d/login": "session required pam_unix.so\n"}, "users 0022 false true false 0\nroot 0022 false true false 0\n"},
		{"a PAM that asks", map[string]string{"etc/login.defs": "UMASK 027\n", "etc/pam.d/login": "session optional pam_umask.so\n"}, "users 0027 false false true 1\nroot 0027 false false true 1\n"},
	} {
		facts := of(event.Umask, factsOf(t, plant(t, c.files).Sessions))
		if got := values(facts, "octal", "group_write", "other_access", "explicit", "settings"); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestSessionTimeout(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                    "shells <nil> false false false []\n",
		"readonly TMOUT=900 ; export TMOUT\n": "shells 900 true true true [/etc/profile]\n",
		"declare -xr TMOUT=600\n":             "shells 600 true true true [/etc/profile]\n",
		"typeset -r TMOUT=600\n":              "shells 600 true true false [/etc/profile]\n",
		"TMOUT=900\nTMOUT=3600\n":             "shells 3600 true false false [/etc/profile]\n",
		"TMOUT=900\nTMOUT=0\n":                "shells 0 true false false [/etc/profile]\n",
		"export TMOUT='300'\n":                "shells 300 true false true [/etc/profile]\n",
		"# TMOUT=900\nXTMOUT=5\n":             "shells <nil> false false false []\n",
		"if [ x ]; then TMOUT=60; fi":         "shells 60 true false false [/etc/profile]\n",
		"TMOUT=soon":                          "shells 0 true false false [/etc/profile]\n",
	} {
		facts := of(event.SessionTimeout, factsOf(t, plant(t, map[string]string{"etc/profile": text}).Sessions))
		if got := values(facts, "seconds", "set", "readonly", "exported", "files"); got != want {
			t.Errorf("%q: got\n%swant\n%s", text, got, want)
		}
	}
}

func TestRootPath(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd":         "root:x:0:0::/root:/bin/bash\n",
		"etc/login.defs":     "ENV_SUPATH PATH=/usr/bin:/open\n",
		"etc/environment":    "PATH=\"/usr/bin:/none/yet\"\n",
		"root/.bash_profile": "TOOLS=\"$HOME/tools\"\nPATH=$PATH:$HOME/bin:${TOOLS}/bin:.:\nexport PATH=\"/a:${PATH:+:${PATH}}\"\nPATH=$UNKNOWN/bin:~/x\n",
		"etc/crontab":        "PATH=/usr/bin:/cron\n",
		"etc/sudoers":        "Defaults secure_path=\"/usr/bin:/sudo\"\n",
		"usr/bin/true":       "", "open/x": "", "cron/x": "", "root/bin": "a file",
	})
	chmod(t, s, "", 0o755)
	chmod(t, s, "open", 0o777)
	if os.Getuid() != 0 {
		t.Skip("needs root: directories of root")
	}
	same(t, values(of(event.RootPath, factsOf(t, s.Sessions)), "absolute", "exists", "foreign_write", "files"), `
/usr/bin true true false [/etc/login.defs /etc/environment /etc/crontab /etc/sudoers]
/open true true true [/etc/login.defs]
/none/yet true false false [/etc/environment]
/cron true true false [/etc/crontab]
/root/bin true false false [/root/.bash_profile]
/root/tools/bin true false false [/root/.bash_profile]
. false <nil> <nil> [/root/.bash_profile]
(empty) false <nil> <nil> [/root/.bash_profile]
/a true false false [/root/.bash_profile]
$UNKNOWN/bin error /root/.bash_profile: the directory "$UNKNOWN/bin" of PATH is only known to a running shell
/root/x true false false [/root/.bash_profile]
/sudo true false false [/etc/sudoers]
`)
}

func TestShellCommands(t *testing.T) {
	t.Parallel()
	text := "a 'b c' \"d\\\"e\" # comment\nif x; then y=1 && z; fi\nlong \\\n  line\n\"two\nlines\" \nlast#not"
	var got string
	for _, c := range shellCommands("f", text) {
		got += fmt.Sprintf("%d %q\n", c.line, c.words)
	}
	same(t, got, `
1 ["a" "b c" "d\"e"]
2 ["x"]
2 ["y=1"]
2 ["z"]
2 ["fi"]
3 ["long" "line"]
5 ["two\nlines"]
7 ["last#not"]
`)
}

func TestSessionsSurviveLoops(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
	if err := os.Symlink("profile", filepath.Join(s.Root, "etc/profile")); err != nil {
		t.Fatal(err)
	}
	if err := s.Sessions(t.Context(), func(event.Fact) {}); err == nil {
		t.Error("a profile that is a loop of links has no error")
	}
}

func FuzzShellCommands(f *testing.F) {
	f.Add("declare -xr TMOUT=900\numask 027\nexport PATH=\"$HOME/bin:$PATH\"\n")
	f.Add("'\\\n\"`$(a;b)` #")
	f.Fuzz(func(t *testing.T, text string) {
		commands := shellCommands("f", text)
		for _, c := range commands {
			if len(c.words) == 0 || c.line < 1 {
				t.Errorf("command %+v of %q", c, text)
			}
			for _, word := range c.words {
				expandDirectory(word, map[string]string{"HOME": "/root", "A": "$A$HOME"})
			}
		}
		shellUmasks(commands)
		sessionTimeout(commands)
		parseDoas("f", text)
	})
}
