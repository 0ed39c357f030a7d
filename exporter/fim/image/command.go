package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"
)

// A Command is `image TARGET`: its flags, and where it writes.
type Command struct {
	Stdout, Stderr io.Writer

	target, checks, format, failOn string
	options                        Options
}

// An ExitError is an outcome that the program tells by its exit status. What there is to say was written already if Err is
// nil.
type ExitError struct {
	Status int
	Err    error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Add adds the command to another one, or to a program. Whoever does it calls Run, and exits with the status of an
// *ExitError: 1 if there are findings as severe as --fail-on says, 2 if the image or the checks could not be read.
func (c *Command) Add(to interface {
	Command(name, help string) *kingpin.CmdClause
}) *kingpin.CmdClause {
	cmd := to.Command("image", "Check a container image, a tarball or a directory before it is shipped; the exit status is 1 if there are findings, and 2 if it cannot be read.")
	cmd.Arg("target", "A directory with a file system or an OCI layout; or a tar file, plain or compressed by gzip or zstd, with one of these or of docker save.").Required().StringVar(&c.target)
	cmd.Flag("checks", "A checks file, besides or instead of the checks that are built in.").PlaceHolder("FILE").StringVar(&c.checks)
	cmd.Flag("format", "text or json.").Default("text").EnumVar(&c.format, "text", "json")
	cmd.Flag("fail-on", "The least severity that makes the exit status 1: info, low, medium, high, critical or never.").Default("high").
		EnumVar(&c.failOn, append(Severities[:], never.String())...)
	cmd.Flag("platform", "Which of an image's platforms, as os/architecture[/variant]; by default its only one, or this machine's.").StringVar(&c.options.Platform)
	cmd.Flag("reference", "Which image, by its name, where there are several in one place.").StringVar(&c.options.Reference)
	cmd.Flag("max-bytes", "What may be read of all layers together, decompressed.").Default(fmt.Sprint(Default.MaxBytes)).Int64Var(&c.options.MaxBytes)
	cmd.Flag("max-files", "How many names all layers together may have.").Default(fmt.Sprint(Default.MaxNames)).IntVar(&c.options.MaxNames)
	return cmd
}

// Run checks the target and writes the report. An error is always an *ExitError.
func (c *Command) Run(ctx context.Context) error {
	var checks Checks
	var err error
	if c.checks != "" {
		if checks, err = Load(c.checks); err != nil {
			return &ExitError{Failure, err}
		}
	}
	failOn := never
	if c.failOn != never.String() {
		if err := failOn.UnmarshalText([]byte(c.failOn)); err != nil {
			return &ExitError{Failure, err}
		}
	}
	meter := NewMeter(c.Stderr)
	c.options.Progress = bytesRead(meter)
	report, err := Check(ctx, c.target, checks, c.options)
	meter.Clear()
	if err != nil {
		return &ExitError{Failure, err}
	}
	write := report.WriteText
	if c.format == "json" {
		write = report.WriteJSON
	}
	if err := write(c.Stdout); err != nil {
		return &ExitError{Failure, fmt.Errorf("write the report: %w", err)}
	}
	if status := report.ExitStatus(failOn); status != Clean {
		return &ExitError{Status: status}
	}
	return nil
}

// A Meter shows at a terminal how far something is, once that has taken a while. At what is none it shows nothing.
type Meter struct {
	to      io.Writer // nil if it is no terminal
	columns int
	begun   time.Time
	shown   bool
}

const (
	quietFor     = 2 * time.Second
	usualColumns = 80 // of a terminal that does not say
)

// NewMeter returns one that writes to a terminal, if it is one.
func NewMeter(to io.Writer) *Meter {
	if !IsTerminal(to) {
		return &Meter{}
	}
	m := &Meter{to: to, columns: usualColumns, begun: time.Now()}
	if size, err := unix.IoctlGetWinsize(int(to.(*os.File).Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		m.columns = int(size.Col)
	}
	return m
}

// Show shows a line in place of the one before; line is asked for as many columns as there is room for.
func (m *Meter) Show(line func(columns int) string) {
	if m.to == nil || time.Since(m.begun) < quietFor {
		return
	}
	m.shown = true
	fmt.Fprintf(m.to, "\r%s\x1b[K", line(m.columns-1))
}

// Clear takes away what was shown.
func (m *Meter) Clear() {
	if m.shown {
		m.shown = false
		fmt.Fprint(m.to, "\r\x1b[K")
	}
}

// IsTerminal says whether something is a file that is a terminal.
func IsTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// bytesRead is what a Meter shows of an image.
func bytesRead(m *Meter) func(bytes int64) {
	return func(bytes int64) { m.Show(func(int) string { return size(bytes) + " read" }) }
}
