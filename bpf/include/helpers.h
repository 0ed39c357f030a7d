/* SPDX-License-Identifier: Apache-2.0 */
/* What every family does: find the actor's slot, count a loss, send an event. */
#ifndef YAGURA_HELPERS_H
#define YAGURA_HELPERS_H

#include "maps.h"

#define increment(p) __sync_fetch_and_add(&(p), 1)
#define ADDR(p) ((u64)(unsigned long)(p))

/* What the tracked hierarchy hangs a task on: its subsystem's state on version 1, the cgroup itself on version 2. Followed
 * without helpers where the verifier knows the type. */
static __always_inline void *task_anchor(struct task_struct *task)
{
	void *anchor = NULL;

	if (has_current_task_btf())
		return *(void **)((void *)task->cgroups + cgroup_offset);
	bpf_probe_read_kernel(&anchor, sizeof(anchor), (void *)BPF_CORE_READ(task, cgroups) + cgroup_offset);
	return anchor;
}

static __always_inline u64 anchor_cgroup_id(void *anchor)
{
	struct cgroup_subsys_state *css = anchor;
	struct cgroup *cgrp = cgroup_v1 ? FOLLOW(css, cgroup) : anchor;

	return FOLLOW(FOLLOW(cgrp, kn), id);
}

static __always_inline u64 task_cgroup_id(struct task_struct *task)
{
	return anchor_cgroup_id(task_anchor(task));
}

static __always_inline struct losses *losses_here(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&lost, &zero);
}

#define count_loss(field)                          \
	do {                                       \
		struct losses *l = losses_here();  \
		if (l)                             \
			increment(l->field);       \
	} while (0)

/* The value of a key, which is entered with what initial points to if it is new; NULL if the table is full. Initial is only
 * made where it is needed. */
#define find_or_add(map, key, initial)                                           \
	({                                                                       \
		void *value = bpf_map_lookup_elem(map, key);                     \
		if (!value) {                                                    \
			const void *first = initial;                             \
			if (first)                                               \
				bpf_map_update_elem(map, key, first, BPF_NOEXIST); \
			value = bpf_map_lookup_elem(map, key);                   \
		}                                                                \
		value;                                                           \
	})

static __always_inline u32 cgroup_to_slot(u64 id)
{
	struct cgroup_slot *s = bpf_map_lookup_elem(&cgroup_slots, &id);
	return s ? s->slot : 0;
}

/* The slot of a task that runs or is about to, from the last one seen on this CPU where that still holds. Interrupts come
 * here with the same current task, and so write nothing else than what they have interrupted; other tasks, which come
 * between since 7.0, are noticed. */
static __always_inline u32 slot_of_task(struct task_struct *task)
{
	u32 zero = 0;
	void *anchor = task_anchor(task);
	struct last_seen *last = bpf_map_lookup_elem(&last_seen, &zero);

	if (!last)
		return 0;
	if (last->anchor == ADDR(anchor) && last->groups_made == groups_made)
		return last->slot;
	u64 id = anchor_cgroup_id(anchor);
	struct cgroup_slot *s = bpf_map_lookup_elem(&cgroup_slots, &id);
	if (!s)
		return 0; /* not remembered: it may still get one */
	u32 slot = s->slot;
	last->anchor = 0;
	barrier();
	last->slot = slot;
	last->groups_made = groups_made;
	barrier();
	last->anchor = ADDR(anchor);
	barrier();
	if (last->slot != slot)
		last->anchor = 0; /* another task has come between */
	return slot;
}

static __always_inline u32 current_slot(void)
{
	return slot_of_task(current_task());
}

static __always_inline struct slot_counters *slot_counters(u32 slot)
{
	return bpf_map_lookup_elem(&counters, &slot);
}

static __always_inline bool is_self(void)
{
	return (bpf_get_current_pid_tgid() >> 32) == self_tgid;
}

/* The same on the hot path, where the task is at hand and a helper call would cost more than the rest of the test. */
/* What user space calls the process of the current task. */
static __always_inline u32 task_pid(struct task_struct *current)
{
	if (has_current_task_btf())
		return current->tgid;
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline bool is_own_task(struct task_struct *current)
{
	return task_pid(current) == self_tgid;
}

static __always_inline void fill_header(struct header *h, u16 kind, struct task_struct *task)
{
	u64 id = bpf_get_current_pid_tgid();
	u64 user = bpf_get_current_uid_gid();
	h->boot = bpf_ktime_get_boot_ns();
	h->cgroup_id = task_cgroup_id(task);
	h->start = FOLLOW(FOLLOW(task, group_leader), start_boottime);
	h->pid = id >> 32;
	h->tid = (u32)id;
	h->uid = (u32)user;
	h->gid = user >> 32;
	h->kind = kind;
	h->cpu = bpf_get_smp_processor_id();
	h->reserved = 0;
}

/* Waking the reader is an interrupt to ourselves: up to 40 us on a virtual machine, where all the rest of an event takes
 * two. So it is woken when much waits, and else looks every readEvery (stream.go). */
static __always_inline u64 wake_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Counts units in the power of two that holds them: bucket i holds what is over 2^(i-1) and at most 2^i. */
static __always_inline void observe_units(struct log2_hist *h, u64 units, u64 sum)
{
	u32 i = 0;
	u64 v = units ? units - 1 : 0; /* bounds are inclusive above */
	if (v >> 32) {
		v >>= 32;
		i += 32;
	}
	if (v >> 16) {
		v >>= 16;
		i += 16;
	}
	if (v >> 8) {
		v >>= 8;
		i += 8;
	}
	if (v >> 4) {
		v >>= 4;
		i += 4;
	}
	if (v >> 2) {
		v >>= 2;
		i += 2;
	}
	if (v >> 1) {
		v >>= 1;
		i += 1;
	}
	i += v; /* v is 0 or 1 */
	if (i >= LOG2_BUCKETS)
		i = LOG2_BUCKETS - 1;
	increment(h->buckets[i]);
	__sync_fetch_and_add(&h->sum, sum);
}

/* Counts a duration, in units of 2^-30 s. */
static __always_inline void observe(struct log2_hist *h, u64 ns)
{
	u64 units = (ns * 1125900) >> 20; /* 2^30 / 10^9 to seven digits; exact enough for 2^43 ns, 2.4 hours */

	observe_units(h, units, ns);
}

#endif
