//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups: each that is made in the tracked hierarchy gets a slot before anything can run in it. */
#include "include/helpers.h"

struct cgroup_scratch {
	struct cgroup_event e;
	char path[PATH_MAX_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cgroup_scratch);
} cgroup_scratch SEC(".maps");

static __always_inline u64 parent_cgroup_id(struct cgroup *cgrp)
{
	/* self is cgroup's first member, so the state above leads to the cgroup above; kernfs_node.parent was renamed in
	 * 6.15 (633488947ef6), this was not. */
	struct cgroup_subsys_state *above = BPF_CORE_READ(cgrp, self.parent);
	return above ? BPF_CORE_READ(above, cgroup, kn, id) : 0;
}

static __always_inline void send_cgroup(u16 kind, u64 id, u64 parent, u32 slot, const char *path)
{
	u32 zero = 0;
	struct cgroup_scratch *s = bpf_map_lookup_elem(&cgroup_scratch, &zero);
	if (!s)
		return;
	fill_header(&s->e.h, kind, current_task());
	s->e.id = id;
	s->e.parent = parent;
	s->e.slot = slot;
	long n = bpf_probe_read_kernel_str(s->path, sizeof(s->path), path);
	if (n < 0 || n > PATH_MAX_BYTES)
		n = 0;
	s->e.path_len = n;
	if (bpf_ringbuf_output(&events, s, sizeof(s->e) + n, wake_flags()))
		count_loss(events[kind]);
}

/* A workload's children share its slot; anything else gets one of its own, or slot 0 when none is left. */
static __always_inline u32 assign_slot(u64 id, u64 parent)
{
	struct cgroup_slot s = {.born = bpf_ktime_get_boot_ns()};
	struct cgroup_slot *above = bpf_map_lookup_elem(&cgroup_slots, &parent);

	if (above && above->flags & CGROUP_INHERIT) {
		s.slot = above->slot;
		s.flags = CGROUP_INHERIT | CGROUP_BORROWED;
	} else if (bpf_map_pop_elem(&free_slots, &s.slot)) {
		s.slot = 0;
		s.flags = CGROUP_BORROWED;
		count_loss(slots);
	}
	if (bpf_map_update_elem(&cgroup_slots, &id, &s, BPF_NOEXIST)) {
		if (!(s.flags & CGROUP_BORROWED))
			bpf_map_push_elem(&free_slots, &s.slot, 0);
		count_loss(cgroups);
		return 0;
	}
	return s.slot;
}

/* Stable since 4.20; runs in the task that made the directory, before anybody can enter it. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgrp, const char *path)
{
	if (BPF_CORE_READ(cgrp, root, hierarchy_id) != cgroup_hierarchy)
		return 0;
	increment(groups_made); /* before anything: its address may be one that was remembered for another */
	u64 id = BPF_CORE_READ(cgrp, kn, id), parent = parent_cgroup_id(cgrp);
	send_cgroup(EVENT_CGROUP_MAKE, id, parent, assign_slot(id, parent), path);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_rmdir, struct cgroup *cgrp, const char *path)
{
	if (BPF_CORE_READ(cgrp, root, hierarchy_id) != cgroup_hierarchy)
		return 0;
	u64 id = BPF_CORE_READ(cgrp, kn, id);
	struct cgroup_slot *s = bpf_map_lookup_elem(&cgroup_slots, &id);
	u32 slot = 0;
	if (s) {
		slot = s->slot;
		s->died = bpf_ktime_get_boot_ns();
		s->flags |= CGROUP_DEAD;
	}
	send_cgroup(EVENT_CGROUP_REMOVE, id, 0, slot, path);
	return 0;
}
