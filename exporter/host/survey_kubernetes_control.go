package host

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// apiServerSettings are the API server's settings and defaults, by https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/.
// None of the defaults that a check depends on has changed since 1.21, in which tokens of service accounts came to live for a year.
var apiServerSettings = []kubeSetting{
	{field: "token_auth_file", flag: "token-auth-file"},
	{field: "enable_bootstrap_token_auth", flag: "enable-bootstrap-token-auth", form: kubeTruth, def: "false"},
	{field: "allow_privileged", flag: "allow-privileged", form: kubeTruth, def: "false"},
	{field: "kubelet_client_certificate", flag: "kubelet-client-certificate"},
	{field: "kubelet_client_key", flag: "kubelet-client-key"},
	{field: "kubelet_certificate_authority", flag: "kubelet-certificate-authority"},
	{field: "client_ca_file", flag: "client-ca-file"},
	{field: "tls_cert_file", flag: "tls-cert-file"},
	{field: "tls_private_key_file", flag: "tls-private-key-file"},
	{field: "tls_cipher_suites", flag: "tls-cipher-suites", form: kubeList},
	{field: "tls_min_version", flag: "tls-min-version", def: "VersionTLS12"},
	{field: "etcd_cafile", flag: "etcd-cafile"},
	{field: "etcd_certfile", flag: "etcd-certfile"},
	{field: "etcd_keyfile", flag: "etcd-keyfile"},
	{field: "encryption_provider_config", flag: "encryption-provider-config"},
	{field: "audit_log_path", flag: "audit-log-path"},
	{field: "audit_log_maxage", flag: "audit-log-maxage", form: kubeNumber, def: "0"},
	{field: "audit_log_maxbackup", flag: "audit-log-maxbackup", form: kubeNumber, def: "0"},
	{field: "audit_log_maxsize", flag: "audit-log-maxsize", form: kubeNumber, def: "0"},
	{field: "audit_policy_file", flag: "audit-policy-file"},
	{field: "audit_webhook_config_file", flag: "audit-webhook-config-file"},
	{field: "profiling", flag: "profiling", form: kubeTruth, def: "true"},
	{field: "request_timeout", flag: "request-timeout", form: kubeSeconds, def: "1m"},
	{field: "service_account_lookup", flag: "service-account-lookup", form: kubeTruth, def: "true"},
	{field: "service_account_key_file", flag: "service-account-key-file", form: kubeList},
	{field: "service_account_extend_token_expiration", flag: "service-account-extend-token-expiration", form: kubeTruth, def: "true"},

	{flag: "anonymous-auth", form: kubeTruth}, {flag: "authorization-mode"}, {flag: "authorization-config"}, {flag: "authentication-config"},
	{flag: "enable-admission-plugins"}, {flag: "disable-admission-plugins"}, {flag: "admission-control"}, {flag: "etcd-servers"}, {flag: "feature-gates"},
	{flag: "service-account-issuer"}, {flag: "service-account-signing-key-file"}, {flag: "service-cluster-ip-range"}, {flag: "advertise-address"}, {flag: "secure-port"},
	{flag: "enable-aggregator-routing", form: kubeTruth}, {flag: "contention-profiling", form: kubeTruth}, {flag: "encryption-provider-config-automatic-reload", form: kubeTruth},
	{flag: "enable-garbage-collector", form: kubeTruth}, {flag: "enable-priority-and-fairness", form: kubeTruth}, {flag: "permit-address-sharing", form: kubeTruth},
	{flag: "permit-port-sharing", form: kubeTruth}, {flag: "audit-log-compress", form: kubeTruth}, {flag: "watch-cache", form: kubeTruth},
	{flag: "authorization-webhook-use-service-resolution", form: kubeTruth},
}

// admissionDefaults are the admission plugins that are on unless a flag turns them off, as of 1.34 (kube-apiserver --help); those that
// are not in an older one make no difference to a check.
var admissionDefaults = []string{
	"CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction", "DefaultIngressClass", "DefaultStorageClass", "DefaultTolerationSeconds", "LimitRanger",
	"MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "NamespaceLifecycle", "PersistentVolumeClaimResize", "PodSecurity", "PodTopologyLabels", "Priority", "ResourceQuota",
	"RuntimeClass", "ServiceAccount", "StorageObjectInUseProtection", "TaintNodesByCondition", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
}

// kubernetesUntil are the days until which minor versions get fixes, by https://kubernetes.io/releases/ as of November 2026.
var kubernetesUntil = map[int]string{
	29: "2025-02-28", 30: "2025-06-28", 31: "2025-10-28", 32: "2026-02-28", 33: "2026-06-28", 34: "2026-10-27", 35: "2027-02-28", 36: "2027-06-28", 37: "2027-10-28",
}

// setKubernetesSupport says whether a version such as v1.34.1 still gets fixes. Of one that is newer than the list nothing is known.
func setKubernetesSupport(f event.Fact, version string, now time.Time) {
	var minor int
	if _, err := fmt.Sscanf(version, "v1.%d", &minor); err != nil {
		return
	}
	until, ok := kubernetesUntil[minor]
	switch {
	case ok:
		f.Set("until", until).Set("supported", now.UTC().Format(time.DateOnly) <= until)
	case minor < 29:
		f.Set("supported", false)
	}
}

// apiServerFact is what an API server's flags say, and the files that they name.
func (s *Surveys) apiServerFact(c *kubeComponent) event.Fact {
	f := c.fact(s, event.APIServer)
	setKubernetesSupport(f, c.version(), time.Now())
	flags := parseKubeFlags(c.args, apiServerSettings)
	setKube(f, apiServerSettings, flags, nil, false)
	for _, read := range []func(*kubeComponent, kubeFlags, event.Fact) error{s.anonymity, s.authorization, s.admission, s.etcdServers} {
		if err := read(c, flags, f); err != nil && f.Err() == "" {
			f.Fail(err)
		}
	}
	return f
}

// anonymity is who may come without credentials: by the flag, or by the file that says so more exactly.
func (s *Surveys) anonymity(c *kubeComponent, flags kubeFlags, f event.Fact) error {
	paths := []string{}
	anonymous, err := flags.truth("anonymous-auth", true)
	if err != nil {
		return err
	}
	if file := flags.text("authentication-config"); file != "" {
		v, err := s.kubeYAML(c.outside(file))
		if err != nil {
			return err
		}
		if a := v.get("anonymous"); a != nil {
			anonymous = a.get("enabled").yes()
			for _, condition := range a.get("conditions").items() {
				paths = append(paths, condition.get("path").string())
			}
		}
	}
	health := len(paths) > 0 && !slices.ContainsFunc(paths, func(p string) bool { return !slices.Contains([]string{"/livez", "/readyz", "/healthz"}, p) })
	f.Set("anonymous_auth", anonymous).Set("anonymous_paths", paths).Set("anonymous_health_only", anonymous && health)
	return nil
}

// truth is the last value of a switch.
func (f kubeFlags) truth(name string, def bool) (bool, error) {
	value, err := f.value(kubeSetting{flag: name, form: kubeTruth})
	if value == nil {
		return def, err
	}
	return value.(bool), nil
}

// lists is what a flag of lists says, in all its places.
func (f kubeFlags) lists(name string) ([]string, error) {
	value, err := f.value(kubeSetting{flag: name, form: kubeList})
	if value == nil {
		return nil, err
	}
	return value.([]string), nil
}

// authorization is who decides: by the flag, or by the file that says so in more detail.
func (s *Surveys) authorization(c *kubeComponent, flags kubeFlags, f event.Fact) error {
	modes, err := flags.lists("authorization-mode")
	if err != nil {
		return err
	}
	if file := flags.text("authorization-config"); file != "" {
		v, err := s.kubeYAML(c.outside(file))
		if err != nil {
			return err
		}
		modes = []string{}
		for _, a := range v.get("authorizers").items() {
			modes = append(modes, a.get("type").string())
		}
	} else if len(modes) == 0 {
		modes = []string{"AlwaysAllow"}
	}
	f.Set("authorization_mode", modes)
	return nil
}

// admission are the plugins that are on. The flag --admission-control, which is no longer there in newer ones, names all of them.
func (s *Surveys) admission(_ *kubeComponent, flags kubeFlags, f event.Fact) error {
	all, err := flags.lists("admission-control")
	more, errMore := flags.lists("enable-admission-plugins")
	less, errLess := flags.lists("disable-admission-plugins")
	if err := errors.Join(err, errMore, errLess); err != nil {
		return err
	}
	on := map[string]bool{}
	if all == nil {
		all = admissionDefaults
	}
	for _, name := range slices.Concat(all, more) {
		on[name] = true
	}
	for _, name := range less {
		delete(on, name)
	}
	f.Set("admission_plugins", append([]string{}, slices.Sorted(maps.Keys(on))...))
	return nil
}

func (s *Surveys) etcdServers(_ *kubeComponent, flags kubeFlags, f event.Fact) error {
	servers, err := flags.lists("etcd-servers")
	if err != nil {
		return err
	}
	shown, local := []string{}, len(servers) > 0
	for _, server := range servers {
		shown = append(shown, schemeAndHost(server))
		local = local && strings.HasPrefix(server, "unix:")
	}
	f.Set("etcd_servers", shown).Set("etcd_local", local)
	return nil
}

// controllerManagerSettings are the controller manager's, by https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/.
var controllerManagerSettings = []kubeSetting{
	{field: "bind_address", flag: "bind-address", def: "0.0.0.0"},
	{field: "profiling", flag: "profiling", form: kubeTruth, def: "true"},
	{field: "terminated_pod_gc_threshold", flag: "terminated-pod-gc-threshold", form: kubeNumber, def: "12500"},
	{field: "use_service_account_credentials", flag: "use-service-account-credentials", form: kubeTruth, def: "false"},
	{field: "service_account_private_key_file", flag: "service-account-private-key-file"},
	{field: "root_ca_file", flag: "root-ca-file"},

	{flag: "feature-gates"}, {flag: "kubeconfig"}, {flag: "cluster-signing-cert-file"}, {flag: "cluster-signing-key-file"}, {flag: "controllers"}, {flag: "cluster-name"},
	{flag: "allocate-node-cidrs", form: kubeTruth}, {flag: "leader-elect", form: kubeTruth}, {flag: "configure-cloud-routes", form: kubeTruth},
	{flag: "contention-profiling", form: kubeTruth}, {flag: "enable-dynamic-provisioning", form: kubeTruth}, {flag: "enable-garbage-collector", form: kubeTruth},
	{flag: "enable-hostpath-provisioner", form: kubeTruth},
}

func (s *Surveys) controllerManagerFact(c *kubeComponent) event.Fact {
	f := c.fact(s, event.ControllerManager)
	flags := parseKubeFlags(c.args, controllerManagerSettings)
	setKube(f, controllerManagerSettings, flags, nil, false)
	features := map[string]bool{}
	if err := flags.features(features); err != nil {
		f.Fail(err)
	}
	return f.Set("rotate_kubelet_server_certificate", feature(features, "RotateKubeletServerCertificate"))
}

// schedulerSettings are the scheduler's, by https://kubernetes.io/docs/reference/command-line-tools-reference/kube-scheduler/ and
// https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/. If it has a configuration, its flag --profiling is ignored.
var schedulerSettings = []kubeSetting{
	{field: "bind_address", flag: "bind-address", def: "0.0.0.0"},
	{field: "profiling", flag: "profiling", path: "enableProfiling", form: kubeTruth, def: "true"},

	{flag: "config"}, {flag: "kubeconfig"}, {flag: "authentication-kubeconfig"}, {flag: "authorization-kubeconfig"}, {flag: "feature-gates"},
	{flag: "leader-elect", form: kubeTruth}, {flag: "contention-profiling", form: kubeTruth},
}

func (s *Surveys) kubeSchedulerFact(c *kubeComponent) event.Fact {
	f := c.fact(s, event.KubeScheduler)
	flags := parseKubeFlags(c.args, schedulerSettings)
	var config *kubeValue
	if file := flags.text("config"); file != "" {
		var err error
		if config, err = s.kubeYAML(c.outside(file)); err != nil {
			return f.Fail(fmt.Errorf("configuration: %w", err))
		}
		delete(flags.values, "profiling")
	}
	setKube(f, schedulerSettings, flags, config, false)
	return f
}

// proxySettings are kube-proxy's, by https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/. If it has a
// configuration, flags of the same settings are ignored.
var proxySettings = []kubeSetting{
	{field: "metrics_bind_address", flag: "metrics-bind-address", path: "metricsBindAddress", def: "127.0.0.1:10249", zero: true},
	{field: "profiling", flag: "profiling", path: "enableProfiling", form: kubeTruth, def: "false"},

	{flag: "config"}, {flag: "kubeconfig"}, {flag: "hostname-override"}, {flag: "cluster-cidr"}, {flag: "proxy-mode"}, {flag: "feature-gates"},
	{flag: "masquerade-all", form: kubeTruth}, {flag: "cleanup", form: kubeTruth}, {flag: "ipvs-strict-arp", form: kubeTruth}, {flag: "bind-address-hard-fail", form: kubeTruth},
}

func (s *Surveys) kubeProxyFact(c *kubeComponent) event.Fact {
	f := c.fact(s, event.KubeProxy)
	flags := parseKubeFlags(c.args, proxySettings)
	var config *kubeValue
	if file := flags.text("config"); file != "" {
		file, err := s.podFile(c, file)
		if err == nil {
			config, err = s.kubeYAML(file)
		}
		if err != nil {
			return f.Fail(fmt.Errorf("configuration: %w", err))
		}
		f.Set("config_file", file)
		for _, setting := range proxySettings {
			if setting.path != "" {
				delete(flags.values, setting.flag)
			}
		}
	} else {
		f.Set("config_file", "")
	}
	setKube(f, proxySettings, flags, config, false)
	address, _ := f.Values["metrics_bind_address"].(string)
	return f.Set("metrics_local", address == "" || loopback(address))
}

// podFile is where the machine has a file of a component's pod. Of a pod that came from the API server it is in what the kubelet has
// mounted there: a ConfigMap, whose directory in the pod has the name that the file's has.
func (s *Surveys) podFile(c *kubeComponent, file string) (string, error) {
	if c.podID == "" || isHash(c.podID) {
		return c.outside(file), nil
	}
	found, err := s.glob(path.Join("/var/lib/kubelet/pods", c.podID, "volumes/kubernetes.io~configmap/*", path.Base(file)))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s of pod %s: want it in one of the pod's ConfigMaps, found it in %d", file, c.podID, len(found))
	}
	return found[0], nil
}

// etcdSettings are etcd's, by https://etcd.io/docs/v3.6/op-guide/configuration/. A configuration file replaces all flags, and a flag
// the variable of the environment.
var etcdSettings = []kubeSetting{
	{field: "data_dir", flag: "data-dir", path: "data-dir"},
	{field: "cert_file", flag: "cert-file", path: "client-transport-security.cert-file"},
	{field: "key_file", flag: "key-file", path: "client-transport-security.key-file"},
	{field: "trusted_ca_file", flag: "trusted-ca-file", path: "client-transport-security.trusted-ca-file"},
	{field: "client_cert_auth", flag: "client-cert-auth", path: "client-transport-security.client-cert-auth", form: kubeTruth, def: "false"},
	{field: "auto_tls", flag: "auto-tls", path: "client-transport-security.auto-tls", form: kubeTruth, def: "false"},
	{field: "peer_cert_file", flag: "peer-cert-file", path: "peer-transport-security.cert-file"},
	{field: "peer_key_file", flag: "peer-key-file", path: "peer-transport-security.key-file"},
	{field: "peer_trusted_ca_file", flag: "peer-trusted-ca-file", path: "peer-transport-security.trusted-ca-file"},
	{field: "peer_client_cert_auth", flag: "peer-client-cert-auth", path: "peer-transport-security.client-cert-auth", form: kubeTruth, def: "false"},
	{field: "peer_auto_tls", flag: "peer-auto-tls", path: "peer-transport-security.auto-tls", form: kubeTruth, def: "false"},

	{flag: "config-file"}, {flag: "listen-client-urls", path: "listen-client-urls", def: "http://localhost:2379"}, {flag: "name"},
	{flag: "force-new-cluster", form: kubeTruth}, {flag: "enable-pprof", form: kubeTruth}, {flag: "pre-vote", form: kubeTruth}, {flag: "strict-reconfig-check", form: kubeTruth},
	{flag: "debug", form: kubeTruth}, {flag: "enable-v2", form: kubeTruth}, {flag: "experimental-initial-corrupt-check", form: kubeTruth}, {flag: "unsafe-no-fsync", form: kubeTruth},
	{flag: "enable-log-rotation", form: kubeTruth}, {flag: "experimental-watch-progress-notify-interval"}, {flag: "version", form: kubeTruth},
}

// etcdFact is what an etcd's flags, environment or configuration say.
func (n *kubeNode) etcdFact(c *kubeComponent) event.Fact {
	f := c.fact(n.s, event.Etcd)
	flags, config, err := n.s.etcdConfig(c)
	if err != nil {
		return f.Fail(fmt.Errorf("configuration: %w", err))
	}
	setKube(f, etcdSettings, flags, config, false)
	listen := flags.text("listen-client-urls")
	if config != nil {
		listen = config.get("listen-client-urls").string()
	}
	plain := plainAddresses(listen)
	return f.Set("plain", len(plain) > 0).Set("plain_clients", plain)
}

// etcdConfig is what counts of an etcd: its configuration file alone, or its flags over its environment.
func (s *Surveys) etcdConfig(c *kubeComponent) (flags kubeFlags, config *kubeValue, err error) {
	flags = parseGoFlags(c.args, etcdSettings)
	env := c.env
	if c.pid != 0 {
		if env, err = s.environ(c.pid, "ETCD_"); err != nil {
			return flags, nil, err
		}
	}
	for _, setting := range etcdSettings {
		value, ok := env["ETCD_"+strings.ToUpper(strings.ReplaceAll(setting.flag, "-", "_"))]
		if _, given := flags.values[setting.flag]; ok && value != "" && !given {
			flags.values[setting.flag] = []string{value}
		}
	}
	if file := flags.text("config-file"); file != "" {
		config, err = s.kubeYAML(c.outside(file))
		return kubeFlags{values: map[string][]string{}}, config, err
	}
	return flags, nil, nil
}

// plainAddresses are those of addresses without TLS that others than this machine reach.
func plainAddresses(list string) []string {
	all := []string{}
	for address := range strings.SplitSeq(list, ",") {
		host, plain := strings.CutPrefix(strings.TrimSpace(address), "http://")
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if plain && !loopback(host) {
			all = append(all, "http://"+host)
		}
	}
	return all
}

// etcdAuthorityFact says whether an etcd knows its clients by another authority than the cluster its own, so that not everybody with a
// certificate of the cluster can read all that it stores. Where either is not named there is nothing to say.
func (n *kubeNode) etcdAuthorityFact(c *kubeComponent) (f event.Fact, known bool) {
	flags, config, err := n.s.etcdConfig(c)
	ca := flags.text("trusted-ca-file")
	if config != nil {
		ca = config.get("client-transport-security", "trusted-ca-file").string()
	}
	clusters := n.clusterCA()
	if err != nil || ca == "" || clusters == "" {
		return f, false
	}
	ca = c.outside(ca)
	f = event.EtcdAuthority.New(c.subject(), ca).Set("etcd_ca", ca).Set("cluster_ca", clusters)
	ours, err := n.s.read(ca, maxKubeFile)
	if err != nil {
		return f.Fail(err), true
	}
	theirs, err := n.s.read(clusters, maxKubeFile)
	if err != nil {
		return f.Fail(err), true
	}
	return f.Set("own", ca != clusters && !sharesCertificate(ours, theirs)), true
}

// clusterCA is the authority of the cluster's clients, as far as the API server or a kubelet here name it; empty if neither does.
func (n *kubeNode) clusterCA() string {
	for _, c := range n.of("kube-apiserver") {
		if file := parseKubeFlags(c.args, apiServerSettings).text("client-ca-file"); file != "" {
			return c.outside(file)
		}
	}
	for _, c := range n.of("kubelet") {
		flags := parseKubeFlags(c.args, kubeletSettings)
		file := flags.text("client-ca-file")
		if config, err := n.s.kubeletConfig(c, flags); file == "" && err == nil {
			file = config.value.get("authentication", "x509", "clientCAFile").string()
		}
		if file != "" {
			return c.outside(file)
		}
	}
	return ""
}
