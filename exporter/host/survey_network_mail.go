package host

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A mailServer is a mail transfer agent, and how its configuration says where it listens.
type mailServer struct {
	knownService
	listens func(s *Surveys) (at string, where []string, known bool, err error)
}

var mailServers = []mailServer{
	{knownService{"postfix", []string{"postfix"}, []string{"postfix.service", "postfix@*.service"}, []string{"postfix"}, nil, []string{"postfix"}}, (*Surveys).postfixListens},
	{knownService{"exim", []string{"exim4-daemon-light", "exim4-daemon-heavy", "exim", "exim4-base"}, []string{"exim4.service", "exim.service"}, []string{"exim4", "exim"}, nil, []string{"exim4", "exim"}}, (*Surveys).eximListens},
	{knownService{"sendmail", []string{"sendmail-bin", "sendmail"}, []string{"sendmail.service"}, []string{"sendmail"}, nil, []string{"sendmail.sendmail"}}, (*Surveys).sendmailListens},
	{knownService{"opensmtpd", []string{"opensmtpd"}, []string{"opensmtpd.service", "smtpd.service"}, []string{"opensmtpd", "smtpd"}, nil, []string{"smtpd"}}, (*Surveys).smtpdListens},
}

// mailServersSurvey reports the mail transfer agents that are installed.
func (s *Surveys) mailServersSurvey(_ context.Context, in *installed, report func(event.Fact)) error {
	for i := range mailServers {
		m := &mailServers[i]
		state := in.state(&m.knownService)
		if !state.exists {
			continue
		}
		at, where, known, err := m.listens(s)
		f := event.MTA.New(m.name, at).Set("enabled", state.enabled)
		if s.Live() {
			f.Set("running", state.running || m.name == "postfix" && runs(in.ran, "master"))
		}
		if known {
			f.Set("listens", append([]string{}, where...)).Set("local", !slices.ContainsFunc(where, func(a string) bool { return !onlyLocal(a) }))
		}
		if err != nil {
			f.Fail(err)
		}
		report(f)
	}
	return nil
}

// onlyLocal says whether an address, a name or an interface is the machine's way to itself.
func onlyLocal(where string) bool {
	switch where = strings.Trim(strings.TrimSpace(where), "[]"); where {
	case "localhost", "loopback-only", "lo", "ip6-localhost", "localhost.localdomain":
		return true
	}
	addr, err := netip.ParseAddr(where)
	if with, err2 := netip.ParseAddrPort(where); err2 == nil {
		addr, err = with.Addr(), nil
	}
	return err == nil && addr.IsLoopback()
}

// postfixListens reads inet_interfaces: all of them if nobody has set it.
func (s *Surveys) postfixListens() (string, []string, bool, error) {
	const file = "/etc/postfix/main.cf"
	text, exists, err := s.configText(file)
	value := "all"
	for _, line := range foldedLines(text) {
		if key, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "inet_interfaces" {
			value = v
		}
	}
	return file, strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \t", r) }), exists, err
}

// foldedLines are lines that go on in those that begin with a blank.
func foldedLines(text string) (all []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(strings.TrimSpace(line), "#"):
		case (line[0] == ' ' || line[0] == '\t') && len(all) > 0:
			all[len(all)-1] += " " + strings.TrimSpace(line)
		default:
			all = append(all, line)
		}
	}
	return all
}

// eximListens reads Debian's settings for exim, or local_interfaces of its own configuration.
func (s *Surveys) eximListens() (string, []string, bool, error) {
	const debian = "/etc/exim4/update-exim4.conf.conf"
	values, err := s.shellFile(debian)
	if err != nil || values != nil {
		where, ok := values["dc_local_interfaces"]
		return debian, colonList(cmp.Or(where.text, "all")), ok, err // an empty one is every address
	}
	file, err := s.firstThere("/etc/exim/exim.conf", "/etc/exim4/exim4.conf")
	if err != nil || file == "" {
		return "", nil, false, err
	}
	text, _, err := s.configText(file)
	where, known := []string{"all"}, err == nil
	joinedLines(text, "#", func(_ int, line string) {
		if key, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "local_interfaces" {
			where = colonList(v)
		}
	})
	return file, where, known, err
}

// colonList reads a list as exim has it: parted by semicolons, or by what <; before it says, or by colons where two stand for one.
func colonList(text string) (all []string) {
	text = strings.TrimSpace(text)
	mark := ";"
	switch {
	case strings.HasPrefix(text, "<") && len(text) > 1:
		mark, text = text[1:2], text[2:]
	case !strings.Contains(text, ";"):
		text = strings.ReplaceAll(text, "::", "\x00")
		mark = ":"
	}
	for part := range strings.SplitSeq(text, mark) {
		if part = strings.TrimSpace(strings.ReplaceAll(part, "\x00", ":")); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// sendmailListens reads the addresses of DaemonPortOptions: all if one names none.
func (s *Surveys) sendmailListens() (string, []string, bool, error) {
	const file = "/etc/mail/sendmail.cf"
	text, exists, err := s.configText(file)
	var where []string
	joinedLines(text, "#", func(_ int, line string) {
		options, ok := strings.CutPrefix(line, "O DaemonPortOptions=")
		if !ok {
			return
		}
		addr := "all"
		for option := range strings.SplitSeq(options, ",") {
			if key, v, _ := strings.Cut(strings.TrimSpace(option), "="); strings.HasPrefix(strings.ToLower(key), "a") {
				addr = v
			}
		}
		where = append(where, addr)
	})
	if len(where) == 0 {
		where = []string{"all"}
	}
	return file, where, exists, err
}

// smtpdListens reads the lines `listen on` of OpenSMTPD: without one it listens on the loopback interface only.
func (s *Surveys) smtpdListens() (string, []string, bool, error) {
	file, err := s.firstThere("/etc/smtpd.conf", "/etc/smtpd/smtpd.conf", "/etc/opensmtpd/smtpd.conf", "/etc/mail/smtpd.conf")
	if err != nil || file == "" {
		return "", nil, false, err
	}
	text, _, err := s.configText(file)
	var where []string
	joinedLines(text, "#", func(_ int, line string) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "listen" && words[1] == "on" && words[2] != "socket" {
			where = append(where, unquoteShell(words[2]))
		}
	})
	return file, where, true, err
}
