package containers

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// podOf returns a pod's sandbox and a container in it, which only the sandbox knows the labels of.
func podOf() (sandbox, inside found) {
	sandbox, inside = says(hexID2, "/pods/sandbox"), says(hexID, "/pods/inside")
	sandbox.IsSandbox, sandbox.Sandbox, sandbox.Known = true, hexID2, true
	sandbox.Labels, sandbox.IP, sandbox.HostNetwork = map[string]string{"app": "shop"}, "10.0.0.1", true
	inside.Sandbox, inside.Known, inside.HostPID = hexID2, true, true
	return sandbox, inside
}

func TestContainersKnowTheirPod(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"sandbox", "container"} {
		r := New(offline())
		r.AddCgroup(1, "/pods/sandbox")
		r.AddCgroup(2, "/pods/inside")
		sandbox, inside := podOf()
		order := []found{sandbox, inside}
		if first == "container" {
			order = []found{inside, sandbox}
		}
		for _, f := range order {
			r.table.put(testSource, f, 1)
		}
		got := r.Container(2)
		if !maps.Equal(got.PodLabels, sandbox.Labels) || got.IP != "10.0.0.1" || !got.HostPID || !got.HostNetwork || got.HostIPC ||
			got.CgroupID != 2 || got.Labels["app"] != "" {
			t.Errorf("%s first: container = %+v, want its pod's labels, address and network", first, got)
		}
		if got := r.Container(1); !maps.Equal(got.PodLabels, sandbox.Labels) || got.HostPID || !got.HostNetwork {
			t.Errorf("%s first: sandbox = %+v", first, got)
		}
		before := r.Container(2)
		r.table.put(testSource, inside, 2)
		r.table.put(testSource, sandbox, 2)
		if r.Container(2) != before {
			t.Errorf("%s first: the same replies made a new container", first)
		}
		sandbox.IP = "10.0.0.2"
		r.table.put(testSource, sandbox, 3)
		if got := r.Container(2).IP; got != "10.0.0.2" {
			t.Errorf("%s first: the address is %s after the pod's is 10.0.0.2", first, got)
		}
	}
}

func TestRecordedPodLabelsAreKept(t *testing.T) {
	t.Parallel()
	r := New(offline())
	r.AddContainer(&event.Container{ID: hexID, Sandbox: hexID2, PodLabels: map[string]string{"app": "shop"}, Known: true, Privileged: true}, "/pods/inside")
	r.AddCgroup(1, "/pods/inside")
	if got := r.Container(1); got.PodLabels["app"] != "shop" || !got.Known || !got.Privileged {
		t.Errorf("container = %+v, want it as it was recorded", got)
	}
}

// What claims to be in a pod of a container that is no sandbox learns nothing of it.
func TestOnlyASandboxMakesAPod(t *testing.T) {
	t.Parallel()
	r := New(offline())
	r.AddCgroup(2, "/pods/inside")
	sandbox, inside := podOf()
	sandbox.IsSandbox = false
	r.table.put(testSource, sandbox, 1)
	r.table.put(testSource, inside, 1)
	if got := r.Container(2); len(got.PodLabels) != 0 || got.IP != "" || got.HostNetwork {
		t.Errorf("container = %+v, want nothing of the other", got)
	}
}

func TestStateFilesOfAPod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(id, annotations, spaces string) {
		data := filepath.Join(dir, id, "userdata")
		if err := os.MkdirAll(data, 0o755); err != nil {
			t.Fatal(err)
		}
		spec := `{"process":{"capabilities":{"bounding":[]}},"annotations":{` + annotations + `},"mounts":[{"destination":"/d","type":"bind","source":"/s","options":["ro"]}],` +
			`"linux":{"cgroupsPath":"/pods/` + id + `","namespaces":[` + spaces + `]}}`
		if err := os.WriteFile(data+"/config.json", []byte(spec), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const ownButNetwork = `{"type":"pid"},{"type":"ipc"}`
	write(crioCart, `"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.SandboxID":"`+crioSandbox+`",`+
		`"io.kubernetes.cri-o.Labels":"{\"io.kubernetes.container.name\":\"cart\"}"`, ownButNetwork+`,{"type":"network","path":"/proc/44/ns/net"}`)
	write(crioSandbox, `"io.kubernetes.cri-o.ContainerType":"sandbox","io.kubernetes.cri-o.Labels":"{\"app\":\"shop\"}","io.kubernetes.cri-o.IP.0":"10.85.0.9"`, ownButNetwork)
	r := New(withSockets(func(c *Config) { c.Storage = []string{dir} }))
	start(t, r.Run)
	r.AddCgroup(1, "/pods/"+crioCart)
	eventually(t, "cart is known", func() bool { return r.Container(1) != nil })
	got := r.Container(1)
	want := event.Container{Workload: event.Workload{Container: "cart"}, ID: crioCart, CgroupID: 1, Runtime: "cri-o", Sandbox: crioSandbox,
		Labels: map[string]string{"io.kubernetes.container.name": "cart"}, PodLabels: map[string]string{"app": "shop"}, IP: "10.85.0.9",
		Known: true, HostNetwork: true, Mounts: []event.Mount{{Source: "/s", Dest: "/d", Mode: "ro", Propagation: "rprivate"}}}
	if !sameContainer(got, &want) {
		t.Errorf("container = %+v, want %+v", got, want)
	}
}
