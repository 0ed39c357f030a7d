package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// Repositories reports the places that packages are installed from.
func (s *Surveys) Repositories(ctx context.Context, report func(event.Fact)) error {
	for _, manager := range []func(func(event.Fact)) error{s.aptRepositories, s.dnfRepositories, s.apkRepositories} {
		if err := manager(report); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Updates reports how packages are kept up to date.
func (s *Surveys) Updates(ctx context.Context, report func(event.Fact)) error {
	now := time.Now()
	for _, manager := range []struct {
		name string
		mark string // is there if the manager is
		set  func(event.Fact, time.Time) error
	}{
		{"apt", "/etc/apt", s.aptUpdates}, {"dnf", "/etc/yum.repos.d", s.dnfUpdates}, {"apk", "/etc/apk/repositories", s.apkUpdates},
	} {
		ok, err := s.there(manager.mark)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		f := event.Update.New(manager.name, manager.mark)
		if err := manager.set(f, now); err != nil {
			f.Fail(err)
		}
		report(f)
	}
	return ctx.Err()
}

// setAge sets how long ago the newest of some files was changed.
func (s *Surveys) setAge(f event.Fact, now time.Time, files ...string) error {
	newest := int64(0)
	for _, file := range files {
		st, err := s.stat(file)
		if err != nil && !Absent(err) {
			return err
		}
		newest = max(newest, st.Mtim.Sec)
	}
	if newest > 0 {
		f.Set("age_days", int64(now.Sub(time.Unix(newest, 0)).Hours()/24))
	}
	return nil
}

// An aptSource is one line of sources.list, or one address and suite of a deb822 file.
type aptSource struct {
	address, suite       string
	trusted, signedBy    string
	insecure, isDisabled bool
	at                   string
}

func (s *Surveys) aptRepositories(report func(event.Fact)) error {
	config, err := s.aptConfig()
	if err != nil {
		return err
	}
	sources, malformed, err := s.aptSources()
	if err != nil {
		return err
	}
	for _, f := range malformed {
		report(f)
	}
	anything := aptAllowsUnsigned(config)
	for _, src := range sources {
		f := event.Repository.New(src.address+" "+src.suite, src.at).Set("manager", "apt").Set("address", src.address).Set("enabled", !src.isDisabled)
		f.Set("verified", !on(src.trusted) && !src.insecure && !anything)
		report(f.Set("own_key", src.signedBy != "").Set("encrypted", encryptedAddress(src.address)))
	}
	return nil
}

func (s *Surveys) aptSources() (sources []aptSource, malformed []event.Fact, err error) {
	files, err := s.globs([]string{"/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources"})
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		text, _, err := s.configText(file)
		if err != nil {
			return nil, nil, err
		}
		read := parseSourcesList
		if strings.HasSuffix(file, ".sources") {
			read = parseDeb822
		}
		more, wrong := read(file, text)
		sources = append(sources, more...)
		for _, w := range wrong {
			at, _, _ := strings.Cut(w.Error(), ": ")
			malformed = append(malformed, event.Repository.New(at, at).Fail(w))
		}
	}
	return sources, malformed, nil
}

// parseSourcesList reads lines "deb [option=value …] address suite component …": sources.list(5).
func parseSourcesList(file, text string) (sources []aptSource, wrong []error) {
	joinedLines(text, "#", func(n int, line string) {
		line, _, _ = strings.Cut(line, " #")
		kind, rest, _ := strings.Cut(oneBlank(line), " ")
		src := aptSource{at: place(file, n)}
		if strings.HasPrefix(rest, "[") {
			options, behind, closed := strings.Cut(rest[1:], "]")
			if !closed {
				kind = "" // refused below
			}
			for _, option := range strings.Fields(options) {
				key, value, _ := strings.Cut(option, "=")
				src.set(strings.TrimRight(key, "+-"), value)
			}
			rest = behind
		}
		words := strings.Fields(rest)
		if len(words) < 2 || kind != "deb" && kind != "deb-src" {
			wrong = append(wrong, fmt.Errorf("%s: want deb, an address and a suite, got %.80q", src.at, line))
			return
		}
		if src.address, src.suite = words[0], words[1]; kind == "deb" {
			sources = append(sources, src)
		}
	})
	return sources, wrong
}

func (src *aptSource) set(key, value string) {
	switch strings.ToLower(key) {
	case "trusted":
		src.trusted = value
	case "signed-by":
		src.signedBy = value
	case "allow-insecure", "allow-weak", "allow-downgrade-to-insecure":
		src.insecure = src.insecure || on(value)
	case "enabled":
		src.isDisabled = !on(value)
	}
}

// parseDeb822 reads stanzas of "Key: value" lines, parted by empty ones; a line that begins with a blank goes on with the value before.
func parseDeb822(file, text string) (sources []aptSource, wrong []error) {
	stanza, began, key, n := map[string]string{}, 0, "", 0
	end := func() {
		if len(stanza) > 0 {
			more, err := deb822Sources(stanza, place(file, began))
			if err != nil {
				wrong = append(wrong, err)
			}
			sources = append(sources, more...)
		}
		stanza, key = map[string]string{}, ""
	}
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		name, value, isField := strings.Cut(line, ":")
		switch {
		case line == "":
			end()
		case line[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && key != "":
			stanza[key] += " " + strings.TrimSpace(line)
		case isField && !strings.ContainsAny(name, " \t"):
			if len(stanza) == 0 {
				began = n
			}
			key = strings.ToLower(name)
			stanza[key] = strings.TrimSpace(value)
		default:
			wrong = append(wrong, fmt.Errorf("%s: want Key: value, got %.80q", place(file, n), line))
		}
	}
	end()
	return sources, wrong
}

func deb822Sources(stanza map[string]string, at string) (sources []aptSource, err error) {
	types, addresses, suites := strings.Fields(stanza["types"]), strings.Fields(stanza["uris"]), strings.Fields(stanza["suites"])
	if len(types) == 0 || len(addresses) == 0 || len(suites) == 0 {
		return nil, fmt.Errorf("%s: want Types, URIs and Suites", at)
	}
	if !slices.Contains(types, "deb") {
		return nil, nil
	}
	for _, address := range addresses {
		for _, suite := range suites {
			src := aptSource{address: address, suite: suite, at: at}
			for key, value := range stanza {
				src.set(key, value)
			}
			sources = append(sources, src)
		}
	}
	return sources, nil
}

// encryptedAddress says whether nobody on the way can see or change what comes from an address: it is of TLS, or of this machine.
func encryptedAddress(address string) bool {
	scheme, _, ok := strings.Cut(strings.ToLower(address), ":")
	if !ok {
		return strings.HasPrefix(address, "/")
	}
	for part := range strings.SplitSeq(scheme, "+") {
		switch part {
		case "https", "file", "copy", "cdrom", "s3", "ssh", "rsh":
			return true
		}
	}
	return false
}

// aptConfig reads the configuration of apt, its names in lower case: apt.conf(5). Lists have their last value.
func (s *Surveys) aptConfig() (map[string]string, error) {
	names, err := s.readDir("/etc/apt/apt.conf.d")
	if err != nil && !Absent(err) {
		return nil, err
	}
	var files []string
	for _, n := range names {
		if ext := path.Ext(n.Name); (ext == "" || ext == ".conf") && n.Type != "directory" && n.Name[0] != '.' && !strings.ContainsAny(n.Name, "~#") {
			files = append(files, path.Join("/etc/apt/apt.conf.d", n.Name))
		}
	}
	values := map[string]string{}
	for _, file := range append(files, "/etc/apt/apt.conf") {
		text, _, err := s.configText(file)
		if err != nil {
			return nil, err
		}
		if err := parseAptConfig(file, text, values); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// maxAptNesting bounds how deep blocks are within each other.
const maxAptNesting = 32

// parseAptConfig reads statements `Name::Of::Option "value";` and blocks `Name { Option "value"; };` of them.
func parseAptConfig(file, text string, to map[string]string) error {
	var scopes, statement []string
	for _, token := range aptTokens(text) {
		switch token.text {
		case "{":
			if len(scopes) >= maxAptNesting || len(statement) == 0 {
				return fmt.Errorf("%s: want a name before {, and at most %d of them within each other", place(file, token.line), maxAptNesting)
			}
			scopes, statement = append(scopes, statement[0]), nil
		case "}":
			if len(scopes) == 0 {
				return fmt.Errorf("%s: there is no { for this }", place(file, token.line))
			}
			scopes, statement = scopes[:len(scopes)-1], nil
		case ";":
			if len(statement) >= 2 && statement[0] != "#clear" {
				name := strings.Join(append(slices.Clone(scopes), statement[0]), "::")
				to[strings.ToLower(name)] = statement[1]
			}
			statement = nil
		default:
			statement = append(statement, token.text)
		}
	}
	if len(scopes) > 0 {
		return fmt.Errorf("%s: want a } at its end", file)
	}
	return nil
}

type aptToken struct {
	text string
	line int
}

// aptTokens takes the text apart: words, texts between quotes, braces and semicolons, without comments.
func aptTokens(text string) (tokens []aptToken) {
	line := 1
	for i := 0; i < len(text); {
		rest, end := text[i:], 1
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case strings.HasPrefix(rest, "//") || c == '#' && !strings.HasPrefix(rest, "#clear") && !strings.HasPrefix(rest, "#include"):
			end = until(rest, "\n", 0)
		case strings.HasPrefix(rest, "/*"):
			end = until(rest[2:], "*/", 2) + 2
		case c == '{' || c == '}' || c == ';':
			tokens = append(tokens, aptToken{rest[:1], line})
		case c == '"':
			end = until(rest[1:], `"`, 1) + 1
			tokens = append(tokens, aptToken{strings.Trim(rest[:end], `"`), line})
		default:
			if end = strings.IndexAny(rest, " \t\r\n{};\""); end <= 0 {
				end = len(rest)
			}
			tokens = append(tokens, aptToken{rest[:end], line})
		}
		line += strings.Count(rest[:end], "\n")
		i += end
	}
	return tokens
}

// until is how far a text goes until a mark and some bytes of it, or to its end.
func until(text, mark string, with int) int {
	if i := strings.Index(text, mark); i >= 0 {
		return i + with
	}
	return len(text)
}

func aptAllowsUnsigned(config map[string]string) bool {
	for _, name := range []string{"apt::get::allowunauthenticated", "acquire::allowinsecurerepositories", "acquire::allowweakrepositories", "acquire::allowdowngradetoinsecurerepositories"} {
		if on(config[name]) {
			return true
		}
	}
	return false
}

func (s *Surveys) aptUpdates(f event.Fact, now time.Time) error {
	config, err := s.aptConfig()
	if err != nil {
		return err
	}
	program, err := s.firstThere("/usr/bin/unattended-upgrade", "/usr/bin/unattended-upgrades")
	if err != nil {
		return err
	}
	every := func(name, otherwise string) bool {
		value, ok := config["apt::periodic::"+name]
		if !ok {
			value = otherwise
		}
		return value != "0" && value != ""
	}
	starts, err := s.aptStarts()
	if err != nil {
		return err
	}
	automatic := program != "" && starts && every("enable", "1") && every("unattended-upgrade", "0") && every("update-package-lists", "0")
	f.Set("automatic", automatic).Set("unsigned_allowed", aptAllowsUnsigned(config))
	return s.setAge(f, now, "/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists/partial", "/var/lib/apt/lists")
}

// aptStarts says whether apt's daily work is started: by timers of systemd, or without that by cron.
func (s *Surveys) aptStarts() (bool, error) {
	systemd, err := s.firstThere("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
	if err != nil {
		return false, err
	}
	if systemd == "" {
		return s.there("/etc/cron.daily/apt-compat")
	}
	lists, err := s.wantedUnit("apt-daily.timer")
	if err != nil || !lists {
		return false, err
	}
	return s.wantedUnit("apt-daily-upgrade.timer")
}

// dnfMain is the configuration of dnf, or of yum before it.
func (s *Surveys) dnfMain() (iniFile, error) {
	file, err := s.firstThere("/etc/dnf/dnf.conf", "/etc/yum.conf")
	if err != nil || file == "" {
		return iniFile{}, err
	}
	return s.iniFiles([]string{file})
}

func (s *Surveys) dnfRepositories(report func(event.Fact)) error {
	main, err := s.dnfMain()
	if err != nil {
		return err
	}
	files, err := s.glob("/etc/yum.repos.d/*.repo")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, _, err := s.configText(file)
		if err != nil {
			return err
		}
		config := iniFile{}
		if err := config.add(file, text); err != nil {
			report(event.Repository.New(file, file).Fail(err))
		}
		for _, section := range slices.Sorted(maps.Keys(config)) {
			if section != "main" && section != "" {
				report(dnfFact(section, file, config[section], main))
			}
		}
	}
	return nil
}

func dnfFact(name, file string, section map[string]located, main iniFile) event.Fact {
	f := event.Repository.New(name, file).Set("manager", "dnf")
	enabled, isSet := section["enabled"]
	f.Set("enabled", !isSet || on(enabled.text))
	check, isSet := section["gpgcheck"]
	if !isSet {
		check, isSet = main.get("main", "gpgcheck") // dnf itself begins with no
	}
	f.Set("verified", isSet && on(check.text)).Set("own_key", section["gpgkey"].text != "")
	encrypted, address := true, ""
	for _, key := range []string{"baseurl", "mirrorlist", "metalink"} {
		for _, a := range strings.FieldsFunc(section[key].text, func(r rune) bool { return r == ' ' || r == ',' }) {
			address = a
			encrypted = encrypted && encryptedAddress(a)
		}
	}
	if address == "" {
		return f.Fail(fmt.Errorf("%s: want baseurl, mirrorlist or metalink in [%s]", file, name))
	}
	return f.Set("address", address).Set("encrypted", encrypted)
}

func (s *Surveys) dnfUpdates(f event.Fact, now time.Time) error {
	main, err := s.dnfMain()
	if err != nil {
		return err
	}
	check, isSet := main.get("main", "gpgcheck")
	f.Set("unsigned_allowed", !isSet || !on(check.text))
	automatic, err := s.dnfAutomatic()
	if err != nil {
		return err
	}
	f.Set("automatic", automatic)
	return s.setAge(f, now, "/var/cache/dnf/last_makecache", "/var/cache/dnf/expired_repos.json", "/var/cache/libdnf5")
}

// dnfAutomatic says whether dnf-automatic or yum-cron installs what it finds.
func (s *Surveys) dnfAutomatic() (bool, error) {
	for _, way := range []struct{ file, unit string }{
		{"/etc/dnf/automatic.conf", "dnf-automatic.timer"}, {"/etc/dnf/dnf5-plugins/automatic.conf", "dnf5-automatic.timer"}, {"/etc/yum/yum-cron.conf", "yum-cron.service"},
	} {
		config, err := s.iniFiles([]string{way.file})
		if err != nil {
			return false, err
		}
		wanted, err := s.wantedUnit(way.unit)
		if err != nil {
			return false, err
		}
		if apply, _ := config.get("commands", "apply_updates"); wanted && on(apply.text) {
			return true, nil
		}
	}
	return s.wantedUnit("dnf-automatic-install.timer") // installs whatever its configuration says
}

func (s *Surveys) apkRepositories(report func(event.Fact)) error {
	text, _, err := s.configText("/etc/apk/repositories")
	if err != nil {
		return err
	}
	joinedLines(text, "#", func(n int, line string) {
		at := place("/etc/apk/repositories", n)
		words := strings.Fields(line)
		address := words[len(words)-1]
		f := event.Repository.New(address, at).Set("manager", "apk")
		if len(words) > 2 || len(words) == 2 && !strings.HasPrefix(words[0], "@") {
			report(f.Fail(errors.New(at + ": want an address, perhaps with a @tag before it")))
			return
		}
		// apk takes no index without a signature unless it is told so on its command line.
		report(f.Set("address", address).Set("enabled", true).Set("verified", true).Set("encrypted", encryptedAddress(address)))
	})
	return nil
}

func (s *Surveys) apkUpdates(f event.Fact, now time.Time) error {
	f.Set("unsigned_allowed", false)
	jobs, err := s.globs([]string{"/etc/periodic/*/*apk*", "/etc/periodic/*/*upgrade*"})
	if err != nil {
		return err
	}
	f.Set("automatic", len(jobs) > 0)
	indexes, err := s.glob("/var/cache/apk/APKINDEX.*.tar.gz")
	if err != nil {
		return err
	}
	return s.setAge(f, now, indexes...)
}
