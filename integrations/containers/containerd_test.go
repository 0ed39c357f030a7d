package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/containerd/containerd/api/types"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/yagura-io/yagura/rules/event"
)

const testImage = "docker.io/library/yagura-guest:1"

// A testContainerd is a containerd of our own, beside any the machine has.
type testContainerd struct {
	t       *testing.T
	dir     string
	ns      string // containerd namespace and first element of every cgroup
	tree    string // where the tracked hierarchy is mounted
	process *exec.Cmd
	image   string // digest of the manifest
}

// startContainerd runs containerd in a directory of the test's own.
func startContainerd(t *testing.T) *testContainerd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containerd makes cgroups and mounts")
	}
	for _, name := range []string{"containerd", "ctr", "runc", "go"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s: %v", name, err)
		}
	}
	// Not t.TempDir: the name of a unix socket has room for 108 bytes.
	dir, err := os.MkdirTemp("", "yc")
	if err != nil {
		t.Fatal(err)
	}
	c := &testContainerd{t: t, dir: dir, ns: fmt.Sprintf("yagura-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6), tree: trackedTree(t)}
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, dir+"/root", dir+"/state", c.socket(), testImage, dir+"/cni", dir+"/net.d")
	c.write("config.toml", []byte(config))
	c.fakeCNI()
	if err := os.Mkdir(filepath.Join(c.tree, c.ns), 0o755); err != nil {
		t.Fatal(err)
	}
	c.start()
	t.Cleanup(c.remove)
	c.importImage()
	return c
}

// fakeCNI makes a network plugin that gives every pod the same address, without a network behind it.
func (c *testContainerd) fakeCNI() {
	c.t.Helper()
	const plugin = `#!/bin/sh
case $CNI_COMMAND in
ADD) echo '{"cniVersion":"0.4.0","interfaces":[{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}],"ips":[{"version":"4","interface":0,"address":"10.88.0.7/24"}]}' ;;
VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}' ;;
esac
`
	for name, text := range map[string]string{
		"cni/fake": plugin, "cni/loopback": plugin,
		"net.d/10-fake.conflist": `{"cniVersion":"0.4.0","name":"fake","plugins":[{"type":"fake"}]}`,
	} {
		if err := os.MkdirAll(filepath.Join(c.dir, filepath.Dir(name)), 0o755); err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
}

// trackedTree returns the hierarchy that the kernel side would track here.
func trackedTree(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"memory", "pids", "cpu"} {
		if info, err := os.Stat("/sys/fs/cgroup/" + dir); err == nil && info.IsDir() {
			return "/sys/fs/cgroup/" + dir
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Skipf("needs a cgroup hierarchy: %v", err)
	}
	return "/sys/fs/cgroup"
}

func (c *testContainerd) socket() string { return c.dir + "/c.sock" }

func (c *testContainerd) write(name string, data []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *testContainerd) start() {
	c.t.Helper()
	log, err := os.OpenFile(c.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.process = exec.Command("containerd", "--config", c.dir+"/config.toml")
	c.process.Stdout, c.process.Stderr = log, log
	if err := c.process.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.eventually("containerd answers", func() bool { return exec.Command("ctr", "-a", c.socket(), "version").Run() == nil })
}

func (c *testContainerd) stop() {
	c.process.Process.Signal(syscall.SIGTERM)
	c.process.Wait()
}

// remove leaves nothing behind: neither processes nor cgroups.
func (c *testContainerd) remove() {
	for _, ns := range []string{c.ns, "k8s.io"} {
		list, _ := exec.Command("ctr", "-a", c.socket(), "-n", ns, "container", "list", "-q").Output()
		for _, id := range strings.Fields(string(list)) {
			exec.Command("ctr", "-a", c.socket(), "-n", ns, "task", "delete", "-f", id).Run()
			exec.Command("ctr", "-a", c.socket(), "-n", ns, "container", "delete", id).Run()
		}
	}
	c.stop()
	trees, _ := filepath.Glob("/sys/fs/cgroup/*/" + c.ns)
	for _, top := range append(trees, "/sys/fs/cgroup/"+c.ns) {
		var dirs []string
		filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			os.Remove(dirs[i])
		}
	}
	if c.t.Failed() {
		log, _ := os.ReadFile(c.dir + "/log")
		c.t.Logf("containerd said:\n%s", log[max(0, len(log)-4000):])
	}
	os.RemoveAll(c.dir)
}

func (c *testContainerd) ctr(args ...string) string {
	c.t.Helper()
	out, err := exec.Command("ctr", append([]string{"-a", c.socket(), "-n", c.ns}, args...)...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("ctr %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *testContainerd) eventually(what string, done func() bool) {
	c.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	c.t.Fatalf("after 30 s it is not so that %s", what)
}

// importImage makes an OCI image of the guest program and hands it to containerd, for ctr and for CRI.
func (c *testContainerd) importImage() {
	c.t.Helper()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", c.dir+"/guest", "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("build the guest: %v\n%s", err, out)
	}
	guest, err := os.ReadFile(c.dir + "/guest")
	if err != nil {
		c.t.Fatal(err)
	}
	layer := tarball(map[string][]byte{"guest": guest})
	config := mustJSON(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/guest"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	const oci = "application/vnd.oci.image."
	manifest := mustJSON(map[string]any{
		"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
		"config": descriptor(oci+"config.v1+json", config),
		"layers": []any{descriptor(oci+"layer.v1.tar", layer)},
	})
	c.image = digest(manifest)
	top := descriptor(oci+"manifest.v1+json", manifest)
	top["annotations"] = map[string]string{"io.containerd.image.name": testImage}
	index := mustJSON(map[string]any{"schemaVersion": 2, "manifests": []any{top}})
	c.write("image.tar", tarball(map[string][]byte{
		"oci-layout":           []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json":           index,
		blob(digest(layer)):    layer,
		blob(digest(config)):   config,
		blob(digest(manifest)): manifest,
	}))
	c.ctr("image", "import", "--snapshotter", "native", c.dir+"/image.tar")
	out, err := exec.Command("ctr", "-a", c.socket(), "-n", "k8s.io", "image", "import", "--snapshotter", "native", c.dir+"/image.tar").CombinedOutput()
	if err != nil {
		c.t.Fatalf("import for CRI: %v\n%s", err, out)
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func descriptor(mediaType string, data []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest(data), "size": len(data)}
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func tarball(files map[string][]byte) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range files {
		w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg})
		w.Write(data)
	}
	w.Close()
	return out.Bytes()
}

// run starts a container that lives for so long, or until the end of the test if life is empty.
func (c *testContainerd) run(id, life string, args ...string) {
	c.t.Helper()
	args = append([]string{"run", "--snapshotter", "native"}, args...)
	if life == "" {
		args = append(args, "--detach", testImage, id)
	} else {
		args = append(args, "--rm", testImage, id, "/guest", life)
	}
	c.ctr(args...)
}

func (c *testContainerd) resolver(change ...func(*Options)) *Resolver {
	o := Options{Config: Config{
		Containerd: []string{c.socket()}, CRI: []string{}, Docker: []string{}, Podman: []string{},
		Bundles: []string{c.dir + "/state/io.containerd.runtime.v2.task"}, Storage: []string{},
	}}
	for _, f := range change {
		f(&o)
	}
	r := New(o)
	start(c.t, r.Run)
	return r
}

// start runs f until the test ends, and waits for it.
func start(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// cgroup returns the id that the kernel gives a cgroup directory.
func (c *testContainerd) cgroup(path string) uint64 {
	c.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(c.tree+path, &st); err != nil {
		c.t.Fatal(err)
	}
	return st.Ino
}

// A sighted cgroup is one that was made while the test looked, and what its first event was given.
type sighted struct {
	id    uint64
	path  string
	first *event.Container
}

// follow plays the kernel: it tells the resolver of every cgroup made in dir.
func (c *testContainerd) follow(r *Resolver, dir string) <-chan sighted {
	c.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, c.tree+dir, unix.IN_CREATE|unix.IN_DELETE); err != nil {
		c.t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	seen := make(chan sighted, 2000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ids := map[string]uint64{}
		buf := make([]byte, 64<<10)
		for {
			n, err := file.Read(buf)
			if err != nil {
				return
			}
			for b := buf[:n]; len(b) > 0; {
				head := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
				name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+head.Len], "\x00"))
				b = b[unix.SizeofInotifyEvent+head.Len:]
				path := dir + "/" + name
				if head.Mask&unix.IN_DELETE != 0 {
					r.Attach(&event.Event{Kind: event.CgroupRemove, CgroupID: ids[path], Path: []byte(path), Time: time.Now().UnixNano()})
					continue
				}
				var st unix.Stat_t
				if unix.Stat(c.tree+path, &st) != nil {
					continue
				}
				ids[path] = st.Ino
				ev := event.Event{Kind: event.CgroupMake, CgroupID: st.Ino, Path: []byte(path), Time: time.Now().UnixNano()}
				r.Attach(&ev)
				seen <- sighted{st.Ino, path, ev.Container}
			}
		}
	}()
	c.t.Cleanup(func() {
		file.Close()
		<-done
	})
	return seen
}

func (c *testContainerd) next(seen <-chan sighted) sighted {
	c.t.Helper()
	select {
	case s := <-seen:
		return s
	case <-time.After(30 * time.Second):
		c.t.Fatal("no cgroup was made within 30 s")
		panic("unreachable")
	}
}

// named waits until a cgroup has its container.
func (c *testContainerd) named(r *Resolver, id uint64) *event.Container {
	c.t.Helper()
	c.eventually(fmt.Sprintf("cgroup %d has a container", id), func() bool { return r.Container(id) != nil })
	return r.Container(id)
}

func TestContainerd(t *testing.T) {
	c := startContainerd(t)

	t.Run("names a container started before us", func(t *testing.T) {
		c.t = t
		c.run("early", "")
		r := c.resolver()
		id := c.cgroup("/" + c.ns + "/early")
		r.AddCgroup(c.cgroup("/"+c.ns), "/"+c.ns)
		r.AddCgroup(id, "/"+c.ns+"/early")
		got := c.named(r, id)
		if got.Workload != (event.Workload{Container: "early"}) || got.ID != "early" || got.Runtime != "containerd" ||
			got.Image != testImage || got.ImageID != c.image || got.CgroupID != id || got.Created == 0 {
			t.Errorf("container = %+v, want early of %s, %s", got, testImage, c.image)
		}
		if w, state := r.Workload(id); w != got.Workload || state != Known {
			t.Errorf("Workload = %v, %v, want %v, known", w, state, got.Workload)
		}
		c.eventually("the parent is the host's", func() bool { _, s := r.Workload(c.cgroup("/" + c.ns)); return s == Known })
		if w, _ := r.Workload(c.cgroup("/" + c.ns)); w != (event.Workload{}) {
			t.Errorf("Workload of the parent = %v, want the host", w)
		}
	})

	t.Run("names one that lives 50 ms from its first event", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		c.eventually("it is connected", func() bool { return r.Status()[0].Up })
		seen := c.follow(r, "/"+c.ns)
		late := 0
		for i := range 5 {
			name := fmt.Sprintf("short%d", i)
			c.run(name, "50ms", "--label", "role=test")
			s := c.next(seen)
			if want := "/" + c.ns + "/" + name; s.path != want {
				t.Fatalf("the cgroup is %s, its spec says %s", s.path, want)
			}
			if s.first == nil {
				late++
			}
			got := c.named(r, s.id)
			if got.Workload.Container != name || got.Image != testImage || got.ImageID != c.image || got.CgroupID != s.id ||
				got.Labels["role"] != "test" {
				t.Errorf("container = %+v, want %s", got, name)
			}
		}
		if late > 0 {
			t.Errorf("%d of 5 first events had no container yet", late)
		}
	})

	t.Run("names one that was gone when it was asked for", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		c.eventually("it is connected", func() bool { return r.Status()[0].Up })
		e, err := dialContainerd(c.socket(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		made := time.Now()
		ev := madeEvent(77, 1, "/"+c.ns+"/brief")
		r.Attach(ev)
		message := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "brief")
		message = protowire.AppendString(protowire.AppendTag(message, 2, protowire.BytesType), testImage)
		e.(*containerd).handle(t.Context(), reporter{r, &source{}}, &types.Envelope{
			Topic: "/containers/create", Namespace: c.ns, Event: &anypb.Any{Value: message}, Timestamp: timestamppb.New(made)})
		got := r.Container(77)
		if got == nil || got.Workload != (event.Workload{Container: "brief"}) || got.Image != testImage {
			t.Errorf("container = %+v, want brief of %s", got, testImage)
		}
	})

	t.Run("tells what containers were given", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		bundles := c.resolver(func(o *Options) { o.Config.Containerd = []string{} })
		own := event.Container{Known: true}
		for _, tt := range []struct {
			name string
			args []string
			want event.Container
		}{
			{"plain", nil, own},
			{"privileged", []string{"--privileged"}, event.Container{Known: true, Privileged: true}},
			{"powerful", []string{"--cap-add", "CAP_SYS_ADMIN"}, own},
			{"networked", []string{"--net-host"}, event.Container{Known: true, HostNetwork: true}},
			{"mounted", []string{"--mount", "type=bind,src=" + c.dir + ",dst=/host,options=rbind:ro:rslave", "--mount", "type=bind,src=/run,dst=/run,options=bind"},
				event.Container{Known: true, Mounts: []event.Mount{
					{Source: c.dir, Dest: "/host", Mode: "rbind,ro,rslave", Propagation: "rslave"},
					{Source: "/run", Dest: "/run", Mode: "bind", Writable: true, Propagation: "rprivate"},
				}}},
		} {
			c.run("given-"+tt.name, "", tt.args...)
			path := "/" + c.ns + "/given-" + tt.name
			id := c.cgroup(path)
			for how, r := range map[string]*Resolver{"the socket": r, "the bundle": bundles} {
				r.AddCgroup(id, path)
				checkGiven(t, tt.name+" by "+how, c.named(r, id), tt.want)
			}
		}
	})

	t.Run("tells apart containers that use one name after another", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		c.eventually("it is connected", func() bool { return r.Status()[0].Up })
		seen := c.follow(r, "/"+c.ns)
		var ids []uint64
		for _, role := range []string{"first", "second"} {
			c.run("again", "20ms", "--label", "role="+role)
			ids = append(ids, c.next(seen).id)
			if got := c.named(r, ids[len(ids)-1]); got.Labels["role"] != role {
				t.Errorf("role = %q, want %q", got.Labels["role"], role)
			}
		}
		if got := r.Container(ids[0]); got == nil || got.Labels["role"] != "first" {
			t.Errorf("the first one became %+v", got)
		}
	})

	t.Run("finds by the bundle what no socket tells", func(t *testing.T) {
		c.t = t
		r := c.resolver(func(o *Options) { o.Config.Containerd = []string{} })
		id := c.cgroup("/" + c.ns + "/early")
		r.AddCgroup(id, "/"+c.ns+"/early")
		if got := c.named(r, id); got.Workload.Container != "early" || got.Runtime != "containerd" {
			t.Errorf("container = %+v, want early", got)
		}
	})

	t.Run("finds by the bundle what a dead socket does not tell", func(t *testing.T) {
		c.t = t
		r := c.resolver(func(o *Options) { o.Config.Containerd = []string{c.dir + "/config.toml"} })
		id := c.cgroup("/" + c.ns + "/early")
		r.AddCgroup(id, "/"+c.ns+"/early")
		if got := c.named(r, id); got.Workload.Container != "early" {
			t.Errorf("container = %+v, want early", got)
		}
	})

	t.Run("does not believe a path", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		fake := "/elsewhere/" + c.ns + "/early"
		r.AddCgroup(1, fake)
		r.AddCgroup(2, "/"+c.ns+"/nobody")
		c.eventually("both are the host's", func() bool {
			_, a := r.Workload(1)
			_, b := r.Workload(2)
			return a == Known && b == Known
		})
		if r.Container(1) != nil || r.Container(2) != nil {
			t.Errorf("containers = %v, %v, want none", r.Container(1), r.Container(2))
		}
	})

	t.Run("finds a container below another root by its process", func(t *testing.T) {
		c.t = t
		c.run("relative", "", "--cgroup", c.ns+"/rel/inner")
		var real string
		pid := strings.Fields(strings.Split(c.ctr("task", "list"), "relative")[1])[0]
		data, err := os.ReadFile("/proc/" + pid + "/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); strings.Contains(c.tree, "/"+fields[1]) || fields[1] == "" && real == "" {
				real = fields[2]
			}
		}
		r := c.resolver()
		r.AddCgroup(7, real)
		if got := c.named(r, 7); got.Workload.Container != "relative" {
			t.Errorf("container at %s = %+v, want relative", real, got)
		}
	})

	t.Run("survives a restart of containerd", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		id := c.cgroup("/" + c.ns + "/early")
		r.AddCgroup(id, "/"+c.ns+"/early")
		before := c.named(r, id)
		c.stop()
		c.eventually("it is shown as down", func() bool { return !r.Status()[0].Up })
		if s := r.Status()[0]; s.Err == nil {
			t.Errorf("Status = %+v, want an error", s)
		}
		if got := r.Container(id); got != before {
			t.Errorf("container while containerd is away = %+v, want %+v", got, before)
		}
		c.start()
		c.eventually("it is shown as up", func() bool { return r.Status()[0].Up })
		seen := c.follow(r, "/"+c.ns)
		c.run("after", "50ms")
		if got := c.named(r, c.next(seen).id); got.Workload.Container != "after" {
			t.Errorf("container = %+v, want after", got)
		}
		if got := r.Container(id); got == nil || got.Workload.Container != "early" {
			t.Errorf("container after the restart = %+v, want early", got)
		}
	})

	t.Run("names pods and their sandboxes", func(t *testing.T) {
		c.t = t
		r := c.resolver()
		c.testPod(t, r, testedPod{first: true, privileged: true, network: runtimeapi.NamespaceMode_NODE})
	})
	t.Run("names pods with a network of their own", func(t *testing.T) {
		c.t = t
		c.testPod(t, c.resolver(), testedPod{first: true, network: runtimeapi.NamespaceMode_POD, address: "10.88.0.7"})
	})
	t.Run("names pods through CRI alone", func(t *testing.T) {
		c.t = t
		r := c.resolver(func(o *Options) {
			o.Config.Containerd, o.Config.Bundles = []string{}, []string{}
			o.Config.CRI = []string{c.socket()}
		})
		c.testPod(t, r, testedPod{network: runtimeapi.NamespaceMode_POD, address: "10.88.0.7"})
	})
	t.Run("names privileged pods through CRI alone", func(t *testing.T) {
		c.t = t
		r := c.resolver(func(o *Options) {
			o.Config.Containerd, o.Config.Bundles = []string{}, []string{}
			o.Config.CRI = []string{c.socket()}
		})
		c.testPod(t, r, testedPod{privileged: true, network: runtimeapi.NamespaceMode_NODE})
	})
	t.Run("names pods once when both ways are open", func(t *testing.T) {
		c.t = t
		r := c.resolver(func(o *Options) { o.Config.CRI = []string{c.socket()} })
		c.testPod(t, r, testedPod{network: runtimeapi.NamespaceMode_NODE})
		c.eventually("nothing waits", func() bool { return r.table.counts().pending == 0 })
		if n := len(r.Containers()); n != 2 {
			t.Errorf("%d containers, want the sandbox and the container", n)
		}
	})
	c.t = t
}
