package fim

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// What of dpkg's is looked at: deb(5), dpkg(1), dpkg-divert(1), dpkg-statoverride(1), update-alternatives(1). Images without
// a shell ("distroless") have a file per package below status.d, and its sums beside it, instead of status and info.
const (
	dpkgAdmin   = "var/lib/dpkg/"
	dpkgStatus  = dpkgAdmin + "status"
	dpkgInfo    = dpkgAdmin + "info"
	dpkgSingle  = dpkgAdmin + "status.d"
	dpkgUpdates = dpkgAdmin + "updates" // what a running dpkg has not yet written to status

	maxUpdates    = 1000    // dpkg writes status anew after 250
	maxConffiles  = 250_000 // of all packages
	maxLinkGroups = 10_000
	maxLinkText   = 1 << 20  // bytes of one group of alternatives
	maxLinkTexts  = 64 << 20 // of all
)

var dpkgFiles = []string{dpkgStatus, dpkgInfo, dpkgSingle, dpkgUpdates, dpkgAdmin + "diversions", dpkgAdmin + "statoverride"}

var alternativeFiles = []string{dpkgAdmin + "alternatives", "var/lib/alternatives"}

// Where a package of dpkg was found.
const (
	dpkgByName     = iota // info/NAME.list
	dpkgByNameArch        // info/NAME:ARCH.list, of what may be installed for several architectures
	dpkgOfImage           // status.d/NAME
)

// dpkgTables are what dpkg keeps of paths, not of packages.
type dpkgTables struct {
	diversions map[string]diversion // by the canonical path that is diverted
	conffiles  []dpkgConffile       // by hash
	overrides  map[uint64]expectation
}

type diversion struct {
	to string // canonical
	by string // the package that keeps the path; empty for a local one, which diverts every package's
}

type dpkgConffile struct {
	hash uint64
	pkg  uint32
	sum  [16]byte
}

func (t *dpkgTables) diverted(name []byte, entry *packageEntry) (to string, ok bool) {
	if t == nil || len(t.diversions) == 0 {
		return "", false
	}
	d, ok := t.diversions[string(name)]
	return d.to, ok && (d.by == "" || d.by != entry.Name)
}

// A dpkgStanza is what of a package's paragraph matters here.
type dpkgStanza struct {
	name, version, arch, multi, state string
	conffiles                         []dpkgStanzaFile
}

type dpkgStanzaFile struct {
	path string
	sum  [16]byte
}

func loadDpkg(l *packageLoader) error {
	l.db.path = "/" + strings.TrimSuffix(dpkgAdmin, "/")
	l.db.dpkg = &dpkgTables{overrides: map[uint64]expectation{}}
	l.optional(l.diversions())
	l.optional(l.overrides())
	stanzas, err := l.dpkgStanzas()
	for i := range stanzas {
		if err == nil {
			err = l.dpkgPackage(&stanzas[i])
		}
	}
	slices.SortFunc(l.db.dpkg.conffiles, func(a, b dpkgConffile) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.pkg, b.pkg))
	})
	return errors.Join(err, l.dpkgImage())
}

// optional notes an error, unless it is that there is no such file.
func (l *packageLoader) optional(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problem(err)
	}
}

// dpkgStanzas reads status, and what a running dpkg has changed since.
func (l *packageLoader) dpkgStanzas() (all []dpkgStanza, err error) {
	add := func(s *dpkgStanza) error {
		if all = append(all, *s); len(all) > maxPackages {
			return fmt.Errorf("more than %d packages", maxPackages)
		}
		return nil
	}
	if err := l.stanzas(dpkgStatus, add); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	updates, err := l.root.list(dpkgUpdates, maxUpdates)
	l.optional(err)
	at := map[[2]string]int{}
	for i := range all {
		at[[2]string{all[i].name, all[i].arch}] = i
	}
	for _, name := range updates {
		if _, err := strconv.ParseUint(name, 10, 32); err != nil {
			continue // tmp.i is being written
		}
		l.optional(l.stanzas(dpkgUpdates+"/"+name, func(s *dpkgStanza) error {
			if i, ok := at[[2]string{s.name, s.arch}]; ok {
				all[i] = *s
				return nil
			}
			at[[2]string{s.name, s.arch}] = len(all)
			return add(s)
		}))
	}
	return all, nil
}

// stanzas calls do with each paragraph of a file of deb822(5) that has a package's name.
func (l *packageLoader) stanzas(name string, do func(*dpkgStanza) error) error {
	var p stanzaParser
	err := l.root.lines(name, func(line []byte) error {
		s, err := p.line(line)
		if s == nil || err != nil {
			return err
		}
		return do(s)
	})
	if err != nil {
		return err
	}
	if s := p.end(); s != nil {
		return do(s)
	}
	return nil
}

// A stanzaParser takes a file's lines one by one.
type stanzaParser struct {
	now         dpkgStanza
	inConffiles bool
}

// line returns the paragraph that an empty line ends.
func (p *stanzaParser) line(line []byte) (*dpkgStanza, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return p.end(), nil
	}
	if line[0] == ' ' || line[0] == '\t' {
		if p.inConffiles {
			return nil, p.conffile(bytes.TrimSpace(line))
		}
		return nil, nil
	}
	field, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return nil, fmt.Errorf("want FIELD: VALUE, got %.40q", line)
	}
	p.field(strings.ToLower(string(field)), string(bytes.TrimSpace(value)))
	return nil, nil
}

func (p *stanzaParser) field(name, value string) {
	p.inConffiles = name == "conffiles"
	switch name {
	case "package":
		p.now.name = value
	case "version":
		p.now.version = value
	case "config-version": // all there is of what was removed but for its configuration
		p.now.version = cmp.Or(p.now.version, value)
	case "architecture":
		p.now.arch = value
	case "multi-arch":
		p.now.multi = value
	case "status":
		p.now.state = value
	}
}

// conffile reads "PATH MD5" or "PATH MD5 obsolete"; "newconffile" in place of the sum is that of a package being unpacked.
func (p *stanzaParser) conffile(line []byte) error {
	for {
		i := bytes.LastIndexByte(line, ' ')
		if i < 0 {
			return fmt.Errorf("want PATH MD5 in Conffiles, got %.80q", line)
		}
		last := line[i+1:]
		line = bytes.TrimRight(line[:i], " ")
		switch {
		case string(last) == "newconffile":
			return nil
		case len(last) == 32:
			file := dpkgStanzaFile{path: string(line)}
			if _, err := hex.Decode(file.sum[:], last); err != nil {
				return fmt.Errorf("want an MD5 in Conffiles, got %.80q", last)
			}
			p.now.conffiles = append(p.now.conffiles, file)
			return nil
		}
	}
}

func (p *stanzaParser) end() *dpkgStanza {
	s := p.now
	p.now, p.inConffiles = dpkgStanza{}, false
	if s.name == "" {
		return nil
	}
	return &s
}

// dpkgPackage adds a package of status and the paths of its list.
func (l *packageLoader) dpkgPackage(s *dpkgStanza) error {
	if strings.HasSuffix(s.state, " not-installed") {
		return nil
	}
	entry := packageEntry{Package: Package{Name: s.name, Version: s.version, Arch: s.arch}}
	if s.multi == "same" {
		entry.source = dpkgByNameArch
	}
	list := dpkgInfo + "/" + entry.infoName() + ".list"
	entry.changed = l.root.state(list).modified / 1e9
	pkg, err := l.addPackage(entry)
	if err != nil {
		return err
	}
	if err := l.conffiles(pkg, s.conffiles); err != nil {
		return err
	}
	n := uint32(0)
	return l.listed(l.root.lines(list, func(line []byte) error {
		if len(line) == 0 || line[0] != '/' {
			return fmt.Errorf("want an absolute path, got %.80q", line)
		}
		if string(line) == "/." {
			line = line[:1]
		}
		n++
		return l.add(line, pkg, n)
	}))
}

// listed says which errors of a list stop everything: that there is no more room. A package without one has no files, or is
// about to get it.
func (l *packageLoader) listed(err error) error {
	if len(l.db.files) >= maxPackagePaths {
		return err
	}
	l.optional(err)
	return nil
}

// infoName is how the names of a package's files in info begin.
func (e *packageEntry) infoName() string {
	if e.source == dpkgByNameArch {
		return e.Name + ":" + e.Arch
	}
	return e.Name
}

func (l *packageLoader) conffiles(pkg uint32, files []dpkgStanzaFile) error {
	if len(l.db.dpkg.conffiles)+len(files) > maxConffiles {
		return fmt.Errorf("%s: more than %d conffiles of %d packages; more are not kept", l.db.path, maxConffiles, pkg)
	}
	for _, f := range files {
		hash := l.hash([]byte(f.path), &l.db.packages[pkg])
		l.db.dpkg.conffiles = append(l.db.dpkg.conffiles, dpkgConffile{hash, pkg, f.sum})
	}
	return nil
}

// dpkgImage adds the packages of status.d. Their paths are those of the sums: there are no lists.
func (l *packageLoader) dpkgImage() error {
	names, err := l.root.list(dpkgSingle, 2*maxPackages)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".md5sums") || err != nil {
			continue
		}
		err = l.stanzas(dpkgSingle+"/"+name, func(s *dpkgStanza) error {
			pkg, err := l.addPackage(packageEntry{Package: Package{Name: s.name, Version: s.version, Arch: s.arch},
				source: dpkgOfImage, file: name})
			if err != nil {
				return err
			}
			if err := l.conffiles(pkg, s.conffiles); err != nil {
				return err
			}
			n := uint32(0)
			return l.listed(l.sums(&l.db.packages[pkg], func(name []byte, _ [16]byte) error {
				n++
				return l.add(name, pkg, n)
			}))
		})
	}
	return err
}

// sums calls do with each file of a package's md5sums: "MD5  PATH", without the path's first slash.
func (l *packageLoader) sums(entry *packageEntry, do func(name []byte, sum [16]byte) error) error {
	file := dpkgInfo + "/" + entry.infoName() + ".md5sums"
	if entry.source == dpkgOfImage {
		file = dpkgSingle + "/" + entry.file + ".md5sums"
	}
	return l.root.lines(file, func(line []byte) error {
		name, sum, err := parseSum(line)
		if err != nil {
			return err
		}
		return do(name, sum)
	})
}

func parseSum(line []byte) (name []byte, sum [16]byte, err error) {
	if len(line) < 35 || line[32] != ' ' || line[33] != ' ' && line[33] != '*' {
		return nil, sum, fmt.Errorf("want MD5 and a path, got %.80q", line)
	}
	if _, err := hex.Decode(sum[:], line[:32]); err != nil {
		return nil, sum, fmt.Errorf("want an MD5, got %.32q", line)
	}
	return bytes.TrimPrefix(line[34:], []byte("./")), sum, nil
}

// diversions reads triples of lines: from, to, and the package that diverts, or ":" for a local diversion.
func (l *packageLoader) diversions() error {
	t, triple, n := l.db.dpkg, [3]string{}, 0
	t.diversions = map[string]diversion{}
	err := l.root.lines(dpkgAdmin+"diversions", func(line []byte) error {
		if triple[n%3] = string(line); n%3 < 2 && !path.IsAbs(triple[n%3]) {
			return fmt.Errorf("want an absolute path, got %.80q", line)
		}
		if n++; n%3 == 0 {
			from := canonical(nil, triple[0], l.db.aliases)
			to := canonical(nil, triple[1], l.db.aliases)
			t.diversions[string(from)] = diversion{string(to), strings.TrimPrefix(triple[2], ":")}
		}
		return nil
	})
	if err == nil && n%3 != 0 {
		return fmt.Errorf("/%sdiversions: want lines by threes, got %d", dpkgAdmin, n)
	}
	return err
}

// overrides reads lines "USER GROUP MODE PATH"; numbers of users and groups are written "#123". Of a path that is diverted
// they are for both files: dpkg asks for the name in the package.
func (l *packageLoader) overrides() error {
	return l.root.lines(dpkgAdmin+"statoverride", func(line []byte) error {
		fields := strings.SplitN(string(line), " ", 4)
		if len(fields) != 4 {
			return fmt.Errorf("want USER GROUP MODE PATH, got %.80q", line)
		}
		mode, err := strconv.ParseUint(fields[2], 8, 16)
		if err != nil {
			return fmt.Errorf("want an octal mode, got %.80q", fields[2])
		}
		e := expectation{user: fields[0], group: fields[1], hasMode: true, mode: unixMode(uint32(mode))}
		name := canonical(nil, fields[3], l.db.aliases)
		l.db.dpkg.overrides[maphash.Bytes(l.seed, name)] = e
		if d, ok := l.db.dpkg.diversions[string(name)]; ok {
			l.db.dpkg.overrides[maphash.String(l.seed, d.to)] = e
		}
		return nil
	})
}

// dpkgSums are the MD5 sums of one package's files, by hash.
type dpkgSums struct {
	tables *dpkgTables
	known  []dpkgConffile
	none   bool // the package came without any
}

func dpkgDetails(l *packageLoader, entry *packageEntry) (packageDetails, error) {
	s := &dpkgSums{tables: l.db.dpkg}
	err := l.sums(entry, func(name []byte, sum [16]byte) error {
		if s.known = append(s.known, dpkgConffile{hash: l.hash(name, entry), sum: sum}); len(s.known) > maxPackageFiles {
			return fmt.Errorf("more than %d sums of one package", maxPackageFiles)
		}
		return nil
	})
	if s.none = errors.Is(err, fs.ErrNotExist); err != nil && !s.none {
		return nil, err
	}
	s.known = trimmed(s.known)
	slices.SortFunc(s.known, func(a, b dpkgConffile) int { return cmp.Compare(a.hash, b.hash) })
	return s, nil
}

func (s *dpkgSums) size() int { return 64 + 32*cap(s.known) }

func (s *dpkgSums) expect(file packageFile) expectation {
	e := s.tables.overrides[file.hash]
	byHash := func(c dpkgConffile, hash uint64) int { return cmp.Compare(c.hash, hash) }
	if i, ok := slices.BinarySearchFunc(s.known, file.hash, byHash); ok {
		e.algorithm, e.sum = crypto.MD5, s.known[i].sum[:]
	} else if s.none {
		e.why = "the package came without sums"
	}
	conffiles := s.tables.conffiles
	for i, _ := slices.BinarySearchFunc(conffiles, file.hash, byHash); i < len(conffiles) && conffiles[i].hash == file.hash; i++ {
		if conffiles[i].pkg == file.pkg {
			e.config, e.algorithm, e.sum = true, crypto.MD5, conffiles[i].sum[:]
		}
	}
	return e
}

// An alternative is one link that update-alternatives keeps, to or in /etc/alternatives.
type alternative struct {
	group   string
	targets []string // where it may lead
}

func (a alternative) judge(r *Record) Match {
	switch {
	case r == nil:
		return Unsaid
	case r.Mode.Type() != fs.ModeSymlink:
		return Differs
	}
	return sameIf(slices.Contains(a.targets, r.Target))
}

const maxAlternatives = 100_000 // links

func loadAlternatives(l *packageLoader) error {
	l.db.path, l.db.links = "/"+alternativeFiles[0], map[string]alternative{}
	read := 0
	for _, dir := range alternativeFiles {
		groups, err := l.root.list(dir, maxLinkGroups)
		l.optional(err)
		for _, group := range groups {
			text, err := l.root.read(dir+"/"+group, maxLinkText)
			if read += len(text); read > maxLinkTexts {
				return fmt.Errorf("/%s: more than %d bytes of alternatives; more are not read", dir, maxLinkTexts)
			}
			if err == nil {
				err = l.alternatives(group, string(text))
			}
			if err != nil {
				l.problem(fmt.Errorf("/%s/%s: %w", dir, group, err))
			}
		}
	}
	return nil
}

func (l *packageLoader) alternatives(group, text string) error {
	links, err := parseAlternatives(group, text)
	if len(l.db.links)+len(links) > maxAlternatives {
		return fmt.Errorf("more than %d links of alternatives; more are not kept", maxAlternatives)
	}
	for link, a := range links {
		l.db.links[string(canonical(nil, link, l.db.aliases))] = a
	}
	return err
}

// parseAlternatives reads one group: "auto" or "manual", the master link, the name and link of each slave, an empty line,
// and for each choice its path, its priority and a line for each slave; the one of RHEL writes more into the priority's line.
func parseAlternatives(group, text string) (map[string]alternative, error) {
	lines, n := strings.Split(text, "\n"), 0
	next := func() string {
		if n++; n <= len(lines) {
			return lines[n-1]
		}
		return ""
	}
	mode := next()
	if mode != "auto" && mode != "manual" {
		return nil, fmt.Errorf("1: want auto or manual, got %.40q", mode)
	}
	names, paths := []string{group}, []string{next()}
	for name := next(); name != ""; name = next() {
		names, paths = append(names, name), append(paths, next())
	}
	for i, link := range paths {
		if !path.IsAbs(link) {
			return nil, fmt.Errorf("%d: want the absolute path of the link %s, got %.80q", 2*i+2, names[i], link)
		}
	}
	targets, best := make([][]string, len(paths)), 0
	for choice := next(); choice != ""; choice = next() {
		priority, err := alternativePriority(next())
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
		first := len(targets[0]) == 0
		if mode == "auto" && !first && priority > best {
			clear(targets)
		}
		counts := mode == "manual" || first || priority >= best
		best = max(priority, best)
		if first {
			best = priority
		}
		for i, target := range append([]string{choice}, slaves(next, len(paths)-1)...) {
			if counts && target != "" {
				targets[i] = append(targets[i], target)
			}
		}
	}
	links := map[string]alternative{}
	for i, link := range paths {
		via := "/etc/alternatives/" + names[i]
		links[link] = alternative{group, []string{via}}
		links[via] = alternative{group, targets[i]}
	}
	return links, nil
}

func slaves(next func() string, count int) (all []string) {
	for range count {
		all = append(all, next())
	}
	return all
}

// alternativePriority reads "PRIORITY", or "@FAMILY@PRIORITY SERVICE" as RHEL has it.
func alternativePriority(line string) (int, error) {
	text := line
	if rest, ok := strings.CutPrefix(text, "@"); ok {
		_, text, _ = strings.Cut(rest, "@")
	}
	text, _, _ = strings.Cut(text, " ")
	priority, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("want a priority, got %.40q", line)
	}
	return priority, nil
}
