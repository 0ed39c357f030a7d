//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of io_uring that replace a system call a rule asks for. What is asked is read when a request is submitted,
 * from the kernel's own copies; the event is sent when it completes, with its result. */
#include "include/call_read.h"
#include "include/ring.h"

#define RING_TEXT_BYTES 512 /* a power of two */

/* A request that has not completed. */
struct ring_request {
	struct call_event e;
	char texts[2][RING_TEXT_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64); /* address of the request */
	__type(value, struct ring_request);
} ring_requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ring_request);
} ring_scratch SEC(".maps");

static __always_inline u32 ring_syscall(struct io_kiocb *req)
{
	u32 op = BPF_CORE_READ(req, opcode);

	return op < RING_OPS ? ring_calls[op & (RING_OPS - 1)] : SYSCALL_OTHER;
}

static __always_inline u64 name_of(struct filename *f)
{
	return f ? ADDR(BPF_CORE_READ(f, name)) : 0;
}

#define read_name(type, req, field)                                                            \
	({                                                                                     \
		struct type##___70 *new = (void *)(req);                                       \
		struct type *old = (void *)(req);                                              \
		name_of(bpf_core_field_exists(new->field.__incomplete_filename)                \
				? BPF_CORE_READ(new, field.__incomplete_filename)              \
				: BPF_CORE_READ(old, field));                                  \
	})

#define read_command(type, req, field) BPF_CORE_READ((struct type *)(req), field)

static __always_inline void read_names(struct call_scratch *s, struct io_kiocb *req, u32 op)
{
	struct call_event *e = &s->e;

	switch (op) {
	case RING_RENAMEAT:
		e->args[0] = read_command(io_rename, req, old_dfd);
		e->args[2] = read_command(io_rename, req, new_dfd);
		e->args[4] = read_command(io_rename, req, flags);
		s->strings[0] = read_name(io_rename, req, oldpath);
		s->strings[1] = read_name(io_rename, req, newpath);
		break;
	case RING_LINKAT:
		e->args[0] = read_command(io_link, req, old_dfd);
		e->args[2] = read_command(io_link, req, new_dfd);
		e->args[4] = read_command(io_link, req, flags);
		s->strings[0] = read_name(io_link, req, oldpath);
		s->strings[1] = read_name(io_link, req, newpath);
		break;
	case RING_SYMLINKAT:
		e->args[1] = read_command(io_link, req, new_dfd);
		s->strings[0] = read_name(io_link, req, oldpath);
		s->strings[1] = read_name(io_link, req, newpath);
		break;
	case RING_UNLINKAT:
		e->args[0] = read_command(io_unlink, req, dfd);
		e->args[2] = read_command(io_unlink, req, flags);
		s->strings[0] = read_name(io_unlink, req, filename);
		break;
	case RING_MKDIRAT:
		e->args[0] = read_command(io_mkdir, req, dfd);
		e->args[2] = read_command(io_mkdir, req, mode);
		s->strings[0] = read_name(io_mkdir, req, filename);
		break;
	}
}

static __always_inline void read_open(struct call_scratch *s, struct io_kiocb *req, u32 op)
{
	struct call_event *e = &s->e;
	u64 flags = read_command(io_open, req, how.flags), mode = read_command(io_open, req, how.mode);

	e->args[0] = read_command(io_open, req, dfd);
	s->strings[0] = read_name(io_open, req, filename);
	if (op == RING_OPENAT) {
		e->args[2] = flags;
		e->args[3] = mode;
		return;
	}
	e->words[0] = flags;
	e->words[1] = mode;
	e->words[2] = read_command(io_open, req, how.resolve);
}

static __always_inline void read_socket(struct call_event *e, struct io_kiocb *req, u32 op)
{
	e->args[0] = (s64)BPF_CORE_READ(req, cqe.fd);
	switch (op) {
	case RING_CONNECT:
		e->args[1] = ADDR(read_command(io_connect, req, addr));
		e->args[2] = read_command(io_connect, req, addr_len);
		break;
	case RING_ACCEPT:
		e->args[1] = ADDR(read_command(io_accept, req, addr));
		e->args[3] = read_command(io_accept, req, flags);
		break;
	case RING_SOCKET:
		if (!bpf_core_type_exists(struct io_socket))
			break;
		e->args[0] = read_command(io_socket, req, domain);
		e->args[1] = read_command(io_socket, req, type);
		e->args[2] = read_command(io_socket, req, protocol);
		break;
	case RING_LISTEN:
		if (bpf_core_type_exists(struct io_listen))
			e->args[1] = read_command(io_listen, req, backlog);
		break;
	}
}

/* The arguments of the call that a request replaces, in their registers. */
__noinline int read_request(void)
{
	struct call_scratch *s = scratch();

	if (!s)
		return 0;
	struct io_kiocb *req = (void *)s->request;
	u32 op = BPF_CORE_READ(req, opcode);
	s->e.flags = CALL_RING;
	if (op == RING_OPENAT || op == RING_OPENAT2)
		read_open(s, req, op);
	else if (op >= RING_RENAMEAT && op <= RING_LINKAT)
		read_names(s, req, op);
	else
		read_socket(&s->e, req, op);
	return 0;
}

/* Whether what a request opens is put into the ring's own table, where it has no descriptor. */
static __always_inline bool opens_into_ring(struct io_kiocb *req)
{
	u32 op = BPF_CORE_READ(req, opcode);

	if (op == RING_OPENAT || op == RING_OPENAT2)
		return read_command(io_open, req, file_slot);
	if (op == RING_ACCEPT)
		return read_command(io_accept, req, file_slot);
	if (op == RING_SOCKET && bpf_core_type_exists(struct io_socket))
		return read_command(io_socket, req, file_slot);
	return false;
}

static __always_inline void send_request(struct call_scratch *s, u32 terms)
{
	terms = gather(terms);
	if (terms)
		send_call(s);
	else
		count_loss(filtered);
}

/* Nobody will tell how it ends: what can be said now. */
static __always_inline void send_unfinished(struct call_scratch *s)
{
	u32 terms = s->r.results[0] | s->r.results[1] | s->r.results[2];

	s->r.fd = FROM_NOTHING;
	s->r.anywhere = ALL_TERMS;
	send_request(s, terms);
}

static __always_inline void keep_request(struct call_scratch *s, u64 key)
{
	u32 zero = 0, second = s->e.lengths[SECTION_TEXT0];
	struct ring_request *kept = bpf_map_lookup_elem(&ring_scratch, &zero);

	if (!kept)
		return;
	for (int i = 0; i < 2; i++) {
		if (s->e.lengths[i] > RING_TEXT_BYTES) {
			s->e.lengths[i] = RING_TEXT_BYTES;
			s->e.flags |= CALL_CUT0 << i;
		}
	}
	kept->e = s->e;
	bpf_probe_read_kernel(kept->texts[0], RING_TEXT_BYTES, s->data);
	bpf_probe_read_kernel(kept->texts[1], RING_TEXT_BYTES, s->data + (second & (CALL_BYTES - 1)));
	bpf_map_update_elem(&ring_requests, &key, kept, BPF_ANY);
}

static __always_inline int submitted(struct io_kiocb *req)
{
	u32 syscall = ring_syscall(req);
	struct call_scratch *s = scratch();

	barrier_var(syscall);
	if (!s || syscall >= SYSCALL_SLOTS || !switches.results[syscall] || is_self() || !begin_call(s, syscall))
		return 0;
	struct task_struct *current = current_task();
	s->request = ADDR(req);
	read_request();
	add_texts(s);
	fill_header(&s->e.h, EVENT_SYSCALL, current);
	fill_caller(&s->e, current);
	if (BPF_CORE_READ(req, flags) & REQ_F_CQE_SKIP)
		send_unfinished(s);
	else
		keep_request(s, ADDR(req));
	end_call(s);
	return 0;
}

SEC("tp_btf/io_uring_submit_req") /* 6.4 */
int BPF_PROG(io_uring_submit, struct io_kiocb *req)
{
	return submitted(req);
}

SEC("tp_btf/io_uring_submit_sqe") /* 6.0 to 6.3; before, it was not told which request it is about */
int BPF_PROG(io_uring_submit_old, struct io_kiocb *req)
{
	return submitted(req);
}

/* What was kept at submission, in scratch; what is not there any more can only be asked of the request. */
static __always_inline void restore_request(struct call_scratch *s, struct io_kiocb *req, u64 key)
{
	struct ring_request *kept = bpf_map_lookup_elem(&ring_requests, &key);
	struct task_struct *current = current_task();

	if (!kept) {
		s->request = key;
		read_request();
		s->strings[0] = s->strings[1] = 0;
		s->e.flags |= CALL_FAULT0 | CALL_FAULT1;
		fill_header(&s->e.h, EVENT_SYSCALL, current);
		fill_caller(&s->e, current);
		return;
	}
	s->e = kept->e;
	u32 first = s->e.lengths[SECTION_TEXT0] & (2 * RING_TEXT_BYTES - 1);
	bpf_probe_read_kernel(s->data, RING_TEXT_BYTES, kept->texts[0]);
	bpf_probe_read_kernel(s->data + first, RING_TEXT_BYTES, kept->texts[1]);
	s->walk.length = s->e.lengths[SECTION_TEXT0] + s->e.lengths[SECTION_TEXT1];
}

static __always_inline int completed(struct io_kiocb *req, s32 result, u32 flags)
{
	u32 syscall = req ? ring_syscall(req) : SYSCALL_OTHER;
	struct call_scratch *s = scratch();
	u64 key = ADDR(req);

	if (!s || !is_call_wanted(syscall, result) || is_self() || !begin_call(s, syscall))
		return 0;
	restore_request(s, req, key);
	if (!(flags & IORING_CQE_F_MORE))
		bpf_map_delete_elem(&ring_requests, &key);
	s->e.result = result;
	if (s->r.names) { /* where they start is of another task, perhaps */
		s->r.anywhere = ALL_TERMS;
	} else if (result >= 0 && opens_into_ring(req)) {
		s->r.fd = FROM_NOTHING;
		s->r.anywhere = ALL_TERMS;
	} else if (s->r.fd >= 0) {
		s->file = ADDR(BPF_CORE_READ(req, file));
	}
	send_request(s, result_terms(&s->r, result));
	end_call(s);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int io_uring_complete(u64 *ctx)
{
	if (!complete_has_cqe) /* (ctx, req, user_data, res, cflags, …) from 6.0 */
		return completed((void *)ctx[1], ctx[3], ctx[4]);
	struct io_uring_cqe *cqe = (void *)ctx[2]; /* (ctx, req, cqe) */
	return completed((void *)ctx[1], BPF_CORE_READ(cqe, res), BPF_CORE_READ(cqe, flags));
}
