package host

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// An account is a line of /etc/passwd.
type account struct {
	name, password, home, shell string
	uid, gid                    int64
	line                        int
	nis                         bool
}

// A groupLine is a line of /etc/group.
type groupLine struct {
	name, password string
	gid            int64
	members        []string
	line           int
	nis            bool
}

const (
	passwdFile  = "/etc/passwd"
	shadowFile  = "/etc/shadow"
	groupFile   = "/etc/group"
	gshadowFile = "/etc/gshadow"
	nobodyID    = 65534
)

// parseAccounts takes /etc/passwd apart.
func parseAccounts(text string) (all []account, wrong []lineError) {
	for n, fields := range colonLines(text) {
		a := account{name: fields[0], line: n, nis: strings.HasPrefix(fields[0], "+") || strings.HasPrefix(fields[0], "-")}
		if a.nis {
			all = append(all, a)
			continue
		}
		if len(fields) != 7 || a.name == "" {
			wrong = append(wrong, lineError{passwdFile, n, "want name:password:uid:gid:comment:home:shell"})
			continue
		}
		uid, gid := numberOr(fields[2], -1), numberOr(fields[3], -1)
		if uid < 0 || gid < 0 || uid > 1<<32-1 || gid > 1<<32-1 {
			wrong = append(wrong, lineError{passwdFile, n, "want numbers of 32 bits as uid and gid"})
			continue
		}
		a.password, a.uid, a.gid, a.home, a.shell = fields[1], uid, gid, fields[5], fields[6]
		if a.shell == "" {
			a.shell = "/bin/sh"
		}
		all = append(all, a)
	}
	return all, wrong
}

// parseGroups takes /etc/group apart.
func parseGroups(text string) (all []groupLine, wrong []lineError) {
	for n, fields := range colonLines(text) {
		g := groupLine{name: fields[0], line: n, nis: strings.HasPrefix(fields[0], "+") || strings.HasPrefix(fields[0], "-")}
		if g.nis {
			all = append(all, g)
			continue
		}
		if len(fields) != 4 || g.name == "" {
			wrong = append(wrong, lineError{groupFile, n, "want name:password:gid:members"})
			continue
		}
		if g.gid = numberOr(fields[2], -1); g.gid < 0 || g.gid > 1<<32-1 {
			wrong = append(wrong, lineError{groupFile, n, "want a number of 32 bits as gid"})
			continue
		}
		g.password, g.members = fields[1], words(fields[3], ",")
		all = append(all, g)
	}
	return all, wrong
}

// colonLines yields the numbers and fields of lines that are neither empty nor comments.
func colonLines(text string) func(yield func(int, []string) bool) {
	return func(yield func(int, []string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimRight(line, "\r\n")
			if trimmed := strings.TrimLeft(line, " \t"); trimmed == "" || trimmed[0] == '#' {
				continue
			}
			if !yield(n, strings.Split(line, ":")) {
				return
			}
		}
	}
}

// numberOr reads a decimal number, or says what it is otherwise.
func numberOr(s string, otherwise int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// words splits at a separator and leaves out what is empty.
func words(s, separator string) []string {
	var all []string
	for word := range strings.SplitSeq(s, separator) {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

func (s *Surveys) accounts() ([]account, []lineError, error) {
	data, err := s.read(passwdFile, maxFile)
	if err != nil {
		return nil, nil, err
	}
	all, wrong := parseAccounts(string(data))
	return all, wrong, nil
}

func (s *Surveys) groupLines() ([]groupLine, []lineError, error) {
	data, err := s.read(groupFile, maxFile)
	if err != nil {
		return nil, nil, err
	}
	all, wrong := parseGroups(string(data))
	return all, wrong, nil
}

// noShells are what stands for a shell where nobody is to log in.
var noShells = []string{"nologin", "false", "true", "sync", "halt", "shutdown", "null"}

func (a account) canLogin() bool { return !a.nis && !slices.Contains(noShells, path.Base(a.shell)) }

// people says which users are persons.
type people struct{ from int64 }

func (s *Surveys) people() (people, error) {
	defs, err := s.loginDefs()
	if err != nil {
		return people{}, err
	}
	return people{numberOr(defs["UID_MIN"], 1000)}, nil
}

func (p people) human(a account) bool {
	return !a.nis && a.uid >= p.from && a.uid != nobodyID && a.name != "nobody" && a.name != "nfsnobody"
}

func (p people) system(a account) bool { return !a.nis && a.uid != 0 && !p.human(a) }

// Accounts reports the users of /etc/passwd, and the shells that they may choose.
func (s *Surveys) Accounts(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	shells, err := s.loginShells()
	if err != nil {
		return err
	}
	if shells.Kind != nil {
		report(shells)
	}
	all, wrong, err := s.accounts()
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range wrong {
		report(e.fact(event.Account))
	}
	groups, _, err := s.groupLines()
	if err != nil && !Absent(err) {
		return err
	}
	who, err := s.people()
	if err != nil {
		return err
	}
	listed, _ := shells.Values["names"].([]string)
	book := newAccountBook(all, groups)
	for _, a := range all {
		report(book.fact(a, who).Set("shell_listed", slices.Contains(listed, a.shell)))
	}
	return nil
}

// An accountBook finds what users have in common.
type accountBook struct {
	uids   map[int64]int
	names  map[string]int
	homes  map[string]int
	groups map[int64]string
}

func newAccountBook(all []account, groups []groupLine) accountBook {
	b := accountBook{map[int64]int{}, map[string]int{}, map[string]int{}, map[int64]string{}}
	for _, a := range all {
		if a.nis {
			continue
		}
		b.uids[a.uid]++
		b.names[a.name]++
		if a.canLogin() {
			b.homes[path.Clean(a.home)]++
		}
	}
	for _, g := range groups {
		if _, twice := b.groups[g.gid]; !twice && !g.nis {
			b.groups[g.gid] = g.name
		}
	}
	return b
}

func (b accountBook) fact(a account, who people) event.Fact {
	f := event.Account.New(a.name, place(passwdFile, a.line)).Set("nis", a.nis)
	if a.nis {
		return f
	}
	group, known := b.groups[a.gid]
	if known {
		f.Set("group", group)
	}
	f.Set("uid", a.uid).Set("gid", a.gid).Set("group_exists", known).Set("home", a.home).Set("shell", a.shell)
	f.Set("human", who.human(a)).Set("system", who.system(a)).Set("can_login", a.canLogin())
	f.Set("shadowed", a.password == "x").Set("plain_name", plainName(a.name))
	f.Set("duplicate_uid", b.uids[a.uid] > 1).Set("duplicate_name", b.names[a.name] > 1)
	return f.Set("duplicate_home", a.canLogin() && b.homes[path.Clean(a.home)] > 1)
}

// plainName says whether a name is one that no program takes for something else, such as an option or a number. Machines' accounts
// end in a dollar sign.
func plainName(name string) bool {
	letters := 0
	for i, c := range strings.TrimSuffix(name, "$") {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			letters++
		case i == 0 && c >= '0' && c <= '9':
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return letters > 0
}

// loginShells reports /etc/shells; a fact without a kind if there is none.
func (s *Surveys) loginShells() (event.Fact, error) {
	const file = "/etc/shells"
	if found, err := s.firstOf(file); err != nil || found == "" {
		return event.Fact{}, err
	}
	text, err := s.readIfAny(file)
	if err != nil {
		return event.Fact{}, err
	}
	var names []string
	never := false
	for _, line := range settings(text, "\x00") {
		names = append(names, line.name)
		never = never || path.Base(line.name) == "nologin" || path.Base(line.name) == "false"
	}
	return event.LoginShells.New(file, file).Set("names", names).Set("nologin", never), nil
}

// Groups reports the groups of /etc/group.
func (s *Surveys) Groups(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	groups, wrong, err := s.groupLines()
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range wrong {
		report(e.fact(event.AccountGroup))
	}
	accounts, _, err := s.accounts()
	if err != nil && !Absent(err) {
		return err
	}
	text, err := s.readIfAny(gshadowFile)
	if err != nil {
		return err
	}
	shadow, wrong := parseGroupShadow(text)
	for _, e := range wrong {
		report(e.fact(event.AccountGroup))
	}
	book := newGroupBook(groups, accounts)
	for _, g := range groups {
		report(book.fact(g, shadow[g.name]))
	}
	return nil
}

type groupShadow struct {
	password string
	admins   []string
}

// parseGroupShadow takes /etc/gshadow apart.
func parseGroupShadow(text string) (map[string]groupShadow, []lineError) {
	all := map[string]groupShadow{}
	var wrong []lineError
	for n, fields := range colonLines(text) {
		if len(fields) != 4 || fields[0] == "" {
			wrong = append(wrong, lineError{gshadowFile, n, "want name:password:administrators:members"})
			continue
		}
		if _, twice := all[fields[0]]; !twice {
			all[fields[0]] = groupShadow{fields[1], words(fields[2], ",")}
		}
	}
	return all, wrong
}

type groupBook struct {
	gids    map[int64]int
	names   map[string]int
	users   map[string]bool
	primary map[int64][]string
}

func newGroupBook(groups []groupLine, accounts []account) groupBook {
	b := groupBook{map[int64]int{}, map[string]int{}, map[string]bool{}, map[int64][]string{}}
	for _, g := range groups {
		if !g.nis {
			b.gids[g.gid]++
			b.names[g.name]++
		}
	}
	for _, a := range accounts {
		if !a.nis {
			b.users[a.name] = true
			b.primary[a.gid] = append(b.primary[a.gid], a.name)
		}
	}
	return b
}

func (b groupBook) fact(g groupLine, shadow groupShadow) event.Fact {
	f := event.AccountGroup.New(g.name, place(groupFile, g.line)).Set("nis", g.nis)
	if g.nis {
		return f
	}
	users := map[string]bool{}
	unknown := int64(0)
	for _, name := range g.members {
		users[name] = true
		if !b.users[name] {
			unknown++
		}
	}
	for _, name := range b.primary[g.gid] {
		users[name] = true
	}
	f.Set("gid", g.gid).Set("members", g.members).Set("admins", shadow.admins).Set("users", int64(len(users))).Set("unknown_members", unknown)
	f.Set("duplicate_gid", b.gids[g.gid] > 1).Set("duplicate_name", b.names[g.name] > 1)
	return f.Set("has_password", hashOf(g.password).usable() || hashOf(shadow.password).usable())
}
