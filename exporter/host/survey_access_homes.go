package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// maxSilent is after how many home directories that do not answer the rest is not asked.
const maxSilent = 3

var errSilent = errors.New("its file system does not answer")

// Homes reports the home directories of users who can log in, and the dot files in them.
func (s *Surveys) Homes(ctx context.Context, report func(event.Fact)) error {
	report = bounded(report)
	accounts, _, err := s.accounts()
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	silent := 0
	for _, a := range accounts {
		if !a.canLogin() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fact := make(chan event.Fact, 1)
		if silent < maxSilent && answers(ctx, func() { fact <- s.home(a) }) {
			report(<-fact)
			continue
		}
		silent++
		report(homeFact(a).Fail(fmt.Errorf("%s: %w", a.home, errSilent)))
	}
	return nil
}

func homeFact(a account) event.Fact {
	return event.Home.New(a.name, place(passwdFile, a.line)).Set("uid", a.uid).Set("path", a.home)
}

func (s *Surveys) home(a account) event.Fact {
	f := homeFact(a)
	st, err := s.stat(a.home)
	if Absent(err) || err == nil && fileType(st.Mode) != "directory" || !path.IsAbs(a.home) {
		return f.Set("exists", false)
	}
	if err != nil {
		return f.Fail(err)
	}
	mode := int64(st.Mode & 0o7777)
	f.Set("exists", true).Set("owned", int64(st.Uid) == a.uid).Set("mode", mode).Set("mode_octal", fmt.Sprintf("%04o", mode))
	f.Set("group_write", mode&0o020 != 0).Set("other_access", mode&0o007 != 0)
	owner, known, err := s.UserName(st.Uid)
	if err != nil {
		return f.Fail(err)
	}
	if known {
		f.Set("owner", owner)
	}
	return s.dotFiles(f, a)
}

// A dotCount is what was found of the dot files of a home directory.
type dotCount struct {
	writable, foreign      int64
	forward, rhosts, netrc bool
	netrcOpen, historyOpen bool
	loose                  []string
}

func (s *Surveys) dotFiles(f event.Fact, a account) event.Fact {
	names, err := s.readDir(a.home)
	if err != nil {
		return f.Fail(err)
	}
	var c dotCount
	for _, n := range names {
		if len(n.Name) < 2 || n.Name[0] != '.' {
			continue
		}
		st, err := s.lstat(path.Join(a.home, n.Name))
		if Absent(err) {
			continue
		}
		if err != nil {
			return f.Fail(err)
		}
		c.see(n.Name, st, a)
	}
	open, err := s.openSSH(a)
	if err != nil {
		return f.Fail(err)
	}
	f.Set("has_forward", c.forward).Set("has_rhosts", c.rhosts).Set("has_netrc", c.netrc).Set("netrc_open", c.netrcOpen)
	f.Set("history_open", c.historyOpen).Set("writable_dotfiles", c.writable).Set("foreign_dotfiles", c.foreign)
	return f.Set("loose_files", c.loose[:min(len(c.loose), 50)]).Set("ssh_open", open)
}

func (c *dotCount) see(name string, st unix.Stat_t, a account) {
	c.forward = c.forward || name == ".forward"
	c.rhosts = c.rhosts || name == ".rhosts" || name == ".shosts"
	c.netrc = c.netrc || name == ".netrc"
	if fileType(st.Mode) != "file" {
		return
	}
	loose := false
	if st.Mode&0o022 != 0 {
		c.writable++
		loose = true
	}
	if int64(st.Uid) != a.uid && st.Uid != 0 {
		c.foreign++
		loose = true
	}
	if st.Mode&0o077 != 0 && name == ".netrc" {
		c.netrcOpen, loose = true, true
	}
	if st.Mode&0o077 != 0 && (strings.HasSuffix(name, "_history") || name == ".history" || name == ".histfile") {
		c.historyOpen, loose = true, true
	}
	if loose {
		c.loose = append(c.loose, name)
	}
}

// openSSH says whether others could change what is in a user's .ssh, or read a private key there.
func (s *Surveys) openSSH(a account) (bool, error) {
	dir := path.Join(a.home, ".ssh")
	st, err := s.stat(dir)
	if Absent(err) || err == nil && fileType(st.Mode) != "directory" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st.Mode&0o022 != 0 || int64(st.Uid) != a.uid && st.Uid != 0 {
		return true, nil
	}
	names, err := s.readDir(dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(n Name) bool {
		st, err := s.lstat(path.Join(dir, n.Name))
		if err != nil || fileType(st.Mode) != "file" {
			return false
		}
		private := strings.HasPrefix(n.Name, "id_") && !strings.HasSuffix(n.Name, ".pub")
		return st.Mode&0o022 != 0 || private && st.Mode&0o077 != 0
	}), nil
}
