package containers

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/yagura-io/yagura/rules/event"
)

const (
	dockerWeb   = hexID
	dockerJob   = hexID2
	crioSandbox = "b000000000000000000000000000000000000000000000000000000000000002"
	crioCart    = "c000000000000000000000000000000000000000000000000000000000000003"
	crioSlice   = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + podBar + ".slice/"
)

// socketDir returns a directory whose name is short enough for a unix socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "yc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("after 20 s it is not so that %s", what)
}

// A fakeDocker answers from recorded replies.
type fakeDocker struct {
	t        *testing.T
	events   chan string
	inspects atomic.Int32
	broken   atomic.Bool
}

func (d *fakeDocker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.broken.Load() {
		http.Error(w, `{"message":"the daemon is ill"}`, http.StatusInternalServerError)
		return
	}
	switch path := r.URL.Path; {
	case path == "/version":
		w.Write(recorded(d.t, "docker/version.json"))
	case path == "/info":
		w.Write(recorded(d.t, "docker/info.json"))
	case path == "/containers/json":
		w.Write(recorded(d.t, "docker/containers.json"))
	case path == "/events":
		w.(http.Flusher).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case line, ok := <-d.events:
				if !ok {
					return
				}
				io.WriteString(w, line+"\n")
				w.(http.Flusher).Flush()
			}
		}
	case strings.HasPrefix(path, "/containers/"):
		d.inspects.Add(1)
		id := strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
		data, err := os.ReadFile("testdata/docker/inspect-" + filepath.Base(id) + ".json")
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"No such container: %s"}`, id)
			return
		}
		w.Write(data)
	default:
		http.NotFound(w, r)
	}
}

// serveDocker listens on a unix socket until stop is called or the test ends.
func serveDocker(t *testing.T, socket string) (d *fakeDocker, stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d = &fakeDocker{t: t, events: make(chan string, 10)}
	server := &http.Server{Handler: d}
	done := make(chan struct{})
	go func() {
		server.Serve(listener)
		close(done)
	}()
	stop = func() {
		server.Close()
		<-done
	}
	t.Cleanup(stop)
	return d, stop
}

func withSockets(change func(*Config)) Options {
	o := offline()
	change(&o.Config)
	return o
}

func TestDocker(t *testing.T) {
	t.Parallel()
	socket := socketDir(t) + "/docker.sock"
	d, _ := serveDocker(t, socket)
	r := New(withSockets(func(c *Config) { c.Docker = []string{socket} }))
	start(t, r.Run)
	r.AddCgroup(1, "/system.slice/docker-"+dockerWeb+".scope")
	r.AddCgroup(2, "/system.slice/docker-"+dockerWeb+".scope/worker")
	eventually(t, "web is known", func() bool { return r.Container(2) != nil })
	want := event.Container{
		Workload: event.Workload{Container: "web"}, ID: dockerWeb, CgroupID: 1, Runtime: "docker",
		Image: "registry.example.com/shop/web:1.4", ImageID: "sha256:3b25b682ea82b2db3cc4fd48db818be788ee3f902ac7378090cf2624ec2442df",
		Labels:  map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
		Created: time.Date(2025, 11, 22, 8, 26, 40, 123456789, time.UTC).UnixNano(),
		Known:   true, IP: "172.18.0.3", Healthcheck: "curl -f http://localhost/",
		Mounts: []event.Mount{
			{Source: "/srv/www", Dest: "/usr/share/nginx/html", Mode: "ro", Propagation: "rprivate"},
			{Source: "/var/lib/docker/volumes/cache/_data", Dest: "/var/cache/nginx", Mode: "z", Writable: true},
		},
	}
	if got := r.Container(2); !sameContainer(got, &want) {
		t.Errorf("container = %+v, want %+v", got, want)
	}
	if s := r.Status()[0]; !s.Up || s.Version != "27.3.1" || s.Runtime != "docker" || !s.Found || s.Err != nil {
		t.Errorf("Status = %+v", s)
	}

	for line := range strings.Lines(string(recorded(t, "docker/events.json"))) {
		d.events <- strings.TrimSpace(line)
	}
	d.events <- `{"Type":"network","Action":"connect","Actor":{"ID":"x"}}`
	eventually(t, "the job is asked for", func() bool {
		r.table.mu.Lock()
		defer r.table.mu.Unlock()
		return r.table.records[dockerJob] != nil
	})
	ev := madeEvent(3, 0, "/batch.slice/batch-low.slice/docker-"+dockerJob+".scope")
	r.Attach(ev)
	if c := ev.Container; c == nil || c.Workload.Container != "quick_migration" || c.Image != "shop/migrate" ||
		!c.Known || !c.Privileged || !c.HostPID || !c.HostNetwork || !c.HostIPC || c.Healthcheck != "" {
		t.Errorf("the first event of the job has %+v", c)
	}
	d.events <- `{"Type":"container","Action":"destroy","Actor":{"ID":"` + dockerJob + `"},"timeNano":` + fmt.Sprint(time.Now().UnixNano()) + `}`
	eventually(t, "the job is gone", func() bool {
		r.table.mu.Lock()
		defer r.table.mu.Unlock()
		return r.table.records[dockerJob].deleted != 0
	})
	if r.Container(3) == nil {
		t.Error("the job has lost its name")
	}
}

func TestPathOfAnotherIsNotBelieved(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	d, _ := serveDocker(t, dir+"/docker.sock")
	if err := os.MkdirAll(dir+"/proc/4711", 0o755); err != nil {
		t.Fatal(err)
	}
	place := "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + dockerWeb + ".scope"
	if err := os.WriteFile(dir+"/proc/4711/cgroup", []byte("0::"+place+"/init\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := withSockets(func(c *Config) { c.Docker = []string{"/docker.sock"} })
	o.Root, o.ProcFS = dir, dir+"/proc"
	r := New(o)
	start(t, r.Run)
	fake := "/user.slice/user-1001.slice/user@1001.service/docker-" + dockerWeb + ".scope"
	r.AddCgroup(1, fake)
	r.AddCgroup(2, place)
	eventually(t, "the real one is known", func() bool { return r.Container(2) != nil })
	eventually(t, "the fake is asked about twice", func() bool { return d.inspects.Load() > 3 })
	expect(t, r, 1, event.Workload{}, Pending)
	eventually(t, "the fake is given up", func() bool { _, s := r.Workload(1); return s == Known })
	expect(t, r, 1, event.Workload{Unit: "user@1001.service"}, Known)
	if got := r.table.counts().misses[missUnclaimed]; got != 1 {
		t.Errorf("misses = %d, want 1", got)
	}
}

func TestSocketThatComesAndGoes(t *testing.T) {
	t.Parallel()
	socket := socketDir(t) + "/docker.sock"
	r := New(withSockets(func(c *Config) { c.Docker = []string{socket} }))
	start(t, r.Run)
	if s := r.Status()[0]; s.Found || s.Up || s.Err != nil {
		t.Errorf("Status without a socket = %+v", s)
	}
	r.AddCgroup(1, "/system.slice/docker-"+dockerWeb+".scope")
	_, stop := serveDocker(t, socket)
	eventually(t, "web is known", func() bool { return r.Container(1) != nil })
	stop()
	eventually(t, "it is down", func() bool { s := r.Status()[0]; return !s.Up && s.Err != nil })
	if r.Container(1) == nil {
		t.Error("the container has lost its name")
	}
	d, _ := serveDocker(t, socket)
	eventually(t, "it is up again", func() bool { return r.Status()[0].Up })
	d.broken.Store(true)
	close(d.events)
	eventually(t, "its error is shown", func() bool {
		s := r.Status()[0]
		return !s.Up && s.Err != nil && strings.Contains(s.Err.Error(), "the daemon is ill")
	})
	r.AddCgroup(2, "/system.slice/docker-"+dockerJob+".scope")
	eventually(t, "the job is given up", func() bool { _, s := r.Workload(2); return s == Known })
	if got := r.table.counts().misses; got[missNoRuntime] != 1 {
		t.Errorf("misses = %v, want one without a runtime", got)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	serveDocker(t, dir+"/docker.sock")
	if err := os.WriteFile(dir+"/podman.sock", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := New(withSockets(func(c *Config) {
		c.Docker, c.Podman = []string{dir + "/docker.sock"}, []string{dir + "/podman.sock"}
		c.Containerd = []string{dir + "/none.sock"}
	}))
	got := r.Probe(context.Background())
	if !got[0].Up || got[0].Version != "27.3.1" || got[1].Up || !got[1].Found || got[1].Err == nil || got[2].Found || got[2].Err != nil {
		t.Errorf("Probe = %+v", got)
	}
}

// A fakeCRI is CRI-O as it was recorded: one pod with one container.
type fakeCRI struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	t      *testing.T
	events chan *runtimeapi.ContainerEventResponse // nil: the runtime has none
	hidden atomic.Bool                             // the container is not there yet
	terse  atomic.Bool                             // verbose is not understood
}

func reply[T proto.Message](t *testing.T, name string, m T) T {
	if err := protojson.Unmarshal(recorded(t, name), m); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return m
}

func (f *fakeCRI) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return reply(f.t, "crio/version.json", &runtimeapi.VersionResponse{}), nil
}

func (f *fakeCRI) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{{Id: crioSandbox}}}, nil
}

func (f *fakeCRI) ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	if f.hidden.Load() {
		return &runtimeapi.ListContainersResponse{}, nil
	}
	return &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{Id: crioCart, PodSandboxId: crioSandbox}}}, nil
}

func (f *fakeCRI) PodSandboxStatus(_ context.Context, in *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	if in.GetPodSandboxId() != crioSandbox {
		return nil, status.Errorf(codes.NotFound, "could not find pod sandbox %q", in.GetPodSandboxId())
	}
	return reply(f.t, "crio/sandbox.json", &runtimeapi.PodSandboxStatusResponse{}), nil
}

func (f *fakeCRI) ContainerStatus(_ context.Context, in *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	if in.GetContainerId() != crioCart || f.hidden.Load() {
		return nil, status.Errorf(codes.NotFound, "could not find container %q", in.GetContainerId())
	}
	r := reply(f.t, "crio/container.json", &runtimeapi.ContainerStatusResponse{})
	if f.terse.Load() {
		r.Info = nil
	}
	return r, nil
}

func (f *fakeCRI) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	if f.events == nil {
		return status.Error(codes.Unimplemented, "pod events are off")
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case ev := <-f.events:
			if err := stream.Send(ev); err != nil {
				return err
			}
		}
	}
}

func serveCRI(t *testing.T, f *fakeCRI) (socket string) {
	t.Helper()
	socket = socketDir(t) + "/crio.sock"
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(server, f)
	done := make(chan struct{})
	go func() {
		server.Serve(listener)
		close(done)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return socket
}

func TestCRIO(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		events chan *runtimeapi.ContainerEventResponse
	}{
		{"with events", make(chan *runtimeapi.ContainerEventResponse, 1)},
		{"without events", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeCRI{t: t, events: tt.events}
			f.hidden.Store(true)
			socket := serveCRI(t, f)
			r := New(withSockets(func(c *Config) { c.CRI = []string{socket} }))
			start(t, r.Run)
			r.AddCgroup(1, crioSlice+"crio-"+crioSandbox+".scope")
			r.Attach(madeEvent(2, 0, crioSlice+"crio-"+crioCart+".scope"))
			r.Attach(madeEvent(3, 2, crioSlice+"crio-"+crioCart+".scope/container"))
			eventually(t, "the sandbox is known", func() bool { return r.Container(1) != nil })
			sandbox := r.Container(1)
			if !sandbox.Known || sandbox.HostPID || sandbox.HostNetwork || !sandbox.HostIPC || sandbox.IP != "10.85.0.7" || sandbox.PodLabels["app"] != "shop" {
				t.Errorf("sandbox = %+v, want its pod's address, labels and ipc name space", sandbox)
			}
			if w := (event.Workload{Namespace: "prod", Pod: "shop-7d9c5b8f6-abcde"}); sandbox.Workload != w || !sandbox.IsSandbox ||
				sandbox.Runtime != "cri-o" || sandbox.PodUID != podUID || sandbox.Image != "registry.k8s.io/pause:3.10" || sandbox.Sandbox != crioSandbox {
				t.Errorf("sandbox = %+v, want %v", sandbox, w)
			}
			expect(t, r, 2, event.Workload{}, Pending)
			expect(t, r, 3, event.Workload{}, Pending)

			f.hidden.Store(false)
			if tt.events != nil {
				tt.events <- &runtimeapi.ContainerEventResponse{ContainerId: crioCart, ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT}
			}
			eventually(t, "cart is known", func() bool { return r.Container(3) != nil })
			want := event.Container{
				Workload: event.Workload{Namespace: "prod", Pod: "shop-7d9c5b8f6-abcde", Container: "cart"},
				ID:       crioCart, CgroupID: 2, Runtime: "cri-o", PodUID: podUID, Sandbox: crioSandbox,
				Image:   "registry.example.com/shop/cart:2.0",
				ImageID: "registry.example.com/shop/cart@sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
				Created: 1763800001222333444,
				Labels: map[string]string{"io.kubernetes.container.name": "cart", "io.kubernetes.pod.name": "shop-7d9c5b8f6-abcde",
					"io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": podUID},
				PodLabels: sandbox.Labels, IP: "10.85.0.7",
				Known: true, HostIPC: true, // by way of its sandbox
				Mounts: []event.Mount{
					{Source: "/var/lib/kubelet/pods/" + podUID + "/etc-hosts", Dest: "/etc/hosts", Mode: "rw,rbind,rprivate,bind", Writable: true, Propagation: "rprivate"},
					{Source: "/run", Dest: "/host/run", Mode: "ro,rbind,rslave,bind", Propagation: "rslave"},
				},
			}
			if got := r.Container(3); !sameContainer(got, &want) {
				t.Errorf("container = %+v, want %+v", got, want)
			}
			if s := r.Status()[0]; s.Runtime != "cri-o" || s.Version != "1.31.1" || !s.Up {
				t.Errorf("Status = %+v", s)
			}
			if tt.events == nil {
				return
			}
			tt.events <- &runtimeapi.ContainerEventResponse{ContainerId: crioCart, ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT}
			eventually(t, "cart is deleted", func() bool {
				r.table.mu.Lock()
				defer r.table.mu.Unlock()
				return r.table.records[crioCart].deleted != 0
			})
		})
	}
}

// Without its spec a container is only believed in its own pod's cgroup.
func TestCRIWithoutVerboseInfo(t *testing.T) {
	t.Parallel()
	f := &fakeCRI{t: t}
	f.terse.Store(true)
	socket := serveCRI(t, f)
	r := New(withSockets(func(c *Config) { c.CRI = []string{socket} }))
	start(t, r.Run)
	r.AddCgroup(1, "/evil/crio-"+crioCart+".scope")
	r.AddCgroup(2, crioSlice+"crio-"+crioCart+".scope")
	eventually(t, "cart is known", func() bool { return r.Container(2) != nil })
	eventually(t, "the other is given up", func() bool { _, s := r.Workload(1); return s == Known })
	if got := r.Container(1); got != nil {
		t.Errorf("the other is %+v", got)
	}
}

// Docker's containers are containerd's too, but only Docker knows their names.
func TestDockersContainersAreNamedByDocker(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	bundle := filepath.Join(dir, "bundles", "moby", dockerWeb)
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle+"/config.json", []byte(`{"linux":{"cgroupsPath":"/docker/`+dockerWeb+`"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	candidate := ParseCandidate("/docker/" + dockerWeb)
	for _, hasDocker := range []bool{false, true} {
		if hasDocker {
			serveDocker(t, dir+"/docker.sock")
		}
		r := New(withSockets(func(c *Config) {
			c.Docker, c.Bundles = []string{dir + "/docker.sock"}, []string{dir + "/bundles"}
		}))
		if got := (&containerd{r: r}).isDockers("moby"); got != hasDocker {
			t.Errorf("isDockers = %v, want %v", got, hasDocker)
		}
		list := r.files.lookUp(candidate, r.hasDocker())
		if hasDocker != (len(list) == 0) {
			t.Errorf("with Docker %v the bundle says %+v", hasDocker, list)
		}
		if !hasDocker && (list[0].Runtime != "docker" || list[0].Workload.Container != dockerWeb[:12]) {
			t.Errorf("the bundle says %+v, want Docker's short id", list[0])
		}
	}
}

func TestStateFilesOfCRIO(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	data := filepath.Join(dir, crioCart, "userdata")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := `{"annotations":{"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.container.name":"cart","io.kubernetes.pod.name":"shop-1",` +
		`"io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"` + podUID + `","io.kubernetes.cri-o.ImageName":"shop/cart:2.0"},` +
		`"linux":{"cgroupsPath":"` + filepath.Base(filepath.Dir(crioSlice+"x")) + `:crio:` + crioCart + `"}}`
	if err := os.WriteFile(data+"/config.json", []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	r := New(withSockets(func(c *Config) { c.Storage = []string{dir} }))
	start(t, r.Run)
	r.Attach(madeEvent(1, 0, crioSlice+"crio-"+crioCart+".scope"))
	eventually(t, "cart is known", func() bool { return r.Container(1) != nil })
	got := r.Container(1)
	if w := (event.Workload{Namespace: "prod", Pod: "shop-1", Container: "cart"}); got.Workload != w || got.Runtime != "cri-o" || got.Image != "shop/cart:2.0" {
		t.Errorf("container = %+v, want %v", got, w)
	}
	r.Attach(removed(1))
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	if r.table.records[crioCart].deleted == 0 {
		t.Error("nobody else reports its end, but it lives on without a cgroup")
	}
}

func FuzzDockerReply(f *testing.F) {
	for _, name := range []string{dockerWeb, dockerJob} {
		data, err := os.ReadFile("testdata/docker/inspect-" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(`{"Type":"container","Action":"create","Actor":{"ID":"` + dockerWeb + `"},"timeNano":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		e := &docker{name: "docker", driver: "systemd", http: &http.Client{Transport: canned(text)}}
		r := New(offline())
		to := reporter{r, testSource}
		found, err := e.inspect(t.Context(), dockerWeb)
		if err == nil {
			to.found(found, 1)
		}
		e.Watch(t.Context(), to, func() {})
		e.List(t.Context(), to)
		checkTable(t, r)
	})
}

// canned answers every request with the same text.
type canned string

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(c)))}, nil
}

func FuzzOCISpec(f *testing.F) {
	f.Add([]byte(`{"annotations":{"io.kubernetes.cri.container-type":"sandbox"},"linux":{"cgroupsPath":"a.slice:b:c"}}`))
	f.Add([]byte(`{"linux":null,"annotations":null}`))
	f.Add([]byte(`{"annotations":{"io.kubernetes.pod.name":"\ud800"},"linux":{"cgroupsPath":"/../.."}}`))
	f.Add([]byte(specOf(`"CAP_SYS_ADMIN"`, `{"type":"pid","path":"/proc/1/ns/pid"}`, `{"allow":true,"access":"rwm"}`, ``, `{"type":"bind","source":"/\ud800"}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseInfo(map[string]string{"info": string(data)})
		parseGrant(map[string]string{"info": string(data)})
		eventNames(data)
		spec, err := parseSpec(data)
		if err != nil {
			return
		}
		r := New(offline())
		c := found{Container: event.Container{ID: "id"}, paths: scopePaths(spec.cgroupsPath())}
		grant(&c.Container, data)
		describe(&c.Container, nil, spec.Annotations)
		for i, p := range c.paths {
			r.AddCgroup(uint64(i+1), p)
		}
		r.table.put(testSource, c, 1)
		checkTable(t, r)
	})
}

// checkTable tells that nothing from outside has got into the labels unbounded.
func checkTable(t *testing.T, r *Resolver) {
	for _, rec := range r.table.records {
		for _, s := range []string{rec.container.Namespace, rec.container.Pod, rec.container.Workload.Container, rec.container.Image, rec.container.ID} {
			if s != label(s) {
				t.Errorf("%q is not a label value", s)
			}
		}
		for _, m := range rec.container.Mounts {
			if len(m.Source) > maxText || len(m.Dest) > maxText || len(rec.container.Mounts) > maxMounts {
				t.Errorf("%d mounts, one from %q to %q", len(rec.container.Mounts), m.Source, m.Dest)
			}
		}
		for _, p := range rec.paths {
			if !strings.HasPrefix(p, "/") || p == "/" {
				t.Errorf("%q is not a cgroup's path", p)
			}
		}
	}
}
