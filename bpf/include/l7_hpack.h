/* SPDX-License-Identifier: Apache-2.0 */
/* Header fields of HTTP/2 (RFC 7541), of which a few are looked for. A block of fields is read as it comes: what has been
 * understood is kept, so that neither the end of a call nor of a frame need be a place where fields end. Of the dynamic
 * table only what matters is kept, in order of insertion: an index counts back from the newest one, so evictions need not be
 * followed. What was inserted before the connection was seen is unknown. */
#ifndef YAGURA_L7_HPACK_H
#define YAGURA_L7_HPACK_H

#include "l7_name.h"

#define HPACK_ENTRIES 128 /* newest insertions: all that a table of the usual 4096 bytes can have */
#define HPACK_PATHS 8     /* spelled, of those that were inserted */
#define HPACK_STASH 32    /* bytes that wait for their rest: a field's index, and a name that is looked for */
#define HPACK_CODES 16    /* characters that are decoded at once, by three */
#define HPACK_FIELDS 24   /* steps through a look */
#define HPACK_LONGEST 128 /* characters of a path that are told apart */
#define HPACK_TEXT 256    /* a power of two, with room for both */
#define HPACK_NAME_LONGEST 12 /* bytes of a name that is looked for */
#define HPACK_STATIC 61   /* entries of the static table */
#define HPACK_NO_STATUS 0xffff /* of gRPC, where 0 is success: it was not told, or not understood */

/* What a field's name is. */
enum hpack_kind {
	HPACK_NOTHING,
	HPACK_PATH,
	HPACK_METHOD,
	HPACK_STATUS,
	HPACK_CONTENT, /* its value: whether it is gRPC's */
	HPACK_GRPC,    /* grpc-status */
	HPACK_TRACE,
	HPACK_UNKNOWN, /* an entry that we have not seen */
	HPACK_KINDS,   /* a power of two */
};

/* Values of HPACK_PATH that are no hashes. */
enum { HPACK_NO_PATH, HPACK_SPELLED /* in text */, HPACK_ROOT = 4, HPACK_INDEX /* as the static table has them */ };

#include "l7_huffman.h"

/* What comes next in a block. */
enum hpack_state { HPACK_FIELD, HPACK_NAME, HPACK_VALUE, HPACK_PASS_NAME, HPACK_PASS_VALUE, HPACK_READ_VALUE };

/* One direction of a connection. */
struct hpack_side {
	u64 text[HPACK_TEXT / 8]; /* the beginning of the path, and behind HPACK_LONGEST that of another value */
	u64 trace[4];
	u64 stash[HPACK_STASH / 8];
	u32 value[HPACK_ENTRIES]; /* by number of insertion: a hash of a path, or what got has */
	u8 kind[HPACK_ENTRIES];
	u32 got[HPACK_KINDS];     /* of the present block, by kind */
	u32 inserted, known;      /* insertions so far, and the first of them that was seen */
	u32 stream, newest;       /* whose block it is, and the newest that was begun */
	u32 fragment, padding;    /* bytes of the present frame to come */
	u32 string;               /* encoded bytes of the present string to come */
	u32 length, path_length;  /* of the present value, as far as it is read, and of the path */
	u32 path_entry;           /* number of the insertion that is this block's path, from 1 on; 0 for none */
	u8 state, field;          /* field: enum hpack_kind of the present one */
	u8 inserts, huffman;      /* of the present field */
	u8 row, limit;            /* where in text its value is put, and how much of it is of interest */
	u8 bit;                   /* of the next byte, where the present code begins */
	u8 stashed, reserved[2];
	u8 frame, flags;          /* type and flags of the frame that began the block */
};

struct hpack_path {
	u64 text[L7_TEXT / 8];
	u32 hash, length;
};

/* What is kept of a connection's header fields, beside struct l7_conn. All 0 at first. */
struct l7_hpack {
	struct hpack_side side[2]; /* requests, responses */
	struct hpack_path paths[HPACK_PATHS]; /* by hash */
	u32 grpc; /* gRPC is spoken here */
};

#define HPACK_ENTRY(kind, value) ((kind) << 16 | (value))
static const u32 hpack_static[64] = {
	[2] = HPACK_ENTRY(HPACK_METHOD, HTTP_GET), [3] = HPACK_ENTRY(HPACK_METHOD, HTTP_POST),
	[4] = HPACK_ENTRY(HPACK_PATH, HPACK_ROOT), [5] = HPACK_ENTRY(HPACK_PATH, HPACK_INDEX),
	[8] = HPACK_ENTRY(HPACK_STATUS, 200), [9] = HPACK_ENTRY(HPACK_STATUS, 204), [10] = HPACK_ENTRY(HPACK_STATUS, 206),
	[11] = HPACK_ENTRY(HPACK_STATUS, 304), [12] = HPACK_ENTRY(HPACK_STATUS, 400), [13] = HPACK_ENTRY(HPACK_STATUS, 404),
	[14] = HPACK_ENTRY(HPACK_STATUS, 500), [31] = HPACK_ENTRY(HPACK_CONTENT, 0),
};

/* The place of a number in one of our tables. The compiler knows that it is in bounds; the verifier wants to see it. */
static __always_inline u32 hpack_bound(u32 at, u32 size)
{
	barrier_var(at);
	return at & (size - 1);
}

/* What an index stands for: its kind << 32 | its value. */
static __always_inline u64 hpack_entry(struct hpack_side *s, u32 index)
{
	u32 back = index - HPACK_STATIC; /* 1 is the newest */

	if (index <= HPACK_STATIC) {
		u32 entry = hpack_static[hpack_bound(index, 64)];
		return (u64)(entry >> 16) << 32 | (entry & 0xffff);
	}
	if (back > s->inserted - s->known || back > HPACK_ENTRIES)
		return (u64)HPACK_UNKNOWN << 32 | 1;
	u32 place = hpack_bound(s->inserted - back, HPACK_ENTRIES);
	return (u64)s->kind[place] << 32 | s->value[place];
}

/* An integer whose first bits are those of mask in the first byte of w: how many bytes it has, 0 if it is beyond 2^28. */
static __always_inline u32 hpack_integer(u64 w, u32 mask, u32 *value)
{
	u32 v = w & mask, used = 1, more = v == mask;

	if (more) {
		for (u32 k = 0; k < 4; k++) {
			u32 byte = w >> (8 * k + 8) & 0xff;
			v += more * ((byte & 0x7f) << 7 * k);
			used += more;
			more &= byte >> 7;
		}
		used *= !more;
	}
	*value = v;
	return used;
}

/* How a place in a look is returned together with why reading ended there. */
enum { HPACK_PARTIAL = 1 << 16 /* the rest of a field is not there yet */, HPACK_BAD = 1 << 17 };

/* Writes eight characters of the present value. */
static __always_inline void hpack_put(struct hpack_side *s, u32 place, u64 w)
{
	u8 *text = (u8 *)s->text + hpack_bound(place, HPACK_TEXT);
#ifdef L7_NATIVE
	__builtin_memcpy(text, &w, 8);
#else
	*(u64 *)text = w; /* as in l7_word */
#endif
}

/* The length << 8 of the next code of w, | what it stands for. */
static __always_inline u32 hpack_code(u64 w)
{
	u32 code = hpack_short[w >> 56 & 0xff];
	return code ? code : hpack_long[w >> 49 & 0xff];
}

static __always_inline u64 hpack_bits(struct l7_look *l, u32 at, u32 bit) { return __builtin_bswap64(l7_word(l, at + (bit >> 3))) << (bit & 7); }

/* Reads the present value, which is in no code, from at to end. Returns the place behind; what is left of the value behind a path,
 * or beyond what is of interest, is to be passed. */
__noinline u32 hpack_plain(struct l7_look *l, struct hpack_side *s, u32 at, u32 end)
{
	if (!l || !s || end < at)
		return HPACK_BAD;
	u32 n = end - at < s->string ? end - at : s->string, length = s->length, limit = s->limit, read = 0;
	for (u32 i = 0; i < HPACK_LONGEST / 8 + 1 && read < n; i++) {
		u64 w = l7_word(l, at + read), odd = ~l7_range(w, '!', '~') | l7_equal(w, '?') | l7_equal(w, '\\');
		u32 k = l7_before(odd & L7_HIGHS);
		if (k > n - read)
			k = n - read;
		if (k > limit - length)
			k = limit - length;
		hpack_put(s, s->row + length, l7_first(w, k));
		length += k;
		read += k;
		if (k < 8)
			break;
	}
	s->length = length;
	s->string -= read;
	if (read < n)
		s->state = HPACK_PASS_VALUE;
	return at + read;
}

/* The same for one in the Huffman code, of which it decodes some characters at once; it may need more bytes to do so. */
__noinline u32 hpack_huffman(struct l7_look *l, struct hpack_side *s, u32 at, u32 end)
{
	if (!l || !s || end < at)
		return HPACK_BAD;
	u32 there = (end - at < s->string ? end - at : s->string) * 8, bit = s->bit, length = s->length, code = 0;
	for (u32 i = 0; i < HPACK_CODES; i++) {
		u64 w = hpack_bits(l, at, bit); /* 57 bits at least: three codes */
		for (u32 k = 0; k < 3; k++) {
			code = hpack_code(w);
			u32 size = code >> 8;
			if ((size > there - bit) | !(code & 0xff) | (length >= s->limit))
				goto out;
			((u8 *)s->text)[hpack_bound(s->row + length, HPACK_TEXT)] = code;
			length++;
			bit += size;
			w <<= size;
		}
	}
	code = 0;
out:
	s->length = length;
	u32 left = there - bit;
	bool whole = s->string * 8 == there, waits = code >> 8 > left;
	if (!waits && code) {
		s->state = HPACK_PASS_VALUE;
	} else if (whole && (waits || left < 5)) { /* what is behind the last code fills its byte */
		s->string = 0;
		return at + (there >> 3);
	} else {
		s->bit = bit & 7;
	}
	s->string -= bit >> 3;
	at += bit >> 3;
	return waits && left ? at | HPACK_PARTIAL : at;
}

/* Of a decoded path, all that is told apart. */
static __always_inline u32 hpack_path_hash(struct hpack_side *s)
{
	u64 hash = s->path_length;

	for (u32 i = 0; i < HPACK_LONGEST / 8; i++) {
		if (8 * i >= s->path_length)
			break;
		hash = l7_mix(hash, l7_first(s->text[i], s->path_length - 8 * i));
	}
	return l7_mixed(hash);
}

/* A number of at most three digits that the text begins with, or otherwise. */
static __always_inline u32 hpack_number(u64 text, u32 length, u32 otherwise)
{
	u32 v = 0, bad = !length || length > 3;

	for (u32 i = 0; i < 3; i++) {
		u32 digit = (text >> 8 * i & 0xff) - '0';
		bool there = i < length;
		v = there ? v * 10 + digit : v;
		bad |= there && digit > 9;
	}
	return bad ? otherwise : v;
}

static __always_inline u32 hpack_method(u64 text)
{
	return text == L7_WORD('G', 'E', 'T', 0, 0, 0, 0, 0) ? HTTP_GET : text == L7_WORD('P', 'O', 'S', 'T', 0, 0, 0, 0) ? HTTP_POST :
	       text == L7_WORD('P', 'U', 'T', 0, 0, 0, 0, 0) ? HTTP_PUT : text == L7_WORD('H', 'E', 'A', 'D', 0, 0, 0, 0) ? HTTP_HEAD :
	       text == L7_WORD('D', 'E', 'L', 'E', 'T', 'E', 0, 0) ? HTTP_DELETE :
	       text == L7_WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', 0) ? HTTP_CONNECT :
	       text == L7_WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', 0) ? HTTP_OPTIONS :
	       text == L7_WORD('T', 'R', 'A', 'C', 'E', 0, 0, 0) ? HTTP_TRACE :
	       text == L7_WORD('P', 'A', 'T', 'C', 'H', 0, 0, 0) ? HTTP_PATCH : HTTP_OTHER;
}

/* Whether a type is application/grpc, alone or with what it carries or a parameter; application/grpc-web is another thing. */
static __always_inline bool hpack_is_grpc(struct hpack_side *s)
{
	u64 *text = s->text + HPACK_LONGEST / 8;
	u8 next = text[2];

	return text[0] == L7_WORD('a', 'p', 'p', 'l', 'i', 'c', 'a', 't') && text[1] == L7_WORD('i', 'o', 'n', '/', 'g', 'r', 'p', 'c') &&
	       (!next || next == '+' || next == ';' || next == ' ');
}

/* Marks hexadecimal digits, small letters as traceparent wants them. */
static __always_inline u64 hpack_hex(u64 w) { return l7_range(w, '0', '9') | l7_range(w, 'a', 'f'); }

/* Keeps the trace id of a traceparent: version-trace-parent-flags, whose second part has 32 digits and is not 0. */
static __always_inline bool hpack_trace(struct hpack_side *s)
{
	const u64 zeros = L7_ONES * '0';
	u64 *text = s->text + HPACK_LONGEST / 8, hex = L7_HIGHS, other = 0;

	for (u32 i = 0; i < 4; i++) {
		u64 w = text[i] >> 24 | text[i + 1] << 40;
		hex &= hpack_hex(w);
		other |= w ^ zeros;
		s->trace[i] = w;
	}
	return (text[0] >> 16 & 0xff) == '-' && (text[4] >> 24 & 0xff) == '-' && hex == L7_HIGHS && other;
}

/* What the present value, now decoded, means. */
__noinline u32 hpack_meaning(struct hpack_side *s)
{
	if (!s)
		return 0;
	u64 text = s->text[HPACK_LONGEST / 8];
	switch (s->field) {
	case HPACK_PATH:
		s->path_length = s->length;
		return s->length ? HPACK_SPELLED : HPACK_NO_PATH;
	case HPACK_METHOD: return hpack_method(text);
	case HPACK_STATUS: return hpack_number(text, s->length, 0);
	case HPACK_GRPC: return hpack_number(text, s->length, HPACK_NO_STATUS);
	case HPACK_CONTENT: return hpack_is_grpc(s);
	case HPACK_TRACE: return hpack_trace(s);
	}
	return 0;
}

/* A string is over: a name, or a value and with it the field. */
static __always_inline void hpack_over(struct hpack_side *s)
{
	if (s->state == HPACK_PASS_NAME) {
		s->state = HPACK_VALUE;
		return;
	}
	s->state = HPACK_FIELD;
	u32 field = s->field & (HPACK_KINDS - 1);
	u32 value = field == HPACK_NOTHING ? 0 : field == HPACK_UNKNOWN ? 1 : hpack_meaning(s);

	s->got[field] = value;
	if (!s->inserts)
		return;
	u32 place = hpack_bound(s->inserted, HPACK_ENTRIES);
	s->kind[place] = field;
	s->value[place] = field == HPACK_TRACE ? 0 : value; /* only the newest trace is kept */
	s->inserted++;
	if (field == HPACK_PATH)
		s->path_entry = s->inserted;
}

/* Reads what a field begins with. Returns how many bytes that has, which may be more than are left; 0 for what is none. */
static __always_inline u32 hpack_begin(struct hpack_side *s, u64 w, u32 left)
{
	u32 first = w & 0xff, index;
	u32 used = hpack_integer(w, first & 0x80 ? 0x7f : first & 0x40 ? 0x3f : first & 0x20 ? 0x1f : 0x0f, &index);

	if (!used || used > left)
		return used;
	if (first >> 5 == 1)
		return used; /* another size of the table: who sends no longer refers to what that evicts */
	u64 entry = hpack_entry(s, index);
	if (first & 0x80) {
		s->got[entry >> 32 & (HPACK_KINDS - 1)] = entry;
		return index ? used : 0;
	}
	s->inserts = first >> 6 & 1;
	s->field = entry >> 32;
	s->state = index ? HPACK_VALUE : HPACK_NAME;
	return used;
}

/* The same for a string. Of a name as long as one that is looked for all has to be there. */
static __always_inline u32 hpack_string(struct hpack_side *s, struct l7_look *l, u32 at, u32 left)
{
	u32 length;
	u64 w = l7_word(l, at);
	u32 used = hpack_integer(w, 0x7f, &length);

	if (!used || used > left)
		return used;
	if (s->state == HPACK_VALUE) {
		s->huffman = w >> 7 & 1;
		s->bit = 0;
		s->length = 0;
		s->row = s->field == HPACK_PATH ? 0 : HPACK_LONGEST;
		s->limit = s->field == HPACK_PATH ? HPACK_LONGEST : s->field == HPACK_TRACE ? 36 : 24;
		__builtin_memset(s->text + HPACK_LONGEST / 8, 0, 40);
		s->state = s->field == HPACK_NOTHING || s->field == HPACK_UNKNOWN ? HPACK_PASS_VALUE : HPACK_READ_VALUE;
	} else {
		if (length <= HPACK_NAME_LONGEST) {
			if (used + length > left)
				return used + length;
			u64 rest = l7_word(l, at + used + 8);
			s->field = hpack_name(length | (w & 0x80), l7_first(l7_word(l, at + used), length), length > 8 ? l7_first(rest, length - 8) : 0);
		}
		s->state = HPACK_PASS_NAME;
	}
	s->string = length;
	return used;
}

/* Reads fields from at to end, as many as there are up to a bound. Returns the place behind. */
__noinline u32 hpack_fields(struct l7_look *l, struct hpack_side *s, u32 at, u32 end)
{
	if (!l || !s)
		return HPACK_BAD;
	for (u32 i = 0; i < HPACK_FIELDS && at < end; i++) {
		u32 left = end - at, used;
		if (s->state == HPACK_FIELD) {
			used = hpack_begin(s, l7_word(l, at), left);
			if (!used || used > left)
				return used || left < 5 ? at | HPACK_PARTIAL : HPACK_BAD;
			at += used;
			left -= used;
		}
		if (s->state == HPACK_NAME || s->state == HPACK_VALUE) {
			used = hpack_string(s, l, at, left);
			if (!used || used > left)
				return used || left < 5 ? at | HPACK_PARTIAL : HPACK_BAD;
			at += used;
			left -= used;
		}
		if (s->state == HPACK_READ_VALUE) {
			at = s->huffman ? hpack_huffman(l, s, at, end) : hpack_plain(l, s, at, end);
			if (at >= HPACK_PARTIAL)
				return at;
		} else if (s->state >= HPACK_PASS_NAME) {
			used = s->string < left ? s->string : left;
			s->string -= used;
			at += used;
		}
		if (s->state >= HPACK_PASS_NAME && !s->string)
			hpack_over(s);
	}
	return at;
}

#endif
