// Package deploy holds examples and no code; its tests keep them true.
package deploy

import (
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// minimal is what loads the kernel programs and names processes; see yagura.service.
var minimal = []string{"BPF", "DAC_READ_SEARCH", "PERFMON", "SYS_PTRACE", "SYS_RESOURCE"}

// hostNetwork is minimal with what reads the firewall and the audit rules, where they are the host's.
var hostNetwork = append([]string{"AUDIT_CONTROL", "NET_ADMIN"}, minimal...)

// decode reads the next document strictly into a struct of what a test is about, loosely about all else.
func decode(t *testing.T, path string, into ...any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	for _, v := range into {
		if err := d.Decode(v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		t.Fatalf("%s: want %d documents: %v", path, len(into), err)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

type Object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name, Namespace string
	}
}

type daemonSet struct {
	Object `yaml:",inline"`
	Spec   struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
}

type podSpec struct {
	HostPID     bool `yaml:"hostPID"`
	HostNetwork bool `yaml:"hostNetwork"`
	Tolerations []struct{ Operator string }
	Containers  []container
	Volumes     []struct {
		Name     string
		HostPath *struct{ Path string } `yaml:"hostPath"`
		Secret   *struct {
			SecretName string `yaml:"secretName"`
		}
	}
}

type container struct {
	Name, Image     string
	Args            []string
	Ports           []struct{ Name string }
	SecurityContext struct {
		Privileged               *bool
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct{ Add, Drop []string }
	} `yaml:"securityContext"`
	Resources      struct{ Requests, Limits map[string]string }
	StartupProbe   probe `yaml:"startupProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	VolumeMounts   []struct {
		Name, MountPath string
		ReadOnly        bool `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	TCPSocket struct{ Port string } `yaml:"tcpSocket"`
}

func readDaemonSet(t *testing.T) (daemonSet, container) {
	var namespace, account Object
	var set daemonSet
	decode(t, "kubernetes/daemonset.yaml", &namespace, &account, &set)
	if set.Kind != "DaemonSet" || set.APIVersion != "apps/v1" || set.Metadata.Namespace != namespace.Metadata.Name {
		t.Fatalf("third document is %s %s in %q", set.APIVersion, set.Kind, set.Metadata.Namespace)
	}
	if n := len(set.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%d containers", n)
	}
	return set, set.Spec.Template.Spec.Containers[0]
}

func TestDaemonSetSelectsItsPods(t *testing.T) {
	set, _ := readDaemonSet(t)
	if diff := cmp.Diff(set.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels); diff != "" {
		t.Error(diff)
	}
}

func TestDaemonSetSeesTheHostWithLittlePower(t *testing.T) {
	set, c := readDaemonSet(t)
	pod, sc := set.Spec.Template.Spec, c.SecurityContext
	if !pod.HostPID || pod.HostNetwork {
		t.Errorf("hostPID %v, hostNetwork %v: process ids are the host's, the network is not", pod.HostPID, pod.HostNetwork)
	}
	if sc.Privileged == nil || *sc.Privileged || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation || !sc.ReadOnlyRootFilesystem {
		t.Errorf("security context %+v", sc)
	}
	if diff := cmp.Diff(minimal, sorted(sc.Capabilities.Add)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ALL"}, sc.Capabilities.Drop); diff != "" {
		t.Error(diff)
	}
	for _, m := range c.VolumeMounts {
		if m.ReadOnly == (m.Name == "state") { // the baseline of files is all that Yagura writes
			t.Errorf("volume %s: read-only is %v, want only state to be written", m.Name, m.ReadOnly)
		}
	}
}

func TestDaemonSetMountsWhatItNames(t *testing.T) {
	set, c := readDaemonSet(t)
	mounted := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = m.MountPath
	}
	var paths []string
	for _, v := range set.Spec.Template.Spec.Volumes {
		if _, ok := mounted[v.Name]; !ok {
			t.Errorf("volume %s is not mounted", v.Name)
		}
		delete(mounted, v.Name)
		if v.HostPath != nil {
			paths = append(paths, v.HostPath.Path)
		}
	}
	if len(mounted) > 0 {
		t.Errorf("mounts without a volume: %v", slices.Sorted(maps.Keys(mounted)))
	}
	for _, want := range []string{"/proc", "/sys", "/", "/run/containerd", "/sys/kernel/tracing"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s is not mounted", want)
		}
	}
	checkPathFlags(t, c.Args)
}

func TestDaemonSetNeverListensInTheClear(t *testing.T) {
	_, c := readDaemonSet(t)
	for _, want := range []string{"--web.listen-address=$(POD_IP):9248", "--web.config.file=/etc/yagura-web/web.yml"} {
		if !slices.Contains(c.Args, want) {
			t.Errorf("no %s in %q", want, c.Args)
		}
	}
}

func TestDaemonSetIsBoundedAndProbed(t *testing.T) {
	set, c := readDaemonSet(t)
	if c.Resources.Limits["memory"] == "" || c.Resources.Requests["cpu"] == "" || c.Resources.Requests["memory"] == "" {
		t.Errorf("resources %+v", c.Resources)
	}
	for name, p := range map[string]probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p.TCPSocket.Port != c.Ports[0].Name {
			t.Errorf("%s probe looks at %q", name, p.TCPSocket.Port)
		}
	}
	if tolerations := set.Spec.Template.Spec.Tolerations; len(tolerations) != 1 || tolerations[0].Operator != "Exists" {
		t.Errorf("tolerations %v leave some nodes out", tolerations)
	}
}

func TestComposeIsTheHostWithLittlePower(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Command, Volumes []string
			CapAdd           []string `yaml:"cap_add"`
			CapDrop          []string `yaml:"cap_drop"`
			Pid              string
			Privileged       bool
			NetworkMode      string `yaml:"network_mode"`
		}
	}
	decode(t, "compose.yaml", &file)
	s := file.Services["yagura"]
	if s.Pid != "host" || s.NetworkMode != "host" || s.Privileged {
		t.Errorf("service %+v", s)
	}
	if diff := cmp.Diff(sorted(hostNetwork), sorted(s.CapAdd)); diff != "" {
		t.Error(diff)
	}
	for _, v := range s.Volumes {
		if strings.HasPrefix(v, "/") && !strings.Contains(v, ":ro") {
			t.Errorf("%s is writable", v)
		}
	}
	checkPathFlags(t, s.Command)
}

func checkPathFlags(t *testing.T, args []string) {
	t.Helper()
	for _, want := range []string{"--path.procfs=/host/proc", "--path.sysfs=/host/sys", "--path.rootfs=/host/root"} {
		if !slices.Contains(args, want) {
			t.Errorf("no %s in %q", want, args)
		}
	}
}

// unit reads the settings of a systemd unit; a name may come more than once.
func unit(t *testing.T) map[string][]string {
	text, err := os.ReadFile("yagura.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}

func TestUnitIsHardened(t *testing.T) {
	settings := unit(t)
	for name, want := range map[string]string{
		"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectKernelModules": "yes", "PrivateDevices": "yes",
		"StateDirectory": "yagura", "MemoryMax": "512M", "MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes",
	} {
		if diff := cmp.Diff([]string{want}, settings[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Each of these would hide from Yagura what it is there to see.
	for _, name := range []string{"ProtectProc", "ProcSubset", "PrivateUsers", "PrivateNetwork", "DynamicUser"} {
		if settings[name] != nil {
			t.Errorf("%s is set", name)
		}
	}
}

func TestUnitAsksForTheSameCapabilities(t *testing.T) {
	var names []string
	for _, name := range strings.Fields(strings.Join(unit(t)["CapabilityBoundingSet"], " ")) {
		names = append(names, strings.TrimPrefix(name, "CAP_"))
	}
	if diff := cmp.Diff(sorted(append([]string{"SYS_ADMIN"}, hostNetwork...)), sorted(names)); diff != "" {
		t.Error(diff)
	}
}

// systemd names what it does not know on standard error and exits well; that there is no binary is no news here.
func TestUnitIsKnownToSystemd(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	out, _ := exec.Command(tool, "verify", "--man=no", "./yagura.service").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "yagura.service") && !strings.Contains(line, "is not executable") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

type scrapeConfig struct {
	JobName string `yaml:"job_name"`
	Honor   bool   `yaml:"honor_labels"`
	Native  bool   `yaml:"scrape_native_histograms"`
	Classic bool   `yaml:"always_scrape_classic_histograms"`
	Limit   int    `yaml:"sample_limit"`
}

func TestScrapesKeepLabelsAndHistograms(t *testing.T) {
	for _, path := range []string{"prometheus.yml", "kubernetes/prometheus.yml"} {
		var config struct {
			Jobs []scrapeConfig `yaml:"scrape_configs"`
		}
		decode(t, path, &config)
		if len(config.Jobs) != 1 {
			t.Fatalf("%s: %d jobs", path, len(config.Jobs))
		}
		if j := config.Jobs[0]; !j.Honor || !j.Native || !j.Classic || j.Limit == 0 {
			t.Errorf("%s: job %+v", path, j)
		}
	}
}

// Debian's promtool is older than the two settings of histograms, so it is shown the file without them.
// It is built without Kubernetes too, so the other example is held only to the fields above.
func TestScrapesArePrometheusConfiguration(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool")
	}
	text, err := os.ReadFile("prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	newer := regexp.MustCompile(`(?m)^ *(scrape_native_histograms|always_scrape_classic_histograms): true\n`)
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, newer.ReplaceAll(text, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "check", "config", "--syntax-only", path).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestWebConfigDemandsTLSAndAPassword(t *testing.T) {
	var web struct {
		TLS struct {
			Cert string `yaml:"cert_file"`
			Key  string `yaml:"key_file"`
		} `yaml:"tls_server_config"`
		Users map[string]string `yaml:"basic_auth_users"`
	}
	decode(t, "kubernetes/web.yml", &web)
	if web.TLS.Cert != "tls.crt" || web.TLS.Key != "tls.key" {
		t.Errorf("certificate %+v", web.TLS)
	}
	if hash := web.Users["prometheus"]; !regexp.MustCompile(`^\$2[aby]\$1\d\$.{53}$`).MatchString(hash) {
		t.Errorf("%q is no bcrypt hash", hash)
	}
}

// TestFlagsExist asks the program itself for its flags, built as it is shipped.
func TestFlagsExist(t *testing.T) {
	cmd := exec.Command("go", "run", "..", "run", "--help")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	help, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("yagura run --help: %v\n%s", err, help)
	}
	for _, path := range []string{"yagura.service", "compose.yaml", "kubernetes/daemonset.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^[^#\n]*?(--[a-z][a-z.-]+)=.*$`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(help), m[1]) {
				t.Errorf("%s: yagura has no flag %s", path, m[1])
			}
		}
	}
}
