package alerts

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Config is the part of the configuration file that is about alerts.
type Config struct {
	Packs   []string `yaml:"packs"`   // names of packs; all where the list is missing, none where it is empty
	Without []string `yaml:"without"` // names of alerts that are left out
	SLOs    []SLO    `yaml:"slos"`    // objectives for which burn-rate alerts are made; those that are shipped where the list is empty
}

// Default is the configuration where the file says nothing: everything.
var Default = Config{}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	_, err := c.Rules(0)
	return err
}

// Rules returns the rule files that the configuration asks for, by name, as a store reads them that keeps samples for that long;
// 0 is for ever.
func (c Config) Rules(retention time.Duration) (map[string][]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, p := range Packs() {
		if c.Packs != nil && !slices.Contains(c.Packs, p.Name) {
			continue
		}
		name, text := p.Name+".yaml", p.File
		var err error
		if p.Name == "slo" {
			if text, err = Generate(c.objectives(), retention); err != nil {
				return nil, fmt.Errorf("alerts.slos: %w", err)
			}
		}
		if out[name], err = without(name, text, c.Without); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c Config) objectives() []SLO {
	if len(c.SLOs) > 0 {
		return c.SLOs
	}
	return DefaultSLOs()
}

func (c Config) check() error {
	for i, name := range c.Packs {
		if !slices.Contains(names, name) {
			return fmt.Errorf("alerts.packs[%d]: no pack is called %q: want one of %s", i, name, strings.Join(names, ", "))
		}
	}
	for i, name := range c.Without {
		if _, ok := Find(name); !ok {
			return fmt.Errorf("alerts.without[%d]: no alert is called %q%s", i, name, meant(name))
		}
	}
	return nil
}

// meant names the alerts that differ from name only in how they are written, or begin with it.
func meant(name string) string {
	for _, a := range all() {
		if strings.EqualFold(a.Name, name) || len(name) > 3 && strings.HasPrefix(strings.ToLower(a.Name), strings.ToLower(name)) {
			return fmt.Sprintf(" (%s?)", a.Name)
		}
	}
	return ""
}

// without returns the rule file without those alerts: as it is, with its comments, if it has none of them.
func without(name string, text []byte, alerts []string) ([]byte, error) {
	if len(alerts) == 0 {
		return text, nil
	}
	f, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	dropped := false
	for i, g := range f.Groups {
		f.Groups[i].Rules = slices.DeleteFunc(g.Rules, func(r rule) bool {
			drop := r.Alert != "" && slices.Contains(alerts, r.Alert)
			dropped = dropped || drop
			return drop
		})
	}
	if !dropped {
		return text, nil
	}
	f.Groups = slices.DeleteFunc(f.Groups, func(g group) bool { return len(g.Rules) == 0 })
	return yaml.Marshal(f)
}
