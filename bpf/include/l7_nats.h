/* SPDX-License-Identifier: Apache-2.0 */
/* NATS as its clients speak it. Either side says what it wants to when it wants to: only PING is always answered, and the
 * rest by +OK where the client has asked for that. Subjects are never looked at. */
#ifndef YAGURA_L7_NATS_H
#define YAGURA_L7_NATS_H

#include "l7_scan.h"

/* Line: of a line whose verb is told by half.b and own. */
enum nats_phase { NATS_STARTS, NATS_LINE };

/* What a verb says of its line. */
enum nats_kind {
	NATS_PAYLOAD = 1 << 0,  /* the last word is its size */
	NATS_ASKS = 1 << 1,     /* +OK answers it, where that is wanted */
	NATS_CONNECTS = 1 << 2, /* and says whether it is */
	NATS_PINGS = 1 << 3,    /* PONG answers it */
	NATS_PONGS = 1 << 4,
	NATS_ACCEPTS = 1 << 5,
	NATS_FAILS = 1 << 6,
	NATS_DELIVERS = 1 << 7, /* a message to who has subscribed */
	NATS_PASSES = 1 << 8,   /* neither request nor answer */
};

/* conn.own: whether every request is answered; how much was seen of what says so; the verb of a line that goes on, of
 * requests and of responses. */
enum { NATS_VERBOSE, NATS_SAYS, NATS_VERB };

#define NATS_PINGED 1 /* pending.method of PING */

/* What a verb is, which ends before a space or the end of the line; 0 if it is none. */
static __always_inline u32 nats_kind(u64 verb, bool response)
{
	u64 word = verb & 0xdfdfdfdfdfdfdfdfull;

	if (word == L7_WORD('P', 'I', 'N', 'G', 0, 0, 0, 0))
		return response ? NATS_PASSES : NATS_PINGS;
	if (word == L7_WORD('P', 'O', 'N', 'G', 0, 0, 0, 0))
		return response ? NATS_PONGS : NATS_PASSES;
	if (response) {
		if (word == L7_WORD('M', 'S', 'G', 0, 0, 0, 0, 0) || word == L7_WORD('H', 'M', 'S', 'G', 0, 0, 0, 0))
			return NATS_PAYLOAD | NATS_DELIVERS;
		if (verb == L7_WORD('+', 'O', 'K', 0, 0, 0, 0, 0))
			return NATS_ACCEPTS;
		if (verb == L7_WORD('-', 'E', 'R', 'R', 0, 0, 0, 0))
			return NATS_FAILS;
		return word == L7_WORD('I', 'N', 'F', 'O', 0, 0, 0, 0) ? NATS_PASSES : 0;
	}
	if (word == L7_WORD('P', 'U', 'B', 0, 0, 0, 0, 0) || word == L7_WORD('H', 'P', 'U', 'B', 0, 0, 0, 0))
		return NATS_PAYLOAD | NATS_ASKS;
	if (word == L7_WORD('S', 'U', 'B', 0, 0, 0, 0, 0) || word == L7_WORD('U', 'N', 'S', 'U', 'B', 0, 0, 0))
		return NATS_ASKS;
	return word == L7_WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', 0) ? NATS_ASKS | NATS_CONNECTS : 0;
}

/* The number that is the last word of a line, and 1; 0 if there is none. */
static __always_inline u32 nats_size(struct l7_look *l, u64 spaces, u64 end)
{
	u32 last = l7_last(spaces), digits;
	u64 number = l7_number(l, last + 1, &digits);

	return spaces && digits && end == 1ull << ((last + digits + 2) & 63) && number < 1ull << 31 ? number + 1 : 0;
}

/* Looks for what CONNECT says of being verbose, byte by byte, as it may stand anywhere; it is said once for a connection.
 * NATS_SAYS counts what was seen of it, and then holds the letter that its value begins with. */
static const char nats_option[16] __attribute__((aligned(8))) = "\"verbose\":";
#define NATS_OPTION 10

static __always_inline void nats_listen(struct l7_conn *c, struct l7_look *l, u64 end)
{
	u64 says = c->own[NATS_SAYS];
	u32 behind = end ? l7_where(end) : 64;

	for (u32 i = 0; i < 64 && i < l->have && i < behind; i++) {
		u8 byte = l7_byte(l, i), next = nats_option[says & 15];
		u64 then = says == NATS_OPTION && byte != ' ' ? byte : says;
		if (says < NATS_OPTION)
			then = byte == next ? says + 1 : 0;
		says = l7_forget64(l, then);
	}
	c->own[NATS_SAYS] = says;
}

/* A whole line of the client, and what is behind it. */
static __always_inline void nats_asks(struct l7_conn *c, struct l7_verdict *v, u32 kind)
{
	if (kind & NATS_CONNECTS)
		c->own[NATS_VERBOSE] = c->own[NATS_SAYS] <= NATS_OPTION || c->own[NATS_SAYS] == 't'; /* so it is if nothing is said */
	v->begins = 1;
	v->method = kind & NATS_PINGS ? NATS_PINGED : 0;
	v->alone = kind & NATS_ASKS && !c->own[NATS_VERBOSE];
	v->end = v->alone ? L7_ONE_WAY : L7_OK;
}

/* A line of the server that answers. Who asks what is not answered by design learns by +OK that it is, which may be so of
 * a connection whose beginning was not seen. */
static __always_inline void nats_answers(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v, u32 kind)
{
	bool pinged = l->waiting && l->method == NATS_PINGED, asked = l->waiting && !pinged;

	if (kind & NATS_FAILS) {
		v->ends = asked;
		v->alone = !asked;
		v->end = L7_FAILED;
	} else if (kind & NATS_ACCEPTS) {
		v->ends = asked;
		if (!l->waiting)
			c->own[NATS_VERBOSE] = 1;
	} else {
		v->ends = 1;
		if (asked) /* what was asked before was not answered */
			c->own[NATS_VERBOSE] = 0;
	}
}

static __always_inline void nats_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	bool starts = h->phase == NATS_STARTS;
	u32 kind = h->b, direction = l->response;
	barrier_var(direction); /* the compiler knows that it is 0 or 1, and the verifier wants to see it */
	u64 spaces, end, *own = &c->own[NATS_VERB + (direction & 1)], verb = *own;

	if (starts && !l->response && l7_byte(l, 0) == 0x16) { /* a handshake of TLS may follow INFO */
		c->tls = L7_ENCRYPTED;
		v->becomes = L7_TLS;
		v->take = L7_FOREVER;
		return;
	}
	if (starts) {
		u64 word = l7_word(l, 0);
		u32 letters = l7_before(l7_range(word, 0, ' '));
		verb = l7_first(word, letters);
		kind = letters < 8 ? nats_kind(verb, l->response) : 0;
		if (letters >= l->have || !kind) {
			v->lost = letters < l->have || !l7_can_wait(l);
			return;
		}
		*own = verb;
		if (kind & NATS_CONNECTS)
			c->own[NATS_SAYS] = 0;
	}
	kind = l7_forget64(l, kind);
	l7_line(l, &spaces, &end);
	if (kind & NATS_CONNECTS)
		nats_listen(c, l, end);
	if (!end) {
		v->take = l7_passes(l, spaces, kind & NATS_PAYLOAD);
		h->phase = v->take ? NATS_LINE : h->phase;
		h->b = kind;
		return;
	}
	u32 size = kind & NATS_PAYLOAD ? nats_size(l, spaces, end) : 0;
	if (kind & NATS_PAYLOAD && !size) {
		v->lost = 1;
		return;
	}
	h->phase = NATS_STARTS;
	v->take = (u64)l7_where(end) + 1 + (size ? (u64)size + 1 : 0);
	if (kind & NATS_PASSES)
		return;
	if (kind & (NATS_PONGS | NATS_ACCEPTS | NATS_FAILS)) {
		nats_answers(c, l, v, kind);
		return;
	}
	nats_asks(c, v, kind);
	if (kind & NATS_DELIVERS) {
		v->alone = 1;
		v->end = L7_ONE_WAY;
	}
	v->name = l7_spelled_hash(verb, 0);
	v->name_length = l7_before(l7_equal(verb, 0));
	v->name_at = l7_spell(l, verb, 0);
}

/* Whether a connection's first bytes of a direction are of this protocol. The server begins, with INFO; after it comes
 * CONNECT; the rest is for connections that are seen from their middle. */
static __always_inline bool nats_is(struct l7_look *l)
{
	u64 spaces, end, word = l7_word(l, 0), ninth = l7_byte(l, 8);
	u32 letters = l7_before(l7_range(word, 0, ' ')), kind = letters < 8 ? nats_kind(l7_first(word, letters), l->response) : 0;

	if (l->have < 9)
		return false;
	if (l->response && (u32)word == (u32)L7_WORD('I', 'N', 'F', 'O', 0, 0, 0, 0))
		return l7_byte(l, 4) == ' ' && l7_byte(l, 5) == '{';
	if (kind & NATS_CONNECTS)
		return ninth == '{';
	l7_line(l, &spaces, &end);
	if (!spaces || !(kind & (NATS_PAYLOAD | NATS_ASKS)))
		return false;
	return end ? nats_size(l, spaces, end) != 0 : kind & NATS_PAYLOAD && l7_is_long_line(l);
}

#endif
