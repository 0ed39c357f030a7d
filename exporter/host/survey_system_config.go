package host

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxConfigText bounds a configuration file that people write.
const maxConfigText = 4 << 20

// A located is a text and where it stands: "/etc/sysctl.d/10-x.conf:3".
type located struct {
	text string
	at   string
}

// dropIns returns the files with a suffix in several directories, as systemd and kmod read them: in the order of their names, of
// those with one name only that of the first directory, and none that is empty or a link to /dev/null, which is how one is masked.
func (s *Surveys) dropIns(dirs []string, suffix string) ([]string, error) {
	byName := map[string]string{}
	for _, dir := range dirs {
		names, err := s.readDir(dir)
		if Absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if _, masked := byName[n.Name]; !masked && strings.HasSuffix(n.Name, suffix) && n.Type != "directory" {
				byName[n.Name] = path.Join(dir, n.Name)
			}
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch there, err := s.hasText(byName[name]); {
		case err != nil:
			return nil, err
		case there:
			files = append(files, byName[name])
		}
	}
	return files, nil
}

// hasText says whether a path is a file, or a link to one, that is not there to mask another.
func (s *Surveys) hasText(file string) (bool, error) {
	if target, err := s.Files().Readlink(file); err == nil && path.Clean(target) == "/dev/null" {
		return false, nil
	}
	st, err := s.stat(file)
	if Absent(err) {
		return false, nil // a link that leads nowhere
	}
	if err != nil {
		return false, err
	}
	kind := fileType(st.Mode)
	return kind != "device" && (kind != "file" || st.Size > 0), nil // what is neither will be refused when it is read
}

// there says whether anything is at a path; what cannot be told counts as an error.
func (s *Surveys) there(file string) (bool, error) {
	_, err := s.stat(file)
	if Absent(err) {
		return false, nil
	}
	return err == nil, err
}

// firstThere returns the first of several paths at which there is something, empty if at none.
func (s *Surveys) firstThere(files ...string) (string, error) {
	for _, file := range files {
		if ok, err := s.there(file); ok || err != nil {
			return file, err
		}
	}
	return "", nil
}

// configText is a whole configuration file. One that is not there has no text.
func (s *Surveys) configText(file string) (text string, exists bool, err error) {
	data, err := s.read(file, maxConfigText)
	if Absent(err) {
		return "", false, nil
	}
	return string(data), err == nil, err
}

// eachText calls a function with each of some configuration files, whole, until one cannot be read.
func (s *Surveys) eachText(files []string, do func(file, text string)) error {
	for _, file := range files {
		text, _, err := s.configText(file)
		if err != nil {
			return err
		}
		do(file, text)
	}
	return nil
}

// joinedLines calls a function with each line that is neither empty nor a comment, blanks around it removed, those that end with a
// backslash joined with the next, and with the number of the first.
func joinedLines(text, comments string, line func(n int, text string)) {
	n, began, joined := 0, 0, ""
	for part := range strings.Lines(text) {
		n++
		part = strings.TrimRight(part, "\r\n")
		if began == 0 {
			if began = n; isComment(strings.TrimSpace(part), comments) {
				began = 0
				continue
			}
		}
		if rest, more := strings.CutSuffix(part, `\`); more {
			joined += rest + " "
			continue
		}
		if whole := strings.TrimSpace(joined + part); whole != "" {
			line(began, whole)
		}
		began, joined = 0, ""
	}
	if whole := strings.TrimSpace(joined); whole != "" {
		line(began, whole)
	}
}

func isComment(line, marks string) bool { return line != "" && strings.IndexByte(marks, line[0]) >= 0 }

// An iniFile is a file of sections with keys: "[Section]" and "key = value" lines. Keys are as they are written.
type iniFile map[string]map[string]located

func (f iniFile) get(section, key string) (located, bool) {
	v, ok := f[section][key]
	return v, ok
}

// add reads one more file; what it says counts over what was said before.
func (f iniFile) add(file, text string) error {
	return iniLines(file, text, func(section, key string, value located) {
		if f[section] == nil {
			f[section] = map[string]located{}
		}
		f[section][key] = value
	})
}

// iniLines calls a function with each key and its value, and the section that it is in. A line that is neither is an error, which names
// it; the rest is read all the same.
func iniLines(file, text string, do func(section, key string, value located)) (err error) {
	section := ""
	joinedLines(text, "#;", func(n int, line string) {
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line[1 : len(line)-1]
			return
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			err = cmp.Or(err, fmt.Errorf("%s: want [Section] or Key=value, got %.60q", place(file, n), line))
			return
		}
		do(section, strings.TrimSpace(key), located{strings.TrimSpace(value), place(file, n)})
	})
	return err
}

// systemdDirs are where systemd looks for its configuration, the first counting over the others.
var systemdDirs = []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"}

// systemdConfig reads a configuration file of systemd, such as coredump.conf, with its drop-ins.
func (s *Surveys) systemdConfig(name string) (iniFile, error) {
	var mains, dirs []string
	for _, dir := range systemdDirs {
		mains, dirs = append(mains, path.Join(dir, name)), append(dirs, path.Join(dir, name+".d"))
	}
	main, err := s.firstThere(mains...)
	if err != nil {
		return nil, err
	}
	files, err := s.dropIns(dirs, ".conf")
	if err != nil {
		return nil, err
	}
	if main != "" {
		files = append([]string{main}, files...)
	}
	return s.iniFiles(files)
}

// iniFiles reads several files as one.
func (s *Surveys) iniFiles(files []string) (iniFile, error) {
	all := iniFile{}
	var first error
	for _, file := range files {
		text, _, err := s.configText(file)
		if err == nil {
			err = all.add(file, text)
		}
		if first == nil {
			first = err
		}
	}
	return all, first
}

// shellValues reads NAME=value lines, as os-release and the files in /etc/default have them: quotes around a value are taken off.
// Lines of another form are not of interest there.
func shellValues(file, text string) map[string]located {
	values := map[string]located{}
	joinedLines(text, "#", func(n int, line string) {
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok || key == "" || strings.ContainsAny(key, " \t'\"$") {
			return
		}
		values[key] = located{unquoteShell(value), place(file, n)}
	})
	return values
}

// unquoteShell takes off the quotes of one word, or cuts at the first blank outside of any.
func unquoteShell(value string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// on reads a truth as configuration files write it.
func on(value string) bool {
	switch strings.ToLower(value) {
	case "1", "y", "yes", "true", "on", "enable", "enabled":
		return true
	}
	return false
}
