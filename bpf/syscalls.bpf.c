//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* System calls: the one dispatcher on sys_exit, where the arguments still stand and the result is known. */
#include "include/helpers.h"
#include "include/socket.h"
#include "include/calls.h"

/* When the thread's call began, where latencies were asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} entries SEC(".maps");

static __always_inline void count_error(u32 slot, u32 syscall, u16 error)
{
	struct error_key key = {.slot = slot, .syscall = syscall, .error = error};
	u64 one = 1;
	u64 *n = bpf_map_lookup_elem(&syscall_errors, &key);
	if (n) {
		(*n)++;
		return;
	}
	long err = bpf_map_update_elem(&syscall_errors, &key, &one, BPF_NOEXIST);
	if (!err)
		return;
	n = bpf_map_lookup_elem(&syscall_errors, &key); /* another CPU was first */
	if (n)
		(*n)++;
	else
		count_loss(errors);
}

/* fork and its kin return twice; the second time, with 0 in the child, no call was made. */
static __always_inline bool returns_in_child(u32 syscall, long ret)
{
	return ret == 0 &&
	       (syscall == SYS_CLONE || syscall == SYS_FORK || syscall == SYS_VFORK || syscall == SYS_CLONE3);
}

static __always_inline void count_syscall(struct task_struct *current, u32 syscall, long ret)
{
	u32 slot = slot_of_task(current);
	struct syscall_counters *c = bpf_map_lookup_elem(&syscall_calls, &slot);
	if (!c || returns_in_child(syscall, ret))
		return;
	barrier_var(syscall); /* the compiler has proved the bound already; the verifier wants to see it */
	if (syscall >= SYSCALL_SLOTS)
		return;
	c->calls[syscall]++;
	/* What rt_sigreturn leaves in the result register is the interrupted program's own. */
	if (ret < 0 && ret >= -4095 && syscall != SYS_RT_SIGRETURN)
		count_error(slot, syscall, -ret);
}

/* Ends with a tail call where a rule may match. */
static __always_inline void dispatch(void *ctx, struct task_struct *current, struct pt_regs *regs, long ret, u32 syscall)
{
	if (count_syscalls)
		count_syscall(current, syscall, ret);
	if (watch_connect && syscall == SYS_CONNECT)
		connect_returned(regs_arg0(regs), ret);
	if (ret > 0)
		count_socket_bytes(syscall, regs, ret);
	if (is_call_wanted(syscall, ret))
		bpf_tail_call(ctx, &call_programs, 0);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *current = current_task();
	if (!is_own_task(current))
		dispatch(ctx, current, regs, ret, dense_syscall(current, regs_syscall(regs)));
	return 0;
}

/* exit and exit_group do not return: they are counted where they end. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(sys_exit_group, struct task_struct *task)
{
	struct task_struct *current = current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(current);
	s32 nr = regs_syscall(regs);

	if (is_self() || is_compat(current))
		return 0;
	if (count_syscalls && (nr == SYS_EXIT || nr == SYS_EXIT_GROUP))
		count_syscall(current, nr, 0);
	return 0;
}

/* ---- the same with latencies, where they were asked for: 5.11, task storage ---- */

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long nr)
{
	if (is_self())
		return 0;
	u64 *entry = bpf_task_storage_get(&entries, current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (entry)
		*entry = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void count_latency(u32 syscall)
{
	u64 *entry = bpf_task_storage_get(&entries, current_task_btf(), 0, 0);
	if (!entry || !*entry)
		return;
	u64 ns = bpf_ktime_get_ns() - *entry;
	*entry = 0;
	struct latency_key key = {.slot = current_slot(), .syscall = syscall};
	struct log2_hist *h = bpf_map_lookup_elem(&syscall_latency, &key);
	if (!h) {
		struct log2_hist none = {};
		bpf_map_update_elem(&syscall_latency, &key, &none, BPF_NOEXIST);
		h = bpf_map_lookup_elem(&syscall_latency, &key);
	}
	if (h)
		observe(h, ns);
	else
		count_loss(latencies);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit_timed, struct pt_regs *regs, long ret)
{
	struct task_struct *current = current_task();
	if (is_own_task(current))
		return 0;
	u32 syscall = dense_syscall(current, regs_syscall(regs));
	count_latency(syscall);
	dispatch(ctx, current, regs, ret, syscall);
	return 0;
}
