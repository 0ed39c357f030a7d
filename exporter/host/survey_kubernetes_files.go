package host

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A kubeFile is a file of Kubernetes whose owner and permissions matter.
type kubeFile struct {
	purpose, path string
	certificates  string // the purpose of certificates in it; empty if there are none
	err           error  // it stands for files that cannot be listed
}

// Bounds of directories of certificates: how deep they are, and the entries of all.
const (
	maxPKIDepth = 4
	maxPKIFiles = 2000
)

// Where well-known distributions have what no flag names. Only what is there is looked at.
var (
	kubePKIDirs = []string{
		"/etc/kubernetes/pki", "/etc/kubernetes/ssl", "/etc/ssl/etcd/ssl", "/srv/kubernetes", "/var/lib/k0s/pki", "/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/rke2/server/tls",
		"/var/snap/microk8s/current/certs",
	}
	kubeAdminConfs = []string{
		"/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf", "/etc/rancher/k3s/k3s.yaml", "/etc/rancher/rke2/rke2.yaml", "/var/lib/rancher/k3s/server/cred/admin.kubeconfig",
		"/var/lib/rancher/rke2/server/cred/admin.kubeconfig", "/var/lib/k0s/pki/admin.conf", "/var/lib/kubectl/kubeconfig", "/var/snap/microk8s/current/credentials/client.config",
	}
	kubeSchedulerConfs = []string{
		"/etc/kubernetes/scheduler.conf", "/var/lib/kube-scheduler/kubeconfig", "/var/lib/k0s/pki/scheduler.conf", "/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig",
		"/var/lib/rancher/rke2/server/cred/scheduler.kubeconfig", "/var/snap/microk8s/current/credentials/scheduler.config",
	}
	kubeControllerConfs = []string{
		"/etc/kubernetes/controller-manager.conf", "/var/lib/kube-controller-manager/kubeconfig", "/var/lib/k0s/pki/ccm.conf", "/var/lib/rancher/k3s/server/cred/controller.kubeconfig",
		"/var/lib/rancher/rke2/server/cred/controller.kubeconfig", "/var/snap/microk8s/current/credentials/controller.config",
	}
	kubeProxyConfs = []string{
		"/etc/kubernetes/proxy.conf", "/etc/kubernetes/kube-proxy.kubeconfig", "/var/lib/kube-proxy/kubeconfig", "/var/lib/rancher/k3s/agent/kubeproxy.kubeconfig",
		"/var/lib/rancher/rke2/agent/kubeproxy.kubeconfig", "/var/snap/microk8s/current/credentials/proxy.config",
	}
	kubeCNIDirs  = []string{"/etc/cni/net.d", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/snap/microk8s/current/args/cni-network"}
	kubeletUnits = []string{
		"kubelet.service", "k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service", "k0scontroller.service", "k0sworker.service",
		"snap.microk8s.daemon-kubelite.service",
	}
)

// kubeManifestPurposes are what the files of static pods are, by their program.
var kubeManifestPurposes = map[string]string{
	"kube-apiserver": "apiserver_manifest", "kube-controller-manager": "controller_manager_manifest", "kube-scheduler": "scheduler_manifest", "etcd": "etcd_manifest",
}

// KubernetesFiles reports the owner and permissions of the files of Kubernetes.
func (s *Surveys) KubernetesFiles(ctx context.Context, report func(event.Fact)) error {
	n, err := s.kubeNode(ctx)
	if err != nil {
		return err
	}
	seen := map[[2]string]bool{}
	for _, file := range n.files() {
		if ctx.Err() != nil {
			return nil // an error would be of the files of all others too
		}
		key := [2]string{file.purpose, file.path}
		switch {
		case seen[key] || file.purpose == "":
		case file.err != nil:
			report(event.File.New(file.path, file.path).Set("path", file.path).Set("purpose", file.purpose).Fail(file.err))
		default:
			report(s.FileFact(file.purpose, file.path))
		}
		seen[key] = true
	}
	return nil
}

// files are all files of Kubernetes on the machine, some of them more than once.
func (n *kubeNode) files() (all []kubeFile) {
	if len(n.components) == 0 && len(n.troubles) == 0 {
		return nil
	}
	for _, m := range n.manifests {
		all = append(all, kubeFile{purpose: kubeManifestPurposes[m.program], path: m.file})
	}
	for _, t := range n.troubles {
		if purpose := kubeManifestPurposes[t.program]; purpose != "" && path.IsAbs(t.subject) {
			all = append(all, kubeFile{purpose: purpose, path: t.subject})
		}
	}
	all = append(all, n.cniFiles()...)
	if n.controlPlane() {
		all = append(all, n.controlFiles()...)
	}
	for _, c := range n.of("etcd") {
		all = append(all, n.etcdFiles(c)...)
	}
	if n.controlPlane() || n.has("etcd") {
		all = append(all, n.pkiFiles()...)
	}
	if n.has("kubelet") {
		all = append(all, n.nodeFiles()...)
	}
	return all
}

// existing are those of some paths at which there is something, for a purpose.
func (n *kubeNode) existing(purpose, certificates string, paths []string) (all []kubeFile) {
	for _, p := range paths {
		if _, err := n.s.lstat(p); !Absent(err) {
			all = append(all, kubeFile{purpose: purpose, path: p, certificates: certificates})
		}
	}
	return all
}

// cniFiles are the configuration of the network. Of a node that is no part of the control plane they have another purpose, as other
// controls are about it.
func (n *kubeNode) cniFiles() (all []kubeFile) {
	purpose := "worker_cni_conf"
	if n.controlPlane() {
		purpose = "cni_conf"
	}
	for _, dir := range kubeCNIDirs {
		names, err := n.s.readDir(dir)
		if Absent(err) {
			continue
		}
		if err != nil {
			all = append(all, kubeFile{purpose: purpose, path: dir, err: err})
		}
		for i, name := range names {
			if i == maxPKIFiles {
				return append(all, kubeFile{purpose: purpose, path: dir, err: fmt.Errorf("%s: it has more than %d files", dir, maxPKIFiles)})
			}
			if name.Type == "file" || name.Type == "link" {
				all = append(all, kubeFile{purpose: purpose, path: path.Join(dir, name.Name)})
			}
		}
	}
	return all
}

// controlFiles are those of the control plane, but for its certificates.
func (n *kubeNode) controlFiles() []kubeFile {
	all := slices.Concat(n.existing("admin_conf", "kubeconfig", kubeAdminConfs), n.existing("scheduler_conf", "kubeconfig", kubeSchedulerConfs),
		n.existing("controller_manager_conf", "kubeconfig", kubeControllerConfs))
	for _, named := range []struct {
		program, flag, purpose, certificates string
		settings                             []kubeSetting
	}{
		{"kube-scheduler", "kubeconfig", "scheduler_conf", "kubeconfig", schedulerSettings},
		{"kube-controller-manager", "kubeconfig", "controller_manager_conf", "kubeconfig", controllerManagerSettings},
		{"kube-apiserver", "encryption-provider-config", "encryption_config", "", apiServerSettings},
		{"kube-apiserver", "audit-policy-file", "audit_policy", "", apiServerSettings},
		{"kube-apiserver", "audit-log-path", "audit_log", "", apiServerSettings},
		{"kube-apiserver", "token-auth-file", "token_auth_file", "", apiServerSettings},
	} {
		for _, c := range n.of(named.program) {
			if file := parseKubeFlags(c.args, named.settings).text(named.flag); path.IsAbs(file) {
				all = append(all, kubeFile{purpose: named.purpose, path: c.outside(file), certificates: named.certificates})
			}
		}
	}
	return all
}

// etcdFiles are where an etcd stores what it is told.
func (n *kubeNode) etcdFiles(c *kubeComponent) []kubeFile {
	flags, config, err := n.s.etcdConfig(c)
	dir := flags.text("data-dir")
	if config != nil {
		dir = config.get("data-dir").string()
	}
	switch {
	case err != nil:
		return []kubeFile{{purpose: "etcd_data_dir", path: c.subject(), err: err}}
	case dir == "":
		return n.existing("etcd_data_dir", "", []string{"/var/lib/etcd"})
	case !path.IsAbs(dir):
		return []kubeFile{{purpose: "etcd_data_dir", path: dir, err: fmt.Errorf("%s: want an absolute path, to know where it is", dir)}}
	}
	return []kubeFile{{purpose: "etcd_data_dir", path: c.outside(dir)}}
}

// pkiFlags are flags that name certificates and keys of the control plane.
var pkiFlags = []struct {
	program  string
	settings []kubeSetting
	flags    []string
}{
	{"kube-apiserver", apiServerSettings, []string{
		"client-ca-file", "tls-cert-file", "tls-private-key-file", "kubelet-certificate-authority", "kubelet-client-certificate", "kubelet-client-key", "etcd-cafile", "etcd-certfile",
		"etcd-keyfile", "service-account-key-file", "service-account-signing-key-file", "proxy-client-cert-file", "proxy-client-key-file", "requestheader-client-ca-file",
	}},
	{"kube-controller-manager", controllerManagerSettings, []string{
		"service-account-private-key-file", "root-ca-file", "cluster-signing-cert-file", "cluster-signing-key-file", "tls-cert-file", "tls-private-key-file",
	}},
	{"kube-scheduler", schedulerSettings, []string{"tls-cert-file", "tls-private-key-file"}},
}

// pkiFiles are certificates and keys of the control plane: all in the directories that are made for them, and those that flags name.
func (n *kubeNode) pkiFiles() (all []kubeFile) {
	left := maxPKIFiles
	for _, dir := range kubePKIDirs {
		if n.there(dir) {
			all = append(all, n.pkiDir(dir, 0, &left)...)
		}
	}
	for _, named := range pkiFlags {
		for _, c := range n.of(named.program) {
			flags := parseKubeFlags(c.args, named.settings)
			for _, flag := range named.flags {
				for _, file := range flags.values[flag] {
					all = append(all, n.pkiFile(c.outside(file)))
				}
			}
		}
	}
	for _, c := range n.of("etcd") {
		all = append(all, n.etcdPKI(c)...)
	}
	return all
}

func (n *kubeNode) etcdPKI(c *kubeComponent) (all []kubeFile) {
	flags, config, err := n.s.etcdConfig(c)
	if err != nil {
		return nil // told with its data directory
	}
	for _, setting := range etcdSettings {
		if !strings.HasSuffix(setting.flag, "-file") || setting.path == "" {
			continue
		}
		file := flags.text(setting.flag)
		if config != nil {
			file = config.get(strings.Split(setting.path, ".")...).string()
		}
		if file != "" {
			all = append(all, n.pkiFile(c.outside(file)))
		}
	}
	return all
}

// pkiDir looks at a directory of certificates and all below it, as long as there are entries left of what may be looked at.
func (n *kubeNode) pkiDir(dir string, depth int, left *int) (all []kubeFile) {
	all = append(all, kubeFile{purpose: "pki_dir", path: dir})
	names, err := n.s.readDir(dir)
	if *left -= len(names); err == nil && (depth == maxPKIDepth || *left < 0) {
		err = fmt.Errorf("%s: directories of certificates are too deep, or have more than %d entries", dir, maxPKIFiles)
	}
	if err != nil {
		rest := dir + "/*"
		return append(all, kubeFile{purpose: "pki_dir", path: rest, err: err}, kubeFile{purpose: "pki_key", path: rest, err: err}, kubeFile{purpose: "pki_cert", path: rest, err: err})
	}
	for _, name := range names {
		file := path.Join(dir, name.Name)
		switch name.Type {
		case "directory":
			all = append(all, n.pkiDir(file, depth+1, left)...)
		case "file", "link":
			all = append(all, n.pkiFile(file))
		}
	}
	return all
}

// pkiFile says by a file's name, or if that may be of either by what is in it, whether it is a certificate or a key.
func (n *kubeNode) pkiFile(file string) kubeFile {
	switch ext := path.Ext(file); {
	case ext == ".key", strings.HasSuffix(file, "-key.pem"):
		return kubeFile{purpose: "pki_key", path: file}
	case ext == ".crt", ext == ".cert":
		return kubeFile{purpose: "pki_cert", path: file, certificates: "pki"}
	case ext != ".pem":
		return kubeFile{purpose: "pki_other", path: file}
	}
	data, err := n.s.read(file, maxKubeFile)
	if err != nil && !Absent(err) {
		return kubeFile{purpose: "pki_key", path: file, err: err}
	}
	if hasKey(data) {
		return kubeFile{purpose: "pki_key", path: file, certificates: "pki"}
	}
	return kubeFile{purpose: "pki_cert", path: file, certificates: "pki"}
}

// nodeFiles are those of the kubelet and of kube-proxy.
func (n *kubeNode) nodeFiles() (all []kubeFile) {
	for _, name := range kubeletUnits {
		unit, err := n.s.systemdUnit(name)
		if err != nil {
			all = append(all, kubeFile{purpose: "kubelet_service", path: name, err: err})
			continue
		}
		for _, file := range append([]string{unit.file}, unit.dropIns...) {
			if unit.file != "" && file != "" {
				all = append(all, kubeFile{purpose: "kubelet_service", path: file})
			}
		}
	}
	all = append(all, n.existing("proxy_kubeconfig", "kubeconfig", kubeProxyConfs)...)
	for _, c := range n.of("kube-proxy") {
		if file := parseKubeFlags(c.args, proxySettings).text("kubeconfig"); path.IsAbs(file) && (c.podID == "" || isHash(c.podID)) {
			all = append(all, kubeFile{purpose: "proxy_kubeconfig", path: c.outside(file), certificates: "kubeconfig"})
		}
	}
	for _, c := range n.of("kubelet") {
		all = append(all, n.kubeletFiles(c)...)
	}
	return all
}

func (n *kubeNode) kubeletFiles(c *kubeComponent) (all []kubeFile) {
	flags := parseKubeFlags(c.args, kubeletSettings)
	config, err := n.s.kubeletConfig(c, flags)
	if err != nil {
		all = append(all, kubeFile{purpose: "kubelet_ca", path: c.subject(), err: err})
	}
	get := func(flag string, keys ...string) string {
		file := flags.text(flag)
		if file == "" {
			file = config.value.get(keys...).string()
		}
		if file == "" {
			return ""
		}
		return c.outside(file)
	}
	add := func(purpose, file, certificates string) {
		if file == "" {
			return
		}
		all = append(all, kubeFile{purpose: purpose, path: file, certificates: certificates})
		if n.eks && (purpose == "kubelet_kubeconfig" || purpose == "kubelet_config") {
			all = append(all, kubeFile{purpose: "eks_" + purpose, path: file}) // other controls are about it
		}
	}
	add("kubelet_kubeconfig", get("kubeconfig"), "kubeconfig")
	if file := get("bootstrap-kubeconfig"); file != "" && n.there(file) {
		add("kubelet_kubeconfig", file, "")
	}
	for _, file := range append([]string{config.file}, config.dropIns...) {
		add("kubelet_config", file, "")
	}
	add("kubelet_ca", get("client-ca-file", "authentication", "x509", "clientCAFile"), "kubelet_ca")
	add("kubelet_cert", get("tls-cert-file", "tlsCertFile"), "kubelet")
	add("kubelet_key", get("tls-private-key-file", "tlsPrivateKeyFile"), "")
	dir := get("cert-dir")
	if dir == "" {
		dir = path.Join("/", cmp.Or(get("root-dir"), "/var/lib/kubelet"), "pki")
	}
	return append(all, n.kubeletPKI(dir)...)
}

// kubeletPKI are the certificates that a kubelet makes or asks for, with their keys. Of those that it has replaced the old are still
// there, which its links lead past.
func (n *kubeNode) kubeletPKI(dir string) (all []kubeFile) {
	names, err := n.s.readDir(dir)
	if Absent(err) {
		return nil
	}
	if err == nil && len(names) > maxPKIFiles {
		err = fmt.Errorf("%s: it has more than %d files", dir, maxPKIFiles)
	}
	if err != nil {
		return []kubeFile{{purpose: "kubelet_key", path: dir, err: err}}
	}
	for _, name := range names {
		file := path.Join(dir, name.Name)
		switch ext := path.Ext(name.Name); {
		case ext == ".crt":
			all = append(all, kubeFile{purpose: "kubelet_cert", path: file, certificates: "kubelet"})
		case ext == ".pem" && strings.HasSuffix(name.Name, "-current.pem"):
			all = append(all, kubeFile{purpose: "kubelet_key", path: file, certificates: "kubelet"})
		case ext == ".key", ext == ".pem":
			all = append(all, kubeFile{purpose: "kubelet_key", path: file})
		}
	}
	return all
}
