package host

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A dockerDocument is a Dockerfile taken apart.
type dockerDocument struct {
	directives   map[string]string // syntax, escape and check of its first lines
	escape       byte
	instructions []dockerInstruction
	wrong        []dockerError // what cannot be read, the rest is read all the same
}

// A dockerError is what is wrong with a line.
type dockerError struct {
	line int
	text string
}

// A dockerInstruction is one instruction, continued lines joined. What ONBUILD wraps is the instruction itself.
type dockerInstruction struct {
	line     int
	keyword  string // in capitals
	upper    bool   // it is written so
	onbuild  bool
	flags    []string // --name=value
	args     string   // what follows them
	list     []string // the arguments if they are a JSON list
	json     bool
	heredocs []dockerHeredoc
}

// A dockerHeredoc is a here-document.
type dockerHeredoc struct {
	name, body string
	quoted     bool // nothing in it is replaced
}

// Bounds of a Dockerfile.
const (
	maxDockerfile         = 1 << 20
	maxDockerInstructions = 5_000
	maxDockerErrors       = 100
	maxHeredocs           = 100     // of one instruction
	maxExpanded           = 4 << 10 // bytes of a text in which variables are replaced
)

var dockerKeywords = []string{"FROM", "RUN", "CMD", "LABEL", "MAINTAINER", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME", "USER", "WORKDIR", "ARG",
	"ONBUILD", "STOPSIGNAL", "HEALTHCHECK", "SHELL"}

// parseDockerfile takes a Dockerfile apart as BuildKit does, and goes on where that would give up.
func parseDockerfile(text string) *dockerDocument {
	d := &dockerDocument{directives: map[string]string{}, escape: '\\'}
	text = strings.TrimPrefix(text, "\ufeff")
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	r := &dockerReader{lines: lines, doc: d}
	r.directives()
	for r.next < len(r.lines) {
		r.instruction()
	}
	return d
}

// A dockerReader is where the reading of a Dockerfile is.
type dockerReader struct {
	lines []string
	next  int // line, from 0
	doc   *dockerDocument
}

func (r *dockerReader) fail(line int, text string) {
	if len(r.doc.wrong) < maxDockerErrors {
		r.doc.wrong = append(r.doc.wrong, dockerError{line, text})
	}
}

var dockerDirective = regexp.MustCompile(`^#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*$`)

// directives reads those of the first lines. The first line that is none ends them.
func (r *dockerReader) directives() {
	for ; r.next < len(r.lines); r.next++ {
		m := dockerDirective.FindStringSubmatch(strings.TrimSpace(r.lines[r.next]))
		if m == nil {
			break
		}
		name := strings.ToLower(m[1])
		if !slices.Contains([]string{"syntax", "escape", "check"}, name) {
			break
		}
		if _, twice := r.doc.directives[name]; twice {
			r.fail(r.next+1, "the directive "+name+" is given twice")
		}
		r.doc.directives[name] = m[2]
	}
	switch escape := r.doc.directives["escape"]; escape {
	case "", `\`:
	case "`":
		r.doc.escape = '`'
	default:
		r.fail(1, "the directive escape: want a backslash or a backtick")
	}
}

// instruction reads the next one, with the lines that it is continued on and its here-documents.
func (r *dockerReader) instruction() {
	first := strings.TrimSpace(r.lines[r.next])
	if first == "" || first[0] == '#' {
		r.next++
		return
	}
	line := r.next + 1
	text := r.logical()
	if len(r.doc.instructions) >= maxDockerInstructions {
		r.fail(line, "there are too many instructions")
		r.next = len(r.lines)
		return
	}
	in, ok := r.split(text, line)
	if !ok {
		return
	}
	if in.keyword == "RUN" || in.keyword == "COPY" || in.keyword == "ADD" {
		in.heredocs = r.heredocs(in.args, line)
	}
	r.doc.instructions = append(r.doc.instructions, in)
}

// logical joins the lines of an instruction: those that end with the escape character go on. Comments among them are left out.
func (r *dockerReader) logical() string {
	var b strings.Builder
	for first := true; r.next < len(r.lines); first = false {
		line := r.lines[r.next]
		r.next++
		if trimmed := strings.TrimSpace(line); !first && (trimmed == "" || trimmed[0] == '#') {
			continue
		}
		rest, more := r.continued(line)
		if !more {
			b.WriteString(line)
			break
		}
		b.WriteString(rest)
	}
	return strings.TrimSpace(b.String())
}

func (r *dockerReader) continued(line string) (rest string, more bool) {
	trimmed := strings.TrimRight(line, " \t")
	if trimmed == "" || trimmed[len(trimmed)-1] != r.doc.escape {
		return line, false
	}
	return trimmed[:len(trimmed)-1], true
}

// split takes an instruction into its keyword, flags and arguments.
func (r *dockerReader) split(text string, line int) (in dockerInstruction, ok bool) {
	word, rest := cutBlank(text)
	in = dockerInstruction{line: line, keyword: strings.ToUpper(word), upper: word == strings.ToUpper(word)}
	if !slices.Contains(dockerKeywords, in.keyword) {
		r.fail(line, "unknown instruction "+quoteShort(word))
		return in, false
	}
	if in.keyword == "ONBUILD" {
		inner, ok := r.split(rest, line)
		if inner.keyword == "ONBUILD" || inner.keyword == "FROM" || inner.keyword == "MAINTAINER" {
			r.fail(line, "ONBUILD "+inner.keyword+" is not allowed")
			return in, false
		}
		inner.onbuild, inner.upper = true, inner.upper && in.upper
		return inner, ok
	}
	for strings.HasPrefix(rest, "--") {
		var flag string
		flag, rest = cutBlank(rest)
		in.flags = append(in.flags, flag)
	}
	in.args = rest
	if rest == "" {
		r.fail(line, in.keyword+": want arguments")
		return in, false
	}
	if strings.HasPrefix(rest, "[") && json.Unmarshal([]byte(rest), &in.list) == nil {
		in.json = true
	} else {
		in.list = nil
	}
	if least := dockerLeast[in.keyword]; in.keyword != "FROM" && len(r.doc.words(&in)) < least {
		r.fail(line, in.keyword+": want at least "+strconv.Itoa(least)+" arguments")
		return in, false
	}
	return in, true
}

// dockerLeast are how many arguments an instruction needs at least.
var dockerLeast = map[string]int{"ADD": 2, "COPY": 2, "RUN": 1, "EXPOSE": 1, "VOLUME": 1, "SHELL": 1, "ENV": 1, "LABEL": 1, "ARG": 1}

func quoteShort(word string) string {
	if len(word) > 40 {
		word = word[:40] + "…"
	}
	return `"` + strings.ToValidUTF8(word, "?") + `"`
}

// cutBlank cuts a text at its first blanks.
func cutBlank(text string) (word, rest string) {
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimLeft(text[i:], " \t")
}

var heredocMark = regexp.MustCompile(`^[0-9]*<<(-?)([^<]+)$`)

// heredocs reads the here-documents that the words of an instruction announce, one after the other.
func (r *dockerReader) heredocs(args string, line int) (all []dockerHeredoc) {
	for _, word := range splitQuoted(args, r.doc.escape) {
		m := heredocMark.FindStringSubmatch(word)
		if m == nil {
			continue
		}
		if len(all) == maxHeredocs {
			r.fail(line, "there are too many here-documents")
			return all
		}
		h := dockerHeredoc{name: unquoteDocker(m[2], r.doc.escape), quoted: strings.ContainsAny(m[2], `"'`)}
		var b strings.Builder
		ended := false
		for r.next < len(r.lines) && !ended {
			text := r.lines[r.next]
			r.next++
			if m[1] == "-" {
				text = strings.TrimLeft(text, "\t")
			}
			if ended = text == h.name; !ended {
				b.WriteString(text + "\n")
			}
		}
		if !ended {
			r.fail(line, "the here-document "+h.name+" does not end")
		}
		h.body = b.String()
		all = append(all, h)
	}
	return all
}

// text is all that the instruction says: its arguments, and its here-documents.
func (in *dockerInstruction) text() string {
	text := in.args
	for _, h := range in.heredocs {
		text += "\n" + h.body
	}
	return text
}

// flag is the value of a flag, and whether it is given.
func (in *dockerInstruction) flag(name string) (value string, given bool) {
	for _, f := range in.flags {
		key, v, _ := strings.Cut(f, "=")
		if key == "--"+name {
			return strings.Trim(v, `"'`), true
		}
	}
	return "", false
}

// words are the arguments as words: the JSON list, or what blanks outside of quotes part. Quotes and escapes stay in them.
func (d *dockerDocument) words(in *dockerInstruction) []string {
	if in.json {
		return in.list
	}
	return splitQuoted(in.args, d.escape)
}

func splitQuoted(text string, escape byte) (all []string) {
	start, quote := -1, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		blank := quote == 0 && (c == ' ' || c == '\t' || c == '\n')
		if blank && start >= 0 {
			all, start = append(all, text[start:i]), -1
		}
		if blank {
			continue
		}
		if start < 0 {
			start = i
		}
		switch {
		case c == escape && quote != '\'':
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		}
	}
	if start >= 0 {
		all = append(all, text[start:])
	}
	return all
}

// unquoteDocker takes quotes and escapes off a word.
func unquoteDocker(word string, escape byte) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == escape && quote != '\'' && i+1 < len(word):
			i++
			b.WriteByte(word[i])
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// A pair is a key with its value, as ENV, ARG and LABEL have them.
type pair struct {
	key, value string
	given      bool // a value is
}

// pairs reads KEY=VALUE words, or the older form with a single KEY VALUE.
func (d *dockerDocument) pairs(in *dockerInstruction) (all []pair, modern bool) {
	words := splitQuoted(in.args, d.escape)
	if len(words) > 0 && !strings.Contains(words[0], "=") && in.keyword != "ARG" {
		key, value := cutBlank(in.args)
		return []pair{{unquoteDocker(key, d.escape), unquoteDocker(value, d.escape), value != ""}}, false
	}
	for _, word := range words {
		key, value, given := strings.Cut(word, "=")
		all = append(all, pair{unquoteDocker(key, d.escape), unquoteDocker(value, d.escape), given})
	}
	return all, true
}

// expandDocker replaces $NAME, ${NAME}, ${NAME:-OTHERWISE} and ${NAME:+INSTEAD} in a text. What has no value makes it unresolved.
func expandDocker(text string, escape byte, value func(name string) (string, bool)) (expanded string, resolved bool) {
	var b strings.Builder
	if len(text) > maxExpanded {
		return text, false
	}
	resolved = true
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == escape && i+1 < len(text) && text[i+1] == '$' {
			b.WriteByte('$')
			i++
			continue
		}
		if c != '$' || i+1 == len(text) {
			b.WriteByte(c)
			continue
		}
		replaced, n, ok := expandOne(text[i+1:], escape, value)
		if n == 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString(replaced)
		resolved = resolved && ok
		i += n
	}
	return b.String(), resolved
}

// expandOne replaces what stands behind a $, and says how long that is.
func expandOne(text string, escape byte, value func(string) (string, bool)) (replaced string, n int, ok bool) {
	if text[0] != '{' {
		n = nameLength(text)
		if n == 0 {
			return "", 0, true
		}
		replaced, ok = value(text[:n])
		return replaced, n, ok
	}
	end := closing(text, '{', '}')
	if end < 0 {
		return "", 0, true
	}
	inner := text[1:end]
	n = nameLength(inner)
	name, rest := inner[:n], inner[n:]
	v, known := value(name)
	other := ""
	if i := strings.IndexAny(rest, "-+?"); i == 0 || i == 1 && rest[0] == ':' {
		other = rest[i+1:]
		set := known && (i == 0 || v != "")
		switch rest[i] {
		case '-':
			if !set {
				v, known = expandDocker(other, escape, value)
			}
		case '+':
			if v, known = "", true; set {
				v, known = expandDocker(other, escape, value)
			}
		}
	}
	return v, end + 1, known
}

func nameLength(text string) int {
	n := 0
	for n < len(text) && (text[n] == '_' || text[n] >= 'a' && text[n] <= 'z' || text[n] >= 'A' && text[n] <= 'Z' || n > 0 && text[n] >= '0' && text[n] <= '9') {
		n++
	}
	return n
}

// closing is where the bracket at the beginning of a text is closed, -1 if it is not.
func closing(text string, opens, closes byte) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case opens:
			depth++
		case closes:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
