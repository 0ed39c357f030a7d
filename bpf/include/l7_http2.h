/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 (RFC 9113) and gRPC on it. A request begins with its header fields, and its response ends with the frame that ends
 * the stream. Frames that say nothing about either are passed, several in one look.
 *
 * The status of gRPC is grpc-status, HPACK_NO_STATUS (0xffff) where it was not told. */
#ifndef YAGURA_L7_HTTP2_H
#define YAGURA_L7_HTTP2_H

#include "l7_core.h"
#include "l7_hpack.h"

/* What the platform keeps of a connection's header fields; NULL if it has no room: requests are counted without names and
 * statuses then. */
static __always_inline struct l7_hpack *l7_hpack_of(struct l7_run *r, struct l7_conn *c);

/* The run that a look is part of. */
static __always_inline struct l7_run *l7_run_of(struct l7_look *l)
{
	return (struct l7_run *)((u8 *)l - __builtin_offsetof(struct l7_run, look));
}

enum http2_type {
	HTTP2_DATA, HTTP2_HEADERS, HTTP2_PRIORITY, HTTP2_RST_STREAM, HTTP2_SETTINGS, HTTP2_PUSH_PROMISE, HTTP2_PING, HTTP2_GOAWAY,
	HTTP2_WINDOW_UPDATE, HTTP2_CONTINUATION, HTTP2_TYPES,
};
enum { HTTP2_END_STREAM = 0x1, HTTP2_ACK = 0x1, HTTP2_END_HEADERS = 0x4, HTTP2_PADDED = 0x8, HTTP2_WITH_PRIORITY = 0x20 };

#define HTTP2_HEADER 9
#define HTTP2_PREFACE 24
#define HTTP2_PASSED 8 /* frames at once that say nothing */
#define HTTP2_USUAL 16384 /* bytes of a frame without further agreement */
#define HTTP2_WRONG (~0u) /* instead of a place or a number of bytes */

enum http2_phase {
	HTTP2_START,     /* what begins here has to prove itself */
	HTTP2_FRAMES,    /* a frame begins */
	HTTP2_BLOCK,     /* within the fields of one */
	HTTP2_CONTINUED, /* a frame with more of them begins */
	HTTP2_LAST,      /* the last byte of the frame that ends the stream h->a */
};

/* h->b */
enum {
	HTTP2_MISSED = 1 << 0, /* there may have been fields that we have not seen */
	HTTP2_ASKS = 1 << 1,   /* requests: fields referred to what we have not seen, so DATA may have to tell whether this is gRPC */
};

struct http2_frame {
	u32 length, stream;
	u8 type, flags;
};

static __always_inline struct http2_frame http2_frame_at(struct l7_look *l, u32 at)
{
	u64 w = __builtin_bswap64(l7_word(l, at));
	return (struct http2_frame){
		.length = w >> 40, .type = w >> 32, .flags = w >> 24, .stream = (u32)(w << 8) | l7_byte(l, at + 8),
	};
}

/* Whether a frame is none of HTTP/2: by the stream that its type wants, and its length. */
static __always_inline bool http2_is_wrong(struct http2_frame f)
{
	u32 type = 1u << (f.type & 31);
	const u32 connection = 1 << HTTP2_SETTINGS | 1 << HTTP2_PING | 1 << HTTP2_GOAWAY, either = 1 << HTTP2_WINDOW_UPDATE;

	if (f.type >= HTTP2_TYPES)
		return f.length > HTTP2_USUAL || f.stream >> 31;
	u32 length = f.type == HTTP2_PRIORITY ? 5 : f.type == HTTP2_RST_STREAM || f.type == HTTP2_WINDOW_UPDATE ? 4 : f.type == HTTP2_PING ? 8 : f.length;
	return (f.length != length) | (f.stream >> 31) | (!(type & either) && !(type & connection) != !!f.stream) |
	       (f.type == HTTP2_SETTINGS && f.length % 6);
}

/* Whether the message that a DATA frame begins with is gRPC's: whether it is compressed, and its length. */
static __always_inline bool http2_has_message(struct l7_look *l, u32 at, struct http2_frame f)
{
	return at + HTTP2_HEADER + 5 <= l->have && f.length >= 5 && l7_byte(l, at + HTTP2_HEADER) <= 1 &&
	       l7_be32(l, at + HTTP2_HEADER + 1) == f.length - 5;
}

/* Whether a block of fields may begin with a byte: with a pseudo-header of the direction, or what is not in the static table. */
static __always_inline bool http2_is_field(u8 first, bool response)
{
	u32 mask = first & 0x80 ? 0x7f : first & 0x40 ? 0x3f : first & 0x20 ? 0 : 0x0f, index = first & mask;

	return !mask || index - (response ? 8 : 1) < 7 || index > HPACK_STATIC || (index == 15 && mask == 15) || (!index && mask != 0x7f);
}

enum http2_proof { HTTP2_NO, HTTP2_YES, HTTP2_MORE };

/* Whether a frame begins here: where that is not known for sure only what can hardly be anything else is believed. */
static __always_inline u32 http2_begins(struct l7_look *l)
{
	struct http2_frame f = http2_frame_at(l, 0);

	if (l->have < HTTP2_HEADER)
		return HTTP2_MORE;
	if (http2_is_wrong(f) || f.length > HTTP2_USUAL)
		return HTTP2_NO;
	switch (f.type) {
	case HTTP2_SETTINGS: return f.flags <= HTTP2_ACK && !(f.flags && f.length);
	case HTTP2_PING: return f.flags <= HTTP2_ACK;
	case HTTP2_WINDOW_UPDATE: case HTTP2_RST_STREAM: case HTTP2_PRIORITY: return !f.flags;
	case HTTP2_GOAWAY: return !f.flags && f.length >= 8;
	case HTTP2_HEADERS:
		if (f.flags & ~(HTTP2_END_STREAM | HTTP2_END_HEADERS | HTTP2_PADDED | HTTP2_WITH_PRIORITY) || !(f.flags & HTTP2_END_HEADERS) ||
		    !(f.stream & 1) || !f.length)
			return HTTP2_NO;
		if (f.flags & (HTTP2_PADDED | HTTP2_WITH_PRIORITY))
			return HTTP2_YES;
		return l->have == HTTP2_HEADER ? HTTP2_MORE : http2_is_field(l7_byte(l, HTTP2_HEADER), l->response);
	case HTTP2_DATA:
		if (f.flags & ~(HTTP2_END_STREAM | HTTP2_PADDED) || !(f.stream & 1) || f.length < 5)
			return HTTP2_NO;
		return l->have < HTTP2_HEADER + 5 ? HTTP2_MORE : http2_has_message(l, 0, f);
	}
	return HTTP2_NO;
}

static __always_inline u32 http2_preface(struct l7_look *l)
{
	const u64 words[3] = {
		L7_WORD('P', 'R', 'I', ' ', '*', ' ', 'H', 'T'), L7_WORD('T', 'P', '/', '2', '.', '0', '\r', '\n'),
		L7_WORD('\r', '\n', 'S', 'M', '\r', '\n', '\r', '\n'),
	};
	u64 differs = 0;

	for (u32 i = 0; i < 3; i++) {
		u32 there = l->have > 8 * i ? l->have - 8 * i : 0;
		differs |= l7_first(l7_word(l, 8 * i) ^ words[i], there);
	}
	return differs ? HTTP2_NO : l->have < HTTP2_PREFACE ? HTTP2_MORE : HTTP2_YES;
}

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool http2_is(struct l7_look *l)
{
	return (!l->response && l->have >= 16 && http2_preface(l) != HTTP2_NO) || http2_begins(l) == HTTP2_YES;
}

/* Writes eight bytes into a look, as l7_word reads them. */
static __always_inline void l7_put(struct l7_look *l, u32 at, u64 w)
{
#ifdef L7_NATIVE
	__builtin_memcpy(l->bytes + (at & (L7_WINDOW - 1)), &w, 8);
#else
	*(u64 *)(l->bytes + (at & (L7_WINDOW - 1))) = w;
#endif
}

/* Whether a frame of a known type says something of requests. asks: whether messages of gRPC are of interest. */
static __always_inline bool http2_tells(struct http2_frame f, bool response, bool asks)
{
	const u32 silent = 1 << HTTP2_PRIORITY | 1 << HTTP2_SETTINGS | 1 << HTTP2_PING | 1 << HTTP2_GOAWAY | 1 << HTTP2_WINDOW_UPDATE;

	if (f.type == HTTP2_DATA)
		return asks || (response && f.flags & HTTP2_END_STREAM);
	return f.type < HTTP2_TYPES && !(silent >> (f.type & 31) & 1);
}

/* Passes frames that say nothing, up to a bound, as long as the next one's header is there. Returns where that begins, which
 * may be beyond the look, or HTTP2_WRONG. */
__noinline u32 http2_pass(struct l7_look *l, u32 at, u32 asks)
{
	if (!l)
		return HTTP2_WRONG;
	for (u32 i = 0; i < HTTP2_PASSED && at + HTTP2_HEADER <= l->have; i++) {
		struct http2_frame f = http2_frame_at(l, at);
		if (http2_is_wrong(f))
			return HTTP2_WRONG;
		if (http2_tells(f, l->response, asks))
			return at;
		at += HTTP2_HEADER + f.length;
	}
	return at;
}

/* ---- what a block of fields says ---- */

/* To a client of gRPC every status but OK is an error; to a server those are that are its fault: UNKNOWN, DEADLINE_EXCEEDED,
 * UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS, as the semantic conventions have it. */
static __always_inline bool grpc_failed(bool server, u32 status)
{
	const u32 faults = 1 << 2 | 1 << 4 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15;

	return status && status != HPACK_NO_STATUS && (!server || status > 16 || faults >> (status & 31) & 1);
}

/* How a request has ended, given how its stream did: the status, which came before, tells. For the platform's l7_finish, which
 * may ask about requests of any protocol. */
static __always_inline u8 http2_ended(struct l7_conn *c, u8 protocol, u16 status, u8 end)
{
	bool server = c->role == L7_SERVER, failed = false;

	if (protocol == L7_GRPC)
		failed = grpc_failed(server, status);
	else if (protocol == L7_HTTP2)
		failed = status >= (server ? 500 : 400);
	return end == L7_OK && failed ? L7_FAILED : end;
}

/* What a client of gRPC makes of an answer that is not gRPC's, as a proxy may give. */
static __always_inline u16 grpc_of_http(u32 status)
{
	return status == 400 ? 13 : status == 401 ? 16 : status == 403 ? 7 : status == 404 ? 12 : status == 429 || (status >= 502 && status <= 504) ? 14 : 2;
}

/* Keeps with a request, of this protocol so far, what a verdict notes of it. For the platform's l7_stream_noted. */
static __always_inline void http2_note(struct l7_verdict *v, u8 *protocol, u16 *status)
{
	*status = *protocol == L7_GRPC && v->protocol != L7_GRPC ? grpc_of_http(v->status) : v->status;
	if (v->protocol)
		*protocol = v->protocol;
}

/* Puts the spelling of a path where a verdict can point to it: what the look held has been judged. */
static __always_inline void http2_spell(struct l7_look *l, struct l7_verdict *v, u64 *text, u32 length)
{
	__builtin_memcpy(l->bytes, text, L7_TEXT);
	v->name_at = 0;
	v->name_length = length < L7_TEXT ? length : L7_TEXT;
}

/* The hash of the path that a look begins with. */
__noinline u32 http2_route(struct l7_look *l, u32 length)
{
	return l ? l7_path_hash(l, 0, length, &length) : L7_NONE;
}

/* The name of a request: of gRPC the whole path, otherwise what is left of it without what varies. */
static __always_inline void http2_name(struct l7_hpack *p, struct hpack_side *s, struct l7_look *l, struct l7_verdict *v, bool grpc)
{
	u32 path = s->got[HPACK_PATH];

	v->name = path;
	if (path == HPACK_NO_PATH)
		return;
	if (path > HPACK_INDEX) {
		struct hpack_path *known = &p->paths[path & (HPACK_PATHS - 1)];
		if (known->hash == path)
			http2_spell(l, v, known->text, known->length);
		return;
	}
	if (path != HPACK_SPELLED) {
		s->text[0] = L7_WORD('/', 'i', 'n', 'd', 'e', 'x', '.', 'h');
		s->text[1] = L7_WORD('t', 'm', 'l', 0, 0, 0, 0, 0);
		s->path_length = path == HPACK_ROOT ? 1 : 11;
	}
	http2_spell(l, v, s->text, s->path_length);
	v->name = grpc ? hpack_path_hash(s) : http2_route(l, v->name_length);
	if (!s->path_entry)
		return;
	s->value[hpack_bound(s->path_entry - 1, HPACK_ENTRIES)] = v->name;
	struct hpack_path *new = &p->paths[v->name & (HPACK_PATHS - 1)];
	new->hash = v->name;
	new->length = v->name_length;
	__builtin_memcpy(new->text, s->text, sizeof(new->text));
}

static __always_inline void http2_request(struct l7_conn *c, struct l7_hpack *p, struct hpack_side *s, struct l7_look *l, struct l7_verdict *v)
{
	u32 *got = s->got;
	bool blind = got[HPACK_UNKNOWN], grpc = got[HPACK_CONTENT] || (blind && p->grpc && got[HPACK_METHOD] != HTTP_GET);

	p->grpc |= grpc;
	if (s->stream <= s->newest && !got[HPACK_PATH] && !got[HPACK_METHOD])
		return; /* the trailers of a request */
	s->newest = s->stream;
	http2_name(p, s, l, v, grpc);
	if (blind && !v->name)
		l7_unmatched(c->protocol, L7_HEADER_TABLE);
	v->id = s->stream;
	v->begins = 1;
	v->method = grpc ? HTTP_POST : got[HPACK_METHOD];
	v->protocol = grpc ? L7_GRPC : 0;
	v->status = grpc ? HPACK_NO_STATUS : 0;
	if (got[HPACK_TRACE]) {
		v->trace_at = L7_TEXT;
		__builtin_memcpy(l->bytes + L7_TEXT, s->trace, sizeof(s->trace));
	}
}

static __always_inline void http2_response(struct l7_conn *c, struct l7_hpack *p, struct hpack_side *s, struct l7_verdict *v)
{
	u32 status = s->got[HPACK_STATUS], code = s->got[HPACK_GRPC];
	bool ends = s->flags & HTTP2_END_STREAM, blind = s->got[HPACK_UNKNOWN], told = code != HPACK_NO_STATUS;
	bool grpc = told || s->got[HPACK_CONTENT] || (blind && p->grpc);

	if (s->frame != HTTP2_HEADERS || !(s->stream & 1) || (status / 100 == 1 && !ends))
		return; /* what is pushed, and what precedes the response */
	p->grpc |= told || s->got[HPACK_CONTENT];
	grpc &= told || !status || status == 200;
	v->id = s->stream;
	v->ends = ends;
	v->notes = told || status || (grpc && blind);
	v->protocol = grpc ? L7_GRPC : 0;
	v->status = grpc ? code : status;
	if (blind && !told && (grpc ? ends : !status))
		l7_unmatched(c->protocol, L7_HEADER_TABLE);
}

/* ---- frames ---- */

/* Whether DATA of a request is looked at: fields that might tell of gRPC were not seen. */
static __always_inline bool http2_asks(struct l7_half *h, struct l7_look *l) { return !l->response && h->b & HTTP2_ASKS; }

/* Takes with a verdict the frames behind it that say nothing. */
static __always_inline void http2_skip(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 next = http2_pass(l, v->take, http2_asks(h, l));

	if (next != HTTP2_WRONG)
		v->take = next;
}

/* Puts what waited for its rest before that: returns how much it was, and bounds how much of the rest is read with it. */
static __always_inline u32 http2_unstash(struct hpack_side *s, struct l7_look *l, u32 *there)
{
	u64 rest[HPACK_STASH / 8], *look = (u64 *)l->bytes;
	u32 n = s->stashed & (HPACK_STASH - 1);

	for (u32 i = 0; i < HPACK_STASH / 8; i++) {
		rest[i] = look[i];
		look[i] = s->stash[i];
	}
	for (u32 i = 0; i < HPACK_STASH / 8; i++)
		l7_put(l, n + 8 * i, rest[i]);
	if (*there > HPACK_STASH)
		*there = HPACK_STASH;
	return n;
}

static __always_inline void http2_stash(struct hpack_side *s, struct l7_look *l, u32 at, u32 n)
{
	for (u32 i = 0; i < HPACK_STASH / 8; i++)
		s->stash[i] = l7_word(l, at + 8 * i);
	s->stashed = n & (HPACK_STASH - 1);
}

/* Reads what is there, from at on, of the fields of a frame. Returns how many bytes of it that are, which may be more than the
 * look has, or HTTP2_WRONG. */
static __always_inline u32 http2_read(struct hpack_side *s, struct l7_look *l, u32 at, u32 there)
{
	u32 before = s->stashed ? http2_unstash(s, l, &there) : 0; /* only at the beginning of a look */
	u32 end = at + before + there;
	u32 reached = hpack_fields(l, s, at, end), place = reached & (HPACK_PARTIAL - 1);

	s->stashed = 0;
	if (reached & HPACK_PARTIAL) {
		http2_stash(s, l, place, end - place);
		place = end;
	}
	if (reached & HPACK_BAD || place < at + before)
		return HTTP2_WRONG;
	u32 taken = place - before - at;
	s->fragment -= taken;
	if (place < end || (s->state != HPACK_PASS_NAME && s->state != HPACK_PASS_VALUE))
		return taken;
	u32 more = s->string < s->fragment ? s->string : s->fragment; /* nobody needs to see the rest of this string */
	s->string -= more;
	s->fragment -= more;
	if (!s->string)
		hpack_over(s);
	return taken + more;
}

/* Goes on with the fields of a frame, from at on, and judges them when they are all there. */
static __always_inline void http2_block(struct l7_conn *c, struct l7_half *h, struct l7_hpack *p, struct hpack_side *s, struct l7_look *l,
					struct l7_verdict *v, u32 at)
{
	u32 there = l->have - at, shifted = s->stashed;

	if (there > s->fragment)
		there = s->fragment;
	u32 taken = there ? http2_read(s, l, at, there) : 0;
	v->take = at + taken;
	v->lost = taken == HTTP2_WRONG;
	if (v->lost || s->fragment)
		return;
	v->take += s->padding;
	if (!(s->flags & HTTP2_END_HEADERS)) {
		h->phase = HTTP2_CONTINUED;
		return;
	}
	v->lost = s->state != HPACK_FIELD || s->stashed;
	h->phase = HTTP2_FRAMES;
	if (v->lost)
		return;
	if (p->grpc)
		h->b &= ~HTTP2_ASKS;
	else if (s->got[HPACK_UNKNOWN])
		h->b |= HTTP2_ASKS;
	if (!shifted)
		http2_skip(h, l, v);
	if (l->response)
		http2_response(c, p, s, v);
	else
		http2_request(c, p, s, l, v);
}

/* The direction as a number that the verifier sees to be 0 or 1; the compiler knows it anyhow. */
static __always_inline u32 http2_side(struct l7_look *l)
{
	u32 side = l->response;

	barrier_var(side);
	return side & 1;
}

/* Fields that nobody can read, for want of memory: that there is a request, or an end, the frame tells. */
static __always_inline void http2_unread(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, struct http2_frame f)
{
	v->take += HTTP2_HEADER + f.length;
	if (f.type != HTTP2_HEADERS || !(f.stream & 1) || (!l->response && f.stream <= h->a))
		return;
	v->id = f.stream;
	if (l->response) {
		v->ends = f.flags & HTTP2_END_STREAM;
		return;
	}
	h->a = f.stream;
	v->begins = 1;
	l7_unmatched(c->protocol, L7_NO_ROOM);
}

static __always_inline void http2_open(struct l7_half *h, struct hpack_side *s, struct http2_frame f)
{
	if (h->b & HTTP2_MISSED) {
		s->known = s->inserted;
		s->newest = 0;
	}
	h->b &= ~HTTP2_MISSED;
	__builtin_memset(s->got, 0, sizeof(s->got));
	s->got[HPACK_GRPC] = HPACK_NO_STATUS;
	s->state = HPACK_FIELD;
	s->stashed = 0;
	s->path_entry = 0;
	s->stream = f.stream;
	s->frame = f.type;
	s->flags = f.flags;
}

/* A frame with fields, of which v->take bytes precede the header. */
static __always_inline void http2_fields(struct l7_run *r, struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v,
					 struct http2_frame f)
{
	u32 side = http2_side(l), at = v->take + HTTP2_HEADER, padding = 0, fixed = 0;
	bool goes_on = f.type == HTTP2_CONTINUATION;

	if (!goes_on && f.flags & HTTP2_PADDED) {
		padding = l7_byte(l, at);
		fixed = 1;
	}
	if (f.type == HTTP2_HEADERS && f.flags & HTTP2_WITH_PRIORITY)
		fixed += 5;
	if (f.type == HTTP2_PUSH_PROMISE)
		fixed += 4;
	v->lost = fixed > f.length || (f.type == HTTP2_PUSH_PROMISE && !side);
	if (v->lost || at + fixed > l->have)
		return;
	struct l7_hpack *p = l7_hpack_of(r, c);
	if (!p && h->phase == HTTP2_FRAMES) {
		http2_unread(c, h, l, v, f);
		return;
	}
	v->lost = !p || fixed + padding > f.length;
	if (v->lost)
		return;
	struct hpack_side *s = &p->side[side];
	if (!goes_on) {
		http2_open(h, s, f);
	} else if (h->phase != HTTP2_CONTINUED || s->stream != f.stream) {
		v->lost = 1;
		return;
	}
	s->flags |= f.flags & HTTP2_END_HEADERS;
	s->fragment = f.length - fixed - padding;
	s->padding = padding;
	h->phase = HTTP2_BLOCK;
	if (s->stashed && s->fragment)
		v->take = at; /* what waits for its rest is put before that when it begins a look */
	else
		http2_block(c, h, p, s, l, v, at + fixed);
}

/* The rest of a frame with fields, which a look begins with. */
static __always_inline void http2_rest(struct l7_run *r, struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct l7_hpack *p = l7_hpack_of(r, c);

	v->lost = !p;
	if (!p)
		return;
	struct hpack_side *s = &p->side[http2_side(l)];
	v->lost = !s->fragment;
	if (!v->lost)
		http2_block(c, h, p, s, l, v, 0);
}

/* DATA that ends its stream, or that may tell that this is gRPC. */
static __always_inline void http2_data(struct l7_run *r, struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, struct http2_frame f)
{
	u32 at = v->take;

	if (!l->response && f.length >= 5 && at + HTTP2_HEADER + 5 > l->have)
		return;
	v->take += HTTP2_HEADER + f.length;
	if (!l->response) {
		if (!http2_has_message(l, at, f))
			return;
		struct l7_hpack *p = l7_hpack_of(r, c);
		if (p)
			p->grpc = 1;
		h->b &= ~HTTP2_ASKS;
		v->id = f.stream;
		v->notes = 1;
		v->protocol = L7_GRPC;
		v->status = HPACK_NO_STATUS;
		return;
	}
	if (!(f.stream & 1))
		return; /* what is pushed */
	if (v->take > l->left && f.length && c->role == L7_CLIENT) { /* what a server sends it may send from a file, unread */
		v->take--;
		h->a = f.stream;
		h->phase = HTTP2_LAST;
		return;
	}
	v->id = f.stream;
	v->ends = 1;
	http2_skip(h, l, v);
}

/* A frame begins at v->take. */
static __always_inline void http2_frame(struct l7_run *r, struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct http2_frame f = http2_frame_at(l, v->take);

	v->lost = http2_is_wrong(f) || (h->phase == HTTP2_CONTINUED && f.type != HTTP2_CONTINUATION);
	if (v->lost || !http2_tells(f, l->response, http2_asks(h, l)))
		return;
	switch (f.type) {
	case HTTP2_HEADERS: case HTTP2_PUSH_PROMISE: case HTTP2_CONTINUATION:
		http2_fields(r, c, h, l, v, f);
		return;
	case HTTP2_DATA:
		http2_data(r, c, h, l, v, f);
		return;
	case HTTP2_RST_STREAM:
		v->take += HTTP2_HEADER + f.length;
		v->id = f.stream & 1 ? f.stream : 0;
		v->ends = f.stream & 1;
		v->end = L7_CANCELLED;
		return;
	}
}

/* A response that has begun often ends in the same look: then one verdict says both. */
static __always_inline void http2_ends(struct l7_run *r, struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 at = v->take, id = v->id;
	u16 status = v->status;
	u8 protocol = v->protocol;

	if (at + HTTP2_HEADER > l->have || h->phase != HTTP2_FRAMES || http2_frame_at(l, at).stream != id)
		return;
	v->notes = 0;
	http2_frame(r, c, h, l, v);
	if (v->notes)
		return;
	if (v->lost) { /* what the first frame says is true: the next look finds the same again */
		v->lost = 0;
		v->take = at;
		h->phase = HTTP2_FRAMES;
	}
	v->notes = 1;
	v->id = id;
	v->status = status;
	v->protocol = protocol;
}

/* Whether what begins here is believed to be HTTP/2, and we go on; otherwise the verdict says what to do. */
static __always_inline bool http2_starts(struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 preface = l->response ? HTTP2_NO : http2_preface(l), proof = preface == HTTP2_NO ? http2_begins(l) : preface;

	v->lost = proof == HTTP2_NO;
	if (proof != HTTP2_YES)
		return false;
	h->phase = HTTP2_FRAMES;
	h->a = 0;
	h->b = HTTP2_MISSED;
	if (preface == HTTP2_YES)
		v->take = HTTP2_PREFACE;
	return preface != HTTP2_YES;
}

static __always_inline void http2_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct l7_run *r = l7_run_of(l);

	if (h->phase == HTTP2_BLOCK) {
		http2_rest(r, c, h, l, v);
		return;
	}
	if (h->phase == HTTP2_LAST) {
		h->phase = HTTP2_FRAMES;
		v->take = 1;
		v->id = h->a;
		v->ends = 1;
		return;
	}
	if (h->phase == HTTP2_START && !http2_starts(h, l, v))
		return;
	u32 at = h->phase == HTTP2_CONTINUED ? 0 : http2_pass(l, 0, http2_asks(h, l));
	v->lost = at == HTTP2_WRONG;
	if (v->lost)
		return;
	v->take = at;
	if (at + HTTP2_HEADER <= l->have)
		http2_frame(r, c, h, l, v);
	if (v->notes && !v->ends && l->response)
		http2_ends(r, c, h, l, v);
}

#endif
