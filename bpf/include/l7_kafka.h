/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka. A broker answers the requests of one connection in their order. What a request is called is its API's number, which
 * user space spells. */
#ifndef YAGURA_L7_KAFKA_H
#define YAGURA_L7_KAFKA_H

#include "l7.h"

enum kafka_api {
	KAFKA_PRODUCE, KAFKA_FETCH, KAFKA_FIND_COORDINATOR = 10, KAFKA_JOIN_GROUP, KAFKA_HEARTBEAT, KAFKA_LEAVE_GROUP,
	KAFKA_SYNC_GROUP, KAFKA_LIST_GROUPS = 16, KAFKA_SASL_HANDSHAKE, KAFKA_API_VERSIONS, KAFKA_INIT_PRODUCER_ID = 22,
	KAFKA_ADD_PARTITIONS_TO_TXN = 24, KAFKA_ADD_OFFSETS_TO_TXN, KAFKA_END_TXN, KAFKA_SASL_AUTHENTICATE = 36,
	KAFKA_DESCRIBE_CLUSTER = 60, KAFKA_CONSUMER_GROUP_HEARTBEAT = 68, KAFKA_GET_TELEMETRY = 71, KAFKA_PUSH_TELEMETRY, KAFKA_SHARE_GROUP_HEARTBEAT = 76,
	KAFKA_SHARE_FETCH = 78, KAFKA_SHARE_ACKNOWLEDGE = 79, KAFKA_STREAMS_GROUP_HEARTBEAT = 88,
};

#define KAFKA_APIS 100            /* numbers below are taken for APIs, also those of tomorrow */
#define KAFKA_VERSIONS 20
#define KAFKA_HEAD 14             /* size, API, version, correlation id, length of the client's id */
#define KAFKA_MAX (100u << 20)    /* a broker's bound by default */
#define KAFKA_ANSWER_MAX (1u << 30) /* a consumer may ask for any size */
#define KAFKA_NAME 16             /* the name of API 0; that of the next one is the next number */
#define KAFKA_SPELLED 256         /* where no bytes of the stream are in the look */
#define KAFKA_AHEAD (1u << 20)    /* so many requests are not asked before the first of them is answered */
#define KAFKA_FLEXIBLE 9          /* version of Produce from which lengths are variable and fields have tags */
#define KAFKA_MEMBER_ID_REQUIRED 79 /* how every member of a group gets its id */

/* Where a half's next bytes stand in a Produce request. */
enum { KAFKA_START, KAFKA_TRANSACTION, KAFKA_ACKS };

/* In own of a connection: a correlation id, with this if there is one. 0 is that of the last request and 1 that of the one
 * before which nothing waited, both written by who reads requests. */
#define KAFKA_SEEN (1ull << 32)

/* The place in an answer where its error stands: behind size and correlation id, a tag if the version is flexible, and how
 * long the client was throttled. 0 if it has one for each of its topics, or none. */
static __always_inline u8 kafka_error_at(u32 api, u32 version)
{
	switch (api) {
	case KAFKA_FETCH:
		return version < 7 ? 0 : version < 12 ? 12 : 13;
	case KAFKA_FIND_COORDINATOR:
		return version < 1 ? 8 : version < 3 ? 12 : version < 4 ? 13 : 0;
	case KAFKA_JOIN_GROUP:
		return version < 2 ? 8 : version < 6 ? 12 : 13;
	case KAFKA_HEARTBEAT: case KAFKA_LEAVE_GROUP: case KAFKA_SYNC_GROUP:
		return version < 1 ? 8 : version < 4 ? 12 : 13;
	case KAFKA_LIST_GROUPS:
		return version < 1 ? 8 : version < 3 ? 12 : 13;
	case KAFKA_SASL_HANDSHAKE: case KAFKA_API_VERSIONS: /* before versions are agreed on, an answer has no tags */
		return 8;
	case KAFKA_SASL_AUTHENTICATE:
		return version < 2 ? 8 : 9;
	case KAFKA_INIT_PRODUCER_ID:
		return version < 2 ? 12 : 13;
	case KAFKA_ADD_OFFSETS_TO_TXN: case KAFKA_END_TXN:
		return version < 3 ? 12 : 13;
	case KAFKA_ADD_PARTITIONS_TO_TXN:
		return version < 4 ? 0 : 13;
	case KAFKA_DESCRIBE_CLUSTER: case KAFKA_CONSUMER_GROUP_HEARTBEAT: case KAFKA_GET_TELEMETRY: case KAFKA_PUSH_TELEMETRY: case KAFKA_SHARE_GROUP_HEARTBEAT:
	case KAFKA_SHARE_FETCH: case KAFKA_SHARE_ACKNOWLEDGE: case KAFKA_STREAMS_GROUP_HEARTBEAT:
		return 13;
	}
	return 0;
}

/* Whether the first letters of a client's id are letters, as far as they can be seen. */
static __always_inline bool kafka_is_text(struct l7_look *l, u32 at, u32 length)
{
	u64 w = l7_word(l, at);
	u32 seen = l->have > at ? l->have - at : 0;

	if (seen > length)
		seen = length;
	if (seen < 8)
		w = (w & ((1ull << 8 * seen) - 1)) | L7_WORD('k', 'k', 'k', 'k', 'k', 'k', 'k', 'k') << 8 * seen;
	/* No byte is below a space. Those above 127 may belong to a letter. */
	return !((w - 0x2020202020202020ull) & ~w & 0x8080808080808080ull);
}

/* How many bytes of a client's id follow the header that begins here; L7_WINDOW and more if no request begins here. */
static __always_inline u32 kafka_client(struct l7_look *l)
{
	u32 size = l7_be32(l, 0), length = l7_be16(l, 12);

	if (length == 0xffff)
		length = 0;
	if (size < KAFKA_HEAD - 4 + length || size > KAFKA_MAX || l7_be16(l, 4) >= KAFKA_APIS || l7_be16(l, 6) > KAFKA_VERSIONS ||
	    l7_byte(l, 8) >> 7 || length > 0xff || !kafka_is_text(l, KAFKA_HEAD, length))
		return L7_WINDOW;
	return length;
}

/* Whether a connection's first bytes of a direction are of this protocol. Clients have an id by default; without it, this
 * might as well be ZooKeeper's. */
static __always_inline bool kafka_is(struct l7_look *l)
{
	u32 client = kafka_client(l);
	return !l->response && l->have > KAFKA_HEAD && client > 0 && client < L7_WINDOW;
}

/* Judges what stands before at, and goes on there once more can be seen. If at is 0 that means to wait. */
static __always_inline void kafka_pause(struct l7_half *h, struct l7_verdict *v, u32 total, u32 at, u8 phase)
{
	h->a = total - at;
	h->phase = phase;
	v->take = at;
}

static __always_inline void kafka_begins(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 api, bool one_way)
{
	h->phase = KAFKA_START;
	l->bytes[KAFKA_SPELLED] = 0;
	l->bytes[KAFKA_SPELLED + 1] = api;
	v->name = KAFKA_NAME + api;
	v->name_at = KAFKA_SPELLED;
	v->name_length = 2;
	v->take = total;
	v->begins = 1;
	v->alone = one_way;
	v->end = one_way ? L7_ONE_WAY : L7_OK;
	if (!l->waiting && !one_way)
		c->own[1] = c->own[0];
}

/* Produce says how many brokers must have the records before there is an answer. With 0 there is none. The version is in b
 * of the half; whatever is not known to want no answer is expected to get one. */
static __always_inline void kafka_produce(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 at)
{
	bool known = true;

	if (h->phase == KAFKA_TRANSACTION) {
		bool flexible = h->b >= KAFKA_FLEXIBLE;
		u32 length = l7_be16(l, at);
		if (total - at >= 2 && l->have < at + 2) {
			kafka_pause(h, v, total, at, KAFKA_TRANSACTION);
			return;
		}
		if (flexible) { /* no tags, and a length to which 1 is added */
			known = length < 0x80;
			length = length ? length - 1 : 0;
		} else if (length == 0xffff) {
			length = 0;
		}
		known &= total - at >= length + 4;
		at += 2 + length;
	}
	if (known && total - at >= 2 && l->have < at + 2) {
		kafka_pause(h, v, total, at, KAFKA_ACKS);
		return;
	}
	kafka_begins(c, h, l, v, total, KAFKA_PRODUCE, known && total - at >= 2 && !l7_be16(l, at));
}

static __always_inline void kafka_request(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 total = l7_be32(l, 0) + 4, api = l7_byte(l, 5), client;

	if (h->phase != KAFKA_START) {
		kafka_produce(c, h, l, v, h->a, 0);
		return;
	}
	if (l->have < KAFKA_HEAD)
		return;
	client = kafka_client(l);
	if (client >= L7_WINDOW) {
		v->lost = 1;
		return;
	}
	c->own[0] = KAFKA_SEEN | l7_be32(l, 8);
	h->b = l7_byte(l, 7);
	if (api == KAFKA_PRODUCE) {
		h->phase = h->b < 3 ? KAFKA_ACKS : KAFKA_TRANSACTION;
		kafka_produce(c, h, l, v, total, KAFKA_HEAD + client);
		return;
	}
	kafka_begins(c, h, l, v, total, api, false);
	v->method = kafka_error_at(api, h->b);
}

/* Whether an answer with this id may come now, and to a request that was seen. */
enum kafka_fit { KAFKA_FITS, KAFKA_BEFORE, KAFKA_NEVER };
static __always_inline u8 kafka_fit(struct l7_conn *c, struct l7_look *l, u32 id)
{
	u32 behind = ((u32)c->own[0] - id) & 0x7fffffff, ahead = (id - (u32)c->own[1]) & 0x7fffffff;

	if (!(c->own[0] & KAFKA_SEEN))
		return KAFKA_FITS;
	if (behind >= KAFKA_AHEAD)
		return KAFKA_NEVER;
	return l->waiting && c->own[1] && ahead >= 1u << 30 ? KAFKA_BEFORE : KAFKA_FITS;
}

static __always_inline void kafka_answer(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v)
{
	u32 size = l7_be32(l, 0), id = l7_be32(l, 4), at = l->waiting ? l->method : 0;
	u16 error = 0;

	if (l->have < 8)
		return;
	u8 fit = kafka_fit(c, l, id);
	if (size < 4 || size > KAFKA_ANSWER_MAX || id >> 31 || fit == KAFKA_NEVER) {
		v->lost = 1;
		return;
	}
	if (at && at + 2 <= size + 4) {
		if (l->have < at + 2)
			return;
		error = l7_be16(l, at);
	}
	v->take = (u64)size + 4;
	v->ends = 1;
	v->id = fit == KAFKA_BEFORE; /* which no request has */
	v->status = error;
	v->end = error && error != KAFKA_MEMBER_ID_REQUIRED ? L7_FAILED : L7_OK;
}

static __always_inline void kafka_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	if (l->response)
		kafka_answer(c, l, v);
	else
		kafka_request(c, h, l, v);
}

#endif
