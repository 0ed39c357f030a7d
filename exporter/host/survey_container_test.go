package host

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// bySubject runs a survey and returns its facts by their subjects.
func bySubject(t *testing.T, survey func(context.Context, func(event.Fact)) error) map[string]event.Fact {
	t.Helper()
	all := map[string]event.Fact{}
	if err := survey(t.Context(), func(f event.Fact) { all[f.Subject] = f }); err != nil {
		t.Fatal(err)
	}
	return all
}

const dockerUnit = `[Service]
Environment=EXTRA=--icc=false "OTHER=--debug --live-restore"
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/bin/dockerd -H fd:// $OTHER ${EXTRA} \
  $DOCKER_OPTS
`

func TestDockerDefaultsOfAnUnconfiguredDaemon(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"usr/bin/dockerd": "", "etc/group": "root:x:0:\n", "etc/passwd": ""})
	facts := bySubject(t, s.Docker)
	f := facts["/etc/docker/daemon.json"]
	if len(facts) != 1 || f.Err() != "" {
		t.Fatalf("facts %v, error %q", facts, f.Err())
	}
	wantValues(t, "defaults", f, map[string]any{
		"running": nil, "rootless": nil, "config_exists": false, "flags_from": "none", "conflicts": "", "hosts": "unix:///run/docker.sock", "tcp": false, "tcp_any": false,
		"tls": false, "tls_verify": false, "tls_ca": "", "remote_safe": true, "icc": true, "bridge": "docker0", "log_level": "info", "debug": false, "iptables": true,
		"ip": "0.0.0.0", "insecure_registries": "", "insecure_mirrors": "", "storage_driver": nil, "storage_outdated": false, "base_size": "", "ulimits": "", "userns": "",
		"userns_remapped": false, "cgroup_parent": "", "authorization": "", "log_driver": "json-file", "log_remote": false, "log_bounded": false, "no_new_privileges": false,
		"live_restore": false, "userland_proxy": true, "seccomp_profile": "default", "experimental": false, "selinux": false, "ipc_mode": "private", "cgroupns_mode": nil,
		"metrics": "", "metrics_open": false, "data_root": "/var/lib/docker", "data_separate": false, "group": "docker", "group_members": "", "content_trust": false, "proxy_credentials": false,
	})
}

func TestDockerIsWhatItsFlagsAndFileSay(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"lib/systemd/system/docker.service":              dockerUnit,
		"etc/systemd/system/docker.service.d/proxy.conf": "[Service]\nEnvironment=\"HTTPS_PROXY=http://me:secret@proxy:3128\"\n",
		"etc/default/docker":                             "DOCKER_OPTS=\"--storage-opt dm.basesize=20G --insecure-registry=reg.example:5000 --insecure-registry 127.0.0.0/8\"\n",
		"lib/systemd/system/docker.socket":               "[Socket]\nListenStream=/run/docker.sock\nListenStream=2375\nSocketGroup=ops\n",
		"etc/group":                                      "root:x:0:\nops:x:50:alice,root\ndocker:x:51:mallory\n",
		"etc/passwd":                                     "root:x:0:0::/root:/bin/sh\nbob:x:1000:50::/home/bob:/bin/sh\n",
		"etc/fstab":                                      "/dev/sdb1 /data/docker ext4 defaults 0 2\n",
		"etc/profile.d/trust.sh":                         "export DOCKER_CONTENT_TRUST=1\n",
		"data/docker/image/overlay2/x":                   "",
		"etc/docker/daemon.json": `{
  "live-restore": true, "userns-remap": "default", "no-new-privileges": true, "userland-proxy": false, "seccomp-profile": "unconfined",
  "log-driver": "json-file", "log-opts": {"max-size": "10m"}, "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 2048}},
  "authorization-plugins": ["opa"], "registry-mirrors": ["http://mirror.example", "https://safe.example"], "data-root": "/data/docker",
  "metrics-addr": "0.0.0.0:9323", "storage-driver": "", "tlsverify": true, "tlscert": "/etc/docker/tls/cert.pem", "tlskey": "/etc/docker/tls/key.pem"
}`,
	})
	f := bySubject(t, s.Docker)["/etc/docker/daemon.json"]
	if f.Err() != "" {
		t.Fatal(f.Err())
	}
	wantValues(t, "flags and file", f, map[string]any{
		"flags_from": "unit", "conflicts": "live-restore", "hosts": "unix:///run/docker.sock, tcp://2375", "tcp": true, "tcp_any": true, "tls": true, "tls_verify": true,
		"tls_ca": "/root/.docker/ca.pem", "tls_cert": "/etc/docker/tls/cert.pem", "remote_safe": true, "icc": false, "debug": true, "insecure_registries": "reg.example:5000",
		"insecure_mirrors": "http://mirror.example", "storage_driver": "overlay2", "base_size": "20G", "ulimits": "nofile=1024:2048", "userns": "default", "userns_remapped": true,
		"authorization": "opa", "log_bounded": true, "no_new_privileges": true, "live_restore": true, "userland_proxy": false, "seccomp_profile": "unconfined",
		"metrics": "0.0.0.0:9323", "metrics_open": true, "data_root": "/data/docker", "data_separate": true, "group": "ops", "group_members": "alice, bob", "content_trust": true,
		"proxy_credentials": true,
	})
	files := map[string]string{}
	for subject, fact := range bySubject(t, s.ContainerFiles) {
		files[fact.Values["purpose"].(string)] = subject
	}
	for purpose, want := range map[string]string{
		"docker_service": "/lib/systemd/system/docker.service", "docker_socket_unit": "/lib/systemd/system/docker.socket", "docker_daemon_json": "/etc/docker/daemon.json",
		"docker_drop_in": "/etc/systemd/system/docker.service.d/proxy.conf", "docker_tls_ca": "/root/.docker/ca.pem", "docker_tls_cert": "/etc/docker/tls/cert.pem",
		"docker_tls_key": "/etc/docker/tls/key.pem", "docker_sock": "/run/docker.sock", "docker_data": "/data/docker", "docker_etc": "/etc/docker", "docker_default": "/etc/default/docker",
	} {
		if files[purpose] != want {
			t.Errorf("file %s is %q, want %q", purpose, files[purpose], want)
		}
	}
}

func TestDockerMisconfigurationIsAnError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{\n  \"icc\": false,\n}":            "/etc/docker/daemon.json:3: invalid character",
		"{\"icc\": \"false\"}":               "/etc/docker/daemon.json: icc: json: cannot unmarshal string",
		"{} {}":                              "want one JSON object and nothing after it",
		"[]":                                 "/etc/docker/daemon.json:1: json: cannot unmarshal array",
		"{\"log-opts\": [1]}":                "/etc/docker/daemon.json: log-opts",
		strings.Repeat(" ", maxConfigText+1): "it has more than",
	} {
		s := plant(t, map[string]string{"etc/docker/daemon.json": text})
		var got string
		err := s.Docker(t.Context(), func(f event.Fact) { got = f.Err() })
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("error of %.40q is %q, want it to say %q", text, got, want)
		}
	}
	s := plant(t, map[string]string{"etc/docker/x": ""})
	if err := syscall.Mkfifo(filepath.Join(s.Root, "etc/docker/daemon.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Docker(t.Context(), func(event.Fact) {}); err == nil || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("error of a pipe is %v", err)
	}
}

func TestNothingIsSaidOfRuntimesThatAreNotInstalled(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": ""})
	for _, survey := range s.containerSurveys() {
		if facts := bySubject(t, survey.Survey); len(facts) != 0 {
			t.Errorf("%s reports %d facts", survey.Name, len(facts))
		}
	}
}

func TestParseFlagsKnowsEveryForm(t *testing.T) {
	t.Parallel()
	args := strings.Fields("--icc=false --debug -H tcp://0:2375 -Hunix:///x -H=fd:// --log-level warn --tlsverify --data-root /d word -Z --last")
	got := parseFlags(args, dockerSwitches, dockerShort)
	want := map[string][]string{"icc": {"false"}, "debug": {"true"}, "host": {"tcp://0:2375", "unix:///x", "fd://"}, "log-level": {"warn"}, "tlsverify": {"true"}, "data-root": {"/d"}, "last": {""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("flags %v, want %v", got, want)
	}
}

func TestAddressesAreLoopbackOrEverywhere(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]bool{
		"127.0.0.1:80": {true, false}, "localhost": {true, false}, "[::1]:80": {true, false}, "::1": {true, false}, "127.0.0.0/8": {true, false}, "0.0.0.0:2375": {false, true},
		":2375": {false, true}, "": {false, true}, "[::]:1": {false, true}, "10.0.0.1:2375": {false, false}, "reg.example": {false, false}, "::": {false, true},
	} {
		if got := [2]bool{loopback(address), everywhere(address)}; got != want {
			t.Errorf("%q: loopback, everywhere are %v, want %v", address, got, want)
		}
	}
}

const containerd2 = `version = 2
disabled_plugins = []
imports = ["conf.d/*.toml"]
[grpc]
address = '/run/c.sock'
gid = 0x32
tcp_address = "10.0.0.1:1234"
[debug]
level = "debug"
address = "0.0.0.0:6060"
[metrics]
address = "127.0.0.1:1338"
[plugins."io.containerd.grpc.v1.cri"]
enable_selinux = true
stream_server_address = ""
sandbox_image = "pause:3.9"
unset_seccomp_profile = "unconfined"
enable_unprivileged_ports = true
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "kata"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
privileged_without_host_devices = true
options = { SystemdCgroup = true }
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.old]
runtime_type = "io.containerd.runtime.v1.linux"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]
password = "hunter2"
`

func TestContainerdIsWhatItsConfigurationSays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  map[string]any
	}{
		"nothing": {map[string]string{"usr/bin/containerd": ""}, map[string]any{"config_exists": false, "version": 1, "address": "/run/containerd/containerd.sock", "uid": 0, "gid": 0, "tcp": "",
			"tcp_tls": nil, "cri": true, "apparmor": true, "selinux": false, "seccomp_unset": "", "stream_open": false, "stream_tls": false, "default_runtime": "runc", "systemd_cgroup": false,
			"unprivileged_ports": false, "root": "/var/lib/containerd", "state": "/run/containerd", "credentials": false, "verifier": false, "running": nil, "outdated_runtimes": ""}},
		"format 2": {map[string]string{"etc/containerd/config.toml": containerd2, "etc/containerd/conf.d/a.toml": "[metrics]\naddress = ':1338'\n", "opt/containerd/image-verifier/bin/x": ""},
			map[string]any{"version": 2, "address": "/run/c.sock", "gid": 50, "tcp": "10.0.0.1:1234", "tcp_tls": false, "debug": "0.0.0.0:6060", "debug_open": true, "log_level": "debug",
				"metrics": ":1338", "metrics_open": true, "selinux": true, "stream_open": true, "sandbox_image": "pause:3.9", "seccomp_unset": "unconfined", "unprivileged_ports": true,
				"default_runtime": "kata", "privileged_without_devices": true, "systemd_cgroup": true, "outdated_runtimes": "old", "config_path": "/etc/containerd/certs.d", "credentials": true, "verifier": true}},
		"format 3": {map[string]string{"etc/containerd/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\ndisable_apparmor = true\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n" +
			"[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'p@sha256:00'\n"}, map[string]any{"version": 3, "apparmor": false, "sandbox_image": "p@sha256:00", "unprivileged_ports": true, "systemd_cgroup": true}},
		"without the kubelet": {map[string]string{"etc/containerd/config.toml": "disabled_plugins = ['cri']\n"}, map[string]any{"cri": false, "apparmor": nil, "stream_open": nil}},
	} {
		s := plant(t, tt.files)
		f, ok := bySubject(t, s.Containerd)["/etc/containerd/config.toml"]
		if !ok || f.Err() != "" {
			t.Errorf("%s: fact %v, error %q", name, ok, f.Err())
		}
		wantValues(t, name, f, tt.want)
	}
	s := plant(t, map[string]string{"etc/containerd/config.toml": "version = 2\n[grpc\n"})
	if f := bySubject(t, s.Containerd)["/etc/containerd/config.toml"]; !strings.HasPrefix(f.Err(), "/etc/containerd/config.toml:2: ") {
		t.Errorf("error of a malformed configuration is %q", f.Err())
	}
}

func TestTOMLIsReadByItsPaths(t *testing.T) {
	t.Parallel()
	doc, err := parseTOML("/f", "a = 1\r\nb.\"c d\".e = 'l\\n'\n[t]\nn = ['x', 2, 'y']\ni = {x = true}\nd = 2026-01-02\n[[r]]\nl = 'p'\n[[r]]\nl = 'q'\n")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{doc.number(0, "a"), doc.text("", "b", "c d", "e"), doc.texts("t", "n"), doc.truth(false, "t", "i", "x"), len(doc.tables("r")), doc.tables("r")[1].text("", "l")}
	if want := []any{int64(1), `l\n`, []string{"x", "y"}, true, 2, "q"}; !reflect.DeepEqual(got, want) {
		t.Errorf("values %v, want %v", got, want)
	}
	if got := doc.text("otherwise", "a", "b", "c"); got != "otherwise" {
		t.Errorf("what is not there is %q", got)
	}
}

func TestMalformedTOMLIsAnErrorWithItsPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a": "/f:1: ", "\n\na = x": "/f:3: ", "a = 1\na = 2": "/f: ", "a = 'x": "/f:1: ", "a = [1": "/f:1: ", "[a": "/f:1: ",
		strings.Repeat("a = [", 1) + strings.Repeat("[", 1<<20): "/f: want at most ", "a = " + strings.Repeat("{b=", 1<<20): "/f: want at most ",
	} {
		if _, err := parseTOML("/f", text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error of %.40q is %.200v, want one that begins with %s", text, err, want)
		}
	}
}

func TestContainerdImportsAreReadAsContainerdDoes(t *testing.T) {
	t.Parallel()
	for version, want := range map[int]map[string]any{
		2: {"apparmor": true, "seccomp_unset": "unconfined", "cri": true}, // what is imported of a plugin is all of it
		3: {"apparmor": false, "seccomp_unset": "unconfined", "cri": true},
	} {
		plugin := map[int]string{2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}[version]
		s := plant(t, map[string]string{
			"etc/containerd/config.toml":   fmt.Sprintf("version = %d\nimports = ['conf.d/*.toml']\ndisabled_plugins = ['a']\n[plugins.'%s']\ndisable_apparmor = true\n", version, plugin),
			"etc/containerd/conf.d/1.toml": "imports = ['/etc/more.toml', '/etc/containerd/config.toml']\n[grpc]\naddress = '/run/x.sock'\n",
			"etc/more.toml":                fmt.Sprintf("disabled_plugins = ['b']\n[plugins.'%s']\nunset_seccomp_profile = 'unconfined'\n[grpc]\nuid = 7\n", plugin),
		})
		f := bySubject(t, s.Containerd)["/etc/containerd/config.toml"]
		want["address"], want["uid"] = "/run/x.sock", int64(7)
		for name, value := range want {
			if f.Values[name] != value {
				t.Errorf("version %d: %s is %v, want %v (%s)", version, name, f.Values[name], value, f.Err())
			}
		}
	}
}

func TestContainerdListsGrowByImports(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/containerd/config.toml": "version = 2\nimports = ['/etc/containerd/more.toml']\ndisabled_plugins = ['cri']\n",
		"etc/containerd/more.toml":   "disabled_plugins = ['io.containerd.internal.v1.opt']\n",
	})
	if f := bySubject(t, s.Containerd)["/etc/containerd/config.toml"]; f.Values["cri"] != false {
		t.Errorf("cri is %v, although the file that imports switches it off", f.Values["cri"])
	}
}

func TestDockerCgroupNamespaceByTheKernel(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"fs/cgroup/cgroup.controllers": "private", "fs/cgroup/memory/tasks": "host"} {
		s, live := plant(t, map[string]string{"usr/bin/dockerd": ""}), plant(t, map[string]string{"proc/x": "", "sys/" + file: ""})
		s.Procfs, s.Sysfs = filepath.Join(live.Root, "proc"), filepath.Join(live.Root, "sys")
		if f := bySubject(t, s.Docker)["/etc/docker/daemon.json"]; f.Values["cgroupns_mode"] != want {
			t.Errorf("with %s: %v, want %s (%s)", file, f.Values["cgroupns_mode"], want, f.Err())
		}
	}
}

func TestMaskedDockerUnitIsNone(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/bin/dockerd": "", "dev/null": "", "usr/lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd --icc=false\n",
		"usr/lib/systemd/system/service.d/all.conf": "[Service]\nEnvironment=X=1\n",
	})
	link(t, s, map[string]string{"etc/systemd/system/docker.service": "/dev/null"})
	f := bySubject(t, s.Docker)["/etc/docker/daemon.json"]
	if f.Err() != "" || f.Values["flags_from"] != "none" || f.Values["icc"] != true {
		t.Errorf("flags are from %v, icc is %v, error %q", f.Values["flags_from"], f.Values["icc"], f.Err())
	}
}

func TestDockerUnitWithWhatAddsToAllServices(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/lib/systemd/system/docker.service":      "[Service]\nEnvironmentFile=-/etc/opts\nExecStart=/usr/bin/dockerd $OPTS --label=${A}\n",
		"etc/systemd/system/service.d/all.conf":      "[Service]\nEnvironment=A=1\n",
		"etc/systemd/system/docker.service.d/a.conf": "[Service]\nEnvironment='A=x y'\n",
		"etc/opts": "; not a comment of a shell\nOPTS=--icc=false --log-level debug\n",
	})
	f := bySubject(t, s.Docker)["/etc/docker/daemon.json"]
	if f.Err() != "" || f.Values["icc"] != false || f.Values["log_level"] != "debug" {
		t.Errorf("icc is %v, log_level %v, error %q", f.Values["icc"], f.Values["log_level"], f.Err())
	}
}

func FuzzTOML(f *testing.F) {
	for _, text := range []string{containerd2, "a = \"\"\"\\\n \"\"\"", "[[a]]\n[a.b]", "a = {b={c=[{}]}}", "a=1e5\nb=0x_f\nc=+1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := parseTOML("/f", text)
		if (doc == nil) != (err != nil) {
			t.Errorf("document %v with error %v", doc, err)
		}
		_ = doc.text("", "a", "b")
	})
}

func TestContainerPathsSayWhatAuditWatches(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/bin/dockerd": "", "usr/bin/runc": "", "usr/bin/containerd": "", "etc/docker/daemon.json": "{}", "var/lib/docker/x": "", "etc/default/docker": "", "etc/containerd/config.toml": "",
		"lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd\n", "usr/local/bin/containerd-shim-runc-v2": "", "run/docker.sock": "",
		"etc/audit/rules.d/docker.rules": strings.Join([]string{
			"# comment", "-D", "-w /usr/bin/dockerd -p x -k docker", "-w /etc/docker -p wa", "-a always,exit -F arch=b64 -F path=/usr/bin/runc -F perm=x -F auid>=1000 -F auid!=unset -k docker",
			"-a always,exit -F dir=/lib/systemd/system/ -F perm=wa", "-w /var/lib/docker -p r", "-a always,exit -F path=/etc/default/docker -F perm=wa -F uid=1000", "-a never,exit -F path=/usr/bin/containerd -F perm=x",
			"-w /usr/local/bin/containerd-shim-runc-v2", "-a always,exit -F path=/etc/containerd -F perm=wa",
		}, "\n"),
	})
	got := map[string]string{}
	for subject, f := range bySubject(t, s.ContainerPaths) {
		if f.Values["exists"] == true {
			got[subject] = fmt.Sprint(f.Values["purpose"], " ", f.Values["audited"])
		}
	}
	want := map[string]string{
		"/usr/bin/dockerd": "dockerd true", "/etc/docker": "docker_config true", "/etc/docker/daemon.json": "daemon_json true", "/usr/bin/runc": "runc true", "/usr/bin/containerd": "containerd false",
		"/lib/systemd/system/docker.service": "docker_service true", "/var/lib/docker": "docker_data false", "/etc/default/docker": "docker_default false", "/run/docker.sock": "docker_sock false",
		"/usr/local/bin/containerd-shim-runc-v2": "shim_runc_v2 true", "/etc/containerd/config.toml": "containerd_config false",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("paths\n%v\nwant\n%v", got, want)
	}
}

func TestRegistriesOfEveryRuntime(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/docker/daemon.json": `{"insecure-registries": ["a.example:5000", "127.0.0.1:5000"], "registry-mirrors": ["http://m:pw@b.example", "https://c.example"]}`,
		"etc/containerd/config.toml": "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['http://d.example', 'https://e.example']\n" +
			"[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'e.example'.tls]\ninsecure_skip_verify = true\n",
		"etc/containerd/certs.d/f.example/hosts.toml": "server = 'https://f.example'\n[host.'https://g.example']\nskip_verify = true\n[host.'http://localhost:5000']\n",
		"etc/containerd/certs.d/bad/hosts.toml":       "server\n",
		"etc/containers/registries.conf":              "[[registry]]\nlocation = 'h.example'\ninsecure = true\n[[registry.mirror]]\nlocation = 'i.example/x'\n",
		"etc/containers/registries.conf.d/1.conf":     "[registries.insecure]\nregistries = ['j.example']\n",
	})
	got := map[string]string{}
	for subject, f := range bySubject(t, s.Registries) {
		got[subject] = fmt.Sprint(f.Values["runtime"], " ", f.Values["insecure"], " ", f.Values["credentials"])
		if f.Err() != "" {
			got[subject] = f.Err()
		}
	}
	want := map[string]string{
		"a.example:5000": "docker true false", "127.0.0.1:5000": "docker false false", "b.example": "docker true true", "c.example": "docker false false",
		"d.example": "containerd true false", "e.example": "containerd true false", "f.example": "containerd false false", "g.example": "containerd true false", "localhost:5000": "containerd false false",
		"bad": `/etc/containerd/certs.d/bad/hosts.toml:1: toml: expected character =`, "h.example": "containers true false", "i.example/x": "containers false false", "j.example": "containers true false",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("registries\n%v\nwant\n%v", got, want)
	}
}

func TestRegistryLoginsAreCountedAndNotTold(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd":                   "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n",
		"root/.docker/config.json":     `{"auths": {"a": {"auth": "c2VjcmV0"}, "b": {}, "c": {"identitytoken": "x"}}, "credHelpers": {"d": "pass"}}`,
		"home/alice/.dockercfg":        `{"a": {"auth": "c2VjcmV0"}}`,
		"home/bob/.docker/config.json": `{"auths": {"a": {}}, "credsStore": "secretservice"}`,
		"var/lib/kubelet/config.json":  `{"auths": `,
	})
	if err := os.Chmod(filepath.Join(s.Root, "root/.docker/config.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	facts := bySubject(t, s.RegistryLogins)
	for subject, want := range map[string]map[string]any{
		"/root/.docker/config.json":     {"user": "root", "stored": 2, "helper": true, "readable": false},
		"/home/alice/.dockercfg":        {"user": "alice", "stored": 1, "helper": false, "readable": true},
		"/home/bob/.docker/config.json": {"user": "bob", "stored": 0, "helper": true},
		"/var/lib/kubelet/config.json":  {"user": "", "stored": nil, "error": "/var/lib/kubelet/config.json:1: unexpected end of JSON input"},
	} {
		wantValues(t, subject, facts[subject], want)
	}
	if len(facts) != 4 || strings.Contains(fmt.Sprint(facts), "c2VjcmV0") {
		t.Errorf("facts: %v", facts)
	}
}

func TestImagePolicies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]any{
		`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}}}`:                {"default": "insecureAcceptAnything", "verified": false, "accepting": ""},
		`{"default": [{"type": "reject"}], "transports": {"docker": {"x.example": [{"type": "insecureAcceptAnything"}], "y": [{"type": "signedBy"}]}}}`: {"default": "reject", "verified": true, "accepting": "docker x.example"},
		`{"default": 1}`: {"error": "/etc/containers/policy.json:1: json: cannot unmarshal number into Go struct field .Default of type []host.requirement"},
	} {
		s := plant(t, map[string]string{"etc/containers/policy.json": text})
		wantValues(t, text, bySubject(t, s.ImagePolicies)["/etc/containers/policy.json"], want)
	}
}

// certificate makes one in PEM that is good for so many days, of which some are over.
func testCertificate(t *testing.T, unit string, good, over int) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	begin := time.Now().Add(-time.Duration(over)*day - time.Hour)
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{OrganizationalUnit: []string{unit}}, NotBefore: begin, NotAfter: begin.Add(time.Duration(good) * day)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSwarmIsWhatItsFilesSay(t *testing.T) {
	t.Parallel()
	const dir = "var/lib/docker/swarm/"
	key := func(kind string) string {
		return "-----BEGIN " + kind + "-----\nkek-version: 1\n\nAAAA\n-----END " + kind + "-----\n"
	}
	for name, tt := range map[string]struct {
		files map[string]string
		want  map[string]any
	}{
		"none": {map[string]string{}, map[string]any{"active": false, "manager": nil, "error": nil}},
		"a manager": {map[string]string{
			dir + "docker-state.json":           `{"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "10.0.0.1:2377", "DataPathAddr": ""}`,
			dir + "state.json":                  `[{"node_id": "a", "addr": "10.0.0.1:2377"}, {"node_id": "b", "addr": "10.0.0.2:2377"}]`,
			dir + "certificates/swarm-node.crt": testCertificate(t, "swarm-manager", 90, 10), dir + "certificates/swarm-root-ca.crt": testCertificate(t, "", 7300, 7280),
			dir + "certificates/swarm-node.key": key("PRIVATE KEY"),
		}, map[string]any{"active": true, "manager": true, "managers": 2, "managers_odd": false, "locked": false, "listen_any": true, "data_separate": false, "certificate_days": 90, "certificate_left": 79, "ca_left": 19}},
		"a careful manager": {map[string]string{
			dir + "docker-state.json":           `{"ListenAddr": "10.0.0.1:2377", "AdvertiseAddr": "10.0.0.1:2377", "DataPathAddr": "10.1.0.1"}`,
			dir + "state.json":                  `[{"addr": "10.0.0.3:2377"}, {"addr": "10.0.0.2:2377"}]`,
			dir + "certificates/swarm-node.crt": testCertificate(t, "swarm-manager", 30, 0), dir + "certificates/swarm-root-ca.crt": testCertificate(t, "", 7300, 0),
			dir + "certificates/swarm-node.key": key("ENCRYPTED PRIVATE KEY"),
		}, map[string]any{"managers": 3, "managers_odd": true, "locked": true, "listen_any": false, "data_separate": true, "certificate_days": 30}},
		"a worker": {map[string]string{
			dir + "docker-state.json":           `{"ListenAddr": "10.0.0.1:2377"}`,
			dir + "certificates/swarm-node.crt": testCertificate(t, "swarm-worker", 90, 100), dir + "certificates/swarm-root-ca.crt": testCertificate(t, "", 7300, 0),
		}, map[string]any{"manager": false, "managers": nil, "locked": nil, "certificate_left": -11 + 1, "error": nil}},
		"half of one": {map[string]string{dir + "docker-state.json": "{\n\n!"}, map[string]any{"active": true, "error": "/var/lib/docker/swarm/docker-state.json:3: invalid character '!' looking for beginning of object key string"}},
	} {
		tt.files["usr/bin/dockerd"] = ""
		s := plant(t, tt.files)
		wantValues(t, name, bySubject(t, s.Swarm)["/var/lib/docker/swarm"], tt.want)
	}
}

// TestRunningDaemonsAreFoundByTheirExecutable starts a program under other names, as anybody can.
func TestRunningDaemonsAreFoundByTheirExecutable(t *testing.T) {
	t.Parallel()
	s := &Surveys{Root: "/", Procfs: "/proc", Sysfs: "/sys"}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.daemons(t.Context(), filepath.Base(self))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range all {
		found = found || p.pid == os.Getpid() && p.host && len(p.args) > 0 && int(p.uid) == os.Getuid()
	}
	if !found {
		t.Errorf("this process is not among %v", all)
	}
	if all, err := s.daemons(t.Context(), "no-such-daemon"); err != nil || len(all) != 0 {
		t.Errorf("daemons of no program: %v, %v", all, err)
	}
}

// FuzzDockerSetup wants no panic of what daemon.json and a unit may say.
func FuzzDockerSetup(f *testing.F) {
	f.Add(`{"hosts": ["fd://", "x"], "log-opts": {"max-size": ""}, "default-ulimits": {"a": {}}}`, dockerUnit)
	f.Add(`{"userns-remap": null, "http-proxy": "http://[", "registry-mirrors": ["http://%"]}`, "[Service]\nExecStart=@'x \\\n=\nEnvironment=\"A")
	f.Fuzz(func(t *testing.T, config, unit string) {
		u := systemdUnit{values: map[string][]located{}}
		u.add("/x.service", unit)
		d := &dockerSetup{configFile: "/x", service: u, socket: u, flags: parseFlags(shellWords(u.last("Service.ExecStart")), dockerSwitches, dockerShort)}
		d.parse(config)
		fact := event.Docker.New("/x", "")
		d.listening(fact)
		d.network(fact)
		d.registries(fact)
		d.logging(fact)
		d.privileges(fact)
		_, _ = d.dataRoot(), d.conflicts()
	})
}
