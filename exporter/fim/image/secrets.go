package image

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	gitleaks "github.com/zricethezav/gitleaks/v8/config"
)

// Bounds of looking for secrets in a file.
const (
	scanChunk      = 128 << 10 // bytes looked at at once, besides maxReach on both sides
	maxFileSecrets = 100       // told of one file
	binaryLook     = 8000      // bytes in which a NUL means that a file is no text
)

// A secret is what a rule has found. It does not hold the text: nothing behind the scanner can print it.
type secret struct {
	rule        string // id of the check that it is told by
	line        int    // from 1; 0 if the name of the file is the finding
	fingerprint string
	from, to    int64 // where it stands in the file
}

// describe says what was found, without saying it.
func (s *secret) describe() string {
	switch s.rule {
	case passwordHash:
		return "the hash of a password"
	case emptyPassword:
		return "an account without a password"
	}
	return "what the rule " + strings.TrimPrefix(s.rule, secretFamily+"/") + " takes for a secret"
}

// fingerprintOf tells one secret from another without giving it away: among millions of guesses at a weak password, some
// that are wrong have the same.
func fingerprintOf(text []byte) string {
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%x", sum[:3])
}

// A secretScanner looks for secrets in files, one after another. It keeps a part of a file at a time, and rules are tried
// near their keywords only.
type secretScanner struct {
	rules      *ruleSet
	everywhere bool // also in paths where gitleaks' authors expect nothing but examples

	path    string
	buffer  []byte
	offset  int64 // of the buffer in the file
	lines   int   // before the buffer
	last    bool  // the file ends where the buffer does
	text    bool
	judged  bool // allowed is known
	allowed bool // the path is one of gitleaks' exceptions
	hits    []hit
	near    []bool       // by rule: a keyword is in the buffer
	windows [][]window   // by rule: where to look
	done    []int64      // by rule: end of the last match in the file
	touched map[int]bool // rules with something in near, windows or done
	secrets []secret
	more    int // secrets beyond the bound
}

// A hit is a keyword in the file.
type hit struct {
	rule int
	at   int64
}

type window struct{ from, to int64 }

func newSecretScanner(rules *ruleSet) *secretScanner {
	n := len(rules.rules)
	return &secretScanner{rules: rules, buffer: make([]byte, 0, scanChunk+2*maxReach), near: make([]bool, n), windows: make([][]window, n),
		done: make([]int64, n), touched: map[int]bool{}}
}

// scan looks at a file, whose path is absolute, and reads r to its end. It returns what it has found in the order in which
// it stands, and how many more there are.
func (s *secretScanner) scan(path string, r io.Reader) (found []secret, more int, err error) {
	s.begin(path)
	var state uint16
	for searched := 0; !s.last; {
		if err := s.fill(r); err != nil {
			return nil, 0, err
		}
		if s.offset == 0 {
			s.text = bytes.IndexByte(s.buffer[:min(len(s.buffer), binaryLook)], 0) < 0
		}
		state = s.rules.keywords.find(state, s.buffer[searched:], func(word uint16, at int) { s.keyword(word, searched+at) })
		core := len(s.buffer)
		if !s.last {
			core -= maxReach // what begins beyond may end beyond
		}
		s.examine(core)
		searched = len(s.buffer) - s.drop(core-maxReach)
	}
	return s.finish()
}

func (s *secretScanner) begin(path string) {
	s.path, s.buffer, s.offset, s.lines, s.last, s.judged = path, s.buffer[:0], 0, 0, false, false
	s.hits, s.secrets, s.more = s.hits[:0], nil, 0
	for rule := range s.touched {
		s.near[rule], s.windows[rule], s.done[rule] = false, s.windows[rule][:0], 0
	}
	clear(s.touched)
}

func (s *secretScanner) fill(r io.Reader) error {
	for len(s.buffer) < cap(s.buffer) {
		n, err := r.Read(s.buffer[len(s.buffer):cap(s.buffer)])
		s.buffer = s.buffer[:len(s.buffer)+n]
		switch {
		case err == io.EOF:
			s.last = true
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// drop forgets the first bytes of the buffer, if n is more than 0, and returns how many.
func (s *secretScanner) drop(n int) int {
	if n <= 0 {
		return 0
	}
	s.lines += bytes.Count(s.buffer[:n], []byte{'\n'})
	s.buffer = s.buffer[:copy(s.buffer, s.buffer[n:])]
	s.offset += int64(n)
	return n
}

// keyword notes what the rules of a keyword have to look at. What is no text is only searched for what has a form of its
// own: words and assignments are found in every program.
func (s *secretScanner) keyword(word uint16, at int) {
	for _, rule := range s.rules.byWord[word] {
		r := s.rules.rules[rule]
		switch {
		case r.kind != beginsWithKeyword && !s.text:
		case r.kind == nearKeyword:
			s.near[rule], s.touched[rule] = true, true
		case r.first != nil && !r.first.match(s.buffer[max(at, 0):]):
		default:
			s.hits = append(s.hits, hit{rule, s.offset + int64(at)})
		}
	}
}

// examine looks at what begins before core in the buffer.
func (s *secretScanner) examine(core int) {
	limit := s.offset + int64(core)
	rest := s.hits[:0]
	for _, h := range s.hits {
		if h.at >= limit {
			rest = append(rest, h)
			continue
		}
		s.try(h)
	}
	s.hits = rest
	for rule := range s.touched {
		r := s.rules.rules[rule]
		for _, w := range s.windows[rule] {
			s.search(rule, r, int(max(w.from-s.offset, 0)), int(min(w.to-s.offset, int64(len(s.buffer)))))
		}
		s.windows[rule] = s.windows[rule][:0]
		if s.near[rule] {
			s.near[rule] = false
			s.search(rule, r, 0, len(s.buffer))
		}
	}
}

// try looks at one keyword.
func (s *secretScanner) try(h hit) {
	r, at := s.rules.rules[h.rule], int(h.at-s.offset)
	if at < 0 || h.at < s.done[h.rule] || !s.applies(r) {
		return
	}
	if r.behind != nil {
		from, expression := at-1, r.behind
		if at == 0 {
			from, expression = 0, r.atStart
		}
		text := s.buffer[from:min(at+r.reach, len(s.buffer))]
		if r.kind == hasKeyword {
			if !expression.Match(text) {
				return
			}
		} else if m := expression.FindSubmatchIndex(text); m != nil {
			m[0] += at - from
			s.report(h.rule, r, from, m)
			return
		} else {
			return
		}
	}
	s.touched[h.rule] = true
	from, to := h.at-int64(r.before), h.at+int64(r.reach)
	windows := s.windows[h.rule]
	if n := len(windows); n > 0 && windows[n-1].to >= from {
		windows[n-1].to = to
		return
	}
	s.windows[h.rule] = append(windows, window{from, to})
}

// search looks at a part of the buffer, and further where a match may go on behind it.
func (s *secretScanner) search(rule int, r *secretRule, from, to int) {
	for {
		from = max(from, int(s.done[rule]-s.offset))
		if from >= to || !s.applies(r) {
			return
		}
		all := r.Regex.FindAllSubmatchIndex(s.buffer[from:to], -1)
		cut := to < len(s.buffer)
		for _, m := range all {
			if m[1] == to-from && cut {
				break
			}
			s.report(rule, r, from, m)
		}
		if n := len(all); n == 0 || all[n-1][1] < to-from || !cut {
			return
		}
		if to-from > 2*maxReach {
			return // it is no secret that is as long as this
		}
		to = min(to+4*(to-from), len(s.buffer))
	}
}

// applies says whether a rule is for the file at all.
func (s *secretScanner) applies(r *secretRule) bool {
	if !s.judged {
		s.judged, s.allowed = true, !s.everywhere && (pathAllowed(s.rules.allowed, s.path) || within(s.path, packageLists))
	}
	if !s.everywhere && !s.text && r.RuleID == privateKeyRule && within(s.path, systemPrograms) {
		return false
	}
	return !s.allowed && (r.Path == nil || r.Path.MatchString(s.path)) && !pathAllowed(r.Allowlists, s.path)
}

const privateKeyRule = "private-key"

// packageLists describe packages: they are long, and have many digests behind words such as key.
var packageLists = []string{"/var/lib/apt/lists/", "/var/lib/dpkg/status", "/var/lib/dpkg/available", "/lib/apk/db/", "/usr/lib/apk/db/", "/var/cache/dnf/", "/var/cache/yum/"}

// systemPrograms test themselves with private keys that everybody knows: GnuTLS does when it is loaded.
var systemPrograms = []string{"/usr/lib/", "/usr/lib64/", "/usr/libexec/", "/usr/bin/", "/usr/sbin/", "/lib/", "/lib64/", "/bin/", "/sbin/"}

func within(name string, directories []string) bool {
	return slices.ContainsFunc(directories, func(d string) bool { return strings.HasPrefix(name, d) })
}

func pathAllowed(lists []*gitleaks.Allowlist, path string) bool {
	return slices.ContainsFunc(lists, func(a *gitleaks.Allowlist) bool {
		if a.MatchCondition == gitleaks.AllowlistMatchAnd && (len(a.Regexes) > 0 || len(a.StopWords) > 0) {
			return false
		}
		return a.PathAllowed(path)
	})
}

// report judges a match, whose indexes are from base on in the buffer, as gitleaks does.
func (s *secretScanner) report(rule int, r *secretRule, base int, m []int) {
	s.touched[rule] = true
	from, to := base+m[0], base+m[1]
	s.done[rule] = s.offset + int64(max(to, from+1))
	match := bytes.Trim(s.buffer[from:to], "\n")
	found := match
	start := from
	if group := groupOf(r, m); group > 0 {
		start = base + m[2*group]
		found = s.buffer[start : base+m[2*group+1]]
	}
	if r.Entropy != 0 && entropy(found) <= r.Entropy || !plausible(r.RuleID, match) {
		return
	}
	line := s.lineOf(from, to)
	if s.excused(s.rules.allowed, found, match, line) || s.excused(r.Allowlists, found, match, line) {
		return
	}
	if len(s.secrets) >= maxFileSecrets {
		s.more++
		return
	}
	s.secrets = append(s.secrets, secret{rule: secretFamily + "/" + r.RuleID, line: s.lines + bytes.Count(s.buffer[:start], []byte{'\n'}) + 1,
		fingerprint: fingerprintOf(found), from: s.offset + int64(start), to: s.offset + int64(start+len(found))})
}

// groupOf returns the group of an expression that is the secret, 0 for all of the match.
func groupOf(r *secretRule, m []int) int {
	if r.SecretGroup > 0 {
		if m[2*r.SecretGroup] >= 0 {
			return r.SecretGroup
		}
		return 0
	}
	for g := 1; 2*g < len(m); g++ {
		if m[2*g] >= 0 && m[2*g+1] > m[2*g] {
			return g
		}
	}
	return 0
}

// lineOf returns the lines that a part of the buffer is in.
func (s *secretScanner) lineOf(from, to int) []byte {
	begin := bytes.LastIndexByte(s.buffer[:from], '\n') + 1
	end := bytes.IndexByte(s.buffer[to:], '\n')
	if end < 0 {
		end = len(s.buffer) - to
	}
	return s.buffer[max(begin, from-maxReach):min(to+end, to+maxReach)]
}

func (s *secretScanner) excused(lists []*gitleaks.Allowlist, found, match, line []byte) bool {
	return slices.ContainsFunc(lists, func(a *gitleaks.Allowlist) bool {
		target := found
		switch a.RegexTarget {
		case "match":
			target = match
		case "line":
			target = line
		}
		fits := a.RegexAllowed(string(target))
		stopped, _ := a.ContainsStopWord(string(found))
		if a.MatchCondition != gitleaks.AllowlistMatchAnd {
			return fits || stopped
		}
		return (len(a.Paths) == 0 || a.PathAllowed(s.path)) && (len(a.Regexes) == 0 || fits) && (len(a.StopWords) == 0 || stopped)
	})
}

// finish adds what the name of the file says, and leaves out what a rule for anything has found where another one knows
// what it is.
func (s *secretScanner) finish() ([]secret, int, error) {
	for _, r := range s.rules.rules {
		if r.kind == onlyPath && s.applies(r) && r.Path != nil && len(s.secrets) < maxFileSecrets {
			s.secrets = append(s.secrets, secret{rule: secretFamily + "/" + r.RuleID})
		}
	}
	found := slices.DeleteFunc(slices.Clone(s.secrets), func(f secret) bool {
		return isGeneric(f.rule) && slices.ContainsFunc(s.secrets, func(o secret) bool {
			return !isGeneric(o.rule) && o.from < f.to && f.from < o.to
		})
	})
	slices.SortFunc(found, func(a, b secret) int { return cmp.Or(cmp.Compare(a.from, b.from), strings.Compare(a.rule, b.rule)) })
	return found, s.more, nil
}

// isGeneric says whether a rule is one for anything that is assigned to what is called like a secret.
func isGeneric(rule string) bool { return strings.Contains(rule, "generic") }

// entropy is Shannon's, in bits per letter.
func entropy(text []byte) (bits float64) {
	counts := map[rune]int{}
	for _, r := range string(text) {
		counts[r]++
	}
	for _, n := range counts {
		p := float64(n) / float64(utf8.RuneCount(text))
		bits -= p * math.Log2(p)
	}
	return bits
}

// plausible says whether what is between the lines of a private key can be one. Programs that read keys have the two lines
// one behind the other, and documentation has something else between them.
func plausible(rule string, match []byte) bool {
	if rule != privateKeyRule {
		return true
	}
	const enough = 40 // letters in a row; lines have 64, or 70 where OpenSSH writes them
	run := 0
	for _, b := range match[bytes.Index(match, []byte("KEY"))+len("KEY"):] {
		run++
		if !isBase64(b) {
			run = 0
		}
		if b == 0 || run >= enough {
			return b != 0
		}
	}
	return false
}

func isBase64(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '/' || b == '='
}
