// Command arrows enforces the depguard rules of .ci/golangci.yml without golangci-lint, so that the arrows of the
// design hold in every test run. It understands as much of depguard as that file uses.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

func main() {
	config := flag.String("config", ".ci/golangci.yml", "where the depguard rules are")
	flag.Parse()
	rules, err := readRules(*config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "arrows:", err)
		os.Exit(2)
	}
	packages, err := listPackages()
	if err != nil {
		fmt.Fprintln(os.Stderr, "arrows:", err)
		os.Exit(2)
	}
	broken := check(rules, packages)
	for _, b := range broken {
		fmt.Println(b)
	}
	if len(broken) > 0 {
		os.Exit(1)
	}
	fmt.Printf("%d packages keep %d rules\n", len(packages), len(rules))
}

// A rule is one of depguard's.
type rule struct {
	Mode  string   `yaml:"list-mode"`
	Files []string `yaml:"files"`
	Allow []string `yaml:"allow"`
	Deny  []struct {
		Pkg  string `yaml:"pkg"`
		Desc string `yaml:"desc"`
	} `yaml:"deny"`
}

func readRules(path string) (map[string]rule, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]rule `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	rules := config.Linters.Settings.Depguard.Rules
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s has no depguard rules", path)
	}
	return rules, nil
}

// A pkg is one of ours and what its files, without tests, import.
type pkg struct {
	Dir     string
	GoFiles []string
	Imports []string
	Module  struct{ Dir string }
}

func listPackages() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=Dir,GoFiles,Imports,Module", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []pkg
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

func check(rules map[string]rule, packages []pkg) []string {
	var broken []string
	for _, p := range packages {
		dir, err := filepath.Rel(p.Module.Dir, p.Dir)
		if err != nil || len(p.GoFiles) == 0 {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			r := rules[name]
			if !r.covers("/" + filepath.Join(dir, p.GoFiles[0])) {
				continue
			}
			for _, imported := range p.Imports {
				if why, ok := r.permits(imported); !ok {
					broken = append(broken, fmt.Sprintf("%s imports %s, against rule %s: %s", dir, imported, name, why))
				}
			}
		}
	}
	return broken
}

func (r rule) covers(file string) bool {
	covered := false
	for _, glob := range r.Files {
		if negated, ok := strings.CutPrefix(glob, "!"); ok {
			if negated != "$test" && globPattern(negated).MatchString(file) {
				return false
			}
			continue
		}
		covered = covered || globPattern(glob).MatchString(file)
	}
	return covered
}

// globPattern knows * within a name and ** across folders.
func globPattern(glob string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(glob)
	quoted = strings.ReplaceAll(quoted, `\*\*`, "\x00")
	quoted = strings.ReplaceAll(quoted, `\*`, `[^/]*`)
	return regexp.MustCompile("^" + strings.ReplaceAll(quoted, "\x00", ".*") + "$")
}

// permits follows depguard: strict forbids what is not allowed; lax allows what is not denied, and of an allowed
// and a denied name the longer one counts.
func (r rule) permits(imported string) (why string, ok bool) {
	allowed := -1
	for _, name := range r.Allow {
		if matches(name, imported) {
			allowed = max(allowed, len(name))
		}
	}
	for _, d := range r.Deny {
		if matches(d.Pkg, imported) && len(d.Pkg) > allowed {
			return d.Desc, false
		}
	}
	if r.Mode == "strict" && allowed < 0 {
		return "it may import only " + strings.Join(r.Allow, ", "), false
	}
	return "", true
}

func matches(name, imported string) bool {
	if name == "$gostd" {
		first, _, _ := strings.Cut(imported, "/")
		return !strings.Contains(first, ".")
	}
	if exact, ok := strings.CutSuffix(name, "$"); ok {
		return imported == exact
	}
	return imported == name || strings.HasPrefix(imported, name+"/")
}
