package containers

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// An ociGrant is the part of a container's OCI runtime specification that says what the container was given.
type ociGrant struct {
	Process *struct {
		Capabilities struct {
			Bounding []string `json:"bounding"`
		} `json:"capabilities"`
	} `json:"process"`
	Mounts []ociMount `json:"mounts"`
	Linux  *struct {
		Namespaces  []ociNamespace `json:"namespaces"`
		MaskedPaths []string       `json:"maskedPaths"`
		Resources   struct {
			Devices []ociDevice `json:"devices"`
		} `json:"resources"`
	} `json:"linux"`
}

type ociNamespace struct {
	Type string `json:"type"`
	Path string `json:"path"`
}

type ociMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

type ociDevice struct {
	Allow  bool   `json:"allow"`
	Type   string `json:"type"`
	Major  *int64 `json:"major"`
	Minor  *int64 `json:"minor"`
	Access string `json:"access"`
}

// grant enters what a spec gives to a container. One that cannot be read leaves it unknown.
func grant(c *event.Container, spec []byte) {
	var g ociGrant
	if json.Unmarshal(spec, &g) == nil {
		g.give(c)
	}
}

// give enters what the spec says, if it is a whole one.
func (g *ociGrant) give(c *event.Container) {
	if g.Process == nil || g.Linux == nil {
		return
	}
	c.Known = true
	c.Privileged = g.privileged()
	c.HostPID, c.HostNetwork, c.HostIPC = g.hosts("pid"), g.hosts("network"), g.hosts("ipc")
	for i := range g.Mounts {
		if m := &g.Mounts[i]; m.binds() {
			c.Mounts = append(c.Mounts, m.mount())
		}
	}
}

// privileged tells a container that nothing of the host is closed to, as no spec has a word for it: it may hold
// CAP_SYS_ADMIN, it may use every device, and nothing of /proc is masked. Each of the three alone is given to containers
// that are not privileged. Where the kubelet has said whether the container is, that counts as well.
func (g *ociGrant) privileged() bool {
	return slices.Contains(g.Process.Capabilities.Bounding, "CAP_SYS_ADMIN") && len(g.Linux.MaskedPaths) == 0 &&
		allDevices(g.Linux.Resources.Devices)
}

// allDevices follows the rules of the device controller, of which a later one overrules those before it.
func allDevices(rules []ociDevice) bool {
	all := false
	for i := range rules {
		switch r := &rules[i]; {
		case r.everything():
			all = r.Allow
		case !r.Allow:
			all = false
		}
	}
	return all
}

func (d *ociDevice) everything() bool {
	wild := func(n *int64) bool { return n == nil || *n < 0 }
	return (d.Type == "" || d.Type == "a") && wild(d.Major) && wild(d.Minor) &&
		strings.Contains(d.Access, "r") && strings.Contains(d.Access, "w") && strings.Contains(d.Access, "m")
}

// hosts tells whether a container is in a name space of the host: a spec that does not name the type leaves it where the
// runtime is. A path to another process's is the pod's, whose sandbox says whether it is the host's.
func (g *ociGrant) hosts(kind string) bool {
	i := slices.IndexFunc(g.Linux.Namespaces, func(n ociNamespace) bool { return n.Type == kind })
	return i < 0 || strings.HasPrefix(g.Linux.Namespaces[i].Path, "/proc/1/ns/")
}

// binds tells what is mounted from the host from the file systems that the runtime makes for every container.
func (m *ociMount) binds() bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// mount returns the mount as rules see it. Without a word on propagation it is called what runtimes call their default.
func (m *ociMount) mount() event.Mount {
	to := event.Mount{
		Source: m.Source, Dest: m.Destination, Mode: strings.Join(m.Options, ","),
		Writable: !slices.Contains(m.Options, "ro"), Propagation: "rprivate",
	}
	for _, o := range m.Options {
		switch o {
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			to.Propagation = o
		}
	}
	return to
}

// A criConfig is what the kubelet asked for, as runtimes keep it beside the spec.
type criConfig struct {
	Linux struct {
		SecurityContext struct {
			Privileged bool `json:"privileged"`
		} `json:"security_context"`
	} `json:"linux"`
}

func (c *criConfig) privileged() bool { return c.Linux.SecurityContext.Privileged }

// A criRecord is what containerd's CRI plugin notes of a container or sandbox, in an extension of containerd's record.
type criRecord struct {
	Metadata struct {
		Config criConfig
		IP     string // of a sandbox
	}
}

// give enters what the plugin has noted. If it is configured to give privileged containers no devices, their specs alone
// do not tell that they are privileged. A sandbox is never: what it has noted is of the containers to come.
func (r *criRecord) give(c *event.Container) {
	if c.IsSandbox {
		c.IP = r.Metadata.IP
		return
	}
	c.Privileged = c.Privileged || r.Metadata.Config.privileged()
}

// Bounds of what is kept of a container: a user may write what he likes into a pod.
const (
	maxMounts     = 256
	maxMountBytes = 64 << 10
	maxText       = 1 << 10
)

// boundGrant bounds what came from outside.
func boundGrant(c *event.Container) {
	for _, s := range []*string{&c.IP, &c.Healthcheck, &c.Liveness, &c.Readiness} {
		*s = cut(*s, maxText)
	}
	size := 0
	mounts := c.Mounts
	c.Mounts = nil
	for _, m := range mounts[:min(len(mounts), maxMounts)] {
		for _, s := range []*string{&m.Source, &m.Dest, &m.Mode, &m.Propagation} {
			*s = cut(*s, maxText)
			size += len(*s)
		}
		if size > maxMountBytes {
			return
		}
		c.Mounts = append(c.Mounts, m)
	}
}

// takeGrant completes a container by what another source knows of it. Grants of two sources are not mixed.
func takeGrant(c, from *event.Container) {
	if c.Known || !from.Known {
		return
	}
	c.Known, c.Privileged, c.Mounts = true, from.Privileged, from.Mounts
	c.HostPID, c.HostNetwork, c.HostIPC = from.HostPID, from.HostNetwork, from.HostIPC
	c.Healthcheck, c.Liveness, c.Readiness = from.Healthcheck, from.Liveness, from.Readiness
}

func sameGrant(a, b *event.Container) bool {
	return a.Known == b.Known && a.Privileged == b.Privileged && slices.Equal(a.Mounts, b.Mounts) && a.IP == b.IP &&
		a.HostPID == b.HostPID && a.HostNetwork == b.HostNetwork && a.HostIPC == b.HostIPC && maps.Equal(a.PodLabels, b.PodLabels) &&
		a.Healthcheck == b.Healthcheck && a.Liveness == b.Liveness && a.Readiness == b.Readiness
}
