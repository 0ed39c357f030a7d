/* SPDX-License-Identifier: Apache-2.0 */
/* DNS: a message is a datagram, or has its length before it in a stream, where answers come in any order. Both are read by
 * the same functions. */
#ifndef YAGURA_L7_DNS_H
#define YAGURA_L7_DNS_H

#include "l7_name.h"

#define DNS_HEAD 12
#define DNS_CODES 11   /* response codes in use, without extensions */
enum { DNS_ANSWER = 0x8000, DNS_OPCODE = 0x7800, DNS_ZERO = 0x0040, DNS_CODE = 0x000f }; /* of the flags */
enum { DNS_QUERY = 0, DNS_NOTIFY = 4, DNS_UPDATE = 5 };
enum { DNS_INTERNET = 1 };

/* What a message is about. question is a hash of the name that is asked for, in which letters and capitals are the same,
 * and type its type: 0 if they cannot be seen. */
struct dns_head {
	u32 question;
	u16 id, type;
	u8 rcode, opcode;
	bool response;
	u8 reserved;
};

/* The place behind the name that begins at a place, and its hash; 0 if there is none. A question's name is never compressed,
 * and no host's has bytes that are not of ASCII. It may end beyond what can be seen. */
static __always_inline u32 dns_name(struct l7_look *l, u32 at, u32 *hash)
{
	u64 mixed = 0;

	for (u32 i = 0; i < 256; i += 8) {
		u64 w = l7_word(l, at + i);
		u32 k = l7_before(l7_equal(w, 0));
		w = l7_first(w, k);
		if (w & L7_HIGHS)
			return 0;
		mixed = l7_mix(mixed, w | L7_ONES * 0x20); /* the bit that tells capitals from letters */
		if (k < 8) {
			*hash = l7_mixed(mixed);
			return at + i + k + 1;
		}
	}
	return 0;
}

/* Whether a message of queries about the Internet begins at a place: one question, and in a query nothing but options. What
 * else DNS allows, nobody sends; but a server that does not understand may answer with a header alone. */
static __always_inline bool dns_is(struct l7_look *l, u32 at)
{
	u32 hash, flags = l7_be16(l, at + 2), end = dns_name(l, at + DNS_HEAD, &hash);
	bool response = flags & DNS_ANSWER;

	if (response && l->have == at + DNS_HEAD)
		return !l7_word(l, at + 4) && !(flags & DNS_ZERO) && flags & DNS_CODE;
	if (!end || l->have < end + 4 || l7_be16(l, at + 4) != 1 || l7_be16(l, end + 2) != DNS_INTERNET || !l7_be16(l, end))
		return false;
	if (flags & (DNS_OPCODE | DNS_ZERO) || (flags & DNS_CODE) >= DNS_CODES)
		return false;
	/* A query may wish for recursion, and that what is signed is checked or not. */
	return response || (!(flags & ~0x0130u) && l7_be16(l, at + 6) == 0 && l7_be16(l, at + 8) == 0 && l7_be16(l, at + 10) <= 2);
}

/* Whether flags and the number of questions are those of a message that is queried, notified or updated with. */
static __always_inline bool dns_is_head(u32 flags, u32 questions)
{
	u32 opcode = flags >> 11 & 15;

	return !(flags & DNS_ZERO) && questions <= 1 && (opcode == DNS_QUERY || opcode == DNS_NOTIFY || opcode == DNS_UPDATE);
}

/* Reads the header of a message, and its question as far as it can be seen; false if it is none. */
static __always_inline bool dns_read(struct l7_look *l, u32 at, struct dns_head *head)
{
	u32 flags = l7_be16(l, at + 2), questions = l7_be16(l, at + 4), hash = 0;

	head->id = l7_be16(l, at);
	head->response = flags >> 15;
	head->opcode = flags >> 11 & 15;
	head->rcode = flags & DNS_CODE;
	head->type = 0;
	head->question = 0;
	head->reserved = 0;
	if (l->have < at + DNS_HEAD || !dns_is_head(flags, questions))
		return false;
	u32 end = questions ? dns_name(l, at + DNS_HEAD, &hash) : 0;
	if (!end || l->have < end + 2)
		return true;
	head->question = hash;
	head->type = l7_be16(l, end);
	return true;
}

/* ---- over TCP ---- */

/* Whether a connection's first bytes of a direction are of this protocol. A query is never long. */
static __always_inline bool dns_is_stream(struct l7_look *l)
{
	u32 length = l7_be16(l, 0);
	return length >= DNS_HEAD + 5 && (l->response || length <= 512) && l->have >= 2 + DNS_HEAD + 5 &&
	       (l7_byte(l, 4) >> 7) == l->response && dns_is(l, 2);
}

/* An answer of many messages, as a zone's transfer, ends with the first. own[0] of a connection counts its questions, and
 * own[1] has that count as it was when the last answer came, and the id of it. */
static __always_inline void dns_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 length = l7_be16(l, 0), id = l7_be16(l, 2), flags = l7_be16(l, 4), questions = l7_be16(l, 6);

	if (l->have < 2 + DNS_HEAD)
		return;
	if (length < DNS_HEAD || !dns_is_head(flags, questions) || (flags >> 15) != l->response || (!l->response && !questions)) {
		v->lost = 1;
		return;
	}
	v->take = length + 2;
	if (!l->response) {
		v->begins = 1;
		v->id = id + 1;
		c->own[0] += 1ull << 32;
		return;
	}
	u64 answer = c->own[0] | (id + 1);
	if (c->own[1] == answer)
		return;
	c->own[1] = answer;
	v->ends = 1;
	v->id = id + 1;
	v->status = flags & DNS_CODE;
	v->end = v->status ? L7_FAILED : L7_OK;
}

#endif
