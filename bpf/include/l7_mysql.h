/* SPDX-License-Identifier: Apache-2.0 */
/* MySQL and MariaDB. Each command that is answered is a request, from its packet to the last one of its results. Those that
 * are not (COM_QUIT, COM_STMT_CLOSE, COM_STMT_SEND_LONG_DATA) are none. How a result looks is told by what stands in it, not
 * by what client and server have agreed on, as that may not have been seen. */
#ifndef YAGURA_L7_MYSQL_H
#define YAGURA_L7_MYSQL_H

#include "l7_sql.h"

#define MY_LONG 0xffffff     /* length of a packet that goes on in the next one */
#define MY_FILE 0xfb         /* first byte of an answer that asks for a file */
#define MY_END 0xfe          /* first byte of a result's end */
#define MY_ERROR 0xff
#define MY_PROGRESS 0xffff   /* number of an error that is none: MariaDB tells how far it has come */
#define MY_LATEST 0xffffffff /* MariaDB's clients execute what they prepare before they know its number */

/* Bits of a server's status. */
enum { MY_MORE_RESULTS = 0x8, MY_CURSOR = 0x40 };

/* What a client can do: bits of its first packet. The others do not matter here. */
enum {
	MY_COMPRESS = 0x20, MY_PROTOCOL_41 = 0x200, MY_SSL = 0x800, MY_OPTIONAL_METADATA = 0x02000000, MY_ZSTD = 0x04000000,
};
#define MY_SHORTEST_OK 7
#define MY_SHORTEST_LOGIN 32 /* length of that packet if it only asks for encryption */

enum my_command {
	MY_COM_QUIT = 1, MY_COM_INIT_DB, MY_COM_QUERY, MY_COM_FIELD_LIST, MY_COM_STATISTICS = 0x09, MY_COM_PING = 0x0e, MY_COM_CHANGE_USER = 0x11,
	MY_COM_BINLOG_DUMP, MY_COM_TABLE_DUMP, MY_COM_PREPARE = 0x16, MY_COM_EXECUTE, MY_COM_LONG_DATA, MY_COM_CLOSE,
	MY_COM_FETCH = 0x1c, MY_COM_BINLOG_DUMP_GTID = 0x1e, MY_COM_BULK_EXECUTE = 0xfa,
};

/* How long a command's packet is: at least so long, or with MY_EXACT, just that. */
#define MY_EXACT 0x80
static const u8 my_lengths[256] = {
	[MY_COM_QUIT] = MY_EXACT | 1, [MY_COM_INIT_DB] = 1, [MY_COM_QUERY] = 1, [MY_COM_FIELD_LIST] = 2, [0x05 ... 0x06] = 1,
	[0x07] = 2, [0x08] = 1, [MY_COM_STATISTICS ... 0x0a] = MY_EXACT | 1, [0x0c] = MY_EXACT | 5, [0x0d ... MY_COM_PING] = MY_EXACT | 1,
	[MY_COM_CHANGE_USER] = 2, [MY_COM_BINLOG_DUMP] = 11, [MY_COM_TABLE_DUMP] = 1, [0x15] = 1, [MY_COM_PREPARE] = 1,
	[MY_COM_EXECUTE] = 10, [MY_COM_LONG_DATA] = 7, [MY_COM_CLOSE] = MY_EXACT | 5, [0x1a] = MY_EXACT | 5, [0x1b] = MY_EXACT | 3,
	[MY_COM_FETCH] = MY_EXACT | 9, [MY_COM_BINLOG_DUMP_GTID] = 11, [0x1f] = MY_EXACT | 1, [0x20] = 1, [MY_COM_BULK_EXECUTE] = 7,
};

/* What commands are called that execute no SQL; no verb of SQL is spelled like one of them. */
static const char my_words[32][16] __attribute__((aligned(8))) = {
	[MY_COM_INIT_DB] = "INIT_DB", [MY_COM_FIELD_LIST] = "FIELD_LIST", [0x05] = "CREATE_DB", [0x06] = "DROP_DB",
	[0x07] = "COM_REFRESH", [0x08] = "COM_SHUTDOWN", [MY_COM_STATISTICS] = "STATISTICS", [0x0a] = "PROCESS_INFO",
	[0x0c] = "PROCESS_KILL", [0x0d] = "DEBUG", [MY_COM_PING] = "PING", [MY_COM_CHANGE_USER] = "CHANGE_USER",
	[0x15] = "REGISTER_SLAVE", [MY_COM_PREPARE] = "STMT_PREPARE", [0x1a] = "STMT_RESET", [0x1b] = "SET_OPTION",
	[MY_COM_FETCH] = "STMT_FETCH", [0x1f] = "RESET_CONNECTION", /* all 16 bytes */
};

/* Where a half's next bytes stand: of requests, a packet or the text of one; of responses, a result's first packet, or what
 * follows it. Bits of phase above these four are the state of a text. */
enum my_phase {
	MY_FRESH, MY_READY, MY_TEXT,
	MY_NEXT,        /* the first packet of another result, or what follows a file or a part of a login */
	MY_COLUMNS,     /* so many definitions (a), then perhaps an end of them, and rows */
	MY_ROWS,
	MY_DEFINITIONS, /* of what was prepared: so many (a), and no rows */
};
#define MY_PHASE 15

enum { MY_CAN_COMPRESS = 1, MY_CAN_DO_WITHOUT_COLUMNS = 2 };

/* A connection's own state. Each part has one writer: requests and responses may be seen at the same time. */
#define MY_VERBS 32
struct my {
	/* written with requests */
	u8 preparing[4]; /* verbs of the last ones */
	u8 prepares;     /* how many there were */
	u8 last;         /* verb of the last one */
	u8 logins;       /* first packets of a session, or of its encrypted part */
	u8 files;        /* how many of those that were asked for have been sent */
	u8 can;          /* what the client can, of the two that matter: MY_CAN */
	u8 number;       /* of a command's last packet; that of its answer's first one is the next */
	/* written with responses */
	u8 prepared, welcomes; /* how many of these were answered */
	u8 asked;        /* files */
	u8 began;        /* a packet was understood */
	u8 verbs[MY_VERBS];
} __attribute__((may_alias));
_Static_assert(sizeof(struct my) <= sizeof(((struct l7_conn *)0)->own), "the connection's own state");

static __always_inline struct my *my_of(struct l7_conn *c) { return (struct my *)c->own; }

static __always_inline u32 my_length(struct l7_look *l, u32 at) { return l7_le32(l, at) & MY_LONG; }
static __always_inline u16 my_short(struct l7_look *l, u32 at) { return (u16)l7_word(l, at); }

/* ---- what begins a connection, or a direction ---- */

/* Whether a packet of that length may be a command's. */
static __always_inline bool my_is_command(u8 command, u32 length)
{
	u8 should = my_lengths[command];
	return should & MY_EXACT ? length == (should & 127u) : should && length >= should;
}

/* A client's first packet tells what it can do. All servers of this century know protocol 4.1. */
static __always_inline bool my_is_login(struct l7_look *l)
{
	u32 length = my_length(l, 0);
	u8 number = l7_byte(l, 3);

	return length >= MY_SHORTEST_LOGIN && length < 0x10000 && (number == 1 || number == 2) && l7_le32(l, 4) & MY_PROTOCOL_41;
}

static __always_inline bool my_is_greeting(struct l7_look *l)
{
	return !l7_byte(l, 3) && l7_byte(l, 4) == 10 && l7_range(l7_byte(l, 5), '0', '9') && my_length(l, 0) < 1024;
}

static __always_inline bool my_is_text(u32 word)
{
	return l7_range(word | L7_WORD(0, 0, 0, 0, 'x', 'x', 'x', 'x'), '\t', '~') == L7_HIGHS;
}

/* A session that is under way is told by a whole packet of few kinds: others begin like those of other protocols. */
static __always_inline bool my_is_request(struct l7_look *l)
{
	u8 command = l7_byte(l, 4);

	if (l7_byte(l, 3) || !my_is_command(command, my_length(l, 0)) || my_length(l, 0) + 4 != l->left)
		return false;
	if (command == MY_COM_QUERY || command == MY_COM_PREPARE) /* perhaps with the number of attributes in front */
		return l->left > 12 && my_is_text(l7_le32(l, l7_byte(l, 5) ? 5 : 7));
	if (command == MY_COM_EXECUTE) /* once, with few flags */
		return l7_le32(l, 10) == 1 && l7_byte(l, 9) < 16;
	return command == MY_COM_PING;
}

static __always_inline bool my_is_response(struct l7_look *l)
{
	u32 length = my_length(l, 0);
	u8 first = l7_byte(l, 4);

	if (my_is_greeting(l))
		return true;
	if (l7_byte(l, 3) != 1)
		return false;
	if (length == 1 && first && first < MY_FILE) /* the first column, of the catalog def */
		return l7_byte(l, 8) == 2 && l7_le32(l, 9) == (u32)L7_WORD(3, 'd', 'e', 'f', 0, 0, 0, 0);
	if (length + 4 != l->left)
		return false;
	return first == MY_ERROR ? length > 9 && l7_byte(l, 7) == '#' : !first && length >= 7;
}

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool mysql_is(struct l7_look *l)
{
	if (l->have < 5)
		return false;
	if (l->response)
		return l->have >= 11 && my_is_response(l);
	return (l->have >= 32 && my_is_login(l) && !l7_word(l, 13) && !l7_word(l, 21)) || my_is_request(l);
}

/* ---- requests ---- */

static __always_inline void my_login(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct my *o = my_of(c);
	u32 can = l7_le32(l, 4), length = my_length(l, 0);

	h->phase = MY_READY;
	o->logins++;
	o->can = can & (MY_COMPRESS | MY_ZSTD) ? MY_CAN_COMPRESS : 0;
	o->can |= can & MY_OPTIONAL_METADATA ? MY_CAN_DO_WITHOUT_COLUMNS : 0;
	v->take = 4 + length;
	if (can & MY_SSL && length == MY_SHORTEST_LOGIN) {
		v->take = L7_FOREVER;
		v->becomes = L7_TLS;
		c->tls = L7_ENCRYPTED;
	}
}

static __always_inline void my_begins(struct my *o, struct l7_look *l, struct l7_verdict *v, u8 command, u32 code)
{
	const char *word = my_words[command & 31];

	v->begins = 1;
	v->method = command;
	if (command < 32 && *word) {
		v->name = SQL_COMMAND + command;
		sql_spell(l, v, word);
	} else {
		sql_name(l, v, code);
	}
}

static __always_inline u8 my_verb(struct my *o, u32 id)
{
	return id == MY_LATEST ? o->last : sql_recalled(o->verbs[id & (MY_VERBS - 1)], id / MY_VERBS);
}

/* Looks for the verb of a text from a place on. Returns what is judged by that. */
static __always_inline u32 my_text(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	struct my *o = my_of(c);
	u32 rest = h->b;
	u8 command = h->a;
	struct sql_text s = {.at = at, .state = h->phase >> 4, .whole = rest <= l->have - at};

	s.end = s.whole ? at + rest : l->have;
	bool known = sql_find(l, v, &s);
	u32 past = (h->a >> 16) + s.at - at;
	if (!known && past < SQL_LIMIT && (s.at || l7_can_wait(l))) {
		h->phase = MY_TEXT | s.state << 4;
		h->a = command | past << 16;
		h->b = rest - (s.at - at);
		return s.at;
	}
	u32 code = past < SQL_LIMIT ? s.code : SQL_NONE;
	if (command == MY_COM_PREPARE) {
		o->preparing[o->prepares & 3] = code;
		o->prepares++;
		o->last = code;
	}
	my_begins(o, l, v, command, code);
	h->phase = MY_READY;
	return at + rest;
}

/* A packet that is no command: of a login, or of a command or a login that goes on. */
static __always_inline void my_continues(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	v->take = 4 + my_length(l, 0);
	if (h->phase == MY_READY)
		my_of(c)->number = l7_byte(l, 3);
	else if (l->have < 8)
		v->take = 0;
	else if (my_is_login(l))
		my_login(c, h, l, v);
	else
		v->lost = 1;
}

/* A command. Returns where its text begins, if that tells the verb. */
static __always_inline u32 my_asks(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct my *o = my_of(c);
	u32 length = my_length(l, 0);
	u8 command = l7_byte(l, 4);

	v->lost = !my_is_command(command, length);
	h->phase = MY_READY;
	o->number = 0;
	switch (command) {
	case MY_COM_QUERY: case MY_COM_PREPARE:
		h->a = command;
		h->b = length - 1;
		h->phase = MY_TEXT;
		return 5;
	case MY_COM_EXECUTE: case MY_COM_BULK_EXECUTE:
		if (l->have < 9)
			return 0;
		my_begins(o, l, v, command, my_verb(o, l7_le32(l, 5)));
		break;
	case MY_COM_QUIT: case MY_COM_LONG_DATA: case MY_COM_CLOSE:
		break;
	case MY_COM_BINLOG_DUMP: case MY_COM_BINLOG_DUMP_GTID: case MY_COM_TABLE_DUMP: /* an answer without an end */
		v->becomes = L7_TCP;
		v->take = l->left;
		break;
	default:
		my_begins(o, l, v, command, SQL_NONE);
	}
	if (v->take < 4 + length)
		v->take = 4 + length;
	return 0;
}

static __always_inline void mysql_asks(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct my *o = my_of(c);
	u32 at = 0;

	if (h->phase <= MY_READY) {
		if (l->have < 4)
			return;
		if (o->files != o->asked) { /* packets of a file, the last one empty */
			o->files += !my_length(l, 0);
			v->take = 4 + my_length(l, 0);
			return;
		}
		if (l7_byte(l, 3)) {
			my_continues(c, h, l, v);
			return;
		}
		if (l->have < 5)
			return;
		at = sql_plain(v, my_asks(c, h, l, v));
		if (h->phase == MY_READY)
			return;
	}
	if (at < l->have || !h->b)
		at = sql_plain(v, my_text(c, h, l, v, at));
	v->take = at;
}

/* ---- responses ---- */

static __always_inline void my_ends(struct my *o, struct l7_half *h, struct l7_verdict *v, u16 status, u8 end)
{
	h->phase = MY_READY;
	v->ends = 1;
	v->status = status;
	v->end = end;
}

/* How many bytes a number takes that begins with this one. */
static __always_inline u32 my_size(u8 first) { return first < 0xfc ? 1 : first == 0xfc ? 3 : first == 0xfd ? 4 : 9; }

/* The server's status in the packet at a place that ends a result: an OK, where it stands behind two numbers, or of five
 * bytes in older protocols. */
static __always_inline u32 my_status(struct l7_look *l, u32 at)
{
	if (my_length(l, at) == 5)
		return my_short(l, at + 7);
	at += 5 + my_size(l7_byte(l, at + 5));
	return my_short(l, at + my_size(l7_byte(l, at)));
}

/* Bytes of such a packet that have to be seen. */
#define MY_SEEN 25

/* The end of a result, or an error instead of it, at a place. Returns what is judged by that: 0 if more has to be seen. */
static __always_inline u32 my_result_ends(struct my *o, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	u32 length = my_length(l, at), end = length + 4 < MY_SEEN ? at + length + 4 : at + MY_SEEN, status;

	if (end > l->have)
		return 0;
	if (l7_byte(l, at + 4) == MY_ERROR) {
		if (my_short(l, at + 5) != MY_PROGRESS)
			my_ends(o, h, v, my_short(l, at + 5), L7_FAILED);
		else if (h->phase == MY_READY)
			h->phase = MY_NEXT;
		return at + 4 + length;
	}
	bool of_columns = h->phase == MY_COLUMNS && length == 5;
	status = my_status(l, at);
	if (of_columns && !(status & MY_CURSOR)) /* with a cursor, rows are fetched by other commands */
		h->phase = MY_ROWS;
	else if (!of_columns && status & MY_MORE_RESULTS)
		h->phase = MY_NEXT;
	else
		my_ends(o, h, v, 0, L7_OK);
	return at + 4 + length;
}

/* What a statement that is prepared is known by, and how many definitions follow. */
static __always_inline u32 my_prepared(struct my *o, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 length = my_length(l, 0), id = l7_le32(l, 5), waits = (u8)(o->prepares - o->prepared);

	if (l->have < 17 && l->have < length + 4)
		return 0;
	if (waits && waits <= 4)
		o->verbs[id & (MY_VERBS - 1)] = sql_kept(id / MY_VERBS, o->preparing[o->prepared & 3]);
	if (waits)
		o->prepared++;
	h->a = my_short(l, 9) + my_short(l, 11);
	if (o->can & MY_CAN_DO_WITHOUT_COLUMNS && length > 12 && !l7_byte(l, 16))
		h->a = 0;
	if (h->a)
		h->phase = MY_DEFINITIONS;
	else
		my_ends(o, h, v, 0, L7_OK);
	return length + 4;
}

/* How many columns a result has. One more byte says whether they are defined again: MySQL's stands in front, MariaDB's
 * behind. */
static __always_inline u32 my_columns(struct my *o, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 optional = o->can / MY_CAN_DO_WITHOUT_COLUMNS, length = my_length(l, 0);
	u32 at = 4 + optional, size = my_size(l7_byte(l, at)), end = at + size;
	u64 number = l7_word(l, at);
	bool defined = !optional || l7_byte(l, 4);

	if (length < 10 && l->have < 4 + length)
		return 0;
	/* Compared through memory: kernels to 6.1 else think of the way where it cannot be so, and find it wrong. */
	if (!l7_forget(l, end - 3 - length))
		defined = l7_byte(l, end++);
	v->lost = end != 4 + length || size > 3 || !(number & 0xff);
	h->a = !defined ? 0 : size == 1 ? number & 0xff : number >> 8 & 0xffff;
	h->phase = MY_COLUMNS;
	return 4 + length;
}

/* The first packet of a result. Returns what is judged by that: 0 if more has to be seen. */
static __always_inline u32 my_result(struct my *o, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 length = my_length(l, 0), command = l->waiting ? l->method : 0;
	u8 first = l7_byte(l, 4);

	if (command == MY_COM_PREPARE && !first)
		return my_prepared(o, h, l, v);
	if (command == MY_COM_STATISTICS && first != MY_ERROR) {
		my_ends(o, h, v, 0, L7_OK);
		return 4 + length;
	}
	if ((command == MY_COM_CHANGE_USER && first && first != MY_ERROR) || first == MY_FILE) {
		o->asked += first == MY_FILE;
		h->phase = MY_NEXT;
		return 4 + length;
	}
	if (first < MY_END && (first || length < MY_SHORTEST_OK))
		return my_columns(o, h, l, v);
	length = my_result_ends(o, h, l, v, 0);
	o->prepared += command == MY_COM_PREPARE && v->ends;
	return length;
}

/* Packets of a result behind its first one, from a place on: definitions, rows, and its end. Returns what is judged. */
static __always_inline u32 my_rows(struct my *o, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 at)
{
	u32 left = h->a, rows = 0, length;

	for (int i = 0; i < 24; i++) {
		u32 is_row = 1 - ((left + 0x7fffffff) >> 31); /* numbers instead of branches, for the verifier */
		u32 is_end = (l7_byte(l, at + 4) + 256u - MY_END) >> 8;
		barrier_var(is_row);
		barrier_var(is_end);
		length = my_length(l, at);
		if (at + 5 > l->have || length - 1 >= MY_LONG - 1 || is_row & is_end)
			break;
		rows += is_row;
		left -= 1 - is_row;
		at += 4 + length;
	}
	at = sql_plain(v, at);
	left = sql_plain(v, left);
	h->a = left;
	if (sql_plain(v, rows))
		h->phase = MY_ROWS;
	if (at + 5 > l->have)
		return at;
	length = my_length(l, at);
	if (length && length != MY_LONG && !left && l7_byte(l, at + 4) >= MY_END) {
		u32 end = my_result_ends(o, h, l, v, at);
		return end ? end : at;
	}
	if (at)
		return at;
	v->lost = !length; /* or else it goes on in the next packet */
	h->b = 1;
	h->a = left - (left > 0);
	if (!left)
		h->phase = MY_ROWS;
	return 4 + length;
}

/* Definitions of what was prepared; ends of their lists are not counted, and one may follow the last. */
static __always_inline u32 my_definitions(struct my *o, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 at = 0, left = h->a;

	for (int i = 0; i < 8; i++) {
		u32 length = my_length(l, at);
		if (!left || at + 5 > l->have || !length || length == MY_LONG)
			break;
		left -= l7_byte(l, at + 4) != MY_END;
		at += 4 + length;
	}
	h->a = left;
	v->lost = !at && l->have >= 5;
	if (!left)
		my_ends(o, h, v, 0, L7_OK);
	return at;
}

/* A packet that answers no command: a greeting, and what is said until somebody is logged in. */
static __always_inline bool my_welcomes(struct l7_conn *c, struct l7_look *l, struct l7_verdict *v)
{
	struct my *o = my_of(c);
	u8 first = l7_byte(l, 4);

	if (my_is_greeting(l) || (!l7_byte(l, 3) && first == MY_ERROR))
		return true;
	if (o->logins == o->welcomes)
		return false;
	if (!first || first == MY_ERROR)
		o->welcomes = o->logins;
	if (!first && o->can & MY_CAN_COMPRESS)
		v->becomes = L7_TCP;
	return true;
}

static __always_inline void mysql_answers(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	struct my *o = my_of(c);
	u32 length = my_length(l, 0), at = 0;

	if (h->phase == MY_FRESH && o->began) { /* framing was lost: nothing that was asked before waits any more */
		h->b = 0;
		o->prepared = o->prepares - (l->waiting && l->method == MY_COM_PREPARE);
	}
	if (l->have < 4)
		return;
	if (h->b) { /* a long packet goes on */
		h->b = length == MY_LONG;
		v->take = 4 + length;
		return;
	}
	if (l->have < 5)
		return;
	if (h->phase <= MY_READY) {
		v->lost = !length;
		if (l->have < 6 && length > 1)
			return;
		if (my_welcomes(c, l, v)) {
			h->phase = MY_READY;
			o->began = 1;
			v->take = v->becomes && l->left > 4 + length ? l->left : 4 + length;
			return;
		}
		if (l7_byte(l, 3) != (u8)(o->number + 1)) { /* an end of definitions that nobody has waited for */
			v->lost = h->phase == MY_FRESH || length != 5 || l7_byte(l, 4) != MY_END;
			v->take = 9;
			return;
		}
		h->phase = MY_READY;
		o->began = 1;
	}
	if (h->phase == MY_READY || h->phase == MY_NEXT) {
		if (l->waiting && (l->method == MY_COM_FETCH || l->method == MY_COM_FIELD_LIST)) {
			h->a = 0;
			h->phase = MY_ROWS;
		} else {
			at = sql_plain(v, my_result(o, h, l, v));
		}
	}
	if (h->phase == MY_DEFINITIONS && !at)
		at = my_definitions(o, h, l, v);
	else if (h->phase == MY_ROWS && !v->ends)
		at = my_rows(o, h, l, v, at);
	if (h->phase == MY_COLUMNS && !v->ends) {
		at = sql_plain(v, my_rows(o, h, l, v, at));
		if (h->phase == MY_ROWS && at && !v->ends) /* behind the definitions' end there may be rows in sight */
			at = my_rows(o, h, l, v, at);
	}
	v->take = at;
}

static __always_inline void mysql_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	if (l->response)
		mysql_answers(c, h, l, v);
	else
		mysql_asks(c, h, l, v);
}

#endif
