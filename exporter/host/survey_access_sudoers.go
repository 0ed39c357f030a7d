package host

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of sudoers: how deep files include each other (sudo has the same), how many are read, how far aliases are followed, and what
// they may hold.
const (
	maxSudoDepth   = 128
	maxSudoFiles   = 2000
	maxAliasDepth  = 16
	maxAliasLength = 5000
	maxSudoOptions = 10_000
	maxSudoScopes  = 100
)

// A sudoers is the whole configuration of sudo.
type sudoers struct {
	file     string // the first; empty if there is none
	files    []string
	defaults []sudoDefault
	aliases  map[string][]string // by kind and name: "User_Alias ADMINS"
	rules    []sudoSpec
	wrong    []lineError
	errs     []error
}

// A sudoDefault is one option of a Defaults line.
type sudoDefault struct {
	scope string // empty for all, else as :alice
	name  string
	op    string // =, +=, -=, empty for an option that is only on or off
	value string
	off   bool // behind an exclamation mark
	file  string
	line  int
}

// A sudoSpec is one command that somebody may run.
type sudoSpec struct {
	users, hosts, runas, runasGroups []string
	command                          string
	tags                             []string
	negated                          bool
	wildcard                         bool
	fixed                            bool // it has arguments, always the same, and shows nothing by a pager with them
	file                             string
	line                             int
	group                            int // of commands that stand in one list
}

// A sudoParser reads one line.
type sudoParser struct {
	text string
	at   int
	file string
	line int
	into *sudoers
}

var sudoAliases = []string{"User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias", "Cmd_Alias"}

// sudoTags can stand before a command.
var sudoTags = []string{"EXEC", "NOEXEC", "FOLLOW", "NOFOLLOW", "LOG_INPUT", "NOLOG_INPUT", "LOG_OUTPUT", "NOLOG_OUTPUT", "MAIL", "NOMAIL", "INTERCEPT",
	"NOINTERCEPT", "PASSWD", "NOPASSWD", "SETENV", "NOSETENV"}

// sudoOptions can stand before a command with a value.
var sudoOptions = []string{"ROLE", "TYPE", "APPARMOR_PROFILE", "PRIVS", "LIMITPRIVS", "NOTBEFORE", "NOTAFTER", "TIMEOUT", "CWD", "CHROOT"}

// sudoers reads the configuration of sudo and everything that it includes.
func (s *Surveys) sudoers() (*sudoers, error) {
	c := &sudoers{aliases: map[string][]string{}}
	var err error
	if c.file, err = s.firstOf("/etc/sudoers", "/usr/etc/sudoers", "/usr/local/etc/sudoers"); err != nil || c.file == "" {
		return c, err
	}
	c.include(s, c.file, 0)
	return c, nil
}

func (c *sudoers) full() bool { return len(c.files) > maxSudoFiles }

func (c *sudoers) include(s *Surveys, file string, depth int) {
	if c.full() {
		return
	}
	if c.files = append(c.files, file); depth > maxSudoDepth || c.full() {
		c.errs = append(c.errs, fmt.Errorf("%s: sudoers include each other too often", file))
		return
	}
	data, err := s.read(file, maxConfig)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	c.parse(file, string(data), func(target string, directory bool, line int) {
		if c.full() {
			return
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(file), target)
		}
		if strings.Contains(target, "%h") {
			c.errs = append(c.errs, fmt.Errorf("%s: the name of the machine in %q is only known to sudo", place(file, line), target))
			return
		}
		if !directory {
			c.include(s, target, depth+1)
			return
		}
		names, err := s.readDir(target)
		if err != nil && !Absent(err) {
			c.errs = append(c.errs, err)
		}
		for _, n := range names {
			if n.Type != "directory" && !strings.Contains(n.Name, ".") && !strings.HasSuffix(n.Name, "~") {
				c.include(s, path.Join(target, n.Name), depth+1)
			}
		}
	})
}

// parse takes a file apart. What it includes is left to the caller, at its place.
func (c *sudoers) parse(file, text string, include func(target string, directory bool, line int)) {
	for n, line := range sudoLines(text) {
		if target, directory, ok := sudoInclude(line); ok {
			if target == "" {
				c.wrong = append(c.wrong, lineError{file, n, "want a path to include"})
			} else if include != nil {
				include(target, directory, n)
			}
			continue
		}
		p := &sudoParser{text: line, file: file, line: n, into: c}
		if p.skip(); p.end() {
			continue
		}
		if want := p.statement(); want != "" {
			c.wrong = append(c.wrong, lineError{file, n, want})
		}
	}
}

// sudoLines yields lines without comments, those joined that end in a backslash, by the number of the first. A comment ends with its
// line, whatever that ends in.
func sudoLines(text string) func(yield func(int, string) bool) {
	return logicalLines(text, "", func(line string) string {
		if _, _, include := sudoInclude(line); include {
			return line
		}
		return sudoComment(line)
	})
}

// sudoInclude recognises @include, #include and those of directories.
func sudoInclude(line string) (target string, directory, ok bool) {
	line = strings.TrimLeft(line, " \t")
	if line == "" || line[0] != '@' && line[0] != '#' {
		return "", false, false
	}
	word, rest, _ := strings.Cut(strings.ReplaceAll(line[1:], "\t", " "), " ")
	if word != "include" && word != "includedir" {
		return "", false, false
	}
	rest = strings.TrimSpace(rest)
	if unquoted := unquote(rest); unquoted != rest {
		return unquoted, word == "includedir", true
	}
	return strings.ReplaceAll(rest, `\ `, " "), word == "includedir", true
}

// sudoComment cuts a comment off. A # before a number is a user's.
func sudoComment(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '#':
			number := i+1 < len(line) && (line[i+1] >= '0' && line[i+1] <= '9' || line[i+1] == '-')
			begins := i == 0 || strings.IndexByte(" \t,(:%!=>@", line[i-1]) >= 0
			if !quoted && !(number && begins) {
				return line[:i]
			}
		}
	}
	return line
}

func (p *sudoParser) end() bool { return p.at >= len(p.text) }

func (p *sudoParser) peek() byte {
	if p.end() {
		return 0
	}
	return p.text[p.at]
}

func (p *sudoParser) skip() {
	for !p.end() && strings.IndexByte(" \t", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *sudoParser) take(c byte) bool {
	if p.skip(); p.peek() != c {
		return false
	}
	p.at++
	return true
}

// word takes what stands until one of some characters that is neither quoted nor escaped. It keeps escapes of what is no separator.
func (p *sudoParser) word(stops string) (word string, ok bool) {
	var b strings.Builder
	quoted := false
	for ; !p.end(); p.at++ {
		c := p.text[p.at]
		switch {
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			if next := p.text[p.at]; strings.IndexByte(stops+` "\#`, next) < 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(p.text[p.at])
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(stops, c) >= 0:
			return b.String(), b.Len() > 0
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), b.Len() > 0 && !quoted
}

// statement reads a line, and says what it should be if it cannot.
func (p *sudoParser) statement() (want string) {
	begin := p.at
	word, _ := p.word(" \t=,@:!>")
	switch {
	case word == "Defaults":
		return p.defaultsLine()
	case slices.Contains(sudoAliases, word):
		return p.aliasLine(strings.Replace(word, "Cmd_Alias", "Cmnd_Alias", 1))
	}
	p.at = begin
	return p.ruleLine()
}

// list takes members divided by commas.
func (p *sudoParser) list(stops string) (all []string, want string) {
	for {
		p.skip()
		negated := false
		for p.take('!') {
			negated = !negated
			p.skip()
		}
		word, ok := p.word(" \t," + stops)
		if !ok {
			return nil, "want a name"
		}
		if negated {
			word = "!" + word
		}
		if all = append(all, word); !p.take(',') {
			return all, ""
		}
	}
}

func (p *sudoParser) defaultsLine() string {
	scope := ""
	if c := p.peek(); strings.IndexByte("@:!>", c) >= 0 && c != 0 {
		p.at++
		names, want := p.list("")
		if want != "" {
			return "want a scope behind Defaults" + string(c)
		}
		scope = string(c) + strings.Join(names, ",")
	}
	if c := p.text[p.at-1]; p.end() || c != ' ' && c != '\t' && p.peek() != ' ' && p.peek() != '\t' {
		return "want a blank and options behind Defaults"
	}
	for {
		d, want := p.option()
		if want != "" {
			return want
		}
		if len(p.into.defaults) == maxSudoOptions {
			return fmt.Sprintf("want at most %d options", maxSudoOptions)
		}
		d.scope, d.file, d.line = scope, p.file, p.line
		p.into.defaults = append(p.into.defaults, d)
		if p.take(',') {
			continue
		}
		if p.skip(); !p.end() {
			return "want a comma between options"
		}
		return ""
	}
}

// option takes one option of a Defaults line.
func (p *sudoParser) option() (d sudoDefault, want string) {
	for p.take('!') {
		d.off = !d.off
	}
	p.skip()
	begin := p.at
	for !p.end() && (p.peek() == '_' || p.peek() >= 'a' && p.peek() <= 'z' || p.peek() >= '0' && p.peek() <= '9') {
		p.at++
	}
	if d.name = p.text[begin:p.at]; d.name == "" {
		return d, "want the name of an option"
	}
	p.skip()
	switch rest := p.text[p.at:]; {
	case strings.HasPrefix(rest, "+="), strings.HasPrefix(rest, "-="):
		d.op = rest[:2]
	case strings.HasPrefix(rest, "="):
		d.op = "="
	default:
		return d, ""
	}
	p.at += len(d.op)
	p.skip()
	begin = p.at
	var ok bool
	d.value, ok = p.word(" \t,")
	if raw := p.text[begin:p.at]; !ok && raw != `""` {
		return d, "want a value for " + d.name
	}
	return d, ""
}

// aliasLine takes NAME = members : NAME = members.
func (p *sudoParser) aliasLine(kind string) string {
	for {
		p.skip()
		name, ok := p.word(" \t=:")
		if !ok || !isAlias(name) || !p.take('=') {
			return "want NAME = members of " + kind
		}
		var members []string
		var want string
		if kind == "Cmnd_Alias" {
			members, want = p.commandList()
		} else {
			members, want = p.list("=:")
		}
		if want != "" {
			return want
		}
		if key := kind + " " + name; p.into.aliases[key] != nil {
			return name + " is defined twice"
		}
		p.into.aliases[kind+" "+name] = members
		if p.take(':') {
			continue
		}
		if p.skip(); !p.end() {
			return "want a colon before another alias"
		}
		return ""
	}
}

func isAlias(name string) bool {
	return name != "" && name[0] >= 'A' && name[0] <= 'Z' && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && name != "ALL"
}

func (p *sudoParser) commandList() (all []string, want string) {
	for {
		spec, want := p.command()
		if want != "" {
			return nil, want
		}
		text := spec.command
		switch { // arguments are not kept
		case spec.wildcard && !strings.ContainsAny(text, "*?["):
			text += anyArguments
		case spec.fixed:
			text += fixedArguments
		}
		if spec.negated {
			text = "!" + text
		}
		if all = append(all, text); !p.take(',') {
			return all, ""
		}
	}
}

// ruleLine takes users hosts = commands : hosts = commands.
func (p *sudoParser) ruleLine() string {
	users, want := p.list("=:")
	if want != "" {
		return "want users, machines, = and commands"
	}
	for {
		hosts, want := p.list("=:")
		if want != "" || !p.take('=') {
			return "want machines and = behind the users"
		}
		if want := p.commandSpecs(sudoSpec{users: users, hosts: hosts, file: p.file, line: p.line}); want != "" {
			return want
		}
		if p.take(':') {
			continue
		}
		if p.skip(); !p.end() {
			return "want a comma between commands, or a colon before other machines"
		}
		return ""
	}
}

// commandSpecs takes the commands for users on some machines. Each inherits the target users and the tags of those before it.
func (p *sudoParser) commandSpecs(base sudoSpec) string {
	base.group = len(p.into.rules)
	for {
		if p.take('(') {
			if want := p.targets(&base); want != "" {
				return want
			}
		}
		p.optionsAndTags(&base)
		command, want := p.command()
		if want != "" {
			return want
		}
		spec := base
		spec.tags = slices.Clone(base.tags)
		spec.command, spec.negated, spec.wildcard, spec.fixed = command.command, command.negated, command.wildcard, command.fixed
		p.into.rules = append(p.into.rules, spec)
		if !p.take(',') {
			return ""
		}
	}
}

// targets takes (users : groups).
func (p *sudoParser) targets(spec *sudoSpec) (want string) {
	spec.runas, spec.runasGroups = []string{}, nil
	if p.skip(); p.peek() != ':' && p.peek() != ')' {
		if spec.runas, want = p.list(":)="); want != "" {
			return "want users in parentheses"
		}
	}
	if p.take(':') {
		if p.skip(); p.peek() != ')' {
			if spec.runasGroups, want = p.list(":)="); want != "" {
				return "want groups in parentheses"
			}
		}
	}
	if !p.take(')') {
		return "want a closing parenthesis"
	}
	return ""
}

func (p *sudoParser) optionsAndTags(spec *sudoSpec) {
	for {
		p.skip()
		begin := p.at
		for !p.end() && (p.peek() >= 'A' && p.peek() <= 'Z' || p.peek() == '_') {
			p.at++
		}
		name := p.text[begin:p.at]
		switch {
		case slices.Contains(sudoTags, name) && p.take(':'):
			spec.tags = setTag(spec.tags, name)
		case slices.Contains(sudoOptions, name) && p.take('='):
			p.skip()
			p.word(" \t,")
		default:
			p.at = begin
			return
		}
	}
}

// setTag adds a tag, and takes away the one that says the opposite.
func setTag(tags []string, tag string) []string {
	opposite := "NO" + tag
	if rest, ok := strings.CutPrefix(tag, "NO"); ok {
		opposite = rest
	}
	tags = slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return t == opposite || t == tag })
	return append(tags, tag)
}

// command takes a command and forgets its arguments, in which there may be a secret.
func (p *sudoParser) command() (spec sudoSpec, want string) {
	for p.take('!') {
		spec.negated = !spec.negated
	}
	p.skip()
	for _, digest := range []string{"sha224:", "sha256:", "sha384:", "sha512:"} {
		for strings.HasPrefix(p.text[p.at:], digest) {
			p.at += len(digest)
			p.skip()
			p.word(" \t,")
			p.take(',')
			p.skip()
		}
	}
	if p.peek() == '^' { // a regular expression up to a dollar sign
		spec.wildcard = true
		if spec.command = p.regex(); spec.command == "" {
			return spec, "want a $ at the end of the regular expression"
		}
	} else {
		word, ok := p.word(" \t,:=()")
		if !ok || !isCommand(word) {
			return spec, "want ALL, the absolute path of a command, or an alias"
		}
		spec.command = word
		spec.wildcard = strings.ContainsAny(word, "*?[")
	}
	arguments := p.arguments()
	if arguments != "" && (spec.command == "ALL" || isAlias(spec.command)) {
		return spec, "want no arguments behind " + spec.command
	}
	spec.wildcard = spec.wildcard || strings.ContainsAny(arguments, "*?[") || strings.HasPrefix(arguments, "^")
	spec.fixed = !spec.wildcard && fixed(strings.Fields(arguments))
	return spec, ""
}

// What stands behind a command in an alias in the place of its arguments.
const (
	anyArguments   = " *"
	fixedArguments = " …"
)

// pages are arguments with which systemctl, apt and dpkg show something by a pager, which runs other programs.
var pages = strings.Fields(`status show cat edit help list-units list-unit-files list-timers list-sockets list-jobs list-dependencies list-machines changelog -l --list`)

// fixed decides whether arguments leave a program no choice.
func fixed(arguments []string) bool {
	if len(arguments) == 0 || arguments[0] == `""` {
		return false
	}
	return !slices.ContainsFunc(arguments, func(a string) bool { return slices.Contains(pages, a) })
}

func (p *sudoParser) regex() string {
	begin := p.at
	for ; !p.end(); p.at++ {
		switch c := p.text[p.at]; {
		case c == '\\':
			p.at++
		case c == '$' && (p.at+1 == len(p.text) || strings.IndexByte(" \t,:", p.text[p.at+1]) >= 0):
			p.at++
			return p.text[begin:p.at]
		}
	}
	return ""
}

// arguments takes what stands behind a command.
func (p *sudoParser) arguments() string {
	if p.skip(); p.peek() == '^' {
		return p.regex()
	}
	text, _ := p.word(",:=")
	return strings.TrimSpace(text)
}

func isCommand(word string) bool {
	return word == "ALL" || word == "sudoedit" || word == "list" || path.IsAbs(word) || isAlias(word)
}

// resolve replaces aliases by their members. What is negated stays so.
func (c *sudoers) resolve(kind string, members []string) []string {
	var all []string
	c.resolveInto(&all, kind, members, false, 0)
	return all
}

func (c *sudoers) resolveInto(all *[]string, kind string, members []string, negated bool, depth int) {
	for _, member := range members {
		if len(*all) >= maxAliasLength {
			return
		}
		name, not := strings.CutPrefix(member, "!")
		not = not != negated
		if inner := c.aliases[kind+" "+name]; inner != nil && depth < maxAliasDepth {
			c.resolveInto(all, kind, inner, not, depth+1)
			continue
		}
		if not {
			name = "!" + name
		}
		*all = append(*all, name)
	}
}
