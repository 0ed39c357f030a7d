package rules

import (
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

const pod = `{"type": "close", "time": "2026-01-01T00:01:00Z", "process": {"name": "x"}, "container": {"id": "4f2a9c3b7d1e8a6f00000000", "name": "app", "image": "registry.example:5000/team/app:1.2", "image_id": "registry.example:5000/team/app@sha256:abc",
	"runtime": "containerd", "namespace": "shop", "pod": "app-0", "pod_uid": "8f1c", "labels": {"b": "2", "a.b/c": "1"}, "pod_labels": {"tier": "web", "app": "x"}, "privileged": true, "host_network": true, "ip": "10.1.2.3",
	"created": "2026-01-01T00:00:00Z", "healthcheck": "curl -f localhost",
	"mounts": [{"source": "/proc", "dest": "/host/proc", "mode": "ro", "propagation": "rslave"}, {"source": "/var/lib/kubelet/pods/1", "dest": "/data", "mode": "rw", "writable": true}]}}`

func TestFieldsOfContainers(t *testing.T) {
	testReadings(t, []reading{
		{"the host", `{"type": "close"}`, `
			container.id host
			container.full_id host
			container.name host
			container.type host
			container.image <NA>
			container.image.repository <NA>
			container.privileged <NA>
			container.mounts <NA>
			container.mount.dest[0] <NA>
			container.label.x <NA>
			container.start_ts <NA>
			container.ip <NA>
			k8s.pod.name <NA>
			k8s.ns.name <NA>
			proc.is_container_healthcheck <NA>
			yagura.unit <NA>
			yagura.container.known <NA>`},
		{"a service of the host", `{"type": "close", "unit": "nginx.service"}`, `
			container.id host
			yagura.unit nginx.service`},
		{"a pod's", pod, `
			container.id 4f2a9c3b7d1e
			container.full_id 4f2a9c3b7d1e8a6f00000000
			container.name app
			container.type containerd
			container.image registry.example:5000/team/app:1.2
			container.image.repository registry.example:5000/team/app
			container.image.tag 1.2
			container.image.digest sha256:abc
			container.image.id abc
			container.privileged true
			container.host_network true
			container.host_pid false
			container.host_ipc false
			container.ip 10.1.2.3
			container.label[b] 2
			container.label[a.b/c] 1
			container.label.z <NA>
			container.labels a.b/c:1,b:2
			container.start_ts 1767225600000000000
			container.duration 60000000000
			container.mounts /proc:/host/proc:ro:false:rslave /var/lib/kubelet/pods/1:/data:rw:true:
			container.mount[1] /var/lib/kubelet/pods/1:/data:rw:true:
			container.mount[/proc] /proc:/host/proc:ro:false:rslave
			container.mount.dest[/proc*] /host/proc
			container.mount.dest[/var/lib/kubelet*] <NA>
			container.mount.dest[/var/lib/kubelet/pods/*] /data
			container.mount.dest[0] /host/proc
			container.mount.dest[2] <NA>
			container.mount.dest[/host/proc] <NA>
			container.mount.source[/host/*] /proc
			container.mount.mode[/proc] ro
			container.mount.rdwr[/proc] false
			container.mount.propagation[0] rslave
			container.healthcheck curl -f localhost
			container.liveness_probe <NA>
			container.cni.json <NA>
			k8s.pod.name app-0
			k8s.ns.name shop
			k8s.pod.uid 8f1c
			k8s.pod.id 8f1c
			k8s.pod.ip 10.1.2.3
			k8s.pod.label.tier web
			k8s.pod.labels app:x,tier:web
			k8s.rs.name <NA>
			k8s.rs.label.x <NA>
			k8s.ns.labels <NA>
			proc.is_container_healthcheck false
			proc.is_container_liveness_probe false
			yagura.unit <NA>
			yagura.container.known true`},
		{"of which the runtime has told nothing yet", `{"type": "close", "container": {"id": "4f2a9c3b7d1e8a6f", "name": "", "image": "", "known": false}}`, `
			container.id 4f2a9c3b7d1e
			container.image <NA>
			container.image.tag <NA>
			container.privileged <NA>
			proc.is_container_healthcheck <NA>
			yagura.container.known false`},
	})
}

func TestContainerStartIsThatOfItsFirstProcess(t *testing.T) {
	t.Parallel()
	c := &event.Container{ID: "x", Created: 5}
	ev := &event.Event{Kind: event.Exit, Time: 1000, Boot: 900, Container: c, Process: &event.Process{Task: event.Task{PIDNamespaceInit: 300}}}
	r := NewRecord(nil, "")
	r.Reset(ev)
	if start, duration := read(t, r, "container.start_ts"), read(t, r, "container.duration"); start != "400" || duration != "600" {
		t.Errorf("start %s, duration %s, want 400 and 600", start, duration)
	}
	c.HostPID = true
	if got := read(t, r, "container.start_ts"); got != "5" {
		t.Errorf("start of a container in the host's pid name space = %s, want 5, as its runtime says", got)
	}
}

func TestProbesAreWhatTheRuntimeRunsInside(t *testing.T) {
	t.Parallel()
	in := func(args, parents string) string {
		return `{"type": "close", "container": {"id": "a", "healthcheck": "curl -f localhost"}, "process": {"args": ` + args + `, "vpid": 7, "parents": [` + parents + `]}}`
	}
	for _, tt := range []struct {
		name, event string
		want        bool
	}{
		{"the command", in(`["curl", "-f", "localhost"]`, `{"name": "containerd-shim", "vpid": 90}`), true},
		{"by a shell", in(`["/bin/sh", "-c", "curl -f localhost"]`, `{"name": "containerd-shim", "vpid": 90}`), true},
		{"below the command", in(`["nslookup"]`, `{"args": ["curl", "-f", "localhost"], "vpid": 6}, {"name": "containerd-shim", "vpid": 90}`), true},
		{"another command", in(`["curl", "-f", "evil"]`, `{"name": "containerd-shim", "vpid": 90}`), false},
		{"started by the container itself", in(`["curl", "-f", "localhost"]`, `{"name": "app", "vpid": 1, "pid": 900}, {"name": "containerd-shim", "vpid": 90}`), false},
		{"below process 1 of the host", in(`["curl", "-f", "localhost"]`, `{"name": "containerd-shim", "vpid": 90}, {"name": "systemd", "pid": 1, "vpid": 1}`), true},
	} {
		if got := holds(t, recordOf(t, tt.event), "proc.is_container_healthcheck = true"); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParseImage(t *testing.T) {
	t.Parallel()
	const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for ref, want := range map[string]image{
		"":                                     {},
		"nginx":                                {"nginx", "latest", ""},
		"nginx:1.2":                            {"nginx", "1.2", ""},
		"docker.io/library/nginx:1.2@" + sum:   {"docker.io/library/nginx", "1.2", sum},
		"docker.io/library/nginx@" + sum:       {"docker.io/library/nginx", "", sum},
		"registry:5000/x":                      {"registry:5000/x", "latest", ""},
		"registry:5000/x:y":                    {"registry:5000/x", "y", ""},
		"localhost/a/b/c:v1":                   {"localhost/a/b/c", "v1", ""},
		"[::1]:5000/x:y":                       {"[::1]:5000/x", "y", ""},
		sum:                                    {"", "", sum},
		"docker-pullable://quay.io/a/b@" + sum: {"quay.io/a/b", "", sum},
		"name:":                                {"name", "latest", ""},
	} {
		if got := parseImage(ref); got != want {
			t.Errorf("parseImage(%q) = %+v, want %+v", ref, got, want)
		}
	}
}

func FuzzParseImage(f *testing.F) {
	for _, seed := range []string{"", "nginx:1", "a/b@sha256:1", ":", "@", "://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		if i := parseImage(ref); len(i.repository)+len(i.tag)+len(i.digest) > len(ref)+len("latest") {
			t.Errorf("parseImage(%q) = %+v is more than there was", ref, i)
		}
	})
}
