package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// Bounds of one rules file, and of all of a load.
const (
	maxRulesFile = 16 << 20
	maxLoad      = 256 << 20
)

// A File is the text of one rules file.
type File struct {
	Name string
	Text []byte

	err error // why it could not be read
}

// ReadFiles reads files, and of folders all *.yaml and *.yml in the order of their names. What cannot be read is an error
// of the load.
func ReadFiles(paths []string) []File {
	var all []File
	for _, path := range paths {
		names, err := filesOf(path)
		if err != nil {
			all = append(all, File{Name: path, err: err})
			continue
		}
		for _, name := range names {
			text, err := readFile(name)
			all = append(all, File{Name: name, Text: text, err: err})
		}
	}
	return all
}

func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	return names, nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0:
		return nil, fmt.Errorf("%s: want a file or a folder", name)
	case info.Size() > maxRulesFile:
		return nil, fmt.Errorf("%s: %d bytes: want at most %d", name, info.Size(), maxRulesFile)
	}
	return os.ReadFile(name)
}

// LoadOptions say what rules are loaded against, and which.
type LoadOptions struct {
	Languages   Languages       // rules of sources without one are left out
	MinPriority *event.Priority // rules that are less urgent are left out; nil takes all
	Selection   []Select        // turns rules on and off, in order

	// CheckOutput says whether a rule's output can be written. The offset of an *expr.CheckError or of a warning is in
	// Rule.Output; nil checks nothing.
	CheckOutput func(r *Rule) ([]expr.Warning, error)
}

// A loader is one load: the objects of all files that were read so far.
type loader struct {
	o      LoadOptions
	lists  objects[listInfo]
	macros objects[macroInfo]
	rules  objects[ruleInfo]
	next   int // the number of the next definition
	size   int // bytes that were read
	engine version
	broken bool // a file could not be read to its end
	failed bool // there is an error
	budget int  // what lists and macros may still make of the files
	work   int  // bytes that may still be searched for lists, or copied for what is appended
	texts  *atlas
	known  map[warningKey]bool // warnings that were given

	oddLists []*listInfo // whose names hold delimiters
}

// objects are things of one kind, in the order of their first definitions.
type objects[T any] struct {
	order  []*T
	byName map[string]*T
}

func (o *objects[T]) add(name string, t *T) {
	if o.byName == nil {
		o.byName = map[string]*T{}
	}
	o.byName[name] = t
	o.order = append(o.order, t)
}

// Bounds of what lists and macros make of the files, in bytes, where a part counts as many; and of the bytes that
// are searched for lists, or copied for what is appended.
const (
	maxExpanded = 32 << 20
	partCost    = 16
	maxWork     = 1 << 30
)

// Load reads files in their order, and compiles the rules of all of them. There is a Result for each file; a file is read
// to its first error, and the set is nil if any has one.
func Load(files []File, o LoadOptions) (*Set, []Result) {
	l := &loader{o: o, budget: maxExpanded, work: maxWork, texts: &atlas{}, known: map[warningKey]bool{}}
	results := make([]Result, len(files))
	for i, file := range files {
		results[i] = Result{Name: file.Name, SchemaWarnings: []string{}, Errors: []Problem{}, Warnings: []Problem{}}
		if err := l.readFile(file, &results[i]); err != nil {
			l.fail(err)
			l.broken = true
		}
	}
	set := &Set{texts: l.texts}
	if l.engine != (version{}) {
		set.EngineVersion = l.engine.String()
	}
	if !l.broken {
		set.Rules = l.compile()
	}
	ok := true
	for i := range results {
		results[i].Successful = len(results[i].Errors) == 0
		ok = ok && results[i].Successful
	}
	if !ok {
		return nil, results
	}
	return set, results
}

// fail records an error, if it is the first of its file.
func (l *loader) fail(err error) {
	l.failed = true
	var wrong *loadError
	if !errors.As(err, &wrong) {
		return // of something whose error is recorded
	}
	if result := wrong.where.file.result; len(result.Errors) == 0 {
		result.Errors = append(result.Errors, problem(wrong.where, wrong.code, wrong.message))
	}
}

// maxWarnings bounds the warnings of one file.
const maxWarnings = 10000

type warningKey struct {
	file          *rulesFile
	at            int
	code, message string
}

// warn records a warning, once for each place.
func (l *loader) warn(where *place, code, message string) {
	key := warningKey{where.file, where.at, code, message}
	result := where.file.result
	if l.known[key] || len(result.Warnings) >= maxWarnings {
		return
	}
	l.known[key] = true
	result.Warnings = append(result.Warnings, problem(where, code, message))
}

// readFile reads the objects of one file. An error is a *loadError.
func (l *loader) readFile(file File, result *Result) error {
	text := strings.TrimPrefix(string(file.Text), "\ufeff")
	if file.err == nil && len(text) > maxRulesFile {
		file.err = fmt.Errorf("%d bytes: want at most %d", len(text), maxRulesFile)
	}
	if l.size += len(text); l.size > maxLoad && file.err == nil {
		file.err = fmt.Errorf("all files have more than %d bytes", maxLoad)
	}
	if file.err != nil {
		text = ""
	}
	f := newRulesFile(file.Name, text, result)
	content := &place{kind: inFile, file: f}
	if file.err != nil {
		return &loadError{content, "LOAD_ERR_FILE_READ", file.err.Error()}
	}
	documents, err := parseYAML(f)
	if err != nil {
		content.at = err.(*yamlError).at
		return &loadError{content, "LOAD_ERR_YAML_PARSE", err.Error()}
	}
	result.SchemaWarnings = append(result.SchemaWarnings, checkSchema(documents)...)
	if result.SchemaValid = "ok"; len(result.SchemaWarnings) > 0 {
		result.SchemaValid = "failed"
	}
	for _, d := range documents {
		if err := l.readDocument(content, d); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) readDocument(content *place, d *yamlNode) error {
	at := &place{kind: inFile, file: content.file, at: d.at}
	switch d.kind {
	case yamlNull:
		return nil
	case yamlScalar:
		return invalid(at, "Rules content is not yaml")
	case yamlMapping:
		return invalid(at, "Rules content is not yaml array of objects")
	}
	for _, n := range d.items {
		if n.kind == yamlNull {
			continue
		}
		if err := l.readItem(content, n); err != nil {
			return err
		}
	}
	return nil
}

func invalid(where *place, format string, args ...any) error {
	return &loadError{where, "LOAD_ERR_YAML_VALIDATE", fmt.Sprintf(format, args...)}
}

func refused(where *place, format string, args ...any) error {
	return &loadError{where, "LOAD_ERR_VALIDATE", fmt.Sprintf(format, args...)}
}

// itemReaders are the objects that a file may hold. The first key that a mapping has says which one it is.
var itemReaders = []struct {
	key  string
	read func(l *loader, content *place, n *yamlNode) error
}{
	{"required_engine_version", (*loader).readEngineVersion},
	{"required_plugin_versions", (*loader).readPluginVersions},
	{"list", (*loader).readList},
	{"macro", (*loader).readMacro},
	{"rule", (*loader).readRule},
}

func (l *loader) readItem(content *place, n *yamlNode) error {
	at := content.in(inItem, "", n)
	if n.kind != yamlMapping {
		return invalid(at, "Unexpected element type. Each element should be a yaml associative array.")
	}
	for _, r := range itemReaders {
		if n.get(r.key) != nil {
			return r.read(l, content, n)
		}
	}
	l.warn(at, "LOAD_UNKNOWN_ITEM", "Unknown top level item")
	return nil
}

// checkKeys warns of keys that nobody reads.
func (l *loader) checkKeys(where *place, n *yamlNode, known []string) {
	seen := make(map[string]bool, len(n.keys))
	for _, p := range n.keys {
		key := p.key.text
		at := where.in(inValue, key, p.key)
		switch {
		case !slices.Contains(known, key):
			l.warn(at, "LOAD_UNKNOWN_KEY", fmt.Sprintf("Unknown key '%s'. The key will be ignored.", key))
		case seen[key]:
			l.warn(at, "LOAD_UNKNOWN_KEY", fmt.Sprintf("Key '%s' is given twice. The second will be ignored.", key))
		}
		seen[key] = true
	}
}
