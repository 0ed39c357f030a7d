package containers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/yagura-io/yagura/rules/event"
)

// pollEvery is how often a runtime that sends no events is listed. Its new cgroups are asked about at once.
const pollEvery = 5 * time.Second

// A cri speaks the Kubernetes runtime interface.
type cri struct {
	conn *grpc.ClientConn
	api  runtimeapi.RuntimeServiceClient
	name string
}

func dialCRI(socket string) (engine, error) {
	conn, err := dialGRPC(socket)
	if err != nil {
		return nil, err
	}
	return &cri{conn: conn, api: runtimeapi.NewRuntimeServiceClient(conn)}, nil
}

func (e *cri) Close() { e.conn.Close() }

func (e *cri) Version(ctx context.Context) (name, version string, err error) {
	v, err := e.api.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", "", err
	}
	// It is fixed for the life of a connection, and the first call is over before any other is made.
	if e.name == "" {
		e.name = cmp.Or(label(v.GetRuntimeName()), "cri")
	}
	return e.name, v.GetRuntimeVersion(), nil
}

// Watch follows the runtime's container events, or lists it often if it has none: they are an option of CRI-O and
// containerd, off by default.
func (e *cri) Watch(ctx context.Context, to reporter, ready func()) error {
	stream, err := e.api.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return fmt.Errorf("subscribe to container events: %w", err)
	}
	ready()
	for {
		ev, err := stream.Recv()
		if status.Code(err) == codes.Unimplemented || errors.Is(err, io.EOF) {
			return e.poll(ctx, to)
		}
		if err != nil {
			return fmt.Errorf("read container events: %w", err)
		}
		e.handle(ctx, to, ev)
	}
}

func (e *cri) poll(ctx context.Context, to reporter) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := e.List(ctx, to); err != nil {
			return err
		}
	}
}

func (e *cri) handle(ctx context.Context, to reporter, ev *runtimeapi.ContainerEventResponse) {
	id := ev.GetContainerId()
	switch ev.GetContainerEventType() {
	case runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT:
		ctx, cancel := context.WithTimeout(ctx, 5*askTimeout)
		defer cancel()
		asOf := to.now()
		list, err := e.LookUp(ctx, Candidate{ID: id, Strict: true})
		if err != nil {
			return // the list that follows tells of it, or why not
		}
		for _, f := range list {
			to.found(f, asOf)
		}
	case runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT:
		at := ev.GetCreatedAt()
		if at == 0 {
			at = to.now()
		}
		to.gone(found{Container: event.Container{ID: id, Runtime: e.name}}, at)
	}
}

// List reports all sandboxes and containers.
func (e *cri) List(ctx context.Context, to reporter) error {
	asOf := to.now()
	keys := map[string]bool{}
	sandboxes, err := e.api.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list pod sandboxes: %w", err)
	}
	for _, s := range sandboxes.GetItems() {
		f, err := e.sandbox(ctx, s.GetId())
		if err := e.report(to, f, err, keys, asOf); err != nil {
			return fmt.Errorf("status of pod sandbox %s: %w", s.GetId(), err)
		}
	}
	containers, err := e.api.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers.GetContainers() {
		f, err := e.container(ctx, c.GetId())
		f.Sandbox = c.GetPodSandboxId()
		if err := e.report(to, f, err, keys, asOf); err != nil {
			return fmt.Errorf("status of container %s: %w", c.GetId(), err)
		}
	}
	to.all(keys, asOf)
	return nil
}

// report enters one answer. What has gone since the list is no error.
func (e *cri) report(to reporter, f found, err error, keys map[string]bool, asOf int64) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	keys[f.key()] = true
	to.found(f, asOf)
	return nil
}

// LookUp asks for a container, then for a sandbox, of the candidate's id. With a container comes its sandbox, which knows
// of the pod.
func (e *cri) LookUp(ctx context.Context, candidate Candidate) ([]found, error) {
	if !candidate.Strict || candidate.Runtime == "podman" {
		return nil, nil
	}
	f, err := e.container(ctx, candidate.ID)
	if unknownHere(err) {
		f, err = e.sandbox(ctx, candidate.ID)
	}
	if unknownHere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Without the spec, that the path has both its id and its pod's is as much as this runtime can confirm.
	if len(f.paths) == 0 && f.pid == 0 && f.PodUID != "" && f.PodUID == candidate.PodUID {
		f.paths = []string{candidate.Path}
	}
	if f.Sandbox != "" && !f.IsSandbox {
		if sandbox, err := e.sandbox(ctx, f.Sandbox); err == nil {
			return []found{sandbox, f}, nil
		}
	}
	return []found{f}, nil
}

// unknownHere recognises an id that the runtime does not know. CRI-O before 1.20 has no code for it.
func unknownHere(err error) bool {
	return status.Code(err) == codes.NotFound ||
		status.Code(err) == codes.Unknown && err != nil && strings.Contains(err.Error(), "not find")
}

func (e *cri) container(ctx context.Context, id string) (found, error) {
	reply, err := e.api.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return found{}, err
	}
	s := reply.GetStatus()
	image := s.GetImage().GetUserSpecifiedImage()
	if image == "" {
		image = s.GetImage().GetImage()
	}
	f := found{Container: event.Container{
		ID:      s.GetId(),
		Runtime: e.name,
		Image:   image,
		ImageID: s.GetImageRef(),
		Labels:  s.GetLabels(),
		Created: s.GetCreatedAt(),
	}}
	info := parseInfo(reply.GetInfo())
	f.pid, f.paths, f.Sandbox = info.Pid, scopePaths(info.Spec.cgroupsPath()), info.SandboxID
	parseGrant(reply.GetInfo()).give(&f.Container)
	describe(&f.Container, f.Labels, info.Spec.Annotations)
	if s.GetMetadata().GetName() != "" {
		f.Workload.Container = s.GetMetadata().GetName()
	}
	return f, nil
}

func (e *cri) sandbox(ctx context.Context, id string) (found, error) {
	reply, err := e.api.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return found{}, err
	}
	s := reply.GetStatus()
	info := parseInfo(reply.GetInfo())
	f := found{
		Container: event.Container{
			ID:        s.GetId(),
			Runtime:   e.name,
			Image:     info.Image,
			Labels:    s.GetLabels(),
			Sandbox:   s.GetId(),
			IsSandbox: true,
			Created:   s.GetCreatedAt(),
			IP:        s.GetNetwork().GetIp(),
		},
		pid:   info.Pid,
		paths: scopePaths(info.Spec.cgroupsPath()),
	}
	parseGrant(reply.GetInfo()).Spec.give(&f.Container)
	shared := s.GetLinux().GetNamespaces().GetOptions()
	f.HostPID = f.HostPID || shared.GetPid() == runtimeapi.NamespaceMode_NODE
	f.HostNetwork = f.HostNetwork || shared.GetNetwork() == runtimeapi.NamespaceMode_NODE
	f.HostIPC = f.HostIPC || shared.GetIpc() == runtimeapi.NamespaceMode_NODE
	describe(&f.Container, f.Labels, info.Spec.Annotations)
	f.Namespace, f.Pod, f.PodUID = s.GetMetadata().GetNamespace(), s.GetMetadata().GetName(), s.GetMetadata().GetUid()
	return f, nil
}

// criInfo is the part of a verbose status that containerd and CRI-O both write, as JSON under "info".
type criInfo struct {
	SandboxID string  `json:"sandboxID"`
	Pid       int     `json:"pid"`
	Image     string  `json:"image"`
	Spec      ociSpec `json:"runtimeSpec"`
}

// parseInfo reads what it can: the text is not part of the interface.
func parseInfo(info map[string]string) criInfo {
	var parsed criInfo
	if json.Unmarshal([]byte(info["info"]), &parsed) != nil {
		return criInfo{}
	}
	return parsed
}

// A criGrant is the part of the same text that says what the container was given. CRI-O says whether it is privileged,
// containerd what the kubelet asked for.
type criGrant struct {
	Privileged bool      `json:"privileged"`
	Config     criConfig `json:"config"`
	Spec       ociGrant  `json:"runtimeSpec"`
}

// parseGrant reads all of it or nothing: half of what a container was given is not what it was given.
func parseGrant(info map[string]string) *criGrant {
	var parsed criGrant
	if json.Unmarshal([]byte(info["info"]), &parsed) != nil {
		return &criGrant{}
	}
	return &parsed
}

func (g *criGrant) give(c *event.Container) {
	g.Spec.give(c)
	c.Privileged = c.Privileged || g.Privileged || g.Config.privileged()
}
