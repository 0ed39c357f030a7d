package fim

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// redactedText stands where a secret was, or a line of one.
const redactedText = "[redacted]"

// A shownLine is what may be shown of a line.
type shownLine struct {
	text   string
	hidden bool // it is part of a secret that began before it
}

// conceal takes secrets out of the lines of two texts. A diff shows parts of them: whether a line is part of a secret must be
// told from the whole text, and one that was, before the line that told so was taken out, still is.
func conceal(old, new []string, redact func(string) string) (shownOld, shownNew []shownLine) {
	cache := map[string]string{}
	redactOnce := func(text string) string {
		shown, ok := cache[text]
		if !ok {
			shown = redact(text)
			cache[text] = shown
		}
		return shown
	}
	shownOld, shownNew = concealOne(old, redactOnce), concealOne(new, redactOnce)
	secret := map[string]bool{}
	texts := []struct {
		lines []string
		shown []shownLine
	}{{old, shownOld}, {new, shownNew}}
	for _, t := range texts {
		for i, line := range t.lines {
			if line = content(line); t.shown[i].hidden && len(line) >= minSecret {
				secret[line] = true
			}
		}
	}
	for _, t := range texts {
		for i, line := range t.lines {
			if secret[content(line)] {
				t.shown[i] = shownLine{redactedText, true}
			}
		}
	}
	return shownOld, shownNew
}

// minSecret is the length in bytes of lines that are hidden wherever they are: that of a bracket or a word like else is not.
const minSecret = 6

// content is a line without what is around it.
func content(line string) string { return strings.TrimSpace(line) }

func concealOne(lines []string, redact func(string) string) []shownLine {
	shown := make([]shownLine, len(lines))
	c := concealer{redact: redact, indent: -1}
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\n")
		if shown[i] = c.line(line); !isPrivate(blockEnd, line) {
			continue
		}
		for j := i - 1; j >= 0 && !shown[j].hidden && keyBody.MatchString(content(lines[j])); j-- {
			shown[j] = shownLine{redactedText, true} // of a key whose beginning is not there
		}
	}
	return shown
}

// A concealer goes through the lines of a text, and remembers which secrets go on.
type concealer struct {
	redact func(string) string
	key    bool   // a private key, until its end
	public bool   // a certificate or the like, until its end
	body   bool   // what looks like a key without a beginning
	indent int    // a block of YAML, as long as it is deeper than this; -1 is none
	quote  string // a quotation, until this; neverEnds is for ever
	next   nextLine
}

// A nextLine says what of the next line is secret.
type nextLine uint8

const (
	nothing    nextLine = iota
	aValue              // if it is called so
	anArgument          // unless it is an option
	anything
)

const neverEnds = "\x00"

var (
	blockBegin = regexp.MustCompile(`-{4,5} ?BEGIN ([\w .-]+?) ?-{4,5}`)
	blockEnd   = regexp.MustCompile(`-{4,5} ?END ([\w .-]+?) ?-{4,5}`)
	// publicBlocks are of RFC 7468, OpenSSL, OpenPGP and SSH2; all others are taken for private.
	publicBlocks = regexp.MustCompile(`CERTIFICATE|PUBLIC KEY|CRL$|PARAMETERS$|SIGNATURE$|SIGNED MESSAGE$|^PKCS7$|^CMS$`)
	keyBody      = regexp.MustCompile(`^["']?[A-Za-z0-9+/_-]+={0,2}(?:\\n)?["',\\+; ]*$`)
	keyBodyLong  = 40

	// blockScalar ends a line of YAML whose value is on the lines below it.
	blockScalar = regexp.MustCompile(`[:=]\s+(?:!\S+\s+)?[|>][-+0-9]*\s*(?:#.*)?$`)
	nameLine    = regexp.MustCompile(`(?i)^[\s-]*["']?name["']?\s*[:=]`)
	valueLine   = regexp.MustCompile(`(?i)^[\s-]*["']?value["']?\s*[:=]`)
	optionLine  = regexp.MustCompile(`^\s*(?:- +)?["']?--?[A-Za-z]`)

	// harmless is what stands before a command in units of systemd, and what only looks like a secret: whence a unit has its
	// credentials, tags of sudoers, and where nsswitch.conf has accounts looked up. What is around it is looked at by itself.
	harmless = regexp.MustCompile(`^\s*Exec[A-Za-z]*\s*=\s*[-@:+!|]*|^\s*(?:Load|Import|Condition|Assert)Credential(?:Encrypted)?\s*=.*` +
		`|^\s*PassCredentials\s*=.*|\bNOPASSWD:|[=),]\s*PASSWD:` +
		`|^(?:passwd|passwd_compat):(?:\s+(?:files|compat|systemd|sss|ldap|nis|nisplus|db|winbind|extrausers|\[[^\]]*\]))+(?:\s|$)`)
	// quotedAssignments are those of systemd's Environment=, whose values may have blanks.
	quotedAssignments = regexp.MustCompile(`"[\w.-]+=[^"]*"|'[\w.-]+=[^']*'`)
	// secretForms are hashes of passwords, of crypt(5), GRUB and LDAP, and keys in base64 within base64, as in a kubeconfig.
	secretForms = regexp.MustCompile(`\$(?:[0-9]\w?|y|gy|sha1|md5|apr1|argon2\w*|scrypt|pbkdf2[\w-]*)\$[^\s:,;"']{20,}` +
		`|\bgrub\.pbkdf2\.\S+|(?i:\{(?:S?SHA\d*|S?MD5|CRYPT)\})[^\s"']{8,}|LS0tLS1CRUdJTi[A-Za-z0-9+/=]*`)
)

// line says what may be shown of the next line.
func (c *concealer) line(line string) shownLine {
	if c.isBlock(line) || c.goesOn(line) {
		return shownLine{redactedText, true}
	}
	text := strings.TrimRight(line, " \t\r")
	shown := c.shown(text)
	c.follow(text, shown)
	return shownLine{text: shown + line[len(text):]}
}

// isBlock says whether a line is of a private key, its first and last ones included.
func (c *concealer) isBlock(line string) bool {
	if begins := blockBegin.FindAllStringSubmatchIndex(line, -1); begins != nil {
		private := slices.ContainsFunc(begins, func(m []int) bool { return !publicBlocks.MatchString(line[m[2]:m[3]]) })
		ended := blockEnd.MatchString(line[begins[len(begins)-1][1]:])
		c.key, c.public, c.body = private && !ended, !private && !ended, false
		return private
	}
	ends := blockEnd.MatchString(line)
	if c.key {
		c.key = !ends
		return true
	}
	if c.public {
		c.public = !ends
		return false
	}
	text := content(line)
	c.body = keyBody.MatchString(text) && (c.body || isKeyBody(text))
	return c.body
}

// isKeyBody says whether a line looks like one of a key: a long one of base64, and no path, name or sum in hexadecimal.
func isKeyBody(text string) bool {
	has := func(is func(rune) bool) bool { return strings.ContainsFunc(text, is) }
	return len(text) >= keyBodyLong && text[0] != '/' && has(unicode.IsUpper) && has(unicode.IsLower) && has(unicode.IsDigit)
}

func isPrivate(block *regexp.Regexp, line string) bool {
	m := block.FindStringSubmatch(line)
	return m != nil && !publicBlocks.MatchString(m[1])
}

// goesOn says whether a line is of what began on one before it.
func (c *concealer) goesOn(line string) bool {
	next := c.next
	c.next = nothing
	if c.quote != "" {
		if strings.Contains(line, c.quote) {
			c.quote = ""
		}
		return true
	}
	if c.indent >= 0 {
		if content(line) == "" || indentOf(line) > c.indent {
			return true
		}
		c.indent = -1
	}
	switch next {
	case anything:
		if strings.HasSuffix(content(line), `\`) {
			c.next = anything
		}
		return true
	case anArgument:
		return content(line) != "" && !optionLine.MatchString(line)
	}
	return next == aValue && valueLine.MatchString(line)
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// shown takes the secrets out of one line.
func (c *concealer) shown(text string) string {
	shown, at := "", 0
	for _, m := range harmless.FindAllStringIndex(text, -1) {
		shown += c.redact(text[at:m[0]]) + text[m[0]:m[1]]
		at = m[1]
	}
	shown += c.redact(text[at:])
	shown = quotedAssignments.ReplaceAllStringFunc(shown, func(m string) string {
		name, _, _ := strings.Cut(m[1:], "=")
		if !c.isSecretName(name) {
			return m
		}
		return m[:1] + name + "=" + redactedText + m[:1]
	})
	return secretForms.ReplaceAllString(shown, redactedText)
}

// isSecretName asks what becomes of a value of that name.
func (c *concealer) isSecretName(name string) bool {
	assigned := name + "=x"
	return name != "" && c.redact(assigned) != assigned
}

// follow finds out whether a secret of a line goes on below it, or stands there altogether.
func (c *concealer) follow(text, shown string) {
	if c.announces(text) {
		c.next = anArgument
	} else if nameLine.MatchString(text) && c.isSecretName(lastWord(text)) {
		c.next = aValue
	}
	if shown == text {
		return
	}
	if strings.HasSuffix(text, `\`) && !strings.HasSuffix(shown, `\`) {
		c.next = anything
	}
	if blockScalar.MatchString(text) {
		c.indent = indentOf(text)
		return
	}
	c.quote = c.openQuote(text)
}

// announces says whether a line ends with an option whose value is a secret, which then is on the next line.
func (c *concealer) announces(text string) bool {
	word := lastWord(text)
	name := strings.TrimLeft(word, "-")
	return name != word && c.isSecretName(name)
}

// lastWord is what a line ends with, without quotes and what only joins it to the next.
func lastWord(text string) string {
	text = strings.TrimRight(text, " \t\\,;'\"`")
	return text[strings.LastIndexAny(text, " \t=:,'\"`[(")+1:]
}

// openQuote is what ends a secret that the redactor takes to go on after the line, empty if it does not.
func (c *concealer) openQuote(text string) string {
	const below = "\nx"
	if strings.Contains(c.redact(text+below), "\n") {
		return ""
	}
	for _, quote := range []string{`"`, `'`} {
		if strings.Contains(c.redact(text+below+quote+below), "\n") {
			return quote
		}
	}
	return neverEnds
}
