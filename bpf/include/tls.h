/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that a library encrypts: which call of which library works on which socket. */
#ifndef YAGURA_TLS_H
#define YAGURA_TLS_H

#include "l7_state.h"

/* Who has a library work for him: a thread, or in Go a goroutine, which may change its thread within a call. */
struct tls_caller {
	u64 thread;    /* process and thread; in Go the process alone */
	u64 goroutine; /* its address, 0 outside of Go */
};

struct tls_call {
	u64 object;         /* what the library calls the connection: SSL, tls.Conn */
	u64 sock, identity; /* its socket, once that is known */
	u64 base, length;   /* of the plaintext: where it is written from or read to; length of what is written */
	u64 counted;        /* where the library puts how much it was, 0 if it returns that */
	u64 begun;          /* ns since boot */
	u8 writes;
	u8 waits;           /* Go: what is written is not looked at yet, as its socket is not known */
	u8 unread;          /* the plaintext is in a file */
	u8 guessed;         /* of its socket, see tls_heard */
	u8 reserved[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tls_caller);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

/* Sockets by what libraries call them, from the first system call within one of the library's to when it is freed. */
struct tls_object {
	u64 process, object;
};
struct tls_socket {
	u64 sock, identity, guessed;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tls_object);
	__type(value, struct tls_socket);
} tls_sockets SEC(".maps");

/* What a thread, or a goroutine, has received last of a connection whose library is not known. It is taken for what the
 * library's next call on it was given, where nothing tells better: a call of Go's returns what it has received, and OpenSSL
 * may read memory and leave it to others to receive, as in Node and Python's asyncio. */
#define TLS_RECORDS 4
struct tls_received {
	u64 sock, identity;
	u64 length;               /* of all of it */
	u32 records[TLS_RECORDS]; /* lengths of records with application data, 0 behind the last */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct tls_caller);
	__type(value, struct tls_received);
} tls_heard SEC(".maps");

/* Slots of the workloads whose plaintext may be seen, and their generations. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} tls_workloads SEC(".maps");

/* What bpf/tls.go reads. */
enum tls_count { TLS_OPENSSL_HITS, TLS_GO_HITS, TLS_NO_SOCKET, TLS_NO_MEMORY, TLS_TRIED, TLS_COUNTS };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TLS_COUNTS);
	__type(key, u32);
	__type(value, u64);
} tls_counted SEC(".maps");

/* How many files are probed: system calls need not ask for calls of libraries while there is none. */
volatile u32 tls_files SEC(".data.tls") = 0;

static __always_inline void tls_count(u32 what)
{
	u64 *n = bpf_map_lookup_elem(&tls_counted, &what);
	if (n)
		increment(*n); /* a probe may be preempted by another */
}

#if defined(__TARGET_ARCH_x86)
struct pt_regs___go {
	unsigned long r14, sp;
} __attribute__((preserve_access_index));
#define go_routine(r) (((struct pt_regs___go *)(r))->r14)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs___go {
	u64 sp;
} __attribute__((preserve_access_index));
#define go_routine(r) ((r)->regs[28])
#endif

/* ---- the kernel's own TLS ---- */

struct tcp_ulp_ops___x {
	char name[16];
} __attribute__((preserve_access_index));
struct inet_connection_sock___x {
	const struct tcp_ulp_ops___x *icsk_ulp_ops;
} __attribute__((preserve_access_index));

/* Whether the kernel encrypts what is sent over a TCP connection, or decrypts what is received, or both: 734942cc4ea6, 4.13. */
static __always_inline bool is_ktls(struct sock *sk)
{
	struct inet_connection_sock___x *icsk = (void *)sk;
	u32 name = 0;

	if (!bpf_core_field_exists(icsk->icsk_ulp_ops))
		return false;
	const struct tcp_ulp_ops___x *ops = FOLLOW(icsk, icsk_ulp_ops);
	if (!ops)
		return false;
	bpf_core_read(&name, sizeof(name), &ops->name);
	return name == ('t' | 'l' << 8 | 's' << 16);
}

/* ---- connections ---- */

/* Forgets what encrypted bytes looked like: from now on the connection's bytes are plaintext. */
static __always_inline void tls_begin_anew(struct l7_conn *c, u8 tls)
{
	c->tls = tls;
	c->protocol = L7_UNKNOWN;
	c->direction = 2;
	c->tries = 0;
	c->tail = c->head;
	__builtin_memset(c->own, 0, sizeof(c->own));
	__builtin_memset(c->half, 0, sizeof(c->half));
}

/* Whether a library may encrypt what passes, so that it is worth to ask for its calls. */
static __always_inline bool tls_may_be(struct l7_conn *c)
{
	return c->tls == L7_DECRYPTED || (tls_files && (c->tls != L7_PLAIN || c->protocol <= L7_TLS));
}

/* A record begins with its type, the version from SSL 3.0 to TLS 1.3, and its length, at most 2^14 bytes and 2 KiB that
 * encryption may add. */
#define TLS_HEADER 5
#define TLS_APPLICATION_DATA 23
#define TLS_OVERHEAD 96 /* at most: header, nonce or IV, MAC or tag, padding of block ciphers */
struct tls_record {
	u8 type; /* 0: no record begins here */
	u32 length; /* with its header */
};

/* What begins at a place of the call's first buffer. */
static __always_inline struct tls_record tls_record_at(struct l7_run *r, u64 at)
{
	struct tls_record record = {};
	u8 h[TLS_HEADER] = {};

	if (r->length < at + sizeof(h) || bpf_probe_read_user(h, sizeof(h), (void *)(r->base + at)))
		return record;
	if (h[0] < 20 || h[0] > 24 || h[1] != 3 || h[2] > 4 || h[3] > 0x48)
		return record;
	record.type = h[0];
	record.length = TLS_HEADER + ((u32)h[3] << 8 | h[4]);
	return record;
}

/* Notes which socket an object of a library's is. */
static __always_inline bool tls_note(struct tls_call *call, u64 process, u64 sock, struct l7_conn *c, bool guessed)
{
	struct tls_object o = {.process = process, .object = call->object};
	struct tls_socket s = {.sock = sock, .identity = c->identity, .guessed = guessed};

	if (bpf_map_update_elem(&tls_sockets, &o, &s, BPF_ANY)) {
		tls_count(TLS_NO_MEMORY);
		return false;
	}
	call->sock = s.sock;
	call->identity = s.identity;
	call->guessed = guessed;
	if (c->tls != L7_DECRYPTED)
		tls_begin_anew(c, L7_DECRYPTED);
	return true;
}

/* Gives back a connection that was guessed wrongly, before any byte of another's was taken for its own. */
static __always_inline void tls_recant(struct tls_call *call)
{
	u64 key = call->sock;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);

	if (!c || c->identity != call->identity)
		return;
	tls_begin_anew(c, L7_ENCRYPTED);
	c->protocol = L7_TLS;
}

/* Notes what was received outside of any call of a library that is known. OpenSSL itself reads a record in two calls, its
 * header first: that is not what others hand to it. */
static __always_inline void tls_hear(struct l7_run *r, struct l7_conn *c, u64 thread, u64 goroutine)
{
	struct tls_received received = {.sock = r->key, .identity = c->identity, .length = r->left};
	struct tls_caller caller = {.thread = thread};
	struct tls_record first = tls_record_at(r, 0), record = first;
	u64 at = 0;
	u32 n = 0;

	if (!first.type || r->left <= TLS_HEADER)
		return;
	for (int i = 0; i < 2 * TLS_RECORDS && record.type; i++) {
		if (record.type == TLS_APPLICATION_DATA)
			received.records[n++ & (TLS_RECORDS - 1)] = record.length;
		at += record.length;
		record = tls_record_at(r, at);
	}
	if (first.length <= r->left)
		bpf_map_update_elem(&tls_heard, &caller, &received, BPF_ANY);
	caller.thread = thread >> 32;
	caller.goroutine = goroutine;
	if (n)
		bpf_map_update_elem(&tls_heard, &caller, &received, BPF_ANY);
}

/* The connection that the caller has received from last, unless its library is known by now; forgets it. */
static __always_inline bool tls_recall(struct tls_caller *caller, struct tls_received *received)
{
	struct tls_received *heard = bpf_map_lookup_elem(&tls_heard, caller);

	if (!heard)
		return false;
	*received = *heard;
	bpf_map_delete_elem(&tls_heard, caller);
	return true;
}

/* Whether the workload of a slot has asked to be looked into. */
static __always_inline bool tls_is_wanted(u32 slot)
{
	u32 *generation = bpf_map_lookup_elem(&tls_workloads, &slot);

	return generation && *generation == slot_generation_of(slot);
}

/* Looks for the library's call that this system call is part of, which has moved bytes of a connection that may be
 * encrypted. Returns whether the library has told, or will, what the bytes mean; else they are judged as they are, or, where
 * it is about to encrypt what they stand for, that is put in their place. goroutine is what the register of Go's says, which
 * is anything outside of Go. */
__noinline int tls_passed(u64 goroutine, u32 sent, u64 arg1, u64 arg2)
{
	struct l7_scratch *s = l7_scratch_of(L7_OF_CALLS);
	if (!s)
		return false;
	struct l7_run *r = &s->run;
	u64 key = r->key, thread = bpf_get_current_pid_tgid(), process = thread >> 32;
	struct l7_conn *c = bpf_map_lookup_elem(&l7_conns, &key);
	if (!c)
		return false;
	bool known = c->tls == L7_DECRYPTED;
	if (!tls_is_wanted(r->slot))
		return known;
	struct tls_caller caller = {.thread = thread};
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &caller);
	if (!call) {
		caller.thread = process;
		caller.goroutine = goroutine;
		call = bpf_map_lookup_elem(&tls_calls, &caller);
	}
	if (call ? call->sock == key : known)
		return true;
	l7_locate_at(r, r->kind, arg1, arg2);
	if (!call) {
		if (!sent)
			tls_hear(r, c, thread, goroutine);
		return false;
	}
	if (call->sock && !call->guessed)
		return known;
	struct tls_record record = tls_record_at(r, 0);
	if (!record.type && (c->tls == L7_PLAIN || call->sock))
		return known; /* the library has somebody else asked within its call */
	if (call->sock)
		tls_recant(call);
	if (!tls_note(call, process, key, c, false) || !call->waits || !sent || record.type != TLS_APPLICATION_DATA ||
	    record.length > call->length + TLS_OVERHEAD)
		return true;
	r->base = call->base;
	r->length = call->length;
	r->left = call->length;
	r->part = r->part_count = 0;
	r->kind = L7_IGNORED; /* what l7_locate would look for */
	bpf_map_delete_elem(&tls_calls, &caller);
	return false;
}

#endif
