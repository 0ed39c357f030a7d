/* SPDX-License-Identifier: Apache-2.0 */
/* Looking through text eight bytes at a time: what the parsers of line protocols share. */
#ifndef YAGURA_L7_SCAN_H
#define YAGURA_L7_SCAN_H

#include "l7_name.h"

#define L7_SCAN 17 /* words that one search looks at: a window of 128 bytes from any place of it */

/* As l7_forget. */
static __always_inline u64 l7_forget64(struct l7_look *l, u64 number)
{
	volatile u64 *spare = (volatile u64 *)(l->bytes + L7_WINDOW + L7_SPARE - 8);
	*spare = number;
	return *spare;
}

/* Marks the bytes that are not digits. */
static __always_inline u64 l7_not_digits(u64 word) { return ~l7_range(word, '0', '9') & L7_HIGHS; }

/* The number that the first n bytes of a word spell, 1 to 8 digits. */
static __always_inline u64 l7_decimal(u64 word, u32 n)
{
	u64 d = (word ^ L7_ONES * '0') << ((64 - 8 * n) & 63); /* zeros before the first digit */
	d = (d * 10 + (d >> 8)) & 0x00ff00ff00ff00ffull;
	d = (d * 100 + (d >> 16)) & 0x0000ffff0000ffffull;
	return (u32)(d * 10000 + (d >> 32));
}

/* The number that begins at a place, and how many digits it has, at most 11. They may lie behind have. */
static __always_inline u64 l7_number(struct l7_look *l, u32 at, u32 *digits)
{
	u64 word = l7_word(l, at);
	u32 n = l7_before(l7_not_digits(word));
	*digits = n;
	if (!n)
		return 0;
	u64 number = l7_decimal(word, n);
	for (u32 i = 8; n == 8 && i < 11; i++) {
		u32 d = (u32)l7_byte(l, at + i) - '0';
		if (d > 9)
			break;
		number = number * 10 + d;
		*digits = i + 1;
	}
	return number;
}

/* Where c stands from a place on; without it, up to where there is none: behind have, or beyond what one search sees. */
static __always_inline u32 l7_find(struct l7_look *l, u32 at, u8 c)
{
	for (int i = 0; i < L7_SCAN; i++) {
		u32 n = l7_before(l7_equal(l7_word(l, at), c));
		at += n;
		if (n < 8 || at >= l->have)
			break;
	}
	return at < l->have ? at : l->have;
}

/* Whether what is not said yet can be said when more has come: a longer piece cannot be kept. */
static __always_inline bool l7_can_wait(struct l7_look *l) { return l->have == l->left && l->have < L7_CARRY; }

static __always_inline void l7_lost_or_waits(struct l7_look *l, struct l7_verdict *v) { v->lost = !l7_can_wait(l); }

/* Writes a name of up to 16 bytes that is no longer in the look to its end, and returns where. Only to be called once
 * nothing else of the look is needed. */
static __always_inline u32 l7_spell(struct l7_look *l, u64 first, u64 second)
{
	u64 *to = (u64 *)(l->bytes + L7_WINDOW - 16);
	to[0] = first;
	to[1] = second;
	return L7_WINDOW - 16;
}

/* The same hash for a name in small letters as for it in capitals. */
static __always_inline u32 l7_spelled_hash(u64 first, u64 second)
{
	u64 capitals = 0xdfdfdfdfdfdfdfdfull;

	return l7_mixed(l7_mix(l7_mix(0, first & capitals), second & capitals));
}

/* ---- lines ---- */

/* Where the spaces of a line are within the first 64 bytes, and where its end is, one bit for each; 0 if it does not end. */
static __always_inline void l7_line(struct l7_look *l, u64 *spaces, u64 *end)
{
	u64 room = l->have < 64 ? (1ull << (l->have & 63)) - 1 : ~0ull, s = 0, e = 0;

	for (u32 i = 0; i < 64; i += 8) {
		u64 word = l7_word(l, i);
		s |= l7_bits(l7_equal(word, ' ')) << i;
		e |= l7_bits(l7_equal(word, '\n')) << i;
		if (e)
			break;
	}
	e &= room;
	e &= -e;
	*end = l7_forget64(l, e);
	*spaces = l7_forget64(l, s & room & (e - 1));
}

/* The place of the one bit that is set. */
static __always_inline u32 l7_where(u64 bit)
{
	u32 place = l7_place(bit);
	barrier_var(place); /* the compiler knows that it is small, and would leave out the mask that the verifier wants to see */
	return place;
}

/* The place of the highest bit, 0 if there is none. */
static __always_inline u32 l7_last(u64 bits)
{
	bits |= bits >> 1;
	bits |= bits >> 2;
	bits |= bits >> 4;
	bits |= bits >> 8;
	bits |= bits >> 16;
	bits |= bits >> 32;
	return bits ? l7_where(bits ^ bits >> 1) : 0;
}

/* How many bits are set. */
static __always_inline u32 l7_how_many(u64 bits)
{
	bits -= bits >> 1 & 0x5555555555555555ull;
	bits = (bits & 0x3333333333333333ull) + (bits >> 2 & 0x3333333333333333ull);
	return ((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0full) * L7_ONES >> 56;
}

/* Whether the first 64 bytes are one line that does not end yet. */
static __always_inline bool l7_is_long_line(struct l7_look *l)
{
	u64 odd = 0;

	for (u32 i = 0; i < 64; i += 8)
		odd |= l7_range(l7_word(l, i), 0, ' ' - 1) | (l7_word(l, i) & L7_HIGHS);
	return l->have >= 64 && !odd;
}

/* How much of a line that goes on behind what is seen of it may be taken, 0 to wait for more. Where its last word may matter,
 * that is looked at again with the space before it, once its end is seen; words of more than 30 bytes do not matter. */
static __always_inline u32 l7_passes(struct l7_look *l, u64 spaces, bool matters)
{
	u32 last = matters ? l7_last(spaces) : 0;

	if (last || (matters && l7_can_wait(l)))
		return last;
	return l->have < 64 ? l->have : 64;
}

#endif
