package fim

import (
	"bufio"
	"bytes"
	"cmp"
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
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/fim/image"
)

// A daemon has the store open, and so nobody else can. What commands ask for it does itself, at a socket beside the store: the
// mode of the socket keeps others out, and each connection is asked whose it is besides. A request is a job in JSON, behind
// which the bundle of an import follows; the answer is lines of JSON, each a frame, of which the last says how it ended.

// A frame is a line of an answer.
type frame struct {
	Out      []byte    `json:"out,omitempty"`
	Note     []byte    `json:"note,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	End      *ending   `json:"end,omitempty"`
}

// An ending is what the command's process ends with.
type ending struct {
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// Bounds of what goes through the socket.
const (
	maxRequests = 8         // at once
	maxOut      = 32 << 10  // bytes of one frame
	maxFrame    = 8 << 20   // bytes of its line: an error may name many paths
	maxBundle   = 8 << 30   // bytes of an import: some 20 million files
	controlPath = "/v1/fim" // of jobs
	socketEnd   = ".sock"   // behind the store's path
	hangUpAfter = 5 * time.Second
)

// ControlOptions say what a Control does on behalf of commands, and by whom.
type ControlOptions struct {
	Config Config
	Root   string        // where the host's files are; empty for /
	Sets   func() *Sets  // what is watched now
	Store  func() *Store // nil as long as it is not open

	// Rescan looks at all files of the host, and returns once that is done. It builds the baseline if there is none; anew, it is
	// forgotten first.
	Rescan func(ctx context.Context, anew bool) error

	// Learn looks at d.Path, and at d.From if that is not empty, has the store know what is there, and tells what has changed. It
	// is called by several goroutines. If it is nil the store learns what the scan has found, and nobody is told.
	Learn func(ctx context.Context, d *Difference) error

	Alone   func(ctx context.Context, do func() error) error // replaces the baseline while nobody looks at files; nil: right away
	Changed func()                                           // is called after a command has changed the baseline; may be nil
	Stats   func() Stats                                     // shows how far Rescan is; may be nil
	Log     *slog.Logger
}

// A Control lets commands reach the store that a daemon has open.
type Control struct {
	o        ControlOptions
	requests chan struct{} // holds one for each request
	writing  chan struct{} // holds one for the one that writes
}

// NewControl returns a Control that listens once it runs.
func NewControl(o ControlOptions) *Control {
	o.Root = cmp.Or(o.Root, "/")
	return &Control{o: o, requests: make(chan struct{}, maxRequests), writing: make(chan struct{}, 1)}
}

// Run does what commands ask for until ctx is done. If it cannot listen it says so in the log: nothing else depends on it.
func (c *Control) Run(ctx context.Context) error {
	if c.o.Config.Store == "" {
		<-ctx.Done()
		return nil
	}
	socket, err := listenBeside(ctx, c.o.Config.Store)
	if err != nil {
		c.o.Log.Error("commands cannot reach the baseline while this runs", "err", err)
		<-ctx.Done()
		return nil
	}
	defer socket.Close()
	var active sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			active.Add(1)
			defer active.Done()
			c.serve(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: withPeer,
		ErrorLog:    slog.NewLogLogger(c.o.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(socket) }()
	select {
	case err := <-ended:
		c.o.Log.Error("commands cannot reach the baseline any more", "err", err)
		<-ctx.Done()
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpAfter)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			c.o.Log.Warn("commands cut off", "err", cmp.Or(server.Close(), err))
		}
		<-ended
	}
	active.Wait()
	return nil
}

// A socket is a listener with the directory that it is in, through which it is reached whatever the length of its path.
type socket struct {
	net.Listener
	dir int
}

// listenBeside listens at the socket of a store, of which no other daemon may do so.
func listenBeside(ctx context.Context, store string) (*socket, error) {
	path := store + socketEnd
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	fd, at, err := openBeside(path)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	err = removeStale(at)
	var l net.Listener
	if err == nil {
		l, err = (&net.ListenConfig{Control: keepOthersOut}).Listen(ctx, "unix", at)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return &socket{l, fd}, nil
}

// Close removes the socket.
func (s *socket) Close() error {
	err := s.Listener.Close()
	if s.dir >= 0 {
		err = cmp.Or(err, unix.Close(s.dir))
		s.dir = -1
	}
	return err
}

// openBeside opens the directory that a socket is in, and returns by what the kernel finds it there: names of sockets have at most
// 107 bytes.
func openBeside(path string) (dir int, at string, err error) {
	dir, err = unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return dir, descriptor(dir) + "/" + filepath.Base(path), err
}

// keepOthersOut gives a socket its mode before it has a name.
func keepOthersOut(_, _ string, conn syscall.RawConn) error {
	var err error
	if broken := conn.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); broken != nil {
		return broken
	}
	return err
}

// removeStale removes the socket of a daemon that is dead.
func removeStale(at string) error {
	fi, err := os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return errors.New("something else is there: want it removed")
	}
	conn, err := net.DialTimeout("unix", at, hangUpAfter)
	switch {
	case err == nil:
		return errors.Join(errors.New("another daemon listens there"), conn.Close())
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(at)
	}
	return err
}

type peerKey struct{}

func withPeer(ctx context.Context, conn net.Conn) context.Context {
	peer, err := peerOf(conn)
	if err != nil {
		return ctx // which serve refuses
	}
	return context.WithValue(ctx, peerKey{}, peer)
}

// peerOf is who is at the other end: of a client, who has connected, and of a server, who has begun to listen.
func peerOf(conn net.Conn) (peer *unix.Ucred, err error) {
	of, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T: want a socket", conn)
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return nil, err
	}
	broken := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, cmp.Or(broken, err)
}

// isTrusted says whether a peer may do what this process may.
func isTrusted(peer *unix.Ucred) bool {
	return peer != nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

func (c *Control) serve(w http.ResponseWriter, r *http.Request) {
	peer, _ := r.Context().Value(peerKey{}).(*unix.Ucred)
	if !isTrusted(peer) {
		c.o.Log.Warn("a command was refused: it is neither root's nor of this process's user", "peer", peer)
		http.Error(w, "only root and the daemon's own user may ask", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != controlPath {
		http.Error(w, "want POST "+controlPath, http.StatusNotFound)
		return
	}
	store := c.o.Store()
	if store == nil {
		http.Error(w, "the baseline is not open", http.StatusServiceUnavailable)
		return
	}
	select {
	case c.requests <- struct{}{}:
		defer func() { <-c.requests }()
	default:
		http.Error(w, fmt.Sprintf("%d commands are being done: want fewer at once", maxRequests), http.StatusTooManyRequests)
		return
	}
	a := &answer{w: w, flush: http.NewResponseController(w).Flush}
	a.end(c.job(r.Context(), store, http.MaxBytesReader(w, r.Body, maxJob+maxBundle), peer, a))
}

// job reads a job and does it.
func (c *Control) job(ctx context.Context, store *Store, body io.Reader, peer *unix.Ucred, a *answer) error {
	j, rest, err := readJob(body)
	if err != nil {
		return fmt.Errorf("the command is not understood by the daemon, which may be of another version: %w", err)
	}
	o := c.operator(store, peer, a)
	if j.Do == "import" {
		bundle, err := spool(filepath.Dir(c.o.Config.Store), rest)
		if err != nil {
			return err
		}
		defer bundle.Close()
		o.bundle = bundle
	}
	if !jobs[j.Do].writes {
		return o.do(ctx, j)
	}
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(inUseTimeout): // as long as a command waits that opens the store itself
		return errors.New("another command is changing the baseline")
	}
	err = o.do(ctx, j)
	log := c.o.Log.With("command", j.Do, "uid", peer.Uid, "pid", peer.Pid)
	if err != nil {
		log.Warn("a command has not changed all of the baseline that it was to", "err", err)
	} else {
		log.Info("a command has changed the baseline")
	}
	if c.o.Changed != nil {
		c.o.Changed()
	}
	return err
}

// readJob reads a job, and returns what follows it.
func readJob(body io.Reader) (*job, io.Reader, error) {
	d := json.NewDecoder(io.LimitReader(body, maxJob))
	d.DisallowUnknownFields()
	j := &job{}
	if err := d.Decode(j); err != nil {
		return nil, nil, fmt.Errorf("want a job of at most %d bytes: %w", maxJob, err)
	}
	return j, io.MultiReader(d.Buffered(), body), nil
}

// operator is one that does as the daemon does.
func (c *Control) operator(store *Store, peer *unix.Ucred, a *answer) *operator {
	o := newOperator(store, c.o.Config, c.o.Sets(), c.o.Root)
	o.out, o.notes = a.writer(func(b []byte) frame { return frame{Out: b} }), a.writer(func(b []byte) frame { return frame{Note: b} })
	o.show, o.scans = a.progress, false
	o.rescan = func(ctx context.Context, anew bool) error {
		defer c.follow(a)()
		return c.o.Rescan(ctx, anew)
	}
	o.unread = func() (uint64, []string) { return 0, nil }
	if c.o.Stats != nil {
		o.unread = func() (uint64, []string) { return c.o.Stats().Unread, nil }
	}
	if c.o.Learn != nil {
		o.learn = c.o.Learn
	}
	if c.o.Alone != nil {
		o.alone = c.o.Alone
	}
	o.accepted = func(d *deviation) {
		c.o.Log.Info("accepted into the baseline", "path", shown(d.Path.Name), "container", d.Path.Container, "kinds", d.Kinds.Names(),
			"uid", peer.Uid, "pid", peer.Pid)
	}
	return o
}

// follow sends how far a scan is until the function that it returns is called.
func (c *Control) follow(a *answer) (stop func()) {
	if c.o.Stats == nil {
		return func() {}
	}
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				a.progress(c.o.Stats().Scanning)
			}
		}
	})
	return func() {
		close(done)
		following.Wait()
	}
}

// An answer sends frames.
type answer struct {
	flush func() error

	mu sync.Mutex // guards what follows
	w  io.Writer
}

func (a *answer) send(f frame) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := writeLine(a.w, f); err != nil {
		return err
	}
	return a.flush()
}

// progress is of no importance: that nobody listens any more is told by what is.
func (a *answer) progress(p Progress) { _ = a.send(frame{Progress: &p}) }

// end is the last frame.
func (a *answer) end(err error) {
	e := ending{}
	if err != nil {
		e.Status = statusFailed
		if exit := (*image.ExitError)(nil); errors.As(err, &exit) {
			e.Status, err = exit.Status, exit.Err
		}
		if err != nil {
			e.Error = err.Error()
		}
	}
	_ = a.send(frame{End: &e})
}

// writer returns one that sends frames.
func (a *answer) writer(frameOf func([]byte) frame) io.Writer { return &answerWriter{a, frameOf} }

type answerWriter struct {
	a       *answer
	frameOf func([]byte) frame
}

func (w *answerWriter) Write(b []byte) (n int, err error) {
	for n < len(b) {
		piece := b[n:min(len(b), n+maxOut)]
		if err := w.a.send(w.frameOf(piece)); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// errNobody is wrapped if no daemon has the store open.
var errNobody = errors.New("no daemon answers")

// ask has the daemon do a job, and writes what it answers. The error is what the command ends with, an *image.ExitError if the
// daemon has said so.
func ask(ctx context.Context, store string, j *job, bundle io.ReadSeeker, out, notes io.Writer, show func(Progress)) error {
	path := store + socketEnd
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialBeside(ctx, path) }
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dial}
	defer transport.CloseIdleConnections()
	head, err := json.Marshal(j)
	if err != nil {
		return err
	}
	body := io.Reader(bytes.NewReader(head))
	if bundle != nil {
		if _, err := bundle.Seek(0, io.SeekStart); err != nil {
			return err
		}
		body = io.MultiReader(body, bundle)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://yagura"+controlPath, body)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return fmt.Errorf("ask the daemon at %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		err := fmt.Errorf("ask the daemon at %s: %s", path, bytes.TrimSpace(text))
		if response.StatusCode == http.StatusServiceUnavailable {
			return fmt.Errorf("%w: %w", errNobody, err)
		}
		return err
	}
	return readAnswer(response.Body, out, notes, show)
}

// dialBeside connects to a daemon, which must be root's or of this process's user: keys are sent to it.
func dialBeside(ctx context.Context, path string) (net.Conn, error) {
	dir, at, err := openBeside(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	defer unix.Close(dir)
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", at)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	if err != nil {
		return nil, err
	}
	peer, err := peerOf(conn)
	if err == nil && !isTrusted(peer) {
		err = fmt.Errorf("it is a process of user %d: want one of root or of user %d", peer.Uid, os.Geteuid())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// readAnswer writes what comes in frames, and returns what the last one says.
func readAnswer(from io.Reader, out, notes io.Writer, show func(Progress)) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxFrame)
	for lines.Scan() {
		var f frame
		if err := strictJSON(lines.Bytes(), &f); err != nil {
			return fmt.Errorf("the daemon's answer is not understood, which may be of another version: %w", err)
		}
		if _, err := out.Write(f.Out); err != nil {
			return err
		}
		if _, err := notes.Write(f.Note); err != nil {
			return err
		}
		if f.Progress != nil {
			show(*f.Progress)
		}
		if f.End != nil {
			return f.End.outcome()
		}
	}
	return fmt.Errorf("the daemon has not said how it ended: %w", cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
}

// outcome is what has been done, as an error.
func (e *ending) outcome() error {
	switch {
	case e.Error != "":
		return &image.ExitError{Status: e.Status, Err: errors.New(e.Error)}
	case e.Status != 0:
		return exitWith(e.Status)
	}
	return nil
}
