package host

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a stack of PAM, beyond which libpam gives up too.
const (
	maxPAMDepth   = 16
	maxPAMEntries = 1000
)

// pamDirectories are where services' files are looked for, in order.
var pamDirectories = []string{"/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"}

// pamTypes are the types of stacks.
var pamTypes = []string{"auth", "account", "password", "session"}

// A pamLine is one line of a service's file.
type pamLine struct {
	kind    string // of pamTypes; empty for @include, which is of all
	include string // the service that is put in its place; empty for a module
	entry   pamEntry
}

// A pamEntry is a module in a stack, or the mark of where a substack begins.
type pamEntry struct {
	module   string // without directory, pam_ and .so
	args     []string
	actions  map[string]string // by what the module returns
	silent   bool              // it does not matter if there is no such module
	substack bool              // the mark of one: nothing is run
	level    int               // how many substacks it is in
	file     string
	line     int
}

// has says whether a module has an argument, as it is or as name=value.
func (e pamEntry) has(name string) bool {
	_, ok := e.arg(name)
	return ok
}

// arg is the value of the last argument of a name.
func (e pamEntry) arg(name string) (value string, given bool) {
	for _, arg := range e.args {
		if left, right, _ := strings.Cut(arg, "="); left == name {
			value, given = right, true
		}
	}
	return value, given
}

// pamControls are the words that stand for actions.
var pamControls = map[string]map[string]string{
	"required":   {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
	"requisite":  {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
	"optional":   {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
	"sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
}

// parsePAM takes a service's file apart.
func parsePAM(file, text string) (all []pamLine, wrong []lineError) {
	for n, line := range pamLogicalLines(text) {
		tokens := pamTokens(line)
		if len(tokens) == 0 {
			continue
		}
		parsed, want := parsePAMLine(tokens)
		if want != "" {
			wrong = append(wrong, lineError{file, n, want})
			parsed.entry = pamEntry{module: "broken", actions: pamControls["required"]} // libpam has it fail
		}
		if parsed.entry.file, parsed.entry.line = file, n; parsed.kind == "" && parsed.include == "" {
			parsed.kind = "auth"
		}
		all = append(all, parsed)
	}
	return all, wrong
}

// pamLogicalLines yields lines without comments, those joined that end in a backslash, by the number of the first.
func pamLogicalLines(text string) func(yield func(int, string) bool) {
	return logicalLines(text, " ", func(line string) string {
		line, _, _ = strings.Cut(line, "#")
		return line
	})
}

// logicalLines yields lines of which a function has cut the comments off, those joined that end in a backslash, by the number of the first.
func logicalLines(text, joint string, uncommented func(string) string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n, first := 0, 0
		var parts []string
		for line := range strings.Lines(text) {
			n++
			if len(parts) == 0 {
				first = n
			}
			rest, more := strings.CutSuffix(uncommented(strings.TrimRight(line, "\r\n")), `\`)
			if parts = append(parts, rest); more {
				continue
			}
			if !yield(first, strings.Join(parts, joint)) {
				return
			}
			parts = parts[:0]
		}
		if len(parts) > 0 {
			yield(first, strings.Join(parts, joint))
		}
	}
}

// pamTokens splits at blanks, but not in brackets.
func pamTokens(line string) (tokens []string) {
	for {
		line = strings.TrimLeft(line, " \t\r\n\f\v")
		if line == "" {
			return tokens
		}
		end := strings.IndexAny(line, " \t\r\n\f\v")
		if line[0] == '[' {
			end = closingBracket(line)
		}
		if end < 0 {
			end = len(line)
		}
		tokens = append(tokens, line[:end])
		line = line[end:]
	}
}

func closingBracket(line string) int {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case ']':
			return i + 1
		}
	}
	return -1
}

// parsePAMLine makes a line of its tokens, or says what it should be.
func parsePAMLine(tokens []string) (l pamLine, want string) {
	if tokens[0] == "@include" {
		if len(tokens) != 2 {
			return l, "want @include and the name of a service"
		}
		l.include = tokens[1]
		return l, ""
	}
	kind, silent := strings.CutPrefix(strings.ToLower(tokens[0]), "-")
	if !slices.Contains(pamTypes, kind) {
		return l, "want auth, account, password or session"
	}
	l.kind, l.entry.silent = kind, silent
	if len(tokens) < 3 {
		return l, "want a control and a module behind the type"
	}
	switch control := strings.ToLower(tokens[1]); control {
	case "include", "substack":
		l.include, l.entry.substack = tokens[2], control == "substack"
		return l, ""
	default:
		if l.entry.actions = pamActions(control); l.entry.actions == nil {
			return l, "want required, requisite, sufficient, optional, include, substack or [value=action …] as control"
		}
	}
	l.entry.module = strings.TrimPrefix(strings.TrimSuffix(path.Base(tokens[2]), ".so"), "pam_")
	for _, arg := range tokens[3:] {
		if strings.HasPrefix(arg, "[") && strings.HasSuffix(arg, "]") && len(arg) >= 2 {
			arg = strings.ReplaceAll(arg[1:len(arg)-1], `\]`, `]`)
		}
		l.entry.args = append(l.entry.args, arg)
	}
	return l, ""
}

// pamActions reads a control; nil if it is none.
func pamActions(control string) map[string]string {
	if actions := pamControls[control]; actions != nil {
		return actions
	}
	inner, ok := strings.CutPrefix(control, "[")
	if inner, ok = cutEnd(inner, "]", ok); !ok {
		return nil
	}
	actions := map[string]string{}
	for pair := range strings.FieldsSeq(inner) {
		value, action, ok := strings.Cut(pair, "=")
		if jump, err := strconv.Atoi(action); err == nil {
			ok = ok && jump >= 0 && jump <= maxPAMEntries
		} else {
			ok = ok && slices.Contains([]string{"ignore", "ok", "done", "bad", "die", "reset"}, action)
		}
		if !ok {
			return nil
		}
		actions[value] = action
	}
	return actions
}

func cutEnd(s, suffix string, before bool) (string, bool) {
	s, ok := strings.CutSuffix(s, suffix)
	return s, ok && before
}

// A pamStack is what is run for a service and a type.
type pamStack []pamEntry

// A pamReader puts stacks together of services' files, each of which it reads once.
type pamReader struct {
	s     *Surveys
	files map[string]*pamFile
}

type pamFile struct {
	path  string // empty if there is none
	lines []pamLine
	wrong []lineError
	err   error
}

var errNoService = errors.New("there is no such service")

// file reads a service's file, from the first directory that has one.
func (r *pamReader) file(service string) *pamFile {
	if f := r.files[service]; f != nil {
		return f
	}
	f := &pamFile{}
	r.files[service] = f
	paths := []string{service}
	if !path.IsAbs(service) {
		paths = paths[:0]
		for _, dir := range pamDirectories {
			paths = append(paths, path.Join(dir, service))
		}
	}
	if f.path, f.err = r.s.firstOf(paths...); f.err != nil || f.path == "" {
		return f
	}
	data, err := r.s.read(f.path, maxConfig)
	if f.err = err; err == nil {
		f.lines, f.wrong = parsePAM(f.path, string(data))
	}
	return f
}

// stack puts together what is run for a service and a type. own says whether the service's file has lines of that type: without any,
// those of the service other would be run.
func (r *pamReader) stack(service, kind string) (stack pamStack, own bool, err error) {
	b := pamBuilder{reader: r, kind: kind}
	err = b.add(service, 0, 0)
	return b.stack, len(b.stack) > 0, err
}

type pamBuilder struct {
	reader   *pamReader
	kind     string
	stack    pamStack
	included int
}

func (b *pamBuilder) add(service string, depth, level int) error {
	file := b.reader.file(service)
	switch {
	case file.err != nil:
		return file.err
	case file.path == "":
		return fmt.Errorf("%s: %w", service, errNoService)
	case depth >= maxPAMDepth:
		return fmt.Errorf("%s: services include each other more than %d deep", file.path, maxPAMDepth)
	}
	for _, line := range file.lines {
		if line.kind != "" && line.kind != b.kind {
			continue
		}
		if b.included++; b.included > maxPAMEntries {
			return fmt.Errorf("%s: the stack has more than %d lines", file.path, maxPAMEntries)
		}
		entry := line.entry
		entry.level = level
		if line.include == "" {
			b.stack = append(b.stack, entry)
			continue
		}
		if entry.substack {
			b.stack = append(b.stack, entry)
			if err := b.add(line.include, depth+1, level+1); err != nil {
				return err
			}
			continue
		}
		if err := b.add(line.include, depth+1, level); err != nil {
			return err
		}
	}
	return nil
}

// Results of modules, as controls name them.
const (
	pamSuccess = "success"
	pamIgnore  = "ignore"
	pamFailure = "auth_err"
)

// run says whether a stack succeeds if its modules return what it is told, and which modules it asks. It does what libpam does: it
// has an impression, which the actions of the modules' results make good or bad, and begins a substack's anew only for reset.
func (st pamStack) run(returns func(pamEntry) string) (ok bool, called []pamEntry) {
	type state struct {
		impression int // 0 is none, 1 good, -1 bad
		success    bool
	}
	var now state
	entered := map[int]state{0: {}}
	for i, previous := 0, 0; i < len(st); i++ {
		e := st[i]
		if e.level > previous {
			entered[e.level] = now
		}
		previous = e.level
		if e.substack {
			continue
		}
		result := returns(e)
		called = append(called, e)
		switch action := e.action(result); action {
		case "reset":
			now = entered[e.level]
		case "ignore":
		case "ok", "done":
			if now.impression == 0 || now.impression == 1 && now.success {
				now = state{1, result == pamSuccess}
			}
			if now.impression == 1 && action == "done" {
				i = st.endOf(i)
			}
		case "bad", "die":
			now = state{-1, false}
			if action == "die" {
				i = st.endOf(i)
			}
		default:
			var good bool
			if i, good = st.jump(i, action); !good {
				now = state{-1, false}
			}
		}
	}
	return now.impression == 1 && now.success, called
}

func (e pamEntry) action(result string) string {
	for _, key := range []string{result, "default"} {
		if action, ok := e.actions[key]; ok {
			return action
		}
	}
	return "bad"
}

// endOf is the last entry of the substack that an entry is in.
func (st pamStack) endOf(i int) int {
	for level := st[i].level; i+1 < len(st) && st[i+1].level >= level; {
		i++
	}
	return i
}

// jump skips so many entries behind one, a substack being one entry. Beyond the end of the substack it is no good.
func (st pamStack) jump(i int, action string) (to int, good bool) {
	left, err := strconv.Atoi(action)
	if err != nil || left == 0 {
		return i, false
	}
	level := st[i].level
	for ; left > 0 && i+1 < len(st) && st[i+1].level >= level; left-- {
		for i++; i+1 < len(st) && st[i+1].level > level; {
			i++
		}
	}
	return i, left == 0
}

// neutralPAM are the modules that prove nothing, and what they return to somebody whom nothing speaks against.
var neutralPAM = map[string]string{
	"permit": pamSuccess, "faillock": pamSuccess, "tally2": pamSuccess, "tally": pamSuccess, "securetty": pamSuccess, "shells": pamSuccess,
	"access": pamSuccess, "time": pamSuccess, "limits": pamSuccess, "localuser": pamSuccess, "usertype": pamSuccess, "keyinit": pamSuccess,
	"loginuid": pamSuccess, "umask": pamSuccess, "apparmor": pamSuccess, "namespace": pamSuccess, "selinux": pamSuccess,
	"env": pamIgnore, "motd": pamIgnore, "mail": pamIgnore, "nologin": pamIgnore, "group": pamIgnore, "cap": pamIgnore, "echo": pamIgnore,
	"warn": pamIgnore, "issue": pamIgnore, "faildelay": pamIgnore, "lastlog": pamIgnore, "gnome_keyring": pamIgnore, "kwallet": pamIgnore,
	"kwallet5": pamIgnore,
}

// withoutProof is what modules return to somebody who can prove nothing.
func withoutProof(e pamEntry) string {
	if e.module == "faillock" && (e.has("authfail") || e.has("authsucc")) {
		return pamFailure
	}
	if result, ok := neutralPAM[e.module]; ok {
		return result
	}
	return pamFailure
}

// with changes what modules of some names return.
func with(returns func(pamEntry) string, result string, modules ...string) func(pamEntry) string {
	return func(e pamEntry) string {
		if slices.Contains(modules, e.module) {
			return result
		}
		return returns(e)
	}
}

// allGood is what modules return to somebody who can prove everything, but is not root.
func allGood(e pamEntry) string {
	if e.module == "deny" || e.module == "rootok" || e.module == "broken" {
		return pamFailure
	}
	return pamSuccess
}

// refuses says whether a stack fails if one of these modules does, whatever others say; also that it has one.
func (st pamStack) refuses(modules ...string) bool {
	if !st.has(modules...) {
		return false
	}
	ok, _ := st.run(with(allGood, pamFailure, modules...))
	return !ok
}

func (st pamStack) has(modules ...string) bool {
	return slices.ContainsFunc(st, func(e pamEntry) bool { return slices.Contains(modules, e.module) })
}

// locks says whether a user whom pam_faillock or pam_tally2 has locked is kept out in spite of the right password.
func (st pamStack) locks() bool {
	if !st.has("faillock", "tally2") {
		return false
	}
	ok, _ := st.run(with(with(withoutProof, pamFailure, "faillock", "tally2"), pamSuccess, "unix"))
	return !ok
}

// countsFailures says whether pam_faillock or pam_tally2 is told of a wrong password.
func (st pamStack) countsFailures() bool {
	_, called := st.run(withoutProof)
	return slices.ContainsFunc(called, func(e pamEntry) bool {
		return e.module == "faillock" && e.has("authfail") || e.module == "tally2"
	})
}

// open says whether who can prove nothing is let in.
func (st pamStack) open() bool {
	ok, _ := st.run(withoutProof)
	return ok
}

// denies says whether nobody is let in.
func (st pamStack) denies() bool {
	ok, _ := st.run(allGood)
	return !ok
}
