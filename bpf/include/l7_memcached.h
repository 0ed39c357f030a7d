/* SPDX-License-Identifier: Apache-2.0 */
/* Memcached: the text protocol with its meta commands, and the binary protocol. Keys are never looked at; names are those
 * of the text protocol in both. */
#ifndef YAGURA_L7_MEMCACHED_H
#define YAGURA_L7_MEMCACHED_H

#include "l7_scan.h"

/* Fields: of a line whose first word is told by half.b and own, what stands from a space on. Rest: what of a line does not
 * matter. half.a is the length of data that was found, and 1. */
enum memcached_phase { MEMCACHED_STARTS, MEMCACHED_FIELDS, MEMCACHED_REST };

/* What a first word says of its line. The lowest bits are which word behind it is the length of data. */
enum memcached_kind {
	MEMCACHED_WANT = 7,
	MEMCACHED_KNOWN = 1 << 3,    /* it has a name */
	MEMCACHED_ANSWERED = 1 << 4, /* whatever stands behind it */
	MEMCACHED_META = 1 << 5,     /* the flag q makes it quiet */
	MEMCACHED_FENCE = 1 << 6,    /* mn, and what answers it */
	MEMCACHED_SILENT = 1 << 7,   /* a request that nothing answers; a response that answers nothing */
	MEMCACHED_PART = 1 << 8,     /* a line of an answer that is not its last one */
	MEMCACHED_FAILS = 1 << 9,
	MEMCACHED_WRONG = 1 << 10,
	MEMCACHED_PASSED = 16,       /* shift: words that were passed in earlier looks */
};

/* pending.method of mn: what comes before its answer belongs to quiet commands. */
#define MEMCACHED_MN 1

/* conn.own: the first word of a request in two, its hash and length, and whether quiet commands were seen. */
enum { MEMCACHED_WORD, MEMCACHED_WORD2, MEMCACHED_HASH, MEMCACHED_QUIET };

#define MEMCACHED_SAYS(a, b, c, d, e, f, g, h) (word == L7_WORD(a, b, c, d, e, f, g, h))

/* The length of data that a line tells of, and 1; 0 if it is not all to be seen, or not a length. */
static __always_inline u32 memcached_length(struct l7_look *l, u64 spaces, u64 end, u32 kind)
{
	u32 want = kind & MEMCACHED_WANT, passed = kind >> MEMCACHED_PASSED, digits;

	if (want <= passed)
		return 0;
	for (u32 i = 1; i < 4; i++)
		spaces &= want - passed > i ? spaces - 1 : ~0ull;
	if (!spaces || !(end || spaces & (spaces - 1)))
		return 0;
	u32 at = l7_where(spaces & -spaces) + 1;
	u64 number = l7_number(l, at, &digits);
	u8 behind = l7_byte(l, at + digits);
	return digits && (behind == ' ' || behind == '\r') && number < 1ull << 31 ? number + 1 : 0;
}

/* Whether the flag q stands among the words of a meta command behind its key. */
static __always_inline bool memcached_is_quiet(struct l7_look *l, u64 spaces, u64 end, u32 kind)
{
	u64 q = 0, behind = spaces | end >> 1;

	for (u32 i = 0; i < 64; i += 8)
		q |= l7_bits(l7_equal(l7_word(l, i), 'q')) << i;
	if (!(kind >> MEMCACHED_PASSED))
		spaces &= spaces - 1;
	return spaces << 1 & q & behind >> 1;
}

/* A request that is told by its first word. Of words that are none of these no one knows what they are. */
static __always_inline u32 memcached_verb(u64 word)
{
	if (MEMCACHED_SAYS('g', 'e', 't', 0, 0, 0, 0, 0) || MEMCACHED_SAYS('g', 'e', 't', 's', 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('g', 'a', 't', 0, 0, 0, 0, 0) || MEMCACHED_SAYS('g', 'a', 't', 's', 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('s', 't', 'a', 't', 's', 0, 0, 0) || MEMCACHED_SAYS('v', 'e', 'r', 's', 'i', 'o', 'n', 0) ||
	    MEMCACHED_SAYS('s', 'l', 'a', 'b', 's', 0, 0, 0) || MEMCACHED_SAYS('l', 'r', 'u', 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('l', 'r', 'u', '_', 'c', 'r', 'a', 'w') || MEMCACHED_SAYS('s', 'h', 'u', 't', 'd', 'o', 'w', 'n'))
		return MEMCACHED_KNOWN | MEMCACHED_ANSWERED;
	if (MEMCACHED_SAYS('s', 'e', 't', 0, 0, 0, 0, 0) || MEMCACHED_SAYS('a', 'd', 'd', 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('c', 'a', 's', 0, 0, 0, 0, 0) || MEMCACHED_SAYS('r', 'e', 'p', 'l', 'a', 'c', 'e', 0) ||
	    MEMCACHED_SAYS('a', 'p', 'p', 'e', 'n', 'd', 0, 0) || MEMCACHED_SAYS('p', 'r', 'e', 'p', 'e', 'n', 'd', 0))
		return MEMCACHED_KNOWN | 4;
	if (MEMCACHED_SAYS('m', 'g', 0, 0, 0, 0, 0, 0) || MEMCACHED_SAYS('m', 'd', 0, 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('m', 'a', 0, 0, 0, 0, 0, 0) || MEMCACHED_SAYS('m', 'e', 0, 0, 0, 0, 0, 0))
		return MEMCACHED_KNOWN | MEMCACHED_META;
	if (MEMCACHED_SAYS('m', 's', 0, 0, 0, 0, 0, 0))
		return MEMCACHED_KNOWN | MEMCACHED_META | 2;
	if (MEMCACHED_SAYS('m', 'n', 0, 0, 0, 0, 0, 0))
		return MEMCACHED_KNOWN | MEMCACHED_FENCE;
	if (MEMCACHED_SAYS('q', 'u', 'i', 't', 0, 0, 0, 0))
		return MEMCACHED_KNOWN | MEMCACHED_SILENT;
	if (MEMCACHED_SAYS('d', 'e', 'l', 'e', 't', 'e', 0, 0) || MEMCACHED_SAYS('i', 'n', 'c', 'r', 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('d', 'e', 'c', 'r', 0, 0, 0, 0) || MEMCACHED_SAYS('t', 'o', 'u', 'c', 'h', 0, 0, 0) ||
	    MEMCACHED_SAYS('f', 'l', 'u', 's', 'h', '_', 'a', 'l') || MEMCACHED_SAYS('v', 'e', 'r', 'b', 'o', 's', 'i', 't') ||
	    MEMCACHED_SAYS('c', 'a', 'c', 'h', 'e', '_', 'm', 'e'))
		return MEMCACHED_KNOWN;
	return l7_range(word, 'a', 'z') & 0x80 ? 0 : MEMCACHED_WRONG;
}

/* A line of a response that is told by its first word. */
static __always_inline u32 memcached_answer(u64 word)
{
	if (MEMCACHED_SAYS('V', 'A', 'L', 'U', 'E', 0, 0, 0))
		return MEMCACHED_PART | 3;
	if (MEMCACHED_SAYS('V', 'A', 0, 0, 0, 0, 0, 0))
		return 1;
	if (MEMCACHED_SAYS('E', 'N', 'D', 0, 0, 0, 0, 0) || MEMCACHED_SAYS('S', 'T', 'O', 'R', 'E', 'D', 0, 0) ||
	    MEMCACHED_SAYS('N', 'O', 'T', '_', 'S', 'T', 'O', 'R') || MEMCACHED_SAYS('N', 'O', 'T', '_', 'F', 'O', 'U', 'N') ||
	    MEMCACHED_SAYS('D', 'E', 'L', 'E', 'T', 'E', 'D', 0) || MEMCACHED_SAYS('T', 'O', 'U', 'C', 'H', 'E', 'D', 0) ||
	    MEMCACHED_SAYS('E', 'X', 'I', 'S', 'T', 'S', 0, 0) || MEMCACHED_SAYS('O', 'K', 0, 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('H', 'D', 0, 0, 0, 0, 0, 0) || MEMCACHED_SAYS('E', 'N', 0, 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('N', 'S', 0, 0, 0, 0, 0, 0) || MEMCACHED_SAYS('E', 'X', 0, 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('N', 'F', 0, 0, 0, 0, 0, 0) || MEMCACHED_SAYS('M', 'E', 0, 0, 0, 0, 0, 0) ||
	    MEMCACHED_SAYS('V', 'E', 'R', 'S', 'I', 'O', 'N', 0) || MEMCACHED_SAYS('R', 'E', 'S', 'E', 'T', 0, 0, 0) ||
	    MEMCACHED_SAYS('B', 'U', 'S', 'Y', 0, 0, 0, 0) || MEMCACHED_SAYS('B', 'A', 'D', 'C', 'L', 'A', 'S', 'S') ||
	    l7_range(word, '0', '9') & 0x80)
		return 0;
	if (MEMCACHED_SAYS('M', 'N', 0, 0, 0, 0, 0, 0))
		return MEMCACHED_FENCE;
	if (MEMCACHED_SAYS('S', 'T', 'A', 'T', 0, 0, 0, 0) || MEMCACHED_SAYS('I', 'T', 'E', 'M', 0, 0, 0, 0) ||
	    (u32)word == (u32)L7_WORD('k', 'e', 'y', '=', 0, 0, 0, 0))
		return MEMCACHED_PART;
	if (MEMCACHED_SAYS('E', 'R', 'R', 'O', 'R', 0, 0, 0) || MEMCACHED_SAYS('C', 'L', 'I', 'E', 'N', 'T', '_', 'E') ||
	    MEMCACHED_SAYS('S', 'E', 'R', 'V', 'E', 'R', '_', 'E'))
		return MEMCACHED_FAILS;
	return MEMCACHED_WRONG;
}


/* Reads the first word of a line; false if there is none, or not all of it is to be seen. */
static __always_inline bool memcached_first(struct l7_look *l, u64 spaces, u64 end, u64 *first, u64 *second, u32 *length)
{
	u64 edge = spaces ? spaces & -spaces : end >> 1;
	u32 n = edge ? l7_where(edge) : 0;

	*length = n;
	if (!n || n > 16 + 64 * l->response)
		return false;
	*first = l7_first(l7_word(l, 0), n);
	*second = n > 8 ? l7_first(l7_word(l, 8), n - 8) : 0;
	return true;
}

/* A line goes on behind what is seen of it. */
static __always_inline void memcached_goes_on(struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u64 spaces, u32 kind, bool matters)
{
	u32 passes = l7_passes(l, spaces, matters);

	if (!passes)
		return;
	if (passes < 64)
		spaces &= (1ull << (passes & 63)) - 1;
	v->take = passes;
	h->phase = matters ? MEMCACHED_FIELDS : MEMCACHED_REST;
	h->b = kind + (l7_how_many(spaces) << MEMCACHED_PASSED);
}

static __always_inline void memcached_begins(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v, u32 kind, bool starts)
{
	v->begins = 1;
	v->name = c->own[MEMCACHED_HASH];
	v->name_length = c->own[MEMCACHED_HASH] >> 32;
	v->name_at = starts ? 0 : l7_spell(l, c->own[MEMCACHED_WORD], c->own[MEMCACHED_WORD2]);
	v->method = kind & MEMCACHED_FENCE ? MEMCACHED_MN : 0;
	v->alone = !!(kind & MEMCACHED_SILENT);
	v->end = v->alone ? L7_ONE_WAY : L7_OK;
	if (kind & MEMCACHED_META && v->alone)
		c->own[MEMCACHED_QUIET] = 1;
}

/* Commands of the meta protocol that are quiet are answered only if there is something to say, which nobody knows when they
 * are sent; so they are one-way. Their answers come before the next one that is not quiet: where that is mn, they are passed
 * over, and so they are where nothing waits; else one of them is taken for the answer to what is not quiet, which so ends
 * early, but is counted once. */
static __always_inline u32 memcached_is_for(struct l7_conn *c, struct l7_look *l, u32 kind)
{
	bool passed = l->waiting ? l->method == MEMCACHED_MN && !(kind & MEMCACHED_FENCE) : c->own[MEMCACHED_QUIET] != 0;
	return passed ? kind | MEMCACHED_SILENT : kind;
}

/* What begins a line; false if that cannot be said. */
static __always_inline bool memcached_starts(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v, u64 spaces, u64 end, u32 *kind)
{
	u64 first, second;
	u32 length;

	if (!memcached_first(l, spaces, end, &first, &second, &length)) {
		v->lost = end || !l7_can_wait(l);
		return false;
	}
	if (l->response) {
		*kind = memcached_is_for(c, l, memcached_answer(first));
	} else {
		*kind = memcached_verb(first);
		c->own[MEMCACHED_WORD] = first;
		c->own[MEMCACHED_WORD2] = second;
		c->own[MEMCACHED_HASH] = (u64)length << 32 | (*kind & MEMCACHED_KNOWN ? l7_spelled_hash(first, second) : L7_NONE);
	}
	v->lost = *kind & MEMCACHED_WRONG || (end && l7_byte(l, l7_where(end) - 1) != '\r');
	return !v->lost;
}

/* What ends with the last byte that is taken. Most often END stands right behind the one value that was asked for. */
static __always_inline void memcached_ends(struct l7_look *l, struct l7_verdict *v, u32 kind)
{
	if (kind & MEMCACHED_PART) {
		if (v->take + 5 > l->have || l7_word(l, v->take) << 24 != L7_WORD(0, 0, 0, 'E', 'N', 'D', '\r', '\n'))
			return;
		v->take += 5;
	}
	if (kind & MEMCACHED_SILENT)
		return;
	v->ends = 1;
	v->end = kind & MEMCACHED_FAILS ? L7_FAILED : L7_OK;
}

static __always_inline void memcached_text(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	bool starts = h->phase == MEMCACHED_STARTS, rest = h->phase == MEMCACHED_REST;
	u32 kind = h->b, size = starts ? 0 : h->a, found;
	u64 spaces, end;

	l7_line(l, &spaces, &end);
	if (starts && !memcached_starts(c, l, v, spaces, end, &kind))
		return;
	kind = l7_forget64(l, kind);
	found = rest ? 0 : memcached_length(l, spaces, end, kind);
	size = l7_forget64(l, found ? found : size);
	if (kind & MEMCACHED_META && memcached_is_quiet(l, spaces, end, kind))
		kind |= MEMCACHED_SILENT;
	h->a = size;
	if (!end) {
		bool answered = l->response ? !(kind & MEMCACHED_WANT) : kind & MEMCACHED_ANSWERED;
		memcached_goes_on(h, l, v, spaces, kind, !answered);
		if (starts && answered && !l->response)
			memcached_begins(c, l, v, kind, starts);
		return;
	}
	u32 last = l7_where(end);
	h->phase = MEMCACHED_STARTS;
	v->take = (u64)last + 1 + (size ? (u64)size + 1 : 0);
	if (l->response) {
		memcached_ends(l, v, kind);
		return;
	}
	if (rest)
		return;
	if (last >= 9 && l7_word(l, last - 9) == L7_WORD(' ', 'n', 'o', 'r', 'e', 'p', 'l', 'y') && !(kind & MEMCACHED_ANSWERED))
		kind |= MEMCACHED_SILENT;
	memcached_begins(c, l, v, kind, starts);
}

/* ---- binary ---- */

#define MEMCACHED_HEADER 24
#define MEMCACHED_REQUEST 0x80
#define MEMCACHED_RESPONSE 0x81
#define MEMCACHED_STAT 0x10 /* answered by one packet for each value, of which the last has no key */

/* What the text protocol calls an operation; quiet ones and those that return their key are no others. */
static const char memcached_names[64][16] __attribute__((aligned(8))) = {
	[0x00] = "get", [0x01] = "set", [0x02] = "add", [0x03] = "replace", [0x04] = "delete", [0x05] = "incr", [0x06] = "decr",
	[0x07] = "quit", [0x08] = "flush_all", [0x09] = "get", [0x0a] = "noop", [0x0b] = "version", [0x0c] = "get", [0x0d] = "get",
	[0x0e] = "append", [0x0f] = "prepend", [0x10] = "stats", [0x11] = "set", [0x12] = "add", [0x13] = "replace",
	[0x14] = "delete", [0x15] = "incr", [0x16] = "decr", [0x17] = "quit", [0x18] = "flush_all", [0x19] = "append",
	[0x1a] = "prepend", [0x1b] = "verbosity", [0x1c] = "touch", [0x1d] = "gat", [0x1e] = "gat", [0x20] = "sasl_list_mechs",
	[0x21] = "sasl_auth", [0x22] = "sasl_step", [0x23] = "gat", [0x24] = "gat",
};
/* Operations that are answered only if they fail, or find something. */
#define MEMCACHED_QUIETLY (1ull << 0x09 | 1ull << 0x0d | 0x3ffull << 0x11 | 1ull << 0x1e | 1ull << 0x24)
/* Statuses that are no failures: no such key, there is one already, not stored, and a step of authentication. */
#define MEMCACHED_GOOD (1ull << 0x00 | 1ull << 0x01 | 1ull << 0x02 | 1ull << 0x05 | 1ull << 0x21)

static __always_inline void memcached_binary(struct l7_look *l, struct l7_verdict *v)
{
	u32 opcode = l7_byte(l, 1), key = l7_be16(l, 2), status = l7_be16(l, 6), body = l7_be32(l, 8);
	u32 known = opcode < 63 ? opcode : 63; /* the last one is none */
	bool quiet = MEMCACHED_QUIETLY >> known & 1;

	if (l->have < MEMCACHED_HEADER) {
		l7_lost_or_waits(l, v);
		return;
	}
	if (l7_byte(l, 0) != (l->response ? MEMCACHED_RESPONSE : MEMCACHED_REQUEST) || key + l7_byte(l, 4) > body || body >> 31) {
		v->lost = 1;
		return;
	}
	v->take = MEMCACHED_HEADER + (u64)body;
	if (l->response) {
		bool good = status < 64 && MEMCACHED_GOOD >> status & 1;
		v->ends = !quiet && !(opcode == MEMCACHED_STAT && key && !status);
		v->end = good ? L7_OK : L7_FAILED;
		return;
	}
	barrier_var(known);
	const u64 *name = (const u64 *)memcached_names[known & 63];
	u64 first = name[0], second = name[1];
	v->begins = 1;
	v->alone = quiet;
	v->end = quiet ? L7_ONE_WAY : L7_OK;
	if (!first)
		return;
	v->name = l7_spelled_hash(first, second);
	v->name_length = l7_before(l7_equal(first, 0)) + (first >> 56 ? l7_before(l7_equal(second, 0)) : 0);
	v->name_at = l7_spell(l, first, second);
}

static __always_inline void memcached_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	if (h->phase == MEMCACHED_STARTS && l7_byte(l, 0) & 0x80)
		memcached_binary(l, v);
	else
		memcached_text(c, h, l, v);
}

static __always_inline bool memcached_is_binary(struct l7_look *l)
{
	u32 key = l7_be16(l, 2), extras = l7_byte(l, 4), body = l7_be32(l, 8);

	if (l->have < MEMCACHED_HEADER || l7_byte(l, 1) > 0x24 || l7_byte(l, 5) || key > 250 || key + extras > body || body >> 27)
		return false;
	if (l->response ? l7_be16(l, 6) > 0xff : l7_be16(l, 6) || (body && !key))
		return false;
	return extras == 0 || extras == 4 || extras == 8 || extras == 20;
}

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool memcached_is(struct l7_look *l)
{
	u64 spaces, end, first, second;
	u32 length, kind;

	if (l7_byte(l, 0) == (l->response ? MEMCACHED_RESPONSE : MEMCACHED_REQUEST))
		return memcached_is_binary(l);
	l7_line(l, &spaces, &end);
	if (!memcached_first(l, spaces, end, &first, &second, &length))
		return false;
	if (l->response) /* what else they say others say as well */
		return (first == L7_WORD('V', 'A', 'L', 'U', 'E', 0, 0, 0) && memcached_length(l, spaces, end, 3)) ||
		       (first == L7_WORD('S', 'T', 'O', 'R', 'E', 'D', 0, 0) && end == 1 << 7);
	kind = memcached_verb(first);
	if (!(kind & MEMCACHED_KNOWN) || kind & MEMCACHED_SILENT)
		return false;
	if (!end)
		return spaces && l7_is_long_line(l);
	if (l7_byte(l, l7_where(end) - 1) != '\r')
		return false;
	if (kind & MEMCACHED_WANT)
		return memcached_length(l, spaces, end, kind);
	return spaces || kind & MEMCACHED_FENCE || first == L7_WORD('s', 't', 'a', 't', 's', 0, 0, 0) ||
	       first == L7_WORD('v', 'e', 'r', 's', 'i', 'o', 'n', 0);
}

#endif
