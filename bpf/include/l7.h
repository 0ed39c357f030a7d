/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection's bytes mean: the part that knows no kernel. Parsers say what stands at a place of a stream; this turns
 * it into requests that begin and end. All of it also compiles natively, for tests and fuzzing (bpf/native). */
#ifndef YAGURA_L7_H
#define YAGURA_L7_H

#ifdef L7_NATIVE
#include "native.h"
#else
#include "helpers.h"
#endif

#define L7_WINDOW 512 /* bytes that a parser sees at once, a power of two */
#define L7_SPARE 64   /* behind it, so that a word may be read at every place of it */
#define L7_CARRY 32   /* bytes of a header that wait for its rest */
#define L7_DEPTH 16   /* kinds of requests that wait on one connection, a power of two */
#define L7_PARTS 16   /* buffers of one call, a power of two */
#define L7_STEPS 2048 /* messages of one call, or parts of them: one of 64 KB may hold thousands of small ones */
#define L7_FOREVER (~0ull) /* as many bytes as come until the connection ends */

/* How a system call moves bytes. */
enum l7_kind {
	L7_IGNORED,
	L7_RECEIVES, L7_RECEIVES_VECTOR, L7_RECEIVES_MESSAGE, L7_RECEIVES_MANY, L7_RECEIVES_FILE,
	L7_SENDS, L7_SENDS_VECTOR, L7_SENDS_MESSAGE, L7_SENDS_MANY, L7_SENDS_FILE,
	L7_SPLICES,
};

/* One direction of a connection. What has no comment belongs to the parser, and is 0 at first. */
struct l7_half {
	u64 skip;     /* bytes still to come that are judged already */
	u64 body;     /* bytes of the response's body so far */
	u32 a, b;
	u16 status;   /* of the response that ends when skip is 0 */
	u8 end;       /* enum l7_end of it */
	u8 ending;    /* there is such a response */
	u8 phase;
	u8 carried;   /* bytes in carry */
	u8 lost;      /* where messages begin is unknown */
	u8 reserved;
	u8 carry[L7_CARRY];
};

/* Requests that wait for their responses: count of them, which came at once and are called the same. */
struct l7_pending {
	u64 ns;
	u64 sizes[2]; /* bytes of bodies: of all of the requests, and of the response when it is over */
	u32 name;
	u16 count;
	u8 method, protocol;
};

enum l7_tls { L7_PLAIN, L7_ENCRYPTED, L7_DECRYPTED /* seen by a library's probes */, L7_IN_KERNEL /* the kernel's own TLS */ };

struct l7_conn {
	u64 identity;         /* ports and addresses: an address of the kernel may be used again */
	u64 born, last;       /* ns since boot */
	u64 requests, failures, bytes[2]; /* bytes: received, sent */
	u64 own[6];           /* the parser's */
	u32 slot, generation, peer_slot, peer_generation;
	u32 pid, text_name;   /* text_name: the name that text spells */
	u32 admitted, ns_net; /* admitted: a name that is told apart for sure */
	u32 streams;          /* requests with an id that have not ended */
	u8 shifted, barrier, barred, reserved; /* responses were lost; what is before barrier in queue will not be answered */
	u8 protocol, role, direction, tries; /* direction: 1 response, 0 request, 2 none yet */
	u8 tls, joined;
	u8 head, tail;        /* of queue: head only moves by responses, tail only by requests */
	u8 text_length, traced;
	u16 local_port, remote_port, family;
	struct l7_half half[2]; /* requests, responses */
	struct l7_pending queue[L7_DEPTH];
	u8 local[16], remote[16];
	char text[L7_TEXT];
	char trace[32];
};

/* What a parser is shown: bytes from a place where it said that something begins. Behind have, bytes are not of this
 * stream, but may be read up to L7_WINDOW + L7_SPARE. */
struct l7_look {
	u8 bytes[L7_WINDOW + L7_SPARE];
	u32 have;
	u32 method;    /* of the oldest request that waits: HEAD has no body in its response */
	u64 left;      /* bytes from the place to the end of this call; at least have */
	bool response; /* the direction */
	bool waiting;  /* a request waits */
};

/* What it says. All 0 means: I need more bytes to say anything. Without take, but with ends, the oldest request is over
 * though no bytes tell so, and the same look comes again. */
struct l7_verdict {
	u64 take;     /* bytes that are judged by this, and may be more than are left; L7_FOREVER */
	u64 body;     /* how many of them are body, of HTTP/1; of L7_FOREVER those that are left */
	u32 id;       /* of the stream or message, where responses come in any order; 0 for first in, first out */
	u32 name;     /* hash of the name (l7_hash), L7_NONE */
	u16 status, name_at, name_length, trace_at; /* places in the look; trace_at: 32 hexadecimal digits, 0 for none */
	u8 begins;    /* requests that begin here: 0 or 1 */
	u8 ends;      /* responses that end with the last byte that is taken */
	u8 notes;     /* the status belongs to the request of this id, which does not end here */
	u8 lost;      /* this is not what the protocol allows */
	u8 method, end;
	u8 becomes;   /* protocol from now on, 0 for no change */
	u8 alone;     /* what begins and ends here at once is not in the queue: one-way requests, deliveries */
	u8 protocol;  /* of a request with an id, where it is not the connection's; 0 */
};

/* Reading with a bound that the verifier sees. */
static __always_inline u8 l7_byte(struct l7_look *l, u32 at) { return l->bytes[at & (L7_WINDOW - 1)]; }
static __always_inline u64 l7_load(u8 *from)
{
#ifdef L7_NATIVE
	u64 w;
	__builtin_memcpy(&w, from, 8);
	return w;
#else
	/* For the kernel a copy of what may not be aligned would become 22 instructions, byte by byte. */
	return *(u64 *)from;
#endif
}
static __always_inline u64 l7_word(struct l7_look *l, u32 at) { return l7_load(l->bytes + (at & (L7_WINDOW - 1))); }
static __always_inline u32 l7_be32(struct l7_look *l, u32 at)
{
	return (u32)l7_byte(l, at) << 24 | (u32)l7_byte(l, at + 1) << 16 | (u32)l7_byte(l, at + 2) << 8 | l7_byte(l, at + 3);
}
static __always_inline u16 l7_be16(struct l7_look *l, u32 at) { return (u16)(l7_byte(l, at) << 8 | l7_byte(l, at + 1)); }
static __always_inline u32 l7_le32(struct l7_look *l, u32 at) { return (u32)l7_word(l, at); }

/* Eight bytes in the order of the text, as l7_word reads them on a little-endian machine. */
#define L7_WORD(a, b, c, d, e, f, g, h)                                                                               \
	((u64)(u8)(a) | (u64)(u8)(b) << 8 | (u64)(u8)(c) << 16 | (u64)(u8)(d) << 24 | (u64)(u8)(e) << 32 |            \
	 (u64)(u8)(f) << 40 | (u64)(u8)(g) << 48 | (u64)(u8)(h) << 56)

/* FNV-1a, 32 bits, of bytes given one by one; never L7_NONE or L7_OTHER. */
#define L7_HASH_BASIS 2166136261u
static __always_inline u32 l7_hash_byte(u32 hash, u8 byte) { return (hash ^ byte) * 16777619u; }
static __always_inline u32 l7_hash_end(u32 hash) { return hash <= L7_OTHER ? 2 : hash; }

#endif
