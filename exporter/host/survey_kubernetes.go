package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A kubeComponent is a part of Kubernetes that runs on this machine, or would, as far as files tell.
type kubeComponent struct {
	program string
	args    []string
	source  string // where its flags were read: /proc/PID/cmdline, or file:line
	pid     int    // 0 if it does not run
	podID   string // of the pod that it runs in
	image   string
	mounts  []kubeMount
	env     map[string]string // as far as it is known and of interest
	number  int               // from 1, among those of its program
}

// subject is the program, with a number if it is not the first of it.
func (c *kubeComponent) subject() string {
	if c.number > 1 {
		return fmt.Sprintf("%s %d", c.program, c.number)
	}
	return c.program
}

// outside is where the machine has a file that the component names: its own path, or that of the directory that is mounted there.
func (c *kubeComponent) outside(file string) string {
	file = path.Clean("/" + file)
	best := kubeMount{}
	for _, m := range c.mounts {
		if within(file, m.inside) && len(m.inside) >= len(best.inside) {
			best = m
		}
	}
	if best.inside == "" {
		return file
	}
	return path.Join(best.outside, strings.TrimPrefix(file, best.inside))
}

// within says whether a path is a directory, or below it.
func within(file, dir string) bool {
	return file == dir || dir == "/" || strings.HasPrefix(file, dir+"/")
}

// version is the tag of its image, if that is a version.
func (c *kubeComponent) version() string {
	name, _, _ := strings.Cut(c.image, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		if tag := name[at+1:]; len(tag) > 1 && tag[0] == 'v' && tag[1] >= '0' && tag[1] <= '9' {
			return tag
		}
	}
	return ""
}

// fact begins a fact of the component.
func (c *kubeComponent) fact(s *Surveys, kind *event.FactKind) event.Fact {
	f := kind.New(c.subject(), c.source)
	if s.Live() {
		f.Set("running", c.pid != 0)
	}
	if version := c.version(); version != "" && kind.Field("version") != nil {
		f.Set("version", version)
	}
	return f
}

// A kubeNode is what there is of Kubernetes on the machine.
type kubeNode struct {
	s          *Surveys
	components []kubeComponent
	manifests  []kubeContainer
	troubles   []kubeTrouble
	bundle     string // k3s or microk8s: its parts are in one process, by flags that files hold
	bundles    []kubeProcess
	eks        bool
}

// kubeNode looks for everything of Kubernetes. A machine without it has no components and no troubles.
func (s *Surveys) kubeNode(ctx context.Context) (*kubeNode, error) {
	n := &kubeNode{s: s}
	processes, troubles, err := s.kubeProcesses(ctx)
	if err != nil {
		return nil, err
	}
	n.troubles = troubles
	for _, p := range processes {
		if slices.Contains(kubeBundles, p.program) {
			n.bundles = append(n.bundles, p)
			continue
		}
		if c := p.component(); c.program != "kubelet" || n.joined(&c) {
			n.add(c)
		}
	}
	n.fromBundles()
	n.fromUnits()
	n.fromManifests()
	n.dropForeignEtcd()
	n.eks = n.isEKS()
	return n, nil
}

func (p *kubeProcess) component() kubeComponent {
	c := kubeComponent{program: p.program, args: p.args, source: fmt.Sprintf("/proc/%d/cmdline", p.pid), pid: p.pid}
	c.podID, _ = podOf(p.cgroups)
	return c
}

// add adds one, but no etcd that is a proxy or a gateway to another.
func (n *kubeNode) add(c kubeComponent) {
	if c.program == "etcd" && len(c.args) > 0 && !strings.HasPrefix(c.args[0], "-") {
		return
	}
	c.number = len(n.of(c.program)) + 1
	n.components = append(n.components, c)
}

// of are the components of some programs.
func (n *kubeNode) of(programs ...string) (all []*kubeComponent) {
	for i := range n.components {
		if slices.Contains(programs, n.components[i].program) {
			all = append(all, &n.components[i])
		}
	}
	return all
}

func (n *kubeNode) has(programs ...string) bool { return len(n.of(programs...)) > 0 }

// controlPlane says whether a part of the control plane is here.
func (n *kubeNode) controlPlane() bool {
	return n.has("kube-apiserver", "kube-controller-manager", "kube-scheduler")
}

// there says whether anything is at one of some paths; what cannot be told is as if there were nothing.
func (n *kubeNode) there(paths ...string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { ok, err := n.s.there(p); return ok && err == nil })
}

func (n *kubeNode) trouble(program, subject string, err error) {
	n.troubles = append(n.troubles, kubeTrouble{program, subject, err})
}

// fromUnits adds programs that systemd starts, and that no process was found of. A kubelet that is installed but was never told what
// cluster it is of is none.
func (n *kubeNode) fromUnits() {
	for _, program := range kubePrograms {
		if n.has(program) {
			continue
		}
		unit, err := n.s.kubeUnit(program + ".service")
		if err != nil {
			n.trouble(program, program+".service", err)
			continue
		}
		found, args := programOf(unit.command, nil, "")
		if found != program {
			continue
		}
		c := kubeComponent{program: program, args: args, source: unit.at, env: unit.env}
		if program != "kubelet" || n.joined(&c) {
			n.add(c)
		}
	}
}

// joined says whether a kubelet was told what cluster it is of, or has a configuration: of the files that its flags name at least one is
// there. One that needs neither runs by its flags alone.
func (n *kubeNode) joined(c *kubeComponent) bool {
	flags, named := parseKubeFlags(c.args, kubeletSettings), false
	for _, name := range []string{"config", "kubeconfig", "bootstrap-kubeconfig"} {
		file := flags.text(name)
		if _, err := n.s.stat(c.outside(file)); file != "" && !Absent(err) {
			return true
		}
		named = named || file != ""
	}
	return !named && (c.pid != 0 || len(flags.values) > 0)
}

// fromManifests reads static pods: where the files of those that run are outside of their containers, and those that do not run.
func (n *kubeNode) fromManifests() {
	dirs := slices.Clone(kubeManifestDirs)
	for _, c := range n.of("kubelet") {
		if dir := n.s.staticPods(c); dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	var troubles []kubeTrouble
	n.manifests, troubles = n.s.kubeManifests(dirs)
	run := map[string]bool{}
	for i := range n.components {
		run[n.components[i].program] = true
	}
	for _, m := range n.manifests {
		if !run[m.program] {
			n.add(kubeComponent{program: m.program, args: m.args, source: m.at, image: m.image, mounts: m.mounts, env: m.env})
			continue
		}
		for _, c := range n.of(m.program) {
			if c.mounts == nil && (c.podID == "" || isHash(c.podID)) && c.image == "" {
				c.mounts, c.image = m.mounts, m.image
				break
			}
		}
	}
	for _, t := range troubles {
		if !run[t.program] { // else what runs is known all the same
			n.troubles = append(n.troubles, t)
		}
	}
}

// dropForeignEtcd forgets etcd where there is nothing else of Kubernetes: other clusters than its use etcd too.
func (n *kubeNode) dropForeignEtcd() {
	foreign := func(c kubeComponent) bool { return c.program == "etcd" && !isHash(c.podID) && c.mounts == nil }
	if slices.ContainsFunc(n.components, func(c kubeComponent) bool { return !foreign(c) }) || n.there("/etc/kubernetes") {
		return
	}
	n.components = nil
	n.troubles = slices.DeleteFunc(n.troubles, func(t kubeTrouble) bool { return t.program == "etcd" })
}

// distribution is whose Kubernetes it is.
func (n *kubeNode) distribution() string {
	switch {
	case n.bundle != "":
		return n.bundle
	case n.eks:
		return "eks"
	}
	for _, d := range []struct {
		name  string
		paths []string
	}{
		{"rke2", []string{"/var/lib/rancher/rke2/agent", "/etc/rancher/rke2"}}, {"k0s", []string{"/var/lib/k0s"}}, {"kops", []string{"/opt/kops", "/srv/kubernetes/kube-apiserver"}},
		{"kubeadm", []string{"/var/lib/kubelet/kubeadm-flags.env", "/etc/kubernetes/manifests/kube-apiserver.yaml"}},
	} {
		if n.there(d.paths...) {
			return d.name
		}
	}
	return "other"
}

// Kubernetes reports what of Kubernetes runs on the machine: facts of its parts by their flags, and of the files that these name.
func (s *Surveys) Kubernetes(ctx context.Context, report func(event.Fact)) error {
	n, err := s.kubeNode(ctx)
	if err != nil || len(n.components) == 0 && len(n.troubles) == 0 {
		return err
	}
	report(n.fact())
	for i := range n.components {
		if err := ctx.Err(); err != nil {
			return err
		}
		n.report(&n.components[i], report)
	}
	for _, t := range n.troubles {
		for _, kind := range t.kinds(s.Live()) {
			report(kind.New(t.subject, "").Fail(t.err))
		}
	}
	return nil
}

// kubeKindsOf are the kinds of the facts that each program makes.
var kubeKindsOf = map[string][]*event.FactKind{
	"kube-apiserver": {event.APIServer, event.Encryption, event.AuditPolicy}, "kube-controller-manager": {event.ControllerManager}, "kube-scheduler": {event.KubeScheduler},
	"etcd": {event.Etcd, event.EtcdAuthority}, "kubelet": {event.Kubelet}, "kube-proxy": {event.KubeProxy},
}

// kinds are those of which nothing is known for sure because of a trouble. Of a bundle that is all. A static pod of another name than our
// programs have may be any of them, unless the machine runs: then those that run are known.
func (t kubeTrouble) kinds(live bool) (all []*event.FactKind) {
	if all = kubeKindsOf[t.program]; all != nil {
		return all
	}
	all = append(all, event.Kubernetes)
	for _, program := range kubePrograms {
		if pod := t.program == ""; !pod || !live && program != "kubelet" {
			all = append(all, kubeKindsOf[program]...)
		}
	}
	return all
}

func (n *kubeNode) report(c *kubeComponent, report func(event.Fact)) {
	switch c.program {
	case "kube-apiserver":
		report(n.s.apiServerFact(c))
		report(n.s.encryptionFact(c))
		report(n.s.auditPolicyFact(c))
	case "kube-controller-manager":
		report(n.s.controllerManagerFact(c))
	case "kube-scheduler":
		report(n.s.kubeSchedulerFact(c))
	case "etcd":
		report(n.etcdFact(c))
		if f, known := n.etcdAuthorityFact(c); known {
			report(f)
		}
	case "kubelet":
		report(n.kubeletFact(c))
	case "kube-proxy":
		report(n.s.kubeProxyFact(c))
	}
}

func (n *kubeNode) fact() event.Fact {
	name := n.distribution()
	f := event.Kubernetes.New(name, "").Set("distribution", name).Set("eks", n.eks)
	f.Set("control_plane", n.controlPlane()).Set("etcd", n.has("etcd")).Set("kubelet", n.has("kubelet"))
	if n.s.Live() {
		f.Set("running", slices.ContainsFunc(n.components, func(c kubeComponent) bool { return c.pid != 0 }))
	}
	return f
}
