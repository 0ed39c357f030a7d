package host

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// loginDefs are the settings of /etc/login.defs; of a name that is set twice the last counts. Some distributions have theirs below /usr/etc.
func (s *Surveys) loginDefs() (map[string]string, error) {
	file, err := s.firstOf("/etc/login.defs", "/usr/etc/login.defs")
	if err != nil || file == "" {
		return nil, err
	}
	text, err := s.readIfAny(file)
	if err != nil {
		return nil, err
	}
	defs := map[string]string{}
	for _, line := range settings(text, " \t") {
		defs[line.name] = strings.Trim(line.value, `" `)
	}
	return defs, nil
}

// LoginDefs reports the defaults of new accounts.
func (s *Surveys) LoginDefs(_ context.Context, report func(event.Fact)) error {
	file, err := s.firstOf("/etc/login.defs", "/usr/etc/login.defs")
	if err != nil || file == "" {
		return err
	}
	defs, err := s.loginDefs()
	if err != nil {
		return err
	}
	useradd, err := s.readIfAny("/etc/default/useradd")
	if err != nil {
		return err
	}
	f := event.LoginDefs.New(file, file)
	for _, n := range []struct{ name, field string }{
		{"PASS_MAX_DAYS", "pass_max_days"}, {"PASS_MIN_DAYS", "pass_min_days"}, {"PASS_WARN_AGE", "pass_warn_age"},
		{"FAIL_DELAY", "fail_delay"}, {"LOGIN_RETRIES", "login_retries"}, {"UID_MIN", "uid_min"},
	} {
		if err := setNumber(f, n.field, defs, n.name); err != nil {
			report(f.Fail(fmt.Errorf("%s: %w", file, err)))
			return nil
		}
	}
	report(withLoginModes(f, defs).Set("inactive_days", inactiveDays(useradd)))
	return nil
}

func setNumber(f event.Fact, field string, defs map[string]string, name string) error {
	text, given := defs[name]
	if !given {
		return nil
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return fmt.Errorf("%s: want a number, not %q", name, text)
	}
	f.Set(field, n)
	return nil
}

func inactiveDays(useradd string) int64 {
	days := int64(-1)
	for _, line := range settings(useradd, "=") {
		if line.name == "INACTIVE" {
			days = numberOr(unquote(line.value), -1)
		}
	}
	return days
}

func withLoginModes(f event.Fact, defs map[string]string) event.Fact {
	method := strings.ToUpper(defs["ENCRYPT_METHOD"])
	if method == "" {
		method = "DES"
	}
	f.Set("encrypt_method", method).Set("hash_strong", slices.Contains([]string{"YESCRYPT", "SHA512", "BCRYPT"}, method))
	f.Set("sha_rounds", numberOr(defs["SHA_CRYPT_MIN_ROUNDS"], 5000)).Set("yescrypt_cost", numberOr(defs["YESCRYPT_COST_FACTOR"], 5))
	if create := defs["CREATE_HOME"]; create != "" {
		f.Set("create_home", strings.ToLower(create))
	}
	mode, ok := octalBits(defs["HOME_MODE"])
	if mask, given := octalBits(defs["UMASK"]); !ok && given {
		mode, ok = 0o777&^mask, true
	} else if !ok {
		mode = 0o777 &^ 0o022
	}
	return f.Set("home_mode", mode).Set("home_mode_octal", fmt.Sprintf("%04o", mode)).Set("home_private", mode&0o027 == 0)
}

func octalBits(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 8, 64)
	return n, err == nil && n >= 0 && n <= 0o7777
}

// A shellCommand is a simple command of a script, its words without their quotes.
type shellCommand struct {
	words []string
	file  string
	line  int
}

// shellCommands takes a script apart as far as can be done without running it: into simple commands, whatever they depend on.
func shellCommands(file, text string) (all []shellCommand) {
	sc := shellScanner{file: file, line: 1, at: 1}
	for i := 0; i < len(text); i++ {
		i += sc.next(text[i:])
	}
	sc.endCommand()
	return sc.all
}

// A shellScanner is where the reading of a script is.
type shellScanner struct {
	file     string
	line, at int // this line, and that of the command's first word
	word     []byte
	inWord   bool
	quote    byte
	comment  bool
	words    []string
	all      []shellCommand
}

// next takes a character and says how many more it took.
func (sc *shellScanner) next(rest string) int {
	c := rest[0]
	if c == '\n' {
		sc.line++
	}
	switch {
	case sc.comment:
		if c == '\n' {
			sc.comment = false
			sc.endCommand()
		}
	case c == '\\' && sc.quote != '\'' && len(rest) > 1:
		if rest[1] == '\n' {
			sc.line++
		} else {
			sc.add(rest[1])
		}
		return 1
	case sc.quote != 0:
		if c == sc.quote {
			sc.quote = 0
		} else {
			sc.add(c)
		}
	case c == '"' || c == '\'':
		sc.beginWord()
		sc.quote = c
	case c == '#' && !sc.inWord:
		sc.comment = true
	case c == ' ' || c == '\t' || c == '\r':
		sc.endWord()
	case strings.IndexByte("\n;&|()", c) >= 0:
		sc.endCommand()
	default:
		sc.add(c)
	}
	return 0
}

func (sc *shellScanner) beginWord() {
	if len(sc.words) == 0 && !sc.inWord {
		sc.at = sc.line
	}
	sc.inWord = true
}

func (sc *shellScanner) add(c byte) {
	sc.beginWord()
	sc.word = append(sc.word, c)
}

func (sc *shellScanner) endWord() {
	if !sc.inWord {
		return
	}
	word := string(sc.word)
	sc.word, sc.inWord = sc.word[:0], false
	if len(sc.words) == 0 && slices.Contains([]string{"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "command", "builtin"}, word) {
		return // what follows is the command
	}
	sc.words = append(sc.words, word)
}

func (sc *shellScanner) endCommand() {
	sc.endWord()
	if len(sc.words) > 0 {
		sc.all = append(sc.all, shellCommand{sc.words, sc.file, sc.at})
	}
	sc.words = nil
}

// assignments are the variables that a command sets, by itself or with export, readonly, declare or typeset.
func (c shellCommand) assignments() (all []string, readonly, exported bool) {
	words := c.words
	switch words[0] {
	case "export", "readonly", "declare", "typeset", "local", "setenv":
		exported, readonly = words[0] == "export", words[0] == "readonly"
		for words = words[1:]; len(words) > 0 && strings.HasPrefix(words[0], "-"); words = words[1:] {
			exported = exported || strings.Contains(words[0], "x")
			readonly = readonly || strings.Contains(words[0], "r")
		}
		return words, readonly, exported
	}
	for i, word := range words {
		if name, _, ok := strings.Cut(word, "="); !ok || !isShellName(name) {
			return words[:i], false, false
		}
	}
	return words, false, false
}

func isShellName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789") == ""
}

// loginCommands are the commands of the files that every login shell reads, rootCommands those of root's own.
func (s *Surveys) loginCommands() ([]shellCommand, error) {
	files := []string{"/etc/profile"}
	more, err := s.glob("/etc/profile.d/*.sh")
	if err != nil {
		return nil, err
	}
	return s.commandsOf(append(append(files, more...), "/etc/bash.bashrc", "/etc/bashrc", "/etc/bash/bashrc"))
}

func (s *Surveys) rootCommands() ([]shellCommand, error) {
	home := s.rootHome()
	return s.commandsOf([]string{path.Join(home, ".profile"), path.Join(home, ".bash_profile"), path.Join(home, ".bash_login"), path.Join(home, ".bashrc")})
}

func (s *Surveys) rootHome() string {
	accounts, _, _ := s.accounts()
	for _, a := range accounts {
		if a.uid == 0 && path.IsAbs(a.home) {
			return a.home
		}
	}
	return "/root"
}

func (s *Surveys) commandsOf(files []string) (all []shellCommand, err error) {
	for _, file := range files {
		text, err := s.readIfAny(file)
		if err != nil {
			return nil, err
		}
		all = append(all, shellCommands(file, text)...)
	}
	return all, nil
}

// Sessions reports what login shells begin with: the umask, the time after which idle ones end, and where root's look for programs.
func (s *Surveys) Sessions(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	if found, err := s.firstOf("/etc/profile", "/etc/passwd", "/etc/login.defs"); err != nil || found == "" {
		return err
	}
	users, err := s.loginCommands()
	if err != nil {
		return err
	}
	root, err := s.rootCommands()
	if err != nil {
		return err
	}
	if err := s.umasks(users, root, report); err != nil {
		return err
	}
	report(sessionTimeout(users))
	return s.rootPaths(slices.Concat(users, root), report)
}

// A maskSetting is one place that sets a umask.
type maskSetting struct {
	mask   int64
	source string
}

func (s *Surveys) umasks(users, root []shellCommand, report func(event.Fact)) error {
	base, err := s.baseUmask()
	if err != nil {
		return err
	}
	ofUsers, unknown := shellUmasks(users)
	ofRoot, unknownOfRoot := shellUmasks(root)
	if len(ofUsers) == 0 {
		ofUsers = base
	}
	if len(ofRoot) == 0 {
		ofRoot, unknownOfRoot = ofUsers, append(unknownOfRoot, unknown...)
	}
	report(umaskFact("users", ofUsers, unknown))
	report(umaskFact("root", ofRoot, unknownOfRoot))
	return nil
}

// baseUmask is what is set before a shell does: by pam_umask as it is told or else as login.defs says, or where there is no PAM by
// login. What login.defs says to a PAM that does not ask holds for nobody's sessions.
func (s *Surveys) baseUmask() (all []maskSetting, err error) {
	defs, err := s.loginDefs()
	if err != nil {
		return nil, err
	}
	services, _, err := s.pamServices()
	if err != nil {
		return nil, err
	}
	usual, known := octalBits(defs["UMASK"])
	if len(services) == 0 && known {
		return []maskSetting{{usual, "/etc/login.defs"}}, nil
	}
	files, entries := calls(services, "session", "umask")
	for _, file := range files {
		for _, e := range entries[file] {
			text, _ := e.arg("umask")
			if mask, ok := octalBits(text); ok {
				all = append(all, maskSetting{mask, place(e.file, e.line)})
			} else if known {
				all = append(all, maskSetting{usual, "/etc/login.defs"})
			}
		}
	}
	return all, nil
}

func shellUmasks(commands []shellCommand) (all []maskSetting, wrong []lineError) {
	for _, c := range commands {
		if c.words[0] != "umask" || len(c.words) < 2 || strings.HasPrefix(c.words[1], "-") {
			continue
		}
		mask, ok := parseUmask(c.words[1])
		if !ok {
			wrong = append(wrong, lineError{c.file, c.line, "want a umask in digits or letters"})
			continue
		}
		all = append(all, maskSetting{mask, place(c.file, c.line)})
	}
	return all, wrong
}

// parseUmask reads 027, or u=rwx,g=rx,o= of which the mask is the rest. What is added or taken away is so of 022.
func parseUmask(text string) (int64, bool) {
	if text != "" && text[0] >= '0' && text[0] <= '9' {
		mask, ok := octalBits(text)
		return mask & 0o777, ok
	}
	allowed := int64(0o777 &^ 0o022)
	for part := range strings.SplitSeq(text, ",") {
		i := strings.IndexAny(part, "=+-")
		if i < 0 {
			return 0, false
		}
		who, bits, ok := symbolic(part[:i], part[i+1:])
		if !ok {
			return 0, false
		}
		switch part[i] {
		case '=':
			allowed = allowed&^who | bits
		case '+':
			allowed |= bits
		case '-':
			allowed &^= bits
		}
	}
	return 0o777 &^ allowed, true
}

func symbolic(classes, permissions string) (who, bits int64, ok bool) {
	for _, c := range classes {
		i := strings.IndexRune("ugoa", c)
		if i < 0 {
			return 0, 0, false
		}
		who |= []int64{0o700, 0o070, 0o007, 0o777}[i]
	}
	if classes == "" {
		who = 0o777
	}
	for _, c := range permissions {
		i := strings.IndexRune("rwxX", c)
		if i < 0 {
			return 0, 0, false
		}
		bits |= []int64{0o444, 0o222, 0o111, 0o111}[i]
	}
	return who, bits & who, true
}

// umaskFact tells of the weakest mask. One that is not known may be weaker than all of them.
func umaskFact(who string, all []maskSetting, unknown []lineError) event.Fact {
	weakest := maskSetting{mask: 0o777}
	for i, m := range all { // which of them is run is not known: what any of them allows may be allowed
		if mask := weakest.mask & m.mask; i == 0 || mask != weakest.mask {
			weakest = maskSetting{mask, m.source}
		}
	}
	if len(all) == 0 {
		weakest = maskSetting{mask: 0o022}
	}
	f := event.Umask.New(who, weakest.source).Set("octal", fmt.Sprintf("%04o", weakest.mask)).Set("settings", int64(len(all)))
	if len(unknown) > 0 {
		f.Fail(unknown[0])
	}
	return f.Set("group_write", weakest.mask&0o020 == 0).Set("other_access", weakest.mask&0o007 != 0o007).Set("explicit", len(all) > 0)
}

func sessionTimeout(commands []shellCommand) event.Fact {
	f := event.SessionTimeout.New("shells", "")
	var longest int64 = -1
	var readonly, exported bool
	var files []string
	for _, c := range commands {
		words, fixed, passed := c.assignments()
		for _, word := range words {
			name, value, assigned := strings.Cut(word, "=")
			if name != "TMOUT" {
				continue
			}
			readonly, exported = readonly || fixed, exported || passed
			if !assigned {
				continue
			}
			seconds := max(numberOr(value, 0), 0) // what is no number is none either
			if longest < 0 || seconds == 0 || longest > 0 && seconds > longest {
				longest, f.Source = seconds, place(c.file, c.line)
			}
			if !slices.Contains(files, c.file) {
				files = append(files, c.file)
			}
		}
	}
	if longest >= 0 {
		f.Set("seconds", longest)
	}
	return f.Set("set", longest >= 0).Set("readonly", readonly).Set("exported", exported).Set("files", files)
}

// A pathSetting is where a list of directories was found.
type pathSetting struct {
	value, file string
	line        int
}

// restOfPath makes the ways to write "and what PATH was, if it was anything" one.
var restOfPath = strings.NewReplacer("${PATH:+:${PATH}}", ":$PATH", "${PATH:+:$PATH}", ":$PATH", "${PATH+:$PATH}", ":$PATH",
	"${PATH:+${PATH}:}", "$PATH:", "${PATH:+$PATH:}", "$PATH:", "${PATH:-}", "$PATH")

func (s *Surveys) rootPaths(commands []shellCommand, report func(event.Fact)) error {
	all, err := s.pathSettings(commands)
	if err != nil {
		return err
	}
	variables := s.variablesOf(commands)
	var order []string
	files := map[string][]string{}
	for _, p := range all {
		for dir := range strings.SplitSeq(restOfPath.Replace(p.value), ":") {
			if dir, skip := expandDirectory(dir, variables); !skip {
				if files[dir] == nil {
					order = append(order, dir)
				}
				if !slices.Contains(files[dir], p.file) {
					files[dir] = append(files[dir], p.file)
				}
			}
		}
	}
	for _, dir := range order {
		report(s.rootPath(dir, files[dir]))
	}
	return nil
}

// expandDirectory gives the variables of a directory their values, as far as the same files set them. The rest of PATH itself, and
// arguments of functions, are left out.
func expandDirectory(dir string, variables map[string]string) (expanded string, skip bool) {
	if dir == "$PATH" || dir == "${PATH}" || len(dir) == 2 && dir[0] == '$' && dir[1] >= '0' && dir[1] <= '9' {
		return "", true
	}
	if rest, ok := strings.CutPrefix(dir, "~"); ok && (rest == "" || rest[0] == '/') {
		dir = "$HOME" + rest
	}
	for range 4 { // a variable's value may have others
		begin := strings.IndexByte(dir, '$')
		if begin < 0 {
			break
		}
		name := dir[begin+1:]
		if end := strings.IndexFunc(strings.TrimPrefix(name, "{"), func(c rune) bool { return !isShellName(string(c)) }); end >= 0 {
			if name[0] == '{' {
				end += 2
			}
			name = name[:min(end, len(name))]
		}
		value, known := variables[strings.Trim(name, "{}")]
		if !known {
			break
		}
		dir = dir[:begin] + value + dir[begin+1+len(name):]
	}
	return dir, false
}

// variablesOf are what commands set, and the home of root.
func (s *Surveys) variablesOf(commands []shellCommand) map[string]string {
	all := map[string]string{"HOME": s.rootHome()}
	for _, c := range commands {
		words, _, _ := c.assignments()
		for _, word := range words {
			if name, value, ok := strings.Cut(word, "="); ok && name != "HOME" && name != "PATH" && len(value) < 4096 {
				all[name] = value
			}
		}
	}
	return all
}

func (s *Surveys) rootPath(dir string, files []string) event.Fact {
	f := event.RootPath.New(cmp.Or(dir, "(empty)"), files[0]).Set("files", files)
	if strings.ContainsAny(dir, "$`") {
		return f.Fail(fmt.Errorf("%s: the directory %q of PATH is only known to a running shell", files[0], dir))
	}
	if f.Set("absolute", path.IsAbs(dir)); !path.IsAbs(dir) {
		return f
	}
	exists, foreign, err := s.foreignWrite(dir, 0)
	if err != nil {
		return f.Fail(err)
	}
	if st, err := s.stat(dir); exists && err == nil {
		exists = fileType(st.Mode) == "directory"
	}
	return f.Set("exists", exists).Set("foreign_write", foreign)
}

// pathSettings are what sets PATH for root: login, PAM, shells, cron and sudo.
func (s *Surveys) pathSettings(commands []shellCommand) (all []pathSetting, err error) {
	defs, err := s.loginDefs()
	if err != nil {
		return nil, err
	}
	if value := strings.TrimPrefix(defs["ENV_SUPATH"], "PATH="); value != "" {
		all = append(all, pathSetting{value: value, file: "/etc/login.defs"})
	}
	jobs, err := s.cronTables()
	if err != nil {
		return nil, err
	}
	files := []string{"/etc/environment"}
	for _, job := range jobs {
		if job.root {
			files = append(files, job.file)
		}
	}
	for _, file := range files {
		text, err := s.readIfAny(file)
		if err != nil {
			return nil, err
		}
		for _, line := range settings(text, "=") {
			if strings.TrimPrefix(line.name, "export ") == "PATH" {
				all = append(all, pathSetting{unquote(line.value), file, line.line})
			}
		}
	}
	for _, c := range commands {
		words, _, _ := c.assignments()
		for _, word := range words {
			if value, ok := strings.CutPrefix(word, "PATH="); ok {
				all = append(all, pathSetting{value, c.file, c.line})
			}
		}
	}
	sudo, err := s.sudoers()
	if err != nil {
		return nil, err
	}
	if dirs := sudo.securePath(); dirs != "" {
		all = append(all, pathSetting{value: dirs, file: sudo.file})
	}
	return all, nil
}
