/* SPDX-License-Identifier: Apache-2.0 */
/* From a call's bytes to requests and responses. The platform gives l7_copy, l7_finish and the table of streams. */
#ifndef YAGURA_L7_CORE_H
#define YAGURA_L7_CORE_H

#include "l7.h"

#define L7_SMALL 128 /* bytes that are looked at at once of protocols with short heads */
#define L7_AHEAD 512 /* bytes of theirs that are fetched together, as one call often holds many messages */

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
	u32 looker, reserved0; /* whose memory this is */
	s64 result;
	u8 response, begins; /* 0 or 1, which the verifier is shown; begins: the direction has just changed */
	u8 reserved[6];
	u64 ahead_base;  /* where what is in ahead stands */
	u32 ahead_have, reserved1;
	u8 ahead[L7_AHEAD + L7_SMALL];
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
static __always_inline bool l7_stream_take(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v, struct l7_pending *p, u16 *status);

/* ---- the queue of requests: written by whoever reads the requests, emptied by whoever reads the responses ---- */

static __always_inline bool l7_waits(struct l7_conn *c) { return c->head != c->tail; }

static __always_inline struct l7_pending *l7_oldest(struct l7_conn *c) { return &c->queue[c->head & (L7_DEPTH - 1)]; }

static __always_inline void l7_push(struct l7_run *r, struct l7_conn *c, u32 name, u8 method)
{
	struct l7_pending *last = &c->queue[(c->tail - 1) & (L7_DEPTH - 1)];
	u8 n = c->tail - c->head;

	if (c->shifted) { /* responses were lost: whoever asks again has had them, and waits for none before this one */
		c->shifted = 0;
		c->barrier = c->tail;
		c->barred = 1;
	}
	if (n && !c->barred && last->count < 0xffff && (n >= L7_DEPTH || (last->ns == r->now && last->name == name && last->method == method))) {
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
	p->sizes[0] = 0;
	p->name = name;
	p->count = 1;
	p->method = method;
	p->protocol = c->protocol;
	c->tail++;
}

/* Takes the oldest request that waits out of the queue; false if there is none. */
static __always_inline bool l7_pop(struct l7_conn *c, struct l7_pending *p)
{
	if (c->barred) {
		c->barred = 0;
		c->head = c->barrier;
	}
	struct l7_pending *oldest = l7_oldest(c);
	if (!l7_waits(c)) {
		l7_unmatched(c->protocol, L7_NO_REQUEST);
		return false;
	}
	*p = *oldest;
	if (oldest->count > 1) {
		p->sizes[0] /= oldest->count; /* of what came at once, each has the same part */
		oldest->sizes[0] -= p->sizes[0];
		oldest->count--;
	} else {
		c->head++;
	}
	return true;
}

/* ---- bytes ---- */

/* The slow halves of l7_advance and l7_fill, for calls whose bytes are in several buffers. They work on the run alone. */
static __always_inline void l7_advance_parts(struct l7_run *r, u64 n)
{
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

static __always_inline void l7_fill_parts(struct l7_run *r, u32 window)
{
	struct l7_look *l = &r->look;
	u32 have = l->have, part = r->part;

	for (int i = 0; i < 2; i++) { /* a header may end in the next buffer, or the one behind it */
		if (have >= window || have >= l->left || part >= r->part_count)
			break;
		u64 *next = r->parts[part & (L7_PARTS - 1)];
		u64 n = window - have;
		if (n > next[1])
			n = next[1];
		if (n > l->left - have)
			n = l->left - have;
		if (n && n <= L7_WINDOW) {
			if (l7_copy(l->bytes + (have & (L7_WINDOW - 1)), n, next[0]))
				break;
			have += n;
		}
		part++;
	}
	l->have = have;
}

static __always_inline void l7_advance_rest(struct l7_run *r, u64 n);
static __always_inline void l7_fill_rest(struct l7_run *r, u32 window);

static __always_inline void l7_advance(struct l7_run *r, u64 n)
{
	r->left -= n < r->left ? n : r->left;
	if (n < r->length || !r->part_count) {
		r->base += n;
		r->length -= n < r->length ? n : r->length;
	} else {
		l7_advance_rest(r, n);
	}
}

/* Whether what is shown ends with an empty line, as the head of HTTP does whose body is in the next buffer. Most servers write
 * like that, and to read the body as well costs as much as to read the head. */
static __always_inline bool l7_ends_empty(struct l7_look *l)
{
	u32 have = l->have;

	return have > 8 && (l7_word(l, have - 8) >> 32) == ('\r' | '\n' << 8 | '\r' << 16 | '\n' << 24);
}

/* Fetches what stands at the place together with what follows; false if that cannot be read. */
static __always_inline bool l7_fetch(struct l7_run *r)
{
	u64 n = r->length < L7_AHEAD ? r->length : L7_AHEAD;

	r->ahead_base = r->base;
	r->ahead_have = 0;
	if (!n || l7_copy(r->ahead, n, r->base))
		return false;
	r->ahead_have = n;
	return true;
}

/* Shows n bytes, at most L7_SMALL, that stand at the place. */
static __always_inline bool l7_show(struct l7_run *r, u64 n)
{
	struct l7_look *l = &r->look;
	u64 at = r->base - r->ahead_base;

	if (at + n > r->ahead_have || at >= L7_AHEAD) {
		if (!l7_fetch(r))
			return false;
		at = 0;
	}
	barrier_var(at);
	u8 *from = r->ahead + (at & (L7_AHEAD - 1));
	for (u32 i = 0; i < L7_SMALL; i += 8)
		*(u64 *)(l->bytes + i) = l7_load(from + i);
	return true;
}

/* Puts what stands at the place into the look, behind what was carried; at most window bytes. */
static __always_inline void l7_fill(struct l7_run *r, struct l7_half *h, u32 window)
{
	struct l7_look *l = &r->look;
	u32 have = h->carried & (L7_CARRY - 1);
	u64 n = window - have;

	if (have)
		for (u32 i = 0; i < L7_CARRY / 8; i++)
			((u64 *)l->bytes)[i] = ((u64 *)h->carry)[i];
	l->left = have + r->left;
	if (n > r->length)
		n = r->length;
	if (n > r->left)
		n = r->left;
	if (!have && window == L7_SMALL && n && n <= L7_SMALL && l7_show(r, n))
		have = n;
	else if (n && n <= L7_WINDOW && !l7_copy(l->bytes + have, n, r->base))
		have += n;
	l->have = have;
	l->response = r->response;
	l->waiting = false;
	l->method = 0;
	if (have < window && have < l->left && r->part < r->part_count && !l7_ends_empty(l))
		l7_fill_rest(r, window);
}

static __always_inline void l7_lose(struct l7_conn *c, struct l7_half *h)
{
	h->lost = 1;
	h->ending = 0;
	h->skip = 0;
	h->body = 0;
	h->carried = 0;
	if (h == &c->half[1])
		c->shifted = 1;
	l7_unmatched(c->protocol, L7_LOST_FRAMING);
}

/* Whether a response has begun that lasts until the connection ends. */
static __always_inline bool l7_lasts(struct l7_half *h) { return h->ending && h->skip == L7_FOREVER; }

/* Passes what was judged before; false if that is all of the call. */
static __always_inline bool l7_skip(struct l7_run *r, struct l7_half *h)
{
	u64 n = h->skip < r->left ? h->skip : r->left;

	if (h->skip == L7_FOREVER)
		h->body += n;
	else
		h->skip -= n;
	if (n == r->left)
		return false;
	l7_advance(r, n);
	return true;
}

/* Moves on by what a verdict has taken; false if nothing of the call is left. */
static __always_inline bool l7_take(struct l7_run *r, struct l7_half *h, u64 take)
{
	u64 fresh = take - h->carried; /* a parser takes at least what was carried, see l7_judge */

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

/* Has a parser look, which fills the verdict; set is which parsers this program has, as each takes room in it. */
static __always_inline void l7_parse(u32 set, struct l7_run *r, struct l7_conn *c, struct l7_half *h);

/* What has ended with a step. */
enum l7_ended { L7_NOTHING, L7_OLDEST /* the request that waits longest */, L7_ALONE, L7_STREAM };

/* Does what a verdict says of requests, and tells what has ended. */
static __always_inline u8 l7_obey(struct l7_run *r, struct l7_conn *c, struct l7_half *h)
{
	struct l7_verdict *v = &r->verdict;

	if (v->becomes)
		c->protocol = v->becomes;
	if (v->begins && v->name)
		l7_named(r, c, v);
	if (v->alone)
		return L7_ALONE;
	if (v->id) {
		if (v->begins)
			l7_stream_begins(r, c, v);
		if (v->notes)
			l7_stream_noted(r, c, v);
		return v->ends ? L7_STREAM : L7_NOTHING;
	}
	if (v->begins) {
		l7_push(r, c, v->name, v->method);
	} else if (v->ends) {
		h->status = v->status;
		h->end = v->end;
		h->ending = 1;
	}
	if (r->response)
		h->body += v->body;
	else if (v->body)
		c->queue[(c->tail - 1) & (L7_DEPTH - 1)].sizes[0] += v->body;
	return L7_NOTHING;
}

static __always_inline void l7_end(struct l7_run *r, struct l7_conn *c, struct l7_half *h, u8 what)
{
	struct l7_verdict *v = &r->verdict;
	struct l7_pending p = {.ns = r->now, .name = v->name, .count = 1, .method = v->method, .protocol = c->protocol};
	u16 status = v->status;
	u8 end = v->end;

	if (what == L7_OLDEST) {
		h->ending = 0;
		status = h->status;
		end = h->end;
		u64 body = h->body;
		h->body = 0;
		if (!l7_pop(c, &p))
			return;
		p.sizes[1] = body;
	} else if (what == L7_STREAM && !l7_stream_take(r, c, v, &p, &status)) {
		return;
	}
	l7_finish(r, c, &p, status, end);
}

/* Shows a parser what stands at the place; false if nothing comes of it. */
static __always_inline bool l7_judge(u32 set, u32 window, struct l7_run *r, struct l7_conn *c, struct l7_half *h)
{
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
	l7_parse(set, r, c, h);
	if (!r->verdict.lost && (r->verdict.take ? r->verdict.take >= h->carried : r->verdict.ends))
		return true;
	if (r->verdict.lost || r->verdict.take || !l7_keep(r, h))
		l7_lose(c, h);
	return false;
}

/* One message, or part of one, or the rest of one that is judged; false when nothing of the call is left that can be judged. */
static __always_inline bool l7_step(u32 set, u32 window, struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[r->response & 1];
	u8 ended = L7_NOTHING;
	bool more;

	if (h->skip) {
		more = l7_skip(r, h);
	} else {
		if (!l7_judge(set, window, r, c, h))
			return false;
		ended = l7_obey(r, c, h);
		more = !r->verdict.take || l7_take(r, h, r->verdict.take);
	}
	if (h->ending && !h->skip)
		ended = L7_OLDEST;
	if (ended)
		l7_end(r, c, h, ended);
	return more;
}

/* An exchange of a protocol that is none of ours. */
static __always_inline void l7_exchange(struct l7_run *r, struct l7_conn *c)
{
	if (!r->begins)
		return;
	struct l7_pending p;
	if (!r->response && !l7_waits(c))
		l7_push(r, c, L7_NONE, 0);
	else if (r->response && l7_waits(c) && l7_pop(c, &p))
		l7_finish(r, c, &p, 0, L7_OK);
}

/* Notes a change of direction, after which a lost half may find itself again. */
static __always_inline void l7_turn(struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[r->response & 1];

	r->ahead_have = 0;
	r->begins = c->direction != r->response;
	c->direction = r->response;
	c->last = r->now;
	if (r->begins && h->lost) {
		h->lost = 0;
		h->phase = 0;
	}
}

#endif
