//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and responses of layer 7: what system calls move through sockets, told apart by protocol and paired by
 * connection. No request is told to user space one by one. */
#include "include/calls.h"
#include "include/l7_state.h"

/* ---- what a system call has moved ---- */

static __always_inline bool l7_is_sent(u32 kind)
{
	return kind == L7_SENDS || kind == L7_SENDS_VECTOR || kind == L7_SENDS_MESSAGE || kind == L7_SENDS_FILE;
}

/* Notes where the bytes of the call are; what is beyond the parts is only known to be there. */
static __always_inline void l7_locate_vector(struct l7_run *r, u64 vector, u64 count)
{
	if (count > L7_PARTS)
		count = L7_PARTS;
	if (!count || bpf_probe_read_user(r->parts, count * sizeof(r->parts[0]), (void *)vector))
		return;
	r->base = r->parts[0][0];
	r->length = r->parts[0][1];
	r->part = 1;
	r->part_count = count;
}

struct l7_msghdr {
	u64 name, name_length, vector, vector_length, control, control_length, flags;
};

static __always_inline void l7_locate_at(struct l7_run *r, u32 kind, u64 arg1, u64 arg2)
{
	if (kind == L7_IGNORED)
		return; /* it was done, and is plaintext by now */
	r->base = r->length = 0;
	r->part = r->part_count = 0;
	switch (kind) {
	case L7_SENDS: case L7_RECEIVES:
		r->base = arg1;
		r->length = r->left;
		return;
	case L7_SENDS_VECTOR: case L7_RECEIVES_VECTOR:
		l7_locate_vector(r, arg1, arg2);
		return;
	case L7_SENDS_MESSAGE: case L7_RECEIVES_MESSAGE: {
		struct l7_msghdr m = {};
		if (!bpf_probe_read_user(&m, sizeof(m), (void *)arg1))
			l7_locate_vector(r, m.vector, m.vector_length);
		return;
	}
	}
}

static __always_inline void l7_locate(struct l7_run *r, struct pt_regs *regs, u32 kind)
{
	l7_locate_at(r, kind, regs_arg1(regs), regs_arg2(regs));
}

#include "include/tls.h"

/* ---- connections ---- */

/* IPv4 as IPv6 writes it. */
static __always_inline void l7_map_address(u8 *to, u32 address)
{
	((u32 *)to)[0] = 0;
	((u32 *)to)[1] = 0;
	((u32 *)to)[2] = 0xffff0000; /* ::ffff:, on a little-endian machine */
	((u32 *)to)[3] = address;
}

static __always_inline void l7_addresses(struct sock *sk, struct l7_conn *c)
{
	c->family = FOLLOW(sk, __sk_common.skc_family);
	c->local_port = FOLLOW(sk, __sk_common.skc_num);
	c->remote_port = __builtin_bswap16(FOLLOW(sk, __sk_common.skc_dport));
	if (c->family == AF_INET) {
		l7_map_address(c->local, FOLLOW(sk, __sk_common.skc_rcv_saddr));
		l7_map_address(c->remote, FOLLOW(sk, __sk_common.skc_daddr));
	} else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		BPF_CORE_READ_INTO((struct in6_addr *)c->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)c->remote, sk, __sk_common.skc_v6_daddr);
	}
}

static __always_inline u64 l7_identity(struct sock *sk)
{
	return (u64)FOLLOW(sk, __sk_common.skc_num) << 48 | (u64)FOLLOW(sk, __sk_common.skc_dport) << 32 |
	       FOLLOW(sk, __sk_common.skc_daddr);
}

/* The socket's own state tells which end it is: it was noted when it was connected or accepted, and one that is older than
 * we are has the port of a socket that listens, or not. */
static __always_inline u8 l7_role_of(struct sock *sk)
{
	u64 key = ADDR(sk);
	struct owner *o = bpf_map_lookup_elem(&owners, &key);

	if (o && o->role)
		return o->role == OWNER_ACCEPTED ? L7_SERVER : L7_CLIENT;
	struct listen_key k = listen_key_of(sk);
	return bpf_map_lookup_elem(&listeners, &k) ? L7_SERVER : L7_CLIENT;
}

static __always_inline void l7_ends_of(struct l7_ends *e, struct l7_conn *c, bool is_server)
{
	__builtin_memcpy(e->client, is_server ? c->remote : c->local, 16);
	__builtin_memcpy(e->server, is_server ? c->local : c->remote, 16);
	e->client_port = is_server ? c->remote_port : c->local_port;
	e->server_port = is_server ? c->local_port : c->remote_port;
}

static __always_inline void l7_find_peer(struct l7_conn *c)
{
	struct l7_ends e = {.is_server = c->role != L7_SERVER};

	l7_ends_of(&e, c, c->role == L7_SERVER);
	struct owner *o = bpf_map_lookup_elem(&l7_peers, &e);
	if (!o)
		return;
	c->peer_slot = o->slot;
	c->peer_generation = o->generation;
}

/* A connection whose first bytes are seen now, not necessarily its first. */
static __noinline void l7_meet(struct l7_scratch *s, struct sock *sk)
{
	struct l7_conn *c = &s->fresh;
	struct tcp_sock *tcp = (void *)sk;

	__builtin_memset(c, 0, sizeof(*c));
	c->identity = l7_identity(sk);
	c->born = s->run.now;
	c->direction = 2;
	c->role = l7_role_of(sk);
	c->ns_net = FOLLOW(FOLLOW(sk, __sk_common.skc_net.net), ns.inum);
	l7_addresses(sk, c);
	l7_find_peer(c);
	bpf_map_delete_elem(&l7_hpacks, &s->run.key); /* of a socket whose end was missed */
	c->joined = is_tcp(sk) && FOLLOW(tcp, bytes_received) > (u64)s->run.result;
	if (bpf_map_update_elem(&l7_conns, &s->run.key, c, BPF_ANY))
		l7_unmatched(L7_TCP, L7_NO_ROOM);
}

static __always_inline struct l7_conn *l7_conn_of(struct l7_scratch *s, struct sock *sk)
{
	u64 key = s->run.key;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);

	if (c && c->identity == l7_identity(sk))
		return c;
	l7_meet(s, sk);
	return bpf_map_lookup_elem(&l7_conns, &key);
}

/* ---- the parsers: each is a global function that finds its memory itself, so that the verifier looks at it once, by itself,
 * however many calls lead to it. It works on a copy of what it may change of the connection. ---- */

static __always_inline struct l7_half *l7_half_of(struct l7_scratch *s) { return &s->fresh.half[s->run.response & 1]; }

#define L7_LOOK(parsed, name)                                                     \
	__noinline int l7_look_##name(u32 looker)                                 \
	{                                                                         \
		struct l7_scratch *s = l7_scratch_of(looker);                     \
		if (s)                                                            \
			name##_look(&s->fresh, l7_half_of(s), &s->run.look, &s->run.verdict); \
		return 0;                                                         \
	}
L7_EACH_PARSER(L7_LOOK)

#define L7_CALL(name) l7_look_##name(looker)

static __always_inline void l7_parse(u32 set, struct l7_run *r, struct l7_conn *c, struct l7_half *h)
{
	struct l7_scratch *s = l7_scratch_around(r);
	struct l7_half *half = l7_half_of(s);
	u32 protocol = c->protocol, looker = r->looker;

	s->fresh.protocol = protocol;
	s->fresh.role = c->role;
	s->fresh.tls = c->tls;
	__builtin_memcpy(s->own, c->own, sizeof(c->own));
	__builtin_memcpy(s->fresh.own, s->own, sizeof(c->own));
	*half = *h;
	l7_call_parser(set, protocol, &r->verdict);
	c->tls = s->fresh.tls;
	for (u32 i = 0; i < sizeof(c->own) / sizeof(c->own[0]); i++)
		if (s->fresh.own[i] != s->own[i]) /* the others may be written at the same time, by who looks the other way */
			c->own[i] = s->fresh.own[i];
	*h = *half;
}

__noinline int l7_advance_one(u32 looker, u64 n)
{
	struct l7_scratch *s = l7_scratch_of(looker);
	if (s)
		l7_advance_parts(&s->run, n);
	return 0;
}

__noinline int l7_fill_one(u32 looker, u32 window)
{
	struct l7_scratch *s = l7_scratch_of(looker);
	if (s)
		l7_fill_parts(&s->run, window);
	return 0;
}

static __always_inline void l7_advance_rest(struct l7_run *r, u64 n) { l7_advance_one(r->looker, n); }
static __always_inline void l7_fill_rest(struct l7_run *r, u32 window) { l7_fill_one(r->looker, window); }

__noinline int l7_classify_one(u32 looker)
{
	struct l7_scratch *s = l7_scratch_of(looker);
	return s ? l7_classify(&s->run.look) : L7_UNKNOWN;
}

static __always_inline u8 l7_classify_look(struct l7_run *r) { return l7_classify_one(r->looker); }

#define L7_MORE(name, set)                                                        \
	__noinline int l7_more_##name(u32 looker)                                 \
	{                                                                         \
		struct l7_scratch *s = l7_scratch_of(looker);                     \
		if (!s)                                                           \
			return 0;                                                 \
		u64 key = s->run.key;                                             \
		struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);         \
		return c && l7_step(set, l7_window(c->protocol), &s->run, c);     \
	}                                                                         \
	/* Loops within loops: the verifier goes round each by itself. */         \
	__noinline int l7_many_##name(u32 looker)                                 \
	{                                                                         \
		for (int i = 0; i < L7_STEPS / 64; i++)                           \
			if (!l7_more_##name(looker))                              \
				return 0;                                         \
		return 1;                                                         \
	}

L7_MORE(first, L7_SET_FIRST)
L7_MORE(text, L7_SET_TEXT)
L7_MORE(sql, L7_SET_SQL)
L7_MORE(binary, L7_SET_BINARY)
L7_MORE(http2, L7_SET_HTTP2)

/* Whoever has so many messages in one call that we give up. */
static __always_inline void l7_give_up(struct l7_scratch *s)
{
	u64 key = s->run.key;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (c)
		l7_lose(c, &c->half[s->run.response & 1]);
}

#define L7_ALL(name, s, looker)                                                   \
	({                                                                        \
		int i = 0;                                                        \
		for (; i < 64 && l7_many_##name(looker); i++)                     \
			;                                                         \
		if (i == 64)                                                      \
			l7_give_up(s);                                            \
	})

/* The end of every program behind the dispatcher: what rules ask of the call. */
static __always_inline int l7_pass(void *ctx, struct l7_run *r)
{
	if (is_call_wanted(r->syscall, r->result))
		bpf_tail_call(ctx, &call_programs, CALL_EXIT);
	return 0;
}

/* A read that returned nothing: whoever asked will get no more. */
static __always_inline void l7_end_of_stream(struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[1];

	if (c->role != L7_CLIENT || !l7_lasts(h))
		return;
	h->skip = 0;
	l7_end(r, c, h, L7_OLDEST);
}

static __always_inline bool l7_is_quick(struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[r->response & 1];

	if (h->lost)
		return true;
	if (h->skip == L7_FOREVER) {
		h->body += r->left;
		return true;
	}
	if (h->skip <= r->left)
		return false;
	h->skip -= r->left;
	return true;
}

/* Notes when the call was seen. */
static __always_inline void l7_note_time(struct l7_run *r)
{
	r->looker = L7_OF_CALLS;
	r->now = bpf_ktime_get_boot_ns();
}

/* The dispatcher has put the socket, the call, its result and whose it is into the scratch. */
SEC("tp_btf/sys_exit")
int BPF_PROG(l7_exit, struct pt_regs *regs, long ret)
{
	struct l7_scratch *s = l7_scratch_of(L7_OF_CALLS);
	if (!s)
		return 0;
	struct l7_run *r = &s->run;
	struct sock *sk = (void *)(unsigned long)r->key;
	u32 kind = r->kind;

	l7_note_time(r);
	r->left = r->result;
	struct l7_conn *c = l7_conn_of(s, sk);
	if (!c)
		return l7_pass(ctx, r);
	bool sent = l7_is_sent(kind);
	if (c->slot != r->slot) {
		c->slot = r->slot;
		c->generation = slot_generation_of(r->slot);
		c->admitted = 0;
	}
	c->pid = r->pid;
	if (!r->left) {
		if (!sent)
			l7_end_of_stream(r, c);
		return l7_pass(ctx, r);
	}
	c->bytes[sent] += r->left;
	if (tls_may_be(c)) {
		if (tls_passed(go_routine(regs), sent, regs_arg1(regs), regs_arg2(regs)))
			return l7_pass(ctx, r);
		kind = r->kind;
	}
	if (c->tls == L7_ENCRYPTED && !c->tries && is_ktls(sk)) {
		tls_begin_anew(c, L7_IN_KERNEL);
		c->tries = 1; /* should only one direction be the kernel's, it is encrypted to us, for ever */
	}
	r->response = sent == (c->role == L7_SERVER);
	l7_turn(r, c);
	if (c->protocol == L7_TCP)
		l7_exchange(r, c);
	if (c->protocol == L7_TCP || c->protocol == L7_TLS || l7_is_quick(r, c))
		return l7_pass(ctx, r);
	l7_locate(r, regs, kind);
	l7_recognise(r, c);
	u32 set = L7_SET(c->protocol & 31);
	if (set & L7_SET_FIRST) {
		if (l7_step(L7_SET_FIRST, l7_window(c->protocol), r, c))
			L7_ALL(first, s, L7_OF_CALLS);
	} else if (set & L7_SET_TEXT) {
		bpf_tail_call(ctx, &call_programs, CALL_L7_TEXT);
	} else if (set & L7_SET_SQL) {
		bpf_tail_call(ctx, &call_programs, CALL_L7_SQL);
	} else if (set & L7_SET_BINARY) {
		bpf_tail_call(ctx, &call_programs, CALL_L7_BINARY);
	} else if (set & L7_SET_HTTP2) {
		bpf_tail_call(ctx, &call_programs, CALL_L7_HTTP2);
	}
	return l7_pass(ctx, r);
}

#define L7_PROGRAM(name)                                                          \
	SEC("tp_btf/sys_exit")                                                    \
	int BPF_PROG(l7_##name, struct pt_regs *regs, long ret)                   \
	{                                                                         \
		struct l7_scratch *s = l7_scratch_of(L7_OF_CALLS);                \
		if (!s)                                                           \
			return 0;                                                 \
		L7_ALL(name, s, L7_OF_CALLS);                                     \
		return l7_pass(ctx, &s->run);                                     \
	}

L7_PROGRAM(text)
L7_PROGRAM(sql)
L7_PROGRAM(binary)
L7_PROGRAM(http2)

/* ---- connections begin and end ---- */

/* Ends the oldest request that waits, or one of those with an id, once the connection is over; false if none does. When those
 * with an id began is in a table that cannot be searched by connection: they end with the last byte that was seen. */
__noinline int l7_end_one(u32 looker)
{
	struct l7_scratch *s = l7_scratch_of(looker);
	if (!s)
		return 0;
	u64 key = s->run.key;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (!c)
		return 0;
	struct l7_pending p = {.ns = c->last, .count = 1, .protocol = c->protocol};
	if (!l7_waits(c)) {
		if ((s32)c->streams <= 0)
			return 0;
		c->streams--;
		l7_finish(&s->run, c, &p, 0, L7_CLOSED);
		return 1;
	}
	struct l7_half *h = &c->half[1];
	u16 status = 0;
	u8 end = L7_CLOSED;
	if (l7_lasts(h)) {
		status = h->status;
		end = h->end;
	}
	h->ending = 0;
	u64 body = h->body;
	h->body = 0;
	if (l7_pop(c, &p)) {
		p.sizes[1] = body;
		l7_finish(&s->run, c, &p, status, end);
	}
	return 1;
}

static __always_inline void l7_add_edge(struct l7_scratch *s, struct l7_conn *c)
{
	struct l7_edge *e = &s->edge;

	__builtin_memset(e, 0, sizeof(*e));
	e->slot = s->run.slot;
	struct owner peer = {.slot = c->peer_slot, .generation = c->peer_generation};
	e->peer_slot = owner_slot(&peer);
	if (!e->peer_slot)
		__builtin_memcpy(e->address, c->remote, sizeof(e->address));
	e->port = c->role == L7_SERVER ? c->local_port : c->remote_port;
	e->family = c->family;
	e->protocol = c->protocol;
	e->role = c->role;
	struct l7_edge_totals *t = find_or_add(&l7_edge_sums, e, (&(struct l7_edge_totals){}));
	if (!t) { /* no room: those whose peer is not told apart */
		l7_unmatched(c->protocol, L7_NO_ROOM);
		__builtin_memset(e->address, 0, sizeof(e->address));
		e->peer_slot = 0;
		e->port = 0;
		t = find_or_add(&l7_edge_sums, e, (&(struct l7_edge_totals){}));
	}
	if (!t)
		return;
	increment(t->connections);
	__sync_fetch_and_add(&t->requests, c->requests);
	__sync_fetch_and_add(&t->failures, c->failures);
	__sync_fetch_and_add(&t->received, c->bytes[0]);
	__sync_fetch_and_add(&t->sent, c->bytes[1]);
}

/* Prepares the scratch for what ends outside of the owner's calls. */
static __always_inline struct l7_conn *l7_ending(struct l7_scratch *s, u64 key)
{
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);

	if (!c)
		return NULL;
	struct owner o = {.slot = c->slot, .generation = c->generation};
	s->run.looker = L7_OF_INTERRUPTS;
	s->run.key = key;
	s->run.now = bpf_ktime_get_boot_ns();
	s->run.slot = owner_slot(&o);
	s->run.pid = c->pid;
	return c;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(l7_closed, struct sock *sk)
{
	struct l7_scratch *s = l7_scratch_of(L7_OF_INTERRUPTS);
	u64 key = ADDR(sk);
	struct l7_conn *c = s ? l7_ending(s, key) : NULL;

	if (!c)
		return 0;
	for (int i = 0; i < 64 && l7_end_one(L7_OF_INTERRUPTS); i++)
		;
	l7_add_edge(s, c);
	if (c->protocol == L7_HTTP2)
		bpf_map_delete_elem(&l7_hpacks, &key);
	bpf_map_delete_elem(&l7_conns, &key);
	return 0;
}

/* Notes who is at each end of a connection, and ends a response that lasts until its server closes. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(l7_state, struct sock *sk, int from, int to)
{
	struct l7_scratch *s = l7_scratch_of(L7_OF_INTERRUPTS);
	u64 key = ADDR(sk);

	if (!s || !is_tcp(sk))
		return 0;
	if (to == TCP_ESTABLISHED && (from == TCP_SYN_SENT || from == TCP_SYN_RECV)) {
		struct owner *o = bpf_map_lookup_elem(&owners, &key);
		struct l7_conn *c = &s->fresh;
		struct l7_ends e = {.is_server = from == TCP_SYN_RECV};
		if (!o)
			return 0;
		struct owner copy = *o;
		l7_addresses(sk, c);
		l7_ends_of(&e, c, from == TCP_SYN_RECV);
		bpf_map_update_elem(&l7_peers, &e, &copy, BPF_ANY);
	} else if (to == TCP_FIN_WAIT1 || to == TCP_LAST_ACK) {
		struct l7_conn *c = l7_ending(s, key);
		if (c && c->role == L7_SERVER && l7_lasts(&c->half[1]))
			l7_end_one(L7_OF_INTERRUPTS);
	}
	return 0;
}

/* ---- who is not seen: a ring's reads and writes are no system calls ---- */

SEC("tp_btf/io_uring_create")
int BPF_PROG(l7_ring_made)
{
	u32 process = bpf_get_current_pid_tgid() >> 32;
	u8 one = 1;

	bpf_map_update_elem(&ring_users, &process, &one, BPF_ANY);
	return 0;
}

/* ---- what there is, for the service map and for the list of connections ---- */

SEC("iter/bpf_map_elem")
int l7_connections(struct bpf_iter__bpf_map_elem *ctx)
{
	struct l7_conn *c = ctx->value;

	if (!ctx->key || !c)
		return 0;
	struct owner owner = {.slot = c->slot, .generation = c->generation};
	struct owner peer = {.slot = c->peer_slot, .generation = c->peer_generation};
	struct l7_connection out = {
		.edge = {.slot = owner_slot(&owner), .peer_slot = owner_slot(&peer), .port = c->role == L7_SERVER ? c->local_port : c->remote_port,
			 .family = c->family, .protocol = c->protocol, .role = c->role},
		.totals = {.connections = 1, .requests = c->requests, .failures = c->failures, .sent = c->bytes[1], .received = c->bytes[0]},
		.born = c->born, .pid = c->pid, .ns_net = c->ns_net, .local_port = c->local_port, .remote_port = c->remote_port,
		.tls = c->tls, .joined = c->joined,
	};
	__builtin_memcpy(out.edge.address, c->remote, sizeof(out.edge.address));
	__builtin_memcpy(out.local, c->local, sizeof(out.local));
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}
