package promql

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
)

// Config is the part of the configuration file that is about the store.
type Config struct {
	Retention           model.Duration    `yaml:"retention"`             // how long samples are kept, in Prometheus' units: 15d
	MaxSize             units.Base2Bytes  `yaml:"max_size"`              // how many bytes of blocks are kept; 0 means no limit
	ScrapeInterval      time.Duration     `yaml:"scrape_interval"`       // how often this program reads itself
	EvaluationInterval  time.Duration     `yaml:"evaluation_interval"`   // how often rules are evaluated; 0: the file of prometheus, else scrape_interval
	OutOfOrderWindow    time.Duration     `yaml:"out_of_order_window"`   // how much older than the newest a sample may be; 0 takes none
	ExternalLabels      map[string]string `yaml:"external_labels"`       // what tells this store from others when samples leave it
	RuleFiles           []string          `yaml:"rule_files"`            // patterns of files, beside the packs
	Alertmanagers       []Alertmanager    `yaml:"alertmanagers"`         // where alerts go
	RemoteWrite         []RemoteWrite     `yaml:"remote_write"`          // where samples go
	Backlog             units.Base2Bytes  `yaml:"remote_write_backlog"`  // how much may wait on the disk for receivers; 0 means no limit but retention
	RemoteWriteReceiver bool              `yaml:"remote_write_receiver"` // take samples at /api/v1/write
	OTLPReceiver        bool              `yaml:"otlp_receiver"`         // take samples at /api/v1/otlp/v1/metrics
	Agent               bool              `yaml:"agent"`                 // only pass samples on: no queries, no rules
	Prometheus          string            `yaml:"prometheus"`            // a configuration file of Prometheus
	ExternalURL         string            `yaml:"external_url"`          // where users reach this program, for the links of alerts; read at the start
	Query               QueryLimits       `yaml:"query"`
}

// QueryLimits bound what one query, and all of them together, may cost.
type QueryLimits struct {
	Timeout        time.Duration `yaml:"timeout"`
	MaxSamples     int           `yaml:"max_samples"` // in memory at once
	MaxConcurrency int           `yaml:"max_concurrency"`
}

// An Alertmanager is sent all alerts.
type Alertmanager struct {
	URL    string `yaml:"url"`
	Access `yaml:",inline"`
}

// A RemoteWrite is a receiver of all samples.
type RemoteWrite struct {
	Name     string            `yaml:"name"` // in series and logs; a part of a hash if empty
	URL      string            `yaml:"url"`
	Protobuf string            `yaml:"protobuf"` // the message's version: v1, v2; v1 if empty
	Headers  map[string]string `yaml:"headers"`
	Relabel  []map[string]any  `yaml:"relabel"`           // as Prometheus' write_relabel_configs
	Native   *bool             `yaml:"native_histograms"` // send them; with v2 if unset, as receivers of v1 may choke on them
	Access   `yaml:",inline"`
}

// Access is how to show oneself to a server, and how to know it. Secrets are only read from files, at every use.
type Access struct {
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	TokenFile    string `yaml:"token_file"` // a bearer token, instead of user and password
	CAFile       string `yaml:"ca_file"`
	CertFile     string `yaml:"cert_file"` // of us
	KeyFile      string `yaml:"key_file"`
}

// Default is the configuration where the file says nothing.
var Default = Config{
	Retention:      model.Duration(15 * 24 * time.Hour),
	ScrapeInterval: 15 * time.Second,
	Query:          QueryLimits{Timeout: 2 * time.Minute, MaxSamples: 50_000_000, MaxConcurrency: 20},
}

// withDefaults fills in what must not be zero.
func (c Config) withDefaults() Config {
	set := func(value, fallback *time.Duration) {
		if *value == 0 {
			*value = *fallback
		}
	}
	d := Default
	set((*time.Duration)(&c.Retention), (*time.Duration)(&d.Retention))
	set(&c.ScrapeInterval, &d.ScrapeInterval)
	set(&c.Query.Timeout, &d.Query.Timeout)
	if c.Query.MaxSamples == 0 {
		c.Query.MaxSamples = d.Query.MaxSamples
	}
	if c.Query.MaxConcurrency == 0 {
		c.Query.MaxConcurrency = d.Query.MaxConcurrency
	}
	return c
}

// Validate says what in c cannot work, as far as that can be told without reading other files.
func (c Config) Validate() error {
	var all []error
	wrong := func(field, format string, args ...any) {
		all = append(all, fmt.Errorf("store.%s: %s", field, fmt.Sprintf(format, args...)))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"retention", int64(c.Retention)}, {"max_size", int64(c.MaxSize)}, {"scrape_interval", int64(c.ScrapeInterval)},
		{"evaluation_interval", int64(c.EvaluationInterval)}, {"out_of_order_window", int64(c.OutOfOrderWindow)},
		{"remote_write_backlog", int64(c.Backlog)}, {"query.timeout", int64(c.Query.Timeout)},
		{"query.max_samples", int64(c.Query.MaxSamples)}, {"query.max_concurrency", int64(c.Query.MaxConcurrency)},
	} {
		if f.value < 0 {
			wrong(f.name, "must not be negative")
		}
	}
	if c.ExternalURL != "" {
		if err := checkURL(c.ExternalURL); err != nil {
			wrong("external_url", "%v", err)
		}
	}
	for i, a := range c.Alertmanagers {
		if err := cmp.Or(checkURL(a.URL), a.check()); err != nil {
			wrong(fmt.Sprintf("alertmanagers[%d]", i), "%v", err)
		}
	}
	for i, r := range c.RemoteWrite {
		if err := cmp.Or(checkURL(r.URL), r.check(), r.checkVersion()); err != nil {
			wrong(fmt.Sprintf("remote_write[%d]", i), "%v", err)
		}
	}
	if c.Agent {
		for field, set := range map[string]bool{
			"rule_files": len(c.RuleFiles) > 0, "alertmanagers": len(c.Alertmanagers) > 0,
			"remote_write_receiver": c.RemoteWriteReceiver, "otlp_receiver": c.OTLPReceiver,
		} {
			if set {
				wrong(field, "not in agent mode, which only scrapes and passes samples on")
			}
		}
		if len(c.RemoteWrite) == 0 && c.Prometheus == "" {
			wrong("agent", "needs a remote_write")
		}
	}
	return errors.Join(all...)
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("url: %q: want http://HOST:PORT or https://HOST:PORT", text)
	case u.User != nil:
		return errors.New("url: has a user: want user and password_file")
	}
	return nil
}

func (a Access) check() error {
	switch {
	case a.TokenFile != "" && (a.User != "" || a.PasswordFile != ""):
		return errors.New("token_file: not together with user and password_file")
	case a.PasswordFile != "" && a.User == "":
		return errors.New("password_file: needs user")
	case (a.CertFile == "") != (a.KeyFile == ""):
		return errors.New("cert_file: needs key_file, and key_file needs cert_file")
	}
	return nil
}

// messages are Prometheus' names for the versions of a remote write message.
var messages = map[string]string{"": "prometheus.WriteRequest", "v1": "prometheus.WriteRequest", "v2": "io.prometheus.write.v2.Request"}

func (r RemoteWrite) checkVersion() error {
	if messages[r.Protobuf] == "" {
		return fmt.Errorf("protobuf: %q: want v1 or v2", r.Protobuf)
	}
	return nil
}

// settings is what c says of the local database, as Prometheus calls it.
func (c Config) settings() config.StorageConfig {
	return config.StorageConfig{
		TSDBConfig: &config.TSDBConfig{
			OutOfOrderTimeWindow: c.OutOfOrderWindow.Milliseconds(),
			Retention:            &config.TSDBRetentionConfig{Time: c.Retention, Size: c.MaxSize},
		},
		ExemplarsConfig: &config.ExemplarsConfig{MaxExemplars: maxExemplars},
	}
}

// native is what the user of a Prometheus would write into its configuration file for the same.
// Without an instance it does not scrape ourselves.
func (c Config) native(instance string, log *slog.Logger) (*config.Config, error) {
	jobs := []any{}
	if instance != "" {
		jobs = append(jobs, ownJob(instance))
	}
	external := map[string]string{}
	for name, value := range c.ExternalLabels {
		external[name] = strings.ReplaceAll(value, "$", "$$") // Prometheus puts the environment in here, we do not
	}
	interval := model.Duration(c.ScrapeInterval).String()
	evaluate := c.ScrapeInterval
	if c.EvaluationInterval > 0 {
		evaluate = c.EvaluationInterval
	}
	text, err := json.Marshal(map[string]any{ // JSON is YAML
		"global": map[string]any{
			"scrape_interval":     interval,
			"scrape_timeout":      model.Duration(min(c.ScrapeInterval, 10*time.Second)).String(),
			"evaluation_interval": model.Duration(evaluate).String(),
			"external_labels":     external,
		},
		"rule_files":     c.RuleFiles,
		"scrape_configs": jobs,
		"alerting":       map[string]any{"alertmanagers": mapped(c.Alertmanagers, Alertmanager.native)},
		"remote_write":   mapped(c.RemoteWrite, RemoteWrite.native),
	})
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(string(text), log)
	if err != nil {
		// It is one line, so its number says nothing.
		return nil, fmt.Errorf("read store configuration: %s", oneLine(err.Error()))
	}
	return cfg, nil
}

func mapped[T any](all []T, f func(T) map[string]any) []map[string]any {
	out := []map[string]any{}
	for _, v := range all {
		out = append(out, f(v))
	}
	return out
}

func ownJob(instance string) map[string]any {
	return map[string]any{
		"job_name":                         job,
		"honor_labels":                     true,
		"enable_compression":               false,
		"scrape_native_histograms":         true,
		"always_scrape_classic_histograms": true,
		"scrape_protocols":                 []string{"PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"},
		"static_configs":                   []any{map[string]any{"targets": []string{selfAddress}, "labels": map[string]string{"instance": instance}}},
	}
}

func (a Alertmanager) native() map[string]any {
	u, _ := url.Parse(a.URL) // Validate has seen it
	m := map[string]any{
		"scheme":         u.Scheme,
		"path_prefix":    u.Path,
		"static_configs": []any{map[string]any{"targets": []string{u.Host}}},
	}
	a.add(m)
	return m
}

func (r RemoteWrite) native() map[string]any {
	native := r.Protobuf == "v2"
	if r.Native != nil {
		native = *r.Native
	}
	m := map[string]any{
		"url":                    r.URL,
		"protobuf_message":       messages[r.Protobuf],
		"headers":                r.Headers,
		"send_exemplars":         true,
		"send_native_histograms": native,
		"write_relabel_configs":  r.Relabel,
	}
	if r.Name != "" {
		m["name"] = r.Name
	}
	r.add(m)
	return m
}

func (a Access) add(m map[string]any) {
	if a.User != "" {
		m["basic_auth"] = map[string]string{"username": a.User, "password_file": a.PasswordFile}
	}
	if a.TokenFile != "" {
		m["authorization"] = map[string]string{"credentials_file": a.TokenFile}
	}
	tls := map[string]string{}
	for name, file := range map[string]string{"ca_file": a.CAFile, "cert_file": a.CertFile, "key_file": a.KeyFile} {
		if file != "" {
			tls[name] = file
		}
	}
	if len(tls) > 0 {
		m["tls_config"] = tls
	}
}

// A plan is all that a configuration asks of the parts of a store.
type plan struct {
	config    Config
	merged    *config.Config // as Prometheus' parts read it
	packs     map[string][]byte
	ruleFiles []string // what the patterns match now, and the packs
}

// compile reads all files that a configuration names, and finds what is wrong in any.
func compile(c Config, rules RuleFiles, instance string, log *slog.Logger) (*plan, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	packs, err := rules.within(c)
	if err != nil {
		return nil, err
	}
	own, err := c.native(instance, log)
	if err != nil {
		return nil, err
	}
	p := &plan{config: c, merged: own, packs: packs}
	if c.Prometheus != "" {
		if p.merged, err = readPrometheus(c.Prometheus, c.Agent, log); err != nil {
			return nil, err
		}
		if err := join(p.merged, own, c); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Prometheus, err)
		}
	}
	p.merged.StorageConfig = c.settings()
	if err := checkAccess(p.merged); err != nil {
		return nil, err
	}
	if c.Agent {
		p.packs = nil
		return p, nil
	}
	p.ruleFiles, err = ruleFiles(p.merged.RuleFiles, packs)
	if err != nil {
		return nil, err
	}
	return p, checkRules(p, log)
}

// checkAccess reads the files with secrets and certificates. Prometheus reads them later, and then can only log.
func checkAccess(c *config.Config) error {
	jobs, err := c.GetScrapeConfigs()
	if err != nil {
		return err
	}
	all := map[string]promconfig.HTTPClientConfig{}
	for _, j := range jobs {
		all["scrape job "+j.JobName] = j.HTTPClientConfig
	}
	for i, a := range c.AlertingConfig.AlertmanagerConfigs {
		all[fmt.Sprintf("alertmanagers[%d]", i)] = a.HTTPClientConfig
	}
	for _, r := range c.RemoteWriteConfigs {
		all["remote_write "+r.URL.Redacted()] = r.HTTPClientConfig
	}
	for _, r := range c.RemoteReadConfigs {
		all["remote_read "+r.URL.Redacted()] = r.HTTPClientConfig
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := readable(all[name]); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

func readable(c promconfig.HTTPClientConfig) error {
	var files []string
	if c.BasicAuth != nil {
		files = append(files, c.BasicAuth.UsernameFile, c.BasicAuth.PasswordFile)
	}
	if c.Authorization != nil {
		files = append(files, c.Authorization.CredentialsFile)
	}
	for _, f := range files {
		if f == "" {
			continue
		}
		if _, err := readBounded(f); err != nil {
			return err
		}
	}
	_, err := promconfig.NewTLSConfig(&c.TLSConfig)
	return err
}

// join adds to a user's configuration of Prometheus what ours says.
func join(user, own *config.Config, c Config) error {
	external := user.GlobalConfig.ExternalLabels.Map()
	for name, value := range own.GlobalConfig.ExternalLabels.Map() {
		if theirs, ok := external[name]; ok && theirs != value {
			return fmt.Errorf("external label %s is %q, and %q in store.external_labels: want one value", name, theirs, value)
		}
		external[name] = value
	}
	user.GlobalConfig.ExternalLabels = labels.FromMap(external)
	if c.EvaluationInterval > 0 {
		user.GlobalConfig.EvaluationInterval = own.GlobalConfig.EvaluationInterval
	}
	user.RuleFiles = append(user.RuleFiles, own.RuleFiles...)
	user.ScrapeConfigs = append(own.ScrapeConfigs, user.ScrapeConfigs...)
	user.AlertingConfig.AlertmanagerConfigs = append(user.AlertingConfig.AlertmanagerConfigs, own.AlertingConfig.AlertmanagerConfigs...)
	for _, r := range own.RemoteWriteConfigs {
		same := func(u *config.RemoteWriteConfig) bool { return r.Name != "" && u.Name == r.Name }
		if slices.ContainsFunc(user.RemoteWriteConfigs, same) {
			return fmt.Errorf("remote_write %q is in store.remote_write too: want different names", r.Name)
		}
		user.RemoteWriteConfigs = append(user.RemoteWriteConfigs, r)
	}
	return nil
}

// ruleFiles are the names of all packs, and the files that the patterns match.
func ruleFiles(patterns []string, packs map[string][]byte) ([]string, error) {
	all := slices.Sorted(maps.Keys(packs))
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("rule_files: %s: %w", pattern, err)
		}
		if len(files) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return nil, fmt.Errorf("rule_files: %s: no such file", pattern)
		}
		for _, f := range files {
			if packs[f] != nil {
				return nil, fmt.Errorf("rule_files: %s: has the name of a pack: want another, or a longer path", f)
			}
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// Check says what is wrong with a configuration and all files that it names, without a store.
func Check(c Config, rules RuleFiles) error {
	_, err := compile(c, rules, "localhost", slog.New(slog.DiscardHandler))
	return err
}

func oneLine(s string) string { return string(bytes.Join(bytes.Fields([]byte(s)), []byte(" "))) }
