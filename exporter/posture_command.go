package exporter

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/yagura-io/yagura/rules/event"
)

// An Asker adds flags to a command, which say whom to ask, and returns how to ask PromQL at a time: the answer is written as the data
// of /api/v1/query. No time is now.
type Asker = func(cmd *kingpin.CmdClause) askFunc

type askFunc = func(ctx context.Context, w io.Writer, expr, at string) error

// A postureCommand is `yagura posture …`.
type postureCommand struct {
	judge func() PostureJudge
	flags *CommandLine
	out   io.Writer
	exit  func(code int)

	frameworks  []string
	format      string
	root        string
	rootGiven   bool
	least       float64
	leastGiven  bool
	failOn      string
	dockerfiles []string
	from, to    string
}

// Exit statuses of the command.
const (
	exitBelow  = 1 // a threshold is not reached
	exitFailed = 2 // there is no result
)

// AddCommands adds `posture` to the program's commands; do wraps each.
func (p *Posture) AddCommands(app *kingpin.Application, flags *CommandLine, ask Asker, do func(func(context.Context) error) kingpin.Action) {
	c := &postureCommand{judge: p.o.Judge, flags: flags, out: os.Stdout, exit: os.Exit}
	c.add(app, ask, do)
}

func (c *postureCommand) add(app *kingpin.Application, ask Asker, do func(func(context.Context) error) kingpin.Action) {
	posture := app.Command("posture", "Judge how well a machine is configured. The exit status is 0, 1 if a threshold is not reached, 2 if there is no result.")
	posture.Flag("framework", "Only checks of this framework, or of those whose names begin so, such as cis_docker or nist; more than once if need be.").StringsVar(&c.frameworks)
	action := func(run func(ctx context.Context) (int, error)) kingpin.Action {
		return do(func(ctx context.Context) error { c.finish(run(ctx)); return nil })
	}
	once := posture.Command("run", "Judge once and print the result; the default.").Default().Action(action(c.once))
	once.Flag("format", "How to print it: table, json, csv, sarif, junit, html or openmetrics.").Default("table").EnumVar(&c.format, formatNames()...)
	once.Flag("root", "Root directory of the machine to judge, such as a mounted image: only what its files tell. By default this machine.").
		IsSetByUser(&c.rootGiven).ExistingDirVar(&c.root)
	once.Flag("min-score", "Fail if a framework's score is less, or if one that --framework names has none.").IsSetByUser(&c.leastGiven).Float64Var(&c.least)
	once.Flag("fail-on", "Fail if a check of this severity or a worse one fails: critical, high, medium or low.").EnumVar(&c.failOn, event.Severities...)
	once.Flag("dockerfile", "Judge this Dockerfile instead of a machine; more than once if need be.").ExistingFilesVar(&c.dockerfiles)

	var listFormat, diffFormat string
	list := posture.Command("list", "List the checks: severity, what is so when they pass, frameworks.").
		Action(action(func(context.Context) (int, error) { return 0, c.list(listFormat) }))
	list.Flag("format", "How to print it: table or json.").Default("table").EnumVar(&listFormat, "table", "json")

	diff := posture.Command("diff", "Say what has changed between two times, as a running Yagura with a store or any Prometheus knows it.")
	query := ask(diff)
	diff.Flag("from", "The earlier time: RFC 3339, Unix time, or a duration to go back, such as 24h.").Required().StringVar(&c.from)
	diff.Flag("to", "The later time; now by default.").StringVar(&c.to)
	diff.Flag("format", "How to print it: table, json or csv.").Default("table").EnumVar(&diffFormat, "table", "json", "csv")
	diff.Action(action(func(ctx context.Context) (int, error) { return 0, c.diff(ctx, query, diffFormat) }))
}

func (c *postureCommand) finish(code int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "yagura:", err)
		code = exitFailed
	}
	if code != 0 {
		c.exit(code)
	}
}

func (c *postureCommand) once(ctx context.Context) (int, error) {
	debug.SetGCPercent(25) // it is short: its memory is what counts
	r, err := c.judge().Once(ctx, c.machine(), c.frameworks)
	if err != nil {
		return 0, err
	}
	format := postureFormats[slices.IndexFunc(postureFormats, func(f postureFormat) bool { return f.name == c.format })]
	out := bufio.NewWriter(c.out)
	err = format.write(&postureReport{c.subject(), r}, out)
	if err = cmp.Or(err, out.Flush()); err != nil {
		return 0, fmt.Errorf("write the result as %s: %w", c.format, err)
	}
	if below := c.below(r); len(below) > 0 {
		fmt.Fprintln(os.Stderr, "yagura:", strings.Join(below, "; "))
		return exitBelow, nil
	}
	return 0, nil
}

// machine is whom the flags mean.
func (c *postureCommand) machine() event.Machine {
	if c.rootGiven || len(c.dockerfiles) > 0 {
		return event.Machine{Root: c.root, Dockerfiles: c.dockerfiles}
	}
	return c.flags.Machine()
}

// subject is what the result is called.
func (c *postureCommand) subject() string {
	switch {
	case len(c.dockerfiles) > 0:
		return strings.Join(c.dockerfiles, ", ")
	case c.rootGiven:
		return c.root
	}
	name, err := os.Hostname()
	if err != nil {
		return "this machine"
	}
	return name
}

// below says which thresholds are not reached.
func (c *postureCommand) below(r *event.Posture) (all []string) {
	if c.failOn != "" {
		worst, _ := event.SeverityNamed(c.failOn) // the flag has looked
		n := 0
		for i := range r.Verdicts {
			if v := &r.Verdicts[i]; v.Status == event.Fail && v.Check.Severity <= worst {
				n++
			}
		}
		if n > 0 {
			all = append(all, fmt.Sprintf("%d checks of severity %s or worse fail", n, worst))
		}
	}
	for i := range r.Scores {
		s := &r.Scores[i]
		switch {
		case !c.leastGiven:
		case s.Assessed() == 0 && len(c.frameworks) > 0:
			all = append(all, fmt.Sprintf("%s has no score, as none of its checks could be assessed", s.Framework))
		case s.Assessed() > 0 && s.Score < c.least:
			all = append(all, fmt.Sprintf("the score of %s is %.1f, less than %g", s.Framework, s.Score, c.least))
		}
	}
	return all
}

func (c *postureCommand) list(format string) error {
	checks, err := c.judge().List(c.frameworks)
	if err != nil {
		return err
	}
	if format == "json" {
		return writePostureJSON(c.out, listedChecks(checks))
	}
	t := newTable(c.out, "CHECK", "SEVERITY", "FACT", "PASSES IF", "FRAMEWORKS")
	for _, check := range checks {
		kind := check.Kind
		if kind == "" {
			kind = "(manual)"
		}
		t.row(check.ID, check.Severity.String(), kind, check.Title, strings.Join(check.Frameworks(), " "))
	}
	fmt.Fprintf(t, "\n%d checks\n", len(checks))
	return t.Flush()
}

// A listedCheck is a check as `posture list --format json` shows it.
type listedCheck struct {
	ID          string              `json:"id"`
	Title       string              `json:"title"`
	Severity    event.Severity      `json:"severity"`
	Fact        string              `json:"fact,omitempty"`
	Condition   string              `json:"condition,omitempty"`
	Level       int                 `json:"level,omitempty"`
	Frameworks  map[string][]string `json:"frameworks"`
	Risk        string              `json:"risk"`
	Remediation string              `json:"remediation"`
	References  []string            `json:"references"`
	File        string              `json:"file"`
	Line        int                 `json:"line"`
}

func listedChecks(checks []*event.Check) []listedCheck {
	all := make([]listedCheck, len(checks))
	for i, c := range checks {
		all[i] = listedCheck{ID: c.ID, Title: c.Title, Severity: c.Severity, Fact: c.Kind, Condition: c.Condition, Level: c.Level, Frameworks: map[string][]string{},
			Risk: c.Risk, Remediation: c.Remediation, References: append([]string{}, c.References...), File: c.File, Line: c.Line}
		for _, f := range c.Frameworks() {
			all[i].Frameworks[f] = c.In(f)
		}
	}
	return all
}

// shownTime is a time as reports write it.
func shownTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
