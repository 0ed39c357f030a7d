package rules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// A Collector is told of hits, from the goroutines that evaluate, of which there are two: it must not wait.
type Collector interface {
	Load(rules []*event.Rule)                // what is evaluated from now on
	Count(rule *event.Rule, ev *event.Event) // each hit
	Keep(h *event.Hit)                       // those that the rule's rate allows; it may keep them
	Spent(d time.Duration)                   // now and then: how long the rules took for one event
}

// DetectorOptions say what of the machine fields read, and where hits go besides the configured outputs.
type DetectorOptions struct {
	Off          bool   // no rule is loaded
	Root, Procfs string // the host's, as they are seen from here
	Hits         Collector
	Redact       func(args []string) []string
	RedactText   func(text string) string
	Stdout       io.Writer
	Log          *slog.Logger
}

// A Detector loads rules as a Config says, evaluates them, and tells of their hits.
type Detector struct {
	*Engine
	*Evaluator // of what the kernel tells of
	changes    *Evaluator
	changed    uint64 // changes that were evaluated
	options    DetectorOptions
	delivery   *Delivery
	hosts      *Hosts
}

// NewDetector makes the outputs ready. Nothing is loaded yet.
func NewDetector(c Config, o DetectorOptions) *Detector {
	d := &Detector{options: o, hosts: NewHosts(nil), delivery: NewDelivery(c.Outputs, c.Format, o.Stdout, o.Log)}
	d.Engine = NewEngine(EngineOptions{Names: NewHostNames(o.Root, o.Procfs), Procfs: o.Procfs, Redact: o.Redact, RedactText: o.RedactText,
		Count: o.Hits.Count, Spent: o.Hits.Spent,
		Tell: func(h *event.Hit) {
			o.Hits.Keep(h)
			d.delivery.Tell(h)
		}})
	d.Evaluator, d.changes = d.Engine.Evaluator(), d.Engine.Evaluator()
	return d
}

// EvalChange evaluates a change of a watched file, which it numbers. It may be called beside Eval, from another goroutine, but
// only from one.
func (d *Detector) EvalChange(ev *event.Event) {
	d.changed++
	ev.Num = d.changed
	d.changes.Eval(ev)
}

// Load reads and compiles the rules, replaces all that were loaded, and then says what they can match. If a file has an
// error nothing changes; the error has every one of them, each with its file, line, column and a caret.
func (d *Detector) Load(c Config, interest func(event.Interest) error) error {
	if d.options.Off {
		return interest(event.Interest{}) // others may want something
	}
	set, languages, n, err := d.read(c)
	if err != nil {
		return err
	}
	if err := d.Compile(languages, set, c); err != nil {
		return fmt.Errorf("load the rules: %w", err)
	}
	debug.FreeOSMemory() // reading rules leaves twice what they need
	d.options.Hits.Load(d.Rules())
	d.options.Log.Info("rules are loaded", "rules", len(d.Rules()), "files", n, "event_types", len(d.Interest().Terms))
	return interest(d.Interest())
}

// Check says what is wrong with the rules that a configuration names, as Load does, and changes nothing.
func (d *Detector) Check(c Config) error {
	if d.options.Off {
		return nil
	}
	set, languages, _, err := d.read(c)
	if err != nil {
		return err
	}
	return NewEngine(EngineOptions{}).Compile(languages, set, c)
}

// read reads the rules, and says of how many files they are.
func (d *Detector) read(c Config) (*Set, Languages, int, error) {
	set, languages, results, err := c.Load(d.hosts)
	if err != nil {
		return nil, nil, 0, err
	}
	for _, r := range results {
		for _, w := range r.Warnings {
			d.options.Log.Debug("rules: "+w.Message, "file", r.Name, "code", w.Code)
		}
	}
	if err := failureOf(results); err != nil {
		return nil, nil, 0, fmt.Errorf("load the rules:\n%w", err)
	}
	return set, languages, len(results), nil
}

// Load reads all rules that a configuration names. Hosts may be nil, where no host's name is looked up.
func (c Config) Load(hosts *Hosts) (*Set, Languages, []Result, error) {
	files, err := c.files()
	if err != nil {
		return nil, nil, nil, err
	}
	priority, err := event.PriorityNamed(c.Priority)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("rules: priority: %w", err)
	}
	options := LanguageOptions{Static: c.StaticFields}
	if hosts != nil {
		options.Resolve = hosts.Resolve
	}
	languages := NewLanguages(options)
	set, results := Load(files, LoadOptions{Languages: languages, MinPriority: &priority, Selection: c.Select,
		CheckOutput: func(r *Rule) ([]expr.Warning, error) { return c.checkOutput(languages, r) }})
	if hosts != nil && set != nil {
		for _, r := range set.Rules {
			expr.Walk(r.Condition, hosts.expect)
		}
	}
	return set, languages, results, nil
}

// checkOutput says whether hits of a rule can be written, and what is odd about its output.
func (c Config) checkOutput(l Languages, r *Rule) ([]expr.Warning, error) {
	t, err := newTeller(l[r.Source], r, c)
	if err != nil {
		return nil, err
	}
	return t.warnings, nil
}

// Run delivers alerts and looks up hosts until ctx is done.
func (d *Detector) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- d.hosts.Run(ctx) }()
	return errors.Join(d.delivery.Run(ctx), <-done)
}

// Outputs says what has become of the alerts, by output.
func (d *Detector) Outputs() []event.Delivered { return d.delivery.Stats() }
