package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// importSurveyed makes an image of the guest with a user, a setuid program and what else its configuration is to say.
func (c *testContainerd) importSurveyed(name string, config map[string]any) {
	c.t.Helper()
	guest, err := os.ReadFile(c.dir + "/guest")
	if err != nil {
		c.t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{"guest", 0o755, guest}, {"bin/tool", 0o4755, []byte("x")}, {"bin/plain", 0o755, []byte("x")}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}); err != nil {
			c.t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			c.t.Fatal(err)
		}
	}
	w.Close()
	config["Entrypoint"] = []string{"/guest"}
	whole := mustJSON(map[string]any{"architecture": "amd64", "os": "linux", "created": time.Now().Add(-100 * 24 * time.Hour).UTC(), "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}}})
	const oci = "application/vnd.oci.image."
	manifest := mustJSON(map[string]any{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": descriptor(oci+"config.v1+json", whole),
		"layers": []any{descriptor(oci+"layer.v1.tar", layer.Bytes())}})
	top := descriptor(oci+"manifest.v1+json", manifest)
	top["annotations"] = map[string]string{"io.containerd.image.name": name}
	c.write("more.tar", tarball(map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": mustJSON(map[string]any{"schemaVersion": 2, "manifests": []any{top}}),
		blob(digest(layer.Bytes())): layer.Bytes(), blob(digest(whole)): whole, blob(digest(manifest)): manifest,
	}))
	c.ctr("image", "import", "--snapshotter", "native", c.dir+"/more.tar")
}

// begin starts a container of an image with a command of its own.
func (c *testContainerd) begin(id, image string, options []string, command ...string) {
	c.t.Helper()
	c.ctr(append(append(append([]string{"run", "--snapshotter", "native", "--detach"}, options...), image, id), command...)...)
}

func (c *testContainerd) end(id string) {
	c.t.Helper()
	c.ctr("task", "delete", "-f", id)
	c.ctr("container", "delete", id)
}

// containersOf surveys, and returns the facts of containers and mounts by their subjects.
func containersOf(t *testing.T, r *Resolver) (containers, mounts map[string]event.Fact) {
	t.Helper()
	containers, mounts = map[string]event.Fact{}, map[string]event.Fact{}
	err := r.Surveys()[0].Survey(t.Context(), func(f event.Fact) {
		if f.Kind == event.ContainerMount {
			mounts[f.Subject] = f
		} else if _, twice := containers[f.Subject]; twice {
			t.Errorf("two facts of %s", f.Subject)
		} else {
			containers[f.Subject] = f
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return containers, mounts
}

func checkFact(t *testing.T, what string, f event.Fact, want map[string]any) {
	t.Helper()
	if f.Err() != "" {
		t.Errorf("%s: error %s", what, f.Err())
	}
	for field, value := range want {
		if f.Kind.Field(field) == nil {
			t.Errorf("%s: there is no field %s", what, field)
		}
		if got := f.Values[field]; fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s: %s is %v, want %v", what, field, got, value)
		}
	}
}

// judged wants what some of our own checks say of a container, and that they name it.
func judged(t *testing.T, f event.Fact, ids string, want event.Status) {
	t.Helper()
	files, err := rules.ChecksPack()
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f rules.File) bool { return !strings.HasSuffix(f.Name, "/container-runtime.yaml") })
	checks, _ := rules.LoadChecks(files)
	e := rules.NewEvaluation(checks, nil, time.Now())
	e.Fact(f)
	verdicts := map[string]event.Verdict{}
	for _, v := range e.Verdicts() {
		verdicts[v.Check.ID] = v
	}
	for id := range strings.FieldsSeq(ids) {
		v, ok := verdicts[id]
		if !ok || v.Status != want {
			t.Errorf("check %s is %s, want %s: %+v", id, v.Status, want, v)
		}
		if want == event.Fail && (len(v.Objects) != 1 || v.Objects[0].Subject != f.Subject) {
			t.Errorf("check %s fails for %+v, want %s", id, v.Objects, f.Subject)
		}
	}
}

// TestSurveyFindsEveryBadSetting starts a container with each bad setting, and then one of its name without it: the survey finds the
// first by its name, and not the second.
func TestSurveyFindsEveryBadSetting(t *testing.T) {
	c := startContainerd(t)
	const image = "docker.io/library/surveyed:1"
	c.importSurveyed(image, map[string]any{"User": "1000:1000", "Env": []string{"API_TOKEN=x", "PATH=/bin"}, "ExposedPorts": map[string]any{"22/tcp": map[string]any{}},
		"Healthcheck": map[string]any{"Test": []string{"CMD", "/guest", "1ms"}}})
	c.ctr("image", "tag", testImage, "docker.io/library/surveyed:latest")
	shared := c.sharedMount()
	socket, err := net.Listen("unix", c.dir+"/docker.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	block := blockDevice(t)
	own := fmt.Sprintf("/proc/%d/ns/", os.Getpid())
	guest := "type=bind,src=" + c.dir + "/guest,dst=/sshd,options=rbind:ro"
	harmless := "type=bind,src=" + c.dir + "/guest,dst=/other,options=rbind:ro"
	_ = os.Mkdir(c.dir+"/data", 0o755)

	bare := []string{"--seccomp", "--read-only", "--memory-limit", "67108864", "--cpu-quota", "50000", "--cpu-period", "100000"}
	for _, tt := range []struct {
		name      string
		checks    string   // that fail for the bad one, and pass for the good one
		bad, good []string // options
		image     string
		badImage  string
		command   []string
		want      map[string]any // of the bad one
		cleared   map[string]any // of the good one
	}{
		{name: "privileged", checks: "container-privileged container-proc-sys container-sys container-proc-masked", bad: []string{"--privileged"}, want: map[string]any{"privileged": true, "all_capabilities": true, "seccomp": "disabled", "proc_masked": false, "sys_writable": true},
			good: bare, cleared: map[string]any{"privileged": false, "all_capabilities": false, "seccomp": "filter", "proc_masked": true, "sys_writable": false, "proc_sys_writable": false, "cgroup_writable": false}},
		{name: "capabilities", checks: "container-capabilities-added container-capabilities-dangerous", bad: []string{"--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_NET_ADMIN"}, want: map[string]any{"added": "CAP_NET_ADMIN, CAP_SYS_ADMIN", "dangerous": "CAP_NET_ADMIN, CAP_SYS_ADMIN", "privileged": false, "capability_count": 16},
			cleared: map[string]any{"added": "", "dangerous": "", "net_raw": true, "capability_count": 14}},
		{name: "net-raw", checks: "container-net-raw", good: []string{"--cap-drop", "CAP_NET_RAW"}, want: map[string]any{"net_raw": true}, cleared: map[string]any{"net_raw": false, "capability_count": 13}},
		{name: "network", checks: "container-host-network", bad: []string{"--net-host"}, want: map[string]any{"host_network": true}, cleared: map[string]any{"host_network": false}},
		{name: "pid", checks: "container-host-pid", bad: []string{"--with-ns", "pid:" + own + "pid"}, want: map[string]any{"host_pid": true, "host_ipc": false}, cleared: map[string]any{"host_pid": false}},
		{name: "ipc", checks: "container-host-ipc", bad: []string{"--with-ns", "ipc:" + own + "ipc"}, want: map[string]any{"host_ipc": true, "host_uts": false}, cleared: map[string]any{"host_ipc": false}},
		{name: "uts", checks: "container-host-uts", bad: []string{"--with-ns", "uts:" + own + "uts"}, want: map[string]any{"host_uts": true, "host_mount": false}, cleared: map[string]any{"host_uts": false}},
		{name: "socket", checks: "container-runtime-socket", bad: []string{"--mount", "type=bind,src=" + c.dir + "/docker.sock,dst=/var/run/docker.sock,options=rbind"}, want: map[string]any{"runtime_sockets": c.dir + "/docker.sock"}, cleared: map[string]any{"runtime_sockets": ""}},
		{name: "socket-directory", checks: "container-runtime-socket", bad: []string{"--mount", "type=bind,src=" + c.dir + ",dst=/up,options=rbind:ro"}, want: map[string]any{"runtime_sockets": c.socket()}, cleared: map[string]any{"runtime_sockets": ""}},
		{name: "etc", checks: "container-sensitive-mounts container-writable-mounts", bad: []string{"--mount", "type=bind,src=/etc,dst=/host/etc,options=rbind"}, want: map[string]any{"sensitive_mounts": "/etc", "writable_mounts": "/etc"},
			good: []string{"--mount", "type=bind,src=" + c.dir + "/data,dst=/data,options=rbind"}, cleared: map[string]any{"sensitive_mounts": "", "writable_mounts": ""}},
		{name: "root-mount", checks: "container-sensitive-mounts", bad: []string{"--mount", "type=bind,src=/,dst=/host,options=bind:ro"}, want: map[string]any{"sensitive_mounts": "/", "writable_mounts": ""}, cleared: map[string]any{"sensitive_mounts": ""}},
		{name: "shared", checks: "container-shared-mounts", bad: []string{"--rootfs-propagation", "rshared", "--mount", "type=bind,src=" + shared + ",dst=/shared,options=rbind:rshared"}, want: map[string]any{"shared_mounts": "/shared"},
			good: []string{"--mount", "type=bind,src=" + shared + ",dst=/shared,options=rbind:rprivate"}, cleared: map[string]any{"shared_mounts": ""}},
		{name: "new-privileges", checks: "container-no-new-privileges", bad: []string{"--allow-new-privs"}, image: image, want: map[string]any{"no_new_privs": false, "setuid_programs": "/bin/tool"}, cleared: map[string]any{"no_new_privs": true, "setuid_programs": nil}},
		{name: "seccomp", checks: "container-seccomp", good: []string{"--seccomp"}, want: map[string]any{"seccomp": "disabled"}, cleared: map[string]any{"seccomp": "filter"}},
		{name: "writable-root", checks: "container-read-only", good: []string{"--read-only"}, want: map[string]any{"read_only": false}, cleared: map[string]any{"read_only": true}},
		{name: "memory", checks: "container-memory", good: []string{"--memory-limit", "67108864"}, want: map[string]any{"memory_limited": false, "memory_limit": nil}, cleared: map[string]any{"memory_limited": true, "memory_limit": 67108864}},
		{name: "cpu", checks: "container-cpu", good: []string{"--cpus", "0.5"}, want: map[string]any{"cpu_limited": false}, cleared: map[string]any{"cpu_limited": true}},
		{name: "cpu-weight", checks: "container-cpu", good: []string{"--cpu-shares", "512"}, want: map[string]any{"cpu_weighted": false}, cleared: map[string]any{"cpu_weighted": true}},
		{name: "root-user", checks: "container-root container-root-group container-image-user", good: nil, badImage: testImage, image: image, want: map[string]any{"root": true, "uid": 0, "root_group": true, "root_processes": 1, "image_user_root": true, "image_user": ""},
			cleared: map[string]any{"root": false, "uid": 1000, "inner_uid": 1000, "root_group": false, "root_processes": 0, "image_user_root": false, "image_user": "1000:1000", "image_secret_env": "API_TOKEN",
				"image_ports": "22/tcp", "image_healthcheck": true, "image_age_days": 100}},
		{name: "device", checks: "container-devices container-block-devices", bad: []string{"--device", block}, want: map[string]any{"block_devices": filepath.Base(block), "devices": filepath.Base(block), "all_devices": false}, cleared: map[string]any{"block_devices": "", "devices": ""}},
		{name: "secret", checks: "container-secrets-in-environment", bad: []string{"--env", "DB_PASSWORD=hunter2", "--env", "DB_PASSWORD_FILE=/x"}, want: map[string]any{"secret_env": "DB_PASSWORD"}, good: []string{"--env", "DB_HOST=x"}, cleared: map[string]any{"secret_env": ""}},
		{name: "ssh", checks: "container-ssh-server", bad: []string{"--mount", guest}, good: []string{"--mount", harmless}, command: []string{"/sshd"}, want: map[string]any{"ssh_server": true}, cleared: map[string]any{"ssh_server": false}},
		{name: "latest", checks: "container-image-latest", badImage: "docker.io/library/surveyed:latest", want: map[string]any{"image_latest": true, "image_tag": "latest"}, cleared: map[string]any{"image_latest": false, "image_tag": "1"}},
		{name: "cgroup", checks: "container-cgroup", bad: []string{"--cgroup", "/" + c.ns + "/elsewhere"}, want: map[string]any{"cgroup_usual": false, "cgroup": "/" + c.ns + "/elsewhere"}, cleared: map[string]any{"cgroup_usual": true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.t = t
			r := New(Options{Config: Config{Containerd: []string{c.socket()}, CRI: []string{}, Docker: []string{}, Podman: []string{}, Bundles: []string{}, Storage: []string{}}})
			good, command := tt.image, tt.command
			if good == "" {
				good = testImage
			}
			bad := tt.badImage
			if bad == "" {
				bad = good
			}
			c.begin(tt.name, bad, tt.bad, command...)
			containers, _ := containersOf(t, r)
			checkFact(t, "the bad one", containers[tt.name], tt.want)
			judged(t, containers[tt.name], tt.checks, event.Fail)
			c.end(tt.name)
			if tt.name == "ssh" {
				command = []string{"/other"}
			}
			c.begin(tt.name, good, tt.good, command...)
			containers, _ = containersOf(t, r)
			checkFact(t, "the one that was mended", containers[tt.name], tt.cleared)
			judged(t, containers[tt.name], tt.checks, event.Pass)
			c.end(tt.name)
			if containers, _ = containersOf(t, r); len(containers) != 0 {
				t.Errorf("after its end there are still %d containers", len(containers))
			}
		})
	}
	c.t = t
	c.surveyOneLong(t, image)
}

// surveyOneLong surveys one container while things are done to it from outside.
func (c *testContainerd) surveyOneLong(t *testing.T, image string) {
	r := c.resolver() // one that runs: the survey makes use of what it knows
	c.eventually("it is connected", func() bool { return r.Status()[0].Up })
	_ = os.WriteFile(c.dir+"/data/prog", mustRead(t, c.dir+"/guest"), 0o755)
	c.begin("long", image, []string{"--mount", "type=bind,src=" + c.dir + "/data,dst=/data,options=rbind:ro", "--mount", "type=bind,src=/etc,dst=/host/etc,options=rbind:nosuid:noexec"}, "/data/prog")
	containers, mounts := containersOf(t, r)
	checkFact(t, "it", containers["long"], map[string]any{"name": "long", "pod": "", "orchestrated": false, "runtime": "containerd", "processes": 1, "pids_limited": false, "deleted_programs": "", "exec_root": 0, "exec_privileged": 0,
		"image": image, "id": "long", "age_days": 0, "restart": nil, "ports": nil, "host_user": true, "host_root": true, "oom_disabled": false})
	checkFact(t, "its mount", mounts["long:/host/etc"], map[string]any{"container": "long", "source": "/etc", "destination": "/host/etc", "writable": true, "nosuid": true, "noexec": true, "nodev": false, "sensitive": true, "purpose": "etc", "shared": false})
	checkFact(t, "its other mount", mounts["long:/data"], map[string]any{"source": c.dir + "/data", "writable": false, "sensitive": false, "purpose": "other"})

	c.ctr("task", "exec", "--detach", "--exec-id", "x", "--user", "0", "long", "/guest")
	if err := os.Remove(c.dir + "/data/prog"); err != nil {
		t.Fatal(err)
	}
	c.limitPids("long", "17")
	containers, _ = containersOf(t, r)
	checkFact(t, "it, after all that", containers["long"], map[string]any{"processes": 2, "exec_root": 1, "root": false, "root_processes": 1, "pids_limited": true, "pids_limit": 17, "deleted_programs": "/data/prog (deleted)"})

	runtimes := map[string]event.Fact{}
	if err := r.Surveys()[1].Survey(t.Context(), func(f event.Fact) { runtimes[f.Subject] = f }); err != nil {
		t.Fatal(err)
	}
	checkFact(t, "the runtime", runtimes["containerd "+c.socket()], map[string]any{"name": "containerd", "up": true, "running": 1, "stopped": 0, "images": 3, "unused_images": 2})
	c.end("long")
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// limitPids gives a container a limit that ctr has no option for.
func (c *testContainerd) limitPids(id, limit string) {
	c.t.Helper()
	file := "/sys/fs/cgroup/pids/" + c.ns + "/" + id + "/pids.max"
	if _, err := os.Stat(file); err != nil {
		file = "/sys/fs/cgroup/" + c.ns + "/" + id + "/pids.max"
	}
	if err := os.WriteFile(file, []byte(limit), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// sharedMount makes a directory whose mounts are shared with who asks for it.
func (c *testContainerd) sharedMount() string {
	c.t.Helper()
	dir := c.dir + "/shared"
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		c.t.Fatal(err)
	}
	return dir
}

// blockDevice is some block device of this machine.
func blockDevice(t *testing.T) string {
	t.Helper()
	names, _ := filepath.Glob("/sys/class/block/*")
	for _, name := range names {
		file := "/dev/" + filepath.Base(name)
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return file
		}
	}
	t.Skip("needs a block device")
	return ""
}

// TestSurveyNamesPods runs a pod by the kubelet's interface, with the network of the node.
func TestSurveyNamesPods(t *testing.T) {
	c := startContainerd(t)
	conn, err := dialGRPC(c.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	api := runtimeapi.NewRuntimeServiceClient(conn)
	parent := "/" + c.ns + "/kubepods"
	_ = os.Mkdir(c.tree+parent, 0o755)
	labels := map[string]string{"io.kubernetes.pod.name": "shop", "io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": "0f2d6a1c-7b0e-4f4e-9a53-1d2a3b4c5d6e"}
	spaces := &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_POD, Pid: runtimeapi.NamespaceMode_CONTAINER}
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "shop", Namespace: "prod", Uid: labels["io.kubernetes.pod.uid"]}, Labels: labels,
		PortMappings: []*runtimeapi.PortMapping{{ContainerPort: 80, HostPort: 81}, {ContainerPort: 82}},
		Linux:        &runtimeapi.LinuxPodSandboxConfig{CgroupParent: parent, SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: spaces}},
	}
	made, err := api.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		t.Skipf("containerd's CRI plugin cannot make a pod here: %v", err)
	}
	t.Cleanup(func() { removePod(c, made.GetPodSandboxId()) })
	security := &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: spaces, RunAsUser: &runtimeapi.Int64Value{Value: 4711}, NoNewPrivs: true, ReadonlyRootfs: true,
		Capabilities: &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}}
	container, err := api.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: made.GetPodSandboxId(), SandboxConfig: config, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "cart"}, Image: &runtimeapi.ImageSpec{Image: testImage},
		Labels: map[string]string{"io.kubernetes.pod.name": "shop", "io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": labels["io.kubernetes.pod.uid"], "io.kubernetes.container.name": "cart"},
		Linux:  &runtimeapi.LinuxContainerConfig{SecurityContext: security}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: container.GetContainerId()}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"name": "cart", "namespace": "prod", "pod": "shop", "orchestrated": true, "root": false, "uid": 4711, "capability_count": 0, "no_new_privs": true, "read_only": true, "host_network": false,
		"privileged": false, "cgroup_usual": true}
	for how, options := range map[string]Config{
		"by containerd": {Containerd: []string{c.socket()}, CRI: []string{}}, "by CRI": {Containerd: []string{}, CRI: []string{c.socket()}},
		"by files": {Containerd: []string{}, CRI: []string{}, Bundles: []string{c.dir + "/state/io.containerd.runtime.v2.task"}},
	} {
		options.Docker, options.Podman, options.Storage = []string{}, []string{}, []string{}
		if options.Bundles == nil {
			options.Bundles = []string{}
		}
		containers, _ := containersOf(t, New(Options{Config: options}))
		if len(containers) != 1 {
			t.Errorf("%s: %d containers, want one without its sandbox", how, len(containers))
		}
		checkFact(t, how, containers["prod/shop/cart"], want)
		if how != "by files" {
			checkFact(t, how, containers["prod/shop/cart"], map[string]any{"ports": ":81", "low_ports": ":81", "open_ports": ":81", "image_user": ""})
		}
	}
	dead := New(Options{Config: Config{Containerd: []string{c.dir + "/config.toml"}, CRI: []string{}, Docker: []string{}, Podman: []string{}, Bundles: []string{}, Storage: []string{}}})
	containers, _ := containersOf(t, dead)
	f := containers[container.GetContainerId()[:12]]
	if !strings.Contains(f.Err(), "it may be a container") {
		t.Errorf("of a runtime that does not answer: %d facts, error %q", len(containers), f.Err())
	}
}
