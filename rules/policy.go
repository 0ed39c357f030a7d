package rules

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// Config says which rules are loaded, what they are evaluated for, and how hits are told.
type Config struct {
	Pack         bool              `yaml:"pack"`     // load our own rules, before the files
	Files        []string          `yaml:"files"`    // files, and folders of *.yaml
	Priority     string            `yaml:"priority"` // rules that are less urgent are not loaded
	Matching     string            `yaml:"matching"` // first: of the rules that match an event only the first one counts; all
	Select       []Select          `yaml:"select"`   // in this order, over what the files say
	Scope        []Scope           `yaml:"scope"`
	AppendOutput []AppendOutput    `yaml:"append_output"`
	StaticFields map[string]string `yaml:"static_fields"` // fields static.NAME
	Rate         Rate              `yaml:"rate"`          // of the alerts of each rule
	Format       AlertFormat       `yaml:"format"`
	Outputs      Outputs           `yaml:"outputs"`
}

// Default loads our own rules, and tells of hits nowhere but in the series and at /api/yagura/hits.
var Default = Config{Pack: true, Priority: "debug", Matching: "first", Rate: DefaultRate, Format: DefaultAlertFormat,
	Outputs: Outputs{Queue: 2000, Syslog: SyslogOutput{Tag: "yagura"}, HTTP: HTTPOutput{Timeout: 5 * time.Second}}}

// A Select turns rules on or off.
type Select struct {
	Enable  *Match `yaml:"enable"`
	Disable *Match `yaml:"disable"`
}

// A Match is true of rules by their name, in which * and ? are wild cards, or by a tag.
type Match struct {
	Rule string `yaml:"rule"`
	Tag  string `yaml:"tag"`
}

// A Scope bounds rules to some workloads, without editing them. Of each list one pattern must match, where * and ? are
// wild cards; an empty list is not asked. Host says whether the host's own processes are in scope.
type Scope struct {
	Match      `yaml:",inline"`
	Namespaces []string `yaml:"namespaces"`
	Pods       []string `yaml:"pods"`
	Containers []string `yaml:"containers"`
	Images     []string `yaml:"images"` // image without tag
	Host       bool     `yaml:"host"`
	Except     bool     `yaml:"except"` // turns it round: everywhere but there
}

// AppendOutput adds to what rules tell.
type AppendOutput struct {
	Match       OutputMatch `yaml:"match"` // without a source: all whose events have the fields
	ExtraOutput string      `yaml:"extra_output"`
	ExtraFields []any       `yaml:"extra_fields"` // names of fields, or {NAME: "text with %fields"}
	Suggested   *bool       `yaml:"suggested_output"`
}

// OutputMatch chooses rules: all conditions that are given must hold.
type OutputMatch struct {
	Rule   string   `yaml:"rule"`
	Source string   `yaml:"source"`
	Tags   []string `yaml:"tags"`
}

// Validate refuses what cannot be meant.
func (c Config) Validate() error {
	if _, err := event.PriorityNamed(c.Priority); err != nil {
		return fmt.Errorf("rules: priority: %w", err)
	}
	if c.Matching != "first" && c.Matching != "all" {
		return fmt.Errorf("rules: matching: %q: want first or all", c.Matching)
	}
	for i, s := range c.Select {
		if m := s.match(); (s.Enable == nil) == (s.Disable == nil) || (m.Rule == "") == (m.Tag == "") {
			return fmt.Errorf("rules: select: entry %d: want enable or disable, with a rule or a tag", i+1)
		}
	}
	for i, a := range c.AppendOutput {
		if _, err := a.fields(); err != nil {
			return fmt.Errorf("rules: append_output: entry %d: %w", i+1, err)
		}
	}
	if err := c.Rate.Validate(); err != nil {
		return err
	}
	return c.Outputs.Validate()
}

func (s Select) match() Match {
	if s.Enable != nil {
		return *s.Enable
	}
	if s.Disable != nil {
		return *s.Disable
	}
	return Match{}
}

//go:embed detect/*.yaml
var pack embed.FS

// Pack returns our own rules, in the order of the names of their files.
func Pack() ([]File, error) {
	names, err := fs.Glob(pack, "detect/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list our own rules: %w", err)
	}
	files := make([]File, len(names))
	for i, name := range names {
		text, err := pack.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read our own rules: %w", err)
		}
		files[i] = File{Name: path.Join("yagura", name), Text: text}
	}
	return files, nil
}

// Only is the configuration with other files instead of its own; with none it is the same.
func (c Config) Only(files []string) Config {
	if len(files) > 0 {
		c.Pack, c.Files = false, files
	}
	return c
}

// files reads all that the configuration names.
func (c Config) files() ([]File, error) {
	var all []File
	if c.Pack {
		own, err := Pack()
		if err != nil {
			return nil, err
		}
		all = own
	}
	return append(all, ReadFiles(c.Files)...), nil
}

// scopeOf is the condition that scopes add to a rule, nil for none.
func (c Config) scopeOf(r *Rule) (expr.Node, error) {
	var all []expr.Node
	for i, s := range c.Scope {
		if !s.Match.matches(r) {
			continue
		}
		n, err := expr.Parse(s.condition())
		if err != nil {
			return nil, fmt.Errorf("rules: scope: entry %d: %w", i+1, err)
		}
		all = append(all, n)
	}
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return all[0], nil
	}
	return &expr.And{Items: all}, nil
}

// matches says whether a rule is meant; an empty Match means all.
func (m Match) matches(r *Rule) bool {
	return (m.Rule == "" || wildcard(m.Rule, r.Name)) && (m.Tag == "" || slices.Contains(r.Tags, m.Tag))
}

// condition writes the scope in the language.
func (s Scope) condition() string {
	host := "container.id = host"
	inside := []string{"container.id != host"}
	for _, list := range []struct {
		field    string
		patterns []string
	}{{"k8s.ns.name", s.Namespaces}, {"k8s.pod.name", s.Pods}, {"container.name", s.Containers}, {"container.image.repository", s.Images}} {
		if len(list.patterns) == 0 {
			continue
		}
		quoted := make([]string, len(list.patterns))
		for i, p := range list.patterns {
			quoted[i] = expr.PrintOperand(&expr.Literal{Text: p})
		}
		inside = append(inside, list.field+" glob oneof ("+strings.Join(quoted, ", ")+")")
	}
	text := "(" + strings.Join(inside, " and ") + ")"
	switch {
	case s.Host && len(inside) == 1:
		text = host
	case s.Host:
		text = "(" + host + " or " + text + ")"
	}
	if s.Except {
		return "not " + text
	}
	return text
}

// suggested is what alerts show of the container, as other engines do.
const suggested = " container_id=%container.id container_name=%container.name container_image_repository=%container.image.repository" +
	" container_image_tag=%container.image.tag k8s_pod_name=%k8s.pod.name k8s_ns_name=%k8s.ns.name"

// A namedText is a value of alerts that is put together.
type namedText struct{ name, text string }

// extra is what is appended to a rule's output, and what its alerts show besides. The language is that of the rule.
func (c Config) extra(r *Rule, l *expr.Language[Record]) (output string, fields []namedText) {
	withSuggested := true
	for _, a := range c.AppendOutput {
		if !a.Match.matches(r) || r.Source != event.SyscallSource && a.Match.Source == "" && !a.isFor(l) {
			continue
		}
		if a.ExtraOutput != "" {
			output += " " + a.ExtraOutput
		}
		if a.Suggested != nil {
			withSuggested = *a.Suggested
		}
		more, _ := a.fields() // Validate has looked
		fields = append(fields, more...)
	}
	if withSuggested {
		output = suggested + output
	}
	return output, fields
}

func (m OutputMatch) matches(r *Rule) bool {
	return (m.Rule == "" || m.Rule == r.Name) && (m.Source == "" || m.Source == r.Source) &&
		!slices.ContainsFunc(m.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) })
}

// isFor says whether a language has all fields that are shown.
func (a AppendOutput) isFor(l *expr.Language[Record]) bool {
	all, err := a.fields()
	for _, f := range append(all, namedText{text: a.ExtraOutput}) {
		if _, unknown := NewFormat(l, f.text); unknown != nil {
			err = unknown
		}
	}
	return err == nil
}

func (a AppendOutput) fields() (all []namedText, err error) {
	for _, f := range a.ExtraFields {
		switch f := f.(type) {
		case string:
			all = append(all, namedText{f, "%" + strings.TrimPrefix(f, "%")})
		case map[string]any:
			for name, text := range f {
				s, ok := text.(string)
				if !ok {
					return nil, fmt.Errorf("extra_fields: %s: want a text with %%fields", name)
				}
				all = append(all, namedText{name, s})
			}
		default:
			return nil, fmt.Errorf("extra_fields: %v: want the name of a field, or NAME: \"text with %%fields\"", f)
		}
	}
	slices.SortFunc(all, func(a, b namedText) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// wildcard compares a whole text with a pattern in which * stands for any text and ? for any character.
func wildcard(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
