package host

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// fimPrograms are what notices that files change.
var fimPrograms = []knownService{
	{"yagura", []string{"yagura"}, []string{"yagura.service"}, []string{"yagura"}, nil, []string{"yagura"}},
	{"tripwire", []string{"tripwire"}, nil, nil, nil, []string{"tripwire"}},
	{"samhain", []string{"samhain"}, []string{"samhain.service"}, []string{"samhain"}, nil, []string{"samhain"}},
	{"osquery", []string{"osquery"}, []string{"osqueryd.service"}, nil, nil, []string{"osqueryd"}},
	{"wazuh", []string{"wazuh-agent", "ossec-hids"}, []string{"wazuh-agent.service", "ossec.service"}, nil, nil, []string{"wazuh-syscheckd", "ossec-syscheckd"}},
	{"integrit", []string{"integrit"}, nil, nil, nil, []string{"integrit"}},
}

// aideConfigs and aideDatabases are where AIDE has them, by distribution.
var (
	aideConfigs   = []string{"/etc/aide/aide.conf", "/etc/aide.conf"}
	aideDatabases = []string{"/var/lib/aide/aide.db", "/var/lib/aide/aide.db.gz"}
	aideTimers    = []string{"aidecheck.timer", "dailyaidecheck.timer", "aide.timer", "aide-check.timer"}
	cronPatterns  = []string{"/etc/crontab", "/etc/cron.d/*", "/etc/cron.hourly/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/etc/cron.monthly/*", "/etc/periodic/*/*", "/var/spool/cron/root", "/var/spool/cron/crontabs/root", "/etc/crontabs/root"}
)

// fileIntegrity reports what notices that files change.
func (s *Surveys) fileIntegrity(_ context.Context, in *installed, report func(event.Fact)) error {
	found := false
	aide := knownService{"aide", []string{"aide"}, aideTimers, nil, nil, []string{"aide"}}
	if state := in.state(&aide); state.exists {
		found = true
		report(s.aideFact(in))
	}
	for i := range fimPrograms {
		k := &fimPrograms[i]
		state := in.state(k)
		if !state.exists && len(in.paths(k.programs)) == 0 {
			continue
		}
		found = true
		scheduled := state.enabled || s.stays(in.ran, k.programs)
		if !scheduled {
			var err error
			if scheduled, err = s.cronRuns(k.programs[0]); err != nil {
				return err
			}
		}
		report(event.FIM.New(k.name, "").Set("exists", true).Set("scheduled", scheduled))
	}
	if !found {
		report(event.FIM.New("none", "").Set("exists", false).Set("scheduled", false))
	}
	return nil
}

// oneTimeCommands are those of our own program that look once and end, as the one that may be asking now.
var oneTimeCommands = []string{"check", "doctor", "metrics", "replay", "posture", "fim", "query", "rules"}

// stays says whether a process of a program runs to stay.
func (s *Surveys) stays(ran []ranProgram, programs []string) bool {
	return slices.ContainsFunc(ran, func(p ranProgram) bool {
		if !p.is(programs...) {
			return false
		}
		data, err := s.Proc().Read(path.Join(strconv.Itoa(p.pid), "cmdline"), maxDaemonArgs)
		return err == nil && !(p.is("yagura") && slices.ContainsFunc(splitArgs(data), func(arg string) bool { return slices.Contains(oneTimeCommands, arg) }))
	})
}

// cronRuns says whether a program is called by a job of cron, or the job is called like it.
func (s *Surveys) cronRuns(program string) (found bool, err error) {
	called := regexp.MustCompile(`(^|[\s/;&|(])` + regexp.QuoteMeta(program) + `($|[\s.;&|)])`)
	for _, pattern := range cronPatterns {
		files, err := s.glob(pattern)
		if err != nil {
			return false, err
		}
		err = s.eachText(files, func(_, text string) {
			joinedLines(text, "#", func(_ int, line string) { found = found || called.MatchString(line) })
		})
		if err != nil {
			return false, err
		}
	}
	return found, nil
}

func (s *Surveys) aideFact(in *installed) event.Fact {
	f := event.FIM.New("aide", "").Set("exists", true)
	scheduled := in.units.started(aideTimers...)
	if !scheduled {
		var err error
		if scheduled, err = s.cronRuns("aide"); err != nil {
			return f.Fail(err)
		}
	}
	database, err := s.firstThere(aideDatabases...)
	if err != nil {
		return f.Fail(err)
	}
	f.Set("scheduled", scheduled).Set("database", database != "")
	conf, err := s.aideConf()
	if err != nil {
		return f.Fail(err)
	}
	missing := []string{}
	for _, name := range auditTools {
		if file, ok := in.programs[name]; ok && !conf.hashes(file) {
			missing = append(missing, file)
		}
	}
	return f.Set("tools", len(missing) == 0).Set("tools_missing", missing)
}

// An aideConf is what AIDE compares: lines with a path and attributes, and names of groups of attributes.
type aideConf struct {
	groups    map[string]string
	lines     []aideLine
	forbidden []*regexp.Regexp // lines that begin with an exclamation mark
}

type aideLine struct {
	path       *regexp.Regexp
	attributes string
}

// aideConf reads the configuration of AIDE and what it includes.
func (s *Surveys) aideConf() (*aideConf, error) {
	c := &aideConf{groups: map[string]string{}}
	file, err := s.firstThere(aideConfigs...)
	if err != nil || file == "" {
		return c, err
	}
	files, seen := []string{file}, map[string]bool{}
	for len(files) > 0 && len(seen) < maxIncludes {
		file := files[0]
		if files = files[1:]; seen[file] {
			continue
		}
		seen[file] = true
		text, _, err := s.configText(file)
		if err != nil {
			return c, err
		}
		for _, pattern := range c.add(text) {
			found, err := s.glob(pattern)
			if err != nil {
				return c, err
			}
			files = append(files, found...)
		}
	}
	return c, nil
}

// add takes in a file, and returns the patterns of files that it includes.
func (c *aideConf) add(text string) (includes []string) {
	joinedLines(text, "#", func(_ int, line string) {
		words := strings.Fields(line)
		switch {
		case words[0] == "@@include" && len(words) > 1:
			includes = append(includes, words[1])
		case words[0] == "@@x_include" && len(words) > 2:
			includes = append(includes, path.Join(words[1], "*"))
		case words[0] == "@@x_include" || strings.HasPrefix(words[0], "@@"):
			if len(words) > 1 && strings.HasSuffix(words[0], "include") {
				includes = append(includes, path.Join(words[1], "*"))
			}
		case strings.HasPrefix(line, "/") || strings.HasPrefix(line, "=/"):
			if len(words) > 1 {
				c.line(strings.TrimPrefix(words[0], "="), words[len(words)-1], strings.HasPrefix(line, "="))
			}
		case strings.HasPrefix(line, "!/"):
			if pattern, err := regexp.Compile("^" + words[0][1:]); err == nil {
				c.forbidden = append(c.forbidden, pattern)
			}
		default:
			if name, value, ok := strings.Cut(line, "="); ok && !strings.ContainsAny(strings.TrimSpace(name), " \t:/") {
				c.groups[strings.TrimSpace(name)] = strings.ReplaceAll(value, " ", "")
			}
		}
	})
	return includes
}

// line notes what a path, which is a regular expression from its beginning, is compared by.
func (c *aideConf) line(pattern, attributes string, only bool) {
	if only {
		pattern += "$"
	}
	if compiled, err := regexp.Compile("^" + pattern); err == nil && len(c.lines) < maxFilterRules {
		c.lines = append(c.lines, aideLine{compiled, attributes})
	}
}

// strongHashes are attributes that compare what is in a file, such that nobody can make another with the same.
var strongHashAttributes = []string{"sha256", "sha512", "sha512_256", "sha3_256", "sha3_512", "stribog256", "stribog512", "H"}

// hashes says whether a file is compared by a strong hash.
func (c *aideConf) hashes(file string) bool {
	if slices.ContainsFunc(c.forbidden, func(p *regexp.Regexp) bool { return p.MatchString(file) }) {
		return false
	}
	for _, line := range c.lines {
		if line.path.MatchString(file) && c.strong(line.attributes, 0) {
			return true
		}
	}
	return false
}

// strong says whether an expression of attributes has a strong hash: those behind a minus are taken out.
func (c *aideConf) strong(attributes string, depth int) bool {
	if depth > 10 {
		return false
	}
	has, minus, word := false, false, ""
	for _, r := range attributes + "+" {
		if r != '+' && r != '-' {
			word += string(r)
			continue
		}
		group, isGroup := c.groups[word]
		if slices.Contains(strongHashAttributes, word) || isGroup && c.strong(group, depth+1) {
			has = !minus
		}
		word, minus = "", r == '-'
	}
	return has
}
