package image

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/exporter/host"
)

// maxFindings bounds what is told of one check: who has broken it two hundred times knows.
const maxFindings = 200

// An examiner holds the file systems of layers against checks.
type examiner struct {
	checks     Checks
	scanner    *secretScanner
	final      []*check
	everyLayer []*check
	ignored    []ignore
	disabled   map[string]bool

	layer    []Layer
	tree     *tree
	findings []pending
	counts   map[string]int // of findings by check
	dropped  int            // by the checks file
	secrets  map[*entry]*[]*node
	groups   map[group]int // index of findings for several files
}

// A pending finding waits for the last layer, which may hide its files.
type pending struct {
	Finding
	nodes *[]*node // nil if it is of none
	files int      // of a group
	bytes int64
}

type group struct {
	check *check
	layer int
}

type ignore struct {
	Ignored
	paths []*glob
}

func newExaminer(checks Checks, rules *ruleSet) (*examiner, error) {
	x := &examiner{checks: checks, scanner: newSecretScanner(rules), disabled: map[string]bool{}, counts: map[string]int{}, secrets: map[*entry]*[]*node{}, groups: map[group]int{}}
	for _, id := range checks.Disabled {
		x.disabled[id] = true
	}
	if !checks.WithoutDefaults {
		for i := range defaults {
			c, err := defaults[i].prepare()
			if err != nil {
				return nil, fmt.Errorf("default check %s: %w", defaults[i].ID, err)
			}
			x.addCheck(c)
		}
	}
	for _, e := range checks.Own {
		c, err := newCheck(e)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", e.ID, err)
		}
		x.addCheck(c)
	}
	for _, i := range checks.Ignored {
		in, err := newIgnore(i)
		if err != nil {
			return nil, fmt.Errorf("ignore: %w", err)
		}
		x.ignored = append(x.ignored, in)
	}
	return x, nil
}

func (x *examiner) addCheck(c *check) {
	switch {
	case x.isDisabled(c.ID):
	case c.EveryLayer:
		x.everyLayer = append(x.everyLayer, c)
	default:
		x.final = append(x.final, c)
	}
}

// newIgnore knows that what is found in a configuration has a path that is none.
func newIgnore(i Ignored) (ignore, error) {
	in := ignore{Ignored: i}
	for _, text := range i.Paths {
		if strings.HasPrefix(text, "config:") {
			text = "/" + text
		}
		g, err := newGlob(text)
		if err != nil {
			return in, fmt.Errorf("paths: %w", err)
		}
		in.paths = append(in.paths, g)
	}
	return in, nil
}

// isDisabled knows that an id stands for all that begin with it and a slash.
func (x *examiner) isDisabled(id string) bool {
	family, _, _ := strings.Cut(id, "/")
	return x.disabled[id] || x.disabled[family]
}

func (x *examiner) needsSums() bool {
	return slices.ContainsFunc(slices.Concat(x.final, x.everyLayer), func(c *check) bool { return len(c.sums) > 0 })
}

// layers puts the layers on top of one another, and looks at what comes with each and at what it makes in the end.
func (x *examiner) layers(r *Report, g *reading, all [][]entry) error {
	if r.Image != nil {
		x.layer = r.Image.Layers
	}
	total := 0
	for _, entries := range all {
		total += len(entries)
	}
	x.tree = newTree(max(4*total, 1000))
	x.tree.odd, x.tree.placed = x.odd, x.placed
	for layer, entries := range all {
		if err := g.ctx.Err(); err != nil {
			return err
		}
		if err := x.tree.apply(layer, entries); err != nil {
			return err
		}
	}
	return x.whole(r, g)
}

// odd tells of a name that has no place, and of what is in it nevertheless.
func (x *examiner) odd(layer int, e *entry, check, why string) {
	name := printable("/" + strings.TrimPrefix(e.name, "/"))
	f := Finding{Check: check, Severity: severityOf(check), Path: name, Found: why, Expected: "what every tool unpacks to the same"}
	x.add(pending{Finding: x.of(f, layer)})
	if check == unsafeEntry { // else it has a place
		x.secretsOf(e, name, layer, nil)
	}
}

// placed looks at one name as a layer brings it.
func (x *examiner) placed(n *node) {
	if len(n.secrets) > 0 || n.moreSecrets > 0 {
		x.secretsOf(n.entry, "", n.layer, n)
	}
	name := n.path()
	for _, c := range x.everyLayer {
		if c.wants(name, n, c.paths) {
			x.violations(c, name, n, &names{})
		}
	}
}

// secretsOf tells of the secrets of a file once, whatever other names it has.
func (x *examiner) secretsOf(e *entry, name string, layer int, n *node) {
	nodes, known := x.secrets[e]
	if !known {
		nodes = &[]*node{}
		x.secrets[e] = nodes
	}
	if n != nil {
		*nodes = append(*nodes, n)
		name = printable(n.path())
	}
	if known {
		return
	}
	for _, s := range e.secrets {
		f := Finding{Check: s.rule, Path: name, Line: s.line, Found: s.describe(), Expected: "no secret", Fingerprint: s.fingerprint}
		f.Severity = severityOf(f.Check)
		x.add(pending{Finding: x.of(f, layer), nodes: nodes})
	}
	if e.moreSecrets > 0 {
		f := Finding{Check: manySecrets, Path: name, Found: fmt.Sprintf("%d secrets more than the %d that are told", e.moreSecrets, maxFileSecrets), Expected: "no secret"}
		f.Severity = severityOf(f.Check)
		x.add(pending{Finding: x.of(f, layer), nodes: nodes})
	}
}

// of adds the layer to a finding.
func (x *examiner) of(f Finding, layer int) Finding {
	if layer < len(x.layer) {
		f.Layer, f.CreatedBy = x.layer[layer].Digest, x.layer[layer].CreatedBy
	}
	return f
}

// whole looks at what a container would see.
func (x *examiner) whole(r *Report, g *reading) error {
	who := &names{newNames("/etc/passwd", x.text("/etc/passwd")), newNames("/etc/group", x.text("/etc/group"))}
	paths := make([][]*glob, len(x.final))
	for i, c := range x.final {
		for _, p := range c.paths {
			paths[i] = append(paths[i], x.resolved(p))
		}
	}
	for name, n := range x.tree.all() {
		if r.Files++; r.Files%4096 == 0 && g.ctx.Err() != nil {
			return g.ctx.Err()
		}
		for i, c := range x.final {
			if c.wants(name, n, paths[i]) {
				x.violations(c, name, n, who)
			} else if to := x.followed(c, n, name, paths[i]); to != nil {
				x.violations(c, name, to, who)
			}
		}
	}
	for _, c := range x.final {
		for i, seen := range c.seen {
			if c.Present && !seen {
				x.add(pending{Finding: Finding{Check: c.ID, Severity: c.Severity, Path: printable(c.Paths[i]), Found: "nothing", Expected: cmp.Or(c.Description, "it to be there")}})
			}
		}
	}
	return nil
}

func (x *examiner) text(name string) []byte {
	if n := x.tree.resolve(name); n != nil {
		return n.text
	}
	return nil
}

// resolved returns a glob as it is without the symbolic links in its directory: /bin/sh is /usr/bin/sh nowadays.
func (x *examiner) resolved(g *glob) *glob {
	n := x.tree.resolve(g.directory)
	if n == nil || n.path() == path.Clean(g.directory) {
		return g
	}
	return g.in(n.path())
}

// followed returns the file that a symbolic link leads to, if the check names the link and asks for what a file has.
func (x *examiner) followed(c *check, n *node, name string, paths []*glob) *node {
	if n.kind != symlink || c.judge != nil || c.Absent || !slices.ContainsFunc(paths, func(g *glob) bool { return g.expression == nil && g.match(name) }) {
		return nil
	}
	to := x.tree.resolve(name)
	if to == nil || !c.wants(name, to, paths) {
		return nil
	}
	return to
}

func (x *examiner) violations(c *check, name string, n *node, who *names) {
	for _, v := range c.violations(n, who) {
		f := x.of(Finding{Check: c.ID, Severity: c.Severity, Path: printable(name), Found: v[0], Expected: v[1]}, n.layer)
		if !c.together {
			x.add(pending{Finding: f, nodes: &[]*node{n}})
			continue
		}
		in := group{c, n.layer}
		at, known := x.groups[in]
		if !known {
			at = len(x.findings)
			if !x.add(pending{Finding: f, nodes: &[]*node{n}}) {
				continue
			}
			x.groups[in] = at
		}
		x.findings[at].files++
		x.findings[at].bytes += n.size
	}
}

// add keeps a finding, unless nobody wants it or there are too many of its check.
func (x *examiner) add(p pending) bool {
	f := &p.Finding
	family, _, _ := strings.Cut(f.Check, "/")
	if s, ok := x.checks.Severities[family]; ok {
		f.Severity = s
	}
	if s, ok := x.checks.Severities[f.Check]; ok {
		f.Severity = s
	}
	if x.isDisabled(f.Check) {
		return false
	}
	for i := range x.ignored {
		if x.ignored[i].fits(f, family) {
			x.dropped++
			return false
		}
	}
	if x.counts[f.Check]++; x.counts[f.Check] > maxFindings {
		return false
	}
	x.findings = append(x.findings, p)
	return true
}

func (i *ignore) fits(f *Finding, family string) bool {
	check := i.Check == "" || i.Check == f.Check || i.Check == family
	name := "/" + strings.TrimPrefix(f.Path, "/")
	where := len(i.paths) == 0 || slices.ContainsFunc(i.paths, func(g *glob) bool { return g.match(name) })
	return check && where && (i.Fingerprint == "" || i.Fingerprint == f.Fingerprint)
}

// finish fills the report.
func (x *examiner) finish(r *Report) {
	r.Findings, r.Omitted, r.Ignored = []Finding{}, []Omitted{}, x.dropped
	r.Skipped, r.Unread = append([]Skipped{}, r.Skipped...), append([]Skipped{}, r.Unread...)
	severities := map[string]Severity{}
	for _, p := range x.findings {
		f := p.Finding
		if p.nodes != nil && len(*p.nodes) > 0 {
			alive := slices.IndexFunc(*p.nodes, (*node).alive)
			f.Removed = alive < 0
			if len(*p.nodes) > 1 {
				f.Path = printable((*p.nodes)[max(alive, 0)].path())
			}
		}
		if p.files > 1 {
			f.Found = fmt.Sprintf("%s of %s, this is the first", count(p.files, "file"), size(p.bytes))
		}
		severities[f.Check] = f.Severity
		r.Findings = append(r.Findings, f)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), strings.Compare(a.Check, b.Check))
	})
	for _, id := range slices.Sorted(maps.Keys(x.counts)) {
		if n := x.counts[id]; n > maxFindings {
			r.Omitted = append(r.Omitted, Omitted{Check: id, Severity: severities[id], Count: n - maxFindings})
		}
	}
}

// configuration takes secrets out of what made the layers, where build arguments stand, and looks for them in all that the
// image says of itself: its variables, its labels, and how it was made.
func (x *examiner) configuration(p *plan) error {
	for i := range p.image.Layers {
		l := &p.image.Layers[i]
		found, _, err := x.scanner.scan("/", strings.NewReader(l.CreatedBy))
		if err != nil {
			return err
		}
		text := strings.Join(strings.Fields(l.CreatedBy), " ")
		if l.CreatedBy = printable(shorten(host.RedactText(text), maxHistory)); len(found) > 0 {
			l.CreatedBy = "a command with a secret in it"
		}
	}
	if x.checks.Secrets.Off {
		return nil
	}
	for _, variable := range p.config.Config.Env {
		name, _, _ := strings.Cut(variable, "=")
		if _, err := x.setting("config:env:"+printable(shorten(name, 100)), variable, false); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.config.Config.Labels)) {
		if _, err := x.setting("config:label:"+printable(shorten(name, 100)), name+"="+p.config.Config.Labels[name], false); err != nil {
			return err
		}
	}
	for i, h := range p.config.History {
		where := fmt.Sprintf("config:history:%d", i)
		told := false
		for _, variable := range variablesOf(h.CreatedBy) {
			secret, err := x.setting(where, variable, false)
			if err != nil {
				return err
			}
			told = told || secret
		}
		if told {
			continue
		}
		if _, err := x.setting(where, h.CreatedBy, true); err != nil {
			return err
		}
	}
	return nil
}

// setting looks at one setting, and returns whether it is a secret. Variables and build arguments are judged by their names,
// as people would, and not by gitleaks' rule for anything: GPG_KEY is the fingerprint of one.
func (x *examiner) setting(where, text string, command bool) (told bool, err error) {
	found, _, err := x.scanner.scan("/", strings.NewReader(text))
	if err != nil {
		return false, err
	}
	name, value, _ := strings.Cut(text, "=")
	called := host.RedactText(text) != text
	for _, s := range found {
		if isGeneric(s.rule) && (!command || !called) {
			continue
		}
		told = true
		x.add(pending{Finding: Finding{Check: s.rule, Severity: severityOf(s.rule), Path: where, Found: s.describe(), Expected: "no secret", Fingerprint: s.fingerprint}})
	}
	if !told && !command && called && !harmlessForm.MatchString(strings.Trim(value, `"'`)) {
		told = true
		x.add(pending{Finding: Finding{Check: configSecret, Severity: severityOf(configSecret), Path: where, Found: "a value for " + printable(shorten(name, 100)),
			Expected: "no secret", Fingerprint: fingerprintOf([]byte(value))}})
	}
	return told, nil
}

var (
	harmlessForm  = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|none|null|[0-9]{1,4}|\$\{?\w+\}?|)$`)
	argumentsForm = regexp.MustCompile(`^(?:RUN )?\|([0-9]{1,3}) `)
	variablesForm = regexp.MustCompile(`^(?:/bin/sh -c #\(nop\) +)?(?:ENV|ARG) `)
)

// variablesOf returns those that a step in a history sets: of ENV and ARG; and of RUN, before whose command Docker writes
// |, how many build arguments there are, and each as NAME=value.
func variablesOf(command string) []string {
	if m := variablesForm.FindString(command); m != "" {
		return strings.Fields(command[len(m):])
	}
	m := argumentsForm.FindStringSubmatch(command)
	if m == nil {
		return nil
	}
	number, _ := strconv.Atoi(m[1])
	words := strings.Fields(command[len(m[0]):])
	return words[:min(number, len(words))]
}
