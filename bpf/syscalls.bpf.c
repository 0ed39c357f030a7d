//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* System calls: the one dispatcher on sys_exit, where the arguments still stand and the result is known. */
#include "include/helpers.h"
#include "include/socket.h"
#include "include/calls.h"
#include "include/l7_state.h"

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

/* What moves bytes through sockets. */
const volatile u8 l7_kinds[SYSCALL_SLOTS] = {
	[SYS_READ] = L7_RECEIVES, [SYS_READV] = L7_RECEIVES_VECTOR, [SYS_RECVFROM] = L7_RECEIVES, [SYS_RECVMSG] = L7_RECEIVES_MESSAGE,
	[SYS_WRITE] = L7_SENDS, [SYS_WRITEV] = L7_SENDS_VECTOR, [SYS_SENDTO] = L7_SENDS, [SYS_SENDMSG] = L7_SENDS_MESSAGE,
	[SYS_SENDFILE] = L7_SENDS_FILE, [SYS_SPLICE] = L7_SPLICES, [SYS_SENDMMSG] = L7_SENDS_MANY, [SYS_RECVMMSG] = L7_RECEIVES_MANY,
};

/* Looks once more at what was moved, without taking it, or at what is no data. */
static __always_inline bool l7_only_looks(struct pt_regs *regs, u32 syscall)
{
	u64 flags = 0;

	if (syscall == SYS_RECVFROM || syscall == SYS_RECVMMSG)
		flags = regs_arg3(regs);
	else if (syscall == SYS_RECVMSG)
		flags = regs_arg2(regs);

	return flags & (MSG_PEEK | MSG_ERRQUEUE);
}

/* Hands a call that has moved bytes of a connection to layer 7; returns where it has not. */
static __always_inline void hand_to_l7(void *ctx, struct task_struct *current, struct pt_regs *regs, long ret, u32 syscall)
{
	barrier_var(syscall);
	if (syscall >= SYSCALL_SLOTS)
		return;
	u32 kind = l7_kinds[syscall];
	if (!kind || is_compat(current) || l7_only_looks(regs, syscall))
		return;
	struct sock *sk = NULL;
	if (kind != L7_SPLICES) {
		sk = fd_to_sock(current, regs_arg0(regs));
	} else {
		sk = fd_to_sock(current, regs_arg2(regs));
		kind = sk ? L7_SENDS_FILE : L7_RECEIVES_FILE;
		if (!sk)
			sk = fd_to_sock(current, regs_arg0(regs));
	}
	if (!sk || !is_inet(sk))
		return;
	u16 protocol = FOLLOW(sk, sk_protocol);
	struct l7_scratch *s = l7_scratch_of(L7_OF_CALLS);
	if (!s)
		return;
	s->run.key = ADDR(sk);
	s->run.syscall = syscall;
	s->run.kind = kind;
	s->run.result = ret;
	s->run.pid = task_pid(current);
	s->run.slot = slot_of_task(current);
	bool many = kind == L7_SENDS_MANY || kind == L7_RECEIVES_MANY; /* nobody does that with a stream */
	if (!many && (protocol == IPPROTO_TCP || protocol == (u16)IPPROTO_MPTCP))
		bpf_tail_call(ctx, &call_programs, CALL_L7);
	else if (protocol == IPPROTO_UDP && ret)
		bpf_tail_call(ctx, &call_programs, CALL_L7_DNS);
}

/* Ends with a tail call where a rule may match, or a connection has moved bytes. */
static __always_inline void dispatch(void *ctx, struct task_struct *current, struct pt_regs *regs, long ret, u32 syscall)
{
	if (count_syscalls)
		count_syscall(current, syscall, ret);
	if (watch_connect && syscall == SYS_CONNECT)
		connect_returned(current, regs_arg0(regs), ret);
	if (ret > 0)
		count_socket_bytes(current, syscall, regs, ret);
	if (watch_requests && ret >= 0)
		hand_to_l7(ctx, current, regs, ret, syscall); /* which hands it on to rules */
	if (is_call_wanted(syscall, ret))
		bpf_tail_call(ctx, &call_programs, CALL_EXIT);
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
	struct log2_hist *h = find_or_add(&syscall_latency, &key, (&(struct log2_hist){}));
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
