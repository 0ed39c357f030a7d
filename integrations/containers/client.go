package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Ranks of sources: who knows a container's name best. Docker's containers are containerd's too, without their names.
const (
	rankDocker = iota
	rankCRI
	rankContainerd
	rankFiles
)

// Status is what is known of one socket.
type Status struct {
	Runtime string // containerd, cri-o, docker, podman
	API     string // how it is spoken to: containerd, cri, docker
	Socket  string // with the root prefix
	Found   bool   // it exists
	Up      bool   // it answers
	Version string // what it last said
	Err     error  // why it is not up; nil if it is not there
}

// An engine is a connection to one container runtime.
type engine interface {
	// Version returns the runtime's name and version.
	Version(ctx context.Context) (name, version string, err error)
	// Watch reports containers as they come and go until the connection fails. Once it is subscribed it calls ready,
	// once.
	Watch(ctx context.Context, to reporter, ready func()) error
	// List reports every container there is.
	List(ctx context.Context, to reporter) error
	// LookUp returns the containers that may be the candidate. Not to know it is no error.
	LookUp(ctx context.Context, candidate Candidate) ([]found, error)
	Close()
}

// A reporter enters into the table what one runtime says.
type reporter struct {
	r    *Resolver
	from *source
}

func (to reporter) now() int64                        { return to.r.now() }
func (to reporter) found(f found, asOf int64)         { to.r.table.put(to.from, f, asOf) }
func (to reporter) gone(f found, at int64)            { to.r.table.lose(to.from, f.key(), at) }
func (to reporter) all(keys map[string]bool, t int64) { to.r.table.keep(to.from, keys, t) }

// A client keeps one socket connected.
type client struct {
	source
	r      *Resolver
	api    string
	kind   string // docker, podman, cri, containerd
	socket string
	dial   func(socket string) (engine, error)

	mu     sync.Mutex
	engine engine // nil unless it is up
	seen   bool   // it has been there
	status Status
}

func newClients(r *Resolver, root string, cfg Config) []*client {
	var list []*client
	for _, api := range []struct {
		name, runtime string
		rank          int
		sockets       []string
		dial          func(socket string) (engine, error)
	}{
		{"docker", "docker", rankDocker, cfg.Docker, func(s string) (engine, error) { return dialDocker(s, "docker") }},
		{"docker", "podman", rankDocker, cfg.Podman, func(s string) (engine, error) { return dialDocker(s, "podman") }},
		{"cri", "cri", rankCRI, cfg.CRI, func(s string) (engine, error) { return dialCRI(s) }},
		{"containerd", "containerd", rankContainerd, cfg.Containerd, func(s string) (engine, error) { return dialContainerd(s, r) }},
	} {
		for _, socket := range under(root, api.sockets) {
			list = append(list, &client{
				source: source{rank: api.rank}, r: r, api: api.name, kind: api.runtime, socket: socket, dial: api.dial,
				status: Status{Runtime: api.runtime},
			})
		}
	}
	return list
}

// Waiting between attempts: a runtime that restarts is back within a second, one that is broken stays so for long.
const (
	retryFirst  = 100 * time.Millisecond
	retryLast   = 10 * time.Second
	absentEvery = time.Second
	askTimeout  = time.Second
	healthEvery = 30 * time.Second
	relistSoon  = 2 * time.Second // an event between subscribe and the first list may be missed: no runtime says when it listens
	relistEvery = 5 * time.Minute
	listTimeout = 30 * time.Second
)

func (c *client) run(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		up, err := c.session(ctx)
		c.r.listed(c)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			wait = absentEvery
		case up:
			wait = retryFirst
		default:
			wait = min(max(2*wait, retryFirst), retryLast)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// session is one connection, from dial to failure.
func (c *client) session(parent context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer func() {
		if parent.Err() == nil {
			c.down(err)
		}
	}()
	e, err := c.open(ctx)
	if err != nil {
		return false, err
	}
	defer e.Close()
	c.up(e)
	defer c.disconnect()

	to := reporter{c.r, &c.source}
	subscribed := make(chan struct{})
	tended := make(chan error, 1)
	go func() {
		defer cancel() // ends Watch
		tended <- c.tend(ctx, e, to, subscribed)
	}()
	err = e.Watch(ctx, to, func() { close(subscribed) })
	cancel()
	if tendErr := <-tended; tendErr != nil && !errors.Is(tendErr, context.Canceled) {
		err = tendErr
	}
	return true, err
}

// open connects and asks for the version.
func (c *client) open(ctx context.Context) (engine, error) {
	if _, err := os.Stat(c.socket); err != nil {
		return nil, err
	}
	e, err := c.dial(c.socket)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.socket, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	name, version, err := e.Version(ctx)
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("version of %s: %w", c.socket, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Runtime, c.status.Version = name, version
	return e, nil
}

// tend lists, at first and now and then, and notices a runtime that is connected but does not answer.
func (c *client) tend(ctx context.Context, e engine, to reporter, subscribed <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-subscribed:
	}
	if err := c.list(ctx, e, to); err != nil {
		return err
	}
	c.r.listed(c)
	relist := time.NewTimer(relistSoon)
	defer relist.Stop()
	health := time.NewTicker(healthEvery)
	defer health.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-relist.C:
			err = c.list(ctx, e, to)
			relist.Reset(relistEvery)
		case <-health.C:
			err = c.alive(ctx, e)
		}
		if err != nil {
			return err
		}
	}
}

func (c *client) list(ctx context.Context, e engine, to reporter) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	if err := e.List(ctx, to); err != nil {
		return fmt.Errorf("list containers of %s: %w", c.socket, err)
	}
	return nil
}

func (c *client) alive(ctx context.Context, e engine) error {
	ctx, cancel := context.WithTimeout(ctx, 5*askTimeout)
	defer cancel()
	if _, _, err := e.Version(ctx); err != nil {
		return fmt.Errorf("%s does not answer: %w", c.socket, err)
	}
	return nil
}

// lookUp asks about one candidate and enters what the runtime says. A runtime that is down cannot say that it does not
// know.
func (c *client) lookUp(ctx context.Context, candidate Candidate) error {
	e := c.connected()
	if e == nil {
		if c.present() {
			return errors.New("not connected")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	asOf := c.r.now()
	list, err := e.LookUp(ctx, candidate)
	for _, f := range list {
		c.r.table.put(&c.source, c.r.verified(f, candidate), asOf)
	}
	return err
}

func (c *client) probe(ctx context.Context) {
	e, err := c.open(ctx)
	if err == nil {
		c.up(e)
		c.disconnect()
		e.Close()
		return
	}
	c.down(err)
}

func (c *client) up(e engine) {
	c.mu.Lock()
	c.engine, c.seen = e, true
	c.status.Up, c.status.Err = true, nil
	name, version := c.status.Runtime, c.status.Version
	c.mu.Unlock()
	c.r.log.Info("container runtime connected", "runtime", name, "socket", c.socket, "version", version)
}

func (c *client) disconnect() {
	c.mu.Lock()
	c.engine = nil
	c.mu.Unlock()
}

// down notes why a socket does not answer and logs it when that changes.
func (c *client) down(err error) {
	absent := errors.Is(err, fs.ErrNotExist)
	c.mu.Lock()
	wasUp, known := c.status.Up, c.status.Err
	c.seen = c.seen || !absent
	c.status.Up = false
	c.status.Err = err
	if absent && !c.seen {
		c.status.Err = nil
	}
	report := c.status.Err != nil && (wasUp || known == nil || known.Error() != err.Error())
	name := c.status.Runtime
	c.mu.Unlock()
	if report {
		c.r.log.Warn("container runtime does not answer", "runtime", name, "socket", c.socket, "err", err)
	}
}

func (c *client) connected() engine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engine
}

// present reports whether the runtime is on this machine, working or not.
func (c *client) present() bool {
	_, err := os.Stat(c.socket)
	return err == nil
}

func (c *client) report() Status {
	found := c.present()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.API, s.Socket, s.Found = c.api, c.socket, found
	return s
}

// hasDocker reports whether a Docker engine is on this machine.
func (r *Resolver) hasDocker() bool {
	return slices.ContainsFunc(r.clients, func(c *client) bool {
		return c.kind == "docker" && c.present()
	})
}
