package host

import (
	"context"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A hashed is what is told of the text that stands where a password's hash does. It keeps no part of it.
type hashed struct {
	state     string // as the field of password
	algorithm string
	rounds    int64 // 0 if they are not known
}

// usable says whether a password can be typed that matches.
func (h hashed) usable() bool { return h.state == "set" }

// strongHashes are those that are slow on purpose or use much memory.
var strongHashes = map[string]bool{"yescrypt": true, "gost-yescrypt": true, "scrypt": true, "bcrypt": true, "sha512": true}

// hashPrefixes are of crypt(5).
var hashPrefixes = []struct{ prefix, algorithm string }{
	{"$y$", "yescrypt"}, {"$gy$", "gost-yescrypt"}, {"$7$", "scrypt"},
	{"$2a$", "bcrypt"}, {"$2b$", "bcrypt"}, {"$2x$", "bcrypt"}, {"$2y$", "bcrypt"}, {"$2$", "bcrypt"},
	{"$6$", "sha512"}, {"$5$", "sha256"}, {"$sha1$", "sha1"}, {"$md5", "sunmd5"}, {"$1$", "md5"}, {"$3$", "nthash"},
	{"_", "bsdi"}, {"$", "unknown"},
}

// hashOf says of which kind a text is.
func hashOf(text string) hashed {
	if text == "" {
		return hashed{state: "empty"}
	}
	bare := strings.TrimLeft(text, "!")
	if bare == "" || strings.HasPrefix(bare, "*") {
		return hashed{state: "none"}
	}
	h := hashed{state: "set", algorithm: algorithmOf(bare)}
	if h.algorithm == "" {
		return hashed{state: "invalid"}
	}
	if bare != text {
		h.state = "locked"
	}
	h.rounds = roundsOf(h.algorithm, bare)
	return h
}

func algorithmOf(text string) string {
	for _, p := range hashPrefixes {
		if strings.HasPrefix(text, p.prefix) {
			return p.algorithm
		}
	}
	if len(text) >= 13 && strings.Trim(text, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == "" {
		return "des"
	}
	return ""
}

// roundsOf reads how often a hash was made over, which is written before the salt.
func roundsOf(algorithm, text string) int64 {
	parts := strings.Split(text, "$")
	if len(parts) < 3 {
		return 0
	}
	switch algorithm {
	case "sha256", "sha512":
		rounds, given := strings.CutPrefix(parts[2], "rounds=")
		if !given {
			return 5000
		}
		return max(numberOr(rounds, 0), 0)
	case "bcrypt":
		if cost := numberOr(parts[2], 0); cost > 0 && cost < 32 {
			return 1 << cost
		}
	}
	return 0
}

// A shadowLine is a line of /etc/shadow, its hash already forgotten. Numbers that it does not have are -1, or as it has them.
type shadowLine struct {
	name                                          string
	hash                                          hashed
	changed, least, most, warn, inactive, expires int64
	has                                           [6]bool // which of these it has
	line                                          int
}

// parseShadow takes /etc/shadow apart.
func parseShadow(text string) (all []shadowLine, wrong []lineError) {
	for n, fields := range colonLines(text) {
		if strings.HasPrefix(fields[0], "+") || strings.HasPrefix(fields[0], "-") {
			continue // the reference to a directory service, which passwd has too
		}
		if len(fields) != 9 || fields[0] == "" {
			wrong = append(wrong, lineError{shadowFile, n, "want nine fields from name to flags, divided by colons"})
			continue
		}
		s := shadowLine{name: fields[0], hash: hashOf(fields[1]), line: n}
		good := true
		for i, to := range []*int64{&s.changed, &s.least, &s.most, &s.warn, &s.inactive, &s.expires} {
			*to = -1
			if text := fields[2+i]; text != "" {
				*to = numberOr(text, -1<<63)
				s.has[i] = true
				good = good && *to != -1<<63
			}
		}
		if !good {
			wrong = append(wrong, lineError{shadowFile, n, "want numbers of days from the third to the eighth field"})
			continue
		}
		all = append(all, s)
	}
	return all, wrong
}

// Passwords reports what is known of users' passwords, without their hashes.
func (s *Surveys) Passwords(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	accounts, _, err := s.accounts()
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := s.read(shadowFile, maxFile)
	if err != nil && !Absent(err) {
		return err
	}
	shadow, wrong := parseShadow(string(data))
	for _, e := range wrong {
		report(e.fact(event.Password))
	}
	who, err := s.people()
	if err != nil {
		return err
	}
	book := passwordBook{who: who, today: time.Now().Unix() / (24 * 3600), lines: map[string]shadowLine{}}
	book.report(accounts, shadow, report)
	return nil
}

type passwordBook struct {
	who   people
	today int64
	lines map[string]shadowLine
}

// report tells of every user of passwd, then of every line of shadow that is of no user or not the first of its user.
func (b passwordBook) report(accounts []account, shadow []shadowLine, report func(event.Fact)) {
	users := map[string]bool{}
	for _, a := range accounts {
		users[a.name] = true
	}
	var rest []shadowLine
	for _, line := range shadow {
		if _, twice := b.lines[line.name]; twice || !users[line.name] {
			rest = append(rest, line)
			continue
		}
		b.lines[line.name] = line
	}
	for _, a := range accounts {
		if !a.nis {
			report(b.ofAccount(a))
		}
	}
	for _, line := range rest {
		report(b.ageing(event.Password.New(line.name, place(shadowFile, line.line)), line).Set("orphan", !users[line.name]))
	}
}

func (b passwordBook) ofAccount(a account) event.Fact {
	line, has := b.lines[a.name]
	inPasswd := a.password != "x"
	source := place(passwdFile, a.line)
	if !inPasswd && has {
		source = place(shadowFile, line.line)
	}
	f := event.Password.New(a.name, source).Set("uid", a.uid).Set("orphan", false)
	f.Set("human", b.who.human(a)).Set("system", b.who.system(a)).Set("can_login", a.canLogin())
	switch {
	case inPasswd: // the ageing of shadow holds all the same
		if !has {
			line = shadowLine{}
		}
		line.hash = hashOf(a.password)
		return b.ageing(f, line).Set("kept_in", "passwd")
	case !has:
		return f.Set("state", "missing")
	}
	return b.ageing(f, line)
}

func (b passwordBook) ageing(f event.Fact, line shadowLine) event.Fact {
	f.Set("state", line.hash.state).Set("kept_in", "shadow")
	if line.hash.algorithm != "" {
		f.Set("hash", line.hash.algorithm).Set("hash_strong", strongHashes[line.hash.algorithm])
	}
	if line.hash.rounds > 0 {
		f.Set("rounds", line.hash.rounds)
	}
	for i, value := range []int64{line.changed, line.least, line.most, line.warn, line.inactive, line.expires} {
		if line.has[i] {
			f.Set([]string{"last_change", "min_days", "max_days", "warn_days", "inactive_days", "expires_day"}[i], value)
		}
	}
	if line.has[0] {
		f.Set("age_days", b.today-line.changed).Set("changed_in_future", line.changed > b.today)
	}
	return f.Set("account_expired", line.has[5] && line.expires >= 0 && line.expires <= b.today)
}
