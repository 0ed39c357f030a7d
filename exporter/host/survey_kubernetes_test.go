package host

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// kubeTree is a copy of a tree of testdata, with more files in it.
func kubeTree(t *testing.T, name string, more map[string]string) *Surveys {
	t.Helper()
	s := plant(t, more)
	if name != "" {
		if err := os.CopyFS(filepath.Join(s.Root, "tree"), os.DirFS(filepath.Join("testdata/posture/kubernetes", name))); err != nil {
			t.Fatal(err)
		}
		for file, text := range more {
			put(t, filepath.Join(s.Root, "tree", file), text)
		}
		s.Root = filepath.Join(s.Root, "tree")
	}
	return s
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// kubeFacts are all facts of Kubernetes.
func kubeFacts(t *testing.T, s *Surveys) (all []event.Fact) {
	t.Helper()
	for _, row := range s.kubernetesSurveys() {
		err := row.Survey(t.Context(), func(f event.Fact) {
			if !slices.Contains(row.Kinds, f.Kind) {
				t.Errorf("survey %s reports a fact of kind %s, which it does not name", row.Name, f.Kind.Name)
			}
			all = append(all, f)
		})
		if err != nil {
			t.Errorf("survey %s: %v", row.Name, err)
		}
	}
	return all
}

// factOf is the fact of a kind about a subject.
func factOf(t *testing.T, all []event.Fact, kind *event.FactKind, subject string) event.Fact {
	t.Helper()
	for _, f := range all {
		if f.Kind == kind && f.Subject == subject {
			return f
		}
	}
	t.Fatalf("there is no fact of kind %s about %s", kind.Name, subject)
	return event.Fact{}
}

func wantFact(t *testing.T, f event.Fact, want map[string]any) {
	t.Helper()
	for name, value := range want {
		if !reflect.DeepEqual(f.Values[name], value) {
			t.Errorf("%s.%s of %s is %v, want %v", f.Kind.Name, name, f.Subject, f.Values[name], value)
		}
	}
	if f.Err() != "" && want[event.ErrorField] == nil {
		t.Errorf("%s of %s: error %s", f.Kind.Name, f.Subject, f.Err())
	}
}

// wantPurposes compares which files are reported for what.
func wantPurposes(t *testing.T, all []event.Fact, want ...string) {
	t.Helper()
	var got []string
	for _, f := range all {
		if f.Kind == event.File && f.Values["exists"] == true {
			got = append(got, fmt.Sprint(f.Values["purpose"], " ", f.Subject))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestKubernetesOfAKubeadmControlPlane(t *testing.T) {
	t.Parallel()
	all := kubeFacts(t, kubeTree(t, "kubeadm", nil))
	wantFact(t, factOf(t, all, event.Kubernetes, "kubeadm"), map[string]any{"control_plane": true, "etcd": true, "kubelet": true, "eks": false, "running": nil})
	f := factOf(t, all, event.APIServer, "kube-apiserver")
	wantFact(t, f, map[string]any{
		"version": "v1.34.1", "until": "2026-10-27", "anonymous_auth": false, "authorization_mode": []string{"Node", "RBAC"}, "profiling": false, "request_timeout": int64(300), "audit_log_maxage": int64(30),
		"service_account_lookup": true, "service_account_key_file": []string{"/etc/kubernetes/pki/sa.pub"}, "token_auth_file": "", "etcd_servers": []string{"https://127.0.0.1:2379"},
		"etcd_local": false, "tls_min_version": "VersionTLS12", "service_account_extend_token_expiration": false,
	})
	plugins := f.Values["admission_plugins"].([]string)
	for name, want := range map[string]bool{"AlwaysPullImages": true, "DenyServiceExternalIPs": true, "NodeRestriction": true, "ServiceAccount": true, "DefaultIngressClass": false, "AlwaysAdmit": false} {
		if slices.Contains(plugins, name) != want {
			t.Errorf("admission plugin %s is on: %v", name, !want)
		}
	}
	if f.Source != "/etc/kubernetes/manifests/kube-apiserver.yaml:9" {
		t.Errorf("source is %s", f.Source)
	}
	wantFact(t, factOf(t, all, event.Encryption, "kube-apiserver"), map[string]any{"provider": "secretbox", "encrypted": true, "strong": true, "configmaps": false, "plain_readable": true})
	policy := factOf(t, all, event.AuditPolicy, "kube-apiserver")
	wantFact(t, policy, map[string]any{"rules": int64(6), "secrets": "Metadata", "pods": "Request", "pod_exec": "Request", "roles": "Metadata"})
	if policy.Source != "/etc/kubernetes/audit/policy.yaml" {
		t.Errorf("the audit policy is read from %s: want where its directory is mounted from", policy.Source)
	}
	wantFact(t, factOf(t, all, event.ControllerManager, "kube-controller-manager"), map[string]any{
		"bind_address": "127.0.0.1", "profiling": false, "service_account_private_key_file": "/etc/kubernetes/pki/sa.key", "terminated_pod_gc_threshold": int64(12500), "use_service_account_credentials": true,
	})
	wantFact(t, factOf(t, all, event.KubeScheduler, "kube-scheduler"), map[string]any{"bind_address": "127.0.0.1", "profiling": false})
	wantFact(t, factOf(t, all, event.Etcd, "etcd"), map[string]any{"client_cert_auth": true, "auto_tls": false, "peer_client_cert_auth": true, "plain": false, "data_dir": "/var/lib/etcd"})
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{
		"anonymous_auth": false, "authorization_mode": "Webhook", "event_record_qps": int64(0), "pod_pids_limit": int64(4096), "seccomp_default": true, "server_tls_bootstrap": true,
		"streaming_connection_idle_timeout": int64(4 * 3600), "client_auth": "certificate", "hostname_override": "", "config_file": "/var/lib/kubelet/config.yaml",
	})
	wantPurposes(t, all,
		"apiserver_manifest /etc/kubernetes/manifests/kube-apiserver.yaml", "controller_manager_manifest /etc/kubernetes/manifests/kube-controller-manager.yaml",
		"scheduler_manifest /etc/kubernetes/manifests/kube-scheduler.yaml", "etcd_manifest /etc/kubernetes/manifests/etcd.yaml", "cni_conf /etc/cni/net.d/10-flannel.conflist",
		"admin_conf /etc/kubernetes/admin.conf", "admin_conf /etc/kubernetes/super-admin.conf", "scheduler_conf /etc/kubernetes/scheduler.conf",
		"controller_manager_conf /etc/kubernetes/controller-manager.conf", "encryption_config /etc/kubernetes/enc/config.yaml", "audit_policy /etc/kubernetes/audit/policy.yaml",
		"etcd_data_dir /var/lib/etcd", "kubelet_service /usr/lib/systemd/system/kubelet.service", "kubelet_service /etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
		"kubelet_kubeconfig /etc/kubernetes/kubelet.conf", "kubelet_config /var/lib/kubelet/config.yaml")
}

func TestKubernetesOfAWorker(t *testing.T) {
	t.Parallel()
	all := kubeFacts(t, kubeTree(t, "worker", map[string]string{"etc/kubernetes/pki/ca.crt": ""}))
	wantFact(t, factOf(t, all, event.Kubernetes, "kubeadm"), map[string]any{"control_plane": false, "etcd": false, "kubelet": true})
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{
		"anonymous_auth": false, "webhook_auth": true, "authorization_mode": "Webhook", "read_only_port": int64(10255), "hostname_override": "worker1", "protect_kernel_defaults": true,
		"tls_min_version": "VersionTLS13", "rotate_certificates": true, "pod_pids_limit": int64(-1), "seccomp_default": false, "event_record_qps": int64(50),
	})
	wantPurposes(t, all, "worker_cni_conf /etc/cni/net.d/10-flannel.conflist", "kubelet_service /usr/lib/systemd/system/kubelet.service",
		"kubelet_service /usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "kubelet_kubeconfig /etc/kubernetes/kubelet.conf", "kubelet_config /var/lib/kubelet/config.yaml",
		"kubelet_ca /etc/kubernetes/pki/ca.crt")
}

func TestKubernetesOfK3s(t *testing.T) {
	t.Parallel()
	all := kubeFacts(t, kubeTree(t, "k3s", nil))
	wantFact(t, factOf(t, all, event.Kubernetes, "k3s"), map[string]any{"control_plane": true, "etcd": true, "kubelet": true})
	f := factOf(t, all, event.APIServer, "kube-apiserver")
	wantFact(t, f, map[string]any{
		"anonymous_auth": false, "authorization_mode": []string{"Node", "RBAC"}, "profiling": true, "service_account_extend_token_expiration": false,
		"audit_log_path": "/var/lib/rancher/k3s/server/logs/audit.log", "encryption_provider_config": "/var/lib/rancher/k3s/server/cred/encryption-config.json",
		"etcd_certfile": "/var/lib/rancher/k3s/server/tls/etcd/client.crt",
	})
	for _, name := range []string{"NodeRestriction", "EventRateLimit"} {
		if !slices.Contains(f.Values["admission_plugins"].([]string), name) {
			t.Errorf("admission plugin %s is off", name)
		}
	}
	wantFact(t, factOf(t, all, event.Encryption, "kube-apiserver"), map[string]any{"provider": "aescbc", "strong": true})
	wantFact(t, factOf(t, all, event.ControllerManager, "kube-controller-manager"), map[string]any{"terminated_pod_gc_threshold": int64(100), "profiling": false})
	wantFact(t, factOf(t, all, event.Etcd, "etcd"), map[string]any{"client_cert_auth": true, "peer_client_cert_auth": true, "data_dir": "/var/lib/rancher/k3s/server/db/etcd"})
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{
		"anonymous_auth": false, "webhook_auth": true, "authorization_mode": "Webhook", "read_only_port": int64(0), "hostname_override": "server-0",
		"streaming_connection_idle_timeout": int64(300), "protect_kernel_defaults": true, "client_auth": "certificate",
	})
	wantFact(t, factOf(t, all, event.KubeProxy, "kube-proxy"), map[string]any{"metrics_local": true})
}

func TestKubernetesOfALiveK3s(t *testing.T) {
	t.Parallel()
	s := kubeTree(t, "k3s", nil)
	s.Procfs = fakeProc(t, map[int]fakeProcess{
		50: {exe: "/var/lib/rancher/k3s/data/0123/bin/k3s", title: "/usr/local/bin/k3s server\x00\x00\x00", cgroup: "/system.slice/k3s.service"},
		60: {exe: "/var/lib/rancher/k3s/data/0123/bin/k3s", args: "kubectl get pods", cgroup: "/user.slice/x"},
	})
	wantFact(t, factOf(t, kubeFacts(t, s), event.APIServer, "kube-apiserver"), map[string]any{"running": true, "profiling": true})
	for _, name := range []string{"etc/systemd/system/k3s.service", "etc/rancher/k3s/config.yaml"} {
		if err := os.Remove(filepath.Join(s.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := factOf(t, kubeFacts(t, s), event.APIServer, "kube-apiserver")
	if wantFact(t, f, map[string]any{"running": true, "profiling": false}); f.Source != "/proc/50/cmdline" {
		t.Errorf("without a unit the source is %s", f.Source)
	}
}

func TestKubernetesOfEKS(t *testing.T) {
	t.Parallel()
	all := kubeFacts(t, kubeTree(t, "eks-al2", nil))
	wantFact(t, factOf(t, all, event.Kubernetes, "eks"), map[string]any{"eks": true, "control_plane": false})
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{
		"eks": true, "read_only_port": int64(10255), "event_record_qps": int64(5), "client_auth": "exec", "config_file": "/etc/kubernetes/kubelet/kubelet-config.json",
		"hostname_override": "ip-192-0-2-31.ec2.internal", "server_tls_bootstrap": true,
	})
	all = kubeFacts(t, kubeTree(t, "eks-al2023", nil))
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{
		"eks": true, "pod_pids_limit": int64(2048), "seccomp_default": true, "tls_cipher_suites": []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}, "protect_kernel_defaults": true,
		"config_dropins": []string{"/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf"}, "hostname_override": "ip-192-0-2-32.ec2.internal",
	})
	wantPurposes(t, all, "kubelet_service /etc/systemd/system/kubelet.service", "kubelet_kubeconfig /var/lib/kubelet/kubeconfig", "eks_kubelet_kubeconfig /var/lib/kubelet/kubeconfig",
		"kubelet_config /etc/kubernetes/kubelet/config.json", "eks_kubelet_config /etc/kubernetes/kubelet/config.json",
		"kubelet_config /etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf", "eks_kubelet_config /etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf")

	bottlerocket := map[string]string{
		"etc/os-release":                         "ID=bottlerocket\nVARIANT_ID=aws-k8s-1.33\n",
		"usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --kubeconfig /etc/kubernetes/kubelet/kubeconfig --config /etc/kubernetes/kubelet/config\n",
		"etc/kubernetes/kubelet/config":          "kind: KubeletConfiguration\n",
	}
	if f := factOf(t, kubeFacts(t, kubeTree(t, "", bottlerocket)), event.Kubelet, "kubelet"); f.Values["eks"] != true {
		t.Errorf("a variant of Bottlerocket for EKS that has not joined yet: eks is %v", f.Values["eks"])
	}
	bottlerocket["etc/kubernetes/kubelet/kubeconfig"] = "clusters: [{name: c, cluster: {server: 'https://192.0.2.1:6443'}}]\n"
	if f := factOf(t, kubeFacts(t, kubeTree(t, "", bottlerocket)), event.Kubelet, "kubelet"); f.Values["eks"] != false {
		t.Errorf("one that belongs to another cluster: eks is %v", f.Values["eks"])
	}
}

func TestIsEKSServer(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://0A.gr7.us-east-1.eks.amazonaws.com": true, "https://0a.yl4.cn-north-1.EKS.amazonaws.com.cn:443": true, "https://eks.amazonaws.com.example.org": false,
		"https://0A.gr7.us-west-2.api.aws": true, "https://0a.gr7.cn-north-1.api.amazonwebservices.com.cn": true, "https://api.aws.example.org": false,
		"https://192.0.2.1:6443": false, "": false, "://": false, "https://noteks.amazonaws.com": false,
	} {
		if got := isEKSServer(address); got != want {
			t.Errorf("isEKSServer(%q) = %v", address, got)
		}
	}
}

func TestKubernetesOfMicroK8s(t *testing.T) {
	t.Parallel()
	s := kubeTree(t, "microk8s", nil)
	all := kubeFacts(t, s)
	wantFact(t, factOf(t, all, event.APIServer, "kube-apiserver"), map[string]any{
		"token_auth_file": "/var/snap/microk8s/current/credentials/known_tokens.csv", "etcd_local": true, "anonymous_auth": true, "authorization_mode": []string{"RBAC", "Node"},
	})
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{"authorization_mode": "AlwaysAllow", "anonymous_auth": false, "read_only_port": int64(0), "config_file": ""})
	wantFact(t, factOf(t, all, event.KubeProxy, "kube-proxy"), map[string]any{"metrics_bind_address": "0.0.0.0:10249", "metrics_local": false})
	put(t, filepath.Join(s.Root, "var/snap/microk8s/current/var/lock/clustered.lock"), "")
	if slices.ContainsFunc(kubeFacts(t, s), func(f event.Fact) bool { return f.Kind == event.APIServer }) {
		t.Error("a worker of microk8s has an API server")
	}
}

func TestNoKubernetesNoFacts(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"nothing":                          nil,
		"a kubelet that has not joined":    {"usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf\n"},
		"a kubelet without any flag":       {"usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet\n"},
		"another cluster's etcd":           {"usr/lib/systemd/system/etcd.service": "[Service]\nExecStart=/usr/bin/etcd\n"},
		"a unit without a command":         {"usr/lib/systemd/system/kubelet.service": "[Unit]\n"},
		"a unit of another program":        {"usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/true kubelet --anonymous-auth\n", "etc/kubernetes/x": ""},
		"a manifest of something else":     {"etc/kubernetes/manifests/web.yaml": "kind: Pod\nspec: {containers: [{name: web, image: nginx}]}\n"},
		"a manifest that is no pod":        {"etc/kubernetes/manifests/kube-apiserver.yaml": "kind: ConfigMap\n"},
		"a hidden manifest, and a backup":  {"etc/kubernetes/manifests/.kube-apiserver.yaml": "kind: Pod\nspec: {containers: [{command: [kube-apiserver]}]}\n", "etc/kubernetes/manifests/old/kube-apiserver.yaml": "x"},
		"the CNI of a container runtime":   {"etc/cni/net.d/10-bridge.conf": "{}"},
		"etcd as a gateway, with a config": {"etc/kubernetes/x": "", "usr/lib/systemd/system/etcd.service": "[Service]\nExecStart=/usr/bin/etcd gateway start\n"},
	} {
		for _, f := range kubeFacts(t, plant(t, files)) {
			t.Errorf("%s: there is a fact of kind %s about %s: %v", name, f.Kind.Name, f.Subject, f.Values)
		}
	}
}

func TestKubernetesSupportEnds(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 10, 27, 12, 0, 0, 0, time.UTC)
	for version, want := range map[string]any{"v1.34.1": true, "v1.33.9-eks-1": false, "v1.19.0": false, "v1.99.0": nil, "v2.0.0": nil, "": nil} {
		f := event.APIServer.New("", "")
		setKubernetesSupport(f, version, day)
		if f.Values["supported"] != want {
			t.Errorf("of %s supported is %v, want %v", version, f.Values["supported"], want)
		}
	}
	f := event.APIServer.New("", "")
	if setKubernetesSupport(f, "v1.34.1", day.Add(24*time.Hour)); f.Values["supported"] != false {
		t.Error("v1.34 is supported a day later too")
	}
}

func TestParseKubeFlags(t *testing.T) {
	t.Parallel()
	settings := []kubeSetting{{flag: "a-text"}, {flag: "list", form: kubeList}, {flag: "switch", form: kubeTruth}, {flag: "n", form: kubeNumber}}
	for _, c := range []struct{ in, want string }{
		{"--a-text=x", "a-text=[x]"},
		{"--a_text=x", "a-text=[x]"},
		{"--a-text x", "a-text=[x]"},
		{"--a-text --switch", "a-text=[--switch]"},
		{"--a-text=", "a-text=[]"},
		{"--a-text=1 --a-text 2", "a-text=[1 2]"},
		{"--a-text=b=c", "a-text=[b=c]"},
		{"--switch --a-text=x", "a-text=[x] switch=[true]"},
		{"--switch false", "switch=[true]"},
		{"--switch=false", "switch=[false]"},
		{"--no-switch", "no-switch=[true]"},
		{"--unknown value --switch", "switch=[true] unknown=[value]"},
		{"--unknown --switch", "switch=[true] unknown=[true]"},
		{"-v 2 --switch", "switch=[true]"},
		{"-v=2 --switch", "switch=[true]"},
		{"--switch -- --a-text=x", "switch=[true]"},
		{"positional --switch", "switch=[true]"},
		{"- --", ""},
		{"--help --a-text=x", "a-text=[x] help=[true]"},
		{"--a-text", "a-text=[] !flag --a-text: want a value behind it"},
	} {
		f := parseKubeFlags(strings.Fields(c.in), settings)
		if got := flagText(f); got != c.want {
			t.Errorf("parseKubeFlags(%s) = %s, want %s", c.in, got, c.want)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"-a-text x --switch", "a-text=[x] switch=[true]"},
		{"-switch=false -a-text=x", "a-text=[x] switch=[false]"},
		{"-switch stop -a-text=x", "switch=[true]"},
		{"--a_text=x", "a_text=[x]"},
		{"-switch -- -a-text=x", "switch=[true]"},
	} {
		if got := flagText(parseGoFlags(strings.Fields(c.in), settings)); got != c.want {
			t.Errorf("parseGoFlags(%s) = %s, want %s", c.in, got, c.want)
		}
	}
}

func flagText(f kubeFlags) string {
	var all []string
	for name, values := range f.values {
		all = append(all, fmt.Sprintf("%s=%v", name, values))
	}
	slices.Sort(all)
	for _, err := range f.errors {
		all = append(all, "!"+err.Error())
	}
	return strings.Join(all, " ")
}

func TestKubeFlagValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form kubeForm
		in   string
		want any // nil for an error
	}{
		{kubeTruth, "--x", true}, {kubeTruth, "--x=F", false}, {kubeTruth, "--x=1", true}, {kubeTruth, "--x=yes", nil}, {kubeTruth, "--x=", nil},
		{kubeNumber, "--x=30", int64(30)}, {kubeNumber, "--x=-1", int64(-1)}, {kubeNumber, "--x=1.5", nil}, {kubeNumber, "--x 3 --x 4", int64(4)},
		{kubeSeconds, "--x=1h30m", int64(5400)}, {kubeSeconds, "--x=0", int64(0)}, {kubeSeconds, "--x=5ms", int64(1)}, {kubeSeconds, "--x=60", nil},
		{kubeList, "--x=a,b --x=c", []string{"a", "b", "c"}}, {kubeList, "--x=", []string{}}, {kubeList, `--x="a,b",c`, []string{"a,b", "c"}}, {kubeList, `--x="a`, nil},
		{kubeText, "--x= ", ""},
	} {
		s := kubeSetting{flag: "x", form: c.form}
		got, err := parseKubeFlags(strings.Fields(c.in), []kubeSetting{s}).value(s)
		if c.want == nil && err == nil || c.want != nil && (err != nil || !reflect.DeepEqual(got, c.want)) {
			t.Errorf("%s = %v, %v, want %v", c.in, got, err, c.want)
		}
	}
}

func TestKubeSettingsAreOfTheirKinds(t *testing.T) {
	t.Parallel()
	for _, table := range []struct {
		kind     *event.FactKind
		settings []kubeSetting
	}{
		{event.APIServer, apiServerSettings}, {event.ControllerManager, controllerManagerSettings}, {event.KubeScheduler, schedulerSettings}, {event.Etcd, etcdSettings},
		{event.Kubelet, kubeletSettings}, {event.KubeProxy, proxySettings},
	} {
		for _, legacy := range []bool{false, true} {
			setKube(table.kind.New("", ""), table.settings, kubeFlags{}, nil, legacy) // panics if a field is unknown or of another type
		}
		seen := map[string]bool{}
		for _, s := range table.settings {
			if seen[s.flag] && s.flag != "" {
				t.Errorf("%s: flag %s is there twice", table.kind.Name, s.flag)
			}
			seen[s.flag] = true
		}
	}
}

func TestKubeletConfigurationIsLayered(t *testing.T) {
	t.Parallel()
	const kind = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n"
	unit := func(flags string) string { return "[Service]\nExecStart=/usr/bin/kubelet " + flags + "\n" }
	for _, c := range []struct {
		name, flags string
		files       map[string]string
		want        map[string]any
	}{
		{"flags alone have the older defaults", "--cert-dir=/x", nil, map[string]any{
			"anonymous_auth": true, "webhook_auth": false, "authorization_mode": "AlwaysAllow", "read_only_port": int64(10255), "config_file": "", "client_auth": "",
		}},
		{"a file has the newer ones", "--config=/c", map[string]string{"c": kind}, map[string]any{
			"anonymous_auth": false, "webhook_auth": true, "authorization_mode": "Webhook", "read_only_port": int64(0), "streaming_connection_idle_timeout": int64(14400), "make_iptables_util_chains": true,
		}},
		{"drop-ins without a file keep the older ones", "--config-dir /d --kubeconfig=/k", map[string]string{"d/a.conf": kind + "seccompDefault: true\n", "k": ""}, map[string]any{
			"anonymous_auth": true, "authorization_mode": "AlwaysAllow", "seccomp_default": true,
		}},
		{"flags count over drop-ins, those over the file", "--config=/c --config-dir=/d --event-qps=7", map[string]string{
			"c":          kind + "eventRecordQPS: 1\npodPidsLimit: 1\nreadOnlyPort: 1\nauthentication: {anonymous: {enabled: true}, webhook: {enabled: false}}\ntlsCipherSuites: [A, B]\n",
			"d/20.conf":  kind + "eventRecordQPS: 2\npodPidsLimit: 2\nauthentication: {anonymous: {enabled: false}}\ntlsCipherSuites: [C]\n",
			"d/10.conf":  kind + "podPidsLimit: 3\nprotectKernelDefaults: true\n",
			"d/30.yaml":  "no: configuration",
			"d/5/9.conf": kind + "protectKernelDefaults: false\nreadOnlyPort: null\n",
		}, map[string]any{
			"event_record_qps": int64(7), "pod_pids_limit": int64(2), "read_only_port": int64(0), "anonymous_auth": false, "webhook_auth": false, "tls_cipher_suites": []string{"C"},
			"protect_kernel_defaults": false, "config_dropins": []string{"/d/10.conf", "/d/20.conf", "/d/5/9.conf"},
		}},
		{"0 in the file is the default, as a flag it is 0", "--config=/c", map[string]string{"c": kind + "streamingConnectionIdleTimeout: 0s\nauthorization: {mode: ''}\neventRecordQPS: 0\npodPidsLimit: 0\n"}, map[string]any{
			"streaming_connection_idle_timeout": int64(14400), "authorization_mode": "Webhook", "event_record_qps": int64(0), "pod_pids_limit": int64(0),
		}},
		{"as a flag it is 0", "--config=/c --streaming-connection-idle-timeout=0", map[string]string{"c": kind}, map[string]any{"streaming_connection_idle_timeout": int64(0)}},
		{"truths of YAML 1.1", "--config=/c", map[string]string{"c": kind + "seccompDefault: yes\nprotectKernelDefaults: On\nmakeIPTablesUtilChains: off\n"}, map[string]any{
			"seccomp_default": true, "protect_kernel_defaults": true, "make_iptables_util_chains": false,
		}},
		{"features of the file and of flags", "--config=/c --feature-gates=RotateKubeletServerCertificate=false", map[string]string{"c": kind + "featureGates: {RotateKubeletServerCertificate: true}\n"}, map[string]any{
			"rotate_kubelet_server_certificate": false,
		}},
		{"all features of the beta", "--config=/c", map[string]string{"c": kind + "featureGates: {AllBeta: false}\n"}, map[string]any{"rotate_kubelet_server_certificate": false}},
		{"JSON with tabs", "--config=/c", map[string]string{"c": "{\n\t\"kind\": \"KubeletConfiguration\",\n\t\"podPidsLimit\": 9\n}\n"}, map[string]any{"pod_pids_limit": int64(9)}},
		{"an address from which pods come", "--config=/c --manifest-url=http://user:password@192.0.2.9/pods", map[string]string{"c": kind}, map[string]any{"static_pod_url": "http://192.0.2.9"}},
		{"only the first document", "--config=/c", map[string]string{"c": kind + "podPidsLimit: 9\n---\npodPidsLimit: 10\n"}, map[string]any{"pod_pids_limit": int64(9)}},
	} {
		files := map[string]string{"etc/systemd/system/kubelet.service": unit(c.flags)}
		for name, text := range c.files {
			files[name] = text
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantFact(t, factOf(t, kubeFacts(t, plant(t, files)), event.Kubelet, "kubelet"), c.want)
		})
	}
}

func TestProgramOfStaticPods(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ command, args, image, want string }{
		{"kube-apiserver --a=b", "", "", "kube-apiserver [--a=b]"},
		{"/usr/local/bin/kube-apiserver", "--a=b", "", "kube-apiserver [--a=b]"},
		{"", "--a=b", "registry.k8s.io/kube-scheduler:v1.34.1", "kube-scheduler [--a=b]"},
		{"", "--a=b", "registry.k8s.io/kube-scheduler-amd64@sha256:0123", "kube-scheduler [--a=b]"},
		{"", "etcd --a=b", "quay.io/coreos/etcd", "etcd [--a=b]"},
		{"", "--a=b", "example.org:5000/web", " []"},
		{"/go-runner --log-file=/var/log/x.log --also-stdout /usr/local/bin/kube-proxy --a=b", "", "", "kube-proxy [--a=b]"},
		{"backup etcd --a=b", "", "", " []"},
		{"", "", "", " []"},
	} {
		program, rest := programOf(strings.Fields(c.command), strings.Fields(c.args), c.image)
		if got := fmt.Sprint(program, " ", rest); got != c.want {
			t.Errorf("programOf(%q, %q, %q) = %s, want %s", c.command, c.args, c.image, got, c.want)
		}
	}
	program, rest := programOf([]string{"/bin/sh", "-c"}, []string{"mkdir -p /x && exec /usr/local/bin/kube-apiserver --a='b c' --d=e 1>>/var/log/x.log 2>&1"}, "")
	if program != "kube-apiserver" || !slices.Equal(rest, []string{"--a=b c", "--d=e"}) {
		t.Errorf("by a shell: %s %q", program, rest)
	}
}

func TestStaticPodsOfOtherForms(t *testing.T) {
	t.Parallel()
	all := kubeFacts(t, plant(t, map[string]string{
		"etc/kubernetes/manifests/kube-apiserver.manifest":    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: kube-apiserver\n    env: [{name: ETCD, value: 'https://[::1]:2379'}]\n    args: ['--etcd-servers=$(ETCD)', --authorization-config=/c/authz.yaml, --authentication-config=/c/authn.yaml, '--encryption-provider-config=/c/sub/enc.json']\n    volumeMounts: [{name: v, mountPath: /c}, {name: w, mountPath: /c/sub, subPath: deep}, {name: gone, mountPath: /g}]\n  volumes: [{name: v, hostPath: {path: /srv/conf}}, {name: w, hostPath: {path: /srv/other}}, {name: gone, emptyDir: {}}]\n",
		"srv/conf/authz.yaml":                                 "authorizers: [{type: Node, name: node}, {type: RBAC, name: rbac}, {type: Webhook, name: w}]\n",
		"srv/conf/authn.yaml":                                 "anonymous: {enabled: true, conditions: [{path: /livez}, {path: /readyz}]}\n",
		"srv/other/deep/enc.json":                             `{"kind": "EncryptionConfiguration", "resources": [{"resources": ["*.*"], "providers": [{"kms": {"apiVersion": "v2", "name": "x"}}]}]}`,
		"etc/kubernetes/manifests/etcd-manager-main.manifest": "kind: Pod\nspec: {containers: [{name: etcd-manager, image: registry.k8s.io/etcd-manager:3, command: [/etcd-manager]}]}\n",
	}))
	wantFact(t, factOf(t, all, event.APIServer, "kube-apiserver"), map[string]any{
		"authorization_mode": []string{"Node", "RBAC", "Webhook"}, "anonymous_auth": true, "anonymous_health_only": true, "anonymous_paths": []string{"/livez", "/readyz"},
		"etcd_servers": []string{"https://[::1]:2379"}, "version": nil,
	})
	wantFact(t, factOf(t, all, event.Encryption, "kube-apiserver"), map[string]any{"provider": "kms", "kms_version": "v2", "plain_readable": false, "configmaps": true})
	wantPurposes(t, all, "apiserver_manifest /etc/kubernetes/manifests/kube-apiserver.manifest", "encryption_config /srv/other/deep/enc.json")
}

// A fakeProcess is a process of a made-up /proc.
type fakeProcess struct {
	exe, args, cgroup string
	uid               int
	mnt, net          string // name spaces; empty are the first process's
	environ           string
	title             string // in the place of its arguments
}

func fakeProc(t *testing.T, processes map[int]fakeProcess) string {
	t.Helper()
	dir := t.TempDir()
	processes[1] = fakeProcess{exe: "/usr/lib/systemd/systemd", args: "/sbin/init", cgroup: "/init.scope"}
	for pid, p := range processes {
		at := filepath.Join(dir, strconv.Itoa(pid))
		put(t, filepath.Join(at, "cmdline"), p.title+strings.ReplaceAll(p.args, " ", "\x00")+"\x00")
		put(t, filepath.Join(at, "status"), fmt.Sprintf("Name:\tx\nUid:\t%d\t%d\t%d\t%d\nGid:\t0\t0\t0\t0\n", p.uid, p.uid, p.uid, p.uid))
		put(t, filepath.Join(at, "cgroup"), "0::"+p.cgroup+"\n")
		put(t, filepath.Join(at, "environ"), strings.ReplaceAll(p.environ, " ", "\x00"))
		if err := os.Mkdir(filepath.Join(at, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, target := range map[string]string{"exe": p.exe, "ns/mnt": "mnt:[" + or0(p.mnt) + "]", "ns/net": "net:[" + or0(p.net) + "]"} {
			if err := os.Symlink(target, filepath.Join(at, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func or0(text string) string {
	if text == "" {
		return "1"
	}
	return text
}

const (
	staticPod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123456789abcdef0123456789abcdef.slice/cri-containerd-1.scope"
	usualPod  = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice/cri-containerd-2.scope"
)

func TestKubernetesProcessesAreThoseOfTheNode(t *testing.T) {
	t.Parallel()
	const api = "/usr/local/bin/kube-apiserver"
	for _, c := range []struct {
		name string
		p    fakeProcess
		want bool
	}{
		{"of a static pod", fakeProcess{exe: api, cgroup: staticPod, mnt: "2"}, true},
		{"of a static pod of the driver cgroupfs, deleted", fakeProcess{exe: api + " (deleted)", cgroup: "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/1", mnt: "2"}, true},
		{"of a static pod that is guaranteed", fakeProcess{exe: api, cgroup: "/kubepods.slice/kubepods-pod0123456789abcdef0123456789abcdef.slice/x", mnt: "2"}, true},
		{"of a pod of the API server", fakeProcess{exe: api, cgroup: usualPod, mnt: "2"}, false},
		{"of such a pod, driver cgroupfs", fakeProcess{exe: api, cgroup: "/kubepods/pod01234567-89ab-cdef-0123-456789abcdef/2", mnt: "2"}, false},
		{"of a node within a container", fakeProcess{exe: api, cgroup: "/docker/1" + staticPod, mnt: "2", net: "2"}, false},
		{"of systemd", fakeProcess{exe: api, cgroup: "/system.slice/kube-apiserver.service"}, true},
		{"of systemd, by a user of its own and root's program", fakeProcess{exe: "/opt/bin/kube-apiserver", cgroup: "/system.slice/x", uid: 997}, true},
		{"of a user's own", fakeProcess{exe: "/home/alice/kube-apiserver", cgroup: "/user.slice/x", uid: 1000}, false},
		{"of Docker, in the machine's network", fakeProcess{exe: api, cgroup: "/docker/1", mnt: "2"}, true},
		{"of Docker, in a network of its own", fakeProcess{exe: api, cgroup: "/docker/1", mnt: "2", net: "2"}, false},
		{"of a user's container", fakeProcess{exe: api, cgroup: "/user.slice/x", mnt: "2", uid: 1000}, false},
		{"of a pod whose name spaces cannot be read", fakeProcess{exe: api, cgroup: usualPod}, false},
	} {
		s := plant(t, map[string]string{"opt/bin/kube-apiserver": "", "home/alice/kube-apiserver": ""})
		if err := os.Chown(filepath.Join(s.Root, "home/alice/kube-apiserver"), 1000, 1000); err != nil {
			t.Skip("needs root: ", err)
		}
		c.p.args = "kube-apiserver --profiling=false"
		s.Procfs = fakeProc(t, map[int]fakeProcess{77: c.p})
		got := slices.ContainsFunc(kubeFacts(t, s), func(f event.Fact) bool {
			return f.Kind == event.APIServer && f.Values["profiling"] == false && f.Values["running"] == true
		})
		if got != c.want {
			t.Errorf("%s: it is told: %v", c.name, got)
		}
	}
}

func TestKubernetesOfALiveNode(t *testing.T) {
	t.Parallel()
	s := kubeTree(t, "kubeadm", map[string]string{
		"var/lib/kubelet/pods/01234567-89ab-cdef-0123-456789abcdef/volumes/kubernetes.io~configmap/kube-proxy/config.conf": "kind: KubeProxyConfiguration\nmetricsBindAddress: 0.0.0.0:10249\n",
		"etc/kubernetes/pki/etcd/ca.crt": "", "etc/kubernetes/pki/ca.crt": "",
	})
	s.Procfs = fakeProc(t, map[int]fakeProcess{
		100: {exe: "/usr/bin/kubelet", args: "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --v=2", cgroup: "/system.slice/kubelet.service"},
		200: {exe: "/usr/local/bin/kube-apiserver", args: "kube-apiserver --audit-policy-file=/etc/audit-policy/policy.yaml --profiling=true", cgroup: staticPod, mnt: "2"},
		300: {exe: "/usr/local/bin/etcd", args: "etcd --client-cert-auth=false", cgroup: staticPod, mnt: "3", environ: "ETCD_CLIENT_CERT_AUTH=true ETCD_AUTO_TLS=true ETCD_TRUSTED_CA_FILE=/etc/kubernetes/pki/ca.crt ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379,http://127.0.0.1:2379"},
		400: {exe: "/usr/local/bin/kube-proxy", args: "/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf --metrics-bind-address=127.0.0.1:1", cgroup: usualPod, mnt: "4"},
		500: {exe: "/usr/bin/sleep", args: "kube-scheduler --profiling=true", cgroup: "/system.slice/x"},
	})
	all := kubeFacts(t, s)
	wantFact(t, factOf(t, all, event.Kubernetes, "kubeadm"), map[string]any{"running": true})
	api := factOf(t, all, event.APIServer, "kube-apiserver")
	wantFact(t, api, map[string]any{"running": true, "profiling": true, "authorization_mode": []string{"AlwaysAllow"}, "version": "v1.34.1"})
	if api.Source != "/proc/200/cmdline" {
		t.Errorf("the source is %s", api.Source)
	}
	wantFact(t, factOf(t, all, event.AuditPolicy, "kube-apiserver"), map[string]any{"rules": int64(6)})
	wantFact(t, factOf(t, all, event.Etcd, "etcd"), map[string]any{"client_cert_auth": false, "auto_tls": true, "plain": true, "plain_clients": []string{"http://0.0.0.0"}})
	wantFact(t, factOf(t, all, event.Kubelet, "kubelet"), map[string]any{"running": true, "event_record_qps": int64(1)})
	wantFact(t, factOf(t, all, event.KubeProxy, "kube-proxy"), map[string]any{"metrics_bind_address": "0.0.0.0:10249", "metrics_local": false})
	wantFact(t, factOf(t, all, event.KubeScheduler, "kube-scheduler"), map[string]any{"running": false, "profiling": false})
	wantFact(t, factOf(t, all, event.EtcdAuthority, "etcd"), map[string]any{"etcd_ca": "/etc/kubernetes/pki/ca.crt", "own": false})
}

func TestKubernetesHostileFiles(t *testing.T) {
	t.Parallel()
	const pod = "kind: Pod\nspec: {containers: [{command: [kube-apiserver, --encryption-provider-config=/e, --audit-policy-file=/a]}]}\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		links map[string]string
		kind  *event.FactKind
		want  string // in the error
	}{
		{"malformed YAML", map[string]string{"etc/kubernetes/manifests/kube-apiserver.yaml": "kind: Pod\nspec: [\n"}, nil, event.APIServer, "kube-apiserver.yaml:3: want YAML"},
		{"a scalar", map[string]string{"etc/kubernetes/manifests/etcd.yaml": "just text\n"}, nil, event.Etcd, "etcd.yaml:1: want keys and values"},
		{"a huge file", map[string]string{"etc/kubernetes/manifests/kube-scheduler.yaml": strings.Repeat("#", maxKubeFile+1)}, nil, event.KubeScheduler, "more than 1048576 bytes"},
		{"deep nesting", map[string]string{"etc/kubernetes/manifests/kube-scheduler.yaml": "a: " + strings.Repeat("[", 1000)}, nil, event.KubeScheduler, "depth"},
		{"a loop of links", nil, map[string]string{"etc/kubernetes/manifests/kube-apiserver.yaml": "kube-apiserver.yaml"}, event.APIServer, "too many levels of symbolic links"},
		{"aliases that grow", map[string]string{"etc/kubernetes/manifests/kube-apiserver.yaml": bomb()}, nil, event.APIServer, "alias"},
		{"a configuration of encryption that is none", map[string]string{"etc/kubernetes/manifests/x.yaml": pod, "e": "kind: Pod\n", "a": "kind: Policy\n"}, nil, event.Encryption, "/e:1: want kind: EncryptionConfiguration"},
		{"a configuration of encryption that is not there", map[string]string{"etc/kubernetes/manifests/x.yaml": pod, "a": "kind: Policy\n"}, nil, event.Encryption, "no such file"},
		{"a level that is none", map[string]string{"etc/kubernetes/manifests/x.yaml": pod, "a": "kind: Policy\nrules:\n- level: Everything\n"}, nil, event.AuditPolicy, `/a:3: want one of None, Metadata, Request, RequestResponse: level "Everything"`},
		{"a kubelet's configuration that is none", map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet --config=/c\n", "c": "kind: Pod\n"}, nil, event.Kubelet, "/c:1: want kind: KubeletConfiguration"},
		{"a value of another type", map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet --config=/c\n", "c": "kind: KubeletConfiguration\nseccompDefault: 'true'\n"}, nil, event.Kubelet, "/c:2: want true or false of seccompDefault"},
		{"a key that is given twice", map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet --config=/c\n", "c": "kind: KubeletConfiguration\nreadOnlyPort: 0\nreadOnlyPort: 1\n"}, nil, event.Kubelet, "/c:3: readOnlyPort is given twice"},
		{"a flag of another type", map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet --seccomp-default=perhaps --cert-dir=/x\n"}, nil, event.Kubelet, "flag --seccomp-default=perhaps: want true or false"},
		{"drop-ins that are not there", map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nExecStart=kubelet --config=/c --config-dir=/d\n", "c": "kind: KubeletConfiguration\n"}, nil, event.Kubelet, "/d: no such file"},
		{"k3s that cannot be read leaves nothing known", map[string]string{"etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server\n", "etc/rancher/k3s/config.yaml": "a: [\n"}, nil, event.Kubelet, "config.yaml:2: want YAML"},
		{"a static pod of another name", map[string]string{"etc/kubernetes/manifests/x.yaml": "a: [\n"}, nil, event.ControllerManager, "x.yaml:2: want YAML"},
		{"etcd in a directory that cannot be found", map[string]string{"etc/kubernetes/manifests/etcd.yaml": "kind: Pod\nspec: {containers: [{command: [etcd, --data-dir=here]}]}\n"}, nil, event.File, "here: want an absolute path"},
		{"k3s with a configuration that is none", map[string]string{"etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server\n", "etc/rancher/k3s/config.yaml": "a: [\n"}, nil, event.Kubernetes, "config.yaml:2: want YAML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := plant(t, c.files)
			for name, to := range c.links {
				if err := os.MkdirAll(filepath.Join(s.Root, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, filepath.Join(s.Root, name)); err != nil {
					t.Fatal(err)
				}
			}
			var errors []string
			for _, f := range kubeFacts(t, s) {
				if f.Kind == c.kind {
					errors = append(errors, f.Err())
				}
			}
			if !slices.ContainsFunc(errors, func(err string) bool { return strings.Contains(err, c.want) }) {
				t.Errorf("errors of kind %s are %q, want one with %q", c.kind.Name, errors, c.want)
			}
		})
	}
	s := plant(t, nil)
	if err := os.MkdirAll(filepath.Join(s.Root, "etc/kubernetes/manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.Root, "etc/kubernetes/manifests/kube-apiserver.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := factOf(t, kubeFacts(t, s), event.APIServer, "/etc/kubernetes/manifests/kube-apiserver.yaml"); !strings.Contains(f.Err(), "pipe") {
		t.Errorf("a pipe: error is %q", f.Err())
	}
}

// bomb is a YAML file of few bytes whose aliases make billions of values.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9))
	}
	return b.String()
}

// makeCertificate returns a certificate and its key in PEM, signed by itself or by another.
func makeCertificate(t *testing.T, name string, groups []string, lasts time.Duration) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: groups}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bytes}))
}

func TestKubernetesCertificates(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	ca, key := makeCertificate(t, "kubernetes", nil, 3650*day)
	old, _ := makeCertificate(t, "old", nil, -day)
	admin, adminKey := makeCertificate(t, "kubernetes-admin", []string{"system:masters"}, 20*day+time.Hour)
	node, nodeKey := makeCertificate(t, "system:node:cp1", []string{"system:nodes"}, 5*day)
	s := kubeTree(t, "kubeadm", map[string]string{
		"etc/kubernetes/pki/ca.crt": "text before\n" + ca + old, "etc/kubernetes/pki/ca.key": key, "etc/kubernetes/pki/etcd/ca.crt": old, "etc/kubernetes/pki/broken.crt": "-----BEGIN CERTIFICATE-----\nx\n",
		"var/lib/kubelet/pki/kubelet-client-2026.pem": node + nodeKey,
		"etc/kubernetes/admin.conf":                   "users: [{name: a, user: {client-certificate-data: " + base64.StdEncoding.EncodeToString([]byte(admin)) + ", client-key-data: " + base64.StdEncoding.EncodeToString([]byte(adminKey)) + "}}]\n",
		"etc/kubernetes/super-admin.conf":             "users: [{name: a, user: {client-certificate-data: '***'}}]\n",
	})
	if err := os.Symlink("kubelet-client-2026.pem", filepath.Join(s.Root, "var/lib/kubelet/pki/kubelet-client-current.pem")); err != nil {
		t.Fatal(err)
	}
	all := kubeFacts(t, s)
	wantFact(t, factOf(t, all, event.Certificate, "/etc/kubernetes/pki/ca.crt"), map[string]any{
		"purpose": "pki", "common_name": "kubernetes", "days_left": int64(3649), "days_valid": int64(3650), "ca": true, "self_signed": true, "key_type": "ecdsa", "key_bits": int64(256),
		"key_strong": true, "signature": "ECDSA-SHA256", "signature_strong": true, "organizations": []string{},
	})
	wantFact(t, factOf(t, all, event.Certificate, "/etc/kubernetes/pki/ca.crt #2"), map[string]any{"common_name": "old", "days_left": int64(-2)})
	wantFact(t, factOf(t, all, event.Certificate, "/etc/kubernetes/admin.conf"), map[string]any{"purpose": "kubeconfig", "common_name": "kubernetes-admin", "organizations": []string{"system:masters"}, "days_left": int64(20)})
	wantFact(t, factOf(t, all, event.Certificate, "/var/lib/kubelet/pki/kubelet-client-current.pem"), map[string]any{"purpose": "kubelet", "common_name": "system:node:cp1"})
	if f := factOf(t, all, event.Certificate, "/etc/kubernetes/pki/broken.crt"); !strings.Contains(f.Err(), "want a certificate in PEM") {
		t.Errorf("error of a broken certificate is %q", f.Err())
	}
	if f := factOf(t, all, event.Certificate, "/etc/kubernetes/super-admin.conf"); !strings.Contains(f.Err(), "super-admin.conf:1: want client-certificate-data in base64") {
		t.Errorf("error of a broken kubeconfig is %q", f.Err())
	}
	wantFact(t, factOf(t, all, event.EtcdAuthority, "etcd"), map[string]any{"own": false, "cluster_ca": "/etc/kubernetes/pki/ca.crt"})
	for _, f := range all {
		for name, value := range f.Values {
			if text := fmt.Sprint(value); strings.Contains(text, "PRIVATE") || strings.Contains(text, nodeKey[40:60]) {
				t.Errorf("%s.%s of %s holds a key", f.Kind.Name, name, f.Subject)
			}
		}
	}
	for path, purpose := range map[string]string{"/var/lib/kubelet/pki/kubelet-client-current.pem": "kubelet_key", "/etc/kubernetes/pki/ca.key": "pki_key", "/etc/kubernetes/pki/ca.crt": "pki_cert", "/etc/kubernetes/pki": "pki_dir"} {
		if !slices.ContainsFunc(all, func(f event.Fact) bool {
			return f.Kind == event.File && f.Subject == path && f.Values["purpose"] == purpose
		}) {
			t.Errorf("%s is not reported as %s", path, purpose)
		}
	}
}

// kubeVerdicts judges a machine by our checks of Kubernetes, and returns the checks by what came of them.
func kubeVerdicts(t *testing.T, s *Surveys) map[event.Status][]*event.Check {
	t.Helper()
	files, err := rules.ChecksPack()
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f rules.File) bool {
		return !strings.Contains(f.Name, "posture/kubernetes-") && !strings.Contains(f.Name, "posture/eks-")
	})
	checks, results := rules.LoadChecks(files)
	for _, r := range results {
		if !r.Successful {
			t.Fatalf("%s: %v", r.Name, r.Errors)
		}
	}
	e := rules.NewEvaluation(checks, nil, time.Now())
	for _, row := range s.kubernetesSurveys() {
		e.Surveyed(row.Kinds)
	}
	for _, f := range kubeFacts(t, s) {
		e.Fact(f)
	}
	all := map[event.Status][]*event.Check{}
	for _, v := range e.Verdicts() {
		all[v.Status] = append(all[v.Status], v.Check)
		if v.Status == event.Erroneous {
			t.Logf("%s: %s", v.Check.ID, v.Reason)
		}
	}
	return all
}

// numbersOf are the distinct controls of a framework that some checks are of.
func numbersOf(checks []*event.Check, framework string) (all []string) {
	for _, c := range checks {
		all = append(all, c.In(framework)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestKubernetesChecksCoverTheirNumbers(t *testing.T) {
	t.Parallel()
	var want []string
	for section, n := range map[string]int{"1.1": 21, "1.2": 30, "1.3": 7, "1.4": 2, "2": 7, "4.1": 10, "4.2": 14, "4.3": 1} {
		for i := range n {
			want = append(want, fmt.Sprintf("%s.%d", section, i+1))
		}
	}
	want = append(want, "3.2.1", "3.2.2")
	slices.Sort(want)
	verdicts := kubeVerdicts(t, plant(t, nil))
	if len(verdicts) != 1 {
		t.Errorf("on a machine without Kubernetes not all are not applicable: %v", verdicts)
	}
	all := verdicts[event.NotApplicable]
	if got := numbersOf(all, "cis_kubernetes_1.12"); !slices.Equal(got, want) {
		t.Errorf("numbers are %v, want %v", got, want)
	}
	if got, want := numbersOf(all, "cis_eks_1.8"), "3.1.1 3.1.2 3.1.3 3.1.4 3.2.1 3.2.2 3.2.3 3.2.4 3.2.5 3.2.6 3.2.7 3.2.8 3.2.9"; strings.Join(got, " ") != want {
		t.Errorf("numbers of EKS are %v, want %s", got, want)
	}
}

func TestKubernetesChecksOfAWorker(t *testing.T) {
	t.Parallel()
	ca, _ := makeCertificate(t, "kubernetes", nil, 3650*24*time.Hour)
	verdicts := kubeVerdicts(t, kubeTree(t, "worker", map[string]string{"etc/kubernetes/pki/ca.crt": ca}))
	for status, checks := range verdicts {
		for _, number := range numbersOf(checks, "cis_kubernetes_1.12") {
			if plane := number[0] != '4'; plane != (status == event.NotApplicable) && number[:4] != "4.1." && number != "4.3.1" {
				t.Errorf("%s is %s", number, status)
			}
		}
	}
	if got := numbersOf(verdicts[event.Fail], "cis_kubernetes_1.12"); strings.Join(got, " ") != "4.1.1 4.1.5 4.1.9 4.2.11 4.2.13 4.2.14 4.2.4 4.2.7 4.2.9" {
		t.Errorf("what fails is %v", got)
	}
	if len(verdicts[event.Erroneous]) > 0 || len(numbersOf(verdicts[event.NotApplicable], "cis_eks_1.8")) != 13 {
		t.Errorf("in error %v, of EKS not applicable %v", verdicts[event.Erroneous], numbersOf(verdicts[event.NotApplicable], "cis_eks_1.8"))
	}
}

func TestKubernetesChecksOfAHardenedControlPlane(t *testing.T) {
	t.Parallel()
	more := map[string]string{}
	for _, name := range []string{"ca", "apiserver", "apiserver-kubelet-client", "apiserver-etcd-client", "etcd/ca", "etcd/server", "etcd/peer", "front-proxy-ca"} {
		more["etc/kubernetes/pki/"+name+".crt"], more["etc/kubernetes/pki/"+name+".key"] = makeCertificate(t, name, nil, 365*24*time.Hour)
	}
	more["etc/kubernetes/pki/sa.pub"], more["etc/kubernetes/pki/sa.key"] = "", ""
	s := kubeTree(t, "kubeadm", more)
	harden(t, s.Root)
	verdicts := kubeVerdicts(t, s)
	if got := numbersOf(verdicts[event.Fail], "cis_kubernetes_1.12"); strings.Join(got, " ") != "1.2.9" {
		t.Errorf("what fails is %v, want only that nothing limits events", got)
	}
	if got := numbersOf(verdicts[event.Pass], "cis_kubernetes_1.12"); len(got) != 90 {
		t.Errorf("%d numbers pass, want the 94 without 1.2.9, and those of kube-proxy's kubeconfig and metrics that are not here: %v", len(got), got)
	}
	if len(verdicts[event.Erroneous]) > 0 {
		t.Errorf("in error: %v", verdicts[event.Erroneous])
	}
	wrong := filepath.Join(s.Root, "etc/kubernetes/pki/ca.key")
	if err := os.Chmod(wrong, 0o640); err != nil {
		t.Fatal(err)
	}
	if got := numbersOf(kubeVerdicts(t, s)[event.Fail], "cis_kubernetes_1.12"); strings.Join(got, " ") != "1.1.21 1.2.9" {
		t.Errorf("with a key that its group reads what fails is %v", got)
	}
}

// harden gives the files of a control plane the owners and permissions that they should have.
func harden(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		mode := fs.FileMode(0o600)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			mode = 0o755
		case strings.HasSuffix(path, ".crt"):
			mode = 0o644
		}
		if err := os.Chown(path, 0, 0); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	})
	etcd := filepath.Join(root, "var/lib/etcd")
	if err == nil {
		err = os.Chown(etcd, 2379, 2379)
	}
	if err != nil {
		t.Skip("needs root: ", err)
	}
	if err := os.Chmod(etcd, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestKubernetesChecksOfEKS(t *testing.T) {
	t.Parallel()
	verdicts := kubeVerdicts(t, kubeTree(t, "eks-al2", nil))
	if got := numbersOf(verdicts[event.Fail], "cis_eks_1.8"); strings.Join(got, " ") != "3.2.4" {
		t.Errorf("what fails of Amazon Linux 2 is %v, want its read-only port", got)
	}
	verdicts = kubeVerdicts(t, kubeTree(t, "eks-al2023", nil))
	if got := numbersOf(verdicts[event.Pass], "cis_eks_1.8"); len(got) != 13 {
		t.Errorf("what passes of Amazon Linux 2023 is %v", got)
	}
	verdicts = kubeVerdicts(t, kubeTree(t, "eks-al2", map[string]string{"var/lib/kubelet/kubeconfig": "clusters: [\n"}))
	if got := numbersOf(verdicts[event.Fail], "cis_eks_1.8"); !slices.Contains(got, "3.2.8") {
		t.Errorf("with a kubeconfig that cannot be read 3.2.8 does not fail: %v", got)
	}
}

// TestKubernetesOfRealProcesses runs a shell, whose arguments may be anything, by the names of programs of Kubernetes.
func TestKubernetesOfRealProcesses(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to read what others run")
	}
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip("needs a shell: ", err)
	}
	dir := t.TempDir()
	var pids []int
	for name, args := range map[string][]string{"kube-apiserver": {"--anonymous-auth=false", "--tls_min_version", "VersionTLS13"}, "kubelet": {"--read-only-port=0", "--seccomp-default"}} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, program, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(file, append([]string{"-c", "echo ready; read end"}, args...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close() // the shell ends once nobody can write to it
			_ = cmd.Wait()
		})
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Skip("needs a shell that does not mind its name: ", err)
		}
		pids = append(pids, cmd.Process.Pid)
	}
	s := &Surveys{Root: "/", Procfs: "/proc"}
	processes, _, err := s.kubeProcesses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range processes {
		if !slices.Contains(pids, p.pid) {
			continue
		}
		found++
		n := &kubeNode{s: s}
		n.add(p.component())
		n.report(&n.components[0], func(f event.Fact) {
			switch f.Kind {
			case event.APIServer:
				wantFact(t, f, map[string]any{"running": true, "anonymous_auth": false, "tls_min_version": "VersionTLS13", "authorization_mode": []string{"AlwaysAllow"}})
			case event.Kubelet:
				wantFact(t, f, map[string]any{"running": true, "read_only_port": int64(0), "seccomp_default": true, "anonymous_auth": true, "config_file": ""})
			}
		})
	}
	if found != 2 {
		t.Errorf("%d of 2 processes were found", found)
	}
}

func TestKubernetesSurveyStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := kubeTree(t, "kubeadm", nil)
	if err := s.Kubernetes(ctx, func(event.Fact) {}); err == nil {
		t.Error("it goes on though nobody waits for it")
	}
	if err := s.KubernetesFiles(ctx, func(f event.Fact) { t.Errorf("it reports %s", f.Subject) }); err != nil {
		t.Errorf("an error that would be of other areas' files too: %v", err)
	}
}

func FuzzParseKubeFlags(f *testing.F) {
	for _, seed := range []string{"--anonymous-auth=false\x00--v=2", "--client-ca-file\x00--x", "-v\x00", "--feature-gates=A=true,B=\x00--", "--tls-cipher-suites=\"a\x00--a_b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\x00")
		c := &kubeComponent{program: "kubelet", args: args}
		n := &kubeNode{s: &Surveys{Root: t.TempDir()}, components: []kubeComponent{*c}}
		for _, program := range kubePrograms {
			c.program = program
			n.report(c, func(event.Fact) {})
		}
		n.files()
	})
}

func FuzzKubeletConfiguration(f *testing.F) {
	for _, tree := range []string{"kubeadm/var/lib/kubelet/config.yaml", "worker/var/lib/kubelet/config.yaml", "eks-al2023/etc/kubernetes/kubelet/config.json", "kubeadm/etc/kubernetes/manifests/kube-apiserver.yaml", "kubeadm/etc/kubernetes/audit/policy.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata/posture/kubernetes", tree))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "kind: KubeletConfiguration\nauthentication: null\n")
	}
	f.Add("a: &a [*a]", "{a: {b: null}}")
	f.Fuzz(func(t *testing.T, text, over string) {
		base, err := parseKubeYAML("/c", text)
		if err != nil {
			return
		}
		if more, err := parseKubeYAML("/d", over); err == nil {
			base = base.patch(more)
		}
		setKube(event.Kubelet.New("", ""), kubeletSettings, kubeFlags{}, base, false)
		setKube(event.Etcd.New("", ""), etcdSettings, kubeFlags{}, base, false)
		_, _ = podPrograms("/c", base)
		parseKubeconfig(base)
		providersOf(base, "secrets")
		for _, r := range auditedRequests {
			_, _ = r.level(base.get("rules").items())
		}
	})
}
