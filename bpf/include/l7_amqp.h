/* SPDX-License-Identifier: Apache-2.0 */
/* AMQP 0-9-1. On each channel one synchronous method waits at most, so what is asked and what answers find each other by
 * their channel. Messages are published and delivered one way: acknowledgements, which may be of many at once, are passed.
 * AMQP 1.0 is another protocol, and none of ours. */
#ifndef YAGURA_L7_AMQP_H
#define YAGURA_L7_AMQP_H

#include "l7.h"

enum { AMQP_METHOD = 1, AMQP_HEADER, AMQP_BODY, AMQP_HEARTBEAT = 8 };

#define AMQP_HEAD 7            /* type, channel, size; behind so many bytes comes AMQP_END */
#define AMQP_END 0xce
#define AMQP_MAX (64u << 20)   /* of a frame: 128 KiB by default */
#define AMQP_CHANNELS 192      /* whose waiting method is known: three words of bits for each direction */
#define AMQP_REFUSED 300       /* reply codes from here on are errors */

/* A class and a method, as they are told apart. Both together are also how user space is told what to spell. */
#define AMQP_ID(class, method) ((class) << 8 | (method))
enum amqp_method {
	AMQP_START = AMQP_ID(10, 10), AMQP_START_OK = AMQP_ID(10, 11), AMQP_SECURE = AMQP_ID(10, 20), AMQP_SECURE_OK = AMQP_ID(10, 21),
	AMQP_TUNE = AMQP_ID(10, 30), AMQP_CLOSE_CONNECTION = AMQP_ID(10, 50), AMQP_BLOCKED = AMQP_ID(10, 60), AMQP_UNBLOCKED = AMQP_ID(10, 61),
	AMQP_FLOW = AMQP_ID(20, 20), AMQP_CLOSE_CHANNEL = AMQP_ID(20, 40),
	AMQP_DECLARE_EXCHANGE = AMQP_ID(40, 10), AMQP_DELETE_EXCHANGE = AMQP_ID(40, 20), AMQP_BIND_EXCHANGE = AMQP_ID(40, 30), AMQP_UNBIND_EXCHANGE = AMQP_ID(40, 40),
	AMQP_DECLARE = AMQP_ID(50, 10), AMQP_BIND = AMQP_ID(50, 20), AMQP_PURGE = AMQP_ID(50, 30), AMQP_DELETE = AMQP_ID(50, 40),
	AMQP_CONSUME = AMQP_ID(60, 20), AMQP_CANCEL = AMQP_ID(60, 30), AMQP_PUBLISH = AMQP_ID(60, 40), AMQP_RETURN = AMQP_ID(60, 50),
	AMQP_DELIVER = AMQP_ID(60, 60), AMQP_GET_EMPTY = AMQP_ID(60, 72), AMQP_ACK = AMQP_ID(60, 80), AMQP_REJECT = AMQP_ID(60, 90),
	AMQP_RECOVER_ASYNC = AMQP_ID(60, 100), AMQP_NACK = AMQP_ID(60, 120),
	AMQP_CONFIRM = AMQP_ID(85, 10),
};

/* Where a half's next bytes stand: at a frame, or in a method among strings behind which a bit says that no answer is wanted. */
enum { AMQP_FRAME, AMQP_STRINGS };

/* How a method's arguments begin that may want no answer: a number that is no longer used, strings, and the bit. */
#define AMQP_PLAN(unused, strings, bit) ((unused) << 16 | (strings) << 8 | (bit))
static __always_inline u32 amqp_plan(u32 id)
{
	switch (id) {
	case AMQP_DECLARE_EXCHANGE:
		return AMQP_PLAN(2, 2, 1 << 4);
	case AMQP_DELETE_EXCHANGE:
		return AMQP_PLAN(2, 1, 1 << 1);
	case AMQP_BIND_EXCHANGE: case AMQP_UNBIND_EXCHANGE: case AMQP_BIND:
		return AMQP_PLAN(2, 3, 1);
	case AMQP_DECLARE:
		return AMQP_PLAN(2, 1, 1 << 4);
	case AMQP_PURGE:
		return AMQP_PLAN(2, 1, 1);
	case AMQP_DELETE:
		return AMQP_PLAN(2, 1, 1 << 2);
	case AMQP_CONSUME:
		return AMQP_PLAN(2, 2, 1 << 3);
	case AMQP_CANCEL:
		return AMQP_PLAN(0, 1, 1);
	case AMQP_CONFIRM:
		return AMQP_PLAN(0, 0, 1);
	}
	return 0;
}

/* Methods come in tens; the first of each ten asks or tells, the next ones answer. */
static __always_inline bool amqp_asks(u32 id)
{
	return (id & 0xff) % 10 == 0 || id == AMQP_START_OK || id == AMQP_SECURE_OK;
}

static __always_inline bool amqp_is_one_way(u32 id)
{
	return id == AMQP_ACK || id == AMQP_REJECT || id == AMQP_RECOVER_ASYNC || id == AMQP_NACK;
}

static __always_inline bool amqp_answers(u32 id)
{
	return ((id & 0xff) % 10 == 1 && id != AMQP_UNBLOCKED) || id == AMQP_GET_EMPTY || id == AMQP_SECURE || id == AMQP_TUNE;
}

/* The method that begins here, 0 if there is none like it. */
static __always_inline u32 amqp_method(struct l7_look *l)
{
	u32 class = l7_be16(l, 7), method = l7_be16(l, 9);
	bool known = class == 60 || class == 50 || class == 40 || class == 20 || class == 10 || class == 85 || class == 90;

	return known && method >= 10 && method <= 120 && method % 10 <= 2 ? AMQP_ID(class, method) : 0;
}

static __always_inline bool amqp_is_frame(struct l7_look *l)
{
	u32 type = l7_byte(l, 0), size = l7_be32(l, 3);

	if (type == AMQP_HEARTBEAT)
		return l7_word(l, 0) == L7_WORD(AMQP_HEARTBEAT, 0, 0, 0, 0, 0, 0, AMQP_END);
	return type >= AMQP_METHOD && type <= AMQP_BODY && size <= AMQP_MAX &&
	       (AMQP_HEAD + size >= l->have || l7_byte(l, AMQP_HEAD + size) == AMQP_END);
}

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool amqp_is(struct l7_look *l)
{
	if (l->have < 8)
		return false;
	if ((u32)l7_word(l, 0) == (u32)L7_WORD('A', 'M', 'Q', 'P', 0, 0, 0, 0))
		return true;
	if (!amqp_is_frame(l))
		return false;
	return l7_byte(l, 0) == AMQP_HEARTBEAT || (l7_byte(l, 0) == AMQP_METHOD && AMQP_HEAD + l7_be32(l, 3) < l->have && amqp_method(l));
}

/* ---- what waits on a channel: it does if its bits in the words of both directions differ, each of which only whoever
 * reads that direction changes ---- */

static __always_inline bool amqp_waits(struct l7_conn *c, u32 channel)
{
	u32 i = channel >> 6;
	return i < 3 && ((c->own[i] ^ c->own[3 + i]) >> (channel & 63) & 1);
}

static __always_inline void amqp_set_waits(struct l7_conn *c, bool response, u32 channel, bool waits)
{
	u32 i = channel >> 6;
	u64 bit = 1ull << (channel & 63);

	if (i >= 3 || amqp_waits(c, channel) == waits)
		return;
	if (response)
		c->own[3 + i] ^= bit;
	else
		c->own[i] ^= bit;
}

static __always_inline void amqp_alone(struct l7_verdict *v, u16 status, u8 end)
{
	v->begins = 1;
	v->alone = 1;
	v->status = status;
	v->end = end;
}

/* ---- frames ---- */

/* Says what a client's method begins, and how many bytes may be taken with it. */
static __always_inline void amqp_request(struct l7_conn *c, struct l7_half *h, struct l7_verdict *v, u32 id, u32 channel)
{
	u32 plan = amqp_plan(id), fixed = AMQP_HEAD + 4 + (plan >> 16);

	if (id == AMQP_PUBLISH) {
		amqp_alone(v, 0, L7_ONE_WAY);
		return;
	}
	if (!amqp_asks(id) || amqp_is_one_way(id))
		return;
	v->begins = 1;
	v->id = channel + 1;
	amqp_set_waits(c, false, channel, true);
	if (plan && v->take > fixed) {
		h->a = (u32)v->take - fixed;
		h->b = channel << 16 | (plan & 0xffff);
		h->phase = AMQP_STRINGS;
		v->take = fixed;
	}
}

/* Says what a server's method ends. It closes a channel, or the connection, to refuse what was asked. */
static __always_inline void amqp_response(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v, u32 id, u32 channel)
{
	u16 code = l7_be16(l, 11);

	if (id == AMQP_DELIVER) {
		amqp_alone(v, 0, L7_ONE_WAY);
		return;
	}
	bool closes = id == AMQP_CLOSE_CHANNEL || id == AMQP_CLOSE_CONNECTION;
	if (id == AMQP_RETURN || (closes && code >= AMQP_REFUSED && !amqp_waits(c, channel))) {
		amqp_alone(v, code, L7_FAILED);
		return;
	}
	if (!amqp_answers(id) && !(closes && amqp_waits(c, channel)))
		return;
	v->ends = 1;
	v->id = channel + 1;
	if (closes && code >= AMQP_REFUSED) {
		v->status = code;
		v->end = L7_FAILED;
	}
	amqp_set_waits(c, true, channel, false);
}

/* The place behind a frame of a message's content that begins at a place, or that place if none does. */
static __always_inline u32 amqp_content(struct l7_look *l, u32 at)
{
	u32 type = l7_byte(l, at), size = l7_be32(l, at + 3);
	bool is = (type == AMQP_HEADER || type == AMQP_BODY) && size <= AMQP_MAX && at + AMQP_HEAD <= l->have;

	return is ? at + size + AMQP_HEAD + 1 : at;
}

static __always_inline void amqp_frame(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 channel = l7_be16(l, 1), size = l7_be32(l, 3), id = amqp_method(l), at = size + AMQP_HEAD + 1;
	u32 needed = l->response ? AMQP_HEAD + 6 : AMQP_HEAD + 4; /* class and method, and of answers the reply code */
	bool method = l7_byte(l, 0) == AMQP_METHOD;

	if (l->have < 8)
		return;
	if (!amqp_is_frame(l)) {
		v->lost = 1;
		return;
	}
	if (method && l->have < needed && l->have < at)
		return;
	if (method && !id) {
		v->lost = 1;
		return;
	}
	v->take = amqp_content(l, amqp_content(l, at));
	if (!method)
		return;
	v->name = id;
	v->name_at = AMQP_HEAD;
	v->name_length = 4;
	if (l->response)
		amqp_response(c, l, v, id, channel);
	else
		amqp_request(c, h, v, id, channel);
}

/* One of a method's strings, or behind them the bit that takes back that an answer is waited for. */
static __always_inline void amqp_strings(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 strings = h->b >> 8 & 0xff, bit = h->b & 0xff, channel = h->b >> 16, length = l7_byte(l, 0) + 1u;

	if (!l->have)
		return;
	if (strings && length < h->a) {
		h->b -= 1 << 8;
		h->a -= length;
		v->take = length;
		return;
	}
	h->phase = AMQP_FRAME;
	v->take = h->a;
	if (strings || !(l7_byte(l, 0) & bit))
		return;
	v->id = channel + 1;
	v->ends = 1;
	v->end = L7_ONE_WAY;
	amqp_set_waits(c, false, channel, false);
}

static __always_inline void amqp_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	if (h->phase == AMQP_STRINGS) {
		amqp_strings(c, h, l, v);
	} else if (l->have >= 8 && (u32)l7_word(l, 0) == (u32)L7_WORD('A', 'M', 'Q', 'P', 0, 0, 0, 0)) {
		bool ours = l7_word(l, 0) == L7_WORD('A', 'M', 'Q', 'P', 0, 0, 9, 1);
		v->becomes = ours ? 0 : L7_TCP;
		v->take = ours ? 8 : L7_FOREVER;
	} else {
		amqp_frame(c, h, l, v);
	}
}

#endif
