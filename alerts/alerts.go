// Package alerts is what is worth waking someone for: packs of Prometheus rules, each alert with its tests and its
// runbook. It knows nothing of who evaluates them.
//
// A pack is three files: NAME.yaml, which any Prometheus loads, tests/NAME.yaml for promtool, and runbooks/NAME.md with
// one section for each alert. The number that an alert compares with stands in its expression and nowhere else; whoever
// draws it asks Threshold.
package alerts

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed *.yaml runbooks/*.md
var files embed.FS

// names is the one list of packs, in the order in which they are shown.
var names = []string{"node", "containers", "golden", "slo", "security", "fim", "posture", "meta"}

// A Pack is a file of rules about one subject.
type Pack struct {
	Name string
	File []byte // as Prometheus reads it
}

// Packs returns all packs, in order.
func Packs() []Pack {
	var packs []Pack
	for _, name := range names {
		text, err := files.ReadFile(name + ".yaml")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		packs = append(packs, Pack{Name: name, File: text})
	}
	return packs
}

// An Alert is one alerting rule of a pack.
type Alert struct {
	Pack          string
	Group         string
	Name          string
	Expr          string
	For           string // a duration as Prometheus writes it; empty if it fires at once
	KeepFiringFor string
	Severity      string // critical, warning, info, or none for what fires always
	Component     string
	Summary       string
	Description   string
	Runbook       string // the address of the runbook's section
}

// All returns the alerts of all packs, in the order of their files.
func All() []Alert { return slices.Clone(all()) }

var all = sync.OnceValue(func() []Alert {
	var alerts []Alert
	for _, p := range Packs() {
		f, err := parse(p.Name+".yaml", p.File)
		if err != nil {
			panic(err) // the files are part of the program
		}
		alerts = append(alerts, f.alerts(p.Name)...)
	}
	return alerts
})

// Find returns the alert of that name; the first, where a generated pack has several.
func Find(name string) (Alert, bool) {
	i := slices.IndexFunc(all(), func(a Alert) bool { return a.Name == name })
	if i < 0 {
		return Alert{}, false
	}
	return all()[i], true
}

// Threshold returns the number that the alert compares with: the literal of the right-most comparison of its expression
// that stands in no parentheses. Conditions that only guard the alert therefore stand in parentheses. It panics for an
// alert that does not exist or compares with no number, since both are mistakes of the program.
func Threshold(name string) float64 {
	a, ok := Find(name)
	if !ok {
		panic(fmt.Sprintf("alerts: no alert is called %q", name))
	}
	v, err := threshold(a.Expr)
	if err != nil {
		panic(fmt.Sprintf("alerts: %s: %v", name, err))
	}
	return v
}

// A file is a rule file as Prometheus reads it.
type file struct {
	Groups []group `yaml:"groups"`
}

type group struct {
	Name        string            `yaml:"name"`
	Interval    string            `yaml:"interval,omitempty"`
	QueryOffset string            `yaml:"query_offset,omitempty"`
	Limit       int               `yaml:"limit,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Rules       []rule            `yaml:"rules"`
}

type rule struct {
	Record        string            `yaml:"record,omitempty"`
	Alert         string            `yaml:"alert,omitempty"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for,omitempty"`
	KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels,omitempty"`
	Annotations   map[string]string `yaml:"annotations,omitempty"`
}

func parse(name string, text []byte) (file, error) {
	var f file
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (f file) alerts(pack string) []Alert {
	var alerts []Alert
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			alerts = append(alerts, Alert{
				Pack: pack, Group: g.Name, Name: r.Alert, Expr: r.Expr, For: r.For, KeepFiringFor: r.KeepFiringFor,
				Severity: r.Labels["severity"], Component: r.Labels["component"],
				Summary: r.Annotations["summary"], Description: r.Annotations["description"], Runbook: r.Annotations["runbook_url"],
			})
		}
	}
	return alerts
}

// Runbook returns the section of the alert's runbook, as markdown with its heading.
func Runbook(name string) (string, bool) {
	a, ok := Find(name)
	if !ok {
		return "", false
	}
	text, err := files.ReadFile("runbooks/" + a.Pack + ".md")
	if err != nil {
		return "", false
	}
	return section(string(text), name)
}

// section cuts the part under the heading `## name` out of a runbook.
func section(text, name string) (string, bool) {
	_, rest, ok := strings.Cut("\n"+text, "\n## "+name+"\n")
	if !ok {
		return "", false
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return "## " + name + "\n" + strings.TrimRight(body, "\n") + "\n", true
}

// Mount adds the runbooks at /api/yagura/runbooks/NAME.
func Mount(mux *http.ServeMux) { mux.Handle("/api/yagura/runbooks/", Handler()) }

// Handler serves the runbook of the alert whose name is the last part of the path, such as
// /api/yagura/runbooks/NodeFilesystemFull, as markdown.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "runbooks are only read", http.StatusMethodNotAllowed)
			return
		}
		name := path.Base(r.URL.Path)
		text, ok := Runbook(name)
		if !ok {
			http.Error(w, fmt.Sprintf("no alert is called %q", name), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		fmt.Fprint(w, text)
	})
}
