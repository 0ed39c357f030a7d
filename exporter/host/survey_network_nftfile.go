package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of what is read of files in the language of nft.
const (
	maxNFTIncludes = 100
	maxNFTDepth    = 10
	maxNFTTokens   = 200_000
)

// An nftToken is a word or a mark of the language, and the line that it stands in. A line's end is a token, too.
type nftToken struct {
	text string
	line int
}

const nftNewline = "\n"

// nftTokens takes a text apart: words, quoted texts, and the marks { } ; , = ! : and the ends of lines.
func nftTokens(text string) (all []nftToken) {
	line := 1
	for i := 0; i < len(text) && len(all) < maxNFTTokens; {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			line++
			i += 2
		case c == '\n':
			all = append(all, nftToken{nftNewline, line})
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"':
			end := strings.IndexByte(text[i+1:], '"')
			if end < 0 {
				end = len(text) - i - 1
			}
			word := text[i+1 : i+1+end]
			all = append(all, nftToken{word, line})
			line += strings.Count(word, "\n")
			i = min(i+end+2, len(text))
		case strings.IndexByte("{};,=()", c) >= 0:
			all = append(all, nftToken{text[i : i+1], line})
			i++
		case c == '!' && i+1 < len(text) && text[i+1] == '=':
			all = append(all, nftToken{"!=", line})
			i += 2
		case c == ':' && (i+1 >= len(text) || strings.IndexByte(" \t\n", text[i+1]) >= 0): // of a map; within a word it is of an address
			all = append(all, nftToken{":", line})
			i++
		default:
			start := i
			for i < len(text) && strings.IndexByte(" \t\r\n{};,=()\"#", text[i]) < 0 && !(text[i] == ':' && (i+1 >= len(text) || strings.IndexByte(" \t\n", text[i+1]) >= 0)) {
				i++
			}
			if i == start {
				i++
			}
			all = append(all, nftToken{text[start:i], line})
		}
	}
	return all
}

// An nftParser reads files in the language of nft, as far as surveys must understand them: tables, chains, rules, definitions, sets
// and included files. What it does not understand of a rule is a condition more.
type nftParser struct {
	s        *Surveys
	to       *filterSet
	file     string
	tokens   []nftToken
	at       int
	defined  map[string][]string
	sets     map[string][]string // elements by table and name
	included *int
	depth    int
	wrong    error
}

// nftFile reads a file.
func (s *Surveys) nftFile(file string, to *filterSet) error {
	text, _, err := s.configText(file)
	if err != nil {
		return err
	}
	return s.nftText(file, text, to)
}

func (s *Surveys) nftText(file, text string, to *filterSet) error {
	included := 0
	p := &nftParser{s: s, to: to, file: file, tokens: nftTokens(text), defined: map[string][]string{}, sets: map[string][]string{}, included: &included}
	p.statements()
	return p.wrong
}

func (p *nftParser) peek() string {
	if p.at >= len(p.tokens) {
		return ""
	}
	return p.tokens[p.at].text
}

func (p *nftParser) next() string {
	text := p.peek()
	p.at++
	return text
}

func (p *nftParser) fail(want string) {
	if p.wrong == nil {
		line := 0
		if len(p.tokens) > 0 {
			line = p.tokens[min(p.at, len(p.tokens)-1)].line
		}
		p.wrong = fmt.Errorf("%s: want %s, got %.60q", place(p.file, line), want, p.peek())
	}
}

func (p *nftParser) end() bool { return p.at >= len(p.tokens) }

// skipSeparators goes to the next word.
func (p *nftParser) skipSeparators() {
	for !p.end() && (p.peek() == nftNewline || p.peek() == ";") {
		p.at++
	}
}

// skipLine goes behind the end of a statement, past all that is in braces.
func (p *nftParser) skipLine() {
	for depth := 0; !p.end(); {
		switch p.next() {
		case "{":
			depth++
		case "}":
			if depth--; depth < 0 {
				p.at--
				return
			}
		case nftNewline, ";":
			if depth == 0 {
				return
			}
		}
	}
}

// statements reads those of a file.
func (p *nftParser) statements() {
	for p.skipSeparators(); !p.end(); p.skipSeparators() {
		switch word := p.next(); word {
		case "table":
			p.table()
		case "add", "create", "insert":
			p.command()
		case "define", "redefine":
			p.define()
		case "include":
			p.include(p.next())
		case "flush":
			if p.peek() == "ruleset" {
				p.to.tables = nil
			}
			p.skipLine()
		case "delete", "destroy", "undefine", "reset", "list", "replace", "rename":
			p.skipLine()
		default:
			p.at--
			p.fail("table, add, define, include or flush")
			before := p.at
			if p.skipLine(); p.at == before {
				p.at++
			}
		}
	}
}

// define reads `define NAME = value` or `= { values }`.
func (p *nftParser) define() {
	name := p.next()
	if p.next() != "=" {
		p.fail("define NAME = value")
		return
	}
	p.defined["$"+name] = p.values()
}

// values reads a word, or words in braces parted by commas.
func (p *nftParser) values() (all []string) {
	if p.peek() != "{" {
		return p.expand(p.next())
	}
	p.at++
	word := ""
	for depth := 1; !p.end(); {
		switch text := p.next(); text {
		case "{":
			depth++
		case "}", ",":
			if word != "" {
				all = append(all, p.expand(strings.TrimSpace(word))...)
			}
			word = ""
			if text == "}" {
				if depth--; depth == 0 {
					return all
				}
			}
		case nftNewline:
		default:
			word += text + " "
		}
	}
	return all
}

func (p *nftParser) expand(word string) []string {
	if values, ok := p.defined[word]; ok {
		return values
	}
	return []string{word}
}

// include reads more files, whose names may be patterns.
func (p *nftParser) include(pattern string) {
	if !path.IsAbs(pattern) {
		pattern = path.Join("/etc", pattern)
	}
	files, err := p.s.glob(pattern)
	if err != nil {
		p.wrong = cmp.Or(p.wrong, err)
		return
	}
	for _, file := range files {
		if *p.included++; *p.included > maxNFTIncludes || p.depth >= maxNFTDepth {
			p.fail("fewer included files")
			return
		}
		text, _, err := p.s.configText(file)
		if err != nil {
			p.wrong = cmp.Or(p.wrong, err)
			continue
		}
		inner := *p
		inner.file, inner.tokens, inner.at, inner.depth, inner.wrong = file, nftTokens(text), 0, p.depth+1, nil
		inner.statements()
		p.wrong = cmp.Or(p.wrong, inner.wrong)
	}
}

// tableName reads [FAMILY] NAME, and says whether the table filters what goes to and from the machine.
func (p *nftParser) tableName() (family, name string, ours bool) {
	switch word := p.next(); word {
	case "ip":
		return ipv4, p.next(), true
	case "ip6":
		return ipv6, p.next(), true
	case "inet":
		return "", p.next(), true
	case "arp", "bridge", "netdev":
		return word, p.next(), false
	default:
		return ipv4, word, true
	}
}

// command reads `add table …`, `add chain …`, `add rule …`.
func (p *nftParser) command() {
	switch p.next() {
	case "table":
		p.table()
	case "chain":
		family, table, ours := p.tableName()
		name := p.next()
		if p.peek() == "{" {
			p.at++
			p.chain(p.chainOf(family, table, name, ours))
		}
	case "rule":
		family, table, ours := p.tableName()
		p.rule(p.chainOf(family, table, p.next(), ours))
	case "set", "map":
		_, table, _ := p.tableName()
		p.set(table, p.next())
	case "element":
		_, table, _ := p.tableName()
		key := table + " " + p.next()
		p.sets[key] = append(p.sets[key], p.values()...)
	default:
		p.skipLine()
	}
}

// chainOf is where rules go; those of other families into a chain that nobody sees.
func (p *nftParser) chainOf(family, table, name string, ours bool) *filterChain {
	if !ours {
		return (&filterTable{name: table, chains: map[string]*filterChain{}}).chain(name)
	}
	return p.to.table(family, table).chain(name)
}

// table reads [FAMILY] NAME { … }.
func (p *nftParser) table() {
	family, name, ours := p.tableName()
	for p.peek() == nftNewline {
		p.at++
	}
	if p.peek() != "{" {
		if ours {
			p.to.table(family, name)
		}
		return
	}
	for p.at++; ; {
		p.skipSeparators()
		switch word := p.next(); {
		case p.at > len(p.tokens):
			p.fail("} at the end of table " + name)
			return
		case word == "}":
			return
		case word == "chain":
			chain := p.next()
			if p.skipSeparators(); p.next() != "{" {
				p.fail("{ behind chain " + chain)
				return
			}
			p.chain(p.chainOf(family, name, chain, ours))
		case word == "set" || word == "map":
			p.set(name, p.next())
		case word == "flags" && ours:
			p.to.table(family, name).dormant = slices.Contains(p.values(), "dormant")
			p.skipLine()
		case word == "include":
			p.include(p.next())
		case word == "define":
			p.define()
		default:
			p.skipLine()
		}
	}
}

// set reads the elements of a named set.
func (p *nftParser) set(table, name string) {
	if p.skipSeparators(); p.peek() != "{" {
		return
	}
	p.at++
	for !p.end() {
		p.skipSeparators()
		switch word := p.next(); word {
		case "}":
			return
		case "elements":
			if p.peek() == "=" {
				p.at++
				p.sets[table+" "+name] = append(p.sets[table+" "+name], p.values()...)
			}
		default:
			p.skipLine()
		}
	}
}

// chain reads what stands in the braces of a chain.
func (p *nftParser) chain(c *filterChain) {
	for {
		p.skipSeparators()
		switch word := p.next(); {
		case p.at > len(p.tokens):
			p.fail("} at the end of chain " + c.name)
			return
		case word == "}":
			return
		case word == "type":
			p.base(c)
		case word == "policy":
			p.policy(c)
		case word == "include":
			p.include(p.next())
		case word == "define":
			p.define()
		case word == "comment" || word == "flags":
			p.skipLine()
		default:
			p.at--
			p.rule(c)
		}
	}
}

// base reads `type filter hook input priority 0`.
func (p *nftParser) base(c *filterChain) {
	kind := p.next()
	for !p.end() && p.peek() != ";" && p.peek() != nftNewline && p.peek() != "}" {
		if word := p.next(); word == "hook" && kind == "filter" && slices.Contains(hooks, p.peek()) {
			c.hook = p.peek()
		}
	}
}

func (p *nftParser) policy(c *filterChain) {
	switch p.next() {
	case "drop":
		c.policy = drops
	case "accept":
		c.policy = accepts
	default:
		p.at--
		p.fail("policy accept or drop")
		p.at++
	}
}

// rule reads one rule up to its end, and adds it to a chain; several if it has sets of interfaces or a map to verdicts.
func (p *nftParser) rule(c *filterChain) {
	w := &nftRuleWriter{p: p, table: c.table.name, rules: []filterRule{{}}}
	for !p.end() && p.peek() != nftNewline && p.peek() != ";" && p.peek() != "}" {
		w.part()
	}
	if len(c.rules)+len(w.rules) > maxFilterRules {
		p.fail("fewer rules")
		return
	}
	c.add(w.rules...)
}

// An nftRuleWriter makes rules of the parts of one.
type nftRuleWriter struct {
	p     *nftParser
	table string
	rules []filterRule
}

func (w *nftRuleWriter) each(do func(r *filterRule)) {
	for i := range w.rules {
		do(&w.rules[i])
	}
}

func (w *nftRuleWriter) end(v verdict, target string) {
	w.each(func(r *filterRule) { r.verdict, r.target = v, target })
}

// part takes in one condition or one action.
func (w *nftRuleWriter) part() {
	p := w.p
	switch word := p.next(); word {
	case "accept":
		w.end(accepts, "")
	case "drop":
		w.end(drops, "")
	case "reject":
		w.end(rejects, "")
		w.words("with", "icmp", "icmpv6", "icmpx", "type", "tcp", "reset")
	case "return":
		w.end(returns, "")
	case "jump":
		w.end(jumps, p.next())
	case "goto":
		w.end(goesTo, p.next())
	case "iif", "iifname":
		w.interfaces(func(r *filterRule, name string, not bool) { r.in, r.inNot = name, not })
	case "oif", "oifname":
		w.interfaces(func(r *filterRule, name string, not bool) { r.out, r.outNot = name, not })
	case "meta":
		w.meta()
	case "ip", "ip6":
		w.address(word)
	case "tcp", "udp", "th":
		w.transport(word)
	case "icmp", "icmpv6":
		w.each(func(r *filterRule) { r.protocols, r.more = []string{"icmp"}, true })
		p.at++
		w.condition()
	case "ct":
		w.track()
	case "counter", "continue", "notrack":
		w.words("packets", "bytes")
	case "log":
		w.words("prefix", "level", "group", "flags", "snaplen", "queue-threshold")
	case "comment":
		p.at++
	default: // limit, fib, socket …
		p.at--
		w.each(func(r *filterRule) { r.more = true })
		w.skip()
	}
}

// nftParts are the words that parts of a rule begin with which are understood.
var nftParts = []string{"accept", "drop", "reject", "return", "jump", "goto", "iif", "iifname", "oif", "oifname", "meta", "ip", "ip6", "tcp", "udp", "th", "icmp", "icmpv6", "ct", "counter", "log", "comment"}

// skip goes past what is not understood, up to the next part that is. Behind a dot a word is no part of its own.
func (w *nftRuleWriter) skip() {
	p, before := w.p, ""
	for first := true; !p.end(); first = false {
		word := p.peek()
		if word == nftNewline || word == ";" || word == "}" || !first && before != "." && slices.Contains(nftParts, word) {
			return
		}
		if p.at++; word == "{" {
			for depth := 1; depth > 0 && !p.end(); {
				switch p.next() {
				case "{":
					depth++
				case "}":
					depth--
				}
			}
		}
		before = word
	}
}

// words goes past words of an action, and the value behind each.
func (w *nftRuleWriter) words(names ...string) {
	for slices.Contains(names, w.p.peek()) {
		if name := w.p.next(); name == "with" || name == "tcp" {
			continue
		}
		if next := w.p.peek(); next != nftNewline && next != ";" && next != "}" && !slices.Contains(names, next) {
			w.p.at++
		}
	}
}

// condition reads [!=] and values, of a set by its name, too.
func (w *nftRuleWriter) condition() (values []string, not bool) {
	switch w.p.peek() {
	case "!=":
		w.p.at++
		not = true
	case "==", "eq":
		w.p.at++
	case "<", ">", "<=", ">=":
		w.p.at++
		w.each(func(r *filterRule) { r.more = true })
	}
	values = w.p.values()
	for len(values) > 0 && w.p.peek() == "," { // ct state new,established
		w.p.at++
		values = append(values, w.p.values()...)
	}
	if len(values) == 1 && strings.HasPrefix(values[0], "@") {
		values = w.p.sets[w.table+" "+values[0][1:]]
	}
	return values, not
}

// isMap says whether verdicts stand for values: `vmap`, whose elements are `value : verdict`.
func (w *nftRuleWriter) isMap() bool {
	if w.p.peek() != "vmap" {
		return false
	}
	w.p.at++
	return true
}

// verdicts takes in a map: a rule for each of its elements.
func (w *nftRuleWriter) verdicts(change func(r *filterRule, value string)) {
	values, _ := w.condition()
	if len(w.rules)*len(values) > maxAlternatives {
		w.each(func(r *filterRule) { r.more = true })
		return
	}
	var all []filterRule
	for _, r := range w.rules {
		for _, value := range values {
			one := r
			key, result, _ := strings.Cut(value, " : ")
			change(&one, strings.TrimSpace(key))
			words := strings.Fields(result)
			if len(words) > 0 {
				one.verdict = nftWords[words[0]]
			}
			if len(words) > 1 {
				one.target = words[1]
			}
			all = append(all, one)
		}
	}
	w.rules = all
}

var nftWords = map[string]verdict{"accept": accepts, "drop": drops, "reject": rejects, "return": returns, "jump": jumps, "goto": goesTo}

func (w *nftRuleWriter) interfaces(set func(r *filterRule, name string, not bool)) {
	if w.isMap() {
		w.verdicts(func(r *filterRule, value string) { set(r, value, false) })
		return
	}
	names, not := w.condition()
	if len(names) == 1 || not {
		w.each(func(r *filterRule) {
			if set(r, strings.Join(names, " "), not); len(names) != 1 {
				r.more = true
			}
		})
		return
	}
	var all []filterRule
	for _, r := range w.rules {
		for _, name := range names {
			one := r
			set(&one, name, false)
			all = append(all, one)
		}
	}
	if len(all) > maxAlternatives {
		all = w.rules
	}
	w.rules = all
}

func (w *nftRuleWriter) meta() {
	switch word := w.p.next(); word {
	case "iif", "iifname", "oif", "oifname":
		w.p.at--
		w.part()
	case "l4proto":
		w.protocols()
	case "nfproto", "protocol":
		values, not := w.condition()
		w.each(func(r *filterRule) {
			switch {
			case len(values) == 1 && !not && (values[0] == "ipv4" || values[0] == "ip"):
				r.family = ipv4
			case len(values) == 1 && !not && (values[0] == "ipv6" || values[0] == "ip6"):
				r.family = ipv6
			default:
				r.more = true
			}
		})
	default:
		w.condition()
		w.each(func(r *filterRule) { r.more = true })
	}
}

func (w *nftRuleWriter) protocols() {
	if w.isMap() {
		w.verdicts(func(r *filterRule, value string) { r.protocols = []string{protocolByName(value)} })
		return
	}
	values, not := w.condition()
	w.each(func(r *filterRule) {
		for _, value := range values {
			r.protocols = append(r.protocols, protocolByName(value))
		}
		r.more = r.more || not || len(values) == 0
	})
}

func (w *nftRuleWriter) address(word string) {
	family := ipv4
	if word == "ip6" {
		family = ipv6
	}
	w.each(func(r *filterRule) { r.family = family })
	switch field := w.p.next(); {
	case field == "protocol" || field == "nexthdr":
		w.protocols()
	case field == "saddr" && w.p.peek() != "vmap":
		values, not := w.condition()
		w.each(func(r *filterRule) {
			if len(values) != 1 {
				r.more = true
				return
			}
			r.setSource(values[0], not)
		})
	default:
		if w.isMap() {
			w.verdicts(func(r *filterRule, _ string) { r.more = true })
			return
		}
		w.condition()
		w.each(func(r *filterRule) { r.more = true })
	}
}

func (w *nftRuleWriter) transport(word string) {
	if word != "th" {
		w.each(func(r *filterRule) { r.protocols = []string{word} })
	}
	if w.p.next() != "dport" {
		w.condition()
		w.each(func(r *filterRule) { r.more = true })
		return
	}
	if w.isMap() {
		w.verdicts(func(r *filterRule, value string) {
			ports, err := parsePorts(value, "-")
			r.ports, r.more = ports, r.more || err != nil
		})
		return
	}
	values, not := w.condition()
	w.each(func(r *filterRule) {
		for _, value := range values {
			ports, err := parsePorts(value, "-")
			r.ports = append(r.ports, ports...)
			r.more = r.more || err != nil
		}
		r.more = r.more || not || len(values) == 0
	})
}

func (w *nftRuleWriter) track() {
	if w.p.next() != "state" {
		w.condition()
		w.each(func(r *filterRule) { r.more = true })
		return
	}
	if w.isMap() {
		w.verdicts(func(r *filterRule, value string) { r.states = parseStates(value) })
		return
	}
	values, not := w.condition()
	w.each(func(r *filterRule) {
		if r.states = parseStates(strings.Join(values, ",")); not {
			r.states = ^r.states
		}
	})
}
