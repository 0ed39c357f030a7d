package host

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// Redact returns a command line without what looks like a secret in it: values of options and variables that are
// called passwords, tokens or keys, passwords in URLs and connection strings, credentials of HTTP headers, keys of
// known shapes, and what is known of common tools (mysql -pSECRET, curl -u USER:SECRET). Scripts given to a shell are
// read word by word. It errs on the side of hiding. The number of arguments stays the same; args is not changed.
func Redact(args []string) []string {
	var r redactor
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = r.argument(arg)
	}
	return out
}

// RedactText does the same for a text that is not a command line, such as a query or one line of a file.
func RedactText(s string) string {
	// Most words hold nothing that a secret could stand behind, which is told faster than by expressions.
	s = hideURLs(s)
	if strings.ContainsAny(s, ":=") {
		s = hideAssignments(hideHeaders(s))
	}
	if strings.ContainsAny(s, `'"`) {
		s = hideSQL(s)
	}
	if strings.Contains(s, " ") {
		s = hideBearers(s)
	}
	if len(s) >= 16 || strings.Contains(s, "pass:") {
		s = hideKeys(s)
	}
	return s
}

// A toolRule says which one-letter options of a program hold a secret.
type toolRule struct {
	attached string // -pSECRET
	separate string // -p SECRET
	userPass string // -u USER:SECRET, attached or separate
	after    string // only after this word, if any
}

// tools are found by the name of the program, or by its beginning where the name here ends in an asterisk.
var tools = map[string]toolRule{
	"mysql*":     {attached: "p"},
	"mariadb*":   {attached: "p"},
	"xtrabackup": {attached: "p"},
	"mydumper":   {attached: "p", separate: "p"},
	"mongo*":     {attached: "p", separate: "p"},
	"redis-cli":  {separate: "a"},
	"valkey-cli": {separate: "a"},
	"sshpass":    {attached: "p", separate: "p"},
	"ssh":        {}, // run by sshpass, and -p is a port
	"scp":        {},
	"sftp":       {},
	"rsync":      {},
	"curl":       {userPass: "uUE"},
	"lftp":       {userPass: "u"},
	"smbclient":  {userPass: "U"},
	"rpcclient":  {userPass: "U"},
	"ldap*":      {attached: "w", separate: "w"},
	"docker":     {attached: "p", separate: "p", after: "login"},
	"podman":     {attached: "p", separate: "p", after: "login"},
	"nerdctl":    {attached: "p", separate: "p", after: "login"},
	"buildah":    {attached: "p", separate: "p", after: "login"},
	"skopeo":     {attached: "p", separate: "p", after: "login"},
	"helm":       {attached: "p", separate: "p", after: "login"},
	"oras":       {attached: "p", separate: "p", after: "login"},
	"oc":         {attached: "p", separate: "p", after: "login"},
	"az":         {attached: "p", separate: "p", after: "login"},
	"sqlcmd":     {attached: "P", separate: "P"},
	"bcp":        {attached: "P", separate: "P"},
	"isql":       {attached: "P", separate: "P"},
	"cqlsh":      {attached: "p", separate: "p"},
	"zip":        {attached: "P", separate: "P"},
	"unzip":      {attached: "P", separate: "P"},
	"7z*":        {attached: "p"},
	"rar":        {attached: "p"},
	"unrar":      {attached: "p"},
	"ipmitool":   {attached: "P", separate: "P"},
	"snmp*":      {attached: "AXc", separate: "AXc"},
	"openssl":    {separate: "kK"},
	"useradd":    {attached: "p", separate: "p"},
	"usermod":    {attached: "p", separate: "p"},
	"rabbitmq*":  {attached: "p", separate: "p"},
}

// bareNames announce a secret in the next word without being an option: aws configure set, redis-cli config set.
var bareNames = []string{"aws_secret_access_key", "aws_session_token", "requirepass", "masterauth"}

// A redactor goes through a command line, or the words of a script, and remembers what the words before said.
type redactor struct {
	tool     toolRule
	script   bool // the next argument is one for a shell
	next     bool // the next word is a secret
	userPass bool // the next word is USER:SECRET
	depth    int  // of scripts within scripts
	words    []string
}

func (r *redactor) argument(arg string) string {
	script := r.script
	r.script = shellOption(arg)
	blank := strings.ContainsAny(arg, " \t\n")
	if !blank || r.next || r.userPass || strings.HasPrefix(arg, "-") || !script && assignment.MatchString(arg) {
		return r.word(arg)
	}
	return RedactText(redactScript(arg, 0))
}

// shellOption reports whether arg is -c, alone or among other letters.
func shellOption(arg string) bool {
	return len(arg) >= 2 && len(arg) <= 5 && arg[0] == '-' && arg[1] != '-' && arg[len(arg)-1] == 'c'
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// word redacts one word of the command line.
func (r *redactor) word(w string) string {
	expected, pair := r.next, r.userPass
	r.next, r.userPass = false, false
	if expected && !option.MatchString(w) {
		return redacted
	}
	if pair && !option.MatchString(w) {
		return hidePair(w)
	}
	if name, value, ok := strings.Cut(w, "="); ok && value != "" && assigns(name) {
		return name + "=" + redacted
	}
	if out, ok := r.option(w); ok {
		return out
	}
	r.remember(w)
	if r.depth == 0 {
		return RedactText(w)
	}
	return w // the script is looked at as a whole
}

var (
	option     = regexp.MustCompile(`^--?[A-Za-z]`)
	optionName = regexp.MustCompile(`^--?[A-Za-z][A-Za-z0-9_.-]*$`)
	anyName    = regexp.MustCompile(`^-{0,2}[A-Za-z_][A-Za-z0-9_.-]*$`)
)

func assigns(name string) bool {
	return anyName.MatchString(name) && secretName(strings.TrimLeft(name, "-"))
}

// option redacts an option that holds a secret, or notes that the next word is one.
func (r *redactor) option(w string) (string, bool) {
	if len(w) < 2 || w[0] != '-' {
		return "", false
	}
	if out, ok := r.letter(w); ok {
		return out, true
	}
	if optionName.MatchString(w) && secretName(strings.TrimLeft(w, "-")) {
		r.next = true
		return w, true
	}
	if name, value, _ := strings.Cut(w, "="); pairOption(name) {
		if value != "" {
			return name + "=" + hidePair(value), true
		}
		r.userPass = w == name
		return w, true
	}
	return "", false
}

// letter redacts a one-letter option that holds a secret for this program.
func (r *redactor) letter(w string) (string, bool) {
	if r.tool.after != "" && !slices.Contains(r.words, r.tool.after) || w[1] == '-' {
		return "", false
	}
	letter, value := w[1:2], w[2:]
	switch {
	case value == "" && strings.Contains(r.tool.separate, letter):
		r.next = true
		return w, true
	case value == "" && strings.Contains(r.tool.userPass, letter):
		r.userPass = true
		return w, true
	case value != "" && strings.Contains(r.tool.attached, letter):
		return w[:2] + redacted, true
	case value != "" && strings.Contains(r.tool.userPass, letter):
		return w[:2] + hidePair(value), true
	}
	return "", false
}

// pairOption reports whether a long option's value is USER:SECRET.
func pairOption(name string) bool {
	switch name {
	case "--user", "--proxy-user", "--creds", "--src-creds", "--dest-creds", "--auth":
		return true
	}
	return false
}

// hidePair redacts the second half of USER:SECRET, USER%SECRET or USER,SECRET. A user alone is no secret.
func hidePair(w string) string {
	if i := strings.IndexAny(w, ":%,"); i >= 0 && i+1 < len(w) {
		return w[:i+1] + redacted
	}
	return w
}

// remember notes the program, and what its words so far were.
func (r *redactor) remember(w string) {
	if strings.HasPrefix(w, "-") {
		return
	}
	w = strings.Trim(w, `"'`)
	r.next = slices.Contains(bareNames, strings.ToLower(w))
	if rule, ok := findTool(path.Base(w)); ok {
		r.tool, r.words = rule, nil
		return
	}
	if len(r.words) < 8 {
		r.words = append(r.words, w)
	}
}

func findTool(name string) (toolRule, bool) {
	if rule, ok := tools[name]; ok {
		return rule, true
	}
	for pattern, rule := range tools {
		if begin, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(name, begin) {
			return rule, true
		}
	}
	return toolRule{}, false
}

// redactScript redacts the options in a shell script. Quotes are respected, nothing else of the shell's grammar.
func redactScript(script string, depth int) string {
	var out strings.Builder
	r := redactor{depth: depth + 1}
	for rest := script; rest != ""; {
		space, word, after := nextWord(rest)
		rest = after
		out.WriteString(space)
		if strings.ContainsAny(space, ";|&\n") {
			r = redactor{depth: depth + 1}
		}
		if word == "" {
			continue
		}
		if inner, quote := quoted(word); quote != "" && strings.ContainsAny(inner, " \t\n") && depth < 4 && !r.next && !r.userPass {
			out.WriteString(quote + redactScript(inner, depth+1) + quote)
			continue
		}
		out.WriteString(r.word(word))
	}
	if strings.Contains(script, "chpasswd") {
		return userColon.ReplaceAllString(out.String(), "${1}"+redacted)
	}
	return out.String()
}

// userColon is what chpasswd reads: USER:SECRET.
var userColon = regexp.MustCompile(`(\b[a-z_][a-z0-9_-]*:)[^\s'"|;]+`)

// nextWord cuts what separates words, and one word, from the beginning of a script.
func nextWord(s string) (space, word, rest string) {
	i := 0
	for i < len(s) && strings.IndexByte(" \t\r\n;|&()<>", s[i]) >= 0 {
		i++
	}
	start := i
	var quote byte
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.IndexByte(" \t\r\n;|&()<>", c) >= 0:
			return s[:start], s[start:i], s[i:]
		}
	}
	return s[:start], s[start:], ""
}

// quoted returns what a word in quotes holds, and the quote.
func quoted(w string) (inner, quote string) {
	if len(w) < 2 || w[0] != w[len(w)-1] || w[0] != '\'' && w[0] != '"' {
		return "", ""
	}
	return w[1 : len(w)-1], w[:1]
}

// secretWords end the name of a secret, or stand in it; harmlessWords behind them say that it is something about one.
var (
	secretWords = []string{
		"password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey",
		"authkey", "accountkey", "sharedkey", "signingkey", "encryptionkey", "masterkey", "licensekey", "credential",
		"credentials", "creds", "connectionstring", "requirepass", "masterauth", "sharedaccesssignature", "bearer",
	}
	shortSecretWords = []string{"pass", "pwd", "pw", "psk", "sig", "signature", "dsn"}
	harmlessWords    = []string{
		"file", "files", "path", "dir", "stdin", "prompt", "name", "names", "policy", "length", "env", "url", "uri",
		"endpoint", "type", "ttl", "id", "ids", "expiry", "expires", "provider", "helper", "store", "count", "size",
		"version", "format", "hint", "enabled", "limit", "fd", "age", "mode", "class", "ref", "algorithm", "alg", "rotation",
	}
	harmlessBeginnings = []string{"no", "disable", "show", "skip", "ask", "prompt", "max", "min", "without", "allow", "list"}
	ordinaryWords      = []string{"PWD", "OLDPWD", "bypass", "compass"}
)

// secretName reports whether a name, of an option, a variable or a field, is that of a secret.
func secretName(name string) bool {
	if slices.Contains(ordinaryWords, name) {
		return false
	}
	parts := nameParts(name)
	if len(parts) == 0 {
		return false
	}
	last := parts[len(parts)-1]
	if len(parts) > 1 && (slices.Contains(harmlessWords, last) || slices.Contains(harmlessBeginnings, parts[0])) {
		return false
	}
	whole := strings.Join(parts, "")
	for _, word := range secretWords {
		if strings.Contains(whole, word) {
			return true
		}
	}
	return slices.Contains(shortSecretWords, last) || strings.HasSuffix(last, "pass") || strings.HasSuffix(last, "pwd") || name == "_auth"
}

// nameParts splits a name at what is neither letter nor digit, and where a capital begins a word.
func nameParts(name string) []string {
	var parts []string
	start, previous := 0, 'A'
	cut := func(end int) {
		if end > start {
			parts = append(parts, strings.ToLower(name[start:end]))
		}
	}
	for i, c := range name {
		switch {
		case !unicode.IsLetter(c) && !unicode.IsDigit(c):
			cut(i)
			start = i + len(string(c))
		case unicode.IsUpper(c) && unicode.IsLower(previous):
			cut(i)
			start = i
		}
		previous = c
	}
	cut(len(name))
	return parts
}

// hideURLs redacts the password of scheme://user:password@host, and a user that is long enough to be a token.
func hideURLs(s string) string {
	var out strings.Builder
	for {
		i := strings.Index(s, "://")
		if i < 0 {
			out.WriteString(s)
			return hideDSN(out.String())
		}
		i += len("://")
		out.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexAny(s, " \t\r\n'\"")
		if end < 0 {
			end = len(s)
		}
		if at := userEnd(s[:end]); at >= 0 {
			out.WriteString(hideUser(s[:at]))
			s = s[at:]
		}
	}
}

// dsn is the form of Go's MySQL driver: user:password@tcp(host:3306)/name.
var dsn = regexp.MustCompile(`(\b[\w.-]+:)[^\s'"]+(@(?:tcp|unix)\()`)

func hideDSN(s string) string {
	if !strings.Contains(s, "@tcp(") && !strings.Contains(s, "@unix(") {
		return s
	}
	return dsn.ReplaceAllString(s, "${1}"+redacted+"${2}")
}

// userEnd returns where the @ after user and password stands, -1 if there is none. A password may hold slashes.
func userEnd(url string) int {
	slash := strings.IndexAny(url, "/?#")
	if slash < 0 {
		slash = len(url)
	}
	if at := strings.LastIndexByte(url[:slash], '@'); at >= 0 {
		return at
	}
	if colon := strings.IndexByte(url[:slash], ':'); colon < 0 || port.MatchString(url[colon:]) {
		return -1
	}
	return strings.IndexByte(url, '@')
}

var port = regexp.MustCompile(`^:[0-9]*(?:[/?#]|$)`)

func hideUser(user string) string {
	if name, password, ok := strings.Cut(user, ":"); ok {
		if password == "" {
			return user
		}
		return name + ":" + redacted
	}
	if len(user) >= 20 {
		return redacted
	}
	return user
}

var header = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]*(?:key|token|auth|secret))(\s*[:=]\s*)((?:bearer|basic|digest|negotiate|token|aws4-hmac-sha256)\s+)?[^'"\r\n]+`)

// hideHeaders redacts the value of HTTP headers that authenticate, up to the end of the line or quotation.
func hideHeaders(s string) string { return header.ReplaceAllString(s, "${1}${2}${3}"+redacted) }

var assigned = regexp.MustCompile(`(?i)([\w.-]*(?:pass|pwd|psk|secret|token|key|credential|creds|connection-?_?string|auth|sig|signature|bearer)[\w.-]*)(\\?["']?\s*(?:=|:)\s*)(\\?"[^"]*"?|'[^']*'?|[^\s&;'"]+)`)

// hideAssignments redacts NAME=VALUE, "name": "value" and the like wherever they stand.
func hideAssignments(s string) string {
	var out strings.Builder
	done := 0
	for _, m := range assigned.FindAllStringSubmatchIndex(s, -1) {
		name, between, value := s[m[2]:m[3]], s[m[4]:m[5]], s[m[6]:m[7]]
		if !hides(s[:m[2]], name, between) {
			continue
		}
		out.WriteString(s[done:m[6]])
		out.WriteString(hideQuoted(value))
		done = m[7]
	}
	out.WriteString(s[done:])
	return out.String()
}

// hides reports whether the value of an assignment is a secret. A colon also stands in names of images and resources.
func hides(before, name, between string) bool {
	if !secretName(strings.TrimLeft(name, "-")) {
		return false
	}
	if strings.Contains(between, "=") || len(between) > 1 {
		return true
	}
	return before == "" || strings.HasSuffix(before, "{") || strings.HasSuffix(before, ",") || strings.HasSuffix(before, " ")
}

func hideQuoted(value string) string {
	for _, quote := range []string{`\"`, `"`, `'`} {
		if inner, ok := strings.CutPrefix(value, quote); ok {
			if strings.HasSuffix(inner, quote) {
				return quote + redacted + quote
			}
			return quote + redacted
		}
	}
	return redacted
}

var sqlPassword = regexp.MustCompile(`(?i)\b(identified\s+(?:with\s+\S+\s+)?by\s+(?:password\s+)?|password\s+)('[^']*'?|"[^"]*"?)`)

func hideSQL(s string) string { return sqlPassword.ReplaceAllString(s, "${1}'"+redacted+"'") }

var bearer = regexp.MustCompile(`(?i)\b(bearer\s+)([A-Za-z0-9._~+/=-]{8,})`)

// hideBearers redacts what follows the word bearer, unless it is another word.
func hideBearers(s string) string {
	return bearer.ReplaceAllStringFunc(s, func(m string) string {
		parts := bearer.FindStringSubmatch(m)
		if strings.Trim(parts[2], "abcdefghijklmnopqrstuvwxyz") == "" {
			return m
		}
		return parts[1] + redacted
	})
}

// keyShapes are secrets that can be told by their form alone.
var keyShapes = regexp.MustCompile(`\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b` +
	`|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}` +
	`|\bxox[abeprs]-[\w-]{10,}|\bsk-[\w-]{20,}|\b[srp]k_(?:live|test)_\w{16,}` +
	`|\bAIza[\w-]{35}|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|\bhvs\.[\w-]{20,}|\bnpm_\w{30,}` +
	`|\bdop_v1_[a-f0-9]{40,}|\bSG\.[\w-]{16,}\.[\w-]{16,}|\bAGE-SECRET-KEY-1[A-Z0-9]+` +
	`|\bpass:[^\s'"]+` + // openssl -passin
	`|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*)`)

var awsSecret = regexp.MustCompile(`[A-Za-z0-9/+]{40,}`)

func hideKeys(s string) string {
	s = keyShapes.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "pass:") {
			return "pass:" + redacted
		}
		return redacted
	})
	return awsSecret.ReplaceAllStringFunc(s, func(m string) string {
		if len(m) == 40 && m[0] != '/' && strings.ContainsFunc(m, unicode.IsUpper) && strings.ContainsFunc(m, unicode.IsLower) && strings.ContainsFunc(m, unicode.IsDigit) {
			return redacted
		}
		return m
	})
}
