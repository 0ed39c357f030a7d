package containers

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// plantedSurvey is a survey of a /proc that is written by hand.
func plantedSurvey(t *testing.T, files map[string]string) *survey {
	t.Helper()
	procfs := t.TempDir()
	for name, text := range files {
		file := filepath.Join(procfs, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if link, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(link, file); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := New(Options{ProcFS: procfs, Clock: func() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) },
		Config: Config{Containerd: []string{}, CRI: []string{}, Docker: []string{"/run/docker.sock"}, Podman: []string{}, Bundles: []string{}, Storage: []string{}}})
	return &survey{Resolver: r, proc: (&host.Surveys{Procfs: procfs}).Proc(), engines: map[*client]engine{}, images: map[string]*imageConfig{}}
}

const statusOfOne = `Name:	nginx
PPid:	90
Uid:	100000	100000	100000	100000
Gid:	100000	100000	100000	100000
Groups:	0 100000
NSpid:	100	1
CapEff:	0000000000000000
CapBnd:	00000000a80425fb
CapAmb:	0000000000000400
NoNewPrivs:	1
Seccomp:	2
Seccomp_filters:	3
`

func TestSurveyReadsProcesses(t *testing.T) {
	t.Parallel()
	exec := strings.NewReplacer("nginx", "sshd", "NSpid:	100	1", "NSpid:	101	7", "100000	100000	100000	100000", "101000	101000	101000	101000", "a80425fb", "ffffffffff").Replace(statusOfOne)
	s := plantedSurvey(t, map[string]string{
		"100/status": statusOfOne, "100/stat": "100 (a) b) S 90 " + strings.Repeat("0 ", 17) + "500 0", "101/status": exec, "101/stat": "101 (sshd) S 90 " + strings.Repeat("0 ", 17) + "400 0",
		"100/uid_map": "         0     100000      65536\n", "100/ns/pid": "-> pid:[5]", "100/ns/uts": "-> uts:[4026531838]", "100/ns/net": "-> net:[9]", "self/ns/net": "-> net:[9]", "1/mountinfo": "",
		"100/attr/current": "docker-default (enforce)\n", "100/environ": "PATH=/bin\x00DB_PASSWORD=x\x00EMPTY_TOKEN=\x00KEY_FILE=/k\x00S3_SECRET_ACCESS_KEY=/run/secrets/x\x00", "100/exe": "-> /usr/sbin/nginx", "101/exe": "-> /memfd:x (deleted)",
		"100/limits":        "Limit  Soft Limit  Hard Limit Units\nMax core file size        0                    unlimited            bytes\nMax processes             100                  200                  processes\nMax open files            1024                 4096                 files\n",
		"100/oom_score_adj": "-998\n", "sys/kernel/cap_last_cap": "39\n",
	})
	var err error
	if s.host, err = s.readHost(); err != nil {
		t.Fatal(err)
	}
	one, err := s.insider(100)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.insider(101)
	if err != nil {
		t.Fatal(err)
	}
	in := &interior{processes: []*insider{two, one}, count: 2}
	if in.first = firstOf(in.processes); in.first != one {
		t.Errorf("the first process is %d, want 100: it is the first of its name space", in.first.pid)
	}
	f := event.RunningContainer.New("x", "")
	if err := s.readUsers(f, in); err != nil {
		t.Fatal(err)
	}
	s.powers(f, in)
	s.confinement(f, one)
	s.namespaces(f, one)
	s.programs(f, in)
	if err := s.environment(f, one); err != nil {
		t.Fatal(err)
	}
	if err := s.ulimits(f, one); err != nil {
		t.Fatal(err)
	}
	checkFact(t, "the container", f, map[string]any{
		"uid": 100000, "inner_uid": 0, "root": true, "host_root": false, "root_group": true, "root_processes": 1, "exec_privileged": 1, "exec_root": 0,
		"capability_count": 14, "added": "", "dangerous": "", "net_raw": true, "all_capabilities": false, "effective": "[]", "ambient": "[CAP_NET_BIND_SERVICE]",
		"seccomp": "filter", "seccomp_filters": 3, "no_new_privs": true, "apparmor": "docker-default", "apparmor_mode": "enforce", "confined": true, "selinux": nil,
		"host_pid": false, "host_uts": true, "host_network": true, "host_ipc": nil, "secret_env": "DB_PASSWORD", "ssh_server": true, "deleted_programs": "/memfd:x (deleted)",
		"nofile_hard": 4096, "nproc_hard": 200, "core_hard": -1, "oom_score_adj": -998,
	})
	if s.host.whole != 1<<40-1 || one.start != 500 {
		t.Errorf("every capability is %x, the start %d", s.host.whole, one.start)
	}
	if _, err := s.insider(102); !gone(err) {
		t.Errorf("error of a process that is gone: %v", err)
	}
}

func TestSurveyReadsLabelsOfSecurityModules(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]map[string]any{
		"":                        {"confined": nil, "apparmor": nil, "selinux": nil},
		"unconfined\n":            {"apparmor": "unconfined", "apparmor_mode": "unconfined", "confined": false},
		"/usr/bin/x (complain)\n": {"apparmor": "/usr/bin/x", "apparmor_mode": "complain", "confined": false},
		"cri-containerd (kill)":   {"apparmor_mode": "kill", "confined": true},
		"system_u:system_r:container_t:s0:c1,c2\x00": {"selinux": "system_u:system_r:container_t:s0:c1,c2", "selinux_confined": true, "confined": true, "apparmor": nil},
		"system_u:system_r:spc_t:s0":                 {"selinux_confined": false, "confined": false},
	} {
		s := plantedSurvey(t, map[string]string{"7/attr/current": label})
		f := event.RunningContainer.New("x", "")
		s.confinement(f, &insider{pid: 7, status: map[string]string{}})
		checkFact(t, label, f, want)
	}
}

// hostMounts is a host with /run on a file system of its own, and /data shared with everybody.
const hostMounts = `22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /proc rw - proc proc rw
24 22 0:21 / /sys rw - sysfs sysfs rw
25 22 0:22 / /run rw shared:5 - tmpfs tmpfs rw
26 22 8:17 / /data rw shared:7 - ext4 /dev/sdb1 rw
27 22 0:6 / /dev rw - devtmpfs devtmpfs rw
`

func TestSurveyKnowsWhatOfTheHostIsMounted(t *testing.T) {
	t.Parallel()
	s := plantedSurvey(t, map[string]string{"kcore": "", "sysrq-trigger": "", "1/mountinfo": hostMounts, "5/mountinfo": `100 1 0:50 / / ro - overlay overlay rw
101 100 0:51 / /proc rw - proc proc rw
102 101 0:51 /sys /proc/sys ro - proc proc rw
103 101 0:52 /null /proc/kcore rw - tmpfs tmpfs rw
104 100 0:53 / /sys ro - sysfs sysfs ro
105 100 0:22 /docker.sock /var/run/docker.sock rw,nosuid - tmpfs tmpfs rw
106 100 8:1 /etc /host\040etc ro,nodev - ext4 /dev/sda1 rw
107 100 8:1 / /rootfs rw master:1 - ext4 /dev/sda1 rw
108 100 8:17 /vol /vol rw shared:7 - ext4 /dev/sdb1 rw
109 100 8:1 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 /dev/sda1 rw
110 100 8:1 /etc/shadow /etc/hostname rw - ext4 /dev/sda1 rw
111 100 8:33 / /disk rw - xfs /dev/sdc1 rw
112 100 0:20 / /host/proc rw - proc proc rw
113 100 8:1 /var/lib/docker/volumes/db/_data /db rw - ext4 /dev/sda1 rw
114 100 8:1 /var/lib/kubelet/pods/u/volumes/v /token rw - ext4 /dev/sda1 rw
121 100 8:1 /var/lib/kubelet/pods/other/volumes/v /theirs ro - ext4 /dev/sda1 rw
115 100 8:1 /var/log /logs ro - ext4 /dev/sda1 rw
116 100 8:1 /home/me/.ssh /keys ro - ext4 /dev/sda1 rw
117 100 0:54 / /dev rw - tmpfs tmpfs rw
118 100 8:1 /etc/localtime /etc/localtime ro - ext4 /dev/sda1 rw
120 100 8:1 /big/containers/` + dockerWeb + `/hosts /etc/resolv.conf rw - ext4 /dev/sda1 rw
119 100 0:55 / /sys/fs/cgroup rw shared:900 - cgroup2 cgroup rw
`})
	var err error
	if s.host, err = s.readHost(); err != nil {
		t.Fatal(err)
	}
	f := event.RunningContainer.New("x", "")
	in := &interior{first: &insider{pid: 5}}
	if err := s.readMounts(f, in, &event.Container{ID: dockerWeb, PodUID: "u"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range in.mounts.hosts {
		m := in.mounts.hosts[i].fact("web")
		v := m.Values
		got = append(got, fmt.Sprint(m.Subject, " ", v["source"], " ", v["purpose"], " writable=", v["writable"], " sensitive=", v["sensitive"], " shared=", v["shared"], " slave=", v["slave"]))
	}
	want := []string{
		"web:/var/run/docker.sock /run/docker.sock runtime_socket writable=true sensitive=true shared=false slave=false",
		"web:/host etc /etc etc writable=false sensitive=true shared=false slave=false",
		"web:/rootfs / root writable=true sensitive=true shared=false slave=true",
		"web:/vol /data/vol other writable=true sensitive=false shared=true slave=false",
		"web:/etc/hostname /etc/shadow accounts writable=true sensitive=true shared=false slave=false",
		"web:/disk /dev/sdc1 dev writable=true sensitive=true shared=false slave=false",
		"web:/host/proc /proc proc writable=true sensitive=true shared=false slave=false",
		"web:/db /var/lib/docker/volumes/db/_data other writable=true sensitive=false shared=false slave=false",
		"web:/theirs /var/lib/kubelet/pods/other/volumes/v kubernetes writable=false sensitive=true shared=false slave=false",
		"web:/logs /var/log logs writable=false sensitive=false shared=false slave=false",
		"web:/keys /home/me/.ssh ssh writable=false sensitive=true shared=false slave=false",
		"web:/etc/localtime /etc/localtime other writable=false sensitive=false shared=false slave=false",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("mounts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	checkFact(t, "the container", f, map[string]any{"read_only": true, "proc_masked": true, "proc_sys_writable": false, "sysrq_writable": true, "sys_writable": false, "cgroup_writable": true,
		"runtime_sockets": "/run/docker.sock", "shared_mounts": "/vol", "sensitive_mounts": "/, /dev/sdc1, /etc, /etc/shadow, /home/me/.ssh, /proc, /run/docker.sock, /var/lib/kubelet/pods/other/volumes/v",
		"writable_mounts": "/, /dev/sdc1, /etc/shadow, /proc, /run/docker.sock"})
	if _, err := parseMountLines("1 2 3\n"); err == nil || !strings.Contains(err.Error(), "mountinfo:1") {
		t.Errorf("error of a malformed line is %v", err)
	}
}

func TestSurveyReadsLimitsOfBothVersions(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		file = filepath.Join(tree, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		"two/pod/box/memory.max": "max", "two/pod/memory.max": "1048576", "two/pod/box/cpu.max": "50000 100000", "two/pod/box/cpu.weight": "100", "two/pod/box/pids.max": "max", "two/pod/pids.max": "max",
		"memory/box/memory.limit_in_bytes": "9223372036854771712", "memory/box/memory.oom_control": "oom_kill_disable 1\nunder_oom 0", "cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.shares": "512",
		"pids/box/pids.max": "100", "devices/box/devices.list": "c 1:3 rwm\na *:* rwm",
	} {
		write(file, text)
	}
	pod := event.Group{Path: "/pod/box", Workload: event.Workload{Pod: "p"}}
	s := plantedSurvey(t, map[string]string{"5/limits": "", "5/cgroup": "0::/pod/box\n"})
	s.layout = host.CgroupLayout{Version: 2, Mount: tree + "/two", Root: "/"}
	f := event.RunningContainer.New("two", "")
	if err := s.limits(f, &interior{first: &insider{pid: 5}}, pod); err != nil {
		t.Fatal(err)
	}
	checkFact(t, "version 2", f, map[string]any{"memory_limited": true, "memory_limit": 1048576, "cpu_limited": true, "cpu_weighted": false, "pids_limited": false, "pids_limit": nil, "oom_disabled": false, "all_devices": nil})

	s = plantedSurvey(t, map[string]string{"5/limits": "", "5/cgroup": "6:memory:/box/inner\n5:cpu,cpuacct:/box/inner\n4:pids:/box/inner\n3:devices:/box/inner\n0::/x\n"})
	s.layout = host.CgroupLayout{Version: 1, Controller: "memory", Mount: tree + "/memory", Root: "/"}
	for _, name := range controllers {
		s.host.places = append(s.host.places, controllerPlace{[]string{"rw", name}, filepath.Join(tree, name)})
	}
	f = event.RunningContainer.New("one", "")
	if err := s.limits(f, &interior{first: &insider{pid: 5}}, event.Group{Path: "/box"}); err != nil {
		t.Fatal(err)
	}
	checkFact(t, "version 1", f, map[string]any{"memory_limited": false, "cpu_limited": false, "cpu_weighted": true, "pids_limited": true, "pids_limit": 100, "oom_disabled": true, "all_devices": true})
}

func TestImageNamesAreTakenApart(t *testing.T) {
	t.Parallel()
	for image, want := range map[string][3]any{
		"nginx": {"latest", true, false}, "nginx:1.27": {"1.27", false, false}, "reg.example:5000/nginx": {"latest", true, false}, "reg.example:5000/nginx:2@sha256:00": {"2", false, true},
		"nginx@sha256:00": {"", false, true}, "sha256:0011": {"", false, true}, "nginx:latest@sha256:00": {"latest", true, true},
	} {
		f := event.RunningContainer.New("x", "")
		setImage(f, image)
		checkFact(t, image, f, map[string]any{"image_tag": want[0], "image_latest": want[1], "image_pinned": want[2]})
	}
}

func TestPortsAreLowOrOpen(t *testing.T) {
	t.Parallel()
	low, open := portsOf([]string{"0.0.0.0:8080", "[::]:443", "127.0.0.1:80", ":53", "10.0.0.1:9000"})
	if fmt.Sprint(low) != "[[::]:443 127.0.0.1:80 :53]" || fmt.Sprint(open) != "[0.0.0.0:8080 [::]:443 :53]" {
		t.Errorf("low %v, open %v", low, open)
	}
}

// serveReplies is a Docker that gives the same replies always.
func serveReplies(t *testing.T, replies map[string]string) engine {
	t.Helper()
	socket := filepath.Join(socketDir(t), "d")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := replies[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	e, err := dialDocker(socket, "docker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); server.Close(); <-done })
	return e
}

func TestDockerTellsWhatOnlyItKnows(t *testing.T) {
	t.Parallel()
	e := serveReplies(t, map[string]string{
		"/containers/" + dockerWeb + "/json": `{"Image": "sha256:aa", "Config": {"Image": "nginx"}, "HostConfig": {"NetworkMode": "default", "CgroupParent": "/own", "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 9},
			"LogConfig": {"Type": "none"}}, "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}], "9/tcp": null}}}`,
		"/images/sha256:aa/json": `{"Created": "2026-03-03T00:00:00Z", "Config": {"User": "", "Env": ["A=b", "SECRET_KEY=x"], "ExposedPorts": {"22/tcp": {}}, "Healthcheck": {"Test": ["NONE"]}}}`,
		"/containers/json":       `[{"ImageID": "sha256:aa", "State": "running"}, {"ImageID": "sha256:bb", "State": "exited"}, {"ImageID": "sha256:bb", "State": "created"}]`,
		"/images/json":           `[{"Id": "sha256:aa"}, {"Id": "sha256:bb"}, {"Id": "sha256:cc"}]`,
		"/networks": `[{"Name": "bridge", "Driver": "bridge", "Scope": "local", "Options": {"com.docker.network.bridge.enable_icc": "false"}}, {"Name": "host", "Driver": "host"},
			{"Name": "ingress", "Driver": "overlay", "Scope": "swarm", "Ingress": true, "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4096"}}, {"Name": "safe", "Driver": "overlay", "Internal": true, "Options": {"encrypted": ""}}]`,
	})
	s := plantedSurvey(t, nil)
	f := event.RunningContainer.New("web", "")
	sighted := sighting{&s.clients[0].source, 0, found{Container: event.Container{ID: dockerWeb, Runtime: "docker"}}}
	s.engines[s.clients[0]] = e
	s.runtimeWord(t.Context(), f, event.Group{Container: &sighted.Container}, []sighting{sighted})
	checkFact(t, "the container", f, map[string]any{"ports": "0.0.0.0:80, [::]:80", "low_ports": "0.0.0.0:80, [::]:80", "open_ports": "0.0.0.0:80, [::]:80", "restart": "on-failure", "restart_bounded": false, "default_bridge": true,
		"healthcheck": false, "log_driver": "none", "cgroup_usual": false, "all_devices": nil, "image_user": "", "image_user_root": true, "image_healthcheck": false, "image_secret_env": "SECRET_KEY", "image_ports": "22/tcp",
		"image_age_days": 90, "image_tag": "latest", "image_latest": true})

	f = event.ContainerRuntime.New("docker", "")
	if err := e.(counter).count(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	checkFact(t, "the runtime", f, map[string]any{"running": 1, "stopped": 2, "images": 3, "unused_images": 1})
	networks := map[string]event.Fact{}
	if err := e.(*docker).networks(t.Context(), func(f event.Fact) { networks[f.Subject] = f }); err != nil {
		t.Fatal(err)
	}
	checkFact(t, "bridge", networks["bridge"], map[string]any{"icc": false, "encrypted": nil})
	checkFact(t, "ingress", networks["ingress"], map[string]any{"encrypted": false, "ingress": true, "icc": nil, "scope": "swarm"})
	checkFact(t, "safe", networks["safe"], map[string]any{"encrypted": true, "internal": true})
	if len(networks) != 3 {
		t.Errorf("%d networks", len(networks))
	}
}

func TestContainerdLabelsTellTheRestartPolicy(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]string{"": " 0", "always": "always 0", "on-failure:3": "on-failure 3", "on-failure:x": "on-failure 0", "unless-stopped": "unless-stopped 0"} {
		name, retries := restartPolicy(map[string]string{"containerd.io/restart.policy": policy})
		if got := fmt.Sprint(name, " ", retries); got != want {
			t.Errorf("%q is %q, want %q", policy, got, want)
		}
	}
}

func TestSurveyOfAMachineWithoutRuntimesIsEmpty(t *testing.T) {
	t.Parallel()
	r := New(Options{Root: t.TempDir()})
	for _, s := range r.Surveys() {
		if err := s.Survey(t.Context(), func(f event.Fact) { t.Errorf("a fact of %s", f.Subject) }); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func FuzzMountLines(f *testing.F) {
	f.Add(hostMounts)
	f.Add("1 2 3:4 / / rw - a b c")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseMountLines(text)
		if err != nil {
			return
		}
		for i := range all {
			_, _ = hostPath(all, &all[i])
			_ = at(all, all[i].point)
		}
	})
}
