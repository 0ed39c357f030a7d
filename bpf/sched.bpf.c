//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Run queue: how long a thread that could run had to wait for a processor, be it for others or for its own quota. */
#include "include/helpers.h"

/* Since when a thread waits: its id in the low 22 bits (no id is longer), nanoseconds in the 42 above, which come round
 * after 73 minutes. One word, so that it is never half written; an array instead of task storage or a hash, so that
 * nothing is allocated or locked under the lock of a run queue. */
#define QUEUED_THREADS 65536
#define THREAD_ID_BITS 22
#define THREAD_ID_MASK ((1ull << THREAD_ID_BITS) - 1)
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUED_THREADS);
	__type(key, u32);
	__type(value, u64);
} queued SEC(".maps");

static __always_inline u64 *queue_place(u32 tid)
{
	u32 i = tid % QUEUED_THREADS;
	return bpf_map_lookup_elem(&queued, &i);
}

static __always_inline void thread_waits(u32 tid, u64 now)
{
	u64 *place = queue_place(tid);
	if (!place)
		return;
	u64 old = *place;
	if (old && (old & THREAD_ID_MASK) != tid)
		count_loss(run_queue);
	*place = now << THREAD_ID_BITS | tid;
}

static __always_inline void thread_runs(struct task_struct *task, u64 now)
{
	u32 tid = task->pid;
	u64 *place = queue_place(tid);
	if (!place || (*place & THREAD_ID_MASK) != tid)
		return; /* it began to wait before we looked, or lost its place */
	u64 waited = ((now << THREAD_ID_BITS) - (*place & ~THREAD_ID_MASK)) >> THREAD_ID_BITS;
	*place = 0;
	struct slot_counters *c = slot_counters(slot_of_task(task));
	if (c)
		observe(&c->run_queue, waited);
}

/* A thread that is woken before it has left its processor never waits: the switch away from it would clear this again. */
SEC("tp_btf/sched_wakeup")
int BPF_PROG(run_queue_wakeup, struct task_struct *task)
{
	thread_waits(task->pid, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(run_queue_new, struct task_struct *task)
{
	thread_waits(task->pid, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(run_queue_switch, bool preempted, struct task_struct *from, struct task_struct *to)
{
	u64 now = bpf_ktime_get_ns();
	u32 tid = from->pid;

	if (tid && (preempted || task_is_running(from))) {
		thread_waits(tid, now);
	} else if (tid) {
		u64 *place = queue_place(tid);
		if (place && (*place & THREAD_ID_MASK) == tid)
			*place = 0;
	}
	if (to->pid)
		thread_runs(to, now);
	return 0;
}
