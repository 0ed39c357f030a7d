package promql

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/file" // file_sd_configs
	_ "github.com/prometheus/prometheus/discovery/http" // http_sd_configs
)

// maxFile bounds the files that users give us.
const maxFile = 16 << 20

// discoveries are the ways to find targets that are built in. The others would double the program.
var discoveries = []string{"static_configs", "file_sd_configs", "http_sd_configs"}

// refused are the parts of a Prometheus configuration that have no meaning here, and what has.
var refused = map[string]string{
	"storage": "want store.retention, max_size and out_of_order_window in Yagura's own configuration",
	"tracing": "Yagura sends no traces",
	"runtime": "want GOGC in the environment, and Yagura's --log.level",
}

// readPrometheus reads a user's configuration file of Prometheus. Every error names the file, and the line where it is known.
func readPrometheus(path string, agent bool, log *slog.Logger) (*config.Config, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	if err := supported(path, text); err != nil {
		return nil, err
	}
	cfg, err := config.Load(string(text), log)
	if err != nil {
		return nil, located(path, err)
	}
	cfg.SetDirectory(filepath.Dir(path))
	if err := withinAgent(cfg, agent); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, scrapeFiles(path, cfg)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return text, nil
}

func withinAgent(cfg *config.Config, agent bool) error {
	a := cfg.AlertingConfig
	switch {
	case !agent:
		return nil
	case len(cfg.RuleFiles) > 0:
		return errors.New("rule_files: not in agent mode")
	case len(a.AlertmanagerConfigs) > 0 || len(a.AlertRelabelConfigs) > 0:
		return errors.New("alerting: not in agent mode")
	case len(cfg.RemoteReadConfigs) > 0:
		return errors.New("remote_read: not in agent mode")
	}
	return nil
}

// scrapeFiles looks at what scrape_config_files name.
func scrapeFiles(path string, cfg *config.Config) error {
	for _, pattern := range cfg.ScrapeConfigFiles {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("%s: scrape_config_files: %s: %w", path, pattern, err)
		}
		for _, f := range files {
			text, err := readBounded(f)
			if err != nil {
				return err
			}
			if err := supported(f, text); err != nil {
				return err
			}
		}
	}
	if _, err := cfg.GetScrapeConfigs(); err != nil {
		return located(path, err)
	}
	return nil
}

// supported says where a file asks for what we have not. It leaves to Prometheus to say what is no good YAML.
func supported(path string, text []byte) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) == 0 {
		return nil
	}
	v := &finder{path: path}
	v.mapping(file.Docs[0].Body, v.top)
	return errors.Join(v.found...)
}

// A finder walks a configuration of Prometheus and gathers what we have not.
type finder struct {
	path  string
	found []error
}

func (f *finder) add(at ast.Node, format string, args ...any) {
	p := at.GetToken().Position
	f.found = append(f.found, fmt.Errorf("%s:%d:%d: %s", f.path, p.Line, p.Column, fmt.Sprintf(format, args...)))
}

// mapping calls do for every key of a mapping, anchors and merged mappings included.
func (f *finder) mapping(n ast.Node, do func(name string, key ast.MapKeyNode, value ast.Node)) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		f.mapping(n.Value, do)
	case *ast.MappingNode:
		for _, v := range n.Values {
			do(v.Key.GetToken().Value, v.Key, v.Value)
		}
	case *ast.MappingValueNode:
		do(n.Key.GetToken().Value, n.Key, n.Value)
	}
}

func (f *finder) sequence(n ast.Node, do func(ast.Node)) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		f.sequence(n.Value, do)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			do(v)
		}
	}
}

func (f *finder) top(name string, key ast.MapKeyNode, value ast.Node) {
	switch name {
	case "global":
		f.mapping(value, func(name string, key ast.MapKeyNode, _ ast.Node) {
			if name == "query_log_file" {
				f.add(key, "query_log_file is not supported")
			}
		})
	case "scrape_configs":
		f.sequence(value, func(n ast.Node) { f.mapping(n, f.scrape) })
	case "alerting":
		f.mapping(value, func(name string, _ ast.MapKeyNode, value ast.Node) {
			if name == "alertmanagers" {
				f.sequence(value, func(n ast.Node) { f.mapping(n, f.discovery) })
			}
		})
	default:
		if instead, ok := refused[name]; ok {
			f.add(key, "%s is not supported: %s", name, instead)
		}
	}
}

func (f *finder) scrape(name string, key ast.MapKeyNode, value ast.Node) {
	if name == "job_name" && value != nil && value.GetToken().Value == job {
		f.add(value, "job_name %s is that of Yagura's own job, which is added: want another", job)
	}
	f.discovery(name, key, value)
}

func (f *finder) discovery(name string, key ast.MapKeyNode, _ ast.Node) {
	if strings.HasSuffix(name, "_sd_configs") && !slices.Contains(discoveries, name) {
		f.add(key, "%s is not supported: want %s", name, strings.Join(discoveries, ", "))
	}
}

// where finds the line numbers in what YAML libraries and Prometheus say.
var where = regexp.MustCompile(`(?m)^\s*(?:yaml: )?(?:line )?(\d+)(:\d+)?: `)

// located puts the file before an error, and its line if the error says it, in the order that editors understand.
func located(path string, err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n"), path+": ")
	at := where.FindAllStringSubmatchIndex(text, -1)
	if len(at) == 0 {
		return fmt.Errorf("%s: %s", path, oneLine(text))
	}
	var all []error
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		column := ""
		if m[4] >= 0 {
			column = text[m[4]:m[5]]
		}
		at := ":" + text[m[2]:m[3]] + column
		if at == ":0:0" { // Prometheus has not kept it
			at = ""
		}
		all = append(all, fmt.Errorf("%s%s: %s", path, at, oneLine(text[m[1]:end])))
	}
	return errors.Join(all...)
}
