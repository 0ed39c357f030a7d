/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers as a program: it reads what each side of a connection sends, and writes what they make of it. See
 * bpf/native_test.go, which speaks to it, for the lines. With FUZZ it is a target of libFuzzer instead. */
#define L7_NATIVE
#include <stdio.h>
#include <stdlib.h>
#include "../include/l7_parsers.h"

static const char *protocols[L7_PROTOCOLS] = {"unknown", "tcp", "tls", "http", "http2", "grpc", "postgres", "mysql", "redis",
	"memcached", "mongo", "kafka", "amqp", "nats", "dns"};
static const char *ends[L7_ENDS] = {"ok", "failed", "closed", "cancelled", "one_way"};
static const char *reasons[L7_REASONS] = {"no_request", "lost_framing", "queue_merged", "no_room", "header_table"};

static struct l7_run run;
static struct l7_conn conn;
static struct l7_hpack hpack;
static bool tableless, weighing;
static u64 now;
static bool quiet;

#define STREAMS 256
static struct stream {
	struct l7_pending p;
	u32 id;
	u16 status;
	u8 used;
	u8 text_length;
	char text[L7_TEXT];
} streams[STREAMS];

/* Names that have been told, as the kernel's table of them. */
static struct name {
	u32 hash;
	char text[L7_TEXT + 1];
} names[4096];
static int name_count;

static void say_name(u32 hash)
{
	if (hash == L7_NONE) {
		printf("-");
		return;
	}
	for (int i = 0; i < name_count; i++)
		if (names[i].hash == hash) {
			printf("%s", names[i].text);
			return;
		}
	printf("?%08x", hash);
}

static void say_text(u32 hash, const char *text, u32 length)
{
	for (int i = 0; i < name_count; i++)
		if (names[i].hash == hash)
			return;
	if (name_count == 4096)
		return;
	struct name *n = &names[name_count++];
	n->hash = hash;
	for (u32 i = 0; i < length && i < L7_TEXT; i++)
		if (text[0])
			n->text[i] = text[i] > 32 && text[i] < 127 ? text[i] : '.';
		else if (2 * i + 2 < sizeof(n->text)) /* a binary protocol's: numbers */
			sprintf(n->text + 2 * i, "%02x", (u8)text[i]);
}

static __always_inline long l7_copy(void *to, u32 n, u64 from)
{
	if (!from)
		return -1;
	memcpy(to, (void *)(unsigned long)from, n);
	return 0;
}

static __always_inline void l7_advance_rest(struct l7_run *r, u64 n) { l7_advance_parts(r, n); }

static __always_inline void l7_fill_rest(struct l7_run *r, u32 window) { l7_fill_parts(r, window); }

#define L7_CALL(name) name##_look(c, h, &r->look, &r->verdict)

static __always_inline void l7_parse(u32 set, struct l7_run *r, struct l7_conn *c, struct l7_half *h)
{
	u32 protocol = c->protocol;

	l7_call_parser(set, protocol, &r->verdict);
}

static __always_inline u8 l7_classify_look(struct l7_run *r) { return l7_classify(&r->look); }

static __always_inline void l7_unmatched(u8 protocol, u8 reason)
{
	if (!quiet)
		printf("unmatched %s %s\n", protocols[protocol], reasons[reason]);
}

static __always_inline void l7_finish(struct l7_run *r, struct l7_conn *c, struct l7_pending *p, u16 status, u8 end)
{
	(void)r;
	end = http2_ended(c, p->protocol, status, end);
	c->requests++;
	if (end != L7_OK && end != L7_ONE_WAY)
		c->failures++;
	if (quiet)
		return;
	printf("%s method=%u status=%u %s %llu ns ", protocols[p->protocol], p->method, status, ends[end], now - p->ns);
	say_name(p->name);
	if (weighing)
		printf(" %llu and %llu bytes", p->sizes[0], p->sizes[1]);
	printf("\n");
}

static __always_inline void l7_named(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	u32 n = v->name_length > L7_TEXT ? L7_TEXT : v->name_length;
	for (u32 i = 0; i < n; i++)
		c->text[i] = l7_byte(&r->look, v->name_at + i);
	c->text_length = n;
	c->text_name = v->name;
	if (v->trace_at) {
		for (u32 i = 0; i < 32; i++)
			c->trace[i] = l7_byte(&r->look, v->trace_at + i);
		c->traced = 1;
		if (!quiet && c->protocol == L7_HTTP2)
			printf("trace %.32s\n", c->trace);
	}
	if (!quiet)
		say_text(v->name, c->text, n);
}

static __always_inline struct l7_hpack *l7_hpack_of(struct l7_run *r, struct l7_conn *c)
{
	(void)r;
	(void)c;
	return tableless ? NULL : &hpack;
}

static struct stream *find(u32 id)
{
	for (int i = 0; i < STREAMS; i++)
		if (streams[i].used && streams[i].id == id)
			return &streams[i];
	return NULL;
}

static __always_inline void l7_stream_begins(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	struct stream *s = find(v->id);
	for (int i = 0; !s && i < STREAMS; i++)
		if (!streams[i].used)
			s = &streams[i];
	if (!s) {
		l7_unmatched(c->protocol, L7_NO_ROOM);
		return;
	}
	memset(s, 0, sizeof(*s));
	s->p = (struct l7_pending){.ns = r->now, .name = v->name, .count = 1, .method = v->method, .protocol = v->protocol ? v->protocol : c->protocol};
	s->id = v->id;
	s->status = v->status;
	s->used = 1;
}

static __always_inline void l7_stream_noted(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v)
{
	struct stream *s = find(v->id);
	(void)r;
	(void)c;
	if (s)
		http2_note(v, &s->p.protocol, &s->status);
}

static __always_inline bool l7_stream_take(struct l7_run *r, struct l7_conn *c, struct l7_verdict *v, struct l7_pending *p, u16 *status)
{
	struct stream *s = find(v->id);
	(void)r;
	if (!s) {
		if (v->end != L7_CANCELLED) /* what is reset may have ended before */
			l7_unmatched(c->protocol, L7_NO_REQUEST);
		return false;
	}
	*p = s->p;
	if (v->notes || !v->status)
		*status = s->status;
	s->used = 0;
	return true;
}

static void feed(bool response, u64 parts[][2], int n, u64 total)
{
	memset(&run, 0, sizeof(run));
	memset(run.look.bytes, 0xAA, sizeof(run.look.bytes)); /* what is not of this stream */
	run.now = now;
	run.response = response;
	run.left = total;
	if (n) {
		run.base = parts[0][0];
		run.length = parts[0][1];
		run.part_count = n - 1;
		for (int i = 1; i < n; i++) {
			run.parts[i - 1][0] = parts[i][0];
			run.parts[i - 1][1] = parts[i][1];
		}
	}
	l7_turn(&run, &conn);
	l7_recognise(&run, &conn);
	if (conn.protocol == L7_TCP)
		l7_exchange(&run, &conn);
	if (conn.protocol <= L7_TLS || conn.half[response].lost)
		return;
	for (int i = 0; i < L7_STEPS; i++)
		if (!l7_step(~0u, l7_window(conn.protocol), &run, &conn))
			return;
	l7_lose(&conn, &conn.half[response]);
}

static void close_connection(void)
{
	struct l7_half *h = &conn.half[1];
	struct l7_pending p;

	run.now = now;
	if (l7_lasts(h) && l7_pop(&conn, &p)) {
		p.sizes[1] = h->body;
		l7_finish(&run, &conn, &p, h->status, h->end);
	}
	while (l7_waits(&conn) && l7_pop(&conn, &p))
		l7_finish(&run, &conn, &p, 0, L7_CLOSED);
	for (int i = 0; i < STREAMS; i++)
		if (streams[i].used) {
			l7_finish(&run, &conn, &streams[i].p, streams[i].status, L7_CLOSED);
			streams[i].used = 0;
		}
}

static void open_connection(u8 protocol, u8 role)
{
	memset(&conn, 0, sizeof(conn));
	memset(streams, 0, sizeof(streams));
	memset(&hpack, 0, sizeof(hpack));
	tableless = weighing = false;
	conn.protocol = protocol;
	conn.role = role;
	conn.direction = 2;
}

#ifdef FUZZ

/* The first byte chooses the protocol, 0 to be recognised; then calls, each a byte for direction and length's high bits,
 * a byte for its low bits, and so many bytes in a buffer of their own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	quiet = true;
	if (size < 2)
		return 0;
	open_connection(data[0] % L7_PROTOCOLS, data[1] & 1);
	tableless = data[1] & 2;
	for (size_t at = 2; at + 2 <= size;) {
		bool response = data[at] & 1;
		size_t n = (size_t)(data[at] >> 1 & 7) << 8 | data[at + 1];
		u64 beyond = data[at] & 0x80 ? 5000 : 0; /* bytes that cannot be read */
		at += 2;
		if (n > size - at)
			n = size - at;
		u8 *copy = malloc(n ? n : 1);
		memcpy(copy, data + at, n);
		u64 parts[2][2] = {{ADDR(copy), n / 2}, {ADDR(copy) + n / 2, n - n / 2}};
		now += 1000;
		if (n + beyond)
			feed(response, parts, 2, n + beyond);
		free(copy);
		at += n;
	}
	close_connection();
	return 0;
}

#else

static int digit(int c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

/* One line: "open PROTOCOL ROLE", "close", "wait NS", "unread < N" (or >), or "> HEX|HEX…": one call, in buffers. */
int main(void)
{
	static char line[1 << 20];
	static u8 bytes[1 << 19];
	while (fgets(line, sizeof(line), stdin)) {
		char name[32];
		int role;
		u64 n;
		char side;
		if (sscanf(line, "open %31s %d", name, &role) == 2) {
			u8 protocol = L7_UNKNOWN;
			for (int i = 0; i < L7_PROTOCOLS; i++)
				if (!strcmp(name, protocols[i]))
					protocol = i;
			now = 0;
			name_count = 0;
			memset(names, 0, sizeof(names));
			open_connection(protocol, role);
		} else if (sscanf(line, "wait %llu", &n) == 1) {
			now += n;
		} else if (sscanf(line, "unread %c %llu", &side, &n) == 2) {
			feed(side == '<', NULL, 0, n);
		} else if (line[0] == '>' || line[0] == '<') {
			/* Each buffer ends where its memory does, so that the sanitizer sees what reads beyond. */
			u64 parts[L7_PARTS + 1][2];
			u64 total = 0;
			int count = 0;
			char *p = line + 2;
			while (count <= L7_PARTS) {
				size_t m = 0;
				for (; p[0] && p[1] && p[0] != '|' && p[0] != '\n'; p += 2)
					bytes[m++] = digit(p[0]) << 4 | digit(p[1]);
				u8 *copy = malloc(m ? m : 1);
				memcpy(copy, bytes, m);
				parts[count][0] = ADDR(copy);
				parts[count++][1] = m;
				total += m;
				if (*p != '|')
					break;
				p++;
			}
			feed(line[0] == '<', parts, count, total);
			for (int i = 0; i < count; i++)
				free((void *)(unsigned long)parts[i][0]);
		} else if (!strncmp(line, "weigh", 5)) { /* say how large bodies are */
			weighing = true;
		} else if (!strncmp(line, "tableless", 9)) { /* no memory for header fields */
			tableless = true;
		} else if (!strncmp(line, "close", 5)) {
			close_connection();
			printf("is %s\n.\n", protocols[conn.protocol]);
			fflush(stdout);
		}
	}
	return 0;
}

#endif
