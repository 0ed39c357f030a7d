package bpf

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// describe sets the knobs that every program shares.
func (a *Agent) describe(o Options) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's type information (CONFIG_DEBUG_INFO_BTF): %w", err)
	}
	offset, err := cgroupOffset(kernel, o.Hierarchy)
	if err != nil {
		return err
	}
	a.reasons = dropReasons(kernel)
	var compat [512]uint16
	for i := range compat {
		compat[i] = syscallOther
	}
	for nr, dense := range compatSyscalls {
		compat[nr] = dense
	}
	a.variables = map[string]any{
		"cgroup_offset":    offset,
		"cgroup_v1":        o.Hierarchy.V1,
		"cgroup_hierarchy": int32(o.Hierarchy.ID),
		"compat_syscalls":  compat,
		"wake_bytes":       uint32(min(ringBytes(o.Config)/8, 128<<10)),
		"self_tgid":        uint32(os.Getpid()),

		"block_hook_has_queue": hookArguments(kernel, "block_rq_issue") == 2,
		"drop_hook_has_reason": hookArguments(kernel, "kfree_skb") >= 3,
		"complete_has_cqe":     hookArguments(kernel, "io_uring_complete") == 3,
		"ring_calls":           ringCalls(),
	}
	if n := hookArguments(kernel, "io_uring_submit_sqe"); n != 2 {
		a.unfit = map[string]error{"io_uring_submit_old": fmt.Errorf("io_uring_submit_sqe has %d arguments: needs 6.0 to 6.3, with 2", n)}
	}
	return nil
}

// cgroupOffset finds the member of css_set that leads to the tracked hierarchy.
func cgroupOffset(kernel *btf.Spec, h Hierarchy) (uint32, error) {
	var set *btf.Struct
	if err := kernel.TypeByName("css_set", &set); err != nil {
		return 0, fmt.Errorf("find struct css_set: %w", err)
	}
	if !h.V1 {
		return memberOffset(set, "dfl_cgrp")
	}
	base, err := memberOffset(set, "subsys")
	if err != nil {
		return 0, err
	}
	var ids *btf.Enum
	if err := kernel.TypeByName("cgroup_subsys_id", &ids); err != nil {
		return 0, fmt.Errorf("find enum cgroup_subsys_id: %w", err)
	}
	for _, v := range ids.Values {
		if v.Name == h.Controller+"_cgrp_id" {
			return base + uint32(v.Value)*8, nil
		}
	}
	return 0, fmt.Errorf("control group controller %q is not one of this kernel's", h.Controller)
}

// hookArguments is how many arguments a tracepoint hands to a program, or 0 if the kernel does not have it.
func hookArguments(kernel *btf.Spec, name string) int {
	var t *btf.Typedef
	if err := kernel.TypeByName("btf_trace_"+name, &t); err != nil {
		return 0
	}
	pointer, ok := t.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params) - 1 // without the tracepoint's own data
}

// dropReasons names the reasons that the kernel has for throwing a packet away, in lower case and without their prefix.
func dropReasons(kernel *btf.Spec) []string {
	names := make([]string, dropReasonCount)
	names[0] = "not_specified"
	names[dropReasonCount-1] = other
	var reasons *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &reasons); err != nil {
		return names // before 5.17
	}
	for _, v := range reasons.Values {
		if v.Value < dropReasonCount-1 {
			names[v.Value] = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(v.Name, "SKB_DROP_REASON_"), "SKB_"))
		}
	}
	return names
}

func memberOffset(s *btf.Struct, name string) (uint32, error) {
	for _, m := range s.Members {
		if m.Name == name {
			return m.Offset.Bytes(), nil
		}
	}
	return 0, fmt.Errorf("struct %s has no member %s", s.Name, name)
}
