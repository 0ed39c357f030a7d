package fim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// controlled runs a Control for a store with a complete baseline of a tree, until the test ends or stop is called.
type controlled struct {
	store *Store
	path  string
	tree  string
	log   *bytes.Buffer // once it was stopped
	stop  func()
}

func control(t *testing.T, change func(o *ControlOptions)) *controlled {
	t.Helper()
	c := &controlled{tree: t.TempDir(), path: filepath.Join(t.TempDir(), "fim.db"), log: &bytes.Buffer{}}
	write(t, filepath.Join(c.tree, "file"), "content")
	c.store = openStore(t, c.path, StoreOptions{})
	config := Config{Store: c.path, Scan: DefaultConfig.Scan, Watches: []WatchConfig{{Name: "tree", Paths: []string{c.tree}}}}
	sets, err := NewSets(config, Resolver("/"))
	must(t, err)
	_, err = newOperator(c.store, config, sets, "/").build(t.Context(), false)
	must(t, err)
	o := ControlOptions{Config: config, Sets: func() *Sets { return sets }, Store: func() *Store { return c.store },
		Rescan: func(context.Context, bool) error { return nil }, Log: slog.New(slog.NewTextHandler(c.log, nil))}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- NewControl(o).Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the daemon's end has ended: %v", err)
		}
	})
	t.Cleanup(c.stop)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		conn, err := dialBeside(t.Context(), c.path+socketEnd)
		if err == nil {
			must(t, conn.Close())
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("the daemon does not answer: %v", err)
		}
	}
}

// asks has a job done, and returns what was written.
func (c *controlled) asks(t *testing.T, j *job) (out, notes string, err error) {
	t.Helper()
	var o, n bytes.Buffer
	err = ask(t.Context(), c.path, j, nil, &o, &n, func(Progress) {})
	return o.String(), n.String(), err
}

func TestControlLeavesNoGoroutineAndNoSocketBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c := control(t, nil)
	if out, _, err := c.asks(t, &job{Do: "verify"}); err != nil || out != "ok: 2 entries\n" {
		t.Errorf("verify says %q, %v", out, err)
	}
	c.stop()
	if _, err := os.Lstat(c.path + socketEnd); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket after the end: %v: want it gone", err)
	}
	goleak.VerifyNone(t, before)
}

// A daemon that ends waits for nobody who has asked, and who has asked is told.
func TestControlEndsWhileACommandWaits(t *testing.T) {
	before := goleak.IgnoreCurrent()
	asked := make(chan struct{})
	c := control(t, func(o *ControlOptions) {
		o.Rescan = func(ctx context.Context, _ bool) error {
			close(asked)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	failed := make(chan error)
	go func() {
		_, _, err := c.asks(t, &job{Do: "init", Force: true})
		failed <- err
	}()
	<-asked
	c.stop()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "canceled") && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("init while the daemon ends: %v", err)
	}
	goleak.VerifyNone(t, before)
}

func TestControlWithoutAStoreOnlyWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewControl(ControlOptions{Log: slog.New(slog.DiscardHandler)}).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNobodyAnswersUntilTheStoreIsOpen(t *testing.T) {
	c := control(t, func(o *ControlOptions) { o.Store = func() *Store { return nil } })
	if _, _, err := c.asks(t, &job{Do: "verify"}); !errors.Is(err, errNobody) {
		t.Errorf("a daemon without a store: %v: want %v", err, errNobody)
	}
	if err := ask(t.Context(), filepath.Join(t.TempDir(), "absent/fim.db"), &job{}, nil, io.Discard, io.Discard, nil); !errors.Is(err, errNobody) {
		t.Errorf("no daemon: %v: want %v", err, errNobody)
	}
}

func TestSocketIsItsOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 150), "lib") // longer than a socket's address may be
	s, err := listenBeside(t.Context(), filepath.Join(dir, "fim.db"))
	must(t, err)
	defer s.Close()
	for path, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, filepath.Join(dir, "fim.db.sock"): fs.ModeSocket | 0o600} {
		fi, err := os.Lstat(path)
		must(t, err)
		if fi.Mode() != want {
			t.Errorf("%s has the mode %v: want %v", path, fi.Mode(), want)
		}
	}
}

func TestOnlyASocketOfTheDeadIsReplaced(t *testing.T) {
	store := filepath.Join(t.TempDir(), "fim.db")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: store + socketEnd, Net: "unix"})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	must(t, dead.Close())
	live, err := listenBeside(t.Context(), store)
	if err != nil {
		t.Fatalf("where a dead daemon's socket is: %v", err)
	}
	if _, err := listenBeside(t.Context(), store); err == nil || !strings.Contains(err.Error(), "another daemon listens there") {
		t.Errorf("where a live daemon listens: %v", err)
	}
	conn, err := dialBeside(t.Context(), store+socketEnd)
	if err != nil {
		t.Errorf("the live daemon afterwards: %v", err)
	} else {
		conn.Close()
	}
	must(t, live.Close())
	write(t, store+socketEnd, "a file")
	if _, err := listenBeside(t.Context(), store); err == nil || !strings.Contains(err.Error(), "something else is there") {
		t.Errorf("where a file is: %v", err)
	}
}

func TestIsTrusted(t *testing.T) {
	t.Parallel()
	own := uint32(os.Geteuid())
	for _, test := range []struct {
		peer *unix.Ucred
		want bool
	}{{nil, false}, {&unix.Ucred{Uid: 0}, true}, {&unix.Ucred{Uid: own}, true}, {&unix.Ucred{Uid: own + 1}, false}, {&unix.Ucred{Uid: 65534}, false}} {
		if got := isTrusted(test.peer); got != test.want {
			t.Errorf("isTrusted(%+v) = %v", test.peer, got)
		}
	}
}

// asOther runs a function on a thread of another user, which ends with it. The function must not wait for other goroutines.
func asOther(t *testing.T, do func()) {
	t.Helper()
	needRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Errorf("become another user: %v", errno)
			return
		}
		do()
	}()
	<-done
}

// TestOtherUsersAreRefused though the socket's mode lets them in.
func TestOtherUsersAreRefused(t *testing.T) {
	needRoot(t)
	c := control(t, nil)
	dir, err := unix.Open(filepath.Dir(c.path), unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	address := &unix.SockaddrUnix{Name: descriptor(dir) + "/" + filepath.Base(c.path) + socketEnd}
	connect := func() (fd int, err error) {
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		asOther(t, func() { err = unix.Connect(fd, address) })
		return fd, err
	}
	fd, err := connect()
	if err != unix.EACCES {
		t.Errorf("another user connects to the socket: %v: want %v", err, unix.EACCES)
	}
	unix.Close(fd)

	must(t, os.Chmod(c.path+socketEnd, 0o666))
	must(t, os.Chmod(filepath.Dir(c.path), 0o755))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(c.path)), 0o755))
	fd, err = connect()
	must(t, err)
	f := os.NewFile(uintptr(fd), "socket")
	conn, err := net.FileConn(f)
	must(t, errors.Join(err, f.Close()))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	r, err := client.Post("http://yagura"+controlPath, "", strings.NewReader(`{"do":"accept","all":true}`))
	must(t, err)
	defer r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("another user asks: %s: want %d", r.Status, http.StatusForbidden)
	}
	c.stop()
	if !strings.Contains(c.log.String(), "a command was refused") {
		t.Errorf("the log says nothing of it: %s", c.log)
	}
}

// TestKeysAreSentToNoOtherUser who has got hold of the socket's name.
func TestKeysAreSentToNoOtherUser(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "fim.db.sock")
	dir, at, err := openBeside(path)
	must(t, err)
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: at}))
	asOther(t, func() { err = unix.Listen(fd, 1) })
	must(t, err)
	if _, err := dialBeside(t.Context(), path); err == nil || !strings.Contains(err.Error(), "it is a process of user 65534") {
		t.Errorf("a server of another user: %v", err)
	}
}

func TestCommandsThatWriteAreDoneOneAfterTheOther(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	c := control(t, func(o *ControlOptions) {
		o.Rescan = func(context.Context, bool) error {
			close(asked)
			<-goOn
			return nil
		}
	})
	first := make(chan error)
	go func() {
		_, _, err := c.asks(t, &job{Do: "init", Force: true})
		first <- err
	}()
	<-asked
	if _, _, err := c.asks(t, &job{Do: "accept", All: true}); err == nil || !strings.Contains(err.Error(), "another command is changing the baseline") {
		t.Errorf("accept while init waits: %v", err)
	}
	if _, _, err := c.asks(t, &job{Do: "diff"}); err != nil {
		t.Errorf("diff while init waits: %v", err)
	}
	close(goOn)
	if err := <-first; err != nil {
		t.Errorf("init: %v", err)
	}
}

func TestControlCallsWhomItIsToldTo(t *testing.T) {
	var learnt []string
	alone, changed := 0, 0
	c := control(t, func(o *ControlOptions) {
		o.Learn = func(_ context.Context, d *Difference) error {
			learnt = append(learnt, d.Path.Name)
			_, err := o.Store().Learn([]Sight{{Path: d.Path, Now: d.New, Of: Everything}})
			return err
		}
		o.Alone = func(_ context.Context, do func() error) error {
			alone++
			return do()
		}
		o.Changed = func() { changed++ }
	})
	file := filepath.Join(c.tree, "file")
	write(t, file, "other content")
	if out, _, err := c.asks(t, &job{Do: "accept", Paths: []octets{octets(c.tree)}}); err != nil || !strings.HasPrefix(out, "accepted "+file+": content, ") {
		t.Errorf("accept says %q, %v", out, err)
	}
	if !slices.Equal(learnt, []string{file}) || changed != 1 {
		t.Errorf("learnt %q, changed %d times", learnt, changed)
	}
	public, private := keys(t)
	var bundle bytes.Buffer
	if err := ask(t.Context(), c.path, &job{Do: "export", Key: private}, nil, &bundle, io.Discard, nil); err != nil {
		t.Fatalf("export: %v", err)
	}
	if err := ask(t.Context(), c.path, &job{Do: "import", Trusted: public}, bytes.NewReader(bundle.Bytes()), io.Discard, io.Discard, nil); err != nil || alone != 1 {
		t.Errorf("import: %v, alone %d times", err, alone)
	}
	c.stop()
	if log := c.log.String(); strings.Contains(log, "KEY") {
		t.Errorf("a key is in the log: %s", log)
	}
}

// keys is a pair in PEM.
func keys(t *testing.T) (public, private string) {
	t.Helper()
	dir := t.TempDir()
	c := &Command{file: filepath.Join(dir, "k"), Stdout: io.Discard}
	must(t, c.keygen())
	for name, to := range map[string]*string{"k.public.pem": &public, "k.private.pem": &private} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		*to = string(text)
	}
	return public, private
}

func TestProgressIsSentWhileTheDaemonScans(t *testing.T) {
	seen, goOn := make(chan Progress, 100), make(chan struct{})
	c := control(t, func(o *ControlOptions) {
		o.Stats = func() Stats { return Stats{Scanning: Progress{Files: 7, Path: "/etc"}, Unread: 3} }
		o.Rescan = func(context.Context, bool) error {
			<-goOn
			return nil
		}
	})
	var notes bytes.Buffer
	failed := make(chan error)
	go func() {
		failed <- ask(t.Context(), c.path, &job{Do: "init", Force: true}, nil, io.Discard, &notes, func(p Progress) { seen <- p })
	}()
	if p := <-seen; p.Files != 7 || p.Path != "/etc" {
		t.Errorf("progress %+v", p)
	}
	close(goOn)
	if err := <-failed; err != nil || notes.String() != "not read: 3 files and directories\n" {
		t.Errorf("init ends with %v, and says %q", err, notes.String())
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	c := control(t, nil)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialBeside(ctx, c.path+socketEnd) }}}
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"another method", "GET", controlPath, "", http.StatusNotFound, "want POST"},
		{"another path", "POST", "/", "", http.StatusNotFound, "want POST"},
		{"no job", "POST", controlPath, "", 200, "is not understood by the daemon"},
		{"no JSON", "POST", controlPath, "\xff\x00", 200, "is not understood by the daemon"},
		{"an unknown field", "POST", controlPath, `{"do":"diff","nmae":1}`, 200, "unknown field"},
		{"an unknown job", "POST", controlPath, `{"do":"dance"}`, 200, `\"dance\": want accept, diff`},
		{"a path that is none", "POST", controlPath, `{"do":"diff","paths":["etc/../../x"]}`, 200, "want an absolute and clean path"},
		{"a path with NUL", "POST", controlPath, `{"do":"accept","paths":["/a\u0000b"]}`, 200, "want a path without NUL"},
		{"too many paths", "POST", controlPath, `{"do":"diff","paths":[` + strings.Repeat(`"/",`, maxPaths) + `"/"]}`, 200, "want at most"},
		{"too large a job", "POST", controlPath, `{"do":"diff","paths":["` + strings.Repeat("x", maxJob), 200, "want a job of at most"},
		{"an import without a bundle", "POST", controlPath, `{"do":"import"}`, 200, "the keys that are trusted"},
		{"an export without a key", "POST", controlPath, `{"do":"export"}`, 200, "the key to sign with"},
		{"another root", "POST", controlPath, `{"do":"init","force":true,"root":"/elsewhere"}`, 200, "the daemon's files are in /"},
		{"a container that is not there", "POST", controlPath, `{"do":"diff","container":"none"}`, 200, "there is none, or it is being built"},
	} {
		r, err := http.NewRequest(test.method, "http://yagura"+test.path, strings.NewReader(test.body))
		must(t, err)
		response, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != test.status || !strings.Contains(string(body), test.want) {
			t.Errorf("%s: %s, %q, %v: want %d, %q", test.name, response.Status, body, err, test.status, test.want)
		}
	}
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	var waiting sync.WaitGroup
	goOn := make(chan struct{})
	asked := make(chan struct{}, maxRequests)
	c := control(t, func(o *ControlOptions) {
		o.Sets = func() *Sets {
			asked <- struct{}{}
			<-goOn
			return &Sets{}
		}
	})
	for range maxRequests {
		waiting.Go(func() { c.asks(t, &job{Do: "verify"}) })
	}
	for range maxRequests {
		<-asked
	}
	if _, _, err := c.asks(t, &job{Do: "verify"}); err == nil || !strings.Contains(err.Error(), "want fewer at once") {
		t.Errorf("one more: %v", err)
	}
	close(goOn)
	waiting.Wait()
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, answer, want string }{
		{"nothing", "", "has not said how it ended"},
		{"cut off", `{"out":"eA=="}` + "\n" + `{"en`, "is not understood"},
		{"no end", `{"out":"eA=="}` + "\n", "unexpected EOF"},
		{"another version", `{"sound":"x"}` + "\n", "may be of another version"},
		{"too long", strings.Repeat("x", maxFrame+1), "token too long"},
		{"an error", `{"end":{"status":2,"error":"so it is"}}` + "\n", "so it is"},
		{"a status", `{"end":{"status":1}}` + "\n", "exit status 1"},
	} {
		if err := readAnswer(strings.NewReader(test.answer), io.Discard, io.Discard, func(Progress) {}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v: want %q", test.name, err, test.want)
		}
	}
}

// TestAnswersAreWhatWasWritten through frames, of any bytes and whatever their number.
func TestAnswersAreWhatWasWritten(t *testing.T) {
	t.Parallel()
	var through, out bytes.Buffer
	a := &answer{w: &through, flush: func() error { return nil }}
	var want []byte
	w := a.writer(func(b []byte) frame { return frame{Out: b} })
	for _, size := range []int{0, 1, maxOut, maxOut + 1, 3*maxOut - 1} {
		piece := bytes.Repeat([]byte{byte(size), 0xff, '\n', 0}, size)[:size]
		want = append(want, piece...)
		if n, err := w.Write(piece); n != size || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", size, n, err)
		}
	}
	a.end(fmt.Errorf("so: %w", exitWith(1)))
	if err := readAnswer(&through, &out, io.Discard, nil); err == nil || err.Error() != "exit status 1" || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("read %d bytes, %v: want %d", out.Len(), err, len(want))
	}
}

func FuzzReadJob(f *testing.F) {
	for _, j := range []job{{Do: "diff", Paths: []octets{"/etc", "/\xff\n"}}, {Do: "import", Trusted: "x"}, {}} {
		text, err := json.Marshal(j)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(text, "rest"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		j, rest, err := readJob(bytes.NewReader(b))
		if err != nil {
			return
		}
		text, err := json.Marshal(j)
		must(t, err)
		again, _, err := readJob(bytes.NewReader(text))
		if err != nil || len(again.Paths) != len(j.Paths) || again.Do != j.Do {
			t.Errorf("%q is read as %+v, and that as %+v, %v", b, j, again, err)
		}
		left, err := io.ReadAll(rest)
		if err != nil || !bytes.HasSuffix(b, left) {
			t.Errorf("what follows %q: %q, %v", b, left, err)
		}
	})
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"out":"eA==","progress":{"Files":1}}` + "\n" + `{"end":{"status":1,"error":"x"}}` + "\n"))
	f.Add([]byte(`{"end":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if err := readAnswer(bytes.NewReader(b), &out, io.Discard, func(Progress) {}); err == nil && len(b) == 0 || out.Len() > len(b) {
			t.Errorf("%q is read as %q, %v", b, out.Bytes(), err)
		}
	})
}
