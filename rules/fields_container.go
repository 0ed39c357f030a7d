package rules

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// host is the id, name and type of what is in no container.
const host = "host"

// shortID is how many characters of an id are shown.
const shortID = 12

func short(id string) string { return id[:min(len(id), shortID)] }

func (r *Record) containerID() string {
	if r.Container == nil {
		return host
	}
	return short(r.Container.ID)
}

// A box is what is put together of a container.
type box struct {
	image             image
	labels, podLabels string
	mounts            string
}

// inside returns what was put together of the container that the event happened in, which there must be.
func (r *Record) inside() *box {
	c := r.Container
	if r.inner == c && r.box != nil {
		return r.box
	}
	b := r.boxes[c]
	if b == nil {
		if len(r.boxes) >= maxKept {
			clear(r.boxes)
		}
		b = &box{image: parseImage(c.Image), labels: joinLabels(c.Labels), podLabels: joinLabels(c.PodLabels)}
		var line []byte
		for i := range c.Mounts {
			if i > 0 {
				line = append(line, ' ')
			}
			line = appendMount(line, &c.Mounts[i])
		}
		b.mounts = string(line)
		r.boxes[c] = b
	}
	r.inner, r.box = c, b
	return b
}

// joinLabels writes labels as key:value, in the order of their keys, with commas between.
func joinLabels(labels map[string]string) string {
	var b strings.Builder
	for i, key := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(key + ":" + labels[key])
	}
	return b.String()
}

// appendMount writes source:dest:mode:writable:propagation.
func appendMount(to []byte, m *event.Mount) []byte {
	to = append(append(to, m.Source...), ':')
	to = append(append(to, m.Dest...), ':')
	to = append(append(to, m.Mode...), ':')
	to = strconv.AppendBool(to, m.Writable)
	return append(append(to, ':'), m.Propagation...)
}

// ofContainer is a text of the container, absent on the host or where the runtime told none.
func ofContainer(name, doc string, read func(*Record, *event.Container) string) field {
	return text(name, doc, func(r *Record) (string, bool) {
		if r.Container == nil {
			return "", false
		}
		s := read(r, r.Container)
		return s, s != ""
	})
}

// orHost is a text of the container that is "host" on the host.
func orHost(name, doc string, read func(*event.Container) string) field {
	return text(name, doc+" On the host: host.", func(r *Record) (string, bool) {
		if r.Container == nil {
			return host, true
		}
		s := read(r.Container)
		return s, s != ""
	})
}

func containerTruth(name, doc string, read func(*event.Container) bool) field {
	return truth(name, doc, func(r *Record) (bool, bool) {
		c := r.Container
		return c != nil && read(c), c != nil && c.Known
	})
}

// label is one of a container's or a pod's labels.
func label(name, doc string, read func(*event.Container) map[string]string) field {
	return field{Name: name, Doc: doc, Kind: expr.String, Arity: expr.RequiredArg, Text: func(r *Record, a arg) (string, bool) {
		if r.Container == nil {
			return "", false
		}
		value, ok := read(r.Container)[a.Text]
		return value, ok
	}}
}

// mount is of one of the container's mounts: by its number, or by a path or glob that its source, or its destination,
// must be.
func mount(name, doc string, by func(*event.Mount) string, show func([]byte, *event.Mount) []byte) field {
	return field{Name: name, Doc: doc, Kind: expr.String, Arity: expr.RequiredArg, Check: checkMount, Text: func(r *Record, a arg) (string, bool) {
		if r.Container == nil {
			return "", false
		}
		m := findMount(r.Container.Mounts, a.Text, by)
		if m == nil {
			return "", false
		}
		b := r.room()
		*b = show(*b, m)
		return view(*b), true
	}}
}

func checkMount(a arg) error {
	_, err := path.Match(a.Text, "/")
	return err
}

func findMount(mounts []event.Mount, which string, by func(*event.Mount) string) *event.Mount {
	if n, ok := ordinal(which); ok {
		if n >= len(mounts) {
			return nil
		}
		return &mounts[n]
	}
	for i := range mounts {
		if ok, _ := path.Match(which, by(&mounts[i])); ok {
			return &mounts[i]
		}
	}
	return nil
}

func bySource(m *event.Mount) string { return m.Source }
func byDest(m *event.Mount) string   { return m.Dest }

// containerStart is when the container began: its first process, or what the runtime says where it shares the host's pid
// name space.
func (r *Record) containerStart() (uint64, bool) {
	c := r.Container
	if c == nil {
		return 0, false
	}
	if t := r.task(); t != nil && t.PIDNamespaceInit != 0 && !c.HostPID {
		return uint64(r.Time) - r.Boot + t.PIDNamespaceInit, true
	}
	return uint64(c.Created), c.Created > 0
}

// isProbe says whether the process, or one above it, is the command that a runtime runs inside the container to see how
// it is. What the container's own first process started is none.
func isProbe(name, doc string, command func(*event.Container) string) field {
	return truth(name, doc, func(r *Record) (bool, bool) {
		c := r.Container
		if c == nil || !c.Known {
			return false, false
		}
		want, found := command(c), false
		for p := r.Process; p != nil && want != ""; p = p.Parent {
			if p.VPID == 1 {
				return found && p.PID == 1, true
			}
			found = found || runs(r.exeline(p), want)
		}
		return found, true
	})
}

// runs says whether a command line is a command, or a shell that is given it.
func runs(line, command string) bool {
	const shell = "/bin/sh -c "
	return line == command || len(line) == len(shell)+len(command) && strings.HasPrefix(line, shell) && strings.HasSuffix(line, command)
}

// containerFields are of the container that the event happened in.
var containerFields = []field{
	text("container.id", "First 12 characters of the container's id. On the host: host.", func(r *Record) (string, bool) { return r.containerID(), true }),
	orHost("container.full_id", "Id of the container.", func(c *event.Container) string { return c.ID }),
	orHost("container.name", "Name of the container.", func(c *event.Container) string { return c.Workload.Container }),
	ofContainer("container.image", "Image of the container, as it was asked for.", func(_ *Record, c *event.Container) string { return c.Image }),
	ofContainer("container.image.id", "Id of the image.", func(_ *Record, c *event.Container) string { return imageID(c.ImageID) }),
	orHost("container.type", "What runs the container: docker, containerd, cri-o, podman, …", func(c *event.Container) string { return c.Runtime }),
	containerTruth("container.privileged", "Whether the container is privileged.", func(c *event.Container) bool { return c.Privileged }),
	ofContainer("container.mounts", "Mounts of the container, each as source:dest:mode:writable:propagation, with blanks between.", func(r *Record, _ *event.Container) string { return r.inside().mounts }),
	mount("container.mount", "One mount as source:dest:mode:writable:propagation, by its number, or by a path or glob that is its source. Absent if there is none.", bySource, appendMount),
	mount("container.mount.source", "Source of one mount, by its number, or by a path or glob that is its destination.", byDest, func(to []byte, m *event.Mount) []byte { return append(to, m.Source...) }),
	mount("container.mount.dest", "Destination of one mount, by its number, or by a path or glob that is its source.", bySource, func(to []byte, m *event.Mount) []byte { return append(to, m.Dest...) }),
	mount("container.mount.mode", "Mode of one mount, by its number, or by a path or glob that is its source.", bySource, func(to []byte, m *event.Mount) []byte { return append(to, m.Mode...) }),
	mount("container.mount.rdwr", "Whether one mount is writable, true or false, by its number, or by a path or glob that is its source.", bySource, func(to []byte, m *event.Mount) []byte { return strconv.AppendBool(to, m.Writable) }),
	mount("container.mount.propagation", "Propagation of one mount, by its number, or by a path or glob that is its source.", bySource, func(to []byte, m *event.Mount) []byte { return append(to, m.Propagation...) }),
	ofContainer("container.image.repository", "Image without its tag and digest.", func(r *Record, _ *event.Container) string { return r.inside().image.repository }),
	ofContainer("container.image.tag", "Tag of the image: latest where neither tag nor digest was asked for.", func(r *Record, _ *event.Container) string { return r.inside().image.tag }),
	ofContainer("container.image.digest", "Digest of the image in its registry.", func(r *Record, c *event.Container) string {
		if d := r.inside().image.digest; d != "" {
			return d
		}
		return digestOf(c.ImageID)
	}),
	ofContainer("container.healthcheck", "Command line of the container's health check.", func(_ *Record, c *event.Container) string { return c.Healthcheck }),
	ofContainer("container.liveness_probe", "Command line of the container's liveness probe.", func(_ *Record, c *event.Container) string { return c.Liveness }),
	ofContainer("container.readiness_probe", "Command line of the container's readiness probe.", func(_ *Record, c *event.Container) string { return c.Readiness }),
	unsignedNumber("container.start_ts", "Start of the container, nanoseconds since 1970.", expr.AbsoluteTime, (*Record).containerStart),
	unsignedNumber("container.duration", "Nanoseconds from the start of the container to the event.", expr.RelativeTime, func(r *Record) (uint64, bool) {
		start, ok := r.containerStart()
		return uint64(r.Time) - start, ok && uint64(r.Time) >= start
	}),
	ofContainer("container.ip", "Address of the container, or of its pod.", func(_ *Record, c *event.Container) string { return c.IP }),
	absent("container.cni.json", "What the network plugin said of the pod.", expr.String, 0),
	containerTruth("container.host_pid", "Whether the container shares the host's pid name space.", func(c *event.Container) bool { return c.HostPID }),
	containerTruth("container.host_network", "Whether the container shares the host's network.", func(c *event.Container) bool { return c.HostNetwork }),
	containerTruth("container.host_ipc", "Whether the container shares the host's ipc name space.", func(c *event.Container) bool { return c.HostIPC }),
	label("container.label", "One label of the container.", func(c *event.Container) map[string]string { return c.Labels }),
	ofContainer("container.labels", "Labels of the container, each as key:value, with commas between.", func(r *Record, _ *event.Container) string { return r.inside().labels }),
	isProbe("proc.is_container_healthcheck", "Whether the process is part of the container's health check.", func(c *event.Container) string { return c.Healthcheck }),
	isProbe("proc.is_container_liveness_probe", "Whether the process is part of the container's liveness probe.", func(c *event.Container) string { return c.Liveness }),
	isProbe("proc.is_container_readiness_probe", "Whether the process is part of the container's readiness probe.", func(c *event.Container) string { return c.Readiness }),
}
