/* SPDX-License-Identifier: Apache-2.0 */
/* Which system calls rules can match, and the one that is looked at. What to read of a call and which of its calls can
 * match at all is in a recipe, made from the loaded rules. */
#ifndef YAGURA_CALLS_H
#define YAGURA_CALLS_H

#include "helpers.h"
#include "path.h"

#define CALL_BYTES 16384 /* where the last section of an event may begin; a power of two */

/* What the dispatcher asks on every call, before anything is read: in memory of a known address, so that asking costs a
 * load and no look-up. */
volatile struct call_switches switches SEC(".data.calls") = {};

struct recipes {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SYSCALL_SLOTS);
	__type(key, u32);
	__type(value, struct call_recipe);
};

/* The recipes of all calls are exchanged at once, so that none is read while it is half old and half new, and whoever has
 * exchanged them knows that no program goes by the old ones any more. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct recipes);
} call_recipes SEC(".maps");

/* Programs behind the dispatcher. */
enum call_program { CALL_EXIT, CALL_L7, CALL_L7_SQL, CALL_L7_BINARY, CALL_L7_HTTP2, CALL_L7_DNS, CALL_L7_TEXT, CALL_PROGRAMS };
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CALL_PROGRAMS);
	__type(key, u32);
	__type(value, u32);
} call_programs SEC(".maps");

/* An object, and by which mount it is reached. Nothing keeps it from going away. */
struct place {
	struct dentry *dentry;
	struct vfsmount *mnt;
};

/* One event while it is put together. What the functions need of it is in memory, and they take nothing but numbers: so
 * the verifier looks at each of them once, however often it is called. */
struct call_scratch {
	u64 busy; /* somebody was preempted while he put one together: the kernel lets that happen since 7.0 */
	struct walk walk;
	struct path_buffer path;
	struct call_recipe r;
	u64 strings[2]; /* the kernel's copies of the texts, where it keeps some: see ring.bpf.c */
	u64 hashes[2];  /* of the texts as they are now */
	u64 file;       /* address of the descriptor's file, if it is known without the descriptor */
	u64 sock;       /* address of the descriptor's socket */
	u64 request;    /* address of the request of io_uring */
	struct path_prefix prefix;
	struct path_name name;
	struct place found; /* of a name, by the path of so many bytes in data */
	u32 found_at, found_bytes;
	struct place from[2]; /* where the texts start that are relative; without a dentry if their paths do not lead there */
	u32 judged_bytes, judged_terms; /* of the last path, whose head is in prefix */
	u32 is_named, name_terms; /* of the name in its key */
	char head[CLEAN_BYTES + 16];
	struct call_event e;
	char data[CALL_BYTES + PATH_MAX_BYTES + NAME_MAX_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct call_scratch);
} call_scratch SEC(".maps");

static __always_inline struct call_scratch *scratch(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&call_scratch, &zero);
}

/* Whether rules ask for calls of this number with such a result. */
static __always_inline bool is_call_wanted(u32 syscall, s64 result)
{
	u8 sign = result < 0 ? 1 : result ? 4 : 2;

	barrier_var(syscall); /* the verifier wants to see the bound */
	return syscall < SYSCALL_SLOTS && switches.results[syscall] & sign;
}

/* The terms that allow this result. */
static __always_inline u32 result_terms(struct call_recipe *r, s64 result)
{
	return result < 0 ? r->results[0] : result ? r->results[2] : r->results[1];
}

/* The dense number of the call that is ending, SYSCALL_OTHER for one that has none. */
static __always_inline u32 dense_syscall(struct task_struct *current, s32 nr)
{
	if (nr == -1)
		return SYS_RT_SIGRETURN; /* it restores the interrupted registers, and so forgets its own number */
	if (nr < 0 || nr >= 512)
		return SYSCALL_OTHER;
	if (is_compat(current))
		nr = compat_syscalls[nr & 511];
	return nr < SYSCALL_SLOTS ? nr : SYSCALL_OTHER;
}

/* The dense number of the call that the current task is in, -1 where the kernel does not say (dd6e10fbd9fb, 5.15). */
static __always_inline s32 executing_dense(void)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id___x, BPF_FUNC_task_pt_regs___x))
		return -1;
	struct pt_regs *regs = (void *)bpf_task_pt_regs(current_task_btf());
	s32 nr = regs_syscall(regs);
	return nr < 0 ? -1 : (s32)dense_syscall(current_task_btf(), nr);
}

/* Begins an event of a call, with its recipe in scratch; false if no rule asks for it. Whoever has begun calls end_call. */
static __always_inline bool begin_call(struct call_scratch *s, u32 syscall)
{
	u32 zero = 0;
	void *recipes = bpf_map_lookup_elem(&call_recipes, &zero);
	struct call_recipe *r = recipes ? bpf_map_lookup_elem(recipes, &syscall) : NULL;

	if (!r || !r->wanted)
		return false;
	if (s->busy) {
		count_loss(events[EVENT_SYSCALL]);
		return false;
	}
	s->busy = 1;
	barrier();
	s->r = *r;
	__builtin_memset(&s->e, 0, sizeof(s->e));
	s->walk.dentry = NULL;
	s->walk.length = 0;
	s->strings[0] = s->strings[1] = 0;
	s->hashes[0] = s->hashes[1] = 0;
	s->from[0].dentry = s->from[1].dentry = NULL;
	s->file = 0;
	s->judged_bytes = 0;
	s->found_bytes = 0;
	s->is_named = 0;
	s->e.type = r->type;
	s->e.fd = -1;
	return true;
}

static __always_inline void end_call(struct call_scratch *s)
{
	barrier();
	s->busy = 0;
}

#endif
