package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestCronJobs(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of root")
	}
	s := plant(t, map[string]string{
		"etc/passwd":                    "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
		"etc/crontab":                   "# jobs\nSHELL=/bin/sh\nPATH=/bin\n17 * * * *\troot\tcd / && /opt/job --password SECRET > /var/log/x\n@daily alice /opt/job\n* * * * * root\n",
		"etc/cron.d/more":               "* * * * * ghost test -x /opt/open/job && /opt/open/job\n",
		"etc/cron.d/backup~":            "nonsense\n",
		"etc/anacrontab":                "START_HOURS_RANGE=3-22\n1 5 cron.daily nice run-parts /etc/cron.daily\n",
		"var/spool/cron/crontabs/alice": "*/5 * * * * /home/alice/job.sh\n",
		"var/spool/cron/root":           "@reboot /opt/open/job\n",
		"etc/crontabs/alice":            "",
		"etc/cron.daily/clean":          "#!/bin/sh\n",
		"etc/periodic/daily/open":       "#!/bin/sh\n",
		"opt/job":                       "",
		"opt/open/job":                  "",
		"home/alice/job.sh":             "",
		"home/alice/.bashrc":            "",
		"usr/bin/crontab":               "",
		"usr/bin/at":                    "",
		"etc/cron.allow":                "root\nalice\n",
		"etc/at.deny":                   "",
	})
	chmod(t, s, "", 0o755)
	for _, file := range []string{"opt/job", "opt/open/job"} {
		chmod(t, s, file, 0o755)
	}
	chmod(t, s, "opt/open", 0o777)
	chmod(t, s, "etc/periodic/daily/open", 0o777)
	chmod(t, s, "etc/cron.allow", 0o640)
	own(t, s, "home/alice", 1000)
	facts := factsOf(t, s.Cron)
	same(t, values(of(event.CronJob, facts), "user", "root", "programs", "foreign_write", "writable"), `
/etc/crontab:6 error /etc/crontab:6: want times, a user in tables of the machine, and a command
/etc/crontab:4 root true [/opt/job] false []
/etc/crontab:5 alice false [/opt/job] false []
/etc/cron.d/more:1 ghost false [/opt/open/job] true [/opt/open/job]
/etc/anacrontab:2 root true [] false []
/var/spool/cron/crontabs/alice:1 alice false [/home/alice/job.sh] false []
/var/spool/cron/root:1 root true [/opt/open/job] true [/opt/open/job]
/etc/cron.daily/clean root true [/etc/cron.daily/clean] false []
/etc/periodic/daily/open root true [/etc/periodic/daily/open] true [/etc/periodic/daily/open]
`)
	same(t, values(of(event.Scheduler, facts), "allow_exists", "allow_users", "deny_exists", "limited", "guarded"), `
cron true [root alice] false true true
at false <nil> true false false
`)
}

func TestDaemonsOfCron(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		files map[string]string
		links map[string]string
		want  string
	}{
		"systemd":         {map[string]string{"usr/lib/systemd/systemd": "", "etc/systemd/system/multi-user.target.wants/cron.service": ""}, nil, "cron true <nil>\n"},
		"another name":    {map[string]string{"usr/lib/systemd/systemd": "", "etc/systemd/system/multi-user.target.wants/crond.service": ""}, nil, "cron true <nil>\n"},
		"nobody wants it": {map[string]string{"usr/lib/systemd/systemd": "", "etc/rc2.d/S01cron": ""}, nil, "cron false <nil>\n"},
		"masked": {map[string]string{"usr/lib/systemd/systemd": "", "etc/systemd/system/multi-user.target.wants/cron.service": ""}, map[string]string{"root/etc/systemd/system/cron.service": "/dev/null"},
			"cron false <nil>\n"},
		"OpenRC":   {map[string]string{"etc/runlevels/default/crond": ""}, nil, "cron true <nil>\n"},
		"System V": {map[string]string{"etc/rc2.d/S01cron": ""}, nil, "cron true <nil>\n"},
		"off":      {map[string]string{"etc/rc2.d/K01cron": ""}, nil, "cron false <nil>\n"},
	} {
		all := map[string]string{"root/usr/bin/crontab": ""}
		for file, text := range x.files {
			all["root/"+file] = text
		}
		s := plant(t, all)
		s.Root = filepath.Join(s.Root, "root")
		linkAll(t, s, x.links)
		if got := values(of(event.Scheduler, factsOf(t, s.Cron)), "enabled", "running"); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	for exe, want := range map[string]string{"/usr/sbin/cron": "true", "/bin/busybox": "true", "/home/alice/x": "false"} {
		s := plantLive(t, map[string]string{"root/usr/bin/crontab": "", "proc/7/comm": "cron\n"})
		linkAll(t, s, map[string]string{"proc/7/exe": exe})
		same(t, values(of(event.Scheduler, factsOf(t, s.Cron)), "running"), "cron "+want+"\n")
	}
}

func TestPolkit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		grants int64
		all    bool
	}{
		"": {},
		"polkit.addRule(function(action, subject) { return polkit.Result.YES; });":                                                {1, true},
		"// return polkit.Result.YES\n/* polkit.Result.YES */":                                                                    {},
		"polkit.addRule(function(a, s) { if (a.id == \"x\") { return polkit.Result.YES; } });":                                    {1, false},
		"polkit.addRule(function(a, s) { if (a.id == 'x//') return polkit.Result.YES;\n});\npolkit.addRule(f=>polkit.Result.YES)": {2, true},
		"polkit.addRule(function(a, s) { return polkit.Result.NO; });":                                                            {},
		"/* open": {},
	} {
		if grants, all := polkitRules(text); grants != want.grants || all != want.all {
			t.Errorf("polkitRules(%q) = %d, %v, want %v", text, grants, all, want)
		}
	}
	s := plant(t, map[string]string{
		"etc/polkit-1/rules.d/10-all.rules":                                        "polkit.addRule(function(action, subject) { return polkit.Result.YES; });",
		"usr/share/polkit-1/rules.d/50-default.rules":                              "polkit.addAdminRule(function(a, s) { return [\"unix-group:sudo\"]; });",
		"etc/polkit-1/localauthority/50-local.d/a.pkla":                            "[all]\nIdentity=unix-user:*\nAction=*\nResultAny=yes\nResultActive=auth_admin\n",
		"var/lib/polkit-1/localauthority/10-vendor.d/org.freedesktop.package.pkla": "[a]\nIdentity=unix-group:sudo\nAction=org.a.b\nResultActive=yes\n",
	})
	same(t, values(factsOf(t, s.Polkit), "vendor", "grants", "grants_all"), `
/etc/polkit-1/rules.d/10-all.rules false 1 true
/usr/share/polkit-1/rules.d/50-default.rules true 0 false
/etc/polkit-1/localauthority/50-local.d/a.pkla false 1 true
/var/lib/polkit-1/localauthority/10-vendor.d/org.freedesktop.package.pkla true 1 false
`)
}

func TestSecureTTY(t *testing.T) {
	t.Parallel()
	same(t, values(factsOf(t, plant(t, map[string]string{"etc/securetty": "# console\nconsole\n/dev/tty1\n"}).SecureTTY), "terminals", "remote"), "/etc/securetty [console tty1] false\n")
	same(t, values(factsOf(t, plant(t, map[string]string{"etc/securetty": "pts/0\n"}).SecureTTY), "remote"), "/etc/securetty true\n")
	same(t, values(factsOf(t, plant(t, map[string]string{"etc/securetty": ""}).SecureTTY), "terminals", "remote"), "/etc/securetty [] false\n")
}

func TestAccessFiles(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/crontab": "", "etc/sudoers.d/a": "", "etc/pam.d/x": "", "var/spool/cron/root": "", "var/spool/cron/crontabs/alice": "", "etc/profile": ""})
	chmod(t, s, "etc/crontab", 0o600)
	if err := os.Symlink("/etc/pam.d/x", filepath.Join(s.Root, "etc/pam.d/y")); err != nil {
		t.Fatal(err)
	}
	purposes := map[string]int{}
	for _, f := range factsOf(t, s.AccessFiles) {
		purposes[f.Values["purpose"].(string)]++
		if f.Subject == "/etc/crontab" && f.Values["mode_octal"] != "0600" || f.Subject == "/etc/cron.d" && f.Values["exists"] != false {
			t.Errorf("fact %v", f)
		}
	}
	if purposes["pam_service"] != 2 || purposes["sudoers_part"] != 1 || purposes["crontab"] != 1 || purposes["crontab_of_user"] != 2 {
		t.Errorf("files by purpose: %v", purposes)
	}
}

func FuzzCron(f *testing.F) {
	f.Add("17 * * * * root cd / && run-parts /etc/cron.hourly\nPATH=/bin\n@reboot root x\n")
	f.Add("1 5 cron.daily run\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, table := range []cronTable{{file: "t"}, {file: "t", user: "root"}, {file: "t", user: "root", anacron: true}} {
			jobs, _ := parseCron(table, text)
			for _, job := range jobs {
				if job.command == "" || job.user == "" && table.user != "" {
					t.Errorf("job %+v of %q", job, text)
				}
			}
		}
		polkitRules(text)
		polkitAuthority(text)
	})
}
