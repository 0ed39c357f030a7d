package host

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseRestore takes in a file as iptables-save writes and iptables-restore reads it: of the table filter. Lines of another form are
// an error that names the first; the others are taken in all the same.
func parseRestore(file, text, family string, to *filterSet) (wrong error) {
	table := ""
	fail := func(n int, want string, got string) {
		if wrong == nil {
			wrong = fmt.Errorf("%s: want %s, got %.60q", place(file, n), want, got)
		}
	}
	joinedLines(text, "#", func(n int, line string) {
		words := optionWords(line)
		if len(words) > 0 && strings.HasPrefix(words[0], "[") { // counters
			words = words[1:]
		}
		switch {
		case len(words) == 0 || words[0] == "COMMIT":
		case strings.HasPrefix(words[0], "*"):
			table = words[0][1:]
		case table == "":
			fail(n, "*table first", line)
		case table != "filter":
		case strings.HasPrefix(words[0], ":"):
			to.table(family, "iptables filter").declare(words)
		case (words[0] == "-A" || words[0] == "--append" || words[0] == "-I" || words[0] == "--insert") && len(words) > 1:
			r, err := parseRestoreRule(words[2:])
			if err != nil {
				fail(n, err.Error(), line)
			}
			to.table(family, "iptables filter").chain(words[1]).add(r)
		case words[0] == "-P" && len(words) == 3:
			to.table(family, "iptables filter").declare([]string{":" + words[1], words[2]})
		case words[0] == "-F" || words[0] == "-N" || words[0] == "-X" || words[0] == "-Z" || words[0] == "-D":
		default:
			fail(n, "*table, :CHAIN POLICY, -A CHAIN or COMMIT", line)
		}
	})
	return wrong
}

// declare takes in a line `:INPUT DROP [0:0]`.
func (t *filterTable) declare(words []string) {
	c := t.chain(words[0][1:])
	for _, hook := range hooks {
		if c.name == strings.ToUpper(hook) {
			c.hook = hook
		}
	}
	if len(words) > 1 && words[1] == "DROP" {
		c.policy = drops
	}
}

// optionWords parts a line at blanks outside of quotes.
func optionWords(line string) (words []string) {
	var b strings.Builder
	quote, inWord := byte(0), false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, b.String())
				b.Reset()
			}
			inWord = false
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			inWord = true
		default:
			b.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, b.String())
	}
	return words
}

// restoreMatches are options that are no condition of their own, with how many words follow.
var restoreMatches = map[string]int{"-m": 1, "--match": 1, "--comment": 1, "--log-prefix": 1, "--log-level": 1, "--reject-with": 1, "--log-tcp-options": 0, "--log-ip-options": 0, "--log-uid": 0, "--nflog-group": 1, "--nflog-prefix": 1, "-c": 2, "--set-counters": 2}

// parseRestoreRule reads the options of one rule.
func parseRestoreRule(words []string) (r filterRule, err error) {
	not := false
	for i := 0; i < len(words); i++ {
		option, value := words[i], ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		if option == "!" {
			not = true
			continue
		}
		if skip, ok := restoreMatches[option]; ok {
			i += skip
			continue
		}
		takes, err := r.restoreOption(option, value, not)
		if err != nil {
			return r, err
		}
		if i, not = i+takes, false; takes < 0 { // another condition: its values are the words up to the next option
			i++
			r.more = true
			for i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") && words[i+1] != "!" {
				i++
			}
		}
	}
	return r, nil
}

// restoreOption takes in an option, and says how many words of it follow; below 0 if it is not known.
func (r *filterRule) restoreOption(option, value string, not bool) (int, error) {
	switch option {
	case "-i", "--in-interface":
		r.in, r.inNot = strings.Replace(value, "+", "*", 1), not
	case "-o", "--out-interface":
		r.out, r.outNot = strings.Replace(value, "+", "*", 1), not
	case "-s", "--source", "--src":
		r.setSource(value, not)
	case "-p", "--protocol", "--proto":
		r.more = r.more || not
		if value != "all" && value != "0" {
			r.protocols = []string{protocolByName(value)}
		}
	case "--dport", "--destination-port", "--dports", "--destination-ports", "--ports":
		r.more = r.more || not
		ports, err := parsePorts(value, ":")
		r.ports = append(r.ports, ports...)
		return 1, err
	case "--ctstate", "--state":
		r.more = r.more || not
		r.states = parseStates(value)
	case "-j", "--jump", "-g", "--goto":
		r.setTarget(value, option == "-g" || option == "--goto")
	default:
		return -1, nil
	}
	return 1, nil
}

func (r *filterRule) setTarget(name string, goesThere bool) {
	switch name {
	case "ACCEPT", "DROP", "REJECT":
		r.xtTarget(name)
	case "RETURN":
		r.verdict = returns
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TRACE", "AUDIT", "CT", "NOTRACK", "TCPMSS", "SET", "QUEUE", "NFQUEUE":
	default:
		r.verdict, r.target = jumps, name
		if goesThere {
			r.verdict = goesTo
		}
	}
}

// setSource takes in an address or a network that packets come from.
func (r *filterRule) setSource(value string, not bool) {
	prefix, err := netip.ParsePrefix(value)
	if addr, single := netip.ParseAddr(value); single == nil {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if address, mask, ok := strings.Cut(value, "/"); err != nil && ok { // 127.0.0.0/255.0.0.0
		addr, err1 := netip.ParseAddr(address)
		dotted, err2 := netip.ParseAddr(mask)
		if bits, whole := prefixBits(dotted.AsSlice()); err1 == nil && err2 == nil && whole {
			prefix, err = addr.Prefix(bits)
		}
	}
	if err != nil || r.from.IsValid() {
		r.more = true
		return
	}
	if prefix = prefix.Masked(); prefix.Bits() > 0 {
		r.from, r.fromNot = prefix, not
	}
}

// protocolByName gives a protocol the name that this package uses for it.
func protocolByName(name string) string {
	switch name = strings.ToLower(name); name {
	case "icmpv6", "ipv6-icmp", "icmp":
		return "icmp"
	}
	if number, err := strconv.ParseUint(name, 10, 16); err == nil {
		return protocolName(uint16(number))
	}
	return name
}

// knownPorts are names of ports that packet filters are often written with.
var knownPorts = map[string]uint16{"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "www": 80, "pop3": 110, "ntp": 123, "imap": 143, "imap2": 143, "snmp": 161, "ldap": 389, "https": 443, "smtps": 465, "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995, "mysql": 3306, "postgresql": 5432, "mdns": 5353, "bootps": 67, "bootpc": 68, "dhcpv6-client": 546, "dhcpv6-server": 547}

// parsePorts reads 22,80,6000:6063, ranges with the mark given.
func parsePorts(value, mark string) (all []portSpan, err error) {
	for part := range strings.SplitSeq(value, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), mark)
		var p portSpan
		if p.first, err = parsePort(first, 0); err != nil {
			return nil, err
		}
		if p.last = p.first; isRange {
			if p.last, err = parsePort(last, 0xffff); err != nil {
				return nil, err
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func parsePort(text string, otherwise uint16) (uint16, error) {
	if text == "" {
		return otherwise, nil
	}
	if port, ok := knownPorts[text]; ok {
		return port, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("a port's number or a known name (%.20q)", text)
	}
	return uint16(n), nil
}

// parseStates reads NEW,ESTABLISHED.
func parseStates(value string) (states uint32) {
	for name := range strings.SplitSeq(strings.ToLower(value), ",") {
		states |= stateNames[strings.TrimSpace(name)]
	}
	return states
}

var stateNames = map[string]uint32{"invalid": stateInvalid, "established": stateEstablished, "related": stateRelated, "new": stateNew, "untracked": stateUntracked}
