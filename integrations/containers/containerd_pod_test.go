package containers

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/yagura-io/yagura/rules/event"
)

// A testedPod is how a pod is to be run, and what is to be known of it.
type testedPod struct {
	first      bool // the first event of the container has its name
	privileged bool
	network    runtimeapi.NamespaceMode
	address    string
}

// testPod runs a pod with one container.
func (c *testContainerd) testPod(t *testing.T, r *Resolver, p testedPod) {
	conn, err := dialGRPC(c.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.eventually("it is connected", func() bool { return r.Status()[0].Up })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	api := runtimeapi.NewRuntimeServiceClient(conn)
	parent := "/" + c.ns + "/pods"
	os.Mkdir(c.tree+parent, 0o755)
	seen := c.follow(r, parent)

	uid := "0f2d6a1c-7b0e-4f4e-9a53-1d2a3b4c5d6e"
	labels := func(container string) map[string]string {
		l := map[string]string{
			"io.kubernetes.pod.name": "shop-7d9c5b8f6-abcde", "io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": uid,
		}
		if container != "" {
			l["io.kubernetes.container.name"] = container
		} else {
			l["pod-template-hash"] = "7d9c5b8f6"
		}
		return l
	}
	spaces := &runtimeapi.NamespaceOption{Network: p.network, Pid: runtimeapi.NamespaceMode_CONTAINER, Ipc: runtimeapi.NamespaceMode_NODE}
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "shop-7d9c5b8f6-abcde", Namespace: "prod", Uid: uid, Attempt: uint32(time.Now().UnixNano() % 1e6)},
		Labels:   labels(""),
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    parent,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: spaces, Privileged: p.privileged},
		},
	}
	made, err := api.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) || strings.Contains(err.Error(), "cni") {
			t.Skipf("containerd's CRI plugin cannot make a pod here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { removePod(c, made.GetPodSandboxId()) })
	s := c.next(seen)
	got := c.named(r, s.id)
	want := event.Workload{Namespace: "prod", Pod: "shop-7d9c5b8f6-abcde"}
	if got.Workload != want || !got.IsSandbox || got.ID != made.GetPodSandboxId() || got.PodUID != uid || got.Sandbox != got.ID ||
		got.Runtime != "containerd" {
		t.Errorf("sandbox = %+v, want %v", got, want)
	}

	given := event.Container{Known: true, HostNetwork: p.network == runtimeapi.NamespaceMode_NODE, HostIPC: true, IP: p.address, PodLabels: got.Labels}
	checkGiven(t, "sandbox", got, given)
	if got.Labels["pod-template-hash"] != "7d9c5b8f6" {
		t.Errorf("labels of the sandbox = %v", got.Labels)
	}

	container, err := api.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: made.GetPodSandboxId(),
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "cart"},
			Image:    &runtimeapi.ImageSpec{Image: testImage},
			Labels:   labels("cart"),
			Mounts:   []*runtimeapi.Mount{{HostPath: c.dir, ContainerPath: "/data", Readonly: true}},
			Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: spaces, Privileged: p.privileged,
			}},
		},
		SandboxConfig: sandbox,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: container.GetContainerId()}); err != nil {
		t.Fatal(err)
	}
	s = c.next(seen)
	got = c.named(r, s.id)
	want.Container = "cart"
	if got.Workload != want || got.IsSandbox || got.ID != container.GetContainerId() || got.Sandbox != made.GetPodSandboxId() ||
		got.Image == "" || got.ImageID == "" || got.PodUID != uid {
		t.Errorf("container = %+v, want %v", got, want)
	}
	given.Privileged = p.privileged
	given.Mounts = []event.Mount{{Source: c.dir, Dest: "/data", Mode: "rbind,rprivate,ro", Propagation: "rprivate"}}
	checkGiven(t, "container", got, given)
	if p.first && s.first == nil {
		t.Errorf("the first event of the container had no name")
	}
	t.Logf("%s: image %s, %s", s.path, got.Image, got.ImageID)
}

// checkGiven compares what a container was given, without the files that the runtime itself mounts from the host.
func checkGiven(t *testing.T, what string, c *event.Container, want event.Container) {
	t.Helper()
	got := *c
	got.Mounts = slices.DeleteFunc(slices.Clone(got.Mounts), func(m event.Mount) bool {
		return strings.HasPrefix(m.Dest, "/etc/") || m.Dest == "/dev/shm"
	})
	if !sameGrant(&got, &want) {
		t.Errorf("%s is given %+v, want %+v", what, got, want)
	}
}

func removePod(c *testContainerd, id string) {
	conn, err := dialGRPC(c.socket())
	if err != nil {
		return
	}
	defer conn.Close()
	api := runtimeapi.NewRuntimeServiceClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	api.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}, grpc.WaitForReady(false))
	api.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
}
