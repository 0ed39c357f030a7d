/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.0 and 1.1: heads by whole lines, bodies by their length, as RFC 9112 frames them. Ends of lines are found eight
 * bytes at a time, and of each line only the first bytes are looked at. */
#ifndef YAGURA_L7_HTTP_H
#define YAGURA_L7_HTTP_H

#include "l7_name.h"

/* Where the next byte of a direction stands. */
enum http_phase {
	HTTP_START,        /* a message begins */
	HTTP_TARGET,       /* in a request's path, whose first b bytes are kept; a is the method */
	HTTP_AUTHORITY,    /* in what is before the path of an absolute target; a and b alike */
	HTTP_LINE,         /* in a line of the head that is passed */
	HTTP_FIELDS,       /* a line of the head begins */
	HTTP_CHUNK,        /* a chunk begins */
	HTTP_EXTENSION,    /* behind the size of a chunk, which is a */
	HTTP_TRAILER,      /* a line of the trailer begins */
	HTTP_TRAILER_LINE, /* in a line of the trailer */
	HTTP_SPOILED,      /* behind a request whose length nobody knows */
};

/* What is known of a message whose head is read, in b: the status, and these. */
#define HTTP_STATUS 0xffffu
#define HTTP_LENGTH (1u << 16)  /* its length is given, see http_length */
#define HTTP_BAD (1u << 17)     /* and is no number, or is given twice and differently */
#define HTTP_CODED (1u << 18)   /* there is a Transfer-Encoding */
#define HTTP_CHUNKED (1u << 19) /* and chunked is the last one */
#define HTTP_FRAMED (1u << 20)  /* the last line was one of these, and the next one was not seen yet */

#define HTTP_TEXT (L7_WINDOW - L7_TEXT) /* where in the look a path that came in pieces is put together */

/* Where a body's length is kept. */
static __always_inline u64 *http_length(struct l7_conn *c, struct l7_look *l)
{
	u32 i = l->response;
	barrier_var(i); /* the verifier wants to see the bound */
	return &c->own[i & 1];
}

static __always_inline u64 http_lower(u64 w) { return w | L7_ONES * 0x20; }

/* A bound that is the same each time round a loop, so that the verifier sees its paths meet. */
static __always_inline u32 http_bound(u32 at) { return at & (2 * L7_WINDOW - 1); }

/* Eight bytes at a place that may not be aligned. */
static __always_inline u64 http_get(const void *from)
{
#ifdef L7_NATIVE
	u64 w;
	__builtin_memcpy(&w, from, 8);
	return w;
#else
	return *(u64 *)from;
#endif
}

static __always_inline void http_put(void *to, u64 w)
{
#ifdef L7_NATIVE
	__builtin_memcpy(to, &w, 8);
#else
	*(u64 *)to = w;
#endif
}

/* One bit for each of the 64 bytes at a place that ends a line; those behind have do not. */
static __always_inline u64 http_newlines(struct l7_look *l, u32 at)
{
	const u8 *p = l->bytes + (at & (L7_WINDOW - 1)); /* 64 bytes at any place end in the look's spare ones */
	u64 others = 0;
	u32 n = l->have - at;

	for (u32 i = 0; i < 8; i++) {
		u64 x = http_get(p + 8 * i) ^ L7_ONES * '\n';
		others |= l7_bits((((x & L7_LOWS) + L7_LOWS) | x) & L7_HIGHS) << 8 * i;
	}
	if (n < 64)
		others |= -1ull << n;
	return ~others;
}

/* The place behind the end of the line that a place is in; 0 if it is not in the look. */
static __always_inline u32 http_line_end(struct l7_look *l, u32 at)
{
	u32 end = 0;

	at = l7_forget(l, at);
	for (u32 i = 0; i < L7_WINDOW / 64; i++) {
		if (at >= l->have)
			break;
		u64 bits = http_newlines(l, at);
		if (bits) {
			end = at + l7_place(bits & -bits) + 1;
			break;
		}
		at = http_bound(at + 64);
	}
	return l7_forget(l, end);
}

/* The place behind the text of a line, given the place behind its end. */
static __always_inline u32 http_text_end(struct l7_look *l, u32 end) { return end - 1 - (l7_byte(l, end - 2) == '\r'); }

/* ---- the first line ---- */

/* The method that a request begins with. */
static __always_inline u8 http_method(u64 w)
{
	u64 four = l7_first(w, 4), five = l7_first(w, 5), six = l7_first(w, 6);

	if (four == L7_WORD('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return HTTP_GET;
	if (five == L7_WORD('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return HTTP_POST;
	if (four == L7_WORD('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return HTTP_PUT;
	if (five == L7_WORD('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return HTTP_HEAD;
	if (six == L7_WORD('P', 'A', 'T', 'C', 'H', ' ', 0, 0))
		return HTTP_PATCH;
	if (six == L7_WORD('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return HTTP_TRACE;
	if (l7_first(w, 7) == L7_WORD('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return HTTP_DELETE;
	if (w == L7_WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return HTTP_OPTIONS;
	if (w == L7_WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return HTTP_CONNECT;
	return HTTP_OTHER;
}

/* How many bytes of http:// or https:// begin here; 0 if it is neither. */
static __always_inline u32 http_scheme(u64 w)
{
	u64 lower = http_lower(w);

	if (l7_first(lower, 7) == L7_WORD('h', 't', 't', 'p', ':', '/', '/', 0))
		return 7;
	return lower == L7_WORD('h', 't', 't', 'p', 's', ':', '/', '/') ? 8 : 0;
}

/* Whether what CONNECT asks for may begin like that: with a name or an address, not as an object as of NATS. */
static __always_inline bool http_host(u8 byte) { return (l7_letters(byte) | l7_range(byte, '0', '9') | l7_equal(byte, '[')) & 0x80; }

/* Whether a request line that ends before a place tells a version behind from. */
static __always_inline bool http_versioned(struct l7_look *l, u32 from, u32 end)
{
	u32 at = http_text_end(l, end) - 8;

	return at > from && at < l->have && l7_byte(l, at - 1) == ' ' && (u8)(l7_byte(l, at + 7) - '0') < 10 &&
	       l7_first(l7_word(l, at), 7) == L7_WORD('H', 'T', 'T', 'P', '/', '1', '.', 0);
}

/* Whether a status line may begin here: "HTTP/1.1 200". */
static __always_inline bool http_answers(struct l7_look *l)
{
	u32 n = l->have < 7 ? l->have : 7;
	u64 marks = L7_WORD(0, 0, 0x80, 0, 0x80, 0x80, 0x80, 0), rest = l7_word(l, 5);

	if (l7_first(l7_word(l, 0), n) != l7_first(L7_WORD('H', 'T', 'T', 'P', '/', '1', '.', 0), n))
		return false;
	return l->have < 12 || ((l7_range(rest, '0', '9') & marks) == marks && l7_byte(l, 8) == ' ' && l7_byte(l, 9) != '0');
}

/* Reads a status line up to its reason and returns the place, 0 if it cannot. */
static __always_inline u32 http_response(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	if (!http_answers(l) || (l->have > 12 && l7_byte(l, 12) > ' ')) {
		v->lost = 1;
		return 0;
	}
	if (l->have < 12)
		return 0;
	h->b = (l7_byte(l, 9) - '0') * 100 + (l7_byte(l, 10) - '0') * 10 + (l7_byte(l, 11) - '0');
	return 12;
}

static __always_inline void http_begins(struct l7_verdict *v, u32 name, u32 at, u32 length)
{
	v->begins = 1;
	v->name = name;
	v->name_at = at;
	v->name_length = length;
}

/* Keeps what is seen of a path whose rest is still to come, n bytes at a place: where the text of the last one was, which is
 * forgotten. */
static __always_inline void http_keep(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at, u32 n)
{
	for (u32 i = 0; i < L7_TEXT; i += 8)
		http_put(c->text + i, l7_word(l, at + i));
	c->text_name = L7_NONE;
	c->text_length = 0;
	h->b = n;
	h->phase = HTTP_TARGET;
	v->take = l->have;
}

/* Reads the method and returns the place of the target, 0 if it cannot. */
static __always_inline u32 http_verb(struct l7_look *l, struct l7_verdict *v)
{
	u32 at = 0;

	v->method = http_method(l7_word(l, 0));
	if (v->method != HTTP_OTHER) {
		at = l7_through(l7_equal(l7_word(l, 0), ' '));
		return at < l->have ? at : 0;
	}
	for (u32 i = 0; i < 24; i += 8) {
		u64 w = l7_word(l, i);
		u32 n = l7_before(~(l7_range(w, 'A', 'Z') | l7_equal(w, '-') | l7_equal(w, '_')) & L7_HIGHS);
		at += n;
		if (n < 8)
			break;
	}
	if (at >= l->have && l->have <= 24)
		return 0;
	if (!at || l7_byte(l, at) != ' ') {
		v->lost = 1;
		return 0;
	}
	return ++at < l->have ? at : 0;
}

/* Empty lines before a request, which some clients send behind a body, are passed. */
static __always_inline void http_gap(struct l7_look *l, struct l7_verdict *v)
{
	if (l7_byte(l, 0) == '\n')
		v->take = 1;
	else if (l->have > 1 && l7_byte(l, 1) == '\n')
		v->take = 2;
	else if (l->have > 1)
		v->lost = 1;
}

/* The length of the path at a place if it is spelled as the last one was, 0 otherwise. */
static __always_inline u32 http_again(struct l7_conn *c, struct l7_look *l, u32 at)
{
	u32 n = c->text_length;

	if (c->text_name == L7_NONE)
		return 0;
	for (u32 i = 0; i < L7_TEXT; i += 8) {
		if (i >= n)
			break;
		if (l7_first(l7_word(l, at + i) ^ *(u64 *)(c->text + i), n - i))
			return 0;
	}
	u8 end = l7_byte(l, at + n);
	return at + n < l->have && (end == ' ' || end == '?') ? n : 0;
}

/* Reads a path that ends before limit at the latest and returns the place of its end, 0 if the end is not seen. */
static __always_inline u32 http_path(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at, u32 limit)
{
	u32 length, name = l7_path_hash(l, at, limit, &length);

	if (length < L7_TEXT && at + length >= limit) {
		if (l->have >= L7_CARRY || h->phase == HTTP_TARGET)
			http_keep(c, h, l, v, at, length);
		return 0;
	}
	http_begins(v, name, at, length);
	return at + length;
}

/* Reads the first line of a request up to its target and returns the place of that, 0 if it cannot. */
static __always_inline u32 http_request(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u8 first = l7_byte(l, 0);

	if (first == '\r' || first == '\n') {
		http_gap(l, v);
		return 0;
	}
	u32 at = http_verb(l, v);
	if (!at)
		return 0;
	h->a = v->method;
	h->b = 0;
	first = l7_byte(l, at);
	if (first == '/' || first == '*')
		return at;
	if (v->method == HTTP_CONNECT) {
		v->lost = !http_host(first);
		return at;
	}
	u32 scheme = http_scheme(l7_word(l, at));
	if (l->have - at < 8)
		return 0;
	h->phase = HTTP_AUTHORITY;
	v->take = at + scheme;
	v->lost = !scheme;
	return 0;
}

/* Puts a path that came in pieces together at the end of the look, and returns where it ends there. */
static __always_inline u32 http_join(struct l7_conn *c, struct l7_half *h, struct l7_look *l)
{
	u32 kept = h->b & (L7_TEXT - 1), n = kept + l->have;

	for (u32 i = 0; i < L7_TEXT; i += 8)
		http_put(l->bytes + HTTP_TEXT + i, *(u64 *)(c->text + i));
	for (u32 i = 0; i < L7_TEXT; i += 8)
		http_put(l->bytes + HTTP_TEXT + kept + i, l7_word(l, i));
	return HTTP_TEXT + (n < L7_TEXT ? n : L7_TEXT);
}

/* Takes the rest of a path that was joined up to its end, with the byte that ends it, as something must be taken. */
static __always_inline void http_joined(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 end = HTTP_TEXT + v->name_length, is_ended = v->name_length < L7_TEXT;

	barrier_var(end); /* the verifier wants to see the bound */
	v->method = h->a;
	v->take = v->name_length - (h->b & (L7_TEXT - 1)) + is_ended;
	v->lost = is_ended && l7_byte(l, end) < ' ';
	h->b = 0;
	h->phase = HTTP_LINE;
}

/* Passes the host of an absolute target, http://host/path, and returns whether the path begins the look. Without a path it
 * is asked for /. */
static __always_inline bool http_authority(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 at = 0;

	for (u32 i = 0; i < L7_TEXT; i += 8) {
		u64 w = l7_word(l, i);
		u32 n = l7_before(l7_range(w, 0, ' ') | l7_equal(w, '/') | l7_equal(w, '?') | l7_equal(w, '#'));
		at += n;
		if (n < 8)
			break;
	}
	if (at >= l->have || at == L7_TEXT) {
		v->take = at < l->have ? at : l->have;
		return false;
	}
	u8 end = l7_byte(l, at);
	if (end == '/') {
		h->phase = HTTP_TARGET;
		v->take = at;
		return !at;
	}
	l->bytes[HTTP_TEXT] = '/';
	http_begins(v, l7_root_hash(), HTTP_TEXT, 1);
	v->method = h->a;
	v->take = at + 1;
	v->lost = end < ' ';
	h->phase = HTTP_LINE;
	return false;
}

/* Reads the first line of a message up to where it says no more, and returns the place of that, 0 if the verdict is final. */
static __always_inline u32 http_first(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 at = HTTP_TEXT, limit = l->have;

	if (l->response)
		return http_response(h, l, v);
	if (h->phase == HTTP_AUTHORITY && !http_authority(h, l, v))
		return 0;
	if (h->phase == HTTP_TARGET) {
		limit = http_join(c, h, l);
	} else {
		at = http_request(h, l, v);
		if (!at)
			return 0;
	}
	if (v->method == HTTP_CONNECT) {
		http_begins(v, L7_NONE, 0, 0);
		return at;
	}
	u32 again = h->phase == HTTP_START ? http_again(c, l, at) : 0;
	if (again) {
		http_begins(v, c->text_name, at, again);
		return at + again;
	}
	at = http_path(c, h, l, v, l7_forget(l, at), l7_forget(l, limit));
	if (!at || h->phase == HTTP_START)
		return at;
	http_joined(h, l, v);
	return 0;
}

/* ---- the fields ---- */

#define HTTP_CONTENT L7_WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-')
#define HTTP_TRANSFER L7_WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')
#define HTTP_TRACEPAR L7_WORD('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r')

enum http_field { HTTP_ORDINARY, HTTP_CONTENT_LENGTH, HTTP_TRANSFER_ENCODING, HTTP_TRACEPARENT };

/* Which field a line is. */
static __always_inline u32 http_field(struct l7_look *l, u32 at)
{
	u64 w = http_lower(l7_word(l, at)), next = http_lower(l7_word(l, at + 8));

	if (w == HTTP_CONTENT)
		return l7_first(next, 7) == L7_WORD('l', 'e', 'n', 'g', 't', 'h', ':', 0) ? HTTP_CONTENT_LENGTH : HTTP_ORDINARY;
	if (w == HTTP_TRANSFER)
		return next == L7_WORD('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
		       l7_first(http_lower(l7_word(l, at + 16)), 2) == L7_WORD('g', ':', 0, 0, 0, 0, 0, 0) ? HTTP_TRANSFER_ENCODING : HTTP_ORDINARY;
	if (w == HTTP_TRACEPAR)
		return l7_first(next, 4) == L7_WORD('e', 'n', 't', ':', 0, 0, 0, 0) ? HTTP_TRACEPARENT : HTTP_ORDINARY;
	return HTTP_ORDINARY;
}

/* The place behind spaces. */
static __always_inline u32 http_behind_spaces(struct l7_look *l, u32 at)
{
	u64 w = l7_word(l, at);
	return at + l7_before(~(l7_equal(w, ' ') | l7_equal(w, '\t')) & L7_HIGHS);
}

#define HTTP_NO_NUMBER (~0ull)

/* The number that stands from a place to the end of the line, between spaces. The place moves behind the line. */
static __always_inline u64 http_number(struct l7_look *l, u32 *place)
{
	u32 at = http_behind_spaces(l, *place);
	u64 w = l7_word(l, at);
	u32 n = l7_before(~l7_range(w, '0', '9') & L7_HIGHS);
	if (!n)
		return HTTP_NO_NUMBER;
	u64 x = ((w ^ L7_ONES * '0') & L7_ONES * 0x0f) << ((8 - n) & 7) * 8;
	x = (x * 10 + (x >> 8)) & 0x00ff00ff00ff00ffull; /* digits to pairs, to fours, to all eight */
	x = (x * 100 + (x >> 16)) & 0x0000ffff0000ffffull;
	x = (x * 10000 + (x >> 32)) & 0xffffffffull;
	at += n;
	for (u32 i = 0; n == 8 && i < 9; i++) {
		u32 digit = (u32)l7_byte(l, at) - '0';
		if (digit > 9)
			break;
		x = x * 10 + digit;
		at++;
	}
	at = http_behind_spaces(l, l7_forget(l, at));
	at += l7_byte(l, at) == '\r';
	*place = at + 1;
	return l7_byte(l, at) == '\n' ? x : HTTP_NO_NUMBER;
}

/* Looks whether the line behind one that frames the body goes on with it, which is obsolete, and refused here. */
static __always_inline void http_folded(struct l7_half *h, struct l7_look *l, u32 at)
{
	u8 first = l7_byte(l, at);

	h->b &= ~HTTP_FRAMED;
	if (at >= l->have)
		h->b |= HTTP_FRAMED;
	else if (first == ' ' || first == '\t')
		h->b |= HTTP_LENGTH | HTTP_BAD;
}

/* Notes the length that a Content-Length line tells. Where the line ends behind what may be carried over, it is wrong
 * however it is cut. */
static __always_inline void http_note_length(struct l7_conn *c, struct l7_half *h, struct l7_look *l, u32 at)
{
	u32 end = at + 15;
	u64 *length = http_length(c, l), x = http_number(l, &end);

	if (x == HTTP_NO_NUMBER || end - at > L7_CARRY || (h->b & HTTP_LENGTH && *length != x))
		h->b |= HTTP_BAD;
	*length = x;
	h->b |= HTTP_LENGTH;
	http_folded(h, l, end);
}

/* Notes whether a Transfer-Encoding line has chunked as its last word. One that is longer than what may be carried over is
 * taken to have it, however it is cut: "gzip, chunked". */
static __always_inline void http_note_coding(struct l7_half *h, struct l7_look *l, u32 at)
{
	u64 first = l7_equal(l7_word(l, at + 18), '\n'), second = l7_equal(l7_word(l, at + 26), '\n');
	u32 end = at + 18 + (first ? l7_through(first) : 8 + l7_through(second));
	u64 w = l7_word(l, http_text_end(l, end) - 8);
	u8 before = (u8)w;

	h->b = (h->b & ~HTTP_CHUNKED) | HTTP_CODED;
	if (end - at > L7_CARRY) {
		h->b |= HTTP_CHUNKED;
		return;
	}
	if (http_lower(w) >> 8 == L7_WORD('c', 'h', 'u', 'n', 'k', 'e', 'd', 0) &&
	    (before == ' ' || before == ',' || before == ':' || before == '\t'))
		h->b |= HTTP_CHUNKED;
	http_folded(h, l, end);
}

/* Whether all eight are hexadecimal digits, as W3C's Trace Context writes them. */
static __always_inline bool http_hexadecimal(u64 w) { return (l7_range(w, '0', '9') | l7_range(w, 'a', 'f')) == L7_HIGHS; }

/* Tells the trace of "00-TRACE-SPAN-FLAGS". */
static __always_inline void http_note_trace(struct l7_look *l, struct l7_verdict *v, u32 at)
{
	at = http_behind_spaces(l, at + 12) + 2;
	if (at + 33 >= l->have || l7_byte(l, at) != '-' || l7_byte(l, at + 33) != '-')
		return;
	at++;
	if (http_hexadecimal(l7_word(l, at)) && http_hexadecimal(l7_word(l, at + 8)) && http_hexadecimal(l7_word(l, at + 16)) &&
	    http_hexadecimal(l7_word(l, at + 24)))
		v->trace_at = at;
}

/* Takes what is seen of a line that begins here and does not end in the look. */
static __always_inline void http_pass(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 field = http_field(l, 0);

	if (l->have < L7_CARRY)
		return;
	v->take = l->have;
	h->phase = HTTP_LINE;
	if (field == HTTP_TRANSFER_ENCODING)
		h->b |= HTTP_CODED | HTTP_CHUNKED;
	else if (field == HTTP_CONTENT_LENGTH)
		h->b |= HTTP_LENGTH | HTTP_BAD;
}

#define HTTP_CANDIDATES 16
#define HTTP_SHORT_LINES 4 /* that are read at once */
#define HTTP_BLOCKS 12     /* in one look: of 64 bytes, or of so many short lines */

/* The lines of the head in a look. It is in the look's spare bytes, as struct l7_path is, and for the same reason. */
struct http_lines {
	u16 candidates[HTTP_CANDIDATES]; /* places of lines that begin like one of ours */
	u32 count, line;                 /* line: the place behind the last one */
	u16 found[4];                    /* by enum http_field: the place of its line and one more, 0 for none */
	u8 over;                         /* the last one was empty */
};

/* Notes a line that begins at a place, if it begins like one of ours. */
static __always_inline void http_candidate(struct l7_look *l, volatile struct http_lines *s, u32 at)
{
	u64 w = http_lower(l7_word(l, at));

	if (w != HTTP_CONTENT && w != HTTP_TRANSFER && w != HTTP_TRACEPAR)
		return;
	u32 count = s->count;
	s->candidates[count & (HTTP_CANDIDATES - 1)] = at;
	s->count = count + 1;
}

/* Finds the lines of the head from a place on, up to where it is over or the look, or there is no more room. */
static __always_inline void http_scan(struct l7_look *l, volatile struct http_lines *s, u32 at)
{
	u64 last = 1ull << 63; /* a line begins at the place, so one has ended before */

	for (u32 i = 0; i < HTTP_BLOCKS; i++) {
		if (at >= l->have || s->count > HTTP_CANDIDATES - HTTP_SHORT_LINES)
			break;
		u64 bits = http_newlines(l, at), empty = bits & (bits << 1 | last >> 63 | bits << 2 | last >> 62);
		last = bits;
		if (empty)
			bits &= (empty & -empty) - 1; /* but the empty one */
		for (u32 k = 0; k < HTTP_SHORT_LINES; k++) {
			if (!bits)
				break;
			u32 line = at + l7_place(bits & -bits) + 1;
			s->line = line;
			http_candidate(l, s, line);
			bits &= bits - 1;
		}
		if (bits) { /* more lines than that */
			at = http_bound(s->line);
			last = 1ull << 63;
			continue;
		}
		if (empty) {
			s->line = at + l7_place(empty & -empty) + 1;
			s->over = 1;
			break;
		}
		at = http_bound(at + 64);
	}
}

/* Finds our fields among the lines. Where one is there twice, its second line is the next look's. */
static __always_inline void http_find(struct l7_look *l, volatile struct http_lines *s)
{
	for (u32 i = 0; i < HTTP_CANDIDATES; i++) {
		if (i >= s->count)
			break;
		u32 at = s->candidates[i], field;
		if (at >= s->line)
			break;
		field = http_field(l, at) & 3;
		if (field && s->found[field]) {
			s->line = at;
			s->over = 0;
			break;
		}
		s->found[field] = at + 1;
	}
}

/* Reads lines of the head from a place on and returns the place behind the head, 0 if it does not end here. */
static __always_inline u32 http_fields(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	volatile struct http_lines *s = (void *)(l->bytes + L7_WINDOW);

	at = l7_forget(l, at);
	s->count = 0;
	s->over = 0;
	s->line = at;
	*(volatile u64 *)s->found = 0;
	http_candidate(l, s, at);
	if (h->b & HTTP_FRAMED)
		http_folded(h, l, at);
	http_scan(l, s, at);
	http_find(l, s);
	if (s->found[HTTP_CONTENT_LENGTH])
		http_note_length(c, h, l, s->found[HTTP_CONTENT_LENGTH] - 1);
	if (s->found[HTTP_TRANSFER_ENCODING])
		http_note_coding(h, l, s->found[HTTP_TRANSFER_ENCODING] - 1);
	if (s->found[HTTP_TRACEPARENT] && v->begins)
		http_note_trace(l, v, s->found[HTTP_TRACEPARENT] - 1);
	u32 line = s->line;
	u8 before = l7_byte(l, line - 2);
	if (s->over) {
		if (line > 1 && before != '\r' && before != '\n')
			v->lost = 1; /* a line of one byte, which is not empty */
		return line;
	}
	h->phase = HTTP_FIELDS;
	v->take = line;
	if (!line)
		http_pass(h, l, v);
	return 0;
}

/* ---- the body ---- */

static __always_inline void http_ends(struct l7_conn *c, struct l7_verdict *v, u32 status)
{
	v->ends = 1;
	v->status = status;
	v->end = status >= (c->role == L7_SERVER ? 500 : 400) ? L7_FAILED : L7_OK;
}

/* A message ends with the byte before at. */
static __always_inline void http_over(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u64 at)
{
	h->phase = HTTP_START;
	v->take = at;
	if (l->response)
		http_ends(c, v, h->b & HTTP_STATUS);
}

/* What follows a request's head. */
static __always_inline void http_after_request(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	u32 known = h->b;

	v->take = at;
	h->phase = HTTP_START;
	if (known & HTTP_CHUNKED)
		h->phase = HTTP_CHUNK;
	else if (known & (HTTP_CODED | HTTP_BAD))
		h->phase = HTTP_SPOILED;
	else if (known & HTTP_LENGTH)
		v->take = at + (v->body = *http_length(c, l));
}

/* What follows a response's head. */
static __always_inline void http_after_response(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	u32 known = h->b, status = known & HTTP_STATUS;

	h->phase = HTTP_START;
	v->take = at;
	if (status < 200 && status != 101)
		return;
	if (status == 101 || (l->method == HTTP_CONNECT && status < 300)) {
		v->becomes = L7_TCP;
		http_over(c, h, l, v, l->left);
	} else if (l->method == HTTP_HEAD || status == 204 || status == 304) {
		http_over(c, h, l, v, at);
	} else if (known & HTTP_CHUNKED) {
		h->phase = HTTP_CHUNK;
	} else if ((known & (HTTP_LENGTH | HTTP_BAD | HTTP_CODED)) == HTTP_LENGTH) {
		v->body = *http_length(c, l);
		http_over(c, h, l, v, at + v->body);
	} else {
		/* Until it closes; nobody knows whether an answer to what was not seen has a body. */
		v->body = l->left - at;
		http_over(c, h, l, v, l->waiting ? L7_FOREVER : l->left);
	}
}

/* The number of hexadecimal digits that a chunk begins with, up to 8, and its size. */
static __always_inline u32 http_chunk_size(struct l7_look *l, u32 at, u64 *size)
{
	u64 w = l7_word(l, at), lower = http_lower(w);
	u32 n = l7_before(~(l7_range(w, '0', '9') | l7_range(lower, 'a', 'f')) & L7_HIGHS);
	u64 x = (w & L7_ONES * 0x0f) + ((w >> 6) & L7_ONES) * 9;

	x <<= ((8 - n) & 7) * 8;
	x = (x << 4 | x >> 8) & 0x00ff00ff00ff00ffull;
	x = (x << 8 | x >> 16) & 0x0000ffff0000ffffull;
	*size = (x << 16 | x >> 32) & 0xffffffffull;
	return n;
}

/* A chunk cannot begin like that. The answer is over for whoever waited for it. */
static __always_inline void http_no_chunk(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	v->take = at;
	if (l->response)
		http_over(c, h, l, v, l->left);
	else if (!at)
		v->lost = 1;
}

/* Ends a message whose last chunk ends before a place, if the trailer is empty, as nearly all are. */
static __always_inline void http_last_chunk(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	h->phase = HTTP_TRAILER;
	v->take = at;
	if (at + 2 <= l->have && l7_byte(l, at) == '\r' && l7_byte(l, at + 1) == '\n')
		http_over(c, h, l, v, at + 2);
}

#define HTTP_CHUNKS 4 /* that are read in one look */

/* Reads chunks from a place on. */
static __always_inline void http_chunks(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	for (u32 i = 0; i < HTTP_CHUNKS; i++) {
		u64 size;
		if (at >= l->have)
			break;
		u32 digits = http_chunk_size(l, at, &size), behind = at + digits;
		u8 end = l7_byte(l, behind);
		if (behind + (end == '\r') >= l->have) /* the end of the line is still to come */
			break;
		behind += end == '\r';
		if (digits && (end == ';' || end == ' ' || end == '\t')) {
			h->phase = HTTP_EXTENSION;
			h->a = size;
			v->take = behind + 1;
			return;
		}
		if (!digits || l7_byte(l, behind) != '\n') {
			http_no_chunk(c, h, l, v, at);
			return;
		}
		behind++;
		if (!size) {
			http_last_chunk(c, h, l, v, behind);
			return;
		}
		v->body += size;
		if (behind + size + 2 >= l->have) {
			v->take = behind + size + 2;
			return;
		}
		at = http_bound(behind + size + 2);
	}
	v->take = at;
}

/* ---- all of it ---- */

/* http_line_end, after a short look whether the first line ends as nearly all do: " HTTP/1.1" or " OK". */
static __always_inline u32 http_usual_end(struct l7_look *l, u32 from, u32 phase)
{
	u64 w = l7_word(l, from);

	if (phase == HTTP_START && l->have >= from + 16) {
		if (l7_first(w, 5) == L7_WORD(' ', 'O', 'K', '\r', '\n', 0, 0, 0))
			return from + 5;
		if (w == L7_WORD(' ', 'H', 'T', 'T', 'P', '/', '1', '.') && l7_byte(l, from + 9) == '\r' && l7_byte(l, from + 10) == '\n')
			return from + 11;
	}
	return http_line_end(l, from);
}

/* Reads what stands before the first whole line of fields in a look and returns the place of that, 0 if the verdict is final
 * or a line of fields begins the look. */
static __always_inline u32 http_line(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 from = 0, phase = h->phase;

	if (phase <= HTTP_AUTHORITY) {
		from = http_first(c, h, l, v);
		if (!from)
			return 0;
	}
	u32 end = http_usual_end(l, from, phase);
	if (!end) {
		if (l->have < L7_CARRY && (phase == HTTP_START || phase == HTTP_TRAILER))
			return 0;
		v->take = l->have;
		h->phase = phase == HTTP_START ? HTTP_LINE : phase == HTTP_TRAILER ? HTTP_TRAILER_LINE : phase;
		return 0;
	}
	if (phase == HTTP_START && !l->response && !http_versioned(l, from, end)) {
		v->lost = 1;
		return 0;
	}
	if (phase < HTTP_FIELDS) {
		h->phase = HTTP_FIELDS;
		return end;
	}
	v->take = end;
	if (phase == HTTP_EXTENSION && h->a) {
		h->phase = HTTP_CHUNK;
		v->body = h->a;
		v->take = (u64)end + h->a + 2;
	} else if (phase == HTTP_TRAILER && end <= 2 && (end == 1 || l7_byte(l, 0) == '\r')) {
		http_over(c, h, l, v, end);
	} else {
		h->phase = HTTP_TRAILER;
	}
	return 0;
}

static __always_inline void http_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 at = 0;

	if (h->phase == HTTP_SPOILED) {
		h->phase = HTTP_START;
		v->lost = l->waiting;
		if (v->lost)
			return;
	}
	if (h->phase != HTTP_FIELDS && h->phase != HTTP_CHUNK) {
		at = http_line(c, h, l, v);
		if (!at)
			return;
	}
	if (h->phase == HTTP_FIELDS) {
		at = http_fields(c, h, l, v, at);
		if (!at)
			return;
		if (l->response)
			http_after_response(c, h, l, v, at);
		else
			http_after_request(c, h, l, v, at);
	}
	if (h->phase == HTTP_CHUNK)
		http_chunks(c, h, l, v, at);
}

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool http_is(struct l7_look *l)
{
	u64 w = l7_word(l, 0);
	u32 at = l7_through(l7_equal(w, ' ')), method = http_method(w);

	if (l->response)
		return l->have >= 8 && http_answers(l);
	if (method == HTTP_OTHER || at >= l->have)
		return false;
	u8 first = l7_byte(l, at);
	u64 ends = http_newlines(l, at); /* of all that is shown to tell protocols apart */
	if (ends && !http_versioned(l, at, at + l7_place(ends & -ends) + 1))
		return false;
	if (method == HTTP_CONNECT)
		return http_host(first);
	return first == '/' || first == '*' || (l->have - at >= 8 && http_scheme(l7_word(l, at)));
}

#endif
