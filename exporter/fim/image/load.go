package image

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/limit"
)

// Bounds of a checks file.
const (
	maxChecksFile = 1 << 20
	maxYAMLDepth  = 20
)

// Load reads a checks file: YAML, of which nothing may be unknown.
//
//	defaults: true               # the checks that come with Yagura
//	disable: [package-cache]     # of which these are left out; secret for all rules of gitleaks
//	severity: {env-file: low, secret/jwt: low}
//	secrets: {off: false, everywhere: false}
//	ignore:
//	  - {check: secret/private-key, paths: [/usr/share/doc/**], fingerprint: 3f9a01, reason: an example}
//	checks:
//	  - id: no-shell
//	    description: A distroless image has no shell.
//	    severity: high
//	    paths: [/bin/sh, "**/busybox"]      # all of paths, names, types must fit
//	    names: ['^(ba|da|z)?sh$']           # regular expressions of the last name
//	    types: [file, symlink]
//	    except: [/usr/lib/klibc/**]
//	    layers: final                       # or any: also what a later layer hides
//	    absent: true                        # or any of the following
//	    present: true
//	    sha256: [9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]
//	    mode: 0644                          # octal, as everywhere
//	    max_mode: 0755
//	    owner: root
//	    group: 0
//	    executable: false
//	    setuid: false
//
// Errors are FILE:LINE:COLUMN: and what is expected there.
func Load(path string) (Checks, error) {
	f, err := os.Open(path)
	if err != nil {
		return Checks{}, fmt.Errorf("read the checks: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxChecksFile+1))
	if err != nil {
		return Checks{}, fmt.Errorf("read the checks: %w", err)
	}
	if len(text) > maxChecksFile {
		return Checks{}, fmt.Errorf("%s: more than %d bytes", path, maxChecksFile)
	}
	checks, err := parse(text)
	if err != nil {
		return Checks{}, fmt.Errorf("%s:%w", path, err)
	}
	return checks, nil
}

// A placed error says where in the file it is.
type placedError struct {
	line, column int
	message      string
}

func (e *placedError) Error() string { return fmt.Sprintf("%d:%d: %s", e.line, e.column, e.message) }

func wrong(n *yaml.Node, format string, args ...any) error {
	return &placedError{n.Line, n.Column, fmt.Sprintf(format, args...)}
}

func parse(text []byte) (checks Checks, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the parser is not ours
			err = &placedError{1, 1, fmt.Sprintf("the file cannot be read as YAML: %v", cause)}
		}
	}()
	loader, err := yaml.NewLoader(strings.NewReader(string(text)), yaml.WithPlugin(limit.New(limit.DepthValue(maxYAMLDepth))))
	if err != nil {
		return checks, located(err)
	}
	var document, second yaml.Node
	switch err := loader.Load(&document); {
	case err == io.EOF:
		return checks, nil
	case err != nil:
		return checks, located(err)
	}
	if err := loader.Load(&second); err == nil {
		return checks, wrong(&second, "a second document: want one")
	} else if err != io.EOF {
		return checks, located(err)
	}
	for _, body := range document.Content {
		if body.ShortTag() != "!!null" {
			err = parseChecks(body, &checks)
		}
	}
	return checks, err
}

// located takes the place out of the parser's errors.
func located(err error) error {
	var where *yaml.LoadError
	if !errors.As(err, &where) {
		return &placedError{1, 1, oneLine(err.Error())}
	}
	message, at := where.Message, where.Mark
	if where.ContextMsg != "" {
		message += " " + where.ContextMsg
	}
	if at.Line == 0 {
		at = where.ContextMark
	}
	return &placedError{max(at.Line, 1), max(at.Column, 1), oneLine(message)}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// A reader reads the value of a key.
type reader func(*yaml.Node) error

// keys reads a mapping, of which it knows all keys.
func keys(n *yaml.Node, known map[string]reader) error {
	if n.Kind != yaml.MappingNode {
		return wrong(n, "want a mapping of %s", list(known))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !ok:
			return wrong(key, "unknown key %q: want one of %s", shorten(oneLine(key.Value), 60), list(known))
		case seen[key.Value]:
			return wrong(key, "%s: given twice", key.Value)
		}
		seen[key.Value] = true
		if value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null" {
			continue // what stood there was commented out
		}
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func list(known map[string]reader) string { return strings.Join(slices.Sorted(maps.Keys(known)), ", ") }

func parseChecks(n *yaml.Node, to *Checks) error {
	ids := map[string]*yaml.Node{} // that are used where they must be known
	err := keys(n, map[string]reader{
		"defaults": func(n *yaml.Node) error {
			on := true
			err := boolean(&on)(n)
			to.WithoutDefaults = !on
			return err
		},
		"disable":  each(func(n *yaml.Node) error { return appendID(n, &to.Disabled, ids) }),
		"severity": func(n *yaml.Node) error { return parseSeverities(n, to, ids) },
		"secrets": func(n *yaml.Node) error {
			return keys(n, map[string]reader{"off": boolean(&to.Secrets.Off), "everywhere": boolean(&to.Secrets.Everywhere)})
		},
		"ignore": each(func(n *yaml.Node) error { return parseIgnored(n, to, ids) }),
		"checks": each(func(n *yaml.Node) error { return parseExpectation(n, to) }),
	})
	if err != nil {
		return err
	}
	return knownIDs(to, ids)
}

// knownIDs refuses ids that no check has: nothing would say so later on.
func knownIDs(to *Checks, ids map[string]*yaml.Node) error {
	known := []string{}
	for i := range defaults {
		known = append(known, defaults[i].ID)
	}
	for _, e := range slices.Concat(findings, to.Own) {
		known = append(known, e.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		rule, ofRule := strings.CutPrefix(id, secretFamily+"/")
		switch {
		case slices.Contains(known, id), id == manySecrets:
		case !ofRule:
			return wrong(ids[id], "no check %q: want one of %s, or secret/ and the id of a rule of gitleaks", shorten(id, 60), strings.Join(known, ", "))
		default:
			rules, err := secretRules()
			if err != nil {
				return wrong(ids[id], "%v", err)
			}
			if !slices.ContainsFunc(rules.rules, func(r *secretRule) bool { return r.RuleID == rule }) {
				return wrong(ids[id], "gitleaks has no rule %q", shorten(rule, 60))
			}
		}
	}
	return nil
}

func appendID(n *yaml.Node, to *[]string, ids map[string]*yaml.Node) error {
	var id string
	if err := text(&id)(n); err != nil {
		return err
	}
	ids[id] = n
	*to = append(*to, id)
	return nil
}

func parseSeverities(n *yaml.Node, to *Checks, ids map[string]*yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return wrong(n, "want a mapping of checks to severities")
	}
	to.Severities = map[string]Severity{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var id []string
		if err := appendID(n.Content[i], &id, ids); err != nil {
			return err
		}
		if _, twice := to.Severities[id[0]]; twice {
			return wrong(n.Content[i], "%s: given twice", id[0])
		}
		var s Severity
		if err := severity(&s)(n.Content[i+1]); err != nil {
			return err
		}
		to.Severities[id[0]] = s
	}
	return nil
}

func parseIgnored(n *yaml.Node, to *Checks, ids map[string]*yaml.Node) error {
	var i Ignored
	var check []string
	err := keys(n, map[string]reader{
		"check":       func(n *yaml.Node) error { return appendID(n, &check, ids) },
		"paths":       texts(&i.Paths),
		"fingerprint": text(&i.Fingerprint),
		"reason":      text(&i.Reason),
	})
	if err != nil {
		return err
	}
	if len(check) > 0 {
		i.Check = check[0]
	}
	if i.Check == "" && len(i.Paths) == 0 && i.Fingerprint == "" {
		return wrong(n, "everything would be ignored: want check, paths or fingerprint")
	}
	if _, err := newIgnore(i); err != nil {
		return wrong(n, "%v", err)
	}
	to.Ignored = append(to.Ignored, i)
	return nil
}

func parseExpectation(n *yaml.Node, to *Checks) error {
	e := Expectation{Severity: Medium}
	at := map[string]*yaml.Node{} // keys, for errors that are found later
	var layers string
	known := map[string]reader{
		"id": text(&e.ID), "description": text(&e.Description), "severity": severity(&e.Severity),
		"paths": texts(&e.Paths), "except": texts(&e.Except), "names": texts(&e.Names), "types": texts(&e.Types), "layers": text(&layers),
		"present": truth(&e.Present), "absent": truth(&e.Absent), "sha256": texts(&e.SHA256), "mode": octalMode(&e.Mode), "max_mode": octalMode(&e.MaxMode),
		"owner": text(&e.Owner), "group": text(&e.Group), "executable": optional(&e.Executable), "setuid": optional(&e.Setuid),
	}
	for key, read := range known {
		known[key] = func(n *yaml.Node) error {
			at[key] = n
			return read(n)
		}
	}
	if err := keys(n, known); err != nil {
		return err
	}
	switch layers {
	case "", "final":
	case "any":
		e.EveryLayer = true
	default:
		return wrong(at["layers"], "layers: %q: want final or any", shorten(layers, 60))
	}
	if _, err := newCheck(e); err != nil {
		key, _, _ := strings.Cut(err.Error(), ":")
		if where := at[key]; where != nil {
			n = where
		}
		return wrong(n, "%v", err)
	}
	if slices.ContainsFunc(to.Own, func(o Expectation) bool { return o.ID == e.ID }) || slices.ContainsFunc(defaults, func(s standard) bool { return s.ID == e.ID }) ||
		slices.ContainsFunc(findings, func(o Expectation) bool { return strings.HasPrefix(e.ID+"/", o.ID+"/") }) {
		return wrong(at["id"], "id: %q: another check has it", e.ID)
	}
	if to.Own = append(to.Own, e); len(to.Own) > maxChecks {
		return wrong(n, "more than %d checks", maxChecks)
	}
	return nil
}

// Readers of single values.

func each(read reader) reader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode {
			return wrong(n, "want a list")
		}
		for _, item := range n.Content {
			if err := read(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func text(to *string) reader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
			return wrong(n, "want a text")
		}
		*to = n.Value
		return nil
	}
}

// texts takes a single one for a list of one.
func texts(to *[]string) reader {
	one := func(n *yaml.Node) error {
		var item string
		err := text(&item)(n)
		*to = append(*to, item)
		return err
	}
	return func(n *yaml.Node) error {
		if n.Kind == yaml.SequenceNode {
			return each(one)(n)
		}
		return one(n)
	}
}

func boolean(to *bool) reader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			return wrong(n, "want true or false")
		}
		*to = strings.EqualFold(n.Value, "true")
		return nil
	}
}

// truth is for keys that say something by being there.
func truth(to *bool) reader {
	return func(n *yaml.Node) error {
		if err := boolean(to)(n); err != nil || !*to {
			return wrong(n, "want true, or no such key")
		}
		return nil
	}
}

func optional(to **bool) reader {
	return func(n *yaml.Node) error {
		*to = new(bool)
		return boolean(*to)(n)
	}
}

func severity(to *Severity) reader {
	return func(n *yaml.Node) error {
		var name string
		if err := text(&name)(n); err != nil {
			return err
		}
		if err := to.UnmarshalText([]byte(name)); err != nil {
			return wrong(n, "severity: %q: want one of %s", shorten(name, 60), strings.Join(Severities[:], ", "))
		}
		return nil
	}
}

// octalMode reads what is octal to everybody who writes modes, with and without zeros in front.
func octalMode(to **uint16) reader {
	return func(n *yaml.Node) error {
		mode, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0o"), 8, 16)
		if n.Kind != yaml.ScalarNode || err != nil || mode > 0o7777 {
			return wrong(n, "mode: %q: want an octal number such as 0644, at most 07777", shorten(oneLine(n.Value), 60))
		}
		value := uint16(mode)
		*to = &value
		return nil
	}
}
