/* SPDX-License-Identifier: Apache-2.0 */
/* The verb of an SQL text: which statement it is, and never a word of whoever wrote it. */
#ifndef YAGURA_L7_SQL_H
#define YAGURA_L7_SQL_H

#include "l7_scan.h"

/* Every statement of PostgreSQL, MySQL and MariaDB that is told apart, and the hash of its word (l7_word_hash; a test
 * computes them anew). The first 15 are those that programs prepare. */
#define SQL_VERBS(X)                                                                                                  \
	X(SELECT, 0xf4b2524f) X(INSERT, 0x5034f202) X(UPDATE, 0xf1fab975) X(DELETE, 0x96b80c93) X(WITH, 0xadacd28e)   \
	X(BEGIN, 0x65f41cf8) X(COMMIT, 0x5c07e4f5) X(ROLLBACK, 0x9c78fbf9) X(END, 0x1725f439) X(START, 0x660f27bb)    \
	X(SET, 0x3fd2d92b) X(SHOW, 0x253e19d7) X(CALL, 0xff7315ae) X(REPLACE, 0x24bc8691) X(MERGE, 0xa7d88759)        \
	X(ABORT, 0xb28d7edc) X(ALTER, 0x94e22d2a) X(ANALYSE, 0x24d42abb) X(ANALYZE, 0x2e3187bb)                       \
	X(BACKUP, 0xc5ba329c) X(BINLOG, 0xac43b048) X(CACHE, 0x4fa76794) X(CHANGE, 0xfa047c9b)                        \
	X(CHECK, 0x9cee4e72) X(CHECKPOINT, 0xbd94a667) X(CHECKSUM, 0x43bbbed8) X(CLONE, 0x590dedb5)                   \
	X(CLOSE, 0x62f17849) X(CLUSTER, 0x696d024f) X(COMMENT, 0x56f65649) X(COPY, 0x6e153241)                        \
	X(CREATE, 0x1f53edb5) X(DEALLOCATE, 0x8dd10a92) X(DECLARE, 0x1f8b63aa) X(DESC, 0x630986a0)                    \
	X(DESCRIBE, 0x1038aff1) X(DISCARD, 0x39dacb12) X(DO, 0xe95fe319) X(DROP, 0xd5bde15a)                          \
	X(EXECUTE, 0xe255deef) X(EXPLAIN, 0xdc745c9b) X(FETCH, 0x96a8e664) X(FLUSH, 0xfa3083de)                       \
	X(GET, 0xd1f194e1) X(GRANT, 0xc70ec407) X(HANDLER, 0x96c55c89) X(HELP, 0xc8e2c2b6)                            \
	X(IMPORT, 0xb95f5584) X(INSTALL, 0x82166a1d) X(KILL, 0xfaa222b0) X(LISTEN, 0x39b546d8)                        \
	X(LOAD, 0x9f4d2d04) X(LOCK, 0x2c39d50e) X(MOVE, 0x05607cdb) X(NOTIFY, 0xa5c2d83b)                             \
	X(OPTIMIZE, 0xae9d8b63) X(PREPARE, 0x38c5c57c) X(PURGE, 0x8fbf3eba) X(REASSIGN, 0x45a70ed7)                   \
	X(REFRESH, 0x314380c5) X(REINDEX, 0xc7fefee3) X(RELEASE, 0xf54b4d27) X(RENAME, 0xd2f0cd87)                    \
	X(REPAIR, 0x1804aec4) X(RESET, 0x61646b8f) X(RESIGNAL, 0xb44a10fc) X(RESTART, 0x23148a51)                     \
	X(REVOKE, 0x212bd88b) X(SAVEPOINT, 0x3868fad1) X(SECURITY, 0x36edcd89) X(SHUTDOWN, 0x57186376)                \
	X(SIGNAL, 0x81f62ef3) X(STOP, 0x97aafd64) X(TABLE, 0x25906206) X(TRUNCATE, 0x168e1cec)                        \
	X(UNINSTALL, 0xccd03361) X(UNLISTEN, 0xe20c2710) X(UNLOCK, 0xb571cebf) X(UPSERT, 0xe52b9f49)                  \
	X(USE, 0x887edc16) X(VACUUM, 0x456e8943) X(VALUES, 0x17edc795) X(XA, 0xd3e20d2d)

#define SQL_CODE(word, hash) SQL_IS_##word,
enum sql_code { SQL_NONE, SQL_VERBS(SQL_CODE) SQL_CODES };
#undef SQL_CODE

#define SQL_SPELLED(word, hash) #word,
static const char sql_words[128][16] __attribute__((aligned(8))) = {"", SQL_VERBS(SQL_SPELLED)};
#undef SQL_SPELLED

#define SQL_NAME 16     /* the name of a verb is its code and this */
#define SQL_COMMAND 128 /* the name of one of MySQL's commands is its number and this */
#define SQL_LIMIT 512   /* a verb that stands behind so many bytes of comments is not looked for */

static __always_inline u8 sql_code(u32 hash)
{
	switch (hash) {
#define SQL_CASE(word, hash) case hash: return SQL_IS_##word;
	SQL_VERBS(SQL_CASE)
#undef SQL_CASE
	}
	return SQL_NONE;
}

/* What stands before a verb, byte by byte: what kind a byte is of, and what state follows from it. 0 and 1 are blank: MySQL
 * has them before a text to which no attributes belong. */
enum sql_kind {
	SQL_OTHER, SQL_BLANK, SQL_LINE_END, SQL_SLASH, SQL_STAR, SQL_DASH, SQL_HASH, SQL_BANG, SQL_DIGIT, SQL_LETTER, SQL_M,
};
enum sql_state {
	SQL_START, SQL_SLASHED, SQL_OPENED, SQL_MARKED, SQL_COMMENTED, SQL_STARRED, SQL_DASHED, SQL_REMARKED, SQL_VERSION,
	SQL_WORD, SQL_NOTHING, /* the last two are ends: here begins a word, or what is none */
};

static const u8 sql_kinds[256] = {
	[0 ... 1] = SQL_BLANK, ['\t'] = SQL_BLANK, ['\n'] = SQL_LINE_END, ['\v' ... '\r'] = SQL_BLANK, [' '] = SQL_BLANK,
	['('] = SQL_BLANK, [';'] = SQL_BLANK, ['/'] = SQL_SLASH, ['*'] = SQL_STAR, ['-'] = SQL_DASH, ['#'] = SQL_HASH,
	['!'] = SQL_BANG, ['0' ... '9'] = SQL_DIGIT, ['A' ... 'L'] = SQL_LETTER, ['M'] = SQL_M, ['N' ... 'Z'] = SQL_LETTER,
	['a' ... 'z'] = SQL_LETTER,
};

/* The states that follow a state, four bits for each kind: one for all kinds, but for some. */
#define SQL_ALL(state) ((state) * 0x11111111111ull)
#define SQL_BUT(kind, from, to) ((u64)((from) ^ (to)) << 4 * (kind))
static const u64 sql_next[16] = {
	[SQL_START] = SQL_ALL(SQL_NOTHING) ^ SQL_BUT(SQL_BLANK, SQL_NOTHING, SQL_START) ^
		      SQL_BUT(SQL_LINE_END, SQL_NOTHING, SQL_START) ^ SQL_BUT(SQL_SLASH, SQL_NOTHING, SQL_SLASHED) ^
		      SQL_BUT(SQL_DASH, SQL_NOTHING, SQL_DASHED) ^ SQL_BUT(SQL_HASH, SQL_NOTHING, SQL_REMARKED) ^
		      SQL_BUT(SQL_LETTER, SQL_NOTHING, SQL_WORD) ^ SQL_BUT(SQL_M, SQL_NOTHING, SQL_WORD),
	[SQL_SLASHED] = SQL_ALL(SQL_NOTHING) ^ SQL_BUT(SQL_STAR, SQL_NOTHING, SQL_OPENED),
	[SQL_OPENED] = SQL_ALL(SQL_COMMENTED) ^ SQL_BUT(SQL_STAR, SQL_COMMENTED, SQL_STARRED) ^
		       SQL_BUT(SQL_BANG, SQL_COMMENTED, SQL_VERSION) ^ SQL_BUT(SQL_M, SQL_COMMENTED, SQL_MARKED),
	[SQL_MARKED] = SQL_ALL(SQL_COMMENTED) ^ SQL_BUT(SQL_STAR, SQL_COMMENTED, SQL_STARRED) ^
		       SQL_BUT(SQL_BANG, SQL_COMMENTED, SQL_VERSION),
	[SQL_COMMENTED] = SQL_ALL(SQL_COMMENTED) ^ SQL_BUT(SQL_STAR, SQL_COMMENTED, SQL_STARRED),
	[SQL_STARRED] = SQL_ALL(SQL_COMMENTED) ^ SQL_BUT(SQL_STAR, SQL_COMMENTED, SQL_STARRED) ^
			SQL_BUT(SQL_SLASH, SQL_COMMENTED, SQL_START),
	[SQL_DASHED] = SQL_ALL(SQL_NOTHING) ^ SQL_BUT(SQL_DASH, SQL_NOTHING, SQL_REMARKED),
	[SQL_REMARKED] = SQL_ALL(SQL_REMARKED) ^ SQL_BUT(SQL_LINE_END, SQL_REMARKED, SQL_START),
	/* Behind a comment's ! or M! is what servers of MySQL and MariaDB execute, but those that are older than the number says. */
	[SQL_VERSION] = SQL_ALL(SQL_COMMENTED) ^ SQL_BUT(SQL_BLANK, SQL_COMMENTED, SQL_VERSION) ^
			SQL_BUT(SQL_LINE_END, SQL_COMMENTED, SQL_VERSION) ^ SQL_BUT(SQL_DIGIT, SQL_COMMENTED, SQL_VERSION) ^
			SQL_BUT(SQL_STAR, SQL_COMMENTED, SQL_STARRED) ^ SQL_BUT(SQL_LETTER, SQL_COMMENTED, SQL_WORD) ^
			SQL_BUT(SQL_M, SQL_COMMENTED, SQL_WORD),
};

/* A text of which some can be seen. */
struct sql_text {
	u32 at, end; /* places in the look: what is judged already, and what can be seen */
	u32 state;   /* enum sql_state, of what is before at */
	u32 code;    /* enum sql_code, once it is known */
	bool whole;  /* it ends at end */
};

/* The same number, of which the verifier forgets what it knows: else it would walk what follows once for every way here. */
static __always_inline u32 sql_plain(struct l7_verdict *v, u32 number)
{
	volatile u32 *memory = &v->id;

	*memory = number;
	number = *memory;
	*memory = 0;
	return number;
}

/* Looks for the verb; false if more of the text must be seen. What is before at then needs not be seen again. */
static __always_inline bool sql_find(struct l7_look *l, struct l7_verdict *v, struct sql_text *s)
{
	u32 at = s->at, state = s->state, n;

	s->code = SQL_NONE;
	for (u32 i = 0; i < 128; i++) {
		if (at >= s->end)
			break;
		state = sql_next[state & 15] >> sql_kinds[l7_byte(l, at)] * 4 & 15;
		if (state >= SQL_WORD)
			break;
		at++;
	}
	at = sql_plain(v, at);
	state = sql_plain(v, state);
	s->at = at;
	s->state = state;
	if (state < SQL_WORD)
		return s->whole;
	if (state != SQL_WORD)
		return true;
	u32 hash = l7_word_hash(l, at, s->end - at, &n);
	if (n < L7_WORD_BYTES && at + n >= s->end && !s->whole) {
		s->state = SQL_START;
		return false;
	}
	s->code = sql_code(hash);
	return true;
}

static __always_inline void sql_spell(struct l7_look *l, struct l7_verdict *v, const char *word)
{
	u64 w[2];

	__builtin_memcpy(w, __builtin_assume_aligned(word, 8), sizeof(w));
	v->name_at = l7_spell(l, w[0], w[1]);
	v->name_length = l7_before(l7_equal(w[0], 0));
	if (v->name_length == 8)
		v->name_length += l7_before(l7_equal(w[1], 0));
}

/* Gives a verdict its name. */
static __always_inline void sql_name(struct l7_look *l, struct l7_verdict *v, u32 code)
{
	code &= 127;
	if (!code)
		return;
	v->name = SQL_NAME + code;
	sql_spell(l, v, sql_words[code]);
}

/* What verb a prepared statement has is kept in one byte for each: four bits of the verb, and four that tell statements
 * apart which have the same place. */
static __always_inline u8 sql_kept(u32 tag, u32 code) { return (tag & 15) << 4 | (code < 16 ? code : SQL_NONE); }
static __always_inline u8 sql_recalled(u8 kept, u32 tag) { return kept >> 4 == (tag & 15) ? kept & 15 : SQL_NONE; }

#endif
