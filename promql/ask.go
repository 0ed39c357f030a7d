package promql

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// Asker is for commands of other parts that ask a running program: it adds the flags that say whom, and returns how to ask for the
// value of an expression at a time, which is what --time of `query` may be. The answer is written as JSON.
func Asker(url string) func(cmd *kingpin.CmdClause) func(ctx context.Context, w io.Writer, expr, at string) error {
	return func(cmd *kingpin.CmdClause) func(ctx context.Context, w io.Writer, expr, at string) error {
		var o QueryOptions
		cmd.Flag("url", "Whom to ask.").Default(url).StringVar(&o.URL)
		cmd.Flag("user", "User name for basic authentication.").StringVar(&o.User)
		cmd.Flag("password-file", "File with the user's password.").StringVar(&o.PasswordFile)
		cmd.Flag("ca-file", "Certificates that the server's is checked against.").StringVar(&o.CAFile)
		cmd.Flag("insecure-skip-verify", "Take any certificate.").BoolVar(&o.InsecureSkipVerify)
		return func(ctx context.Context, w io.Writer, expr, at string) (err error) {
			asked := o
			if asked.Time, err = parseTime(at, time.Now()); err != nil {
				return fmt.Errorf("time %w", err)
			}
			asked.Expr, asked.Format = expr, JSON
			return Query(ctx, w, asked)
		}
	}
}
