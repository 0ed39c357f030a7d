package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// values prints fields of facts, a line for each fact: its subject, then the values in the order of the names, or its error.
func values(facts []event.Fact, names ...string) string {
	var b strings.Builder
	for _, f := range facts {
		b.WriteString(f.Subject)
		if f.Err() != "" {
			fmt.Fprintf(&b, " error %s\n", f.Err())
			continue
		}
		for _, name := range names {
			fmt.Fprintf(&b, " %v", f.Values[name])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// of are the facts of one kind.
func of(kind *event.FactKind, facts []event.Fact) []event.Fact {
	return slices.DeleteFunc(slices.Clone(facts), func(f event.Fact) bool { return f.Kind != kind })
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimLeft(want, "\n"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

const passwdText = `# a comment, and an empty line

root:x:0:0:root:/root:/bin/bash
toor:x:0:0:root again:/root:
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash
bob:AAAAAAAAAAAAA:1001:4711::/home/alice:/bin/zsh
bob:x:1002:1000::/home/bob2:/bin/false
-rf:x:1003:1000::/home/rf:/bin/sh
4711:x:1004:1000::/home/n:/bin/sh
svc$:x:900:1::/srv:/bin/sh
short:x:5
odd:x:five:5::/:/bin/sh
+@netgroup::::::
`

func TestAccounts(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd": passwdText, "etc/group": "root:x:0:\ndaemon:x:1:\nalice:x:1000:\nnogroup:x:65534:\n",
		"etc/shells": "# shells\n/bin/bash\n/bin/sh # the least\n", "etc/login.defs": "UID_MIN 1000\n",
	})
	users := of(event.Account, factsOf(t, s.Accounts))
	same(t, values(users, "uid", "human", "system", "can_login", "shell_listed", "shadowed", "duplicate_uid", "duplicate_name", "duplicate_home", "group_exists", "plain_name", "nis"), `
/etc/passwd:13 error /etc/passwd:13: want name:password:uid:gid:comment:home:shell
/etc/passwd:14 error /etc/passwd:14: want numbers of 32 bits as uid and gid
root 0 false false true true true true false true true true false
toor 0 false false true true true true false true true true false
daemon 1 false true false false true false false false true true false
nobody 65534 false true false false true false false false true true false
alice 1000 true false true true true false false true true true false
bob 1001 true false true false false false true true false true false
bob 1002 true false false false true false true false true true false
-rf <nil> <nil> <nil> <nil> false <nil> <nil> <nil> <nil> <nil> <nil> true
4711 1004 true false true true true false false false true false false
svc$ 900 false true true true true false false false true true false
+@netgroup <nil> <nil> <nil> <nil> false <nil> <nil> <nil> <nil> <nil> <nil> true
`)
	if source := users[2].Source; source != "/etc/passwd:3" {
		t.Errorf("source of root is %s", source)
	}
	same(t, values(of(event.LoginShells, factsOf(t, s.Accounts)), "names", "nologin"), "/etc/shells [/bin/bash /bin/sh] false\n")
}

func TestAccountsWhereThereAreNone(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/os-release": "ID=bottlerocket\n"})
	for _, survey := range s.accessSurveys() {
		for _, f := range factsOf(t, survey.Survey) {
			if f.Kind != event.File {
				t.Errorf("survey %s reports %s %s of a machine without anything", survey.Name, f.Kind.Name, f.Subject)
			}
		}
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]hashed{
		"":                                   {state: "empty"},
		"*":                                  {state: "none"},
		"!":                                  {state: "none"},
		"!!":                                 {state: "none"},
		"!*":                                 {state: "none"},
		"*LK*":                               {state: "none"},
		"x":                                  {state: "invalid"},
		"secret":                             {state: "invalid"},
		"$y$j9T$salt$hash":                   {state: "set", algorithm: "yescrypt"},
		"$gy$j9T$salt$hash":                  {state: "set", algorithm: "gost-yescrypt"},
		"$7$CU..../....salt$hash":            {state: "set", algorithm: "scrypt"},
		"$2b$10$saltsaltsaltsaltsalthash":    {state: "set", algorithm: "bcrypt", rounds: 1024},
		"$6$salt$hash":                       {state: "set", algorithm: "sha512", rounds: 5000},
		"$6$rounds=65536$salt$hash":          {state: "set", algorithm: "sha512", rounds: 65536},
		"!$6$salt$hash":                      {state: "locked", algorithm: "sha512", rounds: 5000},
		"!!$1$salt$hash":                     {state: "locked", algorithm: "md5"},
		"$5$rounds=-1$salt$hash":             {state: "set", algorithm: "sha256"},
		"$1$salt$hash":                       {state: "set", algorithm: "md5"},
		"$md5,rounds=5000$salt$$hash":        {state: "set", algorithm: "sunmd5"},
		"$3$$8846f7eaee8fb117ad06bdd830b758": {state: "set", algorithm: "nthash"},
		"$9$what":                            {state: "set", algorithm: "unknown"},
		"_J9..rasmBYk8r9AiWNc":               {state: "set", algorithm: "bsdi"},
		"rl.3StKT.4T8M":                      {state: "set", algorithm: "des"},
	} {
		if got := hashOf(text); got != want {
			t.Errorf("hashOf(%q) = %+v, want %+v", text, got, want)
		}
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	today := time.Now().Unix() / 86400
	s := plant(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\nbob:$1$salt$CANARY:1001:1001::/home/bob:/bin/sh\n" +
			"carol:x:1002:1002::/home/carol:/bin/sh\nopen::1003:1003::/:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\n",
		"etc/shadow": "root:*:19000:0:99999:7:::\n" +
			fmt.Sprintf("alice:$y$j9T$salt$CANARY:%d:1:365:7:30:%d:\n", today-10, today+5) +
			fmt.Sprintf("alice:$1$salt$CANARY:%d:0:99999:7:::\n", today) +
			fmt.Sprintf("daemon:!$6$salt$CANARY:%d::::::\n", today+99) +
			"ghost::0:0:99999:7::1:\nbad:x\nworse:x:a:b:c::::\n",
	})
	facts := factsOf(t, s.Passwords)
	same(t, values(facts, "state", "hash", "hash_strong", "kept_in", "min_days", "max_days", "warn_days", "inactive_days", "changed_in_future", "account_expired", "orphan"), `
/etc/shadow:6 error /etc/shadow:6: want nine fields from name to flags, divided by colons
/etc/shadow:7 error /etc/shadow:7: want numbers of days from the third to the eighth field
root none <nil> <nil> shadow 0 99999 7 <nil> false false false
alice set yescrypt true shadow 1 365 7 30 false false false
bob set md5 false passwd <nil> <nil> <nil> <nil> <nil> false false
carol missing <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> false
open empty <nil> <nil> passwd <nil> <nil> <nil> <nil> <nil> false false
daemon locked sha512 true shadow <nil> <nil> <nil> <nil> true false false
alice set md5 false shadow 0 99999 7 <nil> false false false
ghost empty <nil> <nil> shadow 0 99999 7 <nil> false true true
`)
	if text := fmt.Sprint(facts); strings.Contains(text, "CANARY") || strings.Contains(text, "salt") {
		t.Errorf("a part of a hash is in a fact: %s", text)
	}
	if age := facts[3].Values["age_days"]; age != int64(10) {
		t.Errorf("age of alice's password is %v days", age)
	}
}

func TestPasswordsThatCannotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/shadow/is": "a directory"})
	if err := s.Passwords(context.Background(), func(f event.Fact) { t.Errorf("fact %v", f) }); err == nil {
		t.Error("want an error")
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd":  "root:x:0:0::/root:/bin/sh\nalice:x:1000:42::/home/alice:/bin/sh\n",
		"etc/group":   "root:x:0:\nshadow:x:42:bob\nstaff:$1$salt$CANARY:50:alice,alice, root\nstaff:x:50:\nsudo:x:27:alice\nbad:x\n+:::\n",
		"etc/gshadow": "root:*::\nshadow:!::\nsudo:$6$salt$CANARY:root,alice:alice\nbad\n",
	})
	facts := factsOf(t, s.Groups)
	same(t, values(facts, "gid", "members", "admins", "users", "unknown_members", "duplicate_gid", "duplicate_name", "has_password", "nis"), `
/etc/group:6 error /etc/group:6: want name:password:gid:members
/etc/gshadow:4 error /etc/gshadow:4: want name:password:administrators:members
root 0 [] [] 1 0 false false false false
shadow 42 [bob] [] 2 1 false false false false
staff 50 [alice alice root] [] 2 0 true true true false
staff 50 [] [] 0 0 true true false false
sudo 27 [alice] [root alice] 1 0 false false true false
+ <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> true
`)
	if strings.Contains(fmt.Sprint(facts), "CANARY") {
		t.Error("a part of a hash is in a fact")
	}
}

func TestHomes(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of other users")
	}
	s := plant(t, map[string]string{
		"etc/passwd": "alice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\ncarol:x:1002:1002::/home/carol:/bin/sh\n" +
			"dave:x:1003:1003::relative:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\n",
		"home/alice/.profile": "", "home/alice/.bash_history": "", "home/alice/.ssh/id_ed25519": "", "home/alice/visible": "",
		"home/bob/.profile": "", "home/bob/.netrc": "", "home/bob/.rhosts": "", "home/bob/.bash_history": "", "home/bob/.theirs": "", "home/bob/.ssh/id_rsa": "",
		"home/carol": "a file",
	})
	own(t, s, "home/alice", 1000)
	own(t, s, "home/bob", 1001)
	chmod(t, s, "home/alice", 0o750)
	for _, file := range []string{"home/alice/.bash_history", "home/alice/.ssh/id_ed25519"} {
		chmod(t, s, file, 0o600)
	}
	chmod(t, s, "home/alice/visible", 0o666)
	chmod(t, s, "home/bob", 0o777)
	chmod(t, s, "home/bob/.profile", 0o666)
	if err := os.Chown(filepath.Join(s.Root, "home/bob/.theirs"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.Root, "home/bob/.pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", filepath.Join(s.Root, "home/bob/.loop")); err != nil {
		t.Fatal(err)
	}
	same(t, values(factsOf(t, s.Homes), "exists", "owned", "mode_octal", "group_write", "other_access", "has_rhosts", "has_netrc", "netrc_open", "history_open",
		"writable_dotfiles", "foreign_dotfiles", "ssh_open", "loose_files"), `
alice true true 0750 false false false false false false 0 0 false []
bob true true 0777 true true true true true true 1 1 true [.bash_history .netrc .profile .theirs]
carol false <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>
dave false <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>
`)
}

// own gives a directory and what is in it to a user.
func own(t *testing.T, s *Surveys, dir string, uid int) {
	t.Helper()
	err := filepath.Walk(filepath.Join(s.Root, dir), func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestForeignWrite(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root: files of other users")
	}
	s := plant(t, map[string]string{
		"etc/passwd": "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:50::/:/bin/sh\n",
		"etc/group":  "root:x:0:\nalice:x:1000:\nstaff:x:50:\nempty:x:60:\n",
		"safe/a":     "", "open/a": "", "sticky/a": "", "staff/a": "", "empty/a": "", "mine/a": "", "safe/w": "", "safe/alices": "",
	})
	chmod(t, s, "", 0o755)
	chmod(t, s, "open", 0o777)
	if err := unix.Chmod(filepath.Join(s.Root, "sticky"), 0o1777); err != nil {
		t.Fatal(err)
	}
	chmod(t, s, "safe/w", 0o666)
	chmod(t, s, "staff", 0o775)
	chmod(t, s, "empty", 0o775)
	for path, ids := range map[string][2]int{"staff": {0, 50}, "empty": {0, 60}, "mine": {1000, 1000}, "safe/alices": {1000, 1000}} {
		if err := os.Chown(filepath.Join(s.Root, path), ids[0], ids[1]); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"safe/link": "/open/a", "safe/relative": "../safe/a", "open/link": "/safe/a", "safe/loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(s.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path            string
		uid             int64
		exists, foreign bool
	}{
		{"/safe/a", 0, true, false}, {"/safe", 0, true, false}, {"/", 0, true, false},
		{"/open/a", 0, true, true}, {"/safe/w", 0, true, true}, {"/sticky/a", 0, true, false},
		{"/sticky/none", 0, false, true}, {"/safe/none/below", 0, false, false}, {"/open/none", 0, true, true},
		{"/staff/a", 0, true, true}, {"/empty/a", 0, true, false},
		{"/mine/a", 0, true, true}, {"/mine/a", 1000, true, false}, {"/mine/a", 1001, true, true}, {"/safe/alices", 1000, true, false},
		{"/safe/link", 0, true, true}, {"/safe/relative", 0, true, false}, {"/open/link", 0, true, true},
	} {
		exists, foreign, err := s.foreignWrite(c.path, c.uid)
		if exists != c.exists || foreign != c.foreign || err != nil {
			t.Errorf("foreignWrite(%s, %d) = %v, %v, %v; want %v, %v", c.path, c.uid, exists, foreign, err, c.exists, c.foreign)
		}
	}
	if _, _, err := s.foreignWrite("/safe/loop", 0); err == nil {
		t.Error("a loop of links has no error")
	}
}

func TestFactsAreBounded(t *testing.T) {
	t.Parallel()
	var n, errors int
	report := bounded(func(f event.Fact) {
		if n++; f.Err() != "" {
			errors++
		}
	})
	for range maxAccessFacts + 10 {
		report(event.Account.New("x", ""))
	}
	if n != maxAccessFacts+1 || errors != 1 {
		t.Errorf("%d facts with %d errors", n, errors)
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add(passwdText)
	f.Add("root:x:0:0:::\n\x00:\n:::::::::\n")
	f.Fuzz(func(t *testing.T, text string) {
		accounts, _ := parseAccounts(text)
		groups, _ := parseGroups(text)
		parseGroupShadow(text)
		book, more := newAccountBook(accounts, groups), newGroupBook(groups, accounts)
		for _, a := range accounts {
			book.fact(a, people{1000})
		}
		for _, g := range groups {
			more.fact(g, groupShadow{})
		}
	})
}

func FuzzShadow(f *testing.F) {
	f.Add("root:$y$j9T$abc$def:19000:0:99999:7:::\nbob:!:::::::\n")
	f.Add("a:$6$rounds=99999999999999999999$x:1:2:3:4:5:6:\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, _ := parseShadow(text)
		b := passwordBook{who: people{1000}, today: 20000, lines: map[string]shadowLine{}}
		accounts, _ := parseAccounts(text)
		b.report(accounts, lines, func(f event.Fact) {
			for name, value := range f.Values {
				if hash, ok := value.(string); ok && name != "state" && name != "kept_in" && name != "hash" {
					t.Errorf("text %s = %q may be of a hash", name, hash)
				}
			}
		})
	})
}

func TestAnswersDoesNotWaitForTheDead(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	never := make(chan struct{})
	defer close(never)
	cancel()
	if answers(ctx, func() { <-never }) {
		t.Error("what does not answer has answered")
	}
	if !answers(context.Background(), func() {}) {
		t.Error("what answers at once has not")
	}
}
