package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// Banners reports the texts that are shown around a login.
func (s *Surveys) Banners(ctx context.Context, report func(event.Fact)) error {
	names, err := s.systemNames()
	if err != nil {
		return err
	}
	for _, b := range []struct{ purpose, file string }{{"motd", "/etc/motd"}, {"issue", "/etc/issue"}, {"issue_net", "/etc/issue.net"}} {
		f := event.Banner.New(b.file, b.file).Set("purpose", b.purpose)
		text, exists, err := s.configText(b.file)
		if err != nil {
			report(f.Fail(err))
			continue
		}
		words, discloses := bannerWords(text, names)
		report(f.Set("exists", exists).Set("words", int64(words)).Set("discloses", discloses))
	}
	return ctx.Err()
}

// systemNames are what the distribution is called, in small letters: by its id, and by the first word of its name, or two of Red Hat.
// Without os-release it has none.
func (s *Surveys) systemNames() ([]string, error) {
	d, err := s.distribution()
	if err != nil {
		file, missing := s.firstThere("/etc/os-release", "/usr/lib/os-release")
		if missing == nil && file == "" {
			return nil, nil
		}
		return nil, err
	}
	words := strings.Fields(strings.ToLower(d.name))
	if len(words) > 1 && len(words[0]) < shortName {
		words[0] += " " + words[1]
	}
	return append([]string{d.id}, words[:min(1, len(words))]...), nil
}

// shortName is of how many letters names are that only count as whole words: ol is Oracle's, and the beginning of many others.
const shortName = 4

// bannerWords counts the words of a text, and says whether it tells what system this is: agetty(8) has the escapes.
func bannerWords(text string, names []string) (words int, discloses bool) {
	for _, escape := range []string{`\m`, `\r`, `\s`, `\v`, `\S`} {
		discloses = discloses || strings.Contains(text, escape)
	}
	said := " "
	for word := range strings.FieldsSeq(text) {
		plain := strings.ToLower(strings.Trim(word, ".,;:!?\"'()[]{}/-*#=_|"))
		if said += plain + " "; plain != "" && !strings.HasPrefix(word, `\`) {
			words++
		}
	}
	return words, discloses || slices.ContainsFunc(names, func(name string) bool {
		if len(name) < shortName {
			name += " "
		}
		return strings.Contains(said, " "+name)
	})
}

// gdmPrograms are the GNOME display manager.
var gdmPrograms = []string{"/usr/sbin/gdm3", "/usr/sbin/gdm", "/usr/bin/gdm"}

func (s *Surveys) hasGDM() (bool, error) {
	program, err := s.firstThere(gdmPrograms...)
	return program != "", err
}

// GDMs reports the GNOME display manager, if it is installed.
func (s *Surveys) GDMs(ctx context.Context, report func(event.Fact)) error {
	if ok, err := s.hasGDM(); !ok || err != nil {
		return err
	}
	file, err := s.firstThere("/etc/gdm3/custom.conf", "/etc/gdm3/daemon.conf", "/etc/gdm/custom.conf")
	if err != nil {
		return err
	}
	config := iniFile{}
	if file != "" {
		if config, err = s.iniFiles([]string{file}); err != nil {
			return err
		}
	}
	xdmcp, _ := config.get("xdmcp", "Enable")
	automatic, _ := config.get("daemon", "AutomaticLoginEnable")
	timed, _ := config.get("daemon", "TimedLoginEnable")
	report(event.GDM.New("gdm", file).Set("xdmcp", on(xdmcp.text)).Set("autologin", on(automatic.text) || on(timed.text)))
	return ctx.Err()
}

// knownDconf are the settings that are reported. Those of the login screen are looked for in its own profile.
var knownDconf = []string{
	"org/gnome/login-screen/banner-message-enable", "org/gnome/login-screen/banner-message-text", "org/gnome/login-screen/disable-user-list",
	"org/gnome/desktop/session/idle-delay", "org/gnome/desktop/screensaver/lock-delay", "org/gnome/desktop/screensaver/lock-enabled",
	"org/gnome/desktop/media-handling/automount", "org/gnome/desktop/media-handling/automount-open", "org/gnome/desktop/media-handling/autorun-never",
}

// A dconfDatabase is one of the system's: what its key files set, and what they lock.
type dconfDatabase struct {
	keys  map[string]located
	locks map[string]bool
}

// DconfKeys reports settings of the desktop that hold for everybody, if the GNOME display manager is installed.
func (s *Surveys) DconfKeys(ctx context.Context, report func(event.Fact)) error {
	if ok, err := s.hasGDM(); !ok || err != nil {
		return err
	}
	user, err := s.dconfProfile("user")
	if err != nil {
		return err
	}
	greeter, err := s.greeterProfile()
	if err != nil {
		return err
	}
	for _, key := range knownDconf {
		if strings.HasPrefix(key, "org/gnome/login-screen/") {
			report(dconfFact(key, greeter))
		} else {
			report(dconfFact(key, user))
		}
	}
	return ctx.Err()
}

// dconfFact takes a setting from the first database that has it. A lock in any of them keeps users from changing it.
func dconfFact(key string, databases []dconfDatabase) event.Fact {
	f := event.Dconf.New(key, "")
	locked, exists := false, false
	for _, db := range databases {
		locked = locked || db.locks["/"+key]
		value, ok := db.keys[key]
		if !ok || exists {
			continue
		}
		exists = true
		text := dconfText(value.text)
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			f.Set("number", n)
		}
		f.Source = value.at
		f.Set("value", text)
	}
	return f.Set("exists", exists).Set("locked", locked)
}

// dconfText is a value without its type and quotes: "uint32 900", "'text'".
func dconfText(value string) string {
	if kind, rest, ok := strings.Cut(value, " "); ok && slices.Contains([]string{"uint32", "int32", "uint64", "int64", "uint16", "int16", "byte"}, kind) {
		value = rest
	}
	if len(value) >= 2 && (value[0] == '\'' || value[0] == '"') && value[len(value)-1] == value[0] {
		return value[1 : len(value)-1]
	}
	return value
}

// dconfProfile reads the databases of a profile, the first counting over the others: dconf(7).
func (s *Surveys) dconfProfile(name string) ([]dconfDatabase, error) {
	file := path.Join("/etc/dconf/profile", name)
	text, exists, err := s.configText(file)
	if err != nil {
		return nil, err
	}
	if !exists {
		text = "user-db:user\nsystem-db:site\n"
	}
	var all []dconfDatabase
	var malformed error
	joinedLines(text, "#", func(n int, line string) {
		kind, db, ok := strings.Cut(line, ":")
		switch {
		case !ok || !slices.Contains([]string{"user-db", "system-db", "file-db", "service-db"}, kind):
			malformed = fmt.Errorf("%s: want user-db, system-db, file-db or service-db with a name, got %.60q", place(file, n), line)
		case kind == "system-db" && !strings.Contains(db, "/") && malformed == nil:
			var one dconfDatabase
			one, malformed = s.dconfDatabase(path.Join("/etc/dconf/db", db+".d"))
			all = append(all, one)
		}
	})
	return all, malformed
}

// greeterProfile is the login screen's: that of dconf, and the file that Debian keeps beside it.
func (s *Surveys) greeterProfile() ([]dconfDatabase, error) {
	all, err := s.dconfProfile("gdm")
	if err != nil {
		return nil, err
	}
	file := "/etc/gdm3/greeter.dconf-defaults"
	text, exists, err := s.configText(file)
	if err != nil || !exists {
		return all, err
	}
	db := newDconfDatabase()
	return append(all, db), db.add(file, text)
}

func newDconfDatabase() dconfDatabase { return dconfDatabase{map[string]located{}, map[string]bool{}} }

// dconfDatabase reads the key files of one database, the last counting, and the locks.
func (s *Surveys) dconfDatabase(dir string) (dconfDatabase, error) {
	db := newDconfDatabase()
	files, err := s.glob(dir + "/*")
	if err != nil {
		return db, err
	}
	for _, file := range files {
		if file == dir+"/locks" {
			continue
		}
		text, _, err := s.configText(file)
		if err == nil {
			err = db.add(file, text)
		}
		if err != nil {
			return db, err
		}
	}
	locks, err := s.glob(dir + "/locks/*")
	for _, file := range locks {
		text, _, err := s.configText(file)
		if err != nil {
			return db, err
		}
		joinedLines(text, "#", func(_ int, line string) { db.locks[line] = true })
	}
	return db, err
}

func (db dconfDatabase) add(file, text string) error {
	keys := iniFile{}
	err := keys.add(file, text)
	for section, values := range keys {
		for key, value := range values {
			db.keys[section+"/"+key] = value
		}
	}
	return err
}
