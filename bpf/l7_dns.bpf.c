//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* DNS over UDP: each datagram is a message, and a question and its answer share a number. */
#include "include/l7_state.h"
#include "include/l7_dns.h"

#define DNS_PORT 53
#define DNS_MANY 4 /* messages of one call that are looked at: glibc asks for both address families at once */

/* Questions whose answers were told lately, by the hash of the name: when, in ns since boot. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u64);
} l7_told SEC(".maps");

#define TELL_AGAIN (30ull * NSEC_PER_SEC)

static __always_inline void dns_tell(struct l7_scratch *s, struct dns_head *head, struct l7_look *l)
{
	u64 now = s->run.now, *told = bpf_map_lookup_elem(&l7_told, &head->question);

	if (told && now - *told < TELL_AGAIN)
		return;
	struct l7_answer *a = bpf_ringbuf_reserve(&l7_samples, sizeof(*a), 0);
	if (!a) {
		l7_unmatched(L7_DNS, L7_NO_ROOM);
		return;
	}
	__builtin_memset(&a->sample, 0, sizeof(a->sample));
	a->sample.boot = now;
	a->sample.slot = s->run.slot;
	a->sample.pid = s->run.pid;
	a->sample.kind = L7_SAMPLE_ANSWER;
	a->sample.protocol = L7_DNS;
	a->sample.text_length = l->have; /* of the payload, which may be cut */
	__builtin_memcpy(a->payload, l->bytes, sizeof(a->payload));
	bpf_ringbuf_submit(a, BPF_RB_NO_WAKEUP);
	bpf_map_update_elem(&l7_told, &head->question, &now, BPF_ANY);
}

static __always_inline void dns_message(struct l7_scratch *s, bool sent)
{
	struct l7_run *r = &s->run;
	struct l7_conn *c = &s->fresh;
	struct dns_head head = {};

	__builtin_memset(&c->half[0], 0, sizeof(c->half[0]));
	l7_fill(r, &c->half[0], L7_WINDOW);
	if (!dns_is(&r->look, 0) || !dns_read(&r->look, 0, &head))
		return;
	c->role = sent == !head.response ? L7_CLIENT : L7_SERVER;
	struct l7_stream_key key = {.sock = r->key, .id = (u32)head.id + 1};
	if (!head.response) {
		struct l7_stream *asks = &s->stream;
		__builtin_memset(asks, 0, sizeof(*asks));
		asks->p.ns = r->now;
		asks->p.count = 1;
		asks->p.protocol = L7_DNS;
		bpf_map_update_elem(&l7_streams, &key, asks, BPF_ANY);
		return;
	}
	struct l7_stream *asked = bpf_map_lookup_elem(&l7_streams, &key);
	if (!asked) {
		l7_unmatched(L7_DNS, L7_NO_REQUEST);
		return;
	}
	l7_finish(r, c, &asked->p, head.rcode, head.rcode ? L7_FAILED : L7_OK);
	bpf_map_delete_elem(&l7_streams, &key);
	if (c->role == L7_CLIENT && l7_settings.dns_names)
		dns_tell(s, &head, &r->look);
}

/* The i-th message of a call that moves several: struct mmsghdr is a msghdr and its length. */
__noinline int l7_dns_one(u32 i, u64 vector)
{
	struct l7_scratch *s = l7_scratch_of(L7_OF_CALLS);
	struct {
		struct l7_msghdr header;
		u64 length;
	} m = {};

	if (!s || i >= DNS_MANY || bpf_probe_read_user(&m, sizeof(m), (void *)(vector + i * sizeof(m))))
		return 0;
	s->run.left = (u32)m.length;
	s->run.base = s->run.length = 0;
	s->run.part = s->run.part_count = 0;
	l7_locate_vector(&s->run, m.header.vector, m.header.vector_length);
	dns_message(s, s->run.kind == L7_SENDS_MANY);
	return 1;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(l7_dns, struct pt_regs *regs, long ret)
{
	struct l7_scratch *s = l7_scratch_of(L7_OF_CALLS);
	if (!s)
		return 0;
	struct l7_run *r = &s->run;
	struct sock *sk = (void *)(unsigned long)r->key;
	struct l7_conn *c = &s->fresh;
	u32 kind = r->kind;

	l7_addresses(sk, c);
	/* Sockets that are not connected are looked at too: only the message tells whom they ask. */
	if (c->local_port != DNS_PORT && c->remote_port && c->remote_port != DNS_PORT)
		return l7_pass(ctx, r);
	l7_note_time(r);
	r->response = 0;
	c->generation = slot_generation_of(r->slot);
	c->text_length = c->traced = 0;
	c->admitted = c->text_name = 0;
	c->protocol = L7_DNS;
	if (kind == L7_SENDS_MANY || kind == L7_RECEIVES_MANY) {
		for (int i = 0; i < DNS_MANY && i < r->result; i++)
			l7_dns_one(i, regs_arg1(regs));
		return l7_pass(ctx, r);
	}
	r->left = r->result;
	l7_locate(r, regs, kind);
	dns_message(s, l7_is_sent(kind));
	return l7_pass(ctx, r);
}
