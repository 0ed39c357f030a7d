package host

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bounds of sshd_config: how deep files include each other (sshd has the same), how many are read, and what they may hold.
const (
	maxSSHDepth  = 16
	maxSSHFiles  = 2000
	maxSSHBlocks = 1000 // Match lines
	maxSSHWords  = 10_000
)

// An sshdForm says how the values of a keyword are read and put together.
type sshdForm uint8

const (
	sshFirst      sshdForm = iota // one word, of the first line
	sshFlag                       // yes or no
	sshChoice                     // yes, no or another word
	sshNumber                     // a number
	sshTime                       // a time such as 1h30m
	sshFirstList                  // the words of the first line
	sshLists                      // the words of all lines
	sshRest                       // the rest of the first line
	sshAlgorithms                 // a list divided by commas, or what it adds to and takes from the defaults
	sshStartups                   // start:rate:full
	sshNamed                      // a name and a rest, of the first line of each name
	sshLevel                      // one word, in capitals
	sshIgnored                    // no longer, or never, of effect
)

// An sshdKeyword is a keyword of sshd_config.
type sshdKeyword struct {
	form    sshdForm
	match   bool   // allowed in a Match block
	is      string // the keyword that it is another name of
	choices string // of sshChoice, beside yes and no
}

// sshdKeywords are those of OpenSSH up to 10.0, with what Debian and Red Hat add.
var sshdKeywords = map[string]sshdKeyword{
	"acceptenv":                       {form: sshLists, match: true},
	"addressfamily":                   {form: sshFirst},
	"allowagentforwarding":            {form: sshFlag, match: true},
	"allowgroups":                     {form: sshLists, match: true},
	"allowstreamlocalforwarding":      {form: sshChoice, match: true, choices: "all local remote"},
	"allowtcpforwarding":              {form: sshChoice, match: true, choices: "all local remote"},
	"allowusers":                      {form: sshLists, match: true},
	"authenticationmethods":           {form: sshFirstList, match: true},
	"authorizedkeyscommand":           {form: sshRest, match: true},
	"authorizedkeyscommanduser":       {form: sshFirst, match: true},
	"authorizedkeysfile":              {form: sshFirstList, match: true},
	"authorizedprincipalscommand":     {form: sshRest, match: true},
	"authorizedprincipalscommanduser": {form: sshFirst, match: true},
	"authorizedprincipalsfile":        {form: sshFirst, match: true},
	"banner":                          {form: sshFirst, match: true},
	"casignaturealgorithms":           {form: sshAlgorithms, match: true},
	"channeltimeout":                  {form: sshFirstList, match: true},
	"chrootdirectory":                 {form: sshFirst, match: true},
	"ciphers":                         {form: sshAlgorithms},
	"clientalivecountmax":             {form: sshNumber, match: true},
	"clientaliveinterval":             {form: sshTime, match: true},
	"compression":                     {form: sshChoice, choices: "delayed"},
	"debianbanner":                    {form: sshFlag},
	"denygroups":                      {form: sshLists, match: true},
	"denyusers":                       {form: sshLists, match: true},
	"disableforwarding":               {form: sshFlag, match: true},
	"exposeauthinfo":                  {form: sshFlag, match: true},
	"fingerprinthash":                 {form: sshFirst},
	"forcecommand":                    {form: sshRest, match: true},
	"gatewayports":                    {form: sshChoice, match: true, choices: "clientspecified"},
	"gssapiauthentication":            {form: sshFlag, match: true},
	"gssapicleanupcredentials":        {form: sshFlag},
	"gssapienablek5users":             {form: sshFlag, match: true},
	"gssapikexalgorithms":             {form: sshFirst},
	"gssapikeyexchange":               {form: sshFlag},
	"gssapistorecredentialsonrekey":   {form: sshFlag},
	"gssapistrictacceptorcheck":       {form: sshFlag},
	"gssapidelegatecredentials":       {form: sshFlag, match: true},
	"hostbasedacceptedalgorithms":     {form: sshAlgorithms, match: true},
	"hostbasedauthentication":         {form: sshFlag, match: true},
	"hostbasedusesnamefrompacketonly": {form: sshFlag, match: true},
	"hostcertificate":                 {form: sshLists},
	"hostkey":                         {form: sshLists},
	"hostkeyagent":                    {form: sshFirst},
	"hostkeyalgorithms":               {form: sshAlgorithms},
	"ignorerhosts":                    {form: sshChoice, match: true, choices: "shosts-only"},
	"ignoreuserknownhosts":            {form: sshFlag, match: true},
	"include":                         {form: sshLists, match: true},
	"ipqos":                           {form: sshFirstList, match: true},
	"kbdinteractiveauthentication":    {form: sshFlag, match: true},
	"kerberosauthentication":          {form: sshFlag, match: true},
	"kerberosgetafstoken":             {form: sshFlag},
	"kerberosorlocalpasswd":           {form: sshFlag},
	"kerberosticketcleanup":           {form: sshFlag},
	"kerberosuniqueccache":            {form: sshFlag},
	"kerberosusekuserok":              {form: sshFlag, match: true},
	"kexalgorithms":                   {form: sshAlgorithms},
	"listenaddress":                   {form: sshLists},
	"logingracetime":                  {form: sshTime},
	"loglevel":                        {form: sshLevel, match: true},
	"logverbose":                      {form: sshFirstList, match: true},
	"macs":                            {form: sshAlgorithms},
	"match":                           {form: sshRest, match: true},
	"maxauthtries":                    {form: sshNumber, match: true},
	"maxsessions":                     {form: sshNumber, match: true},
	"maxstartups":                     {form: sshStartups},
	"modulifile":                      {form: sshFirst},
	"passwordauthentication":          {form: sshFlag, match: true},
	"permitemptypasswords":            {form: sshFlag, match: true},
	"permitlisten":                    {form: sshFirstList, match: true},
	"permitopen":                      {form: sshFirstList, match: true},
	"permitrootlogin":                 {form: sshChoice, match: true, choices: "prohibit-password without-password forced-commands-only"},
	"permittty":                       {form: sshFlag, match: true},
	"permittunnel":                    {form: sshChoice, match: true, choices: "point-to-point ethernet"},
	"permituserenvironment":           {form: sshFirst},
	"permituserrc":                    {form: sshFlag, match: true},
	"persourcemaxstartups":            {form: sshFirst},
	"persourcenetblocksize":           {form: sshFirst},
	"persourcepenalties":              {form: sshFirstList},
	"persourcepenaltyexemptlist":      {form: sshFirst},
	"pidfile":                         {form: sshFirst},
	"port":                            {form: sshLists},
	"printlastlog":                    {form: sshFlag},
	"printmotd":                       {form: sshFlag},
	"pubkeyacceptedalgorithms":        {form: sshAlgorithms, match: true},
	"pubkeyauthentication":            {form: sshFlag, match: true},
	"pubkeyauthoptions":               {form: sshFirstList, match: true},
	"rdomain":                         {form: sshFirst, match: true},
	"refuseconnection":                {form: sshFlag, match: true},
	"rekeylimit":                      {form: sshFirstList, match: true},
	"requiredrsasize":                 {form: sshNumber, match: true},
	"revokedkeys":                     {form: sshFirst, match: true},
	"securitykeyprovider":             {form: sshFirst},
	"setenv":                          {form: sshLists, match: true},
	"sshdauthpath":                    {form: sshFirst},
	"sshdsessionpath":                 {form: sshFirst},
	"streamlocalbindmask":             {form: sshFirst, match: true},
	"streamlocalbindunlink":           {form: sshFlag, match: true},
	"strictmodes":                     {form: sshFlag},
	"subsystem":                       {form: sshNamed, match: true},
	"syslogfacility":                  {form: sshLevel},
	"tcpkeepalive":                    {form: sshFlag},
	"trustedusercakeys":               {form: sshFirst, match: true},
	"unusedconnectiontimeout":         {form: sshFirst, match: true},
	"usedns":                          {form: sshFlag},
	"usepam":                          {form: sshFlag},
	"versionaddendum":                 {form: sshRest},
	"x11displayoffset":                {form: sshNumber, match: true},
	"x11forwarding":                   {form: sshFlag, match: true},
	"x11maxdisplays":                  {form: sshNumber, match: true},
	"x11uselocalhost":                 {form: sshFlag, match: true},
	"xauthlocation":                   {form: sshFirst},

	"challengeresponseauthentication": {is: "kbdinteractiveauthentication"},
	"skeyauthentication":              {is: "kbdinteractiveauthentication"},
	"dsaauthentication":               {is: "pubkeyauthentication"},
	"gssapicleanupcreds":              {is: "gssapicleanupcredentials"},
	"hostbasedacceptedkeytypes":       {is: "hostbasedacceptedalgorithms"},
	"hostdsakey":                      {is: "hostkey"},
	"keepalive":                       {is: "tcpkeepalive"},
	"pubkeyacceptedkeytypes":          {is: "pubkeyacceptedalgorithms"},
	"rsaminsize":                      {is: "requiredrsasize"},

	"afstokenpassing":            {form: sshIgnored, match: true},
	"authorizedkeysfile2":        {form: sshIgnored, match: true},
	"checkmail":                  {form: sshIgnored, match: true},
	"disablemtaes":               {form: sshIgnored, match: true}, // these of the HPN patches
	"hpndisabled":                {form: sshIgnored, match: true},
	"hpnbuffersize":              {form: sshIgnored, match: true},
	"noneenabled":                {form: sshIgnored, match: true},
	"tcprcvbufpoll":              {form: sshIgnored, match: true},
	"gssusesessionccache":        {form: sshIgnored, match: true},
	"gssapiusesessioncredcache":  {form: sshIgnored, match: true},
	"kerberostgtpassing":         {form: sshIgnored, match: true},
	"keyregenerationinterval":    {form: sshIgnored, match: true},
	"pamauthenticationviakbdint": {form: sshIgnored, match: true},
	"protocol":                   {form: sshIgnored, match: true},
	"protocolkeepalives":         {form: sshIgnored, match: true},
	"reversemappingcheck":        {form: sshIgnored, match: true},
	"rhostsauthentication":       {form: sshIgnored, match: true},
	"rhostsrsaauthentication":    {form: sshIgnored, match: true},
	"rsaauthentication":          {form: sshIgnored, match: true},
	"serverkeybits":              {form: sshIgnored, match: true},
	"setuptimeout":               {form: sshIgnored, match: true},
	"showpatchlevel":             {form: sshIgnored, match: true},
	"uselogin":                   {form: sshIgnored, match: true},
	"useprivilegeseparation":     {form: sshIgnored, match: true},
	"verifyreversemapping":       {form: sshIgnored, match: true},
}

// sshdSettings are the values of keywords, as they were read: of most the words of one line.
type sshdSettings map[string][]string

// An sshdBlock is what holds for connections that match.
type sshdBlock struct {
	criteria string
	file     string
	line     int
	set      sshdSettings
}

// An sshdConfig is what a server reads.
type sshdConfig struct {
	file   string
	files  []string
	global sshdSettings
	blocks []*sshdBlock
	wrong  []lineError
	errs   []error
}

// An sshdReader is where the reading is: a block of its own begins with Match, and ends with the file.
type sshdReader struct {
	s     *Surveys
	c     *sshdConfig
	block *sshdBlock // nil before the first Match
	depth int
	dir   string // to which the paths of includes are relative
}

// readSSHD reads a server's configuration: first the options that it is started with, each as a line of a file would say it, then the file.
func (s *Surveys) readSSHD(file string, options []string) *sshdConfig {
	c := &sshdConfig{file: file, global: sshdSettings{}}
	r := &sshdReader{s: s, c: c, dir: path.Dir(file)}
	for _, option := range options {
		r.line("the command line", 1, option)
	}
	if r.read(file); len(c.errs) == 0 && len(c.files) == 0 {
		c.errs = append(c.errs, fmt.Errorf("%s: want a file", file))
	}
	return c
}

func (r *sshdReader) read(file string) {
	if r.c.files = append(r.c.files, file); len(r.c.files) > maxSSHFiles {
		r.c.errs = append(r.c.errs, fmt.Errorf("%s: more than %d files are included", file, maxSSHFiles))
		return
	}
	data, err := r.s.read(file, maxConfig)
	if err != nil {
		r.c.errs = append(r.c.errs, err)
		return
	}
	r.parse(file, string(data))
}

func (r *sshdReader) parse(file, text string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		r.line(file, n, line)
	}
}

// line reads a line, which sets a keyword unless one before it did.
func (r *sshdReader) line(file string, n int, text string) {
	name, rest, args, want := sshdWords(text)
	if want == "" && name != "" {
		want = r.keyword(file, n, name, rest, args)
	}
	if want != "" {
		r.c.wrong = append(r.c.wrong, lineError{file, n, want})
	}
}

func (r *sshdReader) keyword(file string, n int, name, rest string, args []string) (want string) {
	k, known := sshdKeywords[name]
	if k.is != "" {
		name = k.is
		k = sshdKeywords[name]
	}
	switch {
	case !known:
		return fmt.Sprintf("%q is no keyword of sshd up to 10.0", name)
	case k.form == sshIgnored:
		return ""
	case r.block != nil && !k.match:
		return name + " is not allowed in a Match block"
	case len(args) == 0:
		return "want a value for " + name
	case name == "match":
		return r.match(file, n, args)
	case name == "include":
		return r.include(args)
	}
	to := r.c.global
	if r.block != nil {
		to = r.block.set
	}
	return to.add(name, k, rest, args)
}

// match begins a block. One of the same criteria as before goes on with that.
func (r *sshdReader) match(file string, n int, args []string) string {
	for i := 0; i < len(args); i++ {
		switch word := strings.ToLower(args[i]); {
		case word == "all" || word == "invalid-user":
		case slices.Contains([]string{"user", "group", "host", "localaddress", "localport", "address", "rdomain", "version", "sessiontype", "command"}, word):
			i++ // what it is to match
		case strings.Contains(word, "="):
		default:
			return fmt.Sprintf("%q is no criterion of Match", args[i])
		}
	}
	criteria := strings.Join(args, " ")
	if r.block != nil && r.depth > 0 && r.block.file != file {
		criteria = r.block.criteria + " and " + criteria // included in a block
	}
	for _, b := range r.c.blocks {
		if b.criteria == criteria {
			r.block = b
			return ""
		}
	}
	r.block = &sshdBlock{criteria, file, n, sshdSettings{}}
	if r.c.blocks = append(r.c.blocks, r.block); len(r.c.blocks) > maxSSHBlocks {
		r.c.blocks = r.c.blocks[:maxSSHBlocks]
		return fmt.Sprintf("want at most %d Match blocks", maxSSHBlocks)
	}
	return ""
}

// include reads other files in the place of the line. A block that begins there ends there.
func (r *sshdReader) include(patterns []string) string {
	if r.depth >= maxSSHDepth {
		return fmt.Sprintf("files include each other more than %d deep", maxSSHDepth)
	}
	for _, pattern := range patterns {
		if !path.IsAbs(pattern) {
			pattern = path.Join(r.dir, pattern)
		}
		files, err := r.s.glob(pattern)
		if err != nil {
			r.c.errs = append(r.c.errs, err)
		}
		for _, file := range files {
			block := r.block
			r.depth++
			r.read(file)
			r.depth--
			if r.block = block; len(r.c.files) > maxSSHFiles {
				return ""
			}
		}
	}
	return ""
}

// sshdWords takes a line apart: a keyword in small letters, all that is behind it, and the words of that.
func sshdWords(text string) (name, rest string, args []string, want string) {
	text = strings.Trim(text, " \t\r\n\f")
	if text == "" || text[0] == '#' {
		return "", "", nil, ""
	}
	end := strings.IndexAny(text, " \t=")
	if end < 0 {
		end = len(text)
	}
	name = strings.ToLower(strings.Trim(text[:end], `"`))
	rest = strings.TrimLeft(text[end:], " \t")
	if after, ok := strings.CutPrefix(rest, "="); ok {
		rest = strings.TrimLeft(after, " \t")
	}
	args, want = sshdArguments(rest)
	return name, rest, args, want
}

// sshdArguments splits at blanks. Quotes keep them, and a # at the beginning of a word ends the line.
func sshdArguments(text string) (args []string, want string) {
	var word []byte
	in, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && (strings.IndexByte(`"'\`, text[i+1]) >= 0 || quote == 0 && text[i+1] == ' '):
			i++
			word, in = append(word, text[i]), true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t':
			if in {
				args = append(args, string(word))
			}
			word, in = word[:0], false
		case c == '#' && !in:
			return args, ""
		default:
			word, in = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, "want a quote at the end of the word"
	}
	if in {
		args = append(args, string(word))
	}
	return args, ""
}

// add sets a keyword as far as it is not yet, and says what its value should be if it is none.
func (set sshdSettings) add(name string, k sshdKeyword, rest string, args []string) (want string) {
	value, want := k.value(name, rest, args)
	if want != "" {
		return want
	}
	switch {
	case len(set[name]) > maxSSHWords:
		return fmt.Sprintf("want at most %d words for %s", maxSSHWords, name)
	case k.form == sshLists:
		set[name] = append(set[name], value...)
	case k.form == sshNamed:
		if !slices.ContainsFunc(set[name], func(s string) bool { n, _, _ := strings.Cut(s, " "); return n == args[0] }) {
			set[name] = append(set[name], value...)
		}
	case set[name] == nil:
		set[name] = value
	}
	return ""
}

func (k sshdKeyword) value(name, rest string, args []string) (value []string, want string) {
	lower := strings.ToLower(args[0])
	switch k.form {
	case sshFlag, sshChoice:
		if word, ok := k.choice(lower); ok && len(args) == 1 {
			return []string{word}, ""
		}
		return nil, strings.TrimSpace("want one of yes no "+k.choices) + " for " + name
	case sshNumber:
		if n, err := strconv.Atoi(args[0]); err == nil && n >= 0 && len(args) == 1 {
			return []string{strconv.Itoa(n)}, ""
		}
		return nil, "want a number for " + name
	case sshTime:
		if seconds, ok := sshdSeconds(lower); ok && len(args) == 1 {
			return []string{strconv.FormatInt(seconds, 10)}, ""
		}
		return nil, "want a time such as 90 or 1h30m for " + name
	case sshStartups:
		return sshdStartups(args[0])
	case sshLevel:
		return []string{strings.ToUpper(args[0])}, ""
	case sshRest:
		return []string{rest}, ""
	case sshNamed:
		if len(args) < 2 {
			return nil, "want a name and a command for " + name
		}
		return []string{strings.Join(args, " ")}, ""
	case sshFirst, sshAlgorithms:
		return args[:1], ""
	}
	return args, ""
}

// choice gives a word the form that sshd prints.
func (k sshdKeyword) choice(word string) (string, bool) {
	switch word {
	case "yes", "no":
		return word, true
	case "all", "delayed":
		return "yes", slices.Contains(strings.Fields(k.choices), word)
	case "without-password":
		return "prohibit-password", slices.Contains(strings.Fields(k.choices), word)
	}
	return word, slices.Contains(strings.Fields(k.choices), word)
}

// sshdSeconds reads a number of seconds, or of weeks, days, hours, minutes and seconds behind each other.
func sshdSeconds(text string) (total int64, ok bool) {
	for text != "" {
		end := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' })
		number, unit := text, int64(1)
		if end >= 0 {
			i := strings.IndexByte("smhdw", text[end])
			if i < 0 {
				return 0, false
			}
			number, unit, text = text[:end], []int64{1, 60, 3600, 86400, 604800}[i], text[end+1:]
		} else {
			text = ""
		}
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return 0, false
		}
		total, ok = total+n*unit, true
	}
	return total, ok && total < 1<<31
}

// sshdStartups reads start:rate:full, or one number that is both start and full.
func sshdStartups(text string) (value []string, want string) {
	parts := strings.Split(text, ":")
	var n [3]int64
	for i, part := range parts[:min(3, len(parts))] {
		n[i] = numberOr(part, -1)
	}
	switch {
	case len(parts) == 1 && n[0] > 0:
		return []string{parts[0], "30", parts[0]}, ""
	case len(parts) == 3 && n[0] > 0 && n[1] > 0 && n[1] <= 100 && n[2] >= n[0]:
		return parts, ""
	}
	return nil, "want start:rate:full for maxstartups"
}
