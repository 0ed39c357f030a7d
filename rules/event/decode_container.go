package event

import "strings"

// A containerForm is a container while it is read or written.
type containerForm struct{ *Container }

func containerText(name string, field func(*Container) *string, usual func(*Container) string) key[containerForm] {
	return key[containerForm]{name: name,
		read: func(c *containerForm, v *value) (err error) { *field(c.Container), err = v.asText(); return err },
		write: func(c *containerForm, to []byte) []byte {
			if s := *field(c.Container); s != usual(c.Container) {
				return appendText(to, s)
			}
			return to
		},
		after: func(c *containerForm) error { *field(c.Container) = usual(c.Container); return nil },
	}
}

func containerTruth(name string, field func(*Container) *bool, usual bool) key[containerForm] {
	return key[containerForm]{name: name,
		read:  func(c *containerForm, v *value) (err error) { *field(c.Container), err = v.asTruth(); return err },
		write: func(c *containerForm, to []byte) []byte { return appendTruth(to, *field(c.Container), usual) },
		after: func(c *containerForm) error { *field(c.Container) = usual; return nil },
	}
}

func containerLabels(name string, field func(*Container) *map[string]string) key[containerForm] {
	return key[containerForm]{name: name,
		read:  func(c *containerForm, v *value) (err error) { *field(c.Container), err = asLabels(v); return err },
		write: func(c *containerForm, to []byte) []byte { return appendLabels(to, *field(c.Container)) }}
}

func same(s string) func(*Container) string { return func(*Container) string { return s } }

// usualID is the id of a container that nobody gave one.
var usualID = "0123456789ab" + strings.Repeat("0", 52)

func usualImage(c *Container) string { return "docker.io/library/" + c.Workload.Container + ":latest" }

// containerKeys is the form of a container.
var containerKeys = []key[containerForm]{
	containerText("name", func(c *Container) *string { return &c.Workload.Container }, same("test")),
	containerText("id", func(c *Container) *string { return &c.ID }, same(usualID)),
	containerText("image", func(c *Container) *string { return &c.Image }, usualImage),
	containerText("image_id", func(c *Container) *string { return &c.ImageID }, same("")),
	containerText("runtime", func(c *Container) *string { return &c.Runtime }, same("containerd")),
	containerText("namespace", func(c *Container) *string { return &c.Namespace }, same("")),
	containerText("pod", func(c *Container) *string { return &c.Pod }, same("")),
	containerText("pod_uid", func(c *Container) *string { return &c.PodUID }, same("")),
	containerText("unit", func(c *Container) *string { return &c.Unit }, same("")),
	containerText("sandbox", func(c *Container) *string { return &c.Sandbox }, same("")),
	containerTruth("is_sandbox", func(c *Container) *bool { return &c.IsSandbox }, false),
	containerLabels("labels", func(c *Container) *map[string]string { return &c.Labels }),
	containerLabels("pod_labels", func(c *Container) *map[string]string { return &c.PodLabels }),
	containerTruth("known", func(c *Container) *bool { return &c.Known }, true),
	containerTruth("privileged", func(c *Container) *bool { return &c.Privileged }, false),
	containerTruth("host_pid", func(c *Container) *bool { return &c.HostPID }, false),
	containerTruth("host_network", func(c *Container) *bool { return &c.HostNetwork }, false),
	containerTruth("host_ipc", func(c *Container) *bool { return &c.HostIPC }, false),
	containerText("ip", func(c *Container) *string { return &c.IP }, same("")),
	{name: "created", read: func(c *containerForm, v *value) (err error) { c.Created, err = v.asTime(); return err },
		write: func(c *containerForm, to []byte) []byte {
			if c.Created == 0 {
				return to
			}
			return appendTime(to, c.Created)
		}},
	{name: "mounts", read: (*containerForm).readMounts, write: (*containerForm).writeMounts},
	containerText("healthcheck", func(c *Container) *string { return &c.Healthcheck }, same("")),
	containerText("liveness", func(c *Container) *string { return &c.Liveness }, same("")),
	containerText("readiness", func(c *Container) *string { return &c.Readiness }, same("")),
}

func mountText(name string, field func(*Mount) *string) key[Mount] {
	return key[Mount]{name: name,
		read: func(m *Mount, v *value) (err error) { *field(m), err = v.asText(); return err },
		write: func(m *Mount, to []byte) []byte {
			if *field(m) == "" {
				return to
			}
			return appendText(to, *field(m))
		}}
}

// mountKeys is the form of a mount of a container.
var mountKeys = []key[Mount]{
	mountText("source", func(m *Mount) *string { return &m.Source }),
	mountText("dest", func(m *Mount) *string { return &m.Dest }),
	mountText("mode", func(m *Mount) *string { return &m.Mode }),
	{name: "writable", read: func(m *Mount, v *value) (err error) { m.Writable, err = v.asTruth(); return err },
		write: func(m *Mount, to []byte) []byte { return appendTruth(to, m.Writable, false) }},
	mountText("propagation", func(m *Mount) *string { return &m.Propagation }),
}

// readContainer reads a container, or its name; null stands for none.
func (f *form) readContainer(v *value) error {
	switch v.kind {
	case isNull:
		return nil
	case isText:
		v = &value{kind: isObject, members: []*value{{above: v.above, key: "container", at: v.at, kind: isText, text: v.text}}}
		v.members[0].key = "name"
	case isObject:
	default:
		return v.wrong("a container, or its name")
	}
	c := &containerForm{&Container{}}
	err := readKeys(v, c, containerKeys)
	f.ev.Container = c.Container
	return err
}

func (f *form) writeContainer(to []byte) []byte {
	if f.ev.Container == nil {
		return to
	}
	return appendKeys(to, &containerForm{f.ev.Container}, containerKeys)
}

func (c *containerForm) readMounts(v *value) error {
	if v.kind != isList {
		return v.wrong("a list of mounts")
	}
	for _, m := range v.members {
		var mount Mount
		if err := readKeys(m, &mount, mountKeys); err != nil {
			return err
		}
		c.Mounts = append(c.Mounts, mount)
	}
	return nil
}

func (c *containerForm) writeMounts(to []byte) []byte {
	if len(c.Mounts) == 0 {
		return to
	}
	for i := range c.Mounts {
		sep := byte(',')
		if i == 0 {
			sep = '['
		}
		to = appendKeys(append(to, sep), &c.Mounts[i], mountKeys)
	}
	return append(to, ']')
}

func asLabels(v *value) (map[string]string, error) {
	if v.kind != isObject {
		return nil, v.wrong("an object of texts")
	}
	labels := make(map[string]string, len(v.members))
	for _, m := range v.members {
		s, err := m.asText()
		if err != nil {
			return nil, err
		}
		labels[m.key] = s
	}
	return labels, nil
}
