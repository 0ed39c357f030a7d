package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// packOf are our own checks of some files, by the beginning of their names.
func packOf(t *testing.T, prefixes ...string) []*rules.Check {
	t.Helper()
	files, err := rules.ChecksPack()
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f rules.File) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(filepath.Base(f.Name), p) })
	})
	checks, results := rules.LoadChecks(files)
	if checks == nil {
		t.Fatalf("checks do not load: %+v", results)
	}
	return checks
}

// verdicts are what checks say of the facts of surveys, by the checks' names.
func verdicts(t *testing.T, checks []*rules.Check, surveys ...NamedSurvey) map[string]event.Verdict {
	t.Helper()
	e := rules.NewEvaluation(checks, nil, time.Now())
	for _, s := range surveys {
		e.Surveyed(s.Kinds)
		if err := s.Survey(t.Context(), e.Fact); err != nil {
			e.Failed(s.Kinds, err.Error())
		}
	}
	all := map[string]event.Verdict{}
	for _, v := range e.Verdicts() {
		all[v.Check.ID] = v
	}
	return all
}

// checkBothWays wants every check that facts decide to pass on what is good and to fail on what is bad.
func checkBothWays(t *testing.T, checks []*rules.Check, good, bad map[string]event.Verdict) {
	t.Helper()
	for _, c := range checks {
		if c.Manual {
			continue
		}
		if v := good[c.ID]; v.Status != event.Pass {
			t.Errorf("check %s is %s on what is good: %s%s", c.ID, v.Status, v.Reason, objectsOf(v))
		}
		if v := bad[c.ID]; v.Status != event.Fail {
			t.Errorf("check %s is %s on what is bad: %s", c.ID, v.Status, v.Reason)
		}
	}
}

func objectsOf(v event.Verdict) string {
	var all []string
	for _, o := range v.Objects {
		all = append(all, o.Subject+": it is not so that "+o.Expected)
	}
	return strings.Join(all, "; ")
}

func TestDockerfileChecksPassAndFail(t *testing.T) {
	t.Parallel()
	checks := packOf(t, "dockerfile-")
	const dir = "testdata/posture/dockerfile/"
	good := verdicts(t, checks, DockerfileSurvey(dir+"good/Dockerfile"))
	bad := verdicts(t, checks, DockerfileSurvey(dir+"bad/Dockerfile", dir+"worse/Dockerfile"))
	checkBothWays(t, checks, good, bad)
	if len(checks) < 40 {
		t.Errorf("%d checks, want at least 40", len(checks))
	}
	for _, o := range bad["dockerfile-secrets"].Objects {
		if strings.Contains(o.Values["dockerfile_instruction.secrets"].(string), "hunter2") {
			t.Errorf("a secret is told: %v", o.Values)
		}
	}
	if o := bad["dockerfile-maintainer"].Objects; len(o) != 1 || o[0].Subject != dir+"bad/Dockerfile:4" {
		t.Errorf("the maintainer is at %v", o)
	}
}

// hardenedDocker and looseDocker are machines with Docker and containerd, set up well and badly.
var hardenedDocker = map[string]string{
	"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\ndocker:x:0:\n", "etc/fstab": "/dev/sdb /var/lib/docker ext4 defaults 0 2\n",
	"etc/docker/daemon.json": `{"icc": false, "userns-remap": "default", "no-new-privileges": true, "live-restore": true, "userland-proxy": false, "ip": "127.0.0.1", "storage-driver": "overlay2",
  "log-driver": "syslog", "authorization-plugins": ["opa"], "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 4096}}, "tlsverify": true, "tlscacert": "/etc/docker/tls/ca.pem",
  "tlscert": "/etc/docker/tls/cert.pem", "tlskey": "/etc/docker/tls/key.pem", "seccomp-profile": "/etc/docker/seccomp.json"}`,
	"etc/docker/tls/ca.pem": "", "etc/docker/tls/cert.pem": "", "etc/docker/tls/key.pem": "", "etc/docker/seccomp.json": "", "etc/docker/certs.d/r.example/ca.crt": "", "etc/docker/certs.d/r.example/c.key": "",
	"etc/default/docker": "", "etc/sysconfig/docker": "", "lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd -H fd://\n", "lib/systemd/system/docker.socket": "[Socket]\nListenStream=/run/docker.sock\n",
	"etc/systemd/system/docker.service.d/x.conf": "[Service]\nLimitNOFILE=1\n", "run/docker.sock": "", "var/lib/docker/image/overlay2/x": "", "var/lib/docker/swarm/certificates/swarm-node.key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
	"etc/containerd/config.toml": "version = 3\n[grpc]\ntcp_tls_key = '/etc/containerd/key.pem'\n[debug]\naddress = '/run/containerd/debug.sock'\n[plugins.'io.containerd.cri.v1.runtime']\nunset_seccomp_profile = 'runtime/default'\n[plugins.'io.containerd.cri.v1.images'.registry.configs.'r.example'.tls]\nca_file = 'x'\n",
	"etc/containerd/key.pem":     "", "run/containerd/containerd.sock": "", "run/containerd/debug.sock": "", "var/lib/containerd/x": "", "opt/containerd/image-verifier/bin/v": "", "usr/bin/dockerd": "", "usr/bin/containerd": "", "usr/bin/runc": "",
	"usr/bin/containerd-shim": "", "usr/bin/containerd-shim-runc-v1": "", "usr/bin/containerd-shim-runc-v2": "", "etc/profile.d/trust.sh": "export DOCKER_CONTENT_TRUST=1\n",
	"etc/audit/rules.d/docker.rules": strings.ReplaceAll("-w /usr/bin/dockerd -p x|-w /usr/bin/containerd -p x|-w /usr/bin/runc -p x|-w /usr/bin/containerd-shim -p x|-w /usr/bin/containerd-shim-runc-v1 -p x|-w /usr/bin/containerd-shim-runc-v2 -p x|"+
		"-w /etc/docker -p wa|-w /etc/containerd -p wa|-w /run/containerd -p wa|-w /var/lib/docker -p wa|-w /lib/systemd/system -p wa|-w /run/docker.sock -p wa|-w /etc/default/docker -p wa|-w /etc/sysconfig/docker -p wa|", "|", "\n"),
	"root/.docker/config.json": `{"auths": {"r.example": {}}, "credsStore": "pass"}`, "root/.config/containers/auth.json": `{"auths": {"r.example": {"auth": "x"}}}`, "etc/containers/policy.json": `{"default": [{"type": "reject"}]}`,
}

var looseDocker = map[string]string{
	"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\ndocker:x:0:alice\n", "etc/fstab": "",
	"etc/docker/daemon.json": `{"insecure-registries": ["r.example"], "registry-mirrors": ["http://m.example"], "storage-driver": "devicemapper", "storage-opts": ["dm.basesize=50G"], "cgroup-parent": "/x", "iptables": false, "ip6tables": false,
  "seccomp-profile": "unconfined", "experimental": true, "metrics-addr": ":9323", "http-proxy": "http://a:b@p", "live-restore": false, "debug": true, "default-ipc-mode": "shareable", "default-cgroupns-mode": "host", "tls": true,
  "tlscacert": "/etc/docker/tls/ca.pem", "tlscert": "/etc/docker/tls/cert.pem", "tlskey": "/etc/docker/tls/key.pem"}`,
	"etc/docker/tls/ca.pem": "", "etc/docker/tls/cert.pem": "", "etc/docker/tls/key.pem": "", "etc/docker/certs.d/r.example/ca.crt": "", "etc/docker/certs.d/r.example/c.key": "",
	"etc/default/docker": "", "etc/sysconfig/docker": "", "lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2375 -H unix:///run/docker.sock --live-restore=false --seccomp-profile=/etc/docker/seccomp.json\n",
	"lib/systemd/system/docker.socket": "[Socket]\nListenStream=/run/docker.sock\n", "etc/docker/seccomp.json": "",
	"etc/systemd/system/docker.service.d/x.conf": "[Service]\n", "run/docker.sock": "", "var/lib/docker/image/overlay2/x": "", "var/lib/docker/swarm/certificates/swarm-node.key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	"etc/containerd/config.toml": "version = 3\n[grpc]\ngid = 7\ntcp_address = ':1'\ntcp_tls_key = '/etc/containerd/key.pem'\n[debug]\naddress = '0.0.0.0:6060'\nlevel = 'debug'\n[metrics]\naddress = ':1338'\n[plugins.'io.containerd.cri.v1.runtime']\ndisable_apparmor = true\n" +
		"device_ownership_from_security_context = true\n[plugins.'io.containerd.grpc.v1.cri']\nstream_server_address = ''\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.old]\nruntime_type = 'io.containerd.runc.v1'\n" +
		"[plugins.'io.containerd.cri.v1.images'.registry.configs.'r.example']\nauth = {password = 'x'}\ntls = {insecure_skip_verify = true}\n",
	"etc/containerd/key.pem": "", "run/containerd/containerd.sock": "", "var/lib/containerd/x": "", "usr/bin/dockerd": "", "usr/bin/containerd": "", "usr/bin/runc": "",
	"usr/bin/containerd-shim": "", "usr/bin/containerd-shim-runc-v1": "", "usr/bin/containerd-shim-runc-v2": "",
	"root/.docker/config.json": `{"auths": {"r.example": {"auth": "x"}}}`, "etc/containers/policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`,
}

// strictModes are the permissions that a well kept machine has, beside 0644 of files and 0755 of directories.
var strictModes = map[string]os.FileMode{
	"etc/docker/tls/ca.pem": 0o444, "etc/docker/tls/cert.pem": 0o444, "etc/docker/tls/key.pem": 0o400, "etc/docker/certs.d/r.example/ca.crt": 0o444, "etc/docker/certs.d/r.example/c.key": 0o600, "run/docker.sock": 0o660,
	"var/lib/docker": 0o711, "var/lib/docker/swarm/certificates/swarm-node.key": 0o600, "etc/containerd/key.pem": 0o600, "run/containerd/containerd.sock": 0o660, "run/containerd/debug.sock": 0o660, "var/lib/containerd": 0o711,
	"run/containerd": 0o711, "root/.docker/config.json": 0o600, "root/.config/containers/auth.json": 0o600,
}

func TestDockerChecksPassAndFail(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners of files are changed")
	}
	good, bad := plant(t, hardenedDocker), plant(t, looseDocker)
	for file, mode := range strictModes {
		if err := os.Chmod(filepath.Join(good.Root, file), mode); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(bad.Root, func(file string, d os.DirEntry, err error) error {
		if err == nil && file != bad.Root {
			err = os.Lchown(file, 4711, 4711)
		}
		if err == nil {
			err = os.Chmod(file, 0o777)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []string{"docker-rootless", "docker-cgroupns", "docker-overlay-encrypted", "container-image-sprawl", "container-sprawl", "container-runtime-answers"} // a daemon that runs tells these
	swarm := []string{"docker-swarm-off", "docker-swarm-managers", "docker-swarm-address", "docker-swarm-locked", "docker-swarm-certificates", "docker-swarm-ca", "docker-swarm-data-path"}
	either := []string{"registry-credentials", "registry-insecure", "registry-login-stored", "image-policy-exceptions", "containerd-debug-sock-mode", "docker-seccomp"}
	checks := slices.DeleteFunc(packOf(t, "docker-", "container-containerd", "container-images"), func(c *rules.Check) bool {
		return slices.Contains(elsewhere, c.ID) || slices.Contains(swarm, c.ID) || slices.Contains(either, c.ID)
	})
	checkBothWays(t, checks, verdicts(t, checks, good.containerSurveys()...), verdicts(t, checks, bad.containerSurveys()...))
	if len(checks) < 100 {
		t.Errorf("%d checks are judged, want at least 100", len(checks))
	}
}

func TestSwarmChecksPassAndFail(t *testing.T) {
	t.Parallel()
	const dir = "var/lib/docker/swarm/"
	manager := func(state, peers, key string, good, ca int) *Surveys {
		return plant(t, map[string]string{"usr/bin/dockerd": "", dir + "docker-state.json": state, dir + "state.json": peers, dir + "certificates/swarm-node.key": "-----BEGIN " + key + "-----\nAAAA\n-----END " + key + "-----\n",
			dir + "certificates/swarm-node.crt": testCertificate(t, "swarm-manager", good, 0), dir + "certificates/swarm-root-ca.crt": testCertificate(t, "", ca, 0)})
	}
	good := manager(`{"ListenAddr": "10.0.0.1:2377", "AdvertiseAddr": "10.0.0.1:2377", "DataPathAddr": "10.1.0.1"}`, `[{"addr": "10.0.0.2:2377"}, {"addr": "10.0.0.3:2377"}]`, "ENCRYPTED PRIVATE KEY", 90, 7300)
	bad := manager(`{"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "10.0.0.1:2377"}`, `[]`, "PRIVATE KEY", 3650, 5)
	none := plant(t, map[string]string{"usr/bin/dockerd": ""})
	checks := slices.DeleteFunc(packOf(t, "docker-swarm"), func(c *rules.Check) bool { return c.Check.Kind != "swarm" })
	best, worst, off := verdicts(t, checks, good.containerSurveys()...), verdicts(t, checks, bad.containerSurveys()...), verdicts(t, checks, none.containerSurveys()...)
	best["docker-swarm-off"] = off["docker-swarm-off"]
	checkBothWays(t, checks, best, worst)
	if v := off["docker-swarm-managers"]; v.Status != event.NotApplicable {
		t.Errorf("without a swarm its managers are %s", v.Status)
	}
}

func TestImageChecksPassAndFail(t *testing.T) {
	t.Parallel()
	for id, tt := range map[string]struct{ file, good, bad string }{
		"registry-insecure":       {"etc/containers/registries.conf", "[[registry]]\nlocation = 'r.example'\n", "[[registry]]\nlocation = 'r.example'\ninsecure = true\n"},
		"docker-seccomp":          {"etc/docker/daemon.json", `{}`, `{"seccomp-profile": "unconfined"}`},
		"registry-credentials":    {"etc/containerd/certs.d/r.example/hosts.toml", "server = 'https://r.example'\n", "[host.'https://r.example'.header]\nauthorization = 'Basic x'\n"},
		"registry-login-stored":   {"root/.docker/config.json", `{"credsStore": "pass"}`, `{"auths": {"r.example": {"auth": "x"}}}`},
		"image-policy-exceptions": {"etc/containers/policy.json", `{"default": [{"type": "reject"}]}`, `{"default": [{"type": "reject"}], "transports": {"docker": {"r.example": [{"type": "insecureAcceptAnything"}]}}}`},
	} {
		checks := slices.DeleteFunc(packOf(t, "container-images", "docker-daemon"), func(c *rules.Check) bool { return c.ID != id })
		judge := func(text string) map[string]event.Verdict {
			return verdicts(t, checks, plant(t, map[string]string{tt.file: text, "etc/containerd/config.toml": ""}).containerSurveys()...)
		}
		checkBothWays(t, checks, judge(tt.good), judge(tt.bad))
	}
}
