package rules

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// LanguageOptions say what a language knows of the world.
type LanguageOptions struct {
	Static map[string]string // fields static.NAME, with a value that is always the same
	// Resolve returns the addresses of a host's name as far as they are known; it does not wait. Nil knows none.
	Resolve  func(host string) []netip.Addr
	Services string // the file of services' ports; empty is /etc/services
}

// Languages are the condition languages by the source of the events that they are over. Rules of other sources are unknown.
type Languages map[string]*expr.Language[Record]

// NewLanguages makes one for each source of events.
func NewLanguages(o LanguageOptions) Languages {
	path := o.Services
	if path == "" {
		path = "/etc/services"
	}
	services := sync.OnceValue(func() map[string]uint16 { return readServices(path) })
	all := Languages{}
	for _, source := range sources {
		fields := Fields(source)
		for name, value := range o.Static {
			fields = append(fields, text("static."+name, "Set by the configuration.", func(*Record) (string, bool) { return value, true }))
		}
		all[source] = expr.NewLanguage(fields, expr.Options{
			Validate: func(c *expr.Check) error { return checkValues(source, c) },
			Resolve:  o.Resolve,
			Service:  func(name string) (uint16, bool) { port, ok := services()[name]; return port, ok },
			Missing:  func(field string) (string, bool) { return all.missing(source, field) },
		})
	}
	return all
}

// sources are where events come from that rules may be about.
var sources = []string{event.SyscallSource, event.ChangeSource}

// missing says of a field that a source has not which one has it.
func (all Languages) missing(source, field string) (more string, known bool) {
	for _, other := range sources {
		if other != source && isFieldOf(all[other], field) {
			return fmt.Sprintf(": it is of source %s, and this rule of source %s", other, source), true
		}
	}
	if source == event.SyscallSource { // which is that of rules which name none
		return "", false
	}
	return " of source " + source, false
}

// isFieldOf says whether a language has a field, which may be written with its argument behind a full stop.
func isFieldOf(l *expr.Language[Record], name string) bool {
	if l.Field(name) != nil {
		return true
	}
	for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
		if f := l.Field(name[:i]); f != nil && f.Arity != expr.NoArg {
			return true
		}
	}
	return false
}

// usualServices are known where there is no file of services.
var usualServices = map[string]uint16{
	"ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "tftp": 69, "http": 80, "www": 80, "kerberos": 88, "pop3": 110,
	"sunrpc": 111, "ntp": 123, "imap2": 143, "imap": 143, "snmp": 161, "snmp-trap": 162, "ldap": 389, "https": 443, "submissions": 465,
	"syslog": 514, "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995, "socks": 1080, "nfs": 2049, "mysql": 3306, "postgresql": 5432,
	"amqp": 5672, "x11": 6000, "redis": 6379, "irc": 194, "ircd": 6667, "http-alt": 8080,
}

// maxServices bounds the file of services.
const maxServices = 1 << 20

// readServices reads lines such as "http 80/tcp www", over the usual ones.
func readServices(path string) map[string]uint16 {
	all := make(map[string]uint16, len(usualServices))
	for name, port := range usualServices {
		all[name] = port
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxServices {
		return all
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return all
	}
	for line := range strings.Lines(string(raw)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		number, _, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			continue
		}
		for _, name := range append(words[:1:1], words[2:]...) {
			all[name] = uint16(port)
		}
	}
	return all
}
