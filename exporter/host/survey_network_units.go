package host

import (
	"cmp"
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// unitPaths are where systemd finds units, the first counting over the others.
var unitPaths = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unitTypes are the types of units that facts are told of.
var unitTypes = []string{"service", "socket", "timer", "path", "target"}

// A unitFile is a unit by its name: the file that counts, and who wants it.
type unitFile struct {
	name   string
	path   string   // of the file, or of the link that masks or renames it
	masked bool     // it is empty, or a link to /dev/null
	alias  string   // it is another unit's name: that unit
	wanted []string // links in .wants, .requires and .upholds directories, and names that somebody made
}

func (u *unitFile) enabled() bool { return len(u.wanted) > 0 && !u.masked }

// units are those of a machine.
type units struct {
	byName map[string]*unitFile
	adding map[string][]string // directories of drop-ins by their name, the first counting over the others
}

// units reads the directories of systemd, in which links say what is started.
func (s *Surveys) units() (*units, error) {
	all := units{byName: map[string]*unitFile{}, adding: map[string][]string{}}
	for _, dir := range unitPaths {
		if dir == "/lib/systemd/system" && s.isLink("/lib") {
			continue // it is /usr/lib by another name
		}
		if err := s.unitsIn(&all, dir); err != nil {
			return nil, err
		}
	}
	for _, u := range all.byName {
		if target := all.byName[u.alias]; target != nil && target != u && strings.HasPrefix(u.path, "/etc/") {
			target.wanted = append(target.wanted, u.path)
		}
		if u.path == "" {
			all.instance(u)
		}
	}
	return &all, nil
}

// instance settles what a unit is that is wanted and has no file: an instance of its template, masked with that, or what a package that is
// gone has left, which systemd cannot start.
func (all *units) instance(u *unitFile) {
	before, _, ok := strings.Cut(u.name, "@")
	template := all.byName[before+"@."+unitType(u.name)]
	if !ok || template == nil || template.path == "" {
		u.wanted = nil
		return
	}
	u.masked = template.masked
}

func (s *Surveys) isLink(file string) bool {
	_, err := s.Files().Readlink(file)
	return err == nil
}

func (s *Surveys) unitsIn(all *units, dir string) error {
	names, err := s.readDir(dir)
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		switch file := path.Join(dir, n.Name); {
		case n.Type == "directory" && isWants(n.Name):
			err = s.wantsIn(all, file)
		case n.Type == "directory" && strings.HasSuffix(n.Name, ".d"):
			all.adding[n.Name] = append(all.adding[n.Name], file)
		case n.Type == "file" || n.Type == "link":
			err = s.noteUnit(all, file, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isWants(dir string) bool {
	return strings.HasSuffix(dir, ".wants") || strings.HasSuffix(dir, ".requires") || strings.HasSuffix(dir, ".upholds")
}

// wantsIn notes the links in a directory: each names a unit that is started with the directory's.
func (s *Surveys) wantsIn(all *units, dir string) error {
	names, err := s.readDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Type == "link" || n.Type == "file" {
			u := all.named(n.Name)
			u.wanted = append(u.wanted, path.Join(dir, n.Name))
		}
	}
	return nil
}

func (all *units) named(name string) *unitFile {
	if all.byName[name] == nil {
		all.byName[name] = &unitFile{name: name}
	}
	return all.byName[name]
}

// addUnit notes a file or a link in a directory of units, unless one that counts more has been seen.
func (s *Surveys) noteUnit(all *units, file string, n Name) error {
	if u := all.named(n.Name); u.path == "" {
		u.path = file
		if n.Type == "link" {
			return s.followUnit(u)
		}
		st, err := s.stat(file)
		u.masked = err == nil && st.Size == 0
		return ignoreAbsent(err)
	}
	return nil
}

// followUnit says what a link in a directory of units means: to /dev/null it masks, to another unit it renames.
func (s *Surveys) followUnit(u *unitFile) error {
	target, err := s.Files().Readlink(u.path)
	if err != nil {
		return ignoreAbsent(err)
	}
	switch base := path.Base(target); {
	case path.Clean(target) == "/dev/null":
		u.masked = true
	case base != u.name:
		u.alias = base
	default:
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(u.path), target)
		}
		u.path = target // a unit that lies elsewhere
	}
	return nil
}

func ignoreAbsent(err error) error {
	if Absent(err) {
		return nil
	}
	return err
}

// matching are the units that a name or a pattern of path.Match means; that of a template means its instances, too.
func (all *units) matching(pattern string) (found []*unitFile) {
	if !strings.ContainsAny(pattern, "*?") {
		if u := all.byName[pattern]; u != nil {
			return []*unitFile{u}
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(all.byName)) {
		if ok, _ := path.Match(pattern, name); ok {
			found = append(found, all.byName[name])
		}
	}
	return found
}

// started says whether a unit of one of the names is started by anything.
func (all *units) started(names ...string) bool {
	for _, name := range names {
		if slices.ContainsFunc(all.matching(name), (*unitFile).enabled) {
			return true
		}
	}
	return false
}

// unitsSurvey reports the units of systemd.
func (s *Surveys) unitsSurvey(ctx context.Context, in *installed, report func(event.Fact)) error {
	for _, name := range slices.Sorted(maps.Keys(in.units.byName)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if u := in.units.byName[name]; slices.Contains(unitTypes, unitType(name)) && u.path != "" {
			report(s.unitFact(u, in.units))
		}
	}
	return nil
}

func unitType(name string) string { return strings.TrimPrefix(path.Ext(name), ".") }

func (s *Surveys) unitFact(u *unitFile, all *units) event.Fact {
	f := event.Unit.New(u.name, u.path).Set("path", u.path).Set("type", unitType(u.name))
	f.Set("enabled", u.enabled()).Set("masked", u.masked)
	if u.masked {
		return f.Set("state", "masked")
	}
	if u.alias != "" {
		return f.Set("state", "alias")
	}
	files, err := s.unitDropIns(u.name, all)
	if err != nil {
		return f.Fail(err)
	}
	f.Set("drop_ins", append([]string{}, files...))
	said := systemdUnit{file: u.path, dropIns: files}
	if err := s.readUnit(&said); err != nil {
		return f.Fail(err)
	}
	if said.wrong != nil {
		return f.Fail(said.wrong)
	}
	f.Set("state", said.state(u))
	return s.unitGuard(f, u, &said)
}

// unitDropIns are the files that add to a unit, in their order.
func (s *Surveys) unitDropIns(name string, all *units) ([]string, error) {
	var dirs []string
	for _, suffix := range dropInNames(name) {
		dirs = append(dirs, all.adding[suffix]...)
	}
	return s.dropIns(dirs, ".conf")
}

func (u *systemdUnit) state(of *unitFile) string {
	if of.enabled() {
		return "enabled"
	}
	for name := range u.values {
		if strings.HasPrefix(name, "Install.") {
			return "disabled"
		}
	}
	return "static"
}

// program is the program that a unit starts first, without the marks that systemd reads before it.
func (u *systemdUnit) program() string {
	for _, key := range []string{"Service.ExecStart", "Service.ExecStartPre", "Socket.ExecStartPre"} {
		if commands := u.values[key]; len(commands) > 0 {
			words := strings.Fields(strings.TrimLeft(commands[0].text, commandMarks))
			if len(words) > 0 {
				return unquoteShell(words[0])
			}
		}
	}
	return ""
}

// unitGuard says who can change what a unit starts.
func (s *Surveys) unitGuard(f event.Fact, u *unitFile, said *systemdUnit) event.Fact {
	all := append([]string{u.path}, said.dropIns...)
	if program := said.program(); program != "" {
		f.Set("program", program)
		if path.IsAbs(program) && !strings.Contains(program, "%") {
			all = append(all, program)
		}
	}
	user := said.last("Service.User")
	if unitType(u.name) == "service" {
		f.Set("user", cmp.Or(user, "root"))
	}
	foreign := []string{}
	for _, file := range all {
		open, err := s.changeable(file, user)
		if err != nil {
			return f.Fail(err)
		}
		if open {
			foreign = append(foreign, file)
		}
	}
	return f.Set("foreign", foreign).Set("guarded", len(foreign) == 0)
}

// changeable says whether somebody beside root, and a user, may write to a file.
func (s *Surveys) changeable(file, user string) (bool, error) {
	st, err := s.stat(file)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	if st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && st.Gid != 0 {
		return true, nil
	}
	owner, known, err := s.UserName(st.Uid)
	return st.Uid != 0 && !(known && owner == user), err
}
