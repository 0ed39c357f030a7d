/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL, protocol 3. An operation is a Query, a FunctionCall, or one execution of a prepared statement: a Bind and its
 * Execute, or an Execute that goes on with what was bound before. It begins with the first of them and ends with
 * CommandComplete, EmptyQueryResponse, PortalSuspended or ErrorResponse; a Query and a FunctionCall end with ReadyForQuery
 * or ErrorResponse. After an error the server skips what comes before the next Sync: those operations are cancelled, and so
 * is one that was bound and not executed. Parse and Describe alone are no operation unless they fail. */
#ifndef YAGURA_L7_POSTGRES_H
#define YAGURA_L7_POSTGRES_H

#include "l7_sql.h"

#define PG_LONGEST 0x3fffffff /* of a message */
#define PG_SSL 80877103
#define PG_GSS 80877104
#define PG_CANCEL 80877102
#define PG_VERSION_3 3 /* upper half of a protocol's number */

/* Kinds of operations, the method of a request. */
enum { PG_EXECUTE = 1, PG_SIMPLE };

/* Where a half stands: whether it has seen anything since framing was lost, or in which text of a long message it is. Bits
 * of phase above these four are the state of that text. */
enum pg_phase { PG_FRESH, PG_READY, PG_IN_QUERY, PG_IN_NAME, PG_IN_PARSE };
#define PG_PHASE 15

/* Batches that are under way: what is between two Syncs, or a Query. Each has a mark of four bits in a ring: how many
 * executions it has, or that it is a Query; for many, the number follows in four marks. */
#define PG_MARKS 16
#define PG_MANY 14
#define PG_IS_QUERY 15
#define PG_MARKS_OF_MANY 5

/* A connection's own state. Each part has one writer: requests and responses may be seen at the same time. */
#define PG_HEAD 28
#define PG_VERBS ((sizeof(((struct l7_conn *)0)->own) - PG_HEAD) / 2)
struct pg {
	u8 marks[PG_MARKS / 2];
	/* written with requests */
	u16 unmarked;  /* batches for which the ring had no room */
	u16 executes;  /* executions of the batch that no Sync has ended yet */
	u8 tail;       /* of marks */
	u8 asked;      /* for encryption, so many times */
	u8 parsed;     /* the present batch has parsed something */
	u8 bounds;     /* Binds whose Execute is still to come */
	u8 nameless;   /* verb of the statement that has no name */
	u8 bound;      /* verb of the last one that was bound */
	u8 last;       /* verb of the last one that was parsed */
	/* written with responses */
	u8 head;       /* of marks */
	u16 passed;    /* of the unmarked batches */
	u16 answered;  /* executions of the present batch, or its Query */
	u8 encryption; /* answers to that */
	u8 began;      /* a message was understood */
	/* written with requests */
	u8 next;       /* of verbs to be overwritten */
	u8 reserved;
	u16 verbs[PG_VERBS]; /* of prepared statements: twelve bits of the name's hash, and four of the verb's code */
} __attribute__((may_alias));
_Static_assert(sizeof(struct pg) == sizeof(((struct l7_conn *)0)->own), "the connection's own state");

static __always_inline struct pg *pg_of(struct l7_conn *c) { return (struct pg *)c->own; }

/* What a tag may be: a message of that side, one that neither begins nor ends anything, and one without contents. */
enum { PG_ASKS = 1, PG_ASKS_MORE = 2, PG_ANSWERS = 4, PG_ANSWERS_MORE = 8, PG_ASKS_NOTHING = 16 };
static const u8 pg_tags[256] = {
	['Q'] = PG_ASKS, ['F'] = PG_ASKS, ['P'] = PG_ASKS, ['B'] = PG_ASKS, ['p'] = PG_ASKS | PG_ASKS_MORE,
	['f'] = PG_ASKS | PG_ASKS_MORE, ['X'] = PG_ASKS | PG_ASKS_MORE | PG_ASKS_NOTHING,
	['E'] = PG_ASKS | PG_ANSWERS, ['C'] = PG_ASKS | PG_ASKS_MORE | PG_ANSWERS,
	['D'] = PG_ASKS | PG_ASKS_MORE | PG_ANSWERS | PG_ANSWERS_MORE,
	['H'] = PG_ASKS | PG_ASKS_MORE | PG_ASKS_NOTHING | PG_ANSWERS | PG_ANSWERS_MORE,
	['S'] = PG_ASKS | PG_ASKS_NOTHING | PG_ANSWERS | PG_ANSWERS_MORE,
	['d'] = PG_ASKS | PG_ASKS_MORE | PG_ANSWERS | PG_ANSWERS_MORE,
	['c'] = PG_ASKS | PG_ASKS_MORE | PG_ASKS_NOTHING | PG_ANSWERS | PG_ANSWERS_MORE,
	['R'] = PG_ANSWERS | PG_ANSWERS_MORE, ['K'] = PG_ANSWERS | PG_ANSWERS_MORE, ['T'] = PG_ANSWERS | PG_ANSWERS_MORE,
	['N'] = PG_ANSWERS | PG_ANSWERS_MORE, ['A'] = PG_ANSWERS | PG_ANSWERS_MORE, ['G'] = PG_ANSWERS | PG_ANSWERS_MORE,
	['V'] = PG_ANSWERS | PG_ANSWERS_MORE, ['v'] = PG_ANSWERS | PG_ANSWERS_MORE, ['n'] = PG_ANSWERS | PG_ANSWERS_MORE,
	['t'] = PG_ANSWERS | PG_ANSWERS_MORE, ['1' ... '3'] = PG_ANSWERS | PG_ANSWERS_MORE,
	['I'] = PG_ANSWERS, ['Z'] = PG_ANSWERS, ['s'] = PG_ANSWERS, ['W'] = PG_ANSWERS,
};

/* A number of four bytes, faster than byte by byte. */
static __always_inline u32 pg_number(struct l7_look *l, u32 at) { return __builtin_bswap32(l7_le32(l, at)); }

/* Length of the message at a place, with its tag; 0 if none of that side begins there. */
static __always_inline u32 pg_message(struct l7_look *l, u32 at, u8 kind)
{
	u32 n = pg_number(l, at + 1);
	u8 is = pg_tags[l7_byte(l, at)];

	if (!(is & kind) || n < 4 || n > PG_LONGEST || (!l->response && is & PG_ASKS_NOTHING && n != 4))
		return 0;
	return n + 1;
}

/* A connection's first message has no tag: its length and the protocol's number. 0 if this is none. */
static __always_inline u32 pg_startup(struct l7_look *l)
{
	u32 n = pg_number(l, 0), version = pg_number(l, 4);

	if (n > 10000 || n < 8 || (version >> 16 != PG_VERSION_3 && (version < PG_CANCEL || version > PG_GSS)))
		return 0;
	return n;
}

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool postgres_is(struct l7_look *l)
{
	u32 at = 0, messages = 0;
	u8 first = l7_byte(l, 0);

	if (l->have < 5)
		return false;
	if (!first && !l->response)
		return l->have >= 8 && pg_startup(l) == l->left;
	for (int i = 0; i < 5; i++) {
		if (at + 5 > l->have)
			break;
		u32 n = pg_message(l, at, l->response ? PG_ANSWERS : PG_ASKS);
		if (!n || n >> 24)
			return false;
		at += n;
		messages++;
	}
	if (at == l->left || messages > 1)
		return true;
	/* A statement that is longer than what can be seen; before a Parse's there is a name. */
	return !l->response && (first == 'Q' || first == 'P') && l->have >= 14 &&
	       l7_range(l7_word(l, 6), '\t', '~') == L7_HIGHS;
}

/* ---- prepared statements ---- */

#define PG_NAME 24 /* bytes of a statement's name that tell it from others: as many as can be kept with what is before */

/* What a statement's name is known by, 0 for the one without a name. */
static __always_inline u32 pg_name(struct l7_look *l, struct l7_verdict *v, u32 at)
{
	u64 hash = 0;

	for (u32 i = 0; i < PG_NAME; i += 8) {
		u64 w = l7_word(l, at + i);
		u32 n = l7_before(l7_equal(w, 0));
		if (i + n == 0)
			return 0;
		hash = l7_mix(hash, l7_first(w, n));
		if (n < 8)
			break;
	}
	u32 name = sql_plain(v, hash >> 32 & 0xfff);
	return name ? name : 1;
}

/* Where the verb of a statement is kept; PG_VERBS if it is not. */
static __always_inline u32 pg_place(struct pg *o, struct l7_verdict *v, u32 name)
{
	u32 at = 0;

	for (; at < PG_VERBS; at++)
		if (o->verbs[at] >> 4 == name)
			break;
	return sql_plain(v, at);
}

/* Of more statements than there is room for, those that were prepared last are kept. */
static __always_inline void pg_parsed(struct pg *o, struct l7_verdict *v, u32 name, u32 code)
{
	o->last = code;
	o->parsed = 1;
	if (!name) {
		o->nameless = code;
		return;
	}
	u32 at = pg_place(o, v, name);
	if (at == PG_VERBS) {
		at = o->next < PG_VERBS ? o->next : 0;
		o->next = at + 1;
	}
	if (at < PG_VERBS)
		o->verbs[at] = name << 4 | (code < 16 ? code : SQL_NONE);
}

static __always_inline u8 pg_verb(struct pg *o, struct l7_verdict *v, u32 name)
{
	if (!name)
		return o->nameless;
	u32 at = pg_place(o, v, name);
	return at < PG_VERBS ? o->verbs[at] & 15 : SQL_NONE;
}

/* ---- batches ---- */

static __always_inline u32 pg_get_mark(struct pg *o, u32 at) { return o->marks[at / 2 & (PG_MARKS / 2 - 1)] >> at % 2 * 4 & 15; }

static __always_inline void pg_put_mark(struct pg *o, u32 at, u32 mark)
{
	u8 *to = &o->marks[at / 2 & (PG_MARKS / 2 - 1)];
	u32 shift = at % 2 * 4;

	*to = (*to & 0xf0 >> shift) | (mark & 15) << shift;
}

static __always_inline void pg_mark(struct pg *o, u32 executes, bool is_query)
{
	bool many = !is_query && executes >= PG_MANY;
	u32 used = (u8)(o->tail - o->head), marks = many ? PG_MARKS_OF_MANY : 1;

	if (o->unmarked != o->passed || used + marks > PG_MARKS) {
		o->unmarked++; /* and so are all until the responses have caught up */
		return;
	}
	pg_put_mark(o, o->tail, is_query ? PG_IS_QUERY : many ? PG_MANY : executes);
	for (u32 i = 0; many && i < 4; i++)
		pg_put_mark(o, o->tail + 1 + i, executes >> 4 * i);
	o->tail += marks;
}

struct pg_batch {
	u32 executes;
	u8 marks;     /* it has so many; 0: it is not over, or none */
	bool is_query, unmarked;
};

/* The batch that responses are of. */
static __always_inline void pg_front(struct pg *o, struct l7_look *l, struct pg_batch *b)
{
	u32 mark = pg_get_mark(o, o->head);

	b->marks = 0;
	b->unmarked = false;
	b->is_query = false;
	b->executes = o->executes;
	if (o->head != o->tail) {
		b->is_query = mark == PG_IS_QUERY;
		b->executes = mark;
		b->marks = 1;
		if (mark == PG_MANY) {
			b->marks = PG_MARKS_OF_MANY;
			b->executes = pg_get_mark(o, o->head + 1) | pg_get_mark(o, o->head + 2) << 4 |
				      pg_get_mark(o, o->head + 3) << 8 | pg_get_mark(o, o->head + 4) << 12;
		}
	} else if (o->unmarked != o->passed) {
		b->unmarked = true;
		b->is_query = l->waiting && l->method == PG_SIMPLE;
		b->executes = l->waiting && !b->is_query ? 0xffff : 0;
	}
}

/* ---- requests ---- */

static __always_inline void pg_begins(struct l7_look *l, struct l7_verdict *v, u8 kind, u32 code)
{
	v->begins = 1;
	v->method = kind;
	sql_name(l, v, code);
}

/* Looks for the verb of a Query or a Parse from a place on. Returns what is judged by that. */
static __always_inline u32 pg_text(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	struct pg *o = pg_of(c);
	u32 rest = h->b;
	struct sql_text s = {.at = at, .state = h->phase >> 4, .whole = rest <= l->have - at};

	s.end = s.whole ? at + rest : l->have;
	bool known = sql_find(l, v, &s);
	u32 past = (h->a >> 16) + s.at - at;
	if (!known && past < SQL_LIMIT && (s.at || l7_can_wait(l))) {
		h->phase = (h->phase & PG_PHASE) | s.state << 4;
		h->a = (h->a & 0xffff) | past << 16;
		h->b = rest - (s.at - at);
		return s.at;
	}
	u32 code = past < SQL_LIMIT ? s.code : SQL_NONE;
	if ((h->phase & PG_PHASE) == PG_IN_QUERY) {
		pg_mark(o, 0, true);
		pg_begins(l, v, PG_SIMPLE, code);
	} else {
		pg_parsed(o, v, h->a & 0xffff, code);
	}
	h->phase = PG_READY;
	return at + rest;
}

/* Passes the rest of a statement's name, behind which its text is. */
static __always_inline u32 pg_past_name(struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	u32 end = l7_find(l, at, 0);
	bool found = end < l->have;

	end += found;
	if (end - at >= h->b) { /* a text has a 0 at its end, too */
		v->lost = 1;
		return 0;
	}
	if (found)
		h->phase = PG_IN_PARSE;
	h->b -= end - at;
	return end;
}

static __always_inline void pg_bound(struct pg *o, struct l7_look *l, struct l7_verdict *v, u32 code)
{
	o->bound = code;
	if (o->executes != 0xffff)
		o->executes++;
	pg_begins(l, v, PG_EXECUTE, code);
}

/* Bind names a portal and then a statement. A statement whose name is too far off to be seen has no known verb. */
static __always_inline u32 pg_bind(struct pg *o, struct l7_look *l, struct l7_verdict *v, u32 length)
{
	u32 at = sql_plain(v, l7_find(l, 5, 0) + 1), end = at + PG_NAME, code = SQL_NONE;

	if (length < end)
		end = length;
	if (end <= l->have || l7_find(l, at, 0) < l->have)
		code = pg_verb(o, v, pg_name(l, v, at));
	else if (l7_can_wait(l))
		return 0;
	pg_bound(o, l, v, code);
	if (o->bounds != 0xff)
		o->bounds++;
	return length;
}

/* Returns where the statement's name is. */
static __always_inline u32 pg_parse(struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 length)
{
	u32 end = 5 + PG_NAME < length ? 5 + PG_NAME : length;

	if (end > l->have && l7_find(l, 5, 0) >= l->have && l7_can_wait(l))
		return 0;
	h->a = pg_name(l, v, 5);
	h->b = length - 5;
	h->phase = PG_IN_NAME;
	return 5;
}

/* Passes what follows a message and begins nothing, up to a Sync; returns where that ends. */
static __always_inline u32 pg_pass(struct l7_conn *c, struct l7_look *l, u32 at)
{
	struct pg *o = pg_of(c);
	u8 tag = 0;

	for (int i = 0; i < 10; i++) {
		if (at + 5 > l->have)
			break;
		u32 n = pg_message(l, at, PG_ASKS_MORE);
		tag = l7_byte(l, at);
		if (tag == 'S')
			break;
		if (tag == 'E' && o->bounds) {
			o->bounds--;
			n = pg_message(l, at, PG_ASKS);
		}
		if (!n)
			break;
		at += n;
	}
	if (tag != 'S' || at + 5 > l->have || !pg_message(l, at, PG_ASKS))
		return at;
	pg_mark(o, o->executes, false);
	o->executes = 0;
	o->bounds = 0;
	o->parsed = 0;
	return at + 5;
}

/* What stands at a message's beginning. Returns how much of it is judged; phase tells what is next. 0: wait, or lost. */
static __always_inline u32 pg_asks(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct pg *o = pg_of(c);
	u8 tag = l7_byte(l, 0);

	if (h->phase == PG_FRESH) {
		o->executes = 0;
		o->bounds = 0;
	}
	if (l->have < (tag ? 5 : 8))
		return 0;
	u32 n = tag ? pg_message(l, 0, PG_ASKS) : pg_startup(l);
	if (!n) {
		v->lost = 1;
		return 0;
	}
	h->phase = PG_READY;
	switch (tag) {
	case 0:
		o->asked += n == 8;
		return n;
	case 'Q':
		v->lost = n < 6; /* a text has a 0 at its end */
		h->a = 0;
		h->b = n - 5;
		h->phase = PG_IN_QUERY;
		return 5;
	case 'P':
		return pg_parse(h, l, v, n);
	case 'B':
		return pg_bind(o, l, v, n);
	case 'F':
		pg_mark(o, 0, true);
		pg_begins(l, v, PG_SIMPLE, SQL_NONE);
		return n;
	case 'E':
		if (!o->bounds) {
			pg_bound(o, l, v, o->bound);
			return n;
		}
	}
	return pg_pass(c, l, 0);
}

static __always_inline void postgres_asks(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 at = 0;

	if (h->phase <= PG_READY)
		at = sql_plain(v, pg_asks(c, h, l, v));
	if (h->phase == PG_IN_NAME)
		at = sql_plain(v, pg_past_name(h, l, v, at));
	u8 phase = h->phase & PG_PHASE;
	if ((phase == PG_IN_QUERY || phase == PG_IN_PARSE) && at < l->have)
		at = sql_plain(v, pg_text(c, h, l, v, at));
	if (at && h->phase == PG_READY)
		at = pg_pass(c, l, at);
	v->take = at;
}

/* ---- responses ---- */

/* The class of an error's SQLSTATE: field C, which follows the severity; 0 if it is not in sight. */
static __always_inline u16 pg_class(struct l7_look *l, u32 at)
{
	for (u32 i = 0; i < 48; i++) {
		if ((l7_word(l, at + i) & 0xffff) == 'C' << 8)
			return at + i + 4 <= l->have ? l7_be16(l, at + i + 2) : 0;
	}
	return 0;
}

static __always_inline void pg_ends(struct pg *o, struct l7_verdict *v, u16 status, u8 end)
{
	o->answered++;
	v->ends = 1;
	v->status = status;
	v->end = end;
}

static __always_inline void pg_completes(struct pg *o, struct pg_batch *b, struct l7_look *l, struct l7_verdict *v)
{
	/* What answers nothing that was seen is the core's to count. */
	if (!b->is_query && (o->answered < b->executes || (!b->marks && !l->waiting)))
		pg_ends(o, v, 0, L7_OK);
}

/* An error ends the execution it is of; those behind it are cancelled when the batch is over. One that is of no execution
 * is of a Parse or a Describe, or of the commit at a Sync; or of none at all, as when the server shuts down. */
static __always_inline void pg_fails(struct pg *o, struct pg_batch *b, struct l7_look *l, struct l7_verdict *v, u16 status)
{
	if (b->is_query) {
		if (!o->answered)
			pg_ends(o, v, status, L7_FAILED);
	} else if (o->answered < b->executes) {
		pg_ends(o, v, status, L7_FAILED);
	} else if (b->marks || o->parsed) {
		v->begins = 1;
		v->alone = 1;
		v->status = status;
		v->end = L7_FAILED;
		v->method = PG_EXECUTE;
		sql_name(l, v, o->last);
	}
}

/* The end of a batch or a Query, all of which is answered. */
static __always_inline void pg_over(struct pg *o, struct pg_batch *b, struct l7_verdict *v)
{
	if (b->is_query && !o->answered)
		pg_ends(o, v, 0, L7_OK);
	o->head += b->marks;
	o->passed += b->unmarked;
	o->answered = 0;
}

/* Whether executions of a batch will not be answered any more once it is over. */
static __always_inline bool pg_has_rest(struct pg *o, struct pg_batch *b, struct l7_look *l)
{
	return b->marks && !b->is_query && o->answered < b->executes && l->waiting;
}

/* After framing was lost: nothing that was asked before waits any more, so only the last batch is still to be answered. */
static __always_inline void pg_recover(struct pg *o, struct l7_look *l)
{
	struct pg_batch b;

	for (int i = 0; i < PG_MARKS; i++) {
		pg_front(o, l, &b);
		if (!b.marks || (u8)(o->head + b.marks) == o->tail)
			break;
		o->head += b.marks;
	}
	if (o->unmarked != o->passed)
		o->passed = o->unmarked - 1;
	o->answered = 0;
}

/* One byte answers a request for encryption; an old server's answer is an error. */
static __always_inline bool pg_encrypts(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v)
{
	struct pg *o = pg_of(c);
	u8 answer = l7_byte(l, 0);

	o->encryption++;
	if (answer == 'E')
		return false;
	v->take = 1;
	if (answer == 'S' || answer == 'G') {
		v->take = L7_FOREVER;
		v->becomes = L7_TLS;
		c->tls = L7_ENCRYPTED;
	} else if (answer != 'N') {
		v->lost = 1;
	}
	return true;
}

static __always_inline void postgres_answers(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct pg *o = pg_of(c);
	struct pg_batch b;
	u32 at = 0, n;
	u16 status;

	if (h->phase == PG_FRESH && o->began)
		pg_recover(o, l);
	h->phase = PG_READY;
	if (o->asked != o->encryption && pg_encrypts(c, l, v))
		return;
	for (int i = 0; i < 12; i++) {
		if (at + 5 > l->have)
			break;
		n = pg_message(l, at, PG_ANSWERS_MORE);
		if (!n)
			break;
		at += n;
	}
	at = sql_plain(v, at);
	v->take = at;
	o->began |= at > 0;
	if (at + 5 > l->have)
		return;
	n = pg_message(l, at, PG_ANSWERS);
	if (!n) {
		v->lost = !at;
		return;
	}
	o->began = 1;
	pg_front(o, l, &b);
	switch (l7_byte(l, at)) {
	case 'C': case 'I': case 's':
		pg_completes(o, &b, l, v);
		at += n;
		n = 0;
		/* What follows as a rule, in the same step. */
		if (at + 5 <= l->have && l7_byte(l, at) == 'Z' && !pg_has_rest(o, &b, l)) {
			n = pg_message(l, at, PG_ANSWERS);
			pg_over(o, &b, v);
		}
		break;
	case 'E':
		status = pg_class(l, at + 5);
		if (!status && at + n > l->have && (at || l7_can_wait(l)))
			return;
		pg_fails(o, &b, l, v, status);
		break;
	case 'Z':
		if (!pg_has_rest(o, &b, l)) {
			pg_over(o, &b, v);
			break;
		}
		if (!at) /* one after the other, without taking any bytes */
			pg_ends(o, v, 0, L7_CANCELLED);
		return;
	case 'W': /* replication goes both ways from here on, until the connection ends */
		if (at)
			return;
		if (l->waiting) {
			v->ends = 1;
			return;
		}
		v->becomes = L7_TCP;
		n = n < l->left ? l->left : n;
		break;
	}
	v->take = at + n;
}

static __always_inline void postgres_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	if (l->response)
		postgres_answers(c, h, l, v);
	else
		postgres_asks(c, h, l, v);
}

#endif
