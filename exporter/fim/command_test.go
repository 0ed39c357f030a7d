package fim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/bbolt"

	"github.com/yagura-io/yagura/exporter/fim/image"
)

// The main thread stays the main goroutine's: one that went into a root of its own would never end, and be asked for the root of
// the whole process.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"yagura": program}) }

// program is as much of the real one as commands need: the configuration, and a daemon that has the store open.
func program() {
	app := kingpin.New("yagura", "Commands of fim.")
	var path string
	config := DefaultConfig
	app.Flag("config.file", "").Default("fim.yml").StringVar(&path)
	action := func(do func(context.Context) error) kingpin.Action {
		return func(*kingpin.ParseContext) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all := struct {
				FIM Config `yaml:"fim"`
			}{config}
			if err := yaml.UnmarshalWithOptions([]byte(os.ExpandEnv(string(text))), &all, yaml.Strict()); err != nil {
				return err
			}
			config = all.FIM
			if err := config.Validate(); err != nil {
				return err
			}
			return do(ctx)
		}
	}
	command := (&Command{Config: &config}).Add(app, action)
	app.Command("run", "").Action(action(func(ctx context.Context) error { return daemon(ctx, config) }))
	if _, err := app.Parse(os.Args[1:]); err != nil {
		os.Exit(command.Failed(err))
	}
}

// daemon has the store open and scans it, without a watcher.
func daemon(ctx context.Context, config Config) error {
	if err := os.MkdirAll(filepath.Dir(config.Store), 0o700); err != nil {
		return err
	}
	store, err := Open(config.Store, StoreOptions{})
	if err != nil {
		return err
	}
	defer store.Close()
	sets, err := NewSets(config, Resolver("/"))
	if err != nil {
		return err
	}
	c := NewControl(ControlOptions{
		Config: config, Sets: func() *Sets { return sets }, Store: func() *Store { return store },
		Rescan: func(ctx context.Context, anew bool) error {
			_, err := newOperator(store, config, sets, "/").build(ctx, anew)
			return err
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	return c.Run(ctx)
}

func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/command",
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("%q: want root", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("OWNER", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": exitStatus, "await": await, "forge": forge, "hold": hold, "interrupt": interrupt,
		},
	})
}

// exitStatus runs a command that must end with a status.
func exitStatus(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: status N command …")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d: want %s", got, args[0])
	}
}

// await waits until a daemon answers at a socket.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(time.Minute); ; {
		conn, err := dialBeside(context.Background(), ts.MkAbs(args[0]))
		if err == nil {
			ts.Check(conn.Close())
			return
		}
		if !errors.Is(err, errNobody) || time.Now().After(end) {
			ts.Fatalf("%v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// forge changes a byte of the last entry in a store, as somebody without the key may.
func forge(ts *testscript.TestScript, _ bool, args []string) {
	db, err := bbolt.Open(ts.MkAbs(args[0]), 0o600, nil)
	ts.Check(err)
	defer db.Close()
	ts.Check(db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(entriesBucket).Bucket(shelfName(""))
		key, value := b.Cursor().Last()
		forged := append([]byte{}, value...)
		forged[len(forged)-tagSize-1] ^= 1
		return b.Put(key, forged)
	}))
}

// hold has another process's store open for the rest of the script.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	s, err := Open(ts.MkAbs(args[0]), StoreOptions{})
	ts.Check(err)
	ts.Defer(func() { s.Close() })
}

// interrupt leaves a store as an import does that is killed.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	s, err := Open(ts.MkAbs(args[0]), StoreOptions{})
	ts.Check(err)
	ts.Check(s.Forget(""))
	ts.Check(s.SetMeta("", func(m *Meta) { *m = Meta{Created: time.Now(), Origin: "/ of golden:1, exported 2026-01-02T03:04:05Z"} }))
	ts.Check(s.Close())
}

func TestFailedSaysWhatThereIsToSay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		chosen bool
		err    error
		status int
		said   string
	}{
		{"another command's error", false, errors.New("so"), 1, "yagura: so\n"},
		{"usage of ours", true, errors.New("so"), 2, "yagura: so\n"},
		{"a status alone", true, exitWith(1), 1, ""},
		{"a status and an error", true, &image.ExitError{Status: 2, Err: errors.New("so")}, 2, "yagura: so\n"},
	} {
		var said bytes.Buffer
		c := &Command{Stderr: &said, chosen: test.chosen}
		if got := c.Failed(test.err); got != test.status || said.String() != test.said {
			t.Errorf("%s: %d, %q: want %d, %q", test.name, got, said.String(), test.status, test.said)
		}
	}
}

// TestWhatIsNoRegularFileIsNotReplaced by what is exported: /dev/null would be gone.
func TestWhatIsNoRegularFileIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, target := filepath.Join(dir, "link"), filepath.Join(dir, "target")
	write(t, target, "before, and longer than after")
	must(t, os.Symlink(target, link))
	hello := func(w io.Writer) error {
		_, err := io.WriteString(w, "hello")
		return err
	}
	for path, want := range map[string]fs.FileMode{link: fs.ModeSymlink, "/dev/null": fs.ModeDevice | fs.ModeCharDevice, filepath.Join(dir, "new"): 0} {
		if err := writeFile(path, hello); err != nil {
			t.Errorf("write %s: %v", path, err)
		}
		if fi, err := os.Lstat(path); err != nil || fi.Mode().Type() != want {
			t.Errorf("%s afterwards: %v, %v", path, fi, err)
		}
	}
	for _, path := range []string{link, filepath.Join(dir, "new")} {
		if text, err := os.ReadFile(path); string(text) != "hello" {
			t.Errorf("%s has %q, %v", path, text, err)
		}
	}
	failed := errors.New("failed")
	if err := writeFile(filepath.Join(dir, "none"), func(io.Writer) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("a write that fails: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "none*")); err != nil || len(left) > 0 {
		t.Errorf("what it leaves behind: %q, %v", left, err)
	}
}

func TestProgressFitsALine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		p       Progress
		columns int
		want    string
	}{
		{Progress{Files: 3, Bytes: 3 << 19, Path: "/etc/motd"}, 80, "3 files, 1.5 MiB read, /etc/motd"},
		{Progress{Files: 3, Known: 9, Path: "/etc/motd"}, 80, "3 of 9 files, 0.0 MiB read, /etc/motd"},
		{Progress{Files: 3, Path: "/a\x1b[2Jb"}, 80, `3 files, 0.0 MiB read, "/a\x1b[2Jb"`},
		{Progress{Files: 3, Path: "/ééé"}, 26, "3 files, 0.0 MiB read, /éé"},
		{Progress{}, 0, ""},
	} {
		if got := test.p.line(test.columns); got != test.want {
			t.Errorf("%+v in %d columns is %q: want %q", test.p, test.columns, got, test.want)
		}
	}
}
