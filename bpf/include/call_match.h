/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a call can match: the terms that its path, flags and socket satisfy. */
#ifndef YAGURA_CALL_MATCH_H
#define YAGURA_CALL_MATCH_H

#include "calls.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_prefix);
	__type(value, u32); /* terms that the prefix satisfies */
} path_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_name);
	__type(value, u32);
} path_names SEC(".maps");

#define ALL_TERMS (~0u)
#define ONES 0x0101010101010101ull
#define LOWS 0x7f7f7f7f7f7f7f7full

/* The high bit of each byte of w that is c. */
static __always_inline u64 bytes_equal(u64 w, u8 c)
{
	u64 x = w ^ (ONES * c);
	return ~(((x & LOWS) + LOWS) | x | LOWS);
}

/* Where the last component begins of the absolute path at off in data, n bytes with its NUL; 0 if it has an empty component,
 * . or .., or ends in a slash. Each word's first six bytes are looked at, with the two behind them. */
__noinline u32 clean_leaf(u32 off, u32 n)
{
	struct call_scratch *s = scratch();
	u64 last = 0;
	u32 start = 1;

	for (u32 at = 0; s && at < CLEAN_BYTES; at += 6) {
		if (at >= n)
			break;
		u64 w = *(u64 *)(s->data + (off & (CALL_BYTES - 1)) + at);
		u64 slash = bytes_equal(w, '/'), dot = bytes_equal(w, '.'), end = bytes_equal(w, 0);
		slash &= end - 1; /* what is behind the NUL is of other texts */
		if (slash & (slash >> 8 | end >> 8 | (dot >> 8 & (slash | dot | end) >> 16)))
			return 0;
		if (slash) {
			last = slash;
			start = at + 1;
		}
	}
	/* The last of up to eight slashes, by halves. */
	if (last >> 32) {
		last >>= 32;
		start += 4;
	}
	if (last >> 16) {
		last >>= 16;
		start += 2;
	}
	return last >> 8 ? start + 1 : start;
}

/* Fills a key with the first n bytes that are at off in data, and with 0 behind them. Returns 0 if it was the same before. */
static __always_inline u64 fill_key(struct call_scratch *s, char *key, u32 size, u64 off, u32 n)
{
	u64 changed = 0;

	for (u32 at = 0; at < size; at += 8) {
		u64 word = at < n ? *(u64 *)(s->data + off + at) : 0, *there = (u64 *)(key + at);
		if (at < n && n - at < 8)
			word = low_bytes(word, n - at);
		changed |= *there ^ word;
		*there = word;
	}
	return changed;
}

/* The terms that a last component, n bytes at off in data, satisfies. */
__noinline u32 name_terms(u32 off, u32 n)
{
	struct call_scratch *s = scratch();
	u64 at = off;

	if (n > NAME_KEY_BYTES) { /* of a longer name than the key its end, which no shorter one is: those have a NUL there */
		at += n - NAME_KEY_BYTES;
		n = NAME_KEY_BYTES;
	}
	barrier_var(at); /* the verifier wants to see the bound */
	if (!s || at > CALL_BYTES + PATH_MAX_BYTES)
		return ALL_TERMS;
	u64 changed = fill_key(s, s->name.name, NAME_KEY_BYTES, at, n);
	if (!changed && s->is_named)
		return s->name_terms;
	s->is_named = 1;
	s->name.type = s->r.paths;
	u32 *found = bpf_map_lookup_elem(&path_names, &s->name);
	return s->name_terms = found ? *found : 0;
}

/* The terms that an absolute path of n bytes without a NUL, at off in data, satisfies; its last component begins at leaf. */
__noinline u32 path_terms(u32 off, u32 n, u32 leaf)
{
	struct call_scratch *s = scratch();
	u32 terms = 0;

	if (!s || n < 1 || n > PATH_MAX_BYTES || leaf > n)
		return ALL_TERMS;
	off &= CALL_BYTES - 1;
	if (s->r.keys & CALL_KEY_PREFIX) {
		u64 changed = fill_key(s, s->prefix.path, PATH_KEY_BYTES, off, n);
		if (!changed && n <= PATH_KEY_BYTES && n == s->judged_bytes)
			return s->judged_terms;
		s->prefix.bits = sizeof(s->prefix) * 8 - 32;
		s->prefix.type = s->r.paths;
		u32 *found = bpf_map_lookup_elem(&path_prefixes, &s->prefix);
		if (found)
			terms = *found;
	}
	if (s->r.keys & CALL_KEY_NAME)
		terms |= name_terms(off + leaf, n - leaf);
	s->judged_bytes = n;
	s->judged_terms = terms;
	return terms;
}

/* The same for a text as the caller passed it, n bytes with its NUL: every term if it is not a plain absolute path. */
__noinline u32 text_terms(u32 off, u32 n)
{
	struct call_scratch *s = scratch();

	if (!s || n < 2 || n > CLEAN_BYTES || s->data[off & (CALL_BYTES - 1)] != '/')
		return ALL_TERMS;
	u32 leaf = clean_leaf(off, n);
	return leaf ? path_terms(off, n - 1, leaf) : ALL_TERMS;
}

static __always_inline u32 open_terms(struct call_scratch *s, u32 flags, u32 mode)
{
	u32 how = 0, access = flags & O_ACCMODE;

	if (access == O_RDONLY || access == O_RDWR)
		how |= 1;
	if (access == O_WRONLY || access == O_RDWR)
		how |= 2;
	if (flags & (O_CREAT | O_TMPFILE_BIT) && mode & 0111)
		how |= 4;
	if (s->e.flags & CALL_CREATED)
		how |= 8;
	barrier_var(how); /* the verifier wants to see the bound */
	u32 terms = s->r.opens[how & 15];
	return flags & O_TRUNC ? terms | s->r.opens[(how | 2) & 15] : terms; /* which changes the file, too */
}

static __always_inline u32 family_terms(struct call_scratch *s, u32 family)
{
	return s->r.families[family == AF_UNIX ? 1 : family == AF_INET ? 2 : family == AF_INET6 ? 3 : 0];
}

#endif
