/* SPDX-License-Identifier: Apache-2.0 */
/* Layer 7 in the kernel: where connections, streams, totals and names are kept, and what the core asks of its platform. */
#ifndef YAGURA_L7_STATE_H
#define YAGURA_L7_STATE_H

#include "socket.h"
#include "l7_parsers.h"

/* Requests of connections that answer in any order. */
struct l7_stream_key {
	u64 sock;
	u32 id, reserved;
};
struct l7_stream {
	struct l7_pending p;
	u16 status;
	u8 text_length, traced;
	u32 reserved;
	char text[L7_TEXT];
	char trace[32];
};

/* The memory that one look takes, by who looks: system calls, probes of libraries, and interrupts, each of which may come
 * between the one before. */
enum { L7_OF_CALLS, L7_OF_INTERRUPTS, L7_OF_LIBRARIES, L7_LOOKERS = L7_OF_LIBRARIES + 4 };
struct l7_scratch {
	struct l7_run run;
	struct l7_conn fresh; /* one that is met, or what a parser works on */
	u64 own[6];           /* as the parser has found it */
	struct l7_key key;
	u64 sizes[2]; /* of the request that key is of */
	struct l7_edge edge;
	struct l7_stream stream;
	u64 busy, owner; /* of libraries, see tls.bpf.c */
	u64 second; /* samples are bounded by second: of the clock, and how many it has had */
	u32 used, seen;
	u8 room[2 * L7_WINDOW]; /* never written: the verifier adds up the greatest place and the greatest length of a copy */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, L7_LOOKERS);
	__type(key, u32);
	__type(value, struct l7_scratch);
} l7_scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64); /* address of the socket, forgotten when it is destroyed */
	__type(value, struct l7_conn);
} l7_conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct l7_key);
	__type(value, struct l7_totals);
} l7_sums SEC(".maps");

/* What a new key begins with. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct l7_totals);
} l7_nothing SEC(".maps");

/* Sizes of bodies, where they are asked for, and what a new key begins with. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct l7_key);
	__type(value, struct l7_sizes);
} l7_body_sizes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct l7_sizes);
} l7_no_sizes SEC(".maps");

/* Header fields of connections of HTTP/2, and what a new one begins with. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64); /* address of the socket */
	__type(value, struct l7_hpack);
} l7_hpacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct l7_hpack);
} l7_no_hpack SEC(".maps");

/* Names that are told apart; under the name 0 how many there are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct l7_name);
	__type(value, u32);
} l7_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, L7_PROTOCOLS * L7_REASONS);
	__type(key, u32);
	__type(value, u64);
} l7_unmatched_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct l7_edge);
	__type(value, struct l7_edge_totals);
} l7_edge_sums SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} l7_samples SEC(".maps");

/* Who has the other end of a connection within this machine, by its addresses as the client sees them. */
struct l7_ends {
	u8 client[16], server[16];
	u16 client_port, server_port, is_server, reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct l7_ends);
	__type(value, struct owner);
} l7_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct l7_stream_key);
	__type(value, struct l7_stream);
} l7_streams SEC(".maps");

volatile struct l7_options l7_settings SEC(".data.l7") = {};

static __always_inline struct l7_scratch *l7_scratch_of(u32 looker)
{
	return bpf_map_lookup_elem(&l7_scratches, &looker);
}

/* The scratch that a run is part of. */
#define l7_scratch_around(r) ((struct l7_scratch *)(r))

/* ---- what the core asks for ---- */

static __always_inline long l7_copy(void *to, u32 n, u64 from)
{
	barrier_var(n); /* the compiler has proved the bound already; the verifier wants to see it */
	return bpf_probe_read_user(to, n & (2 * L7_WINDOW - 1), (void *)from);
}

static __always_inline void l7_unmatched(u8 protocol, u8 reason)
{
	u32 i = (u32)protocol * L7_REASONS + reason;
	u64 *n = bpf_map_lookup_elem(&l7_unmatched_counts, &i);
	if (n)
		(*n)++;
}

static __always_inline struct l7_hpack *l7_hpack_of(struct l7_run *r, struct l7_conn *c)
{
	u64 key = r->key;
	u32 zero = 0;
	struct l7_hpack *p = find_or_add(&l7_hpacks, &key, bpf_map_lookup_elem(&l7_no_hpack, &zero));

	if (!p)
		l7_unmatched(L7_HTTP2, L7_NO_ROOM);
	return p;
}

/* ---- samples ---- */

static __always_inline bool l7_may_sample(struct l7_run *r)
{
	struct l7_scratch *s = l7_scratch_around(r);
	u64 second = r->now >> 30;

	if (s->second != second) {
		s->second = second;
		s->used = 0;
	}
	return s->used++ < l7_settings.samples;
}

/* Tells of a request that is called name; false if there is no room. Its text and trace are told if they are those of the last
 * request that began, as only these are kept. */
static __always_inline bool l7_tell(struct l7_run *r, struct l7_conn *c, struct l7_key *key, u32 name, u64 ns, u16 kind)
{
	struct l7_sample *s = bpf_ringbuf_reserve(&l7_samples, sizeof(*s), 0);

	if (!s) {
		l7_unmatched(key->protocol, L7_NO_ROOM);
		return false;
	}
	s->boot = r->now;
	s->duration = ns;
	s->slot = key->slot;
	s->generation = c->generation;
	s->pid = r->pid;
	s->name = key->name;
	s->status = key->status;
	s->kind = kind;
	s->family = c->family;
	s->local_port = c->local_port;
	s->remote_port = c->remote_port;
	s->protocol = key->protocol;
	s->role = key->role;
	s->method = key->method;
	s->end = key->end;
	s->traced = c->traced && !l7_waits(c);
	__builtin_memset(s->reserved, 0, sizeof(s->reserved));
	__builtin_memcpy(s->local, c->local, sizeof(s->local));
	__builtin_memcpy(s->remote, c->remote, sizeof(s->remote));
	__builtin_memcpy(s->text, c->text, sizeof(s->text));
	__builtin_memcpy(s->trace, c->trace, sizeof(s->trace));
	s->text_length = c->text_name == name ? c->text_length : 0;
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return true;
}

/* Whether a name is told apart: it was before, or it is the first time, there is room, and user space was told. */
static __always_inline bool l7_admit(struct l7_run *r, struct l7_conn *c, struct l7_key *key)
{
	struct l7_name n = {.slot = key->slot, .name = key->name, .protocol = key->protocol, .role = key->role};
	u32 one = 1, protocol = key->protocol;

	if (bpf_map_lookup_elem(&l7_names, &n))
		return true;
	if (c->text_name != key->name || protocol >= L7_PROTOCOLS)
		return false; /* how it is spelled has been overwritten: it gets another chance */
	n.name = L7_NONE;
	u32 *count = find_or_add(&l7_names, &n, &(u32){0});
	barrier_var(protocol);
	if (!count || *count >= l7_settings.names[protocol & 15])
		return false;
	n.name = key->name;
	if (bpf_map_update_elem(&l7_names, &n, &one, BPF_NOEXIST))
		return true; /* another processor was first */
	if (!l7_tell(r, c, key, key->name, 0, L7_SAMPLE_NAME)) {
		bpf_map_delete_elem(&l7_names, &n);
		return false;
	}
	increment(*count);
	return true;
}

/* What the request was not found under is no route of the service: anybody may ask for anything. */
static __always_inline bool l7_is_route(u8 protocol, u16 status)
{
	return (protocol != L7_HTTP && protocol != L7_HTTP2) ||
	       !(status == 0 || status == 400 || status == 401 || status == 403 || status == 404 || status == 405);
}

static __always_inline u32 l7_name_of(struct l7_run *r, struct l7_conn *c, struct l7_key *key)
{
	if (key->name <= L7_OTHER || key->name == c->admitted)
		return key->name;
	if (!l7_is_route(key->protocol, key->status)) {
		struct l7_name n = {.slot = key->slot, .name = key->name, .protocol = key->protocol, .role = key->role};
		return bpf_map_lookup_elem(&l7_names, &n) ? key->name : L7_NONE;
	}
	if (!l7_admit(r, c, key))
		return L7_OTHER;
	c->admitted = key->name;
	return key->name;
}

/* ---- totals ---- */

/* Thresholds of the eighths of a power of two, of a number whose top bit is set: floor(2^(63 + k/8)). */
#define L7_ABOVE(k, m) ((k##ull - (m)) >> 63)

/* Which native bucket a duration belongs to. Bounds are inclusive above. */
static __always_inline u32 l7_bucket(u64 ns)
{
	u64 v = ((ns >> 43 ? 1ull << 43 : ns) * 1125900) >> 20; /* 2^-30 s; 2^30 / 10^9 to eight digits */
	u64 m = v;
	u32 e = 63;

	if (v <= 1024)
		return 0;
	if (!(m >> 32)) {
		m <<= 32;
		e -= 32;
	}
	if (!(m >> 48)) {
		m <<= 16;
		e -= 16;
	}
	if (!(m >> 56)) {
		m <<= 8;
		e -= 8;
	}
	if (!(m >> 60)) {
		m <<= 4;
		e -= 4;
	}
	if (!(m >> 62)) {
		m <<= 2;
		e -= 2;
	}
	if (!(m >> 63)) {
		m <<= 1;
		e -= 1;
	}
	u32 i = 8 * e - 80 + L7_ABOVE(9223372036854775808, m) + L7_ABOVE(10058158527438640870, m) +
		L7_ABOVE(10968499650544839023, m) + L7_ABOVE(11961233684655323370, m) + L7_ABOVE(13043817825332782212, m) +
		L7_ABOVE(14224384202002324189, m) + L7_ABOVE(15511800964685064948, m) + L7_ABOVE(16915738899553466670, m);
	return i < L7_NATIVE_BUCKETS ? i : L7_NATIVE_BUCKETS - 1;
}

static __always_inline u32 l7_bound(u64 ns)
{
	u32 i = 0;

	for (int k = 0; k < L7_BOUNDS; k++)
		i += (l7_settings.bounds[k] - ns) >> 63;
	return i;
}

static __always_inline struct l7_totals *l7_totals_of(struct l7_key *key)
{
	u32 zero = 0;

	return find_or_add(&l7_sums, key, bpf_map_lookup_elem(&l7_nothing, &zero));
}

/* Adds a request to its totals, to those without its particulars if there is no room. */
static __always_inline void l7_add(struct l7_key *key, u64 ns)
{
	struct l7_totals *t = l7_totals_of(key);

	if (!t) {
		l7_unmatched(key->protocol, L7_NO_ROOM);
		key->slot = 0;
		key->name = L7_OTHER;
		key->status = 0;
		key->method = 0;
		t = l7_totals_of(key);
	}
	if (!t)
		return;
	u64 bucket = l7_bucket(ns), bound = l7_bound(ns);
	barrier_var(bucket);
	barrier_var(bound);
	__sync_fetch_and_add(&t->sum_ns, ns);
	if (bound <= L7_BOUNDS)
		increment(t->classic[bound]);
	if (bucket < L7_NATIVE_BUCKETS)
		increment(t->native[bucket]);
}

/* Adds the sizes of the bodies of a request that was answered: a function that is verified by itself, as l7_look_*. */
__noinline int l7_weigh(u32 looker)
{
	struct l7_scratch *s = l7_scratch_of(looker);
	if (!s)
		return 0;
	u32 zero = 0;
	struct l7_key *key = &s->key;
	struct l7_sizes *sizes = find_or_add(&l7_body_sizes, key, bpf_map_lookup_elem(&l7_no_sizes, &zero));
	if (!sizes) {
		l7_unmatched(L7_HTTP, L7_NO_ROOM);
		return 0;
	}
	for (u32 i = 0; i < 2; i++)
		observe_units(&sizes->of[i], s->sizes[i], s->sizes[i]);
	return 0;
}

/* status and end come as scalars, so that few states meet here. */
static __always_inline void l7_finish(struct l7_run *r, struct l7_conn *c, struct l7_pending *p, u16 status, u8 end)
{
	struct l7_scratch *s = l7_scratch_around(r);
	struct l7_key *key = &s->key;
	u64 ns = r->now > p->ns ? r->now - p->ns : 0;
	end = http2_ended(c, p->protocol, status, end);
	bool failed = end != L7_OK && end != L7_ONE_WAY;

	__builtin_memset(key, 0, sizeof(*key));
	key->slot = r->slot;
	key->name = p->name;
	key->status = status;
	key->protocol = p->protocol;
	key->role = c->role;
	key->method = p->method;
	key->end = end;
	key->name = l7_name_of(r, c, key);
	c->requests++;
	c->failures += failed;
	u16 kind = failed ? L7_SAMPLE_FAILED : 0;
	if (l7_settings.slow_ns && ns >= l7_settings.slow_ns)
		kind |= L7_SAMPLE_SLOW;
	if (l7_settings.every && ++s->seen >= l7_settings.every) {
		s->seen = 0;
		kind |= L7_SAMPLE_REGULAR;
	}
	if (kind && l7_may_sample(r))
		l7_tell(r, c, key, p->name, ns, kind);
	if (l7_settings.sizes && p->protocol == L7_HTTP && status) {
		__builtin_memcpy(s->sizes, p->sizes, sizeof(s->sizes));
		l7_weigh(r->looker);
	}
	l7_add(key, ns);
}

/* Keeps how a name is spelled, unless it is the one before. */
static __always_inline void l7_keep_text(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	u32 at = v->name_at & (L7_WINDOW - 1), n = v->name_length < L7_TEXT ? v->name_length : L7_TEXT;

	for (u32 i = 0; i < L7_TEXT; i += 8) { /* what is behind the name, as a query string, is not kept */
		u64 w = *(u64 *)(r->look.bytes + at + i);
		w = n >= i + 8 ? w : n > i ? low_bytes(w, n - i) : 0;
		*(u64 *)(c->text + i) = w;
	}
	c->text_length = n;
	c->text_name = v->name;
}

static __always_inline void l7_named(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	if (c->text_name != v->name && v->name_length)
		l7_keep_text(r, c, v);
	c->traced = v->trace_at != 0;
	if (v->trace_at)
		__builtin_memcpy(c->trace, r->look.bytes + (v->trace_at & (L7_WINDOW - 1)), sizeof(c->trace));
	/* Of several commands in one call only the last one's spelling is kept, so they are told apart at once. */
	if (c->protocol == L7_HTTP || c->protocol == L7_HTTP2 || v->name == c->admitted)
		return;
	struct l7_key *key = &l7_scratch_around(r)->key;
	__builtin_memset(key, 0, sizeof(*key));
	key->slot = r->slot;
	key->name = v->name;
	key->protocol = c->protocol;
	key->role = c->role;
	v->name = l7_name_of(r, c, key);
}

/* ---- streams ---- */

static __always_inline void l7_stream_begins(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	struct l7_stream_key key = {.sock = r->key, .id = v->id};
	struct l7_stream *s = &l7_scratch_around(r)->stream;

	__builtin_memset(s, 0, sizeof(*s));
	s->p.ns = r->now;
	s->p.name = v->name;
	s->p.count = 1;
	s->p.method = v->method;
	s->p.protocol = v->protocol ? v->protocol : c->protocol;
	s->status = v->status;
	s->text_length = c->text_name == v->name ? c->text_length : 0;
	s->traced = v->trace_at != 0;
	__builtin_memcpy(s->text, c->text, sizeof(s->text));
	__builtin_memcpy(s->trace, c->trace, sizeof(s->trace));
	if (bpf_map_update_elem(&l7_streams, &key, s, BPF_ANY))
		l7_unmatched(c->protocol, L7_NO_ROOM);
	else
		increment(c->streams);
}

static __always_inline void l7_stream_noted(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	struct l7_stream_key key = {.sock = r->key, .id = v->id};
	struct l7_stream *s = bpf_map_lookup_elem(&l7_streams, &key);

	if (s)
		http2_note(v, &s->p.protocol, &s->status);
}

static __always_inline bool l7_stream_take(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v, struct l7_pending *p, u16 *status)
{
	struct l7_stream_key key = {.sock = r->key, .id = v->id};
	struct l7_stream *s = bpf_map_lookup_elem(&l7_streams, &key);

	if (!s) {
		if (v->end != L7_CANCELLED) /* what is reset may have ended before */
			l7_unmatched(c->protocol, L7_NO_REQUEST);
		return false;
	}
	*p = s->p;
	if (v->notes || !v->status)
		*status = s->status;
	__sync_fetch_and_add(&c->streams, -1);
	c->text_name = s->text_length ? s->p.name : L7_NONE; /* what is told of the request is its own */
	c->text_length = s->text_length;
	c->traced = s->traced;
	__builtin_memcpy(c->text, s->text, sizeof(s->text));
	__builtin_memcpy(c->trace, s->trace, sizeof(s->trace));
	bpf_map_delete_elem(&l7_streams, &key);
	return true;
}

#endif
