package promql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	questions "github.com/yagura-io/yagura/promql/library"
)

// AddQueryCommand adds `query EXPR`, which asks a running program, in PromQL or by the name of a query of the library. Passwords are
// only read from files.
func AddQueryCommand(app *kingpin.Application, url string) {
	var o QueryOptions
	var at, start, end string
	var step time.Duration
	var list, explain bool
	values := map[string]string{}
	cmd := app.Command("query", "Ask a PromQL question of a running Yagura, or of any Prometheus.")
	cmd.Arg("expr", "The question: 'sum by (container) (rate(yagura_syscalls_total[1m]))', or the name of a query of the library: container_cpu_top.").
		HintAction(libraryNames).StringVar(&o.Expr)
	cmd.Flag("list", "List the library by question: all of it, or what a regular expression given as EXPR is found in.").BoolVar(&list)
	cmd.Flag("explain", "Print what a query of the library is about, and its variables and expression; ask nothing.").BoolVar(&explain)
	cmd.Flag("var", "A variable of a query of the library: container=web.*; may be repeated.").PlaceHolder("NAME=VALUE").StringMapVar(&values)
	cmd.Flag("url", "Whom to ask.").Default(url).StringVar(&o.URL)
	cmd.Flag("time", "At what time, as RFC 3339 or Unix time; now by default.").StringVar(&at)
	cmd.Flag("start", "Begin of a range query; also a duration to go back, such as 1h.").StringVar(&start)
	cmd.Flag("end", "End of a range query; now by default.").StringVar(&end)
	cmd.Flag("step", "Step of a range query; a sixtieth of it by default.").DurationVar(&step)
	cmd.Flag("format", "How to print the answer: table, json or csv.").Default(string(Table)).
		EnumVar((*string)(&o.Format), string(Table), string(JSON), string(CSV))
	cmd.Flag("user", "User name for basic authentication.").StringVar(&o.User)
	cmd.Flag("password-file", "File with the user's password.").StringVar(&o.PasswordFile)
	cmd.Flag("ca-file", "Certificates that the server's is checked against.").StringVar(&o.CAFile)
	cmd.Flag("insecure-skip-verify", "Take any certificate.").BoolVar(&o.InsecureSkipVerify)
	cmd.Action(func(*kingpin.ParseContext) (err error) {
		if list {
			return writeList(os.Stdout, questions.All(), o.Expr)
		}
		if explain {
			q, ok := named(o.Expr)
			if !ok {
				return unknown(o.Expr)
			}
			return writeExplanation(os.Stdout, q, values)
		}
		var title string
		if o.Expr, title, err = expand(o.Expr, values); err != nil {
			return err
		}
		if title != "" {
			fmt.Fprintln(os.Stderr, title)
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		now := time.Now()
		for _, t := range []struct {
			flag, text string
			to         *time.Time
		}{{"time", at, &o.Time}, {"start", start, &o.Start}, {"end", end, &o.End}} {
			if *t.to, err = parseTime(t.text, now); err != nil {
				return fmt.Errorf("--%s: %w", t.flag, err)
			}
		}
		if o.Start.IsZero() && (!o.End.IsZero() || step != 0) {
			return errors.New("--end and --step belong to a range query: give --start")
		}
		o.Step, o.Notes = step, os.Stderr
		return Query(ctx, os.Stdout, o)
	})
}

// parseTime reads RFC 3339, Unix seconds, or a duration to go back from now. No text is no time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := model.ParseDuration(text); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(seconds) < 1e11 {
		return time.UnixMilli(int64(seconds * 1000)), nil
	}
	return time.Time{}, fmt.Errorf("%q: want RFC 3339, Unix seconds, or a duration such as 1h", text)
}
