package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A rsyslogConf is what the configuration of rsyslog says, as far as surveys ask.
type rsyslogConf struct {
	modes      []int64 // permissions that it gives to new files
	defaulted  bool    // a file is written before any were given
	selectors  int
	auth       bool
	forwards   []string
	plain      bool // something is sent to others without TLS
	receives   []string
	journal    bool // it reads the journal
	tlsDefault bool

	includes []string // patterns
	tlsNext  bool     // set for the actions that follow, the old way
	addrNext string   // where the next input of UDP listens
	wrong    error
}

// most is the most open permissions that new files get.
func (c *rsyslogConf) most() int64 {
	most := int64(0)
	for _, mode := range c.modes {
		most |= mode
	}
	if c.defaulted || len(c.modes) == 0 {
		most |= 0o644 // what rsyslog gives if nobody says
	}
	return most
}

// rsyslog reads its configuration and what that includes.
func (s *Surveys) rsyslogConf() (*rsyslogConf, error) {
	c := &rsyslogConf{}
	files, seen := []string{"/etc/rsyslog.conf"}, map[string]bool{}
	for len(files) > 0 {
		file := files[0]
		if files = files[1:]; seen[file] {
			continue
		}
		if seen[file] = true; len(seen) > maxIncludes {
			return c, fmt.Errorf("%s: more than %d files are included", file, maxIncludes)
		}
		text, _, err := s.configText(file)
		if err != nil {
			return c, err
		}
		c.add(file, text)
		var included []string
		for _, pattern := range c.includes {
			if strings.HasSuffix(pattern, "/") {
				pattern += "*"
			}
			found, err := s.glob(path.Clean(pattern))
			if err != nil {
				return c, err
			}
			included = append(included, found...)
		}
		files, c.includes = append(included, files...), nil
	}
	return c, c.wrong
}

// A rsyslogReader goes through one file.
type rsyslogReader struct {
	c    *rsyslogConf
	file string
	text string
	at   int
}

// rsyslogObjects are the names that parameters in parentheses follow.
var rsyslogObjects = []string{"action", "dyn_stats", "global", "include", "input", "lookup_table", "main_queue", "module", "parser", "percentile_stats", "property", "ratelimit", "ruleset", "template", "timezone", "constant"}

// add takes in a file.
func (c *rsyslogConf) add(file, text string) {
	r := &rsyslogReader{c: c, file: file, text: text}
	for r.skip(); r.at < len(r.text); r.skip() {
		r.statement()
	}
}

func (r *rsyslogReader) line() int { return strings.Count(r.text[:min(r.at, len(r.text))], "\n") + 1 }

func (r *rsyslogReader) fail(want string) {
	if r.c.wrong == nil {
		r.c.wrong = fmt.Errorf("%s: want %s", place(r.file, r.line()), want)
	}
}

// skip goes past blanks, comments and the marks of blocks.
func (r *rsyslogReader) skip() {
	for r.at < len(r.text) {
		switch rest := r.text[r.at:]; {
		case strings.IndexByte(" \t\r\n{};", rest[0]) >= 0:
			r.at++
		case rest[0] == '#':
			r.toEnd()
		case strings.HasPrefix(rest, "/*"):
			if end := strings.Index(rest, "*/"); end >= 0 {
				r.at += end + 2
			} else {
				r.at = len(r.text)
			}
		default:
			return
		}
	}
}

// toEnd reads up to the end of the line, or of those that a backslash joins.
func (r *rsyslogReader) toEnd() string {
	var b strings.Builder
	for r.at < len(r.text) {
		end := strings.IndexByte(r.text[r.at:], '\n')
		part := r.text[r.at:]
		if end >= 0 {
			part = part[:end]
		}
		r.at = min(r.at+len(part)+1, len(r.text))
		rest, more := strings.CutSuffix(strings.TrimRight(part, "\r"), `\`)
		if b.WriteString(rest); !more {
			break
		}
	}
	return b.String()
}

// statement reads one: a line of the old kind, or an object of the new.
func (r *rsyslogReader) statement() {
	if r.text[r.at] == '$' {
		r.directive(strings.Fields(r.toEnd()))
		return
	}
	word := r.word()
	switch {
	case slices.Contains(rsyslogObjects, strings.ToLower(word)) && r.opens(len(word)):
		r.at += len(word)
		r.object(strings.ToLower(word), r.parameters())
	case word == "if":
		r.condition()
	case word == "else" || word == "then" || word == "stop" || word == "continue":
		r.at += len(word)
	case word == "set" || word == "unset" || word == "reset" || word == "foreach" || word == "call" || word == "call_indirect":
		for r.at < len(r.text) && strings.IndexByte(";\n{", r.text[r.at]) < 0 {
			r.at++
		}
	default:
		r.selector()
	}
}

// word is that at which the reader stands.
func (r *rsyslogReader) word() string {
	end := r.at
	for end < len(r.text) && (r.text[end] == '_' || r.text[end]|0x20 >= 'a' && r.text[end]|0x20 <= 'z') {
		end++
	}
	return r.text[r.at:end]
}

// opens says whether a parenthesis follows, so many bytes from here.
func (r *rsyslogReader) opens(after int) bool {
	return strings.HasPrefix(strings.TrimLeft(r.text[r.at+after:], " \t\r\n"), "(")
}

// condition goes past `if … then`.
func (r *rsyslogReader) condition() {
	start, quote := r.at, byte(0)
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case quote != 0 && c == '\\':
			r.at++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && strings.HasPrefix(r.text[r.at:], "then") && r.at > start+2 && strings.IndexByte(" \t\r\n)", r.text[r.at-1]) >= 0:
			if strings.Contains(r.text[start:r.at], "auth") {
				r.c.auth = true
			}
			r.c.selectors++
			r.at += len("then")
			return
		}
	}
	r.at = len(r.text)
	r.fail("then behind if")
}

// parameters reads (name="value" …).
func (r *rsyslogReader) parameters() map[string]string {
	all := map[string]string{}
	for r.at++; r.at < len(r.text) && r.text[r.at-1] != '('; r.at++ {
	}
	name, assigned := "", false
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == ')':
			r.at++
			return all
		case c == '#':
			r.toEnd()
			continue
		case c == '"' || c == '\'':
			value, ok := r.quoted(c)
			if !ok {
				r.fail("a closing quote")
				return all
			}
			if name != "" {
				all[strings.ToLower(name)] = value
			}
			name, assigned = "", false
			continue
		case c == '_' || c == '.' || c == '-' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9':
			name += string(c)
		case c == '=':
			assigned = true
		case c == '[' || c == ']' || c == ',':
		default:
			if !assigned && !strings.HasPrefix(strings.TrimLeft(r.text[r.at:], " \t\r\n"), "=") {
				name = ""
			}
		}
		r.at++
	}
	r.fail("a closing parenthesis")
	return all
}

func (r *rsyslogReader) quoted(quote byte) (string, bool) {
	var b strings.Builder
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '\\' && r.at+1 < len(r.text):
			r.at++
			b.WriteByte(r.text[r.at])
		case c == quote:
			r.at++
			return b.String(), true
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// directive takes in a line of the old kind: $Name value.
func (r *rsyslogReader) directive(words []string) {
	if len(words) < 2 {
		return
	}
	c, value := r.c, words[1]
	switch strings.ToLower(words[0]) {
	case "$filecreatemode":
		r.mode(value)
	case "$includeconfig":
		c.includes = append(c.includes, value)
	case "$modload":
		c.journal = c.journal || strings.HasPrefix(value, "imjournal")
	case "$udpserveraddress":
		c.addrNext = value
	case "$udpserverrun":
		r.receive("imudp", value, c.addrNext)
	case "$inputtcpserverrun":
		r.receive("imtcp", value, "")
	case "$inputrelpserverrun":
		r.receive("imrelp", value, "")
	case "$inputptcpserverrun":
		r.receive("imptcp", value, "")
	case "$actionsendstreamdrivermode", "$defaultnetstreamdrivermode":
		c.tlsNext = value == "1"
	}
}

func (r *rsyslogReader) mode(text string) {
	mode, err := strconv.ParseInt(text, 8, 32)
	if err != nil || mode < 0 {
		r.fail(fmt.Sprintf("permissions as 0640, got %.20q", text))
		return
	}
	r.c.modes = append(r.c.modes, mode)
}

func (r *rsyslogReader) receive(module, port, address string) {
	if address == "" || address == "*" || !onlyLocal(address) {
		r.c.receives = append(r.c.receives, strings.TrimSpace(module+" "+port))
	}
}

// object takes in one of the new kind.
func (r *rsyslogReader) object(name string, p map[string]string) {
	c := r.c
	if mode, ok := p["filecreatemode"]; ok {
		r.mode(mode)
	}
	switch name {
	case "include":
		c.includes = append(c.includes, p["file"])
	case "module":
		c.journal = c.journal || p["load"] == "imjournal"
	case "global":
		c.tlsDefault = c.tlsDefault || p["defaultnetstreamdriver"] == "gtls" || p["defaultnetstreamdriver"] == "ossl"
	case "input":
		switch p["type"] {
		case "imtcp", "imudp", "imrelp", "imptcp", "imgssapi", "imhttp":
			r.receive(p["type"], p["port"], p["address"])
		}
	case "action":
		r.action(p)
	}
}

func (r *rsyslogReader) action(p map[string]string) {
	c := r.c
	switch p["type"] {
	case "omfile":
		if _, given := p["filecreatemode"]; !given && len(c.modes) == 0 {
			c.defaulted = true
		}
	case "omfwd":
		protocol := cmp.Or(p["protocol"], "udp")
		r.forward(protocol, p["target"], cmp.Or(p["port"], "514"), (p["streamdrivermode"] == "1" || p["streamdriver.mode"] == "1") && (p["streamdriver"] != "" || p["streamdriver.name"] != "" || c.tlsDefault))
	case "omrelp":
		r.forward("relp", p["target"], p["port"], on(p["tls"]))
	case "omkafka", "omelasticsearch", "omhttp", "omamqp1", "omgssapi":
		r.forward(p["type"], cmp.Or(p["server"], p["broker"]), "", on(p["usehttps"]))
	}
}

func (r *rsyslogReader) forward(protocol, host, port string, tls bool) {
	if onlyLocal(host) {
		return
	}
	at := protocol + " " + host
	if port != "" {
		at += ":" + port
	}
	r.c.forwards = append(r.c.forwards, at)
	r.c.plain = r.c.plain || !tls
}

// selector reads `facility.priority action`, `:property, operation, "value" action` or `& action`.
func (r *rsyslogReader) selector() {
	start := r.at
	line := r.text[r.at:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	which, rest, _ := strings.Cut(line, " ")
	if tab := strings.IndexByte(line, '\t'); tab >= 0 && tab < len(which) {
		which, rest = line[:tab], line[tab:]
	}
	if strings.IndexByte("/@?~|", line[0]) >= 0 || strings.HasPrefix(line, "-/") {
		r.toEnd() // an action behind then
		r.oldAction(strings.TrimSpace(line))
		return
	}
	if which == "" || strings.HasPrefix(which, "!") || strings.HasPrefix(which, "+") || strings.HasPrefix(which, "-") {
		r.toEnd() // blocks of BSD
		return
	}
	if strings.HasPrefix(which, ":") {
		if end := strings.LastIndexByte(line, '"'); end >= 0 {
			rest = line[end+1:]
		}
	}
	r.c.selectors++
	action := strings.TrimLeft(rest, " \t")
	if selectsAuth(which) && !discards(action) {
		r.c.auth = true
	}
	if name, _, ok := strings.Cut(action, "("); ok && slices.Contains(rsyslogObjects, strings.TrimSpace(name)) {
		r.at = start + strings.LastIndex(line, action)
		return // it is the next statement
	}
	r.toEnd()
	r.oldAction(action)
}

func discards(action string) bool { return action == "~" || action == "stop" || action == "" }

// selectsAuth says whether a selector is about logins: the last part about that facility counts.
func selectsAuth(selector string) (yes bool) {
	for part := range strings.SplitSeq(selector, ";") {
		facilities, priority, _ := strings.Cut(part, ".")
		for name := range strings.SplitSeq(facilities, ",") {
			if name == "*" || name == "auth" || name == "authpriv" || name == "security" {
				yes = priority != "none"
			}
		}
	}
	return yes
}

// oldAction takes in an action of the old kind.
func (r *rsyslogReader) oldAction(action string) {
	target, protocol := action, ""
	switch {
	case strings.HasPrefix(action, "@@"):
		target, protocol = action[2:], "tcp"
	case strings.HasPrefix(action, "@"):
		target, protocol = action[1:], "udp"
	case strings.HasPrefix(action, "/") || strings.HasPrefix(action, "-/") || strings.HasPrefix(action, "?"):
		r.c.defaulted = r.c.defaulted || len(r.c.modes) == 0
		return
	default:
		return
	}
	if strings.HasPrefix(target, "(") {
		_, target, _ = strings.Cut(target, ")")
	}
	target, _, _ = strings.Cut(target, ";")
	target, _, _ = strings.Cut(strings.TrimSpace(target), " ")
	host, port := target, "514"
	if i := strings.LastIndexByte(target, ':'); i >= 0 && !strings.HasSuffix(target, "]") && strings.Count(target[:i], ":") != 1 {
		host, port = target[:i], target[i+1:]
	}
	r.forward(protocol, host, port, protocol == "tcp" && r.c.tlsNext)
}
