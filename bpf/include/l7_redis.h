/* SPDX-License-Identifier: Apache-2.0 */
/* Redis: RESP2, RESP3 and inline commands. A message is one value, which may be of other values; what is still to come is
 * only counted, as it does not matter how deep it stands. Of a command nothing but its first word is looked at. */
#ifndef YAGURA_L7_REDIS_H
#define YAGURA_L7_REDIS_H

#include "l7_scan.h"

#define REDIS_AT_ONCE 16 /* values that one look passes */

/* Within a line, its beginning is no longer seen. half.a has how many values are still to come. */
enum redis_phase { REDIS_STARTS, REDIS_VALUES, REDIS_LINE };

/* half.b of responses: about the one that has begun. */
enum redis_answer { REDIS_FAILS = 1, REDIS_ANSWERS_NOTHING = 2, REDIS_UNTOLD = 4 /* more bytes tell */ };

/* conn.own[0]: what comes without being asked for. It belongs to who reads the requests, as own[1] does. */
enum redis_mode { REDIS_ORDINARY, REDIS_LISTENS, REDIS_MONITORS };

/* conn.own[1]: what CLIENT REPLY has asked for. */
enum redis_replies { REDIS_REPLIES, REDIS_REPLIES_OFF, REDIS_REPLIES_SKIP };

#define REDIS_CONFIRMED 1 /* pending.method: what answers is a confirmation of (un)subscribing, and looks like a delivery */

/* Sets of types: a letter above 63 shares its bit with the one 64 below it, which is no type but for ~ and >. */
#define REDIS_BIT(c) (1ull << ((c) & 63))
#define REDIS_BULKS (REDIS_BIT('$') | REDIS_BIT('!') | REDIS_BIT('='))
#define REDIS_PAIRS (REDIS_BIT('%') | REDIS_BIT('|'))
#define REDIS_COUNTS (REDIS_PAIRS | REDIS_BIT('*') | REDIS_BIT('>') | REDIS_BIT('~'))
#define REDIS_PLAIN                                                                                                   \
	(REDIS_BIT('+') | REDIS_BIT('-') | REDIS_BIT(':') | REDIS_BIT(',') | REDIS_BIT('#') | REDIS_BIT('('))
#define REDIS_LINES (REDIS_PLAIN | REDIS_BIT('_'))
#define REDIS_BELOW (REDIS_PLAIN | REDIS_BULKS | REDIS_BIT('*') | REDIS_BIT('>') | REDIS_BIT('%'))
#define REDIS_ABOVE (REDIS_BIT('~') | REDIS_BIT('|') | REDIS_BIT('_'))

#define REDIS_NULL L7_WORD('-', '1', '\r', '\n', 0, 0, 0, 0)
#define REDIS_CRLF L7_WORD('\r', '\n', 0, 0, 0, 0, 0, 0)

static __always_inline bool redis_ends_line(struct l7_look *l, u32 at) { return (l7_word(l, at) & 0xffff) == REDIS_CRLF; }

/* What stands behind a type: how many bytes up to the end of the line, with a length or count where it is one. */
#define REDIS_SEEN(bytes, number) ((u64)(bytes) << 48 | (number))
#define REDIS_NOTHING (1ull << 47) /* a null has no body, not even an empty one */
#define REDIS_LONG REDIS_SEEN(L7_WINDOW, 0) /* its end is not to be seen */
#define REDIS_WRONG (~0ull)

/* Of a type that has a length or a count. */
static __always_inline u64 redis_count(struct l7_look *l, u32 at)
{
	u32 n;
	u64 number = l7_number(l, at, &n);

	if ((u32)l7_word(l, at) == REDIS_NULL)
		return REDIS_SEEN(2, REDIS_NOTHING);
	if (n)
		return REDIS_SEEN(n, number);
	return at + 4 > l->have ? REDIS_LONG : REDIS_WRONG; /* it may become a null */
}

/* Of a type that is a line, up to 15 bytes of it. */
static __always_inline u64 redis_short(struct l7_look *l, u32 at)
{
	u32 n = l7_before(l7_equal(l7_word(l, at), '\r'));

	if (n == 8)
		n += l7_before(l7_equal(l7_word(l, at + 8), '\r'));
	return n < 16 ? REDIS_SEEN(n, 0) : REDIS_LONG;
}

/* Passes values until none is left or one cannot be seen; of the last one only its length, which may lie far behind. False
 * for what is no value. */
static __always_inline bool redis_walk(struct l7_look *l, u64 *place, u64 *count)
{
	u64 below = l->response ? REDIS_BELOW : REDIS_BIT('$'), above = l->response ? REDIS_ABOVE : 0;
	u64 at = *place, left = *count, have = l->have;

	below = l7_forget64(l, below);
	above = l7_forget64(l, above);
	for (int i = 0; i < REDIS_AT_ONCE && left && at < have; i++) {
		u32 here = at;
		u8 type = l7_byte(l, here), bit = type & 63;
		u64 known = type & 64 ? above : below;

		if (!(known >> bit & 1) || type >> 7)
			return false;
		u64 seen = l7_forget64(l, REDIS_LINES >> bit & 1 ? redis_short(l, here + 1) : redis_count(l, here + 1));
		if (seen == REDIS_WRONG)
			return false;
		u64 after = here + (seen >> 48) + 3, number = seen & (REDIS_NOTHING - 1);
		if (after > have)
			break;
		if (!redis_ends_line(l, after - 2))
			return false;
		at = after + (number + 2) * (REDIS_BULKS >> bit & ~(seen >> 47) & 1);
		left += (number << (REDIS_PAIRS >> bit & 1)) * (REDIS_COUNTS >> bit & 1) - 1 + (type == '|');
		at = l7_forget64(l, at);
		left = l7_forget64(l, left);
	}
	*place = l7_forget64(l, at);
	*count = l7_forget64(l, left);
	return true;
}

/* Where a command's first word stands, and where it ends; 0 if that is not to be seen, or it is none. An inline command
 * ends with its line, which is looked for later. */
static __always_inline u32 redis_head(struct l7_look *l, u64 *left, u32 *name, u32 *length)
{
	u64 word = l7_word(l, 1);
	u32 n = l7_before(l7_not_digits(word)), at = n + 3;

	if (!n || n > 7 || !redis_ends_line(l, n + 1) || at > l->have)
		return 0;
	*left = l7_decimal(word, n);
	if (!*left)
		return at; /* a command of no words is passed over */
	*left -= 1;
	word = l7_word(l, at + 1);
	n = l7_before(l7_not_digits(word));
	*name = at + n + 3;
	if (l7_byte(l, at) != '$' || !n || n > 3 || !redis_ends_line(l, *name - 2) || *name > l->have)
		return 0;
	*length = l7_decimal(word, n);
	at = *name + *length + 2;
	return *length && (at <= l->have || !l7_can_wait(l)) ? at : 0;
}

/* The first word of an inline command; its length is 0 if it is none, or the line is empty. */
static __always_inline u32 redis_inline_length(struct l7_look *l)
{
	u64 word = l7_word(l, 0);
	u32 n = l7_before(~l7_letters(word) & L7_HIGHS);

	if (n == 8)
		n += l7_before(~l7_letters(l7_word(l, 8)) & L7_HIGHS);
	u8 behind = l7_byte(l, n);
	return behind == ' ' || behind == '\r' || behind == '\n' ? n : 0;
}

/* CLIENT REPLY says whether this command and the ones behind it are answered. */
static __always_inline void redis_client_reply(struct l7_conn *c, struct l7_look *l, u32 behind)
{
	u64 word = l7_word(l, behind) & 0xdfdfdfdfffffffffull;

	if (word != L7_WORD('$', '5', '\r', '\n', 'R', 'E', 'P', 'L') || behind + 13 > l->have)
		return;
	switch (l7_byte(l, behind + 12)) { /* the length of what is asked for tells which it is */
	case '2':
		c->own[1] = REDIS_REPLIES; /* ON */
		break;
	case '3':
		c->own[1] = REDIS_REPLIES_OFF;
		break;
	case '4':
		if (c->own[1] != REDIS_REPLIES_OFF)
			c->own[1] = REDIS_REPLIES_SKIP; /* neither this one nor the next */
		break;
	}
}

/* What a command changes in how the connection is read. word: its first letters, as capitals. */
static __always_inline void redis_special(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v, u64 word, u32 behind)
{
	u64 mode = REDIS_ORDINARY;

	if (word == L7_WORD('S', 'U', 'B', 'S', 'C', 'R', 'I', 'B') || word >> 8 == L7_WORD('S', 'U', 'B', 'S', 'C', 'R', 'I', 0) ||
	    word == L7_WORD('U', 'N', 'S', 'U', 'B', 'S', 'C', 'R') || word >> 8 == L7_WORD('U', 'N', 'S', 'U', 'B', 'S', 'C', 0)) {
		v->method = REDIS_CONFIRMED;
		mode = REDIS_LISTENS;
	} else if (word == L7_WORD('P', 'I', 'N', 'G', 0, 0, 0, 0)) {
		mode = c->own[0]; /* it may be asked while one listens */
	} else if (word == L7_WORD('M', 'O', 'N', 'I', 'T', 'O', 'R', 0)) {
		mode = REDIS_MONITORS;
	} else if (word == L7_WORD('C', 'L', 'I', 'E', 'N', 'T', 0, 0)) {
		redis_client_reply(c, l, behind);
	} else if (word == L7_WORD('S', 'Y', 'N', 'C', 0, 0, 0, 0) || word == L7_WORD('P', 'S', 'Y', 'N', 'C', 0, 0, 0) ||
		   word == L7_WORD('R', 'E', 'P', 'L', 'C', 'O', 'N', 'F')) {
		v->becomes = L7_TCP; /* a replica's: no longer requests and responses */
	}
	c->own[0] = mode;
}

/* Says that a command begins, whose first word is at a place; false if more must be seen first. */
static __always_inline bool redis_begins(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v, u32 at, u32 length, u64 arguments)
{
	u64 word = l7_first(l7_word(l, at) & 0xdfdfdfdfdfdfdfdfull, length), replies = c->own[1];
	u32 n, behind = at + length + 2;

	if (word == L7_WORD('C', 'L', 'I', 'E', 'N', 'T', 0, 0) && arguments == 2 && behind + 13 > l->have && l7_can_wait(l))
		return false;
	if (replies == REDIS_REPLIES_SKIP)
		c->own[1] = REDIS_REPLIES;
	if (length < 4)
		c->own[0] = REDIS_ORDINARY;
	else
		redis_special(c, l, v, word, behind);
	v->begins = !v->becomes;
	v->name = l7_word_hash(l, at, length, &n);
	v->name_at = at;
	v->name_length = length;
	if (n != length)
		v->name = L7_NONE; /* no command is called like that */
	/* What looks like an inline command may be a piece of a value, so only what nobody would hide is named. */
	if (!at && word != L7_WORD('P', 'I', 'N', 'G', 0, 0, 0, 0) && word != L7_WORD('I', 'N', 'F', 'O', 0, 0, 0, 0) &&
	    word != L7_WORD('Q', 'U', 'I', 'T', 0, 0, 0, 0))
		v->name = L7_NONE;
	v->alone = c->own[1] != REDIS_REPLIES || replies == REDIS_REPLIES_SKIP;
	v->end = v->alone ? L7_ONE_WAY : L7_OK;
	return true;
}

/* Whether an array or a push says that a channel is (un)subscribed. word: behind "*3\r\n$9\r\n". */
static __always_inline bool redis_confirms(u64 word)
{
	return word == L7_WORD('s', 'u', 'b', 's', 'c', 'r', 'i', 'b') || word == L7_WORD('\n', 'p', 's', 'u', 'b', 's', 'c', 'r') ||
	       word == L7_WORD('\n', 's', 's', 'u', 'b', 's', 'c', 'r') || word == L7_WORD('\n', 'u', 'n', 's', 'u', 'b', 's', 'c') ||
	       word == L7_WORD('\n', 'p', 'u', 'n', 's', 'u', 'b', 's') || word == L7_WORD('\n', 's', 'u', 'n', 's', 'u', 'b', 's');
}

static __always_inline bool redis_delivers(u64 word)
{
	return word == L7_WORD('m', 'e', 's', 's', 'a', 'g', 'e', '\r') || word == L7_WORD('p', 'm', 'e', 's', 's', 'a', 'g', 'e') ||
	       word == L7_WORD('s', 'm', 'e', 's', 's', 'a', 'g', 'e');
}

/* What the response that begins here is to a request. Pushes answer none, and arrays that look like deliveries do not
 * either where some may come, or nobody waits for anything else. Of confirmations, one for each channel, the first answers. */
static __always_inline u32 redis_answer(struct l7_conn *c, struct l7_look *l)
{
	u8 type = l7_byte(l, 0);
	u64 mode = c->own[0];

	if (type == '-' || type == '!')
		return REDIS_FAILS;
	if (type == '+' && mode == REDIS_MONITORS && !l->waiting)
		return REDIS_ANSWERS_NOTHING;
	if (type != '>' && (type != '*' || (mode != REDIS_LISTENS && l->waiting)))
		return 0;
	u32 otherwise = type == '>' ? REDIS_ANSWERS_NOTHING : 0;
	bool brief = l->have < 5;
	if (!brief && (l7_byte(l, 2) != '\r' || l7_byte(l, 4) != '$' || l7_byte(l, 1) < '2'))
		return otherwise;
	if (brief && l->have >= 2 && l7_byte(l, 1) < '2')
		return otherwise;
	if (l->have < 16)
		return REDIS_UNTOLD;
	u64 word = l7_word(l, 8);
	if (redis_delivers(word))
		return REDIS_ANSWERS_NOTHING;
	if (redis_confirms(word))
		return l->waiting && l->method == REDIS_CONFIRMED ? 0 : REDIS_ANSWERS_NOTHING;
	return otherwise;
}

/* Says what was judged: all up to a place, behind which so many values of the message are still to come. */
static __always_inline void redis_conclude(struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u64 at, u64 left)
{
	if (left >> 32) {
		v->lost = 1;
		return;
	}
	v->take = v->becomes ? L7_FOREVER : at;
	h->a = left;
	h->phase = left ? REDIS_VALUES : REDIS_STARTS;
	if (left || !l->response || h->b & REDIS_ANSWERS_NOTHING)
		return;
	v->ends = 1;
	v->end = h->b & REDIS_FAILS ? L7_FAILED : L7_OK;
}

static __always_inline void redis_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	bool starts = h->phase == REDIS_STARTS;
	u64 at = 0, left = starts ? 1 : h->a, arguments, ended = 1;
	u64 inlined = starts && !l->response && l7_byte(l, 0) != '*', within = h->phase == REDIS_LINE;
	u32 name = 0, length = 0;

	if (starts && l->response) {
		u32 answer = redis_answer(c, l);
		if (answer == REDIS_UNTOLD) {
			l7_lost_or_waits(l, v);
			return;
		}
		h->b = answer;
	} else if (starts && !inlined) {
		at = redis_head(l, &left, &name, &length);
		if (!at) {
			l7_lost_or_waits(l, v);
			return;
		}
	}
	at = l7_forget64(l, at);
	left = arguments = l7_forget64(l, left);
	name = l7_forget64(l, name);
	length = l7_forget64(l, length);
	inlined = l7_forget64(l, inlined);
	within = l7_forget64(l, within);
	if (!within && !inlined && !redis_walk(l, &at, &left)) {
		v->lost = 1;
		return;
	}
	if (!at) { /* a line that is too long for the walk, or an inline command */
		at = l7_find(l, 0, '\n');
		ended = at < l->have && l7_byte(l, at) == '\n';
		at += ended;
		left -= ended;
		if (!ended && !within && (inlined || l7_can_wait(l))) {
			l7_lost_or_waits(l, v);
			return;
		}
	}
	if (inlined) {
		length = redis_inline_length(l);
		v->lost = !length && at > 2; /* Redis passes over empty lines, too */
	}
	if (at < h->carried || (length && !redis_begins(c, l, v, name, length, arguments))) {
		l7_lost_or_waits(l, v);
		return;
	}
	redis_conclude(h, l, v, at, left);
	if (!ended)
		h->phase = REDIS_LINE;
}

/* Whether a connection's first bytes of a direction are of this protocol: an array of strings, of which the first is a
 * command where it is a request. Nothing shorter would tell it from others. */
static __always_inline bool redis_is(struct l7_look *l)
{
	u64 left;
	u32 name = 0, length = 0;

	if (l7_byte(l, 0) != '*' && (l7_byte(l, 0) != '>' || !l->response))
		return false;
	redis_head(l, &left, &name, &length);
	return length && name < l->have && l7_letters(l7_byte(l, name)) & 0x80;
}

#endif
