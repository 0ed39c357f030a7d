package host

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// Sudo reports the options of sudo and what it lets whom do, and the same of doas.
func (s *Surveys) Sudo(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	program, err := s.firstOf("/usr/bin/sudo", "/bin/sudo", "/usr/local/bin/sudo")
	if err != nil {
		return err
	}
	if program == "" {
		if found, err := s.firstOf(passwdFile); err != nil || found == "" {
			return err // nobody to run it either
		}
		report(event.Sudo.New("sudo", "").Set("installed", false))
		return s.doas(report)
	}
	c, err := s.sudoers()
	if err != nil {
		return err
	}
	for _, err := range c.errs {
		report(event.Sudo.New(c.file, c.file).Fail(err))
		report(event.SudoRule.New(c.file, c.file).Fail(err))
	}
	for _, e := range c.wrong {
		report(e.fact(event.Sudo))
		report(e.fact(event.SudoRule))
	}
	version, err := s.sudoVersion(program)
	if err != nil {
		return err
	}
	c.reportOptions(version, report)
	s.reportSudoRules(c, report)
	return s.doas(report)
}

var sudoVersion = regexp.MustCompile(`\x00(1\.[6-9]\.\d{1,2}(?:p\d{1,2})?)\x00`)

// sudoVersion looks for the version in the program or its plug-in; empty if it is not to be found.
func (s *Surveys) sudoVersion(program string) (string, error) {
	files := []string{program}
	for _, pattern := range []string{"/usr/lib/sudo/sudoers.so", "/usr/libexec/sudo/sudoers.so", "/usr/lib*/*/sudo/sudoers.so"} {
		found, err := s.glob(pattern)
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	for _, file := range files {
		data, err := s.read(file, maxFile)
		if Absent(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		if m := sudoVersion.FindSubmatch(data); m != nil {
			return string(m[1]), nil
		}
	}
	return "", nil
}

// since says whether a version of sudo is 1.9.MINOR or later.
func since(version string, minor int64) bool {
	rest, ok := strings.CutPrefix(version, "1.9.")
	number, _, _ := strings.Cut(rest, "p")
	return ok && numberOr(number, -1) >= minor
}

// securePath is the value of the option, empty if it is off.
func (c *sudoers) securePath() string { return c.option("", "secure_path").value }

// A sudoOption is what an option is in the end.
type sudoOption struct {
	given bool
	on    bool
	value string
	words []string // of a list
	file  string
	line  int
}

// option is what the lines for all, and behind them those of a scope, make of an option.
func (c *sudoers) option(scope, name string) (o sudoOption) {
	for _, of := range []string{"", scope} {
		for _, d := range c.defaults {
			if d.scope != of || d.name != name {
				continue
			}
			o.given, o.on, o.file, o.line = true, !d.off, d.file, d.line
			switch {
			case d.off:
				o.value, o.words = "", nil
			case d.op == "+=":
				o.words = append(o.words, strings.Fields(d.value)...)
			case d.op == "-=":
				gone := strings.Fields(d.value)
				o.words = slices.DeleteFunc(o.words, func(w string) bool { return slices.Contains(gone, w) })
			default:
				o.value, o.words = d.value, strings.Fields(d.value)
			}
		}
		if scope == "" {
			break
		}
	}
	return o
}

func (c *sudoers) reportOptions(version string, report func(event.Fact)) {
	report(c.options("", c.file, version))
	seen := map[string]bool{"": true}
	for _, d := range c.defaults {
		if seen[d.scope] {
			continue
		}
		if seen[d.scope] = true; len(seen) <= maxSudoScopes {
			report(c.options(d.scope, place(d.file, d.line), version))
		}
	}
	if len(seen) > maxSudoScopes {
		report(event.Sudo.New(c.file, c.file).Fail(fmt.Errorf("%s: there are options of more than %d scopes", c.file, maxSudoScopes)))
	}
}

// Variables that make programs load or run what they name: by their beginnings, and by their names.
var (
	riskyPrefixes  = []string{"LD_", "PYTHON", "PERL", "RUBY", "NODE_", "JAVA_TOOL"}
	riskyVariables = []string{"BASH_ENV", "ENV", "IFS", "PATH", "SHELLOPTS", "PS4", "EDITOR", "VISUAL", "GCONV_PATH"}
)

// riskyVariable says whether a variable, or a pattern of some, is one of them.
func riskyVariable(name string) bool {
	name, _, _ = strings.Cut(name, "=")
	if strings.Contains(name, "*") && len(strings.TrimRight(name, "*")) < 2 {
		return true
	}
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return slices.Contains(riskyVariables, name) || slices.ContainsFunc(riskyPrefixes, begins)
}

func (c *sudoers) options(scope, source, version string) event.Fact {
	subject := c.file
	if scope != "" {
		subject = "Defaults" + scope
	}
	f := event.Sudo.New(subject, source).Set("installed", true).Set("scope", scope)
	if version != "" {
		f.Set("version", version)
	}
	for _, flag := range []struct {
		name      string
		otherwise bool
	}{
		{"authenticate", true}, {"use_pty", since(version, 14)}, {"syslog", true}, {"log_input", false}, {"log_output", false}, {"env_reset", true},
		{"setenv", false}, {"visiblepw", false}, {"pwfeedback", false}, {"noexec", false}, {"requiretty", false},
	} {
		if o := c.option(scope, flag.name); o.given {
			f.Set(flag.name, o.on)
		} else {
			f.Set(flag.name, flag.otherwise)
		}
	}
	f.Set("targetpw", c.option(scope, "targetpw").on || c.option(scope, "rootpw").on || c.option(scope, "runaspw").on)
	f.Set("logfile", c.option(scope, "logfile").value)
	risky := slices.DeleteFunc(slices.Clone(c.option(scope, "env_keep").words), func(w string) bool { return !riskyVariable(w) })
	f.Set("env_keep_risky", risky).Set("keeps_risky", len(risky) > 0)
	if o := c.option(scope, "secure_path"); o.on && o.value != "" {
		f.Set("secure_path", words(o.value, ":"))
	}
	f.Set("timestamp_type", "tty")
	if o := c.option(scope, "timestamp_type"); o.value != "" {
		f.Set("timestamp_type", o.value)
	} else if o := c.option(scope, "tty_tickets"); o.given && !o.on {
		f.Set("timestamp_type", "global")
	}
	return c.numbers(f, scope)
}

func (c *sudoers) numbers(f event.Fact, scope string) event.Fact {
	f.Set("timestamp_timeout", int64(900)).Set("passwd_tries", int64(3)) // 15 minutes are Debian's; others have 5
	if o := c.option(scope, "timestamp_timeout"); o.given && !o.on {
		f.Set("timestamp_timeout", int64(0))
	} else if o.given {
		minutes, err := strconv.ParseFloat(o.value, 64)
		if err != nil || minutes > 1e9 || minutes < -1e9 {
			return f.Fail(lineError{o.file, o.line, "want minutes as timestamp_timeout"})
		}
		f.Set("timestamp_timeout", int64(minutes*60))
	}
	if o := c.option(scope, "passwd_tries"); o.given {
		n := numberOr(o.value, -1)
		if n < 0 {
			return f.Fail(lineError{o.file, o.line, "want a number as passwd_tries"})
		}
		f.Set("passwd_tries", n)
	}
	return f
}

func (s *Surveys) reportSudoRules(c *sudoers, report func(event.Fact)) {
	runas, asks := c.option("", "runas_default").value, c.option("", "authenticate")
	excluded := map[int]bool{} // lists that forbid something
	for _, r := range c.rules {
		for _, command := range c.resolve("Cmnd_Alias", []string{signed(r.command, r.negated)}) {
			excluded[r.group] = excluded[r.group] || strings.HasPrefix(command, "!")
		}
	}
	for _, r := range c.rules {
		base := c.rule(r, cmp.Or(runas, "root"), !asks.given || asks.on)
		for _, command := range c.resolve("Cmnd_Alias", []string{signed(r.command, r.negated)}) {
			f := event.SudoRule.New(base.Subject+" "+command, base.Source)
			for name, value := range base.Values {
				f.Set(name, value)
			}
			report(s.withCommand(f, command, r, excluded[r.group]))
		}
	}
}

func signed(name string, negated bool) string {
	if negated {
		return "!" + name
	}
	return name
}

// rule is what a rule says of whom: who is the target user, and whether a password is asked for, where it does not say so itself.
func (c *sudoers) rule(r sudoSpec, target string, asks bool) event.Fact {
	users, hosts := c.resolve("User_Alias", r.users), c.resolve("Host_Alias", r.hosts)
	runas := []string{target}
	switch {
	case r.runas != nil && len(r.runas) == 0 && len(r.runasGroups) > 0:
		runas = nil // as themselves, in another group
	case len(r.runas) > 0:
		runas = c.resolve("Runas_Alias", r.runas)
	}
	f := event.SudoRule.New(strings.Join(r.users, ","), place(r.file, r.line)).Set("tool", "sudo").Set("users", users).Set("hosts", hosts)
	f.Set("runas", runas).Set("everybody", slices.Contains(users, "ALL"))
	f.Set("only_root", len(users) == 1 && (users[0] == "root" || users[0] == "#0"))
	root := slices.ContainsFunc(runas, func(u string) bool { return u == "root" || u == "ALL" || u == "#0" })
	root = root && !slices.Contains(runas, "!root") && !slices.Contains(runas, "!#0")
	nopasswd := slices.Contains(r.tags, "NOPASSWD") || !asks && !slices.Contains(r.tags, "PASSWD")
	setenv := slices.Contains(r.tags, "SETENV") || r.command == "ALL" && !slices.Contains(r.tags, "NOSETENV")
	return f.Set("as_root", root).Set("nopasswd", nopasswd).Set("setenv", setenv)
}

// escapes are programs that run others, or write any file, for whoever may run them.
var escapes = strings.Fields(`ansible-playbook apt apt-get ash awk bash bpftrace busybox chmod chown chroot cp cpan crontab csh dash dd docker dpkg ed emacs env
	ex expect find fish ftp gawk gdb gem git install ionice journalctl kubectl ksh less ln lua mawk man more mount mv nano nawk nc ncat nice nmap node nohup
	nsenter openssl perl php pico pip pip3 podman psql python python2 python3 rsync ruby rvim scp screen sed sh socat sqlite3 ssh start-stop-daemon strace
	su sudo systemctl systemd-run tar tcpdump tcsh tee timeout tmux unshare vi view vim vimdiff visudo watch wget xargs yum dnf zip zsh`)

// narrow are those of them that do one thing where their arguments are fixed.
var narrow = strings.Fields("apt apt-get chmod chown cp dd dnf dpkg install ln mount mv rsync scp systemctl tar tee wget yum zip")

// withCommand says what the command of a rule is. It may be one of an alias, with a mark of its arguments.
func (s *Surveys) withCommand(f event.Fact, command string, rule sudoSpec, excluded bool) event.Fact {
	command, denied := strings.CutPrefix(command, "!")
	command, any := strings.CutSuffix(command, anyArguments)
	command, fixed := strings.CutSuffix(command, fixedArguments)
	all := command == "ALL"
	f.Set("command", command).Set("all_commands", all).Set("denied", denied).Set("exclusions", all && excluded)
	f.Set("wildcard", rule.wildcard || any || strings.ContainsAny(command, "*?["))
	name := path.Base(command)
	f.Set("shell_escape", slices.Contains(escapes, name) && !((rule.fixed || fixed) && slices.Contains(narrow, name)))
	if !path.IsAbs(command) || strings.ContainsAny(command, "*?[") {
		return f
	}
	exists, foreign, err := s.foreignWrite(command, 0)
	if err != nil {
		return f.Fail(err)
	}
	if exists || foreign {
		f.Set("foreign_write", foreign)
	}
	return f
}

// doas reports the rules of /etc/doas.conf and /etc/doas.d.
func (s *Surveys) doas(report func(event.Fact)) error {
	files, err := s.glob("/etc/doas.d/*.conf")
	if err != nil {
		return err
	}
	for _, file := range append([]string{"/etc/doas.conf"}, files...) {
		text, err := s.readIfAny(file)
		if err != nil {
			return err
		}
		rules, wrong := parseDoas(file, text)
		for _, e := range wrong {
			report(e.fact(event.SudoRule))
		}
		for _, r := range rules {
			report(s.doasFact(r))
		}
	}
	return nil
}

type doasRule struct {
	deny, nopass, keepenv bool
	fixed                 bool // the command has arguments, always the same
	who, as, command      string
	file                  string
	line                  int
}

// parseDoas takes permit|deny [options] user [as user] [cmd command …] apart.
func parseDoas(file, text string) (all []doasRule, wrong []lineError) {
	for _, c := range shellCommands(file, text) {
		r := doasRule{as: "root", command: "ALL", file: file, line: c.line}
		if want := r.parse(c.words); want != "" {
			wrong = append(wrong, lineError{file, c.line, want})
			continue
		}
		all = append(all, r)
	}
	return all, wrong
}

func (r *doasRule) parse(words []string) (want string) {
	if words[0] != "permit" && words[0] != "deny" {
		return "want permit or deny"
	}
	r.deny = words[0] == "deny"
	for words = words[1:]; len(words) > 0; words = words[1:] {
		switch words[0] {
		case "nopass":
			r.nopass = true
			continue
		case "keepenv":
			r.keepenv = true
			continue
		case "persist", "nolog":
			continue
		case "setenv":
			end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "}") })
			if end < 0 {
				return "want setenv { … }"
			}
			words = words[end:]
			continue
		}
		break
	}
	if len(words) == 0 {
		return "want a user"
	}
	r.who, words = words[0], words[1:]
	if len(words) >= 2 && words[0] == "as" {
		r.as, words = words[1], words[2:]
	}
	if len(words) >= 2 && words[0] == "cmd" {
		r.command, r.fixed, words = words[1], len(words) > 2 && words[2] == "args" && fixed(words[3:]), nil
	}
	if len(words) > 0 {
		return "want as USER or cmd COMMAND behind the user"
	}
	return ""
}

func (s *Surveys) doasFact(r doasRule) event.Fact {
	who := r.who
	if group, ok := strings.CutPrefix(who, ":"); ok {
		who = "%" + group
	}
	f := event.SudoRule.New(fmt.Sprintf("%s %s", who, r.command), place(r.file, r.line)).Set("tool", "doas").Set("users", []string{who})
	f.Set("hosts", []string{"ALL"}).Set("runas", []string{r.as}).Set("as_root", r.as == "root").Set("everybody", false).Set("only_root", who == "root")
	f.Set("nopasswd", r.nopass).Set("setenv", r.keepenv)
	return s.withCommand(f, signed(r.command, r.deny), sudoSpec{fixed: r.fixed}, false)
}
