package host

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// accessFiles are the files whose modes matter to who may come in, beside those of accounts.
var accessFiles = []struct{ purpose, path string }{
	{"crontab", "/etc/crontab"},
	{"cron_hourly", "/etc/cron.hourly"},
	{"cron_daily", "/etc/cron.daily"},
	{"cron_weekly", "/etc/cron.weekly"},
	{"cron_monthly", "/etc/cron.monthly"},
	{"cron_yearly", "/etc/cron.yearly"},
	{"cron_d", "/etc/cron.d"},
	{"sshd_config", "/etc/ssh/sshd_config"},
	{"sshd_config_d", "/etc/ssh/sshd_config.d"},
	{"sudoers", "/etc/sudoers"},
	{"sudoers_d", "/etc/sudoers.d"},
	{"doas_conf", "/etc/doas.conf"},
	{"pam_d", "/etc/pam.d"},
	{"security_d", "/etc/security"},
	{"login_defs", "/etc/login.defs"},
	{"hosts_equiv", "/etc/hosts.equiv"},
	{"shosts_equiv", "/etc/ssh/shosts.equiv"},
	{"polkit_rules_d", "/etc/polkit-1/rules.d"},
	{"profile_part", "/etc/profile"},
	{"profile_part", "/etc/profile.d"},
	{"profile_part", "/etc/bash.bashrc"},
	{"profile_part", "/etc/bashrc"},
	{"profile_part", "/etc/environment"},
}

// AccessFiles reports the files that decide who may come in, and what is included in them.
func (s *Surveys) AccessFiles(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	for _, f := range accessFiles {
		report(s.fileFact(f.purpose, f.path))
	}
	for _, g := range []struct{ purpose, pattern string }{
		{"sshd_config_part", "/etc/ssh/sshd_config.d/*.conf"}, {"sudoers_part", "/etc/sudoers.d/*"}, {"pam_service", "/etc/pam.d/*"},
		{"cron_part", "/etc/cron.d/*"}, {"profile_part", "/etc/profile.d/*.sh"},
	} {
		files, err := s.glob(g.pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			report(s.fileFact(g.purpose, file))
		}
	}
	for _, pattern := range userTables {
		files, err := s.cronFiles(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			report(s.fileFact("crontab_of_user", file))
		}
	}
	return nil
}

// SecureTTY reports on which terminals root may log in.
func (s *Surveys) SecureTTY(_ context.Context, report func(event.Fact)) error {
	const file = "/etc/securetty"
	if found, err := s.firstOf(file); err != nil || found == "" {
		return err
	}
	text, err := s.readIfAny(file)
	if err != nil {
		return err
	}
	var terminals []string
	for _, line := range settings(text, "\x00") {
		terminals = append(terminals, strings.TrimPrefix(line.name, "/dev/"))
	}
	remote := slices.ContainsFunc(terminals, func(t string) bool {
		return strings.HasPrefix(t, "pts") || strings.HasPrefix(t, "ttyp") || strings.HasPrefix(t, ":")
	})
	report(event.SecureTTY.New(file, file).Set("terminals", terminals).Set("remote", remote))
	return nil
}

// Polkit reports the files of polkit's rules.
func (s *Surveys) Polkit(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	who, err := s.userNumbers()
	if err != nil {
		return err
	}
	daemon := who["polkitd"] // whose its directories are, by packages; 0 if there is none
	for _, pattern := range []string{
		"/etc/polkit-1/rules.d/*.rules", "/run/polkit-1/rules.d/*.rules", "/usr/local/share/polkit-1/rules.d/*.rules", "/usr/share/polkit-1/rules.d/*.rules",
		"/etc/polkit-1/localauthority/*/*.pkla", "/var/lib/polkit-1/localauthority/*/*.pkla",
	} {
		files, err := s.glob(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			report(s.polkitFile(file, daemon))
		}
	}
	return nil
}

func (s *Surveys) polkitFile(file string, daemon int64) event.Fact {
	f := event.Polkit.New(file, file).Set("vendor", strings.HasPrefix(file, "/usr/share/") || strings.Contains(file, "/10-vendor.d/"))
	text, err := s.readIfAny(file)
	if err != nil {
		return f.Fail(err)
	}
	grants, all := polkitRules(text)
	if strings.HasSuffix(file, ".pkla") {
		grants, all = polkitAuthority(text)
	}
	_, foreign, err := s.foreignWrite(file, daemon)
	if err != nil {
		return f.Fail(err)
	}
	return f.Set("grants", grants).Set("grants_all", all).Set("foreign_write", foreign)
}

// polkitRules counts where JavaScript says yes. It is not run: that nothing is tested is taken from a function without a condition.
func polkitRules(text string) (grants int64, all bool) {
	code := withoutComments(text)
	for rule := range strings.SplitSeq(code, "addRule") {
		n := strings.Count(rule, "Result.YES")
		grants += int64(n)
		before, _, _ := strings.Cut(rule, "Result.YES")
		tested := slices.ContainsFunc([]string{"if", "?", "switch", "&&"}, func(word string) bool { return strings.Contains(before, word) })
		all = all || n > 0 && !tested
	}
	return grants, all
}

// withoutComments blanks the comments of JavaScript out, but not what looks like one in a string.
func withoutComments(text string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == '\\' && i+1 < len(text) {
				b.WriteByte(c)
				i++
				c = text[i]
			} else if c == quote || c == '\n' && quote != '`' {
				quote = 0
			}
			b.WriteByte(c)
		case strings.HasPrefix(text[i:], "//"):
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				return b.String()
			}
			i += end + 3
		default:
			if c == '"' || c == '\'' || c == '`' {
				quote = c
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}

// polkitAuthority counts the yes of a .pkla.
func polkitAuthority(text string) (grants int64, all bool) {
	identity, action := "", ""
	for _, line := range settings(text, "=") {
		switch line.name {
		case "Identity":
			identity = line.value
		case "Action":
			action = line.value
		case "ResultAny", "ResultInactive", "ResultActive":
			if line.value == "yes" {
				grants++
				all = all || action == "*" || identity == "unix-user:*" && path.Base(action) == "*"
			}
		}
	}
	return grants, all
}
