package containers

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	hexID  = "4e1243bd22c66e76c2ba9eddc1f91394e57f9f83a1b2c3d4e5f60718293a4b5c"
	hexID2 = "a000000000000000000000000000000000000000000000000000000000000001"
	podUID = "0f2d6a1c-7b0e-4f4e-9a53-1d2a3b4c5d6e"
	podBar = "0f2d6a1c_7b0e_4f4e_9a53_1d2a3b4c5d6e"
	static = "c8c4b1a0f5e2d3a4b5968778695a4b3c"
)

func TestParseCandidate(t *testing.T) {
	tests := []struct {
		name, path                  string
		id, runtime, namespace, pod string
		strict                      bool
	}{
		{"docker, cgroupfs", "/docker/" + hexID, hexID, "", "", "", true},
		{"docker, systemd", "/system.slice/docker-" + hexID + ".scope", hexID, "docker", "", "", true},
		{"docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + hexID + ".scope", hexID, "docker", "", "", true},
		{"docker, its own parent", "/batch/" + hexID, hexID, "", "", "", true},
		{"ctr", "/default/web1", "web1", "containerd", "default", "", false},
		{"ctr, name with dots", "/default/web.1", "web.1", "containerd", "default", "", false},
		{"nerdctl, systemd", "/system.slice/nerdctl-" + hexID + ".scope", hexID, "containerd", "", "", true},
		{"nerdctl, cgroupfs", "/default/" + hexID, hexID, "", "", "", true},
		{"kubelet cgroupfs, v1", "/kubepods/burstable/pod" + podUID + "/" + hexID, hexID, "", "", podUID, true},
		{"kubelet cgroupfs, guaranteed", "/kubepods/pod" + podUID + "/" + hexID, hexID, "", "", podUID, true},
		{"kubelet systemd, containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + podBar + ".slice/cri-containerd-" + hexID + ".scope", hexID, "containerd", "", podUID, true},
		{"kubelet systemd, guaranteed", "/kubepods.slice/kubepods-pod" + podBar + ".slice/cri-containerd-" + hexID + ".scope", hexID, "containerd", "", podUID, true},
		{"kubelet systemd, CRI-O", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + podBar + ".slice/crio-" + hexID + ".scope", hexID, "cri-o", "", podUID, true},
		{"kubelet cgroupfs, CRI-O", "/kubepods/besteffort/pod" + podUID + "/crio-" + hexID, hexID, "cri-o", "", podUID, true},
		{"static pod", "/kubepods/burstable/pod" + static + "/" + hexID, hexID, "", "", static, true},
		{"cri-dockerd", "/kubepods.slice/kubepods-pod" + podBar + ".slice/docker-" + hexID + ".scope", hexID, "docker", "", podUID, true},
		{"kubelet systemd, containerd not", "/system.slice/containerd.service/kubepods-burstable-pod" + podBar + ".slice:cri-containerd:" + hexID, hexID, "containerd", "", podUID, true},
		{"k3s in a container", "/docker/" + hexID2 + "/kubepods/besteffort/pod" + podUID + "/" + hexID, hexID, "", "", podUID, true},
		{"podman, systemd", "/machine.slice/libpod-" + hexID + ".scope", hexID, "podman", "", "", true},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + hexID, hexID, "podman", "", "", true},
		{"conmon beside CRI-O", "/system.slice/crio-conmon-" + hexID + ".scope", "", "", "", "", false},
		{"conmon beside podman", "/machine.slice/libpod-conmon-" + hexID + ".scope", "", "", "", "", false},
		{"the payload below podman's scope", "/machine.slice/libpod-" + hexID + ".scope/container", "", "", "", "", false},
		{"below docker", "/docker/" + hexID + "/init.scope", "", "", "", "", false},
		{"hybrid: the same in every tree", "/docker/" + hexID + "/sub", "", "", "", "", false},
		{"pod", "/kubepods/burstable/pod" + podUID, "", "", "", "", false},
		{"quality of service", "/kubepods/burstable", "", "", "", "", false},
		{"service", "/system.slice/nginx.service", "", "", "", "", false},
		{"below a service", "/system.slice/nginx.service/worker", "", "", "", "", false},
		{"root", "/", "", "", "", "", false},
		{"top", "/docker", "", "", "", "", false},
		{"empty", "", "", "", "", "", false},
		{"short id", "/docker/" + hexID[:63], hexID[:63], "containerd", "docker", "", false},
		{"upper case is no id", "/a/b/" + strings.ToUpper(hexID), "", "", "", "", false},
		{"dot dot", "/default/..", "", "", "", "", false},
		{"uid with dashes in the wrong places", "/kubepods/pod0f2d6a1c7b0e-4f4e-9a53-1d2a-3b4c5d6e00/" + hexID, hexID, "", "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := Candidate{Path: tt.path, ID: tt.id, Runtime: tt.runtime, Namespace: tt.namespace, PodUID: tt.pod, Strict: tt.strict}
			if got := ParseCandidate(tt.path); got != want {
				t.Errorf("ParseCandidate(%q) = %+v, want %+v", tt.path, got, want)
			}
		})
	}
}

func TestUnit(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/", ""},
		{"", ""},
		{"/init.scope", "init.scope"},
		{"/system.slice", ""},
		{"/system.slice/nginx.service", "nginx.service"},
		{"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"},
		{"/system.slice/postgresql@15-main.service", "postgresql@15-main.service"},
		{"/system.slice/foo.service/made-by-foo.service", "foo.service"},
		{"/system.slice/containerd.service", "containerd.service"},
		{"/user.slice/user-1000.slice/session-3.scope", "user@1000.service"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/app-anything.service", "user@1000.service"},
		{"/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service"},
		{"/user.slice/user-1000.slice", ""},
		{"/system.slice/run-u42.service", "run-*.service"},
		{"/system.slice/run-r0123456789abcdef0123456789abcdef.scope", "run-*.scope"},
		{"/system.slice/run-p123-i456.service", "run-*.service"},
		{"/system.slice/run-parts.service", "run-parts.service"},
		{"/system.slice/run-docker.service", "run-docker.service"},
		{"/system.slice/sshd@17-10.0.0.1:22-10.0.0.2:51234.service", "sshd@*.service"},
		{"/system.slice/systemd-coredump@3-4711-0.service", "systemd-coredump@*.service"},
		{"/machine.slice/machine-fedora.scope", "machine-fedora.scope"},
		{"/system.slice/docker-" + hexID + ".scope", ""},
		{"/machine.slice/libpod-" + hexID + ".scope/container", ""},
		{"/kubepods.slice/kubepods-pod" + podBar + ".slice", ""},
		{"/default/web1", ""},
		{"/system.slice/\xff.service", "\uFFFD.service"},
	}
	for _, tt := range tests {
		if got := Unit(tt.path); got != tt.want {
			t.Errorf("Unit(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestScopePaths(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"cgroupfs", "/default/web1", "/default/web1"},
		{"cgroupfs, untidy", "//default/./web1/", "/default/web1"},
		{"systemd", "kubepods-burstable-podX.slice:cri-containerd:web", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice/cri-containerd-web.scope"},
		{"systemd, no slice", ":docker:web", "/system.slice/docker-web.scope"},
		{"systemd, no prefix", "machine.slice::web", "/machine.slice/web.scope"},
		{"systemd, top", "-.slice:crio:web", "/crio-web.scope"},
		{"systemd, a slice of its own", "a.slice:x:b.slice", "/a.slice/b.slice"},
		{"relative", "somewhere/web", ""},
		{"none", "", ""},
		{"root", "/", ""},
		{"above root", "/../..", ""},
		{"not a slice", "system:docker:web", ""},
		{"broken slice", "-a.slice:docker:web", ""},
		{"doubled dash", "a--b.slice:docker:web", ""},
		{"no name", "a.slice:docker:", ""},
		{"two fields", "a.slice:web", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(scopePaths(tt.in), " "); got != tt.want {
				t.Errorf("scopePaths(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestDockerPaths(t *testing.T) {
	tests := []struct{ driver, parent, want string }{
		{"cgroupfs", "", "/docker/ID"},
		{"cgroupfs", "/batch", "/batch/ID"},
		{"cgroupfs", "batch", "/batch/ID"},
		{"systemd", "", "/system.slice/docker-ID.scope"},
		{"systemd", "a-b.slice", "/a.slice/a-b.slice/docker-ID.scope"},
	}
	for _, tt := range tests {
		if got := dockerPaths(tt.driver, tt.parent, "ID"); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("dockerPaths(%q, %q) = %q, want %q", tt.driver, tt.parent, got, tt.want)
		}
	}
}

func TestOwner(t *testing.T) {
	tests := []struct {
		pod        string
		labels     map[string]string
		kind, name string
	}{
		{"shop-7d9c5b8f6-abcde", map[string]string{"pod-template-hash": "7d9c5b8f6"}, "Deployment", "shop"},
		{"shop-abcde", map[string]string{"pod-template-hash": "7d9c5b8f6"}, "ReplicaSet", "shop"},
		{"db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "db-1"}, "StatefulSet", "db"},
		{"agent-x7k2p", map[string]string{"controller-revision-hash": "6c9"}, "DaemonSet", "agent"},
		{"backup-28-abcde", map[string]string{"job-name": "backup-28"}, "Job", "backup-28"},
		{"alone", nil, "", ""},
		{"alone", map[string]string{"pod-template-hash": "1"}, "", ""},
	}
	for _, tt := range tests {
		if kind, name := owner(tt.pod, tt.labels); kind != tt.kind || name != tt.name {
			t.Errorf("owner(%q, %v) = %s %s, want %s %s", tt.pod, tt.labels, kind, name, tt.kind, tt.name)
		}
	}
}

func FuzzCgroupPath(f *testing.F) {
	for _, seed := range []string{
		"/", "", "/docker/" + hexID, "/default/web1", "/kubepods.slice/kubepods-pod" + podBar + ".slice/crio-" + hexID + ".scope",
		"/a.slice:b:" + hexID, "/system.slice/sshd@1-2.service", "run-u.service", "/user-1.slice/x.scope", "a.slice:b:c", "--.slice:::",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		c := ParseCandidate(path)
		if strings.Contains(c.ID, "/") || strings.Contains(c.Namespace, "/") || c.ID == ".." || c.Namespace == ".." {
			t.Errorf("ParseCandidate(%q) = %+v, not a file name", path, c)
		}
		if c.Strict && !isID(c.ID) {
			t.Errorf("ParseCandidate(%q) = %+v, not an id", path, c)
		}
		if unit := Unit(path); !utf8.ValidString(unit) || len(unit) > maxLabel {
			t.Errorf("Unit(%q) = %q, not a label value", path, unit)
		}
		for _, p := range scopePaths(path) {
			if !strings.HasPrefix(p, "/") || p == "/" || strings.Contains(p, "//") || strings.Contains(p+"/", "/../") {
				t.Errorf("scopePaths(%q) = %q, not the path of a cgroup", path, p)
			}
		}
		// The table must take any path, whatever its shape.
		r := New(Options{})
		r.AddCgroup(1, path)
		r.AddCgroup(2, path+"/below")
		r.table.put(&source{}, found{paths: []string{path}}, 1)
		r.RemoveCgroup(1)
		r.Workload(2)
	})
}
