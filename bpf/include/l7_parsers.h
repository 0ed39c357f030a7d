/* SPDX-License-Identifier: Apache-2.0 */
/* Every parser, and which one a connection's first bytes ask for. */
#ifndef YAGURA_L7_PARSERS_H
#define YAGURA_L7_PARSERS_H

#include "l7_core.h"
#include "l7_http.h"
#include "l7_http2.h"
#include "l7_postgres.h"
#include "l7_mysql.h"
#include "l7_redis.h"
#include "l7_memcached.h"
#include "l7_mongo.h"
#include "l7_kafka.h"
#include "l7_amqp.h"
#include "l7_nats.h"
#include "l7_dns.h"

/* Which parsers one program has: each is verified with all the others of its program. */
#define L7_SET(protocol) (1u << (protocol))
#define L7_SET_FIRST (L7_SET(L7_HTTP) | L7_SET(L7_REDIS)) /* of the program that every call comes to */
#define L7_SET_TEXT (L7_SET(L7_MEMCACHED) | L7_SET(L7_NATS))
#define L7_SET_SQL (L7_SET(L7_POSTGRES) | L7_SET(L7_MYSQL))
#define L7_SET_BINARY (L7_SET(L7_MONGO) | L7_SET(L7_KAFKA) | L7_SET(L7_AMQP) | L7_SET(L7_DNS))
#define L7_SET_HTTP2 L7_SET(L7_HTTP2)

/* Every parser once: its protocol, and what its functions are called after. */
#define L7_EACH_PARSER(DO)                                                                          \
	DO(L7_HTTP, http) DO(L7_REDIS, redis) DO(L7_MEMCACHED, memcached) DO(L7_NATS, nats)         \
	DO(L7_POSTGRES, postgres) DO(L7_MYSQL, mysql) DO(L7_MONGO, mongo) DO(L7_KAFKA, kafka)       \
	DO(L7_AMQP, amqp) DO(L7_DNS, dns) DO(L7_HTTP2, http2)

/* Has the one parser look that a connection's protocol is of, by the platform's L7_CALL, if this program has it. */
#define L7_IF_ITS(parsed, name)                               \
	else if (set & L7_SET(parsed) && protocol == (parsed)) \
		L7_CALL(name);
#define l7_call_parser(set, protocol, v)     \
	do {                                 \
		if (0)                       \
			;                    \
		L7_EACH_PARSER(L7_IF_ITS)    \
		else (v)->lost = 1;          \
	} while (0)

/* Whether a TLS record begins here: its type, the version from SSL 3.0 to TLS 1.3, and a length of at most 2^14 bytes and
 * 2 KiB. Connections that are older than we are begin with application data. */
static __always_inline bool l7_is_tls(struct l7_look *l)
{
	return l->have >= 5 && (u8)(l7_byte(l, 0) - 0x14) <= 3 && l7_byte(l, 1) == 3 && l7_byte(l, 2) <= 4 && l7_byte(l, 3) <= 0x48;
}

/* The protocol of a connection whose bytes of one direction begin here, L7_UNKNOWN if none of ours begins like that. What
 * is told by more bytes comes first. */
static __always_inline u8 l7_classify(struct l7_look *l)
{
	if (http_is(l))
		return L7_HTTP;
	if (http2_is(l))
		return L7_HTTP2;
	if (amqp_is(l))
		return L7_AMQP;
	if (nats_is(l))
		return L7_NATS;
	if (postgres_is(l))
		return L7_POSTGRES;
	if (mysql_is(l))
		return L7_MYSQL;
	if (mongo_is(l))
		return L7_MONGO;
	if (kafka_is(l))
		return L7_KAFKA;
	if (redis_is(l))
		return L7_REDIS;
	if (memcached_is(l))
		return L7_MEMCACHED;
	if (dns_is_stream(l))
		return L7_DNS;
	return L7_UNKNOWN;
}

/* l7_classify of what is shown, by the platform. */
static __always_inline u8 l7_classify_look(struct l7_run *r);

#define L7_TRIES 6 /* changes of direction after which a connection is of none of our protocols */

/* Names the protocol of a connection, if the first bytes since the direction has changed tell. Some read a message's length
 * by itself: too few bytes are kept until the next ones come. */
static __always_inline void l7_recognise(struct l7_run *r, struct l7_conn *c)
{
	struct l7_half *h = &c->half[r->response & 1];

	if (c->protocol != L7_UNKNOWN)
		return;
	if (r->begins)
		h->carried = 0;
	else if (!h->carried)
		return;
	l7_fill(r, h, L7_SMALL);
	if (l7_is_tls(&r->look)) {
		c->protocol = L7_TLS;
		c->tls = L7_ENCRYPTED;
		return;
	}
	c->protocol = l7_classify_look(r);
	if (c->protocol != L7_UNKNOWN) {
		c->half[!r->response].carried = 0;
		return;
	}
	if (r->begins && ++c->tries >= L7_TRIES)
		c->protocol = L7_TCP;
	h->carried = 0;
	l7_keep(r, h);
}

/* How much of a protocol's messages is looked at at once. */
static __always_inline u32 l7_window(u8 protocol)
{
	return protocol == L7_HTTP || protocol == L7_HTTP2 ? L7_WINDOW : L7_SMALL;
}

#endif
