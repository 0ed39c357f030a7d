package rules

import (
	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// absentLabel is a label that other engines know.
func absentLabel(name, doc string) field {
	f := absent(name, doc, expr.String, 0)
	f.Arity = expr.RequiredArg
	return f
}

// kubernetesFields are of the pod that the event happened in, as the container's runtime tells of it. What only the API
// server knows is absent.
var kubernetesFields = []field{
	ofContainer("k8s.pod.name", "Name of the pod.", func(_ *Record, c *event.Container) string { return c.Pod }),
	ofContainer("k8s.ns.name", "Name space of the pod.", func(_ *Record, c *event.Container) string { return c.Namespace }),
	ofContainer("k8s.pod.id", "UID of the pod: the same as k8s.pod.uid.", func(_ *Record, c *event.Container) string { return c.PodUID }),
	ofContainer("k8s.pod.uid", "UID of the pod.", func(_ *Record, c *event.Container) string { return c.PodUID }),
	ofContainer("k8s.pod.sandbox_id", "First 12 characters of the id of the pod's sandbox.", func(_ *Record, c *event.Container) string { return short(sandbox(c)) }),
	ofContainer("k8s.pod.full_sandbox_id", "Id of the pod's sandbox.", func(_ *Record, c *event.Container) string { return sandbox(c) }),
	label("k8s.pod.label", "One label of the pod.", func(c *event.Container) map[string]string { return c.PodLabels }),
	ofContainer("k8s.pod.labels", "Labels of the pod, each as key:value, with commas between.", func(r *Record, _ *event.Container) string { return r.inside().podLabels }),
	ofContainer("k8s.pod.ip", "Address of the pod.", func(_ *Record, c *event.Container) string {
		if c.Pod == "" {
			return ""
		}
		return c.IP
	}),
	absent("k8s.pod.cni.json", "What the network plugin said of the pod.", expr.String, 0),
	absent("k8s.rc.name", "Name of the replication controller.", expr.String, 0),
	absent("k8s.rc.id", "UID of the replication controller.", expr.String, 0),
	absentLabel("k8s.rc.label", "One label of the replication controller."),
	absent("k8s.rc.labels", "Labels of the replication controller.", expr.String, 0),
	absent("k8s.svc.name", "Name of the service.", expr.String, 0),
	absent("k8s.svc.id", "UID of the service.", expr.String, 0),
	absentLabel("k8s.svc.label", "One label of the service."),
	absent("k8s.svc.labels", "Labels of the service.", expr.String, 0),
	absent("k8s.ns.id", "UID of the name space.", expr.String, 0),
	absentLabel("k8s.ns.label", "One label of the name space."),
	absent("k8s.ns.labels", "Labels of the name space.", expr.String, 0),
	absent("k8s.rs.name", "Name of the replica set.", expr.String, 0),
	absent("k8s.rs.id", "UID of the replica set.", expr.String, 0),
	absentLabel("k8s.rs.label", "One label of the replica set."),
	absent("k8s.rs.labels", "Labels of the replica set.", expr.String, 0),
	absent("k8s.deployment.name", "Name of the deployment.", expr.String, 0),
	absent("k8s.deployment.id", "UID of the deployment.", expr.String, 0),
	absentLabel("k8s.deployment.label", "One label of the deployment."),
	absent("k8s.deployment.labels", "Labels of the deployment.", expr.String, 0),
}

// sandbox is the id of the pod's sandbox, which may be the container itself.
func sandbox(c *event.Container) string {
	if c.IsSandbox && c.Sandbox == "" {
		return c.ID
	}
	return c.Sandbox
}
