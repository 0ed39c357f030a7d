package containers

import (
	"cmp"

	"github.com/yagura-io/yagura/rules/event"
)

// publish puts together what is known of a container, and reports whether that is anything new.
func (t *table) publish(rec *record) bool {
	merged := rec.merge()
	rec.created = merged.Created
	t.enterPod(&merged)
	if rec.container != nil {
		merged.CgroupID = rec.container.CgroupID
		if sameContainer(rec.container, &merged) {
			return false
		}
	}
	rec.container = &merged
	return true
}

// enterPod completes a container by what its pod's sandbox was told. The kubelet gives the pod's labels to the sandbox
// only; it has the address, and the name spaces that its containers share by the paths to them.
func (t *table) enterPod(c *event.Container) {
	pod := c
	if !c.IsSandbox {
		rec := t.records[c.Sandbox]
		if c.Sandbox == "" || rec == nil || rec.container == nil || !rec.container.IsSandbox {
			return
		}
		pod = rec.container
	}
	if len(pod.Labels) > 0 {
		c.PodLabels = pod.Labels
	}
	c.IP = cmp.Or(c.IP, pod.IP)
	c.HostPID = c.HostPID || pod.HostPID
	c.HostNetwork = c.HostNetwork || pod.HostNetwork
	c.HostIPC = c.HostIPC || pod.HostIPC
}

// tellPod completes the containers that were known before their sandbox, or before what is new of it.
func (t *table) tellPod(sandbox *record) {
	for _, rec := range t.records {
		if rec != sandbox && rec.container.Sandbox == sandbox.container.ID && t.publish(rec) {
			t.complete(rec)
		}
	}
}
