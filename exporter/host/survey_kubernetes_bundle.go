package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Where k3s and rke2 keep their data unless they are told otherwise, and microk8s its flags.
const (
	k3sData      = "/var/lib/rancher/k3s"
	rke2Data     = "/var/lib/rancher/rke2"
	microk8sArgs = "/var/snap/microk8s/current/args"
	microk8sSnap = "/var/snap/microk8s/current"
)

// fromBundles adds the parts of distributions that have all of them in one process. Which flags that gives them is in no process's
// arguments: k3s hides even its own.
func (n *kubeNode) fromBundles() {
	for _, d := range []struct{ name, data, agent, server string }{
		{"k3s", k3sData, "k3s-agent.service", "k3s.service"}, {"rke2", rke2Data, "rke2-agent.service", "rke2-server.service"},
	} {
		if len(n.components) > 0 && d.name == "k3s" || n.has("kubelet") {
			continue // a process is better than what files tell
		}
		b, err := n.rancher(d.name, d.data, d.agent, d.server)
		if err != nil {
			n.trouble(d.name, "/etc/rancher/"+d.name, err)
		}
		if b != nil {
			n.addRancher(b)
		}
	}
	if !n.has("kubelet") && n.there(microk8sArgs) {
		n.addMicroK8s()
	}
}

// A rancherBundle is a k3s or an rke2 by its own settings.
type rancherBundle struct {
	name   string
	server bool
	data   string
	pid    int
	source string
	flags  kubeFlags
}

// rancherSettings are flags of k3s and rke2: those that are of interest, and those without a value.
var rancherSettings = []kubeSetting{
	{flag: "secrets-encryption", form: kubeTruth}, {flag: "protect-kernel-defaults", form: kubeTruth}, {flag: "disable-kube-proxy", form: kubeTruth}, {flag: "disable-agent", form: kubeTruth},
	{flag: "disable-apiserver", form: kubeTruth}, {flag: "disable-scheduler", form: kubeTruth}, {flag: "disable-controller-manager", form: kubeTruth}, {flag: "disable-etcd", form: kubeTruth},
	{flag: "cluster-init", form: kubeTruth}, {flag: "rootless", form: kubeTruth}, {flag: "docker", form: kubeTruth}, {flag: "selinux", form: kubeTruth}, {flag: "debug", form: kubeTruth},
	{flag: "data-dir"}, {flag: "datastore-endpoint"}, {flag: "kubelet-arg"}, {flag: "kube-apiserver-arg"}, {flag: "kube-controller-manager-arg"}, {flag: "kube-scheduler-arg"},
	{flag: "kube-proxy-arg"}, {flag: "node-name"},
}

// rancher finds k3s or rke2, nil if it is not here: by its unit, its configuration (https://docs.k3s.io/installation/configuration) and
// its process.
func (n *kubeNode) rancher(name, data, agentUnit, serverUnit string) (*rancherBundle, error) {
	b := &rancherBundle{name: name, data: data}
	var args []string
	for _, u := range []string{serverUnit, agentUnit} {
		unit, err := n.s.kubeUnit(u)
		if err != nil {
			return nil, err
		}
		if len(unit.command) == 0 || b.source != "" {
			continue
		}
		b.source, b.server, args = unit.at, u == serverUnit, unit.command[1:]
	}
	for _, p := range n.bundles {
		if p.program != name || len(p.args) == 0 || p.args[0] != "server" && p.args[0] != "agent" {
			continue
		}
		b.pid, b.server = p.pid, p.args[0] == "server"
		if b.source == "" {
			b.source, args = fmt.Sprintf("/proc/%d/cmdline", p.pid), p.args
		}
	}
	if b.source == "" {
		return nil, nil
	}
	config, err := n.rancherConfig(name)
	if err != nil {
		return nil, err
	}
	b.flags = parseKubeFlags(append(config, shortDataDir(args)...), rancherSettings)
	if dir := b.flags.text("data-dir"); dir != "" {
		b.data = path.Clean("/" + dir)
	}
	return b, nil
}

// shortDataDir writes -d DIR as the flag that it is short for.
func shortDataDir(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "-d" {
			args[i] = "--data-dir"
		}
	}
	return args
}

// rancherConfig are the flags that a configuration file and its drop-ins stand for. A later file replaces what an earlier one says, or
// with a + behind the key adds to it.
func (n *kubeNode) rancherConfig(name string) (args []string, err error) {
	main := path.Join("/etc/rancher", name, "config.yaml")
	files, err := n.s.glob(main + ".d/*.yaml")
	if err != nil {
		return nil, err
	}
	values, order := map[string][]string{}, []string{}
	for _, file := range append([]string{main}, files...) {
		v, err := n.s.kubeYAML(file)
		if Absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for key, value := range v.mapping() {
			plain, more := strings.CutSuffix(key, "+")
			texts := value.strings()
			if value != nil && value.list == nil {
				texts = []string{value.string()}
			}
			if more {
				texts = append(values[plain], texts...)
			}
			if values[plain] == nil {
				order = append(order, plain)
			}
			values[plain] = texts
		}
	}
	slices.Sort(order)
	for _, key := range order {
		for _, text := range values[key] {
			args = append(args, "--"+key+"="+text)
		}
	}
	return args, nil
}

// on says whether a switch of the bundle is given.
func (b *rancherBundle) on(name string) bool {
	truth, err := b.flags.truth(name, false)
	return truth && err == nil
}

// args are the arguments of a part: the bundle's own, each in the place of which its users' may stand.
func (b *rancherBundle) args(part string, own [][2]string) (args []string) {
	replaced, added := map[string]bool{}, map[string]string{}
	var given []string
	for _, text := range b.flags.values[part+"-arg"] {
		name, value, ok := strings.Cut(strings.TrimPrefix(text, "--"), "=")
		if plain, more := strings.CutSuffix(name, "+"); more {
			added[plain] += "," + value
			continue
		}
		replaced[name] = true
		if !ok {
			value = "true"
		}
		given = append(given, "--"+name+"="+value)
	}
	for _, flag := range own {
		if !replaced[flag[0]] {
			args = append(args, "--"+flag[0]+"="+flag[1]+added[flag[0]])
		}
	}
	return append(args, given...)
}

// addRancher adds the parts of a bundle. Of rke2 only the kubelet: the others are static pods. What k3s gives its parts is as of its
// sources for 1.34, https://github.com/k3s-io/k3s/tree/master/pkg/daemons.
func (n *kubeNode) addRancher(b *rancherBundle) {
	n.bundle = b.name
	add := func(program, part string, own [][2]string) {
		n.add(kubeComponent{program: program, args: b.args(part, own), source: b.source, pid: b.pid, env: map[string]string{}})
	}
	if b.server && b.name == "k3s" {
		if !b.on("disable-apiserver") {
			add("kube-apiserver", "kube-apiserver", n.k3sAPIServer(b))
		}
		tls := b.data + "/server/tls/"
		if !b.on("disable-controller-manager") {
			add("kube-controller-manager", "kube-controller-manager", [][2]string{
				{"bind-address", "127.0.0.1"}, {"profiling", "false"}, {"use-service-account-credentials", "true"}, {"root-ca-file", tls + "server-ca.crt"},
				{"service-account-private-key-file", tls + "service.current.key"}, {"kubeconfig", b.data + "/server/cred/controller.kubeconfig"},
			})
		}
		if !b.on("disable-scheduler") {
			add("kube-scheduler", "kube-scheduler", [][2]string{
				{"bind-address", "127.0.0.1"}, {"profiling", "false"}, {"kubeconfig", b.data + "/server/cred/scheduler.kubeconfig"},
			})
		}
		if file := b.data + "/server/db/etcd/config"; n.there(file) {
			add("etcd", "etcd", [][2]string{{"config-file", file}})
		}
	}
	if b.server && b.on("disable-agent") {
		return
	}
	add("kubelet", "kubelet", n.rancherKubelet(b))
	if b.name == "k3s" && !b.on("disable-kube-proxy") {
		add("kube-proxy", "kube-proxy", [][2]string{{"kubeconfig", b.data + "/agent/kubeproxy.kubeconfig"}})
	}
}

func (n *kubeNode) k3sAPIServer(b *rancherBundle) [][2]string {
	tls := b.data + "/server/tls/"
	own := [][2]string{
		{"anonymous-auth", "false"}, {"authorization-mode", "Node,RBAC"}, {"profiling", "false"}, {"allow-privileged", "true"}, {"bind-address", "127.0.0.1"},
		{"enable-admission-plugins", "NodeRestriction"}, {"client-ca-file", tls + "client-ca.crt"}, {"enable-bootstrap-token-auth", "true"},
		{"kubelet-certificate-authority", tls + "server-ca.crt"}, {"kubelet-client-certificate", tls + "client-kube-apiserver.crt"}, {"kubelet-client-key", tls + "client-kube-apiserver.key"},
		{"service-account-key-file", tls + "service.key"}, {"service-account-signing-key-file", tls + "service.current.key"},
		{"tls-cert-file", tls + "serving-kube-apiserver.crt"}, {"tls-private-key-file", tls + "serving-kube-apiserver.key"},
		{"tls-cipher-suites", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"},
	}
	if b.on("secrets-encryption") {
		own = append(own, [2]string{"encryption-provider-config", b.data + "/server/cred/encryption-config.json"})
	}
	switch endpoint := b.flags.text("datastore-endpoint"); {
	case strings.HasPrefix(endpoint, "https://"):
		for flag, of := range map[string]string{"etcd-cafile": "datastore-cafile", "etcd-certfile": "datastore-certfile", "etcd-keyfile": "datastore-keyfile"} {
			own = append(own, [2]string{flag, b.flags.text(of)})
		}
		return append(own, [2]string{"etcd-servers", endpoint})
	case endpoint == "" && n.there(b.data+"/server/db/etcd"):
		return append(own, [2]string{"etcd-servers", "https://127.0.0.1:2379"}, [2]string{"etcd-cafile", tls + "etcd/server-ca.crt"},
			[2]string{"etcd-certfile", tls + "etcd/client.crt"}, [2]string{"etcd-keyfile", tls + "etcd/client.key"})
	}
	return append(own, [2]string{"etcd-servers", "unix://" + b.data + "/server/kine.sock"}) // a database behind k3s' own translation
}

// rancherKubelet are the kubelet's own flags: since 1.32 most settings are in a directory of drop-ins.
func (n *kubeNode) rancherKubelet(b *rancherBundle) [][2]string {
	agent := b.data + "/agent/"
	own := [][2]string{{"kubeconfig", agent + "kubelet.kubeconfig"}, {"read-only-port", "0"}, {"hostname-override", cmp.Or(b.flags.text("node-name"), "(the name of the node)")}}
	if dir := agent + "etc/kubelet.conf.d"; n.there(dir) {
		return append(own, [2]string{"config-dir", dir})
	}
	own = append(own, [2]string{"anonymous-auth", "false"}, [2]string{"authentication-token-webhook", "true"}, [2]string{"authorization-mode", "Webhook"},
		[2]string{"client-ca-file", agent + "client-ca.crt"}, [2]string{"tls-cert-file", agent + "serving-kubelet.crt"}, [2]string{"tls-private-key-file", agent + "serving-kubelet.key"})
	if b.on("protect-kernel-defaults") {
		own = append(own, [2]string{"protect-kernel-defaults", "true"})
	}
	return own
}

// addMicroK8s adds the parts of microk8s by the files of flags that it gives them, https://microk8s.io/docs/configuring-services. A node
// that has joined as a worker has no control plane.
func (n *kubeNode) addMicroK8s() {
	n.bundle = "microk8s"
	pid := 0
	for _, p := range n.bundles {
		if p.program == "kubelite" {
			pid = p.pid
		}
	}
	worker := n.there(microk8sSnap + "/var/lock/clustered.lock")
	for _, program := range kubePrograms {
		file := path.Join(microk8sArgs, program)
		if worker && program != "kubelet" && program != "kube-proxy" || program == "etcd" {
			continue
		}
		text, there, err := n.s.configText(file)
		if err != nil {
			n.trouble(program, file, err)
		}
		if !there || err != nil {
			continue
		}
		c := kubeComponent{program: program, source: file, pid: pid}
		joinedLines(text, "#", func(_ int, line string) {
			for _, word := range shellWords(line) {
				word = strings.NewReplacer("${SNAP_DATA}", microk8sSnap, "$SNAP_DATA", microk8sSnap, "${SNAP_COMMON}", "/var/snap/microk8s/common", "$SNAP_COMMON", "/var/snap/microk8s/common").Replace(word)
				c.args = append(c.args, word)
			}
		})
		n.add(c)
	}
}
