//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Plaintext at the libraries that encrypt it: OpenSSL and its like where their calls return, Go's crypto/tls where its
 * functions begin and at each instruction that returns. What is seen goes the same way as the bytes of system calls. */
#include "include/tls.h"

/* Programs behind those that are probes, as bpf/tls.go numbers them. */
enum { TLS_FIRST, TLS_TEXT, TLS_SQL, TLS_BINARY, TLS_HTTP2, TLS_NOBODY, TLS_PROGRAMS };
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TLS_PROGRAMS);
	__type(key, u32);
	__type(value, u32);
} tls_programs SEC(".maps");

/* Since 6.13 (7d1cd70d4b16) programs of this type may get a stack of their own, one for each processor, as if each of them
 * kept others of its kind off. Those on probes of user space do not, and a task that comes between writes over the stack of
 * the one before. A program with a tail call, were it to nobody, has the kernel's. */
#define TLS_PROBE(section, name)                                                  \
	static __always_inline void name##_hit(struct pt_regs *ctx);              \
	SEC(section)                                                              \
	int name(struct pt_regs *ctx)                                             \
	{                                                                         \
		name##_hit(ctx);                                                  \
		bpf_tail_call(ctx, &tls_programs, TLS_NOBODY);                    \
		return 0;                                                         \
	}                                                                         \
	static __always_inline void name##_hit(struct pt_regs *ctx)

/* ---- memory: a probe may be preempted by another one on the same processor since 6.0, so there are several, and whoever
 * finds that he is not alone takes the next ---- */

static __always_inline struct l7_scratch *tls_take(u32 looker, u64 owner)
{
	struct l7_scratch *s = l7_scratch_of(looker);

	if (!s)
		return NULL;
	increment(s->busy);
	barrier();
	if (*(volatile u64 *)&s->busy == 1) {
		s->owner = owner;
		s->run.looker = looker;
		return s;
	}
	__sync_fetch_and_add(&s->busy, -1);
	return NULL;
}

static __always_inline void tls_leave(struct l7_scratch *s)
{
	s->owner = 0;
	barrier();
	__sync_fetch_and_add(&s->busy, -1);
}

static __always_inline struct l7_scratch *tls_take_any(void)
{
	u64 owner = bpf_get_current_pid_tgid();

	for (u32 i = L7_OF_LIBRARIES; i < L7_LOOKERS; i++) {
		struct l7_scratch *s = tls_take(i, owner);
		if (s)
			return s;
	}
	return NULL;
}

/* The one that the program before has taken, for whoever is called by it; L7_LOOKERS if there is none. */
static __always_inline u32 tls_taken(void)
{
	u64 owner = bpf_get_current_pid_tgid();

	for (u32 i = L7_OF_LIBRARIES; i < L7_LOOKERS; i++) {
		struct l7_scratch *s = l7_scratch_of(i);
		if (s && s->owner == owner)
			return i;
	}
	return L7_LOOKERS;
}

/* ---- from a call to its connection ---- */

static __always_inline bool tls_wants_current(void)
{
	return tls_is_wanted(current_slot()) && !is_self();
}

/* Finds the call's socket, unless that is another connection's by now. */
static __always_inline void tls_find(struct tls_call *call)
{
	struct tls_object o = {.process = bpf_get_current_pid_tgid() >> 32, .object = call->object};
	struct tls_socket *s = bpf_map_lookup_elem(&tls_sockets, &o);

	if (!s)
		return;
	u64 key = s->sock;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (!c || c->identity != s->identity || c->tls != L7_DECRYPTED)
		return;
	call->sock = s->sock;
	call->identity = s->identity;
	call->guessed = s->guessed;
}

static __always_inline void tls_forget(u64 object)
{
	struct tls_object o = {.process = bpf_get_current_pid_tgid() >> 32, .object = object};

	bpf_map_delete_elem(&tls_sockets, &o);
}

static __always_inline void tls_keep(struct tls_caller *caller, struct tls_call *call)
{
	if (bpf_map_update_elem(&tls_calls, caller, call, BPF_ANY))
		tls_count(TLS_NO_MEMORY);
}

/* Bytes of a connection that nobody looks at: where its messages begin is not known any more. */
static __always_inline void tls_lose(struct l7_conn *c, bool response)
{
	tls_count(TLS_NO_MEMORY);
	l7_lose(c, &c->half[response & 1]);
}

/* Hands n bytes of plaintext on to the parsers. */
static __always_inline void tls_give(void *ctx, struct tls_call *call, u64 n)
{
	u64 key = call->sock;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);

	if (!c || c->identity != call->identity || c->tls != L7_DECRYPTED)
		return;
	bool response = call->writes == (c->role == L7_SERVER);
	struct l7_scratch *s = tls_take_any();
	if (!s) {
		tls_lose(c, response);
		return;
	}
	struct l7_run *r = &s->run;
	r->key = key;
	r->now = call->writes && !response ? call->begun : bpf_ktime_get_boot_ns();
	r->left = n;
	r->base = call->unread ? 0 : call->base;
	r->length = call->unread ? 0 : n;
	r->part = r->part_count = 0;
	r->slot = current_slot();
	r->pid = bpf_get_current_pid_tgid() >> 32;
	r->result = n;
	r->response = response;
	bpf_tail_call(ctx, &tls_programs, TLS_FIRST);
	tls_lose(c, response);
	tls_leave(s);
}

/* ---- the parsers ---- */

TLS_PROBE("uprobe", tls_first)
{
	u32 looker = tls_taken();
	struct l7_scratch *s = l7_scratch_of(looker);
	if (!s)
		return;
	struct l7_run *r = &s->run;
	u64 key = r->key;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (!c) {
		tls_leave(s);
		return;
	}
	l7_turn(r, c);
	if (c->protocol == L7_TCP)
		l7_exchange(r, c);
	if (c->protocol == L7_TCP || c->protocol == L7_TLS || l7_is_quick(r, c)) {
		tls_leave(s);
		return;
	}
	l7_recognise(r, c);
	u32 set = L7_SET(c->protocol & 31);
	if (set & L7_SET_FIRST) {
		if (l7_step(L7_SET_FIRST, l7_window(c->protocol), r, c))
			L7_ALL(first, s, looker);
	} else if (set & L7_SET_TEXT) {
		bpf_tail_call(ctx, &tls_programs, TLS_TEXT);
	} else if (set & L7_SET_SQL) {
		bpf_tail_call(ctx, &tls_programs, TLS_SQL);
	} else if (set & L7_SET_BINARY) {
		bpf_tail_call(ctx, &tls_programs, TLS_BINARY);
	} else if (set & L7_SET_HTTP2) {
		bpf_tail_call(ctx, &tls_programs, TLS_HTTP2);
	}
	tls_leave(s);
}

#define TLS_PROGRAM(name)                                                         \
	TLS_PROBE("uprobe", tls_##name)                                           \
	{                                                                         \
		u32 looker = tls_taken();                                         \
		struct l7_scratch *s = l7_scratch_of(looker);                     \
		if (!s)                                                           \
			return;                                                   \
		L7_ALL(name, s, looker);                                          \
		tls_leave(s);                                                     \
	}

TLS_PROGRAM(text)
TLS_PROGRAM(sql)
TLS_PROGRAM(binary)
TLS_PROGRAM(http2)

/* ---- OpenSSL, BoringSSL: nobody else may use the connection until the call returns, and only then is known how much of
 * it was done ---- */

static __always_inline void openssl_begins(u64 object, u64 base, bool writes, u64 counted, bool unread)
{
	struct tls_caller caller = {.thread = bpf_get_current_pid_tgid()};

	tls_count(TLS_OPENSSL_HITS);
	if (!tls_wants_current())
		return;
	struct tls_call *running = bpf_map_lookup_elem(&tls_calls, &caller);
	if (running && running->object == object && running->base == base)
		return; /* a call within this one does the work */
	struct tls_call call = {.object = object, .base = base, .counted = counted, .begun = bpf_ktime_get_boot_ns(),
				.writes = writes, .unread = unread};
	tls_find(&call);
	tls_keep(&caller, &call);
}

#if defined(__TARGET_ARCH_x86)
#define C_ARG0(ctx) ((ctx)->di)
#define C_ARG1(ctx) ((ctx)->si)
#define C_ARG3(ctx) ((ctx)->cx)
#define C_ARG4(ctx) ((ctx)->r8)
#define C_RESULT(ctx) ((ctx)->ax)
#define GO_ARG0(ctx) ((ctx)->ax)
#define GO_ARG1(ctx) ((ctx)->bx)
#define GO_ARG2(ctx) ((ctx)->cx)
#define GO_RESULT(ctx) ((ctx)->ax)
#define GO_STACK(ctx) (((struct pt_regs___go *)(ctx))->sp)
#elif defined(__TARGET_ARCH_arm64)
#define C_ARG0(ctx) ((ctx)->regs[0])
#define C_ARG1(ctx) ((ctx)->regs[1])
#define C_ARG3(ctx) ((ctx)->regs[3])
#define C_ARG4(ctx) ((ctx)->regs[4])
#define C_RESULT(ctx) ((ctx)->regs[0])
#define GO_ARG0(ctx) ((ctx)->regs[0])
#define GO_ARG1(ctx) ((ctx)->regs[1])
#define GO_ARG2(ctx) ((ctx)->regs[2])
#define GO_RESULT(ctx) ((ctx)->regs[0])
#define GO_STACK(ctx) (((struct pt_regs___go *)(ctx))->sp)
#endif

TLS_PROBE("uprobe", openssl_read)
{
	openssl_begins(C_ARG0(ctx), C_ARG1(ctx), false, 0, false);
}

TLS_PROBE("uprobe", openssl_read_ex)
{
	openssl_begins(C_ARG0(ctx), C_ARG1(ctx), false, C_ARG3(ctx), false);
}

TLS_PROBE("uprobe", openssl_write)
{
	openssl_begins(C_ARG0(ctx), C_ARG1(ctx), true, 0, false);
}

TLS_PROBE("uprobe", openssl_write_ex)
{
	openssl_begins(C_ARG0(ctx), C_ARG1(ctx), true, C_ARG3(ctx), false);
}

TLS_PROBE("uprobe", openssl_write_ex2)
{
	openssl_begins(C_ARG0(ctx), C_ARG1(ctx), true, C_ARG4(ctx), false);
}

TLS_PROBE("uprobe", openssl_sendfile)
{
	openssl_begins(C_ARG0(ctx), 0, true, 0, true);
}

/* How many bytes a call has read or written. */
static __always_inline u64 openssl_result(struct tls_call *call, u64 result)
{
	u64 n = 0;

	if (call->unread)
		return (s64)result > 0 ? result : 0;
	if (!call->counted)
		return (s32)result > 0 ? (u32)result : 0;
	if ((s32)result != 1 || bpf_probe_read_user(&n, sizeof(n), (void *)call->counted))
		return 0;
	return n;
}

/* The socket that the thread has received from last, for a library that is given bytes in memory. */
static __always_inline void openssl_guess(struct tls_call *call, u64 n)
{
	struct tls_caller caller = {.thread = bpf_get_current_pid_tgid()};
	struct tls_received received = {};

	if (!tls_recall(&caller, &received))
		return;
	u64 key = received.sock;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (c && c->identity == received.identity && c->tls == L7_ENCRYPTED && n < received.length)
		tls_note(call, caller.thread >> 32, key, c, true);
}

TLS_PROBE("uretprobe", openssl_returned)
{
	struct tls_caller caller = {.thread = bpf_get_current_pid_tgid()};
	struct tls_call *running = bpf_map_lookup_elem(&tls_calls, &caller);

	tls_count(TLS_OPENSSL_HITS);
	if (!running)
		return;
	struct tls_call call = *running;
	bpf_map_delete_elem(&tls_calls, &caller);
	u64 n = openssl_result(&call, C_RESULT(ctx));
	if (!call.sock)
		openssl_guess(&call, call.writes ? 0 : n); /* a write may be what ends a handshake */
	if (!n)
		return;
	if (call.sock)
		tls_give(ctx, &call, n);
	else
		tls_count(TLS_NO_SOCKET);
}

/* The handshake over memory: its thread has just received what it is given. */
TLS_PROBE("uprobe", openssl_handshake)
{
	struct tls_call call = {.object = C_ARG0(ctx)};

	tls_count(TLS_OPENSSL_HITS);
	if (!tls_wants_current())
		return;
	tls_find(&call);
	if (!call.sock)
		openssl_guess(&call, 0);
}

TLS_PROBE("uprobe", openssl_free)
{
	tls_count(TLS_OPENSSL_HITS);
	tls_forget(C_ARG0(ctx));
}

/* ---- Go: others may read while this one writes, and be answered before it returns: so what is written is looked at
 * before it is sent. What is read is known where the function returns: the compiler keeps the arguments right above the
 * address that it returns to, which bpf/tls_symbols.go makes sure of. So reads that were waiting when the probe came are
 * seen like all others, and each takes one trap. ---- */

static __always_inline struct tls_caller go_caller(struct pt_regs *ctx)
{
	struct tls_caller caller = {.thread = bpf_get_current_pid_tgid() >> 32, .goroutine = go_routine(ctx)};
	return caller;
}

/* A connection is found by its handshake, whose bytes this goroutine sends and receives, whoever reads and writes later. */
TLS_PROBE("uprobe", go_handshake)
{
	struct tls_call call = {.object = GO_ARG0(ctx)};
	struct tls_caller caller = go_caller(ctx);

	tls_count(TLS_GO_HITS);
	if (!tls_wants_current())
		return;
	tls_forget(call.object); /* of one that was never closed, at the same address */
	tls_keep(&caller, &call);
}

TLS_PROBE("uprobe", go_write)
{
	struct tls_call call = {.object = GO_ARG0(ctx), .base = GO_ARG1(ctx), .length = GO_ARG2(ctx), .writes = 1, .waits = 1};
	struct tls_caller caller = go_caller(ctx);

	tls_count(TLS_GO_HITS);
	if (!call.length || !tls_wants_current())
		return;
	call.begun = bpf_ktime_get_boot_ns();
	tls_find(&call);
	if (!call.sock) {
		tls_keep(&caller, &call);
		return;
	}
	bpf_map_delete_elem(&tls_calls, &caller); /* of a write before that failed and sent nothing */
	tls_give(ctx, &call, call.length);
}

/* Whether a read of n bytes into so much room can be what is in one of the records: all of it, or as much as there was
 * room for. */
static __always_inline bool go_may_have_read(struct tls_received *received, u64 n, u64 room)
{
	bool may = false;

	for (int i = 0; i < TLS_RECORDS; i++) {
		u64 record = received->records[i];
		may |= n < record && (n == room || record - n <= TLS_OVERHEAD);
	}
	return may;
}

static __always_inline void go_guess(struct tls_caller *caller, struct tls_call *call, u64 n)
{
	struct tls_received received = {};

	if (!tls_recall(caller, &received) || !go_may_have_read(&received, n, call->length))
		return;
	u64 key = received.sock;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (c && c->identity == received.identity && c->tls != L7_DECRYPTED)
		tls_note(call, caller->thread, key, c, true);
}

TLS_PROBE("uprobe", go_read_returns)
{
	u64 arguments[3] = {};
	s64 n = GO_RESULT(ctx);

	tls_count(TLS_GO_HITS);
	if (n <= 0 || !tls_wants_current())
		return;
	if (bpf_probe_read_user(arguments, sizeof(arguments), (void *)(GO_STACK(ctx) + 8)) || (u64)n > arguments[2])
		return;
	struct tls_call call = {.object = arguments[0], .base = arguments[1], .length = arguments[2]};
	struct tls_caller caller = go_caller(ctx);
	tls_find(&call);
	if (!call.sock)
		go_guess(&caller, &call, n);
	if (call.sock)
		tls_give(ctx, &call, n);
	else
		tls_count(TLS_NO_SOCKET);
}

TLS_PROBE("uprobe", go_close)
{
	struct tls_caller caller = go_caller(ctx);

	tls_count(TLS_GO_HITS);
	tls_forget(GO_ARG0(ctx));
	bpf_map_delete_elem(&tls_calls, &caller);
}

/* ---- whether a function's return can be probed at all, see bpf/tls_refused.go ---- */

TLS_PROBE("uretprobe", tls_tried)
{
	tls_count(TLS_TRIED);
}
