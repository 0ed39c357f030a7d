/* SPDX-License-Identifier: Apache-2.0 */
/* From a call's bytes to requests and responses. The platform gives l7_copy, l7_finish and the table of streams. */
#ifndef YAGURA_L7_CORE_H
#define YAGURA_L7_CORE_H

#include "l7.h"

/* One call while it is looked at, in memory of this CPU. */
struct l7_run {
	u64 key;     /* address of the socket */
	u64 now;     /* ns since boot */
	u64 left;    /* bytes of the call that are not judged yet */
	u64 base, length; /* what is left of the present part */
	u64 parts[L7_PARTS][2]; /* base and length of the others */
	u32 part, part_count;
	u32 slot, pid;
	u32 syscall, kind;
	s64 result;
	u8 response, begins; /* 0 or 1, which the verifier is shown; begins: the direction has just changed */
	u8 reserved[6];
	struct l7_look look;
	struct l7_verdict verdict;
};

/* What the platform has. */
static __always_inline long l7_copy(void *to, u32 n, u64 from);
static __always_inline void l7_finish(struct l7_run *r, struct l7_conn *c, struct l7_pending *p, u16 status, u8 end);
static __always_inline void l7_unmatched(u8 protocol, u8 reason);
static __always_inline void l7_named(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v);
static __always_inline void l7_stream_begins(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v);
static __always_inline void l7_stream_noted(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v);
static __always_inline void l7_stream_ends(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v);

/* ---- the queue of requests: written by whoever reads the requests, emptied by whoever reads the responses ---- */

static __always_inline bool l7_waits(struct l7_conn *c) { return c->head != c->tail; }

static __always_inline struct l7_pending *l7_oldest(struct l7_conn *c) { return &c->queue[c->head & (L7_DEPTH - 1)]; }

static __always_inline void l7_push(struct l7_run *r, struct l7_conn *c, u32 name, u8 method)
{
	struct l7_pending *last = &c->queue[(c->tail - 1) & (L7_DEPTH - 1)];
	u8 n = c->tail - c->head;

	if (n && last->count < 0xffff && (n >= L7_DEPTH || (last->ns == r->now && last->name == name && last->method == method))) {
		if (last->name != name || last->method != method)
			l7_unmatched(c->protocol, L7_QUEUE_MERGED);
		last->count++;
		return;
	}
	if (n >= L7_DEPTH) {
		l7_unmatched(c->protocol, L7_NO_ROOM);
		return;
	}
	struct l7_pending *p = &c->queue[c->tail & (L7_DEPTH - 1)];
	p->ns = r->now;
	p->name = name;
	p->count = 1;
	p->method = method;
	p->protocol = c->protocol;
	c->tail++;
}

static __always_inline void l7_pop(struct l7_run *r, struct l7_conn *c, u16 status, u8 end)
{
	struct l7_pending *p = l7_oldest(c);

	if (!l7_waits(c)) {
		l7_unmatched(c->protocol, L7_NO_REQUEST);
		return;
	}
	l7_finish(r, c, p, status, end);
	if (p->count > 1)
		p->count--;
	else
		c->head++;
}

/* ---- bytes ---- */

static __always_inline void l7_advance(struct l7_run *r, u64 n)
{
	r->left -= n < r->left ? n : r->left;
	for (int i = 0; i <= L7_PARTS; i++) {
		u64 step = n < r->length ? n : r->length;
		r->base += step;
		r->length -= step;
		n -= step;
		if (!n || r->part >= r->part_count)
			break;
		u64 *next = r->parts[r->part & (L7_PARTS - 1)];
		r->base = next[0];
		r->length = next[1];
		r->part++;
	}
}

/* Puts what stands at the place into the look, behind what was carried; at most window bytes. */
static __always_inline void l7_fill(struct l7_run *r, struct l7_half *h, u32 window)
{
	struct l7_look *l = &r->look;
	u32 have = h->carried & (L7_CARRY - 1);
	u64 base = r->base, length = r->length;
	u32 part = r->part;

	for (u32 i = 0; i < L7_CARRY / 8; i++)
		((u64 *)l->bytes)[i] = ((u64 *)h->carry)[i];
	l->left = have + r->left;
	for (int i = 0; i < 3; i++) { /* a header may end in the next buffer, or the one behind it */
		u64 n = window - have;
		if (n > length)
			n = length;
		if (n > l->left - have)
			n = l->left - have;
		if (n && n <= L7_WINDOW) {
			if (l7_copy(l->bytes + (have & (L7_WINDOW - 1)), n, base))
				break;
			have += n;
		}
		if (have >= window || have >= l->left || part >= r->part_count)
			break;
		u64 *next = r->parts[part & (L7_PARTS - 1)];
		base = next[0];
		length = next[1];
		part++;
	}
	l->have = have;
	l->response = r->response;
	l->waiting = false;
	l->method = 0;
}

static __always_inline void l7_lose(struct l7_conn *c, struct l7_half *h)
{
	h->lost = 1;
	h->ending = 0;
	h->skip = 0;
	h->carried = 0;
	l7_unmatched(c->protocol, L7_LOST_FRAMING);
}

/* Passes what was judged before; false if that is all of the call. */
static __always_inline bool l7_skip(struct l7_run *r, struct l7_conn *c, struct l7_half *h)
{
	u64 n = h->skip < r->left ? h->skip : r->left;

	if (h->skip != L7_FOREVER)
		h->skip -= n;
	if (!h->skip && h->ending) {
		h->ending = 0;
		l7_pop(r, c, h->status, h->end);
	}
	if (n == r->left)
		return false;
	l7_advance(r, n);
	return true;
}

/* Moves on by what a verdict has taken; false if nothing of the call is left. */
static __always_inline bool l7_take(struct l7_run *r, struct l7_half *h, u64 take)
{
	u64 fresh = take - h->carried; /* a parser takes at least what was carried, see l7_look_at */

	h->carried = 0;
	if (fresh >= r->left) {
		h->skip = take == L7_FOREVER ? L7_FOREVER : fresh - r->left;
		r->left = 0;
		return false;
	}
	l7_advance(r, fresh);
	return true;
}

/* Keeps the beginning of a header until its rest comes; false if that cannot be done. */
static __always_inline bool l7_keep(struct l7_run *r, struct l7_half *h)
{
	struct l7_look *l = &r->look;

	if (l->have != l->left || l->have >= L7_CARRY)
		return false;
	for (u32 i = 0; i < L7_CARRY / 8; i++)
		((u64 *)h->carry)[i] = ((u64 *)l->bytes)[i];
	h->carried = l->have;
	return true;
}

/* Does what a verdict says; false ends the call. */
static __always_inline bool l7_obey(struct l7_run *r, struct l7_conn *c, struct l7_half *h)
{
	struct l7_verdict *v = &r->verdict;

	if (v->becomes)
		c->protocol = v->becomes;
	if (v->begins && v->name)
		l7_named(r, c, v);
	if (v->alone) {
		struct l7_pending p = {.ns = r->now, .name = v->name, .count = 1, .method = v->method, .protocol = c->protocol};
		l7_finish(r, c, &p, v->status, v->end);
	} else if (v->id) {
		if (v->begins)
			l7_stream_begins(r, c, v);
		if (v->notes)
			l7_stream_noted(r, c, v);
		if (v->ends)
			l7_stream_ends(r, c, v);
	} else if (v->begins) {
		l7_push(r, c, v->name, v->method);
	} else if (v->ends) {
		h->status = v->status;
		h->end = v->end;
		h->ending = 1;
	}
	bool more = l7_take(r, h, v->take);
	if (h->ending && !h->skip) {
		h->ending = 0;
		l7_pop(r, c, h->status, h->end);
	}
	return more;
}

/* What a protocol's parser says of the look; set is which of them this program has, as each takes room in it. */
static __always_inline void l7_parse(u32 set, struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v);

/* One message or part of one; false when nothing of the call is left that can be judged. */
static __always_inline bool l7_step(u32 set, u32 window, struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[r->response & 1];

	if (h->skip && !l7_skip(r, c, h))
		return false;
	l7_fill(r, h, window);
	if (!r->look.have) {
		l7_lose(c, h); /* what cannot be read, as of sendfile, stands where a message begins */
		return false;
	}
	if (l7_waits(c)) {
		r->look.waiting = true;
		r->look.method = l7_oldest(c)->method;
	}
	__builtin_memset(&r->verdict, 0, sizeof(r->verdict));
	l7_parse(set, c, h, &r->look, &r->verdict);
	if (r->verdict.lost) {
		l7_lose(c, h);
		return false;
	}
	if (!r->verdict.take) {
		if (!l7_keep(r, h))
			l7_lose(c, h);
		return false;
	}
	if (r->verdict.take < h->carried) {
		l7_lose(c, h);
		return false;
	}
	return l7_obey(r, c, h);
}

/* An exchange of a protocol that is none of ours. */
static __always_inline void l7_exchange(struct l7_run *r, struct l7_conn *c)
{
	if (!r->begins)
		return;
	if (!r->response && !l7_waits(c))
		l7_push(r, c, L7_NONE, 0);
	else if (r->response && l7_waits(c))
		l7_pop(r, c, 0, L7_OK);
}

/* Notes a change of direction, after which a lost half may find itself again. */
static __always_inline void l7_turn(struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[r->response & 1];

	r->begins = c->direction != r->response;
	c->direction = r->response;
	c->last = r->now;
	if (r->begins && h->lost) {
		h->lost = 0;
		h->phase = 0;
	}
}

#endif
