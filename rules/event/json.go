package event

import (
	"encoding/json"
	"time"
)

// record is how an event is written for people and programs: names, not numbers, and nothing that is not so.
type record struct {
	Num       uint64    `json:"num"`
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"`
	PID       uint32    `json:"pid"`
	TID       uint32    `json:"tid,omitempty"`
	UID       uint32    `json:"uid"`
	CgroupID  uint64    `json:"cgroup_id,omitempty"`
	Child     uint32    `json:"child,omitempty"`
	Path      string    `json:"path,omitempty"`
	Args      []string  `json:"args,omitempty"`
	Status    *uint32   `json:"status,omitempty"`
	Process   string    `json:"process,omitempty"`
	Ancestors []string  `json:"ancestors,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	Pod       string    `json:"pod,omitempty"`
	Container string    `json:"container,omitempty"`
	Image     string    `json:"image,omitempty"`
}

// maxAncestors bounds how many ancestors an event is written with.
const maxAncestors = 16

// AppendJSON appends the event as one JSON object without a line break. Command lines pass redact first.
func (ev *Event) AppendJSON(to []byte, redact func([]string) []string) ([]byte, error) {
	r := record{Num: ev.Num, Time: time.Unix(0, ev.Time).UTC(), Kind: ev.Kind.String(), PID: ev.PID, TID: ev.TID,
		UID: ev.UID, CgroupID: ev.CgroupID, Path: string(ev.Path)}
	if ev.Kind == Fork {
		r.Child = ev.Task.PID
	}
	if ev.Kind == Exit {
		r.Status = &ev.Status
	}
	if ev.Change != nil {
		r.Path = ev.Change.Path
	}
	if p := ev.Process; p != nil {
		r.Process = p.Name()
		if ev.Kind == Exec {
			r.Args = redact(p.Args)
		}
		for p = p.Parent; p != nil && len(r.Ancestors) < maxAncestors; p = p.Parent {
			r.Ancestors = append(r.Ancestors, p.Name())
		}
	}
	if c := ev.Container; c != nil {
		r.Namespace, r.Pod, r.Container, r.Image = c.Namespace, c.Pod, c.Workload.Container, c.Image
	}
	text, err := json.Marshal(r)
	return append(to, text...), err
}
