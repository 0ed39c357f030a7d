/* SPDX-License-Identifier: Apache-2.0 */
/* Names of few values: hashes of paths without what varies in them, and of verbs. Eight bytes are looked at together: a mark
 * is the high bit of a byte that has some property. */
#ifndef YAGURA_L7_NAME_H
#define YAGURA_L7_NAME_H

#include "l7.h"

#define L7_ONES 0x0101010101010101ull
#define L7_LOWS 0x7f7f7f7f7f7f7f7full
#define L7_HIGHS 0x8080808080808080ull

/* Marks the bytes of w from first to last, both below 128. */
static __always_inline u64 l7_range(u64 w, u8 first, u8 last)
{
	u64 t = w & L7_LOWS;
	return (t + L7_ONES * (0x80 - first)) & ~(t + L7_ONES * (0x7f - last)) & ~w & L7_HIGHS;
}

/* Marks the bytes of w that are c, below 128. */
static __always_inline u64 l7_equal(u64 w, u8 c)
{
	u64 x = w ^ L7_ONES * c;
	return ~(((x & L7_LOWS) + L7_LOWS) | x | L7_LOWS);
}

static __always_inline u64 l7_letters(u64 w) { return l7_range(w | L7_ONES * 0x20, 'a', 'z'); }

/* How many bytes there are up to and including the first mark; 8 without one. */
static __always_inline u32 l7_through(u64 marks) { return ((((marks & -marks) - 1) & L7_ONES) * L7_ONES) >> 56; }

/* How many bytes there are before the first mark; 8 without one. */
static __always_inline u32 l7_before(u64 marks) { return (((((marks & -marks) - 1) >> 7) & L7_ONES) * L7_ONES) >> 56; }

/* The first n bytes of w, with 0 behind them. */
static __always_inline u64 l7_first(u64 w, u32 n) { return n < 8 ? w & ((1ull << (n & 7) * 8) - 1) : w; }

/* A hash of texts, eight bytes at a time. */
static __always_inline u64 l7_mix(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}
static __always_inline u32 l7_mixed(u64 hash) { return l7_hash_end((u32)hash); }

/* The same number, of which the verifier knows nothing any more. Where many ways lead to a place with numbers that it knows
 * something different of, it would follow what comes from there once for each. */
static __always_inline u32 l7_forget(struct l7_look *l, u32 x)
{
	volatile u32 *spare = (void *)(l->bytes + L7_WINDOW + L7_SPARE - 8);
	*spare = x;
	return *spare;
}

#define L7_WORD_BYTES 24

/* Hash of the word at a place, in whatever case it is written: letters, digits, _ and ., at most max and 24 bytes of it.
 * L7_NONE if there is none. */
static __always_inline u32 l7_word_hash(struct l7_look *l, u32 at, u32 max, u32 *length)
{
	u32 left = at < l->have ? l->have - at : 0, n = 0;
	u64 hash = 0;

	if (left > max)
		left = max;
	if (left > L7_WORD_BYTES)
		left = L7_WORD_BYTES;
	for (u32 i = 0; i < L7_WORD_BYTES; i += 8) {
		u64 w = l7_word(l, at + i), letters = l7_letters(w);
		u32 k = l7_before(~(letters | l7_range(w, '0', '9') | l7_equal(w, '_') | l7_equal(w, '.')) & L7_HIGHS);
		if (k > left)
			k = left;
		hash = l7_mix(hash, l7_first(w & ~(letters >> 2), k)); /* the bit that tells cases apart */
		left -= k;
		n += k;
		if (k < 8)
			break;
	}
	*length = n;
	return n ? l7_mixed(hash) : L7_NONE;
}

/* The marks of eight bytes as eight bits. */
static __always_inline u64 l7_bits(u64 marks) { return marks * 0x0002040810204081ull >> 56; }

/* How many bits are set. */
static __always_inline u32 l7_count(u64 x)
{
	x -= x >> 1 & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
	return ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full) * L7_ONES >> 56;
}

/* The places of 64 bits in the order in which six bits of this number tell them, each once. */
#define L7_PLACES 0x03f79d71b4cb0a89ull
static const u8 l7_places[64] = {
	0,  1,  48, 2,  57, 49, 28, 3,  61, 58, 50, 42, 38, 29, 17, 4,  62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11, 46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,  13, 8,  7,  6,
};

/* The place of the one bit that is set. */
static __always_inline u32 l7_place(u64 bit) { return l7_places[bit * L7_PLACES >> 58]; }

#define L7_SEGMENTS 12 /* components of a path that are told apart */

/* Whether a number is not 0, without a branch: each doubles the ways that the verifier follows. */
static __always_inline u64 l7_some(u64 x)
{
	u64 top = x | -x;
	barrier_var(top);
	return top >> 63;
}

/* What the bytes of a path are, one bit for each. It is kept in the look's spare bytes: what the verifier reads there it takes
 * for any number, so that it verifies once what follows, where it would follow each way that numbers may have come about. */
struct l7_path {
	u64 stops;   /* slashes, and the end, which is a ?, a #, a space or a control character */
	u64 digits;
	u64 letters; /* and full stops, as versions have them: v1.2 */
	u64 marks;   /* slashes, digits, letters: what may stand before a digit that says nothing */
	u64 odd;     /* neither letters, digits, nor of - . / : _ $ * + , */
	u64 varies;  /* components that are one of many */
	u64 last;    /* the slash or the end that the text goes up to */
};

/* Marks the bytes of t, none of which has its high bit set, that are at least c. Where one of these takes away another,
 * exclusive or leaves what is between them. */
static __always_inline u64 l7_from(u64 t, u8 c) { return t + L7_ONES * (0x80 - c); }

/* Reads a path and returns the bit of its end, 0 if it has none. */
static __always_inline u64 l7_path_read(struct l7_look *l, u32 at, u32 limit, volatile struct l7_path *p)
{
	u32 room = at < limit ? limit - at : 0;
	u64 slashes = 0, digits = 0, letters = 0, odd = 0, end = 0;

	for (u32 i = 0; i < L7_TEXT; i += 8) {
		u64 w = l7_word(l, at + i), t = w & L7_LOWS, small = t | L7_ONES * 0x20, ours = ~w & L7_HIGHS;
		u64 letter = l7_from(small, 'a') ^ l7_from(small, 'z' + 1);
		u64 punctuation = l7_from(t, '*') ^ l7_from(t, ':' + 1) ^ l7_from(t, '_') ^ l7_from(t, '_' + 1) ^ l7_from(t, '$') ^ l7_from(t, '$' + 1);
		u64 stop = ~l7_from(t, ' ' + 1) ^ l7_from(t, '#') ^ l7_from(t, '#' + 1) ^ l7_from(t, '?') ^ l7_from(t, '?' + 1);
		slashes |= l7_bits((l7_from(t, '/') ^ l7_from(t, '/' + 1)) & ours) << i;
		digits |= l7_bits((l7_from(t, '0') ^ l7_from(t, '9' + 1)) & ours) << i;
		letters |= l7_bits((letter | (l7_from(t, '.') ^ l7_from(t, '.' + 1))) & ours) << i;
		odd |= l7_bits(~(letter | punctuation) & L7_HIGHS) << i;
		end |= l7_bits(stop & ours) << i;
		if (end)
			break;
	}
	if (room < L7_TEXT)
		end |= 1ull << (room & 63);
	end &= -end;
	p->stops = (slashes & (end - 1) & ~1ull) | end;
	p->digits = digits;
	p->letters = letters;
	p->marks = slashes | digits | letters;
	p->odd = odd;
	return end;
}

/* The bits of a component if it is one of many, 0 otherwise. See Route in exporter/requests/route.go. */
static __always_inline u64 l7_path_varies(volatile struct l7_path *p, u64 component)
{
	u64 all = p->digits, d = all & component, second = d & (d - 1), runs = d & ~(all << 1);
	u64 why = (second & (second - 1)) | (component & component >> 15) | (d & ~(p->marks << 1));

	why |= runs & (runs - 1) & -l7_some(component & component >> 8);
	why |= l7_some(p->letters & component) ^ 1;
	why = (why & -l7_some(d)) | (p->odd & component) | (component & component >> 40);
	return component & -l7_some(why);
}

/* Finds the components that are one of many, and where what is told apart ends. */
static __always_inline void l7_path_judge(volatile struct l7_path *p, u64 end)
{
	u64 stops = p->stops, from = 1, varies = 0, suspect = p->digits | p->odd;

	for (u32 i = 0; i < L7_SEGMENTS; i++) {
		u64 stop = stops & -stops;
		if (!stop)
			break;
		u64 component = (stop - 1) & ~(from | (from - 1));
		if (component & (suspect | component >> 40))
			varies |= l7_path_varies(p, component);
		from = stop;
		if (stop == end)
			break;
		stops ^= stop;
	}
	p->varies = varies;
	p->last = from;
}

#define L7_PATH_WORDS (L7_SEGMENTS + L7_TEXT / 8) /* a component begins a word, and has at most so many together */

/* Hash of the path at a place, which ends before limit at the latest, without what varies in it: its components that are
 * numbers, identifiers, addresses and the like are one. What is behind the component that the 64th byte belongs to, with
 * it, and behind the twelfth one, is one too. The length is that of the path before its query, at most 64; where
 * at + length is limit, the path may go on. */
static __always_inline u32 l7_path_hash(struct l7_look *l, u32 at, u32 limit, u32 *length)
{
	volatile struct l7_path *p = (void *)(l->bytes + L7_WINDOW);
	u64 hash = 0, end = l7_path_read(l, at, limit, p);
	u32 from = 0, to;

	*length = end ? l7_place(end) : L7_TEXT;
	l7_path_judge(p, end);
	u64 last = p->last, stops = p->stops, varies = p->varies;
	to = l7_place(last);
	for (u32 i = 0; i < L7_PATH_WORDS; i++) {
		if (from >= to)
			break;
		u64 rest = stops >> (from & 63) & ~1ull;
		u32 n = l7_place(rest & -rest);
		if (varies >> (from & 63) & 2) {
			hash = l7_mix(hash, L7_WORD('/', '{', 'i', 'd', '}', 0, 0, 0));
		} else {
			hash = l7_mix(hash, l7_first(l7_word(l, at + from), n));
			n = n < 8 ? n : 8;
		}
		from = (from + n) & (2 * L7_TEXT - 1);
	}
	return l7_mixed(last == end ? hash : l7_mix(hash, L7_WORD('/', '*', 0, 0, 0, 0, 0, 0)));
}

/* Hash of the path "/". */
static __always_inline u32 l7_root_hash(void) { return l7_mixed(l7_mix(0, '/')); }

#endif
