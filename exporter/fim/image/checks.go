package image

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Checks are what an image is held against. The zero value is the checks that come with this package, of which
// Defaults is the list.
type Checks struct {
	WithoutDefaults bool                // only Own, and secrets
	Disabled        []string            // ids of checks that are left out
	Severities      map[string]Severity // of checks by id, instead of their own
	Secrets         Secrets
	Ignored         []Ignored
	Own             []Expectation
}

// Secrets say how secrets are looked for. The rules are gitleaks'; a finding's check is secret/ and the rule's id.
type Secrets struct {
	Off        bool // not at all
	Everywhere bool // also where mostly noise is: node_modules, Python's libraries, pictures, lists of packages, private keys in the system's programs
}

// An Ignored is a finding that is known and accepted.
type Ignored struct {
	Check       string   // id, or secret for those of all rules; empty for all
	Paths       []string // globs; none for all
	Fingerprint string   // of a secret; empty for all
	Reason      string   // for whoever reads the file
}

// An Expectation says which files of an image shall be how. What it leaves empty or nil is not asked.
type Expectation struct {
	ID          string
	Description string
	Severity    Severity

	// Which files: all of these must fit.
	Paths      []string // globs
	Except     []string // globs of those that are left out
	Names      []string // regular expressions of the last name of the path
	Types      []string // of TypeNames
	EveryLayer bool     // in each layer, also where a later one hides it; else only what a container would see

	// How they shall be.
	Present    bool // each of Paths is there
	Absent     bool // none is there
	SHA256     []string
	Mode       *uint16 // exactly
	MaxMode    *uint16 // no bit beyond
	Owner      string  // name or number
	Group      string
	Executable *bool // whether anybody may run it
	Setuid     *bool // whether it is setuid or setgid
}

// TypeNames are the types of files that an Expectation may ask for.
var TypeNames = []string{"file", "directory", "symlink", "device", "fifo"}

var typeKinds = map[string]entryKind{"file": regular, "directory": directory, "symlink": symlink, "device": device, "fifo": fifo}

// Bounds of a set of checks.
const (
	maxChecks     = 1000
	maxPatterns   = 1000 // of one check
	maxExpression = 1000 // bytes of a regular expression
)

// A check is an Expectation that is ready to be used, or one of the defaults.
type check struct {
	Expectation
	paths, except []*glob
	names         []*regexp.Regexp
	types         uint // bit by entryKind
	sums          map[string]bool
	judge         func(n *node) (found string) // of a default; "" if it is as it should be
	want          string                       // of a default
	together      bool                         // one finding for all files of a layer

	seen []bool // by path: it is there
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,63}$`)

// newCheck says what is wrong with an Expectation, beginning with the key of the checks file.
func newCheck(e Expectation) (*check, error) {
	c := &check{Expectation: e, seen: make([]bool, len(e.Paths))}
	var err error
	switch {
	case !idForm.MatchString(e.ID):
		return nil, fmt.Errorf("id: %q: want at most 64 of a-z, 0-9, '.', '_', '/' and '-'", e.ID)
	case len(e.Paths) == 0 && len(e.Names) == 0:
		return nil, errors.New("paths: want at least one, or names")
	case len(e.Paths)+len(e.Except)+len(e.Names) > maxPatterns:
		return nil, fmt.Errorf("paths: want at most %d with except and names", maxPatterns)
	case e.Absent && (e.Present || e.properties()):
		return nil, errors.New("absent: what is not there can have nothing else: want it alone")
	case e.Present && len(e.Paths) == 0:
		return nil, errors.New("present: want paths with it")
	case e.Present && e.EveryLayer:
		return nil, errors.New("layers: any: want final with present")
	case !e.Absent && !e.Present && !e.properties():
		return nil, errors.New("nothing expected: want one of present, absent, sha256, mode, max_mode, owner, group, executable, setuid")
	}
	if c.paths, err = newGlobs("paths", e.Paths); err != nil {
		return nil, err
	}
	if c.except, err = newGlobs("except", e.Except); err != nil {
		return nil, err
	}
	for _, text := range e.Names {
		x, err := regexp.Compile(text)
		if err != nil || len(text) > maxExpression {
			return nil, fmt.Errorf("names: %q: want a regular expression (RE2) of at most %d bytes", shorten(text, maxExpression), maxExpression)
		}
		c.names = append(c.names, x)
	}
	if err := c.addTypes(); err != nil {
		return nil, err
	}
	return c, c.addValues()
}

func (e *Expectation) properties() bool {
	return len(e.SHA256) > 0 || e.Mode != nil || e.MaxMode != nil || e.Owner != "" || e.Group != "" || e.Executable != nil || e.Setuid != nil
}

func newGlobs(key string, texts []string) (all []*glob, err error) {
	for _, text := range texts {
		g, err := newGlob(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, g)
	}
	return all, nil
}

// addTypes adds the types of files that are asked for. What has content, or can be run, is a file.
func (c *check) addTypes() error {
	for _, name := range c.Types {
		kind, ok := typeKinds[name]
		if !ok {
			return fmt.Errorf("types: %q: want one of %s", name, strings.Join(TypeNames, ", "))
		}
		c.types |= 1 << kind
	}
	switch {
	case c.types != 0:
	case len(c.SHA256) > 0 || c.Executable != nil || c.Setuid != nil:
		c.types = 1 << regular
	case c.properties(): // the mode of a symbolic link is nobody's business
		c.types = 1<<regular | 1<<directory | 1<<device | 1<<fifo
	default:
		c.types = 1<<kinds - 1
	}
	return nil
}

func (c *check) addValues() error {
	c.sums = map[string]bool{}
	for _, sum := range c.SHA256 {
		sum = strings.ToLower(strings.TrimPrefix(sum, "sha256:"))
		if digest("sha256:"+sum).check() != nil {
			return fmt.Errorf("sha256: %q: want 64 hexadecimal digits", shorten(sum, 80))
		}
		c.sums[sum] = true
	}
	for _, m := range []struct {
		key  string
		mode *uint16
	}{{"mode", c.Mode}, {"max_mode", c.MaxMode}} {
		if m.mode != nil && *m.mode > 0o7777 {
			return fmt.Errorf("%s: %#o: want at most 07777", m.key, *m.mode)
		}
	}
	for _, o := range []struct{ key, who string }{{"owner", c.Owner}, {"group", c.Group}} {
		_, err := strconv.ParseUint(o.who, 10, 32)
		switch {
		case o.who == "" || err == nil:
		case errors.Is(err, strconv.ErrRange):
			return fmt.Errorf("%s: %s: want a number below 4294967296", o.key, o.who)
		case c.EveryLayer:
			return fmt.Errorf("%s: %q: want a number with layers: any, as names are known of the final file system only", o.key, o.who)
		case strings.ContainsAny(o.who, ": \t\n"):
			return fmt.Errorf("%s: %q: want one name or number", o.key, o.who)
		}
	}
	return nil
}

// wants says whether a file is one of those that the check is about, by its path and the patterns for it. The patterns come
// last: where it matters which of them are there, they are only if the rest fits.
func (c *check) wants(name string, n *node, paths []*glob) bool {
	if c.types&(1<<n.kind) == 0 || slices.ContainsFunc(c.except, func(g *glob) bool { return g.match(name) }) {
		return false
	}
	base := name[strings.LastIndexByte(name, '/')+1:]
	if len(c.names) > 0 && !slices.ContainsFunc(c.names, func(x *regexp.Regexp) bool { return x.MatchString(base) }) {
		return false
	}
	return len(paths) == 0 || c.anyPath(name, paths)
}

// anyPath looks at all of them if it matters which are there.
func (c *check) anyPath(name string, paths []*glob) (fits bool) {
	for i, g := range paths {
		if !g.match(name) {
			continue
		}
		if !c.Present {
			return true
		}
		c.seen[i], fits = true, true
	}
	return fits
}

// violations returns what is not as it should be about a file: what was found, and what was expected.
func (c *check) violations(n *node, who *names) [][2]string {
	if c.judge != nil {
		if found := c.judge(n); found != "" {
			return [][2]string{{found, c.want}}
		}
		return nil
	}
	if c.Absent {
		return [][2]string{{describe(n), "nothing there"}}
	}
	var all [][2]string
	differs := func(found, want string) { all = append(all, [2]string{found, want}) }
	if len(c.sums) > 0 {
		if sum := sumOf(n); !c.sums[sum] {
			differs("content of SHA-256 "+sum, "SHA-256 "+strings.ToLower(strings.Join(c.SHA256, " or ")))
		}
	}
	if c.Mode != nil && n.mode != *c.Mode {
		differs("mode "+octal(n.mode), octal(*c.Mode))
	}
	if c.MaxMode != nil && n.mode&^*c.MaxMode != 0 {
		differs("mode "+octal(n.mode), "at most "+octal(*c.MaxMode))
	}
	if c.Owner != "" && !who.users.is(n.uid, c.Owner) {
		differs("owner "+who.users.of(n.uid), who.users.wanted(c.Owner))
	}
	if c.Group != "" && !who.groups.is(n.gid, c.Group) {
		differs("group "+who.groups.of(n.gid), who.groups.wanted(c.Group))
	}
	if c.Executable != nil && (n.mode&0o111 != 0) != *c.Executable {
		differs("mode "+octal(n.mode), ifelse(*c.Executable, "an executable", "nothing that can be run"))
	}
	if c.Setuid != nil && (n.mode&(setuid|setgid) != 0) != *c.Setuid {
		differs("mode "+octal(n.mode), ifelse(*c.Setuid, "setuid or setgid", "neither setuid nor setgid"))
	}
	return all
}

func ifelse(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// emptySum is SHA-256 of nothing: empty files are not read.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func sumOf(n *node) string {
	switch {
	case n.sum != nil:
		return fmt.Sprintf("%x", *n.sum)
	case n.size == 0:
		return emptySum
	}
	return "unknown"
}

func octal(mode uint16) string { return fmt.Sprintf("%04o", mode) }

func describe(n *node) string {
	if n.kind == regular {
		return fmt.Sprintf("a file of %s", size(n.size))
	}
	return "a " + n.kind.String()
}

func size(bytes int64) string {
	const units = "kMGTPE"
	if bytes < 1000 {
		return count(int(bytes), "byte")
	}
	value, unit := float64(bytes), -1
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %cB", value, units[unit])
	}
	return fmt.Sprintf("%.0f %cB", value, units[unit])
}

// names are those of the users and groups of an image.
type names struct{ users, groups idNames }

type idNames struct {
	byName map[string]uint32
	byID   map[uint32]string
	file   string
}

// newNames reads /etc/passwd or /etc/group, of which the first and the third field say it.
func newNames(file string, text []byte) idNames {
	n := idNames{byName: map[string]uint32{"root": 0}, byID: map[uint32]string{0: "root"}, file: file}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(fields) < 3 {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, known := n.byName[fields[0]]; !known || fields[0] == "root" {
			n.byName[fields[0]] = uint32(id)
		}
		if _, known := n.byID[uint32(id)]; !known {
			n.byID[uint32(id)] = fields[0]
		}
	}
	return n
}

func (n *idNames) is(id uint32, who string) bool {
	if number, err := strconv.ParseUint(who, 10, 32); err == nil {
		return uint64(id) == number
	}
	want, known := n.byName[who]
	return known && id == want
}

func (n *idNames) of(id uint32) string {
	if name := n.byID[id]; name != "" {
		return fmt.Sprintf("%d (%s)", id, printable(name))
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (n *idNames) wanted(who string) string {
	if _, err := strconv.ParseUint(who, 10, 32); err == nil {
		return who
	}
	if id, known := n.byName[who]; known {
		return fmt.Sprintf("%d (%s)", id, who)
	}
	return fmt.Sprintf("%s, whom %s does not have", who, n.file)
}
