package host

import (
	"cmp"
	"path"
	"strings"
)

// A systemdUnit is what the files of a unit say: every value of a key, in their order.
type systemdUnit struct {
	file    string // the file that counts; empty if there is none, or if the unit is masked
	dropIns []string
	values  map[string][]located // by section.key; an empty value takes back those before it
	wrong   error                // the first line that systemd passes over, since it is neither a section nor a value
}

// systemdUnit reads a unit with its drop-ins.
func (s *Surveys) systemdUnit(name string) (u systemdUnit, err error) {
	if u.file, err = s.unitFileOf(name); err != nil {
		return u, err
	}
	var dirs []string
	for _, suffix := range dropInNames(name) {
		for _, dir := range unitPaths {
			dirs = append(dirs, path.Join(dir, suffix))
		}
	}
	if u.dropIns, err = s.dropIns(dirs, ".conf"); err != nil {
		return u, err
	}
	return u, s.readUnit(&u)
}

// unitFileOf is the file of a unit that counts, empty if none does: one that is empty, or a link to /dev/null, masks it.
func (s *Surveys) unitFileOf(name string) (string, error) {
	for _, dir := range unitPaths {
		file := path.Join(dir, name)
		if _, err := s.lstat(file); Absent(err) {
			continue
		} else if err != nil {
			return "", err
		}
		if there, err := s.hasText(file); !there || err != nil {
			return "", err
		}
		return file, nil
	}
	return "", nil
}

// dropInNames are the names of the directories of what adds to a unit: of its name, of its template, and of all of its type.
func dropInNames(name string) []string {
	names := []string{name + ".d"}
	if before, _, ok := strings.Cut(name, "@"); ok {
		names = append(names, before+"@."+unitType(name)+".d")
	}
	return append(names, unitType(name)+".d")
}

// readUnit reads the files of a unit.
func (s *Surveys) readUnit(u *systemdUnit) error {
	u.values = map[string][]located{}
	files := u.dropIns
	if u.file != "" {
		files = append([]string{u.file}, files...)
	}
	return s.eachText(files, u.add)
}

// add reads one more file of the unit.
func (u *systemdUnit) add(file, text string) {
	u.wrong = cmp.Or(u.wrong, iniLines(file, text, func(section, key string, value located) {
		key = section + "." + key
		if value.text == "" {
			delete(u.values, key)
			return
		}
		u.values[key] = append(u.values[key], value)
	}))
}

// last is the last value of a key.
func (u *systemdUnit) last(key string) string {
	if all := u.values[key]; len(all) > 0 {
		return all[len(all)-1].text
	}
	return ""
}

// commandMarks are what systemd reads before a command.
const commandMarks = "@-:+!|"

// command is the command line that the unit starts last, with variables of its environment put in as systemd does, $NAME as words and
// ${NAME} within one, and where it stands. A unit without one has none.
func (u *systemdUnit) command(env map[string]string) (words []string, at string) {
	starts := u.values["Service.ExecStart"]
	if len(starts) == 0 {
		return nil, ""
	}
	var pairs []string
	for name, value := range env {
		pairs = append(pairs, "${"+name+"}", value)
	}
	start, within := starts[len(starts)-1], strings.NewReplacer(pairs...)
	for _, word := range shellWords(strings.TrimLeft(start.text, commandMarks)) {
		if name, ok := strings.CutPrefix(word, "$"); ok && isShellName(name) {
			words = append(words, shellWords(env[name])...)
			continue
		}
		words = append(words, within.Replace(word))
	}
	return words, start.at
}

// unitEnvironment is what the unit's processes find in their environment, as far as files tell: that of its files over its own, as
// systemd.exec(5) has it.
func (s *Surveys) unitEnvironment(u *systemdUnit) (map[string]string, error) {
	env := map[string]string{}
	for _, v := range u.values["Service.Environment"] {
		for _, word := range shellWords(v.text) {
			if name, value, ok := strings.Cut(word, "="); ok {
				env[name] = value
			}
		}
	}
	for _, v := range u.values["Service.EnvironmentFile"] {
		file := strings.TrimPrefix(v.text, "-")
		if !path.IsAbs(file) {
			continue
		}
		text, _, err := s.configText(file)
		if err != nil {
			return nil, err
		}
		joinedLines(text, "#;", func(_ int, line string) {
			if name, value, ok := strings.Cut(line, "="); ok {
				env[strings.TrimSpace(name)] = envFileValue(strings.TrimSpace(value))
			}
		})
	}
	return env, nil
}

// envFileValue takes the quotes off a value in a file of an environment. Other than in a shell, blanks outside of them are a part of it.
func envFileValue(text string) string {
	var b strings.Builder
	for text != "" {
		n := wordLength(text)
		b.WriteString(unquoteShell(text[:n]))
		rest := strings.TrimLeft(text[n:], " \t")
		b.WriteString(text[n : len(text)-len(rest)])
		text = rest
	}
	return b.String()
}

// shellWords splits at blanks outside of quotes, which it takes off.
func shellWords(text string) (all []string) {
	for text = strings.TrimLeft(text, " \t"); text != ""; text = strings.TrimLeft(text, " \t") {
		n := wordLength(text)
		all = append(all, unquoteShell(text[:n]))
		text = text[n:]
	}
	return all
}

// wordLength is how many bytes of a text are its first word, with its quotes.
func wordLength(text string) int {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == ' ' || c == '\t'):
			return i
		}
	}
	return len(text)
}
