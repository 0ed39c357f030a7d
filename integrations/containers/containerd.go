package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/yagura-io/yagura/rules/event"
)

// moby is the containerd namespace of the Docker engine. Docker itself knows the names of what is in it.
const moby = "moby"

// maxReply is what containerd and the CRI runtimes allow themselves to send at once.
const maxReply = 32 << 20

// dialGRPC connects to a socket without waiting for it.
func dialGRPC(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
	)
}

// A containerd speaks containerd's own API, which knows the containers of all its clients: CRI, nerdctl, ctr.
type containerd struct {
	r          *Resolver
	conn       *grpc.ClientConn
	events     eventsapi.EventsClient
	containers containersapi.ContainersClient
	tasks      tasksapi.TasksClient
	images     imagesapi.ImagesClient
	namespaces namespacesapi.NamespacesClient
	version    versionapi.VersionClient

	mu       sync.Mutex
	relative map[containerdName]string // cgroup paths of containers that are not placed yet
}

type containerdName struct{ namespace, id string }

func dialContainerd(socket string, r *Resolver) (engine, error) {
	conn, err := dialGRPC(socket)
	if err != nil {
		return nil, err
	}
	return &containerd{
		r:          r,
		conn:       conn,
		events:     eventsapi.NewEventsClient(conn),
		containers: containersapi.NewContainersClient(conn),
		tasks:      tasksapi.NewTasksClient(conn),
		images:     imagesapi.NewImagesClient(conn),
		namespaces: namespacesapi.NewNamespacesClient(conn),
		version:    versionapi.NewVersionClient(conn),
		relative:   map[containerdName]string{},
	}, nil
}

func (e *containerd) Close() { e.conn.Close() }

func (e *containerd) Version(ctx context.Context) (name, version string, err error) {
	v, err := e.version.Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", "", err
	}
	return "containerd", v.GetVersion(), nil
}

// Watch follows containers and tasks of all namespaces.
func (e *containerd) Watch(ctx context.Context, to reporter, ready func()) error {
	stream, err := e.events.Subscribe(ctx, &eventsapi.SubscribeRequest{
		Filters: []string{`topic~="^/containers/"`, `topic=="/tasks/create"`, `topic=="/tasks/start"`},
	})
	if err != nil {
		return fmt.Errorf("subscribe to containerd's events: %w", err)
	}
	ready()
	for {
		envelope, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("read containerd's events: %w", err)
		}
		e.handle(ctx, to, envelope)
	}
}

// handle follows one event. The container is asked for at once: its event comes before its first process.
func (e *containerd) handle(ctx context.Context, to reporter, envelope *types.Envelope) {
	id, image := eventNames(envelope.GetEvent().GetValue())
	name := containerdName{envelope.GetNamespace(), id}
	if id == "" || e.isDockers(name.namespace) {
		return
	}
	at := envelope.GetTimestamp().AsTime().UnixNano()
	switch envelope.GetTopic() {
	case "/containers/create":
		if e.refresh(ctx, to, name) && !isID(id) {
			to.found(name.remembered(image, at), at)
		}
	case "/containers/update":
		e.refresh(ctx, to, name)
	case "/containers/delete":
		e.place(name, "")
		to.gone(name.found(), at)
	case "/tasks/create", "/tasks/start":
		e.started(ctx, to, name)
	}
}

// eventNames returns the container's id, which is field 1 of every event about a container or its task, and the image,
// which is field 2 of the one that tells of its making.
func eventNames(data []byte) (id, image string) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return id, ""
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return id, ""
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeString(data)
			switch number {
			case 1:
				id = value
			case 2:
				image = value
			}
		}
		data = data[n:]
	}
	return id, image
}

// remembered is a container that was gone before it could be asked for, as the event of its making tells of it. Its
// control group is where containerd puts those of a client that names none; one with a generated id may be anywhere.
func (n containerdName) remembered(image string, at int64) found {
	f := n.found()
	f.Image, f.Created = image, at
	describe(&f.Container, nil, nil)
	f.paths = []string{"/" + n.namespace + "/" + n.id}
	return f
}

// started asks again for a container whose cgroup only its process can tell.
func (e *containerd) started(ctx context.Context, to reporter, name containerdName) {
	e.mu.Lock()
	_, waits := e.relative[name]
	e.mu.Unlock()
	if waits {
		e.refresh(ctx, to, name)
	}
}

// refresh asks for a container, and says whether it is gone already.
func (e *containerd) refresh(ctx context.Context, to reporter, name containerdName) (gone bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*askTimeout)
	defer cancel()
	asOf := to.now()
	f, err := e.get(ctx, name)
	switch {
	case err == nil:
		to.found(f, asOf)
	case status.Code(err) == codes.NotFound:
		return true
	case ctx.Err() == nil:
		e.r.log.Warn("containerd does not tell of a container", "namespace", name.namespace, "id", name.id, "err", err)
	}
	return false
}

func (n containerdName) found() found {
	return found{Container: event.Container{ID: n.id, Runtime: "containerd"}, scope: n.namespace}
}

// List reports the containers of all namespaces.
func (e *containerd) List(ctx context.Context, to reporter) error {
	asOf := to.now()
	keys := map[string]bool{}
	namespaces, err := e.namespaceNames(ctx)
	if err != nil {
		return err
	}
	for _, ns := range namespaces {
		if e.isDockers(ns) {
			continue
		}
		if err := e.listNamespace(ctx, to, ns, asOf, keys); err != nil {
			return fmt.Errorf("namespace %s: %w", ns, err)
		}
	}
	to.all(keys, asOf)
	return nil
}

func (e *containerd) listNamespace(ctx context.Context, to reporter, ns string, asOf int64, keys map[string]bool) error {
	stream, err := e.containers.ListStream(inNamespace(ctx, ns), &containersapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f, err := e.describe(ctx, ns, message.GetContainer())
		if err != nil {
			e.r.log.Warn("container left out", "namespace", ns, "id", message.GetContainer().GetID(), "err", err)
			continue
		}
		keys[f.key()] = true
		to.found(f, asOf)
	}
}

func (e *containerd) namespaceNames(ctx context.Context) ([]string, error) {
	reply, err := e.namespaces.List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	names := make([]string, 0, len(reply.GetNamespaces()))
	for _, ns := range reply.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	return names, nil
}

// LookUp asks for a container by its id, in the namespace that a plain path names or in all.
func (e *containerd) LookUp(ctx context.Context, candidate Candidate) ([]found, error) {
	if !slices.Contains([]string{"", "containerd", "docker"}, candidate.Runtime) {
		return nil, nil
	}
	namespaces := []string{candidate.Namespace}
	if candidate.Strict {
		var err error
		if namespaces, err = e.namespaceNames(ctx); err != nil {
			return nil, err
		}
	}
	for _, ns := range namespaces {
		if e.isDockers(ns) {
			continue
		}
		f, err := e.get(ctx, containerdName{ns, candidate.ID})
		switch status.Code(err) {
		case codes.OK:
			if !slices.Contains(f.paths, candidate.Path) {
				f.pid = e.pid(ctx, ns, candidate.ID)
			}
			return e.withSandbox(ctx, f), nil
		case codes.NotFound, codes.InvalidArgument: // no such id, or none that could be one
		default:
			return nil, err
		}
	}
	return nil, nil
}

// withSandbox adds what is known of a container's pod, which the list would tell later.
func (e *containerd) withSandbox(ctx context.Context, f found) []found {
	if f.Sandbox != "" && f.Sandbox != f.ID {
		if sandbox, err := e.get(ctx, containerdName{f.scope, f.Sandbox}); err == nil {
			return []found{sandbox, f}
		}
	}
	return []found{f}
}

func (e *containerd) get(ctx context.Context, name containerdName) (found, error) {
	reply, err := e.containers.Get(inNamespace(ctx, name.namespace), &containersapi.GetContainerRequest{ID: name.id})
	if err != nil {
		return found{}, err
	}
	return e.describe(ctx, name.namespace, reply.GetContainer())
}

// describe reads a container's record, its OCI spec and its image.
func (e *containerd) describe(ctx context.Context, ns string, c *containersapi.Container) (found, error) {
	f := containerdName{ns, c.GetID()}.found()
	f.Image = c.GetImage()
	f.Sandbox = c.GetSandbox()
	f.Labels = c.GetLabels()
	if c.GetCreatedAt() != nil {
		f.Created = c.GetCreatedAt().AsTime().UnixNano()
	}
	if ns == moby {
		f.Runtime = "docker"
	}
	var spec ociSpec
	if data := c.GetSpec().GetValue(); len(data) > 0 {
		var err error
		if spec, err = parseSpec(data); err != nil {
			return found{}, err
		}
		grant(&f.Container, data)
	}
	describe(&f.Container, f.Labels, spec.Annotations)
	for _, name := range []string{"io.cri-containerd.container.metadata", "io.cri-containerd.sandbox.metadata"} {
		var noted criRecord
		if json.Unmarshal(c.GetExtensions()[name].GetValue(), &noted) == nil {
			noted.give(&f.Container)
		}
	}
	f.paths = scopePaths(spec.cgroupsPath())
	if len(f.paths) == 0 {
		f = e.locate(ctx, ns, f, spec.cgroupsPath())
	}
	if c.GetImage() != "" {
		f.ImageID = e.digest(ctx, ns, c.GetImage())
	}
	return f, nil
}

// locate finds the cgroup of a container whose spec has a path relative to where containerd runs, once its process is
// there to tell.
func (e *containerd) locate(ctx context.Context, ns string, f found, relative string) found {
	if relative == "" {
		relative = f.ID // runc's own choice
	}
	relative = strings.TrimPrefix(relative, "./")
	if f.pid = e.pid(ctx, ns, f.ID); f.pid != 0 {
		f = e.r.placed(f, relative)
	}
	if len(f.paths) == 0 {
		e.place(containerdName{ns, f.ID}, relative)
	} else {
		e.place(containerdName{ns, f.ID}, "")
	}
	return f
}

// place notes that a container is still to be located, or not any more.
func (e *containerd) place(name containerdName, relative string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if relative == "" {
		delete(e.relative, name)
		return
	}
	if len(e.relative) < e.r.table.limits.Containers {
		e.relative[name] = relative
	}
}

// pid returns a container's first process, or 0.
func (e *containerd) pid(ctx context.Context, ns, id string) int {
	reply, err := e.tasks.Get(inNamespace(ctx, ns), &tasksapi.GetRequest{ContainerID: id})
	if err != nil {
		return 0
	}
	return int(reply.GetProcess().GetPid())
}

// digest returns what an image's name stands for in containerd's store, or "".
func (e *containerd) digest(ctx context.Context, ns, image string) string {
	reply, err := e.images.Get(inNamespace(ctx, ns), &imagesapi.GetImageRequest{Name: image})
	if err != nil {
		return ""
	}
	return reply.GetImage().GetTarget().GetDigest()
}

// isDockers reports whether a namespace's containers are named by a Docker socket.
func (e *containerd) isDockers(ns string) bool { return ns == moby && e.r.hasDocker() }

// inNamespace says which containerd namespace a request is about.
func inNamespace(ctx context.Context, ns string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", ns)
}
