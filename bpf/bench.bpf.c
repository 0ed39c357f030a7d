//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Yardsticks: what a hook costs that does nothing. Loaded by benchmarks and `doctor` only. */
#include "include/helpers.h"

SEC("tp_btf/sys_exit")
int BPF_PROG(empty_sys_exit, struct pt_regs *regs, long ret)
{
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(empty_sys_enter, struct pt_regs *regs, long nr)
{
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_getppid")
int empty_sys_exit_getppid(void *ctx)
{
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int empty_sys_exit_connect(void *ctx)
{
	return 0;
}

/* Learns our own number in the initial pid namespace: run once, by BPF_PROG_TEST_RUN. */
u32 self_found = 0;

SEC("raw_tp/sys_enter")
int find_self(void *ctx)
{
	self_found = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(empty_sched_switch, bool preempted, struct task_struct *from, struct task_struct *to)
{
	return 0;
}
