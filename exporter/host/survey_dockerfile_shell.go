package host

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A runCommand is one simple command of a script that a RUN starts.
type runCommand struct {
	words    []string     // without quotes; what is put in by $(…) stays as it is written
	assigned []string     // NAME=VALUE before it
	nested   []runCommand // of $(…), `…` and <(…) in its words, and of a script that it is given
	piped    bool         // its output is the next one's input
}

// Bounds of a script.
const (
	maxRunCommands = 5_000
	maxRunDepth    = 6
)

// parseRun takes a script apart into its commands, as far as can be done without running it: whatever they depend on.
func parseRun(script string) []runCommand {
	left := maxRunCommands
	return parseScript(script, 0, &left)
}

func parseScript(script string, depth int, left *int) []runCommand {
	if depth > maxRunDepth {
		return nil
	}
	p := &runParser{rest: script, depth: depth, left: left}
	for p.rest != "" && *left > 0 {
		p.step()
	}
	p.endCommand(false)
	return p.all
}

type runParser struct {
	rest    string
	depth   int
	left    *int
	word    strings.Builder
	inWord  bool
	command runCommand
	all     []runCommand
	open    bool // a substitution is not closed: no other is looked for
	cases   int  // how many case … in are open
	pattern bool // what follows is a pattern of one
}

// step takes what comes next.
func (p *runParser) step() {
	c := p.rest[0]
	switch {
	case c == '\\' && len(p.rest) > 1:
		if p.rest[1] != '\n' {
			p.add(p.rest[1:2])
		}
		p.rest = p.rest[2:]
	case c == '\'':
		end := strings.IndexByte(p.rest[1:], '\'')
		if end < 0 {
			end = len(p.rest) - 1
		}
		p.add(p.rest[1 : 1+end])
		p.rest = p.rest[min(end+2, len(p.rest)):]
	case c == '"':
		p.rest = p.rest[1:]
		p.quoted()
	case p.substitution():
	case c == '#' && !p.inWord:
		end := strings.IndexByte(p.rest, '\n')
		if end < 0 {
			end = len(p.rest)
		}
		p.rest = p.rest[end:]
	case strings.HasPrefix(p.rest, "&>") || strings.HasPrefix(p.rest, ">&") || strings.HasPrefix(p.rest, "<&"):
		p.endWord()
		p.add(p.rest[:2])
		p.rest = p.rest[2:]
	case c == ' ' || c == '\t' || c == '\r':
		p.endWord()
		p.rest = p.rest[1:]
	case strings.IndexByte("\n;&|()", c) >= 0:
		p.separator()
	default:
		p.add(p.rest[:1])
		p.rest = p.rest[1:]
	}
}

func (p *runParser) separator() {
	p.endWord()
	words := p.command.words
	if c := p.rest[0]; p.pattern || len(words) > 2 && words[0] == "case" && has(words, "in") {
		p.rest = p.rest[1:]
		switch c {
		case ')':
			p.pattern, p.cases = false, p.cases+1
			if len(words) > 2 && words[0] == "case" {
				p.endCommand(false)
			}
			p.command.words = nil
		case '|', '\n', '(':
			if p.pattern {
				p.command.words = nil
			}
		default:
			p.pattern = false
			p.endCommand(false)
		}
		return
	}
	if p.cases > 0 && strings.HasPrefix(p.rest, ";;") {
		p.endCommand(false)
		p.rest, p.pattern, p.cases = p.rest[2:], true, p.cases-1
		return
	}
	pipe := p.rest[0] == '|' && !strings.HasPrefix(p.rest, "||")
	n := 1
	if strings.HasPrefix(p.rest, "||") || strings.HasPrefix(p.rest, "&&") || strings.HasPrefix(p.rest, "|&") {
		n = 2
	}
	p.rest = p.rest[n:]
	p.endCommand(pipe)
}

// quoted takes what is between double quotes, the first of which is passed.
func (p *runParser) quoted() {
	p.add("")
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == '"':
			p.rest = p.rest[1:]
			return
		case c == '\\' && len(p.rest) > 1:
			p.add(p.rest[1:2])
			p.rest = p.rest[2:]
		case p.substitution():
		default:
			p.add(p.rest[:1])
			p.rest = p.rest[1:]
		}
	}
}

// substitution takes $(…), `…` or <(…), whose commands are nested.
func (p *runParser) substitution() bool {
	begin := 0
	switch {
	case p.open, strings.HasPrefix(p.rest, "$(("):
		return false
	case strings.HasPrefix(p.rest, "$("), strings.HasPrefix(p.rest, "<("), strings.HasPrefix(p.rest, ">("):
		begin = 1
	case p.rest[0] == '`':
	default:
		return false
	}
	end := -1
	if begin == 0 {
		if i := strings.IndexByte(p.rest[1:], '`'); i >= 0 {
			end = 1 + i
		}
	} else if i := closing(p.rest[1:], '(', ')'); i >= 0 {
		end = 1 + i
	}
	if p.open = end < 0; p.open {
		return false
	}
	p.command.nested = append(p.command.nested, parseScript(p.rest[begin+1:end], p.depth+1, p.left)...)
	p.add(p.rest[:end+1])
	p.rest = p.rest[end+1:]
	return true
}

func (p *runParser) add(text string) {
	p.word.WriteString(text)
	p.inWord = true
}

// Words before a command that belong to the script and not to it.
var runKeywords = []string{"if", "then", "else", "elif", "fi", "do", "done", "while", "until", "esac", "!", "{", "}", "time"}

func (p *runParser) endWord() {
	if !p.inWord {
		return
	}
	word := p.word.String()
	p.word.Reset()
	p.inWord = false
	first := len(p.command.words) == 0
	name, _, assigns := strings.Cut(word, "=")
	switch {
	case first && word == "esac":
		p.pattern = false
	case first && slices.Contains(runKeywords, word):
	case first && assigns && isShellName(name):
		p.command.assigned = append(p.command.assigned, word)
	default:
		p.command.words = append(p.command.words, word)
	}
}

func (p *runParser) endCommand(piped bool) {
	p.endWord()
	c := p.command
	p.command = runCommand{}
	if len(c.words) == 0 && len(c.assigned) == 0 && len(c.nested) == 0 {
		return
	}
	if *p.left--; *p.left <= 0 {
		return
	}
	c.piped = piped
	if script, ok := c.script(); ok {
		c.nested = append(c.nested, parseScript(script, p.depth+1, p.left)...)
	}
	p.all = append(p.all, c)
}

// wrappers are programs that start another, with those of their options that take a value.
var wrappers = map[string]string{"sudo": "ughpCrtTUD", "doas": "uC", "env": "uCS", "nice": "n", "ionice": "cnp", "exec": "a", "command": "", "nohup": "", "eval": "", "timeout": "sk", "xargs": "IinPLds", "setarch": "", "stdbuf": "ioe", "gosu": "", "su-exec": "", "builtin": ""}

// program is what a command starts in the end, and its arguments: wrappers, their options and assignments are passed.
func (c *runCommand) program() (name string, args []string) {
	words := c.words
	for len(words) > 0 {
		name = path.Base(words[0])
		words = words[1:]
		values, wraps := wrappers[name]
		if !wraps {
			return name, words
		}
		rest := passOptions(words, values)
		switch name {
		case "timeout", "gosu", "su-exec": // a time, a user
			rest = rest[min(1, len(rest)):]
		}
		if len(rest) == 0 {
			return name, words
		}
		words = rest
	}
	return name, nil
}

// passOptions leaves out options, the values of those that take one, and assignments.
func passOptions(words []string, values string) []string {
	for len(words) > 0 {
		w := words[0]
		key, _, assigns := strings.Cut(w, "=")
		switch {
		case len(w) == 2 && w[0] == '-' && strings.IndexByte(values, w[1]) >= 0:
			words = words[min(2, len(words)):]
		case len(w) > 1 && w[0] == '-', assigns && isShellName(key):
			words = words[1:]
		default:
			return words
		}
	}
	return words
}

var shells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"}

// script is what a shell is given to do by -c.
func (c *runCommand) script() (string, bool) {
	name, args := c.program()
	if name == "su" {
		return optionValue(args, "-c", "--command")
	}
	if !slices.Contains(shells, name) {
		return "", false
	}
	for i, a := range args {
		if len(a) > 1 && a[0] == '-' && a[1] != '-' && a[len(a)-1] == 'c' && i+1 < len(args) {
			rest := args[i+1:]
			if len(rest) > 2 && (rest[0] == "-o" || rest[0] == "-e") { // bash -c -o …: rare, but seen
				rest = rest[2:]
			}
			return rest[0], true
		}
	}
	return "", false
}

func optionValue(args []string, names ...string) (string, bool) {
	for i, a := range args {
		for _, name := range names {
			if a == name && i+1 < len(args) {
				return args[i+1], true
			}
			if v, ok := strings.CutPrefix(a, name+"="); ok && strings.HasPrefix(name, "--") {
				return v, true
			}
		}
	}
	return "", false
}

// everyCommand calls visit for commands and all that are nested in them.
func everyCommand(all []runCommand, visit func(c *runCommand)) {
	for i := range all {
		visit(&all[i])
		everyCommand(all[i].nested, visit)
	}
}

func has(args []string, any ...string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return slices.Contains(any, a) })
}

func hasPrefixed(args []string, prefixes ...string) bool {
	return slices.ContainsFunc(args, func(a string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(a, p) })
	})
}

// letters says whether an option of one letter is given, also among others (-fsSLk); those that take a value end the word.
func letters(args []string, letter byte, withValue string) bool {
	for _, a := range args {
		if len(a) < 2 || a[0] != '-' || a[1] == '-' {
			continue
		}
		for i := 1; i < len(a); i++ {
			if a[i] == letter {
				return true
			}
			if strings.IndexByte(withValue, a[i]) >= 0 {
				break
			}
		}
	}
	return false
}

// curlValues are curl's options of one letter that take a value, wgetValues wget's.
const (
	curlValues = "oHduAbceEFKmPQrtTUwxXyYzCDh"
	wgetValues = "oaeiBtOTwQPUlARDIX"
)

var fetchers = []string{"curl", "wget", "fetch", "aria2c", "lynx", "axel", "http", "https"}

func isInterpreter(name string) bool {
	if slices.Contains(shells, name) || slices.Contains([]string{"perl", "ruby", "node", "php", "source", ".", "eval", "iex", "pwsh"}, name) {
		return true
	}
	return strings.HasPrefix(name, "python")
}

func isFetch(c *runCommand) bool {
	name, args := c.program()
	if !slices.Contains(fetchers, name) {
		return name == "busybox" && len(args) > 0 && args[0] == "wget"
	}
	return true
}

// fetchPipe says whether what is fetched goes directly into an interpreter: by a pipe, or as its argument.
func fetchPipe(all []runCommand) (found bool) {
	fetched := false
	for i := range all {
		c := &all[i]
		name, args := c.program()
		runs := isInterpreter(name)
		for _, n := range c.nested {
			found = found || (runs || has(c.words, "eval")) && isFetch(&n) && !hasScript(args, &n)
		}
		found = found || runs && fetched || fetchPipe(c.nested)
		fetched = c.piped && (fetched || isFetch(c))
	}
	return found
}

// hasScript says whether a nested command is one of a script that the shell is given, rather than its product.
func hasScript(args []string, n *runCommand) bool {
	for i, a := range args {
		if len(a) > 1 && a[0] == '-' && a[len(a)-1] == 'c' && i+1 < len(args) {
			script := args[i+1]
			return !strings.HasPrefix(script, "$(") && !strings.HasPrefix(script, "`") && len(n.words) > 0 && strings.Contains(script, n.words[0])
		}
	}
	return false
}

var plainAddress = regexp.MustCompile(`(?:^|=)(?:http|ftp|git)://([^/:]+)`)

// fetchPlain says whether a command fetches without TLS from another machine.
func fetchPlain(c *runCommand) bool {
	name, args := c.program()
	if !isFetch(c) && !slices.Contains([]string{"git", "pip", "pip3", "npm", "go", "svn", "rpm", "dnf", "yum"}, name) {
		return false
	}
	return slices.ContainsFunc(args, func(a string) bool {
		m := plainAddress.FindStringSubmatch(a)
		return m != nil && !loopback(m[1])
	})
}

// fetchUnverified says whether a command looks at no certificates.
func fetchUnverified(c *runCommand) bool {
	name, args := c.program()
	for _, a := range c.assigned {
		if unverifying(a) {
			return true
		}
	}
	switch {
	case name == "curl":
		return has(args, "--insecure", "--proxy-insecure") || letters(args, 'k', curlValues)
	case name == "wget":
		return has(args, "--no-check-certificate")
	case name == "git":
		joined := strings.ToLower(strings.Join(args, " "))
		return strings.Contains(joined, "http.sslverify=false") || strings.Contains(joined, "http.sslverify false")
	case name == "npm" || name == "yarn":
		joined := strings.Join(args, " ")
		return strings.Contains(joined, "strict-ssl false") || strings.Contains(joined, "strict-ssl=false")
	case name == "export":
		return slices.ContainsFunc(args, unverifying)
	case strings.HasPrefix(name, "pip") || strings.HasPrefix(name, "python"):
		return hasPrefixed(args, "--trusted-host")
	}
	return false
}

// unverifying are variables that keep programs from looking at certificates.
func unverifying(assignment string) bool {
	name, value, _ := strings.Cut(assignment, "=")
	value = strings.ToLower(strings.Trim(value, `"'`))
	switch name {
	case "NODE_TLS_REJECT_UNAUTHORIZED", "PYTHONHTTPSVERIFY", "NPM_CONFIG_STRICT_SSL", "npm_config_strict_ssl":
		return value == "0" || value == "false"
	case "GIT_SSL_NO_VERIFY":
		return value != "" && value != "0" && value != "false"
	case "GONOSUMDB", "GONOSUMCHECK", "GOINSECURE":
		return value == "*"
	case "PIP_TRUSTED_HOST":
		return value != ""
	}
	return false
}

// A packageUse is what a command does with a package manager.
type packageUse struct {
	manager string // apt, apk, dnf, zypper, pip, npm, yarn, gem, go, cargo
	action  string // update, install, clean or other
	names   []string
	args    []string
}

// packageValues are options with a value of each manager.
var packageValues = map[string][]string{
	"apt":    {"-t", "--target-release", "--default-release", "-o", "--option", "-c", "--config-file", "-a", "--host-architecture"},
	"apk":    {"-t", "--virtual", "-X", "--repository", "-p", "--root", "--repositories-file", "--keys-dir", "--arch", "--cache-dir", "--wait"},
	"dnf":    {"-c", "--config", "--setopt", "--enablerepo", "--disablerepo", "--repo", "--repoid", "--installroot", "--releasever", "-x", "--exclude", "--nodocs=", "-e", "-d", "-R"},
	"zypper": {"-r", "--repo", "-t", "--type", "--from", "-R", "--root", "--gpg-auto-import-keys="},
	"pip":    {"-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-t", "--target", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--prefix", "--root", "--platform", "--python-version", "--trusted-host", "--cache-dir", "--timeout", "--retries", "--proxy", "--src", "--global-option", "--config-settings", "--upgrade-strategy", "--only-binary", "--no-binary", "--progress-bar", "--report", "--cert"},
	"npm":    {"--prefix", "--registry", "--cache", "--loglevel", "--omit", "--only", "-C", "--userconfig", "--unsafe-perm="},
	"yarn":   {"--cwd", "--registry", "--network-timeout"},
	"gem":    {"-v", "--version", "-s", "--source", "-i", "--install-dir", "-n", "--bindir", "-P", "--trust-policy"},
	"cargo":  {"--version", "--vers", "--git", "--path", "--root", "--features", "--bin", "--branch", "--tag", "--rev", "--target", "--registry", "--profile", "-j"},
	"go":     {"-ldflags", "-tags", "-o", "-mod", "-modfile", "-gcflags"},
}

// packagesOf says what a command does with a package manager.
func packagesOf(c *runCommand) (use packageUse, ok bool) {
	name, args := c.program()
	if strings.HasPrefix(name, "python") && len(args) > 2 && args[0] == "-m" && strings.HasPrefix(args[1], "pip") {
		name, args = "pip", args[2:]
	}
	switch {
	case name == "apt" || name == "apt-get" || name == "aptitude":
		use.manager = "apt"
	case name == "apk" || name == "zypper" || name == "npm" || name == "yarn" || name == "gem" || name == "cargo" || name == "go":
		use.manager = name
	case name == "dnf" || name == "yum" || name == "microdnf" || name == "dnf5" || name == "tdnf":
		use.manager = "dnf"
	case name == "uv" && len(args) > 0 && args[0] == "pip":
		use.manager, args = "pip", args[1:]
	case strings.HasPrefix(name, "pip") && strings.Trim(name[3:], "0123456789.") == "":
		use.manager = "pip"
	default:
		return use, false
	}
	use.args = args
	values := packageValues[use.manager]
	var plain []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case slices.Contains(values, a):
			i++
		case strings.HasPrefix(a, "-"):
		case strings.ContainsAny(a, "<>") && strings.IndexAny(a, "<>") == 0, strings.HasPrefix(a, "&>"), a == "2>": // a redirection
		default:
			plain = append(plain, a)
		}
	}
	if len(plain) > 0 {
		use.action, use.names = packageAction(use.manager, plain[0]), plain[1:]
	}
	return use, true
}

func packageAction(manager, verb string) string {
	switch verb {
	case "install", "add", "reinstall", "in", "ci", "i", "build-dep", "groupinstall", "localinstall", "get":
		return "install"
	case "update", "upgrade", "dist-upgrade", "full-upgrade", "makecache", "refresh", "ref", "up", "dup", "patch":
		if manager == "apt" && verb != "update" || manager == "dnf" && verb != "makecache" || manager == "apk" && verb != "update" {
			return "upgrade"
		}
		return "update"
	case "clean", "cache":
		return "clean"
	case "purge", "remove", "autoremove", "del", "erase":
		return "remove"
	}
	return "other"
}

// options are those that count for the use.
func (u *packageUse) asks() bool {
	if u.action != "install" && u.action != "upgrade" && u.action != "remove" {
		return false
	}
	switch u.manager {
	case "apt":
		return !has(u.args, "--yes", "--assume-yes", "--force-yes", "-q=2", "-qq") && !letters(u.args, 'y', "toca")
	case "dnf":
		return !has(u.args, "--assumeyes") && !letters(u.args, 'y', "cxedR")
	case "zypper":
		return !has(u.args, "--non-interactive", "--no-confirm") && !letters(u.args, 'y', "rtR") && !letters(u.args, 'n', "rtR")
	}
	return false
}

func (u *packageUse) unverified() bool {
	switch u.manager {
	case "apt":
		return has(u.args, "--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories") || slices.ContainsFunc(u.args, func(a string) bool {
			a = strings.ToLower(a)
			return strings.Contains(a, "allowunauthenticated=") && !strings.HasSuffix(a, "false") && !strings.HasSuffix(a, "=0") ||
				strings.Contains(a, "allowinsecurerepositories=") && !strings.HasSuffix(a, "false") && !strings.HasSuffix(a, "=0")
		})
	case "apk":
		return has(u.args, "--allow-untrusted")
	case "dnf":
		return has(u.args, "--nogpgcheck", "--no-gpgchecks") || slices.ContainsFunc(u.args, func(a string) bool {
			return strings.HasSuffix(a, "gpgcheck=0") || strings.HasSuffix(a, "gpgcheck=false")
		})
	case "zypper":
		return has(u.args, "--no-gpg-checks", "--allow-unsigned-rpm")
	}
	return false
}

var systemManagers = []string{"apt", "apk", "dnf", "zypper"}

// unpinned are the packages that are installed without a version.
func (u *packageUse) unpinned() (names []string) {
	if u.action != "install" {
		return nil
	}
	if u.manager == "npm" && !has(u.args, "-g", "--global") && len(u.names) == 0 {
		return nil
	}
	for _, name := range u.names {
		if name != "" && !u.pinned(name) {
			names = append(names, name)
		}
	}
	return names
}

var versioned = regexp.MustCompile(`-[0-9]+[.:~][0-9A-Za-z.:~^_-]*$|-[0-9]+-[0-9]`)

func (u *packageUse) pinned(name string) bool {
	if strings.ContainsAny(name, "$`") || strings.Contains(name, "://") || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") {
		return true // a variable may hold a version; a file or an address is what it is
	}
	switch u.manager {
	case "apt":
		return strings.ContainsAny(name, "=/") || strings.HasSuffix(name, ".deb") || strings.HasSuffix(name, "-")
	case "apk":
		return strings.ContainsAny(name, "=<>~")
	case "dnf":
		return versioned.MatchString(name) || strings.HasSuffix(name, ".rpm") || strings.HasPrefix(name, "@")
	case "zypper":
		return strings.ContainsAny(name, "=<>")
	case "pip":
		return strings.Contains(name, "==") || strings.Contains(name, "@") || strings.HasSuffix(name, ".whl") || strings.Contains(name, "===")
	case "npm", "yarn":
		version := strings.LastIndexByte(name, '@')
		return version > 0 && name[version:] != "@latest"
	case "gem":
		return strings.Contains(name, ":") || hasPrefixed(u.args, "-v", "--version") || strings.HasSuffix(name, ".gem")
	case "go":
		return !strings.Contains(name, ".") || strings.Contains(name, "@") && !strings.HasSuffix(name, "@latest")
	case "cargo":
		return strings.Contains(name, "@") || hasPrefixed(u.args, "--version", "--vers", "--git", "--path")
	}
	return true
}

// chmodModes are the modes that a command gives.
func chmodModes(c *runCommand) (modes []string) {
	name, args := c.program()
	switch name {
	case "chmod":
		for _, a := range args {
			if a != "" && (a[0] != '-' || strings.Trim(a[1:], "rwxXst") == "") {
				return []string{a}
			}
		}
	case "install", "mkdir":
		if mode, ok := optionValue(args, "-m", "--mode"); ok {
			return []string{mode}
		}
		for _, a := range args {
			if rest, ok := strings.CutPrefix(a, "-m"); ok && rest != "" {
				return []string{rest}
			}
		}
	}
	return nil
}

// openMode says whether a mode lets everybody write without the sticky bit, setIDMode whether it makes programs run as their owner
// or group.
func openMode(mode string) bool {
	if n, err := strconv.ParseUint(mode, 8, 32); err == nil {
		return n&0o002 != 0 && n&0o1000 == 0
	}
	return symbolicMode(mode, "oa", 'w')
}

func setIDMode(mode string) bool {
	if n, err := strconv.ParseUint(mode, 8, 32); err == nil {
		return n&0o6000 != 0
	}
	return symbolicMode(mode, "uga", 's')
}

// symbolicMode says whether a mode such as u+x,go=rw gives a permission to one of some.
func symbolicMode(mode, whom string, permission byte) bool {
	for clause := range strings.SplitSeq(mode, ",") {
		i := strings.IndexAny(clause, "+=")
		if i < 0 || strings.IndexByte(clause[i:], permission) < 0 {
			continue
		}
		if strings.ContainsAny(clause[:i], whom) || i == 0 && permission == 's' {
			return true
		}
	}
	return false
}
