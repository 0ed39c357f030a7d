package fim

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/fim/image"
)

// A Command is `fim …` of the command line. It works on the store itself, and if a daemon has that open, asks the daemon to: what
// is written and the exit status are the same.
type Command struct {
	Config *Config // that of the configuration file, once an action is called
	Root   *string // where the host's files are, once an action is called; nil for /

	Stdin          io.Reader // nil for those of the process
	Stdout, Stderr io.Writer

	chosen      bool // the command line is ours
	job         job
	store, key  string // files, if not the configuration's
	root        string
	paths       []string
	scan, scans bool // whether --scan was given, and how
	yes         bool
	format      string
	file        string // of a bundle, or what begins the names of keys
	pem         string // file of a key
	bundle      io.ReadSeeker
	rateFiles   int
	rateBytes   units.Base2Bytes
	image       image.Command
}

// Add adds the command to the program's, and returns it; do wraps each action. Errors that actions return are of
// *image.ExitError: whoever parses the command line gives them to Failed.
func (c *Command) Add(app *kingpin.Application, do func(func(context.Context) error) kingpin.Action) *Command {
	if c.Stdin == nil {
		c.Stdin = os.Stdin
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	all := app.Command("fim", "Integrity of files: build their baseline, see what differs from it, and make that the baseline.")
	all.PreAction(func(*kingpin.ParseContext) error {
		c.chosen = true
		return nil
	})
	add := func(name, help string) *kingpin.CmdClause {
		cmd := all.Command(name, help).Action(failing(do(func(ctx context.Context) error { return c.run(ctx, name) })))
		cmd.Flag("store", "The file of the baseline, instead of the configuration's.").PlaceHolder("FILE").StringVar(&c.store)
		cmd.Flag("store-key", "The key of that file; FILE.key of the former by default.").PlaceHolder("FILE").StringVar(&c.key)
		return cmd
	}
	root := func(cmd *kingpin.CmdClause, help string) {
		cmd.Flag("root", help).PlaceHolder("DIR").StringVar(&c.root)
	}
	format := func(cmd *kingpin.CmdClause) {
		cmd.Flag("format", "text or json.").Default("text").EnumVar(&c.format, "text", "json")
	}
	container := func(cmd *kingpin.CmdClause) {
		cmd.Flag("container", "The id of a container, whose baseline is meant instead of the host's.").PlaceHolder("ID").StringVar(&c.job.Container)
	}

	build := add("init", "Build the baseline now, or go on where that was interrupted.")
	build.Flag("force", "Begin anew: forget what is known of the host's files, and the whole store if it cannot be read.").BoolVar(&c.job.Force)
	build.Flag("rate-files", "How many files are looked at in a second; 0 for no limit. A daemon keeps to its own.").IntVar(&c.rateFiles)
	build.Flag("rate-bytes", "How much is read in a second; 0B for no limit. A daemon keeps to its own.").Default("0B").BytesVar(&c.rateBytes)
	root(build, "Where the files are, such as those of a golden image; another baseline than the machine's own needs --store.")

	diff := add("diff", "Say what differs from the baseline; the exit status is 0 if nothing does, 1 if something does, 2 if nobody knows.")
	diff.Arg("path", "Only these, and what is beneath them.").StringsVar(&c.paths)
	diff.Flag("scan", "Look at the files now, rather than say what a daemon has seen last. On, unless a daemon runs.").
		IsSetByUser(&c.scans).BoolVar(&c.scan)
	format(diff)
	container(diff)
	root(diff, "Where the files are that the baseline is of.")

	accept := add("accept", "Make what is there now the baseline, of paths and of all that is beneath them.")
	accept.Arg("path", "What to accept.").StringsVar(&c.paths)
	accept.Flag("all", "Accept all that differs.").BoolVar(&c.job.All)
	accept.Flag("yes", "With --all: do so at a terminal, too.").BoolVar(&c.yes)
	container(accept)
	root(accept, "Where the files are that the baseline is of.")

	add("verify", "Look at the baseline itself: whether anybody has changed it; the exit status is 1 if so.")
	format(add("status", "Say what there is a baseline of, and since when; the exit status is 1 if it is not complete."))

	export := add("export", "Write the baseline to a file, signed, for other machines of the same image.")
	export.Arg("file", "Where to; - is the standard output.").Required().StringVar(&c.file)
	export.Flag("key", "The private key to sign with: Ed25519 in PEM, as fim keygen and openssl write it.").
		PlaceHolder("PRIVATE.pem").Required().StringVar(&c.pem)
	export.Flag("host", "What it is of: an image, or by default this machine.").PlaceHolder("NAME").StringVar(&c.job.Host)
	container(export)
	root(export, "Where the files were when the baseline was built, for whoever imports it to read.")

	imports := add("import", "Make a signed file the baseline, in place of what there is.")
	imports.Arg("file", "What export wrote; - is the standard input.").Required().StringVar(&c.file)
	imports.Flag("trust", "The public keys that are trusted: Ed25519 in PEM, one or more.").
		PlaceHolder("PUBLIC.pem").Required().StringVar(&c.pem)
	container(imports)

	keygen := all.Command("keygen", "Make a pair of keys for export and import: PREFIX.private.pem and PREFIX.public.pem.").
		Action(failing(func(*kingpin.ParseContext) error { return c.keygen() }))
	keygen.Arg("prefix", "What the names of both files begin with.").Required().StringVar(&c.file)

	c.image = image.Command{Stdout: c.Stdout, Stderr: c.Stderr}
	c.image.Add(all).Action(failing(do(c.image.Run)))
	return c
}

// Failed writes what there is to say about an error of the program's command line, and returns its exit status: that of an
// *image.ExitError, 2 if it is about a command of ours, and otherwise 1.
func (c *Command) Failed(err error) (status int) {
	status = 1
	if c.chosen {
		status = statusFailed
	}
	if exit := (*image.ExitError)(nil); errors.As(err, &exit) {
		if status = exit.Status; exit.Err == nil {
			return status
		}
	}
	fmt.Fprintln(c.Stderr, "yagura:", err)
	return status
}

// Exit ends the program with what parsing its command line has come to, if that is an error.
func (c *Command) Exit(_ string, err error) {
	if err != nil {
		os.Exit(c.Failed(err))
	}
}

// failing has an action return errors with an exit status: 1 is no failure.
func failing(do kingpin.Action) kingpin.Action {
	return func(p *kingpin.ParseContext) error {
		err := do(p)
		if exit := (*image.ExitError)(nil); err == nil || errors.As(err, &exit) {
			return err
		}
		return &image.ExitError{Status: statusFailed, Err: err}
	}
}

// run does a job, whoever has the store open.
func (c *Command) run(ctx context.Context, name string) error {
	if err := c.prepare(name); err != nil {
		return err
	}
	if name == "import" {
		bundle, err := c.openBundle()
		if err != nil {
			return err
		}
		defer bundle.Close()
		c.bundle = bundle
	}
	path := cmp.Or(c.store, c.Config.Store)
	if path == "" {
		return errors.New("fim.store is empty: want a file, there or by --store")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for _, wait := range []time.Duration{60 * time.Millisecond, inUseTimeout} { // a daemon has it for long, another command soon not any more
		var store *Store
		if store, err = c.open(path, wait); err == nil {
			return errors.Join(c.here(ctx, store), store.Close())
		}
		if !errors.Is(err, ErrInUse) {
			return c.unopened(path, err)
		}
		if err := c.there(ctx, path); !errors.Is(err, errNobody) {
			return err
		}
	}
	return fmt.Errorf("%w, and no daemon answers at %s", err, path+socketEnd)
}

// prepare makes the job of the flags.
func (c *Command) prepare(name string) (err error) {
	if c.root != "" {
		if c.root, err = filepath.Abs(c.root); err != nil {
			return err
		}
	}
	c.job.Do, c.job.JSON, c.job.Root = name, c.format == "json", c.root
	c.file = cmp.Or(c.file, "-") // of which kingpin makes nothing
	if c.scans {
		c.job.Scan = &c.scan
	}
	if c.job.Paths, err = c.absolute(); err != nil {
		return err
	}
	switch name {
	case "accept":
		if c.job.All && !c.yes && image.IsTerminal(c.Stdin) {
			return errors.New("accept --all: want --yes besides, after a look at `yagura fim diff`")
		}
	case "export":
		if c.job.Host == "" {
			if c.job.Host, err = os.Hostname(); err != nil {
				return err
			}
		}
		c.job.Key, err = readPEM(c.pem)
	case "import":
		c.job.Trusted, err = readPEM(c.pem)
	}
	return err
}

// absolute are the paths as the host sees them. Those of a tree elsewhere or of a container cannot be said from where one is.
func (c *Command) absolute() (all []octets, err error) {
	for _, p := range c.paths {
		if p == "" || !filepath.IsAbs(p) && (c.hostRoot() != "/" || c.job.Container != "") {
			return nil, fmt.Errorf("%s: want an absolute path", shown(p))
		}
		if p, err = filepath.Abs(p); err != nil {
			return nil, err
		}
		all = append(all, octets(p))
	}
	return all, nil
}

func (c *Command) hostRoot() string {
	if c.root == "" && c.Root != nil {
		return cmp.Or(*c.Root, "/")
	}
	return cmp.Or(c.root, "/")
}

// open opens the store as the job needs it.
func (c *Command) open(path string, wait time.Duration) (*Store, error) {
	o := StoreOptions{Key: cmp.Or(c.key, c.configuredKey()), ReadOnly: !jobs[c.job.Do].writes, Timeout: wait}
	if c.job.Do == "init" || c.job.Do == "import" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("make room for the baseline: %w", err)
		}
	}
	if c.job.Do == "accept" { // Open would make one
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			o.ReadOnly = true
		}
	}
	store, err := Open(path, o)
	if err != nil && c.job.Force && !errors.Is(err, ErrInUse) {
		o.New = true
		return Open(path, o)
	}
	return store, err
}

// configuredKey is the key of the configuration, which is that of the configured store alone.
func (c *Command) configuredKey() string {
	if c.store != "" && c.store != c.Config.Store {
		return ""
	}
	return c.Config.Key
}

// unopened says what to do about a store that cannot be opened.
func (c *Command) unopened(path string, err error) error {
	_, missing := os.Lstat(path)
	switch {
	case errors.Is(err, ErrTampered) && c.job.Do == "verify", errors.Is(err, ErrCorrupt) && c.job.Do == "verify":
		fmt.Fprintln(c.Stdout, err)
		return exitWith(statusSome)
	case errors.Is(err, ErrTampered), errors.Is(err, ErrCorrupt), errors.Is(err, fs.ErrNotExist) && missing == nil:
		return fmt.Errorf("%w: put back what is right, or begin anew with `yagura fim init --force`", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no baseline in %s: build it with `yagura fim init`", shown(path))
	}
	return err
}

// here does the job in this process.
func (c *Command) here(ctx context.Context, store *Store) error {
	config, root := *c.Config, c.hostRoot()
	config.Scan.RateFiles, config.Scan.RateBytes = c.rateFiles, c.rateBytes
	sets, err := NewSets(config, Resolver(root))
	if err != nil {
		return err
	}
	o := newOperator(store, config, sets, root)
	j := c.job
	j.Root = "" // which the operator's is
	return c.written(func(out, notes io.Writer, show func(Progress)) error {
		o.out, o.notes, o.show, o.bundle = out, notes, show, c.bundle
		return o.do(ctx, &j)
	})
}

// there has the daemon do the job.
func (c *Command) there(ctx context.Context, path string) error {
	return c.written(func(out, notes io.Writer, show func(Progress)) error {
		return ask(ctx, path, &c.job, c.bundle, out, notes, show)
	})
}

// written has a job done whose outcome is written where the command line says.
func (c *Command) written(do func(out, notes io.Writer, show func(Progress)) error) error {
	m := image.NewMeter(c.Stderr)
	defer m.Clear()
	show := func(p Progress) { m.Show(p.line) }
	notes := &meteredWriter{m, c.Stderr}
	if c.job.Do != "export" || c.file == "-" {
		return do(&meteredWriter{m, c.Stdout}, notes, show)
	}
	return writeFile(c.file, func(w io.Writer) error { return do(w, notes, show) })
}

// openBundle opens what is imported so that it can be read more than once.
func (c *Command) openBundle() (f *os.File, err error) {
	if c.file == "-" {
		return spool("", io.LimitReader(c.Stdin, maxBundle))
	}
	if f, err = os.OpenFile(c.file, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil { // which waits for no FIFO
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, cmp.Or(err, fmt.Errorf("%s: want a regular file", shown(c.file)))
	}
	return f, nil
}

// writeFile has a file written that is whole or not there. What is there and no regular file, such as a pipe or a link to one,
// is not replaced, but written to.
func writeFile(path string, write func(io.Writer) error) error {
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which fails once it is renamed
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return cmp.Or(os.Rename(f.Name(), path), syncDir(path))
}

const maxPEM = 64 << 10

func readPEM(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s: more than %d bytes: want a key", shown(path), maxPEM)
	}
	return string(text), err
}

// keygen writes a pair of keys, each to a file that has not been there.
func (c *Command) keygen() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	var made []string
	for _, of := range []struct {
		end, kind string
		der       []byte
		mode      fs.FileMode
	}{{".private.pem", "PRIVATE KEY", secret, 0o600}, {".public.pem", "PUBLIC KEY", open, 0o644}} {
		name := c.file + of.end
		if err := writeNew(name, pem.EncodeToMemory(&pem.Block{Type: of.kind, Bytes: of.der}), of.mode); err != nil {
			for _, name := range made {
				err = errors.Join(err, os.Remove(name)) // half a pair is none
			}
			return err
		}
		made = append(made, name)
	}
	for _, name := range made {
		fmt.Fprintln(c.Stdout, shown(name))
	}
	return nil
}

func writeNew(name string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// line is a progress in so many columns, if each rune takes one.
func (p *Progress) line(columns int) string {
	text := fmt.Sprintf("%d files", p.Files)
	if p.Known > 0 {
		text = fmt.Sprintf("%d of %d files", p.Files, p.Known)
	}
	line := []rune(fmt.Sprintf("%s, %.1f MiB read, %s", text, float64(p.Bytes)/(1<<20), shown(p.Path)))
	return string(line[:max(0, min(len(line), columns))])
}

// A meteredWriter clears the meter's line before it writes.
type meteredWriter struct {
	m  *image.Meter
	to io.Writer
}

func (w *meteredWriter) Write(b []byte) (int, error) {
	w.m.Clear()
	return w.to.Write(b)
}
