package promql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
)

// A checker is `yagura check FILE…`.
type checker struct {
	files     []string
	format    string
	strict    bool
	list      bool
	url       string
	interval  time.Duration
	required  []string
	annotated []string
	without   []string
	asked     QueryOptions
}

// AddCheckFiles adds to the command `check` that it may be given files: rule files, dashboards and configurations of others, told
// apart by what is in them. What it returns does the command's work if so, and says whether it was so.
func AddCheckFiles(cmd *kingpin.CmdClause) func(ctx context.Context, w io.Writer) (bool, error) {
	var c checker
	cmd.Arg("file", "Rule files, Grafana dashboards, configurations of Prometheus or Alertmanager, or folders of them; without, Yagura's own configuration is checked.").StringsVar(&c.files)
	cmd.Flag("format", "How to print what is found in files: text, json, sarif or github (annotations of a pull request).").Default("text").EnumVar(&c.format, "text", "json", "sarif", "github")
	cmd.Flag("strict", "Warnings are errors.").BoolVar(&c.strict)
	cmd.Flag("list", "List what files are checked for.").BoolVar(&c.list)
	cmd.Flag("url", "A running Yagura or Prometheus, which is asked whether the series exist and of which types they are.").StringVar(&c.url)
	cmd.Flag("scrape-interval", "How often the series are scraped.").Default("15s").DurationVar(&c.interval)
	cmd.Flag("require-label", "Label that alerts must have; may be given more than once.").Default("severity").StringsVar(&c.required)
	cmd.Flag("require-annotation", "Annotation that alerts must have; may be given more than once.").Default("summary").StringsVar(&c.annotated)
	cmd.Flag("without", "Name of a check to leave out; may be given more than once.").StringsVar(&c.without)
	cmd.Flag("user", "User name for basic authentication at --url.").StringVar(&c.asked.User)
	cmd.Flag("password-file", "File with the user's password.").StringVar(&c.asked.PasswordFile)
	cmd.Flag("ca-file", "Certificates that the server's is checked against.").StringVar(&c.asked.CAFile)
	cmd.Flag("insecure-skip-verify", "Take any certificate.").BoolVar(&c.asked.InsecureSkipVerify)
	return func(ctx context.Context, w io.Writer) (bool, error) {
		switch {
		case c.list:
			return true, writeLintRules(w)
		case len(c.files) == 0:
			return false, nil
		}
		return true, c.run(ctx, w)
	}
}

func writeLintRules(w io.Writer) error {
	for _, r := range lintRules {
		if _, err := fmt.Fprintf(w, "%-22s %-8s %s\n", r.Name, r.Severity, r.Doc); err != nil {
			return err
		}
	}
	return nil
}

// What a file is, by what is in it.
const (
	isRules        = "rule file"
	isDashboard    = "dashboard"
	isPrometheus   = "configuration of Prometheus"
	isAlertmanager = "configuration of Alertmanager"
	isDetections   = "detection rules"
	isUnitTests    = "unit tests of rules"
	isUnknown      = "unknown"
)

// A checkedFile is a file, its text and what it is.
type checkedFile struct {
	path, kind string
	text       []byte
	named      bool // by the user, not found in a folder
}

func (c *checker) run(ctx context.Context, w io.Writer) error {
	files, err := readFiles(c.files)
	if err != nil {
		return err
	}
	o := LintOptions{Strict: c.strict, ScrapeInterval: c.interval, Labels: c.required, Annotations: c.annotated, Without: c.without,
		Names: map[string]string{}, Boards: boardsOf(files)}
	for _, name := range c.without {
		if _, ok := findLintRule(name); !ok {
			return fmt.Errorf("--without: no check is called %q; see yagura check --list", name)
		}
	}
	if c.url != "" {
		if err := c.ask(ctx, files, &o); err != nil {
			return err
		}
	}
	// A configuration knows how often what its rules ask is scraped: it comes before them, and they are looked at once.
	slices.SortStableFunc(files, func(a, b checkedFile) int { return rank(a) - rank(b) })
	findings, looked, kinds := []Finding{}, map[string]bool{}, map[string]int{}
	for _, f := range files {
		found, counted := f.check(o, looked)
		findings = append(findings, found...)
		if counted {
			kinds[f.kind]++
		}
	}
	if err := writeFindings(w, c.format, findings, kinds); err != nil {
		return err
	}
	return verdict(findings, kinds)
}

func rank(f checkedFile) int {
	if f.kind == isPrometheus {
		return 0
	}
	return 1
}

// verdict is the error that the command ends with.
func verdict(findings []Finding, kinds map[string]int) error {
	bad := map[string]bool{}
	n := 0
	for _, f := range findings {
		if f.Severity == LintError {
			bad[f.File], n = true, n+1
		}
	}
	switch {
	case n > 0:
		return fmt.Errorf("%s in %s", counted(n, "error"), counted(len(bad), "file"))
	case len(kinds) == 0 && len(findings) == 0:
		return errors.New("nothing to check: no rule file, dashboard or configuration is among the files")
	}
	return nil
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// readFiles reads files, and those of folders that end in .yaml, .yml, .rules or .json.
func readFiles(paths []string) (files []checkedFile, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			f, err := readChecked(path, true)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
			continue
		}
		err = filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !entry.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml", ".rules", ".json"}, filepath.Ext(p)) {
				return err
			}
			f, err := readChecked(p, false)
			files = append(files, f)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func readChecked(path string, named bool) (checkedFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return checkedFile{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLintBytes+1))
	if err != nil {
		return checkedFile{}, fmt.Errorf("read %s: %w", path, err)
	}
	return checkedFile{path, kindOf(path, text), text, named}, nil
}

// kindOf tells what a file is by its top-level keys.
func kindOf(path string, text []byte) string {
	t := newLintText(string(text))
	if filepath.Ext(path) == ".json" {
		root, err := t.parseJSON()
		has := func(key string) bool { return root.get(key) != nil || root.get("dashboard").get(key) != nil }
		if err != nil && strings.Contains(t.text, `"panels"`) || has("panels") || has("rows") || has("schemaVersion") {
			return isDashboard
		}
		return isUnknown
	}
	root, err := t.parseYAML()
	if err != nil { // what it was meant to be is still to be seen
		return kindByLine(t.text)
	}
	return kindByKeys(func(key string) bool { return root.get(key) != nil }, root)
}

func kindByKeys(has func(string) bool, root *lintNode) string {
	switch {
	case has("rule_files") && has("tests"):
		return isUnitTests
	case has("scrape_configs"), has("rule_files"), has("remote_write"), has("alerting"), has("global") && !has("route") && !has("receivers"):
		return isPrometheus
	case has("route"), has("receivers"), has("inhibit_rules"):
		return isAlertmanager
	case has("groups"):
		return isRules
	}
	for _, item := range root.list() {
		if item.get("rule") != nil || item.get("macro") != nil || item.get("list") != nil || item.get("required_engine_version") != nil {
			return isDetections
		}
	}
	return isUnknown
}

// kindByLine is kindByKeys for what is no YAML as it is.
func kindByLine(text string) string {
	return kindByKeys(func(key string) bool {
		return strings.HasPrefix(text, key+":") || strings.Contains(text, "\n"+key+":")
	}, nil)
}

// boardsOf finds the uids of all dashboards, so that links among them are known before any is looked at.
func boardsOf(files []checkedFile) map[string]string {
	boards := map[string]string{}
	for _, f := range files {
		if f.kind != isDashboard {
			continue
		}
		root, err := newLintText(string(f.text)).parseJSON()
		if uid := root.get("uid").str(); err == nil && uid != "" && boards[uid] == "" {
			boards[uid] = f.path
		}
	}
	if len(boards) < 2 { // one dashboard may link to others that were not given
		return nil
	}
	return boards
}

// check looks at one file, and says whether it was of a kind that is looked at. Rule files that were looked at already are not
// looked at again.
func (f checkedFile) check(o LintOptions, looked map[string]bool) ([]Finding, bool) {
	switch f.kind {
	case isRules:
		if looked[filepath.Clean(f.path)] {
			return nil, true
		}
		return LintRules(f.path, f.text, o), true
	case isDashboard:
		return LintDashboard(f.path, f.text, o), true
	case isPrometheus:
		return f.prometheus(o, looked), true
	case isAlertmanager:
		return f.alertmanager(o), true
	}
	if !f.named {
		return nil, false // a folder may hold anything
	}
	l := newLinter(f.path, f.text, o)
	switch f.kind {
	case isDetections:
		l.reportAs(LintInfo, "syntax", 0, "detection rules are checked by `yagura rules check %s`", f.path)
	case isUnitTests:
		l.reportAs(LintInfo, "syntax", 0, "unit tests are run by `promtool test rules %s`", f.path)
	default:
		l.report("syntax", 0, "this is no rule file (groups), dashboard (panels) or configuration of Prometheus or Alertmanager that could be told by its keys")
	}
	return l.sorted(), false
}

// otherDiscovery are the ways of finding targets that Prometheus has, and the one in this program has not.
var otherDiscovery = regexp.MustCompile(`field ((?:aws|azure|consul|digitalocean|dns|docker|dockerswarm|ec2|elasticache|eureka|gce|hetzner|ionos|kubernetes|kuma|lightsail|linode|marathon|msk|nerve|nomad|openstack|ovhcloud|puppetdb|scaleway|serverset|stackit|triton|uyuni|vultr)_sd_configs) not found`)

// loadPrometheus loads a configuration as Prometheus does. Ways of finding targets that only a full Prometheus has are left out, and
// said; lines stay what they were.
func (l *linter) loadPrometheus() (*config.Config, error) {
	text := l.text.text
	for {
		loaded, err := config.Load(text, promslog.NewNopLogger())
		if err == nil {
			return loaded, nil
		}
		m := otherDiscovery.FindStringSubmatch(err.Error())
		if m == nil {
			return nil, err
		}
		at := regexp.MustCompile(`(?m)^[ -]*` + m[1] + `\s*:`).FindStringIndex(text)
		if at == nil {
			return nil, err
		}
		line := 1 + strings.Count(text[:at[0]], "\n") // lines stay, columns need not
		l.reportAs(LintInfo, "syntax", l.text.offset(line, 1)+strings.Index(text[at[0]:], m[1]), "%s were not looked at: a full Prometheus has them, the one in Yagura finds targets by file_sd_configs and http_sd_configs", m[1])
		text = blankKey(text, at[0], m[1])
	}
}

// blankKey takes out the key in the line that begins at an offset, with all that belongs to it. Behind the dash of a list another
// key takes its place.
func blankKey(text string, begin int, key string) string {
	lines := strings.SplitAfter(text[begin:], "\n")
	column := strings.Index(lines[0], key)
	before := lines[0][:column]
	if lines[0] = "\n"; strings.Contains(before, "-") {
		lines[0] = before + "static_configs: []\n"
	}
	for i, line := range lines[1:] {
		content := strings.TrimLeft(line, " ")
		indent := len(line) - len(content)
		if strings.TrimSpace(content) != "" && indent <= column && (indent != column || !strings.HasPrefix(content, "- ")) {
			break
		}
		lines[i+1] = "\n"
	}
	return text[:begin] + strings.Join(lines, "")
}

// prometheus loads a configuration as Prometheus does, and looks at the rule files that it names.
func (f checkedFile) prometheus(o LintOptions, looked map[string]bool) []Finding {
	l := newLinter(f.path, f.text, o)
	loaded, err := l.loadPrometheus()
	if err != nil {
		l.reportConfig(err)
		return l.sorted()
	}
	interval := time.Duration(loaded.GlobalConfig.ScrapeInterval)
	if interval > time.Minute {
		l.reportAs(LintWarning, "group-interval", 0, "scrape_interval is %s: at more than 2m series come and go, as queries look back 5m; 15s to 1m is usual", loaded.GlobalConfig.ScrapeInterval)
	}
	findings := l.sorted()
	o.ScrapeInterval = interval
	for _, pattern := range loaded.RuleFiles {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(f.path), pattern)
		}
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 && !strings.ContainsAny(pattern, "*?[") {
			findings = append(findings, Finding{f.path, 1, 1, LintError, "syntax", fmt.Sprintf("rule_files: there is no %s", pattern)})
		}
		for _, path := range paths {
			named, err := readChecked(path, true)
			if err != nil {
				findings = append(findings, Finding{f.path, 1, 1, LintError, "syntax", "rule_files: " + err.Error()})
				continue
			}
			findings, looked[filepath.Clean(path)] = append(findings, LintRules(path, named.text, o)...), true
		}
	}
	return findings
}

// reportConfig reports an error of a YAML decoder at the line that it names.
func (l *linter) reportConfig(err error) {
	var line int
	message := err.Error()
	if i := strings.Index(message, "line "); i >= 0 {
		if n, _ := fmt.Sscanf(message[i:], "line %d:", &line); n == 1 {
			_, message, _ = strings.Cut(message[i:], ": ")
		}
	}
	at := l.text.offset(max(line, 1), 1)
	for at < len(l.text.text) && l.text.text[at] == ' ' {
		at++
	}
	l.report("syntax", at, "%s", strings.Join(strings.Fields(message), " "))
}

// alertmanager looks only at the form: what it means is Alertmanager's to say.
func (f checkedFile) alertmanager(o LintOptions) []Finding {
	l := newLinter(f.path, f.text, o)
	root, err := l.text.parseYAML()
	if err != nil {
		l.reportError(err)
		return l.sorted()
	}
	if root.get("route").get("receiver").str() == "" {
		l.report("syntax", root.at, "the configuration has no route with a receiver")
	}
	names := map[string]bool{}
	for _, r := range root.get("receivers").list() {
		names[r.get("name").str()] = true
	}
	l.receivers(root.get("route"), names)
	l.reportAs(LintInfo, "syntax", root.at, "only routes and receivers were looked at: `amtool check-config %s` judges the rest", f.path)
	return l.sorted()
}

// receivers reports routes to receivers that there are not.
func (l *linter) receivers(route *lintNode, names map[string]bool) {
	if r := route.get("receiver"); r.str() != "" && !names[r.text] {
		l.report("syntax", r.at, "no receiver is called %q", r.text)
	}
	for _, r := range route.get("routes").list() {
		l.receivers(r, names)
	}
}

// ask fills in what a running server knows.
func (c *checker) ask(ctx context.Context, files []checkedFile, o *LintOptions) error {
	c.asked.URL = c.url
	client, err := c.asked.client()
	if err != nil {
		return err
	}
	get := func(path string, form url.Values, into any) error {
		return getJSON(ctx, client, strings.TrimSuffix(c.url, "/")+path+"?"+form.Encode(), into)
	}
	var metadata map[string][]struct {
		Type string `json:"type"`
	}
	if err := get("/api/v1/metadata", nil, &metadata); err != nil {
		return err
	}
	o.Types = map[string]string{}
	for name, all := range metadata {
		if len(all) > 0 {
			o.Types[name] = all[0].Type
		}
	}
	recorded := recordedIn(files)
	o.Exists = func(selector string) (bool, error) {
		if name, _, _ := strings.Cut(selector, "{"); recorded[name] {
			return true, nil
		}
		var series []map[string]string
		err := get("/api/v1/series", url.Values{"match[]": {selector}, "limit": {"1"}}, &series)
		return len(series) > 0, err
	}
	return nil
}

// recordedIn are the names that rules of the files record: the server may not have loaded them yet.
func recordedIn(files []checkedFile) map[string]bool {
	names := map[string]bool{}
	for _, f := range files {
		if f.kind != isRules {
			continue
		}
		root, err := newLintText(string(f.text)).parseYAML()
		if err != nil {
			continue
		}
		for _, g := range root.get("groups").list() {
			for _, r := range g.get("rules").list() {
				names[r.get("record").str()] = true
			}
		}
	}
	return names
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// getJSON reads `data` of an answer of the API.
func getJSON(ctx context.Context, client *http.Client, address string, into any) error {
	where, _, _ := strings.Cut(address, "?")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", where, err)
	}
	response, err := client.Do(r)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if err != nil {
		return fmt.Errorf("ask %s: %w", where, err)
	}
	defer response.Body.Close()
	var reply struct {
		Status, Error string
		Data          json.RawMessage
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&reply)
	switch {
	case err != nil || reply.Status == "":
		return fmt.Errorf("ask %s: not an answer of Prometheus: %s", where, response.Status)
	case reply.Status != "success":
		return fmt.Errorf("ask %s: %s", where, clean(reply.Error))
	}
	if err := json.Unmarshal(reply.Data, into); err != nil {
		return fmt.Errorf("ask %s: %w", where, err)
	}
	return nil
}
