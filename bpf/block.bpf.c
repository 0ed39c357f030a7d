//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices: how long each request was with the device, how much it carried and whether it failed. */
#include "include/socket.h"

struct block_request {
	u64 ns;
	struct owner owner;
	u32 device, operation;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64); /* address of the request */
	__type(value, struct block_request);
} block_inflight SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct block_key);
	__type(value, struct block_counters);
} block_io SEC(".maps");

#define CGROUP_DEPTH 16 /* that a walk upwards follows */

/* Whether the current task is in a control group or below it. Version 2 only: there the anchor is the cgroup. */
static __always_inline bool current_is_in(struct cgroup *group)
{
	struct cgroup *at = task_anchor(current_task());

	for (int i = 0; i < CGROUP_DEPTH && at; i++) {
		if (at == group)
			return true;
		struct cgroup_subsys_state *above = BPF_CORE_READ(at, self.parent);
		at = above ? BPF_CORE_READ(above, cgroup) : NULL;
	}
	return false;
}

/* Who asked for it. On version 2 the bio says so, whoever writes it back: the nearest control group with the io
 * controller. Who issues the request says it more exactly where that is no other than somebody in that group. On version
 * 1 the bio's group is one of another hierarchy; there it is who issues the request, which for writing back is the
 * kernel. */
static __always_inline u32 block_slot(struct request *rq)
{
	struct bio *bio = BPF_CORE_READ(rq, bio);
	if (!cgroup_v1 && has_bio_group() && bio) {
		struct cgroup *group = BPF_CORE_READ(bio, bi_blkg, blkcg, css.cgroup);
		if (group && !current_is_in(group))
			return cgroup_to_slot(BPF_CORE_READ(group, kn, id));
	}
	return current_slot();
}

/* Numbers of enum req_op, which have not changed since 4.8. */
static __always_inline u32 block_operation(struct request *rq)
{
	switch (BPF_CORE_READ(rq, cmd_flags) & 0xff) {
	case 0:
		return BLOCK_READ;
	case 1:
		return BLOCK_WRITE;
	case 2:
		return BLOCK_FLUSH;
	case 3:
		return BLOCK_DISCARD;
	}
	return BLOCK_OTHER;
}

static __always_inline u32 block_device(struct request *rq)
{
	struct gendisk *disk = request_disk(rq);
	return BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor);
}

/* A request that goes to a scheduler first may be issued by anybody: who asked for it is here. */
SEC("tp_btf/block_rq_insert")
int block_inserted(u64 *ctx)
{
	struct request *rq = (void *)(block_hook_has_queue ? ctx[1] : ctx[0]);
	u64 key = ADDR(rq);
	struct block_request r = {
		.owner = owner_of_slot(block_slot(rq)),
		.device = block_device(rq),
		.operation = block_operation(rq),
	};
	if (bpf_map_update_elem(&block_inflight, &key, &r, BPF_ANY))
		count_loss(block);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int block_issued(u64 *ctx)
{
	struct request *rq = (void *)(block_hook_has_queue ? ctx[1] : ctx[0]);
	u64 key = ADDR(rq);
	struct block_request *known = bpf_map_lookup_elem(&block_inflight, &key);
	if (known && !known->ns) {
		known->ns = bpf_ktime_get_ns();
		return 0;
	}
	struct block_request r = {
		.ns = bpf_ktime_get_ns(),
		.owner = owner_of_slot(block_slot(rq)),
		.device = block_device(rq),
		.operation = block_operation(rq),
	};
	if (bpf_map_update_elem(&block_inflight, &key, &r, BPF_ANY))
		count_loss(block);
	return 0;
}

static __always_inline struct block_counters *block_counters(struct block_key *key)
{
	return find_or_add(&block_io, key, (&(struct block_counters){}));
}

/* Runs in interrupts, once for every part of a request that is done. */
SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_completed, struct request *rq, int error, unsigned int bytes)
{
	u64 key = ADDR(rq);
	struct block_request *r = bpf_map_lookup_elem(&block_inflight, &key);
	if (!r || !r->ns) /* it was issued before we looked */
		return 0;
	struct block_key k = {.slot = owner_slot(&r->owner), .device = r->device, .operation = r->operation};
	struct block_counters *c = block_counters(&k);
	if (!c) {
		count_loss(block);
	} else {
		if (error & 0xff)
			increment(c->errors);
		else
			__sync_fetch_and_add(&c->bytes, bytes);
	}
	if (bytes < BPF_CORE_READ(rq, __data_len))
		return 0; /* the rest is still to come */
	if (c)
		observe(&c->duration, bpf_ktime_get_ns() - r->ns);
	bpf_map_delete_elem(&block_inflight, &key);
	return 0;
}
