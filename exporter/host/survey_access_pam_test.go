package host

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// Stacks as distributions have them, and as administrators make them of those.
var (
	debianPAM = map[string]string{
		"etc/pam.d/common-auth":     "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\nauth optional pam_cap.so\n",
		"etc/pam.d/common-account":  "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n",
		"etc/pam.d/common-password": "password [success=1 default=ignore] pam_unix.so obscure yescrypt\npassword requisite pam_deny.so\npassword required pam_permit.so\n",
		"etc/pam.d/sshd":            "# comment\n@include common-auth\naccount required pam_nologin.so\n@include common-account\n@include common-password\n",
		"etc/pam.d/su":              "auth sufficient pam_rootok.so\n@include common-auth\n@include common-account\n",
		"etc/pam.d/other":           "@include common-auth\n@include common-account\n@include common-password\n",
	}
	hardPAM = map[string]string{
		"etc/pam.d/common-auth": "auth requisite pam_faillock.so preauth\nauth [success=2 default=ignore] pam_unix.so try_first_pass\n" +
			"auth [default=die] pam_faillock.so authfail\nauth requisite pam_deny.so\nauth required pam_permit.so\n",
		"etc/pam.d/common-account": "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so\naccount required pam_faillock.so\n",
		"etc/pam.d/common-password": "password requisite pam_pwquality.so retry=3\npassword requisite pam_pwhistory.so remember=24 enforce_for_root use_authtok\n" +
			"password [success=1 default=ignore] pam_unix.so obscure use_authtok try_first_pass yescrypt\npassword requisite pam_deny.so\npassword required pam_permit.so\n",
		"etc/pam.d/sshd":                       "@include common-auth\n@include common-account\n@include common-password\n",
		"etc/pam.d/su":                         "auth sufficient pam_rootok.so\nauth required pam_wheel.so use_uid group=sugroup\n@include common-auth\n@include common-account\n",
		"etc/group":                            "sugroup:x:900:\n",
		"etc/passwd":                           "root:x:0:0::/root:/bin/sh\n",
		"etc/security/faillock.conf":           "# locked out\ndeny = 5\nunlock_time = 900\neven_deny_root\nroot_unlock_time=60\n",
		"etc/security/pwquality.conf":          "minlen = 14\ndifok = 2\nminclass = 4\n",
		"etc/security/pwquality.conf.d/a.conf": "minlen = 8\nmaxrepeat = 3\nmaxsequence = 3\nenforce_for_root\n",
	}
	redHatPAM = map[string]string{
		"etc/pam.d/system-auth": `auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        required                                     pam_faillock.so preauth silent
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        sufficient                                   pam_sss.so forward_pass
auth        required                                     pam_faillock.so authfail
auth        required                                     pam_deny.so
account     required                                     pam_faillock.so
account     required                                     pam_unix.so
password    requisite                                    pam_pwquality.so local_users_only
password    sufficient                                   pam_unix.so sha512 shadow nullok use_authtok
password    required                                     pam_deny.so
session     optional                                     pam_keyinit.so revoke
-session    optional                                     pam_systemd.so
session     [success=1 default=ignore]                   pam_succeed_if.so service in crond quiet use_uid
session     required                                     pam_unix.so
`,
		"etc/pam.d/sshd":      "auth       substack     system-auth\nauth       include      postlogin\naccount    required     pam_sepermit.so\naccount    include      system-auth\npassword   include      system-auth\nsession    include      system-auth\n",
		"etc/pam.d/postlogin": "session optional pam_umask.so silent\n",
		"etc/pam.d/other":     "auth     required       pam_deny.so\naccount  required       pam_deny.so\npassword required       pam_deny.so\nsession  required       pam_deny.so\n",
	}
)

func TestPAMStacksOfDistributions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		files  map[string]string
		fields string
		want   string
	}{
		{"Debian", debianPAM, "service type included open denies locks counts_failures nullok unix rootok wheel", `
common-account:account common-account account true <nil> false <nil> <nil> false true <nil> <nil>
common-auth:auth common-auth auth true false false false false true true false false
common-password:password common-password password true <nil> false <nil> <nil> false true <nil> <nil>
other:auth other auth false false false false false true true false false
other:account other account false <nil> false <nil> <nil> false true <nil> <nil>
other:password other password false <nil> false <nil> <nil> false true <nil> <nil>
sshd:auth sshd auth false false false false false true true false false
sshd:account sshd account false <nil> false <nil> <nil> false true <nil> <nil>
sshd:password sshd password false <nil> false <nil> <nil> false true <nil> <nil>
su:auth su auth false false false false false true true true false
su:account su account false <nil> false <nil> <nil> false true <nil> <nil>
`},
		{"Debian, hardened", hardPAM, "open denies locks counts_failures nullok faillock wheel wheel_group wheel_users", `
common-account:account <nil> false <nil> <nil> false true <nil> <nil> <nil>
common-auth:auth false false true true false true false <nil> <nil>
common-password:password <nil> false <nil> <nil> false false <nil> <nil> <nil>
sshd:auth false false true true false true false <nil> <nil>
sshd:account <nil> false <nil> <nil> false true <nil> <nil> <nil>
sshd:password <nil> false <nil> <nil> false false <nil> <nil> <nil>
su:auth false false true true false true true sugroup 0
su:account <nil> false <nil> <nil> false true <nil> <nil> <nil>
`},
		{"Red Hat", redHatPAM, "included open denies locks counts_failures nullok quality history unix_hash unix_use_authtok", `
other:auth false false true false false false <nil> <nil> <nil> <nil>
other:account false <nil> true <nil> <nil> false <nil> <nil> <nil> <nil>
other:password false <nil> true <nil> <nil> false false false <nil> <nil>
other:session false <nil> true <nil> <nil> false <nil> <nil> <nil> <nil>
postlogin:session true <nil> false <nil> <nil> false <nil> <nil> <nil> <nil>
sshd:auth false false false true true true <nil> <nil> <nil> <nil>
sshd:account false <nil> false <nil> <nil> false <nil> <nil> <nil> <nil>
sshd:password false <nil> false <nil> <nil> true true false sha512 true
sshd:session false <nil> false <nil> <nil> false <nil> <nil> <nil> <nil>
system-auth:auth true false false true true true <nil> <nil> <nil> <nil>
system-auth:account true <nil> false <nil> <nil> false <nil> <nil> <nil> <nil>
system-auth:password true <nil> false <nil> <nil> true true false sha512 true
system-auth:session true <nil> false <nil> <nil> false <nil> <nil> <nil> <nil>
`},
	} {
		facts := of(event.PAM, factsOf(t, plant(t, c.files).PAM))
		if got := values(facts, strings.Fields(c.fields)...); got != strings.TrimLeft(c.want, "\n") {
			t.Errorf("%s: got\n%swant%s", c.name, got, c.want)
		}
	}
}

func TestPAMDecides(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, auth, field, want string }{
		{"permit is open", "auth required pam_permit.so\n", "open", "true"},
		{"nothing but optional fails", "auth optional pam_unix.so\n", "open", "false"},
		{"sufficient before permit is open", "auth sufficient pam_unix.so\nauth required pam_permit.so\n", "open", "true"},
		{"faillock alone lets in if nothing denies", "auth required pam_faillock.so preauth\nauth sufficient pam_unix.so\n", "open", "true"},
		{"deny behind it", "auth required pam_faillock.so preauth\nauth sufficient pam_unix.so\nauth required pam_deny.so\n", "open", "false"},
		{"jump over deny by mistake", "auth [success=1 default=1] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n", "open", "true"},
		{"jump too far fails", "auth [success=3 default=ignore] pam_unix.so\nauth required pam_permit.so\n", "denies", "true"},
		{"die ends", "auth [success=ok default=die] pam_unix.so\nauth required pam_permit.so\n", "open", "false"},
		{"reset forgets", "auth required pam_unix.so\nauth [default=reset] pam_warn.so\nauth required pam_permit.so\n", "open", "true"},
		{"unnamed results are bad", "auth [success=ok] pam_unix.so\nauth required pam_permit.so\n", "open", "false"},
		{"tally2 locks and counts", "auth required pam_tally2.so deny=5\nauth required pam_unix.so\n", "counts_failures", "true"},
		{"tally2 that is optional does not lock", "auth optional pam_tally2.so deny=5\nauth required pam_unix.so\n", "locks", "false"},
		{"faillock behind unix does not lock", "auth sufficient pam_unix.so\nauth required pam_faillock.so preauth\nauth required pam_deny.so\n", "locks", "false"},
		{"authfail is not reached", "auth requisite pam_unix.so\nauth [default=die] pam_faillock.so authfail\n", "counts_failures", "false"},
		{"wheel", "auth sufficient pam_rootok.so\nauth required pam_wheel.so\nauth required pam_unix.so\n", "wheel", "true"},
		{"wheel with trust lets others in", "auth sufficient pam_wheel.so trust\nauth required pam_unix.so\n", "wheel", "false"},
		{"wheel that is commented out", "#auth required pam_wheel.so\nauth required pam_unix.so\n", "wheel", "false"},
		{"wheel behind sufficient", "auth sufficient pam_unix.so\nauth required pam_wheel.so\n", "wheel", "false"},
		{"substack ends at done", "auth substack inner\nauth required pam_deny.so\n", "denies", "true"},
		{"include ends all at done", "auth include inner\nauth required pam_deny.so\n", "denies", "false"},
		{"jump over a substack", "auth [success=1 default=ignore] pam_unix.so\nauth substack denying\nauth required pam_permit.so\n", "denies", "false"},
		{"lines are joined", "auth \\\n required \\\n pam_permit.so\n", "open", "true"},
		{"types and controls in capitals", "AUTH Required pam_permit.so\n", "open", "true"},
		{"a module that is not there does not matter behind a minus", "-auth required pam_none.so\nauth required pam_permit.so\n", "modules", "[permit]"},
		{"arguments in brackets", "auth required pam_unix.so [nullok]\n", "nullok", "true"},
		{"argument in a path", "auth required /lib/security/pam_unix.so nullok_secure\n", "nullok", "true"},
	} {
		s := plant(t, map[string]string{"etc/pam.d/x": c.auth, "etc/pam.d/inner": "auth sufficient pam_unix.so\n", "etc/pam.d/denying": "auth required pam_deny.so\nauth required pam_deny.so\n"})
		for _, f := range of(event.PAM, factsOf(t, s.PAM)) {
			if got := fmt.Sprint(f.Values[c.field]); f.Subject == "x:auth" && got != c.want {
				t.Errorf("%s: %s is %s, want %s (%v)", c.name, c.field, got, c.want, f)
			}
		}
	}
}

func TestPAMOptionsOfModules(t *testing.T) {
	t.Parallel()
	quality := strings.Fields("enabled module minlen shortest difok classes maxrepeat maxsequence dictcheck enforcing enforce_for_root retry")
	lock := strings.Fields("enabled module deny fail_interval unlock_time even_deny_root root_unlock_time")
	past := strings.Fields("enabled module remember enforce_for_root use_authtok")
	for _, c := range []struct {
		name              string
		files, more       map[string]string
		lock, length, old string
	}{
		{"Debian", debianPAM, nil, "none false none <nil> <nil> <nil> <nil> <nil>\n",
			"none false none <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>\n", "none false none <nil> <nil> <nil>\n"},
		{"Debian, hardened", hardPAM, nil, "/etc/pam.d/common-auth true faillock 5 900 900 true 60\n",
			"/etc/pam.d/common-password true pwquality 14 14 2 4 3 3 true true true 3\n", "/etc/pam.d/common-password true pwhistory 24 true true\n"},
		{"Red Hat", redHatPAM, nil, "/etc/pam.d/system-auth true faillock 3 900 600 false 600\n",
			"/etc/pam.d/system-auth true pwquality 8 8 1 0 0 0 true true false 1\n", "none false none <nil> <nil> <nil>\n"},
		{"arguments over files", redHatPAM, map[string]string{
			"etc/pam.d/system-auth": "auth required pam_faillock.so preauth deny=10 unlock_time=never\nauth sufficient pam_unix.so\nauth required pam_faillock.so authfail deny=10 unlock_time=never\n" +
				"password requisite pam_pwquality.so minlen=15 dcredit=2 ucredit=-1 lcredit=-1 dictcheck=0 enforcing=0 enforce_for_root\npassword required pam_unix.so remember=5 use_authtok\n",
			"etc/security/faillock.conf": "deny = 3\n", "etc/security/pwquality.conf": "minlen = 6\n",
		}, "/etc/pam.d/system-auth true faillock 10 900 0 false 0\n", "/etc/pam.d/system-auth true pwquality 15 13 1 2 0 0 false false true 1\n", "/etc/pam.d/system-auth true unix 5 false true\n"},
		{"older modules", nil, map[string]string{"etc/pam.d/x": "auth required pam_tally2.so deny=5 even_deny_root unlock_time=1200\nauth required pam_unix.so\n" +
			"password requisite pam_cracklib.so minlen=14 dcredit=-1\npassword required pam_pwhistory.so\npassword required pam_unix.so\n"},
			"/etc/pam.d/x true tally2 5 900 1200 true 1200\n", "/etc/pam.d/x true cracklib 14 11 5 1 0 0 true true false 1\n", "/etc/pam.d/x true pwhistory 10 false false\n"},
		{"passwdqc", nil, map[string]string{"etc/pam.d/x": "password requisite pam_passwdqc.so min=disabled,disabled,16,12,10\npassword required pam_unix.so\n"},
			"none false none <nil> <nil> <nil> <nil> <nil>\n", "/etc/pam.d/x true passwdqc 10 10 <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>\n", "none false none <nil> <nil> <nil>\n"},
		{"not numbers", nil, map[string]string{"etc/pam.d/x": "auth required pam_faillock.so preauth deny=few\npassword required pam_pwquality.so minlen=x\npassword required pam_pwhistory.so remember=x\n"},
			"/etc/pam.d/x error /etc/pam.d/x:1: want a number as deny of faillock\n", "/etc/pam.d/x error /etc/pam.d/x:2: want a number as minlen of pwquality\n",
			"/etc/pam.d/x error /etc/pam.d/x:3: want a number as remember of pwhistory\n"},
	} {
		files := map[string]string{}
		maps.Copy(files, c.files)
		maps.Copy(files, c.more)
		facts := factsOf(t, plant(t, files).PAM)
		for _, of := range [][2]string{
			{values(of(event.FailLock, facts), lock...), c.lock}, {values(of(event.PasswordQuality, facts), quality...), c.length}, {values(of(event.PasswordHistory, facts), past...), c.old},
		} {
			if of[0] != of[1] {
				t.Errorf("%s: got\n%swant\n%s", c.name, of[0], of[1])
			}
		}
	}
}

func TestPAMSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"auth required\n":                       "/etc/pam.d/x:1: want a control and a module behind the type",
		"\nauht required pam_unix.so\n":         "/etc/pam.d/x:2: want auth, account, password or session",
		"auth needed pam_unix.so\n":             "/etc/pam.d/x:1: want required, requisite, sufficient, optional, include, substack or [value=action …] as control",
		"auth [success=maybe] pam_unix.so\n":    "/etc/pam.d/x:1: want required, requisite, sufficient, optional, include, substack or [value=action …] as control",
		"auth [success=ok pam_unix.so\n":        "/etc/pam.d/x:1: want a control and a module behind the type",
		"@include\n":                            "/etc/pam.d/x:1: want @include and the name of a service",
		"auth include nowhere\n":                "nowhere: there is no such service",
		"auth include x\n":                      "/etc/pam.d/x: services include each other more than 16 deep",
		strings.Repeat("auth include x\n", 100): "/etc/pam.d/x: services include each other more than 16 deep",
	} {
		facts := factsOf(t, plant(t, map[string]string{"etc/pam.d/x": text}).PAM)
		found := false
		for _, f := range facts {
			found = found || f.Err() == want
		}
		if !found {
			t.Errorf("%q: want the error %q in %v", text, want, facts)
		}
	}
}

func TestPAMOfVendorsIsBehindTheAdministrators(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/lib/pam.d/x": "auth required pam_permit.so\n", "usr/lib/pam.d/y": "auth required pam_permit.so\n", "etc/pam.d/x": "auth required pam_deny.so\n",
		"etc/pam.d/x.rpmsave": "auth required pam_permit.so\n", "etc/pam.d/x~": "", "etc/pam.d/dir/file": "",
	})
	if err := os.Symlink("/usr/lib/pam.d/y", filepath.Join(s.Root, "etc/pam.d/link")); err != nil {
		t.Fatal(err)
	}
	same(t, values(of(event.PAM, factsOf(t, s.PAM)), "open", "modules"), "link:auth true [permit]\nx:auth false [deny]\ny:auth true [permit]\n")
}

func FuzzPAM(f *testing.F) {
	for _, files := range []map[string]string{debianPAM, hardPAM, redHatPAM} {
		for _, text := range files {
			f.Add(text)
		}
	}
	f.Add("auth [success=99999 default=-1] \\\n pam_unix.so [a\\]b] #\n@include x\nauth substack x\n-auth optional pam_unix.so")
	f.Fuzz(func(t *testing.T, text string) {
		lines, _ := parsePAM("x", text)
		r := &pamReader{s: &Surveys{Root: t.TempDir()}, files: map[string]*pamFile{"x": {path: "x", lines: lines}}}
		for _, kind := range pamTypes {
			stack, _, err := r.stack("x", kind)
			if err != nil {
				continue
			}
			stack.open()
			stack.denies()
			stack.locks()
			stack.countsFailures()
			stack.refuses("wheel")
			withNewPasswords(event.PAM.New("x", ""), stack, "YESCRYPT")
		}
	})
}
