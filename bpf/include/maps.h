/* SPDX-License-Identifier: Apache-2.0 */
/* The maps and knobs that every family shares. Sizes marked "set at load" are chosen by maps.go from the budget. */
#ifndef YAGURA_MAPS_H
#define YAGURA_MAPS_H

#include "kernel.h"
#include "event.h"

/* Which hierarchy names workloads: offset of the css_set member that leads to it. */
const volatile u32 cgroup_offset = 0;
const volatile bool cgroup_v1 = false; /* that member is a subsystem's state, not a cgroup */
const volatile s32 cgroup_hierarchy = 0;
const volatile u32 wake_bytes = 1 << 17; /* of waiting events wake the reader at once; else it looks by itself */
const volatile u32 self_tgid = 0; /* ourselves, in the initial pid namespace: left out */

/* Arguments that hooks got or lost, as their types in BTF say. */
const volatile bool block_hook_has_queue = false; /* block_rq_issue(q, rq) before 5.11 (a54895fa057c) */
const volatile bool drop_hook_has_reason = true;  /* kfree_skb(skb, location, reason) since 5.17 (c504e5c2f964) */

const volatile bool complete_has_cqe = false;     /* io_uring_complete(ctx, req, cqe) since 6.13 */

/* What sys_exit has to do besides. */
const volatile bool count_syscalls = true;
const volatile bool watch_connect = true; /* connects that fail before a SYN leaves */
const volatile bool socket_bytes = false; /* this kernel has no sock_send_length */
const volatile bool watch_requests = false; /* layer 7 */

/* Dense number of a 32-bit system call. */
const volatile u16 compat_syscalls[512] = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* set at load */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, struct cgroup_slot);
} cgroup_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024); /* set at load */
	__uint(key_size, 0);
	__uint(value_size, sizeof(u32));
} free_slots SEC(".maps");

/* Counts how often a slot was given out, so that a late count for its former owner is not the next one's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024); /* set at load */
	__type(key, u32);
	__type(value, u32);
} slot_generation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024); /* set at load */
	__type(key, u32);
	__type(value, struct slot_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024); /* set at load */
	__type(key, u32);
	__type(value, struct last_exit);
} last_exits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024); /* set at load */
	__type(key, u32);
	__type(value, struct syscall_counters);
} syscall_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct error_key);
	__type(value, u64);
} syscall_errors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct latency_key);
	__type(value, struct log2_hist);
} syscall_latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct losses);
} lost SEC(".maps");

/* The last control group seen on this CPU, and its slot: a hash look-up costs 21 to 40 ns, this 6. It is known by its
 * address, which belongs to another one only after that was made: so the number that were made is part of the key. */
struct last_seen {
	u64 anchor, groups_made;
	u32 slot, segments; /* segments: how many times bytes were counted, to sample some */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct last_seen);
} last_seen SEC(".maps");

/* Processes that have a ring of io_uring, whose reads and writes no system call shows. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32); /* process */
	__type(value, u8);
} ring_users SEC(".maps");

volatile u64 groups_made SEC(".data.groups") = 0;

#endif
