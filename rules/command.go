package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kingpin/v2"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// A command is `yagura rules …`.
type command struct {
	configured *Config

	files      []string
	asJSON     bool
	markdown   bool
	rule, what string
}

// AddCommands adds the commands to the program's. Do wraps each; within it config is the configuration file's.
func AddCommands(app *kingpin.Application, config *Config, do func(func(context.Context) error) kingpin.Action) {
	c := &command{configured: config}
	rules := app.Command("rules", "Look at rules, check and test them. Without files, those of the configuration.")
	add := func(name, help string, show func(w io.Writer) error) *kingpin.CmdClause {
		return rules.Command(name, help).Action(do(func(context.Context) error { return show(os.Stdout) }))
	}
	files := func(cmd *kingpin.CmdClause) {
		cmd.Arg("files", "Rule files, or folders of them, in the order in which they are loaded.").StringsVar(&c.files)
	}
	check := add("check", "Load rules and say what is wrong; the exit status is 1 if one has an error.", c.check)
	check.Flag("json", "As the load result in JSON.").BoolVar(&c.asJSON)
	files(check)
	list := add("list", "List the rules: priority, source, event types, tags, and whether they are on.", c.list)
	list.Flag("json", "As JSON.").BoolVar(&c.asJSON)
	files(list)
	fields := add("fields", "List the fields that conditions and outputs may use.", func(w io.Writer) error { return WriteFields(w, c.markdown) })
	fields.Flag("markdown", "As the reference page.").BoolVar(&c.markdown)
	explain := add("explain", "Say which parts of a rule's condition are true of an event.", c.explain)
	explain.Flag("rules", "Rule files, or folders of them; more than once if need be.").StringsVar(&c.files)
	explain.Arg("rule", "Name of the rule.").Required().StringVar(&c.rule)
	explain.Arg("event", "The event as JSON, a file that holds it, or - for the standard input.").Required().StringVar(&c.what)
	files(add("test", "Run the examples that rules carry; the exit status is 1 if one does not do what it should.", c.test))
}

func (c *command) load(w io.Writer) (*Set, Languages, Config, error) {
	config := c.configured.Only(c.files)
	set, languages, results, err := config.Load(nil)
	if err != nil {
		return nil, nil, config, err
	}
	bad := 0
	for i := range results {
		if !results[i].Successful {
			results[i].WriteText(w, false)
			bad++
		}
	}
	if bad > 0 {
		return nil, nil, config, fmt.Errorf("%d of %d files cannot be loaded", bad, len(results))
	}
	return set, languages, config, nil
}

func (c *command) check(w io.Writer) error {
	set, _, results, err := c.configured.Only(c.files).Load(nil)
	if err != nil {
		return err
	}
	if c.asJSON {
		err = writeJSON(w, map[string]any{"falco_load_results": results})
	}
	bad := 0
	for i := range results {
		if !c.asJSON {
			results[i].WriteText(w, true)
		}
		if !results[i].Successful {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files cannot be loaded", bad, len(results))
	}
	if !c.asJSON {
		fmt.Fprintf(w, "%d rules in %d files: ok\n", len(set.Rules), len(results))
	}
	return err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// listed is a rule as `rules list --json` shows it.
type listed struct {
	Name      string   `json:"name"`
	Priority  string   `json:"priority"`
	Source    string   `json:"source"`
	Enabled   bool     `json:"enabled"`
	Types     []string `json:"event_types"` // none: all
	Tags      []string `json:"tags"`
	Desc      string   `json:"desc"`
	Condition string   `json:"condition"` // canonical, with macros and lists put in
	Output    string   `json:"output"`
	File      string   `json:"file"`
	Line      int      `json:"line"`
}

func (c *command) list(w io.Writer) error {
	set, _, _, err := c.load(os.Stderr)
	if err != nil {
		return err
	}
	all := make([]listed, len(set.Rules))
	for i, r := range set.Rules {
		all[i] = listed{r.Name, r.Priority.String(), r.Source, r.Enabled, eventTypesOf(r), append([]string{}, r.Tags...), r.Desc,
			expr.Print(r.Condition), r.Output, r.File, r.Line}
	}
	if c.asJSON {
		return writeJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ON\tPRIORITY\tRULE\tSOURCE\tEVENT TYPES\tTAGS")
	for _, r := range all {
		on, types := "on", strings.Join(r.Types, " ")
		if !r.Enabled {
			on = "off"
		}
		if len(types) > 40 {
			types = fmt.Sprintf("%.36s …", types)
		}
		if types == "" {
			types = "all"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", on, r.Priority, r.Name, r.Source, types, strings.Join(r.Tags, " "))
	}
	return t.Flush()
}

// manyTypes is beyond which a rule is said to be of all event types.
const manyTypes = 100

func eventTypesOf(r *Rule) []string {
	names := []string{}
	if len(r.Types) > manyTypes {
		return names
	}
	for t := 1; t < len(event.Types); t++ {
		if name := event.Types[t].Name; r.Types[name] {
			names = append(names, name)
		}
	}
	return names
}

func (c *command) explain(w io.Writer) error {
	set, languages, _, err := c.load(w)
	if err != nil {
		return err
	}
	raw, err := c.event()
	if err != nil {
		return err
	}
	ev, err := event.Decode(raw)
	if err != nil {
		return fmt.Errorf("the event: %w", err)
	}
	for _, r := range set.Rules {
		if r.Name != c.rule {
			continue
		}
		if err := r.isAbout(ev); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		record := NewRecord(nil, "")
		record.Reset(ev)
		explained, err := languages[r.Source].Explain(r.Condition, record)
		if err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		verdict := "does not match"
		if explained.True {
			verdict = "matches"
		}
		fmt.Fprintf(w, "%s:%d: %q %s this event.\n", r.File, r.Line, r.Name, verdict)
		return expr.WriteExplanation(w, explained)
	}
	return fmt.Errorf("no rule is called %q", c.rule)
}

// event reads what the command line says the event is.
func (c *command) event() ([]byte, error) {
	switch {
	case c.what == "-":
		return io.ReadAll(io.LimitReader(os.Stdin, maxEvent))
	case strings.HasPrefix(strings.TrimSpace(c.what), "{"):
		return []byte(c.what), nil
	}
	raw, err := os.ReadFile(c.what)
	if err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	return bytes.TrimSpace(raw), nil
}

const maxEvent = 1 << 20

func (c *command) test(w io.Writer) error {
	set, languages, _, err := c.load(w)
	if err != nil {
		return err
	}
	tested, failed := 0, 0
	for _, r := range set.Rules {
		n, failures := r.TestExamples(languages)
		tested += n
		failed += len(failures)
		for _, f := range failures {
			fmt.Fprintln(w, f)
		}
	}
	fmt.Fprintf(w, "%d rules, %d examples: %d passed, %d failed\n", len(set.Rules), tested, tested-failed, failed)
	if failed > 0 {
		return fmt.Errorf("%d of %d examples failed", failed, tested)
	}
	return nil
}

// isAbout refuses events of another source than the rule's.
func (r *Rule) isAbout(ev *event.Event) error {
	if own := ev.Type.Source(); own != r.Source {
		return fmt.Errorf("%s is an event of source %s, and the rule is of source %s", ev.Type, own, r.Source)
	}
	return nil
}

// TestExamples evaluates the rule over each of its examples, and returns how many there are and what went wrong.
func (r *Rule) TestExamples(l Languages) (tested int, failures []string) {
	test, err := l[r.Source].Compile(r.Condition)
	if err != nil {
		return 0, []string{fmt.Sprintf("%s:%d: rule %q: %v", r.File, r.Line, r.Name, err)}
	}
	record := NewRecord(nil, "")
	run := func(examples []Example, want bool) {
		for _, x := range examples {
			tested++
			ev, err := event.Decode(x.JSON)
			if err == nil {
				err = r.isAbout(ev)
			}
			if err != nil {
				failures = append(failures, fmt.Sprintf("%s:%d: rule %q: the example cannot be read: %v", r.File, x.Line, r.Name, err))
				continue
			}
			record.Reset(ev)
			if got := test(record); got != want {
				failures = append(failures, fmt.Sprintf("%s:%d: rule %q: %s", r.File, x.Line, r.Name,
					map[bool]string{true: "the event does not match, and should", false: "the event matches, and should not"}[want]))
			}
		}
	}
	run(r.Examples.Match, true)
	run(r.Examples.Miss, false)
	return tested, failures
}

// HitsOf is for a replay: it writes every hit of rules as an alert in JSON. Files replace the configuration's rules.
func HitsOf(config Config, files []string, w io.Writer) func() (func(*event.Event) error, error) {
	return func() (func(*event.Event) error, error) {
		config, failed := config.Only(files), error(nil)
		config.Format.JSON, config.Format.hostname = true, hostname
		v, err := NewReplay(config, func(h *event.Hit) {
			alert, err := config.Format.Append(nil, h)
			if err == nil {
				_, err = w.Write(alert)
			}
			failed = errors.Join(failed, err)
		})
		return func(ev *event.Event) error {
			v.Eval(ev)
			return failed
		}, err
	}
}

// NewReplay loads rules for a replay, which tells of every hit.
func NewReplay(config Config, tell func(h *event.Hit)) (*Evaluator, error) {
	set, languages, results, err := config.Load(nil)
	if err != nil {
		return nil, err
	}
	if err := failureOf(results); err != nil {
		return nil, err
	}
	config.Rate = Rate{PerSecond: 1e6, Burst: 1e6}
	e := NewEngine(EngineOptions{Tell: tell})
	if err := e.Compile(languages, set, config); err != nil {
		return nil, err
	}
	return e.Evaluator(), nil
}
