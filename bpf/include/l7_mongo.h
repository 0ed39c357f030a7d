/* SPDX-License-Identifier: Apache-2.0 */
/* MongoDB: OP_MSG, its predecessors as far as drivers still open a connection with them, and what is compressed. Messages
 * are answered in the order they were sent: drivers keep one in flight. */
#ifndef YAGURA_L7_MONGO_H
#define YAGURA_L7_MONGO_H

#include "l7_name.h"

enum mongo_op {
	MONGO_REPLY = 1,
	MONGO_UPDATE = 2001, MONGO_INSERT, MONGO_QUERY = 2004, MONGO_GET_MORE, MONGO_DELETE, MONGO_KILL_CURSORS,
	MONGO_COMPRESSED = 2012, MONGO_MSG,
};

#define MONGO_HEAD 16          /* length, id, id that is answered, operation */
#define MONGO_MAX (64u << 20)  /* servers take 48,000,000 bytes */
#define MONGO_WORD 24          /* no command that we know is longer */
#define MONGO_MORE_TO_COME 2   /* flag: no answer to this request is wanted; or after this reply comes another */
#define MONGO_REQUIRED 0xfffcu /* flags that a receiver has to know, and does not */

/* Where a half's next bytes stand in its message. */
enum { MONGO_START, MONGO_FLAGS, MONGO_KEY, MONGO_ELEMENT, MONGO_ERRMSG, MONGO_CODE };

/* What a reply does, in b of its half. */
enum { MONGO_ANSWERS, MONGO_CONTINUES, MONGO_STRAY };

/* In own of a connection: an id, with this if there is one. 0 is that of the last request that wants an answer, 3 that of the
 * last one before which nothing waited, and 1 that of the request which is being read, all written by who reads requests;
 * 2 that of the last reply if more come after it. */
#define MONGO_SEEN (1ull << 32)

/* Whether the hash of a name is that of a command. Others get no name, as anybody may send any word. A function of its own,
 * so that the verifier looks at all of them once. */
__noinline int mongo_is_command(u32 hash)
{
	switch (hash) {
	case 0xd7eafe15: /* abortTransaction */ case 0xfe021148: /* aggregate */ case 0x9bab73bc: /* authenticate */
	case 0x6b07f7bd: /* buildInfo */ case 0x933c5d50: /* buildinfo */ case 0xe9652105: /* bulkWrite */
	case 0x5cee191c: /* collMod */ case 0x09674259: /* collStats */ case 0xe95a7ba9: /* commitTransaction */
	case 0xf12c7bfd: /* compact */ case 0xb9af118e: /* connPoolStats */ case 0xc48211bf: /* connectionStatus */
	case 0x0040ffd2: /* count */ case 0x0d9ff749: /* create */ case 0x3d68392c: /* createIndexes */
	case 0x8bc2bbda: /* createRole */ case 0xe303b8b1: /* createUser */ case 0x17e59ee4: /* currentOp */
	case 0xc85bf2e2: /* dataSize */ case 0x170958a2: /* dbHash */ case 0xbc9f9eb0: /* dbStats */
	case 0xf70895a6: /* delete */ case 0x70cc3545: /* distinct */ case 0x918a3c8d: /* drop */
	case 0x837e96eb: /* dropDatabase */ case 0xd5a038a7: /* dropIndexes */ case 0x39576afb: /* dropRole */
	case 0x41fcf9f5: /* dropUser */ case 0xf8a76a33: /* endSessions */ case 0x4f4c7bf7: /* explain */
	case 0x47ed52c9: /* find */ case 0x1ac8e83e: /* findAndModify */ case 0x0012511f: /* findandmodify */
	case 0xb5a224e5: /* fsync */ case 0xe5b8eb68: /* fsyncUnlock */ case 0x3f5b3603: /* getCmdLineOpts */
	case 0xe11806ff: /* getLog */ case 0xebf5507b: /* getMore */ case 0x696fcc06: /* getParameter */
	case 0x177c72b3: /* getnonce */ case 0x2550d472: /* getLastError */ case 0x2f8f9cb0: /* getlasterror */
	case 0x60373c42: /* grantRolesToUser */ case 0xb8c23efc: /* hello */ case 0x97b38bbd: /* hostInfo */
	case 0x3ab31216: /* insert */ case 0x968fd928: /* isMaster */ case 0x9e554e9a: /* ismaster */
	case 0x6f9dd49f: /* isdbgrid */ case 0x9994cb0f: /* killAllSessions */ case 0x381d2590: /* killCursors */
	case 0xa9b5f63a: /* killOp */ case 0x38a1981c: /* killSessions */ case 0x246f5cc4: /* listCollections */
	case 0x05dc3440: /* listCommands */ case 0x8ab8344d: /* listDatabases */ case 0x73089b18: /* listIndexes */
	case 0xac2cfb0f: /* listShards */ case 0x24eaf70d: /* logout */ case 0xe540ab2b: /* logRotate */
	case 0x0a4c47da: /* mapReduce */ case 0xdb00e1c8: /* mapreduce */ case 0x55bf8df5: /* moveChunk */
	case 0xe89ee67b: /* ping */ case 0x343cd800: /* profile */ case 0x722af8cf: /* reIndex */
	case 0x006a0b27: /* refreshSessions */ case 0x92105315: /* renameCollection */
	case 0x7e2c3060: /* replSetFreeze */ case 0x0fb7922e: /* replSetGetConfig */
	case 0x35218476: /* replSetGetStatus */ case 0x48ff8dee: /* replSetHeartbeat */
	case 0x9126e9e6: /* replSetInitiate */ case 0xe0e0798f: /* replSetReconfig */
	case 0x2319ca14: /* replSetRequestVotes */ case 0xab109fd6: /* replSetStepDown */
	case 0x5f591da0: /* replSetUpdatePosition */ case 0x1cd5ac50: /* revokeRolesFromUser */
	case 0x693ac21c: /* rolesInfo */ case 0x12c8ded3: /* saslContinue */ case 0x40351146: /* saslStart */
	case 0x31f6850e: /* serverStatus */ case 0x53191427: /* setParameter */ case 0xa9a5aefe: /* shardCollection */
	case 0x7018c1aa: /* shutdown */ case 0x96e25b01: /* startSession */ case 0x42af1251: /* top */
	case 0x4b86db81: /* update */ case 0xf743d553: /* updateUser */ case 0x2fab8973: /* usersInfo */
	case 0x0a2df2a8: /* validate */ case 0x13c2aded: /* whatsmyuri */
		return 1;
	}
	return 0;
}

static __always_inline bool mongo_is_request(u32 op)
{
	return op == MONGO_MSG || op == MONGO_COMPRESSED || op == MONGO_UPDATE || op == MONGO_INSERT ||
	       (op >= MONGO_QUERY && op <= MONGO_KILL_CURSORS);
}

static __always_inline bool mongo_is_reply(u32 op)
{
	return op == MONGO_MSG || op == MONGO_COMPRESSED || op == MONGO_REPLY;
}

/* Whether the header of a message begins here that may come in this direction. */
static __always_inline bool mongo_is_head(struct l7_look *l)
{
	u32 length = l7_le32(l, 0), op = l7_le32(l, 12);

	if (length < MONGO_HEAD + 9 || length > MONGO_MAX)
		return false;
	return l->response ? mongo_is_reply(op) : l7_le32(l, 8) == 0 && mongo_is_request(op);
}

/* Whether a connection's first bytes of a direction are of this protocol. A server reads the header alone at first. */
static __always_inline bool mongo_is(struct l7_look *l)
{
	u32 length = l7_le32(l, 0), flags = l7_le32(l, 16), document = l7_le32(l, 21);

	if (l->have < MONGO_HEAD || !mongo_is_head(l))
		return false;
	if (l->response) /* by its operation alone nothing is a reply: one document has to fill it, with a checksum or without */
		return l->have >= 25 && l7_le32(l, 12) == MONGO_MSG && !(flags & MONGO_REQUIRED) && !l7_byte(l, 20) &&
		       (length == document + 21 || length == document + 25);
	if (l->have < 25 || l7_le32(l, 12) != MONGO_MSG)
		return true;
	return !(flags & MONGO_REQUIRED) && l7_byte(l, 20) <= 1 && document >= 4 && document <= length - 21;
}

/* Judges what stands before at, and goes on there once more can be seen. If at is 0 that means to wait. */
static __always_inline void mongo_pause(struct l7_half *h, struct l7_verdict *v, u32 total, u32 at, u8 phase)
{
	h->a = total - at;
	h->phase = phase;
	v->take = at;
}

/* ---- requests ---- */

static __always_inline void mongo_begins(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, bool one_way)
{
	h->phase = MONGO_START;
	v->take = total;
	v->begins = 1;
	v->alone = one_way;
	v->end = one_way ? L7_ONE_WAY : L7_OK;
	if (one_way)
		return;
	c->own[0] = c->own[1];
	if (!l->waiting)
		c->own[3] = c->own[1];
}

/* The first key of a command's document is what it is called. */
static __always_inline void mongo_command(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 at)
{
	u32 end = total < l->have ? total : l->have, n = 0;
	u64 hash = 0;

	for (u32 i = 0; i <= MONGO_WORD; i += 8) {
		u64 w = l7_word(l, at + i);
		u32 k = l7_before(l7_equal(w, 0));
		hash = l7_mix(hash, l7_first(w, k));
		n += k;
		if (k < 8)
			break;
	}
	if (at + n >= end && end < total && end - at <= MONGO_WORD) {
		mongo_pause(h, v, total, at, MONGO_KEY);
		return;
	}
	if (at + n < end && mongo_is_command(l7_mixed(hash))) {
		v->name = l7_mixed(hash);
		v->name_at = at;
		v->name_length = n;
	}
	mongo_begins(c, h, l, v, total, h->b);
}

/* The flags and whatever is before the first key: in OP_QUERY the collection, which is admin.$cmd for a command that any
 * driver sends. */
static __always_inline void mongo_flags(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 at)
{
	bool query = h->b == MONGO_QUERY;
	u32 fixed = query ? 28 : 10, flags = l7_le32(l, at), document = l7_le32(l, at + fixed - 5);
	u8 kind = query ? 0 : l7_byte(l, at + 4);

	if (total - at < fixed + 2) { /* no room for a key */
		mongo_begins(c, h, l, v, total, false);
		return;
	}
	if (l->have < at + fixed) {
		mongo_pause(h, v, total, at, MONGO_FLAGS);
		return;
	}
	h->b = !query && flags & MONGO_MORE_TO_COME;
	if (kind == 1 || (query && (l7_word(l, at + 4) != L7_WORD('a', 'd', 'm', 'i', 'n', '.', '$', 'c') || l7_byte(l, at + 14)))) {
		mongo_begins(c, h, l, v, total, h->b);
		return;
	}
	if (kind || (!query && flags & MONGO_REQUIRED) || document < 5 || document > total - at) {
		v->lost = 1;
		return;
	}
	mongo_command(c, h, l, v, total, at + fixed);
}

static __always_inline void mongo_request(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 at)
{
	u32 op = h->b;

	if (h->phase == MONGO_KEY) {
		mongo_command(c, h, l, v, total, at);
		return;
	}
	if (at)
		c->own[1] = MONGO_SEEN | l7_le32(l, 4);
	if (op == MONGO_MSG || op == MONGO_QUERY)
		mongo_flags(c, h, l, v, total, at);
	else /* what is compressed does not say whether an answer is wanted: it mostly is */
		mongo_begins(c, h, l, v, total, op != MONGO_COMPRESSED && op != MONGO_GET_MORE);
}

/* ---- replies ---- */

static __always_inline void mongo_ends(struct l7_half *h, struct l7_verdict *v, u32 total, u16 status, u8 end)
{
	h->phase = MONGO_START;
	v->take = total;
	v->ends = h->b != MONGO_CONTINUES;
	v->id = h->b == MONGO_STRAY; /* which no request has */
	v->status = status;
	v->end = end;
}

/* Servers answer a request for many replies with the first; each of the others answers the one before. A reply that does
 * not answer the only request that waits is to one that we have not seen. */
static __always_inline u8 mongo_answers(struct l7_conn *c, struct l7_look *l)
{
	u64 to = MONGO_SEEN | l7_le32(l, 8);

	if (c->own[2] == to && c->own[0] != to)
		return MONGO_CONTINUES;
	return l->waiting && c->own[0] == c->own[3] && c->own[0] != to ? MONGO_STRAY : MONGO_ANSWERS;
}

/* A failed command's reply begins with {ok: 0.0, errmsg: "…", code: 26, …}. */
static __always_inline void mongo_error(struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 at)
{
	if (h->phase == MONGO_ELEMENT) {
		if (total - at < 12) {
			mongo_ends(h, v, total, 0, L7_OK);
			return;
		}
		if (l->have < at + 12) {
			mongo_pause(h, v, total, at, MONGO_ELEMENT);
			return;
		}
		if ((u32)l7_word(l, at) != (u32)L7_WORD(1, 'o', 'k', 0, 0, 0, 0, 0) || l7_word(l, at + 4)) {
			mongo_ends(h, v, total, 0, L7_OK);
			return;
		}
		at += 12;
		h->phase = MONGO_ERRMSG;
	}
	if (h->phase == MONGO_ERRMSG) {
		u32 length = l7_le32(l, at + 8);
		if (total - at >= 12 && l->have < at + 12) {
			mongo_pause(h, v, total, at, MONGO_ERRMSG);
			return;
		}
		if (total - at < 12 || l7_word(l, at) != L7_WORD(2, 'e', 'r', 'r', 'm', 's', 'g', 0) || length > total - at - 12) {
			mongo_ends(h, v, total, 0, L7_FAILED);
			return;
		}
		at += 12 + length;
		h->phase = MONGO_CODE;
	}
	if (total - at >= 10 && l->have < at + 10) {
		mongo_pause(h, v, total, at, MONGO_CODE);
		return;
	}
	bool code = total - at >= 10 && (l7_word(l, at) & 0xffffffffffffull) == L7_WORD(16, 'c', 'o', 'd', 'e', 0, 0, 0);
	mongo_ends(h, v, total, code ? l7_le32(l, at + 6) : 0, L7_FAILED);
}

static __always_inline void mongo_reply(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v, u32 total, u32 at)
{
	if (at) { /* a header has just been read: its operation is in b */
		u32 op = h->b;
		h->b = mongo_answers(c, l);
		c->own[2] = l7_le32(l, 4);
		if (op == MONGO_COMPRESSED) { /* more may come */
			c->own[2] |= MONGO_SEEN;
			mongo_ends(h, v, total, 0, L7_OK);
			return;
		}
		h->b |= op == MONGO_REPLY ? 0x100 : 0;
	}
	if (h->phase == MONGO_FLAGS) {
		bool old = h->b & 0x100;
		u32 fixed = total - at < (old ? 24 : 9) + 12 ? 4 : old ? 24 : 9, flags = l7_le32(l, at);
		if (l->have < at + fixed) {
			mongo_pause(h, v, total, at, MONGO_FLAGS);
			return;
		}
		h->b &= 0xff;
		if (!old && flags & MONGO_REQUIRED) {
			v->lost = 1;
			return;
		}
		if (!old && flags & MONGO_MORE_TO_COME)
			c->own[2] |= MONGO_SEEN;
		if (old && flags & 3) { /* the cursor is not found, or the query failed */
			mongo_ends(h, v, total, 0, L7_FAILED);
			return;
		}
		at += fixed;
		h->phase = MONGO_ELEMENT;
	}
	mongo_error(h, l, v, total, at);
}

static __always_inline void mongo_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	u32 total = h->a, at = 0;

	if (h->phase == MONGO_START) {
		if (l->have < MONGO_HEAD)
			return;
		if (!mongo_is_head(l)) {
			v->lost = 1;
			return;
		}
		total = l7_le32(l, 0);
		at = MONGO_HEAD;
		h->b = l7_le32(l, 12);
		h->phase = MONGO_FLAGS;
	}
	if (l->response)
		mongo_reply(c, h, l, v, total, at);
	else
		mongo_request(c, h, l, v, total, at);
}

#endif
