package host

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// kubeletSettings are the kubelet's settings: by flag, by configuration file, and by default. Defaults are those of
// https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/; where a kubelet has no configuration file, those of its flags
// (https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/) are others for authentication and the read-only port.
// Events were 5 in a second before 1.27, https://github.com/kubernetes/kubernetes/pull/116121, which makes no difference to a check.
var kubeletSettings = []kubeSetting{
	{field: "anonymous_auth", flag: "anonymous-auth", path: "authentication.anonymous.enabled", form: kubeTruth, def: "false", legacy: "true"},
	{field: "webhook_auth", flag: "authentication-token-webhook", path: "authentication.webhook.enabled", form: kubeTruth, def: "true", legacy: "false"},
	{field: "authorization_mode", flag: "authorization-mode", path: "authorization.mode", def: "Webhook", legacy: "AlwaysAllow", zero: true},
	{field: "client_ca_file", flag: "client-ca-file", path: "authentication.x509.clientCAFile"},
	{field: "address", flag: "address", path: "address", def: "0.0.0.0", zero: true},
	{field: "read_only_port", flag: "read-only-port", path: "readOnlyPort", form: kubeNumber, def: "0", legacy: "10255"},
	{field: "streaming_connection_idle_timeout", flag: "streaming-connection-idle-timeout", path: "streamingConnectionIdleTimeout", form: kubeSeconds, def: "4h", zero: true},
	{field: "protect_kernel_defaults", flag: "protect-kernel-defaults", path: "protectKernelDefaults", form: kubeTruth, def: "false"},
	{field: "make_iptables_util_chains", flag: "make-iptables-util-chains", path: "makeIPTablesUtilChains", form: kubeTruth, def: "true"},
	{field: "hostname_override", flag: "hostname-override"},
	{field: "event_record_qps", flag: "event-qps", path: "eventRecordQPS", form: kubeNumber, def: "50"},
	{field: "tls_cert_file", flag: "tls-cert-file", path: "tlsCertFile"},
	{field: "tls_private_key_file", flag: "tls-private-key-file", path: "tlsPrivateKeyFile"},
	{field: "tls_cipher_suites", flag: "tls-cipher-suites", path: "tlsCipherSuites", form: kubeList},
	{field: "tls_min_version", flag: "tls-min-version", path: "tlsMinVersion"},
	{field: "rotate_certificates", flag: "rotate-certificates", path: "rotateCertificates", form: kubeTruth, def: "false"},
	{field: "server_tls_bootstrap", flag: "rotate-server-certificates", path: "serverTLSBootstrap", form: kubeTruth, def: "false"},
	{field: "pod_pids_limit", flag: "pod-max-pids", path: "podPidsLimit", form: kubeNumber, def: "-1"},
	{field: "seccomp_default", flag: "seccomp-default", path: "seccompDefault", form: kubeTruth, def: "false"},
	{field: "allowed_unsafe_sysctls", flag: "allowed-unsafe-sysctls", path: "allowedUnsafeSysctls", form: kubeList},
	{field: "static_pod_path", flag: "pod-manifest-path", path: "staticPodPath"},
	{field: "profiling", path: "enableProfilingHandler", form: kubeTruth, def: "true"},
	{field: "kubeconfig", flag: "kubeconfig"},

	// Of no interest but for what stands behind them.
	{flag: "config"}, {flag: "config-dir"}, {flag: "bootstrap-kubeconfig"}, {flag: "feature-gates"}, {flag: "manifest-url"}, {flag: "cert-dir"}, {flag: "root-dir"},
	{flag: "node-labels"}, {flag: "node-ip"}, {flag: "cluster-dns"}, {flag: "cluster-domain"}, {flag: "cloud-provider"},
	{flag: "fail-swap-on", form: kubeTruth}, {flag: "register-node", form: kubeTruth}, {flag: "register-schedulable", form: kubeTruth}, {flag: "serialize-image-pulls", form: kubeTruth},
	{flag: "runonce", form: kubeTruth}, {flag: "enable-server", form: kubeTruth}, {flag: "enable-debugging-handlers", form: kubeTruth}, {flag: "contention-profiling", form: kubeTruth},
	{flag: "cpu-cfs-quota", form: kubeTruth}, {flag: "enable-controller-attach-detach", form: kubeTruth}, {flag: "cgroups-per-qos", form: kubeTruth},
	{flag: "kernel-memcg-notification", form: kubeTruth}, {flag: "local-storage-capacity-isolation", form: kubeTruth}, {flag: "keep-terminated-pod-volumes", form: kubeTruth},
	{flag: "allow-privileged", form: kubeTruth}, {flag: "exit-on-lock-contention", form: kubeTruth},
}

// Bounds of a drop-in directory: its entries with those of directories below, and how deep it is.
const (
	maxKubeDropIns     = 500
	maxKubeDropInDepth = 8
)

// A kubeletConfig is a kubelet's configuration: its file, if it has one, with what the drop-ins lay over that.
type kubeletConfig struct {
	file    string // empty if it has none
	dropIns []string
	value   *kubeValue
}

// kubeletConfig reads a kubelet's configuration as the kubelet does: https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/.
func (s *Surveys) kubeletConfig(c *kubeComponent, flags kubeFlags) (config kubeletConfig, err error) {
	if file := flags.text("config"); file != "" {
		config.file = c.outside(file)
		if config.value, err = s.kubeletFile(config.file); err != nil {
			return config, err
		}
	}
	dir := flags.text("config-dir")
	if dir == "" {
		return config, nil
	}
	left := maxKubeDropIns
	if config.dropIns, err = s.kubeletDropIns(c.outside(dir), 0, &left); err != nil {
		return config, err
	}
	for _, file := range config.dropIns {
		over, err := s.kubeletFile(file)
		if err != nil {
			return config, err
		}
		config.value = config.value.patch(over)
	}
	return config, nil
}

func (s *Surveys) kubeletFile(file string) (*kubeValue, error) {
	v, err := s.kubeYAML(file)
	if err == nil && v.get("kind").string() != "KubeletConfiguration" {
		return nil, fmt.Errorf("%s: want kind: KubeletConfiguration", v.at)
	}
	return v, err
}

// kubeletDropIns are the files of a drop-in directory that count, in their order: those that end with .conf, also in directories below.
func (s *Surveys) kubeletDropIns(dir string, depth int, left *int) (files []string, err error) {
	names, err := s.readDir(dir)
	if err != nil {
		return nil, err
	}
	if *left -= len(names); depth == maxKubeDropInDepth || *left < 0 {
		return nil, fmt.Errorf("%s: drop-ins are too deep, or have more than %d entries", dir, maxKubeDropIns)
	}
	for _, n := range names {
		file := path.Join(dir, n.Name)
		switch {
		case n.Type == "directory":
			below, err := s.kubeletDropIns(file, depth+1, left)
			if err != nil {
				return nil, err
			}
			files = append(files, below...)
		case path.Ext(n.Name) == ".conf":
			files = append(files, file)
		}
	}
	return files, nil
}

// staticPods is where a kubelet reads static pods, as the machine has it; empty if nowhere or that cannot be read.
func (s *Surveys) staticPods(c *kubeComponent) string {
	flags := parseKubeFlags(c.args, kubeletSettings)
	dir := flags.text("pod-manifest-path")
	if config, err := s.kubeletConfig(c, flags); dir == "" && err == nil {
		dir = config.value.get("staticPodPath").string()
	}
	if dir == "" {
		return ""
	}
	return c.outside(dir)
}

// kubeletFact is what a kubelet's flags and configuration say.
func (n *kubeNode) kubeletFact(c *kubeComponent) event.Fact {
	s, f := n.s, c.fact(n.s, event.Kubelet).Set("eks", n.eks)
	flags := parseKubeFlags(c.args, kubeletSettings)
	config, err := s.kubeletConfig(c, flags)
	if err != nil {
		return f.Fail(fmt.Errorf("configuration: %w", err))
	}
	setKube(f, kubeletSettings, flags, config.value, config.file == "")
	f.Set("config_file", config.file).Set("config_dropins", append([]string{}, config.dropIns...))
	f.Set("static_pod_url", schemeAndHost(kubeletPodURL(flags, config.value)))
	features := map[string]bool{}
	for name, on := range config.value.get("featureGates").mapping() {
		features[name] = on.yes()
	}
	if err := flags.features(features); err != nil {
		f.Fail(err)
	}
	f.Set("rotate_kubelet_server_certificate", feature(features, "RotateKubeletServerCertificate"))
	if k, err := s.kubeconfigOf(c, flags); err == nil { // else the survey of certificates tells
		f.Set("client_auth", k.auth)
	}
	return f
}

func kubeletPodURL(flags kubeFlags, config *kubeValue) string {
	if text, ok := flags.last("manifest-url"); ok {
		return text
	}
	return config.get("staticPodURL").string()
}

// schemeAndHost is what may be told of an address that may hold a password.
func schemeAndHost(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" {
		return strings.Repeat("?", min(len(address), 1))
	}
	if u.Host == "" {
		return u.Scheme + "://" + u.Path
	}
	return u.Scheme + "://" + u.Host
}

// mapping are the keys and values of one.
func (v *kubeValue) mapping() map[string]*kubeValue {
	if v == nil {
		return nil
	}
	return v.keys
}

// A kubeconfig is what is of interest of one: never what proves who somebody is.
type kubeconfig struct {
	auth   string // how it shows who it is: certificate, exec, token, other; empty if there is none
	server string // where the API server is
}

// kubeconfigOf reads the kubeconfig that flags name. Before a node has joined there is none yet: then what it joins by is read.
func (s *Surveys) kubeconfigOf(c *kubeComponent, flags kubeFlags) (k kubeconfig, err error) {
	for _, name := range []string{"kubeconfig", "bootstrap-kubeconfig"} {
		file := flags.text(name)
		if file == "" {
			continue
		}
		v, err := s.kubeYAML(c.outside(file))
		if Absent(err) {
			continue
		}
		if err != nil {
			return k, err
		}
		return parseKubeconfig(v), nil
	}
	return k, nil
}

func parseKubeconfig(v *kubeValue) (k kubeconfig) {
	current := named(v.get("contexts"), v.get("current-context").string()).get("context")
	k.server = named(v.get("clusters"), current.get("cluster").string()).get("cluster", "server").string()
	user := named(v.get("users"), current.get("user").string()).get("user")
	k.auth = "other"
	for _, way := range []struct{ key, auth string }{
		{"client-certificate", "certificate"}, {"client-certificate-data", "certificate"}, {"exec", "exec"}, {"token", "token"}, {"tokenFile", "token"},
	} {
		if user.get(way.key) != nil {
			k.auth = way.auth
			break
		}
	}
	return k
}

// named is the item of a list that has a name; the only item of a list if no name is given.
func named(list *kubeValue, name string) *kubeValue {
	items := list.items()
	if name == "" && len(items) == 1 {
		return items[0]
	}
	for _, item := range items {
		if item.get("name").string() == name {
			return item
		}
	}
	return nil
}

// isEKS says whether a kubelet is of a node of Amazon EKS: its API server is one of EKS, or if it is not yet told where that is, the
// machine is made of an image for such nodes.
func (n *kubeNode) isEKS() bool {
	for _, c := range n.of("kubelet") {
		k, err := n.s.kubeconfigOf(c, parseKubeFlags(c.args, kubeletSettings))
		if err == nil && k.server != "" {
			return isEKSServer(k.server)
		}
	}
	return n.has("kubelet") && (n.there("/etc/eks") || n.s.isEKSBottlerocket())
}

// isEKSServer knows endpoints of clusters by their domain: https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html. Those
// of both versions of IP are in domains of all services of AWS, none of which but EKS is an API server of Kubernetes.
func isEKSServer(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return slices.ContainsFunc([]string{".eks.amazonaws.com", ".eks.amazonaws.com.cn", ".eks.amazonaws.eu", ".api.aws", ".amazonwebservices.com.cn"},
		func(domain string) bool { return strings.HasSuffix(host, domain) })
}

// isEKSBottlerocket says whether the machine is a variant of Bottlerocket for EKS.
func (s *Surveys) isEKSBottlerocket() bool {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, ok, err := s.configText(file); ok && err == nil {
			values := shellValues(file, text)
			return values["ID"].text == "bottlerocket" && strings.HasPrefix(values["VARIANT_ID"].text, "aws-k8s")
		}
	}
	return false
}
