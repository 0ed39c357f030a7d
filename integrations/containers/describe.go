package containers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// An ociSpec is the part of a container's OCI runtime specification that says who and where it is.
type ociSpec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       *struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

func parseSpec(data []byte) (ociSpec, error) {
	var spec ociSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return ociSpec{}, fmt.Errorf("read OCI spec: %w", err)
	}
	return spec, nil
}

func (s ociSpec) cgroupsPath() string {
	if s.Linux == nil {
		return ""
	}
	return s.Linux.CgroupsPath
}

// describe fills in what labels and annotations say of a container: Kubernetes' names, which every runtime keeps as
// the kubelet gave them, or the name that its user gave.
func describe(c *event.Container, labels, annotations map[string]string) {
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := cmp.Or(labels[k], annotations[k]); v != "" {
				return v
			}
		}
		return ""
	}
	c.Namespace = first("io.kubernetes.pod.namespace", "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri-o.Namespace")
	c.Pod = first("io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name")
	c.PodUID = first("io.kubernetes.pod.uid", "io.kubernetes.cri.sandbox-uid")
	c.Sandbox = cmp.Or(c.Sandbox, first("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID", "io.kubernetes.sandbox.id"))
	c.Image = cmp.Or(c.Image, first("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"))
	c.ImageID = cmp.Or(c.ImageID, first("io.kubernetes.cri-o.ImageRef"))
	switch first("io.cri-containerd.kind", "io.kubernetes.cri.container-type", "io.kubernetes.docker.type", "io.kubernetes.cri-o.ContainerType") {
	case "sandbox", "podsandbox":
		c.IsSandbox = true
	}
	if c.IsSandbox {
		c.Sandbox = cmp.Or(c.Sandbox, c.ID)
		c.Workload.Container = ""
		return
	}
	name := first("io.kubernetes.container.name", "io.kubernetes.cri.container-name", "nerdctl/name")
	c.Workload.Container = cmp.Or(name, c.Workload.Container, shortID(c.ID))
}

// shortID returns how people write a long id.
func shortID(id string) string {
	if isID(id) {
		return id[:12]
	}
	return id
}

// owner returns what made a pod, as far as the labels that its controller gave to it tell.
func owner(pod string, labels map[string]string) (kind, name string) {
	if job := cmp.Or(labels["batch.kubernetes.io/job-name"], labels["job-name"]); job != "" {
		return "Job", job
	}
	if hash := labels["pod-template-hash"]; hash != "" {
		if name, ok := cutLast(pod); ok {
			if deployment, ok := strings.CutSuffix(name, "-"+hash); ok {
				return "Deployment", deployment
			}
			return "ReplicaSet", name
		}
	}
	if labels["statefulset.kubernetes.io/pod-name"] != "" {
		if name, ok := cutLast(pod); ok {
			return "StatefulSet", name
		}
	}
	if labels["controller-revision-hash"] != "" {
		if name, ok := cutLast(pod); ok {
			return "DaemonSet", name
		}
	}
	return "", ""
}

// cutLast returns a name without its last dash and what follows.
func cutLast(name string) (string, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return "", false
	}
	return name[:i], true
}

// Report probes every socket and says of each in a line what it found, for `doctor`.
func (r *Resolver) Report(ctx context.Context) []string {
	var lines []string
	for _, s := range r.Probe(ctx) {
		state := "not there"
		switch {
		case s.Up:
			state = "up, version " + s.Version
		case s.Err != nil:
			state = "DOWN: " + s.Err.Error()
		}
		lines = append(lines, fmt.Sprintf("%-11s %-10s %s: %s", s.Runtime, s.API, s.Socket, state))
	}
	return lines
}
