package host

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A pamService is what was read of a service.
type pamService struct {
	name     string
	included bool // by another service
	stacks   map[string]pamStack
	errs     map[string]error
}

// pamServices reads every service. Of a machine without PAM there are none.
func (s *Surveys) pamServices() ([]pamService, []lineError, error) {
	r := &pamReader{s: s, files: map[string]*pamFile{}}
	names, err := s.pamNames()
	if err != nil {
		return nil, nil, err
	}
	var all []pamService
	for _, name := range names {
		service := pamService{name: name, stacks: map[string]pamStack{}, errs: map[string]error{}}
		for _, kind := range pamTypes {
			stack, own, err := r.stack(name, kind)
			if err != nil {
				service.errs[kind] = err
			} else if own {
				service.stacks[kind] = stack
			}
		}
		all = append(all, service)
	}
	included := map[string]bool{}
	var wrong []lineError
	for _, name := range sortedKeys(r.files) {
		wrong = append(wrong, r.files[name].wrong...)
		for _, line := range r.files[name].lines {
			included[path.Base(line.include)] = true
		}
	}
	for i := range all {
		all[i].included = included[all[i].name] && isPAMPart(all[i].name)
	}
	return all, wrong, nil
}

// isPAMPart says whether a service that others include has the name of one that is for nothing else. Others, such as su, are for a
// program too.
func isPAMPart(name string) bool {
	for _, prefix := range []string{"common-", "system-", "base-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, suffix := range []string{"-auth", "-account", "-password", "-session", "-ac"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return name == "postlogin" || name == "config-util"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// pamNames are the names of services, without what package managers and editors leave behind.
func (s *Surveys) pamNames() ([]string, error) {
	var names []string
	for _, dir := range pamDirectories {
		entries, err := s.readDir(dir)
		if Absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type == "directory" || isLeftover(e.Name) || slices.Contains(names, e.Name) {
				continue
			}
			names = append(names, e.Name)
		}
	}
	return names, nil
}

func isLeftover(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || slices.Contains([]string{
		".rpmsave", ".rpmnew", ".rpmorig", ".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-bak", ".ucf-dist", ".ucf-old", ".bak", ".orig", ".swp", ".apk-new",
	}, path.Ext(name))
}

// PAM reports what PAM runs for every service, and when its modules lock users out and refuse passwords.
func (s *Surveys) PAM(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	services, wrong, err := s.pamServices()
	if err != nil || len(services) == 0 {
		return err
	}
	for _, e := range wrong {
		report(e.fact(event.PAM))
	}
	defs, err := s.loginDefs()
	if err != nil {
		return err
	}
	for _, service := range services {
		for _, kind := range pamTypes {
			if err := service.errs[kind]; err != nil {
				report(service.fact(kind).Fail(err))
			} else if stack := service.stacks[kind]; len(stack) > 0 {
				report(s.pamFact(service, kind, stack, defs["ENCRYPT_METHOD"]))
			}
		}
	}
	return errors.Join(s.failLocks(services, report), s.passwordQuality(services, report), s.passwordHistory(services, report))
}

func (service pamService) fact(kind string) event.Fact {
	f := event.PAM.New(service.name+":"+kind, path.Join(pamDirectories[0], service.name))
	return f.Set("service", service.name).Set("type", kind).Set("included", service.included)
}

func (s *Surveys) pamFact(service pamService, kind string, stack pamStack, method string) event.Fact {
	stack = s.present(stack)
	f := service.fact(kind).Set("unix", stack.has("unix")).Set("faillock", stack.has("faillock", "tally2")).Set("access", stack.has("access"))
	var modules []string
	for _, e := range stack {
		if !e.substack {
			modules = append(modules, e.module)
		}
	}
	f.Set("modules", modules).Set("denies", stack.denies())
	f.Set("nullok", slices.ContainsFunc(stack, func(e pamEntry) bool {
		return e.module == "unix" && (e.has("nullok") || e.has("nullok_secure"))
	}))
	switch kind {
	case "auth":
		f.Set("open", stack.open()).Set("locks", stack.locks()).Set("counts_failures", stack.countsFailures())
		f.Set("rootok", stack.has("rootok")).Set("securetty", stack.has("securetty")).Set("wheel", stack.refuses("wheel"))
		return s.withWheel(f, stack)
	case "password":
		return withNewPasswords(f, stack, method)
	}
	return f
}

// present leaves out the modules that are not there where that does not matter.
func (s *Surveys) present(stack pamStack) pamStack {
	return slices.DeleteFunc(slices.Clone(stack), func(e pamEntry) bool {
		if !e.silent || e.substack {
			return false
		}
		found, err := s.pamModule(e.module)
		return err == nil && !found
	})
}

func (s *Surveys) pamModule(name string) (bool, error) {
	for _, dir := range []string{"/lib/security", "/lib64/security", "/usr/lib/security", "/usr/lib64/security", "/lib/*/security", "/usr/lib/*/security"} {
		found, err := s.glob(path.Join(dir, "pam_"+globQuote(name)+".so"))
		if err != nil || len(found) > 0 {
			return true, err
		}
	}
	return false, nil
}

// globQuote makes a name one that a pattern takes as it is.
func globQuote(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

func (s *Surveys) withWheel(f event.Fact, stack pamStack) event.Fact {
	i := slices.IndexFunc(stack, func(e pamEntry) bool { return e.module == "wheel" })
	if i < 0 {
		return f
	}
	name, given := stack[i].arg("group")
	if !given || name == "" {
		name = "wheel"
	}
	users, err := s.usersOf(name)
	if err != nil {
		return f.Fail(err)
	}
	return f.Set("wheel_group", name).Set("wheel_users", users)
}

// usersOf is how many users are in a group.
func (s *Surveys) usersOf(name string) (int64, error) {
	groups, _, err := s.groupLines()
	if err != nil && !Absent(err) {
		return 0, err
	}
	accounts, _, err := s.accounts()
	if err != nil && !Absent(err) {
		return 0, err
	}
	book := newGroupBook(groups, accounts)
	for _, g := range groups {
		if g.name == name {
			return book.fact(g, groupShadow{}).Values["users"].(int64), nil
		}
	}
	return 0, nil
}

// unixHashes are the arguments of pam_unix that choose an algorithm.
var unixHashes = []string{"md5", "bigcrypt", "sha256", "sha512", "blowfish", "gost_yescrypt", "yescrypt"}

func withNewPasswords(f event.Fact, stack pamStack, method string) event.Fact {
	remembers, seen := false, false
	for _, e := range stack {
		switch e.module {
		case "pwquality", "cracklib", "passwdqc", "pwhistory":
			seen = true
		case "unix":
			remember, _ := e.arg("remember")
			remembers = remembers || numberOr(remember, 0) > 0
			hash := unixHash(e, method)
			f.Set("unix_hash", hash).Set("unix_hash_strong", slices.Contains([]string{"sha512", "blowfish", "gost_yescrypt", "yescrypt"}, hash))
			f.Set("unix_use_authtok", e.has("use_authtok") || !seen)
		}
	}
	f.Set("quality", stack.refuses("pwquality", "cracklib", "passwdqc")).Set("unix_remember", remembers)
	return f.Set("history", remembers || stack.refuses("pwhistory"))
}

// unixHash is the algorithm of an entry of pam_unix: the last that an argument names, else what login.defs says.
func unixHash(e pamEntry, method string) string {
	hash := ""
	for _, arg := range e.args {
		if slices.Contains(unixHashes, arg) {
			hash = arg
		}
	}
	switch method = strings.ToLower(method); {
	case hash != "":
		return hash
	case method == "bcrypt":
		return "blowfish"
	case method == "gost-yescrypt":
		return "gost_yescrypt"
	case method != "":
		return method
	}
	return "des"
}

// calls are the entries of some modules in a type's stacks, by the file that they are in.
func calls(services []pamService, kind string, modules ...string) (files []string, entries map[string][]pamEntry) {
	entries = map[string][]pamEntry{}
	seen := map[string]bool{}
	for _, service := range services {
		for _, e := range service.stacks[kind] {
			at := place(e.file, e.line)
			if !slices.Contains(modules, e.module) || seen[at] {
				continue
			}
			seen[at] = true
			if entries[e.file] == nil {
				files = append(files, e.file)
			}
			entries[e.file] = append(entries[e.file], e)
		}
	}
	slices.Sort(files)
	return files, entries
}

// moduleOptions are the options of a module: of its file of configuration, and over them those of its arguments.
func (s *Surveys) moduleOptions(entries []pamEntry, conf string, more ...string) (map[string]string, error) {
	for _, e := range entries {
		if file, given := e.arg("conf"); given && path.IsAbs(file) {
			conf = file
		}
	}
	options := map[string]string{}
	for _, file := range append(more, conf) {
		if found, err := s.firstOf(file, strings.Replace(file, "/etc/", "/usr/etc/", 1)); err != nil {
			return nil, err
		} else if found != "" {
			file = found
		}
		text, err := s.readIfAny(file)
		if err != nil {
			return nil, err
		}
		for _, line := range settings(text, "= \t") {
			options[line.name] = line.value
		}
	}
	for _, e := range entries {
		for _, arg := range e.args {
			name, value, _ := strings.Cut(arg, "=")
			options[name] = value
		}
	}
	return options, nil
}

func (s *Surveys) failLocks(services []pamService, report func(event.Fact)) error {
	files, entries := calls(services, "auth", "faillock", "tally2")
	for _, file := range files {
		f, err := s.failLock(file, entries[file])
		if err != nil {
			return err
		}
		report(f)
	}
	if len(files) == 0 {
		report(event.FailLock.New("none", pamDirectories[0]).Set("enabled", false).Set("module", "none"))
	}
	return nil
}

func (s *Surveys) failLock(file string, entries []pamEntry) (event.Fact, error) {
	f := event.FailLock.New(file, place(file, entries[0].line)).Set("enabled", true).Set("module", entries[0].module)
	conf, deny, unlock := "/etc/security/faillock.conf", int64(3), int64(600)
	if entries[0].module == "tally2" {
		conf, deny, unlock = "", 0, 0
	}
	options, err := s.moduleOptions(entries, conf)
	if err != nil {
		return f, err
	}
	for _, n := range []struct {
		name      string
		otherwise int64
	}{{"deny", deny}, {"fail_interval", 900}, {"unlock_time", unlock}} {
		value, ok := secondsOr(options, n.name, n.otherwise)
		if !ok {
			return f.Fail(lineError{file, entries[0].line, "want a number as " + n.name + " of " + entries[0].module}), nil
		}
		f.Set(n.name, value)
	}
	root, ok := secondsOr(options, "root_unlock_time", f.Values["unlock_time"].(int64))
	if !ok {
		return f.Fail(lineError{file, entries[0].line, "want a number as root_unlock_time of " + entries[0].module}), nil
	}
	_, even := options["even_deny_root"]
	_, given := options["root_unlock_time"]
	_, audit := options["audit"]
	_, local := options["local_users_only"]
	f.Set("root_unlock_time", root).Set("even_deny_root", even || given && entries[0].module == "faillock")
	return f.Set("audit", audit).Set("local_users_only", local), nil
}

// secondsOr reads a number, of which never is 0.
func secondsOr(options map[string]string, name string, otherwise int64) (int64, bool) {
	text, given := options[name]
	switch {
	case !given:
		return otherwise, true
	case text == "never":
		return 0, true
	}
	n := numberOr(text, -1)
	return n, n >= 0
}

func (s *Surveys) passwordQuality(services []pamService, report func(event.Fact)) error {
	files, entries := calls(services, "password", "pwquality", "cracklib", "passwdqc")
	for _, file := range files {
		f, err := s.quality(file, entries[file])
		if err != nil {
			return err
		}
		report(f)
	}
	if len(files) == 0 {
		report(event.PasswordQuality.New("none", pamDirectories[0]).Set("enabled", false).Set("module", "none"))
	}
	return nil
}

func (s *Surveys) quality(file string, entries []pamEntry) (event.Fact, error) {
	module := entries[0].module
	f := event.PasswordQuality.New(file, place(file, entries[0].line)).Set("enabled", true).Set("module", module)
	conf, more := "", []string(nil)
	defaults := qualityDefaults
	switch module {
	case "pwquality":
		var err error
		conf = "/etc/security/pwquality.conf"
		if more, err = s.glob(conf + ".d/*.conf"); err != nil {
			return f, err
		}
	case "cracklib":
		defaults = cracklibDefaults
	case "passwdqc":
		return passwdqc(f, entries), nil
	}
	options, err := s.moduleOptions(entries, conf, more...)
	if err != nil {
		return f, err
	}
	for _, d := range defaults {
		value := d.value
		if text, given := options[d.name]; given {
			if value = numberOr(text, -1<<63); value == -1<<63 {
				return f.Fail(lineError{file, entries[0].line, "want a number as " + d.name + " of " + module}), nil
			}
		}
		f.Set(d.name, value)
	}
	for _, d := range []struct {
		name      string
		otherwise int64
	}{{"dictcheck", 1}, {"usercheck", 1}, {"enforcing", 1}} {
		f.Set(d.name, numberOr(options[d.name], d.otherwise) != 0)
	}
	_, root := options["enforce_for_root"]
	return withLengths(f.Set("enforce_for_root", root)), nil
}

type numberDefault struct {
	name  string
	value int64
}

var qualityDefaults = []numberDefault{
	{"minlen", 8}, {"difok", 1}, {"dcredit", 0}, {"ucredit", 0}, {"lcredit", 0}, {"ocredit", 0}, {"minclass", 0},
	{"maxrepeat", 0}, {"maxsequence", 0}, {"retry", 1},
}

var cracklibDefaults = []numberDefault{
	{"minlen", 9}, {"difok", 5}, {"dcredit", 1}, {"ucredit", 1}, {"lcredit", 1}, {"ocredit", 1}, {"minclass", 0},
	{"maxrepeat", 0}, {"maxsequence", 0}, {"retry", 1},
}

// withLengths says what credits leave of the length, and how many classes they demand.
func withLengths(f event.Fact) event.Fact {
	shortest, classes := f.Values["minlen"].(int64), int64(0)
	for _, name := range []string{"dcredit", "ucredit", "lcredit", "ocredit"} {
		switch credit := f.Values[name].(int64); {
		case credit > 0:
			shortest -= credit
		case credit < 0:
			classes++
		}
	}
	shortest = max(shortest, 6) // the libraries refuse less, whatever they are told
	return f.Set("shortest", shortest).Set("classes", max(classes, f.Values["minclass"].(int64)))
}

// passwdqc tells of min=N0,N1,N2,N3,N4 the least number, disabled being none at all.
func passwdqc(f event.Fact, entries []pamEntry) event.Fact {
	lengths := "disabled,24,11,8,7"
	for _, e := range entries {
		if text, given := e.arg("min"); given {
			lengths = text
		}
	}
	shortest := int64(-1)
	for _, text := range words(lengths, ",") {
		if n := numberOr(text, -1); n >= 0 && (shortest < 0 || n < shortest) {
			shortest = n
		}
	}
	if shortest >= 0 {
		f.Set("shortest", shortest).Set("minlen", shortest)
	}
	return f
}

func (s *Surveys) passwordHistory(services []pamService, report func(event.Fact)) error {
	files, entries := calls(services, "password", "pwhistory")
	for _, file := range files {
		options, err := s.moduleOptions(entries[file], "/etc/security/pwhistory.conf")
		if err != nil {
			return err
		}
		f := history(file, entries[file], options)
		if leads(services, entries[file][0]) && f.Err() == "" {
			f.Set("use_authtok", true)
		}
		report(f)
	}
	if len(files) > 0 {
		return nil
	}
	unix, entries := calls(services, "password", "unix")
	for _, file := range unix {
		for _, e := range entries[file] {
			if remember, given := e.arg("remember"); given {
				files = append(files, file)
				f := event.PasswordHistory.New(file, place(file, e.line)).Set("enabled", true).Set("module", "unix")
				report(f.Set("remember", numberOr(remember, 0)).Set("enforce_for_root", false).Set("use_authtok", e.has("use_authtok")))
			}
		}
	}
	if len(files) == 0 {
		report(event.PasswordHistory.New("none", pamDirectories[0]).Set("enabled", false).Set("module", "none"))
	}
	return nil
}

// leads says whether no module before an entry asks for the new password.
func leads(services []pamService, entry pamEntry) bool {
	for _, service := range services {
		for _, e := range service.stacks["password"] {
			if e.file == entry.file && e.line == entry.line {
				return true
			}
			if slices.Contains([]string{"pwquality", "cracklib", "passwdqc", "unix"}, e.module) {
				break
			}
		}
	}
	return false
}

func history(file string, entries []pamEntry, options map[string]string) event.Fact {
	f := event.PasswordHistory.New(file, place(file, entries[0].line)).Set("enabled", true).Set("module", "pwhistory")
	remember := int64(10)
	if text, given := options["remember"]; given {
		if remember = numberOr(text, -1); remember < 0 {
			return f.Fail(lineError{file, entries[0].line, "want a number as remember of pwhistory"})
		}
	}
	_, root := options["enforce_for_root"]
	_, authtok := options["use_authtok"]
	return f.Set("remember", remember).Set("enforce_for_root", root).Set("use_authtok", authtok)
}
