package containers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// errNotFound is Docker's answer to an id it does not know.
var errNotFound = errors.New("no such container")

// A docker speaks the Docker Engine API, which Podman serves too.
type docker struct {
	name string
	http *http.Client

	mu     sync.Mutex
	driver string // cgroupfs or systemd
}

func dialDocker(socket, name string) (engine, error) {
	return &docker{name: name, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:       lookers,
		IdleConnTimeout:    time.Minute,
		DisableCompression: true,
	}}}, nil
}

func (e *docker) Close() { e.http.CloseIdleConnections() }

func (e *docker) Version(ctx context.Context) (name, version string, err error) {
	var v struct{ Version string }
	if err := e.get(ctx, "/version", nil, &v); err != nil {
		return "", "", err
	}
	return e.name, v.Version, nil
}

// A dockerEvent is one line of /events, as far as it is read.
type dockerEvent struct {
	Type     string
	Action   string
	Actor    struct{ ID string }
	TimeNano int64 `json:"timeNano"`
}

// Watch follows container events. It asks for those of the last second too: the reply begins before Docker listens.
func (e *docker) Watch(ctx context.Context, to reporter, ready func()) error {
	query := url.Values{
		"filters": {`{"type":["container"]}`},
		"since":   {strconv.FormatInt(to.now()/int64(time.Second)-1, 10)},
	}
	body, err := e.open(ctx, "/events", query)
	if err != nil {
		return fmt.Errorf("subscribe to events: %w", err)
	}
	defer body.Close()
	ready()
	lines := json.NewDecoder(body)
	for {
		var ev dockerEvent
		if err := lines.Decode(&ev); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		e.handle(ctx, to, ev)
	}
}

func (e *docker) handle(ctx context.Context, to reporter, ev dockerEvent) {
	if ev.Type != "container" || !isID(ev.Actor.ID) {
		return
	}
	switch ev.Action {
	case "create", "start", "restart", "rename":
		ctx, cancel := context.WithTimeout(ctx, 5*askTimeout)
		defer cancel()
		asOf := to.now()
		if f, err := e.inspect(ctx, ev.Actor.ID); err == nil {
			to.found(f, asOf)
		}
	case "destroy", "remove":
		at := ev.TimeNano
		if at == 0 {
			at = to.now()
		}
		to.gone(found{Container: event.Container{ID: ev.Actor.ID, Runtime: e.name}}, at)
	}
}

// List reports the containers that run. Others are asked for when they start.
func (e *docker) List(ctx context.Context, to reporter) error {
	asOf := to.now()
	e.mu.Lock()
	e.driver = ""
	e.mu.Unlock()
	var list []struct{ ID string }
	if err := e.get(ctx, "/containers/json", nil, &list); err != nil {
		return err
	}
	keys := map[string]bool{}
	for _, c := range list {
		if !isID(c.ID) {
			continue
		}
		f, err := e.inspect(ctx, c.ID)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		keys[f.key()] = true
		to.found(f, asOf)
	}
	to.all(keys, asOf)
	return nil
}

// LookUp asks for a container by its id.
func (e *docker) LookUp(ctx context.Context, candidate Candidate) ([]found, error) {
	if !candidate.Strict || candidate.Runtime != "" && candidate.Runtime != e.name {
		return nil, nil
	}
	f, err := e.inspect(ctx, candidate.ID)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []found{f}, nil
}

// A dockerContainer is the reply to an inspection, as far as it is read.
type dockerContainer struct {
	ID      string `json:"Id"`
	Name    string
	Created time.Time
	Image   string // the image's id
	State   struct{ Pid int }
	Config  struct {
		Image       string // as it was asked for
		Labels      map[string]string
		Healthcheck struct{ Test []string }
	}
	HostConfig struct {
		CgroupParent                  string
		Privileged                    bool
		PidMode, NetworkMode, IpcMode string
	}
	Mounts []struct {
		Source, Destination, Mode, Propagation string
		RW                                     bool
	}
	NetworkSettings struct {
		IPAddress string // of the default network; newer engines do not say it
		Networks  map[string]struct{ IPAddress string }
	}
}

func (e *docker) inspect(ctx context.Context, id string) (found, error) {
	var c dockerContainer
	if err := e.get(ctx, "/containers/"+url.PathEscape(id)+"/json", nil, &c); err != nil {
		return found{}, err
	}
	f := c.found(e.name)
	if e.name == "docker" {
		driver, err := e.cgroupDriver(ctx)
		if err != nil {
			return found{}, err
		}
		f.paths = dockerPaths(driver, c.HostConfig.CgroupParent, c.ID)
	}
	return f, nil
}

func (c *dockerContainer) found(runtime string) found {
	f := found{
		Container: event.Container{
			ID:      c.ID,
			Runtime: runtime,
			Image:   c.Config.Image,
			ImageID: c.Image,
			Labels:  c.Config.Labels,
		},
		pid: c.State.Pid,
	}
	if !c.Created.IsZero() {
		f.Created = c.Created.UnixNano()
	}
	c.give(&f.Container)
	f.Workload.Container = strings.TrimPrefix(c.Name, "/")
	describe(&f.Container, f.Labels, nil)
	return f
}

// give enters what the container was given.
func (c *dockerContainer) give(to *event.Container) {
	given := &c.HostConfig
	to.Known, to.Privileged = true, given.Privileged
	to.HostPID, to.HostNetwork, to.HostIPC = given.PidMode == "host", given.NetworkMode == "host", given.IpcMode == "host"
	for _, m := range c.Mounts {
		to.Mounts = append(to.Mounts, event.Mount{
			Source: m.Source, Dest: m.Destination, Mode: m.Mode, Writable: m.RW, Propagation: m.Propagation,
		})
	}
	to.IP = c.NetworkSettings.IPAddress
	for _, name := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
		to.IP = cmp.Or(to.IP, c.NetworkSettings.Networks[name].IPAddress)
	}
	to.Healthcheck = commandLine(c.Config.Healthcheck.Test)
}

// commandLine returns the command of a health check, empty if there is none or the image's is switched off.
func commandLine(test []string) string {
	if len(test) > 1 && (test[0] == "CMD" || test[0] == "CMD-SHELL") {
		return strings.Join(test[1:], " ")
	}
	return ""
}

// cgroupDriver returns how Docker names cgroups.
func (e *docker) cgroupDriver(ctx context.Context) (string, error) {
	e.mu.Lock()
	driver := e.driver
	e.mu.Unlock()
	if driver != "" {
		return driver, nil
	}
	var info struct{ CgroupDriver string }
	if err := e.get(ctx, "/info", nil, &info); err != nil {
		return "", err
	}
	e.mu.Lock()
	e.driver = info.CgroupDriver
	e.mu.Unlock()
	return info.CgroupDriver, nil
}

// dockerPaths returns where Docker puts a container. The default of daemon.json for the parent is not told by the API:
// such a container is found by its process.
func dockerPaths(driver, parent, id string) []string {
	if driver == "systemd" {
		return scopePaths(parent + ":docker:" + id)
	}
	if parent == "" {
		parent = "docker"
	}
	return []string{path.Join("/", parent, id)}
}

// get reads one reply into v.
func (e *docker) get(ctx context.Context, endpoint string, query url.Values, v any) error {
	body, err := e.open(ctx, endpoint, query)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxReply)).Decode(v); err != nil {
		return fmt.Errorf("read %s: %w", endpoint, err)
	}
	return nil
}

// open sends one request. The API version is left to the server: what is read here has been in all of them.
func (e *docker) open(ctx context.Context, endpoint string, query url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: e.name, Path: endpoint, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	reply, err := e.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	if reply.StatusCode == http.StatusOK {
		return reply.Body, nil
	}
	defer reply.Body.Close()
	message, err := io.ReadAll(io.LimitReader(reply.Body, 1<<10))
	switch {
	case reply.StatusCode == http.StatusNotFound:
		return nil, errNotFound
	case err != nil:
		return nil, fmt.Errorf("%s: %s: %w", endpoint, reply.Status, err)
	}
	return nil, fmt.Errorf("%s: %s: %s", endpoint, reply.Status, strings.TrimSpace(string(message)))
}
