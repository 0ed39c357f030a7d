//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that a rule may match, with what their arguments led to; everything else stays in the kernel. */
#include "include/call_match.h"
#include "include/call_read.h"

static __always_inline void read_args(struct call_event *e, struct pt_regs *regs, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		e->args[0] = (u32)regs->bx;
		e->args[1] = (u32)regs->cx;
		e->args[2] = (u32)regs->dx;
		e->args[3] = (u32)regs->si;
		e->args[4] = (u32)regs->di;
		e->args[5] = (u32)regs->bp;
		return;
	}
#endif
	e->args[0] = regs_arg0(regs);
	e->args[1] = regs_arg1(regs);
	e->args[2] = regs_arg2(regs);
	e->args[3] = regs_arg3(regs);
	e->args[4] = regs_arg4(regs);
	e->args[5] = regs_arg5(regs);
}

/* ---- texts as they were when the call began, where a rule wants to know whether they have changed ---- */

struct text_hashes {
	u64 hashes[2]; /* 0: not known */
	u32 syscall, reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32); /* thread */
	__type(value, struct text_hashes);
} texts_at_entry SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *current = current_task();
	u32 syscall = dense_syscall(current, nr);
	struct call_scratch *s = scratch();
	struct text_hashes h = {.syscall = syscall};
	u32 thread = bpf_get_current_pid_tgid();

	barrier_var(syscall);
	if (!s || syscall >= SYSCALL_SLOTS || !switches.entry[syscall] || is_own_task(current))
		return 0;
	if (!begin_call(s, syscall))
		return 0;
	read_args(&s->e, regs, is_compat(current));
	add_texts(s);
	h.hashes[0] = s->hashes[0];
	h.hashes[1] = s->hashes[1];
	end_call(s);
	bpf_map_update_elem(&texts_at_entry, &thread, &h, BPF_ANY);
	return 0;
}

static __always_inline bool is_unstable(struct call_scratch *s, u32 syscall)
{
	u32 thread = bpf_get_current_pid_tgid();
	struct text_hashes *h = bpf_map_lookup_elem(&texts_at_entry, &thread);

	if (!h || h->syscall != syscall)
		return false;
	u64 was0 = h->hashes[0], was1 = h->hashes[1];
	bpf_map_delete_elem(&texts_at_entry, &thread);
	return (was0 && s->hashes[0] && was0 != s->hashes[0]) || (was1 && s->hashes[1] && was1 != s->hashes[1]);
}

static __always_inline void report_call(struct call_scratch *s, struct task_struct *current, struct pt_regs *regs, u32 syscall)
{
	u32 terms = result_terms(&s->r, s->e.result), bytes = s->r.word_bytes;
	bool compat = is_compat(current);

	if (!terms)
		return;
	s->e.flags = compat ? CALL_COMPAT : 0;
	read_args(&s->e, regs, compat);
	if (s->r.words >= 0 && bytes <= sizeof(s->e.words))
		bpf_probe_read_user(s->e.words, bytes, (void *)call_arg(s, s->r.words));
	add_texts(s);
	terms = gather(terms);
	if (s->r.entry && is_unstable(s, syscall)) {
		s->e.flags |= CALL_UNSTABLE; /* another text than this one may have been meant */
	} else if (!terms) {
		count_loss(filtered);
		return;
	}
	fill_header(&s->e.h, EVENT_SYSCALL, current);
	fill_caller(&s->e, current);
	send_call(s);
}

/* Runs as a tail call of the dispatcher on sys_exit, so that a kernel that refuses it still counts. */
SEC("tp_btf/sys_exit")
int BPF_PROG(call_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *current = current_task();
	struct call_scratch *s = scratch();
	u32 syscall = dense_syscall(current, regs_syscall(regs));

	if (!s || !begin_call(s, syscall))
		return 0;
	s->e.result = ret;
	report_call(s, current, regs, syscall);
	end_call(s);
	return 0;
}
