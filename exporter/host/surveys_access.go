package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// accessSurveys are the surveys of who may come in, and what they may do.
func (s *Surveys) accessSurveys() []NamedSurvey {
	return []NamedSurvey{
		{Name: "accounts", Kinds: []*event.FactKind{event.Account, event.LoginShells}, Survey: s.Accounts},
		{Name: "passwords", Kinds: []*event.FactKind{event.Password}, Survey: s.Passwords},
		{Name: "groups", Kinds: []*event.FactKind{event.AccountGroup}, Survey: s.Groups},
		{Name: "homes", Kinds: []*event.FactKind{event.Home}, Survey: s.Homes},
		{Name: "logindefs", Kinds: []*event.FactKind{event.LoginDefs}, Survey: s.LoginDefs},
		{Name: "sessions", Kinds: []*event.FactKind{event.Umask, event.SessionTimeout, event.RootPath}, Survey: s.Sessions},
		{Name: "pam", Kinds: []*event.FactKind{event.PAM, event.FailLock, event.PasswordQuality, event.PasswordHistory}, Survey: s.PAM},
		{Name: "securetty", Kinds: []*event.FactKind{event.SecureTTY}, Survey: s.SecureTTY},
		{Name: "sudo", Kinds: []*event.FactKind{event.Sudo, event.SudoRule}, Survey: s.Sudo},
		{Name: "sshd", Kinds: []*event.FactKind{event.SSHServer, event.SSHHostKey}, Survey: s.SSHServer},
		{Name: "sshkeys", Kinds: []*event.FactKind{event.SSHAuthorizedKey}, Survey: s.SSHAuthorizedKeys},
		{Name: "cron", Kinds: []*event.FactKind{event.Scheduler, event.CronJob}, Survey: s.Cron},
		{Name: "polkit", Kinds: []*event.FactKind{event.Polkit}, Survey: s.Polkit},
		{Name: "accessfiles", Kinds: []*event.FactKind{event.File}, Survey: s.AccessFiles},
	}
}

// maxAccessFacts is how many facts of one kind a survey of access reports. A machine has not so many users, rules or keys; a file
// that was made to have them must not fill our memory.
const maxAccessFacts = 20_000

// maxConfig is how large a file of configuration may be.
const maxConfig = 1 << 20

// bounded passes on so many facts of each kind, and then says once that there are more: an error, so that no check of the kind passes.
func bounded(report func(event.Fact)) func(event.Fact) {
	count := map[*event.FactKind]int{}
	return func(f event.Fact) {
		switch count[f.Kind]++; {
		case count[f.Kind] <= maxAccessFacts:
			report(f)
		case count[f.Kind] == maxAccessFacts+1:
			report(f.Kind.New("more", "").Fail(fmt.Errorf("there are more than %d, of which the rest was not looked at", maxAccessFacts)))
		}
	}
}

// A lineError is a line of a file that does not say what it should.
type lineError struct {
	file string
	line int
	want string
}

func (e lineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.want) }

// fact tells it as a fact of a kind.
func (e lineError) fact(kind *event.FactKind) event.Fact {
	at := place(e.file, e.line)
	return kind.New(at, at).Fail(e)
}

// place is where something was read.
func place(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

// firstOf returns the first of several paths at which there is something, and empty if there is none.
func (s *Surveys) firstOf(paths ...string) (string, error) {
	for _, p := range paths {
		_, err := s.stat(p)
		if err == nil {
			return p, nil
		}
		if !Absent(err) {
			return "", err
		}
	}
	return "", nil
}

// readIfAny reads a file, of which nothing is the same as an empty one.
func (s *Surveys) readIfAny(path string) (string, error) {
	data, err := s.read(path, maxConfig)
	if Absent(err) {
		return "", nil
	}
	return string(data), err
}

// foreignWrite says whether others than root and a user can change what is at a path, or put something else in its place: by its own
// mode, or by that of a directory above it. Of a path with nothing at it: whether they could make it.
func (s *Surveys) foreignWrite(name string, uid int64) (exists, foreign bool, err error) {
	others := groupUsers{s: s, uid: uid}
	rest, at := strings.Trim(path.Clean("/"+name), "/"), "/"
	for links, parentSticky := 0, false; ; {
		st, err := s.lstat(at)
		switch {
		case Absent(err):
			return false, parentSticky, nil // in a sticky directory of everybody's it could be made
		case err != nil:
			return false, false, err
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			if links++; links > 16 {
				return false, false, &pathError{name, errors.New("too many symbolic links")}
			}
			target, err := s.Files().Readlink(at)
			if err != nil {
				return false, false, err
			}
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(at), target)
			}
			rest, at = strings.Trim(path.Join(target, rest), "/"), "/"
			continue
		}
		writes, sticky, err := others.canWrite(st)
		if err != nil || writes {
			return true, writes, err
		}
		if rest == "" || rest == "." {
			return true, false, nil
		}
		parentSticky = sticky
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		at = path.Join(at, part)
	}
}

type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// groupUsers knows who else is in a group.
type groupUsers struct {
	s   *Surveys
	uid int64
}

// canWrite says whether others can write to a file, or replace what is in a directory; sticky, that they can only add to it.
func (g groupUsers) canWrite(st unix.Stat_t) (writes, sticky bool, err error) {
	if st.Uid != 0 && int64(st.Uid) != g.uid {
		return true, false, nil
	}
	open := st.Mode&0o002 != 0
	if st.Mode&0o020 != 0 && st.Gid != 0 && !open {
		if open, err = g.hasOthers(st.Gid); err != nil {
			return false, false, err
		}
	}
	if open && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0 {
		return false, true, nil
	}
	return open, false, nil
}

// hasOthers says whether somebody else than root and the user is in a group.
func (g groupUsers) hasOthers(gid uint32) (bool, error) {
	accounts, _, err := g.s.accounts()
	if err != nil {
		return false, err
	}
	mine := map[string]bool{}
	for _, a := range accounts {
		if a.uid == 0 || a.uid == g.uid {
			mine[a.name] = true
		} else if a.gid == int64(gid) {
			return true, nil
		}
	}
	groups, _, err := g.s.groupLines()
	if err != nil {
		return false, err
	}
	for _, group := range groups {
		for _, name := range group.members {
			if group.gid == int64(gid) && !mine[name] {
				return true, nil
			}
		}
	}
	return false, nil
}

// answers runs a question to a file system that may be dead, such as one with users' homes on another machine. Its answer is false
// if there is none within a second or before the end of ctx; the question is then left to itself.
func answers(ctx context.Context, question func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); question() }()
	timeout := time.NewTimer(answerWithin)
	defer timeout.Stop()
	select {
	case <-done:
		return true
	case <-timeout.C:
	case <-ctx.Done():
	}
	return false
}

// A setting is one line `name value` or `name = value` of a file.
type setting struct {
	name, value string
	line        int
}

// settings takes apart files of lines `name = value` with comments behind #. A name alone has an empty value.
func settings(text string, separators string) (all []setting) {
	line := 0
	for raw := range strings.Lines(text) {
		line++
		raw, _, _ = strings.Cut(raw, "#")
		raw = strings.TrimSpace(raw)
		if raw == "" {
			continue
		}
		name, value := raw, ""
		if i := strings.IndexAny(raw, separators); i >= 0 {
			name, value = raw[:i], strings.Trim(raw[i:], separators+" \t")
		}
		all = append(all, setting{strings.TrimSpace(name), value, line})
	}
	return all
}

// unquote takes the quotes of a shell from around a word.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
