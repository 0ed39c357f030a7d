package exporter

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
)

// Commands are what the program does, by its first argument.
type Commands struct {
	Run, Doctor, Replay func(ctx context.Context) error
	Check               func() error                                                                                 // of what the configuration names
	CheckFiles          func(check *kingpin.CmdClause) func(ctx context.Context, w io.Writer) (done bool, err error) // instead, if there are any
	Collectors          func() []Entry
}

// Add adds them to the command line; do wraps each.
func (c Commands) Add(app *kingpin.Application, flags *CommandLine, do func(func(context.Context) error) kingpin.Action) {
	app.Command("run", "Watch this machine and serve what is seen; the default.").Default().Action(do(c.Run))
	c.addCheck(app, flags, do)
	app.Command("doctor", "Say what this kernel and host allow, and why something is off.").Action(do(c.Doctor))
	app.Command("metrics", "Print the reference page of all metrics.").Action(do(func(context.Context) error {
		return WriteReference(os.Stdout, c.Collectors())
	}))
	replay := app.Command("replay", "Play a recording: of --record.path, as events; or of events in JSON lines, as hits of rules.").Action(do(c.Replay))
	replay.Arg("recording", "What --record.path named, or a file of events.").Required().StringVar(&flags.Recording)
	replay.Flag("rules", "Rule files, instead of the configuration's.").StringsVar(&flags.Rules)
}

// addCheck adds the command that checks files, or else the configuration.
func (c Commands) addCheck(app *kingpin.Application, flags *CommandLine, do func(func(context.Context) error) kingpin.Action) {
	check := app.Command("check", "Check the configuration file, and the rules that it names; or files of rules, dashboards and configurations.")
	files := c.CheckFiles(check)
	check.Action(do(func(ctx context.Context) error {
		if done, err := files(ctx, os.Stdout); done || err != nil {
			return err
		}
		if err := c.Check(); err != nil {
			return err
		}
		_, err := fmt.Println(cmp.Or(flags.Config, "the defaults") + ": ok")
		return err
	}))
}

// Action has a command run with the configuration, until it ends or the program is told to.
func Action[T interface{ Validate() error }](flags *CommandLine, defaults T, do func(ctx context.Context, c T, log *slog.Logger) error) kingpin.Action {
	return func(*kingpin.ParseContext) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		c, err := ReadConfig(flags.Config, defaults)
		if err != nil {
			return err
		}
		return do(ctx, c, promslog.New(&flags.Logging))
	}
}
